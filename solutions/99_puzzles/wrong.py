# %% wrong="running_sums" says="the sums run along the first axis"
def running_sums(x):
    return lax.associative_scan(jnp.add, x)

# %% wrong="running_sums" says="cumsum"
def running_sums(x):
    return jnp.cumsum(x, axis=-1)

# %% wrong="running_sums" says="right for the visible inputs"
def running_sums(x):
    for shift in (1, 2, 4, 8, 16):
        moved = jnp.concatenate([jnp.zeros_like(x[..., :shift]), x[..., :-shift]], axis=-1)
        x = x + moved[..., : x.shape[-1]]
    return x

# %% wrong="true_indices" says="what is missing is filled with 0"
def true_indices(mask, size):
    return jnp.nonzero(mask, size=size)[0]

# %% wrong="true_indices" says="int16"
def true_indices(mask, size):
    n = mask.shape[0]
    return jnp.sort(jnp.where(mask, jnp.arange(n), n))[:size].astype(jnp.int16)

# %% wrong="true_indices" says="sort"
def true_indices(mask, size):
    return jnp.nonzero(mask, size=size, fill_value=mask.shape[0])[0]

# %% wrong="true_indices" says="right for the visible inputs"
def true_indices(mask, size):
    n = mask.shape[0]
    return jnp.where(mask.any(), jnp.sort(jnp.where(mask, jnp.arange(n), n))[:size], 0)

# %% wrong="gather_by_ring" says="the parts stand in the order in which they arrived"
def gather_by_ring(x, mesh):
    size = mesh.shape["data"]
    ring = [(i, (i + 1) % size) for i in range(size)]

    def body(part):
        parts = [part]
        for _ in range(size - 1):
            parts.append(lax.ppermute(parts[-1], "data", ring))
        return jnp.concatenate(parts)[None]

    mapped = jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    return jax.jit(mapped)(x)

# %% wrong="gather_by_ring" says="all-gather"
def gather_by_ring(x, mesh):
    def body(part):
        return lax.all_gather(part, "data", tiled=True)[None]

    mapped = jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    return jax.jit(mapped)(x)

# %% wrong="gather_by_ring" says="right for the visible inputs"
def gather_by_ring(x, mesh):
    size = mesh.shape["data"]
    ahead = [(i, (i + 1) % size) for i in range(size)]
    behind = [(target, source) for source, target in ahead]

    def body(part):
        me = lax.axis_index("data")
        rows = jnp.zeros((size, *part.shape), part.dtype).at[me].set(part)
        left = right = part
        for k in range(1, size // 2 + 1):
            left = lax.ppermute(left, "data", ahead)
            rows = rows.at[(me - k) % size].set(left)
        for k in range(1, size // 2):
            right = lax.ppermute(right, "data", behind)
            rows = rows.at[(me + k) % size].set(right)
        return rows.reshape(1, -1)

    mapped = jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    return jax.jit(mapped)(x)

# %% wrong="padded" says="right on some inputs"
def padded(f, most):
    compiled = jax.jit(f)

    def call(x):
        x = np.asarray(x)
        return compiled(np.pad(x, (0, most - len(x))), np.ones(most, bool))

    return call

# %% wrong="padded" says="off by a constant -14"
def padded(f, most):
    compiled = jax.jit(f)

    def call(x):
        x = np.asarray(x)
        return compiled(np.pad(x, (0, 8 - len(x))), np.arange(8) < len(x))

    return call

# %% wrong="padded" says="no known mistake matches"
def padded(f, most):
    def call(x):
        x = np.asarray(x)
        return f(np.pad(x, (0, most - len(x))), np.arange(most) < len(x))

    return call

# %% wrong="padded" says="right on some inputs (7 of 8)"
def padded(f, most):
    compiled = jax.jit(lambda x: f(x, x != 0))
    return lambda x: compiled(np.pad(np.asarray(x), (0, most - len(x))))

# %% wrong="padded" says="right for the visible inputs"
def padded(f, most):
    compiled = jax.jit(f)

    def call(x):
        x = np.asarray(x)
        return compiled(np.pad(x, (0, most - len(x)), "edge"), np.arange(most) < len(x))

    return call

# %% wrong="hessian_diagonal" says="the squares of the gradient"
def hessian_diagonal(f, x):
    return jax.grad(f)(x) ** 2

# %% wrong="hessian_diagonal" says="the sums of the rows of the Hessian"
def hessian_diagonal(f, x):
    return jax.jvp(jax.grad(f), (x,), (jnp.ones_like(x),))[1]

# %% wrong="hessian_diagonal" says="elements"
def hessian_diagonal(f, x):
    return jnp.diag(jax.hessian(f)(x))

# %% wrong="hessian_diagonal" says="right for the visible inputs"
def hessian_diagonal(f, x):
    def second(i):
        direction = jnp.zeros_like(x).at[i].set(x[i])
        return jax.jvp(jax.grad(f), (x,), (direction,))[1][i] / x[i]

    return lax.map(second, jnp.arange(x.shape[0]))

# %% wrong="jvp_by_vjp" says="custom_vjp"
def jvp_by_vjp(f, x, v):
    return jax.jvp(f, (x,), (v,))[1]

# %% wrong="jvp_by_vjp" says="shape"
def jvp_by_vjp(f, x, v):
    y, pull_back = jax.vjp(f, x)
    return pull_back(jnp.ones_like(y))[0] * v

# %% wrong="jvp_by_vjp" says="a difference quotient, and not the derivative"
def jvp_by_vjp(f, x, v):
    return (f(x + 1e-2 * v) - f(x)) / 1e-2

# %% wrong="jvp_by_vjp" says="right for the visible inputs"
def jvp_by_vjp(f, x, v):
    if x.ndim == 0:
        return v
    y, pull_back = jax.vjp(f, x)
    return jax.vjp(lambda ct: pull_back(ct)[0], jnp.zeros_like(y))[1](v)[0]

# %% wrong="segment_sums" says="ids outside are wrapped"
def segment_sums(x, ids, segments):
    return jax.nn.one_hot(ids % segments, segments, dtype=x.dtype).T @ x

# %% wrong="segment_sums" says="dot_general"
def segment_sums(x, ids, segments):
    inside = jnp.where((ids >= 0) & (ids < segments), ids, segments)
    return jnp.zeros((segments, x.shape[1]), x.dtype).at[inside].add(x)

# %% wrong="segment_sums" says="float32"
def segment_sums(x, ids, segments):
    return jax.nn.one_hot(ids, segments).T @ x

# %% wrong="segment_sums" says="right for the visible inputs"
def segment_sums(x, ids, segments):
    return ((ids == jnp.arange(5)[:, None]).astype(x.dtype) @ x)[:segments]

# %% wrong="ranks" says="ties share a place"
def ranks(x):
    return jnp.sum(x[None] < x[:, None], axis=1, dtype=jnp.int32)

# %% wrong="ranks" says="the indices that would sort x, not the places"
def ranks(x):
    return jnp.argsort(x).astype(jnp.int32)

# %% wrong="ranks" says="int8"
def ranks(x):
    i = jnp.arange(x.shape[0])
    before = (x[None] < x[:, None]) | ((x[None] == x[:, None]) & (i[None] < i[:, None]))
    return jnp.sum(before, axis=1, dtype=jnp.int8)

# %% wrong="ranks" says="sort"
def ranks(x):
    return jnp.argsort(jnp.argsort(x)).astype(jnp.int32)

# %% wrong="ranks" says="right for the visible inputs"
def ranks(x):
    i = jnp.arange(x.shape[0])
    difference = x[None] - x[:, None]
    before = (difference < 0) | ((difference == 0) & (i[None] < i[:, None]))
    return jnp.sum(before, axis=1, dtype=jnp.int32)

# %% wrong="key_grid" says="the result was reshaped"
def key_grid(key, rows, columns):
    return jax.random.split(key, rows * columns)

# %% wrong="key_grid" says="right on some inputs (1 of 3)"
def key_grid(key, rows, columns):
    return jax.random.split(key, (rows, columns))

# %% wrong="key_grid" says="right on some inputs (1 of 3) and"
def key_grid(key, rows, columns):
    places = jnp.arange(rows)[:, None] + jnp.arange(columns)
    return jax.vmap(jax.vmap(lambda i: jax.random.fold_in(key, i)))(places)

# %% wrong="key_grid" says="right for the visible inputs"
def key_grid(key, rows, columns):
    places = 16 * jnp.arange(rows)[:, None] + jnp.arange(columns)
    return jax.vmap(jax.vmap(lambda i: jax.random.fold_in(key, i)))(places)

# %% wrong="repeated" says="right on some inputs"
def repeated(f):
    return jax.jit(lambda n, x: lax.fori_loop(1, n, lambda i, y: f(y), x))

# %% wrong="repeated" says="carry"
def repeated(f):
    return jax.jit(lambda n, x: lax.fori_loop(0, n, lambda i, y: jnp.asarray(f(y)), x))

# %% wrong="repeated" says="no known mistake matches"
def repeated(f):
    def call(n, x):
        for _ in range(n):
            x = f(x)
        return x

    return jax.jit(call, static_argnums=0)

# %% wrong="repeated" says="right for the visible inputs"
def repeated(f):
    def turn(i, carry):
        n, y = carry
        return n, jax.tree.map(lambda new, old: jnp.where(i < n, new, old), f(y), y)

    return jax.jit(lambda n, x: lax.fori_loop(0, 10, turn, (n, x))[1])

# %% wrong="tree_dot" says="wrong values"
def tree_dot(a, b):
    total = lambda tree: sum(jnp.sum(leaf) for leaf in jax.tree.leaves(tree))
    return total(a) * total(b)

# %% wrong="tree_dot" says="NumPy"
def tree_dot(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b))
    return jnp.asarray(sum(np.sum(np.asarray(x) * np.asarray(y)) for x, y in pairs), jnp.float32)

# %% wrong="tree_dot" says="right for the visible inputs"
def tree_dot(a, b):
    return jax.tree.reduce(jnp.add, jax.tree.map(lambda x, y: jnp.sum(jnp.asarray(x) * y), a, b))

# %% wrong="reversed_gradient" says="the sign is flipped"
def reversed_gradient(x):
    return -x

# %% wrong="reversed_gradient" says="the gradient"
def reversed_gradient(x):
    return lax.stop_gradient(x)

# %% wrong="reversed_gradient" says="custom_vjp_call"
@jax.custom_vjp
def reversed_gradient(x):
    return x

reversed_gradient.defvjp(lambda x: (x, None), lambda _, ct: (-ct,))

# %% wrong="reversed_gradient" says="right for the visible inputs"
def reversed_gradient(x):
    return lax.stop_gradient(x) * (2 - x / lax.stop_gradient(x))
