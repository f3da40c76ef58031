"""check_keys: what a function does with its key."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graders import check_keys
from graders.tests.failing import failure

KEY = jax.random.key(0)
X = np.linspace(1, 2, 30, dtype=np.float32)
calls = iter(range(1000))


def two(key):
    one, other = jax.random.split(key)
    return jax.random.normal(one, (20,)), jax.random.normal(other, (20,))


def layers(key):
    keys = jax.random.split(key, 2)
    return [
        {"w": jax.random.normal(k, (4, 4)) * scale, "b": jnp.zeros(4)}
        for k, scale in zip(keys, (0.1, 2.0), strict=True)
    ]


def split_rows(key):
    return jax.vmap(lambda k: jax.random.normal(k, (6,)))(jax.random.split(key, 3))


def shared_rows(key):
    return jax.vmap(lambda k, i: jax.random.normal(k, (6,)), in_axes=(None, 0))(key, jnp.arange(3))


def parent_after_fold(key):
    child = jax.random.fold_in(key, 1)
    return jax.random.normal(key, (9,)), jax.random.uniform(child, (9,))


def handed_on(key):
    key, subkey = jax.random.split(key)
    return key, jax.random.normal(subkey)


RIGHT: dict[str, Any] = {
    "split": two,
    "under jit": jax.jit(two),
    "parameters, constant biases": layers,
    "rows of their own": split_rows,
    "parent used after fold_in": parent_after_fold,
    "new key handed on": handed_on,
    "a scalar": lambda key: jax.random.normal(jax.random.split(key)[1]),
    "a permutation": lambda key: jax.random.permutation(key, 10),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_good_use_of_keys_passes(name: str) -> None:
    check_keys(RIGHT[name], KEY, rows=name.startswith("rows"))


def test_the_key_may_stand_anywhere_and_arguments_may_be_returned() -> None:
    check_keys(lambda x, key: (x, x + jax.random.normal(key, x.shape)), X, KEY, key=1)


def legacy(key):
    raw = jax.random.PRNGKey(jax.random.bits(key))
    return jax.random.normal(raw, (20,)), jax.random.uniform(raw, (20,))


def made_twice(key):
    seed = jax.random.bits(key)
    return jax.random.normal(jax.random.key(seed), (8,)), jax.random.normal(
        jax.random.key(seed), (5,)
    )


WRONG: dict[str, tuple[Any, str]] = {
    "reused": (
        lambda key: (jax.random.normal(key, (3,)), jax.random.uniform(key, (3,))),
        "a key is used twice",
    ),
    "drawn from after the split": (
        lambda key: (jax.random.split(key)[0], jax.random.normal(key, (3,))),
        "a key is used twice",
    ),
    "reused inside jit": (
        jax.jit(lambda key: jax.random.normal(key, (3,)) + jax.random.normal(key, (3,))),
        "a key is used twice",
    ),
    "closed over in a scan": (
        lambda key: jax.lax.scan(lambda c, _: (c, jax.random.normal(key)), 0.0, None, length=5)[1],
        "a key is used twice",
    ),
    "reused by code that has no trace": (
        lambda key: [jax.random.normal(key) for _ in range(2 + int(jax.random.bits(key)) % 2)],
        "a key is used twice",
    ),
    "a key of its own": (
        lambda key: jax.random.normal(jax.random.key(0), (5,)),
        "the numbers do not depend on the key",
    ),
    "no randomness": (lambda key: jnp.zeros(5), "the numbers do not depend on the key"),
    "half from a key of its own": (
        lambda key: {
            "w": jax.random.normal(key, (5,)),
            "b": jax.random.normal(jax.random.key(1), (5,)),
        },
        "['b'] does not depend on the key",
    ),
    "NumPy": (
        lambda key: jnp.asarray(np.random.normal(size=5)),
        "the same key gives other numbers at a second call",
    ),
    "a counter": (
        lambda key: jax.random.normal(jax.random.fold_in(key, next(calls)), (5,)),
        "the same key gives other numbers at a second call",
    ),
    "the given key handed back": (
        lambda key: (key, jax.random.normal(jax.random.fold_in(key, 0), (5,))),
        "it hands back the key that it was given",
    ),
    "legacy keys, other distributions": (legacy, "[0] and [1] are in the same order"),
    "one seed, two keys": (made_twice, "two draws coincide: [0] and [1] are equal"),
    "one seed, other scale": (
        lambda key: (
            lambda s: (
                2 + 3 * jax.random.normal(jax.random.key(s), (8,)),
                jax.random.normal(jax.random.key(s), (8,)),
            )
        )(jax.random.bits(key)),
        "[0] and [1] are the same numbers, scaled or shifted",
    ),
}


def test_the_reuse_checker_has_nothing_compiled_a_second_time() -> None:
    """A program that is compiled under the checker is not the one that is compiled without."""
    events: list[str] = []

    def listener(event: str, *_: Any, **__: Any) -> None:
        events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        check_keys(lambda key: jax.random.laplace(key, (7, 11)), KEY)
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
    assert sum("backend_compile" in event for event in events) == 1


@pytest.mark.parametrize("name", WRONG)
def test_a_bad_use_of_keys_is_named(name: str) -> None:
    f, says = WRONG[name]
    assert says in failure(check_keys, f, KEY).diagnosis


def test_a_key_shared_across_vmap_shows_in_the_rows() -> None:
    check_keys(shared_rows, KEY)  # the checker misses it
    says = "two draws coincide: the result, row 0 and the result, row 1 are equal"
    assert says in failure(check_keys, shared_rows, KEY, rows=True).diagnosis


def test_the_words_of_a_reused_key() -> None:
    failed = failure(check_keys, WRONG["reused"][0], KEY)
    assert failed.requirement == "draws from its key, and from no key twice"
    assert "jax.random.split(key)" in failed.next_step


def test_an_error_is_named() -> None:
    assert failure(check_keys, lambda key: key + 1, KEY).diagnosis


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from((4, 9, 40)))
def test_independent_draws_never_coincide(seed: int, size: int) -> None:
    def drawn(key):
        keys = jax.random.split(jax.random.fold_in(key, seed), 3)
        return [jax.random.normal(keys[i], (n,)) for i, n in enumerate((size, size, 40))]

    check_keys(drawn, KEY)
