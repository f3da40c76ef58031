"""A process with JAX imported that forks a child for each submission, inside bubblewrap.

It starts no backend, for no thread may live where it forks. Its first argument is the number of a
socket to the trusted side, the others are statements that import. A message with two descriptors
and the limits asks for a child: the descriptors are the socket of the child's requests and replies,
and the status stream, on which the child's supervisor says how it ended.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from graders.sandbox import bubblewrap, confinement
from graders.sandbox.limits import Limits
from graders.values.jax_internals import share_context

LONGEST = 1 << 16


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    _borrow(bubblewrap.CACHE / bubblewrap.MATPLOTLIB, Path(os.environ["MPLCONFIGDIR"]))
    for statement in sys.argv[2:]:
        exec(statement, {})
    share_context()
    gc.collect()
    gc.freeze()  # a collection in a child would write to, and so copy, all that is shared
    control.send(b"ready")
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, LONGEST, 2)
        if not message:
            return
        if (middle := os.fork()) == 0:
            control.close()
            _never_return(_birth, Limits(**json.loads(message)), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        os.waitpid(middle, 0)


def _borrow(known: Path, folder: Path) -> None:
    """Copies what Matplotlib would otherwise find out again; it wants to write beside it."""
    if known.is_dir():
        shutil.copytree(known, folder, dirs_exist_ok=True)


def _birth(limits: Limits, channel: int, status: int) -> None:
    """Makes the namespaces, in them the supervisor, and under it the student's process."""

    def say(words: dict) -> None:
        os.write(status, json.dumps(words).encode() + b"\n")

    try:
        confinement.new_namespaces()
        if os.fork():
            return
        proc = confinement.new_folders(limits)
        student = os.fork()
    except OSError as error:
        return say({"failed": str(error)})
    if student == 0:
        os.close(status)
        os.close(proc)
        return _serve(limits, channel)
    os.close(channel)
    return confinement.supervise(student, status, proc, limits, say)


def _serve(limits: Limits, channel: int) -> None:
    """What the student's process does: it confines itself, says so, and then answers requests."""
    from graders.seam import student

    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # a pipe that fills would have a later submission wait
        os.dup2(null, descriptor)
    confinement.default_signals()
    confinement.give_up(limits)
    requests, replies = os.fdopen(os.dup(channel), "rb"), os.fdopen(channel, "wb")
    student.send(replies, student.READY)
    student.serve(requests, replies)


def _never_return(task: Callable[..., None], *arguments: Any) -> None:
    """Runs the task and ends this process, whatever happens: the loop above is the parent's."""
    try:
        task(*arguments)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
