"""check_distribution: a sample against a cumulative distribution function."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from graders import check_distribution
from graders.checks.distribution import FALSE_ALARM, farthest, widest
from graders.tests.failing import failure

KEY, N = jax.random.key(7), (200, 100)

RIGHT: dict[str, tuple[Any, Any]] = {
    "normal": (lambda key: 2 * jax.random.normal(key, N), stats.norm(0, 2).cdf),
    "exponential": (lambda key: -jnp.log1p(-jax.random.uniform(key, N)), stats.expon.cdf),
    "Bernoulli": (lambda key: jax.random.bernoulli(key, 0.3, N), stats.bernoulli(0.3).cdf),
    "categories": (lambda key: jax.random.randint(key, N, 0, 6), stats.randint(0, 6).cdf),
    "bfloat16": (lambda key: jax.random.normal(key, N).astype(jnp.bfloat16), stats.norm.cdf),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_sampler_passes(name: str) -> None:
    f, cdf = RIGHT[name]
    check_distribution(f, KEY, cdf=cdf)


def with_a_hole(key):
    return jnp.log(jax.random.normal(key, N))


WRONG: dict[str, tuple[Any, Any, str]] = {
    "standard deviation": (
        lambda key: 4 * jax.random.normal(key, N),
        stats.norm(0, 2).cdf,
        "the right form and is about 2 times as wide as it should be",
    ),
    "mean": (
        lambda key: 1 + jax.random.normal(key, N),
        stats.norm.cdf,
        "the right form and is shifted by about 1",
    ),
    "another distribution": (
        lambda key: jax.random.uniform(key, N),
        stats.norm.cdf,
        "the numbers follow another distribution",
    ),
    "the other side of a coin": (
        lambda key: jax.random.bernoulli(key, 0.7, N),
        stats.bernoulli(0.3).cdf,
        "the numbers follow another distribution",
    ),
    "one number": (
        lambda key: jnp.full(N, jax.random.normal(key)),
        stats.norm.cdf,
        "all the draws are one number",
    ),
    "NaN": (with_a_hole, stats.norm.cdf, "some of the draws are NaN"),
    "too few": (lambda key: jax.random.normal(key), stats.norm.cdf, "one array of draws"),
    "a tuple": (lambda key: (key, key), stats.norm.cdf, ""),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_sampler_is_named(name: str) -> None:
    f, cdf, says = WRONG[name]
    failed = failure(check_distribution, f, KEY, cdf=cdf)
    assert says in failed.diagnosis or says in failed.expected


@pytest.mark.parametrize(
    ("words", "next_step"),
    [
        ("the probability of dropping, instead of keeping", "Compare a histogram"),
        ("both draws come from one key", "Split the key"),
    ],
)
def test_a_mistake_that_is_given_is_named(words: str, next_step: str) -> None:
    f, cdf, _ = WRONG["the other side of a coin"]
    mistakes = {words: stats.bernoulli(0.7).cdf}
    failed = failure(check_distribution, f, KEY, cdf=cdf, mistakes=mistakes)
    assert failed.diagnosis == words
    assert failed.next_step.startswith(next_step)


def test_the_words() -> None:
    f, cdf, _ = WRONG["mean"]
    failed = failure(check_distribution, f, KEY, cdf=cdf)
    assert failed.requirement == "draws from the right distribution"
    assert failed.expected == "at most 0.021 between the distributions, for 20000 draws"
    assert "mean 0.988, standard deviation 1, from -3.37 to 5.05" in failed.got


def test_right_samples_stay_well_within_the_bound() -> None:
    """The bound is exceeded with a probability of 1e-7; the distances come near it in no sample."""
    rng = np.random.default_rng(0)
    ratios = [farthest(rng.normal(size=2000), stats.norm.cdf) / widest(2000) for _ in range(400)]
    assert FALSE_ALARM == 1e-7
    assert 0.2 < np.mean(ratios) < 0.4
    assert max(ratios) < 0.85


def grid(shift: float, start: float = 0.0) -> Any:
    """A sampler of 1000 numbers that lie evenly on [0, 1], and so within 1/2000 of uniform.

    The first quarter is squeezed to [start, 1/4], which leaves the quartiles, and all are shifted.
    """
    even = (np.arange(1000) + 0.5) / 1000
    even = np.where(even < 0.25, start + even * (1 - 4 * start), even)
    return lambda key: (even + shift).astype(np.float32)


def uniform(x: np.ndarray) -> np.ndarray:
    return np.clip(x, 0, 1)


def test_the_bound_is_where_it_is_said_to_be() -> None:
    """It is 0.0917 for 1000 draws, and the distance is the shift and half a step of the grid."""
    assert widest(1000) == pytest.approx(0.0917, abs=5e-5)
    for near, far in ((0.0905, 0.0925), (-0.0905, -0.0925)):
        check_distribution(grid(near), KEY, cdf=uniform)
        failed = failure(check_distribution, grid(far), KEY, cdf=uniform)
        assert failed.got.startswith("0.093; ")


def wide(x: np.ndarray) -> np.ndarray:
    return np.clip((x + 2) / 4, 0, 1)


@pytest.mark.parametrize(("shift", "named"), [(0.0905, True), (0.0925, False)])
def test_a_mistake_is_named_if_the_draws_are_within_its_bound(shift: float, named: bool) -> None:
    mistakes = {"narrow": uniform}
    failed = failure(check_distribution, grid(shift), KEY, cdf=wide, mistakes=mistakes)
    assert (failed.diagnosis == "narrow") == named


@pytest.mark.parametrize(("start", "named"), [(0.0, True), (0.02, True), (0.05, False)])
def test_the_right_form_is_named_where_the_tails_have_it_too(start: float, named: bool) -> None:
    """The quartiles are right, and the numbers begin at `start`: within the band, but empty."""
    failed = failure(check_distribution, grid(1.0, start), KEY, cdf=uniform)
    assert ("the right form" in failed.diagnosis) == named


def test_a_cut_off_normal_distribution_has_not_the_right_form() -> None:
    """The initialisers of JAX cut it at two standard deviations, and make up for the width."""

    def cut(key):
        return jax.random.truncated_normal(key, -2, 2, (400, 100)) / 0.87962566

    failed = failure(check_distribution, cut, KEY, cdf=stats.norm.cdf)
    assert "another distribution" in failed.diagnosis


def test_dependent_draws_are_no_wide_ones() -> None:
    """One number for each row spreads as widely as it should, and is not a scaled distribution."""

    def one_for_a_row(key):
        return jnp.broadcast_to(jax.random.normal(key, (200, 1)), N)

    failed = failure(check_distribution, one_for_a_row, KEY, cdf=stats.norm(0.5).cdf)
    assert failed.diagnosis.startswith("each number comes 100 times")

    def one_shift(key):
        first, second = jax.random.split(key)
        return (jax.random.normal(first, N) + 3 * jax.random.normal(second, (20, 1))[:, 0].repeat(
            10)[:, None])  # fmt: skip

    failed = failure(check_distribution, one_shift, KEY, cdf=stats.norm(0, 10**0.5).cdf)
    assert "or depend on each other" in failed.diagnosis


def test_a_sample_of_a_hundred_is_large_enough() -> None:
    def ones(count: int) -> Any:
        return lambda key: jnp.full(count, jax.random.normal(key))

    assert failure(check_distribution, ones(99), KEY, cdf=stats.norm.cdf).expected == (
        "one array of draws"
    )
    assert "one number" in failure(check_distribution, ones(100), KEY, cdf=stats.norm.cdf).diagnosis


def test_small_errors_are_found_in_large_samples() -> None:
    rng = np.random.default_rng(0)
    for scale, shift in ((1.1, 0.0), (1.0, 0.1), (0.9, 0.0)):
        draws = rng.normal(shift, scale, 40_000)
        assert farthest(draws, stats.norm.cdf) > widest(draws.size)
