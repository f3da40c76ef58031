"""Where attacks are graded: a course with canaries in it, and a look at what they have done."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup

from graders.author.build import build_sources
from graders.lesson.source import read_lesson
from graders.sample.draft import Draft
from graders.tests.attacks import escaping, gaining, pages, reading, writing
from graders.tests.attacks.corpus import RIGHT, Attack
from graders.tests.fixture_lesson import JUDGED, make_course

LESSON = "00_tiny"
HONEST = "honest"
ATTACKS: list[Attack] = [
    *gaining.ATTACKS,
    *reading.ATTACKS,
    *writing.ATTACKS,
    *escaping.ATTACKS,
    *pages.ATTACKS,
]
CANARY = "canary-{}-that-nobody-may-see"
PLACES = ("solution", "submission", "environment", "file", "network", "letter", "gradebook")
CANARIES = [CANARY.format(place) for place in PLACES]
BYSTANDERS = (HONEST, CANARIES[6])  # the gradebook holds their names
HIDDEN_INPUT, HIDDEN_READ = "12345", "a hidden input read"
REACHED = "REACHED"
_SOLUTION = "### BEGIN SOLUTION\n    return operator"


def student_of(attack: Attack) -> str:
    """Who hands the attack in."""
    return re.sub(r"\W+", "-", attack.name)


def token_of(attack: Attack) -> str:
    """What the attack writes where it can."""
    return f"planted-by-{student_of(attack)}"


@dataclass
class Arena:
    """A course under `root` in which every attack has been handed in."""

    root: Path
    port: int = 0
    letter_box: str = ""
    attacks: list[Attack] = field(default_factory=lambda: ATTACKS)

    def prepare(self) -> None:
        """Builds the lesson, plants canaries, and hands in."""
        planted = f"### BEGIN SOLUTION\n    # {CANARIES[0]}\n    return operator"
        lesson = JUDGED.replace(_SOLUTION, planted)
        assert planted in lesson
        make_course(self.root, lesson)
        build_sources(self.root)
        (self.root / "secret.txt").write_text(CANARIES[3])
        honest = Attack("", "", "", f"# {CANARIES[1]}\n{RIGHT}", earns=True)
        for student in BYSTANDERS:
            self._hand_in(student, honest)
        for attack in self.attacks:
            self._hand_in(student_of(attack), attack)

    def _hand_in(self, student: str, attack: Attack) -> None:
        lesson = read_lesson(self.root / "solutions" / LESSON)
        draft = Draft.of(self.root, lesson)
        draft.solve()
        draft.put("double", self._filled(attack), earns=attack.earns)
        if attack.change:
            attack.change(draft)
        folder = self.root / "build/submitted" / student / LESSON
        folder.mkdir(parents=True)
        (folder / f"{LESSON}.ipynb").write_bytes(draft.file_content())

    def _filled(self, attack: Attack) -> str:
        meant = {
            "ROOT": str(self.root),
            "PORT": str(self.port),
            "PYTHON": sys.executable,
            "LETTER_BOX": self.letter_box,
            "TOKEN": token_of(attack),
        }
        return re.sub("|".join(meant), lambda found: meant[found[0]], attack.source)

    # ---- what has come of it ----

    def broken(self, attack: Attack) -> list[str]:
        """What the attack has got that it may not have; nothing, if it was held."""
        return [*self._marks(attack), *self._leaks(attack), *self._traces(attack)]

    def _marks(self, attack: Attack) -> Iterator[str]:
        scores = self.scores(student_of(attack))
        if not scores:
            yield "no marks: the submission was lost"
            return
        got, due = scores["double_check"], 2.0 if attack.earns else 0.0
        if got > due:
            yield f"{got - due:g} points gained"
        elif got < due and not attack.spoils:
            yield f"{due - got:g} points lost that were earned"
        if scores["answer_check"] != 1 and not attack.spoils:
            yield "the mark of another answer changed"

    def scores(self, student: str) -> dict[str, float]:
        """A student's marks in the gradebook."""
        ask = """
            select cell.name, coalesce(grade.manual_score, grade.auto_score)
            from grade join base_cell as cell on cell.id = grade.cell_id
            join submitted_notebook as notebook on notebook.id = grade.notebook_id
            join submitted_assignment as handed_in on handed_in.id = notebook.assignment_id
            where handed_in.student_id = ?"""
        with closing(sqlite3.connect(self.root / "build/gradebook.db")) as book:
            return {name: score or 0.0 for name, score in book.execute(ask, (student,))}

    def page(self, attack: Attack) -> Path:
        """The feedback page of the attack."""
        return self._page_of(student_of(attack))

    def shows_hidden_inputs(self, student: str) -> bool:
        """Whether a hidden input can be read in the student's feedback page."""
        page = self._page_of(student)
        return (
            page.is_file()
            and HIDDEN_INPUT in BeautifulSoup(page.read_text(), "html.parser").get_text()
        )

    def _page_of(self, student: str) -> Path:
        return self.root / "build/feedback" / student / LESSON / f"{LESSON}.html"

    def _leaks(self, attack: Attack) -> Iterator[str]:
        said = self._said(student_of(attack))
        yield from (f"{c.split('-')[1]} read" for c in CANARIES if c in said)
        if REACHED in said:
            yield "past its limit"
        if self.shows_hidden_inputs(student_of(attack)):
            yield HIDDEN_READ

    def _said(self, student: str) -> str:
        """All that the cells put out: the page cuts what is long."""
        notebook = self.root / "build/autograded" / student / LESSON / f"{LESSON}.ipynb"
        if not notebook.is_file():
            return ""
        cells = nbformat.read(notebook, as_version=4).cells
        return str([cell.outputs for cell in cells if cell.cell_type == "code"])

    def _traces(self, attack: Attack) -> Iterator[str]:
        token, student = token_of(attack).encode(), student_of(attack)
        for path in sorted(self.root.rglob("*")):
            inside = path.relative_to(self.root)
            if student in inside.parts:
                continue
            if token in os.fsencode(inside) or (path.is_file() and token in path.read_bytes()):
                yield f"wrote {inside.parts[0]}/{inside.name}"
        if self.letter_box and token in _content(Path(self.letter_box)):
            yield "left a letter"
        if any(token in _content(path) for path in Path("/proc").glob("[0-9]*/cmdline")):
            yield "outlived the run"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


class Canaries:
    """A letter box, a server and an environment that each hold a canary, while the block lasts."""

    def __init__(self, folder: Path) -> None:
        self.letter_box = folder / "letter-box.txt"

    def __enter__(self) -> Canaries:
        self.letter_box.write_text(CANARIES[5])
        os.environ["JAX_COURSE_CANARY"] = CANARIES[2]
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self.server.accept()
            except OSError:
                return
            with line:
                line.sendall(CANARIES[4].encode())

    def __exit__(self, *_: object) -> None:
        del os.environ["JAX_COURSE_CANARY"]
        self.server.close()
        self.letter_box.unlink(missing_ok=True)
