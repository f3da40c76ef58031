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
from typing import Any

from graders.files import digest
from graders.grading.examiner import Examination, Outcome, Said
from graders.lesson.cells import Lesson

PATH = Path("build/reports/journal.jsonl")


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


class Journal:
    """The last entry of each submission: those of earlier runs, and those that are added."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[tuple[str, str], Entry] = {}
        self._recorded: dict[tuple[str, str], str] = {}
        for line in _lines(path):
            with suppress(TypeError, KeyError, AttributeError):  # of another version
                self._take(line)
        path.parent.mkdir(parents=True, exist_ok=True)

    def _take(self, line: dict[str, Any]) -> None:
        key = line["student"], line["lesson"]
        if "recorded" in line:
            self._recorded[key] = line["recorded"]
        else:
            self.entries[key] = _entry(line)

    def known(self, student: str, lesson: str, notebook: str) -> Entry | None:
        """What was found of this very notebook, by whichever checks."""
        entry = self.entries.get((student, lesson))
        return entry if entry and entry.notebook == notebook else None

    def add(self, student: str, lesson: str, entry: Entry) -> None:
        """Writes it down; when this returns, it is on disk."""
        self.entries[student, lesson] = entry
        self._write({"student": student, "lesson": lesson} | asdict(entry))

    def is_recorded(self, student: str, lesson: str) -> bool:
        """Whether the gradebook has been given the last entry."""
        entry = self.entries.get((student, lesson))
        return entry is not None and self._recorded.get((student, lesson)) == entry.digest

    def note_recorded(self, student: str, lesson: str) -> None:
        """Writes down that the gradebook has been given the last entry."""
        now = self.entries[student, lesson].digest
        self._recorded[student, lesson] = now
        self._write({"student": student, "lesson": lesson, "recorded": now})

    def _write(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            if file.tell() and not _ends_with_newline(self.path):
                file.write("\n")
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
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


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    for line in text.split("\n"):
        with suppress(ValueError):  # a line that was cut short
            yield json.loads(line)


def _entry(line: dict[str, Any]) -> Entry:
    found = line["found"]
    outcomes = {name: Outcome(**one) for name, one in found["outcomes"].items()}
    said = {int(index): Said(**one) for index, one in found["said"].items()}
    return Entry(line["notebook"], line["checks"], Examination(outcomes, said))


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
