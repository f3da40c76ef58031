"""Checks where a result lies, and what is sent between devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from graders import describe
from graders.checks.mechanics import at, check, reject, seen
from graders.diagnosis import placement as diagnosis
from graders.probes.placement import KINDS, parts_of
from graders.subject import Subject

Parts = Sequence[Sequence[int]]


@check
def check_sharding(answer: Subject, *args: Any, expected: Any) -> None:
    """Checks that the arrays of `answer(*args)` lie on the devices as `expected` says.

    `expected` is a `jax.sharding.Sharding`, for every array of the result, or a tree of them in
    the order of the result's arrays. What counts is the part of the array that each device holds,
    not how the sharding is spelt.
    """
    found = seen(answer.observe("placement", *args), answer, args, "arrays on the devices")
    wanted = jax.tree.leaves(expected)  # a sharding is a leaf
    wanted = wanted * len(found) if len(wanted) == 1 else wanted
    if len(found) != len(wanted):
        counts = f"{len(wanted)} arrays", f"{len(found)} arrays"
        reject(diagnosis.other_number(len(found), len(wanted)), *counts, at(answer, args))
    for array, sharding in zip(found, wanted, strict=True):
        _judge(array, sharding, at(answer, args))


def _judge(array: dict, sharding: Any, here: str) -> None:
    prefix, shape = f"{array['path']}: " if array["path"] else "", tuple(array["shape"])
    if not array["parts"]:
        reject(diagnosis.no_array(array["spec"]), "a JAX array", prefix + array["spec"], here)
    try:
        wanted = parts_of(sharding, shape)
    except ValueError:  # the sharding does not fit a result of this shape
        what = describe.dimensions(shape)
        spec = getattr(sharding, "spec", "one device")
        reject(diagnosis.unfit(what), f"{prefix}{spec}", f"{prefix}shape {what}", here)
    if array["parts"] != wanted:
        ways = _way(array["parts"], shape), _way(wanted, shape)
        got, meant = (f"{prefix}{diagnosis.told(way)}" for way in ways)
        reject(diagnosis.wrong_place(*ways), meant, got, here)


def _way(parts: Parts, shape: tuple[int, ...]) -> diagnosis.Way:
    """How the parts are cut: the number of devices, and in how many pieces each axis."""
    pieces = [len({tuple(row[1 + 2 * i : 3 + 2 * i]) for row in parts}) for i in range(len(shape))]
    return diagnosis.Way(len(parts), tuple(pieces))


@check
def check_collectives(
    answer: Subject,
    *args: Any,
    exactly: Mapping[str, int] | None = None,
    at_most: Mapping[str, int] | None = None,
) -> None:
    """Checks which collectives the program that is compiled for `args` holds, and how many.

    The kinds are those of the compiled text: all-reduce, all-gather, reduce-scatter,
    collective-permute, all-to-all. Those that neither mapping names must not be there.
    """
    named = [*(exactly or {}), *(at_most or {})]
    if unknown := set(named) - set(KINDS):
        raise ValueError(f"no kinds of collectives: {sorted(unknown)}")
    found = seen(answer.observe("collectives", *args), answer, args, "a program for all devices")
    texts = _listed(exactly or {}, at_most or {}), _listed(found, {})
    for kind in KINDS:
        count = found.get(kind, 0)
        least, most = (
            (exactly or {}).get(kind, 0),
            {**(at_most or {}), **(exactly or {})}.get(kind, 0),
        )
        if count < least:
            reject(diagnosis.lacks(kind, count, least), *texts, at(answer, args))
        if count > most:
            reject(diagnosis.too_many(kind, count, most), *texts, at(answer, args))


def _listed(exactly: Mapping[str, int], at_most: Mapping[str, int]) -> str:
    parts = [f"{kind} {count}" for kind, count in sorted(exactly.items())]
    parts += [f"{kind} at most {count}" for kind, count in sorted(at_most.items())]
    return ", ".join(parts) or "no collective"
