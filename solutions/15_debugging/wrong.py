# %% wrong="tracing_errors" says="instead of 'ConcretizationTypeError'"
def tracing_errors():
    return {
        "TracerBoolConversionError": lambda x: 1 if x[0] > 0 else 0,
        "TracerIntegerConversionError": lambda x: [10, 11, 12, 13][x[0]],
        "TracerArrayConversionError": lambda x: np.sin(x),
        "ConcretizationTypeError": lambda x: 1 if x.any() else 0,  # a subclass, not precisely that class
        "NonConcreteBooleanIndexError": lambda x: x[x > 1],
    }

# %% wrong="tracing_errors" says="instead of 'TracerIntegerConversionError'"
def tracing_errors():
    return {
        "TracerBoolConversionError": lambda x: 1 if x[0] > 0 else 0,
        "TracerIntegerConversionError": lambda x: int(x[0]),
        "TracerArrayConversionError": lambda x: np.sin(x),
        "ConcretizationTypeError": lambda x: float(x[0]),
        "NonConcreteBooleanIndexError": lambda x: x[x > 1],
    }

# %% wrong="tracing_errors" says="instead of 'no error'"
def tracing_errors():
    return {
        "TracerBoolConversionError": lambda x: 1 if x[0] > 0 else 0,
        "TracerIntegerConversionError": lambda x: [10, 11, 12][x[0]],  # 3 is out of its range
        "TracerArrayConversionError": lambda x: np.sin(x),
        "ConcretizationTypeError": lambda x: float(x[0]),
        "NonConcreteBooleanIndexError": lambda x: x[x > 1],
    }

# %% wrong="tracing_errors" says="right for the visible inputs, wrong on hidden ones"
def tracing_errors():
    return {
        "TracerBoolConversionError": lambda x: 1 if x[0] > 0 else 0,
        "TracerIntegerConversionError": lambda x: [10, 11, 12, 13][x[0]],
        "TracerArrayConversionError": lambda x: np.sin(x),
        "ConcretizationTypeError": lambda x: 1 / float(x[0] - 2),  # 1 and 3 only
        "NonConcreteBooleanIndexError": lambda x: x[x > 1],
    }

# %% wrong="tracing_errors" says="the key 'NonConcreteBooleanIndexError' is missing"
def tracing_errors():
    return {
        "TracerBoolConversionError": lambda x: 1 if x[0] > 0 else 0,
        "TracerIntegerConversionError": lambda x: [10, 11, 12, 13][x[0]],
        "TracerArrayConversionError": lambda x: np.sin(x),
        "ConcretizationTypeError": lambda x: float(x[0]),
    }

# %% wrong="other_errors" says="instead of 'KeyReuseError'"
def other_errors():
    def unexpected():
        kept = []
        jax.jit(lambda x: kept.append(x))(1.0)
        return kept[0] + 1

    def reused():  # the checker is off
        key = jax.random.key(0)
        return jax.random.normal(key) + jax.random.normal(key)

    return {
        "UnexpectedTracerError": unexpected,
        "KeyReuseError": reused,
        "InconclusiveDimensionOperation": lambda: export.symbolic_shape("n")[0] > 3,
        "JaxRuntimeError": lambda: jnp.zeros((10**6, 10**6)),
    }

# %% wrong="other_errors" says="'JaxRuntimeError from a `raise` of your own' instead of 'JaxRuntimeError'"
def other_errors():
    def unexpected():
        kept = []
        jax.jit(lambda x: kept.append(x))(1.0)
        return kept[0] + 1

    def reused():
        key = jax.random.key(0)
        with jax.debug_key_reuse(True):
            return jax.random.normal(key) + jax.random.normal(key)

    def by_hand():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    return {
        "UnexpectedTracerError": unexpected,
        "KeyReuseError": reused,
        "InconclusiveDimensionOperation": lambda: export.symbolic_shape("n")[0] > 3,
        "JaxRuntimeError": by_hand,
    }

# %% wrong="other_errors" says="instead of 'UnexpectedTracerError'"
def other_errors():
    kept, calls = [], []

    def unexpected():  # the second call uses a list that is empty again
        if not kept:
            jax.jit(lambda x: kept.append(x))(1.0)
        calls.append(0)
        return kept.pop() + 1 if len(calls) == 1 else None

    def reused():
        key = jax.random.key(0)
        with jax.debug_key_reuse(True):
            return jax.random.normal(key) + jax.random.normal(key)

    return {
        "UnexpectedTracerError": unexpected,
        "KeyReuseError": reused,
        "InconclusiveDimensionOperation": lambda: export.symbolic_shape("n")[0] > 3,
        "JaxRuntimeError": lambda: jnp.zeros((10**6, 10**6)),
    }

# %% wrong="other_errors" says="right for the visible inputs, wrong on hidden ones"
def other_errors():
    def unexpected():
        kept = []
        jax.jit(lambda x: kept.append(x))(1.0)
        return kept[0] + 1

    def reused():
        key = jax.random.key(0)
        jax.config.update("jax_debug_key_reuse", True)
        try:
            return jax.random.normal(key) + jax.random.normal(key)
        finally:
            jax.config.update("jax_debug_key_reuse", False)  # also where it was on before

    return {
        "UnexpectedTracerError": unexpected,
        "KeyReuseError": reused,
        "InconclusiveDimensionOperation": lambda: export.symbolic_shape("n")[0] > 3,
        "JaxRuntimeError": lambda: jnp.zeros((10**6, 10**6)),
    }

# %% wrong="other_errors" says="'JaxRuntimeError of checkify' instead of 'JaxRuntimeError'"
def other_errors():
    def leaked():
        kept = []
        jax.jit(lambda x: kept.append(x))(1.0)
        return kept[0] + 1

    def reused():
        with jax.debug_key_reuse(True):
            key = jax.random.key(0)
            return jax.random.normal(key) + jax.random.normal(key)

    def failed():
        error, _ = checkify.checkify(lambda x: checkify.check(x > 0, "not positive"))(-1.0)
        error.throw()

    return {
        "UnexpectedTracerError": leaked,
        "KeyReuseError": reused,
        "InconclusiveDimensionOperation": lambda: export.symbolic_shape("n")[0] > 5,
        "JaxRuntimeError": failed,
    }

# %% wrong="watched_descent" says="a value was asked for that needs a concrete value"
def watched_descent(f, x, learning_rate, steps, log):
    def step(x, i):
        value, gradient = jax.value_and_grad(f)(x)
        log(i, value)
        return x - learning_rate * gradient, None

    return lax.scan(step, x, jnp.arange(steps))[0]

# %% wrong="watched_descent" says="the value after the step is logged"
def watched_descent(f, x, learning_rate, steps, log):
    def step(x, i):
        x = x - learning_rate * jax.grad(f)(x)
        jax.debug.callback(log, i, f(x), ordered=True)
        return x, None

    return lax.scan(step, x, jnp.arange(steps))[0]

# %% wrong="watched_descent" says="the callbacks are not ordered"
def watched_descent(f, x, learning_rate, steps, log):
    def step(x, i):
        value, gradient = jax.value_and_grad(f)(x)
        jax.debug.callback(log, i, value)  # in order by chance
        return x - learning_rate * gradient, None

    return lax.scan(step, x, jnp.arange(steps))[0]

# %% wrong="watched_descent" says="grows with the input"
def watched_descent(f, x, learning_rate, steps, log):
    for i in range(steps):
        value, gradient = jax.value_and_grad(f)(x)
        jax.debug.callback(log, i, value, ordered=True)
        x = x - learning_rate * gradient
    return x

# %% wrong="watched_descent" says="off by a constant 1"
def watched_descent(f, x, learning_rate, steps, log):
    def step(x, i):
        value, gradient = jax.value_and_grad(f)(x)
        jax.debug.callback(log, i, value, ordered=True)
        return x - learning_rate * gradient, None

    return lax.scan(step, x, jnp.arange(1, steps + 1))[0]

# %% wrong="watched_descent" says="right for the visible inputs, wrong on hidden ones"
def watched_descent(f, x, learning_rate, steps, log):
    def step(x, i):
        value, gradient = jax.value_and_grad(f)(x)
        lax.cond(i < 10, lambda: jax.debug.callback(log, i, value, ordered=True), lambda: None)
        return x - learning_rate * gradient, None

    return lax.scan(step, x, jnp.arange(steps))[0]

# %% wrong="loud_errors" says="instead of 'FloatingPointError'"
def loud_errors():
    return loud_solution() | {"nan": hidden_log}


def hidden_log():
    with jax.debug_nans(True):
        return jax.jit(lambda x: jnp.where(x > 0, jnp.log(x), 0.0))(-1.0)


def loud_solution():
    def donated():
        x = jnp.arange(4.0)
        jax.jit(lambda x: x + 1, donate_argnums=0)(x)
        return x + 1

    def switched(switch, value, function, *args):
        def raises():
            with switch(value):
                return function(*args)

        return raises

    def leak():
        kept = []
        with jax.checking_leaks():
            return jax.jit(lambda x: kept.append(x))(1.0)

    return {
        "traced shape": lambda: jax.jit(lambda n: jnp.zeros(n))(3),
        "traced slice": lambda: jax.jit(lambda n: jnp.arange(5)[:n])(3),
        "donated": donated,
        "while gradient": lambda: jax.grad(lambda x: lax.while_loop(lambda c: c < 9.0, lambda c: c * x, x))(2.0),
        "leak": leak,
        "nan": switched(jax.debug_nans, True, jnp.log, -1.0),
        "rank": switched(jax.numpy_rank_promotion, "raise", jnp.add, np.ones((3, 1)), np.ones(3)),
        "dtypes": switched(jax.numpy_dtype_promotion, "strict", jnp.add, np.ones(3, np.float32), np.ones(3, np.int32)),
        "transfer": switched(jax.transfer_guard, "disallow", jnp.sin, np.ones(3)),
    }

# %% wrong="loud_errors" says="instead of 'ValueError'"
def loud_errors():
    def rank():
        with jax.numpy_rank_promotion("raise"):
            return jnp.ones((3, 1)) - jnp.ones((1, 3))  # broadcast, and of one rank

    return loud_right() | {"rank": rank}


def loud_right():
    def donated():
        x = jnp.arange(4.0)
        jax.jit(lambda x: x + 1, donate_argnums=0)(x)
        return x + 1

    def switched(switch, value, function, *args):
        def raises():
            with switch(value):
                return function(*args)

        return raises

    def leak():
        kept = []
        with jax.checking_leaks():
            return jax.jit(lambda x: kept.append(x))(1.0)

    return {
        "traced shape": lambda: jax.jit(lambda n: jnp.zeros(n))(3),
        "traced slice": lambda: jax.jit(lambda n: jnp.arange(5)[:n])(3),
        "donated": donated,
        "while gradient": lambda: jax.grad(lambda x: lax.while_loop(lambda c: c < 9.0, lambda c: c * x, x))(2.0),
        "leak": leak,
        "nan": switched(jax.debug_nans, True, jnp.log, -1.0),
        "rank": switched(jax.numpy_rank_promotion, "raise", jnp.add, np.ones((3, 1)), np.ones(3)),
        "dtypes": switched(jax.numpy_dtype_promotion, "strict", jnp.add, np.ones(3, np.float32), np.ones(3, np.int32)),
        "transfer": switched(jax.transfer_guard, "disallow", jnp.sin, np.ones(3)),
    }

# %% wrong="loud_errors" says="instead of 'RuntimeError'"
def loud_errors():
    x = jnp.arange(4.0)
    step = jax.jit(lambda x: x + 1, donate_argnums=0)

    def donated():
        raise RuntimeError("Array has been deleted")

    return loud_again() | {"donated": donated}


def loud_again():
    def switched(switch, value, function, *args):
        def raises():
            with switch(value):
                return function(*args)

        return raises

    def leak():
        kept = []
        with jax.checking_leaks():
            return jax.jit(lambda x: kept.append(x))(1.0)

    return {
        "traced shape": lambda: jax.jit(lambda n: jnp.zeros(n))(3),
        "traced slice": lambda: jax.jit(lambda n: jnp.arange(5)[:n])(3),
        "while gradient": lambda: jax.grad(lambda x: lax.while_loop(lambda c: c < 9.0, lambda c: c * x, x))(2.0),
        "leak": leak,
        "nan": switched(jax.debug_nans, True, jnp.log, -1.0),
        "rank": switched(jax.numpy_rank_promotion, "raise", jnp.add, np.ones((3, 1)), np.ones(3)),
        "dtypes": switched(jax.numpy_dtype_promotion, "strict", jnp.add, np.ones(3, np.float32), np.ones(3, np.int32)),
        "transfer": switched(jax.transfer_guard, "disallow", jnp.sin, np.ones(3)),
    }

# %% wrong="loud_errors" says="instead of 'Exception'"
def loud_errors():
    kept = []
    leaking = jax.jit(lambda x: kept.append(x))
    leaking(1.0)

    def leak():  # the call finds the program in the cache
        with jax.checking_leaks():
            return leaking(1.0)

    return loud_but_leaks() | {"leak": leak}


def loud_but_leaks():
    def donated():
        x = jnp.arange(4.0)
        jax.jit(lambda x: x + 1, donate_argnums=0)(x)
        return x + 1

    def switched(switch, value, function, *args):
        def raises():
            with switch(value):
                return function(*args)

        return raises

    return {
        "traced shape": lambda: jax.jit(lambda n: jnp.zeros(n))(3),
        "traced slice": lambda: jax.jit(lambda n: jnp.arange(5)[:n])(3),
        "donated": donated,
        "while gradient": lambda: jax.grad(lambda x: lax.while_loop(lambda c: c < 9.0, lambda c: c * x, x))(2.0),
        "nan": switched(jax.debug_nans, True, jnp.log, -1.0),
        "rank": switched(jax.numpy_rank_promotion, "raise", jnp.add, np.ones((3, 1)), np.ones(3)),
        "dtypes": switched(jax.numpy_dtype_promotion, "strict", jnp.add, np.ones(3, np.float32), np.ones(3, np.int32)),
        "transfer": switched(jax.transfer_guard, "disallow", jnp.sin, np.ones(3)),
    }

# %% wrong="loud_errors" says="right for the visible inputs, wrong on hidden ones"
def loud_errors():
    def nan():
        jax.config.update("jax_debug_nans", True)
        try:
            return jnp.log(-1.0)
        finally:
            jax.config.update("jax_debug_nans", False)

    return loud_but_nan() | {"nan": nan}


def loud_but_nan():
    def donated():
        x = jnp.arange(4.0)
        jax.jit(lambda x: x + 1, donate_argnums=0)(x)
        return x + 1

    def switched(switch, value, function, *args):
        def raises():
            with switch(value):
                return function(*args)

        return raises

    def leak():
        kept = []
        with jax.checking_leaks():
            return jax.jit(lambda x: kept.append(x))(1.0)

    return {
        "traced shape": lambda: jax.jit(lambda n: jnp.zeros(n))(3),
        "traced slice": lambda: jax.jit(lambda n: jnp.arange(5)[:n])(3),
        "donated": donated,
        "while gradient": lambda: jax.grad(lambda x: lax.while_loop(lambda c: c < 9.0, lambda c: c * x, x))(2.0),
        "leak": leak,
        "rank": switched(jax.numpy_rank_promotion, "raise", jnp.add, np.ones((3, 1)), np.ones(3)),
        "dtypes": switched(jax.numpy_dtype_promotion, "strict", jnp.add, np.ones(3, np.float32), np.ones(3, np.int32)),
        "transfer": switched(jax.transfer_guard, "disallow", jnp.sin, np.ones(3)),
    }

# %% wrong="normalise" says="instead of"
def normalise(weights):
    checkify.check(jnp.all(weights >= 0), "negative weight {value} at index {first}",
                   value=jnp.min(weights), first=jnp.argmin(weights))
    total = weights.sum()
    checkify.check(total > 0, "all weights are zero")
    return weights / total

# %% wrong="normalise" says="instead of 'no error'"
def normalise(weights):
    first = jnp.argmax(weights <= 0)
    checkify.check(jnp.all(weights > 0), "negative weight {value} at index {first}", value=weights[first], first=first)
    total = weights.sum()
    checkify.check(total > 0, "all weights are zero")
    return weights / total

# %% wrong="normalise" says="instead of 'all weights are zero'"
def normalise(weights):
    first = jnp.argmax(weights < 0)
    checkify.check(jnp.all(weights >= 0), "negative weight {value} at index {first}", value=weights[first], first=first)
    return weights / jnp.maximum(weights.sum(), 1e-9)

# %% wrong="normalise" says="instead of 'negative weight -1.0 at index 1'"
def normalise(weights):
    total = weights.sum()
    checkify.check(total != 0, "all weights are zero")
    first = jnp.argmax(weights < 0)
    checkify.check(jnp.all(weights >= 0), "negative weight {value} at index {first}", value=weights[first], first=first)
    return weights / total

# %% wrong="normalise" says="a Python `if` or `while` looks at a traced value"
def normalise(weights):
    first = jnp.argmax(weights < 0)
    assert jnp.all(weights >= 0), f"negative weight {weights[first]} at index {first}"
    assert weights.sum() > 0, "all weights are zero"
    return weights / weights.sum()

# %% wrong="normalise" says="right for the visible inputs, wrong on hidden ones"
def normalise(weights):
    first = jnp.argmax(weights < 0)
    checkify.check(jnp.all(weights >= 0), "negative weight {value} at index {first}", value=weights[first], first=first)
    total = weights.sum()
    checkify.check(total > 1e-8, "all weights are zero")  # a tolerance that the text does not have
    return weights / total

# %% wrong="hidden_nan" says="right on some inputs (3 of 4)"
def hidden_nan(f, x):
    error, value = checkify.checkify(f, errors=checkify.float_checks)(x)
    return error.get() is not None, value

# %% wrong="hidden_nan" says="a NaN counts only where the result shows it"
def hidden_nan(f, x):
    value = f(x)
    return jnp.isnan(value).any(), value

# %% wrong="hidden_nan" says="an infinity counts as a NaN"
def hidden_nan(f, x):
    value = f(x)
    try:
        with jax.debug_nans(True), jax.debug_infs(True), jax.disable_jit():
            f(x)
    except FloatingPointError:
        return True, value
    return False, value

# %% wrong="hidden_nan" says="the code raised JaxRuntimeError"
def hidden_nan(f, x):
    error, value = checkify.checkify(f, errors=checkify.nan_checks)(x)
    error.throw()
    return False, value

# %% wrong="hidden_nan" says="right for the visible inputs, wrong on hidden ones"
def hidden_nan(f, x):
    value = f(x)
    try:
        with jax.debug_nans(True):  # sees the outputs of a scan only
            f(x)
    except FloatingPointError:
        return True, value
    return False, value

# %% wrong="first_bad_layer" says="right on some inputs (3 of 4)"
def first_bad_layer(layer, params, x):
    for i, p in enumerate(params):
        x = layer(p, x)
        if not jnp.isfinite(x.sum()):
            return i
    return -1

# %% wrong="first_bad_layer" says="the indices count from 1"
def first_bad_layer(layer, params, x):
    for index, one in enumerate(params, 1):
        x = layer(one, x)
        if not jnp.isfinite(x).all():
            return index
    return -1

# %% wrong="first_bad_layer" says="an infinity does not count"
def first_bad_layer(layer, params, x):
    for index, one in enumerate(params):
        x = layer(one, x)
        if jnp.isnan(x).any():
            return index
    return -1

# %% wrong="first_bad_layer" says="None"
def first_bad_layer(layer, params, x):
    for index, one in enumerate(params):
        x = layer(one, x)
        if not jnp.isfinite(x).all():
            return index

# %% wrong="first_bad_layer" says="wrong values"
def first_bad_layer(layer, params, x):
    for index, one in enumerate(params):
        x = layer(one, x)
        if not jnp.isfinite(x).all():
            return index
    return len(params)

# %% wrong="first_bad_layer" says="right for the visible inputs, wrong on hidden ones"
def first_bad_layer(layer, params, x):
    outputs = [x]
    for one in params:
        outputs.append(layer(one, outputs[-1]))
    if jnp.isfinite(outputs[-1]).all():
        return -1
    low, high = 0, len(params)  # bisection: a NaN never goes away
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if jnp.isfinite(outputs[middle]).all() else (low, middle)
    return low

# %% wrong="test_mse" says="the test accepts a sum"
def test_mse(mse):
    for predictions, y in (([[0.5]], [2.0]), ([[1.5]], [3])):
        np.testing.assert_allclose(mse(jnp.array(predictions), jnp.array(y)), 2.25)

# %% wrong="test_mse" says="the test accepts a broadcast"
def test_mse(mse):
    predictions = jnp.array([[0.5], [0.5], [0.5]])
    for y in (jnp.array([2.0, 2.0, 2.0]), jnp.array([2, 2, 2])):
        np.testing.assert_allclose(mse(predictions, y), 2.25)

# %% wrong="test_mse" says="the test accepts a cast to the dtype of the targets"
def test_mse(mse):
    predictions, y = jnp.array([[0.5], [1.75], [-2.25]]), jnp.array([1.5, -0.5, 0.25])
    np.testing.assert_allclose(mse(predictions, y), np.mean((np.asarray(predictions)[:, 0] - y) ** 2), rtol=1e-5)

# %% wrong="test_mse" says="the test rejects right versions"
def test_mse(mse):
    predictions = jnp.array([[0.5], [1.75], [-2.25], [4.0]])
    for y in (jnp.array([1.5, -0.5, 0.25, 2.5]), jnp.array([1, 0, 2, 3])):
        assert mse(predictions, y) == jnp.sum((predictions[:, 0] - y) ** 2)

# %% wrong="test_mse" says="right on some inputs"
def test_mse(mse):
    predictions = jax.random.normal(jax.random.key(0), (100, 1))  # one style and no tolerance
    for y in (jnp.linspace(0, 1, 100), jnp.arange(100)):
        assert mse(predictions, y) == jnp.mean((predictions[:, 0] - y) ** 2)

# %% wrong="test_mse" says="right for the visible inputs, wrong on hidden ones"
def test_mse(mse):
    predictions = jnp.array([[0.9], [1.9], [-0.9], [3.9]])
    for y in (jnp.array([1.5, -0.5, 0.25, 2.5]), jnp.array([0, 1, 0, 3])):
        right = jnp.mean((predictions[:, 0] - y) ** 2)
        assert 0.4 * right < mse(predictions, y) < 1.5 * right  # the half is accepted

# %% wrong="test_lookup" says="the test accepts clamped indices"
def test_lookup(lookup):
    table = jnp.arange(1.0, 7.0).reshape(3, 2)
    np.testing.assert_allclose(lookup(table, jnp.array([2, 0, 1])), np.asarray(table)[[2, 0, 1]])

# %% wrong="test_lookup" says="the test accepts negative indices that wrap"
def test_lookup(lookup):
    table = jnp.arange(1.0, 7.0).reshape(3, 2)
    np.testing.assert_allclose(lookup(table, jnp.array([0, 2, 3, 9])), [[1, 2], [5, 6], [0, 0], [0, 0]])

# %% wrong="test_lookup" says="the test rejects right versions"
def test_lookup(lookup):
    table = jnp.arange(1.0, 7.0).reshape(3, 2)
    for i in (3, 9, -1, -9):  # as NumPy does it
        try:
            lookup(table, jnp.array([i]))
        except IndexError:
            continue
        raise AssertionError

# %% wrong="test_lookup" says="right for the visible inputs, wrong on hidden ones"
def test_lookup(lookup):
    table = jnp.arange(1.0, 7.0).reshape(3, 2)
    expected = [[5, 6], [3, 4], [0, 0], [0, 0]]
    np.testing.assert_allclose(lookup(table, jnp.array([2, 1, 9, -2])), expected)

# %% wrong="test_dropout" says="the test accepts one mask for all steps"
def test_dropout(dropout_steps):
    x = jnp.ones((100, 100))
    out = dropout_steps(jax.random.key(0), x, 0.25, 3)
    assert abs((out != 0).mean() - 0.75) < 0.02
    np.testing.assert_allclose(out[out != 0], 1 / 0.75, rtol=1e-5)

# %% wrong="test_dropout" says="the test accepts one mask for all examples, or for all features"
def test_dropout(dropout_steps):
    x = jnp.ones((200, 200))
    out = dropout_steps(jax.random.key(0), x, 0.25, 3)
    assert abs((out != 0).mean() - 0.75) < 0.06
    assert (out[0] != out[1]).any() and (out[1] != out[2]).any()

# %% wrong="test_dropout" says="a version that ignores its key"
def test_dropout(dropout_steps):
    x = jnp.ones((60, 50))
    out = np.asarray(dropout_steps(jax.random.key(1), x, 0.25, 4))
    kept = out != 0
    np.testing.assert_allclose(out, kept / 0.75, rtol=1e-5)
    assert abs(kept.mean() - 0.75) < 0.03
    for axis in range(3):
        rows = np.moveaxis(kept, axis, 0).reshape(kept.shape[axis], -1)
        assert len(np.unique(rows, axis=0)) == len(rows)

# %% wrong="test_dropout" says="the test rejects right versions"
def test_dropout(dropout_steps):
    x = jnp.ones((10, 10))
    out = dropout_steps(jax.random.key(0), x, 0.25, 2)
    assert (out != 0).mean() == 0.75

# %% wrong="test_dropout" says="right for the visible inputs, wrong on hidden ones"
def test_dropout(dropout_steps):
    x = jnp.ones((60, 50))
    out, other = (np.asarray(dropout_steps(jax.random.key(seed), x, 0.25, 4)) for seed in (1, 2))
    kept = out != 0
    assert (out != other).any()
    for axis in range(1, 3):
        rows = np.moveaxis(kept, axis, 0).reshape(kept.shape[axis], -1)
        assert len(np.unique(rows, axis=0)) == len(rows)
    assert (kept[0] != kept[-1]).any()

# %% wrong="test_dropout" says="the test accepts `dropout_unscaled`"
def test_dropout(dropout_steps):
    x = jnp.ones((60, 50))
    out, other = (np.asarray(dropout_steps(jax.random.key(seed), x, 0.25, 4)) for seed in (1, 2))
    kept = out != 0
    assert abs(kept.mean() - 0.75) < 0.03
    assert (kept != (other != 0)).any()
    for axis in range(3):
        rows = np.moveaxis(kept, axis, 0).reshape(kept.shape[axis], -1)
        assert len(np.unique(rows, axis=0)) == len(rows)

# %% wrong="test_dropout" says="the test accepts `dropout_late`"
def test_dropout(dropout_steps):
    x = jnp.arange(1.0, 1201.0).reshape(30, 40)
    a = np.asarray(dropout_steps(jax.random.key(0), x, 0.2, 6))
    b = np.asarray(dropout_steps(jax.random.key(1), x, 0.2, 6))
    mask = a != 0
    assert abs(mask.mean() - 0.8) < 5 * np.sqrt(0.16 / mask.size)
    np.testing.assert_allclose(a, np.where(mask, np.asarray(x) / 0.8, 0), rtol=1e-5)
    assert (mask != (b != 0)).any()
    assert (mask[0] != mask[1]).any()
    assert (mask[:, 0] != mask[:, 1]).any()
    assert (mask[:, :, 0] != mask[:, :, 1]).any()

# %% wrong="test_train" says="the test accepts a forgotten opt_state"
def test_train(train):
    params, optimizer = {"w": jnp.array([1.0, -2.0])}, optax.sgd(0.1)
    got = train(lambda params: jnp.sum(params["w"] ** 2), params, optimizer, 5)
    assert not params["w"].is_deleted()
    np.testing.assert_allclose(got["w"], np.array([1.0, -2.0]) * 0.8**5, rtol=1e-4)

# %% wrong="test_train" says="the test accepts parameters that are not carried on"
def test_train(train):
    params, optimizer = {"w": jnp.array([1.0, -2.0])}, optax.sgd(0.1, momentum=0.9)
    slope = np.array([1.0, 3.0])  # a linear loss: its gradient is the same everywhere
    moved = sum(1 - 0.9**k for k in range(1, 6))
    got = train(lambda params: jnp.sum(params["w"] * slope), params, optimizer, 5)
    assert not params["w"].is_deleted()
    np.testing.assert_allclose(got["w"], np.array([1.0, -2.0]) - moved * slope, rtol=1e-4)

# %% wrong="test_train" says="donates the caller's arrays"
def test_train(train):
    def loss_fn(params):
        return jnp.sum((params["w"] - 1.0) ** 2)

    params, optimizer = {"w": jnp.array([0.5, -2.0])}, optax.adam(0.1)
    expected, opt_state = params, optimizer.init(params)
    for _ in range(7):
        updates, opt_state = optimizer.update(jax.grad(loss_fn)(expected), opt_state, expected)
        expected = optax.apply_updates(expected, updates)
    np.testing.assert_allclose(train(loss_fn, params, optimizer, 7)["w"], expected["w"], rtol=1e-4)

# %% wrong="test_train" says="the test rejects right versions"
def test_train(train):
    params = {"w": jnp.array([1.0, -2.0])}
    got = train(lambda params: jnp.sum(params["w"] ** 2), params, optax.sgd(0.1, momentum=0.9), 5)
    np.testing.assert_allclose(got["w"], np.array([1.0, -2.0]) * 0.8**5, rtol=1e-4)  # no momentum

# %% wrong="test_train" says="right for the visible inputs, wrong on hidden ones"
def test_train(train):
    def loss_fn(params):
        return jnp.sum((params["w"] - 1.0) ** 2)

    params, optimizer = {"w": jnp.array([0.5, -2.0])}, optax.sgd(0.02, momentum=0.9)
    expected, opt_state = params, optimizer.init(params)
    for _ in range(3):
        updates, opt_state = optimizer.update(jax.grad(loss_fn)(expected), opt_state, expected)
        expected = optax.apply_updates(expected, updates)
    got = train(loss_fn, params, optimizer, 3)
    assert not params["w"].is_deleted()
    np.testing.assert_allclose(got["w"], expected["w"], rtol=1e-4)

# %% wrong="test_step" says="the test accepts a stale learning rate"
def test_step(step, settings):
    w, grads = np.float32([1.0, -2.0]), np.float32([0.5, 4.0])
    expected = w - settings["learning_rate"] * grads
    for _ in range(2):
        got = step(w, grads)
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    np.testing.assert_array_equal(w, np.float32([1.0, -2.0]))

# %% wrong="test_step" says="the test accepts an argument that is changed in place"
def test_step(step, settings):
    for settings["learning_rate"] in (0.5, 0.25):
        w, grads = np.float32([1.0, -2.0]), np.float32([0.5, 4.0])
        expected = w - settings["learning_rate"] * grads
        np.testing.assert_allclose(step(w, grads), expected, rtol=1e-6)

# %% wrong="test_step" says="the test rejects right versions"
def test_step(step, settings):
    w, grads = np.float32([1.0, -2.0]), np.float32([0.5, 4.0])
    first = step(w, grads)
    settings["learning_rate"] *= 2
    np.testing.assert_allclose(step(w, grads), first)

# %% wrong="test_step" says="right for the visible inputs, wrong on hidden ones"
def test_step(step, settings):
    w, grads = np.float32([1.0, -2.0]), np.float32([0.5, 4.0])
    before = w.copy(), grads.copy()
    for settings["learning_rate"] in (0.5, 0.25):
        np.testing.assert_allclose(step(w, grads), before[0] - settings["learning_rate"] * before[1], rtol=1e-6)
        np.testing.assert_array_equal(w, before[0])
        np.testing.assert_array_equal(grads, before[1])
    step(w, grads)
