"""How far a student has come: which checks have passed in their notebooks, by lesson.

A check is known by its source, so a check that was edited does not count. Hidden tests have not
been run: the points are those of the visible ones, and the mark may be lower.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path

from graders import files

CATALOGUE = "catalogue.json"  # written by `jax-course build`
FOLDER_VARIABLE = "JAX_COURSE_PROGRESS"
NOWHERE = "nowhere"  # of the variable: this process keeps no progress
_FILE = "progress.json"


@dataclass(frozen=True)
class Check:
    """A check cell of a lesson: the name of its exercise, and its points."""

    lesson: str
    name: str
    exercise: str
    points: int


def digest(source: str) -> str:
    """What a check cell is known by; blanks at its ends do not matter."""
    return hashlib.sha256(source.strip().encode()).hexdigest()[:16]


@functools.cache
def catalogue() -> dict[str, Check]:
    """Every check cell of the course by the digest of its source, in the order of the lessons."""
    lessons = json.loads(resources.files("graders.notebook").joinpath(CATALOGUE).read_text("utf-8"))
    return {
        digest: Check(lesson, *described)
        for lesson, checks in lessons.items()
        for digest, described in checks.items()
    }


def check_of(source: str) -> Check | None:
    """The check of the course whose cell this is."""
    return catalogue().get(digest(source))


class Progress:
    """The checks that have passed, kept in a file; where it cannot be written, for this session."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.unsaved: dict[str, list[str]] | None = None  # what could not be written

    def passed(self) -> dict[str, list[str]]:
        """The names of the checks that have passed, by lesson."""
        if self.unsaved is not None:
            return self.unsaved
        try:
            noted = json.loads(self.file.read_text("utf-8"))
            return {str(lesson): [str(name) for name in names] for lesson, names in noted.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def note(self, check: Check, met: bool) -> None:
        """Notes that the check has passed, or that it no longer does."""
        noted = self.passed()
        names = set(noted.get(check.lesson, ())) - {check.name}
        noted[check.lesson] = sorted(names | {check.name} if met else names)
        self._keep(noted)

    def _keep(self, noted: dict[str, list[str]]) -> None:
        try:
            files.write_atomically(self.file, json.dumps(noted, indent=1))
        except OSError:  # a home that is read-only, a disk that is full
            self.unsaved = noted


@functools.cache
def current() -> Progress:
    """The progress of the user of this process: beside their answers, or in their cache folder."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Progress((Path(folder) if folder else files.cache_folder()) / _FILE)


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
