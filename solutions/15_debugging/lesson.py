# %% [markdown]
# # 15 · Debugging: errors, silent bugs, and the tests that find them
#
# After this lesson you can
#
# - tell from a JAX error which kind of code raised it;
# - print, record and check values inside a compiled function;
# - find the operation or the layer in which a NaN first appears;
# - write a short test that fails on a silent bug and passes on every right function.
#
# Some bugs raise an error. Others return plausible numbers, and only a test finds them.
#
# About 120 minutes. There is a good place for a break after 15.6. You need lessons 01 to 06, and Optax from lesson 08.

# %%
import dis
import gc
import logging
import sys

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from jax import export, lax
from jax.experimental import checkify
from jaxtyping import Array, Float

from graders import check_answer, check_primitives, check_values, sweep, through

# %% [markdown]
# ## 15.0 Recall
#
# Three questions about earlier lessons, one point each.
#
# **Recall** · 1 minute · difficulty 1 of 5
#
# What is `jnp.zeros(3).at[5].set(1.0).sum()`?

# %% exercise="written_outside" kind="recall"
# A number, or the name of an exception as a string.
### BEGIN SOLUTION
written_outside = 0.0
### END SOLUTION

# %% check="written_outside" points=1
check_answer(
    written_outside,
    lambda: float(jnp.zeros(3).at[5].set(1.0).sum()),
    because="A write outside the array is dropped. A read outside is clamped. Neither raises.",
    mistakes={
        "IndexError": "NumPy raises. JAX drops a write that lies outside the array",
        1.0: "the write is dropped, not moved to the last element",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# What is `jax.grad(lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0))(0.0)`?

# %% exercise="grad_of_where" kind="recall"
# A string: "0.0", "0.5", "inf" or "nan".
### BEGIN SOLUTION
grad_of_where = "nan"
### END SOLUTION

# %% check="grad_of_where" points=1
check_answer(
    grad_of_where,
    lambda: str(float(jax.grad(lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0))(0.0))),
    because="Both branches are differentiated: the cotangent 0 times the slope inf of the root is NaN.",
    mistakes={
        "0.0": "the value is 0.0. The gradient is 0 * inf from the branch that was not selected",
        "inf": "the slope of the root is inf, and it is multiplied by a cotangent of 0",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 1 of 5
#
# Under `jax.vmap`, the predicate of a `lax.cond` differs between examples. How many of the two branches are computed for each example?

# %% exercise="branches_run" kind="recall"
# An integer.
### BEGIN SOLUTION
branches_run = 2
### END SOLUTION

# %% check="branches_run" points=1
check_answer(
    branches_run,
    2,
    because="Under vmap a cond with a batched predicate becomes a select, which needs both results.",
    mistakes={1: "that is so without vmap. With a batched predicate, cond becomes select"},
)

# %% [markdown]
# ## 15.1 Errors raised while tracing
#
# Read an error from the bottom. The last lines give the class, the operation, the shape and dtype of the tracer, and often the argument that it came from. `JAX_TRACEBACK_FILTERING=off` in the environment also shows the frames inside JAX.

# %% tags=["demonstration"]
try:
    jax.jit(lambda x: float(x) + 1)(2.0)
except Exception as error:
    print(type(error).__name__, *str(error).splitlines()[:3], sep="\n")

# %% [markdown]
# Five classes in `jax.errors` have the same cause: the function needs the *value* of an argument, and a tracer has none. The class says what the tracer was used as:
#
# | class | used as |
# |---|---|
# | `TracerBoolConversionError` | a truth value |
# | `TracerIntegerConversionError` | an index or a count in plain Python |
# | `TracerArrayConversionError` | a NumPy array |
# | `ConcretizationTypeError` | any other value, such as a Python number |
# | `NonConcreteBooleanIndexError` | a boolean mask, whose values decide the size of the result |
#
# The base classes `JAXTypeError` and `JAXIndexError` are not raised themselves. For remedies see [errors](../reference/errors.md).
#
# ### Raise the five tracing errors
# **Exercise** · 7 minutes · difficulty 2 of 5
#
# **Return** a dictionary from the five names to functions of `x`, an int32 array of shape (3,) with elements from 1 to 3. Under `jax.jit`, each function raises exactly that class, not a subclass.
#
# **Edge cases.** Without `jit`, each function runs without an error for every such `x`.
#
# **The check** calls each function with and without `jit`, and compares the class of the error.

# %% exercise="tracing_errors"
def tracing_errors() -> dict:
    """Five functions of an int32 array, by the name of the error that they raise under `jax.jit`."""
    ### BEGIN SOLUTION
    return {
        "TracerBoolConversionError": lambda x: 1 if x[0] > 0 else 0,
        "TracerIntegerConversionError": lambda x: [10, 11, 12, 13][x[0]],
        "TracerArrayConversionError": lambda x: np.sin(x),
        "ConcretizationTypeError": lambda x: float(x[0]),
        "NonConcreteBooleanIndexError": lambda x: x[x > 1],
    }
    ### END SOLUTION

# %% [markdown] hints="tracing_errors"
# <details><summary>Hint 1: the idea</summary>
#
# Write what you would write in NumPy: an `if`, a Python list with an index, a function of `np`, a conversion, a mask.
# </details>
# <details><summary>Hint 2: two neighbours</summary>
#
# `float(...)` and `int(...)` ask for a value. `[10, 11][i]` and `range(i)` call `__index__`, which has a class of its own.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# `return {"TracerBoolConversionError": lambda x: 1 if ... else 0, ...}`. Use `x[0]` where one number is needed.
# </details>

# %% check="tracing_errors" points=3
TRACING = (
    "TracerBoolConversionError",
    "TracerIntegerConversionError",
    "TracerArrayConversionError",
    "ConcretizationTypeError",
    "NonConcreteBooleanIndexError",
)


def outcome(function, *args):
    try:
        function(*args)
    except Exception as error:
        return type(error).__name__
    return "no error"


def with_jit(functions, x):
    return {name: outcome(jax.jit(function), x) for name, function in functions().items()}


def without_jit(functions, x):
    return {name: outcome(function, x) for name, function in functions().items()}


check_values(
    through(with_jit, tracing_errors),
    [{name: name for name in TRACING}] * 2,
    [(np.array([1, 2, 3], np.int32),), (np.array([3, 1, 1], np.int32),)],
    about="under jit",
)
check_values(
    through(without_jit, tracing_errors),
    [dict.fromkeys(TRACING, "no error")] * 2,
    [(np.array([1, 2, 3], np.int32),), (np.array([3, 3, 2], np.int32),)],
    about="without jit",
)
### BEGIN HIDDEN TESTS
check_values(
    through(without_jit, tracing_errors),
    [dict.fromkeys(TRACING, "no error")],
    [(np.array([2, 2, 2], np.int32),)],
    about="without jit, other numbers",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 15.2 Errors raised later, or by a checker
#
# Your code can raise four more classes:
#
# - `UnexpectedTracerError`: a tracer is used after its trace has ended, because a traced function stored it somewhere. `with jax.checking_leaks():` reports the leak when that trace ends. Turn it on before the first call: a call that finds its program in the cache reports nothing.
# - `KeyReuseError`: a typed key is used twice. Only `jax.debug_key_reuse(True)` looks for this.
# - `InconclusiveDimensionOperation`: Python code compares or divides a *symbolic dimension* of `jax.export`, whose size is unknown.
# - `JaxRuntimeError`: a compiled program, a callback or a request for memory failed at run time. The message begins with a status such as `RESOURCE_EXHAUSTED`.
#
# The last class, `JaxprTypeError`, reports an invalid jaxpr, which ordinary code does not build.
#
# Use switches as context managers. If you call `jax.config.update`, put the old value back in a `finally`. Do not mix the two for one switch: once `with jax.debug_nans(True):` has been used, `jax.config.update("jax_debug_nans", True)` misses a NaN in a program that is compiled already (JAX 0.10).
#
# The checks of 15.2 and 15.4 use this cell. You need not read it.

# %%
SWITCHES = (
    "jax_debug_key_reuse",
    "jax_debug_nans",
    "jax_check_tracer_leaks",
    "jax_numpy_rank_promotion",
    "jax_numpy_dtype_promotion",
    "jax_transfer_guard_host_to_device",
    "jax_enable_x64",
)


def is_raised_by_hand(error):
    """Whether a `raise` outside JAX raised it."""
    frame = error.__traceback__
    while frame.tb_next:
        frame = frame.tb_next
    raised = dis.opname[frame.tb_frame.f_code.co_code[frame.tb_lasti]]
    module = frame.tb_frame.f_globals.get("__name__", "").split(".")[0]
    return raised == "RAISE_VARARGS" and "jax" not in module


def how_it_ends(function):
    """What `function()` raises, with what the text forbids, and the message."""
    before = {name: getattr(jax.config, name) for name in SWITCHES}
    filtering = jax.config.jax_traceback_filtering
    jax.config.update("jax_traceback_filtering", "off")
    gc.freeze()  # the leak checker walks all objects: older ones are left out
    try:
        function()
        found, message = "no error", ""
    except Exception as error:
        found, message = type(error).__name__, str(error)
        if found == "JaxRuntimeError" and not isinstance(error, RuntimeError):
            found = "JaxRuntimeError of checkify"
        found = found + " from a `raise` of your own" * is_raised_by_hand(error)
    finally:
        gc.unfreeze()
        jax.config.update("jax_traceback_filtering", filtering)
        changed = [name for name in SWITCHES if getattr(jax.config, name) != before[name]]
        for name in SWITCHES:
            jax.config.update(name, before[name])
    return found + "".join(f", and {name} stays changed" for name in changed), message


# %% [markdown]
# ### Raise four more errors of JAX
# **Exercise** · 10 minutes · difficulty 3 of 5
#
# **Return** a dictionary from these four names to functions without arguments. Each raises exactly that class. A request for more than 10¹² bytes is refused at once, and so is safe.
#
# **Edge cases.** JAX raises the error: your code holds no `raise`. After the call, every switch is as it was before. A second call raises the same error.
#
# **The check** calls each function twice, and some while a switch is on already. It looks at the class, at where the error was raised, and at the switches.

# %% exercise="other_errors"
def other_errors() -> dict:
    """Functions without arguments, by the name of the error of `jax.errors` that they raise."""
    ### BEGIN SOLUTION
    def unexpected():
        kept = []
        jax.jit(lambda x: kept.append(x))(1.0)
        return kept[0] + 1

    def reused():
        key = jax.random.key(0)
        with jax.debug_key_reuse(True):
            return jax.random.normal(key) + jax.random.normal(key)

    return {
        "UnexpectedTracerError": unexpected,
        "KeyReuseError": reused,
        "InconclusiveDimensionOperation": lambda: export.symbolic_shape("n")[0] > 3,
        "JaxRuntimeError": lambda: jnp.zeros((10**6, 10**6)),
    }
    ### END SOLUTION

# %% [markdown] hints="other_errors"
# <details><summary>Hint 1: the idea</summary>
#
# Append a traced value to a list and use it later. Draw twice from one key. Compare a symbolic size with a number. Ask for more memory than there is.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `with jax.debug_key_reuse(True):` and `n, = export.symbolic_shape("n")`
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# Define four short inner functions and return `{"KeyReuseError": reused, ...}`. The list that keeps the tracer belongs inside its function.
# </details>

# %% check="other_errors" points=3
def classes(functions):
    made = functions()

    def one_call():
        return {name: how_it_ends(function)[0] for name, function in made.items()}

    return {"first call": one_call(), "second call": one_call()}


OTHERS = ("UnexpectedTracerError", "KeyReuseError", "InconclusiveDimensionOperation", "JaxRuntimeError")
MEANT = {name: name for name in OTHERS}
check_values(through(classes, other_errors), [{"first call": MEANT, "second call": MEANT}], [()])
### BEGIN HIDDEN TESTS
def class_when_switched(functions, name, switch):
    before = getattr(jax.config, switch)
    jax.config.update(switch, True)
    try:
        return how_it_ends(functions()[name])[0]
    finally:
        jax.config.update(switch, before)


check_values(
    through(class_when_switched, other_errors),
    ["KeyReuseError", "UnexpectedTracerError"],
    [("KeyReuseError", "jax_debug_key_reuse"), ("UnexpectedTracerError", "jax_debug_nans")],
    about="while a switch is on",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 15.3 Print and record values inside a compiled function
#
# `print` runs once, during tracing, and shows a tracer. `jax.debug.print` becomes part of the program and shows values at run time. Pass the values as arguments: an f-string would format the tracer.
#
# **Prediction** · 2 minutes · difficulty 2 of 5
#
# ```python
# def f(x):
#     print("traced")
#     jax.debug.print("x = {x}", x=x)
#     return 2 * x
#
# jax.vmap(f)(jnp.arange(3.0))
# ```
#
# How many lines are printed in all?

# %% exercise="lines_printed" kind="prediction"
# An integer.
### BEGIN SOLUTION
lines_printed = 4
### END SOLUTION

# %% check="lines_printed" points=1
def count_lines():
    lines = []

    def f(x):
        lines.append("traced")
        jax.debug.callback(lambda x: lines.append(x), x)
        return 2 * x

    jax.vmap(f)(jnp.arange(3.0))
    jax.effects_barrier()
    return len(lines)


check_answer(
    lines_printed,
    count_lines,
    because="The Python function runs once for the batch. `jax.debug.print` runs for each of the three examples.",
    mistakes={
        2: "`jax.debug.print` under vmap prints once for each example",
        6: "the body, and with it `print`, runs once for the whole batch",
        3: "`print` also runs, once",
    },
)

# %% [markdown]
# - `jax.debug.callback(f, *args)` calls a Python function with concrete arrays and ignores its result. With `ordered=True` the calls keep the order of the program, which `vmap` does not support.
# - `jax.effects_barrier()` waits for all callbacks. An error in one arrives as a `JaxRuntimeError`.
# - `jax.debug.breakpoint()` stops a compiled program and opens a prompt: `p x` prints a variable, `u` and `d` change the frame, `c` continues. Under `jax.disable_jit()` Python's `breakpoint()` and `pdb` work too.
#
# ### Record the loss of every step
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# `watched_descent(f, x, learning_rate, steps, log)` minimises `f`, a scalar function of one float array.
#
# **Return** the array after `steps` updates `x - learning_rate * gradient`. In each step call `log(step, value)` with the number of the step, from 0, and `f(x)` before the update.
#
# **Edge cases.** Under `jax.jit`, `log` is called at run time and in order, also when the compiled program runs again. `steps` is a Python integer of at least 1.
#
# **The check** compares the result and what `log` received in a second run under `jit`. In the program the callbacks are ordered ones, and its size does not depend on `steps`.

# %% exercise="watched_descent"
def watched_descent(f, x: Float[Array, "n"], learning_rate: float, steps: int, log) -> Float[Array, "n"]:
    """`steps` steps of gradient descent on `f`. Each calls `log(step, f(x))` at run time, in order."""
    ### BEGIN SOLUTION
    def step(x, i):
        value, gradient = jax.value_and_grad(f)(x)
        jax.debug.callback(log, i, value, ordered=True)
        return x - learning_rate * gradient, None

    return lax.scan(step, x, jnp.arange(steps))[0]
    ### END SOLUTION

# %% [markdown] hints="watched_descent"
# <details><summary>Hint 1: the idea</summary>
#
# Write the loop as a scan over the numbers of the steps. Inside it, ask JAX to call `log` with the values of this step.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.value_and_grad`, `lax.scan` over `jnp.arange(steps)`, and `jax.debug.callback(log, ..., ordered=True)`
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# `def step(x, i): ...` computes value and gradient, calls back, and returns `(new_x, None)`.
# </details>

# %% check="watched_descent" points=3
def parabola(x):
    return jnp.sum(x**2)


def sines(x):
    return jnp.sum(jnp.sin(x)) + x[0] ** 2


SLOPES = {
    "parabola": (lambda x: np.sum(x**2), lambda x: 2 * x),
    "sines": (
        lambda x: np.sum(np.sin(x)) + x[0] ** 2,
        lambda x: np.cos(x) + 2 * x[0] * (np.arange(len(x)) == 0),
    ),
}


def second_run(descend, f, x, learning_rate, steps):
    records = []

    def log(step, value):
        records.append((int(step), float(value)))

    run = jax.jit(lambda x: descend(f, x, learning_rate, steps, log))
    run(x + 1)
    jax.effects_barrier()
    records.clear()
    result = run(x)
    jax.effects_barrier()
    numbers, values = zip(*records) if records else ((), ())
    return {"result": result, "steps": jnp.array(numbers, jnp.int32), "values": jnp.array(values)}


def descent(f, x, learning_rate, steps, late=False):
    values = []
    value, slope = SLOPES[f.__name__]
    for _ in range(steps):
        values.append(value(x))
        x = x - learning_rate * slope(x)
    values.append(value(x))
    return {"result": x, "steps": np.arange(steps), "values": np.array(values[late : steps + late])}


def along_parabola(descend, x, steps):
    return descend(parabola, x, 0.1, steps, lambda step, value: int(step))


def keeps_order(descend, x, steps):
    effects = jax.make_jaxpr(lambda x: along_parabola(descend, x, steps))(x).effects
    return jnp.asarray(any("Ordered" in str(effect) for effect in effects))


check_values(
    through(keeps_order, watched_descent),
    lambda x, steps: np.asarray(True),
    [(np.ones(2), 3), (np.ones(3), 5)],
    mistakes={"the callbacks are not ordered": lambda x, steps: np.asarray(False)},
    about="the order of the callbacks",
)
check_values(
    through(second_run, watched_descent),
    descent,
    [
        (parabola, np.array([1.0, -2.0]), 0.25, 3),
        *sweep(sines, "n", 0.1, 6, count=2),
        *sweep(parabola, "4", 0.5, 1, planted=True, count=1),
    ],
    mistakes={"the value after the step is logged": lambda *args: descent(*args, late=True)},
)
check_primitives(
    through(along_parabola, watched_descent),
    np.ones(2),
    3,
    static_argnums=(1,),
    same_size_for=[(np.ones(2), 30)],
)
### BEGIN HIDDEN TESTS
check_values(
    through(second_run, watched_descent),
    descent,
    sweep(sines, "5", 0.3, 25, count=1, seed=7),
    about="more steps",
    mistakes={"the value after the step is logged": lambda *args: descent(*args, late=True)},
)
### END HIDDEN TESTS

# %% [markdown]
# Your function logs three descents into a curved valley:

# %% tags=["demonstration", "raises-exception"]
def valley(x):
    return 0.5 * (x[0] - 1) ** 2 + (x[1] - x[0] ** 2) ** 2


figure, axes = plt.subplots(
    num="Logged values of three descents",
    figsize=(8, 3.5), layout="constrained",
)
for start in ([-0.5, 1.0], [0.0, -1.0], [-1.5, 2.0]):
    seen = []
    jax.jit(lambda x: watched_descent(valley, x, 0.1, 60, lambda i, v: seen.append(v)))(jnp.array(start))
    jax.effects_barrier()
    axes.semilogy(seen, label=f"from {start}")
axes.set_xlabel("step"), axes.set_ylabel("value"), figure.legend(loc="outside right upper")
plt.show()

# %% [markdown]
# *The logged values, one line for each starting point. The third descent crosses a plateau first.*
#
# ## 15.4 Switches that turn silent bugs into errors
#
# | switch, in a `with` | finds |
# |---|---|
# | `jax.debug_nans(True)` | a NaN in the output of a program, and the operation that made it |
# | `jax.debug_infs(True)` | the same for infinities |
# | `jax.checking_leaks()` | a tracer that outlives its trace |
# | `jax.debug_key_reuse(True)` | a key that is used twice |
# | `jax.numpy_rank_promotion("raise")` | broadcasting between different ranks |
# | `jax.numpy_dtype_promotion("strict")` | implicit conversion between dtypes |
# | `jax.transfer_guard("disallow")` | implicit transfers between host and device |
#
# `jax.log_compiles()` logs each compilation. The option `jax_explain_cache_misses` logs why a call was traced again:

# %% tags=["demonstration"]
logging.getLogger("jax").addHandler(shown := logging.StreamHandler(sys.stdout))
double = jax.jit(lambda x: 2 * x)
double(jnp.ones(3))
jax.config.update("jax_explain_cache_misses", True)
try:
    double(jnp.ones(4))
finally:
    jax.config.update("jax_explain_cache_misses", False)
    logging.getLogger("jax").removeHandler(shown)

# %% [markdown]
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# `f = jax.jit(lambda x: jnp.where(x > 0, jnp.log(x), 0.0))`. What happens at `f(-1.0)` inside `with jax.debug_nans(True):`?

# %% exercise="nan_seen" kind="prediction"
# A number, or the name of an exception as a string.
### BEGIN SOLUTION
nan_seen = 0.0
### END SOLUTION

# %% check="nan_seen" points=1
def where_under_debug_nans():
    with jax.debug_nans(True):
        try:
            return float(jax.jit(lambda x: jnp.where(x > 0, jnp.log(x), 0.0))(-1.0))
        except Exception as error:
            return type(error).__name__


check_answer(
    nan_seen,
    where_under_debug_nans,
    because="`debug_nans` looks at the outputs of a program. This NaN never reaches an output.",
    mistakes={
        "FloatingPointError": "the NaN of the log is not selected, and debug_nans sees outputs only",
        "nan": "where selects the 0.0",
    },
)

# %% [markdown]
# ### Raise errors outside `jax.errors`
# **Exercise** · 10 minutes · difficulty 3 of 5
#
# **Return** a dictionary with these keys. Each value is a function without arguments that makes JAX raise that class, with these words in the message.
#
# | key | class | words |
# |---|---|---|
# | `"traced shape"` | `TypeError` | `Shapes must be 1D sequences of concrete values` |
# | `"traced slice"` | `IndexError` | `static` |
# | `"donated"` | `RuntimeError` or `ValueError` | `deleted` |
# | `"while gradient"` | `ValueError` | `Reverse-mode differentiation does not work` |
# | `"leak"` | `Exception` | `Leaked` |
# | `"nan"` | `FloatingPointError` | `nan` |
# | `"rank"` | `ValueError` | `jax_numpy_rank_promotion` |
# | `"dtypes"` | `TypePromotionError` | `jax_numpy_dtype_promotion` |
# | `"transfer"` | `JaxRuntimeError` | `Disallowed` |
#
# **Edge cases.** As in 15.2: no `raise`, switches as before, and the same error in a second call. Use the context managers of the table above.
#
# **The check** looks at the class, the words, where the error was raised, and the switches.

# %% exercise="loud_errors"
def loud_errors() -> dict:
    """Functions without arguments that raise the errors of the table, by their keys."""
    ### BEGIN SOLUTION
    def donated():
        x = jnp.arange(4.0)
        jax.jit(lambda x: x + 1, donate_argnums=0)(x)
        return x + 1

    def leak():
        kept = []
        with jax.checking_leaks():
            return jax.jit(lambda x: kept.append(x))(1.0)

    def nan():
        with jax.debug_nans(True):
            return jnp.log(-1.0)

    def rank():
        with jax.numpy_rank_promotion("raise"):
            return jnp.ones((3, 1)) - jnp.ones(3)

    def dtypes():
        with jax.numpy_dtype_promotion("strict"):
            return jnp.ones(3) + jnp.ones(3, jnp.int32)

    def transfer():
        with jax.transfer_guard("disallow"):
            return jnp.sin(np.ones(3))

    def power(x):
        return lax.while_loop(lambda c: c < 9.0, lambda c: c * x, x)

    return {
        "traced shape": lambda: jax.jit(lambda n: jnp.zeros(n))(3),
        "traced slice": lambda: jax.jit(lambda n: jnp.arange(5)[:n])(3),
        "donated": donated,
        "while gradient": lambda: jax.grad(power)(2.0),
        "leak": leak,
        "nan": nan,
        "rank": rank,
        "dtypes": dtypes,
        "transfer": transfer,
    }
    ### END SOLUTION

# %% [markdown] hints="loud_errors"
# <details><summary>Hint 1: the idea</summary>
#
# The first two pass a size through `jit`. The third reads an argument that it has donated. The fourth differentiates `lax.while_loop`. The other five turn on one switch each and commit the fault.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.jit(..., donate_argnums=0)`, `jax.grad`, and the switches of the table in 15.4. A NumPy array that is passed to `jnp.sin` is an implicit transfer.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# Define a short inner function for each switch: `with jax.numpy_rank_promotion("raise"):` and one line below it.
# </details>

# %% check="loud_errors" points=3
LOUD = {
    "traced shape": ("TypeError", "Shapes must be 1D sequences of concrete values"),
    "traced slice": ("IndexError", "static"),
    "donated": ("RuntimeError", "deleted"),
    "while gradient": ("ValueError", "Reverse-mode differentiation does not work"),
    "leak": ("Exception", "Leaked"),
    "nan": ("FloatingPointError", "nan"),
    "rank": ("ValueError", "jax_numpy_rank_promotion"),
    "dtypes": ("TypePromotionError", "jax_numpy_dtype_promotion"),
    "transfer": ("JaxRuntimeError", "Disallowed"),
}


def how_it_raises(name, function):
    """The class that `function()` raises, with what the text forbids."""
    found, message = how_it_ends(function)
    kind, words = LOUD[name]
    if name == "donated" and found == "ValueError":
        found = "RuntimeError"
    return found + " without the words" * (found == kind and words not in message)


def loud(functions):
    made = functions()

    def one_call():
        found = {name: how_it_raises(name, made[name]) if name in made else "missing" for name in LOUD}
        return found | {name: "not asked for" for name in made if name not in LOUD}

    return {"first call": one_call(), "second call": one_call()}


EXPECTED = {name: kind for name, (kind, _) in LOUD.items()}
check_values(through(loud, loud_errors), [{"first call": EXPECTED, "second call": EXPECTED}], [()])
### BEGIN HIDDEN TESTS
def loud_when_switched(functions, name, switch, value):
    before = getattr(jax.config, switch)
    jax.config.update(switch, value)
    try:
        return how_it_raises(name, functions()[name])
    finally:
        jax.config.update(switch, before)


check_values(
    through(loud_when_switched, loud_errors),
    ["FloatingPointError", "ValueError"],
    [("nan", "jax_debug_nans", True), ("rank", "jax_numpy_rank_promotion", "warn")],
    about="while a switch is on",
)
### END HIDDEN TESTS

# %% [markdown]
# On several devices, `ShardingTypeError` reports shardings that do not fit together, and `IndivisibleError` an axis that the devices do not divide.
#
# ## 15.5 Check values inside a compiled function with checkify
#
# `assert` and `raise` cannot look at a traced value. `checkify.check(condition, message, **values)` can. `checkify.checkify(f)` turns these checks into a second result, and works with `jit`, `vmap` and `scan`.

# %% tags=["demonstration"]
def safe_log(x):
    checkify.check(x > 0, "x must be positive, got {x}", x=x)
    return jnp.log(x)


checked_log = jax.jit(checkify.checkify(safe_log))
error, value = checked_log(-1.0)
print(error.get(), value)

# %% [markdown]
# The program runs to its end and still computes a value. Nothing is raised until you call `error.throw()`. It raises a `ValueError` whose class is also called `JaxRuntimeError`, but is not the one in `jax.errors`. `error.get()` returns the message or `None`. Without `checkify.checkify`, a `check` under `jit` raises a `ValueError` ("not functionalized").
#
# With `errors=checkify.nan_checks`, `index_checks` or `div_checks`, joined by `|`, checkify adds a check after every operation. It also finds the NaN of the prediction above.
#
# ### Check the weights
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# `normalise(weights)` turns weights into probabilities. It calls `checkify.check`, and its caller applies `checkify.checkify`.
#
# **Return** `weights / weights.sum()`, with the shape and dtype of `weights`, a float array of shape (n,).
#
# **Edge cases.** If an element is negative, the message is `negative weight -2.5 at index 3`, with the value and position of the *first* negative element. If none is negative and the sum is exactly zero, it is `all weights are zero`. All elements are finite.
#
# **The check** compares value and message under `jit`, and the message for a batch under `vmap`.

# %% exercise="normalise"
def normalise(weights: Float[Array, "n"]) -> Float[Array, "n"]:
    """`weights / weights.sum()`, with checks for a negative element and for a sum of zero."""
    ### BEGIN SOLUTION
    first = jnp.argmax(weights < 0)
    checkify.check(
        jnp.all(weights >= 0), "negative weight {value} at index {first}", value=weights[first], first=first
    )
    total = weights.sum()
    checkify.check(total > 0, "all weights are zero")
    return weights / total
    ### END SOLUTION

# %% [markdown] hints="normalise"
# <details><summary>Hint 1: the idea</summary>
#
# Two checks, in the order of the text: the first one that fails gives the message. A message takes arrays as keyword arguments.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `checkify.check(predicate, "... {value} ...", value=...)`. `jnp.argmax` of booleans is the position of the first `True`.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# Find `first`, then `checkify.check(jnp.all(weights >= 0), ..., value=weights[first], first=first)`, then the second check, then the quotient.
# </details>

# %% check="normalise" points=3
def message_of(error):
    return (error.get() or "no error").replace(" (`check` failed)", "")


def value_of(f, weights):
    error, value = checkify.checkify(jax.jit(f))(weights)
    return {"message": message_of(error), "value": value}


def message_alone(f, weights):
    return message_of(checkify.checkify(jax.jit(f))(weights)[0])


def messages_of_batch(f, weights):
    error, _ = jax.jit(jax.vmap(checkify.checkify(f)))(weights)
    return message_of(error)


def normalised(weights):
    return {"message": "no error", "value": weights / weights.sum()}


check_values(
    through(value_of, normalise),
    normalised,
    [
        (np.array([1.0, 3.0]),),
        (np.array([0.0, 2.0, 0.0]),),
        (np.array([1e-6, 3e-6, 0.0, 4e-6]),),
        (np.array([2e6, 3e6, 1e6, 5e6, 7e6]),),
    ],
    about="weights without a fault",
)
check_values(
    through(message_alone, normalise),
    [
        "negative weight -2.5 at index 3",
        "negative weight -1.0 at index 1",
        "negative weight -0.5 at index 0",
        "negative weight -0.25 at index 1",
    ],
    [
        (np.array([1.0, 2.0, 0.0, -2.5, 1.0]),),
        (np.array([1.0, -1.0]),),
        (np.array([-0.5]),),
        (np.array([4.0, -0.25, 2.0, -3.0]),),
    ],
    about="a negative weight",
)
check_values(
    through(message_alone, normalise),
    ["all weights are zero", "all weights are zero"],
    [(np.zeros(3),), (np.zeros(1),)],
    about="a sum of zero",
)
### BEGIN HIDDEN TESTS
check_values(
    through(messages_of_batch, normalise),
    [
        "at mapped index 1: negative weight -4.0 at index 2",
        "at mapped index 2: all weights are zero",
        "no error",
        "no error",
    ],
    [
        (np.array([[1.0, 2.0, 3.0], [5.0, 6.0, -4.0]]),),
        (np.array([[1.0, 2.0], [0.0, 5.0], [0.0, 0.0]]),),
        (np.array([[1.0, 2.0], [0.0, 5.0]]),),
        (np.array([[1e-12, 2e-12]]),),
    ],
    about="a batch",
)
### END HIDDEN TESTS

# %% [markdown]
# Your function on a batch with one bad row:

# %% tags=["demonstration", "raises-exception"]
error, probabilities = jax.vmap(checkify.checkify(normalise))(jnp.array([[1.0, 3.0], [2.0, -0.5]]))
print(probabilities)
print(error.get())

# %% [markdown]
# ### Find a NaN that the result hides
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `hidden_nan(f, x)` **returns** the pair `(found, value)`. `value` is `f(x)`. `found`, a bool or a boolean scalar, says whether any operation of `f` makes a NaN at `x`, even one that does not reach the result.
#
# **Edge cases.** `f` is a traceable function of one float array without NaN. A NaN may arise in a loop or under `jit`. An infinity does not count.
#
# **The check** compares both results for functions that show a NaN, hide one, or have none.

# %% exercise="hidden_nan"
def hidden_nan(f, x: Float[Array, "n"]) -> tuple:
    """Whether an operation of `f` makes a NaN at `x`, and `f(x)`."""
    ### BEGIN SOLUTION
    error, value = checkify.checkify(f, errors=checkify.nan_checks)(x)
    return error.get() is not None, value
    ### END SOLUTION

# %% [markdown] hints="hidden_nan"
# <details><summary>Hint 1: the idea</summary>
#
# Let checkify add a check after each operation. Then see whether there is an error.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `checkify.checkify(f, errors=checkify.nan_checks)` returns a function that returns `(error, value)`. `error.get()` is `None` where nothing is wrong.
# </details>

# %% check="hidden_nan" points=3
def log_behind_where(x):
    return jnp.where(x > 0, jnp.log(x), 0.0)


def plain_root(x):
    return jnp.sqrt(x)


def large_then_small(x):
    return 1.0 / jnp.exp(100.0 * x)


def reciprocal(x):
    return 1.0 / x


def root_in_scan(x):
    return lax.scan(lambda c, v: (c + jnp.where(v < 0, 0.0, jax.jit(jnp.sqrt)(v)), None), 0.0, x)[0]


def nan_in_one_place(x):
    return jnp.nansum(x / x)


def found_and_value(find, f, x):
    found, value = find(f, x)
    return {"found": jnp.asarray(found), "value": value}


WITH_NAN = {
    "log_behind_where": lambda x: (np.any(x < 0), np.where(x > 0, np.log(np.where(x > 0, x, 1.0)), 0.0)),
    "plain_root": lambda x: (np.any(x < 0), np.sqrt(np.where(x < 0, np.nan, x))),
    "large_then_small": lambda x: (False, np.where(x > 0.9, 0.0, np.exp(-100.0 * np.minimum(x, 0.9)))),
    "reciprocal": lambda x: (False, np.where(x == 0, np.inf, 1.0 / np.where(x == 0, 1.0, x))),
    "root_in_scan": lambda x: (np.any(x < 0), np.sum(np.sqrt(np.maximum(x, 0.0)))),
    "nan_in_one_place": lambda x: (np.any(x == 0), np.sum(x != 0) * 1.0),
}


def nan_and_value(f, x):
    found, value = WITH_NAN[f.__name__](x)
    return {"found": np.asarray(found), "value": value}


check_values(
    through(found_and_value, hidden_nan),
    nan_and_value,
    [
        (log_behind_where, np.array([1.0, 2.0])),
        (log_behind_where, np.array([1.0, -2.0, 3.0])),
        (plain_root, np.array([4.0, -4.0])),
        (plain_root, np.array([4.0])),
        (nan_in_one_place, np.array([1.0, 0.0, 3.0])),
        (nan_in_one_place, np.array([1.0, -2.0])),
    ],
    mistakes={
        "a NaN counts only where the result shows it":
            lambda f, x: {"found": np.isnan(WITH_NAN[f.__name__](x)[1]).any(), "value": WITH_NAN[f.__name__](x)[1]},
    },
)
check_values(
    through(found_and_value, hidden_nan),
    nan_and_value,
    [
        (large_then_small, np.array([1.0, 2.0])),
        (large_then_small, np.array([0.0])),
        (reciprocal, np.array([0.0, 2.0])),
        (plain_root, np.array([-1.0])),
    ],
    about="infinities",
    mistakes={
        "an infinity counts as a NaN":
            lambda f, x: {"found": np.any(x != 0), "value": WITH_NAN[f.__name__](x)[1]},
    },
)
### BEGIN HIDDEN TESTS
check_values(
    through(found_and_value, hidden_nan),
    nan_and_value,
    [(root_in_scan, np.array([1.0, 4.0, -1.0])), (root_in_scan, np.array([1.0, 4.0]))],
    about="a loop",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 15.6 Bug hunt: the first layer that is not finite
#
# A network of twelve layers returns only NaN. A NaN passes through all later layers, so the output does not say where it began. Often an infinity came first, and `inf - inf` or `0 * inf` followed.

# %%
def centred_layer(params, x):
    h = jnp.tanh(x @ params["w"]) * params["scale"]
    return h - h.mean()


keys = jax.random.split(jax.random.key(15), 12)
deep_params = [{"w": 0.2 * jax.random.normal(key, (32, 32)), "scale": jnp.float32(8.0)} for key in keys]
deep_params[7]["scale"] = jnp.float32(3e38)
x = jax.random.normal(jax.random.key(0), (32,))
out = x
for params in deep_params:
    out = centred_layer(params, out)
print(out[:4])

# %% [markdown]
# ### Find the layer
# **Exercise** · 6 minutes · difficulty 2 of 5
#
# `first_bad_layer(layer, params, x)` **returns** the index, from 0, of the first layer whose output holds a NaN or an infinity, as a Python int or an integer scalar. `params` is a list with one tree per layer. Layer `i` computes `layer(params[i], x)` from the output of the layer before.
#
# **Edge cases.** If every output is finite, return -1. A later layer may make the values finite again. `x` is finite, and each output is one array.
#
# **The check** compares indices for several layers and depths.

# %% exercise="first_bad_layer"
def first_bad_layer(layer, params: list, x: Float[Array, "n"]) -> int:
    """The index of the first layer whose output is not finite everywhere, or -1."""
    ### BEGIN SOLUTION
    for index, layer_params in enumerate(params):
        x = layer(layer_params, x)
        if not jnp.isfinite(x).all():
            return index
    return -1
    ### END SOLUTION

# %% [markdown] hints="first_bad_layer"
# <details><summary>Hint 1: the idea</summary>
#
# Run the layers one after another, outside `jit`, and look at each output. Outside `jit` an `if` on a value is allowed.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jnp.isfinite(x).all()` covers NaN and both infinities. `enumerate(params)` gives index and tree.
# </details>

# %% check="first_bad_layer" points=3
def scaled_layer(params, x):
    return x * params["scale"] + params["b"]


def forgiving_layer(params, x):
    w, b = params
    return jnp.where(jnp.isfinite(x), x, 0.0) @ w + b


def index_found(find, layer, params, x):
    return jnp.asarray(find(layer, params, x))


def index_by_hand(layer, params, x):
    with np.errstate(all="ignore"):
        for index, one in enumerate(params):
            if layer.__name__ == "scaled_layer":
                x = np.float32(x * one["scale"] + one["b"])
            else:
                x = np.where(np.isfinite(x), x, 0.0) @ one[0] + one[1]
            if not np.isfinite(x).all():
                return np.asarray(index)
    return np.asarray(-1)


def of_last_output(layer, params, x):
    found = index_by_hand(layer, params, x)
    return np.asarray(-1) if layer.__name__ == "forgiving_layer" else found


def scales(*values):
    return [{"scale": np.float32(value), "b": np.float32(0.5)} for value in values]


def offsets(*values):
    return [(0.5 * np.eye(2, dtype=np.float32), np.array([0.0, value], np.float32)) for value in values]


check_values(
    through(index_found, first_bad_layer),
    index_by_hand,
    [
        (scaled_layer, scales(1.0, 2.0, np.nan, 1.0), np.array([1.0, -2.0, 0.5])),
        (scaled_layer, scales(np.nan, 1.0), np.array([3.0])),
        (scaled_layer, scales(*[1.5] * 6, np.nan), np.array([1.0, 2.0])),
        (forgiving_layer, offsets(1.0, 2.0, np.nan), np.array([1.0, 2.0])),
    ],
    mistakes={"the indices count from 1": lambda *args: index_by_hand(*args) + 1},
)
check_values(
    through(index_found, first_bad_layer),
    index_by_hand,
    [
        (scaled_layer, scales(1.0, 2.0, 3.0), np.array([1.0, -2.0, 0.5])),
        (scaled_layer, scales(0.0), np.array([3.0])),
        (scaled_layer, scales(3e38, 0.5), np.array([1.0, 1.0])),
        (forgiving_layer, offsets(1.0, 2.0), np.array([1.0, 2.0])),
    ],
    about="all layers finite",
)
check_values(
    through(index_found, first_bad_layer),
    index_by_hand,
    [
        (scaled_layer, scales(1e20, 1e20, 1.0, 0.0, 1.0), np.array([1.0, 2.0])),
        (scaled_layer, scales(2.0, np.inf, 1.0), np.array([-1.0])),
    ],
    mistakes={
        "an infinity does not count": lambda layer, params, x: np.asarray(3 if len(params) == 5 else -1),
    },
    about="infinities",
)
### BEGIN HIDDEN TESTS
check_values(
    through(index_found, first_bad_layer),
    index_by_hand,
    [
        (forgiving_layer, offsets(1.0, np.nan, 2.0, 1.0), np.array([1.0, 2.0])),
        (forgiving_layer, offsets(0.0, 1.0, 2.0, -np.inf, 1.0, np.nan, 0.0), np.array([1.0, 2.0])),
    ],
    mistakes={"a later layer makes the values finite again, which hides the bad one": of_last_output},
)
### END HIDDEN TESTS

# %% [markdown]
# The largest activation of each layer, and the layer that your function finds:

# %% tags=["demonstration", "raises-exception"]
sizes, h = [], x
for params in deep_params:
    h = centred_layer(params, h)
    sizes.append(float(jnp.abs(h).max()))
figure, axes = plt.subplots(
    num="Largest activation of each layer",
    figsize=(7, 3), layout="constrained",
)
axes.plot(sizes, "o-")
axes.axvline(first_bad_layer(centred_layer, deep_params, x), color="red")
axes.set_xlabel("layer"), axes.set_ylabel("largest activation"), axes.set_xticks(range(12))
axes.set_ylim(0, 12)
plt.show()

# %% [markdown]
# *Dots: the largest absolute activation, where it is finite. Red line: the first layer with a value that is not.*
#
# ### When jit is off, other code runs
#
# `with jax.disable_jit():` runs every operation at once, on concrete arrays. `print`, `assert` and debuggers work, and `lax.cond`, `scan` and `while_loop` become Python control flow. This changes the meaning of the program: one branch of a `cond` runs, globals are read in every call, and tracing errors disappear.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# ```python
# def power(x):
#     return lax.while_loop(lambda c: c < 20.0, lambda c: c * x, x)
# ```
#
# `power(2.0)` is 32, and `jax.grad(power)(2.0)` raises a `ValueError`. What is the gradient inside `with jax.disable_jit():`?

# %% exercise="grad_without_jit" kind="prediction"
# A number, or the name of an exception as a string.
### BEGIN SOLUTION
grad_without_jit = 80.0
### END SOLUTION

# %% check="grad_without_jit" points=1
def gradient_with_jit_off():
    with jax.disable_jit():
        return float(jax.grad(lambda x: lax.while_loop(lambda c: c < 20.0, lambda c: c * x, x))(2.0))


check_answer(
    grad_without_jit,
    gradient_with_jit_off,
    because="The loop runs in Python, so grad sees five factors x: the derivative of x**5 at 2. A success without jit proves nothing about the program with jit.",
    mistakes={
        "ValueError": "that is so with jit. With jit off the loop is a Python loop, which grad can follow",
        16.0: "the loop ends at 32 = 2**5, and the derivative of x**5 is 5 x**4",
        32.0: "that is the value",
    },
)

# %% [markdown]
# ### A method
#
# 1. **Shrink** the input: one example, two features, one step, a fixed key.
# 2. **Turn jit off.** If the bug disappears, look at side effects, globals and static values.
# 3. **Run line by line**, and look at shapes, dtypes and a few values.
# 4. **Use one device.** If the bug disappears, look at shardings and collectives.
# 5. **Repeat in float64**, with `jax.enable_x64(True)`. If the result changes much, look for rounding or overflow.
# 6. **Compare gradients with finite differences**, in float64, as the next cell does.
#
# Keep the smallest failing input as a test.

# %% tags=["demonstration"]
def cubes(w):  # a stop_gradient too many
    return jnp.sum((w - lax.stop_gradient(w.mean())) ** 3)


with jax.enable_x64(True):
    w, h = jnp.array([0.7, -1.3, 0.4]), 1e-5
    differences = [(cubes(w + step) - cubes(w - step)) / (2 * h) for step in h * jnp.eye(3)]
    print("grad:       ", jax.grad(cubes)(w))
    print("differences:", jnp.stack(differences))

# %% [markdown]
# *This is a good place for a break.*
#
# ## 15.7 Tests for silent bugs
#
# These bugs raise nothing:
#
# | bugs | section |
# |---|---|
# | a sum for a mean, a wrong broadcast, a cast to the dtype of the targets | 15.7 |
# | a clamped index, a wrapped index | 15.8 |
# | one key for all examples, one dropout key for all steps | 15.9 |
# | a forgotten `opt_state`, parameters that are not carried on | 15.10 |
# | a stale global, an array changed in place, a shared buffer | 15.11 |
#
# From here on you write the tests. A test takes an implementation. If the implementation breaks its specification, the test raises `AssertionError`, by `assert` or `np.testing`. Otherwise it returns `None`, as in pytest.
#
# Choose inputs on which no bug gives the right result by accident. Compare floats with a tolerance, so that every right implementation passes.

# %%
def rejects(test, version) -> Array:
    """Whether a test rejects a version. Another error than AssertionError comes through."""
    try:
        test(version)
    except AssertionError:
        return jnp.asarray(True)
    return jnp.asarray(False)


def accepted(*versions):
    """A diagnosis for each of these versions: it is the only one that a test accepts."""
    return {
        f"the test accepts `{one.__name__}`": lambda version, *_, one=one: np.asarray(version is not one)
        for one in versions
    }


# %% tags=["demonstration"]
def test_total(total):
    x = jnp.array([0.1, -2.0, 3.5])
    np.testing.assert_allclose(total(x), 1.6, rtol=1e-5)


print("sum rejected:", rejects(test_total, jnp.sum), "mean rejected:", rejects(test_total, jnp.mean))

# %% [markdown]
# ### A test for a loss: sum for mean, broadcast, dtype
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# The specification: `mse(predictions, y)` takes float32 predictions of shape (batch, 1) and targets of shape (batch,), float32 or int32. It returns the mean of the squared differences, a float32 scalar.
#
# **Write** `test_mse(mse)`, a test as described above.
#
# **Edge cases.** Right versions round differently. A bug may show only if the targets are integers.
#
# **The check** runs your test on right versions in several styles, and on versions that return a sum, broadcast to (batch, batch), cast to the dtype of `y`, scale the result, or pair the wrong examples, or leave some out.

# %% exercise="test_mse"
def test_mse(mse) -> None:
    """Raises AssertionError if `mse(predictions, y)` is not the mean squared error."""
    ### BEGIN SOLUTION
    predictions = jnp.array([[0.5], [1.75], [-2.25], [4.0]])
    for y in (jnp.array([1.5, -0.5, 0.25, 2.5]), jnp.array([1, 0, 2, 3])):
        expected = np.mean((np.asarray(predictions)[:, 0] - np.asarray(y)) ** 2)
        np.testing.assert_allclose(mse(predictions, y), expected, rtol=1e-5)
    ### END SOLUTION

# %% [markdown] hints="test_mse"
# <details><summary>Hint 1: the idea</summary>
#
# Choose a few uneven numbers, compute the expected loss with NumPy in another way, and compare. Do it for float targets and for integer targets.
# </details>
# <details><summary>Hint 2: which inputs</summary>
#
# With one example the sum is the mean, and nothing can be broadcast. With predictions that are whole numbers a cast to int32 changes nothing.
# </details>
# <details><summary>Hint 3: the API</summary>
#
# `np.testing.assert_allclose(got, expected, rtol=1e-5)`
# </details>

# %% check="test_mse" points=3
def mse_by_column(predictions, y):
    return jnp.mean((predictions[:, 0] - y) ** 2)


def mse_by_dot(predictions, y):
    residual = predictions.ravel() - y
    return jnp.vdot(residual, residual) / len(y)


def mse_by_scan(predictions, y):
    squares = jax.vmap(lambda p, t: (p[0] - t) ** 2)(predictions, y)
    return lax.fori_loop(0, len(y), lambda i, c: c + squares[i] / len(y), jnp.float32(0))


def mse_summed(predictions, y):
    return jnp.sum((predictions[:, 0] - y) ** 2)


def mse_broadcast(predictions, y):
    return jnp.mean((predictions - y) ** 2)


def mse_in_dtype_of_targets(predictions, y):
    return jnp.mean((predictions[:, 0].astype(y.dtype) - y) ** 2.0)


def mse_halved(predictions, y):
    return jnp.mean((predictions[:, 0] - y) ** 2) / 2


RIGHT = [(mse_by_column,), (mse_by_dot,), (mse_by_scan,), (jax.jit(mse_by_column),)]
check_values(
    through(rejects, test_mse),
    lambda version: np.asarray(False),
    RIGHT,
    mistakes={"the test rejects right versions": lambda version: np.asarray(True)},
    about="on right versions",
)
check_values(
    through(rejects, test_mse),
    lambda version: np.asarray(True),
    [(mse_summed,), (jax.jit(mse_summed),)],
    mistakes={"the test accepts a sum": lambda version: np.asarray(False)},
    about="on a sum for the mean",
)
check_values(
    through(rejects, test_mse),
    lambda version: np.asarray(True),
    [(mse_broadcast,), (jax.jit(mse_broadcast),)],
    mistakes={"the test accepts a broadcast to (batch, batch)": lambda version: np.asarray(False)},
    about="on a wrong broadcast",
)
check_values(
    through(rejects, test_mse),
    lambda version: np.asarray(True),
    [(mse_in_dtype_of_targets,), (jax.jit(mse_in_dtype_of_targets),)],
    mistakes={"the test accepts a cast to the dtype of the targets": lambda version: np.asarray(False)},
    about="on a wrong dtype",
)
### BEGIN HIDDEN TESTS
def mse_without_last(predictions, y):
    return jnp.sum((predictions[:-1, 0] - y[:-1]) ** 2) / len(y)


def mse_rounded(predictions, y):
    return jnp.mean((jnp.round(predictions[:, 0]) - y) ** 2) if y.dtype == jnp.int32 else mse_by_column(predictions, y)


def mse_of_sorted(predictions, y):
    return jnp.mean((jnp.sort(predictions[:, 0]) - jnp.sort(y)) ** 2)


others = mse_halved, mse_without_last, mse_rounded, mse_of_sorted
check_values(
    through(rejects, test_mse),
    lambda version: np.asarray(True),
    [(version,) for version in others],
    mistakes=accepted(*others),
    about="on other bugs",
)
### END HIDDEN TESTS

# %% [markdown]
# Your test on four other versions, two of them right:

# %% tags=["demonstration", "raises-exception"]
versions = {
    "squeeze": lambda p, y: jnp.mean((p.squeeze(1) - y) ** 2),
    "no squeeze": lambda p, y: jnp.mean((p - y) ** 2),
    "optax": lambda p, y: 2 * jnp.mean(optax.l2_loss(p[:, 0], y.astype(jnp.float32))),
    "optax, unscaled": lambda p, y: jnp.mean(optax.l2_loss(p[:, 0], y.astype(jnp.float32))),
}
for name, version in versions.items():
    print(f"{name:16} {'fails' if rejects(test_mse, version) else 'passes'}")

# %% [markdown]
# ## 15.8 A test for indices: clamped and wrapped
#
# A read outside an array is clamped, and a negative index counts from the end. `table.at[ids].get(mode="fill", fill_value=0)` fills with zeros, but still wraps negative indices.
#
# ### A test for a table lookup
# **Exercise** · 7 minutes · difficulty 2 of 5
#
# The specification: `lookup(table, ids)` takes a float32 table of shape (rows, features) and int32 `ids` of shape (n,). Row `i` of the result is `table[ids[i]]`, or zeros if the id is negative or not less than `rows`.
#
# **Write** `test_lookup(lookup)`.
#
# **Edge cases.** A bug may show only at the first or last row, just outside, or far outside.
#
# **The check** runs your test on right versions, and on versions that clamp, wrap, fill with NaN, or are off by one at either end.

# %% exercise="test_lookup"
def test_lookup(lookup) -> None:
    """Raises AssertionError if `lookup(table, ids)` breaks its specification."""
    ### BEGIN SOLUTION
    table = np.arange(1.0, 9.0, dtype=np.float32).reshape(4, 2)
    ids = np.array([0, 3, 1, 2, 4, 5, 100, -1, -2, -4, -5, -100], np.int32)
    expected = np.zeros((len(ids), 2), np.float32)
    expected[:4] = table[ids[:4]]
    np.testing.assert_allclose(lookup(jnp.asarray(table), jnp.asarray(ids)), expected)
    ### END SOLUTION

# %% [markdown] hints="test_lookup"
# <details><summary>Hint 1: the idea</summary>
#
# A small table without zeros, and ids on both sides of each boundary. Write the expected rows by hand.
# </details>
# <details><summary>Hint 2: which ids</summary>
#
# For four rows: 0, 3, 4, 100, -1, -4, -5, -100.
# </details>

# %% check="test_lookup" points=3
def lookup_by_mask(table, ids):
    inside = (ids >= 0) & (ids < len(table))
    return jnp.where(inside[:, None], table[ids], 0.0)


def lookup_by_one_hot(table, ids):
    return jax.nn.one_hot(ids, len(table)) @ table


def lookup_by_fill(table, ids):
    ids = jnp.where(ids < 0, len(table), ids)
    return table.at[ids].get(mode="fill", fill_value=0.0)


def lookup_clamped(table, ids):
    return jnp.where((ids >= 0)[:, None], table[ids], 0.0)


def lookup_clipped(table, ids):
    return table[jnp.clip(ids, 0, len(table) - 1)]


def lookup_wrapped(table, ids):
    return table.at[ids].get(mode="fill", fill_value=0.0)


def lookup_wrapped_by_mask(table, ids):
    return jnp.where((ids < len(table))[:, None], table[jnp.maximum(ids, -len(table))], 0.0)


check_values(
    through(rejects, test_lookup),
    lambda version: np.asarray(False),
    [(lookup_by_mask,), (lookup_by_one_hot,), (lookup_by_fill,), (jax.jit(lookup_by_mask),)],
    mistakes={"the test rejects right versions": lambda version: np.asarray(True)},
    about="on right versions",
)
check_values(
    through(rejects, test_lookup),
    lambda version: np.asarray(True),
    [(lookup_clamped,), (lookup_clipped,), (jax.jit(lookup_clamped),)],
    mistakes={"the test accepts clamped indices": lambda version: np.asarray(False)},
    about="on clamped indices",
)
check_values(
    through(rejects, test_lookup),
    lambda version: np.asarray(True),
    [(lookup_wrapped,), (lookup_wrapped_by_mask,), (jax.jit(lookup_wrapped),)],
    mistakes={"the test accepts negative indices that wrap": lambda version: np.asarray(False)},
    about="on wrapped indices",
)
### BEGIN HIDDEN TESTS
def lookup_with_nan(table, ids):
    return jnp.where((ids < 0)[:, None], 0.0, jnp.take(table, ids, axis=0))


def lookup_between(table, ids, lowest, highest):
    return jnp.where(((ids >= lowest) & (ids <= highest))[:, None], table[ids], 0.0)


def lookup_one_too_far(table, ids):
    return lookup_between(table, ids, 0, len(table))


def lookup_without_first(table, ids):
    return lookup_between(table, ids, 1, len(table) - 1)


def lookup_without_last(table, ids):
    return lookup_between(table, ids, 0, len(table) - 2)


def lookup_from_minus_one(table, ids):
    return lookup_between(table, ids, -1, len(table) - 1)


def lookup_wrapped_twice(table, ids):
    return jnp.where((ids < -len(table))[:, None], table[ids], lookup_by_mask(table, ids))


others = (
    lookup_with_nan,
    lookup_one_too_far,
    lookup_without_first,
    lookup_without_last,
    lookup_from_minus_one,
    lookup_wrapped_twice,
)
check_values(
    through(rejects, test_lookup),
    lambda version: np.asarray(True),
    [(version,) for version in others],
    mistakes=accepted(*others),
    about="on other bugs",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 15.9 A test for randomness: reused keys
#
# A reused key gives plausible numbers. `jax.debug_key_reuse` misses a key that `vmap` shares among examples, and a key made anew from the same seed. Compare masks instead: independent ones almost never coincide.
#
# ### A test for dropout over several steps
# **Exercise** · 9 minutes · difficulty 4 of 5
#
# The specification: `dropout_steps(key, x, rate, steps)` takes a typed key, a float32 `x` of shape (batch, features), a rate between 0 and 1, and a Python integer. In the result, of shape (steps, batch, features), each element of `x` is set to zero with probability `rate` and otherwise divided by `1 - rate`, independently for each step, example and feature. Another key gives other masks.
#
# **Write** `test_dropout(dropout_steps)`.
#
# **Edge cases.** Right versions draw different masks from one key. You choose `x`, `rate` and `steps`.
#
# **The check** runs your test on right versions, and on versions that share a mask between all or some steps, all examples or all features, ignore the key, do not rescale, or use another probability.

# %% exercise="test_dropout"
def test_dropout(dropout_steps) -> None:
    """Raises AssertionError if `dropout_steps(key, x, rate, steps)` breaks its specification."""
    ### BEGIN SOLUTION
    rate, steps = 0.25, 6
    x = jnp.arange(1.0, 3001.0).reshape(50, 60)
    out, other = (np.asarray(dropout_steps(jax.random.key(seed), x, rate, steps)) for seed in (1, 2))
    kept = out != 0
    np.testing.assert_allclose(out, kept * np.asarray(x) / (1 - rate), rtol=1e-5)
    assert abs(kept.mean() - (1 - rate)) < 0.03
    assert (kept != (other != 0)).any()
    for axis in range(3):
        rows = np.moveaxis(kept, axis, 0).reshape(kept.shape[axis], -1)
        assert len(np.unique(rows, axis=0)) == len(rows)
    ### END SOLUTION

# %% [markdown] hints="test_dropout"
# <details><summary>Hint 1: the idea</summary>
#
# The mask is where the result is not zero. Look at its mean, at the kept values, and at whether two steps, two examples, two features or two keys share a mask.
# </details>
# <details><summary>Hint 2: how large</summary>
#
# Use thousands of elements without zeros. The mean of a mask of n elements varies by about `sqrt(rate * (1 - rate) / n)`: allow five times that.
# </details>
# <details><summary>Hint 3: all pairs at once</summary>
#
# `np.unique(rows, axis=0)` removes rows that occur twice. Bring each axis to the front with `np.moveaxis`, and flatten the others.
# </details>

# %% check="test_dropout" points=3
def masked(mask, x, rate):
    return jnp.where(mask, x / (1 - rate), 0.0)


def dropout_at_once(key, x, rate, steps):
    return masked(jax.random.bernoulli(key, 1 - rate, (steps, *x.shape)), x, rate)


def dropout_split(key, x, rate, steps):
    keys = jax.random.split(key, steps)
    return jax.vmap(lambda key: masked(jax.random.bernoulli(key, 1 - rate, x.shape), x, rate))(keys)


def dropout_folded(key, x, rate, steps):
    keys = [jax.random.fold_in(key, step) for step in range(steps)]
    return jnp.stack([masked(jax.random.uniform(key, x.shape) >= rate, x, rate) for key in keys])


def dropout_one_key(key, x, rate, steps):
    return jnp.stack([masked(jax.random.bernoulli(key, 1 - rate, x.shape), x, rate)] * steps)


def dropout_key_in_scan(key, x, rate, steps):
    def step(key, _):
        return key, masked(jax.random.bernoulli(key, 1 - rate, x.shape), x, rate)

    return lax.scan(step, key, length=steps)[1]


def dropout_one_key_for_examples(key, x, rate, steps):
    keys = jax.random.split(key, steps)
    one = lambda key, row: masked(jax.random.bernoulli(key, 1 - rate, row.shape), row, rate)
    return jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(0, None))(keys, x)


def dropout_of_examples(key, x, rate, steps):
    return masked(jax.random.bernoulli(key, 1 - rate, (steps, len(x), 1)), x, rate)


def dropout_own_key(key, x, rate, steps):
    return dropout_at_once(jax.random.key(0), x, rate, steps)


check_values(
    through(rejects, test_dropout),
    lambda version: np.asarray(False),
    [(dropout_at_once,), (dropout_split,), (dropout_folded,)],
    mistakes={"the test rejects right versions": lambda version: np.asarray(True)},
    about="on right versions",
)
check_values(
    through(rejects, test_dropout),
    lambda version: np.asarray(True),
    [(dropout_one_key,), (dropout_key_in_scan,)],
    mistakes={"the test accepts one mask for all steps": lambda version: np.asarray(False)},
    about="on one key for all steps",
)
check_values(
    through(rejects, test_dropout),
    lambda version: np.asarray(True),
    [(dropout_one_key_for_examples,), (dropout_of_examples,)],
    mistakes={"the test accepts one mask for all examples, or for all features": lambda version: np.asarray(False)},
    about="on one key for all examples or features",
)
check_values(
    through(rejects, test_dropout),
    lambda version: np.asarray(True),
    [(dropout_own_key,)],
    mistakes={"the test accepts a version that ignores its key": lambda version: np.asarray(False)},
    about="on a key that is ignored",
)
### BEGIN HIDDEN TESTS
def dropout_in_pairs(key, x, rate, steps):
    keys = [jax.random.fold_in(key, step // 2) for step in range(steps)]
    return jnp.stack([masked(jax.random.bernoulli(key, 1 - rate, x.shape), x, rate) for key in keys])


def dropout_late(key, x, rate, steps):
    keys = [jax.random.fold_in(key, min(step, steps - 2)) for step in range(steps)]
    return jnp.stack([masked(jax.random.bernoulli(key, 1 - rate, x.shape), x, rate) for key in keys])


def dropout_unscaled(key, x, rate, steps):
    return jnp.where(jax.random.bernoulli(key, 1 - rate, (steps, *x.shape)), x, 0.0)


def dropout_exchanged(key, x, rate, steps):
    return masked(jax.random.bernoulli(key, rate, (steps, *x.shape)), x, rate)


def dropout_half(key, x, rate, steps):
    return masked(jax.random.bernoulli(key, 0.5, (steps, *x.shape)), x, rate)


check_values(
    through(rejects, test_dropout),
    lambda version: np.asarray(True),
    [(dropout_in_pairs,), (dropout_late,)],
    mistakes=accepted(dropout_in_pairs, dropout_late),
    about="on a mask that some steps share",
)
check_values(
    through(rejects, test_dropout),
    lambda version: np.asarray(True),
    [(dropout_unscaled,), (dropout_exchanged,), (dropout_half,)],
    mistakes=accepted(dropout_unscaled, dropout_exchanged, dropout_half),
    about="on other bugs",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 15.10 A test for training: a forgotten opt_state
#
# A right training loop and three wrong ones. All four losses fall:

# %% tags=["demonstration"]
def quadratic(params):
    return 0.5 * jnp.sum(jnp.array([1.0, 30.0]) * params["w"] ** 2)


def losses_of(bug, steps=40):
    optimizer = optax.sgd(0.01, momentum=0.9)
    params = {"w": jnp.array([2.0, 1.0])}
    opt_state, losses = optimizer.init(params), []
    for _ in range(steps):
        loss, grads = jax.value_and_grad(quadratic)(params)
        losses.append(loss)
        if bug == "state made anew":
            opt_state = optimizer.init(params)
        updates, new_state = optimizer.update(grads, opt_state, params)
        opt_state = opt_state if bug == "state not carried" else new_state
        params = optax.apply_updates(params, updates)
        if bug == "one leaf frozen":
            params["w"] = params["w"].at[0].set(2.0)
    return losses


figure, axes = plt.subplots(
    num="Loss with four bugs of the optimizer state",
    figsize=(8, 3.5), layout="constrained",
)
for bug, style in zip(("no bug", "state made anew", "state not carried", "one leaf frozen"), ("-", "--", ":", "-.")):
    axes.semilogy(losses_of(bug), style, label=bug)
axes.set_xlabel("step"), axes.set_ylabel("loss"), figure.legend(loc="outside right upper")
plt.show()

# %% [markdown]
# *The loss against the step. The two bugs of the state give the same curve, that of gradient descent without momentum.*
#
# A falling loss proves little. Compare with the exact result of a few plain Optax steps.
#
# ### A test for a training function
# **Exercise** · 9 minutes · difficulty 3 of 5
#
# The specification: `train(loss_fn, params, optimizer, steps)` takes a function of the parameters, a dictionary of float32 arrays, an Optax optimizer and a Python integer. It takes `steps` steps, with one state from `optimizer.init(params)` that is carried on, and returns the new parameters. The caller's `params` stay unchanged and usable.
#
# **Write** `test_train(train)`.
#
# **Edge cases.** A bug may begin after a few steps, so use at least 5. An array that was donated says so by `array.is_deleted()`.
#
# **The check** runs your test on right loops, in Python and compiled. The wrong ones do not carry on the state or the parameters, reset the state every few steps, take another number of steps, ignore the optimizer, leave a leaf as it was, or donate the caller's arrays.

# %% exercise="test_train"
def test_train(train) -> None:
    """Raises AssertionError if `train(loss_fn, params, optimizer, steps)` breaks its specification."""
    ### BEGIN SOLUTION
    def loss_fn(params):
        return jnp.sum((params["w"] - 1.0) ** 2) + jnp.sum(params["b"] ** 4)

    params = {"w": jnp.array([0.5, -2.0]), "b": jnp.array([1.5])}
    optimizer, steps = optax.sgd(0.02, momentum=0.9), 7
    expected, opt_state = params, optimizer.init(params)
    for _ in range(steps):
        updates, opt_state = optimizer.update(jax.grad(loss_fn)(expected), opt_state, expected)
        expected = optax.apply_updates(expected, updates)
    got = train(loss_fn, params, optimizer, steps)
    assert not any(leaf.is_deleted() for leaf in params.values())
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-4)
    np.testing.assert_array_equal(params["w"], np.float32([0.5, -2.0]))
    ### END SOLUTION

# %% [markdown] hints="test_train"
# <details><summary>Hint 1: the idea</summary>
#
# Write the loop yourself, in the plainest way, and compare all leaves of the parameters.
# </details>
# <details><summary>Hint 2: which optimizer</summary>
#
# `optax.sgd(0.02)` has no state to forget. Momentum or Adam have one. The parameters change at every step, so the gradients should differ from step to step too.
# </details>
# <details><summary>Hint 3: the order</summary>
#
# Compute what is expected before you call `train`, which may delete the arrays. Afterwards look at `is_deleted()` first.
# </details>

# %% check="test_train" points=3
def one_step(loss_fn, optimizer, params, opt_state):
    updates, opt_state = optimizer.update(jax.grad(loss_fn)(params), opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def train_by_loop(loss_fn, params, optimizer, steps):
    opt_state = optimizer.init(params)
    for _ in range(steps):
        params, opt_state = one_step(loss_fn, optimizer, params, opt_state)
    return params


def train_by_scan(loss_fn, params, optimizer, steps):
    def step(carry, _):
        return one_step(loss_fn, optimizer, *carry), None

    (params, _), _ = jax.jit(lambda carry: lax.scan(step, carry, length=steps))((params, optimizer.init(params)))
    return params


def train_state_anew(loss_fn, params, optimizer, steps):
    for _ in range(steps):
        params, _ = one_step(loss_fn, optimizer, params, optimizer.init(params))
    return params


def train_state_not_carried(loss_fn, params, optimizer, steps):
    opt_state = optimizer.init(params)
    step = jax.jit(lambda params: one_step(loss_fn, optimizer, params, opt_state)[0])
    return lax.fori_loop(0, steps, lambda _, params: step(params), params)


def train_gradients_of_start(loss_fn, params, optimizer, steps):
    opt_state, grads = optimizer.init(params), jax.grad(loss_fn)(params)
    for _ in range(steps):
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
    return params


def train_compiled_gradients_of_start(loss_fn, params, optimizer, steps):
    return jax.jit(lambda params: train_gradients_of_start(loss_fn, params, optimizer, steps))(params)


def train_donates(loss_fn, params, optimizer, steps):
    step = jax.jit(lambda params, opt_state: one_step(loss_fn, optimizer, params, opt_state), donate_argnums=0)
    opt_state = optimizer.init(params)
    for _ in range(steps):
        params, opt_state = step(params, opt_state)
    return params


check_values(
    through(rejects, test_train),
    lambda version: np.asarray(False),
    [(train_by_loop,), (train_by_scan,)],
    mistakes={"the test rejects right versions": lambda version: np.asarray(True)},
    about="on right versions",
)
check_values(
    through(rejects, test_train),
    lambda version: np.asarray(True),
    [(train_state_anew,), (train_state_not_carried,)],
    mistakes={"the test accepts a forgotten opt_state": lambda version: np.asarray(False)},
    about="on a forgotten opt_state",
)
check_values(
    through(rejects, test_train),
    lambda version: np.asarray(True),
    [(train_gradients_of_start,), (train_compiled_gradients_of_start,)],
    mistakes={"the test accepts parameters that are not carried on": lambda version: np.asarray(False)},
    about="on parameters that are not carried on",
)
check_values(
    through(rejects, test_train),
    lambda version: np.asarray(True),
    [(train_donates,)],
    mistakes={"the test accepts a version that donates the caller's arrays": lambda version: np.asarray(False)},
    about="on donated parameters",
)
### BEGIN HIDDEN TESTS
def train_reset_each_third(loss_fn, params, optimizer, steps):
    opt_state = optimizer.init(params)
    for i in range(steps):
        opt_state = optimizer.init(params) if i % 3 == 0 else opt_state
        params, opt_state = one_step(loss_fn, optimizer, params, opt_state)
    return params


def train_one_step(loss_fn, params, optimizer, steps):
    return one_step(loss_fn, optimizer, params, optimizer.init(params))[0]


def train_one_too_few(loss_fn, params, optimizer, steps):
    return train_by_loop(loss_fn, params, optimizer, steps - 1)


def train_one_too_many(loss_fn, params, optimizer, steps):
    return train_by_scan(loss_fn, params, optimizer, steps + 1)


def train_by_sgd(loss_fn, params, optimizer, steps):
    return train_by_loop(loss_fn, params, optax.sgd(0.01), steps)


def train_half(loss_fn, params, optimizer, steps):
    last = max(params)
    return train_by_loop(loss_fn, params, optimizer, steps) | {last: params[last]}


others = (
    train_reset_each_third,
    train_one_step,
    train_one_too_few,
    train_one_too_many,
    train_by_sgd,
    train_half,
)
check_values(
    through(rejects, test_train),
    lambda version: np.asarray(True),
    [(version,) for version in others],
    mistakes=accepted(*others),
    about="on other bugs",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 15.11 A test for state: stale globals and shared buffers
#
# Under `jit` a global is read once, during tracing. NumPy adds two bugs: `w -= g` changes the caller's array in place, and a reused output buffer changes earlier results.
#
# ### A test for a step with settings
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# The specification: `step(w, grads)` takes two float32 NumPy arrays of one shape and returns `w - settings["learning_rate"] * grads`, a JAX or NumPy array. It reads the dictionary `settings` in every call. The result depends on nothing else. The arguments and earlier results stay unchanged.
#
# **Write** `test_step(step, settings)`. It may change `settings["learning_rate"]`.
#
# **Edge cases.** A bug may show only in a later call, with arrays of the same shape or with the same arrays.
#
# **The check** runs your test on right versions, and on versions with a stale learning rate, the wrong sign, an argument changed in place, a shared buffer, or a version that remembers earlier calls.

# %% exercise="test_step"
def test_step(step, settings: dict) -> None:
    """Raises AssertionError if `step(w, grads)`, which reads `settings`, breaks its specification."""
    ### BEGIN SOLUTION
    w, grads = np.float32([1.0, -2.0, 3.0]), np.float32([0.5, 4.0, -1.0])
    w_before, grads_before = w.copy(), grads.copy()
    results, expected = [], []
    for learning_rate in (0.5, 0.125, 0.125):
        settings["learning_rate"] = learning_rate
        results.append(step(w, grads))
        expected.append(w_before - learning_rate * grads_before)
        np.testing.assert_array_equal(w, w_before)
        np.testing.assert_array_equal(grads, grads_before)
    np.testing.assert_allclose(np.stack(results), np.stack(expected), rtol=1e-6)
    ### END SOLUTION

# %% [markdown] hints="test_step"
# <details><summary>Hint 1: the idea</summary>
#
# Call the step, change the learning rate, and call it again with the same arrays. Keep copies of the arguments, made before the first call.
# </details>
# <details><summary>Hint 2: results that change later</summary>
#
# Collect all results first, and compare them after the last call.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# A loop over three learning rates, two of them equal: set, call, append, compare the arguments with their copies. After the loop `np.testing.assert_allclose` on the results.
# </details>

# %% check="test_step" points=3
def rejects_step(test, make, learning_rate):
    settings = {"learning_rate": learning_rate}
    step = make(settings)
    return rejects(lambda step: test(step, settings), step)


def step_plain(settings):
    return lambda w, grads: w - settings["learning_rate"] * grads


def step_compiled(settings):
    update = jax.jit(lambda w, grads, learning_rate: w - learning_rate * grads)
    return lambda w, grads: update(w, grads, settings["learning_rate"])


def step_copied(settings):
    def step(w, grads):
        w = w.copy()
        np.subtract(w, np.float32(settings["learning_rate"]) * grads, out=w)
        return w

    return step


def step_stale(settings):
    return jax.jit(lambda w, grads: w - settings["learning_rate"] * grads)


def step_default(settings):
    learning_rate = settings["learning_rate"]
    return lambda w, grads: w - learning_rate * grads


def step_in_place(settings):
    def step(w, grads):
        np.subtract(w, np.float32(settings["learning_rate"]) * grads, out=w)
        return w.copy()

    return step


def step_grads_in_place(settings):
    def step(w, grads):
        np.multiply(grads, np.float32(settings["learning_rate"]), out=grads)
        return w - grads

    return step


def step_shared_buffer(settings):
    buffers = {}

    def step(w, grads):
        out = buffers.setdefault(w.shape, np.empty_like(w))
        np.subtract(w, np.float32(settings["learning_rate"]) * grads, out=out)
        return out

    return step


STEPS = 0.1, 0.5
check_values(
    through(rejects_step, test_step),
    lambda make, learning_rate: np.asarray(False),
    [(make, rate) for make in (step_plain, step_compiled, step_copied) for rate in STEPS],
    mistakes={"the test rejects right versions": lambda make, learning_rate: np.asarray(True)},
    about="on right versions",
)
check_values(
    through(rejects_step, test_step),
    lambda make, learning_rate: np.asarray(True),
    [(make, rate) for make in (step_stale, step_default) for rate in STEPS],
    mistakes={"the test accepts a stale learning rate": lambda make, learning_rate: np.asarray(False)},
    about="on a stale learning rate",
)
check_values(
    through(rejects_step, test_step),
    lambda make, learning_rate: np.asarray(True),
    [(make, rate) for make in (step_in_place, step_grads_in_place) for rate in STEPS],
    mistakes={"the test accepts an argument that is changed in place": lambda make, learning_rate: np.asarray(False)},
    about="on a change in place",
)
### BEGIN HIDDEN TESTS
def step_with_momentum(settings):
    state = {"m": 0.0}

    def step(w, grads):
        state["m"] = 0.9 * state["m"] + grads
        return w - settings["learning_rate"] * state["m"]

    return step


def step_first_call_remembered(settings):
    known = {}

    def step(w, grads):
        return known.setdefault(settings["learning_rate"], w - settings["learning_rate"] * np.abs(grads))

    return step


def step_added(settings):
    return lambda w, grads: w + settings["learning_rate"] * grads


others = step_shared_buffer, step_with_momentum, step_first_call_remembered, step_added
check_values(
    through(rejects_step, test_step),
    lambda make, learning_rate: np.asarray(True),
    [(make, rate) for make in others for rate in STEPS],
    mistakes=accepted(*others),
    about="on other bugs",
)
### END HIDDEN TESTS

# %% [markdown]
# Now run `test_step` on a version with a bug of your own.
#
# ## What to remember
#
# 1. The class of an error says what a tracer was used as. Read the message from the bottom.
# 2. `print` shows tracers, once. `jax.debug.print`, `jax.debug.callback` and `checkify` show values at run time.
# 3. Switches find NaNs, leaks, reused keys, promotions and transfers. With jit off, other code runs.
# 4. Shrink the input, and find the first wrong value.
# 5. A good test fails on the bug and passes on every right version. Try both.
#
# ## Further reading
#
# - JAX documentation: [Errors](https://docs.jax.dev/en/latest/errors.html), [Debugging](https://docs.jax.dev/en/latest/debugging.html), [checkify](https://docs.jax.dev/en/latest/debugging/checkify_guide.html)
# - [Chex](https://chex.readthedocs.io): assertions and test variants for JAX
# - Andrej Karpathy, [A recipe for training neural networks](https://karpathy.github.io/2019/04/25/recipe/)
#
# ## Previous and next
#
# In lesson 14 you differentiated solvers and simulations. This is the last lesson of the course.

