"""Proves the checks of a lesson on its wrong and right answers.

The lesson runs once, with its solutions; at each exercise the student's place is kept, and for
each entry of wrong.py and right.py a branch of it runs the entry in the solution's stead and is
judged by the exercise's own checks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graders.author.cells import Cell, Entry, Lesson
from graders.author.demonstrations import needed_by_entries, with_demonstrations
from graders.author.problems import Problem
from graders.judge import Verdict, judge
from graders.messages import UNANSWERED
from graders.observation import Error
from graders.place import LocalPlace, Place
from graders.surroundings import token

PASSES = "passes"


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
    parts = (verdict.failed_at, failure.diagnosis, failure.expected, failure.got, failure.at)
    return " | ".join(str(part) for part in (*parts, failure.next_step))


@dataclass
class Stage:
    """A lesson that has been run: the student's place before each exercise, ours at each check."""

    lesson: Lesson
    cells: list[Cell] = field(default_factory=list)  # that run in the student's place
    places: dict[str, Place] = field(default_factory=dict)
    namespaces: dict[int, dict[str, Any]] = field(default_factory=dict)
    solutions: dict[int, Verdict] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def checks_of(self, exercise: str) -> list[Cell]:
        return [cell for cell in self.lesson.checks if cell.check == exercise]

    def between(self, exercise: Cell, check: Cell) -> list[Cell]:
        span = range(exercise.index + 1, check.index)
        return [cell for cell in self.cells if cell.index in span and cell.is_given]


def filename(lesson: Lesson, cell: Cell) -> str:
    return f"<{lesson.name} {cell.id}>"


def run(lesson: Lesson, student: Place) -> Stage:
    """Runs the lesson with its solutions, in `student` and on the trusted side.

    Demonstrations are left out, but for those whose names an entry of the lesson reads.
    """
    stage, trusted = Stage(lesson, needed_by_entries(lesson)), LocalPlace()
    for cell in stage.cells:
        if cell.check:
            stage.namespaces[cell.index] = dict(trusted.namespace)
            stage.solutions[cell.index] = judge_in(stage, cell, student)
            continue
        if cell.exercise:
            stage.places[cell.exercise] = student.branch()
        run_cell(stage, cell, trusted)
        run_cell(stage, cell, student)
    return stage


def run_cell(stage: Stage, cell: Cell, place: Place) -> None:
    """Runs a cell as the lesson has it; one that raises without leave is a problem of the stage."""
    error = place.run(cell.source, filename(stage.lesson, cell))
    if error and "raises-exception" not in cell.tags:
        what = f"the cell raises {error.type}: {error.message[:200]}"
        path = stage.lesson.path / "lesson.py"
        stage.problems.append(Problem(path, cell.line, what, "make it run, or tag it"))


def judge_in(stage: Stage, check: Cell, place: Place) -> Verdict:
    """The verdict of a check cell on the answers in `place`."""
    names = stage.lesson.exercises[str(check.check)].binds
    source, label = check.source, filename(stage.lesson, check)
    return judge(source, stage.namespaces[check.index], names, place, label)


def try_entry(stage: Stage, entry: Entry) -> Trial:
    """Runs the entry in a branch, and judges it."""
    exercise = stage.lesson.exercises[entry.exercise]
    place = stage.places[entry.exercise].branch()
    error = place.run(entry.source, f"<{entry.path.name} line {entry.line}>")
    verdicts, ran = [], exercise
    for check in stage.checks_of(entry.exercise):
        for cell in stage.between(ran, check):
            place.run(cell.source, filename(stage.lesson, cell))
        verdicts.append(judge_in(stage, check, place))
        ran = check
    return Trial(entry, tuple(verdicts), error)


def prove(stage: Stage, advance: Callable[[], None]) -> tuple[list[Problem], list[Trial]]:
    """Everything that is wrong with the lesson's checks or entries; and each entry's trial.

    `stage` is the lesson as it ran in this process; `advance` is called after each entry.
    """
    lesson = stage.lesson
    problems, trials = stage.problems + list(_solution_problems(stage)), []
    for entry in (*lesson.wrong, *lesson.right):
        before = _mutable(stage, entry.exercise)
        trials.append(try_entry(stage, entry))
        problems += _trial_problems(trials[-1])
        if before != _mutable(stage, entry.exercise):
            what = "the answer changes data that later cells read"
            problems.append(_problem(entry, what, "give the check data of its own"))
        advance()
    problems += _unused_lines(stage, trials) + _hidden_alone(stage, trials) + _alike(trials)
    return problems, trials


def prove_some(stage: Stage, trials: Sequence[Trial]) -> list[Problem]:
    """What these trials alone show to be wrong with the lesson."""
    found = [problem for trial in trials for problem in _trial_problems(trial)]
    return stage.problems + list(_solution_problems(stage)) + found


def prove_untouched(stage: Stage, released: Mapping[str, str]) -> list[Problem]:
    """Given cells that need an answer, and checks that do not say when there is none.

    `released` is the source of each exercise's cell as students get it.
    """
    found, place = Stage(stage.lesson, stage.cells, namespaces=stage.namespaces), LocalPlace()
    for cell in stage.cells:
        if cell.exercise:
            place.run(released[cell.exercise], filename(stage.lesson, cell))
        elif not cell.check:
            run_cell(found, cell, place)
        elif (failure := judge_in(found, cell, place).failure) is None or failure.answered:
            said = f"says {failure.diagnosis!r}" if failure else PASSES
            found.problems.append(touched(stage.lesson, cell, said))
    return found.problems


def touched(lesson: Lesson, check: Cell, said: str) -> Problem:
    """What is to be said of a check that takes the untouched exercise for answered."""
    what = f"untouched, the check of {check.check} {said}, not {UNANSWERED.cause.diagnosis!r}"
    return Problem(lesson.path / "lesson.py", check.line, what, "mend the check")


def prove_demonstrations(lesson: Lesson, advance: Callable[[], None]) -> list[Problem]:
    """Answers of which the checks say something else where the demonstrations have run too."""
    logging.getLogger("jax").setLevel(logging.ERROR)
    without = run(lesson, LocalPlace())
    beside = run(with_demonstrations(lesson), LocalPlace())
    problems = []
    for entry in (*lesson.wrong, *lesson.right):
        words = [try_entry(stage, entry).words for stage in (without, beside)]
        if words[0] != words[1]:
            what = f"the demonstrations change what is said, from {words[0]} to {words[1]}"
            problems.append(_problem(entry, what, "take the tag from the one that does"))
        advance()
    return problems


def _solution_problems(stage: Stage) -> Iterator[Problem]:
    for index, verdict in stage.solutions.items():
        if verdict.failure:
            cell = stage.lesson.cells[index]
            what = f"the solution fails its own check: {verdict.failure.diagnosis}"
            at = f" (expected {verdict.failure.expected}, got {verdict.failure.got})"
            path = stage.lesson.path / "lesson.py"
            yield Problem(path, cell.line, what + at, "mend the check or the solution")


def _mutable(stage: Stage, exercise: str) -> Any:
    """The given data that an answer could change in place."""
    place = stage.places[exercise]
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
        yield _problem(entry, what + numbers, "mend the check")
    elif entry.kind == "wrong" and not failures:
        yield _problem(entry, "a wrong answer earns all its points", "sharpen the check")
    elif entry.kind == "wrong" and not _says(entry, failures):
        heard = "; ".join(failure.diagnosis for failure in failures)
        what = f"the diagnosis is {heard!r}, and not {entry.says!r}"
        yield _problem(entry, what, "mend the diagnosis, or what the entry says")


def _says(entry: Entry, failures: Sequence[Any]) -> bool:
    says = (entry.says or "").casefold()
    return any(says in failure.diagnosis.casefold() for failure in failures if failure.answered)


def _problem(entry: Entry, what: str, mend: str) -> Problem:
    return Problem(entry.path, entry.line, f"{entry.exercise}: {what}", mend)


def _unused_lines(stage: Stage, trials: Sequence[Trial]) -> list[Problem]:
    """Lines of checks that are never the first to reject a wrong answer."""
    problems = []
    for exercise, cell in stage.lesson.exercises.items():
        checks = stage.checks_of(exercise) if cell.answer_kind == "code" else []
        for number, check in enumerate(checks):
            wrong = [t for t in _wrong(trials, exercise) if number < len(t.verdicts)]
            used = {t.verdicts[number].failed_at for t in wrong}
            requirements = stage.solutions[check.index].sheet.requirements
            for position, requirement in enumerate(requirements):
                if position not in used:
                    verb = requirement.verb + (" (hidden)" if requirement.hidden else "")
                    what = (
                        f"{exercise}: line {position + 1} of the check, {verb}, "
                        "is the first to reject no wrong answer"
                    )
                    path = stage.lesson.path / "lesson.py"
                    problems.append(Problem(path, check.line, what, "drop it, or add the mistake"))
    return problems


def _wrong(trials: Sequence[Trial], exercise: str) -> list[Trial]:
    return [t for t in trials if t.entry.kind == "wrong" and t.entry.exercise == exercise]


def _hidden_alone(stage: Stage, trials: Sequence[Trial]) -> list[Problem]:
    """Exercises with hidden tests of which none alone rejects a wrong answer."""
    problems = []
    for exercise, cell in stage.lesson.exercises.items():
        checks = stage.checks_of(exercise)
        hidden = any(r.hidden for c in checks for r in stage.solutions[c.index].sheet.requirements)
        rejected = [_rejections(t) for t in _wrong(trials, exercise)]
        if cell.answer_kind == "code" and hidden and not any(r and all(r) for r in rejected):
            what = f"{exercise}: no wrong answer is rejected by the hidden tests alone"
            path = stage.lesson.path / "lesson.py"
            problems.append(Problem(path, cell.line, what, "add a mistake that only they find"))
    return problems


def _rejections(trial: Trial) -> list[bool]:
    """For each check that failed, whether it was a hidden line that failed."""
    return [v.sheet.failed.hidden for v in trial.verdicts if v.sheet.failed]


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
