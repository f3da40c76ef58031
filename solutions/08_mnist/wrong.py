# %% wrong="init_mlp" says="a key is used twice"
def init_mlp(key, sizes):
    return [
        {"w": jax.random.normal(key, (n, m)) * jnp.sqrt(2 / n), "b": jnp.zeros(m)}
        for n, m in zip(sizes, sizes[1:])
    ]

# %% wrong="init_mlp" says="the axes are transposed"
def init_mlp(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {"w": jax.random.normal(k, (m, n)) * jnp.sqrt(2 / n), "b": jnp.zeros(m)}
        for k, n, m in zip(keys, sizes, sizes[1:])
    ]

# %% wrong="init_mlp" says="not depend on the key"
def init_mlp(key, sizes):
    keys = jax.random.split(jax.random.key(0), len(sizes) - 1)
    return [
        {"w": jax.random.normal(k, (n, m)) * jnp.sqrt(2 / n), "b": jnp.zeros(m)}
        for k, n, m in zip(keys, sizes, sizes[1:])
    ]

# %% wrong="init_mlp" says="the variance is taken for the standard deviation"
def init_mlp(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {"w": jax.random.normal(k, (n, m)) * 2 / n, "b": jnp.zeros(m)}
        for k, n, m in zip(keys, sizes, sizes[1:])
    ]

# %% wrong="init_mlp" says="the outputs are counted and not the inputs"
def init_mlp(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {"w": jax.random.normal(k, (n, m)) * jnp.sqrt(2 / m), "b": jnp.zeros(m)}
        for k, n, m in zip(keys, sizes, sizes[1:])
    ]

# %% wrong="init_mlp" says="no known mistake matches"
def init_mlp(key, sizes):
    layers = []
    for n, m in zip(sizes, sizes[1:]):
        key, one, other = jax.random.split(key, 3)
        w = jax.random.normal(one, (n, m)) * jnp.sqrt(2 / n)
        layers.append({"w": w, "b": jax.random.normal(other, (m,)) * jnp.sqrt(2 / n)})
    return layers

# %% wrong="init_mlp" says="every layer is scaled by the size of the first"
def init_mlp(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {"w": jax.random.normal(k, (n, m)) * jnp.sqrt(2 / sizes[0]), "b": jnp.zeros(m)}
        for k, n, m in zip(keys, sizes, sizes[1:])
    ]

# %% wrong="mlp_forward" says="the logits go through a ReLU too"
def mlp_forward(params, x):
    for layer in params:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x

# %% wrong="mlp_forward" says="there is no ReLU at all"
def mlp_forward(params, x):
    for layer in params:
        x = x @ layer["w"] + layer["b"]
    return x

# %% wrong="mlp_forward" says="not enough values to unpack"
def mlp_forward(params, x):
    one, two, three = params
    x = jax.nn.relu(x @ one["w"] + one["b"])
    x = jax.nn.relu(x @ two["w"] + two["b"])
    return x @ three["w"] + three["b"]

# %% wrong="mlp_forward" says="einsum"
def mlp_forward(params, x):
    for i, layer in enumerate(params):
        x = jnp.einsum("bi,ij->bj", x, layer["w"]) + layer["b"]
        if i < len(params) - 1:
            x = jax.nn.relu(x)
    return x

# %% wrong="mlp_forward" says="right for the visible inputs, wrong on hidden ones"
def mlp_forward(params, x):
    *hidden, last = params
    x = jnp.atleast_2d(x)
    for layer in hidden:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return jnp.squeeze(x @ last["w"] + last["b"])

# %% wrong="cross_entropy" says="infinite instead of a number"
def cross_entropy(logits, y):
    p = jax.nn.softmax(logits)
    return -jnp.mean(jnp.log(p[jnp.arange(len(y)), y]))

# %% wrong="cross_entropy" says="the mean runs over the classes too"
def cross_entropy(logits, y):
    return -jnp.mean(jax.nn.one_hot(y, logits.shape[1]) * jax.nn.log_softmax(logits))

# %% wrong="cross_entropy" says="the minus is left out"
def cross_entropy(logits, y):
    return jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(y)), y])

# %% wrong="cross_entropy" says="a sum instead of the mean"
def cross_entropy(logits, y):
    return -jnp.sum(jax.nn.log_softmax(logits)[jnp.arange(len(y)), y])

# %% wrong="cross_entropy" says="no known mistake matches"
def cross_entropy(logits, y):
    return -jnp.mean(jax.nn.log_softmax(logits, axis=0)[jnp.arange(len(y)), y])

# %% wrong="cross_entropy" says="right for the visible inputs, wrong on hidden ones"
def cross_entropy(logits, y):
    log_p = jax.nn.log_softmax(logits[:, :10])
    return -jnp.mean(jnp.sum(jax.nn.one_hot(y, 10) * log_p, axis=1))

# %% wrong="make_step" says="uphill"
def make_step(loss_fn, optimizer):
    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return jax.tree.map(jnp.subtract, params, updates), opt_state, loss

    return step

# %% wrong="make_step" says="the optimizer's state is not carried on"
def make_step(loss_fn, optimizer):
    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, _ = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_step" says="the loss after the step"
def make_step(loss_fn, optimizer):
    @jax.jit
    def step(params, opt_state, x, y):
        grads = jax.grad(loss_fn)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        return params, opt_state, loss_fn(params, x, y)

    return step

# %% wrong="make_step" says="or not compiled at all"
def make_step(loss_fn, optimizer):
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_step" says="right for the visible inputs, wrong on hidden ones"
def make_step(loss_fn, optimizer):
    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="run_epoch" says="the batches are taken in the order of the file"
def run_epoch(step, params, opt_state, x, y, order):
    def body(carry, batch):
        params, opt_state, loss = step(*carry, *batch)
        return (params, opt_state), loss

    steps, size = order.shape
    batches = (x.reshape(steps, size, -1), y.reshape(steps, size))
    (params, opt_state), losses = jax.lax.scan(body, (params, opt_state), batches)
    return params, opt_state, losses

# %% wrong="run_epoch" says="the optimizer's state is the first one at every step"
def run_epoch(step, params, opt_state, x, y, order):
    def body(params, rows):
        params, new_state, loss = step(params, opt_state, x[rows], y[rows])
        return params, (new_state, loss)

    params, (states, losses) = jax.lax.scan(body, params, order)
    return params, states[-1], losses

# %% wrong="run_epoch" says="does not use `scan`"
def run_epoch(step, params, opt_state, x, y, order):
    losses = []
    for rows in order:
        params, opt_state, loss = step(params, opt_state, x[rows], y[rows])
        losses.append(loss)
    return params, opt_state, jnp.stack(losses)

# %% wrong="run_epoch" says="each image makes a step of its own"
def run_epoch(step, params, opt_state, x, y, order):
    def body(carry, row):
        params, opt_state, loss = step(*carry, x[row][None], y[row][None])
        return (params, opt_state), loss

    (params, opt_state), losses = jax.lax.scan(body, (params, opt_state), order.ravel())
    return params, opt_state, losses

# %% wrong="train" says="the optimizer's state begins anew with each epoch"
def train(key, params, x, y, optimizer, epochs, batch_size):
    steps = len(x) // batch_size

    def step(carry, rows):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, x[rows], y[rows])
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    @jax.jit
    def epoch(params, key):
        order = jax.random.permutation(key, len(x))[: steps * batch_size]
        carry = (params, optimizer.init(params))
        (params, _), losses = jax.lax.scan(step, carry, order.reshape(steps, batch_size))
        return params, losses

    losses = []
    for subkey in jax.random.split(key, epochs):
        params, some = epoch(params, subkey)
        losses.append(some)
    return params, jnp.stack(losses)

# %% wrong="train" says="uphill"
def train(key, params, x, y, optimizer, epochs, batch_size):
    steps = len(x) // batch_size

    def step(carry, rows):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, x[rows], y[rows])
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (jax.tree.map(lambda p, u: p - u, params, updates), opt_state), loss

    @jax.jit
    def epoch(carry, key):
        order = jax.random.permutation(key, len(x))[: steps * batch_size]
        return jax.lax.scan(step, carry, order.reshape(steps, batch_size))

    carry, losses = (params, optimizer.init(params)), []
    for subkey in jax.random.split(key, epochs):
        carry, some = epoch(carry, subkey)
        losses.append(some)
    return carry[0], jnp.stack(losses)

# %% wrong="train" says="no known mistake matches"
def train(key, params, x, y, optimizer, epochs, batch_size):
    steps = len(x) // batch_size

    def step(carry, rows):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, x[rows[0]], y[rows[1]])
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    @jax.jit
    def epoch(carry, key):
        one, other = jax.random.split(key)
        orders = jnp.stack([jax.random.permutation(k, len(x)) for k in (one, other)])
        orders = orders[:, : steps * batch_size].reshape(2, steps, batch_size)
        return jax.lax.scan(step, carry, orders.swapaxes(0, 1))

    carry, losses = (params, optimizer.init(params)), []
    for subkey in jax.random.split(key, epochs):
        carry, some = epoch(carry, subkey)
        losses.append(some)
    return carry[0], jnp.stack(losses)

# %% wrong="train" says="some are seen twice, or never"
def train(key, params, x, y, optimizer, epochs, batch_size):
    steps = len(x) // batch_size

    def step(carry, key):
        params, opt_state = carry
        rows = jnp.arange(len(x))
        if batch_size < len(x):
            rows = jax.random.randint(key, (batch_size,), 0, len(x))
        loss, grads = jax.value_and_grad(loss_fn)(params, x[rows], y[rows])
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    carry, keys = (params, optimizer.init(params)), jax.random.split(key, epochs * steps)
    (params, _), losses = jax.lax.scan(step, carry, keys)
    return params, losses.reshape(epochs, steps)

# %% wrong="train" says="not depend on the key"
def train(key, params, x, y, optimizer, epochs, batch_size):
    steps = len(x) // batch_size
    order = jnp.arange(steps * batch_size).reshape(steps, batch_size)

    def step(carry, rows):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, x[rows], y[rows])
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    def epoch(carry, _):
        return jax.lax.scan(step, carry, order)

    carry = (params, optimizer.init(params))
    (params, _), losses = jax.lax.scan(epoch, carry, length=epochs)
    return params, losses

# %% wrong="train" says="two draws coincide"
def train(key, params, x, y, optimizer, epochs, batch_size):
    steps = len(x) // batch_size
    order = jax.random.permutation(key, len(x))[: steps * batch_size].reshape(steps, batch_size)

    def step(carry, rows):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, x[rows], y[rows])
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    carry = (params, optimizer.init(params))
    (params, _), losses = jax.lax.scan(
        lambda c, _: jax.lax.scan(step, c, order), carry, length=epochs
    )
    return params, losses

# %% wrong="train" says="the loss hardly falls"
def train(key, params, x, y, optimizer, epochs, batch_size):
    steps = len(x) // batch_size

    @jax.jit
    def epoch(params, opt_state, key, x, y):
        def step(_, rows):
            loss, grads = jax.value_and_grad(loss_fn)(params, x[rows], y[rows])
            updates, new_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), new_state), loss

        order = jax.random.permutation(key, len(x))[: steps * batch_size]
        return jax.lax.scan(step, (params, opt_state), order.reshape(steps, batch_size))

    opt_state, losses = optimizer.init(params), []
    for subkey in jax.random.split(key, epochs):
        (params, opt_state), some = epoch(params, opt_state, subkey, x, y)
        losses.append(some)
    return params, jnp.stack(losses)

# %% wrong="train" says="right for the visible inputs, wrong on hidden ones"
def train(key, params, x, y, optimizer, epochs, batch_size):
    steps = len(x) // batch_size

    @jax.jit
    def epoch(carry, key, x, y):
        def step(carry, rows):
            params, opt_state = carry
            loss, grads = jax.value_and_grad(loss_fn)(params, x[rows], y[rows])
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), loss

        order = jax.random.permutation(key, len(x))[: steps * batch_size]
        return jax.lax.scan(step, carry, order.reshape(steps, batch_size))

    carry, losses = (params, optimizer.init(params)), []
    for subkey in jax.random.split(key, epochs):
        carry, some = epoch(carry, subkey, x, y)
        losses.append(some)
    return carry[0], jnp.stack(losses) if epochs > 1 else losses[0]

# %% wrong="confusion_matrix" says="predictions in the rows"
def confusion_matrix(y, predicted, classes):
    return jnp.zeros((classes, classes), int).at[predicted, y].add(1)

# %% wrong="confusion_matrix" says="each pair counts once"
def confusion_matrix(y, predicted, classes):
    table = jnp.zeros((classes, classes), int)
    return table.at[y, predicted].set(table[y, predicted] + 1)

# %% wrong="confusion_matrix" says="floats instead of integers"
def confusion_matrix(y, predicted, classes):
    return jax.nn.one_hot(y, classes).T @ jax.nn.one_hot(predicted, classes)

# %% wrong="confusion_matrix" says="counts beyond 255 start again"
def confusion_matrix(y, predicted, classes):
    return jnp.zeros((classes, classes), jnp.uint8).at[y, predicted].add(1)

# %% wrong="confusion_matrix" says="the program grows with the input"
def confusion_matrix(y, predicted, classes):
    rows = [[jnp.sum((y == i) & (predicted == j)) for j in range(classes)] for i in range(classes)]
    return jnp.array(rows)

# %% wrong="confusion_matrix" says="right for the visible inputs, wrong on hidden ones"
def confusion_matrix(y, predicted, classes):
    pairs = jnp.bincount(y * classes + predicted, length=classes**2)
    return pairs.reshape(classes, classes)

# %% wrong="mlp_dropout" says="a key is used twice"
def mlp_dropout(params, x, key, rate, train):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if train:
            x = jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="mlp_dropout" says="the survivors are not scaled up"
def mlp_dropout(params, x, key, rate, train):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if train:
            key, subkey = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(subkey, 1 - rate, x.shape), x, 0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="mlp_dropout" says="the logits are dropped too"
def mlp_dropout(params, x, key, rate, train):
    for i, layer in enumerate(params):
        x = x @ layer["w"] + layer["b"]
        x = jax.nn.relu(x) if i < len(params) - 1 else x
        if train:
            key, subkey = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(subkey, 1 - rate, x.shape), x / (1 - rate), 0)
    return x

# %% wrong="mlp_dropout" says="units are dropped where `train` is False"
def mlp_dropout(params, x, key, rate, train):
    for layer in params[:-1]:
        key, subkey = jax.random.split(key)
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        x = jnp.where(jax.random.bernoulli(subkey, 1 - rate, x.shape), x / (1 - rate), 0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="mlp_dropout" says="two draws coincide"
def mlp_dropout(params, x, key, rate, train):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if train:
            key, subkey = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(subkey, 1 - rate, x.shape[-1:]), x / (1 - rate), 0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="mlp_dropout" says="`rate` is taken for the probability to keep a unit"
def mlp_dropout(params, x, key, rate, train):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
        if train:
            key, subkey = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(subkey, rate, x.shape), x / rate, 0)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="gradient_norms" says="an axis is missing"
def gradient_norms(loss_fn, params, x, y):
    return optax.global_norm(jax.grad(loss_fn)(params, x, y))

# %% wrong="gradient_norms" says="the biases are left out"
def gradient_norms(loss_fn, params, x, y):
    def one(x, y):
        grads = jax.grad(loss_fn)(params, x[None], y[None])
        return optax.global_norm([layer["w"] for layer in grads])

    return jax.vmap(one)(x, y)

# %% wrong="gradient_norms" says="the norms of the leaves are added"
def gradient_norms(loss_fn, params, x, y):
    def one(x, y):
        grads = jax.grad(loss_fn)(params, x[None], y[None])
        return sum(jnp.linalg.norm(leaf) for leaf in jax.tree.leaves(grads))

    return jax.vmap(one)(x, y)

# %% wrong="gradient_norms" says="the square of the expected value"
def gradient_norms(loss_fn, params, x, y):
    def one(x, y):
        grads = jax.grad(loss_fn)(params, x[None], y[None])
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(grads))

    return jax.vmap(one)(x, y)

# %% wrong="gradient_norms" says="each gradient is divided by the size of the batch"
def gradient_norms(loss_fn, params, x, y):
    def one(x, y):
        return optax.global_norm(jax.grad(loss_fn)(params, x[None], y[None]))

    return jax.vmap(one)(x, y) / len(x)

# %% wrong="gradient_norms" says="the program grows with the input"
def gradient_norms(loss_fn, params, x, y):
    grads = [jax.grad(loss_fn)(params, x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
    return jnp.stack([optax.global_norm(tree) for tree in grads])

# %% wrong="gradient_norms" says="right for the visible inputs, wrong on hidden ones"
def gradient_norms(loss_fn, params, x, y):
    def one(x, y):
        grads = jax.grad(loss_fn)(params, x[None], y[None])
        return optax.global_norm([grads[0], grads[1], grads[-1]] if len(grads) > 2 else grads)

    return jax.vmap(one)(x, y)

# %% wrong="adversarial" says="downhill"
def adversarial(loss_fn, params, x, y, epsilon):
    slope = jax.grad(loss_fn, argnums=1)(params, x, y)
    return jnp.clip(x - epsilon * jnp.sign(slope), 0, 1)

# %% wrong="adversarial" says="a step along the gradient and not its sign"
def adversarial(loss_fn, params, x, y, epsilon):
    slope = jax.grad(loss_fn, argnums=1)(params, x, y)
    return jnp.clip(x + epsilon * slope, 0, 1)

# %% wrong="adversarial" says="pixels beyond black and white"
def adversarial(loss_fn, params, x, y, epsilon):
    return x + epsilon * jnp.sign(jax.grad(loss_fn, argnums=1)(params, x, y))

# %% wrong="adversarial" says="a list instead of one array"
def adversarial(loss_fn, params, x, y, epsilon):
    slope = jax.grad(loss_fn)(params, x, y)
    return jax.tree.map(lambda p, g: p + epsilon * jnp.sign(g), params, slope)

# %% wrong="adversarial" says="right for the visible inputs, wrong on hidden ones"
def adversarial(loss_fn, params, x, y, epsilon):
    slope = jax.grad(loss_fn, argnums=1)(params, x, y)
    return jnp.clip(jnp.where(slope > 0, x + epsilon, x - epsilon), 0, 1)

# %% wrong="hundred_steps" says="only the dispatch is timed"
def hundred_steps(step, params, opt_state, x, y, jit, clock=time.perf_counter):
    step, seconds = jax.jit(step) if jit else step, []
    for _ in range(100):
        start = clock()
        params, opt_state, loss = step(params, opt_state, x, y)
        seconds.append(clock() - start)
    return params, opt_state, seconds[0], sum(seconds[1:]) / 99

# %% wrong="hundred_steps" says="the 99 other calls together"
def hundred_steps(step, params, opt_state, x, y, jit, clock=time.perf_counter):
    step, seconds = jax.jit(step) if jit else step, []
    for _ in range(100):
        start = clock()
        params, opt_state, loss = jax.block_until_ready(step(params, opt_state, x, y))
        seconds.append(clock() - start)
    return params, opt_state, seconds[0], sum(seconds[1:])

# %% wrong="hundred_steps" says="the first call is counted in the mean"
def hundred_steps(step, params, opt_state, x, y, jit, clock=time.perf_counter):
    step, seconds = jax.jit(step) if jit else step, []
    for _ in range(100):
        start = clock()
        params, opt_state, loss = jax.block_until_ready(step(params, opt_state, x, y))
        seconds.append(clock() - start)
    return params, opt_state, seconds[0], sum(seconds) / 100

# %% wrong="hundred_steps" says="there is one call too many"
def hundred_steps(step, params, opt_state, x, y, jit, clock=time.perf_counter):
    step, seconds = jax.jit(step) if jit else step, []
    jax.block_until_ready(step(params, opt_state, x, y))
    for _ in range(100):
        start = clock()
        params, opt_state, loss = jax.block_until_ready(step(params, opt_state, x, y))
        seconds.append(clock() - start)
    return params, opt_state, seconds[0], sum(seconds[1:]) / 99

# %% wrong="hundred_steps" says="each step starts from the first parameters"
def hundred_steps(step, params, opt_state, x, y, jit, clock=time.perf_counter):
    step, seconds = jax.jit(step) if jit else step, []
    for _ in range(100):
        start = clock()
        result = jax.block_until_ready(step(params, opt_state, x, y))
        seconds.append(clock() - start)
    return *result[:2], seconds[0], sum(seconds[1:]) / 99

# %% wrong="hundred_steps" says="at no step, or anew at each"
def hundred_steps(step, params, opt_state, x, y, jit, clock=time.perf_counter):
    seconds = []
    for _ in range(100):
        start = clock()
        f = jax.jit(lambda *args: step(*args)) if jit else step
        params, opt_state, loss = jax.block_until_ready(f(params, opt_state, x, y))
        seconds.append(clock() - start)
    return params, opt_state, seconds[0], sum(seconds[1:]) / 99

# %% wrong="hundred_steps" says="the median, not the mean"
def hundred_steps(step, params, opt_state, x, y, jit, clock=time.perf_counter):
    step, seconds = jax.jit(step) if jit else step, []
    for _ in range(100):
        start = clock()
        params, opt_state, loss = jax.block_until_ready(step(params, opt_state, x, y))
        seconds.append(clock() - start)
    return params, opt_state, seconds[0], float(np.median(seconds[1:]))

# %% wrong="make_clipped_step" says="each number is clipped by itself"
def make_clipped_step(loss_fn, optimizer, max_norm):
    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        norm = optax.global_norm(grads)
        grads = jax.tree.map(lambda g: jnp.clip(g, -max_norm, max_norm), grads)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, norm

    return step

# %% wrong="make_clipped_step" says="each leaf is clipped by its own norm"
def make_clipped_step(loss_fn, optimizer, max_norm):
    def clip(g):
        return g * jnp.minimum(1, max_norm / jnp.linalg.norm(g))

    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        norm = optax.global_norm(grads)
        updates, opt_state = optimizer.update(jax.tree.map(clip, grads), opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, norm

    return step

# %% wrong="make_clipped_step" says="the norm after clipping"
def make_clipped_step(loss_fn, optimizer, max_norm):
    clip = optax.clip_by_global_norm(max_norm)

    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        grads, _ = clip.update(grads, clip.init(params))
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, optax.global_norm(grads)

    return step

# %% wrong="make_clipped_step" says="a gradient below the limit is scaled up"
def make_clipped_step(loss_fn, optimizer, max_norm):
    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        norm = optax.global_norm(grads)
        grads = jax.tree.map(lambda g: g * max_norm / norm, grads)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, norm

    return step

# %% wrong="make_clipped_step" says="or not compiled at all"
def make_clipped_step(loss_fn, optimizer, max_norm):
    clip = optax.clip_by_global_norm(max_norm)

    def step(params, opt_state, x, y):
        loss, grads = jax.jit(jax.value_and_grad(loss_fn))(params, x, y)
        clipped, _ = clip.update(grads, clip.init(params))
        updates, opt_state = optimizer.update(clipped, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, optax.global_norm(grads)

    return step

# %% wrong="make_clipped_step" says="right for the visible inputs, wrong on hidden ones"
def make_clipped_step(loss_fn, optimizer, max_norm):
    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        norm = optax.global_norm(grads)
        grads = jax.tree.map(lambda g: g / norm * jnp.minimum(norm, max_norm), grads)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, norm

    return step

# %% wrong="scheduled_adamw" says="the cosine takes `total` steps"
def scheduled_adamw(peak, warmup, total, weight_decay):
    parts = [optax.linear_schedule(0.0, peak, warmup), optax.cosine_decay_schedule(peak, total)]
    return optax.adamw(optax.join_schedules(parts, [warmup]), weight_decay=weight_decay)

# %% wrong="scheduled_adamw" says="the warm-up is subtracted twice"
def scheduled_adamw(peak, warmup, total, weight_decay):
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, peak, warmup, max(total - warmup, warmup + 1)
    )
    return optax.adamw(schedule, weight_decay=weight_decay)

# %% wrong="scheduled_adamw" says="the rate is constant"
def scheduled_adamw(peak, warmup, total, weight_decay):
    return optax.adamw(peak, weight_decay=weight_decay)

# %% wrong="scheduled_adamw" says="that is L2, not AdamW"
def scheduled_adamw(peak, warmup, total, weight_decay):
    schedule = optax.warmup_cosine_decay_schedule(0.0, peak, warmup, total)
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(schedule))

# %% wrong="scheduled_adamw" says="right for the visible inputs, wrong on hidden ones"
def scheduled_adamw(peak, warmup, total, weight_decay):
    slope = peak / warmup

    def schedule(t):
        part = jnp.minimum((t - warmup) / (total - warmup), 1)
        return jnp.where(t < warmup, slope * t, peak * 0.5 * (1 + jnp.cos(jnp.pi * part)))

    return optax.adamw(schedule, weight_decay=weight_decay)

# %% wrong="train_only_last" says="the frozen layers move by their raw gradients"
def train_only_last(optimizer):
    return optax.masked(optimizer, lambda params: [False] * (len(params) - 1) + [True])

# %% wrong="train_only_last" says="nothing is frozen"
def train_only_last(optimizer):
    return optimizer

# %% wrong="train_only_last" says="the frozen layers shrink"
def train_only_last(optimizer):
    def zeroed(grads, opt_state, params=None):
        return [jax.tree.map(jnp.zeros_like, layer) for layer in grads[:-1]] + grads[-1:], opt_state

    return optax.chain(optax.GradientTransformation(lambda params: (), zeroed), optimizer)

# %% wrong="train_only_last" says="right for the visible inputs, wrong on hidden ones"
def train_only_last(optimizer):
    labels = ["frozen", "frozen", "trained"]
    return optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)

# %% wrong="make_parallel_step" says="the gradients are summed over the devices"
def make_parallel_step(loss_fn, optimizer, mesh):
    @jax.jit
    @partial(jax.shard_map, mesh=mesh, in_specs=(P(), P(), P("data"), P("data")), out_specs=P())
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        loss, grads = jax.lax.pmean((loss, grads), "data")
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_parallel_step" says="the devices exchange nothing"
def make_parallel_step(loss_fn, optimizer, mesh):
    @jax.jit
    @partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(P(), P(), P("data"), P("data")),
        out_specs=P(),
        check_vma=False,
    )
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_parallel_step" says="`all-gather`"
def make_parallel_step(loss_fn, optimizer, mesh):
    @jax.jit
    @partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(P(), P(), P("data"), P("data")),
        out_specs=P(),
        check_vma=False,
    )
    def step(params, opt_state, x, y):
        x, y = jax.lax.all_gather((x, y), "data", tiled=True)
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_parallel_step" says="right for the visible inputs, wrong on hidden ones"
def make_parallel_step(loss_fn, optimizer, mesh):
    @jax.jit
    @partial(jax.shard_map, mesh=mesh, in_specs=(P(), P(), P("data"), P("data")), out_specs=P())
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        grads = jax.tree.map(lambda g: g / jax.device_count(), grads)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, jax.lax.pmean(loss, "data")

    return step

# %% wrong="init_mlp" says="the numbers are cut off at two standard deviations"
def init_mlp(key, sizes):
    he = jax.nn.initializers.he_normal()
    keys = jax.random.split(key, len(sizes) - 1)
    return [{"w": he(k, (n, m)), "b": jnp.zeros(m)} for k, n, m in zip(keys, sizes, sizes[1:])]

# %% wrong="make_parallel_step" says="has no `all-reduce`: the devices exchange nothing"
def make_parallel_step(loss_fn, optimizer, mesh):
    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="make_parallel_step" says="the devices exchange too much"
def make_parallel_step(loss_fn, optimizer, mesh):
    @jax.jit
    @partial(jax.shard_map, mesh=mesh, in_specs=(P(), P(), P("data"), P("data")), out_specs=P())
    def step(params, opt_state, x, y):
        i, n = jax.lax.axis_index("data"), jax.lax.axis_size("data")

        def everywhere(part):
            whole = jnp.zeros((n, *part.shape), part.dtype).at[i].set(part)
            return jax.lax.psum(whole, "data").reshape(-1, *part.shape[1:])

        loss, grads = jax.value_and_grad(loss_fn)(params, everywhere(x), everywhere(y))
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    return step

# %% wrong="init_mlp" says="right for the visible inputs, wrong on hidden ones"
def init_mlp(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    return [
        {
            "w": jnp.float32(jax.random.normal(k, (n, m), jnp.bfloat16)) * jnp.sqrt(2 / n),
            "b": jnp.zeros(m),
        }
        for k, n, m in zip(keys, sizes, sizes[1:])
    ]

# %% wrong="mlp_dropout" says="there is no ReLU while training"
def mlp_dropout(params, x, key, rate, train):
    for layer in params[:-1]:
        x = x @ layer["w"] + layer["b"]
        if train:
            key, subkey = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(subkey, 1 - rate, x.shape), x / (1 - rate), 0)
        else:
            x = jax.nn.relu(x)
    return x @ params[-1]["w"] + params[-1]["b"]

# %% wrong="gradient_norms" says="string indexing"
def gradient_norms(loss_fn, params, x, y):
    def one(x, y):
        grads = jax.grad(loss_fn)(params, x[None], y[None])
        squares = [jnp.sum(layer["w"] ** 2) + jnp.sum(layer["b"] ** 2) for layer in grads]
        return jnp.sqrt(sum(squares))

    return jax.vmap(one)(x, y)

# %% wrong="adversarial" says="string indexing"
def adversarial(loss_fn, params, x, y, epsilon):
    def loss(x):
        return optax.softmax_cross_entropy_with_integer_labels(forward(params, x), y).mean()

    return jnp.clip(x + epsilon * jnp.sign(jax.grad(loss)(x)), 0, 1)

# %% wrong="train" says="params"
def train(key, params, x, y, optimizer, epochs, batch_size):
    steps = len(x) // batch_size

    @jax.jit
    def epoch(carry, key, x, y):
        def step(carry, rows):
            params, opt_state = carry
            loss, grads = jax.value_and_grad(loss_fn)(params, x[rows], y[rows])
            updates, opt_state = optimizer.update(grads, opt_state)
            return (optax.apply_updates(params, updates), opt_state), loss

        order = jax.random.permutation(key, len(x))[: steps * batch_size]
        return jax.lax.scan(step, carry, order.reshape(steps, batch_size))

    carry, losses = (params, optimizer.init(params)), []
    for subkey in jax.random.split(key, epochs):
        carry, some = epoch(carry, subkey, x, y)
        losses.append(some)
    return carry[0], jnp.stack(losses)

# %% wrong="make_clipped_step" says="params"
def make_clipped_step(loss_fn, optimizer, max_norm):
    clip = optax.clip_by_global_norm(max_norm)

    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        clipped, _ = clip.update(grads, clip.init(params))
        updates, opt_state = optimizer.update(clipped, opt_state)
        return optax.apply_updates(params, updates), opt_state, loss, optax.global_norm(grads)

    return step

# %% wrong="make_clipped_step" says="no known mistake matches"
def make_clipped_step(loss_fn, optimizer, max_norm):
    clip = optax.clip_by_global_norm(max_norm)

    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        clipped, _ = clip.update(grads, clip.init(params))
        updates, _ = optimizer.update(clipped, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, optax.global_norm(grads)

    return step

# %% wrong="train_only_last" says="0 times NaN is NaN"
def train_only_last(optimizer):
    def update(grads, opt_state, params=None):
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return [jax.tree.map(lambda u: 0 * u, layer) for layer in updates[:-1]] + updates[-1:], opt_state

    return optax.GradientTransformation(optimizer.init, update)

# %% wrong="run_epoch" says="only as many rows of `order` are used"
def run_epoch(step, params, opt_state, x, y, order):
    def body(carry, rows):
        params, opt_state, loss = step(*carry, x[rows], y[rows])
        return (params, opt_state), loss

    order = order[: len(x) // order.shape[1]]
    (params, opt_state), losses = jax.lax.scan(body, (params, opt_state), order)
    return params, opt_state, losses
