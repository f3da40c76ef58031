# %% wrong="normalised_rows" says="That is LayerNorm"
def normalised_rows(x, scale):
    x = x - jnp.mean(x, axis=1, keepdims=True)
    return x / jnp.sqrt(jnp.mean(x**2, axis=1, keepdims=True) + 1e-5) * scale


# %% wrong="normalised_rows" says="the mean runs over the rows"
def normalised_rows(x, scale):
    return x / jnp.sqrt(jnp.mean(x**2, axis=0, keepdims=True) + 1e-5) * scale

# %% wrong="normalised_rows" says="the root of the sum of squares"
def normalised_rows(x, scale):
    return x / jnp.sqrt(jnp.sum(x**2, axis=1, keepdims=True) + 1e-5) * scale

# %% wrong="normalised_rows" says="a NumPy function was given a traced array"
def normalised_rows(x, scale):
    return x / np.sqrt(jnp.mean(x**2, axis=1, keepdims=True) + 1e-5) * scale

# %% wrong="normalised_rows" says="3 is the number of columns in this one jaxpr"
def normalised_rows(x, scale):
    return x / jnp.sqrt(jnp.sum(x**2, axis=1, keepdims=True) / 3.0 + 1e-5) * scale

# %% wrong="normalised_rows" says="the small number is left out"
def normalised_rows(x, scale):
    return x / jnp.sqrt(jnp.mean(x**2, axis=1, keepdims=True)) * scale

# %% wrong="normalised_rows" says="added outside the square root"
def normalised_rows(x, scale):
    return x / (jnp.sqrt(jnp.mean(x**2, axis=1, keepdims=True)) + 1e-5) * scale

# %% wrong="normalised_rows" says="three times too large, and divided by the columns"
def normalised_rows(x, scale):
    squares = jnp.sum(x**2, axis=1, keepdims=True)
    return x * x.shape[1] ** 0.5 / jnp.sqrt(squares + 3e-5) * scale

# %% wrong="mlp_with_stats" says="keeps a tracer"
dead_units = {}


def mlp_with_stats(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
    dead_units["now"] = jnp.mean(jnp.all(hidden == 0, axis=0))
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    return output, {"hidden": hidden, "dead": dead_units["now"]}

# %% wrong="mlp_with_stats" says="needs a concrete value while it is traced"
def mlp_with_stats(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    return output, {"hidden": hidden, "dead": float(jnp.mean(jnp.all(hidden == 0, axis=0)))}

# %% wrong="mlp_with_stats" says="the fraction of zeros among all activations"
def mlp_with_stats(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    return output, {"hidden": hidden, "dead": jnp.mean(hidden == 0)}

# %% wrong="mlp_with_stats" says="the fraction of examples for which all units are zero"
def mlp_with_stats(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    return output, {"hidden": hidden, "dead": jnp.mean(jnp.all(hidden == 0, axis=1))}

# %% wrong="mlp_with_stats" says="the number of dead units, not the fraction"
def mlp_with_stats(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    return output, {"hidden": hidden, "dead": jnp.sum(jnp.all(hidden == 0, axis=0), dtype=x.dtype)}

# %% wrong="mlp_with_stats" says="the hidden layer before its ReLU"
def mlp_with_stats(params, x):
    hidden = x @ params["hidden"]["w"] + params["hidden"]["b"]
    output = jax.nn.relu(hidden) @ params["output"]["w"] + params["output"]["b"]
    return output, {"hidden": hidden, "dead": jnp.mean(jnp.all(hidden <= 0, axis=0))}

# %% wrong="mlp_with_stats" says="a faint unit counts as dead"
def mlp_with_stats(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    return output, {"hidden": hidden, "dead": jnp.mean(hidden.max(axis=0) < 1e-6)}

# %% wrong="mlp_with_stats" says="divided by the number of examples"
def mlp_with_stats(params, x):
    hidden = jax.nn.relu(x @ params["hidden"]["w"] + params["hidden"]["b"])
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    return output, {"hidden": hidden, "dead": jnp.all(hidden == 0, axis=0).sum() / len(hidden)}

# %% wrong="keep_if_finite" says="a Python `if` or `while` looks at a traced value"
def keep_if_finite(params, proposed):
    for leaf in jax.tree.leaves(proposed):
        if not jnp.isfinite(leaf).all():
            return params
    return proposed

# %% wrong="keep_if_finite" says="a NumPy function was given a traced array"
def keep_if_finite(params, proposed):
    finite = np.all([np.isfinite(leaf).all() for leaf in jax.tree.leaves(proposed)])
    return jax.tree.map(lambda old, new: jnp.where(finite, new, old), params, proposed)

# %% wrong="keep_if_finite" says="the choice is made separately for each element"
def keep_if_finite(params, proposed):
    return jax.tree.map(lambda old, new: jnp.where(jnp.isfinite(new), new, old), params, proposed)

# %% wrong="keep_if_finite" says="the choice is made separately for each leaf"
def keep_if_finite(params, proposed):
    def choose(old, new):
        return jnp.where(jnp.isfinite(new).all(), new, old)

    return jax.tree.map(choose, params, proposed)

# %% wrong="keep_if_finite" says="NaN instead of a number"
def keep_if_finite(params, proposed):
    finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(proposed)]).all()
    return jax.tree.map(lambda old, new: finite * new + (1 - finite) * old, params, proposed)

# %% wrong="keep_if_finite" says="NaN is replaced by zeros"
def keep_if_finite(params, proposed):
    return jax.tree.map(jnp.nan_to_num, proposed)

# %% wrong="keep_if_finite" says="an infinity is not detected"
def keep_if_finite(params, proposed):
    broken = jnp.stack([jnp.isnan(leaf).any() for leaf in jax.tree.leaves(proposed)]).any()
    return jax.tree.map(lambda old, new: jnp.where(broken, old, new), params, proposed)

# %% wrong="keep_if_finite" says="minus infinity is not detected"
def keep_if_finite(params, proposed):
    finite = jnp.stack([jnp.all(leaf < jnp.inf) for leaf in jax.tree.leaves(proposed)]).all()
    return jax.tree.map(lambda old, new: jnp.where(finite, new, old), params, proposed)

# %% wrong="keep_if_finite" says="numbers that are large, and finite, are taken for infinite"
def keep_if_finite(params, proposed):
    finite = jnp.isfinite(sum(jnp.sum(leaf) for leaf in jax.tree.leaves(proposed)))
    return jax.tree.map(lambda old, new: jnp.where(finite, new, old), params, proposed)

# %% wrong="keep_if_finite" says="only the first leaf is tested"
def keep_if_finite(params, proposed):
    finite = jnp.isfinite(jax.tree.leaves(proposed)[0]).all()
    return jax.tree.map(lambda old, new: jnp.where(finite, new, old), params, proposed)

# %% wrong="keep_if_finite" says="`params` is tested, not `proposed`"
def keep_if_finite(params, proposed):
    finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()
    return jax.tree.map(lambda old, new: jnp.where(finite, new, old), params, proposed)

# %% wrong="keep_if_finite" says="a NaN in `params` is kept"
def keep_if_finite(params, proposed):
    steps = jax.tree.leaves(jax.tree.map(jnp.subtract, proposed, params))
    finite = jnp.stack([jnp.isfinite(step).all() for step in steps]).all()
    return jax.tree.map(lambda old, new: jnp.where(finite, new, old), params, proposed)

# %% wrong="class_means" says="needs a concrete value while it is traced"
@jax.jit
def class_means(x, labels, strength, classes):
    member = (labels == jnp.arange(classes)[:, None]).astype(x.dtype)
    return member @ x / (member.sum(axis=1, keepdims=True) + strength)

# %% wrong="class_means" says="an array or a list"
@partial(jax.jit, static_argnames=("labels", "classes"))
def class_means(x, labels, strength, classes):
    sums = jnp.stack([x[labels == c].sum(axis=0) for c in range(classes)])
    sizes = jnp.stack([jnp.sum(labels == c) for c in range(classes)])
    return sums / (sizes[:, None] + strength)

# %% wrong="class_means" says="what changed was a number, 0.5 and then 2"
@partial(jax.jit, static_argnames=("strength", "classes"))
def class_means(x, labels, strength, classes):
    member = (labels == jnp.arange(classes)[:, None]).astype(x.dtype)
    return member @ x / (member.sum(axis=1, keepdims=True) + strength)

# %% wrong="class_means" says="or not compiled at all"
def class_means(x, labels, strength, classes):
    rows = [jnp.sum(jnp.where((labels == c)[:, None], x, 0), axis=0) for c in range(classes)]
    sizes = jnp.bincount(labels + 1, length=classes + 1)[1:]
    return jnp.stack(rows) / (sizes[:, None] + strength)

# %% wrong="class_means" says="the strength is left out"
@partial(jax.jit, static_argnames="classes")
def class_means(x, labels, strength, classes):
    member = (labels == jnp.arange(classes)[:, None]).astype(x.dtype)
    return member @ x / jnp.maximum(member.sum(axis=1, keepdims=True), 1)

# %% wrong="class_means" says="the strength is applied after the division"
@partial(jax.jit, static_argnames="classes")
def class_means(x, labels, strength, classes):
    member = (labels == jnp.arange(classes)[:, None]).astype(x.dtype)
    means = member @ x / jnp.maximum(member.sum(axis=1, keepdims=True), 1)
    return means / (1 + strength)

# %% wrong="class_means" says="a negative label counts from the end"
@partial(jax.jit, static_argnames="classes")
def class_means(x, labels, strength, classes):
    sums = jnp.zeros((classes, x.shape[1])).at[labels].add(x)
    sizes = jnp.zeros(classes).at[labels].add(1.0)
    return sums / (sizes[:, None] + strength)

# %% wrong="class_means" says="joins the last class"
@partial(jax.jit, static_argnames="classes")
def class_means(x, labels, strength, classes):
    labels = jnp.minimum(labels, classes - 1)
    member = (labels == jnp.arange(classes)[:, None]).astype(x.dtype)
    return member @ x / (member.sum(axis=1, keepdims=True) + strength)

# %% wrong="class_means" says="other negative labels count from the end"
@partial(jax.jit, static_argnames="classes")
def class_means(x, labels, strength, classes):
    labels = jnp.where(labels == -1, classes, labels)
    sums = jnp.zeros((classes, x.shape[1])).at[labels].add(x)
    sizes = jnp.zeros(classes).at[labels].add(1.0)
    return sums / (sizes[:, None] + strength)

# %% wrong="make_evaluate" says="the metric of the last batch alone"
def make_evaluate(metric):
    @partial(jax.jit, static_argnames="k")
    def measure(params, x, y, k):
        return jnp.float32(metric(params, x, y, k))

    return lambda total, params, x, y, k: measure(params, x, y, int(k))

# %% wrong="make_evaluate" says="`jax.jit` is applied in every call, or never"
def make_evaluate(metric):
    def evaluate(total, params, x, y, k):
        add = jax.jit(lambda total, *data: total + metric(*data), static_argnums=4)
        return add(jnp.float32(total), params, x, y, int(k))

    return evaluate

# %% wrong="make_evaluate" says="a Python number is weakly typed"
def make_evaluate(metric):
    @partial(jax.jit, static_argnames="k")
    def add(total, params, x, y, k):
        return total + metric(params, x, y, k)

    def evaluate(total, params, x, y, k):
        return add(total + 0.0, params, x, y, int(k))

    return evaluate

# %% wrong="make_evaluate" says="each value of `total` is traced again"
def make_evaluate(metric):
    @partial(jax.jit, static_argnames=("total", "k"))
    def add(total, params, x, y, k):
        return jnp.float32(total) + metric(params, x, y, k)

    def evaluate(total, params, x, y, k):
        return add(float(total), params, x, y, int(k))

    return evaluate

# %% wrong="make_evaluate" says="a NumPy and a Python integer are different static values"
def make_evaluate(metric):
    @partial(jax.jit, static_argnames="k")
    def add(total, params, x, y, k):
        return total + metric(params, x, y, k)

    def evaluate(total, params, x, y, k):
        return add(jnp.float32(total), params, x, y, k)

    return evaluate

# %% wrong="make_evaluate" says="an argument passed by keyword gives another cache key"
def make_evaluate(metric):
    @partial(jax.jit, static_argnames="k")
    def add(total, params, x, y, k):
        return total + metric(params, x, y, k)

    def evaluate(total, *args, **kwargs):
        args = [int(a) if isinstance(a, np.integer) else a for a in args]
        return add(jnp.float32(total), *args, **kwargs)

    return evaluate

# %% wrong="make_evaluate" says="looks at a traced value"
def make_evaluate(metric):
    @jax.jit
    def add(total, params, x, y, k):
        return total + metric(params, x, y, k)

    return lambda total, params, x, y, k: add(jnp.float32(total), params, x, y, int(k))

# %% wrong="make_evaluate" says="the parameters of the first call are used in every call"
def make_evaluate(metric):
    compiled = {}

    def evaluate(total, params, x, y, k):
        k = int(k)
        if k not in compiled:
            compiled[k] = jax.jit(lambda total, x, y: total + metric(params, x, y, k))
        return compiled[k](jnp.float32(total), x, y)

    return evaluate

# %% wrong="make_evaluate" says="integers instead of floats"
def make_evaluate(metric):
    compiled = jax.jit(metric, static_argnums=3)
    return lambda total, params, x, y, k: total + compiled(params, x, y, int(k))

# %% wrong="make_evaluate" says="a `k` that comes back is traced again"
def make_evaluate(metric):
    compiled, last = None, None

    def evaluate(total, params, x, y, k):
        nonlocal compiled, last
        k = int(k)
        if k != last:
            compiled = jax.jit(lambda total, *data: total + metric(*data, k))
            last = k
        return compiled(jnp.float32(total), params, x, y)

    return evaluate

# %% wrong="make_evaluate" says="the first `k` is used in every call"
def make_evaluate(metric):
    compiled = []

    def evaluate(total, params, x, y, k):
        if not compiled:
            compiled.append(jax.jit(lambda total, *data: total + metric(*data, int(k))))
        return compiled[0](jnp.float32(total), params, x, y)

    return evaluate

# %% wrong="make_evaluate" says="wrong on hidden ones"
def make_evaluate(metric):
    programs = {}

    def evaluate(total, params, x, y, k):
        total, k = jnp.float32(total), int(k)
        if k not in programs:
            add = jax.jit(lambda total, *data: total + metric(*data, k))
            programs[k] = add.lower(total, params, x, y).compile()
        return programs[k](total, params, x, y)

    return evaluate

# %% wrong="same_program" says="the values are compared"
def same_program(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other))
    return all(jnp.array_equal(a, b) for a, b in pairs)

# %% wrong="same_program" says="the dtypes are not compared"
def same_program(one, other):
    return jax.tree.map(jnp.shape, one) == jax.tree.map(jnp.shape, other)

# %% wrong="same_program" says="a weak type is taken for a strong one"
def same_program(one, other):
    def label(leaf):
        array = jnp.asarray(leaf)
        return array.shape, array.dtype

    if jax.tree.structure(one) != jax.tree.structure(other):
        return False
    return jax.tree.map(label, one) == jax.tree.map(label, other)

# %% wrong="same_program" says="the tree around the leaves is not compared"
def same_program(one, other):
    types = [[jax.typeof(leaf) for leaf in jax.tree.leaves(args)] for args in (one, other)]
    return types[0] == types[1]

# %% wrong="same_program" says="for which a namedtuple equals a tuple"
def same_program(one, other):
    return jax.tree.map(jax.typeof, one) == jax.tree.map(jax.typeof, other)

# %% wrong="same_program" says="has no attribute"
def same_program(one, other):
    def label(leaf):
        return leaf.shape, leaf.dtype, leaf.weak_type

    return [label(leaf) for leaf in one] == [label(leaf) for leaf in other]

# %% wrong="same_program" says="an array can be weakly typed too"
def same_program(one, other):
    def label(leaf):
        weak = isinstance(leaf, (int, float))
        return jnp.shape(leaf), jnp.result_type(leaf), weak

    labels = [[label(leaf) for leaf in jax.tree.leaves(args)] for args in (one, other)]
    return jax.tree.structure(one) == jax.tree.structure(other) and labels[0] == labels[1]

# %% wrong="same_program" says="so they cause no retrace"
def same_program(one, other):
    def label(leaf):
        return np.shape(leaf), np.result_type(leaf), getattr(leaf, "weak_type", True)

    labels = [[label(leaf) for leaf in jax.tree.leaves(args)] for args in (one, other)]
    return jax.tree.structure(one) == jax.tree.structure(other) and labels[0] == labels[1]

# %% wrong="same_program" says="the order of the keys in a dict is compared"
def same_program(one, other):
    if type(one) is dict and type(other) is dict:
        return list(one) == list(other) and same_program(list(one.values()), list(other.values()))
    if type(one) in (tuple, list) and type(one) is type(other):
        return len(one) == len(other) and all(map(same_program, one, other))
    trees = any(type(tree) in (tuple, list, dict, type(None)) for tree in (one, other))
    return one is other if trees else jax.typeof(one) == jax.typeof(other)

# %% wrong="train" says="the Python body of the loss runs at every step"
def train(loss_fn, params, x, y, learning_rate, steps):
    losses = []
    for _ in range(steps):
        loss, grads = jax.jit(lambda params: jax.value_and_grad(loss_fn)(params, x, y))(params)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
        losses.append(loss)
    return params, jnp.stack(losses)

# %% wrong="train" says="the loss is traced twice"
def train(loss_fn, params, x, y, learning_rate, steps):
    @jax.jit
    def step(params, x, y):
        grads = jax.grad(loss_fn)(params, x, y)
        loss = loss_fn(params, x, y)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), loss

    losses = []
    for _ in range(steps):
        params, loss = step(params, x, y)
        losses.append(loss)
    return params, jnp.stack(losses)

# %% wrong="train" says="the loss after each step"
def train(loss_fn, params, x, y, learning_rate, steps):
    value, slope = jax.jit(loss_fn), jax.jit(jax.grad(loss_fn))
    losses = []
    for _ in range(steps):
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, slope(params, x, y))
        losses.append(value(params, x, y))
    return params, jnp.stack(losses)

# %% wrong="train" says="uphill"
def train(loss_fn, params, x, y, learning_rate, steps):
    @jax.jit
    def step(params):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        return jax.tree.map(lambda p, g: p + learning_rate * g, params, grads), loss

    losses = []
    for _ in range(steps):
        params, loss = step(params)
        losses.append(loss)
    return params, jnp.stack(losses)

# %% wrong="train" says="a traced value is used as a Python integer"
@partial(jax.jit, static_argnums=0)
def train(loss_fn, params, x, y, learning_rate, steps):
    losses = []
    for _ in range(steps):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
        losses.append(loss)
    return params, jnp.stack(losses)

# %% wrong="train" says="raised"
def train(loss_fn, params, x, y, learning_rate, steps):
    step = jax.jit(jax.value_and_grad(loss_fn))
    losses = []
    for _ in range(steps):
        loss, grads = step(params, x, y)
        params = {name: params[name] - learning_rate * grads[name] for name in params}
        losses.append(loss)
    return params, jnp.stack(losses)

# %% wrong="train" says="the learning rate of the first call is kept"
steps_of = {}


def train(loss_fn, params, x, y, learning_rate, steps):
    def step(params, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), loss

    compiled, losses = steps_of.setdefault(loss_fn, jax.jit(step)), []
    for _ in range(steps):
        params, loss = compiled(params, x, y)
        losses.append(loss)
    return params, jnp.stack(losses)

# %% wrong="train" says="it stops where the loss rises"
def train(loss_fn, params, x, y, learning_rate, steps):
    step = jax.jit(jax.value_and_grad(loss_fn))
    losses, least = [], jnp.inf
    for _ in range(steps):
        loss, grads = step(params, x, y)
        if loss > least:
            break
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
        losses, least = [*losses, loss], loss
    return params, jnp.stack(losses)

# %% wrong="momentum_step" says="argument 'velocity' is not donated"
@partial(jax.jit, donate_argnums=0)
def momentum_step(params, velocity, x, y, learning_rate):
    grads = jax.grad(loss_fn)(params, x, y)
    velocity = jax.tree.map(lambda v, g: 0.9 * v - learning_rate * g, velocity, grads)
    return jax.tree.map(jnp.add, params, velocity), velocity

# %% wrong="momentum_step" says="argument 'x' is donated"
@partial(jax.jit, donate_argnums=(0, 1, 2, 3))
def momentum_step(params, velocity, x, y, learning_rate):
    grads = jax.grad(loss_fn)(params, x, y)
    velocity = jax.tree.map(lambda v, g: 0.9 * v - learning_rate * g, velocity, grads)
    return jax.tree.map(jnp.add, params, velocity), velocity

# %% wrong="momentum_step" says="it is not compiled"
def momentum_step(params, velocity, x, y, learning_rate):
    grads = jax.grad(loss_fn)(params, x, y)
    velocity = jax.tree.map(lambda v, g: 0.9 * v - learning_rate * g, velocity, grads)
    return jax.tree.map(jnp.add, params, velocity), velocity

# %% wrong="momentum_step" says="the parameters move by the old velocity"
@partial(jax.jit, donate_argnums=(0, 1))
def momentum_step(params, velocity, x, y, learning_rate):
    grads = jax.grad(loss_fn)(params, x, y)
    params = jax.tree.map(jnp.add, params, velocity)
    return params, jax.tree.map(lambda v, g: 0.9 * v - learning_rate * g, velocity, grads)

# %% wrong="momentum_step" says="an array is used after it was donated"
@partial(jax.jit, donate_argnums=(0, 1))
def new_velocity(params, velocity, x, y, learning_rate):
    grads = jax.grad(loss_fn)(params, x, y)
    return jax.tree.map(lambda v, g: 0.9 * v - learning_rate * g, velocity, grads)


def momentum_step(params, velocity, x, y, learning_rate):
    velocity = new_velocity(params, velocity, x, y, learning_rate)
    return jax.tree.map(jnp.add, params, velocity), velocity

# %% wrong="momentum_step" says="that is passed makes no difference"
@partial(jax.jit, donate_argnums=(0, 1))
def momentum_step(params, velocity, x, y, rate, learning_rate=0.1):
    grads = jax.grad(loss_fn)(params, x, y)
    velocity = jax.tree.map(lambda v, g: 0.9 * v - learning_rate * g, velocity, grads)
    return jax.tree.map(jnp.add, params, velocity), velocity

# %% wrong="momentum_step" says="what changed was a number, 0.1 and then 0.02"
@partial(jax.jit, static_argnums=4, donate_argnums=(0, 1))
def momentum_step(params, velocity, x, y, learning_rate):
    grads = jax.grad(loss_fn)(params, x, y)
    velocity = jax.tree.map(lambda v, g: 0.9 * v - learning_rate * g, velocity, grads)
    return jax.tree.map(jnp.add, params, velocity), velocity

# %% wrong="momentum_step" says="uphill"
@partial(jax.jit, donate_argnums=(0, 1))
def momentum_step(params, velocity, x, y, learning_rate):
    grads = jax.grad(loss_fn)(params, x, y)
    velocity = jax.tree.map(lambda v, g: 0.9 * v + learning_rate * g, velocity, grads)
    return jax.tree.map(jnp.add, params, velocity), velocity

# %% wrong="momentum_step" says="the velocity is that of `torch.optim.SGD`"
@partial(jax.jit, donate_argnums=(0, 1))
def momentum_step(params, velocity, x, y, learning_rate):
    grads = jax.grad(loss_fn)(params, x, y)
    velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, grads)
    return jax.tree.map(lambda p, v: p - learning_rate * v, params, velocity), velocity

# %% wrong="cheapest" says="the most expensive instead of the cheapest"
def cheapest(functions, *args):
    costs = [jax.jit(f).lower(*args).compile().cost_analysis()["flops"] for f in functions]
    return costs.index(sorted(costs)[-1])

# %% wrong="cheapest" says="the bytes are counted"
def cheapest(functions, *args):
    costs = [jax.jit(f).lower(*args).compile().cost_analysis()["bytes accessed"] for f in functions]
    return costs.index(min(costs))

# %% wrong="cheapest" says="the equations are counted"
def cheapest(functions, *args):
    sizes = [len(jax.make_jaxpr(f)(*args).eqns) for f in functions]
    return sizes.index(min(sizes))

# %% wrong="cheapest" says="the functions were run, not only compiled"
def cheapest(functions, *args):
    times = []
    for f in functions:
        f = jax.jit(f)
        jax.block_until_ready(f(*args))
        start = time.perf_counter()
        jax.block_until_ready(f(*args))
        times.append(time.perf_counter() - start)
    return times.index(min(times))

# %% wrong="cheapest" says="the last of those that tie"
def cheapest(functions, *args):
    costs = [jax.jit(f).lower(*args).compile().cost_analysis()["flops"] for f in functions]
    return max(i for i, cost in enumerate(costs) if cost == min(costs))

# %% wrong="cheapest" says="raised TypeError"
def cheapest(functions, *args):
    args = [jnp.asarray(a) for a in args]
    costs = [jax.jit(f).lower(*args).compile().cost_analysis()["flops"] for f in functions]
    return costs.index(min(costs))

# %% wrong="cheapest" says="raised KeyError"
def cheapest(functions, *args):
    costs = [jax.jit(f).lower(*args).compile().cost_analysis()["flops"] for f in functions]
    return costs.index(min(costs))

# %% wrong="cheapest" says="only the first two are compared"
def cheapest(functions, *args):
    one, other = functions[:2]
    compiled = [jax.jit(f).lower(*args).compile() for f in (one, other)]
    costs = [program.cost_analysis().get("flops", 0.0) for program in compiled]
    return 0 if costs[0] < costs[1] else 1

# %% wrong="cheapest" says="the cost of the lowered program"
def cheapest(functions, *args):
    costs = [jax.jit(f).lower(*args).cost_analysis()["flops"] for f in functions]
    return costs.index(min(costs))

# %% wrong="cheapest" says="only the matrix products are counted"
def cheapest(functions, *args):
    def products(f):
        total = 0
        for equation in jax.make_jaxpr(f)(*args).eqns:
            if equation.primitive.name == "dot_general":
                shapes = [v.aval.shape for v in (equation.outvars[0], equation.invars[0])]
                total += 2 * math.prod(shapes[0]) * shapes[1][-1]
        return total

    costs = [products(f) for f in functions]
    return costs.index(min(costs))

# %% wrong="break_even" says="only the dispatch is timed"
def break_even(plain, compiled, x, clock=time.perf_counter):
    def seconds(f):
        start = clock()
        f(x)
        return clock() - start

    (_, slow), (first, fast) = [[seconds(f), seconds(f)] for f in (plain, compiled)]
    return max(1, math.ceil((first - fast) / (slow - fast)))

# %% wrong="break_even" says="the compilation is not counted"
def break_even(plain, compiled, x, clock=time.perf_counter):
    def seconds(f):
        start = clock()
        jax.block_until_ready(f(x))
        return clock() - start

    jax.block_until_ready((plain(x), compiled(x)))
    slow, first, fast = seconds(plain), seconds(compiled), seconds(compiled)
    if first <= slow:
        return 1.0
    return math.ceil((first - fast) / (slow - fast)) if fast < slow else math.inf

# %% wrong="break_even" says="the quotient is not rounded up"
def break_even(plain, compiled, x, clock=time.perf_counter):
    def seconds(f):
        start = clock()
        jax.block_until_ready(f(x))
        return clock() - start

    (_, slow), (first, fast) = [[seconds(f), seconds(f)] for f in (plain, compiled)]
    return max(1.0, (first - fast) / (slow - fast)) if fast < slow else math.inf

# %% wrong="break_even" says="the first call of plain is counted"
def break_even(plain, compiled, x, clock=time.perf_counter):
    def seconds(f):
        start = clock()
        jax.block_until_ready(f(x))
        return clock() - start

    slow, first, fast = seconds(plain), seconds(compiled), seconds(compiled)
    if first <= slow:
        return 1.0
    return math.ceil((first - fast) / (slow - fast)) if fast < slow else math.inf

# %% wrong="break_even" says="the whole first call is taken for compilation"
def break_even(plain, compiled, x, clock=time.perf_counter):
    def seconds(f):
        start = clock()
        jax.block_until_ready(f(x))
        return clock() - start

    (_, slow), (first, fast) = [[seconds(f), seconds(f)] for f in (plain, compiled)]
    return math.ceil(first / (slow - fast)) if fast < slow else math.inf

# %% wrong="break_even" says="raised ZeroDivisionError"
def break_even(plain, compiled, x, clock=time.perf_counter):
    def seconds(f):
        start = clock()
        jax.block_until_ready(f(x))
        return clock() - start

    (_, slow), (first, fast) = [[seconds(f), seconds(f)] for f in (plain, compiled)]
    return max(1, math.ceil((first - fast) / (slow - fast))) if fast <= slow else math.inf

# %% wrong="break_even" says="if later calls are slower"
def break_even(plain, compiled, x, clock=time.perf_counter):
    def seconds(f):
        start = clock()
        jax.block_until_ready(f(x))
        return clock() - start

    (_, slow), (first, fast) = [[seconds(f), seconds(f)] for f in (plain, compiled)]
    return max(1, math.ceil((first - fast) / (slow - fast)))

# %% wrong="break_even" says="equal total times do not count as break-even"
def break_even(plain, compiled, x, clock=time.perf_counter):
    def seconds(f):
        start = clock()
        jax.block_until_ready(f(x))
        return clock() - start

    (_, slow), (first, fast) = [[seconds(f), seconds(f)] for f in (plain, compiled)]
    return math.floor((first - fast) / (slow - fast)) + 1 if fast < slow else math.inf

# %% wrong="break_even" says="the result is less than 1"
def break_even(plain, compiled, x, clock=time.perf_counter):
    def seconds(f):
        start = clock()
        jax.block_until_ready(f(x))
        return clock() - start

    (_, slow), (first, fast) = [[seconds(f), seconds(f)] for f in (plain, compiled)]
    return math.ceil((first - fast) / (slow - fast)) if fast < slow else math.inf

# %% wrong="break_even" says="is not read"
def break_even(plain, compiled, x, clock=time.perf_counter):
    def seconds(f):
        start = time.perf_counter()
        jax.block_until_ready(f(x))
        return time.perf_counter() - start

    (_, slow), (first, fast) = [[seconds(f), seconds(f)] for f in (plain, compiled)]
    if first <= slow:
        return 1.0
    return math.ceil((first - fast) / (slow - fast)) if fast < slow else math.inf

# %% wrong="break_even" says="rounded to the nearest"
def break_even(plain, compiled, x, clock=time.perf_counter):
    def seconds(f):
        start = clock()
        jax.block_until_ready(f(x))
        return clock() - start

    (_, slow), (first, fast) = [[seconds(f), seconds(f)] for f in (plain, compiled)]
    if first <= slow:
        return 1.0
    return round((first - fast) / (slow - fast)) if fast < slow else math.inf

# %% wrong="break_even" says="if later calls are equally fast"
def break_even(plain, compiled, x, clock=time.perf_counter):
    def seconds(f):
        start = clock()
        jax.block_until_ready(f(x))
        return clock() - start

    (_, slow), (first, fast) = [[seconds(f), seconds(f)] for f in (plain, compiled)]
    return max(1, math.ceil((first - fast) / (slow - fast))) if fast < slow else math.inf
