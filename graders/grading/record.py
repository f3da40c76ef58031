"""Puts examinations into nbgrader's hands: its autograded notebooks and its gradebook.

nbgrader's own Autograde does all but run the cells: it restores, saves the marks that the outputs
stand for, and writes the notebook.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader import utils
from nbgrader.converters import Autograde
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets.config import Config

from graders.card import draw
from graders.card.outcome import MIME, Outcome
from graders.grading.examiner import Examination, Said
from graders.nbgrading import plugins as plugins
from graders.nbgrading.steps import run_step


def record(config: Config, lesson: str, student: str, found: Examination) -> None:
    """Writes the marks into the gradebook, and the notebook with what its checks said.

    Raises:
        StepFailed: nbgrader refuses the submission.
    """
    config = copy.deepcopy(config)
    steps = config.Autograde.autograde_preprocessors
    replaced = [_of(found) if step is plugins.Execute else step for step in steps]
    config.Autograde.autograde_preprocessors = replaced
    run_step(Autograde, config, lesson, student)


def _of(found: Examination) -> type[NbGraderPreprocessor]:
    class Recorded(NbGraderPreprocessor):
        """Gives each cell the outputs that it had in the examination."""

        def preprocess_cell(
            self, cell: NotebookNode, resources: Any, index: int
        ) -> tuple[NotebookNode, Any]:
            if cell.cell_type == "code":
                cell.outputs = list(_outputs(cell, found))
            return cell, resources

    return Recorded


def _outputs(cell: NotebookNode, found: Examination) -> Iterator[NotebookNode]:
    name = plugins.grade_id(cell)
    if utils.is_grade(cell):
        yield from _of_check(found.outcomes[name])
    elif name in found.said:
        yield from _of_cell(found.said[name])


def _of_check(outcome: Outcome) -> Iterator[NotebookNode]:
    """The outcome as data, for the feedback page, and as a card, for Formgrader."""
    shown = outcome.for_the_student()
    card = {"text/html": draw.html(shown), "text/plain": draw.text(shown)}
    yield _output("display_data", data={MIME: shown.as_json()} | card, metadata={})
    if not outcome.passed:
        yield _error("CheckFailed", outcome.words, f"CheckFailed: {outcome.words}")


def _of_cell(said: Said) -> Iterator[NotebookNode]:
    if said.printed:
        yield _output("stream", name="stdout", text=said.printed)
    if said.error:
        name, _, message = said.error.partition(": ")
        yield _error(name, message, said.error)


def _error(name: str, message: str, line: str) -> NotebookNode:
    return _output("error", ename=name, evalue=message, traceback=[line])


def _output(kind: str, **entries: Any) -> NotebookNode:
    """An output; unlike nbformat's own it is not validated: the whole notebook is, in the end."""
    node: Any = nbformat.from_dict({"output_type": kind, **entries})
    return node
