"""How fast a class is graded: by `nbgrader autograde`, and by `jax-course grade` in its sandbox.

    python benchmarks/class_throughput.py [--students 13] [--sample 2] [LESSON ...]

Both grade the same kind of submissions in one run on one machine: to each exercise the author's
answer, another right one or a wrong one, as drawn from a fixed seed. `jax-course grade` grades all
students, and its time is that of the whole command: preparing the lesson with an empty cache of
compiled programs, feedback pages and reports. nbgrader grades the first few, one after the other,
which takes as long for each one however many there are; its feedback pages are not counted.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from graders.author.build import build_sources
from graders.author.source import Lesson
from graders.classroom.draft import Draft
from graders.classroom.submissions import SUBMITTED

ROOT = Path(__file__).parents[1]
LESSONS = [path.name for path in sorted((ROOT / "solutions").glob("0[0-7]_*"))]
COURSE = ("solutions", "course", "data", "nbgrader_config.py", "pyproject.toml")


@dataclass(frozen=True)
class Taken:
    """Seconds for each submission of a lesson."""

    nbgrader: float
    ours: float

    @property
    def ratio(self) -> float:
        return self.nbgrader / self.ours


def drawn(lesson: Lesson, student: int) -> Draft:
    """A student's notebook; the same one in each run."""
    draft = Draft.of(ROOT, lesson)
    draft.solve()
    draw = random.Random(f"{lesson.name} {student}")
    for exercise in lesson.exercises:
        kinds = [[], draft.right_for(exercise), draft.wrong_for(exercise)]
        if entries := draw.choice(kinds):
            draft.put_entry(draw.choice(entries))
    return draft


def hand_in(root: Path, lesson: Lesson, students: int) -> list[str]:
    names = [f"student-{number:03}" for number in range(students)]
    for number, name in enumerate(names):
        folder = root / SUBMITTED / name / lesson.name
        folder.mkdir(parents=True)
        (folder / f"{lesson.name}.ipynb").write_bytes(drawn(lesson, number).file_content())
    return names


def seconds(root: Path, *command: str) -> float:
    """How long a command takes that must succeed."""
    begun = time.perf_counter()
    call = [sys.executable, "-m", *command]
    done = subprocess.run(call, cwd=root, capture_output=True, text=True, env=surroundings(root))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return time.perf_counter() - begun


def surroundings(root: Path) -> dict[str, str]:
    return os.environ | {"JAX_COURSE_DATA": str(root / "data"), "PYTHONPATH": str(ROOT)}


def taken(root: Path, lesson: Lesson, students: int, sample: int) -> Taken:
    names = hand_in(root, lesson, students)
    ours = seconds(root, "graders", "grade", lesson.name) / students
    graded = [
        seconds(root, "nbgrader", "autograde", lesson.name, f"--student={name}", "--force")
        for name in names[:sample]
    ]
    return Taken(sum(graded) / sample, ours)


def course(place: Path) -> Path:
    """A course of its own, with no gradebook and no compiled programs."""
    root = place / "course"
    root.mkdir()
    for name in COURSE:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, root / name)
    return root


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--students", type=int, default=13)
    arguments.add_argument("--sample", type=int, default=2)
    arguments.add_argument("lessons", nargs="*", default=LESSONS, metavar="LESSON")
    asked = arguments.parse_args()
    found: list[Taken] = []
    with tempfile.TemporaryDirectory() as folder:
        root = course(Path(folder))
        print(f"{'lesson':18} {'ratio':>6}  seconds each: nbgrader, jax-course")
        for lesson in build_sources(root, asked.lessons):
            found.append(one := taken(root, lesson, asked.students, asked.sample))
            print(
                f"{lesson.name:18} {one.ratio:6.1f}  {one.nbgrader:8.1f} {one.ours:8.1f}",
                flush=True,
            )
    whole = sum(one.nbgrader for one in found) / sum(one.ours for one in found)
    print(f"{'all':18} {whole:6.1f}")


if __name__ == "__main__":
    main()
