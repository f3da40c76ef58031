"""nbgrader's own command line on a tiny course: each of its traps is closed, and stays closed.

One class is graded once by the plain command; every test reads what came out. A trap is first
shown to be open without our part, where that can be shown cheaply.
"""

import csv
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import ValidationError
from nbformat import NotebookNode
from nbformat.v4 import (
    new_code_cell,
    new_markdown_cell,
    new_notebook,
    new_output,
    new_raw_cell,
)
from nbgrader.api import Gradebook
from nbgrader.nbgraderformat.v3 import MetadataValidatorV3
from nbgrader.utils import determine_grade

from graders.author.build import build
from graders.card.outcome import MIME
from graders.feedback.cleaning import clean
from graders.nbgrading import formgrader
from graders.nbgrading import plugins as plugins
from graders.nbgrading.steps import quick_steps
from graders.tests.fixture_lesson import make_course, met

LESSON = "00_tiny"
RIGHT = "def double(x):\n    return x + x"
SECRET = "gradebook of the whole class"
Change = Callable[[NotebookNode, Path], None]


def cell(notebook: NotebookNode, name: str) -> NotebookNode:
    return next(c for c in notebook.cells if c.id == name)


def solve(notebook: NotebookNode, folder: Path) -> None:
    cell(notebook, "double").source = RIGHT
    cell(notebook, "answer").source = "answer = 4"


def messy(notebook: NotebookNode, folder: Path) -> None:
    """A right answer amid noise, evil HTML, floods of text, copies of cells, and links."""
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)><b style='position:fixed'>b</b>"
    cell(notebook, "double").source = (
        "import sys, warnings\n"
        "from IPython.display import HTML, Javascript, display\n"
        f"display(HTML({evil!r}), Javascript('alert(3)'))\n"
        "print('x' * 2_000_000)\n"
        "def double(x):\n"
        "    print('x', file=sys.stderr)\n"
        "    warnings.warn('noise')\n"
        "    return x + x"
    )
    for name in ("double", "check-double"):
        place = notebook.cells.index(cell(notebook, name))
        notebook.cells.insert(place, notebook.cells[place].copy())
    text = f"{evil} [link](javascript:alert(4))\n\n`a < b`"
    notebook.cells.append(new_markdown_cell(text))
    (folder / "notes.txt").symlink_to(folder.parents[2] / "secret.txt")
    (folder / "all").symlink_to(folder.parents[1])


def displays_a_number(notebook: NotebookNode, folder: Path) -> None:
    """Before each cell a hook displays a value, as if the cell had: nbgrader would take it."""
    forge = (
        "hook = get_ipython().displayhook\n"
        "def display_first(info):\n"
        "    hook.start_displayhook()\n"
        "    hook.write_output_prompt()\n"
        "    hook.write_format_data({'text/plain': '1.5'}, {})\n"
        "    hook.finish_displayhook()\n"
        "get_ipython().events.register('pre_run_cell', display_first)\n"
    )
    cell(notebook, "double").source = f"{forge}def double(x):\n    return x"


def loses_checks(notebook: NotebookNode, folder: Path) -> None:
    kept = [c for c in notebook.cells if c.id not in ("check-double", "check-answer")]
    notebook.cells = kept


def loses_an_exercise(notebook: NotebookNode, folder: Path) -> None:
    notebook.cells = [c for c in notebook.cells if c.id not in ("double", "check-double")]


def edits_checks(notebook: NotebookNode, folder: Path) -> None:
    cell(notebook, "double").source = "def double(x):\n    return 3 * x"
    check = cell(notebook, "check-double")
    check.source = "pass"
    check.metadata.nbgrader.update(points=50, grade=False, locked=False)
    cell(notebook, "check-answer").metadata.nbgrader = {"grade_id": "nobody", "points": "many"}


def wrong_only_in_hidden(notebook: NotebookNode, folder: Path) -> None:
    cell(
        notebook, "double"
    ).source = "def double(x):\n    print('asked for', x)\n    return {0: 0, 2: 4}.get(x)"


CLASS: dict[str, tuple[Change, ...]] = {
    "perfect": (solve,),
    "untouched": (),
    "messy": (solve, messy),
    "forger": (solve, displays_a_number),
    "loser": (solve, loses_checks),
    "skipper": (solve, loses_an_exercise),
    "editor": (solve, edits_checks),
    "lookup": (solve, wrong_only_in_hidden),
}
MARKS = dict.fromkeys(CLASS, 3.0) | {
    "untouched": 0.0,
    "forger": 1.0,
    "skipper": 1.0,
    "editor": 1.0,
    "lookup": 1.0,
}


def nbgrader(course: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "nbgrader", *arguments]
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "JUPYTER_PLATFORM_DIRS": "1"}
    done = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def hand_in(course: Path, student: str, changes: tuple[Change, ...]) -> None:
    notebook = nbformat.read(course / f"course/{LESSON}/{LESSON}.ipynb", as_version=4)
    folder = course / "build/submitted" / student / LESSON
    folder.mkdir(parents=True)
    for change in changes:
        change(notebook, folder)
    (folder / f"{LESSON}.ipynb").write_text(nbformat.v4.writes_json(notebook))


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course whose class nbgrader's command line has graded."""
    root = make_course(tmp_path_factory.mktemp("course"))
    build(root)
    (root / "build/secret.txt").write_text(SECRET)
    for student, changes in CLASS.items():
        hand_in(root, student, changes)
    for step in ("generate_assignment", "autograde", "generate_feedback"):
        nbgrader(root, step, LESSON, *(["--force"] if step == "generate_assignment" else []))
    nbgrader(root, "export")
    return root


def page(course: Path, student: str) -> str:
    return (course / "build/feedback" / student / LESSON / f"{LESSON}.html").read_text()


def read(course: Path, student: str) -> BeautifulSoup:
    return BeautifulSoup(page(course, student), "html.parser")


def test_the_plain_command_builds_what_build_builds(course: Path) -> None:
    released = (course / f"course/{LESSON}/{LESSON}.ipynb").read_bytes()
    assert build(course) == []
    assert (course / f"course/{LESSON}/{LESSON}.ipynb").read_bytes() == released


@pytest.mark.parametrize("student", CLASS)
def test_marks(course: Path, student: str) -> None:
    with Gradebook(f"sqlite:///{course / 'build/gradebook.db'}") as gradebook:
        submission = gradebook.find_submission(LESSON, student)
        assert (submission.score, submission.max_score) == (MARKS[student], 3.0)


def test_export_writes_the_marks(course: Path) -> None:
    with (course / "build/grades.csv").open() as file:
        scores = {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert scores == MARKS


def test_every_student_gets_a_page(course: Path) -> None:
    totals = {student: read(course, student).select_one(".score") for student in CLASS}
    assert {s: t and t.get_text() for s, t in totals.items()} == {
        student: f"{mark:g} / 3 points" for student, mark in MARKS.items()
    }


def test_hidden_tests_are_on_no_page(course: Path) -> None:
    for student in CLASS:
        assert "12345" not in page(course, student)
        assert "HIDDEN" not in page(course, student)
    autograded = course / "build/autograded/lookup" / LESSON / f"{LESSON}.ipynb"
    assert "asked for -12345" in autograded.read_text()
    assert "A hidden test failed" in page(course, "lookup")


def test_a_page_lists_the_marks_by_name(course: Path) -> None:
    rows = read(course, "forger").select("nav tr")[1:]
    cells = [[cell.get_text() for cell in row.select("td")] for row in rows]
    assert cells == [["double", "✗not yet right", "0 / 2"], ["answer", "✓all points", "1 / 1"]]


def test_a_visible_failure_keeps_its_words(course: Path) -> None:
    assert "AssertionError: at 2: 2, expected 4" in page(course, "forger")


def test_pages_hold_nothing_of_a_student_that_runs(course: Path) -> None:
    whole = read(course, "messy")
    assert whole.find_all(["script", "iframe", "form", "img"]) == []
    elements = whole.find_all(True)
    assert not [e for e in elements if any(name.startswith("on") for name in e.attrs)]
    assert not [e for e in elements if "javascript:" in str(e.get("href", ""))]
    assert not [e for e in elements if "position" in str(e.get("style", ""))]
    answer = whole.select_one("#double details pre")
    assert answer
    assert "<script>alert(1)" in answer.get_text()


def test_links_are_not_followed(course: Path) -> None:
    files = [p for p in (course / "build").rglob("*") if p.is_file() and p.name != "secret.txt"]
    assert not any(SECRET.encode() in file.read_bytes() for file in files)
    assert not (course / "build/autograded/linker" / LESSON / "all").exists()


def test_a_submission_that_is_a_link_is_not_graded(course: Path) -> None:
    (course / "build/submitted/thief").mkdir()
    (course / f"build/submitted/thief/{LESSON}").symlink_to(
        course / f"build/submitted/perfect/{LESSON}"
    )
    notebooks = [str(course / f"build/submitted/thief/{LESSON}/{LESSON}.ipynb")]
    plugins.refuse_links(assignment=LESSON, student="thief", notebooks=notebooks)
    assert notebooks == []
    assert (course / f"build/submitted/perfect/{LESSON}/{LESSON}.ipynb").exists()


def test_long_output_is_cut(course: Path) -> None:
    for step in ("autograded", "feedback"):
        paths = (course / "build" / step / "messy" / LESSON).iterdir()
        assert all(path.stat().st_size < 1_000_000 for path in paths)


def test_each_graded_cell_is_there_once_after_autograde(course: Path) -> None:
    names = ["double", "double_check", "answer", "answer_check"]
    for student in CLASS:
        path = course / "build/autograded" / student / LESSON / f"{LESSON}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        found = [c.metadata.nbgrader.grade_id for c in notebook.cells if "nbgrader" in c.metadata]
        assert sorted(found) == sorted(set(names) - ({"double"} if student == "skipper" else set()))


def test_validate_tells_right_from_wrong(course: Path) -> None:
    submitted = f"build/submitted/perfect/{LESSON}/{LESSON}.ipynb"
    said = nbgrader(course, "validate", submitted, f"course/{LESSON}/{LESSON}.ipynb")
    assert "Success! Your notebook passes all the tests." in said
    assert "VALIDATION FAILED ON 2 CELL(S)" in said


# ---- the traps by themselves ----


def graded(*outputs: NotebookNode) -> NotebookNode:
    described = {"grade": True, "solution": False, "grade_id": "f_check", "points": 2}
    return new_code_cell("check()", metadata={"nbgrader": described}, outputs=list(outputs))


def error(name: str = "AssertionError", value: str = "no") -> NotebookNode:
    return new_output("error", ename=name, evalue=value, traceback=["line 1", f"{name}: {value}"])


def shown(text: str) -> NotebookNode:
    return new_output("execute_result", data={"text/plain": text})


def test_a_displayed_number_is_no_partial_credit() -> None:
    forged = graded(shown("1.5"), error())
    assert determine_grade(forged)[0] == 1.5  # nbgrader by itself
    kept, _ = plugins.KeepVerdict().preprocess_cell(forged, {}, 0)
    assert determine_grade(kept) == (0, 2)
    kept, _ = plugins.KeepVerdict().preprocess_cell(graded(shown("99")), {}, 0)
    assert determine_grade(kept) == (2, 2)


HIDDEN_CHECK = "a\n### BEGIN HIDDEN TESTS\nsecret\n### END HIDDEN TESTS"


def feedback_of(*outputs: NotebookNode) -> str:
    cell = graded(*outputs)
    cell.source = HIDDEN_CHECK
    hidden, _ = plugins.HideTests().preprocess_cell(cell, {}, 0)
    return str(hidden)


def test_hidden_output_is_dropped_and_a_card_stays() -> None:
    mark = new_output("display_data", data={plugins.HIDDEN_MARK: ""})
    printed = new_output("stream", text="x is secret")
    card = new_output("display_data", data={MIME: met("double").as_json()})
    forged = new_output("display_data", data={"text/html": "<b>secret</b>"})
    failed = error("CheckFailed", "f: a hidden test failed")
    assert "secret" in str(graded(printed))
    text = feedback_of(new_output("stream", text="seen"), mark, printed, forged, card, failed)
    assert "secret" not in text
    assert "seen" in text
    assert MIME in text
    assert "CheckFailed: f: a hidden test failed" in text


def test_an_error_before_the_hidden_tests_shows_no_lines_of_them() -> None:
    shown_error = new_output(
        "error", ename="NameError", evalue="f", traceback=["----> 1 a", "      3 secret"]
    )
    text = feedback_of(shown_error)
    assert "secret" not in text
    assert "NameError: f" in text


def test_text_about_hidden_tests_in_other_cells_does_no_harm() -> None:
    odd = new_code_cell("### BEGIN HIDDEN TESTS")
    kept, _ = plugins.HideTests().preprocess_cell(odd, {}, 0)
    assert kept.source == "### BEGIN HIDDEN TESTS"


@pytest.mark.parametrize(
    ("html", "harmless"),
    [
        ("<script>alert(1)</script>", "alert(1)"),
        ('<img src="x" onerror="alert(1)">', ""),
        ('<b class="score" id="a">9 / 9</b>', "<b>9 / 9</b>"),
        ('<a href="javascript:alert(1)">a</a>', "<a>a</a>"),
        ('<a href="https://docs.jax.dev">a</a>', '<a href="https://docs.jax.dev">a</a>'),
        ('<p style="position: fixed; color: red">a</p>', '<p style="color: red;">a</p>'),
        ('<p style="background-color: url(x)">a</p>', "<p>a</p>"),
        ("<iframe src='https://x'></iframe>", ""),
        ('<img src="data:image/png;base64,aa==">', ""),
        ("<details><summary>a</summary>b</details>", "<details><summary>a</summary>b</details>"),
        ("<svg onload='x'><circle r='2'></circle></svg>", '<svg><circle r="2"></circle></svg>'),
        ("<form action='x'><input></form>", ""),
    ],
)
def test_html_is_made_harmless(html: str, harmless: str) -> None:
    assert clean(html) == harmless


@given(st.text(alphabet="<>/\"'= abscriptonlerdvhf:;()&", max_size=80))
def test_no_html_keeps_a_script_or_a_handler(html: str) -> None:
    cleaned = clean(html).lower()
    assert "<script" not in cleaned
    assert clean(clean(html)) == clean(html)


@given(st.text(max_size=300))
def test_marks_for_hidden_tests_move_no_line(text: str) -> None:
    marked = plugins._with_marks(HIDDEN_CHECK + "\n" + text.replace("HIDDEN", ""))
    assert marked.count("\n") == HIDDEN_CHECK.count("\n") + 1 + text.count("\n")
    assert marked.count(plugins.HIDDEN_MARK) == 1


def test_quick_steps_refuse_the_metadata_that_nbgrader_refuses() -> None:
    said = []
    cell = new_code_cell(metadata={"nbgrader": {"schema_version": 3, "points": "many"}})
    for how in (nullcontext, quick_steps):
        with how(), pytest.raises(ValidationError) as refused:
            MetadataValidatorV3().validate_cell(cell)
        said.append(refused.value.message)
    assert said[0] == said[1]


def test_the_gradebook_of_quick_steps_is_nbgraders_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = str(Path(sys.executable).parent)  # nbgrader calls `alembic` by its name
    monkeypatch.setenv("PATH", programs, prepend=os.pathsep)

    def tables(name: str) -> list[str]:
        url = f"sqlite:///{tmp_path / name}"
        with Gradebook(url) as gradebook, Gradebook(url) as again:
            same = gradebook.engine is again.engine
            gradebook.add_student("ada")
            assert [student.id for student in again.students] == ["ada"]
        with closing(sqlite3.connect(tmp_path / name)) as database:
            version = database.execute("select version_num from alembic_version").fetchall()
            made = database.execute("select sql from sqlite_master order by name").fetchall()
        return [str(same), str(version), str(made)]

    plain = tables("plain.db")
    with quick_steps():
        quick = tables("quick.db")
    assert plain[1:] == quick[1:]
    assert (plain[0], quick[0]) == ("False", "True")
    assert tables("after.db") == plain


# ---- release_feedback ----


def test_one_student_without_the_exchange_keeps_feedback_from_nobody(
    course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_COURSE_EXCHANGE", str(tmp_path))
    tmp_path.chmod(0o777)  # as nbgrader asks of it
    through_it = ("editor", "messy", "untouched")
    for student in through_it:
        folder = course / "build/feedback" / student / LESSON
        (folder / "timestamp.txt").write_text("2026-11-27 10:00:00 UTC")
        (folder / "submission_secret.txt").write_text(student)
    said = nbgrader(course, "release_feedback", LESSON)
    assert len(list(tmp_path.glob("jax-course/feedback/*.html"))) == len(through_it)
    skipped = re.findall(r"(\w+) gets no feedback through the exchange", said)
    assert skipped == sorted(set(CLASS) - set(through_it))
    assert f"Hand over the pages in {course / 'build/feedback/forger' / LESSON}" in said


# ---- Formgrader ----


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("a *b* `c`", "<p>a <em>b</em> <code>c</code></p>"),
        ("<script>alert(1)</script>", "alert(1)"),
        ("[a](javascript:alert(1))", "<p><a>a</a></p>"),
        ("![a](http://x/y)", "<p></p>"),
        ("$x < 2$", "<p>$x &lt; 2$</p>"),
    ],
)
def test_formgrader_shows_markdown_and_runs_nothing(markdown: str, shown: str) -> None:
    assert formgrader.rendered(markdown).strip().replace("\n", "") == shown


@pytest.mark.parametrize(
    "math", [r"$\href{javascript:alert(1)}{x}$", r"<p>$\hre&#102;{javascript:alert(1)}{x}$</p>"]
)
def test_formgrader_leaves_math_that_makes_links_to_no_mathjax(math: str) -> None:
    page = BeautifulSoup(formgrader.rendered(math), "html.parser")
    assert [div.get("class") for div in page.select("div")] == [["tex2jax_ignore"]]
    assert r"\href" in page.get_text()


def test_formgrader_shows_text_cleaned_html_and_pictures() -> None:
    evil = "<img src=x onerror=alert(1)>"
    kinds = {
        "text/plain": "1",
        "text/html": f"<b>1</b>{evil}",
        "image/png": "aGk=",
        "image/svg+xml": evil,
        "text/latex": evil,
        "application/javascript": evil,
    }
    code = new_code_cell("1", outputs=[new_output("display_data", kinds), error(value=evil)])
    broken = new_output("display_data", {"image/png": f'"{evil}'}, metadata={"image/png": evil})
    raw = new_raw_cell(evil, metadata={"raw_mimetype": "text/html"})
    notebook = new_notebook(cells=[code, new_code_cell(outputs=[broken]), raw])
    notebook.metadata["title"] = evil
    about = {"student": evil, "index": 3}
    kept, about = formgrader.Harmless().preprocess(notebook, about)
    assert kept.metadata == {}
    assert kept.cells[0].outputs[0].data == {
        "text/plain": "1",
        "text/html": "<b>1</b>",
        "image/png": "aGk=",
    }
    assert kept.cells[1].outputs[0] == {
        "output_type": "display_data",
        "data": {"image/png": ""},
        "metadata": {},
    }
    assert (kept.cells[2].cell_type, kept.cells[2].metadata) == ("code", {})
    assert about == {"student": "&lt;img src=x onerror=alert(1)&gt;", "index": 3}


SLOW = {
    "deep": ["<div>" * 20_000],
    "long": ["a" * 200_000],
    "much": ["a" * 20_000] * 1_000,
}
"""Texts that take minutes to clean, while JupyterLab does nothing else."""


@pytest.mark.parametrize("texts", SLOW.values(), ids=SLOW)
def test_formgrader_shows_what_takes_long_to_clean_as_it_is(
    monkeypatch: pytest.MonkeyPatch, texts: list[str]
) -> None:
    cells = [new_markdown_cell("*before*"), *map(new_markdown_cell, texts)]
    kept, _ = formgrader.Harmless().preprocess(new_notebook(cells=cells), {})
    kinds = [cell.cell_type for cell in kept.cells]
    cleaned = [cell.source for cell in kept.cells if cell.cell_type == "markdown"]
    assert (kinds[0], kinds[-1], kept.cells[-1].source) == ("markdown", "code", texts[-1])
    assert sum(map(len, cleaned)) <= formgrader.MOST_TEXT

    seen: list[str] = []
    monkeypatch.setitem(formgrader._SHOWN, "text/html", lambda html: seen.append(html) or html)
    given = ["<b>1</b>", *texts]
    outputs = [new_output("display_data", {"text/plain": "1", "text/html": t}) for t in given]
    kept, _ = formgrader.Harmless().preprocess(
        new_notebook(cells=[new_code_cell(outputs=outputs)]), {}
    )
    shown = kept.cells[0].outputs
    assert (list(shown[0].data), list(shown[-1].data)) == (
        ["text/plain", "text/html"],
        ["text/plain"],
    )
    assert sum(map(len, seen)) <= formgrader.MOST_TEXT
