"""`jax-course mutate`: makes wrong and right answers from the solutions, and runs the checks.

A wrong answer that passes and is not equivalent to the solution survives. A right answer that is
rejected and is equivalent to the solution is refused. Both are defects of a check, unless the
lesson's `mutants.toml` lists them with a reason.
"""

from __future__ import annotations

import difflib
import logging
import multiprocessing
import os
import random
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from graders.author.build import read_lessons
from graders.author.mutation import named
from graders.author.mutation.behaviour import behaviour_mutants
from graders.author.mutation.equivalence import Reference
from graders.author.mutation.listed import Listed, read_listed
from graders.author.mutation.mutant import Mutant
from graders.author.mutation.recording import requests_of
from graders.author.mutation.rewritings import rewritings
from graders.author.mutation.source import mutations
from graders.author.verify import settings_of_runs
from graders.errors import CourseError
from graders.judging.lesson_run import LessonRun, run_lesson, try_entry
from graders.lesson.cells import Cell, Entry, Lesson
from graders.lesson.regions import SOLUTION, without_marks
from graders.lesson.source import read_lesson
from graders.root import course_root
from graders.seam.place import LocalPlace

Verdict = Literal[  # "other": neither right nor wrong by the measure of the solution
    "rejected", "equivalent", "listed", "surviving", "timeout", "accepted", "refused", "other"
]
KNOWN: dict[str, str] = {
    "rounded to bfloat16": "precision is lost",
    "argument rounded to bfloat16": "precision is lost",
    "remembered by shape": "the same answer for every input",
    "argument frozen": "the same answer for every input",
}
"""Kinds of mutants with a cause that is true by construction, whatever other inputs show."""
DEFECTS = ("surviving", "refused")
OF_EACH_RIGHT = 4  # mutants
LIMIT = 20.0  # CPU seconds for one mutant; one that needs more has an endless loop
WAIT = 300.0  # seconds for one mutant that waits for something, on however loaded a machine
START = 600.0  # and for a lesson to run with its solutions
COLUMNS = ("made", "rejected", "timeout", "equivalent", "listed", "surviving", "right", "refused")


@dataclass(frozen=True)
class Tried:
    """A mutant and what became of it."""

    mutant: Mutant
    verdict: Verdict
    words: str = ""  # of the diagnosis, or how a survivor differs from the solution
    cause: str = ""  # of wrong values, that was named
    true: bool | None = None  # whether it holds on other inputs; None if they do not tell


@dataclass(frozen=True)
class Task:
    """Which mutants of a lesson are tried."""

    folder: Path
    exercises: tuple[str, ...] = ()  # all of them if empty
    count: int = 0  # so many of them, drawn at random; all if 0
    seed: int = 0
    limit: float = LIMIT  # CPU seconds for each

    def chosen(self, mutants: Sequence[Mutant]) -> list[int]:
        wanted = [i for i, m in enumerate(mutants) if m.exercise in (self.exercises or m.exercise)]
        if 0 < self.count < len(wanted):
            wanted = sorted(random.Random(self.seed).sample(wanted, self.count))
        return wanted


def main(
    names: Sequence[str] = (), count: int = 0, seed: int = 0, exercises: Sequence[str] = ()
) -> int:
    """Prints a table by exercise, and every defect with its code; 1 if there is one.

    Args:
        names: lessons; all of them if left out.
        count: how many mutants of each lesson, drawn at random; all of them if 0.
        seed: of the draw.
        exercises: only these; all of them if left out.

    Raises:
        CourseError: a lesson or an exercise has another name.
    """
    root, begun = course_root(), time.monotonic()
    os.environ.update(settings_of_runs(root))
    console = Console(width=None if Console().is_terminal else 110)
    lessons = read_lessons(root, names)
    unknown = set(exercises).difference(*(lesson.exercises for lesson in lessons))
    if unknown:
        names_of_all = sorted({name for lesson in lessons for name in lesson.exercises})
        close = difflib.get_close_matches(min(unknown), names_of_all, n=1)
        meant = f" Did you mean {close[0]}?" if close else ""
        raise CourseError(f"There is no exercise {min(unknown)} in these lessons.{meant}")
    tasks = [Task(lesson.path, tuple(exercises), count, seed) for lesson in lessons]
    found: list[tuple[str, Tried]] = []
    stale: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each thread waits for a process of its own
        longest_first = sorted(tasks, key=_size, reverse=True)
        running = {pool.submit(_of_lesson, task): task for task in longest_first}
        for done in as_completed(running):
            name = running[done].folder.name
            console.print(f"{name}: {len(done.result())} answers tried")
    for done, task in sorted(running.items(), key=lambda item: item[1].folder):
        tried = done.result()
        found += [(task.folder.name, one) for one in tried]
        if not count and not exercises:
            listed = read_listed(task.folder)
            stale += [f"{listed.path}: {name}" for name in listed.stale([t.mutant for t in tried])]
    for lesson, one in found:
        if one.verdict in DEFECTS:
            _show(console, lesson, one)
    for lesson, one in found:
        if one.true is False:
            words = f"{lesson} {one.mutant.name}: told {one.words!r}, which other inputs refute"
            console.print(words, markup=False, highlight=False)
    for entry in stale:
        console.print(f"names no mutant: {entry}", style="red", markup=False, highlight=False)
    console.print(_table(found))
    console.print(_causes(found))
    console.print(f"{len(found)} answers in {time.monotonic() - begun:.0f} s")
    return int(bool(stale) or any(one.verdict in DEFECTS for _, one in found))


def _size(task: Task) -> int:
    return (task.folder / "lesson.py").stat().st_size


def _show(console: Console, lesson: str, one: Tried) -> None:
    what = "passes, and is wrong" if one.verdict == "surviving" else "is rejected, and is right"
    title = f"\n{lesson} {one.mutant.name}: {what}"
    console.print(title, style="red", markup=False, highlight=False)
    console.print(f"  {one.words}", markup=False, highlight=False)


def _table(found: Iterable[tuple[str, Tried]]) -> Table:
    table = Table("lesson", "exercise", *COLUMNS)
    rows: dict[tuple[str, str], Counter] = {}
    for lesson, one in found:
        rows.setdefault((lesson, one.mutant.exercise), Counter()).update(_columns(one))
    for (lesson, exercise), count in rows.items():
        style = "red" if count["surviving"] or count["refused"] else ""
        table.add_row(lesson, exercise, *(str(count[name]) for name in COLUMNS), style=style)
    total = sum(rows.values(), Counter())
    table.add_row("all", "", *(str(total[name]) for name in COLUMNS), end_section=True)
    return table


def _causes(found: Iterable[tuple[str, Tried]]) -> Table:
    """Which causes were named for which kinds of mutants, and how many were true."""
    table = Table("kind of mutant", "cause that was named", "named", "true", "false")
    named_causes = [(one.mutant.kind, one.cause, one.true) for _, one in found if one.cause]
    rows = named.table(named_causes)
    for kind, cause, *counts in rows:
        table.add_row(kind, cause, *map(str, counts), style="red" if counts[2] else "")
    totals = [list(column) for column in zip(*(row[2:] for row in rows), strict=True)]
    table.add_row("all", "", *(str(sum(column)) for column in totals))
    return table


def _columns(one: Tried) -> list[str]:
    """The columns of the table in which a mutant counts."""
    if one.verdict == "other":
        return []
    if one.mutant.is_right:
        return ["right", one.verdict]
    return ["made", one.verdict]


def _of_lesson(task: Task) -> list[Tried]:
    """What became of the mutants of one lesson, in processes that are replaced if they hang."""
    tried: dict[int, Tried] = {}
    context = multiprocessing.get_context("spawn")
    while True:
        ours, theirs = context.Pipe()
        worker = context.Process(target=_work, args=(task, set(tried), theirs))
        worker.start()
        theirs.close()
        ended = _collect(ours, tried)
        worker.kill()
        worker.join()
        if ended:
            return [tried[i] for i in sorted(tried)]


def _collect(pipe: Any, tried: dict[int, Tried]) -> bool:
    """Takes what the worker sends; False where it has hung, or died, in a mutant."""
    at, limit = None, START
    while True:
        try:
            message = pipe.recv() if pipe.poll(limit) else None
        except EOFError:
            message = None
        if message is None:
            if at is None:
                raise RuntimeError("the lesson did not run")
            tried[at[0]] = Tried(at[1], "timeout")
            return False
        if message == "end":
            return True
        if message[0] == "failed":  # mutate itself, and not the mutant
            raise RuntimeError(f"{at and at[1].name}:\n{message[1]}")
        if message[0] == "begin":
            at, limit = message[1:], WAIT
        else:
            tried[message[1]] = message[2]


def _work(task: Task, done: set[int], pipe: Any) -> None:
    logging.getLogger("jax").setLevel(logging.ERROR)
    lesson_run = run_lesson(read_lesson(task.folder), LocalPlace())
    bench = Bench(lesson_run, read_listed(task.folder))
    mutants = list(mutants_of(lesson_run, task.exercises))
    for i in task.chosen(mutants):
        if i not in done:
            pipe.send(("begin", i, mutants[i]))
            signal.setitimer(signal.ITIMER_PROF, task.limit)  # SIGPROF ends this process
            try:
                pipe.send(("done", i, bench.tried(mutants[i])))
            except Exception:
                pipe.send(("failed", traceback.format_exc()))
                raise
            signal.setitimer(signal.ITIMER_PROF, 0)
    pipe.send("end")


def mutants_of(lesson_run: LessonRun, exercises: Sequence[str] = ()) -> Iterator[Mutant]:
    """Every generated answer, wrong and right, to the lesson's code exercises, or to these."""
    for cell in code_exercises(lesson_run.lesson):
        if exercises and cell.exercise not in exercises:
            continue
        source = without_marks(cell.source, SOLUTION)
        lines = set(range(1, source.count("\n") + 2))
        for kind, change, text in mutations(source, lines):
            yield Mutant(str(cell.exercise), kind, change, text)
        yield from behaviour_mutants(lesson_run, cell)
        yield from rewritings(str(cell.exercise), source)
        yield from _of_right_answers(lesson_run.lesson, str(cell.exercise))


def _of_right_answers(lesson: Lesson, exercise: str) -> Iterator[Mutant]:
    """A few mutants of source of each entry of right.py, drawn the same way every time."""
    entries = [entry for entry in lesson.right if entry.exercise == exercise]
    for number, entry in enumerate(entries, 1):
        lines = set(range(1, entry.source.count("\n") + 2))
        made = list(mutations(entry.source, lines))
        drawn = random.Random(f"{exercise} {number}").sample(made, min(OF_EACH_RIGHT, len(made)))
        for kind, change, text in drawn:
            change = f"right answer {number}, {change}"
            yield Mutant(exercise, kind, change, text, origin=entry.source)


def code_exercises(lesson: Lesson) -> list[Cell]:
    return [cell for cell in lesson.exercises.values() if cell.answer_kind == "code"]


@dataclass
class Bench:
    """A lesson in which generated answers are tried; what its solutions do is found once."""

    lesson_run: LessonRun
    listed: Listed
    references: dict[str, dict[str, Reference]] = field(default_factory=dict)

    def tried(self, mutant: Mutant) -> Tried:
        """What the checks say of the mutant, and whether it is equivalent to the solution."""
        with named.noted() as causes:
            words = self._rejected(mutant)
        if mutant.is_right:
            if not words:
                return Tried(mutant, "accepted")
            verdict = "other" if self._difference(mutant) else "refused"
        else:
            if words:
                return Tried(mutant, "rejected", words, *self._named(mutant, causes))
            words = self._difference(mutant)
            if words and mutant.origin and self._difference(replace(mutant, source=mutant.origin)):
                return Tried(mutant, "other")  # its origin gives other numbers, and is right
            verdict = "surviving" if words else "equivalent"
        if verdict in DEFECTS and mutant in self.listed:
            verdict = "listed"
        return Tried(mutant, verdict, words)

    def _named(self, mutant: Mutant, causes: Sequence[named.Named]) -> tuple[str, bool | None]:
        """The cause of wrong values that was named, and whether it is true."""
        if not causes or not causes[0].is_claim or not causes[0].pairs:
            return "", None
        for name, reference in self._references(mutant.exercise).items():
            other = _bound(self.lesson_run, mutant.exercise, mutant.source, name)
            true = named.holds(causes[0], reference, other)
            if true is not None:
                return causes[0].family, true or causes[0].family == KNOWN.get(mutant.kind)
        return causes[0].family, None

    def _rejected(self, mutant: Mutant) -> str:
        """What the first check that rejects the mutant says; empty if all accept it."""
        path = self.lesson_run.lesson.path / "lesson.py"
        entry = Entry("wrong", mutant.exercise, None, mutant.source, 0, path)
        trial = try_entry(self.lesson_run, entry)
        failures = [verdict.failure for verdict in trial.verdicts if verdict.failure]
        return failures[0].diagnosis if failures else str(trial.error or "")

    def _difference(self, mutant: Mutant) -> str:
        """How the mutant differs from the solution, of whatever names the exercise binds."""
        for name, reference in self._references(mutant.exercise).items():
            other = _bound(self.lesson_run, mutant.exercise, mutant.source, name)
            if found := reference.difference(other):
                return f"{name}: {found}"
        return ""

    def _references(self, exercise: str) -> dict[str, Reference]:
        if exercise not in self.references:
            cell = self.lesson_run.lesson.exercises[exercise]
            source, text = without_marks(cell.source, SOLUTION), self._text(cell)
            self.references[exercise] = {
                name: Reference(_bound(self.lesson_run, exercise, source, name), requests, text)
                for name, requests in requests_of(self.lesson_run, exercise, source).items()
            }
        return self.references[exercise]

    def _text(self, cell: Cell) -> str:
        """What the lesson says about the exercise: the cell before it, and its docstring."""
        before = self.lesson_run.lesson.cells[max(cell.index - 1, 0)]
        return (before.source if before.kind == "markdown" else "") + cell.source


def _bound(lesson_run: LessonRun, exercise: str, source: str, name: str) -> Any:
    place: Any = lesson_run.places[exercise].branch()
    place.run(source, f"<{exercise}>")
    return place.namespace.get(name)
