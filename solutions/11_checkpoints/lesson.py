# %% [markdown]
# # 11 · Checkpoints with Orbax: save a run, and continue it exactly
#
# A training run that takes a day will be interrupted. The resumed run should give the same numbers, to the last bit, as a run that was never stopped. After this lesson you can
#
# - list everything that a training run consists of, and keep it in one pytree,
# - save and restore that tree with Orbax, with its types, dtypes and shardings,
# - write a training loop that survives a crash, and prove that it does,
# - find out from a few numbers what a bad resume has forgotten,
# - keep the best checkpoints and the last one, and refuse a damaged one.
#
# About 100 minutes; there is a good place for a break after 11.5. You need lessons 05, 07 and 08.

# %%
import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Int, Key
from sklearn.datasets import load_digits

from graders import (
    check_answer,
    check_pure,
    check_sharding,
    check_values,
    integers,
    lesson_devices,
    sweep,
    through,
)

devices = lesson_devices(8)
n = len(devices)
logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs each step of a save
scratch = Path(tempfile.mkdtemp())  # every checkpoint of this notebook goes here

# %% [markdown]
# ## 11.0 Recall
#
# **Recall** · 1 minute · difficulty 2 of 5
#
# `params` holds 100 numbers. How many numbers does `optax.adam(1e-3).init(params)` hold?

# %% exercise="adam_numbers" kind="recall"
# An integer.
### BEGIN SOLUTION
adam_numbers = 201
### END SOLUTION

# %% check="adam_numbers" points=1
check_answer(
    adam_numbers,
    lambda: sum(leaf.size for leaf in jax.tree.leaves(optax.adam(1e-3).init(jnp.ones(100)))),
    because="Two moments for each parameter, and one step count for the bias correction.",
    mistakes={
        200: "there is also one number that is not a moment; the bias correction needs it",
        100: "Adam keeps two moments for each parameter",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# A loop does `key, subkey = jax.random.split(key)` at each step. It starts from `jax.random.key(0)`, runs 3 steps, is restarted with `jax.random.key(0)`, and runs 5 steps. How many *different* subkeys were used in the 8 steps?

# %% exercise="different_subkeys" kind="recall"
# An integer.
### BEGIN SOLUTION
different_subkeys = 5
### END SOLUTION


# %% check="different_subkeys" points=1
def count_subkeys():
    used = set()
    for steps in (3, 5):
        key = jax.random.key(0)
        for _ in range(steps):
            key, subkey = jax.random.split(key)
            used.add(tuple(jax.random.key_data(subkey).tolist()))
    return len(used)


check_answer(
    different_subkeys,
    count_subkeys,
    because="The same key gives the same subkeys, so the first three are used twice.",
    mistakes={8: "the restarted loop begins with the same key, and so with the same subkeys"},
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# A mesh has the axes `("data", "model")` of sizes (2, 4). An array of shape (16, 8) is placed on it with the spec `P("data")`. Which shape does the part on one device have?

# %% exercise="part_of_array" kind="recall"
# A tuple of integers.
### BEGIN SOLUTION
part_of_array = (8, 8)
### END SOLUTION

# %% check="part_of_array" points=1
check_answer(
    part_of_array,
    (8, 8),
    because='"data" has size 2 and cuts axis 0; "model" is not mentioned, so it replicates.',
    mistakes={
        (2, 8): 'the spec names "data" only, which has size 2',
        (8, 2): '"model" is not in the spec, so axis 1 is whole',
    },
)

# %% [markdown]
# ## 11.1 What a training run consists of
#
# A training step is a pure function, so what influences the next step is either constant (code, data set, hyperparameters) or an argument. The arguments that change are the **state of the run**:
#
# | entry | what is lost without it |
# |---|---|
# | `params` | everything |
# | `opt_state` | moments, and Adam's step count |
# | `ema` | the moving average of the parameters, if you keep one |
# | `key` | dropout, noise, augmentation: they repeat from the start |
# | `step` | the learning rate schedule, and the place in the data |
#
# The order of the data is part of the run too. Make it a *function* of the step, and `step` is all that you have to save.
#
# ### Data order as a function of the step
# **Exercise** · 6 minutes · difficulty 2 of 5
#
# **Return** the rows of the batch that step number `step` uses, as an int32 array of shape `(batch_size,)`. An epoch has `n // batch_size` steps. In epoch `e`, counted from 0, the rows are taken from `jax.random.permutation(jax.random.fold_in(data_key, e), n)`, from left to right.
#
# **Edge cases**: rows that do not fill a last batch are left out of that epoch. `step` may be a Python integer or a traced int32 scalar; `n` and `batch_size` are Python integers.
#
# **The check** compares rows at several steps and epochs, outside and inside `jax.jit`.


# %% exercise="batch_rows"
def batch_rows(
    data_key: Key[Array, ""], step: Int[Array, ""] | int, n: int, batch_size: int
) -> Int[Array, "batch_size"]:
    """The rows of the data set that step number `step` trains on."""
    ### BEGIN SOLUTION
    epoch, position = jnp.divmod(step, n // batch_size)
    order = jax.random.permutation(jax.random.fold_in(data_key, epoch), n)
    return jax.lax.dynamic_slice_in_dim(order, position * batch_size, batch_size)
    ### END SOLUTION


# %% [markdown] hints="batch_rows"
# <details><summary>Hint 1: the idea</summary>
#
# The quotient of `step` and the steps in an epoch is the epoch, the remainder is the position in it.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# A slice with a traced start needs `jax.lax.dynamic_slice_in_dim(order, start, size)`. Or reshape the part of the order that is used into one row for each batch, and index that.
# </details>


# %% check="batch_rows" points=2
def rows_by_numpy(data_key, step, n, batch_size, steps=None, one_order=False):
    steps = steps or n // batch_size
    epoch, position = divmod(int(step), steps)
    order = jax.random.permutation(jax.random.fold_in(data_key, 0 if one_order else epoch), n)
    return np.asarray(order)[position * batch_size :][:batch_size].astype(np.int32)


def under_jit(rows, data_key, step, n, batch_size):
    return jax.jit(rows, static_argnums=(2, 3))(data_key, step, n, batch_size)


places = [
    (jax.random.key(seed), step, n, size)
    for seed, n, size in ((3, 23, 5), (4, 16, 8), (5, 9, 9), (6, 23, 5))
    for step in (0, 1, 3, 4, 6, 11)
]
check_values(
    batch_rows,
    rows_by_numpy,
    places,
    mistakes={
        "every epoch has the order of the first": partial(rows_by_numpy, one_order=True),
    },
)
check_values(through(under_jit, batch_rows), rows_by_numpy, places, about="`step` is traced")
### BEGIN HIDDEN TESTS
check_values(
    through(under_jit, batch_rows),
    rows_by_numpy,
    [
        (jax.random.key(7), np.int32(step), n, size)
        for n, size in ((300, 32), (7, 1), (5, 4))
        for step in (2, 8, 9, 300, 1_000_003)
    ],
    about="later epochs",
)
### END HIDDEN TESTS

# %% [markdown]
# ### One step from state to state
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# `state` is a dict with the five entries of the table. `loss_fn(params, key, batch)` returns a scalar.
#
# **Return** `(state, loss)`: a new dict with the same five entries one step later, and the loss before the step. Split `state["key"]` in two: the first key is the new `key` entry, the second goes to `loss_fn`. The new `ema` is `decay * ema + (1 - decay) * params`, with the *new* parameters.
#
# **Edge cases**: `optimizer` is any Optax optimizer; some need `params` in `update`. `params` is any pytree. Leave the dict that you were given unchanged.
#
# **The check** looks at every entry after one step and after three, with two optimizers, and whether the function is pure.


# %% exercise="advance"
def advance(loss_fn, optimizer: optax.GradientTransformation, decay: float, state: dict, batch):
    """`(state, loss)`: the state of the run one step later, and the loss before that step."""
    ### BEGIN SOLUTION
    key, subkey = jax.random.split(state["key"])
    loss, grads = jax.value_and_grad(loss_fn)(state["params"], subkey, batch)
    updates, opt_state = optimizer.update(grads, state["opt_state"], state["params"])
    params = optax.apply_updates(state["params"], updates)
    ema = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, state["ema"], params)
    step = state["step"] + 1
    return {"params": params, "opt_state": opt_state, "ema": ema, "key": key, "step": step}, loss
    ### END SOLUTION


# %% [markdown] hints="advance"
# <details><summary>Hint 1: the idea</summary>
#
# Five entries go in and five come out. Compute each from the old state, and build a new dict at the end.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.random.split`, `jax.value_and_grad`, `optimizer.update(grads, opt_state, params)`, `optax.apply_updates`, and `jax.tree.map` with two trees for the average.
# </details>


# %% check="advance" points=3
def thinned_loss(factor):
    """The loss of a linear model that sees each number of `x` with probability 0.7."""

    def loss_fn(params, key, batch):
        (x, y), (b, w) = batch, jax.tree.leaves(params)
        seen = jnp.where(jax.random.bernoulli(key, 0.7, x.shape), x, 0.0)
        return factor * jnp.mean((seen @ w + b - y) ** 2)

    return loss_fn


def momentum_and_decay(rate, weight_decay):
    return optax.chain(
        optax.add_decayed_weights(weight_decay), optax.trace(0.9), optax.scale(-rate)
    )


def advanced(f, factor, steps, rate, weight_decay, decay, params, ema, batch, key, step):
    loss_fn, optimizer, losses = thinned_loss(factor), momentum_and_decay(rate, weight_decay), []
    opt_state = optimizer.init(params)
    state = {"params": params, "opt_state": opt_state, "ema": ema, "key": key, "step": step}
    for _ in range(steps):
        state, loss = f(loss_fn, optimizer, decay, state, batch)
        losses.append(loss)
    return state | {"opt_state": state["opt_state"][1].trace}, jnp.stack(losses)


def advanced_by_numpy(
    factor,
    steps,
    rate,
    weight_decay,
    decay,
    params,
    ema,
    batch,
    key,
    step,
    late=True,
    subkey=1,
    carry=0,
):
    (x, y), (b, w), treedef = batch, *jax.tree.flatten(params)
    ema, speed, losses = jax.tree.leaves(ema), (0 * b, 0 * w), []
    for _ in range(steps):
        keys = jax.random.split(key)
        seen = np.where(jax.random.bernoulli(keys[subkey], 0.7, x.shape), x, 0.0)
        error = seen @ w + b - y
        slope = 2 * factor * error / error.size
        grads = slope.sum(axis=0), seen.T @ slope
        losses.append(factor * np.mean(error**2))
        old = b, w
        speed = [0.9 * s + g + weight_decay * p for s, g, p in zip(speed, grads, old)]
        b, w = (p - rate * s for s, p in zip(speed, old))
        ema = [decay * e + (1 - decay) * p for e, p in zip(ema, (b, w) if late else old)]
        key, step = key if carry is None else keys[carry], step + 1
    tree = partial(jax.tree.unflatten, treedef)
    state = {"params": tree([b, w]), "opt_state": tree(speed), "ema": tree(ema), "key": key}
    return state | {"step": np.int32(step)}, np.array(losses)


line, pair = {"b": "2", "w": "3 2"}, ("4", "5 4")
one = sweep(1.0, 1, 0.1, 0.0, 0.8, line, line, ("6 3", "6 2"), jax.random.key(1), 7, count=1)
three = sweep(0.5, 3, 0.05, 0.1, 0.5, pair, pair, ("7 5", "7 4"), jax.random.key(2), 20, count=1)
runs = [(*case[:-1], np.int32(case[-1])) for case in one + three]
check_values(
    through(advanced, advance),
    advanced_by_numpy,
    runs,
    mistakes={
        "the average takes in the old parameters": partial(advanced_by_numpy, late=False),
        "the two subkeys are exchanged": partial(advanced_by_numpy, subkey=0, carry=1),
        "the key is not carried on": partial(advanced_by_numpy, carry=None),
        "the key that the loss has used is carried on": partial(advanced_by_numpy, carry=1),
    },
    atol=1e-4,
)


def advanced_once(f, state, batch):
    return f(thinned_loss(1.0), optax.sgd(0.1), 0.9, state, batch)[0]["params"]


fresh = {
    "params": runs[0][5],
    "opt_state": optax.sgd(0.1).init({}),
    "ema": runs[0][6],
    "key": jax.random.key(1),
    "step": np.int32(0),
}
check_pure(through(advanced_once, advance), fresh, runs[0][7])
### BEGIN HIDDEN TESTS
far = sweep(
    2.0, 4, 0.1, 0.3, 0.9, line, line, ("5 3", "5 2"), jax.random.key(6), 0, count=2, seed=3
)
check_values(
    through(advanced, advance),
    advanced_by_numpy,
    [(*case[:-1], np.int32(case[-1])) for case in far],
    atol=1e-4,
    about="other settings",
)
### END HIDDEN TESTS

# %% [markdown]
# The rest of the notebook uses a run of its own: the multilayer perceptron of this course in a small size, 64-32-10, with dropout, on 1,280 handwritten digits of 8 by 8 pixels. An epoch has 10 steps.

# %%
digits = load_digits()
x_all, y_all = jnp.asarray(digits.data, jnp.float32) / 16, jnp.asarray(digits.target)
x_train, y_train, x_test, y_test = x_all[:1280], y_all[:1280], x_all[1280:], y_all[1280:]
data_key, batch_size, optimizer = jax.random.key(11), 128, optax.adam(3e-3)


def loss_fn(params, x, y, key=None):
    h = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
    if key is not None:  # dropout, while training
        h = jnp.where(jax.random.bernoulli(key, 0.8, h.shape), h / 0.8, 0.0)
    logits = h @ params["output"]["w"] + params["output"]["b"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


@jax.jit
def init_state(seed=0):
    keys = jax.random.split(jax.random.key(seed), 3)
    he = jax.nn.initializers.he_normal()
    params = {
        "hidden": {"w": he(keys[0], (64, 32)), "b": jnp.zeros(32)},
        "output": {"w": he(keys[1], (32, 10)), "b": jnp.zeros(10)},
    }
    opt_state, step = optimizer.init(params), jnp.int32(0)
    return {"params": params, "opt_state": opt_state, "ema": params, "key": keys[2], "step": step}


@jax.jit
def train_step(state):
    """One step of the run: the new state, and what is logged."""
    epoch, position = jnp.divmod(state["step"], 10)
    order = jax.random.permutation(jax.random.fold_in(data_key, epoch), 1280)
    rows = order.reshape(10, batch_size)[position]
    key, subkey = jax.random.split(state["key"])
    loss, grads = jax.value_and_grad(loss_fn)(state["params"], x_train[rows], y_train[rows], subkey)
    updates, opt_state = optimizer.update(grads, state["opt_state"], state["params"])
    params = optax.apply_updates(state["params"], updates)
    ema = jax.tree.map(lambda e, p: 0.9 * e + 0.1 * p, state["ema"], params)
    state = {
        "params": params,
        "opt_state": opt_state,
        "ema": ema,
        "key": key,
        "step": state["step"] + 1,
    }
    return state, {"rows": rows, "losses": loss, "ema_losses": loss_fn(ema, x_test, y_test)}


@partial(jax.jit, static_argnums=1)
def train_steps(state, count):
    return jax.lax.scan(lambda state, _: train_step(state), state, length=count)


def described(tree):
    """For the checks: a tree, and the dtypes of its leaves."""
    return tree, [str(leaf.dtype) for leaf in jax.tree.leaves(tree)]


state, log = train_steps(init_state(), 25)
print("loss", log["losses"][0], "->", log["losses"][-1], "step", state["step"])

# %% [markdown]
# ## 11.2 Save a pytree
#
# `ocp.StandardCheckpointer` saves a pytree of arrays and numbers to a *new* directory. Typed keys are saved as typed keys. Strings are not accepted: metadata goes to a JSON file of its own (`ocp.args.JsonSave`).

# %%
checkpointer = ocp.StandardCheckpointer()
checkpointer.save(scratch / "first", state)
print("at once:", os.listdir(scratch))
checkpointer.wait_until_finished()
print("later:  ", os.listdir(scratch))

# %% [markdown]
# The save is asynchronous. Orbax copies the arrays, returns, and writes in background threads to a directory with a temporary name. At the end it renames that directory. The rename is the **commit**: whatever interrupts the save, there is a whole checkpoint named `first`, or none.
#
# Two traps. The path must be absolute: with a relative one `save` returns as usual, and the error appears in the background thread, or when you wait. An existing destination raises a `ValueError` unless you pass `force=True`.
#
# ### Save, and wait for the commit
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# **Return** nothing. When `save_state(path, state)` returns, the directory `path` holds a complete Orbax checkpoint of `state`.
#
# **Edge cases**: `path` is a string or a `Path`, absolute or relative to the working directory. A checkpoint that is already there is replaced.
#
# **The check** lists the directory right after the call, and restores what is there with `ocp.StandardCheckpointer`.


# %% exercise="save_state"
def save_state(path: str | Path, state) -> None:
    """Saves `state` to the directory `path`; the checkpoint is complete when this returns."""
    ### BEGIN SOLUTION
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(Path(path).resolve(), state, force=True)
    ### END SOLUTION


# %% [markdown] hints="save_state"
# <details><summary>Hint 1: the idea</summary>
#
# Three things are needed beside `save`: an absolute path, permission to replace, and one line that waits.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `Path(path).resolve()` or `os.path.abspath(path)`; `save(..., force=True)`; `wait_until_finished()`, or a `with` block around the checkpointer, which waits at its end.
# </details>


# %% check="save_state" points=2
def saved_and_read(save, how, state):
    """What can be read back after `save`; `how` names the kind of path, and what is there."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, "run").resolve()
        if "replace" in how:
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(path, {"old": jnp.ones(2)})
        given = os.path.relpath(path) if "relative" in how else path
        save(str(given) if "string" in how else Path(given), state)
        if (there := sorted(os.listdir(folder))) != ["run"]:
            raise RuntimeError(f"when save_state returns, the directory holds {there}, not 'run'")
        with ocp.StandardCheckpointer() as checkpointer:
            return described(checkpointer.restore(path))


def states(cases):
    return [described(state) for _, state in cases]


whole = {"w": "64 32", "layers": [{"b": "3"}, {"b": "5"}], "scale": ""}
one = sweep(whole, count=1)[0][0] | {"key": jax.random.key(4), "step": np.int32(7)}
absolute = [("absolute path", one), ("absolute string", {"w": np.arange(3, dtype=np.int32)})]
relative = [("relative string", one), ("relative path", {"w": np.float32([1, 2])})]
replaced = [("absolute path, replace", one)]
check_values(through(saved_and_read, save_state), states(absolute), absolute, rtol=0, atol=0)
check_values(
    through(saved_and_read, save_state),
    states(relative),
    relative,
    rtol=0,
    atol=0,
    about="a relative path",
)
check_values(
    through(saved_and_read, save_state),
    states(replaced),
    replaced,
    rtol=0,
    atol=0,
    about="a checkpoint is there already",
)
### BEGIN HIDDEN TESTS
other = sweep({"b": "7", "deep": [{"w": "2 9"}]}, count=1, seed=5)[0][0]
other["key"], other["flags"] = jax.random.split(jax.random.key(9), 3), np.array([True, False])
other["half"] = jnp.ones(3, jnp.bfloat16)
hidden = [("relative path, replace", other)]
check_values(
    through(saved_and_read, save_state),
    states(hidden),
    hidden,
    rtol=0,
    atol=0,
    about="arrays of keys and booleans",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 11.3 Restore onto an abstract target
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# `state["opt_state"]` is a tuple whose first element is a named tuple, `ScaleByAdamState`. Which type does `checkpointer.restore(path)["opt_state"]` have, when `restore` gets the path and nothing else?

# %% exercise="restored_type" kind="prediction"
# The name of a type, such as "dict".
### BEGIN SOLUTION
restored_type = "list"
### END SOLUTION


# %% check="restored_type" points=1
def type_without_target():
    with tempfile.TemporaryDirectory() as folder, ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(Path(folder, "a"), {"opt_state": optimizer.init(jnp.ones(2))})
        checkpointer.wait_until_finished()
        return type(checkpointer.restore(Path(folder, "a"))["opt_state"]).__name__


check_answer(
    restored_type,
    type_without_target,
    because="The file knows sequences and mappings, not your classes: tuples come back as lists.",
    mistakes={
        "tuple": "the checkpoint does not know Python types; a sequence comes back as a list",
        "dict": "that holds for the named tuple inside it, `ScaleByAdamState`",
    },
)

# %%
print(jax.tree.map(jnp.shape, checkpointer.restore(scratch / "first")["opt_state"]))

# %% [markdown]
# `optimizer.update` cannot use that. `restore(path, target)` gives the result the structure of `target`, which may hold arrays or, better, `jax.ShapeDtypeStruct`s: a shape, a dtype and perhaps a sharding, without data. `jax.eval_shape(f, *args)` traces `f` and returns such a tree.
#
# ### Restore a state with its types
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# **Return** the state that is saved at the absolute `path`, with the structure and the dtypes of the state that `init()` would return.
#
# **Edge cases**: `init` takes no arguments, and is expensive: it must not be executed, only traced. The state may hold keys and any Optax state.
#
# **The check** compares every leaf and every container type, and notices when `init` computes something.


# %% exercise="load_state"
def load_state(path: str | Path, init):
    """The state saved at `path`, with the structure of `init()`, which is only traced."""
    ### BEGIN SOLUTION
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path, jax.eval_shape(init))
    ### END SOLUTION


# %% [markdown] hints="load_state"
# <details><summary>Hint 1: the idea</summary>
#
# The second argument of `restore` describes the result. What describes the result of a function without running it?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.eval_shape(init)` and `ocp.StandardCheckpointer().restore(path, target)`.
# </details>


# %% check="load_state" points=2
def example_state(kind, params, moments, key):
    """A state after some steps; its optimizer state is written down by hand."""
    count = np.int32(17)
    if kind == "adam":
        inner = optax.ScaleByAdamState(count, moments, jax.tree.map(lambda m: 2 * m, moments))
        opt_state = inner, optax.EmptyState()
    elif kind == "finite":
        trace = optax.TraceState(moments)
        opt_state = optax.ApplyIfFiniteState(np.int32(2), np.array(False), np.int32(9), trace)
    else:
        opt_state = optax.TraceState(moments), optax.ScaleByScheduleState(count)
    return {"params": params, "opt_state": opt_state, "key": key, "step": count}


def loaded(load, kind, params, moments, key):
    def init():
        if not isinstance(jnp.zeros(()), jax.core.Tracer):
            raise RuntimeError("init was executed; it must only be traced")
        optimizers = {
            "adam": optax.adam(0.1),
            "finite": optax.apply_if_finite(optax.trace(0.9), 3),
            "schedule": optax.chain(optax.trace(0.9), optax.scale_by_schedule(lambda t: -0.1)),
        }
        optimizer = optimizers[kind]
        zeros = jax.tree.map(jnp.zeros_like, params)
        key = jax.random.key(0)
        return {
            "params": zeros,
            "opt_state": optimizer.init(zeros),
            "key": key,
            "step": jnp.int32(0),
        }

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run").resolve()
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path, example_state(kind, params, moments, key))
        return described(load(path, init))


net = {"w": "3 4", "b": "4"}
saved = [("adam", *rest) for _, *rest in sweep("", net, net, jax.random.key(3), count=1)]
check_values(
    through(loaded, load_state),
    [described(example_state(*case)) for case in saved],
    saved,
    rtol=0,
    atol=0,
)
### BEGIN HIDDEN TESTS
deep = ["5", ("2 2", "3")]
others = [
    ("schedule", *jax.tree.map(np.float16, rest), jax.random.key(8))
    for _, *rest in sweep("", deep, deep, count=1, seed=2)
] + [("finite", *rest) for _, *rest in sweep("", net, net, jax.random.key(9), count=1)]
check_values(
    through(loaded, load_state),
    [described(example_state(*case)) for case in others],
    others,
    rtol=0,
    atol=0,
    about="another optimizer and other parameters",
)
### END HIDDEN TESTS

# %% [markdown]
# ### Bug hunt: the average that stands still
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# Somebody edits `init` so that new runs start in bfloat16, and restores an old float32 checkpoint with it. There is no error, and the loss looks as before. But the moving average with decay 0.999 no longer moves:


# %% tags=["demonstration"]
def init_half():
    return jax.tree.map(lambda p: p.astype(jnp.bfloat16), init_state()["ema"])


checkpointer.save(scratch / "ema", state["ema"])
checkpointer.wait_until_finished()
slow = checkpointer.restore(scratch / "ema", jax.eval_shape(init_half))["hidden"]["b"]
moved = 0.999 * slow + (1 - 0.999) * (slow + 0.05)
print(slow.dtype, "changed numbers:", int((moved != slow).sum()), "of", slow.size)

# %% [markdown]
# A target with another shape is refused; a target with another *dtype* makes Orbax cast, silently. Write the loader that refuses.
#
# **Return** the tree saved at the absolute `path`, with the structure of `target`, a pytree of arrays or `jax.ShapeDtypeStruct`s.
#
# **Edge cases**: if any leaf was saved with a dtype other than that of `target`, raise a `TypeError`, also if the dtype of the target could hold all values. Leaves are arrays of numbers or booleans (no keys); trees consist of dicts, lists and tuples.
#
# **The check** changes the dtype of one leaf at a time.


# %% exercise="load_strict"
def load_strict(path: str | Path, target):
    """The tree at `path`, structured like `target`; a `TypeError` if a dtype differs."""
    ### BEGIN SOLUTION
    with ocp.StandardCheckpointer() as checkpointer:
        saved = checkpointer.metadata(path).item_metadata.tree
        for on_disk, wanted in zip(jax.tree.leaves(saved), jax.tree.leaves(target), strict=True):
            if on_disk.dtype != wanted.dtype:
                raise TypeError(f"saved as {on_disk.dtype}, the target has {wanted.dtype}")
        return checkpointer.restore(path, target)
    ### END SOLUTION


# %% [markdown] hints="load_strict"
# <details><summary>Hint 1: the idea</summary>
#
# You need the dtypes on disk. A restore without a target does not cast. Tuples become lists on the way, but the leaves keep their order.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# Compare `jax.tree.leaves(checkpointer.restore(path))` with `jax.tree.leaves(target)`. To read no array for it, use `checkpointer.metadata(path).item_metadata.tree`, whose leaves have a `dtype`.
# </details>


# %% check="load_strict" points=2
def saved_tree(tree):
    """A directory to be deleted, and in it the path of a checkpoint of `tree`."""
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name, "run").resolve()
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, tree)
    return folder, path


def target_of(abstract, dtypes, tree):
    """A target for `tree` whose leaves have `dtypes` (None: as in `tree`)."""
    leaves, treedef = jax.tree.flatten(tree)
    dtypes = [leaf.dtype if name is None else jnp.dtype(name) for leaf, name in zip(leaves, dtypes)]
    make = jax.ShapeDtypeStruct if abstract else jnp.ones
    return treedef.unflatten([make(leaf.shape, dtype) for leaf, dtype in zip(leaves, dtypes)])


def agreeing(load, abstract, tree):
    folder, path = saved_tree(tree)
    with folder:
        return described(load(path, target_of(abstract, [None] * 99, tree)))


def refusals(load, abstract, choices, tree):
    """For each choice of dtypes, whether a target that has them is refused."""
    folder, path = saved_tree(tree)
    refused = []
    with folder:
        for dtypes in choices:
            try:
                load(path, target_of(abstract, dtypes, tree))
                refused.append(False)
            except TypeError:
                refused.append(True)
    return jnp.array(refused)


def refused_by_hand(abstract, choices, tree, looks=lambda wanted, leaf: True, leaves=99):
    saved = jax.tree.leaves(tree)
    return np.array(
        [
            any(w and w != l.dtype and looks(w, l) for w, l in zip(dtypes[:leaves], saved))
            for dtypes in choices
        ]
    )


nest = {"b": "4", "layers": ["3", ("2 2", integers("5", 0, 9))]}
[(tree,)] = sweep(nest, count=1)
agree = [(True, tree), (False, {"w": tree["b"]})]
check_values(
    through(agreeing, load_strict),
    [described(tree) for _, tree in agree],
    agree,
    rtol=0,
    atol=0,
    about="the dtypes agree",
)
changes = [
    ["bfloat16", None, None, None],
    [None, "float16", None, None],
    [None, None, "bfloat16", None],
    [None, None, None, "int8"],
    [None, None, None, None],
]
check_values(
    through(refusals, load_strict),
    refused_by_hand,
    [(True, changes, tree), (False, changes[::-1], tree)],
    mistakes={
        "no other dtype is refused": partial(refused_by_hand, leaves=0),
        "only the first leaf is looked at": partial(refused_by_hand, leaves=1),
        "the last leaf is not looked at": partial(refused_by_hand, leaves=3),
    },
    about="one dtype differs",
)
### BEGIN HIDDEN TESTS
few = {"a": jnp.arange(3, dtype=jnp.bfloat16), "b": [jnp.ones(2, bool), jnp.ones(2, jnp.int8)]}
wider = [["float32", None, None], [None, "int8", None], [None, None, "int32"], [None] * 3]
halves = [["float16", None, None], [None, None, "uint8"], [None] * 3]
check_values(
    through(refusals, load_strict),
    refused_by_hand,
    [(True, wider, few), (False, halves, few)],
    about="other dtypes",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 11.4 Exact resume with a CheckpointManager
#
# `ocp.CheckpointManager(folder)` numbers the checkpoints of one run by step, and finds them again:
#
# ```python
# with ocp.CheckpointManager(folder) as manager:
#     manager.latest_step()                                     # None in an empty folder
#     manager.save(20, args=ocp.args.StandardSave(state))       # asynchronous
#     manager.restore(20, args=ocp.args.StandardRestore(target))
# ```
#
# Leaving the `with` block waits for saves in progress, after an exception too. `CheckpointManagerOptions(max_to_keep=3)` deletes old checkpoints; `save_interval_steps=100` makes `save` return `False` and do nothing in between. `save` also returns `False` for a step that is not newer than the latest one, without an error.
#
# ### Survive a crash
# **Exercise** · 12 minutes · difficulty 4 of 5
#
# **Return** the state of the run at step `total`. `run_to` starts from the newest checkpoint in `folder`, or from `init()` if there is none, and calls `state = step_fn(state)` until `state["step"]` is `total`. It saves with a `CheckpointManager` in `folder`, under the number of the step, whenever the step is a multiple of `every`, and at `total`.
#
# **Edge cases**: `step_fn` may raise an exception at any step. Let it pass, but first wait until any save that has started is complete. If the newest checkpoint is at `total`, take no step. `folder` is an absolute path. `init()` may be executed.
#
# **The check** raises exceptions at several steps, calls `run_to` again, and compares every leaf with an uninterrupted run, bit for bit. It also records which steps were taken, and reads the newest checkpoint.


# %% exercise="run_to"
def run_to(folder: str | Path, init, step_fn, total: int, every: int):
    """The state at step `total`, continued from the newest checkpoint in `folder`, if any."""
    ### BEGIN SOLUTION
    with ocp.CheckpointManager(folder) as manager:
        state = init()
        if (newest := manager.latest_step()) is not None:
            state = manager.restore(newest, args=ocp.args.StandardRestore(state))
        while (step := int(state["step"])) < total:
            state = step_fn(state)
            if (step + 1) % every == 0 or step + 1 == total:
                manager.save(step + 1, args=ocp.args.StandardSave(state))
    return state
    ### END SOLUTION


# %% [markdown] hints="run_to"
# <details><summary>Hint 1: the idea</summary>
#
# Find out where to start, then loop. The step count lives in the state, so restoring the state restores the loop.
# </details>
# <details><summary>Hint 2: exceptions</summary>
#
# A `with` block closes the manager however it is left, and closing waits.
# </details>
# <details><summary>Hint 3: a skeleton</summary>
#
# ```python
# with ocp.CheckpointManager(folder) as manager:
#     state = init()
#     newest = manager.latest_step()
#     if ...:
#         state = manager.restore(newest, args=...)
#     while int(state["step"]) < total:
#         state = step_fn(state)
#         if ...:
#             manager.save(...)
# return state
# ```
# </details>


# %% check="run_to" points=4
class Killed(Exception):
    """What stops a run from outside."""


def noisy_run(rate, w, key):
    """`init` and `step_fn` of a small run with Adam, a key, a step count and a data order."""
    optimizer = optax.adam(rate)

    def init():
        return {"params": w, "opt_state": optimizer.init(w), "key": key, "step": jnp.int32(0)}

    @jax.jit
    def step_fn(state):
        key, subkey = jax.random.split(state["key"])
        place = jax.random.permutation(jax.random.fold_in(key, state["step"] // 4), 4)
        noise = jax.random.normal(subkey, w.shape) + place[state["step"] % 4]
        grads = jax.grad(lambda w: jnp.sum((w - noise) ** 2))(state["params"])
        updates, opt_state = optimizer.update(grads, state["opt_state"])
        params = optax.apply_updates(state["params"], updates)
        return {"params": params, "opt_state": opt_state, "key": key, "step": state["step"] + 1}

    return init, step_fn


def bits(tree):
    words = jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(words)]


def _is_key(leaf):
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def interrupted(run, crashes, totals, every, rate, w, key):
    """Which entries differ from an uninterrupted run, the steps taken, and the newest step."""
    (init, step_fn), taken, left, newest = noisy_run(rate, w, key), [], list(crashes), []

    def fragile(state):
        if left and int(state["step"]) == left[0]:
            raise Killed(f"killed in step {left.pop(0)}")
        taken.append(int(state["step"]))
        return step_fn(state)

    with tempfile.TemporaryDirectory() as folder:
        for total in totals:
            state = None
            while state is None:
                with contextlib.suppress(Killed):
                    state = run(Path(folder).resolve(), init, fragile, total, every)
                newest.append(_newest(folder))
    uninterrupted = init()
    for _ in range(totals[-1]):
        uninterrupted = step_fn(uninterrupted)
    differs = {name: bits(state[name]) != bits(part) for name, part in uninterrupted.items()}
    return {"differs": differs, "taken": padded(taken), "newest": padded(newest)}


def padded(steps):
    return jnp.array([*steps, *[-2] * (40 - len(steps))])


def _newest(folder):
    with ocp.CheckpointManager(Path(folder).resolve()) as manager:
        step = manager.latest_step()
    return -1 if step is None else step


def interrupted_by_hand(crashes, totals, every, rate, w, key, restart=False, at_end=True, lost=()):
    taken, left, newest, names = [], list(crashes), [], ("params", "opt_state", "key", "step")
    for total in totals:
        done, step = False, 0
        while not done:
            step = 0 if restart else max([0, *newest])
            saved = max([-1, *newest])
            while step < total and not (left and step == left[0]):
                taken.append(step)
                step += 1
                if step % every == 0 or (step == total and at_end):
                    saved = max(saved, step)
            done = step == total
            left = left if done else left[1:]
            newest.append(saved)
    differs = {name: name in lost for name in names}
    return {"differs": differs, "taken": padded(taken), "newest": padded(newest)}


[(start,)] = sweep("5", count=1)
check_values(
    through(interrupted, run_to),
    interrupted_by_hand,
    [([], [7], 3, 0.1, start, jax.random.key(1))],
    mistakes={
        "nothing is saved at the end": partial(interrupted_by_hand, at_end=False),
    },
    about="no crash",
)
check_values(
    through(interrupted, run_to),
    interrupted_by_hand,
    [
        ([7], [10], 3, 0.1, start, jax.random.key(1)),
        ([1, 5, 5], [8], 2, 0.3, start[:3], jax.random.key(2)),
    ],
    mistakes={
        "each run begins anew": partial(interrupted_by_hand, restart=True),
        "the key is restarted": partial(interrupted_by_hand, lost=("params", "opt_state", "key")),
        "the optimizer state is restarted": partial(
            interrupted_by_hand, lost=("params", "opt_state")
        ),
    },
    about="crashes",
)
### BEGIN HIDDEN TESTS
check_values(
    through(interrupted, run_to),
    interrupted_by_hand,
    [
        ([6, 9], [12], 4, 0.2, start, jax.random.key(5)),
        ([3], [5, 5, 9], 1, 0.2, start, jax.random.key(6)),
        ([8], [4, 11], 3, 0.2, start, jax.random.key(7)),
    ],
    about="a finished run, and one that goes on",
)
### END HIDDEN TESTS

# %% [markdown]
# Now your function trains the digits network. It is killed in steps 13 and 32 and restarted each time.

# %% tags=["raises-exception"]
losses, kills = [], [13, 32]


def logged_step(state):
    if kills and int(state["step"]) == kills[0]:
        raise KeyboardInterrupt(f"killed in step {kills.pop(0)}")
    state, log = train_step(state)
    losses.append((int(state["step"]), float(log["losses"])))
    return state


for _ in range(3):
    with contextlib.suppress(KeyboardInterrupt):
        final = run_to(scratch / "digits", init_state, logged_step, 50, 10)
never_stopped, whole_log = train_steps(init_state(), 50)
same = jax.tree.map(jnp.array_equal, final["params"], never_stopped["params"])
print("the same parameters:", jax.tree.reduce(np.logical_and, same))
steps, values = np.array(losses).T
plt.figure("Training loss of a run in three pieces", figsize=(8, 3))
plt.plot(range(1, 51), whole_log["losses"], color="C0", lw=6, alpha=0.3)
for first, last, colour in ((0, 13, "gray"), (13, 35, "C3"), (35, 55, "C2")):
    plt.plot(steps[first:last], values[first:last], ".-", color=colour, lw=1)
plt.xlabel("step", fontsize=11)
plt.ylabel("training loss", fontsize=11)
plt.show()

# %% [markdown]
# *Training loss against the step. A wide pale line is the uninterrupted run. Three thin lines lie exactly on it: grey for steps 1 to 13, red from step 11 to 32, green from step 31 to 50. Steps 11 to 13 and 31 to 32 were taken twice, with the same losses.*
#
# This holds for one compiled program. On another number of devices, or with another version of JAX, sums may be added in another order, and the runs agree only approximately.
#
# ## 11.5 Bug hunt: what was forgotten
#
# Four resumes of the digits run, A to D, each forget one thing at step 25. One restarts the key from `init_state()`. One has Adam's moments and loses its count, which starts again at 0. One loses `step` and starts again with the data of epoch 0. One forgets the moving average `ema` and restarts it from the parameters. None of them raises an error.


# %%
def forget(state, what):
    if what == "count":
        inner, rest = state["opt_state"]
        return state | {"opt_state": (inner._replace(count=jnp.int32(0)), rest)}
    fresh = init_state() | {"ema": state["params"]}
    return state | ({} if what == "nothing" else {what: fresh[what]})


def log_after(what, seed=0, stop=25, steps=20):
    """The log of `steps` steps after a resume at step `stop` that has forgotten `what`."""
    state, _ = train_steps(init_state(seed), stop)
    return train_steps(forget(state, what), steps)[1]


causes = ["key", "count", "step", "ema"]
hidden_order = np.random.default_rng(2).permutation(4)
whole_log = log_after("nothing")
logs = [log_after(causes[i]) for i in hidden_order]
print(
    "uninterrupted: first rows", whole_log["rows"][0, :4], "first losses", whole_log["losses"][:2]
)
for name, log in zip("ABCD", logs):
    print(f"{name}: first rows", log["rows"][0, :4], "first losses", log["losses"][:2])

# %%
figure, panels = plt.subplots(
    1, 4, num="Distance of four resumed runs from the uninterrupted one", clear=True,
    figsize=(8.3, 3), sharey=True, layout="constrained",
)
for name, log, panel in zip("ABCD", logs, panels):
    for entry, colour in (("losses", "gray"), ("ema_losses", "C3")):
        panel.plot(np.maximum(np.abs(log[entry] - whole_log[entry]), 1e-9), ".-", color=colour)
    panel.set_yscale("log")
    panel.set_title(name, fontsize=12)
    panel.set_xlabel("steps after the resume", fontsize=11)
panels[0].set_ylabel("distance from the\nuninterrupted run", fontsize=11)
plt.show()

# %% [markdown]
# *Four panels with logarithmic axes, one for each resume. Grey: distance of the training loss, which is measured before each step, from that of the uninterrupted run. Red: distance of the test loss of the moving average, measured after each step. A distance of zero is drawn at 10⁻⁹.*
#
# **Prediction** · 4 minutes · difficulty 3 of 5
#
# What did A, B, C and D forget?

# %% exercise="four_causes" kind="prediction"
# A tuple of four of the words "key", "count", "step", "ema", each once, in the order A, B, C, D.
### BEGIN SOLUTION
four_causes = ("ema", "step", "key", "count")
### END SOLUTION

# %% check="four_causes" points=2
check_answer(
    four_causes,
    lambda: tuple(causes[i] for i in hidden_order),
    because="Other rows: the step. Another first loss on the same rows: the key. From the second "
    "loss on: the first update differed, the count. Only the average differs: ema.",
)

# %% [markdown]
# ### Name the missing entry from two logs
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# `whole` and `resumed` are logs of the same steps of one run, the second after a resume: dicts with `rows`, int32 of shape (steps, batch); `losses`, the training loss *before* each step; `ema_losses`, the test loss of the average *after* each step. There are at least two steps.
#
# **Return** one of the strings `"nothing"`, `"key"`, `"count"`, `"step"`, `"ema"`: the one entry that the resume has forgotten.
#
# **Edge cases**: the smallest difference counts; compare without a tolerance. Compare all rows and numbers: the first ones may be equal.
#
# **The check** uses logs of real runs and short logs made by hand.


# %% exercise="forgotten"
def forgotten(whole: dict, resumed: dict) -> str:
    """Which entry of the state the resumed run has forgotten, from its log."""
    ### BEGIN SOLUTION
    differ = {name: np.asarray(whole[name]) != np.asarray(resumed[name]) for name in whole}
    if differ["rows"].any():
        return "step"
    if differ["losses"][0]:
        return "key"
    if differ["losses"].any():
        return "count"
    return "ema" if differ["ema_losses"].any() else "nothing"
    ### END SOLUTION


# %% [markdown] hints="forgotten"
# <details><summary>Hint 1: the idea</summary>
#
# Ask in which order things can go wrong. The rows depend on `step` alone. The first loss depends on the rows, the parameters and the key. The second one depends on the first update as well.
# </details>
# <details><summary>Hint 2: the skeleton</summary>
#
# ```python
# if ...:  # any row
#     return "step"
# if ...:  # the first loss
#     return "key"
# ...
# ```
# </details>


# %% check="forgotten" points=3
def log_by_hand(rows, losses, ema_losses):
    names = "rows", "losses", "ema_losses"
    arrays = np.int32(rows), np.float32(losses), np.float32(ema_losses)
    return dict(zip(names, arrays))


real = {what: log_after(what) for what in ("nothing", *causes)}
short = log_by_hand([[1, 2], [3, 0]], [2, 1], [4, 3])
check_values(
    forgotten,
    list(real),
    [(real["nothing"], log) for log in real.values()],
    about="runs on the digits",
)
check_values(
    forgotten,
    ["nothing", "nothing", "count", "ema", "key", "step"],
    [
        (short, short),
        (log_by_hand([[2, 0], [1, 3]], [3, 2], [5, 1]),) * 2,
        (short, log_by_hand([[1, 2], [3, 0]], [2, 1.0000001], [4, 3])),
        (short, log_by_hand([[1, 2], [3, 0]], [2, 1], [4, 3.0000002])),
        (short, log_by_hand([[1, 2], [3, 0]], [2.0000002, 1], [4, 3])),
        (short, log_by_hand([[1, 2], [0, 3]], [2, 1], [4, 3])),
    ],
    about="the smallest differences",
)
### BEGIN HIDDEN TESTS
again = {what: log_after(what, 3, 12, 7) for what in ("nothing", *causes)}
long = log_by_hand([[1, 2], [3, 0], [2, 1]], [2, 1, 1], [4, 3, 5])
check_values(
    forgotten,
    [*again, "step", "count", "count", "ema", "ema"],
    [
        *((again["nothing"], log) for log in again.values()),
        (long, log_by_hand([[1, 2], [3, 0], [2, 3]], [2, 1, 1], [4, 3, 5])),
        (long, log_by_hand([[1, 2], [3, 0], [2, 1]], [2, 1, 0], [4, 3, 5])),
        (long, log_by_hand([[1, 2], [3, 0], [2, 1]], [2, 0, 2], [4, 3, 5])),
        (long, log_by_hand([[1, 2], [3, 0], [2, 1]], [2, 1, 1], [4, 3, 6])),
        (long, log_by_hand([[1, 2], [3, 0], [2, 1]], [2, 1, 1], [5, 2, 5])),
    ],
    about="another run, and longer logs",
)
### END HIDDEN TESTS

# %% [markdown]
# Your function on the four resumes of the figure:

# %% tags=["raises-exception"]
for name, log in zip("ABCD", logs):
    print(name, "forgot:", forgotten(whole_log, log))

# %% [markdown]
# This is a good place for a break.
#
# > **In PyTorch** you collect `model.state_dict()`, `optimizer.state_dict()`, `scheduler.state_dict()`, the random states (`torch.get_rng_state()`, CUDA, NumPy, Python) and the state of the data sampler in a dict, pass it to `torch.save`, and later call `load_state_dict` on each object. Each of them can be forgotten. `torch.save` writes directly under the final name, so a crash can leave half a file. In JAX the state is one pytree, and what is not in it cannot influence the step.
#
# ## 11.6 Restore onto another mesh
#
# A restored array has the sharding that it was saved with, unless the target says otherwise. To continue a run on another mesh, give each leaf of the target the sharding that you want. Each device then reads its own part only.
#
# ### An abstract state with shardings
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# **Return** a pytree with the structure of `init()` whose leaves are `jax.ShapeDtypeStruct`s with a `NamedSharding` on `mesh`. Cut axis 0 of a leaf over the mesh axis `"data"` if the length of axis 0 is a multiple of the size of `"data"`. Replicate all other leaves.
#
# **Edge cases**: scalars are replicated, a single key too. `mesh` may have other axes beside `"data"`, in any order. `init` must only be traced.
#
# **The check** restores a checkpoint, saved on a mesh of all devices, with your target, and compares the values and the shardings.


# %% exercise="abstract_on"
def abstract_on(init, mesh: jax.sharding.Mesh):
    """The abstract state of `init()`, with axis 0 of each leaf cut over "data" where it can be."""

    ### BEGIN SOLUTION
    def place(leaf):
        cut = leaf.ndim > 0 and leaf.shape[0] % mesh.shape["data"] == 0
        sharding = NamedSharding(mesh, P("data") if cut else P())
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(place, jax.eval_shape(init))
    ### END SOLUTION


# %% [markdown] hints="abstract_on"
# <details><summary>Hint 1: the idea</summary>
#
# `jax.eval_shape` gives shapes and dtypes; map over its leaves and add a sharding to each.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `mesh.shape["data"]` is the size of that axis; `jax.ShapeDtypeStruct(shape, dtype, sharding=...)`; `NamedSharding(mesh, P("data"))` and `NamedSharding(mesh, P())`.
# </details>


# %% check="abstract_on" points=3
def restored_on(make, mesh, params, key):
    """What comes back on `mesh`, with the answer as the target, from a save on all devices."""
    all_devices = jax.make_mesh(
        (mesh.devices.size,), ("all",), devices=mesh.devices.ravel(), axis_types=(AxisType.Auto,)
    )

    def init():
        if not isinstance(jnp.zeros(()), jax.core.Tracer):
            raise RuntimeError("init was executed; it must only be traced")
        zeros = jax.tree.map(jnp.zeros_like, params)
        opt_state = optax.ScaleByAdamState(jnp.int32(0), zeros, zeros)
        return {"params": zeros, "opt_state": opt_state, "key": jax.random.key(0)}

    state = {"params": params, "opt_state": moments_of(params), "key": key}
    state = jax.device_put(state, NamedSharding(all_devices, P()))
    target = make(init, mesh)
    if not all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(target)):
        raise TypeError("some leaves of the target are not jax.ShapeDtypeStruct")
    with tempfile.TemporaryDirectory() as folder, ocp.StandardCheckpointer() as checkpointer:
        path = Path(folder, "run").resolve()
        checkpointer.save(path, state)
        checkpointer.wait_until_finished()
        return checkpointer.restore(path, target)


def restored_with_dtypes(*args):
    return described(restored_on(*args))


def moments_of(params):
    return optax.ScaleByAdamState(np.int32(5), params, jax.tree.map(lambda p: 2 * p, params))


def unchanged(mesh, params, key):
    return {"params": params, "opt_state": moments_of(params), "key": key}


def parts(mesh, params, key):
    """The shardings that are expected: the arrays of two axes are those that can be cut."""
    tree = unchanged(mesh, params, key)
    specs = jax.tree.map(lambda leaf: P("data") if np.ndim(leaf) == 2 else P(), tree)
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)


wide = 2 if n % 2 == 0 else 1
line_of = jax.make_mesh((n,), ("data",), axis_types=(AxisType.Auto,), devices=devices)
grid = jax.make_mesh(
    (wide, n // wide), ("data", "model"), axis_types=(AxisType.Auto,) * 2, devices=devices
)
turned = jax.make_mesh(
    (wide, n // wide), ("model", "data"), axis_types=(AxisType.Auto,) * 2, devices=devices
)
[(even,)] = sweep({"w": f"{2 * n} 3", "b": f"{2 * n + 1}"}, count=1)
[(other,)] = sweep([f"{n} 5", (f"{4 * n} 1", f"{n + 1}")], count=1, seed=2)
key = jax.random.key(6)
placed = [(grid, even, key), (line_of, other, key)]
check_values(
    through(restored_with_dtypes, abstract_on),
    [described(unchanged(*case)) for case in placed],
    placed,
    rtol=0,
    atol=0,
)
check_sharding(
    through(restored_on, abstract_on), line_of, even, key, expected=parts(line_of, even, key)
)
check_sharding(
    through(restored_on, abstract_on),
    grid,
    other,
    key,
    expected=parts(grid, other, key),
    about='a mesh with "model" too',
)
### BEGIN HIDDEN TESTS
check_sharding(
    through(restored_on, abstract_on),
    turned,
    other,
    key,
    expected=parts(turned, other, key),
    about="the axes in the other order",
)
[(thirds,)] = sweep({"w": f"{3 * (n // wide)} 2", "b": "1"}, count=1, seed=3)
check_sharding(
    through(restored_on, abstract_on),
    turned,
    thirds,
    key,
    expected=parts(turned, thirds, key),
    about="a length that the number of all devices does not divide",
)
### END HIDDEN TESTS

# %% [markdown]
# The hidden layer's weights of the digits run, restored with your target onto a grid of devices:

# %% tags=["raises-exception"]
rows = n // 2 if n % 2 == 0 else n
table = jax.make_mesh((rows, n // rows), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
resumed = checkpointer.restore(scratch / "first", abstract_on(init_state, table))
jax.debug.visualize_array_sharding(resumed["params"]["hidden"]["w"])

# %% [markdown]
# *A table of the matrix of 64 by 32 numbers: with eight devices, four bands of rows, each held by two devices.*
#
# ## 11.7 Asynchronous saves and donation
#
# Training steps usually donate the state to save memory. A save may still be in progress when the next step begins.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# `checkpointer.save(path, state)` returns, `state = step(state)` donates the old state at once and adds 1 to every number, and then you wait for the save. Does the checkpoint hold the "old" numbers or the "new" ones, or is there an "error"?

# %% exercise="after_donation" kind="prediction"
# One of the three words.
### BEGIN SOLUTION
after_donation = "old"
### END SOLUTION


# %% check="after_donation" points=1
def saved_while_donating():
    step = jax.jit(lambda state: {"w": state["w"] + 1}, donate_argnums=0)
    with tempfile.TemporaryDirectory() as folder, ocp.StandardCheckpointer() as checkpointer:
        state = {"w": jnp.zeros(100_000)}
        checkpointer.save(Path(folder, "a"), state)
        step(state)
        checkpointer.wait_until_finished()
        first = float(checkpointer.restore(Path(folder, "a"))["w"][0])
    return {0.0: "old", 1.0: "new"}[first]


check_answer(
    after_donation,
    saved_while_donating,
    because="`save` returns after it has copied the arrays; only the writing is asynchronous.",
    mistakes={
        "new": "`save` copies the arrays before it returns",
        "error": "`save` copies the arrays before it returns, so they may be donated then",
    },
)

# %% tags=["demonstration"]
import time

big = {"w": jnp.ones((1024, 1024))}
began = time.perf_counter()
checkpointer.save(scratch / "big", big)
returned = time.perf_counter() - began
jax.jit(lambda tree: {"w": tree["w"] + 1}, donate_argnums=0)(big)
checkpointer.wait_until_finished()
print(f"save returned after {returned:.3f} s, written after {time.perf_counter() - began:.3f} s")
print("donated:", big["w"].is_deleted(), "saved:", checkpointer.restore(scratch / "big")["w"][0, 0])

# %% [markdown]
# So donation is safe as soon as `save` has returned. What you must wait for is everything that *reads the directory*: a restore, a copy to other storage, the end of the process.
#
# ## 11.8 Keep the best checkpoints and the last one
#
# With `max_to_keep=k` and a `best_fn`, a manager keeps the k best checkpoints by the metrics that you pass to `save`. It then deletes the newest one if it is not among the best, and a resume would start from an old step. A **preservation policy** says more precisely what to keep. `AnyPreservationPolicy` keeps a checkpoint that any policy in a list would keep; they are all in `ocp.checkpoint_managers`.
#
# ### A manager for the best and the last
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# **Return** an open `ocp.CheckpointManager` on `folder` that keeps the `keep` best checkpoints and, beside them, the newest one. The best are those with the smallest (`mode="min"`) or the largest (`mode="max"`) value of `metrics[metric]`.
#
# **Edge cases**: the newest may be among the best; then `keep` checkpoints are left. The method `best_step()` must give the step with the best value. Values do not tie.
#
# **The check** saves a series of steps with metrics, closes the manager, and looks at `all_steps()` and `best_step()`.


# %% exercise="manager_for"
def manager_for(folder: str | Path, metric: str, mode: str, keep: int) -> ocp.CheckpointManager:
    """A manager that keeps the `keep` best checkpoints by `metric`, and the newest one."""
    ### BEGIN SOLUTION
    managers = ocp.checkpoint_managers
    sign = 1 if mode == "max" else -1
    best = managers.BestN(get_metric_fn=lambda metrics: sign * metrics[metric], n=keep)
    options = ocp.CheckpointManagerOptions(
        best_fn=lambda metrics: metrics[metric],
        best_mode=mode,
        preservation_policy=managers.AnyPreservationPolicy([managers.LatestN(1), best]),
    )
    return ocp.CheckpointManager(folder, options=options)
    ### END SOLUTION


# %% [markdown] hints="manager_for"
# <details><summary>Hint 1: the idea</summary>
#
# `best_fn` and `best_mode` decide what `best_step()` returns. A preservation policy decides what is kept, and takes the place of `max_to_keep`.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `ocp.CheckpointManagerOptions(best_fn=..., best_mode=..., preservation_policy=...)`. The policies are `LatestN(1)` and `BestN(get_metric_fn=..., n=keep)`, which keeps the *largest* values.
# </details>


# %% check="manager_for" points=3
def kept(make, metric, mode, keep, values):
    """The steps that are left after a save for each value, and the best one."""
    with tempfile.TemporaryDirectory() as folder:
        with make(Path(folder).resolve(), metric, mode, keep) as manager:
            for i, value in enumerate(np.asarray(values).tolist()):
                metrics = {metric: value, "other": float(i % 3)}
                state = ocp.args.StandardSave({"w": jnp.ones(2)})
                manager.save(10 * i, args=state, metrics=metrics)
                manager.wait_until_finished()
            best = manager.best_step()
        left = {int(name) for name in os.listdir(folder) if name.isdigit()}
    return {"kept": jnp.array([10 * i in left for i in range(len(values))]), "best": best}


def kept_by_hand(
    metric, mode, keep, values, last=True, newest=False, policy=None, best_mode=None
):
    left, values = [], list(values)
    for i in range(len(values)):
        ranked = sorted([*left, i], key=values.__getitem__, reverse=(policy or mode) == "max")
        left = sorted({*ranked[:keep], *([i] if last else ())})
    chosen = (max if (best_mode or mode) == "max" else min)(left, key=values.__getitem__)
    kept = np.array([i in left for i in range(len(values))])
    return {"kept": kept, "best": 10 * (left[-1] if newest else chosen)}


loss_values, accuracies = np.array([5.0, 1.0, 3.0, 2.0, 4.0]), np.array([0.6, 0.5, 0.9, 0.8])
check_values(
    through(kept, manager_for),
    kept_by_hand,
    [("loss", "min", 2, loss_values), ("loss", "min", 3, np.array([5.0, 1.0, 3.0, 4.0, 2.0]))],
    mistakes={
        "the newest checkpoint is deleted": partial(kept_by_hand, last=False),
        "the newest checkpoints are kept, not the best": lambda metric, mode, keep, values: {
            "kept": np.arange(len(values)) >= len(values) - keep - 1,
            "best": 10 * (len(values) - 1 - keep + np.argmin(values[-1 - keep :])),
        },
        "`best_step()` gives the newest step": partial(kept_by_hand, newest=True),
        "`best_step()` gives the step with the largest value": partial(
            kept_by_hand, best_mode="max"
        ),
    },
    about="the smallest loss",
)
check_values(
    through(kept, manager_for),
    kept_by_hand,
    [("accuracy", "max", 2, accuracies), ("accuracy", "max", 1, accuracies)],
    mistakes={
        "the smallest values are kept, whatever `mode` says": partial(kept_by_hand, policy="min"),
    },
    about="the largest accuracy",
)
### BEGIN HIDDEN TESTS
check_values(
    through(kept, manager_for),
    kept_by_hand,
    [
        ("error", "min", 3, np.array([-1.0, 4.0, 0.0, -3.0, 2.0, -2.0, 5.0])),
        ("score", "max", 2, np.array([-5.0, -1.0, -3.0, -2.0, -4.0])),
        ("loss", "min", 2, np.array([1.0, 2.0, 5.0, 4.0, 3.0])),
    ],
    about="other names, negative values",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 11.9 Refuse a damaged checkpoint
#
# The commit protects you from a save that was interrupted, but not from a disk or a copy that loses bytes later. The numbers of a large array are stored without a checksum. Here one bit of the largest file is flipped:


# %%
def largest_file(folder):
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def flip_bit(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


good = {"w": jax.random.normal(jax.random.key(0), (64, 128))}
with ocp.StandardCheckpointer() as writer:
    writer.save(scratch / "good", good)
shutil.copytree(scratch / "good", scratch / "damaged")
flip_bit(largest_file(scratch / "damaged"), 12_000)
with ocp.StandardCheckpointer() as reader:
    damaged = reader.restore(scratch / "damaged")
print("no error, and other numbers:", int((damaged["w"] != good["w"]).sum()))

# %% [markdown]
# A **digest** is a short string computed from all bytes, such as SHA-256. Store it elsewhere when you save, compute it again before you restore, and refuse if the two differ.
#
# ### A digest of a directory
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# **Return** a string that depends on every file below `folder`: on its path relative to `folder` and on its bytes.
#
# **Edge cases**: a copy of the directory in another place, written in another order or at another time, has the same digest. A flipped bit, a file that is cut short, renamed, added (even an empty one) or missing gives another one, and so do bytes that move from the end of one file to the beginning of the next. Files may lie in subdirectories of any depth.
#
# **The check** damages copies of small directories in these ways.


# %% exercise="digest"
def digest(folder: str | Path) -> str:
    """A string that changes when any file below `folder` changes, and not when it is copied."""
    ### BEGIN SOLUTION
    folder, total = Path(folder), hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        for part in (path.relative_to(folder).as_posix().encode(), path.read_bytes()):
            total.update(hashlib.sha256(part).digest())
    return total.hexdigest()
    ### END SOLUTION


# %% [markdown] hints="digest"
# <details><summary>Hint 1: the idea</summary>
#
# Hash the names and the contents, in an order that does not depend on the file system. What separates one file from the next?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `sorted(Path(folder).rglob("*"))`, `path.is_file()`, `path.relative_to(folder)`, `path.read_bytes()`; `hashlib.sha256()` with `update` and `hexdigest`. The digest of a file has a fixed length, so digests can be joined without a separator.
# </details>


# %% check="digest" points=3
def written(folder, files):
    for name, content in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(content))


def same_digests(digest, files, copies, backwards):
    """For each copy, whether its directory has the digest of the directory with `files`."""
    same = []
    for copy in copies:
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            written(one, files)
            written(Path(other, "deeper"), dict(reversed(copy.items())) if backwards else copy)
            os.utime(Path(other, "deeper", min(copy)), (1, 1))
            answers = [digest(Path(one)), digest(Path(other, "deeper"))]
            if not all(isinstance(answer, str) for answer in answers):
                raise TypeError("the digest is not a string")
            if digest(str(one)) != answers[0]:
                raise RuntimeError("a second call, with the path as a string, gives another digest")
            same.append(answers[0] == answers[1])
    return jnp.array(same)


def same_views(view, files, copies, backwards):
    """For each copy, whether `view` sees the same in it as in `files`."""
    return np.array([view(files) == view(copy) for copy in copies])


def contents(files):
    return {name: list(content) for name, content in files.items()}


def joined(files):
    return [number for name in sorted(files) for number in files[name]]


def lengths(files):
    return {name: len(content) for name, content in files.items()}


def top(files):
    return {name: content for name, content in contents(files).items() if "/" not in name}


def damaged_copies(files, name, next_name):
    """The files with one kind of damage each, to the file `name` or between it and the next."""
    content, following = files[name], files[next_name]
    for position in (0, len(content) // 2, len(content) - 1):
        flipped = list(content)
        flipped[position] ^= 1
        yield files | {name: flipped}
    yield files | {name: content[:-1]}
    yield {k: v for k, v in files.items() if k != name}
    yield {k + ".old" * (k == name): v for k, v in files.items()}
    yield {"moved/" * (k == name) + k: v for k, v in files.items()}
    yield files | {"d/empty": []}
    yield files | {name: content[:-1], next_name: [content[-1], *following]}
    yield files | {name: following, next_name: content}


small = {"a": [1, 2, 3], "b": [4, 5, 6, 7], "d/c": [8, 9], "d/e/f": [0, 10, 255]}
same_files = partial(same_views, contents)
check_values(
    through(same_digests, digest),
    same_files,
    [(small, [small], True), (small, [small] * 2, False), ({"x/y": [1]}, [{"x/y": [1]}], False)],
    mistakes={
        "the place of the directory or the time of a file enters the digest": lambda files, copies, backwards: np.zeros(
            len(copies), bool
        ),
    },
    about="copies",
)
check_values(
    through(same_digests, digest),
    same_files,
    [
        (small, list(damaged_copies(small, "b", "d/c")), False),
        (small, list(damaged_copies(small, "d/c", "d/e/f")), False),
    ],
    mistakes={
        "the names of the files are left out": partial(same_views, joined),
        "the bytes of the files are left out": partial(same_views, lengths),
        "subdirectories are left out": partial(same_views, top),
    },
    about="damaged copies",
)
### BEGIN HIDDEN TESTS
large = {"w/0.0": list(range(256)) * 40, "w/1.0": list(range(255, -1, -1)) * 30, "z": []}
check_values(
    through(same_digests, digest),
    same_files,
    [
        (large, list(damaged_copies(large, "w/1.0", "w/0.0")), True),
        (small, list(damaged_copies(small, "d/e/f", "a")), True),
        ({"ab": [1], "c": []}, [{"a": [1], "bc": []}, {"ab": [1]}, {"a": [98, 1], "c": []}], False),
        ({"a": [98, 1]}, [{"ab": [1]}, {"a": [98], "1": []}, {"a": [98, 1]}], False),
    ],
    about="other directories",
)
### END HIDDEN TESTS

# %% [markdown]
# Your digest on the two checkpoints from above. The second one is refused:

# %% tags=["raises-exception"]
recorded = digest(scratch / "good")
for name in ("good", "damaged"):
    if digest(scratch / name) == recorded:
        print(name, "restored:", checkpointer.restore(scratch / name)["w"].shape)
    else:
        print(name, "refused: it is not what was saved")

# %% [markdown]
# ## What to remember
#
# 1. Parameters, optimizer state, key, step, moving averages, place in the data: keep all that changes in one pytree, and make the data order a function of the step.
# 2. A resume is right if the run is the same to the last bit. Test it once by killing the run.
# 3. `jax.eval_shape(init)` describes what to restore. The target decides types, dtypes (silently) and shardings.
# 4. Saves are asynchronous: donate at once, but wait before anything reads the directory. Paths are absolute.
# 5. `CheckpointManager` finds the newest checkpoint; say explicitly that it must keep the best *and* the newest. Only a digest notices a flipped bit.
#
# ## Further reading
#
# The [Orbax documentation](https://orbax.readthedocs.io/en/latest/), in particular [Checkpointing PyTrees](https://orbax.readthedocs.io/en/latest/guides/checkpoint/v0/checkpointing_pytrees.html). This lesson uses the API that most published code uses; `from orbax.checkpoint import v1` is its successor, with `v1.save` and `v1.load`. [`jax.eval_shape`](https://docs.jax.dev/en/latest/_autosummary/jax.eval_shape.html). [Saving and loading models](https://docs.pytorch.org/tutorials/beginner/saving_loading_models.html) in PyTorch.
#
# ## Next
#
# Lesson 10 trains modules that are pytrees themselves, and they can be saved as you saved this state. Lesson 12 moves a model and its training loop from PyTorch to JAX.
