"""`show_program`: a function's source beside its jaxpr, equation by equation and line by line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import jax

from graders.notebook.shown import show
from graders.values.jax_internals import (
    ClosedJaxpr,
    Place,
    Written,
    WrittenProgram,
    nothing_cached,
    written,
)
from graders.values.listing import Listing

INDENT = 2
FONT = "font-family:var(--jp-code-font-family,monospace);font-size:13px;line-height:1.5"
HEADING = "font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-weight:600"
# The bar beside a row says the same as its colour. Both stand on white and on black.
HIGHLIGHT = "background:rgba(255,160,0,.28);box-shadow:inset 3px 0 0 #c77700"


@dataclass(frozen=True)
class Row:
    """A line of the jaxpr: an equation, or the beginning or the end of a program."""

    text: str
    depth: int  # how many programs it is inside of
    line: int | None  # of the listing
    is_equation: bool


@dataclass(frozen=True)
class View:
    """What `show_program` shows."""

    blocks: list[list[tuple[int, str]]]  # of the source: the numbered lines of each function
    rows: list[Row]
    inputs: list[tuple[str, str]]  # the name of each input in the jaxpr, and of its argument


def show_program(f: Callable, *args: Any, **kwargs: Any) -> None:
    """Shows the source of `f` and its jaxpr, each equation with the line that it comes from.

    In a notebook the two stand side by side. Point at a line to see its equations, and at an
    equation to see its line. In plain text the equations stand below their line.

    `f` is traced anew, and nothing of it is kept in JAX's cache. What `jax.grad`, `jax.vmap`,
    `jax.jit` or a decorator makes of a function is shown beside the source of that function. Of a
    function under `jax.jit` the jaxpr is the one that is compiled. Functions of your own that `f`
    calls are listed below it. The numbers are those of the lines as they are shown.

    Args:
        f: the function, transformed or not.
        args: its positional arguments. What is neither an array nor a tree of arrays and numbers is
            static. So are the static arguments of a function under `jax.jit`.
        kwargs: its keyword arguments.

    Raises:
        Exception: whatever tracing `f` raises.

    Example:
        >>> def f(x):
        ...     y = jnp.sin(x)
        ...     return x * y
        >>> show_program(f, 1.0)
        a is x
        1  def f(x):
        2      y = jnp.sin(x)
           | b:f32[] = sin a
        3      return x * y
           | c:f32[] = mul a b
    """
    view = view_of(f, *args, **kwargs)
    show(html(view), text(view))


def view_of(f: Callable, *args: Any, **kwargs: Any) -> View:
    """The source of `f`, the rows of its jaxpr, and how they belong together."""
    with nothing_cached():
        program = written(_traced(f, args, kwargs))
    listing = Listing(f)
    rows = list(_rows(program, 0, None, listing))
    inputs = [(variable, argument) for variable, argument in program.inputs if argument]
    return View(listing.numbered(), rows, inputs)


def _traced(f: Callable, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ClosedJaxpr:
    if isinstance(f, jax.stages.Wrapped):  # it knows which of its arguments are static
        return f.trace(*args, **kwargs).jaxpr
    static = [i for i, arg in enumerate(args) if _is_static(arg)]
    fixed = {name: arg for name, arg in kwargs.items() if _is_static(arg)}
    traced = {name: arg for name, arg in kwargs.items() if name not in fixed}
    called = _with(f, fixed) if fixed else f
    return jax.make_jaxpr(called, static_argnums=static)(*args, **traced)


def _with(f: Callable, fixed: dict[str, Any]) -> Callable:
    return lambda *args, **kwargs: f(*args, **fixed, **kwargs)


def _is_static(arg: Any) -> bool:
    leaves = jax.tree.leaves(arg)
    return any(callable(leaf) or isinstance(leaf, str) for leaf in leaves)


# ---- the rows ----


def _rows(program: WrittenProgram, depth: int, line: int | None, listing: Listing) -> Iterator[Row]:
    """The rows of a program; an equation of no line of the user's is of the one around it."""
    label = f"{program.label}=" if program.label else ""
    yield Row(label + program.head, depth, line, False)
    for equation in program.equations:
        found = listing.number(_until_here(equation))
        here = line if found is None else found
        yield Row(equation.text, depth + 1, here, True)
        for inner in equation.inner:
            yield from _rows(inner, depth + 2, here, listing)
    yield Row(program.tail, depth, line, False)


def _until_here(equation: Written) -> list[Place]:
    """The lines of an equation inside the call of `show_program`."""
    places: list[Place] = []
    for place in equation.places:
        if place.file == __file__:
            break
        places.append(place)
    return places


# ---- plain text ----


def text(view: View) -> str:
    """Each line of the source with its equations below it, then those that come of no line."""
    return "\n".join(_text_lines(view))


def _text_lines(view: View) -> Iterator[str]:
    yield from (f"{variable} is {argument}" for variable, argument in view.inputs)
    width = len(str(sum(map(len, view.blocks))))
    for block in view.blocks:
        for number, line in block:
            yield f"{number:{width}}  {line}".rstrip()
            yield from _equations(view, number, width)
    if rest := list(_equations(view, None, width)):
        yield "From no line of yours"
        yield from rest


def _equations(view: View, line: int | None, width: int) -> Iterator[str]:
    for row in view.rows:
        if row.is_equation and row.line == line:
            yield f"{'':{width}}  | {'':{INDENT * (row.depth - 1)}}{row.text}"


# ---- HTML ----


def html(view: View) -> str:
    """Source and jaxpr side by side. Rows that belong together are marked together, by CSS alone.

    Where a page removes the style sheet, the numbers still say what belongs together.
    """
    inputs = ", ".join(f"{variable} is {argument}" for variable, argument in view.inputs)
    source = _gap().join(
        "".join(_html_row(Row(line, 0, number, True)) for number, line in block)
        for block in view.blocks
    )
    jaxpr = "".join(map(_html_row, view.rows))
    below = f'<div style="opacity:.75">{escape(inputs)}</div>' if inputs else ""
    columns = _column("Source", source, "1 1 18em") if view.blocks else ""
    columns += _column("Jaxpr, with the lines of the source", jaxpr + below, "2 1 26em")
    return (
        f"<style>{_style(view)}</style>"
        f'<div class="jax-program" style="{FONT};display:flex;flex-wrap:wrap;gap:12px 24px">'
        f"{columns}</div>"
    )


def _style(view: View) -> str:
    """A rule for each line: where a row of it is pointed at, all of its rows are marked."""
    lines = sorted({row.line for row in view.rows if row.line is not None})
    return "".join(f".jax-program:has(.line-{n}:hover) .line-{n}{{{HIGHLIGHT}}}" for n in lines)


def _gap() -> str:
    return '<div style="height:.75em"></div>'


def _column(heading: str, rows: str, flex: str) -> str:
    return (
        f'<div style="flex:{flex};min-width:0"><div style="{HEADING}">{heading}</div>{rows}</div>'
    )


def _html_row(row: Row) -> str:
    """A row with the number of its line; one that begins or ends a program shows none."""
    shown = row.line if row.is_equation and row.line else ""
    known = f' class="line-{row.line}"' if row.line else ""
    indent = f"padding-left:{row.depth * INDENT + 2}ch;text-indent:-2ch"
    return (
        f'<div{known} style="display:flex"><span style="flex:none;width:3ch;padding-right:1ch;'
        f'text-align:right;opacity:.7">{shown} </span><span style="white-space:pre-wrap;'
        f'overflow-wrap:anywhere;min-width:0;{indent}">{escape(row.text)}</span></div>'
    )
