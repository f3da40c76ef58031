"""What is wrong with the distribution of draws."""

from __future__ import annotations

from graders.card.failure import Cause

HISTOGRAM = "Compare a histogram of many draws with the density that is asked for."


def named(words: str) -> Cause:
    if " key" in words:
        return Cause(words, "Split the key, and give each draw one of its own.")
    return Cause(words, HISTOGRAM)


def not_numbers() -> Cause:
    return Cause(
        "some of the draws are NaN",
        "Look for the logarithm or the root of a number that can be zero or negative.",
    )


def one_number() -> Cause:
    return Cause(
        "all the draws are one number",
        "Ask for as many draws as there are elements: `shape=`.",
    )


def moved(shift: float, scale: float) -> Cause:
    parts = []
    if abs(scale - 1) > 0.03:
        parts.append(f"about {scale:.2g} times as wide as it should be")
    if abs(shift) > 0.03:
        parts.append(f"shifted by about {shift:.2g}")
    return Cause(
        f"the distribution has the right form and is {' and '.join(parts) or 'slightly off'}",
        "Check the mean and the standard deviation: a variance is not a standard deviation, and a "
        "rate is one over a scale.",
    )


def repeated(times: int) -> Cause:
    return Cause(
        f"each number comes {times} times: draws that should be independent share their numbers",
        "Ask for as many draws as there are elements: look at `shape=`, at what is broadcast, and "
        "at which calls get one key.",
    )


def other_distribution() -> Cause:
    return Cause(
        "the numbers follow another distribution, or depend on each other",
        f"{HISTOGRAM} If they agree, look for draws that share a number or a key.",
    )
