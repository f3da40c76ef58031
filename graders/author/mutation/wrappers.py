"""Mutants of behaviour: each takes an answer and gives one with a fault around it.

They run in the student's place, around the solution or, through `inside`, around the functions that
it returns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from graders.values.jax_internals import Tracer
from graders.values.plain import is_key


def inside(wrap: Callable[..., Callable], *options: Any) -> Callable[[Callable], Callable]:
    """Wraps what the answer returns, where that is a function, or a tuple that holds functions."""

    def around(answer: Callable) -> Callable:
        def wrapped(value: Any) -> Any:
            return wrap(value, *options) if callable(value) else value

        @functools.wraps(answer)
        def outer(*args: Any, **kwargs: Any) -> Any:
            made = answer(*args, **kwargs)
            if type(made) in (tuple, list):
                return type(made)(map(wrapped, made))
            return wrapped(made)

        return outer

    return around


def _wrapped(answer: Callable, call: Callable[..., Any]) -> Callable:
    @functools.wraps(answer)
    def mutant(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    return mutant


def _leafwise(answer: Callable, change: Callable[[Any], Any]) -> Callable:
    def each(leaf: Any) -> Any:
        return change(leaf) if isinstance(leaf, jax.Array) and not is_key(leaf) else leaf

    return _wrapped(answer, lambda *a, **k: jax.tree.map(each, answer(*a, **k)))


def _floats(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda leaf: change(leaf) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def fixed_argument(answer: Callable, position: int) -> Callable:
    """An argument frozen at the value that it had first, for each shape of the arguments."""
    first: dict[Any, Any] = {}

    def call(*args: Any, **kwargs: Any) -> Any:
        if position >= len(args):
            return answer(*args, **kwargs)
        key = str([getattr(leaf, "shape", type(leaf)) for leaf in jax.tree.leaves(args)])
        leaves = jax.tree.leaves(args[position])
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return answer(*args, **kwargs)
        frozen = first.setdefault(key, args[position])
        return answer(*args[:position], frozen, *args[position + 1 :], **kwargs)

    return _wrapped(answer, call)


def input_leaf_returned(answer: Callable, leaf: int) -> Callable:
    """One leaf of the result replaced by the first leaf of the arguments that has its shape."""

    def call(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = jax.tree.flatten(answer(*args, **kwargs))
        if leaf < len(leaves):
            shape = jnp.shape(leaves[leaf]), jnp.result_type(leaves[leaf])
            given = [x for x in jax.tree.leaves(args) if not callable(x) and not is_key(x)]
            same = [x for x in given if (jnp.shape(x), jnp.result_type(x)) == shape]
            leaves[leaf] = jnp.asarray(same[0]) if same else leaves[leaf]
        return jax.tree.unflatten(tree, leaves)

    return _wrapped(answer, call)


def leaf_of_zeros(answer: Callable, leaf: int) -> Callable:
    """One leaf of the result replaced by zeros."""

    def call(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = jax.tree.flatten(answer(*args, **kwargs))
        if leaf < len(leaves) and isinstance(leaves[leaf], jax.Array) and not is_key(leaves[leaf]):
            leaves[leaf] = jnp.zeros_like(leaves[leaf])
        return jax.tree.unflatten(tree, leaves)

    return _wrapped(answer, call)


def leaves_exchanged(answer: Callable, one: int, other: int) -> Callable:
    """Two leaves of one shape exchanged."""

    def call(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = jax.tree.flatten(answer(*args, **kwargs))
        if other < len(leaves) and jnp.shape(leaves[one]) == jnp.shape(leaves[other]):
            leaves[one], leaves[other] = leaves[other], leaves[one]
        return jax.tree.unflatten(tree, leaves)

    return _wrapped(answer, call)


def bfloat16(answer: Callable) -> Callable:
    """Results rounded to bfloat16, in the dtype that they had."""
    return _leafwise(answer, _floats(lambda x: x.astype(jnp.bfloat16).astype(x.dtype)))


def float32(answer: Callable) -> Callable:
    """Float results cast to float32."""
    return _leafwise(answer, _floats(lambda x: x.astype(jnp.float32)))


def rounded_argument(answer: Callable, position: int) -> Callable:
    """An argument rounded to bfloat16 before it is used."""

    def rounded(leaf: Any) -> Any:
        array = isinstance(leaf, jax.Array | np.ndarray) and not is_key(leaf)
        if not array or not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return jnp.asarray(leaf).astype(jnp.bfloat16).astype(leaf.dtype)

    return changed_argument(answer, position, rounded)


def changed_argument(answer: Callable, position: int, change: Callable[[Any], Any]) -> Callable:
    def call(*args: Any, **kwargs: Any) -> Any:
        if position >= len(args) or callable(args[position]):
            return answer(*args, **kwargs)
        changed = jax.tree.map(change, args[position])
        return answer(*args[:position], changed, *args[position + 1 :], **kwargs)

    return _wrapped(answer, call)


def clipped(answer: Callable) -> Callable:
    """Results clipped to +-100."""
    return _leafwise(answer, _floats(lambda x: jnp.clip(x, -100, 100)))


def finite(answer: Callable) -> Callable:
    """NaN and infinity wiped from the results."""
    return _leafwise(answer, _floats(lambda x: jnp.nan_to_num(x, posinf=0.0, neginf=0.0)))


def finite_argument(answer: Callable, position: int) -> Callable:
    """NaN and infinity wiped from an argument."""

    def wiped(leaf: Any) -> Any:
        array = isinstance(leaf, jax.Array | np.ndarray) and not is_key(leaf)
        if not array or not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return jnp.nan_to_num(leaf, posinf=0.0, neginf=0.0)

    return changed_argument(answer, position, wiped)


def off_by_little(answer: Callable) -> Callable:
    """Results 0.1 % too large."""
    return _leafwise(answer, _floats(lambda x: x * jnp.asarray(1.001, x.dtype)))


def constant_key(answer: Callable, position: int) -> Callable:
    """A key replaced by a constant one."""
    return changed_argument(
        answer, position, lambda leaf: jax.random.key(0) if is_key(leaf) and not leaf.ndim else leaf
    )


def only_lists(answer: Callable, position: int) -> Callable:
    """Accepts the types of containers that it has met first, and no others."""
    seen: list[Any] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        if position < len(args):
            kind = type(args[position])
            seen.append(kind)
            if kind is not seen[0]:
                raise TypeError(f"{kind.__name__} is not {seen[0].__name__}")
        return answer(*args, **kwargs)

    return _wrapped(answer, call)


def remembered(answer: Callable) -> Callable:
    """A result is kept for the shapes and dtypes of the arguments, and given again."""
    kept: dict[str, Any] = {}

    def call(*args: Any, **kwargs: Any) -> Any:
        leaves = jax.tree.leaves((args, kwargs))
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return answer(*args, **kwargs)
        key = str([(np.shape(leaf), getattr(leaf, "dtype", leaf)) for leaf in leaves])
        if key not in kept:
            kept[key] = answer(*args, **kwargs)
        return kept[key]

    return _wrapped(answer, call)


def changed_in_place(answer: Callable, position: int) -> Callable:
    """A list, dict or NumPy array among the arguments is overwritten after it was used."""

    def overwrite(value: Any) -> None:
        if isinstance(value, np.ndarray) and value.dtype.kind in "iufV" and value.flags.writeable:
            value[...] = 0
        elif isinstance(value, dict):
            for name, inner in value.items():
                overwrite(inner)
                value[name] = jnp.zeros_like(inner) if isinstance(inner, jax.Array) else inner
        elif isinstance(value, list):
            value.reverse()

    def call(*args: Any, **kwargs: Any) -> Any:
        result = answer(*args, **kwargs)
        if position < len(args):
            overwrite(args[position])
        return result

    return _wrapped(answer, call)


def only_first(answer: Callable, what: str) -> Callable:
    """Accepts arguments of the shapes, or of the dtypes, that it has met first, and no others."""
    seen: list[Any] = []

    def call(*args: Any, **kwargs: Any) -> Any:
        found = [
            getattr(leaf, what, None) for leaf in jax.tree.leaves(args) if not isinstance(leaf, str)
        ]
        seen.append(str(found))
        if seen[-1] != seen[0]:
            raise TypeError(f"{what}: {seen[-1]} is not {seen[0]}")
        return answer(*args, **kwargs)

    return _wrapped(answer, call)


def uncompiled(answer: Any) -> Callable:
    """The function under `jax.jit`, without it."""
    return _wrapped(answer, getattr(answer, "__wrapped__", answer))


def compiled_anew(answer: Any) -> Callable:
    """Compiled at each call."""
    inner = getattr(answer, "__wrapped__", answer)
    return _wrapped(answer, lambda *a, **k: jax.jit(lambda *b, **m: inner(*b, **m))(*a, **k))


def replicated(answer: Callable) -> Callable:
    """Every array of the result is put whole on each device that holds a part of it."""

    def whole(leaf: Any) -> Any:
        sharding = getattr(leaf, "sharding", None)
        if not isinstance(sharding, jax.sharding.NamedSharding):
            return leaf
        spec = jax.sharding.PartitionSpec()
        return jax.device_put(leaf, jax.sharding.NamedSharding(sharding.mesh, spec))

    return _leafwise(answer, whole)
