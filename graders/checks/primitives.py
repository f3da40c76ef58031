"""Checks which operations a function's program is made of, and how many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graders.card.failure import Cause
from graders.checks.mechanics import at, check, reject, seen
from graders.diagnosis import primitives as diagnosis
from graders.probes.primitives import Program, program
from graders.seam.subject import Subject


@check
def check_primitives(
    answer: Subject,
    *args: Any,
    requires: Sequence[str] = (),
    forbids: Sequence[str] = (),
    at_most: Mapping[str, int] | None = None,
    max_equations: int | None = None,
    max_elements: int | None = None,
    same_size_for: Sequence[Sequence[Any]] = (),
    static_argnums: Sequence[int] = (),
    about: str = "",
) -> None:
    """Checks the jaxpr of `answer` at `args`, inner programs included.

    Args:
        answer: the student's function.
        args: the arguments that it is traced for.
        requires: primitives that must be there, as `jax.make_jaxpr` prints them, with a result that
            is used. A scan that is unrolled whole is not there.
        forbids: primitives that must not be there.
        at_most: primitives with the number that there may be.
        max_equations: how many equations there may be.
        max_elements: how many elements the largest intermediate value may have. A whole Jacobian of
            n outputs by m inputs has n m.
        same_size_for: other argument tuples, of other sizes, for which the program must have as
            many equations: no Python loop over elements, and no scan unrolled whole over them.
        static_argnums: the positions of arguments that are not traced.
        about: what distinguishes this line from others of its kind on the card.

    Raises:
        CheckFailed: the program is another one, or the function cannot be traced.

    Example:
        >>> check_primitives(jnp.cumsum, jnp.ones(4), forbids=("scan",), at_most={"cumsum": 1})
    """

    def facts_at(arguments: Sequence[Any]) -> Program:
        observed = answer.observe(program, *arguments, static_argnums=tuple(static_argnums))
        return seen(observed, answer, arguments, "a function that JAX can trace")

    def refuse(cause: Cause, expected: str) -> None:
        reject(cause, expected, _listed(count), at(answer, args))

    facts = facts_at(args)
    count, length = facts.primitives, facts.equations
    for name in requires:
        if name == "scan" and name not in facts.used and facts.unrolled:
            refuse(diagnosis.unrolled(name), f"`{name}`")
        if not facts.used.keys() & count.keys() & {name}:  # a forged reply may have it in one only
            refuse(diagnosis.lacks(name, name in count), f"`{name}`")
    for name in forbids:
        if name in count:
            refuse(diagnosis.has(name, count[name]), f"no `{name}`")
    for name, bound in (at_most or {}).items():
        if count.get(name, 0) > bound:
            refuse(diagnosis.too_often(name, count[name], bound), f"`{name}` at most {bound} times")
    if max_equations is not None and length > max_equations:
        refuse(diagnosis.too_long(length, max_equations), f"at most {max_equations} operations")
    if max_elements is not None and facts.largest > max_elements:
        words = f"no intermediate value of more than {max_elements} elements"
        reject(diagnosis.too_large(facts.largest), words, f"{facts.largest}", at(answer, args))
    for others in same_size_for:
        other = facts_at(others)
        if other.unrolled != facts.unrolled:
            refuse(diagnosis.unrolled("scan"), "as many operations for inputs of other sizes")
        if other.equations != length:
            cause = diagnosis.grows(length, other.equations)
            refuse(cause, "as many operations for inputs of other sizes")


def _listed(count: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {times}" for name, times in sorted(count.items())) or "no operation"
