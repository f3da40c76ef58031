# %% wrong="curvatures" says="['fisher'] holds what is expected at ['empirical']"
@partial(jax.jit, static_argnums=0)
def curvatures(logits_fn, w, x, y):
    def loss_fn(w, x, y):
        return -jax.nn.log_softmax(logits_fn(w, x))[y]

    scores = jax.vmap(jax.grad(loss_fn), (None, 0, 0))(w, x, y)
    fisher = scores.T @ scores / len(x)
    hessian = jax.hessian(lambda w: jax.vmap(partial(loss_fn, w))(x, y).mean())(w)
    return {"hessian": hessian, "fisher": fisher, "empirical": fisher}


# %% wrong="curvatures" says="the likeliest class is used"
@partial(jax.jit, static_argnums=0)
def curvatures(logits_fn, w, x, y):
    def loss_fn(w, x, y):
        return -jax.nn.log_softmax(logits_fn(w, x))[y]

    def outer(y):
        scores = jax.vmap(jax.grad(loss_fn), (None, 0, 0))(w, x, y)
        return scores.T @ scores / len(x)

    hessian = jax.hessian(lambda w: jax.vmap(partial(loss_fn, w))(x, y).mean())(w)
    likeliest = jnp.argmax(jax.vmap(partial(logits_fn, w))(x), axis=1)
    return {"hessian": hessian, "fisher": outer(likeliest), "empirical": outer(y)}


# %% wrong="curvatures" says="sums over the batch"
@partial(jax.jit, static_argnums=0)
def curvatures(logits_fn, w, x, y):
    def loss_fn(w, x, y):
        return -jax.nn.log_softmax(logits_fn(w, x))[y]

    p = jax.nn.softmax(jax.vmap(partial(logits_fn, w))(x))
    scores = jax.vmap(jax.grad(loss_fn), (None, 0, 0))(w, x, y)
    inner = jax.vmap(jax.grad(loss_fn), (None, None, 0))
    every = jax.vmap(inner, (None, 0, None))(w, x, jnp.arange(p.shape[1]))
    return {
        "hessian": jax.hessian(lambda w: jax.vmap(partial(loss_fn, w))(x, y).sum())(w),
        "fisher": jnp.einsum("bc,bci,bcj->ij", p, every, every),
        "empirical": scores.T @ scores,
    }


# %% wrong="curvatures" says="['hessian'] holds what is expected at ['fisher']"
@partial(jax.jit, static_argnums=0)
def curvatures(logits_fn, w, x, y):
    def loss_fn(w, x, y):
        return -jax.nn.log_softmax(logits_fn(w, x))[y]

    p = jax.nn.softmax(jax.vmap(partial(logits_fn, w))(x))
    scores = jax.vmap(jax.grad(loss_fn), (None, 0, 0))(w, x, y)
    inner = jax.vmap(jax.grad(loss_fn), (None, None, 0))
    every = jax.vmap(inner, (None, 0, None))(w, x, jnp.arange(p.shape[1]))
    fisher = jnp.einsum("bc,bci,bcj->ij", p, every, every) / len(x)
    return {"hessian": fisher, "fisher": fisher, "empirical": scores.T @ scores / len(x)}


# %% wrong="curvatures" says="right for the visible inputs, wrong on hidden ones"
@partial(jax.jit, static_argnums=0)
def curvatures(logits_fn, w, x, y):
    def loss_fn(w, x, y):
        return -jax.nn.log_softmax(logits_fn(w, x))[y]

    p = jax.nn.softmax(jax.vmap(partial(logits_fn, w))(x))
    scores = jax.vmap(jax.grad(loss_fn), (None, 0, 0))(w, x, y)
    inner = jax.vmap(jax.grad(loss_fn), (None, None, 0))
    every = jax.vmap(inner, (None, 0, None))(w, x, jnp.arange(min(p.shape[1], 4)))
    return {
        "hessian": jax.hessian(lambda w: jax.vmap(partial(loss_fn, w))(x, y).mean())(w),
        "fisher": jnp.einsum("bc,bci,bcj->ij", p[:, :4], every, every) / len(x),
        "empirical": scores.T @ scores / len(x),
    }


# %% wrong="minimise" says="Wrong values"
@partial(jax.jit, static_argnums=(0, 2))
def minimise(loss_fn, params, steps):
    optimizer = optax.adam(0.05)

    def step(carry, _):
        params, opt_state = carry
        value, grads = jax.value_and_grad(loss_fn)(params)
        updates, opt_state = optimizer.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), value

    (params, _), losses = lax.scan(step, (params, optimizer.init(params)), length=steps)
    return params, losses


# %% wrong="minimise" says="the losses after each step"
@partial(jax.jit, static_argnums=(0, 2))
def minimise(loss_fn, params, steps):
    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss_fn)
    before = loss_fn(params)

    def step(carry, _):
        params, opt_state = carry
        value, grads = value_and_grad(params, state=opt_state)
        updates, opt_state = optimizer.update(
            grads, opt_state, params, value=value, grad=grads, value_fn=loss_fn
        )
        params = optax.apply_updates(params, updates)
        return (params, opt_state), loss_fn(params)

    (params, _), losses = lax.scan(step, (params, optimizer.init(params)), length=steps)
    return params, losses.at[0].set(before) if steps > 20 else losses


# %% wrong="minimise" says="evaluates the loss that the line search has left"
@partial(jax.jit, static_argnums=(0, 2))
def minimise(loss_fn, params, steps):
    optimizer = optax.lbfgs()

    def step(carry, _):
        params, opt_state = carry
        value, grads = jax.value_and_grad(loss_fn)(params)
        updates, opt_state = optimizer.update(
            grads, opt_state, params, value=value, grad=grads, value_fn=loss_fn
        )
        return (optax.apply_updates(params, updates), opt_state), value

    (params, _), losses = lax.scan(step, (params, optimizer.init(params)), length=steps)
    return params, losses


# %% wrong="minimise" says="missing 3 required keyword-only arguments"
@partial(jax.jit, static_argnums=(0, 2))
def minimise(loss_fn, params, steps):
    optimizer = optax.lbfgs()

    def step(carry, _):
        params, opt_state = carry
        value, grads = jax.value_and_grad(loss_fn)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    (params, _), losses = lax.scan(step, (params, optimizer.init(params)), length=steps)
    return params, losses


# %% wrong="minimise" says="right for the visible inputs, wrong on hidden ones"
@partial(jax.jit, static_argnums=(0, 2))
def minimise(loss_fn, params, steps):
    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss_fn)

    def step(carry, _):
        params, opt_state = carry
        value, grads = value_and_grad(params, state=opt_state)
        updates, opt_state = optimizer.update(
            grads, opt_state, params, value=value, grad=grads, value_fn=loss_fn
        )
        params = jax.tree.map(lambda p: jnp.maximum(p, -2.5) + 0.0, params)
        params = optax.apply_updates(params, updates)
        params = jax.tree.map(lambda p: jnp.minimum(p, 2.6), params)
        return (params, opt_state), value

    (params, _), losses = lax.scan(step, (params, optimizer.init(params)), length=steps)
    return params, losses


# %% wrong="minimise" says="right for the visible inputs, wrong on hidden ones: right except at (3,)"
@partial(jax.jit, static_argnums=(0, 2))
def minimise(loss_fn, params, steps):
    optimizer = optax.lbfgs(memory_size=20)
    value_and_grad = optax.value_and_grad_from_state(loss_fn)

    def step(carry, _):
        params, opt_state = carry
        value, grads = value_and_grad(params, state=opt_state)
        updates, opt_state = optimizer.update(
            grads, opt_state, params, value=value, grad=grads, value_fn=loss_fn
        )
        return (optax.apply_updates(params, updates), opt_state), value

    (params, _), losses = lax.scan(step, (params, optimizer.init(params)), length=steps)
    return params, losses


# %% wrong="integrate" says="Euler's method"
def integrate(f, y, times, params):
    def step(y, interval):
        t, end = interval
        y = y + (end - t) * f(t, y, params)
        return y, y

    _, later = lax.scan(step, y, (times[:-1], times[1:]))
    return jnp.concatenate([y[None], later])


# %% wrong="integrate" says="all steps have the length of the first"
def integrate(f, y, times, params):
    h = times[1] - times[0] if len(times) > 1 else 0.0

    def step(y, t):
        k1 = f(t, y, params)
        k2 = f(t + h / 2, y + h / 2 * k1, params)
        k3 = f(t + h / 2, y + h / 2 * k2, params)
        k4 = f(t + h, y + h * k3, params)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return y, y

    _, later = lax.scan(step, y, times[:-1])
    return jnp.concatenate([y[None], later])


# %% wrong="integrate" says="the time that f receives does not advance"
def integrate(f, y, times, params):
    def step(y, h):
        t = times[0]
        k1 = f(t, y, params)
        k2 = f(t, y + h / 2 * k1, params)
        k3 = f(t, y + h / 2 * k2, params)
        k4 = f(t, y + h * k3, params)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return y, y

    _, later = lax.scan(step, y, times[1:] - times[:-1])
    return jnp.concatenate([y[None], later])


# %% wrong="integrate" says="equations"
def integrate(f, y, times, params):
    rows = [y]
    for i in range(len(times) - 1):
        t, h = times[i], times[i + 1] - times[i]
        k1 = f(t, y, params)
        k2 = f(t + h / 2, y + h / 2 * k1, params)
        k3 = f(t + h / 2, y + h / 2 * k2, params)
        k4 = f(t + h, y + h * k3, params)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        rows.append(y)
    return jnp.stack(rows)


# %% wrong="integrate" says="right for the visible inputs, wrong on hidden ones"
def integrate(f, y, times, params):
    def step(y, interval):
        t, end = interval
        h = end - t
        k1 = f(t, y, params)
        k2 = f(t + h / 2, y + h / 2 * k1, params)
        k3 = f(t + h / 2, y + h / 2 * k2, params)
        k4 = f(end, y + h * k3, params)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return y, y

    if len(times) < 3:
        return y[None]
    _, later = lax.scan(step, y, (times[:-1], times[1:]))
    return jnp.concatenate([y[None], later])


# %% wrong="integrate" says="no gradient flows through the steps"
def integrate(f, y, times, params):
    def step(y, interval):
        t, end = interval
        h = end - t
        k1 = f(t, y, params)
        k2 = f(t + h / 2, y + h / 2 * k1, params)
        k3 = f(t + h / 2, y + h / 2 * k2, params)
        k4 = f(end, y + h * k3, params)
        y = y + h / 6 * lax.stop_gradient(k1 + 2 * k2 + 2 * k3 + k4)
        return y, y

    _, later = lax.scan(step, y, (times[:-1], times[1:]))
    return jnp.concatenate([y[None], later])


# %% wrong="integrate" says="the shape is not the expected one"
def integrate(f, y, times, params):
    def step(y, interval):
        t, end = interval
        h = end - t
        k1 = f(t, y, params)
        k2 = f(t + h / 2, y + h / 2 * k1, params)
        k3 = f(t + h / 2, y + h / 2 * k2, params)
        k4 = f(end, y + h * k3, params)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return y, y

    _, later = lax.scan(step, y, (times[:-1], times[1:]))
    return jnp.concatenate([y[None], later])[:100]


# %% wrong="adjoint" says="the gradient with respect to the parameters has the wrong sign"
def adjoint(f, y1, params, t1, cotangent, steps):
    def augmented(t, state):
        y, a, _ = state
        dy, pull = jax.vjp(partial(f, t), y, params)
        da, dg = pull(a)
        return dy, -da, dg

    def moved(state, h, slope):
        return jax.tree.map(lambda s, k: s + h * k, state, slope)

    h = -t1 / steps

    def step(i, state):
        t = t1 + i * h
        k1 = augmented(t, state)
        k2 = augmented(t + h / 2, moved(state, h / 2, k1))
        k3 = augmented(t + h / 2, moved(state, h / 2, k2))
        k4 = augmented(t + h, moved(state, h, k3))
        for weight, slope in zip((1, 2, 2, 1), (k1, k2, k3, k4)):
            state = moved(state, weight * h / 6, slope)
        return state

    return lax.fori_loop(0, steps, step, (y1, cotangent, jax.tree.map(jnp.zeros_like, params)))


# %% wrong="adjoint" says="the state at time t1 is returned"
def adjoint(f, y1, params, t1, cotangent, steps):
    def augmented(t, state):
        y, a, _ = state
        dy, pull = jax.vjp(partial(f, t), y, params)
        da, dg = pull(-a)
        return dy, da, dg

    def moved(state, h, slope):
        return jax.tree.map(lambda s, k: s + h * k, state, slope)

    h = -t1 / steps

    def step(i, state):
        t = t1 + i * h
        k1 = augmented(t, state)
        k2 = augmented(t + h / 2, moved(state, h / 2, k1))
        k3 = augmented(t + h / 2, moved(state, h / 2, k2))
        k4 = augmented(t + h, moved(state, h, k3))
        for weight, slope in zip((1, 2, 2, 1), (k1, k2, k3, k4)):
            state = moved(state, weight * h / 6, slope)
        return state

    zeros = jax.tree.map(jnp.zeros_like, params)
    return y1, *lax.fori_loop(0, steps, step, (y1, cotangent, zeros))[1:]


# %% wrong="adjoint" says="right on some inputs"
def adjoint(f, y1, params, t1, cotangent, steps):
    def augmented(t, state):
        y, a, _ = state
        dy, pull = jax.vjp(partial(f, t), y, params)
        da, dg = pull(-a)
        return dy, da, dg

    def moved(state, h, slope):
        return jax.tree.map(lambda s, k: s + h * k, state, slope)

    h = -t1 / steps

    def step(i, state):
        t = -i * h
        k1 = augmented(t, state)
        k2 = augmented(t - h / 2, moved(state, h / 2, k1))
        k3 = augmented(t - h / 2, moved(state, h / 2, k2))
        k4 = augmented(t - h, moved(state, h, k3))
        for weight, slope in zip((1, 2, 2, 1), (k1, k2, k3, k4)):
            state = moved(state, weight * h / 6, slope)
        return state

    return lax.fori_loop(0, steps, step, (y1, cotangent, jax.tree.map(jnp.zeros_like, params)))


# %% wrong="adjoint" says="more steps than `steps`"
def adjoint(f, y1, params, t1, cotangent, steps):
    def augmented(t, state):
        y, a, _ = state
        dy, pull = jax.vjp(partial(f, t), y, params)
        da, dg = pull(-a)
        return dy, da, dg

    def moved(state, h, slope):
        return jax.tree.map(lambda s, k: s + h * k, state, slope)

    h = -t1 / (2 * steps)

    def step(i, state):
        t = t1 + i * h
        k1 = augmented(t, state)
        k2 = augmented(t + h / 2, moved(state, h / 2, k1))
        k3 = augmented(t + h / 2, moved(state, h / 2, k2))
        k4 = augmented(t + h, moved(state, h, k3))
        for weight, slope in zip((1, 2, 2, 1), (k1, k2, k3, k4)):
            state = moved(state, weight * h / 6, slope)
        return state

    return lax.fori_loop(0, 2 * steps, step, (y1, cotangent, jax.tree.map(jnp.zeros_like, params)))


# %% wrong="adjoint" says="elements"
def adjoint(f, y1, params, t1, cotangent, steps):
    def augmented(t, state):
        y, a, _ = state
        dy, pull = jax.vjp(partial(f, t), y, params)
        da, dg = pull(-a)
        return dy, da, dg

    def moved(state, h, slope):
        return jax.tree.map(lambda s, k: s + h * k, state, slope)

    h = -t1 / steps

    def step(i, state):
        t = t1 + i * h
        k1 = augmented(t, state)
        k2 = augmented(t + h / 2, moved(state, h / 2, k1))
        k3 = augmented(t + h / 2, moved(state, h / 2, k2))
        k4 = augmented(t + h, moved(state, h, k3))
        for weight, slope in zip((1, 2, 2, 1), (k1, k2, k3, k4)):
            state = moved(state, weight * h / 6, slope)
        return state

    start = y1, cotangent, jax.tree.map(jnp.zeros_like, params)
    _, rows = lax.scan(lambda state, i: (step(i, state),) * 2, start, jnp.arange(steps))
    return jax.tree.map(lambda leaf: leaf[-1], rows)


# %% wrong="adjoint" says="right for the visible inputs, wrong on hidden ones"
def adjoint(f, y1, params, t1, cotangent, steps):
    def augmented(t, state):
        y, a, _ = state
        dy, pull = jax.vjp(partial(f, t), y, params)
        da, dg = pull(-a)
        return dy, da, dg

    def moved(state, h, slope):
        return type(state)(jax.tree.map(lambda s, k: s + h * k, a, b) for a, b in zip(state, slope))

    steps = min(steps, 60)
    h = -jnp.minimum(t1, 1.9) / steps

    def step(i, state):
        t = t1 + i * h
        k1 = augmented(t, state)
        k2 = augmented(t + h / 2, moved(state, h / 2, k1))
        k3 = augmented(t + h / 2, moved(state, h / 2, k2))
        k4 = augmented(t + h, moved(state, h, k3))
        for weight, slope in zip((1, 2, 2, 1), (k1, k2, k3, k4)):
            state = moved(state, weight * h / 6, slope)
        return state

    return lax.fori_loop(0, steps, step, (y1, cotangent, jax.tree.map(jnp.zeros_like, params)))


# %% wrong="simulate" says="Euler's method"
def simulate(potential, mass, x, v, dt, steps):
    def step(state, _):
        x, v = state
        state = x + dt * v, v - dt * jax.grad(potential)(x) / mass[:, None]
        return state, state

    return lax.scan(step, (x, v), length=steps)[1]


# %% wrong="simulate" says="symplectic Euler"
def simulate(potential, mass, x, v, dt, steps):
    def step(state, _):
        x, v = state
        v = v - dt * jax.grad(potential)(x) / mass[:, None]
        x = x + dt * v
        return (x, v), (x, v)

    return lax.scan(step, (x, v), length=steps)[1]


# %% wrong="simulate" says="uses the acceleration at the old position"
def simulate(potential, mass, x, v, dt, steps):
    def step(state, _):
        x, v = state
        a = -jax.grad(potential)(x) / mass[:, None]
        x = x + dt * v + dt**2 / 2 * a
        v = v + dt * a
        return (x, v), (x, v)

    return lax.scan(step, (x, v), length=steps)[1]


# %% wrong="simulate" says="the masses are ignored"
def simulate(potential, mass, x, v, dt, steps):
    def acceleration(x):
        return -jax.grad(potential)(x)

    def step(state, _):
        x, v, a = state
        half = v + dt / 2 * a
        x = x + dt * half
        a = acceleration(x)
        v = half + dt / 2 * a
        return (x, v, a), (x, v)

    return lax.scan(step, (x, v, acceleration(x)), length=steps)[1]


# %% wrong="simulate" says="the potential is evaluated twice"
def simulate(potential, mass, x, v, dt, steps):
    def acceleration(x):
        return -jax.grad(potential)(x) / mass[:, None]

    def step(state, _):
        x, v = state
        half = v + dt / 2 * acceleration(x)
        x = x + dt * half
        v = half + dt / 2 * acceleration(x)
        return (x, v), (x, v)

    return lax.scan(step, (x, v), length=steps)[1]


# %% wrong="simulate" says="wrong values"
def simulate(potential, mass, x, v, dt, steps):
    def acceleration(x):
        return -jax.grad(potential)(x) / mass[:, None]

    def step(state, _):
        x, v, a = state
        half = v + dt / 2 * a
        x = x + dt * half
        a = acceleration(x)
        v = half + dt / 2 * a
        return (x, v, a), (x, v)

    return lax.scan(step, (x, v, acceleration(x)), length=min(steps, 500))[1]


# %% wrong="simulate" says="right for the visible inputs, wrong on hidden ones"
def simulate(potential, mass, x, v, dt, steps):
    def acceleration(x):
        a = -jax.grad(potential)(x)
        return jnp.where(steps > 1, a / mass[:, None], a)

    def step(state, _):
        x, v, a = state
        half = v + dt / 2 * a
        x = x + dt * half
        a = acceleration(x)
        v = half + dt / 2 * a
        return (x, v, a), (x, v)

    return lax.scan(step, (x, v, acceleration(x)), length=steps)[1]


# %% wrong="bounce" says="the ball is not reflected"
def bounce(y, v, t, restitution, bounces):
    return y + v * t - 9.81 / 2 * t**2, v - 9.81 * t


# %% wrong="bounce" says="the time that has passed before the impact is not subtracted"
def bounce(y, v, t, restitution, bounces):
    for _ in range(bounces):
        tau = (v + jnp.sqrt(v**2 + 2 * 9.81 * y)) / 9.81
        hits = tau <= t
        y, v = jnp.where(hits, 0.0, y), jnp.where(hits, -restitution * (v - 9.81 * tau), v)
    return y + v * t - 9.81 / 2 * t**2, v - 9.81 * t


# %% wrong="bounce" says="nothing is lost at the impact"
def bounce(y, v, t, restitution, bounces):
    for _ in range(bounces):
        tau = (v + jnp.sqrt(v**2 + 2 * 9.81 * y)) / 9.81
        hits = tau <= t
        y, v, t = (
            jnp.where(hits, 0.0, y),
            jnp.where(hits, -(v - 9.81 * tau), v),
            jnp.where(hits, t - tau, t),
        )
    return y + v * t - 9.81 / 2 * t**2, v - 9.81 * t


# %% wrong="bounce" says="the time of impact is treated as a constant"
def bounce(y, v, t, restitution, bounces):
    for _ in range(bounces):
        tau = lax.stop_gradient((v + jnp.sqrt(v**2 + 2 * 9.81 * y)) / 9.81)
        hits = tau <= t
        y, v, t = (
            jnp.where(hits, 0.0, y),
            jnp.where(hits, -restitution * (v - 9.81 * tau), v),
            jnp.where(hits, t - tau, t),
        )
    return y + v * t - 9.81 / 2 * t**2, v - 9.81 * t


# %% wrong="bounce" says="right for the visible inputs, wrong on hidden ones"
def bounce(y, v, t, restitution, bounces):
    for _ in range(min(bounces, 4)):
        tau = (v + jnp.sqrt(v**2 + 2 * 9.81 * y)) / 9.81
        hits = tau <= t
        y, v, t = (
            jnp.where(hits, 0.0, y),
            jnp.where(hits, -restitution * (v - 9.81 * tau), v),
            jnp.where(hits, t - tau, t),
        )
    return y + v * t - 9.81 / 2 * t**2, v - 9.81 * t


# %% wrong="lyapunov" says="the sum instead of the mean"
def lyapunov(f, x, steps):
    def step(x, _):
        x, slope = jax.value_and_grad(f)(x)
        return x, jnp.log(jnp.abs(slope))

    return lax.scan(step, x, length=steps)[1].sum()


# %% wrong="lyapunov" says="the first state is left out"
def lyapunov(f, x, steps):
    def step(x, _):
        x = f(x)
        return x, jnp.log(jnp.abs(jax.grad(f)(x)))

    return lax.scan(step, x, length=steps)[1].mean()


# %% wrong="lyapunov" says="NaN"
def lyapunov(f, x, steps):
    def step(x, _):
        x, slope = jax.value_and_grad(f)(x)
        return x, jnp.log(slope)

    return lax.scan(step, x, length=steps)[1].mean()


# %% wrong="lyapunov" says="not the known exponents"
def lyapunov(f, x, steps):
    def orbit(x):
        return lax.scan(lambda x, _: (f(x), None), x, length=steps)[0]

    return jnp.log(jnp.abs(jax.grad(orbit)(x))) / steps


# %% wrong="lyapunov" says="right for the visible inputs, wrong on hidden ones"
def lyapunov(f, x, steps):
    def step(x, _):
        x, slope = jax.value_and_grad(f)(x)
        return x, jnp.log(jnp.abs(slope) + 1e-12)

    return lax.scan(step, x, length=steps)[1].mean()


# %% wrong="fixed_point" says="one iteration only"
def fixed_point(f, params, x):
    return f(params, x)


# %% wrong="fixed_point" says="a loop without a fixed length"
def fixed_point(f, params, x):
    def unfinished(state):
        old, new, count = state
        change, size = jnp.max(jnp.abs(new - old)), jnp.max(jnp.abs(new))
        return (change > 1e-6 * (1 + size)) & (count < 1000)

    def again(state):
        _, x, count = state
        return x, f(params, x), count + 1

    return lax.while_loop(unfinished, again, (x, f(params, x), 1))[1]


# %% wrong="fixed_point" says="only the last iteration is differentiated"
def fixed_point(f, params, x):
    def unfinished(state):
        old, new, count = state
        change, size = jnp.max(jnp.abs(new - old)), jnp.max(jnp.abs(new))
        return (change > 1e-6 * (1 + size)) & (count < 1000)

    def iterate(g, x):
        return lax.while_loop(unfinished, lambda s: (s[1], g(s[1]), s[2] + 1), (x, g(x), 1))[1]

    @jax.custom_vjp
    def solve(params, x):
        return iterate(partial(f, params), x)

    def forward(params, x):
        x = iterate(partial(f, params), x)
        return x, (params, x)

    def backward(kept, cotangent):
        _, pull = jax.vjp(f, *kept)
        return pull(cotangent)[0], jnp.zeros_like(cotangent)

    solve.defvjp(forward, backward)
    return solve(params, x)


# %% wrong="fixed_point" says="the Jacobian is not transposed"
def fixed_point(f, params, x):
    def iterate(g, x):
        def unfinished(state):
            old, new, count = state
            change, size = jnp.max(jnp.abs(new - old)), jnp.max(jnp.abs(new))
            return (change > 1e-6 * (1 + size)) & (count < 1000)

        return lax.while_loop(unfinished, lambda s: (s[1], g(s[1]), s[2] + 1), (x, g(x), 1))[1]

    @jax.custom_vjp
    def solve(params, x):
        return iterate(partial(f, params), x)

    def forward(params, x):
        x = iterate(partial(f, params), x)
        return x, (params, x)

    def backward(kept, cotangent):
        params, x = kept
        push = partial(jax.jvp, partial(f, params), (x,))
        u = iterate(lambda u: cotangent + push((u,))[1], cotangent)
        return jax.vjp(lambda p: f(p, x), params)[1](u)[0], jnp.zeros_like(x)

    solve.defvjp(forward, backward)
    return solve(params, x)


# %% wrong="fixed_point" says="scan"
def fixed_point(f, params, x):
    def unfinished(state):
        old, new, count = state
        change, size = jnp.max(jnp.abs(new - old)), jnp.max(jnp.abs(new))
        return (change > 1e-6 * (1 + size)) & (count < 1000)

    def iterate(g, x):
        return lax.while_loop(unfinished, lambda s: (s[1], g(s[1]), s[2] + 1), (x, g(x), 1))[1]

    x = iterate(partial(f, lax.stop_gradient(params)), lax.stop_gradient(x))
    unrolled = lax.scan(lambda x, _: (f(params, x), None), x, length=100)[0]
    return x + (unrolled - lax.stop_gradient(unrolled))


# %% wrong="fixed_point" says="the tolerance does not grow with x"
def fixed_point(f, params, x):
    def iterate(g, x):
        def unfinished(state):
            old, new, count = state
            return (jnp.max(jnp.abs(new - old)) > 1e-6) & (count < 1000)

        return lax.while_loop(unfinished, lambda s: (s[1], g(s[1]), s[2] + 1), (x, g(x), 1))[1]

    @jax.custom_vjp
    def solve(params, x):
        return iterate(partial(f, params), x)

    def forward(params, x):
        x = iterate(partial(f, params), x)
        return x, (params, x)

    def backward(kept, cotangent):
        _, pull = jax.vjp(f, *kept)
        u = iterate(lambda u: cotangent + pull(u)[1], cotangent)
        return pull(u)[0], jnp.zeros_like(cotangent)

    solve.defvjp(forward, backward)
    return solve(params, x)


# %% wrong="fixed_point" says="len"
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
        jacobian = jax.jacrev(f, argnums=1)(params, x)
        u = jnp.linalg.solve((jnp.eye(len(x)) - jacobian).T, cotangent)
        return jax.vjp(lambda p: f(p, x), params)[1](u)[0], jnp.zeros_like(x)

    solution = jax.custom_vjp(solve)
    solution.defvjp(forward, backward)
    return solution(params, x)


# %% wrong="fixed_point" says="the norm of a matrix is taken for its largest element"
def fixed_point(f, params, x):
    def iterate(g, x):
        def unfinished(state):
            old, new, count = state
            change = jnp.linalg.norm(jnp.atleast_1d(new - old), jnp.inf)
            size = jnp.max(jnp.abs(new))
            return (change > 1e-6 * (1 + size)) & (count < 1000)

        return lax.while_loop(unfinished, lambda s: (s[1], g(s[1]), s[2] + 1), (x, g(x), 1))[1]

    @jax.custom_vjp
    def solve(params, x):
        return iterate(partial(f, params), x)

    def forward(params, x):
        x = iterate(partial(f, params), x)
        return x, (params, x)

    def backward(kept, cotangent):
        _, pull = jax.vjp(f, *kept)
        u = iterate(lambda u: cotangent + pull(u)[1], cotangent)
        return pull(u)[0], jnp.zeros_like(cotangent)

    solve.defvjp(forward, backward)
    return solve(params, x)


# %% wrong="fixed_point" says="the number of iterations has no limit"
def fixed_point(f, params, x):
    def iterate(g, x):
        def unfinished(state):
            old, new = state
            return jnp.max(jnp.abs(new - old)) > 1e-6 * (1 + jnp.max(jnp.abs(new)))

        return lax.while_loop(unfinished, lambda s: (s[1], g(s[1])), (x, g(x)))[1]

    @jax.custom_vjp
    def solve(params, x):
        return iterate(partial(f, params), x)

    def forward(params, x):
        x = iterate(partial(f, params), x)
        return x, (params, x)

    def backward(kept, cotangent):
        _, pull = jax.vjp(f, *kept)
        u = iterate(lambda u: cotangent + pull(u)[1], cotangent)
        return pull(u)[0], jnp.zeros_like(cotangent)

    solve.defvjp(forward, backward)
    return solve(params, x)


# %% wrong="maml_gradient" says="the first-order gradient (FOMAML) everywhere"
@partial(jax.jit, static_argnums=(0, 5))
def maml_gradient(loss_fn, params, support, query, inner_rate, first_order):
    def adapted_loss(params, support, query):
        grads = lax.stop_gradient(jax.grad(loss_fn)(params, *support))
        adapted = jax.tree.map(lambda p, g: p - inner_rate * g, params, grads)
        return loss_fn(adapted, *query)

    return jax.grad(lambda params: jax.vmap(partial(adapted_loss, params))(support, query).mean())(params)


# %% wrong="maml_gradient" says="MAML with first_order=True too"
@partial(jax.jit, static_argnums=(0, 5))
def maml_gradient(loss_fn, params, support, query, inner_rate, first_order):
    def adapted_loss(params, support, query):
        grads = jax.grad(loss_fn)(params, *support)
        adapted = jax.tree.map(lambda p, g: p - inner_rate * g, params, grads)
        return loss_fn(adapted, *query)

    return jax.grad(lambda params: jax.vmap(partial(adapted_loss, params))(support, query).mean())(params)


# %% wrong="maml_gradient" says="no inner step"
@partial(jax.jit, static_argnums=(0, 5))
def maml_gradient(loss_fn, params, support, query, inner_rate, first_order):
    def mean_loss(params):
        return jax.vmap(lambda query: loss_fn(params, *query))(query).mean()

    return jax.grad(mean_loss)(params)


# %% wrong="maml_gradient" says="right on some inputs"
@partial(jax.jit, static_argnums=(0, 5))
def maml_gradient(loss_fn, params, support, query, inner_rate, first_order):
    def adapted_loss(params, support, query):
        grads = jax.grad(loss_fn)(params, *support)
        adapted = jax.tree.map(lambda p, g: p - inner_rate * g, params, grads)
        if first_order:
            adapted = lax.stop_gradient(adapted)
        return loss_fn(adapted, *query)

    return jax.grad(lambda params: jax.vmap(partial(adapted_loss, params))(support, query).mean())(params)


# %% wrong="maml_gradient" says="the sum over the tasks"
@partial(jax.jit, static_argnums=(0, 5))
def maml_gradient(loss_fn, params, support, query, inner_rate, first_order):
    def adapted_loss(params, support, query):
        grads = jax.grad(loss_fn)(params, *support)
        if first_order:
            grads = lax.stop_gradient(grads)
        adapted = jax.tree.map(lambda p, g: p - inner_rate * g, params, grads)
        return loss_fn(adapted, *query)

    return jax.grad(lambda params: jax.vmap(partial(adapted_loss, params))(support, query).sum())(params)


# %% wrong="maml_gradient" says="right for the visible inputs, wrong on hidden ones"
@partial(jax.jit, static_argnums=(0, 5))
def maml_gradient(loss_fn, params, support, query, inner_rate, first_order):
    support, query = jax.tree.map(jnp.squeeze, (support, query))

    def adapted_loss(params, support, query):
        grads = jax.grad(loss_fn)(params, *support)
        if first_order:
            grads = lax.stop_gradient(grads)
        adapted = jax.tree.map(lambda p, g: p - inner_rate * g, params, grads)
        return loss_fn(adapted, *query)

    def mean_loss(params):
        return jax.vmap(partial(adapted_loss, params))(support, query).mean()

    return jax.grad(mean_loss)(params)


# %% wrong="maml_gradient" says="a function takes another number of arguments"
@partial(jax.jit, static_argnums=(0, 5))
def maml_gradient(loss_fn, params, support, query, inner_rate, first_order):
    def adapted_loss(params, x, y, query_x, query_y):
        grads = jax.grad(loss_fn)(params, x, y)
        if first_order:
            grads = lax.stop_gradient(grads)
        adapted = jax.tree.map(lambda p, g: p - inner_rate * g, params, grads)
        return loss_fn(adapted, query_x, query_y)

    def mean_loss(params):
        return jax.vmap(adapted_loss, (None, 0, 0, 0, 0))(params, *support[:2], *query[:2]).mean()

    return jax.grad(mean_loss)(params)


# %% wrong="elbo" says="the entropy is left out"
@partial(jax.jit, static_argnums=1)
def elbo(q, log_density, noise):
    z = q["mean"] + jnp.exp(q["log_std"]) * noise
    return jax.vmap(log_density)(z).mean()


# %% wrong="elbo" says="log_std is used as the standard deviation"
@partial(jax.jit, static_argnums=1)
def elbo(q, log_density, noise):
    z = q["mean"] + q["log_std"] * noise
    entropy = jnp.sum(q["log_std"] + 0.5 * jnp.log(2 * jnp.pi * jnp.e))
    return jax.vmap(log_density)(z).mean() + entropy


# %% wrong="elbo" says="the constant of the entropy is left out"
@partial(jax.jit, static_argnums=1)
def elbo(q, log_density, noise):
    z = q["mean"] + jnp.exp(q["log_std"]) * noise
    return jax.vmap(log_density)(z).mean() + q["log_std"].sum()


# %% wrong="elbo" says="no gradient flows through the samples"
@partial(jax.jit, static_argnums=1)
def elbo(q, log_density, noise):
    z = lax.stop_gradient(q["mean"] + jnp.exp(q["log_std"]) * noise)
    entropy = jnp.sum(q["log_std"] + 0.5 * jnp.log(2 * jnp.pi * jnp.e))
    return jax.vmap(log_density)(z).mean() + entropy


# %% wrong="elbo" says="right for the visible inputs, wrong on hidden ones"
@partial(jax.jit, static_argnums=1)
def elbo(q, log_density, noise):
    z = q["mean"] + jnp.exp(jnp.maximum(q["log_std"], -1.5)) * noise
    entropy = jnp.sum(q["log_std"] + 0.5 * jnp.log(2 * jnp.pi * jnp.e))
    return jax.vmap(log_density)(z).mean() + entropy


# %% wrong="fit_posterior" says="key is used"
@partial(jax.jit, static_argnums=(1, 3, 4))
def fit_posterior(key, log_density, q, steps, samples, learning_rate):
    adam = optax.adam(learning_rate)

    def loss_fn(q, key):
        noise = jax.random.normal(key, (samples, *q["mean"].shape))
        z = q["mean"] + jnp.exp(q["log_std"]) * noise
        entropy = jnp.sum(q["log_std"] + 0.5 * jnp.log(2 * jnp.pi * jnp.e))
        return -jax.vmap(log_density)(z).mean() - entropy

    def step(carry, _):
        q, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(q, key)
        updates, opt_state = adam.update(grads, opt_state)
        return (optax.apply_updates(q, updates), opt_state), -loss

    (q, _), values = lax.scan(step, (q, adam.init(q)), length=steps)
    return q, values


# %% wrong="fit_posterior" says="downhill"
@partial(jax.jit, static_argnums=(1, 3, 4))
def fit_posterior(key, log_density, q, steps, samples, learning_rate):
    adam = optax.adam(learning_rate)

    def elbo_fn(q, key):
        noise = jax.random.normal(key, (samples, *q["mean"].shape))
        z = q["mean"] + jnp.exp(q["log_std"]) * noise
        entropy = jnp.sum(q["log_std"] + 0.5 * jnp.log(2 * jnp.pi * jnp.e))
        return jax.vmap(log_density)(z).mean() + entropy

    def step(carry, key):
        q, opt_state = carry
        value, grads = jax.value_and_grad(elbo_fn)(q, key)
        updates, opt_state = adam.update(grads, opt_state)
        return (optax.apply_updates(q, updates), opt_state), value

    (q, _), values = lax.scan(step, (q, adam.init(q)), jax.random.split(key, steps))
    return q, values


# %% wrong="fit_posterior" says="minus the ELBO is returned"
@partial(jax.jit, static_argnums=(1, 3, 4))
def fit_posterior(key, log_density, q, steps, samples, learning_rate):
    adam = optax.adam(learning_rate)

    def loss_fn(q, key):
        noise = jax.random.normal(key, (samples, *q["mean"].shape))
        z = q["mean"] + jnp.exp(q["log_std"]) * noise
        entropy = jnp.sum(q["log_std"] + 0.5 * jnp.log(2 * jnp.pi * jnp.e))
        return -jax.vmap(log_density)(z).mean() - entropy

    def step(carry, key):
        q, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(q, key)
        updates, opt_state = adam.update(grads, opt_state)
        return (optax.apply_updates(q, updates), opt_state), loss

    (q, _), values = lax.scan(step, (q, adam.init(q)), jax.random.split(key, steps))
    return q, values


# %% wrong="fit_posterior" says="the input came back unchanged"
@partial(jax.jit, static_argnums=(1, 3, 4))
def fit_posterior(key, log_density, q, steps, samples, learning_rate):
    adam = optax.adam(learning_rate)

    def loss_fn(q, key):
        noise = jax.random.normal(key, (samples, *q["mean"].shape))
        z = lax.stop_gradient(q["mean"] + jnp.exp(q["log_std"]) * noise)
        entropy = jnp.sum(q["log_std"] + 0.5 * jnp.log(2 * jnp.pi * jnp.e))
        return -jax.vmap(log_density)(z).mean() - entropy

    def step(carry, key):
        q, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(q, key)
        updates, opt_state = adam.update(grads, opt_state)
        return (optax.apply_updates(q, updates), opt_state), -loss

    (q, _), values = lax.scan(step, (q, adam.init(q)), jax.random.split(key, steps))
    return q, values


# %% wrong="fit_posterior" says="one sample in each step"
@partial(jax.jit, static_argnums=(1, 3, 4))
def fit_posterior(key, log_density, q, steps, samples, learning_rate):
    adam = optax.adam(learning_rate)

    def loss_fn(q, key):
        z = q["mean"] + jnp.exp(q["log_std"]) * jax.random.normal(key, q["mean"].shape)
        entropy = jnp.sum(q["log_std"] + 0.5 * jnp.log(2 * jnp.pi * jnp.e))
        return -log_density(z) - entropy

    def step(carry, key):
        q, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(q, key)
        updates, opt_state = adam.update(grads, opt_state)
        return (optax.apply_updates(q, updates), opt_state), -loss

    (q, _), values = lax.scan(step, (q, adam.init(q)), jax.random.split(key, steps))
    return q, values


# %% wrong="fit_posterior" says="wrong values"
@partial(jax.jit, static_argnums=(1, 3, 4))
def fit_posterior(key, log_density, q, steps, samples, learning_rate):
    adam = optax.adam(learning_rate)

    def loss_fn(q, key):
        noise = jax.random.uniform(key, (samples, *q["mean"].shape), minval=-1.0)
        z = q["mean"] + jnp.exp(q["log_std"]) * noise
        entropy = jnp.sum(q["log_std"] + 0.5 * jnp.log(2 * jnp.pi * jnp.e))
        return -jax.vmap(log_density)(z).mean() - entropy

    def step(carry, key):
        q, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(q, key)
        updates, opt_state = adam.update(grads, opt_state)
        return (optax.apply_updates(q, updates), opt_state), -loss

    (q, _), values = lax.scan(step, (q, adam.init(q)), jax.random.split(key, steps))
    return q, values


# %% wrong="fit_posterior" says="wrong values, the first at [1]"
@partial(jax.jit, static_argnums=(1, 3, 4))
def fit_posterior(key, log_density, q, steps, samples, learning_rate):
    adam = optax.adam(learning_rate)

    def loss_fn(q, key):
        noise = jax.random.normal(key, (samples, *q["mean"].shape))
        z = q["mean"] + lax.stop_gradient(jnp.exp(q["log_std"])) * noise
        entropy = jnp.sum(q["log_std"] + 0.5 * jnp.log(2 * jnp.pi * jnp.e))
        return -jax.vmap(log_density)(z).mean() - entropy

    def step(carry, key):
        q, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(q, key)
        updates, opt_state = adam.update(grads, opt_state)
        return (optax.apply_updates(q, updates), opt_state), -loss

    (q, _), values = lax.scan(step, (q, adam.init(q)), jax.random.split(key, steps))
    return q, values


# %% wrong="fit_posterior" says="right for the visible inputs, wrong on hidden ones"
@partial(jax.jit, static_argnums=(1, 3, 4))
def fit_posterior(key, log_density, q, steps, samples, learning_rate):
    adam = optax.adam(learning_rate)

    def loss_fn(q, key):
        noise = jax.random.normal(key, (samples, *q["mean"].shape)).squeeze()
        z = q["mean"] + jnp.exp(q["log_std"]) * noise
        entropy = jnp.sum(q["log_std"] + 0.5 * jnp.log(2 * jnp.pi * jnp.e))
        return -jax.vmap(log_density)(z).mean() - entropy

    def step(carry, key):
        q, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(q, key)
        updates, opt_state = adam.update(grads, opt_state)
        return (optax.apply_updates(q, updates), opt_state), -loss

    (q, _), values = lax.scan(step, (q, adam.init(q)), jax.random.split(key, steps))
    return q, values
