"""Checks that a function can be differentiated, and that its derivatives are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from graders import describe
from graders.checks.mechanics import at, check, reject, seen
from graders.diagnosis import gradients as diagnosis
from graders.diagnosis import results
from graders.failure import Cause
from graders.inputs import as_numpy
from graders.observation import Result
from graders.plain import Leaf, Plain, leaves
from graders.subject import Subject

WIDE = (1e-5, 1e-5)  # step and tolerance where the answer computes in float64
NARROW = (1e-2, 2e-2)  # where it casts to float32 inside, or cannot run in float64
SEED = 20


@check
def check_gradients(
    answer: Subject,
    *args: Any,
    argnums: int = 0,
    order: int = 1,
    expected: Callable[..., Any] | None = None,
) -> None:
    """Checks the derivatives of `answer` by argument `argnums`, a float array or a pytree of them.

    Along a random direction, reverse mode (vjp) and forward mode (jvp, where a custom_vjp does
    not exclude it) agree with central differences of the answer's own values, in float64 with
    step 1e-5; an answer that casts to float32 inside is judged in float32 with step 1e-2. With
    `order=2` the second derivative, forward over reverse, agrees with central differences of the
    gradient. `expected(*args)` gives the gradient of the sum of the result and replaces the
    differences, where the derivative is not the one of the values (a straight-through estimator).
    """
    Trial(answer, args, argnums).judge(order, expected)


class Trial:
    """One random direction in the argument, one random weighting of the result."""

    def __init__(self, answer: Subject, args: Sequence[Any], argnum: int) -> None:
        self.answer, self.args, self.argnum = answer, tuple(args), argnum
        self.rng = np.random.default_rng(SEED)
        self.tangent = jax.tree.map(self._direction, args[argnum])

    def _direction(self, leaf: Any) -> np.ndarray:
        return np.asarray(self.rng.standard_normal(np.shape(leaf)), np.float32)

    def judge(self, order: int, expected: Callable[..., Any] | None) -> None:
        value = self._value()
        if expected is not None:
            return self._judge_expected(value, expected)
        self.cotangent = self._direction(value)
        step, tolerance, x64 = self._precision()
        products = self._derivatives(self.args, x64)
        slope = self._slope(lambda args: self._weighted(args, x64), step)
        self._judge_first(products, slope, tolerance)
        if order == 2:
            self._judge_second(step, tolerance, x64)

    def _value(self) -> np.ndarray:
        got = seen(self.answer.call(*self.args), self.answer, self.args, "a float array")
        if not isinstance(got, Leaf):
            cause = results.other_kind(got, "one array")
            reject(cause, "one array", describe.text(got), at(self.answer, self.args))
        if got.data.dtype.kind not in "fV":
            cause = results.dtype_kind(got.data.dtype.kind, "f")
            reject(cause, "floats", describe.text(got), at(self.answer, self.args))
        return got.data

    def _precision(self) -> tuple[float, float, bool]:
        wide = self.answer.call(*self.args, x64=True)
        if wide.error is None and isinstance(wide.value, Leaf) and self._stays_wide(wide.value):
            return *WIDE, True
        return *NARROW, False

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

    def _weighted(self, args: Sequence[Any], x64: bool) -> np.ndarray:
        got = seen(self.answer.call(*args, x64=x64), self.answer, self.args)
        return np.vdot(self.cotangent, np.asarray(got.data, np.float64))

    def _slope(self, function: Callable[[Sequence[Any]], Any], step: float) -> Any:
        dtype = np.float64 if step == WIDE[0] else np.float32
        ahead, behind = (function(self._moved(s, dtype)) for s in (step, -step))
        return (ahead - behind) / (2 * step)

    def _derivatives(self, args: Sequence[Any], x64: bool) -> dict:
        return seen(self._observed("derivatives", args, x64), self.answer, self.args, "derivatives")

    def _observed(self, probe: str, args: Sequence[Any], x64: bool) -> Result:
        options = {"argnum": self.argnum, "tangent": self.tangent, "cotangent": self.cotangent}
        return self.answer.observe(probe, *args, x64=x64, **options)

    def _judge_first(self, products: dict, slope: float, tolerance: float) -> None:
        reverse = self._along(products["reverse"])
        forward = self._forward(products["forward"])
        self._judge_slope(reverse, slope, tolerance, forward)
        if forward is not None:
            self._judge_slope(forward, slope, tolerance, reverse)

    def _forward(self, product: Plain) -> float | None:
        if not isinstance(product, Leaf):
            return None
        return float(np.vdot(self.cotangent, np.asarray(product.data, np.float64)))

    def _along(self, gradient: Plain) -> float:
        """The slope along the tangent, from a gradient of the argument's structure."""
        parts = [leaf.data for _, leaf in leaves(gradient) if isinstance(leaf, Leaf)]
        ways = jax.tree.leaves(self.tangent)
        return float(sum(np.vdot(p.astype(np.float64), w) for p, w in zip(parts, ways)))

    def _judge_slope(self, got: float, slope: float, tolerance: float, other: float | None) -> None:
        if not abs(got - slope) <= tolerance * max(1.0, abs(slope)):
            self._reject(diagnosis.cause_of(got, slope, other), slope, got)

    def _judge_second(self, step: float, tolerance: float, x64: bool) -> None:
        observed = self._observed("second_derivative", self.args, x64)
        second = self._along(seen(observed, self.answer, self.args, "a second derivative"))
        bend = self._slope(lambda args: self._along(self._derivatives(args, x64)["reverse"]), step)
        if not abs(second - bend) <= 10 * tolerance * max(1.0, abs(bend)):
            self._reject(diagnosis.second(), float(bend), second)

    def _judge_expected(self, value: np.ndarray, expected: Callable[..., Any]) -> None:
        self.cotangent = np.ones_like(value)
        got = self._derivatives(self.args, False)["reverse"]
        wanted = jax.tree.leaves(expected(*as_numpy(self.args)))
        for (path, leaf), want in zip(leaves(got), wanted):
            want = np.asarray(want, np.float64)
            if not np.allclose(leaf.data, want, rtol=1e-4, atol=1e-5):
                cause = diagnosis.of_arrays(np.asarray(leaf.data, np.float64), want)
                reject(cause, path + describe.array(want), path + describe.text(leaf),
                       at(self.answer, self.args))  # fmt: skip

    def _reject(self, cause: Cause, slope: float, got: float) -> None:
        reject(
            cause,
            f"slope {describe.number(slope)} along a random direction, by central differences",
            f"slope {describe.number(got)}",
            at(self.answer, self.args),
        )
