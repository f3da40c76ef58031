"""Seeded inputs for a check: `sweep` draws argument tuples of several sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

SIZES = (2, 3, 4, 5, 6, 7, 8)


class Sizes:
    """The size of each named dimension in one case; no two names share a size."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._left = list(rng.permutation(SIZES))
        self._drawn: dict[str, int] = {}

    def shape(self, names: str) -> tuple[int, ...]:
        return tuple(self._size(name) for name in names.split())

    def _size(self, name: str) -> int:
        if name.isdigit():
            return int(name)
        if name not in self._drawn:
            self._drawn[name] = int(self._left.pop())
        return self._drawn[name]


@dataclass(frozen=True)
class Drawn:
    """A specification of one argument: how to draw it, given the sizes of the case."""

    draw: Callable[[np.random.Generator, Sizes], Any]
    is_normal: bool = False  # then a sweep may plant zeros in it, and change its scale


def uniform(shape: str, low: float = 0.0, high: float = 1.0) -> Drawn:
    """A float32 array of that shape, uniform over [low, high).

    Example:
        >>> [(x,)] = sweep(uniform("n", 1.0, 2.0), count=1)
        >>> x.dtype, bool((x >= 1).all())
        (dtype('float32'), True)
    """
    return Drawn(lambda rng, sizes: rng.uniform(low, high, sizes.shape(shape)).astype(np.float32))


def integers(shape: str, low: int, high: int) -> Drawn:
    """An int32 array of that shape, uniform over low, ..., high - 1.

    Example:
        >>> [(labels,)] = sweep(integers("16", 0, 10), count=1)
        >>> labels.shape, labels.dtype
        ((16,), dtype('int32'))
    """
    return Drawn(lambda rng, sizes: rng.integers(low, high, sizes.shape(shape), dtype=np.int32))


def normal(shape: str, scale: float = 1.0) -> Drawn:
    """A float32 array of that shape, normal with standard deviation `scale`.

    Example:
        >>> [(x,)] = sweep(normal("1000", scale=3.0), count=1)
        >>> bool(2.5 < x.std() < 3.5)
        True
    """

    def draw(rng: np.random.Generator, sizes: Sizes) -> np.ndarray:
        return np.asarray(scale * rng.standard_normal(sizes.shape(shape)), np.float32)

    return Drawn(draw, is_normal=True)


def sweep(
    *specs: Any, count: int = 3, seed: int = 0, scale: float = 1.0, planted: bool = False
) -> list[tuple]:
    """`count` argument tuples, the same for the same seed.

    Names of dimensions keep their size within a case, distinct names have distinct sizes from 2 to
    8, and digits are sizes themselves.

    Args:
        specs: one for each argument. A string of dimension names, as in "batch features", becomes a
            normal float32 array. `integers(...)`, `uniform(...)` and `normal(...)` draw other
            arrays. Lists, tuples and dicts of specifications become pytrees. Any other value is
            passed on as it is.
        count: how many argument tuples.
        seed: of the sizes and of the numbers.
        scale: the standard deviation of the arrays that are given as strings.
        planted: whether four more cases follow that have the sizes of the first: other numbers,
            small ones, large ones, and numbers among which there are zeros and ties. They reject an
            answer that remembers a result by its shape, compares with a threshold, clips, or takes
            a zero for something special.

    Example:
        >>> for w, x in sweep("n m", "m", count=2):
        ...     assert w.shape[1] == x.shape[0]
    """
    rng = np.random.default_rng(seed)
    cases, every = [], []
    for _ in range(count):
        every.append(Sizes(rng))
        cases.append(tuple(_drawn(spec, rng, every[-1], scale, _as_drawn) for spec in specs))
    if planted:
        changes = PLANTED if any(map(_is_normal, specs)) else PLANTED[:1]
        for change in changes:
            cases.append(tuple(_drawn(spec, rng, every[0], scale, change) for spec in specs))
    return cases


Change = Callable[[np.ndarray], np.ndarray]


def _as_drawn(array: np.ndarray) -> np.ndarray:
    return array


def _small(array: np.ndarray) -> np.ndarray:
    return array * np.float32(1e-3)


def _large(array: np.ndarray) -> np.ndarray:
    return array * np.float32(30)


def _tied(array: np.ndarray) -> np.ndarray:
    """Halves: about a fifth of them are zero, and many are equal."""
    return np.round(2 * array) / np.float32(2)


PLANTED: tuple[Change, ...] = (_as_drawn, _small, _large, _tied)


def _is_normal(spec: Any) -> bool:
    if isinstance(spec, dict):
        return any(map(_is_normal, spec.values()))
    if isinstance(spec, list | tuple):
        return any(map(_is_normal, spec))
    return isinstance(spec, str) or (isinstance(spec, Drawn) and spec.is_normal)


def _drawn(spec: Any, rng: np.random.Generator, sizes: Sizes, scale: float, change: Change) -> Any:
    if isinstance(spec, str):
        return change(normal(spec, scale).draw(rng, sizes))
    if isinstance(spec, Drawn):
        drawn = spec.draw(rng, sizes)
        return change(drawn) if spec.is_normal else drawn
    if isinstance(spec, dict):
        return {name: _drawn(inner, rng, sizes, scale, change) for name, inner in spec.items()}
    if isinstance(spec, list | tuple):
        drawn = [_drawn(inner, rng, sizes, scale, change) for inner in spec]
        return type(spec)(*drawn) if hasattr(spec, "_fields") else type(spec)(drawn)
    return spec
