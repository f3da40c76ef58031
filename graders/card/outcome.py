"""What one check cell found of an answer, as data: cards, pages and tables are drawn from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from graders.card import messages
from graders.card.failure import Cause, Finding

State = Literal["open", "met", "failed", "unanswered"]

MIME = "application/vnd.jax-course.outcome+json"
"""The type of an output of a notebook that holds an outcome."""


@dataclass(frozen=True)
class Requirement:
    """One call of a check in a check cell, and what came of it."""

    verb: str
    exercise: str
    hidden: bool = False
    about: str = ""
    state: State = "open"

    @property
    def words(self) -> str:
        return messages.requirement(self.verb, self.about, self.hidden)


@dataclass(frozen=True)
class Outcome:
    """The requirements of a check cell in order, up to the first that failed and behind it."""

    exercise: str
    requirements: tuple[Requirement, ...]
    finding: Finding | None = None  # of the requirement that failed
    reason: str = ""  # why a right answer is right

    @property
    def failed(self) -> Requirement | None:
        return next((r for r in self.requirements if r.state in ("failed", "unanswered")), None)

    @property
    def passed(self) -> bool:
        """Whether every requirement is met: then the check gives its points."""
        return all(requirement.state == "met" for requirement in self.requirements)

    @property
    def answered(self) -> bool:
        """Whether there was an answer to judge."""
        return all(requirement.state != "unanswered" for requirement in self.requirements)

    @property
    def words(self) -> str:
        """The failure in one line that a student may read; "" where there is none."""
        if not self.failed or not self.finding:
            return ""
        if self.failed.hidden and self.finding.answered:
            return messages.hidden_line(self.failed.exercise, self.failed.words)
        return messages.one_line(self.failed.exercise, self.finding)

    def for_the_student(self) -> Outcome:
        """The same without what a hidden test found: its inputs, its numbers, its diagnosis."""
        hides = self.failed and self.failed.hidden and self.finding and self.finding.answered
        return replace(self, finding=Finding(messages.HIDDEN)) if hides else self

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Outcome:
        """The outcome that `as_json` gave.

        Raises:
            KeyError, TypeError: it is not one.
        """
        finding = data["finding"]
        if finding is not None:
            picture = tuple(map(tuple, finding["picture"]))
            finding = Finding(**finding | {"cause": Cause(**finding["cause"]), "picture": picture})
        requirements = tuple(Requirement(**fields) for fields in data["requirements"])
        return cls(data["exercise"], requirements, finding, data["reason"])
