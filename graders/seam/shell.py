"""What a notebook has beside Python, for cells that run without one: `get_ipython`, `display`."""

from __future__ import annotations

from typing import Any


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
    quiet = Config({"HistoryManager": {"enabled": False}})
    return InteractiveShell.instance(config=quiet, user_ns=namespace)


def display(*values: Any, **options: Any) -> None:
    """Prints what a notebook would show."""
    from IPython.display import display as show

    show(*values, **options)
