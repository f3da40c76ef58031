"""What the trusted side holds of the sandbox: the sandbox itself, and the processes in it."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from graders.sandbox import bubblewrap, processors
from graders.sandbox.bubblewrap import Unavailable
from graders.sandbox.limits import Limits
from graders.sandbox.programs import ShownPrograms
from graders.seam import student, wire
from graders.seam.protocol import ENDED, OUT_OF_MEMORY, Error
from graders.seam.remote import StudentProcess

START_SECONDS, BIRTH_SECONDS, DEATH_SECONDS = 600.0, 120.0, 10.0
WAY_OUT = (
    "Many containers forbid the namespaces that it needs: grade outside of the container, or, if "
    "you trust the answers, with --no-sandbox."
)


@dataclass(frozen=True)
class ProcessFactory:
    """Asks a sandbox for processes; it can be handed to another process of the trusted side."""

    control: socket.socket
    limits: Limits
    seconds: float  # for each request

    def new_process(self) -> SandboxedProcess:
        """A process for one submission, in which nothing of any other one is left.

        Raises:
            Unavailable: it could not be confined.
        """
        channel, theirs = socket.socketpair()
        status, supervisors = socket.socketpair()
        limits = json.dumps(asdict(self.limits)).encode()
        with theirs, supervisors:
            try:
                socket.send_fds(self.control, [limits], [theirs.fileno(), supervisors.fileno()])
            except OSError as error:
                raise Unavailable(f"the sandbox has ended: {error.strerror}") from error
        return SandboxedProcess(channel, status, self.seconds)


class Sandbox:
    """A sandbox, and in it a process that forks one child for each submission."""

    def __init__(
        self,
        cache: Path,
        data: Path | None = None,
        imports: Sequence[str] = (),
        limits: Limits | None = None,
        seconds: float = 120.0,
        flags: str = "",
    ) -> None:
        """Starts it, and does not wait; entering its block does.

        `cache` holds compiled programs, `imports` are run once in it, `seconds` is the time for
        each request, and `flags` are for XLA.

        Raises:
            Unavailable: this is not Linux, or bubblewrap is not there.
        """
        bubblewrap.program()  # before anything that Linux alone has
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.processes = ProcessFactory(self.control, limits or Limits(), seconds)
        number = theirs.fileno()
        # -P: what lies in the scratch folder is not imported before what is installed.
        inside = [sys.executable, "-P", "-m", "graders.sandbox.zygote", str(number), *imports]
        self.programs = ShownPrograms(cache)
        self.show_programs()
        self.process = subprocess.Popen(
            bubblewrap.command(inside, self.programs.folder, data, flags),
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        theirs.close()

    def show_programs(self) -> None:
        """What has been compiled into the cache by now is there for the answers too."""
        self.programs.update()

    def wait(self) -> None:
        """Returns when it stands.

        Raises:
            Unavailable: bubblewrap may not do here what it has to.
        """
        if not self._said_ready():
            said = self._complaint()
            self.programs.close()
            raise Unavailable(f"bubblewrap makes no sandbox here: {said}. {WAY_OUT}")

    def _said_ready(self) -> bool:
        self.control.settimeout(START_SECONDS)
        try:
            return self.control.recv(16) == b"ready"
        except OSError:
            return False

    def _complaint(self) -> str:
        self.control.close()
        self.process.kill()
        _, said = self.process.communicate()
        lines = said.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def close(self) -> None:
        """Ends the sandbox with everything in it."""
        self.control.close()
        with self.process:
            self.process.kill()
        self.programs.close()

    def __enter__(self) -> Sandbox:
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SandboxedProcess(StudentProcess):
    """One submission's process; its supervisor kills it when `status` is closed."""

    def __init__(self, channel: socket.socket, status: socket.socket, seconds: float) -> None:
        super().__init__()
        self.channel, self.status, self.seconds = channel, status, seconds
        self.number = 0  # of the process, on this side
        try:
            hello = wire.unpack(self._read_before(time.monotonic() + BIRTH_SECONDS))
        except (EOFError, OSError, wire.ProtocolError):
            hello = None
        if hello != student.READY:
            said = self._ending().get("failed", "its process did not start")
            self.kill()
            raise Unavailable(f"a submission cannot be confined here: {said}. {WAY_OUT}")
        self.number = self._number()

    def _number(self) -> int:
        """The number under which this side knows the process; the supervisor hands it over."""
        self.status.settimeout(DEATH_SECONDS)
        _, handles, _, _ = socket.recv_fds(self.status, 1, 1)
        if not handles:
            return 0  # it has ended: whoever asks it for something will hear that
        handle = handles[0]
        about = Path(f"/proc/self/fdinfo/{handle}").read_text()
        os.close(handle)
        return int(re.search(r"^Pid:\s+(-?\d+)", about, re.MULTILINE)[1])  # type: ignore[index]

    def exchange(self, body: bytes) -> bytes:
        start, used = time.monotonic(), processors.used_by(self.number)
        end = min(start + self.seconds, self.deadline)
        try:
            channel = _Until(self.channel, end)
            channel.send(wire.HEADER.pack(len(body)) + body)
            return wire.read(channel, wire.LARGEST_REPLY)
        except TimeoutError:
            used = processors.used_by(self.number) - used
            waited = processors.waited_for_by(self.number)
            self.starved |= processors.starved(used, waited, end - start)
            raise

    def _read_before(self, end: float) -> bytes:
        return wire.read(_Until(self.channel, end), wire.LARGEST_REPLY)

    def why_it_ended(self) -> Error:
        number = self._ending().get("signal")
        return OUT_OF_MEMORY if number == signal.SIGKILL else ENDED

    def _ending(self) -> dict:
        """What the supervisor says of the end; it is ours, and writes one line."""
        try:
            self.status.settimeout(DEATH_SECONDS)
            with self.status.makefile("rb") as words:
                return json.loads(words.readline() or b"{}")
        except (OSError, ValueError):
            return {}

    def kill(self) -> None:
        """Ends the process; returns when its supervisor ends, and all of its namespace with it."""
        self.channel.close()
        if self.status.fileno() < 0:
            return
        self.status.shutdown(socket.SHUT_WR)  # the supervisor sees the end of the stream
        select.select([self.status], [], [], DEATH_SECONDS)
        self.status.close()


class _Until:
    """A socket that is read like a file, up to a point of time: then a TimeoutError is raised."""

    def __init__(self, channel: socket.socket, end: float) -> None:
        self.channel, self.end = channel, end

    def read(self, size: int) -> bytes:
        """The next bytes; b"" at the end."""
        self._set_time()
        return self.channel.recv(size)

    def send(self, content: bytes) -> None:
        """Sends all of it."""
        self._set_time()
        self.channel.sendall(content)

    def _set_time(self) -> None:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.channel.settimeout(left)
