"""Formgrader's page of a submission: what would hold up the server is shown as it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from bs4 import BeautifulSoup, Tag
from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode
from nbformat.v4 import (
    new_code_cell,
    new_markdown_cell,
    new_notebook,
    new_output,
    new_raw_cell,
)
from nbgrader.server_extensions.formgrader import handlers
from traitlets.config import Config

from graders.nbgrading import formgrader

LESSONS = sorted(Path(formgrader.__file__).parents[2].glob("course/*/*.ipynb"))
ABOUT: dict[str, Any] = dict.fromkeys(("base_url", "notebook_id", "submission_id"), "")


def page(*cells: NotebookNode) -> BeautifulSoup:
    """The page that Formgrader makes of these cells."""
    config = Config()
    formgrader.protect(config)
    config.HTMLExporter.template_name = "formgrade"
    config.HTMLExporter.extra_template_basedirs = [handlers.template_path]
    about = ABOUT | {"index": 0, "total": 1}
    html, _ = HTMLExporter(config=config).from_notebook_node(
        new_notebook(cells=list(cells)), resources=about
    )
    return BeautifulSoup(html, "html.parser")


def as_written(whole: BeautifulSoup) -> list[str]:
    """The texts that are neither rendered nor highlighted."""
    blocks = whole.select(".input_area pre")
    return [block.get_text() for block in blocks if not block.find_all(True)]


def highlighted(whole: BeautifulSoup) -> list[Tag]:
    return [block for block in whole.select(".input_area pre") if block.find_all(True)]


SLOW_MARKDOWN = {
    "brackets": "[" * 50_000,
    "pictures": "![" * 25_000,
    "mathematics": "\\\\(" * 16_000,
    "footnotes": "[^a]" * 12_500,
    "links without an end": "[a](" * 12_500,
    "a wide table": "|a" * 12_500 + "\n" + "|-" * 12_500,
    "lines of a table": "|\n" * 25_000,
    "headings": "#\n" * 25_000,
    "attributes": "<p " + "a " * 24_000 + ">",
    "quotation marks": '"' * 50_000,
}
SLOW_CODE = {
    "attributes": "a." * 50_000,
    "names": "a " * 20_000,
    "f-strings in f-strings": 'f"{' * 15_000,
    "blank lines": " \n" * 2_000,
    "very much code": "x = (1,)\n" * 10_000,
    "Perl": "%%perl\n" + "m{" * 20_000,
    "a line in Bash": "!" + "$((" * 20_000,
}
"""Texts that take mistune, bleach or Pygments from some seconds to minutes."""


@pytest.mark.parametrize("text", SLOW_MARKDOWN.values(), ids=SLOW_MARKDOWN)
def test_markdown_that_takes_long_is_shown_as_it_was_written(text: str) -> None:
    whole = page(new_markdown_cell("*before*"), new_markdown_cell(text), new_markdown_cell("*a*"))
    assert as_written(whole) == [text]
    assert [em.get_text() for em in whole.select(".text_cell_render em")] == ["before", "a"]


@pytest.mark.parametrize("make", [new_code_cell, new_raw_cell])
@pytest.mark.parametrize("text", SLOW_CODE.values(), ids=SLOW_CODE)
def test_code_that_takes_long_is_shown_as_it_was_written(text: str, make: Any) -> None:
    whole = page(new_code_cell("x = 1"), make(text), new_code_cell("y = 2"))
    assert as_written(whole) == [text]
    assert [block.get_text().strip() for block in highlighted(whole)] == ["x = 1", "y = 2"]


def test_what_is_shown_as_it_was_written_is_text() -> None:
    evil = "<img src=x onerror=alert(1)>&amp;"
    whole = page(new_markdown_cell(evil * 2_000), new_code_cell(evil * 2_000))
    assert as_written(whole) == [evil * 2_000] * 2
    assert whole.select("#notebook img") == []


def test_all_cells_of_a_page_share_what_is_rendered_and_highlighted() -> None:
    text, code = "[a](" * 200, "a.b(c)\n" * 100
    markdown = [new_markdown_cell(text) for _ in range(200)]
    whole = page(*markdown, *(new_code_cell(code) for _ in range(200)))
    rendered = whole.select(".text_cell_render p")
    coloured = highlighted(whole)
    assert 10 < len(rendered) < 100
    assert 10 < len(coloured) < 100
    assert as_written(whole) == [text] * (200 - len(rendered)) + [code] * (200 - len(coloured))


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_is_rendered_and_highlighted(path: Path) -> None:
    lesson = nbformat.read(path, as_version=4)
    # A student can write as much again as the lesson has in its exercises and checks.
    own = [new_code_cell(cell.source) for cell in lesson.cells if "nbgrader" in cell.metadata]
    twice = [*lesson.cells, *own]
    kept, _ = formgrader.Harmless().preprocess(new_notebook(cells=twice), {})
    assert [cell.cell_type for cell in kept.cells] == [cell.cell_type for cell in twice]
    assert [c for c in kept.cells if set(c.metadata) - {"nbgrader"}] == []


def test_code_is_coloured_as_python_whatever_its_magic_says() -> None:
    whole = page(new_code_cell("%%perl\nmy $x = 1;"), new_code_cell("%time f(1)\ndef g(): ..."))
    assert whole.select(".nv") == []  # Pygments' class for a variable in Perl
    assert [span.get_text() for span in whole.select(".k")] == ["def"]


def test_code_in_markdown_is_coloured_by_nothing() -> None:
    assert formgrader.rendered("```perl\nmy $x = '<b>';\n```").strip() == (
        "<pre><code>my $x = '&lt;b&gt;';\n</code></pre>"
    )


def test_a_picture_that_is_missing_ends_no_page() -> None:
    whole = page(new_markdown_cell("![a](attachment:b) *c*"))
    assert [em.get_text() for em in whole.select("em")] == ["c"]


def test_outputs_lose_their_colours_where_there_are_many() -> None:
    red = "\x1b[31mred\x1b[0m"
    long = red * 25_000
    outputs = [
        new_output("stream", text=red),
        *[new_output("stream", text=long)] * 4,
        new_output("display_data", {"text/plain": long}),
        new_output("error", ename="E", evalue="", traceback=[long, long]),
        new_output("stream", text="plain"),
    ]
    kept, _ = formgrader.Harmless().preprocess(
        new_notebook(cells=[new_code_cell(outputs=outputs)]), {}
    )
    shown = kept.cells[0].outputs
    uncoloured = long.replace("\x1b", "")
    assert [output.get("text") for output in shown[:5]] == [red] + [long] * 3 + [uncoloured]
    assert shown[5].data == {"text/plain": uncoloured}
    assert shown[6].traceback == [uncoloured] * 2
    assert shown[7].text == "plain"
