"""Checks that a function returns the values that an independent oracle gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from graders import describe, picture
from graders.checks.mechanics import at, check, reject, seen
from graders.checks.shape import paired
from graders.diagnosis import results
from graders.diagnosis import values as diagnosis
from graders.failure import Rejected
from graders.inputs import as_numpy
from graders.plain import Key, Leaf, Plain
from graders.subject import Subject

Oracle = Callable[..., Any] | Sequence[Any]


@check
def check_values(
    answer: Subject,
    oracle: Oracle,
    cases: Iterable[Sequence[Any]],
    rtol: float = 1e-4,
    atol: float = 1e-6,
    mistakes: dict[str, Callable[..., Any]] | None = None,
) -> None:
    """Checks that `answer` agrees with `oracle` on every case.

    `oracle` is called with the arguments as NumPy arrays (floats as float64), or is a list with
    the expected value of each case. Structure, shape and kind of dtype are compared first, then
    the numbers: |got - expected| <= rtol |expected| + atol max(1, max |expected|); integers and
    booleans exactly. Nothing is broadcast. `mistakes` maps a diagnosis to a function that makes
    that mistake.
    """
    rounds = [_observe(answer, oracle, i, tuple(args)) for i, args in enumerate(cases)]
    Judgement(answer, rounds, rtol, atol, mistakes or {}).judge()


def _observe(answer: Subject, oracle: Oracle, index: int, args: tuple) -> tuple[tuple, Any, Plain]:
    expected = oracle(*as_numpy(args)) if callable(oracle) else oracle[index]
    return args, expected, seen(answer.call(*args), answer, args, _briefly(expected))


def _briefly(expected: Any) -> str:
    flat = jax.tree.map(np.asarray, expected)
    return describe.array(flat) if isinstance(flat, np.ndarray) else str(jax.tree.map(np.shape, flat))


class Judgement:
    """All rounds of one `check_values`: the first wrong leaf is explained by all rounds."""

    def __init__(
        self,
        answer: Subject,
        rounds: Sequence[tuple[tuple, Any, Plain]],
        rtol: float,
        atol: float,
        mistakes: dict[str, Callable[..., Any]],
    ) -> None:
        self.answer, self.rounds = answer, rounds
        self.rtol, self.atol, self.mistakes = rtol, atol, mistakes

    def judge(self) -> None:
        for args, expected, got in self.rounds:
            for path, leaf, wanted in paired(got, expected, self.answer, args):
                self._judge_leaf(args, path, leaf, wanted)

    def _judge_leaf(self, args: tuple, path: str, leaf: Plain, wanted: Any) -> None:
        wanted = _as_array(wanted)
        got = self._numbers(args, path, leaf, wanted)
        if not self._right(got, wanted):
            cause = diagnosis.cause_of(self._pairs(path), self.mistakes)
            self._reject(cause, args, path, got, wanted)

    def _numbers(self, args: tuple, path: str, leaf: Plain, wanted: np.ndarray) -> np.ndarray:
        if isinstance(leaf, Key):
            leaf = Leaf(leaf.data, "jax")
        if not isinstance(leaf, Leaf):
            cause = results.other_kind(leaf, "one array")
            reject(cause, describe.array(wanted), describe.text(leaf), at(self.answer, args))
        if leaf.data.shape != wanted.shape:
            named = [(f"argument {i + 1}", np.shape(a)) for i, a in enumerate(args) if hasattr(a, "shape")]
            cause = results.shape(leaf.data.shape, wanted.shape, named)
            self._reject(cause, args, path, leaf.data, wanted)
        if _kind(leaf.data) != _kind(wanted):
            self._reject(results.dtype_kind(_kind(leaf.data), _kind(wanted)), args, path, leaf.data, wanted)
        return leaf.data

    def _right(self, got: np.ndarray, wanted: np.ndarray) -> bool:
        if _kind(wanted) in "bi":
            return bool(np.array_equal(got, wanted))
        with np.errstate(all="ignore"):
            finite = np.abs(wanted[np.isfinite(wanted)])
            slack = self.atol * max(1.0, float(finite.max(initial=0.0)))
            return bool(np.allclose(_wide(got), wanted, self.rtol, slack, equal_nan=True))

    def _pairs(self, path: str) -> list[diagnosis.Pair]:
        """Every round's leaf at `path`, as far as its shape is right."""
        pairs = []
        for args, expected, got in self.rounds:
            for other, leaf, wanted in _quietly_paired(got, expected, self.answer, args):
                wanted = _as_array(wanted)
                if other == path and isinstance(leaf, Leaf) and leaf.data.shape == wanted.shape:
                    right = self._right(leaf.data, wanted)
                    pairs.append(diagnosis.Pair(as_numpy(args), _wide(wanted), _wide(leaf.data), right))
        return pairs

    def _reject(self, cause: Any, args: tuple, path: str, got: np.ndarray, wanted: np.ndarray) -> None:
        prefix = f"{path}: " if path else ""
        place = self._place(got, wanted)
        reject(
            cause,
            prefix + describe.array(wanted) + _element(wanted, place),
            prefix + describe.array(got) + _element(got, place),
            at(self.answer, args),
            picture.differences(_wide(got), _wide(wanted)) if got.shape == wanted.shape else "",
        )


    def _place(self, got: np.ndarray, wanted: np.ndarray) -> tuple[int, ...] | None:
        """The first wrong element of two large arrays of one shape."""
        if got.shape != wanted.shape or got.size <= describe.WHOLE:
            return None
        places = np.ndindex(got.shape)
        return next((at for at in places if not self._right(got[at], wanted[at])), None)


def _element(array: np.ndarray, place: tuple[int, ...] | None) -> str:
    if place is None:
        return ""
    return f"; at {list(place)}: {describe.array(array[place])}"


def _quietly_paired(got: Plain, expected: Any, answer: Subject, args: tuple) -> list:
    try:
        return list(paired(got, expected, answer, args))
    except Rejected:
        return []


def _as_array(wanted: Any) -> np.ndarray:
    if isinstance(wanted, jax.Array) and jax.dtypes.issubdtype(wanted.dtype, jax.dtypes.prng_key):
        wanted = jax.random.key_data(wanted)
    return np.asarray(wanted)


def _kind(array: np.ndarray) -> str:
    return {"u": "i", "V": "f"}.get(array.dtype.kind, array.dtype.kind)


def _wide(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind == "c" else array.astype(np.float64)


