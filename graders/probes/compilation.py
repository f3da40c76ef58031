"""How the student's function is compiled: how often, and with which memory handed on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax

from graders.probes.programs import nothing_cached
from graders.surroundings import body_of


def traces(function: Callable, calls: Sequence[Sequence[Any]]) -> list[int]:
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


def donation(function: Callable, *args: Any) -> dict:
    """Which arguments a jitted function donates, and the bytes that its program reuses for results.

    `donated` has one boolean for each argument: whether all its arrays are donated. `jitted` is
    False for a function that is not under `jax.jit`.
    """
    lower = getattr(function, "lower", None)
    if lower is None:
        return {"jitted": False, "donated": [], "reused_bytes": 0}
    lowered = lower(*args)
    given = lowered.args_info[0]
    return {
        "jitted": True,
        "donated": [_all_donated(arg) for arg in given],
        "reused_bytes": int(lowered.compile().memory_analysis().alias_size_in_bytes),
    }


def _all_donated(arg: Any) -> bool:
    infos = jax.tree.leaves(arg, is_leaf=lambda node: hasattr(node, "donated"))
    return bool(infos) and all(info.donated for info in infos)
