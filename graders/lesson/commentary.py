"""What commentary.md says of the author's answers, exercise by exercise."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from graders.lesson.cells import Lesson
from graders.lesson.problems import Finding, Problem

FILE = "commentary.md"
_SECTION = re.compile(r"^## (?P<name>.+?)\n(?P<body>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_ARGUMENTS = re.compile(r"\A\s*jaxpr: (?P<arguments>.+)\n")


@dataclass(frozen=True)
class Comment:
    """What a student may read of one answer, once theirs has passed."""

    text: str  # Markdown: sentences, with code in backticks
    arguments: str = ""  # with which the jaxprs of both answers are compared; "" where they are not
    line: int = 1  # of its heading in the file


def read_commentary(folder: Path) -> dict[str, Comment]:
    """The comments of a lesson by exercise; none where it has no commentary.md."""
    path = folder / FILE
    return dict(_comments(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _comments(text: str) -> Iterator[tuple[str, Comment]]:
    for section in _SECTION.finditer(text):
        body = section["body"]
        found = _ARGUMENTS.match(body)
        words = " ".join(body[found.end() if found else 0 :].split())
        line = text.count("\n", 0, section.start()) + 1
        yield section["name"].strip(), Comment(words, found["arguments"] if found else "", line)


def commentary_problems(lesson: Lesson) -> list[Problem]:
    """Comments on no exercise, exercises without one, and what should be an expression."""
    comments = read_commentary(lesson.path)
    found = list(_findings(lesson, comments)) if comments else []
    return [Problem(lesson.path / FILE, *finding) for finding in found]


def _findings(lesson: Lesson, comments: Mapping[str, Comment]) -> Iterator[Finding]:
    exercises = [name for name, cell in lesson.exercises.items() if cell.answer_kind == "code"]
    for name, comment in comments.items():
        if name not in exercises:
            what = f"the commentary is on {name!r}, which is no code exercise"
            yield Finding(comment.line, what, "name an exercise of the lesson")
        if not comment.text:
            yield Finding(comment.line, f"the commentary on {name!r} is empty", "write it")
        if not _is_expression(f"f({comment.arguments})"):
            what = f"the arguments of the jaxpr of {name!r} are no Python"
            yield Finding(comment.line + 1, what, "write positional arguments")
    for name in exercises:
        if name not in comments:
            yield Finding(1, f"exercise {name!r} has no commentary", f"write `## {name}`")


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return False
    return True
