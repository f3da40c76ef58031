"""What is wrong with how a function draws random numbers."""

from __future__ import annotations

from graders.failure import Cause

HISTOGRAM = "Compare a histogram of many draws with the density that is asked for."


def reused() -> Cause:
    return Cause(
        "a key is used twice: both draws give the same random bits",
        "Give each draw a key of its own: `key, subkey = jax.random.split(key)`, then draw with "
        "`subkey`; a key that was split is not drawn from.",
    )


def not_reproducible() -> Cause:
    return Cause(
        "the same key gives other numbers at a second call: something beside the key decides",
        "Take every random number from `jax.random` and the key: no `np.random`, no counter.",
    )


def handed_back() -> Cause:
    return Cause(
        "it hands back the key that it was given: whoever draws with that gets these numbers again",
        "Split the key, draw with one half and return the other.",
    )


def fixed(path: str) -> Cause:
    what = f"{path} does" if path else "the numbers do"
    return Cause(
        f"{what} not depend on the key",
        "Look for `jax.random.key(0)` inside the function, or for numbers that were drawn outside "
        "it: the key that is handed in must decide.",
    )


def coincide(one: str, other: str, how: str) -> Cause:
    return Cause(
        f"two draws coincide: {one} and {other} are {how}",
        "They come from one key. Split it, and give each draw its own.",
    )


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
        "Check the mean and the standard deviation: a variance is no standard deviation, and a "
        "rate is one over a scale.",
    )


def other_distribution() -> Cause:
    return Cause("the numbers follow another distribution", HISTOGRAM)
