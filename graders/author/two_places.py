"""Proves the seam: an answer in a second process gets the same verdict in the same words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from graders.judging.lesson_run import LessonRun, Trial, run_lesson, try_entry, words_of
from graders.lesson.cells import Cell, Entry, Lesson
from graders.lesson.problems import Problem
from graders.seam.remote import RemotePlace, RemoteProcess


def compare_places(
    here: LessonRun, trials: Iterable[Trial], advance: Callable[[], None]
) -> list[Problem]:
    """Answers that are judged otherwise, or in other words, where they live in a second process.

    `here` is the lesson as it ran in this process, `trials` are answers that were judged in it.
    The solutions are compared, and the trials; `advance` is called after each of these.
    """
    lesson, problems = here.lesson, []
    with RemoteProcess() as process:
        there = run_lesson(lesson, RemotePlace(process))
        for check in lesson.checks:
            said = _of_solution(here, check), _of_solution(there, check)
            problems += _differing(str(check.check), lesson.path / "lesson.py", check.line, *said)
        for trial in trials:
            entry, words = trial.entry, try_entry(there, trial.entry).words
            problems += _differing(entry.exercise, entry.path, entry.line, trial.words, words)
            advance()
    return problems


def _of_solution(lesson_run: LessonRun, check: Cell) -> list[str]:
    return [words_of(lesson_run.solutions[check.index])]


def _differing(
    exercise: str, path: Path, line: int, here: list[str], there: list[str]
) -> list[Problem]:
    if here == there:
        return []
    what = f"{exercise}: here {here}, in a second process {there}"
    return [Problem(path, line, what, "fix the seam")]


def sample(lesson: Lesson) -> list[Entry]:
    """The last wrong entry of each exercise; the solutions are its right ones."""
    return list({entry.exercise: entry for entry in lesson.wrong}.values())


def short_sample(lesson: Lesson) -> list[Entry]:
    """Every fifth of these."""
    return sample(lesson)[::5]
