"""For each text of `jax_messages`, what makes JAX say it: a function of 16 numbers that raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

AUTO = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
EXPLICIT = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
SPLIT = P("data")


def mapped(f, in_specs=SPLIT, out_specs=SPLIT, mesh=AUTO):
    return jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs)


def on(mesh, *spec):
    return jax.device_put(jnp.ones((8, 8)), NamedSharding(mesh, P(*spec)))


def of_size(f):
    """`f`, called with a traced 3."""
    return jax.jit(f)(3)


def assigns(x):
    x[0] = 1
    return x


@jax.tree_util.register_pytree_node_class
class Labelled:
    """A pytree of one number, with `label` as its metadata."""

    def __init__(self, label):
        self.label = label

    def tree_flatten(self):
        return (0.0,), self.label

    @classmethod
    def tree_unflatten(cls, label, children):
        return cls(label)


def with_rules(forward, backward):
    f = jax.custom_vjp(lambda x: x * 2)
    f.defvjp(forward, backward)
    return f


def after_donating(again):
    def f(x):
        given = jnp.asarray(x) + 0
        jax.jit(lambda x: x + 1, donate_argnums=0)(given)
        return again(given)

    return f


def compiled_before(x):
    """What was compiled for such an array takes a shorter way, with words of its own."""
    double = jax.jit(lambda x: x * 2)
    double(jnp.ones_like(x))
    return double(x)


twice = with_rules(lambda x: (x * 2, None), lambda residuals, g: (g * 2,))

RAISING: dict[str, Callable[[Any], Any]] = {
    "Slice entries must be static": lambda x: of_size(lambda n: jnp.asarray(x)[:n]),
    "must have static start/stop/step": lambda x: of_size(lambda n: jnp.asarray(x)[:n]),
    "truth value of an array with more than one element is ambiguous": lambda x: x if x > 0 else -x,
    "JAX arrays are immutable": lambda x: assigns(jnp.asarray(x)),
    "does not support item assignment": lambda x: assigns(tuple(x)),
    "Shapes must be 1D sequences of concrete values": lambda x: of_size(jnp.zeros),
    "was not hashable": lambda x: of_size(lambda n: jax.random.split(jax.random.key(0), n)),
    "dot_general requires contracting dimensions": lambda x: x @ jnp.ones(3),
    "incompatible shapes for broadcasting": lambda x: jnp.asarray(x) + jnp.ones(3),
    "Incompatible types for broadcasting": lambda x: jnp.broadcast_to(x, (3,)),
    "which is not a valid JAX type": lambda x: jax.jit(lambda x: "text")(x),
    "is not a valid JAX type": lambda x: jax.grad(lambda x: x)("text"),
    "is not a valid JAX array type": lambda x: jnp.asarray(object()),
    "Error interpreting argument to": lambda x: jnp.sin("text"),  # pyright: ignore[reportArgumentType]
    "Dict key mismatch": lambda x: jax.tree.map(jnp.add, {"a": x}, {"b": x}),
    "<class 'dict'>\nwith metadata": lambda x: jax.tree.map(jnp.add, {"a": x}, {"b": x}),
    "Mismatch custom node data": lambda x: jax.tree.map(jnp.add, Labelled(object), Labelled(int)),
    "different pytree metadata": lambda x: jax.tree.map(jnp.add, Labelled(object), Labelled(int)),
    "arity mismatch": lambda x: jax.tree.map(jnp.add, [x, x], [x]),
    "Expected list, got": lambda x: jax.tree.map(jnp.add, [x], (x,)),
    "Expected tuple, got": lambda x: jax.tree.map(jnp.add, (x,), [x]),
    "Expected dict, got": lambda x: jax.tree.map(jnp.add, {"a": x}, [x]),
    "pytree structure error": lambda x: jax.tree.map(jnp.add, [x], (x,)),
    "is not callable": lambda x: jnp.asarray(x)(0),  # pyright: ignore[reportCallIssue]
    "Non-hashable static arguments": lambda x: jax.jit(lambda x: x, static_argnums=0)(
        jnp.asarray(x)
    ),
    "Array has been deleted": after_donating(np.asarray),
    "Buffer has been deleted or donated": after_donating(compiled_before),
    "CpuCallback error": lambda x: jax.jit(
        lambda x: jax.pure_callback(lambda x: 1 // 0, jax.typeof(x), x)
    )(x).block_until_ready(),
    "Gradient only defined for scalar-output functions": jax.grad(jnp.sin),
    "requires real- or complex-valued inputs": lambda x: jax.grad(lambda n: n * 1.0)(3),
    "requires real-valued inputs": lambda x: jax.jacfwd(lambda n: n * 1.0)(3),
    "(jvp) to a custom_vjp": lambda x: jax.jvp(twice, (x,), (x,)),
    "Custom VJP": jax.grad(
        lambda x: with_rules(lambda x: (x * 2, None), lambda residuals, g: g * 2)(x).sum()
    ),
    "custom_vjp function": jax.grad(lambda x: jax.custom_vjp(lambda x: x * 2)(x).sum()),
    "Reverse-mode differentiation does not work for lax.while_loop": jax.grad(
        lambda x: jax.lax.while_loop(lambda c: c < 3, lambda c: c * 2, x[1])
    ),
    "for argument to VJP function": lambda x: jax.vjp(jnp.sum, x)[1](x),
    "carry input and carry output must have": lambda x: jax.lax.scan(
        lambda c, v: (jnp.ones(3), c),
        0.0,  # pyright: ignore[reportArgumentType]
        x,
    ),
    "scan body output must be a pair": lambda x: jax.lax.scan(lambda c, v: c + v, 0.0, x),
    "cond_fun must return a boolean scalar": lambda x: jax.lax.while_loop(
        lambda c: c, lambda c: c + 1.0, 0.0
    ),
    "Pred must be a scalar": lambda x: jax.lax.cond(x > 1, jnp.sin, jnp.cos, x),
    "branch outputs must have the same pytree structure": lambda x: jax.lax.cond(
        True, lambda x: x, lambda x: (x, x), x
    ),
    "branches must have equal output types": lambda x: jax.lax.cond(
        True, lambda x: x, lambda x: 0, x
    ),
    "Index type must be an integer": lambda x: jax.lax.switch(x[0], [jnp.sin, jnp.cos], x),
    "unbound axis name": lambda x: jax.lax.psum(x, "data"),
    "vmap got inconsistent sizes": lambda x: jax.vmap(jnp.add)(x, jnp.ones(3)),
    "vmap was requested to map its argument along axis": jax.vmap(jnp.sin, in_axes=1),
    "vmap in_axes must be": lambda x: jax.vmap(jnp.add, in_axes=(0,))(x, x),
    "at least one non-None value in in_axes": jax.vmap(jnp.sin, in_axes=None),
    "not evenly divisible by the corresponding mesh axis sizes": lambda x: mapped(jnp.sin)(x[:9]),
    "require replication which can't be statically inferred": mapped(jnp.sin, out_specs=P()),
    "out_specs entry which is too long": mapped(lambda x: x.sum()),
    "does not match the specs of the input": mapped(jnp.sin, mesh=EXPLICIT),
    "ambiguous how the output should be sharded": lambda x: (
        on(EXPLICIT, None, "data") @ on(EXPLICIT, "data")
    ),
    "illegally sharded result": lambda x: on(EXPLICIT, None, "data") + on(EXPLICIT, "data"),
    "incompatible with its sharding annotation": lambda x: jax.device_put(
        x[0], NamedSharding(AUTO, SPLIT)
    ),
    "out sharding could not be resolved": lambda x: on(EXPLICIT, "data")[jnp.zeros(3, int)],
    "not under a mesh context": lambda x: (
        on(EXPLICIT, "data").at[jnp.zeros(3, int)].get(out_sharding=SPLIT)
    ),
    "Received incompatible devices": lambda x: (
        on(AUTO, "data") + jax.device_put(jnp.ones((8, 8)), jax.devices()[3])
    ),
    "is not found in mesh": lambda x: on(AUTO, "model"),
    "does not accept dtypes key": lambda x: jax.random.key(0) + 1,
    "unexpected PRNG key type": lambda x: jax.random.normal((3,)),  # pyright: ignore[reportArgumentType]
    "expected key_data.dtype = uint32; got dtype=key<": lambda x: jax.random.wrap_key_data(
        jax.random.split(jax.random.key(0))
    ),
    "invalid PRNG key data": lambda x: jax.random.normal(0, (3,)),
    "accepts a single key": lambda x: jax.random.normal(jax.random.split(jax.random.key(0)), (3,)),
}
