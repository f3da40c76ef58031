"""What a student's progress is made of: which checks count, where it is kept, what is shown."""

import json
from pathlib import Path

import pytest

from graders.notebook import progress
from graders.notebook.progress import Check, Progress, digest

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


@pytest.mark.parametrize("damage", ["", "[1]", '{"00_a": 3}', "{"])
def test_a_damaged_file_is_an_empty_one(kept: Progress, damage: str) -> None:
    kept.note(F, met=True)
    kept.file.write_text(damage)
    assert kept.passed() == {}
    kept.note(G, met=True)
    assert json.loads(kept.file.read_text()) == {"01_b": ["g_check"]}


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
