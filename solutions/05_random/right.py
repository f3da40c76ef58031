# %% right="init_mlp"
def init_mlp(key, sizes):
    init = jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")
    params = []
    for i in range(len(sizes) - 1):
        w = init(jax.random.fold_in(key, i), (sizes[i], sizes[i + 1]), jnp.float32)
        params.append({"b": jnp.zeros(sizes[i + 1], jnp.float32), "w": w})
    return params

# %% right="init_mlp"
from functools import partial


@partial(jax.jit, static_argnames="sizes")
def init_mlp(key, sizes):
    if len(sizes) < 2:
        return []
    key, sub = jax.random.split(key)
    w = jax.random.normal(sub, sizes[:2]) * (2 / sizes[0]) ** 0.5
    return [{"w": w, "b": jnp.zeros(sizes[1])}, *init_mlp(key, sizes[1:])]

# %% right="init_mlp"
def init_mlp(key, sizes):
    pairs = list(pairwise(sizes))
    numbers = jax.random.normal(key, (sum(a * b for a, b in pairs),))
    layers, start = [], 0
    for a, b in pairs:
        w = numbers[start : start + a * b].reshape(a, b) * jnp.sqrt(2 / a)
        layers.append({"w": w, "b": jnp.zeros(b)})
        start += a * b
    return layers

# %% right="waiting_times"
def waiting_times(key, shape, rate):
    tiny = jnp.finfo(jnp.float32).tiny
    return -jnp.log(jax.random.uniform(key, shape, minval=tiny)) / rate

# %% right="waiting_times"
from functools import partial


@partial(jax.jit, static_argnums=1)
def waiting_times(key, shape, rate):
    return jax.random.exponential(key, shape) / jnp.float32(rate)

# %% right="draw_distinct"
def draw_distinct(key, logits, n, k):
    left, columns = jnp.tile(logits, (n, 1)), []
    for column_key in jax.random.split(key, k):
        columns.append(jax.random.categorical(column_key, left))
        left = jnp.where(jnp.arange(logits.size) == columns[-1][:, None], -jnp.inf, left)
    return jnp.stack(columns, axis=1)

# %% right="draw_distinct"
def draw_distinct(key, logits, n, k):
    race = jnp.log(jax.random.exponential(key, (n, logits.size))) - logits
    return jnp.argsort(race)[:, :k]

# %% right="corrupt"
@jax.jit
def corrupt(key, x, sigma, drop):
    kept = jax.random.uniform(jax.random.fold_in(key, 1), x.shape) >= drop
    return (x + sigma * jax.random.normal(jax.random.fold_in(key, 0), x.shape)) * kept

# %% right="corrupt"
def corrupt(key, x, sigma, drop):
    key, sub = jax.random.split(key)
    spoilt = x + jnp.float32(sigma) * jax.random.normal(sub, x.shape)
    key, sub = jax.random.split(key)
    return jax.lax.select(jax.random.bernoulli(sub, drop, x.shape), jnp.zeros_like(x), spoilt)

# %% right="mlp_dropout"
from functools import partial


@partial(jax.jit, static_argnames="train")
def mlp_dropout(key, params, x, keep, train):
    *hidden, output = params
    keys = jax.random.split(key, len(hidden)) if train else [None] * len(hidden)
    for layer, layer_key in zip(hidden, keys):
        x = jnp.maximum(x @ layer["w"] + layer["b"], 0)
        if train:
            x = x * (jax.random.uniform(layer_key, x.shape) < keep) / keep
    return x @ output["w"] + output["b"]

# %% right="metropolis"
def metropolis(key, log_density, start, steps, width):
    def step(carry, _):
        x, height, key = carry
        key, move_key, accept_key = jax.random.split(key, 3)
        proposed = x + width * jax.random.normal(move_key, x.shape)
        gain = log_density(proposed) - height
        accept = jax.random.exponential(accept_key, x.shape) > -gain
        x = jnp.where(accept, proposed, x)
        return (x, jnp.where(accept, height + gain, height), key), x

    return jax.lax.scan(step, (start, log_density(start), key), length=steps)[1]

# %% right="metropolis"
def metropolis(key, log_density, start, steps, width):
    def step(i, carry):
        x, rows = carry
        move_key, accept_key = jax.random.split(jax.random.fold_in(key, i))
        proposed = x + width * jax.random.normal(move_key, x.shape)
        chance = jnp.minimum(1, jnp.exp(log_density(proposed) - log_density(x)))
        x = jnp.where(jax.random.bernoulli(accept_key, chance), proposed, x)
        return x, rows.at[i].set(x)

    return jax.lax.fori_loop(0, steps, step, (start, jnp.zeros((steps, start.size))))[1]

# %% right="epoch_batches"
def epoch_batches(key, epoch, n, batch_size):
    lottery = jax.random.uniform(jax.random.fold_in(key, epoch), (n,))
    order = jnp.argsort(lottery)
    return order[n % batch_size :].reshape(n // batch_size, batch_size)

# %% right="epoch_batches"
from functools import partial


@partial(jax.jit, static_argnames=("n", "batch_size"))
def epoch_batches(key, epoch, n, batch_size):
    order = jax.random.choice(jax.random.fold_in(key, epoch), n, (n,), replace=False)
    return jnp.reshape(order[: n - n % batch_size], (n // batch_size, batch_size))

# %% right="init_ensemble"
import hashlib


def init_ensemble(key, members, shapes):
    def number(name):
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")

    def member(key):
        return {
            name: jax.random.normal(jax.random.fold_in(key, number(name)), shape)
            for name, shape in shapes.items()
        }

    return [member(jax.random.fold_in(key, i)) for i in range(members)]

# %% right="init_ensemble"
def init_ensemble(key, members, shapes):
    ensemble = [{} for _ in range(members)]
    for name, shape in sorted(shapes.items()):
        name_key = jax.random.fold_in(key, zlib.crc32(name.encode()))
        for i, member in enumerate(ensemble):
            member[name] = jax.random.normal(jax.random.fold_in(name_key, i), shape)
    return ensemble

# %% right="as_key"
def as_key(given):
    try:
        impl = jax.random.key_impl(given)
        return jax.random.wrap_key_data(jax.random.key_data(given), impl=impl)
    except (TypeError, ValueError, AttributeError):
        return jax.random.key(given) if jnp.ndim(given) == 0 else jax.random.wrap_key_data(given)

# %% right="as_key"
def as_key(given):
    dtype = jnp.result_type(given)
    if jnp.issubdtype(dtype, jnp.integer) and jnp.ndim(given) == 0:
        return jax.random.key(given)
    if dtype == jnp.uint32:
        return jax.random.wrap_key_data(given, impl="threefry2x32")
    return given
