"""Runs a lesson with its solutions, and tries other answers in the place of a solution.

The lesson runs once. At each exercise the student's place is kept, and for each entry of wrong.py
and right.py a branch of it runs the entry in the solution's stead and is judged by the exercise's
own checks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from graders.judging.judge import Evaluation, Verdict
from graders.lesson.cells import Cell, Entry, Lesson
from graders.lesson.demonstrations import needed_by_entries
from graders.lesson.problems import Problem
from graders.seam.place import LocalPlace, Place
from graders.seam.protocol import Error


@dataclass(frozen=True)
class Trial:
    """One entry and what each check of its exercise said; `error` if the entry did not run."""

    entry: Entry
    verdicts: tuple[Verdict, ...] = ()
    error: Error | None = None

    @property
    def words(self) -> list[str]:
        """All that the checks said, for comparing two places with each other."""
        return [words_of(verdict) for verdict in self.verdicts] + (
            [str(self.error)] * bool(self.error)
        )


def words_of(verdict: Verdict) -> str:
    """All that a check said, for comparing two places with each other."""
    failure = verdict.failure
    if failure is None:
        return "passed"
    parts = (
        verdict.failed_at,
        failure.diagnosis,
        failure.expected,
        failure.got,
        failure.at,
        failure.line,
    )
    return " | ".join(str(part) for part in (*parts, failure.next_step))


@dataclass
class LessonRun:
    """A lesson that has been run: the student's place before each exercise, ours at each check."""

    lesson: Lesson
    cells: list[Cell] = field(default_factory=list)  # that run in the student's place
    places: dict[str, Place] = field(default_factory=dict)
    namespaces: dict[int, dict[str, Any]] = field(default_factory=dict)
    solutions: dict[int, Verdict] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    memories: dict[int, dict[int, Any]] = field(default_factory=dict)  # of sheets, by check

    def evaluation(self, check: Cell, place: Place) -> Evaluation:
        """The check cell, about to be evaluated on the answers in `place`."""
        return Evaluation(
            check.source,
            self.namespaces[check.index],
            self.lesson.exercises[str(check.check)].binds,
            place,
            filename(self.lesson, check),
            self.memories.setdefault(check.index, {}),
        )

    def checks_of(self, exercise: str) -> list[Cell]:
        return [cell for cell in self.lesson.checks if cell.check == exercise]

    def between(self, exercise: Cell, check: Cell) -> list[Cell]:
        span = range(exercise.index + 1, check.index)
        return [cell for cell in self.cells if cell.index in span and cell.is_given]


def filename(lesson: Lesson, cell: Cell) -> str:
    return f"<{lesson.name} {cell.id}>"


def run_lesson(lesson: Lesson, student: Place) -> LessonRun:
    """Runs the lesson with its solutions, in `student` and on the trusted side.

    Demonstrations are left out, but for those whose names an entry of the lesson reads.
    """
    lesson_run, trusted = LessonRun(lesson, needed_by_entries(lesson)), LocalPlace()
    for cell in lesson_run.cells:
        if cell.check:
            lesson_run.namespaces[cell.index] = dict(trusted.namespace)
            lesson_run.solutions[cell.index] = judge_cell(lesson_run, cell, student)
            continue
        if cell.exercise:
            lesson_run.places[cell.exercise] = student.branch()
        run_cell(lesson_run, cell, trusted)
        run_cell(lesson_run, cell, student)
    return lesson_run


def run_cell(lesson_run: LessonRun, cell: Cell, place: Place) -> None:
    """Runs a cell as the lesson has it; one that raises untagged is a problem."""
    error = place.run(cell.source, filename(lesson_run.lesson, cell))
    if error and "raises-exception" not in cell.tags:
        what = f"the cell raises {error.type}: {error.message[:200]}"
        path = lesson_run.lesson.path / "lesson.py"
        lesson_run.problems.append(Problem(path, cell.line, what, "make it run, or tag it"))


def judge_cell(lesson_run: LessonRun, check: Cell, place: Place) -> Verdict:
    """The verdict of a check cell on the answers in `place`."""
    return lesson_run.evaluation(check, place).go_on(check.source)


def try_entry(lesson_run: LessonRun, entry: Entry) -> Trial:
    """Runs the entry in a branch, and judges it."""
    exercise = lesson_run.lesson.exercises[entry.exercise]
    place = lesson_run.places[entry.exercise].branch()
    error = place.run(entry.source, f"<{entry.path.name} line {entry.line}>")
    verdicts, ran = [], exercise
    for check in lesson_run.checks_of(entry.exercise):
        for cell in lesson_run.between(ran, check):
            place.run(cell.source, filename(lesson_run.lesson, cell))
        verdicts.append(judge_cell(lesson_run, check, place))
        ran = check
    return Trial(entry, tuple(verdicts), error)
