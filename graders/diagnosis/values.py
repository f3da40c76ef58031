"""What is wrong with numbers of the right shape, inferred from the numbers alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from graders.card.failure import Cause
from graders.values import describe

NEAR = 1e-3


@dataclass(frozen=True)
class Pair:
    """One case: the arguments, and one array that was expected with the one that came."""

    args: tuple[Any, ...]
    expected: np.ndarray
    got: np.ndarray
    right_elements: np.ndarray  # booleans: which elements the check accepts

    @property
    def right(self) -> bool:
        """Whether the check accepts all of it."""
        return bool(self.right_elements.all())


Reader = Callable[[Sequence[Pair]], Cause | None]


def cause_of(pairs: Sequence[Pair], mistakes: dict[str, Callable[..., Any]] | None = None) -> Cause:
    """The cause that explains every wrong pair, or the plain statement that numbers differ.

    `mistakes` maps a diagnosis to the function that makes that mistake; such a candidate is
    preferred where its numbers are the ones that came.
    """
    if not pairs:
        return _unexplained()
    named = _named(pairs, mistakes or {})
    found = (cause for read in READERS if (cause := read(pairs)))
    return named or next(found, _unexplained())


def _named(pairs: Sequence[Pair], mistakes: dict[str, Callable[..., Any]]) -> Cause | None:
    for diagnosis, mistaken in mistakes.items():
        if all(_is_what_came(pair, mistaken) for pair in pairs):
            return Cause(diagnosis, "If you do not see where, open the first hint.")
    return None


def _is_what_came(pair: Pair, mistaken: Callable[..., Any]) -> bool:
    with np.errstate(all="ignore"):
        try:
            candidate = np.asarray(mistaken(*pair.args), np.float64)
        except Exception:  # a candidate need not be defined on every case
            return False
    return candidate.shape == pair.got.shape and near(pair.got, candidate)


def near(got: np.ndarray, other: np.ndarray, tolerance: float = NEAR) -> bool:
    """Whether two arrays are the same but for rounding; NaN equals NaN, nothing is broadcast."""
    if got.shape != other.shape:
        return False
    with np.errstate(all="ignore"):
        finite = np.abs(other[np.isfinite(other)])
        scale = max(float(finite.max(initial=0.0)), 1e-30)
        return bool(np.allclose(got, other, rtol=tolerance, atol=1e-5 * scale, equal_nan=True))


def _wrong(pairs: Sequence[Pair]) -> list[Pair]:
    return [pair for pair in pairs if not pair.right]


def not_finite(pairs: Sequence[Pair]) -> Cause | None:
    """Judged on the first wrong case alone: it is the one that the card shows."""
    shown = _wrong(pairs)[0]
    if (np.isnan(shown.got) & ~np.isnan(shown.expected)).any():
        return Cause(
            "NaN where a number is meant" + ("" if np.isnan(shown.got).all() else ", in places"),
            "Look for 0/0, inf - inf, the log of a negative number, or a division by an empty "
            "count; mend the input of that operation, not only its result.",
        )
    if (np.isinf(shown.got) & np.isfinite(shown.expected)).any():
        return Cause(
            "infinite where a number is meant: an intermediate value overflows, or is divided "
            "by zero",
            "Rewrite the formula so that large parts cancel before `exp`, or guard the divisor.",
        )
    if (np.isfinite(shown.got) & np.isnan(shown.expected)).any():
        return Cause(
            "a number where NaN is meant",
            "Find out what the exercise asks of this edge case.",
        )
    return None


def all_zeros(pairs: Sequence[Pair]) -> Cause | None:
    if all(not p.got.any() and p.got.size for p in pairs):
        return Cause(
            "all zeros: the result does not depend on the input",
            "Look for a result that was computed and dropped (`x.at[...]` returns a new array), "
            "for integer division, or for a `stop_gradient`.",
        )
    return None


def factor(pairs: Sequence[Pair]) -> Cause | None:
    """One factor a case turns what is expected into what came."""
    if any(pair.right and pair.expected.any() and not _has_unit_axis(pair) for pair in pairs):
        return None
    factors = [_ratio(pair) for pair in _wrong(pairs)]
    if not factors or any(f is None for f in factors):
        return None
    known = [float(f) for f in factors if f is not None]
    sized = _sized(known, pairs)
    if sized and _all_sizes(known, pairs):
        return Cause(
            f"a sum where the mean is meant: every number is {_times(known)} too large",
            "Divide by the number of elements, or use `jnp.mean`.",
        )
    if sized and _all_sizes([1 / f for f in known], pairs):
        return Cause(
            "a mean where the sum is meant: every number is divided by a size of the input",
            "Leave out the division, or use `jnp.sum`.",
        )
    if np.allclose(known, -1, rtol=NEAR):
        return Cause("the sign is flipped", "Check the order of the difference, or a lost minus.")
    if np.allclose(known, known[0], rtol=NEAR):
        return Cause(
            f"a constant factor of {describe.number(known[0])} too much",
            "Look for a factor that is lost or counted twice, as the 2 of a square's derivative.",
        )
    if max(pair.got.size for pair in _wrong(pairs)) < 2:
        return None
    return Cause(
        "a factor that changes with the input",
        "Check what the result is divided by, and over which axis.",
    )


def _has_unit_axis(pair: Pair) -> bool:
    """Whether an argument has an axis of size 1, along which sum and mean are the same."""
    return any(1 in np.shape(leaf) for leaf in jax.tree.leaves(pair.args))


def _ratio(pair: Pair) -> float | None:
    expected, got = pair.expected.ravel(), pair.got.ravel()
    scale = np.abs(expected).max(initial=0.0)
    if not np.isfinite(expected).all() or not np.isfinite(got).all() or scale == 0:
        return None
    ratio = float((np.vdot(expected, got) / np.vdot(expected, expected)).real)
    other = ratio and abs(ratio - 1) > 2 * NEAR
    return ratio if other and near(got, ratio * expected) else None


def _sizes(args: Any) -> set[int]:
    """Every size of an axis, and every product of neighbouring axes, in the arguments."""
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(args) if hasattr(leaf, "dtype")]
    runs = (s[i:j] for s in shapes for i in range(len(s)) for j in range(i + 1, len(s) + 1))
    return {int(np.prod(run)) for run in runs} - {0, 1}


def _all_sizes(factors: Sequence[float], pairs: Sequence[Pair]) -> bool:
    """Whether each wrong case's factor is a size of its arguments."""
    cases = zip(factors, _wrong(pairs), strict=True)
    return all(any(abs(f / size - 1) < NEAR for size in _sizes(p.args)) for f, p in cases)


def _sized(factors: Sequence[float], pairs: Sequence[Pair]) -> bool:
    """Whether the factors follow the sizes, and are not one constant such as 2."""
    sizes = {frozenset(_sizes(pair.args)) for pair in _wrong(pairs)}
    return len({round(f, 3) for f in factors}) > 1 or len(sizes) == 1


def _times(factors: Sequence[float]) -> str:
    return f"{describe.number(factors[0])} times" if len(set(factors)) == 1 else "a size of x times"


def transposed(pairs: Sequence[Pair]) -> Cause | None:
    matrices = [p for p in _wrong(pairs) if p.got.ndim >= 2]
    if matrices and all(near(p.got.swapaxes(-1, -2), p.expected) for p in matrices):
        return Cause(
            "transposed: rows and columns have changed places",
            "Check the order of the factors, or of the indices.",
        )
    return None


def reversed_order(pairs: Sequence[Pair]) -> Cause | None:
    wrong = _wrong(pairs)
    for axis in range(min(p.got.ndim for p in wrong)):
        if all(near(np.flip(p.got, axis), p.expected) for p in wrong):
            return Cause(
                f"reversed along axis {axis}", "Check the direction of the order or of the loop."
            )
    return None


def unchanged(pairs: Sequence[Pair]) -> Cause | None:
    if all(any(_same_as(p.got, leaf) for leaf in jax.tree.leaves(p.args)) for p in pairs):
        return Cause(
            "the input came back unchanged",
            "An update of a JAX array returns a new array: bind it (`x = x.at[i].set(v)`), and "
            "return it.",
        )
    return None


def _same_as(got: np.ndarray, leaf: Any) -> bool:
    if np.shape(leaf) != got.shape or not hasattr(leaf, "dtype"):
        return False
    array = np.asarray(leaf)
    return array.dtype.kind in "biuf" and bool(got.any()) and near(got, array.astype(np.float64))


TRANSFORMS: tuple[tuple[str, Callable[[np.ndarray], np.ndarray], str], ...] = (
    ("the square of what is meant", np.square, "Take the square root at the end."),
    ("the square root of what is meant", np.sqrt, "Leave out the square root."),
    ("the exponential of what is meant", np.exp, "Take the logarithm at the end."),
    ("the logarithm of what is meant", np.log, "Leave out the logarithm, or apply `jnp.exp`."),
    ("the sign is lost", np.abs, "Look for an `abs`, or a square, that should not be there."),
    ("the reciprocal of what is meant", np.reciprocal, "Exchange numerator and denominator."),
    ("the complex conjugate of what is meant", np.conj, "Look for a `conj` too many or too few."),
    ("one minus what is meant: for booleans, `not` it", lambda x: 1 - x, "Look for `1 -`, or `~`."),
    ("cut to whole numbers", np.trunc, "Look for an integer dtype that numbers are stored in."),
    ("rounded to whole numbers", np.round, "Look for a rounding that should not be there."),
)  # fmt: skip


def transformed(pairs: Sequence[Pair]) -> Cause | None:
    """An elementary function too many or too few."""
    for diagnosis, function, mend in TRANSFORMS:
        if all(_is_transformed(p, function) for p in _wrong(pairs)):
            return Cause(diagnosis, mend)
    return None


def _is_transformed(pair: Pair, function: Callable[[np.ndarray], np.ndarray]) -> bool:
    with np.errstate(all="ignore"):
        try:
            changed = function(pair.expected)
        except TypeError:  # NumPy rounds no complex numbers
            return False
        return near(pair.got, changed) and not near(pair.got, pair.expected)


def offset(pairs: Sequence[Pair]) -> Cause | None:
    wrong = _wrong(pairs)
    offsets = [_offset(pair) for pair in wrong]
    if any(shift is None for shift in offsets) or max(p.got.size for p in wrong) < 2:
        return None
    same = np.allclose([float(s or 0) for s in offsets], float(offsets[0] or 0), rtol=NEAR)
    amount = f" {describe.number(float(offsets[0] or 0))}" if same else ""
    return Cause(
        f"off by a constant{amount}: every number of the result is shifted alike",
        "Look for a term that is added, or left out, in every element.",
    )


def _offset(pair: Pair) -> float | None:
    with np.errstate(all="ignore"):
        difference = pair.got - pair.expected
    if not difference.size or not np.isfinite(difference).all():
        return None
    if np.iscomplexobj(difference):
        return None
    shift = float(difference.mean())
    spread = np.abs(difference - shift).max()
    return shift if spread <= 1e-3 * abs(shift) else None


def imprecise(pairs: Sequence[Pair]) -> Cause | None:
    if all(near(p.got, p.expected, 0.02) for p in pairs):
        return Cause(
            "precision is lost: the numbers are close, and not close enough",
            "Look for a difference of nearly equal numbers, a long running sum, a step that is "
            "too large, or a cast to a narrower dtype.",
        )
    return None


def constant(pairs: Sequence[Pair]) -> Cause | None:
    first = pairs[0].got
    varied = any(not np.array_equal(p.expected, pairs[0].expected) for p in pairs)
    alike = all(p.got.shape == first.shape and np.array_equal(p.got, first) for p in pairs)
    if len(pairs) > 1 and varied and alike:
        return Cause(
            "the same answer for every input",
            "Compute from the arguments, not from names outside the function.",
        )
    return None


def few_elements(pairs: Sequence[Pair]) -> Cause | None:
    """Right but for a few elements, named where there is one case to name them in."""
    wrong = _wrong(pairs)
    places = [np.argwhere(~p.right_elements) for p in wrong]
    if any(p.got.size < 2 or 2 * len(at) > p.got.size for p, at in zip(wrong, places, strict=True)):
        return None
    shown = ", ".join(describe.dimensions(at) for at in places[0][:3])
    return Cause(
        f"right except at {shown}" + (" and others" if len(places[0]) > 3 else ""),
        "Look at what is special there: the first or last element, a tie, a zero, a negative "
        "number.",
    )


def some_inputs(pairs: Sequence[Pair]) -> Cause | None:
    right = sum(pair.right for pair in pairs)
    if 0 < right < len(pairs):
        return Cause(
            f"right on some inputs ({right} of {len(pairs)}) and wrong on others",
            "Compare the input shown here with one that works: its size, its signs, its range.",
        )
    return None


def _unexplained() -> Cause:
    return Cause(
        "the numbers are not the ones that are meant",
        "Work the input shown here out by hand, or in NumPy, and compare step by step.",
    )


READERS: tuple[Reader, ...] = (
    not_finite, all_zeros, imprecise, unchanged, factor, transposed, reversed_order, transformed,
    constant, offset, few_elements, some_inputs,
)  # fmt: skip
