"""Which names a piece of Python binds, and which it reads from the notebook's namespace."""

import ast
from collections.abc import Iterator
from typing import NamedTuple

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Read(NamedTuple):
    """A name taken from the notebook's namespace, and the node in which it stands."""

    node: ast.Name
    parent: ast.AST

    @property
    def name(self) -> str:
        """The name that is read."""
        return self.node.id


def bound_names(tree: ast.AST) -> frozenset[str]:
    """The names that running `tree` binds in its own scope."""
    return frozenset(n for child in ast.iter_child_nodes(tree) for n in _bound_by(child))


def imported_names(tree: ast.AST) -> set[str]:
    """The names that are bound by an import anywhere in `tree`."""
    return {
        _import_name(alias)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def imported_modules(tree: ast.AST) -> frozenset[str]:
    """The top-level modules that are imported anywhere in `tree`."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
    return frozenset(module.split(".")[0] for module in modules)


def global_reads(tree: ast.AST) -> list[Read]:
    """Every place where `tree`, or a function in it, reads a name of the notebook's namespace."""
    return list(_reads(tree, tree, frozenset()))


def _bound_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Load):
            yield node.id
    elif isinstance(node, ast.alias):
        yield _import_name(node)
    elif isinstance(node, _DEFINITIONS):
        yield node.name
    elif isinstance(node, _COMPREHENSIONS):
        for walrus in (n for n in ast.walk(node) if isinstance(n, ast.NamedExpr)):
            yield walrus.target.id
    elif not isinstance(node, ast.Lambda):
        yield from _named_in_pattern(node)
        for child in ast.iter_child_nodes(node):
            yield from _bound_by(child)


def _named_in_pattern(node: ast.AST) -> Iterator[str]:
    """Names that a `match` pattern or an `except ... as` binds: they are no Name nodes."""
    named = (ast.MatchAs, ast.MatchStar, ast.ExceptHandler)
    if isinstance(node, named) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest


def _import_name(alias: ast.alias) -> str:
    return alias.asname or alias.name.split(".")[0]


def _reads(node: ast.AST, parent: ast.AST, local: frozenset[str]) -> Iterator[Read]:
    if isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Load) and node.id not in local:
            yield Read(node, parent)
        return
    inner = local | _locals_of(node)
    for child in ast.iter_child_nodes(node):
        yield from _reads(child, node, inner if _runs_inside(node, child) else local)


def _locals_of(node: ast.AST) -> set[str]:
    """The names that belong to the scope which `node` opens; none where it opens no scope."""
    if isinstance(node, _FUNCTIONS):
        arguments = {part.arg for part in ast.walk(node.args) if isinstance(part, ast.arg)}
        return (arguments | _bound_in_body(node)) - _declared_global(node)
    if isinstance(node, _COMPREHENSIONS):
        return {name for part in node.generators for name in _bound_by(part.target)}
    return set()


def _bound_in_body(function: ast.AST) -> set[str]:
    body = getattr(function, "body", [])
    return {name for part in body for name in _bound_by(part)} if isinstance(body, list) else set()


def _declared_global(function: ast.AST) -> set[str]:
    return {name for n in ast.walk(function) if isinstance(n, ast.Global) for name in n.names}


def _runs_inside(node: ast.AST, child: ast.AST) -> bool:
    """Whether `child` of `node` is evaluated in the scope that `node` opens, not around it."""
    if isinstance(node, ast.Lambda):
        return child is node.body
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return child in node.body
    return isinstance(node, _COMPREHENSIONS)
