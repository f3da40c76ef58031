"""Checks a prediction or a recalled fact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graders import describe, remembered
from graders.checks.mechanics import check, reject, unanswered
from graders.failure import Cause, Rejected
from graders.messages import UNANSWERED
from graders.plain import Key, Leaf, Opaque, Plain, children, is_container, plain
from graders.subject import Subject


@check
def check_answer(
    answer: Subject,
    expected: Any | Callable[[], Any],
    because: str = "",
    mistakes: Mapping[Any, str] | None = None,
) -> str:
    """Checks that a prediction or a recalled fact is right.

    `expected` is the value, or a function without arguments that lets JAX answer, so that the
    cell does not print it. Strings are compared without regard to case and outer spaces, numbers
    and tuples exactly, lists as tuples. `mistakes` maps wrong answers to their usual reason;
    `because` says why the right one is right, and is told to whoever has it. A dtype, and the
    class of an exception, count as their names.
    """
    result = answer.observe("value")
    if result.error is not None:
        raise Rejected(unanswered(result.error) or UNANSWERED)
    if result.value == Opaque("ellipsis") or result.value is None:
        raise Rejected(UNANSWERED)
    wanted = comparable(plain(remembered.result(expected) if callable(expected) else expected))
    given = comparable(result.value)
    if not same(given, wanted):
        reject(_cause(given, wanted, mistakes or {}), got=describe.text(result.value))
    return because


def _cause(given: Any, wanted: Any, mistakes: Mapping[Any, str]) -> Cause:
    if isinstance(given, str) and given == _in_quotes(wanted):
        return Cause("the right value, but as a string", "Write it without quotation marks.")
    for wrong, reason in mistakes.items():
        if same(comparable(plain(wrong)), given):
            return Cause(reason, _TRY)
    return Cause("not what happens", _TRY)


def _in_quotes(wanted: Any) -> str:
    """What the right answer looks like to whoever puts it in quotation marks."""
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


def comparable(value: Plain) -> Any:
    """Plain data as strings, numbers and tuples, as a person would compare them."""
    if isinstance(value, str):
        return value.strip().casefold()
    if isinstance(value, Leaf):
        return _number(value.data)
    if isinstance(value, Key):
        return (value.impl, _number(value.data))
    if isinstance(value, dict):
        pairs = ((comparable(name), comparable(inner)) for name, inner in value.items())
        return tuple(sorted(pairs, key=repr))
    if is_container(value):
        return tuple(comparable(item) for _, item in children(value))
    return value


def _number(data: np.ndarray) -> Any:
    """Numbers as floats, which have one NaN: it equals the word `nan` and so itself."""
    if data.ndim:
        return tuple(_number(item) for item in data)
    scalar = data.item()
    if isinstance(scalar, bool | complex):
        return scalar
    return "nan" if scalar != scalar else float(scalar)
