"""Reads the hand-written files of a lesson and reports everything wrong with them at once."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from graders.lesson.cells import Cell, Entry, Lesson
from graders.lesson.markers import role_of, usable_keys
from graders.lesson.percent import RawCell, read_percent
from graders.lesson.problems import Finding, Problem, SourceError
from graders.lesson.structure import between_cells, in_cell, in_entry

__all__ = ["Cell", "Entry", "Lesson", "Problem", "SourceError", "lesson_folders", "read_lesson"]

FOLDER = re.compile(r"\d\d_[a-z][a-z0-9_]*")


def lesson_folders(root: Path, names: Iterable[str] = ()) -> list[Path]:
    """The folders of the named lessons, or of all; an unknown name is a SourceError."""
    solutions, names = Path(root) / "solutions", list(names)
    known = {p.name: p for p in sorted(solutions.glob("*")) if FOLDER.fullmatch(p.name)}
    fix = f"name one of the lessons that are there: {', '.join(known) or 'none yet'}"
    unknown = [Problem(solutions, 1, f"no lesson {n!r}", fix) for n in names if n not in known]
    if unknown:
        raise SourceError(unknown)
    return [known[name] for name in names] or list(known.values())


def read_lesson(folder: Path) -> Lesson:
    """The lesson in `folder`; a SourceError names every problem of its three files."""
    folder = Path(folder)
    problems: list[Problem] = []
    if not FOLDER.fullmatch(folder.name):
        what = f"{folder.name!r} is no name for a lesson"
        problems.append(Problem(folder, 1, what, "name it like 02_grad"))
    cells = _cells(folder / "lesson.py", folder.name, problems)
    names = [cell.exercise for cell in cells if cell.exercise]
    wrong = _entries(folder / "wrong.py", "wrong", names, problems)
    right = _entries(folder / "right.py", "right", names, problems)
    if problems:
        raise SourceError(problems)
    return Lesson(folder.name, folder, tuple(cells), tuple(wrong), tuple(right))


def _cells(path: Path, lesson: str, problems: list[Problem]) -> list[Cell]:
    found: list[Finding] = []
    raw_cells = read_percent(path, found)
    cells = _with_ids(lesson, [_cell(i, raw, found) for i, raw in enumerate(raw_cells)])
    for cell in cells:
        found += [f._replace(line=cell.line_in_file(f.line)) for f in in_cell(cell)]
    found += between_cells(cells)
    problems.extend(Problem(path, *finding) for finding in found)
    return cells


def _cell(index: int, raw: RawCell, found: list[Finding]) -> Cell:
    keys = usable_keys(raw, role_of(raw, ("exercise", "check", "hints")), found)
    keys["answer_kind"] = keys.pop("kind", "code")
    keys["tags"] = tuple(keys.get("tags", ()))
    return Cell(raw.kind, raw.source, raw.line, index, skipped=raw.skipped, **keys)


def _with_ids(lesson: str, cells: Sequence[Cell]) -> list[Cell]:
    named, given = [], 0
    for cell in cells:
        given += not (cell.exercise or cell.check or cell.hints)
        named.append(replace(cell, id=_cell_id(lesson, cell, given)))
    return named


def _cell_id(lesson: str, cell: Cell, given: int) -> str:
    if cell.exercise:
        return cell.exercise.replace("_", "-")
    if cell.check:
        return "-".join(filter(None, ("check", cell.check, cell.part))).replace("_", "-")
    if cell.hints:
        return f"hints-{cell.hints}".replace("_", "-")
    return f"{lesson}-cell-{given}"


def _entries(path: Path, kind: str, names: list[str], problems: list[Problem]) -> list[Entry]:
    """The entries of wrong.py or right.py; a file that is not there holds none."""
    if not path.exists():
        return []
    found: list[Finding] = []
    entries = [_entry(raw, path, kind, names, found) for raw in read_percent(path, found)]
    problems.extend(Problem(path, *finding) for finding in found)
    return [entry for entry in entries if entry]


def _entry(
    raw: RawCell, path: Path, kind: str, names: list[str], found: list[Finding]
) -> Entry | None:
    """The answer in a cell; None for text, and where the cell does not say what it answers."""
    if raw.kind == "markdown":
        return None
    keys = usable_keys(raw, kind, found)
    if kind not in keys:
        what = "the cell does not say which exercise it answers"
        found.append(Finding(raw.line, what, f'put {kind}="NAME" into its marker'))
        return None
    entry = Entry(kind, keys[kind], keys.get("says"), raw.source, raw.line, path)
    in_file = raw.line + raw.skipped
    found += [f._replace(line=in_file + f.line) for f in in_entry(entry, names)]
    return entry
