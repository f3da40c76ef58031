"""What grading found: a row for each submission, and why an answer has failed a check."""

from dataclasses import dataclass, field

from graders.card.outcome import Outcome
from graders.seam import protocol

GRADED, HELD, UNREADABLE, FAILED = "graded", "held", "unreadable", "infrastructure error"
NOT_PLACED = "not placed"

# Why a check has the mark that it has. Where the grading itself breaks down there is no outcome.
BY_HAND = "by hand"
NOT_ANSWERED, WRONG, STUDENT_ERROR = "not answered", "wrong", "student error"
TIMEOUT, OUT_OF_MEMORY = "timeout", "out of memory"
_LIMITS = {
    protocol.OUT_OF_TIME.type: TIMEOUT,
    protocol.OUT_OF_MEMORY.type: OUT_OF_MEMORY,
}


def kind(outcome: Outcome) -> str:
    """Why the answer has failed, one of the five; "" where it has not."""
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
    # nothing to grade; "infrastructure error": the grading broke down, which is not a zero. In
    # these two the marks are those of an earlier submission, where there was one. "not placed":
    # nobody knows whose it is, or which lesson; `lesson` is then the name of what lies there.
    status: str
    scores: dict[str, float] = field(default_factory=dict)  # by check
    points: dict[str, float] = field(default_factory=dict)  # by check
    reason: str = ""
    note: str = ""  # for the instructor alone
    kinds: dict[str, str] = field(default_factory=dict)  # why a check has its mark, by check
    penalty: float = 0.0  # for handing in late

    @property
    def key(self) -> tuple[str, str]:
        """What makes the row unique, and sorts it."""
        return self.student, self.lesson

    @property
    def remark(self) -> str:
        """All that there is to say of the submission."""
        return "; ".join(filter(None, (self.reason, self.note)))

    @property
    def total(self) -> float | None:
        """The mark that counts; None where nothing could be graded, which is not a zero."""
        return sum(self.scores.values()) - self.penalty if self.scores else None

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
