"""The student's copy of the lessons: brought up to date with the course, and no answer is lost.

A manifest in the copy records what each file was when it came from the course. A file that is
still that is untouched and may be replaced; any other belongs to the student.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from graders.errors import CourseError
from graders.files import replacing, write_atomically

MANIFEST = ".course.json"


class UnknownLesson(CourseError):
    """No lesson has that name; the message names those there are."""


def update(course: Path, work: Path) -> list[Path]:
    """Brings the files of `work` that the student has not edited to the state of `course`.

    Returns the edited files whose original in `course` has changed since: they are left alone.
    """
    work.mkdir(parents=True, exist_ok=True)
    manifest = _read_manifest(work)
    return [name for name in _files(course) if not _bring(name, course, work, manifest)]


def reset(course: Path, work: Path, lesson: str) -> list[Path]:
    """Starts `lesson` afresh; returns the backups made, one beside each file that was edited."""
    if lesson not in (names := lessons(course)):
        raise UnknownLesson(_no_such_lesson(lesson, names))
    manifest = _read_manifest(work)
    backups = []
    for name in _files(course, lesson):
        if _is_edited(course / name, work / name, manifest.get(name.as_posix())):
            backups.append(_set_aside(work / name))
        _copy(name, course, work, manifest)
    return backups


def lessons(course: Path) -> list[str]:
    """The names of the lessons in `course`, in order."""
    return sorted(folder.name for folder in course.glob("[0-9][0-9]_*/"))


def _bring(name: Path, course: Path, work: Path, manifest: dict[str, str]) -> bool:
    """Copies the file unless the student has edited it; whether the student has what is current."""
    pristine = manifest.get(name.as_posix())
    if _is_edited(course / name, work / name, pristine):
        return pristine == digest(course / name)
    if pristine != digest(course / name) or not (work / name).exists():
        _copy(name, course, work, manifest)
    return True


def _is_edited(original: Path, mine: Path, pristine: str | None) -> bool:
    return mine.exists() and digest(mine) not in (pristine, digest(original))


def _copy(name: Path, course: Path, work: Path, manifest: dict[str, str]) -> None:
    """Replaces the file in one step, then records it: a copy cut short leaves the old one whole."""
    with replacing(work / name) as unfinished:
        shutil.copyfile(course / name, unfinished)
    manifest[name.as_posix()] = digest(course / name)
    _write_manifest(work, manifest)


def _set_aside(mine: Path) -> Path:
    """Renames the file to a name that is free, and returns it."""
    names = (mine.with_name(f"{mine.stem}.backup-{n}{mine.suffix}") for n in count(1))
    backup = next(path for path in names if not path.exists())
    return mine.rename(backup)


def _files(course: Path, lesson: str = ".") -> Iterator[Path]:
    """The files of the course (or of one lesson), relative to it, hidden ones left out."""
    for path in sorted((course / lesson).rglob("*")):
        name = path.relative_to(course)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            yield name


def digest(path: Path) -> str:
    """A fingerprint of what is written in a file; a notebook's outputs do not count.

    Opening or running a notebook changes its file, but not this.
    """
    content = path.read_bytes()
    if path.suffix == ".ipynb":
        content = _written(content)
    return hashlib.sha256(content).hexdigest()


def _written(notebook: bytes) -> bytes:
    """The cells as a person or the course wrote them; all of the file if it is no notebook."""
    try:
        return json.dumps([_cell(cell) for cell in json.loads(notebook)["cells"]]).encode()
    except (ValueError, KeyError, TypeError, AttributeError):
        return notebook


def _cell(cell: dict) -> list:
    marks = cell.get("metadata", {}).get("nbgrader")
    return [cell["cell_type"], "".join(cell["source"]), marks, cell.get("attachments")]


def _read_manifest(work: Path) -> dict[str, str]:
    """What each file was when it was copied; empty where that is not known."""
    try:
        manifest = json.loads((work / MANIFEST).read_text())
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _write_manifest(work: Path, manifest: dict[str, str]) -> None:
    write_atomically(work / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True))


def _no_such_lesson(lesson: str, names: list[str]) -> str:
    close = difflib.get_close_matches(lesson, names, n=1, cutoff=0.4)
    meant = f" Did you mean {close[0]}?" if close else ""
    return f"There is no lesson {lesson}.{meant} The lessons are {', '.join(names) or 'none yet'}."
