"""The attacks, graded as a class is: none gets what it has not earned, reads, writes or stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser

from graders.classroom import grade
from graders.grading.engine import Settings
from graders.grading.results import GRADED, Row
from graders.tests.attacks.arena import ATTACKS, HONEST, Arena, Canaries, student_of
from graders.tests.attacks.corpus import Attack

# On Linux alone: all of these run answers in bubblewrap's sandbox.
pytestmark = pytest.mark.sandbox

PAGES = "the feedback page"
FAMILIES = {
    "gaining points": 15,
    "reading": 10,
    "writing": 5,
    "escaping limits": 12,
    PAGES: 8,
}


@dataclass(frozen=True)
class Graded:
    """A class of attackers, after grading."""

    arena: Arena
    rows: dict[str, Row]

    @property
    def attacks(self) -> list[Attack]:
        return self.arena.attacks


# In CI every third one.
FORMS = [
    pytest.param(ATTACKS[::3], id="short"),
    pytest.param(ATTACKS, id="long", marks=pytest.mark.long),
]


@pytest.fixture(scope="module", params=FORMS)
def graded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Graded]:
    folder = tmp_path_factory.mktemp("arena")
    with Canaries(folder) as canaries:
        place = folder / "course"
        place.mkdir()
        arena = Arena(place, canaries.port, str(canaries.letter_box), request.param)
        arena.prepare()
        rows, _ = grade.grade(Settings(arena.root, workers=2, seconds=20))
        yield Graded(arena, {row.student: row for row in rows})


# What a reader sees at the place of the score is the score.
ON_TOP = """place =>
    document.elementFromPoint(place.x + 5, place.y + 5).closest(".score") !== null"""


def test_the_attacks_are_held(graded: Graded) -> None:
    got = {attack.name: graded.arena.broken(attack) for attack in graded.attacks}
    assert {name: found for name, found in got.items() if found} == {}
    said = {row.student: (row.status, row.reason) for row in graded.rows.values()}
    assert {name: one for name, one in said.items() if one != (GRADED, "")} == {}


def test_tampering_is_noticed_and_shown_to_the_instructor(graded: Graded) -> None:
    """Code that hides from it would not be: it is help, and no proof."""
    sources = {student_of(attack): attack.source for attack in graded.attacks}
    tampers = [name for name, source in sources.items() if "_getframe" in source or "gc." in source]
    assert tampers
    for name in tampers:
        assert "signs of tampering, which cost no points" in graded.rows[name].note
    assert graded.rows[HONEST].note == ""


def test_an_honest_answer_among_them_has_its_marks(graded: Graded) -> None:
    assert graded.rows[HONEST].total == 3
    assert graded.arena.scores(HONEST) == {"double_check": 2, "answer_check": 1}


def test_the_arena_sees_what_an_attack_has_got(graded: Graded) -> None:
    arena, honest = graded.arena, Attack("", HONEST, "")
    assert arena.broken(honest) == ["2 points gained"]
    assert arena.broken(Attack("", "nobody", "")) == ["no marks: the submission was lost"]


def test_there_are_attacks_of_every_family() -> None:
    count = Counter(attack.family for attack in ATTACKS)
    assert count.keys() == FAMILIES.keys()
    assert all(count[family] >= least for family, least in FAMILIES.items())
    assert len({student_of(attack) for attack in ATTACKS}) == len(ATTACKS)


def test_no_page_runs_what_a_student_has_written(graded: Graded, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    for attack in (attack for attack in graded.attacks if attack.family == PAGES):
        address = graded.arena.page(attack).as_uri()
        page.goto(address)
        page.locator("section [role=status]").first.hover()
        assert page.url == address
        assert page.evaluate("window.owned") is None, attack.name
        assert page.locator("script, iframe, img, object, embed, form").count() == 0
        assert page.evaluate(ON_TOP, page.locator(".score strong").bounding_box())
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.close()
