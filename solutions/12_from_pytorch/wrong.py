# %% wrong="xor_forward" says="the weights are used as (inputs, outputs)"
def xor_forward(state, x):
    hidden = jax.nn.sigmoid(x @ state["hidden.weight"] + state["hidden.bias"])
    return jax.nn.sigmoid(hidden @ state["output.weight"] + state["output.bias"])

# %% wrong="xor_forward" says="no sigmoid after the output layer"
def xor_forward(state, x):
    hidden = jax.nn.sigmoid(x @ state["hidden.weight"].T + state["hidden.bias"])
    return hidden @ state["output.weight"].T + state["output.bias"]

# %% wrong="xor_forward" says="no sigmoid after the hidden layer"
def xor_forward(state, x):
    hidden = x @ state["hidden.weight"].T + state["hidden.bias"]
    return jax.nn.sigmoid(hidden @ state["output.weight"].T + state["output.bias"])

# %% wrong="xor_forward" says="reshape"
def xor_forward(state, x):
    hidden = jax.nn.sigmoid(x @ state["hidden.weight"].T + state["hidden.bias"])
    output = jax.nn.sigmoid(hidden @ state["output.weight"].T + state["output.bias"])
    return output.reshape(x.shape)

# %% wrong="xor_forward" says="right for the visible inputs, wrong on hidden ones"
def xor_forward(state, x):
    rows = jnp.atleast_2d(x)
    hidden = jax.nn.sigmoid(jnp.einsum("bi,hi->bh", rows, state["hidden.weight"]) + state["hidden.bias"])
    output = jax.nn.sigmoid(jnp.einsum("bh,oh->bo", hidden, state["output.weight"]) + state["output.bias"])
    return output if x.ndim == 2 else output[0]

# %% wrong="train_xor" says="the gradients add up"
def train_xor(state, x, y, learning_rate, epochs):
    def loss_fn(state, x, y):
        hidden = jax.nn.sigmoid(x @ state["hidden.weight"].T + state["hidden.bias"])
        output = jax.nn.sigmoid(hidden @ state["output.weight"].T + state["output.bias"])
        return jnp.mean((output - y) ** 2)

    grads, losses = jax.tree.map(jnp.zeros_like, state), []
    for _ in range(epochs):
        for i in range(len(x)):
            loss, new = jax.value_and_grad(loss_fn)(state, x[i], y[i])
            grads = jax.tree.map(jnp.add, grads, new)
            state = jax.tree.map(lambda p, g: p - learning_rate * g, state, grads)
            losses.append(loss)
    return state, jnp.array(losses).reshape(epochs, len(x))

# %% wrong="train_xor" says="the losses are those after the update"
def train_xor(state, x, y, learning_rate, epochs):
    def loss_fn(state, x, y):
        hidden = jax.nn.sigmoid(x @ state["hidden.weight"].T + state["hidden.bias"])
        output = jax.nn.sigmoid(hidden @ state["output.weight"].T + state["output.bias"])
        return jnp.mean((output - y) ** 2)

    losses = []
    for _ in range(epochs):
        for i in range(len(x)):
            grads = jax.grad(loss_fn)(state, x[i], y[i])
            state = jax.tree.map(lambda p, g: p - learning_rate * g, state, grads)
            losses.append(loss_fn(state, x[i], y[i]))
    return state, jnp.array(losses).reshape(epochs, len(x))

# %% wrong="train_xor" says="one update for each epoch"
def train_xor(state, x, y, learning_rate, epochs):
    def losses_of(state):
        hidden = jax.nn.sigmoid(x @ state["hidden.weight"].T + state["hidden.bias"])
        output = jax.nn.sigmoid(hidden @ state["output.weight"].T + state["output.bias"])
        losses = jnp.mean((output - y) ** 2, axis=1)
        return losses.mean(), losses

    rows = []
    for _ in range(epochs):
        grads, losses = jax.grad(losses_of, has_aux=True)(state)
        state = jax.tree.map(lambda p, g: p - learning_rate * g, state, grads)
        rows.append(losses)
    return state, jnp.stack(rows)

# %% wrong="train_xor" says="uphill"
def train_xor(state, x, y, learning_rate, epochs):
    def loss_fn(state, x, y):
        hidden = jax.nn.sigmoid(x @ state["hidden.weight"].T + state["hidden.bias"])
        output = jax.nn.sigmoid(hidden @ state["output.weight"].T + state["output.bias"])
        return jnp.mean((output - y) ** 2)

    def step(state, row):
        loss, grads = jax.value_and_grad(loss_fn)(state, *row)
        return jax.tree.map(lambda p, g: p + learning_rate * g, state, grads), loss

    return jax.lax.scan(lambda s, _: jax.lax.scan(step, s, (x, y)), state, length=epochs)

# %% wrong="train_xor" says="the sum of the squares where MSELoss is the mean"
def train_xor(state, x, y, learning_rate, epochs):
    def loss_fn(state, x, y):
        hidden = jax.nn.sigmoid(x @ state["hidden.weight"].T + state["hidden.bias"])
        output = jax.nn.sigmoid(hidden @ state["output.weight"].T + state["output.bias"])
        return jnp.sum((output - y) ** 2), jnp.mean((output - y) ** 2)

    def step(state, row):
        grads, loss = jax.grad(loss_fn, has_aux=True)(state, *row)
        return jax.tree.map(lambda p, g: p - learning_rate * g, state, grads), loss

    return jax.lax.scan(lambda s, _: jax.lax.scan(step, s, (x, y)), state, length=epochs)

# %% wrong="train_xor" says="needs a concrete value while it is traced"
def train_xor(state, x, y, learning_rate, epochs):
    def loss_fn(state, x, y):
        hidden = jax.nn.sigmoid(x @ state["hidden.weight"].T + state["hidden.bias"])
        output = jax.nn.sigmoid(hidden @ state["output.weight"].T + state["output.bias"])
        return jnp.mean((output - y) ** 2)

    losses = []
    for _ in range(epochs):
        for i in range(len(x)):
            loss, grads = jax.value_and_grad(loss_fn)(state, x[i], y[i])
            state = jax.tree.map(lambda p, g: p - learning_rate * g, state, grads)
            losses.append(loss.item())
    return state, jnp.array(losses).reshape(epochs, len(x))

# %% wrong="train_xor" says="changes its argument"
def train_xor(state, x, y, learning_rate, epochs):
    def loss_fn(state, x, y):
        hidden = jax.nn.sigmoid(x @ state["hidden.weight"].T + state["hidden.bias"])
        output = jax.nn.sigmoid(hidden @ state["output.weight"].T + state["output.bias"])
        return jnp.mean((output - y) ** 2)

    losses = []
    for _ in range(epochs):
        for i in range(len(x)):
            loss, grads = jax.value_and_grad(loss_fn)(state, x[i], y[i])
            for name in state:
                state[name] = state[name] - learning_rate * grads[name]
            losses.append(loss)
    return state, jnp.array(losses).reshape(epochs, len(x))

# %% wrong="train_xor" says="right for the visible inputs, wrong on hidden ones"
def train_xor(state, x, y, learning_rate, epochs):
    def loss_fn(state, x, y):
        hidden = jax.nn.sigmoid(x @ state["hidden.weight"].T + state["hidden.bias"])
        output = jax.nn.sigmoid(hidden @ state["output.weight"].T + state["output.bias"])
        return jnp.mean((output - y) ** 2)

    def step(state, row):
        loss, grads = jax.value_and_grad(loss_fn)(state, *row)
        return jax.tree.map(lambda p, g: p - learning_rate * g, state, grads), loss

    state, losses = jax.lax.scan(lambda s, _: jax.lax.scan(step, s, (x, y)), state, length=epochs)
    return state, jnp.squeeze(losses)

# %% wrong="accumulated_sgd" says="the buffer is not cleared"
def accumulated_sgd(loss_fn, params, xs, ys, learning_rate, every):
    def body(carry, batch):
        params, grads = carry
        i, x, y = batch
        loss, new = jax.value_and_grad(loss_fn)(params, x, y)
        grads = jax.tree.map(jnp.add, grads, new)
        update = (i + 1) % every == 0
        params = jax.tree.map(lambda p, g: jnp.where(update, p - learning_rate * g, p), params, grads)
        return (params, grads), loss

    carry = params, jax.tree.map(jnp.zeros_like, params)
    (params, grads), losses = jax.lax.scan(body, carry, (jnp.arange(len(xs)), xs, ys))
    return params, grads, losses

# %% wrong="accumulated_sgd" says="the mean of the gradients"
def accumulated_sgd(loss_fn, params, xs, ys, learning_rate, every):
    def body(carry, batch):
        params, grads = carry
        i, x, y = batch
        loss, new = jax.value_and_grad(loss_fn)(params, x, y)
        grads = jax.tree.map(jnp.add, grads, new)
        update = (i + 1) % every == 0
        rate = jnp.where(update, learning_rate / every, 0.0)
        params = jax.tree.map(lambda p, g: p - rate * g, params, grads)
        return (params, jax.tree.map(lambda g: jnp.where(update, 0.0, g), grads)), loss

    carry = params, jax.tree.map(jnp.zeros_like, params)
    (params, grads), losses = jax.lax.scan(body, carry, (jnp.arange(len(xs)), xs, ys))
    return params, grads, losses

# %% wrong="accumulated_sgd" says="an update after each micro-batch"
def accumulated_sgd(loss_fn, params, xs, ys, learning_rate, every):
    def body(params, batch):
        loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), loss

    params, losses = jax.lax.scan(body, params, (xs, ys))
    return params, jax.tree.map(jnp.zeros_like, params), losses

# %% wrong="accumulated_sgd" says="the last, incomplete group makes an update too"
def accumulated_sgd(loss_fn, params, xs, ys, learning_rate, every):
    def body(carry, batch):
        params, grads = carry
        i, x, y = batch
        loss, new = jax.value_and_grad(loss_fn)(params, x, y)
        grads = jax.tree.map(jnp.add, grads, new)
        update = ((i + 1) % every == 0) | (i == len(xs) - 1)
        params = jax.tree.map(lambda p, g: jnp.where(update, p - learning_rate * g, p), params, grads)
        return (params, jax.tree.map(lambda g: jnp.where(update, 0.0, g), grads)), loss

    carry = params, jax.tree.map(jnp.zeros_like, params)
    (params, grads), losses = jax.lax.scan(body, carry, (jnp.arange(len(xs)), xs, ys))
    return params, grads, losses

# %% wrong="accumulated_sgd" says="the gradients of the last, incomplete group are missing"
def accumulated_sgd(loss_fn, params, xs, ys, learning_rate, every):
    def body(carry, batch):
        params, grads = carry
        i, x, y = batch
        loss, new = jax.value_and_grad(loss_fn)(params, x, y)
        grads = jax.tree.map(jnp.add, grads, new)
        update = (i + 1) % every == 0
        params = jax.tree.map(lambda p, g: jnp.where(update, p - learning_rate * g, p), params, grads)
        return (params, jax.tree.map(lambda g: jnp.where(update, 0.0, g), grads)), loss

    zeros = jax.tree.map(jnp.zeros_like, params)
    (params, _), losses = jax.lax.scan(body, (params, zeros), (jnp.arange(len(xs)), xs, ys))
    return params, zeros, losses

# %% wrong="accumulated_sgd" says="scan"
def accumulated_sgd(loss_fn, params, xs, ys, learning_rate, every):
    grads, losses = jax.tree.map(jnp.zeros_like, params), []
    for i in range(len(xs)):
        loss, new = jax.value_and_grad(loss_fn)(params, xs[i], ys[i])
        grads = jax.tree.map(jnp.add, grads, new)
        losses.append(loss)
        if (i + 1) % every == 0:
            params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
            grads = jax.tree.map(jnp.zeros_like, params)
    return params, grads, jnp.stack(losses)

# %% wrong="accumulated_sgd" says="right for the visible inputs, wrong on hidden ones"
def accumulated_sgd(loss_fn, params, xs, ys, learning_rate, every):
    every = min(every, len(xs))

    def body(carry, batch):
        params, grads = carry
        i, x, y = batch
        loss, new = jax.value_and_grad(loss_fn)(params, x, y)
        grads = jax.tree.map(jnp.add, grads, new)
        update = (i + 1) % every == 0
        params = jax.tree.map(lambda p, g: jnp.where(update, p - learning_rate * g, p), params, grads)
        return (params, jax.tree.map(lambda g: jnp.where(update, 0.0, g), grads)), loss

    carry = params, jax.tree.map(jnp.zeros_like, params)
    (params, grads), losses = jax.lax.scan(body, carry, (jnp.arange(len(xs)), xs, ys))
    return params, grads, losses

# %% wrong="port_sgd" says="the decay is decoupled"
def port_sgd(lr, momentum, weight_decay, nesterov):
    return optax.chain(
        optax.trace(momentum, nesterov), optax.add_decayed_weights(weight_decay), optax.scale(-lr)
    )

# %% wrong="port_sgd" says="`weight_decay` makes no difference"
def port_sgd(lr, momentum, weight_decay, nesterov):
    return optax.sgd(lr, momentum=momentum, nesterov=nesterov)

# %% wrong="port_sgd" says="`nesterov` makes no difference"
def port_sgd(lr, momentum, weight_decay, nesterov):
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(lr, momentum))

# %% wrong="port_sgd" says="the velocity is a running mean"
def port_sgd(lr, momentum, weight_decay, nesterov):
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.ema(momentum, debias=False),
        optax.scale(-lr),
    )

# %% wrong="port_sgd" says="right for the visible inputs, wrong on hidden ones"
def port_sgd(lr, momentum, weight_decay, nesterov):
    if nesterov:
        return optax.sgd(lr, momentum=momentum, nesterov=True)
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(lr, momentum))

# %% wrong="hooked" says="with respect to the inputs of the sigmoids"
def hooked(params, x, y):
    def loss_fn(taps):
        h, activations = x, []
        for layer, tap in zip(params, taps):
            h = jax.nn.sigmoid(h @ layer["w"] + layer["b"] + tap)
            activations.append(h)
        return jnp.mean((h - y) ** 2), activations

    taps = [jnp.zeros((len(x), layer["b"].size)) for layer in params]
    gradients, activations = jax.grad(loss_fn, has_aux=True)(taps)
    return activations, gradients

# %% wrong="hooked" says="the loss is half the mean"
def hooked(params, x, y):
    def loss_fn(taps):
        h, activations = x, []
        for layer, tap in zip(params, taps):
            h = jax.nn.sigmoid(h @ layer["w"] + layer["b"]) + tap
            activations.append(h)
        return 0.5 * jnp.mean((h - y) ** 2), activations

    taps = [jnp.zeros((len(x), layer["b"].size)) for layer in params]
    gradients, activations = jax.grad(loss_fn, has_aux=True)(taps)
    return activations, gradients

# %% wrong="hooked" says="tracer"
def hooked(params, x, y):
    activations = []

    def loss_fn(taps):
        h = x
        for layer, tap in zip(params, taps):
            h = jax.nn.sigmoid(h @ layer["w"] + layer["b"]) + tap
            activations.append(h)
        return jnp.mean((h - y) ** 2)

    taps = [jnp.zeros((len(x), layer["b"].size)) for layer in params]
    gradients = jax.grad(loss_fn)(taps)
    return activations, gradients

# %% wrong="hooked" says="it keeps a tracer in"
captured = []

def hooked(params, x, y):
    captured.clear()

    def loss_fn(taps, h):
        for layer, tap in zip(params, taps):
            h = jax.nn.sigmoid(h @ layer["w"] + layer["b"]) + tap
        return jnp.mean((h - y) ** 2)

    h = x
    for layer in params:
        h = jax.nn.sigmoid(h @ layer["w"] + layer["b"])
        captured.append(h)
    return list(captured), jax.grad(loss_fn)([jnp.zeros_like(a) for a in captured], x)

# %% wrong="hooked" says="right for the visible inputs, wrong on hidden ones"
def hooked(params, x, y):
    def loss_fn(taps):
        h, activations = x, []
        for layer, tap in zip(params, taps):
            h = jax.nn.sigmoid(h @ layer["w"] + layer["b"]) + tap
            activations.append(jnp.squeeze(h))
        return jnp.mean((h - y) ** 2), activations

    taps = [jnp.zeros((len(x), layer["b"].size)) for layer in params]
    gradients, activations = jax.grad(loss_fn, has_aux=True)(taps)
    return activations, gradients

# %% wrong="residual" says="`skip` holds the values from before the update"
def residual(x, w):
    skip = x
    x = x + jax.nn.relu(x @ w)
    x = x.at[:, :1].add(-x[:, -1:])
    return 2 * x + skip, x

# %% wrong="residual" says="the write through the view"
def residual(x, w):
    x = x + jax.nn.relu(x @ w)
    first, last = x[:, :1], x[:, -1:]
    first -= last
    return 3 * x, x

# %% wrong="residual" says="`last` holds the values from before the update"
def residual(x, w):
    last = x[:, -1:]
    x = x + jax.nn.relu(x @ w)
    x = x.at[:, :1].add(-last)
    return 3 * x, x

# %% wrong="residual" says="the caller's array is taken to be unchanged"
def residual(x, w):
    after = x + jax.nn.relu(x @ w)
    after = after.at[:, :1].add(-after[:, -1:])
    return 3 * after, x

# %% wrong="residual" says="a NumPy function was given a traced array"
def residual(x, w):
    memory = np.array(x)
    result = residual_(memory, np.asarray(w))
    return jnp.asarray(result), jnp.asarray(memory)

# %% wrong="residual" says="right for the visible inputs, wrong on hidden ones"
def residual(x, w):
    x = x + jax.nn.relu(x @ w)
    first, last = x[:, :1], x[:, -1:]
    x = jnp.concatenate([first - last, x[:, 1:-1], last], axis=1)
    return 3 * x, x

# %% wrong="from_state_dict" says="the embedding is transposed too"
def from_state_dict(state, kinds):
    tree = {}
    for name, array in state.items():
        module, _, leaf = name.rpartition(".")
        if leaf not in flax_names[kinds[module]]:
            continue
        if array.ndim == 2:
            array = array.T
        if array.ndim == 4:
            array = jnp.transpose(array, (2, 3, 1, 0))
        branch = tree
        for part in module.split("."):
            branch = branch.setdefault(part, {})
        branch[flax_names[kinds[module]][leaf]] = jnp.asarray(array)
    return tree

# %% wrong="from_state_dict" says="square weights are not transposed"
def from_state_dict(state, kinds):
    tree = {}
    for name, array in state.items():
        module, _, leaf = name.rpartition(".")
        kind = kinds[module]
        if leaf not in flax_names[kind]:
            continue
        if kind == "linear" and array.ndim == 2 and array.shape[0] != array.shape[1]:
            array = array.T
        if kind == "conv" and array.ndim == 4:
            array = jnp.transpose(array, (2, 3, 1, 0))
        branch = tree
        for part in module.split("."):
            branch = branch.setdefault(part, {})
        branch[flax_names[kind][leaf]] = jnp.asarray(array)
    return tree

# %% wrong="from_state_dict" says="height and width of the kernel are exchanged"
def from_state_dict(state, kinds):
    tree = {}
    for name, array in state.items():
        module, _, leaf = name.rpartition(".")
        kind = kinds[module]
        if leaf not in flax_names[kind]:
            continue
        branch = tree
        for part in module.split("."):
            branch = branch.setdefault(part, {})
        turned = kind in ("linear", "conv")
        branch[flax_names[kind][leaf]] = jnp.asarray(array.T if turned else array)
    return tree

# %% wrong="from_state_dict" says="inputs and outputs of the kernel are exchanged"
def from_state_dict(state, kinds):
    axes, tree = {"linear": (1, 0), "conv": (2, 3, 0, 1)}, {}
    for name, array in state.items():
        module, _, leaf = name.rpartition(".")
        kind = kinds[module]
        if leaf not in flax_names[kind]:
            continue
        if leaf == "weight" and kind in axes:
            array = jnp.transpose(array, axes[kind])
        branch = tree
        for part in module.split("."):
            branch = branch.setdefault(part, {})
        branch[flax_names[kind][leaf]] = jnp.asarray(array)
    return tree

# %% wrong="from_state_dict" says="one too many"
def from_state_dict(state, kinds):
    axes, tree = {"linear": (1, 0), "conv": (2, 3, 1, 0)}, {}
    for name, array in state.items():
        module, _, leaf = name.rpartition(".")
        kind = kinds[module]
        if leaf == "weight" and kind in axes:
            array = jnp.transpose(array, axes[kind])
        branch = tree
        for part in module.split("."):
            branch = branch.setdefault(part, {})
        branch[flax_names[kind].get(leaf, leaf)] = jnp.asarray(array)
    return tree

# %% wrong="from_state_dict" says="blocks"
def from_state_dict(state, kinds):
    axes, tree = {"linear": (1, 0), "conv": (2, 3, 1, 0)}, {}
    for name, array in state.items():
        module, _, leaf = name.rpartition(".")
        kind = kinds[module]
        if leaf not in flax_names[kind]:
            continue
        if leaf == "weight" and kind in axes:
            array = jnp.transpose(array, axes[kind])
        tree.setdefault(module, {})[flax_names[kind][leaf]] = jnp.asarray(array)
    return tree

# %% wrong="from_state_dict" says="right for the visible inputs, wrong on hidden ones"
def from_state_dict(state, kinds):
    tree = {}
    for name, array in state.items():
        module, _, leaf = name.rpartition(".")
        if leaf not in flax_names[kinds[module]]:
            continue
        if array.ndim == 2 and not module.startswith("token"):
            array = array.T
        if array.ndim == 4:
            array = jnp.transpose(array, (2, 3, 1, 0))
        branch = tree
        for part in module.split("."):
            branch = branch.setdefault(part, {})
        branch[flax_names[kinds[module]][leaf]] = jnp.asarray(array)
    return tree

# %% wrong="batch_norm" says="`momentum` is the weight of the old value"
def batch_norm(state, x, momentum, training):
    mean, var = state["running_mean"], state["running_var"]
    if training:
        mean, var = x.mean(axis=0), x.var(axis=0)
        state = state | {
            "running_mean": momentum * state["running_mean"] + (1 - momentum) * mean,
            "running_var": momentum * state["running_var"] + (1 - momentum) * x.var(axis=0, ddof=1),
        }
    return (x - mean) / jnp.sqrt(var + 1e-5) * state["weight"] + state["bias"], state

# %% wrong="batch_norm" says="`running_var` gets the variance that divides by n"
def batch_norm(state, x, momentum, training):
    mean, var = state["running_mean"], state["running_var"]
    if training:
        mean, var = x.mean(axis=0), x.var(axis=0)
        state = state | {
            "running_mean": (1 - momentum) * state["running_mean"] + momentum * mean,
            "running_var": (1 - momentum) * state["running_var"] + momentum * var,
        }
    return (x - mean) / jnp.sqrt(var + 1e-5) * state["weight"] + state["bias"], state

# %% wrong="batch_norm" says="`x` is normalised with the variance that divides by n - 1"
def batch_norm(state, x, momentum, training):
    mean, var = state["running_mean"], state["running_var"]
    if training:
        mean, var = x.mean(axis=0), x.var(axis=0, ddof=1)
        state = state | {
            "running_mean": (1 - momentum) * state["running_mean"] + momentum * mean,
            "running_var": (1 - momentum) * state["running_var"] + momentum * var,
        }
    return (x - mean) / jnp.sqrt(var + 1e-5) * state["weight"] + state["bias"], state

# %% wrong="batch_norm" says="`x` is normalised with the running statistics in training"
def batch_norm(state, x, momentum, training):
    if training:
        mean, var = x.mean(axis=0), x.var(axis=0, ddof=1)
        state = state | {
            "running_mean": (1 - momentum) * state["running_mean"] + momentum * mean,
            "running_var": (1 - momentum) * state["running_var"] + momentum * var,
        }
    y = (x - state["running_mean"]) / jnp.sqrt(state["running_var"] + 1e-5)
    return y * state["weight"] + state["bias"], state

# %% wrong="batch_norm" says="`eps` is added to the standard deviation"
def batch_norm(state, x, momentum, training):
    mean, var = state["running_mean"], state["running_var"]
    if training:
        mean, var = x.mean(axis=0), x.var(axis=0)
        state = state | {
            "running_mean": (1 - momentum) * state["running_mean"] + momentum * mean,
            "running_var": (1 - momentum) * state["running_var"] + momentum * x.var(axis=0, ddof=1),
        }
    return (x - mean) / (jnp.sqrt(var) + 1e-5) * state["weight"] + state["bias"], state

# %% wrong="batch_norm" says="the statistics of the batch are used in evaluation"
def batch_norm(state, x, momentum, training):
    mean, var = x.mean(axis=0), x.var(axis=0)
    if training:
        state = state | {
            "running_mean": (1 - momentum) * state["running_mean"] + momentum * mean,
            "running_var": (1 - momentum) * state["running_var"] + momentum * x.var(axis=0, ddof=1),
        }
    return (x - mean) / jnp.sqrt(var + 1e-5) * state["weight"] + state["bias"], state

# %% wrong="batch_norm" says="changes its argument"
def batch_norm(state, x, momentum, training):
    mean, var = state["running_mean"], state["running_var"]
    if training:
        mean, var = x.mean(axis=0), x.var(axis=0)
        state["running_mean"] = (1 - momentum) * state["running_mean"] + momentum * mean
        state["running_var"] = (1 - momentum) * state["running_var"] + momentum * x.var(axis=0, ddof=1)
    return (x - mean) / jnp.sqrt(var + 1e-5) * state["weight"] + state["bias"], state

# %% wrong="batch_norm" says="right for the visible inputs, wrong on hidden ones"
def batch_norm(state, x, momentum, training):
    mean, var = state["running_mean"], state["running_var"]
    if training:
        mean, var = x.mean(axis=0), x.var(axis=0)
        state = state | {
            "running_mean": (1 - momentum) * state["running_mean"] + momentum * mean,
            "running_var": (1 - momentum) * state["running_var"] + momentum * x.var(axis=0, ddof=1),
        }
    return jnp.squeeze((x - mean) / jnp.sqrt(var + 1e-5) * state["weight"] + state["bias"]), state

# %% wrong="forward_dropout" says="no known mistake matches"
def forward_dropout(params, x, rate, key):
    key = jax.random.key(0)
    for layer in params[:-1]:
        key, subkey = jax.random.split(key)
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        x = jnp.where(jax.random.bernoulli(subkey, 1 - rate, x.shape), x / (1 - rate), 0.0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="forward_dropout" says="multiplied by 1 - rate in evaluation"
def forward_dropout(params, x, rate, key):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if key is None:
            x = x * (1 - rate)
        else:
            key, subkey = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(subkey, 1 - rate, x.shape), x, 0.0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="forward_dropout" says="not depend on the key"
def forward_dropout(params, x, rate, key):
    generator = jax.random.key(0)
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if key is not None:
            generator, subkey = jax.random.split(generator)
            x = jnp.where(jax.random.bernoulli(subkey, 1 - rate, x.shape), x / (1 - rate), 0.0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="forward_dropout" says="a key is used twice"
def forward_dropout(params, x, rate, key):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if key is not None:
            x = jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0.0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="forward_dropout" says="`rate` is taken for the probability to keep"
def forward_dropout(params, x, rate, key):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if key is not None:
            key, subkey = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(subkey, rate, x.shape), x / (1 - rate), 0.0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="forward_dropout" says="the kept elements are not multiplied"
def forward_dropout(params, x, rate, key):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if key is not None:
            key, subkey = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(subkey, 1 - rate, x.shape), x, 0.0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="forward_dropout" says="the logits have dropout too"
def forward_dropout(params, x, rate, key):
    for i, layer in enumerate(params):
        x = x @ layer["w"] + layer["b"]
        if i < len(params) - 1:
            x = jax.nn.relu(x)
        if key is not None:
            key, subkey = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(subkey, 1 - rate, x.shape), x / (1 - rate), 0.0)
    return x

# %% wrong="forward_dropout" says="follow another distribution"
def forward_dropout(params, x, rate, key):
    for layer in params[:-1]:
        if key is not None:
            key, subkey = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(subkey, 1 - rate, x.shape), x / (1 - rate), 0.0)
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="forward_dropout" says="right for the visible inputs, wrong on hidden ones"
def forward_dropout(params, x, rate, key):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if key is not None:
            key, subkey = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(subkey, 0.8, x.shape), x / 0.8, 0.0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="forward_dropout" says="there is no ReLU in training"
def forward_dropout(params, x, rate, key):
    for layer in params[:-1]:
        x = x @ layer["w"] + layer["b"]
        if key is not None:
            key, subkey = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(subkey, 1 - rate, x.shape), x / (1 - rate), 0.0)
        else:
            x = jax.nn.relu(x)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="make_trainer" says="the optimizer state starts anew with each epoch"
def make_trainer(loss_fn, optimizer, epochs):
    def step(carry, row):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, *row)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    @jax.jit
    def train(params, opt_state, xs, ys):
        def epoch(carry, _):
            (params, _), losses = jax.lax.scan(step, carry, (xs, ys))
            return (params, optimizer.init(params)), losses

        carry, losses = jax.lax.scan(epoch, (params, opt_state), length=epochs)
        return *carry, losses

    return train

# %% wrong="make_trainer" says="the losses are those after the update"
def make_trainer(loss_fn, optimizer, epochs):
    def step(carry, row):
        params, opt_state = carry
        grads = jax.grad(loss_fn)(params, *row)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        return (params, opt_state), loss_fn(params, *row)

    @jax.jit
    def train(params, opt_state, xs, ys):
        def epoch(carry, _):
            return jax.lax.scan(step, carry, (xs, ys))

        carry, losses = jax.lax.scan(epoch, (params, opt_state), length=epochs)
        return *carry, losses

    return train

# %% wrong="make_trainer" says="uphill"
def make_trainer(loss_fn, optimizer, epochs):
    def step(carry, row):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, *row)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (jax.tree.map(jnp.subtract, params, updates), opt_state), loss

    @jax.jit
    def train(params, opt_state, xs, ys):
        def epoch(carry, _):
            return jax.lax.scan(step, carry, (xs, ys))

        carry, losses = jax.lax.scan(epoch, (params, opt_state), length=epochs)
        return *carry, losses

    return train

# %% wrong="make_trainer" says="each update uses all rows"
def make_trainer(loss_fn, optimizer, epochs):
    @jax.jit
    def train(params, opt_state, xs, ys):
        def step(carry, _):
            params, opt_state = carry
            loss, grads = jax.value_and_grad(loss_fn)(params, xs, ys)
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), loss

        carry, losses = jax.lax.scan(step, (params, opt_state), length=epochs * len(xs))
        return *carry, losses.reshape(epochs, len(xs))

    return train

# %% wrong="make_trainer" says="ran 2 times"
def make_trainer(loss_fn, optimizer, epochs):
    def step(carry, row):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, *row)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    def train(params, opt_state, xs, ys):
        def epoch(carry, _):
            return jax.lax.scan(step, carry, (xs, ys))

        carry, losses = jax.lax.scan(epoch, (params, opt_state), length=epochs)
        return *carry, losses

    return train

# %% wrong="make_trainer" says="grows"
def make_trainer(loss_fn, optimizer, epochs):
    def step(carry, row):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, *row)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    @jax.jit
    def train(params, opt_state, xs, ys):
        carry, losses = (params, opt_state), []
        for _ in range(epochs):
            carry, some = jax.lax.scan(step, carry, (xs, ys))
            losses.append(some)
        return *carry, jnp.stack(losses)

    return train

# %% wrong="make_trainer" says="right for the visible inputs, wrong on hidden ones"
def make_trainer(loss_fn, optimizer, epochs):
    def step(carry, row):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, *row)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    @jax.jit
    def train(params, opt_state, xs, ys):
        def epoch(carry, _):
            return jax.lax.scan(step, carry, (xs, ys))

        carry, losses = jax.lax.scan(epoch, (params, opt_state), length=epochs)
        return *carry, jnp.squeeze(losses)

    return train
