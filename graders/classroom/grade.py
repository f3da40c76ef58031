"""Grades a class: answers run in the sandbox, marks go into nbgrader's gradebook."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.progress import track

from graders.author.build import read_lessons, write_sources
from graders.classroom import report
from graders.classroom.recorder import Recorder
from graders.grading.engine import Scheduler, Settings
from graders.grading.results import FAILED, HELD, Change, Row
from graders.grading.submissions import SUBMITTED, Submission, submissions
from graders.nbgrading import gradebook
from graders.nbgrading.steps import course_config, quick_steps
from graders.sample import sample

INTERRUPTED = "Ended. What has been examined is kept: the same command goes on from there."
NOT_SANDBOXED = "Graded without a sandbox: the answers ran with the rights of this account."


def main(
    root: Path,
    lessons: Sequence[str] = (),
    students: Sequence[str] = (),
    *,
    expect: bool = False,
    workers: int | None = None,
    sandboxed: bool = True,
    agreed: bool = False,
) -> int:
    """Grades, prints a table, writes marks and feedback pages.

    Args:
        root: the course.
        lessons: their names; all of them if left out.
        students: their names; all of them if left out.
        expect: grades the sample class alone, and compares its marks with the known ones.
        workers: how many submissions at a time; one for each processor if left out.
        sandboxed: whether the answers run in the sandbox.
        agreed: writes marks that would change although their submissions have not. Otherwise they
            are shown first, and written only if the person at the terminal agrees.

    Returns:
        0; or 1 where grading broke down, a mark is not the known one, or changes were not written.

    Raises:
        CourseError: nothing could be graded; the message says why.
    """
    known = sample.known_marks(root) if expect else []
    students = list(students) or sorted({row.student for row in known})
    settings = Settings(root, workers or os.cpu_count() or 1, sandboxed)
    agree = (lambda _: True) if agreed else report.agreed
    try:
        rows, everything = grade(settings, lessons, students, agree)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130
    if not rows:
        print(f"There is nothing to grade in {SUBMITTED}/STUDENT/LESSON/.", file=sys.stderr)
        return 1
    report.write(root, everything)
    report.show(rows)
    if not sandboxed:
        print(NOT_SANDBOXED)
    differences = report.differences(rows, _asked(known, lessons)) if expect else []
    if expect:
        report.show_comparison(differences, len(rows))
    unfinished = any(row.status in (FAILED, HELD) for row in rows)
    return int(bool(differences) or unfinished)


@quick_steps()
def grade(
    settings: Settings,
    lessons: Sequence[str] = (),
    students: Sequence[str] = (),
    agree: Callable[[Sequence[Change]], bool] = lambda _: True,
) -> tuple[list[Row], list[Row]]:
    """A row for each submission of these lessons by these students; all of them if left out.

    Of a submission that the journal knows, unchanged, only the checks that have changed since are
    examined again; where that changes its marks, `agree` is asked before any of those is written.

    Returns:
        Those rows; and the rows of all submissions that there are, of earlier runs too.

    Raises:
        SourceError: a lesson cannot be built, or there is none of that name.
        StepFailed: nbgrader refused a lesson.
        Unavailable: no sandbox can be made here.
    """
    sources = {lesson.name: lesson for lesson in read_lessons(settings.root, lessons)}
    found = submissions(settings.root, sources, students)
    config = course_config(settings.root)
    recorder = Recorder(settings, config, sources)
    screened, waiting = recorder.screened(found)
    held = []
    with Scheduler(settings, sources, waiting) as scheduler:
        write_sources(settings.root, list(sources.values()))
        for name in sorted({submission.lesson for submission in found}):
            gradebook.register(config, name)
        results = chain(screened, recorder.noted(scheduler.results()))
        for submission, result in _tracked(results, len(found)):
            if changes := recorder.changes(submission, result):
                held.append((submission, result, changes))
            else:
                recorder.write(submission, result)
    write = bool(held) and agree([change for *_, changes in held for change in changes])
    for submission, result, changes in held:
        if write:
            recorder.write(submission, result)
        else:
            recorder.hold(submission, changes)
    everything = recorder.rows(_every(settings.root))
    return [row for row in everything if row.key in {one.key for one in found}], everything


def _tracked(results: Iterable, count: int) -> Iterable:
    return track(results, "Grading", count, console=Console(stderr=True))


def _every(root: Path) -> list[Submission]:
    return submissions(root, [path.name for path in (root / "build/source").glob("*")])


def _asked(known: Iterable[Row], lessons: Sequence[str]) -> list[Row]:
    return [row for row in known if not lessons or row.lesson in lessons]
