"""The student's copy keeps up with the course, and whatever happens no answer is lost."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graders.lab import working_copy
from graders.lab.working_copy import UnknownLesson, reset, update

NOTEBOOK = Path("02_grad/02_grad.ipynb")


def write_notebook(path: Path, *sources: str, output: str = "", points: int | None = None) -> None:
    outputs = [{"output_type": "stream", "name": "stdout", "text": output}] if output else []
    cells = [
        {
            "cell_type": "code",
            "source": source.splitlines(keepends=True),
            "metadata": {"nbgrader": {"points": points}} if points else {},
            "outputs": outputs,
            "execution_count": None,
        }
        for source in sources
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    path.write_text(json.dumps(notebook))


def sources(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]


@pytest.fixture
def course(tmp_path):
    write_notebook(tmp_path / "course" / NOTEBOOK, "stub")
    (tmp_path / "course" / "02_grad" / "chain.png").write_bytes(b"picture")
    return tmp_path / "course"


@pytest.fixture
def work(tmp_path, course):
    update(course, tmp_path / "work")
    return tmp_path / "work"


def test_the_first_update_copies_every_file(course, work):
    assert sources(work / NOTEBOOK) == ["stub"]
    assert (work / "02_grad" / "chain.png").read_bytes() == b"picture"


def test_hidden_files_of_the_course_are_not_copied(course, work):
    (course / "02_grad" / ".ipynb_checkpoints").mkdir()
    write_notebook(course / "02_grad" / ".ipynb_checkpoints" / "a.ipynb", "stub")
    update(course, work)
    assert not (work / "02_grad" / ".ipynb_checkpoints").exists()


def test_an_untouched_notebook_follows_the_course_in_silence(course, work):
    write_notebook(course / NOTEBOOK, "better stub")
    assert update(course, work) == []
    assert sources(work / NOTEBOOK) == ["better stub"]


def test_a_notebook_that_was_only_run_is_untouched(course, work):
    write_notebook(work / NOTEBOOK, "stub", output="3")
    write_notebook(course / NOTEBOOK, "better stub")
    assert update(course, work) == []
    assert sources(work / NOTEBOOK) == ["better stub"]


def test_outputs_stay_where_the_course_has_not_changed(course, work):
    write_notebook(work / NOTEBOOK, "stub", output="3")
    before = (work / NOTEBOOK).read_bytes()
    update(course, work)
    assert (work / NOTEBOOK).read_bytes() == before


def test_new_points_reach_an_untouched_notebook(course, work):
    write_notebook(course / NOTEBOOK, "stub", points=2)
    update(course, work)
    assert (work / NOTEBOOK).read_bytes() == (course / NOTEBOOK).read_bytes()


def test_an_edited_notebook_is_kept_and_named_once_the_course_has_changed(course, work):
    write_notebook(work / NOTEBOOK, "answer")
    assert update(course, work) == []
    write_notebook(course / NOTEBOOK, "better stub")
    assert update(course, work) == [NOTEBOOK]
    assert sources(work / NOTEBOOK) == ["answer"]


def test_an_edit_that_equals_the_new_course_is_up_to_date(course, work):
    write_notebook(work / NOTEBOOK, "better stub", output="3")
    write_notebook(course / NOTEBOOK, "better stub")
    assert update(course, work) == []
    write_notebook(course / NOTEBOOK, "best stub")
    assert update(course, work) == []
    assert sources(work / NOTEBOOK) == ["best stub"]


def test_a_deleted_notebook_comes_back(course, work):
    (work / NOTEBOOK).unlink()
    update(course, work)
    assert sources(work / NOTEBOOK) == ["stub"]


def test_a_lesson_that_left_the_course_stays_with_the_student(course, work):
    (course / NOTEBOOK).unlink()
    update(course, work)
    assert sources(work / NOTEBOOK) == ["stub"]


@pytest.mark.parametrize("damage", ["", "[]", "{", "null", '{"02_grad/02_grad.ipynb": 3}'])
def test_without_a_manifest_nothing_that_differs_is_replaced(course, work, damage):
    (work / working_copy.MANIFEST).write_text(damage)
    write_notebook(work / NOTEBOOK, "answer")
    assert update(course, work) == [NOTEBOOK]
    assert sources(work / NOTEBOOK) == ["answer"]


@pytest.mark.parametrize("content", ["", "no notebook", "[]", '{"cells": 3}', '{"cells": [3]}'])
def test_a_notebook_that_cannot_be_read_is_the_students(course, work, content):
    (work / NOTEBOOK).write_text(content)
    write_notebook(course / NOTEBOOK, "better stub")
    assert update(course, work) == [NOTEBOOK]
    assert (work / NOTEBOOK).read_text() == content


def test_reset_gives_the_course_and_keeps_the_answer_beside_it(course, work):
    write_notebook(work / NOTEBOOK, "answer")
    [backup] = reset(course, work, "02_grad")
    assert sources(work / NOTEBOOK) == ["stub"]
    assert backup == work / "02_grad" / "02_grad.backup-1.ipynb"
    assert sources(backup) == ["answer"]


def test_a_second_reset_keeps_the_first_backup(course, work):
    backups = []
    for answer in ["answer", "another"]:
        write_notebook(work / NOTEBOOK, answer)
        backups += reset(course, work, "02_grad")
    assert [sources(backup) for backup in backups] == [["answer"], ["another"]]


def test_reset_of_an_untouched_lesson_leaves_no_backup(course, work):
    assert reset(course, work, "02_grad") == []


def test_reset_brings_an_edited_lesson_up_to_date_for_good(course, work):
    write_notebook(work / NOTEBOOK, "answer")
    write_notebook(course / NOTEBOOK, "better stub")
    reset(course, work, "02_grad")
    assert sources(work / NOTEBOOK) == ["better stub"]
    assert update(course, work) == []


def test_reset_of_an_unknown_lesson_names_the_one_that_is_meant(course, work):
    with pytest.raises(UnknownLesson, match=r"no lesson grad. Did you mean 02_grad\? The lessons"):
        reset(course, work, "grad")


@pytest.mark.parametrize("name", ["..", ".", "", "../course/02_grad", "02_grad/"])
def test_reset_takes_lessons_and_no_paths(course, work, name):
    with pytest.raises(UnknownLesson):
        reset(course, work, name)


def test_a_copy_cut_short_leaves_the_old_file_whole(course, work, monkeypatch):
    def cut_short(source, target):
        Path(target).write_bytes(b"{")
        raise OSError("disk full")

    write_notebook(course / NOTEBOOK, "better stub")
    with monkeypatch.context() as broken:
        broken.setattr(working_copy.shutil, "copyfile", cut_short)
        with pytest.raises(OSError, match="disk full"):
            update(course, work)
    assert sources(work / NOTEBOOK) == ["stub"]
    assert update(course, work) == []
    assert sources(work / NOTEBOOK) == ["better stub"]


steps = st.one_of(
    st.tuples(st.just("edit"), st.sampled_from(["a", "b", "c"])),
    st.tuples(st.just("publish"), st.sampled_from(["stub", "v2", "v3", "a"])),
    st.tuples(st.sampled_from(["update", "reset"]), st.just("")),
    st.tuples(st.sampled_from(["run", "delete", "forget"]), st.just("")),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=12))
def test_no_sequence_of_steps_loses_an_edited_answer(tmp_path_factory, sequence):
    """What the student wrote last, and every backup, is in the copy after an update or a reset."""
    root = tmp_path_factory.mktemp("course")
    course, work, mine = root / "course", root / "work", root / "work" / NOTEBOOK
    write_notebook(course / NOTEBOOK, "stub")
    update(course, work)
    kept: set[str] = set()
    for step, text in sequence:
        answer = sources(mine)[0] if mine.exists() else None
        match step:
            case "edit":
                write_notebook(mine, text)
            case "publish":
                write_notebook(course / NOTEBOOK, text)
            case "run" if answer:
                write_notebook(mine, answer, output="3")
            case "delete":
                mine.unlink(missing_ok=True)
            case "forget":
                (work / working_copy.MANIFEST).unlink(missing_ok=True)
            case "update" | "reset":
                update(course, work) if step == "update" else reset(course, work, "02_grad")
                written = {sources(path)[0] for path in mine.parent.glob("*.ipynb")}
                if answer in {"b", "c"}:  # no version of the course is called that
                    assert answer in written
                    kept |= {answer} if answer != sources(mine)[0] else set()
                assert kept <= written
                assert step == "update" or sources(mine) == sources(course / NOTEBOOK)
