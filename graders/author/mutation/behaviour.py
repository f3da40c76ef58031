"""Mutants of behaviour: which faults can be put around an answer, seen from what it is asked."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from graders.author.mutation.mutant import Mutant
from graders.author.mutation.recording import requests_of
from graders.judging.lesson_run import LessonRun
from graders.lesson.cells import Cell
from graders.lesson.regions import SOLUTION, without_marks
from graders.probes import call
from graders.seam.protocol import Request
from graders.seam.subject import LocalSubject
from graders.values.plain import Leaf, is_key, leaves

IMPORT = "from graders.author.mutation import wrappers as _mutation"


def behaviour_mutants(lesson_run: LessonRun, cell: Cell) -> Iterator[Mutant]:
    """The answers of an exercise with one fault around them, or around what they return."""
    exercise, source = str(cell.exercise), without_marks(cell.source, SOLUTION)
    asked = requests_of(lesson_run, exercise, source).get(exercise, [])
    yield from _constants(exercise, source, asked)
    solution = _solution(lesson_run, exercise, source)
    for level, requests in _by_level(asked).items():
        for kind, wrapper in _wrappers(solution, requests):
            name, _, options = wrapper.rstrip(")").partition("(")
            listed = f", {options}" if options else ""
            wrapped = f"{name}({exercise}{listed})"
            if level:
                wrapped = f"_mutation.inside({name}{listed})({exercise})"
            line = f"{exercise} = {wrapped}"
            where = "what it returns: " if level else ""
            yield Mutant(exercise, kind, where + wrapper, f"{source}\n\n{IMPORT}\n{line}\n")


def _constants(exercise: str, source: str, requests: Sequence[Request]) -> Iterator[Mutant]:
    """Answers that do not read an argument, but have the value that it has in the first case."""
    tree = ast.parse(source)
    functions = [one for one in tree.body if isinstance(one, ast.FunctionDef)]
    function = next((one for one in functions if one.name == exercise), None)
    request = next((r for r in requests if r.probe == call.__name__ and not r.steps), None)
    if function is None or request is None:
        return
    for parameter, value in zip(function.args.args, request.args, strict=False):
        if (text := _literal(value)) is None:
            continue
        changed = copy.deepcopy(tree)
        at = tree.body.index(function)
        body: list[ast.stmt] = vars(changed.body[at])["body"]
        line = f"{parameter.arg} = {text}"
        body.insert(int(ast.get_docstring(function) is not None), ast.parse(line).body[0])
        yield Mutant(exercise, "argument ignored", line[:80], ast.unparse(changed) + "\n")


def _literal(value: Any) -> str | None:
    """Code for a value that people would write down."""
    if isinstance(value, bool | int | float | str | None):
        return repr(value)
    if isinstance(value, np.ndarray | jax.Array) and not is_key(value) and value.size <= 64:
        array = np.asarray(value)
        if array.dtype.kind in "biuf" and np.isfinite(array).all():
            return f"__import__('numpy').array({array.tolist()}, '{array.dtype}')"
    return None


def _solution(lesson_run: LessonRun, exercise: str, source: str) -> Any:
    place: Any = lesson_run.places[exercise].branch()
    place.run(source, f"<{exercise}>")
    return place.namespace.get(exercise)


def _by_level(requests: Sequence[Request]) -> dict[int, list[Request]]:
    """Calls of the answer itself (0), and of what it returns (1)."""
    found: dict[int, list[Request]] = {}
    for request in requests:
        if request.probe == call.__name__ and all(s.kind == "result_of" for s in request.steps):
            found.setdefault(min(len(request.steps), 1), []).append(request)
    return found


def _wrappers(solution: Any, requests: Sequence[Request]) -> Iterator[tuple[str, str]]:
    """The kinds and calls of the wrappers that change something, for these requests."""
    request = requests[0]
    args, result = request.args, LocalSubject(solution, "answer").send(request).value
    found = [leaf for _, leaf in leaves(result)]
    arrays = [(i, leaf) for i, leaf in enumerate(found) if isinstance(leaf, Leaf)]
    for i, arg in enumerate(args):
        given = jax.tree.leaves(arg)
        if given and not callable(arg):
            yield "argument frozen", f"_mutation.fixed_argument({i})"
        if any(_is_float(leaf) for leaf in given):
            yield "argument rounded to bfloat16", f"_mutation.rounded_argument({i})"
            yield "NaN and infinity wiped from an argument", f"_mutation.finite_argument({i})"
        if any(is_key(leaf) for leaf in given):
            yield "constant key", f"_mutation.constant_key({i})"
        if isinstance(arg, list | tuple | dict):
            yield "one type of container", f"_mutation.only_lists({i})"
        if isinstance(arg, list | dict | np.ndarray):
            yield "changed in place", f"_mutation.changed_in_place({i})"
    yield "remembered by shape", "_mutation.remembered()"
    yield "one size", "_mutation.only_first('shape')"
    yield "one dtype", "_mutation.only_first('dtype')"
    shapes = [_shape(leaf) for arg in args for leaf in jax.tree.leaves(arg)]
    for i, leaf in arrays:
        if leaf.data.any():
            yield "leaf of zeros", f"_mutation.leaf_of_zeros({i})"
        if (leaf.data.shape, leaf.data.dtype) in shapes:
            yield "input leaf returned", f"_mutation.input_leaf_returned({i})"
        for j, other in arrays:
            if i < j and leaf.data.shape == other.data.shape:
                yield "leaves exchanged", f"_mutation.leaves_exchanged({i}, {j})"
    if any(leaf.data.dtype.kind in "fV" for _, leaf in arrays):
        yield "rounded to bfloat16", "_mutation.bfloat16()"
        yield "cast to float32", "_mutation.float32()"
        yield "clipped", "_mutation.clipped()"
        yield "NaN and infinity wiped", "_mutation.finite()"
        yield "off by 0.1 %", "_mutation.off_by_little()"
    if hasattr(solution, "lower"):
        yield "not compiled", "_mutation.uncompiled()"
        yield "compiled at each call", "_mutation.compiled_anew()"
    yield "replicated", "_mutation.replicated()"


def _is_float(leaf: Any) -> bool:
    array = isinstance(leaf, np.ndarray | jax.Array) and not is_key(leaf)
    return array and np.asarray(leaf).dtype.kind in "fV"


def _shape(leaf: Any) -> Any:
    return (np.shape(leaf), getattr(leaf, "dtype", None)) if not is_key(leaf) else None
