"""What is wrong with the kind, the structure, the shape or the dtype of a result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations

from graders.card.failure import Cause
from graders.values import describe
from graders.values.plain import Key, Leaf, Opaque, Plain, Record

KINDS = {
    "b": "booleans", "i": "integers", "u": "integers", "f": "floats", "V": "floats",
    "c": "complex numbers",
}  # fmt: skip


def nothing() -> Cause:
    return Cause(
        "nothing was returned: the function ends without `return`, so Python gives None",
        "Return the result in the last line.",
    )


def noun(value: Plain) -> str:
    """What a result is, with its article, as in `a tuple` or `a NumPy array`."""
    if isinstance(value, Leaf):
        origins = {"jax": "a JAX array", "numpy": "a NumPy array", "python": "a Python number"}
        return origins[value.origin]
    if isinstance(value, Key):
        return "a PRNG key"
    if isinstance(value, Opaque):
        return describe.opaque(value)
    if isinstance(value, Record):
        return f"an object of type {value.type}"
    if isinstance(value, dict | list | tuple):
        return f"a {type(value).__name__}"
    return "nothing" if value is None else "a string"


def other_kind(got: Plain, meant: str) -> Cause:
    """A result of another kind than the expected one; `meant` has its article."""
    if got is None:
        return nothing()
    if got == Opaque("a tracer"):
        return Cause(
            "a tracer escaped: the result still belongs to a trace that has ended",
            "Return the value from the traced function instead of storing it.",
        )
    if isinstance(got, Opaque) and got.callable:
        return Cause(
            f"a function was returned instead of {meant}: it was not called",
            "Transformations such as `jax.grad(f)` give a function; call it: `jax.grad(f)(x)`.",
        )
    return Cause(f"{noun(got)} instead of {meant}", _towards(got, meant))


def other_word(got: str, meant: str) -> Cause:
    """A string of another text than the expected one."""
    return Cause(
        f"{describe.text(got)} instead of {describe.text(meant)}",
        "Run the function yourself on the input shown here, and find the line that decides.",
    )


def _towards(got: Plain, meant: str) -> str:
    if isinstance(got, Leaf) and got.origin == "numpy":
        return "Compute with `jnp` from beginning to end; `np` leaves JAX, and cannot be traced."
    if isinstance(got, Leaf) and got.origin == "python":
        return "Stay with arrays: no `float(...)`, `int(...)`, `.item()` or Python `sum`."
    if isinstance(got, tuple) and meant.endswith("array"):
        return "Return the one array that is asked for; look at what each inner call returns."
    return f"Look at the return line: it should give {meant}."


def missing(name: str) -> Cause:
    return Cause(f"the key {name} is missing", "Return the same structure as the exercise names.")


def superfluous(name: str) -> Cause:
    return Cause(f"the key {name} is one too many", "Return only what the exercise names.")


def other_length(got: int, meant: int) -> Cause:
    return Cause(
        f"a structure of {got} instead of one of {meant}",
        "Count what the return line gives, in which order.",
    )


def exchanged(path: str, other: str) -> Cause:
    return Cause(
        f"{path} holds what is expected at {other}: two results have changed places, or one is "
        "given twice",
        "Compare the order of the return line with the one that is asked for.",
    )


def closed_object() -> Cause:
    return Cause(
        "an object that JAX does not look into instead of its arrays",
        "Register the object's class as a pytree.",
    )


def shape(
    got: Sequence[int], expected: Sequence[int], arguments: Sequence[tuple[str, Sequence[int]]] = ()
) -> Cause:
    """The usual cause of a wrong shape; `arguments` are names and shapes of array arguments."""
    got, expected = tuple(got), tuple(expected)
    for read in (_transposed, _left_over, _missing, _broadcast):
        if cause := read(got, expected):
            return cause
    if cause := _other_axis(got, expected, arguments):
        return cause
    for name, other in arguments:
        if got == tuple(other) and got:
            return Cause(
                f"the result has the shape of {_argument(name)}",
                "Check which argument the result should follow.",
            )
    if math.prod(got) == math.prod(expected):
        return Cause(
            "the result was reshaped: it has the right number of elements in another shape",
            "Leave out the `reshape`, `ravel` or `squeeze`, or give the shape that is asked for.",
        )
    if len(got) < len(expected) and _within(got, expected):
        return Cause(
            "axes are missing that should stay",
            "A reduction without `axis` removes all axes, and an index removes one.",
        )
    return Cause(
        "the shape is not the expected one",
        "Write the shape behind each line, and find the first that is not what you expect.",
    )


def _within(got: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether `got` is `expected` without some of its axes."""
    rest = iter(expected)
    return all(size in rest for size in got)


def _argument(name: str) -> str:
    return name if name.startswith("argument ") else f"argument {name!r}"


def _other_axis(
    got: tuple[int, ...],
    expected: tuple[int, ...],
    arguments: Sequence[tuple[str, Sequence[int]]],
) -> Cause | None:
    """One axis of an argument was reduced, and another one is expected."""
    for name, full in arguments:
        without = [tuple(full[:i]) + tuple(full[i + 1 :]) for i in range(len(full))]
        if got in without and expected in without:
            return Cause(
                f"another axis was reduced: axis {without.index(got)} of {_argument(name)} is "
                f"gone, and axis {without.index(expected)} should be",
                "`axis` names the axis that goes away; the others stay.",
            )
    return None


def _transposed(got: tuple[int, ...], expected: tuple[int, ...]) -> Cause | None:
    if len(got) > 1 and got in set(permutations(expected)) and len(got) <= 5:
        return Cause(
            "the axes are transposed",
            "Compare the order of the axes with the one that is asked for. `.T`, the output part "
            "of an einsum, or the `out_axes` of `jax.vmap` changes it.",
        )
    return None


def _left_over(got: tuple[int, ...], expected: tuple[int, ...]) -> Cause | None:
    stripped = [got[:i] + got[i + 1 :] for i, size in enumerate(got) if size == 1]
    if expected in stripped:
        return Cause(
            "an axis of size 1 is left over",
            "Remove it by indexing (`x[:, 0]`) or `.squeeze(axis)`, or leave `keepdims` out.",
        )
    return None


def _missing(got: tuple[int, ...], expected: tuple[int, ...]) -> Cause | None:
    if len(got) + 1 != len(expected):
        return None
    for i, size in enumerate(expected):
        if expected[:i] + expected[i + 1 :] == got:
            if size == 1:
                return Cause("an axis is missing", "Keep it with `keepdims=True` or `x[:, None]`.")
            return Cause(
                f"an axis is missing that should stay: axis {i}, of size {size}",
                "A reduction without `axis` removes all axes, and an index removes one.",
            )
    return None


def _broadcast(got: tuple[int, ...], expected: tuple[int, ...]) -> Cause | None:
    if len(got) == len(expected) + 1 and expected and set(got) <= set(expected) | {1}:
        return Cause(
            "two arrays were broadcast against each other: a row met a column, and each element "
            "met all the others",
            "Look for `(n,)` against `(n, 1)`; bring both to the same shape first.",
        )
    return None


def dtype_kind(got: str, expected: str) -> Cause:
    """The kinds of two dtypes differ, by NumPy's letters for kinds."""
    return Cause(
        f"{KINDS.get(got, got)} instead of {KINDS.get(expected, expected)}",
        "Follow the dtype line by line: `/` makes floats, `//`, comparisons and `argmax` do not.",
    )


def dtype(got: str, expected: str) -> Cause:
    return Cause(
        f"{got} instead of {expected}",
        "Find the operation that changes the dtype: an array of another dtype joins in, or a cast "
        "stands too early or too late.",
    )


def weak() -> Cause:
    return Cause(
        "the result is weakly typed: it came from Python numbers alone, and takes the dtype of "
        "whatever it meets next",
        "Give the dtype when you make the array, as in `jnp.asarray(1.0, jnp.float32)`.",
    )
