"""Builds course/ from solutions/: deterministic, complete, and nothing at all on any problem.

The table of checks and docs/checks.md are built with it.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nbgrader.converters import GenerateAssignment
from nbgrader.preprocessors import SaveCells

from graders.author.catalogue import catalogue
from graders.author.lint import lint_lesson
from graders.author.notebooks import notebook_bytes, source_notebook
from graders.author.reference import reference
from graders.files import write_atomically
from graders.lesson.cells import Lesson
from graders.lesson.commentary import commentary_problems
from graders.lesson.problems import Problem
from graders.lesson.source import FOLDER, SourceError, lesson_folders, read_lesson
from graders.nbgrading.steps import course_config, run_step
from graders.notebook import progress
from graders.root import course_root

SOURCE, RELEASE = Path("build/source"), Path("course")
CATALOGUE = Path("graders/notebook") / progress.CATALOGUE
REFERENCE = Path("docs/checks.md")
# Of what is not course/, the files that are committed, each with what it is built from.
ORIGINS = {CATALOGUE: "solutions/", REFERENCE: "graders/"}

Files = dict[Path, bytes]  # by path below the course's root


def main(names: Sequence[str] = (), check: bool = False, root: Path | None = None) -> int:
    """Builds the named lessons, or all; with `check` only says what is stale. 0 if all is well."""
    root = root or course_root()
    try:
        changes = stale(root) if check else [str(path) for path in build(root, names)]
    except SourceError as error:
        print(error, file=sys.stderr)
        print(f"{len(error.problems)} to fix; nothing was written.", file=sys.stderr)
        return 1
    print("\n".join(changes) or "course/ is what solutions/ builds.")
    if changes and check:
        print("These are stale: run `jax-course build` and commit what it writes.")
    return int(check and bool(changes))


def read_and_lint(root: Path, names: Iterable[str] = ()) -> list[Lesson]:
    """The named lessons, or all; a SourceError with every problem of every one of them."""
    lessons, problems = _read(root, names)
    _raise_any(problems + _broken_rules(lessons))
    return lessons


def read_lessons(root: Path, names: Iterable[str] = ()) -> list[Lesson]:
    """The named lessons, or all; a SourceError with all that keeps any of them from being read."""
    lessons, problems = _read(root, names)
    _raise_any(problems)
    return lessons


def _read(root: Path, names: Iterable[str]) -> tuple[list[Lesson], list[Problem]]:
    lessons, problems = [], []
    for folder in lesson_folders(root, names):
        try:
            lessons.append(read_lesson(folder))
        except SourceError as error:
            problems += error.problems
    return lessons, problems


def _broken_rules(lessons: Iterable[Lesson]) -> list[Problem]:
    rules = (lint_lesson, commentary_problems)
    return [problem for lesson in lessons for rule in rules for problem in rule(lesson)]


def _raise_any(problems: Sequence[Problem]) -> None:
    if problems:
        raise SourceError(problems)


def build(root: Path, names: Iterable[str] = ()) -> list[Path]:
    """Writes what the named lessons give, or all; returns the committed files that have changed.

    Those are course/, the table of checks and docs/checks.md. Without names, lessons that have gone
    from solutions/ go from build/source/ and course/. Other files stay.

    Raises:
        SourceError: the sources have problems; nothing has been written.
    """
    names = list(names)
    lessons = read_and_lint(root, names)
    files = built(root, lessons)
    changed = [path for path, content in files.items() if write_atomically(root / path, content)]
    removed = _extra(root, files, {lesson.name for lesson in lessons} if names else None)
    for path in removed:
        _remove(root / path)
    return sorted(path for path in {*changed, *removed} if _is_committed(path))


def build_sources(root: Path, names: Iterable[str] = ()) -> list[Lesson]:
    """Writes build/source/ for the named lessons, or all, and gives them; course/ is left alone.

    Raises:
        SourceError: the sources have problems; nothing has been written.
    """
    lessons = read_lessons(root, names)
    write_sources(root, lessons)
    return lessons


def write_sources(root: Path, lessons: Sequence[Lesson]) -> None:
    """Writes build/source/ for these lessons; course/ is left alone.

    Raises:
        SourceError: they break rules; nothing has been written.
    """
    _raise_any(_broken_rules(lessons))
    for lesson in lessons:
        _write_source(root, lesson)


def stale(root: Path) -> list[str]:
    """How committed files differ from what is built, one sentence each; nothing is written."""
    files = {p: c for p, c in built(root, read_and_lint(root)).items() if _is_committed(p)}
    missing = [f"{path} is missing" for path in files if not (root / path).exists()]
    other = [
        f"{path} is not what {_origin(path)} builds"
        for path, content in files.items()
        if (root / path).exists() and (root / path).read_bytes() != content
    ]
    extra = [p for p in _extra(root, files) if _is_committed(p)]
    return sorted([*missing, *other, *(f"{path} is built by no lesson" for path in extra)])


def _is_committed(path: Path) -> bool:
    return path.is_relative_to(RELEASE) or path in ORIGINS


def _origin(path: Path) -> str:
    return ORIGINS.get(path, f"solutions/{path.parent.name}")


def built(root: Path, lessons: Iterable[Lesson]) -> Files:
    """The files that the lessons give, made in a temporary folder.

    They are those of build/source/ and course/, the table of all checks in course/, and the
    reference of checks, which is the same for any lessons.
    """
    lessons = list(lessons)
    with tempfile.TemporaryDirectory(prefix="jax-course-") as temporary:
        workplace = Path(temporary).resolve()
        for lesson in lessons:
            _write_source(workplace, lesson)
            _release(root, workplace, lesson.name)
        table = catalogue(lessons, workplace / RELEASE, _listed(root))
        write_atomically(workplace / CATALOGUE, table)
        write_atomically(workplace / REFERENCE, reference())
        above = (SOURCE, RELEASE, CATALOGUE.parent, REFERENCE.parent)
        folders = [workplace / folder for folder in above]
        paths = sorted(p for folder in folders for p in folder.rglob("*") if p.is_file())
        return {path.relative_to(workplace): path.read_bytes() for path in paths}


def _listed(root: Path) -> dict[str, Any]:
    """What the table of checks says of the lessons that there still are."""
    try:
        lessons = json.loads((root / CATALOGUE).read_text())
    except FileNotFoundError:
        return {}
    there = {folder.name for folder in lesson_folders(root)}
    return {name: checks for name, checks in lessons.items() if name in there}


def _write_source(root: Path, lesson: Lesson) -> None:
    path = root / SOURCE / lesson.name / f"{lesson.name}.ipynb"
    write_atomically(path, notebook_bytes(source_notebook(lesson)))


def _release(root: Path, workplace: Path, lesson: str) -> None:
    """Lets nbgrader make the student's notebook; the gradebook is left alone."""
    config = course_config(root, root=str(workplace))
    steps = config.GenerateAssignment.preprocessors
    config.GenerateAssignment.preprocessors = [s for s in steps if s is not SaveCells]
    run_step(GenerateAssignment, config, lesson, no_database=True)


def _extra(root: Path, files: Files, lessons: set[str] | None = None) -> list[Path]:
    """What stands in the folders of lessons, those in `lessons` or all, and is not in `files`."""
    kept = {*files, *(path.parent for path in files)}
    folders = [f for above in (SOURCE, RELEASE) for f in sorted((root / above).glob("*"))]
    extra: list[Path] = []
    for folder in folders:
        if FOLDER.fullmatch(folder.name) and (lessons is None or folder.name in lessons):
            paths = (path.relative_to(root) for path in [folder, *sorted(folder.rglob("*"))])
            extra += [path for path in paths if path not in kept]
    return [path for path in extra if path.parent not in extra]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
