"""The table of all check cells, by which a student's notebook knows what a check is worth."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from graders.notebook.progress import digest

_TITLE = re.compile(r"^# (?:\d+ · )?(.+)$", re.MULTILINE)
_MINUTES = re.compile(r"About (\d+) minutes")
_KIND = re.compile(r"^\*\*(Exercise|Prediction|Recall)\*\*", re.MULTILINE)


def catalogue(notebooks: Iterable[Path], others: dict[str, Any]) -> bytes:
    """What is known of each lesson: its title and minutes, and its released check cells.

    A check cell is described by name, exercise, points and kind, under the digest of its source.
    `others` are the lessons of an earlier table that are not among the notebooks.
    """
    lessons = others | {path.stem: _lesson(path) for path in notebooks}
    return (json.dumps(dict(sorted(lessons.items())), indent=1) + "\n").encode()


def _lesson(path: Path) -> dict[str, Any]:
    cells = nbformat.read(path, as_version=4).cells
    head = cells[0].source
    title, minutes = _TITLE.search(head), _MINUTES.search(head)
    checks, kind = {}, "exercise"
    for cell in cells:
        if cell.cell_type == "markdown":
            kind = ([kind, *_KIND.findall(cell.source)][-1]).lower()
        elif _is_check(cell):
            checks[digest(cell.source)] = (*_described(cell), kind)
    return {
        "title": title[1] if title else path.stem,
        "minutes": int(minutes[1]) if minutes else 0,
        "checks": checks,
    }


def _is_check(cell: NotebookNode) -> bool:
    return cell.metadata.get("nbgrader", {}).get("grade", False)


def _described(cell: NotebookNode) -> tuple[str, str, int]:
    name, points = cell.metadata.nbgrader.grade_id, cell.metadata.nbgrader.points
    return name, name.rpartition("_check")[0], points
