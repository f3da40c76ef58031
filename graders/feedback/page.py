"""What a feedback page says, read from an autograded notebook and the lesson as handed out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from nbconvert.filters import markdown2html
from nbformat import NotebookNode
from nbgrader import utils

from graders.card import draw
from graders.card.outcome import MIME, Outcome
from graders.feedback.cleaning import clean

MOST_CHARACTERS = 4_000  # of an answer, or of what it printed
MOST_OF_A_CARD = 60_000
NO_RESPONSE = "No response."
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_HINTS = "<details><summary>Hint"
_TEMPLATES = Environment(
    loader=PackageLoader("graders.feedback", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Judged:
    """One graded cell: its marks, and what its check said as a card or as one line."""

    score: float
    most: float
    card: Markup = field(default_factory=Markup)
    line: str = ""
    by_hand: bool = False  # whether an instructor has given this mark


@dataclass
class Exercise:
    """One answer with all that was said about it."""

    name: str
    heading: str  # of the section that it stands in
    hints: Markup
    answer: str
    printed: str
    comment: str  # an instructor's
    answered: bool
    judged: list[Judged] = field(default_factory=list)

    @property
    def score(self) -> float:
        return sum(one.score for one in self.judged)

    @property
    def most(self) -> float:
        return sum(one.most for one in self.judged)

    @property
    def state(self) -> str:
        """One of "met", "unanswered", "failed" and "partly"."""
        if self.score >= self.most:
            return "met"
        if self.score > 0:
            return "partly"
        return "failed" if self.answered else "unanswered"


def lesson_page(graded: NotebookNode, released: NotebookNode, about: dict[str, Any]) -> str:
    """The page of one submission.

    Args:
        graded: the autograded notebook; nbgrader's GetGrades has put marks and comments into it.
        released: the lesson as it was handed out. Headings and hints are taken from here.
        about: nbgrader's resources: student, assignment, score, max_score, late_penalty.
    """
    title = next(iter(_headings(released.cells)), about["assignment"])
    template = _TEMPLATES.get_template("lesson.html.j2")
    return template.render(title=title, about=about, exercises=exercises(graded, released))


def student_page(student: str, lines: Sequence[dict[str, Any]], total: str) -> str:
    """The page that lists a student's lessons; a line has `lesson`, `page`, `marks`, `remark`."""
    template = _TEMPLATES.get_template("student.html.j2")
    return template.render(student=student, lines=lines, total=total)


def exercises(graded: NotebookNode, released: NotebookNode) -> list[Exercise]:
    """The answers of a notebook in its order, each with the checks that stand below it."""
    given = _given(released)
    found: list[Exercise] = []
    for cell in graded.cells:
        if utils.is_solution(cell) or utils.is_task(cell):
            found.append(_exercise(cell, given.get(_name(cell), _Given())))
        if utils.is_grade(cell) or utils.is_task(cell):
            if not found:
                found.append(_exercise(cell, _Given()))
            found[-1].judged.append(_judged(cell))
    return found


def _exercise(cell: NotebookNode, given: _Given) -> Exercise:
    return Exercise(
        name=_name(cell),
        heading=given.heading,
        hints=_rendered(given.hints),
        answer=_cut(cell.source),
        printed=_cut(_printed(cell)),
        comment=_comment(cell),
        answered=cell.source.strip() != given.source.strip(),
    )


def _comment(cell: NotebookNode) -> str:
    """What an instructor has written; nbgrader's own remark on an untouched cell is none."""
    comment = str(cell.metadata.nbgrader.get("comment") or "")
    return "" if comment == NO_RESPONSE else comment


def _judged(cell: NotebookNode) -> Judged:
    marks = cell.metadata.nbgrader
    outputs = cell.get("outputs", ())
    found = [o.data[MIME] for o in outputs if MIME in o.get("data", {})]
    card = _card(found[-1]) if found else Markup()
    line = "" if card else _cut("\n".join(_errors(outputs)[-1:]))
    by_hand = bool(marks.get("by_hand"))
    return Judged(float(marks["score"] or 0), float(marks["points"]), card, line, by_hand)


def _card(data: Any) -> Markup:
    """The card of an outcome; none where the data, which a student could have written, are not one.

    All of its text is escaped by what draws it.
    """
    try:
        outcome = msgspec.convert(data, Outcome)
    except msgspec.ValidationError:
        return Markup()
    html = draw.html(outcome.for_the_student())
    return Markup(html if len(html) <= MOST_OF_A_CARD else "")


def _printed(cell: NotebookNode) -> str:
    """What an answer's cell printed, and the error that it ended with."""
    outputs = cell.get("outputs", ())
    said = [o.text for o in outputs if o.output_type == "stream" and o.name == "stdout"]
    return "".join([*said, *_errors(outputs)])


def _errors(outputs: Iterable[NotebookNode]) -> list[str]:
    """Each error in a line; of a check that failed the words alone."""
    errors = [(o.ename, o.evalue) for o in outputs if o.output_type == "error"]
    return [words if name == "CheckFailed" else f"{name}: {words}" for name, words in errors]


def _cut(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]}\n... and {len(text) - MOST_CHARACTERS:,} characters more"


def _name(cell: NotebookNode) -> str:
    return str(cell.metadata.nbgrader.grade_id)


# ---- the lesson as handed out ----


@dataclass
class _Given:
    """What the lesson gives for one exercise."""

    heading: str = ""
    source: str = ""
    hints: str = ""


def _given(released: NotebookNode) -> dict[str, _Given]:
    """By exercise: the heading above it, the code to start from, and the hints below it."""
    given: dict[str, _Given] = {}
    heading, last = "", _Given()
    for cell in released.cells:
        if utils.is_solution(cell):
            last = given[_name(cell)] = _Given(heading, cell.source)
        elif cell.cell_type == "markdown":
            heading = next(reversed(_headings([cell])), heading)
            if cell.source.startswith(_HINTS):
                last.hints = cell.source
    return given


def _headings(cells: Iterable[NotebookNode]) -> list[str]:
    markdown = (cell.source for cell in cells if cell.cell_type == "markdown")
    return [heading.strip() for source in markdown for heading in _HEADING.findall(source)]


@lru_cache(maxsize=1000)
def _rendered(markdown: str) -> Markup:
    """The hints as HTML, each one folded."""
    return clean(markdown2html(markdown)) if markdown else Markup()
