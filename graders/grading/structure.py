"""Whether an exported program can be the one whose structure a student's process has claimed.

JAX lowers each primitive to operations of StableHLO. So an operation that only some primitives
become shows that one of them is there, and one that is missing shows that they are not. Arithmetic
and layout show nothing, and which primitives JAX calls by a custom rule cannot be told either.
"""

from __future__ import annotations

from collections.abc import Mapping

from graders.probes.exports import Contents
from graders.probes.primitives import Program
from graders.values.jax_internals import (
    LAYOUT,
    LOOPS,
    PRODUCT,
    WIDE,
    becomes,
    most_operations,
    observable,
)

SEEN = (*LOOPS, PRODUCT, "sort", "shard_map")
"""Primitives that a lesson may require: an operation shows that they are there."""
MOST, MOST_OF_A_LOOP = 4, 60
"""Operations that a primitive becomes, at most, where no example of it becomes more.

A loop takes apart and puts together as many arrays as it is given.
"""
SLACK = 2
"""By so many operations that compute, programs of as many equations may differ."""
WIDER = 2
"""So many times larger than all that is claimed a value may be: the words of keys, say."""


class Structure:
    """What one answer has said of its programs, beside the operations that they have."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []  # equations, as claimed, and what computes

    def agrees(self, claim: Program, contents: Contents, largest_input: int = 0) -> bool:
        """Whether a program of these contents can be the claimed one.

        What is claimed to be as long for other inputs computes as much for them.
        """
        return (
            _is_consistent(claim)
            and _explains(claim, contents.operations)
            and _is_there(claim, contents.operations)
            and sum(contents.operations.values()) <= _most(claim)
            and contents.largest <= _wider(claim) * max(claim.largest, largest_input)
            and self._is_as_long(claim.equations, contents.operations)
        )

    def _is_as_long(self, equations: int, operations: Mapping[str, int]) -> bool:
        computing = sum(n for name, n in operations.items() if name not in LAYOUT)
        alike = [other for same, other in self.seen if same == equations]
        self.seen.append((equations, computing))
        return all(abs(computing - other) <= SLACK for other in alike)


def _is_consistent(claim: Program) -> bool:
    """Whether the numbers of a claim agree with each other."""
    counts, used = claim.primitives, claim.used
    less = all(n <= counts.get(name, 0) for name, n in used.items())
    return less and sum(counts.values()) == claim.equations


def _explains(claim: Program, operations: Mapping[str, int]) -> bool:
    """Whether every operation of the program is one that a claimed primitive becomes."""
    found = observable(operations)
    products = operations.get(PRODUCT, 0)
    return found <= _all(claim.primitives) and products <= claim.primitives.get(PRODUCT, 0)


def _all(primitives: Mapping[str, int]) -> set[str]:
    return set().union(*map(becomes, primitives))


def _wider(claim: Program) -> int:
    """By how much the largest value may be larger than all that is claimed."""
    return max([WIDER, *(WIDE[name] for name in WIDE if name in claim.primitives)])


def _is_there(claim: Program, operations: Mapping[str, int]) -> bool:
    """Whether the claimed primitives that can be seen, and whose results are used, are there."""
    return all(becomes(name) & operations.keys() for name in SEEN if name in claim.used)


def _most(claim: Program) -> int:
    """The number of operations that the claimed primitives become at most."""
    least = {name: MOST_OF_A_LOOP if name in LOOPS else MOST for name in claim.primitives}
    each = (n * max(least[name], most_operations(name)) for name, n in claim.primitives.items())
    return sum(each) + 6 * MOST
