# %% right="tracing_errors"
def tracing_errors():
    def branches(x):
        while x.sum() > 100:
            x = x - 1
        return x

    def counts(x):
        return sum(i for i in range(x[1]))

    def converts(x):
        return np.asarray(x).mean()

    def sizes(x):
        return jnp.nonzero(x)

    def selects(x):
        return x.at[x == 2].set(0) if False else x[x == 2]

    names = "NonConcreteBooleanIndex", "ConcretizationType", "TracerArrayConversion"
    names += "TracerIntegerConversion", "TracerBoolConversion"
    return {f"{name}Error": f for name, f in zip(names, (selects, sizes, converts, counts, branches))}

# %% right="other_errors"
def other_errors():
    class Model:
        pass

    def unexpected():
        model = Model()

        def forward(x):
            model.hidden = jnp.sin(x)
            return x

        jax.vmap(forward)(jnp.ones(3))
        jax.jit(forward)(jnp.ones(3))
        return model.hidden * 2

    def reused():
        before = jax.config.jax_debug_key_reuse
        jax.config.update("jax_debug_key_reuse", True)
        try:
            key = jax.random.key(3)
            jax.random.split(key)
            return jax.random.uniform(key)
        finally:
            jax.config.update("jax_debug_key_reuse", before)

    def inconclusive():
        (n,) = export.symbolic_shape("n")
        return export.export(jax.jit(lambda x: x.reshape(3, -1)))(jax.ShapeDtypeStruct((n,), jnp.float32))

    def failing():
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        return jax.pure_callback(lambda x: np.float32(1 // 0), shape, 1.0).block_until_ready()

    return {
        "JaxRuntimeError": failing,
        "InconclusiveDimensionOperation": inconclusive,
        "KeyReuseError": reused,
        "UnexpectedTracerError": unexpected,
    }

# %% right="watched_descent"
def watched_descent(f, x, learning_rate, steps, log):
    def step(i, x):
        jax.experimental.io_callback(lambda i, v: log(i, v), None, i, f(x), ordered=True)
        return x - learning_rate * jax.grad(f)(x)

    return lax.fori_loop(0, steps, step, x)

# %% right="loud_errors"
def loud_errors():
    def under(switch, value, body):
        def raises():
            with switch(value):
                return body()

        return raises

    def donated():
        x = jnp.ones(5)
        jax.jit(lambda x: 2 * x, donate_argnums=(0,))(x)
        return np.asarray(x)

    def leak():
        box = {}
        with jax.checking_leaks():
            return jax.jit(lambda x: box.update(x=x * 2))(jnp.ones(2))

    def early(x):
        return lax.fori_loop(0, jnp.int32(x), lambda i, c: c * x, x)

    return {
        "transfer": under(jax.transfer_guard_host_to_device, "disallow", lambda: jnp.cos(np.arange(3.0))),
        "dtypes": under(jax.numpy_dtype_promotion, "strict", lambda: jnp.arange(3) * jnp.arange(3.0)),
        "rank": under(jax.numpy_rank_promotion, "raise", lambda: jnp.eye(2) * jnp.arange(2.0)),
        "nan": under(jax.debug_nans, True, lambda: jax.jit(lambda x: x / x)(jnp.zeros(()))),
        "leak": leak,
        "while gradient": lambda: jax.grad(jax.jit(early))(3.0),
        "donated": donated,
        "traced slice": lambda: jax.jit(lambda i, x: x[i:])(1, jnp.ones(4)),
        "traced shape": lambda: jax.jit(lambda n: jnp.ones((n, 2)))(4),
    }

# %% right="normalise"
@jax.jit
def normalise(weights):
    negative = weights < 0
    index = jnp.min(jnp.where(negative, jnp.arange(len(weights)), len(weights) - 1))
    checkify.check(~negative.any(), "negative weight {v} at index {i}", v=weights[index], i=index)
    checkify.check(negative.any() | (weights.sum() != 0), "all weights are zero")
    return weights / weights.sum()

# %% right="hidden_nan"
def hidden_nan(f, x):
    error, value = jax.jit(checkify.checkify(f, errors=checkify.nan_checks))(x)
    try:
        error.throw()
    except ValueError:
        return np.bool_(True), value
    return np.bool_(False), value

# %% right="hidden_nan"
def hidden_nan(f, x):
    value = f(x)
    try:
        with jax.debug_nans(True), jax.disable_jit():
            f(x)
    except FloatingPointError:
        return True, value
    return False, value

# %% right="first_bad_layer"
def first_bad_layer(layer, params, x):
    finite = []
    for one in params:
        x = jax.jit(layer)(one, x)
        finite.append(jnp.all(jnp.isfinite(x)))
    bad = ~jnp.stack(finite)
    return jnp.where(bad.any(), jnp.argmax(bad), -1)

# %% right="test_mse"
def test_mse(mse):
    key, other = jax.random.split(jax.random.key(0))
    predictions = 3 * jax.random.normal(key, (9, 1))
    for y in (jax.random.normal(other, (9,)), jax.random.randint(other, (9,), 0, 5)):
        expected = sum((float(p) - float(t)) ** 2 for p, t in zip(predictions[:, 0], y)) / 9
        assert abs(float(mse(predictions, y)) - expected) < 1e-3 * expected

# %% right="test_lookup"
def test_lookup(lookup):
    table = jax.random.uniform(jax.random.key(0), (7, 3), minval=1.0, maxval=2.0)
    for i in range(-20, 20):
        row = lookup(table, jnp.array([i, 3], jnp.int32))
        expected = table[i] if 0 <= i < 7 else jnp.zeros(3)
        assert jnp.allclose(row[0], expected) and jnp.allclose(row[1], table[3])

# %% right="test_dropout"
def test_dropout(dropout_steps):
    x, rate = 1.0 + jax.random.uniform(jax.random.key(9), (80, 90)), 0.3
    out = dropout_steps(jax.random.key(4), x, rate, 5)
    kept = (out != 0).astype(jnp.float32)
    assert jnp.allclose(out, kept * x / (1 - rate), rtol=1e-4)
    assert jnp.abs(kept.mean() - 0.7) < 0.02
    noise = kept - kept.mean()
    again = (dropout_steps(jax.random.key(5), x, rate, 5) != 0) - kept.mean()
    assert jnp.abs((noise * again).mean()) < 0.02
    for axis in range(3):
        flat = jnp.moveaxis(noise, axis, 0).reshape(noise.shape[axis], -1)
        correlation = flat @ flat.T / flat.shape[1]
        assert (jnp.abs(correlation - jnp.diag(jnp.diag(correlation))) < 0.1).all()

# %% right="test_train"
def test_train(train):
    params = {"a": jnp.array(2.0), "b": {"c": jnp.array([1.0, -3.0])}}
    before = jax.tree.map(np.array, params)

    def loss_fn(params):
        return params["a"] ** 2 * 0.5 + jnp.sum(jnp.cosh(params["b"]["c"]))

    optimizer = optax.adam(0.1)

    @jax.jit
    def step(params, opt_state):
        updates, opt_state = optimizer.update(jax.grad(loss_fn)(params), opt_state)
        return optax.apply_updates(params, updates), opt_state

    expected, opt_state = params, optimizer.init(params)
    for _ in range(8):
        expected, opt_state = step(expected, opt_state)
    got = train(loss_fn, params, optimizer, 8)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(params))
    assert jax.tree.all(jax.tree.map(lambda a, b: jnp.allclose(a, b, atol=1e-3), got, expected))
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), params, before))

# %% right="test_step"
def test_step(step, settings):
    rng = np.random.default_rng(0)
    kept = []
    for i in range(6):
        w, grads = rng.normal(size=(2, 4)).astype(np.float32), rng.normal(size=(2, 4)).astype(np.float32)
        settings["learning_rate"] = 0.1 * (i % 4 + 1)
        copies = w.copy(), grads.copy()
        kept.append((step(w, grads), copies[0] - settings["learning_rate"] * copies[1]))
        assert (w == copies[0]).all() and (grads == copies[1]).all()
    assert all(np.allclose(got, expected, atol=1e-5) for got, expected in kept)
