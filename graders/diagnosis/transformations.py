"""What the errors of control flow, keys, `vmap` and devices usually mean, by their messages."""

from __future__ import annotations

from graders.card.failure import Cause

BY_MESSAGE = [
    (
        "was not hashable",
        Cause(
            "a size or another static parameter is made from a traced value: under tracing shapes "
            "are fixed",
            "Take the number from a shape or a Python argument, or use what accepts a traced "
            "number, such as `jax.random.fold_in`.",
        ),
    ),
    (
        "carry input and carry output must have",
        Cause(
            "the carry changes its type from one step of the loop to the next: what the body "
            "returns as carry must have the structure, shapes and dtypes of the carry it was given",
            "Compare the initial carry with what the body returns: a Python number or an integer "
            "at the start, a float afterwards?",
        ),
    ),
    (
        "scan body output must be a pair",
        Cause(
            "the body of the scan does not return a pair",
            "Return `(carry, y)`; where nothing is collected, `(carry, None)`.",
        ),
    ),
    (
        "cond_fun must return a boolean scalar",
        Cause(
            "the condition of the while loop is no boolean scalar",
            "Compare: `return carry > 0`; reduce an array with `jnp.all` or `jnp.any`.",
        ),
    ),
    (
        "Pred must be a scalar",
        Cause(
            "`lax.cond` was given an array of conditions: it takes one branch for the whole call",
            "Reduce the condition to one boolean, or choose element by element with `jnp.where`.",
        ),
    ),
    (
        "branch outputs must have the same pytree structure",
        Cause(
            "the branches return different structures: which one runs is not known while JAX "
            "traces, so all must return the same",
            "Return the same containers with the same shapes and dtypes from each branch.",
        ),
    ),
    (
        "branches must have equal output types",
        Cause(
            "the branches return different shapes or dtypes: which one runs is not known while "
            "JAX traces, so all must return the same",
            "Give each branch's result the same shape and dtype: `jnp.zeros_like(x)` for 0.",
        ),
    ),
    (
        "Index type must be an integer",
        Cause(
            "`lax.switch` was given an index that is no integer",
            "Cast the index: `index.astype(int)`.",
        ),
    ),
    (
        "unbound axis name",
        Cause(
            "a collective names an axis that no `vmap` or `shard_map` around it has",
            "Give the axis its name: `jax.vmap(f, axis_name=...)`, or the mesh axis of the "
            "`shard_map` that it runs in.",
        ),
    ),
    (
        "vmap got inconsistent sizes",
        Cause(
            "the mapped axes have different sizes: each argument must have as many examples",
            "Map only what belongs to an example; an argument that all share has `None` in "
            "`in_axes`.",
        ),
    ),
    (
        "vmap was requested to map its argument along axis",
        Cause(
            "`vmap` was told to map an axis that the argument does not have",
            "Look at `in_axes` beside the shapes: `None` for what all examples share.",
        ),
    ),
    (
        "vmap in_axes must be",
        Cause(
            "`in_axes` does not fit the arguments",
            "Give one entry for each positional argument, in a tuple: an axis, or None.",
        ),
    ),
    (
        "at least one non-None value in in_axes",
        Cause(
            "`vmap` maps nothing: every entry of `in_axes` is None",
            "Give the argument that holds the batch its axis.",
        ),
    ),
    (
        "not evenly divisible by the corresponding mesh axis sizes",
        Cause(
            "an array cannot be cut into equal parts for the devices",
            "Its size along the split axis must be a multiple of the number of devices: look at "
            "`in_specs`.",
        ),
    ),
    (
        "require replication which can't be statically inferred",
        Cause(
            "`out_specs` says that every device returns the same, and the function does not see "
            "to it: each device returns what it computed from its own part",
            "Bring the parts together inside (`psum`, `pmean`), or say in `out_specs` that the "
            "result is split.",
        ),
    ),
    (
        "out_specs entry which is too long",
        Cause(
            "`out_specs` splits an axis that the result of one device does not have",
            "Keep the axis (`keepdims=True`, or `[None]`), or add the parts up and use `P()`.",
        ),
    ),
    (
        "does not match the specs of the input",
        Cause(
            "on a mesh with explicit axes `in_specs` must be the sharding that the argument has",
            "Place the argument first, with `jax.reshard` or `jax.device_put`, or leave `in_specs` "
            "out.",
        ),
    ),
    (
        "ambiguous how the output should be sharded",
        Cause(
            "an operation on a mesh with explicit axes does not say how its result is split",
            "Say it: `jnp.dot(a, b, out_sharding=P(...))`, or `jax.reshard` an operand before it.",
        ),
    ),
    (
        "illegally sharded result",
        Cause(
            "two arrays that are split in different ways meet in one operation",
            "Bring one to the sharding of the other with `jax.reshard`.",
        ),
    ),
    (
        "incompatible with its sharding annotation",
        Cause(
            "an array is to be cut along an axis that it does not have",
            "A scalar has no axis, and stays whole: `P()`. Elsewhere the spec may have no more "
            "entries than the array has axes.",
        ),
    ),
    (
        "out sharding could not be resolved",
        Cause(
            "an operation on a mesh with explicit axes does not say how its result is split: the "
            "index and what is indexed leave it open",
            "Say it: `table.at[index].get(out_sharding=...)`, with a `NamedSharding`.",
        ),
    ),
    (
        "not under a mesh context",
        Cause(
            "a `PartitionSpec` alone does not say which mesh is meant",
            "Give a `NamedSharding(mesh, P(...))`, or work inside `with jax.set_mesh(mesh):`.",
        ),
    ),
    (
        "Received incompatible devices",
        Cause(
            "arrays on different sets of devices meet in one operation",
            "Place both on the mesh: `jax.device_put(x, NamedSharding(mesh, P()))`.",
        ),
    ),
    (
        "is not found in mesh",
        Cause(
            "a `PartitionSpec` names an axis that the mesh does not have",
            "Use the names that `mesh.axis_names` shows.",
        ),
    ),
    (
        "does not accept dtypes key",
        Cause(
            "a key is used as a number",
            "A key is handed to `jax.random`: draw with it, `split` it or `fold_in` a number.",
        ),
    ),
    (
        "unexpected PRNG key type",
        Cause(
            "a random function was not given a key as its first argument",
            "Hand it the key first: `jax.random.normal(key, shape)`.",
        ),
    ),
    (
        "invalid PRNG key data",
        Cause(
            "a random function was given a number where it wants a key",
            "Make a key of the number with `jax.random.key(...)`, or hand on the key you have.",
        ),
    ),
    (
        "accepts a single key",
        Cause(
            "a random function was given several keys at once",
            "Take one of them (`keys[0]`), or unpack: `key, subkey = jax.random.split(key)`.",
        ),
    ),
]
