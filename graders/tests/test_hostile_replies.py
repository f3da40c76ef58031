"""Replies that a forging process may send: each costs its check at most.

What a student's process sends is decoded and checked. What passes that is data of the declared type
with any content, and checks, diagnoses and descriptions must be able to read it.
"""

from __future__ import annotations

import dataclasses
import pickle
import random
from collections.abc import Iterator
from typing import Any

import nbformat
import numpy as np
import pytest

from graders.author.notebooks import source_notebook
from graders.card.failure import Cause
from graders.checks import answer as module_of_answers
from graders.grading import examiner as module_of_examiner
from graders.grading.examiner import Examination, Examiner
from graders.lesson.cells import Lesson
from graders.lesson.source import read_lesson
from graders.probes.gradients import Derivatives
from graders.root import course_root
from graders.seam import student, wire
from graders.seam.protocol import Error, Result
from graders.seam.remote import StudentProcess
from graders.values.plain import MOST_ELEMENTS, Key, Leaf, Opaque, Record, plain

TEXTS = ["", "\x00", "\x1b[2J", "\u202e", "A" * 200_000, "jit", "<script>", "{0}", "%s", "*", "["]
SHAPES = [(), (0,), (0, 2**20), (2**13, 0, 2**12), (1,) * 64, (3,), (2, 3), (100, 100)]
INTEGERS = [0, 1, -1, 2, 7, 2**31, 2**63 - 1, -(2**63)]
FLOATS = [float("nan"), float("inf"), 0.0, -1e308]


class Forger(StudentProcess):
    """A process like the student's, in this one, which changes some replies to observations."""

    def __init__(self, chance: random.Random, rate: float) -> None:
        super().__init__()
        self.server, self.chance, self.rate = student.Server(), chance, rate

    def new_process(self) -> StudentProcess:
        return Forger(self.chance, self.rate)

    def kill(self) -> None:
        """There is nothing to end."""

    def exchange(self, body: bytes) -> bytes:
        command = pickle.loads(body)[0]
        if command in ("put", "reaches_for", "replaced"):
            return wire.pack([])
        reply = self.server.answer(body)
        if command == "observe" and self.chance.random() < self.rate:
            return self._forged(reply, pickle.loads(body)[-1].probe)
        try:
            return wire.pack(reply)
        except wire.TooLarge:
            return wire.pack(Result())

    def _forged(self, reply: Any, probe: str) -> bytes:
        """A reply that the trusted side takes for one of this probe; GARBLED ones say nothing."""
        for _ in range(20):
            forged = self._changed(reply)
            forged = forged if isinstance(forged, Result) else Result(forged)
            try:
                packed = wire.pack(forged)
                if not wire.checked(probe, wire.unpack(packed)).error or forged.error:
                    return packed
            except Exception:  # what does not cross is no attack
                continue
        return wire.pack(reply)

    def _changed(self, value: Any) -> Any:
        if self.chance.random() < 0.1:
            return self._odd()
        if isinstance(value, np.ndarray):
            return self._array(value.shape)
        if type(value) is bool:
            return not value
        if type(value) in (int, float, str):
            return self.chance.choice({int: INTEGERS, float: FLOATS, str: TEXTS}[type(value)])
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = [getattr(value, field.name) for field in dataclasses.fields(value)]
            return type(value)(*map(self._changed, fields))
        if isinstance(value, list | tuple):
            items = [self._changed(item) for item in value]
            other = self.chance.choice([items, items[:-1], 2 * items, items[::-1], []])
            return other if isinstance(value, list) else tuple(other)
        if isinstance(value, dict):
            return {key: self._changed(item) for key, item in value.items()}
        return value

    def _array(self, shape: tuple[int, ...]) -> np.ndarray:
        dtype = wire.DTYPES[self.chance.choice(list(wire.DTYPES))]
        shape = self.chance.choice([shape, shape, *SHAPES])
        content = self.chance.choice([b"\x00", b"\xff", b"\x7f"]) * dtype.itemsize
        return np.frombuffer(content * int(np.prod(shape)), dtype).reshape(shape)

    def _odd(self) -> Any:
        text, array = self.chance.choice(TEXTS), self._array((3,))
        return self.chance.choice([
            None, [], (), {}, {"a": Leaf(array, "jax", True)}, [None] * 20_000,
            Leaf(array, "numpy"), Leaf(array, "python", True), Key(text, array), np.zeros(3), b"x",
            Record(text, (text,), (None,)), Record("T", ("a", "a"), (None, None)), Opaque(text),
            Error("E", ("Exception",), text, text),
        ])  # fmt: skip


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    return read_lesson(course_root() / "solutions" / "00_start")


@pytest.fixture(scope="module")
def examiner(lesson: Lesson) -> Examiner:
    return Examiner(lesson)


def answered(lesson: Lesson, **answers: str) -> list[Any]:
    """The cells of a notebook with the author's answers, but for these."""
    notebook = nbformat.reads(nbformat.writes(source_notebook(lesson)), as_version=4)
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = answers.get(name, cell.source)
    return notebook.cells


@pytest.mark.parametrize(
    "seed", [*range(3), *(pytest.param(n, marks=pytest.mark.long) for n in range(3, 60))]
)
def test_a_forged_reply_costs_its_check_at_most(
    seed: int, examiner: Examiner, lesson: Lesson
) -> None:
    chance = random.Random(seed)
    found = examiner.examine(answered(lesson), Forger(chance, chance.choice([0.05, 0.3, 1.0])))
    assert found.outcomes.keys() == {str(check.grade_id) for check in lesson.checks}
    assert [sign for sign in found.signs if "its check stopped" in sign] == []


def outcomes(examiner: Examiner, cells: list[Any]) -> Examination:
    return examiner.examine(cells, Forger(random.Random(0), 0.0))


@pytest.mark.parametrize(
    "answer",
    [
        "sum_shape = np.zeros((10**8, 0), bool)",
        "sum_shape = np.zeros((2**62, 0), bool)",
        "sum_shape = np.zeros(10**7, np.int8)",
        "sum_shape = [np.zeros(10**5)] * 100",
        "sum_shape = np.zeros((0, 2**62), jnp.float8_e4m3fn)",
    ],
)
def test_a_prediction_that_is_a_large_array_is_not_walked_through(
    answer: str, examiner: Examiner, lesson: Lesson, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    number = module_of_answers._number

    def noted(data: np.ndarray) -> Any:
        seen.append(data.size)
        return number(data)

    monkeypatch.setattr(module_of_answers, "_number", noted)
    found = outcomes(examiner, answered(lesson, sum_shape=answer))
    failed = [name for name, outcome in found.outcomes.items() if not outcome.passed]
    assert failed == ["sum_shape_check"]
    assert max(seen, default=0) <= 10_000


def test_an_empty_array_with_a_long_axis_is_no_array() -> None:
    assert isinstance(plain(np.zeros((0, 2**62), bool)), Opaque)
    assert isinstance(plain(np.zeros((0, 20))), Leaf)
    with pytest.raises(wire.ProtocolError, match="too many elements"):
        wire.unpack(wire.pack(np.zeros((0, MOST_ELEMENTS + 1), bool)))


def replies() -> Iterator[Any]:
    """What is no plain data, alone and inside."""
    for odd in (np.zeros(3), b"abc", 1, 2.5, True, Derivatives(None, None, None), Result(1)):
        yield from (odd, [odd], (None, [odd]), {"a": odd}, Record("R", ("a",), (odd,)))


@pytest.mark.parametrize("reply", list(replies()), ids=repr)
def test_what_is_no_plain_data_is_no_reply(reply: Any) -> None:
    try:
        came = wire.unpack(wire.pack(Result(reply)))
    except wire.ProtocolError:
        return
    assert wire.checked("call", came).error is not None


def test_a_check_that_stops_costs_its_points_and_is_flagged(
    lesson: Lesson, examiner: Examiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*values: object) -> Cause:
        raise ValueError("cannot be compared")

    monkeypatch.setattr(module_of_answers, "_cause", broken)
    found = outcomes(examiner, answered(lesson, sum_shape="sum_shape = 17"))
    failed = {name: outcome for name, outcome in found.outcomes.items() if not outcome.passed}
    assert failed.keys() == {"sum_shape_check"}
    assert "the check cannot judge this answer" in failed["sum_shape_check"].words
    [sign] = found.signs
    assert sign.startswith("sum_shape: its check stopped with ValueError in test_hostile_repl")


def test_our_own_work_is_ended(
    lesson: Lesson, examiner: Examiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(*values: object) -> Cause:
        while True:
            pass

    monkeypatch.setattr(module_of_answers, "_cause", endless)
    grace = 20 - module_of_examiner.MOST_SECONDS  # 20 seconds after the submission has begun
    monkeypatch.setattr(module_of_examiner, "GRACE", grace)
    found = outcomes(examiner, answered(lesson, sum_shape="sum_shape = 17"))
    assert not found.outcomes["sum_shape_check"].passed
    assert any("its check stopped with TooLong" in sign for sign in found.signs)
