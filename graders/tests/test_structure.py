"""What operations of StableHLO say of the primitives that a process has claimed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graders.grading.structure import Structure
from graders.probes.exports import Contents, ExportedProgram, contents, exported
from graders.probes.primitives import Program, program

X = np.arange(1.0, 7.0, dtype=np.float32)


def claim(
    used: dict[str, int] | None = None, equations: int | None = None, **counts: int
) -> Program:
    """What a process may claim, with as many equations as primitives where nothing is said."""
    counts = {name.replace("scatter_", "scatter-"): n for name, n in counts.items()}
    total = sum(counts.values()) if equations is None else equations
    return Program(counts, counts if used is None else used, total, 6, [], [], "", [], 0)


def has(largest: int = 6, **operations: int) -> Contents:
    """The contents of a program; a blank in the name of an operation is written as `__`."""
    return Contents({name.replace("__", " "): n for name, n in operations.items()}, largest, "")


PLAIN = claim(add=4)


@pytest.mark.parametrize(
    ("said", "found", "agrees"),
    [
        (PLAIN, has(add=4, constant=2), True),
        (PLAIN, has(add=400), False),
        (PLAIN, has(add=4, **{"while": 1}), False),
        (PLAIN, has(add=4, dot_general=1), False),
        (PLAIN, has(add=4, iota=1), False),
        (PLAIN, has(add=4, sine=1), False),
        (PLAIN, has(add=4, sort=1), False),
        (PLAIN, has(add=4, reduce_window__add=1), False),
        (PLAIN, has(add=4, scatter__add=1), False),
        (PLAIN, has(add=4, an_operation_of_tomorrow=1), False),
        (PLAIN, has(add=4, largest=12), True),
        (PLAIN, has(add=4, largest=13), False),
        (claim(scatter=1, add=3), has(add=4, scatter__add=1), False),
        (claim(scatter_add=1), has(scatter__add=1), True),
        (claim(scan=1, add=3), has(add=4), False),
        (claim(scan=1, add=3), has(add=4, **{"while": 1}), True),
        (claim(scan=1, add=3, used={"add": 3}), has(add=4), True),
        (claim(sort=1, add=3), has(add=3), False),
        (claim(shard_map=1, add=3), has(add=3), False),
        (claim(dot_general=1), has(dot_general=2), False),
        (claim(dot_general=1), has(add=2), False),
        (claim(random_bits=1), has(draw=1, iota=1, xor=9), True),
        (claim(random_bits=1, add=1), has(draw=1, add=4, **{"while": 1}), False),
        (claim(random_bits=1, add=1), has(draw=1, add=4, sine=1), False),
        (claim(argmax=1), has(iota=1, reduce=1), True),
        (claim(a_primitive_of_nobody=1), has(sine=1), False),
        (claim(mul=400), has(multiply=512, slice=1024, reshape=512), False),
        (claim(add=4, equations=3), has(add=4), False),
        (claim(add=4, used={"add": 5}), has(add=4), False),
        (claim(add=4, used={"scan": 1}), has(add=4, **{"while": 1}), False),
    ],
)
def test_what_primitives_can_become(said: Program, found: Contents, agrees: bool) -> None:
    assert Structure().agrees(said, found) == agrees


def test_a_value_may_be_as_large_as_the_inputs() -> None:
    assert Structure().agrees(PLAIN, has(add=4, largest=100), largest_input=50)
    assert not Structure().agrees(PLAIN, has(add=4, largest=101), largest_input=50)


def test_a_program_that_grows_is_not_as_long_as_before() -> None:
    structure = Structure()
    assert structure.agrees(PLAIN, has(add=10, slice=4))
    assert structure.agrees(PLAIN, has(add=11, slice=14))
    assert not structure.agrees(PLAIN, has(add=14))
    assert structure.agrees(claim(add=8), has(add=18))


def scanned(x: Any) -> Any:
    return jax.lax.scan(lambda c, v: (c + jnp.sin(v), c), jnp.float32(0), x)


def drawn(x: Any) -> Any:
    key = jax.random.fold_in(jax.random.key(0), 3)
    return jax.random.permutation(key, jax.random.normal(key, x.shape) + x)


TRUE = {
    "scan": scanned,
    "grad of scan": jax.grad(lambda x: scanned(x)[0]),
    "vmap of scan": jax.vmap(lambda x: scanned(x * X)),
    "jit in jit": jax.jit(lambda x: jax.jit(jnp.sort)(x) + jax.jit(jnp.argsort)(x)),
    "while": lambda x: jax.lax.while_loop(lambda c: c.sum() < 99, lambda c: 2 * c, x),
    "cond": lambda x: jax.lax.cond(x[0] > 0, jnp.cos, jnp.tan, x),
    "switch": lambda x: jax.lax.switch(jnp.int32(x[0]), [jnp.cos, jnp.tan, jnp.exp], x),
    "draws": drawn,
    "gamma": lambda x: jax.random.gamma(jax.random.key(0), x),
    "Poisson": lambda x: jax.random.poisson(jax.random.key(0), x),
    "choice": lambda x: jax.random.choice(jax.random.key(0), x, (3,), replace=False),
    "legacy keys": lambda x: x + jax.random.normal(jax.random.PRNGKey(0), x.shape),
    "gather": lambda x: x[jnp.argsort(x)[::-1]] + jnp.take(x, jnp.int32([1, 9])[0]),
    "scatter": lambda x: x.at[jnp.int32([1, 2])].add(1).at[3].set(2).at[::2].multiply(3),
    "apply": lambda x: x.at[0].apply(jnp.sin),
    "linear algebra": lambda x: jnp.linalg.solve(jnp.diag(x) + jnp.linalg.inv(jnp.diag(x)), x),
    "Cholesky": lambda x: jnp.linalg.cholesky(jnp.diag(x)) @ jnp.linalg.qr(jnp.outer(x, x))[0],
    "SVD": lambda x: jnp.linalg.svd(jnp.outer(x, x)),
    "special functions": lambda x: (
        jax.scipy.special.gammaln(x) + jax.scipy.special.betainc(x, x, x / 9)
    ),
    "norm": lambda x: jax.scipy.stats.norm.ppf(x / 9) + jax.nn.gelu(x) + jax.nn.softplus(x),
    "softmax": lambda x: jax.nn.log_softmax(x) + jax.nn.logsumexp(x),
    "cumulative": lambda x: jnp.cumsum(x) + jnp.cumprod(x) + jax.lax.cummax(x),
    "associative scan": lambda x: jax.lax.associative_scan(jnp.add, x),
    "integers": lambda x: jnp.int32(x) // 3 + jnp.int32(x) % 2 + jnp.int32(x) ** 3,
    "powers": lambda x: x**2 + x**-1 + x**0.5 + x**x + jnp.cbrt(x),
    "checkpoint": jax.grad(lambda x: jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)).sum())(x)),
    "custom rules": jax.grad(lambda x: jax.nn.relu(x).sum() + jnp.linalg.norm(x)),
    "top k": lambda x: jax.lax.top_k(x, 2),
    "histogram": lambda x: jnp.histogram(x, 3)[0] + jnp.bincount(jnp.int32(x), length=3),
    "search": lambda x: jnp.searchsorted(x, x / 2) + jnp.unique(jnp.int32(x), size=x.size),
    "FFT": lambda x: jnp.abs(jnp.fft.fft(x)),
    "convolution": lambda x: jnp.convolve(x, x, mode="same"),
    "pooling": jax.grad(
        lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (2,), (2,), "VALID").sum()
    ),
    "complex": lambda x: jnp.abs(jnp.exp(1j * x)) + jnp.angle(1j + x),
    "Newton": jax.hessian(lambda x: jnp.sum(jnp.tanh(x) ** 2)),
    "interpolation": lambda x: jnp.interp(x, jnp.sort(x), x) + jnp.median(x) + jnp.quantile(x, 0.3),
    "bits": lambda x: jax.lax.population_count(jax.lax.bitcast_convert_type(x, jnp.uint32)),
    "low precision": lambda x: (x.astype(jnp.bfloat16) @ x.astype(jnp.bfloat16)).astype(float),
    "dead code in a loop": lambda x: jax.lax.scan(
        lambda c, v: (c + v, (x @ x, c)[1]), jnp.float32(0), x
    ),
    "unrolled in part": lambda x: jax.lax.scan(
        lambda c, v: (c + v, c), jnp.float32(0), x, unroll=3
    ),
    "unrolled whole": lambda x: jax.lax.scan(
        lambda c, v: (c + v, c), jnp.float32(0), x[:3], unroll=3
    ),
    "dead code": lambda x: (jnp.sin(x), x)[1],
}


@pytest.mark.parametrize("name", TRUE)
def test_a_true_claim_agrees(name: str) -> None:
    structure, f = Structure(), TRUE[name]
    for x in (X, np.concatenate([X, X])):
        if name == "vmap of scan":
            x = np.ones((len(x), len(X)), np.float32)
        found = contents(ExportedProgram(exported(f, x)))
        assert structure.agrees(program(f, x), found, x.size), found.operations


HIDDEN = {
    "sin": lambda x: jnp.sin(x) + 1,
    "scan": scanned,
    "while": TRUE["while"],
    "sort": jnp.sort,
    "cumsum": jax.lax.cumsum,
    "cumlogsumexp": jax.lax.cumlogsumexp,
    "scatter-add": lambda x: x.at[0].add(1),
    "scatter": lambda x: x.at[0].set(1),
    "dot_general": lambda x: x @ x,
    "top_k": lambda x: jax.lax.top_k(x, 2),
    "reduce_window_sum": lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (2,), (1,), "SAME"),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_claim_that_leaves_a_primitive_out_does_not_agree(name: str) -> None:
    f = HIDDEN[name]
    said, found = program(f, X), contents(ExportedProgram(exported(f, X)))
    assert name in said.primitives
    assert Structure().agrees(said, found, X.size)
    forged = Program(**{**vars(said), **_left_out(said, name)})
    assert not Structure().agrees(forged, found, X.size)


def _left_out(said: Program, name: str) -> dict[str, Any]:
    counts = {other: n for other, n in said.primitives.items() if other != name} | {
        "random_bits": 1
    }
    return {"primitives": counts, "used": counts, "equations": sum(counts.values())}
