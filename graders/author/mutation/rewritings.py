"""Right answers made from the solution: around it, and with other spellings in it.

A rewriting is meant to do the same. Where `equivalence` finds that it does not, it says nothing
about the check.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from graders.author.mutation.mutant import Mutant
from graders.author.mutation.source import Edits, edited, name_of, with_fields

IMPORT = "import jax as _jax"
SHELLS: dict[str, str] = {
    "under jit": "{name} = _jax.jit({name})",
    "as a partial": "{name} = __import__('functools').partial({name})",
    "as a tree_util.Partial": "{name} = _jax.tree_util.Partial({name})",
    "as a callable class": """
class _Callable:
    def __init__(self, inner):
        self._inner = inner

    def __call__(self, *args, **kwargs):
        return self._inner(*args, **kwargs)

{name} = _Callable({name})""",
    "as a closure": """
def _closure(inner):
    def renamed(*given, **named):
        return inner(*given, **named)

    return renamed

{name} = _closure({name})""",
    "with keyword arguments": """
def _by_keyword(inner):
    names = list(__import__('inspect').signature(inner).parameters)
    return lambda *args, **kwargs: inner(**dict(zip(names, args)), **kwargs)

{name} = _by_keyword({name})""",
    "what it returns, under jit": """
def _returns_jitted(inner):
    def outer(*args, **kwargs):
        made = inner(*args, **kwargs)
        return _jax.jit(made) if callable(made) else made

    return outer

{name} = _returns_jitted({name})""",
    "what it returns, as a closure": """
def _returns_closure(inner):
    def outer(*args, **kwargs):
        made = inner(*args, **kwargs)
        return (lambda *given, **named: made(*given, **named)) if callable(made) else made

    return outer

{name} = _returns_closure({name})""",
}
"""Code that follows the solution and binds its name anew."""

METHODS = ("sum", "mean", "max", "min", "reshape", "astype", "all", "any", "argmax", "argmin")
"""What `jnp.f(x, ...)` may be written as: `x.f(...)`."""
FUNCTIONS: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "true_divide",
    ast.MatMult: "matmul",
}
"""Functions of `jax.numpy` for operators."""


def rewritings(exercise: str, source: str) -> Iterator[Mutant]:
    """Every rewriting of a solution: of the whole of it, and of one place in it."""
    tree = ast.parse(source)
    bound = {getattr(node, "name", "") for node in tree.body}
    if exercise in bound:
        for kind, shell in SHELLS.items():
            text = f"{IMPORT}\n{source}\n{shell.format(name=exercise).lstrip()}\n"
            yield Mutant(exercise, "rewritten", kind, text, is_right=True)
        yield from _with_defaults(exercise, source)
    for _, change, text in edited(source, SPELLINGS):
        yield Mutant(exercise, "rewritten", change, f"{IMPORT}\n{text}", is_right=True)


def _with_defaults(exercise: str, source: str) -> Iterator[Mutant]:
    """Every parameter has a default, and there is one parameter more."""
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == exercise and not node.args.vararg:
            node.args.defaults = [ast.Constant(None) for _ in node.args.args]
            node.args.kwonlyargs.append(ast.arg("verbose"))
            node.args.kw_defaults.append(ast.Constant(False))
            text = ast.unparse(ast.fix_missing_locations(tree))
            yield Mutant(exercise, "rewritten", "with default arguments", text, is_right=True)


# ---- spellings: each edit gives another way to write one expression ----


def _parsed(code: str, **holes: ast.expr) -> ast.expr:
    """The expression, with the names of the holes replaced."""

    class Fill(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return holes.get(node.id, node)

    return Fill().visit(ast.parse(code, mode="eval").body)


def _operator(node: ast.AST, *_: Any) -> Edits:
    if not isinstance(node, ast.BinOp):
        return
    if function := FUNCTIONS.get(type(node.op)):
        code = f"_jax.numpy.{function}(left_, right_)"
        yield "function", _parsed(code, left_=node.left, right_=node.right)
    if isinstance(node.op, ast.Add | ast.Mult) and not isinstance(node.left, ast.List | ast.Tuple):
        yield "order", with_fields(node, left=node.right, right=node.left)
    if isinstance(node.op, ast.Sub):
        yield (
            "sum with the opposite",
            _parsed("left_ + (-right_)", left_=node.left, right_=node.right),
        )
    if isinstance(node.op, ast.Pow) and getattr(node.right, "value", 0) == 2:
        yield "product", _parsed("left_ * left_", left_=node.left)


def _comparison(node: ast.AST, *_: Any) -> Edits:
    mirrored = {ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE}
    if isinstance(node, ast.Compare) and type(node.ops[0]) in mirrored and len(node.ops) == 1:
        op = mirrored[type(node.ops[0])]()
        yield "mirrored", ast.Compare(node.comparators[0], [op], [node.left])


def _call(node: ast.AST, *_: Any) -> Edits:
    if not isinstance(node, ast.Call) or not node.args:
        return
    name, function = name_of(node.func), ast.unparse(node.func)
    first, rest = node.args[0], node.args[1:]
    if name in METHODS and function.startswith(("jnp.", "jax.numpy.")):
        array = _parsed("_jax.numpy.asarray(x_)", x_=first)
        yield "method", ast.Call(ast.Attribute(array, name, ast.Load()), rest, node.keywords)
    if name == "where" and len(node.args) == 3:
        code = "_jax.numpy.where(_jax.numpy.logical_not(c_), b_, a_)"
        yield "negated condition", _parsed(code, c_=first, a_=rest[0], b_=rest[1])
    if name == "split" and "random" in function:
        count = rest[0] if rest else ast.Constant(2)
        if not isinstance(count, ast.Tuple):
            code = "_jax.numpy.stack([_jax.random.fold_in(key_, i_) for i_ in range(n_)])"
            yield "fold_in", _parsed(code, key_=first, n_=count)
    if name in ("jacrev", "jacfwd") and not node.keywords:
        other = {"jacrev": "jacfwd", "jacfwd": "jacrev"}[name]
        yield "other mode", _parsed(f"_jax.{other}(f_)", f_=first)
    if name == "grad" and not any(k.arg == "has_aux" for k in node.keywords):
        code = "_jax.jacrev(f_)"
        yield "jacrev", with_fields(_parsed(code, f_=first), args=node.args, keywords=node.keywords)
    if name == "vmap" and len(node.args) == 1 and not node.keywords:
        code = "lambda *a_: _jax.lax.map(lambda r_: f_(*r_), a_)"
        yield "lax.map", _parsed(code, f_=first)
    if name == "scan" and len(node.args) == 3 and not node.keywords:
        code = (
            "_jax.lax.scan(lambda c_, i_: step_(c_, _jax.tree.map("
            "lambda x_: _jax.numpy.asarray(x_)[i_], xs_)), init_, _jax.numpy.arange("
            "len(_jax.tree.leaves(xs_)[0])))"
        )
        yield "indices in a scan", _parsed(code, step_=first, init_=rest[0], xs_=rest[1])
    if name == "tree_map" or function == "jax.tree.map":
        yield "tree_util", with_fields(node, func=_parsed("_jax.tree_util.tree_map"))
    if name in ("zeros_like", "ones_like") and not node.keywords and not rest:
        code = f"_jax.numpy.full_like(x_, {int(name == 'ones_like')})"
        yield "full_like", _parsed(code, x_=first)
    if name == "einsum" and len(rest) == 2:
        code = f"_jax.numpy.einsum({ast.unparse(first)}, a_, b_, precision='highest')"
        yield "precision", _parsed(code, a_=rest[0], b_=rest[1])


def _transpose(node: ast.AST, *_: Any) -> Edits:
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield "transpose", _parsed("_jax.numpy.transpose(x_)", x_=node.value)
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant()):
            pass
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield "difference", _parsed("0 - x_", x_=operand)


def _product(node: ast.AST, *_: Any) -> Edits:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        code = "_jax.numpy.tensordot(a_, b_, axes=1)"
        yield "tensordot", _parsed(code, a_=node.left, b_=node.right)


SPELLINGS = (_operator, _comparison, _call, _transpose, _product)
"""Edits that keep what an expression gives."""
