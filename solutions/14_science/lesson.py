# %% [markdown]
# # 14 · Science with JAX: curvature, simulators, and gradients you can trust
#
# After this lesson you can
#
# - compute the Hessian and the Fisher information, and choose the one that gives error bars;
# - minimise with L-BFGS and BFGS;
# - solve a differential equation, and differentiate the solution in constant memory;
# - simulate particles with a bounded energy error;
# - recognise a gradient that is exact but misleading;
# - differentiate a fixed point, and a gradient step;
# - fit a posterior with gradients through random samples.
#
# About 180 minutes, with a break after 14.5. You need lessons 02 to 06, and Optax from lesson 08.

# %%
from functools import partial

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import scipy.integrate
import scipy.linalg
import scipy.optimize
from jax import lax
from jax.scipy.optimize import minimize
from jaxtyping import Array, Float, Int, Key

from graders import (
    check_answer,
    check_keys,
    check_primitives,
    check_values,
    integers,
    numerical_gradient,
    sweep,
    through,
    uniform,
)

# %% [markdown]
# ## 14.0 Recall
#
# Three questions about earlier lessons, one point each.
#
# **Recall** · 1 minute · difficulty 2 of 5
#
# `f` maps 1,000 parameters to a scalar. `_, product = jax.jvp(jax.grad(f), (w,), (v,))` is a Hessian-vector product. How many elements does `product` have?

# %% exercise="product_size" kind="recall"
# An integer.
### BEGIN SOLUTION
product_size = 1000
### END SOLUTION

# %% check="product_size" points=1
check_answer(
    product_size,
    1000,
    because="The product is a vector with the shape of the parameters. The Hessian itself is never formed.",
    mistakes={
        1_000_000: "that is the whole Hessian, which forward over reverse avoids",
        1: "v @ H @ v would be one number, and H @ v is a vector",
    },
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# A jitted function of `x` and `n` computes `lax.fori_loop(0, n, body, x)`. What happens if you take its `jax.grad` with respect to `x`?

# %% exercise="traced_bound" kind="recall"
# "works", or the name of an exception such as "TypeError".
### BEGIN SOLUTION
traced_bound = "ValueError"
### END SOLUTION

# %% check="traced_bound" points=1
def gradient_of_a_loop():
    loop = jax.jit(lambda x, n: lax.fori_loop(0, n, lambda i, x: 2.0 * x, x))
    try:
        jax.grad(loop)(1.0, 3)
    except Exception as error:
        return type(error).__name__
    return "works"


check_answer(
    traced_bound,
    gradient_of_a_loop,
    because="With a traced bound it is a while_loop. Reverse mode would have to store an unknown number of states.",
    mistakes={"works": "only with a static bound, where the loop becomes a scan"},
)

# %% [markdown]
# **Recall** · 1 minute · difficulty 2 of 5
#
# The body of a `lax.scan` over 500 steps draws `jax.random.normal(key, (4,))`, with a `key` from outside the body. How many *different* numbers are drawn?

# %% exercise="different_numbers" kind="recall"
# An integer.
### BEGIN SOLUTION
different_numbers = 4
### END SOLUTION

# %% check="different_numbers" points=1
def count_different():
    key = jax.random.key(0)
    draws = lax.scan(lambda c, _: (c, jax.random.normal(key, (4,))), 0, length=500)[1]
    return len(np.unique(draws))


check_answer(
    different_numbers,
    count_different,
    because="The same key gives the same four numbers at each step.",
    mistakes={2000: "only if each step has a key of its own", 1: "one draw has four different numbers"},
)

# %% [markdown]
# ## 14.1 The Hessian and the Fisher information
#
# The loss of a classifier is the mean of $-\log p(y_i \mid x_i, w)$. The *score* is $s(x, y) = \nabla_w \log p(y \mid x, w)$. Three matrices describe the curvature of the loss:
#
# - the **Hessian**, its second derivatives;
# - the **Fisher information**, the mean over the inputs $x_i$ of $\mathbb{E}_{y \sim p(y \mid x_i, w)}\, s(x_i, y)\, s(x_i, y)^\top$, with labels from the *model*;
# - the **empirical Fisher**, the mean of $s(x_i, y_i)\, s(x_i, y_i)^\top$, with labels from the *data*.
#
# ### Three curvature matrices
# **Exercise** · 15 minutes · difficulty 3 of 5
#
# `logits_fn(w, x)` maps a flat parameter vector and *one* example to logits. Return a dict with the keys `"hessian"`, `"fisher"` and `"empirical"`, each a float array of shape `(parameters, parameters)`.
#
# All three are means over the batch. Compute the expectation in the Fisher information exactly, as a sum over all classes. The Fisher information does not use `y`.
#
# The check compares with finite differences, for two models and several numbers of classes.

# %% exercise="curvatures"
@partial(jax.jit, static_argnums=0)
def curvatures(
    logits_fn,
    w: Float[Array, "parameters"],
    x: Float[Array, "batch features"],
    y: Int[Array, "batch"],
) -> dict[str, Float[Array, "parameters parameters"]]:
    """The Hessian of the mean cross entropy, the Fisher information, and the empirical Fisher."""
    ### BEGIN SOLUTION
    def loss_fn(w, x, y):
        return -jax.nn.log_softmax(logits_fn(w, x))[y]

    def mean_loss(w):
        return jax.vmap(partial(loss_fn, w))(x, y).mean()

    scores = jax.vmap(jax.grad(loss_fn), (None, 0, 0))(w, x, y)
    p = jax.nn.softmax(jax.vmap(partial(logits_fn, w))(x))
    for_each_class = jax.vmap(jax.grad(loss_fn), (None, None, 0))
    all_scores = jax.vmap(for_each_class, (None, 0, None))(w, x, jnp.arange(p.shape[1]))
    return {
        "hessian": jax.hessian(mean_loss)(w),
        "fisher": jnp.einsum("bc,bci,bcj->ij", p, all_scores, all_scores) / len(x),
        "empirical": scores.T @ scores / len(x),
    }
    ### END SOLUTION

# %% [markdown] hints="curvatures"
# <details><summary>Hint 1: the idea</summary>
#
# Write the loss of one example as a function of `(w, x, y)`. Everything else is `grad`, `hessian` and `vmap` of it. For the Fisher information, differentiate with each class in turn as the label, and weight the outer products with the predicted probabilities.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.vmap(jax.vmap(jax.grad(loss), (None, None, 0)), (None, 0, None))(w, x, jnp.arange(classes))` has shape `(batch, classes, parameters)`. `jnp.einsum` forms and adds the outer products.
# </details>

# %% check="curvatures" points=4
def linear_logits(w, x):
    return x @ w.reshape(len(x), -1)


def hidden_logits(w, x):
    h = x @ w[: len(x)]
    return w[len(x) :] * (h / (1 + h * h)) + w[len(x) :] ** 2 * h


def log_p(logits):
    return logits - np.logaddexp.reduce(logits)


def difference(f, w, h):
    """Central differences along each parameter, as the first axis."""
    return np.stack([(f(w + h * e) - f(w - h * e)) / (2 * h) for e in np.eye(len(w))])


def curvatures_by_differences(logits_fn, w, x, y, fisher="model", mean=True):
    hessian = difference(
        lambda w: difference(
            lambda w: -np.mean([log_p(logits_fn(w, a))[b] for a, b in zip(x, y)]), w, 1e-4
        ),
        w,
        1e-4,
    )
    model, data = 0.0, 0.0
    for a, b in zip(x, y):
        p = np.exp(log_p(logits_fn(w, a)))
        scores = difference(lambda w: log_p(logits_fn(w, a)), w, 1e-5)
        weight = {"model": p, "likeliest": np.eye(len(p))[p.argmax()], "uniform": 0 * p + 1 / len(p)}
        model = model + (scores * weight.get(fisher, p)) @ scores.T / len(x)
        data = data + np.outer(scores[:, b], scores[:, b]) / len(x)
    model = data if fisher == "data" else model
    scale = 1 if mean else len(x)
    return {"hessian": scale * hessian, "fisher": scale * model, "empirical": scale * data}


def as_fisher(kind):
    return lambda *args: curvatures_by_differences(*args, fisher=kind)


def classes_of(features, classes, batch, seed=0, scale=1.0):
    shapes = f"{features * classes}", f"{batch} {features}", integers(f"{batch}", 0, classes)
    return sweep(linear_logits, *shapes, count=2, seed=seed, scale=scale)


one_of_each = sweep(hidden_logits, "6", "7 2", integers("7", 0, 4), count=1, seed=1)
small_w, large_x = uniform("6", -0.05, 0.05), uniform("5 2", -40.0, 40.0)
large = sweep(linear_logits, small_w, large_x, integers("5", 0, 3), count=1, seed=5)
check_values(
    curvatures,
    curvatures_by_differences,
    classes_of(2, 3, 6) + one_of_each + classes_of(2, 3, 6, seed=2, scale=0.1) + large,
    rtol=1e-3,
    atol=1e-4,
    mistakes={
        "the empirical Fisher instead of the Fisher information": as_fisher("data"),
        "the likeliest class is used, not the expectation over all classes": as_fisher("likeliest"),
        "the classes are not weighted with their probabilities": as_fisher("uniform"),
        "sums over the batch, not means": partial(curvatures_by_differences, mean=False),
    },
)
### BEGIN HIDDEN TESTS
check_values(
    curvatures,
    curvatures_by_differences,
    classes_of(3, 5, 1, seed=4, scale=3.0),
    rtol=1e-3,
    atol=1e-4,
    about="five classes, and a single example",
)
### END HIDDEN TESTS

# %% [markdown]
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# The logits are *linear* in `w` (softmax regression), and `w` and the labels are random. Which matrices are equal: "hessian and fisher", "fisher and empirical", "hessian and empirical", "all" or "none"?

# %% exercise="linear_pair" kind="prediction"
# One of the five strings.
### BEGIN SOLUTION
linear_pair = "hessian and fisher"
### END SOLUTION

# %% check="linear_pair" points=1
check_answer(
    linear_pair,
    "hessian and fisher",
    because="With linear logits the second derivative of -log p(y) does not depend on y, so its expectation over y changes nothing.",
    mistakes={
        "all": "only the empirical Fisher depends on the labels here",
        "fisher and empirical": "they agree only if the data look like samples of the model",
        "none": "write down the second derivative of -log p(y): y drops out",
    },
)

# %% [markdown]
# **Prediction** · 1 minute · difficulty 3 of 5
#
# Now there is a hidden layer, so the logits are not linear in `w`. Which are equal?

# %% exercise="hidden_pair" kind="prediction"
# One of the five strings.
### BEGIN SOLUTION
hidden_pair = "none"
### END SOLUTION

# %% check="hidden_pair" points=1
check_answer(
    hidden_pair,
    "none",
    because="The Hessian has one more term, the curvature of the logits times the residuals. The Fisher information is what remains without it: the Gauss-Newton matrix.",
    mistakes={"hessian and fisher": "the Hessian now has a term with the second derivatives of the logits, which the Fisher information lacks"},
)

# %% [markdown]
# The difference matters for error bars. If the model is right, repeated estimates have approximately the covariance $(nF)^{-1}$, where $F$ is the Fisher information. Below, a logistic regression is fitted to 100 observations. The labels of the largest `x` are recorded wrongly. Each dot is a fit to labels simulated from the fitted model. Each ellipse should contain 95 % of the dots.

# %%
def two_logits(w, x):
    return jnp.stack([0.0 * x[0], w @ x])


def newton_fit(x, y):
    """Logistic regression by eight Newton steps."""
    def step(w, _):
        p = jax.nn.sigmoid(x @ w)
        return w + jnp.linalg.solve((x.T * (p * (1 - p))) @ x + 1e-3 * jnp.eye(2), x.T @ (y - p)), None

    return lax.scan(step, jnp.zeros(2), length=8)[0]


x_fit = jnp.stack([jnp.ones(100), jnp.linspace(-2, 2, 100)], axis=1)
chances = jnp.where(x_fit[:, 1] > 1.7, 0.0, jax.nn.sigmoid(3 * x_fit[:, 1]))
y_fit = jax.random.bernoulli(jax.random.key(1), chances).astype(jnp.int32)
w_fit = newton_fit(x_fit, y_fit)
again = jax.random.bernoulli(jax.random.key(2), jax.nn.sigmoid(x_fit @ w_fit), (300, 100))
refitted = jax.jit(jax.vmap(partial(newton_fit, x_fit)))(again)

# %% tags=["demonstration", "raises-exception"]
angle = jnp.linspace(0, 2 * jnp.pi, 200)
matrices = curvatures(two_logits, w_fit, x_fit, y_fit)
plt.figure("Refitted parameters, and ellipses from three matrices", figsize=(6, 4))
plt.plot(*refitted.T, ".", color="grey", markersize=3)
for name, style, width in (("hessian", "-", 4), ("fisher", "--", 1.5), ("empirical", ":", 2.5)):
    root = jnp.linalg.cholesky(jnp.linalg.inv(100 * matrices[name])) * jnp.sqrt(5.99)
    ellipse = w_fit[:, None] + root @ jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    plt.plot(*ellipse, style, linewidth=width, label=name)
plt.xlabel("intercept"), plt.ylabel("slope")
plt.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=10)
plt.tight_layout()
plt.show()

# %% [markdown]
# *The ellipses of the Hessian and the Fisher information coincide and enclose most dots. That of the empirical Fisher has another size and direction.*
#
# ## 14.2 L-BFGS and BFGS
#
# Quasi-Newton methods estimate the Hessian from successive gradients. For smooth, deterministic losses they need far fewer steps than Adam. `optax.lbfgs()` chooses the step length by a line search, for which `update` needs the loss:
#
# `updates, state = optimizer.update(grads, state, params, value=value, grad=grads, value_fn=loss_fn)`
#
# The state keeps the loss and gradient at the accepted point. `optax.value_and_grad_from_state(loss_fn)(params, state=state)` reads them from there.
#
# ### Minimise with L-BFGS
# **Exercise** · 12 minutes · difficulty 3 of 5
#
# Take `steps` steps of `optax.lbfgs()` with its default settings. Return `(params, losses)`: the final parameters, and the loss *before* each step, of shape `(steps,)`.
#
# `params` is any pytree of float arrays, and the result has the same structure.
#
# The check compares the minimum with SciPy's and the first steps with Optax. It counts the evaluations of the loss at run time, so do not recompute what the state holds.

# %% exercise="minimise"
@partial(jax.jit, static_argnums=(0, 2))
def minimise(loss_fn, params, steps: int):
    """`(params, losses)` after `steps` steps of L-BFGS; `losses[i]` is the loss before step `i`."""
    ### BEGIN SOLUTION
    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss_fn)

    def step(carry, _):
        params, opt_state = carry
        value, grads = value_and_grad(params, state=opt_state)
        updates, opt_state = optimizer.update(
            grads, opt_state, params, value=value, grad=grads, value_fn=loss_fn
        )
        return (optax.apply_updates(params, updates), opt_state), value

    (params, _), losses = lax.scan(step, (params, optimizer.init(params)), length=steps)
    return params, losses
    ### END SOLUTION

# %% [markdown] hints="minimise"
# <details><summary>Hint 1: the idea</summary>
#
# It is the training loop of lesson 08 as one `lax.scan`, without batches. The carry holds the parameters and the optimizer state.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `optax.value_and_grad_from_state(loss_fn)` before the loop. In the body: value and gradients, `optimizer.update` with its three additional arguments, `optax.apply_updates`.
# </details>

# %%
def counted(f, calls):
    """`f`, and each time it is evaluated, at run time too, `calls` grows by one."""
    def wrapped(x):
        jax.debug.callback(lambda: calls.append(1))
        return f(x)

    return wrapped


def flat(params):
    """A tree of NumPy arrays as one vector, and the way back."""
    leaves, structure = jax.tree.flatten(params)
    ends = np.cumsum([np.size(leaf) for leaf in leaves])[:-1]

    def unflat(vector):
        parts = np.split(vector, ends)
        return structure.unflatten([part.reshape(np.shape(leaf)) for part, leaf in zip(parts, leaves)])

    return np.concatenate([np.ravel(leaf) for leaf in leaves]), unflat

# %% check="minimise" points=3
def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def bowl(params):
    w, b = params["w"], params["b"]
    return ((w - b) ** 2).sum() + 3 * ((w[1:] - 2 * w[:-1] - 1) ** 2).sum() + (b - 2) ** 4 + b**2


def by_scipy(loss_fn, params, steps):
    vector, unflat = flat(params)
    found = scipy.optimize.minimize(lambda v: loss_fn(unflat(v)), vector, tol=1e-12)
    return unflat(found.x), loss_fn(params), True, found.fun


def summary(minimise, loss_fn, params, steps):
    """The minimum, the first loss, whether the losses never rise, and the last one."""
    params, losses = minimise(loss_fn, params, steps)
    return params, losses[0], jnp.all(losses[1:] <= losses[:-1] + 1e-5), losses[-1]


def few_evaluations(minimise, loss_fn, params, steps, at_most):
    calls = []
    jax.block_until_ready(minimise(counted(loss_fn, calls), params, steps))
    jax.effects_barrier()
    return jnp.asarray(len(calls) <= at_most)


lbfgs = optax.lbfgs()


@partial(jax.jit, static_argnums=(0, 1))
def lbfgs_step(loss_fn, late, params, opt_state):
    value, grads = jax.value_and_grad(loss_fn)(params)
    updates, opt_state = lbfgs.update(
        grads, opt_state, params, value=value, grad=grads, value_fn=loss_fn
    )
    params = optax.apply_updates(params, updates)
    return params, opt_state, loss_fn(params) if late else value


def optax_steps(loss_fn, params, steps, late=False):
    """The path by Optax, every value computed anew."""
    params = jax.tree.map(jnp.float32, params)
    opt_state, losses = lbfgs.init(params), []
    for _ in range(steps):
        params, opt_state, loss = lbfgs_step(loss_fn, late, params, opt_state)
        losses.append(loss)
    return params, np.stack(losses)


tree = {"w": "5", "b": ""}
check_values(
    through(summary, minimise),
    by_scipy,
    [(rosenbrock, np.float32([-1, -1, 0.5, 2]), 60)] + sweep(bowl, tree, 30, count=2),
    rtol=1e-3,
    atol=1e-3,
    about="the minimum",
)
check_values(
    minimise,
    optax_steps,
    [
        (rosenbrock, np.float32([-1.0, 1.0, 0.5]), 3),
        *sweep(bowl, {"w": "3", "b": ""}, 2, count=1, seed=1),
        *sweep(bowl, {"w": "3", "b": ""}, 1, count=1, seed=2),
    ],
    rtol=1e-3,
    atol=1e-4,
    mistakes={"the losses after each step": partial(optax_steps, late=True)},
    about="the first steps",
)
check_values(
    through(few_evaluations, minimise),
    [True],
    [(rosenbrock, np.float32([-1.0, 1.0, 0.5]), 10, 24)],
    mistakes={"each step evaluates the loss that the line search has left in the state": lambda *_: False},
    about="the number of evaluations",
)
### BEGIN HIDDEN TESTS
def saddle(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2 + x.sum() / 10


check_values(
    through(summary, minimise),
    by_scipy,
    [(saddle, np.float32([2.0, 2.5]), 25)],
    rtol=2e-3,
    atol=1e-3,
    about="another loss",
)


def stiff(x):
    return (jnp.linspace(1.0, 30.0, x.size) * (x - 1) ** 2).sum() + ((x[1:] - x[:-1]) ** 4).sum() / 10


def late_losses(minimise, loss_fn, params):
    return minimise(loss_fn, params, 16)[1][10:]


check_values(
    through(late_losses, minimise),
    lambda loss_fn, params: optax_steps(loss_fn, params, 16)[1][10:],
    sweep(stiff, "20", count=1, scale=3.0),
    rtol=3e-3,
    atol=1e-7,
    about="the losses from the eleventh step, which depend on the settings",
)
### END HIDDEN TESTS

# %% tags=["demonstration", "raises-exception"]
def valley(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def adam_losses(loss_fn, params, steps, learning_rate):
    adam = optax.adam(learning_rate)

    def step(carry, _):
        value, grads = jax.value_and_grad(loss_fn)(carry[0])
        updates, opt_state = adam.update(grads, carry[1])
        return (optax.apply_updates(carry[0], updates), opt_state), value

    return lax.scan(step, (params, adam.init(params)), length=steps)[1]


valley_start = jnp.array([-1.0, -1.0, 0.5, 2.0])
plt.figure("Adam and L-BFGS on the Rosenbrock function", figsize=(6, 3))
plt.semilogy(adam_losses(valley, valley_start, 300, 0.1), "--", label="Adam")
plt.semilogy(minimise(valley, valley_start, 60)[1], label="L-BFGS")
plt.xlabel("step"), plt.ylabel("Rosenbrock function"), plt.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
plt.tight_layout()
plt.show()

# %% [markdown]
# *L-BFGS reaches the rounding error of float32 within 60 steps. After 300 steps Adam is still many orders of magnitude above it.*
#
# `jax.scipy.optimize.minimize(f, x, method="BFGS")` is a `while_loop`, so `vmap` applies, here to 2,500 starting points on Himmelblau's function.

# %% tags=["demonstration"]
def himmelblau(x):
    return (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2


axis = jnp.linspace(-5, 5, 50)
starts = jnp.stack(jnp.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
found = jax.jit(jax.vmap(lambda x: minimize(himmelblau, x, method="BFGS")))(starts)
minima = jnp.array([[3.0, 2.0], [-2.805, 3.131], [-3.779, -3.283], [3.584, -1.848]])
which = jnp.argmin(jnp.linalg.norm(found.x[:, None] - minima, axis=-1), axis=1)
print("success:", float(found.success.mean()), "largest value found:", float(found.fun.max()))
plt.figure("The minimum of Himmelblau's function that each start reaches", figsize=(4.5, 4))
plt.imshow(which.reshape(50, 50), extent=(-5, 5, -5, 5), origin="lower", cmap="Set2")
plt.plot(*minima.T, "k*", markersize=10)
plt.xlabel("first coordinate of the start"), plt.ylabel("second coordinate")
plt.tight_layout()
plt.show()

# %% [markdown]
# *The colour of each starting point shows which of the four minima (stars) BFGS reaches. The basins have ragged borders.*
#
# BFGS does not raise when it fails. Look at `success` and at the value before you use a result. In float32 it often reports a failure at a good point, at the limit of precision.
#
# ## 14.3 Solve a differential equation with one scan
#
# For $\dot y = f(t, y, \theta)$, a classical Runge-Kutta step of length $h$ takes four evaluations:
#
# $$k_1 = f(t, y),\quad k_2 = f(t + \tfrac h2, y + \tfrac h2 k_1),\quad k_3 = f(t + \tfrac h2, y + \tfrac h2 k_2),\quad k_4 = f(t + h, y + h k_3)$$
#
# and $y(t + h) \approx y + \tfrac h6 (k_1 + 2 k_2 + 2 k_3 + k_4)$.
#
# ### Runge-Kutta as a scan
# **Exercise** · 10 minutes · difficulty 2 of 5
#
# Return the states at all `times`, an array of shape `(times, *shape)` whose first row is `y`. Take one Runge-Kutta step between neighbouring times.
#
# The times need not be equally spaced, may decrease, and may be a single time. `y` has any shape.
#
# The check compares with NumPy and SciPy, and looks at the gradient. The program must not grow with the number of times.

# %% exercise="integrate"
def integrate(f, y: Float[Array, "*shape"], times: Float[Array, "times"], params):
    """The solution of `dy/dt = f(t, y, params)` at `times`, where `y` is its value at `times[0]`."""
    ### BEGIN SOLUTION
    def step(y, interval):
        t, end = interval
        h = end - t
        k1 = f(t, y, params)
        k2 = f(t + h / 2, y + h / 2 * k1, params)
        k3 = f(t + h / 2, y + h / 2 * k2, params)
        k4 = f(end, y + h * k3, params)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return y, y

    _, later = lax.scan(step, y, (times[:-1], times[1:]))
    return jnp.concatenate([y[None], later])
    ### END SOLUTION

# %% [markdown] hints="integrate"
# <details><summary>Hint 1: the idea</summary>
#
# The carry is the state, and the stacked outputs are the trajectory. What changes from step to step is the pair of neighbouring times.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `lax.scan(step, y, (times[:-1], times[1:]))`. Put `y[None]` in front with `jnp.concatenate`.
# </details>

# %% check="integrate" points=3
def decay(t, y, rate):
    return -rate * y


def rotation(t, y, params):
    return y @ params["turn"] + t * params["push"]


def predators(t, y, params):
    growth, eaten = params
    return growth * y * (1 - eaten * y[::-1])


def runge_kutta(f, y, times, params, weights=(1, 2, 2, 1), equal=False, still=False):
    rows = [y]
    for t, end in zip(times, times[1:]):
        h = times[1] - times[0] if equal else end - t
        at = (lambda part: times[0]) if still else (lambda part: t + part * h)
        k1 = f(at(0), y, params)
        k2 = f(at(0.5), y + h / 2 * k1, params)
        k3 = f(at(0.5), y + h / 2 * k2, params)
        k4 = f(at(1), y + h * k3, params)
        y = y + h * sum(w * k for w, k in zip(weights, (k1, k2, k3, k4)) if w) / sum(weights)
        rows.append(y)
    return np.stack(rows)


def exact(f, y, times, params):
    solved = scipy.integrate.solve_ivp(
        lambda t, flat: np.ravel(f(t, flat.reshape(y.shape), params)),
        (times[0], times[-1]), y.ravel(), t_eval=times, rtol=1e-9, atol=1e-11,
    )
    return solved.y.T.reshape(len(times), *y.shape)


def final_by_rate(integrate, f, y, times, params):
    return jax.grad(lambda params: integrate(f, y, times, params)[-1].sum())(params)


uneven = np.float32([0.0, 0.3, 0.4, 0.9, 1.1])
both = np.float32([1.0, -1.0]), np.float32([0.7, 0.9])
cases = [
    *sweep(rotation, "3 2", uneven, {"turn": "2 2", "push": "2"}, count=1, planted=True),
    *sweep(rotation, "3 2", 2 * uneven + 1, {"turn": "2 2", "push": "2"}, count=1, seed=5),
    *sweep(predators, uniform("2", 0.5, 2.0), uneven[::-1] + 2, both, count=1, seed=1),
    *sweep(decay, "4", np.float32([1.0, 1.5, 1.75]), np.float32(0.8), count=1, seed=2),
    (decay, np.float32([np.inf, 1.0]), uneven, np.float32(-0.5)),
]
check_values(
    integrate,
    runge_kutta,
    cases,
    mistakes={
        "Euler's method: only k1 is used": partial(runge_kutta, weights=(1, 0, 0, 0)),
        "the four slopes have equal weights": partial(runge_kutta, weights=(1, 1, 1, 1)),
        "all steps have the length of the first": partial(runge_kutta, equal=True),
        "the time that f receives does not advance": partial(runge_kutta, still=True),
    },
)
check_values(
    integrate,
    exact,
    [(predators, np.float32([1.5, 0.5]), np.linspace(0, 8, 200, dtype=np.float32), both)],
    rtol=1e-3,
    about="predators and prey by SciPy",
)
check_values(
    through(final_by_rate, integrate),
    lambda f, y, times, rate: -(times[-1] - times[0]) * np.exp(-rate * (times[-1] - times[0])) * y.sum(),
    sweep(decay, uniform("3", 1.0, 2.0), np.linspace(0, 2, 30, dtype=np.float32), np.float32(0.7), count=1),
    mistakes={"no gradient flows through the steps": lambda *_: np.float64(0.0)},
    about="the gradient with respect to the rate of decay",
)
check_primitives(
    integrate, decay, np.ones(2), np.arange(4.0), 0.5, same_size_for=[(decay, np.ones(2), np.arange(9.0), 0.5)]
)
### BEGIN HIDDEN TESTS
check_values(
    integrate,
    runge_kutta,
    sweep(rotation, "2", np.float32([0.5, 0.2]), {"turn": "2 2", "push": "2"}, count=1, seed=3)
    + sweep(decay, "", np.float32([3.0]), np.float32(0.2), count=1, seed=4),
    about="one step backwards, and no step",
)
### END HIDDEN TESTS

# %% [markdown]
# A sensitivity is the forward-mode derivative of the trajectory with respect to a parameter:

# %% tags=["demonstration", "raises-exception"]
def lotka_volterra(t, y, growth):
    prey, hunters = y
    return jnp.stack([growth * prey - prey * hunters, prey * hunters - hunters])


times = jnp.linspace(0, 15, 400)
trajectory = partial(integrate, lotka_volterra, jnp.array([1.5, 0.5]), times)
values, sensitivity = jax.jvp(trajectory, (0.8,), (1.0,))
_, axes = plt.subplots(
    2, 1, num="Prey and predators, and their derivatives",
    figsize=(7, 5), sharex=True,
)
for axis, curves, label in zip(axes, (values, sensitivity), ("population", "derivative")):
    axis.plot(times, curves[:, 0], label="prey"), axis.plot(times, curves[:, 1], "--", label="predators")
    axis.set_ylabel(label)
axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=10), axes[1].set_xlabel("time")
plt.tight_layout()
plt.show()

# %% [markdown]
# *Above, prey and predators oscillate, the predators a quarter of a period later. Below, their derivatives with respect to the growth rate oscillate with growing amplitude, because the rate changes the period.*
#
# In practice use `jax.experimental.ode.odeint`, which adapts its step, or the library diffrax.
#
# ## 14.4 The adjoint method: a gradient in constant memory
#
# Reverse mode through the scan stores the state at each step. The adjoint method does not. For a function $L$ of $y(T)$, the *adjoint* $a(t) = \partial L / \partial y(t)$ and an integral $g$ satisfy
#
# $$\dot a = -a^\top \frac{\partial f}{\partial y}, \qquad \dot g = -a^\top \frac{\partial f}{\partial \theta}, \qquad a(T) = \frac{\partial L}{\partial y(T)}, \qquad g(T) = 0.$$
#
# Integrate $(y, a, g)$ *backwards* from $T$ to 0. Then $a(0)$ and $g(0)$ are the gradients with respect to $y(0)$ and $\theta$. `jax.vjp` gives both products without a Jacobian.
#
# ### The adjoint by hand
# **Exercise** · 20 minutes · difficulty 4 of 5
#
# `y1` is the state at time `t1`. Return `(y0, grad_y, grad_params)`: the state at time 0, and the gradients of `cotangent @ y(t1)` with respect to `y0` and `params`. Integrate all three together in `steps` Runge-Kutta steps of equal length.
#
# `y1` and `cotangent` are vectors. `params` is any pytree of float arrays, and `grad_params` has its structure.
#
# The check compares with SciPy and finite differences. In the program for many steps, no intermediate value may hold a state for each step.

# %% exercise="adjoint"
def adjoint(f, y1: Float[Array, "n"], params, t1: float, cotangent: Float[Array, "n"], steps: int):
    """The state at time 0, and the gradients of `cotangent @ y(t1)` with respect to it and `params`."""
    ### BEGIN SOLUTION
    def augmented(t, state):
        y, a, _ = state
        dy, pull = jax.vjp(partial(f, t), y, params)
        da, dg = pull(-a)
        return dy, da, dg

    def moved(state, h, slope):
        return jax.tree.map(lambda s, k: s + h * k, state, slope)

    h = -t1 / steps

    def step(i, state):
        t = t1 + i * h
        k1 = augmented(t, state)
        k2 = augmented(t + h / 2, moved(state, h / 2, k1))
        k3 = augmented(t + h / 2, moved(state, h / 2, k2))
        k4 = augmented(t + h, moved(state, h, k3))
        for weight, slope in zip((1, 2, 2, 1), (k1, k2, k3, k4)):
            state = moved(state, weight * h / 6, slope)
        return state

    return lax.fori_loop(0, steps, step, (y1, cotangent, jax.tree.map(jnp.zeros_like, params)))
    ### END SOLUTION

# %% [markdown] hints="adjoint"
# <details><summary>Hint 1: the idea</summary>
#
# Write the right-hand side of the augmented equation for the tuple `(y, a, g)`. Then take the steps of 14.3 with the negative length `-t1 / steps`, from time `t1` on.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `dy, pull = jax.vjp(lambda y, params: f(t, y, params), y, params)`, and `pull(-a)` gives both products. Add trees with `jax.tree.map`. `lax.fori_loop` stores no stacked outputs.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# Define `augmented(t, state)`, `moved(state, h, slope)` and `step(i, state)`. The first state is `(y1, cotangent, zeros)`.
# </details>

# %% check="adjoint" points=4
def forced(t, y, params):
    return params["a"] @ y + t * params["b"] * y


def competition(t, y, params):
    rates, strength = params
    return rates * y * (1 - strength * y.sum())


def solved(f, y, params, start, end):
    result = scipy.integrate.solve_ivp(
        lambda t, y: f(t, y, params), (start, end), y, rtol=1e-11, atol=1e-12, method="DOP853"
    )
    return result.y[:, -1]


def by_differences(f, y1, params, t1, cotangent, steps, sign=1, back=True):
    vector, unflat = flat(params)
    y0 = solved(f, y1, params, t1, 0.0)
    by_y = [
        cotangent @ (solved(f, y0 + e, params, 0.0, t1) - solved(f, y0 - e, params, 0.0, t1)) / 2e-4
        for e in 1e-4 * np.eye(len(y0))
    ]
    by_params = [
        cotangent @ (solved(f, y0, unflat(vector + e), 0.0, t1) - solved(f, y0, unflat(vector - e), 0.0, t1)) / 2e-4
        for e in 1e-4 * np.eye(len(vector))
    ]
    return y0 if back else y1, np.stack(by_y), unflat(sign * np.stack(by_params))


def by_runge_kutta(f, y1, params, t1, cotangent, steps):
    """The same steps in NumPy, with Jacobians by central differences."""
    vector, unflat = flat(params)
    n, k = len(y1), len(vector)

    def slope(t, state):
        y, a = state[:n], state[n : 2 * n]
        by_y = [(f(t, y + e, params) - f(t, y - e, params)) / 2e-5 for e in 1e-5 * np.eye(n)]
        by_params = [(f(t, y, unflat(vector + e)) - f(t, y, unflat(vector - e))) / 2e-5 for e in 1e-5 * np.eye(k)]
        return np.concatenate([f(t, y, params), -np.array(by_y) @ a, -np.array(by_params) @ a])

    state, h = np.concatenate([y1, cotangent, np.zeros(k)]), -t1 / steps
    for t in t1 + h * np.arange(steps):
        k1 = slope(t, state)
        k2 = slope(t + h / 2, state + h / 2 * k1)
        k3 = slope(t + h / 2, state + h / 2 * k2)
        state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(t + h, state + h * k3))
    return state[:n], state[n : 2 * n], unflat(state[2 * n :])


small = {"a": uniform("n n", -1.0, 1.0), "b": uniform("n", -1.0, 1.0)}
growing = uniform("3", 0.5, 1.5), uniform("", 0.2, 0.5)
check_values(
    adjoint,
    by_differences,
    sweep(forced, "n", small, 0.7, "n", 40, count=2, planted=True)
    + sweep(competition, uniform("3", 0.5, 1.0), growing, 1.5, "3", 60, count=1, seed=1)
    + sweep(competition, uniform("3", 0.5, 1.0), growing, 0.8, "3", 30, count=1, seed=4),
    rtol=1e-3,
    atol=1e-4,
    mistakes={
        "the gradient with respect to the parameters has the wrong sign":
            partial(by_differences, sign=-1),
        "the state at time t1 is returned for that at time 0": partial(by_differences, back=False),
    },
)
check_values(
    adjoint,
    by_runge_kutta,
    sweep(competition, uniform("3", 0.5, 1.0), growing, 1.5, "3", 2, count=1, seed=5)
    + sweep(competition, uniform("3", 0.5, 1.0), growing, 1.8, "3", 1, count=1, seed=6),
    rtol=1e-3,
    atol=1e-4,
    mistakes={"there are more steps than `steps`": lambda *args: by_runge_kutta(*args[:-1], 2 * args[-1])},
    about="few steps",
)
check_primitives(
    adjoint,
    forced,
    np.ones(8),
    {"a": np.eye(8), "b": np.ones(8)},
    1.0,
    np.ones(8),
    500,
    max_elements=1100,
    static_argnums=(5,),
    about="memory for 500 steps of a state of 8 numbers",
)
### BEGIN HIDDEN TESTS
def oscillator(t, y, frequency):
    return frequency * y[::-1] * np.float32([1.0, -1.0])


check_values(
    adjoint,
    by_differences,
    sweep(oscillator, "2", uniform("", 0.5, 2.0), 2.0, "2", 100, count=2, seed=2),
    rtol=1e-3,
    atol=1e-4,
    about="a longer time, and one parameter",
)
### END HIDDEN TESTS

# %% [markdown]
# `jax.custom_vjp` makes your function a derivative rule. Here is the temporary memory of two compiled gradients:

# %% tags=["demonstration", "raises-exception"]
def chain(t, y, stiffness):
    return stiffness * (jnp.roll(y, 1) - 2 * y + jnp.roll(y, -1)) + jnp.sin(y)


def forward_only(y, params, steps):
    h = 1.0 / steps

    def step(i, y):
        middle = y + h / 2 * chain(0.0, y, params)
        return y + h * chain(0.0, middle, params)

    return lax.fori_loop(0, steps, step, y)


by_adjoint = jax.custom_vjp(forward_only, nondiff_argnums=(2,))
by_adjoint.defvjp(
    lambda y, params, steps: (end := forward_only(y, params, steps), (end, params)),
    lambda steps, kept, cotangent: adjoint(chain, kept[0], kept[1], 1.0, cotangent, steps)[1:],
)
counts = [100, 500, 2500]
plt.figure("Memory of the gradient, through the scan and with the adjoint", figsize=(6, 3))
for name, solver, style in (("scan", forward_only, "o--"), ("adjoint", by_adjoint, "s-")):
    memory = [
        jax.jit(jax.grad(lambda y, p: solver(y, p, steps).sum(), argnums=(0, 1)))
        .lower(jnp.ones(64), jnp.float32(0.5)).compile().memory_analysis().temp_size_in_bytes
        for steps in counts
    ]
    plt.loglog(counts, memory, style, label=name)
plt.xlabel("steps"), plt.ylabel("temporary memory in bytes"), plt.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
plt.tight_layout()
plt.show()

# %% [markdown]
# *The memory of the gradient through the scan grows with the number of steps. That of the adjoint is constant.*
#
# Solving backwards recomputes the state, and this can be inaccurate.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# For $\dot y = -20\,y$ and $T = 1$, by what factor does the *exact* backward solution multiply an error in $y(T)$? Answer with the power of ten whose logarithm is nearest.

# %% exercise="backward_growth" kind="prediction"
# A power of ten such as 1e3.
### BEGIN SOLUTION
backward_growth = 1e9
### END SOLUTION

# %% check="backward_growth" points=1
check_answer(
    backward_growth,
    1e9,
    because="exp(20) is 4.9e8. What decays forwards grows backwards, so strongly dissipative systems need stored states or checkpoints.",
    mistakes={1.0: "an error decays like the solution forwards, and grows backwards", 1e8: "exp(20) is 4.9e8, which is nearer to 1e9"},
)

# %% [markdown]
# Compare the first result of `adjoint` with the `y0` that you started from. The alternative is `jax.checkpoint` (lesson 04), whose gradients are exact and whose memory lies between the two.
#
# ## 14.5 Particles: velocity Verlet against Euler
#
# Newton's equations $m\,\ddot x = -\nabla U(x)$ conserve the energy $E = \frac12 \sum m v^2 + U(x)$. Euler's method $x \leftarrow x + h v$, $v \leftarrow v + h a(x)$ does not.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# A harmonic oscillator ($m = k = 1$) has energy 0.5. After 1,000 Euler steps with $h = 0.1$, is its energy nearest to 0.5, 50, 5,000 or 50,000? (One step multiplies $x^2 + v^2$ by $1 + h^2$.)

# %% exercise="euler_energy" kind="prediction"
# One of the four numbers.
### BEGIN SOLUTION
euler_energy = 5000
### END SOLUTION

# %% check="euler_energy" points=1
check_answer(
    euler_energy,
    5000,
    because="0.5 * 1.01**1000 is 10,480, and 5,000 is the nearest of the four. A smaller step only delays the growth.",
    mistakes={0.5: "Euler's method gains energy at every step", 50: "1.01**1000 is 20,959"},
)

# %% [markdown]
# *Velocity Verlet* needs one force per step too, and is symplectic, so its energy error stays of order $h^2$. One step is
#
# $$v_{1/2} = v + \tfrac h2 a(x), \qquad x' = x + h\, v_{1/2}, \qquad v' = v_{1/2} + \tfrac h2 a(x').$$
#
# ### Velocity Verlet
# **Exercise** · 12 minutes · difficulty 3 of 5
#
# Return `(xs, vs)`, the positions and velocities *after* each step, both of shape `(steps, particles, dims)`.
#
# `potential(x)` is the total potential energy. The force is minus its gradient. Each particle has its own mass.
#
# The check compares with NumPy, also after many steps. It counts the evaluations of the potential at run time. At most `steps + 1` are allowed, because $a(x')$ is the $a(x)$ of the next step.

# %% exercise="simulate"
def simulate(
    potential,
    mass: Float[Array, "particles"],
    x: Float[Array, "particles dims"],
    v: Float[Array, "particles dims"],
    dt: float,
    steps: int,
):
    """Positions and velocities after each of `steps` steps of velocity Verlet."""
    ### BEGIN SOLUTION
    def acceleration(x):
        return -jax.grad(potential)(x) / mass[:, None]

    def step(state, _):
        x, v, a = state
        half = v + dt / 2 * a
        x = x + dt * half
        a = acceleration(x)
        v = half + dt / 2 * a
        return (x, v, a), (x, v)

    return lax.scan(step, (x, v, acceleration(x)), length=steps)[1]
    ### END SOLUTION

# %% [markdown] hints="simulate"
# <details><summary>Hint 1: the idea</summary>
#
# Carry the acceleration beside position and velocity, and compute the first one before the scan.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.grad(potential)(x)` has the shape of `x`. Divide it by `mass[:, None]`.
# </details>

# %% check="simulate" points=3
def springs(x):
    return ((x[1:] - x[:-1]) ** 2).sum() + 0.5 * (x**2).sum()


def gravity(x):
    return -(1 / ((x**2).sum(axis=-1)) ** 0.5).sum()


def quartic(x):
    return (x**4).sum() / 4 + x[0].sum() * x[-1].sum()


def verlet(potential, mass, x, v, dt, steps, method="verlet", order=slice(None)):
    force = numerical_gradient(potential)
    mass, xs, vs = mass[:, None] if method != "unit" else 1.0, [x], [v]
    for _ in range(steps):
        a = -force(x) / mass
        half = v + dt / 2 * a
        if method == "euler":
            x, v = x + dt * v, v + dt * a
        elif method == "semi":
            x, v = x + dt * (v + dt * a), v + dt * a
        elif method == "old force":
            x, v = x + dt * half, half + dt / 2 * a
        else:
            x = x + dt * half
            v = half - dt / 2 * force(x) / mass
        xs, vs = [*xs, x], [*vs, v]
    return np.stack(xs[1:]), np.stack(vs[1:])


def in_place_of(method):
    return lambda *args: verlet(*args, method=method)


def last_row(simulate, *args):
    xs, vs = simulate(*args)
    return xs[-1], vs[-1]


def few_forces(simulate, potential, mass, x, v, dt, steps):
    calls = []
    jax.block_until_ready(simulate(counted(potential, calls), mass, x, v, dt, steps))
    jax.effects_barrier()
    return jnp.asarray(len(calls) <= steps + 1)


heavy = uniform("n", 0.5, 2.0)
check_values(
    simulate,
    verlet,
    sweep(springs, heavy, "n d", "n d", 0.1, 6, count=1, planted=True)
    + sweep(springs, heavy, "n d", "n d", 0.1, 4, count=1, seed=5, scale=300.0)
    + sweep(quartic, uniform("3", 0.5, 2.0), "3 2", "3 2", 0.05, 9, count=1, seed=1)
    + sweep(quartic, uniform("3", 1e-4, 3e-4), "3 2", "3 2", 0.001, 5, count=1, seed=4),
    mistakes={
        "Euler's method": in_place_of("euler"),
        "symplectic Euler, which is of first order only": in_place_of("semi"),
        "the second half of the step uses the acceleration at the old position": in_place_of("old force"),
        "the masses are ignored": in_place_of("unit"),
    },
)
check_values(
    through(last_row, simulate),
    lambda *args: tuple(rows[-1] for rows in verlet(*args)),
    [(springs, np.float32([1.0, 2.0]), np.float32([[1.0], [0.0]]), np.float32([[0.0], [0.5]]), 0.1, 1000)],
    rtol=1e-2,
    atol=1e-3,
    about="1,000 steps",
)
check_values(
    through(few_forces, simulate),
    [True],
    [(springs, np.ones(2), np.ones((2, 2)), np.ones((2, 2)), 0.1, 20)],
    mistakes={"the potential is evaluated twice in each step": lambda *_: False},
    about="the number of evaluations",
)
### BEGIN HIDDEN TESTS
check_values(
    simulate,
    verlet,
    sweep(gravity, uniform("3", 1.0, 2.0), uniform("3 2", 1.0, 2.0), "3 2", 0.05, 20, count=2, seed=2)
    + sweep(springs, uniform("4", 1.0, 2.0), "4 1", "4 1", 0.2, 1, count=1, seed=3),
    about="another potential, and a single step",
)
### END HIDDEN TESTS

# %% [markdown]
# A planet on an eccentric orbit, with your simulation and with Euler's method:

# %% tags=["demonstration", "raises-exception"]
def sun(x):
    return -jnp.sum(1 / jnp.linalg.norm(x, axis=-1))


def euler(x, v, dt, steps):
    def step(state, _):
        x, v = state
        state = x + dt * v, v - dt * jax.grad(sun)(x)
        return state, state

    return lax.scan(step, (x, v), length=steps)[1]


planet = jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.2]])
orbits = {"Verlet": simulate(sun, jnp.ones(1), *planet, 0.02, 3000), "Euler": euler(*planet, 0.02, 3000)}
_, (left, right) = plt.subplots(
    1, 2, num="An orbit by Verlet and by Euler, and its energy",
    figsize=(9, 3.5),
)
for (name, (xs, vs)), style in zip(orbits.items(), ("-", ":")):
    energy = 0.5 * (vs**2).sum((1, 2)) + jax.vmap(sun)(xs)
    left.plot(xs[:, 0, 0], xs[:, 0, 1], style, label=name), right.plot(0.02 * jnp.arange(3000), energy, style)
left.plot(0, 0, "*", color="gray", markersize=10), left.set_xlabel("x"), left.set_ylabel("y")
left.set_aspect("equal"), left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=10)
right.set_xlabel("time"), right.set_ylabel("energy")
plt.tight_layout()
plt.show()

# %% [markdown]
# *Left: the Verlet orbit stays on one ellipse around the sun (star), and Euler's spirals outwards. Right: Verlet's energy is constant at this scale, and Euler's rises.*
#
# **This is a good place for a break.**
#
# ## 14.6 When a gradient misleads: contact
#
# A ball is dropped from height $h$ and bounces once before time 0.6. This simulator reverses its velocity below the floor:

# %%
@partial(jax.jit, static_argnames="steps")
def naive_bounce(h, t=0.6, steps=600):
    dt = t / steps

    def step(state, _):
        y, v = state
        v = v - 9.81 * dt
        v = jnp.where((y < 0) & (v < 0), -0.8 * v, v)
        return (y + dt * v, v), None

    return lax.scan(step, (h, 0.0), length=steps)[0][0]


print(naive_bounce(1.0), naive_bounce(1.1))

# %% [markdown]
# **Prediction** · 3 minutes · difficulty 4 of 5
#
# The printed values show that the final height *falls* as $h$ rises, with a derivative of about -0.2. What does `jax.grad(naive_bounce)(1.0)` return? Follow how `h` enters `y` and `v`.

# %% exercise="contact_gradient" kind="prediction"
# A number.
### BEGIN SOLUTION
contact_gradient = 1.0
### END SOLUTION

# %% check="contact_gradient" points=1
check_answer(
    contact_gradient,
    1.0,
    because="v depends on h only through the step at which the sign changes, and a comparison has derivative zero. So dv/dh = 0 and dy/dh = 1, with any number of steps.",
    mistakes={
        -0.2: "jax.grad differentiates the program, in which the time of impact is a comparison",
        -0.8: "v is reversed, but v does not depend on h at all, except through the comparison",
        0.0: "the initial height is added to all that follows",
    },
)

# %% [markdown]
# The gradient is exact for the program, in which impacts happen at whole steps. The fix is a differentiable time of impact. A ball at height $y$ with upward velocity $v$ reaches the floor after $\tau = (v + \sqrt{v^2 + 2 g y}) / g$.
#
# ### Bug hunt: resolve the impact
# **Exercise** · 12 minutes · difficulty 3 of 5
#
# Return `(y, v)` at time `t`. At an impact, multiply the velocity by `-restitution`, and continue from the floor with the remaining time.
#
# Resolve at most `bounces` impacts, a Python int. After the last of them, the ball falls through the floor. `restitution` is positive. `y` is positive at the start, `v` may have either sign, and $g$ is 9.81.
#
# The check compares values, and gradients with respect to the four float arguments. Time steps are not accurate enough.

# %% exercise="bounce"
def bounce(y: float, v: float, t: float, restitution: float, bounces: int):
    """Height and velocity at time `t` of a ball that bounces off the floor at height 0."""
    ### BEGIN SOLUTION
    g = 9.81
    for _ in range(bounces):
        tau = (v + jnp.sqrt(v**2 + 2 * g * y)) / g
        hits = tau <= t
        y, v, t = (
            jnp.where(hits, 0.0, y),
            jnp.where(hits, -restitution * (v - g * tau), v),
            jnp.where(hits, t - tau, t),
        )
    return y + v * t - g / 2 * t**2, v - g * t
    ### END SOLUTION

# %% [markdown] hints="bounce"
# <details><summary>Hint 1: the idea</summary>
#
# In each turn of a loop over `bounces`, compute $\tau$ and choose with `jnp.where` between the state after the impact and the present state. The time is a part of the state.
# </details>
# <details><summary>Hint 2: the physics</summary>
#
# The velocity just before the impact is `v - g * tau`. Free flight for the time `t` gives `y + v * t - g / 2 * t**2` and `v - g * t`.
# </details>

# %% check="bounce" points=3
def by_events(y, v, t, restitution, bounces, g=9.81, flipped=1.0, off=0.0, times=None):
    for i in range(int(bounces)):
        tau = times[i] if times else (v + np.sqrt(v**2 + 2 * g * y)) / g
        if tau > t:
            break
        y, v, t = 0.0, flipped * -restitution * (v - g * tau), t - tau * (1 - off)
    return y + v * t - g / 2 * t**2, v - g * t


def both_gradients(bounce, *args):
    return jax.jacrev(partial(bounce_of, bounce, args[4]))(args[:4])


def bounce_of(bounce, bounces, args):
    return bounce(*args, bounces)


def impacts(y, v, t, restitution, bounces, g=9.81):
    """The time from each impact, or the start, to the next."""
    times = []
    for _ in range(bounces):
        times.append((v + np.sqrt(v**2 + 2 * g * y)) / g)
        y, v = 0.0, -restitution * (v - g * times[-1])
    return times


def gradients_by_differences(*args, frozen=False):
    first, count = np.array(args[:4], np.float64), args[4]
    final = partial(by_events, bounces=count, times=impacts(*first, count) if frozen else None)
    rows = [(np.array(final(*(first + e))) - final(*(first - e))) / 2e-6 for e in 1e-6 * np.eye(4)]
    return tuple(tuple(float(row[i]) for row in rows) for i in range(2))


drops = [
    tuple(np.array(number, np.float32) for number in row[:4]) + row[4:]
    for row in [
        (1.0, 0.0, 0.3, 0.8, 2),
        (1.0, 0.0, 0.6, 0.8, 1),
        (0.5, 1.996, 1.9, 0.7, 4),
        (2.0, -1.0039, 1.5, 0.9, 3),
        (180.0, 5.0, 2.0, 0.8, 2),
        (0.3, 0.0, 0.9, 0.5, 1),
    ]
]
check_values(
    bounce,
    by_events,
    drops,
    rtol=1e-3,
    atol=1e-4,
    mistakes={
        "the ball is not reflected": lambda *args: by_events(*args[:4], 0),
        "the velocity keeps its direction at the impact": partial(by_events, flipped=-1.0),
        "the time that has passed before the impact is not subtracted": partial(by_events, off=1.0),
        "nothing is lost at the impact": lambda y, v, t, e, n: by_events(y, v, t, 1.0, n),
        "the result has the wrong sign: upwards is positive": lambda *args: tuple(-part for part in by_events(*args)),
    },
    about="height and velocity",
)
check_values(
    through(both_gradients, bounce),
    gradients_by_differences,
    drops[1:],
    rtol=5e-3,
    atol=1e-3,
    mistakes={
        "the time of impact is treated as a constant": partial(gradients_by_differences, frozen=True)
    },
    about="their gradients",
)
### BEGIN HIDDEN TESTS
check_values(
    through(both_gradients, bounce),
    gradients_by_differences,
    [
        tuple(np.array(number, np.float32) for number in row[:4]) + row[4:]
        for row in [(1.5, 3.0, 2.62, 0.6, 5), (0.8, -2.0, 0.9, 0.95, 2), (3.0, 0.5, 0.2, 0.4, 3)]
    ],
    rtol=5e-3,
    atol=1e-3,
    about="other drops",
)
### END HIDDEN TESTS

# %% tags=["demonstration", "raises-exception"]
heights = jnp.linspace(1.0, 1.1, 1000)
plt.figure("Height of a bouncing ball, with time steps and exactly", figsize=(7, 3))
plt.plot(heights, jax.vmap(partial(naive_bounce, steps=150))(heights), label="150 time steps")
plt.plot(heights, jax.vmap(lambda h: bounce(h, 0.0, 0.6, 0.8, 1)[0])(heights), "--", label="your bounce")
plt.xlabel("initial height"), plt.ylabel("height at t = 0.6"), plt.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
plt.tight_layout()
plt.show()
print("gradients at 1:", jax.grad(naive_bounce)(1.0), jax.grad(lambda h: bounce(h, 0.0, 0.6, 0.8, 1)[0])(1.0))

# %% [markdown]
# *With time steps the final height is a sawtooth, which rises with slope 1 and falls only at the jumps. Your function falls smoothly with slope -0.2.*
#
# ## 14.7 When a gradient misleads: chaos
#
# In a chaotic system small changes grow as $e^{\lambda n}$, where $\lambda > 0$ is the *Lyapunov exponent*, and so does the derivative of the state after $n$ steps. It is exact, but holds only within a tiny neighbourhood, and is useless for optimisation. For a map $x_{k+1} = f(x_k)$ of one variable
#
# $$\lambda = \frac1n \sum_{k=0}^{n-1} \log |f'(x_k)|.$$
#
# ### The Lyapunov exponent
# **Exercise** · 8 minutes · difficulty 2 of 5
#
# Return this mean over the first `steps` states, beginning with `x`.
#
# If the orbit meets a point with $f'(x) = 0$, the result is `-inf`. Do not form the product of the derivatives, which may overflow.
#
# The check uses short orbits, and maps with known exponents.

# %% exercise="lyapunov"
def lyapunov(f, x: Float[Array, ""], steps: int) -> Float[Array, ""]:
    """The mean of `log |f'|` over the first `steps` states of the orbit of `x`."""
    ### BEGIN SOLUTION
    def step(x, _):
        x, slope = jax.value_and_grad(f)(x)
        return x, jnp.log(jnp.abs(slope))

    return lax.scan(step, x, length=steps)[1].mean()
    ### END SOLUTION

# %% [markdown] hints="lyapunov"
# <details><summary>Hint 1: the idea</summary>
#
# One call gives the next state and the derivative at the present one. Take the logarithm in each step, and the mean at the end.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.value_and_grad(f)` in the body of `lax.scan`, with the logarithm as the stacked output.
# </details>

# %% check="lyapunov" points=2
def logistic(x):
    return 4 * x * (1 - x)


def periodic(x):
    return 3.2 * x * (1 - x)


def expanding(x):
    return 30 * x + x**2 / 7


def settling(x):
    return -0.5 * x - x**3 / 10


def tripling(x):
    return 3 * x % 1


def mean_log_slope(f, x, steps, first=0, total=False):
    logs = []
    with np.errstate(divide="ignore"):
        for _ in range(steps + first):
            logs.append(np.log(np.abs((f(x + 1e-6) - f(x - 1e-6)) / 2e-6)))
            x = f(x)
    return np.sum(logs[first:]) if total else np.mean(logs[first:])


def near_known(lyapunov, f, x, steps, low, high):
    value = lyapunov(f, x, steps)
    return jnp.logical_and(low <= value, value <= high)


check_values(
    lyapunov,
    mean_log_slope,
    [
        (logistic, np.float32(0.3), 3),
        (periodic, np.float32(0.6), 40),
        (settling, np.float32(-0.9), 15),
        (expanding, np.float32(0.01), 4),
        (settling, np.float32(1.3), 1),
    ],
    rtol=1e-3,
    mistakes={
        "the sum instead of the mean": partial(mean_log_slope, total=True),
        "the first state is left out": partial(mean_log_slope, first=1),
        "the absolute value is left out: the logarithm of a negative slope": lambda *_: np.float64(np.nan),
    },
)
check_values(
    through(near_known, lyapunov),
    [True, True],
    [
        (logistic, np.float32(0.3), 5000, 0.66, 0.73),
        (tripling, np.float32(0.3), 500, 1.098, 1.099),
    ],
    mistakes={"not the known exponents of the two maps, log 2 and log 3": lambda *_: False},
    about="5,000 steps",
)
### BEGIN HIDDEN TESTS
check_values(
    lyapunov,
    [-np.inf],
    [(lambda x: 2 * x * (1 - x), np.float32(0.5), 7)],
    about="a superstable orbit",
)
### END HIDDEN TESTS

# %% [markdown]
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# The exponent of the logistic map $x \mapsto 4x(1 - x)$ is $\log 2$, so errors double at each step. A float32 state has a relative error of about $2^{-24}$. After how many steps is the forecast worthless?

# %% exercise="horizon" kind="prediction"
# An integer.
### BEGIN SOLUTION
horizon = 24
### END SOLUTION

# %% check="horizon" points=1
check_answer(
    horizon,
    24,
    because="2**-24 * 2**24 = 1: one bit of the state is lost at each step. In general the horizon is log(1/error) / exponent.",
    mistakes={53: "that is the horizon of float64"},
)

# %% tags=["demonstration", "raises-exception"]
def orbit(x, n):
    return lax.scan(lambda x, _: (4 * x * (1 - x),) * 2, x, length=n)[1]


exponent = lyapunov(lambda x: 4 * x * (1 - x), jnp.float32(0.3), 5000)
slopes = jax.jacfwd(orbit)(jnp.float32(0.3), 60)
_, (left, right) = plt.subplots(
    1, 2, num="Two chaotic orbits, and the growth of the derivative",
    figsize=(9, 3),
)
left.plot(orbit(jnp.float32(0.3), 60)), left.plot(orbit(jnp.float32(0.3000001), 60), "--")
right.semilogy(jnp.abs(slopes), label="derivative"), right.semilogy(jnp.exp(exponent * jnp.arange(60)), "--", label="exponential")
left.set_xlabel("step"), left.set_ylabel("state"), right.set_xlabel("step"), right.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
plt.tight_layout()
plt.show()

# %% [markdown]
# *Left: two orbits that start 1e-7 apart separate after about 20 steps. Right: the derivative with respect to the start follows the dashed exponential up to 1e18.*
#
# Differentiate over less than this horizon.
#
# ## 14.8 Implicit differentiation of a fixed point
#
# An equilibrium is a fixed point $x^* = f(\theta, x^*)$, found by a `while_loop`, which reverse mode cannot differentiate. The implicit function theorem needs only the derivatives of $f$ at the solution. For a cotangent $c$ of $x^*$, solve
#
# $$u = c + u \frac{\partial f}{\partial x}(\theta, x^*), \qquad \text{then the cotangent of } \theta \text{ is } u \frac{\partial f}{\partial \theta}(\theta, x^*).$$
#
# So $u$ is a fixed point too.
#
# ### A differentiable fixed point
# **Exercise** · 20 minutes · difficulty 5 of 5
#
# Iterate $x \leftarrow f(\theta, x)$ from `x`, until the largest change is at most $10^{-6} (1 + \max |x|)$ or 1,000 iterations are done. Return the last $x$, with the reverse-mode derivative above. The derivative with respect to the starting point is zero.
#
# `params` is any pytree of float arrays, and `x` a float array of any shape. Values and gradients must also work under `vmap`.
#
# The check compares with closed forms. The program of the gradient must contain a `while` and no `scan`.

# %% exercise="fixed_point"
def fixed_point(f, params, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The solution of `x = f(params, x)`, differentiable with respect to `params`."""
    ### BEGIN SOLUTION
    def iterate(g, x):
        def unfinished(state):
            old, new, count = state
            change, size = jnp.max(jnp.abs(new - old)), jnp.max(jnp.abs(new))
            return (change > 1e-6 * (1 + size)) & (count < 1000)

        def again(state):
            _, x, count = state
            return x, g(x), count + 1

        return lax.while_loop(unfinished, again, (x, g(x), 1))[1]

    @jax.custom_vjp
    def solve(params, x):
        return iterate(partial(f, params), x)

    def forward(params, x):
        x = iterate(partial(f, params), x)
        return x, (params, x)

    def backward(kept, cotangent):
        _, pull = jax.vjp(f, *kept)
        u = iterate(lambda u: cotangent + pull(u)[1], cotangent)
        return pull(u)[0], jnp.zeros_like(cotangent)

    solve.defvjp(forward, backward)
    return solve(params, x)
    ### END SOLUTION

# %% [markdown] hints="fixed_point"
# <details><summary>Hint 1: the idea</summary>
#
# Write `iterate(g, x)` with a `while_loop` once, and use it twice: forwards for $x$, backwards for $u$. The residuals are `params` and the solution.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# In the backward pass, `_, pull = jax.vjp(f, params, x)`. `pull(u)` returns both products, `pull(u)[0]` for `params` and `pull(u)[1]` for `x`.
# </details>
# <details><summary>Hint 3: the skeleton</summary>
#
# Inside `fixed_point`, define `iterate`, then `solve(params, x)` under `jax.custom_vjp`, `forward` and `backward`. End with `solve.defvjp(forward, backward)` and `return solve(params, x)`.
# </details>

# %% check="fixed_point" points=4
def affine(params, x):
    a, b = params
    return a @ x + b


def babylonian(a, x):
    return (x + a / x) / 2


def kepler(orbit, anomaly):
    return orbit["mean"] + orbit["e"] * jnp.sin(anomaly)


def with_gradient(fixed_point, f, params, x, cotangent):
    return jax.vjp(partial(fixed_point, f), params, x)[1](cotangent)


def affine_solution(f, params, x):
    return np.linalg.solve(np.eye(len(x)) - params[0], params[1])


def decaying(factors, x):
    return factors * x


def adding(step, x):
    return x + step


def largest(x):
    return np.abs(x).max()


def iterated(f, params, x, relative=1.0, back=0, change=largest):
    """The iteration as the text says it."""
    rows = [x, f(params, x)]
    while change(rows[-1] - rows[-2]) > 1e-6 * (1 + relative * largest(rows[-1])) and len(rows) < 1001:
        rows.append(f(params, rows[-1]))
    return rows[-1 - back]


def affine_gradient(f, params, x, cotangent, explicit=False, transposed=True, unsigned=1):
    solution = affine_solution(f, params, x)
    matrix = np.eye(len(x)) - unsigned * (params[0].T if transposed else params[0])
    u = cotangent if explicit else np.linalg.solve(matrix, cotangent)
    return (np.outer(u, solution), u), 0 * x


def in_batches(fixed_point, f, params, x):
    return jax.vmap(jax.value_and_grad(partial(fixed_point, f)))(params, x)


def kepler_by_scipy(f, params, x):
    mean, e = params["mean"], params["e"]
    anomaly = np.array([scipy.optimize.brentq(lambda x: x - b * np.sin(x) - a, a - 1, a + 1) for a, b in zip(mean, e)])
    slope = 1 / (1 - e * np.cos(anomaly))
    return anomaly, {"mean": slope, "e": np.sin(anomaly) * slope}


def root_and_slope(f, a, x):
    return np.sqrt(a), 0.5 / np.sqrt(a)


def kepler_or_root(f, params, x):
    return (kepler_by_scipy if isinstance(params, dict) else root_and_slope)(f, params, x)


def gradient_of(fixed_point, f, params, x):
    return jax.grad(lambda params: jnp.sum(fixed_point(f, params, x)))(params)


contraction = (uniform("n n", -0.12, 0.12), "n")
check_values(
    fixed_point,
    affine_solution,
    sweep(affine, contraction, "n", count=2, planted=True)
    + sweep(affine, (uniform("3 3", -0.3, 0.3), "3"), "3", count=2, seed=4, scale=100.0),
    rtol=1e-3,
    atol=1e-5,
    mistakes={"one iteration only": lambda f, params, x: f(params, x)},
    about="the solution of an affine map",
)
check_values(
    fixed_point,
    iterated,
    [
        (decaying, np.float32([1.0, 0.5]), np.float32([1003.7, 1.1])),
        (decaying, np.float32([0.5, 0.5]), np.float32([1.3, 0.2])),
        (decaying, np.float32([1.0, 0.8, 0.9]), np.float32([-37.0, 1.0, 1.0])),
        (adding, np.float32([0.0, 2e-6]), np.float32([1.0, 0.0])),
    ],
    rtol=1e-3,
    atol=1e-9,
    mistakes={
        "the tolerance does not grow with x": partial(iterated, relative=0.0),
        "the x before the last is returned": partial(iterated, back=1),
    },
    about="where the iteration stops",
)
check_values(
    through(with_gradient, fixed_point),
    affine_gradient,
    sweep(affine, contraction, "n", "n", count=2, seed=1, planted=True),
    rtol=1e-3,
    atol=1e-5,
    mistakes={
        "only the last iteration is differentiated: u is the cotangent": partial(affine_gradient, explicit=True),
        "the Jacobian is not transposed": partial(affine_gradient, transposed=False),
        "the Jacobian has the wrong sign": partial(affine_gradient, unsigned=-1),
    },
    about="its gradients",
)
check_values(
    through(in_batches, fixed_point),
    kepler_or_root,
    sweep(kepler, {"mean": uniform("n", 0.0, 6.0), "e": uniform("n", 0.1, 0.5)}, "n", count=1, seed=3)
    + sweep(babylonian, uniform("n", 0.5, 1e3), uniform("n", 1.0, 9.0), count=1, seed=2),
    rtol=1e-3,
    atol=1e-5,
    about="Kepler's equation and square roots under vmap",
)
check_primitives(
    through(gradient_of, fixed_point),
    affine,
    (np.eye(3) / 4, np.ones(3)),
    np.ones(3),
    requires=["while"],
    forbids=["scan"],
    about="the program of the gradient",
)
### BEGIN HIDDEN TESTS
check_values(
    fixed_point,
    iterated,
    [(decaying, np.float32([[0.5] * 4, [1.0] * 4]), np.float32([[1.3, 1.2, 1.1, 1.0], [7.0, 0.3, 0.1, 0.2]]))],
    rtol=1e-3,
    atol=1e-9,
    mistakes={
        "the norm of a matrix is taken for its largest element": partial(
            iterated, change=partial(np.linalg.norm, ord=np.inf)
        )
    },
    about="a matrix",
)
check_values(
    fixed_point,
    [np.array([1000.0, 1000.0])],
    [(lambda p, x: x + p, np.float32(1.0), np.zeros(2, np.float32))],
    rtol=1e-4,
    mistakes={"the number of iterations has no limit": lambda f, step, x: np.full(2, 1e6)},
    about="1,000 iterations at most",
)
### END HIDDEN TESTS

# %% [markdown]
# Kepler's equation $E = M + e \sin E$, with $M$ proportional to the time, gives the position on an elliptical orbit. Your function solves it for 41 values of $M$ at once:

# %% tags=["demonstration", "raises-exception"]
e, mean_anomaly = 0.6, jnp.linspace(0, 2 * jnp.pi, 41)


def position(mean):
    anomaly = fixed_point(lambda p, x: p + e * jnp.sin(x), mean, mean)
    return jnp.stack([jnp.cos(anomaly) - e, jnp.sqrt(1 - e**2) * jnp.sin(anomaly)])


places, velocities = jax.vmap(position)(mean_anomaly), jax.vmap(jax.jacrev(position))(mean_anomaly)
plt.figure("Kepler's orbit with velocities", figsize=(7, 4.5))
plt.quiver(*places.T, *velocities.T, color="grey", width=0.003)
plt.plot(*places.T, "o", markersize=4), plt.plot(0, 0, "*", color="gray", markersize=12)
plt.gca().set_aspect("equal"), plt.xlabel("x"), plt.ylabel("y")
plt.tight_layout()
plt.show()

# %% [markdown]
# *A planet at equal intervals of time. The arrows are its velocity, the implicit derivative. They are long near the sun (star), as Kepler's second law requires.*
#
# `lax.custom_root` does the same for general equations. `jax.scipy.sparse.linalg.cg` is differentiated in this way already.
#
# ## 14.9 Meta-learning: the gradient of a gradient step
#
# *Model-agnostic meta-learning* (MAML) looks for initial parameters $w$ from which one gradient step on a new task, $w' = w - \alpha \nabla L_{\text{support}}(w)$, gives a small loss $L_{\text{query}}(w')$. It differentiates through the step. *First-order* MAML (FOMAML) treats $\nabla L_{\text{support}}(w)$ as a constant.
#
# **Prediction** · 2 minutes · difficulty 3 of 5
#
# $L_{\text{support}}(w) = 2 (w - 3)^2$, $L_{\text{query}}(w) = 2 (w - 5)^2$, $w = 0$ and $\alpha = 0.25$. The FOMAML gradient is $4 (w' - 5) = -8$. What is the MAML gradient?

# %% exercise="maml_number" kind="prediction"
# A number.
### BEGIN SOLUTION
maml_number = 0.0
### END SOLUTION

# %% check="maml_number" points=1
check_answer(
    maml_number,
    0.0,
    because="w' = w - 0.25 * 4 * (w - 3) = 3 for every w, so the query loss does not depend on w. The factor is 1 - 0.25 * 4 = 0.",
    mistakes={-8.0: "that is FOMAML; dw'/dw is 1 - 0.25 * 4", -16.0: "dw'/dw is 1 - 0.25 * 4, not 1 + 0.25 * 4"},
)

# %% [markdown]
# ### MAML and FOMAML
# **Exercise** · 12 minutes · difficulty 3 of 5
#
# Return the gradient with respect to `params`, a tree of the same structure, of the query loss after one inner step with rate `inner_rate`, *averaged over the tasks*. With `first_order=True`, return the FOMAML gradient.
#
# `support` and `query` are tuples of arrays with a leading axis of tasks. `loss_fn(params, *data)` is the loss on the data of one task.
#
# The check compares with finite differences.

# %% exercise="maml_gradient"
@partial(jax.jit, static_argnums=(0, 5))
def maml_gradient(loss_fn, params, support, query, inner_rate: float, first_order: bool):
    """The gradient of the mean query loss after one inner step on the support data of each task."""
    ### BEGIN SOLUTION
    def adapted_loss(params, support, query):
        grads = jax.grad(loss_fn)(params, *support)
        if first_order:
            grads = lax.stop_gradient(grads)
        adapted = jax.tree.map(lambda p, g: p - inner_rate * g, params, grads)
        return loss_fn(adapted, *query)

    def mean_loss(params):
        return jax.vmap(partial(adapted_loss, params))(support, query).mean()

    return jax.grad(mean_loss)(params)
    ### END SOLUTION

# %% [markdown] hints="maml_gradient"
# <details><summary>Hint 1: the idea</summary>
#
# Write the query loss after the inner step for one task as a function of `params`. Map it over the tasks, take the mean, and differentiate.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.grad` inside a function that you pass to `jax.grad`, and `jax.vmap` over the tuples. For FOMAML, put `lax.stop_gradient` around the *inner gradient*, and not around the adapted parameters.
# </details>

# %% check="maml_gradient" points=3
def line_loss(params, x, y):
    return ((x @ params["w"] + params["b"] - y) ** 2).mean()


def weighted_loss(params, x, y, weights):
    return (weights * (x @ params["w"] + params["b"] - y) ** 2).mean()


def curved_loss(params, x, y):
    (w,) = params
    return (((x @ w) ** 3 / 3 + x @ w - y) ** 2).mean()


def maml_by_differences(loss_fn, params, support, query, inner_rate, first_order, before=False, total=False):
    vector, unflat = flat(params)
    tasks = len(support[0])

    def slope(v, data):
        return np.array([
            (loss_fn(unflat(v + e), *data) - loss_fn(unflat(v - e), *data)) / 2e-4 for e in 1e-4 * np.eye(len(v))
        ])

    def step(v, task):
        return v - inner_rate * slope(v, [part[task] for part in support])

    result = np.zeros(len(vector))
    for task in range(tasks):
        data = [part[task] for part in query]
        after = slope(vector if before else step(vector, task), data)
        moved = [(step(vector + e, task) - step(vector - e, task)) / 2e-4 for e in 1e-4 * np.eye(len(vector))]
        one = after if first_order or before else np.array(moved) @ after
        result = result + one / (1 if total else tasks)
    return unflat(result)


def always(first_order):
    return lambda *args: maml_by_differences(*args[:-1], first_order)


both_lines = {"w": "d", "b": ""}, ("t n d", "t n"), ("t m d", "t m")
three_tasks = ["2"], ("3 4 2", "3 4"), ("3 5 2", "3 5")
check_values(
    maml_gradient,
    maml_by_differences,
    sweep(line_loss, *both_lines, 0.05, False, count=2)
    + sweep(line_loss, *both_lines, 0.3, True, count=1, seed=1)
    + sweep(line_loss, *both_lines, 1e-4, False, count=1, seed=6, scale=30.0)
    + sweep(curved_loss, *three_tasks, 0.02, False, count=2, seed=2, scale=0.5)
    + sweep(curved_loss, *three_tasks, 0.05, False, count=1, seed=4, scale=0.5)
    + sweep(curved_loss, *three_tasks, 0.02, True, count=1, seed=3, scale=0.5),
    rtol=1e-3,
    atol=1e-4,
    mistakes={
        "the first-order gradient (FOMAML) everywhere": always(True),
        "MAML with first_order=True too": always(False),
        "no inner step: the gradient of the query loss at params": partial(maml_by_differences, before=True),
        "the sum over the tasks": partial(maml_by_differences, total=True),
    },
)
### BEGIN HIDDEN TESTS
check_values(
    maml_gradient,
    maml_by_differences,
    sweep(line_loss, {"w": "2", "b": ""}, ("1 4 2", "1 4"), ("1 3 2", "1 3"), 0.1, True, count=1, seed=4)
    + sweep(line_loss, {"w": "3", "b": ""}, ("6 2 3", "6 2"), ("6 5 3", "6 5"), 0.2, False, count=1, seed=5),
    rtol=1e-3,
    atol=1e-4,
    about="one task, and six",
)
check_values(
    maml_gradient,
    maml_by_differences,
    sweep(
        weighted_loss, {"w": "2", "b": ""}, ("2 4 2", "2 4", "2 4"), ("2 3 2", "2 3", "2 3"), 0.05, False, count=1
    ),
    rtol=1e-3,
    atol=1e-4,
    about="data of three arrays",
)
### END HIDDEN TESTS

# %% [markdown]
# ## 14.10 Variational inference
#
# To approximate an unnormalised density $p(z)$ with a Gaussian $q$ of mean $m$ and standard deviations $\sigma = e^s$, maximise the *evidence lower bound*
#
# $$\mathrm{ELBO}(m, s) = \mathbb{E}_{z \sim q} \log p(z) + H(q), \qquad H(q) = \sum_i s_i + \tfrac d2 \log (2 \pi e).$$
#
# With the *reparametrisation* $z = m + \sigma \epsilon$ and $\epsilon \sim N(0, 1)$, a sample is a differentiable function of $m$ and $s$.
#
# ### The ELBO of given noise
# **Exercise** · 8 minutes · difficulty 2 of 5
#
# Return the estimate of the ELBO, a scalar: the mean of `log_density(z)` over the samples, plus the exact entropy.
#
# `q` is `{"mean": ..., "log_std": ...}`, both of shape `(d,)`. `log_density` takes one `z` of shape `(d,)`. The rows of `noise` are the samples of $\epsilon$.
#
# The check looks at the value and at the gradient with respect to `q`.

# %% exercise="elbo"
@partial(jax.jit, static_argnums=1)
def elbo(q: dict[str, Array], log_density, noise: Float[Array, "samples d"]) -> Float[Array, ""]:
    """A sample estimate of the evidence lower bound, differentiable with respect to `q`."""
    ### BEGIN SOLUTION
    z = q["mean"] + jnp.exp(q["log_std"]) * noise
    entropy = jnp.sum(q["log_std"] + 0.5 * jnp.log(2 * jnp.pi * jnp.e))
    return jax.vmap(log_density)(z).mean() + entropy
    ### END SOLUTION

# %% [markdown] hints="elbo"
# <details><summary>Hint 1: the idea</summary>
#
# Mean and standard deviation broadcast against the rows of the noise.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax.vmap(log_density)(z).mean()`. The entropy is a sum over the dimensions.
# </details>

# %% check="elbo" points=2
def gaussian(z):
    return -(((z - 1) / 2) ** 2).sum() / 2


def skewed(z):
    return -(z**2).sum() / 2 - (z**4).sum() / 8 + z[0] - z[0] * z[-1] / 3


def slope_of(log_density):
    return numerical_gradient(log_density)


def elbo_by_hand(q, log_density, noise, deviation=np.exp, entropy=1.0, constant=True):
    z = q["mean"] + deviation(q["log_std"]) * noise
    constant = len(q["mean"]) * 0.5 * np.log(2 * np.pi * np.e) if constant else 0.0
    return np.mean([log_density(row) for row in z]) + entropy * (q["log_std"].sum() + constant)


def elbo_gradient_by_hand(q, log_density, noise, path=1.0, entropy=1.0):
    z = q["mean"] + np.exp(q["log_std"]) * noise
    slopes = np.stack([slope_of(log_density)(row) for row in z])
    by_std = (slopes * noise * np.exp(q["log_std"])).mean(axis=0)
    return {"mean": path * slopes.mean(axis=0), "log_std": path * by_std + entropy}


def gradient_of_elbo(elbo, q, log_density, noise):
    return jax.grad(elbo)(q, log_density, noise)


shape_of_q = {"mean": "d", "log_std": uniform("d", -1.0, 0.5)}
check_values(
    elbo,
    elbo_by_hand,
    sweep(shape_of_q, gaussian, "samples d", count=2, planted=True)
    + sweep(shape_of_q, skewed, "samples d", count=1, seed=1)
    + sweep({"mean": "3", "log_std": "3"}, skewed, "6 3", count=2, seed=6)
    + [({"mean": np.float32([np.inf, 0]), "log_std": np.zeros(2, np.float32)}, gaussian, np.ones((4, 2), np.float32))],
    mistakes={
        "log_std is used as the standard deviation": partial(elbo_by_hand, deviation=lambda s: s),
        "the square root of exp(log_std): it is no variance": partial(elbo_by_hand, deviation=lambda s: np.exp(s / 2)),
        "the entropy is left out": partial(elbo_by_hand, entropy=0.0),
        "the entropy is subtracted": partial(elbo_by_hand, entropy=-1.0),
        "the constant of the entropy is left out": partial(elbo_by_hand, constant=False),
    },
    about="the value",
)
check_values(
    through(gradient_of_elbo, elbo),
    elbo_gradient_by_hand,
    sweep(shape_of_q, skewed, "samples d", count=2, seed=2) + sweep(shape_of_q, gaussian, "samples d", count=1, seed=3),
    rtol=1e-3,
    atol=1e-4,
    mistakes={
        "no gradient flows through the samples": partial(elbo_gradient_by_hand, path=0.0),
        "no gradient flows through the entropy": partial(elbo_gradient_by_hand, entropy=0.0),
    },
    about="the gradient",
)
### BEGIN HIDDEN TESTS
check_values(
    elbo,
    elbo_by_hand,
    sweep({"mean": "1", "log_std": "1"}, skewed, "50 1", count=1, seed=4)
    + sweep({"mean": "3", "log_std": uniform("3", -3.0, -2.0)}, gaussian, "1 3", count=1, seed=5),
    about="one dimension, and one sample",
)
### END HIDDEN TESTS

# %% [markdown]
# ### Bug hunt: fit a posterior
#
# This program fits $q$ to a Gaussian with mean 3 and standard deviation 0.5. The ELBO rises smoothly, but the result is wrong.

# %%
def target(z):
    return -2 * ((z - 3) ** 2).sum()


@partial(jax.jit, static_argnums=(1, 3, 4))
def fit_broken(key, log_density, q, steps, samples, learning_rate):
    adam = optax.adam(learning_rate)

    def loss_fn(q, key):
        noise = jax.random.normal(key, (samples, *q["mean"].shape))
        z = q["mean"] + jnp.exp(q["log_std"]) * noise
        return -jax.vmap(log_density)(z).mean() - q["log_std"].sum()

    def step(carry, _):
        q, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(q, key)
        updates, opt_state = adam.update(grads, opt_state)
        return (optax.apply_updates(q, updates), opt_state), -loss

    (q, _), values = lax.scan(step, (q, adam.init(q)), length=steps)
    return q, values


start = {"mean": jnp.zeros(1), "log_std": jnp.zeros(1)}
fitted, values = fit_broken(jax.random.key(4), target, start, 1000, 8, 0.02)
print("mean", fitted["mean"], "standard deviation", jnp.exp(fitted["log_std"]))

# %% [markdown]
# ### Stochastic optimisation of the ELBO
# **Exercise** · 12 minutes · difficulty 3 of 5
#
# Write it without the bug. Return `(q, values)`: the fitted `q`, and the estimate of the ELBO before each step, with the constant of the entropy, of shape `(steps,)`.
#
# Start from the given `q` and use `optax.adam(learning_rate)`. Draw `samples` rows of standard normal noise for each step, and use no key twice.
#
# The check looks at the keys and the spread of the estimates. It compares fits that do not depend on the noise with known values, and one fit with the exact posterior of its model.

# %% exercise="fit_posterior"
@partial(jax.jit, static_argnums=(1, 3, 4))
def fit_posterior(key: Key[Array, ""], log_density, q, steps: int, samples: int, learning_rate: float):
    """`(q, values)`: a Gaussian fitted by Adam, and the ELBO before each step."""
    ### BEGIN SOLUTION
    adam = optax.adam(learning_rate)

    def loss_fn(q, key):
        noise = jax.random.normal(key, (samples, *q["mean"].shape))
        z = q["mean"] + jnp.exp(q["log_std"]) * noise
        entropy = jnp.sum(q["log_std"] + 0.5 * jnp.log(2 * jnp.pi * jnp.e))
        return -jax.vmap(log_density)(z).mean() - entropy

    def step(carry, key):
        q, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(q, key)
        updates, opt_state = adam.update(grads, opt_state)
        return (optax.apply_updates(q, updates), opt_state), -loss

    (q, _), values = lax.scan(step, (q, adam.init(q)), jax.random.split(key, steps))
    return q, values
    ### END SOLUTION

# %% [markdown] hints="fit_posterior"
# <details><summary>Hint 1: the idea</summary>
#
# With one key, all steps see the same eight samples. The fit is then exact for these eight samples and not for the posterior. Where does the key of a step come from?
# </details>
# <details><summary>Hint 2: the API</summary>
#
# Scan over `jax.random.split(key, steps)`. The body receives one key in each step.
# </details>

# %% check="fit_posterior" points=3
def no_density(z):
    return 0.0 * z.sum()


def tilted(z):
    return 3.0 * z[0] - 2.0 * z[1:].sum()


def narrow(z):
    return -2 * ((z - 3) ** 2).sum()


def correlated(z):
    return -((z[0] - 1) ** 2 + (z[1] + z[0]) ** 2) * 2


def drifting(key, log_density, q, steps, samples, rate, ascent=1, late=0, constant=True):
    """Exact for a density without influence: Adam raises each log_std by `rate` in each step."""
    log_std = q["log_std"] + ascent * rate * steps
    t = np.arange(steps)[:, None] + late
    constant = 0.5 * np.log(2 * np.pi * np.e) if constant else 0.0
    values = (q["log_std"] + ascent * rate * t + constant).sum(axis=1)
    return {"mean": q["mean"], "log_std": log_std}, values


def only_mean(fit, *args):
    q, values = fit(*args)
    return q["mean"], values.shape[0]


def pulled(key, log_density, q, steps, samples, rate, ascent=1):
    signs = np.array([1.0] + [-1.0] * (len(q["mean"]) - 1))
    return q["mean"] + ascent * rate * steps * signs, steps


def samples_seen(fit, key, log_density, q, *args):
    """How many samples an estimate of the ELBO averages, by the variance for a `q` that does not move."""
    variance_of_one = jnp.sum((jax.grad(log_density)(q["mean"]) * jnp.exp(q["log_std"])) ** 2)
    return jnp.round(variance_of_one / fit(key, log_density, q, *args)[1].var())


def mean_and_deviation(fit, *args):
    q, values = fit(*args)
    return q["mean"], jnp.exp(q["log_std"])


zeros = {"mean": np.zeros(2, np.float32), "log_std": np.zeros(2, np.float32)}
keys = [jax.random.key(seed) for seed in range(4)]
check_keys(fit_posterior, keys[0], narrow, zeros, 5, 3, 0.1)
check_values(
    fit_posterior,
    drifting,
    sweep(keys[0], no_density, {"mean": uniform("d", 100.0, 300.0), "log_std": "d"}, 7, 3, 0.1, count=2)
    + sweep(keys[1], no_density, {"mean": "4", "log_std": "4"}, 20, 2, 0.02, count=2, seed=1)
    + sweep(keys[1], no_density, {"mean": "4", "log_std": "4"}, 5, 2, 0.3, count=1, seed=2),
    rtol=1e-3,
    atol=1e-4,
    mistakes={
        "downhill: the ELBO is minimised": partial(drifting, ascent=-1),
        "minus the ELBO is returned, the loss": lambda *args: (drifting(*args)[0], -drifting(*args)[1]),
        "the values after each step": partial(drifting, late=1),
        "the constant of the entropy is left out": partial(drifting, constant=False),
    },
    about="a constant density",
)
check_values(
    through(only_mean, fit_posterior),
    pulled,
    sweep(keys[2], tilted, {"mean": "d", "log_std": uniform("d", -6.0, -5.0)}, 6, 4, 0.05, count=2),
    rtol=1e-3,
    atol=1e-4,
    mistakes={"downhill: the ELBO is minimised": partial(pulled, ascent=-1)},
    about="a density with a constant slope",
)
check_values(
    through(samples_seen, fit_posterior),
    lambda key, log_density, q, steps, samples, rate: np.float64(samples),
    sweep(keys[0], tilted, {"mean": "2", "log_std": "2"}, 5000, 3, 0.0, count=1, seed=3)
    + sweep(keys[2], tilted, {"mean": "2", "log_std": "2"}, 5000, 5, 0.0, count=1, seed=4),
    mistakes={"one sample in each step, whatever `samples` is": lambda *_: np.float64(1.0)},
    about="the number of samples, by the spread of the estimates",
)
check_values(
    through(mean_and_deviation, fit_posterior),
    [(np.array([3.0, 3.0]), np.array([0.5, 0.5]))],
    [(keys[3], narrow, zeros, 1000, 32, 0.02)],
    rtol=0.1,
    atol=0.02,
    about="the exact posterior",
)
### BEGIN HIDDEN TESTS
check_values(
    through(mean_and_deviation, fit_posterior),
    [(np.array([1.0, -1.0]), np.array([8**-0.5, 0.5])), (np.zeros(2), np.exp([1.0, 1.0]))],
    [(keys[1], correlated, zeros, 1000, 32, 0.02), (keys[2], lambda z: 0.0 * z[0], zeros, 10, 1, 0.1)],
    rtol=0.12,
    atol=0.03,
    about="a correlated posterior, and one sample",
)
### END HIDDEN TESTS

# %% tags=["demonstration", "raises-exception"]
runs = {"one key for all steps": fit_broken, "a key for each step": fit_posterior}
_, axes = plt.subplots(
    1, 2, num="Fitted densities, with one key and with a key for each step",
    figsize=(9, 3), sharey=True,
)
line = jnp.linspace(1, 5, 200)
for axis, (name, fit) in zip(axes, runs.items()):
    axis.plot(line, jnp.exp(-2 * (line - 3) ** 2) * jnp.sqrt(2 / jnp.pi), "gray")
    for seed in range(5):
        q, _ = fit(jax.random.key(seed), target, start, 1000, 8, 0.02)
        deviation = jnp.exp(q["log_std"])
        axis.plot(line, jax.scipy.stats.norm.pdf(line, q["mean"], deviation), "--")
    axis.set_title(name, fontsize=11), axis.set_xlabel("z")
axes[0].set_ylabel("density")
plt.tight_layout()
plt.show()

# %% [markdown]
# *Five fits (dashed) and the exact posterior (grey). Left: with one key for all steps the fits differ in position and width. Right: with a key for each step all lie close to the posterior.*
#
# A Gaussian with independent components underestimates the variances of a correlated posterior. More samples do not change that.
#
# ## What to remember
#
# 1. The Fisher information takes its labels from the model. It equals the Hessian for linear logits. The empirical Fisher equals neither.
# 2. L-BFGS needs `value`, `grad` and `value_fn`, and a deterministic loss. Read `success` after BFGS.
# 3. The adjoint equation gives gradients in constant memory, if the backward solution is stable. Velocity Verlet bounds the energy error.
# 4. A gradient can be exact for the program and wrong for the science. Make the time of contact differentiable, and stop before the Lyapunov horizon.
# 5. Differentiate a solution by the equation that it satisfies, a gradient step by `grad` of `grad`, and an expectation by reparametrised samples with new keys.
#
# ## Further reading
#
# - The JAX documentation: [Custom derivative rules](https://docs.jax.dev/en/latest/notebooks/Custom_derivative_rules_for_Python_code.html), with a fixed point, and [Advanced automatic differentiation](https://docs.jax.dev/en/latest/advanced-autodiff.html), with MAML.
# - The Optax documentation: [L-BFGS](https://optax.readthedocs.io/en/latest/_collections/examples/lbfgs.html). Libraries: [diffrax](https://docs.kidger.site/diffrax/), [optimistix](https://docs.kidger.site/optimistix/), [JAX, M.D.](https://github.com/jax-md/jax-md), [NumPyro](https://num.pyro.ai/).
# - [Limitations of the empirical Fisher approximation](https://arxiv.org/abs/1905.12558) (2019), [Neural ordinary differential equations](https://arxiv.org/abs/1806.07366) (2018), [Gradients are not all you need](https://arxiv.org/abs/2111.05803) (2021), [Model-agnostic meta-learning](https://arxiv.org/abs/1703.03400) (2017), [Efficient and modular implicit differentiation](https://arxiv.org/abs/2105.15183) (2022), [Auto-encoding variational Bayes](https://arxiv.org/abs/1312.6114) (2014).
#
# ## Previous and next
#
# Lesson 13 was about performance. Lesson 15 is about debugging.
