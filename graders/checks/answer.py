"""Checks a prediction or a recalled fact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graders.card import sheet
from graders.card.failure import Cause, Rejected
from graders.card.messages import UNANSWERED
from graders.checks.mechanics import check, reject, unanswered
from graders.probes.answer import value
from graders.seam.subject import Subject
from graders.values import describe
from graders.values.plain import (
    Key,
    Leaf,
    Opaque,
    Plain,
    children,
    extent,
    is_container,
    leaves,
)

MOST_NUMBERS = 10_000  # of a prediction


@check
def check_answer(
    answer: Subject,
    expected: Any | Callable[[], Any],
    because: str = "",
    mistakes: Mapping[Any, str] | None = None,
    *,
    about: str = "",
) -> str:
    """Checks that a prediction or a recalled fact is right.

    Strings are compared without regard to case and outer spaces, numbers and tuples exactly, lists
    as tuples. A dtype, and the class of an exception, count as their names.

    Args:
        answer: the object that the student has bound to the exercise's name.
        expected: the right answer, or a function without arguments that returns it: then JAX gives
            the answer, and the cell does not print it. In grading it is called once for a class.
        because: why the right answer is right; the card shows it once the answer is right.
        mistakes: usual wrong answers, each with its reason.
        about: what distinguishes this line from others of its kind on the card.

    Raises:
        CheckFailed: the answer is another one, or the placeholder `...` still stands.

    Example:
        >>> check_answer("float32", lambda: jnp.ones(3).dtype, because="32 bits are the default")
        >>> check_answer(4, 3, mistakes={4: "counted from one"})
        Traceback (most recent call last):
        graders.card.failure.CheckFailed: int: counted from one
    """
    result = answer.observe(value)
    if result.error is not None:
        raise Rejected(unanswered(result.error) or UNANSWERED)
    if result.value == Opaque("ellipsis") or result.value is None:
        raise Rejected(UNANSWERED)
    wanted = comparable(
        value(sheet.current().remembered(expected) if callable(expected) else expected)
    )
    given = comparable(result.value) if _is_short(result.value) else Opaque("too many numbers")
    if not same(given, wanted):
        reject(_cause(given, wanted, mistakes or {}), got=describe.text(result.value))
    return because


def _cause(given: Any, wanted: Any, mistakes: Mapping[Any, str]) -> Cause:
    if isinstance(given, str) and given == _in_quotes(wanted):
        return Cause("the right value, but as a string", "Write it without quotation marks.")
    for wrong, reason in mistakes.items():
        if same(comparable(value(wrong)), given):
            return Cause(reason, _TRY)
    return Cause("not what happens", _TRY)


def _in_quotes(wanted: Any) -> str:
    """The right answer as a string that a student may have put in quotation marks."""
    if isinstance(wanted, float) and wanted.is_integer():
        return str(int(wanted))
    if isinstance(wanted, tuple):
        inner = ", ".join(map(_in_quotes, wanted))
        return f"({inner},)" if len(wanted) == 1 else f"({inner})"
    return str(wanted).casefold()


_TRY = "Run the code in question and compare; then change the answer, and say to yourself why."


def same(given: Any, wanted: Any) -> bool:
    """Whether two comparable values are one answer; True is not 1, and no object is any other."""
    if isinstance(given, Opaque) or type(given) is not type(wanted):
        return False
    if isinstance(given, tuple):
        return len(given) == len(wanted) and all(map(same, given, wanted))
    return given == wanted


def _is_short(given: Plain) -> bool:
    """Whether it holds few enough numbers to be compared one by one: no answer needs more."""
    arrays = (leaf.data for _, leaf in leaves(given) if isinstance(leaf, Leaf | Key))
    return sum(extent(data.shape) for data in arrays) <= MOST_NUMBERS


def comparable(given: Plain) -> Any:
    """Plain data as strings, numbers and tuples, as a person would compare them."""
    if isinstance(given, str):
        return given.strip().casefold()
    if isinstance(given, Leaf):
        return _number(given.data)
    if isinstance(given, Key):
        return (given.impl, _number(given.data))
    if isinstance(given, dict):
        pairs = ((comparable(name), comparable(inner)) for name, inner in given.items())
        return tuple(sorted(pairs, key=repr))
    if is_container(given):
        return tuple(comparable(item) for _, item in children(given))
    return given


def _number(data: np.ndarray) -> Any:
    """Numbers as floats, which have one NaN: it equals the word `nan` and so itself."""
    if data.ndim:
        return tuple(_number(item) for item in data)
    scalar = data.item()
    if isinstance(scalar, bool | complex):
        return scalar
    return "nan" if scalar != scalar else float(scalar)
