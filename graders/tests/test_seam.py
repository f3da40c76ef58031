"""The seam: a second process gives the same verdict in the same words, and learns nothing."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graders import CheckFailed, result_of, subject
from graders.card import draw
from graders.judging.judge import Evaluation, Verdict
from graders.judging.lesson_run import run_lesson
from graders.lesson.cells import Cell, Lesson
from graders.lesson.source import read_lesson
from graders.probes import PROBES, REPLIES
from graders.probes.answer import value
from graders.probes.exports import ExportedProgram, exported
from graders.seam.observation import error_facts
from graders.seam.place import LocalPlace, Place, execute
from graders.seam.protocol import LONGEST_MESSAGE, Request, Result, SeamError, Step
from graders.seam.remote import RemotePlace, RemoteProcess
from graders.seam.subject import Subject
from graders.seam.wire import ProtocolError, checked, fits, pack, unpack
from graders.tests.test_bad_input import CHECKS
from graders.tests.test_wire import plain_data
from graders.values.plain import AtLeast, IsPlain, Leaf

LESSONS = Path(__file__).parents[2] / "solutions"

GIVEN = """
from typing import NamedTuple
import jax, jax.numpy as jnp, numpy as np
from graders import lesson_devices
from jax.sharding import NamedSharding, PartitionSpec as P

mesh = jax.make_mesh((8,), ("data",), devices=lesson_devices(8))

@jax.custom_vjp
def rounded(x):
    return jnp.round(x)

rounded.defvjp(lambda x: (rounded(x), None), lambda _, ct: (3 * ct,))

@jax.custom_jvp
def floor(x):
    return jnp.floor(x)

@floor.defjvp
def floor_jvp(primals, tangents):
    return floor(*primals), 5 * tangents[0]

class Line(NamedTuple):
    slope: jax.Array
    start: jax.Array
"""

CHECKS_OF = {
    "mean": """
def by_hand(x):
    return x.sum(axis=1) / x.shape[1]

check_shape(answer, np.ones((4, 3)), returns="n", n=4)
check_values(answer, by_hand, sweep("n m"))
check_gradients(answer, np.ones((4, 3)), order=2)
check_pure(answer, np.ones((4, 3)))
check_primitives(answer, np.ones((4, 3)), requires=("reduce_sum",), forbids=("while",))
### BEGIN HIDDEN TESTS
check_values(answer, by_hand, sweep("n 1", seed=3, scale=100.0))
### END HIDDEN TESTS
""",
    "step": """
check_values(result_of(answer, jnp.sin), lambda x: x + np.sin(x), sweep("n"))
check_traces(result_of(answer, jnp.sin), [(np.ones(3),), (np.ones(3),)])
""",
    "slope": """
factors = {rounded: 3.0, floor: 5.0, jax.nn.relu: 1.0}
check_values(
    answer, lambda f, x: np.float32(factors[f]), [(f, np.float32(2.5)) for f in factors]
)
""",
    "line": """
def at(make, slope, start, x):
    line = make(slope, start)
    return {"y": line.slope * x + line.start, "line": line}

check_values(
    through(at, answer),
    lambda slope, start, x: {"line": Line(slope, start), "y": slope * x + start},
    sweep("n", "n", "n"),
)
""",
    "noise": """
check_dtype(answer, jax.random.key(1), 4, returns="bfloat16")
def normal(key, n):
    return jax.random.normal(key, (n,), jnp.bfloat16)

check_values(answer, normal, [(jax.random.key(1), 4)])
""",
    "keys": "check_keys(answer, jax.random.key(1), rows=True)",
    "sampler": """
def cdf(x):
    return np.clip(x, 0, 1)

check_distribution(answer, jax.random.key(1), cdf=cdf)
""",
    "example": """
check_batched(answer, [(np.ones((2, 3)), 1.0), (np.zeros((2, 3)), 2.0)])
""",
    "split": """
split = NamedSharding(mesh, P("data"))
x = jax.device_put(np.arange(16.0), split)
check_values(answer, lambda x: x - x.mean(), [(x,)])
check_sharding(answer, x, expected=split)
check_collectives(answer, x, exactly={"all-reduce": 1})
""",
    "scaled": """
def square(x):
    return twice(x) * x / 2

def twice(x):
    return 2 * x

def sum_down(n):
    return n + sum_down(n - 1) if n > 0 else 0

check_values(
    answer,
    lambda f, x, rate: np.float32(rate) * np.sum(f(x)),
    [(square, np.ones(3), 1.0), (square, np.ones(3), 2.0), (sum_down, np.float32(3), 1.0)],
)
""",
    "run": """
check_training(answer, jax.random.key(0), losses=lambda result: result["losses"])
""",
    "update": """
check_donates(answer, {"w": np.ones((2, 3))}, np.ones(3))
""",
    "guess": "check_answer(answer, lambda: (jnp.int8(1) + 1.5).dtype.name)",
}

ANSWERS = {
    "right mean": ("mean", "answer = lambda x: jnp.mean(x, axis=1)"),
    "sum": ("mean", "answer = lambda x: x.sum(axis=1)"),
    "NumPy": ("mean", "def answer(x):\n    return jnp.array(np.asarray(x).mean(axis=1))"),
    "all axes": ("mean", "answer = jax.jit(lambda x: x.mean())"),
    "error": ("mean", "def answer(x):\n    y = x + jnp.ones(7)\n    return y"),
    "stopped": ("mean", "answer = lambda x: jax.lax.stop_gradient(x.mean(1))"),
    "counter": ("mean", "n = 0\ndef answer(x):\n    global n\n    n += 1\n    return x.mean(1)"),
    "loop": ("mean", "def answer(x):\n    return sum(x.T) / x.shape[1]"),
    "wrong on hidden": (
        "mean",
        "answer = lambda x: x.sum(1) / max(2, x.shape[1])",
    ),
    "placeholder": ("mean", "def answer(x):\n    raise NotImplementedError()"),
    "no function": ("mean", "answer = 3"),
    "nothing at all": ("mean", ""),
    "cell that stops": ("mean", "answer = undefined"),
    "exit": ("mean", "def answer(x):\n    raise SystemExit"),
    "right step": ("step", "answer = lambda f: jax.jit(lambda x: x + f(x))"),
    "step that compiles again": ("step", "answer = lambda f: lambda x: jax.jit(f)(x) + x"),
    "step of no function": ("step", "answer = lambda f: None"),
    "right line": ("line", "answer = Line"),
    "exchanged line": ("line", "answer = lambda slope, start: Line(start, slope)"),
    "plain line": ("line", "answer = lambda slope, start: (slope, start)"),
    "right noise": ("noise", "answer = lambda k, n: jax.random.normal(k, (n,), jnp.bfloat16)"),
    "split noise": (
        "noise",
        "answer = lambda k, n: jax.random.normal(jax.random.split(k)[0], (n,), jnp.bfloat16)",
    ),
    "wide noise": ("noise", "answer = lambda k, n: jax.random.normal(k, (n,))"),
    "right keys": (
        "keys",
        "answer = lambda key: [jax.random.normal(k, (9,)) for k in jax.random.split(key)]",
    ),
    "reused keys": (
        "keys",
        "answer = lambda key: [jax.random.normal(key, (9,)), jax.random.normal(key, (9,))]",
    ),
    "keys shared across vmap": (
        "keys",
        "answer = lambda key: jax.vmap(lambda i: jax.random.normal(key, (9,)))(jnp.arange(2))",
    ),
    "own keys": ("keys", "answer = lambda key: jax.random.normal(jax.random.key(3), (9,))"),
    "right sampler": ("sampler", "answer = lambda key: jax.random.uniform(key, (5000,))"),
    "other sampler": ("sampler", "answer = lambda key: jax.random.normal(key, (5000,))"),
    "right example": ("example", "answer = lambda x, a: a * x.sum(0)"),
    "example with if": ("example", "answer = lambda x, a: x if a > 1 else -x"),
    "right slope, through rules that are sent": ("slope", "answer = lambda f, x: jax.grad(f)(x)"),
    "slope of the values": ("slope", "answer = lambda f, x: (f(x + 1) - f(x)) / 1"),
    "right split": ("split", "answer = lambda x: x - x.mean()"),
    "split no more": (
        "split",
        "answer = lambda x: jax.device_put(x - x.mean(), NamedSharding(mesh, P()))",
    ),
    "split alone": (
        "split",
        """answer = jax.shard_map(
            lambda x: x - x.mean(), mesh=mesh, in_specs=P("data"), out_specs=P("data"))""",
    ),
    "split on the host": ("split", "answer = lambda x: np.asarray(x) - np.asarray(x).mean()"),
    "right scaled": ("scaled", "answer = lambda f, x, rate: rate * jnp.sum(jnp.asarray(f(x)))"),
    "a program kept for each function": (
        "scaled",
        "kept = {}\ndef answer(f, x, rate):\n    "
        "return kept.setdefault(f, lambda x: rate * jnp.sum(jnp.asarray(f(x))))(x)",
    ),
    "right run": ("run", "answer = lambda key: {'losses': 1 / jnp.arange(1.0, 30)}"),
    "run uphill": ("run", "answer = lambda key: {'losses': jnp.arange(1.0, 30)}"),
    "run that diverges": ("run", "answer = lambda key: {'losses': 1 / jnp.arange(30.0)}"),
    "right update": (
        "update",
        "answer = jax.jit(lambda p, x: {'w': p['w'] + x}, donate_argnums=0)",
    ),
    "update that is not compiled": ("update", "answer = lambda p, x: {'w': p['w'] + x}"),
    "update that keeps": ("update", "answer = jax.jit(lambda p, x: {'w': p['w'] + x})"),
    "update that donates in vain": (
        "update",
        "answer = jax.jit(lambda p, x: {'w': p['w'].sum() + x}, donate_argnums=0)",
    ),
    "right guess": ("guess", "answer = 'float32'"),
    "wrong guess": ("guess", "answer = jnp.int8"),
    "no guess": ("guess", "answer = ..."),
}


@pytest.fixture(scope="module")
def process() -> Iterator[RemoteProcess]:
    with RemoteProcess() as running:
        yield running


def trusted() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "__main__"}
    execute("from graders import *", "<imports>", names)
    execute(GIVEN, "<given>", names)
    return names


def verdict(place: Place, answer: str, check: str) -> Verdict:
    place.run(GIVEN, "<given>")
    place.run(answer, "<answer>")
    return Evaluation(check, trusted(), ["answer"], place, "<check>").go_on(check)


def words(found: Verdict) -> list[Any]:
    """Everything that a verdict says."""
    states = [requirement.state for requirement in found.outcome.requirements]
    said = {} if found.failure is None else dict(vars(found.failure), line=str(found.failure))
    return [states, said, draw.text(found.outcome), draw.html(found.outcome)]


@pytest.mark.parametrize("name", ANSWERS)
def test_both_places_say_the_same(name: str, process: RemoteProcess) -> None:
    check, answer = ANSWERS[name]
    here = verdict(LocalPlace(), answer, CHECKS_OF[check])
    there = verdict(RemotePlace(process).branch(), answer, CHECKS_OF[check])
    assert words(here) == words(there)
    assert here.passed == name.startswith("right")


def test_a_subject_has_a_name_for_cards_and_stays_what_it_is() -> None:
    made = [subject(f) for f in (np.sin, np.float32, 3, functools.partial(np.sin))]
    assert [one.name for one in made] == ["sin", "float32", "int", "partial"]
    named = subject(np.sin, "wave")
    assert (named.name, result_of(named).name) == ("wave", "wave")
    assert subject(named, "other") is named
    assert named.call(np.zeros(2)).value.data.tolist() == [0, 0]


def test_a_long_message_is_cut_in_the_middle_and_no_other() -> None:
    def message(length: int) -> str:
        return error_facts(ValueError("a" * (length - 1) + "b")).message

    assert message(LONGEST_MESSAGE) == "a" * (LONGEST_MESSAGE - 1) + "b"
    cut = message(LONGEST_MESSAGE + 1)
    assert len(cut) == LONGEST_MESSAGE + len(" ... ")
    assert cut.split(" ... ")[1].endswith("ab")
    assert len(message(10 * LONGEST_MESSAGE)) == len(cut)


def test_a_branch_does_not_show_in_its_trunk(process: RemoteProcess) -> None:
    trunk = RemotePlace(process).branch()
    trunk.run("a = 1", "<cell>")
    branch = trunk.branch()
    branch.run("a, b = 2, 3", "<cell>")
    found = [place.subject(n).observe(value) for place in (trunk, branch) for n in "ab"]
    assert [r.value and int(r.value.data) for r in found] == [1, None, 2, 3]
    assert found[1].error == SeamError("Unanswered", ("Unanswered",), "b")


SENT = "<dynamic-code>"  # the file of all that cloudpickle sends by value, from 3.1.3 on


@pytest.mark.parametrize(
    ("at_home", "line"),
    [(f"{sys.prefix}/lib/optimizers.py", "return update(1)"), ("", "")],
    ids=["in a library", "in a function of the check"],
)
def test_the_students_line_is_found_behind_what_came_over(at_home: str, line: str) -> None:
    """What a library raises is about the line that called it; what ours raises is about neither."""
    names: dict[str, Any] = {}
    sent = {"__file__": at_home} if at_home else {}
    exec(compile("def update(x):\n    raise ValueError('no')", SENT, "exec"), sent)
    exec(compile("def ours(f, update):\n    return f(update)", SENT, "exec"), names)
    execute("def f(update):\n    return update(1)", "<answer>", names)
    with pytest.raises(ValueError, match="no") as raised:
        names["ours"](names["f"], sent["update"])
    assert error_facts(raised.value, frozenset({SENT})).line == line


# ---- nothing that a check knows reaches the other process ----

CANARY, NUMBER = "canary-of-the-oracle", 1234567.0

SECRETS = f"""
def oracle_of_the_teacher(x):
    "{CANARY}"
    return x * {NUMBER!r}

def slope_of_the_teacher(x):
    return np.full_like(x, {NUMBER!r})

def mistake_of_the_teacher(x):
    return x * {NUMBER!r} + 1

EXPECTED_BY_THE_TEACHER = [np.full(3, {NUMBER!r})]
check_shape(answer, np.full(3, GIVEN_NUMBER), returns="n_of_the_teacher", n_of_the_teacher=3)
check_values(answer, oracle_of_the_teacher, [(np.full(3, GIVEN_NUMBER),)],
             mistakes={{"{CANARY}": mistake_of_the_teacher}})
check_values(answer, EXPECTED_BY_THE_TEACHER, [(np.ones(3),)])
check_gradients(answer, np.ones(3), expected=slope_of_the_teacher)
check_primitives(answer, np.ones(3), requires=("mul",), forbids=("tan",))
check_pure(through(seen_by_the_student, answer), np.ones(3))
### BEGIN HIDDEN TESTS
HIDDEN_FROM_THE_STUDENT = {NUMBER!r}
check_answer(guess, lambda: HIDDEN_FROM_THE_STUDENT, because="{CANARY}", mistakes={{3: "{CANARY}"}})
### END HIDDEN TESTS
"""


def as_bytes(number: float) -> list[bytes]:
    """How a number may stand in a message."""
    packed = [struct.pack(order + kind, number) for order in "<>" for kind in "fd"]
    return [*packed, repr(number).encode(), str(int(number)).encode()]


def test_neither_oracle_nor_expected_values_nor_names_are_sent() -> None:
    sent: list[bytes] = []
    with RemoteProcess(on_send=sent.append) as process:
        place = RemotePlace(process)
        # The factor is made there, so that it does not cross with the answer's source.
        place.run(f"answer, guess = lambda x: x * (1 + {NUMBER - 1!r}), 1 + {NUMBER - 1!r}", "<a>")
        names = trusted() | {"GIVEN_NUMBER": 7654321.0}
        execute("seen_by_the_student = lambda answer, x: answer(x)", "<given>", names)
        found = Evaluation(SECRETS, names, ["answer", "guess"], place, "<check>").go_on(SECRETS)
    everything = b"".join(sent)
    assert found.passed, found.failure
    secrets = [CANARY, "of_the_teacher", "BY_THE_TEACHER", "FROM_THE_STUDENT", "reduce_", "'tan'"]
    assert [s for s in secrets if s.encode() in everything] == []
    assert [s for s in as_bytes(NUMBER) if s in everything] == []
    # What must cross does, and the search finds it.
    assert b"answer" in everything
    assert any(s in everything for s in as_bytes(7654321.0))


def lessons() -> list[Any]:
    long = pytest.mark.long
    names = sorted(path.name for path in LESSONS.glob("[0-9][0-9]_*") if path.is_dir())
    return [pytest.param(name, marks=[] if name == "00_start" else long) for name in names]


@pytest.mark.parametrize("name", lessons())
def test_no_oracle_of_a_lesson_is_sent(name: str) -> None:
    lesson, sent = read_lesson(LESSONS / name), []
    with RemoteProcess(on_send=sent.append) as process:
        lesson_run = run_lesson(lesson, RemotePlace(process))
    assert all(found.passed for found in lesson_run.solutions.values())
    everything = b"".join(sent)
    oracles = [oracle for check in lesson.checks for oracle in _oracles(check, lesson)]
    assert oracles
    assert [oracle for oracle in oracles if oracle.encode() in everything] == []


def _oracles(check: Cell, lesson: Lesson) -> list[str]:
    """The functions of a check cell that are not handed over, nor used by one that is."""
    tree = check.tree
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    bound: dict[str, ast.AST] = dict(functions)  # the names of the cell, with what they hold
    for node in tree.body:
        if isinstance(node, ast.Assign):
            bound |= {name: node.value for target in node.targets for name in _names(target)}
    arguments = [
        argument
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        for argument in _sent(call)
    ]
    known, queue = set(), [name for node in arguments for name in _names(node)]
    while queue:
        name = queue.pop()
        if name in bound and name not in known:
            known.add(name)
            queue += _names(bound[name])
    elsewhere = " ".join(
        cell.source for cell in lesson.cells if cell.kind == "code" and cell != check
    )
    return [name for name in functions if name not in known and name not in elsewhere]


def _sent(call: ast.Call) -> list[ast.expr]:
    """The arguments of a call that may go to the student's process."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name in ("result_of", "through"):
        return call.args
    if name == "check_values":
        return call.args[2:]  # the cases, which may hold functions
    return call.args[1:] if name.startswith("check_") and name != "check_answer" else []


def _names(node: ast.AST) -> list[str]:
    return [inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)]


# ---- a process that dies, or sends what it should not ----

DEADLY = {
    "os._exit": "def answer(x):\n    import os\n    os._exit(0)",
    "interrupt": "def answer(x):\n    raise KeyboardInterrupt",
    "at once": "import os\nos._exit(1)",
}


@pytest.mark.parametrize("name", DEADLY)
def test_a_process_that_ends_is_a_failure_with_words(name: str) -> None:
    with RemoteProcess() as process:
        place = RemotePlace(process)
        found = verdict(place, DEADLY[name], CHECKS_OF["mean"])
        assert found.failure is not None
        assert found.failure.diagnosis == "the answer ended the process that it ran in"
        assert "os._exit" in found.failure.next_step
        after = verdict(place.branch(), "answer = 3", CHECKS_OF["guess"])
        assert not after.passed


def test_a_process_has_the_files_that_it_is_given_in_a_folder_of_its_own() -> None:
    files = {"helpers.py": b"from inner.numbers import TWO", "inner/numbers.py": b"TWO = 2"}
    shown = "import os\nplace = os.getcwd()\nopen('left.txt', 'w').close()\nimport helpers"
    with RemoteProcess() as one, RemoteProcess() as other:
        one.put(files)
        place = RemotePlace(one)
        assert place.run(f"{shown}\nassert helpers.TWO == 2", "<cell>") is None
        folder = Path(place.subject("place").observe(value).value)
        assert sorted(path.name for path in folder.iterdir()) == ["helpers.py", "inner", "left.txt"]
        error = RemotePlace(other).run(shown, "<cell>")
        assert error is not None
        assert error.type == "ModuleNotFoundError"
    assert not folder.exists()


def test_a_process_with_too_few_devices_says_so_and_lives_on() -> None:
    """Its cells have started JAX before the one that asks for the lesson's devices."""
    source = "def answer(mesh, x):\n    return x"
    with RemoteProcess() as process:
        place = RemotePlace(process)
        place.run("import jax\njax.devices()", "<at once>")
        found = verdict(place, source, "check_values(answer, lambda mesh, x: x, [(mesh, 2.0)])")
        assert found.failure is not None
        assert "JAX has started with fewer devices than this needs: 1" in str(found.failure)
        alone = "check_values(answer, lambda mesh, x: x, [(None, 2.0)])"
        assert verdict(place.branch(), source, alone).passed


def test_a_process_that_writes_into_the_pipe_is_a_failure_with_words() -> None:
    noise = "import os\nfor fd in range(3, 12):\n    try:\n        os.write(fd, b'x' * 64)\n"
    noise += "    except OSError:\n        pass\n"
    with RemoteProcess() as process:
        place = RemotePlace(process)
        place.run(noise + "answer = jnp.mean", "<cell>")
        process.process.wait()  # that it has ended by now makes no difference
        found = verdict(place, "", CHECKS_OF["mean"])
    assert found.failure is not None
    assert "sent something that cannot be read" in found.failure.diagnosis


class Forged(Subject):
    """An answer whose process says whatever it likes."""

    name = "answer"

    def __init__(self, replies: Any) -> None:
        self.replies = replies

    def send(self, request: Request) -> Result:
        return checked(request.probe, self.replies(request.probe))

    def extended(self, step: Step) -> Forged:
        return self


def of_type(declared: Any) -> st.SearchStrategy:
    """Values of the type that a probe declares to return."""
    if declared is Any:
        return plain_data
    origin, inner = get_origin(declared), get_args(declared)
    if origin is list:
        return st.lists(of_type(inner[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(st.sampled_from(["sin", "while"]), of_type(inner[1]), max_size=2)
    if declared is np.ndarray:
        return st.sampled_from([np.zeros((2, 2), np.uint32), np.array([True, False])])
    if declared is int:
        return st.integers(-(2**63), 2**63 - 1)  # what msgpack can hold
    if origin is Annotated and IsPlain in inner:
        return plain_data
    if origin is Annotated:
        least = max(rule.bound for rule in inner[1:] if isinstance(rule, AtLeast))
        return st.integers(least, 2**63 - 1)
    if isinstance(declared, type) and dataclasses.is_dataclass(declared):
        hints = get_type_hints(declared, include_extras=True)
        return st.builds(declared, **{name: of_type(hint) for name, hint in hints.items()})
    return st.from_type(declared)


def returned(probe: str) -> Any:
    return get_type_hints(PROBES[probe], include_extras=True)["return"]


@pytest.mark.parametrize("check", CHECKS)
@given(data=st.data())
@settings(max_examples=60)
def test_forged_replies_are_a_failure_with_words(check: str, data: st.DataObject) -> None:
    """A check meets no exception, whatever is said: that would be no zero, but a broken run."""
    right = st.builds(lambda n: Leaf(np.full((3, 2), n), "jax"), st.floats(width=32))

    def reply(probe: str) -> Any:
        made = of_type(returned(probe))
        if probe == "call":
            made = right | made
        return data.draw(st.builds(Result, made) | plain_data)

    with contextlib.suppress(CheckFailed):
        CHECKS[check](Forged(reply))


def test_what_a_probe_returns_is_of_the_type_that_it_declares() -> None:
    x = np.ones(3, np.float32)
    options: dict[str, Any] = {
        "derivatives": {"argnum": 0, "tangent": x, "cotangent": x},
        "second_derivative": {"argnum": 0, "tangent": x, "cotangent": x},
        "key_uses": {"key": 0},
        "batched": {"in_axes": (0,)},
    }
    for name, probe in PROBES.items():
        args = {"traces": ([(x,)],), "parameters": (), "contents": (), "value": ()}.get(name, (x,))
        place = LocalPlace()
        place.run("import jax\nanswer = jax.jit(lambda x: 2 * x)", "<answer>")
        if name == "contents":  # it reads an exported program
            program = place.subject("answer").observe(exported, x).value
            place.namespace["answer"] = ExportedProgram(program)
        found = place.subject("answer").observe(probe, *args, **options.get(name, {}))
        assert found.error is None, (name, found)
        assert fits(found.value, returned(name)), (name, found)
        assert checked(name, unpack(pack(found))).error is None, name


TYPED = [c for c in REPLIES if set(get_type_hints(c).values()) != {Any}]


@given(data=st.data())
@settings(max_examples=60)
def test_a_reply_with_one_field_of_another_type_is_refused(data: st.DataObject) -> None:
    reply = data.draw(st.sampled_from([*TYPED]).flatmap(of_type))
    hints = get_type_hints(type(reply))
    name = data.draw(st.sampled_from([n for n, hint in hints.items() if hint is not Any]))
    broken = dataclasses.replace(reply, **{name: Leaf(np.ones(1), "jax")})
    with pytest.raises(ProtocolError, match="with a field of another type"):
        unpack(pack(broken))
