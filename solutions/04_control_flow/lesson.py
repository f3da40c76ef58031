# %% [markdown]
# # 4 · Control flow: cond, while_loop and scan
#
# In lesson 03 a Python `if` on a traced value raised an error, and a Python loop was unrolled. `jax.lax` has branches and loops that become part of the program. After this lesson you can
#
# - choose between `where`, `cond` and `switch`;
# - write loops that stop early, and loops with a carry and stacked outputs;
# - fix the errors that a carry of the wrong type raises;
# - run a linear recurrence in parallel;
# - differentiate through loops, and limit the memory that this takes.
#
# Training loops, recurrent networks and solvers then compile to one program, whose size does not grow with the number of steps.
#
# About 130 minutes, with reading and waiting. There is a good place for a break after 4.5. You need lessons 01 to 03.

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
    show_program,
    sweep,
    through,
)

# %% [markdown]
# ## 4.0 Recall
#
# Three questions about lessons 01 to 03, one point each. Answer before you run anything.
#
# **Recall** · 1 minute · difficulty 2 of 5
#
# What is `jnp.array([10, 20, 30]).at[7].set(99)[7]`?

# %% exercise="far_index" kind="recall"
# A number, or the name of an exception as a string.
### BEGIN SOLUTION
far_index = 30
### END SOLUTION

# %% check="far_index" points=1
check_answer(
    far_index,
    lambda: int(jnp.array([10, 20, 30]).at[7].set(99)[7]),
    because="The write outside the array is dropped, and the read is clamped to the last element.",
    mistakes={
        99: "there is no element 7, so the write is dropped",
        "IndexError": "NumPy raises; a compiled program cannot",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# `f = lambda x: jnp.where(x > 0, jnp.sqrt(jnp.maximum(x, 0.0)), 0.0)`. What is `jax.grad(f)(0.0)`?

# %% exercise="root_slope" kind="recall"
# A string, such as "1.0" or "inf".
### BEGIN SOLUTION
root_slope = "nan"
### END SOLUTION

# %% check="root_slope" points=1
check_answer(
    root_slope,
    lambda: str(
        jax.grad(lambda x: jnp.where(x > 0, jnp.sqrt(jnp.maximum(x, 0.0)), 0.0))(0.0)
    ),
    because="`where` differentiates both sides. `maximum` passes 0 to the root, whose derivative "
    "there is infinite, and a cotangent of 0 times infinity is NaN.",
    mistakes={
        "0.0": "the side that is not chosen is differentiated too, and `sqrt` still gets 0",
        "inf": "the infinite derivative is multiplied by a cotangent of zero",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# `f(x, n)` does `for _ in range(n): x = jnp.sin(x)` and returns `x`. `g = jax.jit(f, static_argnums=1)` is called with `n=2`, `n=3` and `n=2`, for the same `x`. How many times does Python call `jnp.sin`?

# %% exercise="sines" kind="recall"
# An integer.
### BEGIN SOLUTION
sines = 5
### END SOLUTION

# %% check="sines" points=1
def count_sines():
    calls = []

    def f(x, n):
        for _ in range(n):
            calls.append(n)
            x = jnp.sin(x)
        return x

    g = jax.jit(f, static_argnums=1)
    for n in (2, 3, 2):
        g(1.0, n)
    return len(calls)


check_answer(
    sines,
    count_sines,
    because="Each static value is traced once, and its loop is unrolled: 2 and 3 calls. The third "
    "call finds its program in the cache.",
    mistakes={
        7: "the third call has the static value of the first, and is not traced again",
        2: "the loop is unrolled while tracing: `jnp.sin` is called in each iteration",
        3: "the loop is unrolled while tracing, for each of the two static values",
    },
)

# %% [markdown]
# ## 4.1 Branches: where, cond and switch
#
# `lax.cond(condition, if_true, if_false, *args)` takes a Boolean scalar, which may be traced, and two functions of `args`.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# Each of the two functions begins with a Python `print`. A jitted function calls `lax.cond` on a traced condition. You call it once. How many lines are printed?

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
    because="The program contains both branches, so both are traced. Only one of them runs.",
    mistakes={1: "one of them runs, but both are traced, before the condition is known"},
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
# Both branches are traced and one runs. `jnp.where` and `lax.select` are different: they receive two arrays that have both been computed already.
#
# | | condition | runs | use it for |
# |---|---|---|---|
# | `jnp.where`, `lax.select` | an array, elementwise | both sides | elements, cheap sides |
# | `lax.cond` | a Boolean scalar | one branch | an expensive branch |
# | `lax.switch` | an integer, clamped into range | one branch | a list of functions |
# | Python's `if` | known at trace time | the traced branch | shapes, static arguments |
#
# The gradients differ in the same way. `where` differentiates both sides, `cond` only the branch that ran:

# %% tags=["demonstration"]
print("where:", jax.grad(lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0))(0.0))
print("cond: ", jax.grad(lambda x: lax.cond(x > 0, jnp.sqrt, jnp.zeros_like, x))(0.0))

# %% [markdown]
# (Under `vmap`, with one condition for each example, `cond` becomes a `select` and both branches run. See lesson 06.) Both branches must return the same structure, shapes and dtypes.
#
# > **In PyTorch** a Python `if` on a tensor works in eager mode, since every operation runs at once. `torch.where` computes both sides, as here.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# A factorial with `cond`: `def factorial(n): return lax.cond(n <= 1, lambda: 1, lambda: n * factorial(n - 1))`. What is `factorial(5)`?

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
    because="JAX traces the second branch at every level, also at `n = 1`, so tracing never ends.",
    mistakes={
        120: "both branches are traced before either runs, at every level",
        "TracerBoolConversionError": "`cond` accepts a tracer as its condition",
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
# Even at `n = 1` the second branch is traced. It calls `factorial(0)`, which calls `factorial(-1)`, and so on. Write such a recursion as a loop. Recursion over a *structure*, such as a tree or a shape, is fine, because a Python `if` ends it at trace time.
#
# ### A smooth bump function
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# `hat(x)` **returns** $e^{-1/(1-x^2)}$ where $|x| < 1$, and 0 elsewhere, element by element. (`math.exp(-1 / (1 - x * x)) if abs(x) < 1 else 0.0` raises for an array.)
#
# **Edge cases**: `x` has any shape. Values and gradients are finite and right for all finite `x`, at $\pm 1$ and far outside too.
#
# **The check** compares values and gradients.

# %% exercise="hat"
def hat(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """exp(-1 / (1 - x^2)) where |x| < 1, else 0: elementwise, with finite gradients."""
    ### BEGIN SOLUTION
    inside = jnp.abs(x) < 1
    safe = jnp.where(inside, x, 0.0)
    return jnp.where(inside, jnp.exp(-1 / (1 - safe**2)), 0.0)
    ### END SOLUTION

# %% [markdown] hints="hat"
# <details><summary>Hint 1: the idea</summary>
#
# The condition is elementwise, so use `jnp.where`. Then look at the value and the derivative of the side that is not chosen, at 1 and at 1.001.
# </details>
# <details><summary>Hint 2: the gradient</summary>
#
# As in lesson 02: where the formula does not apply, replace the *input* by a harmless number before you use the formula.
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
    atol=1e-9,  # the values near 1 are tiny
    mistakes={
        "the exponent has the wrong sign": lambda x: hat_by_element(
            x, inner=lambda v: np.exp(1 / (1 - v * v))
        ),
        "too large by a factor of e: the value at zero is 1": lambda x: np.e * hat_by_element(x),
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
# ### Run an expensive function every few steps
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# Evaluations and preconditioners are too expensive for every step.
#
# `now_and_then(step, every, expensive, x, cached)` **returns** `expensive(x)` at the steps 0, `every`, 2 · `every` and so on, and `cached` at all others.
#
# **Edge cases**: `step` and `every` are traced integers, and `every` is any positive number. `expensive(x)` and `cached` are pytrees of the same structure.
#
# **The check** compares the results of a jitted function, and counts how often `expensive` runs.

# %% exercise="now_and_then"
def now_and_then(step: Int[Array, ""], every: Int[Array, ""], expensive, x, cached):
    """`expensive(x)` when `step` is a multiple of `every`, otherwise `cached`."""
    ### BEGIN SOLUTION
    return lax.cond(step % every == 0, expensive, lambda x: cached, x)
    ### END SOLUTION

# %% [markdown] hints="now_and_then"
# <details><summary>Hint 1: the idea</summary>
#
# Which row of the table in 4.1 takes a traced scalar condition and runs one branch only?
# </details>
# <details><summary>Hint 2: the skeleton</summary>
#
# `lax.cond(condition, if_true, if_false, x)` passes `x` to both functions. One of them may ignore it.
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
# ## 4.2 while_loop: stop when it converges
#
# `lax.while_loop(go_on, body, start)` is Python's `while` with an explicit carry. `go_on(carry)` returns a Boolean scalar, `body(carry)` the next carry, a pytree. The loop returns the last carry and nothing else, so put everything that you need afterwards into it, such as a step count.
#
# Here Newton's method solves $z^3 = 1$ from 90,000 starting points in the complex plane. Each point counts its own steps. The loop ends when all points have converged, or after 40 steps.

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
print("iterations of the loop:", turns, "| points that have not converged:", late)
plt.figure("Newton's method for three roots: steps from each starting point", figsize=(6, 5))
plt.imshow(steps, extent=(-1.5, 1.5, -1.5, 1.5), origin="lower", cmap="magma", vmax=20)
plt.xlabel("real part of the start"), plt.ylabel("imaginary part")
plt.colorbar(label="steps to a root")
plt.show()

# %% [markdown]
# *Three dark basins, one around each cube root of 1, where a few steps are enough. Between them are bright chains of ever smaller bulbs, where Newton's method needs 20 steps and more.*
#
# The loop has one condition for the whole array. It runs until the last point has converged, and the `where` keeps the others unchanged.
#
# ### Newton's method with early stopping
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# `newton(f, x, tolerance, most)` **returns** the pair `(x, steps)` after repeating $x \leftarrow x - f(x)/f'(x)$ until $|f(x)|$ is at most `tolerance`, or `most` steps are done. `steps` is an integer.
#
# **Edge cases**: `x` is a scalar. If $|f(x)| \le$ `tolerance` at the start, no step is taken. `tolerance` and `most` may be traced, and `most` may be 0.
#
# **The check** compares `x` and `steps` of a jitted function.

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
# The carry holds what the next iteration needs: two numbers. The condition says when to go on, not when to stop.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# Use `jax.grad(f)` inside the body. Join two traced Booleans by `&`, since `and` needs a truth value.
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
        "the condition is negated: it stops where it should go on": (
            lambda f, x, tolerance, most: (x, np.array(0))
        ),
        "it stops at a small step, not at a small f(x)": by_movement,
        "f(x) is compared with the tolerance, not its absolute value": signed,
        "the square of f(x) is compared with the tolerance": squared,
        "f is evaluated where the step began, not where it ended": one_late,
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
        "it takes a step before it tests the condition": at_least_once,
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
# ## 4.3 scan: carry and stacked outputs
#
# `lax.scan(body, start, xs)` is the loop that you need most. `body(carry, x)` returns the next carry and one output `y`. `scan` passes the rows of `xs` one after another, and stacks the outputs along a new first axis. In Python:
#
# ```
# carry, ys = start, []
# for x in xs:
#     carry, y = body(carry, x)
#     ys.append(y)
# return carry, jnp.stack(ys)
# ```
#
# The carry, `xs` and `ys` may be pytrees. `xs=None` with `length=n` loops without input, and `reverse=True` runs from the last row to the first.
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
    because="The output of each step is `c`, the carry before `x` is added.",
    mistakes={
        (1.0, 3.0, 6.0, 10.0): "these are the new carries; the output is the old carry `c`",
        (1.0, 2.0, 3.0, 4.0): "these are the inputs `x`; the output is `c`",
    },
)

# %% tags=["demonstration"]
print(lax.scan(lambda c, x: (c + x, c), 0.0, jnp.array([1.0, 2.0, 3.0, 4.0])))

# %% [markdown]
# In the jaxpr a `scan` is one equation, with the jaxpr of its body inside. The body is there once, for any number of steps:

# %% tags=["demonstration"]
def running_sum(xs):
    def body(carry, x):
        carry = carry + x
        return carry, carry**2

    return lax.scan(body, 0.0, xs)


show_program(running_sum, jnp.ones(1000))

# %% [markdown]
# ### Running mean and variance
# **Exercise** · 9 minutes · difficulty 3 of 5
#
# Welford's rule updates a mean $\mu$ and a sum of squares $S$: with $\delta = x_n - \mu_{n-1}$, $\mu_n = \mu_{n-1} + \delta/n$ and $S_n = S_{n-1} + \delta\,(x_n - \mu_n)$. The variance is $S_n/n$.
#
# `running_stats(x)` **returns** the pair `(mean, variance)`, both of the shape of `x`. Row $t$ describes the rows $0 \ldots t$ of `x`: their mean, and their mean squared distance from it.
#
# **Edge cases**: there may be one row. The mean may be large compared with the standard deviation, so a difference of two large sums is not accurate enough.
#
# **The check** compares both arrays, and that the program has a `scan` and one size for every length.

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
# Carry three things: the number of rows so far, their mean, and S. Each step has two outputs.
# </details>
# <details><summary>Hint 2: the skeleton</summary>
#
# `def body(carry, row): n, mean, total = carry; ...; return (n, mean, total), (mean, total / n)`. All three start at zero, two of them with the shape of a row.
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
        "S grows by the square of the distance from the new mean": about_running_mean,
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
# Here your function measures a thousand draws from a standard normal distribution as they arrive:

# %% tags=["demonstration", "raises-exception"]
draws = np.random.default_rng(3).normal(size=(1000, 1)).astype(np.float32)
mean, variance = jax.jit(running_stats)(draws)
counts, deviation = np.arange(1, 1001), jnp.sqrt(variance)
plt.figure("Running mean and standard deviation of normal draws", figsize=(8, 3))
plt.plot(counts, draws, ".", color="grey", markersize=2)
plt.plot(counts, mean, label="running mean")
plt.plot(counts, deviation, "--", label="running standard deviation")
plt.xscale("log"), plt.xlabel("draws so far")
plt.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
plt.show()

# %% [markdown]
# *Grey dots: the draws. The running mean and standard deviation vary over the first ten draws. Then the mean settles near 0 and the standard deviation near 1.*
#
# ## 4.4 The carry keeps its structure, shape and dtype
#
# If the carry changed its type from one step to the next, each step would need a different program. The carry that `body` returns must therefore have the type of the carry that it receives:

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
# There is one exception. A Python number is weakly typed (lesson 01), and as the initial carry it takes the dtype that the body returns for it:

# %% tags=["demonstration"]
print(lax.scan(lambda c, x: (c + x, None), 0, jnp.ones(3))[0].dtype)

# %% [markdown]
# The integer 0 has become a float, without an error. If one line of the body returns a float, a count that starts as `0` ends as a float. (JAX adjusts the initial carry once. If that changes another part of the carry, a `TypeError` is raised.)
#
# ### Bug hunt: the longest run of heads
#
# This function should return the longest run of heads in a sequence of coin tosses, and at each toss the length of the current run (0 for tails).

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
# ### Fix the longest run
# **Exercise** · 6 minutes · difficulty 2 of 5
#
# There are three bugs. The error names one.
#
# `longest_run(heads)` **returns** the pair `(longest, lengths)`, both integers. `lengths` has one entry for each toss: heads, heads, tails, heads gives 1, 2, 0, 1.
#
# **Edge cases**: with no heads, or no tosses at all, the longest run is 0. Runs may be longer than 127.
#
# **The check** compares values and dtypes.

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
# <details><summary>Hint 1: the three bugs</summary>
#
# One is the type of the brackets, one is a decimal point, one is the order of two lines: what if the longest run is at the end?
# </details>
# <details><summary>Hint 2: how to find them</summary>
#
# First fix what raises. Then look at the dtypes of the result, and at the result for `[True]`.
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
        "a run at the end is missed": partial(toss_by_toss, late=True),
        "tails do not end a run": partial(toss_by_toss, reset=False),
        "that is the last run, not the longest": lambda heads: (
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
    mistakes={"the counts are int8, whose largest value is 127": counted_in_int8},
    about="no heads, only heads, no tosses, a long run",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 4.5 Program size: unrolled loops and scan
#
# The next cells compare a Python loop with a `scan`: the length of the jaxpr, and the time to compile it.

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
figure, axes = plt.subplots(
    1, 2, num="Size of the jaxpr and compile time, unrolled and with scan",
    figsize=(8.3, 3.5), layout="constrained",
)
for name, f in {"loop in Python": in_python, "scan": in_the_program}.items():
    size_and_seconds(f, 1)  # warm up
    sizes, seconds = zip(*[size_and_seconds(f, turns) for turns in counts])
    axes[0].loglog(counts, sizes, "o-", label=name)
    axes[1].semilogx(counts, seconds, "o-", label=name)
axes[0].set(xlabel="iterations", ylabel="lines of the jaxpr")
axes[1].set(xlabel="iterations", ylabel="seconds to compile", ylim=(0, None))
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
plt.show()

# %% [markdown]
# *Left, on logarithmic axes: the jaxpr of the Python loop grows in proportion to the number of iterations. Right: its compile time grows to several times the first value. For the scan both are flat.*
#
# `for row in x` over a tracer, and Python's `sum`, unroll too, without an error:

# %% tags=["demonstration"]
program = jax.make_jaxpr(lambda x: sum(row for row in x))(jnp.ones(100))
print(len(program.eqns), "equations;", len(jax.make_jaxpr(jnp.sum)(jnp.ones(100)).eqns), "with jnp")

# %% [markdown]
# `lax.fori_loop(start, stop, body, carry)` is a loop with a counter and no stacked outputs. If both bounds are known at trace time it becomes a `scan`, otherwise a `while_loop` (this matters in 4.8). `lax.map(f, xs)` is a scan without a carry. It applies `f` to one row after another, or to `batch_size` rows at a time:

# %% tags=["demonstration"]
cloud = jnp.asarray(np.random.default_rng(0).normal(size=(1000, 3)), jnp.float32)
nearest = jax.jit(
    lambda x: lax.map(lambda p: jnp.sort(jnp.sum((x - p) ** 2, 1))[1], x, batch_size=50)
)
print("mean squared distance to the nearest neighbour:", nearest(cloud).mean())

# %% [markdown]
# All differences at once would be 1000 · 1000 · 3 numbers. This program holds a twentieth of them at a time.
#
# ### Write an interpreter with scan and switch
# **Exercise** · 10 minutes · difficulty 4 of 5
#
# A calculator has a display and a memory, which starts at 0. An instruction is a code and a number. Code 0 adds the number to the display, 1 multiplies the display by it, 2 copies the display to the memory, 3 adds the memory to the display. (2 and 3 ignore the number.)
#
# `calculate(codes, numbers, x)` **returns** the pair `(display, history)`. The display starts as `x`, and `history` has the display after each instruction.
#
# **Edge cases**: a code outside 0 to 3 changes nothing. Numbers may be NaN or infinite.
#
# **The check** compares both results, and that the program has a `scan` and one size for every length.

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
# The carry is (display, memory), and `xs` is the pair (codes, numbers). Write one function for each code, which takes display, memory and number, and returns the new display and memory.
# </details>
# <details><summary>Hint 2: unknown codes</summary>
#
# `lax.switch(index, functions, *args)` clamps its index. Add a fifth function that changes nothing, and use `jnp.where` to send unknown codes to it.
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
# This is a good place for a break.
#
# ## 4.6 Recurrent networks and training loops as scans
#
# A recurrent network is a scan whose carry is the hidden state.
#
# ### A recurrent network
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# With $h_{-1} = 0$: $h_t = \tanh(x_t W_{in} + h_{t-1} W_{hid} + b_{hid})$ and $o_t = h_t W_{out} + b_{out}$. The weights are `params["input"]["w"]`, `params["hidden"]["w"]`, `params["hidden"]["b"]`, `params["output"]["w"]` and `params["output"]["b"]`.
#
# `rnn(params, x)` **returns** the pair `(h, outputs)`: the last hidden state, and the outputs at all times.
#
# **Edge cases**: any sizes, and any number of time steps from 1.
#
# **The check** compares values and gradients, and that the program has a `scan` and one size for every length.
#
# > **In PyTorch** `nn.RNN` keeps its weights as (outputs, inputs) and has two bias vectors. Here weights are (inputs, outputs), with one bias.

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
# The carry is the hidden state, and the output of each step is $o_t$. The parameters do not change, so the body may use them as closed-over values.
# </details>
# <details><summary>Hint 2: the initial carry</summary>
#
# Which parameter has the shape of the hidden state? Use `jnp.zeros_like` of it.
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
        "the output is computed from the old state": partial(recurrent, late=True),
        "the hidden bias is left out": partial(recurrent, biased=False),
        "the output bias is left out": partial(recurrent, shifted=False),
        "W_in is transposed, as PyTorch keeps its weights": partial(
            other_weights, w_in=lambda p: p["input"]["w"].T, w_hid=lambda p: p["hidden"]["w"]
        ),
        "ReLU instead of tanh": partial(recurrent, squash=lambda v: np.maximum(v, 0)),
        "W_hid is transposed, as PyTorch keeps its weights": partial(
            other_weights, w_in=lambda p: p["input"]["w"], w_hid=lambda p: p["hidden"]["w"].T
        ),
        "W_in and W_hid are swapped; `body` gets the carry first": partial(
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
# A training loop is a scan too: the parameters are the carry, the batches are `xs`, and the losses are the stacked outputs. Here are the model and loss of lesson 03 again. The check trains the model.

# %%
def mlp(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
    return hidden @ params["output"]["w"] + params["output"]["b"]


def loss_fn(params, x, y):
    return jnp.mean((mlp(params, x) - y) ** 2)

# %% [markdown]
# ### Train for one epoch in one scan
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# `train_epoch(loss_fn, params, batches, learning_rate)` **returns** the pair `(params, losses)` after one step of gradient descent for each batch. `losses` has the loss of each batch *before* its step.
#
# **Edge cases**: `batches` is a pair `(x, y)` whose first axis counts the batches. `params` is any pytree. A loss may be NaN.
#
# **The check** compares values, and that the program has a `scan` and one size for every number of batches.

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
# The step of lesson 03 takes parameters and data, and returns parameters and a loss. That is nearly the signature of a scan body.
# </details>
# <details><summary>Hint 2: two arrays as xs</summary>
#
# `xs` may be a pytree. With `xs=batches` the body gets the pair `(x, y)` of one batch.
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
# ## 4.7 associative_scan: recurrences in parallel
#
# A scan is sequential: step 1000 waits for 999 others. If the steps can be combined by an *associative* operation, one for which brackets do not matter, they can run in parallel. `lax.associative_scan(combine, xs)` computes all running results in about $2 \log_2 n$ rounds: a sum of 8 numbers is a sum of 4 pair sums, and so on. `combine(first, second)` gets many pairs at once, stacked along the first axis, with the earlier operands in `first`.

# %% tags=["demonstration"]
x = jnp.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])
running = jax.jit(lax.associative_scan, static_argnums=0)
print("running maximum:", running(jnp.maximum, x))
print("running sum:    ", running(jnp.add, x))

# %% [markdown]
# A linear recurrence is associative as well. One step of $h \leftarrow a\,h + b$ is a function of $h$, given by the pair $(a, b)$. Two such functions, one after the other, are again a function of this form, and composition is associative. Linear recurrent networks (S5, Mamba, the LRU) train on long sequences in this way.
#
# ### A linear recurrence in parallel
# **Exercise** · 10 minutes · difficulty 4 of 5
#
# `linear_recurrence(a, b)` **returns** all $h_t = a_t h_{t-1} + b_t$ with $h_{-1} = 0$, in an array of the shape of `b`. Time is the first axis, and the recurrence is elementwise on the others.
#
# **Edge cases**: any number of steps from 1. `a` may hold zeros, and `b` NaN.
#
# **The check** compares values. The program may not contain `scan` or `while`, and has at most 400 equations for 256 steps, so it has no Python loop over the steps.

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
# Substitute $a_1 h + b_1$ for $h$ in $a_2 h + b_2$, and collect the terms in $h$. What are the new $a$ and the new $b$?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.associative_scan(combine, (a, b))`. `combine(first, second)` gets two pairs of arrays and returns a pair. `first` is the earlier one, and here the order matters.
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
        "the earlier and the later step are swapped": exchanged,
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
# An exponential moving average $h_t = d\,h_{t-1} + (1 - d)\,x_t$ is such a recurrence. Your function computes one for each decay $d$, all at once:

# %% tags=["demonstration", "raises-exception"]
time_steps, decays = np.arange(2000), np.array([0.9, 0.99, 0.998])
noise = np.random.default_rng(5).normal(0, 0.7, 2000)
signal = np.where(time_steps < 1000, 0.0, 1.0) + noise
averages = linear_recurrence(np.tile(decays, (2000, 1)), (1 - decays) * signal[:, None])
plt.figure("Moving averages of a noisy step, with three decays", figsize=(8, 3))
plt.plot(signal, ".", color="grey", markersize=2)
for decay, line, style in zip(decays, averages.T, ("-", "--", "-.")):
    plt.plot(line, style, label=f"decay {decay}")
plt.xlabel("step"), plt.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
plt.show()

# %% [markdown]
# *Grey dots: a signal that steps from 0 to 1 at step 1000, with noise. The average with decay 0.9 follows at once and is noisy. With 0.99 it is smoother and takes some hundred steps. With 0.998 it is smooth and has not quite arrived at step 2000.*
#
# ## 4.8 Gradients through loops
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
    because="Reverse mode stores values of every iteration, and `while_loop` does not know their "
    "number when the program is compiled.",
    mistakes={
        32.0: "forward mode gives that; reverse mode needs the carry of every iteration",
        "TracerBoolConversionError": "the condition of a `while_loop` may be a tracer",
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
# Forward mode needs no stored values, so `jvp` works. Reverse mode stores residuals of every iteration in arrays, whose sizes must be known at compile time. A `scan` has a fixed length and can be differentiated. `fori_loop` with Python bounds is a scan and can be differentiated too. With traced bounds it is a while loop and cannot.
#
# ### A bounded while loop with gradients
# **Exercise** · 10 minutes · difficulty 5 of 5
#
# `bounded_while(go_on, body, state, most)` **returns** the result of `lax.while_loop(go_on, body, state)` if that takes at most `most` iterations, and otherwise the carry after `most` iterations.
#
# **Edge cases**: `most` is a Python integer, and may be 0. After the condition has become false, `body` may be undefined (a root of a negative number), and must not affect values or gradients.
#
# **The check** compares values and reverse-mode gradients, and that the program has a `scan`.

# %% exercise="bounded_while"
def bounded_while(go_on, body, state, most: int):
    """`lax.while_loop(go_on, body, state)` with at most `most` iterations, differentiable."""
    ### BEGIN SOLUTION
    def turn(state, _):
        return lax.cond(go_on(state), body, lambda state: state, state), None

    return lax.scan(turn, state, length=most)[0]
    ### END SOLUTION

# %% [markdown] hints="bounded_while"
# <details><summary>Hint 1: the idea</summary>
#
# Scan over `most` iterations. Once the condition is false, return the carry unchanged. The condition then stays false.
# </details>
# <details><summary>Hint 2: the gradient</summary>
#
# `where` and `cond` can both return the old carry. Look at the table in 4.1 and at the two gradients below it.
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
        "one iteration too many": one_too_many,
        "the body runs before the condition is tested": looked_too_late,
        "all iterations run": lambda x: heron_by_hand(x, extra=8 - heron_by_hand(x)["turns"]),
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
    about="enough iterations, too few, and none",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 4.9 jax.checkpoint: less memory for reverse mode
#
# Reverse mode through a scan stores the *residuals* of every iteration: the values of the forward pass that the derivative needs. `jax.checkpoint(body)`, also called remat (its primitive is `remat2`), stores only the *inputs* of the body, and recomputes the rest in the backward pass. The next cell lists what is stored:

# %% tags=["demonstration"]
def layer(h, p):
    return h + jnp.tanh(jax.nn.softplus(h @ p["w"]) + p["b"]), None


def kept(body, params, x):
    _, pull = jax.vjp(lambda params, x: lax.scan(body, x, params)[0], params, x)
    return [leaf.shape for leaf in jax.tree.leaves(pull)]


rng = np.random.default_rng(0)
stack = {"w": jnp.asarray(rng.normal(size=(40, 8, 8)), jnp.float32), "b": jnp.zeros((40, 8))}
batch = jnp.ones((64, 8))
print("stored:         ", kept(layer, stack, batch))
print("with checkpoint:", kept(jax.checkpoint(layer), stack, batch))

# %% [markdown]
# 40 layers, 64 examples, 8 units. With the checkpoint only one array of shape `(40, 64, 8)` is left besides the parameters, the input of each layer. The gradient is the same, and the forward pass runs twice. A checkpoint around the *whole* scan does not lower the peak, because the backward pass then recomputes and stores everything at once.
#
# Within a scan, `prevent_cse=False` is safe and can be faster. A *policy* chooses a middle way: `policy=jax.checkpoint_policies.dots_saveable` stores the results of matrix products too. For this layer with 512 examples, 256 units and 20 layers, JAX 0.10 on a CPU needs 45 MB without a checkpoint, 23 MB with this policy, and 13 MB with the inputs only. Lesson 13 measures this.
#
# ### A deep network with checkpointed layers
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# `deep(params, x)` **returns** the result of all layers, of the shape of `x`. One layer is $h \leftarrow h + \tanh(h W_\ell + b_\ell)$, starting with $h = x$. `params["w"]` and `params["b"]` stack the layers along their first axis.
#
# **Edge cases**: any number of layers from 1.
#
# **The check** compares values, and that the program has a `scan` and one size for every number of layers. The gradient may store only the input $h$ of each layer, by `jax.checkpoint`.

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
# Scan over `params`: the body gets the parameters of one layer. The carry is $h$, and the output of each step is `None`.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.checkpoint(body)`, or `@jax.checkpoint` above the body. Apply it to one layer, not to the whole scan.
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
        "the backward pass stores more of each layer than its input": (
            lambda params, x: np.array(False)
        )
    },
    about="what is stored",
)
### BEGIN HIDDEN TESTS
check_values(deep, layer_by_layer, sweep({"w": "1 2 2", "b": "1 2"}, "3 2", count=1, seed=5))
### END HIDDEN TESTS

# %% [markdown]
# ## What to remember
#
# 1. `where` computes both sides and chooses by element. `cond` and `switch` trace all branches and run one. A recursion over values never ends its trace.
# 2. `while_loop` stops by itself and has no reverse mode. `scan` has a fixed length, a carry and stacked outputs, and can be differentiated. `fori_loop` becomes one or the other.
# 3. The carry keeps its structure, shape and dtype. A Python 0 is weakly typed and may become a float.
# 4. A Python loop is unrolled, and its program grows. The size of a `scan` does not depend on its length.
# 5. `associative_scan` runs steps in parallel. `jax.checkpoint` trades memory for a second forward pass.
#
# ## Further reading
#
# - The JAX documentation: [Control flow and logical operators with JIT](https://docs.jax.dev/en/latest/control-flow.html), [Gradient checkpointing with `jax.checkpoint`](https://docs.jax.dev/en/latest/gradient-checkpointing.html), [`jax.lax.scan`](https://docs.jax.dev/en/latest/_autosummary/jax.lax.scan.html).
# - Chen, Xu, Zhang and Guestrin, [Training deep nets with sublinear memory cost](https://arxiv.org/abs/1604.06174) (2016). Martin and Cundy, [Parallelizing linear recurrent neural nets over sequence length](https://arxiv.org/abs/1709.04057) (2018). Blelloch, *Prefix sums and their applications* (1990).
#
# ## Previous and next
#
# Lesson 03 compiled functions. Dropout, shuffled batches and samplers need random numbers, which a pure function cannot produce by itself. Lesson 05 passes the randomness as an argument.
