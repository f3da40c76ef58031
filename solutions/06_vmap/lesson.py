# %% [markdown]
# # 6 · Vectorisation
#
# You write a function of *one* example, one particle, one pixel, and `jax.vmap` makes of it the function of a thousand: no loop, no extra axis in your formulas, and no slower than what you would have written with the extra axis. After this lesson you can choose which axis of which argument is mapped, take a gradient for each example and clip it, start an ensemble that is not ten copies of one network, map a function that has a loop in it, and let the examples of a batch exchange numbers. You will also know what becomes of a branch and of a `while_loop`, where vectorising has its price.
#
# About 90 minutes. You need lessons 01 to 05.

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
    check_distribution,
    check_keys,
    check_primitives,
    check_shape,
    check_values,
    normal,
    sweep,
    through,
)

# %% [markdown]
# ## 6.0 From last time
#
# Two questions about lessons 04 and 05, one point each. Answer before you run anything.
#
# **Recall** · 1 minute · difficulty 2 of 5
#
# What is `lax.scan(lambda carry, x: (carry + x, carry), 0, jnp.arange(4))[1]`?

# %% exercise="carries" kind="recall"
# A tuple of integers.
### BEGIN SOLUTION
carries = (0, 0, 1, 3)
### END SOLUTION

# %% check="carries" points=1
check_answer(
    carries,
    lambda: lax.scan(lambda carry, x: (carry + x, carry), 0, jnp.arange(4))[1],
    because="Each step hands out the carry as it was when it came in.",
    mistakes={
        (0, 1, 3, 6): "each step returns the old carry, before `x` is added",
        (6,): "that is the final carry, the first of the two results",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# What is the shape of `jax.random.split(jax.random.key(0), 3)`?

# %% exercise="split_shape" kind="recall"
# A tuple of integers.
### BEGIN SOLUTION
split_shape = (3,)
### END SOLUTION

# %% check="split_shape" points=1
check_answer(
    split_shape,
    lambda: jax.random.split(jax.random.key(0), 3).shape,
    because="An array of three typed keys: it can be indexed, and mapped over like any other.",
    mistakes={
        (3, 2): "so it is with the old `PRNGKey`, whose two words show; typed keys hide them",
        (): "that is the shape of one key",
    },
)

# %% [markdown]
# ## 6.1 The axis that is not there
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# `jax.vmap(f)(jnp.ones((5, 3)))`, and the first line of `f(x)` is `print(x.shape)`. Which shape is printed?

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
    because="The function sees one example, once; the mapped axis is hidden from it.",
    mistakes={
        (5, 3): "so it would be without vmap, which takes the mapped axis out of sight",
        (5,): "the *first* axis is mapped by default, so it is the other one that remains",
        (1, 3): "the mapped axis is gone altogether, not left as an axis of length one",
    },
)


# %% tags=["demonstration"]
def look(x):
    print("x is", x)
    return jnp.sum(x**2)


print(jax.vmap(look)(jnp.arange(15.0).reshape(5, 3)))

# %% [markdown]
# Printed once, though there are five examples. `x` is a third kind of tracer: it says `float32[3]`, and carries all five. Every operation has a *batching rule*, which says how to do it for many at once: the sum over "all" axes becomes a sum over the last one of two. Nothing loops. Here is a matrix times a vector, alone and mapped over vectors:

# %% tags=["demonstration"]
w, x, xs = jnp.ones((4, 3)), jnp.ones(3), jnp.ones((100, 3))
print(jax.make_jaxpr(lambda x: w @ x)(x))
print(jax.make_jaxpr(jax.vmap(lambda x: w @ x))(xs))

# %% [markdown]
# A hundred matrix-vector products became one matrix product, and a transposition that puts the examples back in front. An expert would have written the same.
#
# Since `x` is a tracer, the rules of lesson 03 hold without any `jit`: no `if`, no `float(...)`, no shape from a value. In exchange `jnp.sum`, `x @ y` and `jnp.linalg.norm` mean what they mean for one example, and every `axis=0` refers to the example's own axes.
#
# ### One question, one sentence
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# Attention, for one query $q$ and one sentence: word $i$ has the score $s_i = k_i \cdot q / \sqrt{d}$, where $d$ is the number of features, and the result is $\sum_i p_i v_i$ with $p$ the softmax of $s$. Only the first `length` words count ($1 \le$ `length` $\le$ `words`); the rest is padding, and may hold anything finite. Write it for one query. Others will map it, over any of its arguments. Scores may be in the hundreds, of either sign.


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
# `length` is an example's own number, so under `vmap` it has no value, and no shape may depend on it. What did lesson 01 do where a shape would depend on a value?
# </details>
# <details><summary>Hint 2: where to mask</summary>
#
# A word that does not count must get weight zero, and the others must still add up to one. Which score has the exponential zero?
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# Scores by one product; `jnp.arange(...) < length`; `jnp.where`; `jax.nn.softmax`, which is stable; a second product.
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
    "a score of zero is not a weight of zero": lambda *args: word_by_word(*args, filling=0.0),
    "masked after the softmax, so the weights no longer add up to one": not_normalised,
    "one word too many: the words are counted from zero": lambda query, keys, values, length: (
        word_by_word(query, keys, values, min(length + 1, len(keys)))
    ),
    "divided by the root of the number of words, where the features are meant": (
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
        "the padding takes part in the maximum, and every other exponential is zero": (
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
# ## 6.2 Which axis of what
#
# `in_axes` has one entry for each positional argument: the axis that is mapped, or `None` for an argument that every example sees whole. `out_axes` says where the new axis goes. (Keyword arguments are always mapped over their axis 0; use `partial` for what is not to be mapped.)


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
_, axes = plt.subplots(1, 5, figsize=(10, 2.6))
for ax, (title, picture) in zip(axes, pictures.items()):
    ax.set_facecolor("lightgrey")
    ax.pcolormesh(picture, cmap="viridis", edgecolors="white", linewidth=2)
    ax.set_title(title, fontsize=11)
    ax.set(xlabel="axis 1", ylabel="axis 0", xticks=[], yticks=[], aspect=1)
    ax.invert_yaxis()
plt.tight_layout()
plt.show()

# %% [markdown]
# *Five matrices for a function of five examples, one colour for each example. `x` with axis 0 mapped: each example owns a row. `y` with axis 1 mapped: each owns a column. `w` with None: grey, all of it for everyone. The result's examples lie in rows with out_axes 0 and in columns with out_axes 1.*
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# `a` has shape `(4, 3)` and `b` has `(3, 4)`. What is the shape of `jax.vmap(lambda p, q: p @ q, in_axes=(0, 1))(a, b)`?

# %% exercise="rows_with_columns" kind="prediction"
# A tuple of integers.
### BEGIN SOLUTION
rows_with_columns = (4,)
### END SOLUTION

# %% check="rows_with_columns" points=1
check_answer(
    rows_with_columns,
    lambda: jax.vmap(lambda p, q: p @ q, in_axes=(0, 1))(jnp.ones((4, 3)), jnp.ones((3, 4))).shape,
    because="One `vmap`, one axis: row i meets column i, which is the diagonal of the product.",
    mistakes={
        (4, 4): "each row with each column needs two maps; one map takes them in step, like zip",
        (3,): "row i and column i have three elements each, and `@` sums over them",
        (3, 3): "the mapped axes are those of length 4, and they are mapped together",
    },
)

# %% [markdown]
# All mapped arguments walk in step, as in `zip`. For each with each, nest: the inner map takes one argument, the outer the other.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# `jnp.outer(u, v)` of lengths 2 and 3 has shape `(2, 3)`. What is the shape of `jax.vmap(jnp.outer, in_axes=(None, 0), out_axes=1)(jnp.ones(2), jnp.ones((5, 3)))`?

# %% exercise="axis_in_the_middle" kind="prediction"
# A tuple of integers.
### BEGIN SOLUTION
axis_in_the_middle = (2, 5, 3)
### END SOLUTION

# %% check="axis_in_the_middle" points=1
check_answer(
    axis_in_the_middle,
    lambda: jax.vmap(jnp.outer, (None, 0), 1)(jnp.ones(2), jnp.ones((5, 3))).shape,
    because="Each of the five results has shape (2, 3); the new axis becomes axis 1.",
    mistakes={
        (5, 2, 3): "with the default `out_axes=0`; here the new axis goes to place 1",
        (2, 3, 5): "that is `out_axes=2`, or -1",
        (2, 15): "each call sees one row of the second argument: three numbers",
    },
)

# %% [markdown]
# ### Each with each
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `kernel` takes two *single* examples and returns an array. `kernel_matrix(kernel, x, y)` holds `kernel(x[i], y[j])` at `[i, j]`, for any kernel; no Python loop over examples. Examples may be trees: then `x` and `y` are trees of arrays whose first axes count the examples.


# %% exercise="kernel_matrix"
def kernel_matrix(kernel, x, y) -> Float[Array, "n m ..."]:
    """`kernel` of each example of `x` (first axis) with each example of `y` (second axis)."""
    ### BEGIN SOLUTION
    return jax.vmap(jax.vmap(kernel, in_axes=(None, 0)), in_axes=(0, None))(x, y)
    ### END SOLUTION


# %% [markdown] hints="kernel_matrix"
# <details><summary>Hint 1: the idea</summary>
#
# First one example of `x` against all of `y`. That is a function too; map it.
# </details>
# <details><summary>Hint 2: the order</summary>
#
# With the default `out_axes` the axis of the *outer* map comes first in the result.
# </details>
# <details><summary>Hint 3: trees</summary>
#
# `0` and `None` in `in_axes` hold for every leaf below. You need not look inside the examples, and not at any shape.
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
    about="trees",
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
# ### Trees of axes
#
# An entry of `in_axes` may be a tree itself, of the same form as the argument or a *prefix* of it: a number or `None` in the place of a branch holds for all below. So one argument may be mapped in part. Here is the model of the course again, now for one example; its parameters come from a key, as lesson 05 would have it.


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
# With a batch, `loss_fn` gives the mean of what it gives with single examples: nothing in it had to change. That works because `@` and `+` happen to pass leading axes through; many functions do not. `attend` of a batch of queries, without `vmap`, would be wrong or an error.
#
# ### Many heads on one trunk
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# Several networks share the hidden layer, and each has an output layer of its own. They come in one tree: `params["hidden"]` as in `mlp`; `params["output"]["w"]` of shape `(hidden, outputs, heads)`; `params["output"]["b"]` of shape `(heads, outputs)`. Give what `mlp` gives for each example of `x` and each head, without a loop.


# %% exercise="all_heads"
def all_heads(params, x: Float[Array, "batch inputs"]) -> Float[Array, "batch heads outputs"]:
    """Outputs of `mlp` for each example with each head; the hidden layer is shared."""
    ### BEGIN SOLUTION
    heads = {"hidden": None, "output": {"w": 2, "b": 0}}
    one_example = jax.vmap(mlp, in_axes=(heads, None))
    return jax.vmap(one_example, in_axes=(None, 0))(params, x)
    ### END SOLUTION


# %% [markdown] hints="all_heads"
# <details><summary>Hint 1: the idea</summary>
#
# Two maps of `mlp`: one over heads, one over examples. Which of them is inside decides where the heads end up.
# </details>
# <details><summary>Hint 2: the axes</summary>
#
# For the map over heads, the entry for `params` is a dict that looks like `params` and holds `None`, a 2 and a 0.
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
# ## 6.3 A gradient for each example
#
# In most frameworks the gradient of a batch is a sum by the time you see it. Here, what is mapped may be any function, and `jax.grad(loss_fn)` is one: it takes one example and returns a tree. Map it and each leaf has one more axis, in front. These gradients tell which examples pull hardest (mislabelled ones, often), how noisy the mean is, and they are what differential privacy clips.
#
# ### How hard each example pulls
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `gradient_norms(params, x, y)` holds for each example the Euclidean norm of its own gradient of `loss_fn` by `params`, all leaves taken together as one long vector. No loop over examples.


# %% exercise="gradient_norms"
def gradient_norms(
    params, x: Float[Array, "batch inputs"], y: Float[Array, "batch outputs"]
) -> Float[Array, "batch"]:
    """Norm of the gradient of `loss_fn` by the whole tree `params`, one for each example."""

    ### BEGIN SOLUTION
    def norm(x, y):
        grads = jax.grad(loss_fn)(params, x, y)
        return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)))

    return jax.vmap(norm)(x, y)
    ### END SOLUTION


# %% [markdown] hints="gradient_norms"
# <details><summary>Hint 1: the idea</summary>
#
# Write the whole thing for one example, the norm too. Then there is one number, and one map.
# </details>
# <details><summary>Hint 2: the norm of a tree</summary>
#
# The root of the sum of all squares: a Python `sum` over `jax.tree.leaves(grads)` is fine, since the number of leaves is known while tracing.
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
# A training step learns too much from an outlier. Clip each example's gradient, add noise in proportion to the limit, and what the model can give away about any single person is bounded: that is differentially private training. The clipping has to come *before* the mean, and that is why it needs gradients of single examples.
#
# ### Nobody pulls too hard
# **Exercise** · 7 minutes · difficulty 4 of 5
#
# Example $i$ has the gradient $g_i$ of `loss_fn`, a tree with the norm $|g_i|$ of all its leaves together. `clipped_mean(params, x, y, limit)` is the mean over the examples of $g_i \cdot \min(1, \text{limit}/|g_i|)$, a tree like `params`. An example that is fitted exactly has the gradient zero, and adds zero to the sum. No loop over examples.


# %% exercise="clipped_mean"
def clipped_mean(
    params, x: Float[Array, "batch inputs"], y: Float[Array, "batch outputs"], limit: float
):
    """Mean of the examples' gradients of `loss_fn`, each first shortened to at most `limit`."""

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
# A function from one example to its clipped gradient. Map it; then a mean over the new axis of each leaf.
# </details>
# <details><summary>Hint 2: the factor</summary>
#
# One factor for the whole tree of an example. No `if`: `jnp.minimum` chooses. What is limit / 0 in JAX, and what is the minimum of that and 1?
# </details>
# <details><summary>Hint 3: the tree</summary>
#
# `jax.tree.map` twice: once inside, to multiply by the factor; once outside, for `jnp.mean(leaf, axis=0)`.
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
        "every gradient gets the length `limit`, short ones too": with_shorten(
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
# ## 6.4 In any order
#
# `vmap`, `grad` and `jit` each take a function and return one, so they nest as you like:

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
# The same numbers. (`jacrev` of the whole batch is wasteful: it knows nothing of examples being independent, and goes backwards 256 times through the whole batch.) With `jit` the order does make one difference:
#
# **Prediction** · 2 minutes · difficulty 4 of 5
#
# `f` prints a line whenever Python runs it. How many lines come from `a = jax.jit(jax.vmap(f))`, called with arrays of shape `(4, 3)` and `(7, 3)`? And how many from `b = jax.vmap(jax.jit(f))`, called with the same two?

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
    because="Inside vmap, jit sees one example, float32[3], whatever the size of the batch.",
    mistakes={
        (2, 2): "in `b`, what shape does jit see? The size of the batch is hidden from it",
        (1, 1): "in `a`, jit sees the whole batch, and 4 and 7 are different shapes",
        (1, 2): "the other way round: which of the two sees the size of the batch?",
        (2, 7): "vmap does not call the function once for each example",
    },
)

# %% [markdown]
# So the trace of `b` is shared, but not the compiled program: the machine code is made for 4 and for 7 examples. Put `jit` outermost, as lesson 03 said, and give it few batch sizes.
#
# ## 6.5 Ten times the same network
#
# A batch gets some noise, for robustness. `key` is one key, made outside.
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
    because="The same key gives the same number, to each of the eight examples.",
    mistakes={
        8: "one key, one number: `vmap` does not split keys for you",
        0: "eight numbers come out, so there is at least one",
    },
)

# %% [markdown]
# Nobody complains: the reuse checker of lesson 05 sees one draw from one key. Randomness that differs between examples must come in through a mapped argument, and an array of keys is one. That holds for parameters too. A trained network says nothing of how sure it is; an ensemble of them does, where its members disagree, provided that they began differently.
#
# ### Bug hunt: an ensemble of one mind


# %% tags=["demonstration"]
def init_ensemble_broken(init, key, members):
    return jax.vmap(lambda _: init(key))(jnp.arange(members))


five = init_ensemble_broken(init_mlp, jax.random.key(2), 5)
outputs = jax.vmap(mlp, in_axes=(0, None))(five, x)
print(outputs.shape, "largest difference between members:", jnp.ptp(outputs, axis=0).max())

# %% [markdown]
# Five members agree to the last bit, and the ensemble is sure of everything.
#
# ### An ensemble that can disagree
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# `init(key)` makes the parameters of one member. Return those of `members` members as one tree, stacked along axis 0 of each leaf, each member independent of the others. The whole is decided by `key`, and `init` is traced once. The program has as many operations for many members as for few.


# %% exercise="init_ensemble"
def init_ensemble(init, key, members: int):
    """Parameters of `members` independent members, stacked along the first axis of each leaf."""
    ### BEGIN SOLUTION
    return jax.vmap(init)(jax.random.split(key, members))
    ### END SOLUTION


# %% [markdown] hints="init_ensemble"
# <details><summary>Hint 1: the idea</summary>
#
# What differs from member to member must be an argument that is mapped.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.random.split` with a number gives an array of keys; `jax.random.fold_in(key, i)` makes a key of a key and a number. Either will do.
# </details>


# %% check="init_ensemble" points=3
@jax.jit
def two_normals(key):
    one, other = jax.random.split(key)
    return {"w": jax.random.normal(one, (3, 2)), "b": (jax.random.normal(other, (2,)),)}


def one_normal(key):
    w = jax.random.normal(key, (2,))
    return {"w": w, "b": (w[0], 2 * w), "scale": jnp.array([3.0, 4.0])}


def what_is_known(init_ensemble, init, key, members):
    params = init_ensemble(init, key, members)
    first, twice = params["b"]
    return first - params["w"][..., 0], twice - 2 * params["w"], params["scale"]


def known(init, key, members):
    return np.zeros(members), np.zeros((members, 2)), np.tile([3.0, 4.0], (members, 1))


def times_traced(init_ensemble, key, members):
    calls = []

    def counted(key):
        calls.append(key)
        return two_normals(key)

    init_ensemble(counted, key, members)
    return jnp.asarray(len(calls))


def last_digits(init_ensemble, init, key, members):
    leaves = jax.tree.leaves(init_ensemble(init, key, members))
    return jnp.concatenate([leaf.ravel() * 256 % 1 for leaf in leaves])


check_shape(
    init_ensemble,
    two_normals,
    jax.random.key(712),
    4,
    returns={"w": "members 3 2", "b": ("members 2",)},
    members=4,
)
check_keys(init_ensemble, two_normals, jax.random.key(713), 4, key=1, rows=True)
check_values(
    through(what_is_known, init_ensemble),
    known,
    [(one_normal, jax.random.key(718), 5), (one_normal, jax.random.key(719), 1)],
    about="leaves that follow from others, and one that is not drawn",
)
check_primitives(
    init_ensemble,
    two_normals,
    jax.random.key(716),
    4,
    static_argnums=(2,),
    same_size_for=[(two_normals, jax.random.key(716), 7)],
)
check_values(
    through(times_traced, init_ensemble),
    [np.array(1)],
    [(jax.random.key(720), 3)],
    mistakes={"`init` is traced more than once": lambda key, members: 2},
    about="how often `init` is traced",
)
check_distribution(
    through(last_digits, init_ensemble),
    two_normals,
    jax.random.key(717),
    500,
    cdf=lambda v: np.clip(v, 0, 1),
    about="the last digits of the numbers: each leaf holds what `init` drew",
)
### BEGIN HIDDEN TESTS
check_keys(init_ensemble, two_normals, jax.random.key(715), 60, key=1, rows=True)
### END HIDDEN TESTS

# %% [markdown]
# ## 6.6 Whole loops, side by side
#
# What is mapped may be a program with a loop in it. This one takes a single starting point $z$ in the complex plane and runs Newton's method for $z^3 = 1$, with the early stop of lesson 04. Mapped twice, it draws a picture:


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
print("rounds: on average", jnp.mean(rounds), "and at most", jnp.max(rounds))

# %% tags=["demonstration"]
_, axes = plt.subplots(1, 2, figsize=(10, 4.4))
for ax, picture, what in zip(axes, (jnp.angle(roots), rounds), ("angle of the root", "rounds")):
    shown = ax.imshow(picture, extent=(-1.5, 1.5, -1.5, 1.5))
    ax.set(title=what, xlabel="real part of the start", ylabel="imaginary part of the start")
    plt.colorbar(shown, ax=ax)
plt.tight_layout()
plt.show()

# %% [markdown]
# *Left: the plane of starting points in three colours, one for each cube root of 1; large plain regions around the roots, and between them chains of ever smaller drops in all three colours. Right: few rounds in the plain regions, many along the chains.*
#
# Ninety thousand loops of different lengths have become one program, which does the same operations to all of them. How does it stop?
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
    because="Two examples, three rounds each: the body runs for the finished one too.",
    mistakes={
        4: "each its own number of rounds: so it would be in a loop over the two",
        3: "three rounds it is, and in each of them the body runs for both examples",
        1: "`jax.debug.print` speaks at run time, for each example in each round",
    },
)

# %% [markdown]
# The loop goes on while *any* condition holds; the body runs for everyone, and a `select` throws away what it did for those who have finished. The results are right, and each costs as much as the slowest. So map loops whose lengths are alike, or sort the hard cases into a batch of their own. A `scan` has one length for all, and loses nothing.
#
# ### A crowd of particles
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# A particle at $x$ is pushed by a force, a function of *one* position, and by chance: $x_{t+1} = x_t + \Delta t \cdot \text{force}(x_t) + \sqrt{\Delta t} \cdot \text{noise}_t$. `paths(force, starts, noise, dt)` holds $x_1, x_2, \dots$ of each particle (the start is not among them). Use `lax.scan`; the size of the program depends on neither the steps nor the particles.


# %% exercise="paths"
def paths(
    force, starts: Float[Array, "particles 2"], noise: Float[Array, "steps particles 2"], dt: float
) -> Float[Array, "steps particles 2"]:
    """Positions of each particle after each step; `force` takes a single position."""

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
# Forget the crowd. One particle has a start and a table of kicks, one row for each step; its path is one `lax.scan`.
# </details>
# <details><summary>Hint 2: the axes</summary>
#
# The particles are axis 0 of `starts`, axis 1 of `noise`, and are to be axis 1 of the result.
# </details>
# <details><summary>Hint 3: the step</summary>
#
# The body returns the new position twice: once to carry on, once for the record.
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
# ## 6.7 Branches
#
# A `cond` of one example runs one branch. A thousand examples disagree, and there is one program for all: **a `cond` whose predicate is mapped becomes a `select`**. Both branches run for everyone. An expensive branch saves nothing; its callbacks fire; a `while_loop` in it runs even where it would never end. If the predicate is *not* mapped, the `cond` survives:


# %% tags=["demonstration"]
def maybe_sine(deep, x):
    return lax.cond(deep, jnp.sin, lambda x: x, x)


for in_axes, deep in (((0, 0), x[:, 0] > 0), ((None, 0), jnp.array(True))):
    program = jax.make_jaxpr(jax.vmap(maybe_sine, in_axes))(deep, x[:, 0])
    print(in_axes, [equation.primitive.name for equation in program.eqns])

# %% [markdown]
# The gradients are a surprise. Take a square root that is guarded against zero, once by `jnp.where(v == 0, 0.0, jnp.sqrt(v))`, once by a `cond` with the same two branches. Under `vmap` each of them computes both sides. Lesson 02 showed what the `where` does at zero: the slope of the side not taken is infinite, and zero times infinity is NaN.
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
    because="Where a branch is not taken, its inputs are cut off from the gradient.",
    mistakes={
        "nan": "so it is with `where`; read the program of the next cell",
        "inf": "that is the slope of the root, whose branch is not taken here",
        0.25: "that is the second element: 1 / (2 · 2)",
    },
)


# %% tags=["demonstration"]
def guarded_root(v):
    return lax.cond(v == 0, lambda: 0.0, lambda: jnp.sqrt(v))


print(jax.make_jaxpr(jax.vmap(guarded_root))(x[:, 0]))

# %% [markdown]
# There is a select *before* the root as well: where the branch is not taken, it is fed the `stop_gradient` of its input. What comes back along that way is dropped, NaN or not. The rule for `cond` was made so on purpose. `where` cannot do the same: it is given two finished arrays, and does not know how they were made.
#
# ### Bug hunt: bodies that pull at themselves
#
# The energy of bodies with masses $m$ at places $x$ is $-\sum_{i<j} m_i m_j / |x_i - x_j|$, and the force on them is minus its gradient. Each with each is quickly written with two maps; a body's energy with itself is put to zero.


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
# ### Forces
# **Exercise** · 8 minutes · difficulty 4 of 5
#
# Write `energy` so that its gradient by `x` is right as well, up to float32: nothing may be added to the distances, since two bodies may come close, and not only near the origin. No two bodies are in the same place. No loop over bodies.


# %% exercise="energy"
def energy(x: Float[Array, "bodies 2"], mass: Float[Array, "bodies"]) -> Float[Array, ""]:
    """Minus the sum of `mass[i] * mass[j] / distance` over all pairs; with the right gradient."""

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
# Three ways lead there: keep the zero away from the root; let a construct choose that cuts the gradient off; or do not make the pair (i, i) in the first place.
# </details>
# <details><summary>Hint 2: the usual way</summary>
#
# Two times `where`: one *before* the root, which puts a harmless number in the place of the zero, and the one that is there.
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
        "the energy is right, the slope at distance zero still gets through": no_forces,
        "the energy is right, and no gradient reaches the places": frozen,
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
    about="two close bodies, away from the origin",
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
# ## 6.8 Examples that talk to each other
#
# A mapped function sees one example. Batch normalisation needs the mean of all. For this the mapped axis can have a *name*: `jax.vmap(f, axis_name="batch")`, and inside `f` a **collective** such as `lax.psum(v, "batch")` is the sum of everybody's `v`, handed to everybody. `lax.pmean` and `lax.pmax` are alike; `lax.axis_index` says which example one is.
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
    because="Each example contributes a one, and each gets the sum: the size of the axis.",
    mistakes={
        (29, 29, 29, 29): "the sum is over the ones, not over `v`",
        (1, 1, 1, 1): 'each contributes a one; psum adds over the axis "i"',
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
# A softmax, from the point of view of one word. Here it is a curiosity; in lesson 07 the axis is a set of devices, and the same words move numbers between them.
#
# ### Batch normalisation with padding
# **Exercise** · 8 minutes · difficulty 4 of 5
#
# `normalised` is called for one example under a `vmap` whose axis has the name `axis_name`. Example $i$ has features $x_i$ and a weight $w_i \ge 0$, which is zero for padding. With $\mu = \sum_i w_i x_i / \sum_i w_i$ and $\sigma^2 = \sum_i w_i (x_i - \mu)^2 / \sum_i w_i$, feature by feature, return $(x - \mu) / \sqrt{\sigma^2 + 10^{-5}}$, for padding as for the others. The mean may be far from zero, a thousand with a spread of one, and the result is to be good all the same.


# %% exercise="normalised"
def normalised(
    x: Float[Array, "features"], weight: Float[Array, ""], axis_name: str
) -> Float[Array, "features"]:
    """This example's features, by the weighted mean and variance of all along `axis_name`."""

    ### BEGIN SOLUTION
    def average(value):
        return lax.psum(weight * value, axis_name) / lax.psum(weight, axis_name)

    apart = x - average(x)
    return apart / jnp.sqrt(average(apart**2) + 1e-5)
    ### END SOLUTION


# %% [markdown] hints="normalised"
# <details><summary>Hint 1: the idea</summary>
#
# Write the two formulas as they stand; each sum over $i$ is a collective.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.psum(what_this_example_contributes, axis_name)`. A helper for the weighted average of anything is used twice.
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
        "each example by its own mean: that is layer normalisation": each_by_itself,
        "the mean square is taken for the variance": lambda *args: all_together(
            *args, centre=False
        ),
        "divided by the variance, not by its root": by_variance,
        "a weight is taken for yes or no": lambda x, weight, name: all_together(
            x, 1.0 * (weight > 0), name
        ),
        "the padding is set to zero; the formula holds for it too": lambda x, weight, name: (
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
    about="a mean far from zero: squares of about a million have no digits left for the variance",
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
# 1. Write for one example, map afterwards. The mapped axis is out of sight, and every operation means what it means for one.
# 2. `in_axes` has an axis, `None` or a tree of them for each argument. Mapped axes walk in step; for each with each, nest.
# 3. `vmap(grad(f))` gives a gradient for each example; `vmap`, `grad` and `jit` nest in any order, with `jit` best outermost.
# 4. What is to differ between examples has to come in by a mapped argument: keys too.
# 5. A mapped `cond` runs both branches, a mapped `while_loop` runs until the slowest has finished; `scan` loses nothing. Collectives over an `axis_name` let examples talk.
#
# ## Further reading
#
# The JAX documentation: *Automatic vectorization*, and `jax.vmap` and `jax.lax.cond` in the API reference. Abadi and others, *Deep Learning with Differential Privacy* (2016), for clipped gradients. Goodfellow, *Efficient Per-Example Gradient Computations* (2015), for the norms without the gradients. *Autodidax*, in the JAX documentation, writes `vmap` from nothing.
#
# ## Next
#
# `vmap` spreads examples over an axis of one array, on one device. Lesson 07 spreads them over many devices, with the same axis names and the same collectives.
