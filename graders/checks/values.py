"""Checks that a function returns the values that an independent oracle gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from graders.card import picture
from graders.card.failure import Cause, Rejected
from graders.checks.mechanics import at, check, reject, seen
from graders.checks.shape import array_arguments, paired
from graders.diagnosis import shape as results
from graders.diagnosis import values as diagnosis
from graders.diagnosis.evidence import Pair, near
from graders.seam.subject import Subject
from graders.values import describe
from graders.values.inputs import as_numpy
from graders.values.plain import Key, Leaf, Plain, is_key, leaves, plain

Oracle = Callable[..., Any] | Sequence[Any]


@check
def check_values(
    answer: Subject,
    oracle: Oracle,
    cases: Iterable[Sequence[Any]],
    rtol: float = 1e-4,
    atol: float = 1e-6,
    mistakes: dict[str, Callable[..., Any]] | None = None,
    *,
    about: str = "",
) -> None:
    """Checks that `answer` agrees with `oracle` on every case.

    Structure, shape and kind of dtype are compared first, then the numbers: |got - expected| <=
    rtol |expected| + atol max(1, max |expected|), integers and booleans exactly. Nothing is
    broadcast.

    Args:
        answer: the student's function.
        oracle: takes the arguments as NumPy arrays, floats as float64, and returns what is
            expected; or a list with the expected value of each case.
        cases: argument tuples, for instance from `sweep`.
        rtol: the relative tolerance of each number.
        atol: the tolerance relative to the largest number of its array, or to 1 if that is larger.
        mistakes: diagnoses, each with a function that makes the mistake. One whose numbers are
            those of the answer, in every leaf of the result, is named on the card.
        about: what distinguishes this line from others of its kind on the card.

    Raises:
        CheckFailed: a case gives something else.

    Example:
        >>> check_values(jnp.cumsum, np.cumsum, sweep("n"))
        >>> check_values(jnp.sum, np.mean, sweep("n"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        graders.card.failure.CheckFailed: sum: a sum instead of the mean: ...
    """
    rounds = [_observe(answer, oracle, i, tuple(args)) for i, args in enumerate(cases)]
    Judgement(answer, rounds, rtol, atol, mistakes or {}).judge()


def _observe(answer: Subject, oracle: Oracle, index: int, args: tuple) -> tuple[tuple, Any, Plain]:
    expected = oracle(*as_numpy(args)) if callable(oracle) else oracle[index]
    return args, expected, seen(answer.call(*args), answer, args, _briefly(expected))


def _briefly(expected: Any) -> str:
    return describe.text(plain(expected))


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
                self._judge_leaf(args, path, _words_of_key(leaf), wanted)

    def _judge_leaf(self, args: tuple, path: str, leaf: Plain, wanted: Any) -> None:
        if wanted is None or isinstance(wanted, str):
            return self._judge_word(args, path, leaf, wanted)
        wanted = _as_array(wanted)
        got = self._numbers(args, path, leaf, wanted)
        if not self._right(got, wanted).all():
            cause = self._exchanged(args, path, got) or self._cause(path)
            self._reject(cause, args, path, got, wanted)

    def _judge_word(self, args: tuple, path: str, leaf: Plain, wanted: str | None) -> None:
        if type(leaf) is not type(wanted) or leaf != wanted:
            prefix = f"{path}: " if path else ""
            if isinstance(leaf, str) and isinstance(wanted, str):
                cause = results.other_word(leaf, wanted)
            else:
                cause = results.other_kind(leaf, repr(wanted))
            texts = prefix + repr(wanted), prefix + describe.text(leaf)
            reject(cause, *texts, at(self.answer, args))

    def _cause(self, path: str) -> Cause:
        mistakes = {
            words: partial(_leaf_at, path, mistaken)
            for words, mistaken in self.mistakes.items()
            if self._may_explain(mistaken)
        }
        return diagnosis.cause_of(self._pairs(path), mistakes)

    def _may_explain(self, mistaken: Callable[..., Any]) -> bool:
        """Whether the mistake gives what came at every place of the result, in the first case."""
        args, _, got = self.rounds[0]
        try:
            made = dict(leaves(plain(mistaken(*as_numpy(args)))))
        except Exception:  # a candidate need not be defined on every case
            return False
        came = {path: _words_of_key(leaf) for path, leaf in leaves(got)}
        both = [(made[path], leaf) for path, leaf in came.items() if path in made]
        return all(
            self._alike(leaf.data, other.data)
            for other, leaf in both
            if isinstance(leaf, Leaf) and isinstance(other, Leaf)
        )

    def _alike(self, came: np.ndarray, made: np.ndarray) -> bool:
        """Up to rounding, or as near as the check asks: rounding errors alone are noise."""
        same_kind = came.shape == made.shape and _kind(came) == _kind(made)
        return near(_wide(came), _wide(made)) or (same_kind and bool(self._right(came, made).all()))

    def _exchanged(self, args: tuple, path: str, got: np.ndarray) -> Cause | None:
        """Whether what came at `path` is what another place of the result should hold."""
        _, expected, found = next(r for r in self.rounds if r[0] is args)
        for other, _, wanted in _quietly_paired(found, expected, self.answer, args):
            meant = _as_array(wanted)
            alike = meant.shape == got.shape and _kind(meant) == _kind(got) and meant.any()
            if other != path and alike and self._right(got, meant).all():
                return results.exchanged(path, other)
        return None

    def _numbers(self, args: tuple, path: str, leaf: Plain, wanted: np.ndarray) -> np.ndarray:
        if not isinstance(leaf, Leaf):
            cause = results.other_kind(leaf, "one array")
            meant = f"one array of shape {describe.dimensions(wanted.shape)}"
            meant += f": {describe.array(wanted)}"
            found = f"{results.noun(leaf)}: {describe.text(leaf)}"
            reject(cause, meant, found, at(self.answer, args))
        got = leaf.data
        if got.shape != wanted.shape:
            named = array_arguments(self.answer, args)
            cause = self._exchanged(args, path, got) or results.shape(
                got.shape, wanted.shape, named
            )
            self._reject(cause, args, path, got, wanted)
        if _kind(got) != _kind(wanted):
            zeros = diagnosis.all_zeros(self._pairs(path)) if wanted.any() else None
            cause = zeros or results.dtype_kind(_kind(got), _kind(wanted))
            self._reject(cause, args, path, got, wanted)
        return got

    def _right(self, got: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Which elements of an array are right; both have the same shape."""
        if _kind(wanted) in "bi":
            return got == wanted
        with np.errstate(all="ignore"):
            finite = np.abs(wanted[np.isfinite(wanted)])
            slack = self.atol * max(1.0, float(finite.max(initial=0.0)))
            return np.isclose(_wide(got), wanted, self.rtol, slack, equal_nan=True)

    def _pairs(self, path: str) -> list[Pair]:
        """Every round's leaf at `path`, as far as its shape is right."""
        pairs: list[Pair] = []
        for args, expected, got in self.rounds:
            for other, leaf, wanted in _quietly_paired(got, expected, self.answer, args):
                leaf = _words_of_key(leaf)
                if other != path or not isinstance(leaf, Leaf):
                    continue
                meant, found = _as_array(wanted), leaf.data
                if found.shape == meant.shape:
                    right = self._right(found, meant)
                    numbers = _wide(meant), _wide(found)
                    pairs.append(Pair(as_numpy(args), *numbers, right, _kind(meant)))
        return pairs

    def _reject(
        self, cause: Cause, args: tuple, path: str, got: np.ndarray, wanted: np.ndarray
    ) -> None:
        prefix = f"{path}: " if path else ""
        place = self._place(got, wanted)
        reject(
            cause,
            prefix + describe.array(wanted) + _element(wanted, place),
            prefix + describe.array(got) + _element(got, place),
            at(self.answer, args),
            picture.worth_drawing(~self._right(got, wanted)) if got.shape == wanted.shape else (),
        )

    def _place(self, got: np.ndarray, wanted: np.ndarray) -> tuple[int, ...] | None:
        """The first wrong element of two large arrays of one shape."""
        if got.shape != wanted.shape or got.size <= describe.WHOLE:
            return None
        wrong = np.argwhere(~self._right(got, wanted))
        return tuple(int(index) for index in wrong[0]) if len(wrong) else None


def _element(array: np.ndarray, place: tuple[int, ...] | None) -> str:
    if place is None:
        return ""
    return f"; at {list(place)}: {describe.array(array[place])}"


def _quietly_paired(got: Plain, expected: Any, answer: Subject, args: tuple) -> list:
    try:
        return list(paired(got, expected, answer, args))
    except Rejected:
        return []


def _leaf_at(path: str, mistaken: Callable[..., Any], *args: Any) -> np.ndarray:
    """The array at `path` of what a candidate mistake returns."""
    return dict(leaves(plain(mistaken(*args))))[path].data


def _words_of_key(leaf: Plain) -> Plain:
    """Keys are compared by their words."""
    return Leaf(leaf.data, "jax") if isinstance(leaf, Key) else leaf


def _as_array(wanted: Any) -> np.ndarray:
    if is_key(wanted):
        wanted = jax.random.key_data(wanted)
    return np.asarray(wanted)


def _kind(array: np.ndarray) -> str:
    return {"u": "i", "V": "f"}.get(array.dtype.kind, array.dtype.kind)


def _wide(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind == "c" else array.astype(np.float64)
