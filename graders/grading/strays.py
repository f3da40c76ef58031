"""What lies among a class's submissions and cannot be graded, each with the reason."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from pathlib import Path

from graders.grading.results import NOT_PLACED, Row
from graders.grading.submissions import OWN, SUBMITTED, entries, students_folders
from graders.nbgrading.names import shown


def strays(
    root: Path, lessons: Collection[str], students: Collection[str] = (), place: Path = OWN
) -> list[Row]:
    """A row for everything that is no folder of one of these lessons in one of a student.

    `place` is the folder of the class in `root`.
    """
    return [
        row
        for path, refused in students_folders(root / place / SUBMITTED)
        if not students or path.name in students
        for row in ([_row(path.name, "", refused)] if refused else _of_student(path, lessons))
    ]


def _row(student: str, name: str, reason: str) -> Row:
    return Row(student, name, NOT_PLACED, reason=reason)


def _of_student(folder: Path, lessons: Collection[str]) -> Iterator[Row]:
    try:
        within = [(path.name, path.is_dir()) for path in entries(folder)]
    except OSError as error:
        yield _row(folder.name, "", f"the folder cannot be opened: {error.strerror}")
        return
    if loose := [shown(name) for name, is_folder in within if not is_folder]:
        yield _row(folder.name, "", f"{', '.join(loose[:3])}: not in the folder of a lesson")
    for name, is_folder in within:
        if is_folder and name not in lessons:
            yield _row(folder.name, name, _no_lesson(name, lessons))


def _no_lesson(name: str, lessons: Collection[str]) -> str:
    close = get_close_matches(name.lower().replace("-", "_"), lessons, 1)
    return f"no lesson has this name{f': did you mean {close[0]}?' if close else ''}"
