"""Judges an answer: evaluates a check cell with the student's names bound to subjects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from graders import sheet
from graders.failure import CheckFailed
from graders.place import Place, execute


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check cell: its sheet, and the failure where there is one."""

    sheet: sheet.Sheet
    failure: CheckFailed | None = None

    @property
    def passed(self) -> bool:
        return self.failure is None

    @property
    def failed_at(self) -> int | None:
        """The position of the requirement that rejected the answer."""
        return None if self.passed else self.sheet.position - 1


def judge(
    source: str, namespace: dict[str, Any], students: Iterable[str], place: Place, filename: str
) -> Verdict:
    """The verdict of the check cell `source`.

    It runs in a copy of the trusted `namespace`, in which every name of `students` is bound to
    what `place` holds under it. An error of the check itself, not of the answer, is raised.
    """
    bound = dict(namespace) | {name: place.subject(name) for name in students}
    with sheet.turned_to(sheet.Sheet.of(source)) as page:
        try:
            execute(source, filename, bound)
        except CheckFailed as failure:
            return Verdict(page, failure)
    return Verdict(page)
