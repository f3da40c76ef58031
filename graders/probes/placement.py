"""Where the student's function leaves its results, and what it sends between devices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from graders.values.jax_internals import collectives_in, placing
from graders.values.plain import Natural, printable


@dataclass(frozen=True)
class Placed:
    """One array of a result; what is not a JAX array has no parts."""

    path: str
    shape: list[Natural]
    parts: list[list[int]]  # a row for each device: its number, then start and stop by axis
    spec: str  # the partition as JAX prints it, or the type of what is not a JAX array


def placement(function: Callable, *args: Any) -> list[Placed]:
    """For each array of the result, in order, what each device holds of it."""
    found, _ = jax.tree_util.tree_flatten_with_path(function(*args))
    return [_placed(jax.tree_util.keystr(path), leaf) for path, leaf in found]


def _placed(path: str, leaf: Any) -> Placed:
    if not isinstance(leaf, jax.Array):
        return Placed(printable(path), [], [], printable(type(leaf).__name__))
    spec = str(getattr(leaf.sharding, "spec", ""))
    return Placed(printable(path), list(leaf.shape), parts_of(leaf.sharding, leaf.shape), spec)


def parts_of(sharding: Any, shape: tuple[int, ...]) -> list[list[int]]:
    """What each device holds of an array of that shape: its number, then start and stop by axis."""
    rows = []
    for device, slices in sharding.devices_indices_map(tuple(shape)).items():
        bounds = [s.indices(n)[:2] for s, n in zip(slices, shape, strict=True)]
        rows.append([device.id, *(edge for pair in bounds for edge in pair)])
    return sorted(rows)


@dataclass(frozen=True)
class Collective:
    """One collective of a compiled program."""

    kind: str  # by its name in compiled HLO
    bytes: Natural  # of what it gives to one device


def collectives(function: Callable, *args: Any) -> list[Collective]:
    """The collectives in the program that is compiled for `args`.

    They are read after the partitioner, which adds those that the shardings of the arguments ask
    for.
    """
    lower = getattr(function, "lower", None) or jax.jit(placing(function)).lower
    return [Collective(*found) for found in collectives_in(lower(*args).compile())]
