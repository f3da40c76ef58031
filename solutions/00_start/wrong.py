# %% wrong="rescale" says="a NumPy array instead of a JAX array"
def rescale(x):
    x = np.asarray(x)
    spread = x.max() - x.min()
    return (x - x.min()) / (spread if spread > 0 else 1.0)


# %% wrong="rescale" says="the smallest was not moved to 0"
def rescale(x):
    return x / x.max()


# %% wrong="rescale" says="a Python `if` or `while` looks at a traced value"
def rescale(x):
    if x.max() == x.min():
        return jnp.zeros_like(x)
    return (x - x.min()) / (x.max() - x.min())


# %% wrong="rescale" says="NaN instead of a number"
def rescale(x):
    return (x - x.min()) / (x.max() - x.min())


# %% wrong="rescale" says="right for the visible"
def rescale(x):
    spread = x.max(axis=0) - x.min(axis=0)
    return (x - x.min(axis=0)) / jnp.where(spread > 0, spread, 1.0)


# %% wrong="standardise" says="the standard deviation of the whole centred array"
def standardise(x):
    x = x - x.mean(axis=0)
    return x / x.std()


# %% wrong="standardise" says="one mean for the whole array"
def standardise(x):
    x = x - x.mean()
    return x / x.std()


# %% wrong="standardise" says="each row was standardised"
def standardise(x):
    return (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)


# %% wrong="standardise" says="the standard deviation is not"
def standardise(x):
    return (x - x.mean(axis=0)) / x.std()


# %% wrong="standardise" says="divides by n - 1"
def standardise(x):
    return (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)


# %% wrong="standardise" says="JAX arrays cannot be changed in place"
def standardise(x):
    for j in range(x.shape[1]):
        x[:, j] = (x[:, j] - x[:, j].mean()) / x[:, j].std()
    return x


# %% wrong="standardise" says="prints while it is traced"
def standardise(x):
    print("means", x.mean(axis=0))
    return (x - x.mean(axis=0)) / x.std(axis=0)


# %% wrong="standardise" says="right for the visible"
def standardise(x):
    return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-5)


# %% wrong="repeated" says="what it returned is None"
def repeated(f, n):
    def inner(x):
        for _ in range(n):
            x = f(x)
        return x


# %% wrong="repeated" says="the function calls itself without end"
def repeated(f, n):
    inner = lambda x: x
    for _ in range(n):
        inner = lambda x: f(inner(x))
    return inner


# %% wrong="repeated" says="a function is asked for"
def repeated(f, n):
    x = jnp.zeros(2)
    for _ in range(n):
        x = f(x)
    return x


# %% wrong="repeated" says="applied once too often"
def repeated(f, n):
    def apply(x):
        for _ in range(n + 1):
            x = f(x)
        return x

    return apply


# %% wrong="repeated" says="applied once, however large"
def repeated(f, n):
    def apply(x):
        for _ in range(n):
            result = f(x)
        return result

    return apply


# %% wrong="repeated" says="changes the global or outer name"
calls = 0


def repeated(f, n):
    def apply(x):
        global calls
        for _ in range(n):
            calls += 1
            x = f(x)
        return x

    return apply


# %% wrong="repeated" says="right for the visible"
def repeated(f, n):
    def apply(x):
        x = f(x)
        for _ in range(n - 1):
            x = f(x)
        return x

    return apply


# %% wrong="scaled" says="changes its argument"
def scaled(params, factor):
    for name in params:
        params[name] = factor * params[name]
    return params


# %% wrong="scaled" says="a list instead of a dict"
def scaled(params, factor):
    return [factor * array for array in params.values()]


# %% wrong="scaled" says="the key 'b' is missing"
def scaled(params, factor):
    return {"w": factor * params["w"]}


# %% wrong="scaled" says="right for the visible"
def scaled(params, factor):
    return {name: factor * params[name] for name in ("w", "b") if name in params}


# %% wrong="scaled" says="the input came back unchanged"
def scaled(params, factor):
    result = dict(params)
    for array in result.values():
        array = factor * array
    return result
