# %% [markdown]
# # 1 · Arrays
#
# At the end of this lesson you can write array code that stays right where NumPy habits go wrong without a word:
# off the end of an array, past the largest integer that float32 can hold, in half precision, on padded batches, and
# on a clock that stops before the work is done. You know most of `jax.numpy` already, because it was made to look
# like NumPy. What follows is the rest: the places where it looks the same and is not.

# %%
import math
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from graders import (check_answer, check_dtype, check_primitives, check_pure, check_shape, check_values, integers,
                     sweep, through, uniform)

# %% [markdown]
# ## 1.1 What you bring along
#
# Three questions about plain NumPy, one point each. Answer from memory. The first is the prediction of lesson 00, one
# axis later.
#
# **Recall** · 1 minute · difficulty 1 of 5
#
# What is the shape of `np.ones((5, 1, 3)) + np.ones((4, 1))`?

# %% exercise="recall_broadcast" kind="recall"
# a tuple of integers
### BEGIN SOLUTION
recall_broadcast = (5, 4, 3)
### END SOLUTION

# %% check="recall_broadcast" points=1
check_answer(recall_broadcast, lambda: (np.ones((5, 1, 3)) + np.ones((4, 1))).shape,
             because="shapes are aligned at their last axis, and an axis of size 1 (or a missing one) is stretched",
             mistakes={(5, 1, 3): "the 4 of the second array has to go somewhere: the axis of size 1 is stretched to it",
                       (5, 4, 1): "the last axis is stretched too: 3 against 1 gives 3"})

# %% [markdown]
# **Recall** · 1 minute · difficulty 1 of 5
#
# After `a = np.zeros(3); b = a[:2]; b[0] = 9`, what is `a[0]`?

# %% exercise="recall_view" kind="recall"
# a number
### BEGIN SOLUTION
recall_view = 9.0
### END SOLUTION

# %% check="recall_view" points=1
def after_the_write():
    a = np.zeros(3)
    b = a[:2]
    b[0] = 9
    return float(a[0])

check_answer(recall_view, after_the_write,
             because="a NumPy slice is a view: it shares its memory with the array that it was cut from",
             mistakes={0.0: "a NumPy slice is a view, not a copy: writing to `b` writes to `a`"})

# %% [markdown]
# **Recall** · 1 minute · difficulty 1 of 5
#
# What is the dtype of `np.ones(3, dtype="int32") * np.ones(3, dtype="float32")`?

# %% exercise="recall_promotion" kind="recall"
# a string such as "int32"
### BEGIN SOLUTION
recall_promotion = "float64"
### END SOLUTION

# %% check="recall_promotion" points=1
check_answer(recall_promotion, lambda: str((np.ones(3, dtype="int32") * np.ones(3, dtype="float32")).dtype),
             because="float32 cannot hold every int32, so NumPy goes on to the next float that can",
             mistakes={"float32": "that is what JAX does; NumPy looks for a float that holds every int32"})

# %% [markdown]
# ## 1.2 Same names, other promises
#
# Let `x = jnp.arange(5)`. It has five elements. Ask for the one at index 10.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# What does `int(x[10])` give? If you expect an error, answer with its name as a string.

# %% exercise="past_the_end" kind="prediction"
# an integer, or a string such as "IndexError"
### BEGIN SOLUTION
past_the_end = 4
### END SOLUTION

# %% check="past_the_end" points=1
check_answer(past_the_end, lambda: int(jnp.arange(5)[10]),
             because="an index past the end is moved to the last element",
             mistakes={"IndexError": "that is what NumPy does: a compiled program on an accelerator cannot stop to "
                                     "raise an error",
                       0: "nothing is filled in: the index is moved to the nearest one that exists"})

# %%
x = jnp.arange(5)
x[10], x[-7]

# %% [markdown]
# No error, and no rubbish either: the index was **clamped** to the nearest one that exists. A compiled program on a
# GPU or TPU has nobody to raise an exception to, so JAX gives every index a meaning instead. Section 1.10 returns
# to it. First, the more ordinary differences.

# %%
x = jnp.linspace(0.0, 1.0, 5)
print(type(x).__name__, x.dtype, x.device)
print(type(jnp.sin(x)).__name__, "from jnp.sin")
print(type(np.sin(x)).__name__, "from np.sin")

# %% [markdown]
# A function of `jnp` returns a `jax.Array`, which lives on a device. A function of `np` accepts that array, fetches it
# to the host, and answers with a NumPy array: right numbers, wrong place. Under `jax.jit` there are no numbers to fetch
# yet, and the same line raises `TracerArrayConversionError`. Rule: inside a function meant for JAX, `jnp` is for data;
# `np` and `math` are for constants, and section 1.6 will prefer `math` even there.
#
# Lists are refused as well. Converting one goes element by element, and JAX would rather that you see it:

# %% tags=["raises-exception"]
jnp.sum([1.0, 2.0, 3.0])

# %% [markdown]
# ## 1.3 Rows of length one
#
# **Exercise** · 5 minutes · difficulty 1 of 5
#
# `unit_rows(x)` divides every row of `x` by its Euclidean length. A row of zeros stays a row of zeros; every other
# row, however short, comes out with length 1.

# %% exercise="unit_rows"
def unit_rows(x: Float[Array, "rows features"]) -> Float[Array, "rows features"]:
    """Rows of `x` scaled to length 1; a row of zeros stays as it is."""
    ### BEGIN SOLUTION
    length = jnp.sqrt(jnp.sum(x**2, axis=1, keepdims=True))
    return x / jnp.where(length == 0, 1, length)
    ### END SOLUTION

# %% [markdown] hints="unit_rows"
# <details><summary>Hint 1: the idea</summary>
#
# Dividing 0 by 0 gives NaN. Choose what to divide by, before you divide.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `axis=1, keepdims=True` leaves lengths of shape `(rows, 1)`, which broadcast against `(rows, features)`.
# `jnp.where(condition, a, b)` chooses element by element.
# </details>

# %% check="unit_rows" points=2
def one_row_at_a_time(x):
    return np.array([row / math.hypot(*row) if row.any() else row for row in x]).reshape(x.shape)

check_shape(unit_rows, np.ones((4, 3)), returns="rows features", rows=4, features=3)
check_values(unit_rows, one_row_at_a_time, sweep("rows features", count=2),
             mistakes={"columns are scaled instead of rows": lambda x: x / np.sqrt((x**2).sum(0)),
                       "the sum of absolute values is not the length": lambda x: x / abs(x).sum(1, keepdims=True)})
check_pure(unit_rows, np.ones((4, 3)))
### BEGIN HIDDEN TESTS
check_values(unit_rows, one_row_at_a_time, sweep("rows features", count=2, seed=7, scale=1e-4),
             mistakes={"a small number is added to every length":
                       lambda x: x / (np.sqrt((x**2).sum(1, keepdims=True)) + 1e-6)})
check_values(unit_rows, one_row_at_a_time,
             [(np.array([[0.0, 0.0], [3.0, -4.0]]),), (np.zeros((3, 3)),), (np.array([[-0.5]]),)])
### END HIDDEN TESTS

# %% [markdown]
# ## 1.4 float32, unless you insist
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# 16,777,216 is 2 to the power 24. What is `int(jnp.float32(16_777_216) + 1)`?

# %% exercise="one_more" kind="prediction"
# an integer
### BEGIN SOLUTION
one_more = 16_777_216
### END SOLUTION

# %% check="one_more" points=1
check_answer(one_more, lambda: int(jnp.float32(2**24) + 1),
             because="a float32 has 24 significant bits: from 2**24 on it holds only every second integer",
             mistakes={16_777_217: "that number has 25 significant bits, a float32 has 24",
                       16_777_218: "16,777,217 lies half-way between two float32 numbers, and ties go to the even one"})

# %% [markdown]
# Floats are like a ruler whose marks lie further apart the further you go. The picture asks JAX for the distance from
# each number to the next one.

# %%
size = jnp.logspace(-2, 9, 500)
for dtype in (jnp.float32, jnp.bfloat16):
    gap = jnp.spacing(size.astype(dtype)).astype(jnp.float32)
    plt.loglog(size, gap, label=jnp.dtype(dtype).name)
plt.axhline(1, color="grey", linestyle=":")
plt.xlabel("number"), plt.ylabel("distance to the next one"), plt.legend()
plt.show()

# %% [markdown]
# *Two staircases that rise with the size of the number. The one of bfloat16 climbs above the dotted line (a gap of 1)
# at 256, the one of float32 at 16.8 million: from there on, adding 1 can change nothing.*
#
# NumPy's default is float64, JAX's is float32, and a float64 array that you hand over is rounded **without a word**.
# Only an explicit `dtype="float64"` warns. An accelerator is built for 32 bits and fewer; where you need 64, ask:

# %%
seconds_since_1970 = np.array([1_763_000_000.0])
print(jnp.asarray(seconds_since_1970).dtype, jnp.spacing(jnp.asarray(seconds_since_1970)), "seconds apart")
with jax.enable_x64(True):
    print(jnp.asarray(seconds_since_1970).dtype, jnp.spacing(jnp.asarray(seconds_since_1970)), "seconds apart")

# %% [markdown]
# Two neighbouring dates in float32 are more than two minutes apart. Integers are int32 and wrap around in silence, as
# NumPy's arrays do; the small ones wrap soon:

# %%
dark, bright = jnp.array([10], jnp.uint8), jnp.array([12], jnp.uint8)
print(dark - bright, "but the mean is safe:", jnp.mean(jnp.array([250, 251], jnp.uint8)))

# %% [markdown]
# ## 1.5 Two frames of a film
#
# **Exercise** · 4 minutes · difficulty 2 of 5
#
# `frame_difference(a, b)` is the mean absolute difference of two greyscale images of bytes. Any byte may meet any
# other.

# %% exercise="frame_difference"
def frame_difference(a: UInt8[Array, "height width"], b: UInt8[Array, "height width"]) -> Float[Array, ""]:
    """Mean over all pixels of `|a - b|`."""
    ### BEGIN SOLUTION
    return jnp.mean(jnp.abs(a.astype(jnp.float32) - b.astype(jnp.float32)))
    ### END SOLUTION

# %% [markdown] hints="frame_difference"
# <details><summary>Hint 1: the idea</summary>
#
# Differences of bytes run from -255 to 255. Which dtype holds all of them?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `a.astype(dtype)` converts. It has to happen before the subtraction, not after.
# </details>

# %% check="frame_difference" points=2
def pixel_by_pixel(a, b):
    return np.mean([abs(int(p) - int(q)) for p, q in zip(a.ravel(), b.ravel())])

def wrapped_around(a, b):
    return np.mean((a.astype(int) - b.astype(int)) % 256)

dim = np.random.default_rng(0).integers(0, 100, (4, 5, 6), dtype=np.uint8)
check_shape(frame_difference, dim[0], dim[1], returns="")
check_values(frame_difference, pixel_by_pixel, [(dim[0], dim[1]), (dim[2, :3], dim[3, :3])],
             mistakes={"uint8 wrapped around": wrapped_around})
check_pure(frame_difference, dim[0], dim[1])
### BEGIN HIDDEN TESTS
def in_int8(a, b):
    return np.abs(a.astype(np.int8) - b.astype(np.int8)).mean()

full = np.random.default_rng(7).integers(0, 256, (4, 3, 8), dtype=np.uint8)
check_values(frame_difference, pixel_by_pixel,
             [(full[0], full[1]), (full[2], full[3]), (np.uint8([[0]]), np.uint8([[255]])), (full[0], full[0])],
             mistakes={"int8 ends at 127": in_int8})
### END HIDDEN TESTS

# %% [markdown]
# ## 1.6 Weak types
#
# bfloat16 is a float32 with the last 16 bits cut off: the same range, half the memory, and faster on the hardware made
# for it. Keeping an array in it takes some care.
#
# **Prediction** · 1 minute · difficulty 3 of 5
#
# Let `x = jnp.ones(3, jnp.bfloat16)`. Then `x * 0.5` is bfloat16. What is the dtype of `x * np.sqrt(0.25)`?

# %% exercise="half" kind="prediction"
# a string such as "int32"
### BEGIN SOLUTION
half = "float32"
### END SOLUTION

# %% check="half" points=1
check_answer(half, lambda: str((jnp.ones(3, jnp.bfloat16) * np.sqrt(0.25)).dtype),
             because="np.sqrt returns a np.float64, which states its dtype: JAX reads it as float32 and promotes",
             mistakes={"bfloat16": "true of the Python number 0.5, but np.sqrt returns a np.float64, which has one",
                       "float64": "JAX has no float64 unless it is enabled: np.float64 counts as float32"})

# %%
x = jnp.ones(3, jnp.bfloat16)
for name, factor in {"0.5": 0.5, "np.sqrt(0.25)": np.sqrt(0.25), "math.sqrt(0.25)": math.sqrt(0.25)}.items():
    print(f"x * {name:16} {(x * factor).dtype}")
print(jnp.asarray(0.5).weak_type, jnp.float32(0.5).weak_type)
print([str(jnp.promote_types(a, b)) for a, b in [("int32", "bfloat16"), ("float16", "bfloat16"), ("int8", "uint8")]])

# %% [markdown]
# A Python number is **weakly typed**: it says "some float" and takes the dtype of its partner. Anything that states a
# dtype, `np.float64` included, is strong, and two strong types meet at the next type above both. JAX's lattice of
# promotion prefers small floats where NumPy prefers to lose nothing: int32 with bfloat16 stays bfloat16. Weakness
# clings to results, too: `jnp.where(x > 0, 1.0, 0.0)` is weak. (A weak and a strong array count as different inputs of
# a compiled function; lesson 03 makes that visible.)
#
# ## 1.7 Bug hunt: the layer that doubled its memory
#
# This activation is found in most transformers, in this form or nearly. It has the right numbers. See what it does to
# a bfloat16 network.

# %%
def gelu_broken(x):
    z = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + jnp.tanh(z))

gelu_broken(jnp.ones(3, jnp.bfloat16)).dtype

# %% [markdown]
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# `gelu(x)` is the same function with its fault mended: the result has the dtype of `x`, whichever float that is.

# %% exercise="gelu"
def gelu(x: Float[Array, "features"]) -> Float[Array, "features"]:
    """`x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x**3)))`, in the dtype of `x`."""
    ### BEGIN SOLUTION
    z = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + jnp.tanh(z))
    ### END SOLUTION

# %% [markdown] hints="gelu"
# <details><summary>Hint 1: the idea</summary>
#
# One factor states a dtype, the others do not. Find it with `.dtype` on each part.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `math.sqrt` and `float(...)` give Python numbers; `x.astype(other.dtype)` converts at the end.
# </details>

# %% check="gelu" points=2
def gelu_in_float64(x):
    return np.array([v / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in x])

check_dtype(gelu, jnp.ones(4, jnp.bfloat16), returns="bfloat16")
check_dtype(gelu, jnp.ones(4, jnp.float32), returns="float32")
check_values(gelu, gelu_in_float64, sweep("features", count=2),
             mistakes={"the sigmoid form is another approximation": lambda x: x / (1 + np.exp(-1.702 * x))})
check_pure(gelu, jnp.ones(4, jnp.bfloat16))
### BEGIN HIDDEN TESTS
check_dtype(gelu, jnp.ones(4, jnp.float16), returns="float16")
check_values(gelu, gelu_in_float64, sweep("features", count=2, seed=7, scale=20.0))
### END HIDDEN TESTS

# %% [markdown]
# ## 1.8 Arrays that never change
#
# Try to write into one:

# %% tags=["raises-exception"]
x = jnp.zeros(3)
x[0] = 9.0

# %% [markdown]
# The message names the way out. `x.at[0].set(9.0)` returns a **new** array; so do `.add`, `.multiply`, `.min`, `.max`.
# Nothing that holds `x` can ever see it change, which is what lets JAX differentiate, reorder and parallelise your
# code. Outside `jit` each update costs a copy; inside, the compiler usually writes in place, once it sees that nobody
# reads the old array again.
#
# Hence the commonest silent bug of the first week:

# %%
x = jnp.zeros(3)
x.at[0].set(9.0)          # computed, and thrown away
print(x)
x = x.at[0].set(9.0)
print(x)

# %% [markdown]
# **Prediction** · 1 minute · difficulty 2 of 5
#
# In NumPy, `counts[[1, 1, 1]] += 1` adds 1 to `counts[1]`, once. What is
# `jnp.zeros(3).at[jnp.array([1, 1, 1])].add(1.0)[1]`?

# %% exercise="counted" kind="prediction"
# a number
### BEGIN SOLUTION
counted = 3.0
### END SOLUTION

# %% check="counted" points=1
check_answer(counted, lambda: float(jnp.zeros(3).at[jnp.array([1, 1, 1])].add(1.0)[1]),
             because=".at[].add adds once for every index, repeated or not, as np.add.at does",
             mistakes={1.0: "that is NumPy's +=, which reads, adds, writes back; .at[].add adds once for every index"})

# %% [markdown]
# ## 1.9 Which class is taken for which
#
# **Exercise** · 6 minutes · difficulty 2 of 5
#
# `confusion(labels, predictions, classes)` is a table of counts, int32: row `i`, column `j` says how many examples of
# class `i` were predicted to be `j`. No Python loop over the batch. Labels may come in any integer dtype; those of
# MNIST are bytes.

# %% exercise="confusion"
def confusion(labels: Int[Array, "batch"], predictions: Int[Array, "batch"],
              classes: int) -> Int[Array, "classes classes"]:
    """Number of examples of class `i` (row) that were predicted to be `j` (column)."""
    ### BEGIN SOLUTION
    return jnp.zeros((classes, classes), jnp.int32).at[labels, predictions].add(1)
    ### END SOLUTION

# %% [markdown] hints="confusion"
# <details><summary>Hint 1: the idea</summary>
#
# Start from a table of zeros. Every example adds 1 at one place, and places repeat.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# Two index arrays of the same length, separated by a comma, name one place for each pair: `table.at[rows, cols]`.
# `jnp.zeros(shape, dtype)`.
# </details>

# %% check="confusion" points=3
def one_example_at_a_time(labels, predictions, classes):
    counts = np.zeros((classes, classes), np.int32)
    for label, prediction in zip(labels, predictions):
        counts[int(label), int(prediction)] += 1
    return counts

def each_pair_once(labels, predictions, classes):
    return np.minimum(one_example_at_a_time(labels, predictions, classes), 1)

check_values(confusion, one_example_at_a_time, sweep(integers("30", 0, 4), integers("30", 0, 4), 4, count=2),
             mistakes={"a repeated pair is counted once": each_pair_once})
check_pure(confusion, np.int32([0, 1, 1]), np.int32([1, 1, 2]), 3, static_argnums=(2,))
check_primitives(confusion, np.int32([0, 1, 1]), np.int32([1, 1, 2]), 3, static_argnums=(2,),
                 same_size_for=[(np.zeros(9, np.int32), np.zeros(9, np.int32), 3)])
### BEGIN HIDDEN TESTS
def in_one_byte(labels, predictions, classes):
    place = (labels.astype(int) * classes + predictions.astype(int)) % 256
    return np.bincount(place, minlength=classes**2).reshape(classes, classes)

bytes_7 = np.random.default_rng(7).integers(0, 20, (2, 500), dtype=np.uint8)
check_values(confusion, one_example_at_a_time,
             [(bytes_7[0], bytes_7[1], 20), (np.int32([]), np.int32([]), 2), (np.int32([0, 0]), np.int32([0, 0]), 1)],
             mistakes={"a byte overflowed": in_one_byte})
### END HIDDEN TESTS

# %% [markdown]
# ## 1.10 Off the end, again
#
# Reads off the end are clamped. And writes?
#
# **Prediction** · 1 minute · difficulty 3 of 5
#
# What is `jnp.zeros(5).at[10].set(1.0).sum()`?

# %% exercise="written" kind="prediction"
# a number, or a string such as "IndexError"
### BEGIN SOLUTION
written = 0.0
### END SOLUTION

# %% check="written" points=1
check_answer(written, lambda: float(jnp.zeros(5).at[10].set(1.0).sum()),
             because="a write off the end is dropped; clamping it would damage a neighbour",
             mistakes={1.0: "that would be a clamped write, at the last place: reads are clamped, writes are dropped",
                       "IndexError": "JAX gives every index a meaning and raises nothing"})

# %%
index, places = jnp.arange(-8, 9), jnp.arange(5)
reads = (places[index][:, None] == places).T
writes = jnp.zeros((17, 5)).at[jnp.arange(17), index].set(1.0).T
figure, axes = plt.subplots(2, 1, sharex=True, figsize=(7, 4))
for ax, picture, title in zip(axes, (reads, writes), ("x[i] reads from", "x.at[i].set writes to")):
    ax.imshow(picture, cmap="Blues", extent=(-8.5, 8.5, 4.5, -0.5))
    ax.set(title=title, ylabel="place in x")
axes[1].set_xlabel("index i into an array of 5")
plt.show()

# %% [markdown]
# *For i from -8 to 8, the place in an array of five that is touched. Both panels show two diagonals: 0 to 4 for i from
# 0 to 4, and again for i from -5 to -1, counted from the end. Outside, the upper panel goes on flat at place 0 on the
# left and place 4 on the right (clamped); the lower one is empty (dropped).*
#
# `mode` changes it, and says to the reader that you thought of it:
#
# | | off the end | default of |
# |---|---|---|
# | `x.at[i].get(mode="clip")` | nearest element | `x[i]` |
# | `x.at[i].get(mode="fill", fill_value=0)` | the fill value; for floats NaN unless given | `jnp.take(x, i)` |
# | `x.at[i].set(v, mode="drop")` | nothing is written | `x.at[i].set(v)` |
# | `x.at[i].set(v, mode="clip")` | the nearest element is overwritten | |
#
# One thing `mode` leaves alone: -1 to -n still count from the end, in reads and in writes. If a negative index means
# "none" in your data, say so: move it out of range first, or pass `wrap_negative_indices=False`.
#
# ## 1.11 Bug hunt: the word that was everybody
#
# A vocabulary of three words, and a text with words that are not in it: 7, and -1 for "unknown".

# %%
def embed_broken(table, ids):
    return table[ids]

table = jnp.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
embed_broken(table, jnp.array([0, 7, -1]))

# %% [markdown]
# Every stranger gets the last word's vector. Nothing complains, now or in training.
#
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# `embed(table, ids)` looks up one row for each id. An id that is no row of the table, too large or negative, gets a
# vector of zeros.

# %% exercise="embed"
def embed(table: Float[Array, "vocabulary features"], ids: Int[Array, "tokens"]) -> Float[Array, "tokens features"]:
    """Row `ids[i]` of `table` for each token; zeros where there is no such row."""
    ### BEGIN SOLUTION
    known = (ids >= 0) & (ids < table.shape[0])
    return jnp.where(known[:, None], table[ids], 0)
    ### END SOLUTION

# %% [markdown] hints="embed"
# <details><summary>Hint 1: the idea</summary>
#
# Which ids are known? Compute that first, as an array of booleans, and use it after the lookup.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `(0 <= ids) & (ids < n)`: `&`, with brackets, since `and` asks for a single truth value. `known[:, None]` has a shape
# that broadcasts against rows.
# </details>

# %% check="embed" points=2
def row_by_row(table, ids):
    return np.array([table[int(i)] if 0 <= i < len(table) else 0 * table[0] for i in ids]).reshape(-1, table.shape[1])

def clamped(table, ids):
    return table[np.clip(ids, 0, len(table) - 1).astype(int)]

def from_the_end(table, ids):
    return row_by_row(table, np.where(ids < 0, ids + len(table), ids))

check_shape(embed, np.ones((3, 2)), np.int32([0, 1, 2, 0]), returns="tokens features", tokens=4, features=2)
check_pure(embed, np.ones((3, 2)), np.int32([0, 1, 2, 7]))
check_values(embed, row_by_row, sweep("5 features", integers("12", 0, 9), count=2),
             mistakes={"an unknown id gets the last row": clamped})
### BEGIN HIDDEN TESTS
check_values(embed, row_by_row,
             sweep("5 features", integers("20", -7, 9), count=2, seed=7) + [(np.ones((1, 1)), np.int32([1, 0, -1]))],
             mistakes={"a negative id counts from the end": from_the_end})
### END HIDDEN TESTS

# %% [markdown]
# ## 1.12 What the camera sees
#
# A depth camera's picture holds, at each pixel, the distance of the nearest thing there. Given a cloud of points, many
# fall on one pixel, many on none, and some outside the picture: this is a scatter with `min`.
#
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# `z_buffer(rows, cols, depth, height, width)` is that picture. A pixel that no point hits is `inf`. Points outside the
# picture, on any of its four sides, leave no trace.

# %% exercise="z_buffer"
def z_buffer(rows: Int[Array, "points"], cols: Int[Array, "points"], depth: Float[Array, "points"],
             height: int, width: int) -> Float[Array, "height width"]:
    """Smallest depth at each pixel, `inf` where there is no point."""
    ### BEGIN SOLUTION
    rows = jnp.where(rows < 0, height, rows)
    cols = jnp.where(cols < 0, width, cols)
    return jnp.full((height, width), jnp.inf).at[rows, cols].min(depth, mode="drop")
    ### END SOLUTION

# %% [markdown] hints="z_buffer"
# <details><summary>Hint 1: the idea</summary>
#
# What must an empty pixel hold so that the first point always wins there?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jnp.full(shape, value)`, `.at[rows, cols].min(values)`.
# </details>
# <details><summary>Hint 3: the fourth side</summary>
#
# Row -1 is the last row, unless you first move it to a place that is surely outside, such as `height`.
# </details>

# %% check="z_buffer" points=3
def point_by_point(rows, cols, depth, height, width):
    picture = np.full((height, width), np.inf)
    for row, col, d in zip(rows.astype(int), cols.astype(int), depth):
        if 0 <= row < height and 0 <= col < width:
            picture[row, col] = min(picture[row, col], d)
    return picture

def last_one_wins(rows, cols, depth, height, width):
    picture = np.full((height, width), np.inf)
    for row, col, d in zip(rows.astype(int), cols.astype(int), depth):
        if row < height and col < width:
            picture[row, col] = d
    return picture

def on_the_edge(rows, cols, depth, height, width):
    return point_by_point(rows.clip(0, height - 1), cols.clip(0, width - 1), depth, height, width)

def other_side(rows, cols, depth, height, width):
    return point_by_point(np.where(rows < 0, rows + height, rows), np.where(cols < 0, cols + width, cols),
                          depth, height, width)

check_values(z_buffer, point_by_point,
             sweep(integers("40", 0, 6), integers("40", 0, 8), uniform("40", 1.0, 9.0), 4, 5),
             mistakes={"a later point hides a nearer one": last_one_wins,
                       "points outside are moved to the edge": on_the_edge})
check_pure(z_buffer, np.int32([0, 1, 5]), np.int32([1, 1, 2]), np.ones(3), 3, 4, static_argnums=(3, 4))
### BEGIN HIDDEN TESTS
check_values(z_buffer, point_by_point,
             sweep(integers("60", -4, 6), integers("60", -4, 8), uniform("60", -9.0, 9.0), 3, 4, seed=7)
             + [(np.int32([]), np.int32([]), np.float32([]), 2, 3),
                (np.int32([0, 0, 1]), np.int32([0, 0, 0]), np.float32([2.0, 2.0, 1.0]), 1, 1)],
             mistakes={"comes back in at the other side": other_side})
### END HIDDEN TESTS

# %% [markdown]
# ## 1.13 Broadcasting, friend and enemy
#
# A perfect model: its predictions are the targets, but with a last axis of size 1, as networks return them.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# Let `y = jnp.arange(4.0)` and `y_hat = y[:, None]`. What is the shape of `y_hat - y`?

# %% exercise="difference_shape" kind="prediction"
# a tuple of integers
### BEGIN SOLUTION
difference_shape = (4, 4)
### END SOLUTION

# %% check="difference_shape" points=1
check_answer(difference_shape, lambda: (jnp.arange(4.0)[:, None] - jnp.arange(4.0)).shape,
             because="(4, 1) and (4,) broadcast to (4, 4): every prediction meets every target",
             mistakes={(4,): "the axis of size 1 is stretched, not dropped",
                       (4, 1): "(4,) counts as (1, 4), not as (4, 1)"})

# %%
y = jnp.arange(4.0)
y_hat = y[:, None]
print("loss of a perfect model:", jnp.mean((y_hat - y) ** 2))

# %% [markdown]
# That is 2.5, where 0 was due, and it even goes down in training, for the wrong reason: the best that this loss can do
# is to predict the mean for everyone. Two habits protect you: write shapes into signatures, and look at the shape
# of a difference before you square it.
#
# The same mechanism, on purpose, computes all pairs without a loop:

# %%
x, y = jnp.array([0.0, 1.0, 4.0]), jnp.linspace(0.0, 5.0, 6)
pictures = {"x[:, None]": x[:, None], "y[None, :]": y[None, :], "abs(x[:, None] - y[None, :])": jnp.abs(x[:, None] - y)}
figure, axes = plt.subplots(1, 3, figsize=(9, 2.5), width_ratios=(1, 4, 4))
for ax, (title, values) in zip(axes, pictures.items()):
    ax.imshow(values, vmin=0, vmax=5)
    ax.set_title(f"{title}\n{values.shape}", fontsize=9)
    ax.set(xticks=range(values.shape[1]), yticks=range(values.shape[0]))
plt.show()

# %% [markdown]
# *A column of 3 and a row of 6 make a table of 3 by 6: the column is repeated to the right, the row downwards, and
# each cell holds the distance of its row's point to its column's.*
#
# ## 1.14 All the distances
#
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `distances(x, y)` holds the Euclidean distance from every point of `x` to every point of `y`. No Python loop. It has
# to be right for points far from the origin too, and that rules out a famous formula.

# %% exercise="distances"
def distances(x: Float[Array, "n features"], y: Float[Array, "m features"]) -> Float[Array, "n m"]:
    """Euclidean distance from `x[i]` to `y[j]` at place `i, j`."""
    ### BEGIN SOLUTION
    difference = x[:, None, :] - y[None, :, :]
    return jnp.sqrt(jnp.sum(difference**2, axis=-1))
    ### END SOLUTION

# %% [markdown] hints="distances"
# <details><summary>Hint 1: the idea</summary>
#
# Make an intermediate of shape `(n, m, features)` that holds all the differences.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `x[:, None, :]` has shape `(n, 1, features)`. Which axis is summed away?
# </details>

# %% check="distances" points=3
def pair_by_pair(x, y):
    return np.array([[math.dist(p, q) for q in y] for p in x]).reshape(len(x), len(y))

check_shape(distances, np.ones((4, 2)), np.ones((3, 2)), returns="n m", n=4, m=3)
check_values(distances, pair_by_pair, sweep("n features", "m features", count=2),
             mistakes={"this is the city-block distance": lambda x, y: np.abs(x[:, None] - y[None]).sum(-1)})
check_pure(distances, np.ones((4, 2)), np.zeros((3, 2)))
check_primitives(distances, np.ones((4, 2)), np.ones((3, 2)), same_size_for=[(np.ones((9, 2)), np.ones((8, 2)))])
### BEGIN HIDDEN TESTS
far = np.random.default_rng(7).normal(size=(6, 3)).astype(np.float32) + np.float32(200)
check_values(distances, pair_by_pair,
             [(far[:4], far[4:]), (np.ones((1, 1)), np.zeros((1, 1))), (np.zeros((2, 3)), np.eye(3)),
              (np.zeros((0, 3)), np.eye(3))])
### END HIDDEN TESTS

# %% [markdown]
# The famous formula is `|x|² + |y|² - 2 x·y`: one matrix product, no three-dimensional intermediate, and on large
# inputs much faster. Here it is with points near 1000:

# %%
x = jnp.array([[1000.0, 1000.3], [1000.4, 999.9], [999.2, 1000.1]])
square = jnp.sum(x**2, axis=1)
print(jnp.sqrt(square[:, None] + square[None, :] - 2 * x @ x.T))
print(jnp.sqrt(jnp.sum((x[:, None] - x[None]) ** 2, axis=-1)))

# %% [markdown]
# The squares are about two million and their sums four, where neighbouring float32 numbers lie 1/8 and 1/4 apart: a
# squared distance of 0.3 drowns in rounding, and one of 0 may come out negative, with a square root of NaN. Centre the
# points first (subtract a common mean), and the formula may be used again.
#
# ## 1.15 einsum: name the axes
#
# `jnp.einsum("ij,jk->ik", a, b)` is the matrix product. The rule is short: give every axis a letter; a letter that
# occurs in two inputs is multiplied along; a letter that is missing after the arrow is summed away.

# %%
a, b = jnp.arange(6.0).reshape(2, 3), jnp.ones((3, 4))
print(jnp.einsum("ij,jk->ik", a, b).shape, "product")
print(jnp.einsum("ij->ji", a).shape, "transpose")
print(jnp.einsum("ij,ij->i", a, a), "squared length of each row")

# %% [markdown]
# It becomes `dot_general`, the primitive for which the hardware has its matrix units; multiplying by broadcasting and
# summing afterwards does not.
#
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `attention_scores(q, k)`: for each example and each head, the dot product of every query with every key, divided by
# the square root of `dim`. Keep the dtype of the inputs.

# %% exercise="attention_scores"
def attention_scores(q: Float[Array, "batch query heads dim"],
                     k: Float[Array, "batch key heads dim"]) -> Float[Array, "batch heads query key"]:
    """`q·k / sqrt(dim)` for each head."""
    ### BEGIN SOLUTION
    return jnp.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
    ### END SOLUTION

# %% [markdown] hints="attention_scores"
# <details><summary>Hint 1: the idea</summary>
#
# Translate the three shapes in the signature into letters. One letter does not come back after the arrow.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `q.shape[-1]` is a Python integer, also under `jit`. Which square root keeps bfloat16?
# </details>

# %% check="attention_scores" points=3
def head_by_head(q, k):
    scores = np.zeros((q.shape[0], q.shape[2], q.shape[1], k.shape[1]))
    for example in range(q.shape[0]):
        for head in range(q.shape[2]):
            scores[example, head] = q[example, :, head] @ k[example, :, head].T
    return scores / math.sqrt(q.shape[3])

def all_heads_of_k(q, k):
    return head_by_head(q, np.repeat(k.sum(2, keepdims=True), q.shape[2], axis=2))

q_16, k_16 = jnp.ones((2, 3, 4, 8), jnp.bfloat16), jnp.ones((2, 5, 4, 8), jnp.bfloat16)
check_shape(attention_scores, q_16, k_16, returns="batch heads query key", batch=2, heads=4, query=3, key=5)
check_dtype(attention_scores, q_16, k_16, returns="bfloat16")
check_values(attention_scores, head_by_head, sweep("batch query heads 16", "batch key heads 16", count=2),
             rtol=1e-2, atol=1e-2,
             mistakes={"every query head meets all key heads": all_heads_of_k})
check_pure(attention_scores, q_16, k_16)
check_primitives(attention_scores, q_16, k_16, requires=("dot_general",))
### BEGIN HIDDEN TESTS
check_values(attention_scores, head_by_head,
             sweep("1 query 3 5", "1 key 3 5", count=1, seed=7) + sweep("2 1 1 7", "2 4 1 7", count=1, seed=8),
             rtol=1e-2, atol=1e-2)
### END HIDDEN TESTS

# %% [markdown]
# ## 1.16 Logarithms of sums
#
# The largest number that float32 can hold is about 3.4e38, and `exp(89)` is beyond it. Logits of 1000 are unusual,
# log-likelihoods of -1000 are not:

# %%
logits = jnp.array([1000.0, 1001.0, 1002.0])
jnp.log(jnp.sum(jnp.exp(logits))), jnp.log(jnp.sum(jnp.exp(-logits)))

# %% [markdown]
# The answers, near 1002.4 and -999.6, are harmless; only the way there overflows or underflows. Subtract any `m` from
# every `x` and add it back outside the logarithm: the sum is the same, and with `m` the maximum the largest term is
# `exp(0)`.
#
# $$\log \sum_i e^{x_i} = m + \log \sum_i e^{x_i - m}$$
#
# **Exercise** · 8 minutes · difficulty 4 of 5
#
# `log_mean_exp(x)` is the logarithm of the **mean** of `exp(x)` over each row (estimates of a likelihood from samples
# need this). Each row gets the shift that suits it. A row that is `-inf` throughout, a mean of zeros, gives `-inf`.

# %% exercise="log_mean_exp"
def log_mean_exp(x: Float[Array, "batch samples"]) -> Float[Array, "batch"]:
    """`log(mean(exp(x)))` along the last axis, for any finite `x`, and `-inf` for a row of `-inf`."""
    ### BEGIN SOLUTION
    m = jnp.max(x, axis=-1, keepdims=True)
    m = jnp.where(jnp.isfinite(m), m, 0)
    return jnp.log(jnp.mean(jnp.exp(x - m), axis=-1)) + m[:, 0]
    ### END SOLUTION

# %% [markdown] hints="log_mean_exp"
# <details><summary>Hint 1: the idea</summary>
#
# The shift is free to choose: any number gives the same result on paper. The maximum is a good choice, unless it is
# infinite: what is `-inf - (-inf)`?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jnp.max(x, axis=-1, keepdims=True)` broadcasts against `x`; `jnp.isfinite` and `jnp.where` choose another shift where
# needed. Mind the axis that `keepdims` left.
# </details>
# <details><summary>Hint 3: the library</summary>
#
# `jax.nn.logsumexp` exists, and careful people wrote it. What separates the logarithm of a sum from that of a mean?
# </details>

# %% check="log_mean_exp" points=3
def by_logaddexp(x):
    return np.array([np.logaddexp.reduce(row) - math.log(len(row)) for row in x.astype(np.float64)])

def shifted_only(x):
    return by_logaddexp(x) - x.max(-1)

check_shape(log_mean_exp, np.ones((4, 3)), returns="batch", batch=4)
check_values(log_mean_exp, by_logaddexp, sweep("4 8", count=2),
             mistakes={"the shift is not added back": shifted_only})
check_values(log_mean_exp, by_logaddexp,
             [(np.array([[1000.0, 1001.0, 1002.0]]),), (np.array([[-999.0, -1000.0, -1e4]]),)])
check_pure(log_mean_exp, np.ones((4, 3)))
### BEGIN HIDDEN TESTS
def one_shift(x):
    return np.log(np.mean(np.exp(np.float32(x - x.max())), axis=-1)) + x.max()

check_values(log_mean_exp, by_logaddexp,
             [(np.array([[900.0, 901.0], [-900.0, -901.0], [0.0, 0.0]]),), (np.array([[5.0], [-700.0]]),)],
             mistakes={"one shift serves all rows": one_shift})
check_values(log_mean_exp, by_logaddexp,
             [(np.array([[-np.inf, -np.inf], [1.0, 2.0], [-np.inf, -500.0]]),)])
### END HIDDEN TESTS

# %% [markdown]
# ## 1.17 Masks instead of changing shapes
#
# `x[x > 0]` is everyday NumPy, and here it works too, until the function is compiled:

# %% tags=["raises-exception"]
positive = jax.jit(lambda x: x[x > 0])
positive(jnp.array([-1.0, 2.0, 3.0]))

# %% [markdown]
# A compiled program has fixed shapes, and how many elements are positive depends on their values. So in JAX the shape
# stays and a mask travels along: `jnp.where(mask, x, 0)`, `jnp.sum(x, where=mask)`, or, for positions,
# `jnp.nonzero(mask, size=4, fill_value=-1)`.
#
# Choose with `where`; do not multiply by the mask. Padding holds whatever was there before, and zero times NaN is NaN.
# Or is it?

# %%
x, mask = jnp.array([1.0, jnp.nan]), jnp.array([True, False])
print(x * mask, x * mask.astype(jnp.float32))

# %% [markdown]
# On the CPU where this was written, `[1. 0.]` and `[1. nan]`. In the first product the compiler sees a boolean become a
# float and makes a choice of the multiplication; in the second the conversion was a program of its own, and the
# arithmetic is what the standard says. Do not live by what an optimiser happens to see: write the `where`.
#
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# Sentences of different lengths are padded to a common `time`. `masked_mean(x, lengths)` is the mean of the first
# `lengths[i]` entries of row `i`, and 0 for an empty row. What stands in the padding has no influence, NaN included.

# %% exercise="masked_mean"
def masked_mean(x: Float[Array, "batch time"], lengths: Int[Array, "batch"]) -> Float[Array, "batch"]:
    """Mean of `x[i, :lengths[i]]` for each row; 0 where `lengths[i]` is 0."""
    ### BEGIN SOLUTION
    valid = jnp.arange(x.shape[1]) < lengths[:, None]
    total = jnp.sum(jnp.where(valid, x, 0), axis=1)
    return total / jnp.maximum(lengths, 1)
    ### END SOLUTION

# %% [markdown] hints="masked_mean"
# <details><summary>Hint 1: the idea</summary>
#
# `x[i, :lengths[i]]` has a shape that depends on a value. An array of booleans of shape `(batch, time)` says the same.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jnp.arange(time)` against `lengths[:, None]`: a comparison broadcasts as a difference does. `jnp.maximum` keeps a
# divisor away from 0.
# </details>

# %% check="masked_mean" points=3
def sentence_by_sentence(x, lengths):
    return np.array([sum(row[:int(n)]) / int(n) if n else 0.0 for row, n in zip(x, lengths)])

def one_step_too_many(x, lengths):
    return np.array([sum(row[:int(n) + 1]) / int(n) for row, n in zip(x, lengths)])

def padded_length(x, lengths):
    return np.array([sum(row[:int(n)]) / len(row) for row, n in zip(x, lengths)])

check_values(masked_mean, sentence_by_sentence, sweep("batch 9", integers("batch", 1, 9), count=2),
             mistakes={"one step too many is summed": one_step_too_many,
                       "the sum is divided by the padded length": padded_length})
check_pure(masked_mean, np.ones((3, 4)), np.int32([1, 4, 2]))
### BEGIN HIDDEN TESTS
check_values(masked_mean, sentence_by_sentence,
             [(np.array([[1.0, np.nan], [3.0, 4.0]]), np.int32([1, 2])), (np.array([[7.0]]), np.int32([1]))])
check_values(masked_mean, sentence_by_sentence, [(np.ones((3, 4)), np.int32([0, 4, 2]))],
             mistakes={"an empty row divides 0 by 0":
                       lambda x, lengths: np.where(lengths > 0, sentence_by_sentence(x, lengths), np.nan)})
### END HIDDEN TESTS

# %% [markdown]
# ## 1.18 A clock that stops too early
#
# How long does a product of two matrices of 1,500 by 1,500 take?

# %%
a = jnp.ones((1500, 1500))
(a @ a).block_until_ready()
start = time.perf_counter()
product = a @ a
print(f"the line took {1000 * (time.perf_counter() - start):.2f} ms")
product.block_until_ready()
print(f"the result    {1000 * (time.perf_counter() - start):.2f} ms")

# %% [markdown]
# On the two cores where this was written: about 0.1 ms and 50 ms. The line returned a promise. JAX **dispatches** the
# work and hands you the array at once, so that Python can run ahead and keep an accelerator busy; printing it,
# converting it to NumPy or `block_until_ready()` waits. Every speed-up that was measured without waiting is fiction.
# The first call lies in the other direction: it includes compilation, which is why the cell above calls once before it
# looks at the clock.
#
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `seconds_per_call(f, x, clock)` is the time that one call `f(x)` takes, with all its work done and without the
# compilation. `f` may return any nested structure of arrays. Read the time by calling `clock()`; the check brings a
# clock of its own.

# %% exercise="seconds_per_call"
def seconds_per_call(f, x, clock=time.perf_counter) -> float:
    """Seconds that one call of `f(x)` takes, after a first call that does not count."""
    ### BEGIN SOLUTION
    jax.block_until_ready(f(x))
    start = clock()
    jax.block_until_ready(f(x))
    return clock() - start
    ### END SOLUTION

# %% [markdown] hints="seconds_per_call"
# <details><summary>Hint 1: the idea</summary>
#
# Two questions, at each reading of the clock: what is still running, and what has been compiled?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.block_until_ready(tree)` waits for every array in a tuple, list or dict, and returns it.
# </details>

# %% check="seconds_per_call" points=3
def on_a_fake_device(stopwatch, compiling, dispatch, work, several=False):
    """What `stopwatch` measures on a device whose every cost is known."""
    now, free, calls = [0.0], [0.0], []

    class Promise:
        def __init__(self, ready):
            self.ready = ready

        def block_until_ready(self):
            now[0] = max(now[0], self.ready)
            return self

    def f(x):
        now[0] += dispatch + (0.0 if calls else compiling)
        calls.append(x)
        early = max(now[0], free[0]) + work / 2
        free[0] = early + work / 2
        return {"loss": Promise(early), "grads": (Promise(early), Promise(free[0]))} if several else Promise(free[0])

    return jnp.float32(stopwatch(f, None, lambda: now[0]))

def honest(compiling, dispatch, work, several=False):
    return dispatch + work

check_values(through(on_a_fake_device, seconds_per_call), honest, [(100.0, 1.0, 6.0), (30.0, 0.25, 2.0)],
             mistakes={"only the dispatch is timed": lambda compiling, dispatch, work: dispatch,
                       "the compilation is timed too": lambda compiling, dispatch, work: compiling + dispatch + work,
                       "the first call is still running": lambda compiling, dispatch, work: 2 * work})
### BEGIN HIDDEN TESTS
check_values(through(on_a_fake_device, seconds_per_call), honest, [(50.0, 0.5, 8.0, True), (9.0, 2.0, 1.0, False)])
### END HIDDEN TESTS

# %% [markdown]
# One last thing about where arrays live. Everything above ran on the device that `x.device` names, and an operation
# runs where its inputs are. `jax.device_put(x, device)` moves an array; with one device it has nowhere to go, and
# lesson 07 brings eight.

# %%
print(jax.default_backend(), jax.devices())
print(jax.device_put(np.ones(3), jax.devices()[0]).device)

# %% [markdown]
# ## 1.19 To remember
#
# 1. An index always has an answer: reads are clamped, writes are dropped, negative ones count from the end. Say `mode`.
# 2. The default is float32. Python numbers are weak, everything that states a dtype is strong, `np.float64` too.
# 3. Arrays never change: `x = x.at[i].add(v)`, and repeated indices all count.
# 4. Shapes are fixed: carry a mask and choose with `where`, never multiply by it.
# 5. A line that returns has not finished: warm up, then `jax.block_until_ready`, then read the clock.
#
# **Further reading**: *JAX: The Sharp Bits*, *Type promotion semantics* and *Asynchronous dispatch* in the JAX
# documentation, and there the page of `jax.numpy.ndarray.at`; David Goldberg, *What Every Computer Scientist Should
# Know About Floating-Point Arithmetic* (1991); Pierre Blanchard, Desmond Higham and Nicholas Higham, *Accurately
# computing the log-sum-exp and softmax functions* (2021).
#
# **Next**: the loss of the perfect model was a number computed from arrays. Lesson 02 asks JAX how that number changes
# when the arrays do, and gets a function back: the gradient. Because arrays never change, there is nothing that it
# could break.
