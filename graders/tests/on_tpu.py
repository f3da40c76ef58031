"""A CPU that multiplies as a TPU does: `python -m graders.tests.on_tpu LESSON ...`.

By default a TPU rounds the float32 operands of a product to bfloat16. Here the CPU is made to do
the same, wherever a product does not ask for the highest precision. Then the lessons' solutions and
right answers must pass, and the last wrong answer of each exercise be rejected in its own words.
With `--default-precision` the checks leave the precision alone, so that one sees what that costs.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import jax
from jax import lax
from jax._src.interpreters import mlir

from graders.author.proofs import prove_some
from graders.author.two_places import sample
from graders.judging.lesson_run import run_lesson, try_entry
from graders.lesson.source import Lesson, lesson_folders, read_lesson
from graders.seam.place import LocalPlace
from graders.values import compiling

COURSE = Path(__file__).parents[2]
EXACT = (lax.Precision.HIGHEST, lax.Precision.HIGHEST)


def round_products() -> None:
    """From now on the CPU's products and convolutions round what a TPU's would."""
    compiling.EXACT = frozenset()
    for primitive in (lax.dot_general_p, lax.conv_general_dilated_p):
        lowering = partial(_lower, primitive, _present(primitive))
        mlir.register_lowering(primitive, lowering, platform="cpu")


def _present(primitive: Any) -> Callable:
    """The rule by which the CPU compiles the primitive now."""
    entry: Any = mlir._platform_specific_lowerings["cpu"][primitive]
    return getattr(entry, "rule", entry)


def _lower(primitive: Any, exact: Callable, ctx: Any, lhs: Any, rhs: Any, **params: Any) -> Any:
    floats = all(aval.dtype == jax.numpy.float32 for aval in ctx.avals_in)
    if not floats or params["precision"] == EXACT:
        return exact(ctx, lhs, rhs, **params)
    rounded = mlir.lower_fun(partial(_rounded, primitive, **params), multiple_results=False)
    return rounded(ctx, lhs, rhs)


def _rounded(primitive: Any, lhs: Any, rhs: Any, **params: Any) -> Any:
    """The product of the operands as bfloat16 holds them: 8 bits of exponent, 7 of mantissa."""
    cut = partial(lax.reduce_precision, exponent_bits=8, mantissa_bits=7)
    return primitive.bind(cut(lhs), cut(rhs), **params | {"precision": EXACT})


def leave_precision_alone() -> None:
    """From now on the checks compute with the precision that a product has by default."""
    jax.default_matmul_precision = lambda precision: contextlib.nullcontext()  # type: ignore


def problems(lesson: Lesson) -> Iterable[str]:
    """What does not hold under such products."""
    lesson_run = run_lesson(lesson, LocalPlace())
    trials = [try_entry(lesson_run, entry) for entry in (*lesson.right, *sample(lesson))]
    return map(str, prove_some(lesson_run, trials))


def main(arguments: list[str]) -> int:
    logging.getLogger("jax").setLevel(logging.ERROR)
    round_products()
    if arguments[:1] == ["--default-precision"]:
        arguments = arguments[1:]
        leave_precision_alone()
    found = [p for f in lesson_folders(COURSE, arguments) for p in problems(read_lesson(f))]
    for problem in found:
        print(problem)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
