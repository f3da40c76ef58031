"""The card: what passed, what failed, what is behind it; HTML and text that say the same."""

from __future__ import annotations

import re
import sys
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from graders.card import draw, picture
from graders.card.failure import MOST_CHARACTERS, Cause, Finding
from graders.card.outcome import Outcome
from graders.card.sheet import Sheet

CELL = """
check_shape(f, 1, returns="")
check_values(f, g, cases, about="<b>ties</b>")
### BEGIN HIDDEN TESTS
check_pure(f, 1)
### END HIDDEN TESTS
"""
SCRIPT = "<script>alert(1)</script>"
FINDING = Finding(
    Cause("a sum", "Look at `jnp.mean` & the <axis>.", f"x = {SCRIPT}"),
    expected="[1, 2]",
    got=f'"{SCRIPT}"',
    at="x = '&lt;'",
)


def page(met: int, finding: Finding | None = None, cell: str = CELL, reason: str = "") -> Outcome:
    """So many requirements are met, and the next one failed where there is a finding."""
    sheet = Sheet.of(cell)
    for _ in range(met):
        sheet.begin("", "")
        sheet.meet(reason)
    if finding:
        sheet.begin("", "")
        sheet.fail(finding)
    return sheet.outcome


def seen(html: str) -> str:
    """The words of HTML, which must be well-formed."""
    root = ElementTree.fromstring(html)
    assert all(element.tag != "script" for element in root.iter())
    return " ".join(" ".join(root.itertext()).split())


def words(text: str) -> list[str]:
    return [word for word in re.findall(r"[\w.]+", text) if word not in ("passed", "failed")]


PAGES = {
    "all met": page(3),
    "first fails": page(0, FINDING),
    "second fails": page(1, FINDING),
    "hidden fails": page(2, FINDING),
    "unanswered": page(0, Finding(Cause("not answered yet", "Write it."), answered=False)),
    "visible alone": page(1, cell="check_shape(f, 1, returns='')"),
    "prediction": page(1, cell="check_answer(f, 3)", reason="Because of <this>."),
    "wrong prediction": page(0, FINDING, cell="check_answer(f, 3)"),
}


@pytest.mark.parametrize("name", PAGES)
def test_html_and_text_say_the_same(name: str) -> None:
    html, text = seen(draw.html(PAGES[name])), draw.text(PAGES[name])
    missing = [word for word in words(text.replace("`", " ")) if word not in html]
    assert missing == []
    assert all(label in html for label in re.findall(r"^  (\w+):", text, re.MULTILINE))


def test_all_met() -> None:
    assert draw.text(PAGES["all met"]) == (
        "f\n"
        " ✓ returns the right shape\n"
        " ✓ returns the right values: <b>ties</b>\n"
        " ✓ is pure, and can be traced, on hidden inputs"
    )
    assert "All requirements are met." in seen(draw.html(PAGES["all met"]))


def test_a_failure_and_what_is_behind_it() -> None:
    assert draw.text(PAGES["second fails"]) == (
        "f\n"
        " ✓ returns the right shape\n"
        " ✗ returns the right values: <b>ties</b>\n"
        " · is pure, and can be traced, on hidden inputs (not yet checked)\n"
        "  Expected: [1, 2]\n"
        f'  Got: "{SCRIPT}"\n'
        "  At: x = '&lt;'\n"
        f"  Line: x = {SCRIPT}\n"
        "  Diagnosis: a sum\n"
        "  Try: Look at `jnp.mean` & the <axis>."
    )
    assert "1 of 3 requirements met." in seen(draw.html(PAGES["second fails"]))


def test_what_a_student_wrote_is_escaped() -> None:
    html = draw.html(PAGES["second fails"])
    assert "<script" not in html
    assert "<b>" not in html
    assert SCRIPT in unescape(html)
    assert "<code>jnp.mean</code> &amp; the &lt;axis&gt;" in html
    assert "x = '&lt;'" in seen(html)


def test_states_are_spoken() -> None:
    html = draw.html(PAGES["second fails"])
    assert re.findall(r'aria-label="([^"]*)"', html) == ["passed", "failed", "open"]
    assert 'role="status"' in html


def test_a_hidden_failure_shows_neither_input_nor_numbers() -> None:
    for shown in (draw.text(PAGES["hidden fails"]), draw.html(PAGES["hidden fails"])):
        assert "Hidden test" in shown
        assert "on inputs that are not shown" in shown
        for part in (FINDING.expected, "script", "jnp.mean", "a sum", FINDING.at):
            assert part not in shown


def test_an_exercise_that_is_not_answered() -> None:
    text = draw.text(PAGES["unanswered"])
    assert "○ returns the right shape (not answered yet)" in text
    assert "Diagnosis" not in text
    assert "not answered yet" in seen(draw.html(PAGES["unanswered"]))


def test_hidden_tests_to_come_are_announced() -> None:
    assert draw.text(PAGES["visible alone"]).endswith("hidden tests try the same on other inputs.")
    assert "hidden" not in draw.text(PAGES["prediction"])


def test_the_reason_is_told_to_whoever_is_right() -> None:
    assert draw.text(PAGES["prediction"]).endswith("  Why: Because of <this>.")
    assert "Because of &lt;this&gt;." in draw.html(PAGES["prediction"])
    assert "Because" not in draw.text(PAGES["wrong prediction"])


def test_an_odd_backtick_is_left_as_it_is() -> None:
    finding = Finding(Cause("it raised `x", "Close the `quote`."))
    assert "it raised `x" in seen(draw.html(page(0, finding)))


def test_a_picture_is_shown_for_a_matrix_that_is_wrong_in_places() -> None:
    right = np.eye(4)
    wrong = right + np.diag([5, 0, 0, 5])
    cells = picture.worth_drawing(wrong != right)
    drawn = picture.svg(cells)
    root = ElementTree.fromstring(drawn)
    filled = [square for square in root.iter("rect") if square.get("fill") != "none"]
    assert len(filled) == 2
    assert "2 of 16 elements are wrong" in "".join(root.itertext())
    assert drawn in draw.html(page(0, Finding(FINDING.cause, picture=cells)))
    assert drawn not in draw.html(page(2, Finding(FINDING.cause, picture=cells)))


@pytest.mark.parametrize(
    ("got", "right"),
    [
        (np.ones((4, 4)), np.ones((4, 4))),
        (np.zeros((4, 4)), np.ones((4, 4))),
        (np.eye(2), np.ones((2, 2))),
        (np.eye(30), np.ones((30, 30))),
        (np.arange(9.0), np.ones(9)),
    ],
    ids=["right", "all wrong", "small", "large", "vector"],
)
def test_where_a_picture_says_no_more_there_is_none(got: np.ndarray, right: np.ndarray) -> None:
    assert picture.worth_drawing(got != right) == ()
    assert picture.svg(()) == ""


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it, of a colour such as #37873b."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(colour: str, page: str) -> float:
    dark, light = sorted([luminance(colour), luminance(page)])
    return (light + 0.05) / (dark + 0.05)


LEAST = 3.5  # WCAG 2.2 asks for 3 of what is no text


@pytest.mark.parametrize("colour", draw.COLOURS.values())
@pytest.mark.parametrize("page", ["#ffffff", "#111111", "#212121"])
def test_the_marks_stand_out_on_a_light_and_on_a_dark_page(colour: str, page: str) -> None:
    assert contrast(colour.rstrip(")")[-7:], page) > LEAST


@pytest.mark.parametrize(("theme", "page"), [("light", "#ffffff"), ("dark", "#111111")])
def test_the_marks_stand_out_in_the_themes_of_jupyterlab(theme: str, page: str) -> None:
    named = [found[1] for one in draw.COLOURS.values() if (found := re.match(r"var\((.*),", one))]
    path = f"share/jupyter/lab/themes/@jupyterlab/theme-{theme}-extension/index.css"
    style = (Path(sys.prefix) / path).read_text()
    assert len(named) == 2
    for name in named:
        found = re.search(rf"{name}: ?var\([\w-]+, ?(#\w+)\)", style)
        assert found, name
        assert contrast(found[1], page) > LEAST, name


def test_how_far_one_has_come_stands_at_the_foot() -> None:
    standing = "00_a: 2 of 3 points. The course: <6> of 7."
    assert draw.text(PAGES["all met"], standing).endswith(f"\n  {standing}")
    assert seen(draw.html(PAGES["all met"], standing)).endswith(standing)


def test_what_is_long_is_cut_before_it_is_kept() -> None:
    """Expected, got and input may hold what a student's code has made: a page would not end."""
    fields = ("expected", "got", "at", "error")
    long: dict[str, Any] = {name: name + "x" * 1_000_000 for name in fields}
    finding = Finding(Cause("why" + "x" * 1_000_000, "next" + "x" * 1_000_000), **long)
    cut = finding.cut()
    texts = [cut.cause.diagnosis, cut.cause.next_step, *(getattr(cut, name) for name in fields)]
    assert {len(text) for text in texts} == {MOST_CHARACTERS}
    beginnings = ("why", "next", *fields)
    assert all(text.startswith(start) for text, start in zip(texts, beginnings, strict=True))
    assert all(text.endswith(" ...") for text in texts)
    assert cut.cut() == cut
    assert FINDING.cut() == FINDING
    assert page(0, finding).finding == cut
