"""What the student's function does beside returning a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core as jax_core

from graders.inputs import copied
from graders.plain import Leaf, plain
from graders.probes.programs import dynamic, facts_of, nothing_cached, program, trace
from graders.surroundings import Surroundings, same


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
    first, second = facts_of(closed), program(function, *copied(args), static_argnums=static)
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
