"""The arguments of an observation, as the student's function receives them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def received(args: Any) -> Any:
    """`args` with every array a `jax.Array`; under x64 every float32 is widened to float64."""
    return jax.tree.map(_array, args)


def _array(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    if not isinstance(leaf, np.ndarray | np.generic | jax.Array):
        return leaf
    wide = jax.config.jax_enable_x64 and leaf.dtype == np.float32
    return jnp.asarray(leaf, np.float64 if wide else jax.dtypes.canonicalize_dtype(leaf.dtype))


def copied(args: Any) -> Any:
    """The same leaves in fresh containers, so that a changed container shows."""
    return jax.tree.map(lambda leaf: leaf, args)


def as_numpy(args: Any) -> Any:
    """`args` for an oracle: floats as float64 NumPy arrays, other arrays as NumPy arrays."""
    return jax.tree.map(_numpy, args)


def _numpy(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    if isinstance(leaf, np.ndarray | jax.Array):
        array = np.asarray(leaf)
        return array.astype(np.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array
    return leaf
