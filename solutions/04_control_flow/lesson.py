# %% [markdown]
# # 4 · Control flow
#
# Lesson 03 left two complaints: a branch on a value raises, and a loop in Python is written out turn by turn. Here both move into the program. After this lesson you can tell a choice between two finished results from a branch that runs alone, write a loop that stops when it is done, carry a state through any number of steps without a longer program, run a recurrence in parallel, and say which of these loops can be differentiated and what that costs in memory.
#
# About 90 minutes. You need lessons 01 to 03.

# %%
import time
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from graders import (
    check_answer,
    check_gradients,
    check_primitives,
    check_values,
    integers,
    normal,
    sweep,
    through,
)

# %% [markdown]
# ## 4.0 From last time
#
# **Recall** · 1 minute · difficulty 2 of 5
#
# What is `jnp.array([10, 20, 30])[7]`?

# %% exercise="far_index" kind="recall"
# A number, or the name of an exception as a string.
### BEGIN SOLUTION
far_index = 30
### END SOLUTION

# %% check="far_index" points=1
check_answer(
    far_index,
    lambda: int(jnp.array([10, 20, 30])[7]),
    because="A program cannot raise: an index that is too large reads the last element.",
    mistakes={"IndexError": "NumPy raises; a compiled program has no way to"},
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# `f = lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0)`. What is `jax.grad(f)(0.0)`?

# %% exercise="root_slope" kind="recall"
# A string, such as "1.0" or "inf".
### BEGIN SOLUTION
root_slope = "nan"
### END SOLUTION

# %% check="root_slope" points=1
check_answer(
    root_slope,
    lambda: str(jax.grad(lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0))(0.0)),
    because="Both sides are differentiated: a cotangent of zero meets an infinite slope, 0 · inf.",
    mistakes={
        "0.0": "the side that is not chosen is differentiated too, and its slope is infinite",
        "inf": "that slope is multiplied by a cotangent of zero",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# A function does `for _ in range(5): x = jnp.sin(x)` and returns `x`. How many `sin` equations does its jaxpr have?

# %% exercise="sines" kind="recall"
# An integer.
### BEGIN SOLUTION
sines = 5
### END SOLUTION

# %% check="sines" points=1
def five_sines(x):
    for _ in range(5):
        x = jnp.sin(x)
    return x


check_answer(
    sines,
    lambda: len(jax.make_jaxpr(five_sines)(1.0).eqns),
    because="Python's loop runs while the function is traced, and each turn is written down.",
    mistakes={1: "a Python loop leaves no loop behind: each turn is written down"},
)

# %% [markdown]
# ## 4.1 A branch inside the program
#
# `lax.cond(condition, if_true, if_false, *args)` takes a scalar boolean, which may be a tracer, and two functions.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# Each of the two functions begins with a Python `print`. A function under `jit` that calls `lax.cond` on a traced condition is called once. How many lines are printed?

# %% exercise="sides_traced" kind="prediction"
# An integer.
### BEGIN SOLUTION
sides_traced = 2
### END SOLUTION

# %% check="sides_traced" points=1
def count_sides():
    lines = []

    def positive(x):
        lines.append("positive")
        return jnp.sqrt(x)

    def negative(x):
        lines.append("negative")
        return -x

    jax.jit(lambda x: lax.cond(x > 0, positive, negative, x))(4.0)
    return len(lines)


check_answer(
    sides_traced,
    count_sides,
    because="The program must hold both branches, so both are traced; one of them runs.",
    mistakes={1: "one of them *runs*; but the program is written before the condition is known"},
)

# %% tags=["demonstration"]
def positive(x):
    print("tracing the positive branch")
    jax.debug.print("running the positive branch")
    return jnp.sqrt(x)


def negative(x):
    print("tracing the negative branch")
    jax.debug.print("running the negative branch")
    return jnp.zeros_like(x)


root = jax.jit(lambda x: lax.cond(x > 0, positive, negative, x))
print(root(4.0))

# %% [markdown]
# Both are traced, one runs. That is the difference from `jnp.where` (and to `lax.select`, on which it is built), which gets two finished arrays: both sides have been computed, every time.
#
# | | condition | runs | use it for |
# |---|---|---|---|
# | `jnp.where`, `lax.select` | an array, one for each element | both sides | elements; cheap sides |
# | `lax.cond` | one scalar | one branch | an expensive branch |
# | `lax.switch` | one integer, clamped into range | one branch | a table of functions |
# | Python's `if` | known while tracing | what was traced | shapes, static arguments |
#
# Derivatives follow: `where` differentiates both sides, `cond` the branch that ran.

# %% tags=["demonstration"]
print("where:", jax.grad(lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0))(0.0))
print("cond: ", jax.grad(lambda x: lax.cond(x > 0, jnp.sqrt, jnp.zeros_like, x))(0.0))

# %% [markdown]
# (Under `vmap`, with a condition for each example, a `cond` becomes a select, and both sides run after all: lesson 06.) Both branches must return the same structure, shapes and dtypes, since a program has one result type.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# Now that branches are possible, someone writes a factorial: `def factorial(n): return lax.cond(n <= 1, lambda: 1, lambda: n * factorial(n - 1))`. What is `factorial(5)`?

# %% exercise="recursion" kind="prediction"
# A number, or the name of an exception as a string, such as "ValueError".
### BEGIN SOLUTION
recursion = "RecursionError"
### END SOLUTION

# %% check="recursion" points=1
def ask_the_recursion():
    def factorial(n):
        return lax.cond(n <= 1, lambda: 1, lambda: n * factorial(n - 1))

    try:
        return int(factorial(5))
    except Exception as error:
        return type(error).__name__


check_answer(
    recursion,
    ask_the_recursion,
    because="To write the second branch down, it must be traced, and so must the one inside it.",
    mistakes={
        120: "both branches are traced before either runs: where would the tracing end?",
        "TracerBoolConversionError": "`cond` takes a tracer as its condition, without an `if`",
    },
)

# %% tags=["demonstration"]
def factorial(n):
    return lax.cond(n <= 1, lambda: 1, lambda: n * factorial(n - 1))


try:
    factorial(5)
except RecursionError as error:
    print(f"RecursionError: {error}")

# %% [markdown]
# Even at `n = 1` the second branch is traced, and it asks for `factorial(0)`, and that for `factorial(-1)`: no number ends the tracing. A recursion over data becomes a loop; recursion over *structure* (a tree, a shape) is fine, since Python's own `if` ends it.
#
# ### The smoothest hat
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `hat(x)` is $e^{-1/(1-x^2)}$ where $|x| < 1$, and 0 elsewhere, element by element; it has derivatives of all orders, everywhere. The first draft, `math.exp(-1 / (1 - x * x)) if abs(x) < 1 else 0.0`, raises for an array. Values and gradients are right for all finite `x`, at $\pm 1$ and far outside too.

# %% exercise="hat"
def hat(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """exp(-1 / (1 - x^2)) where |x| < 1, else 0; elementwise, with finite gradients."""
    ### BEGIN SOLUTION
    inside = jnp.abs(x) < 1
    safe = jnp.where(inside, x, 0.0)
    return jnp.where(inside, jnp.exp(-1 / (1 - safe**2)), 0.0)
    ### END SOLUTION

# %% [markdown] hints="hat"
# <details><summary>Hint 1: the idea</summary>
#
# Each element makes its own choice, so the tool is `jnp.where`. Then look at what the side that is not chosen does at 1 and at 1.001.
# </details>
# <details><summary>Hint 2: the gradient</summary>
#
# As in lesson 02: make the *input* harmless where the formula does not apply, before you use the formula.
# </details>

# %% check="hat" points=3
def hat_by_element(x, outside=0.0, inner=lambda v: np.exp(-1 / (1 - v * v))):
    y = np.array([inner(v) if abs(v) < 1 else outside for v in np.ravel(x)])
    return y.reshape(np.shape(x))


def hat_slope(x):
    return hat_by_element(
        x, inner=lambda v: -2 * v / (1 - v * v) ** 2 * np.exp(-1 / (1 - v * v))
    )


points = np.float32([-2.0, -1.0, -0.9, -0.3, 0.0, 0.5, 0.7, 1.0, 1.0001, 30.0])
near = np.float32([-0.9999, -0.97, -1e-6, -0.0, 1e-6, 0.01, 0.1, 0.6, 0.95, 0.99999])
check_values(
    hat,
    hat_by_element,
    [(points,), (near,), *sweep("n", count=1, planted=True)],
    atol=1e-9,  # the hat is low near its brim
    mistakes={
        "the sign of the exponent": lambda x: hat_by_element(
            x, inner=lambda v: np.exp(1 / (1 - v * v))
        ),
        "the height is 1 at zero: a factor e too much": lambda x: np.e * hat_by_element(x),
    },
)
check_gradients(hat, points, expected=hat_slope)
### BEGIN HIDDEN TESTS
check_values(
    hat,
    hat_by_element,
    [*sweep("4 3", seed=2, count=1), (np.float32(0.25),), (np.float32([-1e10, 1e10]),)],
    about="other shapes, and large numbers",
)
### END HIDDEN TESTS

# %% [markdown]
# ### Now and then
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# Some things are too dear for each step: a preconditioner, an evaluation. `now_and_then(step, every, expensive, x, cached)` is `expensive(x)` at steps 0, `every`, 2 · `every`, ...; at the others it is `cached`, and `expensive` does not run. Its result is a tree like `cached`; `step` and `every` are traced integers.

# %% exercise="now_and_then"
def now_and_then(step: Int[Array, ""], every: Int[Array, ""], expensive, x, cached):
    """`expensive(x)` when `step` is a multiple of `every`, otherwise `cached`."""
    ### BEGIN SOLUTION
    return lax.cond(step % every == 0, expensive, lambda x: cached, x)
    ### END SOLUTION

# %% [markdown] hints="now_and_then"
# <details><summary>Hint 1: the idea</summary>
#
# Of the four rows in the table, which one does not run what is not chosen, and takes a condition that is a tracer?
# </details>
# <details><summary>Hint 2: the skeleton</summary>
#
# `lax.cond(condition, if_true, if_false, x)`: both functions get `x`. One of them may ignore it.
# </details>

# %% check="now_and_then" points=2
def doubled(x):
    return {"twice": 2 * x, "sum": x + 1}


def powers(x):
    return x.sum(), [x**2, x**3]


def stacked(trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def turns_of(choose, expensive, x, cached, every):
    """What `choose` returns at the first ten steps, and at steps 60 and 61, compiled."""
    compiled = jax.jit(lambda step, every: choose(step, every, expensive, x, cached))
    results = [compiled(jnp.int32(step), every) for step in (*range(10), 60, 61)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


def by_turns(expensive, x, cached, every, due=lambda step, every: step % every == 0):
    steps = (*range(10), 60, 61)
    return stacked([expensive(x) if due(step, every) else cached for step in steps])


def runs_of_expensive(choose, x, every):
    runs = []

    def note(x):
        runs.append(1)
        return np.asarray(x)

    def noted(x):
        return jax.pure_callback(note, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    compiled = jax.jit(lambda step: choose(step, jnp.int32(every), noted, x, x))
    jax.block_until_ready([compiled(jnp.int32(step)) for step in range(6)])
    return jnp.int32(len(runs))


check_values(
    through(turns_of, now_and_then),
    by_turns,
    sweep(doubled, "2", {"twice": "2", "sum": "2"}, np.int32(4), count=2)
    + sweep(powers, "n", ("", ["n", "n"]), np.int32(2), count=2, planted=True),
    mistakes={
        "the branches are exchanged": partial(by_turns, due=lambda step, every: step % every),
        "the counting starts at one": partial(by_turns, due=lambda s, every: (s + 1) % every == 0),
    },
    about="some steps",
)
check_values(
    through(runs_of_expensive, now_and_then),
    [np.array(2), np.array(1)],
    [(np.float32([1.0, 2.0]), 4), (np.float32([3.0, 4.0, 5.0]), 8)],
    mistakes={"expensive ran at every step": lambda x, every: np.array(6)},
    about="how often expensive ran",
)
### BEGIN HIDDEN TESTS
check_values(
    through(turns_of, now_and_then),
    by_turns,
    sweep(doubled, "1", {"twice": "1", "sum": "1"}, np.int32(3), count=1)
    + sweep(doubled, "1", {"twice": "1", "sum": "1"}, np.int32(1), count=1),
    mistakes={
        "right for powers of two only": partial(
            by_turns, due=lambda step, every: step & (every - 1) == 0
        )
    },
    about="other periods",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 4.2 Until it is good enough
#
# `lax.while_loop(go_on, body, start)` is Python's `while`, with the state made explicit: `go_on(state)` gives a scalar boolean, `body(state)` the next state. The state is any tree, and there is no other way out of the loop: what you want to know afterwards, a count for instance, is carried along.
#
# It answers a question by working until it is answered. Here Newton's method looks for a solution of $z^3 = 1$, from each of 90,000 points of the complex plane at once; each point counts its own steps, and the loop ends when the last point has arrived, or after 40 turns.

# %% tags=["demonstration"]
@jax.jit
def steps_to_a_root(z):
    def go_on(state):
        z, _, turn = state
        return jnp.any(jnp.abs(z**3 - 1) > 1e-3) & (turn < 40)

    def body(state):
        z, steps, turn = state
        searching = jnp.abs(z**3 - 1) > 1e-3
        return jnp.where(searching, z - (z**3 - 1) / (3 * z**2), z), steps + searching, turn + 1

    return lax.while_loop(go_on, body, (z, jnp.zeros(z.shape, int), 0))

# %% tags=["demonstration"]
side = jnp.linspace(-1.5, 1.5, 300)
z, steps, turns = steps_to_a_root(side + 1j * side[:, None])
late = int(jnp.sum(jnp.abs(z**3 - 1) > 1e-3))
print("turns of the loop:", turns, "| points still searching:", late)
plt.figure(figsize=(6, 5))
plt.imshow(steps, extent=(-1.5, 1.5, -1.5, 1.5), origin="lower", cmap="magma", vmax=20)
plt.xlabel("real part of the start"), plt.ylabel("imaginary part")
plt.colorbar(label="steps to a root")
plt.show()

# %% [markdown]
# *Three dark basins, where a handful of steps is enough, one around each cube root of 1. Between them run bright chains of ever smaller bulbs, where Newton's method wanders for 20 steps and more before it decides.*
#
# One loop has one exit for the whole array: the quick points wait for the slow ones, and the `where` keeps them still meanwhile.
#
# ### Newton stops early
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# `newton(f, x, tolerance, most)` repeats $x \leftarrow x - f(x)/f'(x)$, for a scalar, until $|f(x)|$ is at most `tolerance` or `most` steps are done (none, where the start is good enough). It returns `(x, steps)`, with `steps` an integer. It runs under `jit`, with `tolerance` and `most` traced.

# %% exercise="newton"
def newton(f, x: Float[Array, ""], tolerance: Float[Array, ""], most: Int[Array, ""]):
    """`(x, steps)`: Newton's method from `x` until |f(x)| <= tolerance, at most `most` steps."""
    ### BEGIN SOLUTION
    def go_on(state):
        x, steps = state
        return (jnp.abs(f(x)) > tolerance) & (steps < most)

    def body(state):
        x, steps = state
        return x - f(x) / jax.grad(f)(x), steps + 1

    return lax.while_loop(go_on, body, (x, 0))
    ### END SOLUTION

# %% [markdown] hints="newton"
# <details><summary>Hint 1: the idea</summary>
#
# What must the next turn know? That is the state: two numbers. And turn the question round: not when to stop, but when to go on.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.grad(f)` inside the body. Two traced booleans are joined by `&`; `and` would ask for a truth value.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# `def go_on(state): x, steps = state; return ... & ...`, `def body(state): ...; return new_x, steps + 1`, then `lax.while_loop(go_on, body, (x, 0))`.
# </details>

# %% check="newton" points=3
def compiled_newton(newton, f, x, tolerance, most):
    program = jax.jit(lambda x, tolerance, most: newton(f, x, tolerance, most))
    return program(x, tolerance, most)


def newton_by_hand(f, x, tolerance, most, small=lambda f, x, before: abs(f(x)), patient=False):
    x, steps, before = np.float64(x), 0, np.inf
    while steps < most and (patient or small(f, x, before) > tolerance):
        slope = (f(x + 1e-6) - f(x - 1e-6)) / 2e-6
        x, before, steps = x - f(x) / slope, x, steps + 1
    return np.float64(x), np.array(steps)


def by_movement(f, x, tolerance, most):
    return newton_by_hand(f, x, tolerance, most, lambda f, x, before: abs(x - before))


def squared(f, x, tolerance, most):
    return newton_by_hand(f, x, tolerance, most, lambda f, x, before: f(x) ** 2)


def one_late(f, x, tolerance, most):
    start = np.float64(x)
    return newton_by_hand(
        f, x, tolerance, most, lambda f, x, before: abs(f(start if np.isinf(before) else before))
    )


def signed(f, x, tolerance, most):
    return newton_by_hand(f, x, tolerance, most, lambda f, x, before: f(x))


def square_minus_two(x):
    return x * x - 2


def cubic(x):
    return x * x * x - 2 * x + 3


def flat(x):
    return x**20


def falling(x):
    return 5 - x * x


check_values(
    through(compiled_newton, newton),
    newton_by_hand,
    [
        (square_minus_two, np.float32(2.0), np.float32(1e-3), np.int32(20)),
        (square_minus_two, np.float32(0.5), np.float32(0.1), np.int32(20)),
        (square_minus_two, np.float32(9.0), np.float32(1e-3), np.int32(2)),
        (cubic, np.float32(-3.0), np.float32(1e-3), np.int32(30)),
        (square_minus_two, np.float32(-7.0), np.float32(1e-3), np.int32(20)),
        (flat, np.float32(1.2), np.float32(1e-3), np.int32(100)),
        (falling, np.float32(2.0), np.float32(1e-3), np.int32(20)),
        (falling, np.float32(900.0), np.float32(1.0), np.int32(3)),
    ],
    mistakes={
        "all steps are taken, however early the root is found": partial(
            newton_by_hand, patient=True
        ),
        "it stops where it should go on": lambda f, x, tolerance, most: (x, np.array(0)),
        "it waits for a small step, not for a small f(x)": by_movement,
        "the sign of f(x) is not taken off": signed,
        "the square of f(x) is compared with the tolerance": squared,
        "f is looked at where the step began, not where it ended": one_late,
    },
    about="some searches",
)


def at_least_once(f, x, tolerance, most):
    moved = newton_by_hand(f, x, np.inf, 1, patient=True)[0]
    found, steps = newton_by_hand(f, moved, tolerance, most - 1)
    return found, steps + 1


def until_below(f, x, tolerance, most):
    return newton_by_hand(f, x, np.nextafter(tolerance, 0), most)


check_values(
    through(compiled_newton, newton),
    newton_by_hand,
    [
        (square_minus_two, np.float32(1.4), np.float32(0.1), np.int32(9)),
        (square_minus_two, np.float32(2.0), np.float32(2.0), np.int32(9)),
    ],
    mistakes={
        "it steps before it looks": at_least_once,
        "it goes on where |f(x)| equals the tolerance": until_below,
    },
    about="starts that are good enough, the second exactly",
)
### BEGIN HIDDEN TESTS
check_values(
    through(compiled_newton, newton),
    newton_by_hand,
    [
        (cubic, np.float32(-1.0), np.float32(1e-3), np.int32(0)),
        (flat, np.float32(1.2), np.float32(1e-15), np.int32(100)),
    ],
    about="no step allowed, and a long search",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 4.3 Scan: a loop with a memory and a diary
#
# The loop of machine learning is `lax.scan(body, start, xs)`. `body(carry, x)` returns the next carry and one entry `y` for the diary; `xs` is cut along its first axis, the `y`s are stacked along theirs. In Python:
#
# ```
# carry, ys = start, []
# for x in xs:
#     carry, y = body(carry, x)
#     ys.append(y)
# return carry, jnp.stack(ys)
# ```
#
# The carry, `xs` and `ys` may be trees; `xs=None` with `length=n` loops without input; `reverse=True` goes backwards.
#
# **Prediction** · 2 minutes · difficulty 2 of 5
#
# `carry, ys = lax.scan(lambda c, x: (c + x, c), 0.0, jnp.array([1.0, 2.0, 3.0, 4.0]))`. What is `ys`?

# %% exercise="diary" kind="prediction"
# A tuple of numbers.
### BEGIN SOLUTION
diary = (0.0, 1.0, 3.0, 6.0)
### END SOLUTION

# %% check="diary" points=1
check_answer(
    diary,
    lambda: lax.scan(lambda c, x: (c + x, c), 0.0, jnp.array([1.0, 2.0, 3.0, 4.0]))[1],
    because="The body puts down `c`, the carry that came in, before `x` joined it.",
    mistakes={
        (1.0, 3.0, 6.0, 10.0): "these are the carries that go out; the body puts down `c` itself",
        (1.0, 2.0, 3.0, 4.0): "these are the inputs",
    },
)

# %% tags=["demonstration"]
print(lax.scan(lambda c, x: (c + x, c), 0.0, jnp.array([1.0, 2.0, 3.0, 4.0])))

# %% [markdown]
# ### Statistics of a stream
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# Row $t$ of `mean` and of `variance` in `mean, variance = running_stats(x)` describes rows $0 \ldots t$ of `x`: the mean, and the mean squared distance from it. One pass, by `scan`, and no difference of two large sums (it drowns in float32). Welford's rule: with $\delta = x_n - \mu_{n-1}$, $\mu_n = \mu_{n-1} + \delta/n$ and $S_n = S_{n-1} + \delta\,(x_n - \mu_n)$; the variance is $S_n/n$.

# %% exercise="running_stats"
def running_stats(
    x: Float[Array, "time features"],
) -> tuple[Float[Array, "time features"], Float[Array, "time features"]]:
    """Mean and variance of the rows so far, after each row."""
    ### BEGIN SOLUTION
    def body(carry, row):
        n, mean, total = carry
        delta = row - mean
        mean = mean + delta / (n + 1)
        total = total + delta * (row - mean)
        return (n + 1, mean, total), (mean, total / (n + 1))

    zeros = jnp.zeros_like(x[0])
    return lax.scan(body, (0, zeros, zeros), x)[1]
    ### END SOLUTION

# %% [markdown] hints="running_stats"
# <details><summary>Hint 1: the idea</summary>
#
# Carry three things: how many rows there were, their mean, and S. The diary has two entries a row.
# </details>
# <details><summary>Hint 2: the skeleton</summary>
#
# `def body(carry, row): n, mean, total = carry; ...; return (n, mean, total), (mean, total / n)`. At the start all three are zero, two of them with the shape of a row.
# </details>

# %% check="running_stats" points=3
def so_far(x, less=0, power=1):
    means = [x[: t + 1].mean(axis=0) for t in range(len(x))]
    sums = [((x[: t + 1] - m) ** 2).sum(axis=0) for t, m in enumerate(means)]
    variances = [s / max(t + 1 - less, 1) for t, s in enumerate(sums)]
    return np.array(means), np.array(variances) ** power


def about_running_mean(x, old=False):
    means = so_far(x)[0]
    centres = np.concatenate([0 * means[:1], means[:-1]]) if old else means
    squares = np.cumsum((x - centres) ** 2, axis=0)
    return means, squares / np.arange(1, len(x) + 1)[:, None]


check_values(
    running_stats,
    so_far,
    [*sweep("6 3", count=2, planted=True), *sweep("200 3", count=1, seed=1)],
    atol=1e-5,
    mistakes={
        "divided by n - 1": partial(so_far, less=1),
        "the standard deviation": partial(so_far, power=0.5),
        "each row's distance is from the new mean alone": about_running_mean,
        "S grows by the square of delta": partial(about_running_mean, old=True),
    },
)
far_away = np.float32(3000 + np.random.default_rng(0).normal(size=(12, 3)))
check_values(running_stats, so_far, [(far_away,)], rtol=5e-3, about="rows far from zero")
check_primitives(
    running_stats, np.ones((6, 3)), requires=["scan"], same_size_for=[(np.ones((9, 3)),)]
)
### BEGIN HIDDEN TESTS
check_values(
    running_stats, so_far, [(np.float32([[2.0, -3.0]]),), *sweep("7 5", seed=3, count=1)], atol=1e-5
)
### END HIDDEN TESTS

# %% [markdown]
# ## 4.4 A carry keeps its type
#
# A carry that goes out as something other than what came in would need another program for each turn. So structure, shape and dtype are fixed at the start:

# %% tags=["demonstration"]
def type_error(body, start):
    try:
        lax.scan(body, start, jnp.ones(3))
    except TypeError as error:
        return str(error).split("\n")[2]  # the line that names the two types


print(type_error(lambda c, x: (c + x, None), jnp.int32(0)))
print(type_error(lambda c, x: (jnp.append(c, x), None), jnp.zeros(0)))
print(type_error(lambda c, x: ([c[0] + x], None), (0.0,)))

# %% [markdown]
# With one exception: a Python number is weakly typed (lesson 01), and at the start it takes the dtype that the body returns for it.

# %% tags=["demonstration"]
print(lax.scan(lambda c, x: (c + x, None), 0, jnp.ones(3))[0].dtype)

# %% [markdown]
# The integer 0 has become a float, without a word. A count that begins as `0` can end as a float in this way, if one line in the body lets a float in. (The loop adapts once. If the change then spreads to another part of the carry, it raises after all.)
#
# ### Bug hunt: the longest run of heads
#
# A tosser of coins wants the longest run of heads, and the length of the run that each toss belongs to (0 for tails).

# %% tags=["demonstration", "raises-exception"]
def longest_run_broken(heads):
    def body(carry, head):
        current, longest = carry
        longest = jnp.maximum(longest, current)
        current = jnp.where(head, current + 1, 0.0)
        return [current, longest], current

    (_, longest), lengths = lax.scan(body, (0, 0), heads)
    return longest, lengths


longest_run_broken(jnp.array([True, True, False, True]))

# %% [markdown]
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# Mend it. There are three faults, and JAX has named one. `longest` and `lengths` are integers; with no tosses the longest run is 0. In `lengths` a run counts up: heads, heads, tails, heads gives 1, 2, 0, 1.

# %% exercise="longest_run"
def longest_run(heads: Bool[Array, "tosses"]) -> tuple[Int[Array, ""], Int[Array, "tosses"]]:
    """The longest run of True, and at each place how long the run is so far."""
    ### BEGIN SOLUTION
    def body(carry, head):
        current, longest = carry
        current = jnp.where(head, current + 1, 0)
        return (current, jnp.maximum(longest, current)), current

    (_, longest), lengths = lax.scan(body, (0, 0), heads)
    return longest, lengths
    ### END SOLUTION

# %% [markdown] hints="longest_run"
# <details><summary>Hint 1: the three</summary>
#
# One is about brackets, one about a dot, one about the order of two lines: what if the last toss ends the longest run?
# </details>
# <details><summary>Hint 2: finding them</summary>
#
# Mend what raises, as long as anything does. Then look at the dtypes of the result, and at `[True]`.
# </details>

# %% check="longest_run" points=2
def toss_by_toss(heads, late=False, reset=True):
    lengths, current, longest = [], 0, 0
    for head in heads:
        longest = max(longest, current) if late else longest
        current = current + 1 if head else (0 if reset else current)
        longest = longest if late else max(longest, current)
        lengths.append(current)
    return np.array(longest), np.array(lengths, int)


check_values(
    longest_run,
    toss_by_toss,
    [
        (np.array([True, True, False, True]),),
        (np.array([False, True, False, True, True, True]),),
        (np.array([True, True, True, True, False, True, True, False]),),
        (np.array([False, True, True, False]),),
        (np.random.default_rng(5).random(60) < 0.8,),
    ],
    mistakes={
        "a run that ends with the last toss is missed": partial(toss_by_toss, late=True),
        "tails do not end a run": partial(toss_by_toss, reset=False),
        "the run at the end, not the longest": lambda heads: (
            np.array(toss_by_toss(heads)[1][-1]),
            toss_by_toss(heads)[1],
        ),
    },
)
### BEGIN HIDDEN TESTS
def counted_in_int8(heads):
    lengths = np.array([(n + 128) % 256 - 128 for n in toss_by_toss(heads)[1]], int)
    return lengths.max(initial=0), lengths


check_values(
    longest_run,
    toss_by_toss,
    [(np.zeros(3, bool),), (np.ones(5, bool),), (np.zeros(0, bool),), (np.arange(700) > 9,)],
    mistakes={"the counts are int8, which ends at 127": counted_in_int8},
    about="no heads, only heads, no tosses, a long run",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 4.5 One page for a thousand turns
#
# The same function, its loop once in Python and once in the program: how long is the jaxpr, and how long does compiling take?

# %% tags=["demonstration"]
def in_python(x, turns):
    for _ in range(turns):
        x = jnp.sin(x) + 0.1 * x
    return x


def in_the_program(x, turns):
    return lax.scan(lambda x, _: (jnp.sin(x) + 0.1 * x, None), x, length=turns)[0]


def size_and_seconds(f, turns):
    size = str(jax.make_jaxpr(f, static_argnums=1)(jnp.ones(100), turns)).count("\n")
    start = time.perf_counter()
    jax.jit(f, static_argnums=1).lower(jnp.ones(100), turns).compile()
    return size, time.perf_counter() - start

# %% tags=["demonstration"]
counts = [4, 16, 64, 256]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.5))
for name, f in {"loop in Python": in_python, "scan": in_the_program}.items():
    size_and_seconds(f, 1)  # warm up
    sizes, seconds = zip(*[size_and_seconds(f, turns) for turns in counts])
    axes[0].loglog(counts, sizes, "o-", label=name)
    axes[1].semilogx(counts, seconds, "o-", label=name)
axes[0].set(xlabel="turns", ylabel="lines of the jaxpr")
axes[1].set(xlabel="turns", ylabel="seconds to compile", ylim=(0, None))
axes[0].legend(), plt.tight_layout()
plt.show()

# %% [markdown]
# *Left, on logarithmic axes: the lines of the loop in Python rise in proportion to the turns. Right, with a linear axis for the seconds: for many turns its compilation takes several times as long as for few. The scan is flat in both panels: the same lines, and about the same time to compile, for 4 turns and for 256.*
#
# A less visible way to unroll is `for row in x` over a tracer, or Python's own `sum`. Neither raises; each row costs two equations to cut it out, and then the body:

# %% tags=["demonstration"]
program = jax.make_jaxpr(lambda x: sum(row for row in x))(jnp.ones(100))
print(len(program.eqns), "equations;", len(jax.make_jaxpr(jnp.sum)(jnp.ones(100)).eqns), "with jnp")

# %% [markdown]
# `lax.fori_loop(start, stop, body, state)` is for loops that need a counter and no diary. It is a scan where both bounds are known while tracing, and otherwise a `while`; that will matter in 4.8. `lax.map(f, xs)` is a scan without a carry: it applies `f` to one row after another, or to `batch_size` rows at a time where memory allows.

# %% tags=["demonstration"]
cloud = jnp.asarray(np.random.default_rng(0).normal(size=(1000, 3)), jnp.float32)
nearest = jax.jit(
    lambda x: lax.map(lambda p: jnp.sort(jnp.sum((x - p) ** 2, 1))[1], x, batch_size=50)
)
print("mean squared distance to the nearest neighbour:", nearest(cloud).mean())

# %% [markdown]
# The full table of differences would have 1000 · 1000 · 3 numbers; this program never holds more than a twentieth of it.
#
# ### A machine of your own
# **Exercise** · 8 minutes · difficulty 4 of 5
#
# A calculator has a display and a memory, which starts at 0. Each instruction is a code and a number: 0 adds the number to the display, 1 multiplies the display by it, 2 copies the display to memory, 3 adds the memory to the display (2 and 3 ignore the number). A code outside 0 ... 3 changes nothing. `calculate(codes, numbers, x)` starts with `x` on the display, and returns `(display, history)`, with the display after each instruction in `history`. It is one scan, and so an interpreter that needs no compiling for a new program. `lax.switch` can choose the operation.

# %% exercise="calculate"
def calculate(
    codes: Int[Array, "length"], numbers: Float[Array, "length"], x: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, "length"]]:
    """The display at the end, and after each instruction."""
    ### BEGIN SOLUTION
    operations = [
        lambda display, memory, number: (display + number, memory),
        lambda display, memory, number: (display * number, memory),
        lambda display, memory, number: (display, display),
        lambda display, memory, number: (display + memory, memory),
        lambda display, memory, number: (display, memory),
    ]

    def body(carry, instruction):
        code, number = instruction
        known = (code >= 0) & (code < 4)
        carry = lax.switch(jnp.where(known, code, 4), operations, *carry, number)
        return carry, carry[0]

    (display, _), history = lax.scan(body, (x, jnp.zeros_like(x)), (codes, numbers))
    return display, history
    ### END SOLUTION

# %% [markdown] hints="calculate"
# <details><summary>Hint 1: the idea</summary>
#
# The carry is (display, memory); what is scanned is the pair (codes, numbers). Every operation takes display, memory and number, and returns a new display and memory.
# </details>
# <details><summary>Hint 2: unknown codes</summary>
#
# `lax.switch(index, functions, *args)` clamps its index, without a word. A fifth function that changes nothing helps, and a `jnp.where` that sends there whatever is unknown.
# </details>

# %% check="calculate" points=3
def button_by_button(codes, numbers, x, clamp=(), memory_start=0.0, early=False):
    display, memory, history = float(x), memory_start, []
    for code, number in zip(codes, numbers):
        before = display
        code = np.clip(code, 0, 3) if (code < 0 and "low" in clamp) else code
        code = np.clip(code, 0, 3) if (code > 3 and "high" in clamp) else code
        if code == 0:
            display += number
        elif code == 1:
            display *= number
        elif code == 2:
            memory = display
        elif code == 3:
            display += memory
        history.append(before if early else display)
    return np.array(display), np.array(history)


tune = np.int32([0, 2, 1, 3, 1]), np.float32([2.0, 5.0, 3.0, 7.0, -1.0])
check_values(
    calculate,
    button_by_button,
    [
        (*tune, np.float32(1.5)),
        (np.int32([3, 0, 2, 9]), np.float32([1.0, 2.0, 3.0, 4.0]), np.float32(0.5)),
        (np.int32([2, 3, -1, 0]), np.float32([1.0, 2.0, 3.0, 4.0]), np.float32(0.5)),
        (np.int32([3, 0, 2, 1]), np.float32([np.nan, 300.0, np.inf, 0.0]), np.float32(-0.25)),
        (np.int32([2, 3, 9, 1]), np.float32([np.nan, np.inf, np.nan, 1e3]), np.float32(123.4)),
        *sweep(integers("30", -1, 6), "30", "", count=2, seed=6),
    ],
    mistakes={
        "an unknown code is clamped to 0 or 3": partial(button_by_button, clamp=("low", "high")),
        "a code above 3 counts as 3": partial(button_by_button, clamp=("high",)),
        "a negative code counts as 0": partial(button_by_button, clamp=("low",)),
        "the history holds the display before each instruction": partial(
            button_by_button, early=True
        ),
        "the memory starts with x": lambda codes, numbers, x: button_by_button(
            codes, numbers, x, memory_start=float(x)
        ),
    },
)
check_primitives(
    calculate,
    *tune,
    np.float32(1.5),
    requires=["scan"],
    same_size_for=[(np.int32([0, 1]), np.float32([1.0, 2.0]), np.float32(0.0))],
)
### BEGIN HIDDEN TESTS
check_values(
    calculate,
    button_by_button,
    [
        (np.int32([0, -4, 2, 3, 4, 3]), np.float32([0.5, 2, 3, 4, 5, 6]), np.float32(-1.0)),
        (np.int32([1, -2, 0, 100]), np.float32([3.0, 2.0, 3.0, 4.0]), np.float32(2.0)),
        (np.int32([1, 2**31 - 1, 0]), np.float32([3.0, 2.0, 3.0]), np.float32(2.0)),
    ],
    mistakes={
        "a code of -2 counts from the end": lambda codes, numbers, x: button_by_button(
            np.where((codes < -1) & (codes > -5), codes + 4, codes), numbers, x
        )
    },
    about="other programs",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 4.6 Networks that remember, training that is one call
#
# A recurrent network *is* a scan: the carry is what it remembers.
#
# ### A recurrent network
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# With $h_{-1} = 0$: $h_t = \tanh(x_t W_{in} + h_{t-1} W_{hid} + b_{hid})$ and $o_t = h_t W_{out} + b_{out}$. The weights are `params["input"]["w"]`, `params["hidden"]["w"]`, `params["hidden"]["b"]`, `params["output"]["w"]`, `params["output"]["b"]`. `rnn(params, x)` returns `(h, outputs)`: the last state and all outputs. The program has one size for every length, and the gradient flows through all steps.

# %% exercise="rnn"
def rnn(
    params, x: Float[Array, "time inputs"]
) -> tuple[Float[Array, "hidden"], Float[Array, "time outputs"]]:
    """The last hidden state, and the output at each time."""
    ### BEGIN SOLUTION
    def body(h, x):
        recalled = h @ params["hidden"]["w"] + params["hidden"]["b"]
        h = jnp.tanh(x @ params["input"]["w"] + recalled)
        return h, h @ params["output"]["w"] + params["output"]["b"]

    return lax.scan(body, jnp.zeros_like(params["hidden"]["b"]), x)
    ### END SOLUTION

# %% [markdown] hints="rnn"
# <details><summary>Hint 1: the idea</summary>
#
# Carry: the hidden state. Diary: the output. The parameters change at no step; the body may take them from outside.
# </details>
# <details><summary>Hint 2: the start</summary>
#
# Which parameter has the shape of the hidden state? `jnp.zeros_like` of it will do.
# </details>

# %% check="rnn" points=3
def recurrent(params, x, biased=True, squash=np.tanh, late=False, shifted=True):
    h, outputs = np.zeros(params["hidden"]["w"].shape[0]), []
    for row in x:
        before = h
        into = row @ params["input"]["w"] + h @ params["hidden"]["w"]
        h = squash(into + biased * params["hidden"]["b"])
        seen = before if late else h
        outputs.append(seen @ params["output"]["w"] + shifted * params["output"]["b"])
    return h, np.array(outputs)


def weights(inputs, hidden, outputs):
    return {
        "input": {"w": f"{inputs} {hidden}"},
        "hidden": {"w": f"{hidden} {hidden}", "b": f"{hidden}"},
        "output": {"w": f"{hidden} {outputs}", "b": f"{outputs}"},
    }


def other_weights(params, x, w_in, w_hid):
    hidden = {**params["hidden"], "w": w_hid(params)}
    return recurrent({**params, "input": {"w": w_in(params)}, "hidden": hidden}, x)


def outputs_of(rnn, params, x):
    return rnn(params, x)[1]


sequence = sweep(weights(3, 3, 2), "5 3", count=2, scale=0.7, planted=True)
longer = np.ones((8, 3))
check_values(
    rnn,
    recurrent,
    [*sequence, *sweep(weights(3, 3, 4), "40 3", count=1, scale=0.4, seed=1)],
    mistakes={
        "the output is made of the old state": partial(recurrent, late=True),
        "the hidden bias is left out": partial(recurrent, biased=False),
        "the output bias is left out": partial(recurrent, shifted=False),
        "W_in is transposed, as PyTorch keeps its weights": partial(
            other_weights, w_in=lambda p: p["input"]["w"].T, w_hid=lambda p: p["hidden"]["w"]
        ),
        "ReLU instead of tanh": partial(recurrent, squash=lambda v: np.maximum(v, 0)),
        "W_hid is transposed, as PyTorch keeps its weights": partial(
            other_weights, w_in=lambda p: p["input"]["w"], w_hid=lambda p: p["hidden"]["w"].T
        ),
        "W_in and W_hid are exchanged; `body` gets the carry first": partial(
            other_weights, w_in=lambda p: p["hidden"]["w"], w_hid=lambda p: p["input"]["w"]
        ),
    },
)
check_primitives(rnn, *sequence[0], requires=["scan"], same_size_for=[(sequence[0][0], longer)])
check_gradients(through(outputs_of, rnn), *sequence[0])
### BEGIN HIDDEN TESTS
check_values(rnn, recurrent, sweep(weights(2, 5, 1), "4 2", count=1, seed=3) + sweep(weights(4, 2, 3), "1 4", count=1, seed=4))
### END HIDDEN TESTS

# %% [markdown]
# Training is a scan as well: the parameters are the carry, the batches come in, the losses go into the diary. Here are the model of the course and its loss again; the check trains it.

# %%
def mlp(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
    return hidden @ params["output"]["w"] + params["output"]["b"]


def loss_fn(params, x, y):
    return jnp.mean((mlp(params, x) - y) ** 2)

# %% [markdown]
# ### A whole epoch in one call
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `train_epoch(loss_fn, params, batches, learning_rate)` does one step of gradient descent for each batch: `batches` is a pair `(x, y)` whose first axis counts the batches. It returns `(params, losses)`, each loss before its step. One scan; `params` may be any tree.

# %% exercise="train_epoch"
def train_epoch(loss_fn, params, batches, learning_rate: float):
    """Parameters after one step for each batch, and each batch's loss before its step."""
    ### BEGIN SOLUTION
    def step(params, batch):
        loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), loss

    return lax.scan(step, params, batches)
    ### END SOLUTION

# %% [markdown] hints="train_epoch"
# <details><summary>Hint 1: the idea</summary>
#
# The step of lesson 03 takes parameters and data, and returns parameters and a loss. Look again at what `scan` wants of a body.
# </details>
# <details><summary>Hint 2: the pair</summary>
#
# `xs` may be a tree: scan cuts `x` and `y` together, and the body gets the pair `(x, y)` of one batch.
# </details>

# %% check="train_epoch" points=3
def slopes(params, x, y):
    hidden = np.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    error = hidden @ params["output"]["w"] + params["output"]["b"] - y
    behind = 2 * error / y.size @ params["output"]["w"].T * (hidden > 0)
    out = 2 * error / y.size
    return np.mean(error**2), {
        "hidden": {"w": x.T @ behind, "b": behind.sum(axis=0)},
        "output": {"w": hidden.T @ out, "b": out.sum(axis=0)},
    }


def epoch_by_hand(loss_fn, params, batches, rate, after=False, only_first=False, stale=False):
    start, losses = params, []
    for x, y in zip(*batches):
        x, y = (batches[0][0], batches[1][0]) if only_first else (x, y)
        loss, grads = slopes(start if stale else params, x, y)
        params = jax.tree.map(lambda p, g: p - rate * g, params, grads)
        losses.append(slopes(params, x, y)[0] if after else loss)
    return params, np.array(losses)


def uphill(loss_fn, params, batches, rate):
    return epoch_by_hand(loss_fn, params, batches, -rate)


def two_layers(inputs, hidden, outputs):
    return {
        "hidden": {"w": f"{inputs} {hidden}", "b": f"{hidden}"},
        "output": {"w": f"{hidden} {outputs}", "b": f"{outputs}"},
    }


epochs = sweep(loss_fn, two_layers(3, 4, 1), ("3 6 3", "3 6 1"), 0.1, count=2)
others = sweep(loss_fn, two_layers(2, 5, 3), ["9 4 2", "9 4 3"], 0.02, count=2, seed=1)
big = sweep(loss_fn, two_layers(3, 4, 1), ("1 6 3", "1 6 1"), 1e-7, count=1, seed=2, scale=20.0)
check_values(
    train_epoch,
    epoch_by_hand,
    [*epochs, *others, *big],
    mistakes={
        "each loss is taken after its step": partial(epoch_by_hand, after=True),
        "the first batch is used again and again": partial(epoch_by_hand, only_first=True),
        "every gradient is taken at the first parameters": partial(epoch_by_hand, stale=True),
        "uphill: the gradient is added": uphill,
        "the learning rate that is passed is not used": lambda loss_fn, params, batches, rate: (
            epoch_by_hand(loss_fn, params, batches, 0.1)
        ),
    },
)
check_primitives(
    train_epoch,
    *epochs[0],
    requires=["scan"],
    same_size_for=[(loss_fn, epochs[0][1], (np.ones((5, 6, 3)), np.ones((5, 6, 1))), 0.1)],
)
### BEGIN HIDDEN TESTS
def bowl(params, x, y):
    return jnp.sum(params[0] ** 2 * x) + jnp.sum(params[1]["q"] * y)


def into_the_bowl(loss_fn, params, batches, rate):
    (p, tree), losses = params, []
    q = tree["q"]
    for x, y in zip(*batches):
        losses.append(np.sum(p**2 * x) + np.sum(q * y))
        p, q = p - rate * 2 * p * x, q - rate * y
    return (p, {"q": q}), np.array(losses)


check_values(
    train_epoch,
    into_the_bowl,
    sweep(bowl, ("3", {"q": "2"}), ("4 3", "4 2"), 0.2, count=1, seed=9)
    + sweep(bowl, ("4", {"q": ""}), ("2 4", "2"), 0.0, count=1, seed=10)
    + [(bowl, (np.ones(2), {"q": np.ones(1)}), (np.array([[1.0, 2.0], [np.nan, 3.0]]), np.ones((2, 1))), 0.1)],
)
### END HIDDEN TESTS

# %% [markdown]
# ## 4.7 When the steps need not wait
#
# A scan is sequential: step 1000 waits for 999 others, on hardware that could do thousands of things at once. If the steps can be *combined*, it need not wait. `lax.associative_scan(combine, xs)` gives all running results of an associative operation (one for which brackets do not matter): a sum of 8 numbers is a sum of 4 pairs, and so on, in about $2 \log_2 n$ rounds instead of $n$. `combine(first, second)` gets earlier and later operands, many pairs at once, stacked along the first axis.

# %% tags=["demonstration"]
x = jnp.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])
running = jax.jit(lax.associative_scan, static_argnums=0)
print("running maximum:", running(jnp.maximum, x))
print("running sum:    ", running(jnp.add, x))

# %% [markdown]
# More is associative than sums. One step of $h \leftarrow a\,h + b$ is a function of $h$, given by the pair $(a, b)$; two such functions, one after the other, are again one of that kind. Composition of functions is associative, and this is how linear recurrent networks (S5, Mamba, the LRU) train on long sequences.
#
# ### A recurrence without waiting
# **Exercise** · 8 minutes · difficulty 4 of 5
#
# `linear_recurrence(a, b)` returns all $h_t = a_t h_{t-1} + b_t$ with $h_{-1} = 0$, along the first axis, element by element on the others. No `scan`, no `while_loop`, and no Python loop over the steps. Any number, zero too, may be in `a`.

# %% exercise="linear_recurrence"
@jax.jit
def linear_recurrence(
    a: Float[Array, "time ..."], b: Float[Array, "time ..."]
) -> Float[Array, "time ..."]:
    """All h_t = a_t h_{t-1} + b_t, with h_{-1} = 0, in parallel."""
    ### BEGIN SOLUTION
    def combine(first, second):
        a_first, b_first = first
        a_second, b_second = second
        return a_first * a_second, a_second * b_first + b_second

    return lax.associative_scan(combine, (a, b))[1]
    ### END SOLUTION

# %% [markdown] hints="linear_recurrence"
# <details><summary>Hint 1: the idea</summary>
#
# Insert $h \leftarrow a_1 h + b_1$ into $h \leftarrow a_2 h + b_2$ and sort by $h$. Which new $a$ and which new $b$ come out?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `combine(first, second)` gets two pairs, each a tuple of arrays, and returns a pair; `lax.associative_scan(combine, (a, b))`. `first` is the earlier one, and here the order matters.
# </details>

# %% check="linear_recurrence" points=3
def one_by_one(a, b):
    h, states = np.zeros_like(b[0]), []
    for a_now, b_now in zip(a, b):
        h = a_now * h + b_now
        states.append(h)
    return np.array(states)


def exchanged(a, b):
    h, states, product = np.zeros_like(b[0]), [], np.ones_like(a[0])
    for a_now, b_now in zip(a, b):
        h, product = h + product * b_now, product * a_now
        states.append(h)
    return np.array(states)


check_values(
    linear_recurrence,
    one_by_one,
    [
        *sweep("8", "8", count=1, planted=True),
        *sweep("6 2", "6 2", count=1, planted=True),
        *sweep("n m k", "n m k", count=2),
        (np.float32([0.5, 2.0, -1.0, 1.5]), np.float32([1.0, np.nan, 3.0, 4.0])),
        (np.float32([0.5, 0.0, 2.0, 0.0]), np.float32([1.0, 2.0, 3.0, 4.0])),
    ],
    mistakes={
        "the earlier and the later step are exchanged": exchanged,
        "b is summed without a": lambda a, b: np.cumsum(b, axis=0),
        "time is taken to be the last axis": lambda a, b: np.moveaxis(
            one_by_one(np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0)), 0, -1
        ),
    },
)
check_primitives(
    linear_recurrence,
    np.ones(256),
    np.ones(256),
    forbids=["scan", "while"],
    max_equations=400,
)
### BEGIN HIDDEN TESTS
check_values(
    linear_recurrence,
    one_by_one,
    sweep("1", "1", seed=4, count=1) + sweep("21 2", "21 2", seed=5, count=1),
    about="one step, and twenty-one",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 4.8 Backwards through a loop
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# `f = lambda x: lax.while_loop(lambda c: c < 10, lambda c: c * c, x)`. `f(2.0)` is 16. What is `jax.grad(f)(2.0)`?

# %% exercise="backwards" kind="prediction"
# A number, or the name of an exception as a string, such as "TypeError".
### BEGIN SOLUTION
backwards = "ValueError"
### END SOLUTION

# %% check="backwards" points=1
def grad_of_while():
    try:
        return float(jax.grad(lambda x: lax.while_loop(lambda c: c < 10, lambda c: c * c, x))(2.0))
    except Exception as error:
        return type(error).__name__


check_answer(
    backwards,
    grad_of_while,
    because="Going back needs every state on the way, and their number is not known beforehand.",
    mistakes={
        32.0: "so says forward mode; backwards, how many states should the program keep?",
        "TracerBoolConversionError": "the condition may be a tracer: that is what the loop is for",
    },
)

# %% tags=["demonstration"]
f = lambda x: lax.while_loop(lambda c: c < 10, lambda c: c * c, x)
print("forward mode:", jax.jvp(f, (2.0,), (1.0,)))
try:
    jax.grad(f)(2.0)
except ValueError as error:
    print(f"reverse mode: ValueError: {error}")

# %% [markdown]
# Forward mode needs no memory of the way, so `jvp` works. Reverse mode goes back along the way, and must keep what each turn has seen in arrays whose size is known while compiling. A `scan` has a fixed length: reverse mode works; `fori_loop` is as good where its bounds are Python numbers (a scan, then), and as bad as `while` where they are traced.
#
# ### A loop that can go back
# **Exercise** · 8 minutes · difficulty 5 of 5
#
# `bounded_while(go_on, body, state, most)` gives what `lax.while_loop(go_on, body, state)` gives, if that needs at most `most` turns, and the state after `most` turns otherwise. It is built on `scan`, and reverse mode works. Beware: past the end `body` may be undefined (a root of a negative number, for instance), and nothing of that may reach the gradient.

# %% exercise="bounded_while"
def bounded_while(go_on, body, state, most: int):
    """`lax.while_loop(go_on, body, state)` with at most `most` turns; differentiable."""
    ### BEGIN SOLUTION
    def turn(state, _):
        return lax.cond(go_on(state), body, lambda state: state, state), None

    return lax.scan(turn, state, length=most)[0]
    ### END SOLUTION

# %% [markdown] hints="bounded_while"
# <details><summary>Hint 1: the idea</summary>
#
# Always run `most` turns. Once the condition is false, a turn leaves the state as it is, and the condition stays false.
# </details>
# <details><summary>Hint 2: the gradient</summary>
#
# Two tools can leave the state as it is. Look at the table in 4.1 and at the two gradients below it.
# </details>

# %% check="bounded_while" points=3
def heron(loop, x):
    """The square root of x to four digits, and a count."""

    def body(state):
        return {"guess": (state["guess"] + x / state["guess"]) / 2, "turns": state["turns"] + 1}

    def go_on(state):
        return jnp.abs(state["guess"] ** 2 - x) > 1e-3 * x

    return loop(go_on, body, {"guess": x, "turns": 0}, 8)


def looked_too_late(x):
    first = {"guess": np.float64((x + 1) / 2), "turns": np.array(1)}
    return first if heron_by_hand(x)["turns"] == 0 else heron_by_hand(x)


def heron_by_hand(x, most=8, extra=0):
    guess, turns = x, 0
    while abs(guess**2 - x) > 1e-3 * x and turns < most:
        guess, turns = (guess + x / guess) / 2, turns + 1
    for _ in range(extra):
        guess, turns = (guess + x / guess) / 2, turns + 1
    return {"guess": np.float64(guess), "turns": np.array(turns)}


def one_too_many(x):
    turns = heron_by_hand(x)["turns"]
    return heron_by_hand(x, extra=int(0 < turns < 8))


def heron_root(loop, x):
    return heron(loop, x)["guess"]


def roots(loop, x):
    return loop(lambda s: s > 1, lambda s: jnp.sqrt(s - 1), x, 6)


def some_turns(loop, x, most):
    return loop(lambda s: s < 100.0, lambda s: 3 * s, x, most)


check_values(
    through(heron, bounded_while),
    heron_by_hand,
    [(np.float32(x),) for x in (2.0, 1.0, 1e6, 0.02, 55.0)],
    mistakes={
        "one turn too many": one_too_many,
        "a turn is made before the condition is looked at": looked_too_late,
        "all turns are taken": lambda x: heron_by_hand(x, extra=8 - heron_by_hand(x)["turns"]),
    },
    about="square roots",
)
check_primitives(through(heron, bounded_while), np.float32(2.0), requires=["scan"])
check_gradients(through(heron_root, bounded_while), np.float32(2.0))
check_gradients(through(roots, bounded_while), np.float32(3.5))
### BEGIN HIDDEN TESTS
def threefold(x, most):
    turns = sum(x * 3.0**n < 100 for n in range(most))
    return x * 3.0**turns


check_values(
    through(some_turns, bounded_while),
    threefold,
    [(np.float32(5.0), 6), (np.float32(5.0), 2), (np.float32(5.0), 0), (np.float32(1e-7), 40)],
    about="enough turns, too few, and none",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 4.9 Paying in time instead of memory
#
# Going back through a scan has its price: whatever the body computed and the derivative needs is kept, for every turn. `jax.checkpoint(body)` (also known as remat; its primitive is `remat2`) keeps only what goes *into* the body, and computes the inside again on the way back.

# %% tags=["demonstration"]
def layer(h, p):
    return h + jnp.tanh(jax.nn.softplus(h @ p["w"]) + p["b"]), None


def kept(body, params, x):
    _, pull = jax.vjp(lambda params, x: lax.scan(body, x, params)[0], params, x)
    return [leaf.shape for leaf in jax.tree.leaves(pull)]


rng = np.random.default_rng(0)
stack = {"w": jnp.asarray(rng.normal(size=(40, 8, 8)), jnp.float32), "b": jnp.zeros((40, 8))}
batch = jnp.ones((64, 8))
print("kept:           ", kept(layer, stack, batch))
print("with checkpoint:", kept(jax.checkpoint(layer), stack, batch))

# %% [markdown]
# 40 layers, 64 examples, 8 units. With the checkpoint one `(40, 64, 8)` is left, the input of each layer (beside the parameters, which are there anyhow). The gradient is the same; the forward pass runs twice. Around the *whole* scan a checkpoint does not lower the peak: on the way back the forward scan runs again, and keeps everything.
#
# ### A deep stack on little memory
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `deep(params, x)` applies one layer after the other: $h \leftarrow h + \tanh(h W_\ell + b_\ell)$, with $h = x$ at first and all layers stacked in `params["w"]` and `params["b"]`. It is one scan over the layers, and by `jax.checkpoint` only the input $h$ of each layer is kept for the way back.

# %% exercise="deep"
def deep(params, x: Float[Array, "batch width"]) -> Float[Array, "batch width"]:
    """`x` after all layers; the first axis of `params["w"]` and `params["b"]` counts them."""
    ### BEGIN SOLUTION
    @jax.checkpoint
    def layer(h, layer_params):
        return h + jnp.tanh(h @ layer_params["w"] + layer_params["b"]), None

    return lax.scan(layer, x, params)[0]
    ### END SOLUTION

# %% [markdown] hints="deep"
# <details><summary>Hint 1: the idea</summary>
#
# The parameters are what is scanned: a tree is cut along the first axis of each leaf. The state is the carry, and there is no diary.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.checkpoint(body)`, or `@jax.checkpoint` above the body. Which function is it that should not remember its inside?
# </details>

# %% check="deep" points=3
def layer_by_layer(params, x, skip=1.0, squash=np.tanh):
    for w, b in zip(params["w"], params["b"]):
        x = skip * x + squash(x @ w + b)
    return x


def stacked_states(deep, params, x):
    """How many arrays of one state for each layer the program of the gradient makes."""
    shape = (len(params["b"]), *x.shape)

    def count(jaxpr):
        found = 0
        for equation in jaxpr.eqns:
            inside = [getattr(v, "jaxpr", v) for v in jax.tree.leaves(equation.params)]
            inside = [program for program in inside if hasattr(program, "eqns")]
            found += sum(map(count, inside))
            if not inside or equation.primitive.name == "scan":
                found += sum(v.aval.shape == shape for v in equation.outvars)
        return found

    program = jax.make_jaxpr(jax.grad(lambda params: jnp.sum(deep(params, x))))(params)
    return jnp.asarray(count(program.jaxpr) <= 1)


stack_of = {"w": "5 3 3", "b": "5 3"}
deeper = sweep({"w": "7 3 3", "b": "7 3"}, "4 3", count=1, scale=0.5)
layered = sweep(stack_of, "4 3", count=2, scale=0.5)
check_values(
    deep,
    layer_by_layer,
    [
        *layered,
        *sweep({"w": "layers n n", "b": "layers n"}, "batch n", scale=0.5, planted=True),
        *sweep({"w": "40 3 3", "b": "40 3"}, "2 3", count=1, scale=0.1),
        *sweep(stack_of, normal("4 3", scale=300.0), count=1, scale=0.5),
    ],
    mistakes={
        "h itself is not added": partial(layer_by_layer, skip=0.0),
        "the layers are run from the last to the first": lambda params, x: layer_by_layer(
            {name: leaf[::-1] for name, leaf in params.items()}, x
        ),
    },
)
check_primitives(deep, *layered[0], requires=["scan", "remat2"], same_size_for=deeper)
check_values(
    through(stacked_states, deep),
    [np.array(True)],
    layered[:1],
    mistakes={
        "the way back keeps more of each layer than its input": lambda params, x: np.array(False)
    },
    about="what is kept",
)
### BEGIN HIDDEN TESTS
check_values(deep, layer_by_layer, sweep({"w": "1 2 2", "b": "1 2"}, "3 2", count=1, seed=5))
### END HIDDEN TESTS

# %% [markdown]
# ## What to remember
#
# 1. `where` and `select` compute both sides and choose by element; `cond` and `switch` trace all branches and run one; a recursion over data never ends its trace.
# 2. `while_loop` stops by itself and has no reverse mode; `scan` has a fixed length, a carry, a diary, and can be differentiated; `fori_loop` is one or the other, by its bounds.
# 3. A carry keeps structure, shape and dtype; a Python 0 is weak and may turn into a float.
# 4. A loop in Python is written out: its program grows. A scan is one page, for any length.
# 5. Steps that combine associatively need not wait for each other; a body under `checkpoint` trades memory for a second run.
#
# ## Further reading
#
# The JAX documentation: *Control flow and logical operators with JIT*, *Control autodiff's saved values with `jax.checkpoint`*, *The scan operator*. Blelloch, *Prefix sums and their applications* (1990). Chen and others, *Training deep nets with sublinear memory cost* (2016). Martin and Cundy, *Parallelizing linear recurrent neural nets over sequence length* (2018).
#
# ## Next
#
# Coin tosses, shuffled batches, dropout: loops want random numbers, and a program that always does the same cannot make any up. Lesson 05 carries the randomness along.
