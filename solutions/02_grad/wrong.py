# %% wrong="derivative" says="one central difference"
def derivative(f, eps):
    return lambda x: (f(x + eps) - f(x - eps)) / (2 * eps)

# %% wrong="derivative" says="the two weights are exchanged"
def derivative(f, eps):
    def central(x, h):
        return (f(x + h) - f(x - h)) / (2 * h)

    return lambda x: (4 * central(x, eps) - central(x, eps / 2)) / 3

# %% wrong="derivative" says="every number is 3 times"
def derivative(f, eps):
    def central(x, h):
        return (f(x + h) - f(x - h)) / (2 * h)

    return lambda x: 4 * central(x, eps / 2) - central(x, eps)

# %% wrong="derivative" says="further away than `eps`"
def derivative(f, eps):
    def central(x, h):
        return (f(x + h) - f(x - h)) / (2 * h)

    return lambda x: (4 * central(x, eps) - central(x, 2 * eps)) / 3

# %% wrong="derivative" says="a NumPy array instead of a JAX array"
def derivative(f, eps):
    def central(x, h):
        return np.divide(f(x + h) - f(x - h), 2 * h)

    return lambda x: np.subtract(4 * central(x, eps / 2), central(x, eps)) / 3

# %% wrong="derivative" says="prints while it is traced"
def derivative(f, eps):
    def central(x, h):
        print("f at", x + h, "and", x - h)
        return (f(x + h) - f(x - h)) / (2 * h)

    return lambda x: (4 * central(x, eps / 2) - central(x, eps)) / 3

# %% wrong="derivative" says="right for the visible inputs, wrong on hidden ones: "
def derivative(f, eps):
    def central(x, h):
        return (f(x + h) - f(x - h)) / (2 * h)

    return jax.vmap(lambda x: (4 * central(x, eps / 2) - central(x, eps)) / 3)

# %% wrong="derivative" says="the step is not `eps`"
def derivative(f, eps, h=0.5):
    def central(x, h):
        return (f(x + h) - f(x - h)) / (2 * h)

    return lambda x: (4 * central(x, h / 2) - central(x, h)) / 3

# %% wrong="loss_and_grads" says="instead of a tuple"
def loss_and_grads(w, b, x, y):
    def loss_fn(w, b):
        predictions = x @ w + b
        return jnp.mean((predictions - y) ** 2), predictions

    return jax.value_and_grad(loss_fn, has_aux=True)(w, b)

# %% wrong="loss_and_grads" says="a function that does not return a scalar"
def loss_and_grads(w, b, x, y):
    def loss_fn(w, b):
        predictions = x @ w + b
        return (predictions - y) ** 2, predictions

    return jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)(w, b)

# %% wrong="loss_and_grads" says="every prediction is compared with every target"
def loss_and_grads(w, b, x, y):
    def loss_fn(w, b):
        column = x @ w[:, None] + b
        return jnp.mean((column - y) ** 2), column[:, 0]

    return jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)(w, b)

# %% wrong="loss_and_grads" says="a sum instead of the mean"
def loss_and_grads(w, b, x, y):
    def loss_fn(w, b):
        predictions = x @ w + b
        return jnp.sum((predictions - y) ** 2), predictions

    return jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)(w, b)

# %% wrong="loss_and_grads" says="dot_general"
def loss_and_grads(w, b, x, y):
    def loss_fn(w, b):
        return jnp.mean((x @ w + b - y) ** 2)

    loss, grads = jax.value_and_grad(loss_fn, argnums=(0, 1))(w, b)
    return (loss, x @ w + b), grads

# %% wrong="loss_and_grads" says="needs a concrete value while it is traced"
def loss_and_grads(w, b, x, y):
    def loss_fn(w, b):
        predictions = x @ w + b
        return jnp.mean((predictions - y) ** 2), predictions

    (loss, predictions), grads = jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)(w, b)
    return (jnp.asarray(float(loss)), predictions), grads

# %% wrong="loss_and_grads" says="an axis is missing"
def loss_and_grads(w, b, x, y):
    def loss_fn(w, b):
        predictions = jnp.squeeze(x @ w[:, None]) + b
        return jnp.mean((predictions - y) ** 2), predictions

    return jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)(w, b)

# %% wrong="backprop" says="JAX arrays cannot be changed in place"
def backprop(params, x, y):
    hidden = jnp.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    d_output = 2 * (output - y) / y.size
    d_hidden = d_output @ params["output"]["w"].T
    d_hidden[hidden <= 0] = 0
    return {
        "hidden": {"w": x.T @ d_hidden, "b": d_hidden.sum(axis=0)},
        "output": {"w": hidden.T @ d_output, "b": d_output.sum(axis=0)},
    }

# %% wrong="backprop" says="the shape is not the expected one"
def backprop(params, x, y):
    hidden = jnp.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    d_output = 2 * (output - y) / y.size
    d_hidden = d_output @ params["output"]["w"].T * (hidden > 0)
    return {
        "hidden": {"w": x.T @ d_hidden, "b": d_hidden},
        "output": {"w": hidden.T @ d_output, "b": d_output},
    }

# %% wrong="backprop" says="the derivative of the ReLU is missing"
def backprop(params, x, y):
    hidden = jnp.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    d_output = 2 * (output - y) / y.size
    d_hidden = d_output @ params["output"]["w"].T
    return {
        "hidden": {"w": x.T @ d_hidden, "b": d_hidden.sum(axis=0)},
        "output": {"w": hidden.T @ d_output, "b": d_output.sum(axis=0)},
    }

# %% wrong="backprop" says="the ReLU mask is computed from the gradient"
def backprop(params, x, y):
    hidden = jnp.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    d_output = 2 * (output - y) / y.size
    d_hidden = jnp.maximum(d_output @ params["output"]["w"].T, 0)
    return {
        "hidden": {"w": x.T @ d_hidden, "b": d_hidden.sum(axis=0)},
        "output": {"w": hidden.T @ d_output, "b": d_output.sum(axis=0)},
    }

# %% wrong="backprop" says="the ReLU passes the gradient on where its input is 0"
def backprop(params, x, y):
    before = x @ params["hidden"]["w"] + params["hidden"]["b"]
    hidden = jnp.maximum(before, 0)
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    d_output = 2 * (output - y) / y.size
    d_hidden = jnp.where(before >= 0, d_output @ params["output"]["w"].T, 0.0)
    return {
        "hidden": {"w": x.T @ d_hidden, "b": d_hidden.sum(axis=0)},
        "output": {"w": hidden.T @ d_output, "b": d_output.sum(axis=0)},
    }

# %% wrong="backprop" says="a NumPy function was given a traced array"
def backprop(params, x, y):
    hidden = jnp.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    d_output = 2 * (output - y) / y.size
    d_hidden = d_output @ params["output"]["w"].T * np.where(hidden > 0, np.float32(1), np.float32(0))
    return {
        "hidden": {"w": x.T @ d_hidden, "b": d_hidden.sum(axis=0)},
        "output": {"w": hidden.T @ d_output, "b": d_output.sum(axis=0)},
    }

# %% wrong="backprop" says="a constant factor of"
def backprop(params, x, y):
    hidden = jnp.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    d_output = (output - y) / y.size
    d_hidden = d_output @ params["output"]["w"].T * (hidden > 0)
    return {
        "hidden": {"w": x.T @ d_hidden, "b": d_hidden.sum(axis=0)},
        "output": {"w": hidden.T @ d_output, "b": d_output.sum(axis=0)},
    }

# %% wrong="backprop" says="a matrix product"
def backprop(params, x, y):
    hidden = jnp.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    d_output = 2 * jnp.squeeze(output - y) / y.size
    d_hidden = d_output @ params["output"]["w"].T * (hidden > 0)
    return {
        "hidden": {"w": x.T @ d_hidden, "b": d_hidden.sum(axis=0)},
        "output": {"w": hidden.T @ d_output, "b": d_output.sum(axis=0)},
    }

# %% wrong="backprop" says="instead of the mean"
def backprop(params, x, y):
    hidden = jnp.maximum(x @ params["hidden"]["w"] + params["hidden"]["b"], 0)
    output = hidden @ params["output"]["w"] + params["output"]["b"]
    d_output = 2 * (output - y) / len(y)
    d_hidden = d_output @ params["output"]["w"].T * (hidden > 0)
    return {
        "hidden": {"w": x.T @ d_hidden, "b": d_hidden.sum(axis=0)},
        "output": {"w": hidden.T @ d_output, "b": d_output.sum(axis=0)},
    }

# %% wrong="Layer" says="an object that JAX does not look into"
class Layer:
    def __init__(self, w, b, activation="relu"):
        self.w, self.b, self.activation = w, b, activation

    def __call__(self, x):
        return getattr(jax.nn, self.activation)(x @ self.w + self.b)

    def tree_flatten(self):
        return (self.w, self.b), self.activation

    @classmethod
    def tree_unflatten(cls, activation, children):
        return cls(*children, activation)

# %% wrong="Layer" says="a structure of 3 instead of"
@jax.tree_util.register_pytree_node_class
class Layer:
    def __init__(self, w, b, activation="relu"):
        self.w, self.b, self.activation = w, b, activation

    def __call__(self, x):
        return getattr(jax.nn, self.activation)(x @ self.w + self.b)

    def tree_flatten(self):
        return (self.w, self.b, self.activation), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)

# %% wrong="Layer" says="takes another number of arguments"
@jax.tree_util.register_pytree_node_class
class Layer:
    def __init__(self, w, b, activation="relu"):
        self.w, self.b, self.activation = w, b, activation

    def __call__(self, x):
        return getattr(jax.nn, self.activation)(x @ self.w + self.b)

    def tree_flatten(self):
        return (self.w, self.b), self.activation

    @classmethod
    def tree_unflatten(cls, children, activation):
        return cls(*children, activation)

# %% wrong="Layer" says="two results have changed places"
@jax.tree_util.register_pytree_node_class
class Layer:
    def __init__(self, w, b, activation="relu"):
        self.w, self.b, self.activation = w, b, activation

    def __call__(self, x):
        return getattr(jax.nn, self.activation)(x @ self.w + self.b)

    def tree_flatten(self):
        return (self.b, self.w), self.activation

    @classmethod
    def tree_unflatten(cls, activation, children):
        b, w = children
        return cls(w, b, activation)

# %% wrong="Layer" says="layers that differ in their activation alone count as equal"
@jax.tree_util.register_pytree_node_class
class Layer:
    def __init__(self, w, b, activation="relu"):
        self.w, self.b, self.activation = w, b, activation

    def __call__(self, x):
        return getattr(jax.nn, self.activation)(x @ self.w + self.b)

    def tree_flatten(self):
        Layer.last = self.activation
        return (self.w, self.b), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children, cls.last)

# %% wrong="Layer" says="raised ValueError"
@jax.tree_util.register_pytree_node_class
class Layer:
    def __init__(self, w, b, activation="relu"):
        self.w, self.b = jnp.asarray(w, jnp.float32), jnp.asarray(b, jnp.float32)
        self.activation = activation

    def __call__(self, x):
        return getattr(jax.nn, self.activation)(x @ self.w + self.b)

    def tree_flatten(self):
        return (self.w, self.b), self.activation

    @classmethod
    def tree_unflatten(cls, activation, children):
        return cls(*children, activation)

# %% wrong="Layer" says="two pytrees of one class differ in their metadata"
from functools import partial


@jax.tree_util.register_pytree_node_class
class Layer:
    def __init__(self, w, b, activation="relu"):
        self.w, self.b, self.activation = w, b, activation

    def __call__(self, x):
        return getattr(jax.nn, self.activation)(x @ self.w + self.b)

    def tree_flatten(self):
        return (self.w, self.b), partial(Layer, activation=self.activation)

    @classmethod
    def tree_unflatten(cls, make, children):
        return make(*children)

# %% wrong="Layer" says="the activation is lost"
@jax.tree_util.register_pytree_node_class
class Layer:
    def __init__(self, w, b, activation="relu"):
        self.w, self.b, self.activation = w, b, activation

    def __call__(self, x):
        return getattr(jax.nn, self.activation)(x @ self.w + self.b)

    def tree_flatten(self):
        return (self.w, self.b), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)

# %% wrong="gauss_newton" says="a tuple instead of a JAX array"
def gauss_newton(f, x, v):
    _, pushed = jax.jvp(f, (x,), (v,))
    _, pull = jax.vjp(f, x)
    return pull(pushed)

# %% wrong="gauss_newton" says="the value of f is pulled back"
def gauss_newton(f, x, v):
    value, pull = jax.vjp(f, x)
    return pull(value)[0]

# %% wrong="gauss_newton" says="the whole Hessian of half the squared length"
def gauss_newton(f, x, v):
    gradient = jax.grad(lambda x: 0.5 * jnp.sum(f(x) ** 2))
    return jax.jvp(gradient, (x,), (v,))[1]

# %% wrong="gauss_newton" says="holds an intermediate value of"
def gauss_newton(f, x, v):
    jacobian = jax.jacobian(f)(x).reshape(-1, x.size)
    return (jacobian.T @ (jacobian @ v.ravel())).reshape(x.shape)

# %% wrong="gauss_newton" says="a Python `if` or `while` looks at a traced value"
def gauss_newton(f, x, v):
    _, pushed = jax.jvp(f, (x,), (v,))
    if not jnp.any(pushed):
        return jnp.zeros_like(x)
    return jax.vjp(f, x)[1](pushed)[0]

# %% wrong="gauss_newton" says="a function that does not return a scalar"
def gauss_newton(f, x, v):
    _, pushed = jax.jvp(f, (x,), (v,))
    return jax.grad(lambda x: f(x) @ pushed)(x)

# %% wrong="gauss_newton" says="map an axis that the argument does not have"
def gauss_newton(f, x, v):
    _, pushed = jax.jvp(f, (x,), (v,))
    return jax.grad(lambda x: jnp.sum(jax.vmap(jnp.vdot)(f(x), pushed)))(x)

# %% wrong="hvp" says="an axis is missing"
def hvp(f, x, v):
    def slope(x):
        return jax.jvp(f, (x,), (v,))[1]

    return jax.jvp(slope, (x,), (v,))[1]

# %% wrong="hvp" says="the gradient, not its change along v"
def hvp(f, x, v):
    return jax.jvp(jax.grad(f), (x,), (v,))[0]

# %% wrong="hvp" says="the row sums of the Hessian times v"
def hvp(f, x, v):
    return jax.grad(lambda x: jnp.sum(jax.grad(f)(x)))(x) * v

# %% wrong="hvp" says="precision is lost"
def hvp(f, x, v):
    gradient = jax.grad(f)
    return (gradient(x + 1e-4 * v) - gradient(x - 1e-4 * v)) / 2e-4

# %% wrong="hvp" says="holds an intermediate value of"
def hvp(f, x, v):
    return jnp.tensordot(jax.hessian(f)(x), v, axes=v.ndim)

# %% wrong="hvp" says="host random numbers"
def hvp(f, x, v):
    noise = np.random.normal(size=x.shape) * 0
    return jax.jvp(jax.grad(f), (x,), (v,))[1] + noise

# %% wrong="hvp" says="a matrix product of shapes that do not fit"
def hvp(f, x, v):
    return jax.grad(lambda x: jnp.dot(jax.grad(f)(x), v))(x)

# %% wrong="hvp" says="map an axis that the argument does not have"
def hvp(f, x, v):
    return jax.grad(lambda x: jnp.sum(jax.vmap(jnp.vdot)(jax.grad(f)(x), v)))(x)

# %% wrong="td_loss" says="all zeros"
def td_loss(w, features, next_features, rewards, discount):
    w = jax.lax.stop_gradient(w)
    targets = rewards + discount * next_features @ w
    return jnp.mean((targets - features @ w) ** 2)

# %% wrong="td_loss" says="the gradient flows through the targets too"
def td_loss(w, features, next_features, rewards, discount):
    targets = rewards + discount * next_features @ w
    return jnp.mean((targets - features @ w) ** 2)

# %% wrong="td_loss" says="the gradient flows through the targets and not through the values"
def td_loss(w, features, next_features, rewards, discount):
    values = jax.lax.stop_gradient(features @ w)
    targets = rewards + discount * next_features @ w
    return jnp.mean((targets - values) ** 2)

# %% wrong="td_loss" says="half of the mean square is returned"
def td_loss(w, features, next_features, rewards, discount):
    targets = jax.lax.stop_gradient(rewards + discount * next_features @ w)
    return 0.5 * jnp.mean((targets - features @ w) ** 2)

# %% wrong="td_loss" says="keeps a tracer"
last_targets = {}


def td_loss(w, features, next_features, rewards, discount):
    last_targets["now"] = jax.lax.stop_gradient(rewards + discount * next_features @ w)
    return jnp.mean((last_targets["now"] - features @ w) ** 2)

# %% wrong="td_loss" says="the discount that is passed is not used"
def td_loss(w, features, next_features, rewards, discount):
    targets = jax.lax.stop_gradient(rewards + 0.9 * next_features @ w)
    return jnp.mean((targets - features @ w) ** 2)

# %% wrong="row_norms" says="an axis is missing"
def row_norms(x):
    squares = jnp.sum(x**2)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)

# %% wrong="row_norms" says="a small number was added under the root"
def row_norms(x):
    return jnp.sqrt(jnp.sum(x**2, axis=1) + 1e-6)

# %% wrong="row_norms" says="a row of zeros has length 1"
def row_norms(x):
    squares = jnp.sum(x**2, axis=1)
    return jnp.sqrt(jnp.where(squares > 0, squares, 1.0))

# %% wrong="row_norms" says="NaN instead of a number"
def row_norms(x):
    return jnp.nan_to_num(jnp.linalg.norm(x, axis=1))

# %% wrong="row_norms" says="a Python `if` or `while` looks at a traced value"
def row_norms(x):
    return jnp.stack([jnp.sqrt(row @ row) if row @ row > 0 else 0.0 * row[0] for row in x])

# %% wrong="row_norms" says="a boolean mask selects an unknown number of elements"
def row_norms(x):
    squares = jnp.sum(x**2, axis=1)
    positive = squares > 0
    return jnp.zeros(len(x)).at[positive].set(jnp.sqrt(squares[positive]))

# %% wrong="row_norms" says="short rows are treated as zero"
def row_norms(x):
    squares = jnp.sum(x**2, axis=1)
    safe = squares > 1e-6
    return jnp.where(safe, jnp.sqrt(jnp.where(safe, squares, 1.0)), 0.0)

# %% wrong="row_norms" says="as small as 1e-12 under the root is too large"
def row_norms(x):
    return jnp.sqrt(jnp.sum(x**2, axis=1) + 1e-12)

# %% wrong="row_norms" says="the cotangent is ignored"
@jax.custom_vjp
def row_norms(x):
    return jnp.sqrt(jnp.sum(x**2, axis=1))


def row_norms_forward(x):
    norms = row_norms(x)
    return norms, (x, norms)


def row_norms_backward(residuals, cotangent):
    x, norms = residuals
    return (x / jnp.where(norms > 0, norms, 1.0)[:, None],)


row_norms.defvjp(row_norms_forward, row_norms_backward)

# %% wrong="row_norms" says="added to the length that the gradient divides by"
@jax.custom_vjp
def row_norms(x):
    return jnp.sqrt(jnp.sum(x**2, axis=1))


def row_norms_forward(x):
    norms = row_norms(x)
    return norms, (x, norms)


def row_norms_backward(residuals, cotangent):
    x, norms = residuals
    return ((cotangent / (norms + 1e-6))[:, None] * x,)


row_norms.defvjp(row_norms_forward, row_norms_backward)

# %% wrong="binarise" says="keeps a tracer"
class Context:
    """As in PyTorch: the forward rule leaves something for the backward rule."""


context = Context()


@jax.custom_vjp
def binarise(x):
    return jnp.where(x >= 0, 1.0, -1.0)


def binarise_forward(x):
    context.x = x
    return binarise(x), None


def binarise_backward(_, cotangent):
    return (jnp.where(jnp.abs(context.x) <= 1, cotangent, 0.0),)


binarise.defvjp(binarise_forward, binarise_backward)

# %% wrong="binarise" says="integers instead of floats"
def binarise(x):
    ramp = jnp.clip(x, -1, 1)
    bits = jnp.where(x >= 0, 1, -1)
    return bits + jax.lax.stop_gradient((ramp - ramp).astype(jnp.int32))

# %% wrong="binarise" says="the cotangent is zero everywhere"
def binarise(x):
    return jnp.where(x >= 0, 1.0, -1.0)

# %% wrong="binarise" says="the cotangent is passed on everywhere"
def binarise(x):
    return x + jax.lax.stop_gradient(jnp.where(x >= 0, 1.0, -1.0) - x)

# %% wrong="binarise" says="the cotangent is ignored"
@jax.custom_vjp
def binarise(x):
    return jnp.where(x >= 0, 1.0, -1.0)


def binarise_forward(x):
    return binarise(x), jnp.abs(x) <= 1


def binarise_backward(inside, cotangent):
    return (jnp.where(inside, 1.0, 0.0),)


binarise.defvjp(binarise_forward, binarise_backward)

# %% wrong="binarise" says="custom"
@jax.custom_vjp
def binarise(x):
    return jnp.where(x >= 0, 1.0, -1.0)


def binarise_forward(x):
    return binarise(x), jnp.abs(x) <= 1


def binarise_backward(inside, cotangent):
    return jnp.where(inside, cotangent, 0.0)


binarise.defvjp(binarise_forward, binarise_backward)

# %% wrong="binarise" says="a NumPy function was given a traced array"
@jax.custom_vjp
def binarise(x):
    return jnp.where(x >= 0, 1.0, -1.0)


def binarise_forward(x):
    return binarise(x), np.abs(x) <= 1


def binarise_backward(inside, cotangent):
    return (jnp.where(inside, cotangent, 0.0),)


binarise.defvjp(binarise_forward, binarise_backward)

# %% wrong="binarise" says="a third value"
@jax.custom_vjp
def binarise(x):
    return jnp.sign(x)


def binarise_forward(x):
    return binarise(x), jnp.abs(x) <= 1


def binarise_backward(inside, cotangent):
    return (jnp.where(inside, cotangent, 0.0),)


binarise.defvjp(binarise_forward, binarise_backward)

# %% wrong="binarise" says="half of the cotangent is passed on at -1 and 1"
def binarise(x):
    ramp = jnp.clip(x, -1, 1)
    return ramp + jax.lax.stop_gradient(jnp.where(x >= 0, 1.0, -1.0) - ramp)

# %% wrong="binarise" says="right for the visible"
@jax.custom_vjp
def binarise(x):
    return jnp.where(x >= 0, 1.0, -1.0).astype(x.dtype)


def binarise_forward(x):
    return binarise(x), jnp.abs(x) <= 1


def binarise_backward(inside, cotangent):
    return (jnp.where(inside, jnp.clip(cotangent, -10, 10), 0.0),)


binarise.defvjp(binarise_forward, binarise_backward)

# %% wrong="binarise" says="the cotangent is not passed on at -1 and 1"
@jax.custom_vjp
def binarise(x):
    return jnp.where(x >= 0, 1.0, -1.0)


def binarise_forward(x):
    return binarise(x), jnp.abs(x) < 1


def binarise_backward(inside, cotangent):
    return (jnp.where(inside, cotangent, 0.0),)


binarise.defvjp(binarise_forward, binarise_backward)

# %% wrong="binarise" says="float32 instead of bfloat16"
@jax.custom_vjp
def binarise(x):
    return jnp.where(x >= 0, 1.0, -1.0)


def binarise_forward(x):
    return binarise(x), jnp.abs(x) <= 1


def binarise_backward(inside, cotangent):
    return (jnp.where(inside, cotangent, 0.0),)


binarise.defvjp(binarise_forward, binarise_backward)

# %% wrong="threshold" says="the gradients are those of the bisection"
def threshold(x, k):
    return by_bisection(x, k)

# %% wrong="threshold" says="the tangent of `k` is left out"
@jax.custom_jvp
def threshold(x, k):
    return by_bisection(x, k)


@threshold.defjvp
def threshold_rule(primals, tangents):
    (x, k), (dx, _) = primals, tangents
    t = threshold(x, k)
    p = jax.nn.sigmoid(x - t)
    w = p * (1 - p)
    return t, jnp.vdot(w, dx) / jnp.sum(w)

# %% wrong="threshold" says="the sign of `dk` is wrong"
@jax.custom_jvp
def threshold(x, k):
    return by_bisection(x, k)


@threshold.defjvp
def threshold_rule(primals, tangents):
    (x, k), (dx, dk) = primals, tangents
    t = threshold(x, k)
    p = jax.nn.sigmoid(x - t)
    w = p * (1 - p)
    return t, (jnp.vdot(w, dx) + dk) / jnp.sum(w)

# %% wrong="threshold" says="the weights are p, not p (1 - p)"
@jax.custom_jvp
def threshold(x, k):
    return by_bisection(x, k)


@threshold.defjvp
def threshold_rule(primals, tangents):
    (x, k), (dx, dk) = primals, tangents
    t = threshold(x, k)
    p = jax.nn.sigmoid(x - t)
    return t, (jnp.vdot(p, dx) - dk) / jnp.sum(p)

# %% wrong="threshold" says="all zeros"
@jax.custom_jvp
def threshold(x, k):
    return by_bisection(x, k)


@threshold.defjvp
def threshold_rule(primals, tangents):
    x, k = primals
    t = threshold(x, k)
    w = jax.nn.sigmoid(x - t) * jax.nn.sigmoid(t - x)
    return t, (jnp.sum(w) - 1) / jnp.sum(w)

# %% wrong="threshold" says="custom_vjp"
@jax.custom_vjp
def threshold(x, k):
    return by_bisection(x, k)


def threshold_forward(x, k):
    t = by_bisection(x, k)
    p = jax.nn.sigmoid(x - t)
    return t, p * (1 - p)


def threshold_backward(w, cotangent):
    return cotangent * w / jnp.sum(w), -cotangent / jnp.sum(w)


threshold.defvjp(threshold_forward, threshold_backward)

# %% wrong="threshold" says="the rule calls `by_bisection`"
@jax.custom_jvp
def threshold(x, k):
    return by_bisection(x, k)


@threshold.defjvp
def threshold_rule(primals, tangents):
    (x, k), (dx, dk) = primals, tangents
    t = by_bisection(x, k)
    p = jax.nn.sigmoid(x - t)
    w = p * (1 - p)
    return t, (jnp.vdot(w, dx) - dk) / jnp.sum(w)

# %% wrong="threshold" says="`t` is a constant in the rule"
@jax.custom_jvp
def threshold(x, k):
    return by_bisection(x, k)


@threshold.defjvp
def threshold_rule(primals, tangents):
    (x, k), (dx, dk) = primals, tangents
    t = jax.lax.stop_gradient(by_bisection(x, k))
    p = jax.nn.sigmoid(x - t)
    w = p * (1 - p)
    return t, (jnp.vdot(w, dx) - dk) / jnp.sum(w)

# %% wrong="threshold" says="traced value"
def threshold(x, k):
    if not 0 < k < x.size:
        raise ValueError("k is not between 0 and the number of scores")
    return smooth_threshold(x, k)


@jax.custom_jvp
def smooth_threshold(x, k):
    return by_bisection(x, k)


@smooth_threshold.defjvp
def threshold_rule(primals, tangents):
    (x, k), (dx, dk) = primals, tangents
    t = smooth_threshold(x, k)
    p = jax.nn.sigmoid(x - t)
    w = p * (1 - p)
    return t, (jnp.vdot(w, dx) - dk) / jnp.sum(w)

# %% wrong="threshold" says="prints while it is traced"
@jax.custom_jvp
def threshold(x, k):
    t = by_bisection(x, k)
    print("t =", t)
    return t


@threshold.defjvp
def threshold_rule(primals, tangents):
    (x, k), (dx, dk) = primals, tangents
    t = threshold(x, k)
    p = jax.nn.sigmoid(x - t)
    w = p * (1 - p)
    return t, (jnp.vdot(w, dx) - dk) / jnp.sum(w)

# %% wrong="threshold" says="right for the visible inputs, wrong on hidden ones"
@jax.custom_jvp
def threshold(x, k):
    return by_bisection(x, k)


@threshold.defjvp
def threshold_rule(primals, tangents):
    (x, k), (dx, dk) = primals, tangents
    t = threshold(x, k)
    p = jax.nn.sigmoid(x - t)
    w = p * (1 - p)
    return t, (jnp.vdot(w, dx) - dk) / jnp.maximum(jnp.sum(w), 0.03)

# %% wrong="threshold" says="wrong on hidden ones: NaN instead of a number"
def threshold(x, k):
    t = x.mean()
    for _ in range(20):
        p = jax.nn.sigmoid(x - t)
        t = t + (p.sum() - k) / (p * (1 - p)).sum()
    return t

# %% wrong="threshold" says="no known mistake matches"
def threshold(x, k):
    t = jax.lax.stop_gradient(by_bisection(x, k))
    for _ in range(2):
        p = jax.nn.sigmoid(x - t)
        t = t + (p.sum() - k) / (p * (1 - p)).sum()
    return t

# %% wrong="threshold" says="right on some inputs (4 of 5)"
def threshold(x, k):
    @jax.custom_jvp
    def solve(x, k):
        return by_bisection(x, k)

    @solve.defjvp
    def rule(primals, tangents):
        (x, k), (dx, dk) = primals, tangents
        t = solve(x, k)
        p = jax.nn.sigmoid(x - t)
        w = p * (1 - p)
        return t, (jnp.vdot(w, dx) - dk) / w.sum()

    return solve(x, jnp.clip(k, 1e-3, x.size - 1e-3))

# %% wrong="fit_logistic" says="a list instead of a JAX array"
def fit_logistic(x, y, learning_rate, steps):
    def loss_fn(params):
        logits = x @ params["w"] + params["b"]
        return jnp.mean(jnp.logaddexp(0.0, logits) - y * logits)

    params, losses = {"w": jnp.zeros(x.shape[1]), "b": jnp.zeros(())}, []
    for _ in range(steps):
        loss, grads = jax.value_and_grad(loss_fn)(params)
        losses.append(loss)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
    return params, losses

# %% wrong="fit_logistic" says="sum instead of the mean"
def fit_logistic(x, y, learning_rate, steps):
    def loss_fn(params):
        logits = x @ params["w"] + params["b"]
        return jnp.sum(jnp.logaddexp(0.0, logits) - y * logits)

    params, losses = {"w": jnp.zeros(x.shape[1]), "b": jnp.zeros(())}, []
    for _ in range(steps):
        loss, grads = jax.value_and_grad(loss_fn)(params)
        losses.append(loss)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
    return params, jnp.stack(losses)

# %% wrong="fit_logistic" says="the loss after each step"
def fit_logistic(x, y, learning_rate, steps):
    def loss_fn(params):
        logits = x @ params["w"] + params["b"]
        return jnp.mean(jnp.logaddexp(0.0, logits) - y * logits)

    params, losses = {"w": jnp.zeros(x.shape[1]), "b": jnp.zeros(())}, []
    for _ in range(steps):
        grads = jax.grad(loss_fn)(params)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
        losses.append(loss_fn(params))
    return params, jnp.stack(losses)

# %% wrong="fit_logistic" says="the bias is never trained"
def fit_logistic(x, y, learning_rate, steps):
    def loss_fn(w, b):
        logits = x @ w + b
        return jnp.mean(jnp.logaddexp(0.0, logits) - y * logits)

    w, b, losses = jnp.zeros(x.shape[1]), jnp.zeros(()), []
    for _ in range(steps):
        loss, slope = jax.value_and_grad(loss_fn)(w, b)
        losses.append(loss)
        w = w - learning_rate * slope
    return {"w": w, "b": b}, jnp.stack(losses)

# %% wrong="fit_logistic" says="needs a concrete value while it is traced"
def fit_logistic(x, y, learning_rate, steps):
    def loss_fn(params):
        logits = x @ params["w"] + params["b"]
        return jnp.mean(jnp.logaddexp(0.0, logits) - y * logits)

    params, losses = {"w": jnp.zeros(x.shape[1]), "b": jnp.zeros(())}, []
    for _ in range(steps):
        loss, grads = jax.value_and_grad(loss_fn)(params)
        losses.append(float(loss))
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
    return params, jnp.array(losses)

# %% wrong="fit_logistic" says="an axis"
def fit_logistic(x, y, learning_rate, steps):
    def loss_fn(params):
        logits = x @ params["w"] + params["b"]
        return jnp.mean(jnp.logaddexp(0.0, logits) - y * logits)

    params, losses = {"w": jnp.zeros(x.shape[1]), "b": jnp.zeros(())}, []
    for _ in range(steps):
        loss, grads = jax.value_and_grad(loss_fn)(params)
        losses.append(loss)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
    return params, jnp.squeeze(jnp.stack(losses))

# %% wrong="fit_logistic" says="NaN instead of a number"
def fit_logistic(x, y, learning_rate, steps):
    def loss_fn(params):
        probability = 1 / (1 + jnp.exp(-(x @ params["w"] + params["b"])))
        return -jnp.mean(y * jnp.log(probability) + (1 - y) * jnp.log(1 - probability))

    params, losses = {"w": jnp.zeros(x.shape[1]), "b": jnp.zeros(())}, []
    for _ in range(steps):
        loss, grads = jax.value_and_grad(loss_fn)(params)
        losses.append(loss)
        params = jax.tree.map(lambda p, g: p - learning_rate * g, params, grads)
    return params, jnp.stack(losses)
