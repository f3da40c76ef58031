# %% [markdown]
# # 2 · Gradients: grad, pytrees, jvp, vjp and custom rules
#
# `jax.grad` gives you the gradient of any loss. After this lesson you can
#
# - differentiate a loss with respect to any of its arguments, a pytree of parameters, or an object of your own class;
# - use Jacobians and Hessians without storing them;
# - find out why a gradient is zero, wrong or NaN;
# - define your own derivative rules, for reverse mode or for both modes;
# - fit a logistic regression by gradient descent.
#
# About 110 minutes. There is a good place for a break after 2.5. You need lesson 01 and the chain rule.

# %%
import math
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, Float, Int

from graders import (
    check_answer,
    check_batched,
    check_dtype,
    check_primitives,
    check_pure,
    check_shape,
    check_values,
    integers,
    result_of,
    sweep,
    through,
    uniform,
)

# %% [markdown]
# ## 2.0 Recall: indices, dtypes and updates
#
# Three questions about lesson 01, one point each. Answer before you run anything.
#
# **Recall** · 1 minute · difficulty 2 of 5
#
# Let `scores = jnp.zeros(3)`. What is `scores.at[jnp.array([0, 3, -1])].add(1.0).sum()`?

# %% exercise="out_of_bounds" kind="recall"
# A number, or the name of an exception as a string.
### BEGIN SOLUTION
out_of_bounds = 2.0
### END SOLUTION

# %% check="out_of_bounds" points=1
check_answer(
    out_of_bounds,
    lambda: float(jnp.zeros(3).at[jnp.array([0, 3, -1])].add(1.0).sum()),
    because="The write to index 3 is out of bounds and dropped. Index -1 is the last element.",
    mistakes={
        3.0: "index 3 is out of bounds, and such a write is dropped; clamping is for reads",
        1.0: "index -1 counts from the end, so only the write to index 3 is dropped",
        "IndexError": "NumPy raises; compiled code cannot, so JAX drops the write",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# `x` is a bfloat16 array of shape `(3,)`. Which of these results are bfloat16 too?
#
# - a: `x * math.pi`
# - b: `x * np.pi`
# - c: `x * np.float32(2)`
# - d: `x * jnp.arange(3)`
# - e: `x * np.sqrt(2.0)`

# %% exercise="scaled_dtype" kind="recall"
# A string of letters in alphabetical order, such as "ac".
### BEGIN SOLUTION
scaled_dtype = "abd"
### END SOLUTION

# %% check="scaled_dtype" points=1
def results_in_bfloat16():
    x = jnp.ones(3, jnp.bfloat16)
    results = {
        "a": x * math.pi,
        "b": x * np.pi,
        "c": x * np.float32(2),
        "d": x * jnp.arange(3),
        "e": x * np.sqrt(2.0),
    }
    return "".join(letter for letter, result in results.items() if result.dtype == jnp.bfloat16)


check_answer(
    scaled_dtype,
    results_in_bfloat16,
    because="`math.pi` and `np.pi` are Python numbers, which are weakly typed. int32 with bfloat16 is "
    "bfloat16. `np.float32(2)` and `np.sqrt(2.0)` are strongly typed.",
    mistakes={
        "ab": "d is bfloat16 too: int32 with bfloat16 promotes to bfloat16",
        "ad": "`np.pi` is a Python number, as `math.pi` is",
        "a": "`np.pi` is a Python number too, and int32 with bfloat16 promotes to bfloat16",
        "abde": "`np.sqrt` returns an np.float64, which is strongly typed and promotes to float32",
        "abe": "`np.sqrt` returns an np.float64, which is strongly typed and promotes to float32",
        "abcd": "`np.float32(2)` is strongly typed: bfloat16 with float32 is float32",
        "abcde": "`np.float32(2)` and `np.sqrt(2.0)` are strongly typed",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 1 of 5
#
# A data loader fills one NumPy array, `buffer`, again and again. After which of these lines may it overwrite `buffer` at once, on a CPU too, without a change of `x`?
#
# - a: `x = jax.device_put(buffer)`
# - b: `x = jax.device_put(buffer).block_until_ready()`
# - c: `x = jnp.array(buffer)`
# - d: `x = jnp.array(buffer).block_until_ready()`
# - e: `x = jax.device_put(buffer.copy())`

# %% exercise="safe_lines" kind="recall"
# A string of letters in alphabetical order, such as "ac".
### BEGIN SOLUTION
safe_lines = "de"
### END SOLUTION

# %% check="safe_lines" points=1
check_answer(
    safe_lines,
    "de",
    because="`device_put` may share the memory of a NumPy array for as long as `x` lives. "
    "`jnp.array` copies, but the copy may still be running when the line returns.",
    mistakes={
        "d": "in e the array that JAX may share is a copy, which nobody overwrites",
        "e": "in d JAX has copied `buffer`, and the copy is complete",
        "cde": "in c the copy may still be running when the line returns",
        "cd": "in c the copy may still be running, and e hands over a copy of its own",
        "bde": "in b there may be no copy at all: `x` can share the memory of `buffer`",
        "bd": "in b there may be no copy at all: `x` can share the memory of `buffer`",
        "abcde": "a JAX array can share the memory of a NumPy array, or still be copying it",
    },
)

# %% [markdown]
# ## 2.1 jax.grad returns a function
#
# The Babylonian square root is a `while` loop that stops when the result is accurate enough. It contains no formula for a derivative.

# %% tags=["demonstration"]
def square_root(a):
    x = a
    while abs(x * x - a) > 1e-4:
        x = (x + a / x) / 2
    return x


print(square_root(2.0), jax.grad(square_root)(2.0), 0.5 / np.sqrt(2.0))

# %% [markdown]
# The derivative of $\sqrt{a}$ at 2 is 0.35355. JAX computes 0.353566, through the loop.
#
# `jax.grad(f)` returns a function and runs nothing yet. When you call that function, JAX runs *your Python* with a tracer in place of the argument. A tracer of `grad` carries a value, so `while` and `print` work. JAX records each operation with its derivative, and then applies the chain rule backwards. Here is a tracer:

# %% tags=["demonstration"]
def fourth_power(x):
    print("the body runs, x is", x)
    return x**4


jax.grad(fourth_power)(1.0)

# %% [markdown]
# The result of `grad` is a function, so you can differentiate it again.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# `jax.grad(jax.grad(jax.grad(fourth_power)))(1.0)` is 24. How many times does it print?

# %% exercise="times_printed" kind="prediction"
# An integer.
### BEGIN SOLUTION
times_printed = 1
### END SOLUTION

# %% check="times_printed" points=1
def count_runs():
    runs = []

    def fourth(x):
        runs.append(x)
        return x**4

    jax.grad(jax.grad(jax.grad(fourth)))(1.0)
    return len(runs)


check_answer(
    times_printed,
    count_runs,
    because="The body runs once, with three nested tracers. Each level of `grad` records what the level inside it does.",
    mistakes={
        3: "there is no run for each `grad`: the three tracers are nested, and the body runs once",
        8: "a `grad` does not double the runs: the three tracers are nested, and the body runs once",
    },
)

# %% [markdown]
# **Prediction** · 1 minute · difficulty 1 of 5
#
# What is `jax.grad(lambda x: x**2)(3)`?

# %% exercise="integer_gradient" kind="prediction"
# A number, or the name of an exception as a string, such as "ValueError".
### BEGIN SOLUTION
integer_gradient = "TypeError"
### END SOLUTION

# %% check="integer_gradient" points=1
def gradient_by_three():
    try:
        return float(jax.grad(lambda x: x**2)(3))
    except Exception as error:
        return type(error).__name__


check_answer(
    integer_gradient,
    gradient_by_three,
    because="`grad` differentiates with respect to floating-point arguments only. Write 3.0.",
    mistakes={
        6: "at 3.0 it is 6.0, but 3 is an integer, and `grad` raises for an integer argument",
        "ValueError": "it raises, but an exception of another class",
    },
)

# %% [markdown]
# `grad` also raises an error for a function that returns an array. A gradient belongs to a *scalar*, usually a loss. For other functions see 2.6.
#
# ## 2.2 Finite differences: an independent test of a gradient
#
# How accurate is the quotient `(f(x + h) - f(x)) / h`? Here is its error for the sine at 1, in float32, for steps `h` from 1e-7 to 1:

# %% tags=["demonstration"]
steps = np.logspace(-7, 0, 57, dtype=np.float32)
x, exact = jnp.float32(1.0), np.cos(1.0)
one_sided = (jnp.sin(x + steps) - jnp.sin(x)) / steps
central = (jnp.sin(x + steps) - jnp.sin(x - steps)) / (2 * steps)

plt.figure("Error of finite differences against the step size")
plt.loglog(steps, abs(np.float64(one_sided) - exact), label="one-sided")
plt.loglog(steps, abs(np.float64(central) - exact), label="central")
plt.axhline(abs(np.float64(jax.grad(jnp.sin)(x)) - exact), color="gray", label="jax.grad")
plt.xlabel("step h"), plt.ylabel("error of the derivative")
plt.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
plt.show()

# %% [markdown]
# *Two V-shaped curves, on logarithmic axes: a smaller step reduces the error until rounding increases it. The one-sided difference reaches about 1e-4, the central one about 1e-5. The grey line is `jax.grad`, with an error of 3e-8.*
#
# Finite differences also need at least one call of `f` for each parameter, where `grad` costs a few calls in all. They are good for testing, because they share no code with `grad`.
#
# ### Cancel the error of a central difference
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# The central difference $D(h) = (f(x + h) - f(x - h)) / 2h$ has an error of $c\,h^2$ plus higher powers. The same unknown $c$ is in $D(h)$ and $D(h/2)$, so a combination of the two cancels it.
#
# `derivative(f, eps)` returns a *function*. For a float array of any shape, that function returns this combination with $h$ = `eps`, for each element.
#
# The check compares shapes and values for several `f` and `eps`, and tests purity. Do not use `jax.grad`: its error is smaller, and the check notices.

# %% exercise="derivative"
def derivative(f, eps: float):
    """Function that approximates the derivative of an elementwise `f`, without an error in `eps**2`.

    It takes a float array of any shape, and combines the central differences with steps `eps` and `eps/2`.
    """
    ### BEGIN SOLUTION
    def central(x, h):
        return (f(x + h) - f(x - h)) / (2 * h)

    return lambda x: (4 * central(x, eps / 2) - central(x, eps)) / 3
    ### END SOLUTION

# %% [markdown] hints="derivative"
# <details><summary>Hint 1: the idea</summary>
#
# Half the step gives a quarter of the unwanted term. Find $a$ and $b$ such that $a\,D(h/2) + b\,D(h)$ is the derivative without a term in $c$.
# </details>
# <details><summary>Hint 2: the algebra</summary>
#
# The derivative must remain once, so $a + b = 1$. The error must cancel, so $a/4 + b = 0$.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# Define `central(x, h)` inside, then a function of `x` alone that calls it twice. Return that function, not its value.
# </details>

# %% check="derivative" points=2
def quintic(x):
    return x**5 - 2 * x**2


def quotient(x):
    return x / (2 + x * x)


def five_points(x, f=quintic, h=0.25):
    return (f(x - 2 * h) - 8 * f(x - h) + 8 * f(x + h) - f(x + 2 * h)) / (12 * h)


def central_step(x, h):
    return (quintic(x + h) - quintic(x - h)) / (2 * h)


def called_twice(derivative, f, eps, x):
    approximate = derivative(f, eps)
    return approximate(x), approximate(x + 1)


def five_points_twice(f, eps, x):
    return five_points(x, f, eps / 2), five_points(x + 1, f, eps / 2)


check_shape(result_of(derivative, quintic, 0.5), np.ones(4), returns="n", n=4)
check_values(
    result_of(derivative, quintic, 0.5),
    five_points,
    sweep("4", planted=True),
    mistakes={
        "one central difference, nothing combined": lambda x: central_step(x, 0.5),
        "the mean of the two central differences": lambda x: (central_step(x, 0.5) + central_step(x, 0.25)) / 2,
        "the two weights are exchanged": lambda x: (4 * central_step(x, 0.5) - central_step(x, 0.25)) / 3,
        "points further away than `eps`": lambda x: five_points(x, h=0.5),
        "the exact derivative": lambda x: 5 * x**4 - 4 * x,
    },
)
check_values(
    through(called_twice, derivative),
    five_points_twice,
    sweep(quotient, 0.5, "n", count=1) + sweep(quotient, 0.25, "n", count=1) + sweep(quintic, 0.25, "n", count=1),
    mistakes={
        "the step is not `eps`": lambda f, eps, x: five_points_twice(f, 0.5, x),
        "another function, or another step, is used than the one that is passed":
            lambda f, eps, x: five_points_twice(quintic, 0.5, x),
    },
    about="other functions and steps",
)
check_pure(result_of(derivative, quintic, 0.5), np.ones(4))
### BEGIN HIDDEN TESTS
def wave(x):
    return jnp.sin(3 * x) + x**3


def wave_by_five_points(x):
    return five_points(x, f=lambda x: np.sin(3 * x) + x**3, h=0.1)


check_values(
    result_of(derivative, wave, 0.2),
    wave_by_five_points,
    sweep("2 4", count=2, seed=3) + sweep("", count=2, seed=4),
    about="arrays of other shapes",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 2.3 value_and_grad, argnums and has_aux
#
# One call returns the loss, gradients with respect to several arguments, and the predictions.
#
# - `jax.value_and_grad(f)` returns `(value, gradient)`, at no extra cost.
# - `argnums=(0, 2)` differentiates with respect to these arguments and returns a tuple. The default is `0`, the first argument only.
# - `has_aux=True` says that `f` returns `(loss, aux)`. The loss is differentiated, and `aux` is returned as it is.
#
# > **In PyTorch** `loss.backward()` adds to the `.grad` of tensors, so you call `zero_grad()`. In JAX gradients are return values, and nothing accumulates.

# %%
def spring(stretch, speed, mass):
    potential, kinetic = 2.0 * stretch**2, 0.5 * mass * speed**2
    return potential + kinetic, {"potential": potential, "kinetic": kinetic}


everything = jax.value_and_grad(spring, argnums=(0, 1), has_aux=True)
(energy, parts), (slope, momentum) = everything(1.0, 3.0, 2.0)
print(energy, parts)
print("gradient with respect to stretch:", slope, "to speed:", momentum)

# %% [markdown]
# ### A loss, its gradients and its predictions
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# The model is $x w + b$, and the loss is its mean squared error against `y`. `loss_and_grads(w, b, x, y)` returns `((loss, predictions), (grad_w, grad_b))`, with the gradients of the loss with respect to `w` and `b`.
#
# There may be a single example.
#
# The check compares shapes and values, tests purity, and counts matrix products. Two are allowed, so compute the predictions once.

# %% exercise="loss_and_grads"
def loss_and_grads(
    w: Float[Array, "features"],
    b: Float[Array, ""],
    x: Float[Array, "batch features"],
    y: Float[Array, "batch"],
):
    """`((loss, predictions), (grad_w, grad_b))` of the mean squared error of `x @ w + b`."""
    ### BEGIN SOLUTION
    def loss_fn(w, b):
        predictions = x @ w + b
        return jnp.mean((predictions - y) ** 2), predictions

    return jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)(w, b)
    ### END SOLUTION

# %% [markdown] hints="loss_and_grads"
# <details><summary>Hint 1: the idea</summary>
#
# Write an inner function of `w` and `b` alone, which uses `x` and `y` from the outer one. It returns the loss and the predictions.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `value_and_grad` with both `argnums` and `has_aux`. With `has_aux` the value is itself a pair, and the result has the required nesting.
# </details>

# %% check="loss_and_grads" points=3
def linear_by_hand(w, b, x, y):
    predictions = x @ w + b
    residual = predictions - y
    return (np.mean(residual**2), predictions), (2 * x.T @ residual / len(y), 2 * np.mean(residual))


def every_pair(w, b, x, y):
    predictions = x @ w + b
    residual = predictions[:, None] - y
    slope = 2 * residual.mean(axis=1) / len(y)
    return (np.mean(residual**2), predictions), (x.T @ slope, slope.sum())


check_shape(
    loss_and_grads,
    np.zeros(3),
    np.zeros(()),
    np.ones((5, 3)),
    np.ones(5),
    returns=(("", "batch"), ("features", "")),
    batch=5,
    features=3,
)
check_values(
    loss_and_grads,
    linear_by_hand,
    sweep("features", "", "batch features", "batch", planted=True)
    + sweep("2", "", "60 2", "60", count=1, seed=4),
    mistakes={"every prediction is compared with every target": every_pair},
)
check_pure(loss_and_grads, np.zeros(3), np.zeros(()), np.ones((5, 3)), np.ones(5))
check_primitives(
    loss_and_grads, np.zeros(3), np.zeros(()), np.ones((5, 3)), np.ones(5), at_most={"dot_general": 2}
)
### BEGIN HIDDEN TESTS
check_values(
    loss_and_grads,
    linear_by_hand,
    sweep("3", "", "1 3", "1", count=2, seed=5, scale=10.0),
)
### END HIDDEN TESTS

# %% [markdown]
# ## 2.4 Pytrees of parameters: tree.map and tree.leaves
#
# JAX differentiates with respect to *pytrees*: dicts, lists and tuples, nested in any way, with arrays at the leaves. The model of this course is a multilayer perceptron:

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

# %% tags=["demonstration"]
params = {"hidden": init_layer(3, 4), "output": init_layer(4, 1)}
x = jnp.asarray(rng.normal(size=(6, 3)), jnp.float32)
y = jnp.sum(x**2, axis=1, keepdims=True)

grads = jax.grad(loss_fn)(params, x, y)
jax.tree.map(jnp.shape, grads)

# %% [markdown]
# The gradient is a pytree with the structure of `params`. `jax.tree.map(f, tree, *more_trees)` applies `f` to the leaves, and `jax.tree.leaves(tree)` lists them.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# How many leaves does `{"a": (1.0, None), "b": [], "c": {"x": 2.0}}` have?

# %% exercise="leaf_count" kind="prediction"
# An integer.
### BEGIN SOLUTION
leaf_count = 2
### END SOLUTION

# %% check="leaf_count" points=1
check_answer(
    leaf_count,
    lambda: len(jax.tree.leaves({"a": (1.0, None), "b": [], "c": {"x": 2.0}})),
    because="`None` and `[]` are nodes without children: they belong to the structure and are not leaves.",
    mistakes={
        3: "`None` is not a leaf, but a node without children",
        4: "`None` and `[]` are not leaves, but nodes without children",
    },
)

# %% [markdown]
# With `tree.map` a step of gradient descent is one line, for any pytree. The learning rate is a Python number and so weakly typed: a bfloat16 parameter stays bfloat16.

# %% tags=["demonstration"]
def sgd_step(params, grads, learning_rate):
    return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)


for _ in range(3):
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
    params = sgd_step(params, grads, 0.05)
    print("loss before the step:", loss)

# %% [markdown]
# ### Backpropagation by hand
# **Exercise** · 10 minutes · difficulty 4 of 5
#
# `backprop(params, x, y)` returns the gradient of `loss_fn` with respect to `params`, a pytree with the structure of `params`. The mean in `loss_fn` is over *all* elements of the output.
#
# The derivative of the ReLU at exactly 0 is 0.
#
# The check compares shapes and values, and tests purity. `jax.grad` would pass, but reverse mode is easier to understand if you have done it by hand once.

# %% exercise="backprop"
def backprop(params, x: Float[Array, "batch inputs"], y: Float[Array, "batch outputs"]):
    """Gradient of `mean((mlp(params, x) - y) ** 2)` with respect to `params`."""
    ### BEGIN SOLUTION
    hidden = jnp.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    d_output = 2 * (output - y) / y.size
    d_hidden = d_output @ params["output"]["w"].T * (hidden > 0)
    return {
        "hidden": {"w": x.T @ d_hidden, "b": d_hidden.sum(axis=0)},
        "output": {"w": hidden.T @ d_output, "b": d_output.sum(axis=0)},
    }
    ### END SOLUTION

# %% [markdown] hints="backprop"
# <details><summary>Hint 1: the idea</summary>
#
# Compute the forward pass and keep `hidden`. Going backwards, compute the gradient with respect to the output, and from it that with respect to `hidden`. A ReLU passes a gradient on where its input is positive.
# </details>
# <details><summary>Hint 2: the shapes</summary>
#
# A gradient has the shape of its parameter. From `x` of `(batch, inputs)` and `d_hidden` of `(batch, hidden)`, only one product has the shape `(inputs, hidden)`.
# </details>
# <details><summary>Hint 3: the biases</summary>
#
# A bias is broadcast over the batch. The transpose of broadcasting is a sum.
# </details>

# %% check="backprop" points=3
def relu_mlp_loss(params, x, y):
    hidden = np.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    return np.mean((hidden @ params["output"]["w"] + params["output"]["b"] - y) ** 2)


def nudged(params, x, y, layer, name, position, change):
    copy = {key: {part: np.array(leaf, np.float64) for part, leaf in params[key].items()} for key in params}
    copy[layer][name].flat[position] += change
    return relu_mlp_loss(copy, x, y)


def slope(params, x, y, layer, name):
    leaf = np.asarray(params[layer][name])
    return np.reshape(
        [
            (nudged(params, x, y, layer, name, i, 1e-6) - nudged(params, x, y, layer, name, i, -1e-6)) / 2e-6
            for i in range(leaf.size)
        ],
        leaf.shape,
    )


def slopes(params, x, y):
    return {layer: {name: slope(params, x, y, layer, name) for name in params[layer]} for layer in params}


def with_gate(gate):
    def backwards(params, x, y):
        before = x @ params["hidden"]["w"] + params["hidden"]["b"]
        hidden = np.maximum(before, 0)
        d_output = 2 * (hidden @ params["output"]["w"] + params["output"]["b"] - y) / y.size
        d_hidden = d_output @ params["output"]["w"].T
        d_hidden = d_hidden * gate(before, d_hidden)
        return {
            "hidden": {"w": x.T @ d_hidden, "b": d_hidden.sum(axis=0)},
            "output": {"w": hidden.T @ d_output, "b": d_output.sum(axis=0)},
        }

    return backwards


def mlp_case(seed, batch, inputs, hidden, outputs, scale=1.0):
    draw = np.random.default_rng(seed).normal
    params = {
        "hidden": {"w": draw(size=(inputs, hidden)), "b": draw(size=hidden)},
        "output": {"w": draw(size=(hidden, outputs)), "b": draw(size=outputs)},
    }
    return params, scale * draw(size=(batch, inputs)), scale * draw(size=(batch, outputs))


check_shape(
    backprop,
    *mlp_case(0, 5, 3, 4, 2),
    returns={"hidden": {"w": "3 4", "b": "4"}, "output": {"w": "4 2", "b": "2"}},
)
check_values(
    backprop,
    slopes,
    [mlp_case(1, 5, 3, 4, 2), mlp_case(2, 4, 2, 5, 3), mlp_case(6, 20, 3, 2, 4), mlp_case(7, 5, 3, 4, 2, 30.0)],
    atol=1e-5,
    mistakes={
        "the derivative of the ReLU is missing": with_gate(lambda before, d_hidden: 1),
        "the ReLU mask is computed from the gradient, not from the input": with_gate(lambda before, d_hidden: d_hidden > 0),
        "multiplied by the value of the ReLU, not by its derivative": with_gate(lambda before, d_hidden: np.maximum(before, 0)),
    },
)
def with_zeros(params, x, y):
    """Biases of zero and two rows of zeros: their hidden units are exactly 0 before the ReLU."""
    hidden = {"w": params["hidden"]["w"], "b": 0 * params["hidden"]["b"]}
    return {**params, "hidden": hidden}, x * np.array([1, 0, 0, 1, 1])[:, None], y


check_values(
    backprop,
    with_gate(lambda before, d_hidden: before > 0),
    [with_zeros(*mlp_case(4, 5, 3, 4, 2))],
    mistakes={
        "the ReLU passes the gradient on where its input is 0": with_gate(lambda before, d_hidden: before >= 0),
        "the ReLU passes half of the gradient on where its input is 0":
            with_gate(lambda before, d_hidden: 0.5 * (before > 0) + 0.5 * (before >= 0)),
    },
    about="where the input of a ReLU is 0",
)
check_pure(backprop, *mlp_case(0, 5, 3, 4, 2))
### BEGIN HIDDEN TESTS
check_values(backprop, slopes, [mlp_case(3, 1, 4, 5, 3), mlp_case(5, 6, 2, 3, 1)], atol=1e-5)
### END HIDDEN TESTS

# %% [markdown]
# ## 2.5 Register your own class as a pytree
#
# To JAX an object of an unknown class is a leaf that is not an array, and `grad` and `jit` raise an error. Two functions make it a pytree. One splits it into *children* (arrays or more pytrees) and *auxiliary data* (everything else), the other rebuilds it. The auxiliary data must be hashable and have a meaningful `==`, because `jit` traces again for a new value.

# %% tags=["demonstration"]
@jax.tree_util.register_pytree_node_class
class Interval:
    def __init__(self, low, high, unit):
        self.low, self.high, self.unit = low, high, unit

    def tree_flatten(self):
        return (self.low, self.high), self.unit

    @classmethod
    def tree_unflatten(cls, unit, children):
        return cls(*children, unit)


wider = jax.tree.map(lambda bound: 10 * bound, Interval(1.0, 2.0, "metres"))
wider.low, wider.high, wider.unit

# %% [markdown]
# JAX often rebuilds such objects with tracers, `None` or strings at the leaves. So `tree_unflatten` must store its arguments without converting or inspecting them.
#
# ### Make a layer a pytree
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# Make `Layer` a pytree with two leaves, `w` and `b`, in that order.
#
# `activation` is not a leaf. It is kept when the object is rebuilt, and two layers with different activations have different structures.
#
# The check looks at the leaves, calls one jitted function with layers of three activations, and maps `w` and `b` to strings.

# %% exercise="Layer"
class Layer:
    """`activation(x @ w + b)`, where `activation` is the name of a function in `jax.nn`."""

    def __init__(self, w, b, activation="relu"):
        self.w, self.b, self.activation = w, b, activation

    def __call__(self, x: Float[Array, "batch inputs"]) -> Float[Array, "batch outputs"]:
        return getattr(jax.nn, self.activation)(x @ self.w + self.b)

    ### BEGIN SOLUTION
    def tree_flatten(self):
        return (self.w, self.b), self.activation

    @classmethod
    def tree_unflatten(cls, activation, children):
        return cls(*children, activation)


jax.tree_util.register_pytree_node_class(Layer)
### END SOLUTION

# %% [markdown] hints="Layer"
# <details><summary>Hint 1: the idea</summary>
#
# For each attribute, ask whether you would differentiate with respect to it. If so, it is a child, otherwise auxiliary data. Then look at `Interval` again.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# Either two methods and `jax.tree_util.register_pytree_node_class` (as a decorator, or called with the class afterwards), or two functions and `register_pytree_node`, or a dataclass and `register_dataclass` with `data_fields` and `meta_fields`.
# </details>

# %% check="Layer" points=3
def tanh_layer(w, b, x):
    return np.tanh(x @ w + b)


def three_layers(w, b, x):
    z = x @ w + b
    return np.stack([np.tanh(z), 0.5 + 0.5 * np.tanh(z / 2), np.maximum(z, 0)])


def always_the(place, w, b, x):
    return np.stack([three_layers(w, b, x)[place]] * 3)


def through_jit(make, w, b, x):
    """One compiled function, called with three layers."""
    compiled = jax.jit(lambda layer, x: layer(x))
    layers = make(w, b, "tanh"), make(w, b, "sigmoid"), make(w, b)
    return jnp.stack([compiled(layer, x) for layer in layers])


def leaves_in_order(make, w, b):
    return jax.tree.leaves(make(w, b))


def all_labelled(make, w, b):
    labels = jax.tree.map(lambda leaf: "trainable", make(w, b))
    return jnp.asarray([labels.w == "trainable", labels.b == "trainable"])


check_values(
    through(leaves_in_order, Layer),
    lambda w, b: [w, b],
    sweep("n m", "m", count=2, planted=True),
    about="the leaves",
)
check_values(
    through(through_jit, Layer),
    three_layers,
    sweep("n m", "m", "k n", count=2, planted=True),
    about="as an argument of a compiled function, with tanh, sigmoid and ReLU",
    mistakes={
        "the activation is lost when the object is rebuilt": partial(always_the, 2),
        "layers that differ in their activation alone count as equal": partial(always_the, 0),
    },
)
check_values(
    through(all_labelled, Layer),
    lambda w, b: np.array([True, True]),
    sweep("3 2", "2", count=1),
    about="with strings at its leaves",
)
### BEGIN HIDDEN TESTS
def step_with_tanh(make, w, b, x):
    layer = make(w, b, "tanh")
    grads = jax.grad(lambda layer: jnp.sum(layer(x)))(layer)
    return jax.tree.map(lambda p, g: p + 0 * g, layer, grads)(x)


check_values(through(step_with_tanh, Layer), tanh_layer, sweep("3 2", "2", "4 3", count=2, seed=8))
### END HIDDEN TESTS

# %% [markdown]
# This is a good place for a break.
#
# ## 2.6 Forward and reverse mode: jvp and vjp
#
# Let $J$ be the Jacobian of $f$ at $x$, with one row for each output and one column for each input.
#
# - `jax.jvp(f, (x,), (v,))` is forward mode. It returns $f(x)$ and the product $Jv$ with the *tangent* $v$.
# - `jax.vjp(f, x)` is reverse mode. It returns $f(x)$ and a function that maps a *cotangent* $u$ to $(u^\top J,)$, a tuple with one entry for each argument of $f$.
#
# Neither builds $J$, and each costs a small multiple of one call of $f$. `grad` is `vjp` with $u = 1$. For $J$ itself, use `jax.jacfwd` (a column at a time, for few inputs) or `jax.jacrev` (a row at a time, for few outputs).

# %% tags=["demonstration"]
def polar(point):
    r, angle = point
    return jnp.stack([r * jnp.cos(angle), r * jnp.sin(angle), r])


point = jnp.array([2.0, 0.0])
_, pushed = jax.jvp(polar, (point,), (jnp.array([0.0, 1.0]),))
_, pull = jax.vjp(polar, point)
print("a column:", pushed, "a row:", pull(jnp.array([1.0, 0.0, 0.0])))
print(jax.jacfwd(polar)(point))

# %% [markdown]
# ### A Gauss-Newton product without the Jacobian
# **Exercise** · 5 minutes · difficulty 3 of 5
#
# `gauss_newton(f, x, v)` returns $J^\top J v$, with the shape of `x`.
#
# `x` and `f(x)` may have any shape. $J$ is the Jacobian of the flattened arrays.
#
# The check compares shapes and values, tests purity, and looks at the arrays in the traced program. None may be much larger than `x` or `f(x)`.

# %% exercise="gauss_newton"
def gauss_newton(f, x: Float[Array, "*shape"], v: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`J.T @ J @ v`, where `J` is the Jacobian of `f` at `x` for the flattened arrays."""
    ### BEGIN SOLUTION
    _, pushed = jax.jvp(f, (x,), (v,))
    _, pull = jax.vjp(f, x)
    (result,) = pull(pushed)
    return result
    ### END SOLUTION

# %% [markdown] hints="gauss_newton"
# <details><summary>Hint 1: the idea</summary>
#
# Read $J^\top J v$ from the right: first $Jv$ in forward mode, then the product with $J^\top$ in reverse mode.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# One `jax.jvp` and one `jax.vjp`. You need the second part of what each returns. Unpack the tuple.
# </details>

# %% check="gauss_newton" points=3
def neighbours(x):
    return jnp.concatenate([x**3, x[:-1] * x[1:]])


def jacobian_of_neighbours(x):
    n = len(x)
    products = np.zeros((n - 1, n))
    products[np.arange(n - 1), np.arange(n - 1)] = x[1:]
    products[np.arange(n - 1), np.arange(1, n)] = x[:-1]
    return np.concatenate([np.diag(3 * x**2), products])


def by_matrices(f, x, v):
    return jacobian_of_neighbours(x).T @ (jacobian_of_neighbours(x) @ v)


def whole_hessian(f, x, v):
    def gradient(x):
        values = np.concatenate([x**3, x[:-1] * x[1:]])
        return jacobian_of_neighbours(x).T @ values

    return (gradient(x + 1e-5 * v) - gradient(x - 1e-5 * v)) / 2e-5


def ignores_v(f, x, v):
    return jacobian_of_neighbours(x).T @ np.concatenate([x**3, x[:-1] * x[1:]])


def gram(x):
    return x.T @ x


def gram_by_hand(f, x, v):
    pushed = v.T @ x + x.T @ v
    return x @ (pushed + pushed.T)


check_shape(gauss_newton, neighbours, np.ones(5), np.ones(5), returns="n", n=5)
check_values(
    gauss_newton,
    by_matrices,
    sweep(neighbours, "n", "n", planted=True),
    mistakes={
        "the whole Hessian of half the squared length": whole_hessian,
        "the value of f is pulled back": ignores_v,
    },
    about="vectors",
)
check_values(
    gauss_newton,
    gram_by_hand,
    sweep(gram, "n m", "n m", count=2, seed=9),
    about="matrices",
)
check_pure(gauss_newton, neighbours, np.ones(5), np.ones(5))
check_primitives(gauss_newton, neighbours, np.ones(50), np.ones(50), max_elements=200)
### BEGIN HIDDEN TESTS
def squared_length(x):
    return jnp.sum(x**2)


check_values(
    gauss_newton,
    lambda f, x, v: 4 * x * np.sum(x * v),
    sweep(squared_length, "3 2", "3 2", count=2, seed=16),
)
### END HIDDEN TESTS

# %% [markdown]
# ## 2.7 Hessians and Hessian-vector products
#
# `jax.hessian(f)` is `jacfwd(jacrev(f))`: forward mode over reverse mode.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# `f` maps an array of shape `(2, 3)` to a scalar. What is the shape of `jax.hessian(f)(x)`?

# %% exercise="hessian_shape" kind="prediction"
# A tuple of integers.
### BEGIN SOLUTION
hessian_shape = (2, 3, 2, 3)
### END SOLUTION

# %% check="hessian_shape" points=1
check_answer(
    hessian_shape,
    lambda: jax.eval_shape(jax.hessian(lambda x: jnp.sum(x**3)), jnp.ones((2, 3))).shape,
    because="Each derivative appends the shape of the input. Nothing is flattened.",
    mistakes={
        (6, 6): "JAX does not flatten: the shape of the input is appended twice",
        (2, 3): "that is the shape of the gradient; the second derivative appends it again",
        (3, 3): "there is an entry for each pair of elements of the input, not of its columns",
        (2, 2): "there is an entry for each pair of elements of the input, not of its rows",
    },
)

# %% [markdown]
# The Hessian of the network in lesson 08, with 235,000 parameters, has 55 billion elements. Most methods need only the product $Hv$: the change of the *gradient* along $v$.
#
# ### A Hessian-vector product
# **Exercise** · 4 minutes · difficulty 3 of 5
#
# `hvp(f, x, v)` returns $Hv$, with the shape of `x`, for a scalar function `f`.
#
# `x` may have any shape.
#
# The check compares shapes and values, tests purity, and looks at the arrays in the traced program. None may be much larger than `x`.

# %% exercise="hvp"
def hvp(f, x: Float[Array, "*shape"], v: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The Hessian of the scalar function `f` at `x`, times `v`."""
    ### BEGIN SOLUTION
    return jax.jvp(jax.grad(f), (x,), (v,))[1]
    ### END SOLUTION

# %% [markdown] hints="hvp"
# <details><summary>Hint 1: the idea</summary>
#
# `jax.grad(f)` is a function. Its Jacobian is the Hessian of `f`.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# Which of the two functions of 2.6 multiplies a Jacobian by a vector on the right? (The other works too, because a Hessian is symmetric.)
# </details>

# %% check="hvp" points=2
def chain(x):
    return jnp.sum(x[:-1] ** 2 * x[1:])


def hessian_of_chain(x):
    after, before = np.append(x[1:], 0.0), 2 * x[:-1]
    return np.diag(2 * after) + np.diag(before, 1) + np.diag(before, -1)


def gradient_of_chain(f, x, v):
    return 2 * x * np.append(x[1:], 0.0) + np.append(0.0, x[:-1] ** 2)


def row_of_sums_squared(x):
    return jnp.sum(jnp.sum(x, axis=0) ** 2)


def added_over_rows(f, x, v):
    return 2 * np.broadcast_to(v.sum(axis=0), v.shape)


def squared_length_squared(x):
    return jnp.sum(x**2) ** 2


def curvature_along(f, x, v):
    return 4 * np.sum(x**2) * v + 8 * x * np.sum(x * v)


check_shape(hvp, chain, np.ones(5), np.ones(5), returns="n", n=5)
check_values(
    hvp,
    lambda f, x, v: hessian_of_chain(x) @ v,
    sweep(chain, "n", "n", planted=True),
    mistakes={
        "the gradient, not its change along v": gradient_of_chain,
        "the row sums of the Hessian times v": lambda f, x, v: hessian_of_chain(x).sum(axis=0) * v,
        "the diagonal of the Hessian times v": lambda f, x, v: np.diag(hessian_of_chain(x)) * v,
    },
    about="vectors",
)
check_values(
    hvp,
    added_over_rows,
    sweep(row_of_sums_squared, "n m", "n m", count=2, seed=11),
    about="matrices",
)
check_pure(hvp, chain, np.ones(5), np.ones(5))
check_primitives(hvp, chain, np.ones(50), np.ones(50), max_elements=200)
### BEGIN HIDDEN TESTS
check_values(hvp, curvature_along, sweep(squared_length_squared, "", "", count=2, seed=17))
### END HIDDEN TESTS

# %% [markdown]
# ## 2.8 stop_gradient: treat a value as a constant
#
# `jax.lax.stop_gradient(x)` returns `x`, and its derivative is zero.
#
# > **In PyTorch** this is `x.detach()`. In JAX it acts inside the function that you differentiate, because arrays carry no history.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# Let `g(x) = x * jax.lax.stop_gradient(x)`. What are `jax.grad(g)(3.0)` and `jax.grad(jax.grad(g))(3.0)`?

# %% exercise="half_stopped" kind="prediction"
# A tuple of two numbers.
### BEGIN SOLUTION
half_stopped = (3.0, 0.0)
### END SOLUTION

# %% check="half_stopped" points=1
def derivatives_of_half_stopped():
    def g(x):
        return x * jax.lax.stop_gradient(x)

    return float(jax.grad(g)(3.0)), float(jax.grad(jax.grad(g))(3.0))


check_answer(
    half_stopped,
    derivatives_of_half_stopped,
    because="The first derivative is the factor under `stop_gradient`, 3.0. Its own derivative is zero.",
    mistakes={
        (6.0, 2.0): "that is x**2 without `stop_gradient`: one of the two factors is a constant",
        (3.0, 1.0): "the first derivative is the factor under `stop_gradient`, a constant in the second too",
        (0.0, 0.0): "only one of the two factors is under `stop_gradient`",
    },
)

# %% [markdown]
# ### Bug hunt: an agent that does not learn
#
# Temporal-difference learning trains a value function $V(s) = \phi(s)\cdot w$. The target for $V(s)$ is the reward plus the discounted $V$ of the next state, and counts as a constant. In this chain of two states, leaving the second gives the reward 1. With discount 0.9 the values should be 0.9 and 1.

# %% tags=["demonstration"]
def td_loss_broken(w, features, next_features, rewards, discount):
    values = jax.lax.stop_gradient(features @ w)
    targets = rewards + discount * next_features @ w
    return jnp.mean((targets - values) ** 2)


w, states, next_states = jnp.zeros(2), jnp.eye(2), jnp.array([[0.0, 1.0], [0.0, 0.0]])
for _ in range(50):
    w -= 0.5 * jax.grad(td_loss_broken)(w, states, next_states, jnp.array([0.0, 1.0]), 0.9)
print("learned:", w)

# %% [markdown]
# After 50 steps both values are still zero, although the loss has the right value.
#
# ### Correct the loss
# **Exercise** · 5 minutes · difficulty 3 of 5
#
# `td_loss` returns the same scalar as `td_loss_broken`. Its gradient treats the targets as constants, so that only the values move.
#
# The check compares the loss and its gradient for several batches and discounts, and tests purity.

# %% exercise="td_loss"
def td_loss(
    w: Float[Array, "features"],
    features: Float[Array, "batch features"],
    next_features: Float[Array, "batch features"],
    rewards: Float[Array, "batch"],
    discount: float,
) -> Float[Array, ""]:
    """Mean squared temporal difference, with the targets as constants."""
    ### BEGIN SOLUTION
    targets = rewards + discount * next_features @ w
    return jnp.mean((jax.lax.stop_gradient(targets) - features @ w) ** 2)
    ### END SOLUTION

# %% [markdown] hints="td_loss"
# <details><summary>Hint 1: the idea</summary>
#
# `w` is used in two places. Through which one should the gradient flow? Compare with the broken loss.
# </details>
# <details><summary>Hint 2: wrong corrections</summary>
#
# Without `stop_gradient` the gradient flows through both places, and also changes the targets. With `stop_gradient` around `w` or around the whole difference, it is zero.
# </details>

# %% check="td_loss" points=3
def td_value(w, features, next_features, rewards, discount):
    return np.mean((rewards + discount * next_features @ w - features @ w) ** 2)


def td_direction(w, features, next_features, rewards, discount, drag=0.0):
    difference = rewards + discount * next_features @ w - features @ w
    return 2 * (drag * discount * next_features - features).T @ difference / len(rewards)


def td_gradient(loss, w, features, next_features, rewards, discount):
    return jax.grad(loss)(w, features, next_features, rewards, discount)


def through_targets_only(w, features, next_features, rewards, discount):
    return td_direction(w, 0 * features, next_features, rewards + (-features) @ w, discount, drag=1.0)


check_values(
    td_loss,
    td_value,
    sweep("n", "batch n", "batch n", "batch", 0.9, count=2, planted=True),
    about="the loss",
    mistakes={"half of the mean square is returned": lambda *arguments: td_value(*arguments) / 2},
)
check_values(
    through(td_gradient, td_loss),
    td_direction,
    sweep("n", "batch n", "batch n", "batch", 0.9, count=2, seed=1, planted=True),
    about="its gradient",
    mistakes={
        "the gradient flows through the targets too": lambda *arguments: td_direction(*arguments, drag=1.0),
        "the gradient flows through the targets and not through the values": through_targets_only,
    },
)
check_pure(td_loss, np.zeros(3), np.ones((5, 3)), np.ones((5, 3)), np.ones(5), 0.9)
### BEGIN HIDDEN TESTS
check_values(
    through(td_gradient, td_loss),
    td_direction,
    sweep("2", "7 2", "7 2", "7", 0.5, count=2, seed=12, scale=10.0)
    + sweep("4", "1 4", "1 4", "1", 1.0, count=1, seed=13),
    mistakes={"the discount that is passed is not used": lambda *arguments: td_direction(*arguments[:-1], 0.9)},
)
### END HIDDEN TESTS

# %% [markdown]
# ## 2.9 NaN gradients and where
#
# At a kink a function has no derivative. JAX returns a number all the same:

# %% tags=["demonstration"]
print(jax.grad(jnp.abs)(0.0), jax.grad(jax.nn.relu)(0.0))

# %% [markdown]
# **Prediction** · 1 minute · difficulty 2 of 5
#
# What is `jax.grad(lambda x: jnp.maximum(x, 0.0))(0.0)`, for the same ReLU written with `maximum`?

# %% exercise="kink" kind="prediction"
# A number.
### BEGIN SOLUTION
kink = 0.5
### END SOLUTION

# %% check="kink" points=1
check_answer(
    kink,
    lambda: float(jax.grad(lambda x: jnp.maximum(x, 0.0))(0.0)),
    because="At a tie `maximum` passes half of the gradient to each argument. `jax.nn.relu` has its own rule, which gives 0.",
    mistakes={
        0.0: "that is the rule of `jax.nn.relu`; `maximum` divides the gradient between equal arguments",
        1.0: "`maximum` divides the gradient between equal arguments",
    },
)

# %% [markdown]
# A kink is harmless. The next case is not.
#
# ### Bug hunt: a NaN gradient behind where
#
# Now differentiate `unit_rows` of lesson 01. The next cell has one that passes the check there. You can paste yours in its place.

# %% tags=["demonstration"]
def unit_rows_of_01(x):
    length = jnp.sqrt(jnp.sum(x**2, axis=1, keepdims=True))
    return x / jnp.where(length == 0, 1, length)


rows = jnp.array([[3.0, 4.0], [0.0, 0.0]])
print(unit_rows_of_01(rows))
print(jax.grad(lambda x: jnp.sum(unit_rows_of_01(x)))(rows))

# %% [markdown]
# The values are right, but the gradient has NaN. `where` computes *both* branches and selects. In the backward pass the branch that was not selected gets the cotangent 0, and multiplies it by its derivative. The derivative of $\sqrt{s}$ at 0 is infinite, and $0 \cdot \infty$ is NaN.
#
# ### Guard the argument of sqrt
# **Exercise** · 5 minutes · difficulty 3 of 5
#
# `row_norms(x)` returns an array of shape `(batch,)`: the Euclidean length of each row, the part of `unit_rows` with the problem.
#
# The lengths are exact for short rows too, down to 1e-15. The gradient at a row of zeros is zero.
#
# The check compares shapes, values and gradients, and tests purity.

# %% exercise="row_norms"
def row_norms(x: Float[Array, "batch features"]) -> Float[Array, "batch"]:
    """Euclidean length of each row; the gradient at a row of zeros is zero."""
    ### BEGIN SOLUTION
    squares = jnp.sum(x**2, axis=1)
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1.0)), 0.0)
    ### END SOLUTION

# %% [markdown] hints="row_norms"
# <details><summary>Hint 1: the idea</summary>
#
# The square root must never get a zero, not even in the branch that is not selected.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# Use one `where` before the square root, to replace zero by any positive number, and one after it, to select the result.
# </details>
# <details><summary>Hint 3: what does not help</summary>
#
# `nan_to_num` on the value does not change the gradient's NaN. A small number added under the root changes the length of short rows.
# </details>

# %% check="row_norms" points=3
def lengths(x):
    return np.sqrt(np.sum(x**2, axis=1))


def unit_rows(x):
    return np.divide(x, lengths(x)[:, None], out=np.zeros_like(x), where=lengths(x)[:, None] > 0)


def gradient_of_weighted_sum(f, x, weights):
    return jax.grad(lambda x: jnp.sum(weights * f(x)))(x)


def weighted_unit_rows(x, weights):
    return weights[:, None] * unit_rows(x)


some_rows = np.array([[3.0, 4.0], [0.0, 0.0], [-300.0, 400.0], [2.0, -2.0]])
check_shape(row_norms, np.ones((4, 2)), returns="batch", batch=4)
check_values(
    row_norms,
    lengths,
    [(some_rows,), *sweep("batch features", planted=True)],
    about="the lengths",
    mistakes={
        "a small number was added under the root": lambda x: np.sqrt(lengths(x) ** 2 + 1e-6),
        "short rows are treated as zero: compare with 0 itself":
            lambda x: np.where(lengths(x) > 1e-3, lengths(x), 0.0),
        "a row of zeros has length 1": lambda x: np.where(lengths(x) > 0, lengths(x), 1.0),
    },
)
check_values(
    row_norms,
    lengths,
    [(np.array([[3e-15, 4e-15], [0.0, 0.0], [0.0, -1e-15]]),)],
    atol=1e-20,
    about="the lengths of short rows",
    mistakes={
        "short rows are treated as zero: compare with 0 itself": lambda x: 0 * lengths(x),
        "a number as small as 1e-12 under the root is too large for these rows":
            lambda x: np.sqrt(lengths(x) ** 2 + 1e-12),
    },
)
check_values(
    through(gradient_of_weighted_sum, row_norms),
    weighted_unit_rows,
    [(some_rows, np.ones(4)), (some_rows, np.array([1.0, 2.0, -3.0, 0.5])), *sweep("n m", "n", planted=True)],
    about="the gradient of their weighted sum",
    mistakes={"the cotangent is ignored": lambda x, weights: unit_rows(x)},
)
check_pure(row_norms, some_rows)
### BEGIN HIDDEN TESTS
tiny_rows = np.array([[3e-5, 4e-5, 0.0], [0.0, 0.0, 0.0], [6e-3, 8e-3, 0.0]])
check_values(
    through(gradient_of_weighted_sum, row_norms),
    weighted_unit_rows,
    [(tiny_rows, np.ones(3)), (1e-10 * tiny_rows, np.ones(3))],
    mistakes={
        "a small number is added to the length that the gradient divides by":
            lambda x, weights: x / (lengths(x)[:, None] + 1e-6),
    },
)
### END HIDDEN TESTS

# %% [markdown]
# ## 2.10 custom_vjp and custom_jvp: your own derivative rules
#
# With `jax.custom_vjp` you write a function, a *forward rule* that returns its value and the *residuals* (whatever the backward pass needs), and a *backward rule*, which takes the residuals and the cotangent and returns a tuple with one cotangent for each argument. JAX does not cast these cotangents, so keep the dtype of the argument. Here is the identity with a clipped gradient:

# %% tags=["demonstration"]
@jax.custom_vjp
def bounded(x, limit):
    return x


def bounded_forward(x, limit):
    return x, limit


def bounded_backward(limit, cotangent):
    return jnp.clip(cotangent, -limit, limit), jnp.zeros_like(limit)


bounded.defvjp(bounded_forward, bounded_backward)
print(jax.grad(lambda x: x**2)(10.0), jax.grad(lambda x: bounded(x, 1.0) ** 2)(10.0))

# %% [markdown]
# > **In PyTorch** this is a `torch.autograd.Function`. Instead of `ctx.save_for_backward` you return the residuals.
#
# Networks with one-bit weights need such a rule, because the derivative of the sign function is zero. The *straight-through estimator* uses the gradient of a similar ramp instead:

# %% tags=["demonstration"]
grid = jnp.linspace(-2, 2, 401)
figure, (left, right) = plt.subplots(
    1, 2, num="Sign function and ramp, and their gradients",
    figsize=(9, 3),
)
left.plot(grid, jnp.sign(grid), label="forward: the sign")
left.plot(grid, jnp.clip(grid, -1, 1), "--", label="ramp")
right.plot(grid, jax.vmap(jax.grad(jnp.sign))(grid), label="true gradient: 0")
right.plot(grid, jax.vmap(jax.grad(lambda x: jnp.clip(x, -1, 1)))(grid), "--", label="straight-through")
for panel in (left, right):
    panel.set_xlabel("x")
    panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
plt.show()

# %% [markdown]
# *Left: the sign function jumps from -1 to 1 at zero, and the ramp rises from -1 to 1 between x = -1 and x = 1. Right: the gradient of the sign is zero. The straight-through gradient is 1 between -1 and 1, and 0 outside.*
#
# ### A straight-through estimator
# **Exercise** · 7 minutes · difficulty 4 of 5
#
# `binarise(x)` returns an array with the shape and dtype of `x`: 1 where $x \ge 0$ and -1 elsewhere. In the backward pass it returns the cotangent where $|x| \le 1$ and zero elsewhere, in the dtype of `x`. No element of `x` is larger than 10,000 in magnitude.
#
# At $x = 0$ the value is 1. At $x = \pm 1$ the whole cotangent is passed on.
#
# The check compares values, cotangents and dtypes, and tests that the backward pass is pure.

# %% exercise="binarise"
def binarise(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """1 where `x >= 0`, else -1; in the backward pass the cotangent where `|x| <= 1`, else zero."""
    ### BEGIN SOLUTION
    return jnp.where(x >= 0, 1, -1).astype(x.dtype)


def binarise_forward(x):
    return binarise(x), jnp.abs(x) <= 1


def binarise_backward(inside, cotangent):
    return (jnp.where(inside, cotangent, 0),)


binarise = jax.custom_vjp(binarise)
binarise.defvjp(binarise_forward, binarise_backward)
### END SOLUTION

# %% [markdown] hints="binarise"
# <details><summary>Hint 1: the idea</summary>
#
# The backward rule must know which elements were inside. Pass that on as residuals.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# The forward rule takes `x` and returns `(value, residuals)`. The backward rule takes `(residuals, cotangent)` and returns a tuple of one element. Join them with `binarise.defvjp(forward, backward)`. For the dtype, use `.astype(x.dtype)`.
# </details>
# <details><summary>Hint 3: without custom_vjp</summary>
#
# You can also add a correction under `stop_gradient` to a function that has the gradient of the ramp. (`jnp.clip` passes half of the cotangent at -1 and 1, `jax.nn.hard_tanh` all of it.)
# </details>

# %% check="binarise" points=3
def one_bit(x):
    return np.where(x >= 0, 1.0, -1.0)


def passed_on(x, cotangent):
    return cotangent * (np.abs(x) <= 1)


def pulled_back(f, x, cotangent):
    return jax.vjp(f, x)[1](cotangent)[0]


def value_and_cotangent(f, x):
    value, pull_back = jax.vjp(f, x)
    return value, pull_back(value)[0]


edges = np.array([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5])
near_edges = np.float32([-1.0001, -0.9999, -1e-20, -0.0, 1e-20, 0.9999, 1.0001])
check_values(
    binarise,
    one_bit,
    [(edges,), (near_edges,), *sweep("n m", planted=True)],
    about="the values",
    mistakes={"a third value, 0, at zero": np.sign},
)
check_values(
    through(pulled_back, binarise),
    passed_on,
    [
        (edges, np.arange(7.0) - 3.5),
        (near_edges, np.arange(7.0) - 3.5),
        *sweep("20", "20", count=1),
        *sweep("n m", "n m", planted=True),
    ],
    about="the cotangents",
    mistakes={
        "the cotangent is passed on everywhere, outside too": lambda x, cotangent: cotangent,
        "the cotangent is zero everywhere": lambda x, cotangent: 0 * cotangent,
        "the cotangent is ignored": lambda x, cotangent: 1.0 * (np.abs(x) <= 1),
        "the cotangent is not passed on at -1 and 1": lambda x, cotangent: cotangent * (np.abs(x) < 1),
        "half of the cotangent is passed on at -1 and 1": lambda x, cotangent: cotangent * ((np.abs(x) < 1) + 0.5 * (np.abs(x) == 1)),
        "the slope of tanh": lambda x, cotangent: cotangent * (1 - np.tanh(x) ** 2),
    },
)
check_pure(through(pulled_back, binarise), np.linspace(-2, 2, 20), np.ones(20))
check_dtype(through(value_and_cotangent, binarise), jnp.ones(4, jnp.bfloat16), returns=("bfloat16", "bfloat16"))
### BEGIN HIDDEN TESTS
check_values(through(pulled_back, binarise), passed_on, sweep("3 4", uniform("3 4", -100.0, 100.0), count=2, seed=14))
### END HIDDEN TESTS

# %% [markdown]
# ### custom_jvp: one rule for both modes
#
# `jax.custom_jvp` takes one rule. It gets the arguments and their tangents, and returns the value and its tangent, which must be *linear* in the tangents that come in. JAX transposes the rule for reverse mode, and differentiates it for second derivatives. The next cell compares $\log \cosh x$ without and with a rule, at 50. The second derivative is $1 - \tanh^2 x$, practically 0.

# %% tags=["demonstration"]
def plain(x):
    return jnp.log(jnp.cosh(x))


log_cosh = jax.custom_jvp(plain)


@log_cosh.defjvp
def log_cosh_rule(primals, tangents):
    (x,), (tangent,) = primals, tangents
    return log_cosh(x), jnp.tanh(x) * tangent


for f in (plain, log_cosh):
    print(f(50.0), jax.grad(f)(50.0), jax.grad(jax.grad(f))(50.0))
try:
    jax.jvp(bounded, (10.0, 1.0), (1.0, 0.0))
except TypeError as error:
    print("custom_vjp:", error)

# %% [markdown]
# Without the rule the first derivative is right and the second is wrong: `cosh(x)**2` overflows. The last line shows the price of `custom_vjp`. Such a function has no forward mode, so `jax.jvp` raises, and `hvp` and `jax.hessian` raise too if its forward rule calls the decorated function.
#
# A rule is *needed* where the algorithm has no useful derivative. How large is a number $t$ such that about $k$ of the scores $x_i$ are above it? A smooth version solves $\sum_i \sigma(x_i - t) = k$, with $\sigma(z) = 1/(1 + e^{-z})$. Here it is solved by bisection:

# %%
def by_bisection(x, k):
    low, high = x.min() - 20, x.max() + 20
    for _ in range(30):
        middle = (low + high) / 2
        too_low = jnp.sum(jax.nn.sigmoid(x - middle)) > k
        low, high = jnp.where(too_low, middle, low), jnp.where(too_low, high, middle)
    return middle

# %% tags=["demonstration"]
scores = jnp.array([2.0, -1.0, 0.5, 1.0])
t = by_bisection(scores, 2.0)
print("t:", t, "sum of the sigmoids:", jax.nn.sigmoid(scores - t).sum())
print("gradients:", *jax.grad(by_bisection, argnums=(0, 1))(scores, 2.0))

# %% [markdown]
# The value is right. The gradients are those of the starting interval, and wrong.
#
# ### A soft threshold with derivatives of every order
# **Exercise** · 10 minutes · difficulty 4 of 5
#
# `threshold(x, k)` returns the scalar `by_bisection(x, k)`, with the derivatives of the exact solution with respect to `x` and `k`. Differentiate both sides of the equation. With $p_i = \sigma(x_i - t)$ and $w_i = p_i (1 - p_i)$,
#
# $$\sum_i w_i \, (dx_i - dt) = dk.$$
#
# `k` is a float between 0 and the number of scores, and need not be whole. It may be close to 0 or to the number of scores, and the scores may be up to 20 apart.
#
# The check compares the value, the first and second derivatives in both modes, and a fourth derivative. It also tests `vmap` and purity.

# %% exercise="threshold"
def threshold(x: Float[Array, "n"], k: Float[Array, ""]) -> Float[Array, ""]:
    """The `t` for which the sigmoids of `x - t` sum to `k`, with derivatives of every order."""
    ### BEGIN SOLUTION
    return by_bisection(x, k)


def threshold_rule(primals, tangents):
    (x, k), (dx, dk) = primals, tangents
    t = threshold(x, k)
    p = jax.nn.sigmoid(x - t)
    w = p * (1 - p)
    return t, (jnp.vdot(w, dx) - dk) / jnp.sum(w)


threshold = jax.custom_jvp(threshold)
threshold.defjvp(threshold_rule)
### END SOLUTION

# %% [markdown] hints="threshold"
# <details><summary>Hint 1: the idea</summary>
#
# Solve the equation for $dt$. This is the tangent that the rule returns, next to the value.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `threshold = jax.custom_jvp(threshold)` and `threshold.defjvp(rule)`. The rule is called as `rule((x, k), (dx, dk))`.
# </details>
# <details><summary>Hint 3: the second derivative</summary>
#
# JAX differentiates the rule, and $t$ appears in it. Compute `t = threshold(x, k)` there, with the decorated function: `by_bisection(x, k)` has the wrong derivatives. Then `p = jax.nn.sigmoid(x - t)`.
# </details>

# %% check="threshold" points=4
def solved(x, k):
    """`t`, the weights and their derivative with respect to `x - t`."""
    low, high = x.min() - 50, x.max() + 50
    for _ in range(90):
        t = (low + high) / 2
        low, high = (t, high) if np.sum(1 / (1 + np.exp(t - x))) > k else (low, t)
    p = 1 / (1 + np.exp(t - x))
    return t, p * (1 - p), p * (1 - p) * (1 - 2 * p)


def first(x, k):
    t, w, _ = solved(x, k)
    return t, (w / w.sum(), -1 / w.sum())


def pushed_forward(x, k, dx, dk):
    t, (by_x, by_k) = first(x, k)
    return t, by_x @ dx + by_k * dk


def second(x, k, dx, dk, dt=None):
    """The change of the gradient along a tangent: differentiate w / sum(w) and -1 / sum(w)."""
    _, w, slope = solved(x, k)
    dw = slope * (dx - (pushed_forward(x, k, dx, dk)[1] if dt is None else dt))
    total = w.sum()
    return dw / total - w * dw.sum() / total**2, dw.sum() / total**2


def second_of_the_interval(x, k, dx, dk):
    return second(x, k, dx, dk, of_the_interval(x, k)[1][0] @ dx)


def of_the_interval(x, k):
    """The derivatives of the bisection: of the two ends, by the place of `t` between them."""
    t, low, high = solved(x, k)[0], x.min() - 20, x.max() + 20
    part = (t - low) / (high - low)
    return t, ((1 - part) * (x == x.min()) + part * (x == x.max()), 0.0)


def for_fixed_k(x, k):
    t, (by_x, by_k) = first(x, k)
    return t, (by_x, 0 * by_k)


def other_way(x, k):
    t, (by_x, by_k) = first(x, k)
    return t, (by_x, -by_k)


def by_probabilities(x, k):
    p = 1 / (1 + np.exp(solved(x, k)[0] - x))
    return solved(x, k)[0], (p / p.sum(), -1 / p.sum())


def value_and_slopes(f, x, k):
    return jax.value_and_grad(f, argnums=(0, 1))(x, k)


def tangent(f, x, k, dx, dk):
    return jax.jvp(f, (x, k), (dx, dk))


def slopes_along(f, x, k, dx, dk):
    gradient = jax.grad(f, argnums=(0, 1))
    return jax.jvp(gradient, (x, k), (dx, dk))[1]


some = sweep("5", uniform("", 0.5, 4.5)) + sweep("3", uniform("", 0.5, 2.5), seed=1, scale=3.0, count=1)
along = sweep("5", uniform("", 0.5, 4.5), "5", "", seed=2) + sweep("3", uniform("", 0.5, 2.5), "3", "", seed=3, count=1)
check_values(
    through(value_and_slopes, threshold),
    first,
    some,
    atol=1e-5,
    about="the value and the gradients",
    mistakes={
        "the gradients are those of the bisection": of_the_interval,
        "the tangent of `k` is left out": for_fixed_k,
        "the sign of `dk` is wrong": other_way,
        "the weights are p, not p (1 - p)": by_probabilities,
    },
)
check_values(
    through(tangent, threshold),
    pushed_forward,
    along,
    atol=1e-5,
    about="forward mode",
)
check_values(
    through(slopes_along, threshold),
    second,
    along,
    atol=1e-5,
    about="forward over reverse mode, the second derivatives",
    mistakes={
        "the rule calls `by_bisection`, whose derivatives are wrong": second_of_the_interval,
        "`t` is a constant in the rule": lambda *args: second(*args, dt=0.0),
    },
)
def fourth_derivative(f, x, k):
    slope = f
    for _ in range(4):
        slope = jax.grad(slope, argnums=1)
    return slope(x, k)


def fourth_of_one(x, k):
    """Of x - log(k / (1 - k)), which solves the equation for one score."""
    return 6 / k**4 - 6 / (1 - k) ** 4


check_values(
    through(fourth_derivative, threshold),
    fourth_of_one,
    [(np.float32([0.3]), np.float32(0.3))],
    rtol=5e-3,
    about="a fourth derivative",
)
check_batched(threshold, sweep("5", uniform("", 0.5, 4.5), seed=4), lambda x, k: solved(x, k)[0], trials=2)
check_pure(threshold, np.arange(5.0), 1.5)
### BEGIN HIDDEN TESTS
check_values(
    through(value_and_slopes, threshold),
    first,
    sweep("7", uniform("", 0.005, 0.007), seed=5)
    + sweep("7", uniform("", 6.98, 6.99), seed=6, count=1)
    + [(np.arange(5, dtype=np.float32), np.float32(1e-4))],
    atol=1e-5,
    about="`k` close to both ends",
)
check_values(
    through(value_and_slopes, threshold),
    first,
    [(np.float32([-10.0, 10.0]), np.float32(0.7)), (np.float32([-5.0, 5.0, 6.0]), np.float32(1.5))],
    atol=1e-4,
    about="scores that are far apart",
)
### END HIDDEN TESTS

# %% [markdown]
# The sigmoids of `x - t` are a soft selection of $k$ scores, with gradients for all of them. Here they are for twelve scores and $k$ from 0.5 to 11.5, by your function:

# %% tags=["demonstration", "raises-exception"]
scores = jnp.asarray(rng.normal(size=12) * 3, jnp.float32).sort()
wanted = jnp.linspace(0.5, 11.5, 45)
levels, slopes_k = jax.vmap(jax.value_and_grad(threshold, argnums=1), (None, 0))(scores, wanted)
figure, (left, right) = plt.subplots(
    1, 2, num="Selected scores and the threshold, against k",
    figsize=(10, 3.5),
)
picture = left.imshow(jax.nn.sigmoid(scores - levels[:, None]), aspect="auto", origin="lower", extent=(0.5, 12.5, 0.5, 11.5))
left.set_xlabel("scores in increasing order"), left.set_ylabel("k"), figure.colorbar(picture, ax=left, label="selected")
right.plot(wanted, levels, label="threshold")
right.plot(wanted, slopes_k, "--", label="its derivative"), right.set_xlabel("k"), right.legend()
plt.show()

# %% [markdown]
# *Left: for small k only the largest scores are selected, and more of them as k grows. Right: the threshold falls as k grows. It is steepest at both ends, where its derivative (dashed) is most negative.*
#
# ## 2.11 Fit a logistic regression: the Challenger launches
#
# On 27 January 1986, engineers argued against the launch of the space shuttle Challenger on the next day, and were overruled. The forecast was 31 °F, and rubber rings had been damaged on cold days. Here are the temperatures of 23 earlier launches, and whether a ring was damaged.

# %% tags=["demonstration"]
temperature = np.array(
    [53, 57, 58, 63, 66, 67, 67, 67, 68, 69, 70, 70, 70, 70, 72, 73, 75, 75, 76, 76, 78, 79, 81], np.float32
)
damaged = jnp.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0])
centre, spread = temperature.mean(), temperature.std()
launches = jnp.asarray((temperature - centre) / spread)[:, None]

# %% [markdown]
# In logistic regression the probability of damage is $\sigma(z)$, with $z = x w + b$ and $\sigma(z) = 1/(1 + e^{-z})$. The loss is the mean of $-\log \sigma(z)$ for launches with damage and $-\log(1 - \sigma(z))$ for the others.
#
# ### Gradient descent for logistic regression
# **Exercise** · 9 minutes · difficulty 4 of 5
#
# `fit_logistic(x, y, learning_rate, steps)` returns `(params, losses)` after `steps` steps of gradient descent from zero. `params` is `{"w": ..., "b": ...}`, with shapes `(features,)` and `()`. `losses` is an array of shape `(steps,)`: the loss *before* each step.
#
# `steps` is at least 1. Logits of a thousand must not overflow (lesson 01).
#
# The check compares shapes and values, and tests purity.

# %% exercise="fit_logistic"
def fit_logistic(
    x: Float[Array, "batch features"], y: Int[Array, "batch"], learning_rate: float, steps: int
) -> tuple[dict[str, Array], Float[Array, "steps"]]:
    """Logistic regression by gradient descent from zero: parameters, and the loss before each step."""
    ### BEGIN SOLUTION
    def loss_fn(params):
        logits = x @ params["w"] + params["b"]
        return jnp.mean(jnp.logaddexp(0.0, logits) - y * logits)

    params = {"w": jnp.zeros(x.shape[1]), "b": jnp.zeros(())}
    losses = []
    for _ in range(steps):
        loss, grads = jax.value_and_grad(loss_fn)(params)
        losses.append(loss)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
    return params, jnp.stack(losses)
    ### END SOLUTION

# %% [markdown] hints="fit_logistic"
# <details><summary>Hint 1: the idea</summary>
#
# Write a loss of one pytree, use `value_and_grad`, update every leaf, and put a Python loop around it.
# </details>
# <details><summary>Hint 2: the loss</summary>
#
# $-\log\sigma(z) = \log(1 + e^{-z})$ and $-\log(1-\sigma(z)) = \log(1 + e^{z})$. Their difference is $z$. `jnp.logaddexp` and `jax.nn.softplus` compute $\log(1+e^z)$ without overflow.
# </details>
# <details><summary>Hint 3: the losses</summary>
#
# Collect them in a list and use `jnp.stack` at the end. Keep them JAX arrays, because `float(loss)` fails when the function is traced.
# </details>

# %% check="fit_logistic" points=4
def descent(x, y, rate, steps, total=False, bias=True, after=False, factor=1.0):
    w, b, losses = np.zeros(x.shape[1]), 0.0, []
    for step in range(steps + 1):
        z = x @ w + b
        losses.append(np.mean(np.logaddexp(0, z) - y * z) * (len(y) if total else 1))
        if step < steps:
            error = (1 / (1 + np.exp(-np.clip(z, -500, 500))) - y) * factor * (1 if total else 1 / len(y))
            w, b = w - rate * x.T @ error, b - rate * bias * error.sum()
    return {"w": w, "b": b}, np.array(losses[1:] if after else losses[:-1])


check_shape(
    fit_logistic,
    np.ones((6, 2)),
    np.array([0, 1, 1, 0, 1, 1]),
    0.1,
    4,
    returns=({"w": "features", "b": ""}, "steps"),
    features=2,
    steps=4,
)
check_values(
    fit_logistic,
    descent,
    sweep("6 2", integers("6", 0, 2), 0.5, 6, count=2)
    + sweep("batch features", integers("batch", 0, 2), 2.0, 3, count=2, seed=5)
    + sweep("50 3", integers("50", 0, 2), 0.0, 2, count=1)
    + [(np.eye(3), np.ones(3, int), 0.7, 2)],
    mistakes={
        "sum instead of the mean": lambda *data: descent(*data, total=True),
        "the loss after each step": lambda *data: descent(*data, after=True),
        "the bias is never trained": lambda *data: descent(*data, bias=False),
        "the gradient is added, not subtracted": lambda *data: descent(*data, factor=-1.0),
    },
    about="the fit",
)
check_values(
    fit_logistic,
    descent,
    [(np.array([[300.0], [-200.0], [100.0]]), np.array([1, 0, 0]), 1.0, 4)],
    about="the fit with logits of a thousand",
)
check_pure(fit_logistic, np.ones((6, 2)), np.array([0, 1, 1, 0, 1, 1]), 0.1, 2, static_argnums=(3,))
### BEGIN HIDDEN TESTS
check_values(
    fit_logistic,
    descent,
    [
        *sweep("3 1", integers("3", 0, 2), 0.1, 9, count=1, seed=15),
        *sweep("6 2", integers("6", 0, 2), 0.5, 1, count=1, seed=18),
    ],
)
### END HIDDEN TESTS

# %% [markdown]
# The next cell fits the launches with your function, at three learning rates:

# %% tags=["demonstration", "raises-exception"]
plt.figure("Loss of the logistic regression for three learning rates")
for rate in (0.1, 1.0, 4.0):
    fitted, losses = fit_logistic(launches, damaged, rate, 40)
    plt.plot(losses, label=f"learning rate {rate}")
    print(rate, "w:", fitted["w"], "b:", fitted["b"])
plt.xlabel("step"), plt.ylabel("loss before the step"), plt.legend()
plt.show()

# %% [markdown]
# *Three falling curves. With a learning rate of 0.1 the loss still falls after 40 steps. With 1 it is flat after about 25, with 4 after fewer than ten.*
#
# The next cell uses Newton's method with the Hessian of 2.7. After five steps it agrees to six digits with what gradient descent with learning rate 1 reaches after two hundred.

# %% tags=["demonstration"]
def launch_loss(wb):
    logits = launches[:, 0] * wb[0] + wb[1]
    return jnp.mean(jnp.logaddexp(0.0, (1 - 2 * damaged) * logits))


derivatives = jax.jit(lambda wb: (jax.grad(launch_loss)(wb), jax.hessian(launch_loss)(wb)))
path = [jnp.zeros(2)]
for _ in range(5):
    gradient, curvature = derivatives(path[-1])
    path.append(path[-1] - jnp.linalg.solve(curvature, gradient))
w, b = path[-1]
covariance = jnp.linalg.inv(23 * curvature)
print("w, b:", w, b)
print("slope per degree:", w / spread, "standard error:", jnp.sqrt(covariance[0, 0]) / spread)

# %% tags=["demonstration"]
figure, (left, right) = plt.subplots(
    1, 2, num="Newton's path on the loss, and the fitted probability of damage",
    figsize=(10, 3.5),
)
field = jnp.stack(jnp.meshgrid(jnp.linspace(-3.5, 0.5, 16), jnp.linspace(-2.5, 0.5, 16)), axis=-1)
slopes_here = -jax.vmap(jax.vmap(jax.grad(launch_loss)))(field)
slopes_here /= jnp.linalg.norm(slopes_here, axis=-1, keepdims=True)
left.contour(field[..., 0], field[..., 1], jax.vmap(jax.vmap(launch_loss))(field), levels=20)
left.quiver(field[..., 0], field[..., 1], slopes_here[..., 0], slopes_here[..., 1], color="grey", scale=30)
left.plot(*jnp.stack(path).T, "ro-"), left.set_xlabel("w"), left.set_ylabel("b")
degrees = np.linspace(30, 85, 200)
right.plot(degrees, jax.nn.sigmoid((degrees - centre) / spread * w + b))
right.plot(temperature, damaged, "|", color="grey"), right.axvline(31, color="red")
right.set_xlabel("temperature in °F"), right.set_ylabel("probability of damage")
plt.show()

# %% [markdown]
# *Left: the loss over `w` and `b`, with arrows down the slope. Newton's path (red) goes from zero to the minimum, two thirds of it in the first step. Right: the fitted probability of damage falls from almost 1 at 31 °F (red line) to less than 0.05 at 81 °F. Ticks are launches.*
#
# The Hessian also gives standard errors. For large samples, its inverse (for the summed loss) approximates the covariance of the estimate. The model predicts 0.9996 at 31 °F, but 23 launches are few, and 31 °F is 22 degrees below the coldest of them.
#
# ## What to remember
#
# 1. `grad` takes a scalar function of floating-point arguments and returns a function.
# 2. `value_and_grad(f, argnums, has_aux=True)` returns loss, aux and gradients. A gradient has the structure of its argument, and `jax.tree.map` updates every leaf.
# 3. `jvp` computes $Jv$ and `vjp` computes $u^\top J$, without the matrix. Forward over reverse mode is a Hessian-vector product.
# 4. A right value does not prove a right gradient. Look at `stop_gradient` and `where`, and test with finite differences.
# 5. `custom_vjp` and `custom_jvp` replace the derivative of a function by your own rule. A `custom_jvp` rule serves forward mode, reverse mode and second derivatives, a `custom_vjp` reverse mode only.
#
# ## Further reading
#
# - The JAX documentation: [Transformations: grad and vmap](https://docs.jax.dev/en/latest/101/transformations.html), [Pytrees](https://docs.jax.dev/en/latest/101/pytrees.html), [The Autodiff Cookbook](https://docs.jax.dev/en/latest/301/cookbook.html), [Custom JVPs or VJPs](https://docs.jax.dev/en/latest/301/custom-jvp-vjp.html).
# - Baydin, Pearlmutter, Radul and Siskind, [Automatic differentiation in machine learning: a survey](https://arxiv.org/abs/1502.05767) (2018). Pearlmutter, [Fast exact multiplication by the Hessian](https://doi.org/10.1162/neco.1994.6.1.147) (1994). Bengio, Léonard and Courville on [the straight-through estimator](https://arxiv.org/abs/1308.3432) (2013). Dalal, Fowlkes and Hoadley, [Risk analysis of the space shuttle](https://www.jstor.org/stable/2290069) (1989).
#
# ## Previous and next
#
# [Lesson 01](../01_arrays/01_arrays.ipynb) was about arrays. In [lesson 03](../03_jit/03_jit.ipynb), `jit` traces your function with tracers that have a shape and a dtype but no value. The program is compiled and cached, and your Python runs again only for arguments of a new shape or dtype.
