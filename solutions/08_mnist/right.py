# %% right="mlp_forward"
@jax.jit
def mlp_forward(params, x):
    for i, layer in enumerate(params):
        before = jnp.einsum("...i,ij->...j", x, layer["w"]) + layer["b"]
        x = before if i == len(params) - 1 else jnp.maximum(before, 0)
    return x

# %% right="cross_entropy"
@jax.jit
def cross_entropy(logits, y):
    truth = jax.nn.one_hot(y, logits.shape[-1], dtype=jnp.float32)
    return jnp.mean(-jnp.einsum("ij,ij->i", truth, jax.nn.log_softmax(logits)))

# %% right="make_step"
def make_step(loss_fn, optimizer):
    def step(params, opt_state, x, y):
        loss, pull = jax.vjp(lambda params: loss_fn(params, x, y), params)
        (grads,) = pull(jnp.float32(1))
        updates, opt_state = optimizer.update(grads, opt_state, params=params)
        return jax.tree.map(jnp.add, params, updates), opt_state, loss

    return jax.jit(step)

# %% right="run_epoch"
@partial(jax.jit, static_argnums=0)
def run_epoch(step, params, opt_state, x, y, order):
    def body(carry, batch):
        *carry, loss = step(*carry, *batch)
        return tuple(carry), loss

    carry, losses = jax.lax.scan(body, (params, opt_state), (x[order], y[order]))
    return *carry, losses

# %% right="train"
def train(key, params, x, y, optimizer, epochs, batch_size):
    count = len(x) - len(x) % batch_size

    @jax.jit
    def epoch(carry, key, x, y):
        order = jnp.argsort(jax.random.uniform(key, len(x)))[:count].reshape(-1, batch_size)

        def step(carry, batch):
            loss, grads = jax.value_and_grad(loss_fn)(carry[0], *batch)
            updates, opt_state = optimizer.update(grads, carry[1], carry[0])
            return (optax.apply_updates(carry[0], updates), opt_state), loss

        return jax.lax.scan(step, carry, (x[order], y[order]))

    carry, losses = (params, optimizer.init(params)), []
    for _ in range(epochs):
        key, subkey = jax.random.split(key)
        carry, some = epoch(carry, subkey, x, y)
        losses.append(some)
    return carry[0], jnp.stack(losses)

# %% right="adversarial"
@partial(jax.jit, static_argnums=0)
def adversarial(loss_fn, params, x, y, epsilon):
    _, pull = jax.vjp(lambda x: loss_fn(params, x, y), x)
    (slope,) = pull(jnp.float32(1))
    up, down = jnp.minimum(x + epsilon, 1), jnp.maximum(x - epsilon, 0)
    return jnp.where(slope > 0, up, jnp.where(slope < 0, down, x))

# %% right="make_clipped_step"
def make_clipped_step(loss_fn, optimizer, max_norm):
    clip = optax.clip_by_global_norm(max_norm)

    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(grads)))
        clipped, _ = clip.update(grads, clip.init(params))
        updates, opt_state = optimizer.update(clipped, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, norm

    return jax.jit(step)

# %% right="scheduled_adamw"
def scheduled_adamw(peak, warmup, total, weight_decay):
    def rate(t):
        part = jnp.clip((t - warmup) / (total - warmup), 0, 1)
        return jnp.where(
            t < warmup, peak * t / max(warmup, 1), peak * jnp.cos(jnp.pi * part / 2) ** 2
        )

    return optax.chain(
        optax.scale_by_adam(),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(rate),
    )

# %% right="train_only_last"
def train_only_last(optimizer):
    def init(params):
        return optimizer.init(params[-1])

    def update(grads, opt_state, params=None):
        last = None if params is None else params[-1]
        updates, opt_state = optimizer.update(grads[-1], opt_state, last)
        return jax.tree.map(jnp.zeros_like, grads[:-1]) + [updates], opt_state

    return optax.GradientTransformation(init, update)

# %% right="make_parallel_step"
def make_parallel_step(loss_fn, optimizer, mesh):
    whole, cut = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))

    @partial(jax.jit, in_shardings=(whole, whole, cut, cut), out_shardings=whole)
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% right="chained_adamw"
def chained_adamw(learning_rate, max_norm, weight_decay):
    decayed = optax.adamw(
        learning_rate, weight_decay=weight_decay, mask=partial(jax.tree.map, lambda p: p.ndim > 1)
    )
    return optax.chain(optax.clip_by_global_norm(max_norm), decayed)

# %% right="chained_adamw"
def chained_adamw(learning_rate, max_norm, weight_decay):
    adam = optax.scale_by_adam()
    rate = learning_rate if callable(learning_rate) else lambda t: learning_rate

    def init(params):
        return jnp.zeros((), int), adam.init(params)

    def update(grads, state, params):
        t, adam_state = state
        factor = jnp.minimum(1, max_norm / optax.global_norm(grads))
        updates, adam_state = adam.update(
            jax.tree.map(lambda g: factor * g, grads), adam_state, params
        )
        return jax.tree.map(
            lambda u, p: -rate(t) * (u + (weight_decay * p if p.ndim > 1 else 0)), updates, params
        ), (t + 1, adam_state)

    return optax.GradientTransformation(init, update)

# %% right="make_accumulating_step"
def make_accumulating_step(loss_fn, optimizer, k):
    def step(params, opt_state, x, y):
        size = len(x) // k

        def body(i, carry):
            loss, grads = carry
            part = [jax.lax.dynamic_slice_in_dim(a, i * size, size) for a in (x, y)]
            some, more = jax.value_and_grad(loss_fn)(params, *part)
            return loss + some / k, optax.incremental_update(more, grads, 1 / (i + 1))

        zero = 0.0, jax.tree.map(jnp.zeros_like, params)
        loss, grads = jax.lax.fori_loop(0, k, body, zero)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return jax.jit(step)

# %% right="make_accumulating_step"
def make_accumulating_step(loss_fn, optimizer, k):
    @jax.jit
    def step(params, opt_state, x, y):
        parts = [a.reshape(-1, k, *a.shape[1:]).swapaxes(0, 1) for a in (x, y)]

        @jax.checkpoint
        def part_loss(params, part):
            return loss_fn(params, *part) / k

        def mean_loss(params):
            return jax.lax.scan(lambda t, part: (t + part_loss(params, part), None), 0.0, parts)[0]

        loss, grads = jax.value_and_grad(mean_loss)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% right="fit_with_ema"
def fit_with_ema(step, score, params, opt_state, batches, decay):
    def body(carry, batch):
        params, opt_state, average = carry
        params, opt_state, _ = step(params, opt_state, *batch)
        average = jax.tree.map(lambda a, p: a + (1 - decay) * (p - a), average, params)
        return (params, opt_state, average), (params, average)

    carry = params, opt_state, params
    (params, _, average), paths = jax.jit(jax.lax.scan, static_argnums=0)(body, carry, batches)
    return params, average, jnp.stack([jax.lax.map(score, path) for path in paths], axis=1)
