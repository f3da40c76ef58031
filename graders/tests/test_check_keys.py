"""check_keys: what a function does with its key."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.random import wrap_key_data
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from graders import check_keys
from graders.probes import PROBES
from graders.probes.keys import KeyUses, key_uses
from graders.tests.failing import failure
from graders.values import key_words
from graders.values.jax_internals import KeyUse

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


MESH = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)


def on_devices(body, *args):
    """What each device along "data" adds to its rows; `args` are whole on all of them."""
    specs = (*(P() for _ in args), P("data"))
    mapped = jax.shard_map(body, mesh=MESH, in_specs=specs, out_specs=P("data"))
    return mapped(*args, jnp.zeros((8, 6)))


def walk(key):
    keys = jax.random.split(key, 5)

    def step(x, i):
        move, accept = jax.random.split(keys[i])
        x = jnp.where(jax.random.uniform(accept, (6,)) < 0.7, x + jax.random.normal(move, (6,)), x)
        return x, x

    return jax.lax.scan(step, jnp.zeros(6), jnp.arange(5))[1]


def walk_by_pairs(key):
    keys = jax.random.split(key, (5, 2))

    def step(i, x):
        return x * jax.random.uniform(keys[i, 1], (6,)) + jax.random.normal(keys[i, 0], (6,))

    return jax.lax.fori_loop(0, 5, step, jnp.zeros(6))


def without_replacement(key):
    keys = jax.random.split(key, 4)

    def step(left, i):
        chosen = jax.random.categorical(keys[i], left)
        return left.at[jnp.arange(8), chosen].set(-jnp.inf), chosen

    return jax.lax.scan(step, jnp.zeros((8, 9)), jnp.arange(4))[1].T


def mapped_members(key):
    keys = jax.random.split(key, 3)
    return jax.lax.map(lambda i: jax.random.normal(keys[i], (6,)), jnp.arange(3))


def named_members(key):
    members = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(3))
    return [
        {name: jax.random.normal(jax.random.fold_in(members[i], ord(name)), (6,)) for name in "wb"}
        for i in range(3)
    ]


def folded_rows(key):
    keys = jax.random.split(key, 2)
    return [
        jnp.stack([jax.random.normal(jax.random.fold_in(keys[i], row), (6,)) for row in range(3)])
        for i in range(2)
    ]


def grid_of_keys(key):
    keys = jax.random.split(key, (2, 3))
    return [jnp.stack([jax.random.normal(keys[i][j], (6,)) for j in range(3)]) for i in range(2)]


def stacked_keys(key):
    keys = jnp.stack([jax.random.fold_in(key, i) for i in range(3)])
    return [jax.random.normal(keys[i], (6,)) for i in range(3)]


def key_of_the_device(key):
    def body(keys, part):
        return part + jax.random.normal(keys[jax.lax.axis_index("data")], part.shape)

    return on_devices(body, jax.random.split(key, 4))


def split_on_all_devices(key):
    def body(keys, part):
        halves = jax.random.split(keys[1])
        own = jax.random.fold_in(halves[0], jax.lax.axis_index("data"))
        return part + jax.random.normal(own, part.shape)

    return on_devices(body, jnp.flip(jax.random.split(key)))


def until_accepted(key):
    """Rows that have finished are computed on, with the keys that they had."""
    keys = jnp.flip(jax.random.split(key, 5))

    def one(key):
        def body(state):
            key, _ = state
            key, subkey = jax.random.split(key)
            return key, jax.random.uniform(subkey)

        return jax.lax.while_loop(lambda state: state[1] < 0.8, body, (key, 0.0))[1]

    return jax.vmap(one)(keys)


def clones(key):
    keys = [jnp.flip(jax.random.split(jax.random.clone(key), 3)) for _ in range(2)]
    return jax.random.normal(keys[0][0], (6,)), jax.random.bernoulli(keys[1][0], 0.5, (9,))


def rematerialised(key):
    def layer(x, i):
        def f(x):
            return jnp.sin(x * jax.random.normal(keys[i], (6,)))

        return jax.checkpoint(f)(x), None

    keys = jax.random.split(key, 3)
    return jax.grad(lambda x: jax.lax.scan(layer, x, jnp.arange(3))[0].sum())(jnp.ones(6))


def no_trace_and_flipped(key):
    keys = jax.random.split(key, 3)
    count = 4 + int(jax.random.bits(keys[0])) % 2
    return [jax.random.normal(jnp.flip(keys)[i], (count,)) for i in range(2)]


FALSE_ALARMS = [
    walk, walk_by_pairs, without_replacement, mapped_members, named_members, folded_rows,
    grid_of_keys, stacked_keys, key_of_the_device, split_on_all_devices, until_accepted, clones,
    rematerialised, no_trace_and_flipped,
]  # fmt: skip


@pytest.mark.parametrize("f", FALSE_ALARMS)
def test_keys_of_their_own_pass_although_jax_suspects_them(f) -> None:
    check_keys(f, KEY, rows=f in (walk, mapped_members, folded_rows, key_of_the_device))
    check_keys(jax.jit(f) if f is not no_trace_and_flipped else f, KEY)


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
    "closed over in a fori_loop": (
        lambda key: jax.lax.fori_loop(0, 3, lambda i, x: x * 2 + jax.random.normal(key), 0.0),
        "a key is used twice",
    ),
    "a draw that is thrown away": (
        jax.jit(lambda key: (jax.random.normal(key, (3,)), jax.random.uniform(key))[0]),
        "a key is used twice",
    ),
    "drawn from after the split, without the children": (
        lambda key: (jax.random.normal(key, (3,)), jax.random.split(key))[0],
        "a key is used twice",
    ),
    "split twice": (
        lambda key: [jax.random.normal(jax.random.split(key)[0], (3,)) for _ in range(2)],
        "a key is used twice",
    ),
    "two draws in a gradient": (
        lambda key: jax.grad(
            lambda x: (jax.random.normal(key, (3,)) * x * jax.random.uniform(key)).sum()
        )(1.0),
        "a key is used twice",
    ),
    "one key in two rows of vmap": (
        lambda key: jax.vmap(jax.random.normal)(jnp.stack([key, key])),
        "a key is used twice",
    ),
    "in the children of an index": (
        lambda key: (lambda keys: [jax.random.normal(keys[i // 2], (3,)) for i in range(4)])(
            jax.random.split(key)
        ),
        "a key is used twice",
    ),
    "the same index in each turn": (
        lambda key: (
            lambda keys: jax.lax.map(lambda i: jax.random.normal(keys[i // 2], (3,)), jnp.arange(4))
        )(jax.random.split(key)),
        "a key is used twice",
    ),
    "on each device": (
        lambda key: on_devices(
            lambda keys, part: (
                (lambda mine: jax.random.normal(mine, (2, 6)) * jax.random.normal(mine, (2, 6)))(
                    keys[jax.lax.axis_index("data")]
                )
                + part
            ),
            jax.random.split(key, 4),
        ),
        "a key is used twice",
    ),
    "outside and on the devices": (
        lambda key: (
            on_devices(
                lambda key, part: (
                    part + jax.random.normal(jax.random.split(key, 4)[jax.lax.axis_index("data")])
                ),
                key,
            )
            * jax.random.normal(key)
        ),
        "a key is used twice",
    ),
    "within one clone": (
        lambda key: [
            jax.random.normal(jax.random.fold_in(jax.random.clone(key), i), (3,))
            + (lambda k: jax.random.normal(k) * jax.random.uniform(k))(
                jax.random.fold_in(jax.random.clone(key), 9 + i)
            )
            for i in range(2)
        ],
        "a key is used twice",
    ),
    "turned round": (
        lambda key: (lambda x: (x, x[::-1]))(jax.random.normal(key, (9,))),
        "[0] and [1] are the same numbers in another order",
    ),
    "rolled": (
        lambda key: (lambda x: (x, 0 + jnp.roll(x, 2)))(jax.random.normal(key, (5,))),
        "[0] and [1] are the same numbers in another order",
    ),
    "one order, rolled": (
        lambda key: [jnp.roll(jax.random.permutation(key, 30), i) for i in range(3)],
        "a key is used twice",
    ),
    "one order, drawn once, rolled": (
        lambda key: (lambda x: (x, jnp.roll(x, -3)))(jax.random.permutation(key, 30)),
        "[0] and [1] are the same numbers, rotated",
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


def test_one_number_for_a_row_is_named() -> None:
    def one_a_row(key):
        return jnp.ones((3, 5)) + jax.random.normal(key, (3, 1))

    check_keys(one_a_row, KEY)
    says = "all numbers of the result, row 0 are equal: one was drawn for all of them"
    assert says in failure(check_keys, one_a_row, KEY, rows=True).diagnosis


def test_rows_that_are_constant_for_any_key_pass() -> None:
    """Units that are dropped, or all kept."""

    def dropped(key):
        return jax.random.normal(key, (4, 5)).at[jnp.array([0, 3])].set(0.0).at[1].set(2.0)

    check_keys(dropped, KEY, rows=True)


def test_shuffled_numbers_pass() -> None:
    """The same numbers in another order, which no key has drawn."""

    def shuffled(key):
        return [jax.random.permutation(k, jnp.asarray(X)) for k in jax.random.split(key)]

    check_keys(shuffled, KEY)


def test_words_are_asked_only_of_what_jax_suspects(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr("graders.probes.keys.record_of", lambda f, *_: asked.append(f))
    key_uses(two, KEY, key=0)
    assert not asked
    key_uses(walk, KEY, key=0)
    assert len(asked) == 1


def test_it_is_the_words_that_are_judged_and_not_what_is_said_of_them(monkeypatch) -> None:
    """A process that says nothing is suspected has sent what shows that a key is used twice."""
    reuses = WRONG["reused"][0]
    record = key_words.record_of(reuses, KEY)
    assert key_words.is_used_twice(record)
    for suspected in (False, True):
        told = KeyUses(suspected, record)
        monkeypatch.setitem(PROBES, "key_uses", lambda *_, told=told, **__: told)
        assert failure(check_keys, reuses, KEY).diagnosis.startswith("a key is used twice")


@pytest.mark.parametrize("words", [np.zeros((3, 2), np.int64), np.zeros(2, np.uint32)])
def test_words_of_no_key_are_refused(monkeypatch, words: np.ndarray) -> None:
    record = key_words.KeyRecord([KeyUse(0, -1, words, words)], 0, 0)
    assert not record.is_valid
    monkeypatch.setitem(PROBES, "key_uses", lambda *_, **__: KeyUses(True, record))
    assert "sent" in failure(check_keys, two, KEY).diagnosis


def test_a_constant_is_not_drawn_whatever_is_said_of_it(monkeypatch) -> None:
    monkeypatch.setitem(PROBES, "key_uses", lambda *_, **__: KeyUses(False, None))
    assert failure(check_keys, lambda key: jnp.arange(8.0), KEY)


def names_threefry(key):
    words = jax.random.key_data(jnp.flip(jax.random.split(key))[0])
    jnp.stack([key, jax.random.wrap_key_data(words)])
    return jax.random.normal(key, (5,))


def wrapped_again(key):
    again = jax.random.wrap_key_data(jax.random.key_data(key))
    return jax.random.normal(again, (9,)), jax.random.bernoulli(again, 0.5, (64,))


def split_of_wrapped_again(key):
    again = jax.random.split(jax.random.wrap_key_data(jax.random.key_data(key)))[0]
    return jax.random.normal(again, (9,)), jax.random.bernoulli(again, 0.5, (64,))


def wrapped_again_beside_others(key):
    one, other = jax.random.split(key)
    again = jax.random.wrap_key_data(jax.random.key_data(other))
    drawn = jax.random.normal(again, (9,)), jax.random.bernoulli(again, 0.5, (64,))
    return jax.random.normal(one, (5,)), drawn


def imported_before(key):
    again = wrap_key_data(jax.random.key_data(key))
    return jax.random.normal(again, (9,)), jax.random.bernoulli(again, 0.5, (64,))


def takes_threefry_only(key):
    if "fry" not in str(key.dtype):
        raise TypeError("a threefry key, please")
    return jax.random.normal(key, (9,)), jax.random.bernoulli(key, 0.5, (64,))


def by_another_name(key):
    again = jax.random.wrap_key_data(jax.random.key_data(key))
    return jax.random.normal(again, (9,)), jax.random.bernoulli(key, 0.5, (64,))


def wrapped_once(key):
    keys = jax.random.wrap_key_data(jax.random.key_data(jax.random.split(key)))
    return jax.random.normal(keys[0], (9,)), jax.random.bernoulli(keys[1], 0.5, (64,))


@pytest.mark.parametrize(
    "reuses",
    [names_threefry, wrapped_again, split_of_wrapped_again, wrapped_again_beside_others,
     by_another_name],
)  # fmt: skip
def test_a_key_of_the_words_of_a_key_is_the_same_key(reuses) -> None:
    assert failure(check_keys, reuses, KEY).diagnosis.startswith("a key is used twice")


def test_keys_of_words_may_be_used_once() -> None:
    check_keys(wrapped_once, KEY)
    assert jax.random.wrap_key_data is wrap_key_data


def test_legacy_keys_may_be_used_once() -> None:
    def legacy_once(key):
        seeds = jax.random.bits(key, (2,))
        return [jax.random.normal(jax.random.PRNGKey(seed), (9,)) for seed in seeds]

    check_keys(legacy_once, KEY)


@pytest.mark.parametrize("reuses", [takes_threefry_only, imported_before])
def test_a_suspicion_stands_where_the_words_do_not_show_every_key(reuses) -> None:
    """JAX's checker has seen the reuse; the recording run has not, or has failed."""
    with pytest.raises((ValueError, TypeError, key_words.NotRecorded)):
        key_words.record_of(reuses, KEY)
    assert failure(check_keys, reuses, KEY).diagnosis.startswith("a key is used twice")


def test_words_that_show_two_keys_refute_the_suspicion() -> None:
    def noisy_walk(key, other):
        return walk(key) + jax.random.normal(other, (5, 6))

    check_keys(noisy_walk, KEY, jax.random.key(5))


def test_the_words_of_a_reused_key() -> None:
    failed = failure(check_keys, WRONG["reused"][0], KEY)
    assert failed.requirement == "uses its key, and no key twice"
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
