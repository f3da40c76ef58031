# %% right="batch_rows"
@partial(jax.jit, static_argnums=(2, 3))
def batch_rows(data_key, step, n, batch_size):
    steps = n // batch_size
    order = jax.random.permutation(jax.random.fold_in(data_key, step // steps), n)
    return order[: steps * batch_size].reshape(steps, batch_size)[step % steps]


# %% right="advance"
def advance(loss_fn, optimizer, decay, state, batch):
    keys = jax.random.split(state["key"])
    loss, pull = jax.vjp(lambda params: loss_fn(params, keys[1], batch), state["params"])
    (grads,) = pull(jnp.ones_like(loss))
    updates, opt_state = optimizer.update(grads, state["opt_state"], params=state["params"])
    new = state.copy()
    new["params"] = jax.tree.map(jnp.add, state["params"], updates)
    new["ema"] = optax.incremental_update(new["params"], state["ema"], 1 - decay)
    new.update(key=keys[0], opt_state=opt_state, step=state["step"] + 1)
    return new, loss


# %% right="save_state"
def save_state(path, state):
    path = os.path.abspath(path)
    if os.path.exists(path):
        shutil.rmtree(path)
    checkpointer = ocp.StandardCheckpointer()
    checkpointer.save(path, state)
    checkpointer.wait_until_finished()
    checkpointer.close()


# %% right="save_state"
def save_state(path, state):
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        checkpointer.save(Path(path).absolute(), args=ocp.args.StandardSave(state), force=True)


# %% right="load_state"
def load_state(path, init):
    restored = ocp.StandardCheckpointer().restore(path, jax.jit(init).eval_shape())
    return restored


# %% right="load_state"
def load_state(path, init):
    target = jax.eval_shape(init)
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(lambda t: jax.ShapeDtypeStruct(t.shape, t.dtype, sharding=place), target)
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        return checkpointer.restore(path, args=ocp.args.StandardRestore(target))


# %% right="load_strict"
def load_strict(path, target):
    checkpointer = ocp.StandardCheckpointer()
    leaves, treedef = jax.tree.flatten(target)
    saved = jax.tree.leaves(checkpointer.restore(path))
    if [leaf.dtype for leaf in saved] != [leaf.dtype for leaf in leaves]:
        raise TypeError("the dtypes differ")
    return treedef.unflatten(saved)


# %% right="run_to"
def run_to(folder, init, step_fn, total, every):
    manager = ocp.CheckpointManager(
        folder,
        options=ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False),
    )
    start = manager.latest_step()
    if start is None:
        start, state = 0, init()
    else:
        target = jax.eval_shape(init)
        state = manager.restore(start, args=ocp.args.StandardRestore(target))
    for step in range(start + 1, total + 1):
        state = step_fn(state)
        if step == total or not step % every:
            manager.save(step, args=ocp.args.StandardSave(state))
    manager.close()
    return state


# %% right="forgotten"
def forgotten(whole, resumed):
    def at(name):
        places = np.nonzero(np.asarray(whole[name] != resumed[name]))[0]
        return places.min() if places.size else np.inf

    if at("rows") < np.inf:
        return "step"
    first = at("losses")
    if first < np.inf:
        return "count" if first else "key"
    return "nothing" if at("ema_losses") == np.inf else "ema"


# %% right="abstract_on"
def abstract_on(init, mesh):
    size = dict(zip(mesh.axis_names, mesh.devices.shape))["data"]
    leaves, treedef = jax.tree.flatten(jax.eval_shape(init))
    made = []
    for leaf in leaves:
        spec = P()
        if leaf.shape and leaf.shape[0] % size == 0:
            spec = P(("data",), *[None] * (leaf.ndim - 1))
        made.append(
            jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))
        )
    return jax.tree.unflatten(treedef, made)


# %% right="manager_for"
def manager_for(folder, metric, mode, keep):
    policies = [
        ocp.checkpoint_managers.BestN(
            get_metric_fn=lambda metrics: metrics[metric], reverse=mode == "min", n=keep
        ),
        ocp.checkpoint_managers.LatestN(n=1),
    ]
    options = ocp.CheckpointManagerOptions(
        best_fn=lambda metrics: metrics[metric] * (1 if mode == "max" else -1),
        preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy(policies),
        enable_async_checkpointing=False,
    )
    return ocp.CheckpointManager(folder, options=options)


# %% right="digest"
def digest(folder):
    entries = []
    for here, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(here, name)
            with open(path, "rb") as file:
                entries.append(
                    (os.path.relpath(path, folder), hashlib.file_digest(file, "sha512").hexdigest())
                )
    return repr(sorted(entries))
