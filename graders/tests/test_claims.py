"""What remains a claim is listed for every exercise, and the forger of claims forges."""

from __future__ import annotations

import pytest

from graders import probes
from graders.author.claims import CLAIMS, HEADER, claims, claims_of
from graders.card.messages import REQUIREMENTS
from graders.lesson.source import read_lesson
from graders.probes.purity import Purity
from graders.root import course_root
from graders.tests.attacks import claims as forger

FOLDERS = sorted((course_root() / "solutions").glob("[0-9]*"))


def test_the_page_lists_what_the_lessons_take_on_trust() -> None:
    page = (course_root() / "docs/claims.md").read_text()
    assert claims(map(read_lesson, FOLDERS)) in page
    assert page.count(HEADER) == 1


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("check_values(f, g, cases)", []),
        ("check_pure(f, 1.0)\ncheck_traces(f, cases)", ["purity", "number of traces"]),
        ("check_pure(f, 1.0)\ncheck_pure(f, 2.0)", ["purity"]),
        ("check_primitives(f, x, requires=['scan'])", []),
        ("check_primitives(f, x, forbids=['scan', 'while'])", []),
        ("check_primitives(f, x, forbids=['scan'])", ["which kind of loop it is"]),
        ("check_primitives(f, requires=('remat2',))", ["that `jax.checkpoint` is used"]),
        (
            "check_primitives(f, forbids=('custom_vjp_call',))",
            ["that no custom derivative rule is used"],
        ),
    ],
)
def test_what_a_check_cell_takes_on_trust(source: str, found: list[str]) -> None:
    assert claims_of(source) == found


def test_the_claims_are_those_of_checks_that_there_are() -> None:
    assert CLAIMS.keys() <= REQUIREMENTS.keys()


def test_the_forger_sends_what_the_solution_would(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, probe in list(probes.PROBES.items()):
        monkeypatch.setitem(probes.PROBES, name, probe)
    known = {("purity", forger.digest(((1.0,), {}))): Purity(printed="forged")}
    forger.forge(False, known)
    assert probes.PROBES["purity"](abs, 1.0).printed == "forged"
    assert probes.PROBES["program"] is probes.program
    forger.forge(True, known)
    assert probes.PROBES["program"] is not probes.program


def test_equal_arguments_have_one_digest() -> None:
    assert forger.digest([1.0, {"a": 2}]) == forger.digest([1.0, {"a": 2}])
    assert forger.digest(1.0) != forger.digest(2.0)


def test_each_wrong_answer_is_tried_with_claims_forged_and_with_them_true() -> None:
    lesson = read_lesson(next(path for path in FOLDERS if path.name == "04_control_flow"))
    tried = [(flag, entry.line) for flag, row in forger.submissions(lesson, 99) for entry in row]
    assert {line for flag, line in tried if not flag} == {entry.line for entry in lesson.wrong}
    asked = [cell.check for cell in lesson.checks if "check_primitives" in cell.source]
    forged = {line for flag, line in tried if flag}
    assert forged == {entry.line for entry in lesson.wrong if entry.exercise in asked}
