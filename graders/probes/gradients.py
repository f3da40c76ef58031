"""The derivatives of the student's function, as JAX computes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from graders.values.jax_messages import says
from graders.values.plain import Plain, plain


@dataclass(frozen=True)
class Derivatives:
    """A value, and both products of the Jacobian J."""

    value: Plain
    forward: Plain  # J @ tangent, by jvp; None where a custom_vjp has no forward mode
    reverse: Plain  # cotangent @ J, by vjp


def derivatives(
    function: Callable, *args: Any, argnum: int, tangent: Any, cotangent: Any
) -> Derivatives:
    """The value, and both products of the Jacobian with respect to argument `argnum`."""
    varied, at = _of_one(function, args, argnum), args[argnum]
    result, pull = jax.vjp(varied, at)
    forward = _forward(varied, at, _like(at, tangent))
    return Derivatives(plain(result), forward, plain(pull(_like(result, cotangent))[0]))


def _like(values: Any, directions: Any) -> Any:
    """`directions` in the dtypes of `values`: a bfloat16 result wants a bfloat16 cotangent."""
    return jax.tree.map(lambda v, way: jnp.asarray(way, jnp.result_type(v)), values, directions)


def second_derivative(
    function: Callable, *args: Any, argnum: int, tangent: Any, cotangent: Any
) -> Plain:
    """The derivative along `tangent` of the gradient of `cotangent . f`: forward over reverse.

    Where a custom_vjp excludes forward mode it is reverse over reverse: the Hessian is symmetric.
    """
    varied, at = _of_one(function, args, argnum), args[argnum]

    def gradient(point: Any) -> Any:
        result, pull = jax.vjp(varied, point)
        return pull(_like(result, cotangent))[0]

    forward = _forward(gradient, at, _like(at, tangent))
    return plain(jax.vjp(gradient, at)[1](_like(at, tangent))[0]) if forward is None else forward


def _of_one(function: Callable, args: Sequence[Any], argnum: int) -> Callable:
    return lambda point: function(*args[:argnum], point, *args[argnum + 1 :])


def _forward(function: Callable, at: Any, tangent: Any) -> Any:
    try:
        return plain(jax.jvp(function, (at,), (tangent,))[1])
    except TypeError as error:
        if says(str(error), "forward mode of custom_vjp"):
            return None
        raise
