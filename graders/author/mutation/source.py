"""Mutants of source: one edit of the syntax tree each."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Edits = Iterator[tuple[str, ast.AST | None]]
"""The kind of an edit, and what takes the place of the node; None drops it from its list."""

OPERATORS: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Div,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
}
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
CALLED_INSTEAD = {
    "mean": "sum", "sum": "mean", "psum": "pmean", "pmean": "psum", "max": "min", "min": "max",
    "argmax": "argmin", "argmin": "argmax", "maximum": "minimum", "minimum": "maximum",
    "zeros_like": "ones_like", "zeros": "ones", "ones": "zeros", "set": "add", "add": "set",
    "all": "any", "any": "all", "floor": "ceil", "ceil": "floor", "cumsum": "cumprod",
    "cos": "sin", "sin": "cos", "log_softmax": "softmax", "relu": "gelu",
}  # fmt: skip
"""Names that people take for each other."""
WRAPPERS = frozenset(
    {"stop_gradient", "jit", "checkpoint", "remat", "psum", "pmean", "asarray", "abs", "sqrt",
     "square", "astype", "block_until_ready", "sort", "flip", "clip", "exp", "log"}
)  # fmt: skip
"""Calls that are dropped: what is left is their first argument, or the object of the method."""
COMMUTATIVE = frozenset({"add", "multiply", "mul", "maximum", "minimum", "logical_and",
                         "logical_or", "apply_updates", "isclose", "vdot", "zip"})  # fmt: skip
"""Calls whose arguments may be exchanged."""


def mutations(source: str, lines: set[int]) -> Iterator[tuple[str, str, str]]:
    """Every mutant of a cell: its kind, its change, and its source.

    Args:
        source: the cell.
        lines: the lines (from 1) whose code may be changed.
    """
    return edited(source, EDITS, lines)


def edited(
    source: str, edits: Iterable[Callable[..., Edits]], lines: set[int] | None = None
) -> Iterator[tuple[str, str, str]]:
    """The source with one edit at one place: the kind, the change, and the new source."""
    tree = ast.parse(source)
    seen = {ast.unparse(tree)}
    for path, node in _nodes(tree):
        outside = lines is not None and getattr(node, "lineno", 0) not in lines
        if outside or _is_annotation(path) or _is_docstring(node, path, tree):
            continue
        for kind, new in (found for edit in edits for found in edit(node, path, tree)):
            changed = _replaced(tree, path, new)
            try:
                text = ast.unparse(ast.fix_missing_locations(changed))
                compile(text, "<mutant>", "exec")
            except (SyntaxError, ValueError, TypeError, AttributeError):
                continue
            if text not in seen:
                seen.add(text)
                after = _short(new) if new is not None else "(dropped)"
                yield kind, f"line {getattr(node, 'lineno', 0)}: {_short(node)} -> {after}", text


Path = tuple[tuple[str, int | None], ...]


def _nodes(node: ast.AST, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    for field, value in ast.iter_fields(node):
        items = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        for index, child in items:
            if isinstance(child, ast.AST):
                here = (*path, (field, index))
                yield here, child
                yield from _nodes(child, here)


def _is_annotation(path: Path) -> bool:
    """Whether the node is a type, or part of one: Python does not run by it."""
    return any(field in ("annotation", "returns") for field, _ in path)


def _replaced(tree: ast.Module, path: Path, new: ast.AST | None) -> ast.Module:
    changed = copy.deepcopy(tree)
    parent: Any = changed
    for field, index in path[:-1]:
        parent = getattr(parent, field) if index is None else getattr(parent, field)[index]
    field, index = path[-1]
    if index is None:
        setattr(parent, field, new)
    elif new is None:
        siblings = getattr(parent, field)
        del siblings[index]
        if field == "body" and not siblings:
            siblings.append(ast.Pass())
    else:
        getattr(parent, field)[index] = new
    return changed


def _at(tree: ast.AST, path: Path) -> Any:
    node: Any = tree
    for field, index in path:
        node = getattr(node, field) if index is None else getattr(node, field)[index]
    return node


def _is_docstring(node: ast.AST, path: Path, tree: ast.AST) -> bool:
    parent = _at(tree, path[:-1])
    return isinstance(parent, ast.Expr) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def _short(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())[:70]


def _operator(node: ast.AST, *_: Any) -> Edits:
    if isinstance(node, ast.BinOp | ast.AugAssign):
        for other in OPERATORS.get(type(node.op), ()):
            yield "operator", with_fields(node, op=other())
    if isinstance(node, ast.BinOp):
        yield "term dropped", node.left
        yield "term dropped", node.right
        if isinstance(node.op, ast.Sub | ast.Div | ast.MatMult | ast.Pow):
            yield "operands exchanged", with_fields(node, left=node.right, right=node.left)
    if isinstance(node, ast.UnaryOp):
        yield "operator dropped", node.operand


def _comparison(node: ast.AST, *_: Any) -> Edits:
    if isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            for other in COMPARISONS.get(type(op), ()):
                yield (
                    "comparison",
                    with_fields(node, ops=[*node.ops[:i], other(), *node.ops[i + 1 :]]),
                )
    if isinstance(node, ast.BoolOp):
        other = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        yield "comparison", with_fields(node, op=other)


def _constant(node: ast.AST, *_: Any) -> Edits:
    if not isinstance(node, ast.Constant):
        return
    if isinstance(node.value, bool):
        yield "constant", ast.Constant(not node.value)
    elif isinstance(node.value, int):
        yield "constant", ast.Constant(node.value + 1)
        yield "constant", ast.Constant(node.value - 1)
    elif isinstance(node.value, float):
        yield "constant", ast.Constant(node.value * 2 or 1.0)
        yield "constant", ast.Constant(node.value / 10 or 0.1)


def _call(node: ast.AST, *_: Any) -> Edits:
    if not isinstance(node, ast.Call):
        return
    for i in range(len(node.keywords)):
        yield (
            "keyword dropped",
            with_fields(node, keywords=node.keywords[:i] + node.keywords[i + 1 :]),
        )
    name = name_of(node.func)
    if name in CALLED_INSTEAD:
        yield "other function", with_fields(node, func=_renamed(node.func, CALLED_INSTEAD[name]))
    if name in WRAPPERS:
        of_method = isinstance(node.func, ast.Attribute) and not _is_module(node.func.value)
        inner = getattr(node.func, "value", None) if of_method else (node.args or [None])[0]
        if inner is not None:
            yield "call dropped", inner
    if name == "where" and len(node.args) == 3:
        yield "guard dropped", node.args[1]
        yield "guard dropped", node.args[2]
        yield (
            "branches exchanged",
            with_fields(node, args=[node.args[0], node.args[2], node.args[1]]),
        )
    if len(node.args) == 2 and name not in COMMUTATIVE:
        yield "arguments exchanged", with_fields(node, args=node.args[::-1])
    if len(node.args) > 1:
        yield "argument dropped", with_fields(node, args=node.args[:-1])


def _small_number(node: ast.AST, *_: Any) -> Edits:
    """A small number added under a root, in a logarithm or to a divisor, as against zeros."""
    small = ast.Constant(1e-6)
    match node:
        case ast.BinOp(op=ast.Div(), right=ast.Constant()):
            pass
        case ast.BinOp(op=ast.Div(), right=divisor):
            yield "small number", with_fields(node, right=ast.BinOp(divisor, ast.Add(), small))
    if isinstance(node, ast.Call) and node.args and name_of(node.func) in ("sqrt", "log", "rsqrt"):
        inside = ast.BinOp(node.args[0], ast.Add(), small)
        yield "small number", with_fields(node, args=[inside, *node.args[1:]])


def _index(node: ast.AST, *_: Any) -> Edits:
    if isinstance(node, ast.Slice):
        if node.lower is not None:
            yield "slice", with_fields(node, lower=None)
        if node.upper is not None:
            yield "slice", with_fields(node, upper=None)
        if node.step is not None:
            yield "slice", with_fields(node, step=None)
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        yield "index dropped", node.value


def _statement(node: ast.AST, path: Path, tree: ast.AST) -> Edits:
    if isinstance(node, ast.Assign | ast.AugAssign | ast.Expr) and len(path) > 1:
        yield "statement dropped", None
    if isinstance(node, ast.If):
        yield "branch taken", with_fields(node, test=ast.Constant(True))
        yield "branch taken", with_fields(node, test=ast.Constant(False))
    if isinstance(node, ast.FunctionDef):
        for i in range(len(node.decorator_list)):
            left = node.decorator_list[:i] + node.decorator_list[i + 1 :]
            yield "decorator dropped", with_fields(node, decorator_list=left)
    if isinstance(node, ast.Return) and node.value is not None:
        for name in _earlier(node, path, tree):
            yield "earlier variable returned", ast.Return(ast.Name(name, ast.Load()))
        if isinstance(node.value, ast.Tuple) and len(node.value.elts) == 2:
            swapped = with_fields(node.value, elts=node.value.elts[::-1])
            yield "results exchanged", ast.Return(swapped)


def _earlier(node: ast.Return, path: Path, tree: ast.AST) -> list[str]:
    """The arguments and the variables above a return, in the function that it ends."""
    for end in range(len(path) - 1, 0, -1):
        function = _at(tree, path[:end])
        if isinstance(function, ast.FunctionDef):
            names = [argument.arg for argument in function.args.args]
            names += [
                target.id
                for statement in function.body
                if isinstance(statement, ast.Assign) and statement.lineno < node.lineno
                for target in statement.targets
                if isinstance(target, ast.Name)
            ]
            return list(dict.fromkeys(names))
    return []


EDITS: tuple[Callable[..., Edits], ...] = (
    _operator, _comparison, _constant, _call, _small_number, _index, _statement,
)  # fmt: skip


def with_fields(node: Any, **fields: Any) -> Any:
    """A copy of the node with other fields."""
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def name_of(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _renamed(function: Any, name: str) -> ast.expr:
    return with_fields(function, **{"attr" if isinstance(function, ast.Attribute) else "id": name})


def _is_module(node: ast.expr) -> bool:
    """Whether `node` is how a module is named: `jnp`, `jax.lax`."""
    if isinstance(node, ast.Attribute):
        return _is_module(node.value)
    return isinstance(node, ast.Name) and node.id in ("jnp", "jax", "np", "lax", "optax", "random")
