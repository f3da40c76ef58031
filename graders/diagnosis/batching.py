"""What is wrong with a function under `jax.vmap`."""

from __future__ import annotations

from graders.card.failure import Cause


def other_structure() -> Cause:
    return Cause(
        "the result for one example has another structure than expected",
        "Write the function for one example, without a batch axis: `jax.vmap` adds it to each "
        "array of the result.",
    )


def shape(expected: str, got: str) -> Cause:
    return Cause(
        f"mapped over a batch it returns shape {got}, instead of {expected}",
        "Write the function for one example: axis 0 is then the first axis of the example, and "
        "sums run over the example alone.",
    )


def differs(index: int) -> Cause:
    return Cause(
        f"example {index} of the batch gets another result than it gets alone",
        "Look for what the function takes from the batch instead of from its own example: an axis "
        "that it sums over, a shape that it reads, a value from outside.",
    )
