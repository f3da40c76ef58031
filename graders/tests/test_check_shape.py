"""check_shape and check_dtype: right functions pass, and each wrong one is told what is wrong."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graders import check_dtype, check_shape
from graders.diagnosis import shape
from graders.tests.failing import failure

X = np.arange(12.0, dtype=np.float32).reshape(4, 3)
V = np.ones(4, np.float32)


@pytest.mark.parametrize(
    ("f", "returns"),
    [
        (lambda x: x.mean(axis=1), "n"),
        (lambda x: x.mean(), ""),
        (lambda x: x.T @ x, "3 3"),
        (lambda x: (x, x.sum()), ("n m", "")),
        (lambda x: {"w": x, "b": [x[0]]}, {"w": "n m", "b": ["m"]}),
        (jax.jit(lambda x: x.reshape(2, 6)), "2 6"),
    ],
    ids=["vector", "scalar", "sizes", "tuple", "pytree", "jitted"],
)
def test_a_right_shape_passes(f: Callable, returns: object) -> None:
    check_shape(f, X, returns=returns, n=4, m=3)


SHAPES = {
    "mean over everything": (lambda x: x.mean(), "an axis is missing"),
    "mean over the other axis": (
        lambda x: x.mean(axis=0),
        "another axis was reduced: axis 0 of argument 'x' is gone, and axis 1 should be",
    ),
    "first axis kept": (
        lambda x: x.mean(axis=1)[None],
        "an axis of size 1 is left over",
    ),
    "keepdims": (lambda x: x.mean(axis=1, keepdims=True), "an axis of size 1 is left over"),
    "column against row": (
        lambda x: x.mean(axis=1)[:, None] - x.mean(axis=1),
        "two arrays were broadcast against each other",
    ),
    "NumPy": (lambda x: np.asarray(x).mean(axis=1), "a NumPy array instead of a JAX array"),
    "list of scalars": (
        lambda x: [row.mean() for row in x],
        "a list instead of a JAX array",
    ),
    "Python number": (lambda x: x.sum().item(), "a Python number instead of a JAX array"),
    "loss and state": (lambda x: (x.mean(axis=1), None), "a tuple instead of a JAX array"),
    "not called": (
        lambda x: jax.grad(lambda y: y.sum()),
        "a function was returned instead of a JAX array: it was not called",
    ),
    "no return": (lambda x: None, "nothing was returned"),
    "the placeholder": (lambda x: ..., "the placeholder `...` instead of a JAX array"),
}


RESHAPED = {
    "raveled": ((12,), (4, 3), "the result was reshaped"),
    "regrouped": ((4, 2), (2, 2, 2), "the result was reshaped"),
    "reduced": ((4,), (4, 3), "an axis is missing that should stay: axis 1, of size 3"),
    "reduced twice": ((), (4, 3), "axes are missing"),
    "one too few, and of another size": ((5,), (4, 3), "the shape is not the expected one"),
}


@pytest.mark.parametrize("name", RESHAPED)
def test_an_axis_was_summed_away_only_where_its_size_is_gone(name: str) -> None:
    got, expected, says = RESHAPED[name]
    assert shape.shape(got, expected).diagnosis.startswith(says)


@pytest.mark.parametrize("name", SHAPES)
def test_a_wrong_shape_is_named(name: str) -> None:
    f, says = SHAPES[name]
    failed = failure(check_shape, f, X, returns="n", n=4)
    assert says in failed.diagnosis
    assert failed.at.startswith("x = [[0, 1, 2], [3, 4, 5]")


def test_the_words_of_a_wrong_shape() -> None:
    failed = failure(check_shape, lambda x, w: x.T, X, V, returns="n m", n=4, m=3)
    assert failed.requirement == "returns the right shape"
    assert failed.diagnosis == "the axes are transposed"
    assert failed.expected == "shape (n, m) = (4, 3)"
    assert failed.got == "shape (3, 4)"
    assert failed.at.endswith("w = [1, 1, 1, 1]")
    assert ".T" in failed.next_step


def test_a_lost_axis_of_size_1() -> None:
    failed = failure(check_shape, lambda x: x[:, 0], X, returns="4 1")
    assert failed.diagnosis == "an axis is missing"
    assert "keepdims=True" in failed.next_step


def test_the_shape_of_another_argument() -> None:
    failed = failure(check_shape, lambda x, target: target, X, V, returns="m m", m=3)
    assert failed.diagnosis == "the result has the shape of argument 'target'"


PYTREES = {
    "missing key": (lambda x: {"w": x}, "the key 'b' is missing"),
    "superfluous key": (lambda x: {"w": x, "b": V, "c": V}, "the key 'c' is one too many"),
    "tuple for a dict": (lambda x: (x, V), "a tuple instead of a dict"),
    "array for a dict": (lambda x: x, "a JAX array instead of a dict"),
    "wrong leaf": (lambda x: {"w": x.T, "b": x[:, 0]}, "the axes are transposed"),
}


@pytest.mark.parametrize("name", PYTREES)
def test_a_wrong_pytree_is_named(name: str) -> None:
    f, says = PYTREES[name]
    failed = failure(check_shape, f, X, returns={"w": "n m", "b": "n"}, n=4, m=3)
    assert says in failed.diagnosis


def test_the_path_of_a_wrong_leaf_is_shown() -> None:
    failed = failure(check_shape, lambda x: {"b": [x]}, X, returns={"b": ["m"]}, m=3)
    assert failed.expected == "['b'][0]: shape (m,) = (3,)"
    assert failed.got == "['b'][0]: shape (4, 3)"


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (lambda x: [x, x], "a list instead of a tuple"),
        (lambda x: (x,), "a structure of 1 instead of one of 2"),
        (lambda x: (x, x, x), "a structure of 3 instead of one of 2"),
    ],
    ids=["list", "too short", "too long"],
)
def test_a_wrong_tuple_is_named(f: Callable, says: str) -> None:
    assert says in failure(check_shape, f, X, returns=("n m", "n m"), n=4, m=3).diagnosis


def test_keyword_arguments_reach_the_answer() -> None:
    check_shape(lambda x, *, axis: x.sum(axis), X, returns="3", kwargs={"axis": 0})


@pytest.mark.parametrize(
    ("f", "returns"),
    [
        (lambda x: x / 2, "float32"),
        (lambda x: x.astype(jnp.bfloat16), "bfloat16"),
        (lambda x: x > 1, "bool"),
        (lambda x: {"a": x.argmax(), "b": x}, {"a": "int32", "b": "float32"}),
    ],
    ids=["float32", "bfloat16", "bool", "pytree"],
)
def test_a_right_dtype_passes(f: Callable, returns: object) -> None:
    check_dtype(f, X, returns=returns)


DTYPES = {
    "floor division": (lambda x: (x // 1).astype(int), "float32", "integers instead of floats"),
    "comparison": (lambda x: x > 0, "int32", "booleans instead of integers"),
    "float index": (lambda x: x * 1.0, "int32", "floats instead of integers"),
    "cast too late": (lambda x: x + 1, "bfloat16", "float32 instead of bfloat16"),
    "NumPy": (lambda x: np.asarray(x), "float32", "a NumPy array instead of a JAX array"),
    "unsigned": (lambda x: x.astype(jnp.uint8), "int32", "uint8 instead of int32"),
}


@pytest.mark.parametrize("name", DTYPES)
def test_a_wrong_dtype_is_named(name: str) -> None:
    f, returns, says = DTYPES[name]
    failed = failure(check_dtype, f, X, returns=returns)
    assert says in failed.diagnosis


def test_a_weak_type_is_named_where_it_matters() -> None:
    def two(x: jax.Array) -> jax.Array:
        return jnp.asarray(2.0)

    check_dtype(two, X, returns="float32")
    failed = failure(check_dtype, two, X, returns="float32", weak=False)
    assert "weakly typed" in failed.diagnosis
    assert "jnp.asarray(1.0, jnp.float32)" in failed.next_step
    check_dtype(lambda x: jnp.asarray(2.0, jnp.float32), X, returns="float32", weak=False)
