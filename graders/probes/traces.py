"""How often the student's function is traced."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from graders.values.functions import body_of
from graders.values.jax_internals import nothing_cached
from graders.values.plain import Natural


def traces(function: Callable, calls: Sequence[Sequence[Any]]) -> list[Natural]:
    """How often the function's Python body had run after each of `calls`, nothing cached before."""
    body, runs, history = body_of(function), 0, []

    def count(frame: Any, event: str, arg: Any) -> None:
        nonlocal runs
        runs += event == "call" and frame.f_code is body

    before = sys.getprofile()
    with nothing_cached():
        for args in calls:
            sys.setprofile(count)
            try:
                function(*args)
            finally:
                sys.setprofile(before)
            history.append(runs)
    return history
