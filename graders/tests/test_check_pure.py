"""check_pure: whatever a function does beside returning a value is found, wherever it hides."""

from __future__ import annotations

import functools
import itertools
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.core import Tracer
from jax.experimental import io_callback

from graders import check_pure, through
from graders.tests.failing import failure

X = np.arange(6, dtype=np.float32).reshape(3, 2)
PARAMS = {"w": X, "layers": [1.0, 2.0]}

count, last, total = 0, None, jnp.zeros(2)
kept: list = []
state = {"n": 0}
cache: dict = {}
generator = np.random.default_rng(0)
key = jax.random.key(0)
ids = itertools.count()


class Model:
    calls = 0

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: jax.Array) -> jax.Array:
        self.calls += 1
        return x


class Box:
    n = 0


box = Box()


# ---- functions that do nothing but return a value ----


def pads(x):
    rows = []
    for row in x:
        rows.append(row)
    rows.append(rows[0])
    return jnp.stack(rows)


def counts_for_itself(x):
    n = 0

    def more():
        nonlocal n
        n += 1
        return n

    return x * more() + more()


@functools.lru_cache
def table(n):
    return np.arange(n)


@jax.custom_jvp
def clipped(x):
    return jnp.clip(x, 0, 1)


clipped.defjvps(lambda tangent, _, x: tangent)

RIGHT = {
    "jnp": lambda x: jnp.tanh(x) @ jnp.asarray(np.arange(4.0).reshape(2, 2)),
    "jitted": jax.jit(lambda x: x + 1),
    "partial": functools.partial(lambda a, x: a * x, 2.0),
    "local list": pads,
    "local counter": counts_for_itself,
    "inner jit": lambda x: jax.jit(lambda y: y * 2)(x),
    "scan": lambda x: jax.lax.scan(lambda c, row: (c + row, c), jnp.zeros(2), x),
    "cond": lambda x: jax.lax.cond(x.sum() > 0, lambda y: y, lambda y: -y, x),
    "gradient": jax.grad(lambda x: (x**2).sum()),
    "custom_jvp": lambda x: clipped(x) * jax.nn.relu(x),
    "cached table": lambda x: x * table(2),
    "reads a global": lambda x: x + total,
    "fixed key": lambda x: x + jax.random.normal(jax.random.key(0), x.shape),
    "pure_callback": lambda x: jax.pure_callback(lambda a: a, x, x),
    "donating": jax.jit(lambda x: x + 1, donate_argnums=0),
    "bfloat16": lambda x: (jnp.tanh(x.astype(jnp.bfloat16)) * 3 - 1) ** 3,
    "integers and None": lambda x: (x.astype(int), None),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_pure_function_passes(name: str) -> None:
    check_pure(RIGHT[name], X)


def test_arguments_that_are_no_arrays() -> None:
    check_pure(lambda k, shape: jax.random.normal(k, shape), key, (3,), static_argnums=(1,))
    check_pure(lambda f, x, flag, word: f(x) if flag else x, jnp.sin, X, True, "word")
    check_pure(lambda x, n: x**n, X, 3, static_argnums=(1,))
    check_pure(lambda p: jax.tree.map(jnp.sin, p), PARAMS)
    check_pure(through(lambda make, x: make()(x), lambda: jnp.sin), X)


def test_a_number_may_be_static_for_the_students_jit() -> None:
    """Right, if slow for many numbers: the check names no argument as static."""

    @functools.partial(jax.jit, static_argnames="factor")
    def scaled(params, factor):
        return jax.tree.map(lambda leaf: factor * leaf, params)

    check_pure(scaled, PARAMS, 0.5)
    check_pure(lambda params, factor: scaled(params, factor), PARAMS, 2)

    def counted(params, factor):
        state["n"] += 1
        return scaled(params, factor)

    assert "'state'" in failure(check_pure, counted, PARAMS, 0.5).diagnosis
    failed = failure(check_pure, scaled, PARAMS, jnp.float32(0.5))
    assert failed.diagnosis.startswith("a static argument is an array or a list, or is traced")


# ---- and functions that do more ----


def counter_in_a_global(x):
    global count
    count += 1
    return x


@jax.jit
def counter_under_jit(x):
    global count
    count += 1
    return x


def nonlocal_counter():
    n = 0

    def f(x):
        nonlocal n
        n += 1
        return x

    return f


def counter_in_an_attribute(x):
    itself: Any = counter_in_an_attribute
    itself.calls = getattr(itself, "calls", 0) + 1
    return x


def counter_in_a_class(x):
    Model.calls += 1
    return x


def counter_in_an_object(x):
    box.n += 1
    return x


def default_argument(x, seen=[]):  # noqa: B006
    seen.append(1)
    return x


@jax.jit
def inner_that_counts(x):
    state["n"] += 1
    return x * state["n"]


def body_that_counts(carry, row):
    global count
    count += 1
    return carry + count, None


@jax.jit
def inner_noise(x):
    return x + np.random.default_rng().normal(size=(3, 2))


def body_with_noise(carry, row):
    return carry + np.random.default_rng().normal(size=2), None


def noise_in_a_local_jit(x):
    @jax.jit
    def noisy(y):
        return y + np.random.default_rng().normal(size=(3, 2))

    return noisy(x)


def prints(x):
    print("inside")
    return x


def prints_to_stderr(x):
    print("inside", file=sys.stderr)
    return x


def debug_prints(x):
    jax.debug.print("x = {}", x)
    return x


def appends(x):
    kept.append(x + 1)
    return x


def keeps_in_a_global(x):
    global last
    last = x
    return x


def splits_a_global_key(x):
    global key
    key, half = jax.random.split(key)
    return x + jax.random.normal(half, x.shape)


def remembers(x):
    if "ones" not in cache:
        cache["ones"] = jnp.ones(2)
    return x * cache["ones"]


def keeps_in_a_default(x, seen=[]):  # noqa: B006
    seen.append(x)
    return x


def behaves_while_traced(x):
    return x if isinstance(x, Tracer) else 2 * x


def changes_a_dict(p):
    p["w"] = p["w"] * 2
    return p


def pops(p):
    return p.pop("w")


def appends_to_its_argument(p):
    p["layers"].append(3.0)
    return p["w"]


WRONG = {
    "counter in a global": (counter_in_a_global, "it changes the global or outer name 'count'"),
    "counter under @jit": (counter_under_jit, "it changes the global or outer name 'count'"),
    "nonlocal counter": (nonlocal_counter(), "it changes the global or outer name 'n'"),
    "function attribute": (counter_in_an_attribute, "name 'counter_in_an_attribute.calls'"),
    "class attribute": (counter_in_a_class, "it changes the global or outer name 'Model.calls'"),
    "attribute of an object": (counter_in_an_object, "it changes the global or outer name 'box'"),
    "attribute of itself": (Model(), "it changes the global or outer name 'self'"),
    "default argument": (default_argument, "'default_argument default 1'"),
    "read and changed in an inner jit": (
        lambda x: inner_that_counts(x),
        "it changes the global or outer name 'state'",
    ),
    "read and changed in a scan": (
        lambda x: jax.lax.scan(body_that_counts, x[0], x)[0],
        "it changes the global or outer name 'count'",
    ),
    "np.random": (lambda x: x + np.random.randn(3, 2), "it draws host random numbers"),
    "np.random.seed": (lambda x: np.random.seed(0) or x, "it draws host random numbers"),
    "random": (lambda x: x * random.random(), "it draws host random numbers"),
    "global generator": (lambda x: x + generator.normal(), "name 'generator'"),
    "fresh generator": (
        lambda x: x + np.random.default_rng().normal(size=x.shape),
        "two traces differ in their constants",
    ),
    "noise in an inner jit": (lambda x: inner_noise(x), "two traces differ in their constants"),
    "noise in a local jit": (noise_in_a_local_jit, "two traces differ in their constants"),
    "noise in a scan": (
        lambda x: jax.lax.scan(body_with_noise, x[0], x)[0],
        "two traces differ in their constants",
    ),
    "noise as a number": (
        lambda x: x + float(np.random.default_rng().normal()),
        "two traces differ in their operations",
    ),
    "os.urandom": (lambda x: x + os.urandom(4)[0] + os.urandom(4)[1] / 256, "two traces differ"),
    "clock": (lambda x: x * (time.perf_counter_ns() % 100_003), "two traces differ"),
    "iterator": (lambda x: x + next(ids), "two traces differ"),
    "print": (prints, "it prints while it is traced ('inside')"),
    "print to stderr": (prints_to_stderr, "it prints while it is traced"),
    "jax.debug.print": (debug_prints, "it has a side effect in its program"),
    "io_callback": (lambda x: io_callback(lambda a: a, x, x), "it has a side effect in its"),
    "tracer in a list": (appends, "it keeps a tracer in 'kept' after its trace has ended"),
    "tracer in a global": (keeps_in_a_global, "it keeps a tracer in 'last'"),
    "key in a global": (splits_a_global_key, "it keeps a tracer in 'key'"),
    "memory": (remembers, "it keeps a tracer in 'cache'"),
    "tracer in a default": (keeps_in_a_default, "it keeps a tracer in 'keeps_in_a_default def"),
    "behaves while traced": (behaves_while_traced, "it computes something else while it is traced"),
    "another structure while traced": (
        lambda x: x if isinstance(x, Tracer) else (x, x),
        "it computes something else while it is traced",
    ),
    "if": (lambda x: x if x.sum() > 0 else -x, "a Python `if` or `while` looks at a traced value"),
    "NumPy": (lambda x: jnp.asarray(np.sin(x)), "a NumPy function was given a traced array"),
    "float": (lambda x: x * float(x[0, 0]), "needs a concrete value while it is traced"),
    "mask": (lambda x: x[x > 2].sum(), "a boolean mask selects an unknown number of elements"),
    "in place": (lambda x: x.__setitem__(0, 1) or x, "JAX arrays cannot be changed in place"),
    "returns a function": (lambda x: jnp.sin, "the function returns a function, instead of arrays"),
    "generator": (lambda x: (row for row in x), "the function returns an object of type generator"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_impure_function_is_named(name: str) -> None:
    f, says = WRONG[name]
    failed = failure(check_pure, f, X)
    assert says in failed.diagnosis
    assert failed.at.endswith("= [[0, 1], [2, 3], [4, 5]]")


@pytest.mark.parametrize(
    "f", [changes_a_dict, pops, appends_to_its_argument], ids=lambda f: f.__name__
)
def test_an_argument_that_is_changed_is_named(f: Callable) -> None:
    assert failure(check_pure, f, PARAMS).diagnosis == "it changes its argument number 1 in place"
    assert PARAMS["layers"] == [1.0, 2.0]
    assert PARAMS["w"] is X


def hosts_generators() -> tuple[list, tuple]:
    numpys: Any = np.random.get_state()  # declared to be a dict too
    return numpys[1].tolist(), random.getstate()


def test_a_check_leaves_no_mark_behind() -> None:
    """Else the student's next cell would meet a tracer, and not know why."""
    host = hosts_generators()
    names = dict(globals())
    before = count, dict(state), Model.calls, list(kept), dict(cache)
    for f, _ in WRONG.values():
        failure(check_pure, f, X)
    assert before == (count, state, Model.calls, kept, cache)
    assert all(globals()[name] is value for name, value in names.items())
    assert globals().keys() == names.keys()
    assert default_argument.__defaults__ == keeps_in_a_default.__defaults__ == ([],)
    assert not hasattr(counter_in_an_attribute, "calls")
    assert host == hosts_generators()


def test_a_tracer_from_before_is_told_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook where the student's own `jax.jit` has left one."""
    monkeypatch.setitem(globals(), "last", None)
    jax.jit(keeps_in_a_global)(X)
    failed = failure(check_pure, lambda x: x + last, X)
    assert "a tracer escaped" in failed.diagnosis
    check_pure(lambda x: x + 1 if last is None else x, X)


def test_the_words_of_an_impure_function() -> None:
    failed = failure(check_pure, counter_in_a_global, X)
    assert failed.requirement == "is pure, and can be traced"
    assert failed.diagnosis.endswith("compiled, it will do so only while it is traced")
    assert failed.next_step == "Take the value as an argument and return the new one."
