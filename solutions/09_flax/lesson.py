# %% [markdown]
# # 9 · Flax NNX, and reading Linen
#
# So far you have passed parameters, keys and optimizer state through every function. Flax NNX keeps them in *modules*: Python objects that hold their own arrays and may change them. After this lesson you can
#
# - write an NNX module, and load the parameters of lesson 08 into it;
# - say which changes to a module survive `jax.jit` and `nnx.jit`;
# - train with `nnx.Optimizer`, and with `nnx.split` and `nnx.merge` in a pure function;
# - use dropout and batch statistics, freeze layers with filters, and build ensembles and deep stacks;
# - read Linen, Flax's older API, and port a Linen model to NNX.
#
# Much public JAX code is written in Flax: older code in Linen, newer code in NNX.
#
# About 120 minutes, with a good place for a break after 9.4. You need lessons 02, 03, 05, 06 and 08.

# %%
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Key
from scipy.special import ndtr

from graders import (
    check_answer,
    check_distribution,
    check_gradients,
    check_keys,
    check_primitives,
    check_values,
    integers,
    load_mnist,
    sweep,
    through,
    uniform,
)

# %% [markdown]
# ## 9.0 Recall
#
# **Recall** · 1 minute · difficulty 1 of 5
#
# `seen = []`. A function decorated with `@jax.jit` runs `seen.append(1)` and returns `2 * x`. You call it three times with float32 arrays of shape `(4,)`. What is `len(seen)`?

# %% exercise="times_appended" kind="recall"
# An integer.
### BEGIN SOLUTION
times_appended = 1
### END SOLUTION

# %% check="times_appended" points=1
def count_appends():
    seen = []

    @jax.jit
    def double(x):
        seen.append(1)
        return 2 * x

    for i in range(3):
        double(jnp.full(4, float(i)))
    return len(seen)


check_answer(
    times_appended,
    count_appends,
    because="The Python body runs while JAX traces. The second and third call run the compiled program.",
    mistakes={
        3: "the body runs once, when the function is traced, not at each call",
        0: "the side effect happens, but only while the function is traced",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# `jax.vmap(lambda i: jax.random.normal(jax.random.key(0), (3,)))(jnp.arange(5))` has shape `(5, 3)`. How many different rows does it have?

# %% exercise="different_rows" kind="recall"
# An integer.
### BEGIN SOLUTION
different_rows = 1
### END SOLUTION

# %% check="different_rows" points=1
def count_rows():
    rows = jax.vmap(lambda i: jax.random.normal(jax.random.key(0), (3,)))(jnp.arange(5))
    return len(np.unique(rows, axis=0))


check_answer(
    different_rows,
    count_rows,
    because="Every row is drawn from the same key. Split the key and map over the keys instead.",
    mistakes={5: "the index is not used: all five rows are drawn from one key"},
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# The network of lesson 08 is a list of three layers `{"w": ..., "b": ...}`. How many arrays does `optax.adam(1e-3).init(params)` hold? Count the scalar step count too.

# %% exercise="adam_arrays" kind="recall"
# An integer.
### BEGIN SOLUTION
adam_arrays = 13
### END SOLUTION

# %% check="adam_arrays" points=1
def count_state():
    params = [{"w": jnp.ones((2, 2)), "b": jnp.ones(2)} for _ in range(3)]
    return len(jax.tree.leaves(optax.adam(1e-3).init(params)))


check_answer(
    adam_arrays,
    count_state,
    because="Two moments for each of the six parameters, and one step count.",
    mistakes={
        12: "the two moments make 12; the step count is an array too",
        7: "Adam keeps two moments for each parameter, not one",
        6: "Adam keeps two moments for each parameter, and a step count",
    },
)

# %% [markdown]
# ## 9.1 Modules are objects and trees
#
# Here is the multilayer perceptron (MLP) of lesson 08 as plain functions on a list:

# %%
sizes = (784, 256, 128, 10)
mnist = load_mnist()
x_train = jnp.asarray(mnist.x_train[:20_000], jnp.float32).reshape(-1, 784) / 255
x_test = jnp.asarray(mnist.x_test[:2_000], jnp.float32).reshape(-1, 784) / 255
y_train, y_test = jnp.asarray(mnist.y_train[:20_000]), jnp.asarray(mnist.y_test[:2_000])


@partial(jax.jit, static_argnames="sizes")
def new_params(key, sizes):
    he = jax.nn.initializers.he_normal()
    keys = jax.random.split(key, len(sizes) - 1)
    return [{"w": he(k, (n, m)), "b": jnp.zeros(m)} for k, n, m in zip(keys, sizes, sizes[1:])]


def forward(params, x):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]

# %% [markdown]
# Two helpers for the checks below:

# %%
def he(deviation=1.0):
    """The cumulative distribution of `he_normal()`, scaled to this standard deviation."""
    kept, width = 1 - 2 * ndtr(-2), deviation / 0.87962566
    return lambda v: (ndtr(np.clip(v / width, -2, 2)) - ndtr(-2)) / kept


def stack_of(*sizes):
    """What `sweep` makes a list of layers from."""
    return [{"w": f"{n} {m}", "b": f"{m}"} for n, m in zip(sizes, sizes[1:])]

# %% [markdown]
# An NNX module is a subclass of `nnx.Module`. Its `__init__` creates the arrays, and `__call__` uses them. The arrays are wrapped in *variables*, whose class says what they are for: `nnx.Param` for what is trained, `nnx.BatchStat` for running statistics, `nnx.RngState` for keys and counters. Read a variable with `weight[...]`, write it with `weight[...] = new`.

# %%
class Scale(nnx.Module):
    def __init__(self, features, *, rngs: nnx.Rngs):
        self.weight = nnx.Param(jax.random.uniform(rngs.params(), (features,)))
        self.name = "scale"

    def __call__(self, x):
        return x * self.weight[...]


scale = Scale(3, rngs=nnx.Rngs(0))
print(scale(jnp.ones(3)))
print(nnx.state(scale))
print("leaves:", jax.tree.leaves(scale))

# %% [markdown]
# `nnx.Rngs(0)` holds a key and a counter. Each call of `rngs.params()` folds the counter into the key, adds one to the counter and returns the new key. `nnx.state(model)` returns the variables as a nested tree, and `nnx.state(model, nnx.Param)` those of one class. The module itself is a pytree too: its leaves are the arrays, and everything else (here the string) is static.
#
# The default initialiser of `nnx.Linear` is LeCun normal, with standard deviation $\sqrt{1/\text{inputs}}$. Lesson 08 used He normal.
#
# ### An MLP as a module
# **Exercise** · 8 minutes · difficulty 2 of 5
#
# Write the class `MLP(sizes, *, rngs)`.
#
# - *Contents.* The attribute `layers` is an `nnx.List` with one `nnx.Linear` for each pair of neighbours in `sizes`. Kernels are drawn with `nnx.initializers.he_normal()`, biases are zero. The module holds no other arrays.
# - *Call.* `model(x)` returns the logits, with a ReLU after every layer but the last. `x` has any number of batch axes. One layer is possible.
# - *The check* writes weights into `model.layers[i]` and compares the logits. It tests the distribution of the initial kernels, and that no key is used twice.

# %% exercise="MLP"
class MLP(nnx.Module):
    """An MLP with ReLU between its layers, initialised after He et al. (2015)."""

    def __init__(self, sizes: tuple[int, ...], *, rngs: nnx.Rngs):
        ### BEGIN SOLUTION
        he = nnx.initializers.he_normal()
        self.layers = nnx.List(
            [nnx.Linear(n, m, kernel_init=he, rngs=rngs) for n, m in zip(sizes, sizes[1:])]
        )

    def __call__(self, x):
        *hidden, last = self.layers
        for layer in hidden:
            x = jax.nn.relu(layer(x))
        return last(x)
        ### END SOLUTION

# %% [markdown] hints="MLP"
# <details><summary>Hint 1: the idea</summary>
#
# It is `forward` from above with the parameters in `self.layers`. You also write the method `__call__(self, x)`.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `nnx.Linear(n, m, kernel_init=..., rngs=rngs)`. A plain Python list of modules raises a `ValueError`: lists are static unless you wrap them in `nnx.List`.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# `self.layers = nnx.List([... for n, m in zip(sizes, sizes[1:])])`, then in `__call__` a loop over `self.layers[:-1]` and a last call.
# </details>

# %% check="MLP" points=3
def with_weights(MLP, params, x):
    model = MLP((*(len(layer["w"]) for layer in params), len(params[-1]["b"])), rngs=nnx.Rngs(0))
    for layer, given in zip(model.layers, params):
        layer.kernel[...], layer.bias[...] = given["w"], given["b"]
    return model(x)


def layer_by_layer(params, x, until=-1):
    for i, layer in enumerate(params):
        x = x @ layer["w"] + layer["b"]
        x = np.maximum(x, 0) if i < len(params) + until else x
    return x


def initial(MLP, key, sizes):
    return [layer.kernel[...] for layer in MLP(sizes, rngs=nnx.Rngs(key)).layers]


def scaled_kernels(MLP, key, sizes):
    kernels = initial(MLP, key, sizes)
    return jnp.concatenate([(w * (len(w) / 2) ** 0.5).ravel() for w in kernels])


def everything_else(MLP, key, sizes):
    model = MLP(sizes, rngs=nnx.Rngs(key))
    trained = [leaf.shape for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))]
    arrays = len(jax.tree.leaves(nnx.state(model)))
    return [layer.bias[...] for layer in model.layers], jnp.array(trained[0]), arrays


def biases_and_counts(key, sizes):
    return [np.zeros(m) for m in sizes[1:]], np.array(sizes[1:2]), 2 * len(sizes) - 2


key = jax.random.key(9101)
check_values(
    through(with_weights, MLP),
    layer_by_layer,
    sweep(stack_of(4, 6, 5, 3), "7 4", count=1, planted=True)
    + sweep(stack_of(4, 3), "2 5 4", count=1),
    mistakes={
        "the logits go through a ReLU too": partial(layer_by_layer, until=0),
        "there is no ReLU at all": partial(layer_by_layer, until=-9),
    },
    about="three layers, and one",
)
check_distribution(
    through(scaled_kernels, MLP),
    key,
    (300, 150, 100, 200),
    cdf=he(),
    mistakes={
        "the kernels have the default initialisation (LeCun), not He's": he(0.5**0.5),
        "the normal numbers are not cut off, as `he_normal()` does": ndtr,
    },
    about="the kernels",
)
check_values(
    through(everything_else, MLP),
    biases_and_counts,
    [(key, (4, 3, 4, 2)), (key, (3, 5))],
    about="the biases, and how many arrays there are",
)
### BEGIN HIDDEN TESTS
check_keys(through(initial, MLP), key, (5, 6, 5, 6, 5))
check_values(
    through(with_weights, MLP),
    layer_by_layer,
    sweep(stack_of(3, 3, 3, 3, 3, 3), "3", count=1, seed=4),
    about="five square layers, and one example",
)
### END HIDDEN TESTS

# %% [markdown]
# From here on the notebook uses a module of its own, with a dropout layer that keeps its own key and counter.

# %%
he_normal = nnx.initializers.he_normal()


class Net(nnx.Module):
    def __init__(self, sizes, *, rate=0.0, init=he_normal, rngs: nnx.Rngs):
        pairs = zip(sizes, sizes[1:])
        self.layers = nnx.List(
            [nnx.Linear(n, m, kernel_init=init, rngs=rngs) for n, m in pairs]
        )
        self.dropout = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x):
        *hidden, last = self.layers
        for layer in hidden:
            x = self.dropout(jax.nn.relu(layer(x)))
        return last(x)


@nnx.jit(static_argnames=("sizes", "rate"))
def new_net(key, sizes, rate=0.0):
    return Net(sizes, rate=rate, rngs=nnx.Rngs(key))


model = new_net(jax.random.key(0), sizes, rate=0.5)
print(jax.tree.map(jnp.shape, nnx.state(model)))

# %% [markdown]
# Someone wants to overwrite the first kernel and forgets the `[...]`:
#
# ```python
# model.layers[0].kernel = jnp.zeros((784, 256))
# ```
#
# **Prediction** · 1 minute · difficulty 3 of 5
#
# How many leaves does `nnx.state(model, nnx.Param)` have after that line? Before, it has six. If the line raises, give the name of the exception.

# %% exercise="params_left" kind="prediction"
# An integer, or the name of an exception as a string.
### BEGIN SOLUTION
params_left = 5
### END SOLUTION

# %% check="params_left" points=1
def count_params_left():
    net = Net((3, 4, 4, 2), rngs=nnx.Rngs(0))
    net.layers[0].kernel = jnp.zeros((3, 4))
    return len(jax.tree.leaves(nnx.state(net, nnx.Param)))


check_answer(
    params_left,
    count_params_left,
    because="The attribute now holds a bare array instead of an nnx.Param. The model still runs, but no optimizer will train that kernel.",
    mistakes={
        6: "the assignment replaces the variable itself; only `kernel[...] = ...` writes into it",
        "ValueError": "it does not raise, and that is what makes it a silent bug",
        "TypeError": "it does not raise, and that is what makes it a silent bug",
    },
)

# %% [markdown]
# ### Load the parameters of lesson 08
# **Exercise** · 6 minutes · difficulty 2 of 5
#
# `load_params(model, params)` copies the list `[{"w": ..., "b": ...}, ...]` into `model.layers` and returns nothing.
#
# - *In place.* The kernels and biases stay `nnx.Param`s, so that they can be trained. The dropout key and counter, and the mode, do not change.
# - *Edge cases.* Any number of layers, square ones too. `nnx.Linear.kernel` has the shape (inputs, outputs), like `"w"`.
# - *The check* compares the logits in evaluation mode, and the gradient with respect to all `nnx.Param`s.

# %% exercise="load_params"
def load_params(model: nnx.Module, params: list[dict]) -> None:
    """Write the weights and biases of `params` into the layers of `model`."""
    ### BEGIN SOLUTION
    for layer, given in zip(model.layers, params):
        layer.kernel[...] = given["w"]
        layer.bias[...] = given["b"]
    ### END SOLUTION

# %% [markdown] hints="load_params"
# <details><summary>Hint 1: the idea</summary>
#
# Walk over `model.layers` and `params` together.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `variable[...] = array` writes into a variable. `variable = nnx.Param(array)` as an attribute replaces it, which is allowed too.
# </details>

# %% check="load_params" points=2
def sizes_of(params):
    return (*(len(layer["w"]) for layer in params), len(params[-1]["b"]))


def loaded(load_params, params, x, rate):
    """The logits, the number of `nnx.Param`s, their gradient, the change of the dropout's count."""
    zeros = nnx.initializers.zeros
    model = Net(sizes_of(params), rate=rate, init=zeros, rngs=nnx.Rngs(0))
    count = model.dropout.rngs.count[...] + 0
    load_params(model, params)
    model.eval()
    grads = jax.tree.leaves(nnx.grad(lambda model: jnp.sum(model(x) ** 2))(model))
    flat = jnp.concatenate([jnp.zeros(0), *(grad.ravel() for grad in grads)])
    return model(x), jnp.array(len(grads)), flat, model.dropout.rngs.count[...] - count


@jax.jit
def gradient_of_squares(params, x):
    return jax.grad(lambda params: jnp.sum(forward(params, x) ** 2))(params)


def loaded_by_hand(params, x, rate, change=lambda params: params, lost=False):
    params = change(jax.tree.map(np.float32, params))
    grads = gradient_of_squares(params, x)
    flat = [np.zeros(0)] if lost else [layer[k].ravel() for layer in grads for k in ("b", "w")]
    return forward(params, x), np.int32(0 if lost else 2 * len(params)), np.concatenate(flat), 0


mistakes = {
    "the weights are transposed": partial(
        loaded_by_hand,
        change=lambda params: [
            p | {"w": p["w"].T if len(p["w"]) == len(p["b"]) else p["w"]} for p in params
        ],
    ),
    "the biases are not copied": partial(
        loaded_by_hand, change=lambda params: [p | {"b": 0 * p["b"]} for p in params]
    ),
    "kernels and biases are bare arrays now, and no `nnx.Param`s": partial(
        loaded_by_hand, lost=True
    ),
}
check_values(
    through(loaded, load_params),
    loaded_by_hand,
    sweep(stack_of(4, 4, 4), "5 4", 0.25, count=1, planted=True)
    + sweep(stack_of(4, 6, 3), "7 4", 0.5, count=1),
    mistakes=mistakes,
    rtol=1e-3,
    atol=1e-4,
)
### BEGIN HIDDEN TESTS
check_values(
    through(loaded, load_params),
    loaded_by_hand,
    sweep(stack_of(3, 5, 4, 5, 4, 2), "2 3", 0.5, count=1, seed=3)
    + sweep(stack_of(3, 2), "4 3", 0.5, count=1, seed=5),
    mistakes=mistakes,
    rtol=1e-3,
    atol=1e-4,
    about="five layers, and one",
)
### END HIDDEN TESTS

# %% [markdown]
# The network of lesson 08, as a list and as a module:

# %% tags=["raises-exception"]
params = new_params(jax.random.key(0), sizes)
load_params(model, params)
model.eval()
same = jnp.array_equal(forward(params, x_test), model(x_test))
print("equal to the last bit:", same, "logits of shape", model(x_test).shape)

# %% [markdown]
# > **In PyTorch** `nn.Linear.weight` has the shape (outputs, inputs) and must be transposed on the way to Flax. If you forget it for a square matrix, nothing raises and the logits are wrong.
#
# The checks compare modules with the list of lesson 08. You need not read this cell.

# %%
def network(params, rate=0.0, key=0):
    """A `Net` with these parameters."""
    widths = (*(len(layer["w"]) for layer in params), len(params[-1]["b"]))
    net = Net(widths, rate=rate, init=nnx.initializers.zeros, rngs=nnx.Rngs(key))
    for layer, given in zip(net.layers, params):
        layer.kernel[...], layer.bias[...] = given["w"], given["b"]
    return net


def as_list(net):
    return [{"w": layer.kernel[...], "b": layer.bias[...]} for layer in net.layers]


def power_loss(power, calls=None):
    """The mean of (model(x) - y) ** power; each call of it is noted in the list `calls`."""

    def loss_fn(model, x, y):
        if calls is not None:
            calls.append(1)
        return jnp.mean((model(x) - y) ** power)

    return loss_fn


def momentum(rate, decay):
    """SGD with momentum and weight decay: it has a state, and must see the parameters."""
    return optax.chain(optax.add_decayed_weights(decay), optax.sgd(rate, momentum=0.9))


def list_steps(power, rate, decay, params, x, y, way=1, forget=False, late=False):
    """Three steps of `momentum` on the list of lesson 08: the parameters, and the losses."""
    params = jax.tree.map(np.float32, params)
    loss_fn, optimizer = power_loss(power), momentum(rate, decay)
    value_and_grad = jax.jit(jax.value_and_grad(lambda p: loss_fn(partial(forward, p), x, y)))
    opt_state, losses = optimizer.init(params), []
    for _ in range(3):
        loss, grads = value_and_grad(params)
        updates, new_state = optimizer.update(grads, opt_state, params)
        params = jax.tree.map(lambda p, u: p + way * u, params, updates)
        opt_state = opt_state if forget else new_state
        losses.append(value_and_grad(params)[0] if late else loss)
    return params, jnp.stack(losses)

# %% [markdown]
# ## 9.2 Mutation under `jax.jit` and `nnx.jit`
#
# A module may change its own variables while it runs. This one counts its calls:

# %%
class Counter(nnx.Module):
    def __init__(self):
        self.calls = nnx.Variable(jnp.array(0))

    def __call__(self, x):
        self.calls[...] += 1
        return 2 * x


counter = Counter()
counter(1.0), counter(2.0)
print(counter.calls[...])

# %% [markdown]
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# ```python
# counter = Counter()
# run = jax.jit(lambda counter, x: counter(x))
# for i in range(3):
#     run(counter, float(i))
# ```
#
# What is `counter.calls[...]` now?

# %% exercise="calls_counted" kind="prediction"
# An integer, or the name of an exception as a string.
### BEGIN SOLUTION
calls_counted = 0
### END SOLUTION

# %% check="calls_counted" points=1
def count_calls():
    counter = Counter()
    run = jax.jit(lambda counter, x: counter(x))
    for i in range(3):
        run(counter, float(i))
    return int(counter.calls[...])


check_answer(
    calls_counted,
    count_calls,
    because="jax.jit takes the module apart as a pytree and runs the program on a copy. What the copy changed is thrown away.",
    mistakes={
        3: "so it is under `nnx.jit`; `jax.jit` works on a copy, and its changes are lost",
        1: "a Python list would have one entry more after the trace, but this is an array in a copy of the module",
        "TraceContextError": "that comes when a module is *closed over* and changed; here it is an argument",
    },
)

# %%
counter = Counter()
run = nnx.jit(lambda counter, x: counter(x))
for i in range(3):
    run(counter, float(i))
print("nnx.jit:", counter.calls[...])

try:
    nnx.jit(lambda x: counter(x))(1.0)
except Exception as error:
    print(type(error).__name__, str(error)[:56])

# %% [markdown]
# `jax.jit` accepts a module, since it is a pytree, and loses what the function changes in it, silently. `nnx.jit` returns the changed variables from the compiled program and writes them back into your object. In both cases the module must be an *argument*: changing a module that is closed over raises `TraceContextError`.
#
# `nnx.grad` and `nnx.value_and_grad` differentiate with respect to the `nnx.Param`s of the first argument. (`jax.grad` of a model with dropout raises a `TypeError`, because the counter is an integer.)
#
# `nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)` holds the optimizer state for the variables that `wrt` selects. `optimizer.update(model, grads)` writes the new state and the new parameters in place. Tutorials older than Flax 0.11 omit `wrt` and call `optimizer.update(grads)`. Both raise a `TypeError` now.
#
# ### A training step
# **Exercise** · 6 minutes · difficulty 2 of 5
#
# `make_train_step(loss_fn)` returns a compiled function `step(model, optimizer, x, y)`. `loss_fn(model, x, y)` returns a scalar.
#
# - *Returns.* `step` updates `model` and `optimizer` in place and returns the loss before the update.
# - *Edge cases.* The optimizer can be any `nnx.Optimizer` with `wrt=nnx.Param`. The model may have dropout, and then each step draws a new mask.
# - *The check* compares three steps with lesson 08, and counts how often `loss_fn` runs in Python.

# %% exercise="make_train_step"
def make_train_step(loss_fn):
    """A compiled `step(model, optimizer, x, y)` that trains in place and returns the loss."""
    ### BEGIN SOLUTION
    @nnx.jit
    def step(model, optimizer, x, y):
        loss, grads = nnx.value_and_grad(loss_fn)(model, x, y)
        optimizer.update(model, grads)
        return loss

    return step
    ### END SOLUTION

# %% [markdown] hints="make_train_step"
# <details><summary>Hint 1: the idea</summary>
#
# A function inside a function. Which `jit` keeps the changes of `model` and `optimizer`?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `nnx.value_and_grad(loss_fn)(model, x, y)`, then `optimizer.update(model, grads)`.
# </details>

# %% check="make_train_step" points=3
def three_steps(make, power, rate, decay, params, x, y):
    """Parameters and losses, and whether `loss_fn` ran at most twice in Python."""
    model, calls = network(params), []
    optimizer = nnx.Optimizer(model, momentum(rate, decay), wrt=nnx.Param)
    step = make(power_loss(power, calls))
    losses = [step(model, optimizer, x, y) for _ in range(3)]
    return as_list(model), jnp.stack(losses), jnp.array(len(calls) <= 2)


def three_by_hand(*args, compiled=True, **how):
    return *list_steps(*args, **how), np.array(compiled)


def masked_losses(make, key, power, rate, params, x, y):
    """Three losses at a learning rate of 0, which differ by their dropout masks only."""
    model = network(params, rate, key)
    optimizer = nnx.Optimizer(model, momentum(0.0, 0.0), wrt=nnx.Param)
    step = make(power_loss(power))
    return jnp.stack([step(model, optimizer, x, y) for _ in range(3)])


def masked_by_hand(key, power, rate, params, x, y):
    model = network(jax.tree.map(np.float32, params), rate, key)
    return jnp.stack([power_loss(power)(model, np.float32(x), y) for _ in range(3)])


check_values(
    through(three_steps, make_train_step),
    three_by_hand,
    sweep(2, 0.1, 0.0, stack_of(3, 5, 2), "6 3", "6 2", count=1)
    + sweep(4, 0.02, 0.5, stack_of(4, 3), "7 4", "7 3", count=1),
    mistakes={
        "the model does not change: its updates are lost": partial(three_by_hand, way=0),
        "the optimizer state is not carried from step to step": partial(
            three_by_hand, forget=True
        ),
        "the loss after the step": partial(three_by_hand, late=True),
        "`loss_fn` runs in Python at each step: the step is not compiled once": partial(
            three_by_hand, compiled=False
        ),
    },
    rtol=1e-3,
    atol=1e-4,
    about="three steps of SGD with momentum",
)
### BEGIN HIDDEN TESTS
dropped = [
    *sweep(2, 0.5, stack_of(3, 8, 2), "6 3", "6 2", count=1, seed=3),
    *sweep(4, 0.2, stack_of(2, 5, 4, 3), "4 2", "4 3", count=1, seed=4),
]
check_values(
    through(masked_losses, make_train_step),
    masked_by_hand,
    [(jax.random.key(9201 + i), *args) for i, args in enumerate(dropped)],
    rtol=1e-3,
    about="with dropout",
)
### END HIDDEN TESTS

# %% [markdown]
# Now train on 20,000 digits with your step, and watch the loss:

# %%
def loss_fn(model, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()


@nnx.jit
def accuracy(model, x, y):
    return jnp.mean(jnp.argmax(model(x), axis=-1) == y)

# %% tags=["raises-exception"]
model = new_net(jax.random.key(0), sizes, rate=0.5)
optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
step, losses = make_train_step(loss_fn), []
for i in range(0, 20_000 - 127, 128):
    losses.append(step(model, optimizer, x_train[i : i + 128], y_train[i : i + 128]))
model.eval()
print("accuracy on 2,000 test digits:", accuracy(model, x_test, y_test))
plt.figure("Training loss")
plt.plot(np.stack(losses))
plt.xlabel("step"), plt.ylabel("loss")
plt.show()

# %% [markdown]
# *The loss falls from about 2.9 to about 0.5 in 156 steps, with noise.*
#
# > **In PyTorch** gradients add up in `param.grad` until `optimizer.zero_grad()`. `nnx.grad` returns new gradients at each call.
#
# ## 9.3 Dropout, and a mask that never changes
#
# `model.train()` and `model.eval()` set attributes such as `Dropout.deterministic` on all submodules. They are Python bools and therefore static: `nnx.jit` compiles one program for each mode.
#
# Dropout can also estimate uncertainty: leave it on after training, predict many times, and see how much the predictions differ. First a trained model:

# %%
@nnx.jit
def train_step(model, optimizer, x, y):
    loss, grads = nnx.value_and_grad(loss_fn)(model, x, y)
    optimizer.update(model, grads)
    return loss


trained = new_net(jax.random.key(0), sizes, rate=0.5)
optimizer = nnx.Optimizer(trained, optax.adam(1e-3), wrt=nnx.Param)
for i in range(0, 20_000 - 127, 128):
    train_step(trained, optimizer, x_train[i : i + 128], y_train[i : i + 128])

# %% [markdown]
# ### Bug hunt: no uncertainty
#
# Twenty predictions with dropout switched on are all equal:

# %%
def broken_samples(model, x, samples):
    run = jax.jit(lambda model, x: model(x))
    return jnp.stack([run(model, x) for _ in range(samples)])


logits = broken_samples(trained, x_test[:8], 20)
print("largest difference between the samples:", jnp.ptp(logits, axis=0).max())

# %% [markdown]
# ### Predict with different dropout masks
# **Exercise** · 7 minutes · difficulty 3 of 5
#
# Find the bug, and write `predict_samples(model, x, samples)`.
#
# - *Returns.* The outputs of `samples` calls of `model(x)`, one after another, stacked along a new first axis. In training mode each call draws the next dropout mask of the model, and the next `predict_samples` goes on from there.
# - *Edge cases.* The mode of the model is left as it is. In evaluation mode all samples are equal. The model has no state that a call changes, other than the random stream of its dropout.
# - *The check* compares the masks, and counts how often the model's `__call__` runs in Python. One call of `predict_samples` may run it three times at most, however many samples there are.

# %% exercise="predict_samples"
def predict_samples(
    model: nnx.Module, x: Float[Array, "batch features"], samples: int
) -> Float[Array, "samples batch classes"]:
    """The outputs of `samples` calls of the model, each with the model's next dropout masks."""
    ### BEGIN SOLUTION
    run = nnx.jit(lambda model, x: model(x))
    return jnp.stack([run(model, x) for _ in range(samples)])
    ### END SOLUTION

# %% [markdown] hints="predict_samples"
# <details><summary>Hint 1: the idea</summary>
#
# What does the dropout layer change when it draws a mask? What happens to that change under `jax.jit`?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `nnx.jit` writes the counter of the random stream back into the model.
# </details>

# %% check="predict_samples" points=3
class Masked(nnx.Module):
    """Dropout alone, which notes each run of its Python code."""

    def __init__(self, rate, key, runs=()):
        self.dropout = nnx.Dropout(rate, rngs=nnx.Rngs(key))
        self.runs = nnx.static(runs)

    def __call__(self, x):
        if self.runs:
            self.runs[0].append(1)
        return self.dropout(x)


class Note(list):
    """A list that is equal to itself only, and so can be a static attribute."""

    __hash__, __eq__ = object.__hash__, object.__eq__


def two_rounds(predict, key, rate, x, samples):
    """One row for each sample of two calls."""
    model = Masked(rate, key)
    rounds = [predict(model, x, samples) for _ in range(2)]
    return jnp.concatenate(rounds).reshape(2 * samples, -1)


def kept_values(predict, key, rate, x, samples):
    """What is kept, or would have been; and the share that is kept, in tenths."""
    out = predict(Masked(rate, key), x, samples)
    return jnp.where(out == 0, x / (1 - rate), out), jnp.round(10 * jnp.mean(out != 0))


def kept_by_hand(key, rate, x, samples):
    return np.broadcast_to(x / (1 - rate), (samples, *x.shape)), np.float64(round(10 * (1 - rate)))


def in_evaluation(predict, key, rate, x, samples):
    model = Masked(rate, key)
    model.eval()
    out = predict(model, x, samples)
    return jnp.array(model.dropout.deterministic), out


def all_the_same(key, rate, x, samples):
    return np.array(True), np.broadcast_to(x, (samples, *x.shape))


def python_calls(predict, rate, x, samples):
    runs = Note()
    predict(Masked(rate, 0, (runs,)), x, samples)
    return jnp.array(len(runs) <= 3)


key = jax.random.key(9301)
x = np.linspace(1, 2, 400, dtype=np.float32).reshape(4, 100)
check_keys(through(two_rounds, predict_samples), key, 0.5, x, 4, rows=True)
check_values(
    through(kept_values, predict_samples),
    kept_by_hand,
    [(key, 0.5, x, 3), (key, 0.2, x[:, :80] + 1, 5)],
    about="what is kept, and how much of it",
)
check_values(
    through(in_evaluation, predict_samples),
    all_the_same,
    [(key, 0.5, x, 3), (key, 0.2, x[:2], 2)],
    mistakes={"the mode of the model is changed": lambda *args: (np.array(False),)},
    about="evaluation mode",
)
### BEGIN HIDDEN TESTS
check_values(
    through(python_calls, predict_samples),
    [np.array(True)] * 2,
    [(0.5, x, 12), (0.2, x[:2], 9)],
    mistakes={
        "the model runs in Python for each sample: it is not compiled once": (
            lambda *args: np.array(False)
        )
    },
    about="the model's Python code",
)
### END HIDDEN TESTS

# %% [markdown]
# A digit that your samples agree about, and the one that they disagree about most:

# %% tags=["raises-exception"]
p = jax.nn.softmax(predict_samples(trained, x_test[:200], 50))
spread = p.std(axis=0).max(axis=-1)
_, axes = plt.subplots(
    2, 2, num="Class probabilities of two digits under dropout", clear=True,
    figsize=(8, 5), width_ratios=(1, 2),
)
for (image, bars), i in zip(axes, (int(spread.argmin()), int(spread.argmax()))):
    image.imshow(x_test[i].reshape(28, 28), cmap="gray_r")
    image.set_title(f"label {y_test[i]}")
    image.axis("off")
    bars.bar(range(10), p[:, i].mean(axis=0), yerr=p[:, i].std(axis=0))
    bars.set_xticks(range(10))
    bars.set_ylabel("probability")
plt.tight_layout()
plt.show()

# %% [markdown]
# *Two digits, each with the mean probability of the classes over 50 samples and the standard deviation as an error bar. The upper one has a single bar of height 1. The lower one has several bars with long error bars.*
#
# ## 9.4 Split and merge under plain `jax.jit`
#
# At each call `nnx.jit` takes the module apart and writes it back, in Python. You can do that yourself, once, and then use plain JAX, which is faster for small models:
#
# - `graphdef, params, rest = nnx.split(model, nnx.Param, ...)` gives the static structure, the parameters, and (`...` means "everything else") the remaining variables: random state and batch statistics.
# - `nnx.merge(graphdef, params, rest)` builds a module from them.
#
# The parts are pytrees, so `jax.grad`, Optax and `jax.lax.scan` work on them. Inside `jax.grad`, use `nnx.merge(..., copy=True)`. Otherwise the module shares its variables with the outer trace, and dropout raises `TraceContextError` when it advances its counter.
#
# A pure function must return every variable that changes. If `rest` is not returned, the dropout mask is frozen again.
#
# ### A pure training step
# **Exercise** · 10 minutes · difficulty 4 of 5
#
# `make_pure_step(graphdef, loss_fn, optimizer)` returns a function `step(params, rest, opt_state, x, y)` compiled with `jax.jit`. `optimizer` is an Optax optimizer and `opt_state` is `optimizer.init(params)`.
#
# - *Returns.* `(params, rest, opt_state, loss)` after one step, with the loss before the update. `rest` holds all variables that are not `nnx.Param`, as the forward pass left them.
# - *Edge cases.* Models with dropout or batch statistics. Optimizers that need the parameters, such as `optax.adamw`.
# - *The check* compares three steps with the in-place step, and counts the Python runs of `loss_fn`.

# %% exercise="make_pure_step"
def make_pure_step(graphdef, loss_fn, optimizer: optax.GradientTransformation):
    """A jitted `step(params, rest, opt_state, x, y)`: `(params, rest, opt_state, loss)`."""
    ### BEGIN SOLUTION
    @jax.jit
    def step(params, rest, opt_state, x, y):
        def loss_and_rest(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            loss = loss_fn(model, x, y)
            return loss, nnx.split(model, nnx.Param, ...)[2]

        (loss, new_rest), grads = jax.value_and_grad(loss_and_rest, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), new_rest, opt_state, loss

    return step
    ### END SOLUTION

# %% [markdown] hints="make_pure_step"
# <details><summary>Hint 1: the idea</summary>
#
# Differentiate an inner function of `params` that merges the model, computes the loss, splits the model again and returns the loss with the new `rest`.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.value_and_grad(..., has_aux=True)`, `nnx.merge(graphdef, params, rest, copy=True)`, and `nnx.split(model, nnx.Param, ...)[2]`.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# `def loss_and_rest(params): model = ...; loss = ...; return loss, ...`, then `(loss, rest), grads = ...`, then the two Optax calls of lesson 08.
# </details>

# %% check="make_pure_step" points=3
class Normed(nnx.Module):
    """A linear layer, a batch norm and dropout, for the check."""

    def __init__(self, n, m, rate, key):
        rngs = nnx.Rngs(key)
        self.linear = nnx.Linear(n, m, rngs=rngs)
        self.norm = nnx.BatchNorm(m, momentum=0.8, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.norm(self.linear(x)))


def model_for(norm, rate, key, x, y):
    if norm:
        return Normed(x.shape[1], y.shape[1], rate, key)
    return Net((x.shape[1], 12, y.shape[1]), rate=rate, rngs=nnx.Rngs(key))


def numbers(*trees):
    """The arrays of some states, keys left out."""
    leaves = jax.tree.leaves(trees)
    return [leaf for leaf in leaves if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)]


def pure_steps(make, norm, key, power, rate, settings, x, y):
    optimizer = momentum(*settings)
    graphdef, params, rest = nnx.split(model_for(norm, rate, key, x, y), nnx.Param, ...)
    opt_state, losses, calls = optimizer.init(params), [], []
    step = make(graphdef, power_loss(power, calls), optimizer)
    for _ in range(3):
        params, rest, opt_state, loss = step(params, rest, opt_state, x, y)
        losses.append(loss)
    return *map(numbers, (params, rest, opt_state)), losses, jnp.array(len(calls) <= 2)


def in_place_steps(norm, key, power, rate, settings, x, y, forget=False, keep=False, compiled=True):
    """The same by `nnx.Optimizer`; with `keep` or `forget` one part of the state never changes."""
    x, y = np.float32(x), np.float32(y)
    model = model_for(norm, rate, key, x, y)
    optimizer, losses = nnx.Optimizer(model, momentum(*settings), wrt=nnx.Param), []
    others = nnx.Not(nnx.Param)
    rest, fresh = jax.tree.map(jnp.copy, (nnx.state(model, others), nnx.state(optimizer)))

    @nnx.jit
    def step(model, optimizer):
        loss, grads = nnx.value_and_grad(power_loss(power))(model, x, y)
        optimizer.update(model, grads)
        return loss

    for _ in range(3):
        loss = step(model, optimizer)
        if keep:
            nnx.update(model, jax.tree.map(jnp.copy, rest))
        if forget:
            nnx.update(optimizer, jax.tree.map(jnp.copy, fresh))
        losses.append(loss)
    states = nnx.state(model, nnx.Param), nnx.state(model, others), nnx.state(optimizer)["opt_state"]
    return *map(numbers, states), losses, np.array(compiled)


key, other = jax.random.key(9401), jax.random.key(9402)
mistakes = {
    "the variables in `rest` do not change: the same dropout mask at each step": partial(
        in_place_steps, keep=True
    ),
    "the optimizer state is not carried from step to step": partial(in_place_steps, forget=True),
    "`loss_fn` runs in Python at each step: the step is not compiled once": partial(
        in_place_steps, compiled=False
    ),
}
check_values(
    through(pure_steps, make_pure_step),
    in_place_steps,
    sweep(False, key, 2, 0.0, (0.1, 0.0), "6 3", "6 2", count=1)
    + sweep(False, other, 4, 0.0, (0.02, 0.5), "5 4", "5 3", count=1),
    mistakes=mistakes,
    rtol=1e-3,
    atol=1e-4,
    about="without dropout",
)
check_values(
    through(pure_steps, make_pure_step),
    in_place_steps,
    sweep(False, key, 2, 0.5, (0.1, 0.1), "6 3", "6 2", count=1)
    + sweep(True, other, 2, 0.2, (0.1, 0.0), "7 3", "7 4", count=1),
    mistakes=mistakes,
    rtol=1e-3,
    atol=1e-4,
    about="with dropout, and with batch statistics",
)
### BEGIN HIDDEN TESTS
check_values(
    through(pure_steps, make_pure_step),
    in_place_steps,
    sweep(True, key, 4, 0.0, (0.03, 0.2), "8 2", "8 5", count=1, seed=3)
    + sweep(False, other, 2, 0.4, (0.2, 0.3), "9 5", "9 2", count=1, seed=4, scale=4.0),
    mistakes=mistakes,
    rtol=1e-3,
    atol=1e-4,
    about="other models, rates and optimizers",
)
### END HIDDEN TESTS

# %% [markdown]
# This is a good place for a break.
#
# ## 9.5 Training mode, evaluation mode and batch statistics
#
# In training mode `nnx.BatchNorm` normalises with the mean and the variance of the batch, and updates running averages of both (`nnx.BatchStat`). In evaluation mode it uses the running averages and changes nothing.
#
# **Prediction** · 3 minutes · difficulty 3 of 5
#
# Each of these lines starts with a new `norm = nnx.BatchNorm(3, rngs=nnx.Rngs(0))` in training mode. After which of them has `norm.mean` changed?
#
# | | |
# |---|---|
# | A | `jax.jit(lambda m, x: m(x))(norm, x)` |
# | B | `y, other = jax.jit(lambda m, x: (m(x), m))(norm, x)` |
# | C | `nnx.jit(lambda m, x: m(x))(norm, x)` |
# | D | `norm.eval(); nnx.jit(lambda m, x: m(x))(norm, x)` |

# %% exercise="mean_changes" kind="prediction"
# A string with the letters, in alphabetical order, such as "AD".
### BEGIN SOLUTION
mean_changes = "C"
### END SOLUTION

# %% check="mean_changes" points=1
def find_changes():
    def forward_only(m, x):
        return m(x)

    changed, x = "", jnp.arange(12.0).reshape(4, 3)
    runs = {
        "A": jax.jit(forward_only),
        "B": jax.jit(lambda m, x: (m(x), m)),
        "C": nnx.jit(forward_only),
        "D": lambda m, x: (m.eval(), nnx.jit(forward_only)(m, x)),
    }
    for letter, run in runs.items():
        norm = nnx.BatchNorm(3, rngs=nnx.Rngs(0))
        run(norm, x)
        changed += letter if bool(jnp.any(norm.mean[...] != 0)) else ""
    return changed


check_answer(
    mean_changes,
    find_changes,
    because="Only nnx.jit writes back into `norm`. In B the copy `other` has the new mean.",
    mistakes={
        "BC": "in B the returned copy `other` has the new mean, but `norm` itself has not",
        "CD": "in evaluation mode the running averages are used and not updated",
        "BCD": "in B only the returned copy changes, and in D nothing does",
        "ABC": "under `jax.jit` the module inside is a copy",
    },
)

# %% [markdown]
# ### Running statistics
# **Exercise** · 10 minutes · difficulty 3 of 5
#
# Write a module `RunningNorm(features, *, momentum)` that normalises each feature and has nothing to train.
#
# - *Contents.* `mean` (zeros) and `var` (ones) are `nnx.BatchStat` variables of shape `(features,)`. The attribute `use_running_average` is `False` at first. `train()` and `eval()`, which you inherit, set it.
# - *Training mode.* `norm(x)` is `(x - m) / sqrt(v + 1e-5)`, where `m` and `v` are the mean and the biased variance (`jnp.var`) of `x` over all axes but the last. Each running value becomes `momentum * old + (1 - momentum) * new`.
# - *Evaluation mode.* `m` and `v` are the running values, which do not change.
# - *The check* runs several batches in both modes, with and without `nnx.jit`, and compares outputs, statistics and the gradient with respect to `x`, which flows through `m` and `v`.

# %% exercise="RunningNorm"
class RunningNorm(nnx.Module):
    """Normalises each feature by the batch in training mode, by running statistics in evaluation."""

    def __init__(self, features: int, *, momentum: float):
        ### BEGIN SOLUTION
        self.mean = nnx.BatchStat(jnp.zeros(features))
        self.var = nnx.BatchStat(jnp.ones(features))
        self.momentum = momentum
        self.use_running_average = False

    def __call__(self, x):
        if self.use_running_average:
            m, v = self.mean[...], self.var[...]
        else:
            axes = tuple(range(x.ndim - 1))
            m, v = jnp.mean(x, axes), jnp.var(x, axes)
            keep = self.momentum
            self.mean[...] = keep * self.mean[...] + (1 - keep) * jax.lax.stop_gradient(m)
            self.var[...] = keep * self.var[...] + (1 - keep) * jax.lax.stop_gradient(v)
        return (x - m) / jnp.sqrt(v + 1e-5)
        ### END SOLUTION

# %% [markdown] hints="RunningNorm"
# <details><summary>Hint 1: the idea</summary>
#
# `use_running_average` is a Python bool, so a Python `if` in `__call__` is right. Each mode is compiled on its own.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `self.mean = nnx.BatchStat(jnp.zeros(features))` in `__init__`, and `self.mean[...] = ...` in `__call__`. Without the `[...]` you replace the variable by an array.
# </details>
# <details><summary>Hint 3: the axes</summary>
#
# `tuple(range(x.ndim - 1))` are all axes but the last.
# </details>

# %% check="RunningNorm" points=3
def in_both_modes(RunningNorm, jitted, momentum, batches):
    """The outputs of training, evaluation, training and evaluation, and the statistics."""
    norm = RunningNorm(batches[0].shape[-1], momentum=momentum)
    run = nnx.jit(lambda norm, x: norm(x)) if jitted else lambda norm, x: norm(x)
    outputs = [run(norm, batches[0])]
    norm.eval()
    outputs.append(run(norm, batches[1]))
    norm.train()
    outputs += [run(norm, batches[1]), run(norm, batches[2])]
    norm.eval()
    outputs.append(run(norm, batches[0]))
    statistics = nnx.state(norm, nnx.BatchStat)
    counts = [len(jax.tree.leaves(nnx.state(norm, kind))) for kind in (nnx.Param, nnx.BatchStat)]
    return outputs, statistics["mean"][...], statistics["var"][...], jnp.array(counts)


def by_numpy(jitted, momentum, batches, swap=False, ddof=0, always=False, first=False):
    mean, var = np.zeros(batches[0].shape[-1]), np.ones(batches[0].shape[-1])
    outputs, keep = [], 1 - momentum if swap else momentum
    for i, training in ((0, True), (1, False), (1, True), (2, True), (0, False)):
        x, axes = batches[i], tuple(range(batches[i].ndim - 1))
        m, v = x.mean(axes), x.var(axes)
        old = mean, var
        if training or always:
            mean = keep * mean + (1 - keep) * m
            var = keep * var + (1 - keep) * x.var(axes, ddof=ddof)
        if first:
            m, v = mean, var
        m, v = (m, v) if training else (old if not always else (mean, var))
        outputs.append((x - m) / np.sqrt(v + 1e-5))
    return outputs, mean, var, np.array([0, 2])


def output_in_training(RunningNorm, x, momentum):
    return RunningNorm(x.shape[-1], momentum=momentum)(x)


shapes = ["6 3", "4 3", "5 3"]
mistakes = {
    "momentum weighs the new value, as in PyTorch": partial(by_numpy, swap=True),
    "the running variance is unbiased": partial(by_numpy, ddof=1),
    "the running values are used in training too": partial(by_numpy, first=True),
    "the running values change in evaluation mode": partial(by_numpy, always=True),
}
check_values(
    through(in_both_modes, RunningNorm),
    by_numpy,
    sweep(False, 0.9, shapes, count=1, planted=True)
    + sweep(True, 0.6, ["3 4"] * 3, count=1, seed=1),
    mistakes=mistakes,
    rtol=1e-3,
    atol=1e-4,
    about="outputs and statistics",
)
check_gradients(through(output_in_training, RunningNorm), *sweep("5 3", 0.9, count=1)[0])
### BEGIN HIDDEN TESTS
check_values(
    through(in_both_modes, RunningNorm),
    by_numpy,
    sweep(False, 0.3, ["2 3 4 5", "2 2 5", "7 5"], count=1, seed=3)
    + sweep(True, 0.75, ["9 1", "8 1", "6 1"], count=1, seed=4, scale=0.01),
    mistakes=mistakes,
    rtol=1e-3,
    atol=1e-4,
    about="more batch axes, and small numbers",
)
### END HIDDEN TESTS

# %% [markdown]
# Batches with mean 5 and variance 4, and how your running values approach them:

# %% tags=["raises-exception"]
norm, path = RunningNorm(1, momentum=0.9), []
run = nnx.jit(lambda norm, x: norm(x))
for key in jax.random.split(jax.random.key(0), 60):
    run(norm, 5 + 2 * jax.random.normal(key, (64, 1)))
    path.append((norm.mean[0], norm.var[0]))
plt.figure("Running mean and variance of batch norm")
plt.plot(np.array(path))
plt.axhline(5, color="gray", linestyle=":"), plt.axhline(4, color="gray", linestyle=":")
plt.text(45, 5.2, "mean"), plt.text(45, 3.2, "variance")
plt.xlabel("batch"), plt.ylabel("running value")
plt.show()

# %% [markdown]
# *The running mean rises from 0 to 5 and the running variance from 1 to 4 within about 40 batches.*
#
# > **In PyTorch** `momentum` is the weight of the *new* value: PyTorch's 0.1 is Flax's 0.9. The running variance is unbiased there and biased in Flax.
#
# ## 9.6 Filters: train one layer only
#
# A *filter* selects variables. It can be a class of variables (`nnx.Param`), `...` for all, a function of `(path, variable)`, or a combination: `nnx.All`, `nnx.Any`, `nnx.Not`. `nnx.PathContains("bias")` selects every path with `"bias"` in it.
#
# Here is a model with a batch norm after each hidden layer:

# %%
class NormNet(nnx.Module):
    def __init__(self, sizes, *, rate=0.0, rngs: nnx.Rngs):
        pairs = zip(sizes, sizes[1:])
        self.layers = nnx.List([nnx.Linear(n, m, rngs=rngs) for n, m in pairs])
        self.norms = nnx.List([nnx.BatchNorm(m, rngs=rngs) for m in sizes[1:-1]])
        self.dropout = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x):
        *hidden, last = self.layers
        for layer, norm in zip(hidden, self.norms):
            x = self.dropout(jax.nn.relu(norm(layer(x))))
        return last(x)


net = NormNet((4, 3, 3, 2), rngs=nnx.Rngs(0))
for path, variable in nnx.to_flat_state(nnx.state(net, nnx.Param)):
    print(path, variable.shape)

# %% [markdown]
# To fine-tune a part of a model, give the same filter to the optimizer as `wrt`, and to `nnx.grad` as `argnums=nnx.DiffState(0, filter)`. The optimizer then keeps no state for the frozen variables, and weight decay does not touch them.
#
# ### Fine-tune one layer
# **Exercise** · 10 minutes · difficulty 4 of 5
#
# `make_finetuning(model, loss_fn, optimizer, layer)` returns `(state, step)`: an `nnx.Optimizer` made from the Optax optimizer `optimizer`, and a compiled `step(model, state, x, y)` that returns the loss before the update.
#
# - *Trained.* The kernel and the bias of `model.layers[layer]` only. `layer` is counted from 0.
# - *Edge cases.* All other `nnx.Param`s do not change, with weight decay too, and the optimizer holds no state for them. Other lists in the model have indices as well, such as `model.norms[1]`. Batch statistics are updated as usual.
# - *The check* compares all variables after three steps of SGD with momentum and weight decay, counts the numbers in the optimizer state, and counts the Python runs of `loss_fn`.

# %% exercise="make_finetuning"
def make_finetuning(model: nnx.Module, loss_fn, optimizer, layer: int):
    """`(state, step)` that train `model.layers[layer]` and nothing else."""
    ### BEGIN SOLUTION
    def trainable(path, variable):
        return isinstance(variable, nnx.Param) and path[:2] == ("layers", layer)

    @nnx.jit
    def step(model, state, x, y):
        diff = nnx.DiffState(0, trainable)
        loss, grads = nnx.value_and_grad(loss_fn, argnums=diff)(model, x, y)
        state.update(model, grads)
        return loss

    return nnx.Optimizer(model, optimizer, wrt=trainable), step
    ### END SOLUTION

# %% [markdown] hints="make_finetuning"
# <details><summary>Hint 1: the idea</summary>
#
# Write the filter as a function of `(path, variable)`. The paths were printed above.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `nnx.Optimizer(model, optimizer, wrt=trainable)` and `nnx.value_and_grad(loss_fn, argnums=nnx.DiffState(0, trainable))`. `nnx.PathContains(1)` would also select `model.norms[1]`.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# `def trainable(path, variable): return isinstance(...) and path[:2] == ("layers", layer)`, then the step of 9.2 with `argnums=`, then return both.
# </details>

# %% check="make_finetuning" points=3
def normed(params, scales):
    """A `NormNet` with these layers, and scales and biases that are not 1 and 0."""
    widths = (*(len(layer["w"]) for layer in params), len(params[-1]["b"]))
    net = NormNet(widths, rngs=nnx.Rngs(0))
    for layer, given in zip(net.layers, params):
        layer.kernel[...], layer.bias[...] = given["w"], given["b"]
    for norm, given in zip(net.norms, scales):
        norm.scale[...], norm.bias[...] = given, given / 2
    return net


def finetuned(make, power, settings, layer, params, scales, x, y):
    model, calls = normed(params, scales), []
    state, step = make(model, power_loss(power, calls), momentum(*settings), layer)
    losses = [step(model, state, x, y) for _ in range(3)]
    norms = [[n.scale[...], n.bias[...], n.mean[...], n.var[...]] for n in model.norms]
    held = [leaf.size for leaf in numbers_in(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return as_list(model), norms, losses, jnp.array(sum(held)), jnp.array(len(calls) <= 2)


def numbers_in(state):
    return jax.tree.leaves(nnx.state(state))


def finetuned_by_hand(power, settings, layer, params, scales, x, y, only="layer", compiled=True):
    """The same on plain lists."""
    params, scales, x, y = jax.tree.map(np.float32, (params, scales, x, y))
    norms = [{"scale": s, "bias": s / 2} for s in scales]
    statistics = [[np.zeros_like(s), np.ones_like(s)] for s in scales]

    def loss_of(every):
        layers, norms = every
        h, seen = x, []
        for one, norm in zip(layers[:-1], norms):
            h = h @ one["w"] + one["b"]
            mean, var = h.mean(0), h.var(0)
            seen.append([mean, var])
            h = (h - mean) / jnp.sqrt(var + 1e-5) * norm["scale"] + norm["bias"]
            h = jax.nn.relu(h)
        out = h @ layers[-1]["w"] + layers[-1]["b"]
        return jnp.mean((out - y) ** power), seen

    def label(path, leaf):
        group, index = path[0].idx, path[1].idx
        chosen = {
            "layer": group == 0 and index == layer,
            "index": index == layer,
            "all": True,
            "decay": True,
        }[only]
        return "trained" if chosen else "frozen"

    every, losses = (params, norms), []
    labels = jax.tree.map_with_path(label, every)
    optimizer = optax.partition(
        {"trained": momentum(*settings), "frozen": optax.set_to_zero()}, labels
    )
    opt_state, value_and_grad = optimizer.init(every), jax.jit(jax.value_and_grad(loss_of, has_aux=True))
    for _ in range(3):
        (loss, seen), grads = value_and_grad(every)
        if only == "decay":
            one = grads[0][layer]
            grads = jax.tree.map(np.zeros_like, grads)
            grads[0][layer] = one
        updates, opt_state = optimizer.update(grads, opt_state, every)
        every = jax.tree.map(lambda p, u: p + u, every, updates)
        statistics = jax.tree.map(lambda old, new: 0.99 * old + 0.01 * new, statistics, seen)
        losses.append(loss)
    params, norms = every
    norms = [[n["scale"], n["bias"], *s] for n, s in zip(norms, statistics)]
    trained = [p.size for p, name in zip(*map(jax.tree.leaves, (every, labels))) if name[0] == "t"]
    return params, norms, losses, np.int32(sum(trained)), np.array(compiled)


scales = [uniform("5", 0.5, 1.5), uniform("4", 0.5, 1.5)]
small = stack_of(3, 5, 4, 2)
mistakes = {
    "the batch norm of the same index is trained too": partial(finetuned_by_hand, only="index"),
    "all layers are trained": partial(finetuned_by_hand, only="all"),
    "weight decay shrinks what is frozen": partial(finetuned_by_hand, only="decay"),
    "`loss_fn` runs in Python at each step: the step is not compiled once": partial(
        finetuned_by_hand, compiled=False
    ),
}
check_values(
    through(finetuned, make_finetuning),
    finetuned_by_hand,
    sweep(2, (0.05, 0.5), 1, small, scales, "6 3", "6 2", count=1)
    + sweep(4, (0.02, 0.0), 2, small, scales, "7 3", "7 2", count=1, seed=1),
    mistakes=mistakes,
    rtol=2e-3,
    atol=2e-4,
)
### BEGIN HIDDEN TESTS
check_values(
    through(finetuned, make_finetuning),
    finetuned_by_hand,
    sweep(2, (0.03, 0.2), 0, small, scales, "8 3", "8 2", count=1, seed=2)
    + sweep(2, (0.05, 0.9), 0, stack_of(4, 3), [], "5 4", "5 3", count=1, seed=3),
    mistakes=mistakes,
    rtol=2e-3,
    atol=2e-4,
    about="the first layer, and a single one",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 9.7 Ensembles and deep stacks: `nnx.vmap` and `nnx.scan`
#
# `nnx.vmap` and `nnx.scan` are `jax.vmap` and `jax.lax.scan` for functions of modules. Under `nnx.vmap`, a function that returns a module returns one module whose arrays have a new first axis. Use it for an ensemble, or for the layers of a deep network.
#
# Each member needs its own key. The decorator `nnx.split_rngs(splits=5)` splits every random stream in the arguments of the function into five, and `nnx.vmap` maps over these. A fixed `nnx.Rngs(0)` inside the mapped function makes five equal members.
#
# ### An ensemble
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `make_ensemble(make, key, members)` returns a module with `members` independent models. `make(rngs)` creates one.
#
# - *Returns.* One module of the class that `make` returns. Each array in it has a new first axis of size `members`, the random state included.
# - *Edge cases.* One member. Models without random numbers.
# - *The check* runs the ensemble with `nnx.vmap(lambda model, x: model(x), in_axes=(0, None))`. No two members share initial weights or dropout masks, and no key is used twice.

# %% exercise="make_ensemble"
def make_ensemble(make, key: Key[Array, ""], members: int) -> nnx.Module:
    """A module that holds `members` models, stacked along the first axis of every array."""
    ### BEGIN SOLUTION
    @nnx.split_rngs(splits=members)
    @nnx.vmap(in_axes=0, out_axes=0)
    def make_all(rngs):
        return make(rngs)

    return make_all(nnx.Rngs(key))
    ### END SOLUTION

# %% [markdown] hints="make_ensemble"
# <details><summary>Hint 1: the idea</summary>
#
# Map `make` over split random streams. The streams come from `nnx.Rngs(key)`.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# Two decorators, one above the other: `@nnx.split_rngs(splits=members)` and `@nnx.vmap(in_axes=0, out_axes=0)`.
# </details>

# %% check="make_ensemble" points=3
class Plain(nnx.Module):
    """A model whose weights are not random: 1, 2, 3, ..."""

    def __init__(self, n, rngs):
        self.weight = nnx.Param(jnp.arange(1.0, n + 1))

    def __call__(self, x):
        return x * self.weight[...]


forward_all = nnx.vmap(lambda model, x: model(x), in_axes=(0, None))


def rows_of_kernels(make_ensemble, key, sizes, members):
    ensemble = make_ensemble(lambda rngs: Net(sizes, rngs=rngs), key, members)
    return jnp.concatenate([l.kernel[...].reshape(members, -1) for l in ensemble.layers], axis=1)


def rows_of_masks(make_ensemble, key, rate, members, x):
    ensemble = make_ensemble(lambda rngs: nnx.Dropout(rate, rngs=rngs), key, members)
    return jnp.concatenate([forward_all(ensemble, x) for _ in range(2)])


def shapes_in_ensemble(make_ensemble, key, sizes, members, x):
    """The sizes of all arrays, and the outputs of plain members."""
    ensemble = make_ensemble(lambda rngs: Net(sizes, rngs=rngs), key, members)
    plain = make_ensemble(lambda rngs: Plain(x.shape[-1], rngs), key, members)
    shapes = [jnp.array(leaf.shape) for leaf in jax.tree.leaves(nnx.state(ensemble))]
    return shapes, forward_all(plain, x), forward_all(ensemble, jnp.ones((3, sizes[0]))).ndim


def shapes_by_hand(key, sizes, members, x):
    model = Net(sizes, rngs=nnx.Rngs(0))
    shapes = [np.array((members, *leaf.shape)) for leaf in jax.tree.leaves(nnx.state(model))]
    return shapes, np.broadcast_to(x * np.arange(1, x.shape[-1] + 1), (members, *x.shape)), 3


key, other = jax.random.key(9701), jax.random.key(9702)
check_values(
    through(shapes_in_ensemble, make_ensemble),
    shapes_by_hand,
    sweep(key, (3, 4, 2), 5, "2 3", count=1) + sweep(other, (4, 3), 1, "4", count=1),
    about="the sizes of all arrays",
)
check_keys(through(rows_of_kernels, make_ensemble), key, (4, 6, 5), 4, rows=True)
### BEGIN HIDDEN TESTS
x = np.linspace(1, 2, 60, dtype=np.float32)
check_keys(through(rows_of_masks, make_ensemble), other, 0.5, 3, x, rows=True)
### END HIDDEN TESTS

# %% [markdown]
# Twelve small networks, all fitted to the same 16 points with one `nnx.vmap`:

# %% tags=["raises-exception"]
ensemble = make_ensemble(lambda rngs: Net((1, 32, 32, 1), rngs=rngs), jax.random.key(1), 12)
x = jnp.linspace(-1, 1, 16)[:, None]
y = jnp.sin(4 * x)


@nnx.jit
@nnx.vmap(in_axes=(0, None, None), out_axes=0)
def fit_step(model, x, y):
    loss, grads = nnx.value_and_grad(lambda m: jnp.mean((m(x) - y) ** 2))(model)
    params = nnx.state(model, nnx.Param)
    nnx.update(model, jax.tree.map(lambda p, g: p - 0.1 * g, params, grads))
    return loss


for _ in range(300):
    fit_step(ensemble, x, y)
wide = jnp.linspace(-2, 2, 200)[:, None]
lines = nnx.vmap(lambda model, x: model(x), in_axes=(0, None))(ensemble, wide)
plt.figure("Predictions of an ensemble")
plt.plot(wide, lines[..., 0].T, color="C0", alpha=0.4)
plt.plot(x, y, "o", color="C1")
plt.ylim(-3, 3), plt.xlabel("x"), plt.ylabel("prediction")
plt.show()

# %% [markdown]
# *Twelve curves. Between -1 and 1, where the points are, they nearly coincide. Outside they spread apart.*
#
# A deep stack of layers is the same kind of module, but the output of one layer is the input of the next. With a Python loop the program, and the time to compile it, grows with each layer. `nnx.scan` compiles the layer once. `nnx.Carry` marks what is carried from layer to layer.
#
# ### A deep stack
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `apply_blocks(blocks, x)` applies a stack of blocks to `x`, one after the other. `blocks` is one module whose arrays have a first axis of size depth, as from `make_ensemble`. A single `block(x)` has the shape of `x`.
#
# - *Returns.* The output of the last block.
# - *Edge cases.* Any depth, class of block and shape of `x`.
# - *The check* compares with a loop in NumPy. It requires a `scan`, and a program of the same size for every depth.

# %% exercise="apply_blocks"
def apply_blocks(blocks: nnx.Module, x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The output of all blocks, applied one after the other in one scan."""
    ### BEGIN SOLUTION
    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
    def run(x, block):
        return block(x)

    return run(x, blocks)
    ### END SOLUTION

# %% [markdown] hints="apply_blocks"
# <details><summary>Hint 1: the idea</summary>
#
# The carry is `x`. The blocks are what is scanned over, along their first axis.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `@nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)` above an inner function of `(x, block)`.
# </details>

# %% check="apply_blocks" points=2
class Residual(nnx.Module):
    def __init__(self, w, b):
        self.w, self.b = nnx.Param(w), nnx.Param(b)

    def __call__(self, x):
        return x + jax.nn.relu(x @ self.w[...] + self.b[...])


class Tanh(Residual):
    def __call__(self, x):
        return jnp.tanh(x @ self.w[...]) * self.b[...]


def stacked(apply_blocks, tanh, w, b, x):
    return apply_blocks((Tanh if tanh else Residual)(w, b), x)


def one_after_the_other(tanh, w, b, x, order=1, count=None):
    for w_i, b_i in list(zip(w, b))[::order][:count]:
        x = np.tanh(x @ w_i) * b_i if tanh else x + np.maximum(x @ w_i + b_i, 0)
    return x


def program_of(apply_blocks, w, b, x):
    return apply_blocks(Residual(w, b), x)


deep = sweep("5 4 4", "5 4", "3 4", count=1)[0]
check_values(
    through(stacked, apply_blocks),
    one_after_the_other,
    sweep(False, "3 4 4", "3 4", "5 4", count=1, planted=True)
    + sweep(True, "6 3 3", "6 3", "2 5 3", count=1),
    mistakes={
        "the blocks are applied from the last to the first": partial(one_after_the_other, order=-1),
        "only the first block is applied": partial(one_after_the_other, count=1),
        "the last block is left out": partial(one_after_the_other, count=-1),
    },
    rtol=1e-3,
)
check_primitives(
    through(program_of, apply_blocks),
    *deep,
    requires=["scan"],
    same_size_for=sweep("2 4 4", "2 4", "3 4", count=1) + sweep("9 4 4", "9 4", "3 4", count=1),
)
### BEGIN HIDDEN TESTS
check_values(
    through(stacked, apply_blocks),
    one_after_the_other,
    sweep(True, "1 2 2", "1 2", "2", count=1, seed=2)
    + sweep(True, "4 4 4", "4 4", "4 4", count=1, seed=3),
    rtol=1e-3,
    about="one block, and sizes that are all equal",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 9.8 Reading Linen
#
# Linen was Flax's API before NNX. A Linen module holds no arrays. It is a description, and its parameters are in a nested dictionary:

# %%
class LinenNet(nn.Module):
    features: tuple
    rate: float = 0.5

    @nn.compact
    def __call__(self, x, train):
        for n in self.features[:-1]:
            x = nn.Dense(n)(x)
            x = nn.BatchNorm(use_running_average=not train)(x)
            x = nn.relu(x)
            x = nn.Dropout(self.rate, deterministic=not train)(x)
        return nn.Dense(self.features[-1])(x)


@partial(jax.jit, static_argnums=0)
def init_linen(model, key, x):
    return model.init(key, x, train=False)


linen_model = LinenNet((5, 4, 3))
variables = init_linen(linen_model, jax.random.key(0), jnp.ones((6, 7)))
print(jax.tree.map(jnp.shape, variables["batch_stats"]))

# %% [markdown]
# - `init(key, x, ...)` runs the module once and returns the *variables*: a dictionary of *collections*, here `"params"` and `"batch_stats"`. The shapes of the layers come from `x`.
# - `apply(variables, x, ...)` is the pure function that runs the model. Training or evaluation is an argument of `__call__`.
# - `@nn.compact` lets `__call__` create the layers. They are named by class and number, in the order in which they are created, with a count for each class.
# - `mutable=["batch_stats"]` allows a collection to change. `apply` then returns `(output, changed)`, where `changed` holds the new collections. Without it, batch norm in training mode raises `ModifyScopeVariableError`.
# - `rngs={"dropout": key}` gives the random key. The same key gives the same mask.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# ```python
# @nn.compact
# def __call__(self, x):
#     y = nn.Dense(8)(x)
#     x = nn.LayerNorm()(y)
#     x = nn.Dense(8)(x)
#     return nn.Dense(2)(x) + nn.Dense(2)(y)
# ```
#
# Under which name in `variables["params"]` is the layer `nn.Dense(2)` that is applied to `y`?

# %% exercise="layer_name" kind="prediction"
# A string such as "Conv_7".
### BEGIN SOLUTION
layer_name = "Dense_3"
### END SOLUTION

# %% check="layer_name" points=1
def name_of_the_last():
    class Example(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.Dense(8)(x)
            x = nn.LayerNorm()(y)
            x = nn.Dense(8)(x)
            return nn.Dense(2)(x) + nn.Dense(2)(y)

    names = Example().init(jax.random.key(0), jnp.ones((1, 3)))["params"]
    return max(name for name in names if name.startswith("Dense"))


check_answer(
    layer_name,
    name_of_the_last,
    because="It is the fourth Dense that is created, and the count starts at 0. Each class has a count of its own.",
    mistakes={
        "Dense_4": "the count starts at 0, and `LayerNorm` is counted apart",
        "Dense_2": "that is the one applied to `x`, which is created before it",
        "Dense_1": "the names count all layers of a class, not those that are applied to `y`",
    },
)

# %% [markdown]
# ### A training step in Linen
# **Exercise** · 10 minutes · difficulty 4 of 5
#
# `make_linen_step(model, optimizer)` returns a function `step(params, batch_stats, opt_state, key, x, y)` compiled with `jax.jit`. `model` is a Linen module such as `LinenNet`, called with `(x, train=True)`.
#
# - *Returns.* `(params, batch_stats, opt_state, loss)` after one step. The loss is the mean of `optax.softmax_cross_entropy_with_integer_labels`, before the update.
# - *Edge cases.* `key` is the dropout key of this step. The optimizer may need the parameters.
# - *The check* compares three steps without dropout with plain functions. With dropout it tests that the result depends on `key`. It counts how often the model runs in Python.

# %% exercise="make_linen_step"
def make_linen_step(model: nn.Module, optimizer: optax.GradientTransformation):
    """A jitted step for a Linen model with batch statistics and dropout."""
    ### BEGIN SOLUTION
    @jax.jit
    def step(params, batch_stats, opt_state, key, x, y):
        def loss_and_stats(params):
            logits, changed = model.apply(
                {"params": params, "batch_stats": batch_stats},
                x,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
            return losses.mean(), changed["batch_stats"]

        (loss, stats), grads = jax.value_and_grad(loss_and_stats, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), stats, opt_state, loss

    return step
    ### END SOLUTION

# %% [markdown] hints="make_linen_step"
# <details><summary>Hint 1: the idea</summary>
#
# It is the pure step of 9.4. The new `batch_stats` take the place of `rest` and leave the loss function as auxiliary output.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `logits, changed = model.apply({"params": params, "batch_stats": batch_stats}, x, train=True, mutable=["batch_stats"], rngs={"dropout": key})`
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# An inner `loss_and_stats(params)` that returns `(loss, changed["batch_stats"])`, then `jax.value_and_grad(..., has_aux=True)`, then the two Optax calls.
# </details>

# %% check="make_linen_step" points=3
def linen_start(features, key, x):
    """Initial parameters, and statistics that are not zeros and ones."""
    variables = init_linen(LinenNet(features, 0.0), key, x)
    return variables["params"], jax.tree.map(lambda s: s + 0.25, variables["batch_stats"])


def linen_steps(make, features, settings, key, x, y):
    """Three steps, and whether the model ran at most twice in Python."""
    runs = []

    class Noted(LinenNet):
        def __call__(self, x, train):
            runs.append(1)
            return super().__call__(x, train)

    model, optimizer = Noted(features, 0.0), momentum(*settings)
    params, stats = linen_start(features, key, x)
    step, opt_state, losses = make(model, optimizer), optimizer.init(params), []
    runs.clear()
    for _ in range(3):
        params, stats, opt_state, loss = step(params, stats, opt_state, key, x, y)
        losses.append(loss)
    trace = optax.tree.get(opt_state, "trace")
    return params, stats, losses, trace, jnp.array(len(runs) <= 2)


def linen_by_hand(
    features, settings, key, x, y,
    keep=False, forget=False, total=False, evaluate=False, compiled=True,
):  # fmt: skip
    """The same without Flax's `apply`."""
    x = np.float32(x)
    params, stats = linen_start(features, key, x)

    def loss_of(params, stats):
        h, seen = x, {}
        for i in range(len(features) - 1):
            dense, norm, name = params[f"Dense_{i}"], params[f"BatchNorm_{i}"], f"BatchNorm_{i}"
            h = h @ dense["kernel"] + dense["bias"]
            mean, var = h.mean(0), h.var(0)
            seen[name] = {
                k: 0.99 * stats[name][k] + 0.01 * v for k, v in (("mean", mean), ("var", var))
            }
            if evaluate:
                mean, var, seen[name] = stats[name]["mean"], stats[name]["var"], stats[name]
            h = (h - mean) / jnp.sqrt(var + 1e-5) * norm["scale"] + norm["bias"]
            h = jax.nn.relu(h)
        last = params[f"Dense_{len(features) - 1}"]
        log_p = jax.nn.log_softmax(h @ last["kernel"] + last["bias"])
        losses = -log_p[np.arange(len(y)), y]
        return losses.sum() if total else losses.mean(), seen

    optimizer, losses = momentum(*settings), []
    opt_state, value_and_grad = optimizer.init(params), jax.jit(jax.value_and_grad(loss_of, has_aux=True))
    for _ in range(3):
        (loss, seen), grads = value_and_grad(params, stats)
        updates, new_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        stats, opt_state = stats if keep else seen, opt_state if forget else new_state
        losses.append(loss)
    return params, stats, losses, optax.tree.get(opt_state, "trace"), np.array(compiled)


def linen_losses(make, key, features, rate, x, y):
    """The losses of two steps at a learning rate of 0, with two keys."""
    model, optimizer = LinenNet(features, rate), momentum(0.0, 0.0)
    params, stats = linen_start(features, jax.random.key(0), x)
    step, opt_state = make(model, optimizer), optimizer.init(params)
    return jnp.stack([step(params, stats, opt_state, k, x, y)[3] for k in jax.random.split(key)])


key, other = jax.random.key(9801), jax.random.key(9802)
mistakes = {
    "the batch statistics do not change": partial(linen_by_hand, keep=True),
    "the optimizer state is not carried from step to step": partial(linen_by_hand, forget=True),
    "the loss is summed over the batch": partial(linen_by_hand, total=True),
    "the model runs in evaluation mode": partial(linen_by_hand, evaluate=True),
    "the model runs in Python at each step: the step is not compiled": partial(
        linen_by_hand, compiled=False
    ),
}
some = sweep((5, 4, 3), (0.1, 0.0), key, "6 7", integers("6", 0, 3), count=1)
check_values(
    through(linen_steps, make_linen_step),
    linen_by_hand,
    some + sweep((6, 4), (0.03, 0.5), other, "9 3", integers("9", 0, 4), count=1, seed=1),
    mistakes=mistakes,
    rtol=2e-3,
    atol=2e-4,
    about="three steps without dropout",
)
check_keys(
    through(linen_losses, make_linen_step), key, (30, 3), 0.5, *some[0][3:], about="with dropout"
)
### BEGIN HIDDEN TESTS
check_values(
    through(linen_steps, make_linen_step),
    linen_by_hand,
    sweep((3, 3, 3, 3), (0.05, 0.3), other, "7 4", integers("7", 0, 3), count=1, seed=5),
    mistakes=mistakes,
    rtol=2e-3,
    atol=2e-4,
    about="four layers",
)
### END HIDDEN TESTS

# %% [markdown]
# ### Port a Linen model to NNX
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# `load_linen(model, variables)` copies the variables of a `LinenNet` into a `NormNet` (section 9.6) of the same sizes, in place.
#
# - *Copied.* `Dense_i` has `"kernel"` and `"bias"` and belongs to `model.layers[i]`. `BatchNorm_i` has `"scale"` and `"bias"` in `"params"`, `"mean"` and `"var"` in `"batch_stats"`, and belongs to `model.norms[i]`.
# - *Edge cases.* More than ten layers. A model of one layer has no batch norm, and then `variables` has no `"batch_stats"`. All variables keep their classes.
# - *The check* compares the outputs of both models in evaluation mode, and counts the `nnx.Param`s and `nnx.BatchStat`s.

# %% exercise="load_linen"
def load_linen(model: nnx.Module, variables: dict) -> None:
    """Write the parameters and statistics of a `LinenNet` into a `NormNet`."""
    ### BEGIN SOLUTION
    params, stats = variables["params"], variables.get("batch_stats", {})
    for i, layer in enumerate(model.layers):
        layer.kernel[...] = params[f"Dense_{i}"]["kernel"]
        layer.bias[...] = params[f"Dense_{i}"]["bias"]
    for i, norm in enumerate(model.norms):
        norm.scale[...] = params[f"BatchNorm_{i}"]["scale"]
        norm.bias[...] = params[f"BatchNorm_{i}"]["bias"]
        norm.mean[...] = stats[f"BatchNorm_{i}"]["mean"]
        norm.var[...] = stats[f"BatchNorm_{i}"]["var"]
    ### END SOLUTION

# %% [markdown] hints="load_linen"
# <details><summary>Hint 1: the idea</summary>
#
# Two loops, one over `model.layers` and one over `model.norms`. Build each name from the index: sorted by name, `"Dense_10"` comes before `"Dense_2"`.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `layer.kernel[...] = params[f"Dense_{i}"]["kernel"]`, and `variables.get("batch_stats", {})`.
# </details>

# %% check="load_linen" points=3
def linen_variables(layers, norms):
    """The dictionary that a `LinenNet` with these arrays has."""
    dense = {
        f"Dense_{i}": {"kernel": layer["w"], "bias": layer["b"]} for i, layer in enumerate(layers)
    }
    scales = {
        f"BatchNorm_{i}": {"scale": n["scale"], "bias": n["bias"]} for i, n in enumerate(norms)
    }
    stats = {f"BatchNorm_{i}": {"mean": n["mean"], "var": n["var"]} for i, n in enumerate(norms)}
    return {"params": dense | scales} | ({"batch_stats": stats} if norms else {})


def ported(load_linen, layers, norms, x):
    """The outputs in evaluation mode, and how many variables of each class there are."""
    sizes = (*(len(layer["w"]) for layer in layers), len(layers[-1]["b"]))
    model = NormNet(sizes, rngs=nnx.Rngs(0))
    load_linen(model, linen_variables(layers, norms))
    model.eval()
    kinds = (nnx.Param, nnx.BatchStat)
    counts = [len(jax.tree.leaves(nnx.state(model, kind))) for kind in kinds]
    return model(x), jnp.array(counts)


def ported_by_hand(layers, norms, x, change=lambda layers, norms: (layers, norms)):
    counts = np.array([2 * len(layers) + 2 * len(norms), 2 * len(norms)])
    layers, norms = change(layers, norms)
    for layer, norm in zip(layers, norms):
        x = (x @ layer["w"] + layer["b"] - norm["mean"]) / np.sqrt(norm["var"] + 1e-5)
        x = np.maximum(x * norm["scale"] + norm["bias"], 0)
    return x @ layers[-1]["w"] + layers[-1]["b"], counts


def without(*names):
    """Leaves out some arrays of the batch norms, which then have their initial values."""

    def change(layers, norms):
        plain = {"mean": 0.0, "var": 1.0, "scale": 1.0, "bias": 0.0}
        return layers, [
            n | {k: np.full_like(n[k], plain[k]) for k in names} for n in norms
        ]

    return partial(ported_by_hand, change=change)


def by_name(layers, norms):
    order = [int(name) for name in sorted(map(str, range(len(layers))))]
    return [layers[i] for i in order], norms


def norm_of(n):
    return {
        "scale": uniform(f"{n}", 0.5, 1.5),
        "bias": f"{n}",
        "mean": f"{n}",
        "var": uniform(f"{n}", 0.5, 2.0),
    }


mistakes = {
    "the running statistics are not copied": without("mean", "var"),
    "the scales and biases of the batch norms are not copied": without("scale", "bias"),
    "the layers are in the order of their names: Dense_10 before Dense_2": partial(
        ported_by_hand, change=by_name
    ),
}
check_values(
    through(ported, load_linen),
    ported_by_hand,
    sweep(stack_of(4, 6, 5, 3), [norm_of(6), norm_of(5)], "7 4", count=1)
    + sweep(stack_of(3, 3, 3), [norm_of(3)], "5 3", count=1),
    mistakes=mistakes,
    rtol=1e-3,
    atol=1e-4,
)
### BEGIN HIDDEN TESTS
check_values(
    through(ported, load_linen),
    ported_by_hand,
    sweep(stack_of(*[4] * 13), [norm_of(4)] * 11, "3 4", count=1, seed=2)
    + sweep(stack_of(3, 2), [], "4 3", count=1, seed=3),
    mistakes=mistakes,
    rtol=5e-3,
    atol=1e-3,
    about="twelve layers, and one",
)
### END HIDDEN TESTS

# %% [markdown]
# The Linen model from above, and your port:

# %% tags=["raises-exception"]
port = NormNet((7, 5, 4, 3), rngs=nnx.Rngs(0))
load_linen(port, variables)
port.eval()
x = jax.random.normal(jax.random.key(1), (6, 7))
print(jnp.array_equal(port(x), linen_model.apply(variables, x, train=False)))

# %% [markdown]
# ## What to remember
#
# 1. A module is a Python object that holds its variables, and a pytree. Write variables with `variable[...] = value`.
# 2. `nnx.jit` keeps the changes to a module that is an argument. `jax.jit` loses them silently, and then dropout masks and batch statistics never change.
# 3. Under plain `jax.jit`, split the model, merge it inside, and return all that changed, `rest` included.
# 4. A filter selects what is trained. Give it to `nnx.Optimizer(wrt=...)` and to `nnx.DiffState`.
# 5. In Linen the parameters are outside: `init` creates them, `apply` takes them, `mutable` returns what changes, `rngs` gives the keys.
#
# ## Further reading
#
# - [Flax NNX basics](https://flax.readthedocs.io/en/latest/nnx_basics.html), and [the functional API](https://flax.readthedocs.io/en/latest/guides/jax_and_nnx_transforms.html) that mixes NNX with plain JAX transformations.
# - [Filters](https://flax.readthedocs.io/en/latest/guides/filters_guide.html) and [lifted transformations](https://flax.readthedocs.io/en/latest/guides/transforms.html).
# - [Linen documentation](https://flax-linen.readthedocs.io/) and [from Linen to NNX](https://flax.readthedocs.io/en/latest/migrating/linen_to_nnx.html).
# - Gal and Ghahramani, [Dropout as a Bayesian approximation](https://arxiv.org/abs/1506.02142) (2016). Ioffe and Szegedy, [Batch normalization](https://arxiv.org/abs/1502.03167) (2015).
#
# ## Next
#
# Lesson 08 trained this network with plain functions. Lesson 10 builds it once more in Equinox, where a module is a pytree that never changes.
