"""`show_program` from outside: which equation belongs to which line, in text and in HTML."""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bs4 import BeautifulSoup

from graders import show_program
from graders.notebook import program_view

X = jnp.arange(1.0, 4.0)


def helper(z):
    return jax.nn.relu(z)


def f(x, n=2):
    y = helper(x) * x.sum()

    def step(c, v):
        c = c + jnp.sin(v)
        return c, jnp.where(v > 0, c, v)

    c, ys = jax.lax.scan(step, 0.0, y)
    return jax.lax.cond(c > 0, jnp.cos, jnp.tan, ys).sum()


class Doubled:
    def __call__(self, x):
        return 2 * x


def shown(capsys: pytest.CaptureFixture, g: Callable, *args: Any, **kwargs: Any) -> str:
    show_program(g, *args, **kwargs)
    return capsys.readouterr().out


def below(text: str, line: str) -> list[str]:
    """The primitives below a line of the source, wherever it is indented."""
    after = re.split(rf"(?m)^ *\d+ +{re.escape(line)}$", text)[1]
    equations = re.match(r"(?:\n *\|.*)*", after)
    assert equations
    return re.findall(r"= (\w+)", re.sub(r"\[.*?\]", "", equations[0]))


def test_equations_stand_below_the_line_that_they_come_from(capsys) -> None:
    text = shown(capsys, f, X)
    assert text.startswith("a is x\n")
    assert below(text, "y = helper(x) * x.sum()") == ["reduce_sum", "mul"]
    assert below(text, "def f(x, n=2):") == []
    assert "scan" in below(text, "c, ys = jax.lax.scan(step, 0.0, y)")
    assert "From no line of yours" not in text


def test_equations_of_inner_programs_have_their_own_lines(capsys) -> None:
    text = shown(capsys, f, X)
    assert below(text, "c = c + jnp.sin(v)") == ["sin", "convert_element_type", "add"]
    assert below(text, "return jax.lax.cond(c > 0, jnp.cos, jnp.tan, ys).sum()")[2:5] == [
        "cond",
        "tan",
        "cos",
    ]


def test_what_a_library_traces_is_of_the_line_that_calls_it(capsys) -> None:
    """`jnp.where` is a jitted function, whose equations come from no line of the user's."""
    found = below(shown(capsys, f, X), "return c, jnp.where(v > 0, c, v)")
    assert found == ["gt", "jit", "select_n"]


def test_a_function_that_is_called_is_listed_below(capsys) -> None:
    text = shown(capsys, f, X)
    assert below(text, "return jax.nn.relu(z)") == ["custom_jvp_call", "jit", "max"]
    assert text.index("def f(") < text.index("def helper(")


@pytest.mark.parametrize(
    "transformed",
    [f, jax.jit(f), jax.grad(f), jax.jit(jax.grad(f)), jax.value_and_grad(f), jax.checkpoint(f)],
)
def test_the_source_is_that_of_the_function_below_transformations(capsys, transformed) -> None:
    text = shown(capsys, transformed, X)
    assert "def f(x, n=2):" in text
    assert "reduce_sum" in below(text, "y = helper(x) * x.sum()")


def test_the_backward_pass_is_of_the_lines_of_the_forward_pass(capsys) -> None:
    forward, backward = (below(shown(capsys, g, X), "c = c + jnp.sin(v)") for g in (f, jax.grad(f)))
    assert "cos" in backward
    assert len(backward) > len(forward)


def test_vmap_is_seen_in_the_shapes(capsys) -> None:
    text = shown(capsys, jax.vmap(lambda v: v * 2), jnp.ones((5, 3)))
    assert "f32[5,3] = mul" in text


def test_a_jitted_function_knows_its_static_arguments(capsys) -> None:
    def power(x, n):
        for _ in range(n):
            x = x * x
        return x

    text = shown(capsys, jax.jit(power, static_argnames="n"), X, n=3)
    assert below(text, "x = x * x") == ["mul"] * 3


@pytest.mark.parametrize("given", [(jnp.sin, "sin"), (jnp.cos, "cos")])
def test_what_is_no_array_is_static(capsys, given) -> None:
    def apply(g, x, name):
        return {"sin": g, "cos": g}[name](x)

    g, name = given
    assert below(shown(capsys, apply, g, X, name=name), 'return {"sin": g, "cos": g}[name](x)') == [
        name
    ]


def test_each_leaf_of_an_argument_has_its_name(capsys) -> None:
    text = shown(capsys, lambda params, x: params["w"] * x, {"w": X, "b": 1.0}, X)
    assert text.startswith("a is params['b']\nb is params['w']\nc is x\n")


def test_a_callable_object_has_the_source_of_its_call(capsys) -> None:
    assert below(shown(capsys, Doubled(), X), "return 2 * x") == ["mul"]


def test_a_function_of_a_library_is_shown_without_source(capsys) -> None:
    text = shown(capsys, jnp.linalg.norm, X)
    assert "From no line of yours" in text
    assert "sqrt" in text
    assert "def norm" not in text


def test_a_function_whose_source_is_not_kept_is_shown_without_it(capsys) -> None:
    names: dict[str, Any] = {"jnp": jnp}
    exec("def g(x):\n    return jnp.sin(x)", names)
    assert "sin a" in shown(capsys, names["g"], X)


def test_a_cell_is_a_file_to_the_listing(capsys) -> None:
    """As IPython does it: the source of a cell is kept in `linecache` under a name of its own."""
    source = "import jax.numpy as jnp\n\n\ndef g(x):\n    y = jnp.exp(x)\n    return y\n"
    names: dict[str, Any] = {}
    lines = [str(line) for line in source.splitlines(True)]
    linecache.cache["<a cell>"] = (len(source), None, lines, "<a cell>")
    exec(compile(source, "<a cell>", "exec"), names)
    text = shown(capsys, names["g"], X)
    assert below(text, "y = jnp.exp(x)") == ["exp"]
    assert re.search(r"(?m)^1  def g\(x\):$", text)


def test_nothing_stays_in_the_cache(capsys) -> None:
    runs = []

    @jax.jit
    def counted(x):
        runs.append(x)
        return x

    shown(capsys, counted, X)
    counted(X)
    assert len(runs) == 2


def test_an_error_of_the_function_is_raised(capsys) -> None:
    with pytest.raises(jax.errors.TracerBoolConversionError):
        shown(capsys, lambda x: x if x > 0 else -x, 1.0)


# ---- HTML ----


def page(g: Callable, *args: Any) -> BeautifulSoup:
    return BeautifulSoup(program_view.html(program_view.view_of(g, *args)), "html.parser")


def test_rows_that_belong_together_are_marked_together() -> None:
    soup = page(f, X)
    [style] = soup.find_all("style")
    [source] = [row for row in soup.select("[class^=line-]") if "c = c + jnp.sin(v)" in row.text]
    [line] = source["class"]
    together = [row.text for row in soup.select(f".{line}")]
    assert len(together) == 4  # the line, sin, convert_element_type and add
    assert f".jax-program:has(.{line}:hover) .{line}{{" in style.text


def test_the_number_says_the_same_as_the_mark() -> None:
    """Without colours, and where the style sheet is taken out."""
    rows = [(row["class"][0], row.find("span")) for row in page(f, X).select("[class^=line-]")]
    said = {(name, number.get_text().strip()) for name, number in rows if number is not None}
    said = {(name, number) for name, number in said if number}
    assert said == {(name, name.removeprefix("line-")) for name, _ in rows}


def test_a_row_that_is_pointed_at_marks_the_others(browser) -> None:
    shown = browser.new_page()
    shown.set_content(program_view.html(program_view.view_of(f, X)))
    rows = shown.locator("[class^=line-]")
    sine = rows.filter(has_text=re.compile("= sin "))

    def marked() -> list[str]:
        colours = rows.evaluate_all("rows => rows.map(r => getComputedStyle(r).boxShadow)")
        return [rows.nth(i).inner_text() for i, one in enumerate(colours) if one != "none"]

    sine.hover()
    assert [one.split()[-1] for one in marked()] == ["jnp.sin(v)", "k", "j", "l"]
    pointed_at = marked()
    rows.filter(has_text="c = c + jnp.sin(v)").hover()
    assert marked() == pointed_at
    shown.mouse.move(0, 0)
    shown.close()


def test_the_jaxpr_is_in_the_order_of_the_program() -> None:
    _, jaxpr = page(f, X).select(".jax-program > div")
    printed = str(jax.make_jaxpr(f)(X))
    order = re.findall(r"= (\w+)[\[ ]", jaxpr.text)
    assert [name for name in order if name in ("scan", "sin", "cond", "tan", "cos")] == [
        name
        for name in re.findall(r"= (\w+)[\[ ]", printed)
        if name in ("scan", "sin", "cond", "tan", "cos")
    ]


def test_the_text_has_no_colours_of_a_terminal(monkeypatch) -> None:
    """In IPython JAX prints types in colour."""
    monkeypatch.setattr("jax._src.pretty_printer.CAN_USE_COLOR", True)
    assert "\x1b" in str(jax.make_jaxpr(jnp.sin)(X))
    assert "\x1b" not in program_view.html(program_view.view_of(f, X))


def test_source_is_text_and_no_markup() -> None:
    def evil(x):
        return x + len("<script>alert(1)</script><img src=x onerror=alert(1)>")

    soup = page(evil, X)
    assert soup.find(["script", "img"]) is None
    assert "<script>" in soup.text


def test_nothing_is_scripted_and_nothing_is_fetched() -> None:
    html = program_view.html(program_view.view_of(f, X))
    assert not re.search(r"<script|\son\w+=|url\(|@import|href|src=", html)


def test_numpy_and_python_numbers_are_traced(capsys) -> None:
    text = shown(capsys, lambda x, y: x * y, np.ones(2), 3)
    assert "f32[2]" in text
