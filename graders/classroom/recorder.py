"""Keeps what grading finds: in the journal as it comes, and in the gradebook once it counts."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from nbgrader.converters import GenerateFeedback
from traitlets.config import Config

from graders.files import PACKAGE
from graders.grading import journal
from graders.grading.engine import Task
from graders.grading.examiner import Examination
from graders.grading.journal import Entry, Journal
from graders.grading.record import record
from graders.grading.results import BY_HAND, FAILED, GRADED, HELD, UNREADABLE, Change, Row, kind
from graders.grading.submissions import Submission, Unreadable
from graders.lesson.cells import Lesson
from graders.nbgrading import gradebook
from graders.nbgrading.gradebook import Standing
from graders.nbgrading.names import shown
from graders.nbgrading.steps import StepFailed, run_step

Result = Examination | Unreadable | str
"""What was found of a submission, why it cannot be read, or why its grading broke down."""

_EARLIER = "the marks are those of the submission before it"


class Recorder:
    """What is known of the submissions of a class, and how it gets there.

    An outcome is kept in the journal, a mark in the gradebook, and nothing anywhere else: a row of
    the report is read from these two.
    """

    def __init__(
        self, place: Path, intake: Path, config: Config, lessons: Mapping[str, Lesson]
    ) -> None:
        """Knows what is known by now.

        Args:
            place: the folder of the class.
            intake: a folder for copies of what is graded, as it is read; empty.
            config: nbgrader's configuration for this class.
            lessons: by name.
        """
        self.place, self.intake, self.lessons = place, intake, lessons
        self.config = copy.deepcopy(config)
        self.config.CourseDirectory.submitted_directory = str(intake)
        self.journal = Journal(place / journal.PATH)
        self.digests: dict[journal.Key, str] = {}
        # What there is to say of files beside the notebook that are not kept with it.
        self.left_out: dict[journal.Key, str] = {}
        code = journal.code_digest(PACKAGE)
        self.checks = {name: journal.check_digests(code, one) for name, one in lessons.items()}

    def screened(
        self, found: Iterable[Submission]
    ) -> tuple[list[tuple[Submission, Result]], list[Task]]:
        """What is known without an examination, and what has to be examined."""
        known: list[tuple[Submission, Result]] = []
        waiting = []
        for submission in found:
            try:
                taken = self._taken_in(submission)
            except Unreadable as error:
                known.append((submission, error))
                continue
            except OSError as error:
                why = Unreadable(f"a file of it cannot be copied: {error.strerror}")
                known.append((submission, why))
                continue
            entry, touched = self._known(taken)
            if entry and not touched:
                known.append((taken, entry.found))
            else:
                waiting.append(Task(taken, touched if entry else None))
        return known, waiting

    def _taken_in(self, submission: Submission) -> Submission:
        """The copy of the submission that is graded."""
        notebook = submission.read(self._cells(submission))
        taken = submission.taken_in(notebook, self.intake)
        self.digests[taken.key] = taken.digest()
        self.left_out[taken.key] = submission.left_out
        return taken

    def _cells(self, submission: Submission) -> set[str]:
        return {str(c.grade_id) for c in self.lessons[submission.lesson].cells if c.grade_id}

    def noted(
        self, results: Iterable[tuple[Submission, Examination | str]]
    ) -> Iterator[tuple[Submission, Result]]:
        """The results, each once the journal has it."""
        for submission, result in results:
            yield submission, self._noted(submission, result)

    def _noted(self, submission: Submission, result: Examination | str) -> Examination | str:
        """What was found, together with what was known of the checks that have not changed."""
        if isinstance(result, str):
            return result
        known, touched = self._known(submission)
        if known:
            untouched = {c: o for c, o in known.found.outcomes.items() if c not in touched}
            signs = [*dict.fromkeys([*known.found.signs, *result.signs])]
            result = Examination(untouched | result.outcomes, known.found.said | result.said, signs)
        entry = Entry(self.digests[submission.key], self.checks[submission.lesson], result)
        self.journal.add(submission.key, entry)
        return self.journal.entries[submission.key].found

    def _known(self, submission: Submission) -> tuple[Entry | None, frozenset[str]]:
        """What the journal has of this very submission, and the checks that have changed since."""
        known = self.journal.known(submission.key, self.digests[submission.key])
        checks = self.checks[submission.lesson]
        return known, frozenset(known.touched(checks) if known else checks)

    # ---- into the gradebook ----

    def changes(self, submission: Submission, found: Result) -> list[Change]:
        """The marks that would be other ones although the submission has not changed."""
        before = self.journal.recorded.get(submission.key)
        if not isinstance(found, Examination) or not before:
            return []
        if before.notebook != self.digests[submission.key]:
            return []
        marks = self._standing(submission.key).marks
        written = {check: mark.written or 0.0 for check, mark in marks.items()}
        return [
            Change(*submission.key, check, written[check], earned)
            for check, earned in _due(found, marks).items()
            if written[check] != earned
        ]

    def _standing(self, key: journal.Key) -> Standing:
        student, lesson = key
        return gradebook.standing(self.config, lesson, student)

    def hold(self, submission: Submission, changes: Sequence[Change]) -> None:
        """The marks of the submission stay as they are for now."""
        marks = "1 changed mark is" if len(changes) == 1 else f"{len(changes)} changed marks are"
        self._show(submission, HELD, f"{marks} not written")

    def write(self, submission: Submission, found: Result) -> None:
        """The gradebook and nbgrader's folders hold what was found.

        Where nothing was, they hold what they held.
        """
        key = submission.key
        if isinstance(found, Unreadable):
            self._note_nothing(key, UNREADABLE, str(found))
        elif isinstance(found, str):
            self._note_nothing(key, FAILED, found)
        else:
            try:
                if not self._is_recorded(key, found):
                    self._record(submission, found)
            except StepFailed as error:
                self._note_nothing(key, FAILED, gradebook.cause(str(error)))
            else:
                self._show(submission, GRADED, self.left_out[key])

    def _note_nothing(self, key: journal.Key, status: str, reason: str) -> None:
        """There are no marks; those of an earlier submission stand, where there are any."""
        marks = self._standing(key).marks if key in self.journal.recorded else {}
        earlier = _EARLIER if any(mark.written is not None for mark in marks.values()) else ""
        self.journal.note(key, status, "; ".join(filter(None, (shown(reason), earlier))))

    def _is_recorded(self, key: journal.Key, found: Examination) -> bool:
        """Whether the gradebook has exactly this; `nbgrader autograde` may have written since."""
        if not self.journal.is_recorded(key):
            return False
        marks = self._standing(key).marks
        due = _due(found, marks)
        return bool(marks) and {check: marks[check].written for check in due} == due

    def _record(self, submission: Submission, found: Examination) -> None:
        """Gives nbgrader what was found; what was given by hand stays, to be looked at again.

        That is so where the answer, or what its check says of it, is no longer the one that the
        instructor saw.
        """
        named = (self.config, submission.lesson, submission.student)
        before = gradebook.standing(*named)
        checks = self._judged_by_hand(submission.lesson, before)
        answers = gradebook.answers(*named, checks.values())
        gradebook.clear(*named)
        record(*named, found)
        self.journal.note_recorded(submission.key)
        if checks:
            now = gradebook.standing(*named).marks
            answered = gradebook.answers(*named, checks.values())
            looks = {
                check: before.marks[check].needs_a_look
                or before.marks[check].written != now[check].written
                or answers.get(exercise) != answered.get(exercise)
                for check, exercise in checks.items()
            }
            gradebook.flag(*named, looks)

    def _judged_by_hand(self, lesson: str, standing: Standing) -> dict[str, str]:
        """The checks that an instructor has marked or commented on, each with its exercise."""
        exercises = {str(c.grade_id): str(c.check) for c in self.lessons[lesson].checks}
        return {
            check: exercises[check]
            for check, mark in standing.marks.items()
            if check in exercises and (mark.by_hand or exercises[check] in standing.commented)
        }

    def _show(self, submission: Submission, status: str, reason: str) -> None:
        """The late penalty and the page are as of now: an instructor may have marked since."""
        named = (self.config, submission.lesson, submission.student)
        try:
            gradebook.settle_penalty(*named, submission.handed_in)
            run_step(GenerateFeedback, *named, force=True)
        except StepFailed as error:
            self.journal.note(submission.key, FAILED, shown(gradebook.cause(str(error))))
        else:
            self.journal.note(submission.key, status, reason)

    # ---- rows ----

    def rows(self, submissions: Iterable[Submission]) -> list[Row]:
        """A row for each of these submissions that has been graded, by whichever run."""
        self.journal.read_again()
        points = cache(partial(gradebook.points, self.config))
        rows = (self._row(one, points(one.lesson)) for one in submissions)
        return sorted(filter(None, rows), key=lambda row: row.key)

    def _row(self, submission: Submission, points: dict[str, float]) -> Row | None:
        key = submission.key
        status = self.journal.statuses.get(key)
        if not status:
            return None
        standing = self._standing(key) if key in self.journal.recorded else Standing()
        marks = {check: standing.marks[check] for check in points if check in standing.marks}
        scores = {check: mark.counts for check, mark in marks.items()}
        if status.status in (GRADED, HELD) and not scores:
            return None
        kinds = self._kinds(key) if status.status == GRADED else {}
        kinds |= {check: BY_HAND for check, mark in marks.items() if mark.by_hand}
        entry, penalty = self.journal.entries.get(key), standing.penalty
        signs = entry.found.signs if entry and status.status in (GRADED, HELD) else []
        note = "; ".join(filter(None, (_second_looks(marks), _tampering(signs))))
        return Row(*key, status.status, scores, points, status.reason, note, kinds, penalty)

    def _kinds(self, key: journal.Key) -> dict[str, str]:
        entry = self.journal.entries.get(key)
        outcomes = entry.found.outcomes.items() if entry else ()
        return {check: kind(one) for check, one in outcomes if kind(one)}


def _due(found: Examination, marks: Mapping[str, gradebook.Mark]) -> dict[str, float]:
    """The marks that grading gives, of the checks that the gradebook has for the submission."""
    outcomes = found.outcomes.items()
    return {check: marks[check].highest * one.passed for check, one in outcomes if check in marks}


def _tampering(signs: Sequence[str]) -> str:
    return f"signs of tampering, which cost no points: {', '.join(signs)}" if signs else ""


def _second_looks(marks: Mapping[str, gradebook.Mark]) -> str:
    looks = [check for check, mark in marks.items() if mark.needs_a_look]
    if not looks:
        return ""
    return f"look again at {', '.join(looks)}: the answer or its check has changed since you marked"
