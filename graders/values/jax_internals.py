"""Everything here that depends on details of JAX and XLA which neither promises to keep.

Names of primitives, the text of StableHLO and of compiled HLO, `jax.extend`, private modules,
flags, and attributes that no documentation mentions. Nothing else in this package may rely on such
a detail: an upgrade of JAX is this file and `tests/test_jax_internals.py`, which states what each
part relies on. The texts of JAX's errors are in `graders.values.jax_messages`.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
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


# ---- jaxprs ----

CALLS = ("jit",)
"""Primitives that only call an inner program."""
LOOPS = ("scan", "while")
DRAWS = ("random_", "threefry")
"""How the names of primitives of `jax.random` begin; they lower to loops and iotas of their own."""
COUNTS_ITSELF = ("argmax", "argmin", "sort", "top_k", "approx_top_k")
"""How the names of primitives begin that lower to an iota."""
PRODUCT = "dot_general"
"""Products of matrices, as a primitive and as a StableHLO operation."""
COUNT = "iota"
"""Likewise the numbers from 0."""
CLONE = "random_clone"
"""What `jax.random.clone` does: from here on the key may be used once more."""
REMATERIALISED = ("remat2", "checkpoint")
"""What `jax.checkpoint` becomes, by its names so far; its gradient may do everything once more."""
LOOP = "while"
"""The StableHLO operation that every primitive of `LOOPS` becomes."""


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
    """How often each primitive occurs among the equations that the results or effects need."""
    names = (equation.primitive.name for equation in _needed(closed.jaxpr, closed.jaxpr.outvars))
    return Counter(name for name in names if name not in CALLS)


def _needed(jaxpr: Jaxpr, results: Iterable[Any]) -> Iterator[Any]:
    """The equations, inner ones included, that the variables in `results` need.

    Inside of a loop or a branch every equation counts as needed where the whole is.
    """
    needed = {variable for variable in results if not isinstance(variable, Literal)}
    for equation in reversed(jaxpr.eqns):
        if not equation.effects and needed.isdisjoint(equation.outvars):
            continue
        needed.update(v for v in equation.invars if not isinstance(v, Literal))
        yield equation
        for inner in _inner(equation.params.values()):
            if equation.primitive.name in CALLS:
                pairs = zip(inner.outvars, equation.outvars, strict=True)
                yield from _needed(inner, [own for own, outer in pairs if outer in needed])
            else:
                yield from equations(inner)


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
    return re.sub(r" at 0x[0-9a-fX]+", "", str(closed.jaxpr))


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


# ---- StableHLO, as jax.export serializes it ----

# A string is taken whole, and kept: text in it is not a location, and does not begin one.
_STRING = r'"(?:[^"\\]|\\.)*"'
_LOCATION = re.compile(
    rf"^#loc.*\n| loc\((?:#loc\d*|unknown|{_STRING})\)|({_STRING})", re.MULTILINE
)
_OPERATION = re.compile(r"(?<![#!])\bstablehlo\.(\w+)|\b(call) @")


def without_locations(module: str) -> str:
    """The text of a StableHLO module without the lines of Python that its operations came from."""
    return _LOCATION.sub(lambda found: found[1] or "", module)


def operations(module: str) -> dict[str, int]:
    """How often each StableHLO operation stands in the text of a module, calls included."""
    return dict(Counter(name or call for name, call in _OPERATION.findall(module)))


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


class KeyUse(NamedTuple):
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
