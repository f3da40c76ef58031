"""`show_cache` from outside: which calls hit, which are traced again, and the reason given."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bs4 import BeautifulSoup
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from graders import show_cache
from graders.notebook import cache_view
from graders.notebook.cache_view import Call, table_of

X = jnp.arange(3.0)


def scaled(x, n=1):
    return x * n


def results(f: Any, calls: list[Any]) -> list[str]:
    return [call.result for call in table_of(f, calls)]


def why(f: Any, before: Any, call: Any) -> str:
    """Why a call is traced again after another one."""
    first, second = table_of(f, [before, call])
    assert (first.result, second.result) == ("first", "retrace")
    return second.why


def total(tree):
    return sum(tree)


static = jax.jit(scaled, static_argnames="n")


def with_precision(f: Any) -> None:
    with jax.default_matmul_precision("highest"):
        f(X)


@pytest.mark.parametrize(
    ("f", "before", "call", "reason"),
    [
        (scaled, X, jnp.ones(4), "shape of `x`: float32[4], before float32[3]"),
        (scaled, X, jnp.arange(3), "dtype of `x`: int32[3], before float32[3]"),
        (scaled, jnp.float32(1), 1.0, "weak type of `x`: ~float32[], before float32[]"),
        (scaled, X, 1, "shape and dtype and weak type of `x`: ~int32[], before float32[3]"),
        (static, (X, 1), (X, 2), "static `n` is 2, before 1"),
        (static, (X, 1), (X, 1.0), "static `n` is 1.0, before 1 (of type float, before int)"),
        (static, (X, True), (X, 1), "static `n` is 1, before True (of type int, before bool)"),
        (static, X, lambda f: f(x=X), "`x` is given by keyword, before by position"),
        (static, X, (X, 1), "`n` is given, and was not before"),
        (static, (X, 1), X, "`n` is not given, and was before"),
        (total, [X], [X, X], "the structure of `tree` is [*, *], before [*]"),
        (total, [X, X], [X, X > 1], "dtype of `tree[1]`: bool[3], before float32[3]"),
        (scaled, X, with_precision, ""),
    ],
)
def test_the_reason_for_a_retrace(f: Any, before: Any, call: Any, reason: str) -> None:
    assert why(f, before, call).startswith(f"unlike call 1: {reason}")


def test_a_change_of_the_configuration_is_explained_by_jax() -> None:
    found = why(scaled, X, with_precision)
    assert "jax_default_matmul_precision" in found or "configuration" in found


def test_what_the_cache_does_not_look_at_is_a_hit() -> None:
    calls = [X, jnp.zeros(3), np.ones(3, np.float32), np.ones(3), X]
    assert results(scaled, calls) == ["first", "hit", "hit", "hit", "hit"]
    assert results(scaled, [1.0, 2.0, 3.0]) == ["first", "hit", "hit"]
    assert results(lambda d: d["a"], [{"a": 1, "b": 2}, {"b": 1, "a": 2}]) == ["first", "hit"]


def test_a_call_is_compared_with_the_one_that_differs_least() -> None:
    calls = [X, jnp.arange(5), (X, 2), lambda f: f(X, n=3), lambda f: f(X, n=4)]
    assert [call.why.split(":")[0] for call in table_of(static, calls)[1:]] == [
        "unlike call 1",
        "unlike call 1",
        "unlike call 3",
        "unlike call 4",
    ]


def test_a_hit_names_the_call_that_was_traced() -> None:
    calls = table_of(scaled, [X, jnp.ones(4), jnp.zeros(4), jnp.zeros(3)])
    assert [call.why for call in calls if call.result == "hit"] == ["like call 2", "like call 1"]


def test_a_hit_may_be_compiled_again_for_another_sharding() -> None:
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    x = jnp.arange(8.0)
    placed = [jax.device_put(x, NamedSharding(mesh, spec)) for spec in (P("data"), P(), P("data"))]
    calls = table_of(scaled, placed)
    assert [call.result for call in calls] == ["first", "compiled", "hit"]
    assert "`x` is partitioned as" in calls[1].why


def test_the_sharding_of_an_explicit_mesh_is_in_the_type() -> None:
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    x = jnp.arange(8.0)
    split, whole = (jax.device_put(x, NamedSharding(mesh, spec)) for spec in (P("data"), P()))
    assert "sharding of `x`: float32[8], before float32[8@data]" in why(scaled, split, whole)


def test_an_error_is_a_row_and_the_next_call_runs() -> None:
    def signed(x):
        return x if x > 0 else -x

    first, second = table_of(jax.jit(signed, static_argnames="x"), [(1,), (2,)])
    assert (first.result, second.result) == ("first", "retrace")
    raised, again = table_of(signed, [1.0, 2.0])
    assert raised.result == again.result == "error"
    assert raised.why.startswith("TracerBoolConversionError: ")


def test_an_error_outside_of_the_function_is_raised() -> None:
    def broken(f):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        show_cache(scaled, [broken])


def test_the_cache_is_empty_at_first_and_what_is_compiled_is_not_used_elsewhere() -> None:
    runs = []

    @jax.jit
    def counted(x):
        runs.append(x)
        return x

    counted(X)
    assert results(counted, [X, X]) == ["first", "hit"]
    assert results(counted, [X]) == ["first"]
    counted(X)
    assert len(runs) == 3


def test_a_donated_buffer_is_an_error_in_the_next_call() -> None:
    stepped = jax.jit(lambda x: x + 1, donate_argnums=0)
    x = jnp.arange(5.0)
    assert results(stepped, [x, x]) == ["first", "error"]


@pytest.mark.parametrize(("f", "calls"), [(3, [X]), (scaled, X), (scaled, "x")])
def test_wrong_arguments_are_named(f: Any, calls: Any) -> None:
    with pytest.raises(TypeError, match="show_cache takes a"):
        show_cache(f, calls)


def test_the_profiler_of_the_process_stays(capsys) -> None:
    import sys

    def profiler(frame, event, arg):
        return None

    before = sys.getprofile()
    sys.setprofile(profiler)
    try:
        show_cache(scaled, [X])
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(before)


def test_the_call_is_shown_with_its_types(capsys) -> None:
    show_cache(static, [(X, 2), lambda f: f({"a": X}["a"], n=3), lambda f: f(x=1.0)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[::2] == [
        "1  scaled(float32[3], 2)",
        "2  scaled(float32[3], n=3)",
        "3  scaled(x=~float32[])",
    ]


def test_long_arguments_are_cut() -> None:
    [call] = table_of(lambda tree: tree[0], [[X] * 50])
    assert len(call.text) < 100


def test_the_table_in_html_says_the_results_in_words() -> None:
    calls = [Call("f(<b>)", result, "why `x` <i>") for result in cache_view.RESULTS]
    soup = BeautifulSoup(cache_view.html(calls), "html.parser")
    assert soup.find(["b", "i"]) is None
    rows = [row.find_all("td")[2].text for row in soup.select("tbody tr")]
    assert rows == list(cache_view.RESULTS.values())
    assert all(any(letter.isalpha() for letter in row) for row in rows)
    assert {code.text for code in soup.select("td:last-child code")} == {"x"}


def test_equal_static_values_that_print_differently_are_a_hit_like_the_first_call() -> None:
    chosen = frozenset([0, 8]), frozenset([8, 0])
    assert repr(chosen[0]) != repr(chosen[1])
    picked = jax.jit(lambda x, rows: x[jnp.array(sorted(rows))], static_argnames="rows")
    calls = [(jnp.arange(9.0), rows) for rows in chosen]
    assert [(call.result, call.why) for call in table_of(picked, calls)][1] == (
        "hit",
        "like call 1",
    )
