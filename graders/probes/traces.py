"""How often the student's function is traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graders.values.functions import body_of, runs_of
from graders.values.jax_internals import nothing_cached
from graders.values.plain import Natural


def traces(function: Callable, calls: Sequence[Sequence[Any]]) -> list[Natural]:
    """How often the function's Python body had run after each of `calls`, nothing cached before."""
    body, count, history = body_of(function), 0, []
    with nothing_cached():
        for args in calls:
            with runs_of(body) as runs:
                function(*args)
            count += len(runs)
            history.append(count)
    return history
