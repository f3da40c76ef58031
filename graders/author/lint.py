"""The rules that a lesson keeps beyond being readable: see in_check_cell for those of checks."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import partial

from graders.author.check_cells import hidden_lines, in_check_cell
from graders.lesson.cells import Cell, Lesson
from graders.lesson.demonstrations import misplaced
from graders.lesson.hosted import unknown_libraries
from graders.lesson.names import bound_names, imported_names
from graders.lesson.problems import Finding, Problem

_EFFORT = re.compile(r"\d+ minutes? · difficulty [1-5] of 5")


def lint_lesson(lesson: Lesson) -> list[Problem]:
    """Every rule that the lesson breaks, in the order of its lines."""
    answers = answer_names(lesson)
    rules = (
        unknown_libraries,
        misplaced,
        _prose_of_exercise,
        _hints,
        partial(_check, answers=answers),
        partial(_given, answers=answers),
        _figures,
        partial(_exercise, answers=answers),
        partial(_unseen_names, unseen=_only_in_checks(lesson)),
        partial(_hidden_names, hidden=_only_in_hidden(lesson)),
    )
    path = lesson.path / "lesson.py"
    return sorted(
        Problem(path, cell.line_in_file(found.line), found.what, found.fix)
        for rule in rules
        for cell in lesson.cells
        for found in rule(cell, lesson)
    )


def answer_names(lesson: Lesson) -> dict[str, str]:
    """For each name that an exercise cell binds, the exercise; shared imports belong to none."""
    given = {name for c in lesson.cells if c.is_given for name in imported_names(c.tree)}
    return {
        name: exercise for exercise, cell in lesson.exercises.items() for name in cell.binds - given
    }


def _prose_of_exercise(cell: Cell, lesson: Lesson) -> Iterator[Finding]:
    """A code exercise without its heading, or without its minutes and difficulty."""
    if not cell.exercise or cell.answer_kind != "code":
        return
    text = "\n\n".join(_text_above(cell, lesson))
    if not re.search(r"^##+ ", text, re.MULTILINE):
        yield Finding(0, f"exercise {cell.exercise!r} has no heading", "write `## ...` above it")
    if not _EFFORT.search(text):
        fix = "write `**Exercise** · 5 minutes · difficulty 2 of 5` above it"
        what = f"exercise {cell.exercise!r} does not say its minutes and difficulty"
        yield Finding(0, what, fix)


def _text_above(cell: Cell, lesson: Lesson) -> list[str]:
    """The markdown between a cell and the exercise or check before it."""
    text = []
    for above in reversed(lesson.cells[: cell.index]):
        if above.exercise or above.check:
            break
        if above.kind == "markdown":
            text.insert(0, above.source)
    return text


def _hints(cell: Cell, lesson: Lesson) -> Iterator[Finding]:
    if cell.exercise and cell.answer_kind == "code":
        if cell.exercise not in {c.hints for c in lesson.cells}:
            fix = f'add a cell `# %% [markdown] hints="{cell.exercise}"` below it'
            yield Finding(0, f"exercise {cell.exercise!r} has no hints", fix)
    elif cell.hints:
        counts = [cell.source.count(f"<{tag}>") for tag in ("details", "/details", "summary")]
        if len(set(counts)) > 1 or counts[0] not in (2, 3):
            fix = "write two or three <details><summary>Hint 1: ...</summary> ... </details>"
            yield Finding(0, f"the hints of {cell.hints!r} are not two or three details", fix)


def _check(cell: Cell, lesson: Lesson, answers: Mapping[str, str]) -> Iterator[Finding]:
    if cell.check:
        yield from in_check_cell(cell, answers)


def _given(cell: Cell, lesson: Lesson, answers: Mapping[str, str]) -> Iterator[Finding]:
    """A given cell that would fail in an untouched notebook, or overwrite an answer."""
    if not cell.is_given:
        return
    for name in sorted(cell.binds & answers.keys()):
        fix = "use another name here"
        yield Finding(0, f"a given cell overwrites {name!r}, which the student writes", fix)
    for read in cell.reads:
        if read.name in answers and "raises-exception" not in cell.tags:
            what = f"a given cell reads {read.name!r}, which the student has not written yet"
            fix = 'use a function of your own, or tag the cell tags=["raises-exception"]'
            yield Finding(read.node.lineno, what, fix)


def _figures(cell: Cell, lesson: Lesson) -> Iterator[Finding]:
    """A figure without the label that is its alternative text."""
    if cell.kind == "markdown" or cell.check:
        return
    calls = [node for node in ast.walk(cell.tree) if isinstance(node, ast.Call)]
    shows = [call for call in calls if ast.unparse(call.func) == "plt.show"]
    if len([call for call in calls if _labels_a_figure(call)]) < len(shows):
        fix = 'write `plt.figure("What it shows")`, or `num="What it shows"` in `plt.subplots`'
        yield Finding(shows[0].lineno, "a figure has no label, so screen readers say nothing", fix)


def _labels_a_figure(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    if name in ("figure.set_label", "plt.gcf().set_label"):  # a colour bar has a label too
        return True
    given = call.args[:1] if name == "plt.figure" else []
    given += [keyword.value for keyword in call.keywords if keyword.arg == "num"]
    return name in ("plt.figure", "plt.subplots") and bool(given)


def _exercise(cell: Cell, lesson: Lesson, answers: Mapping[str, str]) -> Iterator[Finding]:
    """An exercise that needs, or overwrites, the answer to another one."""
    if not cell.exercise:
        return
    for read in cell.reads:
        if answers.get(read.name, cell.exercise) != cell.exercise:
            what = f"exercise {cell.exercise!r} uses {read.name!r}, the answer to another one"
            yield Finding(read.node.lineno, what, "take it as an argument")
    for name in sorted(cell.binds):
        if answers.get(name, cell.exercise) != cell.exercise:
            what = f"exercise {cell.exercise!r} binds {name!r}, as another exercise does"
            yield Finding(0, what, "use another name")


def _only_in_checks(lesson: Lesson) -> set[str]:
    checks = {name for cell in lesson.checks for name in cell.binds}
    others = (c for c in lesson.cells if c.kind == "code" and not c.check)
    return checks - {name for cell in others for name in cell.binds}


def _unseen_names(cell: Cell, lesson: Lesson, unseen: set[str]) -> Iterator[Finding]:
    """A name from a check cell: in grading the student's process never runs check cells."""
    if cell.kind == "markdown" or cell.check:
        return
    for read in cell.reads:
        if read.name in unseen:
            what = f"{read.name!r} comes from a check cell, which students' code never sees"
            yield Finding(read.node.lineno, what, "define it in a given cell")


def _only_in_hidden(lesson: Lesson) -> set[str]:
    """Names that are bound in hidden tests and nowhere else."""
    hidden, visible = set(), set()
    for cell in lesson.cells:
        if cell.kind == "code":
            lines = hidden_lines(cell)
            for statement in cell.tree.body:
                names = bound_names(ast.Module([statement], []))
                (hidden if statement.lineno in lines else visible).update(names)
    return hidden - visible


def _hidden_names(cell: Cell, lesson: Lesson, hidden: set[str]) -> Iterator[Finding]:
    """A name that the released notebook lacks."""
    if not cell.check:
        return
    lines = hidden_lines(cell)
    for read in cell.reads:
        if read.name in hidden and read.node.lineno not in lines:
            what = f"{read.name!r} is defined in hidden tests and used outside them"
            yield Finding(read.node.lineno, what, "define it above the hidden tests")
