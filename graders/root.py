"""Where the course is on this machine."""

from __future__ import annotations

from pathlib import Path

from graders.errors import CourseError
from graders.files import PACKAGE


class NoCourse(CourseError):
    """There is no course in this folder; the message says what to do."""


def course_root(start: Path | None = None) -> Path:
    """The folder that holds the lessons: `start`, one above it, or the one that graders is in.

    Raises:
        NoCourse: none of them has lessons in course/ or solutions/.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents, PACKAGE.resolve().parent):
        if has_lessons(folder):
            return folder
    raise NoCourse(
        f"There are no lessons in {start}. Go to the folder that you downloaded the course to, "
        "the one that holds course/, and try again there."
    )


def has_lessons(folder: Path) -> bool:
    """Whether `folder` holds lessons, to take or to write."""
    return any(folder.glob("course/[0-9][0-9]_*/")) or any(folder.glob("solutions/[0-9][0-9]_*/"))
