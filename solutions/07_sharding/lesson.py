# %% [markdown]
# # 7 · Sharding: arrays and programs on many devices
#
# One array can be spread over many devices, and your programs run on it unchanged. This is how JAX trains models and batches that do not fit on one device. After this lesson you can
#
# - place arrays on a mesh of devices, and say which device holds which part;
# - let `jit` divide the work, count the messages between devices, and remove a needless one by a constraint;
# - use meshes that put the sharding into the type;
# - divide the work yourself with `jax.shard_map` and collectives;
# - train the MLP on all devices with the same result as on one, with parameters and optimizer state sharded (FSDP);
# - shard a layer that is too large for one device, and migrate `pmap` code.
#
# About 175 minutes for reading, exercises and waiting, in two halves: 55 for `jit` and shardings (7.1 to 7.3), and 120 for `shard_map` (7.4 to 7.10), with another place to stop after 7.7. You need lessons 02, 03, 05 and 06.
#
# You need no special hardware. With fewer than two accelerators, `lesson_devices(8)` simulates eight CPU devices. This must happen before JAX is first used: if the next cell says that JAX has already started, choose Kernel, Restart and run that cell first.

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
    show_program,
    sweep,
    through,
)

devices = lesson_devices(8)
n = len(devices)
print(n, "devices:", devices[0], "to", devices[-1])

# %% [markdown]
# Write `n` where you mean the number of devices.
#
# ## 7.0 Recall
#
# Two questions, one point each. Answer before you run anything.
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
    because="Each example sees its own x, and `pmean` returns the mean over all of them, 3.",
    mistakes={
        (0.0, 0.0, 0.0): "`pmean` is the mean over the mapped axis, not over one number",
        (-8.0, -7.0, -3.0): "that is `psum`. `pmean` divides by the size of the axis",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# Four groups of five examples: `jax.vmap(lambda k: jax.vmap(lambda x: x + jax.random.normal(k))(jnp.zeros(5)))(jax.random.split(key, 4))` has shape `(4, 5)`. How many different numbers does it contain?

# %% exercise="different_draws" kind="recall"
# An integer.
### BEGIN SOLUTION
different_draws = 4
### END SOLUTION

# %% check="different_draws" points=1
def count_draws():
    def group(k):
        return jax.vmap(lambda x: x + jax.random.normal(k))(jnp.zeros(5))

    return np.unique(jax.vmap(group)(jax.random.split(jax.random.key(0), 4))).size


check_answer(
    different_draws,
    count_draws,
    because="The keys are mapped over the groups, and shared by the five examples of a group.",
    mistakes={
        20: "the inner `vmap` does not map the key, so the examples of a group share one draw",
        1: "the outer `vmap` maps over four different keys",
        5: "the examples of a group share a key. There are four groups",
    },
)

# %% [markdown]
# ## 7.1 Mesh, PartitionSpec and NamedSharding
#
# A **mesh** is an array of devices whose axes have names. A **PartitionSpec**, written `P`, has one entry for each axis of an array: the mesh axis over which it is split, or `None`. Together they make a **NamedSharding**, and `jax.device_put` places an array accordingly.

# %%
mesh = jax.make_mesh((n,), ("data",), axis_types=(AxisType.Auto,), devices=devices)
wide = 2 if n % 2 == 0 else 1
grid = jax.make_mesh(
    (n // wide, wide), ("data", "model"), axis_types=(AxisType.Auto,) * 2, devices=devices
)
swapped = jax.make_mesh(
    (wide, n // wide), ("model", "data"), axis_types=(AxisType.Auto,) * 2, devices=devices
)
x = jax.device_put(jnp.ones((2 * n, 4)), NamedSharding(mesh, P("data")))
print(x.shape, x.sharding.spec)

# %% [markdown]
# The shape is that of the whole array. (`axis_types` is explained in 7.3.)
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# `z = jax.device_put(jnp.ones((6, 4 * n)), NamedSharding(mesh, P(None, "data")))`. What is the shape of `z.addressable_shards[0].data`, the part on the first device?

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
    because="`None` leaves axis 0 unsplit, and the second entry splits axis 1 into n parts.",
    mistakes={
        (6, 4 * n): "that is the whole array, which `P()` would put on every device",
        (6,): "a split axis stays. It is shorter on each device",
    },
)

# %%
def draw(arrays, width):
    """Draws matrices, and writes on each part the numbers of the devices that hold it."""
    figure, panels = plt.subplots(1, len(arrays), figsize=(width, 3.4))
    figure.set_label("Devices that hold each part of: " + ", ".join(arrays))
    for panel, (title, array) in zip(panels, arrays.items()):
        owner, holders = np.zeros(array.shape), {}
        for device, (down, across) in array.sharding.devices_indices_map(array.shape).items():
            part = (*down.indices(len(array))[:2], *across.indices(array.shape[1])[:2])
            holders.setdefault(part, []).append(str(devices.index(device)))
        for number, ((top, bottom, left, right), who) in enumerate(holders.items()):
            owner[top:bottom, left:right] = number
            place, name = ((left + right - 1) / 2, (top + bottom - 1) / 2), ", ".join(who)
            panel.text(*place, name if len(who) < n else "all", ha="center", va="center", fontsize=12)
        panel.imshow(owner, cmap="Pastel1", vmin=0, vmax=8, aspect="auto")
        panel.set(title=title, xlabel="column", ylabel="row")
    figure.tight_layout()
    plt.show()


# %% tags=["demonstration"]
layouts = {
    'mesh, P("data")': NamedSharding(mesh, P("data")),
    'mesh, P(None, "data")': NamedSharding(mesh, P(None, "data")),
    'grid, P("data", "model")': NamedSharding(grid, P("data", "model")),
    'grid, P("model")': NamedSharding(grid, P("model")),
}
square = np.zeros((n, n))
draw({title: jax.device_put(square, sharding) for title, sharding in layouts.items()}, width=11)

# %% [markdown]
# *Four shardings of a square matrix, and the devices that hold each part. With eight devices: eight bands of rows, eight bands of columns, four by two blocks, and two bands of rows, each held by four devices.*
#
# Along a mesh axis that the spec does not mention, the array is **replicated**, and `P()` replicates it on all devices. The size of a split axis must be a multiple of the size of the mesh axis: n + 1 rows on n devices raise an `IndivisibleError`.
#
# > **In PyTorch**, the placements of a `DTensor` are listed by *mesh* axis, as in `[Shard(0), Replicate()]`. A `PartitionSpec` is listed by *array* axis, and names the mesh axis.
#
# ### Choose a sharding for each parameter
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# `shard_params(params, mesh)` returns `params`, a pytree of arrays, placed on `mesh`. Each leaf is split over the mesh axis `"data"`, along its longest axis among those whose size is a multiple of the size of `"data"`.
#
# Of equally long axes, take the first. A leaf without such an axis is replicated. The mesh may have other axes, before `"data"` or after it.
#
# The check compares shardings, dtypes and values.

# %% exercise="shard_params"
def shard_params(params, mesh):
    """`params` on `mesh`: each leaf is split along the longest axis that "data" divides."""
    ### BEGIN SOLUTION
    size = mesh.shape["data"]

    def place(leaf):
        possible = [axis for axis in range(leaf.ndim) if leaf.shape[axis] % size == 0]
        spec = [None] * leaf.ndim
        if possible:
            spec[max(possible, key=lambda axis: leaf.shape[axis])] = "data"
        return jax.device_put(leaf, NamedSharding(mesh, P(*spec)))

    return jax.tree.map(place, params)
    ### END SOLUTION

# %% [markdown] hints="shard_params"
# <details><summary>Hint 1: the idea</summary>
#
# Write a function for one leaf, and use `jax.tree.map`. The shape of the leaf decides everything.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `mesh.shape["data"]` is the number of devices along `"data"`. A list of entries becomes a spec by `P(*entries)`.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# Collect the axes that can be split. `max(axes, key=lambda axis: leaf.shape[axis])` returns the first of the longest. Put `"data"` there, in a list of `leaf.ndim` times `None`.
# </details>

# %% check="shard_params" points=3
def counted(*shape, dtype=np.float32):
    return np.arange(np.prod(shape, dtype=int), dtype=dtype).reshape(shape)


some_params = {
    "tall": counted(2 * n, 3),
    "broad": counted(n, 3 * n),
    "equal": counted(n, n),
    "odd": counted(3 * n + 1, n),
    "small": counted(n + 1),
    "scale": np.float32(0.5),
    "steps": counted(2, 2, n, dtype=np.int32),
    "cube": counted(2 * n, 3, 3),
}
some_specs = {
    "tall": P("data"),
    "broad": P(None, "data"),
    "equal": P("data"),
    "odd": P(None, "data"),
    "small": P(),
    "scale": P(),
    "steps": P(None, None, "data"),
    "cube": P("data"),
}
check_sharding(
    shard_params,
    some_params,
    mesh,
    expected={name: NamedSharding(mesh, spec) for name, spec in some_specs.items()},
    about="a mesh of one axis",
)
down = n // wide
check_sharding(
    shard_params,
    [counted(n), (counted(down, 2),)],
    grid,
    expected=[NamedSharding(grid, P("data")), (NamedSharding(grid, P("data")),)],
    about="a mesh of two axes",
)
check_values(
    shard_params,
    lambda params, mesh: params,
    [
        (some_params, mesh),
        *sweep({"w": f"{n} 3", "b": "3"}, mesh, count=1),
        *sweep([f"{n} {2 * n}"], grid, count=1, seed=1, scale=1000.0),
    ],
)
### BEGIN HIDDEN TESTS
widest = P("data") if 5 * wide % (n // wide) else P(None, "data")
check_sharding(
    shard_params,
    (counted(n // wide, 3), counted(3, n // wide), counted(n // wide, 5 * wide)),
    swapped,
    expected=tuple(
        NamedSharding(swapped, spec) for spec in (P("data"), P(None, "data"), widest)
    ),
    about="a mesh whose first axis is another one",
)
check_dtype(
    shard_params,
    {"w": counted(n, 2, dtype=np.float16), "b": counted(3, dtype=np.int8)},
    mesh,
    returns={"w": "float16", "b": "int8"},
)
### END HIDDEN TESTS

# %% [markdown]
# Your function places four matrices:

# %% tags=["demonstration", "raises-exception"]
shapes = {"3 by 5": (3, 5), "3n by 2n": (3 * n, 2 * n), "n by 2n": (n, 2 * n), "n by n + 1": (n, n + 1)}
draw(shard_params({name: jnp.zeros(shape) for name, shape in shapes.items()}, mesh), width=11)

# %% [markdown]
# *With eight devices: one matrix that all devices hold, eight bands of rows, eight bands of columns, and bands of rows again, since n + 1 columns cannot be split.*
#
# ## 7.2 Computation follows data: jit on sharded arrays
#
# A function, with or without `jit`, runs on the devices that hold its arguments, and its result stays there.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# `x` is split by `P("data")`. What is the spec of `jnp.sin(x).T`?

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
    because="Nothing moves: each device transposes its rows, which become columns.",
    mistakes={
        ("data", None): "for that, every device would have to send to every other",
        (None, None): "no operation here needs a copy on every device",
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
# Messages between devices are **collectives**. An *all-reduce* adds an array over all devices and gives every device the result. An *all-gather* gives every device all the parts. The compiler inserts them without telling you, so read the compiled text.
#
# **Prediction** · 1 minute · difficulty 3 of 5
#
# `x` is split along axis 0. How many all-reduces are in the program of `x.sum(axis=1)`, and how many in that of `x.sum(axis=0)`?

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
    because="Each row is on one device. Each column is spread over all devices.",
    mistakes={
        (1, 0): "the other way round: `axis=1` sums along a row, which is on one device",
        (1, 1): "`axis=1` sums along a row, which is on one device",
        (0, 4): "the sums of all four columns are one message",
    },
)

# %% [markdown]
# An array that you place with `device_put` is *committed* to its devices. Combining arrays that are committed to different sets of devices raises a `ValueError`. A fresh `jnp.ones(3)` is uncommitted, and JAX moves it where it is needed.
#
# A data-parallel step needs no new code: split the batch, replicate the parameters, and the mean over the batch becomes an all-reduce. To fix the placement, pass `in_shardings` and `out_shardings` to `jit`. NumPy and uncommitted arrays are placed as you say. An array committed to several devices in another way raises a `ValueError`.

# %%
rows, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())


def linear_step(w, x, y):
    return w - 0.1 * jax.grad(lambda w: jnp.mean((x @ w - y) ** 2))(w)


step = jax.jit(linear_step, in_shardings=(whole, rows, rows), out_shardings=whole)
print(messages(step, np.ones(4), np.ones((2 * n, 4)), np.ones(2 * n)))

# %% [markdown]
# > **In PyTorch**, you start one process for each device. In JAX, one process runs all devices of a machine.
#
# ### with_sharding_constraint: the sharding of an intermediate value
#
# The compiler chooses the sharding of intermediate values, and not always the cheapest. Here a small batch, split by examples, passes through two large weights, each split by rows:

# %%
def forward_plain(ws, x):
    for w in ws[:-1]:
        x = jax.nn.relu(x @ w)
    return x @ ws[-1]


large = jax.device_put([jnp.ones((16 * n, 32 * n)), jnp.ones((32 * n, 16 * n))], rows)
print(messages(forward_plain, large, jax.device_put(jnp.ones((n, 16 * n)), rows)))

# %% [markdown]
# Each device gathers both weights, with eight devices 256 kB, although the batch has 4 kB. This is right for a large batch. For a small one, move the activations instead. `lax.with_sharding_constraint(value, sharding)` fixes the sharding of a value in the middle of a program, and never changes the numbers.
#
# **Exercise** · 9 minutes · difficulty 3 of 5
#
# `forward(ws, x, mesh)` returns `forward_plain(ws, x)`. `x` is split along axis 0 over `"data"`, and so is each weight. The weights stay where they are.
#
# All sizes are multiples of the number of devices. There is at least one weight. The result may have any sharding. The mesh may have other axes, before `"data"` or after it.
#
# The check compares values. The compiled program may have no all-gather, and its messages together are no larger than `x` and the outputs of all layers.

# %% exercise="forward"
def forward(
    ws: list[Float[Array, "inputs outputs"]], x: Float[Array, "batch inputs"], mesh
) -> Float[Array, "batch outputs"]:
    """`forward_plain(ws, x)`. The activations travel, and the weights do not."""
    ### BEGIN SOLUTION
    columns = NamedSharding(mesh, P(None, "data"))
    return forward_plain(ws, lax.with_sharding_constraint(x, columns))
    ### END SOLUTION

# %% [markdown] hints="forward"
# <details><summary>Hint 1: the idea</summary>
#
# `x @ w` sums over the axis along which `w` is split. How must `x` be split, so that each device can compute its summand with the rows of `w` that it has?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.with_sharding_constraint(x, NamedSharding(mesh, P(...)))`, with two entries in the spec.
# </details>
# <details><summary>Hint 3: the place</summary>
#
# One constraint is enough: on `x`, before the first layer. Pass the result to `forward_plain`. The compiler chooses the same split for the later layers.
# </details>

# %% check="forward" points=3
def forward_by_hand(ws, x, mesh=None):
    for w in ws[:-1]:
        x = np.maximum(x @ w, 0)
    return x @ ws[-1]


def relu_at_the_end(ws, x, mesh):
    return np.maximum(forward_by_hand(ws, x), 0)


def without_relu(ws, x, mesh):
    for w in ws:
        x = x @ w
    return x


check_values(
    forward,
    forward_by_hand,
    sweep([f"{2 * n} {n}", f"{n} {3 * n}"], f"{n} {2 * n}", mesh, count=2)
    + sweep([f"{n} {2 * n}"], f"{2 * n} {n}", mesh, count=1, seed=1),
    mistakes={
        "the last layer has no ReLU": relu_at_the_end,
        "there is a ReLU between the layers": without_relu,
    },
)
((ws, small, _),) = sweep(
    [f"{16 * n} {32 * n}", f"{32 * n} {16 * n}"], f"{n} {16 * n}", mesh, count=1
)
check_collectives(
    through(lambda f, ws, x: f(ws, x, mesh), forward),
    jax.device_put(ws, NamedSharding(mesh, P("data"))),
    jax.device_put(small, NamedSharding(mesh, P("data"))),
    at_most={"all-reduce": 2, "reduce-scatter": 2, "all-to-all": 2},
    max_bytes=4 * n * (16 + 32 + 16) * n,
)
### BEGIN HIDDEN TESTS
check_values(
    forward,
    forward_by_hand,
    sweep([f"{n} {n}", f"{n} {2 * n}", f"{2 * n} {n}"], f"{n} {n}", grid, count=1, scale=0.1),
    about="three layers on a mesh of two axes",
)
check_collectives(
    through(lambda f, ws, x: f(ws, x, swapped), forward),
    jax.device_put(ws, NamedSharding(swapped, P("data"))),
    jax.device_put(small, NamedSharding(swapped, P("data"))),
    at_most={"all-reduce": 2, "reduce-scatter": 2, "all-to-all": 2},
    max_bytes=4 * n * (16 + 32 + 16) * n,
    about="a mesh whose first axis is another one",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 7.3 Explicit axes: the sharding in the type
#
# With `Auto` axes the compiler chooses the sharding of intermediate values, and you find out afterwards. With `Explicit` axes the sharding is part of the *type*, known at trace time, and each operation has a rule for the sharding of its result. `jax.make_mesh` makes Explicit axes by default, `jax.sharding.Mesh(devices, names)` Auto axes.

# %%
typed_mesh = jax.make_mesh((n,), ("data",), axis_types=(AxisType.Explicit,), devices=devices)
a = jax.device_put(jnp.ones((2 * n, 4)), NamedSharding(typed_mesh, P("data")))
print(typed_mesh)
print(
    jax.typeof(a), "  transposed:", jax.typeof(a.T), "  axis 0 summed:", jax.typeof(a.sum(axis=0))
)

# %% [markdown]
# `16@data` means: 16 rows, split over "data". On Auto axes, `jax.typeof` does not show the sharding, and you read `.sharding` instead.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# In `a.T @ a` the axis that is summed over is split, on both sides. Is the result "whole" on each device, is it "split", or is it an "error"?

# %% exercise="ambiguous_product" kind="prediction"
# One of the three strings.
### BEGIN SOLUTION
ambiguous_product = "error"
### END SOLUTION

# %% check="ambiguous_product" points=1
def try_product():
    try:
        typed = jax.device_put(jnp.ones((2 * n, 4)), NamedSharding(typed_mesh, P("data")))
        return "whole" if (typed.T @ typed).sharding.is_fully_replicated else "split"
    except Exception:
        return "error"


check_answer(
    ambiguous_product,
    try_product,
    because="A ShardingTypeError: the sum could be replicated, or split over the devices.",
    mistakes={
        "whole": "that is one of two possibilities, and Explicit axes do not guess",
        "split": "that is one of two possibilities, and Explicit axes do not guess",
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
# Where a rule would have to guess, JAX asks you. `out_sharding` says how the result is sharded, and `jax.reshard` moves an array. Indexing asks as well: `table.at[index].get(out_sharding=...)`. To write a bare `P(...)` for these, set the mesh first, as in `with jax.set_mesh(typed_mesh):`.
#
# ### Embedding lookup with out_sharding
# **Exercise** · 8 minutes · difficulty 4 of 5
#
# `sentence_vectors(table, tokens, mesh)` returns two arrays. The first contains the mean of the word vectors of each sentence, split along the sentences over `"data"`. The second is $v^\top v$ for the matrix $v$ of these means, replicated. `table` has one vector for each word, and `tokens` the words of each sentence.
#
# The axes of the mesh are Explicit, and there may be others than `"data"`. Both arguments are split along axis 0.
#
# The check compares values and shardings.

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
# Write it as for one device. JAX raises an error at each ambiguous operation, and you add the sharding there.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `table.at[tokens].get(out_sharding=...)` and `jnp.matmul(..., out_sharding=...)`, each with a `NamedSharding(mesh, P(...))`.
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
# ## Break: end of the first half
#
# This is a good place to stop. The second half needs meshes, specs and `messages` from the first. When you come back, run the cells above again.
#
# ## 7.4 shard_map: the view from one device
#
# With `jax.shard_map` you divide the work yourself. You write the body for one device's part, and communicate through the axis name, with the `psum` and `pmean` that you know from `vmap`. `in_specs` says how the arguments are split, and `out_specs` how the parts of the result are put together. (On an Auto mesh the arguments are moved to fit `in_specs`. On Explicit axes they must already have that sharding.)
#
# **Prediction** · 1 minute · difficulty 3 of 5
#
# The body of a `jax.shard_map` has `print("hello")` in its first line. You call the mapped function once, on all n devices. How many times does it print?

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
    because="All devices run one program, which is traced once.",
    mistakes={n: "Python runs while tracing, and all devices run the one program that results"},
)

# %% tags=["demonstration"]
def body(x):
    print("in the body:", jax.typeof(x))
    return lax.psum(x.sum(axis=0), "data")


column_sums = jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P()))
print("outside:", x.shape, "to", column_sums(x).shape, column_sums(x))

# %% [markdown]
# `show_program` shows the body as a jaxpr inside the equation of the `shard_map`. Compare the shapes outside and inside:

# %% tags=["demonstration"]
show_program(column_sums, x)

# %% [markdown]
# `{V:data}` is part of the type: the value *varies* over the mesh axis. After a `psum` it is the same on all devices, the mark is gone, and `out_specs=P()` is allowed. Without the `psum`, JAX refuses `P()`, since n different sums cannot be one replicated result. The message suggests `check_vma=False`, which only switches the check off: you get an array that claims to be replicated while its n copies differ.
#
# | in the body | each device gets | message |
# |---|---|---|
# | `lax.psum`, `pmean`, `pmax` | the sum, mean, maximum over devices | all-reduce |
# | `lax.all_gather(x, "data", tiled=True)` | all parts, joined | all-gather |
# | `lax.psum_scatter(x, "data", tiled=True)` | one part of the sum | reduce-scatter |
# | `lax.ppermute(x, "data", pairs)` | the part of one other device | collective-permute |
# | `lax.axis_index("data")` | its own number | none |
#
# ### Softmax of a sharded vector
# **Exercise** · 9 minutes · difficulty 3 of 5
#
# `sharded_softmax(scores, mesh)` returns $p_i = e^{s_i} / \sum_j e^{s_j}$ over a vector that is split over `"data"`, as is the result.
#
# Scores may be as large, or as far below zero, as float32 allows. Some may be -inf (masked), even all those on one device: their probability is 0. The mesh may have other axes.
#
# The check compares values and the sharding. It allows exactly two all-reduces, together no larger than two devices' parts, and no other message.

# %% exercise="sharded_softmax"
def sharded_softmax(scores: Float[Array, "scores"], mesh) -> Float[Array, "scores"]:
    """The softmax over all scores, split over the mesh axis "data"."""
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
# The stable softmax of lesson 01 needs two numbers about the whole vector. Each is small, and the devices can compute it together.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.pmax(value, "data")` and `lax.psum(value, "data")` in the body. `part.max()` is the maximum of one device's part.
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
        "the maximum cannot fall below 0, so for scores of -200 all exponentials are 0": from_zero,
        "each device normalises its own part, so each part sums to 1": alone,
        "each device subtracts its own maximum, so the sums do not fit together": own_largest,
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
# ## 7.5 ppermute: exchange with neighbours
#
# Often you need only the part of one other device. `lax.ppermute(x, "data", pairs)` sends along `(source, target)` pairs of device numbers, all at once. A device that receives nothing gets zeros. The pairs of a **ring** are $(i, i + 1 \bmod n)$.

# %% tags=["demonstration"]
angle = np.pi / 2 - 2 * np.pi * np.arange(n) / n
spots = np.stack([np.cos(angle), np.sin(angle)], axis=1)
figure, panel = plt.subplots(num="Ring of devices: who sends to whom", figsize=(5, 5))
for i, (here, there) in enumerate(zip(spots, np.roll(spots, -1, axis=0))):
    bend = {"arrowstyle": "->", "shrinkA": 26, "shrinkB": 26, "connectionstyle": "arc3,rad=-0.15"}
    panel.annotate("", xy=there, xytext=here, arrowprops={**bend, "color": "C0", "lw": 2})
    panel.annotate("", xy=here, xytext=there, arrowprops={**bend, "color": "C3", "ls": "--"})
    panel.text(*here, f"device {i}\n[{2 * i}, {2 * i + 1}]", ha="center", va="center")
panel.text(0, 0, "blue: last element\nforward\n\nred: first element\nback", ha="center", va="center")
panel.set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect="equal")
panel.axis("off")
plt.show()

# %% [markdown]
# *The ring: two elements on each device. Along the blue arrows each device sends its last element to the next, and along the red dashed arrows its first element to the one before.*
#
# ### A stencil on a ring
# **Exercise** · 9 minutes · difficulty 4 of 5
#
# `ring_filter(x, kernel, mesh)` returns $y_i = k_0 x_{i-1} + k_1 x_i + k_2 x_{i+1}$, where the ends of `x` are joined. `x` and `y` are split over the mesh axis `"data"`.
#
# Each device has at least one element. The mesh may have other axes.
#
# The check compares values and the sharding. It allows exactly two collective-permutes, of one number each, and no other message.

# %% exercise="ring_filter"
def ring_filter(x: Float[Array, "cells"], kernel: Float[Array, "3"], mesh) -> Float[Array, "cells"]:
    """The stencil with weights `kernel` on a ring, split over the mesh axis "data"."""
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
# Get the two missing elements from the neighbours, and put them at the ends of your part. The stencil is then a sum of three slices.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.ppermute(part[-1:], "data", pairs)` keeps the axis, so that `jnp.concatenate` can join the pieces. `mesh.shape["data"]` is the number of devices along the axis.
# </details>
# <details><summary>Hint 3: the direction</summary>
#
# The element before my first one is the *last* of the device before me, so it is sent forward.
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
        "the ends are not joined: the first and last device get zeros": partial(ring_by_hand, wrap=False),
        "left and right are exchanged": partial(ring_by_hand, back=-1),
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
# Your filter in a scan of 150 steps, with a kernel that moves a wave to the right and smooths it a little:

# %% tags=["demonstration", "raises-exception"]
def wave_step(x, _):
    return ring_filter(x, jnp.array([0.6, 0.35, 0.05]), mesh), x


start = jnp.exp(-((jnp.arange(10.0 * n) - 5 * n) ** 2) / 20)
history = jax.jit(lambda x: lax.scan(wave_step, x, length=150)[1])(start)
plt.figure("Heat on a ring of devices over time", figsize=(7, 4))
plt.imshow(history, aspect="auto", cmap="viridis")
plt.vlines(np.arange(1, n) * 10 - 0.5, 0, 149, color="white", linewidth=0.5)
plt.xlabel("cell, ten on each device"), plt.ylabel("step")
plt.colorbar(label="height")
plt.show()

# %% [markdown]
# *A bump crosses the white lines, the borders between devices, without a break. It leaves at the right, comes back at the left, and becomes lower and wider.*
#
# ## 7.6 Gradients inside shard_map
#
# Here is the model of this course, a batch for all devices, and the gradient on one device for comparison:

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
# Now each device computes the gradient of the mean loss over its own examples, with neither `psum` nor `pmean`:
#
# ```python
# jax.shard_map(jax.grad(loss_fn), mesh=mesh, in_specs=(P(), P("data"), P("data")), out_specs=P())
# ```
#
# You might expect an error, because n devices compute n different gradients. It runs.
#
# **Prediction** · 2 minutes · difficulty 4 of 5
#
# Its result is the gradient of the mean over the whole batch, times a number. Which number?

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
    because="The parameters are shared, so the n gradients are added, where the mean is needed.",
    mistakes={
        1: "the gradients of the devices are added, and nothing divides by n",
        1 / n: "each device's mean is over its own part, and the n gradients are added",
    },
)

# %% tags=["demonstration"]
in_parts = partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("data"), P("data")), out_specs=P())
summed = jax.jit(in_parts(jax.grad(loss_fn)))(params, x, y)
averaged = jax.jit(in_parts(lambda *args: lax.pmean(jax.grad(loss_fn)(*args), "data")))
print("no collective:", (summed["output"]["b"] / grads["output"]["b"]).item())
print("with pmean:   ", (averaged(params, x, y)["output"]["b"] / grads["output"]["b"]).item())

# %% [markdown]
# The parameters are *one* value that n devices use, and its gradient is the sum of n gradients: the backward pass ends with a `psum`. A `pmean` afterwards averages n equal numbers. There are three correct ways:
#
# - Differentiate the *global* loss: apply `lax.pmean` to the loss inside the function that you differentiate.
# - Differentiate outside: `jax.grad` of a `shard_map` that returns the `pmean` of the losses.
# - Mark the parameters as varying with `lax.pcast(params, "data", to="varying")` (in older code `pvary`). Then each device has its own gradient, and you apply `pmean` to it.
#
# With `check_vma=False`, and in `pmap`, there is no implicit `psum`, and you apply `pmean` to the gradients.
#
# > **In PyTorch**, `DistributedDataParallel` *averages* the gradients during `backward()`. `shard_map` *sums* the gradients of replicated parameters.
#
# ### A data-parallel training step
# **Exercise** · 10 minutes · difficulty 4 of 5
#
# `parallel_step(params, x, y, learning_rate, mesh)` returns `params` after one step of gradient descent on `loss_fn` over the whole batch, by `jax.shard_map`. `params` are replicated, before and after. `x` and `y` are split along axis 0 over `"data"`.
#
# The mesh may have other axes.
#
# The check compares with the step on one device, looks at the sharding and for `shard_map`, and allows one all-reduce, of the size of the gradients and the loss.

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
# Write the step of lesson 03 as the body, and decide where the devices combine their values: at the loss, or at the gradients. XLA combines the all-reduces of a pytree into one.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.pmean` takes a number or a pytree. `in_specs` has an entry for each argument of the body, including the learning rate.
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
# ### Bug hunt: the same noise on every device
#
# As data augmentation, this function adds noise to images. Each pixel should get its own.

# %% tags=["demonstration"]
def noisy_broken(key, x, scale, mesh):
    def body(key, part):
        return part + scale * jax.random.normal(key, part.shape)

    specs = {"in_specs": (P(), P("data")), "out_specs": P("data")}
    return jax.jit(jax.shard_map(body, mesh=mesh, **specs))(key, x)


plt.figure("Noise with the same key on every device", figsize=(10, 3))
plt.imshow(noisy_broken(jax.random.key(0), np.zeros((2 * n, 60)), 1.0, mesh), cmap="gray")
plt.yticks(range(0, 2 * n, 2), [f"device {i}" for i in range(n)])
plt.xlabel("column of x")
plt.show()

# %% [markdown]
# *The noise on a black image, with two rows on each device. The same two rows of grey pixels repeat from top to bottom. Shape, mean, variance and sharding are right.*
#
# ### Independent noise on every device
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# `noisy(key, x, scale, mesh)` returns `x` plus normal noise of standard deviation `scale`, independent for each element. The result is split along axis 0 over `"data"`.
#
# The mesh may have other axes.
#
# The check tests the noise for independence and its distribution, also across devices, and looks at the sharding.

# %% exercise="noisy"
def noisy(key: Key[Array, ""], x: Float[Array, "rows columns"], scale: float, mesh):
    """`x` with independent noise, split along axis 0 over the mesh axis "data"."""
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
# All devices get the same key. Each must combine it with something that only this device has.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.axis_index("data")` and `jax.random.fold_in` from lesson 05. Or split the key outside, and pass one key to each device through `in_specs`.
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
        "`x` itself is lost": scipy.stats.norm(0, 0.5).cdf,
    },
)
check_values(
    through(without_noise, noisy),
    lambda key, x, scale, mesh: x,
    sweep(jax.random.key(33), f"{2 * n} 20", 1.0, mesh, count=2, scale=300),
    about="the result minus that of a black image with the same key",
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
# ## 7.7 psum_scatter and FSDP: shard parameters and optimizer state
#
# In data parallelism, every device stores all parameters and the whole optimizer state, and makes the same update. **ZeRO-1** shards the optimizer state over `"data"`, **FSDP** (or ZeRO-3) the parameters as well, and each device updates only its own part.
#
# For that, it needs only its part of the summed gradient. `lax.psum_scatter(x, "data", tiled=True)` adds `x` over all devices, and gives each device one part of the sum along axis 0. This is a **reduce-scatter**. An all-reduce is a reduce-scatter followed by an all-gather.
#
# **Prediction** · 1 minute · difficulty 3 of 5
#
# Each of the n devices holds the same vector `jnp.arange(n)`, and calls `lax.psum_scatter(vector, "data", tiled=True)`. Which number does the last device get?

# %% exercise="last_part" kind="prediction"
# A number, or an expression with n.
### BEGIN SOLUTION
last_part = n * (n - 1)
### END SOLUTION

# %% check="last_part" points=1
def scatter_last():
    def body(vector):
        return lax.psum_scatter(vector, "data", tiled=True)

    mapped = jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    return int(mapped(jnp.tile(jnp.arange(n), n))[-1])


check_answer(
    last_part,
    scatter_last,
    because="The sum of n equal vectors is n times the vector, and the last device gets its end.",
    mistakes={
        n - 1: "that is the last element of one vector. Each element is added over n devices",
        n * (n - 1) // 2: "that is the sum of one vector. The sum is over devices, element by element",
        n: "the last element of `jnp.arange(n)` is n - 1",
    },
)

# %% tags=["demonstration"]
def in_two_steps(x):
    part = lax.psum_scatter(x, "data", tiled=True)
    return lax.all_gather(part, "data", tiled=True, to="invarying")


def collective(body):
    return jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P())


vectors = jnp.arange(n * n, dtype=jnp.float32)
at_once = collective(lambda x: lax.psum(x, "data"))
print(jnp.allclose(at_once(vectors), collective(in_two_steps)(vectors)))
print(messages(at_once, vectors), messages(collective(in_two_steps), vectors))

# %% [markdown]
# `psum_scatter` is also the *transpose* of `all_gather`: if you differentiate through an `all_gather` of the parameters, you get the reduce-scatter without writing it. (A gathered value counts as varying unless you pass `to="invarying"`.)
#
# ### A training step with sharded parameters and momentum
# **Exercise** · 14 minutes · difficulty 4 of 5
#
# `fsdp_step(params, momentum, x, y, learning_rate, mesh)` returns the new pair `(params, momentum)` after one step on `loss_fn` over the whole batch: $m' = 0.9\,m + g$ and $p' = p - \text{rate} \cdot m'$, where $g$ is the gradient of the mean over the batch. Each leaf of both pytrees, and `x` and `y`, is split along axis 0 over `"data"`, before and after.
#
# The size of axis 0 of each leaf, and of the batch, is a multiple of the number of devices along `"data"`. The mesh may have other axes, before `"data"` or after it.
#
# The check compares with the step on one device, and looks at the sharding. It allows an all-gather and a reduce-scatter for each leaf, and no other message.

# %% exercise="fsdp_step"
def fsdp_step(
    params,
    momentum,
    x: Float[Array, "batch inputs"],
    y: Float[Array, "batch outputs"],
    learning_rate,
    mesh,
):
    """The new (params, momentum). Each device stores and updates one part of every leaf."""
    ### BEGIN SOLUTION
    def body(params, momentum, x, y, learning_rate):
        whole = lax.all_gather(params, "data", tiled=True)
        summed = lax.psum_scatter(jax.grad(loss_fn)(whole, x, y), "data", tiled=True)
        grads = jax.tree.map(lambda g: g / lax.axis_size("data"), summed)
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, grads)
        return jax.tree.map(lambda p, m: p - learning_rate * m, params, momentum), momentum

    rows = P("data")
    specs = rows, rows, rows, rows, P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=rows)
    return jax.jit(mapped)(params, momentum, x, y, learning_rate)
    ### END SOLUTION

# %% [markdown] hints="fsdp_step"
# <details><summary>Hint 1: the idea</summary>
#
# Gather the parameters, compute the gradient for your own examples, and reduce-scatter it. The update is then local: the parts of parameters, momentum and gradient have the same shape.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.all_gather` and `lax.psum_scatter` take a pytree, and need `tiled=True`. There is no mean: divide by `lax.axis_size("data")`. A gathered value counts as varying, so its gradient is not summed implicitly.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# ```python
# def body(params, momentum, x, y, learning_rate):
#     whole = lax.all_gather(...)
#     grads = lax.psum_scatter(jax.grad(loss_fn)(...), ...)
#     momentum = jax.tree.map(lambda m, g: ..., momentum, grads)
#     return jax.tree.map(...), momentum
# ```
# </details>

# %% check="fsdp_step" points=4
def slopes_of_batch(params, x, y):
    hidden = np.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    error = 2 * (hidden @ params["output"]["w"] + params["output"]["b"] - y) / y.size
    behind = error @ params["output"]["w"].T * (hidden > 0)
    return {
        "hidden": {"w": x.T @ behind, "b": behind.sum(axis=0)},
        "output": {"w": hidden.T @ error, "b": error.sum(axis=0)},
    }


def momentum_step(params, momentum, x, y, rate, mesh, times=1.0, keep=0.9, damp=1.0, late=False):
    grads = slopes_of_batch(params, x, y)
    moved = jax.tree.map(lambda m, g: keep * m + damp * times * g, momentum, grads)
    used = momentum if late else moved
    return jax.tree.map(lambda p, m: p - rate * m, params, used), moved


def too_large(*args):
    return momentum_step(*args, times=args[-1].shape["data"])


def without_momentum(params, momentum, x, y, rate, mesh):
    plain, _ = momentum_step(params, momentum, x, y, rate, mesh, keep=0.0)
    return plain, momentum_step(params, momentum, x, y, rate, mesh)[1]


def sizes(inputs, hidden, outputs):
    return {
        "hidden": {"w": f"{inputs} {hidden}", "b": f"{hidden}"},
        "output": {"w": f"{hidden} {outputs}", "b": f"{outputs}"},
    }


def training_cases(count, inputs, hidden, outputs, batch, *rest, **options):
    trees = sizes(inputs, hidden, outputs)
    return sweep(trees, trees, f"{batch} {inputs}", f"{batch} {outputs}", *rest, count=count, **options)


some = training_cases(2, n, 2 * n, n, 2 * n, 0.1, mesh)
check_values(
    fsdp_step,
    momentum_step,
    some,
    mistakes={
        "the gradients are added over the devices, not averaged": too_large,
        "the old momentum moves the parameters": partial(momentum_step, late=True),
        "the parameters move by the gradient, without the momentum": without_momentum,
        "the old momentum is lost": partial(momentum_step, keep=0.0),
        "a moving average, with 0.1 times the gradient": partial(momentum_step, damp=0.1),
    },
)
check_sharding(fsdp_step, *some[0], expected=NamedSharding(mesh, P("data")))
check_collectives(
    through(lambda f, *args: f(*args, 0.1, mesh), fsdp_step),
    *jax.device_put(some[0][:4], NamedSharding(mesh, P("data"))),
    at_least={"all-gather": 1, "reduce-scatter": 1},
    at_most={"all-gather": 4, "reduce-scatter": 4},
    max_bytes=4 * (n + 1) * (2 * n + 2 * n + 3),  # every leaf once, and a part of it
)
### BEGIN HIDDEN TESTS
down = n // wide
half = max(1, n // 2)
few = jax.make_mesh((half,), ("data",), axis_types=(AxisType.Auto,), devices=devices[:half])
check_values(
    fsdp_step,
    momentum_step,
    training_cases(1, down, 2 * down, 3 * down, down, np.float32(0.5), grid, seed=5)
    + training_cases(1, 2 * half, half, half, 3 * half, 0.02, few, seed=6),
    mistakes={
        "the gradients are divided by the number of all devices": (
            lambda *args: momentum_step(*args, times=args[-1].shape["data"] / args[-1].size)
        ),
        'the gradients are divided by `n`, not by the size of "data"': (
            lambda *args: momentum_step(*args, times=args[-1].shape["data"] / n)
        ),
    },
    about="fewer devices, and a mesh of two axes",
)
others = training_cases(1, down, 2 * down, 3 * down, down, 0.5, swapped, seed=7)
check_values(
    fsdp_step,
    momentum_step,
    others,
    mistakes={
        "the gradients are divided by the length of `mesh.devices`, the size of its first axis": (
            lambda *args: momentum_step(
                *args, times=args[-1].shape["data"] / len(args[-1].devices)
            )
        ),
    },
    about="a mesh whose first axis is another one",
)
check_sharding(
    fsdp_step,
    *others[0],
    expected=NamedSharding(swapped, P("data")),
    about="a mesh whose first axis is another one",
)
### END HIDDEN TESTS

# %% [markdown]
# Training with your step. Each device stores one n-th of the numbers:

# %% tags=["demonstration", "raises-exception"]
train = jax.jit(partial(fsdp_step, learning_rate=0.05, mesh=mesh))
whole_loss, curve = jax.jit(loss_fn), []
model = {"hidden": init_layer(n, 16 * n), "output": init_layer(16 * n, n)}
state = jax.device_put((model, jax.tree.map(np.zeros_like, model)), rows)
inputs = rng.normal(size=(16 * n, n)).astype(np.float32)
inputs, ranked = jax.device_put((inputs, np.sort(inputs, axis=1)), rows)
for _ in range(60):
    curve.append(whole_loss(state[0], inputs, ranked).item())
    state = train(*state, inputs, ranked)
leaves = jax.tree.leaves(state)
parts = [leaf.addressable_shards[0].data for leaf in leaves]
print("bytes:", sum(leaf.nbytes for leaf in leaves), "on one device:", sum(p.nbytes for p in parts))
plt.figure("Loss of the network that learns to sort", figsize=(6, 3))
plt.plot(curve)
plt.xlabel("step"), plt.ylabel("loss")
plt.show()

# %% [markdown]
# *The loss of a network that learns to sort n numbers falls over 60 steps.*
#
# This is another good place to stop.
#
# ## 7.8 pmap: how to read it, and how to migrate
#
# Older code uses `jax.pmap`, a `vmap` over devices. New code should use `shard_map`. Here is batch normalisation in both:

# %% tags=["demonstration"]
def normalise(x):
    mean = lax.pmean(x.mean(axis=0), "data")
    variance = lax.pmean(((x - mean) ** 2).mean(axis=0), "data")
    return (x - mean) * lax.rsqrt(variance + 1e-5)


old = jax.pmap(normalise, axis_name="data", devices=devices)(x.reshape(n, -1, 3))
new = jax.shard_map(normalise, mesh=mesh, in_specs=P("data"), out_specs=P("data"))(x)
print(old.shape, new.shape, jnp.allclose(old.reshape(-1, 3), new))

# %% [markdown]
# `pmap` maps over a leading axis of at most n elements, one for each device, and removes it. `shard_map` splits an axis and keeps it. To migrate, drop the reshapes, write `P("data")` for `in_axes=0` and `P()` for `in_axes=None`, and keep the body. Remember that gradients with respect to replicated arguments are summed (7.6).
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# `params["hidden"]["w"]` has shape (3, 32), and the reshaped `x` has shape (n, 4, 3). What is the shape of the result?
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
    because="`pmap` adds one axis and `vmap` another. `jit` and `grad` add none.",
    mistakes={
        (3, 32): "`pmap` and `vmap` each add an axis",
        (n, 3, 32): "the inner `vmap` adds an axis too: nothing is summed over the examples",
        (4 * n, 3, 32): "`pmap` does not merge its axis with that of `vmap`",
    },
)

# %% [markdown]
# ### Migrate per-example gradients to shard_map
# **Exercise** · 8 minutes · difficulty 4 of 5
#
# `per_example_grads(params, x, y, mesh)` returns the gradient of `loss_fn` for each example with respect to `params`, as `old_grads` does, by `jax.shard_map`. `x` and `y` have one batch axis. Each leaf of the result has it in front, and is split along it over `"data"`.
#
# The mesh may have other axes.
#
# The check compares values and the sharding, looks for `shard_map`, and allows no message between devices.

# %% exercise="per_example_grads"
def per_example_grads(
    params, x: Float[Array, "batch inputs"], y: Float[Array, "batch outputs"], mesh
):
    """A pytree like `params`. Each leaf has a leading batch axis, split over "data"."""
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
# The `vmap` of the old line becomes the body. Then think of what happens to a gradient with respect to replicated parameters.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.pcast(params, "data", to="varying")` in the body gives each device its own parameters.
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
# ### vmap of a sharded function: spmd_axis_name
#
# You can also map a function that contains a `shard_map`. This one takes a vector that is split over `"data"`. The rows of `table` are split over `"model"`:

# %%
def centred_vector(v):
    def body(part):
        return part - lax.pmean(part.mean(), "data")

    return jax.shard_map(body, mesh=grid, in_specs=P("data"), out_specs=P("data"))(v)


table = jax.device_put(jnp.ones((2 * wide, 2 * n)), NamedSharding(grid, P("model", "data")))

# %% [markdown]
# **Prediction** · 2 minutes · difficulty 4 of 5
#
# The specs in `centred_vector` do not mention `"model"`. What is the spec of `jax.vmap(centred_vector)(table)`?

# %% exercise="spec_of_mapped" kind="prediction"
# A tuple with an entry for each axis: None, or a string.
### BEGIN SOLUTION
spec_of_mapped = (None, "data")
### END SOLUTION

# %% check="spec_of_mapped" points=1
check_answer(
    spec_of_mapped,
    lambda: tuple(jax.jit(jax.vmap(centred_vector))(table).sharding.spec),
    because="`shard_map` replicates along an axis that its specs do not mention: all rows everywhere.",
    mistakes={
        ("model", "data"): "`vmap` does not know that its axis is split over a mesh axis",
        ("data",): "that is the spec for one vector. `vmap` adds an axis",
        ("data", None): "`vmap` adds its axis in front",
    },
)

# %% tags=["demonstration"]
print("vmap alone:", messages(jax.vmap(centred_vector), table))
along_model = jax.vmap(centred_vector, spmd_axis_name="model")
print("spmd_axis_name:", messages(along_model, table), along_model(table).sharding.spec)

# %% [markdown]
# `vmap` alone gathers the rows, and every device along `"model"` computes all of them. `spmd_axis_name="model"` adds that mesh axis to the specs, and each device computes its own rows. It also applies to a `with_sharding_constraint` in the mapped function.
#
# ## 7.9 Communication cost: send sums, not data
#
# A link between devices is far slower than memory, so make messages small. Here is a first attempt to fit a line through points on all devices:

# %% tags=["demonstration"]
def fit_by_gathering(x, y):
    x = lax.all_gather(x, "data", tiled=True, to="invarying")
    y = lax.all_gather(y, "data", tiled=True, to="invarying")
    return jnp.linalg.lstsq(x, y)[0]


mapped = jax.shard_map(fit_by_gathering, mesh=mesh, in_specs=P("data"), out_specs=P())
print(messages(mapped, x, y[:, 0]))

# %% [markdown]
# Every device gets all the data. With a million rows of ten columns, each receives 40 MB, to compute ten numbers.
#
# ### Least squares on distributed rows
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# `least_squares(x, y, mesh)` returns the `w` that minimises $\|xw - y\|^2$, which solves $(x^\top x)\,w = x^\top y$. The rows are split over the mesh axis `"data"`, and `w` is replicated.
#
# A device may have fewer rows than there are columns. The mesh may have other axes.
#
# The check compares values and the sharding. It allows exactly one all-reduce, for $c$ columns of at most $(c + 1)^2$ numbers, and no other message.

# %% exercise="least_squares"
def least_squares(
    x: Float[Array, "rows columns"], y: Float[Array, "rows"], mesh
) -> Float[Array, "columns"]:
    """The solution over all rows, replicated. The rows stay where they are."""
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
# $x^\top x$ is a sum over rows. What does one device contribute to it, and how large is that?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.psum` takes a tuple, so both sums go in one message. Call `jnp.linalg.solve` after it.
# </details>

# %% check="least_squares" points=3
def solved(x, y, mesh=None):
    return np.linalg.lstsq(x, y, rcond=None)[0]


def solutions(x, y, mesh):
    count = len(mesh.devices)
    return np.stack([solved(*part) for part in zip(np.split(x, count), np.split(y, count))])


cases = sweep(f"{5 * n} 3", f"{5 * n}", mesh, count=2)
((few, targets, _),) = sweep(f"{2 * n} 3", f"{2 * n}", mesh, count=1, seed=2)
few[:2] = 0  # the rows of the first device do not determine a solution
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
# ### Tensor parallelism: shard the hidden units
#
# FSDP gathers each weight before it is used. **Tensor parallelism**, known from Megatron-LM, never does: split the columns of a hidden layer, and each device computes some of the hidden units. Split the rows of the output layer in the same way, and each device computes one summand of every output, which one `psum` adds.
#
# **Exercise** · 8 minutes · difficulty 4 of 5
#
# `tensor_parallel(params, x, mesh)` returns `mlp(params, x)`, replicated. The hidden units are split over the mesh axis `"model"`: the columns of the hidden `w`, the hidden `b`, and the rows of the output `w`. The output `b` and `x` are replicated.
#
# The mesh may have other axes.
#
# The check compares values and the sharding, and allows exactly one all-reduce, of the size of the output.

# %% exercise="tensor_parallel"
def tensor_parallel(params, x: Float[Array, "batch inputs"], mesh) -> Float[Array, "batch outputs"]:
    """`mlp(params, x)`, with the hidden units split over the mesh axis "model"."""
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
# The body is `mlp` with one `psum` in it. For each intermediate value, write down whether a device has some of the columns, all of it, or one summand.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `in_specs` may contain a pytree: `{"hidden": {"w": P(None, "model"), ...}, ...}`.
# </details>
# <details><summary>Hint 3: the bias</summary>
#
# How many times is a bias added, if you add it before the `psum`?
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
# ## 7.10 Several machines: jax.distributed
#
# On a cluster, each machine runs the same script, which first calls `jax.distributed.initialize(coordinator_address, num_processes, process_id)`, on Cloud TPUs and under Slurm without arguments. Then `jax.devices()` lists the devices of all machines, and `jax.local_devices()` those of this process. Meshes, `jit` and `shard_map` work as before.
#
# All processes must run the same operations in the same order, or they wait for each other forever. Each sees only its own parts, and supplies its own data with `jax.make_array_from_process_local_data`. This lesson does not run it.
#
# ## What to remember
#
# 1. An array has one shape and many parts: mesh, `PartitionSpec`, `NamedSharding`, `device_put`.
# 2. Computation follows data, and `jit` inserts the collectives. Read the compiled text, and steer with `with_sharding_constraint`. On `Explicit` axes the sharding is in the type, and JAX asks.
# 3. `shard_map` is the view from one device. Gradients with respect to replicated parameters are summed over the devices, so apply `pmean` to the loss before you differentiate.
# 4. FSDP gathers the parameters and reduce-scatters the gradients. Each device stores and updates one part of parameters and optimizer state.
# 5. Send sums, not data. What you add before a `psum` is added n times, and a replicated key gives the same noise n times.
#
# ## Further reading
#
# - The JAX documentation: [Distributed arrays and automatic parallelization](https://docs.jax.dev/en/latest/parallel.html), [Manual parallelism with shard_map](https://docs.jax.dev/en/latest/notebooks/shard_map.html), [Migrating to the new jax.pmap](https://docs.jax.dev/en/latest/migrate_pmap.html), [Introduction to multi-controller JAX](https://docs.jax.dev/en/latest/multi_process.html), [the jax.sharding module](https://docs.jax.dev/en/latest/jax.sharding.html).
# - [How to scale your model](https://jax-ml.github.io/scaling-book/), a book about sharding large models on TPUs and GPUs.
# - Shoeybi and others, [Megatron-LM](https://arxiv.org/abs/1909.08053) (2019). Xu and others, [GSPMD](https://arxiv.org/abs/2105.04663) (2021).
#
# ## Previous and next
#
# Lesson 06 used the same collectives over a batch. In lesson 08 you train the MLP on MNIST with Optax. Its last exercise makes that step data-parallel, with `P()` for parameters and optimizer state, `P("data")` for the batch, and `pmean` of the loss before you differentiate.
