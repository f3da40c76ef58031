"""One observation of a student's object, made where the object lives."""

from __future__ import annotations

import contextlib
import io
import linecache
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from graders import describe
from graders.compiling import quick_compilation
from graders.inputs import received
from graders.plain import plain, printable
from graders.probes import ON_ANYTHING, PROBES
from graders.surroundings import Through, body_of

LONGEST_MESSAGE, LONGEST_LINE, MOST_CHARACTERS = 2000, 120, 10_000_000
EXACT = frozenset({"cpu"})  # the platforms whose products are exact by default
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

    Products of float32 are exact, on a TPU and a GPU too, and programs are compiled quickly. What
    the student's code prints or warns meanwhile is kept off the page. Only the interrupt from the
    keyboard ends an observation from outside.
    """
    wide = jax.enable_x64(True) if request.x64 else contextlib.nullcontext()
    with quiet(), exact_products(), quick_compilation(), wide:
        try:
            found = _follow(target, request.steps)
            if request.probe not in ON_ANYTHING and not callable(found):
                held = "what it returned is" if request.steps else "the name holds"
                raise NotAFunction(f"{held} {describe.text(plain(found))}")
            args, options = received(request.args), received(request.options)
            kwargs = received(request.kwargs) | options
            value = PROBES[request.probe](found, *args, **kwargs)
            jax.effects_barrier()
            return Result(value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return Result(error=error_facts(error, _files(request.steps, target)))


def exact_products() -> Any:
    """A context in which products have the precision of their operands.

    By default a TPU rounds float32 to bfloat16 before it multiplies, and a GPU to TF32: errors of
    up to 0.4 %, which no check could tell from a mistake. On a CPU the setting would only have
    everything compiled a second time.
    """
    if jax.default_backend() in EXACT:
        return contextlib.nullcontext()
    return jax.default_matmul_precision("highest")


class NotAFunction(Exception):
    """A function is asked for, and the name holds something else."""


class OutputLimit(Exception):
    """An answer has printed more than anyone will read."""


class Captured(io.StringIO):
    """Keeps what is written, up to 10 million characters; more is an `OutputLimit`."""

    def write(self, text: str) -> int:
        """Keeps `text`."""
        if self.tell() + len(text) > MOST_CHARACTERS:
            raise OutputLimit(f"more than {MOST_CHARACTERS} characters were printed")
        return super().write(text)


@contextlib.contextmanager
def quiet() -> Iterator[Captured]:
    """A block whose output is kept off the page; what it prints is in what this yields."""
    with (
        contextlib.redirect_stdout(Captured()) as output,
        contextlib.redirect_stderr(Captured()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            yield output
        finally:
            with contextlib.suppress(Exception):  # of a callback: told where it is called
                jax.effects_barrier()  # `jax.debug.print` may print later than it is called


def _follow(target: Any, steps: Sequence[Step]) -> Any:
    for step in steps:
        if step.function is None:
            target = target(*received(step.args))
        else:
            target = Through(step.function, target)
    return target


def _files(steps: Sequence[Step], target: Any) -> frozenset[str]:
    """The files of the functions of ours that stand between the check and the answer."""
    ours = {body.co_filename for step in steps if (body := body_of(step.function))}
    own = body_of(target)
    return frozenset(ours - {own.co_filename if own else ""})


def error_facts(error: BaseException, ours: frozenset[str] = frozenset()) -> Error:
    """`error` as text; a `__str__` that raises itself is survived.

    `ours` are files whose lines are not the student's: what they raise is about what the answer
    returned to them.
    """
    bases = tuple(printable(base.__name__) for base in type(error).__mro__)
    line, is_ours = _student_line(error, ours)
    if is_ours and "is not callable" in _message(error):
        return Error("NotAFunction", ("NotAFunction",), "what it returned is none")
    return Error(bases[0], bases, _message(error), line)


def _message(error: BaseException) -> str:
    try:
        text, half = str(error), LONGEST_MESSAGE // 2
        return printable(text if len(text) <= 2 * half else f"{text[:half]} ... {text[-half:]}")
    except BaseException:
        return ""


def _student_line(error: BaseException, ours: frozenset[str]) -> tuple[str, bool]:
    """The innermost line that is no library's, and whether it is ours; ours are not told."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in ours:
            return "", True
        if not frame.filename.startswith(TRUSTED):
            line = linecache.getline(frame.filename, frame.lineno or 0)
            return printable((line or frame.line or "").strip()[:LONGEST_LINE]), False
    return "", False
