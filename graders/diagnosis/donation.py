"""Why donated memory is not reused."""

from __future__ import annotations

from graders.card.failure import Cause


def not_jitted() -> Cause:
    return Cause(
        "it is not compiled: nothing can be donated to a function that is not under `jax.jit`",
        "Decorate the definition: `@partial(jax.jit, donate_argnums=...)`.",
    )


def not_donated(name: str) -> Cause:
    return Cause(
        f"argument {name!r} is not donated: old and new arrays are in memory at the same time",
        "Name it in `donate_argnums` (by position) or `donate_argnames`.",
    )


def wrongly_donated(name: str) -> Cause:
    return Cause(
        f"argument {name!r} is donated, and the caller still needs it",
        "Donate only what the call replaces: the old parameters, not the data.",
    )


def donated_in_vain() -> Cause:
    return Cause(
        "the donated memory is not reused: no result has the shape and dtype of what was donated",
        "Look for a cast, or a changed shape, between the argument and the result in its place.",
    )
