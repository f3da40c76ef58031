# %% [markdown]
# # 7 · Many devices
#
# One array can lie on eight devices and still be one array, with one shape, and the programs you have written so far run on it as they are. After this lesson you can say which device holds which part, let `jit` divide the work or divide it yourself with `jax.shard_map`, train the MLP of this course on all devices with the very numbers that one device gives, cut a layer that is too large for one, migrate old `pmap` code, and count the messages between devices before you pay for them.
#
# About 90 minutes. You need lessons 02, 03, 05 and 06.
#
# You need no hardware: where fewer than two accelerators are found, `lesson_devices(8)` makes eight CPU devices out of one. That is possible only until JAX starts its backend, which the first array does. If the cell with the imports says that JAX has already started, choose Kernel, Restart, and run that cell before any other. Where there are several accelerators, as on most TPUs, the lesson uses those, however many there are; captions that speak of eight then mean your number.

# %%
import re
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import scipy.stats
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, Key

from graders import (
    check_answer,
    check_collectives,
    check_distribution,
    check_dtype,
    check_keys,
    check_primitives,
    check_sharding,
    check_values,
    lesson_devices,
    result_of,
    sweep,
    through,
)

devices = lesson_devices(8)
n = len(devices)
print(n, "devices:", devices[0], "to", devices[-1])

# %% [markdown]
# Nothing below assumes that there are eight: write `n` where you mean the number of devices.
#
# ## 7.0 From last time
#
# Three questions about lessons 05 and 06, one point each. Answer before you run anything.
#
# **Recall** · 1 minute · difficulty 2 of 5
#
# What is `jax.vmap(lambda x: x - lax.pmean(x, "i"), axis_name="i")(jnp.array([1.0, 2.0, 6.0]))`?

# %% exercise="centred" kind="recall"
# A tuple of three numbers.
### BEGIN SOLUTION
centred = (-2.0, -1.0, 3.0)
### END SOLUTION

# %% check="centred" points=1
check_answer(
    centred,
    lambda: tuple(
        jax.vmap(lambda x: x - lax.pmean(x, "i"), axis_name="i")(
            jnp.array([1.0, 2.0, 6.0])
        ).tolist()
    ),
    because="Each example sees its own x, and `pmean` is the mean over all of them, 3.",
    mistakes={
        (0.0, 0.0, 0.0): "`pmean` is over the mapped axis, not over the one number in hand",
        (-8.0, -7.0, -3.0): "that is `psum`; `pmean` divides by the size of the axis",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# `key = jax.random.key(0)`. How many different numbers are in `jax.vmap(lambda x: x + jax.random.normal(key))(jnp.zeros(100))`?

# %% exercise="different_draws" kind="recall"
# An integer.
### BEGIN SOLUTION
different_draws = 1
### END SOLUTION

# %% check="different_draws" points=1
check_answer(
    different_draws,
    lambda: len(
        set(jax.vmap(lambda x: x + jax.random.normal(jax.random.key(0)))(jnp.zeros(100)).tolist())
    ),
    because="One key, one draw: that it is shared by a hundred examples changes nothing.",
    mistakes={100: "the key is closed over: all examples draw from the same one"},
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# `loss_fn(params, x, y)` takes one example, and `params["w"]` has shape (3,). Which shape has the leaf `"w"` of `jax.vmap(jax.grad(loss_fn), in_axes=(None, 0, 0))(params, x, y)` for a batch of 5?

# %% exercise="mapped_grads" kind="recall"
# A tuple of integers.
### BEGIN SOLUTION
mapped_grads = (5, 3)
### END SOLUTION

# %% check="mapped_grads" points=1
def shape_of_mapped_grads():
    def loss_fn(params, x, y):
        return (x @ params["w"] - y) ** 2

    grads = jax.grad(loss_fn)
    return jax.vmap(grads, in_axes=(None, 0, 0))({"w": jnp.ones(3)}, jnp.ones((5, 3)), jnp.ones(5))[
        "w"
    ].shape


check_answer(
    mapped_grads,
    shape_of_mapped_grads,
    because="A gradient of its own for each example: nothing is summed.",
    mistakes={(3,): "the gradients are not added up over the batch", (3, 5): "`out_axes` is 0"},
)

# %% [markdown]
# ## 7.1 One array, many places
#
# A **mesh** is an array of devices whose axes have names. A **PartitionSpec** has an entry for each axis of an array: the mesh axis that cuts it, or `None`. The two together are a **NamedSharding**, and `jax.device_put` obeys it.

# %%
mesh = jax.make_mesh((n,), ("data",), axis_types=(AxisType.Auto,), devices=devices)
wide = 2 if n % 2 == 0 else 1
grid = jax.make_mesh(
    (n // wide, wide), ("data", "model"), axis_types=(AxisType.Auto,) * 2, devices=devices
)
x = jax.device_put(jnp.ones((2 * n, 4)), NamedSharding(mesh, P("data")))
print(x.shape, x.sharding.spec)

# %% [markdown]
# (`axis_types` waits until 7.8.) The shape is that of the whole array.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# `z = jax.device_put(jnp.ones((6, 4 * n)), NamedSharding(mesh, P(None, "data")))`. Which shape has the part on the first device, `z.addressable_shards[0].data`?

# %% exercise="part_shape" kind="prediction"
# A tuple of integers.
### BEGIN SOLUTION
part_shape = (6, 4)
### END SOLUTION

# %% check="part_shape" points=1
check_answer(
    part_shape,
    lambda: (
        jax.device_put(jnp.ones((6, 4 * n)), NamedSharding(mesh, P(None, "data")))
        .addressable_shards[0]
        .data.shape
    ),
    because="The first entry, `None`, leaves axis 0 whole; the second cuts axis 1 into n parts.",
    mistakes={
        (6, 4 * n): "that is the whole; `P()` would put it on every device",
        (6,): "the axis stays: it is shorter, not gone",
    },
)

# %% tags=["demonstration"]
layouts = {
    'mesh, P("data")': NamedSharding(mesh, P("data")),
    'mesh, P(None, "data")': NamedSharding(mesh, P(None, "data")),
    'grid, P("data", "model")': NamedSharding(grid, P("data", "model")),
    'grid, P("model")': NamedSharding(grid, P("model")),
}
figure, panels = plt.subplots(1, 4, figsize=(11, 3.4))
for panel, (title, sharding) in zip(panels, layouts.items()):
    owner, holders = np.zeros((n, n)), {}
    for device, (down, across) in sharding.devices_indices_map((n, n)).items():
        part = (*down.indices(n)[:2], *across.indices(n)[:2])
        holders.setdefault(part, []).append(devices.index(device))
    for number, ((top, bottom, left, right), who) in enumerate(holders.items()):
        owner[top:bottom, left:right] = number
        place = ((left + right - 1) / 2, (top + bottom - 1) / 2)
        panel.text(*place, ", ".join(map(str, who)), ha="center", va="center", fontsize=12)
    panel.imshow(owner, cmap="Pastel1")
    panel.set(title=title, xlabel="column", ylabel="row")
figure.tight_layout()
plt.show()

# %% [markdown]
# *Four ways to lay a square matrix on the devices; the numbers say which devices hold a patch. With eight devices, left to right: eight bands of rows; eight bands of columns; a grid of four by two blocks; two bands of rows, each held by four devices, since the spec does not mention the mesh axis "data".*
#
# What a spec does not mention is **replicated**: a copy on every device along that mesh axis. `P()` replicates everything. An axis must divide evenly: n + 1 rows on n devices are an `IndivisibleError`, and a scalar has no axis to cut at all.
#
# ### Spread
# **Exercise** · 6 minutes · difficulty 2 of 5
#
# Before training, `params` go whole to every device; each array of `batch` is cut along its first axis over the mesh axis `"data"`, whatever other axes the mesh has. A scalar in the batch is whole everywhere.

# %% exercise="spread"
def spread(params, batch, mesh):
    """The pair (params, batch), placed on `mesh`; both are pytrees and keep their dtypes."""
    ### BEGIN SOLUTION
    whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    shardings = jax.tree.map(lambda leaf: rows if jnp.ndim(leaf) else whole, batch)
    return jax.device_put(params, whole), jax.device_put(batch, shardings)
    ### END SOLUTION

# %% [markdown] hints="spread"
# <details><summary>Hint 1: the idea</summary>
#
# Two shardings are enough: one for all of `params` and the scalars, one for what has a first axis.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.device_put(tree, sharding)` places every leaf alike; it takes a tree of shardings as well. `P("data")` says nothing about further axes, and so leaves them whole.
# </details>

# %% check="spread" points=2
def everywhere(shape, dtype=np.float32):
    return np.arange(np.prod(shape, dtype=int), dtype=dtype).reshape(shape)


some_params = {"w": everywhere((3, 2)), "b": everywhere((n,))}
labels = everywhere((2 * n,), np.int32)
some_batch = {"weight": np.float32(0.5), "x": everywhere((2 * n, 3)), "y": labels}
on_mesh, on_grid = NamedSharding(mesh, P("data")), NamedSharding(grid, P("data"))
all_mesh, all_grid = NamedSharding(mesh, P()), NamedSharding(grid, P())
check_sharding(
    spread,
    some_params,
    some_batch,
    mesh,
    expected=({"w": all_mesh, "b": all_mesh}, {"weight": all_mesh, "x": on_mesh, "y": on_mesh}),
    about="a mesh of one axis",
)
check_sharding(
    spread,
    some_params,
    {"x": everywhere((2 * n, 3))},
    grid,
    expected=({"w": all_grid, "b": all_grid}, {"x": on_grid}),
    about="a mesh of two axes",
)
others = sweep({"w": "3 2", "b": f"{n}"}, {"weight": "", "x": f"{2 * n} 3"}, mesh, count=2)
check_values(
    spread,
    lambda params, batch, mesh: (params, batch),
    [(some_params, some_batch, mesh), *others, (some_params, {"x": 1000 * everywhere((n, 2))}, mesh)],
)
### BEGIN HIDDEN TESTS
swapped = jax.make_mesh(
    (wide, n // wide), ("model", "data"), axis_types=(AxisType.Auto,) * 2, devices=devices
)
check_sharding(
    spread,
    [everywhere((n,))],
    (everywhere((n, 2, 2)), everywhere((n,), np.int32)),
    swapped,
    expected=(
        [NamedSharding(swapped, P())],
        (NamedSharding(swapped, P("data")), NamedSharding(swapped, P("data"))),
    ),
    about="other axes",
)
check_dtype(
    spread,
    {"w": everywhere((3, 2), np.float16)},
    {"x": everywhere((n, 2), np.float16), "y": everywhere((n,), np.int8)},
    mesh,
    returns=({"w": "float16"}, {"x": "float16", "y": "int8"}),
)
### END HIDDEN TESTS

# %% [markdown]
# ## 7.2 Computation follows data
#
# There is nothing more to learn for using it. Any function, eager or under `jit`, runs where its arguments lie, and its result lies where it came about.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# `x` is cut by `P("data")`. What is the spec of `jnp.sin(x).T`?

# %% exercise="spec_of_transpose" kind="prediction"
# A tuple with an entry for each axis: None, or a string.
### BEGIN SOLUTION
spec_of_transpose = (None, "data")
### END SOLUTION

# %% check="spec_of_transpose" points=1
check_answer(
    spec_of_transpose,
    lambda: tuple(
        jnp.sin(
            jax.device_put(jnp.ones((2 * n, 4)), NamedSharding(mesh, P("data")))
        ).T.sharding.spec
    ),
    because="Nothing moves: each device transposes its rows, and they are columns now.",
    mistakes={
        ("data", None): "that would need every device to send to every other",
        (None, None): "nothing asks for a copy on every device",
    },
)

# %%
def messages(f, *args):
    """The collectives in the compiled program, in order."""
    text = jax.jit(f).lower(*args).compile().as_text()
    kinds = "all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all"
    return re.findall(rf" ({kinds})(?:-start)?\(", text)


print("sin, transpose:", messages(lambda x: jnp.sin(x).T, x))
print("x @ x.T:", messages(lambda x: x @ x.T, x))

# %% [markdown]
# What devices tell each other are **collectives**: an *all-reduce* adds (or maximises) and gives everyone the result, an *all-gather* gives everyone all the parts. The compiler puts them in where an operation needs them, and tells nobody: read the compiled text.
#
# **Prediction** · 1 minute · difficulty 3 of 5
#
# How many all-reduces are in `x.sum(axis=1)`, and how many in `x.sum(axis=0)`, for the `x` above, which is cut along axis 0?

# %% exercise="reduces" kind="prediction"
# A tuple of two integers.
### BEGIN SOLUTION
reduces = (0, 1)
### END SOLUTION

# %% check="reduces" points=1
def count_reduces():
    rows = jax.device_put(jnp.ones((2 * n, 4)), NamedSharding(mesh, P("data")))
    programs = [jax.jit(partial(jnp.sum, axis=axis)).lower(rows).compile() for axis in (1, 0)]
    texts = [program.as_text() for program in programs]
    return tuple(text.count(" all-reduce(") + text.count(" all-reduce-start(") for text in texts)


check_answer(
    reduces,
    count_reduces,
    because="A row is whole on its device. A column is spread over all of them.",
    mistakes={
        (1, 0): "which axis lies whole on one device?",
        (1, 1): "the sum along a row needs no one else",
        (0, 4): "four columns travel in one message",
    },
)

# %% [markdown]
# Two committed arrays on different sets of devices do not mix: that is a `ValueError` about incompatible devices. A fresh `jnp.ones(3)` is committed nowhere, and joins in.
#
# So a data-parallel step needs no new code. The batch is cut, the parameters are whole, the mean over the batch becomes an all-reduce. To be sure of the layout, say it to `jit`: `in_shardings`, a sharding or a tree of them for each argument, and `out_shardings`. What is committed nowhere is placed so; what is committed otherwise is refused.
#
# ### A step that places its own arguments
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# `compile_step(step, mesh)` returns `step`, compiled by `jax.jit` for `mesh`: it takes `params, x, y` as NumPy arrays, cuts `x` and `y` along axis 0 over `"data"`, whatever other axes the mesh has, and leaves the new parameters whole on every device. `step` may be any function of `params, x, y` that returns new parameters. The devices share the work.

# %% exercise="compile_step"
def compile_step(step, mesh):
    """The compiled `step(params, x, y)`, data-parallel on `mesh`; params are a pytree."""
    ### BEGIN SOLUTION
    whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    return jax.jit(step, in_shardings=(whole, rows, rows), out_shardings=whole)
    ### END SOLUTION

# %% [markdown] hints="compile_step"
# <details><summary>Hint 1: the idea</summary>
#
# The step itself stays as it is. Only the places at its two ends are said.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.jit(step, in_shardings=(..., ..., ...), out_shardings=...)`. One sharding in the place of a pytree is meant for all of its leaves.
# </details>

# %% check="compile_step" points=2
def linear_step(params, x, y):
    def squares(params):
        return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)

    return jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(squares)(params))


def linear_step_by_hand(params, x, y, times=1):
    error = x @ params["w"] + params["b"] - y
    slopes = {"w": 2 * x.T @ error / len(x), "b": 2 * error.mean()}
    return {name: params[name] - 0.1 * times * slopes[name] for name in slopes}


cases = sweep({"w": "3", "b": ""}, f"{2 * n} 3", f"{2 * n}", count=2)
check_sharding(
    result_of(compile_step, linear_step, mesh), *cases[0], expected=NamedSharding(mesh, P())
)
check_collectives(result_of(compile_step, linear_step, mesh), *cases[0], exactly={"all-reduce": 1})
check_values(
    result_of(compile_step, linear_step, mesh),
    linear_step_by_hand,
    cases,
    mistakes={
        "the gradients are added over the devices, n times too large": partial(
            linear_step_by_hand, times=n
        )
    },
)


def step_to_the_mean(params, x, y):
    return jax.tree.map(lambda p: p - 0.1 * (p - y.mean()), params)


def step_to_each(params, x, y):
    return {"each": params["each"] - 0.1 * (params["each"] - y)}


check_collectives(
    result_of(compile_step, step_to_the_mean, mesh),
    *cases[0],
    exactly={"all-reduce": 1},
    about="a step that looks at y alone",
)
((each, *_),) = sweep({"each": f"{2 * n}"}, count=1)
check_sharding(
    result_of(compile_step, step_to_each, mesh),
    each,
    *cases[0][1:],
    expected=NamedSharding(mesh, P()),
    about="a parameter for each example",
)
### BEGIN HIDDEN TESTS
half = max(1, n // 2)
few = jax.make_mesh((half,), ("data",), axis_types=(AxisType.Auto,), devices=devices[:half])


def pair_step(params, x, y):
    moved = linear_step({"w": params[0], "b": params[1][0]}, x, y)
    return moved["w"], [moved["b"]]


def pair_step_by_hand(params, x, y):
    moved = linear_step_by_hand({"w": params[0], "b": params[1][0]}, x, y)
    return moved["w"], [moved["b"]]


check_sharding(
    result_of(compile_step, linear_step, few),
    *cases[0],
    expected=NamedSharding(few, P()),
    about="fewer devices",
)
check_values(
    result_of(compile_step, pair_step, grid),
    pair_step_by_hand,
    sweep(("2", [""]), f"{n // wide} 2", f"{n // wide}", count=1, seed=3, planted=True),
    about="a mesh of two axes, another tree",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 7.3 What one device sees
#
# Sometimes you know better than the compiler. `jax.shard_map` hands you the view from one device: the body is written for one part, and speaks to the other devices through the axis name, with the `psum` and `pmean` that you know from `vmap`. `in_specs` says how the arguments are cut, `out_specs` how the parts of the result are put together again.
#
# **Prediction** · 1 minute · difficulty 3 of 5
#
# The body of `jax.shard_map` has a `print("a device speaks")` in its first line. You call the mapped function once, on all n devices. How many times does it print?

# %% exercise="times_spoken" kind="prediction"
# An integer, or an expression with n.
### BEGIN SOLUTION
times_spoken = 1
### END SOLUTION

# %% check="times_spoken" points=1
def count_speakers():
    spoken = []

    def body(x):
        spoken.append(x.shape)
        return x

    jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data"))(jnp.ones(n))
    return len(spoken)


check_answer(
    times_spoken,
    count_speakers,
    because="Every device runs the same program, and one program is traced once.",
    mistakes={n: "Python runs at trace time, and all devices run the one program"},
)

# %% tags=["demonstration"]
def body(x):
    print("the body sees", jax.typeof(x))
    return lax.psum(x.sum(axis=0), "data")


column_sums = jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P()))
print("outside:", x.shape, "to", column_sums(x).shape, column_sums(x))

# %% [markdown]
# `{V:data}` is part of the type: the value *varies* over the mesh axis. After a `psum` all devices hold the same, and the mark is gone; only then is `out_specs=P()` allowed. Without the `psum` there would be n different sums for one place, and JAX refuses ("can't be statically inferred"). The error offers `check_vma=False`, which ends the check and not the mistake: you would get the first device's sum, silently.
#
# | in the body | each device gets | message |
# |---|---|---|
# | `lax.psum`, `pmean`, `pmax` | the sum, mean, maximum over devices | all-reduce |
# | `lax.all_gather(x, "data", tiled=True)` | all parts in a row | all-gather |
# | `lax.ppermute(x, "data", pairs)` | the part of one other device | collective-permute |
# | `lax.axis_index("data")` | its own number | none |
#
# ### Softmax without the vector
# **Exercise** · 9 minutes · difficulty 3 of 5
#
# $p_i = e^{s_i} / \sum_j e^{s_j}$ over a vector that is cut over all devices: think of a vocabulary too large for one. The result stays cut over `"data"`, and no device ever holds all scores: exactly two all-reduces, neither larger than one device's part. Scores may be as large, or as far below zero, as float32 allows. Some may be -inf (masked), even all of those on one device; then their probability is 0.

# %% exercise="sharded_softmax"
def sharded_softmax(scores: Float[Array, "scores"], mesh) -> Float[Array, "scores"]:
    """The softmax over all scores, cut over the mesh axis "data" as they are."""
    ### BEGIN SOLUTION
    def body(part):
        largest = lax.pmax(part.max(), "data")
        powers = jnp.exp(part - largest)
        return powers / lax.psum(powers.sum(), "data")

    mapped = jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    return jax.jit(mapped)(scores)
    ### END SOLUTION

# %% [markdown] hints="sharded_softmax"
# <details><summary>Hint 1: the idea</summary>
#
# The stable softmax of lesson 01 needs two numbers about the whole vector. Each is a small thing that devices can agree on.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.pmax(value, "data")` and `lax.psum(value, "data")` inside the body; `part.max()` is the maximum of one device's part alone.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# ```python
# def body(part):
#     ...
#     return ...
#
# return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=..., out_specs=...))(scores)
# ```
# </details>

# %% check="sharded_softmax" points=3
def softmax_by_hand(scores, mesh):
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def in_groups(scores, count, shift=True):
    groups = scores.reshape(count, -1)
    powers = np.exp(groups - groups.max(axis=1, keepdims=True) if shift else groups)
    return powers


def alone(scores, mesh):
    powers = in_groups(scores, len(mesh.devices))
    return (powers / powers.sum(axis=1, keepdims=True)).ravel()


def own_largest(scores, mesh):
    powers = in_groups(scores, len(mesh.devices))
    return (powers / powers.sum()).ravel()


def rescaled(scores, mesh):
    groups = scores.reshape(len(mesh.devices), -1)
    own = groups.max(axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        powers = np.exp(groups - own) * np.exp(own - own.max())
    return (powers / powers.sum()).ravel()


def from_zero(scores, mesh):
    with np.errstate(all="ignore"):
        powers = np.exp(np.float32(scores - max(scores.max(), 0)))
        return powers / powers.sum()


(scores, _), *_ = cases = sweep(f"{2 * n}", mesh, count=2)
far_below = np.linspace(-900, -200, 2 * n, dtype=np.float32)
masked = np.where(np.arange(3 * n) < n, np.linspace(-2, 2, 3 * n), -np.inf).astype(np.float32)
check_values(
    sharded_softmax,
    softmax_by_hand,
    [
        *cases,
        (np.linspace(-900, 1000, 2 * n, dtype=np.float32), mesh),
        (far_below, mesh),
        (masked, mesh),
    ],
    mistakes={
        "where all scores of a device are -inf, its own maximum gives -inf - (-inf), NaN": rescaled,
        "the maximum cannot fall below 0, and for scores of -200 all powers are 0": from_zero,
        "each device normalises its own part: the parts sum to one each": alone,
        "each device takes off its own maximum, and then they add what does not belong together": (
            own_largest
        ),
    },
)
check_sharding(sharded_softmax, scores, mesh, expected=NamedSharding(mesh, P("data")))
check_collectives(
    through(lambda f, scores: f(scores, mesh), sharded_softmax),
    jax.device_put(np.tile(scores, 4), NamedSharding(mesh, P("data"))),
    exactly={"all-reduce": 2},
    max_bytes=2 * 4 * 8,  # a part has 8 scores
)
### BEGIN HIDDEN TESTS
half = max(1, n // 2)
few = jax.make_mesh((half,), ("data",), axis_types=(AxisType.Auto,), devices=devices[:half])
check_values(
    sharded_softmax,
    softmax_by_hand,
    [(np.linspace(-900, 900, 4 * half, dtype=np.float32), few)]
    + sweep(f"{3 * n}", grid, count=1, seed=5, planted=True),
    about="fewer devices, and a mesh of two axes",
)
check_sharding(
    sharded_softmax,
    np.arange(n, dtype=np.float32),
    grid,
    expected=NamedSharding(grid, P("data")),
    about="a mesh of two axes",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 7.4 Whispering to a neighbour
#
# To gather everything is often far too much. `lax.ppermute(x, "data", pairs)` sends along (source, target) pairs of device numbers, all at once; who is no one's target gets zeros. The pairs of a **ring** are $(i, i + 1 \bmod n)$.

# %% tags=["demonstration"]
angle = np.pi / 2 - 2 * np.pi * np.arange(n) / n
spots = np.stack([np.cos(angle), np.sin(angle)], axis=1)
figure, panel = plt.subplots(figsize=(5, 5))
for i, (here, there) in enumerate(zip(spots, np.roll(spots, -1, axis=0))):
    bend = {"arrowstyle": "->", "shrinkA": 26, "shrinkB": 26, "connectionstyle": "arc3,rad=-0.15"}
    panel.annotate("", xy=there, xytext=here, arrowprops={**bend, "color": "tab:blue", "lw": 2})
    panel.annotate("", xy=here, xytext=there, arrowprops={**bend, "color": "tab:red", "ls": "--"})
    panel.text(*here, f"device {i}\n[{2 * i}, {2 * i + 1}]", ha="center", va="center")
panel.text(0, 0, "blue: last element forward\nred: first element back", ha="center", va="center")
panel.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect="equal")
panel.axis("off")
plt.show()

# %% [markdown]
# *The ring: a vector of 2n elements, two on each device. Along the blue arrows every device sends its last element to the next one, along the red dashed arrows its first to the one before; the last device's next is device 0.*
#
# ### A stencil on a ring
# **Exercise** · 9 minutes · difficulty 4 of 5
#
# $y_i = k_0 x_{i-1} + k_1 x_i + k_2 x_{i+1}$, with the ends of the vector joined. `x` is cut over the mesh axis `"data"`, whatever other axes the mesh has, each part with at least one element, and so is `y`. A device needs one number from each side: exactly two collective-permutes, of one number each.

# %% exercise="ring_filter"
def ring_filter(x: Float[Array, "cells"], kernel: Float[Array, "3"], mesh) -> Float[Array, "cells"]:
    """The stencil with weights `kernel` on a ring of cells, cut over the mesh axis "data"."""
    ### BEGIN SOLUTION
    size = mesh.shape["data"]
    forward = [(i, (i + 1) % size) for i in range(size)]
    back = [(target, source) for source, target in forward]

    def body(part, kernel):
        before = lax.ppermute(part[-1:], "data", forward)
        after = lax.ppermute(part[:1], "data", back)
        padded = jnp.concatenate([before, part, after])
        return kernel[0] * padded[:-2] + kernel[1] * padded[1:-1] + kernel[2] * padded[2:]

    mapped = jax.shard_map(body, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    return jax.jit(mapped)(x, kernel)
    ### END SOLUTION

# %% [markdown] hints="ring_filter"
# <details><summary>Hint 1: the idea</summary>
#
# Ask for the two missing cells, put them at the ends of your part, and the stencil is three slices of the longer one.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.ppermute(part[-1:], "data", pairs)` keeps the axis, so that `jnp.concatenate` can join the cells. `mesh.shape["data"]` is the number of devices of this mesh.
# </details>
# <details><summary>Hint 3: which way</summary>
#
# The cell before my first one is the *last* of the device before me: it travels forward.
# </details>

# %% check="ring_filter" points=3
def ring_by_hand(x, kernel, mesh, wrap=True, back=1):
    y = np.zeros_like(x)
    for i in range(len(x)):
        for weight, at in zip(kernel, (i - back, i, i + back)):
            if wrap or 0 <= at < len(x):
                y[i] += weight * x[at % len(x)]
    return y


def small_rings(x, kernel, mesh):
    parts = np.split(x, len(mesh.devices))
    return np.concatenate([ring_by_hand(part, kernel, mesh) for part in parts])


(cells, kernel, _), *_ = cases = sweep(f"{3 * n}", "3", mesh, count=1) + sweep(
    f"{n}", "3", mesh, count=1, seed=1
)
check_values(
    ring_filter,
    ring_by_hand,
    cases,
    mistakes={
        "each device closes a ring of its own": small_rings,
        "the ends are not joined: the outer devices got zeros": partial(ring_by_hand, wrap=False),
        "left and right have changed places": partial(ring_by_hand, back=-1),
    },
)
check_sharding(ring_filter, cells, kernel, mesh, expected=NamedSharding(mesh, P("data")))
check_collectives(
    through(lambda f, x, kernel: f(x, kernel, mesh), ring_filter),
    jax.device_put(cells, NamedSharding(mesh, P("data"))),
    kernel,
    exactly={"collective-permute": 2},
    max_bytes=8,
)
### BEGIN HIDDEN TESTS
half = max(1, n // 2)
few = jax.make_mesh((half,), ("data",), axis_types=(AxisType.Auto,), devices=devices[:half])
check_values(
    ring_filter,
    ring_by_hand,
    sweep(f"{4 * half}", "3", few, count=1, seed=4)
    + sweep(f"{2 * (n // wide)}", "3", grid, count=1, seed=5, planted=True),
    about="fewer devices, and a mesh of two axes",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 7.5 Gradients on all devices
#
# The model of this course, a batch that fills all devices, and the gradient on one device for comparison:

# %%
rng = np.random.default_rng(0)


def init_layer(n_in, n_out):
    w = rng.normal(size=(n_in, n_out)) * np.sqrt(2 / n_in)
    return {"w": jnp.asarray(w, jnp.float32), "b": jnp.zeros(n_out)}


def mlp(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
    return hidden @ params["output"]["w"] + params["output"]["b"]


def loss_fn(params, x, y):
    return jnp.mean((mlp(params, x) - y) ** 2)


params = {"hidden": init_layer(3, 32), "output": init_layer(32, 1)}
x = jnp.asarray(rng.normal(size=(4 * n, 3)), jnp.float32)
y = jnp.sum(x**2, axis=1, keepdims=True)
grads = jax.grad(loss_fn)(params, x, y)

# %% [markdown]
# Each device takes the gradient of the mean over its own examples, and no `psum`, no `pmean` stands anywhere:
#
# ```python
# jax.shard_map(jax.grad(loss_fn), mesh=mesh, in_specs=(P(), P("data"), P("data")), out_specs=P())
# ```
#
# One expects to be refused, for n different gradients in one place. It runs.
#
# **Prediction** · 2 minutes · difficulty 4 of 5
#
# Its result is the true gradient of the mean over the whole batch, times a number. Which?

# %% exercise="times_too_large" kind="prediction"
# A number, or an expression with n.
### BEGIN SOLUTION
times_too_large = n
### END SOLUTION

# %% check="times_too_large" points=1
def gradient_ratio():
    def loss_fn(w, x):
        return jnp.mean(w * x)

    specs = {"in_specs": (P(), P("data")), "out_specs": P()}
    given = jnp.float32(2), jnp.ones(2 * n)
    mapped = jax.shard_map(jax.grad(loss_fn), mesh=mesh, **specs)
    return round(float(mapped(*given) / jax.grad(loss_fn)(*given)))


check_answer(
    times_too_large,
    gradient_ratio,
    because="Shared parameters: the gradients of all devices are added, n means where one is due.",
    mistakes={
        1: "the devices' gradients are added up by somebody; who divides?",
        1 / n: "the mean of each part is divided by the size of that part alone",
    },
)

# %% tags=["demonstration"]
in_parts = partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("data"), P("data")), out_specs=P())
summed = jax.jit(in_parts(jax.grad(loss_fn)))(params, x, y)
averaged = jax.jit(in_parts(lambda *args: lax.pmean(jax.grad(loss_fn)(*args), "data")))
print("no collective:", (summed["output"]["b"] / grads["output"]["b"]).item())
print("with pmean:   ", (averaged(params, x, y)["output"]["b"] / grads["output"]["b"]).item())

# %% [markdown]
# The parameters are *one* value, used by every device. Where a value is used several times, its gradient is the sum over the uses; here they are on n devices, so reverse mode ends in a `psum`. And `pmean` afterwards averages n equal numbers, which changes nothing. (`pmap`, and `shard_map` with `check_vma=False`, do not do this: there, as in most older texts, the `pmean` of gradients is right.)
#
# Two ways are right while `check_vma` is on, as it is by default. Make the *loss* the global one, with `lax.pmean` inside the function that is differentiated (with `check_vma=False` each device would then keep the gradient of its own part). Or mark the parameters as varying first, `lax.pcast(params, "data", to="varying")`: then each device has gradients of its own, and `pmean` is due.
#
# ### The data-parallel step
# **Exercise** · 10 minutes · difficulty 4 of 5
#
# `parallel_step` is one step of gradient descent on `loss_fn` over the whole batch, by `jax.shard_map`: `params` whole, `x` and `y` cut. Each is cut over `"data"`, whatever other axes the mesh has. It equals the step on one device, leaves the parameters whole on every device of `mesh`, and all gradients travel in one all-reduce (the compiler packs a tree into one, if you let it).

# %% exercise="parallel_step"
def parallel_step(
    params, x: Float[Array, "batch inputs"], y: Float[Array, "batch outputs"], learning_rate, mesh
):
    """`params` after one step of gradient descent, computed on all devices of `mesh`."""
    ### BEGIN SOLUTION
    def body(params, x, y, learning_rate):
        def global_loss(params):
            return lax.pmean(loss_fn(params, x, y), "data")

        grads = jax.grad(global_loss)(params)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)

    specs = P(), P("data"), P("data"), P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P())
    return jax.jit(mapped)(params, x, y, learning_rate)
    ### END SOLUTION

# %% [markdown] hints="parallel_step"
# <details><summary>Hint 1: the idea</summary>
#
# Write the step of lesson 03 as the body, and decide at which point the devices agree: on the loss, or on the gradients.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.pmean` takes a number or a whole tree. `in_specs` has an entry for each argument of the body, the learning rate too.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# ```python
# def body(params, x, y, learning_rate):
#     def global_loss(params):
#         return ...
#
#     grads = jax.grad(global_loss)(params)
#     return jax.tree.map(...)
# ```
# </details>

# %% check="parallel_step" points=4
def slopes_by_hand(params, x, y):
    hidden = np.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    error = 2 * (hidden @ params["output"]["w"] + params["output"]["b"] - y) / y.size
    behind = error @ params["output"]["w"].T * (hidden > 0)
    return {
        "hidden": {"w": x.T @ behind, "b": behind.sum(axis=0)},
        "output": {"w": hidden.T @ error, "b": error.sum(axis=0)},
    }


def stepped(params, x, y, rate, mesh=None, rows=None, times=1.0):
    grads = slopes_by_hand(params, x[:rows], y[:rows])
    return jax.tree.map(lambda p, g: p - times * rate * g, params, grads)


def layers(inputs, hidden, outputs):
    return {
        "hidden": {"w": f"{inputs} {hidden}", "b": f"{hidden}"},
        "output": {"w": f"{hidden} {outputs}", "b": f"{outputs}"},
    }


some = sweep(layers(3, 4, 1), f"{2 * n} 3", f"{2 * n} 1", 0.1, mesh, count=2)
check_values(
    parallel_step,
    stepped,
    some,
    mistakes={
        "the gradients are n times too large: they are added over the devices, not averaged": (
            partial(stepped, times=n)
        ),
        "the gradients are added over the devices twice": partial(stepped, times=n * n),
        "only the examples of the first device count": partial(stepped, rows=2),
        "uphill: the gradient is added": partial(stepped, times=-1),
    },
)
check_sharding(parallel_step, *some[0], expected=NamedSharding(mesh, P()))
check_primitives(
    through(lambda f, params, x, y: f(params, x, y, 0.1, mesh), parallel_step),
    *some[0][:3],
    requires=("shard_map",),
)
rows = NamedSharding(mesh, P("data"))
check_collectives(
    through(lambda f, params, x, y: f(params, x, y, 0.1, mesh), parallel_step),
    jax.device_put(some[0][0], NamedSharding(mesh, P())),
    jax.device_put(some[0][1], rows),
    jax.device_put(some[0][2], rows),
    exactly={"all-reduce": 1},
    max_bytes=4 * 22,  # the 21 parameters, and perhaps the loss
)
### BEGIN HIDDEN TESTS
half = max(1, n // 2)
few = jax.make_mesh((half,), ("data",), axis_types=(AxisType.Auto,), devices=devices[:half])
check_values(
    parallel_step,
    stepped,
    sweep(layers(2, 4, 3), f"{2 * half} 2", f"{2 * half} 3", np.float32(0.5), few, count=1, seed=5)
    + sweep(
        layers(3, 5, 2), f"{n // wide} 3", f"{n // wide} 2", 0.02, grid, count=1, planted=True
    ),
    about="fewer devices, and a mesh of two axes",
)
### END HIDDEN TESTS

# %% [markdown]
# ### Bug hunt: noise of its own
#
# Data augmentation on all devices: each pixel is meant to get its own noise.

# %% tags=["demonstration"]
def noisy_broken(key, x, scale, mesh):
    def body(key, part):
        return part + scale * jax.random.normal(key, part.shape)

    specs = {"in_specs": (P(), P("data")), "out_specs": P("data")}
    return jax.jit(jax.shard_map(body, mesh=mesh, **specs))(key, x)


plt.figure(figsize=(10, 3))
plt.imshow(noisy_broken(jax.random.key(0), np.zeros((2 * n, 60)), 1.0, mesh), cmap="gray")
plt.yticks(range(0, 2 * n, 2), [f"device {i}" for i in range(n)])
plt.xlabel("column of x")
plt.show()

# %% [markdown]
# *The noise on a black picture of 2n rows and 60 columns, two rows to a device: the same two rows of grey pixels again and again, from top to bottom.*
#
# Shape, mean, variance and sharding are right, and so is the noise of each device alone.
#
# ### Noise for each
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# `noisy` is `noisy_broken` without the fault: `x` plus normal noise of standard deviation `scale`, independent for each element; the result is cut along axis 0.

# %% exercise="noisy"
def noisy(key: Key[Array, ""], x: Float[Array, "rows columns"], scale: float, mesh):
    """`x` with independent noise, cut over the mesh axis "data" along axis 0."""
    ### BEGIN SOLUTION
    def body(key, part):
        own_key = jax.random.fold_in(key, lax.axis_index("data"))
        return part + scale * jax.random.normal(own_key, part.shape)

    specs = {"in_specs": (P(), P("data")), "out_specs": P("data")}
    return jax.jit(jax.shard_map(body, mesh=mesh, **specs))(key, x)
    ### END SOLUTION

# %% [markdown] hints="noisy"
# <details><summary>Hint 1: the idea</summary>
#
# One key in, so a device must add something that only it has.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.axis_index("data")` and, from lesson 05, `jax.random.fold_in`. Or split outside, and let `in_specs` hand out the keys.
# </details>

# %% check="noisy" points=2
black = np.zeros((2 * n, 20), np.float32)
def without_noise(noisy, key, x, scale, mesh):
    return noisy(key, x, scale, mesh) - noisy(key, np.zeros_like(x), scale, mesh)


check_keys(noisy, jax.random.key(31), black, 1.0, mesh, rows=True)
check_distribution(
    noisy,
    jax.random.key(32),
    np.full((4 * n, 1000), 3, np.float32),
    0.5,
    mesh,
    cdf=scipy.stats.norm(3, 0.5).cdf,
    mistakes={
        "the scale is left out": scipy.stats.norm(3, 1).cdf,
        "the scale is taken for a variance": scipy.stats.norm(3, 0.5**0.5).cdf,
        "the picture itself is lost": scipy.stats.norm(0, 0.5).cdf,
    },
)
check_values(
    through(without_noise, noisy),
    lambda key, x, scale, mesh: x,
    sweep(jax.random.key(33), f"{2 * n} 20", 1.0, mesh, count=2, scale=300),
    about="the result less that of a black picture with the same key",
)
check_sharding(noisy, jax.random.key(31), black, 1.0, mesh, expected=NamedSharding(mesh, P("data")))
### BEGIN HIDDEN TESTS
less = max(1, n - 1)
few = jax.make_mesh((less,), ("data",), axis_types=(AxisType.Auto,), devices=devices[:less])
grey = np.ones((3 * less, 12), np.float32)
check_keys(
    noisy, jax.random.key(77), grey, np.float32(2), few, rows=True, about="one device fewer"
)
check_sharding(
    noisy,
    jax.random.key(78),
    np.ones((2 * (n // wide), 5), np.float32),
    0.1,
    grid,
    expected=NamedSharding(grid, P("data")),
    about="a mesh of two axes",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 7.6 pmap: read it, then migrate
#
# Much code in the wild has `jax.pmap`, "`vmap` over devices". It works still, built on `jit` and `shard_map`, and is no longer developed. Here is batch normalisation over all devices, in old and in new:

# %% tags=["demonstration"]
def normalise(x):
    mean = lax.pmean(x.mean(axis=0), "data")
    variance = lax.pmean(((x - mean) ** 2).mean(axis=0), "data")
    return (x - mean) * lax.rsqrt(variance + 1e-5)


old = jax.pmap(normalise, axis_name="data", devices=devices)(x.reshape(n, -1, 3))
new = jax.shard_map(normalise, mesh=mesh, in_specs=P("data"), out_specs=P("data"))(x)
print(old.shape, new.shape, jnp.allclose(old.reshape(-1, 3), new))

# %% [markdown]
# `pmap` wants a leading axis of exactly n, and takes it away; `shard_map` cuts an axis and leaves it there. So in migrating the reshapes go, `in_axes=0` becomes `P("data")`, `in_axes=None` becomes `P()`, and the body stays the same. Two traps: a (n, batch, ...) array left in that shape gives the body a leading axis of size 1; and gradients by what is replicated, as you have seen.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# Four transformations in a row, from an old training script. `params["hidden"]["w"]` has shape (3, 32), the reshaped `x` has shape (n, 4, 3).
#
# ```python
# old_grads = jax.pmap(
#     jax.vmap(jax.jit(jax.grad(loss_fn)), in_axes=(None, 0, 0)), in_axes=(None, 0, 0)
# )
# old_grads(params, x.reshape(n, -1, 3), y.reshape(n, -1, 1))["hidden"]["w"].shape
# ```

# %% exercise="old_shape" kind="prediction"
# A tuple, in which you may write n.
### BEGIN SOLUTION
old_shape = (n, 4, 3, 32)
### END SOLUTION

# %% check="old_shape" points=1
def shape_of_old_grads():
    per_example = jax.vmap(jax.jit(jax.grad(loss_fn)), in_axes=(None, 0, 0))
    per_device = jax.pmap(per_example, in_axes=(None, 0, 0), devices=devices)
    given = params, jnp.ones((n, 4, 3)), jnp.ones((n, 4, 1))
    return jax.eval_shape(per_device, *given)["hidden"]["w"].shape


check_answer(
    old_shape,
    shape_of_old_grads,
    because="One axis from `pmap`, one from `vmap`; `jit` and `grad` add none.",
    mistakes={
        (3, 32): "each of the two maps gives the result an axis",
        (n, 3, 32): "the `vmap` inside has an axis too: nothing is summed over the examples",
        (4 * n, 3, 32): "`pmap` keeps its own axis apart",
    },
)

# %% [markdown]
# ### The migration
# **Exercise** · 8 minutes · difficulty 4 of 5
#
# `per_example_grads` is `old_grads` on a mesh: the gradient of `loss_fn` for every single example, by `jax.shard_map`. `x` and `y` come with one batch axis, and each leaf of the result has it in front and is cut along it. The old program sent nothing between devices; nor does the new one.

# %% exercise="per_example_grads"
def per_example_grads(
    params, x: Float[Array, "batch inputs"], y: Float[Array, "batch outputs"], mesh
):
    """A tree like `params`, each leaf with a leading batch axis, cut over "data"."""
    ### BEGIN SOLUTION
    def body(params, x, y):
        own_params = lax.pcast(params, "data", to="varying")
        return jax.vmap(jax.grad(loss_fn), in_axes=(None, 0, 0))(own_params, x, y)

    specs = P(), P("data"), P("data")
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P("data"))
    return jax.jit(mapped)(params, x, y)
    ### END SOLUTION

# %% [markdown] hints="per_example_grads"
# <details><summary>Hint 1: the idea</summary>
#
# The `vmap` of the old line can stay as it is: it becomes the body. Then ask what happens to a gradient by parameters that all devices share.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.pcast(params, "data", to="varying")` in the body makes the parameters each device's own.
# </details>

# %% check="per_example_grads" points=3
def grads_one_by_one(params, x, y, mesh=None):
    found = []
    for i in range(len(x)):
        hidden = np.maximum(x[i] @ params["hidden"]["w"] + params["hidden"]["b"], 0)
        error = 2 * (hidden @ params["output"]["w"] + params["output"]["b"] - y[i]) / y.shape[1]
        behind = params["output"]["w"] @ error * (hidden > 0)
        found.append(
            {
                "hidden": {"w": np.outer(x[i], behind), "b": behind},
                "output": {"w": np.outer(hidden, error), "b": error},
            }
        )
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


def mixed(params, x, y, mesh):
    def added(leaf):
        parts = np.stack(np.split(leaf, len(mesh.devices)))
        return np.concatenate([parts.sum(axis=0)] * len(parts))

    return jax.tree.map(added, grads_one_by_one(params, x, y))


def layers(inputs, hidden, outputs):
    return {
        "hidden": {"w": f"{inputs} {hidden}", "b": f"{hidden}"},
        "output": {"w": f"{hidden} {outputs}", "b": f"{outputs}"},
    }


cases = sweep(layers(3, 4, 1), f"{2 * n} 3", f"{2 * n} 1", mesh, count=1)
placed = jax.device_put(
    cases[0][:3], tuple(NamedSharding(mesh, P(*a)) for a in ((), ("data",), ("data",)))
)
check_values(
    per_example_grads,
    grads_one_by_one,
    cases,
    mistakes={"the gradients of examples on different devices are added up": mixed},
)
check_sharding(per_example_grads, *cases[0], expected=NamedSharding(mesh, P("data")))
check_primitives(
    through(lambda f, params, x, y: f(params, x, y, mesh), per_example_grads),
    *cases[0][:3],
    requires=("shard_map",),
)
check_collectives(
    through(lambda f, params, x, y: f(params, x, y, mesh), per_example_grads), *placed
)
### BEGIN HIDDEN TESTS
check_values(
    per_example_grads,
    grads_one_by_one,
    sweep(layers(2, 4, 3), f"{n} 2", f"{n} 3", mesh, count=1, seed=7)
    + sweep(
        layers(4, 3, 2), f"{3 * (n // wide)} 4", f"{3 * (n // wide)} 2", grid, count=1, planted=True
    ),
    about="one example for each device, and a mesh of two axes",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 7.7 Send less
#
# Messages cost more than arithmetic: a link between devices carries far fewer bytes than memory does. So ask of each message how large it is, and whether something smaller would do. A line through points on all devices, as a newcomer fits it (to JAX a gathered value varies by default, hence `check_vma=False`):

# %% tags=["demonstration"]
def fit_by_gathering(x, y):
    x = lax.all_gather(x, "data", tiled=True)
    y = lax.all_gather(y, "data", tiled=True)
    return jnp.linalg.lstsq(x, y)[0]


mapped = jax.shard_map(
    fit_by_gathering, mesh=mesh, in_specs=P("data"), out_specs=P(), check_vma=False
)
print(messages(mapped, x, y[:, 0]))

# %% [markdown]
# Every device gets all the data, and does the same work. With a million rows of ten columns, that is forty megabytes to each device, for ten numbers.
#
# ### Least squares where the data are
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# `least_squares(x, y, mesh)` is the `w` that minimises $\|xw - y\|^2$, which solves $(x^\top x)\,w = x^\top y$. The rows are cut over the mesh axis `"data"`, a device may have fewer rows than there are columns, and `w` ends up on every device. Exactly one all-reduce, of a size that does not depend on the number of rows: for $c$ columns no more than $(c + 1)^2$ numbers.

# %% exercise="least_squares"
def least_squares(
    x: Float[Array, "rows columns"], y: Float[Array, "rows"], mesh
) -> Float[Array, "columns"]:
    """The solution over all rows, whole on every device; the rows stay where they are."""
    ### BEGIN SOLUTION
    def body(x, y):
        gram, moment = lax.psum((x.T @ x, x.T @ y), "data")
        return jnp.linalg.solve(gram, moment)

    mapped = jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P())
    return jax.jit(mapped)(x, y)
    ### END SOLUTION

# %% [markdown] hints="least_squares"
# <details><summary>Hint 1: the idea</summary>
#
# $x^\top x$ is a sum over rows. What does a device contribute to it, and how large is that?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.psum` takes a tuple: both sums in one message. `jnp.linalg.solve` comes after it.
# </details>

# %% check="least_squares" points=3
def solved(x, y, mesh=None):
    return np.linalg.lstsq(x, y, rcond=None)[0]


def solutions(x, y, mesh):
    count = len(mesh.devices)
    return np.stack([solved(*part) for part in zip(np.split(x, count), np.split(y, count))])


cases = sweep(f"{5 * n} 3", f"{5 * n}", mesh, count=2)
((few, targets, _),) = sweep(f"{2 * n} 3", f"{2 * n}", mesh, count=1, seed=2)
few[:2] = 0  # the first device cannot tell anything from its rows
rows = NamedSharding(mesh, P("data"))
check_values(
    least_squares,
    solved,
    [*cases, (few, targets, mesh)],
    rtol=1e-3,
    mistakes={
        "each device solves for its own rows, and the solutions are averaged": (
            lambda x, y, mesh: solutions(x, y, mesh).mean(axis=0)
        ),
        "only the rows of the first device count": lambda x, y, mesh: solutions(x, y, mesh)[0],
    },
)
check_sharding(least_squares, *cases[0], expected=NamedSharding(mesh, P()))
check_collectives(
    through(lambda f, x, y: f(x, y, mesh), least_squares),
    *jax.device_put(cases[0][:2], rows),
    exactly={"all-reduce": 1},
    max_bytes=64,  # 3 columns and the targets: at most 4 x 4 products
)
### BEGIN HIDDEN TESTS
check_values(
    least_squares,
    solved,
    sweep(f"{3 * n} 2", f"{3 * n}", mesh, count=1, seed=6, scale=0.01)
    + sweep(f"{4 * (n // wide)} 2", f"{4 * (n // wide)}", grid, count=1, seed=8, planted=True),
    rtol=1e-3,
    about="small numbers, and a mesh of two axes",
)
### END HIDDEN TESTS

# %% [markdown]
# ### A layer in slices
#
# When the parameters themselves are too large for one device, cut *them*. A hidden layer with its columns cut computes some of the units on each device, and needs nobody. An output layer with its rows cut the same way takes just those units, and gives a share of every output: a sum over devices is missing, and nothing else. This pair is Megatron's layer, and **tensor parallelism**.
#
# **Exercise** · 8 minutes · difficulty 4 of 5
#
# `tensor_parallel` is `mlp` with the hidden units cut over the mesh axis `"model"`: hidden `w` by columns, hidden `b` alike, output `w` by rows, output `b` and `x` whole. The output is whole on every device. Exactly one all-reduce, of the size of the output, whatever the number of units and whatever other axes the mesh has.

# %% exercise="tensor_parallel"
def tensor_parallel(params, x: Float[Array, "batch inputs"], mesh) -> Float[Array, "batch outputs"]:
    """The outputs of `mlp(params, x)`, the hidden units shared out over the axis "model"."""
    ### BEGIN SOLUTION
    def body(params, x):
        hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
        return lax.psum(hidden @ params["output"]["w"], "model") + params["output"]["b"]

    specs = {
        "hidden": {"w": P(None, "model"), "b": P("model")},
        "output": {"w": P("model"), "b": P()},
    }
    mapped = jax.shard_map(body, mesh=mesh, in_specs=(specs, P()), out_specs=P())
    return jax.jit(mapped)(params, x)
    ### END SOLUTION

# %% [markdown] hints="tensor_parallel"
# <details><summary>Hint 1: the idea</summary>
#
# The body is `mlp` with one `psum` in it. Write down, for each intermediate value, whether a device has a part of the columns, all of it, or a share of a sum.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `in_specs` may hold a tree: `{"hidden": {"w": P(None, "model"), ...}, ...}`.
# </details>
# <details><summary>Hint 3: the bias</summary>
#
# How often is something added that stands before a `psum`?
# </details>

# %% check="tensor_parallel" points=3
def mlp_by_hand(params, x, mesh=None, biases=1.0):
    hidden = np.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    return hidden @ params["output"]["w"] + biases * params["output"]["b"]


def first_slice(params, x, mesh):
    units = params["hidden"]["b"].size // len(mesh.devices)
    hidden = np.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    return hidden[:, :units] @ params["output"]["w"][:units] + params["output"]["b"]


def layers(inputs, hidden, outputs):
    return {
        "hidden": {"w": f"{inputs} {hidden}", "b": f"{hidden}"},
        "output": {"w": f"{hidden} {outputs}", "b": f"{outputs}"},
    }


models, fewer = (
    jax.make_mesh((count,), ("model",), axis_types=(AxisType.Auto,), devices=devices[:count])
    for count in (n, max(1, n // 2))
)
specs = {"hidden": {"w": P(None, "model"), "b": P("model")}, "output": {"w": P("model"), "b": P()}}
cut = jax.tree.map(lambda spec: NamedSharding(models, spec), specs)
cases = sweep(layers(3, 2 * n, 2), "4 3", models, count=2)
check_values(
    tensor_parallel,
    mlp_by_hand,
    cases,
    mistakes={
        "the output bias is added once on each device": partial(mlp_by_hand, biases=n),
        "only the hidden units of the first device count": first_slice,
    },
)
check_sharding(tensor_parallel, *cases[0], expected=NamedSharding(models, P()))
check_collectives(
    through(lambda f, params, x: f(params, x, models), tensor_parallel),
    jax.device_put(cases[0][0], cut),
    jax.device_put(cases[0][1], NamedSharding(models, P())),
    exactly={"all-reduce": 1},
    max_bytes=4 * 4 * 2,
)
### BEGIN HIDDEN TESTS
check_values(
    tensor_parallel,
    mlp_by_hand,
    sweep(layers(2, 2 * fewer.size, 3), "5 2", fewer, count=1, seed=3),
    about="fewer devices",
)
check_values(
    tensor_parallel,
    mlp_by_hand,
    sweep(layers(2, wide, 3), "5 2", grid, count=1, seed=3, planted=True)
    + sweep(layers(3, 3 * wide, 1), "2 3", grid, count=1, seed=4),
    mistakes={
        "the output bias is divided by the number of all devices, not of those along the axis": (
            partial(mlp_by_hand, biases=wide / n)
        ),
    },
    about="a mesh of two axes",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 7.8 The sharding in the type
#
# Back to `axis_types`. With `Auto` axes the compiler chooses how intermediate values lie; you find out afterwards. `Explicit` axes, the default of `jax.make_mesh`, put the sharding into the *type*: it is known at trace time, each operation has a rule for it, and where a rule would have to guess, JAX asks you.

# %%
typed_mesh = jax.make_mesh((n,), ("data",), devices=devices)
a = jax.device_put(jnp.ones((2 * n, 4)), NamedSharding(typed_mesh, P("data")))
print(typed_mesh)
print(
    jax.typeof(a), "  transposed:", jax.typeof(a.T), "  axis 0 summed:", jax.typeof(a.sum(axis=0))
)

# %% [markdown]
# Read `16@data` as: 16 rows, cut over "data". On `Auto` axes `jax.typeof` says nothing of it, and you look at `.sharding`.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# In `a.T @ a` the axis that is summed over is cut, on both sides. Is the result "whole" on each device, is it "cut", or is it an "error"?

# %% exercise="ambiguous_product" kind="prediction"
# One of the three strings.
### BEGIN SOLUTION
ambiguous_product = "error"
### END SOLUTION

# %% check="ambiguous_product" points=1
def try_product():
    try:
        typed = jax.device_put(jnp.ones((2 * n, 4)), NamedSharding(typed_mesh, P("data")))
        return "whole" if (typed.T @ typed).sharding.is_fully_replicated else "cut"
    except Exception:
        return "error"


check_answer(
    ambiguous_product,
    try_product,
    because="A ShardingTypeError: it could be summed to everyone, or to a part for each.",
    mistakes={
        "whole": "that is one possibility of two, and explicit axes do not guess",
        "cut": "that is one possibility of two, and explicit axes do not guess",
    },
)

# %% tags=["demonstration"]
try:
    a.T @ a
except Exception as error:
    print(type(error).__name__ + ":", error)
whole = NamedSharding(typed_mesh, P())
print(jax.typeof(jnp.matmul(a.T, a, out_sharding=whole)), jax.typeof(jax.reshard(a, whole)))

# %% [markdown]
# `out_sharding` decides how a result is to lie; `jax.reshard` moves an array, and the message is in plain sight. Indexing asks as well, by `table.at[index].get(out_sharding=...)`. A bare `P(...)` in their place needs a mesh around it: `with jax.set_mesh(typed_mesh):`. And `shard_map` on explicit axes insists that `in_specs` say how the arguments lie *already*; it refuses an array that is not cut, where an `Auto` mesh would have moved it silently. That is the difference: `Auto` moves data for you, `Explicit` makes you say so.
#
# ### Sentences as vectors
# **Exercise** · 8 minutes · difficulty 4 of 5
#
# `table` holds a vector for each word, `tokens` the words of each sentence. Return the mean vector of each sentence, cut along the sentences over `"data"`, and the matrix $v^\top v$ of all those means $v$, whole. Arguments and mesh are explicit, and both arguments come cut along axis 0.

# %% exercise="sentence_vectors"
def sentence_vectors(
    table: Float[Array, "words size"], tokens: Int[Array, "sentences length"], mesh
) -> tuple[Float[Array, "sentences size"], Float[Array, "size size"]]:
    """The mean word vector of each sentence, and the second moments of these means."""
    ### BEGIN SOLUTION
    rows, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    vectors = table.at[tokens].get(out_sharding=rows).mean(axis=1)
    return vectors, jnp.matmul(vectors.T, vectors, out_sharding=whole)
    ### END SOLUTION

# %% [markdown] hints="sentence_vectors"
# <details><summary>Hint 1: the idea</summary>
#
# Write it as if there were one device. JAX stops at the operations that are ambiguous; answer there.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `table.at[tokens].get(out_sharding=...)`, `jnp.matmul(..., out_sharding=...)`, each with a `NamedSharding(mesh, P(...))`.
# </details>

# %% check="sentence_vectors" points=3
def vectors_by_hand(table, tokens, mesh=None):
    vectors = np.stack([np.mean([table[t] for t in sentence], axis=0) for sentence in tokens])
    return vectors, sum(np.outer(v, v) for v in vectors)


def summed_words(table, tokens, mesh=None):
    vectors = tokens.shape[1] * vectors_by_hand(table, tokens)[0]
    return vectors, vectors.T @ vectors


def averaged_products(table, tokens, mesh=None):
    vectors, products = vectors_by_hand(table, tokens)
    return vectors, products / len(tokens)


def words(table_rows, sentences, length, seed, mesh=typed_mesh, size=3, scale=1.0):
    rng = np.random.default_rng(seed)
    cut = NamedSharding(mesh, P("data"))
    table = scale * rng.normal(size=(table_rows, size)).astype(np.float32)
    tokens = rng.integers(0, table_rows, (sentences, length), dtype=np.int32)
    return jax.device_put(table, cut), jax.device_put(tokens, cut), mesh


case = words(2 * n, 2 * n, 4, seed=0)
check_sharding(
    sentence_vectors,
    *case,
    expected=(NamedSharding(typed_mesh, P("data")), NamedSharding(typed_mesh, P())),
)
check_values(
    sentence_vectors,
    vectors_by_hand,
    [case],
    mistakes={
        "the words of a sentence are summed and not averaged": summed_words,
        "the products are averaged over the sentences": averaged_products,
    },
)
### BEGIN HIDDEN TESTS
half = max(1, n // 2)
few = jax.make_mesh((half,), ("data",), devices=devices[:half])
typed_grid = jax.make_mesh((n // wide, wide), ("data", "model"), devices=devices)
check_values(
    sentence_vectors,
    vectors_by_hand,
    [
        words(n, 3 * n, 2, seed=1),
        words(n, 3 * n, 2, seed=2, scale=300.0),
        words(3 * half, half, 5, seed=3, mesh=few, size=2),
        words(n, 2 * n, 3, seed=4, mesh=typed_grid),
    ],
    about="other sizes and meshes",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 7.9 More than one machine
#
# All devices so far belong to one Python process. On a cluster each machine runs the same script, and begins, before any array or `jax.devices()`, with `jax.distributed.initialize(coordinator_address, num_processes, process_id)` (on Cloud TPUs and under Slurm without arguments). From then on `jax.devices()` lists the devices of all machines and `jax.local_devices()` your own; meshes, `jit` and `shard_map` go on as you have written them. Each process must issue the same operations in the same order, or all wait for ever. It sees only its own parts (`addressable_shards`) and brings only its own data: `jax.make_array_from_process_local_data` joins them. It is not run here.
#
# ## What to remember
#
# 1. An array has one shape and many places: mesh, `PartitionSpec`, `NamedSharding`, `device_put`. What a spec does not mention is replicated.
# 2. Computation follows data: cut the batch, and `jit` inserts the collectives. Read the compiled text to see which.
# 3. `shard_map` is the view from one device. Its types know what varies; a gradient by something replicated is summed over the devices, so average the loss.
# 4. Send sums, not data; before a `psum` everything is added n times; a replicated key is the same noise n times.
# 5. `Auto` axes guess and move, `Explicit` axes write the sharding into the type and ask. `pmap` is for reading.
#
# ## Further reading
#
# The JAX documentation: *Introduction to parallel programming*, *Distributed arrays and automatic parallelization*, *Explicit sharding*, *Manual parallelism with shard_map*, *Migrating from pmap*, *Multi-process programming*. *How to Scale Your Model*, a book by the DeepMind team. Shoeybi and others, *Megatron-LM* (2019); Xu and others, *GSPMD* (2021).
#
# ## Next
#
# You can differentiate, compile, loop, draw, map and distribute. Lesson 08 puts it all to one use: it trains the network on real digits, to 97 per cent and more.
