"""The data that may cross from a student's process to a check: no code, no live objects.

`plain(value)` turns whatever a student's function returned into this vocabulary; the checks
read nothing else, so a lying `__eq__`, `__array__` or `__float__` gains nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import jax
import numpy as np

Origin: TypeAlias = Literal["jax", "numpy", "python"]
Plain: TypeAlias = Any
"""None, str, `Leaf`, `Key`, `Record`, `Opaque`, or a list, tuple or dict of them."""

DEEPEST = 40


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


def plain(value: object, depth: int = 0) -> Plain:
    """`value` in the vocabulary of this module; never raises for what a student may return."""
    if depth > DEEPEST:
        return Opaque("a structure nested too deep")
    if value is None or type(value) is str:
        return value
    if isinstance(value, jax.core.Tracer):
        return Opaque("a tracer")
    if isinstance(value, bool | int | float | complex):
        return _scalar(value)
    if isinstance(value, jax.Array):
        return _jax_array(value)
    if isinstance(value, np.ndarray | np.generic):
        return _numpy_array(value)
    return _container(value, depth + 1)


def _scalar(value: bool | int | float | complex) -> Plain:
    try:
        return Leaf(np.array(value), "python", weak=not isinstance(value, bool))
    except OverflowError:
        return Opaque("an integer too large for an array")


def _jax_array(value: jax.Array) -> Plain:
    if value.is_deleted():
        return Opaque("a deleted array")
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        return Key(str(jax.random.key_impl(value)), np.asarray(jax.random.key_data(value)))
    return Leaf(np.asarray(value), "jax", bool(value.weak_type))


def _numpy_array(value: np.ndarray | np.generic) -> Plain:
    array = np.array(value, subok=False)
    return Opaque("a NumPy array of objects") if array.dtype.hasobject else Leaf(array, "numpy")


def _container(value: object, depth: int) -> Plain:
    if type(value) is list:
        return [plain(item, depth) for item in value]
    if type(value) is tuple:
        return tuple(plain(item, depth) for item in value)
    if type(value) is dict and all(type(key) in (str, int) for key in value):
        return {key: plain(item, depth) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _record(value, tuple(value._fields), tuple(value), depth)
    return _registered(value, depth)


def _registered(value: object, depth: int) -> Plain:
    if isinstance(value, type) or jax.tree_util.all_leaves([value]):
        return Opaque(_type_name(value), callable(value))
    paths = jax.tree_util.tree_flatten_with_path(value, is_leaf=lambda node: node is not value)[0]
    fields = tuple(jax.tree_util.keystr(path, simple=True) for path, _ in paths)
    return _record(value, fields, tuple(child for _, child in paths), depth)


def _record(value: object, fields: tuple[str, ...], children: tuple, depth: int) -> Record:
    return Record(_type_name(value), fields, tuple(plain(child, depth) for child in children))


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
        return [(f".{name}", child) for name, child in zip(value.fields, value.children)]
    return []
