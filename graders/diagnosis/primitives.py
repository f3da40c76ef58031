"""Which operations of a program should not be there, or are missing."""

from __future__ import annotations

from graders.card.failure import Cause


def lacks(primitive: str, unused: bool = False) -> Cause:
    """`unused` where the primitive is there, and nothing needs what it gives."""
    if unused:
        return Cause(
            f"the result of `{primitive}` is not used",
            "Compute what you return from it. XLA removes operations whose results are not used.",
        )
    return Cause(
        f"the program does not use `{primitive}`",
        f"Print `jax.make_jaxpr(f)(...)` and look which operations stand where `{primitive}` "
        "should.",
    )


def unrolled(primitive: str) -> Cause:
    return Cause(
        f"`{primitive}` is unrolled whole, so the program has no loop",
        "Leave `unroll` out, or give fewer steps than the loop has.",
    )


def has(primitive: str, count: int) -> Cause:
    return Cause(
        f"the program uses `{primitive}`" + (f" ({count} times)" if count > 1 else ""),
        "Find the line that makes this operation, and another way to say it.",
    )


def too_often(primitive: str, count: int, at_most: int) -> Cause:
    return Cause(
        f"the program uses `{primitive}` {count} times, where {at_most} would do",
        "Look for a Python loop, which is unrolled while it is traced, or for work done twice.",
    )


def too_long(count: int, at_most: int) -> Cause:
    return Cause(
        f"the program has {count} equations, where {at_most} would do",
        "Look for a Python loop, which is unrolled while it is traced.",
    )


def too_large(elements: int) -> Cause:
    return Cause(
        f"the program holds an intermediate value of {elements} elements",
        "Look at the shapes in `jax.make_jaxpr(f)(...)` for the largest one. The gradient of a "
        "`scan` stores values of every step. A product with a Jacobian needs no Jacobian, because "
        "`jax.jvp` and `jax.vjp` return it.",
    )


def grows(one: int, other: int) -> Cause:
    return Cause(
        f"the program grows with the input: {one} equations for one size, {other} for another",
        "A Python loop over elements is unrolled while it is traced: use whole-array operations, "
        "or `jax.lax.scan`.",
    )
