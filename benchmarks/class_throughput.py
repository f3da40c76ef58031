"""How fast a class is graded: by `nbgrader autograde`, and by `jax-course grade` in its sandbox.

    python benchmarks/class_throughput.py [--submissions 100] [--sample 2] [LESSON ...]

Both grade the same submissions in one run on one machine: to each exercise the author's answer,
another right one or a wrong one, as drawn from a fixed seed. `jax-course grade` grades all of them,
and its time is that of the whole command: preparing each lesson with an empty cache of compiled
programs, feedback pages and reports. nbgrader grades the first few of each lesson, one after the
other, which takes as long for each one however many there are; its feedback is not counted. First
it is printed which of the means to compile quickly have an effect on this JAX.
"""

import argparse
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import mean

from graders.author.build import build_sources
from graders.grading.submissions import OWN, SUBMITTED
from graders.lesson.source import Lesson
from graders.sample.draft import Draft
from graders.values.jax_internals import speed_ups

ROOT = Path(__file__).parents[1]
LESSONS = [path.name for path in sorted((ROOT / "solutions").glob("0[0-7]_*"))]
COURSE = ("solutions", "course", "data", "nbgrader_config.py", "pyproject.toml")


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


def hand_in(root: Path, lesson: Lesson, students: int) -> None:
    for number in range(students):
        folder = root / OWN / SUBMITTED / name_of(number) / lesson.name
        folder.mkdir(parents=True)
        (folder / f"{lesson.name}.ipynb").write_bytes(drawn(lesson, number).file_content())


def name_of(student: int) -> str:
    return f"student-{student:03}"


def seconds(root: Path, *command: str) -> float:
    """How long a command takes that must succeed."""
    begun = time.perf_counter()
    call = [sys.executable, "-m", *command]
    done = subprocess.run(call, cwd=root, capture_output=True, text=True, env=surroundings(root))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return time.perf_counter() - begun


def surroundings(root: Path) -> dict[str, str]:
    return os.environ | {"JAX_COURSE_DATA": str(root / "data"), "PYTHONPATH": str(ROOT)}


def by_nbgrader(root: Path, lesson: Lesson, student: int) -> float:
    named = (lesson.name, f"--student={name_of(student)}", "--force")
    return seconds(root, "nbgrader", "autograde", *named)


def print_speed_ups() -> None:
    """In a process of its own, for it starts a backend and shares its contexts."""
    with ProcessPoolExecutor(1, get_context("spawn")) as alone:
        found = alone.submit(speed_ups).result()
    print(f"JAX {version('jax')}, Python {platform.python_version()}")
    for name, has_effect in found.items():
        print(f"  {name}: {'in effect' if has_effect else 'NO EFFECT on this JAX'}", flush=True)


def course(place: Path) -> Path:
    """A course of its own, with no gradebook and no compiled programs."""
    root = place / "course"
    root.mkdir()
    for name in COURSE:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, root / name)
    return root


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--submissions", type=int, default=100)
    arguments.add_argument("--sample", type=int, default=2)
    arguments.add_argument("lessons", nargs="*", default=LESSONS, metavar="LESSON")
    asked = arguments.parse_args()
    print_speed_ups()
    with tempfile.TemporaryDirectory() as folder:
        root = course(Path(folder))
        lessons = build_sources(root, asked.lessons)
        for number, lesson in enumerate(lessons):
            hand_in(root, lesson, len(range(number, asked.submissions, len(lessons))))
        ours = seconds(root, "graders", "grade", *asked.lessons) / asked.submissions
        print(f"jax-course grade: {ours:.2f} s for each of {asked.submissions} submissions")
        stock = []
        for lesson in lessons:
            taken = [by_nbgrader(root, lesson, student) for student in range(asked.sample)]
            stock.append(mean(taken))
            print(f"nbgrader autograde: {stock[-1]:.1f} s for one of {lesson.name}", flush=True)
    print(f"ratio of throughput: {mean(stock) / ours:.1f}")


if __name__ == "__main__":
    main()
