"""Wrong and right answers of the lessons get the marks in the sandbox that they get beside us."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path

import pytest

from graders.grading import worker
from graders.grading.engine import Settings
from graders.judging.lesson_run import LessonRun, run_lesson, try_entry
from graders.lesson.cells import Entry, Lesson
from graders.lesson.source import read_lesson
from graders.root import course_root
from graders.sample.draft import Draft
from graders.seam.place import LocalPlace
from graders.values import compiling

# On Linux alone: all of these run answers in bubblewrap's sandbox.
pytestmark = pytest.mark.sandbox

LESSONS = [path.name for path in sorted((course_root() / "solutions").glob("[0-9]*"))]


def submissions(lesson: Lesson) -> Iterator[list[Entry]]:
    """Submissions that together hold every right and every wrong answer, one for each exercise."""
    for answers in (lesson.right, lesson.wrong):
        by_exercise: dict[str, list[Entry]] = {}
        for entry in answers:
            by_exercise.setdefault(entry.exercise, []).append(entry)
        for row in zip_longest(*by_exercise.values()):
            yield [entry for entry in row if entry]


def marks_here(lesson_run: LessonRun, answers: Sequence[Entry]) -> dict[str, bool]:
    """Whether each check passes, judged in this process; the solutions stand in for the rest."""
    marks = {
        str(c.grade_id): lesson_run.solutions[c.index].passed for c in lesson_run.lesson.checks
    }
    for entry in answers:
        verdicts = try_entry(lesson_run, entry).verdicts
        checks = lesson_run.checks_of(entry.exercise)
        marks |= {str(c.grade_id): v.passed for c, v in zip(checks, verdicts, strict=True)}
    return marks


def compared(name: str, most: int, cache: Path) -> list[tuple[dict, dict, dict]]:
    """For each submission: its marks in the sandbox, those beside us, and what its checks said."""
    every, root = [], course_root()
    lesson = read_lesson(root / "solutions" / name)
    logging.getLogger("jax").setLevel(logging.ERROR)
    flags = os.environ["XLA_FLAGS"]
    with worker.sandbox([lesson], cache, Settings(root).seconds, flags) as sandbox:
        place = worker.prepared(lesson, cache, sandbox.processes)
        lesson_run = run_lesson(lesson, LocalPlace())
        for answers in list(submissions(lesson))[:most]:
            draft = Draft.of(root, lesson)
            draft.solve()
            for entry in answers:
                draft.put_entry(entry)
            found = place.examiner.examine(draft.notebook.cells, place.processes)
            got = {check: outcome.passed for check, outcome in found.outcomes.items()}
            said = {check: one.words for check, one in found.outcomes.items() if not one.passed}
            assert found.signs == [], found.signs
            every.append((got, marks_here(lesson_run, answers), said))
    return every


@pytest.mark.parametrize(
    ("name", "most"),
    [
        pytest.param("01_arrays", 1, id="short"),
        *(pytest.param(name, 1000, id=name, marks=pytest.mark.long) for name in LESSONS),
    ],
)
def test_marks_are_the_same_in_the_sandbox(
    name: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", compiling.flags())  # as the engine has it
    # In a process of its own: in this one JAX has as many devices as the tests want.
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        every = alone.submit(compared, name, most, tmp_path).result()
    assert every
    for got, meant, said in every:
        assert got == meant, said
