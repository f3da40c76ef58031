# %% [markdown]
# # 6 · Vectorisation with vmap
#
# You write a function for *one* example, and `jax.vmap` turns it into a function for a batch: no loop, and no batch axis in your formulas. After this lesson you can
#
# - choose which axis of which argument is mapped, also inside a pytree;
# - compute a gradient for each example, and clip it;
# - nest `vmap`, `grad` and `jit`, and train a whole ensemble in one program;
# - predict what `cond`, `while_loop` and `scan` become under `vmap`, and when that is expensive;
# - compute sums and means over the batch from inside the function, with collectives.
#
# The result is usually as fast as code that you write for the whole batch. Sections 6.6 and 6.7 show the exceptions.
#
# About 150 minutes for reading, exercises and waiting. There is a good place for a break after 6.4. You need lessons 01 to 05.

# %%
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from graders import (
    check_answer,
    check_batched,
    check_keys,
    check_primitives,
    check_values,
    normal,
    show_program,
    sweep,
    through,
)

# %% [markdown]
# ## 6.0 Recall: scan and split
#
# Two questions, one point each. Answer before you run anything.
#
# **Recall** · 1 minute · difficulty 2 of 5
#
# The body of this scan returns `(x, carry)`. What are its stacked outputs, `lax.scan(lambda carry, x: (x, carry), 9, jnp.array([5, 7, 2]))[1]`?

# %% exercise="carries" kind="recall"
# A tuple of integers.
### BEGIN SOLUTION
carries = (9, 5, 7)
### END SOLUTION

# %% check="carries" points=1
check_answer(
    carries,
    lambda: lax.scan(lambda carry, x: (x, carry), 9, jnp.array([5, 7, 2]))[1],
    because="Each step outputs the carry that it receives, which is the previous element.",
    mistakes={
        (5, 7, 2): "these are the new carries. Each step outputs the one that it received",
        (2,): "that is the final carry, the first of the two results",
        (9, 9, 9): "the carry changes: each step makes its own `x` the next carry",
        (9, 5, 7, 2): "there is one output for each step, so three",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# You want an independent key for each of 468 steps in each of 10 epochs. What is the shape of `jax.random.split(jax.random.key(0), (10, 468))[3]`?

# %% exercise="split_shape" kind="recall"
# A tuple of integers.
### BEGIN SOLUTION
split_shape = (468,)
### END SOLUTION

# %% check="split_shape" points=1
check_answer(
    split_shape,
    lambda: jax.random.split(jax.random.key(0), (10, 468))[3].shape,
    because="`split` takes a shape. Its result is an array of keys, which you index like any other.",
    mistakes={
        (10, 468): "that is the shape before the index [3], which selects one epoch",
        (468, 2): "legacy keys show their two words as an axis. A typed key is a scalar",
        (): "that is the shape of one key",
        (10,): "the index selects along the first axis, the epochs",
    },
)

# %% [markdown]
# ## 6.1 vmap: a function for one example, applied to a batch
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# The first line of `f(x)` is `print(x.shape)`. Which shape does `jax.vmap(f)(jnp.ones((5, 3)))` print?

# %% exercise="seen_inside" kind="prediction"
# A tuple of integers.
### BEGIN SOLUTION
seen_inside = (3,)
### END SOLUTION


# %% check="seen_inside" points=1
def shape_inside():
    shapes = []
    jax.vmap(lambda x: shapes.append(x.shape) or x)(jnp.ones((5, 3)))
    return shapes[0]


check_answer(
    seen_inside,
    shape_inside,
    because="The function runs once, and sees the type of one example, without the mapped axis.",
    mistakes={
        (5, 3): "that is the shape of the batch. The function sees one example",
        (5,): "by default the first axis is mapped, so the second one remains",
        (1, 3): "the mapped axis is removed. It does not become an axis of length 1",
    },
)


# %% tags=["demonstration"]
def look(x):
    print("x is", x)
    return jnp.sum(x**2)


print(jax.vmap(look)(jnp.arange(15.0).reshape(5, 3)))

# %% [markdown]
# The line is printed once, although there are five examples. `x` is a tracer: it has the type of one example, `float32[3]`, and holds all five.

# %% tags=["demonstration", "hide-input"]
_, panes = plt.subplots(
    1, 3, num="vmap removes the batch axis, and puts it back on the result", figsize=(7.5, 3)
)
batch = np.repeat(np.arange(5)[:, None], 3, axis=1)
titles = ["the batch x: (5, 3)", "what look sees: (3,)", "the result: (5,)"]
for pane, picture, title in zip(panes, (batch, batch[:1], batch[:, :1]), titles):
    pane.pcolormesh(picture, cmap="viridis", vmax=4, vmin=0, edgecolors="white", linewidth=2)
    pane.set(title=title, xlim=(0, 3), ylim=(5, 0), aspect=1)
    pane.axis("off")
for pane, text in zip(panes[1:], ("one row,\nwithout the\nbatch axis", "")):
    pane.text(1.5, 2.2, text, ha="center", va="top")
plt.show()

# %% [markdown]
# *Left: a batch of five examples, one row and one colour each. Middle: your function sees a single row, and its shape has no batch axis. Right: the five results, stacked along the batch axis.*
#
# Each operation has a *batching rule*, which defines its batched version. Here the sum over the only axis of `float32[3]` becomes a sum over axis 1 of `float32[5,3]`. There is no loop.
#
# Here is the jaxpr of a matrix-vector product, alone and mapped over 100 vectors:

# %% tags=["demonstration"]
w = jnp.ones((4, 3))


def product(x):
    return w @ x


show_program(product, jnp.ones(3))
show_program(jax.vmap(product), jnp.ones((100, 3)))

# %% [markdown]
# A hundred matrix-vector products became one matrix product, and a transposition that puts the batch axis first.
#
# Since `x` is a tracer, the rules of lesson 03 hold even without `jit`: no `if` on its value, no `float(x)`, no shape that depends on it. In return, you do not have to account for the batch axis: axis numbers in your function refer to a single example.
#
# > **In NumPy**, `np.vectorize` is a Python loop. `vmap` replaces each operation by its batched form.
#
# ### Attention for one query
# **Exercise** · 10 minutes · difficulty 3 of 5
#
# `attend(query, keys, values, length)` returns the attention output of one query $q$ over one sentence. Word $i$ has the score $s_i = k_i \cdot q / \sqrt{d}$, where $k_i$ and $v_i$ are row $i$ of `keys` and `values`, and $d$ is the number of features. The output is $\sum_i p_i v_i$, where $p$ is the softmax of the scores of the first `length` words.
#
# `length` is a traced integer, $1 \le$ `length` $\le$ `words`. The words after it are padding, and may hold any finite numbers. Scores may be in the hundreds, positive or negative.
#
# The check compares values, also under `vmap` over any of the arguments, and with large numbers in the padding.


# %% exercise="attend"
def attend(
    query: Float[Array, "features"],
    keys: Float[Array, "words features"],
    values: Float[Array, "words outputs"],
    length: Int[Array, ""],
) -> Float[Array, "outputs"]:
    """Average of the first `length` values, weighted by the softmax of the scaled scores."""
    ### BEGIN SOLUTION
    scores = keys @ query / jnp.sqrt(query.size)
    counts = jnp.arange(keys.shape[0]) < length
    return jax.nn.softmax(jnp.where(counts, scores, -jnp.inf)) @ values
    ### END SOLUTION


# %% [markdown] hints="attend"
# <details><summary>Hint 1: the idea</summary>
#
# `length` is traced, so no shape may depend on it. Keep all words, and choose with a mask, as in lesson 01.
# </details>
# <details><summary>Hint 2: where to mask</summary>
#
# A word of the padding must get the weight zero, and the other weights must still add up to one. For which score is the exponential zero?
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# One product for the scores, `jnp.arange(...) < length`, `jnp.where`, `jax.nn.softmax`, and a second product. `jnp.sqrt(query.size)` is weakly typed, so bfloat16 scores stay bfloat16.
# </details>


# %% check="attend" points=3
def word_by_word(query, keys, values, length, scale=True, filling=None):
    scores = np.array([key @ query for key in keys]) / (np.sqrt(len(query)) if scale else 1.0)
    if filling is not None:
        scores[length:], length = filling, len(keys)
    weights = np.exp(scores[:length] - scores[:length].max())
    return sum(p * v for p, v in zip(weights / weights.sum(), values))


def not_normalised(query, keys, values, length):
    scores = keys @ query / np.sqrt(len(query))
    weights = np.exp(scores) / np.exp(scores).sum()
    return weights[:length] @ values[:length]


def everything(query, keys, values, length):
    return word_by_word(query, keys, values, len(keys))


def sentences(*lengths, seed=0, scale=1.0):
    cases = sweep("4", "6 4", "6 2", count=len(lengths), seed=seed, scale=scale)
    return [(*case, np.int32(n)) for case, n in zip(cases, lengths)]


attention_mistakes = {
    "the scores are not divided by the square root of the features": (
        lambda *args: word_by_word(*args, scale=False)
    ),
    "the padding counts": everything,
    "a score of zero is not a weight of zero: the padding must get the score -inf": lambda *args: word_by_word(*args, filling=0.0),
    "masked after the softmax, so the weights do not add up to 1": not_normalised,
    "one word too many: positions start at 0, so the comparison is `<`": lambda query, keys, values, length: (
        word_by_word(query, keys, values, min(length + 1, len(keys)))
    ),
    "divided by the square root of the number of words instead of features": (
        lambda query, keys, *rest: word_by_word(
            query * np.sqrt(len(query) / len(keys)), keys, *rest
        )
    ),
    "divided by the number of features, not by its root": lambda query, *rest: word_by_word(
        query / np.sqrt(len(query)), *rest
    ),
}
check_values(
    attend,
    word_by_word,
    sentences(4, 6, 2) + sweep("d", "7 d", normal("7 n", 300.0), np.int32(5), count=2),
    mistakes=attention_mistakes,
)
check_batched(attend, sentences(2, 5, 6, seed=1))
check_values(
    attend,
    word_by_word,
    sentences(3, scale=20.0),
    mistakes={"the exponential overflows": lambda query, keys, values, length: values[0] * np.nan},
    about="scores in the hundreds",
)
query, keys, values, length = sentences(3, seed=2)[0]
litter = 1e12 * np.array([0.0, 0.0, 0.0, 1.0, -1.0, 1.0])[:, None]
check_values(
    attend,
    word_by_word,
    [(query, keys + litter * np.sign(query), values + litter, length)],
    mistakes={
        "the padding takes part in the maximum, so every other exponential is zero": (
            lambda query, keys, values, length: values[0] * np.nan
        ),
        "a number is added to the scores of the padding, where they should be replaced": everything,
    },
    about="large numbers in the padding",
)
### BEGIN HIDDEN TESTS
words = np.linspace(19.99, 20.01, 5)[:, None] * np.ones(4)
low = np.full(4, -24.95), words, np.arange(10.0).reshape(5, 2) ** 2, np.int32(2)
check_values(
    attend,
    word_by_word,
    [low],
    mistakes={
        "the score given to the padding is not low enough": lambda *args: word_by_word(
            *args, filling=-1e3
        )
    },
)
### END HIDDEN TESTS

# %% [markdown]
# Now map your function over the queries. If `values` is the identity matrix, the output for each query is its attention weights:

# %% tags=["demonstration", "raises-exception"]
turns = np.arange(12) * np.pi / 8
places = 4 * np.stack([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32)
attend_all = jax.jit(jax.vmap(attend, in_axes=(0, None, None, None)))
attention = attend_all(places, places, np.eye(12, dtype=np.float32), 9)
plt.figure("Attention map: weight of each word for each query", figsize=(4.5, 3.6))
plt.imshow(attention)
plt.xlabel("word"), plt.ylabel("query")
plt.colorbar(label="weight")
plt.show()

# %% [markdown]
# *Each query gives most weight to words near its own position, and none to words 9 to 11, the padding. The last three queries give almost all weight to word 8, the last that is not padding.*
#
# ## 6.2 in_axes and out_axes: which axis is mapped
#
# `in_axes` has one entry for each positional argument: the axis that is mapped, or `None` for an argument that is the same for all examples. `out_axes` says where the batch axis goes in the result. Keyword arguments are always mapped over axis 0. To keep one unmapped, bind it with `functools.partial`.
#
# > **In PyTorch**, `torch.func.vmap` has the same arguments under the names `in_dims` and `out_dims`.


# %% tags=["demonstration"]
def stripes(rows, columns, axis):
    example = np.arange(rows if axis == 0 else columns)
    return np.broadcast_to(example[:, None] if axis == 0 else example, (rows, columns))


pictures = {
    "x: in_axes 0": stripes(5, 3, 0),
    "y: in_axes 1": stripes(4, 5, 1),
    "w: in_axes None": np.full((3, 4), np.nan),
    "result: out_axes 0": stripes(5, 4, 0),
    "result: out_axes 1": stripes(4, 5, 1),
}
_, axes = plt.subplots(
    1, 5, num="in_axes and out_axes: which axis of a matrix is mapped",
    figsize=(10, 2.6),
)
for ax, (title, picture) in zip(axes, pictures.items()):
    ax.set_facecolor("lightgrey")
    ax.pcolormesh(picture, cmap="viridis", edgecolors="white", linewidth=2)
    ax.set_title(title, fontsize=11)
    ax.set(xlabel="axis 1", ylabel="axis 0", xticks=[], yticks=[], aspect=1)
    ax.invert_yaxis()
plt.tight_layout()
plt.show()

# %% [markdown]
# *Two mapped arguments, one unmapped argument and two possible results for a batch of five, with one colour for each example. `x`, in_axes 0: each example is a row. `y`, in_axes 1: each example is a column. `w`, in_axes None: grey, because all examples see the whole matrix. With out_axes 0 the examples are the rows of the result, with out_axes 1 its columns.*
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# `a` has shape `(4, 3)` and `b` has shape `(3, 4)`. What is the shape of `jax.vmap(lambda p, q: p @ q, in_axes=(0, 1))(a, b)`?

# %% exercise="rows_with_columns" kind="prediction"
# A tuple of integers.
### BEGIN SOLUTION
rows_with_columns = (4,)
### END SOLUTION

# %% check="rows_with_columns" points=1
check_answer(
    rows_with_columns,
    lambda: jax.vmap(lambda p, q: p @ q, in_axes=(0, 1))(jnp.ones((4, 3)), jnp.ones((3, 4))).shape,
    because="One `vmap` adds one axis. Row i is paired with column i: the diagonal of the product.",
    mistakes={
        (4, 4): "all pairs need two `vmap`s. One `vmap` pairs them up like `zip`",
        (3,): "row i and column i have three elements each, and `@` sums over them",
        (3, 3): "the mapped axes are those of length 4, and they are mapped together",
    },
)

# %% [markdown]
# Mapped arguments advance together, as in `zip`. For all pairs, nest two `vmap`s, one for each argument.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# `jnp.outer(u, v)` of vectors of length 2 and 3 has shape `(2, 3)`. What is the shape of `jax.vmap(jnp.outer, in_axes=(None, 0), out_axes=1)(jnp.ones(2), jnp.ones((5, 3)))`?

# %% exercise="stacked_shape" kind="prediction"
# A tuple of integers.
### BEGIN SOLUTION
stacked_shape = (2, 5, 3)
### END SOLUTION

# %% check="stacked_shape" points=1
check_answer(
    stacked_shape,
    lambda: jax.vmap(jnp.outer, (None, 0), 1)(jnp.ones(2), jnp.ones((5, 3))).shape,
    because="Each of the five results has shape (2, 3). The batch axis becomes axis 1.",
    mistakes={
        (5, 2, 3): "that is the default, `out_axes=0`. Here the batch axis becomes axis 1",
        (2, 3, 5): "that is `out_axes=2`, or -1",
        (2, 15): "each call sees one row of the second argument, three numbers",
    },
)

# %% [markdown]
# ### A kernel matrix: all pairs by nested vmap
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `kernel(a, b)` takes two *single* examples and returns an array. `kernel_matrix(kernel, x, y)` returns an array with `kernel(x[i], y[j])` at `[i, j]`.
#
# An example may be a pytree. Then `x` and `y` are pytrees whose leaves have the examples along axis 0. `kernel` need not be symmetric, and its result may have axes of its own.
#
# The check compares values, and the program must not grow with the number of examples.


# %% exercise="kernel_matrix"
def kernel_matrix(kernel, x, y) -> Float[Array, "n m ..."]:
    """`kernel(x[i], y[j])` for all pairs: `x` along the first axis, `y` along the second."""
    ### BEGIN SOLUTION
    return jax.vmap(jax.vmap(kernel, in_axes=(None, 0)), in_axes=(0, None))(x, y)
    ### END SOLUTION


# %% [markdown] hints="kernel_matrix"
# <details><summary>Hint 1: the idea</summary>
#
# First compare one example of `x` with all of `y`. That is a function too, and you can map it.
# </details>
# <details><summary>Hint 2: the order</summary>
#
# With the default `out_axes`, the axis of the *outer* map comes first in the result.
# </details>
# <details><summary>Hint 3: pytrees</summary>
#
# `0` and `None` in `in_axes` apply to all leaves of an argument. You need not look inside the examples.
# </details>


# %% check="kernel_matrix" points=2
def pair_by_pair(kernel, x, y):
    def examples(tree):
        count = len(jax.tree.leaves(tree)[0])
        return [jax.tree.map(lambda leaf: leaf[i], tree) for i in range(count)]

    return np.array([[kernel(a, b) for b in examples(y)] for a in examples(x)])


def lopsided(a, b):
    return (a @ b + 1.0) ** 2 + a[0]


def pull(a, b):
    return b["mass"] * (b["place"] - a["place"])


def each_coordinate(a, b):
    return a[1] * a[0][:, None] - b[1] * b[0]


def mixed_up(kernel, x, y):
    return np.swapaxes(pair_by_pair(kernel, x, y), 0, 1).reshape(len(x), len(y))


check_values(
    kernel_matrix,
    pair_by_pair,
    sweep(lopsided, "n d", "m d", count=2, planted=True),
    mistakes={
        "the right numbers, in the order of the transposed matrix": mixed_up,
        "the kernel is given the example of y first": lambda kernel, x, y: pair_by_pair(
            lambda a, b: kernel(b, a), x, y
        ),
    },
)
bodies = {"place": "n 2", "mass": "n"}, {"place": "m 2", "mass": "m"}
check_values(
    kernel_matrix,
    pair_by_pair,
    sweep(pull, *bodies, count=1, planted=True)
    + sweep(each_coordinate, ("n 2", "n"), ("m 3", "m"), count=1),
    about="pytrees",
)
check_primitives(
    kernel_matrix,
    *sweep(lopsided, "3 2", "4 2", count=1)[0],
    same_size_for=sweep(lopsided, "5 2", "4 2", count=1) + sweep(lopsided, "3 2", "6 2", count=1),
)
### BEGIN HIDDEN TESTS
check_values(kernel_matrix, pair_by_pair, sweep(lopsided, "1 3", "4 3", count=1, seed=5))
### END HIDDEN TESTS

# %% [markdown]
# ### in_axes for pytrees: map a part of an argument
#
# An entry of `in_axes` may be a pytree itself, with the structure of the argument or a *prefix* of it: a number or `None` in place of a subtree applies to all its leaves. So you can map some leaves of an argument and share the others. Here is the MLP of this course, for one example:


# %%
def init_layer(key, n_in, n_out):
    w = jax.random.normal(key, (n_in, n_out)) * jnp.sqrt(2 / n_in)
    return {"w": w, "b": jnp.zeros(n_out)}


def init_mlp(key):
    key_hidden, key_output = jax.random.split(key)
    return {"hidden": init_layer(key_hidden, 3, 32), "output": init_layer(key_output, 32, 1)}


def mlp(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
    return hidden @ params["output"]["w"] + params["output"]["b"]


def loss_fn(params, x, y):
    return jnp.mean((mlp(params, x) - y) ** 2)


# %% tags=["demonstration"]
params = init_mlp(jax.random.key(0))
x = jax.random.normal(jax.random.key(1), (256, 3))
y = jnp.sum(x**2, axis=1, keepdims=True)
losses = jax.vmap(loss_fn, in_axes=(None, 0, 0))(params, x, y)
print(losses.shape, jnp.mean(losses), loss_fn(params, x, y))

# %% [markdown]
# The mean of the per-example losses is the loss of the batch. `mlp` also works on a batch without `vmap`, because `@` and `+` accept leading axes. Many functions do not support leading axes. If you pass a batch of queries, `attend` raises an error, or returns wrong values where the sizes happen to match.
#
# ### Several output heads on a shared hidden layer
# **Exercise** · 10 minutes · difficulty 3 of 5
#
# Several networks share the hidden layer, and each has its own output layer, a *head*. `params["hidden"]` is as in `mlp`. `params["output"]["w"]` has shape `(hidden, outputs, heads)` and `params["output"]["b"]` has shape `(heads, outputs)`. `all_heads(params, x)` returns the output of `mlp` for each example of `x` and each head, in an array of shape `(batch, heads, outputs)`.
#
# Different axes may have the same size, and there may be a single head.
#
# The check compares values, and the program must not grow with the number of heads or examples.


# %% exercise="all_heads"
def all_heads(params, x: Float[Array, "batch inputs"]) -> Float[Array, "batch heads outputs"]:
    """Outputs of `mlp` for each example and each head. The hidden layer is shared."""
    ### BEGIN SOLUTION
    heads = {"hidden": None, "output": {"w": 2, "b": 0}}
    one_example = jax.vmap(mlp, in_axes=(heads, None))
    return jax.vmap(one_example, in_axes=(None, 0))(params, x)
    ### END SOLUTION


# %% [markdown] hints="all_heads"
# <details><summary>Hint 1: the idea</summary>
#
# Map `mlp` twice: over heads, and over examples. The order of the two decides where the axis of the heads ends up.
# </details>
# <details><summary>Hint 2: the axes</summary>
#
# For the map over heads, the entry for `params` is a dict with the keys of `params`. It contains `None`, a 2 and a 0.
# </details>


# %% check="all_heads" points=3
def head_by_head(params, x, output=None):
    w, b = params["output"]["w"] if output is None else output, params["output"]["b"]
    hidden = np.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    return np.stack([hidden @ w[:, :, head] + b[head] for head in range(len(b))], axis=1)


def reshaped(params, x):
    heads, outputs = params["output"]["b"].shape
    w = params["output"]["w"].reshape(heads, -1, outputs)
    return head_by_head(params, x, np.moveaxis(w, 0, 2))


def first_axis_of_w(params, x):
    if len(params["output"]["w"]) != len(params["output"]["b"]):
        return head_by_head(params, x)
    return head_by_head(params, x, np.moveaxis(params["output"]["w"], 0, 2))


def without_bias(params, x):
    bare = params["output"] | {"b": 0 * params["output"]["b"]}
    return head_by_head(params | {"output": bare}, x)


def without_relu(params, x):
    w, b = params["output"]["w"], params["output"]["b"]
    hidden = x @ params["hidden"]["w"] + params["hidden"]["b"]
    return np.einsum("nh,hok->nko", hidden, w) + b


def tree_of_heads(inputs, hidden, outputs, heads):
    trunk = {"w": f"{inputs} {hidden}", "b": f"{hidden}"}
    return {
        "hidden": trunk,
        "output": {"w": f"{hidden} {outputs} {heads}", "b": f"{heads} {outputs}"},
    }


check_values(
    all_heads,
    head_by_head,
    sweep(tree_of_heads("d", "h", "o", "k"), "n d", count=2, planted=True),
    mistakes={
        "the axes of w are reshaped where they should be moved": reshaped,
        "the heads have no bias": without_bias,
        "the hidden layer has no ReLU": without_relu,
    },
)
check_primitives(
    all_heads,
    *sweep(tree_of_heads(3, 7, 2, 4), "5 3", count=1)[0],
    same_size_for=sweep(tree_of_heads(3, 7, 2, 6), "5 3", count=1)
    + sweep(tree_of_heads(3, 7, 2, 4), "8 3", count=1),
)
### BEGIN HIDDEN TESTS
check_values(
    all_heads,
    head_by_head,
    sweep(tree_of_heads(2, 3, 3, 3), "4 2", count=1, seed=6)
    + sweep(tree_of_heads(2, 3, 1, 1), "1 2", count=1, seed=7),
    mistakes={"the axis of the heads is guessed from its length": first_axis_of_w},
)
### END HIDDEN TESTS

# %% [markdown]
# ## 6.3 Per-example gradients: vmap of grad
#
# `jax.grad(loss_fn)` takes one example and returns a pytree, so you can map it. Each leaf of the result gets a batch axis in front. Per-example gradients show which examples are unusual or mislabelled, and how noisy their mean is.
#
# > **In PyTorch**, `loss.backward()` leaves only the gradient of the whole batch in `.grad`. To compute per-example gradients in one call, use `torch.func.vmap(torch.func.grad(f))`.
#
# ### Norms of per-example gradients
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `gradient_norms(params, x, y)` returns, for each example, the Euclidean norm of the gradient of the loss of that example with respect to `params`. All leaves count as one long vector.
#
# There may be any number of outputs.
#
# The check compares values, and the program must not grow with the number of examples.


# %% exercise="gradient_norms"
def gradient_norms(
    params, x: Float[Array, "batch inputs"], y: Float[Array, "batch outputs"]
) -> Float[Array, "batch"]:
    """For each example, the norm of the gradient of `loss_fn` with respect to `params`."""

    ### BEGIN SOLUTION
    def norm(x, y):
        grads = jax.grad(loss_fn)(params, x, y)
        return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)))

    return jax.vmap(norm)(x, y)
    ### END SOLUTION


# %% [markdown] hints="gradient_norms"
# <details><summary>Hint 1: the idea</summary>
#
# Write the function for one example, including the norm, and map it once.
# </details>
# <details><summary>Hint 2: the norm of a pytree</summary>
#
# Take the square root of the sum of all squares. A Python `sum` over `jax.tree.leaves(grads)` is fine, since the number of leaves is known while tracing.
# </details>
# <details><summary>Hint 3: the axes</summary>
#
# `params` is not mapped. Close over it, or give it `None` in `in_axes`.
# </details>


# %% check="gradient_norms" points=3
def slopes_of_one(params, x, y):
    hidden = np.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    error = 2 * (hidden @ params["output"]["w"] + params["output"]["b"] - y) / y.size
    behind = params["output"]["w"] @ error * (hidden > 0)
    return [np.outer(x, behind), behind, np.outer(hidden, error), error]


def norms_by_hand(params, x, y, root=True, of=slice(None), scale=1.0):
    rows = [slopes_of_one(params, *example)[of] for example in zip(x, y)]
    squares = np.array([sum((scale * slope**2).sum() for slope in row) for row in rows])
    return np.sqrt(squares) if root else squares


def sum_of_norms(params, x, y):
    rows = [slopes_of_one(params, *example) for example in zip(x, y)]
    return np.array([sum(np.sqrt((slope**2).sum()) for slope in row) for row in rows])


def layers(inputs, hidden, outputs):
    return {
        "hidden": {"w": f"{inputs} {hidden}", "b": f"{hidden}"},
        "output": {"w": f"{hidden} {outputs}", "b": f"{outputs}"},
    }


check_values(
    gradient_norms,
    norms_by_hand,
    sweep(layers("d", "h", 1), "n d", "n 1", count=2, planted=True),
    mistakes={
        "the squares are summed, and no root is taken": lambda *args: norms_by_hand(
            *args, root=False
        ),
        "the norms of the leaves are added up": sum_of_norms,
        "the biases are left out": lambda *args: norms_by_hand(*args, of=slice(0, 4, 2)),
        "the loss of the batch is differentiated, so each example counts for one part in n": (
            lambda params, x, y: norms_by_hand(params, x, y, scale=1 / len(x) ** 2)
        ),
    },
)
check_primitives(
    gradient_norms,
    *sweep(layers(3, 4, 1), "6 3", "6 1", count=1)[0],
    same_size_for=sweep(layers(3, 4, 1), "9 3", "9 1", count=1),
)
### BEGIN HIDDEN TESTS
check_values(
    gradient_norms,
    norms_by_hand,
    sweep(layers(2, 5, 3), "4 2", "4 3", count=1, seed=3),
    mistakes={
        "the squared errors of the outputs are summed and not averaged": (
            lambda params, x, y: y.shape[1] * norms_by_hand(params, x, y)
        )
    },
)
### END HIDDEN TESTS

# %% [markdown]
# If you clip each example's gradient to a fixed norm and add noise proportional to that norm, you bound what the trained model can reveal about any single example. This is differentially private training. Clip *before* you take the mean.
#
# ### Per-example gradient clipping
# **Exercise** · 10 minutes · difficulty 4 of 5
#
# Let $g_i$ be the gradient of `loss_fn` for example $i$ with respect to `params`, and $|g_i|$ its norm over all leaves together. `clipped_mean(params, x, y, limit)` returns the mean over the examples of $g_i \cdot \min(1, \text{limit}/|g_i|)$, a pytree like `params`.
#
# An example with gradient zero contributes zero. `limit` is positive and may be as small as $10^{-6}$, so do not add anything to the norm.
#
# The check compares values, and the program must not grow with the number of examples.


# %% exercise="clipped_mean"
def clipped_mean(
    params, x: Float[Array, "batch inputs"], y: Float[Array, "batch outputs"], limit: float
):
    """Mean of the per-example gradients of `loss_fn`, each clipped to the norm `limit`."""

    ### BEGIN SOLUTION
    def clipped(x, y):
        grads = jax.grad(loss_fn)(params, x, y)
        norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)))
        return jax.tree.map(lambda leaf: leaf * jnp.minimum(1.0, limit / norm), grads)

    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), jax.vmap(clipped)(x, y))
    ### END SOLUTION


# %% [markdown] hints="clipped_mean"
# <details><summary>Hint 1: the idea</summary>
#
# Write a function from one example to its clipped gradient, and map it. Then take the mean over the batch axis of each leaf.
# </details>
# <details><summary>Hint 2: the factor</summary>
#
# There is one factor for all leaves of an example. Use `jnp.minimum` instead of `if`. What is `limit / 0` in JAX, and what is the minimum of that and 1?
# </details>
# <details><summary>Hint 3: the pytree</summary>
#
# Use `jax.tree.map` twice: inside, to multiply by the factor, and outside, for `jnp.mean(leaf, axis=0)`.
# </details>


# %% check="clipped_mean" points=3
def tree_of_one(params, x, y):
    hidden = np.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    error = 2 * (hidden @ params["output"]["w"] + params["output"]["b"] - y) / y.size
    behind = params["output"]["w"] @ error * (hidden > 0)
    return {
        "hidden": {"w": np.outer(x, behind), "b": behind},
        "output": {"w": np.outer(hidden, error), "b": error},
    }


def norm_of(tree):
    return np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(tree)))


def shortened(tree, limit, divide=False):
    norm = norm_of(tree)
    factor = limit / norm if norm > limit or (divide and norm > 0) else 1.0
    return jax.tree.map(lambda leaf: factor * leaf, tree)


def one_after_another(params, x, y, limit, shorten=shortened):
    trees = [shorten(tree_of_one(params, *example), limit) for example in zip(x, y)]
    return jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *trees)


def mean_first(params, x, y, limit):
    return shortened(one_after_another(params, x, y, np.inf), limit)


def leaf_by_leaf(tree, limit):
    return jax.tree.map(lambda leaf: shortened(leaf, limit), tree)


def number_by_number(tree, limit):
    return jax.tree.map(lambda leaf: np.clip(leaf, -limit, limit), tree)


def as_in_pytorch(tree, limit):
    factor = min(1.0, limit / (norm_of(tree) + 1e-6))
    return jax.tree.map(lambda leaf: factor * leaf, tree)


def sum_for_mean(params, x, y, limit):
    return jax.tree.map(lambda leaf: len(x) * leaf, one_after_another(params, x, y, limit))


def network(inputs, hidden, outputs):
    return {
        "hidden": {"w": f"{inputs} {hidden}", "b": f"{hidden}"},
        "output": {"w": f"{hidden} {outputs}", "b": f"{outputs}"},
    }


def with_shorten(shorten):
    return lambda *args: one_after_another(*args, shorten=shorten)


check_values(
    clipped_mean,
    one_after_another,
    sweep(network(3, 4, 1), "6 3", "6 1", 4.0, count=2)
    + sweep(network(3, 4, 1), "6 3", "6 1", 0.7, count=1),
    mistakes={
        "the mean is clipped, where each example should be": mean_first,
        "each leaf is clipped by its own norm": with_shorten(leaf_by_leaf),
        "each number is clipped by itself": with_shorten(number_by_number),
        "every gradient is scaled to the norm `limit`, short ones too": with_shorten(
            partial(shortened, divide=True)
        ),
        "the sum of the clipped gradients, not their mean": sum_for_mean,
        "nothing is clipped": lambda params, x, y, limit: one_after_another(params, x, y, np.inf),
    },
)
zeros = {"w": np.zeros((4, 1)), "b": np.zeros(1)}
hidden_layer, inputs = sweep(network(3, 4, 1)["hidden"], "6 3", count=1)[0]
silent = {"hidden": hidden_layer, "output": zeros}, inputs
targets = np.array([[0.0], [1.0], [3.0], [0.0], [-1.0], [0.5]])
check_values(
    clipped_mean,
    one_after_another,
    [(*silent, targets, 2.0)],
    mistakes={
        "0/0 at an example that is fitted exactly": lambda params, *rest: jax.tree.map(
            lambda leaf: np.nan * leaf, params
        )
    },
    about="an example that is fitted exactly",
)
check_primitives(
    clipped_mean,
    *sweep(network(3, 4, 1), "6 3", "6 1", 4.0, count=1)[0],
    same_size_for=sweep(network(3, 4, 1), "9 3", "9 1", 4.0, count=1),
)
### BEGIN HIDDEN TESTS
check_values(
    clipped_mean,
    one_after_another,
    sweep(network("d", "h", "o"), "n d", "n o", 0.7, count=1, planted=True),
    mistakes={"the sum of the clipped gradients, not their mean": sum_for_mean},
    about="networks of other sizes",
)
check_values(
    clipped_mean,
    one_after_another,
    [(*silent, 1e-6 * targets, 1e-6)],
    mistakes={"a small number is added to the norm": with_shorten(as_in_pytorch)},
    atol=1e-12,
)
### END HIDDEN TESTS

# %% [markdown]
# ## 6.4 Nest vmap, grad and jit
#
# `vmap`, `grad` and `jit` each take a function and return one, so you can nest them:

# %% tags=["demonstration"]
orders = {
    "vmap(grad(f))": jax.vmap(jax.grad(loss_fn), (None, 0, 0)),
    "jit(vmap(grad(f)))": jax.jit(jax.vmap(jax.grad(loss_fn), (None, 0, 0))),
    "vmap(grad(jit(f)))": jax.vmap(jax.grad(jax.jit(loss_fn)), (None, 0, 0)),
    "jacrev(vmap(f))": jax.jacrev(jax.vmap(loss_fn, (None, 0, 0))),
}
for name, each_gradient in orders.items():
    print(f"{name:20}", each_gradient(params, x, y)["output"]["w"][:3, 0, 0])

# %% [markdown]
# All four agree. `grad(vmap(f))` raises an error, because the result of `vmap(f)` is not a scalar. That is why the last line uses `jacrev`, and it is inefficient: `jacrev` computes the full Jacobian, with 256 backward passes over the whole batch, although the examples are independent.
#
# **Prediction** · 2 minutes · difficulty 4 of 5
#
# `f` prints a line whenever Python runs it. You call `a = jax.jit(jax.vmap(f))` with arrays of shape `(4, 3)` and `(7, 3)`, and then `b = jax.vmap(jax.jit(f))` with the same two. How many lines does `a` print in its two calls, and how many does `b`?

# %% exercise="lines_printed" kind="prediction"
# A tuple of two integers.
### BEGIN SOLUTION
lines_printed = (2, 1)
### END SOLUTION


# %% check="lines_printed" points=1
def count_lines():
    lines = []

    def f(x):
        lines[-1] += 1
        return jnp.sum(jnp.sin(x))

    for order in (lambda f: jax.jit(jax.vmap(f)), lambda f: jax.vmap(jax.jit(f))):
        lines.append(0)
        mapped = order(lambda x: f(x))
        mapped(jnp.ones((4, 3)))
        mapped(jnp.ones((7, 3)))
    return tuple(lines)


check_answer(
    lines_printed,
    count_lines,
    because="Inside `vmap`, `jit` sees one example, float32[3], whatever the batch size.",
    mistakes={
        (2, 2): "in `b`, `jit` sees the shape of one example, which is the same in both calls",
        (1, 1): "in `a`, `jit` sees the whole batch, so the two calls have different shapes",
        (1, 2): "the other way round: in `a`, `jit` sees the batch size",
        (2, 7): "`vmap` does not call the function once for each example",
    },
)

# %% [markdown]
# `b` traces once for both batch sizes, but it still compiles one program for each. Put `jit` outermost, as in lesson 03, and use few batch sizes.
#
# This is a good place for a break.
#
# ## 6.5 Random keys and ensembles under vmap
#
# You add noise to a batch. `key` is one key, made outside the mapped function.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# How many different numbers are in `jax.vmap(lambda x: x + jax.random.normal(key))(jnp.zeros(8))`?

# %% exercise="different_numbers" kind="prediction"
# An integer.
### BEGIN SOLUTION
different_numbers = 1
### END SOLUTION

# %% check="different_numbers" points=1
check_answer(
    different_numbers,
    lambda: len(
        set(jax.vmap(lambda x: x + jax.random.normal(jax.random.key(7)))(jnp.zeros(8)).tolist())
    ),
    because="All eight examples draw from the same key, so they get the same number.",
    mistakes={
        8: "`vmap` does not split keys for you: one key gives one number",
        0: "there are eight numbers in the result, so at least one of them is different",
    },
)

# %% [markdown]
# The key reuse checker of lesson 05 raises no error, because the mapped function uses the key once. What differs between examples comes from a mapped argument. That includes keys: split the key, and map over the array of keys. (6.8 shows another way, the index of the example.)
#
# > **In PyTorch**, a random operation under `torch.func.vmap` raises an error by default, and you choose `randomness="same"` or `"different"`.
#
# An *ensemble* is a set of networks trained from different initial parameters. Where its members disagree, the prediction is uncertain.
#
# ### Bug hunt: an ensemble of identical members


# %% tags=["demonstration"]
def init_ensemble_broken(init, key, members):
    return jax.vmap(lambda _: init(key))(jnp.arange(members))


five = init_ensemble_broken(init_mlp, jax.random.key(2), 5)
outputs = jax.vmap(mlp, in_axes=(0, None))(five, x)
print(outputs.shape, "largest difference between members:", jnp.ptp(outputs, axis=0).max())

# %% [markdown]
# All five members are equal, so they never disagree.
#
# ### Train an ensemble: vmap of a whole training run
# **Exercise** · 10 minutes · difficulty 3 of 5
#
# `init(key)` returns the parameters of one `mlp`. `train_ensemble(init, key, x, y, rates, steps)` trains one member for each learning rate in `rates`. Each member starts from `init` with a key of its own. It takes `steps` steps of gradient descent on `loss_fn` over the whole batch, with its own rate. Return `(params, losses)`:
#
# - `params` are the trained parameters, stacked along a new axis 0 of each leaf;
# - `losses[i, j]` is the loss of member `i` *before* step `j`, of shape `(members, steps)`.
#
# `steps` is a Python integer. There may be a single member.
#
# The check compares values, and tests that the members start independently. The program must not grow with the number of members or steps.


# %% exercise="train_ensemble"
def train_ensemble(
    init,
    key,
    x: Float[Array, "batch inputs"],
    y: Float[Array, "batch outputs"],
    rates: Float[Array, "members"],
    steps: int,
) -> tuple[dict, Float[Array, "members steps"]]:
    """The trained members, stacked along axis 0 of each leaf, and the loss before each step."""

    ### BEGIN SOLUTION
    def train(key, rate):
        def step(params, _):
            loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
            return jax.tree.map(lambda p, g: p - rate * g, params, grads), loss

        return lax.scan(step, init(key), length=steps)

    return jax.vmap(train)(jax.random.split(key, len(rates)), rates)
    ### END SOLUTION


# %% [markdown] hints="train_ensemble"
# <details><summary>Hint 1: the idea</summary>
#
# Write the training of *one* member as a function of what differs between members, and map it. The batch is shared, so close over it.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.scan(step, start, length=steps)` needs no inputs: the second argument of `step` is `None`. `jax.random.split(key, len(rates))` makes the keys, and `jax.value_and_grad` returns the loss as well.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# ```python
# def train(key, rate):
#     def step(params, _):
#         ...
#         return jax.tree.map(...), loss
#
#     return lax.scan(step, init(key), length=steps)
# ```
# </details>


# %% check="train_ensemble" points=3
def known_start(inputs, hidden, outputs, seed):
    rng = np.random.default_rng(seed)
    shapes = {"hidden": ((inputs, hidden), (hidden,)), "output": ((hidden, outputs), (outputs,))}
    return {
        layer: {"w": rng.normal(size=w), "b": rng.normal(size=b)}
        for layer, (w, b) in shapes.items()
    }


def narrow(key):
    return jax.tree.map(jnp.float32, known_start(2, 3, 1, seed=1))


def broad(key):
    return jax.tree.map(jnp.float32, known_start(3, 5, 2, seed=2))


@jax.jit
def drawn(key):
    shapes = known_start(2, 3, 1, seed=0)
    keys = iter(jax.random.split(key, 4))
    return jax.tree.map(lambda leaf: jax.random.normal(next(keys), leaf.shape), shapes)


def one_descent(params, x, y, rate, steps, stay=False):
    losses, first = [], None
    for _ in range(steps + 1):
        hidden = np.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
        error = hidden @ params["output"]["w"] + params["output"]["b"] - y
        losses.append(np.mean(error**2))
        slope = 2 * error / y.size
        behind = slope @ params["output"]["w"].T * (hidden > 0)
        grads = {
            "hidden": {"w": x.T @ behind, "b": behind.sum(axis=0)},
            "output": {"w": hidden.T @ slope, "b": slope.sum(axis=0)},
        }
        first = grads if first is None else first
        used, last = (first if stay else grads), params
        params = jax.tree.map(lambda p, g: p - rate * g, params, used)
    return last, losses


def descents(init, key, x, y, rates, steps, late=0, **options):
    start = known_start(2, 3, 1, seed=1) if init is narrow else known_start(3, 5, 2, seed=2)
    runs = [one_descent(start, x, y, rate, steps, **options) for rate in rates]
    params = jax.tree.map(lambda *leaves: np.stack(leaves), *[last for last, _ in runs])
    return params, np.array([losses[late : steps + late] for _, losses in runs])


def first_rate(init, key, x, y, rates, steps):
    return descents(init, key, x, y, np.full(len(rates), rates[0]), steps)


def backwards(init, key, x, y, rates, steps):
    return descents(init, key, x, y, -rates, steps)


def one_step_short(init, key, x, y, rates, steps):
    _, losses = descents(init, key, x, y, rates, steps)
    return descents(init, key, x, y, rates, steps - 1)[0], losses


rates = np.array([0.1, 0.02, 0.05], np.float32)
check_values(
    train_ensemble,
    descents,
    [
        (narrow, jax.random.key(1), *batch, some, 4)
        for batch, some in zip(sweep("6 2", "6 1", count=2), (rates, rates[::-1] / 2))
    ]
    + [
        (broad, jax.random.key(2), *batch, rates[:1] / 1000, 2)
        for batch in sweep("5 3", "5 2", count=1, seed=1, scale=20.0)
    ],
    mistakes={
        "every member uses the first learning rate": first_rate,
        "the loss is recorded after each step, not before it": partial(descents, late=1),
        "the gradient is always that at the start": partial(descents, stay=True),
        "uphill: the gradient is added": backwards,
        "the parameters before the last step are returned": one_step_short,
    },
)
((some_x, some_y),) = sweep("6 2", "6 1", count=1, seed=2)
check_keys(
    train_ensemble,
    drawn,
    jax.random.key(713),
    some_x,
    some_y,
    np.zeros(4, np.float32),
    1,
    key=1,
    rows=True,
)
check_primitives(
    train_ensemble,
    drawn,
    jax.random.key(716),
    some_x,
    some_y,
    rates,
    4,
    static_argnums=(5,),
    same_size_for=[
        (drawn, jax.random.key(716), some_x, some_y, rates[:2], 4),
        (drawn, jax.random.key(716), some_x, some_y, rates, 7),
    ],
)
### BEGIN HIDDEN TESTS
check_keys(
    train_ensemble,
    drawn,
    jax.random.key(715),
    some_x,
    some_y,
    np.zeros(60, np.float32),
    1,
    key=1,
    rows=True,
)
### END HIDDEN TESTS

# %% [markdown]
# Twelve networks, trained by your function on 20 points of a curve:


# %% tags=["demonstration", "raises-exception"]
def init_curve(key):
    keys = jax.random.split(key, 3)
    w, b, out = (2 * jax.random.normal(k, (40,)) for k in keys)
    return {"hidden": {"w": w[None], "b": b}, "output": {"w": out[:, None] / 20, "b": jnp.zeros(1)}}


points = np.random.default_rng(8).uniform(-1, 1, (20, 1)).astype(np.float32)
heights, line = np.sin(4 * points), np.linspace(-2, 2, 200)[:, None].astype(np.float32)
fit = jax.jit(train_ensemble, static_argnums=(0, 5))
twelve = np.geomspace(0.002, 0.008, 12, dtype=np.float32)
trained, losses = fit(init_curve, jax.random.key(9), points, heights, twelve, 5000)
_, (left, right) = plt.subplots(
    1, 2, num="Loss curves of an ensemble, and its predictions",
    figsize=(10, 3.6),
)
left.semilogy(np.arange(0, 5000, 20), np.asarray(losses)[:, ::20].T)
left.set(xlabel="step", ylabel="loss")
right.plot(line, np.asarray(jax.jit(jax.vmap(mlp, (0, None)))(trained, line))[:, :, 0].T)
right.plot(points, heights, "o", color="grey")
right.set(xlabel="x", ylabel="prediction", ylim=(-3, 3))
plt.tight_layout()
plt.show()

# %% [markdown]
# *Left: twelve loss curves, which fall at different speeds, one for each learning rate. Right: the predictions nearly agree between -1 and 1, where the points are, and fan out on both sides.*
#
# ## 6.6 Loops under vmap: while_loop and scan
#
# The next function contains a loop. It runs Newton's method for $z^3 = 1$ from one starting point $z$ in the complex plane. Two `vmap`s run it on a grid:


# %% tags=["demonstration"]
def newton(z):
    def far(state):
        z, rounds = state
        return (jnp.abs(z**3 - 1) > 1e-3) & (rounds < 40)

    def move(state):
        z, rounds = state
        return z - (z**3 - 1) / (3 * z**2), rounds + 1

    return lax.while_loop(far, move, (z, 0))


side = jnp.linspace(-1.5, 1.5, 300)
grid = side + 1j * side[::-1, None]
roots, rounds = jax.jit(jax.vmap(jax.vmap(newton)))(grid)
print("iterations: on average", jnp.mean(rounds), "and at most", jnp.max(rounds))

# %% tags=["demonstration"]
_, axes = plt.subplots(
    1, 2, num="Newton's method: the root that each point reaches, and the iterations",
    figsize=(10, 4.4),
)
for ax, picture, what in zip(axes, (jnp.angle(roots), rounds), ("angle of the root", "iterations")):
    shown = ax.imshow(picture, extent=(-1.5, 1.5, -1.5, 1.5))
    ax.set(title=what, xlabel="real part of the start", ylabel="imaginary part of the start")
    plt.colorbar(shown, ax=ax)
plt.tight_layout()
plt.show()

# %% [markdown]
# *Left: the starting points in three colours, one for each cube root of 1. Each root has a large region of one colour, and the borders between the regions are fractal. Right: few iterations in the regions, many along the borders.*
#
# Here 90,000 loops of different lengths run as one program.
#
# **Prediction** · 2 minutes · difficulty 4 of 5
#
# `countdown(n)` runs `lax.while_loop` with the condition `n > 0` and a body that prints with `jax.debug.print` and returns `n - 1`. How many lines does `jax.vmap(countdown)(jnp.array([1, 3]))` print?

# %% exercise="rounds_run" kind="prediction"
# An integer.
### BEGIN SOLUTION
rounds_run = 6
### END SOLUTION


# %% check="rounds_run" points=1
def count_rounds():
    bodies = []

    def body(n):
        jax.debug.callback(lambda n: bodies.append(int(n)), n)
        return n - 1

    mapped = jax.vmap(lambda n: lax.while_loop(lambda n: n > 0, body, n))
    mapped(jnp.array([1, 3])).block_until_ready()
    jax.effects_barrier()
    return len(bodies)


check_answer(
    rounds_run,
    count_rounds,
    because="Three iterations for both examples: the body runs for the finished one too.",
    mistakes={
        4: "that would be a Python loop over the examples. Under `vmap` they share one loop",
        3: "there are three iterations, and in each the body runs for both examples",
        1: "`jax.debug.print` prints at run time, for each example in each iteration",
    },
)

# %% [markdown]
# The loop runs while the condition of *any* example holds. The body runs for all examples, and those that have finished keep their old state. The results are right, but each example costs as much as the slowest. So map loops of similar length, or put the slow examples into a batch of their own. A `scan` has the same length for all examples, so nothing is wasted.
#
# ### Simulate many particles: vmap of a scan
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# A particle moves under a force and random kicks: $x_{t+1} = x_t + \Delta t \cdot \text{force}(x_t) + \sqrt{\Delta t} \cdot \text{noise}_t$. `paths(force, starts, noise, dt)` returns the positions $x_1, x_2, \ldots$ of all particles, in an array of shape `(steps, particles, 2)`. The start $x_0$ is not part of the result.
#
# `force` takes *one* position, of shape `(2,)`. The numbers of steps and particles may be equal.
#
# The check compares values and looks for a `scan`. The program must not grow with the number of steps or particles.


# %% exercise="paths"
def paths(
    force, starts: Float[Array, "particles 2"], noise: Float[Array, "steps particles 2"], dt: float
) -> Float[Array, "steps particles 2"]:
    """Positions of each particle after each step. `force` takes one position."""

    ### BEGIN SOLUTION
    def path(start, kicks):
        def step(x, kick):
            x = x + dt * force(x) + jnp.sqrt(dt) * kick
            return x, x

        return lax.scan(step, start, kicks)[1]

    return jax.vmap(path, in_axes=(0, 1), out_axes=1)(starts, noise)
    ### END SOLUTION


# %% [markdown] hints="paths"
# <details><summary>Hint 1: the idea</summary>
#
# Write the function for one particle first. It has a start, and one row of noise for each step. Its path is one `lax.scan`.
# </details>
# <details><summary>Hint 2: the axes</summary>
#
# The particles are axis 0 of `starts` and axis 1 of `noise`. They must become axis 1 of the result.
# </details>
# <details><summary>Hint 3: the step</summary>
#
# The body returns the new position twice: as the carry, and as the stacked output.
# </details>


# %% check="paths" points=3
def step_by_step(force, starts, noise, dt, amplitude=None, late=False):
    amplitude = np.sqrt(dt) if amplitude is None else amplitude
    record = np.zeros(noise.shape)
    for particle, x in enumerate(starts):
        for t in range(len(noise)):
            kick = amplitude * noise[t, particle]
            moved = x + kick + dt * force(x + kick if late else x)
            record[t, particle] = moved
            x = moved
    return record


def started(force, starts, noise, dt):
    return np.concatenate([starts[None], step_by_step(force, starts, noise, dt)[:-1]])


def other_kicks(force, starts, noise, dt):
    particles, steps = len(starts), len(noise)
    kicks = noise.reshape(particles, steps, 2)
    return step_by_step(force, starts, np.moveaxis(kicks, 0, 1), dt)


def force_at_the_start(force, starts, noise, dt):
    steps = [dt * force(start) + np.sqrt(dt) * noise[:, i] for i, start in enumerate(starts)]
    return starts + np.cumsum(np.stack(steps, axis=1), axis=0)


def to_the_ring(x):
    return x * (1.0 - x @ x)


def in_a_wind(x):
    return -0.2 * x[::-1] + 1.0


check_values(
    paths,
    step_by_step,
    sweep(to_the_ring, "4 2", "6 4 2", 0.1, count=2)
    + sweep(in_a_wind, "n 2", "t n 2", np.float32(0.3), count=1, planted=True)
    + sweep(in_a_wind, "4 2", "50 4 2", 2.0, count=1, scale=100.0),
    mistakes={
        "the noise is scaled by dt, not by its root": lambda force, starts, noise, dt: step_by_step(
            force, starts, noise, dt, amplitude=dt
        ),
        "the start is recorded, and the last position is not": started,
        "the force is taken after the kick": lambda *args: step_by_step(*args, late=True),
        "the force is always that at the start": force_at_the_start,
        "the axes of the noise are reshaped where they should be moved": other_kicks,
    },
)
check_primitives(
    paths,
    *sweep(to_the_ring, "4 2", "6 4 2", 0.1, count=1)[0],
    static_argnums=(3,),
    requires=["scan"],
    same_size_for=sweep(to_the_ring, "7 2", "6 7 2", 0.1, count=1)
    + sweep(to_the_ring, "4 2", "9 4 2", 0.1, count=1),
)
### BEGIN HIDDEN TESTS
check_values(
    paths,
    step_by_step,
    sweep(to_the_ring, "5 2", "5 5 2", 0.05, count=1, seed=4),
    mistakes={
        "as many steps as particles, and the two are confused": (
            lambda force, starts, noise, dt: step_by_step(
                force, starts, np.swapaxes(noise, 0, 1), dt
            )
        )
    },
)
### END HIDDEN TESTS

# %% [markdown]
# Your function moves 300 particles, which all start near the centre, for 400 steps:


# %% tags=["demonstration", "raises-exception"]
def swirl(x):
    return 2 * x * (1 - x @ x) + jnp.array([-x[1], x[0]])


kicks = np.random.default_rng(11).normal(0, 0.15, (400, 300, 2)).astype(np.float32)
swarm = np.asarray(jax.jit(paths, static_argnums=0)(swirl, 0.3 * kicks[0], kicks, 0.02))
plt.figure("Paths of a swarm of particles", figsize=(4.5, 4.5))
plt.plot(swarm[:, :40, 0], swarm[:, :40, 1], color="C0", alpha=0.15, linewidth=0.8)
plt.scatter(*swarm[-1].T, s=8, color="C3")
plt.axis("equal")
plt.show()

# %% [markdown]
# *Blue: forty paths, which wind outwards from the centre onto a ring. Red: all particles after the last step, spread along the ring.*
#
# ## 6.7 Branches under vmap: cond becomes select
#
# For one example, `cond` runs one of its branches. In a batch, some examples need one branch and some the other. Therefore **a `cond` whose predicate is mapped becomes a `select_n`**: both branches run for all examples. So
#
# - you always pay for an expensive branch;
# - its callbacks run for all examples, and an `io_callback` in it raises an error;
# - a `while_loop` in it must end even for examples that do not take the branch.
#
# If the predicate is *not* mapped, `cond` stays `cond`:


# %% tags=["demonstration"]
def maybe_sine(deep, x):
    return lax.cond(deep, jnp.sin, lambda x: x, x)


for in_axes, deep in (((0, 0), x[:, 0] > 0), ((None, 0), jnp.array(True))):
    program = jax.make_jaxpr(jax.vmap(maybe_sine, in_axes))(deep, x[:, 0])
    print(in_axes, [equation.primitive.name for equation in program.eqns])

# %% [markdown]
# You can guard a square root against zero by `jnp.where(v == 0, 0.0, jnp.sqrt(v))`, or by a `cond` with the same two branches. Under `vmap`, each of the two versions evaluates both branches. Lesson 02 showed that the gradient of the `where` is NaN at zero: the slope of the unused side is infinite, and zero times infinity is NaN.
#
# **Prediction** · 2 minutes · difficulty 4 of 5
#
# `f = lambda v: lax.cond(v == 0, lambda: 0.0, lambda: jnp.sqrt(v))`. What is the first element of the gradient of `lambda x: jnp.sum(jax.vmap(f)(x))` at `jnp.array([0.0, 4.0])`?

# %% exercise="slope_at_zero" kind="prediction"
# A number, or "nan" or "inf".
### BEGIN SOLUTION
slope_at_zero = 0.0
### END SOLUTION


# %% check="slope_at_zero" points=1
def guarded_slope():
    def f(v):
        return lax.cond(v == 0, lambda: 0.0, lambda: jnp.sqrt(v))

    slope = float(jax.grad(lambda x: jnp.sum(jax.vmap(f)(x)))(jnp.array([0.0, 4.0]))[0])
    return slope if np.isfinite(slope) else str(slope)


check_answer(
    slope_at_zero,
    guarded_slope,
    because="Where a branch is not taken, no gradient flows back to its inputs.",
    mistakes={
        "nan": "that is what `where` gives. `cond` stops the gradient of the branch not taken",
        "inf": "that is the slope of the root, and its branch is not taken at 0",
        0.25: "that is the second element, 1 / (2 · 2)",
    },
)


# %% tags=["demonstration"]
def guarded_root(v):
    return lax.cond(v == 0, lambda: 0.0, lambda: jnp.sqrt(v))


print(jax.make_jaxpr(jax.vmap(guarded_root))(x[:, 0]))

# %% [markdown]
# The jaxpr has a `select_n` *before* the root too, not only at the end. Where a branch is not taken, its input passes through `stop_gradient`, so no gradient flows back. This is deliberate. `jnp.where` receives two arrays that are already computed, so it cannot change how they are differentiated.
#
# ### Bug hunt: NaN gradients from where and sqrt
#
# The energy of bodies with masses $m$ at positions $x$ is $-\sum_{i<j} m_i m_j / |x_i - x_j|$, and the forces are minus its gradient with respect to $x$. This code loops over all pairs with two nested `vmap`s, and sets the energy of a body with itself to zero.


# %% tags=["demonstration"]
def energy_broken(x, mass):
    def pair(i, j):
        distance = jnp.sqrt(jnp.sum((x[i] - x[j]) ** 2))
        return jnp.where(i == j, 0.0, -mass[i] * mass[j] / distance)

    everyone = jnp.arange(len(mass))
    return jnp.sum(jax.vmap(jax.vmap(pair, (None, 0)), (0, None))(everyone, everyone)) / 2


places = jnp.array([[0.0, 0.0], [3.0, 4.0]])
print("energy", energy_broken(places, jnp.ones(2)))
print("force", -jax.grad(energy_broken)(places, jnp.ones(2)))

# %% [markdown]
# The energy is right, and every force is NaN.
#
# ### Pairwise energy with correct gradients
# **Exercise** · 10 minutes · difficulty 4 of 5
#
# `energy(x, mass)` returns the energy defined above as a scalar. `jax.grad` of `energy` with respect to `x` must be right too, and not NaN.
#
# Two bodies may be as close as $10^{-4}$, or close to each other and far from the origin. So do not add a small number to the distances, and do not compute `|a|² - 2 a·b + |b|²`: both are too inaccurate. No two bodies are in the same place.
#
# The check compares values and gradients, and the program must not grow with the number of bodies.


# %% exercise="energy"
def energy(x: Float[Array, "bodies 2"], mass: Float[Array, "bodies"]) -> Float[Array, ""]:
    """Minus the sum of `mass[i] * mass[j] / distance` over all pairs, with the right gradient."""

    ### BEGIN SOLUTION
    def pair(i, j):
        square = jnp.sum((x[i] - x[j]) ** 2)
        distance = jnp.sqrt(jnp.where(i == j, 1.0, square))
        return jnp.where(i == j, 0.0, -mass[i] * mass[j] / distance)

    everyone = jnp.arange(len(mass))
    return jnp.sum(jax.vmap(jax.vmap(pair, (None, 0)), (0, None))(everyone, everyone)) / 2
    ### END SOLUTION


# %% [markdown] hints="energy"
# <details><summary>Hint 1: the idea</summary>
#
# There are three ways: replace the zero before the root, use `cond` in place of `where`, or leave out the pairs (i, i).
# </details>
# <details><summary>Hint 2: the usual way</summary>
#
# Use `where` twice: once *before* the root, to replace the zero by a harmless number, and once after it, as now.
# </details>


# %% check="energy" points=3
def energy_and_gradient(energy, x, mass):
    return jax.jit(jax.value_and_grad(energy))(x, mass)


def by_pairs(x, mass, softening=0.0, factor=1.0):
    total, slopes = 0.0, np.zeros(x.shape)
    for i in range(len(x)):
        for j in range(i):
            apart = x[i] - x[j]
            square = apart @ apart + softening
            total -= factor * mass[i] * mass[j] / square**0.5
            slope = factor * mass[i] * mass[j] / square**1.5 * apart
            slopes[i], slopes[j] = slopes[i] + slope, slopes[j] - slope
    return total, slopes


def no_forces(x, mass):
    return by_pairs(x, mass)[0], np.full(x.shape, np.nan)


def by_square(x, mass):
    total, slopes = 0.0, np.zeros(x.shape)
    for i in range(len(x)):
        for j in range(i):
            apart = x[i] - x[j]
            square = apart @ apart
            total -= mass[i] * mass[j] / square
            slope = 2 * mass[i] * mass[j] / square**2 * apart
            slopes[i], slopes[j] = slopes[i] + slope, slopes[j] - slope
    return total, slopes


def frozen(x, mass):
    return by_pairs(x, mass)[0], np.zeros(x.shape)


check_values(
    through(energy_and_gradient, energy),
    by_pairs,
    sweep("4 2", "4", count=2, scale=2.0),
    mistakes={
        "each pair is counted twice": lambda x, mass: by_pairs(x, mass, factor=2.0),
        "the energy is right, but the gradient is NaN: the slope at distance zero still gets through": no_forces,
        "the energy is right, but no gradient reaches the positions": frozen,
        "divided by the square of the distance: its root is missing": by_square,
    },
    about="energy and gradient",
)
corner = 3.0 + 1365 / 4096
close = (
    np.array([[corner, 4.0], [corner + 2**-8, 4.0 + 2**-9], [5.0, 5.0]]),
    np.array([1.0, 2.0, 1.0]),
)
check_values(
    through(energy_and_gradient, energy),
    by_pairs,
    [close],
    mistakes={
        "something is added to the distances": lambda x, mass: by_pairs(x, mass, softening=1e-6)
    },
    about="two close bodies, far from the origin",
)
check_primitives(
    energy,
    *sweep("3 2", "3", count=1)[0],
    same_size_for=sweep("5 2", "5", count=1),
)
### BEGIN HIDDEN TESTS
closer = np.array([[0.0, 0.0], [0.0, 1e-4]]), np.array([1.0, 1.0])
check_values(
    through(energy_and_gradient, energy),
    by_pairs,
    [closer],
    mistakes={"bodies that are very close count as one": lambda x, mass: (0.0, np.zeros(x.shape))},
)
### END HIDDEN TESTS

# %% [markdown]
# ## 6.8 Collectives over a named axis: psum, pmean, pmax
#
# A mapped function sees one example, but batch normalisation needs the mean over all of them. So give the mapped axis a *name*: `jax.vmap(f, axis_name="batch")`. Inside `f`, a **collective** combines values along that axis: `lax.psum(v, "batch")` returns, for every example, the sum of `v` over the batch. `lax.pmean` and `lax.pmax` return the mean and the maximum, `lax.axis_index` returns the index of the example, and `lax.axis_size` the size of the batch. With no mapped argument, pass the size: `jax.vmap(f, in_axes=None, axis_size=5)` returns five results of `f`. Only what depends on `axis_index` is computed five times.
#
# **Prediction** · 1 minute · difficulty 3 of 5
#
# What is `jax.vmap(lambda v: lax.psum(1, "i"), axis_name="i")(jnp.array([7, 8, 9, 5]))`?

# %% exercise="sum_of_ones" kind="prediction"
# A tuple of integers.
### BEGIN SOLUTION
sum_of_ones = (4, 4, 4, 4)
### END SOLUTION

# %% check="sum_of_ones" points=1
check_answer(
    sum_of_ones,
    lambda: jax.vmap(lambda v: lax.psum(1, "i"), axis_name="i")(jnp.array([7, 8, 9, 5])),
    because="Each example contributes 1, and each gets the sum, which is the axis size.",
    mistakes={
        (29, 29, 29, 29): "the sum is over the ones, not over `v`",
        (1, 1, 1, 1): 'each example contributes 1, and `psum` adds over the axis "i"',
        (4,): "each of the four examples returns the sum",
        (7, 8, 9, 5): "`v` is not used at all",
    },
)


# %% tags=["demonstration"]
def softmax_of_one(score):
    share = jnp.exp(score - lax.pmax(score, "word"))
    return share / lax.psum(share, "word")


print(jax.vmap(softmax_of_one, axis_name="word")(jnp.array([1.0, 2.0, 3.0])))

# %% [markdown]
# This is a softmax, written for one word. In lesson 07 the axis is a set of devices, and the same functions send numbers between them.
#
# ### Batch normalisation with weights
# **Exercise** · 8 minutes · difficulty 4 of 5
#
# `normalised(x, weight, axis_name)` is called for one example, under a `vmap` whose axis is called `axis_name`. Example $i$ has features $x_i$ and a weight $w_i \ge 0$, which is zero for padding. Return $(x - \mu) / \sqrt{\sigma^2 + 10^{-5}}$, with $\mu = \sum_i w_i x_i / \sum_i w_i$ and $\sigma^2 = \sum_i w_i (x_i - \mu)^2 / \sum_i w_i$ for each feature.
#
# Padding is normalised as well. The sum of the weights is positive and may be far below 1. The mean may be 1000 with a standard deviation of 1. In float32, $\overline{x^2} - \mu^2$ is then too inaccurate.
#
# The check compares values.


# %% exercise="normalised"
def normalised(
    x: Float[Array, "features"], weight: Float[Array, ""], axis_name: str
) -> Float[Array, "features"]:
    """This example's features, normalised by the weighted mean and variance over `axis_name`."""

    ### BEGIN SOLUTION
    def average(value):
        return lax.psum(weight * value, axis_name) / lax.psum(weight, axis_name)

    apart = x - average(x)
    return apart / jnp.sqrt(average(apart**2) + 1e-5)
    ### END SOLUTION


# %% [markdown] hints="normalised"
# <details><summary>Hint 1: the idea</summary>
#
# Write the two formulas as they are. Each sum over $i$ is a collective.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.psum(contribution_of_this_example, axis_name)`. You need a weighted average twice, so write a helper function.
# </details>


# %% check="normalised" points=3
def as_batch(function, x, weight, name):
    def one(x, weight):
        return function(x, weight, name)

    return jax.jit(jax.vmap(one, axis_name=name))(x, weight)


def all_together(x, weight, name, total=None, inside=1e-5, outside=0.0, centre=True):
    total = weight.sum() if total is None else total
    mean = weight @ x / total
    variance = weight @ (x - (mean if centre else 0)) ** 2 / total
    return (x - mean) / (np.sqrt(variance + inside) + outside)


def by_variance(x, weight, name):
    mean = weight @ x / weight.sum()
    return (x - mean) / (weight @ (x - mean) ** 2 / weight.sum() + 1e-5)


def each_by_itself(x, weight, name):
    variance = x.var(axis=1, keepdims=True)
    return (x - x.mean(axis=1, keepdims=True)) / np.sqrt(variance + 1e-5)


check_values(
    through(as_batch, normalised),
    all_together,
    [
        (*sweep("6 3", count=1)[0], np.array([1.0, 1.0, 0.0, 1.0, 2.0, 0.0]), "batch"),
        (
            *sweep("5 2", count=1, seed=1, scale=5.0)[0],
            np.array([0.0, 0.5, 1.0, 3.0, 0.0]),
            "people",
        ),
    ],
    mistakes={
        "the weights make no difference": lambda x, weight, name: all_together(
            x, np.ones(len(x)), name
        ),
        "divided by the number of examples, padding included": (
            lambda x, weight, name: all_together(x, weight, name, total=len(x))
        ),
        "each example is normalised by its own mean: that is layer normalisation": each_by_itself,
        "the mean square is taken for the variance": lambda *args: all_together(
            *args, centre=False
        ),
        "divided by the variance, not by its root": by_variance,
        "the weights are used as a mask, as 0 or 1": lambda x, weight, name: all_together(
            x, 1.0 * (weight > 0), name
        ),
        "the padding is set to zero, but the formula applies to it too": lambda x, weight, name: (
            all_together(x, weight, name) * (weight > 0)[:, None]
        ),
    },
    about="one batch",
)
faint = 1e-3 * sweep("6 3", count=1)[0][0]
check_values(
    through(as_batch, normalised),
    all_together,
    [(faint, np.ones(6), "batch")],
    mistakes={
        "the small number is left out": lambda *args: all_together(*args, inside=0.0),
        "the small number is added outside the root": lambda *args: all_together(
            *args, inside=0.0, outside=1e-5
        ),
    },
    about="small features",
)
far = 1000.0 + sweep("6 3", count=1, seed=2)[0][0]
check_values(
    through(as_batch, normalised),
    all_together,
    [(far, np.ones(6), "batch")],
    rtol=0.01,
    atol=0.002,
    about="a mean far from zero, where rounding of the squares exceeds the variance",
)
### BEGIN HIDDEN TESTS
check_values(
    through(as_batch, normalised),
    all_together,
    [
        (*sweep("4 3", count=1, seed=3)[0], np.array([0.1, 0.0, 0.2, 0.1]), "batch"),
        (*sweep("4 3", count=1, seed=3)[0], 1e-6 * np.array([1.0, 0.0, 2.0, 1.0]), "batch"),
    ],
    mistakes={
        "the sum of the weights may be less than one": lambda x, weight, name: all_together(
            x, weight, name, total=1.0
        )
    },
)
### END HIDDEN TESTS

# %% [markdown]
# ## What to remember
#
# 1. Write the function for one example, then map it. Inside, every operation and axis number refers to one example.
# 2. `in_axes` has an axis, `None`, or a pytree of these for each argument. Mapped axes advance together. For all pairs, nest two `vmap`s.
# 3. `vmap(grad(f))` computes per-example gradients. Put `jit` outermost.
# 4. What differs between examples comes from a mapped argument. That includes keys.
# 5. Under `vmap`, `cond` runs both branches, and `while_loop` runs until the slowest example has finished. Collectives over an `axis_name` combine examples.
#
# ## Further reading
#
# - The JAX documentation: [Automatic vectorization](https://docs.jax.dev/en/latest/automatic-vectorization.html), [`jax.vmap`](https://docs.jax.dev/en/latest/_autosummary/jax.vmap.html), [`jax.lax.cond`](https://docs.jax.dev/en/latest/_autosummary/jax.lax.cond.html), and [Autodidax](https://docs.jax.dev/en/latest/autodidax.html), which builds `vmap` from scratch.
# - Abadi and others, [Deep learning with differential privacy](https://arxiv.org/abs/1607.00133) (2016). Goodfellow, [Efficient per-example gradient computations](https://arxiv.org/abs/1510.01799) (2015).
#
# ## Previous and next
#
# Lesson 05 was about random keys. Lesson 07 spreads the examples of a batch over several devices, with the same axis names and the same collectives.
