"""The lint of coverage: arguments with one value, and leaves that nothing compares."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

from graders.author.coverage import coverage_problems, digest
from graders.author.mutation.listed import read_listed
from graders.judging.lesson_run import run_lesson
from graders.lesson.problems import SourceError
from graders.lesson.source import read_lesson
from graders.seam.place import LocalPlace
from graders.tests.fixture_lesson import make_course

LESSON = '''\
# %% [markdown]
# # 0 · Coverage
#
# A lesson for the tests.

# %%
import jax, jax.numpy as jnp, numpy as np
from graders import check_shape, check_values, result_of, through

# %% [markdown]
# ## Applied
# **Exercise** · 5 minutes · difficulty 1 of 5

# %% exercise="applied"
def applied(f, x, scale=1.0):
    """`f` of `x` times `scale`, and `x`."""
    ### BEGIN SOLUTION
    return {"y": jnp.asarray(scale * f(x)), "x": jnp.asarray(x)}
    ### END SOLUTION

# %% [markdown] hints="applied"
# <details><summary>Hint 1: the idea</summary>Call.</details>
# <details><summary>Hint 2: the API</summary>`f(x)`</details>

# %% check="applied" points=2
{check}
'''
NUMBERS = "[np.float32([1, 2]), np.float32([3, -4])]"
ORACLE = "lambda f, x, scale=1.0: {'y': scale * f(x), 'x': x}"
CHECKS: dict[str, tuple[str, list[str]]] = {
    "nothing varies": (
        f"check_values(applied, {ORACLE}, [(np.sin, np.float32([1, 2]))])",
        ["`f` one value", "`x` one value", "`scale` one value"],
    ),
    "everything varies": (
        f"check_values(applied, {ORACLE}, [(f, x, s) for f, s in ((np.sin, 1.0), (np.cos, 2.0)) "
        f"for x in {NUMBERS}])",
        [],
    ),
    "functions with other closures are other functions": (
        f"check_values(applied, {ORACLE}, [((lambda n: lambda x: n * x)(n), x, n) "
        f"for n, x in zip((2.0, 3.0), {NUMBERS})])",
        [],
    ),
    "a leaf that is not looked at": (
        "check_values(through(lambda f, *args: f(*args)['y'], applied), lambda f, x, s: s * f(x), "
        f"[(f, x, s) for f, s in ((np.sin, 1.0), (np.cos, 2.0)) for x in {NUMBERS}])\n"
        "for f, s in ((np.sin, 1.0), (np.cos, 2.0)):\n"
        "    check_shape(applied, f, np.float32([1, 2]), s, returns={'x': '2', 'y': '2'})",
        ["anything at applied: ['x']"],
    ),
}


def run_of(root: Path, check: str) -> Any:
    course = make_course(root, LESSON.replace("{check}", check))
    for name in ("wrong.py", "right.py"):
        (course / "solutions/00_tiny" / name).unlink(missing_ok=True)
    return run_lesson(read_lesson(course / "solutions/00_tiny"), LocalPlace())


@pytest.mark.parametrize("name", CHECKS)
def test_what_a_check_does_not_cover(name: str, tmp_path: Path) -> None:
    check, says = CHECKS[name]
    lesson_run = run_of(tmp_path, check)
    assert all(verdict.passed for verdict in lesson_run.solutions.values())
    problems = [problem.what for problem in coverage_problems(lesson_run)]
    assert len(problems) == len(says)
    assert all(words in what for words, what in zip(says, problems, strict=True))


def test_a_reason_in_the_list_is_accepted_until_it_is_not_needed(tmp_path: Path) -> None:
    check, _ = CHECKS["nothing varies"]
    lesson_run = run_of(tmp_path, check)
    path = lesson_run.lesson.path / "mutants.toml"
    entry = '[[one_value]]\nexercise = "applied"\nparameter = "{}"\nreason = "A test."\n'
    path.write_text(entry.format("f") + entry.format("scale") + entry.format("other"))
    problems = [problem.what for problem in coverage_problems(lesson_run)]
    assert ["`x` one value" in what for what in problems] == [True, False]
    assert "names `other` of `applied`, which varies" in problems[1]


@pytest.mark.parametrize(
    "text", ["[[equivalent]]\nexercise = 'a'\n", "[[other]]\nreason = 'b'\n", "a = [",
             "[[equivalent]]\nexercise = 'a'\nmutant = 'b'\nreason = ''\n"],
)  # fmt: skip
def test_a_list_that_says_something_else_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "mutants.toml").write_text(text)
    with pytest.raises(SourceError, match=r"mutants\.toml"):
        read_listed(tmp_path)


def holds_itself(value: int) -> list:
    held: list = [value]
    held.append(lambda: held)
    return held


def test_equal_values_have_equal_digests() -> None:
    mesh = jax.make_mesh((2,), ("data",))
    same = [
        (np.ones(2), np.array([1.0, 1.0])),
        ({"a": 1, "b": (2.0, None)}, {"a": 1, "b": (2.0, None)}),
        (jax.random.key(3), jax.random.key(3)),
        (mesh, jax.make_mesh((2,), ("data",))),
        (lambda x: x + 1, lambda x: x + 1),
        (optax.adam(0.1), optax.adam(0.1)),
        (holds_itself(1), holds_itself(1)),
    ]
    other = [
        (np.ones(2), np.ones(2, np.float32)),
        (1, 1.0),
        (jax.random.key(3), jax.random.key(4)),
        (mesh, jax.make_mesh((2,), ("model",))),
        (lambda x: x + 1, lambda x: x + 2),
        ([1], (1,)),
        (optax.sgd(0.1), optax.sgd(0.2)),
        (
            optax.chain(optax.trace(0.9), optax.scale(1)),
            optax.chain(optax.trace(0.8), optax.scale(1)),
        ),
        (partial(pow, 2), partial(pow, 3)),
        (partial(int, base=2), partial(int, base=3)),
        (lambda x=1: x, lambda x=2: x),
        (lambda *, x=1: x, lambda *, x=2: x),
        (holds_itself(1), holds_itself(2)),
    ]
    assert [digest(a) == digest(b) for a, b in same] == [True] * len(same)
    assert [digest(a) != digest(b) for a, b in other] == [True] * len(other)


def test_a_tracer_of_a_trace_that_has_ended_has_a_digest() -> None:
    kept = []
    jax.vmap(lambda key: kept.append(key) or jax.random.key_data(key))(
        jax.random.split(jax.random.key(1))
    )
    assert digest(kept)


def test_each_tracer_counts_as_another_value() -> None:
    digests: list[str] = []
    for _ in range(30):  # a tracer is freed with its trace, and the next one may have its id
        jax.jit(lambda x: digests.append(digest(x)))(np.ones(3))
    assert len(set(digests)) == 30
