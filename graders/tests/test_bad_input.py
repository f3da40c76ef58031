"""Whatever stands in an answer's place, every check fails in words that a student understands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from graders import (
    CheckFailed,
    check_answer,
    check_batched,
    check_collectives,
    check_distribution,
    check_donates,
    check_dtype,
    check_gradients,
    check_keys,
    check_primitives,
    check_pure,
    check_shape,
    check_sharding,
    check_traces,
    check_training,
    check_values,
    result_of,
    through,
)
from graders.tests.failing import failure

X = np.ones((3, 2), np.float32)
ONE_DEVICE = jax.sharding.SingleDeviceSharding(jax.devices()[0])

CHECKS: dict[str, Callable[[Any], None]] = {
    "shape": lambda f: check_shape(f, X, returns="3 2"),
    "dtype": lambda f: check_dtype(f, X, returns="float32"),
    "values": lambda f: check_values(f, lambda x: x, [(X,)]),
    "gradients": lambda f: check_gradients(f, X),
    "pure": lambda f: check_pure(f, X),
    "traces": lambda f: check_traces(f, [(X,), (X,)]),
    "primitives": lambda f: check_primitives(f, X, requires=("sin",)),
    "keys": lambda f: check_keys(f, jax.random.key(0)),
    "distribution": lambda f: check_distribution(f, X, cdf=lambda x: x > 0),
    "batched": lambda f: check_batched(f, [(X,), (X + 1,)]),
    "sharding": lambda f: check_sharding(f, X, expected=ONE_DEVICE),
    "collectives": lambda f: check_collectives(f, X, exactly={"all-reduce": 1}),
    "training": lambda f: check_training(f, X, losses=lambda result: result[1]),
    "donates": lambda f: check_donates(f, X),
    "answer": lambda value: check_answer(value, "the right one"),
}
CALLING = [name for name in CHECKS if name != "answer"]  # these call what they judge
INPUTS = {"keys": "= a key", "batched": "[[1, 1], [1, 1], [1, 1]], [[2, 2], [2, 2], [2, 2]]]"}


class Thing:
    pass


class NoWords(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Stop(BaseException):
    pass


def raises(error: BaseException) -> Callable:
    def f(x):
        raise error

    return f


def chatters(x):
    print("word " * 200_000)
    print("word " * 200_000, file=sys.stderr)
    raise ValueError("word " * 200_000)


def itself(x):
    inside = [x]
    inside += [inside, inside]
    return inside


def deep(x):
    for _ in range(2000):
        x = [x]
    return x


def yields(x):
    yield x


NO_FUNCTIONS = {
    "a number": (3, "the name holds 3"),
    "None": (None, "the name holds None"),
    "an array": (jnp.ones(3), "the name holds [1, 1, 1]"),
    "a string": ("relu", "the name holds 'relu'"),
    "an object": (Thing(), "the name holds an object of type Thing"),
    "a module": (np, "the name holds an object of type module"),
    "a list": ([jnp.sin], "the name holds [a function]"),
}


@pytest.mark.parametrize("check", CALLING)
@pytest.mark.parametrize("name", NO_FUNCTIONS)
def test_no_function(name: str, check: str) -> None:
    answer, says = NO_FUNCTIONS[name]
    failed = failure(CHECKS[check], answer)
    assert failed.diagnosis == f"a function is asked for, and {says}"
    assert "`def`" in failed.next_step


@pytest.mark.parametrize("check", CALLING)
@pytest.mark.parametrize("answer", [..., raises(NotImplementedError())], ids=["...", "raise"])
def test_the_placeholder(answer: Any, check: str) -> None:
    with pytest.raises(CheckFailed, match="not answered yet") as caught:
        CHECKS[check](answer)
    assert not caught.value.answered


def test_what_jax_has_not_implemented_is_an_answer() -> None:
    failed = failure(CHECKS["pure"], raises(NotImplementedError("Differentiation rule for 'x'")))
    assert failed.answered
    assert failed.diagnosis == "the code raised NotImplementedError: Differentiation rule for 'x'"


BROKEN = {
    "a class": (Thing, "arguments than it is given: Thing() takes no arguments"),
    "one argument more": (lambda x, y: x, "missing 1 required positional argument: 'y'"),
    "no argument": (lambda: 1, "takes 0 positional arguments but 1 was given"),
    "keyword only": (lambda x, *, y: x, "missing 1 required keyword-only argument: 'y'"),
    "an exception without words": (raises(NoWords()), "the code raised NoWords: (no message)"),
    "an exception with too many": (chatters, "the code raised ValueError: word word"),
    "sys.exit": (raises(SystemExit(0)), "the answer stops the whole program"),
    "an exception of its own": (raises(Stop()), "the code raised Stop"),
    "a name that is not there": (
        lambda x: y,  # pyright: ignore[reportUndefinedVariable]
        "the code raised NameError: name 'y' is not",
    ),
    "recursion": (lambda x: BROKEN["recursion"][0](x), "the function calls itself without end"),
    "assertion": (raises(AssertionError()), "the code raised AssertionError"),
    "half a character": (raises(ValueError("\ud800")), "the code raised ValueError: ?"),
    "called value": (lambda x: x(1), "something is called that is not a function"),
}


@pytest.mark.parametrize("check", CALLING)
@pytest.mark.parametrize("name", BROKEN)
def test_a_function_that_breaks(name: str, check: str) -> None:
    f, says = BROKEN[name]
    failed = failure(CHECKS[check], f)
    assert says in failed.diagnosis
    assert failed.got.startswith("an exception, ")
    assert failed.at.endswith(INPUTS.get(check, "= [[1, 1], [1, 1], [1, 1]]"))


RESULTS = {
    "None": (lambda x: None, "nothing was returned"),
    "a function": (lambda x: jnp.sin, "a function was returned instead"),
    "a generator": (yields, "an object of type generator instead"),
    "a list of itself": (itself, "a list instead"),
    "a deep list": (deep, "a list instead"),
    "a long list": (lambda x: [1.0] * 200_000, "a list instead"),
    "a string": (lambda x: "s" * 10_000, "a string instead"),
    "bytes": (lambda x: b"abc", "an object of type bytes instead"),
    "a set": (lambda x: {1, 2}, "an object of type set instead"),
    "an object": (lambda x: Thing(), "an object of type Thing instead"),
    "a class": (lambda x: Thing, "a function was returned instead"),
    "an exception": (lambda x: ValueError("x"), "an object of type ValueError instead"),
    "the placeholder": (lambda x: ..., "the placeholder `...` instead"),
    "a dict of objects": (lambda x: {(1, 2): Thing()}, "an object of type dict instead"),
    "a large integer": (lambda x: 10**400, "an integer too large for an array instead"),
    "objects in an array": (lambda x: np.array([1, "a", None], object), "a NumPy array of objects"),
    "strings in an array": (lambda x: np.array(["a"]), "a NumPy array of strings instead"),
    "dates in an array": (lambda x: np.zeros(2, "M8[s]"), "a NumPy array of dates instead"),
    "records in an array": (lambda x: np.zeros(2, "i4,f4"), "a NumPy array of records instead"),
}


UNANSWERED = ("None", "the placeholder")
OBJECTS = {
    **{name: answer for name, (answer, _) in (NO_FUNCTIONS | BROKEN).items()},
    **{f"returned: {name}": f for name, (f, _) in RESULTS.items()},
}


@pytest.mark.parametrize("name", [name for name in OBJECTS if not name.endswith(UNANSWERED)])
def test_any_object_is_a_wrong_answer_to_a_question(name: str) -> None:
    answer = OBJECTS[name](X) if name.startswith("returned") else OBJECTS[name]
    assert failure(CHECKS["answer"], answer).diagnosis == "not what happens"


@pytest.mark.parametrize("check", ["shape", "dtype", "values", "gradients"])
@pytest.mark.parametrize("name", RESULTS)
def test_a_result_that_is_no_array(name: str, check: str) -> None:
    f, says = RESULTS[name]
    failed = failure(CHECKS[check], f)
    assert says in failed.diagnosis


TRACEABLE = ("None", "a long list")


@pytest.mark.parametrize("check", ["pure", "primitives"])
@pytest.mark.parametrize("name", [name for name in RESULTS if name not in TRACEABLE])
def test_a_result_that_cannot_be_traced(name: str, check: str) -> None:
    failed = failure(CHECKS[check], RESULTS[name][0])
    assert "the function returns" in failed.diagnosis
    assert failed.diagnosis.endswith("instead of arrays: it cannot be traced")


def test_a_tracer_that_escaped() -> None:
    kept: list = []
    jax.jit(lambda x: kept.append(x) or x)(X)
    for check in ("shape", "dtype", "values", "gradients"):
        assert "a tracer escaped" in failure(CHECKS[check], lambda x: kept[0]).diagnosis
    assert "a tracer escaped" in failure(CHECKS["pure"], lambda x: kept[0] + 1).diagnosis


def test_the_interrupt_from_the_keyboard_is_no_answer() -> None:
    with pytest.raises(KeyboardInterrupt):
        CHECKS["shape"](raises(KeyboardInterrupt()))


@pytest.mark.parametrize("check", CALLING)
def test_a_function_that_returns_no_function(check: str) -> None:
    failed = failure(CHECKS[check], result_of(lambda scale: None, 2.0))
    assert failed.diagnosis == "a function is asked for, and what it returned is None"
    failed = failure(CHECKS[check], result_of(raises(ValueError("no")), 2.0))
    assert failed.diagnosis == "the code raised ValueError: no"


def test_a_class_whose_wrapper_breaks() -> None:
    failed = failure(CHECKS["values"], through(lambda make, x: make(x).apply(x), Thing))
    assert "another number of arguments" in failed.diagnosis
    failed = failure(CHECKS["values"], through(lambda make, x: make().apply(x), Thing))
    assert "'Thing' object has no attribute 'apply'" in failed.diagnosis


def test_output_is_kept_off_the_page(capsys: pytest.CaptureFixture) -> None:
    for check in CHECKS:
        failure(CHECKS[check], chatters)
    jax.effects_barrier()
    assert capsys.readouterr() == ("", "")


def test_donated_arguments_are_there_for_the_next_check() -> None:
    given = jnp.arange(3.0)
    donating = jax.jit(lambda x: x + 1, donate_argnums=0)
    for _ in range(2):
        check_values(donating, lambda x: x + 1, [(given,)])
        check_pure(donating, given)
        check_shape(donating, given, returns="3")
    again = failure(
        partial(check_values, oracle=lambda x: x, cases=[(given,)]), use_after(donating)
    )
    assert "an array is used after it was donated" in again.diagnosis
    assert given.sum() == 3


def use_after(donating: Callable) -> Callable:
    def f(x):
        donating(x)
        return donating(x)

    return f


KEY, MESH = jax.random.key(0), jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
SPLIT, COUNTS, KEPT = NamedSharding(MESH, P("data")), {"calls": 0}, []


def recurses(x):
    return recurses(x - 1)


def loops_over_a_tracer(x):
    return sum(i for i in range(x.sum().astype(int)))


def loops_over_elements(x):
    return sum(element for row in x for element in row)


def keeps_a_tracer(x):
    KEPT.append(x.sum())
    return x


def prints_a_megabyte(x):
    print("a" * 1_000_000)
    return x


def counts_its_calls(x):
    COUNTS["calls"] += 1
    return x


def closes_over_a_key(key):
    return jax.random.normal(KEY, (5,))


def reads_a_key_twice(key):
    return [jax.random.normal(KEY, (5,)) + jax.random.normal(key, (5,)) for _ in range(2)]


def lies_elsewhere(x):
    return jax.device_put(x, NamedSharding(MESH, P()))


NAMED: dict[str, tuple[Callable[[], None], str]] = {
    "recursion": (
        lambda: check_pure(recurses, X),
        "the function calls itself without end",
    ),
    "a loop over a tracer": (
        lambda: check_pure(loops_over_a_tracer, X),
        "a traced value is used as a Python integer",
    ),
    "a loop over elements": (
        lambda: check_primitives(loops_over_elements, X, same_size_for=[(np.ones((5, 2)),)]),
        "the program grows with the input",
    ),
    "a tracer that is kept": (lambda: check_pure(keeps_a_tracer, X), "it keeps a tracer in 'KEPT'"),
    "a megabyte": (lambda: check_pure(prints_a_megabyte, X), "it prints while it is traced ('aaa"),
    "a global": (
        lambda: check_pure(counts_its_calls, X),
        "it changes the global or outer name 'COUNTS'",
    ),
    "a key of its own": (
        lambda: check_keys(closes_over_a_key, KEY),
        "the numbers do not depend on the key",
    ),
    "two draws of one key": (lambda: check_keys(reads_a_key_twice, KEY), "a key is used twice"),
    "right numbers elsewhere": (
        lambda: check_sharding(lies_elsewhere, np.ones(16), expected=SPLIT),
        "the result is replicated: every device holds all of it, where each should hold a part",
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_people_do_is_named(name: str) -> None:
    check, says = NAMED[name]
    assert says in failure(check).diagnosis
