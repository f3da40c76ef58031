"""Checks have their programs compiled quickly, and leave the setting as it was."""

from __future__ import annotations

import jax
import pytest

from graders import check_values
from graders.tests.failing import failure

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
