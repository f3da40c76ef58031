"""A lesson in memory: its cells, and its wrong and right answers."""

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from graders.lesson.names import Read, bound_names, global_reads, imported_modules
from graders.lesson.python import parse

DEMONSTRATION = "demonstration"  # the tag of a given cell that no exercise needs


@dataclass(frozen=True)
class Cell:
    """One cell of a lesson, with what its marker says."""

    kind: str  # "markdown" or "code"
    source: str
    line: int  # of the marker, from 1
    index: int
    exercise: str | None = None
    answer_kind: str = "code"  # of an exercise: "code", "prediction" or "recall"
    check: str | None = None
    part: str | None = None
    points: int | None = None
    hints: str | None = None
    tags: tuple[str, ...] = ()
    id: str = ""  # of the notebook's cell: made from names, so that it stays
    skipped: int = 0  # blank lines between the marker and the source

    @property
    def grade_id(self) -> str | None:
        """The name under which nbgrader knows the cell; None for a cell that is given."""
        if self.check:
            return "_".join(filter(None, (self.check, "check", self.part)))
        return self.exercise

    @property
    def is_given(self) -> bool:
        """Whether this is code that runs as it is, for student and grader."""
        return self.kind == "code" and not self.exercise and not self.check

    @property
    def is_demonstration(self) -> bool:
        """Whether the author says that nothing is lost where this cell does not run."""
        return self.kind == "code" and DEMONSTRATION in self.tags

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed code; notebook magics have become calls."""
        return parse(self.source)

    @cached_property
    def binds(self) -> frozenset[str]:
        """The names that the cell binds."""
        return bound_names(self.tree)

    @cached_property
    def reads(self) -> tuple[Read, ...]:
        """Every place where the cell reads a name of the notebook's namespace."""
        return tuple(global_reads(self.tree))

    @cached_property
    def modules(self) -> frozenset[str]:
        """The top-level modules that the cell imports."""
        return imported_modules(self.tree)

    def line_in_file(self, line: int) -> int:
        """Where line `line` of the cell stands in lesson.py; 0 is the marker."""
        return self.line + line + (self.skipped if line else 0)


@dataclass(frozen=True)
class Entry:
    """An answer from wrong.py or right.py: it replaces the cell of its exercise."""

    kind: str  # "wrong" or "right"
    exercise: str
    says: str | None
    source: str
    line: int
    path: Path


@dataclass(frozen=True)
class Lesson:
    """A lesson as its author wrote it."""

    name: str
    path: Path  # its folder
    cells: tuple[Cell, ...]
    wrong: tuple[Entry, ...] = ()
    right: tuple[Entry, ...] = ()

    @property
    def exercises(self) -> dict[str, Cell]:
        """The exercise cells by name, in the order of the lesson."""
        return {cell.exercise: cell for cell in self.cells if cell.exercise}

    @property
    def checks(self) -> tuple[Cell, ...]:
        """The check cells, in the order of the lesson."""
        return tuple(cell for cell in self.cells if cell.check)

    @property
    def points(self) -> int:
        """The points that a perfect submission earns."""
        return sum(cell.points or 0 for cell in self.checks)

    @property
    def title(self) -> str:
        """The heading of the first cell."""
        return self.cells[0].source.splitlines()[0].lstrip("# ")
