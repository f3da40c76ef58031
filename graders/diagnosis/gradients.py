"""What is wrong with a derivative, inferred from slopes along one direction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graders.card.failure import Cause
from graders.diagnosis import shape, values
from graders.diagnosis.evidence import Pair
from graders.values import describe

NEAR = 1e-2


def cause_of(
    got: float, slope: float, other: float | None = None, gone: Sequence[str] = ()
) -> Cause:
    """`got` is the slope that one mode gives, `slope` the true one, `other` the other mode's.

    `gone` are the paths of the leaves whose gradient is zero throughout.
    """
    if not np.isfinite(slope):
        return Cause(
            "the value is not finite at this input, or right beside it",
            "Look for 0/0, an overflow, or the log of a negative number in the function itself.",
        )
    if np.isnan(got):
        return Cause(
            "the gradient is NaN where the value is finite",
            "Look at both branches of `jnp.where`: the one that is not taken is differentiated "
            "too. Give it a harmless input with a second `where` inside.",
        )
    if got == 0 or any(gone):
        where = f" for {gone[0]}" if any(gone) and got != 0 else ""
        return Cause(
            f"the gradient is zero{where}, where the values do change",
            "Look for `stop_gradient`, a rounding, a comparison, or a cast to integers on the way.",
        )
    if other is not None and abs(other - got) > NEAR * max(abs(other), abs(got)):
        return Cause(
            "forward and reverse mode disagree",
            "Look at the custom rule: both modes must describe the same derivative.",
        )
    if np.isclose(got, -slope, rtol=NEAR):
        return Cause("the sign is flipped: the gradient points the other way", "Look for a minus.")
    if slope and _plain_ratio(got / slope):
        return Cause(
            f"a constant factor of {describe.number(got / slope)}: the gradient is not the "
            "derivative of the value",
            "Look for a factor that a custom rule or a `stop_gradient` loses.",
        )
    return Cause(
        "the gradient is not the derivative of the value",
        "Look for a `stop_gradient` on part of the formula, or for a custom rule that forgets a "
        "term.",
    )


def _plain_ratio(ratio: float) -> bool:
    return any(abs(ratio * k - round(ratio * k)) < NEAR and round(ratio * k) for k in (1, 2))


def other_structure() -> Cause:
    return Cause(
        "the value or the gradient has another shape from one call to the next",
        "Look for state beside the arguments that decides what is computed.",
    )


def second() -> Cause:
    return Cause(
        "the second derivative is not the derivative of the gradient",
        "Look for a `stop_gradient` in the gradient, or a custom rule that is not itself "
        "differentiable.",
    )


def of_arrays(got: np.ndarray, expected: np.ndarray, right: np.ndarray | None = None) -> Cause:
    """The cause of a wrong gradient array, beside the expected one.

    `right` says which elements the check accepts, where both have one shape.
    """
    if right is None:
        return shape.shape(got.shape, expected.shape)
    if np.isnan(got).any():
        return cause_of(float("nan"), 0.0)
    if not got.any():
        return cause_of(0.0, 1.0)
    return values.cause_of([Pair((), expected, got, right)])
