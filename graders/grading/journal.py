"""What grading has found out so far, on disk: a line of JSON for each submission, as it comes.

A run that was killed leaves at most one line cut short; the next run examines of each submission
only what is new: a notebook that it does not know, a check that has changed since.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import msgspec

from graders.files import digest
from graders.grading.examiner import Examination
from graders.lesson.cells import Lesson

PATH = Path("reports/journal.jsonl")  # in the folder of a class

Key = tuple[str, str]
"""A student and a lesson."""


@dataclass(frozen=True)
class Entry:
    """An examination, of which notebook it is, and by which checks it was found."""

    notebook: str  # the digest of what was handed in
    checks: dict[str, str]  # the digest of each check as it was, by its name
    found: Examination

    @property
    def digest(self) -> str:
        """A name for exactly this."""
        return digest(json.dumps(asdict(self), sort_keys=True).encode())

    def touched(self, checks: Mapping[str, str]) -> set[str]:
        """The checks that are not what they were when this was found."""
        return {name for name, now in checks.items() if self.checks.get(name) != now}


@dataclass(frozen=True)
class Status:
    """What became of a submission when it was last graded: a status of `results`, and a reason."""

    status: str
    reason: str = ""


@dataclass(frozen=True)
class Recorded:
    """What the gradebook was given: the digests of a notebook, and of an entry."""

    notebook: str
    entry: str


@dataclass(frozen=True)
class Line:
    """One line of the journal: news of one submission, of whichever kind."""

    student: str
    lesson: str
    entry: Entry | None = None
    recorded: Recorded | None = None
    status: Status | None = None


class Journal:
    """The last news of each kind of each submission: of earlier runs, and those that are added."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[Key, Entry] = {}
        self.recorded: dict[Key, Recorded] = {}
        self.statuses: dict[Key, Status] = {}
        self.read_again()
        path.parent.mkdir(parents=True, exist_ok=True)

    def read_again(self) -> None:
        """It has what another run has added meanwhile, too."""
        for line in _lines(self.path):
            self._take(line)

    def _take(self, line: Line) -> None:
        key = line.student, line.lesson
        if line.entry:
            self.entries[key] = line.entry
        if line.recorded:
            self.recorded[key] = line.recorded
        if line.status:
            self.statuses[key] = line.status

    def known(self, key: Key, notebook: str) -> Entry | None:
        """What was found of this very notebook, by whichever checks."""
        entry = self.entries.get(key)
        return entry if entry and entry.notebook == notebook else None

    def add(self, key: Key, entry: Entry) -> None:
        """Writes it down; when this returns, it is on disk.

        `entries` has it as a later run will read it: half a character is a question mark.
        """
        content = json.dumps(asdict(entry), ensure_ascii=False).encode("utf-8", "replace")
        self._write(Line(*key, entry=msgspec.json.decode(content, type=Entry)))

    def is_recorded(self, key: Key) -> bool:
        """Whether the gradebook has been given the last entry."""
        entry, recorded = self.entries.get(key), self.recorded.get(key)
        return entry is not None and recorded is not None and entry.digest == recorded.entry

    def note_recorded(self, key: Key) -> None:
        """Writes down that the gradebook has been given the last entry."""
        entry = self.entries[key]
        self._write(Line(*key, recorded=Recorded(entry.notebook, entry.digest)))

    def note(self, key: Key, status: str, reason: str = "") -> None:
        """Writes down what became of the submission, if that is news."""
        if self.statuses.get(key) != Status(status, reason):
            self._write(Line(*key, status=Status(status, reason)))

    def _write(self, line: Line) -> None:
        self._take(line)
        news = {name: value for name, value in asdict(line).items() if value is not None}
        with self.path.open("a", encoding="utf-8") as file:
            if file.tell() and not _ends_with_newline(self.path):
                file.write("\n")
            file.write(json.dumps(news, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def check_digests(code: bytes, lesson: Lesson) -> dict[str, str]:
    """A digest of each check: of its own cell, and of all that decides on what it says.

    That is the code of the grading, and of the lesson the cells above the check that are no
    checks, solutions too, demonstrations apart: they make the names that it reads.
    """
    above, found = [code], {}
    for cell in lesson.cells:
        if cell.check:
            own = (str(cell.grade_id).encode(), cell.source.encode())
            found[str(cell.grade_id)] = digest(*above, *own)
        elif cell.kind == "code" and not cell.is_demonstration:
            above.append(cell.source.encode())
    return found


def code_digest(package: Path) -> bytes:
    """A digest of what decides on marks beside the lesson: our code, and what it runs on.

    That is every Python file of the folder `package`, its tests apart, this Python, and the
    version of each package that is installed: an upgraded JAX may judge otherwise.
    """
    parts = [sys.version, *sorted(f"{d.name} {d.version}" for d in metadata.distributions())]
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package)
        if "tests" not in name.parts:
            parts += [name.as_posix(), path.read_bytes()]
    return digest(*(part.encode() if isinstance(part, str) else part for part in parts)).encode()


def _lines(path: Path) -> Iterator[Line]:
    """The lines that can be read; others were cut short, or are of another version."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    for line in text.split("\n"):
        with suppress(msgspec.DecodeError):
            yield msgspec.json.decode(line, type=Line)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
