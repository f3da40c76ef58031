# %% right="derivative"
def derivative(f, eps):
    h = eps / 2
    weights = {-2: 1, -1: -8, 1: 8, 2: -1}
    return lambda x: sum(weight * f(x + k * h) for k, weight in weights.items()) / (12 * h)

# %% right="derivative"
def derivative(f, eps):
    @jax.jit
    def extrapolated(x):
        rough, fine = ((f(x + h) - f(x - h)) / (2 * h) for h in (eps, eps / 2))
        return fine + (fine - rough) / 3

    return extrapolated

# %% right="loss_and_grads"
@jax.jit
def loss_and_grads(w, b, x, y):
    predictions = jnp.einsum("ij,j->i", x, w) + b
    residual = predictions - y
    return (jnp.mean(residual**2), predictions), (2 * residual @ x / len(y), 2 * jnp.mean(residual))

# %% right="loss_and_grads"
def loss_and_grads(w, b, x, y):
    def loss_fn(params):
        predictions = x @ params[0] + params[1]
        return jnp.square(predictions - y).sum() / y.size, predictions

    loss, pull, predictions = jax.vjp(loss_fn, (w, b), has_aux=True)
    return (loss, predictions), pull(jnp.ones_like(loss))[0]

# %% right="backprop"
def backprop(params, x, y):
    return jax.grad(loss_fn)(params, x, y)

# %% right="backprop"
@jax.jit
def backprop(params, x, y):
    before = jnp.einsum("bi,ih->bh", x, params["hidden"]["w"]) + params["hidden"]["b"]
    hidden = jnp.where(before > 0, before, 0.0)
    output = jnp.einsum("bh,ho->bo", hidden, params["output"]["w"]) + params["output"]["b"]
    d_output = (output - y) * jnp.float32(2 / y.size)
    d_before = jnp.where(before > 0, jnp.einsum("bo,ho->bh", d_output, params["output"]["w"]), 0.0)
    return {
        "output": {"b": jnp.ones(len(x)) @ d_output, "w": jnp.einsum("bh,bo->ho", hidden, d_output)},
        "hidden": {"b": jnp.ones(len(x)) @ d_before, "w": jnp.einsum("bi,bh->ih", x, d_before)},
    }

# %% right="Layer"
from dataclasses import dataclass
from functools import partial


@partial(jax.tree_util.register_dataclass, data_fields=["w", "b"], meta_fields=["activation"])
@dataclass
class Layer:
    w: Array
    b: Array
    activation: str = "relu"

    def __call__(self, x):
        return getattr(jax.nn, self.activation)(jnp.dot(x, self.w) + self.b)

# %% right="Layer"
class Layer:
    def __init__(self, w, b, activation="relu"):
        self.w, self.b, self.activation = w, b, activation

    def __call__(self, x):
        return getattr(jax.nn, self.activation)(x @ self.w + self.b)


def rebuilt(activation, children):
    layer = object.__new__(Layer)
    layer.w, layer.b = children
    layer.activation = activation
    return layer


jax.tree_util.register_pytree_node(Layer, lambda layer: ((layer.w, layer.b), layer.activation), rebuilt)

# %% right="gauss_newton"
def gauss_newton(f, x, v):
    _, push = jax.linearize(f, x)
    return jax.linear_transpose(push, x)(push(v))[0]

# %% right="gauss_newton"
def gauss_newton(f, x, v):
    pushed = jax.jvp(f, (x,), (v,))[1]
    return jax.jit(jax.grad(lambda x: jnp.vdot(f(x), pushed)))(x)

# %% right="hvp"
def hvp(f, x, v):
    return jax.grad(lambda x: jnp.vdot(jax.grad(f)(x), v))(x)

# %% right="hvp"
def hvp(f, x, v):
    return jax.grad(lambda x: jax.jvp(f, (x,), (v,))[1])(x)

# %% right="hvp"
def hvp(f, x, v):
    return jax.jvp(jax.jacrev(f), (x,), (v,))[1]

# %% right="hvp"
def hvp(f, x, v):
    return jax.jacfwd(lambda t: jax.grad(f)(x + t * v))(0.0)

# %% right="td_loss"
@jax.jit
def td_loss(w, features, next_features, rewards, discount):
    frozen = jax.lax.stop_gradient(w)
    difference = rewards + discount * jnp.dot(next_features, frozen) - jnp.dot(features, w)
    return jnp.vdot(difference, difference) / len(rewards)

# %% right="td_loss"
def td_loss(w, features, next_features, rewards, discount):
    @jax.custom_vjp
    def constant(x):
        return x

    constant.defvjp(lambda x: (x, None), lambda _, cotangent: (jnp.zeros_like(cotangent),))
    return jnp.mean((constant(rewards + discount * next_features @ w) - features @ w) ** 2)

# %% right="row_norms"
@jax.jit
def row_norms(x):
    zero = jnp.all(x == 0, axis=1)
    return jnp.where(zero, 0.0, jnp.linalg.norm(jnp.where(zero[:, None], 1.0, x), axis=1))

# %% right="row_norms"
@jax.custom_jvp
def row_norms(x):
    return jnp.sqrt(jnp.einsum("ij,ij->i", x, x).astype(jnp.float32))


@row_norms.defjvp
def row_norms_jvp(primals, tangents):
    ((x,), (change,)) = primals, tangents
    norms = row_norms(x)
    return norms, jnp.sum(x * change, axis=1) / jnp.where(norms > 0, norms, 1.0)

# %% right="binarise"
def binarise(x):
    ramp = jnp.where(jnp.abs(x) <= 1, x, jax.lax.stop_gradient(x))
    return ramp + jax.lax.stop_gradient(jnp.where(x >= 0, 1.0, -1.0) - ramp)

# %% right="binarise"
import warnings


@jax.custom_vjp
def binarise(x):
    warnings.warn("one bit is not much")
    return 2.0 * (x >= 0).astype(x.dtype) - 1.0


@jax.jit
def one_bit_forward(x):
    return 2.0 * (x >= 0).astype(x.dtype) - 1.0, x


@jax.jit
def one_bit_backward(x, cotangent):
    return (cotangent * (x <= 1) * (x >= -1),)


binarise.defvjp(one_bit_forward, one_bit_backward)

# %% right="threshold"
def threshold(x, k):
    def excess(t):
        return jnp.sum(jax.nn.sigmoid(x - t)) - k

    def solve(f, start):
        return jax.lax.stop_gradient(by_bisection(x, k))

    return jax.lax.custom_root(excess, jnp.zeros_like(k), solve, lambda g, y: y / g(1.0))

# %% right="threshold"
@jax.custom_jvp
def threshold(x, k):
    return by_bisection(x, k)


@threshold.defjvp
def threshold_rule(primals, tangents):
    t = threshold(*primals)
    _, change = jax.jvp(lambda x, k: jnp.sum(jax.nn.sigmoid(x - t)) - k, primals, tangents)
    slope = jax.grad(lambda t: jnp.sum(jax.nn.sigmoid(primals[0] - t)))(t)
    return t, -change / slope

# %% right="fit_logistic"
def fit_logistic(x, y, learning_rate, steps):
    signs = 1.0 - 2.0 * y
    with_ones = jnp.concatenate([x, jnp.ones((len(x), 1))], axis=1)

    @jax.jit
    def step(weights):
        def loss_fn(weights):
            return -jnp.mean(jax.nn.log_sigmoid(-signs * (with_ones @ weights)))

        loss, slope = jax.value_and_grad(loss_fn)(weights)
        return loss, weights - learning_rate * slope

    weights, losses = jnp.zeros(x.shape[1] + 1), []
    for _ in range(steps):
        loss, weights = step(weights)
        losses.append(loss)
    return {"w": weights[:-1], "b": weights[-1]}, jnp.array(losses)

# %% right="fit_logistic"
from functools import partial


@partial(jax.jit, static_argnums=3)
def fit_logistic(x, y, learning_rate, steps):
    def step(params, _):
        logits = x @ params["w"] + params["b"]
        error = (jax.nn.sigmoid(logits) - y) / len(y)
        loss = jnp.mean(jax.nn.softplus(logits) - y * logits)
        w, b = params["w"] - learning_rate * error @ x, params["b"] - learning_rate * error.sum()
        return {"w": w, "b": b}, loss

    start = {"w": jnp.zeros(x.shape[1], jnp.float32), "b": jnp.float32(0)}
    return jax.lax.scan(step, start, length=steps)
