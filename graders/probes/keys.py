"""What the student's function does with the key that it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from graders.values.inputs import copied, with_fresh_keys
from graders.values.jax_internals import reuses_a_key, wraps_words_of_a_key
from graders.values.key_words import KeyRecord, record_of, recorded


@dataclass(frozen=True)
class KeyUses:
    """What a function does with a key; whether that is a use too many is judged elsewhere."""

    suspected: bool  # whether JAX's checker objects
    # By the words of the keys; None where nothing is suspected, or the words do not show every key.
    record: KeyRecord | None


def key_uses(function: Callable, *args: Any, key: int) -> KeyUses:
    """What the function does with its argument `key`.

    JAX's checker takes an index into an array of keys for a use of them all. The words cost a
    program that is compiled once more, so they are asked only where there is a suspicion.
    """

    def with_rest(rest: Sequence[Any]) -> Callable:
        return lambda given: function(*rest[:key], given, *rest[key + 1 :])

    suspected, wraps = _suspicions(lambda: with_rest(_fresh(args)), args[key])
    if not suspected and not wraps:
        return KeyUses(suspected, None)
    try:
        return KeyUses(suspected, record_of(with_rest(recorded(args)), args[key]))
    except Exception:  # the function takes JAX's own keys only
        return KeyUses(suspected, None)


def _fresh(args: Sequence[Any]) -> Any:
    """Copies of the arguments, typed keys made anew."""
    return with_fresh_keys(copied(args))


def _suspicions(fresh: Callable[[], Callable], key: Any) -> tuple[bool, bool]:
    """Whether JAX's checker objects, and whether the words of a key become a key again.

    The checker looks at the function's trace; at its run, where it has no trace. It takes the two
    keys of the same words for different ones. Under the checker no program is taken from JAX's
    caches: a run compiles them all once more.
    """
    traced: list[Any] = []
    try:
        reuses = reuses_a_key(
            lambda k: traced.append(jax.jit(fresh()).trace(k)), with_fresh_keys(key)
        )
    except Exception:
        return reuses_a_key(fresh(), with_fresh_keys(key)), False
    return reuses, any(wraps_words_of_a_key(one.jaxpr) for one in traced)
