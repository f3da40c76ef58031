"""What every check shares: from a judge to a check, from an observation to a rejection."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, NoReturn, ParamSpec

from graders.card import messages, sheet
from graders.card.failure import Cause, Finding, Rejected
from graders.card.picture import Wrong
from graders.diagnosis import errors
from graders.probes.calls import parameters
from graders.seam.protocol import Error, Result, SeamError, T
from graders.seam.subject import Subject, subject
from graders.values import describe
from graders.values.compiling import exact_products, quick_compilation

P = ParamSpec("P")


def check(
    judge: Callable[Concatenate[Subject, P], str | None],
) -> Callable[Concatenate[Any, P], None]:
    """Makes a check of a function that judges a `Subject` and raises `Rejected`.

    The check has the signature of the judge, takes any object for an answer, writes its outcome on
    the sheet of the cell, and raises `CheckFailed`. What the judge returns is shown to a student
    whose answer is right. Every judge has a keyword `about`, which the sheet alone reads: a
    literal that tells this line of a check cell from others of the same kind.
    """

    @functools.wraps(judge)
    def checked(answer: Any, *args: P.args, **kwargs: P.kwargs) -> None:
        page, answer = sheet.current(), subject(answer)
        page.begin(judge.__name__, answer.name, str(kwargs.get("about", "")))
        try:
            with exact_products(), quick_compilation():  # for oracles that are written with JAX
                reason = judge(answer, *args, **kwargs)
        except Rejected as rejected:
            failure = page.fail(rejected.finding)
        else:
            return page.meet(reason or "")
        raise failure

    return checked


def reject(
    cause: Cause, expected: str = "", got: str = "", at: str = "", picture: Wrong = ()
) -> NoReturn:
    raise Rejected(Finding(cause, expected, got, at, picture))


def seen(result: Result[T], answer: Subject, args: Sequence[Any], expected: str = "") -> T:
    """The value of an observation; an error becomes the rejection that explains it."""
    if result.error is None:
        return result.value
    if finding := unanswered(result.error):
        raise Rejected(finding)
    got = f"an exception, {result.error.type}"
    cause, where = errors.cause_of(result.error), at(answer, args)
    limit = isinstance(result.error, SeamError)
    raise Rejected(Finding(cause, expected, got, where, error=result.error.type, limit=limit))


def unanswered(error: Error) -> Finding | None:
    """What to say where the placeholder still stands, or no cell has bound the name."""
    placeholder = error.type == "NotAFunction" and error.message.endswith("the placeholder `...`")
    # JAX raises the same type, with a message, where it has no rule for a derivative.
    stub = error.type == "NotImplementedError" and not error.message
    if stub or placeholder:
        return messages.UNANSWERED
    if not isinstance(error, SeamError):
        return None
    return {"Unanswered": messages.UNBOUND, "Stale": messages.STALE}.get(error.type)


def at(answer: Subject, args: Sequence[Any]) -> str:
    """The input as text, by the names of the answer's own parameters."""
    return describe.inputs(argument_names(answer, args), args)


def argument_names(answer: Subject, args: Sequence[Any]) -> list[str]:
    """A name for each argument: the parameter's, of our function where one is in between."""
    ours = answer.steps[-1].function if answer.steps else None
    if ours is not None:
        names = parameters(ours)[1:]
    else:
        names = [] if answer.steps else list(answer.observe(parameters).value or [])
    return (names + [f"argument {i + 1}" for i in range(len(names), len(args))])[: len(args)]
