"""check_batched: a function for one example, mapped over a batch along any axis."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graders import check_batched, sweep
from graders.tests.failing import failure

W, X = (np.random.default_rng(0).normal(size=s).astype(np.float32) for s in ((3, 4, 2), (3, 4)))
EXAMPLES = list(zip(W, X, strict=True))


def layer(w, x):
    return jnp.tanh(x @ w)


def by_hand(w, x):
    return np.tanh(sum(x[i] * w[i] for i in range(len(x))))


RIGHT: dict[str, Any] = {
    "a layer": layer,
    "under jit": jax.jit(layer),
    "a gradient": jax.grad(lambda w, x: layer(w, x).sum()),
    "a tree": lambda w, x: {"a": (w @ w.T, x.sum()), "b": x},
    "a scan": lambda w, x: jax.lax.scan(lambda c, row: (c + row, c), 0.0 * x[:2], w)[1],
    "a cond": lambda w, x: jax.lax.cond(x[0] > 0, jnp.sin, jnp.cos, x),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_function_of_one_example_passes(name: str) -> None:
    check_batched(RIGHT[name], EXAMPLES)


def test_an_oracle_and_keys() -> None:
    check_batched(layer, EXAMPLES, oracle=by_hand)
    keys = [(jax.random.key(seed),) for seed in range(3)]
    check_batched(lambda key: jax.random.normal(key, (4,)), keys)


def test_trees_of_arguments() -> None:
    tree = {"w": "rows columns", "b": "columns"}
    first = sweep(tree, "rows", count=1)[0]
    other = jax.tree.map(lambda leaf: leaf + 1, first)
    check_batched(lambda p, x: x @ p["w"] + p["b"], [first, other])


WRONG: dict[str, tuple[Any, str]] = {
    "written for a batch": (
        lambda w, x: jnp.einsum("bio,bi->bo", w[None], x[None]),
        "mapped over a batch it returns shape (3, 1, 2), instead of (3, 2)",
    ),
    "another value": (
        lambda w, x: jnp.tanh(x @ w) / 2,
        "example 0 of the batch gets another result than it gets alone",
    ),
    "another structure": (lambda w, x: (x, x), "the result for one example has another structure"),
    "an if": (lambda w, x: x @ w if x[0] > 0 else -x @ w, "a Python `if` or `while`"),
    "NumPy": (lambda w, x: np.tanh(x @ w), "a NumPy function was given a traced array"),
    "nothing": (lambda w, x: None, "another structure"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_function_that_cannot_be_mapped_is_named(name: str) -> None:
    f, says = WRONG[name]
    assert says in failure(check_batched, f, EXAMPLES, oracle=by_hand).diagnosis


def test_a_result_that_the_axis_decides_is_named() -> None:
    """A function that reads the name of its mapped axis is no function of one example."""
    seen: list[int] = []

    def drifting(x):
        seen.append(0)
        return x * len(seen)

    examples = [(X[0],), (X[1],)]
    assert (
        "another result than it gets alone" in failure(check_batched, drifting, examples).diagnosis
    )


def test_the_words() -> None:
    failed = failure(check_batched, lambda w, x: -layer(w, x), EXAMPLES, oracle=by_hand)
    assert failed.requirement == "works under vmap"
    assert failed.at.startswith("in_axes=(0, 0): w = ")
