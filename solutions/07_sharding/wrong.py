# %% wrong="spread" says="wrong on hidden ones: float32"
def spread(params, batch, mesh):
    def put(leaf, spec):
        leaf = jnp.asarray(leaf)
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            leaf = leaf.astype(jnp.float32)
        return jax.device_put(leaf, NamedSharding(mesh, spec))

    whole = jax.tree.map(lambda leaf: put(leaf, P()), params)
    rows = jax.tree.map(lambda leaf: put(leaf, P("data") if jnp.ndim(leaf) else P()), batch)
    return whole, rows


# %% wrong="spread" says="the result lies on one device alone"
def spread(params, batch, mesh):
    return jax.tree.map(jnp.asarray, params), jax.tree.map(jnp.asarray, batch)

# %% wrong="spread" says="cut along an axis that it does not have"
def spread(params, batch, mesh):
    return (
        jax.device_put(params, NamedSharding(mesh, P())),
        jax.device_put(batch, NamedSharding(mesh, P("data"))),
    )

# %% wrong="spread" says="the result is replicated"
def spread(params, batch, mesh):
    return jax.device_put((params, batch), NamedSharding(mesh, P()))

# %% wrong="spread" says="where every device should hold all of it"
def spread(params, batch, mesh):
    def place(leaf):
        even = jnp.ndim(leaf) and leaf.shape[0] % mesh.size == 0
        return jax.device_put(leaf, NamedSharding(mesh, P("data") if even else P()))

    return jax.tree.map(place, (params, batch))

# %% wrong="spread" says="the result is split into other parts"
def spread(params, batch, mesh):
    rows = NamedSharding(mesh, P(mesh.axis_names))
    whole = NamedSharding(mesh, P())
    place = jax.tree.map(lambda leaf: rows if jnp.ndim(leaf) else whole, batch)
    return jax.device_put(params, whole), jax.device_put(batch, place)

# %% wrong="spread" says="the result was reshaped"
def spread(params, batch, mesh):
    whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))

    def place(leaf):
        if not jnp.ndim(leaf):
            return jax.device_put(leaf, whole)
        size = mesh.shape["data"]
        return jax.device_put(jnp.reshape(leaf, (size, -1, *leaf.shape[1:])), rows)

    return jax.device_put(params, whole), jax.tree.map(place, batch)

# %% wrong="spread" says="right for the visible inputs"
def spread(params, batch, mesh):
    whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P(mesh.axis_names[0]))
    place = jax.tree.map(lambda leaf: rows if jnp.ndim(leaf) else whole, batch)
    return jax.device_put(params, whole), jax.device_put(batch, place)

# %% wrong="spread" says="floats instead of integers"
def spread(params, batch, mesh):
    def place(leaf):
        spec = P("data") if jnp.ndim(leaf) else P()
        return jax.device_put(jnp.asarray(leaf, jnp.float32), NamedSharding(mesh, spec))

    return jax.device_put(params, NamedSharding(mesh, P())), jax.tree.map(place, batch)

# %% wrong="compile_step" says="the result lies on one device alone"
def compile_step(step, mesh):
    return jax.jit(step)

# %% wrong="compile_step" says="the program has no `all-reduce`: the devices exchange nothing"
def compile_step(step, mesh):
    whole = NamedSharding(mesh, P())
    return jax.jit(step, in_shardings=(whole, whole, whole), out_shardings=whole)

# %% wrong="compile_step" says="the gradients are added over the devices"
def compile_step(step, mesh):
    specs = P(), P("data"), P("data")
    mapped = jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=P())
    return jax.jit(mapped)

# %% wrong="compile_step" says="the devices exchange nothing"
def compile_step(step, mesh):
    whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    return jax.jit(step, in_shardings=(whole, rows, whole), out_shardings=whole)

# %% wrong="compile_step" says="where every device should hold all of it"
def compile_step(step, mesh):
    whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    return jax.jit(step, in_shardings=(whole, rows, rows))

# %% wrong="compile_step" says="the right parts lie on the wrong devices"
def compile_step(step, mesh):
    every = jax.make_mesh((n,), ("data",), axis_types=(AxisType.Auto,), devices=devices)
    whole, rows = NamedSharding(every, P()), NamedSharding(every, P("data"))
    return jax.jit(step, in_shardings=(whole, rows, rows), out_shardings=whole)

# %% wrong="compile_step" says="raised IndivisibleError"
def compile_step(step, mesh):
    whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P(mesh.axis_names))
    return jax.jit(step, in_shardings=(whole, rows, rows), out_shardings=whole)

# %% wrong="compile_step" says="two pytrees"
def compile_step(step, mesh):
    whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    tree = {"w": whole, "b": whole}
    return jax.jit(step, in_shardings=(tree, rows, rows), out_shardings=tree)

# %% wrong="sharded_softmax" says="each device normalises its own part"
def sharded_softmax(scores, mesh):
    return jax.jit(
        jax.shard_map(jax.nn.softmax, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    )(scores)

# %% wrong="sharded_softmax" says="NaN instead of a number"
def sharded_softmax(scores, mesh):
    def body(part):
        powers = jnp.exp(part)
        return powers / lax.psum(powers.sum(), "data")

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data")))(scores)

# %% wrong="sharded_softmax" says="each device subtracts its own maximum"
def sharded_softmax(scores, mesh):
    def body(part):
        powers = jnp.exp(part - part.max())
        return powers / lax.psum(powers.sum(), "data")

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data")))(scores)

# %% wrong="sharded_softmax" says="the result lies on one device alone"
def sharded_softmax(scores, mesh):
    return jax.nn.softmax(scores)

# %% wrong="sharded_softmax" says="the result is replicated"
def sharded_softmax(scores, mesh):
    def body(part):
        return jax.nn.softmax(lax.all_gather(part, "data", tiled=True))

    mapped = jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P(), check_vma=False)
    return jax.jit(mapped)(scores)

# %% wrong="sharded_softmax" says="the program has `all-gather`"
def sharded_softmax(scores, mesh):
    def body(part):
        everyone = lax.all_gather(part, "data", tiled=True)
        powers = jnp.exp(part - everyone.max())
        return powers / jnp.exp(everyone - everyone.max()).sum()

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data")))(scores)

# %% wrong="sharded_softmax" says="where all scores of a device are -inf"
def sharded_softmax(scores, mesh):
    def body(part):
        own = part.max()
        largest = lax.pmax(own, "data")
        powers = jnp.exp(part - own)
        total = lax.psum(powers.sum() * jnp.exp(own - largest), "data")
        return powers * jnp.exp(own - largest) / total

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data")))(scores)

# %% wrong="sharded_softmax" says="the maximum cannot fall below 0"
def sharded_softmax(scores, mesh):
    def body(part):
        largest = lax.pmax(jnp.max(part, initial=0.0), "data")
        powers = jnp.exp(part - largest)
        return powers / lax.psum(powers.sum(), "data")

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data")))(scores)

# %% wrong="sharded_softmax" says="the devices exchange too much"
def sharded_softmax(scores, mesh):
    def body(part):
        own = lax.axis_index("data") == jnp.arange(mesh.shape["data"])
        everyone = lax.psum(jnp.where(own[:, None], part, 0.0), "data")
        powers = jnp.exp(part - everyone.max())
        return powers / lax.psum(powers.sum(), "data")

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data")))(scores)

# %% wrong="sharded_softmax" says="the result is split into other parts"
def sharded_softmax(scores, mesh):
    axes = mesh.axis_names

    def body(part):
        powers = jnp.exp(part - lax.pmax(part.max(), axes))
        return powers / lax.psum(powers.sum(), axes)

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P(axes), out_specs=P(axes)))(scores)

# %% wrong="sharded_softmax" says="right for the visible inputs"
def sharded_softmax(scores, mesh):
    def body(part):
        powers = jnp.exp(part - lax.pmax(part.max(), "data"))
        return powers / (n * lax.pmean(powers.sum(), "data"))

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data")))(scores)

# %% wrong="ring_filter" says="each device closes a ring of its own"
def ring_filter(x, kernel, mesh):
    def body(part, kernel):
        return kernel[0] * jnp.roll(part, 1) + kernel[1] * part + kernel[2] * jnp.roll(part, -1)

    mapped = jax.shard_map(body, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    return jax.jit(mapped)(x, kernel)

# %% wrong="ring_filter" says="the ends are not joined"
def ring_filter(x, kernel, mesh):
    size = mesh.shape["data"]

    def body(part, kernel):
        before = lax.ppermute(part[-1:], "data", [(i, i + 1) for i in range(size - 1)])
        after = lax.ppermute(part[:1], "data", [(i + 1, i) for i in range(size - 1)])
        padded = jnp.concatenate([before, part, after])
        return kernel[0] * padded[:-2] + kernel[1] * padded[1:-1] + kernel[2] * padded[2:]

    mapped = jax.shard_map(body, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    return jax.jit(mapped)(x, kernel)

# %% wrong="ring_filter" says="left and right are exchanged"
def ring_filter(x, kernel, mesh):
    size = mesh.shape["data"]
    forward = [(i, (i + 1) % size) for i in range(size)]
    back = [(target, source) for source, target in forward]

    def body(part, kernel):
        before = lax.ppermute(part[-1:], "data", forward)
        after = lax.ppermute(part[:1], "data", back)
        return jnp.convolve(jnp.concatenate([before, part, after]), kernel, mode="valid")

    mapped = jax.shard_map(body, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    return jax.jit(mapped)(x, kernel)

# %% wrong="ring_filter" says="the result lies on one device alone"
@jax.jit
def filtered(x, kernel):
    return kernel[0] * jnp.roll(x, 1) + kernel[1] * x + kernel[2] * jnp.roll(x, -1)


def ring_filter(x, kernel, mesh):
    return filtered(x, kernel)

# %% wrong="ring_filter" says="the program has `all-gather`"
def ring_filter(x, kernel, mesh):
    def body(part, kernel):
        everyone = lax.all_gather(part, "data", tiled=True)
        first = lax.axis_index("data") * part.size
        places = first + jnp.arange(-1, part.size + 1)
        padded = jnp.take(everyone, places, mode="wrap")
        return kernel[0] * padded[:-2] + kernel[1] * padded[1:-1] + kernel[2] * padded[2:]

    mapped = jax.shard_map(body, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    return jax.jit(mapped)(x, kernel)

# %% wrong="ring_filter" says="right for the visible inputs"
def ring_filter(x, kernel, mesh):
    forward = [(i, (i + 1) % n) for i in range(n)]
    back = [(target, source) for source, target in forward]

    def body(part, kernel):
        before = lax.ppermute(part[-1:], "data", forward)
        after = lax.ppermute(part[:1], "data", back)
        padded = jnp.concatenate([before, part, after])
        return kernel[0] * padded[:-2] + kernel[1] * padded[1:-1] + kernel[2] * padded[2:]

    mapped = jax.shard_map(body, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    return jax.jit(mapped)(x, kernel)

# %% wrong="ring_filter" says="the devices exchange too much"
def ring_filter(x, kernel, mesh):
    size = mesh.shape["data"]
    forward = [(i, (i + 1) % size) for i in range(size)]
    back = [(target, source) for source, target in forward]

    def body(part, kernel):
        before = lax.ppermute(part, "data", forward)[-1:]
        after = lax.ppermute(part, "data", back)[:1]
        padded = jnp.concatenate([before, part, after])
        return kernel[0] * padded[:-2] + kernel[1] * padded[1:-1] + kernel[2] * padded[2:]

    mapped = jax.shard_map(body, mesh=mesh, in_specs=(P("data"), P()), out_specs=P("data"))
    return jax.jit(mapped)(x, kernel)

# %% wrong="parallel_step" says="the gradients are n times too large"
def parallel_step(params, x, y, learning_rate, mesh):
    def body(params, x, y, learning_rate):
        grads = lax.pmean(jax.grad(loss_fn)(params, x, y), "data")
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)

    specs = P(), P("data"), P("data"), P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P())
    return jax.jit(mapped)(params, x, y, learning_rate)

# %% wrong="parallel_step" says="added over the devices twice"
def parallel_step(params, x, y, learning_rate, mesh):
    def body(params, x, y, learning_rate):
        grads = lax.psum(jax.grad(loss_fn)(params, x, y), "data")
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)

    specs = P(), P("data"), P("data"), P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P())
    return jax.jit(mapped)(params, x, y, learning_rate)

# %% wrong="parallel_step" says="only the examples of the first device count"
def parallel_step(params, x, y, learning_rate, mesh):
    def body(params, x, y, learning_rate):
        grads = jax.grad(loss_fn)(params, x, y)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)

    specs = P(), P("data"), P("data"), P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False)
    return jax.jit(mapped)(params, x, y, learning_rate)

# %% wrong="parallel_step" says="uphill"
def parallel_step(params, x, y, learning_rate, mesh):
    def body(params, x, y, learning_rate):
        grads = jax.grad(lambda params: lax.pmean(loss_fn(params, x, y), "data"))(params)
        return jax.tree.map(lambda p, g: p + learning_rate * g, params, grads)

    specs = P(), P("data"), P("data"), P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P())
    return jax.jit(mapped)(params, x, y, learning_rate)

# %% wrong="parallel_step" says="`out_specs` says that every device returns the same"
def parallel_step(params, x, y, learning_rate, mesh):
    def body(params, x, y, learning_rate):
        own_params = lax.pcast(params, "data", to="varying")
        grads = jax.grad(loss_fn)(own_params, x, y)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)

    specs = P(), P("data"), P("data"), P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P())
    return jax.jit(mapped)(params, x, y, learning_rate)

# %% wrong="parallel_step" says="the result lies on one device alone"
def parallel_step(params, x, y, learning_rate, mesh):
    grads = jax.grad(loss_fn)(params, x, y)
    return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)

# %% wrong="parallel_step" says="the program has `all-gather`"
def parallel_step(params, x, y, learning_rate, mesh):
    def body(params, x, y, learning_rate):
        x, y = lax.all_gather((x, y), "data", tiled=True)
        grads = jax.grad(loss_fn)(params, x, y)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)

    specs = P(), P("data"), P("data"), P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False)
    return jax.jit(mapped)(params, x, y, learning_rate)

# %% wrong="parallel_step" says="right for the visible inputs"
def parallel_step(params, x, y, learning_rate, mesh):
    def body(params, x, y, learning_rate):
        grads = jax.grad(loss_fn)(params, x, y)
        return jax.tree.map(lambda p, g: p - learning_rate * g / n, params, grads)

    specs = P(), P("data"), P("data"), P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P())
    return jax.jit(mapped)(params, x, y, learning_rate)

# %% wrong="parallel_step" says="shard_map"
def parallel_step(params, x, y, learning_rate, mesh):
    whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))

    @partial(jax.jit, in_shardings=(whole, rows, rows, whole), out_shardings=whole)
    def step(params, x, y, learning_rate):
        grads = jax.grad(loss_fn)(params, x, y)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)

    return step(params, x, y, learning_rate)

# %% wrong="noisy" says="row 0 and the result, row 2 are equal"
noisy = noisy_broken

# %% wrong="noisy" says="the same numbers, scaled or shifted"
def noisy(key, x, scale, mesh):
    def body(key, part):
        noise = jax.random.normal(key, part.shape)
        return part + scale * noise * (-1.0) ** lax.axis_index("data")

    specs = {"in_specs": (P(), P("data")), "out_specs": P("data")}
    return jax.jit(jax.shard_map(body, mesh=mesh, **specs))(key, x)

# %% wrong="noisy" says="the numbers do not depend on the key"
def noisy(key, x, scale, mesh):
    def body(part):
        own_key = jax.random.key(lax.axis_index("data"))
        return part + scale * jax.random.normal(own_key, part.shape)

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data")))(x)

# %% wrong="noisy" says="the scale is taken for a variance"
def noisy(key, x, scale, mesh):
    def body(key, part):
        own_key = jax.random.fold_in(key, lax.axis_index("data"))
        return part + scale**0.5 * jax.random.normal(own_key, part.shape)

    specs = {"in_specs": (P(), P("data")), "out_specs": P("data")}
    return jax.jit(jax.shard_map(body, mesh=mesh, **specs))(key, x)

# %% wrong="noisy" says="cut to whole numbers"
def noisy(key, x, scale, mesh):
    def body(key, part):
        own_key = jax.random.fold_in(key, lax.axis_index("data"))
        return part.astype(jnp.int32) + scale * jax.random.normal(own_key, part.shape)

    specs = {"in_specs": (P(), P("data")), "out_specs": P("data")}
    return jax.jit(jax.shard_map(body, mesh=mesh, **specs))(key, x)

# %% wrong="noisy" says="the result lies on one device alone"
def noisy(key, x, scale, mesh):
    return x + scale * jax.random.normal(key, x.shape)

# %% wrong="noisy" says="an array cannot be cut into equal parts"
def noisy(key, x, scale, mesh):
    def body(keys, part):
        return part + scale * jax.random.normal(keys[0], part.shape)

    keys = jax.random.split(key, n)
    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data")))(keys, x)

# %% wrong="noisy" says="right for the visible inputs"
def noisy(key, x, scale, mesh):
    axes = mesh.axis_names

    def body(key, part):
        own_key = jax.random.fold_in(key, lax.axis_index(axes))
        return part + scale * jax.random.normal(own_key, part.shape)

    specs = {"in_specs": (P(), P(axes)), "out_specs": P(axes)}
    return jax.jit(jax.shard_map(body, mesh=mesh, **specs))(key, x)

# %% wrong="per_example_grads" says="the gradients of examples on different devices"
def per_example_grads(params, x, y, mesh):
    body = jax.vmap(jax.grad(loss_fn), in_axes=(None, 0, 0))
    specs = P(), P("data"), P("data")
    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P("data")))(
        params, x, y
    )

# %% wrong="per_example_grads" says="the result was reshaped"
def per_example_grads(params, x, y, mesh):
    body = jax.vmap(jax.vmap(jax.grad(loss_fn), in_axes=(None, 0, 0)), in_axes=(None, 0, 0))
    size = mesh.shape["data"]
    x, y = x.reshape(size, -1, x.shape[1]), y.reshape(size, -1, y.shape[1])
    specs = P(), P("data"), P("data")
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P("data"), check_vma=False)
    return jax.jit(mapped)(params, x, y)

# %% wrong="per_example_grads" says="the result lies on one device alone"
def per_example_grads(params, x, y, mesh):
    return jax.vmap(jax.grad(loss_fn), in_axes=(None, 0, 0))(params, x, y)

# %% wrong="per_example_grads" says="the program has `all-gather`"
def per_example_grads(params, x, y, mesh):
    def body(params, x, y):
        own_params = lax.pcast(params, "data", to="varying")
        x_all, y_all = lax.all_gather((x, y), "data", tiled=True)
        grads = jax.vmap(jax.grad(loss_fn), in_axes=(None, 0, 0))(own_params, x_all, y_all)
        first = lax.axis_index("data") * len(x)
        return jax.tree.map(lambda g: lax.dynamic_slice_in_dim(g, first, len(x)), grads)

    specs = P(), P("data"), P("data")
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P("data"))
    return jax.jit(mapped)(params, x, y)

# %% wrong="per_example_grads" says="right for the visible inputs"
def per_example_grads(params, x, y, mesh):
    def squares(params, x, y):
        return jnp.sum((mlp(params, x) - y) ** 2)

    def body(params, x, y):
        own_params = lax.pcast(params, "data", to="varying")
        return jax.vmap(jax.grad(squares), in_axes=(None, 0, 0))(own_params, x, y)

    specs = P(), P("data"), P("data")
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P("data"))
    return jax.jit(mapped)(params, x, y)

# %% wrong="per_example_grads" says="shard_map"
def per_example_grads(params, x, y, mesh):
    whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    body = jax.vmap(jax.grad(loss_fn), in_axes=(None, 0, 0))
    return jax.jit(body, in_shardings=(whole, rows, rows), out_shardings=rows)(params, x, y)

# %% wrong="least_squares" says="the solutions are averaged"
def least_squares(x, y, mesh):
    def body(x, y):
        return lax.pmean(jnp.linalg.lstsq(x, y)[0], "data")

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P()))(x, y)

# %% wrong="least_squares" says="only the rows of the first device count"
def least_squares(x, y, mesh):
    def body(x, y):
        return jnp.linalg.lstsq(x, y)[0]

    mapped = jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P(), check_vma=False)
    return jax.jit(mapped)(x, y)

# %% wrong="least_squares" says="the result lies on one device alone"
def least_squares(x, y, mesh):
    return jnp.linalg.lstsq(x, y)[0]

# %% wrong="least_squares" says="the program has `all-gather`"
def least_squares(x, y, mesh):
    mapped = jax.shard_map(
        fit_by_gathering, mesh=mesh, in_specs=P("data"), out_specs=P(), check_vma=False
    )
    return jax.jit(mapped)(x, y)

# %% wrong="least_squares" says="NaN instead of a number"
def least_squares(x, y, mesh):
    def body(x, y):
        gram = x.T @ x
        own = jnp.linalg.solve(gram, x.T @ y)
        weights, weighted = lax.psum((gram, gram @ own), "data")
        return jnp.linalg.solve(weights, weighted)

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P()))(x, y)

# %% wrong="least_squares" says="right for the visible inputs"
def least_squares(x, y, mesh):
    def body(x, y):
        gram, moment = lax.psum((x.T @ x, x.T @ y), "data")
        return jnp.linalg.solve(gram + 1e-5 * jnp.eye(x.shape[1]), moment)

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P()))(x, y)

# %% wrong="least_squares" says="the devices exchange too much"
def least_squares(x, y, mesh):
    def body(x, y):
        own = jnp.concatenate([x, y[:, None]], axis=1)
        size = mesh.shape["data"]
        places = lax.axis_index("data") == jnp.arange(size)
        rows = lax.psum(places[:, None, None] * own, "data").reshape(size * len(x), -1)
        return jnp.linalg.lstsq(rows[:, :-1], rows[:, -1])[0]

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P()))(x, y)

# %% wrong="tensor_parallel" says="the output bias is added once on each device"
def tensor_parallel(params, x, mesh):
    specs = {
        "hidden": {"w": P(None, "model"), "b": P("model")},
        "output": {"w": P("model"), "b": P()},
    }

    def body(params, x):
        return lax.psum(mlp(params, x), "model")

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=(specs, P()), out_specs=P()))(params, x)

# %% wrong="tensor_parallel" says="only the hidden units of the first device count"
def tensor_parallel(params, x, mesh):
    specs = {
        "hidden": {"w": P(None, "model"), "b": P("model")},
        "output": {"w": P("model"), "b": P()},
    }
    mapped = jax.shard_map(mlp, mesh=mesh, in_specs=(specs, P()), out_specs=P(), check_vma=False)
    return jax.jit(mapped)(params, x)

# %% wrong="tensor_parallel" says="the result lies on one device alone"
def tensor_parallel(params, x, mesh):
    return jax.jit(mlp)(params, x)

# %% wrong="tensor_parallel" says="the program has `all-gather`"
def tensor_parallel(params, x, mesh):
    specs = {"hidden": {"w": P(None, "model"), "b": P("model")}, "output": {"w": P(), "b": P()}}

    def body(params, x):
        hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
        hidden = lax.all_gather(hidden, "model", axis=1, tiled=True)
        return hidden @ params["output"]["w"] + params["output"]["b"]

    mapped = jax.shard_map(body, mesh=mesh, in_specs=(specs, P()), out_specs=P(), check_vma=False)
    return jax.jit(mapped)(params, x)

# %% wrong="tensor_parallel" says="right for the visible inputs"
def tensor_parallel(params, x, mesh):
    specs = {
        "hidden": {"w": P(None, "model"), "b": P("model")},
        "output": {"w": P("model"), "b": P()},
    }

    def body(params, x):
        hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
        return lax.psum(hidden @ params["output"]["w"] + params["output"]["b"] / n, "model")

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=(specs, P()), out_specs=P()))(params, x)

# %% wrong="tensor_parallel" says="is divided by the number of all devices"
def tensor_parallel(params, x, mesh):
    specs = {
        "hidden": {"w": P(None, "model"), "b": P("model")},
        "output": {"w": P("model"), "b": P()},
    }

    def body(params, x):
        hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
        share = params["output"]["b"] / mesh.size
        return lax.psum(hidden @ params["output"]["w"] + share, "model")

    return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=(specs, P()), out_specs=P()))(params, x)

# %% wrong="sentence_vectors" says="the index and what is indexed leave it open"
def sentence_vectors(table, tokens, mesh):
    vectors = table[tokens].mean(axis=1)
    return vectors, vectors.T @ vectors

# %% wrong="sentence_vectors" says="the result is replicated"
def sentence_vectors(table, tokens, mesh):
    whole = NamedSharding(mesh, P())
    table, tokens = jax.reshard(table, whole), jax.reshard(tokens, whole)
    vectors = table[tokens].mean(axis=1)
    return vectors, vectors.T @ vectors

# %% wrong="sentence_vectors" says="does not say which mesh is meant"
def sentence_vectors(table, tokens, mesh):
    vectors = table.at[tokens].get(out_sharding=P("data")).mean(axis=1)
    return vectors, jnp.matmul(vectors.T, vectors, out_sharding=P())

# %% wrong="sentence_vectors" says="are summed and not averaged"
def sentence_vectors(table, tokens, mesh):
    rows, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    vectors = table.at[tokens].get(out_sharding=rows).sum(axis=1)
    return vectors, jnp.matmul(vectors.T, vectors, out_sharding=whole)

# %% wrong="sentence_vectors" says="the products are averaged"
def sentence_vectors(table, tokens, mesh):
    rows, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    vectors = table.at[tokens].get(out_sharding=rows).mean(axis=1)
    return vectors, jnp.matmul(vectors.T, vectors, out_sharding=whole) / len(tokens)

# %% wrong="sentence_vectors" says="right for the visible inputs"
def sentence_vectors(table, tokens, mesh):
    rows, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    vectors = table.at[tokens].get(out_sharding=rows).sum(axis=1) / 4
    return vectors, jnp.matmul(vectors.T, vectors, out_sharding=whole)
