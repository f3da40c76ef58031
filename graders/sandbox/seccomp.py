"""A filter for system calls: a student's process starts no other one, and mounts or traces nothing.

The filter is a program of the kernel's classic BPF (seccomp(2), `SECCOMP_SET_MODE_FILTER`). The
numbers are those of the kernel's headers: asm/unistd_64.h for x86-64, asm-generic/unistd.h for
arm64.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Iterator

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
CLONE_THREAD = 0x00010000
X32 = 0x40000000  # calls of the x32 ABI have this bit: the same calls by other numbers
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER_AT, ARCHITECTURE_AT, FIRST_ARGUMENT_AT = 0, 4, 16

# Newer calls have one number everywhere.
EVERYWHERE = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "mount_setattr": 442,
}  # fmt: skip
X86_64 = {
    "shmget": 29, "fork": 57, "vfork": 58, "execve": 59, "ptrace": 101, "pivot_root": 155,
    "chroot": 161, "mount": 165, "umount2": 166, "add_key": 248, "request_key": 249,
    "keyctl": 250, "unshare": 272, "perf_event_open": 298, "setns": 308, "process_vm_readv": 310,
    "process_vm_writev": 311, "kcmp": 312, "memfd_create": 319, "bpf": 321, "execveat": 322,
    "userfaultfd": 323,
}  # fmt: skip
ARM64 = {
    "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51, "unshare": 97, "ptrace": 117,
    "shmget": 194, "add_key": 217, "request_key": 218, "keyctl": 219, "execve": 221,
    "perf_event_open": 241, "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271,
    "kcmp": 272, "memfd_create": 279, "bpf": 280, "execveat": 281, "userfaultfd": 282,
}  # fmt: skip
CLONE3 = 435
# The machine's name, its number in the kernel's audit, its number of `clone`, what is refused.
MACHINES = {
    "x86_64": (0xC000003E, 56, X86_64 | EVERYWHERE),
    "aarch64": (0xC00000B7, 220, ARM64 | EVERYWHERE),
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
    architecture: int, clone: int, refused: dict[str, int]
) -> Iterator[tuple[int, int, int, int]]:
    """Code, steps over where true, steps over where false, operand."""
    yield LOAD, 0, 0, ARCHITECTURE_AT
    yield EQUAL, 1, 0, architecture
    yield RETURN, 0, 0, KILL
    yield LOAD, 0, 0, NUMBER_AT
    yield from _answer(AT_LEAST, X32, errno.ENOSYS)
    yield from _answer(EQUAL, CLONE3, errno.ENOSYS)  # its flags lie in memory; libc then uses clone
    for number in sorted(refused.values()):
        yield from _answer(EQUAL, number, errno.EPERM)
    yield EQUAL, 0, 3, clone  # of a thread; not of a process
    yield LOAD, 0, 0, FIRST_ARGUMENT_AT
    yield ANY_BIT, 1, 0, CLONE_THREAD
    yield RETURN, 0, 0, ERRNO | errno.EPERM
    yield RETURN, 0, 0, ALLOW


def _answer(test: int, operand: int, error: int) -> Iterator[tuple[int, int, int, int]]:
    yield test, 0, 1, operand
    yield RETURN, 0, 0, ERRNO | error


def _prctl(option: int, value: int, pointer: bytes | int = 0) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), pointer, 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel refuses a filter for system calls")
