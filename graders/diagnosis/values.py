"""What is wrong with numbers of the right shape, inferred from the numbers alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from graders.card.failure import Cause
from graders.diagnosis.evidence import (
    ENOUGH,
    NEAR,
    Pair,
    changed,
    distinct,
    enough,
    near,
    right,
    shapes,
    sizes,
    wrong,
)
from graders.values import describe

SAME = 1e-5  # what is left of a float64 number in float32
Reader = Callable[[Sequence[Pair]], Cause | None]


def cause_of(pairs: Sequence[Pair], mistakes: dict[str, Callable[..., Any]] | None = None) -> Cause:
    """The cause that explains every wrong pair, or the plain statement that numbers differ.

    `mistakes` maps a diagnosis to the function that makes that mistake; such a candidate is
    preferred where its numbers are the ones that came.
    """
    if not pairs:
        return Cause("wrong values: no known mistake matches", _BY_HAND)
    found = (cause for read in READERS if (cause := read(pairs)))
    return _named(pairs, mistakes or {}) or next(found, _unexplained(pairs))


def _named(pairs: Sequence[Pair], mistakes: dict[str, Callable[..., Any]]) -> Cause | None:
    for diagnosis, mistaken in mistakes.items():
        if all(_is_what_came(pair, mistaken) for pair in pairs):
            return Cause(diagnosis, "")  # the author's words say what to change
    return None


def _is_what_came(pair: Pair, mistaken: Callable[..., Any]) -> bool:
    with np.errstate(all="ignore"):
        try:
            candidate = np.asarray(mistaken(*pair.args), np.float64)
        except Exception:  # a candidate need not be defined on every case
            return False
    return candidate.shape == pair.got.shape and near(pair.got, candidate)


def not_finite(pairs: Sequence[Pair]) -> Cause | None:
    """Judged on the first wrong case alone: it is the one that the card shows."""
    shown = wrong(pairs)[0]
    if (np.isnan(shown.got) & ~np.isnan(shown.expected)).any():
        return Cause(
            "NaN instead of a number" + ("" if np.isnan(shown.got).all() else ", in places"),
            "Look for 0/0, inf/inf, inf - inf, 0 * inf, 0 * NaN, the log or the root of a negative "
            "number, a division by an empty count, or a NaN of the input that is let through. "
            "Correct the input of that operation, not only its result.",
        )
    if (np.isinf(shown.got) & np.isfinite(shown.expected)).any():
        return _infinite(pairs)
    if (np.isfinite(shown.got) & np.isnan(shown.expected)).any():
        return Cause(
            "a number instead of NaN",
            "Find out what the exercise asks of this edge case.",
        )
    return None


def _infinite(pairs: Sequence[Pair]) -> Cause:
    """An overflow is the cause only where no right answer is infinite."""
    if any(np.isinf(pair.expected).any() for pair in pairs):
        return Cause(
            "infinite instead of a finite number",
            "Find out at which inputs the exercise asks for an infinite number, and at which not.",
        )
    return Cause(
        "infinite instead of a number: an intermediate value overflows, or is divided by zero",
        "Rewrite the formula so that large parts cancel before `exp`, or guard the divisor.",
    )


def all_zeros(pairs: Sequence[Pair]) -> Cause | None:
    """Only where several inputs give it, and where zero is no ordinary result."""
    expected = np.concatenate([p.expected.ravel() for p in pairs])
    if not enough([expected]) or np.mean(expected == 0) > 0.25 or len(wrong(pairs)) < 2:
        return None
    if any(p.got.any() or not p.got.size for p in pairs):
        return None
    return Cause(
        "all zeros, instead of other numbers",
        "Look for a result that was computed and dropped (`x.at[...]` returns a new array), "
        "for integer division, or for a `stop_gradient`.",
    )


def imprecise(pairs: Sequence[Pair]) -> Cause | None:
    """Errors that look like rounding: no larger than bfloat16 makes them, and up and down."""
    bad = wrong(pairs)
    if any(p.kind != "f" or not np.isfinite([p.got, p.expected]).all() for p in bad):
        return None
    scaled = [(p, float(np.abs(p.expected).max(initial=0.0))) for p in bad]
    if not all(scale and _rounded(p, scale) for p, scale in scaled):
        return None
    errors = np.concatenate([((p.got - p.expected) / scale).ravel() for p, scale in scaled])
    heights = np.concatenate([p.expected.ravel() for p in bad])
    off = np.abs(errors) > 1e-6
    if not enough([errors[off]]) or off.mean() < 0.25:
        return None
    # A wrong formula errs smoothly: in the order of what is expected, the sign seldom changes.
    signs = np.sign(errors[off][np.argsort(heights[off], kind="stable")])
    if np.count_nonzero(np.diff(signs)) < max(2, len(signs) / 8):
        return None
    return Cause(
        "precision is lost: the numbers are close, and not close enough",
        "Look for a difference of nearly equal numbers, a long running sum, a step that is "
        "too large, or a cast to a narrower dtype.",
    )


def _rounded(pair: Pair, scale: float) -> bool:
    """bfloat16 has 8 bits: a number is off by 2**-9 of itself, and a sum by some of its terms'."""
    bound = 2.0**-8 * (np.abs(pair.expected) + scale)
    return bool((np.abs(pair.got - pair.expected) <= bound).all())


def unchanged(pairs: Sequence[Pair]) -> Cause | None:
    if not enough(p.got[~p.right_elements] for p in wrong(pairs)):
        return None
    if all(any(_same_as(p.got, leaf) for leaf in jax.tree.leaves(p.args)) for p in pairs):
        return Cause(
            "the input came back unchanged",
            "Return what was computed, and not the argument. An update of a JAX array gives a new "
            "array: bind it (`x = x.at[i].set(v)`).",
        )
    return None


def _same_as(got: np.ndarray, leaf: Any) -> bool:
    if np.shape(leaf) != got.shape or not hasattr(leaf, "dtype"):
        return False
    array = np.asarray(leaf)
    return array.dtype.kind in "biuf" and near(got, array.astype(np.float64), SAME)


def formula(pairs: Sequence[Pair]) -> Cause | None:
    """One formula makes what came of what is expected; none is named where two of them do.

    A formula without a free number is better than one with a number that is read off the cases.
    """
    fitting = [*sum_or_mean(pairs), *moved(pairs), *transformed(pairs)]
    fitting = fitting or [cause for read in (factor, offset) if (cause := read(pairs))]
    return fitting[0] if len(fitting) == 1 else None


def factor(pairs: Sequence[Pair]) -> Cause | None:
    """One factor a case turns what is expected into what came."""
    known = _factors(pairs)
    if not known:
        return None
    bad, fine = wrong(pairs), [p for p in right(pairs) if p.expected.any()]
    if np.allclose(known, known[0], rtol=NEAR):
        if fine or not enough(p.expected for p in bad):
            return None
        if abs(known[0] + 1) < NEAR:
            return Cause(
                "the sign is flipped", "Check the order of the difference, or a lost minus."
            )
        return _constant_factor(known[0], bad)
    if not _outnumbered(bad) or not all(map(_has_unit_axis, fine)):
        return None
    return Cause(
        "a factor that changes with the input",
        "Check what the result is divided by, and over which axis.",
    )


def _constant_factor(known: float, bad: Sequence[Pair]) -> Cause:
    """A factor is constant if the sizes vary, and no power of a size gives it in every case."""
    number = describe.number(known)
    powers = [[abs(known) ** power] * len(bad) for power in (1, -1, 2, -2)]
    if not _sizes_vary(bad) or any(_follow_sizes(factors, bad) for factors in powers):
        return Cause(
            f"every number is {number} times the expected value",
            "Look for a factor that is lost or counted twice. It may be a number of the formula, "
            "or a size of the input.",
        )
    return Cause(
        f"a constant factor of {number} too much",
        "Look for a factor that is lost or counted twice, as the 2 of a square's derivative.",
    )


def _sizes_vary(pairs: Sequence[Pair]) -> bool:
    """Whether the cases have arrays of several shapes, or scalars only."""
    found = {tuple(shapes(pair.args)) for pair in pairs}
    return len(found) > 1 or not any(map(any, found))


def _factors(pairs: Sequence[Pair]) -> list[float]:
    """The factor of each wrong pair, or none at all."""
    factors = [_ratio(pair) for pair in wrong(pairs)]
    return [] if any(f is None for f in factors) else [float(f) for f in factors if f is not None]


def _outnumbered(bad: Sequence[Pair]) -> bool:
    """Whether there are numbers enough where one in each case is spent on fitting it."""
    counts = [distinct([p.expected]) for p in bad]
    return min(counts) >= 2 and sum(counts) - len(counts) >= ENOUGH - 1


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


def sum_or_mean(pairs: Sequence[Pair]) -> list[Cause]:
    """The factors are sizes, always those of the same axes, and the sizes differ.

    That a factor is a size is evidence itself: two scalars are enough if their sizes differ.
    """
    known = _factors(pairs)
    factors = len({round(f, 3) for f in known})
    if factors < 2 or distinct(p.expected for p in wrong(pairs)) + factors < ENOUGH:
        return []
    causes = []
    if _follow_sizes(known, pairs):
        causes.append(
            Cause(
                "a sum instead of the mean: every number is a size of x times too large",
                "Divide by the number of elements, or use `jnp.mean`.",
            )
        )
    if _follow_sizes([1 / f for f in known], pairs):
        causes.append(
            Cause(
                "a mean instead of the sum: every number is divided by a size of the input",
                "Leave out the division, or use `jnp.sum`.",
            )
        )
    return causes


def _follow_sizes(factors: Sequence[float], pairs: Sequence[Pair]) -> bool:
    """Whether one run of axes has every wrong case's factor as its size, and 1 in the right ones.

    A case whose right answer is zero says nothing.
    """
    asked = [*zip(factors, wrong(pairs), strict=True)]
    asked += [(1.0, pair) for pair in right(pairs) if pair.expected.any()]
    tables = [sizes(pair.args) for _, pair in asked]
    return any(
        all(table.get(key) and abs(f / table[key] - 1) < NEAR for table, (f, _) in fits)
        for key in tables[0]
        for fits in [list(zip(tables, asked, strict=True))]
    )


def moved(pairs: Sequence[Pair]) -> list[Cause]:
    """The right numbers in other places."""
    causes = []
    if _turned(pairs, lambda x: x.swapaxes(-1, -2), 2):
        causes.append(
            Cause(
                "transposed: rows and columns have changed places",
                "Check the order of the factors, or of the indices.",
            )
        )
    for axis in range(min(p.got.ndim for p in wrong(pairs))):
        if _turned(pairs, lambda x, axis=axis: np.flip(x, axis), axis + 1):
            causes.append(
                Cause(
                    f"reversed along axis {axis}",
                    "Check the direction of the order or of the loop.",
                )
            )
    return causes


def _turned(pairs: Sequence[Pair], turn: Callable[[np.ndarray], np.ndarray], ndim: int) -> bool:
    """Whether `turn` makes what came of what is expected, in the wrong cases and the right ones."""
    if any(p.got.ndim < ndim or not near(p.got, turn(p.expected)) for p in pairs):
        return False
    bad = wrong(pairs)
    return enough(p.expected[changed(p, turn(p.expected))] for p in bad)


TRANSFORMS: tuple[tuple[str, Callable[[np.ndarray], np.ndarray], str], ...] = (
    ("the square of the expected value", np.square, "Take the square root at the end."),
    ("the square root of the expected value", np.sqrt, "Leave out the square root."),
    ("the exponential of the expected value", np.exp, "Take the logarithm at the end."),
    ("the logarithm of the expected value", np.log, "Leave out the logarithm, or apply `jnp.exp`."),
    ("the sign is lost", np.abs, "Look for an `abs`, or a square, that should not be there."),
    ("the reciprocal of the expected value", np.reciprocal, "Exchange numerator and denominator."),
    ("the complex conjugate of the expected value", np.conj, "Look for a `conj` too many."),
    ("one minus the expected value", lambda x: 1 - x, "Look for `1 -` too many or too few."),
    ("cut to whole numbers", np.trunc, "Look for an integer dtype that numbers are stored in."),
    ("rounded to whole numbers", np.round, "Look for a rounding that should not be there."),
)  # fmt: skip


def transformed(pairs: Sequence[Pair]) -> list[Cause]:
    """An elementary function too many or too few."""
    if all(p.kind == "b" for p in pairs):
        return _negated(pairs)
    return [Cause(says, mend) for says, function, mend in TRANSFORMS if _fits(pairs, function)]


def _negated(pairs: Sequence[Pair]) -> list[Cause]:
    """Every boolean of every case is another: eight are not so by chance, if both kinds occur."""
    meant = np.concatenate([p.expected.ravel() for p in pairs])
    every = not any(p.right_elements.any() for p in pairs)
    if every and meant.size >= 2 * ENOUGH and 0 < meant.sum() < meant.size:
        return [Cause("every boolean is negated", "Look for a `~`, or a comparison turned round.")]
    return []


def _fits(pairs: Sequence[Pair], function: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Whether `function` explains every case, and changes numbers enough into different ones."""
    with np.errstate(all="ignore"):
        try:
            made = [function(pair.expected) for pair in pairs]
        except TypeError:  # NumPy rounds no complex numbers
            return False
    if not all(near(pair.got, other) for pair, other in zip(pairs, made, strict=True)):
        return False
    both = [(p, other, changed(p, other)) for p, other in zip(pairs, made, strict=True)]
    kept = function is not np.abs or any((p.expected > 0).any() for p in pairs)
    return (
        kept  # where every number is negative, a lost sign is a flipped one
        and enough(p.expected[where] for p, _, where in both)
        and distinct(other[where] for _, other, where in both) >= 2
    )


def offset(pairs: Sequence[Pair]) -> Cause | None:
    bad = wrong(pairs)
    offsets = [_offset(pair) for pair in bad]
    if right(pairs) or any(shift is None for shift in offsets):
        return None
    known = [float(shift) for shift in offsets if shift is not None]
    same = np.allclose(known, known[0], rtol=NEAR)
    if not (enough(p.expected for p in bad) if same else _outnumbered(bad)):
        return None
    if same and not _sizes_vary(bad):
        size = "large" if known[0] > 0 else "small"
        return Cause(
            f"every number is {describe.number(abs(known[0]))} too {size}",
            "Look for a term that is added, or left out, in every element. It may depend on a size "
            "of the input.",
        )
    amount = f" {describe.number(known[0])}" if same else ""
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


def constant(pairs: Sequence[Pair]) -> Cause | None:
    """Several numbers that stay where they should change, or one in as many cases."""
    first = pairs[0].got
    if not all(p.got.shape == first.shape and np.array_equal(p.got, first) for p in pairs):
        return None
    meant = {p.expected.tobytes() for p in pairs}
    if len(meant) >= ENOUGH or (len(meant) >= 2 and enough([first])):
        return Cause(
            "the same answer for every input",
            "Compute from the arguments, not from names outside the function.",
        )
    return None


def few_elements(pairs: Sequence[Pair]) -> Cause | None:
    """Right but for a few elements, named where there is one case to name them in."""
    bad = wrong(pairs)
    places = [np.argwhere(~p.right_elements) for p in bad]
    many = any(2 * len(at) > p.got.size for p, at in zip(bad, places, strict=True))
    if many or bad[0].got.size < 3:
        return None
    shown = ", ".join(describe.dimensions(at) for at in places[0][:3])
    return Cause(
        f"right except at {shown}" + (" and others" if len(places[0]) > 3 else ""),
        "Look at what is special there: the first or last element, a tie, a zero, a negative "
        "number.",
    )


def some_inputs(pairs: Sequence[Pair]) -> Cause | None:
    fine = len(right(pairs))
    if 0 < fine < len(pairs):
        return Cause(
            f"right on some inputs ({fine} of {len(pairs)}) and wrong on others",
            "Compare the input shown here with one that works: its size, its signs, its range.",
        )
    return None


_BY_HAND = "Work the input shown here out by hand, or in NumPy, and compare step by step."


def _unexplained(pairs: Sequence[Pair]) -> Cause:
    """The plainest fact: which element is the first that differs. The card has the numbers."""
    bad = wrong(pairs)
    if not bad or not bad[0].got.ndim:
        return Cause("wrong values: no known mistake matches", _BY_HAND)
    first = [int(index) for index in np.argwhere(~bad[0].right_elements)[0]]
    return Cause(f"wrong values, the first at {first}: no known mistake matches", _BY_HAND)


READERS: tuple[Reader, ...] = (
    not_finite, all_zeros, imprecise, unchanged, constant, formula, few_elements, some_inputs,
)  # fmt: skip
