# %% wrong="hat" says="asks a whole array whether it is true"
def hat(x):
    return jnp.exp(-1 / (1 - x * x)) if abs(x) < 1 else jnp.zeros_like(x)

# %% wrong="hat" says="`lax.cond` was given an array of conditions"
def hat(x):
    return jax.lax.cond(
        jnp.abs(x) < 1, lambda x: jnp.exp(-1 / (1 - x**2)), lambda x: jnp.zeros_like(x), x
    )

# %% wrong="hat" says="the exponent has the wrong sign"
def hat(x):
    inside = jnp.abs(x) < 1
    return jnp.where(inside, jnp.exp(1 / (1 - jnp.where(inside, x, 0.0) ** 2)), 0.0)

# %% wrong="hat" says="too large by a factor of e"
def hat(x):
    inside = jnp.abs(x) < 1
    return jnp.where(inside, jnp.exp(1 - 1 / (1 - jnp.where(inside, x, 0.0) ** 2)), 0.0)

# %% wrong="hat" says="NaN"
def hat(x):
    return jnp.where(jnp.abs(x) < 1, jnp.exp(-1 / (1 - x**2)), 0.0)

# %% wrong="hat" says="right for the visible inputs, wrong on hidden ones: "
def hat(x):
    def inside(x):
        return jnp.exp(-1 / (1 - x**2))

    return jax.vmap(lambda x: jax.lax.cond(jnp.abs(x) < 1, inside, jnp.zeros_like, x))(x)

# %% wrong="now_and_then" says="a Python `if`"
def now_and_then(step, every, expensive, x, cached):
    return expensive(x) if step % every == 0 else cached

# %% wrong="now_and_then" says="expensive ran at every step"
def now_and_then(step, every, expensive, x, cached):
    due = step % every == 0
    return jax.tree.map(lambda new, old: jnp.where(due, new, old), expensive(x), cached)

# %% wrong="now_and_then" says="the branches are exchanged"
def now_and_then(step, every, expensive, x, cached):
    return jax.lax.cond(step % every, expensive, lambda x: cached, x)

# %% wrong="now_and_then" says="the counting starts at one"
def now_and_then(step, every, expensive, x, cached):
    return jax.lax.cond((step + 1) % every == 0, expensive, lambda x: cached, x)

# %% wrong="now_and_then" says="right for powers of two only"
def now_and_then(step, every, expensive, x, cached):
    return jax.lax.cond(step & (every - 1) == 0, expensive, lambda x: cached, x)

# %% wrong="newton" says="a Python `if` or `while` looks at a traced value"
def newton(f, x, tolerance, most):
    steps = 0
    while abs(f(x)) > tolerance and steps < most:
        x, steps = x - f(x) / jax.grad(f)(x), steps + 1
    return x, steps

# %% wrong="newton" says="a traced value is used as a Python integer"
def newton(f, x, tolerance, most):
    steps = 0
    for _ in range(most):
        go_on = jnp.abs(f(x)) > tolerance
        x, steps = jnp.where(go_on, x - f(x) / jax.grad(f)(x), x), steps + go_on
    return x, steps

# %% wrong="newton" says="however early the root is found"
def newton(f, x, tolerance, most):
    return jax.lax.fori_loop(0, most, lambda i, x: x - f(x) / jax.grad(f)(x), x), most

# %% wrong="newton" says="it stops where it should go on"
def newton(f, x, tolerance, most):
    def done(state):
        return (jnp.abs(f(state[0])) <= tolerance) | (state[1] >= most)

    return jax.lax.while_loop(done, lambda s: (s[0] - f(s[0]) / jax.grad(f)(s[0]), s[1] + 1), (x, 0))

# %% wrong="newton" says="it stops at a small step"
def newton(f, x, tolerance, most):
    def go_on(state):
        x, before, steps = state
        return (jnp.abs(x - before) > tolerance) & (steps < most)

    def body(state):
        x, _, steps = state
        return x - f(x) / jax.grad(f)(x), x, steps + 1

    x, _, steps = jax.lax.while_loop(go_on, body, (x, jnp.full_like(x, jnp.inf), 0))
    return x, steps

# %% wrong="newton" says="not its absolute value"
def newton(f, x, tolerance, most):
    def go_on(state):
        return (f(state[0]) > tolerance) & (state[1] < most)

    return jax.lax.while_loop(go_on, lambda s: (s[0] - f(s[0]) / jax.grad(f)(s[0]), s[1] + 1), (x, 0))

# %% wrong="newton" says="the square of f(x) is compared with the tolerance"
def newton(f, x, tolerance, most):
    def go_on(state):
        return (f(state[0]) ** 2 > tolerance) & (state[1] < most)

    return jax.lax.while_loop(go_on, lambda s: (s[0] - f(s[0]) / jax.grad(f)(s[0]), s[1] + 1), (x, 0))

# %% wrong="newton" says="where the step began, not where it ended"
def newton(f, x, tolerance, most):
    def go_on(state):
        x, value, steps = state
        return (jnp.abs(value) > tolerance) & (steps < most)

    def body(state):
        x, _, steps = state
        return x - f(x) / jax.grad(f)(x), f(x), steps + 1

    x, _, steps = jax.lax.while_loop(go_on, body, (x, f(x), 0))
    return x, steps

# %% wrong="newton" says="it takes a step before it tests the condition"
def newton(f, x, tolerance, most):
    def body(state):
        x, steps = state
        return x - f(x) / jax.grad(f)(x), steps + 1

    def go_on(state):
        return (jnp.abs(f(state[0])) > tolerance) & (state[1] < most)

    return jax.lax.while_loop(go_on, body, body((x, 0)))

# %% wrong="newton" says="it goes on where |f(x)| equals the tolerance"
def newton(f, x, tolerance, most):
    def go_on(state):
        return (jnp.abs(f(state[0])) >= tolerance) & (state[1] < most)

    return jax.lax.while_loop(go_on, lambda s: (s[0] - f(s[0]) / jax.grad(f)(s[0]), s[1] + 1), (x, 0))

# %% wrong="newton" says="right for the visible inputs, wrong on hidden ones: "
def newton(f, x, tolerance, most):
    def turn(state, _):
        x, steps = state
        going = (jnp.abs(f(x)) > tolerance) & (steps < most)
        return (jnp.where(going, x - f(x) / jax.grad(f)(x), x), steps + going), None

    return lax.scan(turn, (x, 0), length=30)[0]

# %% wrong="running_stats" says="S grows by the square of delta"
def running_stats(x):
    def body(carry, row):
        n, mean, total = carry
        delta = row - mean
        mean = mean + delta / (n + 1)
        total = total + delta**2
        return (n + 1, mean, total), (mean, total / (n + 1))

    return lax.scan(body, (0, 0 * x[0], 0 * x[0]), x)[1]

# %% wrong="running_stats" says="divided by n - 1"
def running_stats(x):
    def body(carry, row):
        n, mean, total = carry
        new = mean + (row - mean) / (n + 1)
        total = total + (row - mean) * (row - new)
        return (n + 1, new, total), (new, total / jnp.maximum(n, 1))

    return lax.scan(body, (0, 0 * x[0], 0 * x[0]), x)[1]

# %% wrong="running_stats" says="the standard deviation"
def running_stats(x):
    def body(carry, row):
        n, mean, total = carry
        new = mean + (row - mean) / (n + 1)
        total = total + (row - mean) * (row - new)
        return (n + 1, new, total), (new, jnp.sqrt(total / (n + 1)))

    return lax.scan(body, (0, 0 * x[0], 0 * x[0]), x)[1]

# %% wrong="running_stats" says="the square of the distance from the new mean"
def running_stats(x):
    def body(carry, row):
        n, mean, total = carry
        mean = mean + (row - mean) / (n + 1)
        total = total + (row - mean) ** 2
        return (n + 1, mean, total), (mean, total / (n + 1))

    return lax.scan(body, (0, 0 * x[0], 0 * x[0]), x)[1]

# %% wrong="running_stats" says="no known mistake matches"
def running_stats(x):
    def body(carry, row):
        n, total, squares = carry
        n, total, squares = n + 1, total + row, squares + row**2
        return (n, total, squares), (total / n, squares / n - (total / n) ** 2)

    return lax.scan(body, (0, 0 * x[0], 0 * x[0]), x)[1]

# %% wrong="running_stats" says="the program does not use `scan`"
def running_stats(x):
    n = jnp.arange(1, len(x) + 1)[:, None]
    shifted = x - x[0]
    mean = jnp.cumsum(shifted, axis=0) / n
    return mean + x[0], jnp.cumsum(shifted**2, axis=0) / n - mean**2

# %% wrong="running_stats" says="the carry changes its type from one step of the loop to the next"
def running_stats(x):
    def body(carry, row):
        n, mean, total = carry
        n = n + 1.0
        new = mean + (row - mean) / n
        total = total + (row - mean) * (row - new)
        return (n, new, total), (new, total / n)

    return lax.scan(body, (jnp.int32(0), 0 * x[0], 0 * x[0]), x)[1]

# %% wrong="running_stats" says="right for the visible inputs, wrong on hidden ones: "
def running_stats(x):
    def body(carry, row):
        n, mean, total = carry
        new = mean + (row - mean) / (n + 1)
        total = total + (row - mean) * (row - new)
        return (n + 1, new, total), (new, total / (n + 1))

    return lax.scan(body, (0, jnp.zeros(3), jnp.zeros(3)), x)[1]

# %% wrong="longest_run" says="float"
def longest_run(heads):
    def body(carry, head):
        current, longest = carry
        current = jnp.where(head, current + 1, 0.0)
        return (current, jnp.maximum(longest, current)), current

    (_, longest), lengths = lax.scan(body, (0, 0), heads)
    return longest, lengths

# %% wrong="longest_run" says="a run at the end is missed"
def longest_run(heads):
    def body(carry, head):
        current, longest = carry
        longest = jnp.maximum(longest, current)
        current = jnp.where(head, current + 1, 0)
        return (current, longest), current

    (_, longest), lengths = lax.scan(body, (0, 0), heads)
    return longest, lengths

# %% wrong="longest_run" says="tails do not end a run"
def longest_run(heads):
    lengths = jnp.cumsum(heads)
    return jnp.max(lengths), lengths

# %% wrong="longest_run" says="that is the last run, not the longest"
def longest_run(heads):
    def body(current, head):
        current = jnp.where(head, current + 1, 0)
        return current, current

    return lax.scan(body, 0, heads)

# %% wrong="longest_run" says="the counts are int8"
def longest_run(heads):
    def body(carry, head):
        current, longest = carry
        current = jnp.where(head, current + 1, 0)
        return (current, jnp.maximum(longest, current)), current

    (_, longest), lengths = lax.scan(body, (jnp.int8(0), jnp.int8(0)), heads)
    return longest, lengths

# %% wrong="longest_run" says="right for the visible inputs, wrong on hidden ones: "
def longest_run(heads):
    def body(current, head):
        current = jnp.where(head, current + 1, 0)
        return current, current

    lengths = lax.scan(body, 0, heads)[1]
    return lengths.max(), lengths

# %% wrong="calculate" says="an unknown code is clamped to 0 or 3"
def calculate(codes, numbers, x):
    operations = [
        lambda display, memory, number: (display + number, memory),
        lambda display, memory, number: (display * number, memory),
        lambda display, memory, number: (display, display),
        lambda display, memory, number: (display + memory, memory),
    ]

    def body(carry, instruction):
        carry = lax.switch(instruction[0], operations, *carry, instruction[1])
        return carry, carry[0]

    (display, _), history = lax.scan(body, (x, jnp.zeros_like(x)), (codes, numbers))
    return display, history

# %% wrong="calculate" says="a code above 3 counts as 3"
def calculate(codes, numbers, x):
    operations = [
        lambda display, memory, number: (display, memory),
        lambda display, memory, number: (display + number, memory),
        lambda display, memory, number: (display * number, memory),
        lambda display, memory, number: (display, display),
        lambda display, memory, number: (display + memory, memory),
    ]

    def body(carry, instruction):
        carry = lax.switch(instruction[0] + 1, operations, *carry, instruction[1])
        return carry, carry[0]

    (display, _), history = lax.scan(body, (x, jnp.zeros_like(x)), (codes, numbers))
    return display, history

# %% wrong="calculate" says="a negative code counts as 0"
def calculate(codes, numbers, x):
    operations = [
        lambda display, memory, number: (display + number, memory),
        lambda display, memory, number: (display * number, memory),
        lambda display, memory, number: (display, display),
        lambda display, memory, number: (display + memory, memory),
        lambda display, memory, number: (display, memory),
    ]

    def body(carry, instruction):
        carry = lax.switch(instruction[0], operations, *carry, instruction[1])
        return carry, carry[0]

    (display, _), history = lax.scan(body, (x, jnp.zeros_like(x)), (codes, numbers))
    return display, history

# %% wrong="calculate" says="the history holds the display before each instruction"
def calculate(codes, numbers, x):
    def body(carry, instruction):
        (display, memory), (code, number) = carry, instruction
        new = jnp.select(
            [code == 0, code == 1, code == 3],
            [display + number, display * number, display + memory],
            display,
        )
        return (new, jnp.where(code == 2, display, memory)), display

    (display, _), history = lax.scan(body, (x, jnp.zeros_like(x)), (codes, numbers))
    return display, history

# %% wrong="calculate" says="the memory starts with x"
def calculate(codes, numbers, x):
    def body(carry, instruction):
        (display, memory), (code, number) = carry, instruction
        new = jnp.select(
            [code == 0, code == 1, code == 3],
            [display + number, display * number, display + memory],
            display,
        )
        return (new, jnp.where(code == 2, display, memory)), new

    (display, _), history = lax.scan(body, (x, x), (codes, numbers))
    return display, history

# %% wrong="calculate" says="needs a concrete value"
def calculate(codes, numbers, x):
    display, memory, history = x, 0.0, []
    for code, number in zip(codes, numbers):
        code = int(code)
        if code == 0:
            display = display + number
        elif code == 1:
            display = display * number
        elif code == 2:
            memory = display
        elif code == 3:
            display = display + memory
        history.append(display)
    return jnp.asarray(display), jnp.stack(history)

# %% wrong="calculate" says="the program does not use `scan`"
def calculate(codes, numbers, x):
    display, memory, history = x, 0.0, []
    for code, number in zip(codes, numbers):
        new = jnp.select(
            [code == 0, code == 1, code == 3],
            [display + number, display * number, display + memory],
            display,
        )
        display, memory = new, jnp.where(code == 2, display, memory)
        history.append(display)
    return display, jnp.stack(history)

# %% wrong="calculate" says="a code of -2 counts from the end"
def calculate(codes, numbers, x):
    def body(carry, instruction):
        (display, memory), (code, number) = carry, instruction
        results = jnp.stack([display + number, display * number, display, display + memory])
        known = (code != -1) & (code < 4)
        new = jnp.where(known, results[code], display)
        return (new, jnp.where(known & (code % 4 == 2), display, memory)), new

    (display, _), history = lax.scan(body, (x, jnp.zeros_like(x)), (codes, numbers))
    return display, history

# %% wrong="rnn" says="the output is computed from the old state"
def rnn(params, x):
    def body(h, x):
        output = h @ params["output"]["w"] + params["output"]["b"]
        before = x @ params["input"]["w"] + h @ params["hidden"]["w"] + params["hidden"]["b"]
        return jnp.tanh(before), output

    return lax.scan(body, jnp.zeros_like(params["hidden"]["b"]), x)

# %% wrong="rnn" says="the hidden bias is left out"
def rnn(params, x):
    def body(h, x):
        h = jnp.tanh(x @ params["input"]["w"] + h @ params["hidden"]["w"])
        return h, h @ params["output"]["w"] + params["output"]["b"]

    return lax.scan(body, jnp.zeros_like(params["hidden"]["b"]), x)

# %% wrong="rnn" says="the output bias is left out"
def rnn(params, x):
    def body(h, x):
        recalled = h @ params["hidden"]["w"] + params["hidden"]["b"]
        h = jnp.tanh(x @ params["input"]["w"] + recalled)
        return h, h @ params["output"]["w"]

    return lax.scan(body, jnp.zeros_like(params["hidden"]["b"]), x)

# %% wrong="rnn" says="W_in is transposed, as PyTorch keeps its weights"
def rnn(params, x):
    def body(h, x):
        recalled = h @ params["hidden"]["w"] + params["hidden"]["b"]
        h = jnp.tanh(params["input"]["w"] @ x + recalled)
        return h, h @ params["output"]["w"] + params["output"]["b"]

    return lax.scan(body, jnp.zeros_like(params["hidden"]["b"]), x)

# %% wrong="rnn" says="W_hid is transposed, as PyTorch keeps its weights"
def rnn(params, x):
    def body(h, x):
        recalled = params["hidden"]["w"] @ h + params["hidden"]["b"]
        h = jnp.tanh(x @ params["input"]["w"] + recalled)
        return h, h @ params["output"]["w"] + params["output"]["b"]

    return lax.scan(body, jnp.zeros_like(params["hidden"]["b"]), x)

# %% wrong="rnn" says="W_in and W_hid are swapped"
def rnn(params, x):
    def body(x, h):
        recalled = h @ params["hidden"]["w"] + params["hidden"]["b"]
        h = jnp.tanh(x @ params["input"]["w"] + recalled)
        return h, h @ params["output"]["w"] + params["output"]["b"]

    return lax.scan(body, jnp.zeros_like(params["hidden"]["b"]), x)

# %% wrong="rnn" says="ReLU instead of tanh"
def rnn(params, x):
    def body(h, x):
        before = x @ params["input"]["w"] + h @ params["hidden"]["w"] + params["hidden"]["b"]
        h = jax.nn.relu(before)
        return h, h @ params["output"]["w"] + params["output"]["b"]

    return lax.scan(body, jnp.zeros_like(params["hidden"]["b"]), x)

# %% wrong="rnn" says="the program does not use `scan`"
def rnn(params, x):
    h, outputs = jnp.zeros_like(params["hidden"]["b"]), []
    for row in x:
        before = row @ params["input"]["w"] + h @ params["hidden"]["w"] + params["hidden"]["b"]
        h = jnp.tanh(before)
        outputs.append(h @ params["output"]["w"] + params["output"]["b"])
    return h, jnp.stack(outputs)

# %% wrong="rnn" says="gradient"
def rnn(params, x):
    def body(h, x):
        h = jax.lax.stop_gradient(h)
        before = x @ params["input"]["w"] + h @ params["hidden"]["w"] + params["hidden"]["b"]
        h = jnp.tanh(before)
        return h, h @ params["output"]["w"] + params["output"]["b"]

    return lax.scan(body, jnp.zeros_like(params["hidden"]["b"]), x)

# %% wrong="rnn" says="right for the visible inputs, wrong on hidden ones: "
def rnn(params, x):
    def body(h, x):
        before = x @ params["input"]["w"] + h @ params["hidden"]["w"] + params["hidden"]["b"]
        h = jnp.tanh(before)
        return h, h @ params["output"]["w"] + params["output"]["b"]

    return lax.scan(body, jnp.zeros(x.shape[1]), x)

# %% wrong="train_epoch" says="each loss is taken after its step"
def train_epoch(loss_fn, params, batches, learning_rate):
    def step(params, batch):
        grads = jax.grad(loss_fn)(params, *batch)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
        return params, loss_fn(params, *batch)

    return lax.scan(step, params, batches)

# %% wrong="train_epoch" says="the first batch is used again and again"
def train_epoch(loss_fn, params, batches, learning_rate):
    x, y = batches[0][0], batches[1][0]

    def step(params, _):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), loss

    return lax.scan(step, params, length=len(batches[0]))

# %% wrong="train_epoch" says="every gradient is taken at the first parameters"
def train_epoch(loss_fn, params, batches, learning_rate):
    def step(state, batch):
        loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
        return jax.tree.map(lambda p, g: p - learning_rate * g, state, grads), loss

    return lax.scan(step, params, batches)

# %% wrong="train_epoch" says="uphill"
def train_epoch(loss_fn, params, batches, learning_rate):
    def step(params, batch):
        loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
        return jax.tree.map(lambda p, g: p + learning_rate * g, params, grads), loss

    return lax.scan(step, params, batches)

# %% wrong="train_epoch" says="the learning rate that is passed is not used"
def train_epoch(loss_fn, params, batches, learning_rate):
    def step(params, batch, learning_rate=0.1):
        loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), loss

    return lax.scan(step, params, batches)

# %% wrong="train_epoch" says="a tracer escaped"
def train_epoch(loss_fn, params, batches, learning_rate):
    losses = []

    def step(i, params):
        loss, grads = jax.value_and_grad(loss_fn)(params, batches[0][i], batches[1][i])
        losses.append(loss)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)

    params = lax.fori_loop(0, len(batches[0]), step, params)
    return params, jnp.stack(losses)

# %% wrong="train_epoch" says="the program does not use `scan`"
def train_epoch(loss_fn, params, batches, learning_rate):
    losses = []
    for batch in zip(*batches):
        loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
        losses.append(loss)
    return params, jnp.stack(losses)

# %% wrong="train_epoch" says="right for the visible inputs, wrong on hidden ones: "
def train_epoch(loss_fn, params, batches, learning_rate):
    def step(params, batch):
        loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
        moved = {
            name: {part: params[name][part] - learning_rate * grads[name][part] for part in "wb"}
            for name in ("hidden", "output")
        }
        return moved, loss

    return lax.scan(step, params, batches)

# %% wrong="linear_recurrence" says="the program uses `scan`"
def linear_recurrence(a, b):
    def body(h, step):
        h = step[0] * h + step[1]
        return h, h

    return lax.scan(body, jnp.zeros_like(b[0]), (a, b))[1]

# %% wrong="linear_recurrence" says="the earlier and the later step are swapped"
@jax.jit
def linear_recurrence(a, b):
    return lax.associative_scan(lambda f, s: (f[0] * s[0], f[0] * s[1] + f[1]), (a, b))[1]

# %% wrong="linear_recurrence" says="b is summed without a"
@jax.jit
def linear_recurrence(a, b):
    return lax.associative_scan(lambda f, s: (f[0] * s[0], f[1] + s[1]), (a, b))[1]

# %% wrong="linear_recurrence" says="time is taken to be the last axis"
@jax.jit
def linear_recurrence(a, b):
    def combine(first, second):
        return first[0] * second[0], second[0] * first[1] + second[1]

    return lax.associative_scan(combine, (a, b), axis=-1)[1]

# %% wrong="linear_recurrence" says="NaN"
def linear_recurrence(a, b):
    factors = jnp.cumprod(a, axis=0)
    return factors * jnp.cumsum(b / factors, axis=0)

# %% wrong="linear_recurrence" says="equations, where 400 would do"
def linear_recurrence(a, b):
    states, h = [], jnp.zeros_like(b[0])
    for t in range(len(b)):
        h = a[t] * h + b[t]
        states.append(h)
    return jnp.stack(states)

# %% wrong="linear_recurrence" says="right for the visible inputs, wrong on hidden ones: "
@jax.jit
def linear_recurrence(a, b):
    for shift in (1, 2, 4):
        a_before = jnp.ones_like(a).at[shift:].set(a[:-shift])
        b_before = jnp.zeros_like(b).at[shift:].set(b[:-shift])
        a, b = a * a_before, a * b_before + b
    return b

# %% wrong="bounded_while" says="one iteration too many"
def bounded_while(go_on, body, state, most):
    def turn(carry, _):
        state, going = carry
        new = lax.cond(going, body, lambda state: state, state)
        return (new, going & go_on(state)), None

    return lax.scan(turn, (state, go_on(state)), length=most)[0][0]

# %% wrong="bounded_while" says="the body runs before the condition is tested"
def bounded_while(go_on, body, state, most):
    def turn(state, _):
        return lax.cond(go_on(state), body, lambda state: state, state), None

    return lax.scan(turn, body(state), length=most - 1)[0]

# %% wrong="bounded_while" says="all iterations run"
def bounded_while(go_on, body, state, most):
    return lax.scan(lambda state, _: (body(state), None), state, length=most)[0]

# %% wrong="bounded_while" says="the program does not use `scan`"
def bounded_while(go_on, body, state, most):
    def still(carry):
        return go_on(carry[0]) & (carry[1] < most)

    return lax.while_loop(still, lambda c: (body(c[0]), c[1] + 1), (state, 0))[0]

# %% wrong="bounded_while" says="a Python `if` or `while` looks at a traced value"
def bounded_while(go_on, body, state, most):
    for _ in range(most):
        if not go_on(state):
            break
        state = body(state)
    return jax.tree.map(jnp.asarray, state)

# %% wrong="bounded_while" says="NaN"
def bounded_while(go_on, body, state, most):
    def turn(state, _):
        going = go_on(state)
        return jax.tree.map(lambda new, old: jnp.where(going, new, old), body(state), state), None

    return lax.scan(turn, state, length=most)[0]

# %% wrong="bounded_while" says="zero"
def bounded_while(go_on, body, state, most):
    def turn(state, _):
        state = jax.lax.stop_gradient(state)
        return lax.cond(go_on(state), body, lambda state: state, state), None

    return lax.scan(turn, state, length=most)[0]

# %% wrong="bounded_while" says="right for the visible inputs, wrong on hidden ones: "
def bounded_while(go_on, body, state, most):
    def turn(state, _):
        return lax.cond(go_on(state), body, lambda state: state, state), None

    return lax.scan(turn, state, length=max(most, 6))[0]

# %% wrong="deep" says="h itself is not added"
def deep(params, x):
    @jax.checkpoint
    def layer(h, p):
        return jnp.tanh(h @ p["w"] + p["b"]), None

    return lax.scan(layer, x, params)[0]

# %% wrong="deep" says="the layers are run from the last to the first"
def deep(params, x):
    @jax.checkpoint
    def layer(h, p):
        return h + jnp.tanh(h @ p["w"] + p["b"]), None

    return lax.scan(layer, x, params, reverse=True)[0]

# %% wrong="deep" says="the program does not use `remat2`"
def deep(params, x):
    def layer(h, p):
        return h + jnp.tanh(h @ p["w"] + p["b"]), None

    return lax.scan(layer, x, params)[0]

# %% wrong="deep" says="the program does not use `scan`"
def deep(params, x):
    @jax.checkpoint
    def layer(h, w, b):
        return h + jnp.tanh(h @ w + b)

    for w, b in zip(params["w"], params["b"]):
        x = layer(x, w, b)
    return x

# %% wrong="deep" says="the backward pass stores more of each layer than its input"
@jax.checkpoint
def deep(params, x):
    def layer(h, p):
        return h + jnp.tanh(h @ p["w"] + p["b"]), None

    return lax.scan(layer, x, params)[0]

# %% wrong="deep" says="right for the visible inputs, wrong on hidden ones: "
def deep(params, x):
    @jax.checkpoint
    def layer(h, p):
        return h + jnp.tanh(h @ p["w"] + p["b"]), None

    x = layer(x, jax.tree.map(lambda leaf: leaf[0], params))[0]
    x = layer(x, jax.tree.map(lambda leaf: leaf[1], params))[0]
    return lax.scan(layer, x, jax.tree.map(lambda leaf: leaf[2:], params))[0]
