"""Checks which operations a function's program is made of, and how many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graders.checks.mechanics import at, check, reject, seen
from graders.diagnosis import semantics
from graders.failure import Cause
from graders.subject import Subject


@check
def check_primitives(
    answer: Subject,
    *args: Any,
    requires: Sequence[str] = (),
    forbids: Sequence[str] = (),
    at_most: Mapping[str, int] | None = None,
    max_equations: int | None = None,
    same_size_for: Sequence[Sequence[Any]] = (),
    static_argnums: Sequence[int] = (),
) -> None:
    """Checks the jaxpr of `answer` at `args`, inner programs included.

    `requires` and `forbids` name primitives, as `jax.make_jaxpr` prints them; `at_most` bounds
    how often one occurs, `max_equations` how many there are. `same_size_for` lists other
    argument tuples, of other sizes, for which the program must have as many equations: no Python
    loop over elements.
    """

    def program(arguments: Sequence[Any]) -> dict:
        observed = answer.observe("program", *arguments, static_argnums=tuple(static_argnums))
        return seen(observed, answer, arguments, "a function that JAX can trace")

    def refuse(cause: Cause, expected: str) -> None:
        reject(cause, expected, _listed(count), at(answer, args))

    facts = program(args)
    count, length = facts["primitives"], facts["equations"]
    for name in requires:
        if name not in count:
            refuse(semantics.lacks(name), f"`{name}`")
    for name in forbids:
        if name in count:
            refuse(semantics.has(name, count[name]), f"no `{name}`")
    for name, bound in (at_most or {}).items():
        if count.get(name, 0) > bound:
            refuse(semantics.too_often(name, count[name], bound), f"`{name}` at most {bound} times")
    if max_equations is not None and length > max_equations:
        refuse(semantics.too_long(length, max_equations), f"at most {max_equations} operations")
    for others in same_size_for:
        larger = program(others)["equations"]
        if larger != length:
            refuse(semantics.grows(length, larger), "as many operations for inputs of other sizes")


def _listed(count: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {times}" for name, times in sorted(count.items())) or "no operation"
