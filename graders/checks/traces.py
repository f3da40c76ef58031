"""Checks how often a function is traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graders.checks.mechanics import check, reject, seen
from graders.diagnosis import semantics
from graders.subject import Subject


@check
def check_traces(answer: Subject, calls: Sequence[Sequence[Any]], at_most: int = 1) -> None:
    """Checks that the Python body of `answer` runs at most `at_most` times over `calls`.

    The calls are made one after another with nothing cached. The body is the innermost Python
    function, so an answer that is already under `jax.jit` is counted right, and one that is not
    compiled at all runs once a call.
    """
    history = seen(answer.observe("traces", list(calls)), answer, calls[0] if calls else ())
    if history[-1] == 0:
        reject(semantics.never_traced())
    if history[-1] > at_most:
        reject(
            semantics.traced_again(history, at_most),
            f"at most {at_most} in {len(calls)} calls",
            f"{history[-1]}",
        )
