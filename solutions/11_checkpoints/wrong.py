# %% wrong="batch_rows" says="every epoch has the order of the first"
def batch_rows(data_key, step, n, batch_size):
    position = step % (n // batch_size)
    order = jax.random.permutation(jax.random.fold_in(data_key, 0), n)
    return jax.lax.dynamic_slice_in_dim(order, position * batch_size, batch_size)

# %% wrong="batch_rows" says="needs a concrete value while it is traced"
def batch_rows(data_key, step, n, batch_size):
    epoch, position = jnp.divmod(step, n // batch_size)
    order = jax.random.permutation(jax.random.fold_in(data_key, epoch), n)
    start = int(position) * batch_size
    return order[start : start + batch_size]

# %% wrong="batch_rows" says="right on some inputs"
def batch_rows(data_key, step, n, batch_size):
    epoch, position = jnp.divmod(step, -(-n // batch_size))
    order = jax.random.permutation(jax.random.fold_in(data_key, epoch), n)
    return jax.lax.dynamic_slice_in_dim(order, position * batch_size, batch_size)

# %% wrong="batch_rows" says="right for the visible inputs, wrong on hidden ones"
def batch_rows(data_key, step, n, batch_size):
    epoch, position = jnp.divmod(step, n // batch_size)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(data_key, jnp.arange(100))
    order = jax.random.permutation(keys[epoch], n)
    return jax.lax.dynamic_slice_in_dim(order, position * batch_size, batch_size)

# %% wrong="advance" says="the average takes in the old parameters"
def advance(loss_fn, optimizer, decay, state, batch):
    key, subkey = jax.random.split(state["key"])
    loss, grads = jax.value_and_grad(loss_fn)(state["params"], subkey, batch)
    updates, opt_state = optimizer.update(grads, state["opt_state"], state["params"])
    params = optax.apply_updates(state["params"], updates)
    ema = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, state["ema"], state["params"])
    return {
        "params": params,
        "opt_state": opt_state,
        "ema": ema,
        "key": key,
        "step": state["step"] + 1,
    }, loss

# %% wrong="advance" says="the two subkeys are exchanged"
def advance(loss_fn, optimizer, decay, state, batch):
    subkey, key = jax.random.split(state["key"])
    loss, grads = jax.value_and_grad(loss_fn)(state["params"], subkey, batch)
    updates, opt_state = optimizer.update(grads, state["opt_state"], state["params"])
    params = optax.apply_updates(state["params"], updates)
    ema = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, state["ema"], params)
    return {
        "params": params,
        "opt_state": opt_state,
        "ema": ema,
        "key": key,
        "step": state["step"] + 1,
    }, loss

# %% wrong="advance" says="the key is not carried on"
def advance(loss_fn, optimizer, decay, state, batch):
    _, subkey = jax.random.split(state["key"])
    loss, grads = jax.value_and_grad(loss_fn)(state["params"], subkey, batch)
    updates, opt_state = optimizer.update(grads, state["opt_state"], state["params"])
    params = optax.apply_updates(state["params"], updates)
    ema = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, state["ema"], params)
    return state | {
        "params": params,
        "opt_state": opt_state,
        "ema": ema,
        "step": state["step"] + 1,
    }, loss

# %% wrong="advance" says="the key that the loss has used is carried on"
def advance(loss_fn, optimizer, decay, state, batch):
    _, key = jax.random.split(state["key"])
    loss, grads = jax.value_and_grad(loss_fn)(state["params"], key, batch)
    updates, opt_state = optimizer.update(grads, state["opt_state"], state["params"])
    params = optax.apply_updates(state["params"], updates)
    ema = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, state["ema"], params)
    return {
        "params": params,
        "opt_state": opt_state,
        "ema": ema,
        "key": key,
        "step": state["step"] + 1,
    }, loss

# %% wrong="advance" says="in place"
def advance(loss_fn, optimizer, decay, state, batch):
    state["key"], subkey = jax.random.split(state["key"])
    loss, grads = jax.value_and_grad(loss_fn)(state["params"], subkey, batch)
    updates, state["opt_state"] = optimizer.update(grads, state["opt_state"], state["params"])
    state["params"] = optax.apply_updates(state["params"], updates)
    state["ema"] = jax.tree.map(
        lambda e, p: decay * e + (1 - decay) * p, state["ema"], state["params"]
    )
    state["step"] = state["step"] + 1
    return state, loss

# %% wrong="advance" says="right for the visible inputs, wrong on hidden ones"
def advance(loss_fn, optimizer, decay, state, batch):
    key, subkey = jax.random.split(state["key"])
    loss, grads = jax.value_and_grad(loss_fn)(state["params"], subkey, batch)
    updates, opt_state = optimizer.update(grads, state["opt_state"], state["params"])
    params = optax.apply_updates(state["params"], updates)
    decay = jnp.minimum(decay, (1 + state["step"]) / (2 + state["step"]))
    ema = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, state["ema"], params)
    return {
        "params": params,
        "opt_state": opt_state,
        "ema": ema,
        "key": key,
        "step": state["step"] + 1,
    }, loss

# %% wrong="save_state" says="when save_state returns"
def save_state(path, state):
    ocp.StandardCheckpointer().save(Path(path).resolve(), state, force=True)

# %% wrong="save_state" says="Error parsing object member"
def save_state(path, state):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, state, force=True)

# %% wrong="save_state" says="already exists"
def save_state(path, state):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(Path(path).resolve(), state)

# %% wrong="save_state" says="right for the visible inputs, wrong on hidden ones"
def save_state(path, state):
    def batched(leaf):
        return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) and leaf.ndim

    state = jax.tree.map(lambda leaf: jax.random.key_data(leaf) if batched(leaf) else leaf, state)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(Path(path).resolve(), state, force=True)

# %% wrong="load_state" says="a list instead of a tuple"
def load_state(path, init):
    return ocp.StandardCheckpointer().restore(path)

# %% wrong="load_state" says="init was executed"
def load_state(path, init):
    return ocp.StandardCheckpointer().restore(path, init())

# %% wrong="load_state" says="no known mistake matches"
def load_state(path, init):
    return jax.jit(init)()

# %% wrong="load_state" says="have changed places"
def load_state(path, init):
    structure = jax.tree.structure(jax.eval_shape(init))
    with ocp.StandardCheckpointer() as reader:
        return jax.tree.unflatten(structure, jax.tree.leaves(reader.restore(path)))

# %% wrong="load_state" says="right for the visible inputs, wrong on hidden ones"
def load_state(path, init):
    state = ocp.StandardCheckpointer().restore(path)
    adam, _ = state["opt_state"]
    return state | {"opt_state": (optax.ScaleByAdamState(**adam), optax.EmptyState())}

# %% wrong="load_strict" says="no other dtype is refused"
def load_strict(path, target):
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path, target)

# %% wrong="load_strict" says="the code raised TypeError"
def load_strict(path, target):
    with ocp.StandardCheckpointer() as checkpointer:
        saved = checkpointer.restore(path)
    if jax.tree.map(jnp.result_type, saved) != jax.tree.map(jnp.result_type, target):
        raise TypeError("the dtypes differ")
    return saved

# %% wrong="load_strict" says="only the first leaf is looked at"
def load_strict(path, target):
    with ocp.StandardCheckpointer() as checkpointer:
        saved = checkpointer.restore(path)
        if jax.tree.leaves(saved)[0].dtype != jax.tree.leaves(target)[0].dtype:
            raise TypeError("the dtypes differ")
        return checkpointer.restore(path, target)

# %% wrong="load_strict" says="right for the visible inputs, wrong on hidden ones"
def load_strict(path, target):
    with ocp.StandardCheckpointer() as checkpointer:
        saved = checkpointer.restore(path)
        for leaf, wanted in zip(jax.tree.leaves(saved), jax.tree.leaves(target)):
            if jnp.promote_types(leaf.dtype, wanted.dtype) != wanted.dtype:
                raise TypeError("the dtype loses digits")
        return checkpointer.restore(path, target)

# %% wrong="run_to" says="nothing is saved at the end"
def run_to(folder, init, step_fn, total, every):
    with ocp.CheckpointManager(folder) as manager:
        state = init()
        if (newest := manager.latest_step()) is not None:
            state = manager.restore(newest, args=ocp.args.StandardRestore(state))
        while (step := int(state["step"])) < total:
            state = step_fn(state)
            if (step + 1) % every == 0:
                manager.save(step + 1, args=ocp.args.StandardSave(state))
    return state

# %% wrong="run_to" says="each run begins anew"
def run_to(folder, init, step_fn, total, every):
    with ocp.CheckpointManager(folder) as manager:
        state = init()
        while (step := int(state["step"])) < total:
            state = step_fn(state)
            if (step + 1) % every == 0 or step + 1 == total:
                manager.save(step + 1, args=ocp.args.StandardSave(state))
    return state

# %% wrong="run_to" says="the key is restarted"
def run_to(folder, init, step_fn, total, every):
    with ocp.CheckpointManager(folder) as manager:
        state = init()
        if (newest := manager.latest_step()) is not None:
            saved = manager.restore(newest, args=ocp.args.StandardRestore(state))
            state = saved | {"key": state["key"]}
        while (step := int(state["step"])) < total:
            state = step_fn(state)
            if (step + 1) % every == 0 or step + 1 == total:
                manager.save(step + 1, args=ocp.args.StandardSave(state))
    return state

# %% wrong="run_to" says="the optimizer state is restarted"
def run_to(folder, init, step_fn, total, every):
    with ocp.CheckpointManager(folder) as manager:
        state = init()
        if (newest := manager.latest_step()) is not None:
            saved = manager.restore(newest, args=ocp.args.StandardRestore(state))
            state = saved | {"opt_state": state["opt_state"]}
        while (step := int(state["step"])) < total:
            state = step_fn(state)
            if (step + 1) % every == 0 or step + 1 == total:
                manager.save(step + 1, args=ocp.args.StandardSave(state))
    return state

# %% wrong="run_to" says="right except at (8,)"
def run_to(folder, init, step_fn, total, every):
    with ocp.CheckpointManager(folder) as manager:
        state = init()
        if manager.latest_step() is not None:
            state = manager.restore(
                manager.latest_step(), args=ocp.args.StandardRestore(jax.eval_shape(init))
            )
        taken = 0
        while state["step"] < total:
            state = step_fn(state)
            taken += 1
            if taken % every == 0 or state["step"] == total:
                manager.save(int(state["step"]), args=ocp.args.StandardSave(state))
        return state

# %% wrong="run_to" says="right for the visible inputs, wrong on hidden ones"
def run_to(folder, init, step_fn, total, every):
    with ocp.CheckpointManager(folder) as manager:
        state = init()
        if (newest := manager.latest_step()) is not None:
            state = manager.restore(newest, args=ocp.args.StandardRestore(state))
        while True:
            state = step_fn(state)
            step = int(state["step"])
            if step % every == 0 or step == total:
                manager.save(step, args=ocp.args.StandardSave(state))
            if step >= total:
                return state

# %% wrong="forgotten" says="instead of 'step'"
def forgotten(whole, resumed):
    if np.any(whole["losses"][0] != resumed["losses"][0]):
        return "key"
    if np.any(whole["rows"] != resumed["rows"]):
        return "step"
    if np.any(whole["losses"] != resumed["losses"]):
        return "count"
    return "ema" if np.any(whole["ema_losses"] != resumed["ema_losses"]) else "nothing"

# %% wrong="forgotten" says="instead of 'count'"
def forgotten(whole, resumed):
    if not np.array_equal(whole["rows"], resumed["rows"]):
        return "step"
    if not np.isclose(whole["losses"][0], resumed["losses"][0]):
        return "key"
    if not np.allclose(whole["losses"], resumed["losses"]):
        return "count"
    return "nothing" if np.allclose(whole["ema_losses"], resumed["ema_losses"]) else "ema"

# %% wrong="forgotten" says="instead of 'key'"
def forgotten(whole, resumed):
    if not np.array_equal(whole["rows"], resumed["rows"]):
        return "step"
    if not np.array_equal(whole["ema_losses"], resumed["ema_losses"]):
        return "ema"
    if whole["losses"][0] != resumed["losses"][0]:
        return "key"
    return "nothing" if np.array_equal(whole["losses"], resumed["losses"]) else "count"

# %% wrong="forgotten" says="right for the visible inputs, wrong on hidden ones"
def forgotten(whole, resumed):
    if (whole["rows"][:2] != resumed["rows"][:2]).any():
        return "step"
    if whole["losses"][0] != resumed["losses"][0]:
        return "key"
    if whole["losses"][1] != resumed["losses"][1]:
        return "count"
    return "ema" if (whole["ema_losses"] != resumed["ema_losses"]).any() else "nothing"

# %% wrong="abstract_on" says="some leaves of the target are not"
def abstract_on(init, mesh):
    return jax.tree.map(lambda leaf: NamedSharding(mesh, P()), jax.eval_shape(init))

# %% wrong="abstract_on" says="replicated"
def abstract_on(init, mesh):
    def place(leaf):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, P()))

    return jax.tree.map(place, jax.eval_shape(init))

# %% wrong="abstract_on" says="other parts"
def abstract_on(init, mesh):
    def place(leaf):
        cut = leaf.ndim > 0 and leaf.shape[0] % mesh.size == 0
        sharding = NamedSharding(mesh, P(mesh.axis_names) if cut else P())
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(place, jax.eval_shape(init))

# %% wrong="abstract_on" says="floats instead of integers"
def abstract_on(init, mesh):
    def place(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.ShapeDtypeStruct((), leaf.dtype, sharding=NamedSharding(mesh, P()))
        cut = leaf.ndim > 0 and leaf.shape[0] % mesh.shape["data"] == 0
        sharding = NamedSharding(mesh, P("data") if cut else P())
        return jax.ShapeDtypeStruct(leaf.shape, jnp.float32, sharding=sharding)

    return jax.tree.map(place, jax.eval_shape(init))

# %% wrong="abstract_on" says="the result is replicated"
def abstract_on(init, mesh):
    def place(leaf):
        cut = leaf.ndim > 0 and leaf.shape[0] % mesh.size == 0
        sharding = NamedSharding(mesh, P("data") if cut else P())
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(place, jax.eval_shape(init))

# %% wrong="abstract_on" says="right for the visible inputs, wrong on hidden ones"
def abstract_on(init, mesh):
    def place(leaf):
        cut = leaf.ndim > 0 and leaf.shape[0] % mesh.devices.shape[0] == 0
        sharding = NamedSharding(mesh, P(mesh.axis_names[0]) if cut else P())
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(place, jax.eval_shape(init))

# %% wrong="manager_for" says="the newest checkpoint is deleted"
def manager_for(folder, metric, mode, keep):
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, best_fn=lambda metrics: metrics[metric], best_mode=mode
    )
    return ocp.CheckpointManager(folder, options=options)

# %% wrong="manager_for" says="the newest checkpoints are kept"
def manager_for(folder, metric, mode, keep):
    options = ocp.CheckpointManagerOptions(
        preservation_policy=ocp.checkpoint_managers.LatestN(keep + 1),
        best_fn=lambda metrics: metrics[metric],
        best_mode=mode,
    )
    return ocp.CheckpointManager(folder, options=options)

# %% wrong="manager_for" says="whatever `mode` says"
def manager_for(folder, metric, mode, keep):
    managers = ocp.checkpoint_managers
    best = managers.BestN(get_metric_fn=lambda metrics: -metrics[metric], n=keep)
    options = ocp.CheckpointManagerOptions(
        best_fn=lambda metrics: metrics[metric],
        best_mode=mode,
        preservation_policy=managers.AnyPreservationPolicy([managers.LatestN(1), best]),
    )
    return ocp.CheckpointManager(folder, options=options)

# %% wrong="manager_for" says="gives the step with the largest value"
def manager_for(folder, metric, mode, keep):
    managers = ocp.checkpoint_managers
    best = managers.BestN(
        get_metric_fn=lambda metrics: metrics[metric], reverse=mode == "min", n=keep
    )
    options = ocp.CheckpointManagerOptions(
        best_fn=lambda metrics: metrics[metric],
        preservation_policy=managers.AnyPreservationPolicy([managers.LatestN(1), best]),
    )
    return ocp.CheckpointManager(folder, options=options)

# %% wrong="manager_for" says="gives the newest step"
def manager_for(folder, metric, mode, keep):
    managers = ocp.checkpoint_managers
    best = managers.BestN(
        get_metric_fn=lambda metrics: metrics[metric], reverse=mode == "min", n=keep
    )
    policy = managers.AnyPreservationPolicy([managers.LatestN(1), best])
    options = ocp.CheckpointManagerOptions(preservation_policy=policy)
    return ocp.CheckpointManager(folder, options=options)

# %% wrong="manager_for" says="right for the visible inputs, wrong on hidden ones"
def manager_for(folder, metric, mode, keep):
    managers = ocp.checkpoint_managers
    best = managers.BestN(
        get_metric_fn=lambda metrics: abs(metrics[metric]), reverse=mode == "min", n=keep
    )
    options = ocp.CheckpointManagerOptions(
        best_fn=lambda metrics: metrics[metric],
        best_mode=mode,
        preservation_policy=managers.AnyPreservationPolicy([managers.LatestN(1), best]),
    )
    return ocp.CheckpointManager(folder, options=options)

# %% wrong="digest" says="the time of a file enters the digest"
def digest(folder):
    total = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            total.update(str(path).encode() + path.read_bytes())
    return total.hexdigest()

# %% wrong="digest" says="the names of the files are left out"
def digest(folder):
    total = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            total.update(path.read_bytes())
    return total.hexdigest()

# %% wrong="digest" says="the bytes of the files are left out"
def digest(folder):
    files = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    return repr([(str(path.relative_to(folder)), path.stat().st_size) for path in files])

# %% wrong="digest" says="subdirectories are left out"
def digest(folder):
    total = hashlib.sha256()
    for path in sorted(Path(folder).iterdir()):
        if path.is_file():
            content = path.read_bytes()
            total.update(path.name.encode() + len(content).to_bytes(8, "big") + content)
    return total.hexdigest()

# %% wrong="digest" says="right except at (6,)"
def digest(folder):
    parts = []
    for path in Path(folder).rglob("*"):
        if path.is_file():
            parts.append(path.name + ":" + hashlib.sha256(path.read_bytes()).hexdigest())
    return hashlib.sha256("/".join(sorted(parts)).encode()).hexdigest()

# %% wrong="digest" says="right for the visible inputs, wrong on hidden ones"
def digest(folder):
    total = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            total.update(str(path.relative_to(folder)).encode() + path.read_bytes()[:4096])
            total.update(b"%d" % path.stat().st_size)
    return total.hexdigest()
