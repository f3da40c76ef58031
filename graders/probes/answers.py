"""What the student's object is, what it returns, and how its parameters are called."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from graders.plain import plain, printable


def value(answer: Any) -> Any:
    """The student's object itself, as plain data: a prediction.

    A dtype, and the class of an exception, become their names.
    """
    if isinstance(answer, type) and issubclass(answer, BaseException):
        return answer.__name__
    dtype = getattr(answer, "dtype", None) if isinstance(answer, type) else answer
    if isinstance(answer, type) and issubclass(answer, np.generic):
        dtype = np.dtype(answer)
    return dtype.name if isinstance(dtype, np.dtype) else plain(answer)


def call(function: Callable, *args: Any, **kwargs: Any) -> Any:
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
