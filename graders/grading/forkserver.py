"""Where workers come from: a process that has imported what they need, and forks them."""

from __future__ import annotations

import contextlib
import os
from multiprocessing import forkserver, get_all_start_methods, get_context
from pathlib import Path
from typing import Any

from graders.files import PACKAGE
from graders.sandbox.bubblewrap import MATPLOTLIB

METHOD = "forkserver"
CAN_FORK = METHOD in get_all_start_methods()
CONTEXT: Any = get_context(METHOD if CAN_FORK else "spawn")
CONTEXT.set_forkserver_preload(["graders.grading.preload"])

COMPILED = Path("build/compiled")  # below the course's root: compiled programs, known fonts


def start_importing(root: Path) -> None:
    """Starts that process: it imports while the caller goes on, who need not call this."""
    os.environ.update(matplotlib_settings(root / COMPILED))
    start()


def start() -> None:
    """That process runs. It finds this package, whatever the working directory holds.

    Its `sys.path` begins with the directory that it starts in, where a folder `graders` would hide
    the package; its children go to the directory of the process that asks for them.
    """
    if CAN_FORK:
        with contextlib.chdir(PACKAGE.parent):
            forkserver.ensure_running()


def matplotlib_settings(cache: Path) -> dict[str, str]:
    """Variables: Matplotlib draws on no screen, and keeps its list of fonts in `cache`."""
    return {"MPLBACKEND": "Agg", "MPLCONFIGDIR": str(cache / MATPLOTLIB)}
