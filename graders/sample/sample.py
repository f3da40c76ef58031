"""Makes a class of students whose marks are known, from what the lessons' authors have written."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from nbgrader.api import Gradebook

from graders.author.build import build_sources
from graders.grading.results import Row
from graders.grading.submissions import SUBMITTED
from graders.lesson.source import Lesson
from graders.sample import habits
from graders.sample.draft import Draft

KNOWN = Path("build/sample-marks.json")
PREFIX = "sample-"  # of the students' names: other submissions are left alone

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
    "renamed [1]": (habits.renamed, (0,)),
    "empty-folder": (habits.empty_folder, (0,)),
}


def main(root: Path) -> int:
    """Makes the sample class in build/submitted/ and says so."""
    rows = make_class(root)
    students = len({row.student for row in rows})
    print(f"{students} students with {len(rows)} submissions: {SUBMITTED}/{PREFIX}*")
    return 0


def make_class(root: Path, students: Sequence[str] = tuple(CLASS)) -> list[Row]:
    """Writes the submissions of these students, and gives the rows that grading must find.

    An earlier sample class goes, from the gradebook too; other submissions stay.
    """
    lessons = build_sources(root)
    _clear(root)
    rows = []
    for student in students:
        habit, numbers = CLASS[student]
        for number in sorted({n % len(lessons) for n in numbers}):
            rows.append(_hand_in(root, PREFIX + student, lessons[number], habit))
    _write_known(root, rows)
    return rows


def known_marks(root: Path) -> list[Row]:
    """The rows that grading the sample class must find."""
    return [Row(**row) for row in json.loads((root / KNOWN).read_text(encoding="utf-8"))]


def _write_known(root: Path, rows: Sequence[Row]) -> None:
    text = json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False)
    (root / KNOWN).write_text(text, encoding="utf-8")


def _hand_in(root: Path, student: str, lesson: Lesson, habit: Habit) -> Row:
    draft = Draft.of(root, lesson)
    habit(draft)
    folder = root / SUBMITTED / student / lesson.name
    folder.mkdir(parents=True)
    if content := draft.file_content():
        (folder / (draft.file or f"{lesson.name}.ipynb")).write_bytes(content)
    return draft.row(student)


def _clear(root: Path) -> None:
    for step in ("submitted", "autograded", "feedback"):
        for folder in (root / "build" / step).glob(f"{PREFIX}*"):
            shutil.rmtree(folder)
    database = root / "build/gradebook.db"
    if database.exists():
        with Gradebook(f"sqlite:///{database}") as gradebook:
            names = [str(student.id) for student in gradebook.students]
            for name in (name for name in names if name.startswith(PREFIX)):
                gradebook.remove_student(name)
