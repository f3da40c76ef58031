"""What makes the cells of a file a lesson: regions closed, names bound, checks in their place."""

import ast
from collections.abc import Iterator, Sequence

from graders.lesson.cells import Cell, Entry
from graders.lesson.names import bound_names
from graders.lesson.problems import Finding
from graders.lesson.python import parse, syntax_problem
from graders.lesson.regions import HIDDEN, SOLUTION, RegionError, without_region

_CELL_ID_LENGTH = 64  # nbformat refuses longer ones


def in_cell(cell: Cell) -> Iterator[Finding]:
    """What is wrong with a cell by itself; lines count within the cell, 0 is its marker."""
    yield from _misplaced_regions(cell)
    if cell.kind == "markdown":
        if cell.exercise or cell.check:
            yield Finding(0, "an exercise or a check is a code cell", "leave out [markdown]")
        return
    if cell.hints:
        yield Finding(0, "hints are a markdown cell", "write `# %% [markdown]`")
    if cell.check and cell.points is None:
        yield Finding(0, f"the check of {cell.check!r} has no points", "add points=1 to the marker")
    if syntax := syntax_problem(cell.source):
        yield syntax
    if cell.check:
        yield from _unbalanced(cell.source)
    elif cell.exercise:
        yield from _in_exercise(cell, cell.exercise, bool(syntax))


def between_cells(cells: Sequence[Cell]) -> Iterator[Finding]:
    """What is wrong between the cells of a lesson; lines count within the file."""
    if cells and not (cells[0].kind == "markdown" and cells[0].source.startswith("# ")):
        fix = "begin with a markdown cell `# # Title`"
        yield Finding(cells[0].line, "the first cell holds no title", fix)
    yield from _duplicates(cells)
    yield from _references(cells)
    yield from _unchecked(cells)


def in_entry(entry: Entry, exercises: Sequence[str]) -> Iterator[Finding]:
    """What is wrong with an answer in wrong.py or right.py; lines count within its cell."""
    if entry.exercise not in exercises:
        fix = f"name one of the lesson's exercises: {', '.join(exercises) or 'none'}"
        yield Finding(0, f"{entry.kind}={entry.exercise!r} names no exercise of the lesson", fix)
    if entry.kind == "wrong" and not entry.says:
        fix = 'add says="part of the diagnosis"'
        yield Finding(0, "the wrong answer does not say its diagnosis", fix)
    if syntax := syntax_problem(entry.source):
        yield syntax
    elif entry.exercise in exercises and entry.exercise not in bound_names(parse(entry.source)):
        what = f"the cell does not bind {entry.exercise!r}"
        yield Finding(0, what, f"define {entry.exercise} in the cell")


# ---- a cell by itself ----


def _misplaced_regions(cell: Cell) -> Iterator[Finding]:
    homes = ((SOLUTION, cell.exercise, 'exercise="NAME"'), (HIDDEN, cell.check, 'check="NAME"'))
    for region, home, marker in homes:
        if not home and (line := region.first_line(cell.source)):
            fix = f"put {marker} into the marker of its cell, or take the region away"
            yield Finding(line, f"a {region.name} region stands in a cell without {marker}", fix)


def _unbalanced(source: str) -> Iterator[Finding]:
    try:
        HIDDEN.lines(source)
    except RegionError as error:
        yield error.finding


def _in_exercise(cell: Cell, name: str, unreadable: bool) -> Iterator[Finding]:
    if not unreadable and name not in cell.binds:
        fix = f"define {name} in the cell, or name the exercise for what the cell defines"
        yield Finding(0, f"the cell of exercise {name!r} does not bind that name", fix)
    try:
        released = without_region(cell.source, SOLUTION, stub="raise NotImplementedError()")
    except RegionError as error:
        yield error.finding
        return
    regions = SOLUTION.count(cell.source)
    if regions != 1:
        fix = "enclose all that the student writes in ### BEGIN SOLUTION and ### END SOLUTION"
        what = f"the cell of exercise {name!r} has {regions or 'no'} solution regions, not one"
        yield Finding(0, what, fix)
    elif not unreadable:
        yield from _region_fits(cell, name, released)


def _region_fits(cell: Cell, name: str, released: str) -> Iterator[Finding]:
    line = SOLUTION.first_line(cell.source)
    if cell.answer_kind != "code" and not _is_one_assignment(SOLUTION.inside(cell.source), name):
        what = f"the solution of the {cell.answer_kind} {name!r} is not one assignment"
        yield Finding(line, what, f"let the region hold `{name} = value` and nothing else")
    elif syntax := syntax_problem(released):
        what = f"without its solution the cell has a {syntax.what}"
        yield Finding(line, what, "let the region hold whole statements")


def _is_one_assignment(source: str, name: str) -> bool:
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return False
    return len(body) == 1 and isinstance(body[0], ast.Assign) and bound_names(body[0]) == {name}


# ---- between cells ----


def _duplicates(cells: Sequence[Cell]) -> Iterator[Finding]:
    """Cells that nbgrader or the notebook would know by the same name."""
    ids: dict[str, Cell] = {}
    for cell in cells:
        taken = ids.get(cell.id) or ids.get(cell.grade_id or "")
        if taken:
            fix = 'rename one (a second check of an exercise says part="word")'
            what = f"{_described(cell)} has the name of {_described(taken)} at line {taken.line}"
            yield Finding(cell.line, what, fix)
        if len(cell.id) > _CELL_ID_LENGTH:
            yield Finding(cell.line, f"the name {cell.id!r} is too long", "choose a shorter one")
        ids |= {cell.id: cell, cell.grade_id or cell.id: cell}


def _described(cell: Cell) -> str:
    if cell.exercise:
        return f"exercise {cell.exercise!r}"
    return f"the {'check' if cell.check else 'hints'} of {cell.check or cell.hints!r}"


def _references(cells: Sequence[Cell]) -> Iterator[Finding]:
    """Checks and hints that name no exercise, or one that only comes later."""
    places = {cell.exercise: cell.index for cell in cells if cell.exercise}
    for cell in cells:
        name = cell.check or cell.hints
        what = "a check" if cell.check else "a hints cell"
        if name and name not in places:
            fix = f"name one of the lesson's exercises: {', '.join(places) or 'none'}"
            yield Finding(cell.line, f"{what} names {name!r}, which is no exercise", fix)
        elif name and places[name] > cell.index:
            fix = "move it below the exercise"
            yield Finding(cell.line, f"{what} stands above its exercise {name!r}", fix)


def _unchecked(cells: Sequence[Cell]) -> Iterator[Finding]:
    checked = {cell.check for cell in cells}
    for cell in cells:
        if cell.exercise and cell.exercise not in checked:
            fix = f'add a cell `# %% check="{cell.exercise}" points=1`'
            yield Finding(cell.line, f"exercise {cell.exercise!r} has no check", fix)
