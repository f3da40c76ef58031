"""check_primitives: which operations a program is made of, and how many."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graders import check_primitives
from graders.tests.failing import failure

X, LONGER = np.ones(3, np.float32), np.ones(5, np.float32)


def unrolled_scan(x):
    return jax.lax.scan(lambda total, row: (total + row, None), 0.0, x, unroll=True)[0]


def in_a_loop(x):
    total = 0.0
    for i in range(x.shape[0]):
        total = total + x[i]
    return total


def in_a_scan(x):
    return jax.lax.scan(lambda total, element: (total + element, None), 0.0, x)[0]


def twice(x):
    return jnp.sin(x) * jnp.sin(x)


RIGHT: dict[str, tuple[Any, dict]] = {
    "uses scan": (in_a_scan, {"requires": ("scan", "add")}),
    "of one size": (in_a_scan, {"same_size_for": [(LONGER,)]}),
    "once in the scan's body": (in_a_scan, {"at_most": {"add": 1}}),
    "under jit": (jax.jit(in_a_scan), {"requires": ("scan",), "forbids": ("while",)}),
    "of a gradient": (jax.grad(lambda x: jnp.sin(x).sum()), {"requires": ("cos",)}),
    "few": (jax.jit(jnp.sin), {"max_equations": 1}),
    "small": (lambda x: jnp.outer(x, x).sum(), {"max_elements": LONGER.size**2}),
    "used in an inner function": (
        lambda x: jax.jit(lambda y: (jnp.sin(y), jnp.cos(y)))(x)[1],
        {"requires": ("cos",)},
    ),
    "static argument": (
        lambda x, n: x**n,
        {"forbids": ("while",), "requires": ("integer_pow",)},
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_program_passes(name: str) -> None:
    f, demands = RIGHT[name]
    if name == "static argument":
        check_primitives(f, X, 3, static_argnums=(1,), **demands)
    else:
        check_primitives(f, X, **demands)


WRONG: dict[str, tuple[Any, dict, str, str]] = {
    "loop for a scan": (
        in_a_loop,
        {"requires": ("scan",)},
        "the program does not use `scan`",
        "`scan`",
    ),
    "dead code": (
        lambda x: (x.astype(bool), jax.lax.scan(lambda c, y: (c, y), 0.0, x))[0],
        {"requires": ("scan",)},
        "the result of `scan` is not used",
        "`scan`",
    ),
    "dead code in an inner function": (
        lambda x: jax.jit(lambda y: (jnp.sin(y), jnp.cos(y)))(x)[0],
        {"requires": ("cos",)},
        "the result of `cos` is not used",
        "`cos`",
    ),
    "dead code in a loop": (
        lambda x: jax.lax.scan(lambda c, y: (c + y, (jnp.cos(y), c)[1]), 0.0, x),
        {"requires": ("cos",)},
        "the result of `cos` is not used",
        "`cos`",
    ),
    "unrolled whole": (
        lambda x: jax.lax.scan(lambda c, y: (c + y, c), 0.0, x, unroll=x.size),
        {"requires": ("scan",)},
        "`scan` is unrolled whole, so the program has no loop",
        "`scan`",
    ),
    "a large intermediate value": (
        lambda x: jnp.outer(x, x) @ x,
        {"max_elements": X.size},
        f"the program holds an intermediate value of {X.size**2} elements",
        f"no intermediate value of more than {X.size} elements",
    ),
    "forbidden": (jnp.mean, {"forbids": ("div",)}, "the program uses `div`", "no `div`"),
    "forbidden in a branch": (
        lambda x: jax.lax.cond(x.sum() > 0, lambda y: y / 3, lambda y: y, x),
        {"forbids": ("div",)},
        "the program uses `div`",
        "no `div`",
    ),
    "forbidden in a jit in a scan": (
        lambda x: jax.lax.scan(lambda c, r: (jax.jit(jnp.tan)(r), None), 0.0, x),
        {"forbids": ("tan",)},
        "the program uses `tan`",
        "no `tan`",
    ),
    "unrolled": (
        in_a_loop,
        {"same_size_for": [(LONGER,)]},
        "the program grows with the input: 9 equations for one size, 15 for another",
        "as many operations for inputs of other sizes",
    ),
    "unrolled by scan": (
        unrolled_scan,
        {"same_size_for": [(LONGER,)]},
        "`scan` is unrolled whole, so the program has no loop",
        "as many operations for inputs of other sizes",
    ),
    "computed twice": (
        twice,
        {"at_most": {"sin": 1}},
        "the program uses `sin` 2 times, where 1 would do",
        "`sin` at most 1 times",
    ),
    "too long": (
        in_a_loop,
        {"max_equations": 4},
        "the program has 9 equations, where 4 would do",
        "at most 4 operations",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_program_is_named(name: str) -> None:
    f, demands, says, expected = WRONG[name]
    failed = failure(check_primitives, f, X, **demands)
    assert says in failed.diagnosis
    assert failed.expected == expected
    assert failed.at.endswith("= [1, 1, 1]")


def test_what_the_program_is_made_of_is_shown() -> None:
    failed = failure(check_primitives, twice, X, requires=("cos",))
    assert failed.requirement == "uses the right operations"
    assert failed.got == "mul 1, sin 2"
    assert "jax.make_jaxpr" in failed.next_step
    assert failure(check_primitives, lambda x: x, X, requires=("cos",)).got == "no operation"


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (lambda x: jnp.asarray(np.sin(x)), "a NumPy function was given a traced array"),
        (lambda x: "x", "the function returns 'x', instead of arrays"),
        (lambda x: jnp.zeros(x.sum().astype(int)), "needs a concrete value while it is traced"),
    ],
    ids=["NumPy", "string", "size from data"],
)
def test_a_function_that_cannot_be_traced_is_named(f: Any, says: str) -> None:
    assert says in failure(check_primitives, f, X, requires=("sin",)).diagnosis
