"""How many points an answer gains by forging what its process claims; prints a table in Markdown.

    python -m graders.tests.attacks.claims [--most N] [LESSON ...]

With `--most`, at most so many wrong answers of each exercise are tried: the last ones in wrong.py,
which are those that are right in their numbers.

Each wrong answer of each lesson is graded as a class is, without the sandbox, in a process that
forges: where the author's solution would have made the same observation, its reply is sent in the
place of the answer's own. So the forger knows all that the checks ask, and not how to write the
answer. Values and exported programs are the answer's own. Where a program can confirm a claim, the
answer is tried with that claim forged and with it true.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import logging
import pickle
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import numpy as np

from graders.grading import worker
from graders.grading.confirmation import STRUCTURAL
from graders.lesson.cells import Entry, Lesson
from graders.lesson.source import read_lesson
from graders.probes import PROBES
from graders.root import course_root
from graders.sample.draft import Draft
from graders.values.plain import is_key

CLAIMS = ("purity", "traces", "donation", "placement", "key_uses", *STRUCTURAL)
"""The probes whose replies are facts about an answer, and not what it returns."""
PRELUDE = """
import base64, pickle
from graders import probes
from graders.tests.attacks import claims as forger
forger.forge({structural!r}, pickle.loads(base64.b64decode({replies!r})))
"""
HEADER = "| lesson | points | gained by forging | exercises |\n|---|---|---|---|"

Replies = dict[tuple[str, str], Any]
"""What the solution's observations gave, by the probe and a digest of the arguments."""


# ---- in the answer's process ----


def forge(structural: bool, replies: Replies) -> None:
    """From now on the probes of this process send these replies.

    Those that a program can confirm are sent only if `structural`.
    """
    for name in CLAIMS:
        if structural or name not in STRUCTURAL:
            PROBES[name] = _forged(name, PROBES[name], replies)


def _forged(name: str, real: Any, replies: Replies) -> Any:
    def probe(function: Any, *args: Any, **options: Any) -> Any:
        key = name, digest((args, options))
        return replies[key] if key in replies else real(function, *args, **options)

    return probe


def digest(value: Any) -> str:
    """The same text for equal arguments, in this process and in another."""
    parts = []
    for leaf in jax.tree.leaves(value):
        if is_key(leaf):
            leaf = jax.random.key_data(leaf)
        if isinstance(leaf, jax.Array | np.ndarray | np.generic | int | float):
            array = np.asarray(leaf)
            parts.append(f"{array.shape} {array.astype(complex).round(4).tolist()}")
        else:
            parts.append(type(leaf).__name__)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


# ---- where it is measured ----


@dataclass
class Gained:
    """What a forger gains in one lesson."""

    lesson: str
    points: float  # of the lesson
    by: dict[str, float] = field(default_factory=dict)  # by exercise


def recorded(lesson: Lesson, cache: Path) -> tuple[worker.Workplace, Replies]:
    """A workplace for the lesson, and what its solutions say."""
    said: Replies = {}
    real = {name: PROBES[name] for name in CLAIMS}

    def noting(name: str) -> Any:
        def probe(function: Any, *args: Any, **options: Any) -> Any:
            asked = digest((args, options))  # before the answer can donate them
            said[name, asked] = found = real[name](function, *args, **options)
            return found

        return probe

    PROBES.update({name: noting(name) for name in CLAIMS})
    try:
        place = worker.prepared(lesson, cache, worker.NoSandbox())
    finally:
        PROBES.update(real)
    return place, said


def submissions(lesson: Lesson, most: int) -> Iterator[tuple[bool, list[Entry]]]:
    """Wrong answers, one for each exercise; with whether what a program can confirm is forged."""
    for structural in (False, True):
        tried = []
        for name in lesson.exercises:
            source = "".join(cell.source for cell in lesson.checks if cell.check == name)
            asked = "check_primitives" in source or "check_collectives" in source
            entries = [entry for entry in lesson.wrong if entry.exercise == name]
            tried.append(entries[-most:] if asked or not structural else [])
        yield from ((structural, [*filter(None, row)]) for row in zip_longest(*tried))


def gained(lesson: Lesson, most: int = 1000) -> Gained:
    """What forging gains in the lesson, with at most `most` wrong answers for each exercise."""
    root, found = course_root(), Gained(lesson.name, sum(c.points or 0 for c in lesson.checks))
    with TemporaryDirectory() as folder:
        place, said = recorded(lesson, Path(folder))
        replies = base64.b64encode(pickle.dumps(said)).decode()
        for structural, answers in submissions(lesson, most):
            draft = Draft.of(root, lesson)
            draft.solve()
            prelude = PRELUDE.format(structural=structural, replies=replies)
            first = next(e for e in answers if lesson.exercises[e.exercise].answer_kind == "code")
            for entry in answers:
                source = prelude * (entry is first) + entry.source
                draft.put(entry.exercise, source, earns=False)
            outcomes = place.examiner.examine(draft.notebook.cells, place.processes).outcomes
            for entry in answers:
                checks = draft.checks_of(entry.exercise)
                if all(outcomes[check].passed for check in checks):
                    # The answer is wrong by one of its checks at least.
                    found.by[entry.exercise] = min(draft.points[check] for check in checks)
                    print(lesson.name, entry.exercise, entry.line, structural, file=sys.stderr)
    return found


def main(arguments: Sequence[str]) -> None:
    """Prints a row for each lesson that is named; for all of them if none is."""
    parser = argparse.ArgumentParser()
    parser.add_argument("lessons", nargs="*")
    parser.add_argument("--most", type=int, default=1000)
    given = parser.parse_args(arguments)
    logging.getLogger("jax").setLevel(logging.ERROR)
    folders = sorted((course_root() / "solutions").glob("[0-9]*"))
    print(HEADER)
    for folder in folders:
        if not given.lessons or folder.name in given.lessons:
            one = gained(read_lesson(folder), given.most)
            by = ", ".join(f"`{name}` {points:g}" for name, points in one.by.items())
            print(
                f"| {one.lesson} | {one.points:g} | {sum(one.by.values()):g} | {by} |", flush=True
            )


if __name__ == "__main__":
    main(sys.argv[1:])
