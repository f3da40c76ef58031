"""Where the student's function leaves its results, and what it sends between devices."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax

from graders.plain import printable

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")
_COLLECTIVE = re.compile(rf" ({'|'.join(KINDS)})(?:-start)?\(")


def placement(function: Callable, *args: Any) -> list[dict]:
    """For each array of the result, in order: its path, its shape, and what each device holds.

    `parts` has a row for each device: its number, then the start and the stop of the part in each
    dimension. `spec` is the partition as JAX prints it. What is no JAX array has no parts.
    """
    found, _ = jax.tree_util.tree_flatten_with_path(function(*args))
    return [_placed(jax.tree_util.keystr(path), leaf) for path, leaf in found]


def _placed(path: str, leaf: Any) -> dict:
    if not isinstance(leaf, jax.Array):
        kind = printable(type(leaf).__name__)
        return {"path": printable(path), "shape": [], "parts": [], "spec": kind}
    spec = getattr(leaf.sharding, "spec", "")
    return {
        "path": printable(path),
        "shape": list(leaf.shape),
        "parts": parts_of(leaf.sharding, leaf.shape),
        "spec": str(spec),
    }


def parts_of(sharding: Any, shape: tuple[int, ...]) -> list[list[int]]:
    """What each device holds of an array of that shape: its number, then start and stop by axis."""
    rows = []
    for device, slices in sharding.devices_indices_map(tuple(shape)).items():
        bounds = [s.indices(n)[:2] for s, n in zip(slices, shape, strict=True)]
        rows.append([device.id, *(edge for pair in bounds for edge in pair)])
    return sorted(rows)


def collectives(function: Callable, *args: Any) -> dict[str, int]:
    """How often the program that is compiled for `args` uses each kind of collective.

    They are read after the partitioner, which adds those that the shardings of the arguments ask
    for.
    """
    lower = getattr(function, "lower", None) or jax.jit(function).lower
    return dict(Counter(_COLLECTIVE.findall(lower(*args).compile().as_text() or "")))
