"""check_training: a falling loss, a score, and the same run twice."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graders import check_training
from graders.tests.failing import failure

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
W = np.array([1.0, -2.0, 0.5], np.float32)
drift = iter(range(1000))


class Fitted(NamedTuple):
    params: dict
    losses: Any


def trained(key, x, sign=-1.0, rate=0.1, start=0.1, noise=0.0):
    y = x @ W

    def loss_fn(params):
        return jnp.mean((x @ params["w"] - y) ** 2)

    def step(params, _):
        loss, grads = jax.value_and_grad(loss_fn)(params)
        return jax.tree.map(lambda p, g: p + sign * rate * g, params, grads), loss

    params = {"w": start * jax.random.normal(key, (3,)) + noise}
    return jax.lax.scan(step, params, None, length=50)


def history(result):
    return result[1]


def score(result):
    return 1 - np.abs(result[0]["w"] - W).max()


DEMANDS = {"losses": history, "score": score, "at_least": 0.95}


def test_a_run_that_learns_passes() -> None:
    check_training(trained, KEY, X, **DEMANDS)
    check_training(jax.jit(trained), KEY, X, **DEMANDS)


def test_a_named_tuple_is_a_dict_of_its_fields() -> None:
    check_training(
        lambda key, x: Fitted(*trained(key, x)), KEY, X, losses=lambda result: result["losses"]
    )


WRONG: dict[str, tuple[Any, str]] = {
    "uphill": (lambda key, x: trained(key, x, sign=1.0, rate=0.01), "the loss rises"),
    "not updated": (lambda key, x: trained(key, x, sign=0.0), "the parameters are not updated"),
    "too small a step": (lambda key, x: trained(key, x, rate=1e-4), "the loss hardly falls"),
    "diverging": (
        lambda key, x: trained(key, x, rate=1e4),
        "the loss is not a finite number from entry",
    ),
    "half trained": (lambda key, x: trained(key, x, rate=0.03), "the loss falls, and the score is"),
    "host random numbers": (
        lambda key, x: trained(key, x, noise=1e-3 * next(drift)),
        "a second run with the same arguments gives another result",
    ),
    "other parameters": (
        lambda key, x: (trained(key, x)[0]["w"], trained(key, x)[1]),
        "the trained parameters cannot be used",
    ),
    "no history": (lambda key, x: (trained(key, x)[0], 0.0), "holds no history of losses"),
    "one array": (lambda key, x: x[0, 0], "holds no history of losses"),
    "one loss": (lambda key, x: (trained(key, x)[0], x[0, :1]), "holds no history of losses"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_run_that_does_not_learn_is_named(name: str) -> None:
    f, says = WRONG[name]
    assert says in failure(check_training, f, KEY, X, **DEMANDS).diagnosis


def test_one_run_may_be_enough() -> None:
    f, _ = WRONG["host random numbers"]
    check_training(f, KEY, X, **DEMANDS, twice=False)


def test_the_words() -> None:
    failed = failure(check_training, WRONG["half trained"][0], KEY, X, **DEMANDS)
    assert failed.requirement == "learns, reproducibly"
    assert failed.expected == "at least 0.950"
