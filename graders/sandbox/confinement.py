"""How a student's process is confined by itself, inside the sandbox that bubblewrap has made.

Siblings share that sandbox, so each gets namespaces of its own (user, processes, mounts, IPC), its
own scratch folders, a /proc without processes, limits, no capabilities and a filter for system
calls. Its process number 1 is a supervisor of ours: when that one ends, all of them end.

This module needs Linux at its import: `zygote` alone imports it, which runs in the sandbox.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
from collections.abc import Callable
from pathlib import Path

from graders.sandbox import seccomp
from graders.sandbox.limits import SCRATCH, Limits

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x8000000, 0x10000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_READ_ONLY, MS_REMOUNT = 1, 32
CAPABILITY_VERSION_3 = 0x20080522
PR_SET_DUMPABLE = 4
SHOWN_OF_PROC = ("cpuinfo", "meminfo")  # XLA reads them

_libc = ctypes.CDLL(None, use_errno=True)


def new_namespaces() -> None:
    """From now on users, mounts and IPC are this process's own; its first child is number 1.

    Raises:
        OSError: the kernel, or the container around, forbids it.
    """
    user, group = os.getuid(), os.getgid()
    flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC
    _checked(_libc.unshare(flags), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def new_folders(limits: Limits) -> None:
    """Scratch folders of this process's own, limited in size, and a /proc without processes."""
    proc = {name: Path("/proc", name).read_bytes() for name in SHOWN_OF_PROC}
    Path("/proc/self/oom_score_adj").write_text("1000")  # before anything else of the machine
    for folder in (SCRATCH, "/dev/shm"):
        _mount_tmpfs(folder, f"size={limits.scratch},nr_inodes=4096,mode=0700")
    _mount_tmpfs("/proc", "size=1m,nr_inodes=64,mode=0755")
    for name, content in proc.items():
        Path("/proc", name).write_bytes(content)
    flags = MS_REMOUNT | MS_READ_ONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
    _checked(_libc.mount(b"none", b"/proc", b"tmpfs", flags, b"size=1m"), "/proc")


def _mount_tmpfs(folder: str, options: str) -> None:
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    _checked(_libc.mount(b"tmpfs", folder.encode(), b"tmpfs", flags, options.encode()), folder)


def give_up(limits: Limits) -> None:
    """Limits, no capabilities, no other process to look at, no call that the filter refuses."""
    bounds = {
        resource.RLIMIT_DATA: limits.memory,
        resource.RLIMIT_AS: limits.addresses,
        resource.RLIMIT_FSIZE: limits.scratch,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    for bound, most in bounds.items():
        resource.setrlimit(bound, (most, most))
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    _checked(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")
    _checked(_libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")
    seccomp.install()


def supervise(student: int, status: int, say: Callable[[dict], None]) -> None:
    """Waits until the student's process ends, and reports how; or until `status` is closed.

    It runs as process 1 of its namespace: when it returns and exits, all of them are killed.
    """
    handle = os.pidfd_open(student)
    ready, _, _ = select.select([handle, status], [], [])
    if handle in ready:
        _, ended = os.waitpid(student, 0)
        killed = os.WIFSIGNALED(ended)
        say(
            {"signal": os.WTERMSIG(ended)} if killed else {"exit": os.waitstatus_to_exitcode(ended)}
        )


def default_signals() -> None:
    """Signals do what they do in a fresh process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)


def _checked(result: int, what: str) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
