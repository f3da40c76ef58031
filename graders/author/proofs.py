"""Proves the checks of a lesson on its wrong and right answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from graders.card.messages import UNANSWERED
from graders.judging.lesson_run import (
    LessonRun,
    Trial,
    filename,
    judge_cell,
    run_cell,
    run_lesson,
    try_entry,
)
from graders.lesson.cells import Cell, Entry, Lesson
from graders.lesson.commentary import FILE, read_commentary
from graders.lesson.demonstrations import with_demonstrations
from graders.lesson.problems import Problem
from graders.notebook.model_answer import jaxpr_of
from graders.seam.place import LocalPlace
from graders.values.compare import token

PASSES = "passes"


def prove(lesson_run: LessonRun, advance: Callable[[], None]) -> tuple[list[Problem], list[Trial]]:
    """Everything that is wrong with the lesson's checks or entries; and each entry's trial.

    `lesson_run` is the lesson as it ran in this process; `advance` is called after each entry.
    """
    lesson = lesson_run.lesson
    problems, trials = lesson_run.problems + list(_solution_problems(lesson_run)), []
    for entry in (*lesson.wrong, *lesson.right):
        before = _mutable(lesson_run, entry.exercise)
        trials.append(try_entry(lesson_run, entry))
        problems += _trial_problems(trials[-1])
        if before != _mutable(lesson_run, entry.exercise):
            what = "the answer changes data that later cells read"
            problems.append(_problem(entry, what, "give the check data of its own"))
        advance()
    problems += list(_jaxprs_of_comments(lesson_run))
    problems += (
        _unused_lines(lesson_run, trials) + _hidden_alone(lesson_run, trials) + _alike(trials)
    )
    return problems, trials


def _jaxprs_of_comments(lesson_run: LessonRun) -> Iterator[Problem]:
    """Arguments in commentary.md with which the author's answer cannot be traced."""
    lesson = lesson_run.lesson
    for name, comment in read_commentary(lesson.path).items():
        if comment.arguments:
            place = cast(LocalPlace, lesson_run.places[name].branch())
            cell = lesson.exercises[name]
            place.run(cell.source, filename(lesson, cell))
            try:
                jaxpr_of(place.namespace[name], comment.arguments)
            except Exception as error:
                what = f"the jaxpr of {name!r} raises {type(error).__name__}: {error}"[:300]
                yield Problem(lesson.path / FILE, comment.line + 1, what, "give other arguments")


def prove_some(lesson_run: LessonRun, trials: Sequence[Trial]) -> list[Problem]:
    """What these trials alone show to be wrong with the lesson."""
    found = [problem for trial in trials for problem in _trial_problems(trial)]
    return lesson_run.problems + list(_solution_problems(lesson_run)) + found


def prove_untouched(lesson_run: LessonRun, released: Mapping[str, str]) -> list[Problem]:
    """Given cells that need an answer, and checks that do not say when there is none.

    `released` is the source of each exercise's cell as students get it.
    """
    found, place = (
        LessonRun(lesson_run.lesson, lesson_run.cells, namespaces=lesson_run.namespaces),
        LocalPlace(),
    )
    for cell in lesson_run.cells:
        if cell.exercise:
            place.run(released[cell.exercise], filename(lesson_run.lesson, cell))
        elif not cell.check:
            run_cell(found, cell, place)
        elif (failure := judge_cell(found, cell, place).failure) is None or failure.answered:
            said = f"says {failure.diagnosis!r}" if failure else PASSES
            found.problems.append(touched(lesson_run.lesson, cell, said))
    return found.problems


def touched(lesson: Lesson, check: Cell, said: str) -> Problem:
    """What is to be said of a check that takes the untouched exercise for answered."""
    what = f"untouched, the check of {check.check} {said}, not {UNANSWERED.cause.diagnosis!r}"
    return Problem(lesson.path / "lesson.py", check.line, what, "fix the check")


def prove_demonstrations(lesson: Lesson, advance: Callable[[], None]) -> list[Problem]:
    """Answers of which the checks say something else where the demonstrations have run too."""
    logging.getLogger("jax").setLevel(logging.ERROR)
    without = run_lesson(lesson, LocalPlace())
    beside = run_lesson(with_demonstrations(lesson), LocalPlace())
    problems = []
    for entry in (*lesson.wrong, *lesson.right):
        words = [try_entry(lesson_run, entry).words for lesson_run in (without, beside)]
        if words[0] != words[1]:
            what = f"the demonstrations change what is said, from {words[0]} to {words[1]}"
            problems.append(_problem(entry, what, "take the tag from the one that does"))
        advance()
    return problems


def _solution_problems(lesson_run: LessonRun) -> Iterator[Problem]:
    for index, verdict in lesson_run.solutions.items():
        if verdict.failure:
            cell = lesson_run.lesson.cells[index]
            what = f"the solution fails its own check: {verdict.failure.diagnosis}"
            at = f" (expected {verdict.failure.expected}, got {verdict.failure.got})"
            path = lesson_run.lesson.path / "lesson.py"
            yield Problem(path, cell.line, what + at, "fix the check or the solution")


def _mutable(lesson_run: LessonRun, exercise: str) -> Any:
    """The given data that an answer could change in place."""
    place = lesson_run.places[exercise]
    if not isinstance(place, LocalPlace):
        return None
    held = place.namespace.items()
    return {name: token(value) for name, value in held if _is_data(name, value)}


def _is_data(name: str, value: Any) -> bool:
    return not name.startswith("__") and type(value).__name__ in ("ndarray", "list", "dict", "set")


def _trial_problems(trial: Trial) -> Iterator[Problem]:
    entry, failures = trial.entry, [v.failure for v in trial.verdicts if v.failure]
    if trial.error:
        what = f"the answer does not run: {trial.error.type}: {trial.error.message[:200]}"
        yield _problem(entry, what, "an entry is code that runs, and is wrong when it is checked")
    elif entry.kind == "right" and failures:
        failed = failures[0]
        what = f"a right answer is rejected: {failed.diagnosis}"
        numbers = f" (expected {failed.expected}, got {failed.got})"
        yield _problem(entry, what + numbers, "fix the check")
    elif entry.kind == "wrong" and not failures:
        yield _problem(entry, "a wrong answer earns all its points", "sharpen the check")
    elif entry.kind == "wrong" and not _says(entry, failures):
        heard = "; ".join(failure.diagnosis for failure in failures)
        what = f"the diagnosis is {heard!r}, and not {entry.says!r}"
        yield _problem(entry, what, "fix the diagnosis, or what the entry says")


def _says(entry: Entry, failures: Sequence[Any]) -> bool:
    says = (entry.says or "").casefold()
    return any(says in failure.diagnosis.casefold() for failure in failures if failure.answered)


def _problem(entry: Entry, what: str, fix: str) -> Problem:
    return Problem(entry.path, entry.line, f"{entry.exercise}: {what}", fix)


def _unused_lines(lesson_run: LessonRun, trials: Sequence[Trial]) -> list[Problem]:
    """Lines of checks that are never the first to reject a wrong answer."""
    problems = []
    for exercise, cell in lesson_run.lesson.exercises.items():
        checks = lesson_run.checks_of(exercise) if cell.answer_kind == "code" else []
        for number, check in enumerate(checks):
            wrong = [t for t in _wrong(trials, exercise) if number < len(t.verdicts)]
            used = {t.verdicts[number].failed_at for t in wrong}
            requirements = lesson_run.solutions[check.index].outcome.requirements
            for position, requirement in enumerate(requirements):
                if position not in used:
                    verb = requirement.verb + (" (hidden)" if requirement.hidden else "")
                    what = (
                        f"{exercise}: line {position + 1} of the check, {verb}, "
                        "is the first to reject no wrong answer"
                    )
                    path = lesson_run.lesson.path / "lesson.py"
                    problems.append(Problem(path, check.line, what, "drop it, or add the mistake"))
    return problems


def _wrong(trials: Sequence[Trial], exercise: str) -> list[Trial]:
    return [t for t in trials if t.entry.kind == "wrong" and t.entry.exercise == exercise]


def _hidden_alone(lesson_run: LessonRun, trials: Sequence[Trial]) -> list[Problem]:
    """Exercises with hidden tests of which none alone rejects a wrong answer."""
    problems = []
    for exercise, cell in lesson_run.lesson.exercises.items():
        checks = lesson_run.checks_of(exercise)
        hidden = any(
            r.hidden for c in checks for r in lesson_run.solutions[c.index].outcome.requirements
        )
        rejected = [_rejections(t) for t in _wrong(trials, exercise)]
        if cell.answer_kind == "code" and hidden and not any(r and all(r) for r in rejected):
            what = f"{exercise}: no wrong answer is rejected by the hidden tests alone"
            path = lesson_run.lesson.path / "lesson.py"
            problems.append(Problem(path, cell.line, what, "add a mistake that only they find"))
    return problems


def _rejections(trial: Trial) -> list[bool]:
    """For each check that failed, whether it was a hidden line that failed."""
    return [v.outcome.failed.hidden for v in trial.verdicts if v.outcome.failed]


def _alike(trials: Sequence[Trial]) -> list[Problem]:
    seen: dict[tuple[str, str], Entry] = {}
    problems = []
    for trial in (t for t in trials if t.entry.kind == "wrong"):
        key = (trial.entry.exercise, (trial.entry.says or "").casefold())
        if key in seen:
            what = f"it says the same as the entry in line {seen[key].line}: {trial.entry.says!r}"
            problems.append(_problem(trial.entry, what, "each entry has a cause of its own"))
        seen.setdefault(key, trial.entry)
    return problems
