"""Checks that a compiled function reuses the memory of its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from graders.checks.mechanics import argument_names, check, reject, seen
from graders.diagnosis import donation as diagnosis
from graders.probes.donation import donation
from graders.seam.subject import Subject
from graders.values.inputs import received


@check
def check_donates(
    answer: Subject, *args: Any, donated: Sequence[int] = (0,), about: str = ""
) -> None:
    """Checks that `answer`, under `jax.jit`, donates exactly the arguments at positions `donated`.

    The program that is compiled for `args` must reuse their memory: as many bytes of its results
    are aliased to arguments as the donated arrays have.

    Args:
        answer: the student's jitted function; all its arguments are arrays or pytrees of them.
            Static arguments cannot be counted.
        args: arguments to compile it for.
        donated: the positions of the arguments that are to be donated.
        about: what distinguishes this line from others of its kind on the card.

    Raises:
        CheckFailed: it is not jitted, donates other arguments, or reuses less memory.

    Example:
        >>> @partial(jax.jit, donate_argnums=0)
        ... def step(x, dx):
        ...     return x + dx
        >>> check_donates(step, jnp.ones(3), jnp.ones(3))
    """
    facts = seen(answer.observe(donation, *args), answer, args, "a compiled function")
    if not facts.jitted:
        reject(diagnosis.not_jitted())
    named = zip(argument_names(answer, args), facts.donated, strict=False)
    for i, (name, is_donated) in enumerate(named):
        if is_donated != (i in donated):
            reject((diagnosis.wrongly_donated if is_donated else diagnosis.not_donated)(name))
    if facts.reused_bytes < _bytes(args, donated):
        reject(
            diagnosis.donated_in_vain(),
            f"{_bytes(args, donated)} bytes reused",
            f"{facts.reused_bytes} bytes reused",
        )


def _bytes(args: Sequence[Any], donated: Sequence[int]) -> int:
    leaves = jax.tree.leaves([received(args[i]) for i in donated])
    return sum(np.asarray(leaf).nbytes for leaf in leaves)
