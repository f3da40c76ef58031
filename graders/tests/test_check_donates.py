"""check_donates: which arguments a compiled function donates, and whether that saves memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graders import check_donates, result_of, through
from graders.card.messages import REQUIREMENTS
from graders.tests.failing import failure

X, Y = np.ones((3, 4), np.float32), np.ones(4, np.float32)
TREE = {"w": np.ones((4, 2), np.float32), "b": np.ones(2, np.float32)}

NOT_COMPILED = (
    "it is not compiled: nothing can be donated to a function that is not under `jax.jit`"
)
NOT_DONATED = "argument {!r} is not donated: old and new arrays are in memory at the same time"
WRONGLY = "argument {!r} is donated, and the caller still needs it"
IN_VAIN = "the donated memory is not reused: no result has the shape and dtype of what was donated"


def step(params, grads):
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)


def add(x, y):
    return x + y


def both(x, y):
    return x + 1, y + 1


RIGHT: dict[str, tuple[Any, tuple, tuple[int, ...]]] = {
    "by position": (jax.jit(add, donate_argnums=0), (X, Y), (0,)),
    "by name": (jax.jit(add, donate_argnames="x"), (X, Y), (0,)),
    "decorated": (partial(jax.jit, donate_argnums=(0,))(add), (X, Y), (0,)),
    "two arguments": (jax.jit(both, donate_argnums=(0, 1)), (X, Y), (0, 1)),
    "the second": (jax.jit(lambda x, y: x.sum() + y, donate_argnums=1), (X, Y), (1,)),
    "a pytree": (jax.jit(step, donate_argnums=0), (TREE, TREE), (0,)),
    "none, as asked": (jax.jit(add), (X, Y), ()),
    "another place in the result": (
        jax.jit(lambda x, y: (y.sum(), {"x": x * y}), donate_argnums=0),
        (X, Y),
        (0,),
    ),
    "no array twice": (jax.jit(add, donate_argnums=0), (jnp.asarray(X), jnp.asarray(Y)), (0,)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_asked_for_and_reused_passes(name: str) -> None:
    f, args, donated = RIGHT[name]
    check_donates(f, *args, donated=donated)
    check_donates(f, *args, donated=donated)


def test_the_first_argument_is_meant_by_default() -> None:
    check_donates(jax.jit(add, donate_argnums=0), X, Y)
    assert failure(check_donates, jax.jit(add), X, Y).diagnosis == NOT_DONATED.format("x")


def kept_under_a_wrapper(x, y):
    return jax.jit(add, donate_argnums=0)(x, y)


WRONG: dict[str, tuple[Callable, tuple, tuple[int, ...], str]] = {
    "not jitted": (add, (X, Y), (0,), NOT_COMPILED),
    "not jitted, and nothing to donate": (add, (X, Y), (), NOT_COMPILED),
    "jitted inside": (kept_under_a_wrapper, (X, Y), (0,), NOT_COMPILED),
    "not donated": (jax.jit(add), (X, Y), (0,), NOT_DONATED.format("x")),
    "the second not donated": (
        jax.jit(both, donate_argnums=0),
        (X, Y),
        (0, 1),
        NOT_DONATED.format("y"),
    ),
    "another one donated": (
        jax.jit(add, donate_argnums=1),
        (X, X),
        (0,),
        NOT_DONATED.format("x"),
    ),
    "one too many": (jax.jit(both, donate_argnums=(0, 1)), (X, Y), (0,), WRONGLY.format("y")),
    "one instead of none": (jax.jit(add, donate_argnums=0), (X, Y), (), WRONGLY.format("x")),
    "one too many, by name": (
        jax.jit(both, donate_argnames=("x", "y")),
        (X, Y),
        (1,),
        WRONGLY.format("x"),
    ),
    "in vain: a cast": (
        jax.jit(lambda x, y: (x + y).astype(jnp.bfloat16), donate_argnums=0),
        (X, Y),
        (0,),
        IN_VAIN,
    ),
    "in vain: another shape": (
        jax.jit(lambda x, y: x.sum(0) + y, donate_argnums=0),
        (X, Y),
        (0,),
        IN_VAIN,
    ),
    "in vain: the second": (
        jax.jit(lambda x, y: (x + 1, y.sum()), donate_argnums=(0, 1)),
        (X, Y),
        (0, 1),
        IN_VAIN,
    ),
    "in vain: a part of a pytree": (
        jax.jit(
            lambda p, g: {"w": p["w"] - g["w"], "b": (p["b"] - g["b"]).astype(jnp.bfloat16)},
            donate_argnums=0,
        ),
        (TREE, TREE),
        (0,),
        IN_VAIN,
    ),
}


@pytest.mark.filterwarnings("ignore:Some donated buffers were not usable")
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str) -> None:
    f, args, donated, says = WRONG[name]
    assert failure(check_donates, f, *args, donated=donated).diagnosis == says


@pytest.mark.filterwarnings("ignore:Some donated buffers were not usable")
@pytest.mark.parametrize(
    ("reused", "function"),
    [
        (0, lambda p, g: {"w": p["w"].sum(), "b": p["b"].sum()}),
        (8, lambda p, g: {"w": p["w"].sum(), "b": p["b"] - g["b"]}),
        (32, lambda p, g: {"w": p["w"] - g["w"], "b": p["b"].sum()}),
    ],
)
def test_the_bytes_are_shown(reused: int, function: Callable) -> None:
    """8 x 4 bytes of weights and 2 x 4 of biases."""
    failed = failure(check_donates, jax.jit(function, donate_argnums=0), TREE, TREE)
    assert failed.diagnosis == IN_VAIN
    assert failed.expected == "40 bytes reused"
    assert failed.got == f"{reused} bytes reused"
    assert "Look for a cast" in failed.next_step


def test_the_words() -> None:
    failed = failure(check_donates, add, X, Y)
    assert failed.requirement == REQUIREMENTS["check_donates"]
    assert failed.next_step == ("Decorate the definition: `@partial(jax.jit, donate_argnums=...)`.")
    failed = failure(check_donates, jax.jit(add), X, Y)
    assert "`donate_argnums` (by position) or `donate_argnames`" in failed.next_step
    failed = failure(check_donates, jax.jit(both, donate_argnums=(0, 1)), X, Y)
    assert failed.next_step.startswith("Donate only what the call replaces")


def test_the_arguments_are_there_after_the_check() -> None:
    given = jnp.arange(3.0)
    check_donates(jax.jit(add, donate_argnums=0), given, given + 1)
    assert given.tolist() == [0, 1, 2]


def test_a_function_that_is_returned_or_called_through_another_one() -> None:
    check_donates(result_of(lambda f: jax.jit(f, donate_argnums=0), add), X, Y)
    through_ours = through(lambda f, x, y: f(x, y), jax.jit(add, donate_argnums=0))
    assert failure(check_donates, through_ours, X, Y).diagnosis == NOT_COMPILED
