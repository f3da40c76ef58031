"""nbgrader's exchange: the shared folder through which a class hands in and gets feedback."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from graders.errors import CourseError

# nbgrader_config.py reads both: where the exchange is, and the name that a student hands in under
# where that is not the login name.
FOLDER, STUDENT = "JAX_COURSE_EXCHANGE", "JAX_COURSE_STUDENT"
SETTINGS = Path(__file__).parent / "jupyter" / "exchange"


class NoExchange(CourseError):
    """Work cannot be handed in through the folder that is named; the message says why."""


def settings() -> list[Path]:
    """Where JupyterLab finds what switches the Assignment list on; nothing without an exchange.

    nbgrader reads the environment that this leaves behind.

    Raises:
        NoExchange: a folder is named that nbgrader cannot hand work in through.
    """
    if not (named := os.environ.get(FOLDER)):
        return []
    folder = Path(named).expanduser().resolve()
    if reason := _unfit(folder):
        raise NoExchange(
            f"{FOLDER} is set, but {reason}. Ask your instructor for the folder, or unset the "
            "variable: the lessons and their checks do without it."
        )
    os.environ[FOLDER] = str(folder)
    if on_a_hub := os.environ.get("JUPYTERHUB_USER"):
        os.environ.setdefault(STUDENT, on_a_hub)
    return [SETTINGS]


def _unfit(folder: Path) -> str:
    if sys.platform == "win32":
        return "nbgrader's exchange is for Linux and macOS"
    if not folder.is_dir():
        return f"{folder} is no folder"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"{folder} cannot be written to"
