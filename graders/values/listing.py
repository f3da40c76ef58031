"""The source of a function, and of those of the user's that it calls, as numbered lines."""

from __future__ import annotations

import ast
import itertools
import linecache
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from graders.values.functions import body_of
from graders.values.jax_internals import Place

PACKAGES = ("site-packages", "dist-packages")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Block:
    """Neighbouring lines of a file."""

    file: str
    first: int
    lines: tuple[str, ...]

    def __contains__(self, place: Place) -> bool:
        inside = self.first <= place.line < self.first + len(self.lines)
        return place.file == self.file and inside


class Listing:
    """Blocks of source, one below the other, with their lines numbered from 1 on."""

    def __init__(self, function: Any) -> None:
        block = _block_of(function)
        self.blocks = [block] if block else []

    def number(self, places: Sequence[Place]) -> int | None:
        """The number of the innermost of these lines that is the user's; None where none is.

        A function of the user's that is not listed yet is added to the listing.
        """
        for place in places:
            if not _is_a_package(place.file) and (block := self._block_with(place)):
                above = sum(len(one.lines) for one in self.blocks[: self.blocks.index(block)])
                return above + place.line - block.first + 1
        return None

    def _block_with(self, place: Place) -> Block | None:
        for block in self.blocks:
            if place in block:
                return block
        found = _block_around(place)
        self.blocks += [found] if found else []
        return found

    def numbered(self) -> list[list[tuple[int, str]]]:
        """The lines of each block with their numbers."""
        numbers = itertools.count(1)
        return [[(next(numbers), line) for line in block.lines] for block in self.blocks]


def _is_a_package(file: str) -> bool:
    return any(name in file for name in PACKAGES)


def _block_of(function: Any) -> Block | None:
    """The definition of a Python function, without what surrounds it."""
    body = body_of(function)
    if body is None or _is_a_package(body.co_filename):
        return None
    kind = ast.Lambda if body.co_name == "<lambda>" else Function
    for node in _nodes(body.co_filename):
        if isinstance(node, kind) and _span(node)[0] == body.co_firstlineno:
            return _block(body.co_filename, *_span(node))
    return None


def _block_around(place: Place) -> Block | None:
    """The outermost function that holds the line, or else the statement that does."""
    around = [node for node in _nodes(place.file) if _holds(node, place.line)]
    functions = [node for node in around if isinstance(node, Function)]
    statements = [node for node in around if not isinstance(node, ast.ClassDef)]
    chosen = functions[:1] or statements[-1:]
    return _block(place.file, *_span(chosen[0])) if chosen else None


def _nodes(file: str) -> Iterator[ast.stmt | ast.Lambda]:
    """The statements and lambdas of a file, each before what is in it."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return
    yield from (n for n in ast.walk(tree) if isinstance(n, ast.stmt | ast.Lambda))


def _span(node: ast.stmt | ast.Lambda) -> tuple[int, int]:
    """The first line, that of a decorator if there is one, and the last."""
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(one.lineno for one in decorators)])
    return first, node.end_lineno or node.lineno


def _holds(node: ast.stmt | ast.Lambda, line: int) -> bool:
    first, last = _span(node)
    return first <= line <= last


def _block(file: str, first: int, last: int) -> Block:
    lines = [line.rstrip("\n") for line in linecache.getlines(file)[first - 1 : last]]
    return Block(file, first, tuple(textwrap.dedent("\n".join(lines)).split("\n")))
