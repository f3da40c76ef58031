"""Probes: small functions that run where the student's function lives and return plain data.

A probe knows no expected value and imports no check. `PROBES` is the table by name; each is
called with the student's object first and returns what `graders.wire` can carry.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend import core as jax_core

from graders import describe
from graders.inputs import copied
from graders.plain import Leaf, Opaque, is_key, leaves, plain, printable
from graders.surroundings import Surroundings, body_of, same

PROBES: dict[str, Callable[..., Any]] = {}
ON_ANYTHING = ("value", "parameters")
"""Probes that do not call the object."""


def probe(function: Callable[..., Any]) -> Callable[..., Any]:
    PROBES[function.__name__] = function
    return function


@probe
def value(answer: Any) -> Any:
    """The student's object itself, as plain data: a prediction.

    A dtype, and the class of an exception, become their names.
    """
    if isinstance(answer, type) and issubclass(answer, BaseException):
        return answer.__name__
    dtype = getattr(answer, "dtype", None) if isinstance(answer, type) else answer
    if isinstance(answer, type) and issubclass(answer, np.generic):
        dtype = np.dtype(answer)
    return dtype.name if isinstance(dtype, np.dtype) else plain(answer)


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
        "forward": _forward(varied, at, _like(at, tangent)),
        "reverse": plain(pull(_like(result, cotangent))[0]),
    }


def _like(values: Any, directions: Any) -> Any:
    """`directions` in the dtypes of `values`: a bfloat16 result wants a bfloat16 cotangent."""
    return jax.tree.map(lambda v, way: jnp.asarray(way, jnp.result_type(v)), values, directions)


@probe
def second_derivative(
    function: Callable, *args: Any, argnum: int, tangent: Any, cotangent: Any
) -> Any:
    """The derivative along `tangent` of the gradient of `cotangent . f`: forward over reverse.

    Where a custom_vjp excludes forward mode it is reverse over reverse: the Hessian is symmetric.
    """
    varied, at = _of_one(function, args, argnum), args[argnum]

    def gradient(point: Any) -> Any:
        result, pull = jax.vjp(varied, point)
        return pull(_like(result, cotangent))[0]

    forward = _forward(gradient, at, _like(at, tangent))
    return plain(jax.vjp(gradient, at)[1](_like(at, tangent))[0]) if forward is None else forward


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
    and the call of a jitted function itself left out; `dtypes` are those of all intermediate
    values; `effects` are their names; `text` and `constants` are digests that differ where two
    traces differ.
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


def _facts(closed: jax_core.ClosedJaxpr) -> dict:
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


@probe
def purity(function: Callable, *args: Any, static_argnums: Sequence[int] = ()) -> dict:
    """What the function does beside returning a value.

    Two fresh traces and two calls are compared with each other, and the function's
    surroundings (its globals, its closure, the host's random state, what it prints) before and
    after; then the surroundings are put back.
    """
    before = Surroundings(function)
    try:
        return _purity(before, function, args, static_argnums)
    finally:
        before.restore()


def _purity(before: Surroundings, function: Callable, args: Sequence[Any], static: Any) -> dict:
    with nothing_cached():
        closed = trace(function, copied(args), static)
    facts = _pure_so_far(before.printed(), before.changes()["kept"])
    if facts["leaked"]:  # the next trace would only stumble over what this one kept
        return facts
    first, second = _facts(closed), program(function, *copied(args), static_argnums=static)
    leaked, given = _leaks(function, args, static), copied(args)
    results = [function(*given), function(*copied(args))]
    after = before.changes()
    return facts | {
        "effects": first["effects"],
        "same_program": first["text"] == second["text"],
        "same_constants": first["constants"] == second["constants"],
        "changed": after["changed"],
        "leaked": leaked,
        "host_random": after["host_random"],
        "arguments": [i for i, arg in enumerate(args) if _is_changed(arg, given[i])],
        "same_result": same(*map(plain, results)),
        "same_traced": _agree(_compiled(closed, args, static), results[0]),
    }


def _pure_so_far(printed: str, kept: list[str]) -> dict:
    return {
        "printed": printed, "effects": [], "same_program": True, "same_constants": True,
        "changed": [], "kept": kept, "leaked": bool(kept), "host_random": False, "arguments": [],
        "same_result": True, "same_traced": True,
    }  # fmt: skip


def _is_changed(arg: Any, given: Any) -> bool:
    """Whether a call has changed `given`, which was a copy of `arg`; donated arrays are gone."""
    arrays = (leaf for leaf in jax.tree.leaves(given) if isinstance(leaf, jax.Array))
    return not any(array.is_deleted() for array in arrays) and not same(plain(arg), plain(given))


def _compiled(closed: jax_core.ClosedJaxpr, args: Sequence[Any], static: Sequence[int]) -> list:
    """What the program gives: one compilation, where evaluating it would be one an equation."""
    inputs = jax.tree.leaves([copied(args[i]) for i in dynamic(args, static)])
    return jax.jit(jax_core.jaxpr_as_fun(closed))(*inputs)


def _agree(ours: Sequence[Any], result: Any) -> bool:
    """Whether two results are the same but for rounding, which may be coarse in narrow dtypes."""
    one, other = plain(list(ours)), plain(jax.tree.leaves(result))
    return len(one) == len(other) and all(map(_near, one, other))


def _near(one: Any, other: Any) -> bool:
    if not isinstance(one, Leaf) or not isinstance(other, Leaf):
        return same(one, other)
    a, b = (leaf.data.astype(complex) for leaf in (one, other))
    scale = np.abs(b[np.isfinite(b)]).max(initial=0.0)
    return a.shape == b.shape and np.allclose(a, b, 0.05, 0.05 * scale, equal_nan=True)


def _leaks(function: Callable, args: Sequence[Any], static_argnums: Sequence[int]) -> bool:
    """Whether JAX's own checker finds a tracer that is still held.

    The function has been traced before without an error, so whatever is raised now comes from the
    checker: its report, or an IndexError where it stumbles while it looks for the holder.
    """
    try:
        with jax.checking_leaks():
            trace(function, copied(args), static_argnums)
    except Exception:
        return True
    return False


@probe
def traces(function: Callable, calls: Sequence[Sequence[Any]]) -> list[int]:
    """How often the function's Python body had run after each of `calls`, nothing cached before."""
    body, runs, history = body_of(function), 0, []

    def count(frame: Any, event: str, arg: Any) -> None:
        nonlocal runs
        runs += event == "call" and frame.f_code is body

    before = sys.getprofile()
    with nothing_cached():
        for args in calls:
            sys.setprofile(count)
            try:
                function(*args)
            finally:
                sys.setprofile(before)
            history.append(runs)
    return history


@probe
def donation(function: Callable, *args: Any) -> dict:
    """Which arguments a jitted function donates, and the bytes that its program reuses for results.

    `donated` has one boolean for each argument: whether all its arrays are donated. `jitted` is
    False for a function that is not under `jax.jit`.
    """
    lower = getattr(function, "lower", None)
    if lower is None:
        return {"jitted": False, "donated": [], "reused_bytes": 0}
    lowered = lower(*args)
    given = lowered.args_info[0]
    return {
        "jitted": True,
        "donated": [_all_donated(arg) for arg in given],
        "reused_bytes": int(lowered.compile().memory_analysis().alias_size_in_bytes),
    }


def _all_donated(arg: Any) -> bool:
    infos = jax.tree.leaves(arg, is_leaf=lambda node: hasattr(node, "donated"))
    return bool(infos) and all(info.donated for info in infos)


@probe
def parameters(function: Callable) -> list[str]:
    """The names of the function's positional parameters; none where Python cannot tell."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [printable(parameter.name) for parameter in found if parameter.kind in kinds]
