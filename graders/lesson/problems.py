"""What is wrong in a source file, said so that the author can fix it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from graders.errors import CourseError


class Finding(NamedTuple):
    """Something wrong at a line of a file or of a cell, and how to fix it."""

    line: int
    what: str
    fix: str


@dataclass(frozen=True, order=True)
class Problem:
    """Something wrong in a source file, and how to fix it."""

    path: Path
    line: int
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}. Fix: {self.fix}."


class SourceError(CourseError):
    """A lesson cannot be built; `problems` lists everything that has to be fixed."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = sorted(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
