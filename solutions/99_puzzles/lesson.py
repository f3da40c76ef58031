# %% [markdown]
# # Twelve puzzles
#
# For readers who know JAX. Each answer is a line or a few. The text says what the function returns and what it must not use. About 90 minutes.

# %%
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int, Key

from graders import (
    check_collectives,
    check_dtype,
    check_gradients,
    check_keys,
    check_pure,
    check_primitives,
    check_shape,
    check_traces,
    check_values,
    integers,
    lesson_devices,
    result_of,
    sweep,
    through,
)

devices = lesson_devices(8)
n = len(devices)
mesh = jax.make_mesh((n,), ("data",), axis_types=(AxisType.Auto,), devices=devices)

# %% [markdown]
# ## 1. Running sums by `associative_scan`
# **Exercise** · 4 minutes · difficulty 2 of 5
#
# The running sums along the last axis of an array of any rank from 1. Use `lax.associative_scan`: no cumulative sum of JAX, no loop, no `scan`.

# %% exercise="running_sums"
def running_sums(x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
    """Element i is the sum of the elements 0 to i along the last axis."""
    ### BEGIN SOLUTION
    return lax.associative_scan(jnp.add, x, axis=-1)
    ### END SOLUTION

# %% [markdown] hints="running_sums"
# <details><summary>Hint 1: the idea</summary>
#
# Addition is associative, so the sums can be taken pairwise, level by level.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.associative_scan(f, x, axis=...)`
# </details>

# %% check="running_sums" points=1
check_values(
    running_sums,
    lambda x: np.cumsum(x, axis=-1),
    [*sweep("3 8", count=2), *sweep("7"), *sweep("2 3 5", planted=True)],
    mistakes={"the sums run along the first axis": lambda x: np.cumsum(x, axis=0)},
)
check_primitives(
    running_sums, np.ones((3, 64), np.float32),
    forbids=("cumsum", "scan", "while", "dot_general", "reduce_window_sum", "cumlogsumexp"),
)
### BEGIN HIDDEN TESTS
check_values(running_sums, lambda x: np.cumsum(x, axis=-1), sweep("4 1") + sweep("33", scale=300.0))
### END HIDDEN TESTS

# %% [markdown]
# ## 2. `nonzero(size=)` by sorting
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# The indices at which `mask` is true, in order, in an int32 array of length `size`. If there are fewer, the rest is filled with `len(mask)`. If there are more, the first `size` are kept. `size` is at most `len(mask)`. No `jnp.nonzero` and no running sum: sort.

# %% exercise="true_indices"
def true_indices(mask: Bool[Array, "n"], size: int) -> Int[Array, "size"]:
    """The first `size` indices at which `mask` is true, filled up with n."""
    ### BEGIN SOLUTION
    n = mask.shape[0]
    return jnp.sort(jnp.where(mask, jnp.arange(n), n))[:size]
    ### END SOLUTION

# %% [markdown] hints="true_indices"
# <details><summary>Hint 1: the idea</summary>
#
# Give the false ones a number that is larger than every index.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jnp.where`, `jnp.sort`, a slice
# </details>

# %% check="true_indices" points=1
def first_true(mask, size):
    found = np.flatnonzero(mask)[:size]
    return np.pad(found, (0, size - len(found)), constant_values=len(mask))


def filled_with(mask, size, fill):
    found = np.flatnonzero(mask)[:size]
    return np.pad(found, (0, size - len(found)), constant_values=fill)


masks = [(np.arange(9) % k == 1, size) for k, size in ((3, 5), (3, 2), (4, 5))] + [(np.arange(6) > 0, 6)]
check_values(
    true_indices,
    first_true,
    masks,
    mistakes={"what is missing is filled with 0": lambda mask, size: filled_with(mask, size, 0)},
)
check_dtype(true_indices, masks[0][0], 4, returns="int32")
check_primitives(
    true_indices, masks[0][0], 4, static_argnums=(1,), requires=("sort",),
    forbids=("cumsum", "scan", "while", "scatter-add"),
)
### BEGIN HIDDEN TESTS
check_values(
    true_indices, first_true,
    [(np.zeros(7, bool), 7), (np.ones(4, bool), 3), (np.array([True]), 1), (np.arange(40) % 7 == 6, 8)],
)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. An all-gather made of permutations
# **Exercise** · 8 minutes · difficulty 4 of 5
#
# `x` is cut over the only axis, `"data"`, of `mesh`. Every device returns all of `x`. The result has a new first axis with one entry for each device, and is cut along it. The only collective is `lax.ppermute`, called at most n - 1 times on n devices.

# %% exercise="gather_by_ring"
def gather_by_ring(x: Float[Array, "rows"], mesh) -> Float[Array, "devices rows"]:
    """Row d is what device d has gathered: all of `x`."""
    ### BEGIN SOLUTION
    size = mesh.shape["data"]
    ring = [(i, (i + 1) % size) for i in range(size)]

    def body(part):
        parts = [part]
        for _ in range(size - 1):
            parts.append(lax.ppermute(parts[-1], "data", ring))
        me = lax.axis_index("data")
        return jnp.stack(parts)[(me - jnp.arange(size)) % size].reshape(1, -1)

    mapped = jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    return jax.jit(mapped)(x)
    ### END SOLUTION

# %% [markdown] hints="gather_by_ring"
# <details><summary>Hint 1: the idea</summary>
#
# Hand on what you got last, to the next device. After k turns you hold the part of the device k places before you.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.ppermute(part, "data", [(source, target), ...])`, `lax.axis_index("data")`
# </details>

# %% check="gather_by_ring" points=2
def all_rows(x, mesh):
    return np.tile(x, (mesh.devices.size, 1))


def in_order_of_arrival(x, mesh):
    parts = x.reshape(mesh.devices.size, -1)
    return np.stack([np.roll(parts[::-1], d + 1, axis=0).ravel() for d in range(len(parts))])


half = max(1, n // 2)
few = jax.make_mesh((half,), ("data",), axis_types=(AxisType.Auto,), devices=devices[:half])
check_values(
    gather_by_ring,
    all_rows,
    sweep(f"{3 * n}", mesh, count=1) + sweep(f"{2 * half}", few, count=1, scale=300.0),
    mistakes={"the parts stand in the order in which they arrived": in_order_of_arrival},
)
check_collectives(
    through(lambda f, x: f(x, mesh), gather_by_ring),
    jax.device_put(np.ones(2 * n, np.float32), jax.NamedSharding(mesh, P("data"))),
    at_most={"collective-permute": n - 1},
)
### BEGIN HIDDEN TESTS
less = max(1, n - 1)
fewer = jax.make_mesh((less,), ("data",), axis_types=(AxisType.Auto,), devices=devices[:less])
check_values(
    gather_by_ring,
    all_rows,
    sweep(f"{less}", fewer, count=1) + sweep(f"{n}", mesh, count=1, planted=True),
)
### END HIDDEN TESTS

# %% [markdown]
# ## 4. A wrapper that never retraces
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# `padded(f, most)` returns a function of a vector of any length up to `most`. It calls `f(x, valid)`, where `x` has been padded with zeros to length `most` and the boolean `valid` marks the true elements, and returns the result of `f`. `f` is traced once, whatever the lengths.

# %% exercise="padded"
def padded(f, most: int):
    """A function of vectors of at most `most` elements, for which `f` is traced once."""
    ### BEGIN SOLUTION
    compiled = jax.jit(f)

    def call(x):
        x = np.asarray(x)
        return compiled(np.pad(x, (0, most - len(x))), np.arange(most) < len(x))

    return call
    ### END SOLUTION

# %% [markdown] hints="padded"
# <details><summary>Hint 1: the idea</summary>
#
# The compiled function must see one shape. Pad outside of it, in NumPy, where no shape is compiled.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.jit` once, outside the function that is returned; `np.pad`
# </details>

# %% check="padded" points=2
def masked_mean(x, valid):
    return jnp.sum(x, where=valid) / jnp.sum(valid)


def masked_total(x, valid):
    return jnp.sum(jnp.where(valid, x**2, 7.0))


lengths = [*sweep("3"), *sweep("8"), *sweep("5", count=1), (np.float32([0, 200, 0]),)]
check_values(result_of(padded, masked_mean, 8), np.mean, lengths, about="a mean")
check_values(
    result_of(padded, masked_total, 10),
    lambda x: np.sum(x**2) + 7 * (10 - len(x)),
    lengths,
    about="another function",
)


def bodies(padded, *vectors):
    seen = []

    def noting(x, valid):
        seen.append(x.shape)
        return jnp.sum(x)

    call = padded(noting, 8)
    for x in vectors:
        call(x)
    return np.int32(len(seen))


check_values(
    through(bodies, padded), lambda *vectors: np.int32(1),
    [tuple(np.ones(k, np.float32) for k in (3, 5, 8, 1))], about="how often f is traced",
)
### BEGIN HIDDEN TESTS
check_values(
    result_of(padded, lambda x, valid: x * 2 + valid, 6),
    lambda x: np.pad(x * 2.0 + 1, (0, 6 - len(x))),
    [*sweep("6"), *sweep("2")],
)
### END HIDDEN TESTS

# %% [markdown]
# ## 5. The diagonal of a Hessian
# **Exercise** · 6 minutes · difficulty 4 of 5
#
# The diagonal of the Hessian of `f`, a function of a vector of n elements that returns a scalar. The size of every intermediate value grows at most linearly in n.

# %% exercise="hessian_diagonal"
def hessian_diagonal(f, x: Float[Array, "n"]) -> Float[Array, "n"]:
    """Element i is the second derivative of `f` with respect to x[i]."""
    ### BEGIN SOLUTION
    def second(i):
        direction = jnp.zeros_like(x).at[i].set(1)
        return jax.jvp(jax.grad(f), (x,), (direction,))[1][i]

    return lax.map(second, jnp.arange(x.shape[0]))
    ### END SOLUTION

# %% [markdown] hints="hessian_diagonal"
# <details><summary>Hint 1: the idea</summary>
#
# One Hessian-vector product gives one column; keep one number of it before the next.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.jvp(jax.grad(f), ...)` inside `lax.map`
# </details>

# %% check="hessian_diagonal" points=2
def quartic(x):
    return jnp.sum(x**4) + x[0] * x[1] + jnp.sum(x) ** 2


def chain(x):
    return jnp.sum(x[1:] ** 2 * x[:-1])


def diagonal(f, x):
    if f is chain:
        return 2 * np.append(0, x[:-1])
    return 12 * x**2 + 2


def slopes(f, x):
    if f is chain:
        return np.append(0, 2 * x[1:] * x[:-1]) + np.append(x[1:] ** 2, 0)
    return 4 * x**3 + 2 * x.sum() + np.r_[x[1], x[0], np.zeros(len(x) - 2)]


def row_sums(f, x, step=1e-5):
    return (slopes(f, x + step) - slopes(f, x - step)) / (2 * step)


check_values(
    hessian_diagonal, diagonal, sweep(quartic, "4", count=2) + sweep(chain, "6", count=2, scale=100.0),
    mistakes={
        "the squares of the gradient": lambda f, x: slopes(f, x) ** 2,
        "the sums of the rows of the Hessian": row_sums,
    },
)
check_primitives(hessian_diagonal, chain, np.ones(64, np.float32), max_elements=640)
### BEGIN HIDDEN TESTS
check_values(hessian_diagonal, diagonal, sweep(chain, "3", planted=True) + sweep(quartic, "9"))
### END HIDDEN TESTS

# %% [markdown]
# ## 6. Forward mode out of two reverse modes
# **Exercise** · 8 minutes · difficulty 5 of 5
#
# The derivative of `f` at `x` along `v`, for an `f` from one array to one array. `f` has a `custom_vjp`, so `jax.jvp` of it raises. Its reverse rule is linear in the cotangent, and can be differentiated.

# %%
@jax.custom_vjp
def only_reverse(x):
    return jnp.stack([x[0] * x[1], x[1] ** 2, jnp.sum(x)])


def only_reverse_forward(x):
    return only_reverse(x), x


def only_reverse_backward(x, ct):
    first = ct[0] * jnp.zeros_like(x).at[0].set(x[1]).at[1].set(x[0])
    return (first + ct[1] * jnp.zeros_like(x).at[1].set(2 * x[1]) + ct[2],)


only_reverse.defvjp(only_reverse_forward, only_reverse_backward)

# %% [markdown]
# `only_reverse` above is such a function. Yours must work for others as well.

# %% exercise="jvp_by_vjp"
def jvp_by_vjp(f, x: Float[Array, "..."], v: Float[Array, "..."]) -> Float[Array, "..."]:
    """The tangent of `f` at `x` along `v`; it has the shape of the result of `f`."""
    ### BEGIN SOLUTION
    y, pull_back = jax.vjp(f, x)
    transposed = jax.vjp(lambda cotangent: pull_back(cotangent)[0], jnp.zeros_like(y))[1]
    return transposed(v)[0]
    ### END SOLUTION

# %% [markdown] hints="jvp_by_vjp"
# <details><summary>Hint 1: the idea</summary>
#
# `pull_back` is a linear function of the cotangent: its matrix is the transposed Jacobian. What does reverse mode give for it?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.vjp` of the function that `jax.vjp` returned
# </details>

# %% check="jvp_by_vjp" points=2
def function_of(f, x):
    return np.array([x[0] * x[1], x[1] ** 2, x.sum()]) if f is only_reverse else np.sin(x)


def tangent(f, x, v):
    if f is only_reverse:
        return np.array([v[0] * x[1] + x[0] * v[1], 2 * x[1] * v[1], v.sum()])
    return np.cos(x) * v


check_values(
    jvp_by_vjp,
    tangent,
    [
        *sweep(only_reverse, "4", "4", count=2),
        *sweep(only_reverse, "2", "2", count=2),
        *sweep(jnp.sin, "2 3", "2 3"),
    ],
    mistakes={
        "a difference quotient, and not the derivative": lambda f, x, v: (
            (function_of(f, x + 1e-2 * v) - function_of(f, x)) / 1e-2
        ),
    },
)
### BEGIN HIDDEN TESTS
check_values(jvp_by_vjp, tangent, sweep(jnp.sin, "", "") + sweep(only_reverse, "7", "7", planted=True))
### END HIDDEN TESTS

# %% [markdown]
# ## 7. Sums by segment, on the matrix unit
# **Exercise** · 4 minutes · difficulty 2 of 5
#
# Element s is the sum of the rows of `x` whose id is s. Ids outside 0 to `segments` - 1 count nowhere. One matrix product, no scatter.

# %% exercise="segment_sums"
def segment_sums(
    x: Float[Array, "n features"], ids: Int[Array, "n"], segments: int
) -> Float[Array, "segments features"]:
    """The sums of the rows of each segment."""
    ### BEGIN SOLUTION
    return jax.nn.one_hot(ids, segments, dtype=x.dtype).T @ x
    ### END SOLUTION

# %% [markdown] hints="segment_sums"
# <details><summary>Hint 1: the idea</summary>
#
# A matrix of ones and zeros says which row belongs to which segment.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.nn.one_hot`, or a comparison with `jnp.arange`
# </details>

# %% check="segment_sums" points=1
def sums_by_loop(x, ids, segments, wrap=False):
    total = np.zeros((segments, x.shape[1]))
    for row, i in zip(x, ids):
        if wrap or 0 <= i < segments:
            total[i % segments] += row
    return total


check_values(
    segment_sums,
    sums_by_loop,
    sweep("9 2", integers("9", 0, 4), 4, count=2) + sweep("12 3", integers("12", -2, 7), 5, count=2),
    mistakes={"ids outside are wrapped": lambda x, ids, s: sums_by_loop(x, ids, s, wrap=True)},
)
check_primitives(
    segment_sums, np.ones((6, 2), np.float32), np.arange(6), 3, static_argnums=(2,),
    requires=("dot_general",), forbids=("scatter-add", "scatter", "scan", "while"),
)
check_dtype(
    segment_sums, np.ones((4, 2), np.float16), np.int32([0, 1, 1, 0]), 2, returns="float16"
)
### BEGIN HIDDEN TESTS
check_values(
    segment_sums, sums_by_loop, sweep("20 4", integers("20", -9, 9), 3, planted=True)
    + sweep("3 1", integers("3", 0, 2), 6, scale=300.0),
)
### END HIDDEN TESTS

# %% [markdown]
# ## 8. Ranks without sorting
# **Exercise** · 5 minutes · difficulty 3 of 5
#
# Element i is the place, from 0, that `x[i]` has in ascending order, int32; of equal numbers the first comes first. No sort.

# %% exercise="ranks"
def ranks(x: Float[Array, "n"]) -> Int[Array, "n"]:
    """How many elements come before each one in a stable ascending order."""
    ### BEGIN SOLUTION
    i = jnp.arange(x.shape[0])
    before = (x[None] < x[:, None]) | ((x[None] == x[:, None]) & (i[None] < i[:, None]))
    return jnp.sum(before, axis=1, dtype=jnp.int32)
    ### END SOLUTION

# %% [markdown] hints="ranks"
# <details><summary>Hint 1: the idea</summary>
#
# Compare every element with every other, and count.
# </details>
# <details><summary>Hint 2: ties</summary>
#
# Among equals, those with a smaller index come before.
# </details>

# %% check="ranks" points=1
def places(x):
    order = np.argsort(x, kind="stable")
    found = np.empty(len(x), np.int32)
    found[order] = np.arange(len(x))
    return found


ties = [(np.float32([3, 1, 3, 1, 2]),), (np.float32([0, 0, 0]),)]
check_values(
    ranks, places, sweep("7") + sweep("4") + ties,
    mistakes={
        "ties share a place": lambda x: np.sum(x[None] < x[:, None], axis=1),
        "the indices that would sort x, not the places": lambda x: np.argsort(x, kind="stable"),
    },
)
check_dtype(ranks, np.ones(3, np.float16), returns="int32")
check_primitives(ranks, np.ones(5, np.float32), forbids=("sort", "top_k", "scan", "while"))
### BEGIN HIDDEN TESTS
check_values(ranks, places, sweep("30", planted=True) + [(np.float32([np.inf, 2, np.inf, 2]),), (np.float32([5]),)])
### END HIDDEN TESTS

# %% [markdown]
# ## 9. A field of keys that can grow
# **Exercise** · 5 minutes · difficulty 3 of 5
#
# A grid of keys, one for each place. The key at a place depends on `key` and on the place alone, not on the size of the grid, and no two places have the same key.

# %% exercise="key_grid"
def key_grid(key: Key[Array, ""], rows: int, columns: int) -> Key[Array, "rows columns"]:
    """Independent keys; a larger grid begins with the same ones."""
    ### BEGIN SOLUTION
    row_keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(rows))
    in_row = jax.vmap(jax.random.fold_in, (None, 0))
    return jax.vmap(in_row, (0, None))(row_keys, jnp.arange(columns))
    ### END SOLUTION

# %% [markdown] hints="key_grid"
# <details><summary>Hint 1: the idea</summary>
#
# A key for each row, and from it a key for each column.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.random.fold_in` under two `jax.vmap`
# </details>

# %% check="key_grid" points=2
def words(key_grid, key, rows, columns):
    return jax.random.key_data(key_grid(key, rows, columns))


def grown(key_grid, key, rows, columns):
    large = key_grid(key, rows + 2, columns + 3)[:rows, :columns]
    return jax.random.key_data(large) == jax.random.key_data(key_grid(key, rows, columns))


def distinct(key_grid, key, rows, columns):
    grid = jax.random.key_data(key_grid(key, rows, columns)).reshape(rows * columns, -1)
    other = jax.random.key_data(key_grid(jax.random.fold_in(key, 9), rows, columns))
    both = np.concatenate([grid, other.reshape(rows * columns, -1)])
    return np.int32(len(np.unique(both, axis=0)))


grids = [(jax.random.key(0), 3, 4), (jax.random.key(5), 4, 3), (jax.random.key(7), 1, 6)]
check_shape(through(words, key_grid), jax.random.key(0), 3, 4, returns="3 4 2")
check_values(
    through(grown, key_grid), lambda key, rows, columns: np.ones((rows, columns, 2), bool), grids,
    about="a larger grid begins with the same keys",
    mistakes={"the keys of a larger grid are others": lambda key, rows, columns: (
        np.zeros((rows, columns, 2), bool))},
)
check_values(
    through(distinct, key_grid), lambda key, rows, columns: np.int32(2 * rows * columns), grids,
    about="how many keys differ, for two keys",
)
### BEGIN HIDDEN TESTS
check_values(
    through(distinct, key_grid), lambda key, rows, columns: np.int32(2 * rows * columns),
    [(jax.random.key(3), 40, 40), (jax.random.key(4), 1, 1), (jax.random.key(5), 2, 1100)],
)
### END HIDDEN TESTS

# %% [markdown]
# ## 10. A function applied n times
# **Exercise** · 4 minutes · difficulty 2 of 5
#
# `repeated(f)` returns a compiled function of `n` and `x` that applies `f` to `x` n times; n is a traced integer, from 0. One program serves every n.

# %% exercise="repeated"
def repeated(f):
    """A compiled function (n, x) -> f(f(... f(x)))."""
    ### BEGIN SOLUTION
    return jax.jit(lambda n, x: lax.fori_loop(0, n, lambda i, y: f(y), x))
    ### END SOLUTION

# %% [markdown] hints="repeated"
# <details><summary>Hint 1: the idea</summary>
#
# A loop inside the program, with a traced bound.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.fori_loop`
# </details>

# %% check="repeated" points=1
def logistic(x):
    return 3.7 * x * (1 - x)


def by_hand(f):
    def call(n, x):
        for _ in range(n):
            x = f(x)
        return x

    return call


some = [(k, np.float32([0.2, 0.5, 0.9])) for k in (0, 1, 3)]
check_values(result_of(repeated, logistic), by_hand(logistic), some)
check_values(
    result_of(repeated, lambda x: (x[1], x[0] + x[1])), by_hand(lambda x: (x[1], x[0] + x[1])),
    [(k, (np.float32(0), np.float32(1))) for k in (2, 9)], about="a pair",
)


def bodies_of_repeated(repeated, x, *counts):
    seen = []

    def noting(y):
        seen.append(y)
        return y + 1

    call = repeated(noting)
    for count in counts:
        call(count, x)
    return np.int32(len(seen) <= 2)


check_values(
    through(bodies_of_repeated, repeated), lambda x, *counts: np.int32(1),
    [(np.ones(3, np.float32), 2, 5, 7, 0)], about="one program for every n",
)
### BEGIN HIDDEN TESTS
check_values(result_of(repeated, jnp.cos), by_hand(np.cos), [(40, np.float32(0.3)), (0, np.float32(700))])
### END HIDDEN TESTS

# %% [markdown]
# ## 11. The inner product of two trees
# **Exercise** · 3 minutes · difficulty 2 of 5
#
# The sum over all leaves of the products of their elements, for two trees of one structure; 0 for a tree without leaves (an array or a number). Leaves may be arrays of any shape and Python numbers.

# %% exercise="tree_dot"
def tree_dot(a, b) -> Float[Array, ""]:
    """The inner product of `a` and `b`, taken as long vectors."""
    ### BEGIN SOLUTION
    products = jax.tree.map(lambda x, y: jnp.sum(jnp.asarray(x) * y), a, b)
    return jax.tree.reduce(jnp.add, products, jnp.zeros(()))
    ### END SOLUTION

# %% [markdown] hints="tree_dot"
# <details><summary>Hint 1: the idea</summary>
#
# Multiply leaf by leaf, then add the leaves.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.tree.map` with two trees, `jax.tree.reduce`
# </details>

# %% check="tree_dot" points=1
def inner(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b))
    return np.float64(sum(np.sum(np.multiply(x, y)) for x, y in pairs))


layers = {"w": "2 3", "b": ["3", ""]}
check_values(
    tree_dot, inner,
    sweep(layers, layers, count=2) + sweep(("4", {"x": "2 2 2"}), ("4", {"x": "2 2 2"})),
)
check_pure(tree_dot, {"a": np.ones(3, np.float32)}, {"a": np.ones(3, np.float32)})
### BEGIN HIDDEN TESTS
check_values(
    tree_dot,
    inner,
    [
        *[({}, {}), ([2.0, np.float32([1, 2])], [3.0, np.float32([4, 5])])],
        *sweep(["5", ("1 3",)], ["5", ("1 3",)], planted=True),
    ],
)
### END HIDDEN TESTS

# %% [markdown]
# ## 12. The identity with the opposite gradient
# **Exercise** · 4 minutes · difficulty 3 of 5
#
# Returns `x` exactly, for float32 numbers of ordinary size (1e-30 to 1e38, either sign), and has the derivative -1, in both modes. No custom rule.

# %% exercise="reversed_gradient"
def reversed_gradient(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x` itself, whose gradient has the opposite sign."""
    ### BEGIN SOLUTION
    return 2 * lax.stop_gradient(x) - x
    ### END SOLUTION

# %% [markdown] hints="reversed_gradient"
# <details><summary>Hint 1: the idea</summary>
#
# Add terms that cancel, and stop the gradient of some of them.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.stop_gradient`
# </details>

# %% check="reversed_gradient" points=1
check_values(
    reversed_gradient,
    lambda x: x,
    sweep("5") + sweep("2 3") + sweep("4", scale=1e30),
    rtol=0,
    atol=0,
)
check_gradients(
    reversed_gradient, np.float32([0.5, -2.0, 3.0]), expected=lambda x: -np.ones_like(x)
)
check_primitives(
    reversed_gradient, np.ones(3, np.float32), forbids=("custom_vjp_call", "custom_jvp_call")
)
### BEGIN HIDDEN TESTS
check_gradients(
    reversed_gradient, np.float32([[1e-3, 7.0], [-5.0, 0.0]]), expected=lambda x: -np.ones_like(x)
)
### END HIDDEN TESTS
