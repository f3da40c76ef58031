"""Whether a key is used twice, by the words of the keys that are drawn from and split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from graders.values.jax_internals import (
    CLONE,
    EVERYWHERE,
    REMATERIALISED,
    KeyUse,
    holds_other_keys,
    key_uses,
    primitives,
    recording,
    wraps_recording_keys,
)
from graders.values.plain import Natural, is_key


class NotRecorded(Exception):
    """A program uses keys whose words are not recorded, as those that `wrap_key_data` makes."""


def recorded(args: Any) -> Any:
    """The arguments, with keys that record how they are used in the place of typed keys."""
    return jax.tree.map(lambda leaf: recording(leaf) if is_key(leaf) else leaf, args)


@dataclass(frozen=True)
class KeyRecord:
    """What happened to the words of keys while a function ran."""

    uses: list[KeyUse]
    clones: Natural  # how often a key was cloned on purpose
    repeated: Natural  # how many parts of the program may run a second time to save memory

    @property
    def is_valid(self) -> bool:
        """Whether it holds words of keys: another process may have sent anything of its types."""
        rows = (words for use in self.uses for words in (use.used, use.made))
        return all(words.dtype == np.uint32 and words.shape[1:] == (2,) for words in rows)


def record_of(function: Callable, *args: Any) -> KeyRecord:
    """What happens to the words of keys while `function(*args)` runs.

    Raises:
        NotRecorded: the program also uses keys that are not made of those in `args`, or that it
            does not wrap with `jax.random.wrap_key_data`.
        Exception: the function accepts no keys but JAX's own, or has another error.
    """
    args = recorded(args)
    with wraps_recording_keys():
        return _record_of(function, args)


def _record_of(function: Callable, args: Any) -> KeyRecord:
    try:
        # Without keep_unused JAX leaves out draws whose numbers nobody uses.
        traced = jax.jit(function, keep_unused=True).trace(*args)
    except Exception:  # there is only a run
        return KeyRecord(key_uses(function, *args), 0, 0)
    if holds_other_keys(traced.jaxpr):
        raise NotRecorded
    does = primitives(traced.jaxpr)
    uses = key_uses(traced.lower().compile(), *args)
    return KeyRecord(uses, does[CLONE], sum(does[name] for name in REMATERIALISED))


def is_used_twice(record: KeyRecord) -> bool:
    """Whether the same key words are drawn from or split twice on one device.

    Draws whose numbers nobody uses count as well; `fold_in` does not count as use. A cloned key may
    be used, and whatever is made of it may be made and used, once more for each clone.
    """
    clones = record.clones
    used: dict[int, Counter[int]] = defaultdict(Counter)
    made: Counter[int] = Counter()
    for use, words in _without_held(record.uses):
        used[use.device].update(words.tolist())
        made.update(_numbers(use.made).tolist())
    outside = used.pop(EVERYWHERE, Counter())
    return any(
        times > 1 + record.repeated + min(clones, made[word] - 1 if word in made else clones)
        for counts in used.values() or [Counter()]
        for word, times in (counts + outside).items()
    )


def _without_held(uses: list[KeyUse]) -> Iterator[tuple[KeyUse, np.ndarray]]:
    """Each use with the words it uses, without those of rows that are held.

    In a `while` loop under vmap the rows that have finished are computed on, with the same keys,
    and thrown away. They are told by the others, which have new keys.
    """
    last: dict[tuple[int, int], np.ndarray] = {}
    for use in uses:
        words = _numbers(use.used)
        before = last.get((use.place, use.device))
        last[use.place, use.device] = words
        if before is None or before.shape != words.shape or np.array_equal(before, words):
            yield use, words
        else:
            yield use, words[before != words]


def _numbers(words: np.ndarray) -> np.ndarray:
    """One number for the two words of each row."""
    return words[:, 0].astype(np.uint64) << np.uint64(32) | words[:, 1].astype(np.uint64)
