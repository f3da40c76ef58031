# %% [markdown]
# # 1 · Arrays: other answers that the checks must accept

# %% right="unit_rows"
@jax.jit
def unit_rows(x):
    square = jnp.einsum("ij,ij->i", x, x)
    return x * jnp.where(square > 0, jax.lax.rsqrt(square), 0)[:, None]

# %% right="unit_rows"
def unit_rows(x):
    x = jnp.asarray(x, dtype=jnp.float32)
    return jnp.nan_to_num(x / jnp.linalg.norm(x, axis=-1, keepdims=True))

# %% right="frame_difference"
@jax.jit
def frame_difference(a, b):
    return (jnp.maximum(a, b) - jnp.minimum(a, b)).mean()

# %% right="frame_difference"
import warnings

def frame_difference(a, b):
    warnings.warn("bytes are widened to int32")
    return jnp.abs(a.astype(int) - b.astype(int)).mean()

# %% right="gelu"
def gelu(x):
    z = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    return (0.5 * x * (1 + jnp.tanh(z))).astype(x.dtype)

# %% right="gelu"
gelu = jax.jit(jax.nn.gelu)

# %% right="confusion"
def confusion(labels, predictions, classes):
    place = labels.astype(jnp.int32) * classes + predictions
    return jnp.bincount(place, length=classes**2).reshape(classes, classes)

# %% right="confusion"
from functools import partial

@partial(jax.jit, static_argnums=2)
def confusion(labels, predictions, classes):
    each = jnp.arange(classes)
    return jnp.sum((labels == each[:, None])[:, None] & (predictions == each[:, None]), axis=-1)

# %% right="embed"
@jax.jit
def embed(table, ids):
    padded = jnp.concatenate([table, jnp.zeros((1, table.shape[1]), table.dtype)])
    return padded[jnp.where((ids < 0) | (ids >= len(table)), len(table), ids)]

# %% right="embed"
def embed(table, ids):
    return table.at[ids].get(mode="fill", fill_value=0, wrap_negative_indices=False)

# %% right="z_buffer"
def z_buffer(rows, cols, depth, height, width):
    inside = (rows >= 0) & (rows < height) & (cols >= 0) & (cols < width)
    depth = jnp.where(inside, depth, jnp.inf)
    place = jnp.where(inside, rows * width + cols, 0)
    return jax.ops.segment_min(depth, place, height * width).reshape(height, width)

# %% right="z_buffer"
def z_buffer(rows, cols, depth, height, width):
    here = (rows == jnp.arange(height)[:, None, None]) & (cols == jnp.arange(width)[:, None])
    return jnp.min(jnp.where(here, depth, jnp.inf), axis=-1, initial=jnp.inf)

# %% right="distances"
@jax.jit
def distances(x, y):
    one_to_one = lambda p, q: jnp.linalg.norm(p - q)
    return jax.vmap(lambda p: jax.vmap(lambda q: one_to_one(p, q))(y))(x)

# %% right="distances"
def distances(x, y):
    difference = (x[:, None] - y).astype(jnp.float32)
    return jnp.sqrt(jnp.einsum("nmf,nmf->nm", difference, difference))

# %% right="attention_scores"
@jax.jit
def attention_scores(q, k):
    q, k = q.swapaxes(1, 2), jnp.transpose(k, (0, 2, 3, 1))
    return (q @ k) * q.shape[-1] ** -0.5

# %% right="attention_scores"
def attention_scores(q, k):
    one_head = lambda q, k: q @ k.T
    scores = jax.vmap(jax.vmap(one_head, in_axes=1))(q, k)
    return scores / jnp.sqrt(q.shape[-1]).astype(q.dtype)

# %% right="log_mean_exp"
def log_mean_exp(x):
    return jax.nn.logsumexp(x, axis=-1) - math.log(x.shape[-1])

# %% right="log_mean_exp"
@jax.jit
def log_mean_exp(x):
    return jnp.logaddexp.reduce(x, axis=-1) - jnp.log(jnp.float32(x.shape[1]))

# %% right="masked_mean"
@jax.jit
def masked_mean(x, lengths):
    valid = jnp.arange(x.shape[1]) < lengths[:, None]
    return jnp.where(lengths > 0, jnp.mean(x, axis=1, where=valid), 0)

# %% right="masked_mean"
def masked_mean(x, lengths):
    steps = jax.lax.broadcasted_iota(jnp.int32, x.shape, 1)
    total = jnp.sum(x, axis=1, where=steps < lengths[:, None])
    return jnp.where(lengths > 0, total / lengths.astype(jnp.float32), 0)

# %% right="seconds_per_call"
def seconds_per_call(f, x, clock=time.perf_counter):
    def once():
        start = clock()
        jax.block_until_ready(f(x))
        return clock() - start

    return [once() for _ in range(4)][-1]

# %% right="seconds_per_call"
def seconds_per_call(f, x, clock=time.perf_counter):
    def wait(tree):
        return jax.tree.map(lambda leaf: leaf.block_until_ready(), tree)

    wait(f(x))
    times = []
    for _ in range(3):
        start = clock()
        wait(f(x))
        times.append(clock() - start)
    return sum(times) / len(times)
