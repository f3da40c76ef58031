"""Proves the seam: an answer in a second process gets the same verdict in the same words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from graders.author.cells import Cell, Entry, Lesson
from graders.author.entries import Stage, run, try_entry, words_of
from graders.author.problems import Problem
from graders.place import LocalPlace
from graders.remote import RemotePlace, RemoteProcess


def compare_places(
    lesson: Lesson, entries: Sequence[Entry], advance: Callable[[], None]
) -> list[Problem]:
    """Answers that are judged otherwise, or in other words, where they live in a second process.

    The solutions are compared, and the `entries`.
    """
    problems = []
    with RemoteProcess() as process:
        here, there = run(lesson, LocalPlace()), run(lesson, RemotePlace(process))
        for check in lesson.checks:
            said = _of_solution(here, check), _of_solution(there, check)
            problems += _differing(str(check.check), lesson.path / "lesson.py", check.line, *said)
        for entry in entries:
            said = try_entry(here, entry).words, try_entry(there, entry).words
            problems += _differing(entry.exercise, entry.path, entry.line, *said)
            advance()
    return problems


def _of_solution(stage: Stage, check: Cell) -> list[str]:
    return [words_of(stage.solutions[check.index])]


def _differing(
    exercise: str, path: Path, line: int, here: list[str], there: list[str]
) -> list[Problem]:
    if here == there:
        return []
    what = f"{exercise}: here {here}, in a second process {there}"
    return [Problem(path, line, what, "mend the seam")]


def sample(lesson: Lesson) -> list[Entry]:
    """The last wrong entry of each exercise; the solutions are its right ones."""
    return list({entry.exercise: entry for entry in lesson.wrong}.values())
