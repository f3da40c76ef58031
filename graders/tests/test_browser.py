"""The course from a student's first click to the feedback, and the instructor's side of it.

Servers, browser, kernels, nbgrader's exchange and its gradebook are real. Pictures of every step
go to the folder that JAX_COURSE_PICTURES names.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import quote

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output, new_raw_cell
from nbgrader.api import Gradebook
from playwright.sync_api import Locator, Page, expect

from graders.author.build import build
from graders.tests.browser import CARDS, Person, card, cards
from graders.tests.fixture_lesson import JUDGED, make_course
from graders.tests.servers import ROOT, copy_of_the_course, environment, run, served

# On Linux alone: all of these run answers in bubblewrap's sandbox.
pytestmark = pytest.mark.sandbox

LESSON, TINY = "00_start", "00_tiny"
WRONG = ["def rescale(x):", "return x / x.max()"]  # as the lesson asks for at first
ENDLESS = ["def rescale(x):", "while True:", "x = x + 1"]
CIRCLE = ".jp-NotebookPanel .jp-Notebook-ExecutionIndicator"
RIGHT = [
    "def rescale(x):",
    "spread = x.max() - x.min()",
    "return (x - x.min()) / jnp.where(spread > 0, spread, 1.0)",
]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("JAX_COURSE_PICTURES", tmp_path / "pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def exchange(tmp_path: Path) -> Path:
    """The folder through which the class hands in."""
    (tmp_path / "exchange").mkdir()
    return tmp_path / "exchange"


def checks() -> int:
    notebook = nbformat.read(ROOT / "course" / LESSON / f"{LESSON}.ipynb", as_version=4)
    return sum(cell.metadata.get("nbgrader", {}).get("grade", False) for cell in notebook.cells)


def test_a_lesson_from_the_first_click_to_the_feedback(browser, pictures, exchange, tmp_path):
    office = copy_of_the_course(tmp_path / "instructor", LESSON, f"solutions/{LESSON}")
    desk = copy_of_the_course(tmp_path / "student", LESSON)
    shared = {"JAX_COURSE_EXCHANGE": str(exchange)}
    instructor = environment(tmp_path / "instructors home", **shared)
    own = {"JAX_COURSE_STUDENT": "ada", "JAX_COURSE_SECONDS": "30"}
    student = environment(tmp_path / "students home", **shared, **own)
    run(office, instructor, "nbgrader", "release_assignment", LESSON)

    with served(desk, student, "graders", "lab") as (address, _):
        ada = Person(browser, pictures, "student")
        begin_at_home(ada, address)
        begin_in_the_middle(ada)
        run_an_untouched_lesson(ada)
        open_a_hint_by_keyboard(ada)
        answer_an_exercise_wrong_and_right(ada)
        read_the_model_answer(ada)
        loop_for_ever(ada)
        restart(ada)
        go_home(ada)
        turn_the_lights_out(ada)
        validate(ada)
        reset_and_take_it_back(ada, desk)
        hand_in(ada)
        assert ada.asked_elsewhere == []
        grade(office, instructor)
        read_the_feedback(ada)
        read_it_without_jupyterlab(ada, office)

    with served(office, instructor, "jupyterlab") as (address, _):
        look_at_the_marks(Person(browser, pictures, "instructor"), address)


def begin_at_home(student: Person, address: str) -> None:
    student.page.goto(address)
    expect(student.page.get_by_role("heading", name="JAX course")).to_be_visible()
    for theme in ("dark", "light"):
        student.page.emulate_media(color_scheme=theme)
        is_accessible(student.page, "html")
        student.picture(f"home-{theme}")
    student.page.get_by_role("link", name="Start with lesson 0").click()
    student.wait_for_jupyterlab()


def begin_in_the_middle(student: Person) -> None:
    """The contents are open at first; a cell that needs an earlier one says so."""
    expect(student.page.locator(".jp-TableOfContents")).to_contain_text("0.2 Your first exercise")
    student.wait_for_the_kernel()  # JupyterLab drops what is to be run before
    answer_cell(student.page).locator(".cm-content").click()
    student.page.keyboard.press("ControlOrMeta+Shift+Enter")
    expect(student.page.locator(CARDS)).to_have_count(2)
    for note in student.page.locator(CARDS).all():
        expect(note).to_contain_text("A cell above has not run in this kernel")
    is_accessible(student.page, CARDS)
    student.picture("not-run", answer_cell(student.page))


def read_the_model_answer(student: Person) -> None:
    green = card(student.page, "rescale")
    green.get_by_text("Model answer").click()
    expect(green).to_contain_text("Your jaxpr, which is the author's too")
    is_accessible(student.page, CARDS)
    student.picture("model-answer", green)


def loop_for_ever(student: Person) -> None:
    """Interrupted once by hand, and once by the limit; the kernel goes on."""
    write_and_check(student, ENDLESS)
    expect(student.page.locator(CIRCLE).first).to_have_attribute("data-status", "busy")
    student.choose("Kernel", "Interrupt Kernel")
    expect(student.page.locator(CARDS).first).to_contain_text("Interrupted")
    student.picture("interrupted", answer_cell(student.page))
    write_and_check(student, ENDLESS)
    expect(student.page.locator(CARDS).first).to_contain_text("Stopped after 30 seconds")
    student.picture("endless", answer_cell(student.page))
    write_and_check(student, RIGHT)
    expect(card(student.page, "rescale")).to_contain_text("All requirements are met")


def restart(student: Person) -> None:
    student.choose("Kernel", "Restart Kernel…")
    student.page.get_by_role("dialog").get_by_role("button", name="Confirm Kernel Restart").click()
    student.wait_for_the_kernel()
    student.page.get_by_role("button", name="Check", exact=True).click()
    expect(student.page.locator(CARDS).first).to_contain_text("A cell above has not run")
    student.picture("restarted", answer_cell(student.page))


def reset_and_take_it_back(student: Person, desk: Path) -> None:
    """Resets the lesson from its home page in JupyterLab; what was written is kept beside it."""
    notebook = desk / "work" / LESSON / f"{LESSON}.ipynb"
    written = notebook.read_text("utf-8")
    student.page.get_by_role("link", name="Home").first.click()
    home = student.page.frame_locator("iframe >> visible=true")
    home.get_by_role("button", name="Reset lesson 0").click()
    expect(home.get_by_text(f"{LESSON} has been reset")).to_be_visible()
    student.picture("reset")
    [backup] = notebook.parent.glob("*backup*")
    assert "def rescale(x):\n    spread" not in notebook.read_text("utf-8").replace("\\n", "\n")
    notebook.write_text(written, "utf-8")
    backup.unlink()


def go_home(student: Person) -> None:
    """By the menu, twice, and back to the first open exercise."""
    student.choose("Course", "Home")
    student.choose("Course", "Home")
    expect(student.page.locator(".lm-TabBar-tabLabel:text-is('Home')")).to_have_count(1)
    home = student.page.frame_locator("iframe")
    expect(home.get_by_text("2 of 10 points")).to_be_visible()
    expect(home.locator("li.passed")).to_have_text("✓rescale")
    student.picture("home-later")
    home.get_by_role("link", name="Continue with sum_shape").click()
    expect(student.page.locator(".jp-CodeCell", has_text="sum_shape = ...")).to_be_in_viewport()


def run_an_untouched_lesson(student: Person) -> None:
    expect(student.page.get_by_role("heading", name="0 · Start here")).to_be_visible()
    student.page.set_viewport_size({"width": 800, "height": 800})
    expect(student.page.locator(CIRCLE).first).to_be_visible()
    expect(student.page.get_by_role("button", name="Validate")).to_be_visible()
    student.picture("narrow")
    student.page.set_viewport_size({"width": 1280, "height": 800})
    student.choose("Run", "Run All Cells")
    expect(cards(student.page)).to_have_count(checks())
    for shown in cards(student.page).all():
        expect(shown).to_contain_text("not answered yet")
    student.picture("untouched", card(student.page, "rescale"))


def open_a_hint_by_keyboard(student: Person) -> None:
    hints = student.page.locator(".jp-MarkdownCell").filter(has=student.page.locator("summary"))
    hints.first.locator(".jp-InputPrompt").click()
    first = hints.first.locator("details").first
    for _ in range(20):  # past JupyterLab's own buttons
        student.page.keyboard.press("Tab")
        if first.locator("summary").evaluate("part => part === document.activeElement"):
            break
    student.page.keyboard.press("Enter")
    expect(first).to_have_attribute("open", "")
    student.picture("hint", hints.first)


def answer_an_exercise_wrong_and_right(student: Person) -> None:
    write_and_check(student, WRONG)
    expect(card(student.page, "rescale")).to_contain_text("the smallest was not moved to 0")
    student.picture("wrong", answer_cell(student.page))
    is_accessible(student.page, CARDS)
    write_and_check(student, RIGHT)
    expect(card(student.page, "rescale")).to_contain_text("All requirements are met")
    expect(card(student.page, "standardise")).to_contain_text("not answered yet")
    student.picture("right", answer_cell(student.page))


def turn_the_lights_out(student: Person) -> None:
    student.choose("Settings", "Theme", "JupyterLab Dark")
    expect(student.page.locator("body")).to_have_attribute("data-jp-theme-light", "false")
    student.picture("dark", answer_cell(student.page))
    is_accessible(student.page, CARDS)


def is_accessible(page: Page, part: str) -> None:
    """axe-core finds nothing in `part` against WCAG 2.1, A and AA, or against common sense."""
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
    found = Axe().run(page, {"include": [[part]]}, {"runOnly": rules})
    assert found.response["passes"], f"nothing was looked at in {part}"
    assert found.violations_count == 0, found.generate_report()


def answer_cell(page: Page) -> Locator:
    return page.locator(".jp-CodeCell").filter(has_text="def rescale(x").first


def write_and_check(student: Person, answer: list[str]) -> None:
    """Writes an answer by keyboard, and runs it and its check by one key."""
    answer_cell(student.page).locator(".cm-content").click()
    student.page.keyboard.press("ControlOrMeta+a")
    for line in answer:
        student.page.keyboard.type(line)
        student.page.keyboard.press("Enter")
    student.page.keyboard.press("ControlOrMeta+Shift+Enter")


def validate(student: Person) -> None:
    student.page.get_by_role("button", name="Validate").click()
    page = student.page.frame_locator("iframe >> visible=true")
    expect(page.get_by_text("1 of 6 checks passed, 2 of 10 points.")).to_be_visible()
    expect(page.locator("li.passed")).to_contain_text("rescale")
    expect(page.locator("body")).not_to_contain_text("check_values")
    expect(page.locator("body")).to_contain_text("Hidden tests are not part of it")
    student.picture("validated")
    page.get_by_role("link", name="sum_shape").click()
    expect(student.page.locator(".jp-CodeCell", has_text="sum_shape = ...")).to_be_in_viewport()


def hand_in(student: Person) -> None:
    student.choose("Nbgrader", "Assignment List")
    row = student.page.locator("#fetched_assignments_list > .list_item").filter(has_text=LESSON)
    row.get_by_role("button", name="Submit").click()
    handed_in = student.page.locator("#submitted_assignments_list > .list_item")
    expect(handed_in).to_contain_text(LESSON)
    student.picture("handed-in")


def grade(office: Path, instructor: dict[str, str]) -> None:
    run(office, instructor, "nbgrader", "collect", LESSON)
    run(office, instructor, "graders", "grade", LESSON)
    run(office, instructor, "nbgrader", "release_feedback", LESSON)


def read_the_feedback(student: Person) -> None:
    handed_in = student.page.locator("#submitted_assignments_list > .list_item")
    handed_in.get_by_role("button", name="Fetch Feedback").click()
    handed_in.get_by_text("view feedback").click()
    student.picture("fetched")
    student.page.locator(".jp-DirListing-item").filter(has_text=f"{LESSON}.html").dblclick()
    page = student.page.frame_locator(".jp-HTMLViewer iframe")
    expect(page.locator("body")).to_contain_text("2 / 10 points")
    expect(page.locator("[role=status]").first).to_contain_text("All requirements are met")
    student.picture("feedback")


def read_it_without_jupyterlab(student: Person, office: Path) -> None:
    page = student.context.new_page()
    page.goto((office / f"build/feedback/ada/{LESSON}/{LESSON}.html").as_uri())
    expect(page.locator("body")).to_contain_text("2 / 10 points")
    is_accessible(page, "html")
    page.close()


def look_at_the_marks(instructor: Person, address: str) -> None:
    instructor.open(address)
    instructor.choose("Nbgrader", "Formgrader")
    formgrader = instructor.page.frame_locator("iframe")
    rows = formgrader.locator("#main-table tr")
    lesson = rows.filter(has_text=LESSON)
    expect(lesson).to_be_visible()
    instructor.picture("assignments", lesson)
    formgrader.get_by_role("link", name="Manage Students").click()
    student = rows.filter(has=instructor.page.locator("td:text-is('ada')"))
    expect(student).to_contain_text("2 / 10")
    instructor.picture("students", student)


# ---- Formgrader ----

EVIL = """
<script>window.owned = "script"</script>
<img src="http://evil.example/stolen" onerror="window.owned = 'img'">
<iframe srcdoc="<script>parent.owned = 'srcdoc'</script>"></iframe>
<svg onload="window.owned = 'svg'"><script>window.owned = "svg script"</script></svg>
<base href="http://evil.example/">
<meta http-equiv="refresh" content="0;url=http://evil.example/stolen">
<link rel="stylesheet" href="http://evil.example/stolen">
<style>@import url(http://evil.example/stolen);</style>
<object data="http://evil.example/stolen"></object>
<form action="http://evil.example/stolen"><button id="evil">Save</button></form>
<details open ontoggle="window.owned = 'details'"><summary>x</summary></details>
<a href="javascript:window.owned = 'link'">a link</a>

[another](javascript:window.owned='markdown') ![a picture](http://evil.example/stolen)

$\\href{javascript:window.owned='math'}{x}$
"""
ACTIVE = "iframe, object, embed, form, base, meta[http-equiv], [onerror], [onload], [ontoggle]"
EVIL_NAME = """<img src=x onerror="window.owned='name'">"""
EVIL_OUTPUTS = {
    "text/html": EVIL,
    "text/markdown": EVIL,
    "image/svg+xml": "<svg onload=\"window.owned = 'svg'\"></svg>",
    "image/png": "x\" onerror=\"window.owned = 'png'",
    "text/latex": "$\\href{javascript:window.owned='latex'}{x}$",
    "application/javascript": "window.owned = 'javascript'",
}


def graded_with_evil_cells(office: Path, instructor: dict[str, str]) -> str:
    """A student's name and notebook are as evil as `nbgrader autograde` lets through: the id."""
    folder = office / "build/submitted" / EVIL_NAME / TINY
    folder.mkdir(parents=True)
    (folder / f"{TINY}.ipynb").write_bytes(
        (office / f"course/{TINY}/{TINY}.ipynb").read_bytes(),
    )
    run(office, instructor, "graders", "grade")
    path = office / "build/autograded" / EVIL_NAME / TINY / f"{TINY}.ipynb"
    path.chmod(0o644)
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["title"] = EVIL
    raw = new_raw_cell(EVIL, metadata={"raw_mimetype": "text/html"})
    outputs = [new_output("display_data", data={kind: d}) for kind, d in EVIL_OUTPUTS.items()]
    outputs += [new_output("stream", text=EVIL), new_output("error", traceback=[EVIL])]
    tagged = new_code_cell(EVIL, outputs=outputs, metadata={"tags": ['x"><script>']})
    notebook.cells += [new_markdown_cell(EVIL), raw, tagged]
    path.write_text(json.dumps(notebook))
    with Gradebook(f"sqlite:///{office}/build/gradebook.db") as book:
        return str(book.find_submission_notebook(TINY, TINY, EVIL_NAME).id)


def test_formgrader_runs_nothing_that_a_student_has_written(browser, pictures, tmp_path):
    (tmp_path / "office").mkdir()
    office = make_course(tmp_path / "office", JUDGED)
    build(office)
    instructor = environment(tmp_path / "home")
    submission = graded_with_evil_cells(office, instructor)
    places = [
        f"submissions/{submission}/",
        f"gradebook/{TINY}/{TINY}",
        f"manage_submissions/{TINY}",
        "manage_students",
        f"manage_students/{quote(EVIL_NAME)}",
        f"manage_students/{quote(EVIL_NAME)}/{TINY}",
    ]
    with served(office, instructor, "jupyterlab") as (address, _):
        reader = Person(browser, pictures, "reader")
        asked: list[str] = []
        reader.page.on("request", lambda request: asked.append(request.url))
        reader.open(address)
        origin = address.split("/lab")[0]
        for place in places:
            reader.page.goto(f"{origin}/formgrader/{place}")
            expect(reader.page.locator("body")).to_contain_text(
                "onerror" if "submissions/" not in place[:12] else "window.owned"
            )
            reader.page.wait_for_load_state("load")
            reader.picture(place.split("/")[0])
            assert reader.page.evaluate("window.owned") is None, place
            assert reader.page.evaluate("document.baseURI") == reader.page.url
            assert reader.page.locator(ACTIVE).count() == 0, place
    assert not [url for url in asked if "evil" in url or "stolen" in url or url.endswith("/x")]
