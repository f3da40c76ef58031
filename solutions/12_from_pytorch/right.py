# %% right="xor_forward"
@jax.jit
def xor_forward(state, x):
    for name in ("hidden", "output"):
        x = jnp.einsum("...i,oi->...o", x, state[f"{name}.weight"]) + state[f"{name}.bias"]
        x = 1 / (1 + jnp.exp(-x))
    return x

# %% right="train_xor"
def train_xor(state, x, y, learning_rate, epochs):
    def forward(state, x):
        hidden = jax.nn.sigmoid(state["hidden.weight"] @ x + state["hidden.bias"])
        return jax.nn.sigmoid(state["output.weight"] @ hidden + state["output.bias"])

    @jax.jit
    def step(state, x, y):
        loss, grads = jax.value_and_grad(lambda s: jnp.square(forward(s, x) - y).mean())(state)
        updates, _ = optax.sgd(learning_rate).update(grads, optax.sgd(learning_rate).init(state))
        return optax.apply_updates(state, updates), loss

    losses = []
    for _ in range(epochs):
        for example in zip(x, y):
            state, loss = step(state, *example)
            losses.append(loss)
    return state, jnp.stack(losses).reshape(epochs, len(x))

# %% right="accumulated_sgd"
def accumulated_sgd(loss_fn, params, xs, ys, learning_rate, every):
    def add(carry, batch):
        params, grads = carry
        loss, new = jax.value_and_grad(loss_fn)(params, *batch)
        return (params, jax.tree.map(jnp.add, grads, new)), loss

    def group(params, batches):
        zeros = jax.tree.map(jnp.zeros_like, params)
        (_, grads), losses = jax.lax.scan(add, (params, zeros), batches)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), losses

    whole = len(xs) // every * every
    full = [a[:whole].reshape(-1, every, *a.shape[1:]) for a in (xs, ys)]
    params, losses = jax.lax.scan(group, params, full)
    zeros = jax.tree.map(jnp.zeros_like, params)
    (_, grads), rest = jax.lax.scan(add, (params, zeros), (xs[whole:], ys[whole:]))
    return params, grads, jnp.concatenate([losses.ravel(), rest])

# %% right="accumulated_sgd"
def accumulated_sgd(loss_fn, params, xs, ys, learning_rate, every):
    def body(carry, batch):
        params, grads, count = carry
        loss, new = jax.value_and_grad(loss_fn)(params, *batch)
        grads = jax.tree.map(jnp.add, grads, new)

        def update():
            moved = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
            return moved, jax.tree.map(jnp.zeros_like, grads), 0

        return jax.lax.cond(count + 1 == every, update, lambda: (params, grads, count + 1)), loss

    carry = params, jax.tree.map(jnp.zeros_like, params), 0
    (params, grads, _), losses = jax.lax.scan(body, carry, (xs, ys))
    return params, grads, losses

# %% right="port_sgd"
def port_sgd(lr, momentum, weight_decay, nesterov):
    def init(params):
        return jax.tree.map(jnp.zeros_like, params)

    def update(grads, velocity, params):
        grads = jax.tree.map(lambda g, p: g + weight_decay * p, grads, params)
        velocity = jax.tree.map(lambda v, g: momentum * v + g, velocity, grads)
        move = jax.tree.map(lambda g, v: g + momentum * v, grads, velocity) if nesterov else velocity
        return jax.tree.map(lambda m: -lr * m, move), velocity

    return optax.GradientTransformation(init, update)

# %% right="port_sgd"
def port_sgd(lr, momentum, weight_decay, nesterov):
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.trace(momentum, nesterov=nesterov),
        optax.scale_by_learning_rate(lr),
    )

# %% right="hooked"
def hooked(params, x, y):
    activations = []
    for layer in params:
        x = jax.nn.sigmoid(x @ layer["w"] + layer["b"])
        activations.append(x)
    gradients = [2 * (x - y) / y.size]
    for layer, a in zip(params[:0:-1], activations[:0:-1]):
        gradients.insert(0, (gradients[0] * a * (1 - a)) @ layer["w"].T)
    return activations, gradients

# %% right="hooked"
@jax.jit
def hooked(params, x, y):
    def rest(h, layers):
        for layer in layers:
            h = jax.nn.sigmoid(h @ layer["w"] + layer["b"])
        return jnp.mean((h - y) ** 2)

    activations, gradients, h = [], [], x
    for i, layer in enumerate(params):
        h = jax.nn.sigmoid(h @ layer["w"] + layer["b"])
        activations.append(h)
        gradients.append(jax.grad(rest)(h, params[i + 1 :]))
    return activations, gradients

# %% right="residual"
def residual(x, w):
    after = x + jnp.maximum(x @ w, 0)
    is_first = jnp.arange(x.shape[1]) == 0
    after = jnp.where(is_first, after - after[:, -1:], after)
    return 2 * after + after, after

# %% right="from_state_dict"
def from_state_dict(state, kinds):
    def build(prefix):
        branch = {}
        for name, array in state.items():
            if not name.startswith(prefix):
                continue
            part, _, below = name[len(prefix) :].partition(".")
            if below:
                branch[part] = build(f"{prefix}{part}.")
                continue
            kind = kinds[prefix[:-1]]
            new = flax_names[kind].get(part)
            if new == "kernel":
                array = array.T if kind == "linear" else jnp.einsum("oihw->hwio", array)
            if new:
                branch[new] = jnp.array(array)
        return branch

    return build("")

# %% right="batch_norm"
def batch_norm(state, x, momentum, training):
    if not training:
        scale = state["weight"] * jax.lax.rsqrt(state["running_var"] + 1e-5)
        return x * scale + (state["bias"] - state["running_mean"] * scale), dict(state)
    centred = x - jnp.mean(x, axis=0)
    squares = jnp.sum(centred**2, axis=0)
    y = centred * jax.lax.rsqrt(squares / len(x) + 1e-5) * state["weight"] + state["bias"]
    batch = {"running_mean": jnp.mean(x, axis=0), "running_var": squares / (len(x) - 1)}
    running = {name: state[name] + momentum * (batch[name] - state[name]) for name in batch}
    return y, {**state, **running}

# %% right="forward_dropout"
def forward_dropout(params, x, rate, key):
    *hidden, last = params
    for i, layer in enumerate(hidden):
        x = jnp.maximum(x @ layer["w"] + layer["b"], 0)
        if key is not None:
            drop = jax.random.uniform(jax.random.fold_in(key, i), x.shape) < rate
            x = x * ~drop / (1 - rate)
    return x @ last["w"] + last["b"]

# %% right="make_trainer"
def make_trainer(loss_fn, optimizer, epochs):
    @jax.jit
    def train(params, opt_state, xs, ys):
        def body(carry, i):
            params, opt_state = carry
            loss, grads = jax.value_and_grad(loss_fn)(params, xs[i], ys[i])
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), loss

        order = jnp.tile(jnp.arange(len(xs)), epochs)
        (params, opt_state), losses = jax.lax.scan(body, (params, opt_state), order)
        return params, opt_state, losses.reshape(epochs, len(xs))

    return train
