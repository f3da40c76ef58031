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

from graders import compiling
from graders.author import entries
from graders.author.cells import Entry, Lesson
from graders.author.entries import Stage
from graders.author.source import read_lesson
from graders.classroom.draft import Draft
from graders.grading import workplace
from graders.grading.engine import Settings
from graders.place import LocalPlace
from graders.root import course_root

LESSONS = [path.name for path in sorted((course_root() / "solutions").glob("[0-9]*"))]


def submissions(lesson: Lesson) -> Iterator[list[Entry]]:
    """Submissions that together hold every right and every wrong answer, one for each exercise."""
    for answers in (lesson.right, lesson.wrong):
        by_exercise: dict[str, list[Entry]] = {}
        for entry in answers:
            by_exercise.setdefault(entry.exercise, []).append(entry)
        for row in zip_longest(*by_exercise.values()):
            yield [entry for entry in row if entry]


def marks_here(stage: Stage, answers: Sequence[Entry]) -> dict[str, bool]:
    """Whether each check passes, judged in this process; the solutions stand in for the rest."""
    marks = {str(c.grade_id): stage.solutions[c.index].passed for c in stage.lesson.checks}
    for entry in answers:
        verdicts = entries.try_entry(stage, entry).verdicts
        checks = stage.checks_of(entry.exercise)
        marks |= {str(c.grade_id): v.passed for c, v in zip(checks, verdicts, strict=True)}
    return marks


def compared(name: str, most: int, cache: Path) -> list[tuple[dict, dict, dict]]:
    """For each submission: its marks in the sandbox, those beside us, and what its checks said."""
    every, root = [], course_root()
    lesson = read_lesson(root / "solutions" / name)
    logging.getLogger("jax").setLevel(logging.ERROR)
    flags = os.environ["XLA_FLAGS"]
    with workplace.sandbox([lesson], cache, Settings(root).seconds, flags) as sandbox:
        place = workplace.prepared(lesson, cache, sandbox)
        stage = entries.run(lesson, LocalPlace())
        for answers in list(submissions(lesson))[:most]:
            draft = Draft.of(root, lesson)
            draft.solve()
            for entry in answers:
                draft.put_entry(entry)
            found = place.examiner.examine(draft.notebook.cells, place.processes)
            got = {check: outcome.passed for check, outcome in found.outcomes.items()}
            said = {check: one.words for check, one in found.outcomes.items() if not one.passed}
            every.append((got, marks_here(stage, answers), said))
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
