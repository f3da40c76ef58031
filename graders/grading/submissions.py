"""What students have handed in: where it lies, and whether it can be read at all."""

import json
import warnings
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from graders.nbgrading.plugins import grade_id

SUBMITTED = Path("build/submitted")
LARGEST, MOST_CELLS = 20_000_000, 2_000  # bytes, and cells, of a notebook


class Unreadable(Exception):
    """A submission cannot be graded; the message says why, in words for the report."""


@dataclass(frozen=True, order=True)
class Submission:
    """A student's folder for one lesson."""

    student: str
    lesson: str
    folder: Path

    @property
    def key(self) -> tuple[str, str]:
        """What it is known by."""
        return self.student, self.lesson

    @property
    def notebook(self) -> Path:
        """Where the notebook has to lie."""
        return self.folder / f"{self.lesson}.ipynb"

    def check_readable(self, lesson: Collection[str]) -> None:
        """Returns if this is a notebook with a cell of the lesson's; else raises Unreadable.

        `lesson` are the names by which nbgrader knows the cells of the lesson.
        """
        for path in (self.folder.parent, self.folder, self.notebook):
            if path.is_symlink():
                raise Unreadable(f"{path.name} is a link, not a file or folder of its own")
        if not self.notebook.is_file():
            raise Unreadable(f"no {self.notebook.name}{self._what_there_is()}")
        if self.notebook.stat().st_size > LARGEST:
            raise Unreadable(f"the notebook is larger than {LARGEST // 10**6} MB")
        notebook = _checked_notebook(self.notebook.read_bytes())
        if not any(grade_id(cell) in lesson for cell in notebook.cells):
            raise Unreadable(
                f"a notebook without any exercise of {self.lesson}: of another lesson?"
            )

    def _what_there_is(self) -> str:
        names = sorted(p.name for p in self.folder.iterdir() if not p.name.startswith("."))
        return f", only {', '.join(names[:3])}" if names else ": the folder is empty"


def submissions(
    root: Path, lessons: Iterable[str], students: Iterable[str] = ()
) -> list[Submission]:
    """The submissions of these lessons by these students, or by all, in a fixed order."""
    wanted = set(students)
    return sorted(
        submission
        for lesson in lessons
        for submission in _of_lesson(root / SUBMITTED, lesson)
        if not wanted or submission.student in wanted
    )


def _of_lesson(submitted: Path, lesson: str) -> Iterator[Submission]:
    for student in submitted.glob("*"):
        if not student.name.startswith(".") and (student / lesson).is_dir():
            yield Submission(student.name, lesson, student / lesson)


def _checked_notebook(content: bytes) -> NotebookNode:
    try:
        parsed = json.loads(content.decode())
    except UnicodeDecodeError:
        raise Unreadable("not a notebook: it is no text") from None
    except json.JSONDecodeError as error:
        cut = error.pos >= len(error.doc.rstrip()) or "Unterminated" in error.msg
        why = "it is cut short" if cut and error.doc.strip() else "it is no JSON"
        raise Unreadable(f"not a notebook: {why} (line {error.lineno})") from None
    except (RecursionError, ValueError):
        raise Unreadable("not a notebook: its JSON cannot be read") from None
    if not isinstance(parsed, dict) or "cells" not in parsed:
        raise Unreadable("not a notebook: it is JSON without cells")
    if isinstance(parsed["cells"], list) and len(parsed["cells"]) > MOST_CELLS:
        raise Unreadable(
            f"the notebook has {len(parsed['cells']):,} cells; {MOST_CELLS:,} can be read"
        )
    return _validated(content.decode())


def _validated(text: str) -> NotebookNode:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            notebook = nbformat.reads(text, as_version=4)
            nbformat.validate(notebook)
            return notebook
    # nbformat raises whatever the odd notebook makes it stumble over.
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        raise Unreadable(f"not a valid notebook: {first}") from None
