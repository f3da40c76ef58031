"""A tiny lesson that needs neither JAX nor the real checks, so that its tests run in seconds."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from graders.card.failure import Cause, Finding
from graders.card.outcome import Outcome, Requirement

LESSON = '''\
"""A lesson for the tests."""

# %% [markdown]
# # 0 · Tiny
#
# A lesson for the tests.

# %%
import operator


def check_equal(value, expected):
    if value is ...:
        raise AssertionError("not answered yet")
    if value != expected:
        raise AssertionError(f"{value} is not what Python does: {expected}")


def check_calls(f, g, *arguments):
    for x in arguments:
        if f(x) != g(x):
            raise AssertionError(f"at {x}: {f(x)}, expected {g(x)}")


# %% [markdown]
# ## 0.1 Doubling
# **Exercise** · 5 minutes · difficulty 1 of 5
#
# $f(x) = 2x$

# %% exercise="double"
def double(x):
    """Twice `x`."""
    ### BEGIN SOLUTION
    return operator.mul(2, x)
    ### END SOLUTION

# %% [markdown] hints="double"
# <details><summary>Hint 1: the idea</summary>
#
# Add.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `operator.mul`
# </details>

# %% check="double" points=2
def by_hand(x):
    return x + x

check_calls(double, by_hand, 0, 2)
### BEGIN HIDDEN TESTS
check_calls(double, by_hand, -12345)
### END HIDDEN TESTS

# %% [markdown]
# **Prediction** What is `2 + 2`?

# %% exercise="answer" kind="prediction"
# A whole number.
### BEGIN SOLUTION
answer = 4
### END SOLUTION

# %% check="answer" points=1
check_equal(answer, 4)
'''

# The same with real checks, as grading in two processes asks for.
_IN_JUDGED = {
    LESSON[LESSON.index("import operator") : LESSON.index("# %% [markdown]\n# ## 0.1")]: (
        "import operator\nfrom graders import check_answer, check_values\n\n"
    ),
    "check_calls(double, by_hand, 0, 2)": "check_values(double, by_hand, [(0.0,), (2.0,)])",
    "check_calls(double, by_hand, -12345)": "check_values(double, by_hand, [(-12345.0,)])",
    "check_equal": "check_answer",
}
JUDGED = LESSON
for _plain, _real in _IN_JUDGED.items():
    JUDGED = JUDGED.replace(_plain, _real)

WRONG = '''\
"""Wrong answers."""

# %% wrong="double" says="a constant factor of"
def double(x):
    return 3 * x

# %% wrong="double" says="the input came back unchanged"
def double(x):
    return x

# %% wrong="answer" says="not what Python does"
answer = 5
'''

RIGHT = """\
# %% right="double"
import sys

def double(x):
    print("doubling", file=sys.stderr)
    return x + x
"""


def write_lesson(
    root: Path, name: str = "00_tiny", lesson: str = LESSON, wrong: str = WRONG, right: str = RIGHT
) -> Path:
    """The folder of a lesson under `root`, with its three files."""
    folder = root / "solutions" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in (("lesson", lesson), ("wrong", wrong), ("right", right)):
        (folder / f"{file}.py").write_text(text)
    return folder


def make_course(root: Path, lesson: str = LESSON) -> Path:
    """A course under `root` with the tiny lesson and the configuration of this course."""
    shutil.copy(Path(__file__).parents[2] / "nbgrader_config.py", root)
    write_lesson(root, lesson=lesson)
    return root


def scheduler_of(results: Callable[..., Iterable[Any]]) -> type:
    """A stand-in for `Scheduler`: `results(settings, lessons, tasks)` are what it finds."""

    class Made:
        def __init__(self, *given: Any) -> None:
            self.given = given

        def results(self) -> Iterable[Any]:
            return results(*self.given)

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    return Made


def met(exercise: str) -> Outcome:
    """A right answer's outcome."""
    return Outcome(exercise, (Requirement("check_values", exercise, state="met"),))


def failed(exercise: str, diagnosis: str) -> Outcome:
    """A wrong answer's outcome."""
    requirement = Requirement("check_values", exercise, state="failed")
    return Outcome(exercise, (requirement,), Finding(Cause(diagnosis, "Try again.")))
