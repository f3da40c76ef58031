"""The jaxpr of a function, traced afresh."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from graders.values import describe
from graders.values.jax_internals import ClosedJaxpr
from graders.values.plain import Opaque, leaves, plain


class NoArrays(Exception):
    """A function that is traced returns something other than arrays and pytrees of them."""


def trace(function: Callable, args: Sequence[Any], static_argnums: Sequence[int]) -> ClosedJaxpr:
    """The jaxpr of a fresh wrapper around `function`, so that no cached trace is met."""
    indices = dynamic(args, static_argnums)

    def fresh(*traced: Any) -> Any:
        merged = list(args)
        for index, arg in zip(indices, traced, strict=True):
            merged[index] = arg
        return _arrays(function(*merged))

    return jax.make_jaxpr(fresh)(*(args[i] for i in indices))


def _arrays(result: Any) -> Any:
    for _, leaf in leaves(plain(result)):
        if isinstance(leaf, str) or (isinstance(leaf, Opaque) and leaf.type != "a tracer"):
            raise NoArrays(describe.text(leaf))
    return result


def dynamic(args: Sequence[Any], static_argnums: Sequence[int]) -> list[int]:
    """The positions of the arguments that are traced."""
    return [i for i, arg in enumerate(args) if i not in static_argnums and not _static(arg)]


def _static(arg: Any) -> bool:
    return arg is None or isinstance(arg, str | bool) or callable(arg)
