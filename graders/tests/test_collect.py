"""`nbgrader collect`: of what lies in the exchange, files that students have written are copied."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nbgrader.api import Gradebook
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

from graders.author.build import build
from graders.nbgrading import collect
from graders.nbgrading.limits import LARGEST, MOST_FILES
from graders.nbgrading.steps import quick_steps
from graders.tests.fixture_lesson import make_course
from graders.tests.test_nbgrader import nbgrader

pytestmark = pytest.mark.skipif(os.name == "nt", reason="nbgrader's exchange needs Linux or macOS")

LESSON = "00_tiny"
FILE = f"{LESSON}.ipynb"
SECRET = "the author's answer"
FIRST, LATER = "2026-11-30 10:00:00 UTC", "2026-11-30 11:00:00 UTC"


class Class:
    """An exchange with what students have put into it, and the folder it is collected to."""

    most = 100_000_000  # bytes of a hand-in, as nbgrader's option says

    def __init__(self, place: Path, log: pytest.LogCaptureFixture) -> None:
        self.place, self.log = place, log
        self.inbound = place / "exchange/jax-course/inbound"
        self.inbound.mkdir(parents=True)
        (place / "exchange").chmod(0o777)  # as nbgrader asks of it
        (place / "secret").write_text(SECRET)

    def hand_in(self, student: str, time: str = FIRST, name: str = "") -> Path:
        folder = self.inbound / (name or f"{student}+{LESSON}+{time}+code")
        folder.mkdir()
        (folder / FILE).write_text(f"{student}, {time}")
        (folder / "timestamp.txt").write_text(f"{time}\n")
        return folder

    def collector(self, **options: Any) -> collect.Collect:
        config = Config()
        config.Exchange.root = str(self.place / "exchange")
        config.ExchangeCollect.update(options)
        config.CourseDirectory.update(
            {
                "course_id": "jax-course",
                "root": str(self.place),
                "assignment_id": LESSON,
                "db_url": f"sqlite:///{self.place / 'gradebook.db'}",
                "max_dir_size": self.most // 1_000,
            }
        )
        directory = CourseDirectory(config=config)
        log = logging.getLogger("collect")
        return collect.Collect(coursedir=directory, config=config, log=log)

    def collect(self, **options: Any) -> str:
        """What the log says of a collection."""
        self.log.clear()
        with self.log.at_level(logging.INFO):
            self.collector(**options).start()
        return "\n".join(record.getMessage() for record in self.log.records)

    def collected(self, student: str = "ada") -> dict[str, str]:
        """The texts of what was collected of the student, by their paths."""
        folder = self.place / "submitted" / student / LESSON
        return {
            path.relative_to(folder).as_posix(): path.read_text()
            for path in sorted(folder.rglob("*"))
            if not path.is_dir()
        }

    def students(self) -> list[str]:
        folder = self.place / "submitted"
        return sorted(path.parent.name for path in folder.glob(f"*/{LESSON}"))


@pytest.fixture
def course(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Class]:
    with quick_steps():
        yield Class(tmp_path, caplog)


ONE = {FILE: f"ada, {FIRST}", "timestamp.txt": f"{FIRST}\n"}


def test_a_hand_in_is_collected_with_its_files_and_folders(course: Class) -> None:
    folder = course.hand_in("ada")
    (folder / "package").mkdir()
    (folder / "package/module.py").write_text("x = 1")
    (folder / "package/module.pyc").write_text("passed over by an option of nbgrader's")
    folder.chmod(0o777)
    said = course.collect()
    assert course.collected() == ONE | {"package/module.py": "x = 1"}
    assert said == f"Collecting submission: ada {LESSON}"
    made = course.place / "submitted/ada" / LESSON
    assert [path.name for path in made.parent.iterdir()] == [LESSON]
    assert not made.stat().st_mode & 0o002


def test_the_latest_of_each_student_is_collected_and_updated(course: Class) -> None:
    course.hand_in("ada")
    course.hand_in("ben", LATER)
    course.collect()
    course.hand_in("ada", LATER)
    assert "use --update to update: ada" in course.collect()
    assert course.collected() == ONE
    said = course.collect(update=True)
    assert f"Updating submission: ada {LESSON}" in said
    assert f"No newer submission to collect: ben {LESSON}" in said
    assert course.collected()[FILE] == f"ada, {LATER}"
    (course.place / "submitted/ada" / LESSON / "left.py").write_text("of the one before")
    course.hand_in("ada", "2026-11-30 12:00:00 UTC")
    course.collect(update=True)
    assert "left.py" not in course.collected()


def test_what_came_before_the_due_date_is_collected_where_nbgrader_is_asked(
    course: Class,
) -> None:
    course.hand_in("ada")
    course.hand_in("ada", LATER)
    with Gradebook(f"sqlite:///{course.place / 'gradebook.db'}") as gradebook:
        options: dict[str, Any] = {"duedate": "2026-11-30 10:30:00"}
        gradebook.add_assignment(LESSON, **options)
    course.collect()
    assert course.collected()[FILE] == f"ada, {LATER}"
    course.collect(before_duedate=True)
    assert course.collected()[FILE] == f"ada, {FIRST}"


def test_nothing_to_collect_is_said(course: Class) -> None:
    assert course.collect() == f"There is nothing of {LESSON} to collect"


# ---- files that are passed over ----


def a_socket(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)  # the path that a socket is bound to is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)


def secret(path: Path) -> Path:
    return path.parents[4] / "secret"


PASSED_OVER: dict[str, tuple[Callable[[Path], object], str]] = {
    "link": (lambda path: path.symlink_to(secret(path)), "a symbolic link"),
    "link to a folder": (lambda path: path.symlink_to(path.parents[4]), "a symbolic link"),
    "link to nothing": (lambda path: path.symlink_to("/nowhere"), "a symbolic link"),
    "link to a device": (lambda path: path.symlink_to("/dev/zero"), "a symbolic link"),
    "loop": (lambda path: path.symlink_to(path.name), "a symbolic link"),
    "hard link": (lambda path: os.link(secret(path), path), "a hard link"),
    "pipe": (os.mkfifo, "not a regular file"),
    "socket": (a_socket, "not a regular file"),
    "large file": (sparse, "larger than 20 MB"),
}


@pytest.mark.parametrize(("make", "why"), PASSED_OVER.values(), ids=PASSED_OVER)
def test_a_file_that_is_not_the_students_own_is_passed_over(
    course: Class, make: Callable[[Path], object], why: str
) -> None:
    make(course.hand_in("ada") / "odd")
    course.hand_in("ben")
    said = course.collect()
    assert f"ada, {LESSON}: passed over odd ({why})" in said.splitlines()
    assert course.collected() == ONE
    assert course.students() == ["ada", "ben"]


@pytest.mark.parametrize(("make", "why"), PASSED_OVER.values(), ids=PASSED_OVER)
def test_a_notebook_that_is_not_the_students_own_is_passed_over(
    course: Class, make: Callable[[Path], object], why: str
) -> None:
    notebook = course.hand_in("ada") / FILE
    notebook.unlink()
    make(notebook)
    assert f"ada, {LESSON}: passed over {FILE} ({why})" in course.collect().splitlines()
    assert course.collected() == {"timestamp.txt": f"{FIRST}\n"}


def test_links_in_folders_are_passed_over_and_the_first_are_named(course: Class) -> None:
    folder = course.hand_in("ada")
    (folder / "data").mkdir()
    for number in range(7):
        (folder / f"data/{number}\x1b[2J").symlink_to(course.place / "secret")
    said = course.collect()
    named = ", ".join(rf"data/{number}\x1b[2J (a symbolic link)" for number in range(5))
    assert f"ada, {LESSON}: passed over {named} and 2 more" in said.splitlines()
    assert course.collected() == ONE


def test_a_file_that_is_exchanged_for_a_link_is_not_followed(
    course: Class, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = course.hand_in("ada")
    (folder / "notes.py").write_text("x = 1")
    looked_at = collect._status

    def exchanging(within: int, name: str) -> os.stat_result:
        status = looked_at(within, name)
        if name == "notes.py":
            (folder / name).unlink()
            (folder / name).symlink_to(course.place / "secret")
            monkeypatch.setattr(collect, "_status", lambda *_: status)
        return status

    monkeypatch.setattr(collect, "_status", exchanging)
    assert "passed over notes.py (it cannot be opened" in course.collect()
    assert SECRET not in course.collected().values()


def test_a_file_of_another_user_is_passed_over(course: Class, tmp_path: Path) -> None:
    folder = course.hand_in("ada")
    copy = collect.Copy(course.collector().coursedir, os.geteuid() + 1, tmp_path / "copy")
    with collect._opened(folder) as descriptor:
        copy.make(descriptor, FILE)
    owner = re.escape(collect._login(os.geteuid()))
    assert re.fullmatch(rf"{re.escape(FILE)} \(owned by {owner}\)", copy.passed_over[0])
    assert list((tmp_path / "copy").iterdir()) == []


def test_many_files_and_many_bytes_are_passed_over_and_the_notebook_is_not(
    course: Class,
) -> None:
    folder = course.hand_in("ada")
    for number in range(MOST_FILES + 10):
        (folder / f"{number}.txt").touch()
    (folder / "z.py").write_text("x = 1")
    said = course.collect()
    assert f"passed over what lies beside the first {MOST_FILES:,} files" in said
    assert len(course.collected()) == MOST_FILES + 1
    assert course.collected()[FILE] == ONE[FILE]

    folder = course.hand_in("ben")
    (folder / "a.py").write_text("x" * 900)
    (folder / "b.py").write_text("x" * 900)
    course.most = 1_000
    assert "ben, 00_tiny: passed over b.py (the whole is too large)" in course.collect()
    assert course.collected("ben").keys() == {FILE, "a.py", "timestamp.txt"}


def test_folders_in_folders_end(course: Class) -> None:
    folder = course.hand_in("ada")
    (folder / "/".join("d" * 11)).mkdir(parents=True)
    assert f"{'/'.join('d' * 11)} (below more than 10 folders)" in course.collect()
    assert course.collected() == ONE


# ---- hand-ins that are refused ----

REFUSED: dict[str, tuple[Callable[[Class], object], str]] = {
    "no time": (lambda c: c.hand_in("zoe", "junk"), "no time in it that can be read"),
    "time out of range": (
        lambda c: c.hand_in("zoe", "9999999-01-01 00:00:00 UTC"),
        "no time in it that can be read",
    ),
    "no parts": (lambda c: c.hand_in("", name=f"x+{LESSON}+"), "no time in it"),
    "another lesson": (
        lambda c: c.hand_in("", name=f"ada+{LESSON}+x+01_other+{FIRST}+code"),
        "its name is not STUDENT+LESSON+TIME+CODE",
    ),
    "name of a pattern": (lambda c: c.hand_in("a*a"), "the name has *"),
    "name of a terminal": (lambda c: c.hand_in("a\x1b[2Ja"), "the name has a control character"),
    "link to a hand-in": (
        lambda c: (c.inbound / f"zoe+{LESSON}+{FIRST}+code").symlink_to(c.hand_in("ada", LATER)),
        "a symbolic link",
    ),
    "link to nothing": (
        lambda c: (c.inbound / f"zoe+{LESSON}+{FIRST}+code").symlink_to("/nowhere"),
        "a symbolic link",
    ),
    "pipe": (lambda c: os.mkfifo(c.inbound / f"zoe+{LESSON}+{FIRST}+code"), "not a folder"),
    "file": (lambda c: (c.inbound / f"zoe+{LESSON}+{FIRST}+code").touch(), "not a folder"),
    "name in another case": (
        lambda c: c.hand_in("Ben", LATER),
        "case or encoding tell the name from ben",
    ),
}


@pytest.mark.parametrize(("make", "why"), REFUSED.values(), ids=REFUSED)
def test_a_hand_in_that_is_refused_has_a_line_and_the_rest_is_collected(
    course: Class, make: Callable[[Class], object], why: str
) -> None:
    course.hand_in("ben")
    course.collect()
    make(course)
    course.hand_in("cleo")
    said = course.collect(update=True)
    lines = [line for line in said.splitlines() if "is not collected: " in line]
    assert len(lines) == 1
    assert why in lines[0]
    assert "\x1b" not in said
    assert {"ben", "cleo"} <= set(course.students()) <= {"ada", "ben", "cleo"}
    assert not (course.place / LESSON).exists()


def test_a_refused_hand_in_takes_the_place_of_no_earlier_one(course: Class) -> None:
    folder = course.hand_in("ada")
    (course.inbound / f"ada+{LESSON}+{LATER}+code").symlink_to(folder)
    assert f"ada+{LESSON}+{LATER}+code is not collected: a symbolic link" in course.collect()
    assert course.collected() == ONE


def test_of_two_names_that_differ_in_case_none_is_collected_first(course: Class) -> None:
    course.hand_in("ben")
    course.hand_in("Ben", LATER)
    assert course.collect().count("is not collected: only case or encoding") == 2
    assert course.students() == []


def test_what_cannot_be_copied_leaves_what_was_collected_before(
    course: Class, monkeypatch: pytest.MonkeyPatch
) -> None:
    course.hand_in("ada")
    course.hand_in("ben")
    course.collect()
    course.hand_in("ada", LATER)
    course.hand_in("ben", LATER)
    make = collect.Copy.make

    def full(copy: collect.Copy, folder: int, notebook: str) -> None:
        if "ada" in copy.target.parts:
            raise OSError(28, "No space left on device")
        make(copy, folder, notebook)

    monkeypatch.setattr(collect.Copy, "make", full)
    assert "+code cannot be collected: No space left on device" in course.collect(update=True)
    assert course.collected() == ONE
    assert course.collected("ben")[FILE] == f"ben, {LATER}"


@pytest.mark.parametrize("junk", [b"junk", b"\xff", b"9" * 2_000, b""])
def test_a_time_in_a_file_that_is_none_stops_no_update(course: Class, junk: bytes) -> None:
    (course.hand_in("ada") / "timestamp.txt").write_bytes(junk)
    course.hand_in("ben")
    course.collect()
    course.hand_in("ada", LATER)
    assert f"Updating submission: ada {LESSON}" in course.collect(update=True)
    assert course.collected()[FILE] == f"ada, {LATER}"


# ---- owners ----


@pytest.fixture
def other_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collects from another account than the one that all has been handed in from, Ada's."""
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    monkeypatch.setattr(collect, "_login", lambda _: "ada")


@pytest.mark.usefixtures("other_account")
def test_a_hand_in_under_another_name_is_refused_and_replaces_none(course: Class) -> None:
    course.hand_in("ada")
    forged = course.hand_in("ben", LATER)
    said = course.collect()
    assert f"{forged.name} is not collected: it is owned by ada. Where students have" in said
    assert "--ExchangeCollect.check_owner=False" in said
    assert course.students() == ["ada"]
    course.collect(check_owner=False)
    assert course.students() == ["ada", "ben"]


def test_one_account_for_a_whole_class_is_that_of_each(course: Class) -> None:
    course.hand_in("ada")
    course.hand_in("ben")
    assert "owned by" not in course.collect()
    assert course.students() == ["ada", "ben"]


def test_a_hand_in_that_changes_its_owner_is_refused(course: Class) -> None:
    folder = course.hand_in("ada")
    collector = course.collector()
    record = collector._record(folder) | {"owner": os.geteuid() + 1}
    with pytest.raises(collect.Refused, match="exchanged while"):
        collector._copied(record, course.place / "submitted/ada" / LESSON)


# ---- the command ----


def test_the_command_collects_what_it_can(course: Class, monkeypatch: pytest.MonkeyPatch) -> None:
    root = course.place / "course"
    root.mkdir()
    build(make_course(root))
    monkeypatch.setenv("JAX_COURSE_EXCHANGE", str(course.place / "exchange"))
    (course.hand_in("ada") / "notes.py").symlink_to(course.place / "secret")
    course.hand_in("ben", "junk")
    said = nbgrader(root, "collect", "--update", LESSON)
    assert f"ada, {LESSON}: passed over notes.py (a symbolic link)" in said
    assert f"ben+{LESSON}+junk+code is not collected: its name has no time" in said
    submitted = root / "build/submitted"
    assert [path.name for path in submitted.iterdir()] == ["ada"]
    assert sorted(path.name for path in (submitted / "ada" / LESSON).iterdir()) == sorted(ONE)
