"""What a notebook holds for hosts that lack the course: a link to open it, a cell to set it up."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from typing import Any

from graders.files import PACKAGE
from graders.lesson.cells import Cell, Lesson
from graders.lesson.problems import Finding

COLAB = "https://colab.research.google.com"
BADGE = f"{COLAB}/assets/colab-badge.svg"
BRANCH = "main"
ALT = "Open in Colab"
# What comes with JAX, with graders and with any notebook.
THERE = {"IPython", "graders", "jax", "jaxtyping", "numpy", "scipy", *sys.stdlib_module_names}
IMPORTS = (ast.Import, ast.ImportFrom)
MODULES = {"orbax-checkpoint": "orbax", "scikit-learn": "sklearn"}  # where the names differ

SET_UP = """\
# Prepares a hosted notebook: installs missing packages, and keeps the installed JAX version.
# If pip says that JAX is too old: `%pip install --upgrade jax`, restart, and run this cell again.
import importlib.metadata, importlib.util

needed = {needed}
missing = [need for name, need in needed.items() if importlib.util.find_spec(name) is None]
if missing:
    pins = [f"{{name}}=={{importlib.metadata.version(name)}}" for name in ("jax", "jaxlib")]
    quoted = " ".join(f'"{{package}}"' for package in pins + missing)
    get_ipython().run_line_magic("pip", f"install --quiet {{quoted}}")
    importlib.invalidate_caches()"""


def colab_page(lesson: str) -> str:
    """The address at which Colab opens the lesson's notebook."""
    path = repository().removeprefix("https://github.com/")
    return f"{COLAB}/github/{path}/blob/{BRANCH}/course/{lesson}/{lesson}.ipynb"


def readme_badge(lesson: str) -> str:
    """What stands in the README's table: the addresses are in `readme_links`."""
    return f"[![{ALT}][badge]][{lesson}]"


def readme_links(lessons: list[str]) -> str:
    """The addresses that the README's badges refer to, a line each."""
    pages = [f"[{lesson}]: {colab_page(lesson)}" for lesson in lessons]
    return "\n".join([f"[badge]: {BADGE}", *pages])


def with_links(title_cell: str, lesson: str, links: str) -> str:
    """The first cell of a lesson with `links` and one to Colab below its title, no pictures."""
    title, _, rest = title_cell.partition("\n")
    return f"{title}\n\n{links} · [{ALT}]({colab_page(lesson)})\n{rest}".rstrip("\n")


def set_up(lesson: Lesson) -> str:
    """The cell that installs what is missing: graders, and the libraries that `lesson` imports."""
    needed = {"graders": f"{_project()['name']} @ git+{repository()}"} | libraries(lesson)
    lines = [f'    "{module}": "{package}",' for module, package in needed.items()]
    return SET_UP.format(needed="\n".join(["{", *lines, "}"]))


def libraries(lesson: Lesson) -> dict[str, str]:
    """What pyproject.toml asks for of the libraries that the lesson imports, by their modules."""
    code = (cell for cell in lesson.cells if cell.kind == "code")
    imported = {name for cell in code for name in cell.modules}
    return {module: need for module, need in known_libraries().items() if module in imported}


def unknown_libraries(cell: Cell, lesson: Lesson) -> Iterator[Finding]:
    """An import from a package that is not declared: a hosted notebook could not install it."""
    if cell.kind == "markdown":
        return
    for name in sorted(cell.modules - THERE - known_libraries().keys()):
        fix = "add it to the extra `lessons` of pyproject.toml, or do without it"
        yield Finding(0, f"the cell imports {name!r}, which no package of the course brings", fix)


def import_statements(lesson: Lesson) -> list[str]:
    """The imports of the lesson's cells, as they stand there, each once."""
    trees = [cell.tree for cell in lesson.cells if cell.kind == "code"]
    found = [node for tree in trees for node in tree.body]
    return list(dict.fromkeys(ast.unparse(n) for n in found if isinstance(n, IMPORTS)))


def known_libraries() -> dict[str, str]:
    """The packages of the extra `lessons`, as pip is asked for them, by the module of each."""
    needs = _project()["optional-dependencies"]["lessons"]
    names = {need: re.match(r"[\w.-]+", need)[0] for need in needs}  # type: ignore[index]
    return {MODULES.get(name, name): need for need, name in names.items()}


def repository() -> str:
    """The address of the course's repository."""
    return _project()["urls"]["Repository"]


@cache
def _project() -> dict[str, Any]:
    path = PACKAGE.parent / "pyproject.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))["project"]
