"""Grading is killed at moments of no choosing, and the next run finishes as if nothing had been.

In the first half what the answers say is made up: it is the writing down that is killed, in a
process that a warm one has forked. In the second half any process of `jax-course grade` is killed.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from graders.author.build import build
from graders.classroom import grade, report
from graders.grading import forkserver
from graders.grading.engine import Settings, Task
from graders.grading.examiner import Examination, Said
from graders.grading.submissions import OWN, Submission
from graders.lesson.cells import Lesson
from graders.sample import sample
from graders.tests import servers
from graders.tests.fixture_lesson import JUDGED, failed, make_course, met, scheduler_of

# On Linux alone: all of these run answers in bubblewrap's sandbox.
pytestmark = pytest.mark.sandbox

STUDENTS = ("perfect", "untouched", "all-wrong", "half-wrong", "noisy", "cut-short")
FILES = (OWN / report.MARKS, OWN / report.CHECKS)
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["graders.tests.test_killed"])


def made_up(
    _: Settings, __: Mapping[str, Lesson], tasks: Sequence[Task]
) -> Iterator[tuple[Submission, Examination]]:
    """An examination of each submission, another one for each student."""
    for task in tasks:
        first = met("double") if len(task.submission.student) % 2 else failed("double", "wrong")
        outcomes = {"double_check": first, "answer_check": met("answer")}
        found = Examination(outcomes, {"double": Said("hello")})
        yield task.submission, found


def graded(root: Path) -> None:
    """What `jax-course grade` does with a class, but for asking the answers."""
    grade.Scheduler = scheduler_of(made_up)
    _, everything = grade.grade(Settings(root))
    report.write(root, everything)


def run(root: Path, seconds: float | None = None) -> bool:
    """Whether grading came to its end within this time; else it was killed."""
    forkserver.start()
    process = _context.Process(target=graded, args=(root,))
    process.start()
    process.join(seconds)
    ended = process.exitcode is not None
    process.kill()
    process.join()
    assert not ended or process.exitcode == 0
    return ended


def class_of(students: Sequence[str], place: Path) -> Path:
    """A course in which these have handed in, and nobody was graded."""
    root = make_course(place, JUDGED)
    build(root)
    sample.make_class(root, students, OWN)
    return root


@pytest.fixture(scope="module")
def handed_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_of(STUDENTS, tmp_path_factory.mktemp("course"))


def fresh(handed_in: Path, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(handed_in, place, symlinks=True)
    return place


def times_in_the_gradebook(root: Path) -> list[int]:
    ask = "select count(*) from submitted_notebook group by assignment_id"
    with closing(sqlite3.connect(root / "build/gradebook.db")) as book:
        return [count for (count,) in book.execute(ask)]


@pytest.mark.parametrize(
    "kills", [5, pytest.param(50, marks=pytest.mark.long)], ids=["short", "long"]
)
def test_what_was_killed_is_finished_by_the_next_run(
    handed_in: Path, tmp_path: Path, kills: int
) -> None:
    undisturbed = fresh(handed_in, tmp_path / "undisturbed")
    assert run(undisturbed)
    meant = [(undisturbed / name).read_bytes() for name in FILES]
    draw, root, killed = random.Random(0), fresh(handed_in, tmp_path / "killed"), 0
    seconds = 8.0
    while killed < kills:
        if run(root, draw.uniform(0, seconds)):
            assert [(root / name).read_bytes() for name in FILES] == meant
            fresh(handed_in, root)
            seconds /= 2  # on a faster machine: fewer of them come to their end
        else:
            killed += 1
    assert run(root)
    assert [(root / name).read_bytes() for name in FILES] == meant
    assert times_in_the_gradebook(root) == [1] * (len(STUDENTS) - 1)
    for student in STUDENTS[:-1]:
        page = f"build/feedback/{sample.PREFIX}{student}/00_tiny/00_tiny.html"
        assert (root / page).read_bytes() == (undisturbed / page).read_bytes()


# ---- any process of the command ----

FEW = ("perfect", "half-wrong", "noisy", "cut-short")


@pytest.fixture(scope="module")
def small_class(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_of(FEW, tmp_path_factory.mktemp("course"))


GRADE = ("graders", "grade", "--yes")


def started(root: Path, surroundings: dict[str, str]) -> psutil.Popen:
    quiet, command = subprocess.DEVNULL, [sys.executable, "-m", *GRADE]
    return psutil.Popen(command, cwd=root, env=surroundings, stdout=quiet, stderr=quiet)


def one_is_hit(leader: psutil.Popen, draw: random.Random, seconds: float) -> None:
    """Kills the leader, or a process that it has started, after some of these seconds."""
    with suppress(psutil.TimeoutExpired):
        leader.wait(draw.uniform(0, seconds))
    family = []
    with suppress(psutil.NoSuchProcess):
        family = [leader, *leader.children(recursive=True)]
        draw.choice(family).kill()
    leader.wait(300)
    _, alive = psutil.wait_procs(family, timeout=300)
    assert alive == [], "a process outlives the run that started it"


@pytest.mark.parametrize(
    "kills", [1, pytest.param(20, marks=pytest.mark.long)], ids=["short", "long"]
)
def test_whoever_is_killed_the_next_run_has_the_same_marks(
    small_class: Path, tmp_path: Path, kills: int
) -> None:
    undisturbed, draw = fresh(small_class, tmp_path / "undisturbed"), random.Random(1)
    surroundings = servers.environment(tmp_path / "home")
    servers.run(undisturbed, surroundings, *GRADE)
    meant = [(undisturbed / name).read_bytes() for name in FILES]
    for _ in range(kills):
        root = fresh(small_class, tmp_path / "killed")
        one_is_hit(started(root, surroundings), draw, seconds=15)
        servers.run(root, surroundings, *GRADE)
        assert [(root / name).read_bytes() for name in FILES] == meant
        assert times_in_the_gradebook(root) == [1] * (len(FEW) - 1)
