"""What the student's function draws from the keys that it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from graders.inputs import copied
from graders.plain import is_key, plain


def draws(function: Callable, *args: Any, key: int, others: Sequence[Any]) -> dict:
    """What the function returns for several keys, given in the place of argument `key`.

    `first` and `again` are the results for the key of `args`, `others` those for the other keys.
    `reused` is whether JAX's own checker finds that a key is used twice. Every call has fresh keys:
    the checker remembers which have been used.
    """
    return {
        "first": plain(function(*_fresh(args))),
        "again": plain(function(*_fresh(args))),
        "others": [plain(function(*_fresh(_with(args, key, other)))) for other in others],
        "reused": _is_reused(function, args, key),
    }


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
    """Whether the checker objects to the function's trace; to its run, where it has no trace.

    Under the checker no program is taken from JAX's caches: a run compiles them all once more.
    """

    def of_key(given: Any) -> Any:
        return function(*_with(_fresh(args), key, given))

    def used_twice(used: Callable) -> bool:
        try:
            with jax.debug_key_reuse(True):
                used(_fresh_key(args[key]))
        except jax.errors.KeyReuseError:
            return True
        return False

    try:
        return used_twice(jax.jit(of_key).trace)
    except Exception:
        return used_twice(of_key)
