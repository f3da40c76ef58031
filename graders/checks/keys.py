"""Checks what a function does with its key."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache, cached_property
from typing import Any

import jax
import numpy as np

from graders.checks.mechanics import at, check, reject, seen
from graders.diagnosis import keys as diagnosis
from graders.probes.keys import KeyUses, key_uses
from graders.seam.protocol import GARBLED, Result
from graders.seam.subject import Subject
from graders.values import describe
from graders.values.compare import same
from graders.values.inputs import with_fresh_keys
from graders.values.key_words import is_used_twice
from graders.values.plain import Key, Leaf, Plain, leaves, plain

SEEDS = (101, 202)
FEWEST, FEWEST_ORDERED, FEWEST_DISCRETE = 4, 12, 20  # elements that can show a coincidence


@check
def check_keys(
    answer: Subject, *args: Any, key: int = 0, rows: bool = False, about: str = ""
) -> None:
    """Checks that `answer` draws its random numbers from the typed key at position `key`.

    1. For one key the result is always the same.
    2. For other keys every array that is drawn is another one. Constant arrays, and those that are
       an argument, are not drawn.
    3. No key is used twice, see below.
    4. The given key is not returned.
    5. No two arrays of one result coincide: as draws from one key they would be equal, scaled and
       shifted, in the same order, or the same numbers in another order. This shows what JAX's
       checker misses: a key shared across vmap, legacy keys.
    6. With `rows`, no row of floats is one number that was drawn for all of it.

    JAX's checker only suspects that a key is used twice: it takes `keys[i]` in a loop for a use of
    all keys. A key that is made of another one's words is a suspicion too. A run that records the
    words of each key decides. By them:

    - A draw uses its key, and so does a split. No key may be used twice, whatever its name, in each
      turn of a loop and on each device.
    - `fold_in` does not use its key, which may be folded with other integers, drawn from or split
      beside. Folded with one integer twice, it gives one key, which may be used once.
    - `split(key, n)[i]` and `fold_in(key, i)` may be one key. It may be used once.
    - A draw or a split counts even where what it gives is thrown away.
    - A clone, by `jax.random.clone`, may be used once more, and `jax.checkpoint` may run twice.

    The checker's suspicion stands where the words do not show every key, as those of a function
    that takes JAX's own keys only.

    A function of ours in between that calls the answer twice gives each call
    `jax.random.clone(key)`.

    Args:
        answer: the student's function.
        args: its arguments, a typed key at position `key`.
        key: the position of the key.
        rows: whether the rows along the first axis of each array count as arrays of their own.
            Arrays of fewer than 4 floats, or 20 integers, are too short to tell.
        about: what distinguishes this line from others of its kind on the card.

    Raises:
        CheckFailed: one of the six does not hold.

    Example:
        >>> check_keys(jax.random.normal, jax.random.key(1), (8,))
    """

    def drawn_from(given: Any) -> Plain:
        result = answer.call(*with_fresh_keys((*args[:key], given, *args[key + 1 :])))
        return seen(result, answer, args, "random numbers")

    first, again = drawn_from(args[key]), drawn_from(args[key])
    others = [drawn_from(jax.random.key(seed)) for seed in SEEDS]
    observed = answer.observe(key_uses, *args, key=key)
    uses, here = seen(observed, answer, args, "random numbers"), at(answer, args)
    if uses.record and not uses.record.is_valid:  # what a forged reply may say
        seen(Result(error=GARBLED), answer, args)
    if _is_reused(uses):
        reject(diagnosis.reused(), at=here)
    if not same(first, again):
        reject(diagnosis.not_reproducible(), "the same numbers for the same key", at=here)
    if _holds_key(first, plain(args[key])):
        reject(diagnosis.handed_back(), "a key that has not been used", "the given key", here)
    fixed = list(_fixed(first, others, plain(args)))
    if fixed:
        path, leaf = fixed[0]
        got = f"{path}: {describe.text(leaf)}" if path else describe.text(leaf)
        reject(diagnosis.fixed(path), "other numbers for other keys", got, here)
    drawn, otherwise = _arrays(first, rows), _arrays(others[0], rows)
    for one, other, how in _coincidences(drawn, otherwise):
        reject(diagnosis.coincide(one, other, how), "independent draws", at=here)
    for row in _drawn_as_one_number(drawn, otherwise) if rows else ():
        reject(diagnosis.one_number(row), "independent draws", at=here)


def _is_reused(uses: KeyUses) -> bool:
    """Whether a key is used twice: by its words, or where they are unknown by the suspicion."""
    return is_used_twice(uses.record) if uses.record else uses.suspected


def _holds_key(result: Plain, given: Plain) -> bool:
    return any(isinstance(leaf, Key) and same(leaf, given) for _, leaf in leaves(result))


def _fixed(first: Plain, others: list[Plain], given: Plain) -> Iterator[tuple[str, Plain]]:
    """Leaves that are the same for every key although they are neither constant nor given."""
    known = [leaf for _, leaf in leaves(given)]
    everything = [dict(leaves(other)) for other in others]
    paths = list(leaves(first))
    alone = len(paths) == 1
    for path, leaf in paths:
        if isinstance(leaf, Leaf) and _is_constant(leaf.data) and not alone:
            continue
        if any(_same_numbers(leaf, other) for other in known):
            continue
        if all(same(leaf, other.get(path)) for other in everything):
            yield path, leaf


def _same_numbers(leaf: Plain, given: Plain) -> bool:
    if isinstance(leaf, Leaf) and isinstance(given, Leaf):
        return np.array_equal(leaf.data, given.data)
    return same(leaf, given)


def _is_constant(data: np.ndarray) -> bool:
    return data.size == 0 or bool((data == data.flat[0]).all())


def _arrays(result: Plain, rows: bool) -> dict[str, np.ndarray]:
    """The arrays of a result by name, as flat arrays."""
    arrays: dict[str, np.ndarray] = {}
    for path, leaf in leaves(result):
        if isinstance(leaf, Leaf | Key):
            name = path.strip(".") or "the result"
            arrays[name] = leaf.data
            if rows and leaf.data.ndim > 1:
                del arrays[name]
                arrays |= {f"{name}, row {i}": row for i, row in enumerate(leaf.data)}
    return {name: data.ravel() for name, data in arrays.items()}


def _coincidences(
    arrays: dict[str, np.ndarray], otherwise: dict[str, np.ndarray]
) -> Iterator[tuple[str, str, str]]:
    """Pairs of arrays that coincide, and how; `otherwise` are those of another key."""

    @cache
    def first(name: str, n: int) -> _Draw:
        return _Draw(arrays[name][:n], otherwise.get(name, arrays[name])[:n])

    varied = [name for name, data in arrays.items() if not _is_constant(data)]
    for one, other in itertools.combinations(varied, 2):
        n = min(arrays[one].size, arrays[other].size)
        if how := _alike(first(one, n), first(other, n)):
            yield one, other, how


def _drawn_as_one_number(
    arrays: dict[str, np.ndarray], otherwise: dict[str, np.ndarray]
) -> Iterator[str]:
    """Constant arrays of floats, whose number is another for another key, and in no other array.

    Units that are dropped, or all kept, have equal numbers too, but the same ones for any key.
    """
    for name, data in arrays.items():
        is_one = data.dtype.kind not in "biu" and data.size >= FEWEST and _is_constant(data)
        if not is_one or name not in otherwise or data[0] in otherwise[name]:
            continue
        if not any(data[0] in other for key, other in arrays.items() if key != name):
            yield name


class _Draw:
    """A flat array, with what it is compared by; that is worked out once for all comparisons."""

    def __init__(self, data: np.ndarray, otherwise: np.ndarray) -> None:
        self.is_discrete = data.dtype.kind in "biu"
        self.data = data if self.is_discrete else data.astype(np.float64)
        self.otherwise = otherwise

    @cached_property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.data).all())

    @cached_property
    def direction(self) -> np.ndarray:
        """The deviations from the mean, as a vector of length 1; of length 0 where there are none.

        The product of two of them is the correlation.
        """
        deviations = self.data - self.data.mean()
        return deviations / (np.linalg.norm(deviations) or 1.0)

    @cached_property
    def rising(self) -> np.ndarray:
        return np.argsort(self.data, kind="stable")

    @cached_property
    def falling(self) -> np.ndarray:
        return np.argsort(-self.data, kind="stable")

    @cached_property
    def sorted(self) -> np.ndarray:
        return np.sort(self.data)

    @cached_property
    def has_distinct_values(self) -> bool:
        return bool((self.sorted[1:] != self.sorted[:-1]).all())

    @cached_property
    def has_drawn_values(self) -> bool:
        """Whether another key gives other numbers, and not only another order of them."""
        return not np.array_equal(self.sorted, np.sort(self.otherwise))


def _alike(a: _Draw, b: _Draw) -> str:
    """How two draws of one length coincide; "" if they do not."""
    n = a.data.size
    if a.is_discrete or b.is_discrete:
        return _alike_discrete(a, b)
    if n < FEWEST or not (a.is_finite and b.is_finite):
        return ""
    if np.array_equal(a.data, b.data):
        return "equal"
    if abs(a.direction @ b.direction) > 1 - 1e-8:
        return "the same numbers, scaled or shifted"
    if a.has_drawn_values and _is_rearranged(a, b):
        return "the same numbers in another order"
    return "in the same order" if n >= FEWEST_ORDERED and _in_one_order(a, b) else ""


def _alike_discrete(a: _Draw, b: _Draw) -> str:
    n = a.data.size
    keys = a.data.dtype == b.data.dtype == np.uint32 and n > 1
    if (n >= FEWEST_DISCRETE or keys) and np.array_equal(a.data, b.data):
        return "equal"
    if n >= FEWEST_DISCRETE and _is_rearranged(a, b) and _is_rotated(a, b):
        return "the same numbers, rotated"
    return ""


def _in_one_order(a: _Draw, b: _Draw) -> bool:
    """Whether both have as many values as elements, and b grows or falls with a."""
    if not any(np.array_equal(a.rising, order) for order in (b.rising, b.falling)):
        return False
    return a.has_distinct_values and b.has_distinct_values


def _is_rearranged(a: _Draw, b: _Draw) -> bool:
    """Whether both have as many values as elements, and the same ones."""
    return a.has_distinct_values and np.array_equal(a.sorted, b.sorted)


def _is_rotated(a: _Draw, b: _Draw) -> bool:
    """Whether b, of the values of a, begins in the midst of a and goes round."""
    return np.array_equal(np.roll(a.data, int(np.argmax(b.data == a.data[0]))), b.data)
