"""The program that JAX makes of the student's function: its jaxpr."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from graders.values.jax_internals import (
    ClosedJaxpr,
    Tracer,
    constants,
    dtypes,
    effects,
    largest,
    nothing_cached,
    primitives,
    text_of,
    unrolled_steps,
    used_primitives,
)
from graders.values.plain import Natural, Positive, is_key
from graders.values.tracing import trace


@dataclass(frozen=True)
class Program:
    """The facts of a jaxpr, inner programs included, the calls of jitted functions left out."""

    primitives: dict[str, Positive]  # how often each occurs, by its name
    used: dict[str, Positive]  # likewise, without those that no result needs
    equations: Natural
    largest: Natural  # the number of elements of the largest intermediate value or result
    dtypes: list[str]  # of all intermediate values
    effects: list[str]  # their names
    text: str  # a digest, which differs where two traces differ
    constants: list[str]  # likewise, one digest each
    unrolled: Natural  # the steps of scans that are unrolled whole, and so are no loops


def program(function: Callable, *args: Any, static_argnums: Sequence[int] = ()) -> Program:
    """The facts of the function's jaxpr at these arguments, traced afresh."""
    with nothing_cached():
        return facts_of(trace(function, args, static_argnums))


def facts_of(closed: ClosedJaxpr) -> Program:
    names = primitives(closed)
    return Program(
        primitives=dict(names),
        used=dict(used_primitives(closed)),
        equations=sum(names.values()),
        largest=largest(closed),
        dtypes=sorted(dtypes(closed)),
        effects=sorted(effects(closed)),
        text=_digest(text_of(closed).encode()),
        constants=[_digest(_raw(const)) for const in constants(closed)],
        unrolled=unrolled_steps(closed),
    )


def _raw(const: Any) -> bytes:
    if isinstance(const, Tracer):  # kept from an earlier trace
        return b""
    return np.asarray(jax.random.key_data(const) if is_key(const) else const).tobytes()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
