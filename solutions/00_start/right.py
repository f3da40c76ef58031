# %% right="rescale"
@jax.jit
def rescale(x):
    low, high = jnp.min(x), jnp.max(x)
    return jnp.where(high > low, (x - low) / jnp.maximum(high - low, 1e-30), 0.0)


# %% right="standardise"
def standardise(x):
    columns = [(column - jnp.mean(column)) / jnp.std(column) for column in x.T]
    return jnp.stack(columns, axis=1)


# %% right="standardise"
import warnings


def standardise(x):
    warnings.warn("population standard deviation")
    centred = x - jnp.mean(x, 0, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, 0, keepdims=True))


# %% right="repeated"
def repeated(f, n):
    return (lambda x: x) if n == 0 else lambda x: f(repeated(f, n - 1)(x))


# %% right="repeated"
def repeated(f, n):
    return lambda x: jax.lax.fori_loop(0, n, lambda _, y: f(y), x)


# %% right="scaled"
def scaled(params, factor):
    return jax.tree.map(lambda array: factor * array, params)
