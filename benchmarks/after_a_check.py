"""Whether a student's own jitted function is as fast after a check as before it.

    python benchmarks/after_a_check.py [ROUNDS]

For each function: the time of a call of a jitted function that no check has seen, beside that of
one that was first compiled inside a check, in turn. The ratio should be 1. A check compiles with
fewer optimisations; before its programs were kept apart the ratio of the scan was 6 to 8.
"""

import statistics
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from graders import check_shape

CALLS = 20


def chain(x: jax.Array) -> jax.Array:
    for _ in range(20):
        x = jnp.tanh(x) + jnp.exp(-x)
    return x


def product(x: jax.Array) -> jax.Array:
    square = x[: 300 * 300].reshape(300, 300)
    return jnp.tanh(square @ square) @ square


def scan(x: jax.Array) -> jax.Array:
    def step(carry: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.tanh(carry + row), carry

    return jax.lax.scan(step, jnp.zeros(100), x[:100_000].reshape(1000, 100))[1]


def jitted_anew(function: Callable) -> Callable:
    """The function under a jit that shares no program with another: JAX caches by the function."""
    return jax.jit(lambda x: function(x))


def checked(function: Callable, x: np.ndarray) -> Callable:
    """The jitted function, first called by a check."""
    jitted = jitted_anew(function)
    shape = jax.eval_shape(function, x).shape
    check_shape(jitted, x, returns=" ".join(map(str, shape)))
    return jitted


def seconds(function: Callable, x: jax.Array) -> float:
    """The time of one call, once it is compiled."""
    jax.block_until_ready(function(x))
    begun = time.perf_counter()
    for _ in range(CALLS):
        jax.block_until_ready(function(x))
    return (time.perf_counter() - begun) / CALLS


def main(rounds: int) -> None:
    x = np.random.default_rng(0).standard_normal(300_000).astype(np.float32)
    on_device = jnp.asarray(x)
    print(f"{'function':10} {'ratio':>6}  milliseconds of a call: after a check, without")
    for function in (chain, product, scan):
        pairs = [(checked(function, x), jitted_anew(function)) for _ in range(rounds)]
        times = [(seconds(after, on_device), seconds(fresh, on_device)) for after, fresh in pairs]
        after, fresh = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{function.__name__:10} {after / fresh:6.2f}  {1e3 * after:8.2f} {1e3 * fresh:8.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
