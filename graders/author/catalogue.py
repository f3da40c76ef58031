"""The table of all check cells, by which a student's notebook knows what a check is worth."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from graders.lesson.cells import Lesson
from graders.notebook.progress import digest

_TITLE = re.compile(r"^# (?:\d+ · )?(.+)$", re.MULTILINE)
_MINUTES = re.compile(r"About (\d+) minutes")


def catalogue(lessons: Iterable[Lesson], release: Path, others: dict[str, Any]) -> bytes:
    """What is known of each lesson: title, minutes, names that given cells bind, check cells.

    A check cell is described by name, exercise, points and kind of answer, under the digest of its
    source. The lessons are released in the folder `release`, and `others` are those of an earlier
    table that are not among them.
    """
    known = others | {lesson.name: _lesson(lesson, release) for lesson in lessons}
    return (json.dumps(dict(sorted(known.items())), indent=1) + "\n").encode()


def _lesson(lesson: Lesson, release: Path) -> dict[str, Any]:
    notebook = nbformat.read(release / lesson.name / f"{lesson.name}.ipynb", as_version=4)
    head = lesson.cells[0].source
    title, minutes = _TITLE.search(head), _MINUTES.search(head)
    return {
        "title": title[1] if title else lesson.name,
        "minutes": int(minutes[1]) if minutes else 0,
        "names": sorted({name for cell in lesson.cells if cell.is_given for name in cell.binds}),
        "checks": {
            digest(cell.source): _described(cell, lesson)
            for cell in notebook.cells
            if _is_check(cell)
        },
    }


def _is_check(cell: NotebookNode) -> bool:
    return cell.metadata.get("nbgrader", {}).get("grade", False)


def _described(cell: NotebookNode, lesson: Lesson) -> tuple[str, str, int, str]:
    name, points = cell.metadata.nbgrader.grade_id, cell.metadata.nbgrader.points
    exercise = name.rpartition("_check")[0]
    return name, exercise, points, lesson.exercises[exercise].answer_kind
