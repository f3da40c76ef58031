"""Judges an answer: evaluates a check cell with the student's names bound to subjects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from graders.card import messages, sheet
from graders.card.failure import Cause, CheckFailed, Finding
from graders.card.outcome import Outcome
from graders.seam.place import Place, execute

STOPPED = Cause(
    "the check cannot judge this answer: it stopped with an error",
    "Look at what your function returns. If that is what the text asks for, tell your instructor.",
)


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check cell, and the failure where there is one."""

    outcome: Outcome
    failure: CheckFailed | None = None

    @property
    def passed(self) -> bool:
        return self.failure is None

    @property
    def failed_at(self) -> int | None:
        """The position of the requirement that rejected the answer."""
        return None if self.passed else self.outcome.requirements.index(self.outcome.failed)


class Evaluation:
    """A check cell that is being evaluated, in parts if need be, on the answers in a place.

    It runs in a copy of the trusted `namespace`, in which every name of `students` is bound to
    what `place` holds under it.
    """

    def __init__(
        self,
        source: str,
        namespace: dict[str, Any],
        students: Iterable[str],
        place: Place,
        filename: str,
        memory: dict[int, Any] | None = None,
    ) -> None:
        """`memory` is what the cell's own functions have returned before; it is added to."""
        self.sheet, self.filename = sheet.Sheet.of(source), filename
        if memory is not None:
            self.sheet.memory = memory
        self.students = set(students)
        self.bound = dict(namespace)
        self.failure: CheckFailed | None = None
        self.move_to(place)

    def move_to(self, place: Place) -> None:
        """From now on the answers are those in `place`."""
        self.bound.update({name: place.subject(name) for name in self.students})

    @property
    def is_over(self) -> bool:
        """Whether the verdict stands: nothing of the cell is left to run."""
        return self.failure is not None or self.sheet.is_complete

    def go_on(self, part: str) -> Verdict:
        """The verdict after this part of the cell too; after a failure nothing more runs.

        An error of the check itself, not of the answer, is raised: see `stop`.
        """
        if self.failure is None:
            with sheet.turned_to(self.sheet):
                try:
                    execute(part, self.filename, self.bound)
                except CheckFailed as failure:
                    self.failure = failure
        return Verdict(self.sheet.outcome, self.failure)

    def stop(self, error: Exception) -> Verdict:
        """The verdict where the check itself has stopped with an error at this answer."""
        begun = self.sheet.requirements[: self.sheet.position]
        if not begun or begun[-1].state != "open":
            self.sheet.begin("", self.sheet.exercise)
        self.failure = self.sheet.fail(Finding(STOPPED, error=type(error).__name__))
        return Verdict(self.sheet.outcome, self.failure)

    def reject(self, cause: Cause) -> Verdict:
        """The verdict on an answer that meets all that the cell asks, refused for `cause`."""
        self.sheet.begin(messages.CONFIRMED, self.sheet.exercise)
        self.failure = self.sheet.fail(Finding(cause))
        return Verdict(self.sheet.outcome, self.failure)
