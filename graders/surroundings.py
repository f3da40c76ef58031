"""What surrounds a student's function: the globals and the closure it can reach, host state."""

from __future__ import annotations

import functools
import hashlib
import io
import random
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from graders.plain import Key, Leaf, Opaque, Record, children, is_container, plain

DEEPEST = 6


class Through:
    """A function of ours applied to the student's object: `Through(g, f)(x)` is `g(f, x)`."""

    def __init__(self, ours: Callable, student: Any) -> None:
        self.ours, self.student = ours, student

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.ours(self.student, *args, **kwargs)


def body_of(function: Any) -> types.CodeType | None:
    """The code of the Python function under decorators, partials and methods; None for others."""
    inner = _inner(function)
    return inner.__code__ if inner else None


def _inner(function: Any) -> types.FunctionType | None:
    for _ in range(20):
        if isinstance(function, types.FunctionType) and not hasattr(function, "__wrapped__"):
            return function
        function = _one_layer_less(function)
    return None


def _one_layer_less(function: Any) -> Any:
    if isinstance(function, Through):
        return function.student
    if isinstance(function, functools.partial):
        return function.func
    for attribute in ("__wrapped__", "__func__", "fun"):
        if (inner := getattr(function, attribute, None)) is not None:
            return inner
    return getattr(type(function), "__call__", None)


@dataclass
class Surroundings:
    """A record of the names that `function` can reach, and whether they change."""

    functions: list[types.FunctionType]
    tokens: dict[str, Any]
    host: Any
    _printed: int = field(default=0)

    @classmethod
    def of(cls, function: Any) -> Surroundings:
        inner = _inner(function)
        functions = list(_reachable(inner, [])) if inner else []
        return cls(functions, _tokens(functions), _host_random(), _written())

    def changes(self) -> dict:
        """Names whose values changed, names that now hold a tracer, and the host's random state."""
        now = _tokens(self.functions)
        names = sorted(set(now) | set(self.tokens))
        return {
            "changed": [name for name in names if now.get(name) != self.tokens.get(name)],
            "kept": [name for name in names if "a tracer" in str(now.get(name))],
            "host_random": _host_random() != self.host,
        }

    def printed(self) -> str:
        """The first 200 characters printed since this record was made."""
        stream = sys.stdout
        return stream.getvalue()[self._printed :][:200] if isinstance(stream, io.StringIO) else ""


def _written() -> int:
    return len(sys.stdout.getvalue()) if isinstance(sys.stdout, io.StringIO) else 0


def _host_random() -> Any:
    name, words, *rest = np.random.get_state(legacy=True)
    return name, np.asarray(words).tobytes(), tuple(rest), random.getstate()


def _reachable(
    function: types.FunctionType, seen: list[types.FunctionType]
) -> Iterator[types.FunctionType]:
    """`function` and those of its own module that it names, each once."""
    if function in seen:
        return
    seen.append(function)
    yield function
    for name in _names(function.__code__):
        other = _inner(function.__globals__.get(name))
        if other is not None and other.__globals__ is function.__globals__:
            yield from _reachable(other, seen)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _names(const)


def _tokens(functions: list[types.FunctionType]) -> dict[str, Any]:
    tokens: dict[str, Any] = {}
    for function in functions:
        for name in _names(function.__code__):
            if name in function.__globals__:
                tokens[name] = token(function.__globals__[name])
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
            tokens[name] = _cell_token(cell)
        for name, attribute in vars(function).items():
            if name != "__wrapped__":
                tokens[f"{function.__name__}.{name}"] = token(attribute)
        for index, default in enumerate(function.__defaults__ or ()):
            tokens[f"{function.__name__} default {index + 1}"] = token(default)
    return tokens


def _cell_token(cell: types.CellType) -> Any:
    try:
        return token(cell.cell_contents)
    except ValueError:
        return "an empty cell"


def token(value: Any, depth: int = 0) -> Any:
    """A value that equals itself later only if `value` has not changed; identity for the rest."""
    if isinstance(value, types.ModuleType | types.FunctionType | type) or depth > DEEPEST:
        return id(value)
    if isinstance(value, np.random.Generator):
        return str(value.bit_generator.state)
    if isinstance(value, jax.core.Tracer):
        return "a tracer"
    seen = plain(value)
    if isinstance(seen, Opaque) and type(value) in (list, tuple, dict, set):
        return tuple(token(item, depth + 1) for item in _items(value))
    if isinstance(seen, Opaque):
        attributes = getattr(value, "__dict__", None)
        inner = attributes.items() if isinstance(attributes, dict) else ()
        return id(value), tuple((k, token(v, depth + 1)) for k, v in inner)
    return frozen(seen)


def _items(value: Any) -> list:
    return list(value.items()) if isinstance(value, dict) else sorted(value, key=repr)


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

