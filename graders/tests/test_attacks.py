"""The attacks, graded as a class is: none gets what it has not earned, reads, writes or stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from graders.classroom import grade
from graders.classroom.results import GRADED, Row
from graders.grading.engine import Settings
from graders.tests.attacks.arena import ATTACKS, HONEST, Arena, Canaries, student_of
from graders.tests.attacks.corpus import Attack

FAMILIES = {
    "gaining points": 15,
    "reading": 10,
    "writing": 5,
    "escaping limits": 12,
    "the feedback page": 8,
}


@pytest.fixture(scope="module")
def class_of_attackers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Arena, dict[str, Row]]]:
    folder = tmp_path_factory.mktemp("arena")
    with Canaries(folder) as canaries:
        arena = Arena(folder / "course", canaries.port, str(canaries.letter_box))
        arena.root.mkdir()
        arena.prepare()
        rows = grade.grade(Settings(arena.root, workers=2, seconds=20))
        yield arena, {row.student: row for row in rows}


# What a reader sees at the place of the score is the score.
ON_TOP = """place =>
    document.elementFromPoint(place.x + 5, place.y + 5).closest(".score") !== null"""
Graded = tuple[Arena, dict[str, Row]]
every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=student_of)


@every_attack
def test_the_attack_is_held(class_of_attackers: Graded, attack: Attack) -> None:
    arena, rows = class_of_attackers
    row = rows[student_of(attack)]
    assert (row.status, row.reason) == (GRADED, "")
    assert arena.broken(attack) == []


def test_an_honest_answer_among_them_has_its_marks(class_of_attackers: Graded) -> None:
    arena, rows = class_of_attackers
    assert rows[HONEST].total == 3
    assert arena.scores(HONEST) == {"double_check": 2, "answer_check": 1}


def test_the_arena_sees_what_an_attack_has_got(class_of_attackers: Graded, tmp_path: Path) -> None:
    arena, _ = class_of_attackers
    honest = Attack("", HONEST, "")
    assert arena.broken(honest) == ["2 points gained"]
    assert arena.broken(Attack("", "nobody", "")) == ["no marks: the submission was lost"]


def test_there_are_attacks_of_every_family() -> None:
    count = Counter(attack.family for attack in ATTACKS)
    assert count.keys() == FAMILIES.keys()
    assert all(count[family] >= least for family, least in FAMILIES.items())
    names = [student_of(attack) for attack in ATTACKS]
    assert len(set(names)) == len(names)


def test_no_page_runs_what_a_student_has_written(
    class_of_attackers: Graded, browser: Browser
) -> None:
    arena, _ = class_of_attackers
    page = browser.new_page(viewport={"width": 390, "height": 800})
    for attack in ATTACKS:
        address = arena.page(attack).as_uri()
        page.goto(address)
        page.locator("section [role=status]").first.hover()
        assert page.url == address
        assert page.evaluate("window.owned") is None, attack.name
        assert page.locator("script, iframe, img, object, embed, form").count() == 0
        assert page.evaluate(ON_TOP, page.locator(".score strong").bounding_box())
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.close()
