"""What students have handed in: where it lies, whether it can be read, and what of it is graded."""

from __future__ import annotations

import json
import mimetypes
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.utils import parse_utc

from graders.files import digest
from graders.nbgrading.limits import DEEPEST, LARGEST, MOST_FILES
from graders.nbgrading.names import alike, encodable, fault, shown
from graders.nbgrading.plugins import grade_id

OWN, SAMPLE = Path("build"), Path("build/sample")  # the folder of a class, in that of the course
SUBMITTED = Path("submitted")  # in the folder of a class
AUTOGRADED = Path("autograded")  # beside it
MOST_CELLS = 2_000  # of a notebook
# A list takes 72 bytes of memory and 3 of JSON, a picture takes 1 for 1: what can become an object
# is bounded by itself. Brackets, colons and commas inside strings make no object, and do not count.
MOST_MARKS = 1_000_000
_MARKS = (b"[", b"{", b":", b",")
# A string of JSON, or one without an end: so no quote is looked at twice, whatever comes behind it.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
MOST_HELPERS, LARGEST_HELPERS = 20, 1_000_000  # files beside a notebook, and bytes of them all
TIMESTAMP, SECRET = "timestamp.txt", "submission_secret.txt"  # nbgrader's exchange writes them
_LARGEST_OF_THE_EXCHANGE = 1_000  # bytes of one of these two
_BY_SYSTEMS = {".DS_Store", ".gitkeep", ".ipynb_checkpoints", "__MACOSX", "__pycache__"}
_CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


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

    @property
    def helpers(self) -> list[Path]:
        """The files beside the notebook that are kept with it.

        They are regular files that can be read, at most `MOST_HELPERS` with `LARGEST_HELPERS` bytes
        in all, Python files first.
        """
        return self._beside[0]

    def files(self) -> dict[str, bytes]:
        """What the helpers contain, by their paths below the folder, with `/` on every system."""
        return {p.relative_to(self.folder).as_posix(): p.read_bytes() for p in self.helpers}

    @property
    def left_out(self) -> str:
        """What there is to say of files beside the notebook that are no helpers; "" if nothing."""
        return self._beside[1]

    @cached_property
    def _beside(self) -> tuple[list[Path], str]:
        files = list(islice(_regular_files(self.folder), MOST_FILES + 1))
        if len(files) > MOST_FILES:
            return [], f"more than {MOST_FILES:,} files beside the notebook: none is used"
        kept, room = [], LARGEST_HELPERS
        for path, size in sorted(files, key=lambda one: (one[0].suffix != ".py", one[0])):
            if len(kept) < MOST_HELPERS and size is not None and size <= room:
                kept.append(path)
                room -= size
        if dropped := len(files) - len(kept):
            why = "too many, too large, nested too deep, hard links or unreadable"
            return kept, f"files beside the notebook that are not used: {dropped} ({why})"
        return kept, ""

    @property
    def handed_in(self) -> str:
        """When it was handed in, as nbgrader's exchange wrote it; "" where that is no time."""
        text = _text(self.folder / TIMESTAMP)
        try:
            return text if text and parse_utc(text) else ""
        # dateutil raises whatever the odd text makes it stumble over.
        except Exception:
            return ""

    def digest(self) -> str:
        """A name for exactly what is graded of it."""
        parts = (
            part for name, content in self.files().items() for part in (name.encode(), content)
        )
        return digest(self.notebook.read_bytes(), *parts)

    def read(self, lesson: Collection[str]) -> NotebookNode:
        """The notebook with what is graded of it: the sources of its cells, and nbgrader's names.

        `lesson` are the names by which nbgrader knows the cells of the lesson.

        Raises:
            Unreadable: this is no notebook with a cell of the lesson's.
        """
        try:
            for path in (self.folder.parent, self.folder, self.notebook):
                if path.is_symlink():
                    raise Unreadable(f"{path.name} is a link, not a file or folder of its own")
            notebook = _notebook(self._content())
        except OSError as error:
            raise Unreadable(f"the notebook cannot be opened: {error.strerror}") from None
        if not any(grade_id(cell) in lesson for cell in notebook.cells):
            raise Unreadable(
                f"a notebook without any exercise of {self.lesson}: of another lesson?"
            )
        return notebook

    def _content(self) -> bytes:
        if not self.notebook.exists():
            raise Unreadable(f"no {self.notebook.name}{self._what_there_is()}")
        if not self.notebook.is_file():
            raise Unreadable(f"{self.notebook.name} is not a file")
        status = self.notebook.stat()
        if _is_hard_link(status):
            raise Unreadable(
                f"{self.notebook.name} is a hard link, not a file of its own: replace it by a copy"
            )
        if status.st_size > LARGEST:
            raise Unreadable(f"the notebook is larger than {LARGEST // 10**6} MB")
        return self.notebook.read_bytes()

    def _what_there_is(self) -> str:
        names = sorted(p.name for p in self.folder.iterdir() if not p.name.startswith("."))
        listed = ", ".join(map(shown, names[:3]))
        return f", only {listed}" if names else ": the folder is empty"

    def taken_in(self, notebook: NotebookNode, place: Path) -> Submission:
        """A copy below `place` that has nothing but `notebook`, the helpers, and the time.

        Grading reads the copy: there is no link in it, nothing that is no file, and nothing large.
        """
        copy = Submission(self.student, self.lesson, place / self.student / self.lesson)
        copy.folder.mkdir(parents=True)
        copy.notebook.write_text(json.dumps(notebook, ensure_ascii=False), encoding="utf-8")
        for name, content in self.files().items():
            target = copy.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        for name, text in ((TIMESTAMP, self.handed_in), (SECRET, _text(self.folder / SECRET))):
            if text:
                (copy.folder / name).write_text(text, encoding="utf-8")
        return copy


def _text(path: Path) -> str:
    """What a small file of the exchange says; "" where it is none."""
    try:
        status = path.lstat()
        is_own = stat.S_ISREG(status.st_mode) and not _is_hard_link(status)
        if is_own and status.st_size <= _LARGEST_OF_THE_EXCHANGE:
            return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        pass
    return ""


def _regular_files(folder: Path) -> Iterator[tuple[Path, int | None]]:
    """The files below `folder` that may be helpers, with their sizes; no link is followed.

    The size is None of what cannot be used: of a file that cannot be read or is a hard link, and of
    a folder that lies too deep to be looked into.
    """
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_passed_over(name))
        if len(Path(place).relative_to(folder).parts) == DEEPEST:
            yield from ((Path(place, name), None) for name in folders)
            folders.clear()
        for name in files:
            path = Path(place, name)
            if _is_passed_over(name) or path.suffix in (".ipynb", ".pyc") or _is_a_page(name):
                continue
            if path.parent == folder and name in (TIMESTAMP, SECRET):
                continue
            try:
                status = path.lstat()
            except OSError:  # in a folder that may not be entered
                yield path, None
                continue
            if stat.S_ISREG(status.st_mode):
                usable = not _is_hard_link(status) and os.access(path, os.R_OK)
                yield path, status.st_size if usable else None


def _is_hard_link(status: os.stat_result) -> bool:
    """Whether the file has another name too: it can be one that was never handed in."""
    return status.st_nlink > 1


def _is_passed_over(name: str) -> bool:
    return name in _BY_SYSTEMS or bool(fault(name))


def _is_a_page(name: str) -> bool:
    """Whether a browser would run what the file says: Formgrader serves what lies beside it."""
    kind = mimetypes.guess_type(name)[0] or ""
    return kind.endswith(("html", "xml"))


# ---- where they lie ----


def submissions(
    root: Path, lessons: Iterable[str], students: Iterable[str] = (), place: Path = OWN
) -> list[Submission]:
    """The submissions of these lessons by these students, or by all, in a fixed order.

    `place` is the folder of the class in `root`. What is refused for its name is not among them.
    """
    wanted, named = set(students), list(lessons)
    folders = [path for path, refused in students_folders(root / place / SUBMITTED) if not refused]
    return sorted(
        Submission(folder.name, lesson, folder / lesson)
        for folder in folders
        if not wanted or folder.name in wanted
        for lesson in named
        if _is_folder(folder / lesson)
    )


def students_folders(submitted: Path) -> Iterator[tuple[Path, str]]:
    """What lies where the students' folders have to lie, and why it is refused; "" if it is not."""
    if not submitted.is_dir():
        return
    paths = sorted(path for path in submitted.iterdir() if path.name not in _BY_SYSTEMS)
    twins = alike(path.name for path in paths)
    graded = submitted.parent / AUTOGRADED
    for path in paths:
        refused = fault(path.name)
        # A name that was graded under before is not lost to one that comes after it.
        was_first = (graded / path.name).is_dir() and not any(
            (graded / other).is_dir() for other in twins.get(path.name, ())
        )
        if not refused and path.name in twins and not was_first:
            others = ", ".join(map(shown, twins[path.name]))
            refused = f"only case or encoding tell the name from {others}: rename one folder"
        elif not refused and not path.is_dir():
            refused = "a file where a student's folder is expected: put it into STUDENT/LESSON/"
        yield path, refused


def entries(folder: Path) -> list[Path]:
    """What somebody has put into the folder, in order."""
    return sorted(path for path in folder.iterdir() if path.name not in _BY_SYSTEMS)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # of a folder that may not be entered
        return False


# ---- what a notebook says ----


def _notebook(content: bytes) -> NotebookNode:
    """The notebook in nbformat 4.5, as far as it is graded.

    Whatever else a program has written into it, in whichever of its versions, is left out, and so
    are the outputs.
    """
    parsed = _parsed(content)
    if not isinstance(parsed, dict) or "cells" not in parsed:
        raise Unreadable("not a notebook: it is JSON without cells")
    if parsed.get("nbformat") != 4:
        raise Unreadable("not a valid notebook: its format is not that of nbformat 4")
    if not isinstance(parsed["cells"], list):
        raise Unreadable("not a valid notebook: its cells are no list")
    if len(parsed["cells"]) > MOST_CELLS:
        raise Unreadable(
            f"the notebook has {len(parsed['cells']):,} cells; {MOST_CELLS:,} can be read"
        )
    ids: set[str] = set()
    cells = [_cell(cell, number, ids) for number, cell in enumerate(parsed["cells"], 1)]
    made: Any = nbformat.from_dict(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    )
    return made


def _marks_outside_strings(content: bytes) -> int:
    outside = _STRING.sub(b"", content)
    return sum(map(outside.count, _MARKS))


def _parsed(content: bytes) -> Any:
    if (marks := _marks_outside_strings(content)) > MOST_MARKS:
        raise Unreadable(
            f"the notebook has {marks:,} brackets, colons and commas, outputs included; "
            f"{MOST_MARKS:,} can be read"
        )
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Unreadable("not a notebook: it is no text") from None
    except json.JSONDecodeError as error:
        cut = error.pos >= len(error.doc.rstrip()) or "Unterminated" in error.msg
        why = "it is cut short" if cut and error.doc.strip() else "it is no JSON"
        raise Unreadable(f"not a notebook: {why} (line {error.lineno})") from None
    except (RecursionError, ValueError):
        raise Unreadable("not a notebook: its JSON cannot be read") from None


def _cell(cell: Any, number: int, ids: set[str]) -> dict[str, Any]:
    """The cell with its source, its name in nbgrader, and an id that is not in `ids` yet."""
    if not isinstance(cell, dict) or cell.get("cell_type") not in ("code", "markdown", "raw"):
        raise Unreadable(f"not a valid notebook: cell {number} is of no known type")
    metadata = cell.get("metadata")
    described = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    name = described.get("grade_id") if isinstance(described, dict) else None
    own = cell.get("id")
    if not isinstance(own, str) or own in ids or not _CELL_ID.fullmatch(own):
        own = f"cell-{number}"
        while own in ids:
            own += "-"
    ids.add(own)
    made = {
        "cell_type": cell["cell_type"],
        "id": own,
        "metadata": {"nbgrader": {"grade_id": encodable(name)}} if isinstance(name, str) else {},
        "source": _source(cell, number),
    }
    code = {"execution_count": None, "outputs": []}
    return made | code if made["cell_type"] == "code" else made


def _source(cell: dict[str, Any], number: int) -> str:
    source = cell.get("source", "")
    lines = source if isinstance(source, list) else [source]
    if not all(isinstance(line, str) for line in lines):
        raise Unreadable(f"not a valid notebook: the source of cell {number} is no text")
    return encodable("".join(lines))
