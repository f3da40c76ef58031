"""What verifying one lesson found."""

from __future__ import annotations

from dataclasses import dataclass, field

from graders.author.census import Census
from graders.lesson.problems import Problem


@dataclass
class Report:
    """What verifying one lesson found."""

    lesson: str
    counts: Census
    problems: list[Problem] = field(default_factory=list)
    seconds: float = 0.0  # of a processor, for the notebook with the solutions, from cold

    @property
    def proved(self) -> bool:
        return not self.problems
