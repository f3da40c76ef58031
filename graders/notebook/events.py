"""What happens in a notebook around a check cell: the sheet is laid out, the card displayed."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from graders.card import draw, sheet
from graders.card.outcome import MIME, Outcome
from graders.notebook import figures, model_answer, progress
from graders.notebook.session import Session

_DEFINED = re.compile(r"^(?:def|class)\s+(\w+)|^(\w+)\s*=(?!=)", re.MULTILINE)
_stale: set[str] = set()
"""Names whose cell was last run with a syntax error: what they hold is an older answer."""
_stand_ins: dict[str, Any] = {}
"""The `Unanswered` that names are bound to while a check cell runs."""
_set_aside: dict[str, Any] = {}
"""What a stand-in has taken the place of, while a check cell runs."""


_session: Session | None = None


def connect(shell: Any) -> None:
    """From now on each cell that `shell` runs has a sheet of its own; safe to call again.

    A kernel that `jax-course lab` starts is connected before its first cell. So nothing here
    imports JAX before a check runs: the first cell of a lesson may still choose JAX's devices.
    """
    global _session
    if _session is None or _session.shell is not shell:
        _session = Session(shell)
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
    page = sheet.Sheet.of(info.raw_cell, partial(display, check=progress.check_of(info.raw_cell)))
    sheet.turn_to(page if page.requirements else None)
    if page.requirements:
        _stand_in(_namespace(), page)
    figures.style_once()
    if _session:
        _session.begin(is_check=bool(page.requirements))


def _stand_in(namespace: dict[str, Any], page: sheet.Sheet) -> None:
    """Binds an `Unanswered` to each name that a check is about and no cell has defined."""
    from graders.seam.protocol import SeamError
    from graders.seam.subject import Unanswered

    for name in {requirement.exercise for requirement in page.requirements} - {""}:
        if name in _stale:
            if name in namespace:
                _set_aside[name] = namespace[name]
            _stand_ins[name] = Unanswered(name, SeamError("Stale", ("Stale",), name))
        elif name not in namespace:
            _stand_ins[name] = Unanswered(name)
    namespace.update(_stand_ins)


def _end(result: Any) -> None:
    if _session:
        _session.end(result)
    sheet.turn_to(None)
    namespace = _namespace()
    for name, stand_in in _stand_ins.items():
        if namespace.get(name) is stand_in:
            del namespace[name]
    namespace.update(_set_aside)
    _stand_ins.clear()
    _set_aside.clear()
    _note_syntax(result)
    if result.error_in_exec is not None:
        from graders.notebook import backends

        if explanation := backends.explained(result.error_in_exec):
            print(explanation)


def _note_syntax(result: Any) -> None:
    """Keeps account of the names that a cell would have defined, had it been Python."""
    names = {a or b for a, b in _DEFINED.findall(result.info.raw_cell or "")}
    if isinstance(result.error_before_exec, SyntaxError):
        _stale.update(names)
    elif result.error_before_exec is None:
        _stale.difference_update(names)


def _namespace() -> dict[str, Any]:
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    return shell.user_ns if shell is not None else {}


def display(outcome: Outcome, check: progress.Check | None = None) -> None:
    """Shows the card in the notebook, and keeps account of a check of the course."""
    from IPython.display import display as show

    standing, answer = "", None
    if check is not None and progress.is_enabled():
        progress.current().note(check, met=outcome.passed, answered=outcome.answered)
        standing = progress.line(check.lesson)
        answer = model_answer.offered(check, progress.current().records()[check.lesson])
    inside = model_answer.html(answer, _namespace()) if answer else ""
    html, text = draw.html(outcome, standing, inside), draw.text(outcome, standing)
    data = outcome.for_the_student().as_json()
    show({MIME: data, "text/html": html, "text/plain": text}, raw=True)
