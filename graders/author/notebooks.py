"""Turns a lesson into the instructor's notebook, with the metadata that nbgrader asks for."""

from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from nbgrader.nbgraderformat import MetadataValidator

from graders.lesson import hosted, navigation
from graders.lesson.cells import Cell, Lesson

_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_GOES_ON = "raises-exception"  # Run All goes on behind a cell with this tag
_FOLDED = {"jupyter": {"source_hidden": True}}
_HIDE = "hide-input"  # Jupyter Book's name of such a tag


def source_notebook(lesson: Lesson) -> NotebookNode:
    """The lesson with solutions and hidden tests, links around it and a set-up cell; no outputs."""
    cells, links = [_cell(cell) for cell in lesson.cells], navigation.line(lesson)
    cells[0].source = hosted.with_links(cells[0].source, lesson.name, links)
    cells.append(new_markdown_cell(links, id=f"{lesson.name}-navigation"))
    first = next((i for i, cell in enumerate(cells) if cell.cell_type == "code"), len(cells))
    set_up = new_code_cell(hosted.set_up(lesson), id=f"{lesson.name}-set-up", metadata=_FOLDED)
    return new_notebook(cells=[*cells[:first], set_up, *cells[first:]], metadata=_METADATA)


def notebook_bytes(notebook: NotebookNode) -> bytes:
    """The notebook as the file that nbformat writes; the same notebook gives the same bytes."""
    return (nbformat.writes(notebook) + "\n").encode()


def sources_by_id(path: Path) -> dict[str, str]:
    """The source of each cell of the notebook at `path`, by the cell's id."""
    return {cell.id: cell.source for cell in nbformat.read(path, as_version=4).cells}


def _cell(cell: Cell) -> NotebookNode:
    new_cell = new_markdown_cell if cell.kind == "markdown" else new_code_cell
    return new_cell(_headline(cell) + cell.source, id=cell.id, metadata=_metadata(cell))


def _headline(cell: Cell) -> str:
    """What a folded check shows of itself."""
    if not cell.check:
        return ""
    part = f", {cell.part}" if cell.part else ""
    unit = "point" if cell.points == 1 else "points"
    return f"# Check of {cell.check}{part}: {cell.points} {unit}\n"


def _metadata(cell: Cell) -> dict[str, Any]:
    tags = set(cell.tags)
    if not cell.grade_id:
        folded = _FOLDED if _HIDE in tags else {}
        return {"tags": sorted(tags)} | folded if tags else {}
    metadata = {"nbgrader": _nbgrader(cell), "tags": sorted(tags | {_GOES_ON})}
    # A check is folded: its card is what matters, and its source tells what a prediction asks.
    return metadata | (_FOLDED if cell.check else {})


def _nbgrader(cell: Cell) -> dict[str, Any]:
    described = {
        "schema_version": MetadataValidator.schema_version,
        "grade_id": cell.grade_id,
        "grade": bool(cell.check),
        "solution": bool(cell.exercise),
        "locked": bool(cell.check),
        "task": False,
    }
    return described | ({"points": cell.points} if cell.check else {})
