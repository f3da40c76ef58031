# %% [markdown]
# # 1 · Arrays
#
# At the end of this lesson you can write array code that stays right where NumPy habits go wrong without a word:
# off the end of an array, past the largest integer that float32 can hold, in half precision, on padded batches, and
# on a clock that stops before the work is done. You know most of `jax.numpy` already, because it was made to look
# like NumPy. What follows is the rest: the places where it looks the same and is not.
#
# The lesson takes about an hour and a half. Half-way, at the end of 1.12, is a good place for a break.

# %%
import math
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from graders import (check_answer, check_dtype, check_primitives, check_pure, check_shape,
                     check_values, integers, sweep, through, uniform)

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
             because="shapes are aligned at their last axis, and an axis of size 1 (or a missing "
                     "one) is stretched",
             mistakes={(5, 1, 3): "the 4 of the second array has to go somewhere: the axis of "
                                  "size 1 is stretched to it",
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
             because="a NumPy slice is a view: it shares its memory with the array that it was "
                     "cut from",
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
def numpy_promotes():
    return str((np.ones(3, dtype="int32") * np.ones(3, dtype="float32")).dtype)

check_answer(recall_promotion, numpy_promotes,
             because="float32 cannot hold every int32, so NumPy goes on to the next float that can",
             mistakes={"float32": "that is what JAX does; NumPy looks for a float that holds every "
                                  "int32"})

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
             mistakes={"IndexError": "that is what NumPy does: a compiled program on an "
                                     "accelerator cannot stop to raise an error",
                       0: "nothing is filled in: the index is moved to the nearest one that "
                          "exists"})

# %% tags=["demonstration"]
x = jnp.arange(5)
x[10], x[-7]

# %% [markdown]
# No error, and no rubbish either: the index was **clamped** to the nearest one that exists. A compiled program on a
# GPU or TPU has nobody to raise an exception to, so JAX gives every index a meaning instead. Section 1.10 returns
# to it. First, the more ordinary differences.

# %% tags=["demonstration"]
x = jnp.linspace(0.0, 1.0, 5)
print(type(x).__name__, x.dtype, x.device)
print(type(jnp.sin(x)).__name__, "from jnp.sin")
print(type(np.sin(x)).__name__, "from np.sin")

# %% [markdown]
# A function of `jnp` returns a `jax.Array`, which lives on a device. A function of `np` accepts that array, fetches it
# to the host, and answers with a NumPy array: right numbers, wrong place. It can also fail. `jax.jit` compiles a
# function, and for that it first **traces** it: it runs the Python code once, with stand-ins (tracers) for the arrays,
# and writes down what is done to them. A tracer holds no numbers that could be fetched, so `np.sin` of one raises
# `TracerArrayConversionError`. Rule: inside a function meant for JAX, `jnp` is for data; `np` and `math` are for
# constants, and section 1.6 will prefer `math` even there.
#
# `np.sum` takes a list as well as an array. `jnp.sum` does not: converting a list goes element by element, and JAX
# would rather that you see it.

# %% tags=["demonstration"]
try:
    jnp.sum([1.0, 2.0, 3.0])
except TypeError as error:
    print("TypeError:", error)

# %% [markdown]
# ## 1.3 Rows of length one
#
# **Exercise** · 5 minutes · difficulty 1 of 5
#
# `unit_rows(x)` divides every row of `x` by its Euclidean length. A row of zeros stays a row of zeros; every other
# row comes out with length 1, a short one too. (A limit is set by float32: below about 1e-19 the squares become 0.
# Rows as short as that are not asked for.)

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

def columns_scaled(x):
    return x / np.sqrt((x**2).sum(0))

def absolute_values_summed(x):
    return x / abs(x).sum(1, keepdims=True)

check_shape(unit_rows, np.ones((4, 3)), returns="rows features", rows=4, features=3)
check_values(unit_rows, one_row_at_a_time, sweep("rows features", count=2), about="ordinary rows",
             mistakes={"columns are scaled instead of rows": columns_scaled,
                       "rows are divided by the sum of their absolute values, which is not the "
                       "Euclidean length": absolute_values_summed})
check_values(unit_rows, one_row_at_a_time, [(np.array([[3.0, -4.0], [0.0, 0.0]]),)],
             about="a row of zeros")
check_values(unit_rows, one_row_at_a_time, sweep("rows features", count=2, scale=1e-4),
             about="short rows",
             mistakes={"a small number is added to every length, and short rows notice":
                       lambda x: x / (np.sqrt((x**2).sum(1, keepdims=True)) + 1e-6)})
check_pure(unit_rows, np.ones((4, 3)))
### BEGIN HIDDEN TESTS
check_values(unit_rows, one_row_at_a_time,
             [(np.array([[3e-8, 4e-8], [0.0, 0.0]]),), (np.zeros((3, 3)),), (np.array([[-0.5]]),),
              (np.array([[1.0, -1.0], [-2.0, -1.0], [3e-17, 4e-17]]),)]
             + sweep("rows features", count=2, seed=7, planted=True),
             mistakes={"lengths below a bound are replaced by the bound":
                       lambda x: x / np.maximum(np.sqrt((x**2).sum(1, keepdims=True)), 1e-6),
                       "a row whose sum is 0 is taken for a row of zeros":
                       lambda x: np.where(x.sum(1, keepdims=True) == 0, x, one_row_at_a_time(x))})
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
             because="a float32 has 24 significant bits: from 2**24 on it holds only every second "
                     "integer",
             mistakes={16_777_217: "that number has 25 significant bits, a float32 has 24",
                       16_777_218: "16,777,217 lies half-way between two float32 numbers, and ties "
                                   "go to the one whose last bit is 0"})

# %% tags=["demonstration"]
x = jnp.float32(16_777_216)
print([int(x + step) for step in (1, 2, 3)])

# %% [markdown]
# Adding 1 changes nothing, and adding 3 adds 4. Floats are like a ruler whose marks lie further apart the further you
# go. The picture asks JAX for the distance from each number to the next one.

# %% tags=["demonstration"]
size = jnp.logspace(-2, 9, 500)
for dtype in (jnp.float32, jnp.bfloat16):
    gap = jnp.spacing(size.astype(dtype)).astype(jnp.float32)
    plt.loglog(size, gap, label=jnp.dtype(dtype).name)
plt.axhline(1, color="grey", linestyle=":")
plt.xlabel("number"), plt.ylabel("distance to the next one"), plt.legend()
plt.show()

# %% [markdown]
# *Two staircases that rise with the size of the number. The one of bfloat16 climbs above the dotted line (a gap of 1)
# at 256, the one of float32 at 16.8 million: from there on, the next number is no longer the next integer.*
#
# NumPy's default is float64, JAX's is float32, and a float64 array that you hand over is rounded **without a word**.
# A warning comes only where you ask for 64 bits by name, as in `jnp.zeros(3, "float64")` or `x.astype("int64")`. An
# accelerator is built for 32 bits and fewer; where you need 64, switch them on:

# %% tags=["demonstration"]
seconds_since_1970 = np.array([1_763_000_000.0])
x = jnp.asarray(seconds_since_1970)
print(x.dtype, jnp.spacing(x), "seconds apart")
with jax.enable_x64(True):
    x = jnp.asarray(seconds_since_1970)
    print(x.dtype, jnp.spacing(x), "seconds apart")

# %% [markdown]
# Two neighbouring dates in float32 are more than two minutes apart. Integers are int32 and wrap around in silence, as
# NumPy's arrays do; the small ones wrap soon:

# %% tags=["demonstration"]
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
def frame_difference(a: UInt8[Array, "height width"],
                     b: UInt8[Array, "height width"]) -> Float[Array, ""]:
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

def difference_in_int8(a, b):
    return np.abs(a.astype(np.int8) - b.astype(np.int8)).mean()

dark_frames = np.random.default_rng(0).integers(0, 100, (4, 5, 6), dtype=np.uint8)
bright_frame = np.random.default_rng(1).integers(200, 256, (5, 6), dtype=np.uint8)
check_shape(frame_difference, dark_frames[0], dark_frames[1], returns="")
check_values(frame_difference, pixel_by_pixel,
             [(dark_frames[0], dark_frames[1]), (dark_frames[2, :3], dark_frames[3, :3])],
             about="bytes close together",
             mistakes={"a difference below 0 wrapped around, since bytes have no negative numbers":
                       wrapped_around})
check_values(frame_difference, pixel_by_pixel,
             [(dark_frames[0], bright_frame), (bright_frame, dark_frames[1])],
             about="bytes far apart",
             mistakes={"int8 ends at 127, and bytes and their differences go on to 255":
                       difference_in_int8})
check_pure(frame_difference, dark_frames[0], dark_frames[1])
### BEGIN HIDDEN TESTS
def total_in_int16(a, b):
    total = np.abs(a.astype(int) - b.astype(int)).sum()
    return ((total + 2**15) % 2**16 - 2**15) / a.size

all_bytes = np.random.default_rng(7).integers(0, 256, (2, 30, 40), dtype=np.uint8)
check_values(frame_difference, pixel_by_pixel,
             [(all_bytes[0], all_bytes[1]), (np.uint8([[0]]), np.uint8([[255]])),
              (all_bytes[0, :3], all_bytes[0, :3])],
             mistakes={"the total of a large picture overflows 16 bits": total_in_int16})
### END HIDDEN TESTS

# %% [markdown]
# ## 1.6 Weak types
#
# bfloat16 is a float32 with the last 16 bits cut off: the same range, half the memory, and faster on the hardware made
# for it. Keeping an array in it takes some care. That hardware goes further: by default a TPU rounds float32 operands to
# bfloat16 before it multiplies matrices, and `x @ w` comes out with two or three right digits. To have them all, write
# `jnp.matmul(x, w, precision="highest")`, or `with jax.default_matmul_precision("highest"):` around many products. The
# checks judge your functions under that setting.
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
             because="np.sqrt returns a np.float64, which states its dtype: JAX reads it as "
                     "float32 and promotes",
             mistakes={"bfloat16": "that holds for the Python number 0.5, which states no dtype; "
                                   "np.sqrt returns a np.float64, which states one",
                       "float64": "JAX has no float64 unless it is enabled: np.float64 counts as "
                                  "float32"})

# %% tags=["demonstration"]
x = jnp.ones(3, jnp.bfloat16)
factors = {"0.5": 0.5, "np.sqrt(0.25)": np.sqrt(0.25), "math.sqrt(0.25)": math.sqrt(0.25)}
for name, factor in factors.items():
    print(f"x * {name:16} {(x * factor).dtype}")
print("weak:", jnp.asarray(0.5).weak_type, jnp.float32(0.5).weak_type)
for a, b in [("int32", "bfloat16"), ("float16", "bfloat16"), ("int8", "uint8")]:
    print(f"{a} with {b}: {jnp.promote_types(a, b)}")

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

# %% tags=["demonstration"]
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
    z = [math.sqrt(2 / math.pi) * (v + 0.044715 * v**3) for v in x]
    return np.array([v / 2 * (1 + math.tanh(t)) for v, t in zip(x, z)])

def gelu_by_erf(x):
    return np.array([v / 2 * math.erfc(-v / math.sqrt(2)) for v in x])

def gelu_by_sigmoid(x):
    return x / (1 + np.exp(-1.702 * x))

check_dtype(gelu, jnp.ones(4, jnp.bfloat16), returns="bfloat16", about="bfloat16")
check_dtype(gelu, jnp.ones(4, jnp.float32), returns="float32", about="float32")
check_values(gelu, gelu_in_float64,
             sweep("features", count=2) + [(np.array([-4.0, -3.0, -2.5]),)],
             mistakes={"this is the exact form (erf); the tanh form is asked for": gelu_by_erf,
                       "this is the form with the sigmoid; the tanh form is asked for":
                       gelu_by_sigmoid})
check_pure(gelu, jnp.ones(4, jnp.bfloat16))
### BEGIN HIDDEN TESTS
check_dtype(gelu, jnp.ones(4, jnp.float16), returns="float16")
check_values(gelu, gelu_in_float64,
             sweep("features", count=2, seed=7, scale=20.0, planted=True)
             + [(np.array([101.0, -101.0, 4000.0]),)])
### END HIDDEN TESTS

# %% [markdown]
# ## 1.8 Arrays that never change
#
# Try to write into one:

# %% tags=["demonstration"]
x = jnp.zeros(3)
try:
    x[0] = 9.0
except TypeError as error:
    print("TypeError:", error)

# %% [markdown]
# The message names the way out. `x.at[0].set(9.0)` returns a **new** array; so do `.add`, `.multiply`, `.min`, `.max`.
# Nothing that holds `x` can ever see it change, which is what lets JAX differentiate, reorder and parallelise your
# code. Outside `jit` each update costs a copy; inside, the compiler usually writes in place, once it sees that nobody
# reads the old array again.
#
# Hence the commonest silent bug of the first week:

# %% tags=["demonstration"]
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
             mistakes={1.0: "that is NumPy's +=, which reads, adds, writes back; .at[].add adds "
                            "once for every index"})

# %% tags=["demonstration"]
counts, places = np.zeros(3), np.array([1, 1, 1])
counts[places] += 1
print("NumPy's += ", counts)
print(".at[].add  ", jnp.zeros(3).at[places].add(1.0))

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

def places_in_one_byte(labels, predictions, classes):
    place = (labels.astype(int) * classes + predictions.astype(int)) % 256
    return np.bincount(place, minlength=classes**2).reshape(classes, classes)

labels_in_bytes = np.random.default_rng(3).integers(0, 20, (2, 60), dtype=np.uint8)
check_values(confusion, one_example_at_a_time,
             sweep(integers("30", 0, 4), integers("30", 0, 4), 4, count=2), about="labels in int32",
             mistakes={"a pair that occurs several times is counted once": each_pair_once})
check_values(confusion, one_example_at_a_time, [(labels_in_bytes[0], labels_in_bytes[1], 20)],
             about="labels in uint8",
             mistakes={"arithmetic with labels overflowed: a byte ends at 255": places_in_one_byte})
check_dtype(confusion, labels_in_bytes[0], labels_in_bytes[1], 20, returns="int32")
check_pure(confusion, np.int32([0, 1, 1]), np.int32([1, 1, 2]), 3, static_argnums=(2,))
check_primitives(confusion, np.int32([0, 1, 1]), np.int32([1, 1, 2]), 3, static_argnums=(2,),
                 same_size_for=[(np.zeros(9, np.int32), np.zeros(9, np.int32), 3)])
### BEGIN HIDDEN TESTS
def counts_in_bfloat16(labels, predictions, classes):
    counts = one_example_at_a_time(labels, predictions, classes)
    return counts.astype(jnp.bfloat16).astype(int)

many_labels = np.random.default_rng(7).integers(0, 20, (2, 500), dtype=np.uint8)
check_values(confusion, one_example_at_a_time,
             [(np.zeros(301, np.int32), np.zeros(301, np.int32), 1),
              (np.int32([]), np.int32([]), 2), (many_labels[0], many_labels[1], 20),
              (many_labels[0], many_labels[1], 25), (np.int8([11, 0]), np.int8([11, 3]), 12),
              (np.int16([199, 3]), np.int16([198, 3]), 200)],
             mistakes={"bfloat16 counts to 256, and not to 257": counts_in_bfloat16})
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
             mistakes={1.0: "that would be a clamped write, at the last place: reads are clamped, "
                            "writes are dropped",
                       "IndexError": "JAX gives every index a meaning and raises nothing"})

# %% tags=["demonstration"]
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
# | `x.at[i].get(mode="fill", fill_value=0)` | the value that you give | |
# | `x.at[i].get(mode="fill")` | NaN for floats; for int32 the most negative number there is | `jnp.take(x, i)` |
# | `x.at[i].set(v, mode="drop")` | nothing is written | `x.at[i].set(v)` |
# | `x.at[i].set(v, mode="clip")` | the nearest element is overwritten | |
#
# One thing `mode` leaves alone: -1 to -n still count from the end, in reads and in writes. If a negative index means
# "none" in your data, say so: move it out of range first, or pass `wrap_negative_indices=False`.
#
# ## 1.11 Bug hunt: the word that was everybody
#
# A vocabulary of three words, and a text with words that are not in it: 7, and -1 for "unknown".

# %% tags=["demonstration"]
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
# vector of zeros. An entry of the table that is NaN stays NaN.

# %% exercise="embed"
def embed(table: Float[Array, "vocabulary features"],
          ids: Int[Array, "tokens"]) -> Float[Array, "tokens features"]:
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
def row_by_row(table, ids, unknown=0.0):
    rows = [table[int(i)] if 0 <= i < len(table) else np.full_like(table[0], unknown) for i in ids]
    return np.array(rows).reshape(-1, table.shape[1])

def rows_of_clamped_ids(table, ids):
    return table[np.clip(ids, 0, len(table) - 1).astype(int)]

def rows_from_the_end(table, ids):
    return row_by_row(table, np.where(ids < 0, ids + len(table), ids))

check_shape(embed, np.ones((3, 2)), np.int32([0, 1, 2, 0]),
            returns="tokens features", tokens=4, features=2)
check_pure(embed, np.ones((3, 2)), np.int32([0, 1, 2, 7]))
check_values(embed, row_by_row, sweep("5 features", integers("12", 0, 9), count=2),
             about="ids past the end",
             mistakes={"an id past the end gets the last row of the table": rows_of_clamped_ids,
                       "an id past the end gets NaN, which `jnp.take` and `mode=\"fill\"` fill in "
                       "unless you give another value":
                       lambda table, ids: row_by_row(table, ids, unknown=np.nan)})
check_values(embed, row_by_row, [(np.array([[1.0, 10.0], [2.0, 20.0]]), np.int32([0, 1, -1]))],
             about="negative ids",
             mistakes={"a negative id counts from the end of the table": rows_from_the_end})
### BEGIN HIDDEN TESTS
def only_minus_one_unknown(table, ids):
    return row_by_row(table, np.where(ids < -1, ids + len(table), ids))

check_values(embed, row_by_row,
             sweep("5 features", integers("20", -7, 9), count=2, seed=7, planted=True)
             + [(np.ones((1, 1)), np.int32([1, 0, -1])),
                (np.arange(16.0).reshape(8, 2), np.int32([7, 5, 8, 0])),
                (np.array([[1.0, np.nan], [3000.0, np.nan]]), np.int32([1, 0, 1]))],
             mistakes={"NaN in the table itself is replaced by a number":
                       lambda table, ids: np.nan_to_num(row_by_row(np.float32(table), ids)),
                       "-1 is taken for unknown, and other negative ids count from the end":
                       only_minus_one_unknown,
                       "every table is taken to have five rows":
                       lambda table, ids: row_by_row(table[:5], ids)})
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

def moved_to_the_edge(rows, cols, depth, height, width):
    rows, cols = rows.clip(0, height - 1), cols.clip(0, width - 1)
    return point_by_point(rows, cols, depth, height, width)

def in_at_the_other_side(rows, cols, depth, height, width):
    rows, cols = np.where(rows < 0, rows + height, rows), np.where(cols < 0, cols + width, cols)
    return point_by_point(rows, cols, depth, height, width)

def nothing_nearer_than_zero(rows, cols, depth, height, width):
    return np.zeros((height, width))

check_values(z_buffer, point_by_point,
             sweep(integers("40", 0, 6), integers("40", 0, 8), uniform("40", 1.0, 9.0), 4, 5),
             about="points inside, below and to the right of the picture",
             mistakes={"a later point hides a nearer one": last_one_wins,
                       "points outside are moved to the edge": moved_to_the_edge,
                       "the empty picture starts at 0, and no depth is smaller":
                       nothing_nearer_than_zero})
check_values(z_buffer, point_by_point,
             [(np.int32([-1, 1, 0]), np.int32([2, -2, 0]), np.float32([5.0, 6.0, 7.0]), 3, 4)],
             about="points above and to the left of it",
             mistakes={"a point with a negative row or column comes back in at the other side":
                       in_at_the_other_side})
check_pure(z_buffer, np.int32([0, 1, 5]), np.int32([1, 1, 2]), np.ones(3), 3, 4,
           static_argnums=(3, 4))
### BEGIN HIDDEN TESTS
def nothing_beyond_1000(rows, cols, depth, height, width):
    picture = point_by_point(rows, cols, depth, height, width)
    return np.where(picture >= 1000, np.inf, picture)

check_values(z_buffer, point_by_point,
             [(np.int32([0, 0, 1]), np.int32([0, 0, 0]), np.float32([4000.0, 5000.0, 1.0]), 1, 2),
              (np.int32([]), np.int32([]), np.float32([]), 2, 3)]
             + sweep(integers("60", -4, 6), integers("60", -4, 8), uniform("60", -9.0, 9.0), 3, 4,
                     seed=7),
             mistakes={"what lies at 1000 or beyond is taken for nothing": nothing_beyond_1000})
### END HIDDEN TESTS

# %% [markdown]
# That was the first half: a good place for a break.
#
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

# %% tags=["demonstration"]
y = jnp.arange(4.0)
y_hat = y[:, None]
print("shape of the difference:", (y_hat - y).shape)
print("loss of a perfect model:", jnp.mean((y_hat - y) ** 2))

# %% [markdown]
# That is 2.5, where 0 was due, and it even goes down in training, for the wrong reason: the best that this loss can do
# is to predict the mean for everyone. Two habits protect you: write shapes into signatures, and look at the shape
# of a difference before you square it.
#
# The same mechanism, on purpose, computes all pairs without a loop:

# %% tags=["demonstration"]
x, y = jnp.array([0.0, 1.0, 4.0]), jnp.linspace(0.0, 5.0, 6)
row, column = y[None, :], x[:, None]
pictures = {"y[None, :]": row, "x[:, None]": column,
            "abs(x[:, None] - y[None, :])": jnp.abs(column - row)}
figure, axes = plt.subplots(2, 2, figsize=(6, 4), width_ratios=(1, 6), height_ratios=(1, 3),
                            layout="constrained")
axes[0, 0].axis("off")
for ax, (title, values) in zip(axes.flat[1:], pictures.items()):
    ax.imshow(values, vmin=0, vmax=5, aspect="auto")
    ax.set_title(f"{title}\n{values.shape}", fontsize=9)
    ax.set(xticks=range(values.shape[1]), yticks=range(values.shape[0]))
plt.show()

# %% [markdown]
# *The column on the left, of 3, and the row on top, of 6, make a table of 3 by 6: the column is repeated to the right,
# the row downwards, and each cell holds the distance of its row's point to its column's.*
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

def city_blocks(x, y):
    return np.abs(x[:, None] - y[None]).sum(-1)

points_near_200 = np.random.default_rng(0).normal(200, 1, size=(6, 3)).astype(np.float32)
check_shape(distances, np.ones((4, 2)), np.ones((3, 2)), returns="n m", n=4, m=3)
check_values(distances, pair_by_pair, sweep("n features", "m features", count=2),
             about="points near the origin",
             mistakes={"this is the sum of the absolute differences, the city-block distance":
                       city_blocks})
check_values(distances, pair_by_pair, [(points_near_200[:4], points_near_200[4:])],
             about="points far from the origin")
check_pure(distances, np.ones((4, 2)), np.zeros((3, 2)))
check_primitives(distances, np.ones((4, 2)), np.ones((3, 2)),
                 same_size_for=[(np.ones((9, 2)), np.ones((8, 2))),
                                (np.ones((4, 7)), np.ones((3, 7)))])
### BEGIN HIDDEN TESTS
check_values(distances, pair_by_pair,
             [(np.eye(3), np.eye(3)), (np.ones((1, 1)), np.zeros((1, 1))),
              (np.zeros((0, 3)), np.eye(3)),
              (np.array([[1000.0, 0.0], [-1000.0, 0.0]]), np.array([[1000.0, 0.125], [0.0, 0.0]]))]
             + sweep("n features", "m features", count=2, seed=7, planted=True),
             mistakes={"a small number is added under the root":
                       lambda x, y: np.sqrt(((x[:, None] - y[None]) ** 2).sum(-1) + 1e-6)})
### END HIDDEN TESTS

# %% [markdown]
# The famous formula is `|x|² + |y|² - 2 x·y`: one matrix product, no three-dimensional intermediate, and on large
# inputs much faster. Here it is with points near 1000:

# %% tags=["demonstration"]
x = jnp.array([[1000.0, 1000.3], [1000.4, 999.9], [999.2, 1000.1]])
square = jnp.sum(x**2, axis=1)
print(jnp.sqrt(square[:, None] + square[None, :] - 2 * x @ x.T))
print(jnp.sqrt(jnp.sum((x[:, None] - x[None]) ** 2, axis=-1)))

# %% [markdown]
# The squares are about two million and their sums four, where neighbouring float32 numbers lie 1/8 and 1/4 apart: a
# squared distance of 0.3 drowns in rounding, and one of 0 may come out negative, with a square root of NaN. If all the
# points lie close together, subtract their common mean first, and the formula may be used again.
#
# ## 1.15 einsum: name the axes
#
# `jnp.einsum("ij,jk->ik", a, b)` is the matrix product. The rule is short: give every axis a letter; entries that
# share the letter are multiplied; a letter that is missing after the arrow is summed away.

# %% tags=["demonstration"]
a, b = jnp.arange(6.0).reshape(2, 3), jnp.ones((3, 4))
print(jnp.einsum("ij,jk->ik", a, b).shape, "product")
print(jnp.einsum("ij->ji", a).shape, "transpose")
print(jnp.einsum("ij,ij->i", a, a), "squared length of each row")

# %% [markdown]
# An einsum of two arrays becomes `dot_general`, the primitive (JAX's word for an elementary operation) for which the
# hardware has its matrix units; multiplying by broadcasting and summing afterwards does not.
#
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `attention_scores(q, k)`: for each example and each head, the dot product of every query with every key, divided by
# the square root of `dim`. Keep the dtype of the inputs. The check looks for `dot_general` in the traced program, so
# let the products be made by `einsum` or a matrix product.

# %% exercise="attention_scores"
def attention_scores(
        q: Float[Array, "batch query heads dim"],
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

def undivided(q, k):
    return head_by_head(q, k) * math.sqrt(q.shape[3])

def divided_by_dim(q, k):
    return head_by_head(q, k) / math.sqrt(q.shape[3])

queries_16 = jnp.ones((2, 3, 4, 8), jnp.bfloat16)
keys_16 = jnp.ones((2, 5, 4, 8), jnp.bfloat16)
check_shape(attention_scores, queries_16, keys_16,
            returns="batch heads query key", batch=2, heads=4, query=3, key=5)
check_dtype(attention_scores, queries_16, keys_16, returns="bfloat16")
check_values(attention_scores, head_by_head,
             sweep("batch query heads 16", "batch key heads 16", count=2),
             mistakes={"each head of q meets the sum of all heads of k": all_heads_of_k,
                       "not divided by sqrt(dim)": undivided,
                       "divided by dim, not by its square root": divided_by_dim})
check_pure(attention_scores, queries_16, keys_16)
check_primitives(attention_scores, queries_16, keys_16, requires=("dot_general",))
### BEGIN HIDDEN TESTS
check_values(attention_scores, head_by_head,
             sweep("1 query 3 5", "1 key 3 5", count=1, seed=7, planted=True)
             + sweep("2 1 1 7", "2 4 1 7", count=1, seed=8))
### END HIDDEN TESTS

# %% [markdown]
# ## 1.16 Logarithms of sums
#
# The largest number that float32 can hold is about 3.4e38, and `exp(89)` is beyond it. Logits of 1000 are unusual,
# log-likelihoods of -1000 are not:

# %% tags=["demonstration"]
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
    """`log(mean(exp(x)))` of each row, for any finite `x`, and `-inf` for a row of `-inf`."""
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

def one_shift_for_all(x):
    return np.log(np.mean(np.exp(np.float32(x - x.max())), axis=-1)) + x.max()

check_shape(log_mean_exp, np.ones((4, 3)), returns="batch", batch=4)
check_values(log_mean_exp, by_logaddexp, sweep("4 8") + sweep("3 5"), about="ordinary numbers",
             mistakes={"the shift is not added back": shifted_only,
                       "the log of the sum, and not of the mean":
                       lambda x: by_logaddexp(x) + math.log(x.shape[-1])})
check_values(log_mean_exp, by_logaddexp,
             [(np.array([[1000.0, 1001.0, 1002.0]]),), (np.array([[-999.0, -1000.0, -1e4]]),)],
             about="numbers whose exp is too large or too small")
check_values(log_mean_exp, by_logaddexp, [(np.array([[900.0, 901.0], [-900.0, -901.0]]),)],
             about="rows that need different shifts",
             mistakes={"one shift serves all rows, and those far below the largest underflow":
                       one_shift_for_all})
check_values(log_mean_exp, by_logaddexp, [(np.array([[-np.inf, -np.inf], [1.0, 2.0]]),)],
             about="a row of -inf")
check_pure(log_mean_exp, np.ones((4, 3)))
### BEGIN HIDDEN TESTS
check_values(log_mean_exp, by_logaddexp,
             [(np.array([[5.0], [-70000.0], [-np.inf]]),),
              (np.array([[-np.inf, -500.0], [0.0, 0.0]]),)],
             mistakes={"the shift stops at a lower bound":
                       lambda x: np.where(x.max(-1) < -10200, -np.inf, by_logaddexp(x))})
### END HIDDEN TESTS

# %% [markdown]
# ## 1.17 Masks instead of changing shapes
#
# `x[x > 0]` is everyday NumPy, and here it works too, until the function is compiled:

# %% tags=["demonstration"]
def positive(x):
    return x[x > 0]

x = jnp.array([-1.0, 2.0, 3.0])
print(positive(x))
try:
    jax.jit(positive)(x)
except IndexError as error:
    print(type(error).__name__, str(error).splitlines()[0], sep=": ")

# %% [markdown]
# A compiled program has fixed shapes, and how many elements are positive depends on their values. So in JAX the shape
# stays and a mask travels along: `jnp.where(mask, x, 0)`, `jnp.sum(x, where=mask)`, or, for positions,
# `jnp.nonzero(mask, size=4, fill_value=-1)`.
#
# Choose with `where`; do not multiply by the mask. Padding holds whatever was there before, and zero times NaN is NaN.
# Or is it?

# %% tags=["demonstration"]
x, mask = jnp.array([1.0, jnp.nan]), jnp.array([True, False])
print(x * mask, x * mask.astype(jnp.float32))

# %% [markdown]
# On the CPU where this was written, `[1. 0.]` and `[1. nan]`. In the first product the compiler sees a boolean become a
# float and makes a choice of the multiplication; in the second the conversion was a program of its own, and the
# arithmetic is what the standard says. Do not live by what an optimiser happens to see: write the `where`. The check
# below runs your function with the compiler switched off, operation by operation (`jax.disable_jit()`), so that both
# products give NaN.
#
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# Sentences of different lengths are padded to a common `time`. `masked_mean(x, lengths)` is the mean of the first
# `lengths[i]` entries of row `i`, and 0 for an empty row. What stands in the padding has no influence, NaN included. NaN among
# the first `lengths[i]` entries is no padding: the mean is NaN.

# %% exercise="masked_mean"
def masked_mean(x: Float[Array, "batch time"],
                lengths: Int[Array, "batch"]) -> Float[Array, "batch"]:
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

def divided_by_time(x, lengths):
    return np.array([sum(row[:int(n)]) / len(row) for row, n in zip(x, lengths)])

def divided_by_nothing(x, lengths):
    return np.where(lengths > 0, sentence_by_sentence(x, lengths), np.nan)

def multiplied_by_mask(x, lengths):
    return np.sum(x * (np.arange(x.shape[1]) < lengths[:, None]), axis=1) / lengths

def divided_by_nonzeros(x, lengths):
    return np.array([sum(row[:int(n)]) / max(np.count_nonzero(row[:int(n)]), 1)
                     for row, n in zip(x, lengths)])

def operation_by_operation(mean, x, lengths):
    with jax.disable_jit():
        return mean(x, lengths)

check_values(masked_mean, sentence_by_sentence, sweep("batch 9", integers("batch", 1, 9), count=2),
             about="rows of different lengths",
             mistakes={"one step too many is summed": one_step_too_many,
                       "the sum is divided by the padded length": divided_by_time})
check_values(masked_mean, sentence_by_sentence, [(np.ones((3, 4)), np.int32([0, 4, 2]))],
             about="an empty row", mistakes={"an empty row divides 0 by 0": divided_by_nothing})
check_values(through(operation_by_operation, masked_mean), sentence_by_sentence,
             [(np.array([[1.0, np.nan], [3.0, 4.0]]), np.int32([1, 2]))],
             about="NaN in the padding",
             mistakes={"the padding is multiplied by 0, and 0 times NaN is NaN":
                       multiplied_by_mask})
check_pure(masked_mean, np.ones((3, 4)), np.int32([1, 4, 2]))
### BEGIN HIDDEN TESTS
check_values(through(operation_by_operation, masked_mean), sentence_by_sentence,
             [(np.array([[1.0, np.inf, np.nan], [3.0, 4.0, -np.inf], [9.0, 9.0, 9.0]]),
               np.int32([1, 2, 0])),
              (np.array([[7.0]]), np.int32([1])),
              (np.array([[2.0, 0.0, 5.0], [0.0, 0.0, 2.0]]), np.int32([2, 3])),
              (np.array([[2.0, np.nan, 5.0], [4000.0, 6000.0, np.nan]]), np.int32([3, 2]))]
             + sweep("batch 6", integers("batch", 1, 7), count=2, seed=7, planted=True),
             mistakes={"the sum is divided by the count of the numbers that are not zero":
                       divided_by_nonzeros,
                       "NaN that is no padding counts as 0":
                       lambda x, lengths: sentence_by_sentence(np.nan_to_num(x), lengths),
                       "every mean of NaN becomes 0, not only that of an empty row":
                       lambda x, lengths: np.nan_to_num(sentence_by_sentence(x, lengths)),
                       "NaN that is no padding is left out of the mean":
                       lambda x, lengths: np.array(
                           [np.nanmean(row[:int(n)]) if n else 0 for row, n in zip(x, lengths)])})
### END HIDDEN TESTS

# %% [markdown]
# ## 1.18 A clock that stops too early
#
# How long does a product of two matrices of 1,500 by 1,500 take?

# %% tags=["demonstration"]
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
# The first call of a function errs the other way and seems slow, because it also compiles. That is why the cell above
# computes the product once before it looks at the clock.
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
def on_a_fake_device(stopwatch, x, compiling, dispatch, work, pack="one", slow=2):
    """What `stopwatch` measures on a device whose every cost is known.

    `f` works for `work * x` seconds. It returns one array, or a structure of three, by the name
    `pack`, of which number `slow` is ready last.
    """
    now, free, calls, readings = [0.0], [0.0], [], []

    class Promise:
        def __init__(self, ready):
            self.ready = ready

        def block_until_ready(self):
            now[0] = max(now[0], self.ready)
            return self

    def f(x):
        now[0] += dispatch + (0.0 if calls else compiling)
        calls.append(x)
        early = max(now[0], free[0]) + x * work / 2
        free[0] = early + x * work / 2
        a, b, c = (Promise(free[0] if i == slow else early) for i in range(3))
        packed = {"one": c, "tuple": (a, b, c), "list": [a, (b, {"c": c})]}
        return packed.get(pack, {"grads": (a, b), "loss": c})

    def clock():
        readings.append(now[0])
        return now[0]

    seconds = stopwatch(f, x, clock)
    return jnp.float32(seconds if readings else 0)

def honest(x, compiling, dispatch, work, pack="one", slow=2):
    return dispatch + x * work

check_values(through(on_a_fake_device, seconds_per_call), honest,
             [(1.0, 100.0, 1.0, 6.0), (2.0, 30.0, 0.25, 2.0)],
             about="of a function that returns one array",
             mistakes={"the time is not read from clock()": lambda *costs: 0.0,
                       "the call is timed, and its work is not waited for":
                       lambda x, compiling, dispatch, work: dispatch,
                       "the compilation is timed too: call once before you look at the clock":
                       lambda x, compiling, dispatch, work: compiling + dispatch + x * work,
                       "the compilation is timed, and the work is not waited for":
                       lambda x, compiling, dispatch, work: compiling + dispatch,
                       "the first call is still running when the clock is started":
                       lambda x, compiling, dispatch, work: 2 * x * work})
check_values(through(on_a_fake_device, seconds_per_call), honest,
             [(1.0, 50.0, 0.5, 8.0, "dict"), (3.0, 20.0, 0.5, 2.0, "tuple")],
             about="of one that returns a nested structure")
### BEGIN HIDDEN TESTS
def last_one_only(x, compiling, dispatch, work, pack="one", slow=2):
    half = x * work / 2
    return honest(x, compiling, dispatch, work) if slow == 2 else max(dispatch, half) + half

check_values(through(on_a_fake_device, seconds_per_call), honest,
             [(1.0, 50.0, 0.5, 8.0, "dict", 0), (0.5, 9.0, 2.0, 2.0, "dict", 1),
              (2.0, 7.0, 3.0, 2.0, "one"), (1.5, 8.0, 0.5, 4.0, "list", 0),
              (1.5, 8.0, 0.5, 4.0, "list", 2)],
             mistakes={"only the last array of the structure is waited for": last_one_only})
### END HIDDEN TESTS

# %% [markdown]
# One last thing about where arrays live. Everything above ran on the device that `x.device` names, and an operation
# runs where its inputs are. `jax.device_put(x, device)` moves an array; with one device it has nowhere to go, and
# lesson 07 brings eight.

# %% tags=["demonstration"]
print(jax.default_backend(), jax.devices())
print(jax.device_put(np.ones(3), jax.devices()[0]).device)

# %% [markdown]
# ## 1.19 To remember
#
# 1. An index always has an answer: reads are clamped, writes are dropped, negative ones count from the end.
#    Where that is not what you mean, write a `mode`.
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
# when the arrays do, and gets a function back: the gradient.
