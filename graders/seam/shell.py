"""What a notebook has beside Python, for cells that run without one: `get_ipython`, magics."""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import Any, TypeAlias

from graders.lesson.names import bound_names, global_reads

Names: TypeAlias = tuple[frozenset[str], frozenset[str]]
"""The names that a cell binds, and those that it reads."""


@lru_cache(4096)
def python(source: str) -> str:
    """The cell with its magics turned into calls; as it is, where that cannot be done."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        return TransformerManager().transform_cell(source)
    except Exception:  # not Python, or more magics than IPython takes: running it says which
        return source


@lru_cache(4096)
def names_in(source: str) -> Names:
    """The names in a cell; none where it is no Python."""
    try:
        tree = ast.parse(python(source))
        return frozenset(bound_names(tree)), frozenset(read.name for read in global_reads(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset(), frozenset()


def names(namespace: dict[str, Any]) -> dict[str, Any]:
    """The names that IPython gives to every notebook; magics work in `namespace`."""

    def get_ipython() -> Any:
        return shell(namespace)

    return {"get_ipython": get_ipython, "display": display}


def shell(namespace: dict[str, Any]) -> Any:
    """IPython's shell on this namespace: made when it is first asked for, without a history."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    if InteractiveShell.initialized():
        return InteractiveShell.instance()

    class Shell(InteractiveShell):
        """One without an event loop: `%matplotlib` asks for it, and would end in an error."""

        def enable_gui(self, gui: str | None = None) -> None:
            pass

    quiet = Config({"HistoryManager": {"enabled": False}})
    return Shell.instance(config=quiet, user_ns=namespace)


def display(*values: Any, **options: Any) -> None:
    """Prints what a notebook would show."""
    from IPython.display import display as show

    show(*values, **options)
