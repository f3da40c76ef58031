"""Parses the code of a notebook's cell, magics included."""

import ast
import warnings

from graders.lesson.problems import Finding


def parse(source: str) -> ast.Module:
    """The syntax tree of a cell; a SyntaxError where Python or IPython would raise one."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", SyntaxWarning)
        try:
            tree = ast.parse(source)
        except SyntaxError:
            tree = ast.parse(_without_magics(source))
        compile(tree, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return tree


def syntax_problem(source: str) -> Finding | None:
    """What keeps the cell from being parsed; None where nothing does."""
    try:
        parse(source)
    except SyntaxError as error:
        return Finding(error.lineno or 1, f"syntax error: {error.msg}", "correct the cell's code")
    return None


def _without_magics(source: str) -> str:
    from IPython.core.inputtransformer2 import TransformerManager

    return TransformerManager().transform_cell(source)
