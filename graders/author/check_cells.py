"""The rules for a check cell: definitions, data and calls of the checks, judged from afar.

In grading the student's functions live in another process. A check cell may therefore hand them
to a check, and do nothing else with them.
"""

import ast
from collections.abc import Iterator, Mapping

from graders.lesson.cells import Cell
from graders.lesson.names import Read, bound_names, global_reads
from graders.lesson.problems import Finding
from graders.lesson.regions import HIDDEN

_DATA = (
    ast.FunctionDef,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AnnAssign,
)
_HANDLES = ("result_of", "through")
_SCOPES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


def in_check_cell(cell: Cell, answers: Mapping[str, str]) -> Iterator[Finding]:
    """What breaks the rules in a check cell; lines count within the cell.

    Args:
        cell: the check cell.
        answers: for each name that an exercise cell binds, the exercise.
    """
    yield from _other_statements(cell)
    yield from _calls_elsewhere(cell)
    yield from _bound_answers(cell, answers)
    yield from _misused_answers(cell, answers)
    yield from _nothing_judged(cell, answers)


def is_check_statement(node: ast.AST) -> bool:
    """Whether this is a statement that calls a check: `check_...(...)`."""
    return isinstance(node, ast.Expr) and _is_check_call(node.value)


def hidden_lines(cell: Cell) -> set[int]:
    """The lines of the cell that its released version does not hold."""
    return HIDDEN.line_numbers(cell.source)


def _other_statements(cell: Cell) -> Iterator[Finding]:
    for node in cell.tree.body:
        if isinstance(node, ast.Assert):
            fix = "say it with a check, such as check_values or check_answer"
            yield Finding(node.lineno, "a raw assert cannot judge an answer from afar", fix)
        elif not isinstance(node, _DATA) and not is_check_statement(node):
            what = f"a check cell runs straight on: no {_described(node)} here"
            fix = "keep definitions, plain data and calls of check_*, one after the other"
            yield Finding(node.lineno, what, fix)


def _described(node: ast.stmt) -> str:
    if isinstance(node, ast.Expr):
        return f"`{ast.unparse(node)[:40]}`"
    return f"`{type(node).__name__.lower()}`"


def _calls_elsewhere(cell: Cell) -> Iterator[Finding]:
    """Checks that are called where a statement is not: their verdicts could be lost."""
    statements = {id(node.value) for node in cell.tree.body if isinstance(node, ast.Expr)}
    for node in ast.walk(cell.tree):
        if isinstance(node, ast.Call) and _is_check_call(node) and id(node) not in statements:
            what = "a check is called inside another expression or function"
            yield Finding(node.lineno, what, "make the call a statement of its own")


def _bound_answers(cell: Cell, answers: Mapping[str, str]) -> Iterator[Finding]:
    for node in cell.tree.body:
        for name in sorted(_names_bound_by(node) & answers.keys()):
            fix = "give it a name that no exercise cell binds"
            yield Finding(node.lineno, f"the check cell overwrites the student's {name!r}", fix)


def _misused_answers(cell: Cell, answers: Mapping[str, str]) -> Iterator[Finding]:
    handles, handed_over = _handles(cell), _handed_over(cell.tree)
    for read in cell.reads:
        line = read.node.lineno
        if answers.get(read.name, cell.check) != cell.check:
            what = f"the check of {cell.check!r} reads {read.name!r} of another exercise"
            yield Finding(line, what, "let the check supply its own, so that marks stay apart")
        elif read.name in answers.keys() | handles and id(read.node) not in handed_over:
            what = f"the student's {read.name!r} is more than a direct argument of a check"
            fix = "hand it to check_*, result_of or through as it is"
            yield Finding(line, what, fix)


def _nothing_judged(cell: Cell, answers: Mapping[str, str]) -> Iterator[Finding]:
    hidden = hidden_lines(cell)
    visible = [s for s in cell.tree.body if is_check_statement(s) and s.lineno not in hidden]
    if not visible:
        fix = "put a call of check_* above the hidden tests"
        yield Finding(0, f"the check of {cell.check!r} shows the student no check", fix)
    reads = {answers.get(r.name) for s in cell.tree.body for r in _reads_of(s)}
    if cell.check not in reads:
        fix = f"hand {cell.check} to a check"
        yield Finding(0, f"the check of {cell.check!r} never looks at the answer", fix)


def _reads_of(statement: ast.stmt) -> list[Read]:
    return global_reads(ast.Module([statement], []))


def _names_bound_by(statement: ast.stmt) -> frozenset[str]:
    return bound_names(ast.Module([statement], []))


def _handles(cell: Cell) -> set[str]:
    """Names of the check cell that stand for something the student's function returns."""
    return {
        name
        for node in cell.tree.body
        if isinstance(node, ast.Assign) and _calls_to(node.value, _HANDLES)
        for name in _names_bound_by(node)
    }


def _calls_to(node: ast.AST, names: tuple[str, ...]) -> list[ast.Call]:
    return [n for n in _same_scope(node) if isinstance(n, ast.Call) and _called(n) in names]


def _handed_over(tree: ast.AST) -> set[int]:
    """The nodes that are direct arguments of a check, of result_of or of through."""
    return {
        id(argument)
        for call in _same_scope(tree)
        if isinstance(call, ast.Call) and (_is_check_call(call) or _called(call) in _HANDLES)
        for argument in [*call.args, *(keyword.value for keyword in call.keywords)]
    }


def _same_scope(node: ast.AST) -> Iterator[ast.AST]:
    """`node` and what is in it, without the insides of functions, classes and comprehensions."""
    yield node
    if not isinstance(node, _SCOPES):
        for child in ast.iter_child_nodes(node):
            yield from _same_scope(child)


def _is_check_call(node: ast.AST) -> bool:
    """Whether this is a call `check_...(...)`."""
    return isinstance(node, ast.Call) and _called(node).startswith("check_")


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""
