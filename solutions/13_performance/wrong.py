# %% wrong="three_clocks" says="their time is that of the dispatch"
def three_clocks(jitted, args, repeats, clock=time.perf_counter):
    start = clock()
    traced = jitted.trace(*args)
    tracing = clock() - start
    start = clock()
    compiled = traced.lower().compile()
    compiling = clock() - start
    runs = []
    for _ in range(repeats):
        start = clock()
        result = compiled(*args)
        runs.append(clock() - start)
        jax.block_until_ready(result)
    return {"trace": tracing, "compile": compiling, "run": 0 * min(runs) + min(runs)}

# %% wrong="three_clocks" says="the mean of the runs"
def three_clocks(jitted, args, repeats, clock=time.perf_counter):
    times = [clock()]
    traced = jitted.trace(*args)
    times.append(clock())
    compiled = traced.lower().compile()
    times.append(clock())
    for _ in range(repeats):
        jax.block_until_ready(compiled(*args))
    run = (clock() - times[2]) / repeats
    return {"trace": times[1] - times[0], "compile": times[2] - times[1], "run": run}

# %% wrong="three_clocks" says="the sum of the runs"
def three_clocks(jitted, args, repeats, clock=time.perf_counter):
    times = [clock()]
    traced = jitted.trace(*args)
    times.append(clock())
    compiled = traced.lower().compile()
    times.append(clock())
    for _ in range(repeats):
        jax.block_until_ready(compiled(*args))
    return {
        "trace": times[1] - times[0], "compile": times[2] - times[1], "run": clock() - times[2]
    }

# %% wrong="three_clocks" says="lowering is missing from the compilation"
def three_clocks(jitted, args, repeats, clock=time.perf_counter):
    times = [clock()]
    traced = jitted.trace(*args)
    times.append(clock())
    lowered = traced.lower()
    start = clock()
    compiled = lowered.compile()
    compiling, runs = clock() - start, []
    for _ in range(repeats):
        start = clock()
        jax.block_until_ready(compiled(*args))
        runs.append(clock() - start)
    return {"trace": times[1] - times[0], "compile": compiling, "run": min(runs)}

# %% wrong="three_clocks" says="only the first run"
def three_clocks(jitted, args, repeats, clock=time.perf_counter):
    times = [clock()]
    traced = jitted.trace(*args)
    times.append(clock())
    compiled = traced.lower().compile()
    times.append(clock())
    jax.block_until_ready(compiled(*args))
    times.append(clock())
    return dict(zip(("trace", "compile", "run"), map(float, np.diff(times))))

# %% wrong="three_clocks" says="right for the visible inputs, wrong on hidden ones"
def three_clocks(jitted, args, repeats, clock=time.perf_counter):
    times = [clock()]
    traced = jitted.trace(*args)
    times.append(clock())
    compiled = traced.lower().compile()
    times.append(clock())
    runs = []
    for _ in range(min(repeats, 5)):
        start = clock()
        jax.block_until_ready(compiled(*args))
        runs.append(clock() - start)
    return {"trace": times[1] - times[0], "compile": times[2] - times[1], "run": min(runs)}

# %% wrong="chain" says="from the left to the right"
def chain(matrices):
    return reduce(jnp.matmul, matrices)

# %% wrong="chain" says="from the right to the left"
def chain(matrices):
    return reduce(lambda right, left: left @ right, matrices[::-1])

# %% wrong="chain" says="the cheapest product first"
def chain(matrices):
    matrices = list(matrices)
    while len(matrices) > 1:
        costs = [a.shape[0] * a.shape[1] * b.shape[1] for a, b in zip(matrices, matrices[1:])]
        k = costs.index(min(costs))
        matrices[k : k + 2] = [matrices[k] @ matrices[k + 1]]
    return matrices[0]

# %% wrong="chain" says="the largest size is removed first"
def chain(matrices):
    matrices = list(matrices)
    while len(matrices) > 1:
        sizes = [matrix.shape[1] for matrix in matrices[:-1]]
        k = sizes.index(max(sizes))
        matrices[k : k + 2] = [matrices[k] @ matrices[k + 1]]
    return matrices[0]

# %% wrong="chain" says="the shape is not the expected one"
def chain(matrices):
    return reduce(jnp.matmul, matrices[:-1] or matrices)

# %% wrong="chain" says="right on some inputs (2 of 3)"
def chain(matrices):
    head = matrices[:6]
    axes = [part for i, matrix in enumerate(head) for part in (matrix, (i, i + 1))]
    return reduce(jnp.matmul, [jnp.einsum(*axes, optimize="optimal"), *matrices[6:]])

# %% wrong="pool" says="the mean is divided by the padded length"
def pool(x, lengths, query):
    mask = jnp.arange(x.shape[1]) < lengths[:, None]
    true = jnp.where(mask[:, :, None], x, 0)
    weights = jax.nn.softmax(jnp.where(mask, true @ query, -jnp.inf), axis=1)
    return {
        "mean": true.mean(axis=1),
        "max": jnp.where(mask[:, :, None], x, -jnp.inf).max(axis=1),
        "attention": jnp.einsum("bt,btf->bf", weights, true),
    }

# %% wrong="pool" says="the zeros of the padding enter the maximum"
def pool(x, lengths, query):
    mask = jnp.arange(x.shape[1]) < lengths[:, None]
    true = jnp.where(mask[:, :, None], x, 0)
    weights = jax.nn.softmax(jnp.where(mask, true @ query, -jnp.inf), axis=1)
    return {
        "mean": true.sum(axis=1) / lengths[:, None],
        "max": true.max(axis=1),
        "attention": jnp.einsum("bt,btf->bf", weights, true),
    }

# %% wrong="pool" says="the padding takes part in the softmax"
def pool(x, lengths, query):
    mask = jnp.arange(x.shape[1]) < lengths[:, None]
    true = jnp.where(mask[:, :, None], x, 0)
    return {
        "mean": true.sum(axis=1) / lengths[:, None],
        "max": jnp.where(mask[:, :, None], x, -jnp.inf).max(axis=1),
        "attention": jnp.einsum("bt,btf->bf", jax.nn.softmax(true @ query, axis=1), true),
    }

# %% wrong="pool" says="NaN instead of a number, in places"
def pool(x, lengths, query):
    mask = jnp.arange(x.shape[1]) < lengths[:, None]
    weights = jax.nn.softmax(jnp.where(mask, x @ query, -jnp.inf), axis=1)
    return {
        "mean": (x * mask[:, :, None]).sum(axis=1) / lengths[:, None],
        "max": jnp.where(mask[:, :, None], x, -jnp.inf).max(axis=1),
        "attention": jnp.einsum("bt,btf->bf", weights, x),
    }

# %% wrong="pool" says="the gradient is NaN where the value is finite"
def pool(x, lengths, query):
    mask = jnp.arange(x.shape[1]) < lengths[:, None]
    true = jnp.where(mask[:, :, None], x, 0)
    weights = jax.nn.softmax(jnp.where(mask, x @ query, -jnp.inf), axis=1)
    return {
        "mean": true.sum(axis=1) / lengths[:, None],
        "max": jnp.where(mask[:, :, None], x, -jnp.inf).max(axis=1),
        "attention": jnp.einsum("bt,btf->bf", weights, true),
    }

# %% wrong="pool" says="no known mistake matches"
def pool(x, lengths, query):
    mask = jnp.arange(x.shape[1]) < lengths[:, None]
    true = jnp.where(mask[:, :, None], x, 0)
    scores = jax.lax.stop_gradient(true) @ query
    weights = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), axis=1)
    return {
        "mean": true.sum(axis=1) / lengths[:, None],
        "max": jnp.where(mask[:, :, None], x, -jnp.inf).max(axis=1),
        "attention": jnp.einsum("bt,btf->bf", weights, true),
    }

# %% wrong="pool" says="a value was asked for that needs a concrete value"
def pool(x, lengths, query):
    rows = []
    for one, n in zip(x, lengths):
        true = one[: int(n)]
        weights = jax.nn.softmax(true @ query)
        rows.append({"mean": true.mean(axis=0), "max": true.max(axis=0), "attention": weights @ true})
    return jax.tree.map(lambda *row: jnp.stack(row), *rows)

# %% wrong="pool" says="NaN instead of a number"
def pool(x, lengths, query):
    mask = jnp.arange(x.shape[1]) < lengths[:, None]
    true = jnp.where(mask[:, :, None], x, 0)
    weights = jnp.where(mask, jnp.exp(true @ query), 0)
    weights = weights / weights.sum(axis=1, keepdims=True)
    return {
        "mean": true.sum(axis=1) / lengths[:, None],
        "max": jnp.where(mask[:, :, None], x, -jnp.inf).max(axis=1),
        "attention": jnp.einsum("bt,btf->bf", weights, true),
    }

# %% wrong="make_bucketed" says="padded at the beginning"
def make_bucketed(f):
    compiled = jax.jit(f)

    def g(x):
        size = 1 << (len(x) - 1).bit_length()
        padded = np.pad(np.asarray(x), ((size - len(x), 0), (0, 0)))
        return compiled(padded, np.int32(len(x)))

    return g

# %% wrong="make_bucketed" says="a power of two is padded to the next one"
def make_bucketed(f):
    compiled = jax.jit(f)

    def g(x):
        size = 1 << len(x).bit_length()
        padded = np.pad(np.asarray(x), ((0, size - len(x)), (0, 0)))
        return compiled(padded, np.int32(len(x)))

    return g

# %% wrong="make_bucketed" says="the last row is repeated"
def make_bucketed(f):
    compiled = jax.jit(f)

    def g(x):
        size = 1 << (len(x) - 1).bit_length()
        padded = np.pad(np.asarray(x), ((0, size - len(x)), (0, 0)), mode="edge")
        return compiled(padded, np.int32(len(x)))

    return g

# %% wrong="make_bucketed" says="padded to one length for all"
def make_bucketed(f):
    compiled = jax.jit(f)

    def g(x):
        padded = np.pad(np.asarray(x), ((0, 128 - len(x)), (0, 0)))
        return compiled(padded, np.int32(len(x)))

    return g

# %% wrong="make_bucketed" says="is traced for every length"
def make_bucketed(f):
    compiled = jax.jit(f, static_argnums=1)

    def g(x):
        size = 1 << (len(x) - 1).bit_length()
        padded = np.pad(np.asarray(x), ((0, size - len(x)), (0, 0)))
        return jax.tree.map(jnp.asarray, compiled(padded, len(x)))

    return g

# %% wrong="make_bucketed" says="a small program is compiled for every length"
def make_bucketed(f):
    compiled = jax.jit(f)

    def g(x):
        size = 1 << (len(x) - 1).bit_length()
        padded = jnp.pad(jnp.asarray(x), ((0, size - len(x)), (0, 0)))
        return compiled(padded, jnp.int32(len(x)))

    return g

# %% wrong="make_bucketed" says="floats instead of integers"
def make_bucketed(f):
    compiled = jax.jit(f)

    def g(x):
        size = 1 << (len(x) - 1).bit_length()
        padded = np.zeros((size, *x.shape[1:]), np.float32)
        padded[: len(x)] = x
        return compiled(padded, np.int32(len(x)))

    return g

# %% wrong="make_bucketed" says="float32 instead of bfloat16"
def make_bucketed(f):
    compiled = jax.jit(f)

    def g(x):
        size = 1 << (len(x) - 1).bit_length()
        whole = jnp.issubdtype(x.dtype, jnp.integer)
        padded = np.zeros((size, *x.shape[1:]), x.dtype if whole else np.float32)
        padded[: len(x)] = x
        return compiled(padded, np.int32(len(x)))

    return g

# %% wrong="peak_bytes" says="donated memory is counted twice"
def peak_bytes(jitted, *args):
    memory = jitted.lower(*args).compile().memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return held + memory.temp_size_in_bytes

# %% wrong="peak_bytes" says="the intermediate values are left out"
def peak_bytes(jitted, *args):
    memory = jitted.lower(*args).compile().memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return held - memory.alias_size_in_bytes

# %% wrong="peak_bytes" says="only the intermediate values"
def peak_bytes(jitted, *args):
    return jitted.lower(*args).compile().memory_analysis().temp_size_in_bytes

# %% wrong="peak_bytes" says="the function is run, not only compiled"
def peak_bytes(jitted, *args):
    compiled = jitted.lower(*args).compile()
    if not isinstance(jax.tree.leaves(args)[0], jax.ShapeDtypeStruct):
        compiled(*args)
    memory = compiled.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return held + memory.temp_size_in_bytes - memory.alias_size_in_bytes

# %% wrong="peak_bytes" says="right for the visible inputs, wrong on hidden ones"
def peak_bytes(jitted, *args):
    compiled = jitted.lower(*args).compile()
    memory, info = compiled.memory_analysis(), jax.tree.leaves(compiled.args_info)
    arguments = sum(4 * leaf.size for leaf in jax.tree.leaves(args))
    given = [4 * leaf.size for leaf, one in zip(jax.tree.leaves(args), info) if one.donated]
    held = arguments + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return held - sum(given)

# %% wrong="make_ema_step" says="the average takes in the old parameters"
def make_ema_step(loss_fn, learning_rate, decay):
    def init(params):
        return {"params": jax.tree.map(jnp.copy, params), "average": jax.tree.map(jnp.copy, params)}

    @partial(jax.jit, donate_argnums=0)
    def step(state, x, y):
        params, average = state["params"], state["average"]
        grads = jax.grad(loss_fn)(params, x, y)
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, params)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
        return {"params": params, "average": average}

    return init, step

# %% wrong="make_ema_step" says="`decay` and 1 - `decay` are exchanged"
def make_ema_step(loss_fn, learning_rate, decay):
    def init(params):
        return {"params": jax.tree.map(jnp.copy, params), "average": jax.tree.map(jnp.copy, params)}

    @partial(jax.jit, donate_argnums=0)
    def step(state, x, y):
        grads = jax.grad(loss_fn)(state["params"], x, y)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, state["params"], grads)
        average = jax.tree.map(lambda a, p: (1 - decay) * a + decay * p, state["average"], params)
        return {"params": params, "average": average}

    return init, step

# %% wrong="make_ema_step" says="Attempt to donate the same buffer twice"
def make_ema_step(loss_fn, learning_rate, decay):
    def init(params):
        params = jax.tree.map(jnp.copy, params)
        return {"params": params, "average": params}

    @partial(jax.jit, donate_argnums=0)
    def step(state, x, y):
        grads = jax.grad(loss_fn)(state["params"], x, y)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, state["params"], grads)
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state["average"], params)
        return {"params": params, "average": average}

    return init, step

# %% wrong="make_ema_step" says="`init` did not copy them"
def make_ema_step(loss_fn, learning_rate, decay):
    def init(params):
        return {"params": params, "average": jax.tree.map(jnp.copy, params)}

    @partial(jax.jit, donate_argnums=0)
    def step(state, x, y):
        grads = jax.grad(loss_fn)(state["params"], x, y)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, state["params"], grads)
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state["average"], params)
        return {"params": params, "average": average}

    return init, step

# %% wrong="make_ema_step" says="is not donated: old and new arrays"
def make_ema_step(loss_fn, learning_rate, decay):
    def init(params):
        return {"params": params, "average": params}

    @jax.jit
    def step(state, x, y):
        grads = jax.grad(loss_fn)(state["params"], x, y)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, state["params"], grads)
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state["average"], params)
        return {"params": params, "average": average}

    return init, step

# %% wrong="make_ema_step" says="right for the visible inputs, wrong on hidden ones"
def make_ema_step(loss_fn, learning_rate, decay):
    def init(params):
        return {"params": jax.tree.map(jnp.copy, params), "average": jax.tree.map(jnp.copy, params)}

    @partial(jax.jit, donate_argnums=0)
    def step(state, x, y):
        grads = jax.grad(loss_fn)(state["params"], x, y)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, state["params"], grads)
        d = jnp.clip(decay, 0.5, 0.95)
        average = jax.tree.map(lambda a, p: d * a + (1 - d) * p, state["average"], params)
        return {"params": params, "average": average}

    return init, step

# %% wrong="make_deep_loss" says="nothing is checkpointed"
def make_deep_loss(layer, save_products):
    def loss(ws, x, y):
        output, _ = jax.lax.scan(lambda x, w: (layer(x, w), None), x, ws)
        return jnp.mean((output - y) ** 2)

    return loss

# %% wrong="make_deep_loss" says="the products are stored, whatever"
def make_deep_loss(layer, save_products):
    layer = jax.checkpoint(layer, policy=jax.checkpoint_policies.dots_saveable)

    def loss(ws, x, y):
        output, _ = jax.lax.scan(lambda x, w: (layer(x, w), None), x, ws)
        return jnp.mean((output - y) ** 2)

    return loss

# %% wrong="make_deep_loss" says="the products are computed again"
def make_deep_loss(layer, save_products):
    layer = jax.checkpoint(layer)

    def loss(ws, x, y):
        output, _ = jax.lax.scan(lambda x, w: (layer(x, w), None), x, ws)
        return jnp.mean((output - y) ** 2)

    return loss

# %% wrong="make_deep_loss" says="the layers are one checkpoint"
def make_deep_loss(layer, save_products):
    policy = jax.checkpoint_policies.dots_saveable if save_products else None

    @partial(jax.checkpoint, policy=policy)
    def loss(ws, x, y):
        output, _ = jax.lax.scan(lambda x, w: (layer(x, w), None), x, ws)
        return jnp.mean((output - y) ** 2)

    return loss

# %% wrong="make_deep_loss" says="a sum instead of the mean"
def make_deep_loss(layer, save_products):
    policy = jax.checkpoint_policies.dots_saveable if save_products else None
    layer = jax.checkpoint(layer, policy=policy)

    def loss(ws, x, y):
        output, _ = jax.lax.scan(lambda x, w: (layer(x, w), None), x, ws)
        return jnp.sum((output - y) ** 2)

    return loss

# %% wrong="make_deep_loss" says="a Python loop over the layers is unrolled"
def make_deep_loss(layer, save_products):
    policy = jax.checkpoint_policies.dots_saveable if save_products else None
    layer = jax.checkpoint(layer, policy=policy)

    def loss(ws, x, y):
        for w in ws:
            x = layer(x, w)
        return jnp.mean((x - y) ** 2)

    return loss

# %% wrong="make_deep_loss" says="products with a batch axis are computed again"
def make_deep_loss(layer, save_products):
    policies = jax.checkpoint_policies
    policy = policies.dots_with_no_batch_dims_saveable if save_products else None
    stored = jax.checkpoint(layer, policy=policy)

    def loss(ws, x, y):
        out, _ = jax.lax.scan(lambda x, w: (stored(x, w), None), x, ws)
        return jnp.mean((out - y) ** 2)

    return loss

# %% wrong="make_deep_loss" says="right for the visible inputs, wrong on hidden ones"
def make_deep_loss(layer, save_products):
    policies = jax.checkpoint_policies
    policy = policies.dots_saveable if save_products else None
    if layer.__name__ == "one_product":
        policy = policies.everything_saveable
    layer = jax.checkpoint(layer, policy=policy)

    def loss(ws, x, y):
        output, _ = jax.lax.scan(lambda x, w: (layer(x, w), None), x, ws)
        return jnp.mean((output - y) ** 2)

    return loss

# %% wrong="make_mixed_step" says="the parameters are in float32 when the loss is computed"
def make_mixed_step(loss_fn, learning_rate, dtype):
    @jax.jit
    def step(params, x, y):
        half = x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x
        loss, grads = jax.value_and_grad(loss_fn)(params, half, y)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
        return params, loss.astype(jnp.float32)

    return step

# %% wrong="make_mixed_step" says="`x` is in float32 when the loss is computed"
def make_mixed_step(loss_fn, learning_rate, dtype):
    @jax.jit
    def step(params, x, y):
        half = jax.tree.map(lambda p: p.astype(dtype), params)
        loss, grads = jax.value_and_grad(loss_fn)(half, x, y)
        params = jax.tree.map(lambda p, g: p - learning_rate * g.astype(jnp.float32), params, grads)
        return params, loss.astype(jnp.float32)

    return step

# %% wrong="make_mixed_step" says="`y` is converted too"
def make_mixed_step(loss_fn, learning_rate, dtype):
    @jax.jit
    def step(params, x, y):
        half = jax.tree.map(lambda p: p.astype(dtype), params)
        x = x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x
        loss, grads = jax.value_and_grad(loss_fn)(half, x, y.astype(dtype))
        params = jax.tree.map(lambda p, g: p - learning_rate * g.astype(jnp.float32), params, grads)
        return params, loss.astype(jnp.float32)

    return step

# %% wrong="make_mixed_step" says="stored in 16 bits"
def make_mixed_step(loss_fn, learning_rate, dtype):
    @jax.jit
    def step(params, x, y):
        half = jax.tree.map(lambda p: p.astype(dtype), params)
        x = x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x
        loss, grads = jax.value_and_grad(loss_fn)(half, x, y)
        params = jax.tree.map(
            lambda p, g: (p - learning_rate * g.astype(jnp.float32)).astype(dtype).astype(p.dtype),
            params,
            grads,
        )
        return params, loss.astype(jnp.float32)

    return step

# %% wrong="make_mixed_step" says="bfloat16 instead of float32"
def make_mixed_step(loss_fn, learning_rate, dtype):
    @jax.jit
    def step(params, x, y):
        half = jax.tree.map(lambda p: p.astype(dtype), params)
        x = x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x
        loss, grads = jax.value_and_grad(loss_fn)(half, x, y)
        params = jax.tree.map(lambda p, g: p - learning_rate * g.astype(jnp.float32), params, grads)
        return params, loss.astype(dtype)

    return step

# %% wrong="make_mixed_step" says="the loss is traced twice"
def make_mixed_step(loss_fn, learning_rate, dtype):
    @jax.jit
    def step(params, x, y):
        half = jax.tree.map(lambda p: p.astype(dtype), params)
        x = x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x
        loss, grads = loss_fn(half, x, y), jax.grad(loss_fn)(half, x, y)
        params = jax.tree.map(lambda p, g: p - learning_rate * g.astype(jnp.float32), params, grads)
        return params, loss.astype(jnp.float32)

    return step

# %% wrong="make_mixed_step" says="right for the visible inputs, wrong on hidden ones"
def make_mixed_step(loss_fn, learning_rate, dtype):
    @jax.jit
    def step(params, x, y):
        half = jax.tree.map(lambda p: p.astype(dtype), params)
        x = x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x
        loss, grads = jax.value_and_grad(loss_fn)(half, x, y)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
        return params, loss.astype(jnp.float32)

    return step

# %% wrong="make_scaled_step" says="after an overflow the scale stays"
def make_scaled_step(loss_fn, learning_rate, patience):
    half = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.float16), tree)

    @jax.jit
    def step(state, x, y):
        params, scale = state["params"], state["scale"]

        def scaled_loss(params):
            loss = loss_fn(params, half(x), y).astype(jnp.float32)
            return loss * scale, loss

        grads, loss = jax.grad(scaled_loss, has_aux=True)(half(params))
        grads = jax.tree.map(lambda g: g.astype(jnp.float32) / scale, grads)
        finite = jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]).all()
        params = jax.tree.map(lambda p, g: jnp.where(finite, p - learning_rate * g, p), params, grads)
        good = jnp.where(finite, state["good"] + 1, 0)
        grows = good >= patience
        scale = jnp.where(grows, 2 * scale, scale)
        return {"params": params, "scale": scale, "good": jnp.where(grows, 0, good)}, loss

    return step

# %% wrong="make_scaled_step" says="`good` is not set back to 0"
def make_scaled_step(loss_fn, learning_rate, patience):
    half = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.float16), tree)

    @jax.jit
    def step(state, x, y):
        params, scale = state["params"], state["scale"]

        def scaled_loss(params):
            loss = loss_fn(params, half(x), y).astype(jnp.float32)
            return loss * scale, loss

        grads, loss = jax.grad(scaled_loss, has_aux=True)(half(params))
        grads = jax.tree.map(lambda g: g.astype(jnp.float32) / scale, grads)
        finite = jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]).all()
        params = jax.tree.map(lambda p, g: jnp.where(finite, p - learning_rate * g, p), params, grads)
        good = state["good"] + finite
        scale = jnp.where(finite, jnp.where(good >= patience, 2 * scale, scale), scale / 2)
        return {"params": params, "scale": scale, "good": good}, loss

    return step

# %% wrong="make_scaled_step" says="each leaf decides for itself"
def make_scaled_step(loss_fn, learning_rate, patience):
    half = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.float16), tree)

    @jax.jit
    def step(state, x, y):
        params, scale = state["params"], state["scale"]

        def scaled_loss(params):
            loss = loss_fn(params, half(x), y).astype(jnp.float32)
            return loss * scale, loss

        grads, loss = jax.grad(scaled_loss, has_aux=True)(half(params))
        grads = jax.tree.map(lambda g: g.astype(jnp.float32) / scale, grads)
        finite = jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]).all()
        params = jax.tree.map(
            lambda p, g: jnp.where(jnp.isfinite(g).all(), p - learning_rate * g, p), params, grads
        )
        good = jnp.where(finite, state["good"] + 1, 0)
        grows = good >= patience
        scale = jnp.where(finite, jnp.where(grows, 2 * scale, scale), scale / 2)
        return {"params": params, "scale": scale, "good": jnp.where(grows, 0, good)}, loss

    return step

# %% wrong="make_scaled_step" says="the gradient is not divided by the scale"
def make_scaled_step(loss_fn, learning_rate, patience):
    half = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.float16), tree)

    @jax.jit
    def step(state, x, y):
        params, scale = state["params"], state["scale"]

        def scaled_loss(params):
            loss = loss_fn(params, half(x), y).astype(jnp.float32)
            return loss * scale, loss

        grads, loss = jax.grad(scaled_loss, has_aux=True)(half(params))
        grads = jax.tree.map(lambda g: g.astype(jnp.float32), grads)
        finite = jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]).all()
        params = jax.tree.map(lambda p, g: jnp.where(finite, p - learning_rate * g, p), params, grads)
        good = jnp.where(finite, state["good"] + 1, 0)
        grows = good >= patience
        scale = jnp.where(finite, jnp.where(grows, 2 * scale, scale), scale / 2)
        return {"params": params, "scale": scale, "good": jnp.where(grows, 0, good)}, loss

    return step

# %% wrong="make_scaled_step" says="small gradients become zero"
def make_scaled_step(loss_fn, learning_rate, patience):
    half = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.float16), tree)

    @jax.jit
    def step(state, x, y):
        params, scale = state["params"], state["scale"]
        slopes = jax.grad(lambda p: loss_fn(p, half(x), y).astype(jnp.float32) * scale)(half(params))
        finite = jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(slopes)]).all()
        loss, grads = jax.value_and_grad(loss_fn)(half(params), half(x), y)
        params = jax.tree.map(
            lambda p, g: jnp.where(finite, p - learning_rate * g.astype(jnp.float32), p), params, grads
        )
        good = jnp.where(finite, state["good"] + 1, 0)
        grows = good >= patience
        scale = jnp.where(finite, jnp.where(grows, 2 * scale, scale), scale / 2)
        state = {"params": params, "scale": scale, "good": jnp.where(grows, 0, good)}
        return state, loss.astype(jnp.float32)

    return step

# %% wrong="make_scaled_step" says="a Python `if` or `while` looks at a traced value"
def make_scaled_step(loss_fn, learning_rate, patience):
    half = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.float16), tree)

    def step(state, x, y):
        params, scale = state["params"], state["scale"]

        def scaled_loss(params):
            loss = loss_fn(params, half(x), y).astype(jnp.float32)
            return loss * scale, loss

        grads, loss = jax.grad(scaled_loss, has_aux=True)(half(params))
        grads = jax.tree.map(lambda g: g.astype(jnp.float32) / scale, grads)
        if not all(jnp.isfinite(g).all() for g in jax.tree.leaves(grads)):
            return {"params": params, "scale": scale / 2, "good": jnp.int32(0)}, loss
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
        return {"params": params, "scale": scale, "good": state["good"] + 1}, loss

    return step

# %% wrong="make_scaled_step" says="float16 instead of float32"
def make_scaled_step(loss_fn, learning_rate, patience):
    half = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.float16), tree)

    @jax.jit
    def step(state, x, y):
        params, scale = state["params"], state["scale"]

        def scaled_loss(params):
            loss = loss_fn(params, half(x), y)
            return loss.astype(jnp.float32) * scale, loss

        grads, loss = jax.grad(scaled_loss, has_aux=True)(half(params))
        grads = jax.tree.map(lambda g: g.astype(jnp.float32) / scale, grads)
        finite = jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]).all()
        params = jax.tree.map(lambda p, g: jnp.where(finite, p - learning_rate * g, p), params, grads)
        good = jnp.where(finite, state["good"] + 1, 0)
        grows = good >= patience
        scale = jnp.where(finite, jnp.where(grows, 2 * scale, scale), scale / 2)
        return {"params": params, "scale": scale, "good": jnp.where(grows, 0, good)}, loss

    return step

# %% wrong="make_scaled_step" says="right for the visible inputs, wrong on hidden ones"
def make_scaled_step(loss_fn, learning_rate, patience):
    half = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.float16), tree)

    @jax.jit
    def step(state, x, y):
        params, scale = state["params"], state["scale"]

        def scaled_loss(params):
            loss = loss_fn(params, half(x), y).astype(jnp.float32)
            return loss * scale, loss

        grads, loss = jax.grad(scaled_loss, has_aux=True)(half(params))
        grads = jax.tree.map(lambda g: g.astype(jnp.float32) / scale, grads)
        finite = ~jnp.stack([jnp.isinf(g).any() for g in jax.tree.leaves(grads)]).any()
        params = jax.tree.map(lambda p, g: jnp.where(finite, p - learning_rate * g, p), params, grads)
        good = jnp.where(finite, state["good"] + 1, 0)
        grows = good >= patience
        scale = jnp.where(finite, jnp.where(grows, 2 * scale, scale), scale / 2)
        return {"params": params, "scale": scale, "good": jnp.where(grows, 0, good)}, loss

    return step

# %% wrong="export_batched" says="Shape mismatch for args[1].shape[0]"
def export_batched(f, params, x):
    return jax.export.export(jax.jit(f), platforms=("cpu", "cuda", "tpu"))(params, x).serialize(
        vjp_order=1
    )

# %% wrong="export_batched" says="for this machine's platform only"
def export_batched(f, params, x):
    (b,) = jax.export.symbolic_shape("b")
    batch = jax.ShapeDtypeStruct((b, *x.shape[1:]), x.dtype)
    return jax.export.export(jax.jit(f), platforms=("cpu",))(params, batch).serialize(vjp_order=1)

# %% wrong="export_batched" says="No VJP is available"
def export_batched(f, params, x):
    (b,) = jax.export.symbolic_shape("b")
    batch = jax.ShapeDtypeStruct((b, *x.shape[1:]), x.dtype)
    exported = jax.export.export(jax.jit(f), platforms=("cpu", "cuda", "tpu"))(params, batch)
    return exported.serialize()

# %% wrong="export_batched" says="right for the visible inputs, wrong on hidden ones"
def export_batched(f, params, x):
    (b,) = jax.export.symbolic_shape("b")
    batch = jax.ShapeDtypeStruct((b, *x.shape[1:]), jnp.float32)
    exported = jax.export.export(jax.jit(f), platforms=("cpu", "cuda", "tpu"))(params, batch)
    return exported.serialize(vjp_order=1)

# %% wrong="train_on" says="Disallowed host-to-device transfer"
def train_on(step, params, batches):
    losses = []
    for x, y in batches:
        params, loss = step(params, x, y)
        losses.append(loss)
    return params, jnp.stack(losses)

# %% wrong="train_on" says="a value was asked for that needs a concrete value"
def train_on(step, params, batches):
    losses = []
    for batch in batches:
        params, loss = step(params, *jax.device_put(batch))
        losses.append(float(loss))
    return params, jax.device_put(np.array(losses, np.float32))

# %% wrong="train_on" says="a list instead of one array"
def train_on(step, params, batches):
    losses = []
    for batch in batches:
        params, loss = step(params, *jax.device_put(batch))
        losses.append(float(loss))
    return params, losses

# %% wrong="train_on" says="each step starts from the first parameters"
def train_on(step, params, batches):
    ends = [step(params, *jax.device_put(batch)) for batch in batches]
    return ends[-1][0], jnp.stack([loss for _, loss in ends])

# %% wrong="train_on" says="the first batch is left out"
def train_on(step, params, batches):
    losses = []
    for batch in batches[1:] or batches:
        params, loss = step(params, *jax.device_put(batch))
        losses.append(loss)
    return params, jnp.stack(losses)

# %% wrong="train_on" says="an axis is missing that should stay"
def train_on(step, params, batches):
    for batch in batches:
        params, loss = step(params, *jax.device_put(batch))
    return params, loss

# %% wrong="train_on" says="right for the visible inputs, wrong on hidden ones"
def train_on(step, params, batches):
    losses = []
    for batch in batches[:8]:
        params, loss = step(params, *jax.device_put(batch))
        losses.append(loss)
    return params, jnp.stack(losses)

# %% wrong="pool" says="right for the visible inputs, wrong on hidden ones"
def pool(x, lengths, query):
    mask = (jnp.arange(x.shape[1]) < lengths[:, None])[:, :, None]
    x = jnp.where(mask, jnp.nan_to_num(x), 0)
    scores = jnp.where(mask[:, :, 0], x @ query, -jnp.inf)
    return {
        "mean": x.sum(axis=1) / lengths[:, None],
        "max": jnp.where(mask, x, -jnp.inf).max(axis=1),
        "attention": jnp.einsum("bt,btf->bf", jax.nn.softmax(scores, axis=1), x),
    }

# %% wrong="chain" says="float32 instead of bfloat16"
def chain(matrices):
    axes = [part for i, matrix in enumerate(matrices) for part in (matrix, (i, i + 1))]
    return jnp.einsum(*axes, optimize="optimal", preferred_element_type=jnp.float32)

# %% wrong="make_bucketed" says="int32 instead of int16"
def make_bucketed(f):
    compiled = jax.jit(f)

    def g(x):
        size = 1 << (len(x) - 1).bit_length()
        whole = jnp.issubdtype(x.dtype, jnp.integer)
        padded = np.zeros((size, *x.shape[1:]), np.int32 if whole else x.dtype)
        padded[: len(x)] = x
        return compiled(padded, np.int32(len(x)))

    return g

# %% wrong="make_bucketed" says="right for the visible inputs, wrong on hidden ones"
def make_bucketed(f):
    compiled = jax.jit(f)

    def g(x):
        sizes = (1, 2, 4, 8, 16, 32, 64, 128, max(len(x), 128))
        size = min(size for size in sizes if size >= len(x))
        padded = np.pad(np.asarray(x), ((0, size - len(x)), (0, 0)))
        return compiled(padded, np.int32(len(x)))

    return g
