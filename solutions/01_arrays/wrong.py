# %% [markdown]
# # 1 · Arrays: answers that the checks must reject
#
# Mistakes that people make who know NumPy or PyTorch, each with the diagnosis that it must get.

# %% wrong="unit_rows" says="broadcast against each other"
def unit_rows(x):
    length = jnp.sqrt(jnp.sum(x**2, axis=1))
    return x / jnp.where(length == 0, 1, length)

# %% wrong="unit_rows" says="columns are scaled instead of rows"
def unit_rows(x):
    length = jnp.sqrt(jnp.sum(x**2, axis=0, keepdims=True))
    return x / jnp.where(length == 0, 1, length)

# %% wrong="unit_rows" says="which is not the Euclidean length"
def unit_rows(x):
    length = jnp.sum(jnp.abs(x), axis=1, keepdims=True)
    return x / jnp.where(length == 0, 1, length)

# %% wrong="unit_rows" says="a NumPy function was given a traced array"
def unit_rows(x):
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length == 0, 1, length).astype(np.float32)

# %% wrong="unit_rows" says="a small number is added to every length"
def unit_rows(x):
    return x / (jnp.linalg.norm(x, axis=1, keepdims=True) + 1e-6)

# %% wrong="unit_rows" says="lengths below a bound are replaced by the bound"
def unit_rows(x):
    return x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-6)

# %% wrong="unit_rows" says="NaN instead of a number"
def unit_rows(x):
    return x / jnp.linalg.norm(x, axis=1, keepdims=True)

# %% wrong="frame_difference" says="a Python number instead of a JAX array"
def frame_difference(a, b):
    return jnp.abs(a.astype(jnp.float32) - b.astype(jnp.float32)).mean().item()

# %% wrong="frame_difference" says="a difference below 0 wrapped around"
def frame_difference(a, b):
    return jnp.mean(jnp.abs(a - b))

# %% wrong="frame_difference" says="sum instead of the mean"
def frame_difference(a, b):
    return jnp.sum(jnp.abs(a.astype(jnp.float32) - b.astype(jnp.float32)))

# %% wrong="frame_difference" says="a NumPy function was given a traced array"
def frame_difference(a, b):
    difference = np.int16(a) - np.int16(b)
    return jnp.mean(jnp.abs(jnp.asarray(difference)))

# %% wrong="frame_difference" says="int8 ends at 127"
def frame_difference(a, b):
    return jnp.mean(jnp.abs(a.astype(jnp.int8) - b.astype(jnp.int8)))

# %% wrong="frame_difference" says="the total of a large image overflows 16 bits"
def frame_difference(a, b):
    difference = jnp.abs(a.astype(jnp.int16) - b.astype(jnp.int16))
    return jnp.sum(difference, dtype=jnp.int16) / difference.size

# %% wrong="gelu" says="float32 instead of bfloat16"
def gelu(x):
    z = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + jnp.tanh(z))

# %% wrong="gelu" says="bfloat16 instead of float32"
def gelu(x):
    z = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    return (0.5 * x * (1 + jnp.tanh(z))).astype(jnp.bfloat16)

# %% wrong="gelu" says="a constant factor of"
def gelu(x):
    z = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return x * (1 + jnp.tanh(z))

# %% wrong="gelu" says="this is the exact form (erf); the tanh form is asked for"
def gelu(x):
    return jax.nn.gelu(x, approximate=False)

# %% wrong="gelu" says="this is the form with the sigmoid"
def gelu(x):
    return x * jax.nn.sigmoid(1.702 * x)

# %% wrong="gelu" says="a NumPy function was given a traced array"
def gelu(x):
    z, half = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3), 0.5 * x
    return half + half * np.tanh(z)

# %% wrong="gelu" says="float32 instead of float16"
def gelu(x):
    z = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    out = 0.5 * x * (1 + jnp.tanh(z))
    return out.astype(jnp.bfloat16) if x.dtype == jnp.bfloat16 else out

# %% wrong="gelu" says="NaN instead of a number"
def gelu(x):
    z = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    tanh = (jnp.exp(z) - jnp.exp(-z)) / (jnp.exp(z) + jnp.exp(-z))
    return 0.5 * x * (1 + tanh)

# %% wrong="confusion" says="a pair that occurs several times is counted once"
def confusion(labels, predictions, classes):
    counts = jnp.zeros((classes, classes), jnp.int32)
    return counts.at[labels, predictions].set(counts[labels, predictions] + 1)

# %% wrong="confusion" says="transposed"
def confusion(labels, predictions, classes):
    return jnp.zeros((classes, classes), jnp.int32).at[predictions, labels].add(1)

# %% wrong="confusion" says="all zeros"
def confusion(labels, predictions, classes):
    counts = jnp.zeros((classes, classes), jnp.int32)
    counts.at[labels, predictions].add(1)
    return counts

# %% wrong="confusion" says="floats instead of integers"
def confusion(labels, predictions, classes):
    return jnp.zeros((classes, classes)).at[labels, predictions].add(1)

# %% wrong="confusion" says="a NumPy function was given a traced array"
def confusion(labels, predictions, classes):
    counts = np.zeros((classes, classes), np.int32)
    np.add.at(counts, (np.asarray(labels), np.asarray(predictions)), 1)
    return jnp.asarray(counts)

# %% wrong="confusion" says="grows with the input"
def confusion(labels, predictions, classes):
    counts = jnp.zeros((classes, classes), jnp.int32)
    for label, prediction in zip(labels, predictions):
        counts = counts.at[label, prediction].add(1)
    return counts

# %% wrong="confusion" says="arithmetic with labels overflowed"
def confusion(labels, predictions, classes):
    place = labels * classes + predictions
    return jnp.bincount(place, length=classes**2).reshape(classes, classes)

# %% wrong="confusion" says="uint8 instead of int32"
def confusion(labels, predictions, classes):
    return jnp.zeros((classes, classes), labels.dtype).at[labels, predictions].add(1)

# %% wrong="confusion" says="bfloat16 can represent 256 but not 257"
def confusion(labels, predictions, classes):
    rows = jax.nn.one_hot(labels, classes, dtype=jnp.bfloat16)
    cols = jax.nn.one_hot(predictions, classes, dtype=jnp.bfloat16)
    return (rows.T @ cols).astype(jnp.int32)

# %% wrong="embed" says="broadcast against each other"
def embed(table, ids):
    known = (ids >= 0) & (ids < table.shape[0])
    return jnp.where(known, table[ids], 0)

# %% wrong="embed" says="a boolean mask selects an unknown number of elements"
def embed(table, ids):
    known = (ids >= 0) & (ids < table.shape[0])
    rows = jnp.zeros((ids.shape[0], table.shape[1]))
    return rows.at[known].set(table[ids[known]])

# %% wrong="embed" says="an id past the end gets the last row"
def embed(table, ids):
    return table.at[ids].get(mode="clip")

# %% wrong="embed" says="an id past the end gets NaN"
def embed(table, ids):
    return jnp.take(table, ids, axis=0)

# %% wrong="embed" says="a negative id counts from the end"
def embed(table, ids):
    return table.at[ids].get(mode="fill", fill_value=0)

# %% wrong="embed" says="only -1 is treated as unknown, and other negative ids count from the end"
def embed(table, ids):
    ids = jnp.where(ids == -1, table.shape[0], ids)
    return table.at[ids].get(mode="fill", fill_value=0)

# %% wrong="z_buffer" says="a later point hides a nearer one"
def z_buffer(rows, cols, depth, height, width):
    return jnp.full((height, width), jnp.inf).at[rows, cols].set(depth)

# %% wrong="z_buffer" says="an empty pixel starts at 0"
def z_buffer(rows, cols, depth, height, width):
    return jnp.zeros((height, width)).at[rows, cols].min(depth)

# %% wrong="z_buffer" says="points outside are moved to the edge"
def z_buffer(rows, cols, depth, height, width):
    return jnp.full((height, width), jnp.inf).at[rows, cols].min(depth, mode="clip")

# %% wrong="z_buffer" says="a boolean mask selects an unknown number of elements"
def z_buffer(rows, cols, depth, height, width):
    inside = (rows >= 0) & (rows < height) & (cols >= 0) & (cols < width)
    return jnp.full((height, width), jnp.inf).at[rows[inside], cols[inside]].min(depth[inside])

# %% wrong="z_buffer" says="appears on the opposite side"
def z_buffer(rows, cols, depth, height, width):
    return jnp.full((height, width), jnp.inf).at[rows, cols].min(depth, mode="drop")

# %% wrong="z_buffer" says="depths of 1000 or more are treated as no point"
def z_buffer(rows, cols, depth, height, width):
    rows, cols = jnp.where(rows < 0, height, rows), jnp.where(cols < 0, width, cols)
    picture = jnp.full((height, width), 1000.0).at[rows, cols].min(depth)
    return jnp.where(picture == 1000.0, jnp.inf, picture)

# %% wrong="distances" says="broadcast against each other"
def distances(x, y):
    return jnp.linalg.norm(x - y, axis=-1)

# %% wrong="distances" says="the square of the expected value"
def distances(x, y):
    return jnp.sum((x[:, None] - y[None]) ** 2, axis=-1)

# %% wrong="distances" says="this is the sum of the absolute differences"
def distances(x, y):
    return jnp.sum(jnp.abs(x[:, None] - y[None]), axis=-1)

# %% wrong="distances" says="a NumPy function was given a traced array"
def distances(x, y):
    return jnp.asarray(np.linalg.norm(np.asarray(x)[:, None] - np.asarray(y)[None], axis=-1))

# %% wrong="distances" says="grows with the input"
def distances(x, y):
    rows = [jnp.sqrt(jnp.sum((point - y) ** 2, axis=-1)) for point in x]
    return jnp.stack(rows) if rows else jnp.zeros((0, y.shape[0]))

# %% wrong="distances" says="precision is lost"
def distances(x, y):
    squares = jnp.sum(x**2, axis=1)[:, None] + jnp.sum(y**2, axis=1) - 2 * x @ y.T
    return jnp.sqrt(jnp.maximum(squares, 0))

# %% wrong="distances" says="a small number is added under the root"
def distances(x, y):
    return jnp.sqrt(jnp.sum((x[:, None] - y[None]) ** 2, axis=-1) + 1e-6)

# %% wrong="attention_scores" says="transposed"
def attention_scores(q, k):
    return jnp.einsum("bqhd,bkhd->bhkq", q, k) / math.sqrt(q.shape[-1])

# %% wrong="attention_scores" says="float32 instead of bfloat16"
def attention_scores(q, k):
    return jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1])

# %% wrong="attention_scores" says="not divided by sqrt(dim)"
def attention_scores(q, k):
    return jnp.einsum("bqhd,bkhd->bhqk", q, k)

# %% wrong="attention_scores" says="divided by dim, not by its square root"
def attention_scores(q, k):
    return jnp.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1]

# %% wrong="attention_scores" says="each head of q is multiplied by the sum of all heads of k"
def attention_scores(q, k):
    return jnp.einsum("bqhd,bkgd->bhqk", q, k) / math.sqrt(q.shape[-1])

# %% wrong="attention_scores" says="needs a concrete value while it is traced"
def attention_scores(q, k):
    return jnp.einsum("bqhd,bkhd->bhqk", q, k) / float(jnp.sqrt(q.shape[-1]))

# %% wrong="attention_scores" says="does not use"
def attention_scores(q, k):
    product = q[:, :, None] * k[:, None, :]
    return jnp.moveaxis(product.sum(-1), -1, 1) / math.sqrt(q.shape[-1])

# %% wrong="attention_scores" says="an axis is missing"
def attention_scores(q, k):
    return jnp.squeeze(jnp.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1]))

# %% wrong="log_mean_exp" says="an axis of size 1 is left over"
def log_mean_exp(x):
    m = jnp.max(x, axis=-1, keepdims=True)
    m = jnp.where(jnp.isfinite(m), m, 0)
    return jnp.log(jnp.mean(jnp.exp(x - m), axis=-1, keepdims=True)) + m

# %% wrong="log_mean_exp" says="the shift is not added back"
def log_mean_exp(x):
    m = jnp.max(x, axis=-1, keepdims=True)
    return jnp.log(jnp.mean(jnp.exp(x - m), axis=-1))

# %% wrong="log_mean_exp" says="the logarithm of the sum, not of the mean"
def log_mean_exp(x):
    return jax.nn.logsumexp(x, axis=-1)

# %% wrong="log_mean_exp" says="infinite instead of a number"
def log_mean_exp(x):
    return jnp.log(jnp.mean(jnp.exp(x), axis=-1))

# %% wrong="log_mean_exp" says="a Python `if` or `while` looks at a traced value"
def log_mean_exp(x):
    m = jnp.max(x, axis=-1, keepdims=True)
    if jnp.any(jnp.isinf(m)):
        m = jnp.where(jnp.isinf(m), 0, m)
    return jnp.log(jnp.mean(jnp.exp(x - m), axis=-1)) + m[:, 0]

# %% wrong="log_mean_exp" says="one shift is used for all rows"
def log_mean_exp(x):
    m = jnp.max(x)
    m = jnp.where(jnp.isfinite(m), m, 0)
    return jnp.log(jnp.mean(jnp.exp(x - m), axis=-1)) + m

# %% wrong="log_mean_exp" says="the shift stops at a lower bound"
def log_mean_exp(x):
    m = jnp.maximum(jnp.max(x, axis=-1, keepdims=True), -1e4)
    return jnp.log(jnp.mean(jnp.exp(x - m), axis=-1)) + m[:, 0]

# %% wrong="log_mean_exp" says="NaN instead of"
def log_mean_exp(x):
    m = jnp.max(x, axis=-1, keepdims=True)
    return jnp.log(jnp.mean(jnp.exp(x - m), axis=-1)) + m[:, 0]

# %% wrong="masked_mean" says="one step too many is summed"
def masked_mean(x, lengths):
    valid = jnp.arange(x.shape[1]) <= lengths[:, None]
    return jnp.sum(jnp.where(valid, x, 0), axis=1) / jnp.maximum(lengths, 1)

# %% wrong="masked_mean" says="the sum is divided by the padded length"
def masked_mean(x, lengths):
    valid = jnp.arange(x.shape[1]) < lengths[:, None]
    return jnp.mean(jnp.where(valid, x, 0), axis=1)

# %% wrong="masked_mean" says="a boolean mask selects an unknown number of elements"
def masked_mean(x, lengths):
    valid = jnp.arange(x.shape[1]) < lengths[:, None]
    total = jnp.stack([row[mask].sum() for row, mask in zip(x, valid)])
    return total / jnp.maximum(lengths, 1)

# %% wrong="masked_mean" says="0 times NaN is NaN"
def masked_mean(x, lengths):
    mask = jnp.arange(x.shape[1]) < lengths[:, None]
    return (x * mask).sum(1) / jnp.maximum(lengths, 1)

# %% wrong="masked_mean" says="NaN instead of a number"
def masked_mean(x, lengths):
    mask = jnp.arange(x.shape[1]) < lengths[:, None]
    return (jnp.where(jnp.isnan(x), 0, x) * mask).sum(1) / jnp.maximum(lengths, 1)

# %% wrong="masked_mean" says="an empty row divides 0 by 0"
def masked_mean(x, lengths):
    valid = jnp.arange(x.shape[1]) < lengths[:, None]
    return jnp.mean(x, axis=1, where=valid)

# %% wrong="seconds_per_call" says="the call is timed without waiting for its result"
def seconds_per_call(f, x, clock=time.perf_counter):
    jax.block_until_ready(f(x))
    start = clock()
    f(x)
    return clock() - start

# %% wrong="seconds_per_call" says="compilation is timed too"
def seconds_per_call(f, x, clock=time.perf_counter):
    start = clock()
    jax.block_until_ready(f(x))
    return clock() - start

# %% wrong="seconds_per_call" says="the first call is still running"
def seconds_per_call(f, x, clock=time.perf_counter):
    f(x)
    start = clock()
    jax.block_until_ready(f(x))
    return clock() - start

# %% wrong="seconds_per_call" says="raised AttributeError"
def seconds_per_call(f, x, clock=time.perf_counter):
    f(x).block_until_ready()
    start = clock()
    f(x).block_until_ready()
    return clock() - start

# %% wrong="seconds_per_call" says="compilation is timed, and the result is not waited for"
def seconds_per_call(f, x, clock=time.perf_counter):
    start = clock()
    f(x)
    return clock() - start

# %% wrong="seconds_per_call" says="the time is not read from clock()"
def seconds_per_call(f, x, clock=time.perf_counter):
    jax.block_until_ready(f(x))
    start = time.time()
    jax.block_until_ready(f(x))
    return time.time() - start

# %% wrong="seconds_per_call" says="only the last array of the structure is waited for"
def seconds_per_call(f, x, clock=time.perf_counter):
    def wait(tree):
        jax.tree.leaves(tree)[-1].block_until_ready()

    wait(f(x))
    start = clock()
    wait(f(x))
    return clock() - start

# %% wrong="unit_rows" says="a row whose sum is 0 is treated as a row of zeros"
def unit_rows(x):
    norm = jnp.sqrt(jnp.sum(x**2, axis=1, keepdims=True))
    empty = x.sum(axis=1, keepdims=True) == 0
    return jnp.where(empty, x, x / jnp.where(empty, 1.0, norm))

# %% wrong="embed" says="every table is treated as if it had five rows"
def embed(table, ids):
    known = (ids >= 0) & (ids < 5)
    rows = jnp.take(table, ids, axis=0, mode="fill", fill_value=0)
    return jnp.where(known[:, None], rows, 0)

# %% wrong="masked_mean" says="the sum is divided by the number of nonzero entries"
def masked_mean(x, lengths):
    inside = jnp.where(jnp.arange(x.shape[1]) < lengths[:, None], x, 0)
    return inside.sum(axis=1) / jnp.maximum(jnp.count_nonzero(inside, axis=1), 1)

# %% wrong="embed" says="NaN in one row of the table reaches the other rows"
def embed(table, ids):
    return jnp.where(ids[:, None] == jnp.arange(table.shape[0]), jnp.float32(1), 0) @ table

# %% wrong="embed" says="NaN in the table itself is replaced by a number"
def embed(table, ids):
    ids = jnp.where(ids < 0, len(table), ids)
    return jnp.nan_to_num(jnp.take(table, ids, axis=0))

# %% wrong="masked_mean" says="NaN that is not padding counts as 0"
def masked_mean(x, lengths):
    mask = jnp.arange(x.shape[1]) < lengths[:, None]
    return jnp.sum(jnp.nan_to_num(x, posinf=0, neginf=0) * mask, axis=1) / jnp.maximum(lengths, 1)

# %% wrong="masked_mean" says="NaN that is not padding is left out of the mean"
def masked_mean(x, lengths):
    mask = jnp.arange(x.shape[1]) < lengths[:, None]
    return jnp.where(lengths > 0, jnp.nanmean(jnp.where(mask, x, jnp.nan), axis=1), 0.0)

# %% wrong="seconds_per_call" says="no attribute 'block_until_ready'"
def seconds_per_call(f, x, clock=time.perf_counter):
    def wait(result):
        for part in result.values() if isinstance(result, dict) else [result]:
            jax.block_until_ready(part) if isinstance(result, dict) else part.block_until_ready()

    wait(f(x))
    start = clock()
    wait(f(x))
    return clock() - start

# %% wrong="masked_mean" says="every mean of NaN becomes 0"
def masked_mean(x, lengths):
    valid = jnp.arange(x.shape[1]) < lengths[:, None]
    return jnp.nan_to_num(jnp.mean(x, axis=1, where=valid))
