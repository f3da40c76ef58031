"""Formgrader shows what students have written, and runs nothing of it in the instructor's browser.

Its own pages trust Markdown, outputs and names. They come from the origin of the instructor's
Jupyter server: a script in one of them could read and change whatever the instructor can.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from html import unescape
from typing import Any

import nbformat
from jinja2 import Environment
from markupsafe import escape
from nbconvert.filters import markdown2html
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from traitlets.config import Config

from graders.feedback.cleaning import clean

_PAGES = "nbgrader.server_extensions.formgrader.formgrader"
_NAMES = ("student", "first_name", "last_name", "notebook_path")
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*")
# Commands of TeX by which MathJax makes links, or loads what does.
_ACTIVE_MATH = re.compile(r"\\(href|style|class|cssId|require|mmlToken)")
_TAG = re.compile(r"<[^>]*>")
# Cleaning takes time with the square of the depth, and stops the server meanwhile.
LONGEST_TEXT, MOST_TEXT = 50_000, 500_000  # characters of one Markdown or HTML, and of a notebook's
MOST_TAGS = 1_000  # of one Markdown or HTML


def protect(config: Config) -> None:
    """Formgrader cleans what it shows, from now on in this process."""
    config.HTMLExporter.preprocessors = [Harmless]
    config.HTMLExporter.filters = {"markdown2html": rendered}
    # Its other pages are rendered without escaping, and no option of nbgrader's changes that.
    if pages := sys.modules.get(_PAGES):
        pages.Environment = partial(Environment, autoescape=True)  # type: ignore[attr-defined]


class Harmless(Preprocessor):
    """Leaves of a submission what can be shown as text, as cleaned HTML or as a picture.

    Markdown that would take long to clean is shown as it was written, and such HTML is left out.
    """

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        nb.metadata = NotebookNode()
        room = _Room()
        nb.cells = [_harmless(cell, room) for cell in nb.cells]
        resources.update({name: escape(resources[name]) for name in _NAMES if resources.get(name)})
        return nb, resources


class _Room:
    """How much of a notebook can still be cleaned."""

    def __init__(self) -> None:
        self.left = MOST_TEXT

    def takes(self, text: str) -> bool:
        """Whether `text` can be cleaned in a short time; then there is less room."""
        fits = len(text) <= min(LONGEST_TEXT, self.left) and text.count("<") <= MOST_TAGS
        self.left -= len(text) * fits
        return fits


def _harmless(cell: NotebookNode, room: _Room) -> NotebookNode:
    described = cell.metadata.get("nbgrader")
    is_text = cell.cell_type == "markdown" and room.takes(cell.source)
    made: dict[str, Any] = {
        # A raw cell would be put into the page as it is.
        "cell_type": "markdown" if is_text else "code",
        "metadata": {"nbgrader": described} if described else {},
        "source": cell.source,
    }
    if made["cell_type"] == "code":
        outputs = [_output(output, room) for output in cell.get("outputs", ())]
        made |= {"execution_count": None, "outputs": outputs}
    node: Any = nbformat.from_dict(made)
    return node


def _output(output: NotebookNode, room: _Room) -> NotebookNode:
    if "data" not in output:
        return output
    shown = {
        kind: _SHOWN[kind](data)
        for kind, data in output.data.items()
        if kind in _SHOWN and (kind != "text/html" or room.takes(data))
    }
    return NotebookNode(output | {"data": NotebookNode(shown), "metadata": NotebookNode()})


def rendered(markdown: str) -> str:
    """The Markdown as HTML that runs nothing and loads nothing."""
    return _html(markdown2html(markdown))


def _html(html: str) -> str:
    cleaned = clean(html)
    if _ACTIVE_MATH.search(unescape(_TAG.sub("", cleaned))):
        return f'<div class="tex2jax_ignore">{cleaned}</div>'
    return str(cleaned)


def _picture(data: str) -> str:
    return data if _BASE64.fullmatch(data) else ""


_SHOWN = {
    "text/plain": str,
    "text/html": _html,
    "image/png": _picture,
    "image/jpeg": _picture,
}
