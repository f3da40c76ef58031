"""A filter for system calls: a student's process starts, mounts and traces nothing, calls nobody.

It reaches no network, and nothing by which two processes could talk that read the same files:
locks, leases, watches, futexes that are shared. Locks are granted and do nothing, so that libraries
go on that lock the files that they write: nobody else has these files. It makes nothing that takes
the kernel's own memory and that no limit counts, or that counts towards one limit of the whole
machine or account: semaphores, message queues, asynchronous I/O, large pipes, more filters.

The filter is a program of the kernel's classic BPF (seccomp(2), `SECCOMP_SET_MODE_FILTER`). The
numbers are those of the kernel's headers: asm/unistd_64.h for x86-64, asm-generic/unistd.h for
arm64, asm-generic/fcntl.h, linux/futex.h and asm-generic/mman-common.h for arguments.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Iterator
from typing import NamedTuple

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NOTHING_DONE = 0  # the call is not made, and the caller is told that it has succeeded
X32 = 0x40000000  # calls of the x32 ABI have this bit: the same calls by other numbers
LOAD, MASK, EQUAL, AT_LEAST, RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
NUMBER_AT, ARCHITECTURE_AT, ARGUMENTS_AT = 0, 4, 16

# Calls that are refused, and what the caller is told, where that is not "not permitted". Newer
# calls have one number everywhere.
EVERYWHERE = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "clone3": 435, "pidfd_getfd": 438, "mount_setattr": 442, "landlock_create_ruleset": 444,
    "memfd_secret": 447, "futex_waitv": 449, "futex_wake": 454, "futex_wait": 455,
    "futex_requeue": 456,
}  # fmt: skip
X86_64 = {
    "shmget": 29, "socket": 41, "fork": 57, "vfork": 58, "execve": 59, "semget": 64, "msgget": 68,
    "flock": 73, "ptrace": 101, "pivot_root": 155, "chroot": 161, "mount": 165, "umount2": 166,
    "io_setup": 206, "mq_open": 240, "add_key": 248, "request_key": 249, "keyctl": 250,
    "inotify_init": 253, "unshare": 272, "vmsplice": 278, "inotify_init1": 294,
    "perf_event_open": 298, "fanotify_init": 300, "setns": 308, "process_vm_readv": 310,
    "process_vm_writev": 311, "kcmp": 312, "seccomp": 317, "memfd_create": 319, "bpf": 321,
    "execveat": 322, "userfaultfd": 323,
}  # fmt: skip
ARM64 = {
    "io_setup": 0, "inotify_init1": 26, "flock": 32, "umount2": 39, "mount": 40, "pivot_root": 41,
    "chroot": 51, "vmsplice": 75, "unshare": 97, "ptrace": 117, "mq_open": 180, "msgget": 186,
    "semget": 190, "shmget": 194, "socket": 198, "add_key": 217, "request_key": 218, "keyctl": 219,
    "execve": 221, "perf_event_open": 241, "fanotify_init": 262, "setns": 268,
    "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272, "seccomp": 277,
    "memfd_create": 279, "bpf": 280, "execveat": 281, "userfaultfd": 282,
}  # fmt: skip
TOLD = {
    "clone3": errno.ENOSYS,  # its flags lie in memory; libc then uses clone
    "flock": NOTHING_DONE,
    "socket": errno.EAFNOSUPPORT,
    **dict.fromkeys(("futex_waitv", "futex_wake", "futex_wait", "futex_requeue"), errno.ENOSYS),
}


class Rule(NamedTuple):
    """A call is refused where one of its arguments, under a mask, has this value."""

    call: str
    argument: int
    mask: int
    value: int
    told: int


CLONE_THREAD, FUTEX_PRIVATE, WHOLE = 0x00010000, 128, 0xFFFFFFFF
MAP_SHARED, MAP_ANONYMOUS, MAP_GROWSDOWN = 0x01, 0x20, 0x100
F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW = 6, 7, 37, 38
F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ = 1024, 1026, 1031
RULES = (
    Rule("clone", 0, CLONE_THREAD, 0, errno.EPERM),  # of a process; not of a thread
    *(
        Rule("fcntl", 1, WHOLE, command, NOTHING_DONE)
        for command in (F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW)
    ),
    *(
        Rule("fcntl", 1, WHOLE, command, errno.EPERM)
        for command in (F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ)
    ),
    Rule("prctl", 0, WHOLE, PR_SET_SECCOMP, errno.EPERM),  # each filter takes memory
    # One that lies in a file is shared by all who read the file. Whoever is told that it has woken
    # up looks at the value, and waits again: libc, when it joins a thread, and C++'s futures.
    Rule("futex", 1, FUTEX_PRIVATE, 0, NOTHING_DONE),
    # Memory that the limit on private data does not count.
    Rule("mmap", 3, MAP_SHARED | MAP_ANONYMOUS, MAP_SHARED | MAP_ANONYMOUS, errno.ENOMEM),
    Rule("mmap", 3, MAP_GROWSDOWN, MAP_GROWSDOWN, errno.ENOMEM),
)
# The machine's name, its number in the kernel's audit, calls that RULES look into, refused calls.
MACHINES = {
    "x86_64": (
        0xC000003E,
        {"mmap": 9, "clone": 56, "fcntl": 72, "prctl": 157, "futex": 202},
        X86_64 | EVERYWHERE,
    ),
    "aarch64": (
        0xC00000B7,
        {"fcntl": 25, "futex": 98, "prctl": 167, "clone": 220, "mmap": 222},
        ARM64 | EVERYWHERE,
    ),
}


class Unknown(Exception):
    """The numbers of this machine's system calls are not known here."""


def install() -> None:
    """From now on this thread and those that it starts have the filter; nothing takes it off.

    Raises:
        Unknown: for another machine than x86-64 and arm64.
        OSError: the kernel knows no such filters.
    """
    code = program(platform.machine())
    buffer = ctypes.create_string_buffer(code, len(code))
    described = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, described)


def program(machine: str) -> bytes:
    """The filter's instructions, eight bytes each."""
    if machine not in MACHINES:
        raise Unknown(f"system calls of {machine} are not known")
    return b"".join(struct.pack("HBBI", *one) for one in _instructions(*MACHINES[machine]))


def _instructions(
    architecture: int, looked_into: dict[str, int], refused: dict[str, int]
) -> Iterator[tuple[int, int, int, int]]:
    """Code, steps over where true, steps over where false, operand."""
    yield LOAD, 0, 0, ARCHITECTURE_AT
    yield EQUAL, 1, 0, architecture
    yield RETURN, 0, 0, KILL
    yield LOAD, 0, 0, NUMBER_AT
    yield AT_LEAST, 0, 1, X32
    yield RETURN, 0, 0, ERRNO | errno.ENOSYS
    for name, number in sorted(refused.items()):
        yield EQUAL, 0, 1, number
        yield RETURN, 0, 0, ERRNO | TOLD.get(name, errno.EPERM)
    for rule in RULES:
        yield EQUAL, 0, 5, looked_into[rule.call]
        yield LOAD, 0, 0, ARGUMENTS_AT + 8 * rule.argument  # its lower half: both are little-endian
        yield MASK, 0, 0, rule.mask
        yield EQUAL, 0, 1, rule.value
        yield RETURN, 0, 0, ERRNO | rule.told
        yield LOAD, 0, 0, NUMBER_AT
    yield RETURN, 0, 0, ALLOW


def _prctl(option: int, value: int, pointer: bytes | int = 0) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), pointer, 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel refuses a filter for system calls")
