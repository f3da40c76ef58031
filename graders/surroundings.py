"""What surrounds a student's function: the globals and the closure it can reach, host state."""

from __future__ import annotations

import functools
import hashlib
import io
import random
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jax.core import Tracer

from graders.plain import Key, Leaf, Opaque, Record, children, is_container, plain

DEEPEST = 6


class Through:
    """A function of ours applied to the student's object: `Through(g, f)(x)` is `g(f, x)`."""

    def __init__(self, ours: Callable, student: Any) -> None:
        self.ours, self.student = ours, student

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.ours(self.student, *args, **kwargs)


def body_of(function: Any) -> types.CodeType | None:
    """The code of the Python function under decorators, partials and methods; None for others."""
    inner = _inner(function)
    return inner.__code__ if inner else None


def _inner(function: Any) -> types.FunctionType | None:
    for _ in range(20):
        if isinstance(function, types.FunctionType) and not hasattr(function, "__wrapped__"):
            return function
        function = _one_layer_less(function)
    return None


def _one_layer_less(function: Any) -> Any:
    if isinstance(function, Through):
        return function.student
    if isinstance(function, functools.partial):
        return function.func
    for attribute in ("__wrapped__", "__func__", "fun"):
        if (inner := getattr(function, attribute, None)) is not None:
            return inner
    return getattr(type(function), "__call__", None)  # noqa: B004


@dataclass(frozen=True)
class Holder:
    """A place that holds a value: its label, the value, and how to bind it anew or to empty it."""

    label: str
    value: Any
    bind: Callable[[Any], Any]
    empty: Callable[[], Any]


class Surroundings:
    """A record of what `function` can reach beside its arguments, and whether it changes."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.before = {holder.label: holder for holder in self._holders()}
        self.contents = {name: _contents(holder.value) for name, holder in self.before.items()}
        self.tokens = self._tokens()
        self.host = _host_random()
        self.written = len(_output())

    def _holders(self) -> Iterator[Holder]:
        inner = _inner(self.function)
        for function in _reachable(inner, []) if inner else ():
            yield from _held_by(function)
        if not isinstance(self.function, types.FunctionType):
            yield Holder("self", self.function, _nothing, _nothing)

    def _tokens(self) -> dict[str, Any]:
        return {holder.label: token(holder.value) for holder in self._holders()}

    def changes(self) -> dict:
        """Names whose values changed, names that now hold a tracer, and the host's random state."""
        now = self._tokens()
        names = sorted(set(now) | set(self.tokens))
        changed = [name for name in names if now.get(name) != self.tokens.get(name)]
        return {
            "changed": changed,
            "kept": [name for name in changed if A_TRACER in str(now.get(name))],
            "host_random": _host_random() != self.host,
        }

    def printed(self) -> str:
        """The first 200 characters printed since this record was made."""
        return _output()[self.written :][:200]

    def restore(self) -> None:
        """Binds every name as it was, and puts the host's random state back.

        A check that found a function impure must not leave its tracers in the student's names.
        """
        for holder in list(self._holders()):
            if holder.label not in self.before:
                holder.empty()
        for name, holder in self.before.items():
            holder.bind(holder.value)
            _refill(holder.value, self.contents[name])
        np.random.set_state(self.host[0])
        random.setstate(self.host[1])


A_TRACER = "a tracer"


def _nothing(*_: Any) -> None:
    return None


def _output() -> str:
    streams = (sys.stdout, sys.stderr)
    return "".join(s.getvalue() for s in streams if isinstance(s, io.StringIO))


def _host_random() -> Any:
    name, words, *rest = np.random.get_state(legacy=True)
    return (name, tuple(np.asarray(words).tolist()), *rest), random.getstate()


def _contents(value: Any) -> Any:
    return value.copy() if type(value) in (list, dict, set) else None


def _refill(value: Any, contents: Any) -> None:
    if contents is None:
        return
    value.clear()
    value.extend(contents) if type(value) is list else value.update(contents)


def _reachable(
    function: types.FunctionType, seen: list[types.FunctionType]
) -> Iterator[types.FunctionType]:
    """`function` and those of its own module that it names, each once."""
    if function in seen:
        return
    seen.append(function)
    yield function
    for name in _names(function.__code__):
        other = _inner(function.__globals__.get(name))
        if other is not None and other.__globals__ is function.__globals__:
            yield from _reachable(other, seen)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _names(const)


def _held_by(function: types.FunctionType) -> Iterator[Holder]:
    """What the globals, the closure, the attributes and the defaults of `function` hold."""
    outer, own = function.__globals__, function.__name__
    for name in set(_names(function.__code__)) & outer.keys():
        yield Holder(name, outer[name], partial(outer.__setitem__, name), partial(outer.pop, name))
        yield from _attributes(name, outer[name], function.__module__)
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        yield Holder(name, _content(cell), partial(setattr, cell, "cell_contents"), _nothing)
    for name in [name for name in vars(function) if name != "__wrapped__"]:
        bind = partial(setattr, function, name)
        yield Holder(f"{own}.{name}", vars(function)[name], bind, partial(delattr, function, name))
    for index, default in enumerate(function.__defaults__ or ()):
        yield Holder(f"{own} default {index + 1}", default, _nothing, _nothing)


def _attributes(name: str, value: Any, module: str) -> Iterator[Holder]:
    """The data of a class of the student's own: a counter may hide there."""
    if not isinstance(value, type) or value.__module__ != module:
        return
    for attribute in [a for a in vars(value) if not a.startswith("__")]:
        bind = partial(setattr, value, attribute)
        empty = partial(delattr, value, attribute)
        yield Holder(f"{name}.{attribute}", vars(value)[attribute], bind, empty)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def token(value: Any, depth: int = 0) -> Any:
    """A value that equals itself later only if `value` has not changed; identity for the rest."""
    if isinstance(value, types.ModuleType | types.FunctionType | type) or depth > DEEPEST:
        return id(value)
    if isinstance(value, np.random.Generator):
        return str(value.bit_generator.state)
    if isinstance(value, Tracer):
        return A_TRACER, id(value)
    if type(value) in (list, tuple, dict, set):
        return type(value).__name__, tuple(token(item, depth + 1) for item in _items(value))
    seen = plain(value)
    if isinstance(seen, Opaque):
        attributes = getattr(value, "__dict__", None)
        inner = attributes.items() if isinstance(attributes, dict) else ()
        return id(value), tuple((k, token(v, depth + 1)) for k, v in list(inner))
    return frozen(seen)


def _items(value: Any) -> list:
    if isinstance(value, dict):
        return list(value.items())
    return sorted(value, key=repr) if isinstance(value, set) else list(value)


def frozen(value: Any) -> Any:
    """Plain data as nested tuples of bytes and strings, equal where the data are equal."""
    if isinstance(value, Leaf):
        return value.origin, str(value.data.dtype), value.data.shape, _digest(value.data)
    if isinstance(value, Key):
        return value.impl, value.data.shape, value.data.tobytes()
    if is_container(value):
        kind = value.type if isinstance(value, Record) else type(value).__name__
        return kind, tuple((name, frozen(child)) for name, child in children(value))
    return value.type if isinstance(value, Opaque) else value


def _digest(array: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).digest()


def same(one: Any, other: Any) -> bool:
    """Whether two plain values are equal bit by bit."""
    return frozen(one) == frozen(other)
