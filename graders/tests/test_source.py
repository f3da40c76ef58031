"""The reader of lessons: what it accepts, and that it names everything else with file and line."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graders.lesson.percent import read_percent
from graders.lesson.source import SourceError, lesson_folders, read_lesson
from graders.tests.fixture_lesson import LESSON, RIGHT, WRONG, write_lesson


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(SourceError) as caught:
        read_lesson(folder)
    return [f"{p.path.name}:{p.line}: {p.what} / {p.fix}" for p in caught.value.problems]


def test_a_lesson_is_read_whole(tmp_path: Path) -> None:
    lesson = read_lesson(write_lesson(tmp_path))
    assert lesson.name == "00_tiny"
    assert lesson.title == "0 · Tiny"
    assert list(lesson.exercises) == ["double", "answer"]
    assert lesson.points == 3
    assert [(c.grade_id, c.points) for c in lesson.checks] == [
        ("double_check", 2),
        ("answer_check", 1),
    ]
    assert lesson.exercises["answer"].answer_kind == "prediction"
    assert [(e.exercise, e.says) for e in lesson.wrong] == [
        ("double", "a constant factor of"),
        ("double", "the input came back unchanged"),
        ("answer", "not what Python does"),
    ]
    assert [e.exercise for e in lesson.right] == ["double"]


def test_cell_ids_come_from_names(tmp_path: Path) -> None:
    lesson = read_lesson(write_lesson(tmp_path))
    assert [cell.id for cell in lesson.cells] == [
        "00_tiny-cell-1",
        "00_tiny-cell-2",
        "00_tiny-cell-3",
        "double",
        "hints-double",
        "check-double",
        "00_tiny-cell-4",
        "answer",
        "check-answer",
    ]


def test_lines_are_those_of_the_markers(tmp_path: Path) -> None:
    folder = write_lesson(tmp_path)
    lesson, lines = read_lesson(folder), (folder / "lesson.py").read_text().split("\n")
    assert all(lines[cell.line - 1].startswith("# %%") for cell in lesson.cells)
    wrong = (folder / "wrong.py").read_text().split("\n")
    assert all(wrong[entry.line - 1].startswith('# %% wrong="') for entry in lesson.wrong)


def test_markdown_is_uncommented(tmp_path: Path) -> None:
    lesson = read_lesson(write_lesson(tmp_path))
    assert lesson.cells[0].source == "# 0 · Tiny\n\nA lesson for the tests."


def test_magics_are_code(tmp_path: Path) -> None:
    text = LESSON.replace("import operator", "import operator\n# %timeit -n1 -r1 1 + 1")
    lesson = read_lesson(write_lesson(tmp_path, lesson=text))
    assert "\n%timeit" in lesson.cells[1].source


BROKEN = {
    # what is replaced, by what, and a part of the finding with its line's text
    "missing marker": ('# %% exercise="double"', "# %%", "without exercise="),
    "unknown name in a check": ('check="double"', 'check="dubble"', "'dubble', which is no exer"),
    "unknown name in hints": ('hints="double"', 'hints="dubble"', "'dubble', which is no exer"),
    "check without points": (" points=2", "", "the check of 'double' has no points"),
    "points of nothing": ("points=2", "points=0", "points=0 is not a whole number above 0"),
    "points in words": ("points=2", 'points="two"', "points='two' is not"),
    "duplicate name": ('exercise="answer"', 'exercise="double"', "has the name of exercise"),
    "duplicate hints": (
        '# %% check="double" points=2',
        '# %% [markdown] hints="double"\n# Again.\n\n# %% check="double" points=2',
        "the hints of 'double' has the name of the hints of 'double' at line",
    ),
    "an exercise with the name of a check": (
        '# %% exercise="answer" kind="prediction"\n# A whole number.\n'
        "### BEGIN SOLUTION\nanswer = 4",
        '# %% exercise="double_check" kind="prediction"\n# A whole number.\n'
        "### BEGIN SOLUTION\ndouble_check = 4",
        "exercise 'double_check' has the name of the check of 'double' at line",
    ),
    "unclosed solution": ("    ### END SOLUTION\n", "", "a solution region is not closed"),
    "unclosed hidden tests": ("### END HIDDEN TESTS\n", "", "hidden-tests region is not closed"),
    "hidden tests never begun": ("### BEGIN HIDDEN TESTS\n", "", "ends that never began"),
    "no solution region": (
        "    ### BEGIN SOLUTION\n    return operator.mul(2, x)\n    ### END SOLUTION\n",
        "    return operator.mul(2, x)\n",
        "no solution regions",
    ),
    "name not bound": ("def double(x):", "def twice(x):", "does not bind that name"),
    "unknown key": ("points=2", "points=2 weight=3", "weight=3 does not belong"),
    "key of another cell": ('exercise="double"', 'exercise="double" points=2', "points=2 does not"),
    "marker that cannot be read": (
        'check="double" points',
        "check=double points",
        "cannot be read",
    ),
    "syntax error": ("import operator", "import operator as", "syntax error"),
    "unknown kind": ('kind="prediction"', 'kind="guess"', "kind='guess' is not one of"),
    "prediction of two statements": ("answer = 4\n", "answer = 4\nx = 5\n", "not one assignment"),
    "no check": ('# %% check="answer" points=1\ncheck_equal(answer, 4)\n', "", "has no check"),
    "no title": ("# # 0 · Tiny", "# Tiny", "no title"),
    "hidden tests in a given cell": (
        "import operator",
        "import operator\n### BEGIN HIDDEN TESTS\n### END HIDDEN TESTS",
        "a hidden-tests region stands in a cell without check=",
    ),
    "half a statement in the region": (
        "    ### BEGIN SOLUTION\n    return operator.mul(2, x)\n    ### END SOLUTION\n",
        "    return (\n    ### BEGIN SOLUTION\n    2 * x\n    ### END SOLUTION\n    )\n",
        "without its solution the cell has a syntax error",
    ),
    "code before the first marker": (
        "# %% [markdown]\n# # 0",
        "1 + 1\n# %% [markdown]\n# # 0",
        "code b",
    ),
    "marker in a string": (
        "import operator",
        'import operator\nx = """\n# %% no\n"""',
        "a string holds",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_lesson_is_named_with_line_and_mend(name: str, tmp_path: Path) -> None:
    old, new, expected = BROKEN[name]
    assert old in LESSON
    found = problems_of(write_lesson(tmp_path, lesson=LESSON.replace(old, new, 1)))
    hit = [line for line in found if expected in line]
    assert hit, found
    assert re.match(r"lesson\.py:\d+: .+ / .+", hit[0])


def test_the_line_of_a_syntax_error_is_that_of_the_file(tmp_path: Path) -> None:
    text = LESSON.replace("import operator", "\n\nimport operator as")
    number = text.split("\n").index("import operator as") + 1
    assert problems_of(write_lesson(tmp_path, lesson=text))[0].startswith(f"lesson.py:{number}:")


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    text = LESSON.replace(" points=2", "").replace('kind="prediction"', 'kind="guess"')
    wrong = WRONG.replace('wrong="double"', 'wrong="treble"', 1)
    found = problems_of(write_lesson(tmp_path, lesson=text, wrong=wrong))
    assert len([line for line in found if "has no points" in line]) == 1
    assert len([line for line in found if "kind='guess'" in line]) == 1
    assert len([line for line in found if line.startswith("wrong.py") and "'treble'" in line]) == 1


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("wrong", ' says="a constant factor of"', "", "does not say its diagnosis"),
        ("wrong", "def double", "def treble", "does not bind 'double'"),
        ("wrong", "return 3 * x", "return 3 *", "syntax error"),
        ("wrong", 'wrong="double"', 'right="double"', "which exercise it answers"),
        ("right", 'right="double"', 'right="treble"', "names no exercise"),
        ("right", 'right="double"', 'right="double" says="no"', "says='no' does not belong"),
    ],
)
def test_a_broken_entry_is_named(
    file: str, old: str, new: str, expected: str, tmp_path: Path
) -> None:
    text = {"wrong": WRONG, "right": RIGHT}[file]
    assert old in text
    folder = write_lesson(tmp_path, **{file: text.replace(old, new, 1)})
    assert any(expected in line and line.startswith(f"{file}.py") for line in problems_of(folder))


def test_a_lesson_without_answers_can_be_read(tmp_path: Path) -> None:
    folder = write_lesson(tmp_path)
    (folder / "wrong.py").unlink()
    (folder / "right.py").unlink()
    assert read_lesson(folder).wrong == ()


def test_a_missing_lesson_file_is_a_problem(tmp_path: Path) -> None:
    folder = tmp_path / "solutions" / "07_empty"
    folder.mkdir(parents=True)
    assert "cannot be read" in problems_of(folder)[0]


def test_folders_are_found_by_name(tmp_path: Path) -> None:
    folder = write_lesson(tmp_path)
    (tmp_path / "solutions" / "__pycache__").mkdir()
    assert lesson_folders(tmp_path) == [folder]
    assert lesson_folders(tmp_path, ["00_tiny"]) == [folder]
    with pytest.raises(SourceError, match=r"no lesson '99_none'.*00_tiny"):
        lesson_folders(tmp_path, ["99_none"])


@given(text=st.text(alphabet=list('#% \n"=abpoints[]exrcihk1'), max_size=200))
def test_no_text_makes_the_reader_fail(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any") / "00_any"
    folder.mkdir()
    (folder / "lesson.py").write_text(text)
    problems = []
    try:
        read_lesson(folder)
    except SourceError as error:
        problems = error.problems
    assert all(p.line > 0 and p.what and p.fix for p in problems)
    assert isinstance(read_percent(folder / "lesson.py", []), list)
