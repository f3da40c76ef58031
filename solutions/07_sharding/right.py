# %% right="shard_params"
def shard_params(params, mesh):
    def sharding(leaf):
        best, longest = None, 0
        for axis, length in enumerate(np.shape(leaf)):
            if length > longest and length % mesh.shape["data"] == 0:
                best, longest = axis, length
        return NamedSharding(mesh, P() if best is None else P(*[None] * best, "data"))

    return jax.device_put(params, jax.tree.map(sharding, params))

# %% right="forward"
def forward(ws, x, mesh):
    columns = NamedSharding(mesh, P(None, "data"))

    @jax.jit
    def run(ws, x):
        for w in ws[:-1]:
            x = jax.nn.relu(lax.with_sharding_constraint(x, columns) @ w)
        return lax.with_sharding_constraint(x, columns) @ ws[-1]

    return run(ws, x)

# %% right="forward"
def forward(ws, x, mesh):
    def product(x, w):
        return lax.psum_scatter(x @ w, "data", scatter_dimension=1, tiled=True)

    def body(ws, x):
        for w in ws[:-1]:
            x = jax.nn.relu(product(x, w))
        return product(x, ws[-1])

    columns = P(None, "data")
    mapped = jax.shard_map(body, mesh=mesh, in_specs=(P("data"), columns), out_specs=columns)
    return jax.jit(mapped)(ws, x)

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

# %% right="fsdp_step"
def fsdp_step(params, momentum, x, y, learning_rate, mesh):
    def body(params, momentum, x, y, learning_rate):
        def global_loss(params):
            return lax.pmean(loss_fn(lax.all_gather(params, "data", tiled=True), x, y), "data")

        grads = jax.grad(global_loss)(params)
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, grads)
        return jax.tree.map(lambda p, m: p - learning_rate * m, params, momentum), momentum

    rows = P("data")
    specs = rows, rows, rows, rows, P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=rows)
    return jax.jit(mapped)(params, momentum, x, y, learning_rate)

# %% right="fsdp_step"
def fsdp_step(params, momentum, x, y, learning_rate, mesh):
    @jax.jit
    @partial(jax.shard_map, mesh=mesh, in_specs=P("data"), out_specs=P("data"), check_vma=False)
    def run(params, momentum, x, y):
        whole = lax.all_gather(params, "data", tiled=True)
        share = len(x) / (len(x) * mesh.shape["data"])
        grads = jax.grad(lambda p: share * loss_fn(p, x, y))(whole)
        grads = lax.psum_scatter(grads, "data", tiled=True)
        moved = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, grads)
        return jax.tree.map(lambda p, m: p - learning_rate * m, params, moved), moved

    return run(params, momentum, x, y)

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
