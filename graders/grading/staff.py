"""Where workers come from: a process that has JAX and nbformat imported, and forks them."""

from __future__ import annotations

from multiprocessing import forkserver, get_all_start_methods, get_context
from typing import Any

METHOD = "forkserver"
CAN_FORK = METHOD in get_all_start_methods()
CONTEXT: Any = get_context(METHOD if CAN_FORK else "spawn")
CONTEXT.set_forkserver_preload(["graders.grading.workplace"])


def start_importing() -> None:
    """Starts that process: it imports while the caller goes on, who need not call this."""
    if CAN_FORK:
        forkserver.ensure_running()
