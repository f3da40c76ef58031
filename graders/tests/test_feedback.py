"""The feedback page: what is on it, and what a student's text becomes."""

from __future__ import annotations

from typing import Any

import hypothesis
import nbformat
import pytest
from bs4 import BeautifulSoup
from hypothesis import strategies as st
from nbformat import NotebookNode
from nbformat.v4 import new_output

from graders.author.build import RELEASE, built
from graders.card.outcome import MIME
from graders.feedback.page import MOST_CHARACTERS, lesson_page, student_page
from graders.lesson.source import read_lesson
from graders.tests.fixture_lesson import failed, make_course

LESSON = "00_tiny"
CARD = failed("double", "an axis is missing").as_json()


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> NotebookNode:
    """The lesson as it was handed out."""
    root = make_course(tmp_path_factory.mktemp("course"))
    pages = built(root, [read_lesson(root / "solutions" / LESSON)])
    return nbformat.reads(pages[RELEASE / LESSON / f"{LESSON}.ipynb"].decode(), as_version=4)


def cell(notebook: NotebookNode, name: str) -> NotebookNode:
    return next(c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == name)


def copied(notebook: NotebookNode) -> NotebookNode:
    copy: Any = nbformat.from_dict(notebook)  # it is declared to give other things too
    return copy


def graded(notebook: NotebookNode, **scores: float) -> NotebookNode:
    """The notebook as GetGrades leaves it, with these marks for its checks."""
    copy = copied(notebook)
    for check, score in {"double_check": 0.0, "answer_check": 0.0, **scores}.items():
        cell(copy, check).metadata.nbgrader["score"] = score
    return copy


def read(notebook: NotebookNode, given: NotebookNode, **about: Any) -> BeautifulSoup:
    said = {"student": "ada", "assignment": LESSON, "score": 1, "max_score": 3, "late_penalty": 0}
    return BeautifulSoup(lesson_page(notebook, given, said | about), "html.parser")


def text(page: BeautifulSoup, where: str) -> str:
    return " ".join(found.get_text() for found in page.select(where))


def test_a_failed_exercise_has_its_card_its_hints_and_its_answer(given: NotebookNode) -> None:
    notebook = graded(given)
    cell(notebook, "double").source = "def double(x):\n    return x @ x"
    cell(notebook, "double").outputs = [new_output("stream", text="hello")]
    cell(notebook, "double_check").outputs = [new_output("display_data", {MIME: CARD})]
    page = read(notebook, given)
    assert text(page, "h1") == "0 · Tiny"
    assert "an axis is missing" in text(page, "#double .card")
    assert "Hint 1: the idea" in text(page, "#double .hints summary")
    assert "x @ x" in text(page, "#double details pre")
    assert "hello" in text(page, "#double details pre")
    assert "not yet right" in text(page, "nav")
    assert "0.1 Doubling" in text(page, "#double")


def test_what_is_right_has_no_hints(given: NotebookNode) -> None:
    notebook = graded(given, double_check=2.0)
    cell(notebook, "double").source = "def double(x):\n    return x + x"
    page = read(notebook, given)
    assert page.select("#double .hints") == []
    assert "all points" in text(page, "nav")


def test_what_is_not_answered_is_said(given: NotebookNode) -> None:
    notebook = graded(given)
    cell(notebook, "double").metadata.nbgrader["comment"] = "No response."
    page = read(notebook, given)
    assert page.select(".comment") == []
    rows = page.select("nav tr")[1:]
    assert [[cell.get_text() for cell in row.select("td")] for row in rows] == [
        ["double", "○not answered", "0 / 2"],
        ["answer", "○not answered", "0 / 1"],
    ]
    assert page.select("#double details pre") == []


def test_an_instructors_words_and_a_penalty_are_on_the_page(given: NotebookNode) -> None:
    notebook = graded(given)
    cell(notebook, "double").metadata.nbgrader["comment"] = "Nearly <b>there</b>"
    page = read(notebook, given, late_penalty=0.5)
    assert "Nearly <b>there</b>" in text(page, "#double .comment")
    assert "0.5 points taken off" in text(page, "header")


def test_a_lesson_that_is_gone_leaves_a_page_without_hints(given: NotebookNode) -> None:
    bare = copied(given)
    bare.cells = []
    page = read(graded(given), bare)
    assert text(page, "h1") == LESSON
    assert len(page.select("section")) == 2


def test_long_text_is_cut(given: NotebookNode) -> None:
    notebook = graded(given)
    cell(notebook, "double").source = "#" * 1_000_000
    page = read(notebook, given)
    assert len(str(page)) < 10 * MOST_CHARACTERS
    assert "characters more" in text(page, "#double details pre")


@hypothesis.settings(max_examples=30)
@hypothesis.given(words=st.text(max_size=60), markup=st.text('<>/"&{%} =abscript', max_size=60))
def test_a_students_text_is_text(words: str, markup: str, given: NotebookNode) -> None:
    notebook = graded(given)
    cell(notebook, "double").source = words + markup
    cell(notebook, "double").outputs = [new_output("stream", text=markup)]
    error = new_output("error", ename=markup, evalue=words)
    cell(notebook, "double_check").outputs = [error]
    page = read(notebook, given, student=markup)
    links = [str(tag["href"]) for tag in page.select("script[href], a[href]")]
    assert [link for link in links if not link.startswith("#")] == []
    assert {tag.name for tag in page.select("pre *")} == set()


def test_a_students_lessons_are_listed() -> None:
    lines = [
        {"lesson": LESSON, "page": "a/b.html", "marks": "1 / 3", "remark": ""},
        {"lesson": "01_x", "page": "", "marks": "-", "remark": "it is cut <short>"},
    ]
    page = BeautifulSoup(student_page("<i>ada", lines, "1 / 3"), "html.parser")
    assert [link["href"] for link in page.select("a")] == ["a/b.html"]
    assert text(page, "h1") == "<i>ada"
    assert [cell.get_text() for cell in page.select("tr")[-1].select("th, td")][:2] == [
        "Total",
        "1 / 3",
    ]
    assert "it is cut <short>" in text(page, "td")
