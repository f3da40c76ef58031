"""What a student's process says of a program counts where the program that it exports agrees."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from graders.author.build import build_sources
from graders.card.outcome import Outcome
from graders.diagnosis.confirmation import UNCONFIRMED
from graders.grading.examiner import Examiner
from graders.grading.results import WRONG, kind
from graders.lesson.source import read_lesson
from graders.probes.answer import value
from graders.probes.exports import Contents, contents
from graders.sample.draft import Draft
from graders.sandbox.process import Sandbox
from graders.seam.protocol import ENDED
from graders.seam.remote import RemotePlace, StudentProcess
from graders.tests.fixture_lesson import make_course

# On Linux alone: all of these run answers in bubblewrap's sandbox.
pytestmark = pytest.mark.sandbox

LESSON = '''\
"""A lesson for the tests."""

# %% [markdown]
# # 0 · Tiny

# %%
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from graders import (
    check_collectives, check_keys, check_primitives, check_values, lesson_devices, result_of,
)

mesh = jax.make_mesh(
    (8,), ("data",), devices=lesson_devices()[:8], axis_types=(jax.sharding.AxisType.Auto,)
)
split = NamedSharding(mesh, P("data"))

EXERCISE total
def total(x):
    """The running sums of `x`, by scan."""
    ### BEGIN SOLUTION
    return jax.lax.scan(lambda sum, item: (sum + item, sum + item), jnp.float32(0), x)[1]
    ### END SOLUTION

CHECK total
check_values(total, np.cumsum, [(np.ones(5, np.float32),)])
check_primitives(total, np.ones(5, np.float32), requires=["scan"],
                 same_size_for=[(np.ones(9, np.float32),)])

EXERCISE squares
def squares(x):
    """The squares, without a loop and without a sine."""
    ### BEGIN SOLUTION
    return x * x
    ### END SOLUTION

CHECK squares
check_values(squares, np.square, [(np.arange(5, dtype=np.float32),)])
check_primitives(squares, np.arange(5, dtype=np.float32), forbids=["while", "scan", "sin"])

EXERCISE noise
def noise(key):
    """Two rows of independent numbers."""
    ### BEGIN SOLUTION
    return jnp.stack([jax.random.normal(k, (20,)) for k in jax.random.split(key)])
    ### END SOLUTION

CHECK noise
check_keys(noise, jax.random.key(3))

EXERCISE mean
def mean(x):
    """The mean over all devices."""
    ### BEGIN SOLUTION
    return jnp.mean(x)
    ### END SOLUTION

CHECK mean
data = jax.device_put(np.arange(16, dtype=np.float32), split)
check_values(mean, np.mean, [(np.arange(16, dtype=np.float32),)])
check_collectives(mean, data, exactly={"all-reduce": 1})

EXERCISE compiled
def compiled(mesh):
    """A compiled mean of a NumPy array, which the devices of the mesh share."""
    ### BEGIN SOLUTION
    return jax.jit(jnp.mean, in_shardings=NamedSharding(mesh, P("data")))
    ### END SOLUTION

CHECK compiled
numbers = np.arange(16, dtype=np.float32)
check_values(result_of(compiled, mesh), np.mean, [(numbers,)])
check_collectives(result_of(compiled, mesh), numbers, exactly={"all-reduce": 1})
'''
HEADING = """\
# %% [markdown]
# ## 0.1 An exercise
# **Exercise** · 5 minutes · difficulty 1 of 5

# %% exercise="NAME"
"""
HINTS = """\
# %% [markdown] hints="NAME"
# <details><summary>Hint 1: the idea</summary>
#
# Look it up.
# </details>
# <details><summary>Hint 2: the API</summary>
#
# `jax`
# </details>

# %% check="NAME" points=2
"""
for marker, expanded in (("EXERCISE", HEADING), ("CHECK", HINTS)):
    LESSON = re.sub(rf"{marker} (\w+)\n", lambda m: expanded.replace("NAME", m[1]), LESSON)  # noqa: B023
WRONG_ENTRIES = """\
# %% wrong="total" says="x"
total = 1
"""
RIGHT_ENTRIES = """\
# %% right="total"
def total(x):
    return x
"""

# Right in their numbers and not in their structure, and the process lies about the structure.
LOOP = """
def total(x):
    sums, sum = [], jnp.float32(0)
    for item in x:
        sum = sum + item
        sums.append(sum)
    return jnp.stack(sums)
"""
ALONE = """
@jax.jit
def mean(x):
    x = jax.lax.with_sharding_constraint(x, NamedSharding(mesh, P()))
    return jnp.mean(x)
"""
ALL_ON_EACH = """
def compiled(mesh):
    return jax.jit(jnp.mean, in_shardings=NamedSharding(mesh, P()))
"""
PATCH = """
import graders.probes
<real> = graders.probes.PROBES["<probe>"]
graders.probes.PROBES["<probe>"] = lambda function, *args, **options: <value>
"""
CLAIM = (
    "__import__('dataclasses').replace(real(function, *args, **options), equations=4,"
    " primitives={'scan': 1, 'add': 3}, used={'scan': 1, 'add': 3})"
)
SHIFTED = """real(
    lambda x: jax.lax.scan(lambda sum, item: (sum + item, sum), jnp.float32(0), x)[1], *args
)"""
# A program that knows the results for the numbers it was made for, and a scan beside them.
KNOWN = """(lambda known: real(
    lambda x: jax.lax.scan(lambda sum, item: (sum + item, sum), jnp.float32(0), x)[1] * 0 + known,
    *args
))(function(*args))"""
EXCHANGE = "[graders.probes.Collective('all-reduce', 4)]"
FORGERIES = {
    "a claim about primitives": ("total", LOOP, ("program", CLAIM)),
    "a claim about collectives": ("mean", ALONE, ("collectives", EXCHANGE)),
    "a claim about what it has compiled": ("compiled", ALL_ON_EACH, ("collectives", EXCHANGE)),
}
TRUE = {
    "total": "import functools\n@jax.jit\ndef total(x):\n    return jax.lax.scan("
    "lambda c, i: (c + i, c + i), jnp.zeros(()), x)[1]",
    "mean": "def mean(x):\n    return jnp.sum(x) / x.size",
    "compiled": "def compiled(mesh):\n    split = NamedSharding(mesh, P('data'))\n"
    "    return jax.jit(lambda x: jnp.sum(x) / 16, in_shardings=(split,))",
}

HELPER = b"def total(x):\n    return x\n"

# A sine, and a loop that is a `while`; and what is said of them.
SQUARES = """
def squares(x):
    x = jax.lax.fori_loop(0, jnp.int32(x[0] * 0) + 1, lambda i, c: c * c, x)
    return x + 0 * jnp.sin(x)
"""


def said(primitives: str, used: str = "{'mul': 1}", equations: int = 1) -> str:
    return (
        f"__import__('dataclasses').replace(real(function, *args, **options), used={used}, "
        f"primitives={primitives}, equations={equations})"
    )


LIES = {
    "no random bits": ("squares", SQUARES, said("{'mul': 1, 'random_bits': 0}")),
    "random bits": ("squares", SQUARES, said("{'mul': 1, 'random_bits': 1}", equations=2)),
    "a gamma": ("squares", SQUARES, said("{'mul': 1, 'random_gamma': 1}", equations=2)),
    "fewer than none": ("squares", SQUARES, said("{'mul': 2, 'while': -1}")),
    "no sine": ("squares", SQUARES, said("{'mul': 1}")),
    "a scan that is not there": ("total", LOOP, said("{'add': 4, 'scan': 0}", "{'scan': 0}", 4)),
    "a scan, and a program of any length": (
        "total",
        LOOP,
        said("{'add': 3000, 'scan': 1}", "{'add': 1, 'scan': 1}", 3001),
    ),
}
UNUSED = "graders.probes.KeyUses(False, None)"

Examine = Callable[..., dict[str, Outcome]]


@pytest.fixture(scope="module")
def examine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examine]:
    root = make_course(tmp_path_factory.mktemp("course"), LESSON)
    folder = root / "solutions/00_tiny"
    (folder / "wrong.py").write_text(WRONG_ENTRIES)
    (folder / "right.py").write_text(RIGHT_ENTRIES)
    build_sources(root)
    lesson = read_lesson(folder)
    examiner = Examiner(lesson)
    with Sandbox(tmp_path_factory.mktemp("compiled"), seconds=60) as sandbox:

        def examined(**answers: str) -> dict[str, Outcome]:
            draft = Draft.of(root, lesson)
            draft.solve()
            for exercise, source in answers.items():
                draft.put(exercise, source, earns=True)
            files = {"helpers.py": HELPER}
            return examiner.examine(draft.notebook.cells, sandbox.processes, None, files).outcomes

        yield examined


def patch(probe: str, value: str) -> str:
    """Code that has a probe say `value`; in it `real` is the probe as it was."""
    real = f"real_{probe}"
    meant = {"<probe>": probe, "<value>": value.replace("real", real), "<real>": real}
    return re.sub("<[a-z]+>", lambda found: meant[found[0]], PATCH)


def test_true_claims_are_confirmed(examine: Examine) -> None:
    assert {name: one.words for name, one in examine(**TRUE).items() if not one.passed} == {}


RUNS = {
    "the solution's": ("", 0),
    "of another right answer": (TRUE["total"], 2),
    "without what is claimed": (LOOP + patch("program", CLAIM), 0),
}


@pytest.mark.parametrize(("source", "runs"), RUNS.values(), ids=RUNS)
def test_a_program_is_run_if_it_has_the_claimed_structure_and_is_not_the_solutions(
    examine: Examine, monkeypatch: pytest.MonkeyPatch, source: str, runs: int
) -> None:
    asked, ask = [], StudentProcess.ask

    def noted(process: StudentProcess, command: str, *arguments: Any) -> Any:
        if command == "observe" and arguments[1] == "program":
            asked.append(arguments[2].probe)
        return ask(process, command, *arguments)

    monkeypatch.setattr(StudentProcess, "ask", noted)
    examine(**{"total": source} if source else {})
    assert asked.count("call") == runs


def test_the_clean_process_has_no_file_of_the_students(
    examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[StudentProcess, list[str]] = {}
    ask = StudentProcess.ask

    def noted(process: StudentProcess, command: str, *arguments: Any) -> Any:
        sent.setdefault(process, []).append(command)
        return ask(process, command, *arguments)

    monkeypatch.setattr(StudentProcess, "ask", noted)
    examine(**TRUE)
    clean = [commands for commands in sent.values() if "load" in commands]
    others = [commands for commands in sent.values() if "load" not in commands]
    assert clean
    assert not [one for commands in clean for one in commands if one in ("put", "run")]
    assert [commands.count("put") for commands in others] == [1]


# A program that calls a function of Python, which it finds where it lies in memory: both processes
# are forks of one. On the bytes that it is given, `pickle.loads` runs any code.
CALLING_PYTHON = """
import ctypes, pickle, jax, numpy as np
from jax import export
class Code:
    def __reduce__(self):
        return exec, ("import graders.probes as p; p.PROBES['contents'] = None",)
code = np.frombuffer(pickle.dumps(Code()), np.uint8)
word = ctypes.c_uint64.from_address
keys = word(id(pickle.__dict__) + 32).value
place = next(at for at in range(keys, keys + 16384, 8) if word(at).value == id(pickle.loads))
target = "xla_ffi_python_cpu_callback"
def program(x):
    call = jax.ffi.ffi_call(target, jax.ShapeDtypeStruct((), np.float32), has_side_effect=True)
    return x + 0 * call(code, index=np.uint64(place // 8))
allowed = [export.DisabledSafetyCheck.custom_call(target)]
found = export.export(jax.jit(program), disabled_checks=allowed)(np.float32(1)).serialize().hex()
"""


def test_a_program_that_calls_code_of_its_own_is_not_read(tmp_path: Path) -> None:
    with Sandbox(tmp_path, seconds=60) as sandbox, sandbox.processes.new_process() as process:
        place = RemotePlace(process)
        assert place.run(CALLING_PYTHON, "<cell>") is None
        program = bytes.fromhex(place.subject("found").observe(value).value)
        with sandbox.processes.new_process() as clean:
            assert clean.ask("load", program, 1) == ENDED


def test_a_process_that_ran_a_refused_program_runs_no_other(
    examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[StudentProcess] = []
    ask = StudentProcess.ask

    def noted(process: StudentProcess, command: str, *arguments: Any) -> Any:
        if command == "load":
            loaded.append(process)
        return ask(process, command, *arguments)

    monkeypatch.setattr(StudentProcess, "ask", noted)
    examine(total=LOOP + patch("program", CLAIM) + patch("exported", SHIFTED))
    refused, *others = loaded
    assert others
    assert refused not in others


@pytest.mark.parametrize("name", FORGERIES)
def test_without_the_forgery_the_answer_is_rejected(examine: Examine, name: str) -> None:
    exercise, source, _ = FORGERIES[name]
    outcome = examine(**{exercise: source})[f"{exercise}_check"]
    assert not outcome.passed
    assert UNCONFIRMED.diagnosis not in outcome.words


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_claim_earns_nothing(examine: Examine, name: str) -> None:
    exercise, source, (probe, value) = FORGERIES[name]
    outcome = examine(**{exercise: source + patch(probe, value)})[f"{exercise}_check"]
    assert kind(outcome) == WRONG
    assert UNCONFIRMED.diagnosis in outcome.words


@pytest.mark.parametrize("name", LIES)
def test_a_lie_about_primitives_earns_nothing(examine: Examine, name: str) -> None:
    exercise, source, value = LIES[name]
    assert not examine(**{exercise: source})[f"{exercise}_check"].passed
    assert not examine(**{exercise: source + patch("program", value)})[f"{exercise}_check"].passed


def test_numbers_that_are_not_drawn_earn_nothing_whatever_is_said_of_keys(examine: Examine) -> None:
    constant = "def noise(key):\n    return jnp.arange(20.0)\n"
    assert not examine(noise=constant + patch("key_uses", UNUSED))["noise_check"].passed


def test_that_no_key_is_used_twice_is_taken_on_trust(examine: Examine) -> None:
    """A claim: SECURITY.md says so. A key that is drawn from and split shows in no number."""
    twice = """
def noise(key):
    return jax.random.normal(key, (20,)), jax.random.normal(jax.random.split(key)[0], (20,))
"""
    assert not examine(noise=twice)["noise_check"].passed
    assert examine(noise=twice + patch("key_uses", UNUSED))["noise_check"].passed


@pytest.mark.parametrize("sent", [SHIFTED, KNOWN], ids=["shifted", "known"])
def test_a_program_of_something_else_earns_nothing(examine: Examine, sent: str) -> None:
    answer = LOOP + patch("program", CLAIM) + patch("exported", sent)
    assert UNCONFIRMED.diagnosis in examine(total=answer)["total_check"].words


@pytest.mark.parametrize("sent", ["b'no program'", "b''", "None", "real(lambda x: x, 1.0)"])
def test_what_is_no_program_of_the_answer_earns_nothing(examine: Examine, sent: str) -> None:
    found = examine(total=LOOP + patch("program", CLAIM) + patch("exported", sent))
    assert UNCONFIRMED.diagnosis in found["total_check"].words


def test_where_the_clean_process_gives_no_answer_nothing_is_confirmed(
    examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, ask = [], StudentProcess.ask

    def ended(process: StudentProcess, command: str, *arguments: Any) -> Any:
        if command == "load":
            asked.append(command)
            process.kill()
        return ask(process, command, *arguments)

    monkeypatch.setattr(StudentProcess, "ask", ended)
    outcome = examine(total=LOOP + patch("program", CLAIM))["total_check"]
    assert asked
    assert not outcome.passed
    assert UNCONFIRMED.diagnosis in outcome.words


LINES = """
#a = loc("a")
func.func public @main(%x: tensor<f32> loc("x")) -> tensor<f32> {
  %0 = stablehlo.sine %x {n = "b"} : tensor<f32> loc(#a)
  return %0 : tensor<f32> loc("jit(f)")
}
"""
HIDDEN = LINES.replace('"b"', '"b loc("').replace("sine", "cosine")


def test_places_are_left_out_and_nothing_can_be_hidden_in_one() -> None:
    def read(text: str) -> Contents:
        program: Any = SimpleNamespace(exported=SimpleNamespace(mlir_module=lambda: text))
        return contents(program)

    found = [read(text) for text in (LINES, LINES.replace("jit(f)", "jit(g)"), HIDDEN)]
    assert found[0] == found[1]
    assert found[0].operations == {"sine": 1}
    assert found[2].operations == {"cosine": 1}
    assert found[2].digest != found[0].digest
