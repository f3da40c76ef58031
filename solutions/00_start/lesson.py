# %% [markdown]
# # 0 · Start here: exercises, checks and marks
#
# After this lesson you can
#
# - say what `jax.grad`, `jax.vmap` and `jax.jit` do;
# - write an answer, run its check, and read the card that the check shows;
# - use hints and predictions, and find out what your mark is;
# - tell whether you know enough NumPy and Python for the course, and which device JAX uses.
#
# All later lessons use exercises like these. About 30 minutes.
#
# Run the cells in order, each with Shift and Enter. In JupyterLab, wait until the circle at the top right is hollow, which means that the kernel is ready. A cell that you run earlier may not be executed, and no message appears.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, Float

from graders import (
    check_answer,
    check_pure,
    check_shape,
    check_values,
    progress,
    sweep,
    through,
)

# %% [markdown]
# ## 0.1 What JAX does: grad, vmap and jit in one picture
#
# The next cell defines a pendulum above three magnets. It contains no formula for the force. The force is minus the gradient of the energy, and `jax.grad` computes it.

# %% tags=["demonstration"]
magnets = [(0.0, 1.0), (-0.87, -0.5), (0.87, -0.5)]


def distances(x, y):
    """Distance from each magnet to the pendulum, which hangs slightly above their plane."""
    return jnp.stack([jnp.sqrt((x - a) ** 2 + (y - b) ** 2 + 0.1) for a, b in magnets])


def energy(x, y):
    return (x**2 + y**2) / 5 - jnp.sum(1 / distances(x, y))


def step(_, state):
    x, y, vx, vy = state
    slope_x, slope_y = jax.grad(energy, argnums=(0, 1))(x, y)
    vx, vy = 0.975 * vx - 0.1 * slope_x, 0.975 * vy - 0.1 * slope_y  # with some friction
    return x + 0.1 * vx, y + 0.1 * vy, vx, vy


def last_magnet(x, y):
    """The nearest magnet after 250 steps, from rest at `(x, y)`."""
    x, y, *_ = jax.lax.fori_loop(0, 250, step, (x, y, 0.0, 0.0))
    return jnp.argmin(distances(x, y))


# %% [markdown]
# `last_magnet` is written for one starting point. `jax.vmap` turns it into a function of an array of starting points. Each `vmap` adds one axis, so a grid needs two. `jax.jit` compiles the result for your CPU, GPU or TPU. Here are 160,000 pendulums at once:

# %% tags=["demonstration"]
x, y = jnp.meshgrid(jnp.linspace(-2, 2, 400), jnp.linspace(-2, 2, 400))
nearest = jax.jit(jax.vmap(jax.vmap(last_magnet)))(x, y)

plt.figure("Magnetic pendulum: the nearest magnet at the end, for each starting point", figsize=(5, 5))
plt.imshow(nearest, extent=(-2, 2, -2, 2), origin="lower")
plt.plot(*zip(*magnets), "wo", markersize=10, markeredgecolor="black")
plt.xlabel("x of the starting point"), plt.ylabel("y of the starting point")
plt.show()

# %% [markdown]
# *Each pixel is the starting point of one pendulum. Its colour says which of the three magnets (white dots) is nearest at the end. Around each magnet one colour fills a large area. Further out the colours form curved bands, many of them thin.*
#
# On a CPU this takes about a second, most of it for compilation. The gradient is exact up to rounding. It is not a finite difference.
#
# JAX can do this because it **traces** functions. It calls your function once with *tracers* in place of the arguments, records the JAX operations, and differentiates, batches or compiles that record. Python side effects are not recorded. So the results are guaranteed only for **pure** functions, which compute a result from their arguments and do nothing else. A function that prints, draws random numbers from NumPy or changes a global variable is transformed without an error, and the result can be wrong. The checks of this course therefore test that your functions are pure.
#
# > **In PyTorch** a gradient is stored on tensors: `loss.backward()`, then `w.grad`. In JAX a gradient is the return value of a function, `jax.grad(loss_fn)(w)`, and nothing is stored.

# %% [markdown]
# ## 0.2 Your first exercise: rescale an array
#
# **Exercise** · 4 minutes · difficulty 1 of 5
#
# `rescale(x)` returns an array of the shape of `x`: `x` shifted and scaled so that its smallest number becomes 0 and its largest becomes 1.
#
# If all numbers of `x` are equal, return zeros.
#
# The check compares shapes and values, and tests that the function is pure.
#
# The annotation `Float[Array, "rows columns"]` means a floating-point array with two axes of these names. `"..."` stands for any axes, and `""` for none. Annotations are documentation, and nothing enforces them.
#
# First fail the check on purpose. Replace the last two lines of the next cell with `return x / x.max()` and run the cell. The collapsed cell below the hints is the check. Run it and read the card. Then correct your answer and run both cells again.


# %% exercise="rescale"
def rescale(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x` shifted and scaled to run from 0 to 1; zeros where all numbers of `x` are equal."""
    ### BEGIN SOLUTION
    spread = x.max() - x.min()
    return (x - x.min()) / jnp.where(spread > 0, spread, 1.0)
    ### END SOLUTION


# %% [markdown] hints="rescale"
# <details><summary>Hint 1: the idea</summary>
#
# Two steps: subtract something so that the smallest number is 0, then divide by what is now the largest.
# </details>
# <details><summary>Hint 2: the array of equal numbers</summary>
#
# If all numbers are equal, you divide 0 by 0, which gives NaN. A Python `if` on the values of an array fails under `jit`, which the check uses, because a tracer has no values there. `jnp.where(condition, this, that)` selects without a branch.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# ```python
# spread = ...                                # the largest number minus the smallest
# return (...) / jnp.where(spread > 0, ..., 1.0)
# ```
# </details>


# %% check="rescale" points=2
def rescale_by_numpy(x):
    spread = np.ptp(x)
    return (x - x.min()) / (spread if spread > 0 else 1.0)


check_shape(rescale, np.arange(6.0).reshape(2, 3), returns="2 3")
check_values(
    rescale,
    rescale_by_numpy,
    [(np.array([1.0, 3.0, 5.0]),), (np.array([-2.0, 0.0, 2.0, 6.0]),), (np.full(3, 7.0),)],
    mistakes={
        "divided by the largest number, but the smallest was not moved to 0": lambda x: x / x.max()
    },
)
check_pure(rescale, np.array([1.0, 3.0, 5.0]))
### BEGIN HIDDEN TESTS
check_values(
    rescale,
    rescale_by_numpy,
    [*sweep("n m", scale=50.0, seed=3), *sweep("n m", count=1, planted=True), (np.full(4, 7.0),), (np.zeros((1, 1)),)],
)
### END HIDDEN TESTS

# %% [markdown]
# A card lists the requirements in order. ✓ marks a requirement that is met, and ✗ the first one that is not. The later ones are *not yet checked*. Below the list you see the input that failed, the usual cause, and what to try next.
#
# - A check gives all of its points or none. You can run it as often as you like.
# - A green card means that your answer meets every requirement *listed on the card*. Grading also runs **hidden tests**: the same function with other sizes, other numbers and edge cases.
# - If the cell with your answer raises an error, the check still tests your previous version.
# - Hints cost nothing. The first gives the idea, the later ones the function to use or a skeleton. Try for five minutes before you open one.
#
# ## 0.3 Predictions: answer first, then run
#
# A prediction asks what a piece of code does. Answer first, run the check, and then the cell below it. Writing down an answer first helps you to remember the result. A prediction is worth one point, and the card explains the right answer.

# %% exercise="sum_shape" kind="prediction"
# The shape of np.ones((3, 1)) + np.ones(4), as a tuple:
### BEGIN SOLUTION
sum_shape = (3, 4)
### END SOLUTION

# %% check="sum_shape" points=1
check_answer(
    sum_shape,
    lambda: (np.ones((3, 1)) + np.ones(4)).shape,
    because="NumPy aligns shapes from the right and stretches axes of size 1. So (3, 1) and (4,) "
    "count as (3, 1) and (1, 4), and the result has shape (3, 4).",
    mistakes={
        (3,): "The addition is not elementwise: broadcasting adds each of the 3 numbers to each of the 4.",
        "error": "No error: an axis of size 1 is stretched to fit.",
        "ValueError": "No error: an axis of size 1 is stretched to fit, in either array.",
    },
)

# %% tags=["demonstration"]
(np.ones((3, 1)) + np.ones(4)).shape

# %% exercise="late_value" kind="prediction"
# functions = [lambda: i for i in range(3)]
# The value of functions[0](), as a number:
### BEGIN SOLUTION
late_value = 2
### END SOLUTION

# %% check="late_value" points=1
check_answer(
    late_value,
    lambda: [lambda: i for i in range(3)][0](),
    because="A Python function looks up a name when it is called, not when it is defined. By then "
    "the loop has ended, and `i` is 2. Lesson 03 shows what `jax.jit` does with such a name.",
    mistakes={0: "The three functions share one `i`, and look it up when they are called."},
)

# %% tags=["demonstration"]
functions = [lambda: i for i in range(3)]
functions[0]()

# %% [markdown]
# ## 0.4 Bug hunt: standardise each column
#
# Each lesson has at least one bug hunt. `standardise_broken` should give each **column** mean 0 and standard deviation 1. It raises no error, and its result is wrong.


# %% tags=["demonstration"]
def standardise_broken(x):
    x = x - x.mean()
    return x / x.std()


heights_and_weights = jnp.array(np.random.default_rng(0).normal([170, 70], [8, 15], (300, 2)))
plt.figure("Standardised heights and weights, not centred")
plt.scatter(*standardise_broken(heights_and_weights).T, s=8, label="broken")
plt.scatter(0, 0, marker="+", s=200, color="gray", label="where the centre should be")
plt.axis("equal"), plt.xlabel("height"), plt.ylabel("weight")
plt.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
plt.show()

# %% [markdown]
# *300 points that should form a round cloud around the grey cross at the origin. They form a tall ellipse to the lower right of it.*
#
# ### Correct the function
# **Exercise** · 4 minutes · difficulty 2 of 5
#
# `standardise(x)` returns an array of the shape of `x`, in which each column has mean 0 and standard deviation 1. Use the standard deviation that divides by n, not by n - 1, which is the default of `jnp.std`.
#
# No column is constant.
#
# The check compares values, and tests that the function is pure.


# %% exercise="standardise"
def standardise(x: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
    """`x` with each column shifted to mean 0 and divided by its standard deviation."""
    ### BEGIN SOLUTION
    return (x - x.mean(axis=0)) / x.std(axis=0)
    ### END SOLUTION


# %% [markdown] hints="standardise"
# <details><summary>Hint 1: the idea</summary>
#
# `x.mean()` is one number for the whole array. You need one for each column.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# A reduction takes `axis`, the axis to remove. To get one number for each column, remove the rows.
# </details>


# %% check="standardise" points=2
def standardise_by_loop(x):
    columns = [
        (c - sum(c) / len(c)) / (sum((c - sum(c) / len(c)) ** 2) / len(c)) ** 0.5 for c in x.T
    ]
    return np.stack(columns, axis=1)


check_values(
    standardise,
    standardise_by_loop,
    sweep("6 columns"),
    mistakes={
        "one mean for the whole array, not one for each column": lambda x: (x - x.mean()) / x.std(),
        "each row was standardised, not each column": lambda x: (
            (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
        ),
        "the mean is taken for each column, the standard deviation is not": lambda x: (
            (x - x.mean(0)) / x.std()
        ),
        "the mean is taken for each column, the standard deviation of the whole centred array": lambda x: (
            (x - x.mean(0)) / (x - x.mean(0)).std()
        ),
        "the standard deviation divides by n - 1": lambda x: (x - x.mean(0)) / x.std(0, ddof=1),
    },
)
check_pure(standardise, np.array([[1.0, 5.0], [2.0, 7.0], [4.0, 0.0]]))
### BEGIN HIDDEN TESTS
check_values(standardise, standardise_by_loop, [*sweep("rows 3", scale=1e-3, seed=5), *sweep("8 m", seed=6, planted=True)])
### END HIDDEN TESTS

# %% [markdown]
# ## 0.5 Functions that return functions
#
# **Exercise** · 3 minutes · difficulty 2 of 5
#
# JAX transformations take a function and return a function. `repeated(f, n)` returns a *function* of `x` that returns `f(f(…f(x)…))`, with `n` calls of `f`.
#
# For `n == 0`, that function returns its argument.
#
# The check compares the values of the returned function, and tests that it is pure.


# %% exercise="repeated"
def repeated(f, n):
    """A function that applies `f` `n` times. For `n == 0` it returns its argument."""

    ### BEGIN SOLUTION
    def apply(x):
        for _ in range(n):
            x = f(x)
        return x

    return apply
    ### END SOLUTION


# %% [markdown] hints="repeated"
# <details><summary>Hint 1: the idea</summary>
#
# Define a function inside `repeated`, and return it without calling it.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# The inner function can use `f` and `n`. Assign to its argument in a loop.
# </details>


# %% check="repeated" points=2
def halve_and_step(x):
    return x / 2 + 3


def one_minus(x):
    return 1 - x


def call_repeated(repeated, f, n, x):
    return repeated(f, n)(x)


def repeated_by_formula(f, n, x):
    if f is one_minus:
        return 1 - x if n % 2 else x
    return 6 + (x - 6) / 2**n  # halve_and_step halves the distance to 6


check_values(
    through(call_repeated, repeated),
    repeated_by_formula,
    [
        (halve_and_step, 1, np.array([0.0, 2.0])),
        (halve_and_step, 3, np.array([0.0, 2.0])),
        (one_minus, 3, np.array([0.0, 2.0])),
    ],
    mistakes={
        "applied once too often": lambda f, n, x: repeated_by_formula(f, n + 1, x),
        "applied once, however large `n` is": lambda f, n, x: repeated_by_formula(f, 1, x),
    },
)
check_pure(
    through(call_repeated, repeated),
    halve_and_step,
    3,
    np.array([0.0, 2.0]),
    static_argnums=(0, 1),
)
### BEGIN HIDDEN TESTS
check_values(
    through(call_repeated, repeated),
    repeated_by_formula,
    [(halve_and_step, 7, np.array([-4.0])), (one_minus, 0, np.ones((2, 2)))],
)
### END HIDDEN TESTS

# %% [markdown]
# ## 0.6 Return a new dict and leave the argument unchanged
#
# **Exercise** · 2 minutes · difficulty 1 of 5
#
# In this course the parameters of a model are a dict of arrays. `scaled(params, factor)` returns a **new** dict with the same keys, in which each array is multiplied by `factor`.
#
# The dict may be empty.
#
# The check compares keys and values, and tests that `params` is unchanged afterwards.
#
# > **In PyTorch** `optimizer.step()` changes the parameters in place. In JAX a training step returns new parameters, and the old ones still exist.


# %% exercise="scaled"
def scaled(params: dict[str, Array], factor: float) -> dict[str, Array]:
    """A new dict with each array of `params` multiplied by `factor`."""
    ### BEGIN SOLUTION
    return {name: factor * array for name, array in params.items()}
    ### END SOLUTION


# %% [markdown] hints="scaled"
# <details><summary>Hint 1: the idea</summary>
#
# Build a second dict. Assigning to `params[...]` would change the caller's dict.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# A dict comprehension over `params.items()`.
# </details>


# %% check="scaled" points=2
def scaled_by_numpy(params, factor):
    return {name: np.multiply(array, factor) for name, array in params.items()}


check_values(
    scaled, scaled_by_numpy, sweep({"w": "features units", "b": "units"}, 0.5, planted=True)
)
check_pure(scaled, {"w": np.ones((2, 3)), "b": np.zeros(3)}, 0.5)
### BEGIN HIDDEN TESTS
check_values(
    scaled,
    scaled_by_numpy,
    [({"kernel": np.full((1, 4), 70.0), "scale": np.float32(3.0)}, -2.0), ({}, 3.0)],
)
### END HIDDEN TESTS

# %% [markdown]
# ## 0.7 Which device JAX uses: CPU, GPU or TPU
#
# The same program runs on all three. JAX uses a TPU if it finds one, otherwise a GPU, otherwise the CPU. For a TPU or a GPU, JAX must be installed with support for it:

# %% tags=["demonstration"]
jax.default_backend(), jax.devices()

# %% [markdown]
# Every lesson runs on a CPU with two cores. The lessons also run on a GPU or a TPU, and say where the numbers differ.
#
# ## 0.8 How your work is marked
#
# You get the points of a check only if it passes together with its hidden tests. Your mark is the sum of these points. The last line of a card shows your points. `progress` lists all lessons and the exercises that are still open:

# %% tags=["demonstration"]
progress()

# %% [markdown]
# - A wrong answer loses the points of that check only. Go on, and come back later.
# - Write in the cells that say `YOUR CODE HERE` or `...`. Changes to a check cell have no effect, because check cells are restored before grading.
# - Output and warnings cost no points. But a function that prints *while JAX traces it*, or calls `jax.debug.print`, is not pure, and its check fails. Remove such lines before you run the check.
# - Before you hand in, choose *Kernel, Restart Kernel and Run All Cells*. Work that passes for you but fails in grading often uses a name from a cell that you have deleted.
# - Check cells sometimes contain the answer, so try the exercise before you open its check.
#
# ## What to remember
#
# 1. Write the answer, run it, run its check, read the card.
# 2. A card names the first requirement that is not met, the input that failed, and the usual cause.
# 3. Write down a prediction before you run the code.
# 4. A pure function computes a result from its arguments and does nothing else. JAX transforms pure functions.
# 5. Hidden tests use inputs that you have not seen, and require only what the text says.
#
# ## Further reading
#
# - The JAX documentation: [JAX 101](https://docs.jax.dev/en/latest/101/index.html), above all [Transformations: grad and vmap](https://docs.jax.dev/en/latest/101/transformations.html).
# - If 0.3 or 0.4 surprised you: [NumPy: the absolute basics for beginners](https://numpy.org/doc/stable/user/absolute_beginners.html) and [Broadcasting](https://numpy.org/doc/stable/user/basics.broadcasting.html).
#
# ## Next
#
# [Lesson 01](../01_arrays/01_arrays.ipynb) is about arrays: where `jax.numpy` differs from NumPy.
