"""What a function does beside returning a value."""

from __future__ import annotations

from graders.card.failure import Cause
from graders.probes.purity import Purity


def impurity(facts: Purity) -> Cause | None:
    """The first thing in the facts of the probe `purity` that a pure function does not do."""
    return next((cause for read in _IMPURITIES if (cause := read(facts))), None)


def _prints(facts: Purity) -> Cause | None:
    if not facts.printed.strip():
        return None
    return Cause(
        f"it prints while it is traced ({facts.printed.strip()[:40]!r}): compiled, it will "
        "print once, and show tracers instead of numbers",
        "Take the print out, or use `jax.debug.print` while you look for an error.",
    )


def _effects(facts: Purity) -> Cause | None:
    if not facts.effects:
        return None
    return Cause(
        f"it has a side effect in its program: {', '.join(facts.effects)}",
        "Take out `jax.debug.print` and callbacks before you hand the function in.",
    )


def _keeps(facts: Purity) -> Cause | None:
    if not facts.leaked:
        return None
    where = f" in {facts.kept[0]!r}" if facts.kept else ""
    return Cause(
        f"it keeps a tracer{where} after its trace has ended",
        "Return intermediate values instead of storing them outside the function.",
    )


def _host_random(facts: Purity) -> Cause | None:
    if not facts.host_random:
        return None
    return Cause(
        "it draws host random numbers (`np.random` or `random`): compiled, it will repeat the "
        "numbers of its first trace",
        "Take a key as an argument and use `jax.random`.",
    )


def _globals(facts: Purity) -> Cause | None:
    if not facts.changed:
        return None
    return Cause(
        f"it changes the global or outer name {facts.changed[0]!r}: compiled, it will do so "
        "only while it is traced",
        "Take the value as an argument and return the new one.",
    )


def _arguments(facts: Purity) -> Cause | None:
    if not facts.arguments:
        return None
    return Cause(
        f"it changes its argument number {facts.arguments[0] + 1} in place",
        "Build and return a new container: `jax.tree.map`, or `{**params, 'w': new}`.",
    )


def _programs(facts: Purity) -> Cause | None:
    if facts.same_program and facts.same_constants:
        return None
    what = "constants" if facts.same_program else "operations"
    return Cause(
        f"two traces differ in their {what}: something beside the arguments decides what is "
        "computed",
        "Look for host random numbers, the clock, or a counter that is read inside.",
    )


def _results(facts: Purity) -> Cause | None:
    if facts.same_result:
        return None
    return Cause(
        "two calls differ, given the same arguments",
        "Look for state that the function reads and that changes between calls.",
    )


def _traced(facts: Purity) -> Cause | None:
    if facts.same_traced:
        return None
    return Cause(
        "it computes something else while it is traced: its program does not give the result that "
        "a plain call gives",
        "Look for code that asks whether it meets a tracer, and compute the same for both.",
    )


_IMPURITIES = (
    _prints, _host_random, _keeps, _globals, _arguments, _effects, _programs, _results, _traced,
)  # fmt: skip
