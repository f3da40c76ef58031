"""sweep: seeded inputs of several sizes."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graders import integers, normal, sweep, uniform

Pair = namedtuple("Pair", "x y")
SPECS = ("batch features", {"w": "features units", "b": ["units"]}, integers("batch", 0, 5), 0.1)


def shapes(cases: list) -> list:
    return [jax.tree.map(np.shape, case) for case in cases]


def test_the_same_seed_gives_the_same_cases() -> None:
    one, other = sweep(*SPECS, seed=3), sweep(*SPECS, seed=3)
    assert jax.tree.all(jax.tree.map(np.array_equal, one, other))
    assert not np.array_equal(sweep("5", seed=0)[0][0], sweep("5", seed=1)[0][0])


@given(seed=st.integers(0, 2**32 - 1))
def test_names_keep_their_size_in_a_case_and_differ_from_each_other(seed: int) -> None:
    for x, params, labels, rate in sweep(*SPECS, seed=seed):
        batch, features = x.shape
        units = len(params["b"][0])
        assert params["w"].shape == (features, units)
        assert labels.shape == (batch,)
        assert len({batch, features, units}) == 3
        assert rate == 0.1
        assert min(batch, features, units) >= 2


@given(seed=st.integers(0, 2**32 - 1))
def test_seven_names_are_the_most(seed: int) -> None:
    ((x,),) = sweep("a b c d e f g", count=1, seed=seed)
    assert sorted(x.shape) == list(range(2, 9))


def test_the_cases_of_a_sweep_differ_in_size() -> None:
    assert len({case[0].shape for case in sweep("n m", count=6)}) > 2


def test_count_and_scale() -> None:
    assert len(sweep("n", count=5)) == 5
    (large,), (small,) = sweep("n", scale=100.0, count=1)[0], sweep("n", count=1)[0]
    np.testing.assert_allclose(large, 100 * small, rtol=1e-6)


def test_digits_are_sizes_and_no_name_is_a_scalar() -> None:
    ((x, scalar),) = sweep("3 1", "", count=1)
    assert x.shape == (3, 1)
    assert (scalar.shape, scalar.dtype) == ((), np.float32)


@pytest.mark.parametrize(
    ("spec", "dtype", "low", "high"),
    [
        (integers("20", -2, 3), np.int32, -2, 2),
        (uniform("20", 5.0, 6.0), np.float32, 5.0, 6.0),
        (uniform("20"), np.float32, 0.0, 1.0),
        (normal("20", 1e-3), np.float32, -0.01, 0.01),
    ],
    ids=["integers", "uniform", "unit interval", "normal"],
)
def test_drawn_arrays(spec: Any, dtype: type, low: float, high: float) -> None:
    ((x,),) = sweep(spec, count=1)
    assert (x.shape, x.dtype) == ((20,), dtype)
    assert low <= x.min() < x.max() <= high


def test_other_values_are_passed_on() -> None:
    key = jax.random.key(0)
    ((f, k, flag, nothing),) = sweep(np.sin, key, True, None, count=1)
    assert (f, k, flag, nothing) == (np.sin, key, True, None)


def test_a_named_tuple_keeps_its_type() -> None:
    ((pair,),) = sweep(Pair("n", 2), count=1)
    assert isinstance(pair, Pair)
    assert (pair.x.ndim, pair.y) == (1, 2)


def test_pytrees_keep_their_structure() -> None:
    cases = sweep(({"w": "n"}, ["n", ("m", 2)]), count=2)
    assert [jax.tree.structure(case) for case in cases] == [
        jax.tree.structure((({"w": 0}, [0, (0, 0)]),))
    ] * 2


def test_planted_cases_have_the_sizes_of_the_first() -> None:
    plain = sweep("n m", integers("n", 0, 3), 0.5, count=2, seed=4)
    cases = sweep("n m", integers("n", 0, 3), 0.5, count=2, seed=4, planted=True)
    assert jax.tree.all(jax.tree.map(np.array_equal, cases[:2], plain))
    again, small, large, tied = cases[2:]
    assert all(shapes([case]) == shapes(plain[:1]) for case in cases[2:])
    assert not np.array_equal(again[0], cases[0][0])
    assert np.abs(small[0]).max() < 0.01
    assert np.abs(large[0]).max() > 10
    assert (tied[0] == 0).any()
    assert len(np.unique(tied[0])) < tied[0].size
    assert all(case[2] == 0.5 and case[1].dtype == np.int32 for case in cases)


def test_what_is_not_normal_is_planted_once() -> None:
    assert len(sweep(integers("n", 0, 3), uniform("n"), count=2, planted=True)) == 3
    assert len(sweep({"w": "n"}, count=2, planted=True)) == 6
