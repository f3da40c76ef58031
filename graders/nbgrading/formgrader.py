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
from nbconvert.filters.highlight import Highlight2HTML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
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
_AS_WRITTEN = "jax_course_as_written"  # in the metadata of a cell: neither rendered nor highlighted

# The server does nothing else while it makes a page. Each word and mark of a text takes time by
# itself, and mistune, bleach and Pygments look at many more than once: the work is their number
# times the length of the text. The longest lessons have half of what is allowed, which takes some
# seconds.
LONGEST_TEXT, MOST_TEXT = 50_000, 500_000  # characters of one text, and of a notebook's of a kind
MOST_WORK = {"markdown": 200_000_000, "html": 400_000_000, "code": 400_000_000}  # of a notebook
EACH_MARK = 10_000  # the work of one, in characters beside those of its text
_MARK = re.compile(r"\w+|[^\w\s]|\n")
MOST_TAGS = 1_000  # of one Markdown or HTML: cleaning takes time with the square of the depth
MOST_BLANKS = 300  # in a row in code: Pygments takes time with their square
MOST_COLOURED = 1_000_000  # characters of a notebook's outputs with a terminal's codes in them
_BLANKS = re.compile(rf"\s{{{MOST_BLANKS}}}\s")


def protect(config: Config) -> None:
    """Formgrader cleans what it shows, from now on in this process."""
    config.HTMLExporter.preprocessors = [Harmless]
    config.HTMLExporter.filters = {"markdown2html": rendered, "highlight_code": highlighted}
    # Its other pages are rendered without escaping, and no option of nbgrader's changes that.
    if pages := sys.modules.get(_PAGES):
        pages.Environment = partial(Environment, autoescape=True)  # type: ignore[attr-defined]


class Harmless(Preprocessor):
    """Leaves of a submission what can be shown as text, as cleaned HTML or as a picture.

    Markdown that would take long to render or to clean, and code that would take long to highlight,
    are shown as they were written. Such HTML is left out.
    """

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        nb.metadata = NotebookNode()
        budget = _Budget()
        nb.cells = [_harmless(cell, budget) for cell in nb.cells]
        if (nb.nbformat, nb.nbformat_minor) >= (4, 5):
            for number, cell in enumerate(nb.cells):
                cell.id = f"cell-{number}"
        resources.update({name: escape(resources[name]) for name in _NAMES if resources.get(name)})
        return nb, resources


class _Budget:
    """How much of a notebook can still be rendered, cleaned and highlighted in a short time."""

    def __init__(self) -> None:
        self.characters = dict.fromkeys(MOST_WORK, MOST_TEXT)
        self.work = MOST_WORK.copy()
        self.coloured = MOST_COLOURED

    def takes(self, kind: str, text: str) -> bool:
        """Whether the text of this kind takes a short time; then there is less left."""
        if len(text) > min(LONGEST_TEXT, self.characters[kind]) or _is_slow(kind, text):
            return False
        work = len(_MARK.findall(text)) * (EACH_MARK + len(text))
        fits = work <= self.work[kind]
        self.characters[kind] -= len(text) * fits
        self.work[kind] -= work * fits
        return fits

    def uncoloured(self, text: str) -> str:
        """The text of an output; without a terminal's codes where there are too many."""
        if "\x1b" not in text:
            return text
        self.coloured -= len(text)
        return text if self.coloured >= 0 else text.replace("\x1b", "")


def _is_slow(kind: str, text: str) -> bool:
    return bool(_BLANKS.search(text)) if kind == "code" else text.count("<") > MOST_TAGS


def _harmless(cell: NotebookNode, budget: _Budget) -> NotebookNode:
    described = cell.metadata.get("nbgrader")
    is_text = cell.cell_type == "markdown"
    fits = budget.takes("markdown" if is_text else "code", cell.source)
    made: dict[str, Any] = {
        # A raw cell would be put into the page as it is.
        "cell_type": "markdown" if is_text and fits else "code",
        "metadata": {"nbgrader": described} if described else {},
        "source": cell.source,
    }
    if made["cell_type"] == "code":
        outputs = [_output(output, budget) for output in cell.get("outputs", ())]
        made |= {"execution_count": None, "outputs": outputs}
    if not fits:
        made["metadata"][_AS_WRITTEN] = True
    node: Any = nbformat.from_dict(made)
    return node


def _output(output: NotebookNode, budget: _Budget) -> NotebookNode:
    if "traceback" in output:
        lines = [budget.uncoloured(line) for line in output.traceback]
        return NotebookNode(output | {"traceback": lines})
    if "data" not in output:
        return NotebookNode(output | {"text": budget.uncoloured(output.text)})
    shown = {
        kind: _SHOWN[kind](budget.uncoloured(data))
        for kind, data in output.data.items()
        if kind in _SHOWN and (kind != "text/html" or budget.takes("html", data))
    }
    return NotebookNode(output | {"data": NotebookNode(shown), "metadata": NotebookNode()})


def rendered(markdown: str) -> str:
    """The Markdown as HTML that runs nothing and loads nothing."""
    renderer = _Renderer(escape=False, exclude_anchor_links=True)
    return _html(MarkdownWithMath(renderer=renderer).render(markdown))


class _Renderer(IPythonRenderer):
    """nbconvert's own, without pictures, and without what highlights code.

    Cleaning takes away the pictures and the colours. To make them first would fail where a picture
    is missing, and would start whichever of Pygments' lexers the student names.
    """

    def block_code(self, code: str, info: str | None = None) -> str:
        return str(super(IPythonRenderer, self).block_code(code))

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return ""


def highlighted(source: str, language: str | None = None, metadata: Any = None) -> str:
    """The code as HTML, coloured as Python whatever its magics say; or as it was written."""
    if (metadata or {}).get(_AS_WRITTEN):
        return f'<div class="highlight"><pre>{escape(source)}</pre></div>'
    # A lexer for IPython reads a cell with `%%perl` as Perl, and blank lines very slowly.
    return str(Highlight2HTML(pygments_lexer="python3")(source))


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
