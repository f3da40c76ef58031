"""A class is graded: each submission gets its row, and none keeps the others waiting."""

import csv
import io
import multiprocessing
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
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
from graders.grading.results import BY_HAND, FAILED, GRADED, HELD, UNREADABLE, Change, Row
from graders.grading.submissions import OWN, SAMPLE, Submission, Unreadable, submissions
from graders.lesson.problems import SourceError
from graders.nbgrading.names import cell
from graders.nbgrading.steps import StepFailed, course_config
from graders.sample import sample
from graders.sandbox.bubblewrap import Unavailable
from graders.tests.fixture_lesson import JUDGED, make_course, met, scheduler_of, write_lesson

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
