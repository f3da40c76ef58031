"""check_traces: how often the Python body runs, and what made it run again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graders import check_traces, result_of, through
from graders.tests.failing import failure

X, Y = np.ones(3, np.float32), np.ones(4, np.float32)
TWICE = [(X,), (X,)]


def double(x):
    return 2 * x


compiled = jax.jit(double)
power = jax.jit(lambda x, n: x**n, static_argnums=1)


class Layer:
    def __call__(self, x):
        return 2 * x


RIGHT = {
    "@jit": (compiled, TWICE),
    "@partial(jit, ...)": (partial(jax.jit, static_argnames="n")(lambda x, n: x**n), [(X, 2)] * 2),
    "jit of a vmap": (jax.jit(jax.vmap(double)), TWICE),
    "jit of a grad": (jax.jit(jax.grad(lambda x: (x**2).sum())), TWICE),
    "vmap of a jit": (jax.vmap(compiled), TWICE),
    "jit of a method": (jax.jit(Layer().__call__), TWICE),
    "jit that calls a jit": (jax.jit(lambda x: compiled(x) + 1), TWICE),
    "other values": (compiled, [(X,), (2 * X,), (3 * X,)]),
    "Python numbers": (compiled, [(1.0,), (2.0,)]),
    "static value kept": (power, [(X, 2)] * 3),
    "two calls inside": (through(lambda f, x: f(x) + f(x), compiled), TWICE),
    "returned by a function": (result_of(jax.jit, double), TWICE),
    "returned closure under jit": (
        result_of(lambda scale: jax.jit(lambda x: scale * x), 2.0),
        TWICE,
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_function_that_is_traced_once_passes(name: str) -> None:
    f, calls = RIGHT[name]
    check_traces(f, calls)
    check_traces(f, calls)  # the first check leaves nothing cached for the second


def test_as_many_traces_as_there_are_shapes() -> None:
    check_traces(compiled, [(X,), (Y,), (X,), (Y,)], at_most=2)


def jit_inside(x):
    return jax.jit(lambda y: 2 * y)(x)


def closure() -> Callable:
    inner = jax.jit(double)
    return lambda x: inner(x)


ALIKE = "it is traced again at each call, or not compiled at all"
WRONG = {
    "undecorated": (double, TWICE, ALIKE),
    "jit inside": (jit_inside, TWICE, ALIKE),
    "grad alone": (jax.grad(lambda x: (x**2).sum()), TWICE, ALIKE),
    "NumPy": (lambda x: np.sin(x), TWICE, ALIKE),
    "a Python function around a jitted one": (closure(), TWICE, ALIKE),
    "undecorated, two shapes": (double, [(X,), (Y,), (X,)], ALIKE),
    "another shape": (compiled, [(X,), (Y,)], "what changed was the shape, (3,) and then (4,)"),
    "another dtype": (
        compiled,
        [(X,), (X.astype(int),)],
        "what changed was the dtype, float32 and then int",
    ),
    "weak type": (compiled, [(1.0,), (np.float32(1),)], "a weak type"),
    "static value": (power, [(X, 2), (X, 3)], "what changed was a number, 2 and then 3"),
    "static string": (
        jax.jit(lambda x, how: x, static_argnums=1),
        [(X, "up"), (X, "down")],
        "what changed was a value",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_function_that_is_traced_again_is_named(name: str) -> None:
    f, calls, says = WRONG[name]
    assert says in failure(check_traces, f, calls).diagnosis


def test_the_words_of_too_many_traces() -> None:
    failed = failure(check_traces, jit_inside, [(X,)] * 3)
    assert failed.requirement == "is not retraced needlessly"
    assert failed.diagnosis.endswith("its Python body ran 3 times in 3 calls that are alike")
    assert (failed.expected, failed.got) == ("at most 1 in 3 calls", "3")
    assert "`@jax.jit` on the definition" in failed.next_step


def test_a_function_without_python_is_named() -> None:
    assert "not seen to run at all" in failure(check_traces, np.sin, TWICE).diagnosis


def test_an_error_in_a_call_is_named() -> None:
    failed = failure(check_traces, jax.jit(lambda x: x if x.sum() > 0 else -x), TWICE)
    assert "a Python `if` or `while` looks at a traced value" in failed.diagnosis
    failed = failure(check_traces, jax.jit(lambda x, n: x, static_argnums=1), [(X, [1])])
    assert "a static argument is an array or a list" in failed.diagnosis


def test_counting_does_not_disturb_what_is_compiled() -> None:
    runs = []
    counted = jax.jit(lambda x: runs.append(0) or jnp.sin(x))
    counted(X)
    check_traces(counted, TWICE)
    seen = len(runs)
    counted(X)
    assert len(runs) == seen
