"""What is wrong in a source file, said so that the author can mend it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from graders.errors import CourseError


class Finding(NamedTuple):
    """Something wrong at a line of a file or of a cell, and how to mend it."""

    line: int
    what: str
    mend: str


@dataclass(frozen=True, order=True)
class Problem:
    """Something wrong in a source file, and how to mend it."""

    path: Path
    line: int
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}. Mend: {self.mend}."


class SourceError(CourseError):
    """A lesson cannot be built; `problems` lists everything that has to be mended."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = sorted(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
