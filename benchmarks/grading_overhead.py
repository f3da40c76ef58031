"""Where the time of grading goes: into the student's own computation, or into what we do beside it.

    python benchmarks/grading_overhead.py [--submissions 4] [LESSON ...]

One worker examines some submissions of each lesson in the sandbox, one after the other, as
`class_throughput.py` draws them. The floor is the time in which a student's process works: running
cells and observing answers. What stands beside it: judging, oracles, pickling, new processes.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from statistics import mean

from class_throughput import LESSONS, ROOT, drawn, print_speed_ups

from graders.grading import worker
from graders.grading.engine import Settings
from graders.lesson.source import read_lesson
from graders.sandbox.process import SandboxedProcess
from graders.values.compiling import flags


class Clock:
    """How long the students' processes have worked."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, exchange: Callable[..., bytes]) -> Callable[..., bytes]:
        def exchanged(process: SandboxedProcess, body: bytes) -> bytes:
            begun = time.perf_counter()
            try:
                return exchange(process, body)
            finally:
                self.seconds += time.perf_counter() - begun

        return exchanged


@contextmanager
def watched() -> Iterator[Clock]:
    clock, before = Clock(), SandboxedProcess.exchange
    SandboxedProcess.exchange = clock.timed(before)
    try:
        yield clock
    finally:
        SandboxedProcess.exchange = before


def seconds(name: str, submissions: int, cache: Path) -> tuple[float, float]:
    """For a submission: all, and the part that its processes work."""
    lesson = read_lesson(ROOT / "solutions" / name)
    flags, limit = os.environ["XLA_FLAGS"], Settings(ROOT).seconds
    with worker.sandbox([lesson], cache, limit, flags) as sandbox, watched() as clock:
        place = worker.prepared(lesson, cache, sandbox.processes)
        cells = [drawn(lesson, number).notebook.cells for number in range(submissions)]
        place.examiner.examine(cells[0], place.processes)  # oracles are compiled
        clock.seconds, begun = 0.0, time.perf_counter()
        for one in cells:
            place.examiner.examine(one, place.processes)
        return (time.perf_counter() - begun) / submissions, clock.seconds / submissions


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--submissions", type=int, default=4)
    arguments.add_argument("lessons", nargs="*", default=LESSONS, metavar="LESSON")
    asked = arguments.parse_args()
    print_speed_ups()
    os.environ["XLA_FLAGS"] = flags()
    found = []
    print(f"{'lesson':18} {'ratio':>6}  seconds for a submission: all, in the student's process")
    alone = ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1)
    with tempfile.TemporaryDirectory() as cache, alone:
        for name in asked.lessons:
            whole, floor = alone.submit(seconds, name, asked.submissions, Path(cache)).result()
            found.append((whole, floor))
            print(f"{name:18} {whole / floor:6.2f}  {whole:6.2f} {floor:6.2f}", flush=True)
    whole, floor = map(mean, zip(*found, strict=True))
    print(f"{'all':18} {whole / floor:6.2f}  {whole:6.2f} {floor:6.2f}")


if __name__ == "__main__":
    main()
