"""One observation of a student's object, made where the object lives."""

from __future__ import annotations

import contextlib
import io
import linecache
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from graders import describe
from graders.inputs import received
from graders.plain import plain, printable
from graders.probes import ON_ANYTHING, PROBES
from graders.surroundings import Through

LONGEST_MESSAGE, LONGEST_LINE = 2000, 120
TRUSTED = (os.path.dirname(os.path.abspath(__file__)), sys.prefix, sys.base_prefix, "<frozen")


@dataclass(frozen=True)
class Error:
    """An exception as text: its type, its bases, its message and the line of the student's code."""

    type: str
    bases: tuple[str, ...]
    message: str
    line: str = ""


@dataclass(frozen=True)
class Result:
    """What a probe returned, as plain data, or the error that it met."""

    value: Any = None
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


def observe(target: Any, request: Request) -> Result:
    """The result of the request's probe on `target`; no exception of the student's escapes.

    What the student's code prints or warns meanwhile is kept off the page. Only the interrupt
    from the keyboard ends an observation from outside.
    """
    with quiet(), jax.enable_x64(True) if request.x64 else contextlib.nullcontext():
        try:
            found = _follow(target, request.steps)
            if request.probe not in ON_ANYTHING and not callable(found):
                held = "what it returned is" if request.steps else "the name holds"
                raise NotAFunction(f"{held} {describe.text(plain(found))}")
            args, options = received(request.args), received(request.options)
            kwargs = received(request.kwargs) | options
            return Result(PROBES[request.probe](found, *args, **kwargs))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return Result(error=error_facts(error))


class NotAFunction(Exception):
    """A function is asked for, and the name holds something else."""


@contextlib.contextmanager
def quiet() -> Any:
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            jax.effects_barrier()  # `jax.debug.print` may print later than it is called


def _follow(target: Any, steps: Sequence[Step]) -> Any:
    for step in steps:
        if step.function is None:
            target = target(*received(step.args))
        else:
            target = Through(step.function, target)
    return target


def error_facts(error: BaseException) -> Error:
    """`error` as text; a `__str__` that raises itself is survived."""
    bases = tuple(printable(base.__name__) for base in type(error).__mro__)
    return Error(bases[0], bases, _message(error), _student_line(error))


def _message(error: BaseException) -> str:
    try:
        return printable(str(error)[:LONGEST_MESSAGE])
    except BaseException:
        return ""


def _student_line(error: BaseException) -> str:
    """The innermost line of code that is neither ours nor a library's."""
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        if not frame.filename.startswith(TRUSTED):
            line = linecache.getline(frame.filename, frame.lineno or 0)
            return printable((line or frame.line or "").strip()[:LONGEST_LINE])
    return ""
