"""Examines many submissions at once: workers that hold a lesson each, and one that leads them.

A worker is a trusted process. It is given one submission after another of its lesson; where it
dies, its submission is tried once more by another one. All of them share one sandbox.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any

from graders import compiling
from graders.author.cells import Lesson
from graders.classroom.submissions import Submission
from graders.grading import staff, workplace
from graders.grading.confirmation import Processes
from graders.grading.examiner import Broken, Examination
from graders.grading.workplace import NoSandbox
from graders.sandbox.process import Sandbox, Unavailable

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


def examinations(
    settings: Settings, lessons: Mapping[str, Lesson], tasks: Sequence[Task]
) -> Generator[tuple[Submission, Found]]:
    """The submission of each task with what was found, as they come; close it to end them all.

    The workers are started at once, and prepare their lessons while the caller goes on.

    Raises:
        Unavailable: no sandbox is to be had here; it may be raised when results are asked for.
    """
    results = _started(_Leader(settings, lessons, tasks))
    next(results)
    return results


def _started(leader: _Leader) -> Generator[Any]:
    """Nothing, once workers are at work; then the results."""
    with closing(leader):
        leader.staff()
        yield None
        yield from leader.results()


class _Worker:
    """A process that examines submissions of one lesson."""

    def __init__(self, lesson: Lesson, cache: Path, processes: Processes) -> None:
        self.lesson = lesson.name
        self.pipe, theirs = staff.CONTEXT.Pipe()
        arguments = (lesson, cache, processes, theirs, compiling.flags())
        self.process = staff.CONTEXT.Process(target=_work, args=arguments, daemon=False)
        self.process.start()
        theirs.close()
        self.holds: Task | None = None

    def give(self, task: Task) -> None:
        self.holds = task
        self.pipe.send(task)

    def stop(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()


class _Leader:
    """Hands out tasks, lesson by lesson, and collects what was found."""

    def __init__(
        self, settings: Settings, lessons: Mapping[str, Lesson], tasks: Sequence[Task]
    ) -> None:
        self.settings, self.lessons, self.cache = settings, lessons, settings.root / staff.COMPILED
        self.sandbox: Sandbox | None = None
        self.waiting: dict[str, deque[Task]] = {}
        for task in tasks:
            self.waiting.setdefault(task.submission.lesson, deque()).append(task)
        self.tries: dict[Task, int] = {}
        self.workers: list[_Worker] = []
        if settings.sandboxed and tasks:
            named = [lessons[name] for name in sorted(self.waiting)]
            self.sandbox = workplace.sandbox(named, self.cache, settings.seconds, compiling.flags())

    def results(self) -> Iterator[tuple[Submission, Found]]:
        if self.sandbox:
            self.sandbox.wait()
        while self.staff():
            ready = connection.wait([worker.pipe for worker in self.workers])
            for worker in [worker for worker in self.workers if worker.pipe in ready]:
                yield from self._heard(worker)

    def staff(self) -> list[_Worker]:
        """Workers for what waits, at most as many as there may be; those at work."""
        while len(self.workers) < self.settings.workers and (lesson := self._most_in_need()):
            self.workers.append(self._hired(self.lessons[lesson]))
        return self.workers

    def _hired(self, lesson: Lesson) -> _Worker:
        processes = self.sandbox.door if self.sandbox else NoSandbox()
        return _Worker(lesson, self.cache, processes)

    def _most_in_need(self) -> str | None:
        """The lesson that a further worker helps most; None if it helps none.

        That is one at which fewest are at work. Later lessons, whose answers take longer, come
        first: what is left for one worker alone in the end is short.
        """
        at_work = Counter(worker.lesson for worker in self.workers)
        in_need = [n for n, left in self.waiting.items() if len(left) > PER_WORKER * at_work[n]]
        return min(sorted(in_need, reverse=True), key=at_work.__getitem__, default=None)

    def _heard(self, worker: _Worker) -> Iterator[tuple[Submission, Found]]:
        try:
            said, held = worker.pipe.recv(), worker.holds
        except (EOFError, OSError):
            yield from self._lost(worker)
            return
        if isinstance(said, Unavailable):
            raise said
        left = self.waiting[worker.lesson]
        if isinstance(said, Broken):
            yield from ((task.submission, str(said)) for task in left)
            left.clear()
        elif held is not None:
            yield held.submission, said
        worker.holds = None
        if left:
            worker.give(left.popleft())
        else:
            self._dismiss(worker)

    def _lost(self, worker: _Worker) -> Iterator[tuple[Submission, Found]]:
        """Its submission waits again, or has been the end of too many workers."""
        self._dismiss(worker)
        lost = worker.holds or (self.waiting[worker.lesson] or [None])[0]
        if lost is None:
            return
        if worker.holds is None:
            self.waiting[worker.lesson].popleft()
        self.tries[lost] = self.tries.get(lost, 0) + 1
        if self.tries[lost] < TRIES:
            self.waiting[worker.lesson].appendleft(lost)
        else:
            yield lost.submission, "its grading ended twice without a word"

    def _dismiss(self, worker: _Worker) -> None:
        worker.stop()
        self.workers.remove(worker)

    def close(self) -> None:
        for worker in list(self.workers):
            self._dismiss(worker)
        if self.sandbox:
            self.sandbox.close()


# ---- in the worker ----


def _work(lesson: Lesson, cache: Path, processes: Processes, pipe: Any, flags: str) -> None:
    """Says that it is ready, and then for each submission what was found."""
    os.environ["XLA_FLAGS"] = flags
    try:
        place = workplace.prepared(lesson, cache, processes)
        pipe.send("ready")
        for task in _received(pipe):
            pipe.send(place.examined(task.submission, task.checks))
    except (Broken, Unavailable) as error:
        pipe.send(error)
    except KeyboardInterrupt:
        return


def _received(pipe: Any) -> Iterable[Task]:
    while True:
        try:
            yield pipe.recv()
        except (EOFError, OSError):
            return
