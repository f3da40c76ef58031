"""Whether a named cause of wrong values is true of a mutant, on inputs that no check has chosen.

The check names a cause from its own cases. Here the mutant and the solution get other inputs, made
from those cases, and the cause has to hold there too: wherever a candidate of the author changes a
number the mutant must have that number, and a general cause must be found again. Causes that only
state a fact of the cases, such as "NaN instead of a number", are not counted.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import jax
import numpy as np

from graders.author.mutation.equivalence import Reference
from graders.card.failure import Cause
from graders.checks import values as check_values
from graders.diagnosis import values as diagnosis
from graders.diagnosis.evidence import Pair, changed, near
from graders.diagnosis.values import SAME
from graders.seam.protocol import Request
from graders.seam.subject import LocalSubject
from graders.values.inputs import as_numpy
from graders.values.plain import Leaf, leaves

LABELS = ("other numbers", "negative numbers", "other sizes", "twice the sizes")
"""Inputs on which float32 loses no digits."""
FACTS = (
    "NaN instead", "a number instead of NaN", "infinite instead", "right except at",
    "right on some", "wrong values", "all zeros", "every number is",
)  # fmt: skip
"""How the diagnoses begin that state what is seen, and no cause."""


def _unchanged(pairs: Sequence[Pair]) -> bool:
    return all(
        any(near(pair.got, np.asarray(leaf, np.float64), SAME) for leaf in _numbers(pair.args))
        for pair in pairs
    )


def _numbers(args: Any) -> list[Any]:
    """The arrays and numbers of the arguments; keys are none."""
    kinds = [
        (leaf, getattr(getattr(leaf, "dtype", None), "kind", "")) for leaf in jax.tree.leaves(args)
    ]
    return [leaf for leaf, kind in kinds if kind and kind in "biuf"]


PLAIN: dict[str, Callable[[Sequence[Pair]], bool]] = {"the input came back unchanged": _unchanged}
"""Causes that can be read off the results, however few numbers they have."""

Mistakes = dict[str, Callable[..., Any]]


@dataclass(frozen=True)
class Named:
    """A cause that `check_values` has named, and what it was named from."""

    cause: Cause
    pairs: Sequence[Pair]
    mistakes: Mistakes

    @property
    def family(self) -> str:
        """The cause without its numbers; "a mistake of the author" for a candidate."""
        if self.cause.diagnosis in self.mistakes:
            return "a mistake of the author"
        return family(self.cause)

    @property
    def is_claim(self) -> bool:
        """Whether it says more than what is seen in the case that is shown."""
        return not self.cause.diagnosis.startswith(FACTS)


def family(cause: Cause) -> str:
    """The words of a general cause, without what is read off the case.

    Example:
        >>> family(Cause("a constant factor of 3.5 too much", ""))
        'a constant factor'
    """
    words = cause.diagnosis.partition(":")[0]
    return words.partition(" of ")[0] if words.startswith("a constant factor") else words


@contextlib.contextmanager
def noted() -> Iterator[list[Named]]:
    """A block that notes every cause that `check_values` names."""
    found: list[Named] = []
    real = diagnosis.cause_of

    def noting(pairs: Sequence[Pair], mistakes: Mistakes | None = None) -> Cause:
        cause = real(pairs, mistakes)
        found.append(Named(cause, pairs, mistakes or {}))
        return cause

    with mock.patch.object(check_values.diagnosis, "cause_of", noting):
        yield found


def holds(named: Named, reference: Reference, mutant: Any) -> bool | None:
    """Whether the cause is true of the mutant on other inputs; None where they do not tell."""
    places = [_place(pair, reference, mutant) for pair in named.pairs]
    fresh = [pair for place in places if place for pair in _fresh(*place, reference, mutant)]
    if not any(not pair.right for pair in fresh):
        return None
    if named.cause.diagnosis in named.mistakes:
        return _explains(named.mistakes[named.cause.diagnosis], fresh)
    if fact := PLAIN.get(named.family):
        return fact(fresh)
    with np.errstate(all="ignore"):
        found = diagnosis.cause_of(fresh)
    if found.diagnosis.startswith(FACTS):
        return None if found.diagnosis.startswith(("NaN", "infinite")) else False
    return family(found) == family(named.cause)


def _explains(mistake: Callable[..., Any], fresh: Sequence[Pair]) -> bool | None:
    """Whether the mutant makes the candidate's mistake; it may make others elsewhere."""
    verdicts = []
    for pair in fresh:
        with np.errstate(all="ignore"):
            try:
                made = np.asarray(mistake(*pair.args), np.float64)
            except Exception:
                continue
        if made.shape == pair.got.shape:
            where = changed(pair, made)
            with np.errstate(over="ignore"):
                made = made.astype(np.float32)  # what overflows there overflows here
            verdicts += [near(pair.got[where], made[where])] if where.any() else []
    return all(verdicts) if verdicts else None


def _place(pair: Pair, reference: Reference, mutant: Any) -> tuple[Request, str] | None:
    """The request and the path of the result that the pair was read from."""
    for request in reference.calls:
        if not _same(as_numpy(request.args), pair.args):
            continue
        result = LocalSubject(mutant, "answer").send(request)
        for path, leaf in leaves(result.value) if result.error is None else ():
            if isinstance(leaf, Leaf) and _same(np.asarray(leaf.data, pair.got.dtype), pair.got):
                return request, path
    return None


def _fresh(request: Request, path: str, reference: Reference, mutant: Any) -> Iterator[Pair]:
    """Pairs as that of the request, of other numbers and sizes."""
    for label, other, wanted in reference.around(request):
        if label not in LABELS:
            continue
        got = LocalSubject(mutant, "answer").send(other)
        if got.error is not None:
            continue
        one, two = (dict(leaves(result.value)).get(path) for result in (wanted, got))
        if not isinstance(one, Leaf) or not isinstance(two, Leaf):
            continue
        kind = {"u": "i", "V": "f"}.get(one.data.dtype.kind, one.data.dtype.kind)
        narrow = kind == "f" and one.data.dtype.itemsize < 4  # too few digits to tell
        if one.data.shape == two.data.shape and kind in "bif" and not narrow:
            meant, came = one.data.astype(np.float64), two.data.astype(np.float64)
            scale = np.abs(meant[np.isfinite(meant)]).max(initial=1.0)
            right = np.isclose(came, meant, 1e-4, 1e-6 * scale)
            yield Pair(as_numpy(other.args), meant, came, right, kind)


def _same(one: Any, other: Any) -> bool:
    """Whether two structures of NumPy arrays are the same."""
    try:
        np.testing.assert_equal(one, other)
    except (AssertionError, TypeError, ValueError):
        return False
    return True


def table(found: Iterable[tuple[str, str, bool | None]]) -> list[tuple[str, str, int, int, int]]:
    """For each kind of mutant and cause: how often it was named, true, and false."""
    counts: dict[tuple[str, str], Counter] = {}
    for kind, cause, true in found:
        counts.setdefault((kind, cause), Counter())[true] += 1
    return [
        (kind, cause, count.total(), count[True], count[False])
        for (kind, cause), count in sorted(counts.items())
    ]
