"""What grading has found out so far, on disk: a line of JSON for each submission, as it comes.

A run that was killed leaves at most one line cut short; the next run skips what stands here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from graders.grading.examiner import Examination, Outcome, Said

PATH = Path("build/reports/journal.jsonl")


class Journal:
    """The examinations by their digests: those of earlier runs, and those that are added."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known = dict(_read(path))
        path.parent.mkdir(parents=True, exist_ok=True)

    def __getitem__(self, digest: str) -> Examination | None:
        return self.known.get(digest)

    def add(self, digest: str, student: str, lesson: str, found: Examination) -> None:
        """Writes it down; when this returns, it is on disk."""
        self.known[digest] = found
        line = {"digest": digest, "student": student, "lesson": lesson} | asdict(found)
        with self.path.open("a", encoding="utf-8") as file:
            if file.tell() and not _ends_with_newline(self.path):
                file.write("\n")
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def digest(*parts: bytes) -> str:
    """A name for a submission as it is graded: other parts, another name."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()


def code_digest(folders: Iterable[Path]) -> bytes:
    """A digest of the Python files in these folders, tests apart: of what decides on marks."""
    paths = sorted(p for folder in folders for p in folder.rglob("*.py") if "tests" not in p.parts)
    return digest(*(part for p in paths for part in (p.name.encode(), p.read_bytes()))).encode()


def _read(path: Path) -> Iterable[tuple[str, Examination]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return
    for line in lines:
        try:
            read = json.loads(line)
            outcomes = {name: Outcome(**one) for name, one in read["outcomes"].items()}
            said = {int(index): Said(**one) for index, one in read["said"].items()}
            yield read["digest"], Examination(outcomes, said)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # a line that was cut short


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
