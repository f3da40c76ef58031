"""What this package relies on in JAX without a promise: after an upgrade, read what is red here."""

from __future__ import annotations

import ast
import contextlib
import gc
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from packaging.version import Version

from graders.files import PACKAGE
from graders.material.jax_version import least
from graders.tests.raising import RAISING
from graders.values import jax_internals, jax_messages
from graders.values.compiling import quick_compilation
from graders.values.jax_messages import MESSAGES, Text

X = jnp.arange(16.0)
MESH = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
INSTALLED = Version(jax.__version__)

# ---- one place ----

MODULES = ("jax._src", "jax.extend", "jax.core", "jax.interpreters", "jax.config.read", "jaxlib")
ATTRIBUTES = (
    "_cache_size", "args_info", "aval", "canonicalize_dtype", "committed", "consts", "eqns",
    "invars", "make_ir_context", "make_user_context", "memory_analysis", "outvars", "primitive",
    "weak_type",
)  # fmt: skip


def unpromised(source: str) -> list[str]:
    """What a module imports or reads that JAX does not promise."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
            found.append(f"jax._src.{node.attr}")
        elif isinstance(node, ast.Attribute):
            found.append(ast.unparse(node))
    return [name for name in found if f"{name}.".startswith(tuple(f"{m}." for m in MODULES))]


def test_nothing_else_relies_on_what_is_not_promised() -> None:
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in sorted(PACKAGE.rglob("*.py"))
        if "tests" not in path.parts and (names := unpromised(path.read_text()))
    }
    assert set(found) == {"values/jax_internals.py"}


@pytest.mark.parametrize(
    "line",
    [
        "import jax._src.core",
        "from jax._src import mlir",
        "from jax.extend.core import Jaxpr",
        "from jax.core import Tracer",
        "from jax import core",
        "import jaxlib",
        "x.aval.dtype",
        "array.committed",
        "jax.config.read('x')",
        "jax._src.core.trace()",
    ],
)
def test_what_is_not_promised_is_noticed(line: str) -> None:
    assert unpromised(f"def f():\n    {line}")
    assert not unpromised("from jax import numpy, random\nx.shape\nlines.extend(y)\nimport jax")


# ---- texts of errors ----

TEXTS = {text.part: (name, text) for name, texts in MESSAGES.items() for text in texts}


def is_said(text: Text, version: Version) -> bool:
    """Whether that JAX is known to say so."""
    newest = version.base_version if text.last else "0"
    return Version(text.first or "0") <= version and Version(newest) <= Version(text.last or "0")


@pytest.mark.parametrize("part", TEXTS)
def test_jax_says_so(part: str) -> None:
    name, text = TEXTS[part]
    with pytest.raises(Exception) as raised:  # noqa: PT011
        RAISING[part](np.arange(16, dtype=np.float32))
    assert jax_messages.says(str(raised.value), name)
    if is_said(text, INSTALLED):
        assert part.casefold() in str(raised.value).casefold()


def test_each_text_is_raised() -> None:
    assert list(RAISING) == list(TEXTS)


def test_a_text_of_some_versions_is_asked_of_them_alone() -> None:
    old, new = Text("a", last="0.10.2"), Text("b", first="0.12.0")
    said = [(is_said(old, Version(v)), is_said(new, Version(v))) for v in ("0.10.2", "0.12.0.1")]
    assert said == [(True, False), (False, True)]
    assert is_said(Text("c"), Version("9"))


def test_no_text_is_kept_that_only_older_versions_say_than_are_allowed() -> None:
    assert [part for part, (_, text) in TEXTS.items() if not _is_current(text)] == []
    assert not _is_current(Text("a", last="0.7.2"))


def _is_current(text: Text) -> bool:
    return Version(text.last or "99") >= Version(least())


def test_the_place_where_jax_finds_no_platform() -> None:
    """An assertion there without a message: by its file alone it is known."""
    file = Path(jax.__file__).parents[1] / jax_internals.BACKEND_FILE
    asserts = [
        node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Assert)
    ]
    assert any(node.msg is None for node in asserts)


# ---- caches ----


def test_where_nothing_is_cached_inner_functions_are_traced_anew() -> None:
    runs = []

    @jax.jit
    def inner(x):
        runs.append("inner")
        return x * 2

    @jax.jit
    def outer(x):
        runs.append("outer")
        return inner(x) + 1

    traced = []
    nothing = jax_internals.nothing_cached
    for block in (contextlib.nullcontext, contextlib.nullcontext, nothing, nothing) * 2:
        before = len(runs)
        with block():
            outer(X)
        traced.append(runs[before:])
    both = ["outer", "inner"]
    assert traced == [both, [], both, both, [], [], both, both]


def test_programs_of_checks_are_apart_from_the_students() -> None:
    """Compiled once for the student and once for all checks, whoever comes first."""

    @jax.jit
    def students(x):
        return x * 3

    compiled = []
    for block in (quick_compilation, contextlib.nullcontext, quick_compilation, quick_compilation):
        for _ in range(2):
            with jax_internals.compilations() as seen, block():
                students(X)
            compiled.append(len(seen))
    assert compiled == [1, 0, 1, 0, 0, 0, 0, 0]


def test_without_that_the_student_would_go_on_with_the_program_of_the_check(monkeypatch) -> None:
    monkeypatch.setattr("graders.values.compiling.apart_from_the_student", contextlib.nullcontext)
    students = jax.jit(lambda x: x * 5)
    with quick_compilation():
        students(X)
    with jax_internals.compilations() as seen:
        students(X)
    assert seen == []


def test_compilations_are_seen_where_they_are() -> None:
    f = jax.jit(lambda x: x * 7)
    with jax_internals.compilations() as seen:
        f(X)
        f(X)
    f(X[:3])
    assert len(seen) == 1
    assert "lambda" in seen[0]


def test_jax_explains_a_miss(capfd: pytest.CaptureFixture) -> None:
    """With a reason, but for the configuration on JAX 0.10.0; and what was set is set again."""

    def named(x):
        return x * 11

    f = jax.jit(named)
    f(X)
    with jax_internals.explained_misses() as said:
        f(X)
    assert said == []
    with jax_internals.explained_misses() as said:
        f(X[:3])
    assert said == ["at x, now f32[3] and before f32[16]"]
    with jax_internals.explained_misses() as said, jax.default_matmul_precision("highest"):
        f(X)
    assert Version("0.10.1") > INSTALLED or "jax_default_matmul_precision" in said[0]
    f(X[:4])
    assert capfd.readouterr().err == ""


def test_the_static_arguments_of_a_jitted_function() -> None:
    static = jax_internals.static_arguments
    assert static(jax.jit(lambda x, n: x, static_argnames="n")) == ((1,), ("n",))
    assert static(jax.jit(lambda n, x: x, static_argnums=0)) == ((0,), ("n",))
    assert static(jax.jit(jnp.sin)) == ((), ())


# ---- jaxprs ----


def written(f: Callable, *args: Any) -> jax_internals.WrittenProgram:
    return jax_internals.written(jax.make_jaxpr(f)(*args))


def all_of(program: jax_internals.WrittenProgram) -> Iterator[jax_internals.Written]:
    for equation in program.equations:
        yield equation
        for inner in equation.inner:
            yield from all_of(inner)


def one_line(text: str) -> str:
    """JAX breaks lines within the brackets of parameters, and between equations."""
    return re.sub(r"(?<=\[) | (?=\])", "", re.sub(r"\s+", " ", text))


def test_a_program_without_inner_ones_is_written_as_jax_prints_it() -> None:
    outer = jnp.ones(16)

    def f(x, y):
        return jnp.sin(x) @ y, y.sum() * outer

    program = written(f, X, X)
    lines = [program.head, *(equation.text for equation in program.equations), program.tail]
    assert one_line(" ".join(lines)) == one_line(str(jax.make_jaxpr(f)(X, X)))
    assert program.inputs == (("a", jax_internals.CONSTANT), ("b", "x"), ("c", "y"))


def test_a_value_that_nothing_uses_has_no_name() -> None:
    """As in the derivative of a function, whose value is computed and not returned."""
    program = written(jax.grad(lambda x: x * jnp.sin(x)), 1.0)
    assert [one.text for one in program.equations if one.text.startswith("_:")] == [
        "_:f32[] = mul a b"
    ]


def test_an_inner_program_is_written_apart_from_its_equation() -> None:
    def f(x):
        x = jax.jit(jnp.sin)(x)
        return jax.lax.cond(x[0] > 0, jnp.cos, jnp.tan, x)

    called, *_, chosen = written(f, X).equations
    assert called.text == "b:f32[16] = jit[name=sin jaxpr=…] a"
    assert [(one.label, one.head) for one in called.inner] == [
        ("jaxpr", "{ lambda ; a:f32[16]. let")  # named as in the call
    ]
    assert [one.label for one in chosen.inner] == ["branches[0]", "branches[1]"]
    assert {"cos", "tan"} == {one.text.split()[2] for i in chosen.inner for one in i.equations}


def test_no_address_is_written() -> None:
    program = written(lambda x: jax.pure_callback(lambda v: v, x, x), X)
    assert not any("0x" in one.text for one in all_of(program))


def test_the_lines_of_an_equation() -> None:
    def inner(c, v):
        return c + v, jnp.where(v > 0, c, v)

    def f(x):
        return jax.lax.scan(inner, 0.0, x)

    first = inner.__code__.co_firstlineno
    [scan] = written(f, X).equations
    assert scan.places[0] == jax_internals.Place(__file__, f.__code__.co_firstlineno + 1)
    where = {one.text.split()[2].split("[")[0]: one.places for one in all_of(written(f, X))}
    assert [place.line for place in where["add"]] == [first + 1]
    assert where["select_n"] == ()  # in a jitted function of JAX's own


def primitives_of(f: Callable, *args: Any) -> dict[str, int]:
    return jax_internals.primitives(jax.make_jaxpr(f)(*args))


def known_primitives() -> set[str]:
    return {one.name for one in gc.get_objects() if isinstance(one, Primitive)}


@pytest.mark.parametrize("name", [*jax_internals.CALLS, *jax_internals.LOOPS])
def test_jax_has_the_primitive(name: str) -> None:
    assert name in known_primitives()


def test_the_primitives_of_a_program() -> None:
    """Those of inner programs too, and no calls."""

    def f(x):
        x = jax.jit(jnp.sin)(x)
        x = jax.lax.cond(x[0] > 0, jnp.cos, jnp.tan, x)
        return jax.lax.scan(lambda c, v: (c + jax.checkpoint(jnp.exp)(v), None), 0.0, x)

    found = primitives_of(f, X)
    assert found["scan"] == found["sin"] == found["cos"] == found["tan"] == found["exp"] == 1
    assert "jit" not in found
    assert "while" in primitives_of(lambda x: jax.lax.while_loop(lambda c: c < 3, jnp.sin, x), 1.0)


def test_what_is_lowered_of_a_program() -> None:
    """No dead code, in loops and linear solvers too, and no scan that is no loop."""

    def f(x):
        y = jax.lax.scan(lambda c, v: (c + v, (jnp.sin(v), c)[1]), 0.0, x)[1]
        y += jax.lax.scan(lambda c, v: (c + jnp.tan(v), c), 0.0, x, unroll=16)[1]
        return (jnp.cos(x), y)[1]

    closed = jax.make_jaxpr(f)(X)
    found = jax_internals.used_primitives(closed)
    assert found["scan"] == found["tan"] == 1
    assert found.keys().isdisjoint(("sin", "cos"))
    assert jax_internals.unrolled_steps(closed) == len(X)
    assert jax_internals.primitives(closed).keys() >= {"sin", "cos"}
    solved = jax.make_jaxpr(jnp.linalg.solve)(jnp.eye(2), X[:2])
    assert jax_internals.primitives(solved)["lu"] == jax_internals.used_primitives(solved)["lu"]
    transposed = jax_internals.primitives(solved) - jax_internals.used_primitives(solved)
    assert transposed["triangular_solve"] == 2


def test_dtypes_constants_and_effects_of_a_program() -> None:
    outer = np.arange(7.0, dtype=np.float32)
    inner = jax.jit(lambda x: x + outer)

    def f(x):
        jax.debug.print("{}", x[0])
        return inner(x).astype(jnp.bfloat16) > 2

    closed = jax.make_jaxpr(f)(X[:7])
    assert jax_internals.dtypes(closed) >= {"float32", "bfloat16", "bool"}
    assert jax_internals.effects(closed) == ["DebugEffect"]
    assert any(np.array_equal(const, outer) for const in jax_internals.constants(closed))
    assert jax_internals.jaxpr_as_fun(closed)(X[:7])[0].dtype == bool


def test_the_text_of_a_program_is_the_same_for_two_traces() -> None:
    """The functions are kept, or the second might come to lie where the first one was."""
    kept = []

    def f(x):
        kept.append(lambda a: a)
        return jax.pure_callback(kept[-1], x, x)

    closed = [jax.make_jaxpr(lambda x: f(x))(X) for _ in range(2)]
    assert len(kept) == 2
    assert jax_internals.text_of(closed[0]) == jax_internals.text_of(closed[1])


# ---- programs ----


def read(f: Callable, *args: Any) -> jax_internals.Module:
    return jax_internals.read_module(jax.export.export(jax.jit(f))(*args).mlir_module())


def operations_of(f: Callable, *args: Any) -> dict[str, int]:
    return read(f, *args).contained.operations


@pytest.mark.parametrize(
    ("f", "operation"),
    [
        (jnp.sin, "sine"),
        (lambda x: x + x, "add"),
        (lambda x: x @ x, jax_internals.PRODUCT),
        (lambda x: jax.lax.scan(lambda c, v: (c + v, c), 0.0, x), jax_internals.LOOP),
        (lambda x: jax.lax.while_loop(lambda c: c < 3, lambda c: c + 1, x[0]), jax_internals.LOOP),
        (lambda x: jax.lax.fori_loop(0, 3, lambda i, c: c * 2, x), jax_internals.LOOP),
        (lambda x: jax.random.normal(jax.random.key(0), (3,)), jax_internals.DRAW),
        (lambda x: jax.random.normal(jax.random.PRNGKey(0), (3,)), jax_internals.DRAW),
        (lambda x: jax.vmap(jax.random.key)(jnp.arange(3)), "shift_right_logical"),
        (jax.jit(jax.jit(jnp.cos)), "cosine"),
        (jnp.sum, "reduce add"),
        (jnp.max, "reduce maximum"),
        (jnp.argmax, "reduce"),
        (lambda x: x.at[0].add(1), "scatter add"),
        (lambda x: x.at[0].set(1), "scatter"),
        (lambda x: x.at[0].apply(lambda v: v + 1), "scatter"),
        (lambda x: jnp.linalg.cholesky(jnp.outer(x, x)), "custom_call @lapack_potrf_ffi"),
    ],
)
def test_the_operations_of_a_program_are_counted(f: Callable, operation: str) -> None:
    assert operations_of(f, X)[operation] >= 1


def test_draws_are_told_from_other_loops() -> None:
    def drawn(x):
        keys = jax.random.split(jax.random.key(0), x.size)
        return jax.vmap(lambda k: jax.random.normal(k, (2,), jnp.bfloat16))(keys)

    def hashed(x):
        return jax.lax.fori_loop(0, 5, lambda i, c: c ^ (c << 3) ^ (c >> 5), jnp.uint32(x[0]))

    assert operations_of(drawn, X)[jax_internals.LOOP] == 0
    assert operations_of(hashed, X)[jax_internals.LOOP] == 1
    assert operations_of(hashed, X)[jax_internals.DRAW] == 0


def test_a_function_counts_as_often_as_it_is_called() -> None:
    inner = jax.jit(lambda x: jnp.sin(x) + 1)
    assert operations_of(lambda x: inner(inner(inner(x))), X)["sine"] == 3


UNCALLED = """
func.func public @main(%x: tensor<f32>) -> tensor<f32> { return %x : tensor<f32> }
func.func private @other(%x: tensor<f32>) -> tensor<f32> {
  %0 = stablehlo.sine %x : tensor<f32>
  return %0 : tensor<f32>
}
"""


CALLING = """
func.func public @main(%x: tensor<f32>) -> tensor<f32> { return %x : tensor<f32> }
func.func private @other(%x: tensor<f32>) -> tensor<f32> {
  %0 = stablehlo.custom_call @TARGET(%x) : (tensor<f32>) -> tensor<f32>
  return %0 : tensor<f32>
}
"""


def test_calls_that_jax_does_not_vouch_for_are_found_wherever_they_stand() -> None:
    python = "xla_ffi_python_cpu_callback"
    assert jax_internals.foreign_calls(CALLING.replace("TARGET", python)) == {python}
    assert jax_internals.foreign_calls(CALLING.replace("TARGET", "Sharding")) == set()
    solved = jax.export.export(jax.jit(jnp.linalg.cholesky))(np.eye(3)).mlir_module()
    assert "custom_call" in solved
    assert jax_internals.foreign_calls(solved) == set()


def test_a_function_that_nothing_calls_does_not_count() -> None:
    assert jax_internals.read_module(UNCALLED).contained.operations == {}


@pytest.mark.parametrize(
    ("f", "elements"),
    [
        (lambda x: jnp.outer(x, x).sum(), 256),
        (lambda x: jax.lax.scan(lambda c, v: (c + v, None), 0.0, x)[0], 1),
        (lambda x: x[:0], 0),
    ],
)
def test_the_largest_value_of_a_program(f: Callable, elements: int) -> None:
    assert read(f, X).contained.largest == elements


def test_the_lines_that_a_program_came_from_are_left_out() -> None:
    one, other = lambda x: jnp.sin(x) + 1, lambda x: jnp.sin(x) + 1
    assert read(one, X) == read(other, X)
    assert "loc" not in read(one, X).text


# ---- what primitives become ----


@pytest.mark.parametrize("name", jax_internals.examples())
def test_each_example_is_of_its_primitive(name: str) -> None:
    """One of them at least, for the name may be another one in other versions or uses."""
    examples = jax_internals.examples()
    found = [jax.make_jaxpr(f)(*args) for f, *args in examples[name]]
    assert any(name in jax_internals.primitives(closed) for closed in found)


BECOMES = {
    "sin": "sine",
    "scan": jax_internals.LOOP,
    "while": jax_internals.LOOP,
    "sort": "sort",
    "top_k": "sort",
    "cumsum": "reduce_window add",
    "random_bits": jax_internals.DRAW,
    "random_gamma": jax_internals.LOOP,
    "psum": "all_reduce add",
    "shard_map": "sdy.manual_computation",
    "scatter-add": "scatter add",
    jax_internals.PRODUCT: jax_internals.PRODUCT,
}


@pytest.mark.parametrize("name", BECOMES)
def test_what_a_primitive_becomes(name: str) -> None:
    assert BECOMES[name] in jax_internals.becomes(name)
    assert jax_internals.most_operations(name) > 0


def test_a_primitive_without_an_example_becomes_nothing_that_is_observed() -> None:
    assert jax_internals.becomes("no_primitive") == set()
    assert jax_internals.most_operations("no_primitive") == 0
    assert jax_internals.observable(["add", "constant", "sine", "sdy.sharding_constraint"]) == {
        "sine"
    }


COLLECTIVES: dict[str, Callable] = {
    "all-reduce": lambda x: jax.lax.psum(x, "data"),
    "all-gather": lambda x: jax.lax.all_gather(x, "data"),
    "reduce-scatter": lambda x: jax.lax.psum_scatter(jnp.tile(x, 4), "data", tiled=True),
    "collective-permute": lambda x: jax.lax.ppermute(x, "data", [(i, i ^ 1) for i in range(8)]),
    "all-to-all": lambda x: jax.lax.all_to_all(jnp.tile(x, 8), "data", 0, 0, tiled=True),
}


RECEIVED = {  # of 16 float32, two on each device, before the tiles
    "all-reduce": 8,
    "all-gather": 64,
    "reduce-scatter": 4,
    "collective-permute": 8,
    "all-to-all": 64,
}


@pytest.mark.parametrize("kind", jax_internals.COLLECTIVES)
def test_each_kind_of_collective_is_found(kind: str) -> None:
    f = COLLECTIVES[kind]
    mapped = jax.shard_map(f, mesh=MESH, in_specs=P("data"), out_specs=P("data"), check_vma=False)
    x = jax.device_put(X, NamedSharding(MESH, P("data")))
    (found,) = jax_internals.collectives_in(jax.jit(mapped).lower(x).compile())
    assert found == (kind, RECEIVED[kind])


def test_a_program_of_one_device_has_no_collectives() -> None:
    assert jax_internals.collectives_in(jax.jit(jnp.sum).lower(X).compile()) == []


@pytest.mark.parametrize(
    ("results", "size"),
    [
        ("f32[8000,4]{1,0}", 128000),
        ("(f32[], s8[3]{0}, pred[2]{0})", 9),
        ("bf16[4]", 8),
        ("f8e4m3fn[4]", 4),
        ("c64[2]", 16),
        ("u4[3]", 3),
    ],
)
def test_the_bytes_of_a_collective(results: str, size: int) -> None:
    class Compiled:
        def as_text(self) -> str:
            return f"  %r.1 = {results} all-reduce(%a, %b), channel_id=1"

    assert jax_internals.collectives_in(Compiled()) == [("all-reduce", size)]


def test_device_put_moves_under_placing_as_it_does_outside_of_jit() -> None:
    rows, whole = NamedSharding(MESH, P("data")), NamedSharding(MESH, P())
    inner = jax.jit(lambda x: x.sum(), out_shardings=whole)

    def answer(x: Any) -> Any:
        return {"sum": inner(jax.device_put(x, rows)), "x": x}

    kinds = [
        [found.kind for found in jax_internals.collectives_in(jax.jit(f).lower(X).compile())]
        for f in (answer, jax_internals.placing(answer))
    ]
    assert kinds == [[], ["all-reduce"]]
    assert float(jax.jit(jax_internals.placing(answer))(X)["sum"]) == X.sum()


@pytest.mark.parametrize("donated", [(), (0,), (1,), (0, 1)])
def test_donated_arguments_and_what_is_reused_of_them(donated: tuple[int, ...]) -> None:
    def f(x, tree):
        return x + 1, {name: array * 2 for name, array in tree.items()}

    lowered = jax.jit(f, donate_argnums=donated).lower(X, {"a": X, "b": X[:8]})
    assert jax_internals.donated_arguments(lowered) == [0 in donated, 1 in donated]
    reused = sum((64, 96)[argument] for argument in donated)
    assert jax_internals.reused_bytes(lowered.compile()) == reused


# ---- arrays ----


def test_committed_weak_and_canonical() -> None:
    assert jax_internals.is_committed(jax.device_put(X, jax.devices()[1]))
    assert not jax_internals.is_committed(jnp.ones(3))
    assert jax_internals.is_weak(jnp.asarray(1.0))
    assert not jax_internals.is_weak(X)
    assert jax_internals.canonical_dtype(np.float64) == np.float32
    with jax.enable_x64(True):
        assert jax_internals.canonical_dtype(np.float64) == np.float64


# ---- compiling quickly ----


def in_a_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("flag", jax_internals.FLAGS)
def test_a_flag_is_known_where_xla_takes_it(flag: str) -> None:
    """XLA ends a process that is started with a flag that it does not know."""
    code, value = "import jax; jax.jit(lambda x: x + 1)(1.0)", jax_internals.FLAGS[flag]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"XLA_FLAGS": f"--{flag}={str(value).lower()}", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
    )
    assert jax_internals.knows_flag(flag, value) == (done.returncode == 0)


def test_a_flag_that_nobody_knows() -> None:
    assert not jax_internals.knows_flag("xla_no_such_flag", True)


SPEED_UPS = "from graders.values import jax_internals; print(jax_internals.{})"


def test_which_speed_ups_have_an_effect() -> None:
    """All of them where the newest JAX is that Python 3.11 can run; one is gone since."""
    found = ast.literal_eval(in_a_new_process(SPEED_UPS.format("speed_ups()")))
    without = [name for name, has_effect in found.items() if not has_effect]
    gone = ["--xla_cpu_use_fusion_emitters"] if Version("0.12") <= INSTALLED else []
    assert without == gone


def test_a_context_that_cannot_be_shared_is_reported() -> None:
    code = "from jax._src.interpreters import mlir; del mlir.make_ir_context; "
    assert in_a_new_process(code + SPEED_UPS.format("share_context()")) == "False"
    assert in_a_new_process(SPEED_UPS.format("share_context()")) == "True"


def test_contexts_that_are_not_shared_are_no_speed_up() -> None:
    """From 0.12 on JAX shares them itself."""
    code = "from graders.values import jax_internals; jax_internals.share_context = lambda: True; "
    found = ast.literal_eval(in_a_new_process(code + SPEED_UPS.format("speed_ups()")))
    assert found["shared MLIR contexts"] == (Version("0.12") <= INSTALLED)


def test_programs_are_less_optimised_where_that_is_set() -> None:
    assert not jax_internals.is_less_optimised()
    with quick_compilation():
        assert jax_internals.is_less_optimised()


# ---- checkers ----


def test_the_checker_of_keys() -> None:
    key = jax.random.key(0)
    assert jax_internals.reuses_a_key(lambda k: [jax.random.normal(k) for _ in range(2)], key)
    assert not jax_internals.reuses_a_key(lambda k: jax.random.normal(k), jax.random.key(0))


def test_a_recording_key_draws_the_same_numbers() -> None:
    def drawn(key):
        one, other, third = jax.random.split(jax.random.fold_in(key, 3), 3)
        words = jax.random.key_data(jax.random.split(other, (2, 2)))
        return jax.random.normal(one, (3,)), words, jax.random.bits(third, (2,), "uint8")

    for f in (drawn, jax.jit(drawn)):
        given = jax.random.key(5)
        for ours, jaxs in zip(f(jax_internals.recording(given)), f(given), strict=True):
            assert np.array_equal(ours, jaxs)


def recorded(f: Callable) -> list[tuple[int, int]]:
    """How many keys each operation used and made, in a call of the compiled function."""
    key = jax_internals.recording(jax.random.key(0))
    return [(len(use.used), len(use.made)) for use in jax_internals.key_uses(jax.jit(f), key)]


def drawn_of(key):
    return jax.random.normal(key, (2,))


@pytest.mark.parametrize(
    ("f", "uses"),
    [
        (drawn_of, [(1, 0)]),
        (lambda key: jax.random.key_data(jax.random.split(key, 3)), [(1, 3)]),
        (lambda key: jax.random.key_data(jax.random.fold_in(key, 3)), [(0, 1)]),
        (lambda key: jax.vmap(drawn_of)(jax.random.split(key, 3)), [(1, 3), (3, 0)]),
        (lambda key: jax.vmap(jax.vmap(drawn_of))(jax.random.split(key, (3, 2))), [(1, 6), (6, 0)]),
        (
            lambda key: jax.vmap(lambda i: drawn_of(jax.random.fold_in(key, i)))(jnp.arange(3)),
            [(0, 3), (3, 0)],
        ),
        (lambda key: jax.lax.map(drawn_of, jax.random.split(key, 3)), [(1, 3)] + [(1, 0)] * 3),
        (lambda key: jax.lax.scan(lambda c, _: (c, drawn_of(key)), 0, length=2), [(1, 0)] * 2),
        (lambda key: jax.grad(lambda x: (x * drawn_of(key)).sum())(1.0), [(1, 0)]),
        (lambda key: drawn_of(jax.random.clone(key)), [(1, 0)]),
        (lambda key: (drawn_of(jax.random.split(key)[0]), 0)[1], []),
    ],
)
def test_what_happens_to_keys_is_recorded(f: Callable, uses: list[tuple[int, int]]) -> None:
    assert recorded(f) == uses


def test_draws_that_are_thrown_away_are_recorded_where_nothing_is_left_out() -> None:
    def thrown(key):
        return (drawn_of(key), 0)[1]

    key = jax_internals.recording(jax.random.key(0))
    for f in (thrown, jax.jit(thrown)):
        programs = [jax.jit(f, keep_unused=keep).lower(key).compile() for keep in (False, True)]
        assert [len(jax_internals.key_uses(program, key)) for program in programs] == [0, 1]


@pytest.mark.parametrize("run", [jax.jit, lambda f: f])
def test_the_device_is_recorded_in_shard_map(run: Callable) -> None:
    def noise(key, part):
        return part + jax.random.normal(jax.random.fold_in(key, 1), part.shape)

    mapped = jax.shard_map(noise, mesh=MESH, in_specs=(P(), P("data")), out_specs=P("data"))
    key = jax_internals.recording(jax.random.key(0))
    uses = jax_internals.key_uses(run(lambda key: mapped(key, X)), key)
    assert sorted(use.device for use in uses if len(use.used)) == list(range(8))
    alone = jax_internals.key_uses(run(drawn_of), key)
    assert [use.device for use in alone] == [jax_internals.EVERYWHERE]


def test_clones_and_what_runs_twice_to_save_memory_are_primitives() -> None:
    assert primitives_of(jax.random.clone, jax.random.key(0))[jax_internals.CLONE] == 1
    found = primitives_of(jax.grad(jax.checkpoint(jnp.sin)), 1.0)
    assert sum(found[name] for name in jax_internals.REMATERIALISED) == 1


def test_the_checker_of_leaks() -> None:
    kept: list[Any] = []
    assert jax_internals.leaks_a_tracer(lambda: jax.make_jaxpr(lambda x: kept.append(x) or x)(1.0))
    assert not jax_internals.leaks_a_tracer(lambda: jax.make_jaxpr(jnp.sin)(1.0))


def test_cpu_devices_are_there_as_asked_before_the_backend_starts() -> None:
    code = "import jax; " + SPEED_UPS.format("ask_for_cpu_devices(3), len(jax.devices())")
    assert in_a_new_process(code) == "None 3"
    jax_internals.ask_for_cpu_devices(3)  # too late: nothing happens
    assert len(jax.devices()) == 8
