"""Refuses a JAX that is older than the course needs.

It imports nothing of JAX, which an old one might lack.
"""

from __future__ import annotations

import importlib.metadata
import re

from graders.errors import CourseError

DISTRIBUTION = "jax-course"


class OldJax(CourseError, ImportError):
    """The JAX that is installed is too old; the message says what to do."""

    def _render_traceback_(self) -> list[str]:
        """One line in a notebook."""
        return [f"OldJax: {self}"]


def refuse_old() -> None:
    """Returns where JAX is as new as the package's metadata ask for, or where that is not known.

    Raises:
        OldJax: it is older.
    """
    floor, installed = least(), _version("jax")
    if floor and installed and _numbers(installed) < _numbers(floor):
        raise OldJax(
            f"The course needs JAX {floor} or later, and JAX {installed} is installed here. "
            "Upgrade it with `pip install --upgrade jax` (on a GPU `jax[cuda13]`, on a TPU "
            "`jax[tpu]`), then restart the kernel."
        )


def least() -> str:
    """The oldest JAX that the package asks for; "" where its metadata are not installed."""
    try:
        needs = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    found = (re.fullmatch(r"jax\s*>=\s*([\d.]+)", need) for need in needs)
    return next((match[1] for match in found if match), "")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> list[int]:
    """The first three numbers of a version: a development version counts as the one it leads to."""
    return [int(number) for number in re.findall(r"\d+", version)[:3]]
