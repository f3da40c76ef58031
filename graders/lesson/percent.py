"""Reads a file in jupytext's percent format into cells and what their markers say."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext

from graders.lesson.problems import Finding

_MARKER = re.compile(r"#\s*%%")
_JUPYTEXT_KEYS = {"cell_marker", "lines_to_next_cell", "lines_to_end_of_cell_marker"}


@dataclass(frozen=True)
class RawCell:
    """A cell as jupytext reads it."""

    kind: str  # "markdown" or "code"
    source: str
    line: int  # of the marker, from 1
    skipped: int  # blank lines between the marker and the source
    keys: dict[str, Any]  # what the marker says


def read_percent(path: Path, problems: list[Finding]) -> list[RawCell]:
    """The cells of a file; none, and a finding in `problems`, where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fix = f"{path.name} is a UTF-8 file in the percent format"
        problems.append(Finding(1, f"the file cannot be read ({error})", fix))
        return []
    preamble, body, skipped = _split_preamble(text)
    if _has_code(preamble):
        what = "there is code before the first cell marker"
        problems.append(Finding(1, what, "put the line `# %%` above it"))
    markers = [n for n, line in enumerate(body.split("\n"), skipped + 1) if _MARKER.match(line)]
    if not markers:
        problems.append(Finding(1, "there is no cell", "begin each cell with `# %%`"))
        return []
    cells = jupytext.reads(body, fmt="py:percent").cells
    if len(cells) != len(markers):
        what = "a string holds a line that looks like a cell marker"
        problems.append(Finding(1, what, "indent that line, or write the string otherwise"))
        return []
    return [_raw(cell, line, problems) for cell, line in zip(cells, markers, strict=True)]


def _split_preamble(text: str) -> tuple[str, str, int]:
    """What stands before the first marker, what follows, and how many lines were split off."""
    lines = text.split("\n")
    first = next((n for n, line in enumerate(lines) if _MARKER.match(line)), len(lines))
    return "\n".join(lines[:first]), "\n".join(lines[first:]), first


def _has_code(preamble: str) -> bool:
    """Whether there is more than comments and a docstring."""
    try:
        statements = ast.parse(preamble).body
    except SyntaxError:
        return True
    return any(
        not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)) for s in statements
    )


def _raw(cell: Any, line: int, problems: list[Finding]) -> RawCell:
    keys = {key: value for key, value in cell.metadata.items() if key not in _JUPYTEXT_KEYS}
    garbled = keys.pop("incorrectly_encoded_metadata", None) or keys.pop("title", None)
    if garbled:
        fix = 'write key="text" or key=number, spaces between keys and none around `=`'
        problems.append(Finding(line, f"the marker cannot be read at `{garbled}`", fix))
    if cell.cell_type not in ("markdown", "code"):
        fix = "use `# %%` for code and `# %% [markdown]` for text"
        problems.append(Finding(line, f"lessons have no {cell.cell_type} cells", fix))
    source = cell.source.lstrip("\n")
    skipped = len(cell.source) - len(source)
    return RawCell(cell.cell_type, source.rstrip("\n"), line, skipped, keys)
