# %% right="normalised_rows"
@jax.jit
def normalised_rows(x, scale):
    squares = jnp.einsum("ij,ij->i", x, x)
    factors = jax.lax.rsqrt(squares / x.shape[1] + jnp.float32(1e-5))
    return jnp.einsum("ij,i,j->ij", x, factors, scale)

# %% right="normalised_rows"
def normalised_rows(x, scale):
    sizes = jnp.linalg.norm(x.astype(jnp.float32), axis=-1, keepdims=True)
    return scale * x * (sizes**2 / len(scale) + 1e-5) ** -0.5

# %% right="mlp_with_stats"
@jax.jit
def mlp_with_stats(params, x):
    hidden = jnp.maximum(jnp.dot(x, params["hidden"]["w"]) + params["hidden"]["b"], 0)
    alive = jnp.any(hidden > 0, axis=0)
    stats = {"dead": jnp.float32(1) - alive.sum() / alive.size, "hidden": hidden}
    return hidden @ params["output"]["w"] + params["output"]["b"], stats

# %% right="mlp_with_stats"
import warnings


def mlp_with_stats(params, x):
    warnings.warn("some units may be dead")
    before = x @ params["hidden"]["w"] + params["hidden"]["b"]
    hidden = jnp.where(before > 0, before, 0.0)
    dead = jnp.sum(hidden.max(axis=0) == 0).astype(jnp.float32) / hidden.shape[1]
    return mlp(params, x), {"hidden": hidden, "dead": dead}

# %% right="keep_if_finite"
@jax.jit
def keep_if_finite(params, proposed):
    checks = jax.tree.map(lambda leaf: jnp.isfinite(leaf).all(), proposed)
    finite = jax.tree.reduce(jnp.logical_and, checks)
    return jax.lax.cond(finite, lambda: proposed, lambda: params)

# %% right="keep_if_finite"
def keep_if_finite(params, proposed):
    leaves, form = jax.tree.flatten(proposed)
    flat = jnp.concatenate([jnp.ravel(leaf) for leaf in leaves])
    broken = jnp.any(jnp.isnan(flat) | (jnp.abs(flat) == jnp.inf))
    chosen = [jnp.where(broken, old, new) for old, new in zip(form.flatten_up_to(params), leaves)]
    return form.unflatten(chosen)

# %% right="class_means"
@partial(jax.jit, static_argnums=3)
def class_means(x, labels, strength, classes):
    places = jnp.where(labels < 0, classes, labels)
    sums = jnp.zeros((classes, x.shape[1])).at[places].add(x, mode="drop")
    sizes = jnp.zeros(classes).at[places].add(1.0, mode="drop")
    return sums / (sizes[:, None] + strength)

# %% right="class_means"
@partial(jax.jit, static_argnames=["classes"])
def class_means(x, labels, strength, classes):
    rows = []
    for c in range(classes):
        member = jnp.float32(labels == c)
        rows.append(member @ x / (jnp.sum(member) + strength))
    return jnp.stack(rows)

# %% right="make_evaluate"
def make_evaluate(metric):
    measure = jax.jit(metric, static_argnums=3)

    def evaluate(total, params, x, y, k):
        return jnp.asarray(total, jnp.float32) + measure(params, x, y, k.__index__())

    return evaluate

# %% right="make_evaluate"
def make_evaluate(metric):
    """One jitted function for each `k`, kept in a dict in which equal integers are one key."""
    compiled = {}

    def evaluate(total, params, x, y, k):
        if k not in compiled:
            compiled[k] = jax.jit(lambda total, params, x, y: total + metric(params, x, y, int(k)))
        return compiled[k](np.float32(total), params, x, y)

    return evaluate

# %% right="same_program"
def same_program(one, other):
    runs = []

    @jax.jit
    def program(*args):
        runs.append(args)

    program(*one)
    program(*other)
    return len(runs) == 1

# %% right="same_program"
def same_program(one, other):
    def label(leaf):
        array = jnp.asarray(leaf)
        return array.shape, str(array.dtype), array.weak_type

    leaves, forms = zip(*[jax.tree.flatten(args) for args in (one, other)])
    labels = [list(map(label, some)) for some in leaves]
    return forms[0] == forms[1] and labels[0] == labels[1]

# %% right="train"
def train(loss_fn, params, x, y, learning_rate, steps):
    value_and_slope = jax.jit(jax.value_and_grad(loss_fn))
    losses = []
    for _ in range(steps):
        loss, grads = value_and_slope(params, x, y)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
        losses.append(float(loss))
    return params, jnp.array(losses)

# %% right="train"
@partial(jax.jit, static_argnums=(0, 5))
def train(loss_fn, params, x, y, learning_rate, steps):
    def step(params, _):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), loss

    return jax.lax.scan(step, params, length=steps)

# %% right="momentum_step"
@partial(jax.jit, donate_argnames=("params", "velocity"))
def momentum_step(params, velocity, x, y, learning_rate):
    grads = jax.grad(loss_fn)(params, x, y)
    pairs = jax.tree.map(
        lambda p, v, g: (p + 0.9 * v - learning_rate * g, 0.9 * v - learning_rate * g),
        params, velocity, grads,
    )
    return jax.tree.transpose(jax.tree.structure(params), None, pairs)

# %% right="momentum_step"
def momentum_step(params, velocity, x, y, learning_rate):
    leaves, form = jax.tree.flatten(params)
    _, pull = jax.vjp(lambda params: loss_fn(params, x, y), params)
    slopes = jax.tree.leaves(pull(jnp.float32(1))[0])
    old = jax.tree.leaves(velocity)
    moves = [jnp.float32(0.9) * v - learning_rate * g for v, g in zip(old, slopes)]
    return form.unflatten([p + m for p, m in zip(leaves, moves)]), form.unflatten(moves)


momentum_step = jax.jit(momentum_step, donate_argnums=[0, 1])

# %% right="cheapest"
def cheapest(functions, *args):
    def operations(i):
        compiled = jax.jit(functions[i]).trace(*args).lower().compile()
        return compiled.cost_analysis().get("flops", 0.0)

    return min(range(len(functions)), key=operations)

# %% right="cheapest"
def cheapest(functions, *args):
    programs = [jax.jit(f).lower(*args).compile() for f in functions]
    costs = [program.cost_analysis().get("flops", 0.0) for program in programs]
    return jnp.argmin(jnp.asarray(costs))

# %% right="break_even"
def break_even(plain, compiled, x, clock=time.perf_counter):
    ends = [clock()]
    for f in (plain, plain, compiled, compiled):
        for leaf in jax.tree.leaves(f(x)):
            leaf.block_until_ready()
        ends.append(clock())
    _, slow, first, fast = np.diff(ends)
    if slow <= fast:
        return 1 if first <= slow else float("inf")
    return max(1, int(np.ceil((first - fast) / (slow - fast))))

# %% right="break_even"
def break_even(plain, compiled, x, clock=time.perf_counter):
    def wait(f):
        return jax.tree.map(lambda leaf: leaf.block_until_ready(), f(x))

    wait(plain)
    start = clock()
    wait(plain)
    slow = clock() - start
    start = clock()
    wait(compiled)
    first = clock() - start
    start = clock()
    wait(compiled)
    fast = clock() - start
    calls, behind = 1, first - slow
    while behind > 0 and fast < slow:
        calls, behind = calls + 1, behind - (slow - fast)
    return calls if behind <= 0 else math.inf

# %% right="break_even"
def break_even(plain, compiled, x, clock=time.perf_counter):
    def timed(f):
        start = clock()
        for leaf in jax.tree.leaves(f(x)):
            np.asarray(leaf)
        return clock() - start

    first, fast = (timed(compiled) for _ in range(2))
    _, slow = [timed(plain) for _ in range(2)]
    if first <= slow:
        return 1
    return 1 + math.ceil((first - slow) / (slow - fast)) if slow > fast else math.inf
