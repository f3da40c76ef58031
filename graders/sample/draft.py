"""A submission in the making: answers are put into the released notebook, and marks kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from graders.author.build import RELEASE, built
from graders.grading.results import GRADED, UNREADABLE, Row
from graders.lesson.cells import Entry, Lesson
from graders.lesson.regions import SOLUTION, without_marks


@dataclass
class Draft:
    """A student's notebook for a lesson, with the marks that it is due."""

    lesson: Lesson
    notebook: NotebookNode
    scores: dict[str, float] = field(default_factory=dict)  # by check; not mentioned is 0
    content: bytes | None = None  # instead of the notebook
    file: str = ""  # the name of the notebook's file, where it is not the usual one
    reason: str = ""  # why it cannot be read: a part of what the report says

    @classmethod
    def of(cls, root: Path, lesson: Lesson) -> Draft:
        """The lesson as the course at `root` releases it, with nothing answered."""
        released = built(root, [lesson])[RELEASE / lesson.name / f"{lesson.name}.ipynb"]
        return cls(lesson, nbformat.reads(released.decode(), as_version=4))

    def cell(self, grade_id: str) -> NotebookNode:
        """The cell that nbgrader knows by this name."""
        named = (c for c in self.notebook.cells if "nbgrader" in c.metadata)
        return next(c for c in named if c.metadata.nbgrader.grade_id == grade_id)

    def put(self, exercise: str, source: str, earns: bool) -> None:
        """Answers an exercise; its checks give all their points or none."""
        self.cell(exercise).source = source
        for check in self.checks_of(exercise):
            self.scores[check] = self.points[check] if earns else 0.0

    def solve(self) -> None:
        """Answers every exercise as the lesson's author does."""
        for name, cell in self.lesson.exercises.items():
            self.put(name, without_marks(cell.source, SOLUTION), earns=True)

    def put_entry(self, entry: Entry) -> None:
        """Answers an exercise as wrong.py or right.py does."""
        self.put(entry.exercise, entry.source, earns=entry.kind == "right")

    def wrong_for(self, exercise: str) -> list[Entry]:
        """Wrong answers that cost all of the exercise's points."""
        entries = [entry for entry in self.lesson.wrong if entry.exercise == exercise]
        return entries if len(self.checks_of(exercise)) == 1 else []

    def right_for(self, exercise: str) -> list[Entry]:
        """Right answers other than the author's."""
        return [entry for entry in self.lesson.right if entry.exercise == exercise]

    def can_be_wrong(self) -> list[str]:
        """The exercises for which there are such answers."""
        return [name for name in self.lesson.exercises if self.wrong_for(name)]

    def checks_of(self, exercise: str) -> list[str]:
        """The names of the exercise's check cells."""
        return [str(cell.grade_id) for cell in self.lesson.checks if cell.check == exercise]

    @property
    def points(self) -> dict[str, float]:
        """The points of each check."""
        return {str(cell.grade_id): float(cell.points or 0) for cell in self.lesson.checks}

    def file_content(self) -> bytes:
        """What is handed in."""
        return (
            nbformat.v4.writes_json(self.notebook).encode()
            if self.content is None
            else self.content
        )

    def row(self, student: str) -> Row:
        """The row that grading has to give."""
        scores = {check: self.scores.get(check, 0.0) for check in self.points}
        if self.reason:
            return Row(student, self.lesson.name, UNREADABLE, {}, self.points, self.reason)
        return Row(student, self.lesson.name, GRADED, scores, self.points)
