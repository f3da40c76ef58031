"""The website: every lesson and page is there, without solutions, and asks no other host."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

from graders.author import site
from graders.author.build import build
from graders.lesson.source import lesson_folders
from graders.root import course_root
from graders.tests.fixture_lesson import make_course

# Of Sphinx's own code, and of MyST-NB's, which call what their dependencies will do without.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of this course."""
    root = tmp_path_factory.mktemp("course")
    for part in ("course", "docs"):
        shutil.copytree(course_root() / part, root / part)
    site.build(root)
    return root / site.PAGES


def html(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text("utf-8"), "html.parser")


def test_every_lesson_and_page_is_there(pages: Path) -> None:
    for folder in lesson_folders(course_root()):
        text = html(pages / folder.name / f"{folder.name}.html").get_text()
        assert "Check of" in text
        assert "Prepares a hosted notebook" not in text
    for folder, place in site.PARTS.items():
        for page in (course_root() / folder).rglob("*.md"):
            assert (pages / place / page.relative_to(course_root() / folder)).with_suffix(".html")
    assert (pages / "searchindex.js").stat().st_size > 100_000


def test_no_solution_and_no_commentary_is_shown(pages: Path) -> None:
    for page in pages.rglob("*.html"):
        if page.parent.name not in ("docs", "_static"):
            text = page.read_text("utf-8")
            assert "BEGIN SOLUTION" not in text
            assert "BEGIN HIDDEN" not in text
    lesson = html(pages / "01_arrays/01_arrays.html").get_text()
    assert "def embed(" in lesson
    assert "jnp.where(known[:, None], table[ids], 0)" not in lesson


def test_links_lead_somewhere_and_nothing_is_fetched_elsewhere(pages: Path) -> None:
    for page in pages.rglob("*.html"):
        found = html(page)
        loaded = [tag.get("src") for tag in found.find_all(["script", "img", "iframe"])]
        loaded += [tag.get("href") for tag in found.find_all("link")]
        assert [address for address in loaded if address and urlsplit(str(address)).netloc] == []
        for tag in found.find_all("a", href=True):
            address = urlsplit(str(tag["href"]))
            if not address.scheme and address.path:
                assert (page.parent / unquote(address.path)).resolve().exists(), (page, address)


def test_formulas_are_mathml(pages: Path) -> None:
    page = (pages / "06_vmap/06_vmap.html").read_text("utf-8")
    assert page.count("<math") > 20
    assert not re.search(r"\\frac|\\sum", html(pages / "06_vmap/06_vmap.html").get_text())


def test_a_broken_link_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    course = make_course(tmp_path)
    build(course)
    (course / "docs").mkdir(exist_ok=True)
    (course / "course/reference").mkdir()
    (course / "docs/checks.md").write_text("# Checks\n\n[nowhere](nowhere.md)\n")
    (course / "course/reference/syllabus.md").write_text("# Syllabus\n\n## Lessons\n")
    with pytest.raises(site.SiteError, match="cannot be built"):
        site.build(course)
    assert "nowhere" in capsys.readouterr().err
