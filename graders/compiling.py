"""Programs of checks are compiled in less time: they are many and small, and run a few times each.

The figures are of JAX 0.10.2 on two cores, for small programs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import cache
from typing import Any

import jax

LESS_OPTIMISED = "jax_disable_most_optimizations"
FLAGS: dict[str, Any] = {
    # XLA's newer emitters take half of the time that it needs for a program: 35 ms, 18 without.
    "xla_cpu_use_fusion_emitters": False,
    # LLVM gets a program in one piece, not in many for many threads: a tenth less time.
    "xla_cpu_parallel_codegen_split_count": 1,
    # XLA ends a process whose devices wait long for each other: how long a cell may take, we say.
    "xla_cpu_collective_call_terminate_timeout_seconds": 600,
}


@contextlib.contextmanager
def quick_compilation() -> Iterator[None]:
    """A block whose programs are compiled in half of the time, and optimised less by LLVM.

    JAX's cache of programs does not know the setting: one that exists is used as it is, and one
    that a check has made goes on to be used behind it, for arguments of the same shapes.
    """
    before = jax.config.read(LESS_OPTIMISED)
    jax.config.update(LESS_OPTIMISED, True)
    try:
        yield
    finally:
        jax.config.update(LESS_OPTIMISED, before)


def share_context() -> None:
    """From now on this process lowers every program in one MLIR context.

    JAX makes one for each program and loads all dialects into it, which takes 6 ms. What
    constants and types need in the shared one stays in memory until the process ends: this is for
    processes that grade. Where JAX has no such function any more, nothing changes.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from jax._src.interpreters import mlir

        if not hasattr(mlir.make_ir_context, "cache_clear"):
            mlir.make_ir_context = cache(mlir.make_ir_context)
            mlir.make_ir_context()


@cache
def flags() -> str:
    """XLA_FLAGS for processes that grade: those of this one, and of `FLAGS` what XLA knows.

    XLA ends a process that is given a flag it does not know: so each is tried here first, in a form
    that raises, and this process's backend starts: on the CPU alone, whatever else there is.
    """
    jax.config.update("jax_platforms", "cpu")
    given = os.environ.get("XLA_FLAGS", "")
    known = [f"--{name}={str(value).lower()}" for name, value in FLAGS.items() if _knows(name)]
    return " ".join([given, *known]).strip()


def _knows(flag: str) -> bool:
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options={flag: FLAGS[flag]})
    except jax.errors.JaxRuntimeError:
        return False
    return True
