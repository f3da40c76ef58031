"""The student's function as an exported program: what another process can run, and read.

The program is StableHLO in the serialized form of `jax.export`. It takes the arrays among the
arguments, in the order of `jax.tree.leaves`, and returns the leaves of the result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import export

from graders.values.jax_internals import foreign_calls, nothing_cached, placing, read_module
from graders.values.plain import Natural, Positive


def exported(function: Callable, *args: Any, static_argnums: Sequence[int] = ()) -> bytes:
    """The program of `function` at these arguments; what is no array is a constant of it.

    Raises:
        Exception: `jax.export` cannot carry it; a callback to Python, for instance.
    """
    places = array_leaves(args, static_argnums)
    leaves, tree = jax.tree.flatten(args)

    def flat(*arrays: Any) -> list[Any]:
        for place, array in zip(places, arrays, strict=True):
            leaves[place] = array
        return jax.tree.leaves(function(*jax.tree.unflatten(tree, leaves)))

    with nothing_cached():
        program = export.export(jax.jit(placing(flat)))(*(leaves[place] for place in places))
    return bytes(program.serialize())


def array_leaves(args: Sequence[Any], static_argnums: Sequence[int] = ()) -> list[int]:
    """Which of `jax.tree.leaves(args)` are arrays or numbers, static arguments apart."""
    leaves = [
        (leaf, position in static_argnums)
        for position, arg in enumerate(args)
        for leaf in jax.tree.leaves(arg)
    ]
    return [place for place, (leaf, static) in enumerate(leaves) if _is_array(leaf) and not static]


def _is_array(leaf: Any) -> bool:
    numbers = isinstance(leaf, int | float | complex) and not isinstance(leaf, bool)
    return numbers or isinstance(leaf, np.ndarray | np.generic | jax.Array)


class ExportedProgram:
    """An exported program, to be called with the arrays that it takes.

    Where it is one for several devices, arrays that lie on a single one are put whole on each.
    """

    def __init__(self, content: bytes) -> None:
        """Reads it.

        Raises:
            Exception: it is none, or it calls what `jax.export` does not carry by itself: code that
                lies in memory, for instance.
        """
        self.exported = export.deserialize(bytearray(content))
        if foreign := foreign_calls(self.exported.mlir_module()):
            raise ValueError(f"the program calls {', '.join(sorted(foreign))}")

    def __call__(self, *arrays: Any) -> Any:
        return self.exported.call(*self._on_its_devices(arrays))

    def lower(self, *arrays: Any) -> Any:
        """What `jax.jit` lowers for these arrays."""
        return jax.jit(self.exported.call).lower(*self._on_its_devices(arrays))

    def _on_its_devices(self, arrays: Sequence[Any]) -> Sequence[Any]:
        count = self.exported.nr_devices
        placed = [len(a.sharding.device_set) for a in arrays if isinstance(a, jax.Array)]
        if count == 1 or count in placed:
            return arrays
        mesh = jax.sharding.Mesh(np.array(jax.devices()[:count]), "device")
        whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        return jax.device_put(list(arrays), whole)


@dataclass(frozen=True)
class Contents:
    """What an exported program is made of."""

    operations: dict[str, Positive]  # how often each, by the names of `jax_internals.read_module`
    largest: Natural  # the number of elements of the largest value that it computes
    digest: str  # the same for programs with the same text, which compute the same


def contents(program: ExportedProgram) -> Contents:
    """What the program is made of; from which lines of Python it came is left out."""
    module = read_module(program.exported.mlir_module())
    digest = hashlib.sha256(module.text.encode()).hexdigest()
    return Contents(dict(module.contained.operations), module.contained.largest, digest)
