# %% right="three_clocks"
def three_clocks(jitted, args, repeats, clock=time.perf_counter):
    def timed(stage):
        start = clock()
        result = jax.block_until_ready(stage())
        return clock() - start, result

    tracing, traced = timed(lambda: jitted.trace(*args))
    compiling, compiled = timed(lambda: traced.lower().compile())
    run = np.inf
    for _ in range(repeats):
        run = min(run, timed(lambda: compiled(*args))[0])
    return {"run": run, "compile": compiling, "trace": tracing}

# %% right="chain"
def chain(matrices):
    axes = [part for i, matrix in enumerate(matrices) for part in (matrix, (i, i + 1))]
    return jnp.einsum(*axes, optimize="optimal")

# %% right="chain"
def chain(matrices):
    n, count = [len(matrices[0]), *(matrix.shape[1] for matrix in matrices)], len(matrices)
    table = {(i, i + 1): (0, matrices[i]) for i in range(count)}
    for width in range(2, count + 1):
        for i in range(count - width + 1):
            j = i + width
            split = min(
                range(i + 1, j),
                key=lambda k: table[i, k][0] + table[k, j][0] + n[i] * n[k] * n[j],
            )
            cost = table[i, split][0] + table[split, j][0] + n[i] * n[split] * n[j]
            table[i, j] = cost, (table[i, split][1], table[split, j][1])

    def multiply(tree):
        return multiply(tree[0]) @ multiply(tree[1]) if isinstance(tree, tuple) else tree

    return multiply(table[0, count][1])

# %% right="pool"
def pool(x, lengths, query):
    def one(x, n):
        steps = jnp.arange(len(x))
        x = jnp.where((steps < n)[:, None], x, x[0])
        weights = jax.nn.softmax(x @ query, where=steps < n)
        return {
            "mean": jnp.mean(x, axis=0, where=(steps < n)[:, None]),
            "max": jnp.max(x, axis=0, where=(steps < n)[:, None], initial=-jnp.inf),
            "attention": weights @ x,
        }

    return jax.vmap(one)(x, lengths)

# %% right="make_bucketed"
def make_bucketed(f):
    programs = {}

    def g(x):
        n, size = x.shape[0], 1
        while size < n:
            size *= 2
        if size not in programs:
            programs[size] = jax.jit(lambda padded, length: f(padded, length))
        return programs[size](np.pad(x, ((0, size - n), (0, 0))), jnp.asarray(n, jnp.int32))

    return g

# %% right="peak_bytes"
def peak_bytes(jitted, *args):
    memory = jitted.trace(*args).lower().compile().memory_analysis()
    fields = {"argument": 1, "output": 1, "temp": 1, "alias": -1}
    return sum(sign * getattr(memory, f"{name}_size_in_bytes") for name, sign in fields.items())

# %% right="make_ema_step"
def make_ema_step(loss_fn, learning_rate, decay):
    def init(params):
        return {name: jax.tree.map(lambda p: jnp.array(p, copy=True), params) for name in ("params", "average")}

    def step(state, x, y):
        slopes = jax.grad(lambda params: loss_fn(params, x, y))(state["params"])
        moved = jax.tree.map(lambda p, g: p - learning_rate * g, state["params"], slopes)
        towards = jax.tree.map(lambda a, p: a + (1 - decay) * (p - a), state["average"], moved)
        return {"average": towards, "params": moved}

    return init, jax.jit(step, donate_argnames="state")

# %% right="make_deep_loss"
def make_deep_loss(layer, save_products):
    policies = jax.checkpoint_policies
    kept = policies.checkpoint_dots if save_products else policies.nothing_saveable

    @partial(jax.checkpoint, policy=kept, prevent_cse=False)
    def body(x, w):
        return layer(x, w), None

    return lambda ws, x, y: jnp.mean(jnp.square(jax.lax.scan(body, x, ws)[0] - y))

# %% right="make_mixed_step"
def make_mixed_step(loss_fn, learning_rate, dtype):
    def in_half(params, x, y):
        params = jax.tree.map(lambda p: p.astype(dtype), params)
        if jnp.issubdtype(x.dtype, jnp.floating):
            x = x.astype(dtype)
        return loss_fn(params, x, y).astype(jnp.float32)

    def step(params, x, y):
        loss, grads = jax.value_and_grad(in_half)(params, x, y)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), loss

    return jax.jit(step)

# %% right="make_scaled_step"
def make_scaled_step(loss_fn, learning_rate, patience):
    @jax.jit
    def step(state, x, y):
        params, scale, good = state["params"], state["scale"], state["good"]

        def loss_of(params):
            halves = jax.tree.map(lambda p: p.astype("float16"), params)
            return loss_fn(halves, x.astype("float16"), y).astype("float32")

        loss, pull = jax.vjp(loss_of, params)
        (grads,) = pull(scale)
        total = sum(jnp.sum(~jnp.isfinite(g)) for g in jax.tree.leaves(grads))

        def take(_):
            moved = jax.tree.map(lambda p, g: p - learning_rate * (g / scale), params, grads)
            full = good + 1 == patience
            return {
                "params": moved,
                "scale": scale * jnp.where(full, 2.0, 1.0),
                "good": jnp.where(full, 0, good + 1),
            }

        def skip(_):
            return {"params": params, "scale": scale * 0.5, "good": jnp.zeros_like(good)}

        return jax.lax.cond(total == 0, take, skip, None), loss

    return step

# %% right="export_batched"
def export_batched(f, params, x):
    shapes = jax.export.symbolic_args_specs((params, x), (None, "n, ..."))
    program = jax.export.export(jax.jit(f), platforms=["tpu", "cuda", "rocm", "cpu"])(*shapes)
    return bytes(program.serialize(vjp_order=2))

# %% right="train_on"
def train_on(step, params, batches):
    losses, waiting = [], [(jax.device_put(x), jax.device_put(y)) for x, y in batches]
    while waiting:
        params, loss = step(params, *waiting.pop(0))
        losses += [loss[None]]
    return params, jnp.concatenate(losses)
