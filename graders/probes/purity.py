"""What the student's function does beside returning a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from graders.probes.primitives import facts_of, program
from graders.values.compare import same
from graders.values.inputs import copied
from graders.values.jax_internals import (
    ClosedJaxpr,
    jaxpr_as_fun,
    leaks_a_tracer,
    nothing_cached,
)
from graders.values.jax_messages import says
from graders.values.plain import Leaf, Natural, plain
from graders.values.surroundings import Surroundings
from graders.values.tracing import dynamic, trace


@dataclass(frozen=True)
class Purity:
    """What a function does beside returning a value; by default, nothing."""

    printed: str = ""  # while it is traced
    effects: list[str] = field(default_factory=list)  # the names of those in its program
    same_program: bool = True  # whether two traces give one program
    same_constants: bool = True  # whether they give the same constants
    changed: list[str] = field(default_factory=list)  # the globals and outer names it changes
    kept: list[str] = field(default_factory=list)  # those of them that now hold a tracer
    leaked: bool = False  # whether a tracer is held after its trace
    host_random: bool = False  # whether it draws from NumPy's or Python's generator
    arguments: list[Natural] = field(default_factory=list)  # the positions that it changes in place
    same_result: bool = True  # whether two calls agree to the bit
    same_traced: bool = True  # whether its program computes what a plain call does, about


def purity(function: Callable, *args: Any, static_argnums: Sequence[int] = ()) -> Purity:
    """What the function does beside returning a value.

    Two fresh traces and two calls are compared with each other, and the function's
    surroundings (its globals, its closure, the host's random state, what it prints) before and
    after; then the surroundings are put back. Where the function has a number as a static argument
    of `jax.jit`, numbers are not traced.
    """
    before = Surroundings(function)
    try:
        return _purity(before, function, args, static_argnums)
    finally:
        before.restore()


def _purity(before: Surroundings, function: Callable, args: Sequence[Any], static: Any) -> Purity:
    with nothing_cached():
        closed, static = _traced(function, args, static)
    kept = before.changes().kept
    facts = Purity(printed=before.printed(), kept=kept, leaked=bool(kept))
    if facts.leaked:  # the next trace would only stumble over what this one kept
        return facts
    first, second = facts_of(closed), program(function, *copied(args), static_argnums=static)
    leaked = leaks_a_tracer(lambda: trace(function, copied(args), static))
    given = copied(args)
    results = [function(*given), function(*copied(args))]
    after = before.changes()
    return replace(
        facts,
        effects=first.effects,
        same_program=first.text == second.text,
        same_constants=first.constants == second.constants,
        changed=after.changed,
        leaked=leaked,
        host_random=after.host_random,
        arguments=[i for i, arg in enumerate(args) if _is_changed(arg, given[i])],
        same_result=same(*map(plain, results)),
        same_traced=_agree(_compiled(closed, args, static), results[0]),
    )


def _traced(
    function: Callable, args: Sequence[Any], static: Sequence[int]
) -> tuple[ClosedJaxpr, Sequence[int]]:
    """The function's program, and the positions of the arguments that it is not traced for."""
    try:
        return trace(function, copied(args), static), static
    except ValueError as error:
        numbers = [i for i in dynamic(args, static) if isinstance(args[i], int | float | complex)]
        if not numbers or not says(str(error), "static argument"):
            raise
        static = (*static, *numbers)
        return trace(function, copied(args), static), static


def _is_changed(arg: Any, given: Any) -> bool:
    """Whether a call has changed `given`, which was a copy of `arg`; donated arrays are gone."""
    arrays = (leaf for leaf in jax.tree.leaves(given) if isinstance(leaf, jax.Array))
    return not any(array.is_deleted() for array in arrays) and not same(plain(arg), plain(given))


def _compiled(closed: ClosedJaxpr, args: Sequence[Any], static: Sequence[int]) -> list:
    """What the program gives: one compilation, where evaluating it would be one an equation."""
    inputs = jax.tree.leaves([copied(args[i]) for i in dynamic(args, static)])
    return jax.jit(jaxpr_as_fun(closed))(*inputs)


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
