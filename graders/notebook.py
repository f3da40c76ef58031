"""What happens in a notebook around a check cell: the sheet is laid out, the card displayed."""

from __future__ import annotations

from typing import Any

from graders import card, sheet
from graders.subject import Unanswered


def connect(shell: Any) -> None:
    """From now on each cell that `shell` runs has a sheet of its own; safe to call again."""
    for event, callback in (("pre_run_cell", _begin), ("post_run_cell", _end)):
        if callback not in shell.events.callbacks[event]:
            shell.events.register(event, callback)


def connect_if_running() -> None:
    """Connects to the notebook that this process runs, if it runs one."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return
    if (shell := get_ipython()) is not None:
        connect(shell)


def _begin(info: Any) -> None:
    page = sheet.Sheet.of(info.raw_cell, display)
    sheet.turn_to(page if page.requirements else None)
    _stand_in(_namespace(), page)


def _stand_in(namespace: dict[str, Any], page: sheet.Sheet) -> None:
    """Binds an `Unanswered` to each name that a check is about and no cell has defined."""
    for requirement in page.requirements:
        if requirement.exercise and requirement.exercise not in namespace:
            namespace[requirement.exercise] = Unanswered(requirement.exercise)


def _end(result: Any) -> None:
    sheet.turn_to(None)
    namespace = _namespace()
    for name in [name for name, bound in namespace.items() if isinstance(bound, Unanswered)]:
        del namespace[name]


def _namespace() -> dict[str, Any]:
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    return shell.user_ns if shell is not None else {}


def display(page: sheet.Sheet) -> None:
    """Shows the card of `page` in the notebook."""
    from IPython.display import display as show

    show({"text/html": card.html(page), "text/plain": card.text(page)}, raw=True)
