"""The course as a website: lessons without solutions, reference and documentation, by Sphinx.

What is in course/ and docs/ is copied below build/, with what only a notebook needs left out, and
Sphinx with MyST-NB makes pages of it. They ask no other host for anything: formulas are MathML.
"""

from __future__ import annotations

import re
import shutil
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from graders.errors import CourseError
from graders.lesson import hosted
from graders.lesson.source import FOLDER
from graders.root import course_root

SOURCE, PAGES = Path("build/site-source"), Path("build/site")
PARTS = {"docs": "docs", "course/reference": "reference"}  # folders of pages, with their places
_UPWARDS = re.compile(r"\]\(\.\./((?:graders|solutions|benchmarks|\w+\.md)[^)]*)\)")
INDEX = """\
# JAX course

JAX for people who know NumPy: arrays, gradients, `jit`, control flow, random keys, `vmap`, sharding
and a trained network, then Flax, Equinox, checkpoints, porting from PyTorch, performance, science
and debugging.

These pages are for reading and searching. The exercises are graded in the notebooks: get the
course from [its repository]({repository}), and run `make lab`.

```{{toctree}}
:caption: Lessons
:maxdepth: 1

{lessons}
```

```{{toctree}}
:caption: Reference
:maxdepth: 1

{reference}
```

```{{toctree}}
:caption: Documentation
:maxdepth: 1

{docs}
```
"""
CONFIGURATION = {
    "project": "JAX course",
    "extensions": ["myst_nb", "graders.author.site"],
    "html_theme": "sphinx_book_theme",
    "html_title": "JAX course",
    "html_theme_options": {"show_toc_level": 2},
    "html_math_renderer": "mathml",
    "html_show_sphinx": False,
    "nb_execution_mode": "off",
    "nb_code_prompt_show": "Show the code",
    "nb_code_prompt_hide": "Hide the code",
    "myst_enable_extensions": ["dollarmath"],
    "myst_heading_anchors": 4,
}


class SiteError(CourseError):
    """The site cannot be built; the message says why."""


def main(root: Path | None = None) -> int:
    """Builds the site in build/site, and says where its first page is."""
    root = root or course_root()
    build(root)
    print(f"The site is built. Its first page is {root / PAGES / 'index.html'}")
    return 0


def build(root: Path) -> None:
    """Writes the site of the course in `root` to build/site.

    Raises:
        SiteError: Sphinx warns of anything, such as a link that leads nowhere.
    """
    from sphinx.application import Sphinx
    from sphinx.errors import SphinxError
    from sphinx.util.docutils import docutils_namespace

    assemble(root)
    shutil.rmtree(root / PAGES, ignore_errors=True)
    source, pages = str(root / SOURCE), str(root / PAGES)
    doctrees = str(root / "build/site-doctrees")
    with docutils_namespace(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Sphinx's extensions about Sphinx
        try:
            site = Sphinx(
                *(source, None, pages, doctrees, "html"),
                confoverrides=CONFIGURATION,
                status=None,
                warning=sys.stderr,
                freshenv=True,
                warningiserror=True,
            )
            site.build()
        except SphinxError as error:
            raise SiteError(f"The site cannot be built: {error}") from error
    if site.statuscode:
        raise SiteError("The site cannot be built: see the warnings above.")


def assemble(root: Path) -> None:
    """Writes what Sphinx reads: the lessons, the pages that belong to them, and an index."""
    target = root / SOURCE
    shutil.rmtree(target, ignore_errors=True)
    for folder, place in PARTS.items():
        for page in sorted((root / folder).rglob("*.md")):
            path = target / place / page.relative_to(root / folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_with_addresses(page.read_text("utf-8")), "utf-8")
    lessons = [path for path in sorted((root / "course").iterdir()) if FOLDER.fullmatch(path.name)]
    for folder in lessons:
        notebook = nbformat.read(folder / f"{folder.name}.ipynb", as_version=4)
        path = target / folder.name / f"{folder.name}.ipynb"
        path.parent.mkdir()
        nbformat.write(for_reading(notebook), path)
    index = INDEX.format(
        repository=hosted.repository(),
        lessons="\n".join(f"{folder.name}/{folder.name}" for folder in lessons),
        reference=_listed(target, "reference"),
        docs=_listed(target, "docs"),
    )
    (target / "index.md").write_text(index, "utf-8")


def for_reading(notebook: NotebookNode) -> NotebookNode:
    """The notebook for a page: the set-up cell is gone, and checks are folded."""
    cells = []
    for cell in notebook.cells:
        if cell.id.endswith("-set-up"):
            continue
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
        cells.append(cell)
    notebook.cells = cells
    return notebook


def _with_addresses(page: str) -> str:
    """The page with the addresses of files that are not on the site: they are in the repository.

    A diagram, which GitHub draws, is shown as its source.
    """
    page = page.replace("```mermaid", "```text")
    return _UPWARDS.sub(rf"]({hosted.repository()}/blob/{hosted.BRANCH}/\1)", page)


def _listed(target: Path, place: str) -> str:
    """The pages of a folder for a table of contents, those in folders of their own last."""
    pages: Iterable[Path] = (target / place).rglob("*.md")
    ordered = sorted(pages, key=lambda page: (len(page.parts), page))
    return "\n".join(page.relative_to(target).with_suffix("").as_posix() for page in ordered)


# ---- Sphinx ----


def setup(app: Any) -> dict[str, Any]:
    """What Sphinx calls: formulas are written as MathML, which every browser draws."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(writer: Any, node: Any) -> None:
    _formula(writer, node, as_block=False)


def _block(writer: Any, node: Any) -> None:
    _formula(writer, node, as_block=True)


def _formula(writer: Any, node: Any, as_block: bool) -> None:
    from docutils.nodes import SkipNode
    from docutils.utils.math.latex2mathml import tex2mathml

    writer.body.append(tex2mathml(node.astext(), as_block=as_block))
    raise SkipNode
