# %% right="cast"
def cast(model, dtype):
    arrays, rest = eqx.partition(model, eqx.is_inexact_array)
    return eqx.combine(jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), arrays), rest)


# %% right="grad_of_model"
def grad_of_model(f):
    def g(model, *args):
        leaves, structure = jax.tree.flatten(model)
        places = [i for i, leaf in enumerate(leaves) if eqx.is_inexact_array(leaf)]

        def loss(arrays):
            new = list(leaves)
            for i, array in zip(places, arrays):
                new[i] = array
            return f(jax.tree.unflatten(structure, new), *args)

        value, pull = jax.vjp(loss, [leaves[i] for i in places])
        grads = dict(zip(places, pull(jnp.ones_like(value))[0]))
        return jax.tree.unflatten(structure, [grads.get(i) for i in range(len(leaves))])

    return g


# %% right="jit_of_model"
def jit_of_model(f):
    programs = {}

    def call(*args):
        arrays, static = eqx.partition(args, eqx.is_array)
        leaves, structure = jax.tree.flatten(static)
        kind = (*leaves, structure)
        if kind not in programs:
            programs[kind] = jax.jit(lambda arrays: f(*eqx.combine(arrays, static)))
        return programs[kind](arrays)

    return call


# %% right="make_update"
def make_update(loss_fn):
    @eqx.filter_jit
    def slopes(model, x, y):
        return eqx.filter_grad(loss_fn)(model, x, y)

    def update(model, x, y, learning_rate):
        grads = slopes(model, x, y)
        moved = jax.tree.map(lambda p, g: p - learning_rate * g, eqx.filter(model, eqx.is_inexact_array), grads)
        return eqx.combine(moved, model)

    return update


# %% right="load"
def load(model, params):
    for i, layer in enumerate(params):
        model = eqx.tree_at(lambda m: m.layers[i].weight, model, jnp.swapaxes(layer["w"], 0, 1))
        model = eqx.tree_at(lambda m: m.layers[i].bias, model, layer["b"])
    return model


# %% right="new_head"
def new_head(model, classes):
    head = eqx.nn.Linear(model.layers[-1].in_features, classes, key=jax.random.key(7))
    zeros = (jnp.zeros(head.weight.shape), jnp.zeros(head.bias.shape))
    head = eqx.tree_at(lambda m: (m.weight, m.bias), head, zeros)
    return eqx.tree_at(lambda m: m.layers, model, [*model.layers[:-1], head])


# %% right="Standardise"
class Standardise(eqx.Module):
    mean: Array
    std: Array
    eps: float = eqx.field(static=True)

    def __init__(self, mean, std, eps):
        self.mean, self.std, self.eps = jnp.asarray(mean), jnp.asarray(std), eps

    def __call__(self, x):
        shift = jax.lax.stop_gradient(self.mean)
        return (x - shift) * (1 / (jax.lax.stop_gradient(self.std) + self.eps))


# %% right="apply_stack"
def apply_stack(blocks, x):
    leaves, structure = jax.tree.flatten(blocks)
    places = [i for i, leaf in enumerate(leaves) if eqx.is_array(leaf)]

    def body(i, x):
        layer = [leaf[i] if k in places else leaf for k, leaf in enumerate(leaves)]
        return jax.tree.unflatten(structure, layer)(x)

    return jax.lax.fori_loop(0, len(leaves[places[0]]), body, x)


# %% right="tie"
def tie(model):
    return eqx.nn.Shared(
        model, where=lambda m: [m.head.weight], get=lambda m: [m.embedding.weight]
    )


# %% right="mean_and_spread"
def mean_and_spread(models, x):
    arrays, static = eqx.partition(models, eqx.is_array)
    predict = jax.vmap(lambda arrays: jax.vmap(eqx.combine(arrays, static))(x))
    each = predict(arrays)
    mean = each.mean(axis=0)
    return mean, jnp.sqrt(jnp.mean((each - mean) ** 2, axis=0))


# %% right="trainer"
def trainer(loss_fn, optimizer, spec):
    def init(model):
        params, _ = eqx.partition(model, spec)
        return optimizer.init(params)

    def step(model, opt_state, x, y):
        params, rest = eqx.partition(model, spec)

        @eqx.filter_value_and_grad
        def loss_of(params, rest):
            return loss_fn(eqx.combine(params, rest), x, y)

        loss, grads = loss_of(params, rest)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return eqx.apply_updates(model, updates), opt_state, loss

    return init, eqx.filter_jit(step)
