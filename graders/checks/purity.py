"""Checks that a function is pure and can be traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graders.checks.mechanics import at, check, reject, seen
from graders.diagnosis import purity as diagnosis
from graders.probes.purity import purity
from graders.seam.subject import Subject


@check
def check_pure(
    answer: Subject, *args: Any, static_argnums: Sequence[int] = (), about: str = ""
) -> None:
    """Checks that `answer` can be traced at `args`, and does nothing but return a value.

    Two fresh traces give the same jaxpr and the same constants. There are no effects, no print and
    no host random numbers at trace time. Arguments, globals and closures stay as they are. No
    tracer is kept. Two calls give the same result.

    Args:
        answer: the student's function.
        args: the arguments that it is traced for, and called with.
        static_argnums: the positions of arguments that are not traced. Functions, strings,
            booleans and None are static without being named here.
        about: what distinguishes this line from others of its kind on the card.

    Raises:
        CheckFailed: the function does something else, or cannot be traced.

    Example:
        >>> def prints(x):
        ...     print(x)
        ...     return x
        >>> check_pure(jnp.sin, jnp.ones(3))
        >>> check_pure(prints, jnp.ones(3))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        graders.card.failure.CheckFailed: prints: it prints while it is traced ...
    """
    observed = answer.observe(purity, *args, static_argnums=tuple(static_argnums))
    facts = seen(observed, answer, args, "a function that JAX can trace")
    if cause := diagnosis.impurity(facts):
        reject(cause, at=at(answer, args))
