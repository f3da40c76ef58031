"""Values as short text: small arrays in full, large ones by shape and range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from graders.values.plain import Key, Leaf, Opaque, Record, is_container, plain

WHOLE, FEW = 24, 4
LONGEST = 400
LONG_INPUT = 240


def text(value: Any) -> str:
    """Plain data, at most 400 characters long."""
    return _cut(_text(value))


def _cut(words: str) -> str:
    return words if len(words) <= LONGEST else words[: LONGEST - 4] + " ..."


def _text(value: Any, whole: int = WHOLE, typed: bool = False) -> str:
    """`typed`: with the dtype of scalars, since JAX tells 2, 2.0 and an array of it apart."""
    if isinstance(value, Leaf):
        return _scalar(value) if typed and not value.data.ndim else array(value.data, whole)
    if isinstance(value, Key):
        return f"a PRNG key of shape {value.data.shape[:-1]}" if value.data.ndim > 1 else "a key"
    if isinstance(value, Opaque):
        return opaque(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {_text(v, whole, typed)}" for k, v in value.items()) + "}"
    if isinstance(value, Record):
        inner = ", ".join(
            f"{k}={_text(v, whole, typed)}"
            for k, v in zip(value.fields, value.children, strict=True)
        )
        return f"{value.type}({inner})"
    if is_container(value):
        inner = ", ".join(_text(item, whole, typed) for item in value)
        comma = "," if len(value) == 1 else ""
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{comma})"
    return repr(value)


def _scalar(leaf: Leaf) -> str:
    """A number, with its dtype where it is not Python's."""
    shown = array(leaf.data)
    if leaf.origin == "python":
        return (
            f"{shown}.0" if leaf.data.dtype.kind == "f" and shown.lstrip("-").isdigit() else shown
        )
    weak = ", weakly typed" if leaf.weak else ""
    return f"{shown} ({leaf.data.dtype}{weak})"


def opaque(value: Opaque) -> str:
    """What an object is that no check can read; its type may be a phrase of `graders.plain`."""
    if value.type == "ellipsis":
        return "the placeholder `...`"
    if value.callable:
        return "a function"
    return value.type if " " in value.type else f"an object of type {value.type}"


def array(data: np.ndarray, whole: int = WHOLE) -> str:
    """An array of at most `whole` elements in full, a larger one by shape and range."""
    if data.dtype.kind == "V":  # bfloat16 and its like, for which NumPy has no formats
        data = data.astype(np.float32)
    if data.ndim == 0:
        return number(data[()])
    if data.size <= whole:
        return _full(data)
    return f"an array of shape {data.shape}{_range(data)}"


def _full(data: np.ndarray) -> str:
    shown = np.array2string(
        data,
        separator=", ",
        max_line_width=10_000,
        formatter={"float": number, "complexfloat": number},
    )
    return " ".join(shown.split()) + ("" if data.size else f" of shape {data.shape}")


def number(scalar: Any) -> str:
    """A scalar with five significant digits."""
    if isinstance(scalar, bool | np.bool_ | int | np.integer):
        return str(scalar)
    return f"{scalar:.5g}" if isinstance(scalar, float | complex | np.inexact) else str(scalar)


def _range(data: np.ndarray) -> str:
    if data.dtype.kind not in "iuf" or not np.isfinite(data).any():
        return ""
    finite = data[np.isfinite(data)]
    return f", from {number(finite.min())} to {number(finite.max())}"


def dimensions(shape: Sequence[int]) -> str:
    """A shape as Python writes it, without NumPy's integer types."""
    return str(tuple(int(size) for size in shape))


def inputs(names: Sequence[str], args: Sequence[Any]) -> str:
    """Arguments by name where the names are known, as in `w = [0, 0], n = 3`.

    Where that would fill lines, arrays of more than four elements are described by shape and range.
    """
    labels = list(names[: len(args)]) + [f"argument {i + 1}" for i in range(len(names), len(args))]
    given = [_given(arg) for arg in args]
    texts = [_text(arg, typed=True) for arg in given]
    if sum(map(len, texts)) > LONG_INPUT:
        texts = [_text(arg, FEW, typed=True) for arg in given]
    pairs = zip(labels, map(_cut, texts), strict=True)
    return ", ".join(f"{label} = {words}" for label, words in pairs)


def _given(arg: Any) -> Any:
    if callable(arg) and not isinstance(arg, jax.Array):
        is_mesh = isinstance(arg, jax.sharding.Mesh)
        return Opaque(f"a mesh {dict(arg.shape)}" if is_mesh else "a function")
    return plain(arg)
