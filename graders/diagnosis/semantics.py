"""What is wrong with how a function computes: purity, traces, operations."""

from __future__ import annotations

from collections.abc import Sequence

from graders.failure import Cause


def impurity(facts: dict) -> Cause | None:
    """The first thing in the facts of `graders.probes.purity` that a pure function does not do."""
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


_IMPURITIES = (
    _prints, _host_random, _keeps, _globals, _arguments, _effects, _programs, _results,
)  # fmt: skip


def traced_again(history: Sequence[int], at_most: int) -> Cause:
    """`history` holds how often the body had run after each call."""
    if len(history) == history[-1] and len(history) > at_most:
        return Cause(
            f"it is traced again at each call: its Python body ran {history[-1]} times in "
            f"{len(history)} calls",
            "Compile it once, outside the loop: `@jax.jit` on the definition, not `jax.jit(...)` "
            "inside a function that is called again and again.",
        )
    return Cause(
        f"it is traced again: its Python body ran {history[-1]} times in {len(history)} calls, "
        f"where {at_most} would do",
        "Look at what changes between the calls: a shape, a dtype, a weak type, a static value.",
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
