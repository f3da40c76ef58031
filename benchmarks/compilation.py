"""What the speed-ups of grading bring on the JAX that is installed, for thirty small programs.

    python benchmarks/compilation.py [--rounds 5] [--option NAME=VALUE ...]

Lowering: with an MLIR context for each program, as JAX does it, and with one for all. Compiling, as
grading does it, with fewer optimisations: plainly, with each flag of XLA that grading sets, with
all that this XLA knows, and with each further option that is given. The ways are tried in turn,
in another order in each round, and compared within the round; the first round is left out. What is
counted is the processor's time, of all threads, which other work on the machine disturbs least.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
from jax._src.interpreters import mlir

from graders.values.jax_internals import FLAGS, LESS_OPTIMISED, knows_flag

FUNCTIONS: list[Callable] = [
    lambda x: jnp.sin(x) * 2 + 1,
    lambda x: (x - x.mean(0)) / (x.std(0) + 1e-6),
    jax.nn.softmax,
    lambda x: x @ x.T,
    lambda x: jax.lax.scan(lambda c, v: (c + v, c * v), x[0], x),
    lambda x: jax.lax.while_loop(lambda c: c.sum() < 100, lambda c: c * 1.5 + 1, x),
    jax.grad(lambda x: jnp.tanh(jnp.tanh(x @ jnp.ones((6, 16)) + 1) @ jnp.ones((16, 16))).sum()),
    lambda x: jax.random.normal(jax.random.key(0), x.shape) + x,
    lambda x: jnp.sort(x, 0),
    lambda x: jnp.cumsum(x, 0),
    jax.vmap(lambda row: jnp.where(row > 0, row, 0).sum()),
    lambda x: jnp.concatenate([x, x], 0)[::2],
    lambda x: jax.hessian(lambda row: (row**3).sum())(x[0]),
    lambda x: jax.nn.one_hot(jnp.argmax(x, 1), 5),
    lambda x: jnp.linalg.norm(x, axis=1).max(),
]
COUNT = 2 * len(FUNCTIONS)


def lowered(size: int) -> list[Any]:
    """Thirty programs, which no cache of JAX holds."""
    with jax.make_user_context(0)(size):
        return [
            jax.jit(lambda x, f=f: f(x)).lower(jnp.ones((size + n, 6)))
            for f in FUNCTIONS
            for n in (8, 16)
        ]


def contexts() -> dict[str, Callable]:
    theirs = mlir.make_ir_context
    of_one = getattr(mlir, "_create_ir_context", theirs)  # JAX 0.12 keeps what this makes
    return {"a context each": of_one, "as JAX does it": theirs, "one for all": cache(theirs)}


def lowering(make_context: Callable, size: int) -> float:
    mlir.make_ir_context = make_context
    begun = time.process_time()
    lowered(size)
    return time.process_time() - begun


def settings(given: list[str]) -> dict[str, dict[str, Any]]:
    known = {name: value for name, value in FLAGS.items() if knows_flag(name, value)}
    single = {f"{name}={value}": {name: value} for name, value in known.items()}
    return {"plainly": {}, **single, "with all of these": known, **dict(map(option, given))}


def option(text: str) -> tuple[str, dict[str, Any]]:
    name, _, value = text.partition("=")
    return text, {name: {"true": True, "false": False}.get(value, value)}


def compiling(options: dict[str, Any], size: int) -> float:
    programs = lowered(size)
    begun = time.process_time()
    for program in programs:
        program.compile(compiler_options=options or None)
    return time.process_time() - begun


def turns(names: list[str], rounds: int) -> Iterator[tuple[str, int]]:
    """Each name once a round, with the size of programs that have not been compiled yet."""
    for number in range(rounds):
        shift = number % len(names)
        for place, name in enumerate(names[shift:] + names[:shift]):
            yield name, 30 * (number * len(names) + place)


def compare(what: str, ways: dict[str, Callable[[int], float]], rounds: int) -> None:
    """Prints each way's milliseconds for a program, and its ratio to the first."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for name, size in turns(list(ways), rounds + 1):
        seconds[name].append(ways[name](size))
    first = next(iter(seconds.values()))[1:]
    for name, taken in seconds.items():
        ratio = median(mine / its for mine, its in zip(taken[1:], first, strict=True))
        each = 1000 * median(taken[1:]) / COUNT
        print(f"{what:9} {name:55} {each:6.1f} ms a program {ratio:6.2f}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    asked = arguments.parse_args()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update(LESS_OPTIMISED, True)
    print(f"JAX {jax.__version__}")
    lowering_ways = {name: partial(lowering, make) for name, make in contexts().items()}
    compare("lowering", lowering_ways, asked.rounds)
    compiling_ways = {name: partial(compiling, s) for name, s in settings(asked.option).items()}
    compare("compiling", compiling_ways, asked.rounds)


if __name__ == "__main__":
    main()
