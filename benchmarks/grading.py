"""How fast a class is graded: `jax-course grade` beside `nbgrader autograde`, in one run.

    python benchmarks/grading.py [--students 12] [--by-nbgrader 1] [LESSON ...]

Every student hands in every lesson (00 to 07 where none is named), with right and wrong answers by
turns. The first ones are graded by nbgrader as it comes, one after the other, and all of them by
the engine, its workers' start and the sandbox included. The ratio is that of submissions an hour.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from graders.author.build import RELEASE, build_sources, built
from graders.author.cells import Lesson
from graders.classroom.draft import Draft
from graders.classroom.grade import grade
from graders.grading.engine import Settings

ROOT = Path(__file__).parents[1]
LAST = "07_sharding"
STOCK = """
c = get_config()
c.CourseDirectory.course_id = "benchmark"
c.CourseDirectory.source_directory = "build/source"
c.CourseDirectory.release_directory = "course"
c.CourseDirectory.submitted_directory = "build/{submitted}"
c.CourseDirectory.autograded_directory = "build/autograded-by-nbgrader"
c.CourseDirectory.feedback_directory = "build/feedback-by-nbgrader"
c.CourseDirectory.db_url = "sqlite:///build/by-nbgrader.db"
c.Execute.timeout = 600
"""


def course(root: Path, names: list[str]) -> list[Lesson]:
    """A course under `root` with the lessons of this one; those that are named."""
    for name in ("solutions", "data", "nbgrader_config.py"):
        (root / name).symlink_to(ROOT / name)
    lessons = build_sources(root, names)
    return lessons if names else [lesson for lesson in lessons if lesson.name <= LAST]


def hand_in(root: Path, lesson: Lesson, student: int, folder: str) -> None:
    """Right answers, and every third one wrong; which ones, is another matter for each student."""
    released = built(root, [lesson])[RELEASE / lesson.name / f"{lesson.name}.ipynb"]
    draft = Draft(lesson, nbformat.reads(released.decode(), as_version=4))
    draft.solve()
    for exercise in draft.can_be_wrong()[student % 3 :: 3]:
        wrong = draft.wrong_for(exercise)
        draft.put_entry(wrong[student % len(wrong)])
    place = root / "build" / folder / f"student-{student:03}" / lesson.name
    place.mkdir(parents=True)
    (place / f"{lesson.name}.ipynb").write_bytes(draft.file_content())


def seconds_by_nbgrader(root: Path, lessons: list[Lesson]) -> float:
    """What `nbgrader autograde` takes for all that lies in build/for-nbgrader."""
    config = root / "by_nbgrader.py"
    config.write_text(STOCK.format(submitted="for-nbgrader"))
    total = 0.0
    for lesson in lessons:
        for step in ("generate_assignment", "autograde"):
            start = time.monotonic()
            command = [sys.executable, "-m", "nbgrader", step, lesson.name, f"--config={config}"]
            subprocess.run(command, cwd=root, check=step == "autograde", capture_output=True)
            total += (time.monotonic() - start) * (step == "autograde")
    return total


def seconds_by_us(root: Path) -> float:
    """What `jax-course grade` takes for all that has been handed in."""
    start = time.monotonic()
    rows = grade(Settings(root))
    failed = [row for row in rows if row.status != "graded"]
    assert not failed, failed[:1]
    return time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("lessons", nargs="*")
    parser.add_argument("--students", type=int, default=12)
    parser.add_argument("--by-nbgrader", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lessons = course(root, asked.lessons)
        for lesson in lessons:
            for student in range(asked.students):
                hand_in(root, lesson, student, "submitted")
            for student in range(asked.by_nbgrader):
                hand_in(root, lesson, student, "for-nbgrader")
        theirs = seconds_by_nbgrader(root, lessons) / (len(lessons) * asked.by_nbgrader)
        ours = seconds_by_us(root) / (len(lessons) * asked.students)
    print(f"{len(lessons)} lessons, {asked.students} students each: {theirs / ours:.1f} times")
    print(f"nbgrader autograde {theirs:.2f} s, jax-course grade {ours:.2f} s a submission")


if __name__ == "__main__":
    main()
