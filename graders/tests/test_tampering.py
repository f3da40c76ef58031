"""Signs of tampering: found where code reaches for its process, and in no honest answer."""

from __future__ import annotations

from pathlib import Path

import jax
import pytest

from graders import probes
from graders.lesson.source import read_lesson
from graders.root import course_root
from graders.seam import observation, wire
from graders.seam.protocol import ENDED
from graders.seam.remote import MOST_SIGNS, RemotePlace, StudentProcess
from graders.seam.tampering import Functions, reaches_for, replaced_sign

REACHING = {
    "import sys\nsys._getframe(1)": "frames (_getframe)",
    "from sys import _getframe": "frames (_getframe)",
    "from inspect import currentframe as c": "frames (currentframe)",
    "import inspect; inspect.currentframe()": "frames (currentframe)",
    "frame = frame.f_back": "frames (f_back)",
    "def f():\n    return g.gi_frame": "frames (gi_frame)",
    "error.__traceback__.tb_frame": "frames (tb_frame)",
    "getattr(frame, 'f_locals')": "frames (f_locals)",
    "import gc\ngc.get_objects()": "all objects (get_objects)",
    "import gc as g\ng.get_referrers(x)": "all objects (get_referrers)",
    "from gc import get_referents as of": "all objects (get_referents)",
    "import numpy, ctypes.util": "ctypes",
    "from socket import socketpair": "socket",
    "import sys\nsys.modules['jax']": "sys.modules",
    "from sys import modules": "sys.modules",
    "import os; os.write(3, b'')": "descriptors or processes (os.write)",
    "from os import fdopen": "descriptors or processes (os.fdopen)",
    "posix.dup2(0, 1)": "descriptors or processes (dup2)",
    "open('/proc/self/fd/3')": "/proc",
    "import graders.probes": "graders.probes",
    "from graders.seam import wire": "graders.seam",
    "import graders\ngraders.probes.PROBES": "graders.probes",
    "%timeit sys._getframe()": "",
}
HONEST = [
    "from graders import check_values, sweep",
    "import os\npath = os.path.join('a', 'b')",
    "import sys\nprint(sys.version)",
    "import gc\ngc.collect()",
    "file.write('text')\nfile.read()",
    "def write(x):\n    return x",
    "no Python (",
    "'a text about sys.modules and gc'",
]


@pytest.mark.parametrize("source", REACHING)
def test_what_a_cell_reaches_for_is_named(source: str) -> None:
    assert (REACHING[source] in reaches_for(source)) == bool(REACHING[source])


@pytest.mark.parametrize("source", HONEST)
def test_honest_code_reaches_for_nothing(source: str) -> None:
    assert reaches_for(source) == []


@pytest.mark.parametrize(
    "folder", sorted((course_root() / "solutions").glob("[0-9]*")), ids=lambda path: path.name
)
def test_no_answer_of_a_lesson_reaches_for_anything(folder: Path) -> None:
    lesson = read_lesson(folder)
    answers = [*lesson.right, *lesson.wrong, *lesson.exercises.values()]
    found = {f"{one.exercise} {one.line}": reaches_for(one.source) for one in answers}
    assert {name: signs for name, signs in found.items() if signs} == {}


def test_replaced_functions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = Functions()
    assert functions.replaced() == []
    monkeypatch.setitem(probes.PROBES, "program", lambda *_: None)
    monkeypatch.setattr(jax, "grad", lambda f: f)
    monkeypatch.setattr(wire._Decoder, "check_end", lambda _: None)
    names = ["graders.probes.PROBES", "graders.seam.wire._Decoder.check_end", "jax.grad"]
    assert set(names) <= set(functions.replaced())
    assert replaced_sign(names) == [f"replaced functions: {', '.join(names)}"]
    monkeypatch.undo()
    assert functions.replaced() == []


def test_a_function_with_other_code_is_a_replaced_one(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = Functions()
    monkeypatch.setattr(observation.error_facts, "__code__", (lambda *_: None).__code__)
    assert "graders.seam.observation.error_facts" in functions.replaced()


def test_many_replaced_functions_are_a_number() -> None:
    names = [f"jax.{name}" for name in ("grad", "hessian", "jit", "jvp", "make_jaxpr", "vjp")]
    (line,) = replaced_sign(names)
    assert (
        line
        == "replaced functions: jax.grad, jax.hessian, jax.jit, jax.jvp, jax.make_jaxpr and 1 more"
    )
    assert replaced_sign([]) == []


class Saying(StudentProcess):
    """A process that says what it is told to."""

    def __init__(self, reply: object) -> None:
        super().__init__()
        self.reply = wire.pack(reply)

    def exchange(self, body: bytes) -> bytes:
        return self.reply

    def kill(self) -> None:
        """It has nothing to end."""


@pytest.mark.parametrize("reply", [None, 3, [1], {"a": "b"}, "gc"])
def test_what_is_no_list_of_signs_is_none(reply: object) -> None:
    assert RemotePlace(Saying(reply)).replaced() == []


TEXTS = [
    "ada, 00_start: cheated",
    "jax.grad ada, 00_start",
    "jax.grad\n",
    "jax.\u0430\u0501\u0430",
    "\x1b[2J",
    "=cmd()",
    "os.system",
    "jax",
    "jax." + "a" * 200,
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_of_the_students_is_no_name_of_a_function(text: str) -> None:
    """It would stand in the remarks of the class, beside other names."""
    assert RemotePlace(Saying([text])).replaced() == ["replaced functions: 1 without a name"]
    found = RemotePlace(Saying([text, "jax.grad"])).replaced()
    assert found == ["replaced functions: jax.grad and 1 more"]


def test_signs_are_cut() -> None:
    found = RemotePlace(Saying(["a" * 10_000] * 100)).reaches_for("")
    assert len(found) == MOST_SIGNS
    assert max(map(len, found)) <= 200
    ended = Saying([])
    ended.end(ENDED)
    assert RemotePlace(ended).reaches_for("") == []
