# %% wrong="init_mlp" says="[0]['w'] and [1]['w'] are equal"
def init_mlp(key, sizes):
    params = []
    for n_in, n_out in pairwise(sizes):
        layer_key = jax.random.fold_in(key, 0)
        w = jnp.sqrt(2 / n_in) * jax.random.normal(layer_key, (n_in, n_out))
        params.append({"w": w, "b": jnp.zeros(n_out)})
    return params

# %% wrong="init_mlp" says="used twice"
def init_mlp(key, sizes):
    params = []
    for n_in, n_out in pairwise(sizes):
        w = jnp.sqrt(2 / n_in) * jax.random.normal(key, (n_in, n_out))
        params.append({"w": w, "b": jnp.zeros(n_out)})
    return params

# %% wrong="init_mlp" says="transposed"
def init_mlp(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {"w": jnp.sqrt(2 / n_in) * jax.random.normal(k, (n_out, n_in)), "b": jnp.zeros(n_out)}
        for k, n_in, n_out in zip(keys, sizes, sizes[1:])
    ]

# %% wrong="init_mlp" says="used as the standard deviation"
def init_mlp(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {"w": 2 / n_in * jax.random.normal(k, (n_in, n_out)), "b": jnp.zeros(n_out)}
        for k, n_in, n_out in zip(keys, sizes, sizes[1:])
    ]

# %% wrong="init_mlp" says="Glorot's"
def init_mlp(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {
            "w": jnp.sqrt(2 / (n_in + n_out)) * jax.random.normal(k, (n_in, n_out)),
            "b": jnp.zeros(n_out),
        }
        for k, n_in, n_out in zip(keys, sizes, sizes[1:])
    ]

# %% wrong="init_mlp" says="the variance is 1 / inputs"
def init_mlp(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {"w": jax.random.normal(k, (n_in, n_out)) / n_in**0.5, "b": jnp.zeros(n_out)}
        for k, n_in, n_out in zip(keys, sizes, sizes[1:])
    ]

# %% wrong="init_mlp" says="no known mistake matches"
def init_mlp(key, sizes):
    params = []
    for n_in, n_out in pairwise(sizes):
        key, w_key, b_key = jax.random.split(key, 3)
        scale = jnp.sqrt(2 / n_in)
        w = scale * jax.random.normal(w_key, (n_in, n_out))
        params.append({"w": w, "b": scale * jax.random.normal(b_key, (n_out,))})
    return params

# %% wrong="init_mlp" says="every layer is scaled by the size of the first"
def init_mlp(key, sizes):
    scale = jnp.sqrt(2 / sizes[0])
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {"w": scale * jax.random.normal(k, (n_in, n_out)), "b": jnp.zeros(n_out)}
        for k, n_in, n_out in zip(keys, sizes, sizes[1:])
    ]

# %% wrong="init_mlp" says="[0]['w'] and [3]['w'] are equal"
def init_mlp(key, sizes):
    params = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        layer_key = jax.random.fold_in(key, i % 3)
        w = jnp.sqrt(2 / n_in) * jax.random.normal(layer_key, (n_in, n_out))
        params.append({"w": w, "b": jnp.zeros(n_out)})
    return params

# %% wrong="init_mlp" says="the variance is 2 / outputs"
def init_mlp(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {"w": jnp.sqrt(2 / n_out) * jax.random.normal(k, (n_in, n_out)), "b": jnp.zeros(n_out)}
        for k, n_in, n_out in zip(keys, sizes, sizes[1:])
    ]

# %% wrong="init_mlp" says="a key is used twice"
def init_mlp(key, sizes):
    keys = jax.random.split(key, 8)
    return [
        {"w": jax.random.normal(keys[i], (a, b)) * jnp.sqrt(2 / a), "b": jnp.zeros(b)}
        for i, (a, b) in enumerate(pairwise(sizes))
    ]

# %% wrong="init_mlp" says="it keeps a tracer in 'KEY'"
def init_mlp(key, sizes):
    global KEY
    KEY = key
    params = []
    for n_in, n_out in zip(sizes, sizes[1:]):
        KEY, subkey = jax.random.split(KEY)
        w = jnp.sqrt(2 / n_in) * jax.random.normal(subkey, (n_in, n_out))
        params.append({"w": w, "b": jnp.zeros(n_out)})
    return params

# %% wrong="init_mlp" says="needs a concrete value while it is traced"
def init_mlp(key, sizes):
    generator = np.random.default_rng(int(jax.random.randint(key, (), 0, 2**31 - 1)))
    return [
        {
            "w": jnp.asarray(np.sqrt(2 / a) * generator.normal(size=(a, b)), jnp.float32),
            "b": jnp.zeros(b),
        }
        for a, b in zip(sizes, sizes[1:])
    ]

# %% wrong="init_mlp" says="right for the visible inputs"
def init_mlp(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    params = []
    for k, n_in, n_out in zip(keys, sizes, sizes[1:]):
        w = jax.random.normal(k, (n_in, n_out), jnp.bfloat16).astype(jnp.float32)
        params.append({"w": jnp.sqrt(2 / n_in) * w, "b": jnp.zeros(n_out)})
    return params

# %% wrong="init_mlp" says="the numbers follow another distribution"
def init_mlp(key, sizes):
    layers = []
    for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:])):
        w = jax.random.normal(jax.random.fold_in(key, i), (n_in, n_out)) * jnp.sqrt(2 / n_in)
        layers.append({"w": w if i < 3 else 0.1 * w, "b": jnp.zeros(n_out)})
    return layers

# %% wrong="init_mlp" says="wrong on hidden ones: wrong values"
def init_mlp(key, sizes):
    layers = []
    for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:])):
        w = jax.random.normal(jax.random.fold_in(key, i), (n_in, n_out)) * jnp.sqrt(2 / n_in)
        layers.append({"w": w, "b": jnp.full(n_out, 0.01 * (i > 4))})
    return layers

# %% wrong="waiting_times" says="the longest waiting times are cut off"
def waiting_times(key, shape, rate):
    u = jax.random.uniform(key, shape)
    return -jnp.log(jnp.maximum(u, 1e-3)) / rate

# %% wrong="waiting_times" says="multiplied by the rate"
def waiting_times(key, shape, rate):
    return -jnp.log1p(-jax.random.uniform(key, shape)) * rate

# %% wrong="waiting_times" says="the rate makes no difference"
def waiting_times(key, shape, rate):
    return jax.random.exponential(key, shape)

# %% wrong="waiting_times" says="the sign is lost"
def waiting_times(key, shape, rate):
    return jnp.log1p(-jax.random.uniform(key, shape)) / rate

# %% wrong="waiting_times" says="infinite where"
def waiting_times(key, shape, rate):
    return -jnp.log(jax.random.uniform(key, shape)) / rate

# %% wrong="waiting_times" says="transposed"
def waiting_times(key, shape, rate):
    return -jnp.log1p(-jax.random.uniform(key, shape[::-1])) / rate

# %% wrong="waiting_times" says="at a second call"
def waiting_times(key, shape, rate):
    u = np.random.default_rng().uniform(size=shape)
    return -jnp.log1p(-jnp.asarray(u, jnp.float32)) / rate

# %% wrong="waiting_times" says="cut off at one length, whatever the rate"
def waiting_times(key, shape, rate):
    return jnp.clip(-jnp.log(jax.random.uniform(key, shape)) / rate, 0, 16.0)

# %% wrong="waiting_times" says="something is added in the logarithm"
def waiting_times(key, shape, rate):
    return -jnp.log(jax.random.uniform(key, shape) + 1e-4) / rate

# %% wrong="waiting_times" says="near 1: the logarithm is above 0"
def waiting_times(key, shape, rate):
    return -jnp.log(jax.random.uniform(key, shape) + 1e-6) / rate

# %% wrong="waiting_times" says="a waiting time that is far too long"
def waiting_times(key, shape, rate):
    return jnp.nan_to_num(-jnp.log(jax.random.uniform(key, shape))) / rate

# %% wrong="waiting_times" says="right for the visible inputs"
def waiting_times(key, shape, rate):
    times = -jnp.log1p(-jax.random.uniform(key, shape)) / rate
    return times.astype(jnp.bfloat16).astype(jnp.float32)

# %% wrong="draw_distinct" says="drawn with replacement"
def draw_distinct(key, logits, n, k):
    return jax.random.categorical(key, logits, shape=(n, k))

# %% wrong="draw_distinct" says="added to the probabilities"
def draw_distinct(key, logits, n, k):
    sums = jax.nn.softmax(logits) + jax.random.gumbel(key, (n, logits.size))
    return jax.lax.top_k(sums, k)[1]

# %% wrong="draw_distinct" says="the smallest sums are taken"
def draw_distinct(key, logits, n, k):
    return jnp.argsort(logits + jax.random.gumbel(key, (n, logits.size)))[:, :k]

# %% wrong="draw_distinct" says="the k choices are in reverse order"
def draw_distinct(key, logits, n, k):
    return jnp.argsort(logits + jax.random.gumbel(key, (n, logits.size)))[:, -k:]

# %% wrong="draw_distinct" says="the choices of a draw are sorted"
def draw_distinct(key, logits, n, k):
    sums = logits + jax.random.gumbel(key, (n, logits.size))
    return jnp.sort(jax.lax.top_k(sums, k)[1])

# %% wrong="draw_distinct" says="one number"
def draw_distinct(key, logits, n, k):
    order = jax.lax.top_k(logits + jax.random.gumbel(key, logits.shape), k)[1]
    return jnp.tile(order, (n, 1))

# %% wrong="draw_distinct" says="transposed"
def draw_distinct(key, logits, n, k):
    return jax.lax.top_k(logits + jax.random.gumbel(key, (n, logits.size)), k)[1].T

# %% wrong="draw_distinct" says="used twice"
def draw_distinct(key, logits, n, k):
    jax.random.categorical(key, logits, shape=(n,))
    return jax.lax.top_k(logits + jax.random.gumbel(key, (n, logits.size)), k)[1]

# %% wrong="draw_distinct" says="the exponential of large logits overflows"
def draw_distinct(key, logits, n, k):
    race = jax.random.exponential(key, (n, logits.size)) / jnp.exp(logits)
    return jnp.argsort(race)[:, :k]

# %% wrong="draw_distinct" says="right for the visible inputs"
def draw_distinct(key, logits, n, k):
    first_key, rest_key = jax.random.split(key)
    first = jax.random.categorical(first_key, logits, shape=(n, 1))
    left = jnp.where(jnp.arange(logits.size) == first, -jnp.inf, logits)
    rest = jax.random.categorical(rest_key, left[:, None, :], shape=(n, k - 1))
    return jnp.concatenate([first, rest], axis=1)

# %% wrong="draw_distinct" says="a choice far below the others is rounded to zero"
def draw_distinct(key, logits, n, k):
    race = jax.random.exponential(key, (n, logits.size)) / jax.nn.softmax(logits)
    return jnp.argsort(race)[:, :k]

# %% wrong="corrupt" says="all pixels of a row are dropped together"
def corrupt(key, x, sigma, drop):
    noise_key, mask_key = jax.random.split(key)
    x = x + sigma * jax.random.normal(noise_key, x.shape)
    kept = jax.random.bernoulli(mask_key, 1 - drop, x.shape[:1])
    return jnp.where(jnp.expand_dims(kept, tuple(range(1, x.ndim))), x, 0.0)

# %% wrong="corrupt" says="where the noise is largest"
def corrupt(key, x, sigma, drop):
    noise = sigma * jax.random.normal(key, x.shape)
    kept = jax.random.bernoulli(key, 1 - drop, x.shape)
    return jnp.where(kept, x + noise, 0.0)

# %% wrong="corrupt" says="are the ones that are kept"
def corrupt(key, x, sigma, drop):
    noise_key, mask_key = jax.random.split(key)
    noise = sigma * jax.random.normal(noise_key, x.shape)
    return jnp.where(jax.random.bernoulli(mask_key, drop, x.shape), x + noise, 0.0)

# %% wrong="corrupt" says="lose their noise and keep their value"
def corrupt(key, x, sigma, drop):
    noise_key, mask_key = jax.random.split(key)
    noise = sigma * jax.random.normal(noise_key, x.shape)
    return x + noise * jax.random.bernoulli(mask_key, 1 - drop, x.shape)

# %% wrong="corrupt" says="dropped pixels keep their noise"
def corrupt(key, x, sigma, drop):
    noise_key, mask_key = jax.random.split(key)
    noise = sigma * jax.random.normal(noise_key, x.shape)
    return x * jax.random.bernoulli(mask_key, 1 - drop, x.shape) + noise

# %% wrong="corrupt" says="sigma is taken for the variance"
def corrupt(key, x, sigma, drop):
    noise_key, mask_key = jax.random.split(key)
    noise = jnp.sqrt(sigma) * jax.random.normal(noise_key, x.shape)
    return jnp.where(jax.random.bernoulli(mask_key, 1 - drop, x.shape), x + noise, 0.0)

# %% wrong="corrupt" says="used twice"
def corrupt(key, x, sigma, drop):
    key, sub = jax.random.split(key)
    noise = sigma * jax.random.normal(sub, x.shape)
    mask_key = jax.random.split(sub)[0]
    return jnp.where(jax.random.bernoulli(mask_key, 1 - drop, x.shape), x + noise, 0.0)

# %% wrong="corrupt" says="do not depend on the key"
def corrupt(key, x, sigma, drop):
    noise = sigma * jax.random.normal(key, x.shape)
    kept = jax.random.bernoulli(jax.random.key(1), 1 - drop, x.shape)
    return jnp.where(kept, x + noise, 0.0)

# %% wrong="corrupt" says="right for the visible inputs"
def corrupt(key, x, sigma, drop):
    noise_key, mask_key = jax.random.split(key)
    noise = sigma * jax.random.normal(noise_key, x.shape[-1:])
    kept = jax.random.bernoulli(mask_key, 1 - drop, x.shape)
    return jnp.where(kept, x + noise, 0.0)

# %% wrong="corrupt" says="along the last axis are dropped together"
def corrupt(key, x, sigma, drop):
    noise_key, mask_key = jax.random.split(key)
    noise = sigma * jax.random.normal(noise_key, x.shape)
    kept = jax.random.bernoulli(mask_key, 1 - drop, x.shape[:2])
    kept = kept.reshape(kept.shape + (1,) * (x.ndim - kept.ndim))
    return jnp.where(kept, x + noise, 0.0)

# %% wrong="corrupt" says="right on some inputs"
def corrupt(key, x, sigma, drop):
    noise_key, mask_key = jax.random.split(key)
    spoilt = jnp.clip(x + sigma * jax.random.normal(noise_key, x.shape), -20, 20)
    return jnp.where(jax.random.bernoulli(mask_key, 1 - drop, x.shape), spoilt, 0.0)

# %% wrong="mlp_dropout" says="was not given a key as its first argument"
def mlp_dropout(key, params, x, keep, train):
    keys = jax.random.split(key, len(params))
    for layer, layer_key in zip(params[:-1], keys):
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if train:
            x = jnp.where(jax.random.bernoulli(layer_key, keep, x.shape), x / keep, 0.0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="mlp_dropout" says="at evaluation everything is multiplied by keep"
def mlp_dropout(key, params, x, keep, train):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if train:
            key, mask_key = jax.random.split(key)
            x = x * jax.random.bernoulli(mask_key, keep, x.shape)
        else:
            x = x * keep
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="mlp_dropout" says="a ReLU after the last layer"
def mlp_dropout(key, params, x, keep, train):
    for i, layer in enumerate(params):
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if train and i < len(params) - 1:
            key, mask_key = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(mask_key, keep, x.shape), x / keep, 0.0)
    return x

# %% wrong="mlp_dropout" says="both hidden layers drop the same units"
def mlp_dropout(key, params, x, keep, train):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if train:
            x = jnp.where(jax.random.bernoulli(key, keep, x.shape), x / keep, 0.0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="mlp_dropout" says="the output layer has dropout too"
def mlp_dropout(key, params, x, keep, train):
    for i, layer in enumerate(params):
        x = x @ layer["w"] + layer["b"]
        if i < len(params) - 1:
            x = jax.nn.relu(x)
        if train:
            key, mask_key = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(mask_key, keep, x.shape), x / keep, 0.0)
    return x

# %% wrong="mlp_dropout" says="not divided by keep"
def mlp_dropout(key, params, x, keep, train):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if train:
            key, mask_key = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(mask_key, keep, x.shape), x, 0.0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="mlp_dropout" says="only one of the two hidden layers"
def mlp_dropout(key, params, x, keep, train):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    if train:
        x = jnp.where(jax.random.bernoulli(key, keep, x.shape), x / keep, 0.0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="mlp_dropout" says="['units'], row 1 are equal"
def mlp_dropout(key, params, x, keep, train):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if train:
            key, mask_key = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(mask_key, keep, (len(x), 1)), x / keep, 0.0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="mlp_dropout" says="the result, row 0 and the result, row 1 are equal"
def mlp_dropout(key, params, x, keep, train):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if train:
            key, mask_key = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(mask_key, keep, x.shape[1:]), x / keep, 0.0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="mlp_dropout" says="do not depend on the key"
def mlp_dropout(key, params, x, keep, train):
    for i, layer in enumerate(params[:-1]):
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if train:
            kept = jax.random.bernoulli(jax.random.key(i), keep, x.shape)
            x = jnp.where(kept, x / keep, 0.0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="mlp_dropout" says="layers that are not neighbours share their mask"
def mlp_dropout(key, params, x, keep, train):
    keys = jax.random.split(key) if train else (None, None)
    for i, layer in enumerate(params[:-1]):
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if train:
            x = jnp.where(jax.random.bernoulli(keys[i % 2], keep, x.shape), x / keep, 0.0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="mlp_dropout" says="a matrix product of shapes that do not fit"
def mlp_dropout(key, params, x, keep, train):
    def hidden_layer(layer, x, key):
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        return jnp.where(jax.random.bernoulli(key, keep, x.shape), x / keep, 0.0) if train else x

    x = hidden_layer(params[0], x, key if key is None else jax.random.fold_in(key, 0))
    for i, layer in enumerate(params[1:-1]):
        x = hidden_layer(layer, x, key if key is None else jax.random.fold_in(key, i + 1))
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="mlp_dropout" says="the mask of one example is that of another example in the next layer"
def mlp_dropout(key, params, x, keep, train):
    *hidden, last = params
    for i, layer in enumerate(hidden):
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if train:

            def mask_of(example):
                return jax.random.bernoulli(jax.random.fold_in(key, i + example), keep, x.shape[1:])

            x = jnp.where(jax.vmap(mask_of)(jnp.arange(len(x))), x / keep, 0.0)
    return x @ last["w"] + last["b"]

# %% wrong="mlp_dropout" says="the inputs have dropout too"
def mlp_dropout(key, params, x, keep, train):
    for i, layer in enumerate(params):
        if train:
            key, mask_key = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(mask_key, keep, x.shape), x / keep, 0.0)
        x = x @ layer["w"] + layer["b"]
        if i < len(params) - 1:
            x = jax.nn.relu(x)
    return x

# %% wrong="mlp_dropout" says="`keep` is taken for the probability of zero"
def mlp_dropout(key, params, x, keep, train):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if train:
            key, mask_key = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(mask_key, keep, x.shape), 0.0, x / (1 - keep))
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="mlp_dropout" says="divided by 1 - keep"
def mlp_dropout(key, params, x, keep, train):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if train:
            key, mask_key = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(mask_key, keep, x.shape), x / (1 - keep), 0.0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="metropolis" says="the proposal and the decision come from one key"
def metropolis(key, log_density, start, steps, width):
    def step(x, step_key):
        proposed = x + width * jax.random.normal(step_key, x.shape)
        threshold = jnp.log(jax.random.uniform(step_key, x.shape))
        x = jnp.where(threshold < log_density(proposed) - log_density(x), proposed, x)
        return x, x

    return jax.lax.scan(step, start, jax.random.split(key, steps))[1]

# %% wrong="metropolis" says="every step draws the same numbers"
def metropolis(key, log_density, start, steps, width):
    move_key, accept_key = jax.random.split(key)

    def step(x, _):
        proposed = x + width * jax.random.normal(move_key, x.shape)
        threshold = jnp.log(jax.random.uniform(accept_key, x.shape))
        x = jnp.where(threshold < log_density(proposed) - log_density(x), proposed, x)
        return x, x

    return jax.lax.scan(step, start, length=steps)[1]

# %% wrong="metropolis" says="the difference of logarithms is taken for the ratio"
def metropolis(key, log_density, start, steps, width):
    def step(x, step_key):
        move_key, accept_key = jax.random.split(step_key)
        proposed = x + width * jax.random.normal(move_key, x.shape)
        chance = log_density(proposed) - log_density(x)
        x = jnp.where(jax.random.uniform(accept_key, x.shape) < chance, proposed, x)
        return x, x

    return jax.lax.scan(step, start, jax.random.split(key, steps))[1]

# %% wrong="metropolis" says="only moves uphill"
def metropolis(key, log_density, start, steps, width):
    def step(x, step_key):
        proposed = x + width * jax.random.normal(step_key, x.shape)
        x = jnp.where(log_density(proposed) > log_density(x), proposed, x)
        return x, x

    return jax.lax.scan(step, start, jax.random.split(key, steps))[1]

# %% wrong="metropolis" says="uniform and not normal"
def metropolis(key, log_density, start, steps, width):
    def step(x, step_key):
        move_key, accept_key = jax.random.split(step_key)
        proposed = x + width * jax.random.uniform(move_key, x.shape)
        threshold = jnp.log(jax.random.uniform(accept_key, x.shape))
        x = jnp.where(threshold < log_density(proposed) - log_density(x), proposed, x)
        return x, x

    return jax.lax.scan(step, start, jax.random.split(key, steps))[1]

# %% wrong="metropolis" says="the first row is the start"
def metropolis(key, log_density, start, steps, width):
    def step(x, step_key):
        move_key, accept_key = jax.random.split(step_key)
        proposed = x + width * jax.random.normal(move_key, x.shape)
        threshold = jnp.log(jax.random.uniform(accept_key, x.shape))
        return jnp.where(threshold < log_density(proposed) - log_density(x), proposed, x), x

    return jax.lax.scan(step, start, jax.random.split(key, steps))[1]

# %% wrong="metropolis" says="the variance of the move"
def metropolis(key, log_density, start, steps, width):
    def step(x, step_key):
        move_key, accept_key = jax.random.split(step_key)
        proposed = x + jnp.sqrt(width) * jax.random.normal(move_key, x.shape)
        threshold = jnp.log(jax.random.uniform(accept_key, x.shape))
        x = jnp.where(threshold < log_density(proposed) - log_density(x), proposed, x)
        return x, x

    return jax.lax.scan(step, start, jax.random.split(key, steps))[1]

# %% wrong="metropolis" says="an axis is missing"
def metropolis(key, log_density, start, steps, width):
    def step(x, step_key):
        move_key, accept_key = jax.random.split(step_key)
        proposed = x + width * jax.random.normal(move_key, x.shape)
        threshold = jnp.log(jax.random.uniform(accept_key, x.shape))
        x = jnp.where(threshold < log_density(proposed) - log_density(x), proposed, x)
        return x, None

    return jax.lax.scan(step, start, jax.random.split(key, steps))[0]

# %% wrong="metropolis" says="used twice"
def metropolis(key, log_density, start, steps, width):
    def step(carry, _):
        x, key = carry
        _, move_key, accept_key = jax.random.split(key, 3)
        proposed = x + width * jax.random.normal(move_key, x.shape)
        threshold = jnp.log(jax.random.uniform(accept_key, x.shape))
        x = jnp.where(threshold < log_density(proposed) - log_density(x), proposed, x)
        return (x, jax.random.split(key)[1]), x

    return jax.lax.scan(step, (start, key), length=steps)[1]

# %% wrong="metropolis" says="the program grows"
def metropolis(key, log_density, start, steps, width):
    x, rows = start, []
    for step_key in jax.random.split(key, steps):
        move_key, accept_key = jax.random.split(step_key)
        proposed = x + width * jax.random.normal(move_key, x.shape)
        threshold = jnp.log(jax.random.uniform(accept_key, x.shape))
        x = jnp.where(threshold < log_density(proposed) - log_density(x), proposed, x)
        rows.append(x)
    return jnp.stack(rows)

# %% wrong="metropolis" says="the density itself is too small for float32"
def metropolis(key, log_density, start, steps, width):
    def step(x, step_key):
        move_key, accept_key = jax.random.split(step_key)
        proposed = x + width * jax.random.normal(move_key, x.shape)
        density, proposed_density = jnp.exp(log_density(x)), jnp.exp(log_density(proposed))
        u = jax.random.uniform(accept_key, x.shape)
        x = jnp.where(u * density < proposed_density, proposed, x)
        return x, x

    return jax.lax.scan(step, start, jax.random.split(key, steps))[1]

# %% wrong="metropolis" says="every proposal is accepted"
def metropolis(key, log_density, start, steps, width):
    def step(x, step_key):
        x = x + width * jax.random.normal(step_key, x.shape)
        return x, x

    return jax.lax.scan(step, start, jax.random.split(key, steps))[1]

# %% wrong="metropolis" says="all walkers start where the first one does"
def metropolis(key, log_density, start, steps, width):
    def step(x, step_key):
        move_key, accept_key = jax.random.split(step_key)
        proposed = x + width * jax.random.normal(move_key, x.shape)
        threshold = jnp.log(jax.random.uniform(accept_key, x.shape))
        x = jnp.where(threshold < log_density(proposed) - log_density(x), proposed, x)
        return x, x

    first = jnp.full(start.shape, start[0])
    return jax.lax.scan(step, first, jax.random.split(key, steps))[1]

# %% wrong="metropolis" says="right for the visible inputs"
def metropolis(key, log_density, start, steps, width):
    def step(x, step_key):
        move_key, accept_key = jax.random.split(step_key)
        proposed = jnp.clip(x + width * jax.random.normal(move_key, x.shape), -100, 100)
        threshold = jnp.log(jax.random.uniform(accept_key, x.shape))
        x = jnp.where(threshold < log_density(proposed) - log_density(x), proposed, x)
        return x, x

    return jax.lax.scan(step, start, jax.random.split(key, steps))[1]

# %% wrong="epoch_batches" says="neighbours stay together"
def epoch_batches(key, epoch, n, batch_size):
    order_key, start_key = jax.random.split(jax.random.fold_in(key, epoch))
    used = n // batch_size * batch_size
    start = jax.random.randint(start_key, (), 0, n - used + 1)
    return jax.random.permutation(order_key, start + jnp.arange(used).reshape(-1, batch_size))

# %% wrong="epoch_batches" says="the last examples are left out in every epoch"
def epoch_batches(key, epoch, n, batch_size):
    batches = n // batch_size
    order = jax.random.permutation(jax.random.fold_in(key, epoch), batches * batch_size)
    return order.reshape(batches, batch_size)

# %% wrong="epoch_batches" says="coincide"
def epoch_batches(key, epoch, n, batch_size):
    order = jnp.roll(jax.random.permutation(key, n), 0 * epoch)
    return order[: n // batch_size * batch_size].reshape(-1, batch_size)

# %% wrong="epoch_batches" says="no known mistake matches"
def epoch_batches(key, epoch, n, batch_size):
    key = jax.random.fold_in(key, epoch)
    return jax.random.randint(key, (n // batch_size, batch_size), 0, n)

# %% wrong="epoch_batches" says="a size or another static parameter is made from a traced value"
def epoch_batches(key, epoch, n, batch_size):
    order = jax.random.permutation(jax.random.split(key, epoch + 1)[epoch], n)
    return order[: n // batch_size * batch_size].reshape(-1, batch_size)

# %% wrong="epoch_batches" says="does not depend on the key"
def epoch_batches(key, epoch, n, batch_size):
    order = jax.random.permutation(jax.random.key(epoch), n)
    return order[: n // batch_size * batch_size].reshape(-1, batch_size)

# %% wrong="epoch_batches" says="the shape is not the expected one"
def epoch_batches(key, epoch, n, batch_size):
    order = jax.random.permutation(jax.random.fold_in(key, epoch), n)
    return jnp.resize(order, (-(-n // batch_size), batch_size))

# %% wrong="epoch_batches" says="right for the visible inputs"
def epoch_batches(key, epoch, n, batch_size):
    order = jax.random.permutation(jax.random.split(key, 1000)[epoch], n)
    return order[: n // batch_size * batch_size].reshape(-1, batch_size)

# %% wrong="epoch_batches" says="[0][1] and [1][0] are equal"
def epoch_batches(key, epoch, n, batch_size):
    words = jax.random.key_data(key).at[1].add(jnp.asarray(epoch).astype(jnp.uint32))
    order = jax.random.permutation(jax.random.wrap_key_data(words), n)
    return order[: n // batch_size * batch_size].reshape(-1, batch_size)

# %% wrong="epoch_batches" says="[0][1] and [3][0] are equal"
def epoch_batches(key, epoch, n, batch_size):
    words = jax.random.key_data(key) + jnp.asarray(epoch).astype(jnp.uint32)
    order = jax.random.permutation(jax.random.wrap_key_data(words), n)
    return order[: n // batch_size * batch_size].reshape(-1, batch_size)

# %% wrong="init_ensemble" says="[0]['bias_down_1889'] and [1]['gate_value_1602'] are equal"
def init_ensemble(key, members, shapes):
    def draw(i, name):
        number = (i + zlib.crc32(name.encode())) % 2**32
        return jax.random.normal(jax.random.fold_in(key, number), shapes[name])

    return [{name: draw(i, name) for name in shapes} for i in range(members)]

# %% wrong="init_ensemble" says="a dict instead of a list"
def init_ensemble(key, members, shapes):
    def draw(name):
        name_key = jax.random.fold_in(key, zlib.crc32(name.encode()))
        return jax.random.normal(name_key, (members, *shapes[name]))

    return {name: draw(name) for name in shapes}

# %% wrong="init_ensemble" says="adding names changes"
def init_ensemble(key, members, shapes):
    ensemble = []
    for member_key in jax.random.split(key, members):
        keys = jax.random.split(member_key, len(shapes))
        ensemble.append({n: jax.random.normal(k, shapes[n]) for k, n in zip(keys, sorted(shapes))})
    return ensemble

# %% wrong="init_ensemble" says="adding members changes"
def init_ensemble(key, members, shapes):
    def draw(i, name):
        name_key = jax.random.fold_in(key, zlib.crc32(name.encode()))
        return jax.random.normal(jax.random.fold_in(name_key, members - i), shapes[name])

    return [{name: draw(i, name) for name in shapes} for i in range(members)]

# %% wrong="init_ensemble" says="[0]['out'] and [1]['out'] are equal"
def init_ensemble(key, members, shapes):
    def draw(name):
        name_key = jax.random.fold_in(key, zlib.crc32(name.encode()))
        return jax.random.normal(name_key, shapes[name])

    return [{name: draw(name) for name in shapes} for _ in range(members)]

# %% wrong="init_ensemble" says="as wide as it should be"
def init_ensemble(key, members, shapes):
    def draw(member_key, name):
        name_key = jax.random.fold_in(member_key, zlib.crc32(name.encode()))
        return jax.random.normal(name_key, shapes[name]) * jnp.sqrt(2 / shapes[name][0])

    keys = jax.random.split(key, members)
    return [{name: draw(k, name) for name in shapes} for k in keys]

# %% wrong="init_ensemble" says="right for the visible inputs"
def init_ensemble(key, members, shapes):
    def draw(member_key, name):
        name_key = jax.random.fold_in(member_key, sum(name.encode()))
        return jax.random.normal(name_key, shapes[name])

    keys = jax.random.split(key, members)
    return [{name: draw(k, name) for name in shapes} for k in keys]

# %% wrong="init_ensemble" says="differs from one process to the next"
def init_ensemble(key, members, shapes):
    def draw(i, name):
        number = hash(f"{i}/{name}") % 2**32
        return jax.random.normal(jax.random.fold_in(key, number), shapes[name])

    return [{name: draw(i, name) for name in shapes} for i in range(members)]

# %% wrong="init_ensemble" says="[0]['layer_1_bias'] and [0]['layer_2_bias'] are equal"
def init_ensemble(key, members, shapes):
    def draw(member_key, name):
        number = int.from_bytes(name.encode(), "big") % 2**32
        return jax.random.normal(jax.random.fold_in(member_key, number), shapes[name])

    member_keys = [jax.random.fold_in(key, i) for i in range(members)]
    return [{name: draw(k, name) for name in shapes} for k in member_keys]

# %% wrong="init_ensemble" says="depend on each other"
def init_ensemble(key, members, shapes):
    def draw(i, name):
        name_key = jax.random.fold_in(jax.random.fold_in(key, i), zlib.crc32(name.encode()))
        return jax.random.normal(name_key, shapes[name], jnp.bfloat16).astype(jnp.float32)

    return [{name: draw(i, name) for name in shapes} for i in range(members)]

# %% wrong="as_key" says="a seed becomes a legacy key"
def as_key(given):
    if jnp.ndim(given) or not jnp.issubdtype(jnp.result_type(given), jnp.integer):
        typed = jnp.issubdtype(given.dtype, jax.dtypes.prng_key)
        return given if typed else jax.random.wrap_key_data(given)
    return jax.random.PRNGKey(given)

# %% wrong="as_key" says="was given a number where it wants a key"
def as_key(given):
    if isinstance(given, int):
        return jax.random.key(given)
    if jnp.issubdtype(given.dtype, jax.dtypes.prng_key):
        return given
    return jax.random.wrap_key_data(given)

# %% wrong="as_key" says="but was given a PRNG key"
def as_key(given):
    if jnp.ndim(given) == 0:
        return jax.random.key(given)
    return jax.random.wrap_key_data(given)

# %% wrong="as_key" says="legacy words come back as legacy words"
def as_key(given):
    if isinstance(given, int) or given.dtype == jnp.int32:
        return jax.random.key(given)
    return given

# %% wrong="as_key" says="the last word is taken for the seed"
def as_key(given):
    if hasattr(given, "dtype") and jnp.issubdtype(given.dtype, jax.dtypes.prng_key):
        return given
    if jnp.ndim(given) == 2:
        return jax.random.wrap_key_data(given)
    return jax.random.key(given if jnp.ndim(given) == 0 else given[-1])

# %% wrong="as_key" says="a NumPy function was given a traced array"
def as_key(given):
    if hasattr(given, "dtype") and jnp.issubdtype(given.dtype, jax.dtypes.prng_key):
        return given
    words = np.asarray(given)
    return jax.random.wrap_key_data(words) if words.ndim else jax.random.key(given)

# %% wrong="as_key" says="right for the visible inputs"
def as_key(given):
    if not hasattr(given, "dtype") or given.dtype == jnp.int32:
        return jax.random.key(given)
    return jax.random.wrap_key_data(given) if given.dtype == jnp.uint32 else given

# %% wrong="as_key" says="if jnp.shape(given)[-1] == 2"
def as_key(given):
    if jnp.shape(given) == ():
        typed = hasattr(given, "dtype") and jnp.issubdtype(given.dtype, jax.dtypes.prng_key)
        return given if typed else jax.random.key(given)
    return jax.random.wrap_key_data(given) if jnp.shape(given)[-1] == 2 else given

# %% wrong="as_key" says="a value was asked for"
def as_key(given):
    if hasattr(given, "dtype") and jnp.issubdtype(given.dtype, jax.dtypes.prng_key):
        return given
    if jnp.shape(given) == ():
        return jax.random.key(int(given))
    return jax.random.wrap_key_data(given)

# %% wrong="as_key" says="out of bounds"
def as_key(given):
    if hasattr(given, "dtype") and jnp.issubdtype(given.dtype, jax.dtypes.prng_key):
        return given
    if jnp.shape(given) == ():
        given = jnp.stack([jnp.uint32(0), jnp.asarray(given, jnp.uint32)])
    return jax.random.wrap_key_data(given)

# %% wrong="as_key" says="if jnp.ndim(given) == 0 else"
def as_key(given):
    if getattr(given, "dtype", None) == jax.random.key(0).dtype:
        return given
    return jax.random.key(given) if jnp.ndim(given) == 0 else jax.random.wrap_key_data(given)
