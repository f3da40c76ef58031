"""Checks that a compiled function reuses the memory of its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from graders.checks.mechanics import argument_names, check, reject, seen
from graders.diagnosis import semantics
from graders.inputs import received
from graders.subject import Subject


@check
def check_donates(answer: Subject, *args: Any, donated: Sequence[int] = (0,)) -> None:
    """Checks that `answer`, under `jax.jit`, donates exactly the arguments at positions `donated`.

    The program that is compiled for `args` must reuse their memory: as many bytes of its results
    are aliased to arguments as the donated arrays have. Static arguments cannot be counted: give
    an `answer` whose arguments are all arrays or pytrees of them.
    """
    facts = seen(answer.observe("donation", *args), answer, args, "a compiled function")
    if not facts["jitted"]:
        reject(semantics.not_jitted())
    named = zip(argument_names(answer, args), facts["donated"], strict=False)
    for i, (name, is_donated) in enumerate(named):
        if is_donated != (i in donated):
            reject((semantics.wrongly_donated if is_donated else semantics.not_donated)(name))
    if facts["reused_bytes"] < _bytes(args, donated):
        reject(
            semantics.donated_in_vain(),
            f"{_bytes(args, donated)} bytes reused",
            f"{facts['reused_bytes']} bytes reused",
        )


def _bytes(args: Sequence[Any], donated: Sequence[int]) -> int:
    leaves = jax.tree.leaves([received(args[i]) for i in donated])
    return sum(np.asarray(leaf).nbytes for leaf in leaves)
