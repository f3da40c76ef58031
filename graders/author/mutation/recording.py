"""What the checks of an exercise ask of its answer: a place that notes the requests."""

from __future__ import annotations

from typing import Any

from graders.judging.lesson_run import LessonRun
from graders.seam.place import LocalPlace
from graders.seam.protocol import Request, Result, Step
from graders.seam.subject import LocalSubject, Subject


class RecordingPlace(LocalPlace):
    """A place whose subjects note what they are asked."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        super().__init__(namespace)
        self.requests: dict[str, list[Request]] = {}

    def subject(self, name: str) -> Subject:
        found = super().subject(name)
        if not isinstance(found, LocalSubject):
            return found
        return _Recording(found.answer, name, log=self.requests.setdefault(name, []))


class _Recording(LocalSubject):
    def __init__(
        self, answer: Any, name: str, steps: tuple[Step, ...] = (), log: list[Request] | None = None
    ) -> None:
        super().__init__(answer, name, steps)
        self.log = [] if log is None else log

    def send(self, request: Request) -> Result:
        self.log.append(request)
        return super().send(request)

    def extended(self, step: Step) -> _Recording:
        return _Recording(self.answer, self.name, (*self.steps, step), self.log)


def requests_of(lesson_run: LessonRun, exercise: str, source: str) -> dict[str, list[Request]]:
    """What the checks ask of `source` as the answer to the exercise, by the names it binds."""
    branch = lesson_run.places[exercise].branch()
    assert isinstance(branch, LocalPlace)
    place = RecordingPlace(branch.namespace)
    place.run(source, f"<{exercise}>")
    for check in lesson_run.checks_of(exercise):
        lesson_run.evaluation(check, place).go_on(check.source)
    return place.requests
