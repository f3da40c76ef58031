"""The checks in a real IPython shell: cards, one-line errors, names that no cell has bound."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from graders.notebook import progress
from graders.seam.subject import Unanswered

GIVEN = """
import jax, jax.numpy as jnp, numpy as np
from graders import check_answer, check_pure, check_shape, check_values
from graders import result_of
from graders.notebook.events import connect_if_running
connect_if_running()
"""
CHECK = """
check_shape(double, np.ones(3), returns="3")
check_values(double, lambda x: 2 * x, [(np.ones(3),)])
"""


@dataclass
class Shown:
    """What a cell has put on the page."""

    error: BaseException | None
    out: str
    err: str
    cards: list[dict[str, str]]

    @property
    def card(self) -> str:
        (only,) = self.cards
        return only["text/plain"]


class Notebook:
    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell

    def run(self, cell: str) -> Shown:
        with capture_output() as page:
            result = self.shell.run_cell(cell)
        error = result.error_before_exec or result.error_in_exec
        return Shown(error, page.stdout, page.stderr, [dict(card.data) for card in page.outputs])

    def held(self) -> list[Any]:
        return list(self.shell.user_ns.values())


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        patch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # a shell replaces it
        yield InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
        InteractiveShell.clear_instance()


@pytest.fixture
def notebook(shell: InteractiveShell) -> Notebook:
    shell.reset(new_session=False)
    book = Notebook(shell)
    assert book.run(GIVEN).error is None
    return book


def test_a_right_answer(notebook: Notebook) -> None:
    notebook.run("def double(x):\n    return 2 * x")
    shown = notebook.run(CHECK)
    assert (shown.error, shown.out, shown.err) == (None, "", "")
    assert shown.card.startswith("double\n ✓ returns the right shape\n ✓ returns the right values")
    assert "<ul" in shown.cards[0]["text/html"]


def test_a_wrong_answer(notebook: Notebook) -> None:
    notebook.run("def double(x):\n    return x @ x")
    shown = notebook.run(CHECK)
    assert type(shown.error).__name__ == "CheckFailed"
    assert shown.out.strip().splitlines() == [
        "CheckFailed: double: an axis is missing that should stay: axis 0, of size 3"
    ]
    assert shown.err == ""
    assert " ✗ returns the right shape\n · returns the right values (not yet" in shown.card


def test_an_answer_with_an_error_shows_its_line_and_no_traceback(notebook: Notebook) -> None:
    notebook.run("def double(x):\n    y = x + jnp.ones(7)\n    return y")
    shown = notebook.run(CHECK)
    assert "  Line: y = x + jnp.ones(7)\n" in shown.card
    assert len(shown.out.strip().splitlines()) == 1
    assert shown.err == ""


@pytest.mark.parametrize(
    "cell",
    ["", "def double(x):\n    raise NotImplementedError()", "double = undefined", "double = ..."],
    ids=["cell not run", "placeholder", "cell that raised", "ellipsis"],
)
def test_what_is_not_answered_yet(notebook: Notebook, cell: str) -> None:
    notebook.run(cell)
    before = dict(notebook.shell.user_ns)
    shown = notebook.run(CHECK)
    assert shown.out.strip() == "CheckFailed: double: not answered yet"
    assert shown.err == ""
    assert "○ returns the right shape (not answered yet)" in shown.card
    assert not any(isinstance(value, Unanswered) for value in notebook.held())
    assert notebook.shell.user_ns.get("double") is before.get("double")


def test_the_stand_in_is_gone_also_where_a_check_reads_it_through_another(
    notebook: Notebook,
) -> None:
    shown = notebook.run("check_shape(result_of(make, 2), np.ones(3), returns='3')")
    assert shown.out.strip() == "CheckFailed: make: not answered yet"
    error = notebook.run("make").error
    assert isinstance(error, NameError)


def test_a_stale_answer_is_named_and_comes_back(notebook: Notebook) -> None:
    notebook.run("def double(x):\n    return 2 * x")
    notebook.run("def double(x):\n    return 2 * ")
    shown = notebook.run(CHECK)
    assert "CheckFailed: double: not answered yet" in shown.out
    assert "syntax error" in shown.card
    assert notebook.shell.user_ns["double"](3) == 6
    notebook.run("def double(x):\n    return x + x")
    assert notebook.run(CHECK).error is None


def test_a_hidden_failure_shows_neither_input_nor_numbers(notebook: Notebook) -> None:
    notebook.run("def double(x):\n    return jnp.clip(2 * x, 0, 9)")
    hidden = "check_values(double, lambda x: 2 * x, [(np.full(3, 1234.5),)])"
    shown = notebook.run(f"{CHECK}### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS\n")
    assert shown.out.strip() == (
        "CheckFailed: double: a hidden test failed: that it returns the right values, on hidden "
        "inputs"
    )
    page = shown.out + shown.err + str(shown.cards)
    assert not any(number in page for number in ("1234", "2469", "9, 9", "right for the visible"))


def test_what_a_student_wrote_is_escaped(notebook: Notebook) -> None:
    notebook.run("answer = '<script>alert(1)</script>'")
    shown = notebook.run("check_answer(answer, 3)")
    assert "<script" not in shown.cards[0]["text/html"]
    assert "<script" in shown.card


def test_a_prediction_is_told_why(notebook: Notebook) -> None:
    notebook.run("answer = 3")
    shown = notebook.run("check_answer(answer, 3, because='Three it is.')")
    assert (shown.error, shown.out) == (None, "")
    assert "Three it is." in shown.card


def test_output_of_the_answer_is_kept_off_the_page(notebook: Notebook) -> None:
    notebook.run("import sys, warnings")
    notebook.run(
        "def double(x):\n    print('x', x)\n    print('x', x, file=sys.stderr)\n"
        "    warnings.warn('x')\n    jax.debug.print('{}', x)\n    return 2 * x"
    )
    shown = notebook.run(CHECK)
    assert (shown.error, shown.out, shown.err) == (None, "", "")
    shown = notebook.run("check_pure(double, np.ones(3))")
    assert "it prints while it is traced" in shown.out
    assert shown.err == ""


def test_other_cells_are_left_alone(notebook: Notebook) -> None:
    shown = notebook.run("x = 1\nprint(x)")
    assert (shown.error, shown.out, shown.cards) == (None, "1\n", [])
    shown = notebook.run("1 / 0")
    assert isinstance(shown.error, ZeroDivisionError)
    assert isinstance(notebook.run("check_values(").error, SyntaxError)


def test_connecting_twice_shows_one_card(notebook: Notebook) -> None:
    notebook.run("connect_if_running()\nconnect_if_running()")
    notebook.run("def double(x):\n    return 2 * x")
    assert len(notebook.run(CHECK).cards) == 1


def test_running_a_check_again_starts_afresh(notebook: Notebook) -> None:
    notebook.run("def double(x):\n    return x")
    assert notebook.run(CHECK).error is not None
    notebook.run("def double(x):\n    return 2 * x")
    for _ in range(2):
        shown = notebook.run(CHECK)
        assert shown.error is None
        assert shown.card.count("✓") == 2


def test_names_of_a_student_are_as_they_were(notebook: Notebook) -> None:
    """A check traces, calls and compiles; what it did to a student's names must not stay."""
    notebook.run("count, last = 0, None")
    notebook.run(
        "def double(x):\n    global count, last\n    count += 1\n    last = x\n    return 2 * x"
    )
    shown = notebook.run("check_pure(double, np.ones(3))")
    assert "it keeps a tracer in 'last'" in shown.out
    assert (notebook.shell.user_ns["count"], notebook.shell.user_ns["last"]) == (0, None)


def test_a_check_of_the_course_says_how_far_one_has_come(
    notebook: Notebook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check = progress.Check("00_tiny", "double_check", "double", 2)
    kept = progress.Progress(tmp_path / "progress.json")
    monkeypatch.setattr(progress, "catalogue", lambda: {progress.digest(CHECK): check})
    monkeypatch.setattr(progress, "current", lambda: kept)
    notebook.run("def double(x):\n    return 2 * x")
    assert "00_tiny: 2 of 2 points. The course: 2 of 2." in notebook.run(CHECK).card
    notebook.run("def double(x):\n    return x")
    assert "00_tiny: 0 of 2 points. The course: 0 of 2." in notebook.run(CHECK).card


def test_an_edited_check_does_not_count(notebook: Notebook) -> None:
    notebook.run("def double(x):\n    return 2 * x")
    assert "points" not in notebook.run(CHECK).card
