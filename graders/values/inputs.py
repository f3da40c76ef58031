"""The arguments of an observation, as the student's function receives them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from graders.values.jax_internals import canonical_dtype, is_committed
from graders.values.plain import is_key


def received(args: Any) -> Any:
    """`args` with every array a fresh `jax.Array`; under x64 every float32 is widened to float64.

    Fresh, because an answer may donate its arguments, and the check needs them again.
    """
    return jax.tree.map(_array, args)


def _array(leaf: Any) -> Any:
    if is_key(leaf) or not isinstance(leaf, np.ndarray | np.generic | jax.Array):
        return leaf
    wide = np.float64 if leaf.dtype == np.float32 else leaf.dtype
    dtype = canonical_dtype(wide)
    if isinstance(leaf, jax.Array) and leaf.dtype == dtype:
        return _copied(leaf)
    return jnp.asarray(leaf, dtype)


def copied(args: Any) -> Any:
    """Fresh arrays in fresh containers, so that a changed container shows."""
    return jax.tree.map(_copied, args)


def _copied(leaf: Any) -> Any:
    """A fresh array, without a compiled program for it as `leaf.copy()` would need.

    It is committed to its devices only where `leaf` is: others may move it to theirs.
    """
    if isinstance(leaf, jax.Array):
        return jax.device_put(leaf, leaf.sharding if is_committed(leaf) else None, may_alias=False)
    return leaf


def with_fresh_keys(args: Any) -> Any:
    """`args` with typed keys made anew: JAX's checker remembers which have been used."""
    return jax.tree.map(_fresh_key, args)


def _fresh_key(leaf: Any) -> Any:
    if is_key(leaf):
        words, impl = jax.random.key_data(leaf), jax.random.key_impl(leaf)
        return jax.random.wrap_key_data(words, impl=impl)
    return leaf


def as_numpy(args: Any) -> Any:
    """`args` for an oracle: floats as float64 NumPy arrays and scalars, other arrays as NumPy's."""
    return jax.tree.map(_numpy, args)


def _numpy(leaf: Any) -> Any:
    if is_key(leaf):
        return leaf
    if isinstance(leaf, np.generic) and jnp.issubdtype(leaf.dtype, jnp.floating):
        return np.float64(leaf)
    if isinstance(leaf, np.ndarray | jax.Array):
        array = np.asarray(leaf)
        return array.astype(np.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array
    return leaf
