"""remembered: a check's own function is asked once where it would do the same again."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from graders import remembered

CELL = compile(
    """
def helper():
    return unit

def outer():
    return add(3 * helper())
""",
    "<cell>",
    "exec",
)


class Asked:
    """Keeps what the cell's function computes, each time that it runs."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.add = lambda value: self.seen.append(value) or value


def test_the_same_code_on_the_same_objects_is_asked_once() -> None:
    asked = Asked()
    assert [_run(asked, unit=7) for _ in range(3)] == [21, 21, 21]
    assert asked.seen == [21]


@pytest.mark.parametrize("changed", ["unit", "helper"])
def test_another_object_or_other_code_is_asked_anew(changed: str) -> None:
    asked = Asked()
    _run(asked, unit=7)
    other: dict[str, Any] = {"unit": {"unit": 8}, "helper": {"unit": 7, "helper": lambda: 8}}
    assert _run(asked, **other[changed]) == 24
    assert asked.seen == [21, 24]


def test_equal_objects_are_not_the_same() -> None:
    asked = Asked()
    first, second = [1], [1]
    assert _run(asked, unit=first) == _run(asked, unit=second)
    assert len(asked.seen) == 2


def test_a_name_read_inside_an_inner_function_counts() -> None:
    cell = compile("answer = lambda: (lambda: unit)()", "<cell>", "exec")
    assert [_answered(cell, unit=unit) for unit in (1, 2)] == [1, 2]


def test_a_closure_and_a_default_are_asked_each_time() -> None:
    def closed_over(value: int) -> Callable[[], int]:
        return lambda: value

    def by_default(value: int) -> Callable[[], int]:
        return lambda kept=value: kept

    for make in (closed_over, by_default):
        assert [remembered.result(make(value)) for value in (1, 2)] == [1, 2]


def test_the_namespace_is_not_kept() -> None:
    class Answer:
        """What a student's name is bound to."""

    cell = compile("ask = lambda: 5", "<cell>", "exec")
    bound: dict[str, Any] = {"answer": Answer()}
    exec(cell, bound)
    assert remembered.result(bound["ask"]) == 5
    kept = weakref.ref(bound["answer"])
    del bound
    gc.collect()
    assert kept() is None


def test_an_error_is_not_remembered() -> None:
    outcomes = iter([ValueError("not yet"), 5])

    def answer() -> int:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with pytest.raises(ValueError, match="not yet"):
        remembered.result(answer)
    assert remembered.result(answer) == 5


def _run(asked: Asked, **names: Any) -> Any:
    """Runs the cell as a check cell runs, in a namespace of its own, and asks its function."""
    bound: dict[str, Any] = {}
    exec(CELL, bound)
    bound.update(names, add=asked.add)
    return remembered.result(bound["outer"])


def _answered(cell: Any, **names: Any) -> Any:
    bound: dict[str, Any] = dict(names)
    exec(cell, bound)
    return remembered.result(bound["answer"])
