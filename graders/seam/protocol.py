"""What crosses the seam: a request for one observation, and the result or error that answers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Error:
    """An exception as text: its type, its bases, its message and the line of the student's code."""

    type: str
    bases: tuple[str, ...]
    message: str
    line: str = ""


@dataclass(frozen=True)
class Result(Generic[T]):
    """What a probe returned, as plain data, or the error that it met."""

    value: T | Any = None
    error: Error | None = None


@dataclass(frozen=True)
class Step:
    """One step from the name that a student bound to the object a check is about.

    `result_of`: call it with `args`. `through`: apply `function`, ours, to it and to the
    arguments of the observation.
    """

    kind: str
    args: tuple[Any, ...] = ()
    function: Callable[..., Any] | None = None


@dataclass(frozen=True)
class Request:
    """Everything that one observation needs, beside the student's object."""

    probe: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    x64: bool = False


ENDED = Error("ProcessEnded", ("ProcessEnded",), "the process has ended")
GARBLED = Error("Garbled", ("Garbled",), "the process has sent what no probe returns")
OUT_OF_TIME = Error("TimeLimit", ("TimeLimit",), "the time is over")
OUT_OF_MEMORY = Error("MemoryLimit", ("MemoryLimit", "MemoryError"), "the memory is used up")
