"""What the home page shows, as plain data: the lessons, what is next, what is due for review."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from graders.lab import working_copy
from graders.notebook.progress import About, Check, Progress, Record, catalogue, lessons

State = Literal["passed", "failed", "open"]
_HEADING = re.compile(r"^# (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Item:
    """One exercise, prediction or recall question, with the way to it."""

    lesson: str
    name: str
    kind: str
    state: State
    is_due: bool

    @property
    def path(self) -> str:
        """Below the address of JupyterLab: the notebook, at the cell with the answer."""
        return f"{notebook_path(self.lesson)}#cell-id={self.name.replace('_', '-')}"


@dataclass(frozen=True)
class Row:
    """One lesson: its points, and its items in order."""

    name: str
    title: str
    minutes: int
    points: int
    of: int
    items: tuple[Item, ...]

    @property
    def number(self) -> int:
        return int(self.name[:2])

    @property
    def path(self) -> str:
        return notebook_path(self.name)

    @property
    def state(self) -> Literal["done", "begun", "new"]:
        if all(item.state == "passed" for item in self.items):
            return "done"
        return "begun" if any(item.state != "open" for item in self.items) else "new"

    def items_that_are(self, state: State) -> list[Item]:
        return [item for item in self.items if item.state == state]


@dataclass(frozen=True)
class Page:
    """A page of the reference: its title, and its path below the address of JupyterLab."""

    title: str
    path: str


@dataclass(frozen=True)
class Home:
    """All that the home page shows."""

    rows: tuple[Row, ...]
    pages: tuple[Page, ...]
    problem: str
    """Why there is no progress, with the way out; "" where all is well."""

    @property
    def points(self) -> int:
        return sum(row.points for row in self.rows)

    @property
    def of(self) -> int:
        return sum(row.of for row in self.rows)

    @property
    def next(self) -> Item | None:
        """The first item that has not passed, in the first lesson that is begun and not done.

        Where none is begun, in the first lesson that is not done.
        """
        unfinished = [row for row in self.rows if row.state != "done"]
        begun = [row for row in unfinished if row.state == "begun"]
        items = (item for row in (begun or unfinished)[:1] for item in row.items)
        return next((item for item in items if item.state != "passed"), None)

    @property
    def due(self) -> list[Item]:
        """Predictions and recall questions that were wrong at first, to be answered once more."""
        return [item for row in self.rows for item in row.items if item.is_due]


def home(work: Path, progress: Progress, today: date) -> Home:
    """The home page of the lessons in `work`, with what is known of their checks."""
    records, there, about = progress.records(), working_copy.lessons(work), lessons()
    checks: dict[str, list[Check]] = {name: [] for name in there}
    for check in catalogue().values():
        if check.lesson in checks:
            checks[check.lesson].append(check)
    rows = [
        _row(name, about.get(name, About(name, 0)), checks[name], records.get(name, {}), today)
        for name in there
    ]
    return Home(tuple(rows), tuple(_pages(work)), progress.problem())


def notebook_path(lesson: str) -> str:
    """The path of a lesson's notebook below the address of JupyterLab."""
    return f"lab/tree/{lesson}/{lesson}.ipynb"


def _row(
    name: str, about: About, checks: Sequence[Check], records: dict[str, Record], today: date
) -> Row:
    known = {check: records.get(check.name, Record()) for check in checks}
    by_exercise: dict[str, dict[Check, Record]] = {}
    for check, record in known.items():
        by_exercise.setdefault(check.exercise, {})[check] = record
    items = tuple(_item(exercise, found, today) for exercise, found in by_exercise.items())
    points = sum(check.points for check, record in known.items() if record.passed)
    of = sum(check.points for check in checks)
    return Row(name, about.title, about.minutes, points, of, items)


def _item(name: str, checks: dict[Check, Record], today: date) -> Item:
    first = next(iter(checks))
    is_due = first.kind != "code" and any(r.is_due(today) for r in checks.values())
    return Item(first.lesson, name, first.kind, _state(checks.values()), is_due)


def _state(records: Iterable[Record]) -> State:
    records = list(records)
    if all(record.passed for record in records):
        return "passed"
    return "failed" if any(r.failed and not r.passed for r in records) else "open"


def _pages(work: Path) -> Iterable[Page]:
    """The pages of the reference, the one-page summaries of lessons last."""
    folder = work / "reference"
    for path in sorted(folder.rglob("*.md"), key=lambda path: (len(path.parts), path)):
        heading = _HEADING.search(path.read_text("utf-8", errors="replace"))
        title = heading[1] if heading else path.stem
        yield Page(title, f"lab/tree/{quote(path.relative_to(work).as_posix())}")
