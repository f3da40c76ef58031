"""The home page: what it shows of a student's progress, and its button that resets a lesson."""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import date, timedelta
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from graders.lab.home import view
from graders.notebook import progress
from graders.notebook.progress import FILE, About, Check, Progress
from graders.tests.servers import environment, served
from graders.tests.test_working_copy import NOTEBOOK, sources, write_notebook

TODAY = date(2026, 3, 1)
F, G = Check("00_a", "f_check", "f", 2), Check("00_a", "g_check", "g", 1, "prediction")
H = Check("01_b", "h_check", "h", 4)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    table = {str(i): check for i, check in enumerate((F, G, H))}
    monkeypatch.setattr(view, "catalogue", lambda: table)
    monkeypatch.setattr(view, "lessons", lambda: {"00_a": About("First steps", 20)})
    for lesson in ("00_a", "01_b", "notes"):
        (tmp_path / lesson).mkdir()
    return tmp_path


def home(work: Path, *noted: tuple[Check, bool], today: date = TODAY) -> view.Home:
    kept = Progress(work / FILE)
    for check, met in noted:
        kept.note(check, met, today=TODAY)
    return view.home(work, kept, today)


def test_a_new_student_starts_with_the_first_lesson(work: Path) -> None:
    page = home(work)
    assert [(row.title, row.minutes, row.state) for row in page.rows] == [
        ("First steps", 20, "new"),
        ("01_b", 0, "new"),  # a lesson that the catalogue does not know
    ]
    assert (page.points, page.of) == (0, 7)
    assert page.next is not None
    assert page.next.path == "lab/tree/00_a/00_a.ipynb#cell-id=f"


def test_continue_leads_to_the_first_open_exercise_of_the_lesson_that_is_begun(work: Path) -> None:
    page = home(work, (F, True), (H, False))
    assert [item.state for row in page.rows for item in row.items] == ["passed", "open", "failed"]
    assert page.next is not None
    assert page.next.name == "g"
    page = home(work, (G, True))
    assert page.rows[0].state == "done"
    assert page.next is not None
    assert page.next.name == "h"
    assert home(work, (H, True)).next is None


def test_a_prediction_that_was_wrong_at_first_is_due_later(work: Path) -> None:
    page = home(work, (F, False), (F, True), (G, False), (G, True))
    assert page.due == []
    later = home(work, today=TODAY + timedelta(2))
    assert [item.name for item in later.due] == ["g"]


def test_pages_of_the_reference_have_their_titles(work: Path) -> None:
    (work / "reference" / "quick").mkdir(parents=True)
    (work / "reference" / "quick" / "a b.md").write_text("# Quick: a\n")
    (work / "reference" / "words.md").write_text("no heading")
    assert [(page.title, page.path) for page in home(work).pages] == [
        ("words", "lab/tree/reference/words.md"),
        ("Quick: a", "lab/tree/reference/quick/a%20b.md"),
    ]


def test_every_lesson_of_the_course_has_a_title_and_minutes() -> None:
    for name, about in progress.lessons().items():
        assert about.title != name
        assert about.minutes > 0


# ---- the page, from a real server ----


class Reader:
    """Someone who asks a server for pages, as a browser does: with cookies, and the token once."""

    def __init__(self, address: str) -> None:
        cookies = urllib.request.HTTPCookieProcessor(CookieJar())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), cookies)
        self.page = address.split("?")[0]
        self.first = self.ask(address)

    def ask(self, address: str, **fields: str) -> str:
        data = urllib.parse.urlencode(fields).encode() if fields else None
        with self._opener.open(address, data) as answer:
            return answer.read().decode()

    def token(self) -> str:
        found = re.search('name="_xsrf" value="([^"]+)"', self.first)
        assert found
        return found[1]


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("course")
    write_notebook(root / "course" / NOTEBOOK, "stub")
    return root


@pytest.fixture(scope="module")
def reader(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    surroundings = environment(tmp_path_factory.mktemp("home"))
    with served(course, surroundings, "graders", "lab") as (address, _):
        yield Reader(address)


def test_the_button_resets_a_lesson_and_keeps_the_answers(course: Path, reader: Reader) -> None:
    write_notebook(course / "work" / NOTEBOOK, "answer")
    Progress(course / "work" / FILE).note(Check("02_grad", "f_check", "f", 2), met=True)
    page = reader.ask(reader.page, lesson="02_grad", _xsrf=reader.token())
    assert "02_grad has been reset" in page
    assert sources(course / "work" / NOTEBOOK) == ["stub"]
    assert sources(course / "work" / "02_grad" / "02_grad.backup-1.ipynb") == ["answer"]
    assert Progress(course / "work" / FILE).passed() == {}


def test_the_page_shows_progress_that_cannot_be_read(course: Path, reader: Reader) -> None:
    (course / "work" / FILE).write_text("{")
    assert "is damaged. Your answers are not affected" in reader.ask(reader.page)


@pytest.mark.parametrize("lesson", ["../course", "", "02_grad/", "99_none", "<b>"])
def test_a_lesson_that_there_is_not_is_not_reset(reader: Reader, lesson: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        reader.ask(reader.page, lesson=lesson, _xsrf=reader.token())
    assert "<b>" not in reader.ask(f"{reader.page}?reset={urllib.parse.quote(lesson)}")


def test_another_page_cannot_press_the_button(reader: Reader) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        reader.ask(reader.page, lesson="02_grad", _xsrf="guessed")


def test_a_stranger_gets_no_page(reader: Reader) -> None:
    stranger = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with stranger.open(reader.page) as answer:
        assert "/login" in answer.url
