"""Answers in a second process: the other end of `graders.seam.student`."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from itertools import count
from types import FunctionType
from typing import Any, BinaryIO, Self, cast
from weakref import WeakKeyDictionary

import cloudpickle
import jax

from graders.files import PACKAGE
from graders.seam import rebuild, wire
from graders.seam.capture import shown
from graders.seam.place import Place
from graders.seam.protocol import ENDED, GARBLED, OUT_OF_TIME, Error, Request, Result, Step
from graders.seam.shell import Names
from graders.seam.subject import Subject, Unanswered
from graders.seam.tampering import replaced_sign
from graders.values.plain import is_key

LONGEST_SIGN, MOST_SIGNS = 200, 10  # of tampering, for each cell


class StudentProcess(ABC):
    """A process that runs a student's cells, as the trusted side sees it.

    `on_send` sees the bytes of every request, for tests of what crosses.
    """

    def __init__(self, on_send: Callable[[bytes], None] = lambda body: None) -> None:
        self.on_send = on_send
        self.over: Error | None = None  # why there will be no further reply
        self.deadline = float("inf")  # of `time.monotonic`: no reply is waited for longer
        self.starved = False  # whether it may have run out of time for want of a processor

    @abstractmethod
    def exchange(self, body: bytes) -> bytes:
        """Sends one request, and gives the reply.

        Raises:
            EOFError, OSError: the process is gone.
            TimeoutError: it has not replied in time.
            ProtocolError: what it sent is no message.
        """

    @abstractmethod
    def kill(self) -> None:
        """Ends the process, and all that it has started."""

    def why_it_ended(self) -> Error:
        """What is known about a process that is gone."""
        return ENDED

    def ask(self, command: str, *arguments: Any) -> Any:
        """The reply; an `Error` where the process has ended, or does not follow the format.

        From then on every reply is that error.
        """
        if self.over is not None:
            return self.over
        body = dumps((command, *arguments))
        self.on_send(body)
        try:
            return wire.unpack(self.exchange(body))
        except TimeoutError:
            self.over = OUT_OF_TIME
        except wire.ProtocolError:  # no one knows where its next message would begin
            self.over = GARBLED
        except (EOFError, OSError):
            self.over = self.why_it_ended()
        self.kill()
        return self.over

    def put(self, files: Mapping[str, bytes]) -> None:
        """Files of these names lie in the working directory, modules among them can be imported.

        Args:
            files: what they contain, by relative path.
        """
        self.ask("put", dict(files))

    def end(self, why: Error) -> None:
        """Ends the process: from now on every reply is `why`."""
        self.over = why
        self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class RemoteProcess(StudentProcess):
    """A worker without a sandbox: it has the rights of the one that starts it, and no limits.

    Its working directory is a temporary folder of its own.
    """

    def __init__(self, on_send: Callable[[bytes], None] = lambda body: None) -> None:
        super().__init__(on_send)
        self.scratch = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
        variables = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "Agg"}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "graders.seam.student"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | variables,
            cwd=self.scratch.name,
        )

    def exchange(self, body: bytes) -> bytes:
        wire.write(cast(BinaryIO, self.process.stdin), body)
        return wire.read(cast(BinaryIO, self.process.stdout), wire.LARGEST_REPLY)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(BrokenPipeError):  # what a write has left in the buffer
                cast(BinaryIO, stream).close()
        self.scratch.cleanup()


class RemotePlace(Place):
    """A namespace in a worker."""

    def __init__(self, process: StudentProcess, number: int = 0) -> None:
        self.process, self.number = process, number

    def names_in(self, source: str) -> Names:
        """The names in a cell that does not run; none where the process has ended over it."""
        reply = self.process.ask("names", source)
        if not wire.fits(reply, list[list[str]]) or len(reply) != 2:
            return frozenset(), frozenset()
        return frozenset(reply[0]), frozenset(reply[1])

    def reaches_for(self, source: str) -> list[str]:
        """What of the process a cell reaches for that does not run: signs of tampering."""
        found = self._texts("reaches_for", source)
        return [sign[:LONGEST_SIGN] for sign in found[:MOST_SIGNS]]

    def replaced(self) -> list[str]:
        """Which functions of `graders` and of JAX its process says have been replaced, in a line.

        The process may say anything by now: of what it says, names are shown.
        """
        return replaced_sign(self._texts("replaced"))

    def _texts(self, command: str, *arguments: str) -> list[str]:
        reply = self.process.ask(command, *arguments)
        return reply if wire.fits(reply, list[str]) else []

    def run(self, source: str, filename: str) -> Error | None:
        reply = self.process.ask("run", self.number, source, filename)
        return reply if isinstance(reply, Error | None) else GARBLED

    def branch(self) -> RemotePlace:
        reply = self.process.ask("branch", self.number)
        return RemotePlace(self.process, reply if type(reply) is int else self.number)

    @property
    def printed(self) -> str:
        """What the cell that ran last has printed; cut where it is long."""
        reply = self.process.ask("printed", self.number)
        return shown(reply) if type(reply) is str else ""

    def snapshot(self) -> int:
        """The number of a snapshot of what the names are bound to now."""
        reply = self.process.ask("snapshot", self.number)
        return reply if type(reply) is int else 0

    def restore(self, number: int) -> None:
        """Binds the names as they were at that snapshot."""
        self.process.ask("restore", self.number, number)

    def subject(self, name: str) -> Subject:
        if self.process.ask("has", self.number, name) is False:
            return Unanswered(name)
        return RemoteSubject(self, name)


class RemoteSubject(Subject):
    """An answer in a worker, by its name."""

    def __init__(self, place: RemotePlace, name: str, steps: tuple[Step, ...] = ()) -> None:
        self.place, self.name, self.steps = place, name, steps

    def send(self, request: Request) -> Result:
        reply = self.place.process.ask("observe", self.place.number, self.name, request)
        return wire.checked(request.probe, reply)

    def extended(self, step: Step) -> RemoteSubject:
        return RemoteSubject(self.place, self.name, (*self.steps, step))


def dumps(value: Any) -> bytes:
    """`value` pickled for the worker.

    Functions of ours go by value, those with a derivative rule of their own included, typed keys by
    their words, devices by their numbers, arrays that lie on several devices by their numbers and
    their sharding. A function that is sent twice is one object there, as it is here: an answer may
    keep what it has compiled for a function.
    """
    buffer = io.BytesIO()
    _Pickler(buffer).dump(value)
    return buffer.getvalue()


_numbers: WeakKeyDictionary[FunctionType, int] = WeakKeyDictionary()
_next_number = count()


class _Pickler(cloudpickle.Pickler):
    def __init__(self, buffer: io.BytesIO) -> None:
        super().__init__(buffer)
        self.begun: set[FunctionType] = set()
        self.twins: set[FunctionType] = set()

    def reducer_override(self, obj: Any) -> Any:
        if is_key(obj):
            words = jax.device_get(jax.random.key_data(obj))
            return rebuild.key, (words, str(jax.random.key_impl(obj)))
        if isinstance(obj, jax.Device):
            return rebuild.device, (obj.platform, obj.id)
        if isinstance(obj, jax.Array) and len(obj.sharding.device_set) > 1:
            return jax.device_put, (jax.device_get(obj), obj.sharding)
        if isinstance(obj, jax.custom_vjp | jax.custom_jvp):
            return rebuild.custom_rule(obj)
        reduced = super().reducer_override(obj)
        if isinstance(obj, FunctionType) and reduced is not NotImplemented:
            return self._numbered(obj) or reduced
        return reduced

    def _numbered(self, function: FunctionType) -> Any:
        """How a function is sent with its number; None within that, where it goes as usual.

        The twin is another object with the same parts: pickle knows objects by their identity, and
        would put the function in place of what `rebuild.same` returns.
        """
        if function in self.begun or function in self.twins:
            return None
        self.begun.add(function)
        self.twins.add(twin := _twin(function))
        if function not in _numbers:
            _numbers[function] = next(_next_number)
        return rebuild.same, (_numbers[function], twin)


def _twin(function: FunctionType) -> FunctionType:
    """Another function with the same parts."""
    parts = (function.__name__, function.__defaults__, function.__closure__)
    twin = FunctionType(function.__code__, function.__globals__, *parts)
    for name in ("__annotations__", "__doc__", "__kwdefaults__", "__module__", "__qualname__"):
        setattr(twin, name, getattr(function, name))
    twin.__dict__.update(function.__dict__)
    return twin
