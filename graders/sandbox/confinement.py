"""How a student's process is confined by itself, inside the sandbox that bubblewrap has made.

Siblings share that sandbox, so each gets namespaces of its own (user, processes, mounts, IPC,
network), its own scratch folders, a /proc without processes, limits, no capabilities and a filter
for system calls. Its process number 1 is a supervisor of ours: when that one ends, all of them end.

This module needs Linux at its import: `zygote` alone imports it, which runs in the sandbox.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import resource
import select
import signal
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from graders.sandbox import seccomp
from graders.sandbox.bubblewrap import DEVICES
from graders.sandbox.limits import SCRATCH, Limits

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x8000000, 0x10000000, 0x20000000
CLONE_NEWNET = 0x40000000
MS_READ_ONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
CAPABILITY_VERSION_3 = 0x20080522
PR_SET_DUMPABLE = 4
SHOWN_OF_PROC = ("cpuinfo", "meminfo")  # XLA reads them
LOOK_SECONDS = 0.1  # between two looks at what a process uses
COUNTED_BY_NAMESPACE = (5, 14)  # the first Linux in which RLIMIT_NPROC is not the account's

_libc = ctypes.CDLL(None, use_errno=True)


def new_namespaces() -> None:
    """From now on users, mounts, IPC and network are its own; its first child is number 1.

    Raises:
        OSError: the kernel, or the container around, forbids it.
    """
    user, group = os.getuid(), os.getgid()
    flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET
    _checked(_libc.unshare(flags), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def new_folders(limits: Limits) -> int:
    """Scratch folders of this process's own, limited in size, and a /proc without processes.

    Returns:
        A descriptor of the /proc that has them.
    """
    before = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    proc = {name: Path("/proc", name).read_bytes() for name in SHOWN_OF_PROC}
    Path("/proc/self/oom_score_adj").write_text("1000")  # before anything else of the machine
    for folder in (SCRATCH, "/dev/shm"):
        _mount_tmpfs(folder, f"size={limits.scratch},nr_inodes=4096,mode=0700")
    os.chdir(SCRATCH)  # the working directory is still the folder that all share
    for device in DEVICES:
        _remount(device, MS_BIND | os.statvfs(device).f_flag & (MS_NOSUID | MS_NOEXEC))
    _mount_tmpfs("/proc", "size=1m,nr_inodes=64,mode=0755")
    for name, content in proc.items():
        Path("/proc", name).write_bytes(content)
    _remount("/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    return before


def _mount_tmpfs(folder: str, options: str) -> None:
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    _checked(_libc.mount(b"tmpfs", folder.encode(), b"tmpfs", flags, options.encode()), folder)


def _remount(place: str, flags: int) -> None:
    """From now on it is read-only. A device can still be written to; its times cannot be set."""
    flags |= MS_REMOUNT | MS_READ_ONLY
    _checked(_libc.mount(b"none", place.encode(), None, flags, None), place)


def give_up(limits: Limits) -> None:
    """Limits, no capabilities, no other process to look at, no call that the filter refuses.

    In a session of its own it gets, where the kernel groups by session (`sched_autogroup_enabled`),
    its share of the processors by itself, however many threads another one has.
    """
    os.setsid()
    bounds = {
        resource.RLIMIT_DATA: limits.memory,
        resource.RLIMIT_AS: limits.addresses,
        resource.RLIMIT_FSIZE: limits.scratch,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    if _linux() >= COUNTED_BY_NAMESPACE:
        bounds[resource.RLIMIT_NPROC] = limits.threads + 1  # the supervisor too
    for bound, most in bounds.items():
        resource.setrlimit(bound, (most, most))
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    _checked(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    _checked(_libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")
    seccomp.install()


def _linux() -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])


def supervise(
    student: int, status: int, proc: int, limits: Limits, say: Callable[[dict], None]
) -> None:
    """Waits until the student's process ends, and reports how; or until `status` is closed.

    The first byte on `status` brings a descriptor of that process to the trusted side.

    It runs as process 1 of its namespace: when it returns and exits, all of them are killed.
    `proc` is a descriptor of a /proc in which the student's process is. Whatever uses more than
    `limits` in a way that no limit of the kernel's counts is killed.
    """
    handle = os.pidfd_open(student)
    with socket.socket(fileno=os.dup(status)) as stream:
        socket.send_fds(stream, [b"\n"], [handle])
    usage = os.open(f"{_number(handle, proc)}/status", os.O_RDONLY, dir_fd=proc)
    while not (ready := select.select([handle, status], [], [], LOOK_SECONDS)[0]):
        if _is_too_much(os.pread(usage, 1 << 16, 0), limits):
            os.kill(student, signal.SIGKILL)
    if handle in ready:
        _, ended = os.waitpid(student, 0)
        killed = os.WIFSIGNALED(ended)
        say(
            {"signal": os.WTERMSIG(ended)} if killed else {"exit": os.waitstatus_to_exitcode(ended)}
        )


def _number(handle: int, proc: int) -> int:
    """The number of a process in the namespace of `proc`."""
    about = os.open(f"self/fdinfo/{handle}", os.O_RDONLY, dir_fd=proc)
    with os.fdopen(about, "rb") as file:
        return _numbers(file.read(), [b"Pid"])[0]


def _is_too_much(usage: bytes, limits: Limits) -> bool:
    """Whether a process with this /proc/PID/status uses more than it may.

    Private data that is made read-only is not in the kernel's count, nor are threads that an
    account with the number 0 starts.
    """
    *kilobytes, threads = _numbers(usage, [b"RssAnon", b"RssShmem", b"VmSwap", b"Threads"])
    return sum(kilobytes) << 10 > limits.memory + 2 * limits.scratch or threads > limits.threads


def _numbers(text: bytes, names: Iterable[bytes]) -> list[int]:
    """The numbers that stand behind these names, each at the beginning of a line."""
    found = dict(re.findall(rb"^(\w+):\s+(-?\d+)", text, re.MULTILINE))
    return [int(found.get(name, 0)) for name in names]


def default_signals() -> None:
    """Signals do what they do in a fresh process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)


def _checked(result: int, what: str) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
