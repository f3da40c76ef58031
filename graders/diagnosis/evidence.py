"""What a diagnosis of numbers rests on: the cases, how alike they are, how many numbers they give.

A cause is named only where enough independent numbers show it. One wrong scalar is a factor, an
offset and some power of the right one at once; four numbers that differ are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

NEAR = 1e-3
ENOUGH = 4  # independent numbers, over all wrong cases together
READ = 1000  # so many elements of an array are counted at most: a few are enough


@dataclass(frozen=True)
class Pair:
    """One case: the arguments, and one array that was expected with the one that came."""

    args: tuple[Any, ...]
    expected: np.ndarray
    got: np.ndarray
    right_elements: np.ndarray  # booleans: which elements the check accepts
    kind: str = "f"  # of the expected dtype, by NumPy's letter; the arrays may have been widened

    @property
    def right(self) -> bool:
        """Whether the check accepts all of it."""
        return bool(self.right_elements.all())


def near(got: np.ndarray, other: np.ndarray, tolerance: float = NEAR) -> bool:
    """Whether two arrays are the same but for rounding; NaN equals NaN, nothing is broadcast."""
    if got.shape != other.shape:
        return False
    with np.errstate(all="ignore"):
        finite = np.abs(other[np.isfinite(other)])
        scale = max(float(finite.max(initial=0.0)), 1e-30)
        return bool(np.allclose(got, other, rtol=tolerance, atol=1e-5 * scale, equal_nan=True))


def wrong(pairs: Sequence[Pair]) -> list[Pair]:
    return [pair for pair in pairs if not pair.right]


def right(pairs: Sequence[Pair]) -> list[Pair]:
    return [pair for pair in pairs if pair.right]


def distinct(arrays: Iterable[np.ndarray]) -> int:
    """How many different numbers there are, to three digits; 0, NaN and infinities do not count."""
    return len({f"{x:.3g}" for array in arrays for x in _telling(np.asarray(array))})


def _telling(array: np.ndarray) -> np.ndarray:
    return array[np.isfinite(array) & (array != 0)].ravel()[:READ]


def enough(arrays: Iterable[np.ndarray]) -> bool:
    return distinct(arrays) >= ENOUGH


def changed(pair: Pair, candidate: np.ndarray) -> np.ndarray:
    """Which elements a mistake changes, where `candidate` is what the mistake makes of `pair`."""
    with np.errstate(all="ignore"):
        return ~np.isclose(candidate, pair.expected, rtol=NEAR, equal_nan=True)


def sizes(args: Any) -> dict[Any, int]:
    """The sizes of axes in the arguments, meshes too, and the products of neighbouring axes.

    A key says where a size was found, so that one explanation can be held against every case: the
    array, and the axes counted from the first, from the last, or all of them.
    """
    found: dict[Any, int] = {}
    for number, shape in enumerate(shapes(args)):
        found[number, "all"] = int(np.prod(shape))
        for i in range(len(shape)):
            for j in range(i + 1, len(shape) + 1):
                size = int(np.prod(shape[i:j]))
                found[number, i, j] = found[number, i - len(shape), j - len(shape)] = size
    return found


def shapes(args: Any) -> list[tuple[int, ...]]:
    """The shapes of the arrays, numbers and meshes in the arguments."""
    leaves = jax.tree.leaves(args)
    meshes = [leaf.axis_sizes if isinstance(leaf, Mesh) else None for leaf in leaves]
    return [
        np.shape(leaf) if mesh is None else mesh
        for leaf, mesh in zip(leaves, meshes, strict=True)
        if mesh is not None or hasattr(leaf, "dtype")
    ]
