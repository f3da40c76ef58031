"""Examines one submission after another of a lesson: the answers run in the sandbox, we judge.

A process of the student's that ends, loops or fills the memory costs the answer it was in: what
has run is run again in a new process, without the cell that was fatal, and the rest goes on.
"""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from graders.card.failure import Cause, Finding
from graders.card.outcome import Outcome
from graders.card.sheet import Sheet
from graders.diagnosis.confirmation import UNCONFIRMED
from graders.errors import CourseError
from graders.grading import plan
from graders.grading.confirmation import Claim, ClaimedPlace, Confirmer, Processes, References
from graders.grading.plan import Step
from graders.judging.judge import Evaluation
from graders.judging.lesson_run import LessonRun, run_lesson
from graders.lesson.cells import Cell, Lesson
from graders.lesson.regions import HIDDEN
from graders.seam import protocol
from graders.seam.place import LocalPlace
from graders.seam.protocol import Error
from graders.seam.remote import RemotePlace, StudentProcess
from graders.seam.shell import Names, names_in
from graders.seam.subject import Subject, Unanswered

MOST_SIGNS = 20  # of tampering, for a submission
MOST_SECONDS = 1200.0  # for a submission, whatever it does
GRACE = 60.0  # seconds after which our own work on a submission is ended too
OUT_OF_TIME = Finding(
    Cause(
        "the submission ran past its time limit",
        "Look for cells that run long or end the process, the ones above this exercise too.",
    ),
    error=protocol.OUT_OF_TIME.type,
    limit=True,
)


@dataclass(frozen=True)
class Said:
    """What the cell of an exercise printed, and the error that it ended with."""

    printed: str = ""
    error: str = ""


@dataclass
class Examination:
    """All that was found out about a submission, by the names that nbgrader gives its cells."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)  # by check
    said: dict[str, Said] = field(default_factory=dict)  # by exercise
    signs: list[str] = field(default_factory=list)  # of tampering: for the instructor alone


class Broken(CourseError):
    """The lesson fails its own checks here: nothing can be said of anybody's answers."""


class Examiner:
    """Holds one lesson ready: at each check cell, what the checks know from the author's run."""

    def __init__(self, lesson: Lesson) -> None:
        """Runs the lesson with its solutions in this process, and judges them.

        That fills the cache of compiled programs, where JAX is configured with one.

        Raises:
            Broken: a solution fails its check.
        """
        self.lesson = lesson
        self.lesson_run = run_lesson(lesson, LocalPlace())
        failed = [
            lesson.cells[i].check for i, v in self.lesson_run.solutions.items() if not v.passed
        ]
        if failed:
            raise Broken(f"{lesson.name}: the solution of {failed[0]} fails its own check here")
        self.references = References(self.lesson_run)

    def examine(
        self,
        cells: Sequence[NotebookNode],
        processes: Processes,
        checks: AbstractSet[str] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Examination:
        """What `checks` say of the answers in these cells of a student's notebook; all if None.

        `files` are those handed in with it, by relative path. The answers' processes have them; the
        one that confirms what the answers claim has not.
        """
        restored = plan.restored_cells(self.lesson, cells)
        steps = plan.up_to(checks, plan.steps(self.lesson, restored))
        timed = _Timed(processes, time.monotonic() + MOST_SECONDS)
        confirmer = Confirmer(self.references, timed)
        try:
            return _Walk(self.lesson_run, timed, steps, confirmer, files or {}).run()
        finally:
            confirmer.close()


@dataclass(frozen=True)
class _Timed:
    """Processes for one submission: none of them is waited for past its end."""

    processes: Processes
    end: float

    def new_process(self) -> StudentProcess:
        process = self.processes.new_process()
        process.deadline = self.end
        return process

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.end


class _Walk:
    """One submission, walked through: at each check the visible part, and then all the hidden ones.

    Hidden tests come last, for what they hand in is known to the student's code from then on, and
    could come out through what a later cell prints or a later check shows.
    """

    def __init__(
        self,
        lesson_run: LessonRun,
        processes: _Timed,
        steps: list[Step],
        confirmer: Confirmer,
        files: Mapping[str, bytes],
    ) -> None:
        """`steps` are those that may have to run, `files` what lies beside the notebook."""
        self.lesson, self.lesson_run = lesson_run.lesson, lesson_run
        self.processes, self.steps, self.confirmer = processes, steps, confirmer
        self.files = files
        self.names: dict[int, Names] = {}  # by the step's index
        self.found = Examination()
        self.fatal: dict[int, Error] = {}  # by the step's index
        self.judged: dict[int, Evaluation] = {}  # by the check's index in the lesson
        self.claims: dict[int, list[Claim]] = {}  # likewise
        self.snapshots: dict[int, int] = {}  # numbers, by the check's index
        self.reached = -1  # the index of the last step that has been done

    def run(self) -> Examination:
        while not self._walked():
            if self.processes.is_over:
                self._give_up()
                break
        return self.found

    def _give_up(self) -> None:
        """What has no verdict by now gets none of its points."""
        for step in self.steps:
            if step.check and not self._is_judged(step.check):
                page = Sheet.of(step.check.source)
                page.begin("", str(step.check.check))
                page.fail(OUT_OF_TIME)
                self.found.outcomes[str(step.check.grade_id)] = page.outcome

    def _is_judged(self, check: Cell) -> bool:
        return check.index in self.judged and self.judged[check.index].is_over

    def _walked(self) -> bool:
        """Whether a process of the student's has come to the end; else the next one goes on."""
        with self.processes.new_process() as process:
            process.put(self.files)
            if not self._planned(process):
                return False
            place = _Place(process, self._lost_names())
            for step in self.steps:
                if step.index not in self.fatal:
                    self._take(step, place)
                if process.over:
                    self.reached = max(self.reached, step.index)
                    return False
            if not all(self._hidden(step.check, place) for step in self.steps if step.check):
                return False
            self._note("the process", place.replaced())
            return True

    def _planned(self, process: StudentProcess) -> bool:
        """Whether it is known which steps run; else the process has ended over a cell.

        Cells that a student has written are read in the student's process, before any of them runs.
        """
        missing = [step for step in self.steps if step.index not in self.names]
        own = plan.lessons_own(self.lesson) if missing else set()
        for step in missing:
            trusted = step.check or step.source in own
            place = RemotePlace(process)
            found = names_in(step.source) if trusted else place.names_in(step.source)
            self.names[step.index] = found
            if not trusted and step.index not in self.fatal:
                self._note(step.exercise or "a cell", place.reaches_for(step.source))
            if process.over:
                self.fatal[step.index] = process.over
                self.names[step.index] = frozenset(self._meant_to_bind(step)), frozenset()
                return False
        if missing:
            self.steps = plan.needed(self.lesson, self.steps, self.names)
        return True

    def _note(self, where: str, signs: list[str]) -> None:
        found = self.found.signs
        found += [sign for one in signs if (sign := f"{where}: {one}") not in found]
        del found[MOST_SIGNS:]

    def _meant_to_bind(self, step: Step) -> Collection[str]:
        exercise = self.lesson.exercises.get(step.exercise)
        return exercise.binds if exercise else ()

    def _lost_names(self) -> dict[str, Error]:
        """The names that fatal cells would have bound."""
        lost = (index for index in self.names if index in self.fatal)
        return {name: self.fatal[index] for index in lost for name in self.names[index][0]}

    def _take(self, step: Step, place: _Place) -> None:
        if step.check:
            self.snapshots[step.check.index] = place.snapshot()
            if step.index > self.reached:
                self._judge(step.check, place)
        else:
            error = place.run(step.source, f"<{self.lesson.name} {step.exercise or step.index}>")
            if step.exercise in self.lesson.exercises and step.index > self.reached:
                self.found.said[step.exercise] = Said(place.printed, _line(error))
            if error and "MemoryError" in error.bases:
                place.process.end(protocol.OUT_OF_MEMORY)  # its names may hold all there is
            if place.process.over:
                self.fatal[step.index] = place.process.over
        self.reached = max(self.reached, step.index)

    def _judge(self, check: Cell, place: _Place) -> None:
        self.judged[check.index] = self.lesson_run.evaluation(check, place)
        self._go_on(check, visible_part(check.source), place)

    def _hidden(self, check: Cell, place: _Place) -> bool:
        """Judges the hidden part; False where that has cost the process."""
        if self._is_judged(check):
            return True
        evaluation = self.judged[check.index]
        place.restore(self.snapshots[check.index])
        evaluation.move_to(place)
        self._go_on(check, hidden_part(check.source), place)
        return not place.process.over

    def _go_on(self, check: Cell, part: str, place: _Place) -> None:
        """Judges a part of a check; where all of it has passed, its claims must be confirmed."""
        evaluation, claims = self.judged[check.index], self.claims.setdefault(check.index, [])
        try:
            with ended_at(self.processes.end + GRACE):
                verdict = evaluation.go_on(part)
        except (CourseError, MemoryError, OSError):
            raise  # this machine's
        except Exception as error:
            verdict = evaluation.stop(error)
            self._note(str(check.check), [_where_it_stopped(error)])
        claims += place.taken()
        if verdict.passed and evaluation.is_over and not self.confirmer.hold(claims, place):
            verdict = evaluation.reject(UNCONFIRMED)
        if evaluation.is_over:
            self.found.outcomes[str(check.grade_id)] = verdict.outcome


class TooLong(Exception):
    """Our own work on what an answer has sent takes too long."""


@contextmanager
def ended_at(end: float) -> Iterator[None]:
    """Raises `TooLong` in this block at `end`, a time of `time.monotonic`.

    That is so in the main thread, where a worker judges. Work outside of Python is ended after it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(end - time.monotonic(), 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Place(ClaimedPlace):
    """A student's place in which some names are lost: their cells ended the process."""

    def __init__(self, process: Any, lost: dict[str, Error]) -> None:
        super().__init__(process)
        self.lost = lost

    def subject(self, name: str) -> Subject:
        return Unanswered(name, self.lost[name]) if name in self.lost else super().subject(name)


def visible_part(source: str) -> str:
    """A check cell without its hidden tests; the lines keep their numbers."""
    return _only(source, hidden=False)


def hidden_part(source: str) -> str:
    """The hidden tests of a check cell, on the lines where they stand."""
    return _only(source, hidden=True)


def _only(source: str, hidden: bool) -> str:
    numbers = HIDDEN.line_numbers(source)
    lines = enumerate(source.split("\n"), 1)
    return "\n".join(line if (number in numbers) == hidden else "" for number, line in lines)


def _where_it_stopped(error: Exception) -> str:
    """For the instructor, since a check should be able to judge whatever is sent to it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name} line {frame.lineno}"
    return f"its check stopped with {type(error).__name__} in {place}"


def _line(error: Error | None) -> str:
    return f"{error.type}: {error.message}".rstrip(": ") if error else ""
