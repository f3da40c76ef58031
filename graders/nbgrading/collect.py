"""`nbgrader collect`: what students have written is copied from the exchange, and nothing else.

Every student may write to the exchange. Whatever lies there can be made up: the names, which say
whose hand-in it is and when it came, and what lies below them, links and pipes among it. nbgrader's
own command follows the links with the rights of whoever collects, and ends at the first surprise.
"""

from __future__ import annotations

import glob
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from typing import Any

from nbgrader.coursedir import CourseDirectory
from nbgrader.exchange.default import ExchangeCollect
from nbgrader.utils import parse_utc

from graders.nbgrading.limits import DEEPEST, LARGEST, LARGEST_HAND_IN, MOST_FILES
from graders.nbgrading.names import alike, fault, shown

_MOST_NAMED = 5  # files in a line of the log
# Windows has no exchange, but imports this module: it has none of these flags.
_UNFOLLOWED = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_FOLDER = _UNFOLLOWED | getattr(os, "O_DIRECTORY", 0)

_Record = dict[str, Any]


class Refused(Exception):
    """A hand-in, or a file of one, is not collected; the message says why."""


class Collect(ExchangeCollect):
    """Collects each hand-in by itself, and says in a line what is passed over, and why."""

    coursedir: Any

    def _path_to_record(self, path: str) -> _Record:
        """Whose hand-in this is, and when it came.

        nbgrader takes the latest of each student. A hand-in that is refused is a student by itself:
        it takes the place of no other one.
        """
        try:
            return self._record(Path(path))
        except Refused as why:
            return {"username": path, "timestamp": datetime.min, "path": path, "refused": why}

    def _record(self, path: Path) -> _Record:
        parts = path.name.rsplit("+", 3)
        if len(parts) < 3 or parts[1] != self.coursedir.assignment_id:
            raise Refused("its name is not STUDENT+LESSON+TIME+CODE")
        student, _, time, *_ = parts
        if why := fault(student):
            raise Refused(why)
        record = {"username": student, "timestamp": _time(time), "path": str(path)}
        with _opened(path) as folder:
            record["owner"] = os.fstat(folder).st_uid
        if self.check_owner and (why := _foreign(student, record["owner"])):
            raise Refused(why)
        return record

    def copy_files(self) -> None:
        """Copies the latest hand-in of each student to where the class is graded from."""
        if not self.src_records:
            self.log.warning("There is nothing of %s to collect", self.coursedir.assignment_id)
        collected = {Path(folder).parent.name for folder in glob.glob(self._target("*"))}
        named = {record["username"] for record in self.src_records if "refused" not in record}
        twins = alike(named | collected)
        for record in sorted(self.src_records, key=lambda one: one["path"]):
            try:
                _refuse_twin(record["username"], twins, collected)
                self._collect(record)
            except Refused as why:
                self.log.warning("%s is not collected: %s", _name(record), why)
            except OSError as error:
                self.log.warning("%s cannot be collected: %s", _name(record), error.strerror)

    def _target(self, student: str) -> str:
        directory = self.coursedir
        return directory.format_path(
            directory.submitted_directory, student, directory.assignment_id
        )

    def _collect(self, record: _Record) -> None:
        if "refused" in record:
            raise record["refused"]
        student, lesson = record["username"], self.coursedir.assignment_id
        target = Path(self._target(student))
        if self._is_due(record, target):
            what = "Updating" if target.is_dir() else "Collecting"
            self.log.info("%s submission: %s %s", what, student, lesson)
            if passed_over := self._copied(record, target):
                self.log.warning("%s, %s: passed over %s", student, lesson, _listed(passed_over))
        elif self.update:
            self.log.info("No newer submission to collect: %s %s", student, lesson)
        else:
            self.log.info(
                "Submission already exists, use --update to update: %s %s", student, lesson
            )

    def _is_due(self, record: _Record, target: Path) -> bool:
        if not target.is_dir():
            return True
        there = _collected_at(target)
        is_newer = there is None or record["timestamp"] > there
        return (self.update and is_newer) or (self.before_duedate and there != record["timestamp"])

    def _copied(self, record: _Record, target: Path) -> list[str]:
        """Puts the hand-in in the place of what has been collected before; what was passed over.

        Where it cannot be copied, that stays.
        """
        with _opened(Path(record["path"])) as folder:
            if os.fstat(folder).st_uid != record["owner"]:
                raise Refused("it has been exchanged while it was collected")
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".collect-", dir=target.parent) as place:
                made = Path(place, target.name)
                copy = Copy(self.coursedir, record["owner"], made)
                copy.make(folder, f"{self.coursedir.assignment_id}.ipynb")
                if self.coursedir.groupshared:
                    _share(made)
                if target.is_dir():
                    shutil.rmtree(target)
                made.rename(target)
        return copy.passed_over


# ---- the hand-in as one of several ----


def _time(text: str) -> datetime:
    try:
        return parse_utc(text)
    # dateutil raises whatever the odd text makes it stumble over.
    except Exception:
        raise Refused("its name has no time in it that can be read") from None


def _collected_at(target: Path) -> datetime | None:
    """When the hand-in there was handed in, as the student says; None where that is no time."""
    path = target / "timestamp.txt"
    with suppress(Refused, OSError, UnicodeDecodeError):
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= 1_000:
            return _time(path.read_text(encoding="utf-8").strip())
    return None


def _foreign(student: str, owner: int) -> str:
    """Why a hand-in under the student's name is not theirs; "" where it can be.

    Who has the account that collects needs no exchange to hand in under another's name. On a hub
    whose users share an account it is the account of each of them.
    """
    if owner == os.geteuid() or (login := _login(owner)) == student:
        return ""
    return (
        f"it is owned by {shown(login)}. Where students have other names here than their logins, "
        "collect with --ExchangeCollect.check_owner=False"
    )


def _login(user: int) -> str:
    import pwd  # not on Windows, which has no exchange

    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"a user without a name ({user})"


def _refuse_twin(student: str, twins: dict[str, list[str]], collected: set[str]) -> None:
    """Raises where the name is like another's; who has been collected before stays."""
    others = twins.get(student, [])
    if others and (student not in collected or collected.intersection(others)):
        raise Refused(f"only case or encoding tell the name from {', '.join(map(shown, others))}")


def _name(record: _Record) -> str:
    return shown(Path(record["path"]).name)


def _listed(passed_over: list[str]) -> str:
    more = len(passed_over) - _MOST_NAMED
    return ", ".join(passed_over[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


# ---- what lies in it ----


@contextmanager
def _opened(folder: Path | str, within: int | None = None) -> Iterator[int]:
    """A descriptor of a folder that is one, and no link to one.

    What is looked up below a descriptor is in that folder, whatever its path leads to by then.
    """
    try:
        descriptor = os.open(folder, _FOLDER, dir_fd=within)
    except OSError as error:
        raise Refused(_no_folder(folder, within, error)) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _no_folder(folder: Path | str, within: int | None, error: OSError) -> str:
    with suppress(OSError):
        mode = os.stat(folder, dir_fd=within, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            return "a symbolic link"
        if not stat.S_ISDIR(mode):
            return "not a folder"
    return f"it cannot be opened ({error.strerror})"


class Copy:
    """The copying of one hand-in: what there is room for, and what has been passed over."""

    def __init__(self, directory: CourseDirectory, owner: int, target: Path) -> None:
        self.directory, self.owner, self.target = directory, owner, target
        self.files = MOST_FILES
        self.largest = min(LARGEST, 1_000 * int(directory.max_file_size))
        self.room = min(LARGEST_HAND_IN, 1_000 * int(directory.max_dir_size))
        self.passed_over: list[str] = []

    def make(self, folder: int, notebook: str) -> None:
        """The regular files of the folder are in the target, the notebook before all others."""
        self.target.mkdir()
        if _is_there(folder, notebook):
            self._entry(folder, self.target / notebook)
        self._entries(folder, self.target, besides=notebook)

    def _entries(self, folder: int, target: Path, besides: str = "") -> None:
        names = (name for name in _names(folder) if name != besides)
        # Python files first, as grading takes them where there are many.
        for name in sorted(names, key=lambda one: (not one.endswith(".py"), one)):
            if not self.files:
                self.passed_over.append(f"what lies beside the first {MOST_FILES:,} files")
                return
            self.files -= 1
            self._entry(folder, target / name)

    def _entry(self, folder: int, target: Path) -> None:
        try:
            is_folder = stat.S_ISDIR(_status(folder, target.name).st_mode)
            if not self._is_wanted(target.name, is_folder):
                return
            if is_folder:
                self._below(folder, target)
            else:
                content = self._content(folder, target.name)
                target.write_bytes(content)
                self.room -= len(content)
        except Refused as why:
            name = shown(target.relative_to(self.target).as_posix())
            self.passed_over.append(f"{name} ({why})")

    def _is_wanted(self, name: str, is_folder: bool) -> bool:
        """Whether nbgrader's options say so."""
        return not _matches(name, self.directory.ignore) and (
            is_folder or _matches(name, self.directory.include)
        )

    def _below(self, folder: int, target: Path) -> None:
        if len(target.relative_to(self.target).parts) > DEEPEST:
            raise Refused(f"below more than {DEEPEST} folders")
        with _opened(target.name, folder) as below:
            target.mkdir()
            self._entries(below, target)

    def _content(self, folder: int, name: str) -> bytes:
        self._refuse(_status(folder, name))
        try:
            # What has been looked at need not be what is opened: it is looked at again.
            with open(os.open(name, _UNFOLLOWED, dir_fd=folder), "rb") as file:
                status = os.fstat(file.fileno())
                self._refuse(status)
                return file.read(status.st_size)
        except OSError as error:
            raise Refused(f"it cannot be opened: {error.strerror}") from None

    def _refuse(self, status: os.stat_result) -> None:
        """Raises for all but a regular file of the student's that there is room for."""
        if stat.S_ISLNK(status.st_mode):
            raise Refused("a symbolic link")
        if not stat.S_ISREG(status.st_mode):
            raise Refused("not a regular file")
        if status.st_nlink > 1:
            raise Refused("a hard link")
        if status.st_uid != self.owner:
            raise Refused(f"owned by {shown(_login(status.st_uid))}")
        if status.st_size > self.largest:
            raise Refused(f"larger than {self.largest / 10**6:g} MB")
        if status.st_size > self.room:
            raise Refused("the whole is too large")


def _names(folder: int) -> list[str]:
    """What is in the folder: all of it, or more than is collected beside a notebook."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in islice(entries, MOST_FILES + 2)]


def _is_there(folder: int, name: str) -> bool:
    try:
        _status(folder, name)
    except Refused:
        return False
    return True


def _status(folder: int, name: str) -> os.stat_result:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        raise Refused(f"it cannot be looked at: {error.strerror}") from None


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _share(folder: Path) -> None:
    """Other instructors can change what lies in the folder, as nbgrader's `groupshared` asks."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o2770 if path.is_dir() else 0o660))
