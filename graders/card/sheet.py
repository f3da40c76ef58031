"""The sheet of one check cell: its requirements in order, and how far an answer came.

The sheet is read off the cell's source, so that a card can name the requirements that are still
unchecked, and knows which of them are hidden. It shows itself once: at the first failure, or
when the last requirement is met.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from graders.card import messages
from graders.card.failure import CheckFailed, Finding
from graders.card.outcome import Outcome, Requirement, State
from graders.lesson.regions import HIDDEN, RegionError


@dataclass
class Sheet:
    """The requirements of one cell; `show` is called with the outcome when there is one."""

    requirements: list[Requirement]
    show: Callable[[Outcome], None] = lambda outcome: None
    finding: Finding | None = None
    reason: str = ""  # why a right answer is right
    position: int = 0  # of the requirement that comes next
    memory: dict[int, Any] = field(default_factory=dict)  # of `remembered`, by position

    @classmethod
    def of(cls, source: str, show: Callable[[Outcome], None] = lambda outcome: None) -> Sheet:
        return cls(requirements_in(source), show)

    def remembered(self, function: Callable[[], Any]) -> Any:
        """What `function()` returns; for each line of the cell it is called once.

        A check cell does not use the student's names in such a function, so what it returns is the
        same for every submission. In grading the memory outlives the sheet.
        """
        if self.position not in self.memory:
            self.memory[self.position] = function()
        return self.memory[self.position]

    @property
    def exercise(self) -> str:
        return self.requirements[0].exercise if self.requirements else ""

    @property
    def is_complete(self) -> bool:
        """Whether the cell has nothing left to check."""
        return self.position == len(self.requirements)

    @property
    def outcome(self) -> Outcome:
        """How far the answer has come."""
        return Outcome(self.exercise, tuple(self.requirements), self.finding, self.reason)

    def begin(self, verb: str, exercise: str, about: str = "") -> None:
        """The next requirement is under way; one that the source did not announce is added."""
        if self.is_complete:
            self.requirements.append(Requirement(verb, exercise, about=about))
        self.position += 1

    def meet(self, reason: str = "") -> None:
        """Notes that the requirement is met; shows the outcome if it was the last."""
        self.reason = reason
        self._set("met")
        if self.is_complete:
            self.show(self.outcome)

    def fail(self, finding: Finding) -> CheckFailed:
        """Shows the outcome and gives the exception to raise."""
        failed = self._set("failed" if finding.answered else "unanswered")
        hides = failed.hidden and finding.answered
        self.finding = (messages.of_hidden(finding) if hides else finding).cut()
        self.show(self.outcome)
        return CheckFailed(failed.exercise, failed.words, self.finding, self.outcome.words)

    def _set(self, state: State) -> Requirement:
        """The requirement that is under way, in its new state."""
        index = self.position - 1
        self.requirements[index] = replace(self.requirements[index], state=state)
        return self.requirements[index]


_current: Sheet | None = None


@contextmanager
def turned_to(sheet: Sheet) -> Iterator[Sheet]:
    """Within this block the checks write on `sheet`."""
    before = _current
    turn_to(sheet)
    try:
        yield sheet
    finally:
        turn_to(before)


def turn_to(sheet: Sheet | None) -> None:
    """The checks write on `sheet` from now on; None: each check on a fresh one."""
    global _current
    _current = sheet


def current() -> Sheet:
    return _current or Sheet([])


def requirements_in(source: str) -> list[Requirement]:
    """The calls of checks that stand as statements in a cell, in order."""
    return [Requirement(*facts) for facts in _checks_in(source)]


@lru_cache(1024)  # each submission of a class asks for the same cells
def _checks_in(source: str) -> list[tuple[str, str, bool, str]]:
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return []
    hidden = _hidden_lines(source)
    calls = [s.value for s in statements if isinstance(s, ast.Expr)]
    return [
        (call.func.id, exercise_name(call), call.lineno in hidden, _about(call))
        for call in calls
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id.startswith("check_")
    ]


def _hidden_lines(source: str) -> set[int]:
    """The lines of hidden tests; every line where a region of them is not closed."""
    try:
        return HIDDEN.line_numbers(source)
    except RegionError:
        return set(range(1, source.count("\n") + 2))


def _about(call: ast.Call) -> str:
    values = [keyword.value for keyword in call.keywords if keyword.arg == "about"]
    return str(values[0].value) if values and isinstance(values[0], ast.Constant) else ""


def exercise_name(call: ast.Call) -> str:
    """The name of the exercise that this call of a check judges; "" where there is none."""
    argument = call.args[0] if call.args else None
    while isinstance(argument, ast.Call) and isinstance(argument.func, ast.Name):
        place = {"result_of": 0, "through": 1}.get(argument.func.id)
        if place is None or len(argument.args) <= place:
            return ""
        argument = argument.args[place]
    return argument.id if isinstance(argument, ast.Name) else ""
