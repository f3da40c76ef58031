# %% right="running_sums"
def running_sums(x):
    shift = 1
    while shift < x.shape[-1]:
        pad = [(0, 0)] * (x.ndim - 1) + [(shift, 0)]
        x, shift = x + jnp.pad(x, pad)[..., : x.shape[-1]], 2 * shift
    return x

# %% right="true_indices"
def true_indices(mask, size):
    order = jnp.argsort(~mask, stable=True)
    return jnp.where(jnp.arange(mask.shape[0]) < mask.sum(), order, mask.shape[0])[:size]

# %% right="gather_by_ring"
def gather_by_ring(x, mesh):
    size = mesh.shape["data"]

    def body(part):
        me = lax.axis_index("data")
        rows = jnp.zeros((size, *part.shape), part.dtype).at[me].set(part)
        for shift in range(1, size):
            pairs = [(i, (i - shift) % size) for i in range(size)]
            rows = rows.at[(me + shift) % size].set(lax.ppermute(part, "data", pairs))
        return rows.reshape(1, -1)

    mapped = jax.shard_map(body, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    return jax.jit(mapped)(x)

# %% right="padded"
class padded:
    def __init__(self, f, most):
        self.most, self.compiled = most, jax.jit(lambda x, k: f(x, jnp.arange(most) < k))

    def __call__(self, x):
        whole = np.zeros(self.most, np.asarray(x).dtype)
        whole[: len(x)] = x
        return self.compiled(whole, len(x))

# %% right="hessian_diagonal"
def hessian_diagonal(f, x):
    def second(total, i):
        along = lambda t: f(x.at[i].add(t))
        return total, jax.grad(jax.grad(along))(0.0)

    return lax.scan(second, None, jnp.arange(x.shape[0]))[1]

# %% right="jvp_by_vjp"
def jvp_by_vjp(f, x, v):
    y = f(x)
    along = lambda ct: jnp.vdot(jax.vjp(f, x)[1](ct)[0], v)
    return jax.grad(along)(jnp.zeros_like(y))

# %% right="segment_sums"
def segment_sums(x, ids, segments):
    chosen = jnp.arange(segments)[:, None] == ids
    return jnp.einsum("sn,nf->sf", chosen.astype(x.dtype), x)

# %% right="ranks"
def ranks(x):
    n = x.shape[0]
    earlier = jnp.tri(n, k=-1, dtype=bool)
    count = jnp.sum(x[:, None] > x, 1) + jnp.sum((x[:, None] == x) & earlier, 1)
    return count.astype(jnp.int32)

# %% right="key_grid"
def key_grid(key, rows, columns):
    row_keys = [jax.random.fold_in(key, i) for i in range(rows)]
    return jnp.stack([
        jnp.stack([jax.random.fold_in(row_key, j) for j in range(columns)]) for row_key in row_keys
    ])

# %% right="repeated"
def repeated(f):
    @jax.jit
    def call(n, x):
        going = lambda state: state[0] > 0
        return lax.while_loop(going, lambda state: (state[0] - 1, f(state[1])), (n, x))[1]

    return call

# %% right="tree_dot"
def tree_dot(a, b):
    from jax.flatten_util import ravel_pytree

    one, other = ravel_pytree((a, 0.0))[0], ravel_pytree((b, 0.0))[0]
    return one @ other

# %% right="reversed_gradient"
def reversed_gradient(x):
    return x - 2 * (x - lax.stop_gradient(x))
