"""The line of links in a lesson: to the lesson before it, home, and to the one after it."""

from __future__ import annotations

import re
from pathlib import Path

from graders.lesson.cells import Lesson
from graders.lesson.source import FOLDER

HOME = "../reference/syllabus.md"
"""Where *Home* leads: the table of lessons. In JupyterLab the course's extension opens its own
home page instead."""
_TITLE = re.compile(r"^# # (.+)$", re.MULTILINE)
_MENTION = re.compile(r"\blessons? ((?:\d\d(?:, | and | to | or )?)+)", re.IGNORECASE)


def line(lesson: Lesson) -> str:
    """The links in Markdown, for the top and the end of the lesson.

    For the first lesson: `[Home](../reference/syllabus.md) · [1 · Arrays](...) →`.
    """
    folders = _siblings(lesson.path)
    here = folders.index(lesson.path)
    links = [f"[Home]({HOME})"]
    if here:
        links.insert(0, f"← {_link(folders[here - 1])}")
    if here + 1 < len(folders):
        links.append(f"{_link(folders[here + 1])} →")
    return " · ".join(links)


def unknown_lessons(lesson: Lesson) -> list[str]:
    """The numbers of lessons that this one mentions ("lesson 42") and that are not there.

    A course may leave lessons out, so this is no rule of a lesson. The whole course is tested.
    """
    numbers = {folder.name[:2] for folder in _siblings(lesson.path)}
    text = "\n".join(cell.source for cell in lesson.cells if cell.kind == "markdown")
    mentioned = {n for mention in _MENTION.findall(text) for n in re.findall(r"\d\d", mention)}
    return sorted(mentioned - numbers)


def _siblings(folder: Path) -> list[Path]:
    """The folders of all lessons in the order of the course."""
    return [path for path in sorted(folder.parent.glob("*")) if FOLDER.fullmatch(path.name)]


def _link(folder: Path) -> str:
    return f"[{_short_title(folder)}](../{folder.name}/{folder.name}.ipynb)"


def _short_title(folder: Path) -> str:
    """The heading of a lesson as far as its colon."""
    found = _TITLE.search((folder / "lesson.py").read_text(encoding="utf-8"))
    return found[1].partition(":")[0].strip() if found else folder.name
