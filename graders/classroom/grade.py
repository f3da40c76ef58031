"""Grades a class: answers run in the sandbox, marks go into nbgrader's gradebook."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.progress import track
from traitlets.config import Config

from graders.author.build import read_lessons, write_sources
from graders.classroom import report
from graders.classroom.recorder import Recorder
from graders.grading.engine import Scheduler, Settings
from graders.grading.results import FAILED, HELD, Change, Row
from graders.grading.strays import strays
from graders.grading.submissions import OWN, SAMPLE, SUBMITTED, Submission, submissions
from graders.lesson.source import lesson_folders
from graders.nbgrading import gradebook
from graders.nbgrading.steps import course_config, quick_steps
from graders.sample import sample

INTERRUPTED = "Ended. What has been examined is kept: the same command goes on from there."
STEPS = ("submitted", "autograded", "feedback")
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
        expect: grades the sample class, and compares its marks with the known ones.
        workers: how many submissions at a time; one for each processor if left out.
        sandboxed: whether the answers run in the sandbox.
        agreed: writes marks that would change although their submissions have not. Otherwise they
            are shown first, and written only if the person at the terminal agrees.

    Returns:
        0; or 1 where grading broke down, a mark is not the known one, or changes were not written.

    Raises:
        CourseError: nothing could be graded; the message says why.
    """
    place = SAMPLE if expect else OWN
    known = sample.known_marks(root) if expect else []
    settings = Settings(root, workers or os.cpu_count() or 1, sandboxed)
    agree = (lambda _: True) if agreed else report.agreed
    try:
        rows, everything = grade(settings, lessons, students, agree, place)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130
    if not rows:
        print(f"There is nothing to grade in {place / SUBMITTED}/STUDENT/LESSON/.", file=sys.stderr)
        return 1
    report.write(root, everything, place)
    report.show(rows, place)
    if not sandboxed:
        print(NOT_SANDBOXED)
    asked = [row for row in known if not lessons or row.lesson in lessons]
    asked = [row for row in asked if not students or row.student in students]
    differences = report.differences(rows, asked) if expect else []
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
    place: Path = OWN,
) -> tuple[list[Row], list[Row]]:
    """A row for each submission of these lessons by these students; all of them if left out.

    Of a submission that the journal knows, unchanged, only the checks that have changed since are
    examined again; where that changes its marks, `agree` is asked before any of those is written.
    What lies among the submissions and cannot be placed has a row too. `place` is the folder of
    the class.

    Returns:
        Those rows; and the rows of all submissions that there are, of earlier runs too.

    Raises:
        SourceError: a lesson cannot be built, or there is none of that name.
        StepFailed: nbgrader refused a lesson.
        Unavailable: no sandbox can be made here.
    """
    root = settings.root
    sources = {lesson.name: lesson for lesson in read_lessons(root, lessons)}
    found = submissions(root, sources, students, place)
    with tempfile.TemporaryDirectory() as intake:
        recorder = Recorder(root / place, Path(intake), class_config(root, place), sources)
        _graded(settings, recorder, found, agree)
    names = [folder.name for folder in lesson_folders(root, ())]
    everything = recorder.rows(submissions(root, names, place=place))
    asked = {one.key for one in found}
    rows = [row for row in everything if row.key in asked]
    return rows + strays(root, names, students, place), everything + strays(root, names, (), place)


def _graded(
    settings: Settings,
    recorder: Recorder,
    found: Sequence[Submission],
    agree: Callable[[Sequence[Change]], bool],
) -> None:
    """The journal and the gradebook have what there is to find of these submissions."""
    screened, waiting = recorder.screened(found)
    held = []
    with Scheduler(settings, recorder.lessons, waiting) as scheduler:
        write_sources(settings.root, list(recorder.lessons.values()))
        for name in sorted({submission.lesson for submission in found}):
            gradebook.register(recorder.config, name, partial(report.keep, recorder.place))
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


def class_config(root: Path, place: Path) -> Config:
    """What nbgrader is configured with for the class whose folder is `place`.

    A class other than the course's own has its own gradebook and folders: nothing of it is seen in
    Formgrader, or handed back.
    """
    if place == OWN:
        return course_config(root)
    folders = {f"{step}_directory": str(place / step) for step in STEPS}
    return course_config(root, db_url=f"sqlite:///{root / place / 'gradebook.db'}", **folders)


def _tracked(results: Iterable, count: int) -> Iterable:
    return track(results, "Grading", count, console=Console(stderr=True))
