"""The sheet: requirements read off a cell's source, and how far an answer came."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from graders import CheckFailed, check_shape, check_values
from graders.card import draw, messages, sheet
from graders.card.failure import Cause, Finding
from graders.card.outcome import Outcome, Requirement
from graders.card.sheet import Sheet, requirements_in

CELL = """\
def by_hand(x):
    check_never(x)
    return x

cases = [(np.ones(3),)]
check_shape(double, *cases[0], returns="3")
check_values(result_of(make, 2), by_hand, cases, about="edge cases")
check_pure(through(call, result_of(make, 2)), np.ones(3))
check_answer(value=3)
### BEGIN HIDDEN TESTS
check_values(
    double,
    by_hand,
    cases,
)
### END HIDDEN TESTS
check_gradients(double, np.ones(3))
"""


def test_requirements_are_read_off_the_source() -> None:
    found = requirements_in(CELL)
    assert [(r.verb, r.exercise, r.hidden, r.about) for r in found] == [
        ("check_shape", "double", False, ""),
        ("check_values", "make", False, "edge cases"),
        ("check_pure", "make", False, ""),
        ("check_answer", "", False, ""),
        ("check_values", "double", True, ""),
        ("check_gradients", "double", False, ""),
    ]
    assert {r.state for r in found} == {"open"}


@pytest.mark.parametrize(
    "source", ["", "x = 1", "def (", "check_values", "%%timeit\ncheck_shape(f)"]
)
def test_other_cells_have_none(source: str) -> None:
    assert requirements_in(source) == []
    assert Sheet.of(source).exercise == ""


def test_a_requirement_in_words() -> None:
    words = [
        Requirement("check_shape", "f").words,
        Requirement("check_values", "f", about="ties").words,
        Requirement("check_values", "f", hidden=True, about="ties").words,
        Requirement("check_something_else", "f").words,
    ]
    assert words == [
        "returns the right shape",
        "returns the right values: ties",
        "returns the right values, on hidden inputs",
        "something else",
    ]


@pytest.mark.parametrize("verb", ["shape", "dtype", "values", "gradients", "pure", "traces"])
def test_every_check_has_words(verb: str) -> None:
    import graders

    checks = {name for name in graders.__all__ if name.startswith("check_")}
    assert f"check_{verb}" in checks
    assert checks == messages.REQUIREMENTS.keys()


def shown_by(cell: str, f: object) -> tuple[list[str], CheckFailed | None]:
    """The states each time that the sheet was shown, and what was raised."""
    shown: list[str] = []

    def show(outcome: Outcome) -> None:
        shown.append(" ".join(requirement.state for requirement in outcome.requirements))

    with sheet.turned_to(Sheet.of(cell, show)):
        try:
            exec(cell, {"check_shape": check_shape, "check_values": check_values, "f": f, "np": np})
        except CheckFailed as failed:
            return shown, failed
    return shown, None


TWO = """
check_shape(f, np.ones(3), returns="3")
check_values(f, lambda x: 2 * x, [(np.arange(5.0),)])
### BEGIN HIDDEN TESTS
check_values(f, lambda x: 2 * x, [(np.full(3, 1234.5),)])
### END HIDDEN TESTS
"""


def unfinished(x: object) -> None:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("f", "states", "line"),
    [
        (lambda x: 2 * x, "met met met", "None"),
        (
            lambda x: x.sum(),
            "failed open open",
            "f: an axis is missing that should stay: axis 0, of size 3",
        ),
        (lambda x: 4 * x, "met failed open", "f: every number is 2 times the expected value"),
        (unfinished, "unanswered open open", "f: not answered yet"),
        (
            lambda x: jnp.clip(2 * x, 0, 9),
            "met met failed",
            "f: a hidden test failed: that it returns the right values, on hidden inputs",
        ),
    ],
    ids=["right", "first fails", "second fails", "unanswered", "hidden fails"],
)
def test_a_sheet_is_shown_once(f: object, states: str, line: str) -> None:
    shown, failed = shown_by(TWO, f)
    assert shown == [states]
    assert str(failed) == line


def test_a_hidden_failure_tells_the_instructor_alone() -> None:
    _, failed = shown_by(TWO, lambda x: jnp.clip(2 * x, 0, 9))
    assert failed is not None
    assert failed.diagnosis.startswith("right for the visible inputs, wrong on hidden ones: ")
    assert "1234.5" in failed.at
    shown_to_a_student = [str(failed), repr(failed), *failed._render_traceback_()]
    assert not any("1234" in words or "2469" in words for words in shown_to_a_student)


# All of these are marks to nbgrader, which takes the cells apart: it looks for the words alone.
MARKS = ["### {}", "# {}", "    ### {}", "#{}", "# ---- {} ----"]
CLOSED = TWO.replace("### ", "")


def marked(mark: str) -> str:
    words = ("BEGIN HIDDEN TESTS", "END HIDDEN TESTS")
    lines = (mark.format(line) if line in words else line for line in CLOSED.split("\n"))
    return "\n".join(lines)


@pytest.mark.parametrize("cell", [*map(marked, MARKS), TWO.replace("### END HIDDEN TESTS\n", "")])
def test_hidden_tests_are_hidden_however_they_are_marked(cell: str) -> None:
    shown: list[Outcome] = []
    page = Sheet.of(cell, shown.append)
    assert page.requirements[-1].hidden
    names = {"check_shape": check_shape, "check_values": check_values, "np": np}
    with sheet.turned_to(page), pytest.raises(CheckFailed) as caught:
        exec(cell, names | {"f": lambda x: jnp.clip(2 * x, 0, 9)})
    [outcome] = shown
    student_sees = [str(caught.value), draw.html(outcome), draw.text(outcome)]
    assert not any("1234" in words or "2469" in words for words in student_sees)
    assert "hidden test" in student_sees[0]


def test_where_a_region_is_not_closed_everything_is_hidden() -> None:
    """The visible inputs are no loss beside a hidden one that is shown."""
    for line in ("### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"):
        assert [r.hidden for r in requirements_in(TWO.replace(line, ""))] == [True] * 3


def test_a_check_outside_a_cell_has_a_sheet_of_its_own() -> None:
    assert sheet.current().requirements == []
    with pytest.raises(CheckFailed, match="every number is 2 times"):
        check_values(lambda x: 4 * x, lambda x: 2 * x, [(np.arange(5.0),)])
    assert sheet.current().requirements == []


def test_requirements_that_the_source_did_not_announce_are_added() -> None:
    page = Sheet.of("for f in functions:\n    check_shape(f, x, returns='3')")
    page.begin("check_shape", "f")
    page.meet()
    page.begin("check_shape", "g", "ties")
    page.meet()
    assert [(r.exercise, r.about, r.state) for r in page.requirements] == [
        ("f", "", "met"),
        ("g", "ties", "met"),
    ]


def test_the_line_of_a_failure_is_one_line() -> None:
    page = Sheet([])
    finding = Finding(Cause("two\nlines\n\nhere", "Try."))
    page.begin("check_shape", "f")
    failed = page.fail(finding)
    assert str(failed) == "f: two lines here"
    assert failed._render_traceback_() == ["CheckFailed: f: two lines here"]
