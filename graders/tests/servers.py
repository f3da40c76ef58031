"""Real servers for tests: JupyterLab as people start it, and commands as they type them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import IO
from urllib.parse import urlsplit

import graders

ROOT = Path(graders.__file__).parents[1]
ELSEWHERE = ("JAX_COURSE_", "JUPYTER", "XDG_")  # variables that lead to other homes
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\S*token=\w+")


def copy_of_the_course(folder: Path, lesson: str, *parts: str) -> Path:
    """What a person has who fetched the course, with one lesson alone."""
    for part in (f"course/{lesson}", *parts):
        shutil.copytree(ROOT / part, folder / part)
    shutil.copy(ROOT / "nbgrader_config.py", folder)
    return folder


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a person who lives in `home`."""
    home.mkdir(exist_ok=True)
    own = {"HOME": str(home), "PYTHONPATH": str(ROOT), "JUPYTER_PLATFORM_DIRS": "1"}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(ELSEWHERE)}
    return inherited | own | more


def run(where: Path, surroundings: dict[str, str], *module: str) -> str:
    """What a module's command says, run in `where`; it must succeed."""
    command = [sys.executable, "-m", *module]
    done = subprocess.run(command, cwd=where, env=surroundings, capture_output=True, text=True)
    assert done.returncode == 0, f"{module}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@contextmanager
def served(
    where: Path, surroundings: dict[str, str], *module: str, inside: tuple[str, ...] = ()
) -> Iterator[tuple[str, str]]:
    """A running JupyterLab: the address that it has printed, with the token, and all before it.

    `inside` is a command that runs the server's.
    """
    options = ["--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"]
    options.append(f"--ServerApp.port={free_port()}")
    server = subprocess.Popen(
        [*inside, sys.executable, "-um", *module, *options],
        cwd=where,
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: Queue[str] = Queue()
    reader = Thread(target=_read, args=(server.stdout, lines))
    reader.start()
    try:
        address, said = _address(lines)
        _wait_until_it_listens(server, address)
        yield address, said
    finally:
        _stop(server)
        reader.join()


def free_port() -> int:
    """A port of its own: where two servers look at once, both find Jupyter's first one free."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def _wait_until_it_listens(server: subprocess.Popen[str], address: str) -> None:
    """JupyterLab prints its address before it listens there (jupyter_server, `init_httpserver`)."""
    place = urlsplit(address)
    while server.poll() is None:
        with (
            suppress(ConnectionRefusedError),
            socket.create_connection((place.hostname, place.port)),
        ):
            return
        time.sleep(0.05)
    raise AssertionError(f"JupyterLab stopped before it listened at {address}")


def _stop(server: subprocess.Popen[str]) -> None:
    """Stops it and its kernels, and leaves none behind where it does not listen."""
    server.terminate()
    try:
        server.wait(300)
    except subprocess.TimeoutExpired:
        server.kill()
        raise


def _read(output: IO[str], lines: Queue[str]) -> None:
    """Reads to the end, so that no server waits for a reader; an empty line says that it is."""
    with output:
        for line in output:
            lines.put(line)
    lines.put("")


def _address(lines: Queue[str]) -> tuple[str, str]:
    said = ""
    while line := lines.get():
        said += line
        if found := ADDRESS.search(line):
            return found[0], said
    raise AssertionError(f"JupyterLab stopped before it printed an address:\n{said}")
