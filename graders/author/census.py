"""Counts of a lesson, and the ones that are too low."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from graders.lesson.cells import Lesson
from graders.lesson.problems import Problem

WRONG_ENTRIES, RIGHT_ENTRIES = 3, 1


@dataclass(frozen=True)
class Census:
    """What a lesson holds."""

    exercises: int
    predictions: int
    points: int
    wrong: int
    right: int
    words: int


def census(lesson: Lesson) -> Census:
    """The counts of a lesson; words are those of its prose, without hints and formulas."""
    code = sum(cell.answer_kind == "code" for cell in lesson.exercises.values())
    prose = (c.source for c in lesson.cells if c.kind == "markdown" and not c.hints)
    return Census(
        code,
        len(lesson.exercises) - code,
        lesson.points,
        len(lesson.wrong),
        len(lesson.right),
        sum(len(re.findall(r"[A-Za-z]['\w-]*", text)) for text in prose),
    )


def too_few(lesson: Lesson) -> Iterator[Problem]:
    """Exercises with too few wrong or right answers, and too many points for predictions."""
    for name, cell in lesson.exercises.items():
        if cell.answer_kind != "code":
            continue
        for kind, entries, least in (
            ("wrong", lesson.wrong, WRONG_ENTRIES),
            ("right", lesson.right, RIGHT_ENTRIES),
        ):
            count = sum(entry.exercise == name for entry in entries)
            if count < least:
                what = f"{name}: {count} {kind} answers, where {least} is the least"
                yield Problem(lesson.path / f"{kind}.py", 1, what, f"add to {kind}.py")
    yield from _points(lesson)


def _points(lesson: Lesson) -> Iterator[Problem]:
    kinds = {name: cell.answer_kind for name, cell in lesson.exercises.items()}
    asked = sum(c.points or 0 for c in lesson.checks if kinds[str(c.check)] != "code")
    if 3 * asked > lesson.points:
        what = f"{asked} of {lesson.points} points are for predictions and recall"
        yield Problem(lesson.path / "lesson.py", 1, what, "at most a third may be")
