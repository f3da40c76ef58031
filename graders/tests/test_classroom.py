"""A class is graded: each submission gets its row, and none keeps the others waiting."""

import csv
import io
import json
import multiprocessing
import os
import re
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from nbgrader.api import Gradebook
from rich.cells import cell_len
from rich.console import Console

from graders.author.build import build
from graders.classroom import grade, recorder, report
from graders.grading import journal
from graders.grading.engine import Settings, Task
from graders.grading.examiner import Examination
from graders.grading.results import (
    BY_HAND,
    FAILED,
    GRADED,
    HELD,
    NOT_PLACED,
    UNREADABLE,
    Change,
    Row,
)
from graders.grading.strays import strays
from graders.grading.submissions import (
    LARGEST,
    MOST_MARKS,
    OWN,
    SAMPLE,
    Submission,
    Unreadable,
    submissions,
)
from graders.lesson.problems import SourceError
from graders.nbgrading.names import cell
from graders.nbgrading.steps import StepFailed, course_config
from graders.sample import sample
from graders.sandbox.bubblewrap import Unavailable
from graders.tests.fixture_lesson import JUDGED, make_course, met, scheduler_of, write_lesson
from graders.tests.names import FILES, REFUSED, TAKEN

# On Linux alone: all of these run answers in bubblewrap's sandbox.
pytestmark = pytest.mark.sandbox

LESSON = "00_tiny"
STUDENTS = (
    "right",
    "half-wrong",
    "noisy",
    "syntax-error",
    "Zoë Ångström",
    "not-a-notebook",
    "cut-short",
    "renamed",
    "empty-folder",
)


Graded = tuple[Path, list[Row], list[Row]]


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Graded:
    """A course with a short sample class, the known rows, and the rows that grading gave."""
    root = make_course(tmp_path_factory.mktemp("course"), JUDGED)
    build(root)
    known = sample.make_class(root, STUDENTS, OWN)
    rows, everything = grade.grade(Settings(root, workers=1))
    report.write(root, everything)
    return root, known, rows


def regraded(course: Path, *asked: Any, **how: Any) -> list[Row]:
    rows, _ = grade.grade(Settings(course), *asked, **how)
    return rows


def by_student(rows: list[Row]) -> dict[str, Row]:
    return {row.student.removeprefix(sample.PREFIX): row for row in rows}


def test_no_submission_is_given_up_because_the_machine_is_slow() -> None:
    settings = course_config(Path(__file__).parents[2]).Execute
    assert settings.iopub_timeout == settings.timeout


# ---- the sample class ----


def test_marks_are_the_known_ones(graded: Graded) -> None:
    _, known, rows = graded
    assert report.differences(rows, known) == []
    totals = {name: row.total for name, row in by_student(rows).items()}
    assert totals == {
        "right": 3,
        "half-wrong": 1,
        "noisy": 3,
        "syntax-error": 1,
        "Zoë Ångström": 2,
        "not-a-notebook": None,
        "cut-short": None,
        "renamed": None,
        "empty-folder": None,
    }


def test_an_unreadable_submission_is_a_row_with_its_reason(
    graded: Graded,
) -> None:
    rows = by_student(graded[2])
    reasons = {name: row.reason for name, row in rows.items() if row.status == UNREADABLE}
    assert reasons == {
        "not-a-notebook": "not a notebook: it is no text",
        "cut-short": reasons["cut-short"],
        "renamed": "no 00_tiny.ipynb, only 00_tiny (1).ipynb",
        "empty-folder": "no 00_tiny.ipynb: the folder is empty",
    }
    assert reasons["cut-short"].startswith("not a notebook: it is cut short (line ")


def test_everyone_has_a_page(graded: Graded) -> None:
    root, _, rows = graded
    for row in rows:
        page = (root / "build/feedback" / row.student / "index.html").read_text()
        assert row.student in page
        assert row.reason in page
        link = f'<a href="{LESSON}/{LESSON}.html">'
        assert (link in page) == (row.status == GRADED)


def test_the_whole_class_can_be_made(tmp_path: Path) -> None:
    rows = sample.make_class(make_course(tmp_path))
    assert len({row.student for row in rows}) >= 14
    assert sample.known_marks(tmp_path) == rows
    totals = {name: row.total for name, row in by_student(rows).items()}
    assert totals["perfect"] == totals["copied-cells"] == totals["without-checks"] == 3
    assert totals["untouched"] == totals["all-wrong"] == 0
    assert totals["edited-check"] == 1


def test_making_the_class_again_leaves_other_submissions_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_course(tmp_path)
    mine = root / "build/submitted/ada" / LESSON
    mine.mkdir(parents=True)
    old = root / SAMPLE / "submitted/sample-of-old"
    old.mkdir(parents=True)
    assert sample.main(root) == 0
    assert "build/sample/submitted/sample-*" in capsys.readouterr().out
    assert (mine.is_dir(), old.exists()) == (True, False)
    assert [path.name for path in (root / "build/submitted").iterdir()] == ["ada"]


def test_the_sample_class_is_in_no_other_gradebook(tmp_path: Path) -> None:
    root = make_course(tmp_path, JUDGED)
    build(root)
    sample.make_class(root, ["perfect"])
    config = grade.class_config(root, SAMPLE).CourseDirectory
    assert config.db_url == f"sqlite:///{root / 'build/sample/gradebook.db'}"
    rows = regraded(root, place=SAMPLE)
    assert [row.student for row in rows] == ["sample-perfect"]
    assert not (root / "build/gradebook.db").exists()
    assert not (root / "build/feedback").exists()
    assert (root / f"build/sample/feedback/sample-perfect/{LESSON}/{LESSON}.html").is_file()


# ---- grading ----


@pytest.fixture
def course(graded: Graded, tmp_path: Path) -> Path:
    """A copy of the graded course that a test may change."""
    root = tmp_path / "course"
    shutil.copytree(graded[0], root, symlinks=True)
    return root


def gradebook_of(course: Path) -> Gradebook:
    return Gradebook(f"sqlite:///{course / 'build/gradebook.db'}")


def mark_by_hand(course: Path, student: str, mark: float, comment: str = "") -> None:
    """An instructor gives this mark for `double`, and a comment."""
    with gradebook_of(course) as book:
        grade: Any = book.find_grade("double_check", LESSON, LESSON, student)
        grade.manual_score, grade.needs_manual_grade = mark, False
        if comment:
            said: Any = book.find_comment("double", LESSON, LESSON, student)
            said.manual_comment = comment
        book.db.commit()


def notebook_of(course: Path, student: str) -> Path:
    return course / f"build/submitted/{student}/{LESSON}/{LESSON}.ipynb"


def page_of(course: Path, student: str) -> str:
    return (course / f"build/feedback/{student}/{LESSON}/{LESSON}.html").read_text()


def test_a_submission_that_becomes_unreadable_keeps_its_marks(course: Path) -> None:
    student = "sample-half-wrong"
    mark_by_hand(course, student, 0.5, "copied")
    good = notebook_of(course, student).read_bytes()
    notebook_of(course, student).write_text("{")
    (row,) = regraded(course, students=[student])
    assert (row.status, row.total) == (UNREADABLE, 1.5)
    assert row.reason.endswith("; the marks are those of the submission before it")
    assert by_student(regraded(course))["noisy"].status == GRADED
    notebook_of(course, student).write_bytes(good)
    (row,) = regraded(course, students=[student])
    assert (row.status, row.total, row.reason) == (GRADED, 1.5, "")
    assert "copied" in page_of(course, student)


def test_a_first_submission_that_is_unreadable_has_no_marks(graded: Graded) -> None:
    row = by_student(graded[2])["cut-short"]
    assert (row.status, row.scores, row.total) == (UNREADABLE, {}, None)


def test_a_breakdown_is_a_row_and_no_zero(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(config: object, lesson: str, student: str, found: object) -> None:
        raise StepFailed("INFO\nOperationalError: the disk is full\nsee above")

    (course / "build/gradebook.db").unlink()
    monkeypatch.setattr(recorder, "record", breaks)
    (broken,) = regraded(course, students=["sample-half-wrong"])
    assert (broken.status, broken.total) == (FAILED, None)
    assert broken.reason == "OperationalError: the disk is full"


def test_what_is_known_is_neither_examined_nor_recorded_again(
    course: Path, monkeypatch: pytest.MonkeyPatch, graded: Graded
) -> None:
    asked: list[Task] = []
    nothing = scheduler_of(lambda _, __, tasks: asked.extend(tasks) or ())
    monkeypatch.setattr(grade, "Scheduler", nothing)
    monkeypatch.delattr(recorder, "record")
    assert regraded(course) == graded[2]
    assert asked == []
    path = notebook_of(course, "sample-right")
    path.write_text(path.read_text() + "\n")
    assert regraded(course) == graded[2]
    assert asked == []
    path.write_text(path.read_text().replace("import operator", "import operator, math"))
    regraded(course)
    assert [(task.submission.student, task.checks) for task in asked] == [("sample-right", None)]


def test_a_submission_is_graded_again_where_a_file_beside_it_has_changed(course: Path) -> None:
    student = "sample-right"
    path = notebook_of(course, student)
    notebook = json.loads(path.read_text())
    for one in notebook["cells"]:
        if one["metadata"].get("nbgrader", {}).get("grade_id") == "double":
            one["source"] = "from helpers import times\ndef double(x):\n    return times(2, x)\n"
    path.write_text(json.dumps(notebook))
    helpers = path.parent / "helpers.py"
    for returned, total in (("a * b", 3), ("a + b", 1), ("b * a", 3)):
        helpers.write_text(f"def times(a, b):\n    return {returned}\n")
        (row,) = regraded(course, students=[student])
        assert (row.status, row.total, row.reason) == (GRADED, total, "")
    helpers.unlink()
    (row,) = regraded(course, students=[student])
    assert row.total == 1


def test_what_another_run_has_graded_meanwhile_has_its_rows(
    course: Path, monkeypatch: pytest.MonkeyPatch, graded: Graded
) -> None:
    path = course / OWN / journal.PATH
    before = path.read_bytes()
    path.unlink()

    def meanwhile(*_: object) -> Iterator[object]:
        path.write_bytes(before)
        yield from ()

    monkeypatch.setattr(grade, "Scheduler", scheduler_of(meanwhile))
    _, everything = grade.grade(Settings(course), (), ["sample-right"])
    assert everything == graded[2]


def test_the_same_class_gives_the_same_bytes(course: Path) -> None:
    files = [course / OWN / name for name in (report.MARKS, report.CHECKS)]
    before = [file.read_bytes() for file in files]
    (course / "build/gradebook.db").unlink()
    report.write(course, regraded(course))
    assert [file.read_bytes() for file in files] == before


# ---- regrading ----


@pytest.fixture
def fixed(course: Path, monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """The check of the prediction is changed, and from now on everyone passes it.

    What is examined by it is listed here.
    """
    write_lesson(
        course, lesson=JUDGED.replace("check_answer(answer, 4)", "check_answer(answer, 5)")
    )
    asked: list[Task] = []

    def examined(
        _: object, __: object, tasks: list[Task]
    ) -> Iterator[tuple[Submission, Examination]]:
        asked.extend(tasks)
        passed = {"answer_check": met("answer")}
        return ((task.submission, Examination(passed)) for task in tasks)

    monkeypatch.setattr(grade, "Scheduler", scheduler_of(examined))
    return asked


def test_a_fixed_check_alone_is_examined_again(course: Path, fixed: list[Task]) -> None:
    rows = by_student(regraded(course))
    assert {task.checks for task in fixed} == {frozenset({"answer_check"})}
    assert rows["half-wrong"].scores == {"double_check": 0, "answer_check": 1}
    assert rows["Zoë Ångström"].scores["answer_check"] == 1


def test_changed_marks_are_shown_before_they_are_written(
    course: Path, fixed: list[Task], graded: Graded
) -> None:
    shown: list[Change] = []
    before = by_student(graded[2])
    student = next(
        row.student for row in graded[2] if row.status == GRADED and not row.scores["answer_check"]
    )
    name = student.removeprefix(sample.PREFIX)
    for _ in range(2):  # the second time nothing is left to examine, and it is asked again
        shown.clear()
        rows = by_student(regraded(course, agree=lambda c: bool(shown.extend(c))))
        assert Change(student, LESSON, "answer_check", 0.0, 1.0) in shown
        assert {change.check for change in shown} == {"answer_check"}
        assert rows[name].status == HELD
        assert rows[name].scores == before[name].scores
        assert rows["right"].status == GRADED
    count = len(fixed)
    rows = by_student(regraded(course))
    assert len(fixed) == count
    assert rows[name].scores["answer_check"] == 1


def test_a_mark_given_by_hand_is_kept(course: Path, fixed: list[Task], graded: Graded) -> None:
    row = next(r for r in graded[2] if r.status == GRADED and not r.scores["answer_check"])
    mark_by_hand(course, row.student, 1.5)
    (now,) = regraded(course, students=[row.student])
    assert now.scores == {"double_check": 1.5, "answer_check": 1}
    assert now.kinds["double_check"] == BY_HAND
    assert "Marked by hand: 1.5 / 2" in page_of(course, row.student)
    assert "Marked by hand" not in page_of(course, "sample-right")


def test_nobody_at_the_terminal_agrees_to_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert not report.agreed([Change("ada", LESSON, "answer_check", 0, 1)])
    said = capsys.readouterr().out
    assert "answer_check" in said
    assert "jax-course grade --yes" in said


def test_an_interrupt_ends_in_a_sentence(
    course: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> list[Row]:
        raise KeyboardInterrupt

    monkeypatch.setattr(grade, "grade", interrupted)
    assert grade.main(course) == 130
    assert "the same command goes on from there" in capsys.readouterr().err


# ---- what stands in the way ----


def test_a_class_is_not_graded_where_there_is_no_sandbox(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (course / "build/reports/journal.jsonl").unlink()

    def refuses(*_: object) -> Iterator[object]:
        raise Unavailable("bubblewrap is not installed")
        yield

    monkeypatch.setattr(grade, "Scheduler", scheduler_of(refuses))
    with pytest.raises(Unavailable, match="bubblewrap is not installed"):
        grade.main(course)


def test_the_command_compares_with_the_known_marks(
    graded: Graded,
    course: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = graded[2]
    monkeypatch.setattr(grade, "grade", lambda *_: (rows, rows))
    with pytest.raises(sample.NoSampleClass, match="jax-course sample-class makes one"):
        grade.main(course, expect=True)
    (course / SAMPLE).mkdir()
    shutil.copy(course / OWN / sample.KNOWN, course / SAMPLE)
    assert grade.main(course, expect=True) == 0
    out = capsys.readouterr().out
    assert "All 9 submissions have the marks that are known." in out
    assert "10 / 15" in out
    other = [replace(row, scores={**row.scores, "answer_check": 0.0}) for row in rows[-1:]]
    changed = [*rows[1:-1], *other]
    monkeypatch.setattr(grade, "grade", lambda *_: (changed, changed))
    assert grade.main(course, expect=True) == 1
    out = capsys.readouterr().out
    assert "sample-Zoë Ångström, 00_tiny: not graded at all" in out
    assert "sample-syntax-error, 00_tiny: answer_check got 0.0, and not 1.0" in out


def test_grading_one_student_keeps_the_marks_of_the_others(graded: Graded, course: Path) -> None:
    student = graded[2][0].student
    before = (course / OWN / report.MARKS).read_bytes()
    (course / OWN / report.MARKS).unlink()
    assert grade.main(course, students=[student]) == 0
    assert (course / OWN / report.MARKS).read_bytes() == before
    shutil.rmtree(course / "build/submitted" / student)
    assert grade.main(course, students=[graded[2][1].student]) == 0
    assert student not in (course / OWN / report.MARKS).read_text()


def test_an_unknown_lesson_is_said(course: Path) -> None:
    with pytest.raises(SourceError, match="no lesson '09_none'"):
        grade.main(course, lessons=["09_none"])


def test_a_check_that_is_added_leaves_the_marks_by_hand(course: Path) -> None:
    student = "sample-half-wrong"
    mark_by_hand(course, student, 0.5, "copied")
    more = '\n# %% check="answer" part="again" points=1\ncheck_answer(answer, 4)\n'
    write_lesson(course, lesson=JUDGED + more)
    shown: list[Change] = []
    (row,) = regraded(course, students=[student], agree=lambda c: bool(shown.extend(c)))
    added = next(check for check in row.points if check not in ("double_check", "answer_check"))
    assert shown == [Change(student, LESSON, added, 0.0, 1.0)]
    (row,) = regraded(course, students=[student])
    assert row.scores == {"double_check": 0.5, "answer_check": 1, added: 1}
    assert row.kinds == {"double_check": BY_HAND}
    assert "copied" in page_of(course, student)


def test_what_was_given_by_hand_for_a_cell_that_is_gone_is_kept_in_a_file(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = "sample-half-wrong"
    mark_by_hand(course, student, 0.5, "=copied")
    other = JUDGED.replace('exercise="double"', 'exercise="twice"')
    other = other.replace('"double"', '"twice"').replace("double(", "twice(")
    write_lesson(course, lesson=other.replace("check_values(double", "check_values(twice"))
    for file in ("wrong", "right"):
        path = course / f"solutions/{LESSON}/{file}.py"
        path.write_text(path.read_text().replace("double", "twice"))
    regraded(course, students=[student])
    assert "00_tiny no longer has double, double_check." in capsys.readouterr().err
    with (course / OWN / report.DROPPED).open(encoding="utf-8", newline="") as file:
        assert [tuple(line.values())[2:] for line in csv.DictReader(file)] == [
            ("double", "", "", "'=copied"),
            ("double_check", "0.5", "", ""),
        ]


def test_a_lesson_that_breaks_a_rule_grades_nobody(course: Path) -> None:
    written = [course / OWN / journal.PATH, course / "build/gradebook.db"]
    before = [path.read_bytes() for path in written]
    ruled_out = JUDGED.replace("check_answer(answer, 4)", "check_answer(answer, 4)\nassert answer")
    write_lesson(course, lesson=ruled_out)
    with pytest.raises(SourceError, match="a raw assert cannot judge an answer from afar"):
        grade.main(course)
    assert [path.read_bytes() for path in written] == before
    assert not multiprocessing.active_children()


def test_an_empty_class_is_said(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert grade.main(course, students=["nobody"]) == 1
    assert "nothing to grade in build/submitted" in capsys.readouterr().err


# ---- submissions ----


def test_submissions_are_found_in_order(course: Path) -> None:
    (course / "build/submitted/.DS_Store").write_text("")
    found = submissions(course, [LESSON])
    assert [s.student for s in found] == sorted(sample.PREFIX + name for name in STUDENTS)
    assert submissions(course, [LESSON], ["sample-right"])[0].notebook.exists()
    assert submissions(course, ["09_none"]) == []


def hand_in(folder: Path, content: bytes) -> Submission:
    (folder / "ada" / LESSON).mkdir(parents=True, exist_ok=True)
    submission = Submission("ada", LESSON, folder / "ada" / LESSON)
    submission.notebook.write_bytes(content)
    return submission


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is no JSON"),
        (b"hello", "it is no JSON"),
        (b'{"cells": [', "it is cut short"),
        (b'{"cells": ["half a st', "it is cut short"),
        (b"\xff\xfe", "it is no text"),
        (b"[1]", "JSON without cells"),
        (b"[" * 100_000, "cannot be read"),
        (b'{"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}', "not a valid"),
        (b'{"cells": [], "nbformat": 99}', "not a valid notebook"),
        (b'{"cells": [], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}', "another lesson"),
        (b'{"nbformat": 4, "cells": [' + b"{}," * 9_999 + b"{}]}", "10,000 cells"),
        (b" " * 20_000_001, "larger than 20 MB"),
    ],
)
def test_why_a_submission_cannot_be_read(content: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=reason):
        hand_in(tmp_path, content).read(["double"])


# Whatever is cheap in JSON and dear in memory: as much of it as may be read.
DEAR = {
    "lists": b"[]",
    "lists in lists": b"[[[[0]]]]",
    "objects": b"{}",
    "objects with an entry": b'{"":0}',
    "numbers": b"1.5",
    "texts": b'"ab"',
    "a character of four bytes": ('"\U0001f600' + "a" * (LARGEST - 9) + '"').encode(),
}


@pytest.mark.parametrize("unit", DEAR.values(), ids=DEAR)
def test_what_is_read_takes_little_memory(unit: bytes, tmp_path: Path) -> None:
    marks = 1 + sum(map(unit.count, b"[{:,"))
    many = min((MOST_MARKS - 1) // marks, (LARGEST - 2) // (len(unit) + 1))
    submission = hand_in(tmp_path, b"[" + b",".join([unit] * many) + b"]")
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable, match="JSON without cells"):
            submission.read(["double"])
        assert tracemalloc.get_traced_memory()[1] < 250_000_000
    finally:
        tracemalloc.stop()


def test_more_than_can_be_read_is_refused_before_it_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(json, "loads")
    with pytest.raises(Unreadable, match="1,000,001 brackets, colons and commas"):
        hand_in(tmp_path, b"[" + b"0," * MOST_MARKS + b"0]").read(["double"])


def test_brackets_and_commas_in_text_do_not_count(tmp_path: Path) -> None:
    check = {"nbgrader": {"grade_id": "double", "grade": False, "solution": True}}
    text = "[{,:" * 300_000 + '"' * 1_000 + "\\"
    cell = {"cell_type": "code", "metadata": check, "source": text, "outputs": []}
    content = json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]})
    read = hand_in(tmp_path, content.encode()).read(["double"])
    assert [cell.source for cell in read.cells] == [text]


@pytest.mark.parametrize("tail", [b'"' + b'\\"' * 5_000_000, b'"\\', b'"x'])
def test_a_string_without_an_end_is_refused(tmp_path: Path, tail: bytes) -> None:
    with pytest.raises(Unreadable, match="cut short"):
        hand_in(tmp_path, b'{"cells": ' + tail).read(["double"])


def test_a_zip_is_not_unpacked(tmp_path: Path) -> None:
    submission = Submission("ada", LESSON, tmp_path / "ada" / LESSON)
    submission.folder.mkdir(parents=True)
    with zipfile.ZipFile(submission.folder / "work.zip", "w") as file:
        file.writestr(f"../{LESSON}.ipynb", "{}")
    with pytest.raises(Unreadable, match=r"no 00_tiny.ipynb, only work.zip"):
        submission.read(["double"])
    assert [path.name for path in tmp_path.rglob("*.ipynb")] == []


def test_a_link_is_not_read(tmp_path: Path) -> None:
    submission = hand_in(tmp_path, b"{}")
    submission.notebook.rename(tmp_path / "elsewhere")
    submission.notebook.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unreadable, match="is a link"):
        submission.read(["double"])


def test_a_hard_link_is_not_read_and_no_helper(tmp_path: Path) -> None:
    submission = hand_in(tmp_path, b"{}")
    (tmp_path / "elsewhere").write_text("2026-11-27 10:00:00.000000 UTC\n")
    for path in (submission.notebook, submission.folder / "notes.py"):
        path.unlink(missing_ok=True)
        os.link(tmp_path / "elsewhere", path)
    os.link(tmp_path / "elsewhere", submission.folder / "timestamp.txt")
    with pytest.raises(Unreadable, match=r"is a hard link, not a file of its own: replace it by"):
        submission.read(["double"])
    assert (submission.helpers, submission.handed_in) == ([], "")
    assert "not used: 1 (too many, too large, nested too deep, hard links" in submission.left_out


@given(content=st.binary(max_size=60) | st.text('{}[]":, cells0', max_size=60).map(str.encode))
def test_no_content_makes_the_reader_fail(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    submission = hand_in(tmp_path_factory.mktemp("any"), content)
    with pytest.raises(Unreadable):
        submission.read(["double"])


# ---- reports ----

NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/."), min_size=1)
ROWS = st.lists(
    st.builds(
        lambda student, earned, status: Row(
            student, LESSON, status, {"a": earned} if status == GRADED else {}, {"a": 3.0}
        ),
        NAMES.filter(lambda name: len(name.encode()) < 200),
        st.sampled_from([0.0, 1.5, 3.0]),
        st.sampled_from([GRADED, UNREADABLE, FAILED]),
    ),
    unique_by=lambda row: row.student,
    max_size=4,
)


@given(rows=ROWS, data=st.data())
def test_the_order_of_rows_does_not_change_the_files(
    rows: list[Row], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    one, other = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    report.write(one, rows)
    report.write(other, data.draw(st.permutations(rows)))
    for path in (report.MARKS, report.CHECKS):
        assert (one / OWN / path).read_bytes() == (other / OWN / path).read_bytes()
    with (one / OWN / report.MARKS).open(encoding="utf-8", newline="") as file:
        read = {line["student"]: line["score"] for line in csv.DictReader(file)}
    assert read == {cell(r.student): "" if r.total is None else f"{r.total:g}" for r in rows}


def test_a_name_is_text_on_its_page(tmp_path: Path) -> None:
    report.write(tmp_path, [Row("<b>bob", LESSON, UNREADABLE, {}, {}, "<i>no")])
    page = (tmp_path / "build/feedback/<b>bob/index.html").read_text()
    assert "<b>" not in page
    assert "&lt;i&gt;no" in page


def test_every_difference_is_named() -> None:
    known = Row("ada", LESSON, GRADED, {"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0})
    unread = Row("ada", LESSON, UNREADABLE, reason="it is cut short (line 3)")
    assert report.differences([known], [known]) == []
    assert report.differences([replace(known, scores={"a": 1.0, "b": 0.0})], [known]) == [
        "ada, 00_tiny: b got 0.0, and not 2.0"
    ]
    assert report.differences([unread], [replace(unread, reason="cut short")]) == []
    assert report.differences([unread], [known]) == [
        "ada, 00_tiny: unreadable (it is cut short (line 3)), and not graded"
    ]
    assert report.differences([], [known]) == ["ada, 00_tiny: not graded at all"]
    assert report.differences([known], []) == ["ada, 00_tiny: not known"]


# ---- the table ----

MANY = [
    Row(student, f"{number:02}_a_rather_long_name", GRADED, {"a": 38.0 - number}, {"a": 38.0})
    for student in ("sample-perfect", "Zoë Ångström", "maximiliane.von.oppersdorff@example.org")
    for number in range(17)
]


def printed(rows: list[Row], width: int) -> list[str]:
    out = io.StringIO()
    for one in report.tables(rows, width):
        Console(width=width, file=out).print(one)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_names_and_marks_can_be_read_at_any_width(width: int) -> None:
    lines = printed(MANY, width)
    assert max(map(cell_len, lines)) <= width
    assert "…" not in "".join(lines)
    blocks = sum("Student" in line for line in lines)
    for name in ("sample-perfect", "Zoë Ångström"):
        assert sum(name in line for line in lines) == blocks
    (ada,) = {row.student for row in MANY} - {"sample-perfect", "Zoë Ångström"}
    marks = " ".join(line for line in lines if "sample-perfect" in line)
    assert [f"{38 - number} / 38" in marks for number in range(17)] == [True] * 17
    assert "510 / 646" in marks
    assert ada[:12] in "\n".join(lines)


def test_remarks_stand_below_the_table_each_on_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    long = "it is cut short " * 20
    report.show([*MANY, replace(MANY[0], lesson="99_x", scores={}, reason=long)])
    out = capsys.readouterr().out
    assert f"\nsample-perfect, 99_x: {long}\n" in out
    assert "Remarks" not in out


# ---- names ----


def is_plain(text: str) -> bool:
    """Whether the text would move no cursor, turn round no line, and can be written to a file."""
    return not re.search(
        r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2066\ud800-\udfff]", text
    )


@pytest.fixture(scope="module")
def odd_class(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    """A class in which everybody has answered all, under an odd name, and all that was written."""
    root = make_course(tmp_path_factory.mktemp("course"), JUDGED)
    build(root)
    released = (root / f"course/{LESSON}/{LESSON}.ipynb").read_bytes()
    for student in [*TAKEN, *chain(*REFUSED.values())]:
        folder = root / "build/submitted" / student / LESSON
        folder.mkdir(parents=True)
        (folder / f"{LESSON}.ipynb").write_bytes(released)
    for number, name in enumerate(FILES):
        folder = root / f"build/submitted/files {number}" / LESSON
        folder.mkdir(parents=True)
        (folder / name).write_bytes(released)

    def examined(
        _: object, __: object, tasks: list[Task]
    ) -> Iterator[tuple[Submission, Examination]]:
        outcomes = {"double_check": met("double"), "answer_check": met("answer")}
        return ((task.submission, Examination(outcomes)) for task in tasks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grade, "Scheduler", scheduler_of(examined))
        rows, everything = grade.grade(Settings(root))
    report.write(root, everything)
    assert rows == everything
    return root, rows


def test_a_name_that_is_more_than_text_is_refused_in_a_row(
    odd_class: tuple[Path, list[Row]],
) -> None:
    _, rows = odd_class
    for family, names in REFUSED.items():
        for name in names:
            (row,) = (row for row in rows if row.student == name)
            assert (family, name, row.status, row.total) == (family, name, NOT_PLACED, None)
            assert "rename" in row.reason


def test_every_other_name_has_its_marks(odd_class: tuple[Path, list[Row]]) -> None:
    root, rows = odd_class
    assert {row.student: row.total for row in rows if row.status == GRADED} == dict.fromkeys(
        TAKEN, 3.0
    )
    with gradebook_of(root) as book:
        assert {str(one.id): one.score for one in book.students} == dict.fromkeys(TAKEN, 3.0)
    assert {path.name for path in (root / "build/autograded").iterdir()} == set(TAKEN)


def test_no_name_is_more_than_text_in_any_output(
    odd_class: tuple[Path, list[Row]], capsys: pytest.CaptureFixture[str]
) -> None:
    root, rows = odd_class
    report.show(rows)
    assert report.agreed([Change(row.student, LESSON, "a", 0, 1) for row in rows]) is False
    report.show_comparison(report.differences(rows, []), len(rows))
    assert is_plain(capsys.readouterr().out)
    for path in (report.MARKS, report.CHECKS, journal.PATH):
        assert is_plain((root / OWN / path).read_bytes().decode())
    for path in (report.MARKS, report.CHECKS):
        with (root / OWN / path).open(encoding="utf-8", newline="") as file:
            cells = [cell for line in csv.reader(file) for cell in line]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    pages = list((root / "build/feedback").rglob("*.html"))
    assert len(pages) == 2 * len(TAKEN) + len(FILES)
    for path in pages:
        page = BeautifulSoup(path.read_text(), "html.parser")
        assert is_plain(page.get_text())
        assert page.find_all(["script", "img", "b"]) == []


def test_a_file_with_an_odd_name_is_named_in_its_row(odd_class: tuple[Path, list[Row]]) -> None:
    _, rows = odd_class
    reasons = [row.reason for row in rows if row.student.startswith("files")]
    assert reasons == [
        r"no 00_tiny.ipynb, only esc\x1b[2J.ipynb",
        r"no 00_tiny.ipynb, only \udcff\udcfe.ipynb",
        r"no 00_tiny.ipynb, only rtl\u202e.ipynb",
        "no 00_tiny.ipynb, only =1+1.ipynb",
    ]


# ---- what could not be placed ----


def test_what_no_lesson_claims_is_listed_with_a_reason(tmp_path: Path) -> None:
    root = make_course(tmp_path)
    for folder in ("right/00_tiny", "case/00_TINY", "dash/00-tiny", "far/homework", "flat"):
        (root / "build/submitted" / folder).mkdir(parents=True)
    for file in ("flat/00_tiny.ipynb", "loose.ipynb", ".DS_Store", "right/.DS_Store"):
        (root / "build/submitted" / file).write_text("{}")
    assert [
        (row.student, row.lesson, row.status, row.reason) for row in strays(root, [LESSON])
    ] == [
        ("case", "00_TINY", NOT_PLACED, "no lesson has this name: did you mean 00_tiny?"),
        ("dash", "00-tiny", NOT_PLACED, "no lesson has this name: did you mean 00_tiny?"),
        ("far", "homework", NOT_PLACED, "no lesson has this name"),
        ("flat", "", NOT_PLACED, "00_tiny.ipynb: not in the folder of a lesson"),
        (
            "loose.ipynb",
            "",
            NOT_PLACED,
            "a file where a student's folder is expected: put it into STUDENT/LESSON/",
        ),
    ]
    assert [row.student for row in strays(root, [LESSON], ["far"])] == ["far"]
    assert strays(tmp_path / "nothing", [LESSON]) == []


# ---- what is read of a submission ----


def cells_of(course: Path) -> dict[str, Any]:
    return json.loads((course / f"course/{LESSON}/{LESSON}.ipynb").read_text())


def ids_under_4_4(notebook: dict[str, Any]) -> None:
    notebook["nbformat_minor"] = 4


def no_outputs(notebook: dict[str, Any]) -> None:
    for one in notebook["cells"]:
        one.pop("outputs", None)
        one.pop("execution_count", None)


def a_star_for_a_count(notebook: dict[str, Any]) -> None:
    for one in notebook["cells"]:
        one["execution_count"] = "*"


def outputs_of_markdown(notebook: dict[str, Any]) -> None:
    notebook["cells"][0] |= {"outputs": [{"output_type": "nothing"}], "attachments": 3}


def ids_that_are_the_same(notebook: dict[str, Any]) -> None:
    for one in notebook["cells"]:
        one["id"] = "same"


def ids_that_are_none(notebook: dict[str, Any]) -> None:
    for number, one in enumerate(notebook["cells"]):
        one["id"] = ["", "a b", None, "x" * 99, {}][number % 5]


def sources_in_one_piece(notebook: dict[str, Any]) -> None:
    for one in notebook["cells"]:
        one["source"] = "".join(one["source"])


def odd_metadata(notebook: dict[str, Any]) -> None:
    notebook["metadata"] = {"kernelspec": 3, "widgets": []}
    for one in notebook["cells"]:
        one["metadata"] |= {"tags": "many", "scrolled": 7}
        one["colab"] = {}


def half_a_character(notebook: dict[str, Any]) -> None:
    notebook["cells"][-1]["source"] = ["# \ud83d\n", *notebook["cells"][-1]["source"]]


@pytest.mark.parametrize(
    "change",
    [
        ids_under_4_4,
        no_outputs,
        a_star_for_a_count,
        outputs_of_markdown,
        ids_that_are_the_same,
        ids_that_are_none,
        sources_in_one_piece,
        odd_metadata,
        half_a_character,
    ],
)
def test_what_nbgrader_can_grade_is_read(
    change: Callable[[dict[str, Any]], None], graded: Graded, tmp_path: Path
) -> None:
    notebook = cells_of(graded[0])
    change(notebook)
    meant = ["".join(one["source"]).replace("\ud83d", "?") for one in notebook["cells"]]
    submission = hand_in(tmp_path, json.dumps(notebook).encode())
    taken = submission.taken_in(submission.read(["double"]), tmp_path / "taken")
    read: Any = nbformat.read(taken.notebook, as_version=4)
    nbformat.validate(read)
    assert [one.source for one in read.cells] == meant


def test_a_mark_of_byte_order_is_no_obstacle(graded: Graded, tmp_path: Path) -> None:
    content = json.dumps(cells_of(graded[0])).encode()
    read = hand_in(tmp_path, b"\xef\xbb\xbf" + content).read(["double"])
    assert read == hand_in(tmp_path, content).read(["double"])


def test_small_files_beside_the_notebook_are_helpers(tmp_path: Path) -> None:
    submission = hand_in(tmp_path, b"{}")
    kept, passed_over = ("helpers.py", "package/__init__.py", "data.csv"), (".hidden.py", "o.ipynb")
    for name in (*kept, *passed_over, "page.html", "picture.svg"):
        path = submission.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x = 1")
    (submission.folder / "link.py").symlink_to(tmp_path)
    os.mkfifo(submission.folder / "pipe.py")
    names = [str(path.relative_to(submission.folder)) for path in submission.helpers]
    assert names == ["helpers.py", "package/__init__.py", "data.csv"]
    assert submission.left_out == ""


def test_many_or_large_files_beside_the_notebook_are_left_out(tmp_path: Path) -> None:
    submission = hand_in(tmp_path, b"{}")
    with (submission.folder / "sparse.bin").open("wb") as file:
        file.truncate(3_000_000_000)
    (submission.folder / "z.py").write_text("x = 1")
    submission = replace(submission)
    assert [path.name for path in submission.helpers] == ["z.py"]
    why = "too many, too large, nested too deep, hard links or unreadable"
    assert submission.left_out == f"files beside the notebook that are not used: 1 ({why})"
    for number in range(2_001):
        (submission.folder / f"{number}.txt").write_text("")
    submission = replace(submission)
    assert submission.helpers == []
    assert submission.left_out == "more than 2,000 files beside the notebook: none is used"


@pytest.mark.parametrize("content", [b"yesterday, perhaps", b"\xff", b"9" * 900, b"\n"])
def test_a_time_that_is_none_is_passed_over(content: bytes, tmp_path: Path) -> None:
    submission = hand_in(tmp_path, b"{}")
    (submission.folder / "timestamp.txt").write_bytes(content)
    assert submission.handed_in == ""
    (submission.folder / "timestamp.txt").write_text("2026-11-27 10:00:00.000000 UTC\n")
    assert submission.handed_in == "2026-11-27 10:00:00.000000 UTC"
    (submission.folder / "timestamp.txt").unlink()
    (submission.folder / "timestamp.txt").mkdir()
    assert submission.handed_in == ""


def test_a_notebook_that_is_no_file_is_said(tmp_path: Path) -> None:
    submission = hand_in(tmp_path, b"{}")
    submission.notebook.unlink()
    os.mkfifo(submission.notebook)
    with pytest.raises(Unreadable, match=r"00_tiny.ipynb is not a file"):
        submission.read(["double"])


# ---- marks ----


def test_marks_that_somebody_else_has_written_are_written_again(
    course: Path, graded: Graded
) -> None:
    student = "sample-right"
    with gradebook_of(course) as book:  # as `nbgrader autograde` does
        one: Any = book.find_grade("double_check", LESSON, LESSON, student)
        one.auto_score = 0.0
        book.db.commit()
    (row,) = regraded(course, students=[student], agree=lambda _: False)
    assert (row.status, row.total) == (HELD, 1)
    assert row.reason == "1 changed mark is not written"
    (row,) = regraded(course, students=[student])
    assert (row.status, row.total) == (GRADED, 3)
    shown: list[Change] = []
    regraded(course, students=[student], agree=lambda c: bool(shown.extend(c)))
    assert shown == []


def needs_a_look(course: Path, student: str) -> bool:
    with gradebook_of(course) as book:
        one: Any = book.find_grade("double_check", LESSON, LESSON, student)
        return one.needs_manual_grade


def test_a_mark_by_hand_is_looked_at_again_where_the_answer_has_changed(course: Path) -> None:
    student = "sample-half-wrong"
    mark_by_hand(course, student, 1, "half for the idea")
    path = notebook_of(course, student)
    path.write_text(path.read_text().replace("import operator", "import operator, math"))
    (row,) = regraded(course, students=[student])
    assert (row.note, needs_a_look(course, student)) == ("", False)
    path.write_bytes(notebook_of(course, "sample-right").read_bytes())
    for _ in range(2):  # the second time nothing is recorded
        (row,) = regraded(course, students=[student])
        assert row.scores["double_check"] == 1
        assert row.note.startswith("look again at double_check: the answer or its check has")
        assert needs_a_look(course, student)
    mark_by_hand(course, student, 2)
    (row,) = regraded(course, students=[student])
    assert (row.note, row.total) == ("", 3)


def test_a_comment_is_looked_at_again_where_the_answer_has_changed(course: Path) -> None:
    student = "sample-half-wrong"
    with gradebook_of(course) as book:
        said: Any = book.find_comment("double", LESSON, LESSON, student)
        said.manual_comment = "twice, not thrice"
        book.db.commit()
    notebook_of(course, student).write_bytes(notebook_of(course, "sample-right").read_bytes())
    (row,) = regraded(course, students=[student])
    assert (row.total, row.kinds) == (3, {})
    assert row.note.startswith("look again at double_check")
    report.write(course, [row])
    assert "look again" in (course / OWN / report.MARKS).read_text()
    assert "look again" not in (course / f"build/feedback/{student}/index.html").read_text()
    assert "twice, not thrice" in page_of(course, student)


HALF = """
from nbgrader.plugins import BasePlugin


class Half(BasePlugin):
    def late_submission_penalty(self, student_id, score, seconds):
        return score / 2


c.AssignLatePenalties.plugin_class = Half
"""


def due(course: Path, date: str) -> None:
    date_of: Any = date  # it is declared to be a dict
    with gradebook_of(course) as book:
        book.update_or_create_assignment(LESSON, duedate=date_of)


def test_a_late_penalty_counts_everywhere_and_is_found_anew_at_each_run(course: Path) -> None:
    student = "sample-right"
    config = course / "nbgrader_config.py"
    config.write_text(config.read_text() + HALF)
    handed_in = notebook_of(course, student).with_name("timestamp.txt")
    handed_in.write_text("2026-11-27 10:00:00 UTC")
    due(course, "2026-11-25 23:59:00 UTC")
    (row,) = regraded(course, students=[student])
    assert (row.total, row.penalty) == (1.5, 1.5)
    assert "1.5 points taken off" in page_of(course, student)
    report.write(course, [row])
    assert "sample-right,00_tiny,1.5,3,graded,,1.5\n" in (course / OWN / report.MARKS).read_text()
    assert "1.5 / 3" in (course / f"build/feedback/{student}/index.html").read_text()
    with gradebook_of(course) as book:
        assert book.find_submission(LESSON, student).late_submission_penalty == 1.5
        one: Any = book.find_submission(LESSON, student)
        one.extension = timedelta(days=3)
        book.db.commit()
    (row,) = regraded(course, students=[student])
    assert (row.total, row.penalty) == (3, 0)
    assert "taken off" not in page_of(course, student)
    handed_in.write_text("2026-12-27 10:00:00 UTC")
    (row,) = regraded(course, students=[student])
    assert (row.total, row.penalty) == (1.5, 1.5)
    due(course, "2026-12-31 23:59:00 UTC")
    (row,) = regraded(course, students=[student])
    assert (row.total, row.penalty) == (3, 0)


def test_a_late_plug_in_that_breaks_is_a_row(course: Path) -> None:
    config = course / "nbgrader_config.py"
    config.write_text(config.read_text() + HALF.replace("score / 2", "score / 0"))
    notebook_of(course, "sample-right").with_name("timestamp.txt").write_text("2026-11-27")
    due(course, "2026-11-25 23:59:00 UTC")
    rows = by_student(regraded(course))
    assert rows["right"].status == FAILED
    assert rows["right"].reason == "ZeroDivisionError: float division by zero"
    assert rows["noisy"].status == GRADED
