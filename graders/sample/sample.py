"""Makes a class of students whose marks are known, from what the lessons' authors have written."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from graders.author.build import build_sources
from graders.errors import CourseError
from graders.grading.results import Row
from graders.grading.submissions import SAMPLE, SUBMITTED
from graders.lesson.source import Lesson
from graders.sample import habits
from graders.sample.draft import Draft

KNOWN = Path("known-marks.json")  # in the folder of the class
PREFIX = "sample-"  # of the students' names


class NoSampleClass(CourseError):
    """There is nothing to compare with; the message says what makes it."""


Habit = Callable[[Draft], None]

# Who does what, in which lessons (by number; a course with fewer lessons counts round).
CLASS: dict[str, tuple[Habit, tuple[int, ...]]] = {
    "perfect": (habits.perfect, (0, 1, 2, 7, 8, 9, 11, 13, 15)),
    "right": (habits.right, (0, 1, 2, 4, 6, 10, 12, 14, 16)),
    "right-at-first": (habits.right_at_first, (1,)),
    "half-wrong": (habits.half_wrong, (0, 1, 5, 7, 10, 12)),
    "other-half-wrong": (habits.other_half_wrong, (0, 2, 9, 14)),
    "all-wrong": (habits.all_wrong, (0,)),
    "untouched": (habits.untouched, (0, 1)),
    "Zoë Ångström": (habits.half_answered, (0,)),
    "noisy": (habits.noisy, (0,)),
    "syntax-error": (habits.syntax_error, (0,)),
    "without-checks": (habits.without_checks, (1,)),
    "without-an-exercise": (habits.without_an_exercise, (0,)),
    "copied-cells": (habits.copied_cells, (0,)),
    "edited-check": (habits.edited_check, (0,)),
    "not-a-notebook": (habits.not_a_notebook, (1,)),
    "another-json": (habits.another_json, (2,)),
    "cut-short": (habits.cut_short, (1,)),
    "renamed": (habits.renamed, (0,)),
    "empty-folder": (habits.empty_folder, (0,)),
}


def main(root: Path) -> int:
    """Makes the sample class anew in its own folder and says so; no other class is touched."""
    shutil.rmtree(root / SAMPLE, ignore_errors=True)
    rows = make_class(root)
    students = len({row.student for row in rows})
    print(f"{students} students with {len(rows)} submissions: {SAMPLE / SUBMITTED}/{PREFIX}*")
    return 0


def make_class(
    root: Path, students: Sequence[str] = tuple(CLASS), place: Path = SAMPLE
) -> list[Row]:
    """Writes the submissions of these students, and gives the rows that grading must find.

    `place` is the folder of the class.
    """
    lessons = build_sources(root)
    rows = []
    for student in students:
        habit, numbers = CLASS[student]
        for number in sorted({n % len(lessons) for n in numbers}):
            handed_in = root / place / SUBMITTED / (PREFIX + student)
            rows.append(_hand_in(root, handed_in, lessons[number], habit))
    _write_known(root / place, rows)
    return rows


def known_marks(root: Path) -> list[Row]:
    """The rows that grading the sample class must find.

    Raises:
        NoSampleClass: none has been made.
    """
    path = root / SAMPLE / KNOWN
    if not path.is_file():
        raise NoSampleClass("There is no sample class: jax-course sample-class makes one.")
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def _write_known(place: Path, rows: Sequence[Row]) -> None:
    text = json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False)
    (place / KNOWN).write_text(text, encoding="utf-8")


def _hand_in(root: Path, handed_in: Path, lesson: Lesson, habit: Habit) -> Row:
    draft = Draft.of(root, lesson)
    habit(draft)
    folder = handed_in / lesson.name
    folder.mkdir(parents=True)
    if content := draft.file_content():
        (folder / (draft.file or f"{lesson.name}.ipynb")).write_bytes(content)
    return draft.row(handed_in.name)
