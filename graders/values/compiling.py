"""How the programs of checks are compiled: in less time, exactly, and apart from the student's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import cache
from typing import Any

import jax

from graders.values.jax_internals import (
    FLAGS,
    LESS_OPTIMISED,
    apart_from_the_student,
    is_less_optimised,
    knows_flag,
)

QUICK = ("XLA_FLAGS", LESS_OPTIMISED.upper())
"""The variables that make a process compile quickly."""
EXACT = frozenset({"cpu"})  # the platforms whose products are exact by default


def exact_products() -> Any:
    """A context in which products have the precision of their operands.

    By default a TPU rounds float32 to bfloat16 before it multiplies, and a GPU to TF32: errors of
    up to 0.4 %, which no check could tell from a mistake. On a CPU the setting would only have
    everything compiled a second time.
    """
    if jax.default_backend() in EXACT:
        return contextlib.nullcontext()
    return jax.default_matmul_precision("highest")


@contextlib.contextmanager
def quick_compilation() -> Iterator[None]:
    """A block whose programs are compiled in half of the time, and optimised less by LLVM.

    They serve later blocks of this kind and nothing else: a function that the student has jitted
    is as fast after the block as before it. In a process that is started with the setting, which
    grades and has no student waiting, there is nothing to keep apart.
    """
    if is_less_optimised():
        yield
        return
    jax.config.update(LESS_OPTIMISED, True)
    try:
        with apart_from_the_student():
            yield
    finally:
        jax.config.update(LESS_OPTIMISED, False)


def quick_environment() -> dict[str, str]:
    """The variables of a process in which every program is compiled quickly, the lesson's too.

    Side effect: the backend of this process starts, as in `flags`.
    """
    return dict(zip(QUICK, (flags(), "1"), strict=True))


@cache
def flags() -> str:
    """XLA_FLAGS for processes that grade: those of this one, and of `FLAGS` what XLA knows.

    Side effect: the backend of this process starts, on the CPU alone, whatever else there is.
    """
    jax.config.update("jax_platforms", "cpu")
    given = os.environ.get("XLA_FLAGS", "")
    known = [(name, value) for name, value in FLAGS.items() if knows_flag(name, value)]
    return " ".join([given, *(f"--{name}={str(value).lower()}" for name, value in known)]).strip()
