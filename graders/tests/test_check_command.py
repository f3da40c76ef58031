"""`jax-course check`: what it prints of a notebook, and its exit status."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from graders import cli
from graders.author.build import build_sources
from graders.lesson.source import read_lesson
from graders.sample.draft import Draft
from graders.tests.fixture_lesson import JUDGED, make_course

RIGHT, WRONG = "def double(x):\n    return x + x\n", "def double(x):\n    return 3 * x\n"
LOOP = "def double(x):\n    while True:\n        pass\n"
EXIT = "import os\nos._exit(1)\n"


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_course(tmp_path_factory.mktemp("course"), JUDGED)
    build_sources(root)
    return root


def notebook(course: Path, **answers: str) -> Path:
    """A submission with these answers; the others are right."""
    draft = Draft.of(course, read_lesson(course / "solutions/00_tiny"))
    draft.solve()
    for exercise, source in answers.items():
        draft.put(exercise, source, earns=False)
    path = course / "handed-in.ipynb"
    path.write_bytes(draft.file_content())
    return path


def test_right_answers_pass(course: Path, capsys: pytest.CaptureFixture) -> None:
    path = notebook(course)
    before = path.read_bytes()
    assert cli.main(["check", str(path)]) == 0
    out = capsys.readouterr().out
    assert "double  2 of 2  passed" in out
    assert "2 of 2 checks passed, 3 of 3 points." in out
    assert path.read_bytes() == before


def test_a_wrong_answer_is_shown_with_its_card(course: Path, capsys: pytest.CaptureFixture) -> None:
    path = notebook(course, double=WRONG, answer="answer = ...")
    assert cli.main(["check", str(path)]) == 1
    out = capsys.readouterr().out
    assert "double  0 of 2  failed" in out
    assert "Diagnosis:" in out
    assert "answer  0 of 1  not answered" in out
    assert "0 of 2 checks passed, 0 of 3 points." in out


def test_a_cell_that_runs_too_long_is_interrupted(
    course: Path, capsys: pytest.CaptureFixture
) -> None:
    assert cli.main(["check", "--seconds", "30", str(notebook(course, double=LOOP))]) == 1
    out = capsys.readouterr().out
    assert "double  0 of 2  interrupted" in out
    assert "answer  1 of 1  passed" in out


def test_a_dead_kernel_is_said_with_its_cell(course: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["check", str(notebook(course, answer=EXIT))]) == 1
    out = capsys.readouterr().out
    assert "double  2 of 2  passed" in out
    assert "answer  0 of 1  not run" in out
    assert "The kernel died in the cell of answer." in out


def test_no_escape_sequence_reaches_the_terminal(
    course: Path, capsys: pytest.CaptureFixture
) -> None:
    raising = "def double(x):\n    raise ValueError('\\x1b[31mred')\n"
    assert cli.main(["check", str(notebook(course, double=raising))]) == 1
    out = capsys.readouterr().out
    assert "red" in out
    assert "\x1b" not in out


def test_one_failure_among_several_notebooks_is_enough(
    course: Path, capsys: pytest.CaptureFixture
) -> None:
    wrong = notebook(course, double=WRONG).rename(course / "wrong.ipynb")
    assert cli.main(["check", str(wrong), str(notebook(course))]) == 1
    out = capsys.readouterr().out
    assert out.index("wrong.ipynb") < out.index("handed-in.ipynb")


def test_odd_metadata_and_names_are_no_traceback(
    course: Path, capsys: pytest.CaptureFixture
) -> None:
    path = notebook(course)
    read = nbformat.read(path, as_version=4)
    odd = [None, {"grade": True}, {"grade": True, "grade_id": "a\x1b[31m_check", "points": "x"}]
    for marks in odd:
        read.cells.append(new_code_cell("1", metadata={"nbgrader": marks}))
    nbformat.write(read, path)
    assert cli.main(["check", str(path)]) == 1
    out = capsys.readouterr().out
    assert "0 of 0  not run" in out
    assert "2 of 3 checks passed, 3 of 3 points." in out
    assert "\x1b" not in out


UNREADABLE = {
    "nested too deep": ("[" * 100_000, "is not a notebook"),
    "cells that are none": (
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [1]}',
        "is not a notebook",
    ),
    "no JSON": ("print(1)", "is not a notebook"),
    "no notebook": ("[1, 2]", "is not a notebook"),
    "no checks": (
        nbformat.writes(new_notebook(cells=[new_code_cell("1")])),
        "has no check cells",
    ),
}


@pytest.mark.parametrize(("content", "said"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_checked_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture, content: str, said: str
) -> None:
    (tmp_path / "a.ipynb").write_text(content)
    assert cli.main(["check", str(tmp_path / "a.ipynb")]) == 1
    assert said in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["check", str(tmp_path / "a.ipynb")]) == 1
    assert "There is no file" in capsys.readouterr().err
