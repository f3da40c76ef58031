"""What surrounds a student's function: the globals and the closure it can reach, host state."""

from __future__ import annotations

import io
import random
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from graders.values.compare import A_TRACER, token
from graders.values.functions import innermost, names_in


@dataclass(frozen=True)
class Holder:
    """A place that holds a value: its label, the value, and how to bind it anew or to empty it."""

    label: str
    value: Any
    bind: Callable[[Any], Any]
    empty: Callable[[], Any]


@dataclass(frozen=True)
class Changes:
    """Names whose values changed, those that now hold a tracer, and whether host state changed."""

    changed: list[str]
    kept: list[str]
    host_random: bool


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
        inner = innermost(self.function)
        for function in _reachable(inner, []) if inner else ():
            yield from _held_by(function)
        if not isinstance(self.function, types.FunctionType):
            yield Holder("self", self.function, _nothing, _nothing)

    def _tokens(self) -> dict[str, Any]:
        return {holder.label: token(holder.value) for holder in self._holders()}

    def changes(self) -> Changes:
        """What is not as it was when this record was made."""
        now = self._tokens()
        names = sorted(set(now) | set(self.tokens))
        changed = [name for name in names if now.get(name) != self.tokens.get(name)]
        kept = [name for name in changed if A_TRACER in str(now.get(name))]
        return Changes(changed, kept, _host_random() != self.host)

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
    for name in names_in(function.__code__):
        other = innermost(function.__globals__.get(name))
        if other is not None and other.__globals__ is function.__globals__:
            yield from _reachable(other, seen)


def _held_by(function: types.FunctionType) -> Iterator[Holder]:
    """What the globals, the closure, the attributes and the defaults of `function` hold."""
    outer, own = function.__globals__, function.__name__
    for name in set(names_in(function.__code__)) & outer.keys():
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
