"""Everything here that depends on details of JAX and XLA which neither promises to keep.

Names of primitives, the text of StableHLO and of compiled HLO, `jax.extend`, private modules,
flags, and attributes that no documentation mentions. Nothing else in this package may rely on such
a detail: an upgrade of JAX is this file and `tests/test_jax_internals.py`, which states what each
part relies on. The texts of JAX's errors are in `graders.values.jax_messages`.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer as Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jax.extend.core import jaxpr_as_fun as jaxpr_as_fun
from jax.extend.random import define_prng_impl, threefry_prng_impl

# ---- caches ----

_trace_context = jax.make_user_context(0)
_check_context = jax.make_user_context(0)
_contexts = itertools.count(1)


def nothing_cached() -> AbstractContextManager:
    """A block in which every function is traced anew, inner jitted ones included.

    The value of a user context is part of the key of JAX's caches of traces and programs. What is
    compiled outside the block stays, which `jax.clear_caches` would throw away.
    """
    return _trace_context(next(_contexts))


def apart_from_the_student() -> AbstractContextManager:
    """A block whose programs are cached apart from those compiled outside of it, for later blocks.

    A check compiles with fewer optimisations. Without this block the student's own jitted function
    would go on with the program that the check compiled.
    """
    return _check_context(1)


COMPILED = "/jax/core/compile/backend_compile_duration"
"""The event that JAX records whenever XLA has compiled a program."""
EXPLAIN = "jax_explain_cache_misses"
_EXPLAINING = ("jax._src.interpreters.partial_eval", "jax._src.compiler")
_KEY_OF_CONTEXTS = "user_context"


@contextlib.contextmanager
def compilations() -> Iterator[list[str]]:
    """The functions that XLA compiles in this block, by the names that JAX gives them."""
    seen: list[str] = []

    def listener(event: str, duration_secs: float, **named: str | int) -> None:
        if event == COMPILED:
            seen.append(str(named.get("fun_name", "")))

    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)


@contextlib.contextmanager
def explained_misses() -> Iterator[list[str]]:
    """What JAX says of the calls in this block that it traces anew; nothing of it is printed.

    These are the points of its explanations, as in "at x, now f32[4] and before f32[3]".
    """
    said: list[str] = []

    class Keeping(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            lines = [line.strip() for line in record.getMessage().splitlines()]
            said.extend(line.removeprefix("* ") for line in lines if line.startswith("* "))
            return False

    keeping, before = Keeping(), getattr(jax.config, EXPLAIN)
    for name in _EXPLAINING:
        logging.getLogger(name).addFilter(keeping)
    jax.config.update(EXPLAIN, True)
    try:
        yield said
    finally:
        jax.config.update(EXPLAIN, before)
        for name in _EXPLAINING:
            logging.getLogger(name).removeFilter(keeping)
        said[:] = [line for line in said if _KEY_OF_CONTEXTS not in line]


def static_arguments(jitted: Any) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The positions and the names of the static arguments of a function under `jax.jit`."""
    return jitted._jit_info.static_argnums, jitted._jit_info.static_argnames


# ---- jaxprs ----

CALLS = ("jit",)
"""Primitives that only call an inner program."""
LOOPS = ("scan", "while")
PRODUCT = "dot_general"
"""Products of matrices, as a primitive and as a StableHLO operation."""
CLONE = "random_clone"
"""What `jax.random.clone` does: from here on the key may be used once more."""
CUSTOM_RULES = ("custom_jvp_call", "custom_vjp_call")
"""Calls of functions with derivative rules of their own; lowered, they are what they call."""
REMATERIALISED = ("remat2", "checkpoint")
"""What `jax.checkpoint` becomes, by its names so far; its gradient may do everything once more."""


def equations(jaxpr: Jaxpr) -> Iterator[Any]:
    """Every equation of a jaxpr and of the jaxprs inside its parameters."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in _inner(equation.params.values()):
            yield from equations(inner)


def primitives(closed: ClosedJaxpr) -> Counter[str]:
    """How often each primitive occurs, by its name; those that only call are left out."""
    names = (equation.primitive.name for equation in equations(closed.jaxpr))
    return Counter(name for name in names if name not in CALLS)


def used_primitives(closed: ClosedJaxpr) -> Counter[str]:
    """How often each primitive occurs in what JAX lowers of a program.

    What no result and no effect needs is left out, in loops and branches too. So is a scan that is
    unrolled completely, which becomes no loop, and a program that is kept for another derivative.
    """
    from jax._src.interpreters import partial_eval

    live, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return Counter(
        equation.primitive.name
        for equation in _lowered_equations(live)
        if equation.primitive.name not in CALLS and not _is_unrolled(equation)
    )


def unrolled_steps(closed: ClosedJaxpr) -> int:
    """How many steps the scans have together that are unrolled whole."""
    return sum(e.params["length"] for e in equations(closed.jaxpr) if _is_unrolled(e))


def _is_unrolled(equation: Any) -> bool:
    """Whether an equation is a scan that becomes no loop."""
    params = equation.params
    return equation.primitive.name == "scan" and 1 < params["length"] <= params["unroll"]


def _lowered_equations(jaxpr: Jaxpr) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        kept = {**equation.params}
        if equation.primitive.name == "custom_linear_solve":
            kept["jaxprs"] = kept["jaxprs"].solve
        elif equation.primitive.name == "linear_call":
            kept.pop("transpose")
        for inner in _inner(kept.values()):
            yield from _lowered_equations(inner)


def largest(closed: ClosedJaxpr) -> int:
    """The number of elements of the largest intermediate value or result."""
    made = (v.aval for equation in equations(closed.jaxpr) for v in equation.outvars)
    return max((math.prod(aval.shape) for aval in made if hasattr(aval, "shape")), default=0)


def dtypes(closed: ClosedJaxpr) -> set[str]:
    """The dtypes of all intermediate values and results."""
    made = (v.aval for equation in equations(closed.jaxpr) for v in equation.outvars)
    return {str(aval.dtype) for aval in made if hasattr(aval, "dtype")}


def constants(closed: ClosedJaxpr) -> list[Any]:
    """The arrays that a program, and the programs inside it, have taken from their surroundings."""
    found = list(closed.consts)
    for equation in equations(closed.jaxpr):
        for param in equation.params.values():
            found += param.consts if isinstance(param, ClosedJaxpr) else []
    return found


def text_of(closed: ClosedJaxpr) -> str:
    """The program as JAX prints it, which is the same for two traces of a pure function.

    JAX 0.10.0 prints the functions of callbacks with their addresses, which are left out.
    """
    return _without_addresses(str(closed.jaxpr))


def _without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-fA-FX]+", "", text)


def effects(closed: ClosedJaxpr) -> list[str]:
    """The names of the effects of a program."""
    return [type(effect).__name__ for effect in closed.effects]


def _inner(params: Any) -> Iterator[Jaxpr]:
    for param in params:
        if isinstance(param, ClosedJaxpr):
            yield param.jaxpr
        elif isinstance(param, Jaxpr):
            yield param
        elif isinstance(param, list | tuple):
            yield from _inner(param)


# ---- jaxprs as text ----

ELSEWHERE = "…"
"""What stands in the text of an equation for the programs inside it."""
CONSTANT = "a constant"
"""What stands for the name of an argument where an input is an array from outside the function."""
# On one line, and without the escape sequences that JAX colours types with in IPython.
_PLAINLY: dict[str, Any] = {"width": 1_000_000, "use_color": False}


class Place(NamedTuple):
    """A line of a file."""

    file: str
    line: int


class Written(NamedTuple):
    """An equation as JAX prints it, but for the programs inside it."""

    text: str
    places: tuple[Place, ...]  # the lines that made it, innermost first; none of JAX's own
    inner: tuple[WrittenProgram, ...]


class WrittenProgram(NamedTuple):
    """A jaxpr as JAX prints it, equation by equation."""

    label: str  # the parameter of the equation that it belongs to; "" of the outermost
    head: str
    equations: tuple[Written, ...]
    tail: str
    inputs: tuple[
        tuple[str, str], ...
    ]  # the name of each input, and of the argument; "" if unknown


def written(closed: ClosedJaxpr) -> WrittenProgram:
    """The program as text, with the lines of Python that its equations came from."""
    from jax._src import core

    context = core.JaxprPpContext()
    if hasattr(core, "_dropvars"):  # before, a value that nothing uses was a variable of that name
        context.var_names.update(core._dropvars(closed.jaxpr))
    return _written(closed.jaxpr, "", context)


def _written(jaxpr: Jaxpr, label: str, context: Any) -> WrittenProgram:
    from jax._src import core

    def names(variables: Any, typed: bool = False, separator: str = "") -> str:
        printed = core.pp_vars(variables, context, separator=separator, print_shapes=typed)
        return printed.format(**_PLAINLY)

    constants = [(names([v]), CONSTANT) for v in jaxpr.constvars]
    known = jaxpr.debug_info.arg_names or ()
    called = known if len(known) == len(jaxpr.invars) else [""] * len(jaxpr.invars)
    inputs = zip([names([v]) for v in jaxpr.invars], map(str, called), strict=True)
    head = f"{{ lambda {names(jaxpr.constvars, True)}; {names(jaxpr.invars, True)}. let"
    equations = tuple(_written_equation(equation, context) for equation in jaxpr.eqns)
    comma = "," if len(jaxpr.outvars) == 1 else ""
    tail = f"in ({names(jaxpr.outvars, separator=',')}{comma}) }}"
    return WrittenProgram(label, head, equations, tail, (*constants, *inputs))


def _written_equation(equation: Any, context: Any) -> Written:
    from jax._src import core

    programs = list(_labelled(equation.params))
    for _, inner in programs:  # printed by that name instead of whole
        context.shared_jaxprs[inner] = ELSEWHERE
        if equation.primitive.name in CALLS:  # as JAX does where it prints the call whole
            context.suggest_same_var_names(inner.invars, equation.invars)
    text = core.pp_eqn(equation, context, core.JaxprPpSettings()).format(**_PLAINLY)
    inside = tuple(_written(inner, label, context) for label, inner in programs)
    return Written(_without_addresses(text), tuple(_lines_of(equation)), inside)


def _labelled(params: dict[str, Any]) -> Iterator[tuple[str, Jaxpr]]:
    """The programs in the parameters of an equation, each with the name of its parameter."""
    for name, param in params.items():
        programs = list(_inner([param]))
        for index, inner in enumerate(programs):
            yield name if len(programs) == 1 else f"{name}[{index}]", inner


def _lines_of(equation: Any) -> Iterator[Place]:
    from jax._src import source_info_util

    for frame in source_info_util.user_frames(equation.source_info.traceback):
        yield Place(frame.file_name, frame.start_line)


# ---- StableHLO, as jax.export serializes it ----


class Contained(NamedTuple):
    """What a StableHLO module does when it is called."""

    operations: Counter[str]  # how often each operation stands in it; a function for each call
    largest: int  # the number of elements of the largest value that is computed


class Module(NamedTuple):
    """A StableHLO module that has been read."""

    contained: Contained  # in the function `main`, and in those that it calls
    text: str  # without the lines of Python that its operations came from


def read_module(text: str) -> Module:
    """What a StableHLO module is made of; a function that nothing calls does not count.

    An operation has the name that StableHLO gives it, with two exceptions. Where it has a region
    of one operation on two numbers, as a sum has, its name ends with that. The loop in which JAX
    draws random bits is `DRAW`, and what stands in it is left out. A call counts as what it calls.
    """
    functions = _Functions(text)
    return Module(functions.of("main"), functions.module.operation.get_asm())


def foreign_calls(text: str) -> set[str]:
    """What a StableHLO module calls by name, as far as `jax.export` does not vouch for it.

    LAPACK and the partitioner are left out. A call of Python is in it: its operand is a place
    in memory, and whoever runs the module runs what lies there.
    """
    from jax._src.export import _export

    stable = set(getattr(_export, "_CUSTOM_CALL_TARGETS_GUARANTEED_STABLE"))  # noqa: B009
    return {target for one in _every(_Functions(text).module) if (target := _called(one))} - stable


def _every(operation: Any) -> Iterator[Any]:
    """The operation and all in its regions, of functions that nothing calls too."""
    yield operation.operation
    for inner in _within(operation.operation):
        yield from _every(inner)


def _called(operation: Any) -> str:
    """The name of what a custom call calls; "" of another operation."""
    if "call_target_name" in operation.attributes:
        return operation.attributes["call_target_name"].value
    return operation.name if "custom_call" in operation.name else ""


DRAW = "draw"
"""A loop that draws random bits, among the operations of a module."""
LOOP = "while"
"""Any other loop; every primitive of `LOOPS` becomes one."""
_CALLS = {"func.call": "callee", "call": "callee", "stablehlo.composite": "decomposition"}
_NO_OPERATIONS = ("func.return", "stablehlo.return", "sdy.return", "func.func", "sdy.mesh")
_COMBINING = tuple(
    f"stablehlo.{name}"
    for name in ("all_reduce", "reduce", "reduce_scatter", "reduce_window", "scatter")
)
_LAPACK = re.compile("^lapack_[sdcz]")  # for each kind of numbers another one
LAYOUT = ("broadcast_in_dim", "concatenate", "constant", "convert", "reshape", "slice", "transpose")
"""Operations that compute nothing."""


class _Functions:
    """The functions of a module, each read when it is first called."""

    def __init__(self, text: str) -> None:
        from jax._src.interpreters import mlir

        ir: Any = getattr(mlir, "ir")  # noqa: B009
        self.module = ir.Module.parse(text, mlir.make_ir_context())
        each = [one.operation for one in self.module.body.operations]
        functions = [one for one in each if one.name == "func.func"]
        self.bodies = {one.attributes["sym_name"].value: one for one in functions}
        self.known: dict[str, Contained] = {}

    def of(self, name: str) -> Contained:
        if name not in self.known:
            self.known[name] = self._inside(self.bodies[name])
        return self.known[name]

    def _inside(self, operation: Any) -> Contained:
        counts, largest = Counter[str](), 0
        for inner in _within(operation):
            found = self._read(inner)
            counts += found.operations
            largest = max(largest, found.largest)
        return Contained(counts, largest)

    def _read(self, operation: Any) -> Contained:
        name = operation.name
        if name in _NO_OPERATIONS:
            return Contained(Counter(), 0)
        size = max((_elements(one.type) for one in operation.results), default=0)
        if name in _CALLS:
            called = self.of(operation.attributes[_CALLS[name]].value)
            return Contained(called.operations, max(size, called.largest))
        name = name.removeprefix("stablehlo.")
        if name == "constant":  # it is there, and not computed
            return Contained(Counter([name]), 0)
        if name == LOOP:  # it hands on what is computed outside of it, and inside
            size = 0
        if name == "custom_call":
            target = operation.attributes["call_target_name"].value
            name = f"{name} @{_LAPACK.sub('lapack_', target)}"
        if pair := _on_two_numbers(operation):
            return Contained(Counter([f"{name} {pair}"]), size)
        inside = self._inside(operation)
        if name == LOOP and _is_a_draw(operation, inside.operations):
            return Contained(Counter([DRAW]), size)
        return Contained(inside.operations + Counter([name]), max(size, inside.largest))


def _within(operation: Any) -> Iterator[Any]:
    """The operations in the regions of one, those in their own regions left out."""
    for region in operation.regions:
        for block in region.blocks:
            yield from (inner.operation for inner in block.operations)


def _elements(type_: Any) -> int:
    return math.prod(getattr(type_, "shape", (0,)))


def _on_two_numbers(operation: Any) -> str:
    """The operation on its two arguments that a region consists of; "" if it is another region."""
    if operation.name not in _COMBINING:
        return ""
    block = operation.regions[0].blocks[0]
    inner = [one.operation for one in block.operations]
    if len(inner) != 2 or list(inner[0].operands) != list(block.arguments):
        return ""
    return inner[0].name.removeprefix("stablehlo.")


def _is_a_draw(loop: Any, operations: Counter[str]) -> bool:
    """Whether a loop computes as the one does in which JAX draws bits, on integers alone."""
    kinds = {str(getattr(one.type, "element_type", "")) for one in loop.results}
    return kinds <= {"i32", "ui32", "i64", "ui64"} and _computing(operations) == _draw()


def _computing(operations: Counter[str]) -> Counter[str]:
    return Counter({name: n for name, n in operations.items() if name not in LAYOUT})


@cache
def _draw() -> Counter[str] | None:
    """What the loop computes in which this JAX draws bits; None where it draws without a loop."""
    key = jax.ShapeDtypeStruct((), jax.eval_shape(jax.random.key, 0).dtype)
    module = jax.export.export(jax.jit(lambda key: jax.random.bits(key, (3,))))(key).mlir_module()
    functions = _Functions(module)
    for body in functions.bodies.values():
        for inner in _within(body):
            if inner.name == f"stablehlo.{LOOP}":
                return _computing(functions._inside(inner).operations)
    return None


# ---- what primitives become in StableHLO ----

ELEMENTARY = (
    "abs", "add", "and", "bitcast_convert", "broadcast_in_dim", "ceil", "clamp", "compare",
    "complex", "concatenate", "constant", "convert", "count_leading_zeros", "divide",
    "dynamic_slice", "dynamic_update_slice", "floor", "imag", "is_finite", "maximum",
    "minimum", "multiply", "negate", "not", "optimization_barrier", "or", "pad", "popcnt",
    "real", "remainder", "reduce_precision", "reshape", "reverse", "round_nearest_afz",
    "round_nearest_even", "select", "shift_left", "shift_right_arithmetic",
    "shift_right_logical", "sign", "slice", "subtract", "transpose", "xor",
)  # fmt: skip
"""Arithmetic and layout: operations that the lowering of any primitive may use."""
_PLACING = (
    "sdy.sharding",
    "sdy.reshard",
    "custom_call @Sharding",
    "custom_call @SPMD",
    "custom_call @xla.sdy",
)


def observable(operations: Iterable[str]) -> set[str]:
    """Those of the operations that only some primitives become; not arithmetic, not layout."""
    return {one for one in operations if one not in ELEMENTARY and not one.startswith(_PLACING)}


def becomes(primitive: str) -> set[str]:
    """The observable operations that a primitive may become here, on this JAX and its platform.

    Its examples are lowered to find out. The set is empty for a primitive without an example: it
    becomes elementary operations, or those of the programs inside it, or explains nothing.
    """
    return set().union(*map(observable, _lowered(primitive)))


WIDE = {"random_gamma": 6}
"""By how much a value in a primitive's lowering may be larger than what it is given and gives."""


def most_operations(primitive: str) -> int:
    """The number of operations that the longest example of a primitive becomes; 0 without one."""
    return max((operations.total() for operations in _lowered(primitive)), default=0)


@cache
def _lowered(primitive: str) -> list[Counter[str]]:
    found = []
    for function, *args in examples().get(primitive, ()):
        program = jax.export.export(jax.jit(function))(*args)
        found.append(read_module(program.mlir_module()).contained.operations)
    return found


@cache
def examples() -> dict[str, list[tuple[Any, ...]]]:
    """By the name of a primitive, functions that use it, each with arguments."""
    lax, linalg, numpy, random = jax.lax, jax.lax.linalg, jax.numpy, jax.random
    x, square, key = numpy.ones(4), numpy.ones((4, 4)), random.key(0)
    ints, where = numpy.arange(4), numpy.array([1, 2])
    one, bits = numpy.float32(1), numpy.ones(4, numpy.uint32)
    image, filters = numpy.ones((1, 1, 4, 4)), numpy.ones((1, 1, 2, 2))
    modes, devices = ("clip", "fill", "promise_in_bounds"), jax.device_count()

    def at(change: str) -> list[tuple[Any, ...]]:
        def changed(mode: str) -> Any:
            return lambda x, i: getattr(x.at[i], change)(1, mode=mode)

        return [(changed(mode), x, where) for mode in modes]

    def on_devices(function: Any) -> list[tuple[Any, ...]]:
        auto = jax.sharding.AxisType.Auto
        mesh = jax.make_mesh((devices,), ("d",), axis_types=(auto,))
        spec = jax.sharding.PartitionSpec("d")

        def mapped(checks: bool) -> Any:
            return jax.shard_map(
                function, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=checks
            )

        arrays = numpy.ones(devices**2)
        return [(mapped(True), arrays), (mapped(False), arrays)]

    of_one = (
        "cbrt", "erf", "erfc", "erf_inv", "lgamma", "digamma", "bessel_i0e", "bessel_i1e",
        "cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp",
    )  # fmt: skip
    also_complex = (
        "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh",
        "acosh", "atanh", "exp", "exp2", "expm1", "log", "log1p", "logistic", "sqrt",
        "rsqrt", "abs", "sign", "square",
    )  # fmt: skip
    of_two = ("atan2", "nextafter", "igamma", "igammac", "polygamma", "zeta")
    found: dict[str, list[tuple[Any, ...]]] = {
        **{name: [(getattr(lax, name), x)] for name in of_one},
        **{name: [(getattr(lax, name), x, x)] for name in of_two},
        **{name: [(getattr(lax, name), x), (getattr(lax, name), 1j * x)] for name in also_complex},
        **{name: [(getattr(lax, name), ints, ints)] for name in ("div", "rem")},
        "pow": [(lax.pow, x, x), (lax.pow, 1j * x, 1j * x), (lax.pow, x, ints)],
        "integer_pow": [(partial(lax.integer_pow, y=y), x) for y in (-3, -1, 7)],
        "igamma_grad_a": [(jax.grad(lambda a: lax.igamma(a, one)), one)],
        "regularized_incomplete_beta": [(lax.betainc, x, x, x)],
        PRODUCT: [
            (numpy.dot, square, square),
            (numpy.dot, ints, ints),
            (partial(numpy.dot, preferred_element_type="float32"), x.astype("bfloat16"), x),
            (jax.vmap(numpy.dot), square, square),
        ],
        "ragged_dot_general": [(lax.ragged_dot, square, numpy.ones((2, 4, 4)), where)],
        "conv_general_dilated": [
            (partial(lax.conv, window_strides=(1, 1), padding="SAME"), image, filters)
        ],
        "sort": [(lax.sort, x), (lambda x, i: lax.sort((x, i), num_keys=2), x, ints)],
        "top_k": [(lambda x: lax.top_k(x, 2), x)],
        "approx_top_k": [(lambda x: lax.approx_max_k(x, 2), x)],
        "argmax": [(numpy.argmax, x), (numpy.argmax, ints)],
        "argmin": [(numpy.argmin, x), (numpy.argmin, ints)],
        "split": [(lambda x: numpy.split(x, 16), numpy.ones(16))],
        "iota": [(lambda: lax.iota(int, 3),)],
        "fft": [(numpy.fft.fft, x), (numpy.fft.rfft, x)],
        "reduce_sum": [(numpy.sum, x)],
        "reduce_prod": [(numpy.prod, x)],
        "reduce_max": [(numpy.max, x), (numpy.max, ints)],
        "reduce_min": [(numpy.min, x), (numpy.min, ints)],
        "reduce_and": [(numpy.all, x > 0)],
        "reduce_or": [(numpy.any, x > 0)],
        "reduce_xor": [(lambda i: lax.reduce_xor(i, (0,)), bits)],
        "reduce": [(lambda x: lax.reduce(x, one, lambda a, b: a + 2 * b, (0,)), x)],
        "reduce_window_sum": [(_window(lax.add), x)],
        "reduce_window_max": [(_window(lax.max), x)],
        "reduce_window_min": [(_window(lax.min), x)],
        "reduce_window": [(_window(lambda a, b: a + 2 * b), x)],
        "select_and_scatter_add": [(jax.grad(lambda x: _window(lax.max)(x)[0]), x)],
        "select_and_gather_add": [(lambda x: jax.jvp(_window(lax.max), (x,), (x,))[1], x)],
        "gather": [(partial(numpy.take, mode=mode), x, where) for mode in ("clip", "fill")]
        + [(lambda x, i: x.at[i].get(mode="promise_in_bounds"), x, where)],
        "scatter": [*at("set"), (lambda x: x.at[0].apply(lambda x: 2 * x), x)],
        "scatter-add": at("add"),
        "scatter-sub": at("subtract"),
        "scatter-mul": at("multiply"),
        "scatter-min": at("min"),
        "scatter-max": at("max"),
        "scan": [(lambda x: lax.scan(lambda c, a: (c + a, c), one, x), x)],
        "while": [(lambda x: lax.while_loop(lambda c: c < 9, lambda c: 2 * c, x), one)],
        "cond": [(lambda x: lax.cond(x > 1, lambda: x, lambda: 2 * x), one)],
        "cholesky": [(linalg.cholesky, square)],
        "cholesky_update": [(linalg.cholesky_update, square, x)],
        "triangular_solve": [(partial(linalg.triangular_solve, left_side=True), square, square)],
        "tridiagonal_solve": [(linalg.tridiagonal_solve, x, x, x, square)],
        "lu": [(linalg.lu, square)],
        "lu_pivots_to_permutation": [
            (lambda i: linalg.lu_pivots_to_permutation(i, 4), ints.astype("int32"))
        ],
        "qr": [(linalg.qr, square)],
        "householder_product": [(linalg.householder_product, square, x)],
        "eigh": [(linalg.eigh, square)],
        "eig": [(linalg.eig, square)],
        "svd": [(linalg.svd, square)],
        "schur": [(linalg.schur, square)],
        "hessenberg": [(linalg.hessenberg, square)],
        "tridiagonal": [(linalg.tridiagonal, square)],
        "rng_bit_generator": [(lambda k: lax.rng_bit_generator(k, (3,)), bits)],
        "rng_uniform": [(lambda a, b: lax.rng_uniform(a, b, (3,)), one, one)],
        "random_bits": [(random.bits, key), (lambda k: random.bits(k, (3,), "uint8"), key)],
        "random_split": [(random.split, key)],
        "random_fold_in": [(random.fold_in, key, 1)],
        "random_seed": [(random.key, 0)],
        "random_gamma": [(random.gamma, key, one)],
        **dict.fromkeys(("psum", "psum_invariant"), on_devices(lambda x: lax.psum(x, "d") + x)),
        "pmax": on_devices(lambda x: lax.pmax(x, "d") + x),
        "pmin": on_devices(lambda x: lax.pmin(x, "d") + x),
        "ppermute": on_devices(lambda x: lax.ppermute(x, "d", [(0, devices - 1)])),
        "all_gather": on_devices(lambda x: lax.all_gather(x, "d", tiled=True)[:devices]),
        "all_to_all": on_devices(lambda x: lax.all_to_all(x, "d", 0, 0, tiled=True)),
        "reduce_scatter": on_devices(lambda x: lax.psum_scatter(x, "d", tiled=True)),
        "shard_map": on_devices(lambda x: 2 * x),
        "axis_index": on_devices(lambda x: x + lax.axis_index("d")),
    }
    return found


def _window(reducer: Any) -> Any:
    """Combines every two neighbours."""

    def combined(x: Any) -> Any:
        start = {jax.lax.max: -np.inf, jax.lax.min: np.inf}.get(reducer, 0.0)
        return jax.lax.reduce_window(x, np.float32(start), reducer, (2,), (1,), "SAME")

    return combined


# ---- compiled programs ----

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")
"""The kinds of collectives by their names in compiled HLO."""
_COLLECTIVE = re.compile(rf"= (.+?) ({'|'.join(COLLECTIVES)})(?:-start)?\(")
_ARRAY = re.compile(r"\b(pred|bf16|[sufc](\d+))\w*\[([\d,]*)\]")


class Exchange(NamedTuple):
    """One collective of a compiled program."""

    kind: str
    bytes: int  # of what it gives to one device


def collectives_in(compiled: Any) -> list[Exchange]:
    """The collectives of a compiled program, after the partitioner, in their order in its text."""
    return [
        Exchange(kind, sum(map(_bytes, _ARRAY.findall(results))))
        for results, kind in _COLLECTIVE.findall(compiled.as_text() or "")
    ]


def _bytes(array: tuple[str, str, str]) -> int:
    """The bytes of an array by its dtype, the bits of it, and its shape in HLO."""
    name, bits, shape = array
    width = {"pred": 1, "bf16": 2}.get(name) or -(-int(bits) // 8)
    return width * math.prod(int(size) for size in shape.split(",") if size)


def placing(function: Any) -> Any:
    """The function under a trace, with what `jax.device_put` does outside of one.

    Under `jax.jit` it would not move an array to a mesh. Here it is a sharding constraint for the
    partitioner. What stands in a jitted function of the student's own stays as it is.
    """

    def placed(*args: Any) -> Any:
        closed, result = jax.make_jaxpr(function, return_shape=True)(*args)
        if not any(_is_put_on_meshes(equation) for equation in closed.jaxpr.eqns):
            return function(*args)
        values = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
        values.update(zip(closed.jaxpr.invars, jax.tree.leaves(args), strict=True))
        for equation in closed.jaxpr.eqns:
            values.update(
                zip(equation.outvars, _evaluated(closed.jaxpr, equation, values), strict=True)
            )
        outputs = [_read(variable, values) for variable in closed.jaxpr.outvars]
        return jax.tree.unflatten(jax.tree.structure(result), outputs)

    return placed


def _evaluated(jaxpr: Jaxpr, equation: Any, values: dict[Any, Any]) -> Iterable[Any]:
    if _is_put_on_meshes(equation):
        given = [_read(variable, values) for variable in equation.invars]
        return map(jax.lax.with_sharding_constraint, given, equation.params["devices"])
    read = [v for v in dict.fromkeys(equation.invars) if not isinstance(v, Literal)]
    alone = jaxpr.replace(
        constvars=[],
        invars=read,
        outvars=equation.outvars,
        eqns=[equation],
        effects=equation.effects,
        debug_info=jaxpr.debug_info.with_unknown_names(),
    )
    return jaxpr_as_fun(ClosedJaxpr(alone, ()))(*(values[variable] for variable in read))


def _read(variable: Any, values: dict[Any, Any]) -> Any:
    return variable.val if isinstance(variable, Literal) else values[variable]


def _is_put_on_meshes(equation: Any) -> bool:
    """Whether an equation puts all its arrays on meshes."""
    where = equation.params.get("devices", ())
    named = [isinstance(device, jax.sharding.NamedSharding) for device in where]
    return equation.primitive.name == "device_put" and bool(named) and all(named)


def reused_bytes(compiled: Any) -> int:
    """The bytes of results that lie in the memory of donated arguments."""
    return int(compiled.memory_analysis().alias_size_in_bytes)


def donated_arguments(lowered: Any) -> list[bool]:
    """For each positional argument of a lowered function, whether all its arrays are donated."""
    return [_all_donated(argument) for argument in lowered.args_info[0]]


def _all_donated(argument: Any) -> bool:
    infos = jax.tree.leaves(argument, is_leaf=lambda node: hasattr(node, "donated"))
    return bool(infos) and all(info.donated for info in infos)


# ---- arrays ----


def is_committed(array: jax.Array) -> bool:
    """Whether the array was put on its devices, so that no operation moves it to others."""
    return bool(array.committed)


def is_weak(array: jax.Array) -> bool:
    """Whether the dtype of the array is weak."""
    return bool(array.weak_type)


def canonical_dtype(dtype: Any) -> Any:
    """The dtype that JAX gives an array of `dtype`: float32 for float64 unless x64 is enabled."""
    return jax.dtypes.canonicalize_dtype(dtype)


# ---- compiling quickly ----

LESS_OPTIMISED = "jax_disable_most_optimizations"
FLAGS: dict[str, Any] = {
    # XLA's newer emitters take half of the time that it needs for a program: 35 ms, 18 without.
    "xla_cpu_use_fusion_emitters": False,
    # LLVM gets a program in one piece, not in many for many threads: a tenth less time.
    "xla_cpu_parallel_codegen_split_count": 1,
    # XLA ends a process whose devices wait long for each other. The time limit of a cell is ours.
    "xla_cpu_collective_call_terminate_timeout_seconds": 600,
}
"""XLA's flags for processes that grade. The figures are of JAX 0.10.2 on two cores.

JAX 0.12 has the newer emitters alone; of the other flags of its XLA none was found to save time.
"""


def is_less_optimised() -> bool:
    """Whether programs are now compiled with fewer optimisations."""
    return bool(jax.config.read(LESS_OPTIMISED))


def share_context() -> bool:
    """From now on this process lowers its programs in few MLIR contexts, not in one for each.

    To make one and to load all dialects into it takes 6 ms, nearly half of the time of lowering.
    From JAX 0.12 on each thread keeps its context for eleven programs, which is as good and is left
    as it is. Before, they all share one. What constants and types need in it stays in memory until
    the process ends: this is for processes that grade.

    Returns:
        False where JAX has no such function any more; then nothing has changed.
    """
    try:
        from jax._src.interpreters import mlir

        first, second, third = (mlir.make_ir_context() for _ in range(3))
        if first is not second is not third:
            mlir.make_ir_context = cache(mlir.make_ir_context)
    except (ImportError, AttributeError):
        return False
    return True


def knows_flag(flag: str, value: Any) -> bool:
    """Whether XLA knows the flag; it ends a process that is started with one that it does not.

    The flag is tried as an option of one compilation, which raises. That starts the backend.
    """
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options={flag: value})
    except jax.errors.JaxRuntimeError:
        return False
    return True


def speed_ups() -> dict[str, bool]:
    """What grading does to compile quickly, and whether it has an effect on this JAX.

    Side effects: this process shares its contexts from now on, and its backend starts.
    """
    share_context()
    contexts = {id(context): context for context in map(_context_of, range(20))}
    return {
        LESS_OPTIMISED: LESS_OPTIMISED in jax.config.values,
        "shared MLIR contexts": len(contexts) <= 3,
        **{f"--{flag}": knows_flag(flag, value) for flag, value in FLAGS.items()},
    }


def _context_of(number: int) -> Any:
    """The MLIR context in which a program is lowered that no other call lowers."""
    module: Any = jax.jit(lambda x: x + number).lower(1.0).compiler_ir()
    return module.context


# ---- checkers ----


def reuses_a_key(used: Any, *args: Any) -> bool:
    """Whether JAX's checker objects to a key that is used twice while `used(*args)` runs."""
    try:
        with jax.debug_key_reuse(True):
            used(*args)
    except jax.errors.KeyReuseError:
        return True
    return False


def leaks_a_tracer(traced: Any) -> bool:
    """Whether JAX's checker finds a tracer that is still held after `traced()`.

    `traced` has run before without an error, so whatever is raised now comes from the checker: its
    report, or an IndexError where it stumbles while it looks for the holder.
    """
    try:
        with jax.checking_leaks():
            traced()
    except Exception:
        return True
    return False


def ask_for_cpu_devices(count: int) -> None:
    """JAX has that many CPU devices from now on, unless its backend has started."""
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", count)


BACKEND_FILE = "jax/_src/xla_bridge.py"
"""Where JAX asserts that it has found a platform; the assertion has no message."""


# ---- keys that record how they are used ----


@dataclass(frozen=True)
class KeyUse:
    """One operation on keys while a program ran, for one device. A row is the words of one key."""

    place: int  # the place in the program; inner programs that are alike share their places
    device: int  # the number of the device in shard_map's mesh, EVERYWHERE outside of it
    used: np.ndarray  # the keys that were drawn from or split, in the order of vmap
    made: np.ndarray  # the keys that come of it by split or fold_in


EVERYWHERE = -1
_uses: list[KeyUse] = []
_places = itertools.count()


def key_uses(function: Any, *args: Any) -> list[KeyUse]:
    """What happens to the recording keys among `args`, and to those made of them, in a call."""
    _uses.clear()
    jax.block_until_ready(function(*args))
    jax.effects_barrier()
    return list(_uses)


def recording(key: jax.Array) -> jax.Array:
    """A key of the same words, which draws the same numbers and records it.

    JAX calls the functions of a PRNG where an operation on keys is run or lowered, for one key at
    a time and under vmap for more. So everything that runs is recorded, at each turn of a loop.
    """
    return jax.random.wrap_key_data(jax.random.key_data(key), impl=_RECORDING)


@contextlib.contextmanager
def wraps_recording_keys() -> Iterator[None]:
    """A block in which `jax.random.wrap_key_data` makes recording keys of words of threefry."""
    wrap = jax.random.wrap_key_data

    def recorded(words: Any, *, impl: Any = None) -> Any:
        if impl is None or impl == _RECORDING or str(impl) in ("threefry2x32", "fry"):
            return wrap(words, impl=_RECORDING)
        return wrap(words, impl=impl)

    jax.random.wrap_key_data = recorded
    try:
        yield
    finally:
        jax.random.wrap_key_data = wrap


def wraps_words_of_a_key(closed: ClosedJaxpr) -> bool:
    """Whether a program takes the words of a key, and makes a key of words."""
    names = {equation.primitive.name for equation in equations(closed.jaxpr)}
    return {"random_unwrap", "random_wrap"} <= names


def holds_other_keys(closed: ClosedJaxpr) -> bool:
    """Whether a program computes with typed keys that record nothing."""
    found = (
        getattr(variable, "aval", None)
        for equation in equations(closed.jaxpr)
        for variable in (*equation.invars, *equation.outvars)
    )
    dtypes = (getattr(aval, "dtype", None) for aval in found)
    recorded = f"key<{_RECORDING_TAG}>"
    return any(str(dtype).startswith("key<") and str(dtype) != recorded for dtype in dtypes)


_RECORDING_TAG = "rec"


def _split(words: Any, shape: Any) -> Any:
    made = threefry_prng_impl.split(words, shape)
    _record(words, made)
    return made


def _random_bits(words: Any, bit_width: int, shape: Any) -> Any:
    _record(words, words[:0])
    return threefry_prng_impl.random_bits(words, bit_width, shape)


def _fold_in(words: Any, number: Any) -> Any:
    made = threefry_prng_impl.fold_in(words, number)
    _record(words[:0], made)
    return made


_RECORDING = define_prng_impl(
    key_shape=threefry_prng_impl.key_shape,
    seed=threefry_prng_impl.seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name="recording threefry2x32",
    tag=_RECORDING_TAG,
)


def _record(used: Any, made: Any) -> None:
    """Has the program that is now traced call `_keep`, once for all rows of a vmap."""
    place = next(_places)
    axes = tuple(sorted(jax.sharding.get_abstract_mesh().manual_axes))
    device = jax.lax.axis_index(axes) if axes else EVERYWHERE

    @jax.custom_batching.custom_vmap
    def record(device: Any, used: Any, made: Any) -> Any:
        jax.debug.callback(partial(_keep, place), device, used, made)
        return device

    @record.def_vmap
    def batched(size: int, is_batched: Any, *arrays: Any) -> Any:
        rows = [
            array if has_rows else jax.numpy.broadcast_to(array, (size, *np.shape(array)))
            for array, has_rows in zip(arrays, is_batched, strict=True)
        ]
        return record(*rows), True

    record(device, used, made)


def _keep(place: int, device: Any, used: Any, made: Any) -> None:
    rows = [np.asarray(words).reshape(-1, *threefry_prng_impl.key_shape) for words in (used, made)]
    _uses.append(KeyUse(place, int(np.max(device)), *rows))
