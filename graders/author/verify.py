"""`jax-course verify`: proves that a lesson's checks tell right from wrong.

For each lesson: the notebook with the solutions gets every point, the untouched one none, each
wrong answer is rejected with its own diagnosis, each right answer is accepted, every line of every
check is needed, every argument varies and every leaf of a result is compared. The lessons are
proved in parallel, in processes of their own.

The short form, for CI, runs a lesson's cells in one process and no notebook: its solutions, its
untouched exercises, and a wrong answer of every fifth exercise; no demonstration. The long form
compares every answer with the same one in a second process and with the same one beside the
demonstrations, and runs lessons with mixtures of wrong answers. All but the short one hold each
lesson to its seconds.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import queue
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from graders.author import build, coverage, independence, kernel_runs, proofs, two_places
from graders.author.census import census, too_few
from graders.author.notebooks import sources_by_id
from graders.author.reports import Report
from graders.author.verify_table import Progress, show
from graders.judging.lesson_run import LessonRun, run_lesson, try_entry
from graders.lesson.problems import Problem
from graders.lesson.source import Entry, Lesson, read_lesson
from graders.root import course_root
from graders.seam.place import LocalPlace
from graders.values import compiling

Form = Literal["short", "full", "long"]

CACHE = "JAX_COMPILATION_CACHE_DIR"
SETTINGS = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",  # what XLA logs of answers that are wrong on purpose
}


def main(names: Sequence[str] = (), form: Form = "full") -> int:
    """Verifies the named lessons, or all, and prints a table; 1 if anything is not proved."""
    root = course_root()
    with Progress() as progress:
        reports = verify(root, names, form, progress)
    show(reports)
    return 0 if reports and all(report.proved for report in reports) else 1


def verify(root: Path, names: Sequence[str], form: Form, progress: Any) -> list[Report]:
    """A report for each lesson; a SourceError if one cannot be built."""
    lessons = build.read_and_lint(root, names)
    with tempfile.TemporaryDirectory() as scratch:
        for path, content in build.built(root, lessons).items():
            (Path(scratch) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(scratch) / path).write_bytes(content)
        return Verification(lessons, Path(scratch), form, progress, root).run()


@dataclass
class Verification:
    """The tasks of one run, spread over the processors."""

    lessons: list[Lesson]
    notebooks: Path  # the folder that holds what the lessons build
    form: Form
    progress: Any
    root: Path

    def run(self) -> list[Report]:
        """Runs every task, and collects the reports in the order of the lessons."""
        reports = {lesson.name: self._begun(lesson) for lesson in self.lessons}
        context = multiprocessing.get_context("spawn")
        with (
            _environment(settings_of_runs(self.root)),  # JAX reads it where a process imports it
            context.Manager() as manager,
            self._pool(context) as pool,
        ):
            ticks = manager.Queue()
            tasks = [task for lesson in self.lessons for task in self._tasks(pool, lesson, ticks)]
            self._watch([future for _, future in tasks], ticks)
            for name, future in tasks:
                problems, seconds = _outcome(name, self.root, future)
                reports[name].problems += problems
                reports[name].seconds = max(reports[name].seconds, seconds)
        return list(reports.values())

    def _pool(self, context: Any) -> ProcessPoolExecutor:
        """Processes that run one task each: the traces of a whole lesson fill much memory."""
        return ProcessPoolExecutor(os.cpu_count(), context, max_tasks_per_child=1)

    def _begun(self, lesson: Lesson) -> Report:
        return Report(lesson.name, census(lesson), list(too_few(lesson)))

    def _tasks(
        self, pool: ProcessPoolExecutor, lesson: Lesson, ticks: Any
    ) -> list[tuple[str, Future]]:
        inside = Path(lesson.name) / f"{lesson.name}.ipynb"
        solved, untouched = (self.notebooks / b / inside for b in (build.SOURCE, build.RELEASE))
        calls: list[tuple[Callable, tuple]] = [
            (_answers, (lesson.path, ticks, self.form)),
            (_notebooks, (lesson.path, solved, untouched, ticks)),
        ]
        if self.form == "short":
            calls = [(_sample, (lesson.path, untouched, ticks))]
        elif self.form == "long":
            calls.append((_independence, (lesson.path, ticks)))
            calls.append((_demonstrations, (lesson.path, ticks)))
        self.progress.add(lesson.name, _steps(lesson, self.form))
        return [(lesson.name, pool.submit(call, *arguments)) for call, arguments in calls]

    def _watch(self, futures: list[Future], ticks: Any) -> None:
        while not all(future.done() for future in futures) or not ticks.empty():
            try:
                self.progress.advance(ticks.get(timeout=1))
            except queue.Empty:
                continue


def settings_of_runs(root: Path) -> dict[str, str]:
    """Variables for processes that run lessons: programs are compiled quickly, and are kept.

    Pictures are drawn nowhere.
    """
    cache = {CACHE: str(root / "build" / "compiled"), "MPLBACKEND": "Agg"}
    return SETTINGS | compiling.quick_environment() | cache


@contextlib.contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """A block whose new processes have these variables."""
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _outcome(name: str, root: Path, future: Future) -> tuple[list[Problem], float]:
    try:
        return future.result()
    except Exception as error:
        lines = "".join(traceback.format_exception(error))
        at = root / "solutions" / name / "lesson.py"
        return [Problem(at, 1, f"verifying broke down: {lines}", "fix graders or the check")], 0.0


def _steps(lesson: Lesson, form: Form) -> int:
    """How often the tasks of a lesson will advance the progress bar."""
    if form == "short":
        return len(two_places.short_sample(lesson))
    compared, count = len(_compared(lesson, form)), len(lesson.wrong) + len(lesson.right)
    more = len(list(independence.mixtures(lesson))) + count if form == "long" else 0
    return 2 + count + compared + more


def _compared(lesson: Lesson, form: Form) -> Sequence[Entry]:
    """The answers that are judged in a second process too."""
    return (*lesson.wrong, *lesson.right) if form == "long" else two_places.sample(lesson)


def _answers(folder: Path, ticks: Any, form: Form) -> tuple[list[Problem], float]:
    lesson = read_lesson(folder)
    lesson_run = _run_here(lesson)
    problems, trials = proofs.prove(lesson_run, lambda: ticks.put(folder.name))
    chosen = _compared(lesson, form)
    problems += coverage.coverage_problems(lesson_run)
    again = [trial for trial in trials if trial.entry in chosen]
    return problems + two_places.compare_places(
        lesson_run, again, lambda: ticks.put(folder.name)
    ), 0.0


def _run_here(lesson: Lesson) -> LessonRun:
    """The lesson, run in this process."""
    logging.getLogger("jax").setLevel(logging.ERROR)
    return run_lesson(lesson, LocalPlace())


def _sample(folder: Path, untouched: Path, ticks: Any) -> tuple[list[Problem], float]:
    lesson, sources = read_lesson(folder), sources_by_id(untouched)
    released = {name: sources[cell.id] for name, cell in lesson.exercises.items()}
    lesson_run, trials = _run_here(lesson), []
    for entry in two_places.short_sample(lesson):
        trials.append(try_entry(lesson_run, entry))
        ticks.put(folder.name)
    problems = proofs.prove_some(lesson_run, trials)
    return problems + proofs.prove_untouched(lesson_run, released), 0.0


def _demonstrations(folder: Path, ticks: Any) -> tuple[list[Problem], float]:
    lesson = read_lesson(folder)
    return proofs.prove_demonstrations(lesson, lambda: ticks.put(folder.name)), 0.0


def _independence(folder: Path, ticks: Any) -> tuple[list[Problem], float]:
    lesson = read_lesson(folder)
    return independence.prove_independence(lesson, lambda: ticks.put(folder.name)), 0.0


def _notebooks(
    folder: Path, solved: Path, untouched: Path, ticks: Any
) -> tuple[list[Problem], float]:
    lesson = read_lesson(folder)
    with _as_a_student():
        problems, seconds = kernel_runs.solution_problems(lesson, solved)
    ticks.put(folder.name)
    problems += kernel_runs.untouched_problems(lesson, untouched)
    ticks.put(folder.name)
    return problems + kernel_runs.too_slow(lesson, seconds), seconds


@contextlib.contextmanager
def _as_a_student() -> Iterator[None]:
    """A kernel that starts in this block compiles everything itself, with the usual settings."""
    with _environment({}):
        for name in (CACHE, *compiling.QUICK):
            os.environ.pop(name, None)
        yield
