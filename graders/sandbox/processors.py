"""How much of the processors a process has had, by its number: this side of the sandbox asks."""

from __future__ import annotations

import time
from pathlib import Path

ENOUGH = 0.9  # of its time limit: a loop without end has as much, even beside other processes
_CPU_CLOCK = 2  # CPUCLOCK_SCHED of the kernel's posix-timers.h: of all threads of a process


def used_by(number: int) -> float:
    """The seconds that all of its threads have run; 0 where there is no such process."""
    try:
        return time.clock_gettime((~number << 3) | _CPU_CLOCK)
    except OSError:
        return 0.0


def waited_for_by(number: int) -> float:
    """The seconds that its threads could have run, and had no processor; endless if unknown."""
    files = Path(f"/proc/{number}/task").glob("*/schedstat")
    try:
        return sum(int(file.read_bytes().split()[1]) for file in files) / 1e9
    except (OSError, IndexError):  # a kernel without these numbers, or a thread that has ended
        return float("inf")


def starved(used: float, waited: float, limit: float) -> bool:
    """Whether a process that has run past its `limit` may have done so for want of a processor.

    One that has slept, or waited for what never comes, has not: it was not kept from running.
    """
    return used < ENOUGH * limit and waited > (1 - ENOUGH) * limit
