"""How far a student has come: which checks have passed in their notebooks, by lesson.

A check is known by its source, so a check that was edited does not count. Hidden tests have not
been run: the points are those of the visible ones, and the mark may be lower.

The file holds `{"version": 2, "checks": {lesson: {check: record}}}`. Version 1 was
`{lesson: [check that has passed]}`, and is read as well.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass, replace
from datetime import date
from html import escape
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any, Literal

from graders import files

CATALOGUE = "catalogue.json"  # written by `jax-course build`
FOLDER_VARIABLE = "JAX_COURSE_PROGRESS"
NOWHERE = "nowhere"  # of the variable: this process keeps no progress
FILE = "progress.json"
_VERSION = 2
_INTERVALS = 2, 7, 21, 60  # days until the first, second ... review


@dataclass(frozen=True)
class Check:
    """A check cell of a lesson: the name of its exercise, and its points."""

    lesson: str
    name: str
    exercise: str
    points: int
    kind: Literal["code", "prediction", "recall"] = "code"


@dataclass(frozen=True)
class About:
    """A lesson: its title, and the minutes that it takes a newcomer."""

    title: str
    minutes: int


def digest(source: str) -> str:
    """What a check cell is known by; blanks at its ends do not matter."""
    return hashlib.sha256(source.strip().encode()).hexdigest()[:16]


@functools.cache
def _table() -> dict[str, Any]:
    return json.loads(resources.files("graders.notebook").joinpath(CATALOGUE).read_text("utf-8"))


@functools.cache
def catalogue() -> dict[str, Check]:
    """Every check cell of the course by the digest of its source, in the order of the lessons."""
    return {
        digest: Check(lesson, *described)
        for lesson, about in _table().items()
        for digest, described in about["checks"].items()
    }


def lessons() -> dict[str, About]:
    """Every lesson of the course, in order."""
    return {name: About(about["title"], about["minutes"]) for name, about in _table().items()}


def given_names(lesson: str) -> Set[str]:
    """The names that cells of the lesson define, answers apart; none for an unknown lesson."""
    return frozenset(_table().get(lesson, {}).get("names", ()))


def check_of(source: str) -> Check | None:
    """The check of the course whose cell this is."""
    return catalogue().get(digest(source))


@dataclass(frozen=True)
class Record:
    """What is known of one check: whether it passes now, how often it failed, when it passed."""

    passed: bool = False
    failed: int = 0
    days: tuple[str, ...] = ()
    """The days on which it passed, as ISO dates."""

    def ran(self, met: bool, answered: bool, today: date) -> Record:
        """The record after one more run of the check; without an answer nothing has failed."""
        if not met:
            return replace(self, passed=False, failed=self.failed + answered)
        return replace(self, passed=True, days=tuple(dict.fromkeys((*self.days, str(today)))))

    def is_due(self, today: date) -> bool:
        """Whether an answer that was wrong at first should be given once more.

        That is so 2 days after it passed first, 7 days after it passed again, then 21 and 60.
        """
        if not (self.passed and self.failed and 0 < len(self.days) <= len(_INTERVALS)):
            return False
        since = today - date.fromisoformat(self.days[-1])
        return since.days >= _INTERVALS[len(self.days) - 1]


Records = dict[str, dict[str, Record]]
"""The records of checks, by lesson and name."""


@dataclass(frozen=True)
class _Found:
    """What a file holds, and why it holds nothing that can be used."""

    records: Records
    problem: str = ""
    is_newer: bool = False


class Progress:
    """The records of a student's checks, kept in a file, or where it cannot be written, here."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.unsaved: Records | None = None  # what could not be written

    def records(self) -> Records:
        """What is known of the checks that were run."""
        return self._known().records

    def passed(self) -> dict[str, list[str]]:
        """The names of the checks that have passed, by lesson."""
        return {
            lesson: sorted(name for name, record in checks.items() if record.passed)
            for lesson, checks in self.records().items()
        }

    def problem(self) -> str:
        """Why the file cannot be read, with the way out; "" where it can."""
        return self._read().problem

    def note(
        self, check: Check, met: bool, answered: bool = True, today: date | None = None
    ) -> None:
        """Notes that the check has passed, or that it does not."""
        found = self._known()
        inside = found.records.setdefault(check.lesson, {})
        before, today = inside.get(check.name, Record()), today or date.today()
        inside[check.name] = before.ran(met, answered, today)
        self._keep(found)

    def forget(self, lesson: str) -> None:
        """Nothing is known of the lesson's checks any more."""
        found = self._known()
        if found.records.pop(lesson, None):
            self._keep(found)

    def _known(self) -> _Found:
        return self._read() if self.unsaved is None else _Found(self.unsaved)

    def _read(self) -> _Found:
        try:
            text = self.file.read_text("utf-8")
        except FileNotFoundError:
            return _Found({})
        except (OSError, ValueError) as error:
            return _Found({}, f"Your progress cannot be read from {self.file}: {error}.")
        try:
            return _Found(_records(json.loads(text)))
        except _Newer:
            problem = (
                f"{self.file} was written by a newer version of the course, and is not changed. "
                "Update this one: git pull, then make lab. Your answers are not affected."
            )
            return _Found({}, problem, is_newer=True)
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            problem = (
                f"{self.file} is damaged. Your answers are not affected: run the checks again "
                "(Run > Run All Cells) to count them anew. The damaged file is kept beside it."
            )
            return _Found({}, problem)

    def _keep(self, found: _Found) -> None:
        """Writes the records, with a file that cannot be read set aside."""
        written = {
            lesson: {name: asdict(record) for name, record in sorted(checks.items())}
            for lesson, checks in found.records.items()
        }
        if found.is_newer:
            self.unsaved = found.records
            return
        try:
            if found.problem:
                self._set_aside()
            text = json.dumps({"version": _VERSION, "checks": written}, indent=1)
            files.write_atomically(self.file, text)
        except OSError:  # a home that is read-only, a disk that is full
            self.unsaved = found.records

    def _set_aside(self) -> None:
        names = (self.file.with_suffix(f".damaged-{n}.json") for n in count(1))
        self.file.rename(next(path for path in names if not path.exists()))


class _Newer(Exception):
    """The file was written by a later version."""


def _records(noted: Any) -> Records:
    """What a file says, in this version's form or in the first one's."""
    if "version" not in noted:
        return {
            str(lesson): {str(name): Record(passed=True) for name in names}
            for lesson, names in noted.items()
        }
    if noted["version"] > _VERSION:
        raise _Newer
    return {
        lesson: {name: _record(fields) for name, fields in checks.items()}
        for lesson, checks in noted["checks"].items()
    }


def _record(fields: Mapping[str, Any]) -> Record:
    days = tuple(str(date.fromisoformat(day)) for day in fields.get("days", ()))
    return Record(bool(fields.get("passed")), int(fields.get("failed", 0)), days)


@functools.cache
def current() -> Progress:
    """The progress of the user of this process: beside their answers, or in their cache folder."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Progress((Path(folder) if folder else files.cache_folder()) / FILE)


def is_enabled() -> bool:
    """Whether a student is at work; a notebook that is graded or proved keeps no progress."""
    return os.environ.get(FOLDER_VARIABLE) != NOWHERE


@dataclass(frozen=True)
class Standing:
    """The points of the passed checks of one lesson, and the exercises that are open."""

    lesson: str
    points: int
    of: int
    open: tuple[str, ...]


def standings(passed: dict[str, list[str]]) -> list[Standing]:
    """Where each lesson of the course stands."""
    checks: dict[str, list[Check]] = {}
    for check in catalogue().values():
        checks.setdefault(check.lesson, []).append(check)
    return [_standing(name, inside, passed.get(name, ())) for name, inside in checks.items()]


def _standing(lesson: str, checks: Iterable[Check], passed: Iterable[str]) -> Standing:
    checks, passed = list(checks), set(passed)
    earned = sum(check.points for check in checks if check.name in passed)
    missing = dict.fromkeys(check.exercise for check in checks if check.name not in passed)
    return Standing(lesson, earned, sum(check.points for check in checks), tuple(missing))


def line(lesson: str) -> str:
    """One sentence: the points in this lesson, and in the course."""
    everything = standings(current().passed())
    here = next(standing for standing in everything if standing.lesson == lesson)
    points, of = sum(s.points for s in everything), sum(s.of for s in everything)
    return f"{lesson}: {here.points} of {here.of} points. The course: {points} of {of}."


class Overview:
    """What `progress()` shows: a table in a notebook, lines of text elsewhere."""

    def __init__(self, standings: Iterable[Standing]) -> None:
        self.standings = list(standings)

    def __repr__(self) -> str:
        return "\n".join(
            f"{s.lesson:18} {s.points:3} of {s.of:3}  {_what_is_open(s)}" for s in self.standings
        )

    def _repr_html_(self) -> str:
        rows = "".join(map(_row, self.standings))
        head = "".join(
            f'<th scope="col" style="text-align:left">{name}</th>'
            for name in ("Lesson", "Points", "", "Open")
        )
        return (
            "<table><caption>Points of the checks that have passed. When your work is graded, "
            f"hidden tests try more.</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{rows}</tbody></table>"
        )


def _row(standing: Standing) -> str:
    label = f"{standing.lesson}: {standing.points} of {standing.of} points"
    return (
        f'<tr><th scope="row" style="text-align:left">{escape(standing.lesson)}</th>'
        f'<td style="text-align:right;white-space:nowrap">{standing.points} of {standing.of}</td>'
        f'<td><progress value="{standing.points}" max="{standing.of}" '
        f'aria-label="{escape(label)}"></progress></td>'
        f'<td style="text-align:left">{escape(_what_is_open(standing))}</td></tr>'
    )


def _what_is_open(standing: Standing) -> str:
    """The names of the open exercises, where a start has been made; a word otherwise."""
    if not standing.open:
        return "all passed"
    return "not begun" if not standing.points else ", ".join(standing.open)


def progress() -> Overview:
    """The points of the checks that have passed so far, for each lesson of the course.

    Example:
        >>> progress()  # doctest: +ELLIPSIS
        00_start ...
    """
    return Overview(standings(current().passed()))
