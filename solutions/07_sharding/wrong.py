# %% wrong="shard_params" says="wrong on hidden ones: float32"
def shard_params(params, mesh):
    size = mesh.shape["data"]

    def place(leaf):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            leaf = jnp.asarray(leaf, jnp.float32)
        possible = [axis for axis in range(leaf.ndim) if leaf.shape[axis] % size == 0]
        spec = [None] * leaf.ndim
        if possible:
            spec[max(possible, key=lambda axis: leaf.shape[axis])] = "data"
        return jax.device_put(leaf, NamedSharding(mesh, P(*spec)))

    return jax.tree.map(place, params)

# %% wrong="shard_params" says="the result lies on one device alone"
def shard_params(params, mesh):
    return jax.tree.map(jnp.asarray, params)

# %% wrong="shard_params" says="raised IndivisibleError"
def shard_params(params, mesh):
    def place(leaf):
        spec = [None] * leaf.ndim
        if leaf.ndim:
            spec[int(np.argmax(leaf.shape))] = "data"
        return jax.device_put(leaf, NamedSharding(mesh, P(*spec)))

    return jax.tree.map(place, params)

# %% wrong="shard_params" says="split along axis 0, instead of axis 1"
def shard_params(params, mesh):
    def place(leaf):
        possible = [axis for axis in range(leaf.ndim) if leaf.shape[axis] % mesh.shape["data"] == 0]
        spec = [None] * leaf.ndim
        if possible:
            spec[possible[0]] = "data"
        return jax.device_put(leaf, NamedSharding(mesh, P(*spec)))

    return jax.tree.map(place, params)

# %% wrong="shard_params" says="split along axis 1, instead of axis 0"
def shard_params(params, mesh):
    size = mesh.shape["data"]

    def place(leaf):
        possible = [axis for axis in range(leaf.ndim) if leaf.shape[axis] % size == 0]
        spec = [None] * leaf.ndim
        if possible:
            spec[max(possible, key=lambda axis: (leaf.shape[axis], axis))] = "data"
        return jax.device_put(leaf, NamedSharding(mesh, P(*spec)))

    return jax.tree.map(place, params)

# %% wrong="shard_params" says="the result is replicated"
def shard_params(params, mesh):
    def place(leaf):
        spec = [None] * leaf.ndim
        longest = int(np.argmax(leaf.shape)) if leaf.ndim else 0
        if leaf.ndim and leaf.shape[longest] % mesh.shape["data"] == 0:
            spec[longest] = "data"
        return jax.device_put(leaf, NamedSharding(mesh, P(*spec)))

    return jax.tree.map(place, params)

# %% wrong="shard_params" says="the result is split into other parts"
def shard_params(params, mesh):
    def place(leaf):
        possible = [axis for axis in range(leaf.ndim) if leaf.shape[axis] % mesh.size == 0]
        spec = [None] * leaf.ndim
        if possible:
            spec[max(possible, key=lambda axis: leaf.shape[axis])] = mesh.axis_names
        return jax.device_put(leaf, NamedSharding(mesh, P(*spec)))

    return jax.tree.map(place, params)

# %% wrong="shard_params" says="right for the visible inputs"
def shard_params(params, mesh):
    name = mesh.axis_names[0]

    def place(leaf):
        possible = [axis for axis in range(leaf.ndim) if leaf.shape[axis] % mesh.shape[name] == 0]
        spec = [None] * leaf.ndim
        if possible:
            spec[max(possible, key=lambda axis: leaf.shape[axis])] = name
        return jax.device_put(leaf, NamedSharding(mesh, P(*spec)))

    return jax.tree.map(place, params)

# %% wrong="shard_params" says="wrong on hidden ones: the code raised IndivisibleError"
def shard_params(params, mesh):
    size = mesh.devices.shape[0]

    def place(leaf):
        possible = [axis for axis in range(leaf.ndim) if leaf.shape[axis] % size == 0]
        spec = [None] * leaf.ndim
        if possible:
            spec[max(possible, key=lambda axis: leaf.shape[axis])] = "data"
        return jax.device_put(leaf, NamedSharding(mesh, P(*spec)))

    return jax.tree.map(place, params)

# %% wrong="shard_params" says="every device holds all of it"
def shard_params(params, mesh):
    size = mesh.shape["data"]

    def place(leaf):
        last = range(max(0, leaf.ndim - 2), leaf.ndim)
        possible = [axis for axis in last if leaf.shape[axis] % size == 0]
        spec = [None] * leaf.ndim
        if possible:
            spec[max(possible, key=lambda axis: leaf.shape[axis])] = "data"
        return jax.device_put(leaf, NamedSharding(mesh, P(*spec)))

    return jax.tree.map(place, params)

# %% wrong="shard_params" says="floats instead of integers"
def shard_params(params, mesh):
    size = mesh.shape["data"]

    def place(leaf):
        possible = [axis for axis in range(leaf.ndim) if leaf.shape[axis] % size == 0]
        spec = [None] * leaf.ndim
        if possible:
            spec[max(possible, key=lambda axis: leaf.shape[axis])] = "data"
        return jax.device_put(jnp.asarray(leaf, jnp.float32), NamedSharding(mesh, P(*spec)))

    return jax.tree.map(place, params)

# %% wrong="forward" says="the program has `all-gather` 2 times"
def forward(ws, x, mesh):
    return forward_plain(ws, x)

# %% wrong="forward" says="the program has `all-gather` 3 times"
def forward(ws, x, mesh):
    whole = NamedSharding(mesh, P())
    return lax.with_sharding_constraint(forward_plain(ws, x), whole)

# %% wrong="forward" says="the program has `all-gather`"
def forward(ws, x, mesh):
    return forward_plain(ws, lax.with_sharding_constraint(x, NamedSharding(mesh, P())))

# %% wrong="forward" says="the last layer has no ReLU"
def forward(ws, x, mesh):
    for w in ws:
        x = lax.with_sharding_constraint(x, NamedSharding(mesh, P(None, "data")))
        x = jax.nn.relu(x @ w)
    return x

# %% wrong="forward" says="there is a ReLU between the layers"
def forward(ws, x, mesh):
    for w in ws:
        x = lax.with_sharding_constraint(x, NamedSharding(mesh, P(None, "data"))) @ w
    return x

# %% wrong="forward" says="wrong on hidden ones: the program has `all-gather` 2 times"
def forward(ws, x, mesh):
    across = NamedSharding(mesh, P(None, mesh.axis_names[0]))
    return forward_plain(ws, lax.with_sharding_constraint(x, across))

# %% wrong="forward" says="wrong on hidden ones: the program has `all-gather` once"
def forward(ws, x, mesh):
    across = NamedSharding(mesh, P(None, mesh.axis_names))
    return forward_plain(ws, lax.with_sharding_constraint(x, across))

# %% wrong="forward" says="right for the visible inputs"
def forward(ws, x, mesh):
    columns = NamedSharding(mesh, P(None, "data"))
    x = lax.with_sharding_constraint(x, columns)
    return x @ ws[0] if len(ws) == 1 else jax.nn.relu(x @ ws[0]) @ ws[1]

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

# %% wrong="fsdp_step" says="the gradients are added over the devices, not averaged"
def fsdp_step(params, momentum, x, y, learning_rate, mesh):
    def body(params, momentum, x, y, learning_rate):
        whole = lax.all_gather(params, "data", tiled=True)
        grads = lax.psum_scatter(jax.grad(loss_fn)(whole, x, y), "data", tiled=True)
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, grads)
        return jax.tree.map(lambda p, m: p - learning_rate * m, params, momentum), momentum

    rows = P("data")
    specs = rows, rows, rows, rows, P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=rows)
    return jax.jit(mapped)(params, momentum, x, y, learning_rate)

# %% wrong="fsdp_step" says="the old momentum moves the parameters"
def fsdp_step(params, momentum, x, y, learning_rate, mesh):
    def body(params, momentum, x, y, learning_rate):
        def global_loss(params):
            return lax.pmean(loss_fn(lax.all_gather(params, "data", tiled=True), x, y), "data")

        grads = jax.grad(global_loss)(params)
        params = jax.tree.map(lambda p, m: p - learning_rate * m, params, momentum)
        return params, jax.tree.map(lambda m, g: 0.9 * m + g, momentum, grads)

    rows = P("data")
    specs = rows, rows, rows, rows, P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=rows)
    return jax.jit(mapped)(params, momentum, x, y, learning_rate)

# %% wrong="fsdp_step" says="without the momentum"
def fsdp_step(params, momentum, x, y, learning_rate, mesh):
    def body(params, momentum, x, y, learning_rate):
        def global_loss(params):
            return lax.pmean(loss_fn(lax.all_gather(params, "data", tiled=True), x, y), "data")

        grads = jax.grad(global_loss)(params)
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, grads)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), momentum

    rows = P("data")
    specs = rows, rows, rows, rows, P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=rows)
    return jax.jit(mapped)(params, momentum, x, y, learning_rate)

# %% wrong="fsdp_step" says="the old momentum is lost"
def fsdp_step(params, momentum, x, y, learning_rate, mesh):
    def body(params, x, y, learning_rate):
        def global_loss(params):
            return lax.pmean(loss_fn(lax.all_gather(params, "data", tiled=True), x, y), "data")

        momentum = jax.grad(global_loss)(params)
        return jax.tree.map(lambda p, m: p - learning_rate * m, params, momentum), momentum

    rows = P("data")
    mapped = jax.shard_map(body, mesh=mesh, in_specs=(rows, rows, rows, P()), out_specs=rows)
    return jax.jit(mapped)(params, x, y, learning_rate)

# %% wrong="fsdp_step" says="a moving average"
def fsdp_step(params, momentum, x, y, learning_rate, mesh):
    def body(params, momentum, x, y, learning_rate):
        def global_loss(params):
            return lax.pmean(loss_fn(lax.all_gather(params, "data", tiled=True), x, y), "data")

        grads = jax.grad(global_loss)(params)
        momentum = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, momentum, grads)
        return jax.tree.map(lambda p, m: p - learning_rate * m, params, momentum), momentum

    rows = P("data")
    specs = rows, rows, rows, rows, P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=rows)
    return jax.jit(mapped)(params, momentum, x, y, learning_rate)

# %% wrong="fsdp_step" says="the result is replicated"
def fsdp_step(params, momentum, x, y, learning_rate, mesh):
    def body(params, momentum, x, y, learning_rate):
        grads = jax.grad(lambda params: lax.pmean(loss_fn(params, x, y), "data"))(params)
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, grads)
        return jax.tree.map(lambda p, m: p - learning_rate * m, params, momentum), momentum

    specs = P(), P(), P("data"), P("data"), P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P())
    return jax.jit(mapped)(params, momentum, x, y, learning_rate)

# %% wrong="fsdp_step" says="every device holds all of it, where each should hold a part"
def fsdp_step(params, momentum, x, y, learning_rate, mesh):
    def body(mine, params, momentum, x, y, learning_rate):
        own = lax.pcast(params, "data", to="varying")
        grads = lax.psum_scatter(jax.grad(loss_fn)(own, x, y), "data", tiled=True)
        size = lax.axis_size("data")
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g / size, momentum, grads)
        mine = jax.tree.map(lambda p, m: p - learning_rate * m, mine, momentum)
        return lax.all_gather(mine, "data", tiled=True, to="invarying"), momentum

    rows = P("data")
    specs = rows, P(), rows, rows, rows, P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=(P(), rows))
    return jax.jit(mapped)(params, params, momentum, x, y, learning_rate)

# %% wrong="fsdp_step" says="the program has `all-reduce`"
def fsdp_step(params, momentum, x, y, learning_rate, mesh):
    def body(params, momentum, x, y, learning_rate):
        whole = lax.all_gather(params, "data", tiled=True)
        grads = lax.pmean(jax.grad(loss_fn)(whole, x, y), "data")

        def own_part(p, g):
            return lax.dynamic_slice_in_dim(g, lax.axis_index("data") * len(p), len(p))

        grads = jax.tree.map(own_part, params, grads)
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, grads)
        return jax.tree.map(lambda p, m: p - learning_rate * m, params, momentum), momentum

    rows = P("data")
    specs = rows, rows, rows, rows, P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=rows)
    return jax.jit(mapped)(params, momentum, x, y, learning_rate)

# %% wrong="fsdp_step" says="divided by the length of `mesh.devices`"
def fsdp_step(params, momentum, x, y, learning_rate, mesh):
    axis = "data"

    def body(params, momentum, x, y, rate):
        whole = lax.all_gather(params, axis, tiled=True)
        grads = lax.psum_scatter(jax.grad(loss_fn)(whole, x, y), axis, tiled=True)
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g / len(mesh.devices), momentum, grads)
        return jax.tree.map(lambda p, m: p - rate * m, params, momentum), momentum

    specs = P(axis), P(axis), P(axis), P(axis), P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P(axis))
    return jax.jit(mapped)(params, momentum, x, y, learning_rate)

# %% wrong="fsdp_step" says="wrong on hidden ones: the result is split into other parts"
def fsdp_step(params, momentum, x, y, learning_rate, mesh):
    axis = mesh.axis_names[0]

    def body(params, momentum, x, y, rate):
        whole = lax.all_gather(params, axis, tiled=True)
        grads = lax.psum_scatter(jax.grad(loss_fn)(whole, x, y), axis, tiled=True)
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g / lax.axis_size(axis), momentum, grads)
        return jax.tree.map(lambda p, m: p - rate * m, params, momentum), momentum

    specs = P(axis), P(axis), P(axis), P(axis), P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P(axis))
    return jax.jit(mapped)(params, momentum, x, y, learning_rate)

# %% wrong="fsdp_step" says="the gradients are divided by `n`"
def fsdp_step(params, momentum, x, y, learning_rate, mesh):
    def body(params, momentum, x, y, learning_rate):
        whole = lax.all_gather(params, "data", tiled=True)
        grads = lax.psum_scatter(jax.grad(loss_fn)(whole, x, y), "data", tiled=True)
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g / n, momentum, grads)
        return jax.tree.map(lambda p, m: p - learning_rate * m, params, momentum), momentum

    rows = P("data")
    specs = rows, rows, rows, rows, P()
    mapped = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=rows)
    return jax.jit(mapped)(params, momentum, x, y, learning_rate)

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
