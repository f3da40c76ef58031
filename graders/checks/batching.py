"""Checks that a function for one example can be mapped over a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from graders.checks.mechanics import argument_names, check, reject, seen
from graders.diagnosis import batching as diagnosis
from graders.probes.batching import batched
from graders.seam.subject import Subject
from graders.values import describe
from graders.values.inputs import as_numpy
from graders.values.plain import Key, Leaf, Plain, leaves, plain

SEED = 6
RTOL, ATOL = 1e-4, 1e-5
Axes = tuple[int | None, ...]


@check
def check_batched(
    answer: Subject,
    examples: Sequence[Sequence[Any]],
    oracle: Callable[..., Any] | None = None,
    trials: int = 4,
    *,
    about: str = "",
) -> None:
    """Checks that `jax.vmap` of `answer`, over a batch of `examples`, equals a loop over them.

    In the first trial every argument is stacked along axis 0. In each other trial the axis of each
    argument is drawn, None among them: then all examples share the first one's argument.

    Args:
        answer: the student's function for one example.
        examples: two or more argument tuples of equal shapes.
        oracle: what the loop runs over; it takes NumPy arrays. By default `answer` itself.
        trials: how many assignments of axes are tried.
        about: what distinguishes this line from others of its kind on the card.

    Raises:
        CheckFailed: some example gets another result in the batch than alone.

    Example:
        >>> check_batched(jnp.dot, sweep("3", "3", count=2), oracle=np.dot)
    """
    rng = np.random.default_rng(SEED)
    for trial in range(trials):
        axes = _drawn(rng, examples[0]) if trial else (0,) * len(examples[0])
        _judge(answer, examples, oracle, axes)


def _drawn(rng: np.random.Generator, example: Sequence[Any]) -> Axes:
    """An axis for each argument; at least one is not None."""
    axes = tuple(
        int(a) if (a := rng.integers(-1, _ndim(arg) + 1)) >= 0 else None for arg in example
    )
    return axes if any(axis is not None for axis in axes) else (0,) * len(example)


def _ndim(arg: Any) -> int:
    return min((np.ndim(leaf) for leaf in jax.tree.leaves(arg)), default=0)


def _judge(
    answer: Subject, examples: Sequence[Sequence[Any]], oracle: Callable | None, axes: Axes
) -> None:
    batch = [_stacked([e[i] for e in examples], axis) for i, axis in enumerate(axes)]
    here = f"in_axes={axes}: " + describe.inputs(argument_names(answer, batch), batch)
    mapped = answer.observe(batched, *batch, in_axes=axes)
    got = seen(mapped, answer, batch, "a function that `jax.vmap` can map")
    for index in range(len(examples)):
        wanted = _alone(answer, oracle, _of(examples, index, axes))
        _compare(got, wanted, index, len(examples), here)


def _stacked(args: Sequence[Any], axis: int | None) -> Any:
    if axis is None:
        return args[0]
    return jax.tree.map(lambda *leaves: jnp.stack([*map(jnp.asarray, leaves)], axis), *args)


def _of(examples: Sequence[Sequence[Any]], index: int, axes: Axes) -> list[Any]:
    return [examples[0 if axis is None else index][i] for i, axis in enumerate(axes)]


def _alone(answer: Subject, oracle: Callable | None, args: Sequence[Any]) -> Plain:
    if oracle is not None:
        return plain(oracle(*as_numpy(args)))
    return seen(answer.call(*args), answer, args, "the result for one example")


def _compare(got: Plain, wanted: Plain, index: int, count: int, here: str) -> None:
    found, meant = list(leaves(got)), list(leaves(wanted))
    if [path for path, _ in found] != [path for path, _ in meant]:
        texts = describe.text(wanted), describe.text(got)
        reject(diagnosis.other_structure(), *texts, here)
    for (path, batch), (_, alone) in zip(found, meant, strict=True):
        if not isinstance(batch, Leaf | Key) or not isinstance(alone, Leaf | Key):
            reject(diagnosis.other_structure(), describe.text(alone), describe.text(batch), here)
        prefix, whole = f"{path}: " if path else "", (count, *alone.data.shape)
        if batch.data.shape != whole:
            wanted_shape, shape = map(describe.dimensions, (whole, batch.data.shape))
            texts = f"{prefix}shape {wanted_shape}", f"{prefix}shape {shape}"
            reject(diagnosis.shape(wanted_shape, shape), *texts, here)
        if not _near(batch.data[index], alone.data):
            one, mapped = map(describe.array, (alone.data, batch.data[index]))
            reject(diagnosis.differs(index), prefix + one, prefix + mapped, here)


def _near(one: np.ndarray, other: np.ndarray) -> bool:
    a, b = (np.asarray(v, np.complex128) for v in (one, other))
    return bool(np.allclose(a, b, RTOL, ATOL, equal_nan=True))
