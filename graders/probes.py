"""Probes: small functions that run where the student's function lives and return plain data.

A probe knows no expected value and imports no check. `PROBES` is the table by name; each is
called with the student's object first and returns what `graders.wire` can carry.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np
from jax.extend import core as jax_core

from graders.inputs import copied
from graders.plain import plain
from graders.surroundings import Surroundings, body_of, same

PROBES: dict[str, Callable[..., Any]] = {}


def probe(function: Callable[..., Any]) -> Callable[..., Any]:
    PROBES[function.__name__] = function
    return function


@probe
def value(answer: Any) -> Any:
    """The student's object itself, as plain data: a prediction."""
    return plain(answer)


@probe
def call(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """What the function returns."""
    return plain(function(*args, **kwargs))


@probe
def derivatives(function: Callable, *args: Any, argnum: int, tangent: Any, cotangent: Any) -> dict:
    """The value, and both products of the Jacobian by argument `argnum`.

    `forward` is J @ tangent by jvp, or None where a custom_vjp has no forward mode;
    `reverse` is cotangent @ J by vjp.
    """
    varied, at = _of_one(function, args, argnum), args[argnum]
    result, pull = jax.vjp(varied, at)
    return {
        "value": plain(result),
        "forward": _forward(varied, at, tangent),
        "reverse": plain(pull(cotangent)[0]),
    }


@probe
def second_derivative(
    function: Callable, *args: Any, argnum: int, tangent: Any, cotangent: Any
) -> Any:
    """The derivative along `tangent` of the gradient of `cotangent . f`: forward over reverse."""
    varied, at = _of_one(function, args, argnum), args[argnum]

    def gradient(point: Any) -> Any:
        return jax.vjp(varied, point)[1](cotangent)[0]

    return plain(jax.jvp(gradient, (at,), (tangent,))[1])


def _of_one(function: Callable, args: Sequence[Any], argnum: int) -> Callable:
    return lambda point: function(*args[:argnum], point, *args[argnum + 1 :])


def _forward(function: Callable, at: Any, tangent: Any) -> Any:
    try:
        return plain(jax.jvp(function, (at,), (tangent,))[1])
    except TypeError as error:
        if "custom_vjp" in str(error):
            return None
        raise


@probe
def program(function: Callable, *args: Any, static_argnums: Sequence[int] = ()) -> dict:
    """The facts of the function's jaxpr at these arguments, traced afresh.

    `primitives` maps names to counts and `equations` is their number, inner programs included
    and the call of a jitted function itself left out; `effects` are their names; `text` and
    `constants` are digests that differ where two traces differ.
    """
    with nothing_cached():
        return _facts(trace(function, args, static_argnums))


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
    dynamic = [i for i, arg in enumerate(args) if i not in static_argnums and not _static(arg)]

    def fresh(*traced: Any) -> Any:
        merged = list(args)
        for index, arg in zip(dynamic, traced):
            merged[index] = arg
        return function(*merged)

    return jax.make_jaxpr(fresh)(*(args[i] for i in dynamic))


def _static(arg: Any) -> bool:
    return arg is None or isinstance(arg, str | bool) or callable(arg)


def _facts(closed: jax_core.ClosedJaxpr) -> dict:
    names = Counter(equation.primitive.name for equation in equations(closed.jaxpr))
    for wrapper in ("jit", "pjit", "closed_call"):
        names.pop(wrapper, None)
    return {
        "primitives": dict(names),
        "equations": sum(names.values()),
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
        is_key = isinstance(const, jax.Array) and jax.dtypes.issubdtype(
            const.dtype, jax.dtypes.prng_key
        )
        yield jax.random.key_data(const) if is_key else const


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


@probe
def purity(function: Callable, *args: Any, static_argnums: Sequence[int] = ()) -> dict:
    """What the function does beside returning a value.

    Two fresh traces and two calls are compared with each other, and the function's
    surroundings (its globals, its closure, the host's random state, what it prints) before and
    after. `leaked` says whether a tracer outlived its trace.
    """
    before = Surroundings.of(function)
    first = program(function, *copied(args), static_argnums=static_argnums)
    printed = before.printed()
    second = program(function, *copied(args), static_argnums=static_argnums)
    traced = before.changes()
    given = copied(args)
    results = [plain(function(*given)), plain(function(*copied(args)))]
    return {
        "printed": printed,
        "effects": first["effects"],
        "same_program": first["text"] == second["text"],
        "same_constants": first["constants"] == second["constants"],
        "changed": sorted(set(traced["changed"]) | set(before.changes()["changed"])),
        "kept": traced["kept"],
        "leaked": bool(traced["kept"]) or _leaks(function, args, static_argnums),
        "host_random": before.changes()["host_random"],
        "arguments": [i for i, arg in enumerate(args) if not same(plain(arg), plain(given[i]))],
        "same_result": same(*results),
    }


def _leaks(function: Callable, args: Sequence[Any], static_argnums: Sequence[int]) -> bool:
    try:
        with jax.checking_leaks():
            trace(function, copied(args), static_argnums)
    except Exception as error:  # jax raises a bare Exception here
        if "Leaked" not in str(error):
            raise
        return True
    return False


@probe
def traces(function: Callable, calls: Sequence[Sequence[Any]]) -> list[int]:
    """How often the function's Python body had run after each of `calls`, nothing cached before."""
    body, runs, history = body_of(function), 0, []

    def count(frame: Any, event: str, arg: Any) -> None:
        nonlocal runs
        runs += event == "call" and frame.f_code is body

    with nothing_cached():
        for args in calls:
            sys.setprofile(count)
            try:
                function(*args)
            finally:
                sys.setprofile(None)
            history.append(runs)
    return history


@probe
def parameters(function: Callable) -> list[str]:
    """The names of the function's positional parameters; none where Python cannot tell."""
    code = body_of(function)
    return list(code.co_varnames[: code.co_argcount]) if code else []
