# %% right="hat"
@jax.jit
def hat(x):
    gap = jnp.maximum(1 - jnp.clip(x, -2, 2) ** 2, jnp.float32(1e-3))
    return jnp.exp(-jnp.float32(1) / gap)

# %% right="hat"
def hat(x):
    flat = jnp.ravel(x)

    def inside(x):
        return jnp.exp(1 / ((x - 1) * (x + 1)))

    return lax.map(lambda v: lax.cond(jnp.abs(v) < 1, inside, jnp.zeros_like, v), flat).reshape(
        jnp.shape(x)
    )

# %% right="now_and_then"
@partial(jax.jit, static_argnums=2)
def now_and_then(step, every, expensive, x, cached):
    return jax.lax.switch(jnp.minimum(step % every, 1), [expensive, lambda _: cached], x)

# %% right="now_and_then"
def now_and_then(step, every, expensive, x, cached):
    _, result = lax.while_loop(
        lambda state: state[0], lambda state: (False, expensive(x)), (step % every == 0, cached)
    )
    return result

# %% right="newton"
@partial(jax.jit, static_argnums=0)
def newton(f, x, tolerance, most):
    value_and_slope = jax.value_and_grad(f)

    def body(state):
        x, (value, slope), steps = state
        x = x - value / slope
        return x, value_and_slope(x), steps + 1

    def go_on(state):
        return jnp.logical_and(jnp.abs(state[1][0]) > tolerance, state[2] < most)

    x, _, steps = jax.lax.while_loop(go_on, body, (x, value_and_slope(x), jnp.int32(0)))
    return x, steps

# %% right="newton"
def newton(f, x, tolerance, most):
    def turn(_, state):
        x, steps = state
        value, slope = f(x), jax.jvp(f, (x,), (jnp.ones_like(x),))[1]
        going = jnp.abs(value) > tolerance
        return jnp.where(going, x - value / slope, x), steps + going

    return jax.lax.fori_loop(0, most, turn, (x, 0))

# %% right="running_stats"
@jax.jit
def running_stats(x):
    shift = x[0]

    def body(carry, row):
        n, total, squares = carry
        row = row - shift
        n, total, squares = n + jnp.float32(1), total + row, squares + row * row
        mean = total / n
        return (n, total, squares), {"mean": mean + shift, "variance": squares / n - mean * mean}

    zeros = jnp.zeros_like(shift)
    out = lax.scan(body, (jnp.float32(0), zeros, zeros), x)[1]
    return out["mean"], out["variance"]

# %% right="running_stats"
def running_stats(x):
    def body(carry, step):
        row, n = step
        mean, variance = carry
        delta = row - mean
        mean = mean + delta / n
        variance = variance + (delta * (row - mean) - variance) / n
        return (mean, variance), (mean, variance)

    start = jnp.zeros((2, x.shape[1]))
    return lax.scan(body, (start[0], start[1]), (x, jnp.arange(1.0, len(x) + 1)))[1]

# %% right="longest_run"
@jax.jit
def longest_run(heads):
    place = jnp.arange(1, len(heads) + 1)
    last_tail = lax.associative_scan(jnp.maximum, jnp.where(heads, 0, place))
    lengths = place - last_tail
    return lengths.max(initial=0), lengths

# %% right="longest_run"
def longest_run(heads):
    def body(i, state):
        current, longest, lengths = state
        current = (current + 1) * heads[i].astype(int)
        return current, jnp.maximum(current, longest), lengths.at[i].set(current)

    if len(heads) == 0:
        return jnp.int32(0), jnp.zeros(0, int)
    state = lax.fori_loop(0, len(heads), body, (0, 0, jnp.zeros(len(heads), int)))
    return state[1], state[2]

# %% right="calculate"
@jax.jit
def calculate(codes, numbers, x):
    def body(state, instruction):
        code, number = instruction
        display, memory = state
        scale = jnp.where(code == 1, number, 1)
        shift = jnp.where(code == 0, number, jnp.where(code == 3, memory, 0))
        new = scale * display + shift
        return (new, jnp.where(code == 2, display, memory)), new

    (display, _), history = lax.scan(body, (x, jnp.float32(0)), (codes, numbers))
    return display, history

# %% right="rnn"
@jax.jit
def rnn(params, x):
    driven = x @ params["input"]["w"] + params["hidden"]["b"]

    def body(h, into):
        h = jnp.tanh(into + jnp.einsum("i,ij->j", h, params["hidden"]["w"]))
        return h, h

    h, states = lax.scan(body, jnp.zeros(driven.shape[1], jnp.float32), driven)
    return h, states @ params["output"]["w"] + params["output"]["b"]

# %% right="train_epoch"
@partial(jax.jit, static_argnums=0)
def train_epoch(loss_fn, params, batches, learning_rate):
    leaves, form = jax.tree.flatten(params)
    x, y = batches

    def step(leaves, i):
        loss, pull = jax.vjp(lambda *leaves: loss_fn(form.unflatten(leaves), x[i], y[i]), *leaves)
        slopes = pull(jnp.ones_like(loss))
        return [p - jnp.float32(learning_rate) * g for p, g in zip(leaves, slopes)], loss

    leaves, losses = lax.scan(step, leaves, jnp.arange(len(x)))
    return form.unflatten(leaves), losses

# %% right="linear_recurrence"
@jax.jit
def linear_recurrence(a, b):
    shift = 1
    while shift < len(b):
        a_before = jnp.concatenate([jnp.ones_like(a[:shift]), a[:-shift]])
        b_before = jnp.concatenate([jnp.zeros_like(b[:shift]), b[:-shift]])
        a, b = a * a_before, a * b_before + b
        shift *= 2
    return b

# %% right="linear_recurrence"
@jax.jit
def linear_recurrence(a, b):
    one, zero = jnp.ones_like(a), jnp.zeros_like(a)
    steps = jnp.stack([jnp.stack([a, b], -1), jnp.stack([zero, one], -1)], -2)
    products = lax.associative_scan(lambda f, s: jnp.einsum("...ij,...jk->...ik", s, f), steps)
    return products[..., 0, 1]

# %% right="bounded_while"
def bounded_while(go_on, body, state, most):
    def turn(i, state):
        branch = jnp.where(go_on(state), 0, 1)
        return lax.switch(branch, [body, lambda state: state], state)

    return lax.fori_loop(0, most, turn, state)

# %% right="bounded_while"
def bounded_while(go_on, body, state, most):
    start = state

    def turn(state, _):
        going = go_on(state)
        safe = jax.tree.map(lambda now, first: jnp.where(going, now, first), state, start)
        new = body(safe)
        return jax.tree.map(lambda new, old: jnp.where(going, new, old), new, state), None

    return lax.scan(turn, state, length=most)[0]

# %% right="deep"
@jax.jit
def deep(params, x):
    @jax.checkpoint
    def inner(h, w, b):
        return jnp.tanh(jnp.dot(h, w) + b)

    def layer(h, p):
        return h + inner(h, *p), None

    return lax.scan(layer, x, (params["w"], params["b"]))[0]
