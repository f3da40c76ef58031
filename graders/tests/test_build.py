"""The build: the same bytes each time, nothing that leaks, nothing written on a problem."""

import json
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from graders.author.build import build, built, main, stale
from graders.lesson.regions import HIDDEN, SOLUTION
from graders.lesson.source import SourceError, lesson_folders, read_lesson
from graders.nbgrading.plugins import blank_for
from graders.tests.fixture_lesson import LESSON, make_course, write_lesson

NOTEBOOK = Path("course/00_tiny/00_tiny.ipynb")
REFERENCE = Path("docs/checks.md")
CATALOGUE = Path("graders/notebook/catalogue.json")


@pytest.fixture
def course(tmp_path: Path) -> Path:
    return make_course(tmp_path)


def snapshot(root: Path) -> dict[str, tuple[bytes, int]]:
    files = [p for p in root.rglob("*") if p.is_file()]
    return {str(p.relative_to(root)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def released(root: Path) -> NotebookNode:
    return nbformat.read(root / NOTEBOOK, as_version=4)


def test_building_twice_changes_nothing(course: Path) -> None:
    assert build(course) == [NOTEBOOK, REFERENCE, CATALOGUE]
    before = snapshot(course)
    assert build(course) == []
    assert snapshot(course) == before


def test_bytes_do_not_depend_on_where_the_course_lies(course: Path, tmp_path: Path) -> None:
    build(course)
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    build(make_course(elsewhere))
    assert (elsewhere / NOTEBOOK).read_bytes() == (course / NOTEBOOK).read_bytes()


def test_the_released_notebook_is_what_a_student_opens(course: Path) -> None:
    build(course)
    notebook = released(course)
    nbformat.validate(notebook)
    lesson = read_lesson(course / "solutions" / "00_tiny")
    first, *others = [cell.id for cell in lesson.cells]
    ids = [first, "00_tiny-set-up", *others, "00_tiny-navigation"]
    assert [cell.id for cell in notebook.cells] == ids
    assert all(cell.get("outputs", []) == [] for cell in notebook.cells)
    assert notebook.metadata.kernelspec.name == "python3"
    graded = {c.metadata.nbgrader.grade_id: c for c in notebook.cells if "nbgrader" in c.metadata}
    assert graded["double_check"].metadata.nbgrader.points == 2
    assert graded["double_check"].metadata.editable is False
    assert all(cell.metadata.tags == ["raises-exception"] for cell in graded.values())
    assert graded["answer"].source == "# A whole number.\nanswer = ..."
    assert graded["double"].source.endswith("    # YOUR CODE HERE\n    raise NotImplementedError()")


def test_a_cell_that_draws_is_folded(course: Path) -> None:
    path = course / "solutions/00_tiny/lesson.py"
    drawing = '\n# %% tags=["demonstration", "hide-input"]\nprint("drawn")\n'
    path.write_text(path.read_text() + drawing + '\n# %% tags=["demonstration"]\nprint(2)\n')
    build(course)
    folded, open_ = released(course).cells[-3:-1]
    assert folded.metadata.jupyter.source_hidden is True
    assert folded.metadata.tags == ["demonstration", "hide-input"]
    assert "jupyter" not in open_.metadata


def test_no_solution_and_no_hidden_test_leaks(course: Path) -> None:
    build(course)
    names = [str(p.relative_to(course / "course")) for p in (course / "course").rglob("*")]
    assert sorted(names) == ["00_tiny", "00_tiny/00_tiny.ipynb"]
    text = (course / NOTEBOOK).read_text()
    for secret in ("operator.mul(2, x)", "-12345", "HIDDEN", "SOLUTION", "answer = 4", "3 * x"):
        assert secret not in text
    instructors = (course / "build/source/00_tiny/00_tiny.ipynb").read_text()
    assert "operator.mul(2, x)" in instructors
    assert "-12345" in instructors


def test_a_problem_in_one_lesson_keeps_every_lesson_from_being_written(course: Path) -> None:
    build(course)
    before = snapshot(course)
    write_lesson(course, "01_more", lesson=LESSON.replace(" points=2", ""))
    write_lesson(course, lesson=LESSON.replace("# # 0 · Tiny", "# # 0 · Changed"))
    with pytest.raises(SourceError, match=r"01_more/lesson\.py:\d+: .*no points"):
        build(course)
    after = snapshot(course)
    assert {path: after[path] for path in before if "solutions" not in path} == {
        path: content for path, content in before.items() if "solutions" not in path
    }
    assert not (course / "course/01_more").exists()


def test_a_breach_of_the_rules_is_a_problem_too(course: Path) -> None:
    write_lesson(course, lesson=LESSON.replace(" · difficulty 1 of 5", ""))
    with pytest.raises(SourceError, match="minutes and difficulty"):
        build(course)
    assert not (course / "course").exists()


def test_a_removed_lesson_is_removed_and_other_files_stay(course: Path) -> None:
    write_lesson(course, "01_more")
    build(course)
    (course / "course/README.md").write_text("Syllabus")
    for file in (course / "solutions/00_tiny").iterdir():
        file.unlink()
    (course / "solutions/00_tiny").rmdir()
    assert Path("course/00_tiny") in build(course)
    assert not (course / "course/00_tiny").exists()
    assert not (course / "build/source/00_tiny").exists()
    assert (course / "course/01_more/01_more.ipynb").exists()
    assert (course / "course/README.md").read_text() == "Syllabus"


def test_a_named_lesson_is_built_alone(course: Path) -> None:
    write_lesson(course, "01_more")
    build(course)
    (course / "course/01_more/01_more.ipynb").write_text("old")
    (course / NOTEBOOK).write_text("old")
    assert build(course, ["00_tiny"]) == [NOTEBOOK]
    assert (course / "course/01_more/01_more.ipynb").read_text() == "old"
    with pytest.raises(SourceError, match="no lesson '09_none'"):
        build(course, ["09_none"])


def test_the_table_of_checks_holds_each_lesson_that_there_is(course: Path) -> None:
    write_lesson(course, "01_more")
    build(course)
    before = json.loads((course / CATALOGUE).read_text())
    assert list(before) == ["00_tiny", "01_more"]
    assert before["00_tiny"]["title"] == "Tiny"
    double = ["double_check", "double", 2, "code"]
    answer = ["answer_check", "answer", 1, "prediction"]
    assert list(before["00_tiny"]["checks"].values()) == [double, answer]
    write_lesson(course, lesson=LESSON.replace("points=2", "points=3"))
    build(course, ["00_tiny"])
    after = json.loads((course / CATALOGUE).read_text())
    assert ["double_check", "double", 3, "code"] in after["00_tiny"]["checks"].values()
    assert after["01_more"] == before["01_more"]


def test_stale_names_each_difference_and_writes_nothing(course: Path) -> None:
    write_lesson(course, "01_more")
    build(course)
    assert stale(course) == []
    (course / NOTEBOOK).write_text((course / NOTEBOOK).read_text() + "\n")
    (course / "course/01_more/01_more.ipynb").unlink()
    (course / "course/00_tiny/answers.txt").write_text("untracked")
    (course / "course/09_old").mkdir()
    (course / CATALOGUE).write_text("{}")
    (course / REFERENCE).write_text("edited by hand")
    before = snapshot(course)
    assert stale(course) == [
        "course/00_tiny/00_tiny.ipynb is not what solutions/00_tiny builds",
        "course/00_tiny/answers.txt is built by no lesson",
        "course/01_more/01_more.ipynb is missing",
        "course/09_old is built by no lesson",
        "docs/checks.md is not what graders/ builds",
        "graders/notebook/catalogue.json is not what solutions/ builds",
    ]
    assert snapshot(course) == before
    build(course)
    assert stale(course) == []


@pytest.mark.parametrize("target", ["a_folder", "a_file", "nothing"])
def test_a_link_that_no_lesson_builds_is_removed_and_its_target_stays(
    course: Path, tmp_path_factory: pytest.TempPathFactory, target: str
) -> None:
    build(course)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "a_folder").mkdir()
    (elsewhere / "a_folder/kept.txt").write_text("kept")
    (elsewhere / "a_file").write_text("kept")
    links = [course / "course/09_old", course / "course/00_tiny/more", course / "build/source/09_x"]
    for link in links:
        link.symlink_to(elsewhere / target)
    before = snapshot(elsewhere)
    assert len(stale(course)) == 2
    assert build(course) == [Path("course/00_tiny/more"), Path("course/09_old")]
    assert [link for link in links if link.is_symlink()] == []
    assert snapshot(elsewhere) == before
    assert stale(course) == []


def test_a_write_that_is_cut_short_leaves_the_old_file(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(course)
    before = snapshot(course / "course")
    write_lesson(course, lesson=LESSON.replace("# # 0 · Tiny", "# # 0 · Changed"))

    def fails(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fails)
        with pytest.raises(OSError, match="disk full"):
            build(course)
    assert snapshot(course / "course") == before


def test_the_command_says_what_it_did(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(check=True, root=course) == 1
    assert "is missing" in capsys.readouterr().out
    assert main(root=course) == 0
    assert capsys.readouterr().out == f"{NOTEBOOK}\n{REFERENCE}\n{CATALOGUE}\n"
    assert main(check=True, root=course) == 0
    write_lesson(course, lesson=LESSON.replace(" points=2", ""))
    assert main(root=course) == 1
    assert "lesson.py:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "blank"),
    [
        ("### BEGIN SOLUTION\nf = 3\n### END SOLUTION", "f = ..."),
        ("# form\n### BEGIN SOLUTION\nf: int = 3\n### END SOLUTION", "f = ..."),
        (
            "### BEGIN SOLUTION\nimport a\ndef f():\n    return 1\n### END SOLUTION",
            "# YOUR CODE HERE\nf = ...",
        ),
        ("def f():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION", None),
        ("def f(): ...\n### BEGIN SOLUTION\nf = 3\n### END SOLUTION", None),
        ("f = 3", None),
    ],
)
def test_an_answer_at_the_margin_keeps_its_name_bound(source: str, blank: str | None) -> None:
    described = {"grade_id": "f", "solution": True, "grade": False}
    cell = nbformat.v4.new_code_cell(source, metadata={"nbgrader": described})
    assert blank_for(cell) == blank


def test_json_ends_with_a_line(course: Path) -> None:
    build(course)
    content = (course / NOTEBOOK).read_text()
    assert content.endswith("}\n")
    assert json.loads(content)["nbformat"] == 4


COURSE = Path(__file__).parents[2]


@pytest.mark.parametrize("folder", lesson_folders(COURSE), ids=lambda folder: folder.name)
def test_no_lesson_gives_its_answers_away(folder: Path) -> None:
    """No line of a solution or a hidden test stands in the notebook that is handed out."""
    lesson = read_lesson(folder)
    files = built(COURSE, [lesson])
    handed_out = nbformat.reads(
        files[Path("course") / lesson.name / f"{lesson.name}.ipynb"].decode(), as_version=4
    )
    by_id = {cell.id: cell.source for cell in handed_out.cells}
    for cell in (c for c in lesson.cells if c.grade_id):
        region = SOLUTION if cell.exercise else HIDDEN
        lines = region.lines(cell.source)
        shown = {line for line, within in lines if not within}
        secret = {line for line, within in lines if within} - shown
        assert not secret & set(by_id[cell.id].split("\n")), cell.grade_id
        assert not any(word in by_id[cell.id] for word in (region.begin, region.end))
