"""A generated answer: where it comes from, and what was changed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """The source of an exercise's cell with one change."""

    exercise: str
    kind: str  # of the change, as in "operator" or "ignored argument"
    change: str  # in words, or as two pieces of code
    source: str
    is_right: bool = False  # a rewriting that is meant to do the same
    origin: str = ""  # the entry of right.py that was changed; empty for the solution

    @property
    def name(self) -> str:
        """What it is called in tables and in lists of equivalents."""
        return f"{self.exercise}: {self.kind}: {self.change}"
