"""What is wrong with how a function computes: purity, traces, operations."""

from __future__ import annotations

from collections.abc import Sequence

from graders.failure import Cause

UNCONFIRMED = Cause(
    "the requirements above are met where your code runs, but not by the program that "
    "`jax.export` makes of the answer",
    "If a cell of yours replaces a part of JAX or of `graders`, take that out. If none does: "
    "write the function without a callback to Python, so that "
    "`jax.export.export(jax.jit(f))(...)` carries it, and so that each trace is the same.",
)
"""Said in grading alone, of an answer that has met everything else."""


def impurity(facts: dict) -> Cause | None:
    """The first thing in the facts of the probe `purity` that a pure function does not do."""
    return next((cause for read in _IMPURITIES if (cause := read(facts))), None)


def _prints(facts: dict) -> Cause | None:
    if not facts["printed"].strip():
        return None
    return Cause(
        f"it prints while it is traced ({facts['printed'].strip()[:40]!r}): compiled, it will "
        "print once, and show tracers instead of numbers",
        "Take the print out, or use `jax.debug.print` while you look for an error.",
    )


def _effects(facts: dict) -> Cause | None:
    if not facts["effects"]:
        return None
    return Cause(
        f"it has a side effect in its program: {', '.join(facts['effects'])}",
        "Take out `jax.debug.print` and callbacks before you hand the function in.",
    )


def _keeps(facts: dict) -> Cause | None:
    if not facts["leaked"]:
        return None
    where = f" in {facts['kept'][0]!r}" if facts["kept"] else ""
    return Cause(
        f"it keeps a tracer{where} after its trace has ended",
        "Return intermediate values instead of storing them outside the function.",
    )


def _host_random(facts: dict) -> Cause | None:
    if not facts["host_random"]:
        return None
    return Cause(
        "it draws host random numbers (`np.random` or `random`): compiled, it will repeat the "
        "numbers of its first trace",
        "Take a key as an argument and use `jax.random`.",
    )


def _globals(facts: dict) -> Cause | None:
    if not facts["changed"]:
        return None
    return Cause(
        f"it changes the global or outer name {facts['changed'][0]!r}: compiled, it will do so "
        "only while it is traced",
        "Take the value as an argument and return the new one.",
    )


def _arguments(facts: dict) -> Cause | None:
    if not facts["arguments"]:
        return None
    return Cause(
        f"it changes its argument number {facts['arguments'][0] + 1} in place",
        "Build and return a new container: `jax.tree.map`, or `{**params, 'w': new}`.",
    )


def _programs(facts: dict) -> Cause | None:
    if facts["same_program"] and facts["same_constants"]:
        return None
    what = "constants" if facts["same_program"] else "operations"
    return Cause(
        f"two traces differ in their {what}: something beside the arguments decides what is "
        "computed",
        "Look for host random numbers, the clock, or a counter that is read inside.",
    )


def _results(facts: dict) -> Cause | None:
    if facts["same_result"]:
        return None
    return Cause(
        "two calls differ, given the same arguments",
        "Look for state that the function reads and that changes between calls.",
    )


def _traced(facts: dict) -> Cause | None:
    if facts["same_traced"]:
        return None
    return Cause(
        "it computes something else while it is traced: its program does not give the result that "
        "a plain call gives",
        "Look for code that asks whether it meets a tracer, and compute the same for both.",
    )


_IMPURITIES = (
    _prints, _host_random, _keeps, _globals, _arguments, _effects, _programs, _results, _traced,
)  # fmt: skip


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


def lacks(primitive: str) -> Cause:
    return Cause(
        f"the program does not use `{primitive}`",
        f"Print `jax.make_jaxpr(f)(...)` and look which operations stand where `{primitive}` "
        "should.",
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


def grows(small: int, large: int) -> Cause:
    return Cause(
        f"the program grows with the input: {small} equations for a small one, {large} for a "
        "larger one",
        "A Python loop over elements is unrolled while it is traced: use whole-array operations, "
        "or `jax.lax.scan`.",
    )


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
