"""Which memory of its arguments the student's compiled function reuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graders.values.jax_internals import donated_arguments, reused_bytes
from graders.values.plain import Natural


@dataclass(frozen=True)
class Donation:
    """What a jitted function donates; nothing for one that is not under `jax.jit`."""

    jitted: bool
    donated: list[bool]  # for each argument, whether all its arrays are donated
    reused_bytes: Natural  # of the arguments, by results of the compiled program


def donation(function: Callable, *args: Any) -> Donation:
    """Which arguments the function donates, and the bytes that its program reuses for results."""
    lower = getattr(function, "lower", None)
    if lower is None:
        function(*args)  # what is wrong with the function itself is said first
        return Donation(jitted=False, donated=[], reused_bytes=0)
    lowered = lower(*args)
    return Donation(True, donated_arguments(lowered), reused_bytes(lowered.compile()))
