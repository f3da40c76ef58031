"""Checks have their programs compiled quickly, and leave the setting as it was; so does grading."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import pytest

from graders import check_values
from graders.tests.failing import failure
from graders.values import compiling

SETTING = "jax_disable_most_optimizations"


@pytest.mark.parametrize("before", [False, True])
def test_answers_and_oracles_are_compiled_quickly_and_nothing_else_is(before: bool) -> None:
    seen = []

    def f(x: float) -> float:
        seen.append(jax.config.read(SETTING))
        return x

    jax.config.update(SETTING, before)
    try:
        check_values(f, f, [(1.0,)])
        failure(check_values, f, lambda x: f(x) + 1, [(1.0,)])
        assert jax.config.read(SETTING) == before
    finally:
        jax.config.update(SETTING, False)
    assert len(seen) >= 4
    assert all(seen)


def said(code: str, **environment: str) -> str:
    """What Python prints that runs the code by itself."""
    command = [sys.executable, "-c", code]
    surroundings = os.environ | environment
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True)
    return done.stdout


def test_xla_knows_the_flags_that_grading_sets() -> None:
    flags = compiling.flags()
    assert all(f"--{name}=" in flags for name in compiling.FLAGS)
    assert said("import jax; print(jax.jit(lambda x: x + 1)(1.0))", XLA_FLAGS=flags) == "2.0\n"


def test_a_flag_that_xla_does_not_know_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    monkeypatch.setattr(compiling, "FLAGS", {"xla_no_such_flag": 1})
    assert compiling.flags.__wrapped__() == "--xla_cpu_enable_fast_math=false"


LOWERED = """
import jax
from graders.compiling import share_context
{}
first, second = (jax.jit(f).lower(1.0) for f in (lambda x: 2 * x, lambda x: x + 2))
print(first.compiler_ir().context is second.compiler_ir().context)
print(first.compile()(1.0), second.compile()(1.0))
"""


@pytest.mark.parametrize(("call", "shared"), [("", False), ("share_context()", True)])
def test_programs_share_a_context_where_that_is_asked_for(call: str, shared: bool) -> None:
    assert said(LOWERED.format(call)) == f"{shared}\n2.0 3.0\n"
