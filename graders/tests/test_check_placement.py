"""check_sharding and check_collectives, on eight simulated devices."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from graders import check_collectives, check_keys, check_pure, check_sharding, check_values
from graders.tests.failing import failure

MESH = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
GRID = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
X = np.arange(128, dtype=np.float32).reshape(16, 8)
ROWS, WHOLE = NamedSharding(MESH, P("data")), NamedSharding(MESH, P())
COLUMNS = NamedSharding(MESH, P(None, "data"))
SHARDED = jax.device_put(X, ROWS)


def on(sharding):
    return lambda x: jax.device_put(x, sharding)


mapped = jax.shard_map(lambda x: 2 * x, mesh=MESH, in_specs=P("data"), out_specs=P("data"))
RIGHT: dict[str, tuple[Any, Any, Any]] = {
    "device_put": (on(ROWS), X, ROWS),
    "spelt otherwise": (on(NamedSharding(MESH, P("data", None))), X, ROWS),
    "shard_map": (mapped, X, ROWS),
    "under jit": (jax.jit(mapped), SHARDED, ROWS),
    "computation follows data": (lambda x: 2 * x, SHARDED, ROWS),
    "replicated": (jax.jit(lambda x: x.sum(0), out_shardings=WHOLE), SHARDED, WHOLE),
    "a grid": (
        on(NamedSharding(GRID, P("data", "model"))),
        X,
        NamedSharding(GRID, P("data", "model")),
    ),
    "a tree": (lambda x: (x, {"a": x.T}), SHARDED, (ROWS, {"a": COLUMNS})),
    "one device": (
        lambda x: x,
        X,
        jax.sharding.SingleDeviceSharding(jax.devices()[0]),
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_placement_passes(name: str) -> None:
    f, x, expected = RIGHT[name]
    check_sharding(f, x, expected=expected)


WRONG: dict[str, tuple[Any, Any, str]] = {
    "not placed": (lambda x: x, ROWS, "the result lies on one device alone"),
    "replicated": (on(WHOLE), ROWS, "the result is replicated: every device holds all of it"),
    "not added up": (
        on(ROWS),
        WHOLE,
        "the result is split along axis 0, where every device should hold all of it",
    ),
    "the other axis": (
        on(COLUMNS),
        ROWS,
        "the result is split along axis 1, instead of axis 0",
    ),
    "other parts": (
        on(NamedSharding(GRID, P("data"))),
        NamedSharding(GRID, P(("data", "model"))),
        "the result is split into other parts: axis 0 in 4 parts, over 8 devices",
    ),
    "another order": (
        on(NamedSharding(GRID, P(("model", "data")))),
        NamedSharding(GRID, P(("data", "model"))),
        "the right parts lie on the wrong devices",
    ),
    "NumPy": (lambda x: np.asarray(x), ROWS, "the result is not a JAX array, but ndarray"),
    "two arrays": (lambda x: (x, x), (ROWS, ROWS, ROWS), "the result has 2 arrays, instead of 3"),
    "another shape": (lambda x: x[:3], ROWS, "a result of shape (3, 8) cannot be split as is"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_placement_is_named(name: str) -> None:
    f, expected, says = WRONG[name]
    assert says in failure(check_sharding, f, X, expected=expected).diagnosis


def test_right_numbers_with_the_wrong_sharding() -> None:
    failed = failure(check_sharding, on(COLUMNS), X, expected=ROWS)
    assert failed.requirement == "has the right sharding"
    assert failed.expected == "axis 0 in 8 parts, over 8 devices"
    assert failed.got == "axis 1 in 8 parts, over 8 devices"
    assert "PartitionSpec" in failed.next_step


REPLICATED = P()


def in_parts(f, out=REPLICATED):
    return jax.shard_map(f, mesh=MESH, in_specs=P("data"), out_specs=out)


RING = [(i, (i + 1) % 8) for i in range(8)]
total = in_parts(lambda x: jax.lax.psum(x.sum(), "data"))
COLLECTIVES: dict[str, tuple[Any, dict]] = {
    "none": (mapped, {}),
    "psum": (total, {"exactly": {"all-reduce": 1}}),
    "under jit": (jax.jit(total), {"exactly": {"all-reduce": 1}}),
    "added by the partitioner": (jnp.sum, {"exactly": {"all-reduce": 1}}),
    "ppermute": (
        in_parts(partial(jax.lax.ppermute, axis_name="data", perm=RING), P("data")),
        {"exactly": {"collective-permute": 1}},
    ),
    "all_gather": (
        jax.shard_map(
            partial(jax.lax.all_gather, axis_name="data"),
            mesh=MESH, in_specs=P("data"), out_specs=P(), check_vma=False,
        ),
        {"exactly": {"all-gather": 1}},
    ),
    "a bound": (total, {"at_most": {"all-reduce": 2}}),
    "two bounds": (total, {"at_most": {"all-reduce": 2}, "at_least": {"all-reduce": 1}}),
    "few bytes": (total, {"exactly": {"all-reduce": 1}, "max_bytes": 4}),
    "put on the mesh outside of jit": (
        lambda x: jax.jit(jnp.sum, out_shardings=WHOLE)(jax.device_put(x, COLUMNS)),
        {"exactly": {"all-reduce": 1}, "at_most": {"all-to-all": 1, "all-gather": 1}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COLLECTIVES)
def test_the_right_collectives_pass(name: str) -> None:
    f, demands = COLLECTIVES[name]
    check_collectives(f, SHARDED, **demands)


def gathers_all(x):
    return jax.lax.with_sharding_constraint(x, WHOLE).sum()


WRONG_COLLECTIVES: dict[str, tuple[Any, dict, str]] = {
    "no exchange": (
        in_parts(lambda x: x.sum(keepdims=True), P("data")),
        {"exactly": {"all-reduce": 1}},
        "the program has no `all-reduce`: the devices exchange nothing",
    ),
    "too much": (
        gathers_all,
        {"exactly": {"all-reduce": 1}},
        "the program has `all-gather` once, and needs none",
    ),
    "one too many": (total, {}, "the program has `all-reduce` once, and needs none"),
    "over the bound": (
        in_parts(lambda x: jax.lax.psum(jax.lax.psum(x.sum(), "data") * x, "data")),
        {"at_most": {"all-reduce": 1}},
        "the program has `all-reduce` 2 times, where 1 would do",
    ),
    "under the lower bound": (
        in_parts(lambda x: x.sum(keepdims=True), P("data")),
        {"at_most": {"all-reduce": 2}, "at_least": {"all-reduce": 1}},
        "the program has no `all-reduce`: the devices exchange nothing",
    ),
    "all rows, in a sum with zeros": (
        in_parts(
            lambda x: jax.lax.psum(
                jax.lax.dynamic_update_slice_in_dim(
                    jnp.zeros((16, 8)), x, 2 * jax.lax.axis_index("data"), 0
                ),
                "data",
            )
        ),
        {"exactly": {"all-reduce": 1}, "max_bytes": 64},
        "the devices exchange too much: one `all-reduce` gives each of them 512 bytes",
    ),
}


@pytest.mark.parametrize("name", WRONG_COLLECTIVES)
def test_the_wrong_collectives_are_named(name: str) -> None:
    f, demands, says = WRONG_COLLECTIVES[name]
    assert says in failure(check_collectives, f, SHARDED, **demands).diagnosis


def test_the_words_of_collectives() -> None:
    failed = failure(check_collectives, gathers_all, SHARDED, at_most={"all-reduce": 1})
    assert failed.requirement == "uses the right collectives"
    assert failed.expected == "all-reduce at most 1"
    assert failed.got == "all-gather 1"


def test_a_kind_that_there_is_not_is_an_error_of_the_check() -> None:
    with pytest.raises(ValueError, match="all_reduce"):
        check_collectives(total, SHARDED, exactly={"all_reduce": 1})
    with pytest.raises(ValueError, match="at_most does not say"):
        check_collectives(total, SHARDED, at_least={"all-reduce": 1})


def noisy(key, x, mesh):
    def shard(key, x):
        key = jax.random.fold_in(key, jax.lax.axis_index("data"))
        return x + jax.random.normal(key, x.shape)

    specs = (P(), P("data"))
    return jax.jit(jax.shard_map(shard, mesh=mesh, in_specs=specs, out_specs=P("data")))(key, x)


def test_arguments_that_lie_nowhere_in_particular_may_go_to_any_mesh() -> None:
    check_keys(noisy, jax.random.key(3), X, MESH)
    check_pure(jax.jit(mapped), X)


def test_a_mesh_is_no_array() -> None:
    failed = failure(check_values, lambda x, mesh: x.T, lambda x, mesh: x, [(X, MESH)])
    assert failed.diagnosis == "the axes are transposed"
    failed = failure(check_values, lambda x, mesh: 2 * x, lambda x, mesh: x, [(X, MESH)])
    assert "every number is 2 times" in failed.diagnosis
