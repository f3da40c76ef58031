"""What JAX says of control flow, keys, vmap and devices, in words that help."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from graders import check_values
from graders.diagnosis.transformations import BY_MESSAGE
from graders.tests.failing import failure

X = np.arange(16, dtype=np.float32)
AUTO = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
EXPLICIT = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
SPLIT = P("data")
LESS: Any = 0.0  # of another type than what comes back, or than what is asked for
PAIR: Any = (0.0,)
NO_KEY: Any = (3,)


def mapped(f, in_specs=SPLIT, out_specs=SPLIT, mesh=AUTO):
    return jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs)


def on(mesh, *spec):
    return jax.device_put(jnp.ones((8, 8)), NamedSharding(mesh, P(*spec)))


RAISING: dict[str, tuple[Any, str]] = {
    "a size from data": (
        lambda x: jax.jit(lambda n: jax.random.split(jax.random.key(0), n))(3),
        "a size or another static parameter is made from a traced value",
    ),
    "the truth of an array": (
        lambda x: x if x > 0 else -x,
        "a Python `if`, `while`, `and` or `or` asks a whole array whether it is true",
    ),
    "carry": (
        lambda x: jax.lax.scan(lambda c, v: (jnp.ones(3), c), LESS, x),
        "the carry changes its type",
    ),
    "carry of a while loop": (
        lambda x: jax.lax.while_loop(lambda c: c < 3, lambda c: c + 0.5, jnp.int32(0)),
        "the carry changes its type",
    ),
    "structure of the carry": (
        lambda x: jax.lax.while_loop(lambda c: c[0] < 3, lambda c: [c[0] + 1.0], PAIR),
        "the carry changes its type",
    ),
    "no pair": (lambda x: jax.lax.scan(lambda c, v: c + v, 0.0, x), "does not return a pair"),
    "no boolean": (
        lambda x: jax.lax.while_loop(lambda c: c, lambda c: c + 1.0, 0.0),
        "is no boolean scalar",
    ),
    "conditions": (
        lambda x: jax.lax.cond(x > 1, jnp.sin, jnp.cos, x),
        "an array of conditions",
    ),
    "branches of two structures": (
        lambda x: jax.lax.cond(True, lambda x: x, lambda x: (x, x), x),
        "the branches return different structures",
    ),
    "branches of two dtypes": (
        lambda x: jax.lax.cond(True, lambda x: x, lambda x: 0, x),
        "the branches return different shapes or dtypes",
    ),
    "index": (
        lambda x: jax.lax.switch(x[0], [jnp.sin, jnp.cos], x),
        "`lax.switch` was given an index that is no integer",
    ),
    "axis name": (lambda x: jax.lax.psum(x, "data"), "a collective names an axis that no"),
    "sizes": (lambda x: jax.vmap(jnp.add)(x, jnp.ones(3)), "the mapped axes have different sizes"),
    "axis": (lambda x: jax.vmap(jnp.sin, in_axes=1)(x), "an axis that the argument does not have"),
    "axes": (lambda x: jax.vmap(jnp.add, in_axes=(0,))(x, x), "`in_axes` does not fit"),
    "nothing mapped": (lambda x: jax.vmap(jnp.sin, in_axes=None)(x), "`vmap` maps nothing"),
    "unequal parts": (
        lambda x: mapped(jnp.sin)(x[:9]),
        "an array cannot be cut into equal parts for the devices",
    ),
    "not replicated": (
        lambda x: mapped(jnp.sin, out_specs=P())(x),
        "`out_specs` says that every device returns the same",
    ),
    "too long": (
        lambda x: mapped(lambda x: x.sum())(x),
        "`out_specs` splits an axis that the result of one device does not have",
    ),
    "not placed": (
        lambda x: mapped(jnp.sin, mesh=EXPLICIT)(x),
        "on a mesh with explicit axes `in_specs` must be",
    ),
    "ambiguous": (
        lambda x: on(EXPLICIT, None, "data") @ on(EXPLICIT, "data"),
        "does not say how its result is split",
    ),
    "two ways": (
        lambda x: on(EXPLICIT, None, "data") + on(EXPLICIT, "data"),
        "two arrays that are split in different ways",
    ),
    "two places": (
        lambda x: on(AUTO, "data") + jax.device_put(jnp.ones((8, 8)), jax.devices()[3]),
        "arrays on different sets of devices",
    ),
    "a scalar in parts": (
        lambda x: jax.device_put(x[0], NamedSharding(AUTO, P("data"))),
        "an array is to be cut along an axis that it does not have",
    ),
    "an index": (
        lambda x: on(EXPLICIT, "data")[jnp.zeros(3, int)],
        "the index and what is indexed leave it open",
    ),
    "no mesh": (
        lambda x: on(EXPLICIT, "data").at[jnp.zeros(3, int)].get(out_sharding=P("data")),
        "a `PartitionSpec` alone does not say which mesh is meant",
    ),
    "another mesh": (lambda x: on(AUTO, "model"), "names an axis that the mesh does not have"),
    "a key as a number": (lambda x: jax.random.key(0) + 1, "a key is used as a number"),
    "no key": (lambda x: jax.random.normal(NO_KEY), "not given a key as its first argument"),
    "a seed": (lambda x: jax.random.normal(0, (3,)), "given a number where it wants a key"),
    "keys": (
        lambda x: jax.random.normal(jax.random.split(jax.random.key(0)), (3,)),
        "given several keys at once",
    ),
}


@pytest.mark.parametrize("name", RAISING)
def test_an_error_is_explained(name: str) -> None:
    f, says = RAISING[name]
    failed = failure(check_values, f, lambda x: x, [(X,)])
    assert says in failed.diagnosis
    assert failed.got.startswith("an exception, ")


def test_each_explanation_is_reached() -> None:
    unreached = [
        cause.diagnosis
        for _, cause in BY_MESSAGE
        if not any(says in cause.diagnosis for _, says in RAISING.values())
    ]
    assert unreached == []
