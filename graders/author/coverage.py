"""What the checks of an exercise never vary, and what they never look at.

An argument that has one value in the whole check may be ignored by an answer; a leaf of the result
that may be anything is not compared. Both are problems of the lesson, unless its `mutants.toml`
says why an argument has one value.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import jax
import numpy as np

from graders.author.mutation.listed import read_listed
from graders.author.mutation.recording import RecordingPlace
from graders.author.mutation.wrappers import inside
from graders.judging.lesson_run import LessonRun
from graders.lesson.cells import Cell
from graders.lesson.problems import Problem
from graders.lesson.regions import SOLUTION, without_marks
from graders.probes import batched, call, derivatives, placement, second_derivative
from graders.seam.place import LocalPlace
from graders.seam.protocol import Request, Result, Step
from graders.seam.subject import LocalSubject, Subject
from graders.values.functions import body_of
from graders.values.jax_internals import Tracer
from graders.values.plain import Leaf, is_key, leaves

JUDGED = {probe.__name__ for probe in (batched, call, derivatives, placement, second_derivative)}
"""Probes whose results are compared with what is expected for their arguments."""
MOST_LEAVES = 12  # of a result that are tried
_TRACERS = itertools.count()  # each counts as another value


def coverage_problems(lesson_run: LessonRun) -> list[Problem]:
    """The arguments that the checks never vary, and the leaves that they never compare."""
    listed = read_listed(lesson_run.lesson.path)
    problems, used = [], set()
    for cell in lesson_run.lesson.exercises.values():
        if cell.answer_kind != "code":
            continue
        for parameter in constant_parameters(lesson_run, cell):
            used.add((cell.exercise, parameter))
            if (cell.exercise, parameter) not in listed.one_value:
                what = f"`{cell.exercise}`: the checks give `{parameter}` one value only"
                fix = f"vary it, or give the reason as [[one_value]] in {listed.path.name}"
                problems.append(_problem(lesson_run, cell, what, fix))
        for leaf in ignored_leaves(lesson_run, cell):
            what = f"`{cell.exercise}`: the checks accept anything at {leaf}"
            problems.append(_problem(lesson_run, cell, what, "compare it"))
    for exercise, parameter in set(listed.one_value) - used:
        what = f"[[one_value]] names `{parameter}` of `{exercise}`, which varies"
        problems.append(Problem(listed.path, 1, what, "remove the entry"))
    return problems


def _problem(lesson_run: LessonRun, cell: Cell, what: str, fix: str) -> Problem:
    return Problem(lesson_run.lesson.path / "lesson.py", cell.line, what, fix)


def _run(lesson_run: LessonRun, cell: Cell, place: LocalPlace) -> bool:
    """Runs the solution in `place`, and says whether the checks of the exercise accept it."""
    place.run(without_marks(cell.source, SOLUTION), f"<{cell.exercise}>")
    verdicts = []
    for check in lesson_run.checks_of(str(cell.exercise)):
        for between in lesson_run.between(cell, check):
            place.run(between.source, f"<{between.id}>")
        verdicts.append(lesson_run.evaluation(check, place).go_on(check.source))
    return all(verdict.passed for verdict in verdicts)


def _branch(lesson_run: LessonRun, cell: Cell) -> LocalPlace:
    branch = lesson_run.places[str(cell.exercise)].branch()
    assert isinstance(branch, LocalPlace)
    return branch


# ---- arguments ----


def constant_parameters(lesson_run: LessonRun, cell: Cell) -> list[str]:
    """The parameters of an exercise's answer, and of functions that it returns, with one value."""
    place = RecordingPlace(_branch(lesson_run, cell).namespace)
    _run(lesson_run, cell, place)
    found = []
    for name, requests in place.requests.items():
        answer = place.namespace[name]
        values: dict[str, set[str]] = {}
        for request in requests:
            if request.probe in JUDGED:
                for parameter, value in _given(answer, request):
                    values.setdefault(parameter, set()).add(digest(value))
        found += [parameter for parameter, digests in values.items() if len(digests) < 2]
    return found


def _given(answer: Any, request: Request) -> Iterator[tuple[str, Any]]:
    """Every argument that reaches the answer, or a function that it returns, by its name."""
    prefix = ""
    for step in request.steps:
        if step.function is not None:
            if not prefix:
                yield from _through(answer, step, request.args)
            return
        yield from _named(answer, step.args, {}, prefix)
        try:
            answer = answer(*step.args)
        except Exception:  # what it returns cannot be asked for its parameters
            return
        prefix += "result, "
    yield from _named(answer, request.args, request.kwargs, prefix)


def _through(answer: Any, step: Step, args: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """What a function of ours gives the answer."""
    calls: list[tuple[tuple, dict]] = []

    def spy(*given: Any, **named: Any) -> Any:
        calls.append((given, named))
        return answer(*given, **named)

    function: Callable[..., Any] = step.function or (lambda f: f)
    try:
        function(spy, *args)
    except Exception:
        return
    for given, named in calls:
        yield from _named(answer, given, named, "")


def _named(
    answer: Any, args: Sequence[Any], kwargs: dict[str, Any], prefix: str
) -> Iterator[tuple[str, Any]]:
    try:
        bound = inspect.signature(answer).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return
    bound.apply_defaults()
    for name, value in bound.arguments.items():
        yield prefix + name, value


def digest(value: Any) -> str:
    """The same text for equal values: arrays by their numbers, functions by code and closure.

    Example:
        >>> digest({"w": np.ones(2)}) == digest({"w": np.ones(2)}) != digest([np.ones(2)])
        True
    """
    return hashlib.sha256(repr(_facts(value, ())).encode()).hexdigest()


def _facts(value: Any, around: tuple[int, ...]) -> Any:
    """`around` are the ids of the functions and containers that `value` is in."""
    if isinstance(value, Tracer):  # nothing can be read off it, and its id is soon used again
        return "tracer", next(_TRACERS)
    if is_key(value):
        return "key", _facts(np.asarray(jax.random.key_data(value)), around)
    if isinstance(value, np.ndarray | jax.Array | np.generic):
        array = np.asarray(value)
        return str(array.dtype), array.shape, array.tobytes()
    if isinstance(value, jax.sharding.Mesh):
        return value.axis_names, value.devices.shape, [d.id for d in value.devices.flat]
    if isinstance(value, bool | int | float | complex | str | bytes | None):
        return type(value).__name__, value
    if id(value) in around:  # a function that calls itself, a list that holds itself
        return "around", around[::-1].index(id(value))
    inside = (*around, id(value))
    if isinstance(value, dict):
        return [(key, _facts(inner, inside)) for key, inner in value.items()]
    if isinstance(value, list | tuple):
        return type(value).__name__, [_facts(inner, inside) for inner in value]
    if isinstance(value, partial):
        return "partial", [_facts(v, inside) for v in (value.func, value.args, value.keywords)]
    if (code := body_of(value)) is not None:
        function: Any = inspect.unwrap(cast(Any, value))
        cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
        defaults = (
            getattr(function, "__defaults__", None),
            getattr(function, "__kwdefaults__", None),
        )
        facts = _facts([cells, *defaults], inside)
        return code.co_code, repr(code.co_consts), code.co_names, facts
    return type(value).__name__, id(value)


# ---- results ----


def ignored_leaves(lesson_run: LessonRun, cell: Cell) -> list[str]:
    """The paths in the answer's results at which the checks accept another number.

    A line that looks at shapes or dtypes alone may have a structure of its own: its leaves count
    only where a leaf beside them is compared, or where nothing of the result is.
    """
    watched = _Changed(_branch(lesson_run, cell).namespace)
    _run(lesson_run, cell, watched)
    places = list(watched.places)[:MOST_LEAVES]
    ignored = {where for where in places if _is_ignored(lesson_run, cell, where)}
    compared = {where for where in places if where not in ignored}

    def counts(where: Where) -> bool:
        beside = {other for structure in watched.places[where] for other in structure}
        alike = {other for other in compared if other[:2] == where[:2]}
        return bool(beside & compared) or not alike

    return [f"{name}: {path or 'the result'}" for name, _, path in filter(counts, ignored)]


Where = tuple[str, int, str]
"""A name that the student binds, how many calls lie between it and the result, and the path."""


def _is_ignored(lesson_run: LessonRun, cell: Cell, where: Where) -> bool:
    """Whether the checks accept another number there: in the replies, and from the answer itself.

    What the answer returns may be looked at in functions of ours only, which the replies do not
    show; an answer that is wrapped may be rejected for being no jitted function.
    """
    if not _run(lesson_run, cell, _Changed(_branch(lesson_run, cell).namespace, where)):
        return False
    name, depth, path = where
    place = _branch(lesson_run, cell)
    place.run(without_marks(cell.source, SOLUTION), f"<{cell.exercise}>")
    change = partial(_with_other_leaf, path=path)
    answer = place.namespace[name]
    place.bind({**place.namespace, name: inside(change)(answer) if depth else change(answer)})
    return all(
        lesson_run.evaluation(check, place).go_on(check.source).passed
        for check in lesson_run.checks_of(str(cell.exercise))
    )


def _with_other_leaf(answer: Callable, path: str) -> Callable:
    def at(place: Any, leaf: Any) -> Any:
        is_meant = jax.tree_util.keystr(place) == path and isinstance(leaf, jax.Array)
        return _other(leaf) if is_meant and not is_key(leaf) else leaf

    def changed(*args: Any, **kwargs: Any) -> Any:
        return jax.tree_util.tree_map_with_path(at, answer(*args, **kwargs))

    return changed


class _Changed(LocalPlace):
    """A place in which every number at one place of what is called is another one."""

    def __init__(self, namespace: dict[str, Any], where: Where | None = None) -> None:
        super().__init__(namespace)
        self.where = where
        self.places: dict[Where, set[frozenset[Where]]] = {}  # that were met, in which structures

    def subject(self, name: str) -> Subject:
        found = super().subject(name)
        if not isinstance(found, LocalSubject):
            return found
        return _ChangedSubject(found.answer, name, self)


class _ChangedSubject(LocalSubject):
    def __init__(
        self, answer: Any, name: str, place: _Changed, steps: tuple[Step, ...] = ()
    ) -> None:
        super().__init__(answer, name, steps)
        self.place = place

    def extended(self, step: Step) -> _ChangedSubject:
        return _ChangedSubject(self.answer, self.name, self.place, (*self.steps, step))

    def send(self, request: Request) -> Result:
        result = super().send(request)
        ours = any(step.function for step in request.steps)
        if request.probe == call.__name__ and result.error is None and not ours:
            numbers = {
                (self.name, len(request.steps), path): leaf
                for path, leaf in leaves(result.value)
                if isinstance(leaf, Leaf) and leaf.data.size
            }
            for where, leaf in numbers.items():
                self.place.places.setdefault(where, set()).add(frozenset(numbers))
                if where == self.place.where:
                    object.__setattr__(leaf, "data", np.asarray(_other(leaf.data)))
        return result


def _other(data: Any) -> Any:
    """Numbers of the same dtype, each another one."""
    if data.dtype == bool:
        return ~data
    if data.dtype.kind in "iu":
        return data + np.ones((), data.dtype)
    return (data * np.asarray(1.5, data.dtype) + np.asarray(1.37, data.dtype)).astype(data.dtype)
