# %% right="MLP"
class MLP(nnx.Module):
    def __init__(self, sizes, *, rngs):
        self.layers = nnx.List([])
        for n, m in zip(sizes, sizes[1:]):
            init = nnx.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")
            self.layers.append(nnx.Linear(n, m, kernel_init=init, rngs=rngs))

    def __call__(self, x):
        for i, layer in enumerate(self.layers):
            x = layer(x)
            x = jnp.maximum(x, 0) if i + 1 < len(self.layers) else x
        return x

# %% right="load_params"
def load_params(model, params):
    for layer, given in zip(model.layers, params):
        layer.kernel, layer.bias = nnx.Param(given["w"]), nnx.Param(given["b"])

# %% right="load_params"
def load_params(model, params):
    layers = {i: {"kernel": p["w"], "bias": p["b"]} for i, p in enumerate(params)}
    nnx.update(model, nnx.State({"layers": layers}))

# %% right="make_train_step"
def make_train_step(loss_fn):
    def step(model, optimizer, x, y):
        diff = nnx.DiffState(0, nnx.Param)
        loss, grads = nnx.value_and_grad(loss_fn, argnums=diff)(model, x, y)
        optimizer.update(model, grads)
        return loss

    return nnx.jit(step)

# %% right="make_train_step"
def make_train_step(loss_fn):
    @jax.jit
    def pure(graphdef, state, x, y):
        model, optimizer = nnx.merge(graphdef, state)
        loss, grads = nnx.value_and_grad(loss_fn)(model, x, y)
        optimizer.update(model, grads)
        return nnx.state((model, optimizer)), loss

    def step(model, optimizer, x, y):
        graphdef, state = nnx.split((model, optimizer))
        state, loss = pure(graphdef, state, x, y)
        nnx.update((model, optimizer), state)
        return loss

    return step

# %% right="predict_samples"
def predict_samples(model, x, samples):
    @nnx.jit
    @nnx.split_rngs(splits=samples)
    @nnx.vmap(in_axes=(nnx.StateAxes({nnx.RngState: 0, ...: None}), None), out_axes=0)
    def run(model, x):
        return model(x)

    return run(model, x)

# %% right="predict_samples"
def predict_samples(model, x, samples):
    graphdef, state = nnx.split(model)

    def body(state, _):
        model = nnx.merge(graphdef, state, copy=True)
        y = model(x)
        return nnx.state(model), y

    state, out = jax.lax.scan(body, state, length=samples)
    nnx.update(model, state)
    return out

# %% right="make_pure_step"
def make_pure_step(graphdef, loss_fn, optimizer):
    def step(params, rest, opt_state, x, y):
        model = nnx.merge(graphdef, params, rest, copy=True)
        loss, grads = nnx.value_and_grad(loss_fn)(model, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        new = jax.tree.map(jnp.add, params, updates)
        return new, nnx.state(model, nnx.Not(nnx.Param)), opt_state, loss

    return jax.jit(step)

# %% right="RunningNorm"
class RunningNorm(nnx.Module):
    def __init__(self, features, *, momentum):
        self.mean, self.var = nnx.BatchStat(jnp.zeros(features)), nnx.BatchStat(jnp.ones(features))
        self.keep, self.use_running_average = momentum, False

    def __call__(self, x):
        if self.use_running_average:
            m, v = self.mean[...], self.var[...]
        else:
            rows = x.reshape(-1, x.shape[-1])
            m, v = rows.mean(0), rows.var(0)
            for variable, new in ((self.mean, m), (self.var, v)):
                variable[...] += (1 - self.keep) * (new - variable[...])
        return (x - m) * jax.lax.rsqrt(v + 1e-5)

# %% right="make_finetuning"
def make_finetuning(model, loss_fn, optimizer, layer):
    chosen = nnx.All(nnx.Param, lambda path, _: tuple(path)[:2] == ("layers", layer))
    state = nnx.Optimizer(model, optimizer, wrt=chosen)

    @nnx.jit
    def step(model, state, x, y):
        loss, grads = nnx.value_and_grad(loss_fn)(model, x, y)
        state.update(model, grads)
        return loss

    return state, step

# %% right="make_ensemble"
def make_ensemble(make, key, members):
    make_all = nnx.vmap(lambda key: make(nnx.Rngs(key)), in_axes=0, out_axes=0)
    return make_all(jax.random.split(key, members))

# %% right="make_ensemble"
def make_ensemble(make, key, members):
    models = [make(nnx.Rngs(jax.random.fold_in(key, i))) for i in range(members)]
    graphdef = nnx.split(models[0])[0]
    states = [nnx.state(model) for model in models]
    return nnx.merge(graphdef, jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))

# %% right="apply_blocks"
def apply_blocks(blocks, x):
    graphdef, state = nnx.split(blocks)
    return jax.lax.scan(lambda x, one: (nnx.merge(graphdef, one)(x), None), x, state)[0]

# %% right="make_linen_step"
def make_linen_step(model, optimizer):
    def loss_and_stats(params, batch_stats, key, x, y):
        variables = {"params": params, "batch_stats": batch_stats}
        logits, changed = model.apply(
            variables, x, True, mutable="batch_stats", rngs={"dropout": key}
        )
        log_p = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean(), changed

    def step(params, batch_stats, opt_state, key, x, y):
        grad = jax.value_and_grad(loss_and_stats, has_aux=True)
        (loss, changed), grads = grad(params, batch_stats, key, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), changed["batch_stats"], opt_state, loss

    return jax.jit(step)

# %% right="load_linen"
def load_linen(model, variables):
    params, stats = variables["params"], variables.get("batch_stats", {})
    groups = {"layers": "Dense", "norms": "BatchNorm"}
    for attribute, name in groups.items():
        for i, module in enumerate(getattr(model, attribute)):
            given = params[f"{name}_{i}"] | stats.get(f"{name}_{i}", {})
            for key, value in given.items():
                getattr(module, key)[...] = value
