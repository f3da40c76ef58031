"""What grading found: a row for each submission, and why an answer has failed a check."""

from dataclasses import dataclass, field

from graders.card.outcome import Outcome
from graders.seam import protocol

GRADED, HELD, UNREADABLE, FAILED = "graded", "held", "unreadable", "infrastructure error"

# Why an answer has failed a check. Where the grading itself breaks down there is no outcome.
NOT_ANSWERED, WRONG, STUDENT_ERROR = "not answered", "wrong", "student error"
TIMEOUT, OUT_OF_MEMORY = "timeout", "out of memory"
_LIMITS = {
    protocol.OUT_OF_TIME.type: TIMEOUT,
    protocol.OUT_OF_MEMORY.type: OUT_OF_MEMORY,
}


def kind(outcome: Outcome) -> str:
    """Why the answer has failed, one of the five above; "" where it has not."""
    if not outcome.failed or not outcome.finding:
        return ""
    if outcome.finding.limit:
        return _LIMITS.get(outcome.finding.error, STUDENT_ERROR)
    if outcome.finding.error:
        return STUDENT_ERROR
    return WRONG if outcome.finding.answered else NOT_ANSWERED


@dataclass(frozen=True)
class Row:
    """The marks of one submission, or why there are none."""

    student: str
    lesson: str
    # "graded"; "held": changed marks wait to be agreed to, these are the old ones; "unreadable":
    # nothing to grade; "infrastructure error": the grading broke down, which is not a zero.
    status: str
    scores: dict[str, float] = field(default_factory=dict)  # by check
    points: dict[str, float] = field(default_factory=dict)  # by check
    reason: str = ""
    kinds: dict[str, str] = field(default_factory=dict)  # why a check was failed, by check

    @property
    def key(self) -> tuple[str, str]:
        """What makes the row unique, and sorts it."""
        return self.student, self.lesson

    @property
    def total(self) -> float | None:
        """The points earned; None where nothing could be graded, which is not a zero."""
        return sum(self.scores.values()) if self.status in (GRADED, HELD) else None

    @property
    def highest(self) -> float:
        """The points that could be earned."""
        return sum(self.points.values())


@dataclass(frozen=True)
class Change:
    """A mark that would be another one although its submission has not changed."""

    student: str
    lesson: str
    check: str
    before: float
    after: float
