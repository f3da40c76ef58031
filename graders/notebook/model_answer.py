"""The author's answer with a commentary, for the card of an exercise that has passed.

It is offered where the solutions are: in a checkout of the course, not in the image for a class.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from graders.card.draw import coded
from graders.files import PACKAGE
from graders.lesson.commentary import Comment, read_commentary
from graders.lesson.problems import SourceError
from graders.lesson.regions import SOLUTION, without_marks
from graders.lesson.source import read_lesson
from graders.notebook import progress

SETTING = "JAX_COURSE_MODEL_ANSWERS"
NEVER = "never"
"""`SETTING` is this, or the number of wrong answers after which the author's is shown as well."""
_CODE = (
    "overflow-x:auto;white-space:pre;padding:6px 8px;margin:4px 0;background:rgba(128,128,128,.12);"
    "font-family:var(--jp-code-font-family,monospace);font-size:13px;line-height:1.45"
)


@dataclass(frozen=True)
class ModelAnswer:
    """The author's code for an exercise, and what there is to say of it."""

    exercise: str
    source: str
    comment: Comment


def offered(check: progress.Check, records: Mapping[str, progress.Record]) -> ModelAnswer | None:
    """The author's answer to the exercise of `check`, if the student may see it now.

    They may once each check of the exercise has passed. `SETTING` may allow it before that, after
    a number of wrong answers, or never.

    Args:
        check: a check of the course.
        records: of the checks of its lesson, by their names.
    """
    setting = os.environ.get(SETTING, "")
    if check.kind != "code" or setting == NEVER:
        return None
    same = [c for c in progress.catalogue().values() if _is_of(c, check)]
    found = [records.get(c.name, progress.Record()) for c in same]
    tries = sum(record.failed for record in found)
    may_see = all(r.passed for r in found) or (setting.isdecimal() and 0 < int(setting) <= tries)
    return _answers(check.lesson).get(check.exercise) if may_see else None


def _is_of(other: progress.Check, check: progress.Check) -> bool:
    return (other.lesson, other.exercise) == (check.lesson, check.exercise)


@functools.cache
def _answers(lesson: str, solutions: Path = PACKAGE.parent / "solutions") -> dict[str, ModelAnswer]:
    """The author's answers of a lesson that have a commentary; none where they are not here."""
    folder = solutions / lesson
    comments = read_commentary(folder)
    if not comments:
        return {}
    try:
        exercises = read_lesson(folder).exercises
    except SourceError:  # an author is at work on it
        return {}
    return {
        name: ModelAnswer(name, without_marks(cell.source, SOLUTION), comments[name])
        for name, cell in exercises.items()
        if name in comments
    }


def html(answer: ModelAnswer, namespace: Mapping[str, Any]) -> str:
    """The answer folded, with its commentary and, where they teach something, both jaxprs.

    Args:
        answer: the author's.
        namespace: of the notebook, in which the student's answer is.
    """
    return (
        '<details style="margin-top:6px"><summary style="cursor:pointer">Model answer</summary>'
        f'<p style="margin:4px 0">{coded(answer.comment.text)}</p>'
        f'<pre tabindex="0" style="{_CODE}">{escape(answer.source)}</pre>'
        f"{_jaxprs(answer, namespace)}</details>"
    )


def _jaxprs(answer: ModelAnswer, namespace: Mapping[str, Any]) -> str:
    if not answer.comment.arguments:
        return ""
    theirs = dict(namespace)
    try:
        exec(compile(answer.source, "<model answer>", "exec"), theirs)
        own, authors = (
            jaxpr_of(names[answer.exercise], answer.comment.arguments)
            for names in (namespace, theirs)
        )
    except Exception:  # a passed answer need not trace with these arguments: they are optional
        return ""
    shown = [("Your jaxpr", own), ("The author's jaxpr", authors)]
    if own == authors:
        shown = [("Your jaxpr, which is the author's too", own)]
    columns = "".join(
        f'<div style="flex:1 1 22em;min-width:0"><strong>{title}</strong>'
        f'<pre tabindex="0" style="{_CODE}">{escape(jaxpr)}</pre></div>'
        for title, jaxpr in shown
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:0 16px">{columns}</div>'


def jaxpr_of(function: Any, arguments: str) -> str:
    """The jaxpr of `function` in text, a line for each equation.

    Args:
        function: an answer.
        arguments: of it, as Python that uses `jax`, `jnp` and `np` alone.
    """
    import jax
    import numpy as np

    from graders.notebook import program_view

    names = {"jax": jax, "jnp": jax.numpy, "np": np}
    given = eval(f"({arguments},)", names)
    rows = program_view.view_of(function, *given).rows
    return "\n".join(" " * program_view.INDENT * row.depth + row.text for row in rows)
