"""Grades the attacks by stock nbgrader and by `jax-course grade`; prints a table in Markdown.

    python -m graders.tests.attacks > graders/tests/attacks/README.md

Run it on a machine that you can lose: stock nbgrader runs the attacks with your rights. What could
take the machine along is bounded (see `escaping`).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from itertools import groupby, product
from pathlib import Path

from graders.classroom import grade
from graders.grading.engine import Settings
from graders.tests.attacks.arena import (
    ATTACKS,
    BYSTANDERS,
    HIDDEN_READ,
    HONEST,
    LESSON,
    Arena,
    Canaries,
    student_of,
    token_of,
)
from graders.tests.attacks.corpus import Attack

SECONDS = 20
# nbgrader as it comes: nothing but the folders, and a time limit for each cell.
STOCK = f"""
c = get_config()
c.CourseDirectory.course_id = "attacks"
c.CourseDirectory.source_directory = "build/source"
c.CourseDirectory.release_directory = "build/release"
c.CourseDirectory.submitted_directory = "build/submitted"
c.CourseDirectory.autograded_directory = "build/autograded"
c.CourseDirectory.feedback_directory = "build/feedback"
c.CourseDirectory.db_url = "sqlite:///build/gradebook.db"
c.Execute.timeout = {SECONDS}
"""
TITLE = """# What comes of the attacks

Each row is a submission of [the corpus](corpus.py). nbgrader {nbgrader} ran them as it comes, with
its own preprocessors, each in a course of its own; "held" says that none of what the arena looks at
has happened: points that were not earned, points of others lost, canaries or hidden inputs in the
feedback page, files written, processes that outlive the run, limits passed. Scripts in feedback
pages are tried in a real browser, by `test_attacks.py`, and for stock nbgrader not at all: its
column says "not tried". nbgrader shows every student the hidden tests, inputs and all, in the page
that comes back, the honest one too: no row of its column repeats that.

Of {count} attacks stock nbgrader held {stock}, and {untried} were not tried on it;
`jax-course grade` held {ours}.

The table is made by `python -m graders.tests.attacks`.
"""
PAGE, STEPS = "the feedback page", ("autograde", "generate_feedback")
HEADER = "| attack | it | nbgrader | jax-course |\n|---|---|---|---|"


def by_stock(arena: Arena) -> dict[Attack, str]:
    """What each attack has got of `nbgrader autograde` and `generate_feedback`.

    Each has the course for itself: one that changes the gradebook would change it for all.
    """
    (arena.root / "nbgrader_config.py").write_text(STOCK)
    _nbgrader(arena.root, "generate_assignment")
    for student, step in product(BYSTANDERS, STEPS):
        _nbgrader(arena.root, step, f"--student={student}")
    assert arena.shows_hidden_inputs(HONEST), "what TITLE says of nbgrader's pages is not so"
    untouched = arena.root.with_name("untouched")
    shutil.copytree(arena.root, untouched, symlinks=True)
    got = {}
    for attack in arena.attacks:
        for step in STEPS:
            _nbgrader(arena.root, step, f"--student={student_of(attack)}")
        got[attack] = _said_of(arena, attack, HIDDEN_READ)
        _end_what_outlived()
        shutil.rmtree(arena.root)
        shutil.copytree(untouched, arena.root, symlinks=True)
    return got


def _nbgrader(root: Path, step: str, *options: str) -> None:
    command = [sys.executable, "-m", "nbgrader", step, LESSON, *options]
    subprocess.run(command, cwd=root, check=False, capture_output=True)


def by_us(arena: Arena) -> dict[Attack, str]:
    """What each attack has got of `jax-course grade`, which grades all of them in one run."""
    grade.grade(Settings(arena.root, seconds=SECONDS))
    got = {attack: _said_of(arena, attack) for attack in arena.attacks}
    _end_what_outlived()
    return got


def _said_of(arena: Arena, attack: Attack, unsaid: str = "") -> str:
    return "; ".join(what for what in arena.broken(attack) if what != unsaid) or "held"


def outcomes(graded_by: Callable[[Arena], dict[Attack, str]]) -> dict[Attack, str]:
    """What each attack has got, in an arena of its own."""
    with tempfile.TemporaryDirectory() as folder, Canaries(Path(folder)) as canaries:
        arena = Arena(Path(folder) / "course", canaries.port, str(canaries.letter_box))
        arena.root.mkdir()
        arena.prepare()
        return graded_by(arena)


def _end_what_outlived() -> None:
    tokens = [token_of(attack).encode() for attack in ATTACKS]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if any(token in path.read_bytes() for token in tokens):
                os.kill(int(path.parent.name), signal.SIGKILL)
        except OSError:
            continue


def main() -> None:
    """Prints the table."""
    stock, ours = outcomes(by_stock), outcomes(by_us)
    for attack in ATTACKS:
        if attack.family == PAGE and stock[attack] == "held":
            stock[attack] = "not tried"
    counts = {
        "count": len(ATTACKS),
        "stock": _count("held", stock),
        "untried": _count("not tried", stock),
        "ours": _count("held", ours),
    }
    print(TITLE.format(nbgrader=version("nbgrader"), **counts))
    for family, attacks in groupby(ATTACKS, lambda attack: attack.family):
        print(f"## {family.capitalize()}\n\n{HEADER}")
        for attack in attacks:
            print(f"| {attack.name} | {attack.tries} | {stock[attack]} | {ours[attack]} |")
        print()


def _count(what: str, column: dict[Attack, str]) -> int:
    return sum(said == what for said in column.values())


if __name__ == "__main__":
    main()
