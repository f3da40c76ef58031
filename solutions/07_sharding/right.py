# %% right="spread"
@partial(jax.jit, static_argnums=2)
def spread(params, batch, mesh):
    def put(leaf, spec):
        return lax.with_sharding_constraint(leaf, NamedSharding(mesh, spec))

    return (
        jax.tree.map(lambda leaf: put(jnp.asarray(leaf), P()), params),
        jax.tree.map(lambda leaf: put(leaf, P(*["data"][: jnp.ndim(leaf)])), batch),
    )

# %% right="compile_step"
def compile_step(step, mesh):
    compiled = jax.jit(step)

    @jax.jit
    def placed(params, x, y):
        x, y = (
            lax.with_sharding_constraint(part, NamedSharding(mesh, P("data"))) for part in (x, y)
        )
        return lax.with_sharding_constraint(compiled(params, x, y), NamedSharding(mesh, P()))

    return placed

# %% right="sharded_softmax"
def sharded_softmax(scores, mesh):
    rows = NamedSharding(mesh, P("data"))
    return jax.jit(jax.nn.softmax, in_shardings=rows, out_shardings=rows)(scores)

# %% right="sharded_softmax"
def sharded_softmax(scores, mesh):
    def body(part):
        largest = lax.pmax(part, "data").max()
        powers = jnp.exp(part - largest)
        return powers / lax.psum(powers, "data").sum()

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data")))(scores)

# %% right="ring_filter"
def ring_filter(x, kernel, mesh):
    rows = NamedSharding(mesh, P("data"))

    @partial(jax.jit, out_shardings=rows)
    def run(x, kernel):
        x = lax.with_sharding_constraint(x, rows)
        return kernel[0] * jnp.roll(x, 1) + kernel[1] * x + kernel[2] * jnp.roll(x, -1)

    return run(x, kernel)

# %% right="ring_filter"
def ring_filter(x, kernel, mesh):
    size = mesh.shape["data"]

    @jax.jit
    @partial(jax.shard_map, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    def run(part, kernel):
        before = lax.ppermute(part[-1], "data", [(i, (i + 1) % size) for i in range(size)])
        after = lax.ppermute(part[0], "data", [(i, (i - 1) % size) for i in range(size)])
        left = jnp.roll(part, 1).at[0].set(before)
        right = jnp.roll(part, -1).at[-1].set(after)
        return jnp.stack([left, part, right], axis=1) @ kernel

    return run(x, kernel)

# %% right="parallel_step"
def parallel_step(params, x, y, learning_rate, mesh):
    def body(params, x, y, learning_rate):
        grads = lax.pmean(jax.grad(loss_fn)(params, x, y), "data")
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)

    specs = P(), P("data"), P("data"), P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False)
    return jax.jit(mapped)(params, x, y, learning_rate)

# %% right="parallel_step"
def parallel_step(params, x, y, learning_rate, mesh):
    def body(params, x, y):
        own_params = lax.pcast(params, "data", to="varying")
        grads = jax.grad(loss_fn)(own_params, x, y)
        return lax.pmean(
            jax.tree.map(lambda p, g: p - learning_rate * g, own_params, grads), "data"
        )

    specs = P(), P("data"), P("data")
    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P()))(params, x, y)

# %% right="noisy"
def noisy(key, x, scale, mesh):
    keys = jax.random.split(key, mesh.shape["data"])

    def body(keys, part):
        return part + scale * jax.random.normal(keys[0], part.shape)

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data")))(keys, x)

# %% right="noisy"
def noisy(key, x, scale, mesh):
    rows = NamedSharding(mesh, P("data"))
    draw = jax.jit(lambda key: jax.random.normal(key, x.shape), out_shardings=rows)
    return jax.device_put(x, rows) + scale * draw(key)

# %% right="per_example_grads"
def per_example_grads(params, x, y, mesh):
    body = jax.vmap(jax.grad(loss_fn), in_axes=(None, 0, 0))
    specs = P(), P("data"), P("data")
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P("data"), check_vma=False)
    return jax.jit(mapped)(params, x, y)

# %% right="per_example_grads"
def per_example_grads(params, x, y, mesh):
    @jax.jit
    @partial(jax.shard_map, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    def body(x, y):
        own_params = lax.pcast(params, "data", to="varying")
        return lax.map(lambda pair: jax.grad(loss_fn)(own_params, *pair), (x, y))

    return body(x, y)

# %% right="compile_step"
def compile_step(step, mesh):
    whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    compiled = jax.jit(step, out_shardings=whole)
    return lambda params, x, y: compiled(*jax.device_put((params, x, y), (whole, rows, rows)))

# %% right="least_squares"
def least_squares(x, y, mesh):
    def body(x, y):
        both = jnp.concatenate([x, y[:, None]], axis=1)
        moments = lax.psum(both.T @ both, "data")
        lower = jnp.linalg.cholesky(moments[:-1, :-1])
        return jax.scipy.linalg.cho_solve((lower, True), moments[:-1, -1])

    return jax.jit(
        jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P(), check_vma=False)
    )(x, y)

# %% right="tensor_parallel"
def tensor_parallel(params, x, mesh):
    def place(leaf, *spec):
        return lax.with_sharding_constraint(leaf, NamedSharding(mesh, P(*spec)))

    @partial(jax.jit, out_shardings=NamedSharding(mesh, P()))
    def run(params, x):
        hidden, output = params["hidden"], params["output"]
        inside = jax.nn.relu(x @ place(hidden["w"], None, "model") + place(hidden["b"], "model"))
        return place(inside @ place(output["w"], "model", None)) + output["b"]

    return run(params, x)

# %% right="sentence_vectors"
def sentence_vectors(table, tokens, mesh):
    with jax.set_mesh(mesh):
        known = jax.reshard(table, P())
        vectors = known.at[tokens].get(out_sharding=P("data")).mean(axis=1)
        return vectors, jnp.einsum("si,sj->ij", vectors, vectors, out_sharding=P())
