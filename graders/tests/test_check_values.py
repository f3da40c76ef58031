"""check_values: agreement with an oracle, and a cause for each usual mistake."""

from collections import namedtuple
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graders import CheckFailed, check_values, integers, sweep
from graders.card import draw
from graders.card.sheet import Sheet, turned_to
from graders.seam.place import execute
from graders.tests.failing import failure

CASES = sweep("rows columns")
Pair = namedtuple("Pair", "value slope")


def row_means(x: np.ndarray) -> np.ndarray:
    return x.mean(axis=1)


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("f", "oracle"),
    [
        (lambda x: x.mean(axis=1), row_means),
        (jax.jit(lambda x: x.sum(axis=1) / x.shape[1]), row_means),
        (lambda x: np.asarray(x).mean(axis=1), row_means),
        (jax.nn.softmax, softmax),
        (lambda x: x > 0, lambda x: x > 0),
        (lambda x: x.argmax(), lambda x: int(x.argmax())),
        (lambda x: jnp.fft.fft(x), lambda x: np.fft.fft(x)),
        (lambda x: {"m": x.mean(1), "n": (x, None)}, lambda x: {"n": (x, None), "m": x.mean(1)}),
        (lambda x: Pair(x, x), lambda x: (x, x)),
        (lambda x: x / 0, lambda x: np.divide(x, 0, where=False, out=np.full_like(x, np.inf) * x)),
    ],
    ids=[
        *("jnp", "jitted", "numpy", "softmax", "bool", "index", "complex", "pytree"),
        *("namedtuple", "infinite"),
    ],
)
def test_a_right_function_passes(f: Callable, oracle: Callable) -> None:
    with np.errstate(all="ignore"):
        check_values(f, oracle, CASES)


def test_expected_values_may_be_listed() -> None:
    check_values(lambda x: 2 * x, [2.0, 6.0], [(jnp.float32(1),), (3.0,)])
    failed = failure(check_values, lambda x: 2 * x, [2.0, 5.0], [(jnp.float32(1),), (3.0,)])
    assert (failed.expected, failed.got) == ("5", "6")


def test_keys_are_compared_by_their_words() -> None:
    key = jax.random.key(3)
    check_values(lambda k: jax.random.split(k)[0], lambda k: jax.random.split(k)[0], [(key,)])
    failed = failure(check_values, lambda k: k, lambda k: jax.random.split(k)[0], [(key,)])
    assert failed.diagnosis == "wrong values, the first at [0]: no known mistake matches"


MISTAKES = {
    "sum": (lambda x: x.sum(axis=1), "a sum instead of the mean"),
    "minus": (lambda x: -x.mean(axis=1), "the sign is flipped"),
    "twice": (lambda x: 2 * x.mean(axis=1), "a constant factor of 2"),
    "shifted": (lambda x: x.mean(axis=1) + 1, "off by a constant 1"),
    "absolute": (lambda x: jnp.abs(x.mean(axis=1)), "the sign is lost"),
    "squared": (lambda x: jnp.square(x.mean(axis=1)), "the square of the expected value"),
    "exponential": (lambda x: jnp.exp(x.mean(axis=1)), "the exponential of the expected value"),
    "logarithm": (lambda x: jnp.log(x.mean(axis=1)), "NaN instead of a number"),
    "reciprocal": (lambda x: 1 / x.mean(axis=1), "the reciprocal of the expected value"),
    "bfloat16": (lambda x: x.astype(jnp.bfloat16).mean(axis=1), "precision is lost"),
    "0/0": (lambda x: x.mean(axis=1) * jnp.nan, "NaN instead of a number"),
    "overflow": (lambda x: jnp.exp(1e4 * jnp.abs(x)).mean(axis=1), "infinite instead of a number"),
    "dropped result": (lambda x: jnp.zeros(len(x)).at[:].add(0), "all zeros"),
    "reversed": (lambda x: x.mean(axis=1)[::-1], "reversed along axis 0"),
    "last element": (lambda x: x.mean(axis=1).at[-1].set(9.0), "right except at"),
    "wrong axis": (lambda x: x.mean(axis=0), "another axis was reduced"),
    "all axes": (lambda x: x.mean(), "an axis is missing"),
    "keepdims": (lambda x: x.mean(axis=1, keepdims=True), "an axis of size 1 is left over"),
    "integers": (lambda x: x.mean(axis=1).astype(int), "integers instead of floats"),
    "list": (lambda x: [row.mean() for row in x], "a list instead of one array"),
    "only square": (
        lambda x: x.mean(axis=1) * (1 + (x.shape[0] > x.shape[1])),
        "right on some inputs",
    ),
    "nothing": (lambda x: x.mean(axis=1) and None, "asks a whole array whether it is true"),
    "other column": (lambda x: x[:, 0], "wrong values, the first at [0]: no known mistake"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_function_is_named(name: str) -> None:
    f, says = MISTAKES[name]
    failed = failure(check_values, f, row_means, CASES)
    assert says in failed.diagnosis
    assert failed.at.startswith("x = ")


def test_the_words_of_wrong_values() -> None:
    failed = failure(check_values, lambda x, n: x / n, lambda x, n: x, [(np.ones(3), 4)])
    assert failed.requirement == "returns the right values"
    assert (failed.expected, failed.got) == ("[1, 1, 1]", "[0.25, 0.25, 0.25]")
    assert failed.at == "x = [1, 1, 1], n = 4"
    assert failed.diagnosis == "wrong values, the first at [0]: no known mistake matches"


def test_the_first_wrong_element_of_a_large_array_is_shown() -> None:
    x = np.arange(60.0).reshape(6, 10)
    failed = failure(check_values, lambda x: x.at[3, 4].set(-1), lambda x: x, [(x,)])
    assert failed.expected.endswith("; at [3, 4]: 34")
    assert failed.got.endswith("; at [3, 4]: -1")
    assert failed.diagnosis == "right except at (3, 4)"


def test_a_large_array_is_judged_at_once() -> None:
    x = np.ones(1_000_000, np.float32)
    assert failure(check_values, lambda x: x.at[-1].set(2), lambda x: x, [(x,)]).got


OTHERS = {
    "unchanged": (lambda x: x, lambda x: 2 * x + 1, "the input came back unchanged"),
    "product the other way": (
        lambda x: (x @ x.T) * jnp.arange(len(x)),
        lambda x: (x @ x.T) * np.arange(len(x))[:, None],
        "transposed",
    ),
    "transposed shape": (lambda x: x.T, lambda x: x, "the axes are transposed"),
    "mean for the sum": (lambda x: x.mean(), lambda x: x.sum(), "a mean instead of the sum"),
    "a number for NaN": (
        lambda x: x * 0,
        lambda x: np.full_like(x, np.nan),
        "a number instead of NaN",
    ),
    "not": (lambda x: x <= 0, lambda x: x > 0, "every boolean is negated"),
    "0 and 1": (lambda x: 1 * (x > 0), lambda x: x > 0, "integers instead of booleans"),
    "off by one": (lambda x: x.argmax(1) + 1, lambda x: x.argmax(1), "off by a constant 1"),
    "conjugate": (
        lambda x: jnp.conj(jnp.fft.fft(x)),
        lambda x: np.fft.fft(x),
        "the complex conjugate of the expected value",
    ),
    "real part": (lambda x: jnp.fft.fft(x).real, np.fft.fft, "floats instead of complex numbers"),
    "same answer": (
        lambda x: jnp.arange(5.0),
        lambda x: x.sum() * np.arange(5),
        "the same answer for every",
    ),
    "exchanged": (
        lambda x: (x.sum(), 2 * x),
        lambda x: (2 * x, x.sum()),
        "[0] holds what is expected at [1]",
    ),
    "missing key": (lambda x: {"a": x}, lambda x: {"a": x, "b": x}, "the key 'b' is missing"),
    "list for a tuple": (lambda x: [x, x], lambda x: (x, x), "a list instead of a tuple"),
    "array for None": (lambda x: (x, x), lambda x: (x, None), "a JAX array instead of None"),
    "string": (lambda x: "x", lambda x: x, "a string instead of one array"),
    "word": (lambda x: {"a": "x"}, lambda x: {"a": "y"}, "'x' instead of 'y'"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_wrong_result_is_named(name: str) -> None:
    f, oracle, says = OTHERS[name]
    assert says in failure(check_values, f, oracle, CASES).diagnosis


def test_nothing_is_broadcast() -> None:
    for got in (1.0, np.ones(1), np.ones((1, 4)), np.ones((4, 1)), np.ones((1, 1))):
        failure(check_values, lambda x, g=got: jnp.asarray(g), lambda x: np.ones(4), [(V,)])


V = np.ones(4, np.float32)


def test_named_candidates_come_first() -> None:
    says = {"the variance of a sample": lambda x: x.var(ddof=1), "never": lambda x: x}
    check = partial(check_values, mistakes=says)
    failed = failure(check, lambda x: x.var(ddof=1), lambda x: x.var(), CASES)
    assert failed.diagnosis == "the variance of a sample"


def test_candidates_serve_a_leaf_of_a_pytree() -> None:
    check = partial(check_values, mistakes={"the other mean": lambda x: {"m": (x + 3) ** 2}})
    failed = failure(check, lambda x: {"m": (x + 3) ** 2}, lambda x: {"m": x}, CASES)
    assert failed.diagnosis == "the other mean"


def test_candidates_that_fail_are_no_candidates() -> None:
    def breaks(*_: Any) -> Any:
        raise ValueError

    check = partial(check_values, mistakes={"never": breaks})
    assert failure(check, lambda x: -x, lambda x: x, CASES).diagnosis == "the sign is flipped"


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4], ids="{:g}".format)
def test_rounding_is_no_mistake(scale: float) -> None:
    cases = sweep("n n", scale=scale)
    check_values(lambda x: x * (1 + 3e-6), lambda x: x, cases)
    failure(check_values, lambda x: x * 1.01, lambda x: x, cases)


def test_integers_are_compared_exactly() -> None:
    cases = sweep(integers("n", 10**8, 10**8 + 9))
    check_values(lambda x: x, lambda x: x, cases)
    failure(check_values, lambda x: x + 1, lambda x: x, cases)


def test_an_error_is_told_with_its_line_and_its_input() -> None:
    cell = {"jnp": jnp}
    execute("def add(x):\n    return x + jnp.ones(x.shape[0] + 7)\n", "<a cell>", cell)
    failed = failure(check_values, cell["add"], lambda x: x, CASES)
    assert "two shapes that do not broadcast against each other" in failed.diagnosis
    assert failed.line == "return x + jnp.ones(x.shape[0] + 7)"
    assert failed.got == "an exception, ValueError"
    assert failed.at.startswith("x = [[")


@pytest.mark.parametrize("scalar", [np.float32(2.0), jnp.bfloat16(2.0), np.ones((), np.float16)])
def test_oracles_get_floats_as_float64(scalar: Any) -> None:
    def difference(x):
        assert x.dtype == np.float64
        return (np.square(x + 1e-6) - np.square(x)) / 1e-6

    check_values(jax.grad(lambda x: x.astype(jnp.float32) ** 2), difference, [(scalar,)], rtol=1e-2)


def test_the_card_has_one_tolerance_for_what_is_wrong() -> None:
    """An element off by little, and one off by much, are both wrong wherever they are counted."""

    def answer(x: jax.Array) -> jax.Array:
        return x.at[0, 0].mul(1.0005).at[3, 3].add(7.0)

    failed = failure(check_values, answer, lambda x: x, [(np.ones((4, 4), np.float32),)])
    assert failed.diagnosis == "right except at (0, 0), (3, 3)"
    page = Sheet([])
    with turned_to(page), pytest.raises(CheckFailed):
        check_values(answer, lambda x: x, [(np.ones((4, 4), np.float32),)])
    assert "2 of 16 elements are wrong" in draw.html(page.outcome)


def test_a_mistake_is_named_only_if_it_explains_every_leaf() -> None:
    def frozen(x):
        return {"first": x, "last": 2 * x}

    def neither(x):
        return {"first": x, "last": 0.5 * x}

    cases = sweep("n", count=2)
    oracle = {"mistakes": {"nothing is trained": lambda x: {"first": x, "last": x}}}
    for answer, named in ((lambda x: {"first": x, "last": x}, True), (neither, False)):
        found = failure(
            check_values, answer, lambda x: {"first": 2 * x, "last": 2 * x}, cases, **oracle
        )
        assert (found.diagnosis == "nothing is trained") is named
    check_values(frozen, lambda x: {"first": x, "last": 2 * x}, cases)


def test_a_leaf_of_rounding_errors_hides_no_mistake_elsewhere() -> None:
    def oracle(x: np.ndarray, factor: float = 1.0) -> dict:
        return {"noise": np.full(3, 1e-9), "sum": factor * x.sum(axis=1)}

    def answer(x: jax.Array) -> dict:
        return {"noise": jnp.full(3, 7e-9), "sum": 2.5 * x.sum(axis=1)}

    check = partial(
        check_values, mistakes={"the bug": partial(oracle, factor=2.5)}, rtol=1e-3, atol=1e-4
    )
    assert failure(check, answer, oracle, sweep("rows 4")).diagnosis == "the bug"
