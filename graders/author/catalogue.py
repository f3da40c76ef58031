"""The table of all check cells, by which a student's notebook knows what a check is worth."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from graders.notebook.progress import digest


def catalogue(notebooks: Iterable[Path], others: dict[str, Any]) -> bytes:
    """The released check cells by lesson and digest: name, exercise and points of each.

    `others` are the lessons of an earlier table that are not among the notebooks.
    """
    lessons = others | {path.stem: _checks(path) for path in notebooks}
    return (json.dumps(dict(sorted(lessons.items())), indent=1) + "\n").encode()


def _checks(path: Path) -> dict[str, tuple[str, str, int]]:
    notebook = nbformat.read(path, as_version=4)
    return {digest(cell.source): _described(cell) for cell in notebook.cells if _is_check(cell)}


def _is_check(cell: NotebookNode) -> bool:
    return cell.metadata.get("nbgrader", {}).get("grade", False)


def _described(cell: NotebookNode) -> tuple[str, str, int]:
    name, points = cell.metadata.nbgrader.grade_id, cell.metadata.nbgrader.points
    return name, name.rpartition("_check")[0], points
