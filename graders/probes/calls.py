"""What the student's function returns, and how its parameters are called."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from graders.values.plain import Plain, plain, printable


def call(function: Callable, *args: Any, **kwargs: Any) -> Plain:
    """What the function returns."""
    return plain(function(*args, **kwargs))


def parameters(function: Callable) -> list[str]:
    """The names of the function's positional parameters; none where Python cannot tell."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [printable(parameter.name) for parameter in found if parameter.kind in kinds]
