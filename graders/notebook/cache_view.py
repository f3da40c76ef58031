"""`show_cache`: which calls of a jitted function are traced and compiled, and why."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, NamedTuple

import jax

from graders.card.draw import FONT, coded
from graders.notebook.shown import show
from graders.values.functions import body_of, runs_of
from graders.values.jax_internals import (
    compilations,
    explained_misses,
    nothing_cached,
    static_arguments,
)

RESULTS = {
    "first": "first trace",
    "retrace": "↻ retrace",
    "hit": "✓ hit",
    "compiled": "⚙ hit, compiled again",
    "error": "✗ error",
}
LONGEST = 80  # characters of an argument


@dataclass(frozen=True)
class Given:
    """What JAX's cache knows of an argument: how it is given, and its value or its types."""

    how: str
    static: str = ""  # the value of a static argument, as text
    kind: str = ""  # and its type
    structure: str = ""  # of a traced argument
    types: dict[str, str] = field(default_factory=dict)  # of its leaves, by their places
    devices: dict[str, str] = field(default_factory=dict)  # where they lie
    text: str = ""  # the whole argument


Signature = dict[str, Given]


class Difference(NamedTuple):
    """Why a call does not find the program of another one."""

    words: str
    weight: int = 1  # the call that differs least is the one to compare with


@dataclass(frozen=True)
class Call:
    """One call: its text, its result, a key of `RESULTS`, and why."""

    text: str
    result: str
    why: str


def show_cache(f: Callable, calls: Sequence[Any]) -> None:
    """Runs calls of `f` under `jax.jit`, and shows which are traced anew, and why.

    The cache is empty at first. What the calls compile is not used elsewhere.

    Args:
        f: a function, or one under `jax.jit`, whose static and donated arguments stay as they are.
        calls: one entry for each call. A tuple holds the positional arguments. A function is called
            with the jitted `f`: for keyword arguments, and for calls inside a `with`. Anything else
            is the only argument.

    Raises:
        TypeError: `f` cannot be called, or `calls` is not a list or tuple.

    Example:
        >>> double = lambda x: 2 * x
        >>> show_cache(double, [jnp.ones(3), jnp.zeros(3), jnp.ones(4)])
        1  f(float32[3])
           first trace: the cache is empty
        2  f(float32[3])
           ✓ hit: like call 1
        3  f(float32[4])
           ↻ retrace: unlike call 1: shape of `x`: float32[4], before float32[3]
    """
    if not callable(f):
        raise TypeError(f"show_cache takes a function, not {type(f).__name__}")
    if not isinstance(calls, list | tuple):
        raise TypeError("show_cache takes a list of calls after the function")
    table = table_of(f, calls)
    show(html(table), text(table))


def table_of(f: Callable, calls: Sequence[Any]) -> list[Call]:
    """The calls with their results, in the order in which they run."""
    recorder = Recorder(f)
    with nothing_cached():
        for call in calls:
            recorder.run(call)
    return recorder.calls


class Recorder:
    """A jitted function that keeps account of its calls."""

    def __init__(self, f: Callable) -> None:
        self.jitted = f if isinstance(f, jax.stages.Wrapped) else jax.jit(f)
        self.name = getattr(f, "__name__", "f").replace("<lambda>", "f")
        self.body = body_of(f)
        self.parameters = _parameters(f)
        self.calls: list[Call] = []
        self.traced: list[tuple[int, Signature]] = []  # the calls that have filled the cache

    def run(self, call: Any) -> None:
        """One entry of the list; an error that a call raises is a row of the table."""
        before = len(self.calls)
        try:
            if callable(call) and not isinstance(call, jax.Array):
                call(self)
            else:
                self(*call) if isinstance(call, tuple) else self(call)
        except Exception:
            if len(self.calls) == before:  # it was not raised by the jitted function
                raise

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        signature = self._signature(args, kwargs)
        shown = f"{self.name}({', '.join(_text_of(*item) for item in signature.items())})"
        with explained_misses() as said, compilations() as compiled, runs_of(self.body) as runs:
            try:
                result = self.jitted(*args, **kwargs)
            except Exception as error:
                first = (str(error).splitlines() or [""])[0]
                self.calls.append(Call(shown, "error", f"{type(error).__name__}: {first}"))
                raise
        self.calls.append(Call(shown, *self._judged(signature, bool(runs), bool(compiled), said)))
        if runs:
            self.traced.append((len(self.calls), signature))
        return result

    def _judged(
        self, now: Signature, traced: bool, compiled: bool, said: list[str]
    ) -> tuple[str, str]:
        if not self.traced:
            return "first", "the cache is empty"
        differences = {n: list(_differences(now, old)) for n, old in self.traced}
        nearest = min(differences, key=lambda n: sum(d.weight for d in differences[n]))
        if traced:
            words = [difference.words for difference in differences[nearest]]
            reasons = words or said or ["its configuration or context"]
            return "retrace", f"unlike call {nearest}: {'; '.join(reasons)}"
        # More than one where the configuration or the context was another.
        same = [str(n) for n, found in differences.items() if not found]
        alike = " or ".join(same or [str(nearest)])
        if compiled:
            moved = list(_moves(now, dict(self.traced)[nearest])) or ["other devices"]
            return "compiled", f"the trace of call {alike}; {'; '.join(moved)}"
        return "hit", f"like call {alike}"

    def _signature(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Signature:
        numbers, names = static_arguments(self.jitted)
        given: Signature = {}
        for index, arg in enumerate(args):
            known = index < len(self.parameters)
            name = self.parameters[index] if known else f"argument {index + 1}"
            given[name] = _given("by position", arg, index in numbers or name in names)
        for name, arg in kwargs.items():
            given[name] = _given("by keyword", arg, name in names)
        return given


def _parameters(f: Callable) -> list[str]:
    """The names of the positional parameters."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return []
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter.name for parameter in parameters if parameter.kind in by_position]


# ---- what the cache knows of a call ----


def _given(how: str, arg: Any, static: bool) -> Given:
    if static:
        return Given(how, static=repr(arg), kind=type(arg).__name__, text=_cut(repr(arg)))
    leaves, structure = jax.tree_util.tree_flatten_with_path(arg)
    places = [(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]
    types = {place: _type_of(leaf) for place, leaf in places}
    where = {place: _where(leaf) for place, leaf in places if isinstance(leaf, jax.Array)}
    tree = str(structure).removeprefix("PyTreeDef(").removesuffix(")")
    shown = jax.tree.unflatten(structure, map(_Word, types.values()))
    return Given(how, "", "", tree, types, where, _cut(repr(shown)))


class _Word(str):
    """A text that is shown without quotes."""

    __repr__ = str.__str__


def _cut(words: str) -> str:
    return words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"


def _where(array: jax.Array) -> str:
    """The devices that hold an array, and how it is partitioned."""
    devices = sorted(map(str, array.sharding.device_set))
    if isinstance(array.sharding, jax.sharding.NamedSharding):
        return f"partitioned as {array.sharding.spec} over {len(devices)} devices"
    return f"on {', '.join(devices)}"


def _type_of(leaf: Any) -> str:
    """The type that a tracer would have; a tilde in front says that it is weak."""
    try:
        return str(jax.typeof(leaf))
    except TypeError:
        return f"a {type(leaf).__name__}"


def _text_of(name: str, given: Given) -> str:
    return f"{name}={given.text}" if given.how == "by keyword" else given.text


def _differences(now: Signature, old: Signature) -> Iterator[Difference]:
    for name in {**now, **old}:
        if name not in old:
            yield Difference(f"`{name}` is given, and was not before", 3)
        elif name not in now:
            yield Difference(f"`{name}` is not given, and was before", 3)
        else:
            yield from _changes(name, now[name], old[name])


def _changes(name: str, now: Given, old: Given) -> Iterator[Difference]:
    if now.how != old.how:
        yield Difference(f"`{name}` is given {now.how}, before {old.how}")
    if now.static or old.static:
        if (now.static, now.kind) != (old.static, old.kind):
            words = f"static `{name}` is {now.static}, before {old.static}"
            yield Difference(words + _kinds(now, old))
    elif now.structure != old.structure:
        words = f"the structure of `{name}` is {now.structure}, before {old.structure}"
        yield Difference(words, 2)
    else:
        for place, shown in now.types.items():
            before = old.types[place]
            if shown != before:
                parts = _what(shown, before)
                words = f"{' and '.join(parts)} of `{name}{place}`: {shown}, before {before}"
                yield Difference(words, len(parts))


def _kinds(now: Given, old: Given) -> str:
    return "" if now.kind == old.kind else f" (of type {now.kind}, before {old.kind})"


def _what(now: str, old: str) -> list[str]:
    """The names of the parts in which two types differ."""
    (weak, dtype, shape), (old_weak, old_dtype, old_shape) = map(_parts, (now, old))
    names = [
        ("shape", _sizes(shape) != _sizes(old_shape)),
        ("dtype", dtype != old_dtype),
        ("weak type", weak != old_weak),
    ]
    return [name for name, differs in names if differs] or ["sharding"]


def _parts(shown: str) -> tuple[bool, str, str]:
    """Whether a type is weak, its dtype, and its shape with the sharding, as in `8@data,3`."""
    dtype, _, rest = shown.lstrip("~").partition("[")
    return shown.startswith("~"), dtype, rest


def _sizes(shape: str) -> list[str]:
    return [size.split("@")[0] for size in shape.partition("]")[0].split(",")]


def _moves(now: Signature, old: Signature) -> Iterator[str]:
    """The arguments whose arrays lie elsewhere than those of another call did."""
    for name, given in now.items():
        before = old[name].devices if name in old else {}
        for place, where in given.devices.items():
            if place in before and before[place] != where:
                yield f"`{name}{place}` is {where}, before {before[place]}"


# ---- what is shown ----


def text(calls: Sequence[Call]) -> str:
    """The table in plain text, a line for each call and one for the reason."""
    lines = []
    for number, call in enumerate(calls, 1):
        lines += [f"{number}  {call.text}", f"   {RESULTS[call.result]}: {call.why}"]
    return "\n".join(lines)


def html(calls: Sequence[Call]) -> str:
    """The table in HTML; a sign and a word say the result, without colours."""
    head = "".join(
        f'<th scope="col" style="text-align:left">{name}</th>'
        for name in ("No.", "Call", "Result", "Why")
    )
    rows = "".join(_row(number, call) for number, call in enumerate(calls, 1))
    return f'<table style="{FONT}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _row(number: int, call: Call) -> str:
    left = "text-align:left;vertical-align:top"
    result = RESULTS[call.result]
    strong = f"<strong>{result}</strong>" if call.result != "hit" else result
    return (
        f'<tr><td style="{left}">{number}</td>'
        f'<td style="{left}"><code>{escape(call.text)}</code></td>'
        f'<td style="{left};white-space:nowrap">{strong}</td>'
        f'<td style="{left};overflow-wrap:anywhere">{coded(call.why)}</td></tr>'
    )
