"""check_gradients: derivatives against differences of the answer's own values."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graders import check_gradients
from graders.tests.failing import failure

X = np.array([0.3, -1.2, 2.0], np.float32)
PARAMS = {"w": np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2), "b": np.ones(2, np.float32)}
ZERO = jnp.zeros(())  # float32, as a global of a student's would be


def with_vjp(factor: float, stop: bool = False) -> Callable:
    """The sum of sines, with a backward rule of its own that is `factor` times the right one."""

    @jax.custom_vjp
    def f(x: jax.Array) -> jax.Array:
        return jnp.sin(x).sum()

    def backward(x: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
        slope = factor * cotangent * jnp.cos(x)
        return (jax.lax.stop_gradient(slope) if stop else slope,)

    f.defvjp(lambda x: (f(x), x), backward)
    return f


def with_jvp(factor: float) -> Callable:
    @jax.custom_jvp
    def f(x: jax.Array) -> jax.Array:
        return jnp.sin(x).sum()

    f.defjvps(lambda tangent, _, x: factor * (jnp.cos(x) * tangent).sum())
    return f


def dense(params: dict, x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ params["w"] + params["b"])


RIGHT = {
    "scalar": lambda x: jnp.sin(x).sum(),
    "vector": jnp.sin,
    "jitted": jax.jit(lambda x: x @ x),
    "custom_vjp": with_vjp(1.0),
    "custom_jvp": with_jvp(1.0),
    "cast to float32 inside": lambda x: jnp.sin(x.astype(jnp.float32)).sum(),
    "float32 inside, float64 outside": lambda x: (
        jnp.sin(x.astype(jnp.float32)).sum().astype(x.dtype)
    ),
    "scan from a float32 global": lambda x: jax.lax.scan(lambda c, r: (c + r**2, None), ZERO, x)[0],
    "float32 constant": lambda x: x @ jnp.array([1, 2, 3], jnp.float32),
    "computed in bfloat16": lambda x: jnp.sin(x.astype(jnp.bfloat16)).astype(jnp.float32).sum(),
    "bfloat16 result": lambda x: jnp.sin(x.astype(jnp.bfloat16)).sum(),
    "small values": lambda x: 1e-5 * jnp.sin(x).sum(),
    "large values": lambda x: 1e6 * jnp.sin(x).sum(),
    "two wheres": lambda x: jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0).sum(),
    "constant": lambda x: jnp.float32(3),
    "gradient": jax.grad(lambda x: (x**3).sum()),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_function_passes(name: str) -> None:
    check_gradients(RIGHT[name], X)


def test_by_a_pytree_and_by_another_argument() -> None:
    check_gradients(dense, PARAMS, X)
    check_gradients(dense, PARAMS, X, argnums=1)
    check_gradients(lambda key, x: x * jax.random.normal(key, x.shape), jax.random.key(0), X,
                    argnums=1)  # fmt: skip
    check_gradients(lambda x: x**2, 3.0)


WRONG = {
    "stop_gradient": (
        lambda x: jax.lax.stop_gradient(jnp.sin(x)).sum(),
        "the gradient is zero, where the values do change",
    ),
    "stop_gradient on small values": (
        lambda x: 1e-5 * jax.lax.stop_gradient(jnp.sin(x)).sum(),
        "the gradient is zero, where the values do change",
    ),
    "stop_gradient on one factor": (
        lambda x: (x * jax.lax.stop_gradient(x)).sum(),
        "a constant factor of 0.5: the gradient is not the derivative of the value",
    ),
    "vjp twice": (with_vjp(2.0), "a constant factor of 2: the gradient is not"),
    "vjp with a minus": (with_vjp(-1.0), "the sign is flipped"),
    "vjp of zero": (with_vjp(0.0), "the gradient is zero"),
    "vjp of another function": (with_vjp(3.3), "the gradient is not the derivative of the value"),
    "vjp a little off": (with_vjp(1.001), "a constant factor of 1.001"),
    "jvp twice": (with_jvp(2.0), "a constant factor of 2"),
    "one where": (
        lambda x: jnp.where(x > 0, jnp.sqrt(x), 0).sum(),
        "the gradient is NaN where the value is finite",
    ),
    "cast to integers": (
        lambda x: (100 * x).astype(int).astype(float).sum(),
        "the gradient is zero, where the values do change",
    ),
    "straight through": (
        lambda x: x + jax.lax.stop_gradient(jnp.round(x) - x),
        "the gradient is not the derivative of the value",
    ),
    "not finite": (lambda x: jnp.log(x - X).sum(), "the value is not finite"),
    "integers": (lambda x: (x > 0).sum(), "integers instead of floats"),
    "value and state": (lambda x: (x.sum(), x), "a tuple instead of one array"),
    "NumPy": (lambda x: jnp.asarray(np.sin(x)).sum(), "a NumPy function was given a traced"),
    "while loop": (
        lambda x: jax.lax.while_loop(lambda s: s.sum() < 9, lambda s: s + 1, x).sum(),
        "a loop without a fixed length cannot be differentiated in reverse",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_derivative_is_named(name: str) -> None:
    f, says = WRONG[name]
    assert says in failure(check_gradients, f, X).diagnosis


def test_the_words_of_a_wrong_derivative() -> None:
    failed = failure(check_gradients, with_vjp(2.0), X)
    assert failed.requirement == "has the right derivatives"
    assert failed.expected == "slope -0.15505 along a random direction, by central differences"
    assert failed.got == "slope -0.3101"
    assert failed.at == "x = [0.3, -1.2, 2]"
    assert "custom rule" in failed.next_step


def test_the_leaf_that_gets_no_gradient_is_named() -> None:
    def forgets(params: dict, x: jax.Array) -> jax.Array:
        return dense(params | {"b": jax.lax.stop_gradient(params["b"])}, x)

    failed = failure(check_gradients, forgets, PARAMS, X)
    assert failed.diagnosis == "the gradient is zero for ['b'], where the values do change"


def test_state_between_calls_is_named() -> None:
    calls = []

    def grows(x: jax.Array) -> jax.Array:
        calls.append(0)
        return jnp.ones(len(calls)) * x.sum()

    assert "of another shape" in failure(check_gradients, grows, X).diagnosis


def test_forward_and_reverse_are_compared() -> None:
    def sides(x: jax.Array) -> jax.Array:
        """As a rule that is linear forward, and transposed wrongly."""
        return jax.custom_derivatives.linear_call(
            lambda _, x: 3.0 * x, lambda _, ct: 4.0 * ct, (), x
        )

    failed = failure(check_gradients, sides, X)
    assert failed.diagnosis == "forward and reverse mode disagree"


@pytest.mark.parametrize("f", [jnp.sin, with_jvp(1.0), with_vjp(1.0)], ids=["sin", "jvp", "vjp"])
def test_a_right_second_derivative_passes(f: Callable) -> None:
    check_gradients(f, X, order=2)


@pytest.mark.parametrize(
    "f",
    [
        with_vjp(1.0, stop=True),
        lambda x: (jax.grad(lambda y: (y**3).sum())(x) * jax.lax.stop_gradient(x)).sum(),
    ],
    ids=["rule that stops", "stopped factor"],
)
def test_a_wrong_second_derivative_is_named(f: Callable) -> None:
    failed = failure(check_gradients, f, X, order=2)
    second = "the second derivative is not the derivative of the gradient"
    assert failed.diagnosis == second or "not the derivative of the value" in failed.diagnosis


def straight_through(x: jax.Array) -> jax.Array:
    return x + jax.lax.stop_gradient(jnp.round(x) - x)


def test_an_expected_gradient_replaces_the_differences() -> None:
    check_gradients(straight_through, X, expected=np.ones_like)
    check_gradients(
        lambda p: (p["w"] ** 2).sum() + p["b"].sum(), PARAMS,
        expected=lambda p: {"b": np.ones(2), "w": 2 * p["w"]},
    )  # fmt: skip


EXPECTED = {
    "round alone": (jnp.round, "the gradient is zero", "[0, 0, 0]"),
    "twice": (lambda x: 2 * x, "no known mistake matches", "[2, 2, 2]"),
    "minus": (lambda x: -x, "no known mistake matches", "[-1, -1, -1]"),
    "NaN": (lambda x: jnp.where(x > 0, jnp.sqrt(x), x), "the gradient is NaN", "nan"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_another_gradient_than_expected_is_named(name: str) -> None:
    f, says, got = EXPECTED[name]
    failed = failure(check_gradients, f, X, expected=np.ones_like)
    assert says in failed.diagnosis
    assert failed.expected == "[1, 1, 1]"
    assert got in failed.got


def test_a_check_by_integers_is_the_authors_mistake() -> None:
    with pytest.raises(TypeError, match="look at argnums"):
        check_gradients(lambda n, x: n * x, np.arange(3), X)
