"""Odd notebooks and odd files, graded as one class: each is a mark, or a row with its reason."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from graders import cli
from graders.author.build import build
from graders.classroom import grade
from graders.grading.engine import Settings
from graders.grading.results import GRADED, NOT_PLACED, UNREADABLE, Row
from graders.lesson.source import read_lesson
from graders.sample.draft import Draft
from graders.tests.fixture_lesson import JUDGED, make_course

# On Linux alone: all of these run answers in bubblewrap's sandbox.
pytestmark = pytest.mark.sandbox

LESSON = "00_tiny"
FILE = f"{LESSON}.ipynb"
ALL = 3.0
UNREADABLE_FILES = ("may-not-be-read.py", "may-not-be-read.ipynb")

Notebook = dict[str, Any]
Graded = tuple[int, dict[str, Row]]
Put = Callable[[Path, Notebook], object]
"""Puts what is handed in into a student's folder; the notebook has all answers right."""


# ---- beside a right notebook ----


def beside(make: Callable[[Path], object], name: str = "odd.py") -> Put:
    def put(folder: Path, notebook: Notebook) -> None:
        write(folder, notebook)
        make(folder / name)

    return put


def write(folder: Path, notebook: Notebook) -> None:
    (folder / FILE).write_text(json.dumps(notebook))


def a_socket(path: Path) -> None:
    # The path that a socket is bound to is short: no pytest folder is.
    before = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3_000_000_000)


def solution(path: Path) -> Path:
    """That of the lesson in whose hand-in the path is."""
    return path.parents[4] / "solutions" / LESSON / "lesson.py"


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


def folders_in_folders(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)
    try:
        for _ in range(1_500):
            os.mkdir("deep")
            os.chdir("deep")
        Path("deepest.py").write_text("")
    finally:
        os.chdir(before)


BESIDE = {
    "fifo": beside(os.mkfifo),
    "socket": beside(a_socket),
    "sparse file": beside(sparse),
    "loop of links": beside(a_loop),
    "hard link": beside(lambda path: os.link(solution(path), path)),
    "link to a device": beside(lambda path: path.symlink_to("/dev/zero")),
    "file that may not be read": beside(lambda path: path.write_text("x"), UNREADABLE_FILES[0]),
    "empty file": beside(Path.touch),
    "file that is no Python": beside(lambda path: path.write_bytes(b"\0\xff"), "helpers.py"),
    "folders in folders": beside(folders_in_folders),
    "no time": beside(lambda path: path.write_text("yesterday"), "timestamp.txt"),
    "time that is no text": beside(lambda path: path.write_bytes(b"\xff\xfe"), "timestamp.txt"),
    "time that is a folder": beside(Path.mkdir, "timestamp.txt"),
    "time that is a fifo": beside(os.mkfifo, "timestamp.txt"),
    "time that is a loop": beside(a_loop, "timestamp.txt"),
    "time out of range": beside(lambda path: path.write_text("9999999-01-01"), "timestamp.txt"),
    "secret that is no text": beside(lambda p: p.write_bytes(b"\xff"), "submission_secret.txt"),
}


# ---- in a right notebook ----


def cell(notebook: Notebook, name: str) -> Notebook:
    found = (
        c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == name
    )
    return next(found)


def text_of(notebook: Notebook, name: str) -> str:
    return "".join(cell(notebook, name)["source"])


def own_cell(source: str, kind: str = "code") -> Put:
    def put(folder: Path, notebook: Notebook) -> None:
        code = {"outputs": [], "execution_count": None} if kind == "code" else {}
        own = {"cell_type": kind, "id": "own", "metadata": {}, "source": source} | code
        notebook["cells"].insert(1, own)
        write(folder, notebook)

    return put


def changed(change: Callable[[Notebook], object]) -> Put:
    def put(folder: Path, notebook: Notebook) -> None:
        change(notebook)
        write(folder, notebook)

    return put


def after(source: str) -> Put:
    """The answer to `double`, with `source` behind it."""

    def change(notebook: Notebook) -> None:
        cell(notebook, "double")["source"] = f"{text_of(notebook, 'double')}\n{source}\n"

    return changed(change)


def raw(change: Callable[[str], str | bytes]) -> Put:
    def put(folder: Path, notebook: Notebook) -> None:
        content = change(json.dumps(notebook))
        content = content if isinstance(content, bytes) else content.encode()
        (folder / FILE).write_bytes(content)

    return put


HALF = "\ud83d"
OUTPUT = {"output_type": "stream", "name": "stdout", "text": HALF}
IN_IT = {
    "half a character in code": own_cell(f"x = '{HALF}'"),
    "half a character in a comment of an answer": after(f"# {HALF}"),
    "half a character in what is printed": after("print(chr(0xD83D))"),
    "half a character in Markdown": own_cell(HALF, "markdown"),
    "half a character in outputs": changed(lambda n: cell(n, "double").update(outputs=[OUTPUT])),
    "half a character in metadata": changed(lambda n: n["metadata"].update({HALF: HALF})),
    "half a character in a cell's metadata": changed(
        lambda n: n["cells"][0].update(metadata={HALF: HALF})
    ),
    "half a character in an id": changed(lambda n: n["cells"][0].update(id=HALF)),
    "a thousand magics": own_cell("%time 1\n" * 1_000),
    "a cell of brackets": own_cell("(" * 100_000),
    "a byte of zero": own_cell("x = 1\0"),
    "tags that are many": changed(lambda n: n["cells"][0]["metadata"].update(tags=["x"] * 99_999)),
    "a byte order mark": raw(lambda text: "\ufeff" + text),
    "numbers that are none": raw(
        lambda text: f'{{"metadata": [NaN, Infinity, -Infinity], {text[1:]}'
    ),
    "keys that are there twice": raw(lambda text: f'{{"cells": [], "nbformat": 3, {text[1:]}'),
    "no new lines and many blanks": raw(lambda text: " " * 100_000 + text),
    "a picture of 15 MB": changed(
        lambda n: cell(n, "double").update(outputs=[{"data": {"image/png": "A" * 15_000_000}}])
    ),
}


# ---- no notebook ----


def instead(make: Callable[[Path], object], name: str = FILE) -> Put:
    return lambda folder, _: make(folder / name)


def content(of: bytes) -> Put:
    return instead(lambda path: path.write_bytes(of))


def a_link_to_itself(folder: Path, notebook: Notebook) -> None:
    folder.rmdir()
    a_loop(folder)


NOT_READ = {
    "folder": (instead(Path.mkdir), "is not a file"),
    "fifo as a notebook": (instead(os.mkfifo), "is not a file"),
    "socket as a notebook": (instead(a_socket), "is not a file"),
    "loop as a notebook": (instead(a_loop), "is a link"),
    "device as a notebook": (instead(lambda path: path.symlink_to("/dev/zero")), "is a link"),
    "hard link as a notebook": (instead(lambda path: os.link(solution(path), path)), "is a hard"),
    "sparse notebook": (instead(sparse), "larger than 20 MB"),
    "25 MB": (
        changed(lambda n: n["metadata"].update(much="x" * 25_000_000)),
        "larger than 20 MB",
    ),
    "notebook that may not be read": (
        changed(lambda n: n["metadata"].update(name=UNREADABLE_FILES[1])),
        "cannot be opened: Permission denied",
    ),
    "no bytes": (content(b""), "it is no JSON"),
    "no text": (content(b"\xff\xfe{\0}\0"), "it is no text"),
    "lists in lists": (content(b"[" * 100_000), "cannot be read"),
    "objects in objects": (content(b'{"a":' * 100_000), "cannot be read"),
    "enormous number": (content(b'{"cells": ' + b"9" * 5_000 + b"}"), "cannot be read"),
    "very many lists": (
        content(b"[" + b"[]," * 6_000_000 + b"[]]"),
        "brackets, colons and commas, outputs included",
    ),
    "cells without end": (
        content(b'{"nbformat": 4, "cells": [' + b"{}," * 9_999 + b"{}]}"),
        "10,000 cells",
    ),
}
MISPLACED = {"lesson that is a loop": (a_link_to_itself, "not in the folder of a lesson")}


# ---- the class ----


@contextmanager
def some_files_refused() -> Iterator[None]:
    """A block in which files of some names may not be read: an account that is root reads all."""
    read, access = Path.read_bytes, os.access

    def refusing(path: Path) -> bytes:
        if is_refused(path):
            raise PermissionError(13, "Permission denied")
        return read(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", refusing)
        patch.setattr(os, "access", lambda path, mode: not is_refused(path) and access(path, mode))
        yield


def is_refused(path: Path) -> bool:
    return path.name == UNREADABLE_FILES[0] or "notebook that may not be read" in path.parts


def answer(exercise: str, source: str) -> Put:
    return changed(lambda notebook: cell(notebook, exercise).update(source=source))


HALF_AT_RUN_TIME = "chr(0xD83D)"
TWICE = "def double(x):\n    return 2 * x"
ODD_ERROR = f"def double(x):\n    raise type({HALF_AT_RUN_TIME}, (Exception,), {{}})"
DEEP = "answer = []\nfor _ in range(9_999): answer = [answer]"
ANSWERS = {
    "answer of half a character": (answer("answer", f"answer = {HALF_AT_RUN_TIME}"), 2),
    "answer with half a character in it": (answer("answer", f"answer = '{HALF}'"), 2),
    "error with half a character": (
        answer("double", f"def double(x):\n    raise ValueError({HALF_AT_RUN_TIME})"),
        1,
    ),
    "error of half a name": (answer("double", ODD_ERROR), 1),
    "answer of bytes of zero": (answer("double", "def double(x):\n    return 2 * x\0"), 1),
    "magics in an answer": (answer("double", "%time 1\n" * 1_000 + TWICE), 1),
    "answer that is a number without end": (answer("answer", "answer = 10 ** 6000"), 2),
    "answer that is no number": (answer("answer", "answer = float('nan')"), 2),
    "answer in lists": (answer("answer", DEEP), 2),
    "an empty answer": (changed(lambda n: cell(n, "double").update(source="")), 1),
}

MARKS = dict.fromkeys({**BESIDE, **IN_IT}, ALL) | {name: due for name, (_, due) in ANSWERS.items()}
ROWS = NOT_READ | MISPLACED
PUTS = BESIDE | IN_IT | {name: put for name, (put, _) in (ANSWERS | ROWS).items()}


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graded]:
    """The exit status of `jax-course grade`, and the row of each student of the class."""
    root = make_course(tmp_path_factory.mktemp("course"), JUDGED)
    build(root)
    draft = Draft.of(root, read_lesson(root / "solutions" / LESSON))
    draft.solve()
    for student, put in PUTS.items():
        folder = root / "build/submitted" / student / LESSON
        folder.mkdir(parents=True)
        put(folder, json.loads(draft.file_content()))
    with pytest.MonkeyPatch.context() as patch, some_files_refused():
        patch.chdir(root)
        status = cli.main(["grade"])
        rows, _ = grade.grade(Settings(root))
    yield status, {row.student: row for row in rows}
    # Python and pytest remove no folders that are so deep in each other.
    subprocess.run(["rm", "-r", root / "build/submitted"], check=True)


def test_a_class_of_odd_submissions_is_graded(graded: Graded) -> None:
    status, rows = graded
    assert status == 0
    assert rows.keys() == PUTS.keys()


@pytest.mark.parametrize(("student", "due"), MARKS.items(), ids=MARKS)
def test_what_can_be_graded_has_its_marks(graded: Graded, student: str, due: float) -> None:
    row = graded[1][student]
    assert (row.status, row.total) == (GRADED, due), row.reason


@pytest.mark.parametrize("student", ROWS, ids=ROWS)
def test_what_cannot_be_graded_has_its_reason(graded: Graded, student: str) -> None:
    row = graded[1][student]
    assert (row.status, row.total) == (UNREADABLE if student in NOT_READ else NOT_PLACED, None)
    assert ROWS[student][1] in row.reason
