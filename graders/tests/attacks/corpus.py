"""The attacks: each one a cell, or a change to the notebook, and what it deserves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from graders.sample.draft import Draft

RIGHT = "def double(x):\n    return x + x\n"
WRONG = "def double(x):\n    return 3 * x\n"


@dataclass(frozen=True)
class Attack:
    """One submission. All its other answers are right.

    In `source`, ROOT, PORT, PYTHON, LETTER_BOX and TOKEN stand for what `arena.Arena` puts there.
    """

    family: str
    name: str
    tries: str  # what it tries to do; the reader adds "and fails"
    source: str = WRONG  # of the exercise's cell
    change: Callable[[Draft], None] | None = None
    earns: bool = False  # whether the answer in `source` is right
    spoils: bool = False  # whether it breaks its own process for the answers behind it


def code(attack: str, answer: str = WRONG) -> str:
    """An answer with an attack above it."""
    return f"{attack.strip()}\n\n{answer}"
