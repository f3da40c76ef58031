"""What a student's progress is made of: which checks count, where it is kept, what is shown."""

import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from graders.notebook import progress
from graders.notebook.progress import Check, Progress, Record, digest

CATALOGUE = {
    digest("check_shape(f)"): Check("00_a", "f_check", "f", 2),
    digest("check_values(f)"): Check("00_a", "f_check_values", "f", 1),
    digest("check_shape(g)"): Check("01_b", "g_check", "g", 4),
}
F, F_VALUES, G = CATALOGUE.values()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Progress:
    made = Progress(tmp_path / "new" / "progress.json")
    monkeypatch.setattr(progress, "catalogue", lambda: CATALOGUE)
    monkeypatch.setattr(progress, "current", lambda: made)
    return made


def test_the_catalogue_of_the_course_names_its_checks() -> None:
    for check in progress.catalogue().values():
        assert check.name.startswith(f"{check.exercise}_check")
        assert check.points > 0


def test_a_check_is_known_by_its_source(kept: Progress) -> None:
    assert progress.check_of("check_shape(f)\n\n") == F
    assert progress.check_of("check_shape(f)  # edited") is None


def test_a_passed_check_counts_until_it_fails(kept: Progress) -> None:
    kept.note(F, met=True)
    kept.note(G, met=True)
    assert progress.line("00_a") == "00_a: 2 of 3 points. The course: 6 of 7."
    kept.note(G, met=False)
    assert progress.line("01_b") == "01_b: 0 of 4 points. The course: 2 of 7."


def test_it_is_there_in_the_next_session(kept: Progress) -> None:
    kept.note(F, met=True)
    assert Progress(kept.file).passed() == {"00_a": ["f_check"]}
    assert [path.name for path in kept.file.parent.iterdir()] == ["progress.json"]


DAMAGE = ["", "[1]", '{"00_a": 3}', "{", '{"version": 2}', '{"version": "x", "checks": {}}']
DAMAGE += ['{"version": 2, "checks": {"00_a": {"f": {"days": ["today"]}}}}', "[" * 10**5]


@pytest.mark.parametrize("damage", DAMAGE, ids=range(len(DAMAGE)))
def test_a_damaged_file_is_kept_beside_a_new_one(kept: Progress, damage: str) -> None:
    kept.note(F, met=True)
    kept.file.write_text(damage)
    assert kept.passed() == {}
    assert "is damaged. Your answers are not affected: run the checks again" in kept.problem()
    kept.note(G, met=True)
    assert Progress(kept.file).passed() == {"01_b": ["g_check"]}
    assert kept.problem() == ""
    assert kept.file.with_suffix(".damaged-1.json").read_text() == damage


def test_a_file_of_a_newer_version_is_not_changed(kept: Progress) -> None:
    newer = json.dumps({"version": 3, "checks": {}})
    kept.file.parent.mkdir()
    kept.file.write_text(newer)
    kept.note(F, met=True)
    assert kept.passed() == {"00_a": ["f_check"]}
    assert kept.file.read_text() == newer
    assert "newer version of the course, and is not changed" in kept.problem()


def test_a_file_of_the_first_version_is_read(kept: Progress) -> None:
    kept.file.parent.mkdir()
    kept.file.write_text(json.dumps({"00_a": ["f_check"]}))
    kept.note(G, met=True)
    assert Progress(kept.file).passed() == {"00_a": ["f_check"], "01_b": ["g_check"]}


def test_a_lesson_that_is_reset_counts_nothing(kept: Progress) -> None:
    kept.note(F, met=True)
    kept.note(G, met=True)
    kept.forget("00_a")
    assert Progress(kept.file).passed() == {"01_b": ["g_check"]}


def test_what_was_wrong_at_first_is_due_at_growing_intervals() -> None:
    day, due = date(2026, 1, 1), []
    record = Record().ran(met=False, answered=True, today=day)
    assert not record.is_due(day + timedelta(99))
    for wait in (0, 2, 7, 21, 60):
        day += timedelta(wait)
        due.append(record.is_due(day) and not record.is_due(day - timedelta(1)))
        record = record.ran(met=True, answered=True, today=day)
        assert not record.is_due(day)
    assert due == [False, True, True, True, True]
    assert not record.is_due(day + timedelta(1000))


def test_what_was_right_at_once_is_never_due() -> None:
    day = date(2026, 1, 1)
    record = Record().ran(met=False, answered=False, today=day).ran(True, True, day)
    assert not record.is_due(day + timedelta(1000))


def test_where_nothing_can_be_written_it_lasts_for_the_session(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    progress = Progress(tmp_path / "a file" / "progress.json")
    progress.note(F, met=True)
    progress.note(G, met=True)
    assert progress.passed() == {"00_a": ["f_check"], "01_b": ["g_check"]}


def test_the_overview_names_what_is_open(kept: Progress) -> None:
    kept.note(F, met=True)
    overview = progress.progress()
    lines = ["00_a                 2 of   3  f", "01_b                 0 of   4  not begun"]
    assert repr(overview).splitlines() == lines
    kept.note(F_VALUES, met=True)
    assert "all passed" in repr(progress.progress())


def test_the_table_can_be_read_aloud(kept: Progress) -> None:
    kept.note(F, met=True)
    html = progress.progress()._repr_html_()
    assert '<progress value="2" max="3" aria-label="00_a: 2 of 3 points">' in html
    assert "<caption>" in html
    assert html.count('scope="row"') == 2


def test_a_graded_notebook_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(progress.FOLDER_VARIABLE, raising=False)
    assert progress.is_enabled()
    monkeypatch.setenv(progress.FOLDER_VARIABLE, progress.NOWHERE)
    assert not progress.is_enabled()
