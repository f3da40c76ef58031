"""Checks the distribution of what a function draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graders.card.failure import Cause
from graders.checks.mechanics import at, check, reject, seen
from graders.diagnosis import distribution as diagnosis
from graders.diagnosis import shape as results
from graders.seam.subject import Subject
from graders.values import describe
from graders.values.plain import Leaf

FALSE_ALARM = 1e-7
Cdf = Callable[[np.ndarray], np.ndarray]


@check
def check_distribution(
    answer: Subject,
    *args: Any,
    cdf: Cdf,
    mistakes: Mapping[str, Cdf] | None = None,
    about: str = "",
) -> None:
    """Checks that the elements of the array `answer(*args)` are a sample of a distribution.

    The empirical distribution of n independent draws lies farther than sqrt(log(2 / a) / (2 n))
    from `cdf` with a probability of at most a, here 1e-7 (the Dvoretzky-Kiefer-Wolfowitz inequality
    with Massart's constant, 1990).

    Args:
        answer: the student's sampler.
        args: its arguments, a key among them; it must return at least 100 numbers.
        cdf: the probability of a value <= x, elementwise. The distribution may be discrete, if its
            values are exact in the dtype of the draws.
        mistakes: diagnoses, each with the distribution that the mistake would give.
        about: what distinguishes this line from others of its kind on the card.

    Raises:
        CheckFailed: the draws lie farther from the distribution than chance allows.

    Example:
        >>> def uniform_draws(key):
        ...     return jax.random.uniform(key, (1000,))
        >>> check_distribution(uniform_draws, jax.random.key(1), cdf=lambda x: np.clip(x, 0, 1))
    """
    got = seen(answer.call(*args), answer, args, "one array of draws")
    if not isinstance(got, Leaf) or got.data.dtype.kind not in "biufV" or got.data.size < 100:
        cause = results.other_kind(got, "one array of draws")
        reject(cause, "one array of draws", describe.text(got), at(answer, args))
    draws = got.data.astype(np.float64).ravel()
    distance, bound = farthest(draws, cdf), widest(draws.size)
    if distance > bound:
        reject(
            _cause(draws, cdf, mistakes or {}),
            f"at most {bound:.3f} between the distributions, for {draws.size} draws",
            f"{distance:.3f}; mean {draws.mean():.3g}, standard deviation {draws.std():.3g}, "
            f"from {draws.min():.3g} to {draws.max():.3g}",
            at(answer, args),
        )


def widest(count: int) -> float:
    """How far the empirical distribution of `count` draws may lie from the true one."""
    return math.sqrt(math.log(2 / FALSE_ALARM) / (2 * count))


def farthest(draws: np.ndarray, cdf: Cdf) -> float:
    """The largest distance between the empirical distribution and `cdf`; 1 where one is NaN."""
    if np.isnan(draws).any():
        return 1.0
    values = np.unique(draws)
    ordered = np.sort(draws)
    upto = np.searchsorted(ordered, values, "right") / draws.size
    below = np.searchsorted(ordered, values, "left") / draws.size
    gaps = np.abs(upto - cdf(values)), np.abs(below - cdf(np.nextafter(values, -np.inf)))
    return float(max(gap.max() for gap in gaps))


def _cause(draws: np.ndarray, cdf: Cdf, mistakes: Mapping[str, Cdf]) -> Cause:
    for words, mistaken in mistakes.items():
        if farthest(draws, mistaken) <= widest(draws.size):
            return diagnosis.named(words)
    if np.isnan(draws).any():
        return diagnosis.not_numbers()
    if len(np.unique(draws)) == 1:
        return diagnosis.one_number()
    if times := _times(draws):
        return diagnosis.repeated(times)
    shift, scale = _moved(draws, cdf)
    if _has_form((draws - shift) / scale, cdf):
        return diagnosis.moved(shift, scale)
    return diagnosis.other_distribution()


def _times(draws: np.ndarray) -> int:
    """How often each number comes, if that is more than once, and alike for nearly all of them."""
    _, counts = np.unique(draws, return_counts=True)
    times = int(np.median(counts))
    alike = len(counts) >= 20 and np.mean(counts == times) > 0.9
    return times if times > 1 and alike else 0


def _has_form(draws: np.ndarray, cdf: Cdf) -> bool:
    """Whether draws that were brought to the wanted quartiles are a sample of `cdf` everywhere.

    The band of `widest` is too wide for tails: of a normal distribution that is cut off at two
    standard deviations it does not notice. So the number of draws below each point is held against
    its binomial standard deviation too, of which five leave room for the fitted quartiles.
    """
    if farthest(draws, cdf) > widest(draws.size):
        return False
    values, counts = np.unique(draws, return_counts=True)
    upto, wanted = np.cumsum(counts) / draws.size, cdf(values)
    spread = np.sqrt(wanted * (1 - wanted) / draws.size)
    ends = cdf(np.array([np.nextafter(draws.min(), -np.inf), draws.max()]))
    empty = max(ends[0], 1 - ends[1])  # beyond the outermost draws: chance leaves 30 / n empty
    near = np.abs(upto - wanted) <= 5 * spread + 3 / draws.size
    return bool(near.all()) and bool(empty <= 30 / draws.size)


def _moved(draws: np.ndarray, cdf: Cdf) -> tuple[float, float]:
    """The shift and the scale that take the wanted quartiles to those of `draws`; 0 and 1 at worst.

    The wanted quartiles are looked for on the line that the draws span, widened.
    """
    reach = 20 * (np.abs(draws).max() + 1e-6)
    line = np.sinh(np.linspace(-1, 1, 200_001) * np.arcsinh(reach * 1e3)) / 1e3
    heights = cdf(line)
    low, middle, high = (line[np.searchsorted(heights, p)] for p in (0.25, 0.5, 0.75))
    quartiles = np.quantile(draws, (0.25, 0.5, 0.75))
    if high <= low or quartiles[2] <= quartiles[0]:
        return 0.0, 1.0
    scale = (quartiles[2] - quartiles[0]) / (high - low)
    return float(quartiles[1] - scale * middle), float(scale)
