"""The student's process, `python -m graders.seam.student`: runs cells, observes answers.

Requests come on standard input from the trusted side, pickled; replies go to what was standard
output, as plain data. The student's own output goes nowhere.
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
from pathlib import Path
from typing import Any, BinaryIO

from graders.probes.exports import ExportedProgram
from graders.seam import shell, tampering, wire
from graders.seam.capture import shown
from graders.seam.observation import error_facts
from graders.seam.place import LocalPlace
from graders.seam.protocol import Result
from graders.seam.rebuild import TooFewDevices
from graders.values.jax_internals import ask_for_cpu_devices, share_context

READY = "ready"


class Server:
    """The places of this process by number, and what can be asked of them."""

    def __init__(self) -> None:
        self.places = [LocalPlace()]
        namespace = self.places[0].namespace
        namespace.update(shell.names(namespace))
        self.snapshots: list[dict[str, Any]] = []
        self.functions = tampering.Functions()

    def put(self, files: dict[str, bytes]) -> None:
        """Writes the files, by their names below the working directory."""
        for name, content in files.items():
            path = Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def names(self, source: str) -> list[list[str]]:
        return [sorted(names) for names in shell.names_in(source)]

    def reaches_for(self, source: str) -> list[str]:
        return tampering.reaches_for(source)

    def replaced(self) -> list[str]:
        return self.functions.replaced()

    def run(self, place: int, source: str, filename: str) -> Any:
        importlib.invalidate_caches()  # the cell before may have written a module
        return self.places[place].run(shell.python(source), filename)

    def branch(self, place: int) -> int:
        self.places.append(self.places[place].branch())
        return len(self.places) - 1

    def printed(self, place: int) -> str:
        return shown(self.places[place].printed)

    def snapshot(self, place: int) -> int:
        """Remembers what the names of a place are bound to; returns the snapshot's number."""
        self.snapshots.append(dict(self.places[place].namespace))
        return len(self.snapshots) - 1

    def restore(self, place: int, number: int) -> None:
        self.places[place].bind(self.snapshots[number])

    def has(self, place: int, name: str) -> bool:
        return name in self.places[place].namespace

    def load(self, program: bytes, devices: int) -> int:
        """The number of a place in which `program` is an exported program; JAX has that many."""
        ask_for_cpu_devices(devices)
        self.places.append(LocalPlace({"program": ExportedProgram(program)}))
        return len(self.places) - 1

    def observe(self, place: int, name: str, request: Any) -> Any:
        return self.places[place].observe(name, request)

    def answer(self, request: bytes) -> Any:
        try:
            command, *arguments = pickle.loads(request)
        except TooFewDevices as error:
            return Result(error=error_facts(error))
        return getattr(self, command)(*arguments)


def main() -> None:
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    serve(requests, replies)


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answers requests until there are no more.

    Modules in the working directory can be imported, as in a notebook. Jupyter looks there first;
    here it is looked at last, so that a file that is named like an installed module (`random.py`,
    `jax.py`) is never taken for it by a library, by JAX or by this package. An answer that means
    its own file by such a name gets the installed module. In a notebook it gets that one too where
    the kernel has imported it already.
    """
    sys.path.append(os.getcwd())
    share_context()
    server = Server()
    while True:
        try:
            request = wire.read(requests)
        except EOFError:
            return
        send(replies, server.answer(request))


def send(replies: BinaryIO, value: Any) -> None:
    """Sends plain data; what the other side would not read becomes an error that says so."""
    try:
        body = wire.pack(value)
    except wire.TooLarge as error:
        body = wire.pack(Result(error=error_facts(error)))
    wire.write(replies, body)


if __name__ == "__main__":
    main()
