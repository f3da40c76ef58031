# %% [markdown]
# # 13 · Performance: measure, compile less, move less, store less
#
# After this lesson you can
#
# - time tracing, compilation and execution separately, and read a profile in Python;
# - compile few programs for inputs of many lengths, with exact results;
# - read a program's peak memory before it runs, and reduce it by donation and rematerialisation;
# - train in bfloat16 with float32 master weights, and in float16 with a dynamic loss scale;
# - compile ahead of time, export a program for any batch size, and find hidden transfers.
#
# This decides whether a model fits on its device, and whether it trains in a day or in a week.
#
# About 130 minutes. There is a good place for a break after 13.4. You need lessons 01 to 05 and 08.

# %%
import os
import tempfile
import time
from functools import cache, partial, reduce
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, Float, Int

from graders import (
    check_answer,
    check_donates,
    check_dtype,
    check_gradients,
    check_primitives,
    check_traces,
    check_values,
    integers,
    result_of,
    sweep,
    through,
)

# %% [markdown]
# ## 13.0 Recall
#
# Three questions about earlier lessons, one point each. Answer before you run anything.
#
# **Recall** · 1 minute · difficulty 1 of 5
#
# `f` is under `jax.jit`. You call it with float32 arrays of the lengths 5, 7, 5 and 6, in this order, and then with an int32 array of length 5. How many times is `f` traced?

# %% exercise="traced_lengths" kind="recall"
# An integer.
### BEGIN SOLUTION
traced_lengths = 4
### END SOLUTION

# %% check="traced_lengths" points=1
def count_traced_lengths():
    runs = []
    f = jax.jit(lambda x: runs.append(x.shape))
    for n in (5, 7, 5, 6):
        f(jnp.ones(n))
    f(jnp.ones(5, "int32"))
    return len(runs)


check_answer(
    traced_lengths,
    count_traced_lengths,
    because="Three lengths, and a new dtype at a known length: lesson 03.",
    mistakes={
        3: "a new dtype needs a new program too",
        5: "the second call with length 5 finds the first program in the cache",
        1: "a program serves one shape and one dtype",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 1 of 5
#
# A model has 1,000,000 float32 parameters. How many megabytes (of 1,000,000 bytes) does the state of `optax.adam` hold, apart from its step count?

# %% exercise="adam_megabytes" kind="recall"
# An integer.
### BEGIN SOLUTION
adam_megabytes = 8
### END SOLUTION

# %% check="adam_megabytes" points=1
check_answer(
    adam_megabytes,
    8,
    because="Adam keeps two moments for each parameter, four bytes each.",
    mistakes={
        4: "that is one copy of the parameters; Adam keeps two moments",
        2: "two numbers for each parameter, and each has four bytes",
        12: "the parameters themselves are not part of the optimizer state",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# The gradient of a `jax.lax.scan` over 20 layers needs values from the forward pass. Which function from lesson 04 computes them again in the backward pass instead of storing them?

# %% exercise="recomputing" kind="recall"
# A string such as "jax.jit".
### BEGIN SOLUTION
recomputing = "jax.checkpoint"
### END SOLUTION

# %% check="recomputing" points=1
check_answer(
    recomputing,
    "jax.checkpoint",
    because="`jax.remat` is another name for it. Section 13.5 chooses what is kept.",
    mistakes={
        "jax.remat": "right, under its other name: write jax.checkpoint",
        "checkpoint": "right: write it with its module, jax.checkpoint",
        "jax.lax.stop_gradient": "that removes a part of the gradient",
    },
)

# %% [markdown]
# ## 13.1 Three clocks: tracing, compilation, execution
#
# The first call of a jitted function traces your Python to a jaxpr, lowers and compiles the jaxpr, and executes the result. A later call only executes.
#
# Execution has two parts. The call itself, the *dispatch*, takes a few microseconds and returns an array that is not computed yet. The device computes it in the background (lesson 01).
#
# ### Bug hunt: a product that takes no time
#
# This time for a matrix product means a speed that no processor has.

# %% tags=["demonstration"]
square = jax.jit(lambda matrix: matrix @ matrix)
ones = jnp.ones((1500, 1500))
square(ones).block_until_ready()  # compile

begin = time.perf_counter()
result = square(ones)
timed = time.perf_counter() - begin
print(f"timed: {1e6 * timed:.0f} µs, or {2 * 1500**3 / timed / 1e9:,.0f} Gflop/s")
result.block_until_ready()
print(f"{1e6 * (time.perf_counter() - begin):.0f} µs until the result was there")

# %% [markdown]
# The first number is the dispatch. The fix is to wait for the result. Then repeat the call and take the shortest time, which is the least disturbed by other work.
#
# ### Time the stages
# **Exercise** · 10 minutes · difficulty 3 of 5
#
# `three_clocks(jitted, args, repeats, clock)` returns a dict of seconds. `"trace"` is the time of `jitted.trace(*args)`, `"compile"` that of lowering and compiling together, and `"run"` the shortest of `repeats` calls of the compiled program, each until its result has been computed.
#
# `repeats` is at least 1. The result of a call may be any pytree.
#
# The check passes a simulated device and its clock, where every cost is known.

# %% exercise="three_clocks"
def three_clocks(jitted, args: tuple, repeats: int, clock=time.perf_counter) -> dict:
    """Seconds for tracing, for compilation, and for the fastest of `repeats` runs."""
    ### BEGIN SOLUTION
    times = [clock()]
    traced = jitted.trace(*args)
    times.append(clock())
    compiled = traced.lower().compile()
    times.append(clock())
    runs = []
    for _ in range(repeats):
        start = clock()
        jax.block_until_ready(compiled(*args))
        runs.append(clock() - start)
    return {"trace": times[1] - times[0], "compile": times[2] - times[1], "run": min(runs)}
    ### END SOLUTION

# %% [markdown] hints="three_clocks"
# <details><summary>Hint 1: the idea</summary>
#
# Read the clock between the stages. Keep the object that each stage returns, because the next stage is a method of it.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `traced = jitted.trace(*args)`, `lowered = traced.lower()`, `compiled = lowered.compile()`, and `compiled(*args)` runs it. `jax.block_until_ready` takes any pytree.
# </details>

# %% check="three_clocks" points=3
def on_a_fake_device(measure, tracing, lowering, compiling, dispatch, *costs):
    """What `measure` says of a function whose costs are known; `costs` are those of its runs."""
    now, free, left = [0.0], [0.0], list(costs)

    def spend(seconds):
        now[0] += seconds

    class Promise:
        def __init__(self, ready):
            self.ready = ready

        def block_until_ready(self):
            now[0] = max(now[0], self.ready)
            return self

    class Compiled:
        def __call__(self, *args):
            spend(dispatch if args == (tracing,) else 1000.0)
            free[0] = max(now[0], free[0]) + (left.pop(0) if left else 1000.0)
            return {"small": [Promise(now[0])], "large": (Promise(free[0]), Promise(now[0]))}

    class Lowered:
        def compile(self):
            spend(compiling)
            return Compiled()

    class Traced:
        def lower(self):
            spend(lowering)
            return Lowered()

    class Jitted(Compiled):
        def trace(self, *args):
            spend(tracing)
            return Traced()

        def lower(self, *args):
            return self.trace().lower()

        def __call__(self, *args):
            self.lower().compile()
            return super().__call__(*args)

    clocks = measure(Jitted(), (tracing,), len(costs), lambda: now[0])
    return {name: jnp.float32(seconds) for name, seconds in clocks.items()}


def known_costs(tracing, lowering, compiling, dispatch, *costs, run=min):
    return {
        "trace": np.float64(tracing),
        "compile": np.float64(lowering + compiling),
        "run": np.float64(run([dispatch + cost for cost in costs])),
    }


def without_lowering(tracing, lowering, *others):
    return known_costs(tracing, 0.0, *others)


def of_the_dispatch(tracing, lowering, compiling, dispatch, *costs):
    return known_costs(tracing, lowering, compiling, dispatch, 0.0)


some = [(3.0, 5.0, 40.0, 0.5, 9.0, 2.0, 4.0), (7.0, 1.0, 20.0, 0.25, 3.0, 8.0)]
check_values(
    through(on_a_fake_device, three_clocks),
    known_costs,
    some,
    mistakes={
        "the runs are not waited for: their time is that of the dispatch": of_the_dispatch,
        "the mean of the runs, not the shortest": partial(known_costs, run=np.mean),
        "the longest of the runs, not the shortest": partial(known_costs, run=max),
        "the sum of the runs, not the shortest": partial(known_costs, run=sum),
        "lowering is missing from the compilation": without_lowering,
        "only the first run is looked at": partial(known_costs, run=lambda runs: runs[0]),
    },
)
### BEGIN HIDDEN TESTS
check_values(
    through(on_a_fake_device, three_clocks),
    known_costs,
    [(0.0, 2.0, 9.0, 1.0, 4.0), (1.0, 30.0, 0.5, 0.0, 6.0, 6.0, 6.0, 6.0, 6.0, 5.0)],
    about="one run, and many",
)
### END HIDDEN TESTS

# %% [markdown]
# Now use it on real programs. Here is a chain of 50 products, once as a Python loop, which is unrolled into 50 operations, and once as a `scan`, which compiles one:

# %% tags=["raises-exception"]
def unrolled(ws, x):
    for w in ws:
        x = jnp.tanh(x @ w)
    return x


def scanned(ws, x):
    return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, ws)[0]


ws, x = jnp.full((50, 128, 128), 0.01), jnp.ones((64, 128))
for f in (unrolled, scanned):
    seconds = three_clocks(jax.jit(f), (ws, x), 20)
    print(f.__name__, {name: f"{1e3 * value:.2f} ms" for name, value in seconds.items()})

# %% [markdown]
# On two CPU cores the unrolled program takes about ten times as long to trace and to compile. It runs about as fast. Without `jit` you would pay the dispatch for every operation. In a published measurement on an RTX 3090 (*Why JAX feels faster than PyTorch*) 100 products of 512 × 512 took 9.5 ms without `jit`, 3.1 ms under `jit`, and 8.7 ms in PyTorch.

# %% [markdown]
# ## 13.2 A chain of matrix products: plan while tracing
#
# Every bracketing of a chain of matrix products gives the same matrix, but the costs differ: $n \times k$ times $k \times m$ takes $nkm$ multiplications. XLA keeps the order that you write.
#
# Shapes are known while JAX traces, so you can search for the best order in ordinary Python. The search costs nothing when the program runs.
#
# ### Multiply a chain of matrices
# **Exercise** · 12 minutes · difficulty 4 of 5
#
# `chain(matrices)` returns the product of a list of one to eight matrices, from left to right, computed with the fewest multiplications possible for their shapes.
#
# For one matrix the result is that matrix. The dtype is kept.
#
# The check compares the values and counts the multiplications in the jaxpr.

# %% exercise="chain"
def chain(matrices: list[Float[Array, "_ _"]]) -> Float[Array, "rows columns"]:
    """The product of the matrices, bracketed for the fewest multiplications."""
    ### BEGIN SOLUTION
    sizes = [len(matrices[0]), *(matrix.shape[1] for matrix in matrices)]

    @cache
    def plan(i, j):
        """The multiplications for matrices i to j - 1, and where to split them first."""
        if j - i == 1:
            return 0, i
        cost = lambda k: plan(i, k)[0] + plan(k, j)[0] + sizes[i] * sizes[k] * sizes[j]
        return min((cost(k), k) for k in range(i + 1, j))

    def product(i, j):
        if j - i == 1:
            return matrices[i]
        k = plan(i, j)[1]
        return product(i, k) @ product(k, j)

    return product(0, len(matrices))
    ### END SOLUTION

# %% [markdown] hints="chain"
# <details><summary>Hint 1: the idea</summary>
#
# The last product that is computed splits the chain in two. Try every split: the cost is that of the left part, plus that of the right part, plus one product of two matrices whose shapes you know.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# A recursive function of positions `i` and `j`, with `functools.cache`, returns the cost and the best split.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# One function `plan(i, j)` uses `min(...)` over `range(i + 1, j)`. Another one, `product(i, j)`, follows the plan.
# </details>

# %% check="chain" points=3
def multiplications(multiply, matrices):
    def count(jaxpr):
        total = 0
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                (over, _), _ = equation.params["dimension_numbers"]
                shared = [equation.invars[0].aval.shape[axis] for axis in over]
                total += int(np.prod([*equation.outvars[0].aval.shape, *shared]))
            for inner in equation.params.values():
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    total += equation.params.get("length", 1) * count(inner)
        return total

    return jnp.int32(count(jax.make_jaxpr(multiply)(matrices).jaxpr))


def sizes_of(matrices):
    return [len(matrices[0]), *(matrix.shape[1] for matrix in matrices)]


def fewest(matrices):
    n = sizes_of(matrices)
    best = {(i, i + 1): 0 for i in range(len(matrices))}
    for width in range(2, len(n)):
        for i in range(len(n) - width):
            j = i + width
            best[i, j] = min(
                best[i, k] + best[k, j] + n[i] * n[k] * n[j] for k in range(i + 1, j)
            )
    return np.array(best[0, len(matrices)])


def from_the_left(matrices):
    n = sizes_of(matrices)
    return np.array(sum(n[0] * n[k] * n[k + 1] for k in range(1, len(n) - 1)))


def from_the_right(matrices):
    n = sizes_of(matrices)
    return np.array(sum(n[k - 1] * n[k] * n[-1] for k in range(1, len(n) - 1)))


def greedily(matrices):
    n, total = sizes_of(matrices), 0
    while len(n) > 2:
        cost, k = min((n[k - 1] * n[k] * n[k + 1], k) for k in range(1, len(n) - 1))
        total += cost
        del n[k]
    return np.array(total)


def largest_size_first(matrices):
    n, total = sizes_of(matrices), 0
    while len(n) > 2:
        k = max(range(1, len(n) - 1), key=lambda k: n[k])
        total += n[k - 1] * n[k] * n[k + 1]
        del n[k]
    return np.array(total)


def of_sizes(*sizes, seed=0):
    draw = np.random.default_rng(seed).normal
    return ([np.float32(draw(size=pair)) for pair in zip(sizes, sizes[1:])],)


check_values(
    chain,
    lambda matrices: reduce(np.matmul, matrices),
    sweep(["a b", "b c", "c d"], count=1, planted=True)
    + sweep(["a b", "b c", "c d", "d e"], count=2, seed=1)
    + [of_sizes(3, 5), of_sizes(4, 4, 4, 4, seed=2), of_sizes(1, 3, 1, seed=4)]
    + [of_sizes(2, 5, 3, 4, 6, 2, 3, 4, 2, seed=3)],
    rtol=1e-3,
    atol=1e-4,
    mistakes={
        "the first matrix is left out": lambda matrices: reduce(np.matmul, matrices[1:]),
        "the last matrix is left out": lambda matrices: reduce(np.matmul, matrices[:-1]),
    },
)
check_values(
    through(multiplications, chain),
    fewest,
    [
        of_sizes(50, 60, 70, 1),
        of_sizes(1, 70, 60, 50),
        of_sizes(30, 35, 15, 5, 10, 20, 25),
        of_sizes(10, 2, 9, 3, 11),
        of_sizes(4, 4),
    ],
    mistakes={
        "from the left to the right, whatever the shapes are": from_the_left,
        "from the right to the left, whatever the shapes are": from_the_right,
        "the cheapest product first: the choice is made one product at a time": greedily,
        "the largest size is removed first: the choice is made one product at a time": (
            largest_size_first
        ),
    },
    about="multiplications",
)
### BEGIN HIDDEN TESTS
check_dtype(chain, [jnp.ones((2, 3), "bfloat16"), jnp.ones((3, 2), "bfloat16")], returns="bfloat16")
check_values(
    through(multiplications, chain),
    fewest,
    [
        of_sizes(7, 30, 4, 28, 9, 31, 3, 25, 6),
        of_sizes(20, 3, 18, 40, 5, 19, 4),
        of_sizes(12, 33, 8, 21, 13, 34, 6, 26),
    ],
    mistakes={
        "the cheapest product first: the choice is made one product at a time": greedily,
        "the largest size is removed first: the choice is made one product at a time": (
            largest_size_first
        ),
    },
    about="multiplications in longer chains",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 13.3 Variable lengths: retraces, padding and buckets
#
# Sentences and molecules have many lengths, and each new length is a new program. The remedy is to *pad*: append entries until the length is one of a few, called *buckets*. Powers of two are a common choice. The padding then at most doubles the length.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# Inputs have all the lengths from 1 to 100. Each is padded to the next power of two (1, 2, 4, ...). How many programs are compiled?

# %% exercise="programs" kind="prediction"
# An integer.
### BEGIN SOLUTION
programs = 8
### END SOLUTION

# %% check="programs" points=1
check_answer(
    programs,
    lambda: len({1 << (n - 1).bit_length() for n in range(1, 101)}),
    because="1, 2, 4, 8, 16, 32, 64 and 128.",
    mistakes={
        7: "1 is a power of two as well, and 100 needs 128",
        100: "that is without padding; the program depends on the padded length only",
        6: "count both ends: 1 and 128",
    },
)

# %% [markdown]
# ### Bug hunt: padding that enters the mean
#
# The program cannot tell padding from data. This function averages over both.

# %% tags=["demonstration"]
@jax.jit
def mean_broken(x):
    return jnp.mean(x)


for length in (3, 4, 5, 9):
    row = np.ones(length, np.float32)
    extended = np.pad(row, (0, (1 << (length - 1).bit_length()) - length))
    print(f"length {length}: mean {row.mean():.2f}, of the padded array {mean_broken(extended):.2f}")

# %% [markdown]
# A test with length 4 would not notice. Zeros also enter a maximum of negative entries, and a softmax, where the score 0 has the weight $e^0 = 1$. A zero weight does not remove a NaN, since $0 \cdot \text{NaN}$ is NaN. Select with `jnp.where` before you compute, and divide by the number of true entries.
#
# ### Pool over the true steps
# **Exercise** · 12 minutes · difficulty 4 of 5
#
# `pool(x, lengths, query)` returns a dict of three arrays of shape (batch, features): `"mean"` and `"max"` over the steps of each sequence, and `"attention"`, the weighted mean of the steps. The weight of a step is the softmax, over the steps of its sequence, of the dot product of the step with `query`.
#
# Only the first `lengths[i]` steps of sequence `i` count, at least 1. The padding may hold anything, NaN and infinity included. Scores may be large. A NaN in a true step comes through.
#
# The check looks at the values, at the gradients with respect to `x` (zero at the padding) and `query`, and at the traces under `jax.jit`: one for all `lengths`.

# %% exercise="pool"
def pool(
    x: Float[Array, "batch time features"],
    lengths: Int[Array, "batch"],
    query: Float[Array, "features"],
) -> dict[str, Float[Array, "batch features"]]:
    """Mean, maximum and attention over the first `lengths[i]` steps of each `x[i]`."""
    ### BEGIN SOLUTION
    mask = (jnp.arange(x.shape[1]) < lengths[:, None])[:, :, None]
    x = jnp.where(mask, x, 0)
    scores = jnp.where(mask[:, :, 0], x @ query, -jnp.inf)
    return {
        "mean": x.sum(axis=1) / lengths[:, None],
        "max": jnp.where(mask, x, -jnp.inf).max(axis=1),
        "attention": jnp.einsum("bt,btf->bf", jax.nn.softmax(scores, axis=1), x),
    }
    ### END SOLUTION

# %% [markdown] hints="pool"
# <details><summary>Hint 1: the idea</summary>
#
# Make one boolean mask of shape (batch, time). First replace the padding by zeros, so that nothing bad is left in `x`. Then choose for each of the three results what the padding must become so that it has no effect.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jnp.arange(time) < lengths[:, None]`, then `jnp.where` before every reduction. Minus infinity has no effect in a maximum and in a softmax.
# </details>
# <details><summary>Hint 3: the gradient</summary>
#
# If the NaN is removed only after a product, its gradient still passes through the product and is NaN (lesson 02). Apply `jnp.where` to `x` itself first.
# </details>

# %% check="pool" points=3
def step_by_step(x, lengths, query, count=None, fill=None, scored=None):
    """`count`, `fill` and `scored` make the mistakes: divisor, padding of the maximum, steps."""
    rows = {"mean": [], "max": [], "attention": []}
    for one, n in zip(x, lengths):
        true = one[:n]
        rows["mean"].append(true.sum(axis=0) / (count(one, n) if count else n))
        top = true.max(axis=0)
        rows["max"].append(np.maximum(top, fill) if fill is not None and n < len(one) else top)
        steps = np.concatenate([true, np.zeros((scored(one, n) - n if scored else 0, len(query)))])
        scores = steps @ query
        weights = np.exp(scores - scores.max())
        rows["attention"].append(weights @ steps / weights.sum())
    return {name: np.array(row) for name, row in rows.items()}


def spoiled(case, padding):
    x, lengths, query = case
    x = x.copy()
    for one, n in zip(x, lengths):
        one[n:] = padding
    return x, lengths, query


def full_length(one, n):
    return len(one)


def summed(pool, x, lengths, query):
    """A number to differentiate: every entry has a weight of its own."""
    pooled = pool(x, lengths, query)
    weights = jnp.arange(1, pooled["mean"].size + 1).reshape(pooled["mean"].shape)
    return sum((i + 1) * jnp.sum(weights * pooled[n]) for i, n in enumerate(sorted(pooled)))


def slope_at_x(pool, x, lengths, query):
    return jax.grad(lambda x: summed(pool, x, lengths, query))(x)


def jitted(pool, *args):
    """Runs of the body over three calls with other lengths."""
    runs = []

    @jax.jit
    def counted(x, lengths, query):
        runs.append(lengths)
        return pool(x, lengths, query)

    for shift in range(3):
        counted(args[0], jnp.maximum(args[1] - shift, 1), args[2])
    return jnp.int32(len(runs))


def slope_by_hand(x, lengths, query):
    """The gradient with respect to x of `summed`, by central differences in float64."""

    def value(x):
        pooled = step_by_step(x, lengths, query)
        weights = np.arange(1, pooled["mean"].size + 1).reshape(pooled["mean"].shape)
        return sum((i + 1) * np.sum(weights * pooled[n]) for i, n in enumerate(sorted(pooled)))

    slope = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        moved = np.zeros_like(x)
        moved[place] = 1e-6
        slope[place] = (value(x + moved) - value(x - moved)) / 2e-6
    return slope


[first, second, *others] = sweep(
    "batch time features", integers("batch", 1, 4), "features", count=2, seed=2, planted=True
)
[first, second, *others] = [
    (x, np.minimum(lengths, x.shape[1]), query) for x, lengths, query in (first, second, *others)
]
low = (first[0] - 9, first[1], first[2])
check_values(
    pool,
    step_by_step,
    [spoiled(first, 0.0), spoiled(low, 0.0), spoiled(second, 7.0), *others],
    mistakes={
        "the mean is divided by the padded length": partial(step_by_step, count=full_length),
        "the zeros of the padding enter the maximum": partial(step_by_step, fill=0.0),
        "the padding takes part in the softmax": partial(step_by_step, scored=full_length),
    },
)
check_values(
    pool,
    step_by_step,
    [spoiled(first, np.nan), spoiled(second, np.inf), spoiled(low, -1e30)],
    about="padding of NaN, infinity and large numbers",
)
check_values(
    through(slope_at_x, pool),
    slope_by_hand,
    [spoiled(first, 0.5), spoiled(low, -3.0)],
    rtol=1e-3,
    atol=1e-4,
    about="the gradient with respect to x",
)
check_gradients(through(summed, pool), *spoiled(first, np.nan), argnums=2)
check_values(through(jitted, pool), [np.array(1)], [second], about="traces")
### BEGIN HIDDEN TESTS
wild = spoiled(second, 3.0)
wild[0][0, 0, 0] = np.nan
check_values(
    pool,
    step_by_step,
    [
        (300 * first[0], first[1], 10 * first[2]),
        (first[0] - 1e4, first[1], first[2] * 0),
        wild,
        *sweep("1 6 1", integers("1", 6, 7), "1", count=1, seed=6),
        *sweep("9 3 4", integers("9", 1, 4), "4", count=1, seed=8),
    ],
    rtol=1e-3,
    about="large scores, NaN in a true step, full sequences",
)
### END HIDDEN TESTS

# %% [markdown]
# ### Pad to a bucket
# **Exercise** · 10 minutes · difficulty 3 of 5
#
# `make_bucketed(f)` returns `g(x)` for arrays of shape (length, features). `g` pads `x` at the end with zeros to the next power of two, and returns `f(padded, length)`. `f` runs under `jax.jit`, and `length` is an int32 scalar.
#
# A length that is a power of two is not padded. The dtype is kept. `x` is a JAX or a NumPy array with at least one row.
#
# The check looks at what `f` receives and returns, and at its traces, one for each bucket. It also counts all compiled programs: at most 30 for the lengths 1 to 64. Pad in NumPy, because `jnp.pad` outside `jit` compiles a small program for every length.

# %% exercise="make_bucketed"
def make_bucketed(f):
    """`g(x)`, which is `f(padded, length)` under jit, one program for each power of two."""
    ### BEGIN SOLUTION
    compiled = jax.jit(f)

    def g(x):
        x = np.asarray(x)
        size = 1 << (len(x) - 1).bit_length()
        padded = np.zeros((size, *x.shape[1:]), x.dtype)
        padded[: len(x)] = x
        return compiled(padded, np.int32(len(x)))

    return g
    ### END SOLUTION

# %% [markdown] hints="make_bucketed"
# <details><summary>Hint 1: the idea</summary>
#
# Call `jax.jit` once, outside `g`. Inside `g` only NumPy works on the array, until the padded one goes to the compiled function.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `np.asarray(x)` copies a JAX array to the host, `np.pad` pads it. For a Python integer `n`, `(n - 1).bit_length()` is the exponent of the next power of two. A static `length` would be a new program each time.
# </details>

# %% check="make_bucketed" points=3
def padded_size(make, x):
    return make(lambda padded, length: jnp.int32(len(padded)))(x)


def size_by_hand(x):
    return np.array(next(2**k for k in range(20) if 2**k >= len(x)))


def what_arrives(make, x):
    def f(padded, length):
        return {"padded": padded, "length": length}

    g = make(f)
    g(x[:1])
    return g(x)


def padded_by_hand(x, front=False, fill=0.0):
    rows = np.full((size_by_hand(x) - len(x), *x.shape[1:]), fill, x.dtype)
    padded = np.concatenate([rows, x] if front else [x, rows])
    return {"padded": padded, "length": np.array(len(x))}


def last_row_repeated(x):
    return padded_by_hand(x, fill=x[-1])


def traces_of_f(make, x, longest):
    runs = []

    def f(padded, length):
        runs.append(length)
        return jnp.sum(padded) / length

    g = make(f)
    for n in range(1, longest + 1):
        g(x[:n])
    return jnp.int32(len(runs))


def too_many_programs(make, most, longest):
    """1 if more than `most` programs were compiled for lengths up to `longest`, else 0."""
    compiled = []

    def listen(event, seconds, **details):
        if event.endswith("backend_compile_duration"):
            compiled.append(event)

    width = 2 + time.time_ns() % 997  # new each time: small programs are cached by shape
    arrays = [np.ones((n, width), np.float32) for n in range(1, longest + 1)]
    g = make(lambda padded, length: jnp.sum(padded) / length)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for x in arrays:
            g(x)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return jnp.int32(len(compiled) > most)


some = sweep("5 3", count=1) + sweep("8 2", count=1, seed=1) + sweep("1 4", count=1, seed=2)
check_values(
    through(padded_size, make_bucketed),
    size_by_hand,
    [*some, (np.ones((100, 1)),), (np.ones((2, 3)),)],
    mistakes={
        "a length that is a power of two is padded to the next one": lambda x: (
            np.array(1 << len(x).bit_length())
        ),
        "padded to one length for all": lambda x: np.array(128),
        "not padded": lambda x: np.array(len(x)),
    },
    about="the padded length",
)
check_values(
    through(what_arrives, make_bucketed),
    padded_by_hand,
    some
    + sweep("9 3", count=1, seed=3, planted=True)
    + sweep(integers("3 2", 1, 9), count=1),
    mistakes={
        "padded at the beginning": partial(padded_by_hand, front=True),
        "the last row is repeated, instead of zeros": last_row_repeated,
    },
)
check_dtype(
    through(what_arrives, make_bucketed),
    np.ones((3, 2), np.int16),
    returns={"padded": "int16", "length": "int32"},
    about="integers",
)
check_values(
    through(traces_of_f, make_bucketed),
    [np.array(6), np.array(4)],
    [(np.ones((20, 3)), 20), (np.ones((8, 3)), 8)],
    mistakes={
        "`f` is traced for every length": lambda x, longest: longest,
        "`f` is traced once for all lengths: everything is padded to one size": lambda x, n: 1,
    },
    about="traces of f",
)
check_values(
    through(too_many_programs, make_bucketed),
    [np.array(0)],
    [(30, 64)],
    mistakes={"a small program is compiled for every length": lambda most, longest: 1},
    about="compiled programs",
)
### BEGIN HIDDEN TESTS
check_values(
    through(what_arrives, make_bucketed),
    padded_by_hand,
    sweep("130 2", count=1, seed=4)
    + sweep("16 1", count=1, seed=5)
    + sweep("257 2", count=1, seed=6)
    + [(np.array([[np.nan, 1.0], [np.inf, -1.0], [0.0, -0.0]]),)],
    about="longer arrays",
)
check_dtype(
    through(what_arrives, make_bucketed),
    jnp.ones((5, 2), jnp.bfloat16),
    returns={"padded": "bfloat16", "length": "int32"},
    about="bfloat16",
)
### END HIDDEN TESTS

# %% [markdown]
# Forty sentences of random lengths, with plain `jax.jit` and with your function:

# %% tags=["raises-exception"]
def score(x, length):
    true = jnp.arange(len(x))[:, None] < length
    return jnp.sum(jnp.where(true, jnp.tanh(x @ x.T @ x), 0)) / length


def milliseconds(f, lengths):
    times = []
    for n in lengths:
        start = time.perf_counter()
        jax.block_until_ready(f(np.ones((n, 8), np.float32)))
        times.append(1e3 * (time.perf_counter() - start))
    return times


lengths = np.random.default_rng(0).integers(1, 100, 40)
plain = jax.jit(score)
plt.figure("Time of each call, with jit alone and with buckets")
for name, f in {"jit": lambda x: plain(x, len(x)), "buckets": make_bucketed(score)}.items():
    plt.semilogy(milliseconds(f, lengths), "o", label=name)
plt.xlabel("call"), plt.ylabel("milliseconds")
plt.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# *One dot a call, on a logarithmic scale. Plain jit has nearly all its dots at the height of a compilation, some tens of milliseconds. The buckets have at most eight dots there. All other calls take about a hundredth of that.*
#
# ## 13.4 Peak memory and donation
#
# `compiled.memory_analysis()` gives the memory of a program before it runs, in bytes:
#
# | field | holds |
# |---|---|
# | `argument_size_in_bytes` | the arguments |
# | `output_size_in_bytes` | the results |
# | `temp_size_in_bytes` | intermediate values, as far as they exist at the same time |
# | `alias_size_in_bytes` | results that are written into donated arguments |
#
# All of these may be in memory at once. A result that reuses the memory of an argument is counted twice, and `alias` says how many bytes these are. Here *peak* means arguments plus results plus intermediate values, minus aliases.
#
# ### Read the peak
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# `peak_bytes(jitted, *args)` returns the peak of a jitted function's program, as an integer.
#
# Each argument is a pytree of arrays, or of `jax.ShapeDtypeStruct`s that stand for arrays.
#
# The check looks at the number, and that the function is not run.

# %% exercise="peak_bytes"
def peak_bytes(jitted, *args) -> int:
    """Arguments + results + intermediate values - aliases of the compiled program."""
    ### BEGIN SOLUTION
    memory = jitted.lower(*args).compile().memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return held + memory.temp_size_in_bytes - memory.alias_size_in_bytes
    ### END SOLUTION

# %% [markdown] hints="peak_bytes"
# <details><summary>Hint 1: the idea</summary>
#
# Compile without calling, as in 13.1. Four fields of one object are added and subtracted.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jitted.lower(*args).compile().memory_analysis()`.
# </details>

# %% check="peak_bytes" points=2
def peak_of(measure, f, donated, *shapes):
    stand_ins = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
    return jnp.int32(measure(jax.jit(f, donate_argnums=donated), *stand_ins))


def by_fields(f, donated, *shapes, signs=(1, 1, 1, -1)):
    stand_ins = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
    memory = jax.jit(f, donate_argnums=donated).lower(*stand_ins).compile().memory_analysis()
    fields = ("argument", "output", "temp", "alias")
    sizes = [getattr(memory, f"{field}_size_in_bytes") for field in fields]
    return np.array(sum(sign * size for sign, size in zip(signs, sizes)))


def double(x):
    return 2 * x


def cubed(x):
    return (x @ x) @ x


def long_way(x, y):
    return (x @ y) @ y.T + x


def runs_of_it(measure, x):
    runs = []

    def note(x):
        runs.append(x)
        return np.asarray(x)

    noted = jax.jit(lambda x: jax.pure_callback(note, jax.ShapeDtypeStruct(x.shape, x.dtype), x))
    measure(noted, x)
    jax.effects_barrier()
    return jnp.int32(len(runs) > 0)


mistakes = {
    "the aliases are not subtracted: donated memory is counted twice": partial(
        by_fields, signs=(1, 1, 1, 0)
    ),
    "the aliases are added": partial(by_fields, signs=(1, 1, 1, 1)),
    "the intermediate values are left out": partial(by_fields, signs=(1, 1, 0, -1)),
    "the arguments are left out": partial(by_fields, signs=(0, 1, 1, -1)),
    "the results are left out": partial(by_fields, signs=(1, 0, 1, -1)),
    "only the intermediate values": partial(by_fields, signs=(0, 0, 1, 0)),
}
check_values(
    through(peak_of, peak_bytes),
    by_fields,
    [
        (double, (), ((1000,), "float32")),
        (double, (0,), ((3000,), "float32")),
        (cubed, (), ((100, 100), "float32")),
        (long_way, (0,), ((100, 40), "float32"), ((40, 70), "float32")),
    ],
    mistakes=mistakes,
)
check_values(
    through(runs_of_it, peak_bytes),
    [np.array(0)],
    [(np.ones(3),)],
    mistakes={"the function is run, not only compiled": lambda x: 1},
    about="whether it was run",
)
### BEGIN HIDDEN TESTS
check_values(
    through(peak_of, peak_bytes),
    by_fields,
    [
        (double, (), ((30, 20), "bfloat16")),
        (cubed, (0,), ((80, 80), "bfloat16")),
        (long_way, (0,), ((60, 30), "float32"), ((30, 90), "float32")),
    ],
    mistakes=mistakes,
    about="other functions and dtypes",
)
### END HIDDEN TESTS

# %% [markdown]
# Donation (lesson 03) turns results into aliases. For parameters and optimizer state that saves one whole copy. Donate only what the caller replaces, and never put the same array into a donated tree twice.
#
# A moving average of the parameters easily breaks both rules: at the start the average equals the parameters, and the caller may still need those.
#
# ### Donate the training state
# **Exercise** · 10 minutes · difficulty 4 of 5
#
# `make_ema_step(loss_fn, learning_rate, decay)` returns two functions.
#
# - `init(params)` returns the state `{"params": ..., "average": ...}`, both equal to `params`, a pytree of float32 arrays.
# - `step(state, x, y)` is jitted and donates `state` and nothing else. It takes a step of gradient descent on `loss_fn(params, x, y)`, sets the average to decay · average + (1 − decay) · *new* parameters, and returns the new state.
#
# The caller's `params`, `x` and `y` stay usable.
#
# The check looks at the values after several steps, at the donation, and at whether the caller's arrays are alive.

# %% exercise="make_ema_step"
def make_ema_step(loss_fn, learning_rate: float, decay: float):
    """`(init, step)`: gradient descent with a moving average; the step donates its state."""
    ### BEGIN SOLUTION
    def init(params):
        return {"params": jax.tree.map(jnp.copy, params), "average": jax.tree.map(jnp.copy, params)}

    @partial(jax.jit, donate_argnums=0)
    def step(state, x, y):
        grads = jax.grad(loss_fn)(state["params"], x, y)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, state["params"], grads)
        average = jax.tree.map(
            lambda a, p: decay * a + (1 - decay) * p, state["average"], params
        )
        return {"params": params, "average": average}

    return init, step
    ### END SOLUTION

# %% [markdown] hints="make_ema_step"
# <details><summary>Hint 1: the idea</summary>
#
# After `init` there must be three separate copies: the caller's, the parameters of the state, and the average.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jnp.copy(array)` makes a new buffer; `jnp.asarray(array)` does not. `@partial(jax.jit, donate_argnums=0)`.
# </details>
# <details><summary>Hint 3: the error</summary>
#
# `Attempt to donate the same buffer twice` means that two leaves of the donated state are the same array.
# </details>

# %% check="make_ema_step" points=3
def line_loss(power):
    """The mean of |x w + b - y| to a power, for a dict or a pair of parameters."""

    def loss_fn(params, x, y):
        w, b = (params["w"], params["b"]) if isinstance(params, dict) else params
        return jnp.mean(jnp.abs(x @ w + b - y) ** power)

    return loss_fn


def steps_taken(make, power, rate, decay, count, params, x, y):
    init, step = make(line_loss(power), rate, decay)
    state = init(params)
    for i in range(count):
        state = step(state, x + i, y)
    return state


def steps_by_hand(power, rate, decay, count, params, x, y, old=False, swapped=False):
    is_dict = isinstance(params, dict)
    w, b = (params["w"], params["b"]) if is_dict else params
    pack = lambda w, b: {"w": w, "b": b} if is_dict else (w, b)
    v, c = w, b
    for i in range(count):
        error = (x + i) @ w + b - y
        slope = power * np.abs(error) ** (power - 1) * np.sign(error) / error.size
        before = w, b
        w, b = w - rate * (x + i).T @ slope, b - rate * slope.sum(axis=0)
        d = 1 - decay if swapped else decay
        new = before if old else (w, b)
        v, c = d * v + (1 - d) * new[0], d * c + (1 - d) * new[1]
    return {"params": pack(w, b), "average": pack(v, c)}


def step_of(make, *settings):
    return make(*settings)[1]


def alive(make, params, x, y):
    """Which of the caller's arrays exist after two steps: `params`, `x`, `y`."""
    init, step = make(line_loss(2), 0.1, 0.9)
    state = init(params)
    state = step(step(state, x, y), x, y)
    given = jax.tree.leaves(params), [x], [y]
    return jnp.array([not any(array.is_deleted() for array in arrays) for arrays in given])


line, pair = {"w": "3 2", "b": "2"}, ("4 1", "1")
some = sweep(2, 0.05, 0.9, 3, line, "6 3", "6 2", count=1, planted=True)
check_values(
    through(steps_taken, make_ema_step),
    steps_by_hand,
    some + sweep(4, 0.001, 0.6, 2, pair, "7 4", "7 1", count=1, seed=1),
    rtol=1e-3,
    atol=1e-4,
    mistakes={
        "the average takes in the old parameters": partial(steps_by_hand, old=True),
        "`decay` and 1 - `decay` are exchanged": partial(steps_by_hand, swapped=True),
        "there is no average: it equals the parameters": lambda p, r, d, *rest: steps_by_hand(
            p, r, 0.0, *rest
        ),
        "uphill: the gradient is added": lambda p, r, *rest: steps_by_hand(p, -r, *rest),
    },
)
start, x, y = some[0][4:]
check_donates(
    result_of(through(step_of, make_ema_step), line_loss(2), 0.1, 0.9),
    {"params": start, "average": start},
    x,
    y,
)
check_values(
    through(alive, make_ema_step),
    [np.array([True, True, True])],
    [(start, x, y)],
    mistakes={
        "the caller's parameters are gone: `init` did not copy them": lambda *given: np.array(
            [False, True, True]
        )
    },
    about="the caller's params, x and y",
)
### BEGIN HIDDEN TESTS
check_values(
    through(steps_taken, make_ema_step),
    steps_by_hand,
    sweep(2, 0.01, 0.99, 9, pair, "5 4", "5 1", count=1, seed=3)
    + sweep(2, 0.2, 0.0, 1, line, "4 3", "4 2", count=1, seed=4),
    rtol=1e-3,
    atol=1e-4,
    about="many steps, and one",
)
### END HIDDEN TESTS

# %% [markdown]
# > **On a GPU** JAX preallocates 75 % of the memory at its first operation. `nvidia-smi` therefore says nothing about your model, and a second process finds the memory taken. Environment variables change this if they are set before JAX starts. `XLA_CLIENT_MEM_FRACTION=.4` reserves less (the old name is `XLA_PYTHON_CLIENT_MEM_FRACTION`). `XLA_PYTHON_CLIENT_PREALLOCATE=false` allocates as needed, at the risk of fragmentation. `XLA_PYTHON_CLIENT_ALLOCATOR=platform` also gives memory back, and is slow. `jax.live_arrays()` lists what JAX holds, and `jax.devices()[0].memory_stats()` counts it, but is `None` on a CPU.
#
# This is a good place for a break.
#
# ## 13.5 Rematerialisation: store less, compute again
#
# Reverse mode stores values of the forward pass, the *residuals*. In a deep network they are most of the memory. `jax.checkpoint` stores only the inputs of a function and computes its residuals again. A *policy* says what is stored in addition.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# A layer is `x + jnp.tanh(x @ w)`. The gradient with respect to `w` and `x` has three matrix products a layer: one forward, two backward. How many does it have if the layer is wrapped in `jax.checkpoint`?

# %% exercise="remat_products" kind="prediction"
# An integer.
### BEGIN SOLUTION
remat_products = 4
### END SOLUTION

# %% check="remat_products" points=1
def count_products():
    layer = jax.checkpoint(lambda x, w: jnp.sum(x + jnp.tanh(x @ w)))
    jaxpr = jax.make_jaxpr(jax.grad(layer, argnums=(0, 1)))(jnp.ones((2, 3)), jnp.ones((3, 3)))
    return str(jaxpr).count("dot_general[")


check_answer(
    remat_products,
    count_products,
    because="`x @ w` is computed a second time, for the derivative of tanh.",
    mistakes={
        3: "`x @ w` was not stored, so it is computed again in the backward pass",
        6: "the forward pass is repeated once; the backward products are not",
        5: "one product is repeated, the one of the forward pass",
    },
)

# %% [markdown]
# A common compromise stores the results of matrix products, which are expensive, and computes the rest again: `policy=jax.checkpoint_policies.dots_saveable`.
#
# ### Choose what is stored
# **Exercise** · 12 minutes · difficulty 4 of 5
#
# `make_deep_loss(layer, save_products)` returns `loss(ws, x, y)`, the mean of $(\text{output} - y)^2$. The output is `x` after `layer(x, w)` for each `w` in the stacked `ws`, in one `jax.lax.scan`. The gradient of the loss stores,
#
# - with `save_products=False`, the input `x` of each layer, and nothing else that a layer computes;
# - with `save_products=True`, also the results of the matrix products, so that no product is computed twice.
#
# `layer` is any function that keeps the shape of `x`.
#
# The check compares losses and gradients, and counts the products in the jaxpr of the gradient. It reads `temp_size_in_bytes` of the compiled gradient for 16 or more layers: less than 2 arrays of the size of `x` for each layer, or less than 3 with `save_products=True`.

# %% exercise="make_deep_loss"
def make_deep_loss(layer, save_products: bool):
    """`loss(ws, x, y)` of a deep network whose gradient stores little."""
    ### BEGIN SOLUTION
    policy = jax.checkpoint_policies.dots_saveable if save_products else None
    layer = jax.checkpoint(layer, policy=policy)

    def loss(ws, x, y):
        output, _ = jax.lax.scan(lambda x, w: (layer(x, w), None), x, ws)
        return jnp.mean((output - y) ** 2)

    return loss
    ### END SOLUTION

# %% [markdown] hints="make_deep_loss"
# <details><summary>Hint 1: the idea</summary>
#
# Wrap one layer, not the whole loss: if everything is one checkpoint, the backward pass computes and stores all of it again at once.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.checkpoint(layer, policy=...)`. Without a policy nothing is stored but the inputs. The body of the scan returns `(layer(x, w), None)`.
# </details>

# %% check="make_deep_loss" points=3
def one_product(x, w):
    return x + jnp.tanh(x @ w)


def two_products(x, w):
    return x + jnp.sin(x @ w) @ w.T


def grouped_product(x, w):
    groups = x.reshape(2, -1, x.shape[-1])
    out = jnp.einsum("gbi,gij->gbj", groups, jnp.stack([w, w.T]))
    return x + jnp.tanh(out).reshape(x.shape)


def loss_and_slopes(make, layer, save, ws, x, y):
    return jax.value_and_grad(make(layer, save), argnums=(0, 1))(ws, x, y)


def plain_loss(layer, save, ws, x, y, reduced=jnp.mean):
    def loss(ws, x):
        for w in ws:
            x = layer(x, w)
        return reduced((x - y) ** 2)

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(jnp.float32(ws), jnp.float32(x))


def stored_arrays(make, layer, save, allowed, layers, batch, width):
    """Whole arrays a layer in temporary memory, as many as are allowed at least."""
    shapes = (layers, width, width), (batch, width), (batch, width)
    stand_ins = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    compiled = jax.jit(jax.grad(make(layer, save))).lower(*stand_ins).compile()
    arrays = compiled.memory_analysis().temp_size_in_bytes // (4 * layers * batch * width)
    return jnp.int32(max(allowed, arrays))


def products(make, layer, save, layers):
    """Matrix products a layer in the gradient, and whether there is a Python loop over layers."""

    def count(jaxpr, times=1):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                yield times
            for inner in equation.params.values():
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from count(inner, times * equation.params.get("length", 1))

    args = jnp.ones((layers, 3, 3)), jnp.ones((4, 3)), jnp.ones((4, 3))
    found = list(count(jax.make_jaxpr(jax.grad(make(layer, save)))(*args).jaxpr))
    return jnp.int32(sum(found) // layers), jnp.bool_(len(found) < layers)


some = [
    sweep(layer, save, "5 3 3", "4 3", "4 3", count=1, seed=seed, scale=0.5)[0]
    for seed, (layer, save) in enumerate(
        [(one_product, False), (one_product, True), (two_products, True), (two_products, False)]
    )
]
check_values(
    through(loss_and_slopes, make_deep_loss),
    plain_loss,
    some
    + sweep(one_product, True, "n 4 4", "6 4", "6 4", count=2, seed=9, planted=True)
    + sweep(two_products, True, "1 3 3", "2 3", "2 3", count=1, seed=6),
    rtol=1e-3,
    atol=1e-4,
    mistakes={"a sum instead of the mean": partial(plain_loss, reduced=jnp.sum)},
)
check_values(
    through(products, make_deep_loss),
    [(np.array(3), np.array(True)), (np.array(6), np.array(True))],
    [(one_product, True, 10), (two_products, True, 9)],
    mistakes={
        "the products are computed again": lambda layer, save, layers: (
            (np.array(4 if layer is one_product else 7), np.array(True))
        ),
        "a Python loop over the layers is unrolled": lambda layer, save, layers: (
            (np.array(2 if layer is one_product else 5), np.array(False))
        ),
    },
    about="products a layer",
)
check_values(
    through(stored_arrays, make_deep_loss),
    [np.array(1), np.array(2)],
    [(two_products, False, 1, 16, 256, 32), (two_products, True, 2, 20, 128, 16)],
    mistakes={
        "nothing is checkpointed: all values of the forward pass are stored": (
            lambda layer, save, allowed, *sizes: 3
        ),
        "the layers are one checkpoint: it stores everything at once": (
            lambda layer, save, allowed, *sizes: 5 if save else 3
        ),
        "the products are stored, whatever `save_products` says": (
            lambda layer, save, allowed, *sizes: 2
        ),
    },
    about="arrays a layer in temporary memory",
)
### BEGIN HIDDEN TESTS
check_values(
    through(products, make_deep_loss),
    [(np.array(3), np.array(True))],
    [(grouped_product, True, 10)],
    mistakes={
        "products with a batch axis are computed again": lambda layer, save, layers: (
            (np.array(4), np.array(True))
        )
    },
    about="products of groups",
)
check_values(
    through(stored_arrays, make_deep_loss),
    [np.array(1), np.array(2), np.array(2)],
    [
        (one_product, False, 1, 24, 200, 24),
        (one_product, True, 2, 20, 128, 16),
        (two_products, True, 2, 16, 256, 32),
    ],
    about="arrays a layer in other networks",
)
### END HIDDEN TESTS

# %% [markdown]
# The peak of the gradient, by your `peak_bytes` and your `make_deep_loss`:

# %% tags=["raises-exception"]
def layer(x, w):
    return x + jnp.tanh(x @ w)


def plain(ws, x, y):
    output, _ = jax.lax.scan(lambda x, w: (layer(x, w), None), x, ws)
    return jnp.mean((output - y) ** 2)


losses = {
    "all stored": plain,
    "products stored": make_deep_loss(layer, True),
    "inputs stored": make_deep_loss(layer, False),
}
data = jax.ShapeDtypeStruct((512, 64), jnp.float32)
depths = (4, 8, 16, 32)
plt.figure("Peak memory against layers, for three policies")
for name, loss in losses.items():
    stacks = [jax.ShapeDtypeStruct((depth, 64, 64), jnp.float32) for depth in depths]
    peaks = [peak_bytes(jax.jit(jax.grad(loss)), ws, data, data) / 1e6 for ws in stacks]
    plt.plot(depths, peaks, "o-")
    plt.annotate(name, (depths[-1], peaks[-1]), (5, 0), textcoords="offset points", fontsize=10)
plt.xlabel("layers"), plt.ylabel("peak in megabytes"), plt.xlim(0, 44)
plt.show()

# %% [markdown]
# *Three straight lines. With everything stored the peak grows by about 0.4 MB a layer, with the products stored by about 0.3 MB, with only the inputs stored by less than 0.2 MB.*
#
# You can also checkpoint groups of layers, and each layer within a group. Then memory grows only with the square root of the depth. In a Python loop over layers XLA on a CPU shares the repeated computation, and nothing is saved.
#
# ## 13.6 Mixed precision: bfloat16, float16 and master weights
#
# Numbers of 16 bits take half the memory, and GPUs and TPUs multiply them several times faster. (A CPU does not.) There are two formats:

# %% tags=["demonstration"]
for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
    info = jnp.finfo(dtype)
    smallest = float(info.smallest_subnormal)
    print(f"{info.dtype!s:9} eps {float(info.eps):.1e}, {smallest:.1e} ... {float(info.max):.1e}")

# %% [markdown]
# bfloat16 has the range of float32, with 2 to 3 decimal digits. float16 has one digit more and a small range.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# `p = jnp.bfloat16(1.0)`. A loop computes `p = p - jnp.bfloat16(0.001)` a thousand times. What is `p` then?

# %% exercise="after_a_thousand" kind="prediction"
# A number.
### BEGIN SOLUTION
after_a_thousand = 1.0
### END SOLUTION

# %% check="after_a_thousand" points=1
def thousand_steps():
    return float(jax.lax.fori_loop(0, 1000, lambda i, p: p - jnp.bfloat16(0.001), jnp.bfloat16(1)))


check_answer(
    after_a_thousand,
    thousand_steps,
    because="Just below 1 the numbers are 0.0039 apart, so each step is rounded away.",
    mistakes={
        0.0: "so it is in exact arithmetic; what is the bfloat16 number next to 1.0?",
        0.999: "that is one step in float32; in bfloat16 it is rounded",
    },
)

# %% tags=["demonstration"]
many = jnp.ones(10_000, jnp.bfloat16)
carry, _ = jax.lax.scan(lambda total, one: (total + one, None), jnp.bfloat16(0), many)
print("10,000 ones, added up in a bfloat16 carry:", carry, "and by jnp.sum:", jnp.sum(many))

# %% [markdown]
# `jnp.sum` adds in float32 and rounds once, at the end. A bfloat16 carry is rounded at each step, and so are bfloat16 parameters. Therefore keep float32 *master weights*, compute loss and gradient with copies of 16 bits, and update the master weights.
#
# > **In PyTorch** `torch.autocast` chooses dtypes for each operation. JAX has no `autocast`. The dtypes of the arguments decide.
#
# ### Keep master weights
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# `make_mixed_step(loss_fn, learning_rate, dtype)` returns a jitted `step(params, x, y)`, which gives `(params, loss)` after one step of gradient descent. `params` is a pytree of float32 arrays, before and after. `loss_fn` receives `params` and `x` in `dtype`, and `y` as it is. The gradient is converted to float32 *before* it is multiplied by the learning rate. The loss is returned as float32.
#
# An `x` of integers, such as token ids, is not converted.
#
# The check looks at the dtypes in `loss_fn`, at those of the results, at the values after few and many steps, and at the traces of `loss_fn` (one).

# %% exercise="make_mixed_step"
def make_mixed_step(loss_fn, learning_rate: float, dtype):
    """A jitted `step(params, x, y)`: loss in `dtype`, master weights in float32."""
    ### BEGIN SOLUTION
    def convert(tree, dtype):
        is_float = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)
        return jax.tree.map(lambda leaf: leaf.astype(dtype) if is_float(leaf) else leaf, tree)

    @jax.jit
    def step(params, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(convert(params, dtype), convert(x, dtype), y)
        grads = convert(grads, jnp.float32)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
        return params, loss.astype(jnp.float32)

    return step
    ### END SOLUTION

# %% [markdown] hints="make_mixed_step"
# <details><summary>Hint 1: the idea</summary>
#
# Differentiate with respect to the converted copies. The gradient then has 16 bits and is converted back.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `leaf.astype(dtype)` in `jax.tree.map`. `jnp.issubdtype(x.dtype, jnp.floating)` tells floats from integers.
# </details>

# %% check="make_mixed_step" points=3
def dot_loss(params, x, y):
    """Linear in the parameters: the gradient is x, exactly, and y for the offset."""
    w, b = (params["w"], params["b"]) if isinstance(params, dict) else params
    return jnp.sum(w * x) + jnp.sum(b * y.astype(b.dtype))


NAMES = ["float32", "bfloat16", "float16", "int32"]


def dtypes_seen(make, dtype, params, x, y):
    """Names of dtypes, as numbers: those of params, x and y in the loss."""
    seen = []

    def loss_fn(params, x, y):
        seen.append([*jax.tree.leaves(params), x, y])
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params))

    make(loss_fn, 0.1, dtype)(params, x, y)
    return jnp.array([NAMES.index(str(leaf.dtype)) for leaf in seen[-1]])


def dtypes_by_hand(dtype, params, x, y, kept=()):
    """`kept` are the arguments that are not converted by mistake."""
    code = lambda array, name: NAMES.index(array.dtype.name.replace("float64", name))
    half = jnp.dtype(dtype).name
    leaves = [code(leaf, "float32" if "params" in kept else half) for leaf in jax.tree.leaves(params)]
    of_y = code(np.zeros(1), half) if "y" in kept else code(y, "float32")
    return np.array([*leaves, code(x, "float32" if "x" in kept else half), of_y])


def steps_of(make, loss_fn, rate, dtype, count, params, x, y):
    step = make(loss_fn, rate, dtype)
    (params, loss), _ = jax.lax.scan(
        lambda carry, _: (step(carry[0], x, y), None), step(params, x, y), length=count - 1
    )
    return params, loss


def steps_in_float(loss_fn, rate, dtype, count, params, x, y, cast=lambda v: v, factor=None):
    is_dict = isinstance(params, dict)
    w, b = (params["w"], params["b"]) if is_dict else params
    factor = factor or (lambda slope: rate * slope)
    for _ in range(count):
        loss = np.sum(w * x) + np.sum(b * y)
        w, b = cast(w - factor(x)), cast(b - factor(1.0 * y))
    return ({"w": w, "b": b} if is_dict else (w, b)), np.array(loss)


def in_bfloat16(value):
    return np.asarray(np.asarray(value, jnp.bfloat16), np.float64)


def stored_in_half(*args):
    return steps_in_float(*args, cast=in_bfloat16)


def multiplied_in_half(loss_fn, rate, dtype, *args):
    factor = lambda slope: in_bfloat16(in_bfloat16(rate) * slope)
    return steps_in_float(loss_fn, rate, dtype, *args, factor=factor)


def traces_of_loss(make, params, x, y):
    runs = []

    def loss_fn(params, x, y):
        runs.append(x)
        return dot_loss(params, x, y)

    step = make(loss_fn, 0.1, jnp.bfloat16)
    for _ in range(3):
        params, loss = step(params, x, y)
    return jnp.int32(len(runs))


whole = [
    ({"w": np.float32([1.0, -0.5]), "b": np.float32([0.25])}, np.float32([3.0, -1.5]), np.int32(2)),
    ((np.float32([[0.5]]), np.float32([1.0])), np.float32([[5.0]]), np.int32(-3)),
    ({"w": np.float32([0.0, 8.0]), "b": np.float32([0.5, 1.0])}, np.float32([0.0, -7.0]), np.int32([1, 0])),
]
ids, labels, half = np.int32([3, 0]), np.int32([1, 2]), jnp.dtype("float16")
check_values(
    through(dtypes_seen, make_mixed_step),
    dtypes_by_hand,
    [
        (jnp.bfloat16, whole[0][0], np.float32([1.0]), labels),
        (half, whole[1][0], np.float32([1.0, 2.0]), np.float32([0.5])),
        (jnp.bfloat16, whole[2][0], ids, labels),
    ],
    mistakes={
        "the parameters are in float32 when the loss is computed": partial(
            dtypes_by_hand, kept=["params"]
        ),
        "`x` is in float32 when the loss is computed": partial(dtypes_by_hand, kept=["x"]),
        "`y` is converted too": partial(dtypes_by_hand, kept=["y"]),
        "`params`, `x` and `y` are in float32 when the loss is computed": partial(
            dtypes_by_hand, kept=["params", "x"]
        ),
    },
    about="dtypes in the loss: 0 float32, 1 bfloat16, 2 float16, 3 int32",
)
check_values(
    through(steps_of, make_mixed_step),
    steps_in_float,
    [
        (dot_loss, 0.001, jnp.bfloat16, 1, *whole[0]),
        (dot_loss, 0.003, half, 2, *whole[1]),
        (dot_loss, 0.001, jnp.bfloat16, 50, *whole[2]),
    ],
    rtol=1e-2,
    mistakes={
        "the parameters are stored in 16 bits: small steps are lost": stored_in_half,
        "uphill: the gradient is added": lambda f, r, *rest: steps_in_float(f, -r, *rest),
    },
    about="a few steps",
)
check_dtype(
    through(steps_of, make_mixed_step),
    *(dot_loss, 0.1, jnp.bfloat16, 1),
    *whole[0],
    returns=({"w": "float32", "b": "float32"}, "float32"),
)
check_values(
    through(traces_of_loss, make_mixed_step),
    [np.array(1), np.array(1)],
    [whole[0], whole[1]],
    mistakes={"the loss is traced twice, for its value and its gradient": lambda *args: 2},
    about="traces",
)
### BEGIN HIDDEN TESTS
def moved_by(make, rate, dtype, count, params, x, y):
    """How far the parameters move, in float32: exact to a few digits of the learning rate."""
    end, _ = steps_of(make, dot_loss, rate, dtype, count, params, x, y)
    return jax.tree.map(lambda new, old: (new - old) / rate, end, params)


def moved_by_hand(rate, dtype, count, params, x, y):
    slopes = {"w": x, "b": np.broadcast_to(y, params["b"].shape)}
    return jax.tree.map(lambda slope: -count * np.asarray(slope, np.float64), slopes)


zeros = {"w": np.zeros(2, np.float32), "b": np.zeros(1, np.float32)}
check_values(
    through(moved_by, make_mixed_step),
    moved_by_hand,
    [
        (0.3, jnp.bfloat16, 1, zeros, np.float32([3.0, -1.5]), np.int32(2)),
        (1e-6, half, 10_000, zeros, np.float32([1.0, 0.5]), np.int32(7)),
    ],
    rtol=1e-3,
    mistakes={
        "the gradient is multiplied by the rate before it is converted to float32": (
            lambda rate, dtype, count, params, x, y: {
                "w": -in_bfloat16(in_bfloat16(rate) * x) / rate,
                "b": -in_bfloat16(in_bfloat16(rate) * y * np.ones(1)) / rate,
            }
        )
    },
    about="the product with the learning rate, and 10,000 steps",
)
### END HIDDEN TESTS

# %% [markdown]
# ### Loss scaling
#
# In float16, a gradient below $6 \cdot 10^{-8}$ becomes zero. (bfloat16 has no such problem, which is why most training uses it.)

# %% tags=["demonstration"]
def small_loss(params, x):
    return jnp.mean(jnp.square(x * params))


x16, p16 = jnp.full(8, 1e-3, jnp.float16), jnp.float16(0.01)
slope = jax.grad(small_loss)
scaled = jax.grad(lambda p: small_loss(p, x16).astype(jnp.float32) * 2.0**15)(p16)
print("float32:", slope(jnp.float32(0.01), jnp.full(8, 1e-3)), " float16:", slope(p16, x16))
print("float16, loss times 2**15, gradient divided by it:", scaled.astype(jnp.float32) / 2**15)

# %% [markdown]
# A loss that is multiplied by a *scale* has gradients that are multiplied by it. Convert them to float32, then divide by the scale, before you clip. If a gradient overflows, skip the step and halve the scale. After a number of good steps, double it.
#
# ### Skip and halve
# **Exercise** · 15 minutes · difficulty 5 of 5
#
# `make_scaled_step(loss_fn, learning_rate, patience)` returns a jitted `step(state, x, y)`, which gives `(state, loss)`. The state is a dict: `"params"`, a pytree of float32 arrays, `"scale"`, a float32 scalar, and `"good"`, an int32 scalar. One step
#
# 1. computes `loss_fn(params, x, y)` with `params` and `x` in float16, and the gradient of the loss times the scale;
# 2. converts the gradient to float32, and divides it by the scale;
# 3. if all of the gradient is finite: takes a step of gradient descent and adds 1 to `good`; if `good` has reached `patience`, doubles the scale and sets `good` to 0;
# 4. otherwise: leaves the parameters as they are, to the bit, halves the scale, and sets `good` to 0.
#
# The returned loss is float32 and not scaled: take it before you multiply by the scale, since float16 ends at 65,504. `x` is an array of floats.
#
# The check runs `step` in `jax.lax.scan`, so all of it must be one program and the state must keep its dtypes. It looks at every leaf of the state and at the losses.

# %% exercise="make_scaled_step"
def make_scaled_step(loss_fn, learning_rate: float, patience: int):
    """A jitted `step(state, x, y)` in float16 with a dynamic loss scale: `(state, loss)`."""
    ### BEGIN SOLUTION
    def half(tree):
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float16), tree)

    @jax.jit
    def step(state, x, y):
        params, scale = state["params"], state["scale"]

        def scaled_loss(params):
            loss = loss_fn(params, half(x), y).astype(jnp.float32)
            return loss * scale, loss

        grads, loss = jax.grad(scaled_loss, has_aux=True)(half(params))
        grads = jax.tree.map(lambda g: g.astype(jnp.float32) / scale, grads)
        finite = jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]).all()
        params = jax.tree.map(lambda p, g: jnp.where(finite, p - learning_rate * g, p), params, grads)
        good = jnp.where(finite, state["good"] + 1, 0)
        grows = good >= patience
        scale = jnp.where(finite, jnp.where(grows, 2 * scale, scale), scale / 2)
        return {"params": params, "scale": scale, "good": jnp.where(grows, 0, good)}, loss

    return step
    ### END SOLUTION

# %% [markdown] hints="make_scaled_step"
# <details><summary>Hint 1: the idea</summary>
#
# Compute the new parameters in any case, and choose with `jnp.where` between them and the old ones. One boolean scalar decides about everything.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.grad(..., has_aux=True)` returns the loss beside the gradient of the scaled one. `jnp.isfinite(leaf).all()` for each leaf, then `jnp.stack(...).all()`.
# </details>
# <details><summary>Hint 3: the order</summary>
#
# float16 copies, loss, `.astype(jnp.float32)`, times scale, gradient (float16), `.astype(jnp.float32)`, divided by scale, `finite`, three choices.
# </details>

# %% check="make_scaled_step" points=4
def weighted(params, x, y):
    """Linear in the parameters: the gradient is x times y for each leaf."""
    leaves = jax.tree.leaves(params)
    return sum(jnp.sum(leaf * x[i]) * y.astype(leaf.dtype) for i, leaf in enumerate(leaves))


def weighted_twice(params, x, y):
    return 2 * weighted(params, x, y)


def scanned_steps(make, times, rate, patience, state, xs, ys):
    step = make(weighted if times == 1 else weighted_twice, rate, patience)

    def turn(state, batch):
        state, loss = step(state, *batch)
        return state, (loss, state["scale"], state["good"])

    state, first = turn(state, (xs[0], ys[0]))
    state, rest = jax.lax.scan(turn, state, (xs[1:], ys[1:]))
    return state, jax.tree.map(lambda one, more: jnp.concatenate([one[None], more]), first, rest)


def scaled_by_hand(times, rate, patience, state, xs, ys, halve=0.5, **mistake):
    """In float16 where the step is. `mistake` may have keep, partly, undivided and unscaled."""
    flat, tree = jax.tree.flatten(state["params"])
    scale, good, history = float(state["scale"]), int(state["good"]), []

    def slope_in_half(scale, y, x):
        slope = np.float16(np.float16(times * scale) * np.float16(y)) * np.float16(x)
        return np.asarray(slope, np.float64)

    with np.errstate(all="ignore"):
        for x, y in zip(xs, ys):
            pairs = [(np.float16(leaf), np.float16(x[i])) for i, leaf in enumerate(flat)]
            loss = np.float16(times * y * sum(np.sum(np.asarray(p, np.float64) * one) for p, one in pairs))
            slopes = [slope_in_half(scale, y, one) * np.ones(p.shape) for p, one in pairs]
            finite = [np.isfinite(slope).all() for slope in slopes]
            if mistake.get("unscaled"):
                slopes = [slope_in_half(1.0, y, one) * np.ones(p.shape) for p, one in pairs]
            elif not mistake.get("undivided"):
                slopes = [slope / scale for slope in slopes]
            moves = finite if mistake.get("partly") else [all(finite)] * len(finite)
            moved = [leaf - rate * slope for leaf, slope in zip(flat, slopes)]
            flat = [new if move else old for new, old, move in zip(moved, flat, moves)]
            good = good + 1 if all(finite) else 0 if not mistake.get("keep") else good
            scale = (scale if good < patience else 2 * scale) if all(finite) else scale * halve
            good = good if good < patience or mistake.get("keep") else 0
            history.append((np.float64(loss), scale, good))
    losses, scales, goods = zip(*history)
    params = jax.tree.unflatten(tree, flat)
    end = {"params": params, "scale": np.array(scale), "good": np.array(good)}
    return end, (np.array(losses), np.array(scales), np.array(goods))


def state_of(params, scale, good=0):
    return {"params": params, "scale": np.float32(scale), "good": np.int32(good)}


two, tiny = {"b": np.float32([0.5]), "w": np.float32([[1.0, -2.0]])}, 2.0**-16
pair = np.float32([1.0, 2.0]), np.float32([3.0])
signs = np.float32([[1.0, -1.0], [1.0, 1.0], [-1.0, 0.5]])
overflow = np.float32([[0.25, 0.5]] * 2 + [[0.5, 8.0]] * 3 + [[0.25, -0.5]] * 3)
check_values(
    through(scanned_steps, make_scaled_step),
    scaled_by_hand,
    [
        (1, 0.5, 3, state_of(two, 2.0**15), overflow, np.ones(8, np.float32)),
        (1, 2.0**26, 9, state_of(two, 2.0**10, 4), tiny * signs, 16 * tiny * np.ones(3, np.float32)),
        (2, 0.25, 2, state_of(pair, 256.0), signs[[0, 0, 1, 2, 2]], np.float32([1, -1, 2, 1, 1])),
    ],
    rtol=1e-3,
    mistakes={
        "after an overflow the scale stays": partial(scaled_by_hand, halve=1.0),
        "after an overflow the scale is doubled": partial(scaled_by_hand, halve=2.0),
        "`good` is not set back to 0": partial(scaled_by_hand, keep=True),
        "each leaf decides for itself whether it moves": partial(scaled_by_hand, partly=True),
        "the gradient is not divided by the scale": partial(scaled_by_hand, undivided=True),
        "the loss is not scaled: small gradients become zero": partial(scaled_by_hand, unscaled=True),
    },
)
check_dtype(
    through(scanned_steps, make_scaled_step),
    *(1, 0.1, 5, state_of(two, 8.0), overflow, np.ones(8, np.float32)),
    returns=(
        {"params": {"b": "float32", "w": "float32"}, "scale": "float32", "good": "int32"},
        ("float32", "float32", "int32"),
    ),
)
### BEGIN HIDDEN TESTS
bad = np.float32([[1.0, 0.5], [np.nan, 0.5], [0.5, 0.5], [0.5, np.nan], [0.5, 0.5], [-8.0, 0.5]])
check_values(
    through(scanned_steps, make_scaled_step),
    scaled_by_hand,
    [
        (1, 0.125, 2, state_of(two, 2.0**14), bad, np.ones(6, np.float32)),
        (1, 0.5, 1, state_of([*pair, np.float32(4)], 2.0**12), np.ones((8, 3)), np.ones(8)),
        (2, 0.5, 4, state_of(pair[:1], 2.0**8, 3), np.float32([[50], [1]]), np.float32([150, 1])),
    ],
    rtol=1e-3,
    about="NaN in the data, one good step between two doublings, three leaves",
)
### END HIDDEN TESTS

# %% [markdown]
# A regression whose gradients are below float16, with your step and without a scale:

# %% tags=["raises-exception"]
def tiny_loss(params, x, y):
    return jnp.mean(jnp.square(x @ params["w"] - y.astype(x.dtype)))


x = 1e-3 * jax.random.normal(jax.random.key(13), (64, 4))
y = x @ jnp.array([0.1, -0.2, 0.3, -0.1])
def weights_and_scales(scale, patience):
    step = make_scaled_step(tiny_loss, 2e4, patience)
    state = {"params": {"w": jnp.zeros(4)}, "scale": jnp.float32(scale), "good": jnp.int32(0)}
    scales = []
    for _ in range(200):
        state, _ = step(state, x, y)
        scales.append(float(state["scale"]))
    return state["params"]["w"], scales


print("scale 1, kept:  w =", weights_and_scales(1.0, 1000)[0])
w, scales = weights_and_scales(2.0**15, 20)
print("dynamic scale:  w =", w)
plt.figure("Dynamic loss scale")
plt.semilogy(scales, drawstyle="steps-post", base=2)
plt.xlabel("step"), plt.ylabel("loss scale")
plt.show()

# %% [markdown]
# *A staircase of the loss scale over 200 steps. It doubles after 20 good steps. If a gradient then overflows, the next step halves it.*
#
# With the scale 1 the weights stay at zero, since every gradient is rounded to zero. With the dynamic scale they approach (0.1, -0.2, 0.3, -0.1).
#
# ## 13.7 Read a profile in Python
#
# `jax.profiler.trace` records what the devices and the Python threads do. Viewers are XProf and [Perfetto](https://ui.perfetto.dev), but `jax.profiler.ProfileData` reads the file in Python: planes (devices, host) have lines (streams, threads), and lines have events with a name and a duration.

# %% tags=["demonstration"]
def deep(ws, x):
    return jnp.sum(jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, ws)[0])


stack, rows = jnp.full((50, 256, 256), 0.01), jnp.ones((256, 256))
slopes = jax.jit(jax.grad(deep))
jax.block_until_ready(slopes(stack, rows))  # compile before the recording
with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
        jax.block_until_ready(slopes(stack, rows))
    (file,) = Path(folder).rglob("*.xplane.pb")
    profile = jax.profiler.ProfileData.from_file(str(file))
    totals = {}
    for events in (track.events for plane in profile.planes for track in plane.lines):
        for event in events:
            if not event.name.startswith(("$", "end:", "Thread", "ThunkExecutor")):
                totals[event.name] = totals.get(event.name, 0) + event.duration_ns

for name, nanoseconds in sorted(totals.items(), key=lambda item: -item[1])[:8]:
    print(f"{nanoseconds / 1e6:8.2f} ms  {name}")

# %% [markdown]
# Names that begin with `$` are Python frames and are left out here. Events may contain others, so the times overlap. `jax.named_scope("encoder")` and `jax.profiler.TraceAnnotation("load batch")` put names of your own into a profile.
#
# ## 13.8 Compile ahead of time, keep it, ship it
#
# - **Ahead of time, in this process**: `jax.jit(f).lower(...).compile()`, as in 13.1.
# - **For the next process on this machine**: the persistent compilation cache. JAX still traces and lowers, and loads the compiled program from a folder. By default it keeps programs that took at least a second to compile.
# - **For another machine**, without your Python code: `jax.export` stores the lowered program, which the other machine compiles.

# %% tags=["demonstration"]
def slow_to_compile(x):
    for _ in range(60):
        x = jnp.sin(x) @ x
    return x


settings = {
    "jax_compilation_cache_dir": tempfile.mkdtemp(),
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
before = {name: getattr(jax.config, name) for name in settings}
for name, value in settings.items():
    jax.config.update(name, value)
for attempt in ("empty cache", "filled cache"):
    lowered = jax.jit(slow_to_compile).lower(jnp.ones((50, 50)))
    start = time.perf_counter()
    lowered.compile()
    print(f"{attempt}: {time.perf_counter() - start:.3f} s to compile")
    jax.clear_caches()  # as in a new process
print(len(os.listdir(settings["jax_compilation_cache_dir"])), "files")
for name, value in before.items():
    jax.config.update(name, value)

# %% [markdown]
# In practice, set `JAX_COMPILATION_CACHE_DIR` in the environment.
#
# An exported program has fixed shapes, unless a dimension is *symbolic*: a name such as `b` that stands for any size. Python cannot branch on it, so the last line raises:

# %% tags=["demonstration", "raises-exception"]
(b,) = jax.export.symbolic_shape("b")
any_batch = jax.ShapeDtypeStruct((b, 3), jnp.float32)
print(jax.export.export(jax.jit(lambda x: x.sum(axis=1)))(any_batch).out_avals)
jax.export.export(jax.jit(lambda x: x if x.shape[0] > 4 else -x))(any_batch)

# %% [markdown]
# (With `symbolic_shape("b", constraints=["b >= 5"])` it can.)
#
# ### Export for any batch size
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# `export_batched(f, params, x)` returns the serialised program of `f(params, x)`, as `bytes` or `bytearray`. The first dimension of `x` is symbolic. All other shapes and all dtypes are those of the arguments, whose values do not matter.
#
# `params` is any pytree of arrays. `f` is not under `jit`. The program is for the platforms `"cpu"`, `"cuda"` and `"tpu"`, and can be differentiated in reverse mode (first derivatives are enough).
#
# The check looks at the platforms, calls the program with batches of several sizes, and takes a gradient.

# %% exercise="export_batched"
def export_batched(f, params, x: Float[Array, "batch *features"]) -> bytes:
    """`f` as a serialised program for any batch size, three platforms, one derivative."""
    ### BEGIN SOLUTION
    (b,) = jax.export.symbolic_shape("b")
    batch = jax.ShapeDtypeStruct((b, *x.shape[1:]), x.dtype)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    exported = jax.export.export(jax.jit(f), platforms=("cpu", "cuda", "tpu"))(shapes, batch)
    return exported.serialize(vjp_order=1)
    ### END SOLUTION

# %% [markdown] hints="export_batched"
# <details><summary>Hint 1: the idea</summary>
#
# Describe the arguments by `jax.ShapeDtypeStruct`, one of which has a symbolic dimension. Export, then serialise.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `(b,) = jax.export.symbolic_shape("b")`, `jax.export.export(jitted, platforms=...)(params, batch)`, `.serialize(vjp_order=1)`.
# </details>

# %% check="export_batched" points=3
def affine(params, x):
    return jnp.tanh(x @ params["w"]) + params["b"]


def centred(params, x):
    return (x - jnp.mean(x, axis=0)) * params[0]


def looked_up(params, ids):
    return params[ids]


def called_again(export, f, params, x, sizes):
    program = jax.export.deserialize(bytearray(export(f, params, x)))
    return [program.call(params, jnp.concatenate([x] * 9)[:size]) for size in sizes]


def called_in_numpy(f, params, x, sizes):
    batches = [np.concatenate([x] * 9)[:size] for size in sizes]
    if f is affine:
        return [np.tanh(batch @ params["w"]) + params["b"] for batch in batches]
    if f is centred:
        return [(batch - batch.mean(axis=0)) * params[0] for batch in batches]
    return [params[batch] for batch in batches]


def platforms_of(export, f, params, x):
    program = jax.export.deserialize(bytearray(export(f, params, x)))
    return jnp.array([name in program.platforms for name in ("cpu", "cuda", "tpu")])


def slope_of(export, f, params, x):
    program = jax.export.deserialize(bytearray(export(f, params, x)))
    return jax.grad(lambda params: jnp.sum(program.call(params, x)))(params)


def slope_in_numpy(f, params, x):
    if f is centred:
        return [(x - x.mean(axis=0)).sum(axis=0)]
    inner = 1 - np.tanh(x @ params["w"]) ** 2
    return {"w": x.T @ inner, "b": np.full(params["b"].shape, float(len(x)))}


line = {"w": "3 2", "b": "2"}
check_values(
    through(called_again, export_batched),
    called_in_numpy,
    sweep(affine, line, "4 3", (1, 4, 7), count=1) + sweep(centred, ["3"], "5 2 3", (2, 11), count=1),
    mistakes={
        "the mean of the example batch is a constant of the program": lambda *args: None,
    },
    about="batches of several sizes",
)
check_values(
    through(platforms_of, export_batched),
    [np.array([True, True, True])],
    sweep(affine, line, "4 3", count=1),
    mistakes={"the program is for this machine's platform only": lambda *args: np.array([True, False, False])},
    about="cpu, cuda and tpu",
)
check_values(
    through(slope_of, export_batched),
    slope_in_numpy,
    sweep(affine, line, "6 3", count=1, seed=1),
    about="the gradient",
)
### BEGIN HIDDEN TESTS
check_values(
    through(called_again, export_batched),
    called_in_numpy,
    [
        (looked_up, np.float32(np.random.default_rng(3).normal(size=(300, 2))), np.int32([[7, 299], [257, 0]]), (1, 5)),
        *sweep(affine, {"w": "4 5", "b": ""}, "2 4", (3, 1), count=1, seed=4),
    ],
    about="token ids with two axes, and other shapes",
)
### END HIDDEN TESTS

# %% [markdown]
# The bytes run wherever JAX is installed, without your code. Programs with `jax.debug.print` or other callbacks cannot be exported.
#
# ## 13.9 Find hidden transfers
#
# A Python number or NumPy array that is passed to a jitted function is copied to the device at each call. `float(loss)` copies back, and waits, so the next step is not dispatched meanwhile. `jax.transfer_guard("disallow")` raises at *implicit* copies. Explicit ones, by `jax.device_put`, are allowed. The last line raises:

# %% tags=["demonstration", "raises-exception"]
@jax.jit
def scaled_sum(x, factor):
    return jnp.sum(x) * factor


there, factor = jax.device_put((np.ones(3, np.float32), np.float32(0.5)))
with jax.transfer_guard("disallow"):
    scaled_sum(there, factor)
    print("two arrays on the device: no transfer")
    scaled_sum(there, 0.5)

# %% [markdown]
# On a GPU or TPU the guard also raises at `float(loss)` and `print(loss)`. On a CPU both sides share the memory, and it does not notice these.
#
# ### A loop without hidden transfers
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `train_on(step, params, batches)` runs `params, loss = step(params, x, y)` for each `(x, y)` in `batches`, in order, and returns `(params, losses)`. `losses` is one JAX array with the loss of each step. Do not convert a loss to a Python number or a NumPy array.
#
# `batches` is a list of one or more pairs of NumPy arrays. Their shapes may change.
#
# The check runs your function under `jax.transfer_guard("disallow")` and compares the results.

# %% exercise="train_on"
def train_on(step, params, batches: list) -> tuple:
    """`(params, losses)` after one step for each batch, without implicit transfers."""
    ### BEGIN SOLUTION
    losses = []
    for batch in batches:
        params, loss = step(params, *jax.device_put(batch))
        losses.append(loss)
    return params, jnp.stack(losses)
    ### END SOLUTION

# %% [markdown] hints="train_on"
# <details><summary>Hint 1: the idea</summary>
#
# Keep each loss as the scalar JAX array that it is, in a Python list, and join them once, at the end.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.device_put(batch)` takes a pytree and returns it as JAX arrays. `jnp.stack(losses)`.
# </details>

# %% check="train_on" points=2
@jax.jit
def step_on_line(params, x, y, rate):
    def loss_fn(params):
        return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)

    loss, grads = jax.value_and_grad(loss_fn)(params)
    return jax.tree.map(lambda p, g: p - rate * g, params, grads), loss


def on_numpy(train, rate, params, *batches):
    """Runs `train` on NumPy arrays."""
    batches = [(np.asarray(x), np.asarray(y)) for x, y in batches]
    return train(lambda params, x, y: step_on_line(params, x, y, rate), params, batches)


def guarded(train, rate, params, *batches):
    """Runs `train` on NumPy arrays, with implicit transfers forbidden."""
    rate = jnp.asarray(rate)
    with jax.transfer_guard("disallow"):
        return on_numpy(train, rate, params, *batches)


def traced(train, rate, params, *batches):
    """Runs `train` with traced parameters: no loss has a value that Python could read."""
    return jax.jit(lambda params: on_numpy(train, rate, params, *batches))(params)


def batch_by_batch(rate, params, *batches):
    w, b, losses = params["w"], params["b"], []
    for x, y in batches:
        error = x @ w + b - y
        losses.append(np.mean(error**2))
        w, b = w - rate * 2 * x.T @ error / len(y), b - rate * 2 * np.mean(error)
    return {"w": w, "b": b}, np.array(losses)


def from_the_start(rate, params, *batches):
    ends = [batch_by_batch(rate, params, batch) for batch in batches]
    return ends[-1][0], np.array([losses[0] for _, losses in ends])


def backwards(rate, params, *batches):
    return batch_by_batch(rate, params, *batches[::-1])


def last_loss(rate, params, *batches):
    end, losses = batch_by_batch(rate, params, *batches)
    return end, losses[-1]


line = {"w": "3", "b": ""}
check_values(
    through(guarded, train_on),
    batch_by_batch,
    sweep(0.1, line, ("6 3", "6"), ("6 3", "6"), ("4 3", "4"), count=1, planted=True)
    + sweep(0.02, line, ("5 3", "5"), ("5 3", "5"), count=1, seed=1),
    mistakes={
        "each step starts from the first parameters": from_the_start,
        "the batches are taken in the opposite order": backwards,
        "the first batch is left out": lambda rate, params, *batches: batch_by_batch(
            rate, params, *batches[1:]
        ),
        "the last loss only": last_loss,
    },
)
check_values(
    through(traced, train_on),
    batch_by_batch,
    sweep(0.1, line, ("6 3", "6"), ("4 3", "4"), count=1, seed=4)
    + sweep(0.2, line, ("2 3", "2"), count=1, seed=5),
    about="no loss is read by Python",
)
### BEGIN HIDDEN TESTS
check_values(
    through(guarded, train_on),
    batch_by_batch,
    sweep(0.05, {"w": "2", "b": ""}, ("3 2", "3"), count=1, seed=2)
    + sweep(0.05, {"w": "2", "b": ""}, *[("4 2", "4")] * 12, count=1, seed=3),
    about="one batch, and twelve",
)
### END HIDDEN TESTS

# %% [markdown]
# ## What to remember
#
# 1. Time tracing, compilation and execution separately. Wait for the result, and take the shortest of several runs.
# 2. Pad variable lengths to a few buckets in NumPy, and mask the padding with `where` before every reduction.
# 3. `memory_analysis` gives the peak before anything runs. Donate what the step replaces, and trade computation for memory by `jax.checkpoint` with a policy.
# 4. Compute in bfloat16 with float32 master weights. float16 also needs a loss scale that is halved after an overflow.
# 5. Keep compiled programs in the persistent cache, ship them by `jax.export`, and find hidden copies by `transfer_guard`.
#
# ## Further reading
#
# - The JAX documentation: [Ahead-of-time lowering and compilation](https://docs.jax.dev/en/latest/aot.html), [Exporting and serialization](https://docs.jax.dev/en/latest/export/index.html), [Shape polymorphism](https://docs.jax.dev/en/latest/export/shape_poly.html), [Persistent compilation cache](https://docs.jax.dev/en/latest/persistent_compilation_cache.html), [Profiling computation](https://docs.jax.dev/en/latest/profiling.html), [GPU memory allocation](https://docs.jax.dev/en/latest/gpu_memory_allocation.html), [Gradient checkpointing](https://docs.jax.dev/en/latest/gradient-checkpointing.html) and [Transfer guard](https://docs.jax.dev/en/latest/transfer_guard.html).
# - Micikevicius and others, [Mixed precision training](https://arxiv.org/abs/1710.03740) (2017). Chen, Xu, Zhang and Guestrin, [Training deep nets with sublinear memory cost](https://arxiv.org/abs/1604.06174) (2016).
#
# ## Previous and next
#
# Lesson 12 compared JAX with PyTorch. In lesson 14, on science, you use Hessians, solvers and simulations, where the gradient itself is often the expensive part.
