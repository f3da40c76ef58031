"""Checks notebooks from the command line: `jax-course check NOTEBOOK ...`, for students and CI."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from graders.card.outcome import MIME, Outcome
from graders.errors import CourseError
from graders.notebook.running import run_all_cells
from graders.seam.capture import shown

PASSED, FAILED, UNANSWERED, NOT_RUN = "passed", "failed", "not answered", "not run"
INTERRUPTED = "interrupted, by the time limit of a cell or a KeyboardInterrupt"
NOTE = "Hidden tests are not part of this: they run when your work is graded."


UNREADABLE = (ValueError, KeyError, AttributeError, TypeError, RecursionError)
"""What nbformat raises for text that is no notebook."""


class CheckError(CourseError):
    """A notebook cannot be checked; the message says why and what to do."""


@dataclass(frozen=True)
class Row:
    """What one check cell found."""

    check: str  # the name that nbgrader gives the cell
    points: float
    state: str  # PASSED, FAILED, UNANSWERED, NOT_RUN or INTERRUPTED
    card: str = ""  # in plain text, where the check has not passed
    outcome: Outcome | None = None  # of a check that has come to one

    @property
    def exercise(self) -> str:
        name, _, part = self.check.rpartition("_check")
        return name + part.replace("_", " ", 1)

    @property
    def earned(self) -> float:
        return self.points if self.state == PASSED else 0.0


@dataclass(frozen=True)
class Checked:
    """What the checks of a notebook found, and which cell has ended its kernel, "" if none has."""

    rows: tuple[Row, ...]
    died: str = ""

    @property
    def passed(self) -> list[Row]:
        return [row for row in self.rows if row.state == PASSED]

    @property
    def total(self) -> str:
        """One sentence: how many checks have passed, and their points."""
        got, of = sum(row.earned for row in self.rows), sum(row.points for row in self.rows)
        return f"{len(self.passed)} of {len(self.rows)} checks passed, {got:g} of {of:g} points."


def main(notebooks: Sequence[Path], seconds: int) -> int:
    """Runs each notebook and prints a line for each check; 1 if a check has not passed.

    Args:
        notebooks: their files, which are not changed.
        seconds: for each cell; a cell that runs longer is interrupted.

    Raises:
        CheckError: a file is no notebook, or has no check cells.
    """
    read = [(path, _read(path)) for path in notebooks]
    passed = True
    for path, notebook in read:
        found = _checked(notebook, path.parent, seconds)
        print(*map(shown, _lines(path.name, found)), sep="\n", flush=True)
        passed = passed and len(found.passed) == len(found.rows)
    return 0 if passed else 1


def checked(path: Path, seconds: int) -> Checked:
    """What the checks of the notebook find in a kernel of their own; the file is not changed.

    Args:
        path: of the notebook.
        seconds: for each cell; a cell that runs longer is interrupted.

    Raises:
        CheckError: the file is no notebook, or has no check cells.
    """
    return _checked(_read(path), path.parent, seconds)


def _checked(notebook: NotebookNode, folder: Path, seconds: int) -> Checked:
    died = _run(notebook, folder, seconds)
    return Checked(tuple(rows_of(notebook)), died)


def _read(path: Path) -> NotebookNode:
    if not path.is_file():
        raise CheckError(f"There is no file {path}.")
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8-sig"), as_version=4)
        nbformat.validate(notebook)
    except (*UNREADABLE, nbformat.ValidationError) as error:
        what = " ".join(str(error).split())[:120]
        raise CheckError(f"{path} is not a notebook that can be read: {what}") from error
    if not any(_is_check(cell) for cell in notebook.cells):
        raise CheckError(
            f"{path} has no check cells. Name a lesson of the course, such as "
            "work/02_grad/02_grad.ipynb"
        )
    return notebook


def _run(notebook: NotebookNode, folder: Path, seconds: int) -> str:
    """Runs the notebook; says which cell has ended the kernel, if one has."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    fatal = run_all_cells(notebook, folder, seconds=seconds)
    if fatal is None:
        return ""
    marks = fatal.metadata.get("nbgrader")
    name = marks.get("grade_id") if isinstance(marks, dict) else None
    where = f"the cell of {name}" if name else f"this cell: {fatal.source[:60]!r}"
    return f"The kernel died in {where}. The cells below were not run."


def rows_of(notebook: NotebookNode) -> Iterator[Row]:
    """A row for each check cell of a notebook that has been run."""
    for cell in notebook.cells:
        if _is_check(cell):
            marks = cell.metadata.nbgrader
            found = _found(cell.outputs)
            yield Row(marks.grade_id, _number(marks.get("points")), *found, _outcome(cell.outputs))


def _is_check(cell: NotebookNode) -> bool:
    marks = cell.metadata.get("nbgrader")
    if cell.cell_type != "code" or not isinstance(marks, dict):
        return False
    named = isinstance(marks.get("grade_id"), str)
    return named and bool(marks.get("grade")) and not marks.get("solution")


def _number(points: object) -> float:
    return float(points) if isinstance(points, int | float) else 0.0


def _found(outputs: Sequence[NotebookNode]) -> tuple[str, str]:
    """The state of a check, and its card."""
    cards = [output.data for output in outputs if MIME in output.get("data", {})]
    if not cards:
        errors = [output for output in outputs if output.output_type == "error"]
        if any(error.ename == "KeyboardInterrupt" for error in errors):
            return INTERRUPTED, ""
        return NOT_RUN, "\n".join(f" {error.ename}: {error.evalue}" for error in errors)
    states = [requirement["state"] for requirement in cards[-1][MIME]["requirements"]]
    if all(state == "met" for state in states):
        return PASSED, ""
    return UNANSWERED if "unanswered" in states else FAILED, str(cards[-1].get("text/plain", ""))


def _outcome(outputs: Sequence[NotebookNode]) -> Outcome | None:
    """What the check came to; None where it did not, or where an answer has forged it badly."""
    cards = [output.data[MIME] for output in outputs if MIME in output.get("data", {})]
    try:
        return Outcome.from_json(cards[-1]) if cards else None
    except (KeyError, TypeError):
        return None


def _lines(name: str, found: Checked) -> Iterator[str]:
    wide = max(len(row.exercise) for row in found.rows)
    yield name
    for row in found.rows:
        yield f"  {row.exercise:{wide}}  {row.earned:g} of {row.points:g}  {row.state}"
        if row.state == FAILED or (row.state == NOT_RUN and row.card):
            yield from (f"      {line}" for line in row.card.splitlines())
    yield f"{found.total} {NOTE}"
    if found.died:
        yield found.died
