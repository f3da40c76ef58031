"""The pages of course/reference/: each snippet does what it says, each link leads somewhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graders.lesson.source import read_lesson
from graders.root import course_root

REFERENCE = course_root() / "course" / "reference"
SOLUTIONS = course_root() / "solutions"
PAGES = sorted(REFERENCE.rglob("*.md"))
LESSONS = sorted(path.name for path in (course_root() / "course").glob("[0-9][0-9]_*"))
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
GIVES, RAISES = re.compile(r"# => (.*)$"), re.compile(r"# raises (\w+)$")


def name_of(page: Path) -> str:
    return page.relative_to(REFERENCE).as_posix()


def run(source: str, namespace: dict[str, Any]) -> Iterator[str]:
    """Runs a block statement by statement; yields each way in which it is not as it says."""
    lines = source.splitlines()
    for statement in ast.parse(source).body:
        said = lines[(statement.end_lineno or 0) - 1]
        code = compile(ast.Module([statement], []), "<page>", "exec")
        if wanted := RAISES.search(said):
            yield from raised(code, namespace, wanted.group(1), said)
        elif wanted := GIVES.search(said):
            assert isinstance(statement, ast.Expr), said
            value = eval(compile(ast.Expression(statement.value), "<page>", "eval"), namespace)
            if str(value) != wanted.group(1):
                yield f"{said.strip()}: gives {value}"
        else:
            exec(code, namespace)


def raised(code: Any, namespace: dict[str, Any], wanted: str, said: str) -> Iterator[str]:
    try:
        exec(code, namespace)
    except Exception as error:
        if wanted not in [kind.__name__ for kind in type(error).__mro__]:
            yield f"{said.strip()}: raises {type(error).__name__}"
    else:
        yield f"{said.strip()}: raises nothing"


def wrong(text: str) -> list[str]:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    return [found for source in FENCE.findall(text) for found in run(source, namespace)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_snippet_does_what_it_says(page: Path) -> None:
    assert wrong(page.read_text()) == []


def test_a_snippet_that_says_something_else_is_found() -> None:
    text = "```python\nx = 1\nx + 1  # => 3\nx.y  # raises TypeError\nx  # raises ValueError\n```\n"
    assert wrong(text) == [
        "x + 1  # => 3: gives 2",
        "x.y  # raises TypeError: raises AttributeError",
        "x  # raises ValueError: raises nothing",
    ]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file(page: Path) -> None:
    prose = FENCE.sub("", page.read_text())
    links = [link for link in LINK.findall(prose) if "://" not in link]
    missing = [link for link in links if not (page.parent / link.partition("#")[0]).exists()]
    assert missing == []


@pytest.mark.parametrize("lesson", [name for name in LESSONS if name != "99_puzzles"])
def test_every_lesson_has_a_quick_reference(lesson: str) -> None:
    page = REFERENCE / "quick" / f"{lesson}.md"
    assert f"({'../' * 2}{lesson}/{lesson}.ipynb)" in page.read_text()


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_lesson_is_in_the_readme(lesson: str) -> None:
    readme = (course_root() / "README.md").read_text()
    assert f"| {lesson} |" in readme
    assert f"course/{lesson}/{lesson}.ipynb\n" in readme


def row_of_the_syllabus(lesson: str) -> list[str]:
    link = f"| [{lesson}](../{lesson}/{lesson}.ipynb) |"
    lines = (REFERENCE / "syllabus.md").read_text().splitlines()
    (row,) = [line for line in lines if link in line]
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_syllabus_has_the_points_of_every_lesson(lesson: str) -> None:
    points = sum(check.points or 0 for check in read_lesson(SOLUTIONS / lesson).checks)
    assert row_of_the_syllabus(lesson)[-1] == str(points)


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_syllabus_has_the_minutes_that_the_lesson_names(lesson: str) -> None:
    introduction = read_lesson(SOLUTIONS / lesson).cells[0].source
    minutes = re.search(r"About (\d+) minutes", introduction)
    assert minutes, "a lesson says at its head how long it takes"
    assert row_of_the_syllabus(lesson)[-2] == minutes[1]
