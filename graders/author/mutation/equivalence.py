"""Whether a mutant does what the solution does, on inputs that no check has chosen.

The inputs are made from those of the checks: other numbers of the same kind, other scales, planted
zeros and ties, other sizes. Where the solution itself raises, an input says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from graders.probes import call, derivatives, program
from graders.seam.protocol import Request, Result
from graders.seam.subject import LocalSubject
from graders.values import describe
from graders.values.plain import Key, Leaf, Plain, is_key, leaves

SEED = 17
RTOL = 2e-3  # of two ways to compute the same in float32
MOST_REQUESTS = 6
STRUCTURE = frozenset(
    {"scan", "while", "cond", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call",
     "shard_map", "psum", "psum_invariant", "all_gather", "ppermute", "sharding_constraint"}
)  # fmt: skip
"""Primitives that a text may ask for, beside the values."""
EXACTLY = ("traces", "donation", "placement", "collectives")
"""Probes whose facts must be the same."""

Answered = tuple[str, Request, Result]
"""What the input is, the request, and what the solution returns."""


class Reference:
    """The author's object, and what it does on inputs that no check has chosen.

    Example:
        >>> asked = [Request("call", (np.ones(3, np.float32),))]
        >>> Reference(jnp.abs, asked).difference(lambda x: x).startswith("negative numbers")
        True
    """

    def __init__(self, solution: Any, requests: Sequence[Request], text: str = "") -> None:
        """`requests` is what the checks ask of the solution; `text` is that of the exercise.

        Where the text speaks of dtypes the inputs have others too, and where it speaks of trees
        lists become tuples.
        """
        self.requests = list(requests)
        self.calls = _distinct([r for r in self.requests if r.probe == call.__name__])
        self._solution, self._text = solution, text
        self._around: dict[int, list[Answered]] = {}

    @property
    def sweep(self) -> list[Answered]:
        """Inputs around those of some calls, from the first to the last."""
        return [one for call in _spread(self.calls, MOST_REQUESTS) for one in self.around(call)]

    def around(self, request: Request) -> list[Answered]:
        """Inputs made from those of one of `calls`, where the solution does not raise."""
        number = next(i for i, call in enumerate(self.calls) if call is request)
        if number not in self._around:
            rng = np.random.default_rng((SEED, number))
            asked = [
                (label, replace(request, args=args))
                for label, args in _variants(request.args, rng, self._text)
            ]
            answered = [(label, one, _send(self._solution, one)) for label, one in asked]
            self._around[number] = [one for one in answered if one[2].error is None]
        return self._around[number]

    def difference(self, other: Any) -> str:
        """The first way in which `other` differs from the solution; empty if it is equivalent."""
        for label, request, wanted in self.sweep:
            got = _send(other, request)
            if not _alike(wanted, got):
                inputs = describe.inputs([], request.args)
                how = f"{got.error.type}: {got.error.message}" if got.error else _told(wanted, got)
                return f"{label}: {how[:200]} at {inputs[:300]}"
        for request in self.calls[:2]:
            if not _same_structure(self._solution, other, request):
                return "other operations in the program"
            if not _same_gradient(self._solution, other, request):
                return "another gradient"
        for request in _distinct([r for r in self.requests if r.probe in EXACTLY])[:4]:
            wanted, got = _send(self._solution, request), _send(other, request)
            if wanted.error is None and wanted.value != got.value:
                return f"{request.probe}: {got.value} and not {wanted.value}"[:300]
        return ""


def _told(wanted: Result, got: Result) -> str:
    return f"{describe.text(got.value)} and not {describe.text(wanted.value)}"


def _spread(requests: Sequence[Request], most: int) -> list[Request]:
    """At most so many of the requests, from the first to the last."""
    if len(requests) <= most:
        return list(requests)
    places = np.linspace(0, len(requests) - 1, most).round().astype(int)
    return [requests[i] for i in places]


def _send(answer: Any, request: Request) -> Result:
    return LocalSubject(answer, "answer").send(request)


def _distinct(requests: Sequence[Request]) -> list[Request]:
    """One request for each combination of shapes, the steps included."""
    found = {}
    for request in requests:
        shapes = [getattr(leaf, "shape", type(leaf)) for leaf in jax.tree.leaves(request.args)]
        found.setdefault((request.probe, len(request.steps), str(shapes)), request)
    return list(found.values())


# ---- inputs ----


def _variants(args: tuple, rng: np.random.Generator, text: str = "") -> Iterator[tuple[str, tuple]]:
    yield "the check's own input", args
    for label, change in CHANGES.items():
        yield label, jax.tree.map(lambda leaf, change=change: change(leaf, rng), args)
    for label, sizes in (("other sizes", _grown(args, 1)), ("twice the sizes", _grown(args, 0))):
        yield label, jax.tree.map(lambda leaf, sizes=sizes: _resized(leaf, sizes, rng), args)
    if "dtype" in text:
        yield "other dtypes", jax.tree.map(_narrow, args)
    if re.search("pytree|any tree|any structure|nested", text):
        yield "other containers", tuple(map(_as_tuples, args))


def _narrow(leaf: Any) -> Any:
    """int16 or bfloat16 for a wider integer or float."""
    if is_key(leaf) or not isinstance(leaf, np.ndarray | jax.Array):
        return leaf
    kind = np.asarray(leaf).dtype.kind
    return np.asarray(leaf).astype({"i": np.int16, "f": jax.numpy.bfloat16}.get(kind, leaf.dtype))


def _as_tuples(arg: Any) -> Any:
    """Lists become tuples, and tuples lists."""
    if type(arg) in (list, tuple):
        return (tuple if type(arg) is list else list)(map(_as_tuples, arg))
    return {name: _as_tuples(inner) for name, inner in arg.items()} if type(arg) is dict else arg


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray | jax.Array) and not is_key(leaf) and (
        np.asarray(leaf).dtype.kind in "fV"
    )  # fmt: skip


def _other(leaf: Any, rng: np.random.Generator) -> Any:
    """Other numbers of the same kind."""
    if is_key(leaf):
        return jax.random.fold_in(leaf, 5) if leaf.ndim == 0 else leaf
    if not isinstance(leaf, np.ndarray | jax.Array):
        return leaf
    array = np.asarray(leaf)
    if array.dtype.kind in "fV":
        wide = array.astype(np.float64)
        finite = wide[np.isfinite(wide)]
        spread = finite.std() if finite.size > 1 else 1.0
        centre = finite.mean() if finite.size else 0.0
        drawn = centre + (spread or 1.0) * rng.standard_normal(array.shape)
        if finite.size and finite.min() >= 0:
            drawn = np.abs(drawn)
        return drawn.astype(array.dtype)
    return rng.permutation(array.ravel()).reshape(array.shape)


def _scaled(factor: float) -> Any:
    def change(leaf: Any, rng: np.random.Generator) -> Any:
        return (
            np.asarray(leaf) * np.asarray(factor, np.asarray(leaf).dtype)
            if _is_float(leaf)
            else leaf
        )

    return change


def _shifted(leaf: Any, rng: np.random.Generator) -> Any:
    return np.asarray(leaf) + np.asarray(100.0, np.asarray(leaf).dtype) if _is_float(leaf) else leaf


def _with_zeros(leaf: Any, rng: np.random.Generator) -> Any:
    if not _is_float(leaf):
        return leaf
    array = np.array(_other(leaf, rng))
    array[rng.random(array.shape) < 0.4] = 0
    return array


def _tied(leaf: Any, rng: np.random.Generator) -> Any:
    return np.round(np.array(_other(leaf, rng), np.float32)).astype(np.asarray(leaf).dtype) if (
        _is_float(leaf)
    ) else leaf  # fmt: skip


def _negative(leaf: Any, rng: np.random.Generator) -> Any:
    return -np.abs(np.asarray(_other(leaf, rng))) if _is_float(leaf) else leaf


CHANGES = {
    "other numbers": _other,
    "small numbers": _scaled(1e-4),
    "large numbers": _scaled(30.0),
    "an offset": _shifted,
    "zeros": _with_zeros,
    "ties": _tied,
    "negative numbers": _negative,
}


def _grown(args: tuple, more: int) -> dict[int, int]:
    arrays = [leaf for leaf in jax.tree.leaves(args) if isinstance(leaf, np.ndarray | jax.Array)]
    sizes = {size for array in arrays for size in array.shape}
    return {size: size + more if more else 2 * size for size in sizes if size > 1}


def _resized(leaf: Any, sizes: dict[int, int], rng: np.random.Generator) -> Any:
    if is_key(leaf) or not isinstance(leaf, np.ndarray | jax.Array) or not np.ndim(leaf):
        return leaf
    shape = tuple(sizes.get(size, size) for size in leaf.shape)
    return _other(np.resize(np.asarray(leaf), shape), rng)


# ---- results ----


def _alike(one: Result, other: Result) -> bool:
    if other.error is not None:
        return False
    mine, theirs = dict(leaves(one.value)), dict(leaves(other.value))
    if set(mine) != set(theirs):  # a dict in another order is the same tree
        return False
    return all(_same_leaf(mine[path], theirs[path]) for path in mine)


def _same_leaf(one: Plain, other: Plain) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, Key):
        return np.array_equal(one.data, other.data)
    if not isinstance(one, Leaf):
        return one == other
    if one.data.shape != other.data.shape or one.data.dtype != other.data.dtype:
        return False
    if one.data.dtype.kind in "biu":
        return np.array_equal(one.data, other.data)
    a, b = (np.asarray(leaf.data, np.complex128) for leaf in (one, other))
    scale = np.abs(a[np.isfinite(a)]).max(initial=0.0)
    return bool(np.allclose(a, b, RTOL, 1e-5 * scale, equal_nan=True))


def _same_structure(solution: Any, mutant: Any, request: Request) -> bool:
    asked = replace(request, probe=program.__name__, kwargs={}, options={})
    wanted, got = _send(solution, asked), _send(mutant, asked)
    if wanted.error or got.error:
        return bool(wanted.error) or not got.error
    counts = [
        {name: n for name, n in one.value.primitives.items() if name in STRUCTURE}
        for one in (wanted, got)
    ]
    return counts[0] == counts[1]


def _same_gradient(solution: Any, mutant: Any, request: Request) -> bool:
    floats = [i for i, arg in enumerate(request.args) if _all_floats(arg)]
    value = _send(solution, request).value
    if not floats or not isinstance(value, Leaf) or value.data.dtype.kind not in "fV":
        return True
    argnum = floats[0]
    tangent = jax.tree.map(lambda leaf: np.ones(np.shape(leaf), np.float32), request.args[argnum])
    options = {"argnum": argnum, "tangent": tangent, "cotangent": np.ones_like(value.data)}
    asked = replace(request, probe=derivatives.__name__, kwargs={}, options=options)
    wanted, got = _send(solution, asked), _send(mutant, asked)
    if wanted.error:
        return True
    return got.error is None and _alike(Result(wanted.value.reverse), Result(got.value.reverse))


def _all_floats(arg: Any) -> bool:
    found = jax.tree.leaves(arg)
    return bool(found) and all(map(_is_float, found))
