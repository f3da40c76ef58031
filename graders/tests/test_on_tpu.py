"""Checks hold where products round float32 to bfloat16, as they do on a TPU by default."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from graders.lesson.source import lesson_folders
from graders.tests.on_tpu import COURSE

PRODUCT = """
import sys
from graders.tests import on_tpu
on_tpu.round_products()
if "--default-precision" in sys.argv:
    on_tpu.leave_precision_alone()

import jax, numpy as np
from graders import check_gradients, check_values

rng = np.random.default_rng(0)
x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((4, 300), (300, 5)))
image, kernel = (rng.standard_normal(shape).astype(np.float32) for shape in (200, 30))
by_jax = jax.jit(lambda x, w: x @ w)
print(np.abs(by_jax(x, w) - x @ w).max())
for name, check in {
    "product": lambda: check_values(by_jax, lambda x, w: x @ w, [(x, w)]),
    "oracle": lambda: check_values(lambda x, w: (x[:, :, None] * w).sum(1), by_jax, [(x, w)]),
    "convolution": lambda: check_values(
        lambda a, b: jax.numpy.convolve(a, b), lambda a, b: np.convolve(a, b), [(image, kernel)]
    ),
}.items():
    try:
        check()
    except AssertionError as error:
        print(name, error)
    else:
        print(name, "passed")
"""


def outcome(*arguments: str) -> tuple[float, list[str]]:
    """How far a product is off outside of the checks, and what each check says."""
    command = [sys.executable, "-c", PRODUCT, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    error, *said = ran.stdout.splitlines()
    return float(error), said


def test_checks_judge_exact_products() -> None:
    """Outside of a check the product is rounded; inside it is not, nor is an oracle's."""
    error, said = outcome()
    assert error > 0.01
    assert said == ["product passed", "oracle passed", "convolution passed"]


def test_without_the_precision_the_same_answers_fail() -> None:
    _, said = outcome("--default-precision")
    assert len(said) == 3
    assert not any(line.endswith("passed") for line in said)


LESSONS = [folder.name for folder in lesson_folders(COURSE)]


@pytest.mark.parametrize(
    "lesson",
    [pytest.param(n, marks=[] if n == "00_start" else pytest.mark.long) for n in LESSONS],
)
def test_a_lesson_holds(lesson: str) -> None:
    command = [sys.executable, "-m", "graders.tests.on_tpu", lesson]
    settings = os.environ | {"MPLBACKEND": "Agg"}
    ran = subprocess.run(command, capture_output=True, text=True, cwd=COURSE, env=settings)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout + ran.stderr
