"""The student's process: `python -m graders.worker` runs cells and observes answers on request.

Requests come on standard input from the trusted side, pickled; replies go to what was standard
output, as plain data. The student's own output goes nowhere.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any

from graders import wire
from graders.place import LocalPlace


class Desk:
    """The places of this process by number, and what can be asked of them."""

    def __init__(self) -> None:
        self.places = [LocalPlace()]

    def run(self, place: int, source: str, filename: str) -> Any:
        return self.places[place].run(source, filename)

    def branch(self, place: int) -> int:
        self.places.append(self.places[place].branch())
        return len(self.places) - 1

    def has(self, place: int, name: str) -> bool:
        return name in self.places[place].namespace

    def observe(self, place: int, name: str, request: Any) -> Any:
        return self.places[place].observe(name, request)

    def answer(self, request: bytes) -> Any:
        command, *arguments = pickle.loads(request)
        return getattr(self, command)(*arguments)


def main() -> None:
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    desk = Desk()
    while True:
        try:
            request = wire.read(requests)
        except EOFError:
            sys.exit(0)
        wire.write(replies, wire.pack(desk.answer(request)))


if __name__ == "__main__":
    main()
