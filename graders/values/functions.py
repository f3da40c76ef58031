"""Python functions from the inside: the code under decorators, and the names that it uses."""

from __future__ import annotations

import contextlib
import functools
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any


class Through:
    """A function of ours applied to the student's object: `Through(g, f)(x)` is `g(f, x)`."""

    def __init__(self, ours: Callable, student: Any) -> None:
        self.ours, self.student = ours, student

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.ours(self.student, *args, **kwargs)


def body_of(function: Any) -> types.CodeType | None:
    """The code of the Python function under decorators, partials and methods; None for others."""
    inner = innermost(function)
    return inner.__code__ if inner else None


@contextlib.contextmanager
def runs_of(body: types.CodeType | None) -> Iterator[list[None]]:
    """A list with an entry for each time that the code `body` runs in this block."""
    runs: list[None] = []

    def count(frame: types.FrameType, event: str, arg: Any) -> None:
        if event == "call" and frame.f_code is body:
            runs.append(None)

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield runs
    finally:
        sys.setprofile(before)


def innermost(function: Any) -> types.FunctionType | None:
    """The Python function under decorators, partials, methods and `Through`; None for others."""
    for _ in range(20):
        if isinstance(function, types.FunctionType) and not hasattr(function, "__wrapped__"):
            return function
        function = _one_layer_less(function)
    return None


def _one_layer_less(function: Any) -> Any:
    if isinstance(function, Through):
        return function.student
    if isinstance(function, functools.partial):
        return function.func
    for attribute in ("__wrapped__", "__func__", "fun"):
        if (inner := getattr(function, attribute, None)) is not None:
            return inner
    return getattr(type(function), "__call__", None)  # noqa: B004


def names_in(code: types.CodeType) -> Iterator[str]:
    """The globals and attributes that `code`, and the code inside it, uses by name."""
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from names_in(const)
