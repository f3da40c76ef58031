"""The data that may cross from a student's process to a check: no code, no live objects.

`plain(value)` turns whatever a student's function returned into this vocabulary; the checks
read nothing else, so a lying `__eq__`, `__array__` or `__float__` gains nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from graders.values.jax_internals import Tracer, is_weak

Origin: TypeAlias = Literal["jax", "numpy", "python"]


class IsPlain:
    """What the seam asks of a value that is annotated with it: that it is in this vocabulary."""


Plain: TypeAlias = Annotated[Any, IsPlain]
"""None, str, `Leaf`, `Key`, `Record`, `Opaque`, or a list, tuple or dict of them."""


@dataclass(frozen=True)
class AtLeast:
    """What the seam asks of an integer that is annotated with it."""

    bound: int


Natural: TypeAlias = Annotated[int, AtLeast(0)]
"""A count that may be 0."""
Positive: TypeAlias = Annotated[int, AtLeast(1)]
"""A count of what is there."""

DEEPEST = 40
MOST = 20_000
"""Values in one structure; what lies beyond becomes an `Opaque`."""
MOST_ELEMENTS = 64 << 20
"""Of an array that crosses, with an axis of size 0 counted as one of size 1: to walk along the
other axes of an empty array is as much work as with a full one."""

TOO_DEEP, TOO_LARGE = "a structure nested too deep", "too large a structure"
ENDLESS = "an empty array with an axis that is too long"


@dataclass(frozen=True)
class Leaf:
    """A number or an array: its data, where it came from, whether its dtype is weak."""

    data: np.ndarray
    origin: Origin
    weak: bool = False


@dataclass(frozen=True)
class Key:
    """A typed PRNG key, or an array of them: the implementation's name and the raw words."""

    impl: str
    data: np.ndarray


@dataclass(frozen=True)
class Record:
    """A named tuple or an object registered as a pytree: type, field names, children."""

    type: str
    fields: tuple[str, ...]
    children: tuple[Plain, ...]


@dataclass(frozen=True)
class Opaque:
    """Anything that is no data: the name of its type and whether it can be called."""

    type: str
    callable: bool = False


def is_plain(value: object) -> bool:
    """Whether decoded data is in this vocabulary; what a `Record` holds was looked at before it."""
    if type(value) in (list, tuple):
        return all(map(is_plain, value))  # type: ignore[arg-type]
    if type(value) is dict:
        return all(map(is_plain, value.values()))
    return value is None or type(value) in (str, Leaf, Key, Record, Opaque)


def extent(shape: Sequence[int]) -> int:
    """The elements of an array of that shape, where an axis of size 0 counts as one of size 1."""
    return math.prod(max(size, 1) for size in shape)


def plain(value: object) -> Plain:
    """`value` in the vocabulary of this module, however deep, wide or odd it is."""
    return _Reader().read(value, 0)


class _Reader:
    """Reads one structure, and counts what it has met: a list can hold itself twice."""

    def __init__(self) -> None:
        self.met = 0

    def read(self, value: object, depth: int) -> Plain:
        self.met += 1
        if depth > DEEPEST or self.met > MOST:
            return Opaque(TOO_DEEP if depth > DEEPEST else TOO_LARGE)
        if value is None:
            return None
        if type(value) is str:
            return printable(value)
        if isinstance(value, Tracer):
            return Opaque("a tracer")
        if isinstance(value, jax.Array):
            return _jax_array(value)
        if isinstance(value, bool | int | float | complex | np.ndarray | np.generic):
            return _number(value)
        return self._container(value, depth + 1)

    def _container(self, value: object, depth: int) -> Plain:
        if type(value) is list:
            return [self.read(item, depth) for item in self._first(value)]
        if type(value) is tuple:
            return tuple(self.read(item, depth) for item in self._first(value))
        if type(value) is dict and all(_is_key(key) for key in value):
            return {key: self.read(item, depth) for key, item in self._first(value.items())}
        if isinstance(value, tuple) and (fields := getattr(value, "_fields", None)):
            return self._record(value, tuple(fields), tuple(value), depth)
        return self._registered(value, depth)

    def _first(self, items: Iterable[Any]) -> Iterator[Any]:
        """As many as may be met, and one more: that is the one that says so."""
        return islice(items, MOST - self.met + 1)

    def _registered(self, value: object, depth: int) -> Plain:
        paths = None if isinstance(value, type) else _flattened(value)
        if paths is None:
            return Opaque(printable(_type_name(value)), callable(value))
        fields = tuple(printable(jax.tree_util.keystr(path, simple=True)) for path, _ in paths)
        return self._record(value, fields, tuple(child for _, child in paths), depth)

    def _record(self, value: object, fields: tuple[str, ...], inner: tuple, depth: int) -> Record:
        return Record(
            printable(_type_name(value)), fields, tuple(self.read(child, depth) for child in inner)
        )


def _flattened(value: object) -> list[tuple[Any, Any]] | None:
    """The children of a pytree with their paths; None for what is no pytree, or a broken one."""
    try:
        if jax.tree_util.all_leaves([value]):
            return None
        found = jax.tree_util.tree_flatten_with_path(value, is_leaf=lambda node: node is not value)
        return found[0]
    except Exception:  # a class of the student's, or keys that cannot be sorted
        return None


def printable(text: str) -> str:
    """`text` without the halves of characters that no page and no message can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _is_key(key: object) -> bool:
    if type(key) is int:
        return -(2**63) <= key < 2**64
    return type(key) is str and key == printable(key)


def is_key(value: object) -> bool:
    """Whether it is a typed PRNG key, or an array of them."""
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _jax_array(value: jax.Array) -> Plain:
    if value.is_deleted():
        return Opaque("a deleted array")
    if extent(value.shape) > MOST_ELEMENTS and not value.size:
        return Opaque(ENDLESS)
    if is_key(value):
        return Key(str(jax.random.key_impl(value)), np.asarray(jax.random.key_data(value)))
    return Leaf(np.asarray(value), "jax", is_weak(value))


def _number(value: bool | int | float | complex | np.ndarray | np.generic) -> Plain:
    array = np.array(value, subok=False)
    if extent(array.shape) > MOST_ELEMENTS and not array.size:
        return Opaque(ENDLESS)
    if isinstance(value, np.ndarray | np.generic):
        if not is_numeric(array.dtype):
            return Opaque(f"a NumPy array of {_ITEMS.get(array.dtype.kind, 'records')}")
        return Leaf(array.astype(array.dtype.newbyteorder("="), copy=False), "numpy")
    if array.dtype.hasobject:
        return Opaque("an integer too large for an array")
    return Leaf(array, "python", weak=not isinstance(value, bool))


_ITEMS = {"O": "objects", "U": "strings", "S": "bytes", "M": "dates", "m": "durations"}


def is_numeric(dtype: np.dtype) -> bool:
    """Whether it is a dtype of numbers, JAX's own included."""
    return dtype.kind in "biufc" or (dtype.fields is None and jnp.issubdtype(dtype, np.number))


def _type_name(value: object) -> str:
    return value.__name__ if isinstance(value, type) else type(value).__name__


def leaves(value: Plain, path: str = "") -> Iterator[tuple[str, Plain]]:
    """Every leaf of `value` with its path, as in `['layer']['w']`, depth first."""
    for name, child in children(value):
        yield from leaves(child, path + name)
    if not is_container(value):
        yield path, value


def is_container(value: Plain) -> bool:
    return isinstance(value, list | tuple | dict | Record)


def children(value: Plain) -> list[tuple[str, Plain]]:
    """The children of a container with the text that reaches each; none for a leaf."""
    if isinstance(value, dict):
        return [(f"[{key!r}]", child) for key, child in value.items()]
    if isinstance(value, list | tuple):
        return [(f"[{index}]", child) for index, child in enumerate(value)]
    if isinstance(value, Record):
        return [
            (f".{name}", child) for name, child in zip(value.fields, value.children, strict=True)
        ]
    return []
