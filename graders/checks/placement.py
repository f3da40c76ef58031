"""Checks where a result lies, and what is sent between devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
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
    at_least: Mapping[str, int] | None = None,
    max_bytes: int | None = None,
    about: str = "",
) -> None:
    """Checks which collectives the program that is compiled for `args` holds, and what they carry.

    The kinds are those of compiled HLO: all-reduce, all-gather, reduce-scatter,
    collective-permute, all-to-all. A kind that no mapping bounds from above must not be there.

    Args:
        answer: the student's function.
        args: the arguments that it is compiled for.
        exactly: kinds with the number that there must be.
        at_most: kinds with the number that there may be.
        at_least: kinds with the number that there must be at least. What bounds them from above is
            `at_most`.
        max_bytes: how many bytes all collectives together may give to one device. Each counts once,
            in a loop too.
        about: what distinguishes this line from others of its kind on the card.

    Raises:
        CheckFailed: a kind is there too often or too seldom, or they carry more bytes.
        ValueError: a mapping names another kind.

    Example:
        >>> check_collectives(jnp.sin, jnp.ones(4))
    """
    named = {*(exactly or {}), *(at_most or {}), *(at_least or {})}
    if unknown := named - set(COLLECTIVES):
        raise ValueError(f"no kinds of collectives: {sorted(unknown)}")
    if missing := set(at_least or {}) - set(at_most or {}):
        raise ValueError(f"at_most does not say how many there may be of {sorted(missing)}")
    observed = answer.observe(collectives, *args)
    found = seen(observed, answer, args, "a program for all devices")
    counts = Counter(one.kind for one in found)
    texts = _listed(exactly or {}, at_most or {}, at_least or {}), _listed(counts)
    least, most = {**(at_least or {}), **(exactly or {})}, {**(at_most or {}), **(exactly or {})}
    for kind in COLLECTIVES:  # before what is missing: often it stands in its place
        if counts[kind] > (bound := most.get(kind, 0)):
            reject(diagnosis.too_many(kind, counts[kind], bound), *texts, at(answer, args))
    for kind in COLLECTIVES:
        if counts[kind] < (bound := least.get(kind, 0)):
            cause = diagnosis.lacks(kind, counts[kind], bound, not counts.total())
            reject(cause, *texts, at(answer, args))
    carried = sum(one.bytes for one in found)
    if max_bytes is not None and carried > max_bytes:
        largest = max(found, key=lambda one: one.bytes)
        texts = f"at most {max_bytes} bytes for a device", f"{carried} bytes"
        reject(diagnosis.too_large(largest.kind, largest.bytes), *texts, at(answer, args))


def _listed(
    exactly: Mapping[str, int],
    at_most: Mapping[str, int] = MappingProxyType({}),
    at_least: Mapping[str, int] = MappingProxyType({}),
) -> str:
    parts = [f"{kind} {count}" for kind, count in sorted(exactly.items())]
    for kind, count in sorted(at_most.items()):
        least = f"{at_least[kind]} to " if kind in at_least else "at most "
        parts.append(f"{kind} {least}{count}")
    return ", ".join(parts) or "no collective"
