"""Regions of a cell between a BEGIN and an END line, as nbgrader reads them."""

import re
import textwrap
from dataclasses import dataclass

from graders.lesson.problems import Finding


class RegionError(Exception):
    """A region is not closed or not opened; the finding's line counts from 1 within the cell."""

    def __init__(self, finding: Finding):
        super().__init__(finding.what)
        self.finding = finding


@dataclass(frozen=True)
class Region:
    """A kind of region: nbgrader looks for these words anywhere in a line."""

    name: str
    begin: str
    end: str

    def first_line(self, source: str) -> int:
        """The first line (from 1) that opens or closes such a region; 0 where none does."""
        numbered = enumerate(source.split("\n"), 1)
        return next((n for n, line in numbered if self.begin in line or self.end in line), 0)

    def count(self, source: str) -> int:
        """How many such regions the cell opens."""
        return sum(self.begin in line for line in source.split("\n"))

    def inside(self, source: str) -> str:
        """The lines within the regions, without their common indentation."""
        return textwrap.dedent("\n".join(line for line, within in self.lines(source) if within))

    def line_numbers(self, source: str) -> set[int]:
        """The lines (from 1) within the regions."""
        return {number for number, _, within in self._numbered(source) if within}

    def lines(self, source: str) -> list[tuple[str, bool]]:
        """Each line with whether it belongs to such a region; the marks themselves are left out."""
        return [(line, within) for _, line, within in self._numbered(source)]

    def _numbered(self, source: str) -> list[tuple[int, str, bool]]:
        marked, opened = [], 0
        for number, line in enumerate(source.split("\n"), 1):
            if self.begin in line:
                self._refuse(opened, number, f"a {self.name} region begins within another")
                opened = number
            elif self.end in line:
                self._refuse(not opened, number, f"a {self.name} region ends that never began")
                opened = 0
            else:
                marked.append((number, line, bool(opened)))
        self._refuse(opened, opened, f"a {self.name} region is not closed")
        return marked

    def _refuse(self, wrong: object, line: int, what: str) -> None:
        if wrong:
            fix = f"open it with ### {self.begin} and close it with ### {self.end}"
            raise RegionError(Finding(line, what, fix))


SOLUTION = Region("solution", "BEGIN SOLUTION", "END SOLUTION")
HIDDEN = Region("hidden-tests", "BEGIN HIDDEN TESTS", "END HIDDEN TESTS")


def without_marks(source: str, region: Region) -> str:
    """The cell with what is in its regions, and without the lines that open and close them."""
    return "\n".join(line for line, _ in region.lines(source))


def without_region(source: str, region: Region, stub: str = "") -> str:
    """The cell with each region replaced by `stub`; a RegionError where one is not closed."""
    region.lines(source)
    kept, inside = [], False
    for line in source.split("\n"):
        if region.begin in line:
            inside = True
            indent = re.match(r"\s*", line)[0]  # type: ignore[index]
            kept.extend(indent + part for part in stub.split("\n") if stub)
        elif region.end in line:
            inside = False
        elif not inside:
            kept.append(line)
    return "\n".join(kept)
