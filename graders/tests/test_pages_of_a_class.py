"""From `jax-course grade` to the HTML page: what a student is shown, and what not."""

from __future__ import annotations

import csv
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

from graders import cli
from graders.author.build import RELEASE, build
from graders.classroom import report
from graders.grading import results
from graders.grading.results import Row
from graders.grading.submissions import OWN
from graders.tests.fixture_lesson import JUDGED, make_course

NAME = "00_tiny"
# nbgrader knows it for hidden tests, and so must everything of ours.
MARKED_OTHERWISE = JUDGED.replace("### BEGIN HIDDEN", "# BEGIN HIDDEN").replace(
    "### END HIDDEN", "# END HIDDEN"
)
PRINTS = """\
print("printed by", "the cell")

def double(x):
    print("printed by", "the function")
    return max(2 * x, -9.0)
"""
STOPS = 'print("printed before", "the end")\nprint(undefined_name)\nanswer = 4\n'


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with one submission, whose answer to `double` fails the hidden tests alone."""
    root = make_course(tmp_path_factory.mktemp("course"), MARKED_OTHERWISE)
    build(root)
    notebook = nbformat.read(root / RELEASE / NAME / f"{NAME}.ipynb", as_version=4)
    for cell in notebook.cells:
        answers = {"double": PRINTS, "answer": STOPS}
        cell.source = answers.get(cell.metadata.get("nbgrader", {}).get("grade_id"), cell.source)
    submitted = root / "build/submitted/ada" / NAME / f"{NAME}.ipynb"
    submitted.parent.mkdir(parents=True)
    nbformat.write(notebook, submitted)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert cli.main(["grade", "--no-sandbox"]) == 0
    return root


@pytest.fixture(scope="module")
def page(root: Path) -> BeautifulSoup:
    """The page of that submission."""
    (written,) = (root / "build/feedback/ada" / NAME).glob("*.html")
    return BeautifulSoup(written.read_text(), "html.parser")


def test_what_a_cell_printed_is_on_the_page(page: BeautifulSoup) -> None:
    shown = page.get_text()
    assert "printed by the cell" in shown
    assert "printed before the end" in shown
    assert "printed by the function" not in shown  # a check calls it as often as it likes


def test_where_a_cell_stopped_its_error_is_on_the_page(page: BeautifulSoup) -> None:
    assert "NameError: name 'undefined_name' is not defined" in page.get_text()


def test_a_hidden_test_that_failed_is_said_without_its_numbers(page: BeautifulSoup) -> None:
    shown = str(page)
    assert "on hidden inputs" in " ".join(part.get_text() for part in page.select("#double"))
    assert "12345" not in shown
    assert "24690" not in shown


def test_the_instructor_sees_why_each_check_failed(root: Path) -> None:
    lines = list(csv.DictReader((root / OWN / report.CHECKS).read_text().splitlines()))
    assert [[line["check"], line["score"], line["why"]] for line in lines] == [
        ["double_check", "0", results.WRONG],
        ["answer_check", "0", results.NOT_ANSWERED],
    ]


def test_what_could_not_be_graded_has_a_dash_for_marks(capsys: pytest.CaptureFixture) -> None:
    report.show(
        [Row("ada", NAME, results.UNREADABLE, {}, {"double_check": 2.0}, "it is cut short")]
    )
    shown = capsys.readouterr().out
    assert "it is cut short" in shown
    assert "0 / " not in shown
    assert shown.count(" - ") == 4  # for the lesson and in all, in the row and below
