"""Checks that a function is pure and can be traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graders.checks.mechanics import at, check, reject, seen
from graders.diagnosis import semantics
from graders.subject import Subject


@check
def check_pure(answer: Subject, *args: Any, static_argnums: Sequence[int] = ()) -> None:
    """Checks that `answer` can be traced at `args`, and does nothing but return a value.

    Two fresh traces give the same jaxpr and the same constants; there are no effects,
    no print and no host random numbers at trace time; arguments, globals and closures stay as
    they are; no tracer is kept; two calls give the same result. Functions, strings, booleans and
    None are static by themselves, other arguments by `static_argnums`.
    """
    observed = answer.observe("purity", *args, static_argnums=tuple(static_argnums))
    facts = seen(observed, answer, args, "a function that JAX can trace")
    if cause := semantics.impurity(facts):
        reject(cause, at=at(answer, args))
