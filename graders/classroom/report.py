"""Shows and writes what grading found: a table, CSV files, and a page for each student."""

import csv
import io
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape as literally
from rich.table import Table

from graders.feedback.page import student_page
from graders.files import write_atomically
from graders.grading.results import NOT_PLACED, Change, Row
from graders.grading.submissions import OWN
from graders.nbgrading.gradebook import Dropped
from graders.nbgrading.names import cell, shown

# In the folder of a class.
MARKS, CHECKS, FEEDBACK = Path("reports/marks.csv"), Path("reports/checks.csv"), Path("feedback")
DROPPED = Path("reports/dropped.csv")
WIDTH = 120  # of a table that no terminal shows
_PADDING = 3  # of a column: a blank on either side, and a line
_MARKS_HEADER = ("student", "lesson", "score", "max_score", "status", "reason", "late_penalty")
_CHECKS_HEADER = ("student", "lesson", "check", "score", "max_score", "why")
_DROPPED_HEADER = ("student", "lesson", "cell", "score", "extra_credit", "comment")


def show(rows: Sequence[Row], place: Path = OWN) -> None:
    """Prints the marks of the class whose folder is `place`, remarks, and where the files are."""
    console = _console()
    for one in tables(rows, console.width):
        console.print(one)
    for line in remarks(rows):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    files = f"Marks: {place / MARKS}, {place / CHECKS}."
    pages = f"Feedback: {place / FEEDBACK}/STUDENT/index.html"
    console.print(f"{files} {pages}", soft_wrap=True)


def _console() -> Console:
    """The terminal; what goes to a file or a pipe has a width of its own."""
    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


def remarks(rows: Iterable[Row]) -> list[str]:
    """A line for each submission that there is something to say of."""
    said = sorted((row for row in rows if row.remark), key=lambda row: row.key)
    return [f"{_named(row)}: {shown(row.remark)}" for row in said]


_Column = tuple[str, list[str], str]
"""A heading, a cell for each student, and a cell below them."""


def tables(rows: Sequence[Row], width: int) -> list[Table]:
    """Students down, lessons across, totals at the margins; no table is wider than `width`.

    The lessons that do not fit beside the names are in a further table.
    """
    placed = [row for row in rows if row.status != NOT_PLACED]
    students = _by_student(placed)
    names = [shown(student) for student, _ in students]
    columns = [_lesson_column(lesson, students) for lesson in sorted({r.lesson for r in placed})]
    columns.append(("Total", [_marks(theirs) for _, theirs in students], _marks(placed)))
    longest = max(map(cell_len, ["Student", *names]))
    room = min(longest, max(width // 3, len("Student")))
    blocks = _blocks(columns, width - room - _PADDING - 1)
    return [_table(names, room, block) for block in blocks if names]


def _lesson_column(lesson: str, students: Sequence[tuple[str, list[Row]]]) -> _Column:
    cells = [[row for row in theirs if row.lesson == lesson] for _, theirs in students]
    return lesson, [_marks(rows) for rows in cells], _marks([r for rows in cells for r in rows])


def _blocks(columns: Sequence[_Column], width: int) -> list[list[_Column]]:
    """The columns in groups, each of at least one, that are no wider than `width`."""
    blocks: list[list[_Column]] = []
    left = 0
    for column in columns:
        heading, cells, footer = column
        needed = max(map(cell_len, [heading, *cells, footer])) + _PADDING
        if needed > left or not blocks:
            blocks.append([])
            left = width
        blocks[-1].append(column)
        left -= needed
    return blocks


def _table(names: Sequence[str], room: int, columns: Sequence[_Column]) -> Table:
    """A table of these columns, with the names in a column of the width `room`."""
    made = Table(show_footer=True)
    made.add_column("Student", footer="all", overflow="fold", width=room)
    for heading, _, footer in columns:
        made.add_column(heading, footer=footer, justify="right", no_wrap=True)
    for line, name in enumerate(names):
        made.add_row(literally(name), *(cells[line] for _, cells, _ in columns))
    return made


def _marks(rows: Sequence[Row]) -> str:
    """Earned and possible points over what could be graded; a dash where that is nothing."""
    graded = [row for row in rows if row.total is not None]
    if not graded:
        return "-" if rows else ""
    earned, highest = sum(r.total or 0 for r in graded), sum(r.highest for r in graded)
    return f"{_number(earned)} / {_number(highest)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _by_student(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    ordered = sorted(rows, key=lambda row: row.key)
    return [(student, list(theirs)) for student, theirs in groupby(ordered, lambda r: r.student)]


# ---- files ----


def write(root: Path, rows: Sequence[Row], place: Path = OWN) -> None:
    """Writes the CSV files and the students' pages; the same rows give the same bytes.

    `place` is the folder of the class in `root`.
    """
    ordered = sorted(rows, key=lambda row: row.key)
    marks = [_marks_line(row) for row in ordered]
    checks = [line for row in ordered for line in _check_lines(row)]
    write_atomically(root / place / MARKS, _csv(_MARKS_HEADER, marks))
    write_atomically(root / place / CHECKS, _csv(_CHECKS_HEADER, checks))
    pages = root / place / FEEDBACK
    for student, theirs in _by_student(ordered):
        if any(row.status != NOT_PLACED for row in theirs):  # else the name may be one to refuse
            content = _page(pages / student, student, theirs)
            write_atomically(pages / student / "index.html", content)


def _marks_line(row: Row) -> tuple[str, ...]:
    marks = _number(row.total), _number(row.highest)
    return row.student, row.lesson, *marks, row.status, row.remark, _number(row.penalty or None)


def _check_lines(row: Row) -> list[tuple[str, ...]]:
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
        if check in row.scores
    ]


def _csv(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows = [header] if header else []
    writer.writerows([*rows, *([cell(one) for one in line] for line in lines)])
    return text.getvalue()


def keep(place: Path, dropped: Sequence[Dropped]) -> None:
    """Adds to a file what was given by hand for cells that are gone, and says so."""
    path = place / DROPPED
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    lines = []
    for one in dropped:
        marks = _number(one.score), _number(one.extra_credit)
        lines.append((one.student, one.lesson, one.cell, *marks, one.comment))
    write_atomically(path, before + _csv([] if before else _DROPPED_HEADER, lines))
    cells = ", ".join(sorted({one.cell for one in dropped}))
    print(
        f"{dropped[0].lesson} no longer has {cells}. The marks and comments that you gave for it "
        f"are kept in {path}.",
        file=sys.stderr,
    )


def _page(folder: Path, student: str, rows: Sequence[Row]) -> str:
    """One student's marks, with a link to the page of each lesson that has one."""
    lines = [_page_line(folder, row) for row in rows]
    return student_page(student, lines, _marks(rows))


def _page_line(folder: Path, row: Row) -> dict[str, str]:
    page = Path(row.lesson) / f"{row.lesson}.html"
    link = quote(page.as_posix()) if (folder / page).is_file() else ""
    lesson, remark = shown(row.lesson), shown(row.reason)
    return {"lesson": lesson, "page": link, "marks": _marks([row]), "remark": remark}


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
    made = Table(title="Marks that change though the submissions have not")
    for heading in ("Student", "Lesson", "Check"):
        made.add_column(heading, overflow="fold")
    for heading in ("Before", "After"):
        made.add_column(heading, justify="right")
    for one in sorted(changes, key=lambda one: (one.student, one.lesson, one.check)):
        names = (literally(shown(name)) for name in (one.student, one.lesson, one.check))
        made.add_row(*names, _number(one.before), _number(one.after))
    return made


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
        said = f"{row.status} ({shown(row.reason)})" if row.reason else row.status
        meant = f"{known.status} ({known.reason})" if known.reason else known.status
        return [f"{_named(row)}: {said}, and not {meant}"]
    checks = sorted(row.scores.keys() | known.scores.keys())
    return [
        f"{_named(row)}: {check} got {row.scores.get(check)}, and not {known.scores.get(check)}"
        for check in checks
        if row.scores.get(check) != known.scores.get(check)
    ]


def _named(row: Row) -> str:
    return ", ".join(shown(part) for part in (row.student, row.lesson) if part)


def show_comparison(wrong: Sequence[str], count: int) -> None:
    """Prints that the marks are the known ones, or each one that is not."""
    console = _console()
    if not wrong:
        console.print(f"All {count} submissions have the marks that are known.")
        return
    console.print(f"[bold red]{len(wrong)} marks are not the known ones:[/]")
    for line in wrong:
        console.print(literally(f"  {line}"), style="red", soft_wrap=True)
