"""Checks have their programs compiled quickly, and leave the setting as it was; so does grading."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from packaging.version import Version

from graders import (
    check_collectives,
    check_gradients,
    check_pure,
    check_shape,
    check_traces,
    check_values,
)
from graders.tests.failing import failure
from graders.values import compiling
from graders.values.jax_internals import knows_flag

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


# ---- what a check leaves behind ----

COMPILED: list[bool] = []
"""For each program that XLA has compiled, whether with fewer optimisations."""


def _note(event: str, *_: object, **__: object) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        COMPILED.append(jax.config.read(SETTING))


jax.monitoring.register_event_duration_secs_listener(_note)


def compiled(function: Callable, *args: object) -> list[bool]:
    """How each program is compiled that a call of the function needs and JAX does not have yet."""
    COMPILED.clear()
    jax.block_until_ready(function(*args))
    return list(COMPILED)


def checked(function: Callable) -> None:
    """A check of each kind of observation: calls, traces, derivatives, a compiled program."""
    check_shape(function, X, returns="3")
    check_values(function, np.tanh, [(X,)])
    check_pure(function, X)
    check_traces(function, [(X,), (X,)])
    check_gradients(function, X)
    check_collectives(function, X)


X = np.ones(3, np.float32)


def test_a_function_that_was_compiled_before_a_check_keeps_its_program() -> None:
    function = jax.jit(lambda x: jnp.tanh(x))
    assert compiled(function, X) == [False]
    checked(function)
    assert compiled(function, X) == []


def test_a_function_that_is_first_compiled_in_a_check_is_compiled_in_full_afterwards() -> None:
    """Before, it went on with the check's program: 1.5 to 15 times slower, from then on."""
    function = jax.jit(lambda x: jnp.tanh(x))
    checked(function)
    assert compiled(function, X) == [False]
    assert compiled(function, X) == []


def test_what_a_check_has_compiled_serves_the_next_check() -> None:
    function = jax.jit(lambda x: jnp.tanh(x))
    check_shape(function, X, returns="3")
    assert compiled(lambda: check_shape(function, X, returns="3")) == []


def said(code: str, **environment: str) -> str:
    """What Python prints that runs the code by itself."""
    command = [sys.executable, "-c", code]
    surroundings = os.environ | environment
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True)
    return done.stdout


def test_xla_knows_the_flags_that_grading_sets() -> None:
    """Those that it does not know are left out: `test_jax_internals` names them."""
    flags = compiling.flags()
    known = [name for name, value in compiling.FLAGS.items() if knows_flag(name, value)]
    assert [name for name in compiling.FLAGS if f"--{name}=" in flags] == known != []
    assert said("import jax; print(jax.jit(lambda x: x + 1)(1.0))", XLA_FLAGS=flags) == "2.0\n"


def test_a_flag_that_xla_does_not_know_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    monkeypatch.setattr(compiling, "FLAGS", {"xla_no_such_flag": 1})
    assert compiling.flags.__wrapped__() == "--xla_cpu_enable_fast_math=false"


LOWERED = """
import jax
from graders.values.jax_internals import share_context
{}
first, *others = (jax.jit(lambda x: n * x).lower(1.0) for n in range(2, 7))
print(all(first.compiler_ir().context is other.compiler_ir().context for other in others))
print(first.compile()(1.0), others[0].compile()(1.0))
"""


ITSELF = Version(jax.__version__) >= Version("0.12")  # JAX keeps a context for eleven programs


@pytest.mark.parametrize(("call", "shared"), [("", ITSELF), ("share_context()", True)])
def test_programs_share_a_context_where_that_is_asked_for(call: str, shared: bool) -> None:
    assert said(LOWERED.format(call)) == f"{shared}\n2.0 3.0\n"
