# %% [markdown]
# # 8 · MNIST: train a network with Optax
#
# You train a network of 235,146 parameters on handwritten digits, to an accuracy of more than 97 %, and then change the training. After this lesson you can
#
# - write a training step for any loss and Optax optimizer, and compile an epoch as one `scan`;
# - build an optimizer from parts: clipping, Adam, weight decay and a learning-rate schedule;
# - accumulate gradients, average parameters, and freeze layers;
# - share the training step among devices;
# - find images with large gradients, and construct adversarial images;
# - choose a model on a validation set, and look at the test set once.
#
# About 170 minutes for reading, exercises and waiting. There is a good place for a break after 8.6. You need lessons 01 to 07.

# %%
import time
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, Key

from graders import (
    check_answer,
    check_collectives,
    check_distribution,
    check_keys,
    check_primitives,
    check_shape,
    check_traces,
    check_training,
    check_values,
    integers,
    lesson_devices,
    load_mnist,
    result_of,
    sweep,
    through,
    uniform,
)

devices = lesson_devices(4)

# %% [markdown]
# ## 8.0 Recall
#
# Three questions, one point each. Answer before you run anything.
#
# **Recall** · 1 minute · difficulty 2 of 5
#
# In the body of a `jax.shard_map`, `params` are replicated, and `loss(params, x, y)` is the mean over this device's part of the batch. Which line computes the gradient of the mean over the *whole* batch?
#
# - "a": `jax.grad(loss)(params, x, y)`
# - "b": `jax.grad(lambda p: lax.pmean(loss(p, x, y), "data"))(params)`
# - "c": `lax.pmean(jax.grad(loss)(params, x, y), "data")`

# %% exercise="replicated_gradient" kind="recall"
# "a", "b" or "c".
### BEGIN SOLUTION
replicated_gradient = "b"
### END SOLUTION

# %% check="replicated_gradient" points=1
check_answer(
    replicated_gradient,
    "b",
    because="Gradients of replicated parameters are summed, so average the loss first: lesson 07.",
    mistakes={
        "a": "this is the sum of the devices' gradients, and nothing divides it by their number",
        "c": "the gradients are already summed, and the mean of equal numbers changes nothing",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# `jax.vmap(jax.grad(loss), (None, 0, 0))(params, x, y)` computes a gradient for each of 128 images. `params` has 235,146 float32 numbers. How many megabytes (of 1,000,000 bytes) does the result take, rounded?

# %% exercise="stacked_gradients" kind="recall"
# An integer.
### BEGIN SOLUTION
stacked_gradients = 120
### END SOLUTION

# %% check="stacked_gradients" points=1
check_answer(
    stacked_gradients,
    round(128 * 235_146 * 4 / 1_000_000),
    because="128 gradients, each of the size of the parameters, with four bytes a number.",
    mistakes={
        1: "that is one gradient. There is one for each of the 128 images",
        30: "that is the number of millions of numbers. Each float32 has four bytes",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# `keys = jax.random.split(jax.random.key(0), 10)`. In `jax.lax.scan(body, carry, keys)`, what is the shape of the key that `body` receives?

# %% exercise="split_shape" kind="recall"
# A tuple of integers.
### BEGIN SOLUTION
split_shape = ()
### END SOLUTION

# %% check="split_shape" points=1
def shape_in_the_body():
    shapes = []
    keys = jax.random.split(jax.random.key(0), 10)
    jax.lax.scan(lambda carry, key: (carry, shapes.append(key.shape)), 0, keys)
    return shapes[0]


check_answer(
    split_shape,
    shape_in_the_body,
    because="`scan` passes one element of `keys` at a time, and a typed key is a scalar.",
    mistakes={
        (10,): "that is the shape of `keys`. `scan` passes one element at a time",
        (2,): "legacy keys show their two words as an axis. A typed key has shape ()",
        (1,): "`scan` removes the axis that it scans over",
    },
)

# %% [markdown]
# ## 8.1 Data, forward pass and loss
#
# MNIST has 60,000 training images and 10,000 test images. The last 5,000 training images become the *validation set*, for all decisions about the training. The test set says how good the final network is on new images. You look at it once, at the end.

# %%
mnist = load_mnist()
x_train, x_valid, x_test = (
    jnp.asarray(pixels, jnp.float32).reshape(-1, 784) / 255
    for pixels in (mnist.x_train[:55_000], mnist.x_train[55_000:], mnist.x_test)
)
y_train, y_valid, y_test = map(
    jnp.asarray, (mnist.y_train[:55_000], mnist.y_train[55_000:], mnist.y_test)
)
print(mnist.x_train.shape, mnist.x_train.dtype)
print("train", jax.typeof(x_train), jax.typeof(y_train), "valid", jax.typeof(x_valid))


def show(images, titles, columns=8):
    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(9, 1.4 * rows), squeeze=False)
    figure.set_label("Images: " + ", ".join(titles))
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles):
        axis.imshow(np.reshape(image, (28, 28)), cmap="gray_r", vmin=0, vmax=1)
        axis.set_title(title, fontsize=10)
    plt.tight_layout()
    plt.show()


show(mnist.x_train[:16] / 255, [f"label {digit}" for digit in mnist.y_train[:16]])

# %% [markdown]
# *Sixteen handwritten digits, dark on white, each with its label above.*
#
# The file contains bytes, so convert before you calculate: `jnp.uint8(200) + jnp.uint8(100)` is 44, without a warning.
#
# The network has 784 inputs, hidden layers of 256 and 128 units, and 10 outputs. A layer is `{"w": ..., "b": ...}`, and `params` is a list of layers, as from `init_mlp` in lesson 05.
#
# > **In PyTorch**, `nn.Linear` keeps its weight as (outputs, inputs). Here `w` is (inputs, outputs), and a layer computes `x @ w + b`.
#
# ### Forward pass of an MLP of any depth
# **Exercise** · 5 minutes · difficulty 2 of 5
#
# `mlp_forward(params, x)` returns the logits, with a ReLU after every layer but the last.
#
# `params` has one or more layers. `x` is one image, or has any number of batch axes before the axis of the features.
#
# The check compares values.

# %% exercise="mlp_forward"
def mlp_forward(
    params: list[dict], x: Float[Array, "*batch features"]
) -> Float[Array, "*batch classes"]:
    """The logits, with a ReLU after every layer but the last."""
    ### BEGIN SOLUTION
    *hidden, last = params
    for layer in hidden:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ last["w"] + last["b"]
    ### END SOLUTION

# %% [markdown] hints="mlp_forward"
# <details><summary>Hint 1: the idea</summary>
#
# Use a Python loop over the list. It runs while tracing, once for each layer, and the layers may have different shapes.
# </details>
# <details><summary>Hint 2: the axes</summary>
#
# What does `x @ w` do if `x` has one axis, or three?
# </details>
# <details><summary>Hint 3: the code</summary>
#
# Take the last layer off with `*hidden, last = params`. Loop over `hidden` with `x = jax.nn.relu(x @ layer["w"] + layer["b"])`, and return `x @ last["w"] + last["b"]`.
# </details>

# %% check="mlp_forward" points=2
def layer_by_layer(params, x, until=-1):
    for i, layer in enumerate(params):
        x = x @ layer["w"] + layer["b"]
        x = np.maximum(x, 0) if i < len(params) + until else x
    return x


def stack_of(*sizes):
    return [{"w": f"{n} {m}", "b": f"{m}"} for n, m in zip(sizes, sizes[1:])]


check_values(
    mlp_forward,
    layer_by_layer,
    sweep(stack_of(4, 6, 5, 3), "7 4", count=1, planted=True)
    + sweep(stack_of(4, 3), "7 4", count=1),
    mistakes={
        "the logits go through a ReLU too": lambda params, x: layer_by_layer(params, x, until=0),
        "there is no ReLU at all": lambda params, x: layer_by_layer(params, x, until=-9),
    },
    about="three layers, and one",
)
check_values(mlp_forward, layer_by_layer, sweep(stack_of(4, 6, 3), "4", count=1), about="one image")
### BEGIN HIDDEN TESTS
check_values(
    mlp_forward,
    layer_by_layer,
    sweep(stack_of(3, 4, 4, 4, 4, 2), "2 1 3", count=1, seed=5)
    + sweep(stack_of(3, 5, 2), "1 3", count=1, seed=6),
    about="five layers and more axes, and a batch of one",
)
### END HIDDEN TESTS

# %% [markdown]
# Softmax turns the ten logits into probabilities. The loss of an image is minus the logarithm of the probability of its true digit.
#
# **Prediction** · 1 minute · difficulty 2 of 5
#
# A network gives all ten digits the same logit. What is its mean loss, to one decimal?

# %% exercise="knows_nothing" kind="prediction"
# A number such as 1.5.
### BEGIN SOLUTION
knows_nothing = 2.3
### END SOLUTION

# %% check="knows_nothing" points=1
check_answer(
    knows_nothing,
    lambda: round(float(-jax.nn.log_softmax(jnp.zeros(10))[0]), 1),
    because="-log(1/10) = log 10 = 2.303. If the first loss is far above, the initialisation is bad.",
    mistakes={
        1.0: "that is the logarithm to base 10. The loss uses the natural logarithm",
        0.1: "that is the probability. The loss is minus its logarithm",
        0.9: "that is the share of errors. The loss is minus the logarithm of 1/10",
    },
)

# %% [markdown]
# ### Cross entropy from logits
# **Exercise** · 4 minutes · difficulty 2 of 5
#
# `cross_entropy(logits, y)` returns the mean of $-\log \mathrm{softmax}(\text{logits})_y$ over the batch, a scalar.
#
# Logits may be as large as 1000, and there may be any number of classes.
#
# The check compares values.

# %% exercise="cross_entropy"
def cross_entropy(
    logits: Float[Array, "batch classes"], y: Int[Array, "batch"]
) -> Float[Array, ""]:
    """Mean over the batch of minus the log-probability of the true class."""
    ### BEGIN SOLUTION
    log_p = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1))
    ### END SOLUTION

# %% [markdown] hints="cross_entropy"
# <details><summary>Hint 1: the idea</summary>
#
# `jax.nn.log_softmax` returns a matrix. You need one entry of each row, the one at `y`.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jnp.take_along_axis` with `y[:, None]`, or an index with `jnp.arange`, or a product with `jax.nn.one_hot`, summed over the classes.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1)` has one log-probability in each row. Return minus the mean.
# </details>

# %% check="cross_entropy" points=2
def example_by_example(logits, y):
    losses = [np.logaddexp.reduce(row) - row[label] for row, label in zip(logits, y)]
    return np.mean(losses)


check_values(
    cross_entropy,
    example_by_example,
    sweep("batch 10", integers("batch", 0, 10), count=2),
    mistakes={
        "the mean runs over the classes too": lambda a, y: example_by_example(a, y) / 10,
        "the minus is left out": lambda a, y: -example_by_example(a, y),
        "the logits themselves, without the softmax": lambda a, y: (
            -np.mean(a[np.arange(len(y)), y])
        ),
    },
)
check_values(
    cross_entropy,
    example_by_example,
    [
        (np.array([[1000.0, 0, 0, 0, 0, 0, 0, 0, 0, -1000]]), np.array([9])),
        *sweep("batch 10", integers("batch", 0, 10), count=1, seed=8, planted=True),
    ],
    about="logits of a thousand, and others",
)
### BEGIN HIDDEN TESTS
check_values(
    cross_entropy,
    example_by_example,
    sweep("batch 12", integers("batch", 10, 12), count=1, seed=3),
    about="another number of classes",
)
### END HIDDEN TESTS

# %% [markdown]
# From here on the notebook uses its own model, so that nothing below depends on your functions. The loss comes from Optax. He initialisation (your `init_mlp` of lesson 05) comes from JAX.

# %%
sizes = (784, 256, 128, 10)


@partial(jax.jit, static_argnames="sizes")
def new_params(key, sizes):
    he = jax.nn.initializers.he_normal()
    keys = jax.random.split(key, len(sizes) - 1)
    return [{"w": he(k, (n, m)), "b": jnp.zeros(m)} for k, n, m in zip(keys, sizes, sizes[1:])]


def forward(params, x):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def loss_fn(params, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(forward(params, x), y).mean()


@jax.jit
def accuracy(params, x, y):
    return jnp.mean(jnp.argmax(forward(params, x), axis=-1) == y)

# %%
params = new_params(jax.random.key(0), sizes)
print(sum(leaf.size for leaf in jax.tree.leaves(params)), "parameters")
print("validation loss", jax.jit(loss_fn)(params, x_valid, y_valid))
print("validation accuracy", accuracy(params, x_valid, y_valid))

# %% [markdown]
# The checks need losses, gradients and optimizers in NumPy to compare with. You need not read this cell.

# %%
def by_hand(params, x, y):
    """The mean loss, its gradient with respect to the parameters, and with respect to `x`."""
    inputs = [x]
    for layer in params:
        before = inputs[-1] @ layer["w"] + layer["b"]
        inputs.append(np.maximum(before, 0))
    p = np.exp(before - before.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    truth = np.eye(p.shape[1])[y]
    behind, grads = (p - truth) / len(x), []
    for i in reversed(range(len(params))):
        grads.insert(0, {"w": inputs[i].T @ behind, "b": behind.sum(axis=0)})
        behind = behind @ params[i]["w"].T * (inputs[i] > 0 if i else 1)
    return -np.mean(np.log(p[truth == 1])), grads, behind


def adam_by_hand(params, moments, grads, t, rate):
    """Parameters and both moments after Adam's step number `t`, counted from 1."""
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], grads)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, moments[1], grads)
    move = jax.tree.map(
        lambda m, v: rate * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v
    )
    return jax.tree.map(np.subtract, params, move), (m, v)


def norm_by_hand(tree):
    """The norm of all leaves together."""
    return np.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


def line_loss(power):
    """Another loss: the mean error of a line to that power. `params` is a dict or `(w, b)`."""

    def loss(params, x, y):
        w, b = (params["w"], params["b"]) if isinstance(params, dict) else params
        return jnp.mean((x @ w + b - y) ** power)

    return loss


def line_by_hand(power, params, x, y):
    """That loss, its gradient with respect to the parameters, and with respect to `x`."""
    w, b = (params["w"], params["b"]) if isinstance(params, dict) else params
    error = x @ w + b - y
    slope = power * error ** (power - 1) / error.size
    grads = x.T @ slope, slope.sum(axis=0)
    grads = {"w": grads[0], "b": grads[1]} if isinstance(params, dict) else grads
    return np.mean(error**power), grads, slope @ w.T


def momentum(rate, decay, weight_decay):
    """SGD with momentum and weight decay: it has a state, and must see the parameters."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay), optax.trace(decay), optax.scale(-rate)
    )


def momentum_by_hand(power, settings, params, x, y, change=lambda grads, norm: grads):
    """Parameters, losses and norms of the gradients in three steps of `momentum(*settings)`."""
    state, losses, norms = None, [], []
    for _ in range(3):
        loss, grads, _ = line_by_hand(power, params, x, y)
        norms.append(norm_by_hand(grads))
        params, state = stepped_by_hand(settings, params, state, change(grads, norms[-1]))
        losses.append(loss)
    return params, np.array(losses), np.array(norms)


def stepped_by_hand(settings, params, state, grads):
    """Parameters and state after a step: `momentum(*settings)`, or AdamW for two settings."""
    t, *moments = state or (0, *[jax.tree.map(np.zeros_like, params)] * 2)
    if len(settings) == 2:
        rate, weight_decay = settings
        shrunk = jax.tree.map(lambda p: rate * weight_decay * p, params)
        params, moments = adam_by_hand(params, moments, grads, t + 1, rate)
        return jax.tree.map(np.subtract, params, shrunk), (t + 1, *moments)
    rate, decay, weight_decay = settings
    trace = jax.tree.map(
        lambda m, g, p: decay * m + g + weight_decay * p, moments[0], grads, params
    )
    return jax.tree.map(lambda p, m: p - rate * m, params, trace), (t + 1, trace, trace)

# %% [markdown]
# ## 8.2 A training step with Optax
#
# An Optax optimizer is a pair of pure functions. `optimizer.init(params)` returns its state. `optimizer.update(grads, opt_state, params)` returns `(updates, opt_state)`. Then `optax.apply_updates(params, updates)` *adds* the updates. The third argument of `update` is optional for some optimizers, and necessary for others.
#
# > **In PyTorch**, `optimizer.step()` changes parameters and state in place. Here nothing is mutated: what you do not return is lost. There is no `zero_grad()`, since gradients are not accumulated.
#
# ### A training step for any loss and optimizer
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `make_step(loss_fn, optimizer)` returns a jitted function `step(params, opt_state, x, y)` that returns `(params, opt_state, loss)`: the new parameters, the new state, and the loss *before* the step.
#
# It works for every Optax optimizer, every `loss_fn(params, x, y)` and every pytree of parameters.
#
# The check compares three steps, with several optimizers and losses, and counts traces: a second call with the same shapes must not trace again.

# %% exercise="make_step"
def make_step(loss_fn, optimizer: optax.GradientTransformation):
    """A jitted `step(params, opt_state, x, y)` that returns `(params, opt_state, loss)`."""
    ### BEGIN SOLUTION
    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step
    ### END SOLUTION

# %% [markdown] hints="make_step"
# <details><summary>Hint 1: the idea</summary>
#
# Write a function inside a function, with `@jax.jit` above the inner one. It does four things: value and gradient, update, apply, return.
# </details>
# <details><summary>Hint 2: every optimizer</summary>
#
# `optax.adamw` shrinks the parameters, so it must see them. Which argument of `update` is that?
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `loss, grads = jax.value_and_grad(loss_fn)(params, x, y)`, then `optimizer.update(grads, opt_state, params)`, then `optax.apply_updates`.
# </details>

# %% check="make_step" points=3
def three_steps(make, power, rate, weight_decay, params, x, y):
    optimizer, losses = optax.adam(rate), []
    if weight_decay:
        optimizer = optax.adamw(rate, weight_decay=weight_decay)
    step, opt_state = make(line_loss(power), optimizer), optimizer.init(params)
    for _ in range(3):
        params, opt_state, loss = step(params, opt_state, x, y)
        losses.append(loss)
    return params, jnp.stack(losses)


def by_numpy(power, rate, weight_decay, params, x, y, way=1, forget=False, late=0):
    zeros, losses = jax.tree.map(np.zeros_like, params), []
    moments = (zeros, zeros)
    for t in (1, 2, 3):
        loss, grads, _ = line_by_hand(power, params, x, y)
        shrunk = jax.tree.map(lambda p: way * rate * weight_decay * p, params)
        fresh = (zeros, zeros) if forget else moments
        stepped, moments = adam_by_hand(params, fresh, grads, 1 if forget else t, way * rate)
        params = jax.tree.map(np.subtract, stepped, shrunk)
        losses.append(line_by_hand(power, params, x, y)[0] if late else loss)
    return params, np.array(losses)


line, pair = {"w": "3 2", "b": "2"}, ("4 1", "1")
some = sweep(2, 0.1, 0.0, line, "6 3", "6 2", count=2)
check_values(
    through(three_steps, make_step),
    by_numpy,
    some + sweep(4, 0.03, 0.0, pair, "7 4", "7 1", count=1),
    mistakes={
        "uphill: the updates are subtracted, but they contain the minus already": partial(
            by_numpy, way=-1
        ),
        "the optimizer's state is not carried on from step to step": partial(by_numpy, forget=True),
        "the loss after the step": partial(by_numpy, late=1),
    },
    atol=1e-4,
    about="three steps of Adam",
)
start, x, y = some[0][3:]
state = optax.adam(0.1).init(start)
check_traces(
    result_of(make_step, line_loss(2), optax.adam(0.1)),
    [(start, state, x, y), (start, state, -x, y)],
)
### BEGIN HIDDEN TESTS
check_values(
    through(three_steps, make_step),
    by_numpy,
    sweep(2, 0.1, 0.5, line, "6 3", "6 2", count=1, seed=4)
    + sweep(4, 0.2, 0.3, pair, "7 4", "7 1", count=1, seed=5),
    atol=1e-4,
    about="another optimizer",
)
### END HIDDEN TESTS

# %% [markdown]
# **Prediction** · 1 minute · difficulty 3 of 5
#
# By mistake, the loss is the *sum* over a batch of 128 instead of the mean, so all gradients are 128 times as large. How many times as large is Adam's first step, to the nearest whole number?

# %% exercise="times_as_far" kind="prediction"
# An integer.
### BEGIN SOLUTION
times_as_far = 1
### END SOLUTION

# %% check="times_as_far" points=1
def adam_ratio():
    optimizer = optax.adam(1e-3)
    moves = [
        optimizer.update(g, optimizer.init(g))[0] for g in (jnp.float32(0.3), jnp.float32(38.4))
    ]
    return round(float(moves[1] / moves[0]))


check_answer(
    times_as_far,
    adam_ratio,
    because="Adam divides by the root mean square of past gradients, so a common factor cancels.",
    mistakes={128: "that would be so with SGD. Adam divides by the root mean square of the gradients"},
)

# %% [markdown]
# With Adam you do not notice a wrong factor in the loss, until you change the optimizer, clip gradients or add weight decay.
#
# ## 8.3 Epochs: shuffle, and scan over batches
#
# An epoch visits every image once, in a new random order. `epoch_batches` of lesson 05 returns the row numbers of its batches:

# %%
def epoch_batches(key, epoch, n, batch_size):
    order = jax.random.permutation(jax.random.fold_in(key, epoch), n)
    return order[: n // batch_size * batch_size].reshape(-1, batch_size)


print(epoch_batches(jax.random.key(0), 1, 10, 4))

# %% [markdown]
# A `scan` over these batches makes the epoch one program, which returns to Python once and not after each step.
#
# ### One epoch as one scan
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `run_epoch(step, params, opt_state, x, y, order)` takes one step for each row of `order`, with `step` as in 8.2. A row of `order` contains the row numbers of a batch in `x` and `y`. It returns `(params, opt_state, losses)`, with one loss for each step.
#
# `order` may have more or fewer rows than an epoch needs, and `x` any number of axes.
#
# The check compares values and looks for `scan`. The program must not grow with the number of steps.

# %% exercise="run_epoch"
def run_epoch(
    step, params, opt_state, x: Float[Array, "n ..."], y, order: Int[Array, "steps batch"]
):
    """`(params, opt_state, losses)` after `len(order)` steps, with one loss for each."""
    ### BEGIN SOLUTION
    def body(carry, rows):
        params, opt_state, loss = step(*carry, x[rows], y[rows])
        return (params, opt_state), loss

    (params, opt_state), losses = jax.lax.scan(body, (params, opt_state), order)
    return params, opt_state, losses
    ### END SOLUTION

# %% [markdown] hints="run_epoch"
# <details><summary>Hint 1: the idea</summary>
#
# The carry is what changes from step to step. `order` is what you scan over. The stacked outputs are the losses.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.lax.scan(body, carry, order)`, where `body(carry, rows)` returns `(carry, loss)`. `x[rows]` gathers a batch.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# In the body, `params, opt_state, loss = step(*carry, x[rows], y[rows])`, and return `(params, opt_state), loss`.
# </details>

# %% check="run_epoch" points=2
def rolling(rate):
    """A step of SGD with momentum, for any tree of one array and images of any shape."""

    def step(params, opt_state, x, y):
        x = x.reshape(len(x), -1)
        (w,), (speed,) = jax.tree.leaves(params), jax.tree.leaves(opt_state)
        error = x @ w - y
        speed = 0.9 * speed + 2 * x.T @ error / len(x)
        moved = jax.tree.map(lambda w: w - rate * speed, params)
        return moved, jax.tree.map(lambda _: speed, opt_state), (error**2).mean()

    return step


def epoch_of(run, rate, params, opt_state, x, y, order):
    return run(rolling(rate), params, opt_state, x, y, order)


def epoch_at_rest(run, *args):
    return epoch_of(run, 0.0, *args)


def one_by_one(rate, params, opt_state, x, y, order, keep=True):
    losses, start, step = [], opt_state, rolling(rate)
    for rows in order:
        params, opt_state, loss = step(params, opt_state if keep else start, x[rows], y[rows])
        losses.append(loss)
    return params, opt_state, np.array(losses)


def one_row_each(rate, params, opt_state, x, y, order):
    return one_by_one(rate, params, opt_state, x, y, order.reshape(-1, 1))


def in_a_row(rate, params, opt_state, x, y, order):
    rows = np.arange(order.size).reshape(order.shape) % len(x)
    return one_by_one(rate, params, opt_state, x, y, rows)


epochs = sweep(0.05, "3", "3", "8 3", "8", integers("4 2", 0, 8), count=2)
check_values(
    through(epoch_of, run_epoch),
    one_by_one,
    epochs + sweep(0.02, {"w": "6"}, ["6"], "8 2 3", "8", integers("2 4", 0, 8), count=1),
    mistakes={
        "the batches are taken in the order of the file": in_a_row,
        "the optimizer's state is the first one at every step": partial(one_by_one, keep=False),
        "each image makes a step of its own, not each batch": one_row_each,
    },
)
check_values(
    through(epoch_of, run_epoch),
    one_by_one,
    sweep(0.05, "3", "3", "8 3", "8", integers("9 2", 0, 8), count=1)
    + sweep(0.05, "3", "3", "7 3", "7", integers("1 3", 0, 7), count=1),
    mistakes={
        "only as many rows of `order` are used as fill an epoch": lambda *args: one_by_one(
            *args[:5], args[5][: len(args[3]) // args[5].shape[1]]
        )
    },
    about="more rows in `order` than an epoch has, and fewer",
)
check_primitives(
    through(epoch_at_rest, run_epoch),
    *epochs[0][1:],
    requires=["scan"],
    same_size_for=sweep("3", "3", "8 3", "8", integers("9 2", 0, 8), count=1),
)

# %% [markdown]
# ### The whole training loop
# **Exercise** · 12 minutes · difficulty 4 of 5
#
# `train(key, params, x, y, optimizer, epochs, batch_size)` minimises the given `loss_fn` and returns `(params, losses)`. `losses` has one row for each epoch and one column for each step.
#
# Each epoch visits the images in another random order, which `key` determines, and visits none of them twice. Images that do not fill a last batch are left out of that epoch. The optimizer state is kept from one epoch to the next. Any Optax optimizer works.
#
# The check compares values with one batch an epoch, and trains with a learning rate of zero (hint 3 says why). Then it trains for one epoch on 20,000 images with batches of 128. The loss must fall to 30 % of its first values, and the accuracy on the validation set must reach 92 %.

# %% exercise="train"
def train(
    key: Key[Array, ""], params, x: Float[Array, "n features"], y: Int[Array, "n"],
    optimizer, epochs: int, batch_size: int,
):  # fmt: skip
    """`(params, losses)`, where `losses` is Float[Array, "epochs steps"]."""
    ### BEGIN SOLUTION
    @jax.jit
    def run(carry, key, epoch, x, y):
        def step(carry, rows):
            params, opt_state = carry
            loss, grads = jax.value_and_grad(loss_fn)(params, x[rows], y[rows])
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), loss

        return jax.lax.scan(step, carry, epoch_batches(key, epoch, len(x), batch_size))

    carry, losses = (params, optimizer.init(params)), []
    for epoch in range(epochs):
        carry, some = run(carry, key, epoch, x, y)
        losses.append(some)
    return carry[0], jnp.stack(losses)
    ### END SOLUTION

# %% [markdown] hints="train"
# <details><summary>Hint 1: the idea</summary>
#
# Write a step, a scan of steps in a jitted epoch, and a Python loop over epochs. Pass the images to the epoch as arguments: as constants they take seconds to compile.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `epoch_batches(key, epoch, len(x), batch_size)` is the order of one epoch. `epoch` may be traced.
# </details>
# <details><summary>Hint 3: the learning rate of zero</summary>
#
# With it the parameters do not change, and the losses show which images were in which batch. What must their mean be?
# </details>

# %% check="train" points=4
def with_adam(train, key, params, x, y, epochs, decay):
    optimizer = optax.adamw(0.05, weight_decay=decay) if decay else optax.adam(0.05)
    params, losses = train(key, params, x, y, optimizer, epochs, len(x))
    return losses, params  # in this order, because wrong losses say more on a card


def adam_of_all(key, params, x, y, epochs, decay, forget=False, way=1):
    zeros, losses = jax.tree.map(np.zeros_like, params), []
    moments = (zeros, zeros)
    for t in range(1, epochs + 1):
        loss, grads, _ = by_hand(params, x, y)
        shrunk = jax.tree.map(lambda p: way * 0.05 * decay * p, params)
        fresh = (zeros, zeros) if forget else moments
        stepped, moments = adam_by_hand(params, fresh, grads, 1 if forget else t, way * 0.05)
        params = jax.tree.map(np.subtract, stepped, shrunk)
        losses.append([loss])
    return np.array(losses), params


def losses_at_rest(train, key, params, x, y, epochs, batch_size):
    return train(key, params, x, y, optax.sgd(0.0), epochs, batch_size)[1]


def mean_is_that_of_all(train, expected, *args):
    return jnp.abs(jnp.mean(losses_at_rest(train, *args), axis=1) - expected) < 1e-4


def of_shape(train, key, params, x, y, epochs, batch_size):
    return jnp.array(losses_at_rest(train, key, params, x, y, epochs, batch_size).shape)


def on_mnist(train, key, params, pixels, digits):
    x = jnp.asarray(pixels, jnp.float32).reshape(-1, 784) / 255
    return train(key, params, x, digits, optax.adam(1e-3), 1, 128)


def right_digits(result):
    x = mnist.x_train[55_000:].reshape(-1, 784) / np.float32(255)
    for layer in result[0][:-1]:
        x = np.maximum(x @ layer["w"] + layer["b"], 0)
    logits = x @ result[0][-1]["w"] + result[0][-1]["b"]
    return np.mean(np.argmax(logits, axis=1) == mnist.y_train[55_000:])


key, other = jax.random.key(8303), jax.random.key(8304)
small = [{"w": "3 5", "b": "5"}, {"w": "5 4", "b": "4"}]
((start, x, y),) = sweep(small, "24 3", integers("24", 0, 4), count=1)
check_values(
    through(with_adam, train),
    adam_of_all,
    [
        (key, start, x, y, 4, 0.0),
        *sweep(other, small[1:], "9 5", integers("9", 0, 4), 2, 0.5, count=1, seed=1),
    ],
    mistakes={
        "the optimizer's state begins anew with each epoch": partial(adam_of_all, forget=True),
        "uphill: the updates are subtracted, but they contain the minus already": partial(
            adam_of_all, way=-1
        ),
    },
    atol=1e-3,
    rtol=1e-3,
    about="one batch an epoch",
)
check_values(
    through(mean_is_that_of_all, train),
    [np.full(3, True)],
    [(by_hand(start, x, y)[0], key, start, x, y, 3, 4)],
    mistakes={
        "with a learning rate of zero, the mean loss of an epoch is not the loss of all images: some are seen twice, or never": lambda *args: np.full(3, False)
    },
    about="learning rate 0",
)
check_keys(through(losses_at_rest, train), key, start, x[:23], y[:23], 3, 4, rows=True)
check_training(
    through(on_mnist, train),
    key,
    new_params(jax.random.key(1), sizes),
    mnist.x_train[:20_000],
    mnist.y_train[:20_000],
    losses=lambda result: result[1].ravel(),
    falls_to=0.3,
    score=right_digits,
    at_least=0.92,
    twice=False,  # the line above has tried it
)
### BEGIN HIDDEN TESTS
check_values(
    through(of_shape, train),
    [np.array([1, 4]), np.array([2, 1])],
    [(key, start, x[:9], y[:9], 1, 2), (other, start, x[:9], y[:9], 2, 5)],
    about="one epoch, and one step",
)
### END HIDDEN TESTS

# %% [markdown]
# Train for one epoch with your `train`, and look at validation images that your network gets wrong:

# %% tags=["raises-exception"]
mine, _ = train(jax.random.key(5), params, x_train, y_train, optax.adam(1e-3), 1, 128)
guesses = np.asarray(jnp.argmax(jax.jit(forward)(mine, x_valid), axis=1))
wrong = np.flatnonzero(guesses != y_valid)
print(len(wrong), "of", len(y_valid), "validation images are wrong")
show(x_valid[wrong[:16]], [f"{y_valid[i]}, not {guesses[i]}" for i in wrong[:16]])

# %% [markdown]
# *Sixteen digits with their label and the digit that your network read instead. Some are unclear to people too.*
#
# ## 8.4 Train, and watch the validation accuracy
#
# The notebook's run also records the norm of every gradient.

# %%
optimizer = optax.adam(1e-3)
batch = x_train[:128], y_train[:128]


# The images are arguments: as constants of the program they would take seconds to compile.
@jax.jit
def epoch_with_norms(params, opt_state, x, y, order):
    def body(carry, rows):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, x[rows], y[rows])
        updates, opt_state = optimizer.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), (loss, optax.global_norm(grads))

    return jax.lax.scan(body, (params, opt_state), order)

# %%
opt_state, history = optimizer.init(params), []
for epoch in range(3):
    start = time.perf_counter()
    order = epoch_batches(jax.random.key(1), epoch, len(x_train), 128)
    (params, opt_state), curves = epoch_with_norms(params, opt_state, x_train, y_train, order)
    history.append(jax.tree.map(np.asarray, curves))
    reached = f"loss {history[-1][0].mean():.4f}"
    reached += f"  validation accuracy {accuracy(params, x_valid, y_valid):.4f}"
    print(f"epoch {epoch + 1}  {reached}  {time.perf_counter() - start:.1f} s")

# %% tags=["demonstration"]
losses, norms = map(np.concatenate, zip(*history))
_, axes = plt.subplots(1, 2, num="Training loss and gradient norm", figsize=(9, 3))
axes[0].semilogy(losses, color="lightgrey")
axes[0].semilogy(np.convolve(losses, np.ones(100) / 100, "valid"), color="C0")
axes[0].set(xlabel="step", ylabel="loss of a batch")
axes[1].plot(norms, color="C3", linewidth=0.5)
axes[1].set(xlabel="step", ylabel="norm of the gradient")
plt.tight_layout()
plt.show()

# %% [markdown]
# *Left, on a logarithmic scale: the loss of each batch (grey) and its mean over 100 steps (blue) fall from above 2 to below 0.1. Right: the norm of the gradient is largest in the first steps, falls below 1, and keeps spikes to the end.*
#
# The validation accuracy is more than 97 % after three epochs. You could now try other learning rates, and keep the best on the validation set.
#
# ## 8.5 Clip gradients by their global norm
#
# The spikes come from single batches, which would change the parameters too much. *Clipping by the global norm* limits them. If the norm $n$ of the whole gradient is above a limit $c$, all leaves are multiplied by $c/n$. The direction stays the same.
#
# ### Clip by the global norm
# **Exercise** · 8 minutes · difficulty 3 of 5
#
# `make_clipped_step(loss_fn, optimizer, max_norm)` returns a jitted `step(params, opt_state, x, y)` that returns `(params, opt_state, loss, norm)`. The optimizer gets the clipped gradient. `norm` is the norm *before* clipping.
#
# It works for any loss and any Optax optimizer. The gradient may be zero.
#
# The check compares three steps and counts traces.

# %% exercise="make_clipped_step"
def make_clipped_step(loss_fn, optimizer, max_norm: float):
    """A jitted step that clips by the global norm, and also returns the norm before clipping."""
    ### BEGIN SOLUTION
    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        norm = optax.global_norm(grads)
        factor = max_norm / jnp.maximum(norm, max_norm)
        grads = jax.tree.map(lambda g: factor * g, grads)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, norm

    return step
    ### END SOLUTION

# %% [markdown] hints="make_clipped_step"
# <details><summary>Hint 1: the idea</summary>
#
# There is one factor for the whole pytree, the smaller of $c/n$ and 1. What happens at $n = 0$?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `optax.global_norm(grads)` and `jax.tree.map`. Or `optax.clip_by_global_norm(max_norm)`, which has `init` and `update` like an optimizer.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `factor = max_norm / jnp.maximum(norm, max_norm)` is never above 1 and never divides by 0. Multiply each leaf by it, between the gradient and the update.
# </details>

# %% check="make_clipped_step" points=3
def clipped_steps(make, max_norm, power, settings, params, x, y):
    optimizer, losses, norms = momentum(*settings), [], []
    step, opt_state = make(line_loss(power), optimizer, max_norm), optimizer.init(params)
    for _ in range(3):
        params, opt_state, loss, norm = step(params, opt_state, x, y)
        losses.append(loss)
        norms.append(norm)
    return params, jnp.stack(losses), jnp.stack(norms)


def clipped_by_hand(max_norm, *args, clip=None, after=False):
    clip = clip or whole
    results = momentum_by_hand(*args, change=lambda grads, norm: clip(grads, norm, max_norm))
    return *results[:2], np.minimum(results[2], max_norm) if after else results[2]


def whole(grads, norm, limit):
    return jax.tree.map(lambda g: g if norm <= limit else g * limit / norm, grads)


def each_number(grads, norm, limit):
    return jax.tree.map(lambda g: np.clip(g, -limit, limit), grads)


def each_leaf(grads, norm, limit):
    return jax.tree.map(lambda g: g * min(1, limit / np.linalg.norm(g)), grads)


def always(grads, norm, limit):
    return jax.tree.map(lambda g: g * limit / norm, grads)


line, pair, sgd = {"w": "3 2", "b": "2"}, ("4 1", "1"), (0.1, 0.0, 0.0)
steep = sweep(0.5, 2, sgd, line, "6 3", "6 2", count=2)
check_values(
    through(clipped_steps, make_clipped_step),
    clipped_by_hand,
    steep + sweep(0.2, 4, (0.05, 0.9, 0.3), pair, "7 4", "7 1", count=1),
    mistakes={
        "each number is clipped by itself: the direction changes": partial(
            clipped_by_hand, clip=each_number
        ),
        "each leaf is clipped by its own norm: the direction changes": partial(
            clipped_by_hand, clip=each_leaf
        ),
        "the norm after clipping": partial(clipped_by_hand, after=True),
        "the gradient is not clipped": partial(clipped_by_hand, clip=lambda grads, *_: grads),
    },
    about="steep slopes",
)
check_values(
    through(clipped_steps, make_clipped_step),
    clipped_by_hand,
    sweep(50.0, 2, sgd, line, "6 3", "6 2", count=1),
    mistakes={"a gradient below the limit is scaled up": partial(clipped_by_hand, clip=always)},
    about="gentle slopes",
)
start, x, y = steep[0][3:]
state = optax.sgd(0.1).init(start)
check_traces(
    result_of(make_clipped_step, line_loss(2), optax.sgd(0.1), 0.5),
    [(start, state, x, y), (start, state, x, -y)],
)
### BEGIN HIDDEN TESTS
zero = {"w": np.zeros((3, 2)), "b": np.zeros(2)}
check_values(
    through(clipped_steps, make_clipped_step),
    clipped_by_hand,
    [(0.5, 2, sgd, zero, np.ones((4, 3)), np.zeros((4, 2)))]
    + sweep(1.0, 2, (0.03, 0.5, 0.1), pair, "8 4", "8 1", count=1, seed=2, planted=True),
    about="a gradient of zero, and gradients of many norms",
)
### END HIDDEN TESTS

# %% tags=["demonstration"]
_, axis = plt.subplots(num="Histogram of gradient norms", figsize=(7, 3))
axis.hist(norms, bins=np.geomspace(norms.min(), norms.max(), 60), color="C3")
axis.axvline(1.0, color="gray")
axis.set(xscale="log", xlabel="norm of the gradient before clipping", ylabel="steps")
axis.set_title(f"limit 1 clips {np.mean(norms > 1):.0%} of the steps")
plt.tight_layout()
plt.show()

# %% [markdown]
# *A histogram of the gradient norms of the run above, on a logarithmic axis: a broad hill below 1, and a tail beyond the line at 1.*
#
# Choose the limit from recorded norms, in the tail. A limit below *all* norms would give every gradient the same length, and Adam would hardly notice (8.2).
#
# ## 8.6 Chains and schedules
#
# In practice you do not write the clipping into the step. `optax.chain(a, b, ...)` makes one optimizer of several transformations. The first gets the gradient, and each other one the updates of the one before. `optax.adam(rate)` is itself a chain, of `scale_by_adam()` and `scale_by_learning_rate(rate)`, which multiplies by *minus* the learning rate.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# A scalar parameter has the gradient 3.0. What is the first update of `optax.chain(optax.clip_by_global_norm(0.01), optax.adam(0.1))`, and what if the parts are exchanged? Round to two decimals.

# %% exercise="first_updates" kind="prediction"
# A tuple of two numbers: clip, then Adam, and Adam, then clip.
### BEGIN SOLUTION
first_updates = (-0.1, -0.01)
### END SOLUTION

# %% check="first_updates" points=1
def updates_of_both_orders():
    parts = optax.clip_by_global_norm(0.01), optax.adam(0.1)
    updates = []
    for optimizer in (optax.chain(*parts), optax.chain(*parts[::-1])):
        update, _ = optimizer.update(jnp.float32(3), optimizer.init(jnp.float32(1)))
        updates.append(round(float(update), 2))
    return tuple(updates)


check_answer(
    first_updates,
    updates_of_both_orders,
    because="Adam divides the clipped gradient 0.01 by its own size, so its first update is the "
    "learning rate. Clipped after Adam, the update itself is at most 0.01.",
    mistakes={
        (0.1, 0.01): "an update is added to the parameters, so it contains the minus already",
        (-0.01, -0.01): "Adam divides by the size of the gradient, so clipping before it does not limit its first update",
        (-0.1, -0.1): "the second chain limits the update itself, after Adam has scaled it",
        (-0.01, -0.1): "a chain applies its parts from left to right",
    },
)

# %% [markdown]
# So clip before Adam, where a spike then weighs less in Adam's means. After Adam, clipping limits only the step.
#
# ### AdamW from parts
# **Exercise** · 10 minutes · difficulty 4 of 5
#
# `chained_adamw(learning_rate, max_norm, weight_decay)` returns an optimizer that clips the gradient by its global norm and then does what AdamW does. The update is minus the learning rate times (Adam's direction plus `weight_decay` times the parameter). Only leaves with two or more axes decay, so biases do not.
#
# `learning_rate` is a Python number or a schedule. The parameters are any pytree, and gradients may be zero.
#
# The check compares the updates of three steps whose gradients have different norms.

# %% exercise="chained_adamw"
def chained_adamw(
    learning_rate, max_norm: float, weight_decay: float
) -> optax.GradientTransformation:
    """Clip by the global norm, then AdamW. Only leaves with two or more axes decay."""
    ### BEGIN SOLUTION
    def matrices(params):
        return jax.tree.map(lambda p: p.ndim > 1, params)

    return optax.chain(
        optax.clip_by_global_norm(max_norm),
        optax.scale_by_adam(),
        optax.add_decayed_weights(weight_decay, mask=matrices),
        optax.scale_by_learning_rate(learning_rate),
    )
    ### END SOLUTION

# %% [markdown] hints="chained_adamw"
# <details><summary>Hint 1: the idea</summary>
#
# Read the formula from the inside to the outside. What is done first to the gradient stands first in the chain.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `optax.scale_by_adam()`, `optax.add_decayed_weights(weight_decay, mask=...)` and `optax.scale_by_learning_rate(...)`. The mask is a pytree of booleans, or a function that makes it from the parameters.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# Four parts in `optax.chain(...)`, and the mask `lambda params: jax.tree.map(lambda p: p.ndim > 1, params)`. Or two parts, because `optax.adamw` has a `mask=` too.
# </details>

# %% check="chained_adamw" points=3
def three_updates(make, rate, scheduled, max_norm, weight_decay, params, grads):
    learning_rate = (lambda t: rate / (1 + t)) if scheduled else rate
    optimizer = make(learning_rate, max_norm, weight_decay)
    update, opt_state, path = jax.jit(optimizer.update), optimizer.init(params), []
    for t in range(3):
        updates, opt_state = update(jax.tree.map(lambda g: g / 8**t, grads), opt_state, params)
        path.append(updates)
    return path


def by_norm(tree, limit):
    return jax.tree.map(lambda leaf: leaf * min(1, limit / (norm_by_hand(tree) or 1)), tree)


def chained_by_hand(
    rate, scheduled, max_norm, weight_decay, params, grads,
    clip=by_norm, after=lambda tree, limit: tree, decays=lambda p: p.ndim > 1,
    coupled=0, way=-1, unscaled=False,
):  # fmt: skip
    zeros, path = jax.tree.map(np.zeros_like, params), []
    moments, decay = (zeros, zeros), jax.tree.map(lambda p: weight_decay * decays(p) * p, params)
    for t in range(3):
        now = clip(jax.tree.map(lambda g: g / 8**t, grads), max_norm)
        now = jax.tree.map(lambda g, d: g + coupled * d, now, decay)
        opposite, moments = adam_by_hand(zeros, moments, now, t + 1, 1.0)
        scale = way * (rate / (1 + t) if scheduled else rate)
        update = jax.tree.map(
            lambda a, d: -scale * a + (1 if unscaled else scale) * (1 - coupled) * d,
            opposite,
            decay,
        )
        path.append(after(update, max_norm))
    return path


line, pair = {"w": "3 2", "b": "2"}, ("4 1", "1")
check_values(
    through(three_updates, chained_adamw),
    chained_by_hand,
    sweep(0.3, False, 0.4, 0.5, line, line, count=1)
    + sweep(0.1, False, 0.2, 0.8, pair, pair, count=1),
    mistakes={
        "the updates are clipped, not the gradients": partial(
            chained_by_hand, clip=lambda tree, limit: tree, after=by_norm
        ),
        "nothing is clipped": partial(chained_by_hand, clip=lambda tree, limit: tree),
        "each number is clipped by itself": partial(
            chained_by_hand,
            clip=lambda tree, limit: jax.tree.map(lambda g: np.clip(g, -limit, limit), tree),
        ),
        "the biases decay too": partial(chained_by_hand, decays=lambda p: True),
        "the biases decay, and the matrices do not": partial(
            chained_by_hand, decays=lambda p: p.ndim < 2
        ),
        "the decay goes through Adam's division: that is L2, not AdamW": partial(
            chained_by_hand, coupled=1
        ),
        "uphill: the minus of the learning rate is missing": partial(chained_by_hand, way=1),
        "the decay is added after the learning rate: the parameters grow": partial(
            chained_by_hand, unscaled=True
        ),
    },
    rtol=1e-3,
    about="a number as learning rate",
)
check_values(
    through(three_updates, chained_adamw),
    chained_by_hand,
    sweep(0.3, True, 0.4, 0.5, line, line, count=1, seed=1),
    mistakes={
        "the schedule makes no difference": lambda rate, scheduled, *args: chained_by_hand(
            rate, False, *args
        ),
    },
    rtol=1e-3,
    about="a schedule as learning rate",
)
### BEGIN HIDDEN TESTS
check_values(
    through(three_updates, chained_adamw),
    chained_by_hand,
    sweep(0.2, True, 0.3, 0.4, ["2 3 2", ("2", "4 1")], ["2 3 2", ("2", "4 1")], count=1, seed=2)
    + sweep(0.1, False, 50.0, 0.0, line, line, count=1, seed=3),
    rtol=1e-3,
    about="another pytree, with a leaf of three axes, and no clipping",
)
still = {"w": np.zeros((3, 2)), "b": np.zeros(2)}
check_values(
    through(three_updates, chained_adamw),
    chained_by_hand,
    [(1, False, 0.5, 0.3, tree, still) for (tree,) in sweep(line, count=1, seed=4)],
    rtol=1e-3,
    about="gradients of zero, and a whole number as learning rate",
)
### END HIDDEN TESTS

# %% [markdown]
# ### AdamW with warm-up and cosine decay
# **Exercise** · 8 minutes · difficulty 4 of 5
#
# `scheduled_adamw(peak, warmup, total, weight_decay)` returns AdamW with the following learning rate at update $t = 0, 1, 2, \ldots$
#
# $$\eta_t = \text{peak}\cdot\begin{cases} t/\text{warmup} & t < \text{warmup}\\ \tfrac12\left(1+\cos\left(\pi\,\frac{t-\text{warmup}}{\text{total}-\text{warmup}}\right)\right) & \text{warmup}\le t\le\text{total}\\ 0 & t > \text{total}\end{cases}$$
#
# The decay is AdamW's, for all parameters. `warmup` may be 0.
#
# The check compares the parameters after each of `total + 3` updates.

# %% exercise="scheduled_adamw"
def scheduled_adamw(peak: float, warmup: int, total: int, weight_decay: float):
    """`optax.adamw` with a linear warm-up and a cosine from `peak` down to 0 at `total`."""
    ### BEGIN SOLUTION
    schedule = optax.warmup_cosine_decay_schedule(0.0, peak, warmup, total)
    return optax.adamw(schedule, weight_decay=weight_decay)
    ### END SOLUTION

# %% [markdown] hints="scheduled_adamw"
# <details><summary>Hint 1: the idea</summary>
#
# An Optax learning rate is a number or a function of the step count, a *schedule*. Write the function, or find it in Optax.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `optax.warmup_cosine_decay_schedule`. Read what its `decay_steps` counts. Or use `jnp.where` and `jnp.cos`: the count is traced.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `schedule = optax.warmup_cosine_decay_schedule(0.0, peak, warmup, total)`, because `decay_steps` includes the warm-up. Pass it to `optax.adamw` as the learning rate.
# </details>

# %% check="scheduled_adamw" points=3
def walk(make, peak, warmup, total, weight_decay, params):
    optimizer = make(peak, warmup, total, weight_decay)
    update, opt_state, path = jax.jit(optimizer.update), optimizer.init(params), []
    for t in range(total + 3):
        grads = jnp.full_like(params, 1 + 0.5 * (-1) ** t)
        updates, opt_state = update(grads, opt_state, params)
        params = params + updates
        path.append(params)
    return jnp.stack(path)


def walk_by_hand(peak, warmup, total, weight_decay, params, length=None, rate=None, coupled=False):
    path, length = [], length(warmup, total) if length else total - warmup
    m = v = np.zeros_like(params)
    for t in range(total + 3):
        cosine = 0.5 * (1 + np.cos(np.pi * min(1, max(0, t - warmup) / length)))
        eta = rate(peak, t) if rate else peak * (t / warmup if t < warmup else cosine)
        g = 1 + 0.5 * (-1) ** t + (weight_decay * params if coupled else 0)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        adam = m / (1 - 0.9 ** (t + 1)) / np.sqrt(v / (1 - 0.999 ** (t + 1)))
        params = params - eta * (adam + (0 if coupled else weight_decay * params))
        path.append(params)
    return np.array(path)


check_values(
    through(walk, scheduled_adamw),
    walk_by_hand,
    [(0.1, 4, 10, 0.0, np.array([5.0, -5.0]))],
    mistakes={
        "the cosine takes `total` steps, and comes on top of the warm-up": partial(
            walk_by_hand, length=lambda warmup, total: total
        ),
        "the cosine ends too early: the warm-up is subtracted twice": partial(
            walk_by_hand, length=lambda warmup, total: total - 2 * warmup
        ),
        "the rate is constant": partial(walk_by_hand, rate=lambda peak, t: peak),
    },
    rtol=1e-3,
    atol=1e-4,
    about="the schedule",
)
check_values(
    through(walk, scheduled_adamw),
    walk_by_hand,
    [(0.1, 4, 10, 0.5, np.array([5.0, -5.0]))],
    mistakes={
        "the decay goes through Adam's division: that is L2, not AdamW": partial(
            walk_by_hand, coupled=True
        ),
        "`weight_decay` makes no difference": lambda a, b, c, d, e: walk_by_hand(a, b, c, 1e-4, e),
    },
    rtol=1e-3,
    atol=1e-4,
    about="the decay",
)
### BEGIN HIDDEN TESTS
check_values(
    through(walk, scheduled_adamw),
    walk_by_hand,
    [(0.3, 0, 7, 0.1, np.array([2.0])), (0.2, 6, 8, 0.1, np.array([2.0]))],
    rtol=1e-3,
    atol=1e-4,
    about="no warm-up, and a long one",
)
### END HIDDEN TESTS

# %% [markdown]
# This is a good place for a break.
#
# ## 8.7 Gradient accumulation
#
# A batch that is too large for the memory can be split into $k$ *micro-batches* of equal size. The gradient of the mean loss is the mean of their gradients. `optax.MultiSteps` accumulates it over $k$ calls of `update`:

# %%
multi = optax.MultiSteps(optax.sgd(1.0), every_k_schedule=4)
multi_state = multi.init(jnp.float32(0))
for gradient in (1.0, 2.0, 3.0, 6.0):
    update, multi_state = multi.update(jnp.float32(gradient), multi_state, jnp.float32(0))
    print(f"gradient {gradient}  update {update}  large batches so far {multi_state.gradient_step}")

# %% [markdown]
# Only the fourth call takes a step, with the mean gradient 3. A schedule in the inner optimizer counts the large batches.
#
# > **In PyTorch**, `backward()` adds to `.grad`, so you divide each loss by $k$ and call `optimizer.step()` after $k$ calls.
#
# ### A step that accumulates gradients
# **Exercise** · 12 minutes · difficulty 4 of 5
#
# `make_accumulating_step(loss_fn, optimizer, k)` returns a jitted `step(params, opt_state, x, y)` with the results of `make_step` on the whole batch. It computes the gradients of $k$ micro-batches one after another in a `lax.scan`, and calls the optimizer once.
#
# `loss_fn` is any mean over a batch, and `optimizer` any Optax optimizer. `x` and `y` have any number of axes. $k$ divides the size of the batch, and may be 1.
#
# The check compares three steps, looks for `scan`, and counts traces. An intermediate array may be as large as one gradient or as the activations of one micro-batch, and not twice as large. The program must not grow with $k$.

# %% exercise="make_accumulating_step"
def make_accumulating_step(loss_fn, optimizer: optax.GradientTransformation, k: int):
    """A jitted step as from `make_step`, with the gradients of `k` micro-batches averaged."""
    ### BEGIN SOLUTION
    @jax.jit
    def step(params, opt_state, x, y):
        def body(total, batch):
            some = jax.value_and_grad(loss_fn)(params, *batch)
            return jax.tree.map(jnp.add, total, some), None

        parts = jax.tree.map(lambda a: a.reshape(k, -1, *a.shape[1:]), (x, y))
        zero = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
        total, _ = jax.lax.scan(body, zero, parts)
        loss, grads = jax.tree.map(lambda a: a / k, total)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step
    ### END SOLUTION

# %% [markdown] hints="make_accumulating_step"
# <details><summary>Hint 1: the idea</summary>
#
# Reshape `x` and `y` so that the first axis counts the micro-batches, and scan over it. Which quantities must survive from one micro-batch to the next?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `a.reshape(k, -1, *a.shape[1:])`. The carry is the sum of the losses and the sum of the gradients, which begin at zero (`jax.tree.map(jnp.zeros_like, params)`). If you return the gradients as stacked outputs, all $k$ of them are stored.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# In the body, `jax.tree.map(jnp.add, total, jax.value_and_grad(loss_fn)(params, *batch))`. After the scan, divide loss and gradients by `k`, and go on as in `make_step`.
# </details>

# %% check="make_accumulating_step" points=4
def accumulated(make, k, power, settings, params, x, y):
    if len(settings) == 2:
        optimizer = optax.adamw(settings[0], weight_decay=settings[1])
    else:
        optimizer = momentum(*settings)
    step, opt_state, losses = make(line_loss(power), optimizer, k), optimizer.init(params), []
    for _ in range(3):
        params, opt_state, loss = step(params, opt_state, x, y)
        losses.append(loss)
    return params, jnp.stack(losses)


def one_step(k, power, settings, params, state, x, y, times=1):
    loss, grads, _ = line_by_hand(power, params, x, y)
    grads = jax.tree.map(lambda g: times * g, grads)
    return *stepped_by_hand(settings, params, state, grads), loss


def steps_by_hand(k, power, settings, params, x, y, step=one_step, weight=1):
    state, losses = None, []
    for _ in range(3):
        params, state, loss = step(k, power, settings, params, state, x, y)
        losses.append(weight * loss)
    return params, np.array(losses)


def summed(k, *args):
    return one_step(k, *args, times=k)


def summed_with_losses(k, *args):
    return steps_by_hand(k, *args, step=summed, weight=k)


def last_one(k, power, settings, params, state, x, y):
    loss, size = line_by_hand(power, params, x, y)[0], len(x) // k
    return *one_step(k, power, settings, params, state, x[-size:], y[-size:])[:2], loss


def last_loss(k, power, settings, params, state, x, y):
    loss = line_by_hand(power, params, x[-len(x) // k :], y[-len(x) // k :])[0]
    return *one_step(k, power, settings, params, state, x, y)[:2], loss


def one_each(k, power, settings, params, state, x, y):
    losses = []
    for part in zip(np.split(x, k), np.split(y, k)):
        params, state, loss = one_step(k, power, settings, params, state, *part)
        losses.append(loss)
    return params, state, np.mean(losses)


def updates_averaged(k, power, settings, params, state, x, y):
    moved = []
    for part in zip(np.split(x, k), np.split(y, k)):
        new, state, _ = one_step(k, power, settings, params, state, *part)
        moved.append(new)
    mean = jax.tree.map(lambda *leaves: sum(leaves) / k, *moved)
    return mean, state, line_by_hand(power, params, x, y)[0]


def split_apart(k, power, settings, params, state, x, y):
    mixed = y.reshape(-1, k, y.shape[1]).swapaxes(0, 1).reshape(y.shape)
    return one_step(k, power, settings, params, state, x, mixed)


def wide_step(make, k, params, x, y):
    """A step of a loss that has 300 activations for each example."""

    def loss(params, x, y):
        wide = jnp.tanh((x @ params)[:, :, None] * jnp.arange(1.0, 6.0))
        return jnp.mean((wide.mean(axis=(1, 2)) - y) ** 2)

    optimizer = optax.sgd(0.1)
    return make(loss, optimizer, k)(params, optimizer.init(params), x, y)


def pictures(make, k, power, settings, params, x, y):
    """Images of two axes, and labels of none."""

    def loss(params, x, y):
        return line_loss(power)(params, x.reshape(len(x), -1), y[:, None])

    optimizer = momentum(*settings)
    step = make(loss, optimizer, k)
    return step(params, optimizer.init(params), x, y)[::2]


def pictures_by_hand(k, power, settings, params, x, y):
    x, y = x.reshape(len(x), -1), y[:, None]
    params, _, loss = one_step(k, power, settings, params, None, x, y)
    return params, loss


line, pair = {"w": "3 2", "b": "2"}, ("4 1", "1")
rolling_line, adamw = (0.1, 0.9, 0.3), (0.1, 0.5)
some = sweep(3, 2, rolling_line, line, "12 3", "12 2", count=1)
check_values(
    through(accumulated, make_accumulating_step),
    steps_by_hand,
    some
    + sweep(2, 2, adamw, line, "8 3", "8 2", count=1, seed=1)
    + sweep(4, 4, (0.02, 0.5, 0.0), pair, "8 4", "8 1", count=1, seed=2),
    mistakes={
        "the gradients of the micro-batches are summed, not averaged": partial(
            steps_by_hand, step=summed
        ),
        "losses and gradients of the micro-batches are summed, not averaged": summed_with_losses,
        "only the last micro-batch has a gradient": partial(steps_by_hand, step=last_one),
        "the loss is that of the last micro-batch": partial(steps_by_hand, step=last_loss),
        "each micro-batch takes a step of its own": partial(steps_by_hand, step=one_each),
        "the updates of the micro-batches are averaged, not their gradients: the optimizer counts k steps": partial(
            steps_by_hand, step=updates_averaged
        ),
        "the rows of `x` and `y` are not split alike": partial(steps_by_hand, step=split_apart),
    },
    atol=1e-4,
    about="three steps, with SGD and AdamW",
)
((w, x, y),) = sweep("20 60", "24 20", "24", count=1, seed=3)
check_primitives(
    through(wide_step, make_accumulating_step),
    6,
    w,
    x,
    y,
    requires=["scan"],
    max_elements=1600,  # a gradient has 1200 numbers, and 4 examples have 1200 activations
    same_size_for=[(8, w, x, y)],
    static_argnums=(0,),
)
start, x, y = some[0][3:]
state = optax.sgd(0.1).init(start)
check_traces(
    result_of(make_accumulating_step, line_loss(2), optax.sgd(0.1), 2),
    [(start, state, x, y), (start, state, x, -y)],
)
### BEGIN HIDDEN TESTS
check_values(
    through(pictures, make_accumulating_step),
    pictures_by_hand,
    sweep(2, 2, (0.1, 0.0, 0.0), ("6 1", "1"), "6 2 3", "6", count=1, seed=4)
    + sweep(1, 4, (0.05, 0.0, 0.2), {"w": "4 1", "b": "1"}, "5 2 2", "5", count=1, seed=5),
    about="images with more axes, and one micro-batch",
)
### END HIDDEN TESTS

# %% [markdown]
# The temporary memory of your compiled step, for a batch of 8,192 images:

# %% tags=["raises-exception"]
large = x_train[:8192], y_train[:8192]
for k in (1, 16):
    accumulating = make_accumulating_step(loss_fn, optax.sgd(0.1), k)
    compiled = accumulating.lower(params, optax.sgd(0.1).init(params), *large).compile()
    print(f"k = {k:2}  {compiled.memory_analysis().temp_size_in_bytes / 1e6:5.1f} MB")

# %% [markdown]
# ## 8.8 Average the parameters (EMA)
#
# The last parameters of a training depend on the last batches. An *exponential moving average*, $a \leftarrow d\,a + (1-d)\,\theta$ after each step, removes most of this noise. You train $\theta$ as before, and evaluate $a$.
#
# `optax.incremental_update(new, old, step_size)` does this for pytrees, with `step_size` $1-d$. `optax.ema` is a transformation for a chain. It averages the *updates*, begins at zero and divides by $1-d^t$ to correct for that.
#
# ### Training with averaged parameters
# **Exercise** · 10 minutes · difficulty 3 of 5
#
# `fit_with_ema(step, score, params, opt_state, batches, decay)` takes one `step(params, opt_state, x, y)` for each batch and returns `(params, average, scores)`. `batches` is `(x, y)` with a first axis for the steps. `average` begins as the given `params`, and $d$ is `decay`. `scores` has a row for each step, which holds `score(params)` and `score(average)` after that step.
#
# The average does not influence the training. `decay` may be 0 or 1. `params` is any pytree, and `score` maps it to a scalar.
#
# The check compares values and looks for `scan`. The program must not grow with the number of steps.

# %% exercise="fit_with_ema"
def fit_with_ema(step, score, params, opt_state, batches, decay: float):
    """`(params, average, scores)`, where `scores` is Float[Array, "steps 2"]."""
    ### BEGIN SOLUTION
    def body(carry, batch):
        params, average, opt_state = carry
        params, opt_state, _ = step(params, opt_state, *batch)
        average = optax.incremental_update(params, average, step_size=1 - decay)
        return (params, average, opt_state), jnp.stack([score(params), score(average)])

    carry, scores = jax.lax.scan(body, (params, params, opt_state), batches)
    return *carry[:2], scores
    ### END SOLUTION

# %% [markdown] hints="fit_with_ema"
# <details><summary>Hint 1: the idea</summary>
#
# The carry has three parts: the parameters, their average and the optimizer state. The scores are the stacked outputs.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.lax.scan(body, (params, params, opt_state), batches)`: a tuple of arrays is scanned along the first axis of each. `jnp.stack` makes a row of two scores.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# In the body, first `params, opt_state, _ = step(params, opt_state, *batch)`, then `average = optax.incremental_update(params, average, 1 - decay)`, then the scores.
# </details>

# %% check="fit_with_ema" points=3
def fitted(fit, power, settings, decay, params, batches, held_out):
    loss, optimizer = line_loss(power), momentum(*settings)

    def step(params, opt_state, x, y):
        value, grads = jax.value_and_grad(loss)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    def score(params):
        return loss(params, *held_out)

    return fit(step, score, params, optimizer.init(params), batches, decay)


def fitted_lines(fit, params, batches, held_out):
    return fitted(fit, 2, (0.1, 0.9, 0.0), 0.8, params, batches, held_out)


def mixed(decay, average, new, old, t):
    return jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, new)


def debiased(decay, average, new, old, t):
    """The average that begins at zero and is divided by the sum of its weights."""
    before, after = 1 - decay**t, 1 - decay ** (t + 1)
    return jax.tree.map(
        lambda a, p: (decay * a * before + (1 - decay) * p) / (after or 1), average, new
    )


def of_updates(decay, average, new, old, t):
    moves = jax.tree.map(np.subtract, new, old)
    return mixed(decay, average, moves, old, t)


def ema_by_hand(
    power, settings, decay, params, batches, held_out,
    mix=mixed, first=lambda p: p, feed=False, keep=True, late=False,
):  # fmt: skip
    def score(params):
        return line_by_hand(power, params, *held_out)[0]

    average, state, scores = jax.tree.map(first, params), None, []
    for t, batch in enumerate(zip(*batches)):
        old, before = params, average
        grads = line_by_hand(power, params, *batch)[1]
        params, new_state = stepped_by_hand(settings, params, state, grads)
        state = new_state if keep else None
        average = mix(decay, average, params, old, t)
        scores.append([score(params), score(before if late else average)])
        params = average if feed else params
    return params, average, np.array(scores)


line, pair = {"w": "3 2", "b": "2"}, ("4 1", "1")
lines = sweep(line, ("5 6 3", "5 6 2"), ("4 3", "4 2"), count=2)
check_values(
    through(fitted, fit_with_ema),
    ema_by_hand,
    [(2, (0.1, 0.9, 0.0), 0.8, *lines[0]), (2, (0.2, 0.5, 0.1), 0.3, *lines[1])]
    + sweep(4, (0.02, 0.9, 0.0), 0.6, pair, ("4 3 4", "4 3 1"), ("5 4", "5 1"), count=1),
    mistakes={
        "`decay` and 1 - `decay` are exchanged": partial(
            ema_by_hand, mix=lambda decay, *args: mixed(1 - decay, *args)
        ),
        "the average begins at zero, not at the parameters": partial(
            ema_by_hand, first=np.zeros_like
        ),
        "the average leaves out the first parameters: it begins at zero and is corrected for that": partial(
            ema_by_hand, mix=debiased
        ),
        "the updates are averaged, not the parameters": partial(
            ema_by_hand, mix=of_updates, first=np.zeros_like
        ),
        "the parameters before each step are averaged": partial(
            ema_by_hand, mix=lambda decay, average, new, old, t: mixed(decay, average, old, old, t)
        ),
        "the training goes on from the average": partial(ema_by_hand, feed=True),
        "the optimizer's state is the first one at every step": partial(ema_by_hand, keep=False),
        "the average is scored before it is updated": partial(ema_by_hand, late=True),
    },
    about="the parameters, their average and the scores",
)
check_primitives(
    through(fitted_lines, fit_with_ema),
    *lines[0],
    requires=["scan"],
    same_size_for=sweep(line, ("9 6 3", "9 6 2"), ("4 3", "4 2"), count=1),
)
### BEGIN HIDDEN TESTS
check_values(
    through(fitted, fit_with_ema),
    ema_by_hand,
    [
        (2, (0.1, 0.5, 0.2), 0.0, *lines[1]),
        (2, (0.1, 0.5, 0.2), 1.0, *lines[1]),
        *sweep(2, (0.1, 0.0, 0.0), 0.9, pair, ("1 6 4", "1 6 1"), ("3 4", "3 1"), count=1, seed=3),
    ],
    about="a decay of 0 and of 1, and a single step",
)
### END HIDDEN TESTS

# %% [markdown]
# 200 steps of your function with batches of 32 and a large learning rate, scored by the loss of 500 validation images:

# %% tags=["raises-exception"]
noisy = optax.sgd(0.3)


def noisy_step(params, opt_state, x, y):
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
    updates, opt_state = noisy.update(grads, opt_state)
    return optax.apply_updates(params, updates), opt_state, loss


order = epoch_batches(jax.random.key(2), 0, 55_000, 32)[:200]
untrained = new_params(jax.random.key(2), sizes)
score = partial(loss_fn, x=x_valid[:500], y=y_valid[:500])
fit = jax.jit(partial(fit_with_ema, noisy_step, score))
raw, average, scores = fit(untrained, noisy.init(untrained), (x_train[order], y_train[order]), 0.95)
plt.figure("Validation loss of the parameters and of their average", figsize=(7, 3))
for column, name, colour in ((0, "raw", "C1"), (1, "average", "C0")):
    plt.plot(scores[:, column], color=colour)
    plt.annotate(name, (203, scores[-50:, column].max()), color=colour, fontsize=10)
plt.xlabel("step"), plt.ylabel("validation loss"), plt.xlim(0, 235), plt.ylim(0, 1.5)
plt.show()

# %% [markdown]
# *The validation loss after each step. That of the raw parameters (orange) jumps up and down. That of their average (blue) begins higher, and is then smooth and below nearly all of the orange line.*
#
# ## 8.9 Dropout with a key for each step
#
# Dropout (your `mlp_dropout` of lesson 05) needs a new key in each step. Scan over keys beside the batches, and evaluate without dropout:

# %%
def forward_dropout(params, x, key, rate):
    for layer, subkey in zip(params[:-1], jax.random.split(key, len(params) - 1)):
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        x = jnp.where(jax.random.bernoulli(subkey, 1 - rate, x.shape), x / (1 - rate), 0)
    return x @ params[-1]["w"] + params[-1]["b"]


def dropout_loss(params, x, y, key, rate):
    logits = forward_dropout(params, x, key, rate)
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


@jax.jit
def fit_with_dropout(params, x, y, order, keys, rate):
    def body(carry, batch):
        rows, key = batch
        grads = jax.grad(dropout_loss)(carry[0], x[rows], y[rows], key, rate)
        updates, opt_state = optimizer.update(grads, carry[1])
        return (optax.apply_updates(carry[0], updates), opt_state), None

    return jax.lax.scan(body, (params, optimizer.init(params)), (order, keys))[0][0]

# %% tags=["demonstration"]
thousand = x_train[:1000], y_train[:1000]
order = jnp.concatenate([epoch_batches(jax.random.key(3), i, 1000, 50) for i in range(12)])
keys = jax.random.split(jax.random.key(4), len(order))
for rate in (0.0, 0.5):
    fitted = fit_with_dropout(new_params(jax.random.key(5), sizes), *thousand, order, keys, rate)
    trained, valid = (jax.jit(loss_fn)(fitted, *data) for data in (thousand, (x_valid, y_valid)))
    print(f"rate {rate}  training loss {trained:.4f}  validation loss {valid:.4f}")

# %% [markdown]
# The network learns its 1,000 training images by heart. With dropout the training loss is higher, and the validation loss lower.
#
# ## 8.10 Freeze layers
#
# To fine-tune a network, you keep its lower layers fixed. `optax.masked(optimizer, mask)` applies an optimizer to the leaves that `mask` marks.
#
# **Prediction** · 2 minutes · difficulty 4 of 5
#
# The parameter `b` is 1.0, its gradient is 3.0, and the mask is `{"a": True, "b": False}`. What is `b` after one step of `optax.masked(optax.sgd(0.1), mask)` and `apply_updates`?

# %% exercise="masked_b" kind="prediction"
# A number.
### BEGIN SOLUTION
masked_b = 4.0
### END SOLUTION

# %% check="masked_b" points=1
def after_masked():
    params, grads = {"a": 1.0, "b": 1.0}, {"a": 3.0, "b": 3.0}
    optimizer = optax.masked(optax.sgd(0.1), {"a": True, "b": False})
    updates, _ = optimizer.update(grads, optimizer.init(params))
    return round(float(optax.apply_updates(params, updates)["b"]), 4)


check_answer(
    masked_b,
    after_masked,
    because="`masked` passes on what it does not mark, so the raw gradient is added to `b`.",
    mistakes={
        1.0: "that is the intention, but run it and print the updates",
        0.7: "that is `a`, which the mask marks",
        -2.0: "`apply_updates` adds the update, and here the update is the gradient itself",
    },
)

# %% [markdown]
# ### Bug hunt: frozen layers that move
#
# Here only the last layer should be trained:

# %% tags=["demonstration"]
mask = [False, False, True]
broken_optimizer = optax.masked(optax.sgd(0.01), mask)
grads = jax.jit(jax.grad(loss_fn))(params, *batch)
updates, _ = broken_optimizer.update(grads, broken_optimizer.init(params))
for i, layer in enumerate(updates):
    print("layer", i, "moves by", optax.global_norm(layer), "of", optax.global_norm(grads[i]))

# %% [markdown]
# The frozen layers move by their whole gradient: a hundred times as far as with this learning rate, and uphill.
#
# > **In PyTorch**, you freeze a parameter with `requires_grad = False`. In JAX you choose what is updated, or with respect to what you differentiate.
#
# ### Train only the last layer
# **Exercise** · 6 minutes · difficulty 3 of 5
#
# `train_only_last(optimizer)` returns an Optax optimizer for a list of layers. The last layer gets the updates of `optimizer`, and all others stay exactly as they are.
#
# The list may have any length. `optimizer` may be any optimizer: AdamW, for example, changes parameters even where the gradient is zero. The gradients of the frozen layers may be anything, including NaN.
#
# The check compares the parameters after two steps.

# %% exercise="train_only_last"
def train_only_last(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """`optimizer` for the last layer of a list. The other layers do not change."""
    ### BEGIN SOLUTION
    def labels(params):
        return ["frozen"] * (len(params) - 1) + ["trained"]

    return optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)
    ### END SOLUTION

# %% [markdown] hints="train_only_last"
# <details><summary>Hint 1: the idea</summary>
#
# Give each part of the pytree its own optimizer. The one for the frozen part has updates of zero.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `optax.partition({label: optimizer, ...}, labels)`, called `multi_transform` in older code. `labels` is a pytree of labels, or a function that makes it from the parameters. One label may stand for a whole subtree. `optax.set_to_zero()`.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)`, where `labels(params)` returns one label for each layer of the list.
# </details>

# %% check="train_only_last" points=3
def two_updates(freeze, rate, decay, params, grads):
    optimizer = optax.adamw(rate, weight_decay=decay) if decay else optax.sgd(rate)
    optimizer = freeze(optimizer)
    opt_state = optimizer.init(params)
    for t in (1, 2):
        now = jax.tree.map(lambda g: g / t, grads)
        updates, opt_state = optimizer.update(now, opt_state, params)
        params = optax.apply_updates(params, updates)
    return params


def last_by_hand(rate, decay, params, grads, rest=lambda p, g, rate: p):
    step = lambda p, g: p - 1.5 * rate * g
    frozen = jax.tree.map(lambda p, g: rest(p, g, rate), params[:-1], grads[:-1])
    return frozen + jax.tree.map(step, params[-1:], grads[-1:])


def last_by_adamw(rate, decay, params, grads):
    last, moments = params[-1:], [jax.tree.map(np.zeros_like, params[-1:])] * 2
    for t in (1, 2):
        now = jax.tree.map(lambda g: g / t, grads[-1:])
        shrunk = jax.tree.map(lambda p: rate * decay * p, last)
        last, moments = adam_by_hand(last, moments, now, t, rate)
        last = jax.tree.map(np.subtract, last, shrunk)
    return params[:-1] + last


three = [{"w": "3 5", "b": "5"}, {"w": "5 4", "b": "4"}, {"w": "4 2", "b": "2"}]
pairs = [("3 4", "4"), ("4 3", "3"), ("3 2", "2")]
check_values(
    through(two_updates, train_only_last),
    last_by_hand,
    sweep(0.1, 0.0, three, three, count=1),
    mistakes={
        "the frozen layers move by their raw gradients": partial(
            last_by_hand, rest=lambda p, g, rate: p + 1.5 * g
        ),
        "nothing is frozen": partial(last_by_hand, rest=lambda p, g, rate: p - 1.5 * rate * g),
    },
    about="SGD",
)
check_values(
    through(two_updates, train_only_last),
    last_by_adamw,
    sweep(0.1, 0.5, three, three, count=1) + sweep(0.3, 0.2, pairs, pairs, count=1),
    mistakes={
        "the frozen layers shrink": lambda rate, decay, params, grads: (
            jax.tree.map(lambda p: (1 - rate * decay) ** 2 * p, params[:-1])
            + last_by_adamw(rate, decay, params, grads)[-1:]
        )
    },
    atol=1e-4,
    about="AdamW, which shrinks the parameters",
)
### BEGIN HIDDEN TESTS
_, _, whole, wild = sweep(0.1, 0.0, three, three, count=1, seed=4)[0]
wild[0]["w"][0, 0], wild[1]["b"][2] = np.nan, np.inf
check_values(
    through(two_updates, train_only_last),
    last_by_hand,
    sweep(0.2, 0.0, three[1:], three[1:], count=1, seed=2)
    + sweep(0.1, 0.0, three[:1], three[:1], count=1, seed=3)
    + sweep(0.1, 0.0, pairs * 2, pairs * 2, count=1, planted=True)
    + [(0.1, 0.0, whole, wild)],
    mistakes={
        "the updates of the frozen layers are multiplied by 0, and 0 times NaN is NaN": partial(
            last_by_hand, rest=lambda p, g, rate: p + 0 * g
        )
    },
    about="other lengths, and frozen layers with gradients of NaN",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 8.11 Gradients of single images, and adversarial images
#
# The norms of per-example gradients (your `gradient_norms` of lesson 06) show which images matter:

# %%
few = slice(0, 32)
each = jax.jit(jax.vmap(jax.grad(loss_fn), (None, 0, 0)))(
    params, x_valid[few, None], y_valid[few, None]
)
squares = [np.sum(np.square(leaf).reshape(32, -1), axis=1) for leaf in jax.tree.leaves(each)]
sizes_of_gradients = np.sqrt(sum(squares))
largest = np.argsort(-sizes_of_gradients)[:8]
probabilities = jax.jit(lambda params, x: jax.nn.softmax(forward(params, x)))
p_true = np.asarray(probabilities(params, x_valid[few]))[np.arange(32), y_valid[few]]
show(
    x_valid[largest],
    [f"{y_valid[i]}: p {p_true[i]:.3f}\n{sizes_of_gradients[i]:.2g}" for i in largest],
)
print("median of the 32:", np.median(sizes_of_gradients), "largest:", sizes_of_gradients.max())

# %% [markdown]
# *The eight of the first 32 validation images with the largest gradients, with label, probability of the true digit, and norm. The largest norm is more than a hundred times the median.*
#
# The gradient with respect to the logits is the softmax minus the one-hot label, and all other gradients are products with it. So an image that the network is certain about has almost no gradient, and a doubtful or mislabelled one has a large gradient.
#
# The gradient with respect to the *input* says how to change each pixel to increase the loss.
#
# ### The fast gradient sign method
# **Exercise** · 5 minutes · difficulty 3 of 5
#
# `adversarial(loss_fn, params, x, y, epsilon)` returns `x` with each pixel moved by `epsilon` in the direction of the *sign* of the gradient, and then clipped to the range from 0 to 1.
#
# A pixel with gradient zero does not move. `loss_fn` may be any loss of a batch.
#
# The check compares values.

# %% exercise="adversarial"
@partial(jax.jit, static_argnames="loss_fn")
def adversarial(loss_fn, params, x: Float[Array, "batch features"], y, epsilon: float):
    """Images of the shape of `x`, each pixel at most `epsilon` away, with a higher loss."""
    ### BEGIN SOLUTION
    slope = jax.grad(loss_fn, argnums=1)(params, x, y)
    return jnp.clip(x + epsilon * jnp.sign(slope), 0, 1)
    ### END SOLUTION

# %% [markdown] hints="adversarial"
# <details><summary>Hint 1: the idea</summary>
#
# Differentiate the same loss with respect to another argument, and go uphill.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.grad(..., argnums=...)`, `jnp.sign`, `jnp.clip`.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# `jnp.clip(x + epsilon * jnp.sign(slope), 0, 1)`, where `slope` is the gradient with `argnums=1`.
# </details>

# %% check="adversarial" points=2
def fooled(attack, params, x, y, epsilon):
    return attack(loss_fn, params, x, y, epsilon)


def line_fooled(attack, power, params, x, y, epsilon):
    return attack(line_loss(power), params, x, y, epsilon)


def signs_by_hand(params, x, y, epsilon, way=np.sign, cut=1.0):
    moved = x + epsilon * way(by_hand(params, x, y)[2])
    return np.clip(moved, 1 - cut, cut)


def line_signs(power, params, x, y, epsilon):
    return np.clip(x + epsilon * np.sign(line_by_hand(power, params, x, y)[2]), 0, 1)


layers = [{"w": "6 5", "b": "5"}, {"w": "5 3", "b": "3"}]
check_values(
    through(fooled, adversarial),
    signs_by_hand,
    sweep(layers, uniform("4 6", 0.3, 0.7), integers("4", 0, 3), 0.1, count=2)
    + sweep(layers[1:], uniform("7 5", 0.3, 0.7), integers("7", 0, 3), 0.02, count=1),
    mistakes={
        "downhill: the image becomes a better example": lambda *a: signs_by_hand(
            *a, way=lambda g: -np.sign(g)
        ),
        "a step along the gradient and not its sign": lambda *a: signs_by_hand(*a, way=lambda g: g),
        "a step of 1, whatever `epsilon` is": lambda p, x, y, e: signs_by_hand(p, x, y, 1.0),
    },
    about="grey images",
)
check_values(
    through(fooled, adversarial),
    signs_by_hand,
    sweep(layers, uniform("4 6"), integers("4", 0, 3), 0.4, count=1, seed=1),
    mistakes={"pixels beyond black and white": partial(signs_by_hand, cut=99.0)},
    about="pixels near black and white",
)
### BEGIN HIDDEN TESTS
((deaf, x, y, epsilon),) = sweep(layers, uniform("4 6"), integers("4", 0, 3), 0.2, count=1, seed=2)
deaf[0]["w"][2:4] = 0
check_values(
    through(fooled, adversarial),
    signs_by_hand,
    [(deaf, x, y, epsilon)],
    about="pixels that do not affect the network",
)
check_values(
    through(line_fooled, adversarial),
    line_signs,
    sweep(2, ("3 2", "2"), uniform("5 3"), "5 2", 0.3, count=2)
    + sweep(4, {"w": "4 1", "b": "1"}, uniform("7 4"), "7 1", 0.05, count=1),
    about="another loss",
)
### END HIDDEN TESTS

# %%
image, label = x_valid[58:59], y_valid[58:59]
slope_by_pixel = jax.jit(jax.grad(loss_fn, argnums=1))
slope = slope_by_pixel(params, image, label)
pictures, titles = [], []
for epsilon in (0.0, 0.05, 0.1, 0.15, 0.2):
    moved = jnp.clip(image + epsilon * jnp.sign(slope), 0, 1)
    p = probabilities(params, moved)[0]
    pictures.append(moved)
    titles.append(f"by {epsilon}: {jnp.argmax(p)}\np {p.max():.2f}")
show(pictures, titles, columns=5)
moved = jnp.clip(x_valid + 0.1 * jnp.sign(slope_by_pixel(params, x_valid, y_valid)), 0, 1)
print("validation accuracy, pixels moved by 0.1:", accuracy(params, moved, y_valid))

# %% [markdown]
# *One validation image, a 5: unchanged, and with each pixel moved by 0.05, 0.1, 0.15 and 0.2, with the predicted digit and its probability. You can still read a 5. The network predicts another digit from 0.1 on.*
#
# The accuracy falls from more than 97 % to less than 20 %. Each change is small, but in 784 dimensions they add up.
#
# ## 8.12 Time a step with and without jit
#
# The first call with `jit` compiles, so time it apart, and wait for each result (lesson 03):

# %%
descent = optax.sgd(1e-3)


def plain_step(params, opt_state, x, y):
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
    updates, opt_state = descent.update(grads, opt_state)
    return optax.apply_updates(params, updates), opt_state, loss


plt.figure("Time of each step, with and without jit", figsize=(7, 3))
for name, f in {"without jit": plain_step, "with jit": jax.jit(plain_step)}.items():
    carry, milliseconds = (params, descent.init(params)), []
    for _ in range(20):
        start = time.perf_counter()
        *carry, loss = jax.block_until_ready(f(*carry, *batch))
        milliseconds.append(1e3 * (time.perf_counter() - start))
    plt.semilogy(range(1, 21), milliseconds, ".")
    plt.annotate(f" {name}", (20, milliseconds[-1]), fontsize=10)
    print(
        f"{name:12} first {milliseconds[0]:7.1f} ms, the others {np.mean(milliseconds[1:]):.2f} ms"
    )
plt.xticks((1, 5, 10, 15, 20)), plt.xlim(0, 26), plt.xlabel("step"), plt.ylabel("milliseconds")
plt.show()

# %% [markdown]
# *One dot for each step, on a logarithmic scale. With `jit`, the first dot is far above the others. The others are several times lower than those without `jit`. The first step without `jit` is slow as well, because each operation is compiled separately.*
#
# ## 8.13 A data-parallel training step
#
# As in lesson 07, parameters and optimizer state are replicated, and the batch is split along its first axis. Simulated devices share one processor, so the step is not faster than on one device.

# %%
mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,))
image, label = jax.device_put(batch, NamedSharding(mesh, P("data")))
jax.debug.visualize_array_sharding(image)

# %% [markdown]
# *A table of the batch of 128 images, split into one band of rows for each device.*
#
# ### Data-parallel make_step
# **Exercise** · 10 minutes · difficulty 4 of 5
#
# `make_parallel_step(loss_fn, optimizer, mesh)` returns a jitted `step(params, opt_state, x, y)` with the results of `make_step`. It shares the batch among the devices of the mesh, whose one axis is `"data"`. The loss that it returns is that of the whole batch.
#
# `loss_fn` may be any mean over a batch, `optimizer` any Optax optimizer, and the mesh may have any number of devices.
#
# The check compares three steps with the single-device step. It allows one to six all-reduces, together at most twice the bytes of the gradients and the loss, and no other message.

# %% exercise="make_parallel_step"
def make_parallel_step(loss_fn, optimizer, mesh: jax.sharding.Mesh):
    """A jitted data-parallel `step(params, opt_state, x, y)`: `(params, opt_state, loss)`."""
    ### BEGIN SOLUTION
    def mean_loss(params, x, y):
        return jax.lax.pmean(loss_fn(params, x, y), "data")

    @jax.jit
    @partial(jax.shard_map, mesh=mesh, in_specs=(P(), P(), P("data"), P("data")), out_specs=P())
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(mean_loss)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step
    ### END SOLUTION

# %% [markdown] hints="make_parallel_step"
# <details><summary>Hint 1: the idea</summary>
#
# The mean over the batch is the mean of the devices' local means. Average the loss before you differentiate, as in the first recall question.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.shard_map` with `in_specs=(P(), P(), P("data"), P("data"))`, and `jax.lax.pmean(loss, "data")`. Or use `jax.jit` with `in_shardings`, and the compiler inserts the collectives.
# </details>
# <details><summary>Hint 3: the code</summary>
#
# Put `@jax.jit` above `@partial(jax.shard_map, mesh=mesh, in_specs=..., out_specs=P())`. In the step, differentiate a function that returns `jax.lax.pmean(loss_fn(params, x, y), "data")`.
# </details>

# %% check="make_parallel_step" points=3
def mesh_of(count):
    return jax.make_mesh(
        (count,), ("data",), devices=devices[:count], axis_types=(AxisType.Auto,)
    )


def parallel_steps(make, power, settings, count, params, x, y):
    optimizer, losses = momentum(*settings), []
    step, opt_state = make(line_loss(power), optimizer, mesh_of(count)), optimizer.init(params)
    for _ in range(3):
        params, opt_state, loss = step(params, opt_state, x, y)
        losses.append(loss)
    return params, jnp.stack(losses)


def single_steps(power, settings, count, params, x, y, factor=1.0):
    def scaled(grads, norm):
        return jax.tree.map(lambda g: factor * g, grads)

    return momentum_by_hand(power, settings, params, x, y, scaled)[:2]


n, sgd = len(devices), (0.05, 0.0, 0.0)
line, pair = {"w": "3 2", "b": "2"}, ("4 1", "1")
some = sweep(2, sgd, n, line, f"{4 * n} 3", f"{4 * n} 2", count=1)
start, x, y = some[0][3:]
check_values(
    through(parallel_steps, make_parallel_step),
    single_steps,
    some + sweep(4, (0.02, 0.9, 0.1), n, pair, f"{2 * n} 4", f"{2 * n} 1", count=1),
    mistakes={
        "the gradients are summed over the devices": partial(single_steps, factor=float(n)),
        "the devices exchange nothing: each takes a step of its own": lambda *args: single_steps(
            *args[:4], *(part[: len(part) // n] for part in args[4:])
        ),
    },
    about="equal to the single-device step",
)
check_collectives(
    result_of(make_parallel_step, line_loss(2), optax.sgd(0.05), mesh_of(n)),
    start,
    optax.sgd(0.05).init(start),
    x,
    y,
    at_least={"all-reduce": 1},
    at_most={"all-reduce": 6},
    max_bytes=2 * 4 * 9,  # 8 gradients and the loss, perhaps twice
)
### BEGIN HIDDEN TESTS
check_values(
    through(parallel_steps, make_parallel_step),
    single_steps,
    sweep(2, (0.05, 0.5, 0.0), 2, line, "6 3", "6 2", count=1, seed=6),
    about="two devices",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 8.14 One look at the test set
#
# All decisions are made, and you keep the network of 8.4. Now look at the test images:

# %% tags=["demonstration"]
print("test accuracy", accuracy(params, x_test, y_test))
predicted = np.argmax(jax.jit(forward)(params, x_test), axis=1)
table = np.histogram2d(mnist.y_test, predicted, bins=10)[0].astype(int)
_, axis = plt.subplots(num="Confusion matrix of the test images", figsize=(6, 5.4))
axis.imshow(np.log1p(table), cmap="Blues")
for i, j in np.argwhere(table > 0):
    axis.text(j, i, table[i, j], ha="center", va="center", color="w" if i == j else "k")
axis.set(xticks=range(10), yticks=range(10), xlabel="predicted digit", ylabel="true digit")
plt.show()

# %% [markdown]
# *Rows are the true digits, columns the predicted digits, with the count in each square. Nearly all of the 10,000 are on the diagonal. The largest counts beside it are pairs that people confuse too, such as 4 and 9, or 2 and 7.*
#
# If you now changed the training to improve this number, it would no longer tell you about new images.
#
# ## What to remember
#
# 1. Test the loss, the step and the epoch alone. With a learning rate of zero, or one batch an epoch, you can check a random training by hand.
# 2. Return everything that changes: parameters, optimizer state, average, key.
# 3. `optax.chain` applies its parts from left to right: clip, Adam, decay, learning rate.
# 4. Accumulate the *mean gradient* and call the optimizer once. Average *parameters* with `incremental_update`, apart from the training.
# 5. Freeze layers with `partition` and `set_to_zero`. `masked` passes on the raw gradient.
#
# ## Further reading
#
# - Optax: [Getting started](https://optax.readthedocs.io/en/latest/getting_started.html), [Optimizer schedules](https://optax.readthedocs.io/en/latest/api/optimizer_schedules.html), [Combining optimizers](https://optax.readthedocs.io/en/latest/api/combining_optimizers.html).
# - Goodfellow, Shlens and Szegedy, [Explaining and harnessing adversarial examples](https://arxiv.org/abs/1412.6572) (2015). Loshchilov and Hutter, [Decoupled weight decay regularization](https://arxiv.org/abs/1711.05101) (2019). Pascanu, Mikolov and Bengio, [On the difficulty of training recurrent neural networks](https://arxiv.org/abs/1211.5063) (2013), on clipping. Polyak and Juditsky, [Acceleration of stochastic approximation by averaging](https://epubs.siam.org/doi/10.1137/0330046) (1992).
#
# ## Previous and next
#
# Lesson 07 spread arrays over devices. Lesson 09 builds the network of this lesson in Flax NNX, whose modules hold the parameters, and shows that the numbers are equal.
