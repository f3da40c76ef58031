"""Checks that a function can be differentiated, and that its derivatives are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from graders.card.failure import Cause
from graders.checks.mechanics import at, check, reject, seen
from graders.diagnosis import gradients as diagnosis
from graders.diagnosis import shape as results
from graders.probes.gradients import Derivatives, derivatives, second_derivative
from graders.probes.primitives import program
from graders.seam.protocol import Result, T
from graders.seam.subject import Subject
from graders.values import describe
from graders.values.inputs import as_numpy
from graders.values.plain import Leaf, Plain, leaves, plain


@dataclass(frozen=True)
class Precision:
    """How central differences are taken, and how far from them a slope may lie.

    The slack is rtol |slope| + atol (1 + |the values that are subtracted|): rounding of the values
    is divided by the step.
    """

    step: float
    rtol: float
    atol: float
    x64: bool = False


WIDE = Precision(1e-5, 1e-5, 1e-8, x64=True)
NARROW = Precision(1e-2, 2e-2, 1e-4)  # where the answer casts to float32, or cannot run in float64
COARSE = Precision(1e-1, 1e-1, 5e-2)  # where it computes in bfloat16 or float16
SEED = 20


@check
def check_gradients(
    answer: Subject,
    *args: Any,
    argnums: int = 0,
    order: int = 1,
    expected: Callable[..., Any] | None = None,
    about: str = "",
) -> None:
    """Checks the derivatives of `answer` with respect to argument `argnums`.

    Along a random direction, reverse mode (vjp) and forward mode (jvp, where a custom_vjp does not
    exclude it) agree with central differences of the answer's own values: in float64 with step
    1e-5. An answer that casts to float32 inside is judged in float32 with step 1e-2, one that
    computes in bfloat16 or float16 with step 0.1.

    Args:
        answer: the student's function, which returns one float array.
        args: the arguments at which it is differentiated.
        argnums: the position of a float array, or of a pytree of float arrays.
        order: 2 judges the second derivative too: forward over reverse agrees with central
            differences of the gradient.
        expected: takes `args` as NumPy arrays and returns the gradient of the sum of the result. It
            replaces the differences where the derivative is not the one of the values, as in a
            straight-through estimator.
        about: what distinguishes this line from others of its kind on the card.

    Raises:
        CheckFailed: a derivative is not the one of the values, or cannot be computed.
        TypeError: the argument is not made of floats.

    Example:
        >>> check_gradients(jnp.tanh, np.float32([0.5, 1.0]), order=2)
    """
    Trial(answer, args, argnums).judge(order, expected)


class Trial:
    """One random direction in the argument, one random weighting of the result."""

    def __init__(self, answer: Subject, args: Sequence[Any], argnum: int) -> None:
        self.answer, self.args, self.argnum = answer, tuple(args), argnum
        if not all(np.asarray(leaf).dtype.kind in "fV" for leaf in jax.tree.leaves(args[argnum])):
            raise TypeError(f"argument {argnum} is not made of floats: look at argnums")
        self.rng = np.random.default_rng(SEED)
        self.tangent = jax.tree.map(self._direction, args[argnum])

    def _direction(self, leaf: Any) -> np.ndarray:
        return np.asarray(self.rng.standard_normal(np.shape(leaf)), np.float32)

    def judge(self, order: int, expected: Callable[..., Any] | None) -> None:
        value = self._value()
        if expected is not None:
            return self._judge_expected(value, expected)
        self.cotangent = self._direction(value)
        precision = self._precision()
        products = self._derivatives(self.args, precision.x64)
        self._judge_first(products, precision)
        if order == 2:
            self._judge_second(precision)

    def _value(self) -> np.ndarray:
        got = seen(self.answer.call(*self.args), self.answer, self.args, "a float array")
        if not isinstance(got, Leaf):
            cause = results.other_kind(got, "one array")
            reject(cause, "one array", describe.text(got), at(self.answer, self.args))
        if got.data.dtype.kind not in "fV":
            cause = results.dtype_kind(got.data.dtype.kind, "f")
            reject(cause, "floats", describe.text(got), at(self.answer, self.args))
        return got.data

    def _precision(self) -> Precision:
        wide = self.answer.call(*self.args, x64=True)
        if wide.error is None and isinstance(wide.value, Leaf) and self._stays_wide(wide.value):
            return WIDE
        observed = self.answer.observe(program, *self.args)
        halves = {"bfloat16", "float16"} & set(observed.value.dtypes if observed.value else ())
        return COARSE if halves else NARROW

    def _stays_wide(self, value: Leaf) -> bool:
        """Whether the answer follows a change of 1e-9, which float32 cannot hold."""
        if value.data.dtype != np.float64:
            return False
        moved = self.answer.call(*self._moved(1e-9, np.float64), x64=True).value
        if not isinstance(moved, Leaf):
            return False
        rounded = np.asarray(value.data, np.float32).astype(np.float64)
        return not np.array_equal(rounded, value.data) or not np.array_equal(moved.data, value.data)

    def _moved(self, step: float, dtype: Any) -> tuple:
        moved = jax.tree.map(
            lambda leaf, way: np.asarray(leaf, dtype) + dtype(step) * way.astype(dtype),
            self.args[self.argnum],
            self.tangent,
        )
        return (*self.args[: self.argnum], moved, *self.args[self.argnum + 1 :])

    def _weighted(self, args: Sequence[Any], x64: bool) -> float:
        got = seen(self.answer.call(*args, x64=x64), self.answer, self.args)
        return self._product([self.cotangent], [got])

    def _product(self, ways: Sequence[np.ndarray], values: Sequence[Plain]) -> float:
        """The sum of the products of directions and values, which have the same shapes."""
        arrays = [value.data for value in values if isinstance(value, Leaf)]
        if [way.shape for way in ways] != [array.shape for array in arrays]:
            reject(diagnosis.other_structure(), at=at(self.answer, self.args))
        pairs = zip(ways, arrays, strict=True)
        return float(sum(np.vdot(way, array.astype(np.float64)) for way, array in pairs))

    def _slope(
        self, function: Callable[[Sequence[Any]], Any], precision: Precision
    ) -> tuple[float, float]:
        """The slope of `function` by central differences, and how far from it one may lie."""
        dtype, step = np.float64 if precision.x64 else np.float32, precision.step
        ahead, behind = (float(function(self._moved(s, dtype))) for s in (step, -step))
        slope = (ahead - behind) / (2 * step)
        return slope, precision.rtol * abs(slope) + precision.atol * (1 + abs(ahead) + abs(behind))

    def _derivatives(self, args: Sequence[Any], x64: bool) -> Derivatives:
        return seen(self._observed(derivatives, args, x64), self.answer, self.args, "derivatives")

    def _observed(self, probe: Callable[..., T], args: Sequence[Any], x64: bool) -> Result[T]:
        options = {"argnum": self.argnum, "tangent": self.tangent, "cotangent": self.cotangent}
        return self.answer.observe(probe, *args, x64=x64, **options)

    def _judge_first(self, products: Derivatives, precision: Precision) -> None:
        slope, slack = self._slope(lambda args: self._weighted(args, precision.x64), precision)
        reverse, forward = self._along(products.reverse), products.forward
        if forward is not None:  # as it is where a custom_vjp excludes forward mode
            forward = self._product([self.cotangent], [forward])
        for got, other in ((reverse, forward), (forward, reverse)):
            if got is not None and not abs(got - slope) <= slack:
                gone = self._gone(products.reverse, precision)
                self._reject(diagnosis.cause_of(got, slope, other, gone), slope, got)

    def _along(self, gradient: Plain) -> float:
        """The slope along the tangent, from a gradient of the argument's structure."""
        return self._product(jax.tree.leaves(self.tangent), [leaf for _, leaf in leaves(gradient)])

    def _gone(self, gradient: Plain, precision: Precision) -> list[str]:
        """The leaves of the argument whose gradient is zero although the values follow them."""
        zero = [path for path, leaf in leaves(gradient) if path and not leaf.data.any()]
        return [path for path in zero if self._alone(path, precision)]

    def _alone(self, path: str, precision: Precision) -> bool:
        """Whether the values change where the leaf at `path` alone is moved."""
        alone = Trial(self.answer, self.args, self.argnum)
        alone.cotangent = self.cotangent
        alone.tangent = jax.tree_util.tree_map_with_path(
            lambda at, way: way * (jax.tree_util.keystr(at) == path), self.tangent
        )
        slope, slack = alone._slope(lambda args: self._weighted(args, precision.x64), precision)
        return abs(slope) > slack

    def _judge_second(self, precision: Precision) -> None:
        observed = self._observed(second_derivative, self.args, precision.x64)
        second = self._along(seen(observed, self.answer, self.args, "a second derivative"))
        bend, slack = self._slope(lambda args: self._pulled(args, precision.x64), precision)
        if not abs(second - bend) <= 10 * slack:
            self._reject(diagnosis.second(), bend, second)

    def _pulled(self, args: Sequence[Any], x64: bool) -> float:
        return self._along(self._derivatives(args, x64).reverse)

    def _judge_expected(self, value: np.ndarray, expected: Callable[..., Any]) -> None:
        self.cotangent = np.ones_like(value)
        got = self._derivatives(self.args, False).reverse
        wanted = dict(leaves(plain(expected(*as_numpy(self.args)))))
        for path, leaf in leaves(got):
            found, want = (np.asarray(x.data, np.float64) for x in (leaf, wanted[path]))
            same_shape = found.shape == want.shape
            right = np.isclose(found, want, rtol=1e-4, atol=1e-5) if same_shape else None
            if right is None or not right.all():
                prefix = f"{path}: " if path else ""
                texts = prefix + describe.array(want), prefix + describe.array(found)
                reject(diagnosis.of_arrays(found, want, right), *texts, at(self.answer, self.args))

    def _reject(self, cause: Cause, slope: float, got: float) -> None:
        reject(
            cause,
            f"slope {describe.number(slope)} along a random direction, by central differences",
            f"slope {describe.number(got)}",
            at(self.answer, self.args),
        )
