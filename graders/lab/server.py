"""JupyterLab for the student, on a copy of the lessons that keeps their answers."""

from __future__ import annotations

import os
import shutil
import socket
import sysconfig
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import cast

from graders.errors import CourseError
from graders.lab import exchange, working_copy, writable_home
from graders.notebook import progress

SETTINGS = Path(__file__).parent / "jupyter"
HUB = "JUPYTERHUB_SERVICE_URL"  # set by a JupyterHub in the servers that it starts


class LabError(CourseError):
    """JupyterLab cannot be started; the message says why and what to do."""


def open_lab(root: Path, options: list[str], port: int | None = None) -> int:
    """Brings `root`/work up to date and runs JupyterLab on it until it is stopped.

    `options` are handed to JupyterLab.
    """
    course, work = folders(root)
    settings = [*exchange.settings(), SETTINGS, root]
    for kept in _bring_up_to_date(course, work):
        print(newer_version(kept))
    if port is not None:
        _require_free(port)
        options = [*options, f"--ServerApp.port={port}"]
    if not writable_home.is_at_home():
        writable_home.make(work / ".home")
        print(f"Your home folder cannot be written to: settings are kept in {work / '.home'}.")
    print(f"JupyterLab opens on {work}, your copy of the lessons. Control-C here stops it.")
    return _run_jupyterlab(root, settings, [*_without_browser(options), *options])


def start_afresh(root: Path, lesson: str) -> int:
    """Gives the student a fresh copy of `lesson`, and says where the old one is."""
    course, work = folders(root)
    backups = working_copy.reset(course, work, lesson)
    progress.Progress(work / progress.FILE).forget(lesson)
    print(f"{lesson} is as it was at first.")
    for backup in backups:
        print(f"Your answers are in {backup.relative_to(root)}.")
    return 0


def folders(root: Path) -> tuple[Path, Path]:
    """The folder of the released lessons and the folder of the student's copy.

    Raises:
        LabError: there are no released lessons.
    """
    if not working_copy.lessons(root / "course"):
        raise LabError(
            f"There are no lessons in {root / 'course'}. Get the course again, or build it from "
            "solutions/: jax-course build"
        )
    return root / "course", root / "work"


def _bring_up_to_date(course: Path, work: Path) -> list[Path]:
    """As working_copy.update; raises LabError where `work` cannot be written."""
    try:
        return working_copy.update(course, work)
    except OSError as error:
        raise LabError(
            f"Your copy of the lessons cannot be written in {work}: {error.strerror}. Make room "
            "there, or copy the whole course to a folder that is yours, and start it in that one."
        ) from error


def newer_version(kept: Path) -> str:
    """What the student reads where the course has moved on and their answers were kept."""
    afresh = f"{command()} reset {kept.parts[0]}" if len(kept.parts) > 1 else "rename yours"
    return (
        f"{kept.as_posix()} has a newer version; yours, with what you wrote, was kept. "
        f"To have the new one, with yours beside it: {afresh}"
    )


def command() -> str:
    """How `jax-course` is called in the shell that the student is in."""
    name = "jax-course"
    return name if shutil.which(name) else os.path.relpath(_scripts() / name)


def _scripts() -> Path:
    return Path(sysconfig.get_path("scripts"))


def _require_free(port: int) -> None:
    """Raises LabError if something listens on `port`: JupyterLab would quietly take another."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise LabError(
                f"Port {port} is in use. Name another, or leave out --port: a free one is chosen."
            )


def _without_browser(options: list[str]) -> list[str]:
    """The option to open none, and a word to the student, where there is no browser to open."""
    if "--no-browser" in options or _has_browser():
        return []
    print("There is no browser here: open the address below by hand, in one that can reach it.")
    return ["--no-browser"]


def _has_browser() -> bool:
    try:
        return bool(webbrowser.get())
    except webbrowser.Error:
        return False


def _run_jupyterlab(root: Path, settings: list[Path], options: list[str]) -> int:
    """Runs JupyterLab in this process, with the first of `settings` before the others.

    `root` is among them: nbgrader's parts read their configuration there, whatever folder they
    are at work in.
    """
    os.chdir(root)
    os.environ.setdefault(progress.FOLDER_VARIABLE, str(root / "work"))
    for folder in reversed(settings):
        _put_first("JUPYTER_CONFIG_PATH", folder)
    _put_first("JUPYTER_PATH", SETTINGS / "data")  # kernels that are connected at their start
    _put_first("PATH", _scripts())  # so that a terminal in JupyterLab finds jax-course
    own = f"--LabApp.extra_labextensions_path={SETTINGS / 'labextensions'}"
    _launcher()([f"--ServerApp.root_dir={root / 'work'}", own, *options])
    return 0


def _launcher() -> Callable[[list[str]], object]:
    """What runs JupyterLab: the server that a JupyterHub can talk to where one has called."""
    if HUB in os.environ:
        from jupyterhub.singleuser import main

        return cast(Callable[[list[str]], object], main)  # `launch_instance`, with today's server
    from jupyterlab.labapp import LabApp

    return LabApp.launch_instance


def _put_first(variable: str, folder: Path) -> None:
    others = os.environ.get(variable)
    os.environ[variable] = f"{folder}{os.pathsep}{others}" if others else str(folder)
