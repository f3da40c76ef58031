"""Proves that a wrong answer costs its own points and no others, by running whole lessons.

Not every wrong answer is run alone: in one run many exercises have wrong answers at once, and
the others, which keep their solutions, must pass. The exercises are numbered, and a run is made
for each binary digit of the number and each value of the digit, so that for any two exercises
there is a run in which the one is wrong and the other right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from graders.judging.lesson_run import LessonRun, filename, judge_cell, run_cell
from graders.lesson.cells import Entry, Lesson
from graders.lesson.problems import Problem
from graders.seam.place import LocalPlace


def prove_independence(lesson: Lesson, advance: Callable[[], None]) -> list[Problem]:
    """Exercises that fail with their own solution where others have wrong answers."""
    problems = []
    for answers in mixtures(lesson):
        problems += _play(lesson, answers)
        advance()
    return problems


def mixtures(lesson: Lesson) -> Iterator[dict[str, Entry]]:
    """Which exercises are wrong, and how, in each run."""
    names = [name for name in lesson.exercises if _entries(lesson, name)]
    most = max((len(_entries(lesson, name)) for name in names), default=0)
    for digit in range(max(1, (len(names) - 1).bit_length())):
        for value in (0, 1):
            chosen = [name for i, name in enumerate(names) if (i >> digit) & 1 == value]
            for turn in range(most):
                yield {n: _entries(lesson, n)[turn % len(_entries(lesson, n))] for n in chosen}


def _entries(lesson: Lesson, exercise: str) -> list[Entry]:
    return [entry for entry in lesson.wrong if entry.exercise == exercise]


def _play(lesson: Lesson, answers: dict[str, Entry]) -> Iterator[Problem]:
    """One run; `answers` stand in for the solutions of their exercises."""
    lesson_run, trusted, student = LessonRun(lesson), LocalPlace(), LocalPlace()
    for cell in lesson.cells:
        if cell.kind != "code":
            continue
        if cell.check:
            lesson_run.namespaces[cell.index] = dict(trusted.namespace)
            verdict = judge_cell(lesson_run, cell, student)
            if verdict.failure and cell.check not in answers:
                what = f"{cell.check}: its solution fails beside wrong answers to {list(answers)}"
                where = lesson.path / "lesson.py"
                heard = f": {verdict.failure.diagnosis}"
                yield Problem(where, cell.line, what + heard, "give the check data of its own")
            continue
        run_cell(lesson_run, cell, trusted)
        entry = answers.get(cell.exercise or "")
        if entry:
            student.run(entry.source, filename(lesson, cell))
        else:
            run_cell(lesson_run, cell, student)
