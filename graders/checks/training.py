"""Checks that a training function learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graders.checks.mechanics import at, check, reject, seen
from graders.diagnosis import training as diagnosis
from graders.seam.subject import Subject
from graders.values import describe
from graders.values.compare import same
from graders.values.plain import Leaf, Plain, Record


@check
def check_training(
    answer: Subject,
    *args: Any,
    losses: Callable[[Any], Any],
    falls_to: float = 0.5,
    score: Callable[[Any], float] | None = None,
    at_least: float = 0.0,
    twice: bool = True,
    about: str = "",
) -> None:
    """Checks that `answer(*args)` trains: reproducibly, with a falling loss, to a good score.

    `losses` and `score` get the result with NumPy arrays as its leaves, registered classes as dicts
    of their fields.

    Args:
        answer: the student's function.
        args: its arguments.
        losses: takes the result and returns the history of the loss, one-dimensional.
        falls_to: the mean of the last tenth of the losses is at most this times the mean of the
            first tenth.
        score: takes the result and returns a number.
        at_least: the least score.
        twice: whether a second call must give the same result to the bit. False leaves that to a
            smaller run, where one call takes long.
        about: what distinguishes this line from others of its kind on the card.

    Raises:
        CheckFailed: a loss is not finite, the loss does not fall, the score is too low, or a second
            call gives another result.

    Example:
        >>> def fit(x):
        ...     return 0.5 ** jnp.arange(20) * x
        >>> check_training(fit, 1.0, losses=lambda result: result)
    """
    first = seen(answer.call(*args), answer, args, "the result of the training")
    here = at(answer, args)
    result = as_numpy(first)
    history = _asked(losses, result)
    if history is None or history.ndim != 1 or history.size < 2:
        reject(diagnosis.no_history(), "a history of losses", describe.text(first), here)
    if not np.isfinite(history).all():
        where = int(np.argmax(~np.isfinite(history)))
        reject(diagnosis.not_finite(where), "finite losses", f"{history[where]}", here)
    tenth = max(1, history.size // 10)
    start, end = float(history[:tenth].mean()), float(history[-tenth:].mean())
    if not end <= falls_to * start:
        bound = f"at most {falls_to:g} times the first tenth's mean in the last tenth"
        reject(diagnosis.loss(start, end), bound, f"{start:.4g} and then {end:.4g}", here)
    if score is not None:
        _judge_score(_asked(score, result), at_least, first, here)
    if twice and not same(first, seen(answer.call(*args), answer, args)):
        reject(diagnosis.not_reproducible(), "the same result for the same key", at=here)


def _judge_score(reached: np.ndarray | None, at_least: float, got: Plain, here: str) -> None:
    bound = f"at least {at_least:.3f}"
    if reached is None or reached.ndim:
        reject(diagnosis.no_score(), bound, describe.text(got), here)
    if not reached >= at_least:
        reject(diagnosis.score(float(reached), at_least), bound, f"{reached:.3f}", here)


def _asked(ours: Callable[[Any], Any], result: Any) -> np.ndarray | None:
    """What `ours` finds in the result; None where the result is not what it expects."""
    try:
        return np.asarray(ours(result), np.float64)
    except Exception:  # the result is the student's, and may be anything
        return None


def as_numpy(value: Plain) -> Any:
    """Plain data as tuples, lists and dicts of NumPy arrays; a record is a dict of its fields."""
    if isinstance(value, Leaf):
        return value.data
    if isinstance(value, Record):
        return dict(zip(value.fields, map(as_numpy, value.children), strict=True))
    if isinstance(value, dict):
        return {name: as_numpy(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(as_numpy(inner) for inner in value)
    return value
