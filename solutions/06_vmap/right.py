# %% right="attend"
@jax.jit
def attend(query, keys, values, length):
    scores = jnp.einsum("wf,f->w", keys, query) * jnp.float32(query.shape[-1]) ** -0.5
    counts = jnp.arange(keys.shape[-2]) < length
    shares = jnp.where(counts, jnp.exp(scores - jnp.max(scores, where=counts, initial=-jnp.inf)), 0)
    return jnp.einsum("w,wo->o", shares / shares.sum(), values)

# %% right="attend"
def attend(query, keys, values, length):
    def word(state, one):
        highest, total, mean = state
        i, k, v = one
        score = jnp.where(i < length, jnp.dot(k, query) / query.size**0.5, -jnp.inf)
        new = jnp.maximum(highest, score)
        old, fresh = jnp.exp(highest - new), jnp.exp(score - new)
        return (new, total * old + fresh, mean * old + fresh * v), None

    start = (jnp.float32(-1e30), jnp.float32(0), jnp.zeros(values.shape[1]))
    (_, total, mean), _ = lax.scan(word, start, (jnp.arange(len(keys)), keys, values))
    return mean / total

# %% right="kernel_matrix"
@partial(jax.jit, static_argnums=0)
def kernel_matrix(kernel, x, y):
    return jax.lax.map(lambda a: jax.vmap(lambda b: kernel(a, b))(y), x)

# %% right="kernel_matrix"
def kernel_matrix(kernel, x, y):
    return jax.vmap(jax.vmap(kernel, in_axes=(0, None)), in_axes=(None, 0), out_axes=1)(x, y)

# %% right="all_heads"
@jax.jit
def all_heads(params, x):
    hidden = jnp.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], jnp.float32(0))
    return jnp.einsum("bh,hdk->bkd", hidden, params["output"]["w"]) + params["output"]["b"]

# %% right="all_heads"
def all_heads(params, x):
    w = jnp.moveaxis(params["output"]["w"], 2, 0)
    heads = len(w)
    hidden = jax.tree.map(lambda p: jnp.broadcast_to(p, (heads, *p.shape)), params["hidden"])
    stacked = {"hidden": hidden, "output": {"w": w, "b": params["output"]["b"]}}
    return jax.vmap(mlp, in_axes=(0, None), out_axes=1)(stacked, x)

# %% right="gradient_norms"
@jax.jit
def gradient_norms(params, x, y):
    before = x @ params["hidden"]["w"] + params["hidden"]["b"]
    hidden = jax.nn.relu(before)
    error = 2 / y.shape[1] * (hidden @ params["output"]["w"] + params["output"]["b"] - y)
    behind = jnp.where(before > 0, error @ params["output"]["w"].T, 0.0)

    def squares(rows):
        return jnp.sum(rows**2, axis=1)

    return jnp.sqrt(squares(behind) * (squares(x) + 1) + squares(error) * (squares(hidden) + 1))

# %% right="gradient_norms"
def gradient_norms(params, x, y):
    grads = jax.jacrev(jax.vmap(loss_fn, in_axes=(None, 0, 0)))(params, x, y)
    flat = jnp.concatenate([g.reshape(len(x), -1) for g in jax.tree.leaves(grads)], axis=1)
    return jnp.linalg.norm(flat, axis=1)

# %% right="clipped_mean"
@jax.jit
def clipped_mean(params, x, y, limit):
    leaves, form = jax.tree.flatten(jax.vmap(jax.grad(loss_fn), (None, 0, 0))(params, x, y))
    norms = jnp.linalg.norm(jnp.concatenate([g.reshape(len(x), -1) for g in leaves], 1), axis=1)
    factors = jnp.where(norms > limit, limit / jnp.where(norms > 0, norms, 1.0), 1.0) / len(x)
    return form.unflatten([jnp.tensordot(factors, g, axes=1) for g in leaves])

# %% right="clipped_mean"
def clipped_mean(params, x, y, limit):
    def add(total, example):
        grads = jax.grad(loss_fn)(params, *example)
        norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads)))
        factor = 1 / jnp.maximum(1.0, norm / limit)
        return jax.tree.map(lambda t, g: t + factor * g, total, grads), None

    total, _ = lax.scan(add, jax.tree.map(jnp.zeros_like, params), (x, y))
    return jax.tree.map(lambda t: t / len(x), total)

# %% right="train_ensemble"
def train_ensemble(init, key, x, y, rates, steps):
    def step(params, _):
        losses, grads = jax.vmap(jax.value_and_grad(loss_fn), (0, None, None))(params, x, y)
        return jax.vmap(lambda p, g, r: jax.tree.map(lambda p, g: p - r * g, p, g))(
            params, grads, jnp.asarray(rates)
        ), losses

    def member(i):
        return init(jax.random.fold_in(key, i))

    params, losses = lax.scan(step, jax.vmap(member)(jnp.arange(len(rates))), length=steps)
    return params, losses.T

# %% right="train_ensemble"
@partial(jax.jit, static_argnums=(0, 5))
def train_ensemble(init, key, x, y, rates, steps):
    def train(member):
        def step(i, state):
            params, losses = state
            loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
            return jax.tree.map(lambda p, g: p - member[1] * g, params, grads), losses.at[i].set(loss)

        return lax.fori_loop(0, steps, step, (init(member[0]), jnp.zeros(steps)))

    return lax.map(train, (jax.random.split(key, len(rates)), jnp.asarray(rates)))

# %% right="paths"
@partial(jax.jit, static_argnums=0)
def paths(force, starts, noise, dt):
    def step(x, kicks):
        x = x + dt * jax.vmap(force)(x) + jnp.float32(dt) ** 0.5 * kicks
        return x, x

    return jax.lax.scan(step, starts, noise)[1]

# %% right="paths"
def paths(force, starts, noise, dt):
    def path(start, kicks):
        def step(x, kick):
            x = x + dt * force(x) + kick
            return x, x

        return jax.lax.scan(step, start, kicks)[1]

    kicks = jnp.moveaxis(jnp.sqrt(dt) * noise, 1, 0)
    return jnp.moveaxis(jax.vmap(path)(starts, kicks), 0, 1)

# %% right="energy"
@jax.jit
def energy(x, mass):
    i, j = np.triu_indices(len(mass), 1)
    return -jnp.sum(mass[i] * mass[j] / jnp.linalg.norm(x[i] - x[j], axis=1))

# %% right="energy"
def energy(x, mass):
    def pair(i, j):
        def apart():
            return -mass[i] * mass[j] / jnp.sqrt(jnp.sum((x[i] - x[j]) ** 2))

        return lax.cond(i == j, lambda: 0.0, apart)

    everyone = jnp.arange(len(mass))
    return jnp.sum(jax.vmap(jax.vmap(pair, (None, 0)), (0, None))(everyone, everyone)) / 2

# %% right="normalised"
def normalised(x, weight, axis_name):
    everyone = lax.all_gather(x, axis_name)
    weights = lax.all_gather(weight, axis_name)
    mean = jnp.average(everyone, axis=0, weights=weights)
    variance = jnp.average((everyone - mean) ** 2, axis=0, weights=weights)
    return (x - mean) * lax.rsqrt(variance + 1e-5)

# %% right="normalised"
@partial(jax.jit, static_argnums=2)
def normalised(x, weight, axis_name):
    share = weight / lax.pmean(weight, axis_name)
    apart = x - lax.pmean(share * x, axis_name)
    return apart / jnp.sqrt(lax.pmean(share * apart**2, axis_name) + jnp.float32(1e-5))
