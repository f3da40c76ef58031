"""The examples in docstrings of what a lesson may use: each runs, and says what it says."""

from __future__ import annotations

import doctest
import inspect
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graders

NAMES = {"jax": jax, "jnp": jnp, "np": np, "partial": partial}
CHECKS = [name for name in graders.__all__ if name.startswith("check_")]


@pytest.mark.parametrize("name", graders.__all__)
def test_the_example_of_a_public_name_runs(name: str) -> None:
    public: Any = getattr(graders, name)
    given = NAMES | {name: getattr(graders, name) for name in graders.__all__}
    [found] = doctest.DocTestFinder(recurse=False).find(public, name, globs=given)
    assert found.examples, f"{name} has no example"
    shown: list[str] = []
    result = doctest.DocTestRunner().run(found, out=shown.append)
    assert result.failed == 0, "".join(shown)


@pytest.mark.parametrize("name", graders.__all__)
def test_the_docstring_of_a_public_name_has_its_sections(name: str) -> None:
    text = inspect.getdoc(getattr(graders, name)) or ""  # Python 3.13 has it without indentation
    assert "Example:\n" in text
    if name in CHECKS:
        assert "Args:\n" in text
        assert "Raises:\n    CheckFailed: " in text
