# %% wrong="mlp_forward" says="the logits go through a ReLU too"
def mlp_forward(params, x):
    for layer in params:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x

# %% wrong="mlp_forward" says="there is no ReLU at all"
def mlp_forward(params, x):
    for layer in params:
        x = x @ layer["w"] + layer["b"]
    return x

# %% wrong="mlp_forward" says="not enough values to unpack"
def mlp_forward(params, x):
    one, two, three = params
    x = jax.nn.relu(x @ one["w"] + one["b"])
    x = jax.nn.relu(x @ two["w"] + two["b"])
    return x @ three["w"] + three["b"]

# %% wrong="mlp_forward" says="einsum"
def mlp_forward(params, x):
    for i, layer in enumerate(params):
        x = jnp.einsum("bi,ij->bj", x, layer["w"]) + layer["b"]
        if i < len(params) - 1:
            x = jax.nn.relu(x)
    return x

# %% wrong="mlp_forward" says="right for the visible inputs, wrong on hidden ones"
def mlp_forward(params, x):
    *hidden, last = params
    x = jnp.atleast_2d(x)
    for layer in hidden:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return jnp.squeeze(x @ last["w"] + last["b"])

# %% wrong="cross_entropy" says="infinite instead of a number"
def cross_entropy(logits, y):
    p = jax.nn.softmax(logits)
    return -jnp.mean(jnp.log(p[jnp.arange(len(y)), y]))

# %% wrong="cross_entropy" says="the mean runs over the classes too"
def cross_entropy(logits, y):
    return -jnp.mean(jax.nn.one_hot(y, logits.shape[1]) * jax.nn.log_softmax(logits))

# %% wrong="cross_entropy" says="the minus is left out"
def cross_entropy(logits, y):
    return jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(y)), y])

# %% wrong="cross_entropy" says="a sum instead of the mean"
def cross_entropy(logits, y):
    return -jnp.sum(jax.nn.log_softmax(logits)[jnp.arange(len(y)), y])

# %% wrong="cross_entropy" says="no known mistake matches"
def cross_entropy(logits, y):
    return -jnp.mean(jax.nn.log_softmax(logits, axis=0)[jnp.arange(len(y)), y])

# %% wrong="cross_entropy" says="right for the visible inputs, wrong on hidden ones"
def cross_entropy(logits, y):
    log_p = jax.nn.log_softmax(logits[:, :10])
    return -jnp.mean(jnp.sum(jax.nn.one_hot(y, 10) * log_p, axis=1))

# %% wrong="make_step" says="uphill"
def make_step(loss_fn, optimizer):
    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return jax.tree.map(jnp.subtract, params, updates), opt_state, loss

    return step

# %% wrong="make_step" says="the optimizer's state is not carried on"
def make_step(loss_fn, optimizer):
    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, _ = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_step" says="the loss after the step"
def make_step(loss_fn, optimizer):
    @jax.jit
    def step(params, opt_state, x, y):
        grads = jax.grad(loss_fn)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        return params, opt_state, loss_fn(params, x, y)

    return step

# %% wrong="make_step" says="or not compiled at all"
def make_step(loss_fn, optimizer):
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_step" says="right for the visible inputs, wrong on hidden ones"
def make_step(loss_fn, optimizer):
    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="run_epoch" says="the batches are taken in the order of the file"
def run_epoch(step, params, opt_state, x, y, order):
    def body(carry, batch):
        params, opt_state, loss = step(*carry, *batch)
        return (params, opt_state), loss

    steps, size = order.shape
    batches = (x.reshape(steps, size, -1), y.reshape(steps, size))
    (params, opt_state), losses = jax.lax.scan(body, (params, opt_state), batches)
    return params, opt_state, losses

# %% wrong="run_epoch" says="the optimizer's state is the first one at every step"
def run_epoch(step, params, opt_state, x, y, order):
    def body(params, rows):
        params, new_state, loss = step(params, opt_state, x[rows], y[rows])
        return params, (new_state, loss)

    params, (states, losses) = jax.lax.scan(body, params, order)
    return params, states[-1], losses

# %% wrong="run_epoch" says="does not use `scan`"
def run_epoch(step, params, opt_state, x, y, order):
    losses = []
    for rows in order:
        params, opt_state, loss = step(params, opt_state, x[rows], y[rows])
        losses.append(loss)
    return params, opt_state, jnp.stack(losses)

# %% wrong="run_epoch" says="each image makes a step of its own"
def run_epoch(step, params, opt_state, x, y, order):
    def body(carry, row):
        params, opt_state, loss = step(*carry, x[row][None], y[row][None])
        return (params, opt_state), loss

    (params, opt_state), losses = jax.lax.scan(body, (params, opt_state), order.ravel())
    return params, opt_state, losses

# %% wrong="train" says="the optimizer's state begins anew with each epoch"
def train(key, params, x, y, optimizer, epochs, batch_size):
    steps = len(x) // batch_size

    def step(carry, rows):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, x[rows], y[rows])
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    @jax.jit
    def epoch(params, key):
        order = jax.random.permutation(key, len(x))[: steps * batch_size]
        carry = (params, optimizer.init(params))
        (params, _), losses = jax.lax.scan(step, carry, order.reshape(steps, batch_size))
        return params, losses

    losses = []
    for subkey in jax.random.split(key, epochs):
        params, some = epoch(params, subkey)
        losses.append(some)
    return params, jnp.stack(losses)

# %% wrong="train" says="uphill"
def train(key, params, x, y, optimizer, epochs, batch_size):
    steps = len(x) // batch_size

    def step(carry, rows):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, x[rows], y[rows])
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (jax.tree.map(lambda p, u: p - u, params, updates), opt_state), loss

    @jax.jit
    def epoch(carry, key):
        order = jax.random.permutation(key, len(x))[: steps * batch_size]
        return jax.lax.scan(step, carry, order.reshape(steps, batch_size))

    carry, losses = (params, optimizer.init(params)), []
    for subkey in jax.random.split(key, epochs):
        carry, some = epoch(carry, subkey)
        losses.append(some)
    return carry[0], jnp.stack(losses)

# %% wrong="train" says="no known mistake matches"
def train(key, params, x, y, optimizer, epochs, batch_size):
    steps = len(x) // batch_size

    def step(carry, rows):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, x[rows[0]], y[rows[1]])
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    @jax.jit
    def epoch(carry, key):
        one, other = jax.random.split(key)
        orders = jnp.stack([jax.random.permutation(k, len(x)) for k in (one, other)])
        orders = orders[:, : steps * batch_size].reshape(2, steps, batch_size)
        return jax.lax.scan(step, carry, orders.swapaxes(0, 1))

    carry, losses = (params, optimizer.init(params)), []
    for subkey in jax.random.split(key, epochs):
        carry, some = epoch(carry, subkey)
        losses.append(some)
    return carry[0], jnp.stack(losses)

# %% wrong="train" says="some are seen twice, or never"
def train(key, params, x, y, optimizer, epochs, batch_size):
    steps = len(x) // batch_size

    def step(carry, key):
        params, opt_state = carry
        rows = jnp.arange(len(x))
        if batch_size < len(x):
            rows = jax.random.randint(key, (batch_size,), 0, len(x))
        loss, grads = jax.value_and_grad(loss_fn)(params, x[rows], y[rows])
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    carry, keys = (params, optimizer.init(params)), jax.random.split(key, epochs * steps)
    (params, _), losses = jax.lax.scan(step, carry, keys)
    return params, losses.reshape(epochs, steps)

# %% wrong="train" says="not depend on the key"
def train(key, params, x, y, optimizer, epochs, batch_size):
    steps = len(x) // batch_size
    order = jnp.arange(steps * batch_size).reshape(steps, batch_size)

    def step(carry, rows):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, x[rows], y[rows])
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    def epoch(carry, _):
        return jax.lax.scan(step, carry, order)

    carry = (params, optimizer.init(params))
    (params, _), losses = jax.lax.scan(epoch, carry, length=epochs)
    return params, losses

# %% wrong="train" says="two draws coincide"
def train(key, params, x, y, optimizer, epochs, batch_size):
    steps = len(x) // batch_size
    order = jax.random.permutation(key, len(x))[: steps * batch_size].reshape(steps, batch_size)

    def step(carry, rows):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, x[rows], y[rows])
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    carry = (params, optimizer.init(params))
    (params, _), losses = jax.lax.scan(
        lambda c, _: jax.lax.scan(step, c, order), carry, length=epochs
    )
    return params, losses

# %% wrong="train" says="the loss hardly falls"
def train(key, params, x, y, optimizer, epochs, batch_size):
    steps = len(x) // batch_size

    @jax.jit
    def epoch(params, opt_state, key, x, y):
        def step(_, rows):
            loss, grads = jax.value_and_grad(loss_fn)(params, x[rows], y[rows])
            updates, new_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), new_state), loss

        order = jax.random.permutation(key, len(x))[: steps * batch_size]
        return jax.lax.scan(step, (params, opt_state), order.reshape(steps, batch_size))

    opt_state, losses = optimizer.init(params), []
    for subkey in jax.random.split(key, epochs):
        (params, opt_state), some = epoch(params, opt_state, subkey, x, y)
        losses.append(some)
    return params, jnp.stack(losses)

# %% wrong="train" says="right for the visible inputs, wrong on hidden ones"
def train(key, params, x, y, optimizer, epochs, batch_size):
    steps = len(x) // batch_size

    @jax.jit
    def epoch(carry, key, x, y):
        def step(carry, rows):
            params, opt_state = carry
            loss, grads = jax.value_and_grad(loss_fn)(params, x[rows], y[rows])
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), loss

        order = jax.random.permutation(key, len(x))[: steps * batch_size]
        return jax.lax.scan(step, carry, order.reshape(steps, batch_size))

    carry, losses = (params, optimizer.init(params)), []
    for subkey in jax.random.split(key, epochs):
        carry, some = epoch(carry, subkey, x, y)
        losses.append(some)
    return carry[0], jnp.stack(losses) if epochs > 1 else losses[0]

# %% wrong="adversarial" says="downhill"
def adversarial(loss_fn, params, x, y, epsilon):
    slope = jax.grad(loss_fn, argnums=1)(params, x, y)
    return jnp.clip(x - epsilon * jnp.sign(slope), 0, 1)

# %% wrong="adversarial" says="a step along the gradient and not its sign"
def adversarial(loss_fn, params, x, y, epsilon):
    slope = jax.grad(loss_fn, argnums=1)(params, x, y)
    return jnp.clip(x + epsilon * slope, 0, 1)

# %% wrong="adversarial" says="pixels beyond black and white"
def adversarial(loss_fn, params, x, y, epsilon):
    return x + epsilon * jnp.sign(jax.grad(loss_fn, argnums=1)(params, x, y))

# %% wrong="adversarial" says="a list instead of one array"
def adversarial(loss_fn, params, x, y, epsilon):
    slope = jax.grad(loss_fn)(params, x, y)
    return jax.tree.map(lambda p, g: p + epsilon * jnp.sign(g), params, slope)

# %% wrong="adversarial" says="right for the visible inputs, wrong on hidden ones"
def adversarial(loss_fn, params, x, y, epsilon):
    slope = jax.grad(loss_fn, argnums=1)(params, x, y)
    return jnp.clip(jnp.where(slope > 0, x + epsilon, x - epsilon), 0, 1)

# %% wrong="make_clipped_step" says="each number is clipped by itself"
def make_clipped_step(loss_fn, optimizer, max_norm):
    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        norm = optax.global_norm(grads)
        grads = jax.tree.map(lambda g: jnp.clip(g, -max_norm, max_norm), grads)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, norm

    return step

# %% wrong="make_clipped_step" says="each leaf is clipped by its own norm"
def make_clipped_step(loss_fn, optimizer, max_norm):
    def clip(g):
        return g * jnp.minimum(1, max_norm / jnp.linalg.norm(g))

    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        norm = optax.global_norm(grads)
        updates, opt_state = optimizer.update(jax.tree.map(clip, grads), opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, norm

    return step

# %% wrong="make_clipped_step" says="the norm after clipping"
def make_clipped_step(loss_fn, optimizer, max_norm):
    clip = optax.clip_by_global_norm(max_norm)

    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        grads, _ = clip.update(grads, clip.init(params))
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, optax.global_norm(grads)

    return step

# %% wrong="make_clipped_step" says="a gradient below the limit is scaled up"
def make_clipped_step(loss_fn, optimizer, max_norm):
    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        norm = optax.global_norm(grads)
        grads = jax.tree.map(lambda g: g * max_norm / norm, grads)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, norm

    return step

# %% wrong="make_clipped_step" says="or not compiled at all"
def make_clipped_step(loss_fn, optimizer, max_norm):
    clip = optax.clip_by_global_norm(max_norm)

    def step(params, opt_state, x, y):
        loss, grads = jax.jit(jax.value_and_grad(loss_fn))(params, x, y)
        clipped, _ = clip.update(grads, clip.init(params))
        updates, opt_state = optimizer.update(clipped, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, optax.global_norm(grads)

    return step

# %% wrong="make_clipped_step" says="right for the visible inputs, wrong on hidden ones"
def make_clipped_step(loss_fn, optimizer, max_norm):
    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        norm = optax.global_norm(grads)
        grads = jax.tree.map(lambda g: g / norm * jnp.minimum(norm, max_norm), grads)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, norm

    return step

# %% wrong="scheduled_adamw" says="the cosine takes `total` steps"
def scheduled_adamw(peak, warmup, total, weight_decay):
    parts = [optax.linear_schedule(0.0, peak, warmup), optax.cosine_decay_schedule(peak, total)]
    return optax.adamw(optax.join_schedules(parts, [warmup]), weight_decay=weight_decay)

# %% wrong="scheduled_adamw" says="the warm-up is subtracted twice"
def scheduled_adamw(peak, warmup, total, weight_decay):
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, peak, warmup, max(total - warmup, warmup + 1)
    )
    return optax.adamw(schedule, weight_decay=weight_decay)

# %% wrong="scheduled_adamw" says="the rate is constant"
def scheduled_adamw(peak, warmup, total, weight_decay):
    return optax.adamw(peak, weight_decay=weight_decay)

# %% wrong="scheduled_adamw" says="that is L2, not AdamW"
def scheduled_adamw(peak, warmup, total, weight_decay):
    schedule = optax.warmup_cosine_decay_schedule(0.0, peak, warmup, total)
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(schedule))

# %% wrong="scheduled_adamw" says="right for the visible inputs, wrong on hidden ones"
def scheduled_adamw(peak, warmup, total, weight_decay):
    slope = peak / warmup

    def schedule(t):
        part = jnp.minimum((t - warmup) / (total - warmup), 1)
        return jnp.where(t < warmup, slope * t, peak * 0.5 * (1 + jnp.cos(jnp.pi * part)))

    return optax.adamw(schedule, weight_decay=weight_decay)

# %% wrong="train_only_last" says="the frozen layers move by their raw gradients"
def train_only_last(optimizer):
    return optax.masked(optimizer, lambda params: [False] * (len(params) - 1) + [True])

# %% wrong="train_only_last" says="nothing is frozen"
def train_only_last(optimizer):
    return optimizer

# %% wrong="train_only_last" says="the frozen layers shrink"
def train_only_last(optimizer):
    def zeroed(grads, opt_state, params=None):
        return [jax.tree.map(jnp.zeros_like, layer) for layer in grads[:-1]] + grads[-1:], opt_state

    return optax.chain(optax.GradientTransformation(lambda params: (), zeroed), optimizer)

# %% wrong="train_only_last" says="right for the visible inputs, wrong on hidden ones"
def train_only_last(optimizer):
    labels = ["frozen", "frozen", "trained"]
    return optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)

# %% wrong="make_parallel_step" says="the gradients are summed over the devices"
def make_parallel_step(loss_fn, optimizer, mesh):
    @jax.jit
    @partial(jax.shard_map, mesh=mesh, in_specs=(P(), P(), P("data"), P("data")), out_specs=P())
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        loss, grads = jax.lax.pmean((loss, grads), "data")
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_parallel_step" says="the devices exchange nothing"
def make_parallel_step(loss_fn, optimizer, mesh):
    @jax.jit
    @partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(P(), P(), P("data"), P("data")),
        out_specs=P(),
        check_vma=False,
    )
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_parallel_step" says="`all-gather`"
def make_parallel_step(loss_fn, optimizer, mesh):
    @jax.jit
    @partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(P(), P(), P("data"), P("data")),
        out_specs=P(),
        check_vma=False,
    )
    def step(params, opt_state, x, y):
        x, y = jax.lax.all_gather((x, y), "data", tiled=True)
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_parallel_step" says="right for the visible inputs, wrong on hidden ones"
def make_parallel_step(loss_fn, optimizer, mesh):
    @jax.jit
    @partial(jax.shard_map, mesh=mesh, in_specs=(P(), P(), P("data"), P("data")), out_specs=P())
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        grads = jax.tree.map(lambda g: g / jax.device_count(), grads)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, jax.lax.pmean(loss, "data")

    return step

# %% wrong="make_parallel_step" says="has no `all-reduce`: the devices exchange nothing"
def make_parallel_step(loss_fn, optimizer, mesh):
    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_parallel_step" says="the devices exchange too much"
def make_parallel_step(loss_fn, optimizer, mesh):
    @jax.jit
    @partial(jax.shard_map, mesh=mesh, in_specs=(P(), P(), P("data"), P("data")), out_specs=P())
    def step(params, opt_state, x, y):
        i, n = jax.lax.axis_index("data"), jax.lax.axis_size("data")

        def everywhere(part):
            whole = jnp.zeros((n, *part.shape), part.dtype).at[i].set(part)
            return jax.lax.psum(whole, "data").reshape(-1, *part.shape[1:])

        loss, grads = jax.value_and_grad(loss_fn)(params, everywhere(x), everywhere(y))
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="adversarial" says="string indexing"
def adversarial(loss_fn, params, x, y, epsilon):
    def loss(x):
        return optax.softmax_cross_entropy_with_integer_labels(forward(params, x), y).mean()

    return jnp.clip(x + epsilon * jnp.sign(jax.grad(loss)(x)), 0, 1)

# %% wrong="train" says="params"
def train(key, params, x, y, optimizer, epochs, batch_size):
    steps = len(x) // batch_size

    @jax.jit
    def epoch(carry, key, x, y):
        def step(carry, rows):
            params, opt_state = carry
            loss, grads = jax.value_and_grad(loss_fn)(params, x[rows], y[rows])
            updates, opt_state = optimizer.update(grads, opt_state)
            return (optax.apply_updates(params, updates), opt_state), loss

        order = jax.random.permutation(key, len(x))[: steps * batch_size]
        return jax.lax.scan(step, carry, order.reshape(steps, batch_size))

    carry, losses = (params, optimizer.init(params)), []
    for subkey in jax.random.split(key, epochs):
        carry, some = epoch(carry, subkey, x, y)
        losses.append(some)
    return carry[0], jnp.stack(losses)

# %% wrong="make_clipped_step" says="params"
def make_clipped_step(loss_fn, optimizer, max_norm):
    clip = optax.clip_by_global_norm(max_norm)

    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        clipped, _ = clip.update(grads, clip.init(params))
        updates, opt_state = optimizer.update(clipped, opt_state)
        return optax.apply_updates(params, updates), opt_state, loss, optax.global_norm(grads)

    return step

# %% wrong="make_clipped_step" says="no known mistake matches"
def make_clipped_step(loss_fn, optimizer, max_norm):
    clip = optax.clip_by_global_norm(max_norm)

    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        clipped, _ = clip.update(grads, clip.init(params))
        updates, _ = optimizer.update(clipped, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, optax.global_norm(grads)

    return step

# %% wrong="train_only_last" says="0 times NaN is NaN"
def train_only_last(optimizer):
    def update(grads, opt_state, params=None):
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return [jax.tree.map(lambda u: 0 * u, layer) for layer in updates[:-1]] + updates[-1:], opt_state

    return optax.GradientTransformation(optimizer.init, update)

# %% wrong="run_epoch" says="only as many rows of `order` are used"
def run_epoch(step, params, opt_state, x, y, order):
    def body(carry, rows):
        params, opt_state, loss = step(*carry, x[rows], y[rows])
        return (params, opt_state), loss

    order = order[: len(x) // order.shape[1]]
    (params, opt_state), losses = jax.lax.scan(body, (params, opt_state), order)
    return params, opt_state, losses

# %% wrong="chained_adamw" says="the updates are clipped, not the gradients"
def chained_adamw(learning_rate, max_norm, weight_decay):
    def matrices(params):
        return jax.tree.map(lambda p: p.ndim > 1, params)

    return optax.chain(
        optax.adamw(learning_rate, weight_decay=weight_decay, mask=matrices),
        optax.clip_by_global_norm(max_norm),
    )

# %% wrong="chained_adamw" says="nothing is clipped"
def chained_adamw(learning_rate, max_norm, weight_decay):
    def matrices(params):
        return jax.tree.map(lambda p: p.ndim > 1, params)

    return optax.adamw(learning_rate, weight_decay=weight_decay, mask=matrices)

# %% wrong="chained_adamw" says="each number is clipped by itself"
def chained_adamw(learning_rate, max_norm, weight_decay):
    def matrices(params):
        return jax.tree.map(lambda p: p.ndim > 1, params)

    return optax.chain(
        optax.clip(max_norm),
        optax.adamw(learning_rate, weight_decay=weight_decay, mask=matrices),
    )

# %% wrong="chained_adamw" says="the biases decay too"
def chained_adamw(learning_rate, max_norm, weight_decay):
    return optax.chain(
        optax.clip_by_global_norm(max_norm),
        optax.adamw(learning_rate, weight_decay=weight_decay),
    )

# %% wrong="chained_adamw" says="the biases decay, and the matrices do not"
def chained_adamw(learning_rate, max_norm, weight_decay):
    def biases(params):
        return jax.tree.map(lambda p: p.ndim == 1, params)

    return optax.chain(
        optax.clip_by_global_norm(max_norm),
        optax.adamw(learning_rate, weight_decay=weight_decay, mask=biases),
    )

# %% wrong="chained_adamw" says="that is L2, not AdamW"
def chained_adamw(learning_rate, max_norm, weight_decay):
    def matrices(params):
        return jax.tree.map(lambda p: p.ndim > 1, params)

    return optax.chain(
        optax.clip_by_global_norm(max_norm),
        optax.add_decayed_weights(weight_decay, mask=matrices),
        optax.adam(learning_rate),
    )

# %% wrong="chained_adamw" says="the decay is added after the learning rate"
def chained_adamw(learning_rate, max_norm, weight_decay):
    def matrices(params):
        return jax.tree.map(lambda p: p.ndim > 1, params)

    return optax.chain(
        optax.clip_by_global_norm(max_norm),
        optax.adam(learning_rate),
        optax.add_decayed_weights(weight_decay, mask=matrices),
    )

# %% wrong="chained_adamw" says="uphill"
def chained_adamw(learning_rate, max_norm, weight_decay):
    def matrices(params):
        return jax.tree.map(lambda p: p.ndim > 1, params)

    rate = learning_rate if callable(learning_rate) else lambda t: learning_rate
    return optax.chain(
        optax.clip_by_global_norm(max_norm),
        optax.scale_by_adam(),
        optax.add_decayed_weights(weight_decay, mask=matrices),
        optax.scale_by_schedule(rate),
    )

# %% wrong="chained_adamw" says="function"
def chained_adamw(learning_rate, max_norm, weight_decay):
    def matrices(params):
        return jax.tree.map(lambda p: p.ndim > 1, params)

    return optax.chain(
        optax.clip_by_global_norm(max_norm),
        optax.scale_by_adam(),
        optax.add_decayed_weights(weight_decay, mask=matrices),
        optax.scale(-learning_rate),
    )

# %% wrong="chained_adamw" says="the schedule makes no difference"
def chained_adamw(learning_rate, max_norm, weight_decay):
    def matrices(params):
        return jax.tree.map(lambda p: p.ndim > 1, params)

    rate = learning_rate(0) if callable(learning_rate) else learning_rate
    return optax.chain(
        optax.clip_by_global_norm(max_norm),
        optax.adamw(rate, weight_decay=weight_decay, mask=matrices),
    )

# %% wrong="chained_adamw" says="wrong on hidden ones: NaN instead of a number"
def chained_adamw(learning_rate, max_norm, weight_decay):
    def clip(grads, params=None):
        norm = optax.global_norm(grads)
        return jax.tree.map(lambda g: g / norm * jnp.minimum(norm, max_norm), grads)

    def matrices(params):
        return jax.tree.map(lambda p: p.ndim > 1, params)

    adamw = optax.adamw(learning_rate, weight_decay=weight_decay, mask=matrices)
    return optax.chain(optax.stateless(clip), adamw)

# %% wrong="chained_adamw" says="something is called that is not a function"
def chained_adamw(learning_rate, max_norm, weight_decay):
    schedule = (lambda t: learning_rate) if isinstance(learning_rate, float) else learning_rate
    return optax.chain(
        optax.clip_by_global_norm(max_norm),
        optax.scale_by_adam(),
        optax.add_decayed_weights(
            weight_decay, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
        ),
        optax.scale_by_schedule(lambda t: -schedule(t)),
    )

# %% wrong="chained_adamw" says="right for the visible inputs, wrong on hidden ones"
def chained_adamw(learning_rate, max_norm, weight_decay):
    def matrices(params):
        return jax.tree.map(lambda p: p.ndim == 2, params)

    return optax.chain(
        optax.clip_by_global_norm(max_norm),
        optax.adamw(learning_rate, weight_decay=weight_decay, mask=matrices),
    )

# %% wrong="make_accumulating_step" says="the gradients of the micro-batches are summed, not averaged"
def make_accumulating_step(loss_fn, optimizer, k):
    @jax.jit
    def step(params, opt_state, x, y):
        def body(total, batch):
            loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
            return jax.tree.map(jnp.add, total, grads), loss

        parts = jax.tree.map(lambda a: a.reshape(k, -1, *a.shape[1:]), (x, y))
        zero = jax.tree.map(jnp.zeros_like, params)
        grads, losses = jax.lax.scan(body, zero, parts)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, losses.mean()

    return step

# %% wrong="make_accumulating_step" says="losses and gradients of the micro-batches are summed"
def make_accumulating_step(loss_fn, optimizer, k):
    @jax.jit
    def step(params, opt_state, x, y):
        def body(total, batch):
            some = jax.value_and_grad(loss_fn)(params, *batch)
            return jax.tree.map(jnp.add, total, some), None

        parts = jax.tree.map(lambda a: a.reshape(k, -1, *a.shape[1:]), (x, y))
        zero = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
        (loss, grads), _ = jax.lax.scan(body, zero, parts)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_accumulating_step" says="only the last micro-batch has a gradient"
def make_accumulating_step(loss_fn, optimizer, k):
    @jax.jit
    def step(params, opt_state, x, y):
        def body(grads, batch):
            loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
            return grads, loss

        parts = jax.tree.map(lambda a: a.reshape(k, -1, *a.shape[1:]), (x, y))
        grads, losses = jax.lax.scan(body, jax.tree.map(jnp.zeros_like, params), parts)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, losses.mean()

    return step

# %% wrong="make_accumulating_step" says="the loss is that of the last micro-batch"
def make_accumulating_step(loss_fn, optimizer, k):
    @jax.jit
    def step(params, opt_state, x, y):
        def body(total, batch):
            loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
            return jax.tree.map(lambda t, g: t + g / k, total, grads), loss

        parts = jax.tree.map(lambda a: a.reshape(k, -1, *a.shape[1:]), (x, y))
        grads, losses = jax.lax.scan(body, jax.tree.map(jnp.zeros_like, params), parts)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, losses[-1]

    return step

# %% wrong="make_accumulating_step" says="each micro-batch takes a step of its own"
def make_accumulating_step(loss_fn, optimizer, k):
    @jax.jit
    def step(params, opt_state, x, y):
        def body(carry, batch):
            params, opt_state = carry
            loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), loss

        parts = jax.tree.map(lambda a: a.reshape(k, -1, *a.shape[1:]), (x, y))
        (params, opt_state), losses = jax.lax.scan(body, (params, opt_state), parts)
        return params, opt_state, losses.mean()

    return step

# %% wrong="make_accumulating_step" says="the updates of the micro-batches are averaged"
def make_accumulating_step(loss_fn, optimizer, k):
    @jax.jit
    def step(params, opt_state, x, y):
        def body(carry, batch):
            total, opt_state = carry
            loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return (jax.tree.map(lambda t, u: t + u / k, total, updates), opt_state), loss

        parts = jax.tree.map(lambda a: a.reshape(k, -1, *a.shape[1:]), (x, y))
        zero = jax.tree.map(jnp.zeros_like, params)
        (updates, opt_state), losses = jax.lax.scan(body, (zero, opt_state), parts)
        return optax.apply_updates(params, updates), opt_state, losses.mean()

    return step

# %% wrong="make_accumulating_step" says="are not split alike"
def make_accumulating_step(loss_fn, optimizer, k):
    @jax.jit
    def step(params, opt_state, x, y):
        def body(total, batch):
            some = jax.value_and_grad(loss_fn)(params, *batch)
            return jax.tree.map(jnp.add, total, some), None

        parts = (
            x.reshape(k, -1, *x.shape[1:]),
            jnp.swapaxes(y.reshape(-1, k, *y.shape[1:]), 0, 1),
        )
        zero = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
        total, _ = jax.lax.scan(body, zero, parts)
        loss, grads = jax.tree.map(lambda a: a / k, total)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_accumulating_step" says="does not use `scan`"
def make_accumulating_step(loss_fn, optimizer, k):
    @jax.jit
    def step(params, opt_state, x, y):
        total = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
        for batch in zip(jnp.split(x, k), jnp.split(y, k)):
            some = jax.value_and_grad(loss_fn)(params, *batch)
            total = jax.tree.map(jnp.add, total, some)
        loss, grads = jax.tree.map(lambda a: a / k, total)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_accumulating_step" says="holds an intermediate value"
def make_accumulating_step(loss_fn, optimizer, k):
    @jax.jit
    def step(params, opt_state, x, y):
        parts = jax.tree.map(lambda a: a.reshape(k, -1, *a.shape[1:]), (x, y))

        def mean_loss(params):
            return jax.lax.scan(lambda c, part: (c, loss_fn(params, *part)), 0, parts)[1].mean()

        loss, grads = jax.value_and_grad(mean_loss)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_accumulating_step" says="of 1800 elements"
def make_accumulating_step(loss_fn, optimizer, k):
    @jax.jit
    def step(params, opt_state, x, y):
        parts = jax.tree.map(lambda a: a.reshape(-1, k, *a.shape[1:]), (x, y))

        def body(total, batch):
            some = jax.value_and_grad(loss_fn)(params, *batch)
            return jax.tree.map(jnp.add, total, some), None

        zero = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
        total, _ = jax.lax.scan(body, zero, parts)
        loss, grads = jax.tree.map(lambda a: a / len(parts[0]), total)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_accumulating_step" says="of 7200 elements"
def make_accumulating_step(loss_fn, optimizer, k):
    @jax.jit
    def step(params, opt_state, x, y):
        parts = jax.tree.map(lambda a: a.reshape(k, -1, *a.shape[1:]), (x, y))
        both = jax.lax.map(lambda part: jax.value_and_grad(loss_fn)(params, *part), parts)
        loss, grads = jax.tree.map(lambda a: a.mean(axis=0), both)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_accumulating_step" says="or not compiled at all"
def make_accumulating_step(loss_fn, optimizer, k):
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

# %% wrong="make_accumulating_step" says="params"
def make_accumulating_step(loss_fn, optimizer, k):
    @jax.jit
    def step(params, opt_state, x, y):
        def body(total, batch):
            some = jax.value_and_grad(loss_fn)(params, *batch)
            return jax.tree.map(jnp.add, total, some), None

        parts = jax.tree.map(lambda a: a.reshape(k, -1, *a.shape[1:]), (x, y))
        zero = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
        total, _ = jax.lax.scan(body, zero, parts)
        loss, grads = jax.tree.map(lambda a: a / k, total)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_accumulating_step" says="right for the visible inputs, wrong on hidden ones"
def make_accumulating_step(loss_fn, optimizer, k):
    @jax.jit
    def step(params, opt_state, x, y):
        def body(total, batch):
            some = jax.value_and_grad(loss_fn)(params, *batch)
            return jax.tree.map(jnp.add, total, some), None

        parts = x.reshape(k, -1, x.shape[-1]), y.reshape(k, -1, *y.shape[1:])
        zero = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
        total, _ = jax.lax.scan(body, zero, parts)
        loss, grads = jax.tree.map(lambda a: a / k, total)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="fit_with_ema" says="`decay` and 1 - `decay` are exchanged"
def fit_with_ema(step, score, params, opt_state, batches, decay):
    def body(carry, batch):
        params, average, opt_state = carry
        params, opt_state, _ = step(params, opt_state, *batch)
        average = optax.incremental_update(params, average, step_size=decay)
        return (params, average, opt_state), jnp.stack([score(params), score(average)])

    carry, scores = jax.lax.scan(body, (params, params, opt_state), batches)
    return *carry[:2], scores

# %% wrong="fit_with_ema" says="the average begins at zero, not at the parameters"
def fit_with_ema(step, score, params, opt_state, batches, decay):
    def body(carry, batch):
        params, average, opt_state = carry
        params, opt_state, _ = step(params, opt_state, *batch)
        average = optax.incremental_update(params, average, step_size=1 - decay)
        return (params, average, opt_state), jnp.stack([score(params), score(average)])

    zero = jax.tree.map(jnp.zeros_like, params)
    carry, scores = jax.lax.scan(body, (params, zero, opt_state), batches)
    return *carry[:2], scores

# %% wrong="fit_with_ema" says="the average leaves out the first parameters"
def fit_with_ema(step, score, params, opt_state, batches, decay):
    ema = optax.ema(decay)

    def body(carry, batch):
        params, _, ema_state, opt_state = carry
        params, opt_state, _ = step(params, opt_state, *batch)
        average, ema_state = ema.update(params, ema_state)
        scores = jnp.stack([score(params), score(average)])
        return (params, average, ema_state, opt_state), scores

    carry, scores = jax.lax.scan(body, (params, params, ema.init(params), opt_state), batches)
    return *carry[:2], scores

# %% wrong="fit_with_ema" says="the updates are averaged, not the parameters"
def fit_with_ema(step, score, params, opt_state, batches, decay):
    def body(carry, batch):
        params, average, opt_state = carry
        moved, opt_state, _ = step(params, opt_state, *batch)
        updates = jax.tree.map(jnp.subtract, moved, params)
        average = optax.incremental_update(updates, average, step_size=1 - decay)
        return (moved, average, opt_state), jnp.stack([score(moved), score(average)])

    zero = jax.tree.map(jnp.zeros_like, params)
    carry, scores = jax.lax.scan(body, (params, zero, opt_state), batches)
    return *carry[:2], scores

# %% wrong="fit_with_ema" says="the parameters before each step are averaged"
def fit_with_ema(step, score, params, opt_state, batches, decay):
    def body(carry, batch):
        params, average, opt_state = carry
        average = optax.incremental_update(params, average, step_size=1 - decay)
        params, opt_state, _ = step(params, opt_state, *batch)
        return (params, average, opt_state), jnp.stack([score(params), score(average)])

    carry, scores = jax.lax.scan(body, (params, params, opt_state), batches)
    return *carry[:2], scores

# %% wrong="fit_with_ema" says="the training goes on from the average"
def fit_with_ema(step, score, params, opt_state, batches, decay):
    def body(carry, batch):
        average, opt_state = carry
        params, opt_state, _ = step(average, opt_state, *batch)
        average = optax.incremental_update(params, average, step_size=1 - decay)
        return (average, opt_state), jnp.stack([score(params), score(average)])

    (average, _), scores = jax.lax.scan(body, (params, opt_state), batches)
    return average, average, scores

# %% wrong="fit_with_ema" says="the optimizer's state is the first one at every step"
def fit_with_ema(step, score, params, opt_state, batches, decay):
    def body(carry, batch):
        params, average = carry
        params, _, _ = step(params, opt_state, *batch)
        average = optax.incremental_update(params, average, step_size=1 - decay)
        return (params, average), jnp.stack([score(params), score(average)])

    (params, average), scores = jax.lax.scan(body, (params, params), batches)
    return params, average, scores

# %% wrong="fit_with_ema" says="the average is scored before it is updated"
def fit_with_ema(step, score, params, opt_state, batches, decay):
    def body(carry, batch):
        params, average, opt_state = carry
        params, opt_state, _ = step(params, opt_state, *batch)
        scores = jnp.stack([score(params), score(average)])
        average = optax.incremental_update(params, average, step_size=1 - decay)
        return (params, average, opt_state), scores

    carry, scores = jax.lax.scan(body, (params, params, opt_state), batches)
    return *carry[:2], scores

# %% wrong="fit_with_ema" says="does not use `scan`"
def fit_with_ema(step, score, params, opt_state, batches, decay):
    average, scores = params, []
    for batch in zip(*batches):
        params, opt_state, _ = step(params, opt_state, *batch)
        average = optax.incremental_update(params, average, step_size=1 - decay)
        scores.append(jnp.stack([score(params), score(average)]))
    return params, average, jnp.stack(scores)

# %% wrong="fit_with_ema" says="right for the visible inputs, wrong on hidden ones"
def fit_with_ema(step, score, params, opt_state, batches, decay):
    def body(carry, batch):
        params, total, opt_state = carry
        params, opt_state, _ = step(params, opt_state, *batch)
        total = jax.tree.map(lambda t, p: decay * (t + p), total, params)
        average = jax.tree.map(lambda t: t * (1 - decay) / decay, total)
        return (params, total, opt_state), jnp.stack([score(params), score(average)])

    total = jax.tree.map(lambda p: p * decay / (1 - decay), params)
    (params, total, _), scores = jax.lax.scan(body, (params, total, opt_state), batches)
    return params, jax.tree.map(lambda t: t * (1 - decay) / decay, total), scores
