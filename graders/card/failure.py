"""What a check says when it fails: the facts (`Finding`) and the exception (`CheckFailed`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from graders.values.visible import JOINERS, written_out

MOST_CHARACTERS = 4_000  # of one text; a student's names and messages are in some of them


@dataclass(frozen=True)
class Cause:
    """The usual cause of a failure, and the next step to try: "" where the cause says it all."""

    diagnosis: str
    next_step: str
    line: str = ""  # of the student's code, where that is known


@dataclass(frozen=True)
class Finding:
    """What is wrong with an answer, and at which input; the texts are for a person."""

    cause: Cause
    expected: str = ""
    got: str = ""
    at: str = ""
    picture: tuple[tuple[bool, ...], ...] = ()  # of a matrix, which elements are wrong
    answered: bool = True
    error: str = ""  # the type of the exception that the answer raised, if it raised one
    limit: bool = False  # whether `error` is a limit that the answer ran into

    def cut(self) -> Finding:
        """The same, with texts that are no longer than a page shows."""
        cause = Cause(*map(_cut, (self.cause.diagnosis, self.cause.next_step, self.cause.line)))
        names = ("expected", "got", "at", "error")
        return replace(self, cause=cause, **{name: _cut(getattr(self, name)) for name in names})


def _cut(text: str) -> str:
    text = text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 4]} ..."
    return written_out(text, keep=f"\t\n{JOINERS}")


class Rejected(Exception):
    """Raised inside a check to reject an answer; the sheet turns it into `CheckFailed`."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.cause.diagnosis)
        self.finding = finding


class CheckFailed(AssertionError):
    """An answer does not meet a requirement.

    Fields: `exercise`, `requirement`, `expected`, `got`, `at` (the input), `diagnosis`,
    `next_step`, `line` (of the student's code), `error` (the type of what the answer raised), and
    `answered`, which is False where nothing has been written yet. A failed hidden test keeps
    expected, got and input to itself: its `words` name the requirement only.

    Example:
        >>> try:
        ...     check_dtype(jnp.sin, jnp.ones(3), returns="int32")
        ... except CheckFailed as failed:
        ...     failed.expected, failed.got
        ('int32', 'float32')
    """

    def __init__(self, exercise: str, requirement: str, finding: Finding, words: str) -> None:
        super().__init__(words)
        self.exercise = exercise
        self.requirement = requirement
        self.expected, self.got, self.at = finding.expected, finding.got, finding.at
        self.diagnosis = finding.cause.diagnosis
        self.next_step, self.line = finding.cause.next_step, finding.cause.line
        self.answered, self.error = finding.answered, finding.error

    def _render_traceback_(self) -> list[str]:
        """One line in a notebook: the card above it has said the rest."""
        return [f"CheckFailed: {self}"]
