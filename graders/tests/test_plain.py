"""plain: whatever a function returns, as data that cannot lie."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graders.values.plain import MOST, TOO_LARGE, Key, Leaf, Opaque, Record, leaves, plain

Point = namedtuple("Point", "x y")


@jax.tree_util.register_dataclass
@dataclass
class Layer:
    w: Any
    b: Any


class Liar(np.ndarray):
    def __eq__(self, other: object) -> bool:
        return True

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return np.zeros(3)


def test_numbers_know_where_they_come_from() -> None:
    for value, origin, weak in (
        (jnp.ones(2), "jax", False),
        (jnp.asarray(2.0), "jax", True),
        (np.ones(2), "numpy", False),
        (np.float32(2), "numpy", False),
        (2, "python", True),
        (2.5, "python", True),
        (True, "python", False),
        (1j, "python", True),
    ):
        leaf = plain(value)
        assert isinstance(leaf, Leaf)
        assert (leaf.origin, leaf.weak) == (origin, weak)
        assert np.array_equal(leaf.data, np.asarray(value))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn", "int4", "bool", "int8"])
def test_every_dtype_of_jax(dtype: str) -> None:
    leaf = plain(jnp.ones(3, dtype))
    assert leaf.data.dtype.name == dtype
    assert leaf.data.astype(int).tolist() == [1, 1, 1]


def test_the_byte_order_is_the_machines() -> None:
    leaf = plain(np.array([1.0, 2.0], ">f4"))
    assert leaf.data.dtype == np.dtype("=f4")
    assert leaf.data.tolist() == [1.0, 2.0]


def test_keys_are_their_words() -> None:
    for key in (jax.random.key(3), jax.random.split(jax.random.key(3))):
        found = plain(key)
        assert isinstance(found, Key)
        assert found.impl == "threefry2x32"
        assert np.array_equal(found.data, jax.random.key_data(key))


def test_containers_keep_their_kind() -> None:
    assert plain([None, ("a", {})]) == [None, ("a", {})]
    point = plain(Point(1, [2]))
    assert isinstance(point, Record)
    assert (point.type, point.fields) == ("Point", ("x", "y"))
    layer = plain(Layer(jnp.ones(2), {"c": None}))
    assert isinstance(layer, Record)
    assert (layer.type, layer.fields) == ("Layer", ("w", "b"))
    assert layer.children[1] == {"c": None}
    assert isinstance(plain(OrderedDict(a=1)), Record)


def test_paths_of_leaves() -> None:
    tree = {"layers": [Point(1, 2), Layer(3, (4,))], 5: None}
    paths = [path for path, _ in leaves(plain(tree))]
    assert paths == [
        "['layers'][0].x",
        "['layers'][0].y",
        "['layers'][1].w",
        "['layers'][1].b[0]",
        "[5]",
    ]


@pytest.mark.parametrize(
    ("value", "type_", "callable_"),
    [
        (np.sin, "ufunc", True),
        (Layer, "Layer", True),
        (object(), "object", False),
        ({1}, "set", False),
        (b"", "bytes", False),
        (..., "ellipsis", False),
        (10**30, "an integer too large for an array", False),
        (np.array([None]), "a NumPy array of objects", False),
        (np.array(["a"]), "a NumPy array of strings", False),
        (np.zeros(1, "i4,f4"), "a NumPy array of records", False),
        (np.datetime64("2020"), "a NumPy array of dates", False),
        (np.void(b"ab"), "a NumPy array of records", False),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_the_rest_is_a_name(value: Any, type_: str, callable_: bool) -> None:
    assert plain(value) == Opaque(type_, callable_)


def test_what_holds_itself_and_what_is_too_much() -> None:
    inside: list = [1]
    inside += [inside, inside]
    for endless in (inside, [[0.0] * 1000] * 1000):
        assert len(list(leaves(plain(endless)))) < 3 * MOST
    long = plain([0.0] * (2 * MOST))
    assert (len(long), long[-1]) == (MOST, Opaque(TOO_LARGE))
    deep: Any = 1
    for _ in range(5000):
        deep = (deep,)
    assert [leaf for _, leaf in leaves(plain(deep))] == [Opaque("a structure nested too deep")]


def test_objects_that_lie_are_not_asked() -> None:
    liar = np.ones(3).view(Liar)
    leaf = plain(liar)
    assert type(leaf.data) is np.ndarray
    assert leaf.data.tolist() == [1, 1, 1]

    class Text(str):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = str.__hash__

    assert plain(Text("a")) == Opaque("Text")
    assert plain({Text("a"): 1}) != {"a": plain(1)}


def test_a_leaf_is_a_copy() -> None:
    array = np.ones(2)
    leaf = plain(array)
    array[0] = 5
    assert leaf.data.tolist() == [1, 1]


def test_a_pytree_that_breaks_is_a_name() -> None:
    @jax.tree_util.register_pytree_node_class
    class Broken:
        def tree_flatten(self) -> Any:
            raise ValueError

        @classmethod
        def tree_unflatten(cls, aux: Any, children: Any) -> Any:
            raise ValueError

    assert plain([Broken()]) == [Opaque("Broken")]
    assert plain({(1, 2): 1, 3.5: 2, "a": 3}) == Opaque("dict")


def test_half_characters_are_replaced() -> None:
    assert plain("a\ud800") == "a?"
