"""Shows and writes what grading found: a table, CSV files, and a page for each student."""

import csv
import io
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from rich.console import Console
from rich.markup import escape as literally
from rich.table import Table

from graders.feedback.page import student_page
from graders.files import write_atomically
from graders.grading.results import Change, Row

MARKS, CHECKS = Path("build/reports/marks.csv"), Path("build/reports/checks.csv")
FEEDBACK = Path("build/feedback")
WIDTH = 120  # of a table that no terminal shows
_MARKS_HEADER = ("student", "lesson", "score", "max_score", "status", "reason")
_CHECKS_HEADER = ("student", "lesson", "check", "score", "max_score", "why")


def show(rows: Sequence[Row]) -> None:
    """Prints a table of students and lessons with totals, and where the files are."""
    console = _console()
    console.print(table(rows))
    console.print(f"Marks: {MARKS}, {CHECKS}. Feedback: {FEEDBACK}/STUDENT/index.html")


def _console() -> Console:
    """The terminal; what goes to a file or a pipe has a width of its own."""
    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


def table(rows: Sequence[Row]) -> Table:
    """Students down, lessons across, totals at the margins."""
    lessons = sorted({row.lesson for row in rows})
    shown = Table(show_footer=True)
    shown.add_column("Student", footer="all", overflow="fold")
    for lesson in lessons:
        footer = _marks([row for row in rows if row.lesson == lesson])
        shown.add_column(lesson, footer=footer, justify="right", no_wrap=True)
    shown.add_column("Total", footer=_marks(rows), justify="right", no_wrap=True)
    shown.add_column("Remarks", overflow="fold")
    for student, theirs in _by_student(rows):
        by_lesson = {row.lesson: [row] for row in theirs}
        marks = [_marks(by_lesson.get(lesson, [])) for lesson in lessons]
        remarks = "; ".join(f"{row.lesson}: {row.reason}" for row in theirs if row.reason)
        shown.add_row(literally(student), *marks, _marks(theirs), literally(remarks))
    return shown


def _marks(rows: Sequence[Row]) -> str:
    """Earned and possible points over what could be graded; a dash where that is nothing."""
    graded = [row for row in rows if row.total is not None]
    if not graded:
        return "-" if rows else ""
    return (
        f"{_number(sum(r.total or 0 for r in graded))} / {_number(sum(r.highest for r in graded))}"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _by_student(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    ordered = sorted(rows, key=lambda row: row.key)
    return [(student, list(theirs)) for student, theirs in groupby(ordered, lambda r: r.student)]


# ---- files ----


def write(root: Path, rows: Sequence[Row]) -> None:
    """Writes the CSV files and the students' pages; the same rows give the same bytes."""
    ordered = sorted(rows, key=lambda row: row.key)
    marks = [_marks_line(row) for row in ordered]
    checks = [line for row in ordered for line in _check_lines(row)]
    write_atomically(root / MARKS, _csv(_MARKS_HEADER, marks))
    write_atomically(root / CHECKS, _csv(_CHECKS_HEADER, checks))
    for student, theirs in _by_student(ordered):
        write_atomically(root / FEEDBACK / student / "index.html", _page(root, student, theirs))


def _marks_line(row: Row) -> tuple[str, ...]:
    highest = _number(row.highest)
    return row.student, row.lesson, _number(row.total), highest, row.status, row.reason


def _check_lines(row: Row) -> list[tuple[str, ...]]:
    if row.total is None:
        return []
    return [
        (
            row.student,
            row.lesson,
            check,
            _number(row.scores[check]),
            _number(most),
            row.kinds.get(check, ""),
        )
        for check, most in row.points.items()
    ]


def _csv(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *lines])
    return text.getvalue()


def _page(root: Path, student: str, rows: Sequence[Row]) -> str:
    """One student's marks, with a link to the page of each lesson that has one."""
    return student_page(student, [_page_line(root, row) for row in rows])


def _page_line(root: Path, row: Row) -> dict[str, str]:
    page = Path(row.lesson) / f"{row.lesson}.html"
    written = (root / FEEDBACK / row.student / page).is_file()
    link = quote(page.as_posix()) if written else ""
    return {"lesson": row.lesson, "page": link, "marks": _marks([row]), "remark": row.reason}


# ---- marks that change ----


def agreed(changes: Sequence[Change]) -> bool:
    """Shows marks that would change; whether the person at the terminal wants them written."""
    console = _console()
    console.print(changes_table(changes))
    if not sys.stdin.isatty():
        console.print("They are not written. To write them: jax-course grade --yes")
        return False
    return console.input("Write these marks? [y/N] ").strip().lower() in ("y", "yes")


def changes_table(changes: Iterable[Change]) -> Table:
    """A line for each mark that would change, in the order of students."""
    shown = Table(title="Marks that change though the submissions have not")
    for heading in ("Student", "Lesson", "Check"):
        shown.add_column(heading, overflow="fold")
    for heading in ("Before", "After"):
        shown.add_column(heading, justify="right")
    for one in sorted(changes, key=lambda one: (one.student, one.lesson, one.check)):
        names = (literally(name) for name in (one.student, one.lesson, one.check))
        shown.add_row(*names, _number(one.before), _number(one.after))
    return shown


# ---- known marks ----


def differences(rows: Iterable[Row], known: Iterable[Row]) -> list[str]:
    """Every way in which `rows` are not the `known` ones, one sentence each."""
    found, meant = ({row.key: row for row in some} for some in (rows, known))
    lost = [f"{_named(row)}: not graded at all" for key, row in meant.items() if key not in found]
    extra = [f"{_named(row)}: not known" for key, row in found.items() if key not in meant]
    both = [d for key, row in meant.items() if key in found for d in _unlike(found[key], row)]
    return sorted([*lost, *extra, *both])


def _unlike(row: Row, known: Row) -> list[str]:
    if (row.status, known.reason in row.reason) != (known.status, True):
        said = f"{row.status} ({row.reason})" if row.reason else row.status
        meant = f"{known.status} ({known.reason})" if known.reason else known.status
        return [f"{_named(row)}: {said}, and not {meant}"]
    checks = sorted(row.scores.keys() | known.scores.keys())
    return [
        f"{_named(row)}: {check} got {row.scores.get(check)}, and not {known.scores.get(check)}"
        for check in checks
        if row.scores.get(check) != known.scores.get(check)
    ]


def _named(row: Row) -> str:
    return f"{row.student}, {row.lesson}"


def show_comparison(wrong: Sequence[str], count: int) -> None:
    """Prints that the marks are the known ones, or each one that is not."""
    console = _console()
    if not wrong:
        console.print(f"All {count} submissions have the marks that are known.")
        return
    console.print(f"[bold red]{len(wrong)} marks are not the known ones:[/]")
    for line in wrong:
        console.print(literally(f"  {line}"), style="red", soft_wrap=True)
