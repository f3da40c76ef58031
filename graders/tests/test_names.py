"""Names of students: which are refused, which are alike, and how any text is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from graders.card.failure import Cause, Finding
from graders.grading.submissions import students_folders
from graders.nbgrading.names import alike, fault, shown
from graders.seam import capture

ACCEPTED = ["ada", "Ada Lovelace", "josé", "Łukasz", "Ольга", "Νίκος", "李雷", "o'neill", "a" * 100]
REFUSED = {
    "control character": ["a\x1bb", "a\nb", "a\u202eb", "a\u200bb", "a\u00adb"],
    "invisible": ["x\u3164", "x\u2800", "x\u115fy", "x\ufe0f", "x\u034fy", "x\U000e0100"],
    "a blank of another kind": ["a\u00a0b", "a\u3000b"],
    "mixes Latin, Greek or Cyrillic": ["aahon\u0435st", "\u0391da"],
    "a line of their own": ["all", "Total"],
    "takes for a pattern": ["a*", "a?", "[a]"],
    "begins with": ["=a", "-rf", ".a"],
    "begins or ends with a blank": ["a ", " a"],
    "more than 100": ["a" * 101],
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_names_of_people_are_accepted(name: str) -> None:
    assert fault(name) == ""


@pytest.mark.parametrize(
    ("name", "reason"), [(name, reason) for reason, names in REFUSED.items() for name in names]
)
def test_a_name_that_could_mislead_is_refused(name: str, reason: str) -> None:
    assert reason in fault(name)


def test_case_and_encoding_make_names_alike_and_an_accent_does_not() -> None:
    assert alike(["Ada", "ada"]) == {"Ada": ["ada"], "ada": ["Ada"]}
    assert alike(["jose\u0301", "josé"]).keys() == {"jose\u0301", "josé"}
    assert alike(["jose", "josé"]) == {}


def test_of_two_names_that_are_alike_the_graded_one_stays(tmp_path: Path) -> None:
    submitted = tmp_path / "submitted"
    for name in ("Ada", "ada", "ben"):
        (submitted / name).mkdir(parents=True)
    refused = {path.name: reason for path, reason in students_folders(submitted)}
    assert [name for name, reason in refused.items() if not reason] == ["ben"]
    (tmp_path / "autograded/ada").mkdir(parents=True)
    refused = {path.name: reason for path, reason in students_folders(submitted)}
    assert [name for name, reason in refused.items() if not reason] == ["ada", "ben"]
    (tmp_path / "autograded/Ada").mkdir()
    refused = {path.name: reason for path, reason in students_folders(submitted)}
    assert [name for name, reason in refused.items() if not reason] == ["ben"]


HOSTILE, WRITTEN = "a\x1b[2J\u202eb", "a\\x1b[2J\\u202eb"


def test_what_cannot_be_seen_is_written_out_wherever_it_is_shown() -> None:
    assert shown(HOSTILE) == WRITTEN
    assert capture.shown(f"{HOSTILE}\n\tc") == f"{WRITTEN}\n\tc"
    finding = Finding(Cause(HOSTILE, HOSTILE), HOSTILE, HOSTILE, HOSTILE, error=HOSTILE).cut()
    assert {finding.cause.diagnosis, finding.expected, finding.got, finding.at} == {WRITTEN}
    assert (finding.cause.next_step, finding.error) == (WRITTEN, WRITTEN)


@pytest.mark.parametrize("text", ["naïve", "👩\u200d🔬", "می\u200cخواهم", "x² ≤ 1"])
def test_other_text_is_shown_as_it_is(text: str) -> None:
    assert capture.shown(text) == text
