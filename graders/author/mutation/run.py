"""`jax-course mutate`: makes wrong answers from right ones, and runs the checks on them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from graders.author.build import read_lessons
from graders.author.mutation.behaviour import behaviour_mutants
from graders.author.mutation.equivalence import difference
from graders.author.mutation.mutant import Mutant
from graders.author.mutation.recording import requests_of
from graders.author.mutation.source import mutations
from graders.judging.lesson_run import LessonRun, run_lesson, try_entry
from graders.lesson.cells import Cell, Entry, Lesson
from graders.lesson.regions import SOLUTION, without_marks
from graders.lesson.source import read_lesson
from graders.root import course_root
from graders.seam.place import LocalPlace

Verdict = Literal["rejected", "equivalent", "surviving", "timeout"]
LIMIT = 60.0  # seconds for one mutant
START = 600.0  # and for a lesson to run with its solutions


@dataclass(frozen=True)
class Tried:
    """A mutant and what became of it."""

    mutant: Mutant
    verdict: Verdict
    words: str = ""  # of the diagnosis, or how a survivor differs from the solution


def main(names: Sequence[str] = (), count: int = 0, seed: int = 0) -> int:
    """Prints a table by exercise, and every survivor with its code; 1 if there is one.

    Args:
        names: lessons; all of them if left out.
        count: how many mutants of each lesson, drawn at random; all of them if 0.
        seed: of the draw.
    """
    root, begun = course_root(), time.monotonic()
    console = Console(width=None if Console().is_terminal else 110)
    found: list[tuple[str, Tried]] = []
    lessons = read_lessons(root, names)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each thread waits for a process of its own
        for lesson, tried in pool.map(_of_lesson, [(one.path, count, seed) for one in lessons]):
            found += [(lesson, one) for one in tried]
            console.print(f"{lesson}: {len(tried)} mutants")
    survivors = [(lesson, one) for lesson, one in found if one.verdict == "surviving"]
    for lesson, one in survivors:
        console.print(f"\n{lesson} {one.mutant.name}", style="red", markup=False, highlight=False)
        console.print(f"  differs: {one.words}", markup=False, highlight=False)
    console.print(_table(found))
    console.print(f"{len(found)} mutants in {time.monotonic() - begun:.0f} s")
    return int(bool(survivors))


def _table(found: Iterable[tuple[str, Tried]]) -> Table:
    table = Table("lesson", "exercise", "made", "rejected", "equivalent", "surviving")
    rows: dict[tuple[str, str], Counter] = {}
    for lesson, one in found:
        verdict = "rejected" if one.verdict == "timeout" else one.verdict
        rows.setdefault((lesson, one.mutant.exercise), Counter())[verdict] += 1
    for (lesson, exercise), count in rows.items():
        kinds = [str(count[kind]) for kind in ("rejected", "equivalent", "surviving")]
        style = "red" if count["surviving"] else ""
        table.add_row(lesson, exercise, str(count.total()), *kinds, style=style)
    return table


def _of_lesson(asked: tuple[Path, int, int]) -> tuple[str, list[Tried]]:
    """All mutants of one lesson, in processes that are replaced where one does not come back."""
    folder, count, seed = asked
    tried: dict[int, Tried] = {}
    context = multiprocessing.get_context("spawn")
    while True:
        ours, theirs = context.Pipe()
        worker = context.Process(target=_work, args=(folder, count, seed, set(tried), theirs))
        worker.start()
        theirs.close()
        ended = _collect(ours, tried)
        worker.kill()
        worker.join()
        if ended:
            return folder.name, [tried[i] for i in sorted(tried)]


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
        if message[0] == "begin":
            at, limit = message[1:], LIMIT
        else:
            tried[message[1]] = message[2]


def _work(folder: Path, count: int, seed: int, done: set[int], pipe: Any) -> None:
    logging.getLogger("jax").setLevel(logging.ERROR)
    os.environ["MPLBACKEND"] = "Agg"
    lesson_run = run_lesson(read_lesson(folder), LocalPlace())
    mutants = list(mutants_of(lesson_run))
    chosen = range(len(mutants))
    if count and count < len(mutants):
        chosen = sorted(random.Random(seed).sample(chosen, count))
    for i in chosen:
        if i not in done:
            pipe.send(("begin", i, mutants[i]))
            pipe.send(("done", i, tried(lesson_run, mutants[i])))
    pipe.send("end")


def mutants_of(lesson_run: LessonRun) -> Iterator[Mutant]:
    """Every mutant of the lesson's code exercises."""
    for cell in code_exercises(lesson_run.lesson):
        source = without_marks(cell.source, SOLUTION)
        lines = set(range(1, source.count("\n") + 2))
        for kind, change, text in mutations(source, lines):
            yield Mutant(str(cell.exercise), kind, change, text)
        yield from behaviour_mutants(lesson_run, cell)


def code_exercises(lesson: Lesson) -> list[Cell]:
    return [cell for cell in lesson.exercises.values() if cell.answer_kind == "code"]


def tried(lesson_run: LessonRun, mutant: Mutant) -> Tried:
    """What the checks say of the mutant, and where they accept it whether it is equivalent."""
    path = lesson_run.lesson.path / "lesson.py"
    entry = Entry("wrong", mutant.exercise, None, mutant.source, 0, path)
    trial = try_entry(lesson_run, entry)
    failures = [verdict.failure for verdict in trial.verdicts if verdict.failure]
    if trial.error or failures:
        words = failures[0].diagnosis if failures else str(trial.error)
        return Tried(mutant, "rejected", words)
    found = _difference(lesson_run, mutant)
    return Tried(mutant, "surviving", found) if found else Tried(mutant, "equivalent")


def _difference(lesson_run: LessonRun, mutant: Mutant) -> str:
    cell = lesson_run.lesson.exercises[mutant.exercise]
    source = without_marks(cell.source, SOLUTION)
    asked = requests_of(lesson_run, mutant.exercise, source)
    for name, requests in asked.items():
        solution = _bound(lesson_run, mutant.exercise, source, name)
        other = _bound(lesson_run, mutant.exercise, mutant.source, name)
        if found := difference(solution, other, requests):
            return f"{name}: {found}"
    return ""


def _bound(lesson_run: LessonRun, exercise: str, source: str, name: str) -> Any:
    place: Any = lesson_run.places[exercise].branch()
    place.run(source, f"<{exercise}>")
    return place.namespace.get(name)
