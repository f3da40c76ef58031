# %% wrong="attend" says="a slice whose ends depend on values"
def attend(query, keys, values, length):
    scores = keys[:length] @ query / jnp.sqrt(query.size)
    return jax.nn.softmax(scores) @ values[:length]

# %% wrong="attend" says="masked after the softmax"
def attend(query, keys, values, length):
    weights = jax.nn.softmax(keys @ query / jnp.sqrt(query.size))
    return jnp.where(jnp.arange(len(keys)) < length, weights, 0.0) @ values

# %% wrong="attend" says="a score of zero is not a weight of zero"
def attend(query, keys, values, length):
    scores = keys @ query / jnp.sqrt(query.size)
    return jax.nn.softmax(scores * (jnp.arange(len(keys)) < length)) @ values

# %% wrong="attend" says="not divided by the square root"
def attend(query, keys, values, length):
    counts = jnp.arange(len(keys)) < length
    return jax.nn.softmax(keys @ query, where=counts) @ values

# %% wrong="attend" says="the padding counts"
def attend(query, keys, values, length):
    return jax.nn.softmax(keys @ query / jnp.sqrt(query.size)) @ values

# %% wrong="attend" says="the exponential overflows"
def attend(query, keys, values, length):
    shares = jnp.exp(keys @ query / jnp.sqrt(query.size))
    shares = jnp.where(jnp.arange(len(keys)) < length, shares, 0.0)
    return shares / jnp.sum(shares) @ values

# %% wrong="attend" says="takes part in the maximum"
def attend(query, keys, values, length):
    scores = keys @ query / jnp.sqrt(query.size)
    shares = jnp.exp(scores - jnp.max(scores)) * (jnp.arange(len(keys)) < length)
    return shares / jnp.sum(shares) @ values

# %% wrong="attend" says="where they should be replaced"
def attend(query, keys, values, length):
    scores = keys @ query / jnp.sqrt(query.size)
    return jax.nn.softmax(scores - 1e9 * (jnp.arange(len(keys)) >= length)) @ values

# %% wrong="attend" says="one word too many"
def attend(query, keys, values, length):
    scores = keys @ query / jnp.sqrt(query.size)
    return jax.nn.softmax(scores, where=jnp.arange(len(keys)) <= length) @ values

# %% wrong="attend" says="the score given to the padding is not low enough"
def attend(query, keys, values, length):
    scores = keys @ query / jnp.sqrt(query.size)
    return jax.nn.softmax(jnp.where(jnp.arange(len(keys)) < length, scores, -1e3)) @ values

# %% wrong="attend" says="the number of features, not by its root"
def attend(query, keys, values, length):
    scores = keys @ query / query.size
    counts = jnp.arange(len(keys)) < length
    return jax.nn.softmax(jnp.where(counts, scores, -jnp.inf)) @ values

# %% wrong="kernel_matrix" says="the mapped axes have different sizes"
def kernel_matrix(kernel, x, y):
    return jax.vmap(kernel)(x, y)

# %% wrong="kernel_matrix" says="transposed"
def kernel_matrix(kernel, x, y):
    return jax.vmap(jax.vmap(kernel, in_axes=(0, None)), in_axes=(None, 0))(x, y)

# %% wrong="kernel_matrix" says="in the order of the transposed matrix"
def kernel_matrix(kernel, x, y):
    table = jax.vmap(jax.vmap(kernel, in_axes=(0, None)), in_axes=(None, 0))(x, y)
    return table.reshape(len(x), len(y))

# %% wrong="kernel_matrix" says="has no attribute"
def kernel_matrix(kernel, x, y):
    n, m = x.shape[0], y.shape[0]
    table = jax.vmap(kernel)(jnp.repeat(x, m, axis=0), jnp.tile(y, (n, 1)))
    return table.reshape(n, m)

# %% wrong="kernel_matrix" says="grows"
def kernel_matrix(kernel, x, y):
    count = len(jax.tree.leaves(x)[0])
    examples = [jax.tree.map(lambda leaf: leaf[i], x) for i in range(count)]
    return jnp.stack([jax.vmap(kernel, in_axes=(None, 0))(a, y) for a in examples])

# %% wrong="kernel_matrix" says="wrong on hidden ones"
def kernel_matrix(kernel, x, y):
    table = jax.vmap(jax.vmap(kernel, in_axes=(None, 0)), in_axes=(0, None))(x, y)
    return jnp.squeeze(table)

# %% wrong="kernel_matrix" says="the example of y first"
def kernel_matrix(kernel, x, y):
    return jax.vmap(lambda a: jax.vmap(lambda b: kernel(b, a))(y))(x)

# %% wrong="all_heads" says="the result was reshaped"
def all_heads(params, x):
    heads = {"hidden": None, "output": {"w": 2, "b": 0}}
    return jax.vmap(jax.vmap(mlp, (heads, None)), (None, 0))(params, x).squeeze()


# %% wrong="all_heads" says="the mapped axes have different sizes"
def all_heads(params, x):
    return jax.vmap(mlp, in_axes=(0, None), out_axes=1)(params, x)

# %% wrong="all_heads" says="the axes are transposed"
def all_heads(params, x):
    axes = {"hidden": None, "output": {"w": 2, "b": 0}}
    return jax.vmap(mlp, in_axes=(axes, None))(params, x)

# %% wrong="all_heads" says="reshaped where they should be moved"
def all_heads(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
    heads, outputs = params["output"]["b"].shape
    w = params["output"]["w"].reshape(heads, -1, outputs)
    return jnp.einsum("bh,khd->bkd", hidden, w) + params["output"]["b"]

# %% wrong="all_heads" says="the heads have no bias"
def all_heads(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
    return jnp.einsum("bh,hdk->bkd", hidden, params["output"]["w"])

# %% wrong="all_heads" says="grows"
def all_heads(params, x):
    heads = []
    for i, b in enumerate(params["output"]["b"]):
        head = {"w": params["output"]["w"][:, :, i], "b": b}
        heads.append(mlp({"hidden": params["hidden"], "output": head}, x))
    return jnp.stack(heads, axis=1)

# %% wrong="all_heads" says="guessed from its length"
def all_heads(params, x):
    count = len(params["output"]["b"])
    axis = params["output"]["w"].shape.index(count)
    axes = {"hidden": None, "output": {"w": axis, "b": 0}}
    return jax.vmap(mlp, in_axes=(axes, None), out_axes=1)(params, x)

# %% wrong="all_heads" says="no ReLU"
def all_heads(params, x):
    hidden = x @ params["hidden"]["w"] + params["hidden"]["b"]
    return jnp.einsum("bh,hdk->bkd", hidden, params["output"]["w"]) + params["output"]["b"]

# %% wrong="gradient_norms" says="an axis is missing"
def gradient_norms(params, x, y):
    grads = jax.grad(loss_fn)(params, x, y)
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)))

# %% wrong="gradient_norms" says="no root is taken"
def gradient_norms(params, x, y):
    grads = jax.vmap(jax.grad(loss_fn), in_axes=(None, 0, 0))(params, x, y)
    return sum(jnp.sum(g.reshape(len(x), -1) ** 2, axis=1) for g in jax.tree.leaves(grads))

# %% wrong="gradient_norms" says="the norms of the leaves are added up"
def gradient_norms(params, x, y):
    grads = jax.vmap(jax.grad(loss_fn), in_axes=(None, 0, 0))(params, x, y)
    leaves = [g.reshape(len(x), -1) for g in jax.tree.leaves(grads)]
    return sum(jnp.linalg.norm(leaf, axis=1) for leaf in leaves)

# %% wrong="gradient_norms" says="the biases are left out"
def gradient_norms(params, x, y):
    def norm(x, y):
        grads = jax.grad(loss_fn)(params, x, y)
        return jnp.sqrt(sum(jnp.sum(layer["w"] ** 2) for layer in grads.values()))

    return jax.vmap(norm)(x, y)

# %% wrong="gradient_norms" says="one part in n"
def gradient_norms(params, x, y):
    def batch_loss(copies):
        return jnp.mean(jax.vmap(loss_fn)(copies, x, y))

    copies = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(x)), params)
    grads = jax.tree.leaves(jax.grad(batch_loss)(copies))
    return jnp.sqrt(sum(jnp.sum(g.reshape(len(x), -1) ** 2, axis=1) for g in grads))

# %% wrong="gradient_norms" says="grows"
def gradient_norms(params, x, y):
    norms = []
    for i in range(len(x)):
        grads = jax.grad(loss_fn)(params, x[i], y[i])
        norms.append(jnp.linalg.norm(jnp.concatenate([g.ravel() for g in jax.tree.leaves(grads)])))
    return jnp.stack(norms)

# %% wrong="gradient_norms" says="the outputs are summed and not averaged"
def gradient_norms(params, x, y):
    def norm(x, y):
        grads = jax.grad(lambda params: jnp.sum((mlp(params, x) - y) ** 2))(params)
        return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)))

    return jax.vmap(norm)(x, y)

# %% wrong="clipped_mean" says="the mean is clipped"
def clipped_mean(params, x, y, limit):
    grads = jax.grad(loss_fn)(params, x, y)
    norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)))
    return jax.tree.map(lambda leaf: leaf * jnp.minimum(1.0, limit / norm), grads)

# %% wrong="clipped_mean" says="each leaf is clipped by its own norm"
def clipped_mean(params, x, y, limit):
    def shorten(leaf):
        return leaf * jnp.minimum(1.0, limit / jnp.sqrt(jnp.sum(leaf**2)))

    grads = jax.vmap(jax.grad(loss_fn), in_axes=(None, 0, 0))(params, x, y)
    return jax.tree.map(lambda leaf: jnp.mean(jax.vmap(shorten)(leaf), axis=0), grads)

# %% wrong="clipped_mean" says="each number is clipped by itself"
def clipped_mean(params, x, y, limit):
    grads = jax.vmap(jax.grad(loss_fn), in_axes=(None, 0, 0))(params, x, y)
    return jax.tree.map(lambda leaf: jnp.mean(jnp.clip(leaf, -limit, limit), axis=0), grads)

# %% wrong="clipped_mean" says="short ones too"
def clipped_mean(params, x, y, limit):
    def clipped(x, y):
        grads = jax.grad(loss_fn)(params, x, y)
        norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)))
        return jax.tree.map(lambda leaf: leaf * limit / norm, grads)

    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), jax.vmap(clipped)(x, y))

# %% wrong="clipped_mean" says="not their mean"
def clipped_mean(params, x, y, limit):
    def clipped(x, y):
        grads = jax.grad(loss_fn)(params, x, y)
        norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)))
        return jax.tree.map(lambda leaf: leaf * jnp.minimum(1.0, limit / norm), grads)

    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), jax.vmap(clipped)(x, y))

# %% wrong="clipped_mean" says="0/0"
def clipped_mean(params, x, y, limit):
    def clipped(x, y):
        grads = jax.grad(loss_fn)(params, x, y)
        norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)))
        return jax.tree.map(lambda leaf: leaf / norm * jnp.minimum(norm, limit), grads)

    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), jax.vmap(clipped)(x, y))

# %% wrong="clipped_mean" says="grows"
def clipped_mean(params, x, y, limit):
    total = jax.tree.map(jnp.zeros_like, params)
    for i in range(len(x)):
        grads = jax.grad(loss_fn)(params, x[i], y[i])
        norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)))
        factor = jnp.where(norm > limit, limit / norm, 1.0) / len(x)
        total = jax.tree.map(lambda t, g: t + factor * g, total, grads)
    return total

# %% wrong="clipped_mean" says="1.3333 times the expected value"
def clipped_mean(params, x, y, limit):
    def clipped(x, y):
        grads = jax.grad(loss_fn)(params, x, y)
        norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)))
        return jax.tree.map(lambda leaf: leaf * jnp.minimum(1.0, limit / norm), grads)

    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0) / 6, jax.vmap(clipped)(x, y))

# %% wrong="clipped_mean" says="a small number is added to the norm"
def clipped_mean(params, x, y, limit):
    def clipped(x, y):
        grads = jax.grad(loss_fn)(params, x, y)
        norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)))
        factor = jnp.minimum(1.0, limit / (norm + 1e-6))
        return jax.tree.map(lambda leaf: leaf * factor, grads)

    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), jax.vmap(clipped)(x, y))

# %% wrong="train_ensemble" says="every member uses the first learning rate"
def train_ensemble(init, key, x, y, rates, steps):
    def train(key):
        def step(params, _):
            loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
            return jax.tree.map(lambda p, g: p - rates[0] * g, params, grads), loss

        return lax.scan(step, init(key), length=steps)

    return jax.vmap(train)(jax.random.split(key, len(rates)))

# %% wrong="train_ensemble" says="the loss is recorded after each step"
def train_ensemble(init, key, x, y, rates, steps):
    def train(key, rate):
        def step(params, _):
            grads = jax.grad(loss_fn)(params, x, y)
            params = jax.tree.map(lambda p, g: p - rate * g, params, grads)
            return params, loss_fn(params, x, y)

        return lax.scan(step, init(key), length=steps)

    return jax.vmap(train)(jax.random.split(key, len(rates)), rates)

# %% wrong="train_ensemble" says="the gradient is always that at the start"
def train_ensemble(init, key, x, y, rates, steps):
    def train(key, rate):
        start = init(key)
        grads = jax.grad(loss_fn)(start, x, y)

        def step(params, _):
            moved = jax.tree.map(lambda p, g: p - rate * g, params, grads)
            return moved, loss_fn(params, x, y)

        return lax.scan(step, start, length=steps)

    return jax.vmap(train)(jax.random.split(key, len(rates)), rates)

# %% wrong="train_ensemble" says="uphill"
def train_ensemble(init, key, x, y, rates, steps):
    def train(key, rate):
        def step(params, _):
            loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
            return jax.tree.map(lambda p, g: p + rate * g, params, grads), loss

        return lax.scan(step, init(key), length=steps)

    return jax.vmap(train)(jax.random.split(key, len(rates)), rates)

# %% wrong="train_ensemble" says="the parameters before the last step"
def train_ensemble(init, key, x, y, rates, steps):
    def train(key, rate):
        def step(carry, _):
            params, _ = carry
            loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
            moved = jax.tree.map(lambda p, g: p - rate * g, params, grads)
            return (moved, params), loss

        start = init(key)
        (_, params), losses = lax.scan(step, (start, start), length=steps)
        return params, losses

    return jax.vmap(train)(jax.random.split(key, len(rates)), rates)

# %% wrong="train_ensemble" says="the axes are transposed"
def train_ensemble(init, key, x, y, rates, steps):
    def step(params, _):
        losses, grads = jax.vmap(jax.value_and_grad(loss_fn), (0, None, None))(params, x, y)

        def move(p, g):
            return p - rates.reshape(-1, *[1] * (p.ndim - 1)) * g

        return jax.tree.map(move, params, grads), losses

    return lax.scan(step, jax.vmap(init)(jax.random.split(key, len(rates))), length=steps)

# %% wrong="train_ensemble" says="two arrays were broadcast"
def train_ensemble(init, key, x, y, rates, steps):
    def train(key, rate):
        def step(params, _):
            loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
            return jax.tree.map(lambda p, g: p - rate * g, params, grads), loss

        return lax.scan(step, init(key), length=steps)

    keys = jax.random.split(key, len(rates))
    return jax.vmap(jax.vmap(train, in_axes=(None, 0)), in_axes=(0, None))(keys, rates)

# %% wrong="train_ensemble" says="coincide"
def train_ensemble(init, key, x, y, rates, steps):
    def train(rate):
        def step(params, _):
            loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
            return jax.tree.map(lambda p, g: p - rate * g, params, grads), loss

        return lax.scan(step, init(key), length=steps)

    return jax.vmap(train)(rates)

# %% wrong="train_ensemble" says="does not depend on the key"
def train_ensemble(init, key, x, y, rates, steps):
    def train(seed, rate):
        def step(params, _):
            loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
            return jax.tree.map(lambda p, g: p - rate * g, params, grads), loss

        return lax.scan(step, init(jax.random.key(seed)), length=steps)

    return jax.vmap(train)(jnp.arange(len(rates)), rates)

# %% wrong="train_ensemble" says="unrolled whole"
def train_ensemble(init, key, x, y, rates, steps):
    def train(key, rate):
        def step(params, _):
            loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
            return jax.tree.map(lambda p, g: p - rate * g, params, grads), loss

        return lax.scan(step, init(key), length=steps, unroll=True)

    return jax.vmap(train)(jax.random.split(key, len(rates)), rates)

# %% wrong="train_ensemble" says="grows"
def train_ensemble(init, key, x, y, rates, steps):
    def train(key, rate):
        params, losses = init(key), []
        for _ in range(steps):
            loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
            params = jax.tree.map(lambda p, g: p - rate * g, params, grads)
            losses.append(loss)
        return params, jnp.stack(losses)

    return jax.vmap(train)(jax.random.split(key, len(rates)), rates)

# %% wrong="train_ensemble" says="wrong on hidden ones"
def train_ensemble(init, key, x, y, rates, steps):
    def train(seed, rate):
        def step(params, _):
            loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
            return jax.tree.map(lambda p, g: p - rate * g, params, grads), loss

        return lax.scan(step, init(jax.random.key(seed)), length=steps)

    return jax.vmap(train)(jax.random.randint(key, rates.shape, 0, 100), rates)

# %% wrong="paths" says="the noise is scaled by dt"
def paths(force, starts, noise, dt):
    def path(start, kicks):
        def step(x, kick):
            x = x + dt * (force(x) + kick)
            return x, x

        return lax.scan(step, start, kicks)[1]

    return jax.vmap(path, in_axes=(0, 1), out_axes=1)(starts, noise)

# %% wrong="paths" says="the start is recorded"
def paths(force, starts, noise, dt):
    def path(start, kicks):
        def step(x, kick):
            return x + dt * force(x) + jnp.sqrt(dt) * kick, x

        return lax.scan(step, start, kicks)[1]

    return jax.vmap(path, in_axes=(0, 1), out_axes=1)(starts, noise)

# %% wrong="paths" says="the force is taken after the kick"
def paths(force, starts, noise, dt):
    def path(start, kicks):
        def step(x, kick):
            x = x + jnp.sqrt(dt) * kick
            x = x + dt * force(x)
            return x, x

        return lax.scan(step, start, kicks)[1]

    return jax.vmap(path, in_axes=(0, 1), out_axes=1)(starts, noise)

# %% wrong="paths" says="reshaped where they should be moved"
def paths(force, starts, noise, dt):
    def path(start, kicks):
        def step(x, kick):
            x = x + dt * force(x) + jnp.sqrt(dt) * kick
            return x, x

        return lax.scan(step, start, kicks)[1]

    kicks = noise.reshape(len(starts), -1, 2)
    return jax.vmap(path, out_axes=1)(starts, kicks)

# %% wrong="paths" says="the axes are transposed"
def paths(force, starts, noise, dt):
    def path(start, kicks):
        def step(x, kick):
            x = x + dt * force(x) + jnp.sqrt(dt) * kick
            return x, x

        return lax.scan(step, start, kicks)[1]

    return jax.vmap(path, in_axes=(0, 1))(starts, noise)

# %% wrong="paths" says="scan"
def paths(force, starts, noise, dt):
    x, record = starts, []
    for kicks in noise:
        x = x + dt * jax.vmap(force)(x) + jnp.sqrt(dt) * kicks
        record.append(x)
    return jnp.stack(record)

# %% wrong="paths" says="grows"
def paths(force, starts, noise, dt):
    def step(x, kick):
        x = x + dt * force(x) + jnp.sqrt(dt) * kick
        return x, x

    crowd = [lax.scan(step, starts[i], noise[:, i])[1] for i in range(len(starts))]
    return jnp.stack(crowd, axis=1)

# %% wrong="paths" says="the two are confused"
def paths(force, starts, noise, dt):
    def path(start, kicks):
        def step(x, kick):
            x = x + dt * force(x) + jnp.sqrt(dt) * kick
            return x, x

        return lax.scan(step, start, kicks)[1]

    axis = noise.shape.index(len(starts))
    return jax.vmap(path, in_axes=(0, axis), out_axes=1)(starts, noise)

# %% wrong="paths" says="always that at the start"
def paths(force, starts, noise, dt):
    def path(start, kicks):
        pull = force(start)

        def step(x, kick):
            x = x + dt * pull + jnp.sqrt(dt) * kick
            return x, x

        return lax.scan(step, start, kicks)[1]

    return jax.vmap(path, in_axes=(0, 1), out_axes=1)(starts, noise)

# %% wrong="energy" says="the slope at distance zero still gets through"
def energy(x, mass):
    distance = jnp.sqrt(jnp.sum((x[:, None] - x) ** 2, axis=-1))
    pairs = -mass[:, None] * mass / distance
    return jnp.sum(jnp.where(jnp.eye(len(mass), dtype=bool), 0.0, pairs)) / 2

# %% wrong="energy" says="each pair is counted twice"
def energy(x, mass):
    def pair(i, j):
        square = jnp.where(i == j, 1.0, jnp.sum((x[i] - x[j]) ** 2))
        return jnp.where(i == j, 0.0, -mass[i] * mass[j] / jnp.sqrt(square))

    everyone = jnp.arange(len(mass))
    return jnp.sum(jax.vmap(jax.vmap(pair, (None, 0)), (0, None))(everyone, everyone))

# %% wrong="energy" says="no gradient reaches the positions"
def energy(x, mass):
    def pair(i, j):
        distance = jax.lax.stop_gradient(jnp.sqrt(jnp.sum((x[i] - x[j]) ** 2)))
        return jnp.where(i == j, 0.0, -mass[i] * mass[j] / distance)

    everyone = jnp.arange(len(mass))
    return jnp.sum(jax.vmap(jax.vmap(pair, (None, 0)), (0, None))(everyone, everyone)) / 2

# %% wrong="energy" says="something is added to the distances"
def energy(x, mass):
    square = jnp.sum((x[:, None] - x) ** 2, axis=-1) + 1e-6
    pairs = -mass[:, None] * mass / jnp.sqrt(square)
    return jnp.sum(pairs * (1 - jnp.eye(len(mass)))) / 2

# %% wrong="energy" says="no known mistake matches"
def energy(x, mass):
    squares = jnp.sum(x**2, axis=1)
    square = squares[:, None] + squares - 2 * x @ x.T
    same = jnp.eye(len(mass), dtype=bool)
    pairs = mass[:, None] * mass / jnp.sqrt(jnp.where(same, 1.0, square))
    return -jnp.sum(jnp.where(same, 0.0, pairs)) / 2

# %% wrong="energy" says="grows"
def energy(x, mass):
    total = 0.0
    for i in range(len(mass)):
        for j in range(i):
            total -= mass[i] * mass[j] / jnp.linalg.norm(x[i] - x[j])
    return total

# %% wrong="energy" says="bodies that are very close count as one"
def energy(x, mass):
    square = jnp.sum((x[:, None] - x) ** 2, axis=-1)
    same = square < 1e-6
    distance = jnp.sqrt(jnp.where(same, 1.0, square))
    return -jnp.sum(jnp.where(same, 0.0, mass[:, None] * mass / distance)) / 2

# %% wrong="energy" says="its root is missing"
def energy(x, mass):
    def pair(i, j):
        square = jnp.where(i == j, 1.0, jnp.sum((x[i] - x[j]) ** 2))
        return jnp.where(i == j, 0.0, -mass[i] * mass[j] / square)

    everyone = jnp.arange(len(mass))
    return jnp.sum(jax.vmap(jax.vmap(pair, (None, 0)), (0, None))(everyone, everyone)) / 2

# %% wrong="normalised" says="layer normalisation"
def normalised(x, weight, axis_name):
    return (x - jnp.mean(x)) / jnp.sqrt(jnp.var(x) + 1e-5)

# %% wrong="normalised" says="the weights make no difference"
def normalised(x, weight, axis_name):
    apart = x - lax.pmean(x, axis_name)
    return apart / jnp.sqrt(lax.pmean(apart**2, axis_name) + 1e-5)

# %% wrong="normalised" says="padding included"
def normalised(x, weight, axis_name):
    apart = x - lax.pmean(weight * x, axis_name)
    return apart / jnp.sqrt(lax.pmean(weight * apart**2, axis_name) + 1e-5)

# %% wrong="normalised" says="used as a mask, as 0 or 1"
def normalised(x, weight, axis_name):
    counts = jnp.where(weight > 0, 1.0, 0.0)
    size = lax.psum(counts, axis_name)
    apart = x - lax.psum(counts * x, axis_name) / size
    return apart / jnp.sqrt(lax.psum(counts * apart**2, axis_name) / size + 1e-5)

# %% wrong="normalised" says="the mean square is taken for the variance"
def normalised(x, weight, axis_name):
    size = lax.psum(weight, axis_name)
    mean = lax.psum(weight * x, axis_name) / size
    square = lax.psum(weight * x**2, axis_name) / size
    return (x - mean) / jnp.sqrt(square + 1e-5)

# %% wrong="normalised" says="names an axis that no `vmap`"
def normalised(x, weight, axis_name):
    size = lax.psum(weight, "batch")
    apart = x - lax.psum(weight * x, "batch") / size
    return apart / jnp.sqrt(lax.psum(weight * apart**2, "batch") / size + 1e-5)

# %% wrong="normalised" says="the small number is left out"
def normalised(x, weight, axis_name):
    size = lax.psum(weight, axis_name)
    apart = x - lax.psum(weight * x, axis_name) / size
    return apart / jnp.sqrt(lax.psum(weight * apart**2, axis_name) / size)

# %% wrong="normalised" says="added outside the root"
def normalised(x, weight, axis_name):
    size = lax.psum(weight, axis_name)
    apart = x - lax.psum(weight * x, axis_name) / size
    return apart / (jnp.sqrt(lax.psum(weight * apart**2, axis_name) / size) + 1e-5)

# %% wrong="normalised" says="no known mistake matches"
def normalised(x, weight, axis_name):
    size = lax.psum(weight, axis_name)
    mean = lax.psum(weight * x, axis_name) / size
    square = lax.psum(weight * x**2, axis_name) / size
    return (x - mean) / jnp.sqrt(square - mean**2 + 1e-5)

# %% wrong="normalised" says="the padding is set to zero"
def normalised(x, weight, axis_name):
    size = lax.psum(weight, axis_name)
    apart = x - lax.psum(weight * x, axis_name) / size
    result = apart / jnp.sqrt(lax.psum(weight * apart**2, axis_name) / size + 1e-5)
    return jnp.where(weight > 0, result, 0.0)

# %% wrong="normalised" says="may be less than one"
def normalised(x, weight, axis_name):
    size = jnp.maximum(lax.psum(weight, axis_name), 1.0)
    apart = x - lax.psum(weight * x, axis_name) / size
    return apart / jnp.sqrt(lax.psum(weight * apart**2, axis_name) / size + 1e-5)

# %% wrong="normalised" says="divided by the variance"
def normalised(x, weight, axis_name):
    size = lax.psum(weight, axis_name)
    apart = x - lax.psum(weight * x, axis_name) / size
    return apart / (lax.psum(weight * apart**2, axis_name) / size + 1e-5)
