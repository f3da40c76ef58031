"""The program that JAX makes of the student's function: its jaxpr."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.extend import core as jax_core

from graders import describe
from graders.plain import Opaque, is_key, leaves, plain


def program(function: Callable, *args: Any, static_argnums: Sequence[int] = ()) -> dict:
    """The facts of the function's jaxpr at these arguments, traced afresh.

    `primitives` maps names to counts and `equations` is their number, inner programs included
    and the call of a jitted function itself left out; `dtypes` are those of all intermediate
    values; `effects` are their names; `text` and `constants` are digests that differ where two
    traces differ.
    """
    with nothing_cached():
        return facts_of(trace(function, args, static_argnums))


_context = jax.make_user_context(0)
_contexts = itertools.count(1)


def nothing_cached() -> AbstractContextManager:
    """A block in which every function is traced anew, inner jitted ones included.

    The value of a user context is part of the key of JAX's caches of traces; what is compiled
    outside the block stays, which `jax.clear_caches` would throw away.
    """
    return _context(next(_contexts))


def trace(
    function: Callable, args: Sequence[Any], static_argnums: Sequence[int]
) -> jax_core.ClosedJaxpr:
    """The jaxpr of a fresh wrapper around `function`, so that no cached trace is met."""
    indices = dynamic(args, static_argnums)

    def fresh(*traced: Any) -> Any:
        merged = list(args)
        for index, arg in zip(indices, traced, strict=True):
            merged[index] = arg
        return _arrays(function(*merged))

    return jax.make_jaxpr(fresh)(*(args[i] for i in indices))


class NoArrays(Exception):
    """A function that is traced returns something that is no array, and no pytree of them."""


def _arrays(result: Any) -> Any:
    for _, leaf in leaves(plain(result)):
        if isinstance(leaf, str) or (isinstance(leaf, Opaque) and leaf.type != "a tracer"):
            raise NoArrays(describe.text(leaf))
    return result


def dynamic(args: Sequence[Any], static_argnums: Sequence[int]) -> list[int]:
    """The positions of the arguments that are traced."""
    return [i for i, arg in enumerate(args) if i not in static_argnums and not _static(arg)]


def _static(arg: Any) -> bool:
    return arg is None or isinstance(arg, str | bool) or callable(arg)


def facts_of(closed: jax_core.ClosedJaxpr) -> dict:
    names = Counter(equation.primitive.name for equation in equations(closed.jaxpr))
    for wrapper in ("jit", "pjit", "closed_call"):
        names.pop(wrapper, None)
    return {
        "primitives": dict(names),
        "equations": sum(names.values()),
        "dtypes": sorted(_dtypes(closed.jaxpr)),
        "effects": sorted(type(effect).__name__ for effect in closed.effects),
        "text": _digest(str(closed.jaxpr).encode()),
        "constants": [_digest(np.asarray(const).tobytes()) for const in _constants(closed)],
    }


def equations(jaxpr: jax_core.Jaxpr) -> Iterator[Any]:
    """Every equation of a jaxpr and of the jaxprs inside its parameters."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in _inner(equation.params.values()):
            yield from equations(inner)


def _dtypes(jaxpr: jax_core.Jaxpr) -> set[str]:
    made = (variable.aval for equation in equations(jaxpr) for variable in equation.outvars)
    return {str(aval.dtype) for aval in made if hasattr(aval, "dtype")}


def _inner(params: Any) -> Iterator[jax_core.Jaxpr]:
    for param in params:
        if isinstance(param, jax_core.ClosedJaxpr):
            yield param.jaxpr
        elif isinstance(param, jax_core.Jaxpr):
            yield param
        elif isinstance(param, list | tuple):
            yield from _inner(param)


def _constants(closed: jax_core.ClosedJaxpr) -> Iterator[Any]:
    """Constants of the program and of the programs inside it, as raw arrays."""
    consts = list(closed.consts)
    for equation in equations(closed.jaxpr):
        for param in equation.params.values():
            consts += param.consts if isinstance(param, jax_core.ClosedJaxpr) else []
    for const in consts:
        if isinstance(const, Tracer):  # kept from an earlier trace
            const = np.zeros(0)
        yield jax.random.key_data(const) if is_key(const) else const


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
