"""Proves the seam: an answer in a second process gets the same verdict in the same words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graders.author.cells import Entry, Lesson
from graders.author.entries import run, try_entry
from graders.author.problems import Problem
from graders.place import LocalPlace
from graders.remote import RemotePlace, RemoteProcess


def compare_places(
    lesson: Lesson, entries: Sequence[Entry], advance: Callable[[], None]
) -> list[Problem]:
    """Entries that are judged otherwise, or in other words, where they live in a second process."""
    problems = []
    with RemoteProcess() as process:
        here, there = run(lesson, LocalPlace()), run(lesson, RemotePlace(process))
        for entry in entries:
            said = try_entry(here, entry).words, try_entry(there, entry).words
            if said[0] != said[1]:
                what = f"{entry.exercise}: here {said[0]}, in a second process {said[1]}"
                problems.append(Problem(entry.path, entry.line, what, "mend the seam"))
            advance()
    return problems


def sample(lesson: Lesson) -> list[Entry]:
    """One wrong and one right entry of each exercise: the last of each kind."""
    last = {(entry.kind, entry.exercise): entry for entry in (*lesson.wrong, *lesson.right)}
    return list(last.values())
