"""The student's function under `jax.vmap`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from graders.values.plain import Plain, plain


def batched(function: Callable, *args: Any, in_axes: tuple[int | None, ...]) -> Plain:
    """What `jax.vmap(function, in_axes)` returns, the batch in front."""
    return plain(jax.vmap(function, in_axes=in_axes)(*args))
