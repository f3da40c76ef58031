"""What is wrong with a training run, from its losses and its score."""

from __future__ import annotations

from graders.card.failure import Cause


def no_history() -> Cause:
    return Cause(
        "the result holds no history of losses where it should",
        "Return what the docstring names, in that order: one loss for each step.",
    )


def no_score() -> Cause:
    return Cause(
        "the trained parameters cannot be used: they have another structure or other shapes",
        "Return the parameters as the function was given them: the same containers and shapes.",
    )


def not_finite(step: int) -> Cause:
    return Cause(
        f"the loss is not a finite number from entry {step} on",
        "Look for `log` of a probability that became 0 (use `log_softmax`), or a step that is too "
        "large.",
    )


def loss(start: float, end: float) -> Cause:
    if start == end:
        return Cause(
            "the loss stays where it was: the parameters are not updated",
            "Carry the new parameters and the new optimizer state into the next step.",
        )
    if end > 1.01 * start:
        return Cause(
            "the loss rises",
            "Look at the sign of the update: a step goes against the gradient.",
        )
    return Cause(
        f"the loss hardly falls: {start:.3g} at first and {end:.3g} at the end",
        "Look whether each step starts from the parameters that the last one made, on another "
        "batch, with the optimizer's state carried along.",
    )


def score(reached: float, at_least: float) -> Cause:
    return Cause(
        f"the loss falls, and the score is {reached:.3f} where {at_least:.3f} is asked for",
        "Look at the data: are the images and their labels shuffled together, is every example "
        "seen, are the inputs scaled as at the test?",
    )


def not_reproducible() -> Cause:
    return Cause(
        "a second run with the same arguments gives another result",
        "Take every random number from the key: no `np.random`, no state kept between calls.",
    )
