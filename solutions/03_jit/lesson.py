# %% [markdown]
# # 3 · jax.jit: tracing, compilation and the cache
#
# `jax.jit` traces a Python function and compiles the result. Later calls run the compiled program. After this lesson you can
#
# - read a jaxpr, and say which code runs at trace time and which at run time;
# - predict when a call is traced again (a *retrace*), and avoid it;
# - fix tracing errors, and find tracing bugs that raise no error;
# - use static arguments, and donate the memory of old arrays;
# - estimate what a program costs before it runs, and decide whether `jit` pays off.
#
# About 145 minutes, with reading and waiting. There is a good place for a break after 3.5. You need lessons 01 and 02.

# %%
import contextlib
import io
import math
import time
from collections import OrderedDict, namedtuple
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, Float, Int

from graders import (
    check_answer,
    check_donates,
    check_pure,
    check_traces,
    check_values,
    integers,
    show_cache,
    show_program,
    sweep,
    through,
)

# %% [markdown]
# ## 3.0 Recall
#
# Three questions about lessons 01 and 02, one point each. Answer before you run anything.
#
# **Recall** · 1 minute · difficulty 2 of 5
#
# `f(params, x)` takes a dict and an array. After `_, pull = jax.vjp(f, params, x)`, what is the type of `pull(u)[0]`?

# %% exercise="pulled_type" kind="recall"
# A string such as "list".
### BEGIN SOLUTION
pulled_type = "dict"
### END SOLUTION

# %% check="pulled_type" points=1
def type_of_first_cotangent():
    _, pull = jax.vjp(lambda params, x: params["w"] * x, {"w": 2.0}, 1.0)
    return type(pull(1.0)[0]).__name__


check_answer(
    pulled_type,
    type_of_first_cotangent,
    because="`pull` returns a tuple with one cotangent for each argument, each with the structure "
    "of its argument.",
    mistakes={
        "tuple": "`pull(u)` is the tuple; its first entry belongs to `params`",
        "array": "that is the second entry, which belongs to `x`",
        "arrayimpl": "that is the second entry, which belongs to `x`",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# `a = jnp.asarray(0.5)`. What are `a.weak_type` and `(a + jnp.ones(3)).weak_type`?

# %% exercise="weak_types" kind="recall"
# A tuple of two booleans.
### BEGIN SOLUTION
weak_types = (True, False)
### END SOLUTION

# %% check="weak_types" points=1
check_answer(
    weak_types,
    lambda: (jnp.asarray(0.5).weak_type, (jnp.asarray(0.5) + jnp.ones(3)).weak_type),
    because="`asarray` keeps the weak type of a Python number. An operation with a strongly typed "
    "array gives a strong type.",
    mistakes={
        (True, True): "a weak and a strong type promote to a strong one",
        (False, False): "`asarray` without a dtype keeps the weak type of a Python number",
        (False, True): "the other way round: the Python number is weak, and `jnp.ones` is strong",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# `mask` has three elements, all of them False. What is `jnp.nonzero(mask, size=2)[0]`?

# %% exercise="padded_places" kind="recall"
# The indices, as a tuple of integers.
### BEGIN SOLUTION
padded_places = (0, 0)
### END SOLUTION

# %% check="padded_places" points=1
check_answer(
    padded_places,
    lambda: jnp.nonzero(jnp.zeros(3, bool), size=2)[0],
    because="`size` fixes the shape, and missing indices are filled with 0. Here 0 is also a valid "
    "index, so pass another `fill_value` to tell them apart.",
    mistakes={
        (): "the shape is given by `size`, whatever the values are",
        (-1, -1): "that takes `fill_value=-1`; the default is 0",
        (3, 3): "that takes `fill_value=3`; the default is 0",
    },
)

# %% [markdown]
# ## 3.1 Trace time and run time
#
# `roll = jax.jit(lambda: np.random.randint(1, 7))` rolls a die. Without `jax.jit`, each call returns a new random number.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# You call `roll()` a hundred times. How many different faces do you see?

# %% exercise="faces_seen" kind="prediction"
# An integer.
### BEGIN SOLUTION
faces_seen = 1
### END SOLUTION

# %% check="faces_seen" points=1
def faces():
    roll = jax.jit(lambda: np.random.randint(1, 7))
    return len({int(roll()) for _ in range(100)})


check_answer(
    faces_seen,
    faces,
    because="NumPy drew one number, while JAX traced the function. The number is a constant of the "
    "compiled program.",
    mistakes={6: "NumPy code runs only while JAX traces the function, which happens once"},
)

# %% tags=["demonstration"]
roll = jax.jit(lambda: np.random.randint(1, 7))
print([int(roll()) for _ in range(20)])

# %% [markdown]
# `jax.jit(f)` neither runs nor compiles `f`. The first call runs your Python *once*, with *tracers* in place of the arguments. The tracers of lesson 02 carried values. These carry only a type: shape, dtype and weak type. JAX records the operations on them, compiles the record, and runs the compiled program. Later calls run the program only. NumPy ran at trace time, so the number that it drew is a constant of the program.
#
# So there are two phases. At **trace time** Python runs and sees tracers. At **run time** the compiled program runs and sees values. `print` runs at trace time, `jax.debug.print` at run time:

# %% tags=["demonstration"]
@jax.jit
def look(x):
    print("trace time:", x)
    jax.debug.print("run time: {x}", x=x)
    return 2 * x


for number in (1.0, 2.0, 3.0):
    look(number).block_until_ready()

# %% [markdown]
# The tilde in `~float32[]` marks a weak type: the argument was a Python number. JAX keeps compiled programs in a *cache*. The key is the shape, dtype and weak type of the arguments, and a few other properties (3.7). A call with a new key is traced again: a *retrace*.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# A fresh copy of `look` is called with `jnp.zeros(3)`, `jnp.ones(3)`, `jnp.ones(4)`, `jnp.ones(3, "int32")` and `np.ones(3)`, in this order. How many times does it print "trace time"?

# %% exercise="times_traced" kind="prediction"
# An integer.
### BEGIN SOLUTION
times_traced = 3
### END SOLUTION

# %% check="times_traced" points=1
def count_looks():
    runs = []

    @jax.jit
    def look(x):
        runs.append(x.shape)
        return 2 * x

    for given in (jnp.zeros(3), jnp.ones(3), jnp.ones(4), jnp.ones(3, "int32"), np.ones(3)):
        look(given)
    return len(runs)


check_answer(
    times_traced,
    count_looks,
    because="One trace for the first call, one for the new shape, one for the new dtype. JAX "
    "converts NumPy's float64 array to float32.",
    mistakes={
        1: "a compiled program is for one shape and one dtype",
        4: "JAX converts NumPy's float64 array to float32 first, and float32[3] is in the cache",
        5: "values are not part of the key: `jnp.ones(3)` finds the program of `jnp.zeros(3)`",
        2: "a new shape and a new dtype are traced once each",
    },
)

# %% tags=["demonstration", "hide-input"]
calls = ["f(zeros(3))", "f(ones(3))", "f(ones(4))", "f(ones(3))"]
keys = ["float32[3]", "float32[3]", "float32[4]", "float32[3]"]
stages = {"trace": "C1", "compile": "C3", "run": "C0"}
plt.figure("Timeline of four calls: trace, compile and run, and the cache", figsize=(8.3, 3.4))
now, cache = 0, []
for call, key in zip(calls, keys):
    start, new = now, key not in cache
    for row, (stage, colour) in enumerate(stages.items()):
        if new or stage == "run":
            plt.barh(row, 1.3, left=now, color=colour)
            plt.text(now + 0.65, row, stage, ha="center", va="center", color="white")
            now += 1.3
    cache += [key] * new
    plt.text((start + now) / 2, -0.75, f"{call}\n{'miss' if new else 'hit'}", ha="center")
    plt.text(now - 0.65, 2.65, "\n".join(cache), ha="center", va="top")
    now += 0.7
plt.text(-0.2, 2.65, "keys in\nthe cache", ha="right", va="top")
plt.xlim(-1.5, now), plt.ylim(3.6, -1.0), plt.axis("off")
plt.show()

# %% [markdown]
# *Four calls from left to right, not to scale. The first one misses the cache: it is traced, compiled and run. The second has the same key and only runs. The third has a new shape, and is traced and compiled again. The fourth finds the first program, which is still in the cache.*
#
# ## 3.2 Read a jaxpr
#
# `jax.make_jaxpr(f)(x)` traces `f` and returns the recorded program, its *jaxpr*. Each line in its body is an equation: a name and a type on the left, a primitive with its inputs on the right. Python's names, loops and branches are gone. `show_program(f, x)` shows the jaxpr beside the source, with the number of the line that each equation comes from. Hover over a line to highlight its equations.

# %% tags=["demonstration"]
def product(x):
    y = jnp.sin(x)
    return x * y


show_program(product, 1.0)
show_program(jax.grad(product), 1.0)

# %% [markdown]
# The second jaxpr is the derivative, with the product rule in it. (`add_any` is addition. `_` is a result that nothing uses.)
#
# The next cells draw the jaxpr of the model and loss of lesson 02. The code that draws is collapsed.

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

# %%
params = {"hidden": init_layer(3, 32), "output": init_layer(32, 1)}
x = jnp.asarray(rng.normal(size=(256, 3)), jnp.float32)
y = jnp.sum(x**2, axis=1, keepdims=True)

# %% tags=["demonstration", "hide-input"]
def draw_graph(jaxpr, names):
    made = {v: equation for equation in jaxpr.eqns for v in equation.outvars}
    labels = dict(zip(jaxpr.invars, names)) | {v: made[v].primitive.name for v in made}
    place = {}

    def inputs_of(v):
        return [u for u in made[v].invars if not hasattr(u, "val")] if v in made else []

    def depth(v):
        return 1 + max(map(depth, inputs_of(v)), default=0)

    def put(v, row, column):
        while (row, column) in place.values():
            column += 1
        place[v] = row, column
        for i, u in enumerate(sorted(inputs_of(v), key=depth, reverse=True)):
            put(u, row + 1, column + i)

    put(jaxpr.outvars[0], 0, 0)
    _, axes = plt.subplots(num="Graph of the jaxpr of the model and its loss", figsize=(8.3, 8.5))
    boxes = {}
    for v, (row, column) in place.items():
        colour, width = ("gray", 1) if v in made else ("C0", 0)
        box = {"boxstyle": "round", "facecolor": "none", "edgecolor": colour, "linewidth": width}
        text = f"{labels[v]}\n{v.aval.str_short()}"
        node = axes.text(column, row, text, color=colour, bbox=box, ha="center", va="center")
        boxes[v] = node.get_bbox_patch()
    for v in made:
        for u in inputs_of(v):
            arrow = {"arrowstyle": "->", "color": "gray", "patchA": boxes[u], "patchB": boxes[v]}
            axes.annotate("", place[v][::-1], place[u][::-1], arrowprops=arrow, zorder=4)
    axes.set(xlim=(-0.5, 2.4), ylim=(-0.5, max(map(depth, place)) - 0.5))
    axes.axis("off")


names = ["hidden b", "hidden w", "output b", "output w", "x", "y"]
draw_graph(jax.make_jaxpr(loss_fn)(params, x, y).jaxpr, names)
plt.show()

# %% [markdown]
# *Six inputs (blue), eleven equations (boxes), each with the type of its result, and one scalar at the bottom. `x` and the hidden `w` enter a matrix product, and `b` is added after a broadcast. `custom_jvp_call` is the ReLU. Then come the second layer, the difference from `y`, its square, the sum and the division by 256.*
#
# The inputs of a jaxpr are the leaves of the arguments, so it contains no dicts.
#
# ### Translate a jaxpr into Python
# **Exercise** · 10 minutes · difficulty 3 of 5
#
# You have the jaxpr of a layer for one shape, but not its source:
#
# ```
# { lambda ; a:f32[4,3] b:f32[3]. let
#     c:f32[4,3] = integer_pow[y=2] a
#     d:f32[4] = reduce_sum[axes=(1,) out_sharding=None] c
#     e:f32[4,1] = broadcast_in_dim[broadcast_dimensions=(0,)] d
#     f:f32[4,1] = div e 3.0:f32[]
#     g:f32[4,1] = add f 9.999999747378752e-06:f32[]
#     h:f32[4,1] = sqrt g
#     i:f32[4,3] = div a h
#     j:f32[1,3] = broadcast_in_dim[broadcast_dimensions=(1,)] b
#     k:f32[4,3] = mul i j
#   in (k,) }
# ```
#
# `normalised_rows(x, scale)` **returns** the result of the layer, of the shape of `x`. `a` is `x` and `b` is `scale`.
#
# **Edge cases**: any number of rows and features, and rows of small numbers.
#
# **The check** compares values, and traces the function.

# %% exercise="normalised_rows"
def normalised_rows(
    x: Float[Array, "batch features"], scale: Float[Array, "features"]
) -> Float[Array, "batch features"]:
    """The layer of the jaxpr above, for any shape; `a` is `x` and `b` is `scale`."""
    ### BEGIN SOLUTION
    mean_square = jnp.mean(x**2, axis=1, keepdims=True)
    return x / jnp.sqrt(mean_square + 1e-5) * scale
    ### END SOLUTION

# %% [markdown] hints="normalised_rows"
# <details><summary>Hint 1: the idea</summary>
#
# Translate a few equations at a time into one NumPy expression. `c`, `d`, `e` and `f` together are one call.
# </details>
# <details><summary>Hint 2: where the literal 3.0 comes from</summary>
#
# Shapes are known at trace time, so a number computed from a shape is a constant in the jaxpr. Which size is 3?
# </details>
# <details><summary>Hint 3: the other number</summary>
#
# 9.999999747378752e-06 is the float32 nearest to a short decimal number.
# </details>

# %% check="normalised_rows" points=3
def line_by_line(x, scale, axis=1, columns=None, inside=1e-5, outside=0.0):
    d = np.sum(x**2, axis=axis, keepdims=True)
    f = d / (columns or x.shape[axis])
    return x / (np.sqrt(f + inside) + outside) * scale


check_values(
    normalised_rows,
    line_by_line,
    sweep("4 3", "3", count=1) + sweep("6 5", "5", seed=3, count=1),
    mistakes={
        "the mean runs over the rows": lambda x, scale: line_by_line(x, scale, axis=0),
        "the mean is subtracted first. That is LayerNorm, and this layer is RMSNorm": (
            lambda x, scale: line_by_line(x - x.mean(axis=1, keepdims=True), scale)
        ),
        "the root of the sum of squares, not of their mean": lambda x, scale: line_by_line(
            x, scale, columns=1
        ),
        "3 is the number of columns in this one jaxpr": lambda x, scale: line_by_line(
            x, scale, columns=3
        ),
    },
    about="two shapes",
)
check_values(
    normalised_rows,
    line_by_line,
    [(np.array([[1e-3, -2e-3, 3e-3], [4e-3, 0.0, 0.0]]), np.array([1.0, 2.0, 3.0]))],
    mistakes={
        "the small number is left out": lambda x, scale: line_by_line(x, scale, inside=0.0),
        "the small number is added outside the square root": lambda x, scale: line_by_line(
            x, scale, inside=0.0, outside=1e-5
        ),
    },
    about="small rows",
)
check_pure(normalised_rows, np.ones((4, 3)), np.ones(3))
### BEGIN HIDDEN TESTS
check_values(
    normalised_rows,
    line_by_line,
    [(np.full((4, 5), 2e-3), np.arange(5.0))]
    + sweep("rows features", "features", count=2, seed=6, planted=True)
    + [(100 + np.arange(12.0).reshape(2, 6), np.full(6, 200.0))],
    mistakes={
        "the small number is three times too large, and divided by the columns": (
            lambda x, scale: line_by_line(x, scale, inside=3e-5 / x.shape[1])
        )
    },
    about="other rows, small and large",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 3.3 Globals and closures under jit
#
# In the jaxpr of the last exercise, the literal `3.0` is the number of features. Shapes are known at trace time, so it became a constant. The same happens to other values.
#
# ### Bug hunt: a learning-rate schedule

# %% tags=["demonstration"]
learning_rate = 0.1


@jax.jit
def train_step_broken(params, x, y):
    grads = jax.grad(loss_fn)(params, x, y)
    return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)

# %% [markdown]
# **Prediction** · 1 minute · difficulty 2 of 5
#
# You set the global `learning_rate` to 0.1, 0.01 and 0.0, and call `train_step_broken(params, x, y)` after each change, with the same `params`. Call `d1` and `d3` the change that the first and the third call make to a bias. What is `d3 / d1`?

# %% exercise="moved_at_zero" kind="prediction"
# A number.
### BEGIN SOLUTION
moved_at_zero = 1.0
### END SOLUTION

# %% check="moved_at_zero" points=1
def third_to_first():
    cell = {"rate": 0.1}
    step = jax.jit(lambda p, slope: p - cell["rate"] * slope)
    moves = []
    for cell["rate"] in (0.1, 0.01, 0.0):
        moves.append(float(step(jnp.zeros(()), 1.0)))
    return moves[2] / moves[0]


check_answer(
    moved_at_zero,
    third_to_first,
    because="The trace of the first call read the global, so 0.1 is a constant of the program.",
    mistakes={
        0.0: "the global is read at trace time only, in the first call",
        0.1: "that would be the second call, if the global were read at run time",
    },
)

# %% tags=["demonstration"]
@jax.jit
def train_step(params, x, y, learning_rate):
    grads = jax.grad(loss_fn)(params, x, y)
    return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)


for learning_rate in (0.1, 0.01, 0.0):
    stale, right = train_step_broken(params, x, y), train_step(params, x, y, learning_rate)
    print(learning_rate, stale["output"]["b"], right["output"]["b"])

# %% [markdown]
# No error is raised, and the program keeps the old value of the global. A value that a function reads from a global or a closure becomes a constant of the program. As an argument the learning rate is traced, so one compiled program works for all three values.
#
# ## 3.4 Side effects and leaked tracers
#
# Python side effects (printing, counting, appending to a list) happen once for each trace, and see tracers.
#
# ### Bug hunt: look at the hidden layer
#
# This function appends its hidden layer to a list, so that you can look at it.

# %% tags=["demonstration"]
kept = []


@jax.jit
def mlp_broken(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
    kept.append(hidden)
    return hidden @ params["output"]["w"] + params["output"]["b"]


for _ in range(3):
    mlp_broken(params, x)
print(kept)

# %% [markdown]
# There is one entry after three calls, a *leaked tracer*. Using it after its trace has ended raises an `UnexpectedTracerError`, often far from the line with the bug:

# %% tags=["demonstration", "raises-exception"]
kept[0] + 1

# %% [markdown]
# `with jax.checking_leaks():` makes the call that leaks raise an error, which names the function and the object that holds the tracer. It works only if the call is traced. For a function in the cache, call `f.clear_cache()` first. The fix is always the same: return the value.
#
# ### Return activations and statistics
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# A hidden unit that is zero for *every* example is *dead*: its gradient is zero. If it is dead on all the data, it does not recover.
#
# `mlp_with_stats(params, x)` **returns** the output of `mlp` and a dict: `"hidden"`, the activations after the ReLU, and `"dead"`, the fraction of hidden units that are exactly zero for every example of the batch, a scalar.
#
# **Edge cases**: all units may be dead, or none. A unit with a small positive activation is not dead.
#
# **The check** compares the three arrays, and traces the function.

# %% exercise="mlp_with_stats"
def mlp_with_stats(params, x: Float[Array, "batch inputs"]):
    """The output, and `{"hidden": activations, "dead": fraction of dead units}`."""
    ### BEGIN SOLUTION
    hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    return output, {"hidden": hidden, "dead": jnp.mean(jnp.all(hidden == 0, axis=0))}
    ### END SOLUTION

# %% [markdown] hints="mlp_with_stats"
# <details><summary>Hint 1: the idea</summary>
#
# A compiled function may return any pytree of arrays. Return everything that you want to see later.
# </details>
# <details><summary>Hint 2: the fraction</summary>
#
# First one Boolean for each unit (`jnp.all` over the right axis), then the mean of the Booleans. Leave it an array, without `float(...)`.
# </details>

# %% check="mlp_with_stats" points=3
def by_units(params, x, at_most=0.0, dead=None):
    before = x @ params["hidden"]["w"] + params["hidden"]["b"]
    hidden = np.maximum(before, 0)
    silent = sum(1.0 for unit in hidden.T if unit.max() <= at_most) / hidden.shape[1]
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    return output, {"hidden": hidden, "dead": np.array(dead(hidden) if dead else silent)}


def zeros_of_all(params, x):
    return by_units(params, x, dead=lambda hidden: np.mean(hidden == 0))


def number_of_dead(params, x):
    return by_units(params, x, dead=lambda hidden: np.sum(hidden.max(axis=0) == 0) * 1.0)


def silent_examples(params, x):
    return by_units(params, x, dead=lambda hidden: np.mean(np.all(hidden == 0, axis=1)))


def before_the_relu(params, x):
    output, stats = by_units(params, x)
    return output, stats | {"hidden": x @ params["hidden"]["w"] + params["hidden"]["b"]}


def by_the_batch(params, x):
    return by_units(params, x, dead=lambda hidden: np.sum(hidden.max(axis=0) == 0) / len(hidden))


def partly_dead(inputs, batch, biases, outputs, seed, scale=1.0):
    draw = np.random.default_rng(seed).normal
    params = {
        "hidden": {"w": draw(size=(inputs, len(biases))), "b": np.array(biases)},
        "output": {"w": scale * draw(size=(len(biases), outputs)), "b": draw(size=outputs)},
    }
    return params, draw(size=(batch, inputs))


two_of_five = [-20.0, 0.0, -20.0, 1.0, 0.5]
check_values(
    mlp_with_stats,
    by_units,
    [
        partly_dead(3, 6, two_of_five, 2, 0),
        partly_dead(2, 5, [-0.5, -20.0, -1.0], 1, 4),
        partly_dead(3, 6, [-20.0, 0.0, -20.0, -20.0, 2.0], 2, 4),
    ],
    mistakes={
        "divided by the number of examples, not of units": by_the_batch,
        "the fraction of zeros among all activations": zeros_of_all,
        "the fraction of examples for which all units are zero": silent_examples,
        "the number of dead units, not the fraction": number_of_dead,
        "the hidden layer before its ReLU": before_the_relu,
    },
)
check_pure(mlp_with_stats, *partly_dead(3, 6, two_of_five, 2, 0))
### BEGIN HIDDEN TESTS
faint = {
    "hidden": {"w": np.array([[1e-7, 1.0, -1.0, 0.0, -1e-7]]), "b": np.zeros(5)},
    "output": {"w": np.ones((5, 1)), "b": np.array([np.inf])},
}
check_values(
    mlp_with_stats,
    by_units,
    [
        (faint, np.array([[1.0], [2.0]])),
        partly_dead(4, 3, [-20.0, -20.0, -20.0], 3, 2),
        partly_dead(3, 9, [1.0, 2.0], 2, 3, scale=300.0),
    ],
    mistakes={"a faint unit counts as dead": lambda params, x: by_units(params, x, at_most=1e-5)},
)
### END HIDDEN TESTS

# %% [markdown]
# ## 3.5 Branches, indices and shapes that depend on a tracer
#
# **Prediction** · 1 minute · difficulty 3 of 5
#
# `size = jax.jit(lambda x: x if x > 0 else -x)`. What is the result of `size(3.0)`?

# %% exercise="branch" kind="prediction"
# A number, or one of "TypeError", "ConcretizationTypeError", "TracerBoolConversionError".
### BEGIN SOLUTION
branch = "TracerBoolConversionError"
### END SOLUTION

# %% check="branch" points=1
def branch_on_a_tracer():
    try:
        return float(jax.jit(lambda x: x if x > 0 else -x)(3.0))
    except Exception as error:
        return type(error).__name__


check_answer(
    branch,
    branch_on_a_tracer,
    because="`x > 0` is a tracer, and `if` needs its truth value, which a tracer does not have.",
    mistakes={
        3.0: "that is the result without `jit`; at trace time `x > 0` has no truth value",
        "ConcretizationTypeError": "that is the parent class; truth values have their own subclass",
        "TypeError": "that is a base class; name the subclass that is raised",
    },
)

# %% [markdown]
# `size(3.0)` raises before anything is compiled. The exception depends on what your code needs from the tracer:
#
# | what the code needs | example | exception |
# |---|---|---|
# | a truth value | `if`, `while`, `and`, `not`, `assert` | `TracerBoolConversionError` |
# | a number | `float(x)`, `int(x)`, `x.item()`, `jnp.arange(x)` | `ConcretizationTypeError` |
# | an index | `range(x)`, `a_list[x]` | `TracerIntegerConversionError` |
# | a NumPy array | `np.sin(x)`, `np.asarray(x)` | `TracerArrayConversionError` |
# | a shape | `jnp.zeros(n)`, `x.reshape(n)` | `TypeError` |
# | the bounds of a slice | `x[:n]` | `IndexError` |
# | the number of True elements | `x[x > 0]` | `NonConcreteBooleanIndexError` |
# | a hash, or string formatting | `x in {1, 2}`, `f"{x:.2f}"` | `TypeError` |
# | any use after the trace has ended | a leaked tracer | `UnexpectedTracerError` |
#
# There are three fixes: compute both results and choose with `jnp.where`, branch on something that is known at trace time, such as a shape, or make the argument static (3.6). Lesson 04 shows branches that are compiled.
#
# > **In PyTorch** `torch.compile` breaks the graph at such a branch and continues in Python. `jax.jit` raises.
#
# ### Bug hunt: skip a bad batch
#
# One batch with a NaN can make many parameters NaN. This step should skip such a batch:

# %% tags=["demonstration", "raises-exception"]
@jax.jit
def careful_step_broken(params, x, y):
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
    if jnp.isfinite(loss):
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
    return params


careful_step_broken(params, x, y)

# %% [markdown]
# ### Skip an update that is not finite
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# `keep_if_finite(params, proposed)` **returns** all of `proposed` if every number in it is finite, and otherwise all of `params`. Both have the same tree structure.
#
# **Edge cases**: `params` may hold NaN. Numbers near the largest float32 are finite.
#
# **The check** compares values, and traces the function.

# %% exercise="keep_if_finite"
def keep_if_finite(params, proposed):
    """`proposed`, or `params` if any leaf of `proposed` holds a NaN or an infinity."""
    ### BEGIN SOLUTION
    finite = jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(proposed)]).all()
    return jax.tree.map(lambda old, new: jnp.where(finite, new, old), params, proposed)
    ### END SOLUTION

# %% [markdown] hints="keep_if_finite"
# <details><summary>Hint 1: the idea</summary>
#
# Two steps: compute one Boolean array for the whole tree, then make the same choice at each leaf.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jnp.isfinite`, `jnp.all`, `jax.tree.leaves`. A Python loop over *leaves* is fine, because their number is known at trace time. Then `jax.tree.map` over two trees, with `jnp.where`.
# </details>
# <details><summary>Hint 3: what does not help</summary>
#
# Multiplying by the Boolean does not remove a NaN, since 0 times NaN is NaN. Python's `all(...)` needs the truth value of each element.
# </details>

# %% check="keep_if_finite" points=3
def all_finite(tree):
    return np.isfinite(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])).all()


def all_or_nothing(params, proposed):
    return proposed if all_finite(proposed) else params


def per_element(params, proposed):
    return jax.tree.map(lambda old, new: np.where(np.isfinite(new), new, old), params, proposed)


def per_leaf(params, proposed):
    return jax.tree.map(lambda old, new: new if np.isfinite(new).all() else old, params, proposed)


def zeros_for_nan(params, proposed):
    return jax.tree.map(lambda new: np.nan_to_num(np.float32(new)), proposed)


def only_nan(params, proposed):
    return params if any(np.isnan(leaf).any() for leaf in jax.tree.leaves(proposed)) else proposed


def by_first_leaf(params, proposed):
    return proposed if np.isfinite(jax.tree.leaves(proposed)[0]).all() else params


def by_params(params, proposed):
    return proposed if all_finite(params) else params


def by_the_step(params, proposed):
    return proposed if all_finite(jax.tree.map(np.subtract, proposed, params)) else params


def some_params(draw):
    return {
        "hidden": {"w": draw(size=(2, 3)), "b": draw(size=3)},
        "output": {"w": draw(size=(3, 1)), "b": draw(size=1)},
    }


def old_and_new(spoiled, seed=0, layer="hidden", name="b", old=0.5):
    draw = np.random.default_rng(seed).normal
    params, proposed = some_params(draw), some_params(draw)
    proposed[layer][name][-1] = spoiled
    params[layer][name][-1] = old
    return params, proposed


check_values(
    keep_if_finite,
    all_or_nothing,
    [
        old_and_new(0.5),
        old_and_new(np.nan),
        old_and_new(np.inf, seed=1),
        old_and_new(np.nan, seed=2, layer="output", name="w"),
        old_and_new(0.5, seed=3, old=np.nan),
    ],
    mistakes={
        "only the first leaf is tested": by_first_leaf,
        "the choice is made separately for each leaf": per_leaf,
        "the choice is made separately for each element": per_element,
        "NaN is replaced by zeros": zeros_for_nan,
        "an infinity is not detected": only_nan,
        "`params` is tested, not `proposed`": by_params,
        "the difference to `params` is tested: a NaN in `params` is kept": by_the_step,
    },
)
check_pure(keep_if_finite, *old_and_new(np.nan))
### BEGIN HIDDEN TESTS
check_values(
    keep_if_finite,
    all_or_nothing,
    [
        old_and_new(0.5, seed=6, old=np.inf),
        old_and_new(-np.inf, seed=7, layer="output"),
        old_and_new(-np.inf, seed=8, name="w"),
    ],
    mistakes={"minus infinity is not detected": lambda params, proposed: proposed},
)
check_values(
    keep_if_finite,
    all_or_nothing,
    [
        ([np.zeros(3), (np.ones((3, 1)),)], [np.array([3e38, 2e38, 0.0]), (np.ones((3, 1)),)]),
        ([np.ones(2), (np.ones(()),)], [np.zeros(2), (np.array(np.nan),)]),
    ],
    mistakes={
        "numbers that are large, and finite, are taken for infinite": lambda params, proposed: params
    },
)
### END HIDDEN TESTS

# %% [markdown]
# This is a good place for a break.
#
# ## 3.6 Static arguments
#
# Some arguments are not data: the number of classes, the name of an activation, a flag. They decide *which* program is compiled. This function computes the number of classes from the data:

# %% tags=["demonstration", "raises-exception"]
@jax.jit
def class_means_broken(x, labels):
    classes = int(labels.max()) + 1
    member = labels == jnp.arange(classes)[:, None]
    return member @ x / member.sum(axis=1, keepdims=True)


class_means_broken(x, jnp.zeros(256, int))

# %% [markdown]
# The shape of the result depends on a value, so pass the number of classes as a **static** argument. A static argument is passed to your Python function as it is, so `if`, `range` and shapes can use it. Each new value is traced and compiled again.

# %% tags=["demonstration"]
@partial(jax.jit, static_argnames="kind")
def activate(x, kind):
    print("tracing for", kind)
    return jnp.tanh(x) if kind == "tanh" else jax.nn.relu(x)


for kind in ("tanh", "relu", "tanh", "relu"):
    activate(x, kind)

# %% [markdown]
# JAX compares static arguments by type, hash and `==`:
#
# - `7` and `np.int64(7)` differ in type, so a call with `np.int64(7)` is traced again after one with `7`. `np.max` of a NumPy array returns such a number.
# - A list or an array raises `ValueError: Non-hashable static arguments`.
# - If you mutate a static object that hashes by identity, its cache key does not change, and the program keeps the old values.
#
# ### Means of classes
# **Exercise** · 9 minutes · difficulty 3 of 5
#
# `class_means(x, labels, strength, classes)` **returns** an array of shape (classes, features). Row `c` is the sum of the rows of `x` with label `c`, divided by (their number + `strength`), which shrinks the means of small classes towards 0. `class_means` itself is the jitted function.
#
# **Edge cases**: a class may be empty. Labels outside 0 to `classes - 1` belong to no class. `strength` is positive and changes often, `classes` rarely does.
#
# **The check** compares values, and requires one trace for all values of `strength`.

# %% exercise="class_means"
def class_means(
    x: Float[Array, "batch features"], labels: Int[Array, "batch"], strength: float, classes: int
) -> Float[Array, "classes features"]:
    """Sum of each class divided by (its size + `strength`); one trace for each value of `classes`."""
    ### BEGIN SOLUTION
    member = (labels == jnp.arange(classes)[:, None]).astype(x.dtype)
    return member @ x / (member.sum(axis=1, keepdims=True) + strength)


class_means = jax.jit(class_means, static_argnames="classes")
### END SOLUTION

# %% [markdown] hints="class_means"
# <details><summary>Hint 1: the idea</summary>
#
# For each argument, ask whether a shape depends on it. Only those arguments are static.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.jit(f, static_argnames="classes")`, below the definition, or `@partial(jax.jit, static_argnames="classes")` above it.
# </details>
# <details><summary>Hint 3: the sums</summary>
#
# `labels == jnp.arange(classes)[:, None]` is a Boolean array with one row for each class, and its matrix product with `x` gives the sums. Or use `.at[labels].add(x)`, where index -1 means the last row (lesson 01).
# </details>

# %% check="class_means" points=3
def class_by_class(x, labels, strength, classes):
    rows = [x[labels == c].sum(axis=0) / ((labels == c).sum() + strength) for c in range(classes)]
    return np.array(rows)


def no_shrinking(x, labels, strength, classes):
    return class_by_class(x, labels, 1e-30, classes)


def shrunk_afterwards(x, labels, strength, classes):
    return class_by_class(x, labels, 1e-30, classes) / (1 + strength)


def from_the_end(x, labels, strength, classes):
    return class_by_class(x, np.where(labels < 0, labels + classes, labels), strength, classes)


def only_minus_one(x, labels, strength, classes):
    return from_the_end(x, np.where(labels == -1, classes, labels), strength, classes)


labelled = sweep("12 2", integers("12", 0, 3), 0.5, 3, count=2)
check_values(
    class_means,
    class_by_class,
    [
        labelled[0],
        (*labelled[1][:2], 2.0, 3),
        (*labelled[1][:3], 5),
        (np.arange(12.0).reshape(6, 2), np.int32([0, -1, 2, 1, 2, -2]), 1.0, 4),
    ],
    mistakes={
        "only -1 is excluded. Other negative labels count from the end": only_minus_one,
        "the strength is left out": no_shrinking,
        "the strength is applied after the division": shrunk_afterwards,
        "a negative label counts from the end": from_the_end,
    },
)
check_traces(class_means, [labelled[0], (*labelled[1][:2], 2.0, 3), labelled[0]])
### BEGIN HIDDEN TESTS
def cut_to_the_last(x, labels, strength, classes):
    return class_by_class(x, np.minimum(labels, classes - 1), strength, classes)


check_values(
    class_means,
    class_by_class,
    [
        (np.arange(12.0).reshape(6, 2), np.int32([0, -1, 2, 5, 2, -3]), 1.0, 4),
        (np.ones((300, 1)), np.arange(300) // 295, 0.5, 2),
        (np.arange(15.0).reshape(5, 3), np.uint8([0, 4, 5, 200, 4]), 0.1, 5),
    ]
    + sweep("batch features", integers("batch", -3, 9), 3.0, 6, count=1, seed=8, planted=True)
    + sweep("20 4", integers("20", -1, 2), 0.5, 1, count=1, seed=9, scale=300.0),
    mistakes={"a label that is too large joins the last class": cut_to_the_last},
)
### END HIDDEN TESTS

# %% [markdown]
# ## 3.7 The cache: what causes a retrace
#
# The next cell times 32 gradients. Most batches have 64 rows.

# %% tags=["demonstration"]
step = jax.jit(jax.grad(loss_fn))
sizes = [64] * 8 + [40] + [64] * 7 + [41] + [64] * 7 + [40] + [64] * 7
milliseconds = []
for size in sizes:
    batch = x[:size], y[:size]
    start = time.perf_counter()
    jax.block_until_ready(step(params, *batch))
    milliseconds.append(1000 * (time.perf_counter() - start))

colours = ["C3" if size not in sizes[:i] else "C0" for i, size in enumerate(sizes)]
plt.figure("Time of each call, with retraces in red")
plt.bar(range(len(sizes)), milliseconds, color=colours, log=True)
plt.xlabel("call"), plt.ylabel("milliseconds")
plt.show()

# %% [markdown]
# *One bar for each call, on a logarithmic scale. The three highest are red: the first call, and the first calls with 40 and with 41 rows. Each takes hundreds or thousands of times as long as a call with a known shape (blue).*
#
# A short last batch, or sentences of different lengths, cause such retraces. (In lesson 13 you pad batches to a few sizes.) A call finds its program in the cache if all of these agree:
#
# - the tree structure of the arguments, and which of them are passed by keyword;
# - the shape, dtype and weak type of each leaf (`jax.typeof(leaf)` shows all three), and the sharding of arrays on several devices (lesson 07);
# - the type and value of each static argument;
# - the configuration, such as `jax.default_matmul_precision` or `jax.enable_x64`;
# - the function object: a new lambda or a new `functools.partial` is a new function.
#
# The values of traced arguments and the order of dict keys do not matter. `show_cache(f, calls)` shows which calls are traced, and why. It jits `f` and runs the calls, starting with an empty cache. Each entry of `calls` is one argument or a tuple of positional arguments. To pass keywords, write a function such as `lambda f: f(x=1.0)`.

# %% tags=["demonstration"]
def scaled(x, factor=2.0):
    return factor * x


calls = [jnp.ones(3), jnp.zeros(3), jnp.ones(4), jnp.arange(3), 1.0, jnp.ones(())]
show_cache(scaled, [*calls, (jnp.ones(3), 2.0), lambda f: f(x=jnp.ones(3)), 5.0])

# %% [markdown]
# > **In PyTorch** `torch.compile` calls such conditions *guards*, and soon treats a size that changes as dynamic. `jax.jit` compiles for each shape.
#
# **Prediction** · 2 minutes · difficulty 4 of 5
#
# `smooth = jax.jit(lambda average, loss: 0.9 * average + 0.1 * loss)`. The loop starts with `average = 0.0` and does `average = smooth(average, loss)` for each of a hundred float32 losses. How many times is `smooth` traced?

# %% exercise="smooth_traces" kind="prediction"
# An integer.
### BEGIN SOLUTION
smooth_traces = 2
### END SOLUTION

# %% check="smooth_traces" points=1
def count_smooth():
    runs, average = [], 0.0

    @jax.jit
    def smooth(average, loss):
        runs.append(average)
        return 0.9 * average + 0.1 * loss

    for loss in np.arange(100, dtype=np.float32):
        average = smooth(average, loss)
    return len(runs)


check_answer(
    smooth_traces,
    count_smooth,
    because="The first average is a Python number, which is weakly typed. The result is strongly "
    "typed, so the second call is traced again.",
    mistakes={
        1: "compare the types of `average` in the first and the second call: one is weak",
        100: "a new value does not retrace, only a new type",
        101: "a new value does not retrace, only a new type",
    },
)

# %% [markdown]
# For a model that compiles for ten minutes, starting with `0.0` costs another ten. Start with `jnp.zeros(())`, which is strongly typed.
#
# `jax.config.update("jax_explain_cache_misses", True)` logs why each call is traced, and `jax.explain_cache_misses(True)` does the same for a `with` block. The log goes to stderr, which this cell collects and prints. Read the lines that begin with `*`:

# %% tags=["demonstration"]
@partial(jax.jit, static_argnames="power")
def add_powers(total, x, power):
    return total + jnp.sum(x**power)


log = io.StringIO()
with jax.explain_cache_misses(True), contextlib.redirect_stderr(log):
    total = add_powers(0.0, x, 2)
    total = add_powers(total, x, 2)
    total = add_powers(total, x, np.int64(2))
    total = add_powers(total, x, power=2)
    with jax.default_matmul_precision("highest"):
        total = add_powers(total, x, 2)
print(log.getvalue())

# %% [markdown]
# The first message says that the function is new. Each later one compares the call with the closest key in the cache. The four later calls differ in the weak type of `total`, the type of the static value, the use of a keyword and the configuration.
#
# ### Fix a function that is traced at every call
# **Exercise** · 10 minutes · difficulty 4 of 5
#
# This code adds up a metric over batches. It is traced at every call, and for more than one reason:
#
# ```
# def make_evaluate_broken(metric):
#     def evaluate(total, params, x, y, k):
#         add = jax.jit(lambda total, *data: total + metric(*data), static_argnums=4)
#         return add(total, params, x, y, k)
#
#     return evaluate
# ```
#
# `make_evaluate(metric)` **returns** a function `evaluate(total, params, x, y, k)`, which returns `total + metric(params, x, y, k)` as a float32 scalar.
#
# **Edge cases**: `total` is a Python number, a NumPy number or the last result. `k` is a Python or NumPy integer, by position or by keyword. `metric` needs it for shapes.
#
# **The check** compares totals, and counts how often the Python body of `metric` runs: it must run once for each combination of batch shape and `k`, even if `k` alternates.

# %% exercise="make_evaluate"
def make_evaluate(metric):
    """`evaluate(total, params, x, y, k)`, which adds the metric and is traced once for each `k`."""
    ### BEGIN SOLUTION
    @partial(jax.jit, static_argnames="k")
    def add(total, params, x, y, k):
        return total + metric(params, x, y, k)

    def evaluate(total, params, x, y, k):
        return add(jnp.float32(total), params, x, y, int(k))

    return evaluate
    ### END SOLUTION

# %% [markdown] hints="make_evaluate"
# <details><summary>Hint 1: the idea</summary>
#
# Go through the list in 3.7 of what must agree. Which entries differ between two calls? One is a new function object.
# </details>
# <details><summary>Hint 2: two functions</summary>
#
# Compile one function in `make_evaluate`, outside `evaluate`. `evaluate` itself is not jitted. It converts its arguments, and always calls the compiled function in the same way.
# </details>
# <details><summary>Hint 3: the conversions</summary>
#
# `jnp.float32(total)` is strongly typed. `jnp.asarray(total)` keeps the weak type of a Python number. `int(k)` makes a Python integer.
# </details>

# %% check="make_evaluate" points=3
def hits(params, x, y, k):
    """How many labels are among the `k` largest logits."""
    return jnp.sum(jax.lax.top_k(x @ params["w"], k)[1] == y[:, None])


def largest_errors(params, x, y, k):
    return jnp.sum(jax.lax.top_k(jnp.abs(x @ params["w"] - y).ravel(), k)[0])


metrics = [hits, largest_errors]


def of_one_batch(which, params, x, y, k):
    logits = x @ params["w"]
    if metrics[which] is hits:
        best = np.argsort(-logits, axis=1)[:, :k]
        return np.sum(best == y[:, None])
    return np.sort(np.abs(logits - y).ravel())[-k:].sum()


def over_batches(make, which, start, params, batches, *ks):
    """The totals after each batch; the parameters double from call to call."""
    evaluate, total, totals = make(metrics[which]), start, []
    for k in ks:
        for x, y in batches:
            total = evaluate(total, params, x, y, k)
            totals.append(total)
            params = {"w": 2 * params["w"]}
    return jnp.stack(totals)


def added(which, start, params, batches, *ks, change=2):
    parts = []
    for k in ks:
        for x, y in batches:
            parts.append(of_one_batch(which, params, x, y, k))
            params = {"w": change * params["w"]}
    return start + np.cumsum(np.array(parts, float))


def only_the_last(which, start, params, batches, *ks):
    return np.diff(added(which, start, params, batches, *ks), prepend=start)


def traces_of(make, calls, x):
    runs = []

    def metric(params, x, y, k):
        runs.append(k)
        return params["w"] * jnp.sum(jax.lax.top_k(x + y, k)[0])

    evaluate, params, zero = make(metric), {"w": jnp.ones(())}, jnp.zeros(())
    if calls == "batches":
        for i in range(3):
            evaluate(zero, params, x + i, x, 2)
    elif calls == "totals":
        for total in (0.0, zero, np.float32(3), 0, zero + 1, zero + 2, np.float64(3)):
            evaluate(total, params, x, x, 2)
    elif calls == "again":
        for k in (2, 3, 2, 3):
            evaluate(zero, params, x, x, k)
    else:
        for k in (2, np.int64(2), np.int32(2)):
            evaluate(zero, params, x, x, k)
        evaluate(zero, params, x, x, k=2)
    return jnp.int32(len(runs))


labels = integers("6", 0, 4)
check_values(
    through(over_batches, make_evaluate),
    added,
    sweep(0, 0.0, {"w": "3 4"}, [("6 3", labels), ("6 3", labels)], 2, count=1)
    + sweep(0, 0, {"w": "3 4"}, [("6 3", labels)], 3, count=1, seed=1)
    + sweep(1, 5.0, {"w": "2"}, [("9 2", "9"), ("9 2", "9")], 3, count=1),
    mistakes={
        "the metric of the last batch alone, without `total`": only_the_last,
        "the parameters of the first call are used in every call": partial(added, change=1),
    },
    about="the totals",
)
check_values(
    through(traces_of, make_evaluate),
    [1],
    [("batches", np.arange(4.0))],
    mistakes={"`jax.jit` is applied in every call, or never": lambda calls, x: 3},
    about="traces for three batches of one shape",
)
check_values(
    through(traces_of, make_evaluate),
    [1],
    [("totals", np.arange(4.0))],
    mistakes={
        "a Python number is weakly typed, the last result is not": lambda calls, x: 2,
        "each value of `total` is traced again": lambda calls, x: 4,
    },
    about="traces for seven totals",
)
check_values(
    through(traces_of, make_evaluate),
    [1],
    [("ks", np.arange(4.0))],
    mistakes={
        "a NumPy and a Python integer are different static values": lambda calls, x: 3,
        "an argument passed by keyword gives another cache key than a positional one": lambda calls, x: 2,
    },
    about="traces for four forms of `k`",
)
check_values(
    through(traces_of, make_evaluate),
    [2],
    [("again", np.arange(4.0))],
    mistakes={
        "a `k` that comes back is traced again": lambda calls, x: 4,
        "the first `k` is used in every call": lambda calls, x: 1,
    },
    about="traces when `k` alternates",
)
### BEGIN HIDDEN TESTS
check_values(
    through(over_batches, make_evaluate),
    added,
    sweep(0, -2.0, {"w": "4 5"}, [("7 4", integers("7", 0, 5))], 1, 3, 1, count=1, seed=5)
    + sweep(1, 0.0, {"w": "3"}, [("5 3", "5"), ("8 3", "8")], 2, 4, count=1, seed=6),
    about="several values of `k`, and batches of two shapes",
)
### END HIDDEN TESTS

# %% tags=["demonstration", "raises-exception"]
def worst(params, x, y, k):
    print("tracing for", x.shape[0], "rows, k =", k)
    return jnp.sum(jax.lax.top_k(((mlp(params, x) - y) ** 2)[:, 0], k)[0])


evaluate = make_evaluate(worst)
for k in np.array([4, 8, 4]):
    total = 0.0
    for start in range(0, 256, 60):
        total = evaluate(total, params, x[start : start + 60], y[start : start + 60], k)
    print("sum over the batches of the largest", k, "losses:", total)

# %% [markdown]
# Your function is traced four times for 15 calls: two batch sizes (60, and 16 in the last batch) times two values of `k`.
#
# ### Predict a retrace
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# `same_program(one, other)` **returns** True if a new jitted function, called with `*one` and then with `*other`, is traced only once, and False otherwise.
#
# **Edge cases**: arguments are JAX and NumPy arrays, Python numbers, `None`, and trees of these. There are no static arguments.
#
# **The check** jits a function, calls it with both tuples, and counts the traces.

# %% exercise="same_program"
def same_program(one: tuple, other: tuple) -> bool:
    """Whether a jitted function needs one trace for both tuples of arguments."""
    ### BEGIN SOLUTION
    types = [[jax.typeof(leaf) for leaf in jax.tree.leaves(args)] for args in (one, other)]
    return jax.tree.structure(one) == jax.tree.structure(other) and types[0] == types[1]
    ### END SOLUTION

# %% [markdown] hints="same_program"
# <details><summary>Hint 1: the idea</summary>
#
# Compare the tree structures and the types of the leaves.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.tree.structure(tree)` can be compared with `==`, and so can `jax.typeof(leaf)`, which takes Python numbers too.
# </details>
# <details><summary>Hint 3: another way</summary>
#
# You can also count: jit a function that appends to a list when Python runs it.
# </details>

# %% check="same_program" points=3
def traced_once(one, other):
    runs = []
    program = jax.jit(lambda *args: runs.append(args))
    program(*one), program(*other)
    return np.array(len(runs) == 1)


def as_array(same, one, other):
    return jnp.asarray(same(one, other))


def leaf_pairs(one, other):
    return list(zip(jax.tree.leaves(one), jax.tree.leaves(other)))


def same_leaves(one, other):
    pairs = leaf_pairs(one, other)
    return same_shapes(one, other) and all(np.result_type(a) == np.result_type(b) for a, b in pairs)


def same_shapes(one, other):
    return all(np.shape(a) == np.shape(b) for a, b in leaf_pairs(one, other))


def same_numbers(one, other):
    return all(np.array_equal(a, b) for a, b in leaf_pairs(one, other))


pairs = [
    ((jnp.zeros(3), 1.0), (jnp.ones(3), 2.0)),
    ((jnp.zeros(3), 1.0), (jnp.zeros(4), 1.0)),
    ((jnp.zeros((2, 2)),), (jnp.zeros((2, 2), int),)),
    ((1.0,), (1,)),
]
check_values(
    through(as_array, same_program),
    [traced_once(*pair) for pair in pairs],
    pairs,
    mistakes={"the values are compared": same_numbers, "the dtypes are not compared": same_shapes},
    about="values, shapes and dtypes",
)
weak_pairs = [((2.0,), (jnp.float32(2.0),))]
check_values(
    through(as_array, same_program),
    [traced_once(*pair) for pair in weak_pairs],
    weak_pairs,
    mistakes={
        "a weak type is taken for a strong one": same_leaves,
    },
    about="a Python number, and a float32 array of the same value",
)
trees = [
    (({"w": jnp.ones(2), "b": 0.0},), ({"w": jnp.zeros(2), "b": 1.0},)),
    (({"w": jnp.ones(2)},), ({"v": jnp.ones(2)},)),
    (([1.0, 2.0],), ((1.0, 2.0),)),
]
check_values(
    through(as_array, same_program),
    [traced_once(*pair) for pair in trees],
    trees,
    mistakes={"the tree around the leaves is not compared": same_leaves},
    about="trees",
)


def rewritten(one):
    """The same tree of NumPy's arrays, in float64 and int64, its dicts in the opposite order."""
    if isinstance(one, dict):
        return {name: rewritten(one[name]) for name in reversed(one)}
    if isinstance(one, tuple):
        return tuple(map(rewritten, one))
    return np.asarray(one, np.int64 if np.asarray(one).dtype.kind == "i" else np.float64)


def as_rewritten(same, one, other):
    return jnp.asarray(same(rewritten(one), other))


pairs = [
    ((jnp.ones(3), jnp.arange(2)), (jnp.ones(3), jnp.arange(2))),
    ((jnp.ones(3),), (jnp.ones(4),)),
    ((jnp.ones(3),), (jnp.ones(3, "float16"),)),
    (({"b": jnp.ones(3), "w": jnp.arange(2)},), ({"b": jnp.ones(3), "w": jnp.arange(2)},)),
]
check_values(
    through(as_rewritten, same_program),
    [traced_once(*pair) for pair in pairs],
    pairs,
    mistakes={
        "JAX converts NumPy's float64 arrays to float32, so they cause no retrace": (
            lambda one, other: False
        ),
        "the order of the keys in a dict is compared": lambda one, other: len(one) == 2,
    },
    about="NumPy's arrays, and dicts in another order",
)
### BEGIN HIDDEN TESTS
def numbers_alone_are_weak(one, other):
    weak = [[isinstance(leaf, float) for leaf in jax.tree.leaves(args)] for args in (one, other)]
    structures = jax.tree.structure(one), jax.tree.structure(other)
    return weak[0] == weak[1] and structures[0] == structures[1] and same_leaves(one, other)


containers = [("tuple", "namedtuple"), ("OrderedDict", "dict"), ("dict", "dict")]


def in_containers(same, first, second):
    """What `same` says of two trees with the same leaves, in other containers."""
    trees = {
        "tuple": (1.0, 2.0),
        "namedtuple": namedtuple("Pair", "x y")(1.0, 2.0),
        "dict": {"x": 1.0, "y": 2.0},
        "OrderedDict": OrderedDict(x=1.0, y=2.0),
    }
    return jnp.asarray(same((trees[first],), (trees[second],)))


check_values(
    through(in_containers, same_program),
    [np.array(first == second) for first, second in containers],
    containers,
    mistakes={
        "the containers are compared with `==`, for which a namedtuple equals a tuple": (
            lambda first, second: np.array(True)
        )
    },
    about="a namedtuple and a tuple, an OrderedDict and a dict",
)
more = [
    ((jnp.ones(2), {"a": [jnp.ones(3)]}), (jnp.zeros(2), {"a": [jnp.ones((3, 1))]})),
    ((jnp.ones(2), None), (jnp.ones(2), jnp.ones(2))),
    ((jnp.ones(2), jnp.asarray(2.0)), (jnp.ones(2), 5.0)),
    ((jnp.ones(3, bool),), (jnp.ones(3, int),)),
    ((True,), (1,)),
]
check_values(
    through(as_array, same_program),
    [traced_once(*pair) for pair in more],
    more,
    mistakes={"an array can be weakly typed too": numbers_alone_are_weak},
)
### END HIDDEN TESTS

# %% [markdown]
# ## 3.8 Where to put jit
#
# `jax.jit(lambda ...)` *inside* a loop makes a new function each time, and each new function is traced:

# %% tags=["demonstration"]
for turn in range(3):
    jax.jit(lambda x: print("tracing in turn", turn))(1.0)

# %% [markdown]
# Apply `jit` once, where you define the function. Put it around the whole step, because the compiler can only combine (*fuse*) operations within one program. Do not put it around a Python loop over steps: tracing unrolls the loop, so a thousand steps become a thousand copies. Lesson 04 moves the loop into the program.
#
# ### Train without retracing the loss
# **Exercise** · 9 minutes · difficulty 3 of 5
#
# `train(loss_fn, params, x, y, learning_rate, steps)` **returns** the pair `(params, losses)` after `steps` steps of gradient descent on `loss_fn(params, x, y)`. `losses` is an array of shape (steps,) with the loss *before* each step.
#
# **Edge cases**: `params` is any pytree. `steps` is at least 1. Do not stop early if the loss rises or is NaN.
#
# **The check** compares parameters and losses, and requires that the Python body of `loss_fn` runs once, for any number of steps.

# %% exercise="train"
def train(loss_fn, params, x, y, learning_rate: float, steps: int):
    """Parameters after `steps` steps of gradient descent, and an array of the losses before each."""
    ### BEGIN SOLUTION
    @jax.jit
    def step(params, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), loss

    losses = []
    for _ in range(steps):
        params, loss = step(params, x, y)
        losses.append(loss)
    return params, jnp.stack(losses)
    ### END SOLUTION

# %% [markdown] hints="train"
# <details><summary>Hint 1: the idea</summary>
#
# Define one function inside `train` that does one whole step. Compile it before the loop begins.
# </details>
# <details><summary>Hint 2: one trace of the loss</summary>
#
# `loss_fn(...)` for the value and `jax.grad(loss_fn)(...)` for the gradient are two traces of the loss. Lesson 02 has a transformation that returns both.
# </details>

# %% check="train" points=3
def linear_loss(params, x, y):
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)


def descended(loss_fn, params, x, y, rate, steps, after=False, way=1):
    w, b, losses = params["w"], params["b"], []
    for _ in range(steps + 1):
        error = x @ w + b - y
        losses.append(np.mean(error**2))
        w_before, b_before = w, b
        w, b = w - way * rate * 2 * x.T @ error / len(y), b - way * rate * 2 * np.mean(error)
    return {"w": w_before, "b": b_before}, np.array(losses[1:] if after else losses[:-1])


def until_it_rises(*given):
    rises = np.flatnonzero(np.diff(descended(*given)[1]) > 0)
    return descended(*given[:5], rises[0] + 1 if len(rises) else given[5])


def loss_runs(train, x, y, steps):
    runs = []

    def counting_loss(params, x, y):
        runs.append(params)
        return linear_loss(params, x, y)

    train(counting_loss, {"w": jnp.zeros(3), "b": jnp.zeros(())}, x, y, 0.1, steps)
    return jnp.int32(len(runs))


check_values(
    train,
    descended,
    sweep(linear_loss, {"w": "3", "b": ""}, "6 3", "6", 0.1, 4, count=1)
    + sweep(linear_loss, {"w": "3", "b": ""}, "6 3", "6", 0.02, 3, count=1, seed=1)
    + sweep(linear_loss, {"w": "2", "b": ""}, "4 2", "4", 3.0, 5, count=1, seed=2),
    mistakes={
        "the loss after each step": lambda *given: descended(*given, after=True),
        "uphill: the gradient is added": lambda *given: descended(*given, way=-1),
        "it stops where the loss rises": until_it_rises,
        "the learning rate of the first call is kept": lambda *given: descended(
            *given[:4], 0.1, given[5]
        ),
    },
)
check_values(
    through(loss_runs, train),
    lambda x, y, steps: 1,
    sweep("6 3", "6", 5, count=1) + sweep("6 3", "6", 7, count=1),
    mistakes={
        "the Python body of the loss runs at every step": lambda x, y, steps: steps,
        "the loss is traced twice, for its value and for its gradient": lambda x, y, steps: 2,
    },
    about="runs of the loss",
)
### BEGIN HIDDEN TESTS
def bowl(params, x, y):
    return jnp.sum(params[0]["p"] ** 2) + jnp.sum(params[1] ** 2 * x) + y


def into_the_bowl(loss_fn, params, x, y, rate, steps):
    p, q, losses = params[0]["p"], params[1], []
    for _ in range(steps):
        losses.append(np.sum(p**2) + np.sum(q**2 * x) + y)
        p, q = p - rate * 2 * p, q - rate * 2 * q * x
    return ({"p": p}, q), np.array(losses)


check_values(
    train,
    into_the_bowl,
    sweep(bowl, ({"p": "2 2"}, "3"), "3", "", 0.2, 3, count=1, seed=9, planted=True)
    + sweep(bowl, ({"p": "4"}, "2"), "2", "", 0.01, 25, count=1, seed=10)
    + sweep(bowl, ({"p": "4"}, "2"), "2", "", 0.1, 1, count=1, seed=11)
    + sweep(bowl, ({"p": "4"}, "2"), "2", np.float32(np.nan), 0.1, 2, count=1, seed=12),
)
### END HIDDEN TESTS

# %% [markdown]
# The model of the course, trained with your function:

# %% tags=["demonstration", "raises-exception"]
plt.figure("Loss for three learning rates")
for rate in (0.001, 0.01, 0.05):
    _, losses = train(loss_fn, params, x, y, rate, 200)
    plt.semilogy(losses, label=f"learning rate {rate}")
plt.xlabel("step"), plt.ylabel("loss before the step"), plt.legend()
plt.show()

# %% [markdown]
# *Three falling curves on a logarithmic scale: the larger the learning rate, the faster.*
#
# ## 3.9 Donate buffers
#
# A step computes new parameters from old ones, and while it runs both are in memory. If you no longer need the old arrays, **donate** them: the compiler (XLA) may write the result into their memory. `unsafe_buffer_pointer()` returns the address of an array on its device.

# %% tags=["demonstration"]
double = jax.jit(lambda p: 2 * p, donate_argnums=0)
weights = jnp.ones(1_000_000)
address = weights.unsafe_buffer_pointer()
doubled = double(weights)
print(doubled.unsafe_buffer_pointer() == address, weights.is_deleted())

# %% [markdown]
# The result has the same address, and the donated array is deleted:

# %% tags=["demonstration", "raises-exception"]
print(weights)

# %% tags=["demonstration", "hide-input"]
def move(params, velocity):
    velocity = 0.9 * velocity - 0.1 * params
    return params + velocity, velocity


plt.figure("Memory of a step without donation and with it", figsize=(7.5, 1.8))
big = jax.ShapeDtypeStruct((1_000_000,), jnp.float32)
for name, donated in {"both donated": (0, 1), "params donated": (0,), "no donation": ()}.items():
    compiled = jax.jit(move, donate_argnums=donated).lower(big, big).compile()
    memory = compiled.memory_analysis()
    old = memory.argument_size_in_bytes / 1e6
    new = memory.output_size_in_bytes / 1e6 - memory.alias_size_in_bytes / 1e6
    plt.barh(name, old, color="C0"), plt.barh(name, new, left=old, color="C1")
plt.xlabel("megabytes of arguments (blue) and of new results (orange)")
plt.show()

# %% [markdown]
# *Memory of a momentum step for a million parameters. Without donation its results need as much memory as its arguments. Each donated argument saves 4 MB.*
#
# Donate what the caller overwrites with the result (`params = step(params, ...)`), never the data, which you need again. If no result fits into a donated buffer, nothing is deleted, and JAX warns `Some donated buffers were not usable`. Donating one array twice in a call raises.
#
# > **In PyTorch** `optimizer.step()` overwrites the parameters in place. Donation saves the same memory, and the step still returns new arrays.
#
# ### A momentum step with donation
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# Gradient descent with momentum keeps a velocity $v$ for each parameter $p$. With the gradient $g$ of `loss_fn` and the learning rate $\eta$, the new velocity is $0.9\,v - \eta\,g$, and the new parameter is $p$ plus the *new* velocity.
#
# `momentum_step(params, velocity, x, y, learning_rate)` **returns** the pair `(params, velocity)` after one step. `momentum_step` itself is the jitted function, and donates these two arguments and no others.
#
# **Edge cases**: `learning_rate` changes from call to call.
#
# **The check** compares both trees, checks which arguments are donated, and requires one trace for all learning rates.

# %% exercise="momentum_step"
def momentum_step(params, velocity, x, y, learning_rate):
    """`(params, velocity)` after one step on `loss_fn`; donates both old trees."""
    ### BEGIN SOLUTION
    grads = jax.grad(loss_fn)(params, x, y)
    velocity = jax.tree.map(lambda v, g: 0.9 * v - learning_rate * g, velocity, grads)
    return jax.tree.map(jnp.add, params, velocity), velocity


momentum_step = jax.jit(momentum_step, donate_argnums=(0, 1))
### END SOLUTION

# %% [markdown] hints="momentum_step"
# <details><summary>Hint 1: the idea</summary>
#
# Call `jax.tree.map` twice: once for the new velocity, once to add it to the parameters.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `donate_argnums` takes a position or a tuple of positions; `donate_argnames` takes names.
# </details>

# %% check="momentum_step" points=3
def slopes_of_mlp(params, x, y):
    hidden = np.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    error = 2 * (hidden @ params["output"]["w"] + params["output"]["b"] - y) / y.size
    behind = error @ params["output"]["w"].T * (hidden > 0)
    return {
        "hidden": {"w": x.T @ behind, "b": behind.sum(axis=0)},
        "output": {"w": hidden.T @ error, "b": error.sum(axis=0)},
    }


def rolled(params, velocity, x, y, rate):
    grads = slopes_of_mlp(params, x, y)
    faster = jax.tree.map(lambda v, g: 0.9 * v - rate * g, velocity, grads)
    return jax.tree.map(lambda p, v: p + v, params, faster), faster


def old_velocity(params, velocity, x, y, rate):
    moved = jax.tree.map(lambda p, v: p + v, params, velocity)
    return moved, rolled(params, velocity, x, y, rate)[1]


def fixed_rate(params, velocity, x, y, rate):
    return rolled(params, velocity, x, y, 0.1)


def uphill(params, velocity, x, y, rate):
    return rolled(params, velocity, x, y, -rate)


def of_the_rate(params, velocity, x, y, rate):
    grads = slopes_of_mlp(params, x, y)
    faster = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, grads)
    return jax.tree.map(lambda p, v: p - rate * v, params, faster), faster


shapes = {"hidden": {"w": "3 4", "b": "4"}, "output": {"w": "4 1", "b": "1"}}
rolling = sweep(shapes, shapes, "6 3", "6 1", 0.1, count=2)
check_values(
    momentum_step,
    rolled,
    rolling,
    mistakes={
        "the parameters move by the old velocity": old_velocity,
        "uphill: the gradient is added": uphill,
        "the velocity is that of `torch.optim.SGD`, which multiplies it by the rate afterwards": (
            of_the_rate
        ),
    },
)
check_donates(momentum_step, *rolling[0], donated=(0, 1))
check_traces(momentum_step, [rolling[0], (*rolling[1][:4], 0.02)])
### BEGIN HIDDEN TESTS
wider = {"hidden": {"w": "2 5", "b": "5"}, "output": {"w": "5 3", "b": "3"}}
check_values(
    momentum_step,
    rolled,
    sweep(shapes, shapes, "6 3", "6 1", 0.7, count=1, seed=4)
    + sweep(wider, wider, "5 2", "5 3", 0.3, count=1, seed=5, planted=True),
    mistakes={"the learning rate that is passed makes no difference": fixed_rate},
)
### END HIDDEN TESTS

# %% [markdown]
# ## 3.10 Lower, compile, and estimate the cost
#
# The first call of a jitted function traces, lowers (translates the jaxpr for the compiler), compiles and runs. You can also do these steps one at a time:

# %% tags=["demonstration"]
lowered = jax.jit(loss_fn).lower(params, x, y)
compiled = lowered.compile()
print(compiled.cost_analysis()["flops"], "floating-point operations")
print(compiled.memory_analysis().temp_size_in_bytes, "bytes for intermediate values")
print(compiled(params, x, y))

# %% [markdown]
# `lower` traces and lowers, and `lowered.as_text()` shows the result. `compile` makes machine code. Call the compiled object like the function, without the static arguments. It accepts these shapes and dtypes only, and raises a `TypeError` for others.
#
# None of this needs values. A `jax.ShapeDtypeStruct` describes an array by its shape and dtype:

# %% tags=["demonstration"]
huge = jax.ShapeDtypeStruct((100_000, 100_000), jnp.float32)
product = jax.jit(jnp.dot).lower(huge, huge).compile()
flops = product.cost_analysis()["flops"]
print(f"{flops:.2g} floating-point operations on three matrices of 40 GB each")

# %% [markdown]
# `cost_analysis` is the compiler's estimate, and may be `None` on some backends. Read its `"flops"` with care:
#
# - The body of a `scan`, `fori_loop` or `while_loop` is counted once, whatever the number of steps.
# - `sin` and `exp` are counted under `"transcendentals"`.
# - A program without arithmetic has no entry `"flops"`.
#
# For example, `(a @ b) @ v` and `a @ (b @ v)` are equal up to rounding, but differ in cost:
#
# ### Compare the FLOPs of compiled functions
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `cheapest(functions, *args)` **returns** the index of the function whose *compiled* program has the fewest `"flops"`, as an integer.
#
# **Edge cases**: if several are equal, the first. A missing entry counts as 0. `args` are arrays or `jax.ShapeDtypeStruct`s.
#
# **The check** compares indices, and requires that no function is run.

# %% exercise="cheapest"
def cheapest(functions: list, *args) -> int:
    """Index of the function whose compiled program has the fewest "flops" for `args`."""
    ### BEGIN SOLUTION
    compiled = [jax.jit(f).lower(*args).compile() for f in functions]
    costs = [program.cost_analysis().get("flops", 0.0) for program in compiled]
    return costs.index(min(costs))
    ### END SOLUTION

# %% [markdown] hints="cheapest"
# <details><summary>Hint 1: the idea</summary>
#
# Compute one number for each function, then find the index of the smallest.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.jit(f).lower(*args).compile().cost_analysis()` is a dict, and `.get("flops", 0.0)` allows for a missing entry. A list has `.index(...)`.
# </details>

# %% check="cheapest" points=2
def as_integer(choose, functions, *args):
    return jnp.int32(choose(functions, *args))


def from_the_left(a, b, v):
    return (a @ b) @ v


def from_the_right(a, b, v):
    return a @ (b @ v)


def square(a):
    return a @ a


def tiles(a):
    return jnp.tile(a, (10, 10)) + 1.0


def one_product_twice(a):
    return a @ a + a @ a


def wider_product(a):
    return a @ jnp.concatenate([a, a[:, :10]], axis=1)


def three_sums(a):
    return a * a * a + a * a


def one_sum(a):
    return a + 1.0


def backwards(a):
    return a[::-1]


def runs_of_them(choose, x):
    runs = []

    def note(x):
        runs.append(x)
        return np.asarray(x)

    def noted(x):
        return jax.pure_callback(note, jax.ShapeDtypeStruct(x.shape, x.dtype), x) + 1.0

    choose([noted, noted], x)
    return jnp.int32(len(runs) > 0)


check_values(
    through(runs_of_them, cheapest),
    [np.array(0)],
    [(np.ones(3),)],
    mistakes={"the functions were run, not only compiled": lambda x: 1},
    about="whether the functions were run",
)
orders = [from_the_left, from_the_right]
check_values(
    through(as_integer, cheapest),
    [np.array(1), np.array(0), np.array(1)],
    [
        (orders, np.ones((50, 60)), np.ones((60, 70)), np.ones(70)),
        (orders[::-1], np.ones((4, 50)), np.ones((50, 50)), np.ones(50)),
        ([*orders, from_the_right], np.ones((50, 60)), np.ones((60, 70)), np.ones(70)),
    ],
    mistakes={
        "the most expensive instead of the cheapest": (
            lambda functions, a, b, v: 0 if len(v) == 70 else 1
        ),
        "the last of those that tie": lambda functions, a, b, v: (
            0 if len(v) == 50 else len(functions) - 1
        ),
        "the equations are counted, however large the arrays": lambda functions, a, b, v: 0,
    },
    about="orders of a product",
)
check_values(
    through(as_integer, cheapest),
    [np.array(1), np.array(0)],
    [([square, tiles], np.ones((100, 100))), ([tiles, square], np.ones((100, 100)))],
    mistakes={
        "the bytes are counted and not the operations": lambda functions, a: functions.index(square)
    },
    about="operations against bytes",
)
check_values(
    through(as_integer, cheapest),
    [np.array(0), np.array(1), np.array(1)],
    [
        ([one_product_twice, wider_product], np.ones((40, 40))),
        ([three_sums, one_sum], np.ones((30, 20))),
        ([wider_product, square, one_product_twice], np.ones((40, 40))),
    ],
    mistakes={
        "that is the cost of the lowered program, not of the compiled one": lambda functions, a: 1,
        "only the matrix products are counted": lambda functions, a: (
            0 if functions[0] is three_sums else 1
        ),
    },
    about="an optimisation by the compiler",
)
a = jax.ShapeDtypeStruct((90_000, 90_000), np.float32)
v = jax.ShapeDtypeStruct((90_000,), np.float32)
check_values(
    through(as_integer, cheapest), [np.array(1)], [(orders, a, a, v)], about="shapes without values"
)
check_values(
    through(as_integer, cheapest),
    [np.array(1)],
    [([one_sum, backwards], np.ones(1))],
    about='a program without "flops"',
)
### BEGIN HIDDEN TESTS
three = [from_the_left, from_the_left, from_the_right]
check_values(
    through(as_integer, cheapest),
    [np.array(2)],
    [(three, a, a, v)],
    mistakes={"only the first two are compared": lambda functions, a, b, v: 1},
    about="three functions",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 3.11 When does jit pay off?
#
# The timings in lesson 01 excluded the first call, which traces and compiles. The next cell plots the total time after each of eighty calls.

# %% tags=["demonstration"]
def account(f, calls):
    ends, start = [], time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(f(params, x, y))
        ends.append(time.perf_counter() - start)
    return ends


plain = jax.value_and_grad(loss_fn)
account(plain, 1)  # warm-up: compiles each operation
plt.figure("Total time against calls, with and without jit")
for name, f in {"plain": plain, "under jit": jax.jit(jax.value_and_grad(loss_fn))}.items():
    ends = account(f, 80)
    plt.plot(range(1, 81), ends, label=name)
    later = np.median(np.diff(ends))
    print(f"{name:9}  first call {1e3 * ends[0]:6.1f} ms, the others {1e3 * later:.2f} ms")
plt.xlabel("calls"), plt.ylabel("seconds since the start")
plt.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
plt.show()

# %% [markdown]
# *Two nearly straight lines. The plain one starts at zero and rises. The one under jit starts high, at the cost of tracing and compiling, and is almost flat. Where they cross, jit has paid off. On a busy machine that may take more than eighty calls.*
#
# On two CPU cores the first call cost about as much as forty plain calls, and each later call was at least sixty times faster than a plain one. Small operations gain most, because without `jit` each is dispatched from Python, and `grad` traces the loss at every call. One large matrix product gains nothing. `jit` costs more time than it saves for
#
# - a function that runs once, or with a new shape at each call;
# - a function that closes over large arrays, which become constants;
# - a long Python loop, which is unrolled. With 100 iterations the function below took 0.7 seconds to compile, and with 1,000 it took 14.

# %% tags=["demonstration"]
def many_turns(x, turns):
    for _ in range(turns):
        x = jnp.sin(x) + 0.1 * x
    return x


jax.jit(many_turns, static_argnames="turns").lower(jnp.ones(100), 1).compile()  # warm up
for turns in (4, 40, 160):
    start = time.perf_counter()
    jax.jit(many_turns, static_argnames="turns").lower(jnp.ones(100), turns).compile()
    print(f"{turns:4} iterations: {time.perf_counter() - start:.2f} s to compile")

# %% [markdown]
# ### Compute the break-even point
# **Exercise** · 10 minutes · difficulty 4 of 5
#
# `break_even(plain, compiled, x, clock)` **returns** the smallest whole number $n \ge 1$ for which $n$ calls of `compiled`, compilation included, take no longer than $n$ calls of `plain`. If there is none, return `math.inf`.
#
# **How to measure**: time two calls of each function. Ignore the first call of `plain`. Its second is the cost of every call of `plain`. The first call of `compiled` includes compilation, and its second is the cost of every later call.
#
# **Edge cases**: later calls of `compiled` may be slower than those of `plain`. Both functions may return any pytree of arrays.
#
# **The check** passes a simulated clock. Call each function exactly twice.

# %% exercise="break_even"
def break_even(plain, compiled, x, clock=time.perf_counter) -> float:
    """Smallest n for which n calls of `compiled`, with compilation, take no longer than n of `plain`."""
    ### BEGIN SOLUTION
    def seconds(f):
        start = clock()
        jax.block_until_ready(f(x))
        return clock() - start

    (_, slow), (first, fast) = [[seconds(f), seconds(f)] for f in (plain, compiled)]
    if first <= slow:
        return 1.0
    return math.ceil((first - fast) / (slow - fast)) if fast < slow else math.inf
    ### END SOLUTION

# %% [markdown] hints="break_even"
# <details><summary>Hint 1: the idea</summary>
#
# Three numbers matter: the second call of `plain`, and the first and the second of `compiled`. Write down what $n$ calls cost in each case and solve for $n$.
# </details>
# <details><summary>Hint 2: the clock</summary>
#
# Write a helper that times one call: `clock()`, the call, `jax.block_until_ready`, `clock()`.
# </details>
# <details><summary>Hint 3: the algebra</summary>
#
# $n$ calls under `jit` take first + (n - 1) · fast. `math.ceil` rounds up. Divide only by a positive number.
# </details>

# %% check="break_even" points=3
def on_a_fake_device(measure, compiling, fast, slow, warming=8.0, tree=dict):
    """What `measure` says on a device whose every cost is known; compiling spares dispatch too."""
    now, free, reads = [0.0], [0.0], []

    class Promise:
        def __init__(self, ready):
            self.ready = ready

        def block_until_ready(self):
            now[0] = max(now[0], self.ready)
            return self

        def __array__(self, dtype=None, copy=None):
            return np.asarray(self.block_until_ready().ready, dtype)

    def function(extra, cost, dispatch):
        calls = []

        def f(x):
            now[0] += dispatch + (0.0 if calls else extra)
            calls.append(x)
            free[0] = max(now[0], free[0]) + cost - dispatch
            return tree([("value", Promise(free[0]))])

        return f

    def clock():
        reads.append(now[0])
        return now[0]

    plain, compiled = function(warming, slow, 1.0), function(compiling, fast, 0.5)
    calls = measure(plain, compiled, slow, clock)  # of the argument the device makes no use
    return jnp.float32(calls if reads else 0)  # never right: without the clock nothing is known


def returning_a_list(measure, *costs):
    return on_a_fake_device(measure, *costs, tree=lambda pairs: [array for _, array in pairs])


def first_to_pay(compiling, fast, slow, warming=8.0):
    for n in range(1, 10_000):
        if compiling + n * fast <= n * slow:
            return np.float64(n)
    return np.float64(np.inf)


def quotient(compiling, fast, slow):
    return compiling / (slow - fast)


check_values(
    through(on_a_fake_device, break_even),
    first_to_pay,
    [(100.0, 1.0, 4.0), (100.0, 6.0, 10.0)],
    mistakes={
        "only the dispatch is timed": lambda compiling, fast, slow: quotient(compiling, 0.5, 1.0),
        "the compilation is not counted": lambda compiling, fast, slow: 1.0,
        "the `clock` that was passed is not read": lambda *costs: 0.0,
        "the quotient is not rounded up to a whole number": lambda *costs: quotient(*costs),
        "rounded to the nearest, not up": lambda *costs: np.round(quotient(*costs)),
        "the first call of plain is counted": lambda compiling, fast, slow: np.ceil(
            quotient(compiling, fast, slow + 8.0)
        ),
        "the whole first call is taken for compilation": lambda compiling, fast, slow: np.ceil(
            quotient(compiling + fast, fast, slow)
        ),
        "equal total times do not count as break-even": lambda compiling, fast, slow: 1 + np.floor(
            quotient(compiling, fast, slow)
        ),
    },
    about="the number of calls",
)
check_values(
    through(on_a_fake_device, break_even),
    first_to_pay,
    [(50.0, 3.0, 2.0), (0.0, 1.0, 3.0)],
    mistakes={
        "the result is less than 1": lambda compiling, fast, slow: (
            np.ceil(quotient(compiling, fast, slow)) if fast < slow else np.inf
        ),
        "if later calls are slower, jit may never pay off": lambda *costs: (
            max(1, np.ceil(quotient(*costs)))
        ),
    },
    about="never, and at once",
)
### BEGIN HIDDEN TESTS
check_values(
    through(returning_a_list, break_even),
    first_to_pay,
    [(10.0, 2.0, 2.0), (1.0, 1.0, 3.0), (5000.0, 1.0, 2.0), (0.0, 2.0, 2.0)],
    mistakes={
        "if later calls are equally fast, the first call may still be no slower": (
            lambda compiling, fast, slow: (
                max(1, np.ceil(quotient(compiling, fast, slow))) if fast < slow else np.inf
            )
        ),
    },
    about="other costs, and lists for results",
)
### END HIDDEN TESTS

# %% [markdown]
# ## What to remember
#
# 1. Python runs at trace time, the compiled program at run time. Pass what changes as an argument, and return what you want to keep.
# 2. A tracer has no value. Use `jnp.where`, branch on a shape, or make the argument static. A data-dependent `if` raises.
# 3. The cache key holds structure, shapes, dtypes, weak types, static values, configuration and the function. A new key is a retrace.
# 4. Put `jit` once around the whole step, never inside a loop. Donate what the result replaces.
# 5. Count the first call when you ask whether `jit` pays off. Use `jit` on functions that run often with few argument shapes.
#
# ## Further reading
#
# - The JAX documentation: [Just-in-time compilation](https://docs.jax.dev/en/latest/jit-compilation.html), [Tracing](https://docs.jax.dev/en/latest/tracing.html), [Ahead-of-time lowering and compilation](https://docs.jax.dev/en/latest/aot.html), [Buffer donation](https://docs.jax.dev/en/latest/buffer_donation.html), [JAX errors](https://docs.jax.dev/en/latest/errors.html), [Autodidax](https://docs.jax.dev/en/latest/autodidax.html).
# - Frostig, Johnson and Leary, [Compiling machine learning programs via high-level tracing](https://mlsys.org/Conferences/doc/2018/146.pdf) (2018).
#
# ## Previous and next
#
# In lesson 02 you differentiated functions. In lesson 04 branches and loops become part of the program, so that a thousand steps are one call.
