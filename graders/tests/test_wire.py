"""The wire: plain data comes back exactly; anything else is a ProtocolError, and stays small."""

from __future__ import annotations

import io
import tracemalloc
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from graders.seam import wire
from graders.seam.protocol import Error, Result
from graders.seam.wire import ProtocolError, pack, unpack
from graders.tests.test_plain import Layer, Point
from graders.values.compare import same
from graders.values.plain import Key, Leaf, Opaque, Record, plain

DTYPES = [*"?bBhHiIlLefdFD", ml_dtypes.bfloat16, ml_dtypes.float8_e5m2, ml_dtypes.int4]
texts = st.text(max_size=8)
origins = st.sampled_from(["jax", "numpy", "python"])


@st.composite
def numbers(draw: st.DrawFn) -> np.ndarray:
    shape = draw(arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    bits = draw(arrays.arrays(np.uint8, (*shape, 16)))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    if dtype in (np.dtype(bool), np.dtype(ml_dtypes.int4)):
        return np.asarray(bits[..., 0] % 2).astype(dtype)  # of a scalar, a scalar comes out
    return np.ascontiguousarray(bits[..., : dtype.itemsize]).view(dtype)[..., 0]


leaf = st.one_of(
    st.none(),
    texts,
    st.builds(Leaf, numbers(), origins, st.booleans()),
    st.builds(Key, texts, arrays.arrays(np.uint32, (2,))),
    st.builds(Opaque, texts, st.booleans()),
)


@st.composite
def records(draw: st.DrawFn, inner: st.SearchStrategy) -> Record:
    children = draw(st.lists(inner, max_size=3))
    fields = draw(st.lists(texts, min_size=len(children), max_size=len(children)))
    return Record(draw(texts), tuple(fields), tuple(children))


plain_data = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(texts, st.integers(-(2**63), 2**64 - 1)), inner, max_size=4),
        records(inner),
    ),
    max_leaves=8,
)
errors = st.builds(Error, texts, st.lists(texts, max_size=3).map(tuple), texts, texts)
results = st.one_of(st.builds(Result, plain_data), st.builds(Result, st.none(), errors))


@given(plain_data)
def test_plain_data_comes_back_exactly(value: Any) -> None:
    assert same(unpack(pack(value)), value)


@given(results)
def test_results_come_back_exactly(result: Result) -> None:
    back = unpack(pack(result))
    assert isinstance(back, Result)
    assert back.error == result.error
    assert same(back.value, result.value)


@pytest.mark.parametrize(
    "value",
    [
        jnp.ones(3, jnp.bfloat16),
        jax.random.split(jax.random.key(1)),
        Point(1, (2.5, None)),
        Layer({"w": jnp.ones((2, 0))}, [np.int8(3)]),
        {"a": [True, "é", {3: ()}]},
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6)[::2],
        np.array([1, 2], ">i4"),
        {-(2**70): 1, "\ud800": 2},
        (np.sin, object(), 10**400),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_functions_return_comes_back_exactly(value: Any) -> None:
    assert same(unpack(pack(plain(value))), plain(value))


SAMPLE = pack(
    Result(
        {
            "program": [Leaf(np.arange(6.0).reshape(2, 3), "jax"), Opaque("a tracer")],
            "key": Key("threefry2x32", np.zeros(2, np.uint32)),
            "record": Record("Point", ("x",), (Leaf(np.ones(2, ml_dtypes.bfloat16), "numpy"),)),
            "names": ("a", None, 3, 2.5, True),
        }
    )
)


def outcome(body: bytes) -> None:
    """A message is plain data or a ProtocolError; it never costs much more than its length."""
    tracemalloc.start()
    try:
        pack(unpack(body))
    except ProtocolError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1_000_000 + 200 * len(body)


@pytest.mark.parametrize("length", range(0, len(SAMPLE), 7))
def test_a_message_cut_short(length: int) -> None:
    with pytest.raises(ProtocolError):
        unpack(SAMPLE[:length])


@given(position=st.integers(0, len(SAMPLE) - 1), byte=st.integers(0, 255))
@settings(max_examples=400)
def test_a_message_with_one_byte_changed(position: int, byte: int) -> None:
    outcome(SAMPLE[:position] + bytes([byte]) + SAMPLE[position + 1 :])


@given(st.binary(max_size=60))
@settings(max_examples=300)
def test_a_message_of_any_bytes(body: bytes) -> None:
    outcome(body)


nodes = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 2**64 - 1),
        st.floats(),
        st.binary(max_size=8),
        st.sampled_from(
            [*wire.DECODERS, *wire.RECORDS, "object", "finfo", "O", "U4", "M8[s]", "i4,f4", "int4"]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(st.sampled_from([*wire.DECODERS]), st.lists(inner, max_size=4)).map(list),
        st.tuples(
            st.just("record"), st.sampled_from([*wire.RECORDS]), st.lists(inner, max_size=5)
        ).map(list),
        st.tuples(
            st.just("array"),
            st.sampled_from(["float32", "object", "bfloat16", "U4", "finfo", "V8"]),
            st.lists(st.integers(-1, 2**40), max_size=3),
            st.binary(max_size=16),
        ).map(list),
    ),
    max_leaves=12,
)


@given(nodes)
@settings(max_examples=400)
def test_a_message_of_the_right_words_in_any_order(node: Any) -> None:
    packed: Any = msgpack.packb(node)
    outcome(packed)


REFUSED = {
    "a map": msgpack.packb({"a": 1}),
    "an extension": msgpack.packb(msgpack.ExtType(5, b"x")),
    "an unknown word": msgpack.packb(["set", [1]]),
    "an array of objects": msgpack.packb(["array", "object", [1], b"\0" * 8]),
    "an array of strings": msgpack.packb(["array", "U1", [1], b"\0" * 4]),
    "a negative size": msgpack.packb(["array", "int8", [-1], b"abc"]),
    "a shape that does not fit": msgpack.packb(["array", "int8", [2**40], b"abc"]),
    "a shape that is a word": msgpack.packb(["array", "int8", "abc", b"abc"]),
    "a leaf from nowhere": pack([Leaf(np.ones(1), "jax")]).replace(b"\xa3jax", b"\xa3jex"),
    "a leaf of text": msgpack.packb(["record", "Leaf", ["x", "jax", True]]),
    "a record short of fields": msgpack.packb(["record", "Leaf", [None]]),
    "a record of more fields than children": msgpack.packb(
        ["record", "Record", ["P", ["tuple", ["x"]], ["tuple", []]]]
    ),
    "an error that is none": msgpack.packb(["record", "Result", [None, 3]]),
    "a record of another class": msgpack.packb(["record", "Popen", [None]]),
    "a key that is a list": msgpack.packb(["dict", [[["list", []], 1]]]),
    "depth": msgpack.packb(None) and b"\x92\xa4list\x91" * 300 + b"\xc0",
    "a claimed length": b"\xdd\xff\xff\xff\xff\xc0",
    "a claimed size": b"\xc6\xff\xff\xff\xff\xc0",
    "more than one message": pack(None) + pack(None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_plain_data_is_refused(name: str) -> None:
    with pytest.raises(ProtocolError):
        unpack(REFUSED[name])
    outcome(REFUSED[name])


class Endless(io.RawIOBase):
    """A stream that claims what it does not hold, and counts what is asked of it."""

    def __init__(self, claimed: int) -> None:
        self.left, self.asked = io.BytesIO(wire.HEADER.pack(claimed) + b"abc"), 0

    def read(self, size: int = -1) -> bytes:
        self.asked = max(self.asked, size)
        return self.left.read(size)


def test_a_claimed_length_is_not_allocated() -> None:
    with pytest.raises(ProtocolError, match="bytes"):
        wire.read(Endless(2**40))
    stream = Endless(2**29)
    with pytest.raises(EOFError):
        wire.read(stream)
    assert stream.asked <= 1 << 20


def test_a_stream_of_messages() -> None:
    stream = io.BytesIO()
    for body in (b"", b"abc", b"x" * 3_000_000):
        wire.write(stream, body)
    stream.seek(0)
    assert [len(wire.read(stream)) for _ in range(3)] == [0, 3, 3_000_000]
    with pytest.raises(EOFError):
        wire.read(stream)


@pytest.mark.parametrize("value", [object(), {1, 2}, np.sin, 1j], ids=lambda v: type(v).__name__)
def test_no_code_and_no_objects_are_packed(value: Any) -> None:
    with pytest.raises(TypeError, match="does not cross"):
        pack(value)
