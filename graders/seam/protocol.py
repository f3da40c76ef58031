"""What crosses the seam: a request for one observation, and the result or error that answers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")

LONGEST_MESSAGE, LONGEST_LINE, LONGEST_NAME, MOST_BASES = 2000, 120, 120, 40


@dataclass(frozen=True)
class Error:
    """An exception as text: its type, its bases, its message and the line of the student's code."""

    type: str
    bases: tuple[str, ...]
    message: str
    line: str = ""

    def cut(self) -> Error:
        """The same, with texts that are no longer than what our side of the seam writes."""
        return Error(
            self.type[:LONGEST_NAME],
            tuple(base[:LONGEST_NAME] for base in self.bases[:MOST_BASES]),
            shortened(self.message),
            self.line[:LONGEST_LINE],
        )


@dataclass(frozen=True)
class SeamError(Error):
    """What our side of the seam says in the place of an answer.

    It never crosses: an exception of a student's that has the same name, or a reply that claims
    one, is an `Error`.
    """


def shortened(message: str) -> str:
    """The beginning and the end of a message that is longer than a card needs."""
    half = LONGEST_MESSAGE // 2
    return message if len(message) <= 2 * half else f"{message[:half]} ... {message[-half:]}"


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


ENDED = SeamError("ProcessEnded", ("ProcessEnded",), "the process has ended")
GARBLED = SeamError("Garbled", ("Garbled",), "the process has sent what no probe returns")
OUT_OF_TIME = SeamError("TimeLimit", ("TimeLimit",), "the time is over")
OUT_OF_MEMORY = SeamError("MemoryLimit", ("MemoryLimit", "MemoryError"), "the memory is used up")
