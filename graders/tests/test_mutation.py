"""Mutation of answers: which wrong answers are made, which count as equivalent, what is printed."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graders import check_values
from graders.author.mutation import named, run, wrappers
from graders.author.mutation.equivalence import Reference
from graders.author.mutation.listed import read_listed
from graders.author.mutation.mutant import Mutant
from graders.author.mutation.rewritings import SHELLS, rewritings
from graders.author.mutation.run import Bench, LessonRun, mutants_of
from graders.author.mutation.source import mutations
from graders.judging.lesson_run import run_lesson
from graders.lesson.source import read_lesson
from graders.probes import call
from graders.seam.place import LocalPlace
from graders.seam.protocol import Request
from graders.tests.failing import failure
from graders.tests.fixture_lesson import make_course

CELL = '''\
import jax.numpy as jnp

@jax.jit
def f(x, w):
    """Not a word of this changes: 1 + 1."""
    y = x @ w + 1.0
    if x.ndim < 2 and True:
        y = jnp.where(y > 0, y.mean(axis=0), 0)
    unused = jnp.sqrt(y) / w
    return y, jax.lax.stop_gradient(w[1:])
'''


def made(kind: str) -> list[str]:
    found = [change for one, change, _ in mutations(CELL, set(range(3, 20))) if one == kind]
    return [change.partition(": ")[2] for change in found]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("operator", "x @ w + 1.0 -> x @ w - 1.0"),
        ("operands exchanged", "x @ w -> w @ x"),
        ("term dropped", "x @ w + 1.0 -> x @ w"),
        ("comparison", "x.ndim < 2 -> x.ndim <= 2"),
        ("comparison", "x.ndim < 2 and True -> x.ndim < 2 or True"),
        ("constant", "1.0 -> 2.0"),
        ("constant", "True -> False"),
        ("keyword dropped", "y.mean(axis=0) -> y.mean()"),
        ("other function", "y.mean(axis=0) -> y.sum(axis=0)"),
        ("call dropped", "jax.lax.stop_gradient(w[1:]) -> w[1:]"),
        ("guard dropped", "jnp.where(y > 0, y.mean(axis=0), 0) -> y.mean(axis=0)"),
        ("slice", "1: -> :"),
        ("results exchanged", "return (y, jax.lax.stop_gradient(w[1:])) -> "
         "return (jax.lax.stop_gradient(w[1:]), y)"),
        ("earlier variable returned", "return (y, jax.lax.stop_gradient(w[1:])) -> return x"),
        ("statement dropped", "y = x @ w + 1.0 -> (dropped)"),
        ("small number", "jnp.sqrt(y) / w -> jnp.sqrt(y) / (w + 1e-06)"),
        ("small number", "jnp.sqrt(y) -> jnp.sqrt(y + 1e-06)"),
    ],
)  # fmt: skip
def test_a_mutant_of_source(kind: str, change: str) -> None:
    assert change in made(kind)


def test_decorators_are_dropped_and_docstrings_stay() -> None:
    assert len(made("decorator dropped")) == 1
    every = [text for _, _, text in mutations(CELL, set(range(1, 20)))]
    assert all("Not a word of this changes: 1 + 1." in text for text in every)
    assert len(set(every)) == len(every)


def test_types_stay_as_they_are() -> None:
    source = (
        "def f(x: Array | None, *, n: Array[1]) -> Array[2]:\n    y: Array[3] = x\n    return y + 1"
    )
    assert {change.partition(":")[0] for _, change, _ in mutations(source, {1, 2, 3})} == {"line 3"}


def test_lines_outside_are_left_alone() -> None:
    assert list(mutations(CELL, {1, 2})) == []


def asked(*args: Any) -> list[Request]:
    return [Request(call.__name__, args)]


X = np.array([[0.5, -1.5, 2.0], [1.0, 3.0, -0.25]], np.float32)


@pytest.mark.parametrize(
    ("solution", "mutant", "same"),
    [
        (lambda x: x + x, lambda x: 2 * x, True),
        (lambda x: x.sum(1), lambda x: x @ jnp.ones(x.shape[1]), True),
        (jnp.tanh, lambda x: jnp.tanh(x) * 1.01, False),
        (jnp.abs, lambda x: jnp.where(x < 0, -x, x), True),
        (lambda x: x, lambda x: jnp.clip(x, -100, 100), False),
        (lambda x: x / 3, lambda x: jnp.where(x == 0, 1, x / 3), False),
        (lambda x: x[:2], lambda x: x[:2] if x.shape[1] == 3 else x, False),
        (lambda x: x.astype(jnp.int32), lambda x: x.astype(jnp.int8), False),
        (lambda x: (x, 2 * x), lambda x: [x, 2 * x], True),
        (lambda x: (x, 2 * x), lambda x: {"a": x, "b": 2 * x}, False),
        (lambda x: x**2, lambda x: jax.lax.stop_gradient(x) ** 2, False),
        (lambda x: jax.lax.scan(lambda c, r: (c + r, c), x[0], x)[1],
         lambda x: jnp.cumsum(jnp.concatenate([x[:1], x]), 0)[:-1], False),
        (lambda x: x, lambda x: 1 / 0, False),
    ],
)  # fmt: skip
def test_what_counts_as_equivalent(solution: Any, mutant: Any, same: bool) -> None:
    assert (Reference(solution, asked(X)).difference(mutant) == "") == same


def test_dtypes_and_containers_vary_where_the_text_speaks_of_them() -> None:
    def narrow(x: jax.Array) -> jax.Array:
        return x.astype(jnp.float32)

    assert Reference(jnp.asarray, asked(X)).difference(narrow) == ""
    assert "other dtypes" in Reference(jnp.asarray, asked(X), "any dtype").difference(narrow)

    def lists(tree: Any) -> Any:
        return tree.copy() and [2 * leaf for leaf in tree]

    def trees(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: 2 * leaf, tree)

    assert Reference(trees, asked([X])).difference(lists) == ""
    assert "other containers" in Reference(trees, asked([X]), "any pytree").difference(lists)


def test_where_the_solution_raises_an_input_says_nothing() -> None:
    def solution(x: jax.Array) -> jax.Array:
        if x.shape != (2, 3):
            raise ValueError("other sizes")
        return x

    def mutant(x: jax.Array) -> jax.Array:
        return x if x.shape == (2, 3) else 0 * x

    assert Reference(solution, asked(X)).difference(mutant) == ""


def pair(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    return x + y, x - y


@pytest.mark.parametrize(
    ("mutant", "got"),
    [
        (wrappers.leaf_of_zeros(pair, 1), [[4.0], [0.0]]),
        (wrappers.leaves_exchanged(pair, 0, 1), [[2.0], [4.0]]),
        (wrappers.input_leaf_returned(pair, 0), [[3.0], [2.0]]),
        (wrappers.off_by_little(pair), [[4.004], [2.002]]),
        (wrappers.inside(wrappers.leaf_of_zeros, 0)(lambda x, y: pair)(1, 1), [[0.0], [2.0]]),
    ],
)
def test_a_mutant_of_behaviour(mutant: Any, got: list[float]) -> None:
    found = mutant(jnp.array([3.0]), jnp.array([1.0]))
    assert np.allclose(found, got)


def test_an_argument_is_frozen_for_each_shape() -> None:
    mutant = wrappers.fixed_argument(lambda x: x, 0)
    assert [float(mutant(jnp.float32(n))) for n in (1, 2)] == [1, 1]
    assert mutant(jnp.ones(2)).tolist() == [1, 1]


def test_special_values_are_wiped() -> None:
    odd = jnp.array([jnp.nan, jnp.inf, 2.0])
    assert wrappers.finite(lambda x: x)(odd).tolist() == [0, 0, 2]
    assert wrappers.finite_argument(lambda x: x, 0)(odd).tolist() == [0, 0, 2]
    assert wrappers.clipped(lambda x: x)(jnp.array([200.0])).tolist() == [100]


def test_a_result_is_remembered_by_shape() -> None:
    mutant = wrappers.remembered(lambda x: x)
    assert [float(mutant(jnp.float32(n))) for n in (1, 2)] == [1, 1]
    assert mutant(jnp.ones(2)).tolist() == [1, 1]


def test_arguments_are_changed_in_place() -> None:
    given: Any = [np.ones(2), {"a": jnp.ones(2)}, [1, 2]]
    mutant = wrappers.changed_in_place(lambda x: 2, 0)
    assert [mutant(one) for one in given] == [2, 2, 2]
    assert given[0].tolist() == [0, 0]
    assert given[1]["a"].tolist() == [0, 0]
    assert given[2] == [2, 1]


@pytest.mark.parametrize("what", ["shape", "dtype"])
def test_only_the_first_shape_or_dtype_is_accepted(what: str) -> None:
    mutant = wrappers.only_first(lambda x: x, what)
    mutant(jnp.ones(2))
    mutant(jnp.zeros(2))
    with pytest.raises(TypeError, match=what):
        mutant(jnp.ones(3) if what == "shape" else jnp.ones(2, jnp.int32))


# ---- right answers ----

SPELT = """\
import jax, jax.numpy as jnp

def f(x, w, key):
    keys = jax.random.split(key, 2)
    slope = jax.grad(lambda v: jnp.sum((x @ w - v) ** 2))(w.T[0, 0])
    total = jax.lax.scan(lambda c, row: (c + row.sum(), jnp.where(row > 0, -row, row)), slope, x)
    rows = jax.vmap(jnp.max)(x) + jnp.zeros_like(x[:, 0])
    noise = jax.random.normal(keys[0], ())
    return jax.tree.map(jnp.tanh, (total, rows, noise - noise))
"""


def test_every_rewriting_computes_the_same() -> None:
    made = list(rewritings("f", SPELT))
    changes = [mutant.change for mutant in made]
    for part in (*SHELLS, "with default arguments", "fold_in", "tree_util", "jacrev", "lax.map"):
        assert any(part in change for change in changes), part
    args = X, X.T.copy(), jax.random.key(7)
    wanted = jax.tree.leaves(_run(SPELT)(*args))
    for mutant in made:
        assert mutant.is_right
        got = jax.tree.leaves(_run(mutant.source)(*args))
        assert all(map(np.allclose, got, wanted)), mutant.change


def _run(source: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    return namespace["f"]


# ---- causes ----


def cause_on(check: Any, *args: Any, **kwargs: Any) -> named.Named:
    with named.noted() as causes:
        failure(check, *args, **kwargs)
    return causes[0]


CASES = [(X,), (X[:, :2] + 1,), (2 * X,)]


@pytest.mark.parametrize(
    ("mutant", "family", "true"),
    [
        (lambda x: 3 * jnp.sin(x), "a constant factor", True),
        (lambda x: -jnp.sin(x), "the sign is flipped", True),
        (lambda x: jnp.where(x.shape[1] < 4, 3, 2) * jnp.sin(x), "a constant factor", False),
        (jnp.cos, "a mistake of the author", True),
        (lambda x: jnp.where(x.size < 7, jnp.cos(x), 0), "a mistake of the author", False),
    ],
)
def test_a_named_cause_is_held_against_other_inputs(mutant: Any, family: str, true: bool) -> None:
    found = cause_on(check_values, mutant, np.sin, CASES, mistakes={"cosine for sine": np.cos})
    assert found.is_claim
    assert found.family == family
    reference = Reference(jnp.sin, [request for args in CASES for request in asked(*args)])
    assert named.holds(found, reference, mutant) is true


def test_a_statement_of_what_is_seen_is_no_claim() -> None:
    assert not cause_on(check_values, jnp.log, np.sin, CASES).is_claim
    assert not cause_on(check_values, lambda x: jnp.sin(x) ** 3 - x, np.sin, CASES).is_claim


def test_causes_are_counted_by_the_kind_of_mutant() -> None:
    flipped = "the sign is flipped"
    found = [("operator", flipped, true) for true in (True, False, None)]
    found.append(("constant", "a constant factor", True))
    assert named.table(found) == [
        ("constant", "a constant factor", 1, 1, 0),
        ("operator", flipped, 3, 1, 1),
    ]


# ---- a lesson with a hole ----

LESSON = '''\
# %% [markdown]
# # 0 · Holes
#
# A lesson for the tests.

# %%
import jax.numpy as jnp, numpy as np
from graders import check_values

# %% [markdown]
# ## Norms
# **Exercise** · 5 minutes · difficulty 1 of 5

# %% exercise="double"
def double(x):
    """Twice `x`."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %% [markdown] hints="double"
# <details><summary>Hint 1: the idea</summary>Add.</details>
# <details><summary>Hint 2: the API</summary>`+`</details>

# %% check="double" points=2
check_values(double, lambda x: 2 * x, {cases})
'''
NARROW, WIDE = (
    "[(np.ones(3, np.float32),)]",
    "[(np.float32(x),) for x in ([1, 512.3], [0, -7], [1, 2, 3])]",
)


@pytest.fixture(params=[NARROW, WIDE], ids=["narrow", "wide"])
def lesson_run(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[LessonRun, bool]:
    root = make_course(tmp_path, LESSON.replace("{cases}", request.param))
    for name in ("wrong.py", "right.py"):
        (root / "solutions/00_tiny" / name).unlink(missing_ok=True)
    return run_lesson(read_lesson(root / "solutions/00_tiny"), LocalPlace()), request.param == WIDE


def test_a_check_with_one_case_lets_wrong_answers_pass(lesson_run: tuple) -> None:
    run, wide = lesson_run
    bench = Bench(run, read_listed(run.lesson.path))
    found = [bench.tried(mutant) for mutant in mutants_of(run)]
    assert {one.verdict for one in found if one.mutant.is_right} <= {"accepted", "other"}
    survivors = {one.mutant.kind for one in found if one.verdict == "surviving"}
    assert {"operator", "constant"} <= {one.mutant.kind for one in found}
    if wide:
        assert survivors <= {"NaN and infinity wiped", "NaN and infinity wiped from an argument"}
    else:
        assert "clipped" in survivors
        assert "argument frozen" in survivors


def test_an_unknown_exercise_is_named(tmp_path: Path) -> None:
    root = make_course(tmp_path, LESSON.replace("{cases}", NARROW))
    for name in ("wrong.py", "right.py"):
        (root / "solutions/00_tiny" / name).unlink(missing_ok=True)
    command = [sys.executable, "-m", "graders", "mutate", "--exercise", "dubble"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 1
    assert "There is no exercise dubble in these lessons. Did you mean double?" in done.stderr


def test_the_command_prints_survivors_and_fails(tmp_path: Path) -> None:
    root = make_course(tmp_path, LESSON.replace("{cases}", NARROW))
    for name in ("wrong.py", "right.py"):
        (root / "solutions/00_tiny" / name).unlink(missing_ok=True)
    command = [sys.executable, "-m", "graders", "mutate", "--sample", "30"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "00_tiny double: clipped" in done.stdout
    assert "surviving" in done.stdout


def test_a_failure_of_mutate_itself_is_not_taken_for_an_endless_loop() -> None:
    mutant = Mutant("f", "operator", "x + 1 -> x - 1", "f = 1")
    ours, theirs = multiprocessing.Pipe()
    theirs.send(("begin", 0, mutant))
    theirs.send(("failed", "Traceback: KeyError"))
    with pytest.raises(RuntimeError, match="KeyError"):
        run._collect(ours, {})


def test_a_process_that_ends_in_a_mutant_counts_as_a_timeout() -> None:
    mutant, tried = Mutant("f", "operator", "x + 1 -> x - 1", "f = 1"), {}
    ours, theirs = multiprocessing.Pipe()
    theirs.send(("begin", 0, mutant))
    theirs.close()
    assert not run._collect(ours, tried)
    assert tried[0].verdict == "timeout"


LOOP = """\
    n, total = 0, 0 * x
    while n < 2:
        n += 1
        total = total + x
    return total
"""


def test_a_mutant_that_loops_without_end_is_ended_by_its_limit(tmp_path: Path) -> None:
    looping = LESSON.replace("{cases}", NARROW).replace("    return 2 * x\n", LOOP)
    folder = make_course(tmp_path, looping) / "solutions/00_tiny"
    for name in ("wrong.py", "right.py"):
        (folder / name).unlink()
    mutants = list(mutants_of(run_lesson(read_lesson(folder), LocalPlace())))
    (endless,) = (i for i, one in enumerate(mutants) if "n += 1 -> n -= 1" in one.change)
    after = min(set(range(endless + 1, len(mutants))))
    others = set(range(len(mutants))) - {endless, after}
    tried: dict[int, run.Tried] = {}
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    task = run.Task(folder, limit=1.0)
    worker = context.Process(target=run._work, args=(task, others, theirs))
    worker.start()
    theirs.close()
    assert not run._collect(ours, tried)
    worker.join()
    assert worker.exitcode == -signal.SIGPROF
    assert {i: one.verdict for i, one in tried.items()} == {endless: "timeout"}
