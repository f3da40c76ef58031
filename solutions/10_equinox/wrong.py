# %% wrong="cast" says="astype"
def cast(model, dtype):
    return jax.tree.map(lambda leaf: leaf.astype(dtype), model)


# %% wrong="cast" says="floats instead of integers"
def cast(model, dtype):
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if eqx.is_array(leaf) else leaf, model)


# %% wrong="cast" says="KeyError"
def cast(model, dtype):
    arrays, static = eqx.partition(model, eqx.is_inexact_array)
    new = jax.tree.map(lambda leaf: leaf.astype(dtype), arrays)
    return {"layer": new["layer"], "half": new["half"], "steps": static["steps"]}


# %% wrong="cast" says="right except at"
def cast(model, dtype):
    return jax.tree.map(
        lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf,
        eqx.tree_at(lambda m: m["rate"], model, 1.0),
    )


# %% wrong="cast" says="right for the visible inputs, wrong on hidden ones"
def cast(model, dtype):
    return jax.tree.map(
        lambda leaf: leaf.astype(jnp.float16) if eqx.is_inexact_array(leaf) else leaf, model
    )


# %% wrong="cast" says="precision is lost"
def cast(model, dtype):
    return jax.tree.map(
        lambda leaf: (
            leaf.astype(jnp.float16).astype(dtype) if eqx.is_inexact_array(leaf) else leaf
        ),
        model,
    )


# %% wrong="grad_of_model" says="without that function of Equinox"
def grad_of_model(f):
    return lambda *args: eqx.filter_grad(f)(*args)


# %% wrong="grad_of_model" says="not an array"
def grad_of_model(f):
    return jax.grad(f)


# %% wrong="grad_of_model" says="the gradient by integers"
def grad_of_model(f):
    def g(model, *args):
        params, static = eqx.partition(model, eqx.is_array)
        return jax.grad(lambda params: f(eqx.combine(params, static), *args))(params)

    return g


# %% wrong="grad_of_model" says="a function was returned instead of None"
def grad_of_model(f):
    def g(model, *args):
        params, static = eqx.partition(model, eqx.is_inexact_array)
        grads = jax.grad(lambda params: f(eqx.combine(params, static), *args))(params)
        return eqx.combine(grads, static)

    return g


# %% wrong="grad_of_model" says="missing"
def grad_of_model(f):
    def g(model, x, y):
        params, static = eqx.partition(model, eqx.is_inexact_array)
        return jax.grad(lambda params: f(eqx.combine(params, static), x, y))(params)

    return g


# %% wrong="grad_of_model" says="tuple"
def grad_of_model(f):
    def g(model, *args):
        params, static = eqx.partition(model, eqx.is_inexact_array)
        return jax.value_and_grad(lambda params: f(eqx.combine(params, static), *args))(params)

    return g


# %% wrong="grad_of_model" says="right for the visible inputs, wrong on hidden ones"
def grad_of_model(f):
    def is_trained(leaf):
        return eqx.is_array(leaf) and leaf.dtype == jnp.float32

    def g(model, *args):
        params, static = eqx.partition(model, is_trained)
        return jax.grad(lambda params: f(eqx.combine(params, static), *args))(params)

    return g


# %% wrong="jit_of_model" says="without that function of Equinox"
def jit_of_model(f):
    return lambda *args: eqx.filter_jit(f)(*args)


# %% wrong="jit_of_model" says="not an array"
def jit_of_model(f):
    return jax.jit(f)


# %% wrong="jit_of_model" says="nothing is found in the cache"
def jit_of_model(f):
    def call(*args):
        arrays, static = eqx.partition(args, eqx.is_array)
        return jax.jit(lambda arrays: f(*eqx.combine(arrays, static)))(arrays)

    return call


# %% wrong="jit_of_model" says="a static argument is an array or a list"
def jit_of_model(f):
    compiled = jax.jit(
        lambda arrays, static: f(*eqx.combine(arrays, static)), static_argnums=1
    )

    def call(*args):
        return compiled(*eqx.partition(args, eqx.is_array))

    return call


# %% wrong="jit_of_model" says="the static leaves of the first call"
def jit_of_model(f):
    kept = []

    @jax.jit
    def compiled(arrays):
        return f(*eqx.combine(arrays, kept[0]))

    def call(*args):
        arrays, static = eqx.partition(args, eqx.is_array)
        kept.append(static)
        return compiled(arrays)

    return call


# %% wrong="jit_of_model" says="right for the visible inputs, wrong on hidden ones"
def jit_of_model(f):
    @partial(jax.jit, static_argnums=(1, 2))
    def compiled(arrays, leaves, structure):
        return f(*eqx.combine(arrays, jax.tree.unflatten(structure, leaves)))

    def call(*args):
        arrays, static = eqx.partition(args, lambda leaf: isinstance(leaf, jax.Array))
        leaves, structure = jax.tree.flatten(static)
        return compiled(arrays, tuple(leaves), structure)

    return call


# %% wrong="make_update" says="traced, or run by Python, at each call"
def make_update(loss_fn):
    @eqx.filter_jit
    def update(model, x, y, learning_rate):
        rate = jnp.asarray(learning_rate)
        grads = eqx.filter_grad(loss_fn)(model, x, y)
        return eqx.apply_updates(model, jax.tree.map(lambda g: -rate * g, grads))

    return update


# %% wrong="make_update" says="the first learning rate is used"
def make_update(loss_fn):
    rates = []

    @eqx.filter_jit
    def compiled(model, x, y):
        grads = eqx.filter_grad(loss_fn)(model, x, y)
        return eqx.apply_updates(model, jax.tree.map(lambda g: -rates[0] * g, grads))

    def update(model, x, y, learning_rate):
        rates.append(learning_rate)
        return compiled(model, x, y)

    return update


# %% wrong="make_update" says="uphill"
def make_update(loss_fn):
    @eqx.filter_jit
    def compiled(model, x, y, learning_rate):
        grads = eqx.filter_grad(loss_fn)(model, x, y)
        return eqx.apply_updates(model, jax.tree.map(lambda g: learning_rate * g, grads))

    return lambda model, x, y, rate: compiled(model, x, y, jnp.asarray(rate))


# %% wrong="make_update" says="not an array"
def make_update(loss_fn):
    @jax.jit
    def update(model, x, y, learning_rate):
        grads = eqx.filter_grad(loss_fn)(model, x, y)
        return eqx.apply_updates(model, jax.tree.map(lambda g: -learning_rate * g, grads))

    return update


# %% wrong="make_update" says="right for the visible inputs, wrong on hidden ones"
def make_update(loss_fn):
    @eqx.filter_jit
    def compiled(model, x, y, learning_rate):
        grads = eqx.filter_grad(loss_fn)(model, x, y)
        return eqx.apply_updates(model, jax.tree.map(lambda g: -learning_rate * g, grads))

    return lambda model, x, y, rate: compiled(model, x, y, jnp.asarray(rate or 0.1))


# %% wrong="load" says="a matrix product of shapes that do not fit"
def load(model, params):
    return eqx.tree_at(
        lambda m: [leaf for layer in m.layers for leaf in (layer.weight, layer.bias)],
        model,
        [leaf for layer in params for leaf in (layer["w"], layer["b"])],
    )


# %% wrong="load" says="row by row"
def load(model, params):
    return eqx.tree_at(
        lambda m: [leaf for layer in m.layers for leaf in (layer.weight, layer.bias)],
        model,
        [
            leaf
            for layer in params
            for leaf in (layer["w"].reshape(layer["w"].shape[::-1]), layer["b"])
        ],
    )


# %% wrong="load" says="FrozenInstanceError"
def load(model, params):
    for layer, new in zip(model.layers, params):
        layer.weight, layer.bias = new["w"].T, new["b"]
    return model


# %% wrong="load" says="wrong values"
def load(model, params):
    return eqx.tree_at(
        lambda m: [layer.weight for layer in m.layers],
        model,
        [layer["w"].T for layer in params],
    )


# %% wrong="load" says="right for the visible inputs, wrong on hidden ones"
def load(model, params):
    def fit(old, new):
        return new if old.shape == new.shape else new.T

    return eqx.tree_at(
        lambda m: [leaf for layer in m.layers for leaf in (layer.weight, layer.bias)],
        model,
        [
            leaf
            for old, new in zip(model.layers, params)
            for leaf in (fit(old.weight, new["w"]), new["b"])
        ],
    )


# %% wrong="new_head" says="the static fields are those of the old head"
def new_head(model, classes):
    inputs = model.layers[-1].in_features
    return eqx.tree_at(
        lambda m: (m.layers[-1].weight, m.layers[-1].bias),
        model,
        (jnp.zeros((classes, inputs)), jnp.zeros(classes)),
        is_leaf=lambda node: node is None,
    )


# %% wrong="new_head" says="ValueError"
def new_head(model, classes):
    inputs = model.layers[-1].in_features
    head = (jnp.zeros((classes, inputs)), jnp.zeros(classes))
    if model.layers[-1].use_bias:
        new = eqx.nn.Linear(inputs, classes, key=jax.random.key(0))
        return eqx.tree_at(lambda m: m.layers[-1], model, jax.tree.map(jnp.zeros_like, new))
    return eqx.tree_at(lambda m: (m.layers[-1].weight, m.layers[-1].bias), model, head)


# %% wrong="new_head" says="wrong values"
def new_head(model, classes):
    head = eqx.nn.Linear(model.layers[-1].in_features, classes, key=jax.random.key(0))
    return eqx.tree_at(lambda m: m.layers[-1], model, head)


# %% wrong="new_head" says="`model` itself has changed"
def new_head(model, classes):
    head = eqx.nn.Linear(model.layers[-1].in_features, classes, key=jax.random.key(0))
    model.layers[-1] = jax.tree.map(jnp.zeros_like, head)
    return model


# %% wrong="new_head" says="None"
def new_head(model, classes):
    old = model.layers[-1]
    head = eqx.nn.Linear(old.in_features, classes, old.use_bias, key=jax.random.key(0))
    return eqx.tree_at(lambda m: m.layers[-1], model, jax.tree.map(jnp.zeros_like, head))


# %% wrong="new_head" says="right for the visible inputs, wrong on hidden ones"
def new_head(model, classes):
    head = eqx.nn.Linear(model.layers[-2].out_features, classes, key=jax.random.key(0))
    head = jax.tree.map(jnp.zeros_like, head)
    return eqx.tree_at(lambda m: m.layers[-1], model, head)


# %% wrong="Standardise" says="the statistics get a gradient"
class Standardise(eqx.Module):
    mean: Array
    std: Array
    eps: float = eqx.field(static=True)

    def __call__(self, x):
        return (x - self.mean) / (self.std + self.eps)


# %% wrong="Standardise" says="the gradient stops for `x` as well"
class Standardise(eqx.Module):
    mean: Array
    std: Array
    eps: float = eqx.field(static=True)

    def __call__(self, x):
        return jax.lax.stop_gradient((x - self.mean) / (self.std + self.eps))


# %% wrong="Standardise" says="a structure of 3"
class Standardise(eqx.Module):
    mean: Array
    std: Array
    eps: float

    def __call__(self, x):
        mean, std = jax.lax.stop_gradient((self.mean, self.std))
        return (x - mean) / (std + self.eps)


# %% wrong="Standardise" says="a structure of 0"
class Standardise(eqx.Module):
    mean: tuple = eqx.field(static=True, converter=lambda a: tuple(np.ravel(a).tolist()))
    std: tuple = eqx.field(static=True, converter=lambda a: tuple(np.ravel(a).tolist()))
    eps: float = eqx.field(static=True)

    def __call__(self, x):
        return (x - jnp.array(self.mean)) / (jnp.array(self.std) + self.eps)


# %% wrong="Standardise" says="right for the visible inputs, wrong on hidden ones"
class Standardise(eqx.Module):
    mean: Array
    std: Array
    eps: float = eqx.field(static=True)

    def __call__(self, x):
        mean, std = jax.lax.stop_gradient((self.mean, self.std))
        return (x - mean) / (jnp.maximum(std, 0.002) + self.eps)


# %% wrong="Standardise" says="wrong values"
class Standardise(eqx.Module):
    mean: Array
    std: Array
    eps: float = eqx.field(static=True)
    label: str = eqx.field(static=True)

    def __init__(self, mean, std, eps):
        self.mean, self.std, self.eps = mean, std, eps
        self.label = f"mean {np.mean(mean):.2f}"

    def __call__(self, x):
        mean, std = jax.lax.stop_gradient((self.mean, self.std))
        return (x - mean) / (std + self.eps)


# %% wrong="apply_stack" says="scan"
def apply_stack(blocks, x):
    arrays, static = eqx.partition(blocks, eqx.is_array)
    for i in range(len(jax.tree.leaves(arrays)[0])):
        x = eqx.combine(jax.tree.map(lambda leaf: leaf[i], arrays), static)(x)
    return x


# %% wrong="apply_stack" says="the last layer comes first"
def apply_stack(blocks, x):
    arrays, static = eqx.partition(blocks, eqx.is_array)
    body = lambda x, layer: (eqx.combine(layer, static)(x), None)
    return jax.lax.scan(body, x, arrays, reverse=True)[0]


# %% wrong="apply_stack" says="not an array"
def apply_stack(blocks, x):
    return jax.lax.scan(lambda x, block: (block(x), None), x, blocks)[0]


# %% wrong="apply_stack" says="the result has the shape of argument"
def apply_stack(blocks, x):
    arrays, static = eqx.partition(blocks, eqx.is_array)

    def body(x, layer):
        x = eqx.combine(layer, static)(x)
        return x, x

    return jax.lax.scan(body, x, arrays)[1]


# %% wrong="apply_stack" says="right for the visible inputs, wrong on hidden ones"
def apply_stack(blocks, x):
    def body(x, layer):
        w, b = layer
        return x + blocks.activation(w @ x + b), None

    return jax.lax.scan(body, x, (blocks.weight, blocks.bias))[0]


# %% wrong="tie" says="the head is kept"
def tie(model):
    return eqx.nn.Shared(model, lambda m: m.embedding.weight, lambda m: m.head.weight)


# %% wrong="tie" says="does not reach the shared matrix"
def tie(model):
    return eqx.nn.Shared(
        model,
        lambda m: m.head.weight,
        lambda m: jax.lax.stop_gradient(m.embedding.weight),
    )


# %% wrong="tie" says="a structure of 3"
def tie(model):
    class Copied(eqx.Module):
        model: LanguageModel

        def __call__(self):
            return self.model

    return Copied(eqx.tree_at(lambda m: m.head.weight, model, model.embedding.weight))


# %% wrong="tie" says="right for the visible inputs, wrong on hidden ones"
def tie(model):
    def get(m):
        w = m.embedding.weight
        return w.T if w.shape[0] == w.shape[1] else w

    return eqx.nn.Shared(model, lambda m: m.head.weight, get)


# %% wrong="mean_and_spread" says="the result has the shape of argument"
def mean_and_spread(models, x):
    predictions = eqx.filter_vmap(
        lambda model: jax.vmap(model)(x), in_axes=eqx.if_array(0)
    )(models)
    return predictions.mean(axis=1), predictions.std(axis=1)


# %% wrong="mean_and_spread" says="minus 1"
def mean_and_spread(models, x):
    predictions = eqx.filter_vmap(lambda model: jax.vmap(model)(x))(models)
    return predictions.mean(axis=0), predictions.std(axis=0, ddof=1)


# %% wrong="mean_and_spread" says="mean weights"
def mean_and_spread(models, x):
    predictions = eqx.filter_vmap(lambda model: jax.vmap(model)(x))(models)
    average = jax.tree.map(lambda leaf: leaf.mean(0) if eqx.is_array(leaf) else leaf, models)
    return jax.vmap(average)(x), predictions.std(axis=0)


# %% wrong="mean_and_spread" says="the variance"
def mean_and_spread(models, x):
    predictions = eqx.filter_vmap(lambda model: jax.vmap(model)(x))(models)
    return predictions.mean(axis=0), predictions.var(axis=0)


# %% wrong="mean_and_spread" says="not an array"
def mean_and_spread(models, x):
    predictions = jax.vmap(lambda model, x: jax.vmap(model)(x), in_axes=(0, None))(models, x)
    return predictions.mean(axis=0), predictions.std(axis=0)


# %% wrong="mean_and_spread" says="right for the visible inputs, wrong on hidden ones"
def mean_and_spread(models, x):
    predictions = eqx.filter_vmap(lambda model: jax.vmap(model)(x))(models)
    return predictions.mean(axis=0), predictions.std(axis=0, ddof=int(len(predictions) == 1))


# %% wrong="trainer" says="TypeError"
def trainer(loss_fn, optimizer, spec):
    def init(model):
        return optimizer.init(model)

    @eqx.filter_jit
    def step(model, opt_state, x, y):
        loss, grads = eqx.filter_value_and_grad(loss_fn)(model, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, model)
        return eqx.apply_updates(model, updates), opt_state, loss

    return init, step


# %% wrong="trainer" says="ValueError"
def trainer(loss_fn, optimizer, spec):
    @eqx.filter_jit
    def step(model, opt_state, x, y):
        params, rest = eqx.partition(model, spec)
        loss, grads = jax.value_and_grad(lambda p: loss_fn(eqx.combine(p, rest), x, y))(params)
        updates, opt_state = optimizer.update(grads, opt_state)
        return eqx.combine(eqx.apply_updates(params, updates), rest), opt_state, loss

    return lambda model: optimizer.init(eqx.filter(model, spec)), step


# %% wrong="trainer" says="not compiled"
def trainer(loss_fn, optimizer, spec):
    def step(model, opt_state, x, y):
        params, rest = eqx.partition(model, spec)
        loss, grads = jax.value_and_grad(lambda p: loss_fn(eqx.combine(p, rest), x, y))(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return eqx.combine(eqx.apply_updates(params, updates), rest), opt_state, loss

    return lambda model: optimizer.init(eqx.filter(model, spec)), step


# %% wrong="trainer" says="the optimizer's state is not carried on"
def trainer(loss_fn, optimizer, spec):
    @eqx.filter_jit
    def step(model, opt_state, x, y):
        params, rest = eqx.partition(model, spec)
        loss, grads = jax.value_and_grad(lambda p: loss_fn(eqx.combine(p, rest), x, y))(params)
        updates, _ = optimizer.update(grads, opt_state, params)
        return eqx.combine(eqx.apply_updates(params, updates), rest), opt_state, loss

    return lambda model: optimizer.init(eqx.filter(model, spec)), step


# %% wrong="trainer" says="wrong values"
def trainer(loss_fn, optimizer, spec):
    @eqx.filter_jit
    def step(model, opt_state, x, y):
        params, rest = eqx.partition(model, eqx.is_inexact_array)
        loss, grads = jax.value_and_grad(lambda p: loss_fn(eqx.combine(p, rest), x, y))(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return eqx.combine(eqx.apply_updates(params, updates), rest), opt_state, loss

    return lambda model: optimizer.init(eqx.filter(model, eqx.is_inexact_array)), step


# %% wrong="trainer" says="right for the visible inputs, wrong on hidden ones"
def trainer(loss_fn, optimizer, spec):
    @eqx.filter_jit
    def step(model, opt_state, x, y):
        params, rest = eqx.partition(model, spec)
        loss, grads = jax.value_and_grad(lambda p: loss_fn(eqx.combine(p, rest), x, y))(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        updates = jax.tree.map(jnp.squeeze, updates)
        return eqx.combine(eqx.apply_updates(params, updates), rest), opt_state, loss

    return lambda model: optimizer.init(eqx.filter(model, spec)), step
