"""What the student's function draws from the keys that it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from graders.values.inputs import copied
from graders.values.jax_internals import reuses_a_key, wraps_words_of_a_key
from graders.values.key_words import recorded, uses_words_twice
from graders.values.plain import Plain, is_key, plain


@dataclass(frozen=True)
class Draws:
    """What a function returns for several keys, and whether it uses one of them twice."""

    first: Plain  # for the key of the check
    again: Plain  # for that key once more
    others: list[Plain]  # for other keys
    reused: bool  # whether JAX's checker suspects that a key is used twice, and its words agree


def draws(function: Callable, *args: Any, key: int, others: Sequence[Any]) -> Draws:
    """What the function returns for several keys, given in the place of argument `key`.

    Every call has fresh keys: JAX's checker remembers which have been used.
    """
    return Draws(
        first=plain(function(*_fresh(args))),
        again=plain(function(*_fresh(args))),
        others=[plain(function(*_fresh(_with(args, key, other)))) for other in others],
        reused=_is_reused(function, args, key),
    )


def _with(args: Sequence[Any], key: int, other: Any) -> tuple:
    return (*args[:key], other, *args[key + 1 :])


def _fresh(args: Sequence[Any]) -> Any:
    """Copies of the arguments, typed keys made anew."""
    return jax.tree.map(_fresh_key, copied(args))


def _fresh_key(leaf: Any) -> Any:
    if is_key(leaf):
        words, impl = jax.random.key_data(leaf), jax.random.key_impl(leaf)
        return jax.random.wrap_key_data(words, impl=impl)
    return leaf


def _is_reused(function: Callable, args: Sequence[Any], key: int) -> bool:
    """Whether a key is used twice: suspected, and not refuted by the words.

    JAX's checker takes an index into an array of keys for a use of them all. The words cost a
    program that is compiled once more, so they are asked only where there is a suspicion. That of
    the checker stands where the words do not show every key.
    """

    def with_rest(rest: Sequence[Any]) -> Callable:
        return lambda given: function(*_with(rest, key, given))

    reuses, wraps = _suspicions(lambda: with_rest(_fresh(args)), args[key])
    if not reuses and not wraps:
        return False
    try:
        return uses_words_twice(with_rest(recorded(args)), args[key])
    except Exception:  # the function takes JAX's own keys only
        return reuses


def _suspicions(fresh: Callable[[], Callable], key: Any) -> tuple[bool, bool]:
    """Whether JAX's checker objects, and whether the words of a key become a key again.

    The checker looks at the function's trace; at its run, where it has no trace. It takes the two
    keys of the same words for different ones. Under the checker no program is taken from JAX's
    caches: a run compiles them all once more.
    """
    traced: list[Any] = []
    try:
        reuses = reuses_a_key(lambda k: traced.append(jax.jit(fresh()).trace(k)), _fresh_key(key))
    except Exception:
        return reuses_a_key(fresh(), _fresh_key(key)), False
    return reuses, any(wraps_words_of_a_key(one.jaxpr) for one in traced)
