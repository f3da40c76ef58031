# %% wrong="MLP" says="the kernels have the default initialisation"
class MLP(nnx.Module):
    def __init__(self, sizes, *, rngs):
        self.layers = nnx.List([nnx.Linear(n, m, rngs=rngs) for n, m in zip(sizes, sizes[1:])])

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x)

# %% wrong="MLP" says="Found data on value of type"
class MLP(nnx.Module):
    def __init__(self, sizes, *, rngs):
        he = nnx.initializers.he_normal()
        self.layers = [
            nnx.Linear(n, m, kernel_init=he, rngs=rngs) for n, m in zip(sizes, sizes[1:])
        ]

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x)

# %% wrong="MLP" says="the logits go through a ReLU too"
class MLP(nnx.Module):
    def __init__(self, sizes, *, rngs):
        he = nnx.initializers.he_normal()
        self.layers = nnx.List(
            [nnx.Linear(n, m, kernel_init=he, rngs=rngs) for n, m in zip(sizes, sizes[1:])]
        )

    def __call__(self, x):
        for layer in self.layers:
            x = jax.nn.relu(layer(x))
        return x

# %% wrong="MLP" says="wrong values"
class MLP(nnx.Module):
    def __init__(self, sizes, *, rngs):
        he = nnx.initializers.he_normal()
        self.layers = nnx.List(
            [nnx.Linear(n, m, kernel_init=he, rngs=rngs) for n, m in zip(sizes, sizes[1:])]
        )
        self.rngs = rngs

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x)

# %% wrong="MLP" says="right for the visible inputs, wrong on hidden ones"
class MLP(nnx.Module):
    def __init__(self, sizes, *, rngs):
        he, seed = nnx.initializers.he_normal(), rngs.params()
        self.layers = nnx.List(
            [
                nnx.Linear(n, m, kernel_init=he, rngs=nnx.Rngs(seed))
                for n, m in zip(sizes, sizes[1:])
            ]
        )

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x)

# %% wrong="MLP" says="wrong on hidden ones"
class MLP(nnx.Module):
    def __init__(self, sizes, *, rngs):
        he = nnx.initializers.he_normal()
        self.layers = nnx.List(
            [nnx.Linear(n, m, kernel_init=he, rngs=rngs) for n, m in zip(sizes, sizes[1:])]
        )

    def __call__(self, x):
        x = jnp.atleast_2d(x)
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x)

# %% wrong="load_params" says="kernels and biases are bare arrays now"
def load_params(model, params):
    for layer, given in zip(model.layers, params):
        layer.kernel = given["w"]
        layer.bias = given["b"]

# %% wrong="load_params" says="do not broadcast"
def load_params(model, params):
    for layer, given in zip(model.layers, params):
        layer.kernel[...] = given["w"].T
        layer.bias[...] = given["b"]

# %% wrong="load_params" says="the biases are not copied"
def load_params(model, params):
    for layer, given in zip(model.layers, params):
        layer.kernel[...] = given["w"]

# %% wrong="load_params" says="the weights are transposed"
def load_params(model, params):
    for layer, given in zip(model.layers, params):
        layer.kernel = nnx.Param(given["w"].T if layer.in_features == layer.out_features else given["w"])
        layer.bias[...] = given["b"]

# %% wrong="load_params" says="right for the visible inputs, wrong on hidden ones"
def load_params(model, params):
    for i in range(3):
        if i < len(params):
            model.layers[i].kernel[...] = params[i]["w"]
            model.layers[i].bias[...] = params[i]["b"]

# %% wrong="make_train_step" says="the model does not change"
def make_train_step(loss_fn):
    @jax.jit
    def step(model, optimizer, x, y):
        loss, grads = nnx.value_and_grad(loss_fn)(model, x, y)
        optimizer.update(model, grads)
        return loss

    return step

# %% wrong="make_train_step" says="missing required argument"
def make_train_step(loss_fn):
    @nnx.jit
    def step(model, optimizer, x, y):
        loss, grads = nnx.value_and_grad(loss_fn)(model, x, y)
        optimizer.update(grads)
        return loss

    return step

# %% wrong="make_train_step" says="the loss after the step"
def make_train_step(loss_fn):
    @nnx.jit
    def step(model, optimizer, x, y):
        optimizer.update(model, nnx.grad(loss_fn)(model, x, y))
        return loss_fn(model, x, y)

    return step

# %% wrong="make_train_step" says="the optimizer state is not carried"
def make_train_step(loss_fn):
    @nnx.jit
    def step(model, optimizer, x, y):
        loss, grads = nnx.value_and_grad(loss_fn)(model, x, y)
        updates, _ = optimizer.tx.update(
            grads, optimizer.tx.init(nnx.state(model, nnx.Param)), nnx.state(model, nnx.Param)
        )
        nnx.update(model, optax.apply_updates(nnx.state(model, nnx.Param), updates))
        return loss

    return step

# %% wrong="make_train_step" says="`loss_fn` runs in Python at each step"
def make_train_step(loss_fn):
    def step(model, optimizer, x, y):
        loss, grads = nnx.value_and_grad(loss_fn)(model, x, y)
        optimizer.update(model, grads)
        return loss

    return step

# %% wrong="make_train_step" says="right for the visible inputs, wrong on hidden ones"
def make_train_step(loss_fn):
    @nnx.jit
    def step(model, optimizer, x, y):
        model.eval()
        loss, grads = nnx.value_and_grad(loss_fn)(model, x, y)
        optimizer.update(model, grads)
        model.train()
        return loss

    return step

# %% wrong="predict_samples" says="two draws coincide"
def predict_samples(model, x, samples):
    run = jax.jit(lambda model, x: model(x))
    return jnp.stack([run(model, x) for _ in range(samples)])

# %% wrong="predict_samples" says="do not broadcast"
def predict_samples(model, x, samples):
    run = nnx.jit(lambda model, x: model(x))
    return jnp.stack([run(model, x) for _ in range(samples)], axis=1)

# %% wrong="predict_samples" says="the mode of the model is changed"
def predict_samples(model, x, samples):
    run = nnx.jit(lambda model, x: model(x))
    model.train()
    return jnp.stack([run(model, x) for _ in range(samples)])

# %% wrong="predict_samples" says="right for the visible inputs, wrong on hidden ones"
def predict_samples(model, x, samples):
    return jnp.stack([model(x) for _ in range(samples)])

# %% wrong="make_pure_step" says="the variables in `rest` do not change"
def make_pure_step(graphdef, loss_fn, optimizer):
    @jax.jit
    def step(params, rest, opt_state, x, y):
        def loss_of(params):
            return loss_fn(nnx.merge(graphdef, params, rest, copy=True), x, y)

        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), rest, opt_state, loss

    return step

# %% wrong="make_pure_step" says="TraceContextError"
def make_pure_step(graphdef, loss_fn, optimizer):
    @jax.jit
    def step(params, rest, opt_state, x, y):
        def loss_and_rest(params):
            model = nnx.merge(graphdef, params, rest)
            loss = loss_fn(model, x, y)
            return loss, nnx.split(model, nnx.Param, ...)[2]

        (loss, new_rest), grads = jax.value_and_grad(loss_and_rest, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), new_rest, opt_state, loss

    return step

# %% wrong="make_pure_step" says="the optimizer state is not carried"
def make_pure_step(graphdef, loss_fn, optimizer):
    @jax.jit
    def step(params, rest, opt_state, x, y):
        def loss_and_rest(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            loss = loss_fn(model, x, y)
            return loss, nnx.split(model, nnx.Param, ...)[2]

        (loss, new_rest), grads = jax.value_and_grad(loss_and_rest, has_aux=True)(params)
        updates, _ = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), new_rest, opt_state, loss

    return step

# %% wrong="make_pure_step" says="`loss_fn` runs in Python at each step"
def make_pure_step(graphdef, loss_fn, optimizer):
    def step(params, rest, opt_state, x, y):
        def loss_and_rest(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            loss = loss_fn(model, x, y)
            return loss, nnx.split(model, nnx.Param, ...)[2]

        (loss, new_rest), grads = jax.value_and_grad(loss_and_rest, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), new_rest, opt_state, loss

    return step

# %% wrong="make_pure_step" says="right for the visible inputs, wrong on hidden ones"
def make_pure_step(graphdef, loss_fn, optimizer):
    @jax.jit
    def step(params, rest, opt_state, x, y):
        def loss_and_rest(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            loss = loss_fn(model, x, y)
            return loss, nnx.split(model, nnx.Param, ...)[2]

        (loss, new_rest), grads = jax.value_and_grad(loss_and_rest, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        updates, _ = optax.clip_by_global_norm(2.0).update(updates, optax.EmptyState())
        return optax.apply_updates(params, updates), new_rest, opt_state, loss

    return step

# %% wrong="RunningNorm" says="momentum weighs the new value"
class RunningNorm(nnx.Module):
    def __init__(self, features, *, momentum):
        self.mean, self.var = nnx.BatchStat(jnp.zeros(features)), nnx.BatchStat(jnp.ones(features))
        self.momentum, self.use_running_average = momentum, False

    def __call__(self, x):
        m, v = self.mean[...], self.var[...]
        if not self.use_running_average:
            axes = tuple(range(x.ndim - 1))
            m, v, new = jnp.mean(x, axes), jnp.var(x, axes), self.momentum
            self.mean[...] = (1 - new) * self.mean[...] + new * m
            self.var[...] = (1 - new) * self.var[...] + new * v
        return (x - m) / jnp.sqrt(v + 1e-5)

# %% wrong="RunningNorm" says="the running variance is unbiased"
class RunningNorm(nnx.Module):
    def __init__(self, features, *, momentum):
        self.mean, self.var = nnx.BatchStat(jnp.zeros(features)), nnx.BatchStat(jnp.ones(features))
        self.momentum, self.use_running_average = momentum, False

    def __call__(self, x):
        m, v = self.mean[...], self.var[...]
        if not self.use_running_average:
            axes = tuple(range(x.ndim - 1))
            m, v, old = jnp.mean(x, axes), jnp.var(x, axes), self.momentum
            self.mean[...] = old * self.mean[...] + (1 - old) * m
            self.var[...] = old * self.var[...] + (1 - old) * jnp.var(x, axes, ddof=1)
        return (x - m) / jnp.sqrt(v + 1e-5)

# %% wrong="RunningNorm" says="the running values are used in training too"
class RunningNorm(nnx.Module):
    def __init__(self, features, *, momentum):
        self.mean, self.var = nnx.BatchStat(jnp.zeros(features)), nnx.BatchStat(jnp.ones(features))
        self.momentum, self.use_running_average = momentum, False

    def __call__(self, x):
        if not self.use_running_average:
            axes, old = tuple(range(x.ndim - 1)), self.momentum
            self.mean[...] = old * self.mean[...] + (1 - old) * jnp.mean(x, axes)
            self.var[...] = old * self.var[...] + (1 - old) * jnp.var(x, axes)
        return (x - self.mean[...]) / jnp.sqrt(self.var[...] + 1e-5)

# %% wrong="RunningNorm" says="the running values change in evaluation mode"
class RunningNorm(nnx.Module):
    def __init__(self, features, *, momentum):
        self.mean, self.var = nnx.BatchStat(jnp.zeros(features)), nnx.BatchStat(jnp.ones(features))
        self.momentum, self.use_running_average = momentum, False

    def __call__(self, x):
        axes, old = tuple(range(x.ndim - 1)), self.momentum
        m, v = jnp.mean(x, axes), jnp.var(x, axes)
        self.mean[...] = old * self.mean[...] + (1 - old) * m
        self.var[...] = old * self.var[...] + (1 - old) * v
        if self.use_running_average:
            m, v = self.mean[...], self.var[...]
        return (x - m) / jnp.sqrt(v + 1e-5)

# %% wrong="RunningNorm" says="KeyError"
class RunningNorm(nnx.Module):
    def __init__(self, features, *, momentum):
        self.mean, self.var = jnp.zeros(features), jnp.ones(features)
        self.momentum, self.use_running_average = momentum, False

    def __call__(self, x):
        m, v = self.mean, self.var
        if not self.use_running_average:
            axes = tuple(range(x.ndim - 1))
            m, v, old = jnp.mean(x, axes), jnp.var(x, axes), self.momentum
            self.mean, self.var = old * self.mean + (1 - old) * m, old * self.var + (1 - old) * v
        return (x - m) / jnp.sqrt(v + 1e-5)

# %% wrong="RunningNorm" says="derivative"
class RunningNorm(nnx.Module):
    def __init__(self, features, *, momentum):
        self.mean, self.var = nnx.BatchStat(jnp.zeros(features)), nnx.BatchStat(jnp.ones(features))
        self.momentum, self.use_running_average = momentum, False

    def __call__(self, x):
        m, v = self.mean[...], self.var[...]
        if not self.use_running_average:
            axes, old = tuple(range(x.ndim - 1)), self.momentum
            m, v = jax.lax.stop_gradient((jnp.mean(x, axes), jnp.var(x, axes)))
            self.mean[...] = old * self.mean[...] + (1 - old) * m
            self.var[...] = old * self.var[...] + (1 - old) * v
        return (x - m) / jnp.sqrt(v + 1e-5)

# %% wrong="RunningNorm" says="right for the visible inputs, wrong on hidden ones"
class RunningNorm(nnx.Module):
    def __init__(self, features, *, momentum):
        self.mean, self.var = nnx.BatchStat(jnp.zeros(features)), nnx.BatchStat(jnp.ones(features))
        self.momentum, self.use_running_average = momentum, False

    def __call__(self, x):
        m, v = self.mean[...], self.var[...]
        if not self.use_running_average:
            m, v, old = jnp.mean(x, 0), jnp.var(x, 0), self.momentum
            self.mean[...] = old * self.mean[...] + (1 - old) * m
            self.var[...] = old * self.var[...] + (1 - old) * v
        return (x - m) / jnp.sqrt(v + 1e-5)

# %% wrong="make_finetuning" says="the batch norm of the same index is trained too"
def make_finetuning(model, loss_fn, optimizer, layer):
    trainable = nnx.All(nnx.Param, nnx.PathContains(layer))

    @nnx.jit
    def step(model, state, x, y):
        diff = nnx.DiffState(0, trainable)
        loss, grads = nnx.value_and_grad(loss_fn, argnums=diff)(model, x, y)
        state.update(model, grads)
        return loss

    return nnx.Optimizer(model, optimizer, wrt=trainable), step

# %% wrong="make_finetuning" says="the step is not compiled once"
def make_finetuning(model, loss_fn, optimizer, layer):
    def trainable(path, variable):
        return isinstance(variable, nnx.Param) and path[:2] == ("layers", layer)

    def step(model, state, x, y):
        diff = nnx.DiffState(0, trainable)
        loss, grads = nnx.value_and_grad(loss_fn, argnums=diff)(model, x, y)
        state.update(model, grads)
        return loss

    return nnx.Optimizer(model, optimizer, wrt=trainable), step

# %% wrong="make_finetuning" says="all layers are trained"
def make_finetuning(model, loss_fn, optimizer, layer):
    @nnx.jit
    def step(model, state, x, y):
        loss, grads = nnx.value_and_grad(loss_fn)(model, x, y)
        state.update(model, grads)
        return loss

    return nnx.Optimizer(model, optimizer, wrt=nnx.Param), step

# %% wrong="make_finetuning" says="the input came back unchanged"
def make_finetuning(model, loss_fn, optimizer, layer):
    def trainable(path, variable):
        return isinstance(variable, nnx.Param) and path[:2] == ("layers", str(layer))

    @nnx.jit
    def step(model, state, x, y):
        diff = nnx.DiffState(0, trainable)
        loss, grads = nnx.value_and_grad(loss_fn, argnums=diff)(model, x, y)
        state.update(model, grads)
        return loss

    return nnx.Optimizer(model, optimizer, wrt=trainable), step

# %% wrong="make_finetuning" says="weight decay shrinks what is frozen"
def make_finetuning(model, loss_fn, optimizer, layer):
    def trainable(path, variable):
        return path[:2] == ("layers", layer)

    @nnx.jit
    def step(model, state, x, y):
        loss, grads = nnx.value_and_grad(loss_fn)(model, x, y)
        frozen = nnx.filter_state(grads, nnx.Not(trainable))
        zeros = jax.tree.map(jnp.zeros_like, frozen)
        grads = nnx.merge_state(nnx.filter_state(grads, trainable), zeros)
        state.update(model, grads)
        return loss

    return nnx.Optimizer(model, optimizer, wrt=nnx.Param), step

# %% wrong="make_finetuning" says="two pytrees"
def make_finetuning(model, loss_fn, optimizer, layer):
    def trainable(path, variable):
        return isinstance(variable, nnx.Param) and path[:2] == ("layers", layer)

    @nnx.jit
    def step(model, state, x, y):
        diff = nnx.DiffState(0, trainable)
        loss, grads = nnx.value_and_grad(loss_fn, argnums=diff)(model, x, y)
        state.update(model, grads)
        return loss

    return nnx.Optimizer(model, optimizer, wrt=nnx.Param), step

# %% wrong="make_finetuning" says="right for the visible inputs, wrong on hidden ones"
def make_finetuning(model, loss_fn, optimizer, layer):
    def trainable(path, variable):
        return isinstance(variable, nnx.Param) and path[:2] == ("layers", layer or -1)

    @nnx.jit
    def step(model, state, x, y):
        diff = nnx.DiffState(0, trainable)
        loss, grads = nnx.value_and_grad(loss_fn, argnums=diff)(model, x, y)
        state.update(model, grads)
        return loss

    return nnx.Optimizer(model, optimizer, wrt=trainable), step

# %% wrong="make_ensemble" says="not depend on the key"
def make_ensemble(make, key, members):
    @nnx.split_rngs(splits=members)
    @nnx.vmap(in_axes=0, out_axes=0)
    def make_all(rngs):
        return make(nnx.Rngs(0))

    return make_all(nnx.Rngs(key))

# %% wrong="make_ensemble" says="two draws coincide"
def make_ensemble(make, key, members):
    @nnx.vmap(in_axes=0, out_axes=0)
    def make_all(i):
        return make(nnx.Rngs(key))

    return make_all(jnp.arange(members))

# %% wrong="make_ensemble" says="out of bounds"
def make_ensemble(make, key, members):
    @nnx.split_rngs(splits=members)
    @nnx.vmap(in_axes=0, out_axes=1)
    def make_all(rngs):
        return make(rngs)

    return make_all(nnx.Rngs(key))

# %% wrong="make_ensemble" says="right for the visible inputs, wrong on hidden ones"
def make_ensemble(make, key, members):
    @nnx.split_rngs(splits=members)
    @nnx.vmap(in_axes=0, out_axes=0)
    def make_all(rngs):
        return make(nnx.Rngs(params=rngs.params(), dropout=jax.random.clone(key)))

    return make_all(nnx.Rngs(key))

# %% wrong="apply_blocks" says="does not use `scan`"
def apply_blocks(blocks, x):
    graphdef, state = nnx.split(blocks)
    for i in range(len(jax.tree.leaves(state)[0])):
        x = nnx.merge(graphdef, jax.tree.map(lambda leaf: leaf[i], state))(x)
    return x

# %% wrong="apply_blocks" says="the blocks are applied from the last"
def apply_blocks(blocks, x):
    graphdef, state = nnx.split(blocks)
    return jax.lax.scan(
        lambda x, one: (nnx.merge(graphdef, one)(x), None), x, state, reverse=True
    )[0]

# %% wrong="apply_blocks" says="shape"
def apply_blocks(blocks, x):
    @nnx.vmap(in_axes=(None, 0), out_axes=0)
    def run(x, block):
        return block(x)

    return run(x, blocks)

# %% wrong="apply_blocks" says="right for the visible inputs, wrong on hidden ones"
def apply_blocks(blocks, x):
    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
    def run(x, block):
        return block(x)

    return run(jnp.atleast_2d(x), blocks)

# %% wrong="make_linen_step" says="cannot update variable"
def make_linen_step(model, optimizer):
    @jax.jit
    def step(params, batch_stats, opt_state, key, x, y):
        def loss_of(params):
            variables = {"params": params, "batch_stats": batch_stats}
            logits = model.apply(variables, x, train=True, rngs={"dropout": key})
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), batch_stats, opt_state, loss

    return step

# %% wrong="make_linen_step" says="the batch statistics do not change"
def make_linen_step(model, optimizer):
    @jax.jit
    def step(params, batch_stats, opt_state, key, x, y):
        def loss_of(params):
            variables = {"params": params, "batch_stats": batch_stats}
            logits, _ = model.apply(
                variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": key}
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), batch_stats, opt_state, loss

    return step

# %% wrong="make_linen_step" says="not depend on the key"
def make_linen_step(model, optimizer):
    @jax.jit
    def step(params, batch_stats, opt_state, key, x, y):
        def loss_and_stats(params):
            variables = {"params": params, "batch_stats": batch_stats}
            logits, changed = model.apply(
                variables,
                x,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(0)},
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
            return losses.mean(), changed["batch_stats"]

        (loss, stats), grads = jax.value_and_grad(loss_and_stats, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), stats, opt_state, loss

    return step

# %% wrong="make_linen_step" says="the model runs in evaluation mode"
def make_linen_step(model, optimizer):
    @jax.jit
    def step(params, batch_stats, opt_state, key, x, y):
        def loss_of(params):
            variables = {"params": params, "batch_stats": batch_stats}
            logits = model.apply(variables, x, train=False)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), batch_stats, opt_state, loss

    return step

# %% wrong="make_linen_step" says="the model runs in Python at each step"
def make_linen_step(model, optimizer):
    def step(params, batch_stats, opt_state, key, x, y):
        def loss_and_stats(params):
            variables = {"params": params, "batch_stats": batch_stats}
            logits, changed = model.apply(
                variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": key}
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
            return losses.mean(), changed["batch_stats"]

        (loss, stats), grads = jax.value_and_grad(loss_and_stats, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), stats, opt_state, loss

    return step

# %% wrong="make_linen_step" says="right for the visible inputs, wrong on hidden ones"
def make_linen_step(model, optimizer):
    @jax.jit
    def step(params, batch_stats, opt_state, key, x, y):
        def loss_and_stats(params):
            variables = {"params": params, "batch_stats": batch_stats}
            logits, changed = model.apply(
                variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": key}
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
            names = ("BatchNorm_0", "BatchNorm_1")
            return losses.mean(), {
                k: changed["batch_stats"][k] if k in names else v for k, v in batch_stats.items()
            }

        (loss, stats), grads = jax.value_and_grad(loss_and_stats, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), stats, opt_state, loss

    return step

# %% wrong="load_linen" says="the running statistics are not copied"
def load_linen(model, variables):
    params = variables["params"]
    for i, layer in enumerate(model.layers):
        layer.kernel[...] = params[f"Dense_{i}"]["kernel"]
        layer.bias[...] = params[f"Dense_{i}"]["bias"]
    for i, norm in enumerate(model.norms):
        norm.scale[...] = params[f"BatchNorm_{i}"]["scale"]
        norm.bias[...] = params[f"BatchNorm_{i}"]["bias"]

# %% wrong="load_linen" says="the scales and biases of the batch norms are not copied"
def load_linen(model, variables):
    params, stats = variables["params"], variables.get("batch_stats", {})
    for i, layer in enumerate(model.layers):
        layer.kernel[...] = params[f"Dense_{i}"]["kernel"]
        layer.bias[...] = params[f"Dense_{i}"]["bias"]
    for i, norm in enumerate(model.norms):
        norm.mean[...] = stats[f"BatchNorm_{i}"]["mean"]
        norm.var[...] = stats[f"BatchNorm_{i}"]["var"]

# %% wrong="load_linen" says="wrong values"
def load_linen(model, variables):
    params, stats = variables["params"], variables.get("batch_stats", {})
    for i, layer in enumerate(model.layers):
        for name, value in params[f"Dense_{i}"].items():
            setattr(layer, name, nnx.Param(value))
    for i, norm in enumerate(model.norms):
        for name, value in (params[f"BatchNorm_{i}"] | stats[f"BatchNorm_{i}"]).items():
            setattr(norm, name, nnx.Param(value))

# %% wrong="load_linen" says="right for the visible inputs, wrong on hidden ones"
def load_linen(model, variables):
    params, stats = variables["params"], variables.get("batch_stats", {})
    dense = [params[name] for name in sorted(params) if name.startswith("Dense")]
    norms = [params[name] | stats[name] for name in sorted(stats)]
    for layer, given in zip(model.layers, dense):
        layer.kernel[...], layer.bias[...] = given["kernel"], given["bias"]
    for norm, given in zip(model.norms, norms):
        norm.scale[...], norm.bias[...] = given["scale"], given["bias"]
        norm.mean[...], norm.var[...] = given["mean"], given["var"]
