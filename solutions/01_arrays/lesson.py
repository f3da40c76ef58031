# %% [markdown]
# # 1 · Arrays: where jax.numpy differs from NumPy
#
# `jax.numpy` has the API of NumPy, but some functions silently behave differently. After this lesson you can
#
# - choose dtypes, and avoid accidental promotion (float32, bfloat16, weak types);
# - update immutable arrays with `.at[]`, and control out-of-bounds indices;
# - replace loops by broadcasting, `einsum` and scatters;
# - handle padding with masks, and compute sums of exponentials without overflow;
# - time code correctly, although JAX dispatches it asynchronously.
#
# About 130 minutes. There is a good place for a break after 1.12. You need lesson 00.

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
# ## 1.1 Recall: broadcasting, views and dtypes in NumPy
#
# Three questions about plain NumPy, one point each. Answer before you run anything.
#
# **Recall** · 2 minutes · difficulty 2 of 5
#
# `x` has shape `(4, 3)`. Which of these lines subtract from each *row* its own mean?
#
# - a: `x - x.mean(axis=1)`
# - b: `x - x.mean(axis=1, keepdims=True)`
# - c: `x - x.mean(axis=1)[:, None]`
# - d: `(x.T - x.mean(axis=1)).T`

# %% exercise="recall_broadcast" kind="recall"
# A string of letters in alphabetical order, such as "ac".
### BEGIN SOLUTION
recall_broadcast = "bcd"
### END SOLUTION

# %% check="recall_broadcast" points=1
def lines_that_centre_rows():
    x = np.arange(12.0).reshape(4, 3) ** 2
    wanted = np.array([row - sum(row) / 3 for row in x])
    lines = {"a": lambda: x - x.mean(axis=1),
             "b": lambda: x - x.mean(axis=1, keepdims=True),
             "c": lambda: x - x.mean(axis=1)[:, None],
             "d": lambda: (x.T - x.mean(axis=1)).T}
    right = ""
    for letter, line in lines.items():
        try:
            right += letter if np.allclose(line(), wanted) else ""
        except ValueError:
            pass
    return right

check_answer(recall_broadcast, lines_that_centre_rows,
             because="Shapes are aligned at the last axis. The means have shape (4,): b and c make "
                     "it (4, 1), and d transposes `x`, so that the means align with the rows.",
             mistakes={"abcd": "a raises a ValueError: (4, 3) and (4,) do not broadcast",
                       "a": "a raises a ValueError: (4, 3) and (4,) do not broadcast",
                       "bc": "d is right too: the last axis of `x.T` runs over the 4 rows",
                       "bd": "c is right too: `[:, None]` gives the means the shape (4, 1)",
                       "cd": "b is right too: `keepdims=True` gives the means the shape (4, 1)",
                       "b": "`[:, None]` and transposing twice work as well as `keepdims`",
                       "c": "`keepdims` and transposing twice work as well as `[:, None]`",
                       "d": "`keepdims` and `[:, None]` work as well as transposing twice"})

# %% [markdown]
# **Recall** · 1 minute · difficulty 1 of 5
#
# After `a = np.zeros(3); b = a[:2]; b[0] = 9`, what is `a[0]`?

# %% exercise="recall_view" kind="recall"
# A number.
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
             because="A NumPy slice is a view: it shares the memory of the array that it was taken "
                     "from.",
             mistakes={0.0: "a NumPy slice is a view, not a copy: writing to `b` writes to `a`"})

# %% [markdown]
# **Recall** · 1 minute · difficulty 1 of 5
#
# What is the dtype of `np.ones(3, dtype="int32") * np.ones(3, dtype="float32")`?

# %% exercise="recall_promotion" kind="recall"
# A string such as "int32".
### BEGIN SOLUTION
recall_promotion = "float64"
### END SOLUTION

# %% check="recall_promotion" points=1
def numpy_promotes():
    return str((np.ones(3, dtype="int32") * np.ones(3, dtype="float32")).dtype)

check_answer(recall_promotion, numpy_promotes,
             because="float32 cannot represent every int32, so NumPy promotes to float64, which can.",
             mistakes={"float32": "that is JAX's result; NumPy chooses a float that can represent "
                                  "every int32"})

# %% [markdown]
# ## 1.2 Indices out of bounds, and NumPy functions under jit
#
# Let `x = jnp.arange(5)`, which has five elements.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# What is `int(x[10])`? If you expect an error, answer with its name as a string.

# %% exercise="past_the_end" kind="prediction"
# An integer, or a string such as "IndexError".
### BEGIN SOLUTION
past_the_end = 4
### END SOLUTION

# %% check="past_the_end" points=1
check_answer(past_the_end, lambda: int(jnp.arange(5)[10]),
             because="A read past the end is clamped to the last element.",
             mistakes={"IndexError": "that is what NumPy does; a compiled program on an "
                                     "accelerator cannot raise an error",
                       0: "nothing is filled in: the index is clamped to the nearest valid one"})

# %% tags=["demonstration"]
x = jnp.arange(5)
x[10], x[-7]

# %% [markdown]
# JAX **clamps** an index that is out of bounds to the nearest valid one. A compiled program on a GPU or TPU cannot raise an `IndexError`, so JAX defines a result for every index (more in 1.10).
#
# The next cell compares `jnp.sin` and `np.sin`.

# %% tags=["demonstration"]
x = jnp.linspace(0.0, 1.0, 5)
print(type(x).__name__, x.dtype, x.device)
print(type(jnp.sin(x)).__name__, "from jnp.sin")
print(type(np.sin(x)).__name__, "from np.sin")

# %% [markdown]
# A `jnp` function returns a `jax.Array` on a device. `np.sin` converts its argument to a NumPy array on the host, and returns one. The values are correct, but no longer on the device.
#
# Under `jax.jit` this conversion fails. To compile a function, `jit` **traces** it: it runs the Python code once with *tracers* in place of the arrays, and records the operations. A tracer has a shape and a dtype but no values, so `np.sin` raises `TracerArrayConversionError`. (Some functions, such as `np.sum`, call the array's own method and work.) Use `jnp` for data, and `math` for constants.
#
# > **In NumPy** `np.sum([1.0, 2.0])` accepts a list. `jnp.sum` raises a `TypeError`, because converting a list is slow. Convert it yourself with `jnp.asarray`.

# %% tags=["demonstration"]
try:
    jnp.sum([1.0, 2.0, 3.0])
except TypeError as error:
    print("TypeError:", error)

# %% [markdown]
# ## 1.3 Normalise rows without dividing by zero
#
# **Exercise** · 5 minutes · difficulty 1 of 5
#
# `unit_rows(x)` returns an array of the shape of `x`, with each row divided by its Euclidean length.
#
# A row of zeros stays a row of zeros. Rows of very small norm, down to 1e-17, must also be scaled to length 1. (Below about 1e-19 the squares underflow to 0.)
#
# The check compares shapes and values, and tests purity.

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
# 0 divided by 0 is NaN. Choose the divisor before you divide.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `axis=1, keepdims=True` gives lengths of shape `(rows, 1)`, which broadcast against `(rows, features)`. `jnp.where(condition, a, b)` selects element by element.
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
             mistakes={"a small number is added to every length, which is wrong for short rows":
                       lambda x: x / (np.sqrt((x**2).sum(1, keepdims=True)) + 1e-6)})
check_pure(unit_rows, np.ones((4, 3)))
### BEGIN HIDDEN TESTS
check_values(unit_rows, one_row_at_a_time,
             [(np.array([[3e-8, 4e-8], [0.0, 0.0]]),), (np.zeros((3, 3)),), (np.array([[-0.5]]),),
              (np.array([[1.0, -1.0], [-2.0, -1.0], [3e-17, 4e-17]]),)]
             + sweep("rows features", count=2, seed=7, planted=True),
             mistakes={"lengths below a bound are replaced by the bound":
                       lambda x: x / np.maximum(np.sqrt((x**2).sum(1, keepdims=True)), 1e-6),
                       "a row whose sum is 0 is treated as a row of zeros":
                       lambda x: np.where(x.sum(1, keepdims=True) == 0, x, one_row_at_a_time(x))})
### END HIDDEN TESTS

# %% [markdown]
# ## 1.4 Default dtypes: float32 and int32
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# 16,777,216 is 2 to the power 24. What is `int(jnp.float32(16_777_216) + 1)`?

# %% exercise="one_more" kind="prediction"
# An integer.
### BEGIN SOLUTION
one_more = 16_777_216
### END SOLUTION

# %% check="one_more" points=1
check_answer(one_more, lambda: int(jnp.float32(2**24) + 1),
             because="A float32 has 24 significant bits. From 2**24 on it represents only every "
                     "second integer.",
             mistakes={16_777_217: "that number has 25 significant bits, a float32 has 24",
                       16_777_218: "16,777,217 is half-way between two float32 numbers, and a tie "
                                   "is rounded to the one whose last bit is 0"})

# %% tags=["demonstration"]
x = jnp.float32(16_777_216)
print([int(x + step) for step in (1, 2, 3)])

# %% [markdown]
# `x + 1` is rounded to `x`, and `x + 3` to `x + 4`. The distance to the next floating-point number grows with the number. `jnp.spacing` returns it:

# %% tags=["demonstration"]
size = jnp.logspace(-2, 9, 500)
plt.figure("Distance between neighbouring numbers in float32 and bfloat16")
for dtype in (jnp.float32, jnp.bfloat16):
    gap = jnp.spacing(size.astype(dtype)).astype(jnp.float32)
    plt.loglog(size, gap, label=jnp.dtype(dtype).name)
plt.axhline(1, color="grey", linestyle=":")
plt.xlabel("number"), plt.ylabel("distance to the next one")
plt.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
plt.show()

# %% [markdown]
# *Two staircases that rise to the right, on logarithmic axes. The bfloat16 curve rises above the dotted line (a distance of 1) at 256, the float32 curve at 16.8 million. Above these numbers, not every integer can be represented.*
#
# **Prediction** · 1 minute · difficulty 3 of 5
#
# `ids = np.array([2**32 + 7])` has the dtype int64. What is `int(jnp.asarray(ids)[0])`?

# %% exercise="large_id" kind="prediction"
# An integer, or a string such as "ValueError".
### BEGIN SOLUTION
large_id = 7
### END SOLUTION

# %% check="large_id" points=1
def id_in_jax():
    try:
        return int(jnp.asarray(np.array([2**32 + 7]))[0])
    except Exception as error:
        return type(error).__name__

check_answer(large_id, id_in_jax,
             because="JAX converts int64 to int32, which keeps the lowest 32 bits: the number "
                     "modulo 2**32.",
             mistakes={2**32 + 7: "JAX converts int64 to int32 by default, and this number has 33 bits",
                       2**31 - 1: "the number is not clamped: the lowest 32 bits are kept",
                       "OverflowError": "a Python integer raises this; an int64 array is converted "
                                        "without an error"})

# %% [markdown]
# NumPy's default is float64, and JAX's is float32. A float64 or int64 NumPy array becomes float32 or int32 **without a warning**. Look out for timestamps, hashes and user ids. (A Python integer that does not fit raises an `OverflowError`. `jnp.zeros(3, "float64")` gives a warning.)
#
# Where you need 64 bits, enable them. (Older code uses `jax.experimental.enable_x64`, which newer versions have removed.)

# %% tags=["demonstration"]
seconds_since_1970 = np.array([1_763_000_000.0])
x = jnp.asarray(seconds_since_1970)
print(x.dtype, jnp.spacing(x), "seconds apart")
with jax.enable_x64(True):
    x = jnp.asarray(seconds_since_1970)
    print(x.dtype, jnp.spacing(x), "seconds apart")

# %% [markdown]
# Neighbouring float32 timestamps are more than two minutes apart.
#
# Integer arithmetic wraps around without a warning, as for NumPy arrays:

# %% tags=["demonstration"]
dark, bright = jnp.array([10], jnp.uint8), jnp.array([12], jnp.uint8)
print(dark - bright)
print("jnp.mean does not wrap:", jnp.mean(jnp.array([250, 251], jnp.uint8)))

# %% [markdown]
# ## 1.5 Subtract images of dtype uint8
#
# **Exercise** · 4 minutes · difficulty 2 of 5
#
# `frame_difference(a, b)` returns a scalar: the mean of `|a - b|` over all pixels of two greyscale images of dtype uint8.
#
# Pixels have any value from 0 to 255. The images can have so many pixels that the sum of the differences overflows a small integer dtype.
#
# The check compares shapes and values, and tests purity.

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
# `a.astype(dtype)` converts. Convert before you subtract.
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
             mistakes={"int8 ends at 127, but bytes and their differences can be 255":
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
             mistakes={"the total of a large image overflows 16 bits": total_in_int16})
### END HIDDEN TESTS

# %% [markdown]
# ## 1.6 bfloat16, type promotion and weak types
#
# bfloat16 is float32 without its last 16 bits: the same range, half the memory, and faster on most accelerators.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# You multiply two float32 matrices on a CPU, and the same two on a TPU or a recent NVIDIA GPU. About how many decimal digits of the results agree by default: 3, 7 or 16?

# %% exercise="agreeing_digits" kind="prediction"
# One of these integers.
### BEGIN SOLUTION
agreeing_digits = 3
### END SOLUTION

# %% check="agreeing_digits" points=1
check_answer(agreeing_digits, 3,
             because="By default the matrix units of these devices round the float32 operands to a "
                     "shorter format.",
             mistakes={7: "float32 has about 7 digits, but matrix units round the operands by default",
                       16: "that is float64"})

# %% [markdown]
# [By default](https://docs.jax.dev/en/latest/201/precision.html) a TPU multiplies float32 matrices in bfloat16, and a recent NVIDIA GPU in TF32, with two to four correct digits. For full precision, write `jnp.matmul(x, w, precision="highest")` or `with jax.default_matmul_precision("highest"):`. The checks of this course use the second form.
#
# **Prediction** · 1 minute · difficulty 3 of 5
#
# Let `x = jnp.ones(3, jnp.bfloat16)`. What is the dtype of `x * np.sqrt(0.25)`?

# %% exercise="half" kind="prediction"
# A string such as "int32".
### BEGIN SOLUTION
half = "float32"
### END SOLUTION

# %% check="half" points=1
check_answer(half, lambda: str((jnp.ones(3, jnp.bfloat16) * np.sqrt(0.25)).dtype),
             because="`np.sqrt` returns an np.float64, which is strongly typed. JAX converts it to "
                     "float32, and bfloat16 with float32 is float32.",
             mistakes={"bfloat16": "that holds for the Python number 0.5, which is weakly typed; "
                                   "`np.sqrt` returns an np.float64, which is not",
                       "float64": "JAX has no float64 unless it is enabled; it converts np.float64 "
                                  "to float32"})

# %% tags=["demonstration"]
x = jnp.ones(3, jnp.bfloat16)
factors = {"0.5": 0.5, "np.sqrt(0.25)": np.sqrt(0.25), "math.sqrt(0.25)": math.sqrt(0.25)}
for name, factor in factors.items():
    print(f"x * {name:16} {(x * factor).dtype}")
print("weak:", jnp.asarray(0.5).weak_type, jnp.float32(0.5).weak_type)
for a, b in [("int32", "bfloat16"), ("float16", "bfloat16"), ("int8", "uint8")]:
    print(f"{a} with {b}: {jnp.promote_types(a, b)}")

# %% [markdown]
# A Python number is **weakly typed**: it takes the dtype of the array that it is combined with. A value with an explicit dtype is strongly typed, NumPy scalars such as `np.float64` included. Two strong types promote as JAX's promotion table says. An integer with a float gives the float type, however narrow: int32 with bfloat16 is bfloat16.
#
# The result of an operation can be weakly typed too, for example that of `jnp.where(x > 0, 1.0, 0.0)`. Lesson 03 shows that a weak type can cause a function to be compiled again.
#
# ## 1.7 Bug hunt: a function that turns bfloat16 into float32
#
# This activation function of many transformers returns the right values. Look at the dtype:

# %% tags=["demonstration"]
def gelu_broken(x):
    z = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + jnp.tanh(z))

gelu_broken(jnp.ones(3, jnp.bfloat16)).dtype

# %% [markdown]
# ### GELU that keeps the dtype
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# `gelu(x)` returns the same values in the dtype of `x`.
#
# `x` can have any floating-point dtype. The result must be right for large numbers too.
#
# The check compares dtypes and values, and tests purity.

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
# One factor is strongly typed, the others are not. Print the `.dtype` of each part.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `math.sqrt` and `float(...)` return Python numbers. `jnp.sqrt` of a Python number is weakly typed as well. Or convert at the end with `.astype(x.dtype)`.
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
# ## 1.8 Immutable arrays and updates with .at
#
# You cannot assign to an element of a JAX array:

# %% tags=["demonstration"]
x = jnp.zeros(3)
try:
    x[0] = 9.0
except TypeError as error:
    print("TypeError:", error)

# %% [markdown]
# `x.at[0].set(9.0)` returns a **new** array. So do `.add`, `.multiply`, `.min` and `.max`. As arrays never change, JAX can differentiate, reorder and parallelise your code. Outside `jit` each update copies the array. Under `jit` the compiler usually updates an intermediate value in place. An argument of the compiled function is copied, unless you donate it (lesson 03).
#
# Do not write into a NumPy array after you have passed it to JAX. On a CPU the JAX array may share its memory, for example after `jax.device_put`. Otherwise the copy may not have finished.
#
# > **In PyTorch** `x[0] = 9` and `x.add_(1)` change `x` in place. In JAX write `x = x.at[0].set(9)` and `x = x + 1`.
#
# If you forget the assignment, no error is raised:

# %% tags=["demonstration"]
x = jnp.zeros(3)
x.at[0].set(9.0)          # the result is discarded
print(x)
x = x.at[0].set(9.0)
print(x)

# %% [markdown]
# **Prediction** · 1 minute · difficulty 2 of 5
#
# In NumPy, `counts[[1, 1, 1]] += 1` adds 1 to `counts[1]`, once. What is `jnp.zeros(3).at[jnp.array([1, 1, 1])].add(1.0)[1]`?

# %% exercise="counted" kind="prediction"
# A number.
### BEGIN SOLUTION
counted = 3.0
### END SOLUTION

# %% check="counted" points=1
check_answer(counted, lambda: float(jnp.zeros(3).at[jnp.array([1, 1, 1])].add(1.0)[1]),
             because="`.at[].add` adds once for every index, repeated or not, as `np.add.at` does.",
             mistakes={1.0: "that is the result of NumPy's `+=`; `.at[].add` adds once for every "
                            "index"})

# %% tags=["demonstration"]
counts, places = np.zeros(3), np.array([1, 1, 1])
counts[places] += 1
print("NumPy's += ", counts)
print(".at[].add  ", jnp.zeros(3).at[places].add(1.0))

# %% [markdown]
# ## 1.9 Count with .at[].add: the confusion matrix
#
# **Exercise** · 6 minutes · difficulty 2 of 5
#
# `confusion(labels, predictions, classes)` returns an int32 array of shape `(classes, classes)`. Row `i`, column `j` is the number of examples of class `i` that were predicted as class `j`.
#
# Labels can have any integer dtype. Those of MNIST are uint8. The batch may be empty.
#
# The check compares dtypes and values, and tests purity. The program must not grow with the batch: its number of operations is the same for every batch size, so do not loop in Python.

# %% exercise="confusion"
def confusion(labels: Int[Array, "batch"], predictions: Int[Array, "batch"],
              classes: int) -> Int[Array, "classes classes"]:
    """Number of examples of class `i` (row) that were predicted as `j` (column)."""
    ### BEGIN SOLUTION
    return jnp.zeros((classes, classes), jnp.int32).at[labels, predictions].add(1)
    ### END SOLUTION

# %% [markdown] hints="confusion"
# <details><summary>Hint 1: the idea</summary>
#
# Start with an array of zeros. Each example adds 1 at one place, and a place can occur several times.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# Two index arrays of the same length give one place for each pair: `table.at[rows, cols]`. The dtype is the second argument of `jnp.zeros(shape, dtype)`.
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
             mistakes={"bfloat16 can represent 256 but not 257": counts_in_bfloat16})
### END HIDDEN TESTS

# %% [markdown]
# ## 1.10 Out-of-bounds reads and writes: mode
#
# **Prediction** · 1 minute · difficulty 3 of 5
#
# What is `jnp.zeros(5).at[10].set(1.0).sum()`?

# %% exercise="written" kind="prediction"
# A number, or a string such as "IndexError".
### BEGIN SOLUTION
written = 0.0
### END SOLUTION

# %% check="written" points=1
check_answer(written, lambda: float(jnp.zeros(5).at[10].set(1.0).sum()),
             because="A write out of bounds is dropped. Clamping it would overwrite another element.",
             mistakes={1.0: "that would be a clamped write to the last element; reads are clamped, "
                            "but writes are dropped",
                       "IndexError": "JAX defines a result for every index and raises nothing"})

# %% tags=["demonstration"]
index, places = jnp.arange(-8, 9), jnp.arange(5)
reads = (places[index][:, None] == places).T
writes = jnp.zeros((17, 5)).at[jnp.arange(17), index].set(1.0).T
figure, axes = plt.subplots(2, 1, num="Elements that out-of-bounds indices read and write",
                            sharex=True, figsize=(7, 4))
for ax, picture, title in zip(axes, (reads, writes), ("x[i] reads from", "x.at[i].set writes to")):
    ax.imshow(picture, cmap="Blues", extent=(-8.5, 8.5, 4.5, -0.5))
    ax.set(title=title, ylabel="place in x")
axes[1].set_xlabel("index i into an array of 5")
plt.show()

# %% [markdown]
# *For each index into an array of five elements, the element that is read (top) and the one that is written (bottom). Both panels show diagonals for the indices 0 to 4 and -5 to -1 (counted from the end). Elsewhere, reads are clamped to element 0 or 4, and writes are dropped.*
#
# Pass `mode` to select the behaviour explicitly:
#
# | | out of bounds | default of |
# |---|---|---|
# | `x.at[i].get(mode="clip")` | the nearest element | `x[i]` |
# | `x.at[i].get(mode="fill", fill_value=0)` | the value that you give | |
# | `x.at[i].get(mode="fill")` | NaN for floats, the most negative number for int32 | `jnp.take(x, i)` |
# | `x.at[i].set(v, mode="drop")` | nothing is written | `x.at[i].set(v)` |
# | `x.at[i].set(v, mode="clip")` | the nearest element is overwritten | |
#
# In every mode -1 to -n count from the end. If a negative index means "none" in your data, replace it with one that is too large, or pass `wrap_negative_indices=False`. Reads then also need `mode="fill"`.
#
# ## 1.11 Bug hunt: unknown ids in an embedding lookup
#
# A vocabulary has three words, with the ids 0 to 2. The text contains two other ids: 7, and -1, which means "unknown".

# %% tags=["demonstration"]
def embed_broken(table, ids):
    return table[ids]

table = jnp.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
embed_broken(table, jnp.array([0, 7, -1]))

# %% [markdown]
# Both unknown ids get the last row of the table, and no error is raised.
#
# ### Zeros for unknown ids
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# `embed(table, ids)` returns an array of shape `(tokens, features)`: for each id its row of `table`.
#
# An id that is too large or negative gets a row of zeros. NaN in `table` stays NaN, in its own row alone.
#
# The check compares shapes and values, and tests purity.

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
# First compute which ids are known, as an array of Booleans. Use it after the lookup.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `(0 <= ids) & (ids < n)`. Use `&` and brackets, because `and` needs a single truth value. `known[:, None]` broadcasts against the rows.
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
                (np.array([[1.0, np.nan], [3000.0, np.nan]]), np.int32([1, 0, 1])),
                (np.array([[1.0, 2.0], [np.nan, np.inf], [5.0, 6.0]]), np.int32([0, 2, 1, 9, 0]))],
             mistakes={"NaN in one row of the table reaches the other rows, as in a product with a "
                       "one-hot matrix, where 0 times NaN is NaN":
                       lambda table, ids: (
                           (ids[:, None] == np.arange(len(table))) @ np.float32(table)),
                       "NaN in the table itself is replaced by a number":
                       lambda table, ids: np.nan_to_num(row_by_row(np.float32(table), ids)),
                       "only -1 is treated as unknown, and other negative ids count from the end":
                       only_minus_one_unknown,
                       "every table is treated as if it had five rows":
                       lambda table, ids: row_by_row(table[:5], ids)})
### END HIDDEN TESTS

# %% [markdown]
# ## 1.12 Scatter with .at[].min: a depth image
#
# The value of a pixel in a depth image is the distance to the nearest point that falls on that pixel. Several points or none can fall on a pixel, and a point can be outside the image.
#
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# `z_buffer(rows, cols, depth, height, width)` returns an array of shape `(height, width)`: the smallest depth of the points at each pixel.
#
# A pixel without a point is `inf`. Points outside the image, on any side, are ignored. A depth can be any finite number. The arrays of points may be empty.
#
# The check compares values, and tests purity.

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
# Which value must an empty pixel have, so that the first point always replaces it?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jnp.full(shape, value)` and `.at[rows, cols].min(values)`.
# </details>
# <details><summary>Hint 3: negative rows and columns</summary>
#
# Row -1 is the last row. Replace it first by a row that is out of bounds, such as `height`.
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
             about="points inside, below and to the right of the image",
             mistakes={"a later point hides a nearer one": last_one_wins,
                       "points outside are moved to the edge": moved_to_the_edge,
                       "an empty pixel starts at 0, and no depth is smaller":
                       nothing_nearer_than_zero})
check_values(z_buffer, point_by_point,
             [(np.int32([-1, 1, 0]), np.int32([2, -2, 0]), np.float32([5.0, 6.0, 7.0]), 3, 4)],
             about="points above and to the left of it",
             mistakes={"a point with a negative row or column appears on the opposite side":
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
             mistakes={"depths of 1000 or more are treated as no point": nothing_beyond_1000})
### END HIDDEN TESTS

# %% [markdown]
# Your function draws a ring, from 280,000 points on its surface:

# %% tags=["demonstration", "raises-exception"]
around, across = jnp.meshgrid(jnp.linspace(0, 2 * jnp.pi, 700), jnp.linspace(0, 2 * jnp.pi, 400))
radius, height = (2 + 0.8 * jnp.cos(across)).ravel(), 0.8 * jnp.sin(across).ravel()
x, y = radius * jnp.cos(around.ravel()), radius * jnp.sin(around.ravel())
rows, cols = 50 + 16 * (0.6 * y - 0.8 * height), 50 + 16 * x
picture = z_buffer(rows.astype(int), cols.astype(int), 0.8 * y + 0.6 * height, 100, 100)
plt.figure("Depth image of a torus")
plt.imshow(picture), plt.colorbar(label="depth"), plt.axis("off")
plt.show()

# %% [markdown]
# *A tilted ring with a hole, on an empty background. Its near side, at the top, is dark, and its far side is bright.*
#
# This is a good place for a break.
#
# ## 1.13 Broadcasting in a loss, and for all pairs
#
# Suppose that a model is perfect, so that its predictions equal the targets. Like the output of many networks, they have a trailing axis of size 1.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# Let `y = jnp.arange(4.0)` and `y_hat = y[:, None]`. What is the shape of `y_hat - y`?

# %% exercise="difference_shape" kind="prediction"
# A tuple of integers.
### BEGIN SOLUTION
difference_shape = (4, 4)
### END SOLUTION

# %% check="difference_shape" points=1
check_answer(difference_shape, lambda: (jnp.arange(4.0)[:, None] - jnp.arange(4.0)).shape,
             because="(4, 1) and (4,) broadcast to (4, 4): every prediction is compared with every "
                     "target.",
             mistakes={(4,): "the axis of size 1 is stretched, not dropped",
                       (4, 1): "(4,) counts as (1, 4), not as (4, 1)"})

# %% tags=["demonstration"]
y = jnp.arange(4.0)
y_hat = y[:, None]
print("shape of the difference:", (y_hat - y).shape)
print("loss of a perfect model:", jnp.mean((y_hat - y) ** 2))

# %% [markdown]
# The loss should be 0, and it is 2.5. Training still decreases it: it is smallest when the model predicts the mean target for every example. Annotate shapes in function signatures, and check the shape of a difference before you square it.
#
# With broadcasting you can also compute all pairs without a loop:

# %% tags=["demonstration"]
x, y = jnp.array([0.0, 1.0, 4.0]), jnp.linspace(0.0, 5.0, 6)
row, column = y[None, :], x[:, None]
pictures = {"y[None, :]": row, "x[:, None]": column,
            "abs(x[:, None] - y[None, :])": jnp.abs(column - row)}
figure, axes = plt.subplots(2, 2, num="A column and a row, and their difference as a table",
                            figsize=(6, 4), width_ratios=(1, 6), height_ratios=(1, 3),
                            layout="constrained")
axes[0, 0].axis("off")
for ax, (title, values) in zip(axes.flat[1:], pictures.items()):
    ax.imshow(values, vmin=0, vmax=5, aspect="auto")
    ax.set_title(f"{title}\n{values.shape}", fontsize=10)
    ax.set(xticks=range(values.shape[1]), yticks=range(values.shape[0]))
plt.show()

# %% [markdown]
# *The column `x[:, None]` of shape (3, 1) is on the left, the row `y[None, :]` of shape (1, 6) on top. Cell [i, j] of their difference, of shape (3, 6), is x[i] - y[j].*
#
# ## 1.14 Pairwise distances without a loop
#
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `distances(x, y)` returns an array of shape `(n, m)`: the Euclidean distance of each point of `x` from each point of `y`.
#
# The result must be accurate for points that are far from the origin and close together. `x` may have no points.
#
# The check compares shapes and values, and tests purity. The program must not grow with the number of points or features.

# %% exercise="distances"
def distances(x: Float[Array, "n features"], y: Float[Array, "m features"]) -> Float[Array, "n m"]:
    """Euclidean distance of `x[i]` from `y[j]`, at `[i, j]`."""
    ### BEGIN SOLUTION
    difference = x[:, None, :] - y[None, :, :]
    return jnp.sqrt(jnp.sum(difference**2, axis=-1))
    ### END SOLUTION

# %% [markdown] hints="distances"
# <details><summary>Hint 1: the idea</summary>
#
# Compute an intermediate array of shape `(n, m, features)` with all differences.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `x[:, None, :]` has shape `(n, 1, features)`. Which axis do you sum over?
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

# %% tags=["demonstration", "raises-exception"]
sites = np.random.default_rng(0).uniform(0, 1, (12, 2))
grid = np.stack(np.meshgrid(np.linspace(0, 1, 150), np.linspace(0, 1, 150)), axis=-1)
nearest = jnp.argmin(distances(grid.reshape(-1, 2), sites), axis=1)
plt.figure("Voronoi diagram of twelve points")
plt.imshow(nearest.reshape(150, 150), origin="lower", extent=(0, 1, 0, 1), cmap="tab20")
plt.plot(*sites.T, "k.")
plt.show()

# %% [markdown]
# *A Voronoi diagram, drawn with your function: each pixel has the colour of the nearest of twelve points.*
#
# The formula `|x|² + |y|² - 2 x·y` for the squared distance needs one matrix product and no three-dimensional array, so it is faster for large inputs. Here are both for points near 1000:

# %% tags=["demonstration"]
x = jnp.array([[1000.0, 1000.3], [1000.4, 999.9], [999.2, 1000.1]])
square = jnp.sum(x**2, axis=1)
print(jnp.sqrt(square[:, None] + square[None, :] - 2 * x @ x.T))
print(jnp.sqrt(jnp.sum((x[:, None] - x[None]) ** 2, axis=-1)))

# %% [markdown]
# The squared lengths are about two million and their sums about four million, where neighbouring float32 numbers are 1/8 and 1/4 apart, respectively. A squared distance of 0.32 is rounded to 0.25. A squared distance of 0 can become negative, and its square root is then NaN. For points that are close together, subtract their mean first.
#
# ## 1.15 einsum and attention scores
#
# `jnp.einsum("ij,jk->ik", a, b)` is the matrix product. Each axis gets a letter. Axes with the same letter are aligned, and their elements are multiplied. A letter that is missing after the arrow is summed over.

# %% tags=["demonstration"]
a, b = jnp.arange(6.0).reshape(2, 3), jnp.ones((3, 4))
print(jnp.einsum("ij,jk->ik", a, b).shape, "product")
print(jnp.einsum("ij->ji", a).shape, "transpose")
print(jnp.einsum("ij,ij->i", a, a), "squared length of each row")

# %% [markdown]
# An einsum of two arrays becomes the *primitive* (elementary operation) `dot_general`, which runs on the matrix units of the hardware. A broadcast product with a sum does not.
#
# ### Dot products of queries and keys
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `attention_scores(q, k)` returns an array of shape `(batch, heads, query, key)`: for each example and head the dot product of each query with each key, divided by the square root of `dim`.
#
# The result has the dtype of `q` and `k`, bfloat16 included.
#
# The check compares shapes, dtypes and values, tests purity, and looks for `dot_general` in the traced program.

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
# Write each shape in the signature as a string of letters. The axis that is summed has no letter after the arrow.
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
             mistakes={"each head of q is multiplied by the sum of all heads of k": all_heads_of_k,
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
# ## 1.16 Stable log-sum-exp
#
# The largest float32 number is about 3.4e38, and `exp(89)` is larger. Logits of 1000 overflow `exp`. Log-likelihoods of -1000, which are common, underflow it:

# %% tags=["demonstration"]
logits = jnp.array([1000.0, 1001.0, 1002.0])
jnp.log(jnp.sum(jnp.exp(logits))), jnp.log(jnp.sum(jnp.exp(-logits)))

# %% [markdown]
# The correct results are about 1002.4 and -999.6. Only the intermediate values overflow and underflow. To avoid that, subtract a number $m$ from every $x_i$ and add it outside the logarithm:
#
# $$\log \sum_i e^{x_i} = m + \log \sum_i e^{x_i - m}$$
#
# With the maximum as $m$, the largest term is $e^0 = 1$.
#
# ### The logarithm of a mean
# **Exercise** · 11 minutes · difficulty 4 of 5
#
# `log_mean_exp(x)` returns an array of shape `(batch,)`: the logarithm of the **mean** of `exp(x)` over each row.
#
# A row may mix finite numbers and `-inf`. The rows may differ so much that one shift for all of them does not work. A row of `-inf` gives `-inf`.
#
# The check compares shapes and values, and tests purity.

# %% exercise="log_mean_exp"
def log_mean_exp(x: Float[Array, "batch samples"]) -> Float[Array, "batch"]:
    """`log(mean(exp(x)))` of each row, where `x` is finite or `-inf`. A row of `-inf` gives `-inf`."""
    ### BEGIN SOLUTION
    m = jnp.max(x, axis=-1, keepdims=True)
    m = jnp.where(jnp.isfinite(m), m, 0)
    return jnp.log(jnp.mean(jnp.exp(x - m), axis=-1)) + m[:, 0]
    ### END SOLUTION

# %% [markdown] hints="log_mean_exp"
# <details><summary>Hint 1: the idea</summary>
#
# In exact arithmetic any shift $m$ gives the same result. The maximum is a good choice unless it is infinite, because `-inf - (-inf)` is NaN.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jnp.max(x, axis=-1, keepdims=True)` broadcasts against `x`. `jnp.isfinite` and `jnp.where` choose another shift where needed. Remove the axis that `keepdims` has kept.
# </details>
# <details><summary>Hint 3: the library</summary>
#
# You may use `jax.nn.logsumexp`. What is the difference between the logarithm of a sum and of a mean?
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
                       "the logarithm of the sum, not of the mean":
                       lambda x: by_logaddexp(x) + math.log(x.shape[-1])})
check_values(log_mean_exp, by_logaddexp,
             [(np.array([[1000.0, 1001.0, 1002.0]]),), (np.array([[-999.0, -1000.0, -1e4]]),)],
             about="numbers whose exp is too large or too small")
check_values(log_mean_exp, by_logaddexp, [(np.array([[900.0, 901.0], [-900.0, -901.0]]),)],
             about="rows that need different shifts",
             mistakes={"one shift is used for all rows, and rows far below the largest number underflow":
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
# ## 1.17 Masks instead of dynamic shapes
#
# `x[x > 0]` works in JAX until you compile the function:

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
# A compiled program has fixed shapes, but the number of positive elements depends on values. Keep the shape and use a mask: `jnp.where(mask, x, 0)`, `jnp.sum(x, where=mask)`, or `jnp.nonzero(mask, size=4, fill_value=-1)` for positions.
#
# Do not multiply by the mask. Padding can contain anything, and 0 times NaN is NaN. Here are three products with the same mask:

# %% tags=["demonstration"]
def times_float(x, mask):
    return x * mask.astype(jnp.float32)

x, mask = jnp.array([1.0, jnp.nan]), jnp.array([True, False])
print(x * mask, times_float(x, mask), jax.jit(times_float)(x, mask))

# %% [markdown]
# On a CPU the cell prints `[1. 0.]`, `[1. nan]` and `[1. 0.]`. In the first and third product the compiler sees the conversion and the multiplication together, and replaces both by a select. In the second the conversion ran as a separate program, and the multiplication follows IEEE 754, where 0 times NaN is NaN. Do not rely on the optimiser. Use `where`.
#
# ### Masked mean of padded rows
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# `masked_mean(x, lengths)` returns an array of shape `(batch,)`: for each row `i` the mean of `x[i, :lengths[i]]`. The rest of the row is padding.
#
# A row of length 0 gives 0. The padding must not affect the result, even if it is NaN or infinite. If one of the first `lengths[i]` numbers is NaN, the mean is NaN.
#
# The check compares values, and tests purity. Inputs with NaN run under `jax.disable_jit()`, so that the optimiser does not hide a mistake.

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
# The shape of `x[i, :lengths[i]]` depends on a value. Use an array of Booleans of shape `(batch, time)` instead.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# Compare `jnp.arange(time)` with `lengths[:, None]`. Comparisons broadcast too. `jnp.maximum` keeps a divisor above 0.
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
             mistakes={"the sum is divided by the number of nonzero entries":
                       divided_by_nonzeros,
                       "NaN that is not padding counts as 0":
                       lambda x, lengths: sentence_by_sentence(np.nan_to_num(x), lengths),
                       "every mean of NaN becomes 0, not only that of an empty row":
                       lambda x, lengths: np.nan_to_num(sentence_by_sentence(x, lengths)),
                       "NaN that is not padding is left out of the mean":
                       lambda x, lengths: np.array(
                           [np.nanmean(row[:int(n)]) if n else 0 for row, n in zip(x, lengths)])})
### END HIDDEN TESTS

# %% [markdown]
# ## 1.18 Asynchronous dispatch, timing and devices
#
# How long does a product of two matrices of shape (1500, 1500) take?

# %% tags=["demonstration"]
a = jnp.ones((1500, 1500))
(a @ a).block_until_ready()
start = time.perf_counter()
product = a @ a
print(f"the line took {1000 * (time.perf_counter() - start):.2f} ms")
product.block_until_ready()
print(f"the result    {1000 * (time.perf_counter() - start):.2f} ms")

# %% [markdown]
# On two idle CPU cores, for example, the line returns after about 0.1 ms, and the result is ready after about 50 ms. JAX **dispatches** the computation and returns the array before it has been computed, so that Python can go on. The next cell measures this for four products, each of which needs the one before:

# %% tags=["demonstration", "hide-input"]
factor, products, dispatched, ready = a / 1500, [a], [0.0], [0.0]
start = time.perf_counter()
for _ in range(4):
    products.append(products[-1] @ factor)
    dispatched.append(1000 * (time.perf_counter() - start))
for product in products[1:]:
    product.block_until_ready()
    ready.append(1000 * (time.perf_counter() - start))

plt.figure("Timeline: Python dispatches four products, and then waits for the device", figsize=(8, 2))
plt.barh("Python", dispatched[-1], color="C1")
plt.barh("Python", ready[-1] - dispatched[-1], left=dispatched[-1], color="none", edgecolor="grey")
plt.text((dispatched[-1] + ready[-1]) / 2, 0, "block_until_ready", ha="center", va="center")
for i in range(1, 5):
    plt.barh("device", ready[i] - ready[i - 1], left=ready[i - 1], edgecolor="grey", color="C0")
    plt.text((ready[i] + ready[i - 1]) / 2, 1, f"product {i}", ha="center", va="center", color="white")
plt.xlabel("milliseconds since the start")
plt.show()

# %% [markdown]
# *Upper row (the device): one product after another. Lower row (Python): the dispatch of all four products, which is too short to see, and then a long wait.*
#
# Printing, converting to NumPy and `block_until_ready()` wait. If you do not wait, you measure only the dispatch. The first call also includes compilation.
#
# > **In PyTorch** CUDA operations are asynchronous too, and you call `torch.cuda.synchronize()`. In JAX you wait for a result: `jax.block_until_ready(result)`.
#
# ### Time one call
# **Exercise** · 9 minutes · difficulty 3 of 5
#
# `seconds_per_call(f, x, clock)` returns the time from the call of `f(x)` until its result is ready, without compilation.
#
# `f` may return any nested structure of arrays. They can be ready at different times.
#
# The check passes a simulated `f` and `clock`. Call `clock()` to read the time.

# %% exercise="seconds_per_call"
def seconds_per_call(f, x, clock=time.perf_counter) -> float:
    """Seconds that one call of `f(x)` takes, after a first call that is not measured."""
    ### BEGIN SOLUTION
    jax.block_until_ready(f(x))
    start = clock()
    jax.block_until_ready(f(x))
    return clock() - start
    ### END SOLUTION

# %% [markdown] hints="seconds_per_call"
# <details><summary>Hint 1: the idea</summary>
#
# Each time that you read the clock, ask: has `f` been compiled, and is a computation still running?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.block_until_ready(tree)` waits for every array in a tuple, list or dict, and returns it.
# </details>

# %% check="seconds_per_call" points=3
def on_a_fake_device(stopwatch, x, compiling, dispatch, work, pack="one", slow=2):
    """What `stopwatch` measures on a simulated device, where every cost is known.

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
                       "the call is timed without waiting for its result":
                       lambda x, compiling, dispatch, work: dispatch,
                       "compilation is timed too: call `f` once before you read the clock":
                       lambda x, compiling, dispatch, work: compiling + dispatch + x * work,
                       "compilation is timed, and the result is not waited for":
                       lambda x, compiling, dispatch, work: compiling + dispatch,
                       "the first call is still running when the clock is read for the first time":
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
# `x.device` is the device that holds `x`. An operation runs on the device of its inputs. `jax.device_put(x, device)` copies an array to another device. Lesson 07 uses eight devices.

# %% tags=["demonstration"]
print(jax.default_backend(), jax.devices())
print(jax.device_put(np.ones(3), jax.devices()[0]).device)

# %% [markdown]
# ## What to remember
#
# 1. Reads out of bounds are clamped, writes are dropped, and negative indices count from the end. Pass `mode` to change this.
# 2. The default dtypes are float32 and int32, and 64-bit arrays are converted without a warning. Python numbers are weakly typed, `np.float64` is not.
# 3. Arrays never change. Write `x = x.at[i].add(v)`, which accumulates repeated indices.
# 4. Shapes are fixed. Use a mask and `where`, and do not multiply by the mask.
# 5. JAX is asynchronous. Call once, then measure until `jax.block_until_ready` returns.
#
# ## Further reading
#
# - The JAX documentation: [Arrays and jax.numpy](https://docs.jax.dev/en/latest/101/arrays.html), [The Sharp Bits](https://docs.jax.dev/en/latest/notebooks/Common_Gotchas_in_JAX.html), [Type promotion semantics](https://docs.jax.dev/en/latest/101/type_promotion.html), [`jax.numpy.ndarray.at`](https://docs.jax.dev/en/latest/_autosummary/jax.numpy.ndarray.at.html), [Benchmarking](https://docs.jax.dev/en/latest/benchmarking.html).
# - Goldberg, [What every computer scientist should know about floating-point arithmetic](https://doi.org/10.1145/103162.103163) (1991). Blanchard, Higham and Higham, [Accurately computing the log-sum-exp and softmax functions](https://doi.org/10.1093/imanum/draa038) (2021).
#
# ## Previous and next
#
# [Lesson 00](../00_start/00_start.ipynb) explained exercises and checks. [Lesson 02](../02_grad/02_grad.ipynb) computes gradients of functions of arrays.
