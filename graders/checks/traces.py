"""Checks how often a function is traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graders.checks.mechanics import check, reject, seen
from graders.diagnosis import traces as diagnosis
from graders.probes.traces import traces
from graders.seam.subject import Subject
from graders.values import describe
from graders.values.plain import Leaf, Plain, leaves, plain


@check
def check_traces(
    answer: Subject, calls: Sequence[Sequence[Any]], at_most: int = 1, *, about: str = ""
) -> None:
    """Checks that the Python body of `answer` runs at most `at_most` times over `calls`.

    The calls are made one after another with nothing cached. The body is the innermost Python
    function, so an answer that is already under `jax.jit` is counted right, and one that is not
    compiled at all runs once a call.

    Args:
        answer: the student's function.
        calls: argument tuples.
        at_most: how often its body may run in all.
        about: what distinguishes this line from others of its kind on the card.

    Raises:
        CheckFailed: it ran more often, or is not a Python function.

    Example:
        >>> @jax.jit
        ... def double(x):
        ...     return 2 * x
        >>> check_traces(double, [(np.ones(3),), (np.zeros(3),)])
    """
    history = seen(answer.observe(traces, list(calls)), answer, calls[0])
    if len(history) != len(calls) or history[-1] == 0:
        reject(diagnosis.never_traced())
    if history[-1] > at_most:
        reject(
            diagnosis.traced_again(history, _change(calls, history)),
            f"at most {at_most} in {len(calls)} calls",
            f"{history[-1]}",
        )


def _change(calls: Sequence[Sequence[Any]], history: Sequence[int]) -> str:
    """What calls brought at which the body ran again; "" where one was like an earlier call."""
    again = [i for i in range(1, len(calls)) if history[i] > history[i - 1]]
    if any(not difference(calls[earlier], calls[i]) for i in again for earlier in range(i)):
        return ""
    return difference(calls[again[0] - 1], calls[again[0]]) if again else ""


def difference(before: Any, after: Any) -> str:
    """What JAX could tell apart in two argument tuples: the first leaf that differs, in words."""
    pairs = zip(leaves(plain(before)), leaves(plain(after)), strict=False)
    words = (_difference(one, other) for (_, one), (_, other) in pairs)
    return next((found for found in words if found), "")


def _difference(one: Plain, other: Plain) -> str:
    if not isinstance(one, Leaf) or not isinstance(other, Leaf):
        return "" if one == other else "a value"
    if one.data.shape != other.data.shape:
        sizes = describe.dimensions(one.data.shape), describe.dimensions(other.data.shape)
        return f"the shape, {sizes[0]} and then {sizes[1]}"
    if (one.origin == "python") != (other.origin == "python"):
        return "a Python number in one call and an array in the other (a weak type)"
    if one.data.dtype != other.data.dtype:
        return f"the dtype, {one.data.dtype} and then {other.data.dtype}"
    differs = one.origin == "python" and one.data != other.data
    return f"a number, {describe.text(one)} and then {describe.text(other)}" if differs else ""
