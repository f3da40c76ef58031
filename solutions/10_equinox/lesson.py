# %% [markdown]
# # 10 · Equinox: a model is a pytree
#
# In lesson 08 the parameters were a list of dicts and the forward pass a function. [Equinox](https://docs.kidger.site/equinox/) puts both into one class and keeps the pytree: an `eqx.Module` is an immutable dataclass that JAX sees as a tree. After this lesson you can
#
# - write `filter_grad` and `filter_jit` yourself, with `partition` and `combine`;
# - explain why a Python float argument makes a step retrace, and fix it;
# - load the parameters of lesson 08 into an Equinox model, and replace parts of a model with `tree_at`;
# - decide which fields of a module are static, and notice when the decision is wrong;
# - scan over layers, share weights, build ensembles, and train only the leaves that you choose.
#
# About 100 minutes. There is a good place for a break after 10.5. You need lessons 02, 03, 04, 06 and 08.

# %%
from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from jaxtyping import Array, Float

from graders import (
    check_answer,
    check_dtype,
    check_primitives,
    check_values,
    integers,
    load_mnist,
    numerical_gradient,
    sweep,
    through,
    uniform,
)

# %% [markdown]
# ## 10.0 Recall
#
# Three questions about earlier lessons, one point each. Answer before you run anything.
#
# **Recall** · 1 minute · difficulty 2 of 5
#
# `jax.tree.map(f, {"w": 3.0, "b": None, "layers": [4.0, None]})`: how many times is `f` called?

# %% exercise="calls_of_f" kind="recall"
# An integer.
### BEGIN SOLUTION
calls_of_f = 2
### END SOLUTION

# %% check="calls_of_f" points=1
def count_calls():
    seen = []
    jax.tree.map(seen.append, {"w": 3.0, "b": None, "layers": [4.0, None]})
    return len(seen)


check_answer(
    calls_of_f,
    count_calls,
    because="`None` is a node without children, not a leaf: `tree.map` leaves it where it is.",
    mistakes={
        4: "`None` is not a leaf, so `f` never sees it",
        3: "`None` is not a leaf, and a list is a node: `f` sees what is in it",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# `f = jax.jit(g, static_argnames="rate")` is called with the same array and with `rate=0.1`, `0.2`, `0.1` and `0.3`. How many times is `g` traced?

# %% exercise="static_rates" kind="recall"
# An integer.
### BEGIN SOLUTION
static_rates = 3
### END SOLUTION

# %% check="static_rates" points=1
def count_static_rates():
    seen = []

    def g(x, rate):
        seen.append(rate)
        return rate * x

    f = jax.jit(g, static_argnames="rate")
    for rate in (0.1, 0.2, 0.1, 0.3):
        f(jnp.ones(2), rate=rate)
    return len(seen)


check_answer(
    static_rates,
    count_static_rates,
    because="Each new static value is traced once; the second 0.1 finds its program in the cache.",
    mistakes={
        1: "that would be so for a traced argument; a static value is a part of the cache key",
        4: "the second 0.1 is equal to the first, and finds its program in the cache",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# `init(key)` returns `{"w": ..., "b": ...}` with shapes `(3, 2)` and `(2,)`. What is the shape of `jax.vmap(init)(jax.random.split(key, 5))["w"]`?

# %% exercise="ensemble_shape" kind="recall"
# A tuple of integers.
### BEGIN SOLUTION
ensemble_shape = (5, 3, 2)
### END SOLUTION

# %% check="ensemble_shape" points=1
def shape_of_ensemble():
    def init(key):
        return {"w": jax.random.normal(key, (3, 2)), "b": jnp.zeros(2)}

    return jax.vmap(init)(jax.random.split(jax.random.key(0), 5))["w"].shape


check_answer(
    ensemble_shape,
    shape_of_ensemble,
    because="One dict whose leaves are stacked: vmap adds its axis in front.",
    mistakes={
        (3, 2): "that is one member; vmap stacks five of them",
        (3, 2, 5): "the new axis comes first unless `out_axes` says otherwise",
    },
)

# %% [markdown]
# ## 10.1 A module is a dataclass and a pytree
#
# A module declares its fields with types, as a dataclass does. An `__init__` may set them; after that the module is frozen. `eqx.nn.Linear` and the other layers are modules too.

# %%
class MLP(eqx.Module):
    layers: list[eqx.nn.Linear]
    activation: Callable

    def __init__(self, sizes, key, activation=jax.nn.relu, use_bias=True):
        keys = jax.random.split(key, len(sizes) - 1)
        self.layers = [
            eqx.nn.Linear(n, m, use_bias, key=k) for k, n, m in zip(keys, sizes, sizes[1:])
        ]
        self.activation = activation

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


small = MLP((4, 8, 2), jax.random.key(0))

# %% [markdown]
# `small(x)` takes *one* example of shape `(4,)`. For a batch, write `jax.vmap(small)(x)`. Without the `vmap` you get a `TypeError` about the contracting dimensions of `dot_general`.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# What is `len(jax.tree.leaves(small))`?

# %% exercise="leaf_count" kind="prediction"
# An integer.
### BEGIN SOLUTION
leaf_count = 5
### END SOLUTION

# %% check="leaf_count" points=1
check_answer(
    leaf_count,
    lambda: len(jax.tree.leaves(MLP((4, 8, 2), jax.random.key(0)))),
    because="Two weights, two biases, and the activation function. The sizes are static fields.",
    mistakes={
        4: "these are the arrays; the activation function is in a field too",
        2: "a layer is a module: it is a node of the tree, with leaves of its own",
        3: "a layer is a module: it is a node of the tree, with leaves of its own",
        1: "a module is a node, not a leaf: JAX looks into its fields",
    },
)

# %% tags=["demonstration"]
for path, leaf in jax.tree.leaves_with_path(small):
    print(f"{jax.tree_util.keystr(path):20}", jax.typeof(leaf) if eqx.is_array(leaf) else leaf)

# %% [markdown]
# **Prediction** · 1 minute · difficulty 3 of 5
#
# What does `jax.jit(lambda model, x: model(x))(small, jnp.ones(4))` do?

# %% exercise="jitted_model" kind="prediction"
# "array" if it returns one, or the name of the exception, such as "ValueError".
### BEGIN SOLUTION
jitted_model = "TypeError"
### END SOLUTION

# %% check="jitted_model" points=1
def jit_a_model():
    try:
        model = MLP((4, 8, 2), jax.random.key(0))
        jax.jit(lambda model, x: model(x))(model, jnp.ones(4))
        return "array"
    except Exception as error:
        return type(error).__name__


check_answer(
    jitted_model,
    jit_a_model,
    because="Every leaf of an argument of `jit` must be an array or a number. `activation` is neither.",
    mistakes={
        "array": "it would if all leaves were arrays, but one of them is a function",
        "TracerBoolConversionError": "nothing here branches on a value",
    },
)

# %% [markdown]
# `jax.grad`, `jax.lax.scan` and `optimizer.init` fail in the same way. Equinox separates arrays from other leaves with *filter functions*, which take a leaf and return a Boolean:
#
# - `eqx.is_array(leaf)` is true for JAX and NumPy arrays, and for NumPy scalars;
# - `eqx.is_inexact_array(leaf)` is true for those that can be differentiated, of a floating-point or complex dtype.
#
# > **In PyTorch** an `nn.Module` is mutable. Here assigning to a field raises `FrozenInstanceError`, and every change returns a new model. Instead of `model.eval()`, `eqx.nn.inference_mode(model)` returns a copy in which dropout is off. A model that draws random numbers takes a `key` argument in its call.
#
# ### Cast a model to another dtype
# **Exercise** · 4 minutes · difficulty 2 of 5
#
# `cast(model, dtype)` returns `model` with every floating-point array converted to `dtype`, whatever its floating-point dtype was. There are no complex arrays.
#
# All other leaves stay as they are: functions, strings, Python numbers, integer arrays. `model` may be any pytree.
#
# The check compares dtypes and values of the arrays, and the other leaves.

# %% exercise="cast"
def cast(model, dtype):
    """`model` with its floating-point arrays in `dtype`, and nothing else changed."""
    ### BEGIN SOLUTION
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf, model
    )
    ### END SOLUTION

# %% [markdown] hints="cast"
# <details><summary>Hint 1: the idea</summary>
#
# A module is a pytree, so `jax.tree.map` works on it. The function that you map must decide what to do with each leaf.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `eqx.is_inexact_array(leaf)` and `leaf.astype(dtype)`.
# </details>

# %% check="cast" points=2
def cast_parts(cast, dtype, w, half, steps):
    layer = eqx.tree_at(lambda m: m.weight, eqx.nn.Linear(2, 2, key=jax.random.key(0)), w)
    model = {"layer": layer, "half": half.astype(jnp.float16), "act": jnp.tanh, "steps": steps}
    new = cast(model | {"rate": 0.5, "name": "net"}, dtype)
    kept = [new["act"] is jnp.tanh, type(new["rate"]) is float and new["rate"] == 0.5]
    kept += [new["name"] == "net", model["layer"].weight.dtype == w.dtype]
    return new["layer"].weight, new["half"], new["steps"], jnp.array(kept)


def cast_by_numpy(dtype, w, half, steps):
    narrow = [np.float64(leaf).astype(np.float16).astype(np.float64) for leaf in (w, half)]
    return narrow[0] if dtype == "float16" else w, narrow[1], steps, np.full(4, True)


in_float16 = sweep(jnp.dtype("float16"), "3 2", "4", integers("5", 0, 900), count=2)
check_dtype(
    through(cast_parts, cast), *in_float16[0], returns=("float16", "float16", "int32", "bool")
)
check_values(
    through(cast_parts, cast),
    cast_by_numpy,
    in_float16,
    rtol=1e-3,
    about="to float16, with other leaves beside",
)
### BEGIN HIDDEN TESTS
in_float32 = sweep(jnp.dtype("float32"), "2 4", "3", integers("4", 0, 900), count=1, planted=True)
check_dtype(
    through(cast_parts, cast),
    *in_float32[0],
    returns=("float32", "float32", "int32", "bool"),
    about="to float32",
)
check_values(
    through(cast_parts, cast),
    cast_by_numpy,
    in_float32,
    about="to float32",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 10.2 Partition, combine, and gradients of a model
#
# `eqx.partition(tree, filter)` splits a tree into two. Each leaf is in one, and the other has `None` in its place. `eqx.combine` joins the two again.

# %% tags=["demonstration"]
arrays, rest = eqx.partition({"w": jnp.ones(2), "act": jnp.tanh, "n": 3}, eqx.is_array)
print(arrays)
print(rest)
print(eqx.combine(arrays, rest))

# %% [markdown]
# As `None` is not a leaf, the first tree holds arrays only, and any transformation of JAX accepts it. This is how `eqx.filter_grad`, `eqx.filter_jit` and `eqx.filter_vmap` work.
#
# The cell below has two losses and some helpers for the checks. You need not read it.

# %%
def squares(model, x, y):
    return ((model["f"](x @ model["w"] + model["b"]) - y) ** 2).mean()


def fourths(model, x, y):
    return ((model["f"](x @ model["w"] + model["b"]) - y) ** 4).mean()


def model_of(f, w, b):
    return {"w": w, "b": b, "f": f, "name": "line", "rate": 0.5, "steps": jnp.arange(3)}


def by_hand(loss_fn, f, w, b, x, y):
    """The gradients with respect to `w` and `b`, by central differences in float64."""
    f = getattr(np, f.__name__)

    def loss(w, b):
        return loss_fn({"w": w, "b": b, "f": f}, x, y)

    return numerical_gradient(loss, 0)(w, b), numerical_gradient(loss, 1)(w, b)


def mlp_for_checks(sizes, activation, use_bias=True):
    """A model with the fields of `MLP`; its class is made where the check runs."""

    class Model(eqx.Module):
        layers: list
        activation: Callable

        def __call__(self, x):
            for layer in self.layers[:-1]:
                x = self.activation(layer(x))
            return self.layers[-1](x)

    key = jax.random.key(0)
    pairs = zip(sizes, sizes[1:])
    return Model([eqx.nn.Linear(n, m, use_bias, key=key) for n, m in pairs], activation)


def taken_away(*args, **kwargs):
    raise RuntimeError("this exercise is to be done without that function of Equinox")


def without_equinox(names, call, *args):
    kept = [getattr(eqx, name) for name in names]
    for name in names:
        setattr(eqx, name, taken_away)
    try:
        return call(*args)
    finally:
        for name, function in zip(names, kept):
            setattr(eqx, name, function)

# %% [markdown]
# ### Write filter_grad
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# `grad_of_model(f)` returns a function `g(model, *args)`: the gradient of the scalar `f(model, *args)` with respect to the floating-point arrays of `model`. The result has the structure of `model`, with the gradient in place of each such array and `None` in place of every other leaf.
#
# `model` may be any pytree. There may be any number of further arguments, or none.
#
# The check compares gradients, and disables `eqx.filter_grad` and `eqx.filter_value_and_grad`: use `jax.grad`.

# %% exercise="grad_of_model"
def grad_of_model(f: Callable) -> Callable:
    """A function that gives the gradient of `f` with respect to the floats of its first argument."""
    ### BEGIN SOLUTION
    def g(model, *args):
        params, static = eqx.partition(model, eqx.is_inexact_array)
        return jax.grad(lambda params: f(eqx.combine(params, static), *args))(params)

    return g
    ### END SOLUTION

# %% [markdown] hints="grad_of_model"
# <details><summary>Hint 1: the idea</summary>
#
# Differentiate an inner function of the arrays alone. It puts the model together again and calls `f`.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `eqx.partition(model, eqx.is_inexact_array)`, `eqx.combine(params, static)`, `jax.grad`.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# `def g(model, *args):` partition; `def loss(params): ...`; return `jax.grad(loss)(params)`. Then return `g`.
# </details>

# %% check="grad_of_model" points=3
def grads_of_line(make, loss_fn, f, w, b, x, y):
    names = ["filter_grad", "filter_value_and_grad"]
    return without_equinox(names, lambda: make(loss_fn)(model_of(f, w, b), x, y))


def line_grads(loss_fn, f, w, b, x, y, rest=None):
    w, b = by_hand(loss_fn, f, w, b, x, y)
    return {"w": w, "b": b, "f": None, "name": None, "rate": None, "steps": None}


def grads_of_mlp(make, power, w, b):
    mlp = eqx.nn.MLP(w.shape[1], w.shape[0], 1, depth=0, key=jax.random.key(0))
    mlp = eqx.tree_at(lambda m: (m.layers[0].weight, m.layers[0].bias), mlp, (w, b))

    def penalty(model):
        return sum(jnp.sum(leaf**power) for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_array)))

    grads = make(penalty)(mlp)
    layer = grads.layers[0]
    same = jax.tree.structure(grads) == jax.tree.structure(eqx.filter(mlp, eqx.is_array))
    return layer.weight, layer.bias, jnp.array([same, grads.activation is None])


def penalty_grads(power, w, b):
    return power * w ** (power - 1), power * b ** (power - 1), np.array([True, True])


lines = sweep(squares, jnp.tanh, "3 2", "2", "6 3", "6 2", count=2)
check_values(
    through(grads_of_line, grad_of_model),
    line_grads,
    lines + sweep(fourths, jnp.sin, "2 4", "4", "5 2", "5 4", count=1, seed=1),
    rtol=1e-3,
    atol=1e-5,
    about="of a dict",
)
check_values(
    through(grads_of_mlp, grad_of_model),
    penalty_grads,
    sweep(2, "3 2", "3", count=1) + sweep(3, "2 5", "2", count=1),
    about="of a module, without further arguments",
)
### BEGIN HIDDEN TESTS
def grads_in_bfloat16(make, w, b):
    def f(model, scale, *more):
        return jnp.sum(scale * model[0] ** 2) + jnp.sum(model[1] ** 2) + sum(more)

    grads = make(f)((w.astype(jnp.bfloat16), b, ["text", jnp.arange(2)]), 3.0, 1.0, 2.0)
    return grads[0].astype(jnp.float32), grads[1], grads[2]


check_values(
    through(grads_in_bfloat16, grad_of_model),
    lambda w, b: (6 * w, 2 * b, [None, None]),
    sweep("3 2", "4", count=2, seed=3),
    rtol=2e-2,
    about="of a tuple with an array in bfloat16, and more arguments",
)
### END HIDDEN TESTS

# %% [markdown]
# `eqx.filter_grad` does just this. The gradient of a module is a module, so `grads.layers[0].weight` is where you expect it.
#
# ## 10.3 filter_jit: arrays are traced, all other leaves are static
#
# `eqx.filter_jit(f)` partitions *all* arguments. Arrays are traced. Everything else, Python numbers included, is static and becomes a part of the cache key.
#
# ### Write filter_jit
# **Exercise** · 8 minutes · difficulty 4 of 5
#
# `jit_of_model(f)` returns a compiled function with the positional arguments of `f`. Arguments are pytrees. Leaves for which `eqx.is_array` holds are traced, all others are static. `f` returns arrays, or a pytree of arrays.
#
# `f` is traced once for arguments with equal static leaves, equal structure, and arrays of equal shapes and dtypes. Static leaves are hashable, but the containers around them (dicts, lists) are not.
#
# The check compares results, counts how often `f` runs, and disables `eqx.filter_jit`.

# %% exercise="jit_of_model"
def jit_of_model(f: Callable) -> Callable:
    """`f`, compiled: the arrays among the leaves of its arguments are traced, the rest is static."""
    ### BEGIN SOLUTION
    @partial(jax.jit, static_argnums=(1, 2))
    def compiled(arrays, leaves, structure):
        static = jax.tree.unflatten(structure, leaves)
        return f(*eqx.combine(arrays, static))

    def call(*args):
        arrays, static = eqx.partition(args, eqx.is_array)
        leaves, structure = jax.tree.flatten(static)
        return compiled(arrays, tuple(leaves), structure)

    return call
    ### END SOLUTION

# %% [markdown] hints="jit_of_model"
# <details><summary>Hint 1: the idea</summary>
#
# An inner function takes the arrays as a traced argument and everything else as static arguments, and combines them. Call `jax.jit` once, outside the function that you return, or nothing is ever found in the cache.
# </details>
# <details><summary>Hint 2: hashable static arguments</summary>
#
# `jax.tree.flatten(static)` gives a list of leaves and a structure. A tuple of the leaves can be hashed, and so can the structure.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# `compiled = jax.jit(inner, static_argnums=(1, 2))` with `inner(arrays, leaves, structure)`; in the function that you return, `eqx.partition(args, eqx.is_array)`, then `jax.tree.flatten` of the second part, then call `compiled`.
# </details>

# %% check="jit_of_model" points=3
def compiled_calls(make, scale, functions, rates, w, b, x):
    runs = []

    def body(model, rate, x):
        runs.append(rate)
        return scale * model["f"](x @ model["w"] + model["b"]) + model["steps"].sum() * rate

    f = without_equinox(["filter_jit"], make, body)
    results = []
    for i, (function, rate) in enumerate(zip(functions, rates)):
        model = model_of(function, (i + 1.0) * w, b)
        results.append(without_equinox(["filter_jit"], f, model, float(rate), x))
    return jnp.stack(results), jnp.array(len(runs))


def calls_by_numpy(scale, functions, rates, w, b, x, count=lambda kinds: len(set(kinds))):
    results, kinds = [], [(f.__name__, float(rate)) for f, rate in zip(functions, rates)]
    for i, (name, rate) in enumerate(kinds):
        results.append(scale * getattr(np, name)(x @ ((i + 1) * w) + b) + 3 * rate)
    return np.array(results), np.array(count(kinds))


tanh, sin, cos = jnp.tanh, jnp.sin, jnp.cos
check_values(
    through(compiled_calls, jit_of_model),
    calls_by_numpy,
    sweep(1.0, [tanh] * 3, [0.5, 0.5, 0.5], "3 2", "2", "5 3", count=1)
    + sweep(2.0, [tanh, sin, tanh, sin], [0.5] * 4, "2 4", "4", "6 2", count=1)
    + sweep(-1.0, [cos] * 4, [0.5, 0.25, 0.5, 2.0], "4 3", "3", "2 4", count=1),
    mistakes={
        "`f` runs at each call: nothing is found in the cache": partial(calls_by_numpy, count=len),
        "the static leaves of the first call are used in all calls": lambda s, f, r, *rest: (
            calls_by_numpy(s, [f[0]] * len(f), [r[0]] * len(r), *rest)
        ),
    },
    about="results, and how often `f` is traced",
)
### BEGIN HIDDEN TESTS
def mixed_arrays(make, w, n, name):
    runs = []

    def body(*args):
        runs.append(len(args))
        tree = args[0]
        total = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(eqx.filter(args, eqx.is_array)))
        return {"total": total + len(tree[name]), "twice": 2 * tree["w"]}

    f = make(body)
    first = f({"w": w, name: "text", "n": np.asarray(n)}, jnp.arange(3), None)
    second = f({"w": w + 1, name: "text", "n": np.asarray(n) + 1}, jnp.arange(3), None)
    third = f({"w": w, name + "!": "text", name: "longer", "n": n})
    return first, second, third, jnp.array(runs)


def mixed_by_numpy(w, n, name):
    def result(w, n, more):
        return {"total": w.sum() + n.sum() + more, "twice": 2 * w}

    return result(w, n, 7), result(w + 1, n + 1, 7), result(w, n, 6), np.array([3, 1])


check_values(
    through(mixed_arrays, jit_of_model),
    mixed_by_numpy,
    [(*case, name) for case, name in zip(sweep("3 2", integers("4", 0, 9)), "pqr")],
    about="NumPy arrays, integers, text, and other numbers of arguments",
)
### END HIDDEN TESTS

# %% [markdown]
# ### Bug hunt: the learning rate that compiles
#
# This step gives the right numbers, but every call is as slow as the first one.

# %%
@eqx.filter_jit
def slow_update(model, x, y, learning_rate):
    print("tracing for learning rate", learning_rate)
    grads = eqx.filter_grad(squares)(model, x, y)
    return eqx.apply_updates(model, jax.tree.map(lambda g: -learning_rate * g, grads))


line = model_of(jnp.tanh, jnp.ones((3, 2)), jnp.zeros(2))
for step in range(3):
    line = slow_update(line, jnp.ones((4, 3)), jnp.ones((4, 2)), 0.1 / (1 + step))

# %% [markdown]
# `jax.jit` traces a Python float. `eqx.filter_jit` makes it static, since it is not an array. (`eqx.apply_updates(model, updates)` adds, and skips leaves whose update is `None`.)
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# A new function decorated with `eqx.filter_jit` is called with `0.1`, `0.2`, `jnp.float32(0.3)`, `jnp.float32(0.4)` and `np.float32(0.5)`. How many times is it traced?

# %% exercise="rate_traces" kind="prediction"
# An integer.
### BEGIN SOLUTION
rate_traces = 3
### END SOLUTION

# %% check="rate_traces" points=1
def count_rate_traces():
    seen = []

    @eqx.filter_jit
    def f(rate):
        seen.append(rate)
        return 2 * rate

    for rate in (0.1, 0.2, jnp.float32(0.3), jnp.float32(0.4), np.float32(0.5)):
        f(rate)
    return len(seen)


check_answer(
    rate_traces,
    count_rate_traces,
    because="Once for each Python float, and once for all float32 scalars, NumPy's included.",
    mistakes={
        5: "the float32 scalars are arrays, and traced: one program serves all three",
        1: "that is what `jax.jit` does, which traces Python floats",
        2: "the two Python floats are two static values: a program for each",
        4: "NumPy's float32 scalar counts as an array too",
    },
)

# %% [markdown]
# ### A step that compiles once
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `make_update(loss_fn)` returns `update(model, x, y, learning_rate)`, which takes one step of gradient descent: each floating-point array of `model` becomes `p - learning_rate * g`, with `g` the gradient of `loss_fn(model, x, y)`. All other leaves stay.
#
# `learning_rate` is a Python float that changes from call to call. The step is compiled, and traced once for all of them.
#
# The check runs a schedule, compares all leaves, and counts how often `loss_fn` runs.

# %% exercise="make_update"
def make_update(loss_fn: Callable) -> Callable:
    """A compiled step `update(model, x, y, learning_rate)`, with one trace for all learning rates."""
    ### BEGIN SOLUTION
    @eqx.filter_jit
    def compiled(model, x, y, learning_rate):
        grads = eqx.filter_grad(loss_fn)(model, x, y)
        return eqx.apply_updates(model, jax.tree.map(lambda g: -learning_rate * g, grads))

    def update(model, x, y, learning_rate):
        return compiled(model, x, y, jnp.asarray(learning_rate))

    return update
    ### END SOLUTION

# %% [markdown] hints="make_update"
# <details><summary>Hint 1: the idea</summary>
#
# The float has to become an array *before* the compiled function sees it. That takes a plain function around the compiled one.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jnp.asarray(learning_rate)` outside, `eqx.filter_jit`, `eqx.filter_grad` and `eqx.apply_updates` inside.
# </details>

# %% check="make_update" points=2
def scheduled(make, loss_fn, rates, f, w, b, x, y):
    runs = []

    def counted(*args):
        runs.append(1)
        return loss_fn(*args)

    update, model = make(counted), model_of(f, w, b)
    for rate in rates:
        model = update(model, x, y, float(rate))
    kept = model["f"] is f and model["name"] == "line" and model["rate"] == 0.5
    return model["w"], model["b"], model["steps"], jnp.array([len(runs), kept])


def scheduled_by_hand(loss_fn, rates, f, w, b, x, y, runs=1, way=-1, rate_of=None):
    for rate in rates:
        rate = rate_of(rates) if rate_of else rate
        dw, db = by_hand(loss_fn, f, w, b, x, y)
        w, b = w + way * rate * dw, b + way * rate * db
    return w, b, np.arange(3), np.array([runs, 1])


schedules = sweep(squares, [0.3, 0.2, 0.1, 0.05], jnp.tanh, "3 2", "2", "6 3", "6 2", count=2)
check_values(
    through(scheduled, make_update),
    scheduled_by_hand,
    schedules + sweep(fourths, [0.01, 0.02], jnp.sin, "2 3", "3", "5 2", "5 3", count=1),
    mistakes={
        "the step is traced, or run by Python, at each call": lambda *args: scheduled_by_hand(
            *args, runs=len(args[1])
        ),
        "uphill: the updates are added with the wrong sign": partial(scheduled_by_hand, way=1),
        "the first learning rate is used in all steps": partial(
            scheduled_by_hand, rate_of=lambda rates: rates[0]
        ),
    },
    rtol=1e-3,
    atol=1e-4,
)
### BEGIN HIDDEN TESTS
check_values(
    through(scheduled, make_update),
    scheduled_by_hand,
    sweep(squares, [0.0, 0.5, 0.25], jnp.cos, "4 1", "1", "3 4", "3 1", count=3, seed=8, scale=0.5),
    rtol=1e-3,
    atol=1e-4,
    about="other schedules",
)
### END HIDDEN TESTS

# %% [markdown]
# `@eqx.debug.assert_max_traces(max_traces=1)` below `@eqx.filter_jit` raises on a second trace, and names the argument that changed.
#
# ## 10.4 Weights are (out, in): load the MLP of lesson 08
#
# `eqx.nn.Linear` computes `weight @ x + bias`, with `weight` of shape `(out, in)`, as PyTorch does. The layers of lesson 08 are `{"w": ..., "b": ...}` and compute `x @ w + b`, with `w` of shape `(in, out)`.
#
# Modules are frozen. `eqx.tree_at(where, model, new)` returns a copy in which `new` replaces the nodes that `where` picks. `where` returns one node, or a flat list of nodes.

# %% tags=["demonstration"]
doubled = eqx.tree_at(lambda m: m.layers[0].bias, small, replace_fn=lambda bias: bias + 1)
print(doubled.layers[0].bias - small.layers[0].bias)

# %% [markdown]
# ### Load the parameters of lesson 08
# **Exercise** · 6 minutes · difficulty 2 of 5
#
# `load(model, params)` returns the `MLP` with the weights and biases of `params`, a list with one `{"w", "b"}` for each layer. The logits are those of lesson 08.
#
# There may be one layer or many, and layers may be square. `model` itself stays as it is.
#
# The check compares logits, weights and biases, and the activation function.

# %% exercise="load"
def load(model: MLP, params: list[dict]) -> MLP:
    """`model` with the parameters of lesson 08 in its layers."""
    ### BEGIN SOLUTION
    return eqx.tree_at(
        lambda m: [leaf for layer in m.layers for leaf in (layer.weight, layer.bias)],
        model,
        [leaf for layer in params for leaf in (layer["w"].T, layer["b"])],
    )
    ### END SOLUTION

# %% [markdown] hints="load"
# <details><summary>Hint 1: the idea</summary>
#
# Transpose each `w`. A square matrix needs it as well, although no shape complains if you forget.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `eqx.tree_at(where, model, new)`, where `where(model)` returns a list of all weights and biases, and `new` is a list in the same order.
# </details>

# %% check="load" points=3
def loaded(load, f, params, x):
    sizes = [len(params[0]["w"]), *(len(layer["b"]) for layer in params)]
    before = mlp_for_checks(sizes, f)
    old = [layer.weight for layer in before.layers]
    model = load(before, params)
    untouched = all(layer.weight is w for layer, w in zip(before.layers, old))
    return (
        jax.vmap(model)(x),
        [(layer.weight, layer.bias) for layer in model.layers],
        jnp.array([model.activation is f, untouched]),
    )


def logits(f, params, x, turn=np.transpose):
    pairs = [(turn(layer["w"]), layer["b"]) for layer in params]
    for w, b in pairs[:-1]:
        x = getattr(np, f.__name__)(x @ w.T + b)
    return x @ pairs[-1][0].T + pairs[-1][1], pairs, np.array([True, True])


def stack_of(*sizes):
    return [{"w": f"{n} {m}", "b": f"{m}"} for n, m in zip(sizes, sizes[1:])]


check_values(
    through(loaded, load),
    logits,
    sweep(jnp.tanh, stack_of(4, 6, 5, 3), "7 4", count=1)
    + sweep(jnp.sin, stack_of(3, 2), "4 3", count=1, seed=1),
    mistakes={
        "the numbers of `w` are put into the new shape row by row; that is not a transposition": (
            partial(logits, turn=lambda w: w.reshape(w.shape[::-1]))
        )
    },
    about="three layers, and one",
)
### BEGIN HIDDEN TESTS
check_values(
    through(loaded, load),
    logits,
    sweep(jnp.cos, stack_of(4, 4, 4, 4, 4), "3 4", count=1, seed=2)
    + sweep(jnp.tanh, stack_of(2, 5, 5), "4 2", count=1, seed=3, planted=True),
    mistakes={"the weights of square layers are not transposed": partial(
        logits, turn=lambda w: w if w.shape[0] == w.shape[1] else w.T
    )},
    about="square layers, and other depths",
)
### END HIDDEN TESTS

# %% [markdown]
# With your function, the logits of both networks agree on real digits:

# %%
mnist = load_mnist()
x_train = jnp.asarray(mnist.x_train[:12_800], jnp.float32).reshape(-1, 784) / 255
x_test = jnp.asarray(mnist.x_test, jnp.float32).reshape(-1, 784) / 255
y_train, y_test = (jnp.asarray(y, jnp.int32) for y in (mnist.y_train[:12_800], mnist.y_test))
sizes = (784, 256, 128, 10)


@jax.jit
def new_params(key):
    he = jax.nn.initializers.he_normal()
    keys = jax.random.split(key, len(sizes) - 1)
    return [{"w": he(k, (n, m)), "b": jnp.zeros(m)} for k, n, m in zip(keys, sizes, sizes[1:])]


@jax.jit
def forward(params, x):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


@eqx.filter_jit
def batched(model, x):
    return jax.vmap(model)(x)


params = new_params(jax.random.key(8))

# %% tags=["demonstration", "raises-exception"]
ported = load(MLP(sizes, jax.random.key(0)), params)
ours, theirs = batched(ported, x_test[:200]), forward(params, x_test[:200])
plt.figure("Logits in Equinox against the logits of lesson 08", figsize=(4, 4))
plt.plot(theirs.ravel(), ours.ravel(), ".", markersize=3)
plt.xlabel("logits of lesson 08"), plt.ylabel("logits in Equinox")
plt.tight_layout()
plt.show()
print("largest difference:", jnp.abs(ours - theirs).max())

# %% [markdown]
# *2,000 logits of 200 test images: all dots lie on the diagonal. The differences are zero, or no larger than rounding.*
#
# ## 10.5 Model surgery: replace the head
#
# `tree_at` replaces whole modules as well as arrays. `eqx.nn.Linear` has static fields `in_features`, `out_features` and `use_bias`. If you replace only its arrays, these fields no longer describe the layer. And do not assign to `model.layers[-1]`: a list inside a module is still mutable, so the old model would change too.
#
# With `use_bias=False` the bias is `None`. `tree_at` cannot pick a `None` unless you pass `is_leaf=lambda node: node is None`.
#
# ### A new head for a trained model
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `new_head(model, classes)` returns the `MLP` with its last layer replaced by an `eqx.nn.Linear` with `classes` outputs, a bias, and all weights and biases zero.
#
# The old head may have no bias, and may be the only layer. Layers before it stay as they are, and so does `model`.
#
# The check looks at the logits, at the arrays and static fields of the new head, and at the other layers.

# %% exercise="new_head"
def new_head(model: MLP, classes: int) -> MLP:
    """`model` with a last layer of zeros for another number of classes."""
    ### BEGIN SOLUTION
    head = eqx.nn.Linear(model.layers[-1].in_features, classes, key=jax.random.key(0))
    head = jax.tree.map(jnp.zeros_like, head)
    return eqx.tree_at(lambda m: m.layers[-1], model, head)
    ### END SOLUTION

# %% [markdown] hints="new_head"
# <details><summary>Hint 1: the idea</summary>
#
# Make a new `eqx.nn.Linear` of the right size, set its arrays to zero, and put it in place of the old one.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# All leaves of an `eqx.nn.Linear` are arrays: `jax.tree.map(jnp.zeros_like, head)`. Then `eqx.tree_at(lambda m: m.layers[-1], model, head)`.
# </details>

# %% check="new_head" points=2
def operated(new_head, classes, sizes, use_bias, x):
    before = mlp_for_checks([int(n) for n in sizes], jnp.tanh, use_bias)
    old = jax.tree.leaves(before)
    model = new_head(before, int(classes))
    head, body = model.layers[-1], model.layers[:-1]
    facts = [head.in_features, head.out_features, len(model.layers), head.use_bias is True]
    facts += [new is kept for new, kept in zip(jax.tree.leaves(body), old)]
    facts += [new is kept for new, kept in zip(jax.tree.leaves(before), old)]
    return jax.vmap(model)(x), head.weight, head.bias, jnp.array(facts)


def operated_by_hand(classes, sizes, use_bias, x, old=False, mutated=False):
    parts = 2 if use_bias else 1
    kept = parts * (len(sizes) - 2) + parts * (len(sizes) - 1) + 1
    fields = (sizes[-1], len(sizes) - 1, use_bias) if old else (classes, len(sizes) - 1, True)
    facts = [sizes[-2], *fields, *[1] * kept]
    if mutated:  # without an old bias, the new one moves the activation function by one place
        facts[-3:] = [0, 0, 1] if use_bias else [1, 0, 0]
    zeros = np.zeros((len(x), classes)), np.zeros((classes, sizes[-2])), np.zeros(classes)
    return *zeros, np.array(facts)


check_values(
    through(operated, new_head),
    operated_by_hand,
    sweep(4, (3, 5, 6, 2), True, "7 3", count=1) + sweep(2, (4, 3, 5), False, "3 4", count=1),
    mistakes={
        "the arrays are new, but the static fields are those of the old head": partial(
            operated_by_hand, old=True
        ),
        "`model` itself has changed: the list of its layers is not copied": partial(
            operated_by_hand, mutated=True
        ),
    },
    about="with and without an old bias",
)
### BEGIN HIDDEN TESTS
check_values(
    through(operated, new_head),
    operated_by_hand,
    sweep(3, (4, 2), False, "2 4", count=1) + sweep(6, (2, 3, 3, 3, 3), True, "5 2", count=1),
    about="one layer, and four",
)
### END HIDDEN TESTS

# %% [markdown]
# This is a good place for a break.
#
# ## 10.6 Static fields, and arrays that must not be static
#
# A field declared with `eqx.field(static=True)` is not a leaf. It belongs to the structure of the tree, as the keys of a dict do. Sizes and names go there. Arrays do not:

# %% tags=["demonstration"]
import warnings


class StandardiseBroken(eqx.Module):
    mean: np.ndarray = eqx.field(static=True)
    std: np.ndarray = eqx.field(static=True)

    def __call__(self, x):
        return (x - self.mean) / self.std


with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    broken = StandardiseBroken(np.zeros(3), np.ones(3))
print(caught[0].message)
print("leaves:", jax.tree.leaves(broken), " result:", eqx.filter_jit(broken)(jnp.ones(3)))

# %% [markdown]
# ### Bug hunt: the statistics that are lost
#
# The module works, apart from a `UserWarning`. But it has no leaves, so `eqx.tree_serialise_leaves` does not save the statistics and `cast` does not convert them. A compiled function contains them as constants. If you call that compiled function with a second module, whose statistics are others, it raises a `ValueError`, because JAX compares static values with `==`.
#
# People write this so that the optimizer leaves the statistics alone. But "not trained" and "static" are different properties.
#
# ### Statistics as leaves that are not trained
# **Exercise** · 8 minutes · difficulty 4 of 5
#
# Write the module `Standardise` with the fields `mean`, `std` and `eps`, in this order. Called with `x`, it returns `(x - mean) / (std + eps)`.
#
# `mean` and `std` are leaves; `eps`, a Python float, is static. The gradient with respect to `mean` and `std` is zero, the gradient with respect to `x` is not.
#
# The check looks at values, leaves and gradients, and counts traces under plain `jax.jit`: other statistics cause no retrace, another `eps` does.

# %% exercise="Standardise"
class Standardise(eqx.Module):
    """Subtracts a mean and divides by a standard deviation, neither of which is trained."""

    ### BEGIN SOLUTION
    mean: Float[Array, "features"]
    std: Float[Array, "features"]
    eps: float = eqx.field(static=True)

    def __call__(self, x: Float[Array, "features"]) -> Float[Array, "features"]:
        mean, std = jax.lax.stop_gradient((self.mean, self.std))
        return (x - mean) / (std + self.eps)
    ### END SOLUTION

# %% [markdown] hints="Standardise"
# <details><summary>Hint 1: the idea</summary>
#
# Two ordinary fields and one static field. The call decides what is differentiated.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `eps: float = eqx.field(static=True)`, and `jax.lax.stop_gradient(self.mean)`.
# </details>

# %% check="Standardise" points=3
def standardised(cls, mean, std, eps, x):
    module = cls(mean, std, float(eps))
    slopes = jax.grad(lambda module, x: jnp.sum(module(x) ** 2), argnums=(0, 1))(module, x)
    return module(x), jax.tree.leaves(module), jax.tree.leaves(slopes[0]), slopes[1]


def standardised_by_hand(mean, std, eps, x, flat=1, trained=0):
    y = (x - mean) / (std + eps)
    slopes = [-2 * y / (std + eps), -2 * y**2 / (std + eps)]
    return y, [mean, std], [trained * slope for slope in slopes], flat * 2 * y / (std + eps)


def standardise_traces(cls, epsilons, mean, std, x):
    runs = []

    @jax.jit
    def f(module, x):
        runs.append(1)
        return module(x)

    results = [f(cls(mean + i, (i + 1) * std, float(e)), x) for i, e in enumerate(epsilons)]
    return jnp.stack(results), jnp.array(len(runs))


def traces_by_hand(epsilons, mean, std, x):
    results = [(x - mean - i) / ((i + 1) * std + e) for i, e in enumerate(epsilons)]
    return np.array(results), np.array(len({float(e) for e in epsilons}))


check_values(
    through(standardised, Standardise),
    standardised_by_hand,
    sweep("3", uniform("3", 0.5, 2.0), 0.25, "3", count=2)
    + sweep("4", uniform("4", 0.01, 0.1), 0.5, "4", count=1),
    mistakes={
        "the statistics get a gradient": partial(standardised_by_hand, trained=1),
        "the gradient stops for `x` as well": partial(standardised_by_hand, flat=0),
    },
    about="values, leaves and gradients",
)
check_values(
    through(standardise_traces, Standardise),
    traces_by_hand,
    sweep([0.5, 0.5, 0.5], "3", uniform("3", 0.5, 2.0), "3", count=1)
    + sweep([0.5, 0.25, 0.5, 1.0], "2", uniform("2", 0.5, 2.0), "2", count=1),
    about="traces under jax.jit",
)
### BEGIN HIDDEN TESTS
check_values(
    through(standardised, Standardise),
    standardised_by_hand,
    sweep("2 3", uniform("2 3", 0.0, 0.001), 0.125, "2 3", count=1, seed=4)
    + sweep("4", uniform("4", 0.0001, 0.0003), 0.0, "4", count=1, seed=6)
    + sweep("5", uniform("5", 0.5, 2.0), 0.0, "5", count=1, seed=5, planted=True),
    about="small deviations, and eps of zero",
)
### END HIDDEN TESTS

# %% [markdown]
# Make a field static if it is hashable, is needed to build the program, and does not change in training. An activation function may be either. As a leaf it can be replaced with `tree_at`. As a static field it lets plain `jax.jit` accept the module.
#
# ## 10.7 Scan over layers
#
# A Python loop over twelve equal layers puts twelve copies into the program, and compilation time grows with the depth. `jax.lax.scan` (lesson 04) avoids it. Make the layers with `filter_vmap`, so that each array gets a leading axis:

# %%
class Block(eqx.Module):
    weight: Float[Array, "n n"]
    bias: Float[Array, "n"]
    activation: Callable

    def __call__(self, x):
        return x + self.activation(self.weight @ x + self.bias)


@eqx.filter_vmap
def make_blocks(key):
    return Block(0.1 * jax.random.normal(key, (6, 6)), jnp.zeros(6), jnp.tanh)


blocks = make_blocks(jax.random.split(jax.random.key(2), 12))
print(blocks)

# %% [markdown]
# The twelve blocks share one `activation`. It is not an array, so `scan` does not accept `blocks` as `xs`.
#
# ### Apply a stack of layers
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# `apply_stack(blocks, x)` applies the layers of `blocks` to `x`, from the first to the last, and returns the result. All intermediate results have the shape of `x`.
#
# `blocks` is a module of any class. Its arrays have a leading axis, one entry for each layer; its other leaves belong to all layers.
#
# The check compares values, and requires a `scan` and a program whose size does not depend on the number of layers.

# %% exercise="apply_stack"
def apply_stack(blocks, x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x` after all layers, the first one first, in a single scan."""
    ### BEGIN SOLUTION
    arrays, static = eqx.partition(blocks, eqx.is_array)

    def body(x, layer):
        return eqx.combine(layer, static)(x), None

    return jax.lax.scan(body, x, arrays)[0]
    ### END SOLUTION

# %% [markdown] hints="apply_stack"
# <details><summary>Hint 1: the idea</summary>
#
# The carry is `x`. What is consumed layer by layer are the arrays of `blocks`, and the body puts one layer together.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `eqx.partition(blocks, eqx.is_array)`, `jax.lax.scan(body, x, arrays)`, `eqx.combine(layer, static)`.
# </details>

# %% check="apply_stack" points=3
def stacked(apply, f, w, b, x):
    class Layer(eqx.Module):
        weight: Array
        bias: Array
        activation: Callable

        def __call__(self, x):
            return x + self.activation(self.weight @ x + self.bias)

    return apply(Layer(w, b, f), x)


def layer_by_layer(f, w, b, x, order=1):
    for weight, bias in list(zip(w, b))[::order]:
        x = x + getattr(np, f.__name__)(weight @ x + bias)
    return x


towers = sweep(jnp.tanh, "5 3 3", "5 3", "3", count=2) + sweep(
    jnp.sin, "4 6 6", "4 6", "6", count=1
)
check_values(
    through(stacked, apply_stack),
    layer_by_layer,
    towers,
    mistakes={"the last layer comes first": partial(layer_by_layer, order=-1)},
    rtol=1e-3,
    atol=1e-4,
)
check_primitives(
    through(stacked, apply_stack),
    *towers[0],
    requires=["scan"],
    same_size_for=sweep(jnp.tanh, "12 3 3", "12 3", "3", count=1),
)
### BEGIN HIDDEN TESTS
def gated(apply, power, f, g, h, x):
    class Gated(eqx.Module):
        gates: list
        power: int
        turn: Callable

        def __call__(self, x):
            return self.turn(self.gates[0] * x) + self.gates[1] ** self.power

    return apply(Gated([g, h], int(power), f), x)


def gates_by_hand(power, f, g, h, x):
    for one, other in zip(g, h):
        x = getattr(np, f.__name__)(one * x) + other**power
    return x


check_values(
    through(gated, apply_stack),
    gates_by_hand,
    sweep(2, jnp.sin, "6", "6", "2 3", count=1) + sweep(3, jnp.tanh, "1 4", "1 4", "4", count=1),
    rtol=1e-3,
    atol=1e-4,
    about="layers of another class, and a single layer",
)
### END HIDDEN TESTS

# %% tags=["demonstration", "raises-exception"]
def loop(blocks, x):
    for i in range(len(blocks.bias)):
        x = jax.tree.map(lambda leaf: leaf[i] if eqx.is_array(leaf) else leaf, blocks)(x)
    return x


depths, curves = [2, 4, 8, 16, 32], {"Python loop": [], "your scan": []}
for depth in depths:
    deep = make_blocks(jax.random.split(jax.random.key(3), depth))
    for f, sizes_of_programs in zip((loop, apply_stack), curves.values()):
        jaxpr, _, _ = eqx.filter_make_jaxpr(f)(deep, jnp.ones(6))
        sizes_of_programs.append(len(str(jaxpr).splitlines()))
plt.figure("Lines of the jaxpr against layers", figsize=(6, 3))
for name, lines_of_program in curves.items():
    plt.plot(depths, lines_of_program, "o-")
    place = (depths[-2], lines_of_program[-2])
    plt.annotate(name, place, xytext=(-8, 6), textcoords="offset points", ha="right")
plt.xlabel("layers"), plt.ylabel("lines of the jaxpr")
plt.tight_layout()
plt.show()

# %% [markdown]
# *Lines of the jaxpr against layers: a rising straight line for the Python loop, a flat one for your function.*
#
# ## 10.8 Shared weights: two references are two leaves
#
# Language models often use one matrix twice, to embed tokens and to compute the logits.
#
# **Prediction** · 1 minute · difficulty 3 of 5
#
# `layer = eqx.nn.Linear(3, 3, key=key)`, then `pair = (layer, layer)`. What is `len(jax.tree.leaves(pair))`?

# %% exercise="shared_leaves" kind="prediction"
# An integer.
### BEGIN SOLUTION
shared_leaves = 4
### END SOLUTION

# %% check="shared_leaves" points=1
def leaves_of_pair():
    layer = eqx.nn.Linear(3, 3, key=jax.random.key(0))
    return len(jax.tree.leaves((layer, layer)))


check_answer(
    shared_leaves,
    leaves_of_pair,
    because="Flattening visits the layer twice. After one step of training the two copies differ.",
    mistakes={
        2: "JAX does not ask whether two leaves are one object; it visits the layer twice",
        1: "a layer is a node with two leaves, and it is visited twice",
    },
)

# %% [markdown]
# > **In PyTorch** two attributes may refer to one `Parameter`, with one gradient and one update. A pytree has no references, only leaves: you say which one is stored.
#
# `shared = eqx.nn.Shared(tree, where, get)` stores `tree` without the nodes `where(tree)`. `shared()` returns the whole tree, with `get(tree)` in the place of these nodes.

# %%
class LanguageModel(eqx.Module):
    embedding: eqx.nn.Embedding
    head: eqx.nn.Linear

    def __call__(self, token):
        return self.head(jnp.tanh(self.embedding(token)))

# %% [markdown]
# ### Tie the head to the embedding
# **Exercise** · 5 minutes · difficulty 3 of 5
#
# `tie(model)` returns an `eqx.nn.Shared` around a `LanguageModel`. `tie(model)()` is the model whose `head.weight` is its `embedding.weight`, of shape `(vocabulary, features)`.
#
# The values are those of the embedding. The bias of the head stays a parameter of its own.
#
# The check compares logits, and gradients leaf by leaf: the shared matrix gets the sum of both uses.

# %% exercise="tie"
def tie(model: LanguageModel) -> eqx.nn.Shared:
    """The model with one matrix for the embedding and the head."""
    ### BEGIN SOLUTION
    return eqx.nn.Shared(model, lambda m: m.head.weight, lambda m: m.embedding.weight)
    ### END SOLUTION

# %% [markdown] hints="tie"
# <details><summary>Hint 1: the idea</summary>
#
# One node is stored, and the other is looked up whenever the model is used. Which is which?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `eqx.nn.Shared(model, where, get)`: `where` picks the node that is filled in, `get` the node that is stored.
# </details>

# %% check="tie" points=2
def tied(tie, power, table, w, b, tokens):
    class Model(eqx.Module):
        embedding: eqx.nn.Embedding
        head: eqx.nn.Linear

        def __call__(self, token):
            return self.head(jnp.tanh(self.embedding(token)))

    vocabulary, features = table.shape
    head = eqx.nn.Linear(features, vocabulary, key=jax.random.key(0))
    head = eqx.tree_at(lambda m: (m.weight, m.bias), head, (w, b))
    shared = tie(Model(eqx.nn.Embedding(weight=table), head))

    def loss(shared):
        return jnp.mean(jax.vmap(shared())(tokens) ** power)

    model, grads = shared(), eqx.filter_grad(loss)(shared)
    return jax.vmap(model)(tokens), model.embedding.weight, jax.tree.leaves(grads)


def tied_by_hand(power, table, w, b, tokens, of=None, through_head=True):
    table = table if of is None else of(table, w)

    def loss(table, b, head=None):
        head = table if through_head else np.array(start)
        return np.mean((np.tanh(table[tokens]) @ head.T + b) ** power)

    start = table
    grads = [numerical_gradient(loss, 0)(table, b), numerical_gradient(loss, 1)(table, b)]
    return np.tanh(table[tokens]) @ table.T + b, table, grads


texts = sweep(2, "5 3", "5 3", "5", integers("6", 0, 5), count=2)
check_values(
    through(tied, tie),
    tied_by_hand,
    texts + sweep(4, "4 2", "4 2", "4", integers("7", 0, 4), count=1),
    mistakes={
        "the head is kept, and the embedding replaced by it": partial(
            tied_by_hand, of=lambda table, w: w
        ),
        "the gradient of the head's use does not reach the shared matrix": partial(
            tied_by_hand, through_head=False
        ),
    },
    rtol=1e-3,
    atol=1e-4,
)
### BEGIN HIDDEN TESTS
check_values(
    through(tied, tie),
    tied_by_hand,
    sweep(2, "4 4", "4 4", "4", integers("3", 0, 4), count=1, planted=True),
    rtol=1e-3,
    atol=1e-4,
    about="as many features as words",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 10.9 Ensembles with filter_vmap
#
# A module with stacked arrays, as in 10.7, can also be an *ensemble*. `eqx.filter_vmap` evaluates all members at once. By default it maps every array of every argument over axis 0. `in_axes=(eqx.if_array(0), None)` maps the first argument only.
#
# ### Mean and spread of an ensemble
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `mean_and_spread(models, x)` returns `(mean, std)`, both of shape `(batch, outputs)`: the mean and the standard deviation of the predictions over the members, for each example of `x`. Divide by the number of members, as `jnp.std` does.
#
# `models` is a module of any class, called with one example. Its arrays have a leading axis, one entry for each member; other leaves belong to all members. The number of examples may equal the number of members.
#
# The check compares values.

# %% exercise="mean_and_spread"
def mean_and_spread(models, x: Float[Array, "batch inputs"]):
    """Mean and standard deviation over the members, for each example."""
    ### BEGIN SOLUTION
    @partial(eqx.filter_vmap, in_axes=(eqx.if_array(0), None))
    def predict(model, x):
        return jax.vmap(model)(x)

    predictions = predict(models, x)
    return predictions.mean(axis=0), predictions.std(axis=0)
    ### END SOLUTION

# %% [markdown] hints="mean_and_spread"
# <details><summary>Hint 1: the idea</summary>
#
# Two maps, one inside the other: over members, and over examples. First write what one member predicts for a whole batch.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `eqx.filter_vmap(predict, in_axes=(eqx.if_array(0), None))`, with `jax.vmap(model)(x)` inside `predict`.
# </details>

# %% check="mean_and_spread" points=2
def spread_of_lines(answer, f, w, b, x):
    class Line(eqx.Module):
        weight: Array
        bias: Array
        f: Callable
        scale: float

        def __call__(self, x):
            return self.scale * self.f(self.weight @ x + self.bias)

    return answer(Line(w, b, f, 2.0), x)


def spread_by_hand(f, w, b, x, axis=0, ddof=0, deviation=np.std):
    f = getattr(np, f.__name__)
    each = np.array([2.0 * f(x @ weight.T + bias) for weight, bias in zip(w, b)])
    return each.mean(axis=axis), deviation(each, axis=axis, ddof=ddof)


def mean_weights(f, w, b, x):
    _, spread = spread_by_hand(f, w, b, x)
    return 2.0 * getattr(np, f.__name__)(x @ w.mean(axis=0).T + b.mean(axis=0)), spread


check_values(
    through(spread_of_lines, mean_and_spread),
    spread_by_hand,
    sweep(jnp.tanh, "5 2 3", "5 2", "7 3", count=2)
    + sweep(jnp.sin, "4 3 2", "4 3", "4 2", count=1),
    mistakes={
        "over the examples, not over the members": partial(spread_by_hand, axis=1),
        "the standard deviation is divided by the number of members minus 1": partial(
            spread_by_hand, ddof=1
        ),
        "the variance, not the standard deviation": partial(spread_by_hand, deviation=np.var),
        "the prediction of a model with mean weights, not the mean of the predictions": mean_weights,
    },
    rtol=1e-3,
    atol=1e-4,
)
### BEGIN HIDDEN TESTS
check_values(
    through(spread_of_lines, mean_and_spread),
    spread_by_hand,
    sweep(jnp.cos, "3 3 3", "3 3", "3 3", count=1, seed=2)
    + sweep(jnp.sin, "1 2 4", "1 2", "6 4", count=1, seed=3, planted=True),
    rtol=1e-3,
    atol=2e-4,
    about="as many members as examples, and a single member",
)
### END HIDDEN TESTS

# %% [markdown]
# The spread measures uncertainty. Here one program trains ten small networks on noisy points:

# %%
rng = np.random.default_rng(0)
points = np.sort(rng.uniform(-2, 1, 40)).astype(np.float32)[:, None]
heights = (np.sin(3 * points) + 0.1 * rng.normal(size=points.shape)).astype(np.float32)
adam = optax.adam(0.02)


@eqx.filter_jit
@eqx.filter_vmap
def fitted(key):
    params, static = eqx.partition(MLP((1, 32, 32, 1), key), eqx.is_inexact_array)

    def step(carry, _):
        params, opt_state = carry
        loss = lambda p: jnp.mean((jax.vmap(eqx.combine(p, static))(points) - heights) ** 2)
        updates, opt_state = adam.update(jax.grad(loss)(params), opt_state)
        return (eqx.apply_updates(params, updates), opt_state), None

    (params, _), _ = jax.lax.scan(step, (params, adam.init(params)), length=400)
    return eqx.combine(params, static)


members = fitted(jax.random.split(jax.random.key(4), 10))

# %% tags=["demonstration", "raises-exception"]
line_of_x = jnp.linspace(-3, 3, 200)[:, None]
mean, spread = mean_and_spread(members, line_of_x)
plt.figure("Mean and spread of an ensemble", figsize=(7, 3))
plt.fill_between(line_of_x[:, 0], (mean - 2 * spread)[:, 0], (mean + 2 * spread)[:, 0], alpha=0.3)
plt.plot(line_of_x, mean)
plt.plot(points, heights, ".", color="gray")
plt.xlabel("x"), plt.ylabel("prediction"), plt.ylim(-3, 3)
plt.tight_layout()
plt.show()

# %% [markdown]
# *Grey dots between -2 and 1 follow a sine, and the mean of the ensemble runs through them in a narrow band. Left and right, where there are no dots, the band of two standard deviations widens.*
#
# ## 10.10 Train the leaves that you choose
#
# `optimizer.init(model)` fails on the functions. `optimizer.init(eqx.filter(model, spec))` sees only what will be trained. As in `eqx.partition`, `spec` is a filter function or a pytree of Booleans with the structure of the model. A leaf with `False` is frozen.
#
# ### A training step for chosen leaves
# **Exercise** · 9 minutes · difficulty 4 of 5
#
# `trainer(loss_fn, optimizer, spec)` returns two functions:
#
# - `init(model)` returns the optimizer state for the leaves that `spec` selects, and for no others;
# - `step(model, opt_state, x, y)` returns `(model, opt_state, loss)` after one step on these leaves. `loss` is the value of `loss_fn(model, x, y)` before the step.
#
# `spec` selects floating-point arrays only. Everything else stays as it is. `step` is compiled. Some optimizers need the parameters in `update`.
#
# The check takes three steps, compares models and losses, and counts traces and the numbers in the state.

# %% exercise="trainer"
def trainer(loss_fn: Callable, optimizer: optax.GradientTransformation, spec):
    """`(init, step)`, which train the leaves of a model that `spec` selects."""
    ### BEGIN SOLUTION
    def init(model):
        return optimizer.init(eqx.filter(model, spec))

    @eqx.filter_jit
    def step(model, opt_state, x, y):
        params, rest = eqx.partition(model, spec)

        def loss_of(params):
            return loss_fn(eqx.combine(params, rest), x, y)

        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return eqx.combine(eqx.apply_updates(params, updates), rest), opt_state, loss

    return init, step
    ### END SOLUTION

# %% [markdown] hints="trainer"
# <details><summary>Hint 1: the idea</summary>
#
# Partition by `spec`, and let gradient and optimizer see the first part only. Combine at the end.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `eqx.filter(model, spec)` is the first part of `eqx.partition(model, spec)`. `optimizer.update(grads, opt_state, params)`, where `grads` and `params` have the same structure. Decorate `step` with `eqx.filter_jit`.
# </details>

# %% check="trainer" points=3
def optimizer_of(rate, decay, weight_decay):
    return optax.chain(
        optax.add_decayed_weights(weight_decay), optax.trace(decay), optax.scale(-rate)
    )


def trained(trainer, loss_fn, settings, chosen, f, w, b, x, y):
    runs = []

    def counted(*args):
        runs.append(1)
        return loss_fn(*args)

    model, losses, spec = model_of(f, w, b), [], eqx.is_inexact_array
    if chosen is not None:
        spec = dict.fromkeys(model, False) | dict(zip("wb", map(bool, chosen)))
    init, step = trainer(counted, optimizer_of(*settings), spec)
    opt_state = init(model)
    size = sum(leaf.size for leaf in jax.tree.leaves(opt_state))
    for _ in range(3):
        model, opt_state, loss = step(model, opt_state, x, y)
        losses.append(loss)
    kept = model["f"] is f and model["name"] == "line" and model["rate"] == 0.5
    facts = jnp.array([len(runs), size, kept])
    return jnp.stack(losses), model["w"], model["b"], model["steps"], facts


def trained_by_hand(
    loss_fn, settings, chosen, f, w, b, x, y, runs=1, way=-1, late=False, keep=True, free=()
):
    rate, decay, weight_decay = settings
    names = [name for name, one in zip("wb", (True, True) if chosen is None else chosen) if one]
    p, losses = {"w": w, "b": b}, []
    size = sum(p[name].size for name in names)
    trace = dict.fromkeys("wb", 0.0)
    for _ in range(3):
        before = p
        grads = dict(zip("wb", by_hand(loss_fn, f, p["w"], p["b"], x, y)))
        for name in [*names, *free]:
            fresh = decay * trace[name] if keep else 0
            trace[name] = fresh + grads[name] + weight_decay * p[name]
            p = p | {name: p[name] + way * rate * trace[name]}
        at = p if late else before
        losses.append(loss_fn(at | {"f": getattr(np, f.__name__)}, x, y))
    return np.array(losses), p["w"], p["b"], np.arange(3), np.array([runs, size, 1])


plain, heavy = (0.1, 0.0, 0.0), (0.05, 0.9, 0.1)
check_values(
    through(trained, trainer),
    trained_by_hand,
    sweep(squares, plain, None, jnp.tanh, "3 2", "2", "6 3", "6 2", count=1)
    + sweep(squares, heavy, None, jnp.sin, "2 4", "4", "5 2", "5 4", count=1),
    mistakes={
        "`step` is not compiled, or is traced at each call": partial(trained_by_hand, runs=3),
        "uphill: the updates are subtracted, and they hold the minus already": partial(
            trained_by_hand, way=1
        ),
        "the loss after the step": partial(trained_by_hand, late=True),
        "the optimizer's state is not carried on": partial(trained_by_hand, keep=False),
    },
    rtol=1e-3,
    atol=1e-4,
    about="all floating-point arrays",
)
check_values(
    through(trained, trainer),
    trained_by_hand,
    sweep(squares, heavy, (False, True), jnp.tanh, "3 2", "2", "6 3", "6 2", count=1)
    + sweep(fourths, (0.02, 0.5, 0.2), (True, False), jnp.cos, "2 3", "3", "5 2", "5 3", count=1),
    mistakes={
        "leaves that `spec` does not select are trained": partial(trained_by_hand, free=("w",))
    },
    rtol=1e-3,
    atol=1e-4,
    about="some of them, by a tree of Booleans",
)
### BEGIN HIDDEN TESTS
check_values(
    through(trained, trainer),
    trained_by_hand,
    sweep(squares, (0.2, 0.5, 0.0), (True, False), jnp.sin, "4 1", "1", "3 4", "3 1", count=1, seed=7),
    rtol=1e-3,
    atol=1e-4,
    about="other sizes",
)
### END HIDDEN TESTS

# %% [markdown]
# Your `trainer` now trains the network of lesson 08: first all of it, then its last layer alone.

# %%
def cross_entropy(model, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y).mean()


twin = eqx.tree_at(
    lambda m: [leaf for layer in m.layers for leaf in (layer.weight, layer.bias)],
    MLP(sizes, jax.random.key(0)),
    [leaf for layer in params for leaf in (layer["w"].T, layer["b"])],
)
frozen = jax.tree.map(lambda leaf: False, twin)
only_head = eqx.tree_at(lambda m: (m.layers[-1].weight, m.layers[-1].bias), frozen, (True, True))

# %% tags=["demonstration", "raises-exception"]
plt.figure("Loss with all layers trained and with the last one", figsize=(7, 3))
for name, spec in {"all layers": eqx.is_inexact_array, "only the last layer": only_head}.items():
    init, step = trainer(cross_entropy, optax.adam(1e-3), spec)
    model, opt_state, losses = twin, init(twin), []
    for i in range(0, 2 * len(x_train), 128):
        rows = slice(i % len(x_train), i % len(x_train) + 128)
        model, opt_state, loss = step(model, opt_state, x_train[rows], y_train[rows])
        losses.append(loss)
    right = jnp.argmax(batched(model, x_test), axis=1) == y_test
    plt.semilogy(losses)
    plt.annotate(f"{name}: {right.mean():.1%}", (120, 1.2 * max(losses[120:180])))
plt.xlabel("step"), plt.ylabel("loss of a batch"), plt.ylim(0.05, 5)
plt.tight_layout()
plt.show()

# %% [markdown]
# *Two loss curves over 200 steps, on a logarithmic scale, each with its accuracy on the test images. With the last layer alone the loss falls more slowly.*
#
# ## 10.11 What else to know
#
# - **Saving.** `eqx.tree_serialise_leaves(path, model)` writes the leaves. `eqx.tree_deserialise_leaves(path, like)` reads them into a model of the same structure. Typed keys cannot be saved; save `jax.random.key_data(key)`.
# - **State.** For batch normalisation, `eqx.nn.make_with_state(Model)(...)` returns a model and a `State`, which you pass in and get back at each call.
#
# ## What to remember
#
# 1. A module is a frozen dataclass and a pytree. Its leaves may be arrays, functions, strings and numbers.
# 2. The `filter_` transformations are `partition`, a transformation of JAX on the arrays, and `combine`.
# 3. `filter_jit` makes everything static that is not an array. Pass a number that changes through `jnp.asarray`.
# 4. `tree_at` returns a changed copy. Replace whole layers, so that their static fields stay true. Never put arrays into static fields.
# 5. Two references are two leaves: use `eqx.nn.Shared`. A filter decides what is trained.
#
# ## Further reading
#
# - The Equinox documentation: [All of Equinox](https://docs.kidger.site/equinox/all-of-equinox/), [Filtering](https://docs.kidger.site/equinox/api/manipulation/), [Frequently asked questions](https://docs.kidger.site/equinox/faq/).
# - Kidger and Garcia, [Equinox: neural networks in JAX via callable PyTrees and filtered transformations](https://arxiv.org/abs/2111.00254) (2021).
# - The JAX documentation: [Pytrees](https://docs.jax.dev/en/latest/pytrees.html).
#
# ## Next
#
# Lesson 09 built the same network in Flax NNX. Lesson 11 saves a run so that it resumes exactly where it stopped.
