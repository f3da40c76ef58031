"""Examines many submissions at once: a scheduler, and trusted worker processes, one lesson each.

A worker is given one submission after another of its lesson. If it dies, its submission is tried
once more by another worker. A submission that ran out of time for want of a processor is examined
once more in the end, when nothing else runs. All of them share one sandbox.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any

from graders.grading import forkserver, worker
from graders.grading.confirmation import Processes
from graders.grading.examiner import Broken, Examination
from graders.grading.submissions import Submission
from graders.grading.worker import NoSandbox
from graders.lesson.cells import Lesson
from graders.sandbox.process import Sandbox, Unavailable
from graders.values import compiling

PER_WORKER = 3  # submissions that are worth a further worker on the same lesson
TRIES = 2


@dataclass(frozen=True)
class Settings:
    """How a class is graded."""

    root: Path
    workers: int = os.cpu_count() or 1
    sandboxed: bool = True
    seconds: float = 120.0  # for each cell and each observation of an answer


@dataclass(frozen=True)
class Task:
    """A submission to be examined, by all checks of its lesson or by some."""

    submission: Submission
    checks: frozenset[str] | None = None


Found = Examination | str
"""What was found out, or why nothing was: the grading broke down."""


class _Worker:
    """The scheduler's handle on a worker process, which examines submissions of one lesson."""

    def __init__(self, lesson: Lesson, cache: Path, processes: Processes) -> None:
        self.lesson = lesson.name
        forkserver.start()
        self.pipe, theirs = forkserver.CONTEXT.Pipe()
        arguments = (lesson, cache, processes, theirs, compiling.flags())
        self.process = forkserver.CONTEXT.Process(target=_work, args=arguments, daemon=False)
        self.process.start()
        theirs.close()
        self.task: Task | None = None

    def give(self, task: Task) -> None:
        self.task = task
        self.pipe.send(task)

    def stop(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()


class Scheduler:
    """Hands out tasks, lesson by lesson, and collects what was found."""

    def __init__(
        self, settings: Settings, lessons: Mapping[str, Lesson], tasks: Sequence[Task]
    ) -> None:
        """Starts the sandbox and the workers; they prepare their lessons while the caller goes on.

        Close it to end them all, or use it in a `with` block.

        Raises:
            Unavailable: no sandbox can be made here.
        """
        self.settings, self.lessons = settings, lessons
        self.cache = settings.root / forkserver.COMPILED
        self.sandbox: Sandbox | None = None
        self.waiting: dict[str, deque[Task]] = {}
        for task in tasks:
            self.waiting.setdefault(task.submission.lesson, deque()).append(task)
        self.tries: dict[Task, int] = {}
        self.again: list[Task] = []  # when nothing else runs
        self.workers: list[_Worker] = []
        self.most = settings.workers  # at the same time
        if settings.sandboxed and tasks:
            named = [lessons[name] for name in sorted(self.waiting)]
            flags = compiling.flags()
            self.sandbox = worker.sandbox(named, self.cache, settings.seconds, flags)
        self._start_workers()

    def results(self) -> Iterator[tuple[Submission, Found]]:
        """The submission of each task with what was found, as they come.

        Raises:
            Unavailable: the sandbox cannot be made here after all.
        """
        if self.sandbox:
            self.sandbox.wait()
        yield from self._until_all_is_done()
        self.most = 1
        for task in self.again:
            self.waiting[task.submission.lesson].append(task)
        self._start_workers()
        yield from self._until_all_is_done()

    def _until_all_is_done(self) -> Iterator[tuple[Submission, Found]]:
        while self.workers:
            ready = connection.wait([one.pipe for one in self.workers])
            for one in [one for one in self.workers if one.pipe in ready]:
                yield from self._received_from(one)
            self._start_workers()

    def _start_workers(self) -> None:
        """Starts workers for the waiting tasks, at most as many as there may be."""
        while len(self.workers) < self.most and (lesson := self._next_lesson()):
            processes = self.sandbox.processes if self.sandbox else NoSandbox()
            self.workers.append(_Worker(self.lessons[lesson], self.cache, processes))

    def _next_lesson(self) -> str | None:
        """The lesson that a further worker helps most; None if it helps none.

        That is one with the fewest workers. Later lessons, whose answers take longer, come first:
        what is left for one worker alone in the end is short.
        """
        count = Counter(one.lesson for one in self.workers)
        short = [n for n, left in self.waiting.items() if len(left) > PER_WORKER * count[n]]
        return min(sorted(short, reverse=True), key=count.__getitem__, default=None)

    def _received_from(self, one: _Worker) -> Iterator[tuple[Submission, Found]]:
        try:
            message, task = one.pipe.recv(), one.task
        except (EOFError, OSError):
            yield from self._died(one)
            return
        if isinstance(message, Unavailable):
            raise message
        if self.sandbox and task is None:
            self.sandbox.show_programs()  # those of the lesson that has just been prepared
        left = self.waiting[one.lesson]
        if isinstance(message, Broken):
            yield from ((task.submission, str(message)) for task in left)
            left.clear()
        elif task is not None and message.starved and self.most > 1:
            self.again.append(task)
        elif task is not None:
            yield task.submission, message.found
        one.task = None
        if left:
            one.give(left.popleft())
        else:
            self._stop(one)

    def _died(self, one: _Worker) -> Iterator[tuple[Submission, Found]]:
        """Its submission waits again, unless that has ended too many workers."""
        self._stop(one)
        lost = one.task or (self.waiting[one.lesson] or [None])[0]
        if lost is None:
            return
        if one.task is None:
            self.waiting[one.lesson].popleft()
        self.tries[lost] = self.tries.get(lost, 0) + 1
        if self.tries[lost] < TRIES:
            self.waiting[one.lesson].appendleft(lost)
        else:
            yield lost.submission, f"the process that graded it died {TRIES} times"

    def _stop(self, one: _Worker) -> None:
        one.stop()
        self.workers.remove(one)

    def close(self) -> None:
        """Ends the workers and the sandbox."""
        for one in list(self.workers):
            self._stop(one)
        if self.sandbox:
            self.sandbox.close()

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# ---- in the worker process ----


def _work(lesson: Lesson, cache: Path, processes: Processes, pipe: Any, flags: str) -> None:
    """Sends "ready", and then for each submission what was found."""
    os.environ["XLA_FLAGS"] = flags
    try:
        prepared = worker.prepared(lesson, cache, processes)
        pipe.send("ready")
        for task in _tasks(pipe):
            pipe.send(prepared.examined(task.submission, task.checks))
    except (Broken, Unavailable) as error:
        pipe.send(error)
    except KeyboardInterrupt:
        return


def _tasks(pipe: Any) -> Iterable[Task]:
    while True:
        try:
            yield pipe.recv()
        except (EOFError, OSError):
            return
