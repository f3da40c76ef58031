"""Model answers: who is offered one, when, and what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

from graders.author import proofs
from graders.author.build import main
from graders.judging.lesson_run import run_lesson
from graders.lesson.commentary import Comment, read_commentary
from graders.lesson.source import lesson_folders, read_lesson
from graders.notebook import model_answer, progress
from graders.notebook.model_answer import ModelAnswer, offered
from graders.notebook.progress import Check, Record
from graders.root import course_root
from graders.seam.place import LocalPlace
from graders.tests.fixture_lesson import JUDGED, make_course, write_lesson

COMMENT = "Addition is exact. `operator.mul` is too."
COMMENTARY = f"# Commentary\n\n## double\njaxpr: jnp.ones(2), 3\n\n{COMMENT}\n"
ANSWER = ModelAnswer("double", "def double(x):\n    return x + x  # not 2 < 3\n", Comment("`+`."))
CHECKS = [
    Check("00_tiny", "double_check", "double", 2),
    Check("00_tiny", "double_check_2", "double", 1),
    Check("00_tiny", "answer_check", "answer", 1, "prediction"),
]


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogue and the solutions are those of one lesson."""
    monkeypatch.delenv(model_answer.SETTING, raising=False)
    monkeypatch.setattr(progress, "catalogue", lambda: {check.name: check for check in CHECKS})
    answers = {"double": ANSWER, "answer": ANSWER}
    monkeypatch.setattr(model_answer, "_answers", lambda lesson: answers)


PASSED = {"double_check": Record(True), "double_check_2": Record(True)}


@pytest.mark.parametrize(
    ("setting", "records", "shown"),
    [
        ("", PASSED, True),
        ("", {"double_check": Record(True)}, False),
        ("", {"double_check": Record(True), "double_check_2": Record(False, 9)}, False),
        ("never", PASSED, False),
        ("4", {"double_check": Record(False, 3)}, False),
        ("4", {"double_check": Record(False, 3), "double_check_2": Record(False, 1)}, True),
        ("4", PASSED, True),
        ("0", {}, False),
        ("nonsense", PASSED, True),
    ],
)
def test_it_is_offered_once_all_checks_pass_or_after_so_many_tries(
    setting: str, records: dict[str, Record], shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(model_answer.SETTING, setting)
    assert offered(CHECKS[0], records) == (ANSWER if shown else None)


def test_a_prediction_has_none() -> None:
    assert offered(CHECKS[2], {"answer_check": Record(True)}) is None


def test_the_fold_shows_commentary_and_code_without_markers(tmp_path: Path) -> None:
    folder = write_lesson(tmp_path)
    (folder / "commentary.md").write_text(COMMENTARY)
    [answer] = model_answer_of(tmp_path).values()
    shown = model_answer.html(answer, {"double": lambda x, y: x})
    assert "BEGIN SOLUTION" not in answer.source
    assert "<summary" in shown
    assert "Addition is exact. <code>operator.mul</code> is too." in shown
    assert "return operator.mul(2, x)" in shown
    assert "x + x  # not 2 &lt; 3" in model_answer.html(ANSWER, {})


def model_answer_of(root: Path) -> dict[str, ModelAnswer]:
    return UNPATCHED("00_tiny", root / "solutions")


UNPATCHED: Any = model_answer._answers


def test_both_jaxprs_stand_side_by_side() -> None:
    comment = Comment("Text.", "jnp.ones(2)")
    answer = ModelAnswer("double", "def double(x):\n    return x + x\n", comment)
    shown = model_answer.html(answer, {"double": lambda x: 2 * x, "jnp": jnp})
    yours, theirs = shown.split("Your jaxpr")[1].split("The author's jaxpr")
    assert "mul" in yours
    assert "add a a" in theirs


def test_equal_jaxprs_are_shown_once() -> None:
    comment = Comment("Text.", "jnp.ones(2)")
    answer = ModelAnswer("double", "def double(x):\n    return x + x\n", comment)
    shown = model_answer.html(answer, {"double": lambda y: y + y})
    assert shown.count("add a a") == 1
    assert "Your jaxpr, which is the author's too" in shown


def test_an_answer_that_cannot_be_traced_has_no_jaxprs() -> None:
    comment = Comment("Text.", "jnp.ones(2)")
    answer = ModelAnswer("double", "def double(x):\n    return x + x\n", comment)
    shown = model_answer.html(answer, {"double": lambda x: float(x)})
    assert "jaxpr" not in shown
    assert "return x + x" in shown


def test_without_solutions_there_are_none(tmp_path: Path) -> None:
    assert model_answer_of(tmp_path) == {}


@pytest.mark.parametrize(
    ("commentary", "said"),
    [
        ("## doubled\n\nText.\n", "the commentary is on 'doubled', which is no code exercise"),
        ("## answer\n\nText.\n", "the commentary is on 'answer', which is no code exercise"),
        ("## double\n", "the commentary on 'double' is empty"),
        ("## double\njaxpr: (\n\nText.\n", "the arguments of the jaxpr of 'double' are no Python"),
        ("## answer\n\nText.\n", "exercise 'double' has no commentary"),
    ],
)
def test_a_broken_commentary_is_named(
    commentary: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    course = make_course(tmp_path)
    (course / "solutions/00_tiny/commentary.md").write_text(commentary)
    assert main(root=course) == 1
    assert said in capsys.readouterr().err


def test_arguments_that_cannot_be_traced_are_a_problem(tmp_path: Path) -> None:
    folder = write_lesson(tmp_path, lesson=JUDGED)
    (folder / "commentary.md").write_text(COMMENTARY)
    lesson_run = run_lesson(read_lesson(folder), LocalPlace())
    [problem] = proofs._jaxprs_of_comments(lesson_run)
    assert problem.what.startswith("the jaxpr of 'double' raises TypeError")
    assert (problem.path.name, problem.line) == ("commentary.md", 4)


@pytest.mark.parametrize("folder", lesson_folders(course_root()), ids=lambda path: path.name)
def test_each_exercise_of_the_course_has_a_commentary(folder: Path) -> None:
    exercises = read_lesson(folder).exercises.values()
    code = {cell.exercise for cell in exercises if cell.answer_kind == "code"}
    assert read_commentary(folder).keys() == code
