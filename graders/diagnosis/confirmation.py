"""Why an answer that meets every check is refused in grading."""

from __future__ import annotations

from graders.card.failure import Cause

UNCONFIRMED = Cause(
    "the requirements above are met where your code runs, but not by the program that "
    "`jax.export` makes of the answer",
    "If a cell of yours replaces a part of JAX or of `graders`, take that out. If none does: "
    "write the function without a callback to Python, so that "
    "`jax.export.export(jax.jit(f))(...)` carries it, and so that each trace is the same.",
)
"""Said in grading alone, of an answer that has met everything else."""
