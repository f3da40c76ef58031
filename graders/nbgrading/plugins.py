"""What nbgrader is given beside its own steps; nbgrader_config.py says where each one runs."""

import glob
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.corpus.words import generate_corpus_id
from nbformat.v4 import new_output
from nbgrader import preprocessors, utils
from nbgrader.api import Gradebook
from nbgrader.exchange.default import ExchangeReleaseFeedback
from nbgrader.nbgraderformat import MetadataValidator

from graders.card.outcome import MIME
from graders.lesson.names import bound_names
from graders.lesson.python import parse
from graders.lesson.regions import HIDDEN, SOLUTION, RegionError, without_region
from graders.nbgrading.names import shown
from graders.notebook.progress import FOLDER_VARIABLE, NOWHERE

SCHEMA_VERSION: int = MetadataValidator.schema_version
# An output of this type stands in a graded cell where its hidden tests began.
HIDDEN_MARK = "application/x-jax-course-hidden-tests"
MOST_CHARACTERS = 100_000  # of one output in a submission
_HIDDEN_FAILED = (
    "A hidden test failed: your answer is tried on other sizes, other values and edge cases "
    "than the ones shown."
)

_Cell = tuple[NotebookNode, Any]


# ---- generate_assignment ----


class ClearAnswers(preprocessors.ClearSolutions):
    """Clears solutions; an answer at the margin becomes `NAME = ...`, so that its name is bound.

    With nbgrader's own stub, a raise, the check below would meet an unbound name.
    """

    def preprocess_cell(self, cell: NotebookNode, resources: Any, cell_index: int) -> _Cell:
        usual: dict[str, str] = dict(self.code_stub)  # type: ignore[call-overload]
        self.code_stub = usual | {"python": blank_for(cell) or usual["python"]}
        try:
            return super().preprocess_cell(cell, resources, cell_index)
        finally:
            self.code_stub = usual


def blank_for(cell: NotebookNode) -> str | None:
    """What stands for a solution which binds the exercise's name by itself; None for others."""
    name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
    if cell.cell_type != "code" or not utils.is_solution(cell) or not SOLUTION.count(cell.source):
        return None
    try:
        inside = parse(SOLUTION.inside(cell.source))
        around = parse(without_region(cell.source, SOLUTION, stub="pass"))
    except (RegionError, SyntaxError):
        return None
    if name not in bound_names(inside) or name in bound_names(around):
        return None
    return f"{name} = ..." if len(inside.body) == 1 else f"# YOUR CODE HERE\n{name} = ..."


# ---- autograde ----


def refuse_links(assignment: str, student: str, notebooks: list[str]) -> None:
    """Takes symbolic links out of a submission before nbgrader copies what they point to.

    nbgrader calls this with the notebooks of one submission; where the submission itself is a
    link, the list is emptied, which nbgrader reports as a submission without notebooks.
    """
    log = logging.getLogger("traitlets")
    folders = {Path(notebook).parent for notebook in notebooks}
    for folder in folders:
        if folder.is_symlink() or folder.parent.is_symlink():
            log.error("%s is a symbolic link and is not graded", folder)
            notebooks[:] = [n for n in notebooks if Path(n).parent != folder]
        else:
            for path in [p for p in folder.rglob("*") if p.is_symlink()]:
                log.warning("%s is a symbolic link and is taken away", path)
                path.unlink()


class RestoreCells(preprocessors.NbGraderPreprocessor):
    """Gives a submission the graded cells of its lesson: each one once, none missing, none edited.

    What a student has written stays. The rest of an exercise or check cell, its metadata first,
    comes from the gradebook, so that nothing that happened to it can stop the grading.
    """

    def preprocess(self, nb: NotebookNode, resources: Any) -> _Cell:
        where = resources["nbgrader"]
        with Gradebook(where["db_url"]) as gradebook:
            lesson = gradebook.find_notebook(where["notebook"], where["assignment"])
            points: dict[str, float] = {str(c.name): c.max_score for c in lesson.grade_cells}
            originals = {str(c.name): c for c in lesson.source_cells}
            nb.cells = restored(nb.cells, originals, points)
        return nb, resources


def restored(
    cells: list[NotebookNode], originals: dict[str, Any], points: dict[str, float]
) -> list[NotebookNode]:
    """A submission's cells with the graded ones put right: each one once, none missing.

    Of two with one name the last one keeps it. `originals` are the lesson's cells as the gradebook
    knows them, `points` those of its checks, both by name.
    """
    kept, seen = [], set()
    for cell in reversed(cells):
        name = grade_id(cell)
        cell = _ungraded(cell)
        if name in originals and name not in seen:
            seen.add(name)
            answer = None if originals[name].locked else cell.source
            cell = _graded_cell(originals[name], points.get(name), answer)
        kept.append(cell)
    return _with_missing(kept[::-1], originals, points)


def _ungraded(cell: NotebookNode) -> NotebookNode:
    """The cell as one that nbgrader does not know."""
    metadata = {key: value for key, value in cell.metadata.items() if key != "nbgrader"}
    kept = {key: value for key, value in cell.items() if key != "id"}
    return NotebookNode(kept | {"metadata": NotebookNode(metadata)})


@dataclass(frozen=True)
class Original:
    """A graded cell of a lesson, with what the gradebook knows of it."""

    name: str
    source: str
    locked: bool
    cell_type: str = "code"
    checksum: str = ""


def grade_id(cell: NotebookNode) -> str:
    """The name under which nbgrader knows the cell; "" where it knows none."""
    described = cell.metadata.get("nbgrader")
    name = described.get("grade_id") if isinstance(described, dict) else None
    return name if isinstance(name, str) else ""


def _graded_cell(original: Any, points: float | None, source: str | None = None) -> NotebookNode:
    """A cell as the gradebook knows it, with the student's `source` where it is an exercise."""
    is_check = points is not None
    described = {
        "schema_version": SCHEMA_VERSION,
        "grade_id": original.name,
        "grade": is_check,
        "solution": not is_check,
        "locked": original.locked,
        "task": False,
        "cell_type": original.cell_type,
        "checksum": original.checksum,
    }
    if is_check:
        described["points"] = points
    # Unlike nbformat's own it is not validated: the whole notebook is, in the end.
    cell: Any = nbformat.from_dict(
        {
            "id": generate_corpus_id(),
            "cell_type": "code",
            "metadata": {"nbgrader": described, "tags": ["raises-exception"]},
            "execution_count": None,
            "source": original.source if source is None else source,
            "outputs": [],
        }
    )
    return cell


def _with_missing(
    cells: list[NotebookNode], originals: dict[str, Any], points: dict[str, float]
) -> list[NotebookNode]:
    """The cells and the checks that are missing among them, each one below its exercise."""
    present = {grade_id(cell) for cell in cells}
    for name in points:
        if name not in present:
            place = _place_of_check(cells, name)
            cells = [*cells[:place], _graded_cell(originals[name], points[name]), *cells[place:]]
    return cells


def _place_of_check(cells: list[NotebookNode], check: str) -> int:
    """Behind the last cell of the check's exercise; at the end where there is none."""
    exercise = check.rpartition("_check")[0]
    family = [n for n, cell in enumerate(cells) if _belongs(grade_id(cell), exercise)]
    return max(family, default=len(cells) - 1) + 1


def _belongs(name: str, exercise: str) -> bool:
    return name == exercise or name.startswith(f"{exercise}_check")


class Execute(preprocessors.Execute):
    """Runs the cells, and marks in the outputs of graded ones where their hidden tests begin."""

    def start_new_kernel(self, **kwargs: Any) -> None:
        super().start_new_kernel(**kwargs, env=os.environ | {FOLDER_VARIABLE: NOWHERE})

    def preprocess_cell(self, cell: NotebookNode, resources: Any, index: int) -> _Cell:
        source = cell.source
        if utils.is_grade(cell) and cell.cell_type == "code":
            cell.source = _with_marks(source)
        try:
            return super().preprocess_cell(cell, resources, index)
        finally:
            cell.source = source


def _with_marks(source: str) -> str:
    """The code with a statement on each line that opens hidden tests; no line moves."""
    mark = f'__import__("IPython").display.publish_display_data({{{HIDDEN_MARK!r}: ""}})'
    lines = source.split("\n")
    return "\n".join(f"{mark}  {line}" if HIDDEN.begin in line else line for line in lines)


class KeepVerdict(preprocessors.NbGraderPreprocessor):
    """Drops displayed values from graded cells: nbgrader would take a number for partial credit."""

    def preprocess_cell(self, cell: NotebookNode, resources: Any, index: int) -> _Cell:
        if utils.is_grade(cell) and cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.output_type != "execute_result"]
        return cell, resources


class LimitText(preprocessors.NbGraderPreprocessor):
    """Cuts outputs to a size that a page can hold; nbgrader's own limit counts lines."""

    def preprocess_cell(self, cell: NotebookNode, resources: Any, index: int) -> _Cell:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                output.text = _cut(output.text)
            elif output.output_type == "error":
                output.evalue = _cut(output.evalue)
                output.traceback = [_cut(line) for line in output.traceback]
            else:
                _drop_long(output.data)
        return cell, resources


def _cut(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    return text[:MOST_CHARACTERS] + "\n... the rest of the output is left out ..."


def _drop_long(data: dict[str, Any]) -> None:
    for kind, value in list(data.items()):
        limit = MOST_CHARACTERS * (20 if kind.startswith("image/") else 1)
        if len(str(value)) > limit:
            del data[kind]
            data["text/plain"] = "... an output is left out: it is too long ..."


# ---- generate_feedback ----


class NoteHandMarks(preprocessors.NbGraderPreprocessor):
    """Marks in the metadata of a check whether an instructor has given its mark."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> _Cell:
        where = resources["nbgrader"]
        named = where["notebook"], where["assignment"], where["student"]
        with Gradebook(where["db_url"]) as gradebook:
            grades = gradebook.find_submission_notebook(*named).grades
            by_hand = {str(grade.name) for grade in grades if is_by_hand(grade)}
        for cell in nb.cells:
            if utils.is_grade(cell):
                cell.metadata.nbgrader["by_hand"] = grade_id(cell) in by_hand
        return nb, resources


def is_by_hand(grade: Any) -> bool:
    """Whether an instructor has given this mark, or a part of it."""
    return grade.manual_score is not None or bool(grade.extra_credit)


class HideTests(preprocessors.NbGraderPreprocessor):
    """Takes hidden tests, and what they let slip, out of the pages that students get."""

    def preprocess_cell(self, cell: NotebookNode, resources: Any, index: int) -> _Cell:
        if utils.is_grade(cell) and cell.cell_type == "code" and HIDDEN.count(cell.source):
            cell.source = without_region(cell.source, HIDDEN).rstrip()
            cell.outputs = list(_shown(cell.outputs))
        return cell, resources


def _shown(outputs: list[NotebookNode]) -> Iterator[NotebookNode]:
    hidden = False
    for output in outputs:
        if HIDDEN_MARK in output.get("data", {}):
            hidden = True
        elif output.output_type == "error":
            yield _error(output, hidden)
        elif not hidden or MIME in output.get("data", {}):
            yield output


def _error(output: NotebookNode, hidden: bool) -> NotebookNode:
    """The error without its traceback, whose lines of context can be those of hidden tests."""
    name, words = output.ename, output.evalue
    if hidden and name != "CheckFailed":
        name, words = "CheckFailed", _HIDDEN_FAILED
    return new_output("error", ename=name, evalue=words, traceback=[f"{name}: {words}"])


# ---- release_feedback ----


class ReleaseFeedback(ExchangeReleaseFeedback):
    """Releases to each student whose submission came through the exchange; names the others.

    nbgrader's own stops at the first student that it cannot release to.
    """

    def copy_files(self) -> None:
        for folder in sorted(glob.glob(self.src_path)):
            student = Path(folder).parent.name
            self.src_path = glob.escape(folder)
            try:
                super().copy_files()
            except OSError:
                self.log.warning(
                    "%s gets no feedback through the exchange, for the submission did not come "
                    "through it. Hand over the pages in %s.",
                    shown(student),
                    shown(folder),
                )
