# %% [markdown]
# # 2 · Gradients
#
# NumPy evaluates functions. JAX also *transforms* them: you hand it a function and it hands back another one. `jax.grad` is the transformation people come for, and after this lesson you can differentiate a loss by any of its arguments, by a whole tree of parameters or by an object of your own class; take second derivatives without ever storing a Hessian; find out why a gradient is zero, wrong or NaN; and give a function a derivative that it does not have. At the end you fit, from nothing, the logistic regression that could have stopped a rocket launch.
#
# About 90 minutes. You need lesson 01 and the chain rule.

# %%
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, Float, Int

from graders import (
    check_answer,
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
# ## 2.0 From last time
#
# Three questions about lesson 01, one point each. Answer before you run anything.
#
# **Recall** · 1 minute · difficulty 1 of 5
#
# What is `jnp.arange(5)[10]`?

# %% exercise="out_of_bounds" kind="recall"
# An integer, or the name of an exception as a string.
### BEGIN SOLUTION
out_of_bounds = 4
### END SOLUTION

# %% check="out_of_bounds" points=1
check_answer(
    out_of_bounds,
    lambda: int(jnp.arange(5)[10]),
    because="A read outside the array is clamped to the last element; only writes outside are dropped.",
    mistakes={"IndexError": "NumPy raises. Compiled code cannot raise, so JAX clamps the index"},
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 1 of 5
#
# What dtype has `jnp.ones(3, jnp.bfloat16) * 0.1`?

# %% exercise="scaled_dtype" kind="recall"
# A string such as "int32".
### BEGIN SOLUTION
scaled_dtype = "bfloat16"
### END SOLUTION

# %% check="scaled_dtype" points=1
check_answer(
    scaled_dtype,
    lambda: str((jnp.ones(3, jnp.bfloat16) * 0.1).dtype),
    because="A Python number is weakly typed: it takes the dtype of the array that it meets.",
    mistakes={
        "float32": "that is what jnp.float32(0.1) would give; the Python number 0.1 is weakly typed",
        "float64": "JAX makes no float64 unless it is told to",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 1 of 5
#
# `x = jnp.zeros(3)`, then `x.at[jnp.array([1, 1, 1])].add(1.0)` on a line of its own. What is `x[1]` afterwards?

# %% exercise="added" kind="recall"
# A number.
### BEGIN SOLUTION
added = 0.0
### END SOLUTION

# %% check="added" points=1
def added_to_zeros():
    x = jnp.zeros(3)
    x.at[jnp.array([1, 1, 1])].add(1.0)
    return float(x[1])


check_answer(
    added,
    added_to_zeros,
    because="`.at[].add` returns a new array and the line throws it away; `x` is what it was.",
    mistakes={
        3.0: "the new array holds 3.0, but nobody kept it: `x` itself cannot change",
        1.0: "NumPy's `x[[1, 1, 1]] += 1` gives 1.0; here `x` itself cannot change",
    },
)

# %% [markdown]
# ## 2.1 A function of a function
#
# Here is a square root as the Babylonians computed it: a `while` loop that stops when it is good enough. It holds no formula for a derivative.

# %% tags=["demonstration"]
def square_root(a):
    x = a
    while abs(x * x - a) > 1e-4:
        x = (x + a / x) / 2
    return x


print(square_root(2.0), jax.grad(square_root)(2.0), 0.5 / np.sqrt(2.0))

# %% [markdown]
# The derivative of $\sqrt{a}$ at 2 is 0.35355. JAX found 0.353566, through a loop, and without being told that this was a square root.
#
# `jax.grad(f)` does nothing yet: it returns a function. When you call that one, JAX runs *your Python* once, on an object that pretends to be a number. Every operation on it is carried out and written down with its derivative; then the record is walked backwards. Look at the impostor:

# %% tags=["demonstration"]
def fourth_power(x):
    print("the body runs, x is", x)
    return x**4


jax.grad(fourth_power)(1.0)

# %% [markdown]
# So this is neither symbolic algebra (there is no formula) nor finite differences (there is no step): it is the chain rule, applied to the operations that really ran. And since the result is again a function, it can be differentiated again.
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
    because="The body runs once, on an impostor inside an impostor inside an impostor: each level records the next.",
    mistakes={
        3: "one run for each grad would be finite differences; the three records are nested in one run",
        8: "each grad does not double the runs; the three records are nested in one run",
    },
)

# %% [markdown]
# **Prediction** · 1 minute · difficulty 1 of 5
#
# A NumPy user writes `jax.grad(lambda x: x**2)(3)`. What comes out?

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
    because="A derivative asks what happens a little way off, and an integer has no little way. Write 3.0.",
    mistakes={
        6: "by 3.0 it is 6.0, but 3 is an integer and grad refuses to differentiate by integers",
        "ValueError": "it does raise, but of another class",
    },
)

# %% [markdown]
# The other thing `grad` refuses is a function that returns an array. A gradient belongs to *one number*, usually a loss; section 2.6 has the tools for the rest.
#
# ## 2.2 Why not finite differences?
#
# `(f(x + h) - f(x)) / h` needs no library. Let us see how well it does for the sine at 1, in float32, for steps `h` from 1 down to a ten-millionth.

# %% tags=["demonstration"]
steps = np.logspace(-7, 0, 57, dtype=np.float32)
x, exact = jnp.float32(1.0), np.cos(1.0)
one_sided = (jnp.sin(x + steps) - jnp.sin(x)) / steps
central = (jnp.sin(x + steps) - jnp.sin(x - steps)) / (2 * steps)

plt.loglog(steps, abs(np.float64(one_sided) - exact), label="one-sided")
plt.loglog(steps, abs(np.float64(central) - exact), label="central")
plt.axhline(abs(np.float64(jax.grad(jnp.sin)(x)) - exact), color="black", label="jax.grad")
plt.xlabel("step h"), plt.ylabel("error of the derivative"), plt.legend()
plt.show()

# %% [markdown]
# *Both errors fall as the step shrinks, until rounding takes over and they rise again: a V. The one-sided difference gets to an error of about 1e-4, the central one, with a step near 1e-2, to about 1e-5; further left both are noise, and for the smallest step the error is of the size of the derivative itself. The black line is `jax.grad`: error 3e-8, no step to choose.*
#
# One-sided differences also need one call for every parameter: a million calls for a small network, where reverse mode costs a few. What they are good for is *checking*: they know nothing about derivative rules, so they make an honest second opinion. Make yours a good one.
#
# ### An exact second opinion
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# The central difference $D(h)$ is wrong by $c\,h^2$, plus terms in $h^4$ and beyond. You do not know $c$, but the same $c$ stands in $D(h)$ and in $D(h/2)$: combine the two so that it goes away. `derivative(f, eps)` takes a function and returns a *function* that does this with $h$ = `eps`. It must not use `jax.grad`: a second opinion has to be one, and the check tells the two apart by their errors.

# %% exercise="derivative"
def derivative(f, eps: float):
    """Function that approximates the derivative of an elementwise `f`, without the error in `eps**2`.

    It takes a float array of any shape. It combines the central differences with the steps `eps` and `eps/2`.
    """
    ### BEGIN SOLUTION
    def central(x, h):
        return (f(x + h) - f(x - h)) / (2 * h)

    return lambda x: (4 * central(x, eps / 2) - central(x, eps)) / 3
    ### END SOLUTION

# %% [markdown] hints="derivative"
# <details><summary>Hint 1: the idea</summary>
#
# Halving the step divides the unwanted term by four. You want numbers $a$ and $b$ with $a\,D(h/2) + b\,D(h)$ equal to the derivative, and no $c$ left.
# </details>
# <details><summary>Hint 2: the algebra</summary>
#
# The derivative itself must survive once, so $a + b = 1$; the error must not, so $a/4 + b = 0$.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# Define `central(x, h)` inside, then a function of `x` alone that uses it twice; return that function, not its value.
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
        "the two weights are the wrong way round": lambda x: (4 * central_step(x, 0.5) - central_step(x, 0.25)) / 3,
        "points further away than eps": lambda x: five_points(x, h=0.5),
        "the exact derivative": lambda x: 5 * x**4 - 4 * x,
    },
)
check_values(
    through(called_twice, derivative),
    five_points_twice,
    sweep(quotient, 0.5, "n", count=1) + sweep(quotient, 0.25, "n", count=1) + sweep(quintic, 0.25, "n", count=1),
    mistakes={
        "the step is not eps": lambda f, eps, x: five_points_twice(f, 0.5, x),
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
# ## 2.3 The value, two gradients, and what else you wanted
#
# Training wants more than a gradient: the loss, to watch it; gradients by several arguments; the predictions, since they were computed anyway. One call gives them all.
#
# - `jax.value_and_grad(f)` returns `(value, gradient)`; the value costs nothing extra.
# - `argnums=(0, 2)` differentiates by those arguments and returns a tuple. The default is `0`, the first and only the first.
# - `has_aux=True` says that `f` returns `(loss, anything)`: the loss is differentiated, the rest passes through.

# %%
def spring(stretch, speed, mass):
    potential, kinetic = 2.0 * stretch**2, 0.5 * mass * speed**2
    return potential + kinetic, {"potential": potential, "kinetic": kinetic}


everything = jax.value_and_grad(spring, argnums=(0, 1), has_aux=True)
(energy, parts), (slope, momentum) = everything(1.0, 3.0, 2.0)
print(energy, parts, "minus the force:", slope, "momentum:", momentum)

# %% [markdown]
# ### A loss, its gradients, its predictions
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# For a linear model $x w + b$ and its mean squared error against `y`, return `((loss, predictions), (gradient by w, gradient by b))`. Compute the predictions once: the check counts the matrix products, and two are enough.

# %% exercise="loss_and_grads"
def loss_and_grads(
    w: Float[Array, "features"],
    b: Float[Array, ""],
    x: Float[Array, "batch features"],
    y: Float[Array, "batch"],
):
    """`((loss, predictions), (gradient by w, gradient by b))` of the mean squared error of `x @ w + b`."""
    ### BEGIN SOLUTION
    def loss_fn(w, b):
        predictions = x @ w + b
        return jnp.mean((predictions - y) ** 2), predictions

    return jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)(w, b)
    ### END SOLUTION

# %% [markdown] hints="loss_and_grads"
# <details><summary>Hint 1: the idea</summary>
#
# Write an inner function of `w` and `b` alone; it sees `x` and `y` from outside. It returns the loss and, beside it, the predictions.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `value_and_grad` with both `argnums` and `has_aux`. With `has_aux` the value is itself a pair, and the result has just the nesting that is asked for.
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
# ## 2.4 Parameters are trees
#
# Two arguments are bearable, two hundred are not. So JAX differentiates by *pytrees*: dicts, lists, tuples, nested as you like, with arrays at the leaves. Here is the model that will accompany us through the course, a multilayer perceptron, still small:

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
# The gradient is a tree of the same form. `jax.tree.map(f, tree, *more_trees)` applies `f` leaf by leaf; `jax.tree.leaves(tree)` lists the leaves. With these two you will rarely write a loop over parameters again.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# How many leaves has `{"a": (1.0, None), "b": [], "c": {"x": 2.0}}`?

# %% exercise="leaf_count" kind="prediction"
# An integer.
### BEGIN SOLUTION
leaf_count = 2
### END SOLUTION

# %% check="leaf_count" points=1
check_answer(
    leaf_count,
    lambda: len(jax.tree.leaves({"a": (1.0, None), "b": [], "c": {"x": 2.0}})),
    because="`None` and `[]` are containers without children: part of the structure, not leaves.",
    mistakes={
        3: "`None` is not a leaf: JAX takes it for a container without children",
        4: "`None` and `[]` are containers without children, not leaves",
    },
)

# %% [markdown]
# ### One step downhill
# **Exercise** · 3 minutes · difficulty 1 of 5
#
# Return $p - \eta\,g$ for every parameter $p$ and its gradient $g$, with learning rate $\eta$, whatever the tree looks like. A tree of bfloat16 stays bfloat16. Nobody's dict is changed: the old parameters may still be needed.

# %% exercise="sgd_step"
def sgd_step(params, grads, learning_rate: float):
    """The parameters after one step of gradient descent: a new tree of the same form and dtypes.

    `grads` has the form and the dtypes of `params`.
    """
    ### BEGIN SOLUTION
    return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
    ### END SOLUTION

# %% [markdown] hints="sgd_step"
# <details><summary>Hint 1: the idea</summary>
#
# You need no knowledge of the tree. Say what happens to one parameter and one gradient, and let JAX walk.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.tree.map` takes a function of two arguments when it is given two trees. A Python number is weakly typed; keep it one.
# </details>

# %% check="sgd_step" points=2
def descend(params, grads, rate):
    if params is None:
        return None
    if isinstance(params, dict):
        return {name: descend(params[name], grads[name], rate) for name in params}
    if isinstance(params, (list, tuple)):
        return type(params)(descend(p, g, rate) for p, g in zip(params, grads))
    return params - rate * grads


def two_layers(first, second):
    return {
        "hidden": {"w": first * np.arange(6.0).reshape(2, 3), "b": first * np.ones(3)},
        "output": {"w": second * np.arange(3.0).reshape(3, 1), "b": second * np.ones(1)},
    }


def layers_of(inputs, hidden, outputs):
    return {
        "hidden": {"w": f"{inputs} {hidden}", "b": hidden},
        "output": {"w": f"{hidden} {outputs}", "b": outputs},
    }


check_values(
    sgd_step,
    descend,
    [
        (two_layers(1.0, 2.0), two_layers(0.5, -3.0), 0.1),
        ([{"w": np.ones(4)}, (np.arange(3.0), np.ones((2, 2)))], [{"w": np.arange(4.0)}, (np.ones(3), np.eye(2))], 0.3),
        *sweep(layers_of("n", "m", "k"), layers_of("n", "m", "k"), 0.1, count=2, planted=True),
        *sweep(layers_of("n", "m", "k"), layers_of("n", "m", "k"), 0.0, count=1),
        *sweep(("n", ["", {"b": "m n"}]), ("n", ["", {"b": "m n"}]), 3.0, count=1, planted=True),
    ],
    mistakes={
        "uphill: the gradient is added": lambda params, grads, rate: descend(params, grads, -rate),
        "the learning rate is left out": lambda params, grads, rate: descend(params, grads, 1.0),
        "the step alone": lambda params, grads, rate: descend(descend(grads, grads, 1.0), grads, rate),
    },
)
mixed = {"w": jnp.ones((2, 3), jnp.bfloat16), "b": jnp.ones(3), "scale": jnp.ones(2, jnp.float16)}
check_dtype(
    sgd_step,
    mixed,
    mixed,
    0.1,
    returns={"w": "bfloat16", "b": "float32", "scale": "float16"},
)
check_pure(sgd_step, two_layers(1.0, 2.0), two_layers(0.5, -3.0), 0.1)
### BEGIN HIDDEN TESTS
check_values(
    sgd_step,
    descend,
    [
        ({"w": np.ones(4), "b": None}, {"w": np.arange(4.0), "b": None}, 0.3),
        *sweep({"w": "n m", "b": "m", "scale": ""}, {"w": "n m", "b": "m", "scale": ""}, 0.2, count=1, seed=8),
        ({"a": {"b": {"c": np.ones(2)}}, "d": np.ones(())}, {"a": {"b": {"c": np.arange(2.0)}}, "d": -np.ones(())}, 2.0),
    ],
)
### END HIDDEN TESTS

# %% [markdown]
# ### The perceptron by hand
# **Exercise** · 10 minutes · difficulty 4 of 5
#
# Once in a life one should write what `jax.grad(loss_fn)(params, x, y)` does for us. Return the gradient of the loss above (the mean runs over *all* elements of the output) as a tree shaped like `params`. Where the input of a ReLU is exactly 0, its derivative is 0. The check compares numbers only, so `jax.grad` would pass; the ten minutes are for you, and 2.6 will make more sense after them.

# %% exercise="backprop"
def backprop(params, x: Float[Array, "batch inputs"], y: Float[Array, "batch outputs"]):
    """Gradient of `mean((mlp(params, x) - y) ** 2)` by `params`, step by step."""
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
# Run forwards and keep `hidden`. Then go backwards with "how much does the loss change per unit of this": first for the output, then for the hidden layer. A ReLU lets that through where it let the value through.
# </details>
# <details><summary>Hint 2: the shapes</summary>
#
# A gradient has the shape of its parameter, and that leaves little choice: from `x` of `(batch, inputs)` and `d_hidden` of `(batch, hidden)` only one product has the shape `(inputs, hidden)`.
# </details>
# <details><summary>Hint 3: the biases</summary>
#
# A bias was broadcast over the batch. The transpose of broadcasting is summing.
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
        "the gate of the ReLU is missing": with_gate(lambda before, d_hidden: 1),
        "the gate looks at the gradient": with_gate(lambda before, d_hidden: d_hidden > 0),
        "the gate multiplies by the value": with_gate(lambda before, d_hidden: np.maximum(before, 0)),
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
        "the ReLU lets the gradient through where its input is 0": with_gate(lambda before, d_hidden: before >= 0),
        "at an input of 0 the ReLU lets half of the gradient through":
            with_gate(lambda before, d_hidden: 0.5 * (before > 0) + 0.5 * (before >= 0)),
    },
    about="where the input of a ReLU is 0",
)
check_pure(backprop, *mlp_case(0, 5, 3, 4, 2))
### BEGIN HIDDEN TESTS
check_values(backprop, slopes, [mlp_case(3, 1, 4, 5, 3), mlp_case(5, 6, 2, 3, 1)], atol=1e-5)
### END HIDDEN TESTS

# %% [markdown]
# ## 2.5 A tree of your own
#
# JAX does not look inside your classes. To it, an object of an unknown class is one opaque leaf, and `grad` and `jit` refuse it. Two functions make it a tree: one takes the object apart into *children* (more trees) and *auxiliary data* (everything that is not an array; it should be hashable and have a meaningful `==`), the other puts it together again.

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
# JAX rebuilds such objects all the time, with tracers at the leaves, or with `None`, or with strings. So unflattening should *store* what it is given and not convert or inspect it.
#
# ### A layer that JAX can see into
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# Make `Layer` a pytree with the two leaves `w` and `b`, in that order. The name of the activation is not a leaf, and it must survive the round trip.

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
# Ask of each attribute: would I take a gradient by it? If so it is a child, else auxiliary data. Then look at `Interval` again.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# Either two methods and `jax.tree_util.register_pytree_node_class` (as a decorator, or called on the class afterwards), or two functions and `register_pytree_node`, or a dataclass and `register_dataclass` with `data_fields` and `meta_fields`.
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
        "the activation is lost on the way": partial(always_the, 2),
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
# ## 2.6 Forwards and backwards
#
# Underneath `grad` lie two more honest tools. Let $J$ be the Jacobian of $f$ at $x$, one row for each output, one column for each input.
#
# - `jax.jvp(f, (x,), (v,))` pushes a direction *forwards*: it returns $f(x)$ and $Jv$.
# - `jax.vjp(f, x)` pulls back: it returns $f(x)$ and a function that maps $u$ to $(u^\top J,)$. Mind the comma: a tuple, one entry for each argument of $f$.
#
# Neither ever builds $J$. Each costs a small multiple of one call of $f$, whatever the sizes, and `grad` is `vjp` with $u = 1$. Only if you want $J$ itself do you ask for it, a column at a time (`jax.jacfwd`: good for few inputs) or a row at a time (`jax.jacrev`: good for few outputs).

# %% tags=["demonstration"]
def polar(point):
    r, angle = point
    return jnp.stack([r * jnp.cos(angle), r * jnp.sin(angle), r])


point = jnp.array([2.0, 0.0])
_, pushed = jax.jvp(polar, (point,), (jnp.array([0.0, 1.0]),))
_, pull = jax.vjp(polar, point)
print("a column", pushed, "a row", pull(jnp.array([1.0, 0.0, 0.0])))
print(jax.jacfwd(polar)(point))

# %% [markdown]
# ### Both ways at once
# **Exercise** · 5 minutes · difficulty 3 of 5
#
# Return $J^\top J v$, the product at the heart of Gauss-Newton and Levenberg-Marquardt, without forming $J$. `x` and `f(x)` may have any shape; $J$ is the Jacobian of the flattened arrays, and the result has the shape of `x`. The check looks at the arrays in the program: none may have as many numbers as $J$.

# %% exercise="gauss_newton"
def gauss_newton(f, x: Float[Array, "*shape"], v: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`J.T @ J @ v`, where `J` is the Jacobian of `f` at `x`, of the flattened arrays."""
    ### BEGIN SOLUTION
    _, pushed = jax.jvp(f, (x,), (v,))
    _, pull = jax.vjp(f, x)
    (result,) = pull(pushed)
    return result
    ### END SOLUTION

# %% [markdown] hints="gauss_newton"
# <details><summary>Hint 1: the idea</summary>
#
# Read $J^\top J v$ from the right: first push `v` forwards, then pull the result back.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# One `jax.jvp`, one `jax.vjp`; you need the second half of what each returns. Unpack the tuple.
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
# ## 2.7 Derivatives of derivatives
#
# `jax.hessian(f)` is nothing but `jacfwd(jacrev(f))`: forwards over backwards. Its shape is the input's shape twice.
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
    because="One derivative appends the input's shape, and so does the second; nothing is flattened.",
    mistakes={
        (6, 6): "JAX does not flatten: both copies of the input's shape stay as they are",
        (2, 3): "that is the gradient's shape; the Hessian has it twice",
        (3, 3): "every element of the input has a row and a column, not every column of it",
        (2, 2): "every element of the input has a row and a column, not every row of it",
    },
)

# %% [markdown]
# For the 235,000 parameters of the network in lesson 08 that is 55 billion numbers. Yet conjugate gradients, Newton methods and influence functions never want the matrix: they want $Hv$. And $Hv$ is how the *gradient* changes along $v$.
#
# ### A Hessian times a vector
# **Exercise** · 4 minutes · difficulty 3 of 5
#
# Return $Hv$ for a scalar function `f` of an array of any shape. No Hessian on the way: the check looks at the arrays in the program.

# %% exercise="hvp"
def hvp(f, x: Float[Array, "*shape"], v: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The Hessian of the scalar function `f` at `x`, times `v`."""
    ### BEGIN SOLUTION
    return jax.jvp(jax.grad(f), (x,), (v,))[1]
    ### END SOLUTION

# %% [markdown] hints="hvp"
# <details><summary>Hint 1: the idea</summary>
#
# `jax.grad(f)` is a function like any other. Its Jacobian is the Hessian of `f`.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# Which of the two tools of 2.6 multiplies a Jacobian by a vector from the right? (The other one works too: a Hessian is symmetric.)
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
# ## 2.8 Turning the gradient off
#
# `jax.lax.stop_gradient(x)` is `x`, with derivative zero. PyTorch calls it `detach`, but here it acts on values inside a function, not on tensors that carry history.
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
    because="The first derivative is the stopped factor, 3.0; and being stopped, it has itself derivative zero.",
    mistakes={
        (6.0, 2.0): "that is x**2 without the stop: one of the two factors counts as a constant",
        (3.0, 1.0): "the first derivative is the stopped factor, so it stays stopped in the second",
        (0.0, 0.0): "only one of the two factors is stopped",
    },
)

# %% [markdown]
# ### Bug hunt: the agent that learns nothing
#
# A value function $V(s) = \phi(s)\cdot w$ is trained by temporal differences: $V$ of a state shall move towards reward plus discounted $V$ of the next one, and that target counts as a constant. The chain below has two states; only leaving the second pays, 1.0. With discount 0.9 the values are 0.9 and 1.

# %% tags=["demonstration"]
def td_loss_broken(w, features, next_features, rewards, discount):
    values = jax.lax.stop_gradient(features @ w)
    targets = rewards + discount * next_features @ w
    return jnp.mean((targets - values) ** 2)


w, states, next_states = jnp.zeros(2), jnp.eye(2), jnp.array([[0.0, 1.0], [0.0, 0.0]])
for _ in range(200):
    w -= 0.5 * jax.grad(td_loss_broken)(w, states, next_states, jnp.array([0.0, 1.0]), 0.9)
print("learned:", w)

# %% [markdown]
# Two zeros after 200 steps: the loss is correct to the last digit, and learning never starts.
#
# ### Mend the loss
# **Exercise** · 5 minutes · difficulty 3 of 5
#
# Write `td_loss` with the same value, such that its gradient moves the values towards the targets and never the targets towards the values.

# %% exercise="td_loss"
def td_loss(
    w: Float[Array, "features"],
    features: Float[Array, "batch features"],
    next_features: Float[Array, "batch features"],
    rewards: Float[Array, "batch"],
    discount: float,
) -> Float[Array, ""]:
    """Mean squared temporal difference; the targets count as constants."""
    ### BEGIN SOLUTION
    targets = rewards + discount * next_features @ w
    return jnp.mean((jax.lax.stop_gradient(targets) - features @ w) ** 2)
    ### END SOLUTION

# %% [markdown] hints="td_loss"
# <details><summary>Hint 1: the idea</summary>
#
# `w` stands in two places. In which one may the gradient see it? Compare with what the broken loss does.
# </details>
# <details><summary>Hint 2: what a wrong mend looks like</summary>
#
# Without any stop the gradient runs through both places: that minimises the loss, but it also drags the targets. A stop around `w` or around the whole difference leaves no gradient at all.
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
        "the targets are dragged along": lambda *arguments: td_direction(*arguments, drag=1.0),
        "the targets move and the values do not": through_targets_only,
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
# ## 2.9 Not a number
#
# At a kink a function has no derivative, but JAX returns something all the same, and what it returns depends on how the function was written.

# %% tags=["demonstration"]
print(jax.grad(jnp.abs)(0.0), jax.grad(jax.nn.relu)(0.0))

# %% [markdown]
# **Prediction** · 1 minute · difficulty 2 of 5
#
# And `jax.grad(lambda x: jnp.maximum(x, 0.0))(0.0)`, the same ReLU spelled out?

# %% exercise="kink" kind="prediction"
# A number.
### BEGIN SOLUTION
kink = 0.5
### END SOLUTION

# %% check="kink" points=1
check_answer(
    kink,
    lambda: float(jax.grad(lambda x: jnp.maximum(x, 0.0))(0.0)),
    because="At a tie `maximum` gives each of its arguments half; `jax.nn.relu` has a rule of its own and gives 0.",
    mistakes={
        0.0: "that is what jax.nn.relu defines; `maximum` shares a tie between its arguments",
        1.0: "at a tie `maximum` shares the gradient between its arguments",
    },
)

# %% [markdown]
# A kink is harmless. This is not:
#
# ### Bug hunt: the poisoned branch
#
# The length of each row; the gradient of $\sqrt{s}$ is infinite at 0, so the author guards rows of zeros with a `where`.

# %% tags=["demonstration"]
def row_norms_broken(x):
    squares = jnp.sum(x**2, axis=1)
    return jnp.where(squares > 0, jnp.sqrt(squares), 0.0)


rows = jnp.array([[3.0, 4.0], [0.0, 0.0]])
print(row_norms_broken(rows))
print(jax.grad(lambda x: jnp.sum(row_norms_broken(x)))(rows))

# %% [markdown]
# The values are right, the gradient is NaN, and after one step of training every parameter is. `where` computes *both* branches and picks. Going backwards, the branch not picked receives the cotangent 0, and multiplies it by its own derivative: $0 \cdot \infty$ is NaN. The guard came too late.
#
# ### Guard what goes in
# **Exercise** · 5 minutes · difficulty 3 of 5
#
# Write `row_norms` with exact values, for rows as short as 1e-15 too, and with gradient zero at rows of zeros.

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
# The square root must never see a zero, not even in the branch that is thrown away.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# One `where` before the square root, to put any harmless number in the place of zero; one after it, to take the result back out.
# </details>
# <details><summary>Hint 3: what does not help</summary>
#
# `nan_to_num` on the value mends the value, which was never broken. A small number added under the root changes the length of short rows.
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
        "short rows are taken for zero: compare with 0 itself":
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
        "short rows are taken for zero: compare with 0 itself": lambda x: 0 * lengths(x),
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
# ## 2.10 A derivative of your choice
#
# Sometimes the true derivative is useless, and you want another. `jax.custom_vjp` splits a function in three: the function; a *forward* that returns the value and whatever the way back needs (the residuals); a *backward* that gets the residuals and the cotangent, and returns a tuple with one cotangent for each argument. Here the identity, with gradients held in bounds:

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
# Networks with weights of one bit are trained in this way. The sign function has derivative zero wherever it has one, so nothing flows. The *straight-through estimator* pretends, on the way back only, that it was the ramp which it resembles.

# %% tags=["demonstration"]
grid = jnp.linspace(-2, 2, 401)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
left.plot(grid, jnp.sign(grid), label="forwards: the sign")
left.plot(grid, jnp.clip(grid, -1, 1), "--", label="the ramp it pretends to be")
right.plot(grid, jax.vmap(jax.grad(jnp.sign))(grid), label="true gradient: 0")
right.plot(grid, jax.vmap(jax.grad(lambda x: jnp.clip(x, -1, 1)))(grid), "--", label="straight-through")
left.set_xlabel("x"), right.set_xlabel("x"), left.legend(loc="lower right"), right.legend(loc="center")
plt.show()

# %% [markdown]
# *Left: the sign jumps from -1 to 1 at zero; the ramp climbs from -1 to 1 between x = -1 and x = 1. Right: the gradient of the sign is zero everywhere; the straight-through gradient is 1 between -1 and 1 and 0 outside.* (`jax.vmap` applies a function of one number to all of them; it has lesson 06 to itself.)
#
# ### One bit, straight through
# **Exercise** · 7 minutes · difficulty 4 of 5
#
# `binarise(x)` is 1.0 where $x \ge 0$ and -1.0 elsewhere, elementwise: a bit has no third value. Backwards it hands the cotangent on where $|x| \le 1$, and zero elsewhere. The decorator and the two rules are yours to add.

# %% exercise="binarise"
def binarise(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """1.0 where `x >= 0`, else -1.0; backwards, the cotangent where `|x| <= 1`, else zero."""
    ### BEGIN SOLUTION
    return jnp.where(x >= 0, 1.0, -1.0)


def binarise_forward(x):
    return binarise(x), jnp.abs(x) <= 1


def binarise_backward(inside, cotangent):
    return (jnp.where(inside, cotangent, 0.0),)


binarise = jax.custom_vjp(binarise)
binarise.defvjp(binarise_forward, binarise_backward)
### END SOLUTION

# %% [markdown] hints="binarise"
# <details><summary>Hint 1: the idea</summary>
#
# The way back has to know which elements were inside. That is what residuals are for.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# Forward takes `x` and returns `(value, residuals)`. Backward takes `(residuals, cotangent)` and returns a tuple of one element. Join them with `binarise.defvjp(forward, backward)`.
# </details>
# <details><summary>Hint 3: without custom_vjp</summary>
#
# It can be done with `stop_gradient` alone: a function that has the gradient of the ramp, plus a stopped correction that makes its value the sign. (Not `jnp.clip`: at -1 and 1 it hands on half. `jax.nn.hard_tanh` hands on the whole there.)
# </details>

# %% check="binarise" points=3
def one_bit(x):
    return np.where(x >= 0, 1.0, -1.0)


def handed_on(x, cotangent):
    return cotangent * (np.abs(x) <= 1)


def pulled_back(f, x, cotangent):
    return jax.vjp(f, x)[1](cotangent)[0]


edges = np.array([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5])
near_edges = np.float32([-1.0001, -0.9999, -1e-20, -0.0, 1e-20, 0.9999, 1.0001])
check_values(
    binarise,
    one_bit,
    [(edges,), (near_edges,), *sweep("n m", planted=True)],
    about="forwards",
    mistakes={"a third value, 0, at zero": np.sign},
)
check_values(
    through(pulled_back, binarise),
    handed_on,
    [
        (edges, np.arange(7.0) - 3.5),
        (near_edges, np.arange(7.0) - 3.5),
        *sweep("20", "20", count=1),
        *sweep("n m", "n m", planted=True),
    ],
    about="backwards",
    mistakes={
        "handed on everywhere, outside too": lambda x, cotangent: cotangent,
        "nothing is handed on anywhere": lambda x, cotangent: 0 * cotangent,
        "the cotangent is ignored": lambda x, cotangent: 1.0 * (np.abs(x) <= 1),
        "at -1 and 1 nothing is handed on": lambda x, cotangent: cotangent * (np.abs(x) < 1),
        "at -1 and 1 half is handed on": lambda x, cotangent: cotangent * ((np.abs(x) < 1) + 0.5 * (np.abs(x) == 1)),
        "the slope of tanh": lambda x, cotangent: cotangent * (1 - np.tanh(x) ** 2),
    },
)
check_pure(through(pulled_back, binarise), np.linspace(-2, 2, 20), np.ones(20))
### BEGIN HIDDEN TESTS
check_values(through(pulled_back, binarise), handed_on, sweep("3 4", uniform("3 4", -100.0, 100.0), count=2, seed=14))
### END HIDDEN TESTS

# %% [markdown]
# ## 2.11 Twenty-three launches
#
# On the evening of 27 January 1986, engineers argued that the space shuttle Challenger should not be launched: the forecast was 31 °F, and rubber rings had been damaged on cold days before. These are the 23 earlier launches with a record: temperature, and whether a ring was damaged.

# %% tags=["demonstration"]
temperature = np.array(
    [53, 57, 58, 63, 66, 67, 67, 67, 68, 69, 70, 70, 70, 70, 72, 73, 75, 75, 76, 76, 78, 79, 81], np.float32
)
damaged = jnp.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0])
centre, spread = temperature.mean(), temperature.std()
launches = jnp.asarray((temperature - centre) / spread)[:, None]

# %% [markdown]
# Logistic regression says that the probability of damage is $\sigma(z)$ with $z = x w + b$ and $\sigma(z) = 1/(1 + e^{-z})$. Its loss is the mean of $-\log \sigma(z)$ where there was damage and of $-\log(1 - \sigma(z))$ where there was none.
#
# ### Fit it
# **Exercise** · 9 minutes · difficulty 4 of 5
#
# Start with all parameters zero and take `steps` steps of gradient descent, at least one. Return `(params, losses)`: the tree `{"w": ..., "b": ...}` and the loss *before* each step. Write the loss so that logits of a thousand do it no harm; lesson 01 showed how.

# %% exercise="fit_logistic"
def fit_logistic(
    x: Float[Array, "batch features"], y: Int[Array, "batch"], learning_rate: float, steps: int
) -> tuple[dict[str, Array], Float[Array, "steps"]]:
    """Logistic regression by gradient descent from zero: the parameters, and the loss before each step."""
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
# Everything is here already: a loss of one tree, `value_and_grad`, one step for every leaf, a Python loop around it.
# </details>
# <details><summary>Hint 2: the loss</summary>
#
# $-\log\sigma(z) = \log(1 + e^{-z})$ and $-\log(1-\sigma(z)) = \log(1 + e^{z})$. Their difference is $z$. `jnp.logaddexp` and `jax.nn.softplus` compute $\log(1+e^z)$ without overflow.
# </details>
# <details><summary>Hint 3: the losses</summary>
#
# Collect them in a list and stack it at the end. Keep them JAX arrays: `float(loss)` would work today and break in lesson 03.
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
        "sum where the mean is meant": lambda *data: descent(*data, total=True),
        "the loss after each step": lambda *data: descent(*data, after=True),
        "the bias is never trained": lambda *data: descent(*data, bias=False),
        "uphill: the gradient is added": lambda *data: descent(*data, factor=-1.0),
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
# Try `fit_logistic(launches, damaged, 1.0, 300)`. To compare, here is Newton's method with the tools of 2.7: it solves for the step with the curvature, and is after five steps, to six digits, where gradient descent is after two hundred.

# %% tags=["demonstration"]
def launch_loss(wb):
    logits = launches[:, 0] * wb[0] + wb[1]
    return jnp.mean(jnp.logaddexp(0.0, (1 - 2 * damaged) * logits))


path = [jnp.zeros(2)]
for _ in range(5):
    gradient, curvature = jax.grad(launch_loss)(path[-1]), jax.hessian(launch_loss)(path[-1])
    path.append(path[-1] - jnp.linalg.solve(curvature, gradient))
w, b = path[-1]
covariance = jnp.linalg.inv(23 * curvature)
print("w, b:", w, b)
print("slope per degree:", w / spread, "standard error:", jnp.sqrt(covariance[0, 0]) / spread)

# %% tags=["demonstration"]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5))
field = jnp.stack(jnp.meshgrid(jnp.linspace(-3.5, 0.5, 16), jnp.linspace(-2.5, 0.5, 16)), axis=-1)
slopes_here = -jax.vmap(jax.vmap(jax.grad(launch_loss)))(field)
slopes_here /= jnp.linalg.norm(slopes_here, axis=-1, keepdims=True)
left.contour(field[..., 0], field[..., 1], jax.vmap(jax.vmap(launch_loss))(field), levels=20)
left.quiver(field[..., 0], field[..., 1], slopes_here[..., 0], slopes_here[..., 1], color="grey", scale=30)
left.plot(*jnp.stack(path).T, "ro-"), left.set_xlabel("w"), left.set_ylabel("b")
degrees = np.linspace(30, 85, 200)
right.plot(degrees, jax.nn.sigmoid((degrees - centre) / spread * w + b))
right.plot(temperature, damaged, "k|"), right.axvline(31, color="red")
right.set_xlabel("temperature in °F"), right.set_ylabel("probability of damage")
plt.show()

# %% [markdown]
# *Left: the loss over `w` and `b` is a bowl; grey arrows point down its steepest slope, and Newton's path (red) goes from zero to the bottom, its first step covering two thirds of the way. Right: the fitted probability of damage falls from almost 1 at 31 °F (red line) to less than 0.05 at 81 °F; ticks are the 23 launches.*
#
# The curvature gave the standard error for nothing: the Hessian of the summed loss, inverted, is the covariance of the estimate. And 31 °F lies 22 degrees below the coldest of the 23 launches, a bold extrapolation. Still, the model says 0.9996. The shuttle was launched at 11:38 the next morning.
#
# ## What to remember
#
# 1. `grad` takes a function and returns a function; it differentiates the operations that really ran, by floats, of one scalar.
# 2. `value_and_grad(f, argnums, has_aux=True)` gives loss, gradients and extras in one pass; trees go in, trees of the same form come out, and `jax.tree.map` does the step.
# 3. `jvp` pushes a vector forwards, `vjp` pulls one back, neither builds a matrix; forwards over backwards is a Hessian-vector product.
# 4. A right value proves nothing about the gradient: `stop_gradient` in the wrong place and `where` after the danger both pass unseen. Check with finite differences.
# 5. `custom_vjp` is for when you know better than the chain rule.
#
# ## Further reading
#
# The JAX documentation: *Automatic differentiation*, *The Autodiff Cookbook*, *Custom derivative rules* and *Pytrees*. Baydin, Pearlmutter, Radul and Siskind, *Automatic differentiation in machine learning: a survey* (2018). Griewank and Walther, *Evaluating Derivatives* (2008). Pearlmutter, *Fast exact multiplication by the Hessian* (1994). Bengio, Léonard and Courville on the straight-through estimator (2013). Dalal, Fowlkes and Hoadley, *Risk analysis of the space shuttle: pre-Challenger prediction of failure* (1989).
#
# ## Next
#
# You have seen the impostor that `grad` sends through your Python. It carried a value, so `while` and `print` worked. In lesson 03, `jit` sends one that has a shape and a dtype but no value at all; what it writes down is compiled, and your Python is never run again.
