"""What grading found: a row for each submission, kept from run to run."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

RESULTS = Path("build/reports/results.json")
GRADED, HELD, UNREADABLE, FAILED = "graded", "held", "unreadable", "infrastructure error"


@dataclass(frozen=True)
class Row:
    """The marks of one submission, or why there are none."""

    student: str
    lesson: str
    # "graded"; "held": changed marks wait to be agreed to, these are the old ones; "unreadable":
    # nothing to grade; "infrastructure error": the grading broke down, which is no zero.
    status: str
    scores: dict[str, float] = field(default_factory=dict)  # by check
    points: dict[str, float] = field(default_factory=dict)  # by check
    reason: str = ""
    notebook: str = ""  # the digest of what was handed in
    kinds: dict[str, str] = field(default_factory=dict)  # why a check was failed, by check

    @property
    def key(self) -> tuple[str, str]:
        """What makes the row unique, and sorts it."""
        return self.student, self.lesson

    @property
    def total(self) -> float | None:
        """The points earned; None where nothing could be graded: that is not a zero."""
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


def keep(root: Path, rows: Iterable[Row], present: Iterable[tuple[str, str]]) -> list[Row]:
    """Adds `rows` to those of earlier runs whose submissions are still there; gives them all."""
    merged = {row.key: row for row in kept(root)} | {row.key: row for row in rows}
    merged = {key: merged[key] for key in sorted(set(present) & merged.keys())}
    path = root / RESULTS
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    text = json.dumps([asdict(row) for row in merged.values()], indent=1, ensure_ascii=False)
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
    return list(merged.values())


def kept(root: Path) -> list[Row]:
    """The rows of earlier runs."""
    try:
        return [Row(**row) for row in json.loads((root / RESULTS).read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []
