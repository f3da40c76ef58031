"""Checks that a function returns JAX arrays of the right shape and dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from graders.checks.mechanics import argument_names, at, check, reject, seen
from graders.diagnosis import shape as results
from graders.seam.subject import Subject
from graders.values import describe
from graders.values.plain import Leaf, Opaque, Plain, Record, children


@check
def check_shape(
    answer: Subject,
    *args: Any,
    returns: Any,
    kwargs: dict | None = None,
    about: str = "",
    **dims: int,
) -> None:
    """Checks that `answer(*args)` returns a JAX array of the shape that `returns` describes.

    NumPy arrays and Python numbers are rejected: a JAX function returns JAX arrays.

    Args:
        answer: the student's function.
        args: its positional arguments.
        returns: the names of the dimensions, as in "batch 3"; "" is a scalar. For a result that is
            a pytree, the same pytree of such strings.
        kwargs: its keyword arguments.
        about: what distinguishes this line from others of its kind on the card.
        dims: the size of each name, as in `batch=5`.

    Raises:
        CheckFailed: the result has another shape or structure.
        KeyError: a name in `returns` has no size.

    Example:
        >>> check_shape(jnp.transpose, jnp.ones((5, 3)), returns="3 batch", batch=5)
    """
    wanted = f"shape {_shown(returns, dims)}"
    got = seen(answer.call(*args, **(kwargs or {})), answer, args, wanted)
    for path, leaf, names in paired(got, returns, answer, args):
        _judge_shape(answer, args, path, leaf, names, dims)


def _shown(returns: Any, dims: dict[str, int]) -> str:
    if not isinstance(returns, str):
        return str(returns)
    names = ", ".join(returns.split()) + ("," if len(returns.split()) == 1 else "")
    shape = describe.dimensions(_sizes(returns, dims))
    return shape if f"({names})" == shape else f"({names}) = {shape}"


def _sizes(names: str, dims: dict[str, int]) -> tuple[int, ...]:
    return tuple(int(name) if name.isdigit() else dims[name] for name in names.split())


def _judge_shape(
    answer: Subject, args: Sequence[Any], path: str, leaf: Plain, names: str, dims: dict[str, int]
) -> None:
    array, expected = jax_array(answer, args, path, leaf), _sizes(names, dims)
    if array.shape == expected:
        return
    cause = results.shape(array.shape, expected, array_arguments(answer, args))
    prefix = f"{path}: " if path else ""
    reject(
        cause,
        f"{prefix}shape {_shown(names, dims)}",
        f"{prefix}shape {describe.dimensions(array.shape)}",
        at(answer, args),
    )


def array_arguments(answer: Subject, args: Sequence[Any]) -> list[tuple[str, tuple[int, ...]]]:
    """The names and shapes of those arguments that are arrays."""
    named = zip(argument_names(answer, args), args, strict=True)
    shaped = [(name, getattr(arg, "shape", None)) for name, arg in named]
    return [
        (name, shape) for name, shape in shaped if isinstance(shape, tuple)
    ]  # a mesh has a dict


@check
def check_dtype(
    answer: Subject,
    *args: Any,
    returns: Any,
    weak: bool | None = None,
    kwargs: dict | None = None,
    about: str = "",
) -> None:
    """Checks that `answer(*args)` returns JAX arrays of dtype `returns`.

    Args:
        answer: the student's function.
        args: its positional arguments.
        returns: the name of a dtype, or a pytree of names.
        weak: False rejects a weakly typed result too.
        kwargs: its keyword arguments.
        about: what distinguishes this line from others of its kind on the card.

    Raises:
        CheckFailed: the result has another dtype, another structure, or is weakly typed.

    Example:
        >>> check_dtype(jnp.argmax, jnp.ones(3), returns="int32")
    """
    got = seen(answer.call(*args, **(kwargs or {})), answer, args, f"dtype {returns}")
    for path, leaf, name in paired(got, returns, answer, args):
        found = jax_array(answer, args, path, leaf).dtype.name
        prefix = f"{path}: " if path else ""
        if found != name:
            cause = _dtype_cause(found, name)
            reject(cause, f"{prefix}{name}", f"{prefix}{found}", at(answer, args))
        if weak is False and leaf.weak:
            reject(results.weak(), f"{name}", f"weakly typed {found}", at(answer, args))


def _dtype_cause(got: str, expected: str) -> Any:
    kinds = _kind(got), _kind(expected)
    return results.dtype_kind(*kinds) if kinds[0] != kinds[1] else results.dtype(got, expected)


def _kind(dtype: str) -> str:
    for prefix, kind in (("bool", "b"), ("int", "i"), ("uint", "i"), ("complex", "c")):
        if dtype.startswith(prefix):
            return kind
    return "f"


def jax_array(answer: Subject, args: Sequence[Any], path: str, leaf: Plain) -> np.ndarray:
    """The numbers of a leaf that is a JAX array; everything else is rejected."""
    if isinstance(leaf, Leaf) and leaf.origin == "jax":
        return leaf.data
    prefix = f"{path}: " if path else ""
    cause = results.other_kind(leaf, "a JAX array")
    reject(cause, f"{prefix}a JAX array", prefix + describe.text(leaf), at(answer, args))


def paired(
    got: Plain, wanted: Any, answer: Subject, args: Sequence[Any], path: str = ""
) -> Iterator[tuple[str, Plain, Any]]:
    """Each leaf of `got` beside that of `wanted` at its path; other structure is rejected."""
    if not isinstance(wanted, dict | list | tuple):
        yield path, got, wanted
        return
    _same_structure(
        got, wanted, path, lambda cause: _reject_structure(cause, got, wanted, answer, args)
    )
    inner = [child for _, child in children(got)] if not isinstance(wanted, dict) else None
    for index, (name, expected) in enumerate(_named_children(wanted)):
        found = got[expected[0]] if inner is None else inner[index]
        yield from paired(found, expected[1], answer, args, path + name)


def _named_children(wanted: Any) -> list[tuple[str, tuple[Any, Any]]]:
    if isinstance(wanted, dict):
        return [(f"[{key!r}]", (key, value)) for key, value in wanted.items()]
    fields = getattr(wanted, "_fields", None)
    names = [f".{f}" for f in fields] if fields else [f"[{i}]" for i in range(len(wanted))]
    return [(name, (i, value)) for i, (name, value) in enumerate(zip(names, wanted, strict=True))]


def _same_structure(got: Plain, wanted: Any, path: str, refuse: Callable[[Any], None]) -> None:
    if isinstance(wanted, dict):
        if not isinstance(got, dict):
            refuse(results.other_kind(got, "a dict"))
        for key in wanted:
            if key not in got:
                refuse(results.missing(f"{path}[{key!r}]" if path else repr(key)))
        for key in got:
            if key not in wanted:
                refuse(results.superfluous(f"{path}[{key!r}]" if path else repr(key)))
        return
    other_kind = isinstance(got, list) != isinstance(wanted, list) and not isinstance(got, Record)
    if not isinstance(got, list | tuple | Record) or other_kind:
        refuse(results.other_kind(got, f"a {type(wanted).__name__}"))
    if len(children(got)) != len(wanted):
        opaque = any(isinstance(child, Opaque) for _, child in children(got))
        lengths = len(children(got)), len(wanted)
        refuse(results.closed_object() if opaque else results.other_length(*lengths))


def _reject_structure(
    cause: Any, got: Plain, wanted: Any, answer: Subject, args: Sequence[Any]
) -> None:
    kind = f"a {type(wanted).__name__} of {len(wanted)}"
    keys = f" with keys {', '.join(map(repr, wanted))}" if isinstance(wanted, dict) else ""
    reject(cause, kind + keys, describe.text(got), at(answer, args))
