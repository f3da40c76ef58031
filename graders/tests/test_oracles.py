"""numerical_gradient: against derivatives that are known, in every shape and argument."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graders import numerical_gradient

RNG = np.random.default_rng(0)
SHAPES = [(), (1,), (3,), (2, 3), (4, 1, 2), (0,), (2, 0)]

KNOWN: dict[str, tuple[Callable, Callable]] = {
    "square": (lambda x: (x**2).sum(), lambda x: 2 * x),
    "linear": (lambda x: 3 * x.sum() + 7, lambda x: np.full_like(x, 3)),
    "constant": (lambda x: 5.0, lambda x: np.zeros_like(x)),
    "sine": (lambda x: np.sin(x).sum(), np.cos),
    "tanh": (lambda x: np.tanh(x).sum(), lambda x: 1 - np.tanh(x) ** 2),
    "exponential": (lambda x: np.exp(x).sum(), np.exp),
    "log-sum-exp": (
        lambda x: np.log(np.exp(x).sum()) if x.size else 0.0,
        lambda x: np.exp(x) / np.exp(x).sum(),
    ),
    "position": (
        lambda x: (np.arange(x.size) * x.ravel()).sum(),
        lambda x: np.arange(x.size).reshape(x.shape),
    ),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", KNOWN)
def test_a_gradient_that_is_known(name: str, shape: tuple[int, ...]) -> None:
    function, derivative = KNOWN[name]
    x = RNG.normal(size=shape)
    found = numerical_gradient(function)(x)
    assert (found.shape, found.dtype) == (shape, np.float64)
    np.testing.assert_allclose(found, derivative(x), rtol=0, atol=2e-8)


def test_central_differences_are_exact_for_polynomials_of_the_second_degree() -> None:
    """A difference to one side is off by the step, 1e-6, where the second derivative is 2."""
    x = np.array([0.25, -0.5, 1.0])
    assert np.abs(numerical_gradient(lambda x: (x**2).sum())(x) - 2 * x).max() < 1e-9


def test_the_error_is_of_the_second_order_of_the_step() -> None:
    """The derivative of x^3 at 0 is 0, and a central difference gives the step's square."""
    found = numerical_gradient(lambda x: (1e6 * x) ** 3)(np.float64(0.0))
    assert found == pytest.approx(1e6, rel=1e-9)  # 1e18 (1e-6)^2 / 1


@pytest.mark.parametrize("argnums", [0, 1, 2])
def test_each_argument_by_its_position(argnums: int) -> None:
    def function(x: np.ndarray, w: np.ndarray, scale: float) -> float:
        return float((x @ w * scale).sum())

    x, w, scale = RNG.normal(size=(4, 3)), RNG.normal(size=3), 2.0
    known = (
        np.broadcast_to(scale * w, (4, 3)),
        scale * x.sum(0),
        np.array((x @ w).sum()),
    )
    found = numerical_gradient(function, argnums)(x, w, scale)
    assert found.shape == known[argnums].shape
    np.testing.assert_allclose(found, known[argnums], atol=2e-8)


def test_numbers_of_lower_precision_are_moved_in_float64() -> None:
    """A step of 1e-6 is lost in float32 at 100, and in integers everywhere."""
    for dtype in (np.float32, np.int32):
        found = numerical_gradient(lambda x: (x**2).sum())(np.array([100, 3], dtype))
        np.testing.assert_allclose(found, [200, 6], rtol=1e-6)


def test_the_arguments_are_left_alone() -> None:
    x = np.array([1.0, 2.0])
    numerical_gradient(lambda x: (x**2).sum())(x)
    assert x.tolist() == [1, 2]
