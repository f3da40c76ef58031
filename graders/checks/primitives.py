"""Checks which operations a function's program is made of, and how many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graders.checks.mechanics import at, check, reject, seen
from graders.diagnosis import semantics
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

    facts = program(args)
    count = facts["primitives"]
    for name in requires:
        if name not in count:
            reject(semantics.lacks(name), f"`{name}`", _listed(count), at(answer, args))
    for name in forbids:
        if name in count:
            reject(semantics.has(name, count[name]), f"no `{name}`", _listed(count), at(answer, args))
    for name, bound in (at_most or {}).items():
        if count.get(name, 0) > bound:
            reject(semantics.too_often(name, count[name], bound), f"{bound}", f"{count[name]}")
    if max_equations is not None and facts["equations"] > max_equations:
        reject(semantics.too_long(facts["equations"], max_equations))
    for others in same_size_for:
        larger = program(others)["equations"]
        if larger != facts["equations"]:
            reject(semantics.grows(facts["equations"], larger))


def _listed(count: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {times}" for name, times in sorted(count.items())) or "no operation"
