"""Plain data as bytes, in a format without code: what a student's process may send.

A message is a length (8 bytes, big-endian) and a body. The body of a reply is a structure and the
bytes that belong to it, one after the other: the length of the structure (4 bytes, big-endian), a
MessagePack value of tagged lists, and the contents of the arrays in it in their order. So what can
become many objects is short, and what is long is copied as it is. Whatever is malformed, too long
or of an unknown kind is a `ProtocolError`, and nothing is allocated before its length has been
checked.

The shape of a reply is written once, as the return type of its probe: the dataclasses among these
types, and the types of their fields, are what is encoded, decoded and checked here.
"""

from __future__ import annotations

import dataclasses
import math
import struct
import types
from collections.abc import Callable
from functools import cache
from typing import (
    Annotated,
    Any,
    BinaryIO,
    Literal,
    Protocol,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import ml_dtypes
import msgpack
import numpy as np

from graders.probes import PROBES, REPLIES
from graders.seam.protocol import GARBLED, Error, Result
from graders.values.plain import (
    DEEPEST,
    MOST,
    MOST_ELEMENTS,
    AtLeast,
    IsPlain,
    Key,
    Leaf,
    Opaque,
    Record,
    extent,
    is_numeric,
    is_plain,
)

LARGEST = 1 << 30  # bytes of a request
LARGEST_STRUCTURE, LARGEST_CONTENTS = 1 << 20, 64 << 20  # bytes of a reply
MOST_NODES = 10 * MOST  # values of a structure, and what describes them
MOST_AXES = 64  # as NumPy has it
HEADER, PREFIX = struct.Struct(">Q"), struct.Struct(">I")
LARGEST_REPLY = PREFIX.size + LARGEST_STRUCTURE + LARGEST_CONTENTS
RECORDS = {c.__name__: c for c in (Leaf, Key, Record, Opaque, Error, Result, *REPLIES)}


def _numeric() -> dict[str, np.dtype]:
    """NumPy's dtypes of numbers, and those that JAX adds, by their names."""
    added = (getattr(ml_dtypes, name) for name in ml_dtypes.__all__)
    every = [*"?bBhHiIlLqQefdgFDG", *(one for one in added if isinstance(one, type))]
    names = (np.dtype(one).name for one in every if one not in (ml_dtypes.finfo, ml_dtypes.iinfo))
    found = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in names}
    return {name: dtype for name, dtype in found.items() if is_numeric(dtype)}


DTYPES = _numeric()


class Readable(Protocol):
    """Something that is read like a file of bytes."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


class ProtocolError(Exception):
    """A message that does not follow the format."""


class TooLarge(Exception):
    """The result is larger than a check reads."""


# ---- messages ----


def write(stream: BinaryIO, body: bytes) -> None:
    stream.write(HEADER.pack(len(body)) + body)
    stream.flush()


def read(stream: Readable, largest: int = LARGEST) -> bytes:
    """The next message's body.

    Raises:
        EOFError: the other side is gone.
        ProtocolError: the message is longer than `largest` bytes.
    """
    (length,) = HEADER.unpack(_exactly(stream, HEADER.size))
    if length > largest:
        raise ProtocolError(f"a message of {length} bytes")
    return _exactly(stream, length)


def _exactly(stream: Readable, length: int) -> bytes:
    parts = []
    while length:
        part = stream.read(min(length, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def pack(value: Any) -> bytes:
    """The bytes of plain data, or of a reply.

    Raises:
        TooLarge: the other side would not read them.
    """
    contents: list[bytes] = []
    structure = msgpack.packb(_encoded(value, contents)) or b""
    if len(structure) > LARGEST_STRUCTURE or sum(map(len, contents)) > LARGEST_CONTENTS:
        raise TooLarge(f"more than {MOST:,} values, long names or {LARGEST_CONTENTS >> 20} MB")
    return b"".join([PREFIX.pack(len(structure)), structure, *contents])


def unpack(body: bytes) -> Any:
    """The data in `body`.

    Raises:
        ProtocolError: it is anything else, or a field of a record has another type than declared.
    """
    try:
        (length,) = PREFIX.unpack_from(body)
        if length > LARGEST_STRUCTURE:
            raise ProtocolError(f"a structure of {length} bytes")
        rest = memoryview(body)[PREFIX.size :]
        if length > len(rest):
            raise ProtocolError("a structure cut short")
        decoder = _Decoder(rest[length:])
        node = msgpack.unpackb(rest[:length], max_bin_len=0, max_map_len=0, max_ext_len=0)
        value = decoder.decoded(node, 0)
        decoder.check_end()
        return value
    except ProtocolError:
        raise
    except Exception as error:
        raise ProtocolError(f"not plain data: {type(error).__name__}") from error


# ---- encoding and decoding ----


def _encoded(value: Any, contents: list[bytes]) -> Any:
    """The structure of `value`; what is long in it is added to `contents`."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is bytes:
        contents.append(value)
        return ["bytes", len(value)]
    if isinstance(value, np.ndarray):
        contents.append(value.tobytes())
        return ["array", value.dtype.name, list(value.shape)]
    if type(value).__name__ in RECORDS:
        parts = [_encoded(getattr(value, name), contents) for name in _fields(type(value))]
        return ["record", type(value).__name__, parts]
    if isinstance(value, dict):
        pairs = [[_encoded(k, contents), _encoded(v, contents)] for k, v in value.items()]
        return ["dict", pairs]
    if isinstance(value, list | tuple):
        return [type(value).__name__, [_encoded(item, contents) for item in value]]
    raise TypeError(f"{type(value).__name__} does not cross")


class _Decoder:
    """Decodes one structure, and takes from `contents` what belongs to it."""

    def __init__(self, contents: memoryview) -> None:
        self.contents, self.position, self.nodes = contents, 0, 0

    def decoded(self, node: Any, depth: int) -> Any:
        self.nodes += 1
        if depth > 4 * DEEPEST or self.nodes > MOST_NODES:
            raise ProtocolError("nested too deep, or too many values")
        if node is None or type(node) in (bool, int, float, str):
            return node
        if type(node) is not list or not node or node[0] not in KINDS:
            raise ProtocolError("an unknown kind of value")
        return KINDS[node[0]](self, node, depth + 1)

    def check_end(self) -> None:
        """Returns if all contents have been taken."""
        if self.position < len(self.contents):
            raise ProtocolError("more contents than the structure has")

    def _taken(self, length: int) -> memoryview:
        if length > len(self.contents) - self.position:
            raise ProtocolError("fewer contents than the structure has")
        self.position += length
        return self.contents[self.position - length : self.position]

    def _bytes(self, node: list, depth: int) -> bytes:
        _, length = node
        if type(length) is not int or length < 0:
            raise ProtocolError("not a length")
        return bytes(self._taken(length))

    def _array(self, node: list, depth: int) -> np.ndarray:
        _, name, shape = node
        if type(name) is not str or name not in DTYPES:
            raise ProtocolError("not a dtype of numbers")
        if type(shape) is not list or len(shape) > MOST_AXES:
            raise ProtocolError("not a shape")
        if any(type(size) is not int or size < 0 for size in shape):
            raise ProtocolError("not a shape")
        if extent(shape) > MOST_ELEMENTS:
            raise ProtocolError("an array with too many elements")
        content = self._taken(math.prod(shape) * DTYPES[name].itemsize)
        return np.frombuffer(content, DTYPES[name]).reshape(shape).copy()

    def _record(self, node: list, depth: int) -> Any:
        _, name, parts = node
        kind = RECORDS[name]
        if len(parts) != len(_fields(kind)):
            raise ProtocolError(f"a {name} with {len(parts)} fields")
        record = kind(*(self.decoded(part, depth) for part in parts))
        if not fits(record, kind):
            raise ProtocolError(f"a {name} with a field of another type")
        if isinstance(record, Record) and len(record.fields) != len(record.children):
            raise ProtocolError("a record with more fields than children, or fewer")
        return record.cut() if isinstance(record, Error) else record

    def _list(self, node: list, depth: int) -> list:
        return [self.decoded(item, depth) for item in node[1]]

    def _tuple(self, node: list, depth: int) -> tuple:
        return tuple([self.decoded(item, depth) for item in node[1]])

    def _dict(self, node: list, depth: int) -> dict:
        if any(type(key) not in (str, int) for key, _ in node[1]):
            raise ProtocolError("a key that is no text and no integer")
        return {key: self.decoded(value, depth) for key, value in node[1]}


KINDS: dict[str, Callable[[_Decoder, Any, int], Any]] = {
    "bytes": _Decoder._bytes, "array": _Decoder._array, "record": _Decoder._record,
    "list": _Decoder._list, "tuple": _Decoder._tuple, "dict": _Decoder._dict,
}  # fmt: skip


# ---- types ----


def checked(probe: str, reply: Any) -> Result:
    """`reply` as the result of `probe`; an error where it is not what the probe returns."""
    if isinstance(reply, Error):
        return Result(error=reply)
    if not isinstance(reply, Result):
        return Result(error=GARBLED)
    return reply if reply.error or fits(reply.value, _returned(probe)) else Result(error=GARBLED)


def fits(value: Any, declared: Any) -> bool:
    """Whether `value` is of the declared type, exactly: no subclass, and True is not an int.

    Args:
        value: decoded data.
        declared: a class, `Any`, a Literal, a union, or a list, tuple (`tuple[X, ...]`) or dict of
            such types. A dataclass is looked into. A type may be annotated with `AtLeast` or
            `IsPlain`.
    """
    if declared is Any:
        return True
    origin, inner = get_origin(declared), get_args(declared)
    if origin is Annotated:
        if IsPlain in inner[1:]:
            return is_plain(value)
        bounds = [rule.bound for rule in inner[1:] if isinstance(rule, AtLeast)]
        return fits(value, inner[0]) and all(value >= bound for bound in bounds)
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return any(value is one or (type(value) is str and value == one) for one in inner)
    if origin in (list, tuple) and type(value) is origin:
        return all(fits(item, inner[0]) for item in value)
    if origin is dict and type(value) is dict:
        return all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
    if type(value) is not (declared or types.NoneType):
        return False
    return all(fits(getattr(value, name), one) for name, one in _fields(declared).items())


@cache
def _fields(kind: Any) -> dict[str, Any]:
    """The fields of a dataclass with their types; none for other classes."""
    if not dataclasses.is_dataclass(kind):
        return {}
    hints = get_type_hints(kind, include_extras=True)
    # A type parameter stands for whatever a probe returns, which is checked once its name is known.
    return {f.name: Any if _is_open(hints[f.name]) else hints[f.name] for f in _of(kind)}


def _of(kind: Any) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(kind)


def _is_open(hint: Any) -> bool:
    return bool(getattr(hint, "__parameters__", ())) or hint is Any


@cache
def _returned(probe: str) -> Any:
    if probe not in PROBES:
        return Any
    return get_type_hints(PROBES[probe], include_extras=True)["return"]
