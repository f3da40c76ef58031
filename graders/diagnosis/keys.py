"""What is wrong with how a function uses its key."""

from __future__ import annotations

from graders.card.failure import Cause


def reused() -> Cause:
    return Cause(
        "a key is used twice: for two draws, or for a draw and a split. Their random numbers are "
        "not independent",
        "Give each draw its own key: `key, subkey = jax.random.split(key)`, then draw with "
        "`subkey`. Do not draw from a key that was split.",
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


def one_number(row: str) -> Cause:
    return Cause(
        f"all numbers of {row} are equal: one was drawn for all of them",
        "Draw an array of the whole shape, so that each element has a number of its own.",
    )
