"""Probes that no check's own tests reach: the names of parameters, the facts of a program."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graders.probes import parameters, program


class Layer:
    def __call__(self, x: Any, *rest: Any) -> Any:
        return x

    def apply(self, x: Any) -> Any:
        return x


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda x, /, y=1, *more, flag=False, **others: x, ["x", "y"]),
        (partial(lambda a, x: a * x, 2.0), ["x"]),
        (jax.jit(lambda w, x: w @ x), ["w", "x"]),
        (jax.grad(lambda w: w), ["w"]),
        (Layer(), ["x"]),
        (Layer().apply, ["x"]),
        (Layer, []),
        (3, []),
    ],
    ids=["lambda", "partial", "jit", "grad", "object", "method", "class", "number"],
)
def test_names_of_parameters(function: Callable, names: list[str]) -> None:
    assert parameters(function) == names


def test_facts_of_a_program() -> None:
    table = np.arange(3, dtype=np.float32)

    def scanned(x: jax.Array) -> jax.Array:
        half = jax.jit(jnp.sin)(x).astype(jnp.bfloat16)
        return jax.lax.scan(lambda c, row: (c + row, None), jnp.bfloat16(0), half)[0] + table

    facts = program(scanned, jnp.ones(3))
    assert facts.primitives["scan"] == 1
    assert facts.primitives["sin"] == 1
    assert "jit" not in facts.primitives
    assert facts.equations == sum(facts.primitives.values())
    assert facts.dtypes == ["bfloat16", "float32"]
    assert facts.effects == []
    assert len(facts.constants) == 1
    assert facts == program(scanned, jnp.ones(3))
    table[0] = 5
    other = program(scanned, jnp.ones(3))
    assert other.text == facts.text
    assert other.constants != facts.constants


def test_a_program_is_traced_afresh_and_what_is_compiled_stays() -> None:
    runs = []
    compiled = jax.jit(lambda x: runs.append(0) or jnp.sin(x))
    compiled(jnp.ones(3))
    program(compiled, jnp.ones(3))
    assert len(runs) == 2
    compiled(jnp.ones(3))
    assert len(runs) == 2
