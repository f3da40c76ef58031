"""Why a function is traced more often than it has to be."""

from __future__ import annotations

from collections.abc import Sequence

from graders.card.failure import Cause


def traced_again(history: Sequence[int], change: str) -> Cause:
    """`history` holds how often the body had run after each call, `change` what a call brought."""
    count = f"its Python body ran {history[-1]} times in {len(history)} calls"
    if not change:
        return Cause(
            f"it is traced again at each call, or not compiled at all: {count} that are alike",
            "Compile it once, outside the loop: `@jax.jit` on the definition, not `jax.jit(...)` "
            "inside a function that is called again and again.",
        )
    return Cause(
        f"it is traced again: {count}; what changed was {change}",
        "A program serves one set of shapes, dtypes and static values: keep them the same, or "
        "pass a number that changes as an ordinary argument instead of a static one.",
    )


def never_traced() -> Cause:
    return Cause(
        "the Python function was not seen to run at all",
        "Define the answer as a Python function, with `def`.",
    )
