"""Diagnosis from numbers alone, on random arrays: named right, never a right answer rejected."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from graders import CheckFailed, check_values
from graders.diagnosis import values
from graders.diagnosis.values import Pair

seeds = st.integers(0, 2**32 - 1)
scales = st.sampled_from([1e-2, 1.0, 1e3])


def pair(args: tuple, expected: np.ndarray, got: np.ndarray) -> Pair:
    """A case that the check rejects, in the elements that differ by more than rounding."""
    with np.errstate(all="ignore"):
        right = np.isclose(got, expected, rtol=1e-4, equal_nan=True)
    return Pair(args, expected, got, right & False if right.all() else right)


def cases(seed: int, scale: float, ndim: int = 2) -> list[np.ndarray]:
    """Three arrays of different sizes, none of them 1, without zeros, halves or symmetry."""
    rng = np.random.default_rng(seed)
    sizes = rng.permutation(np.arange(2, 2 + 3 * ndim)).reshape(3, ndim)
    return [scale * (0.1 + rng.random(size)) * rng.choice([-1, 1], size) for size in sizes]


def said(wrong: Callable, right: Callable, inputs: list[np.ndarray]) -> str:
    """The diagnosis of `wrong` instead of `right`."""
    pairs = [pair((x,), np.asarray(right(x)), np.asarray(wrong(x))) for x in inputs]
    assume(not any(values.near(p.got, p.expected) for p in pairs))
    return values.cause_of(pairs).diagnosis


NAMED = {
    "sum for mean": (lambda x: x.sum(1), lambda x: x.mean(1), "sum instead of the mean"),
    "mean for sum": (lambda x: x.mean(0), lambda x: x.sum(0), "mean instead of the sum"),
    "mean of all": (lambda x: x.sum(), lambda x: x.mean(), "sum instead of the mean"),
    "flipped": (lambda x: -x.sum(1), lambda x: x.sum(1), "the sign is flipped"),
    "twice": (lambda x: 2 * x * x.sum(), lambda x: x * x.sum(), "a constant factor of 2 "),
    "half": (lambda x: 0.5 * x @ x.T, lambda x: x @ x.T, "a constant factor of 0.5 "),
    "shifted": (lambda x: x @ x.T + 7, lambda x: x @ x.T, "off by a constant 7"),
    "zeros": (lambda x: 0 * x, lambda x: x**3, "all zeros"),
    "unchanged": (lambda x: x, lambda x: x**3, "the input came back unchanged"),
    "absolute": (lambda x: np.abs(x**3), lambda x: x**3, "the sign is lost"),
    "NaN": (lambda x: x + np.nan, lambda x: x, "NaN instead of a number"),
    "some NaN": (lambda x: np.where(x == x.max(), np.nan, x), lambda x: x, "NaN instead of a"),
    "infinite": (lambda x: np.where(x == x.max(), np.inf, x), lambda x: x, "infinite instead of"),
    "finite": (lambda x: x, lambda x: np.where(x == x.max(), np.nan, x), "a number instead of NaN"),
    "squared": (lambda x: (x**3) ** 2, lambda x: x**3, "the square of the expected value"),
    "root": (lambda x: np.abs(x) ** 1.5, lambda x: np.abs(x) ** 3, "the square root of the"),
    "reciprocal": (lambda x: 1 / x**3, lambda x: x**3, "the reciprocal of the expected value"),
    "reversed rows": (lambda x: (x**3)[::-1], lambda x: x**3, "reversed along axis 0"),
    "reversed columns": (lambda x: (x**3)[:, ::-1], lambda x: x**3, "reversed along axis 1"),
    "one element": (
        lambda x: np.where(np.arange(x.size).reshape(x.shape) == 1, 5 * x**3 + 9, x**3),
        lambda x: x**3,
        "right except at (0, 1)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
@given(seed=seeds, scale=scales)
@settings(max_examples=40)
def test_a_usual_mistake_is_named(name: str, seed: int, scale: float) -> None:
    wrong, right, says = NAMED[name]
    if name == "one element":
        assume(scale == 1)  # 9 is nothing beside 1e9, and nothing else beside 1e-6
    if name == "shifted":
        assume(scale < 1e3)
    inputs = [x for x in cases(seed, scale) if x.size >= 4]
    assert says in said(wrong, right, inputs)


def scalars(*numbers: float) -> list[tuple]:
    return [(np.float64(x),) for x in numbers]


def asked(wrong: Callable, right: Callable, args: list[tuple], kind: str = "f") -> str:
    """The diagnosis of `wrong`, whichever elements are right."""
    pairs = []
    for case in args:
        expected, got = (np.asarray(f(*case), np.float64) for f in (right, wrong))
        with np.errstate(all="ignore"):
            fine = np.isclose(got, expected, rtol=1e-4, equal_nan=True)
        pairs.append(Pair(case, expected, got, fine, kind))
    return values.cause_of(pairs).diagnosis


ROW = np.array([0.3, -1.7, 2.6, 5.9, -4.4])
ROW_PAIR = np.stack([ROW, 3 - ROW**2])
COUNTS = np.array([3, 0, 1, 2, 0, 1])
FACTOR, PLAIN = "a constant factor of 2 too much", "no known mistake matches"
EVIDENCE = {
    "a factor of one scalar": (lambda x: 2 * x, np.abs, scalars(7.3), "f", PLAIN),
    "a factor of one number": (lambda x: 2 + 0 * x, lambda x: 1 + 0 * x, [(ROW,)], "f", PLAIN),
    "a factor at two sizes": (
        *(lambda x: 2.5 * x**3, lambda x: x**3, [(ROW,), (ROW[:3],)], "f"),
        "a constant factor of 2.5 too much",
    ),
    "a factor at one size": (
        *(lambda x: 2.5 * x**3, lambda x: x**3, [(ROW,)], "f"),
        "every number is 2.5 times the expected value",
    ),
    "a factor that is a size": (
        *(lambda x: len(x) * x**3, lambda x: x**3, [(ROW_PAIR,), (ROW_PAIR[:, :3],)], "f"),
        "every number is 2 times the expected value",
    ),
    "a factor that is the root of a size": (
        *(lambda x: x / 2**0.5, lambda x: x, [(ROW_PAIR,), (ROW_PAIR[:, :3],)], "f"),
        "every number is 0.70711 times the expected value",
    ),
    "a factor of four scalars": (
        *(lambda x: 2 * x**3, lambda x: x**3, scalars(1.2, 0.7, 3.1, 2), "f", FACTOR),
    ),
    "a factor that a right case contradicts": (
        *(lambda x: 2 * x**3 if x.size > 4 else x**3, lambda x: x**3, [(ROW,), (ROW[:3],)], "f"),
        "right on some inputs",
    ),
    "a factor of a count": (lambda x: 2 + 0 * x, lambda x: 1 + 0 * x, [(COUNTS,)], "i", PLAIN),
    "the sign of one scalar": (lambda x: -x * x, lambda x: x * x, scalars(0.1), "f", PLAIN),
    "an exponential of a boolean": (lambda x: x == x, lambda x: x != x, [(ROW,)], "b", PLAIN),
    "booleans negated": (
        *(lambda x: x <= 0, lambda x: x > 0, [(ROW,), (2 - ROW,)], "b", "every boolean is negated"),
    ),
    "an exponential of 0": (lambda x: 1, lambda x: 0, scalars(3, 5), "i", PLAIN),
    "one minus a number": (lambda x: 0.4, lambda x: 0.6, scalars(3), "f", PLAIN),
    "cut to zeros": (lambda x: 0 * x, lambda x: x / 9, [(ROW,)], "f", PLAIN),
    "cut": (lambda x: np.trunc(x), lambda x: x + 0, [(ROW,)], "f", "cut to whole numbers"),
    "a lost sign": (lambda x: abs(x**3), lambda x: x**3, [(np.append(ROW, -ROW),)], "f", "sign is"),
    "index 0": (lambda x: 0, lambda x: np.argmin(x), [(ROW,), (ROW[1:],)], "i", PLAIN),
    "zeros among zeros": (
        *(lambda x: 0 * x, lambda x: np.where(x > 2, x, 0), [(ROW,), (2 * ROW,)], "f"),
        "right except at",
    ),
    "zeros for one input": (lambda x: 0 * x, lambda x: x**3, [(ROW,)], "f", PLAIN),
    "zeros": (lambda x: 0 * x, lambda x: x**3, [(ROW,), (2 * ROW,)], "f", "all zeros"),
    "infinite, as another is": (
        *(lambda x: np.where(x < 1, np.inf, x), lambda x: np.where(x < 0, np.inf, x), [(ROW,)]),
        *("f", "infinite instead of a finite number"),
    ),
    "infinite": (
        *(lambda x: np.where(x < 1, np.inf, x), lambda x: x, [(ROW,)]),
        *("f", "an intermediate value overflows"),
    ),
    "the same in two cases": (lambda x: 3, lambda x: x, scalars(1, 2), "i", PLAIN),
    "the same in four": (lambda x: 9, lambda x: x, scalars(1, 2, 3, 4), "i", "the same answer"),
    "a sum of sizes that agree": (
        *(lambda x: x.sum(), lambda x: x.mean(), [(ROW,), (ROW[:3],)], "f"),
        "a sum instead of the mean",
    ),
    "half, and two columns": (
        *(lambda x: (x**2).sum() / 2, lambda x: (x**2).sum(), [(np.eye(3, 2),)], "f", PLAIN),
    ),
    "a few per cent": (lambda x: 1.02 * x**3 + 0.01, lambda x: x**3, [(ROW,)], "f", PLAIN),
    "up and down at random": (
        lambda x: x**3 * (1 + 0.003 * np.array([1, 1, 1, -1, 1])), lambda x: x**3, [(ROW,)], "f",
        "precision is lost",
    ),
    "up for small ones": (
        *(lambda x: x**2 * 1.0 + 0.01 - 0.001 * x**2, lambda x: x**2, [(ROW,)], "f", PLAIN),
    ),
    "too large by a little": (
        *(lambda x: x**2 + 0.001 * x**4, lambda x: x**2, [(ROW,), (ROW / 3,)], "f", PLAIN),
    ),
    "reversed counts": (
        *(lambda x: x[::-1], lambda x: x, [(np.array([1, 0, 2, 1]),)], "i", "right except at"),
    ),
    "transposed by two numbers": (
        *(lambda x: x.T * 1, lambda x: x * 1, [(np.array([[1.5, 2], [3, 4]]),)], "f", "except at"),
    ),
    "shifted scalars": (lambda x: x**2 + 7, lambda x: x**2, scalars(1.5, 2, 3), "f", PLAIN),
    "shifted at two sizes": (
        *(lambda x: x**2 + 7, lambda x: x**2, [(ROW,), (ROW[:3],)], "f", "off by a constant 7"),
    ),
    "shifted at one size": (
        *(lambda x: x**2 - 7, lambda x: x**2, [(ROW,)], "f", "every number is 7 too small"),
    ),
    "unchanged scalar": (lambda x: x, lambda x: x + x * x, scalars(1.5), "f", PLAIN),
}  # fmt: skip


@pytest.mark.parametrize("name", EVIDENCE)
def test_a_cause_is_named_only_on_evidence(name: str) -> None:
    wrong, right, args, kind, says = EVIDENCE[name]
    assert says in asked(wrong, right, args, kind)


def test_of_two_rivals_none_is_named() -> None:
    """Reversed along either axis, this array is the same: nothing tells which was meant."""
    x = np.array([[1.5, 2, 7, 8], [8, 7, 2, 1.5]])
    assert PLAIN in asked(lambda _: np.flip(x, 0), lambda _: x, [(ROW,)])
    y = x + np.arange(8).reshape(2, 4)
    assert "reversed along axis 0" in asked(lambda _: np.flip(y, 0), lambda _: y, [(ROW,)])


@given(seed=seeds, scale=scales)
def test_a_transposition_is_named(seed: int, scale: float) -> None:
    def product(x: np.ndarray) -> np.ndarray:
        return x @ x.T * np.arange(1, len(x) + 1)

    assert "transposed" in said(lambda x: product(x).T, product, cases(seed, scale))


@given(seed=seeds, factor=st.floats(-50, 50).filter(lambda f: min(abs(f), abs(f - 1)) > 0.05))
def test_a_factor_is_named_with_its_number(seed: int, factor: float) -> None:
    diagnosis = said(lambda x: factor * x**3, lambda x: x**3, cases(seed, 1.0))
    if abs(factor + 1) < 1e-3:
        assert diagnosis == "the sign is flipped"
    elif "sum where" not in diagnosis and "mean where" not in diagnosis:
        assert diagnosis == f"a constant factor of {factor:.5g} too much"


@given(seed=seeds, factor=st.integers(2, 9))
def test_a_constant_factor_is_no_sum_for_a_mean(seed: int, factor: int) -> None:
    """Unless it follows the sizes of the inputs, which are different in each case."""
    diagnosis = said(lambda x: factor * x**3, lambda x: x**3, cases(seed, 1.0))
    assert diagnosis.startswith(f"a constant factor of {factor} ")


@given(seed=seeds, scale=scales)
def test_rounding_to_bfloat16_is_lost_precision(seed: int, scale: float) -> None:
    def coarse(x: np.ndarray) -> np.ndarray:
        return np.asarray(jnp.asarray(x, jnp.bfloat16), np.float64)

    pairs = [pair((0,), x, coarse(x)) for x in cases(seed, scale)]
    assert "precision is lost" in values.cause_of(pairs).diagnosis


ANY = arrays.arrays(
    np.float64,
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    elements=st.floats(allow_nan=True, allow_infinity=True, width=32),
)


@given(expected=ANY, data=st.data())
def test_every_difference_has_a_cause(expected: np.ndarray, data: st.DataObject) -> None:
    """Infinite, NaN, empty, of no dimension: something is said, and no warning given."""
    got = data.draw(arrays.arrays(np.float64, expected.shape, elements=st.floats(width=32)))
    assume(expected.size)
    cause = values.cause_of([pair((expected,), expected, got)])
    assert cause.diagnosis
    assert cause.next_step


@given(value=ANY, seed=seeds)
@settings(max_examples=60)
def test_a_right_answer_is_never_rejected(value: np.ndarray, seed: int) -> None:
    """Neither is one that float32 has rounded a few times."""
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        noisy = (value * (1 + 3e-6 * rng.uniform(-1, 1, value.shape))).astype(np.float32)
    assume(np.isfinite(noisy).all() or np.array_equal(np.isfinite(noisy), np.isfinite(value)))
    check_values(lambda x: jnp.asarray(noisy), lambda x: value, [(0,)])


@given(
    value=arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=0, max_dims=2, max_side=4),
        elements=st.floats(-1000, 1000, width=32),
    ),
    data=st.data(),
)
@settings(max_examples=60)
def test_a_wrong_answer_is_never_accepted(value: np.ndarray, data: st.DataObject) -> None:
    """One element that is off by a thousandth of the largest is enough."""
    index = data.draw(st.integers(0, value.size - 1)) if value.size else assume(False)
    wrong = value.copy()
    wrong.flat[index] += 1e-3 * max(1.0, float(np.abs(value).max()))
    assume(not np.array_equal(wrong, value))
    with pytest.raises(CheckFailed):
        check_values(lambda x: jnp.asarray(wrong), lambda x: value.astype(np.float64), [(0,)])


@given(shape=arrays.array_shapes(min_dims=1, max_dims=3, max_side=3), data=st.data())
@settings(max_examples=60)
def test_nothing_is_broadcast(shape: tuple[int, ...], data: st.DataObject) -> None:
    """A result of ones is right in every element, and of another shape."""
    other = data.draw(arrays.array_shapes(min_dims=0, max_dims=4, max_side=3))
    assume(other != shape)
    with pytest.raises(CheckFailed):
        check_values(lambda x: jnp.ones(other), lambda x: np.ones(shape), [(0,)])


@pytest.mark.parametrize("axis", [0, 1, 2])
@given(seed=seeds)
@settings(max_examples=10)
def test_a_reversal_is_named_along_each_axis(axis: int, seed: int) -> None:
    diagnosis = said(lambda x: np.flip(x**3, axis), lambda x: x**3, cases(seed, 1.0, ndim=3))
    assert diagnosis == f"reversed along axis {axis}"


@given(seed=seeds)
@settings(max_examples=10)
def test_a_reversal_along_an_axis_that_one_case_has_not_is_none(seed: int) -> None:
    inputs = [cases(seed, 1.0, ndim=3)[0], cases(seed, 1.0, ndim=2)[1]]
    assert "reversed" not in said(lambda x: np.flip(x**3, -1), lambda x: x**3, inputs)
