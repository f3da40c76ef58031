"""verify must be able to fail: each way to break a lesson is caught, in words that help."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from graders.author import independence, kernel_runs, proofs, two_places, verify, verify_table
from graders.author.build import RELEASE, SOURCE, built, read_and_lint
from graders.author.census import Census, census, too_few
from graders.author.reports import Report
from graders.judging.lesson_run import run_lesson, try_entry
from graders.lesson.cells import Entry, Lesson
from graders.lesson.problems import Problem
from graders.lesson.source import read_lesson
from graders.seam.place import LocalPlace
from graders.tests.fixture_lesson import write_lesson

LESSON = '''\
# %% [markdown]
# # 0 · Tiny
#
# A lesson for the tests.

# %%
import jax.numpy as jnp
import numpy as np

from graders import check_answer, check_shape, check_values

table = [2.0]

# %% [markdown]
# ## 0.1 Doubling
# **Exercise** · 5 minutes · difficulty 1 of 5
#
# $f(x) = 2x$

# %% exercise="double"
def double(x):
    """Twice `x`."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %% [markdown] hints="double"
# <details><summary>Hint 1: the idea</summary>
#
# Add.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `x + x`
# </details>

# %% check="double" points=2
def by_hand(x):
    return x + x

check_shape(double, np.ones(3), returns="3")
check_values(double, by_hand, [(np.array([1.0, 2.0, -4.0, 3.0]),)])
### BEGIN HIDDEN TESTS
check_values(double, by_hand, [(np.array([50.0, 60.0]),)])
### END HIDDEN TESTS

# %% [markdown]
# **Prediction** What is `jnp.ones(3).sum()`?

# %% exercise="guess" kind="prediction"
# A number.
### BEGIN SOLUTION
guess = 3.0
### END SOLUTION

# %% check="guess" points=1
check_answer(guess, lambda: float(jnp.ones(3).sum()))
'''

WRONG = '''\
"""Wrong answers."""

# %% wrong="double" says="an axis is missing"
def double(x):
    return x @ x

# %% wrong="double" says="every number is 1.5 times"
def double(x):
    return 3 * x

# %% wrong="double" says="right for the visible"
def double(x):
    return jnp.clip(2 * x, -9, 9)

# %% wrong="guess" says="not what happens"
guess = 9
'''

RIGHT = """\
# %% right="double"
def double(x):
    return x + x
"""

ANOTHER = """
# %% wrong="double" says="{says}"
def double(x):
    {line}
"""


def made(root: Path, lesson: str = LESSON, wrong: str = WRONG, right: str = RIGHT) -> Lesson:
    return read_lesson(write_lesson(root, lesson=lesson, wrong=wrong, right=right))


def proved(lesson: Lesson) -> list[Problem]:
    return proof(lesson, lambda: None)


def proof(lesson: Lesson, advance: Callable[[], None]) -> list[Problem]:
    problems, _ = proofs.prove(run_lesson(lesson, LocalPlace()), advance)
    return problems


def test_the_tiny_lesson_is_proved(tmp_path: Path) -> None:
    lesson, steps = made(tmp_path), []
    assert proof(lesson, lambda: steps.append(1)) == []
    assert len(steps) == 5
    assert list(too_few(lesson)) == []
    assert independence.prove_independence(lesson, lambda: None) == []
    assert census(lesson) == Census(
        exercises=1, predictions=1, points=3, wrong=4, right=1, words=20
    )


def another(says: str, line: str) -> tuple[str, str, str]:
    """One more wrong answer."""
    return "wrong", "", ANOTHER.format(says=says, line=line)


# A file, what is replaced in it ("" adds to its end), by what; the cell that is blamed; the words.
CHECK, EXERCISE = '# %% check="double"', '# %% exercise="double"'
ADDED = "# %% wrong"  # the last one

BROKEN: dict[str, tuple[tuple[str, str, str], str, str]] = {
    "a solution that fails its check": (
        ("lesson", "return 2 * x", "return 4 * x"),
        CHECK,
        "the solution fails its own check: every number is 2 times the expected value "
        "(expected [2, 4, -8, 6], got [4, 8, -16, 12])",
    ),
    "a given cell that raises": (
        ("lesson", "table = [2.0]", "table = [2.0]\n1 / 0"),
        "# %%\nimport jax",
        "the cell raises ZeroDivisionError: division by zero",
    ),
    "a wrong answer that passes": (
        another("never", "return x * 2"),
        ADDED,
        "double: a wrong answer earns all its points. Fix: sharpen the check",
    ),
    "a wrong answer with another diagnosis": (
        another("the sign is flipped", "return x + 1"),
        ADDED,
        "and not 'the sign is flipped'. Fix: fix the diagnosis, or what the entry says",
    ),
    "a wrong answer that is none": (
        another("not answered yet", "raise NotImplementedError"),
        ADDED,
        "the diagnosis is 'not answered yet', and not 'not answered yet'",
    ),
    "a right answer that is rejected": (
        ("right", "return x + x", "return x + x + 0.5"),
        '# %% right="double"',
        "double: a right answer is rejected: every number is 0.5 too large",
    ),
    "a line of a check that rejects nothing": (
        ("lesson", "check_values(double", 'check_shape(double, np.ones(2), returns="2")\n'
         "check_values(double"),
        CHECK,
        "double: line 2 of the check, check_shape, is the first to reject no wrong answer",
    ),
    "hidden tests that find nothing of their own": (
        ("wrong", "return jnp.clip(2 * x, -9, 9)", "return jnp.clip(2 * x, 0, 9)"),
        EXERCISE,
        "double: no wrong answer is rejected by the hidden tests alone",
    ),
    "an answer that does not run": (
        another("never", "return x\n\ndouble(undefined)"),
        ADDED,
        "double: the answer does not run: NameError: name 'undefined' is not defined",
    ),
    "two answers that say the same": (
        another("Every NUMBER is 1.5 times", "return x + x + x"),
        ADDED,
        "it says the same as the entry in line 7",
    ),
    "an answer that changes given data": (
        another("the sign is flipped", "table.append(1.0)\n    return -2 * x"),
        ADDED,
        "double: the answer changes data that later cells read",
    ),
    "a wrong right answer to a prediction": (
        ("wrong", "guess = 9", "guess = 3"),
        '# %% wrong="guess"',
        "guess: a wrong answer earns all its points",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_lesson_is_caught(name: str, tmp_path: Path) -> None:
    (file, old, new), place, says = BROKEN[name]
    files = {"lesson": LESSON, "wrong": WRONG, "right": RIGHT}
    assert old in files[file]
    files[file] = files[file].replace(old, new, 1) if old else files[file] + new
    found = proved(made(tmp_path, **files))
    (blamed,) = {line for text in files.values() if (line := line_of(place, text))}
    assert [p for p in found if p.line == blamed and says in str(p)], found


def line_of(cell: str, text: str) -> int:
    """The line of the marker of the last such cell; 0 where there is none."""
    return text[: text.rindex(cell)].count("\n") + 1 if cell in text else 0


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('# %% wrong="double" says="every number is 1.5 times"\ndef double(x):\n    return 3 * x\n',
         "", "wrong.py:1: double: 2 wrong answers, where 3 is the least"),
        (RIGHT, '# %% right="guess"\nguess = 3\n',
         "right.py:1: double: 0 right answers, where 1 is the least"),
        ("points=2", "points=1", "lesson.py:1: 1 of 2 points are for predictions and recall"),
    ],
    ids=["wrong answers", "right answers", "points"],
)  # fmt: skip
def test_too_few_of_something_is_caught(old: str, new: str, says: str, tmp_path: Path) -> None:
    files = {"lesson": LESSON, "wrong": WRONG, "right": RIGHT}
    lesson = made(tmp_path, **{name: text.replace(old, new) for name, text in files.items()})
    assert [str(p) for p in too_few(lesson) if says in str(p)]


TRIPLE = """
# %% exercise="triple"
def triple(x):
    ### BEGIN SOLUTION
    return (table[0] + 1) * x
    ### END SOLUTION

# %% check="triple" points=1
check_values(triple, lambda x: 3 * x, [(np.arange(5.0),)])
"""
MORE = """
# %% wrong="double" says="every number is 2.5 times"
table[0] = 5.0

def double(x):
    return table[0] * x

# %% wrong="triple" says="every number is"
def triple(x):
    return x
"""


def test_an_answer_that_costs_another_exercise_its_points(tmp_path: Path) -> None:
    lesson = made(tmp_path, lesson=LESSON + TRIPLE, wrong=WRONG + MORE)
    (found,) = independence.prove_independence(lesson, lambda: None)
    assert found.what.startswith("triple: its solution fails beside wrong answers to ['double'")
    assert found.what.endswith("every number is 2 times the expected value")


def compared(lesson: Lesson, chosen: Sequence[Entry]) -> list[Problem]:
    lesson_run = run_lesson(lesson, LocalPlace())
    trials = [try_entry(lesson_run, entry) for entry in chosen]
    return two_places.compare_places(lesson_run, trials, lambda: None)


def test_words_that_differ_in_a_second_process(tmp_path: Path) -> None:
    given = LESSON.replace("table = [2.0]", "import os\ntable = [2.0, os.getpid()]")
    wrong = WRONG + ANOTHER.format(says="every number is", line="return table[1] * x")
    lesson = made(tmp_path, lesson=given, wrong=wrong)
    (found,) = compared(lesson, two_places.sample(lesson))
    assert found.what.startswith("double: here [")
    assert ", in a second process [" in found.what
    here, there = re.findall(r"every number is ([\d.e+]+)", found.what)
    assert here != there
    assert found.line == lesson.wrong[-1].line


def test_a_solution_whose_words_differ_in_a_second_process(tmp_path: Path) -> None:
    given = LESSON.replace("table = [2.0]", "import os\ntable = [2.0, os.getpid()]")
    lesson = made(tmp_path, lesson=given.replace("return 2 * x", "return table[1] * x"))
    (found,) = compared(lesson, [])
    assert found.what.startswith("double: here [")
    assert found.path == lesson.path / "lesson.py"


def test_untouched_exercises_that_count_as_answered(tmp_path: Path) -> None:
    lesson = made(tmp_path)
    lesson_run, stubs = run_lesson(lesson, LocalPlace()), {"double": "def double(x):\n    pass"}
    unanswered = {
        "double": "def double(x):\n    raise NotImplementedError()",
        "guess": "guess = ...",
    }
    assert proofs.prove_untouched(lesson_run, unanswered) == []
    found = proofs.prove_untouched(lesson_run, stubs | {"guess": "guess = 3.0"})
    assert [problem.line for problem in found] == [check.line for check in lesson.checks]
    assert found[0].what.startswith("untouched, the check of double says '")
    assert found[1].what == "untouched, the check of guess passes, not 'not answered yet'"


def test_the_short_sample_is_a_fifth_of_it(tmp_path: Path) -> None:
    lesson = made(tmp_path)
    assert two_places.short_sample(lesson) == two_places.sample(lesson)[:1]


def test_the_sample_holds_a_wrong_answer_of_each_exercise(tmp_path: Path) -> None:
    chosen = two_places.sample(made(tmp_path))
    assert [(entry.kind, entry.exercise, entry.says) for entry in chosen] == [
        ("wrong", "double", "right for the visible"),
        ("wrong", "guess", "not what happens"),
    ]


def test_a_lesson_that_is_too_slow(tmp_path: Path) -> None:
    lesson = made(tmp_path)
    assert kernel_runs.too_slow(lesson, 60) == []
    (found,) = kernel_runs.too_slow(lesson, 61)
    assert found.what == "the notebook takes 61 s from cold; 60 s are the limit"


# ---- whole notebooks, in a kernel ----


@pytest.fixture
def course(tmp_path: Path) -> Path:
    shutil.copy(Path(__file__).parents[2] / "nbgrader_config.py", tmp_path)
    return tmp_path


def notebooks(course: Path) -> Callable[[Path], Path]:
    """Builds the lesson; gives the path of a notebook by its folder."""
    lessons = [read_lesson(course / "solutions" / "00_tiny")]
    for path, content in built(course, lessons).items():
        (course / path).parent.mkdir(parents=True, exist_ok=True)
        (course / path).write_bytes(content)
    return lambda folder: course / folder / "00_tiny" / "00_tiny.ipynb"


def test_notebooks_that_do_not_run_as_they_should(course: Path) -> None:
    broken = LESSON.replace("table = [2.0]", "import sys\nprint('oh', file=sys.stderr)\ndouble(2)")
    broken = broken.replace("guess, lambda", "3.0, lambda")
    lesson = made(course, lesson=broken)
    path = notebooks(course)
    found, seconds = kernel_runs.solution_problems(lesson, path(SOURCE))
    assert [problem.what for problem in found] == [
        "the cell raises NameError: name 'double' is not defined",
        "the cell writes to stderr: 'oh\\n'",
    ]
    assert 0 < seconds < 600
    found = kernel_runs.untouched_problems(lesson, path(RELEASE))
    assert [problem.what for problem in found] == [
        "the cell raises NameError: name 'double' is not defined",
        "untouched, the check of guess passes, not 'not answered yet'",
    ]
    assert [problem.line for problem in found] == [6, line_of('# %% check="guess"', broken)]


class Silent:
    """A progress bar that no one sees."""

    def __init__(self) -> None:
        self.steps: dict[str, int] = {}
        self.done = 0

    def add(self, lesson: str, steps: int) -> None:
        self.steps[lesson] = steps

    def advance(self, lesson: str) -> None:
        assert lesson in self.steps
        self.done += 1


SEEN = {
    "full": ["double: a right answer is", "the cell raises CheckFailed: d"],
    "short": ["double: the diagnosis is"],
}


@pytest.mark.parametrize(("form", "steps"), [("full", 9), ("short", 1)])
def test_from_end_to_end(
    course: Path, capsys: pytest.CaptureFixture, form: verify.Form, steps: int
) -> None:
    """A lesson broken in several ways; the real ones show that verify passes."""
    broken, wrong = LESSON.replace("return 2 * x", "return 2 * x + 1"), WRONG
    if form == "short":
        wrong = WRONG.replace("right for the visible", "another thing")
    made(course, lesson=broken, wrong=wrong, right=RIGHT.replace("x + x", "x"))
    progress = Silent()
    (report,) = verify.verify(course, [], form, progress)
    assert (report.seconds > 0) == (form == "full")
    said = [problem.what for problem in report.problems]
    expected = ("the solution fails its own", *SEEN[form])
    for words in expected:
        assert len([what for what in said if what.startswith(words)]) == 1, said
    assert len(said) == len(expected), said
    assert progress.steps == {"00_tiny": steps}
    assert progress.done == steps
    verify_table.show([report])
    shown = capsys.readouterr().out
    assert all(f"{problem.path}:{problem.line}: " in shown for problem in report.problems)
    assert "Lessons verified" in shown
    assert ("not measured" in shown) == (form == "short")


def test_where_nobody_watches_the_end_of_a_lesson_is_a_line() -> None:
    written = io.StringIO()
    with verify_table.Progress(Console(file=written)) as progress:
        progress.add("00_tiny", 2)
        progress.advance("00_tiny")
        assert written.getvalue() == ""
        progress.advance("00_tiny")
    assert written.getvalue() == "00_tiny: 2 steps done\n"


BREAKS_DOWN = LESSON.replace("def by_hand(x):", "def by_hand(x, y):")


def test_an_error_of_the_check_itself_is_no_verdict_about_any_answer(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="by_hand"):
        proved(made(tmp_path, lesson=BREAKS_DOWN))


def test_what_breaks_down_is_a_problem_of_its_lesson(course: Path) -> None:
    """The other lesson is proved nevertheless."""
    made(course, lesson=BREAKS_DOWN)
    write_lesson(course, "01_more", lesson=LESSON, wrong=WRONG, right=RIGHT)
    broken, whole = verify.verify(course, [], "short", Silent())
    assert whole.proved, whole.problems
    assert not broken.proved
    (problem,) = broken.problems
    assert problem.path == course / "solutions/00_tiny/lesson.py"
    assert problem.what.startswith("verifying broke down: ")
    assert "Traceback (most recent call last)" in problem.what
    assert "by_hand() missing 1 required positional argument: 'y'" in problem.what
    assert problem.fix == "fix graders or the check"
    assert broken.seconds == 0


def test_main_says_whether_everything_is_proved(
    course: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    made(course)
    reports: list[Report] = []
    monkeypatch.setattr(verify, "verify", lambda *_: reports)
    monkeypatch.chdir(course)
    assert verify.main() == 1
    lesson = read_and_lint(course, [])[0]
    reports.append(Report(lesson.name, census(lesson)))
    assert verify.main() == 0
    reports[0].problems.append(Problem(lesson.path, 3, "it is broken", "fix it"))
    assert verify.main() == 1
    assert ":3: it is broken. Fix: fix it." in capsys.readouterr().out
