"""The seam between a check and a student's answer.

A check asks `subject(f).observe(program, x)` and never touches `f`. In a notebook the probe runs
in the same process; in grading `f` is already a subject, a handle on an answer in another one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from graders.seam.observation import observe
from graders.seam.protocol import Error, Request, Result, SeamError, Step, T


class Subject(ABC):
    """An answer that can be observed, wherever it lives."""

    name: str
    steps: tuple[Step, ...] = ()

    @abstractmethod
    def send(self, request: Request) -> Result:
        """Carries the request to the answer and brings back what was observed."""

    @abstractmethod
    def extended(self, step: Step) -> Subject:
        """The subject that lies one step behind this one."""

    def observe(
        self, probe: Callable[..., T], *args: Any, x64: bool = False, **options: Any
    ) -> Result[T]:
        """What `probe` finds, given `args`; `options` go to the probe by name."""
        name = probe.__name__
        return self.send(Request(name, args, options=options, steps=self.steps, x64=x64))

    def call(self, *args: Any, x64: bool = False, **kwargs: Any) -> Result:
        """What the answer returns for these arguments."""
        return self.send(Request("call", args, kwargs=kwargs, steps=self.steps, x64=x64))


class LocalSubject(Subject):
    """An answer in this very process, as in a student's notebook."""

    def __init__(self, answer: Any, name: str, steps: tuple[Step, ...] = ()) -> None:
        self.answer, self.name, self.steps = answer, name, steps

    def send(self, request: Request) -> Result:
        return observe(self.answer, request)

    def extended(self, step: Step) -> LocalSubject:
        return LocalSubject(self.answer, self.name, (*self.steps, step))


class Unanswered(Subject):
    """A name that no cell has bound: an exercise that was not run, or stopped with an error."""

    def __init__(self, name: str, error: Error | None = None) -> None:
        self.name = name
        self.error = error or SeamError("Unanswered", ("Unanswered",), name)

    def send(self, request: Request) -> Result:
        return Result(error=self.error)

    def extended(self, step: Step) -> Unanswered:
        return self


def subject(answer: Any, name: str = "") -> Subject:
    """`answer` as a subject; a subject stays what it is.

    Args:
        answer: any object of the student's.
        name: what cards call it; by default its `__name__`.

    Example:
        >>> subject(jnp.sin).name
        'sin'
    """
    if isinstance(answer, Subject):
        return answer
    return LocalSubject(answer, name or getattr(answer, "__name__", type(answer).__name__))


def result_of(answer: Any, *args: Any) -> Subject:
    """What `answer(*args)` returns, as a subject: for functions that return functions.

    Example:
        >>> def doubled(f):
        ...     return lambda x: 2 * f(x)
        >>> check_values(result_of(doubled, jnp.sin), lambda x: 2 * np.sin(x), sweep("n"))
    """
    return subject(answer).extended(Step("result_of", args))


def through(ours: Callable[..., Any], answer: Any) -> Subject:
    """What `ours(answer, *args)` does, as a subject: for classes, and for calls in a wrapper.

    `ours` runs beside the student's answer, and so is known to the student.

    Example:
        >>> def twice(f, x):
        ...     return f(f(x))
        >>> check_values(through(twice, jnp.sin), lambda x: np.sin(np.sin(x)), sweep("n"))
    """
    return subject(answer).extended(Step("through", function=ours))
