"""Checks where a result lies, and what is sent between devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from graders.checks.mechanics import at, check, reject, seen
from graders.diagnosis import placement as diagnosis
from graders.probes.placement import Placed, collectives, parts_of, placement
from graders.seam.subject import Subject
from graders.values import describe
from graders.values.jax_internals import COLLECTIVES

Parts = Sequence[Sequence[int]]


@check
def check_sharding(answer: Subject, *args: Any, expected: Any, about: str = "") -> None:
    """Checks that the arrays of `answer(*args)` lie on the devices as `expected` says.

    What counts is the part of the array that each device holds, not how the sharding is written.

    Args:
        answer: the student's function.
        args: its arguments.
        expected: a `jax.sharding.Sharding` for every array of the result, or a tree of them in the
            order of the result's arrays.
        about: what distinguishes this line from others of its kind on the card.

    Raises:
        CheckFailed: some device holds another part.

    Example:
        >>> one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        >>> check_sharding(jnp.sin, jnp.ones(4), expected=one)
    """
    found = seen(answer.observe(placement, *args), answer, args, "arrays on the devices")
    wanted = jax.tree.leaves(expected)  # a sharding is a leaf
    wanted = wanted * len(found) if len(wanted) == 1 else wanted
    if len(found) != len(wanted):
        counts = f"{len(wanted)} arrays", f"{len(found)} arrays"
        reject(diagnosis.other_number(len(found), len(wanted)), *counts, at(answer, args))
    for array, sharding in zip(found, wanted, strict=True):
        _judge(array, sharding, at(answer, args))


def _judge(array: Placed, sharding: Any, here: str) -> None:
    prefix, shape = f"{array.path}: " if array.path else "", tuple(array.shape)
    if not array.parts:
        reject(diagnosis.no_array(array.spec), "a JAX array", prefix + array.spec, here)
    try:
        wanted = parts_of(sharding, shape)
    except ValueError:  # the sharding does not fit a result of this shape
        what = describe.dimensions(shape)
        spec = getattr(sharding, "spec", "one device")
        reject(diagnosis.unfit(what), f"{prefix}{spec}", f"{prefix}shape {what}", here)
    if array.parts != wanted:
        layouts = _layout(array.parts, shape), _layout(wanted, shape)
        got, meant = (f"{prefix}{diagnosis.described(layout)}" for layout in layouts)
        reject(diagnosis.wrong_place(*layouts), meant, got, here)


def _layout(parts: Parts, shape: tuple[int, ...]) -> diagnosis.Layout:
    """How the parts are cut: the number of devices, and in how many pieces each axis."""
    pieces = [len({tuple(row[1 + 2 * i : 3 + 2 * i]) for row in parts}) for i in range(len(shape))]
    return diagnosis.Layout(len(parts), tuple(pieces))


@check
def check_collectives(
    answer: Subject,
    *args: Any,
    exactly: Mapping[str, int] | None = None,
    at_most: Mapping[str, int] | None = None,
    about: str = "",
) -> None:
    """Checks which collectives the program that is compiled for `args` holds, and how many.

    The kinds are those of compiled HLO: all-reduce, all-gather, reduce-scatter,
    collective-permute, all-to-all. A kind that neither mapping names must not be there.

    Args:
        answer: the student's function.
        args: the arguments that it is compiled for.
        exactly: kinds with the number that there must be.
        at_most: kinds with the number that there may be.
        about: what distinguishes this line from others of its kind on the card.

    Raises:
        CheckFailed: a kind is there too often or too seldom.
        ValueError: a mapping names another kind.

    Example:
        >>> check_collectives(jnp.sin, jnp.ones(4))
    """
    named = [*(exactly or {}), *(at_most or {})]
    if unknown := set(named) - set(COLLECTIVES):
        raise ValueError(f"no kinds of collectives: {sorted(unknown)}")
    found = seen(answer.observe(collectives, *args), answer, args, "a program for all devices")
    texts = _listed(exactly or {}, at_most or {}), _listed(found, {})
    least, most = exactly or {}, {**(at_most or {}), **(exactly or {})}
    counts = {kind: found.get(kind, 0) for kind in COLLECTIVES}
    for kind, count in counts.items():  # before what is missing: often it stands in its place
        if count > (bound := most.get(kind, 0)):
            reject(diagnosis.too_many(kind, count, bound), *texts, at(answer, args))
    for kind, count in counts.items():
        if count < (bound := least.get(kind, 0)):
            cause = diagnosis.lacks(kind, count, bound, not any(counts.values()))
            reject(cause, *texts, at(answer, args))


def _listed(exactly: Mapping[str, int], at_most: Mapping[str, int]) -> str:
    parts = [f"{kind} {count}" for kind, count in sorted(exactly.items())]
    parts += [f"{kind} at most {count}" for kind, count in sorted(at_most.items())]
    return ", ".join(parts) or "no collective"
