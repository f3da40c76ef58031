# %% [markdown]
# # 0 · Start here
#
# This page takes about twenty-five minutes. At its end you will know how an exercise of this course works:
# where you write, how a check answers, and what is marked. You will also know whether the NumPy
# and the Python that you bring are enough, and which machine your JAX computes on.
#
# Run each cell as you come to it, with Shift and Enter. In JupyterLab, first wait until the circle at the top right is hollow: what you run before that is dropped without a word.

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
# ## 0.1 Why anyone bothers
#
# Before the rules, a reason to go on. The next cell defines no function at all: it takes `tanh`
# from a library, and asks JAX for three more.

# %% tags=["demonstration"]
slope = jax.grad(jnp.tanh)
bend = jax.grad(slope)
third = jax.grad(bend)

x = jnp.linspace(-3.0, 3.0, 200)
for curve, label in ((jnp.tanh, "tanh"), (slope, "slope"), (bend, "bend"), (third, "third")):
    plt.plot(x, jax.vmap(curve)(x), label=label)
plt.legend(loc="upper left")
plt.title("tanh, and three derivatives that nobody wrote")
plt.show()

# %% [markdown]
# *The picture: `tanh` climbs from -1 to 1 through zero; its slope is a bump of height 1; the
# slope's slope rises to 0.77 and falls to -0.77; the third derivative dips to -2 in the middle.*
#
# `jax.grad` takes a function and returns a function, so it can be applied to its own result.
# `jax.vmap` turned functions of one number into functions of two hundred. Neither guessed: these
# are exact derivatives, not differences of neighbouring points. How that is possible is what the
# course is about. One condition runs through all of it: **JAX can only transform functions that
# are pure**, those that compute a result from their arguments and do nothing else. The reason is
# how it goes about it: it **traces** a function, which means that it calls it once with stand-ins
# that have a shape and a dtype, and writes down what is done to them. So the checks of this course
# look at more than your numbers. They ask whether JAX could do this to *your* function.

# %% [markdown]
# ## 0.2 A card, on purpose red
#
# **Exercise** · 4 minutes · difficulty 1 of 5
#
# Write `rescale(x)`: it moves and stretches an array so that its smallest number becomes 0 and its
# largest 1. An array whose numbers are all equal has nothing to stretch: give zeros for it.
#
# The notes in the signature, such as `Float[Array, "rows columns"]`, are for the reader: a float
# array with axes of these names (`"..."`: any axes, `""`: none). Nothing enforces them.
#
# First do it wrong. Replace the last two lines of the next cell by `return x / x.max()` and run
# that cell. Below the hints stands its check, folded to three dots; run it too, and read the card.
# Then mend the answer and run both again.


# %% exercise="rescale"
def rescale(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x` moved and stretched to run from 0 to 1; zeros where all of `x` is one number."""
    ### BEGIN SOLUTION
    spread = x.max() - x.min()
    return (x - x.min()) / jnp.where(spread > 0, spread, 1.0)
    ### END SOLUTION


# %% [markdown] hints="rescale"
# <details><summary>Hint 1: the idea</summary>
#
# Two steps: first move the smallest number to 0, then divide by what is now the largest.
#
# </details>
# <details><summary>Hint 2: the array with one number</summary>
#
# There the divisor is 0, and 0/0 is NaN. A Python `if` on an array's value will not do: JAX reads
# your function before it has values. `jnp.where(condition, this, that)` chooses without a branch.
#
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# ```python
# spread = ...                                # how far the numbers reach
# return (...) / jnp.where(spread > 0, ..., 1.0)
# ```
#
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
# What you saw is all that a card ever does. It lists what is asked, in order: a tick for what is
# met, a cross at the first thing that is not, and *not yet checked* for what lies behind it. Below
# stand the input at which it went wrong, the usual cause, and a next step. A check is all or
# nothing: 2 points or none. Run it as often as you like; nobody counts. A click on the three dots
# unfolds the check, if you want to see what it runs. Two things to know:
#
# - Green means that everything *shown here* is met. When your work is graded, **hidden tests** try
#   the same function on other sizes, other numbers and edge cases.
# - If the cell with your answer stops with an error, the name still holds your previous version.
#
# The collapsed lines above are **hints**. The first names the idea, the second the tool, the third
# the shape of the answer. They cost nothing. Opening one after five honest minutes is good
# practice; opening all three at once is reading, not learning.
#
# ## 0.3 Predict, then run
#
# Before something surprising happens the course asks what you expect. Write the answer first and
# run the cell afterwards: being wrong in writing is what makes it stick. Predictions are marked
# too, one point each; when you have it right, the card tells you why it is so.

# %% exercise="sum_shape" kind="prediction"
# The shape of np.ones((3, 1)) + np.ones(4), as a tuple:
### BEGIN SOLUTION
sum_shape = (3, 4)
### END SOLUTION

# %% check="sum_shape" points=1
check_answer(
    sum_shape,
    lambda: (np.ones((3, 1)) + np.ones(4)).shape,
    because="Shapes are aligned from the right, and an axis of size 1 is stretched: (3, 1) and "
    "(4,) meet as (3, 1) and (1, 4), and both give way to (3, 4).",
    mistakes={
        (3,): "A column of 3 and a row of 4 do not add up pairwise; each element meets each other.",
        "error": "NumPy does not refuse: an axis of size 1 is stretched to fit.",
        "ValueError": "NumPy does not refuse: an axis of size 1 is stretched to fit, on either side.",
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
    because="A Python function looks a name up when it is called, not when it is made; by then "
    "the loop has left `i` at 2. JAX adds a twist to this in lesson 3.",
    mistakes={0: "The three functions share one `i`; none of them kept the value it had."},
)

# %% tags=["demonstration"]
functions = [lambda: i for i in range(3)]
functions[0]()

# %% [markdown]
# ## 0.4 Find the bug
#
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# Each lesson has a bug hunt. Here is the first: `standardise_broken` should give each **column**
# mean 0 and standard deviation 1. It runs, it raises nothing, and it is wrong.


# %% tags=["demonstration"]
def standardise_broken(x):
    x = x - x.mean()
    return x / x.std()


heights_and_weights = jnp.array(np.random.default_rng(0).normal([170, 70], [8, 15], (300, 2)))
plt.scatter(*standardise_broken(heights_and_weights).T, s=8, label="broken")
plt.scatter(0, 0, marker="+", s=200, color="black", label="where the centre should be")
plt.axis("equal"), plt.xlabel("height"), plt.ylabel("weight")
plt.legend(loc="upper left")
plt.show()

# %% [markdown]
# *The picture: 300 points that should form a round cloud about the cross at the origin. They form
# a tall ellipse to the lower right of it: both columns were moved by the same number, and divided
# by the same number.*
#
# Write `standardise` so that the cloud is round and stands on the cross.


# %% exercise="standardise"
def standardise(x: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
    """`x` with each column moved to mean 0 and divided by its standard deviation."""
    ### BEGIN SOLUTION
    return (x - x.mean(axis=0)) / x.std(axis=0)
    ### END SOLUTION


# %% [markdown] hints="standardise"
# <details><summary>Hint 1: the idea</summary>
#
# `x.mean()` is one number for the whole array. You need one for each column.
#
# </details>
# <details><summary>Hint 2: the tool</summary>
#
# A reduction takes `axis`: the axis that disappears. To keep the columns, the rows must go.
#
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
        "the mean is taken by columns, the standard deviation is not": lambda x: (
            (x - x.mean(0)) / x.std()
        ),
        "the mean is taken by columns, the standard deviation over all that is left": lambda x: (
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
# ## 0.5 Functions as values
#
# **Exercise** · 4 minutes · difficulty 2 of 5
#
# JAX is a library of functions that take functions and return functions, so that part of Python
# should feel ordinary. Write `repeated(f, n)`, which returns a *function*: the one that applies
# `f` to its argument `n` times.


# %% exercise="repeated"
def repeated(f, n):
    """The function that applies `f` `n` times; for `n == 0` it returns its argument."""

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
#
# </details>
# <details><summary>Hint 2: the tool</summary>
#
# The inner function sees `f` and `n`. Give it a loop that replaces its own argument.
#
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
# ## 0.6 Leave what you were given alone
#
# **Exercise** · 3 minutes · difficulty 1 of 5
#
# The parameters of a model travel through this course as a dict of arrays. Write
# `scaled(params, factor)`: a **new** dict with the same keys, each array multiplied by `factor`.
# The dict that came in must be untouched afterwards.


# %% exercise="scaled"
def scaled(params: dict[str, Array], factor: float) -> dict[str, Array]:
    """A new dict that holds each array of `params` times `factor`."""
    ### BEGIN SOLUTION
    return {name: factor * array for name, array in params.items()}
    ### END SOLUTION


# %% [markdown] hints="scaled"
# <details><summary>Hint 1: the idea</summary>
#
# Build a second dict. Assigning to `params[...]` would change the caller's.
#
# </details>
# <details><summary>Hint 2: the tool</summary>
#
# A dict comprehension over `params.items()`.
#
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
# ## 0.7 Which machine is this
#
# JAX runs the same program on a CPU, a GPU or a TPU. It takes the fastest that it finds:

# %% tags=["demonstration"]
jax.default_backend(), jax.devices()

# %% [markdown]
# If this says `cpu`, all is well: every lesson runs on two ordinary cores. On a GPU or TPU the
# lessons run too, and say where the numbers differ.
#
# ## 0.8 Marks, and honesty
#
# Your mark is the sum of the points of the checks that pass, hidden tests included. An answer that
# only knows the inputs shown here will fail those; an answer that does what its docstring says will
# not. The last line of a card keeps count, in this lesson and in the course, and `progress` shows
# all of it, with the names of the exercises that are still open:

# %% tags=["demonstration"]
progress()

# %% [markdown]
# - A wrong answer costs its own points and no others. Go on, and come back.
# - Write in the cells that say `YOUR CODE HERE` or `...`. Check cells are locked, and restored
#   before grading; editing them changes nothing.
# - What a cell prints, and warnings, cost no points. A function that prints *while JAX traces it*
#   is another matter: it is not pure, and the check says so.
# - Before you hand in: *Kernel, Restart Kernel and Run All Cells*. Names left over from deleted
#   cells are the commonest reason why work passes for its author and fails when graded.
# - Whoever unfolds a check finds that sometimes the answer shines through. The points are theirs
#   then; what they stand for is not.
#
# ## What to remember
#
# 1. Answer, run, run the check, read the card.
# 2. The card names the first thing that is wrong, at which input, and what usually causes it.
# 3. Predict in writing before you run.
# 4. A pure function computes from its arguments and does nothing else; JAX transforms those.
# 5. Hidden tests ask for what the docstring says, on inputs that you have not seen.
#
# *Further reading*: the JAX documentation's *Quickstart*; *NumPy: the absolute basics for
# beginners* and its page on broadcasting, if 0.3 or 0.4 surprised you.
#
# Next, in **lesson 1**: arrays that look like NumPy's, cannot be changed, and do not complain when
# you index past their end.
