# %% right="curvatures"
def curvatures(logits_fn, w, x, y):
    n = len(x)

    def logits(w):
        return jax.vmap(logits_fn, (None, 0))(w, x)

    z, jacobian = logits(w), jax.jacrev(logits)(w)
    p = jax.nn.softmax(z)
    inner = p[:, :, None] * jnp.eye(p.shape[1]) - p[:, :, None] * p[:, None, :]
    scores = jnp.einsum("bc,bci->bi", jax.nn.one_hot(y, p.shape[1]) - p, jacobian)

    def mean_loss(w):
        return optax.softmax_cross_entropy_with_integer_labels(logits(w), y).mean()

    return {
        "empirical": jnp.einsum("bi,bj->ij", scores, scores) / n,
        "fisher": jnp.einsum("bci,bcd,bdj->ij", jacobian, inner, jacobian) / n,
        "hessian": jax.jacrev(jax.grad(mean_loss))(w),
    }


# %% right="minimise"
def minimise(loss_fn, params, steps):
    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss_fn)

    @jax.jit
    def step(params, opt_state):
        value, grads = value_and_grad(params, state=opt_state)
        updates, opt_state = optimizer.update(
            grads, opt_state, params, value=value, grad=grads, value_fn=loss_fn
        )
        return optax.apply_updates(params, updates), opt_state, value

    opt_state, losses = optimizer.init(params), []
    for _ in range(steps):
        params, opt_state, loss = step(params, opt_state)
        losses.append(loss)
    return params, jnp.stack(losses)


# %% right="integrate"
def integrate(f, y, times, params):
    steps = len(times) - 1

    def step(i, rows):
        t, h, y = times[i], times[i + 1] - times[i], rows[i]
        k1 = f(t, y, params)
        k2 = f(t + 0.5 * h, y + 0.5 * h * k1, params)
        k3 = f(t + 0.5 * h, y + 0.5 * h * k2, params)
        k4 = f(t + h, y + h * k3, params)
        return rows.at[i + 1].set(y + h * (k1 / 6 + k2 / 3 + k3 / 3 + k4 / 6))

    rows = jnp.zeros((steps + 1, *y.shape)).at[0].set(y)
    return lax.fori_loop(0, steps, step, rows)


# %% right="adjoint"
def adjoint(f, y1, params, t1, cotangent, steps):
    from jax.flatten_util import ravel_pytree

    n = len(y1)
    vector, unravel = ravel_pytree(params)

    def slope(t, state):
        y, a = state[:n], state[n : 2 * n]
        dy, pull = jax.vjp(lambda y, flat: f(t, y, unravel(flat)), y, vector)
        return jnp.concatenate([dy, *(-part for part in pull(a))])

    h = t1 / steps

    def step(state, i):
        t = t1 - i * h
        k1 = slope(t, state)
        k2 = slope(t - h / 2, state - h / 2 * k1)
        k3 = slope(t - h / 2, state - h / 2 * k2)
        k4 = slope(t - h, state - h * k3)
        return state - h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

    start = jnp.concatenate([y1, cotangent, jnp.zeros_like(vector)])
    state, _ = lax.scan(step, start, jnp.arange(steps))
    return state[:n], state[n : 2 * n], unravel(state[2 * n :])


# %% right="simulate"
def simulate(potential, mass, x, v, dt, steps):
    m = mass.reshape(-1, 1)
    force = jax.jit(lambda x: -jax.grad(potential)(x))

    def step(state, _):
        x, momentum, f = state
        x = x + dt * momentum / m + dt**2 / 2 * f / m
        new = force(x)
        momentum = momentum + dt * (f + new) / 2
        return (x, momentum, new), (x, momentum / m)

    return lax.scan(step, (x, m * v, force(x)), None, length=steps)[1]


# %% right="bounce"
def bounce(y, v, t, restitution, bounces):
    def impact(i, state):
        y, v, t = state
        speed = jnp.sqrt(v**2 + 2 * 9.81 * y)
        tau = (v + speed) / 9.81
        return lax.cond(
            tau <= t, lambda: (0.0 * y, restitution * speed, t - tau), lambda: (y, v, t)
        )

    state = tuple(jnp.asarray(number, jnp.result_type(float)) for number in (y, v, t))
    y, v, t = lax.fori_loop(0, bounces, impact, state)
    return y + t * (v - 9.81 * t / 2), v - 9.81 * t


# %% right="lyapunov"
def lyapunov(f, x, steps):
    def step(i, state):
        x, total = state
        new, slope = jax.jvp(f, (x,), (jnp.ones_like(x),))
        return new, total + jnp.log(jnp.abs(slope))

    return lax.fori_loop(0, steps, step, (x, jnp.zeros_like(x)))[1] / steps


# %% right="fixed_point"
def fixed_point(f, params, x):
    def solve(params, x):
        def unfinished(state):
            old, new, count = state
            return (jnp.abs(new - old).max() > 1e-6 * (1 + jnp.abs(new).max())) & (count < 1000)

        def again(state):
            return state[1], f(params, state[1]), state[2] + 1

        return lax.while_loop(unfinished, again, (x, f(params, x), 1))[1]

    def forward(params, x):
        x = solve(params, x)
        return x, (params, x)

    def backward(kept, cotangent):
        params, x = kept
        jacobian = jax.jacrev(f, argnums=1)(params, x).reshape(x.size, x.size)
        u = jnp.linalg.solve((jnp.eye(x.size) - jacobian).T, cotangent.ravel())
        return jax.vjp(lambda p: f(p, x), params)[1](u.reshape(x.shape))[0], None

    solution = jax.custom_vjp(solve)
    solution.defvjp(forward, backward)
    return solution(params, x)


# %% right="maml_gradient"
def maml_gradient(loss_fn, params, support, query, inner_rate, first_order):
    def one_task(support, query):
        grads = jax.grad(loss_fn)(params, *support)
        adapted = jax.tree.map(lambda p, g: p - inner_rate * g, params, grads)
        after = jax.grad(loss_fn)(adapted, *query)
        if first_order:
            return after
        slope = lambda params: jax.grad(loss_fn)(params, *support)
        bent = jax.jvp(slope, (params,), (after,))[1]
        return jax.tree.map(lambda a, b: a - inner_rate * b, after, bent)

    tasks = jax.vmap(one_task)(support, query)
    return jax.tree.map(lambda g: g.mean(axis=0), tasks)


# %% right="elbo"
def elbo(q, log_density, noise):
    def one(noise):
        z = q["mean"] + jnp.exp(q["log_std"]) * noise
        return log_density(z)

    d = q["mean"].size
    values = lax.map(one, noise)
    return jnp.sum(values) / len(noise) + q["log_std"].sum() + d / 2 * (1 + jnp.log(2 * jnp.pi))


# %% right="fit_posterior"
def fit_posterior(key, log_density, q, steps, samples, learning_rate):
    optimizer = optax.adam(learning_rate)

    def value_fn(q, noise):
        z = q["mean"] + jnp.exp(q["log_std"]) * noise
        entropy = q["log_std"].sum() + q["log_std"].size * 0.5 * (1 + jnp.log(2 * jnp.pi))
        return jax.vmap(log_density)(z).mean() + entropy

    def step(state, i):
        q, opt_state = state
        noise = jax.random.normal(jax.random.fold_in(key, i), (samples, q["mean"].size))
        value, grads = jax.value_and_grad(value_fn)(q, noise)
        downhill = jax.tree.map(jnp.negative, grads)
        updates, opt_state = optimizer.update(downhill, opt_state, q)
        return (optax.apply_updates(q, updates), opt_state), value

    (q, _), values = lax.scan(step, (q, optimizer.init(q)), jnp.arange(steps))
    return q, values
