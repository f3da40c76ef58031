"""Cells that may be left out: which are, and what proves that no mark depends on them."""

from __future__ import annotations

from pathlib import Path

from graders.author import proofs
from graders.judging.lesson_run import run_lesson
from graders.lesson.cells import Lesson
from graders.lesson.demonstrations import needed_cells, with_demonstrations
from graders.lesson.python import parse
from graders.lesson.source import read_lesson
from graders.seam.place import LocalPlace
from graders.tests.fixture_lesson import write_lesson
from graders.tests.test_verify import LESSON, RIGHT, WRONG

MARKED = '# %% tags=["demonstration"]\n'
FIRST = "# %% [markdown]\n# ## 0.1"


def made(root: Path, *demonstrations: str, wrong: str = WRONG) -> Lesson:
    """The tiny lesson with these demonstrations before its first exercise."""
    shown = "".join(f"{MARKED}{source}\n\n" for source in demonstrations)
    lesson = LESSON.replace(FIRST, shown + FIRST, 1)
    return read_lesson(write_lesson(root, lesson=lesson, wrong=wrong, right=RIGHT))


def sources(lesson: Lesson, answer: str = "") -> list[str]:
    shown = [cell.source for cell in lesson.cells if cell.is_demonstration]
    return [cell.source for cell in needed_cells(lesson, [parse(answer)]) if cell.source in shown]


def test_a_demonstration_is_left_out_unless_an_answer_reads_it(tmp_path: Path) -> None:
    lesson = made(tmp_path, "x = 3", "def shown():\n    return x", "y = 4")
    assert sources(lesson) == []
    assert sources(lesson, "def double(x):\n    return 2 * x") == []
    assert sources(lesson, "z = y") == ["y = 4"]
    assert sources(lesson, "z = shown()") == ["x = 3", "def shown():\n    return x"]


def test_all_other_code_is_needed(tmp_path: Path) -> None:
    lesson = made(tmp_path, "x = 3")
    code = [cell for cell in lesson.cells if cell.kind == "code"]
    assert needed_cells(lesson) == [cell for cell in code if not cell.is_demonstration]
    every = with_demonstrations(lesson)
    assert needed_cells(every) == [cell for cell in every.cells if cell.kind == "code"]


def test_proving_does_not_run_it(tmp_path: Path) -> None:
    lesson = made(tmp_path, "1 / 0")
    assert proofs.prove(run_lesson(lesson, LocalPlace()), lambda: None)[0] == []
    found = run_lesson(with_demonstrations(lesson), LocalPlace()).problems
    assert {problem.what for problem in found} == {
        "the cell raises ZeroDivisionError: division by zero"
    }


def test_one_that_changes_what_is_said_is_found(tmp_path: Path) -> None:
    assert proofs.prove_demonstrations(made(tmp_path, "x = 3"), lambda: None) == []
    wrong = WRONG.replace("return 3 * x", "return 3 * x + len(table)")
    telling = made(tmp_path, "table.append(1.0)", wrong=wrong)
    (found,) = proofs.prove_demonstrations(telling, lambda: None)
    assert "double: the demonstrations change what is said, from" in found.what
    assert found.line == telling.wrong[1].line
