"""The links from a lesson to its neighbours and home, and mentions of other lessons."""

from pathlib import Path

import pytest

from graders.lesson import navigation
from graders.lesson.source import lesson_folders, read_lesson
from graders.root import course_root
from graders.tests.fixture_lesson import LESSON, write_lesson

TEXT = "# A lesson for the tests."


def three(root: Path) -> list[Path]:
    """Three lessons that follow one another, the first of them with a colon in its title."""
    names = {"00_tiny": "0 · Tiny: small", "01_next": "1 · Next", "07_last": "7 · Last"}
    return [
        write_lesson(root, name=name, lesson=LESSON.replace("0 · Tiny", title))
        for name, title in names.items()
    ]


def test_a_lesson_leads_to_its_neighbours_and_home(tmp_path: Path) -> None:
    first, middle, last = [navigation.line(read_lesson(folder)) for folder in three(tmp_path)]
    home = "[Home](../reference/syllabus.md)"
    assert first == f"{home} · [1 · Next](../01_next/01_next.ipynb) →"
    tiny, later = "[0 · Tiny](../00_tiny/00_tiny.ipynb)", "[7 · Last](../07_last/07_last.ipynb)"
    assert middle == f"← {tiny} · {home} · {later} →"
    assert last == f"← [1 · Next](../01_next/01_next.ipynb) · {home}"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("As in lesson 07.", []),
        ("Lesson 02 is not there.", ["02"]),
        ("See lessons 00, 03 and 09.", ["03", "09"]),
        ("Lessons 00 to 07, and 12 minutes.", []),
    ],
)
def test_mentions_of_other_lessons_are_found(text: str, numbers: list[str], tmp_path: Path) -> None:
    folder, *_ = three(tmp_path)
    path = folder / "lesson.py"
    path.write_text(path.read_text().replace(TEXT, f"# {text}"))
    assert navigation.unknown_lessons(read_lesson(folder)) == numbers


@pytest.mark.parametrize("folder", lesson_folders(course_root()), ids=lambda path: path.name)
def test_this_course_names_lessons_that_are_there(folder: Path) -> None:
    assert navigation.unknown_lessons(read_lesson(folder)) == []
