"""Whether values are the same: tokens that change when a value changes, equality bit by bit."""

from __future__ import annotations

import hashlib
import types
from typing import Any

import numpy as np

from graders.values.jax_internals import Tracer
from graders.values.plain import Key, Leaf, Opaque, Record, children, is_container, plain

DEEPEST = 6
A_TRACER = "a tracer"


def token(value: Any, depth: int = 0) -> Any:
    """A value that equals itself later only if `value` has not changed; identity for the rest."""
    if isinstance(value, types.ModuleType | types.FunctionType | type) or depth > DEEPEST:
        return id(value)
    if isinstance(value, np.random.Generator):
        return str(value.bit_generator.state)
    if isinstance(value, Tracer):
        return A_TRACER, id(value)
    if type(value) in (list, tuple, dict, set):
        return type(value).__name__, tuple(token(item, depth + 1) for item in _items(value))
    seen = plain(value)
    if isinstance(seen, Opaque):
        attributes = getattr(value, "__dict__", None)
        inner = attributes.items() if isinstance(attributes, dict) else ()
        return id(value), tuple((k, token(v, depth + 1)) for k, v in list(inner))
    return frozen(seen)


def _items(value: Any) -> list:
    if isinstance(value, dict):
        return list(value.items())
    return sorted(value, key=repr) if isinstance(value, set) else list(value)


def frozen(value: Any) -> Any:
    """Plain data as nested tuples of bytes and strings, equal where the data are equal."""
    if isinstance(value, Leaf):
        return value.origin, str(value.data.dtype), value.data.shape, _digest(value.data)
    if isinstance(value, Key):
        return value.impl, value.data.shape, value.data.tobytes()
    if is_container(value):
        kind = value.type if isinstance(value, Record) else type(value).__name__
        return kind, tuple((name, frozen(child)) for name, child in children(value))
    return value.type if isinstance(value, Opaque) else value


def _digest(array: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).digest()


def same(one: Any, other: Any) -> bool:
    """Whether two plain values are equal bit by bit."""
    return frozen(one) == frozen(other)
