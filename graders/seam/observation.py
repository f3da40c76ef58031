"""One observation of a student's object, made where the object lives."""

from __future__ import annotations

import contextlib
import linecache
import sys
import traceback
from collections.abc import Iterable, Sequence
from types import FrameType
from typing import Any

import jax

from graders.files import PACKAGE
from graders.probes import ON_ANYTHING, PROBES
from graders.seam.capture import quiet
from graders.seam.protocol import LONGEST_LINE, Error, Request, Result, Step, shortened
from graders.values import describe
from graders.values.compiling import exact_products, quick_compilation
from graders.values.functions import Through, body_of
from graders.values.inputs import received
from graders.values.plain import plain, printable

TRUSTED = (str(PACKAGE), sys.prefix, sys.base_prefix, "<frozen")


class NotAFunction(Exception):
    """A function is asked for, and the name holds something else."""


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
            between = _files((step.function for step in request.steps), target)
            steps = (arg for step in request.steps for arg in step.args)
            given = _files(filter(callable, (*request.args, *steps)), target)
            return Result(error=error_facts(error, between, given))


def _follow(target: Any, steps: Sequence[Step]) -> Any:
    for step in steps:
        if step.function is None:
            target = target(*received(step.args))
        else:
            target = Through(step.function, target)
    return target


def _files(functions: Iterable[Any], target: Any) -> frozenset[str]:
    """The files of functions of ours."""
    ours = {body.co_filename for function in functions if (body := body_of(function))}
    own = body_of(target)
    return frozenset(ours - {own.co_filename if own else ""})


def error_facts(
    error: BaseException,
    between: frozenset[str] = frozenset(),
    given: frozenset[str] = frozenset(),
) -> Error:
    """`error` as text; a `__str__` that raises itself is survived.

    The lines of two kinds of files are not the student's. Those `between` the check and the answer
    raise because of what the answer returned to them. Functions in those `given` to the answer
    raise because of what they got: the line that called them is shown.
    """
    bases = tuple(printable(base.__name__) for base in type(error).__mro__)
    line, is_ours = _student_line(error, between, given)
    if is_ours and "is not callable" in _message(error):
        kind = "None" if "'NoneType'" in _message(error) else "not a function"
        return Error("NotAFunction", ("NotAFunction",), f"what it returned is {kind}")
    return Error(bases[0], bases, _message(error), line)


def _message(error: BaseException) -> str:
    try:
        return printable(shortened(str(error)))
    except BaseException:
        return ""


def _student_line(
    error: BaseException, between: frozenset[str], given: frozenset[str]
) -> tuple[str, bool]:
    """The innermost line outside of libraries, and whether it is ours; ours is not shown."""
    frames = list(traceback.walk_tb(error.__traceback__))
    for frame, number in reversed(frames):
        file = _file_of(frame)
        if file in between:
            return "", True
        if not file.startswith(TRUSTED) and file not in given:
            line = linecache.getline(file, number)
            return printable(line.strip()[:LONGEST_LINE]), False
    return "", False


def _file_of(frame: FrameType) -> str:
    """Where the code of a frame was written.

    A library's function that came over pickled by value, such as an optimizer's `update`, has lost
    its file's name; its globals still have it.
    """
    file, home = frame.f_code.co_filename, dict.get(frame.f_globals, "__file__")
    is_module = isinstance(home, str) and home.startswith(TRUSTED)
    return str(home) if file.startswith("<") and is_module else file
