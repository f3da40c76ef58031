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
from graders.seam.protocol import LONGEST_LINE, LONGEST_MESSAGE, MOST_BASES, Error, Result
from graders.seam.wire import ProtocolError, pack, unpack
from graders.tests.test_plain import Layer, Point
from graders.values.compare import same
from graders.values.plain import MOST, Key, Leaf, Opaque, Record, plain

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
            [*wire.KINDS, *wire.RECORDS, "object", "finfo", "O", "U4", "M8[s]", "i4,f4", "int4"]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(st.sampled_from([*wire.KINDS]), st.lists(inner, max_size=4)).map(list),
        st.tuples(
            st.just("record"), st.sampled_from([*wire.RECORDS]), st.lists(inner, max_size=5)
        ).map(list),
        st.tuples(
            st.just("array"),
            st.sampled_from(["float32", "object", "bfloat16", "U4", "finfo", "V8"]),
            st.lists(st.integers(-1, 2**40), max_size=3),
        ).map(list),
    ),
    max_leaves=12,
)


def message(node: Any, contents: bytes = b"") -> bytes:
    """A message whose structure is `node`, whatever that is."""
    packed: Any = node if type(node) is bytes else msgpack.packb(node)
    return wire.PREFIX.pack(len(packed)) + packed + contents


@given(nodes, st.binary(max_size=32))
@settings(max_examples=400)
def test_a_message_of_the_right_words_in_any_order(node: Any, contents: bytes) -> None:
    outcome(message([node], contents))


LEAF = ["record", "Leaf", [["array", "int8", [1]], "jax", True]]
PROGRAM = [
    *[["dict", [["sin", 1]]]] * 2, 1, 4, *[["list", []]] * 2, "", ["list", []], 0,
]  # fmt: skip


def program(place: int, value: Any) -> bytes:
    """The facts of a program, one of which is another one."""
    return message(["record", "Program", [*PROGRAM[:place], value, *PROGRAM[place + 1 :]]])


REFUSED = {
    "a primitive that is not there": program(0, ["dict", [["sin", 0]]]),
    "a negative count": program(0, ["dict", [["sin", 1], ["cos", -1]]]),
    "a primitive used less than never": program(1, ["dict", [["sin", -3]]]),
    "a count that is a truth value": program(0, ["dict", [["sin", True]]]),
    "a count that is no integer": program(0, ["dict", [["sin", 1.0]]]),
    "a negative number of equations": program(2, -1),
    "a negative largest size": program(3, -1),
    "a collective of fewer than no bytes": message(["record", "Collective", ["all-reduce", -4]]),
    "a donation that reuses less than nothing": message(
        ["record", "Donation", [True, ["list", []], -8]]
    ),
    "a map": message({"a": 1}),
    "an extension": message(msgpack.ExtType(5, b"x")),
    "bytes in the structure": message([b""]),
    "an unknown word": message(["set", [1]]),
    "an array of objects": message(["array", "object", [1]], b"\0" * 8),
    "an array of strings": message(["array", "U1", [1]], b"\0" * 4),
    "an array of dates": message(["array", "datetime64[s]", [1]], b"\0" * 8),
    "a dtype with fields": message(["array", ",".join(["i1"] * 100_000), [0]]),
    "a dtype of the other order": message(["array", ">i4", [1]], b"\0" * 4),
    "a class that is no dtype": message(["array", "finfo", [1]], b"\0" * 8),
    "a negative size": message(["array", "int8", [-1]], b"abc"),
    "a shape that does not fit": message(["array", "int8", [2**40]], b"abc"),
    "a shape that is a word": message(["array", "int8", "abc"], b"abc"),
    "too many axes": message(["array", "int8", [1] * 65], b"a"),
    "a size without end": message(["array", "int8", [2**63] * 1000], b"a"),
    "a length that does not fit": message(["bytes", 4], b"abc"),
    "a negative length": message(["bytes", -1], b"abc"),
    "contents that nothing asks for": message(None, b"abc"),
    "a leaf from nowhere": message([*LEAF[:2], [LEAF[2][0], "jex", True]], b"a"),
    "a leaf of text": message(["record", "Leaf", ["x", "jax", True]]),
    "a record short of fields": message(["record", "Leaf", [None]]),
    "a record of more fields than children": message(
        ["record", "Record", ["P", ["tuple", ["x"]], ["tuple", []]]]
    ),
    "an error that is none": message(["record", "Result", [None, 3]]),
    "an error of ours": message(["record", "SeamError", ["TimeLimit", ["tuple", []], "", ""]]),
    "a record of another class": message(["record", "Popen", [None]]),
    "a key that is a list": message(["dict", [[["list", []], 1]]]),
    "a key that is a tuple": message(["dict", [[["tuple", [1]], 1]]]),
    "depth": message(b"\x92\xa4list\x91" * 300 + b"\xc0"),
    "a claimed length": message(b"\xdd\xff\xff\xff\xff\xc0"),
    "a claimed size": message(b"\xc6\xff\xff\xff\xff\xc0"),
    "more than one message": message(b"\xc0\xc0"),
    "a structure that is cut short": wire.PREFIX.pack(100) + b"\xc0",
    "a structure that is too long": message(["a" * wire.LARGEST_STRUCTURE]),
    "too many values": message(["list", [None] * (wire.MOST_NODES + 1)]),
    "nothing": b"",
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


def test_the_facts_of_a_program_are_read() -> None:
    assert unpack(program(2, 1)).primitives == {"sin": 1}


@pytest.mark.parametrize(("found", "is_of_the_type"), [([0, 2], True), ([-1, 2], False)])
def test_counts_in_a_list_are_no_less_than_declared(found: list[int], is_of_the_type: bool) -> None:
    assert (wire.checked("traces", Result(found)).error is None) == is_of_the_type


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


@pytest.mark.parametrize("value", [1.5, np.float32(2), [3]], ids=lambda one: type(one).__name__)
def test_as_many_values_as_a_structure_may_have_are_few_bytes(value: Any) -> None:
    many = plain({f"w{number}": value for number in range(MOST // 2 - 1)})
    assert same(unpack(pack(many)), many)


def test_a_result_that_is_too_large_is_not_sent() -> None:
    for value in (np.zeros(wire.LARGEST_CONTENTS + 1, np.int8), ["a" * wire.LARGEST_STRUCTURE]):
        with pytest.raises(wire.TooLarge, match="more than"):
            pack(value)


def test_an_error_is_cut_on_arrival() -> None:
    long = "x" * 50_000
    error = unpack(pack(Error(long, (long,) * 9 + ("A",) * 100, long, long)))
    assert len(error.message) < 2 * LONGEST_MESSAGE
    assert max(map(len, (error.type, error.line, *error.bases))) <= LONGEST_LINE
    assert len(error.bases) <= MOST_BASES


def test_every_dtype_of_numbers_is_known_by_its_name() -> None:
    names = {np.dtype(one).name for one in DTYPES}
    assert names <= wire.DTYPES.keys()
    assert {name: dtype.name for name, dtype in wire.DTYPES.items()} == {n: n for n in wire.DTYPES}


@pytest.mark.parametrize("value", [object(), {1, 2}, np.sin, 1j], ids=lambda v: type(v).__name__)
def test_no_code_and_no_objects_are_packed(value: Any) -> None:
    with pytest.raises(TypeError, match="does not cross"):
        pack(value)
