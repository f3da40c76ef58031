"""The program that JAX makes of the student's function: its jaxpr."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from graders.values.jax_internals import CALLS, ClosedJaxpr, Jaxpr, equations, nothing_cached
from graders.values.plain import is_key
from graders.values.tracing import trace


@dataclass(frozen=True)
class Program:
    """The facts of a jaxpr, inner programs included, the calls of jitted functions left out."""

    primitives: dict[str, int]  # how often each occurs, by its name
    equations: int
    dtypes: list[str]  # of all intermediate values
    effects: list[str]  # their names
    text: str  # a digest, which differs where two traces differ
    constants: list[str]  # likewise, one digest each


def program(function: Callable, *args: Any, static_argnums: Sequence[int] = ()) -> Program:
    """The facts of the function's jaxpr at these arguments, traced afresh."""
    with nothing_cached():
        return facts_of(trace(function, args, static_argnums))


def facts_of(closed: ClosedJaxpr) -> Program:
    names = Counter(equation.primitive.name for equation in equations(closed.jaxpr))
    for wrapper in CALLS:
        names.pop(wrapper, None)
    return Program(
        primitives=dict(names),
        equations=sum(names.values()),
        dtypes=sorted(_dtypes(closed.jaxpr)),
        effects=sorted(type(effect).__name__ for effect in closed.effects),
        text=_digest(str(closed.jaxpr).encode()),
        constants=[_digest(np.asarray(const).tobytes()) for const in _constants(closed)],
    )


def _dtypes(jaxpr: Jaxpr) -> set[str]:
    made = (variable.aval for equation in equations(jaxpr) for variable in equation.outvars)
    return {str(aval.dtype) for aval in made if hasattr(aval, "dtype")}


def _constants(closed: ClosedJaxpr) -> Iterator[Any]:
    """Constants of the program and of the programs inside it, as raw arrays."""
    consts = list(closed.consts)
    for equation in equations(closed.jaxpr):
        for param in equation.params.values():
            consts += param.consts if isinstance(param, ClosedJaxpr) else []
    for const in consts:
        if isinstance(const, Tracer):  # kept from an earlier trace
            const = np.zeros(0)
        yield jax.random.key_data(const) if is_key(const) else const


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
