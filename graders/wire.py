"""Plain data as bytes, in a format without code: what a student's process may send.

A message is a length (8 bytes, big-endian) and a MessagePack body of tagged lists. Whatever is
malformed, too long or of an unknown kind is a `ProtocolError`, and nothing is allocated before
its length has been checked.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

import ml_dtypes
import msgpack
import numpy as np

from graders.observation import Error, Result
from graders.plain import DEEPEST, Key, Leaf, Opaque, Record, is_numeric

LARGEST = 1 << 30
HEADER = struct.Struct(">Q")
RECORDS: dict[str, type] = {c.__name__: c for c in (Leaf, Key, Record, Opaque, Error, Result)}
FIELDS = {
    Leaf: ("data", "origin", "weak"), Key: ("impl", "data"),
    Record: ("type", "fields", "children"), Opaque: ("type", "callable"),
    Error: ("type", "bases", "message", "line"), Result: ("value", "error"),
}  # fmt: skip
TEXTS = object()
TYPES: dict[type, tuple] = {
    Leaf: (np.ndarray, ("jax", "numpy", "python"), bool), Key: (str, np.ndarray),
    Record: (str, TEXTS, tuple), Opaque: (str, bool), Error: (str, TEXTS, str, str),
    Result: (object, Error | None),
}  # fmt: skip


class Readable(Protocol):
    """Something that is read like a file of bytes."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


class ProtocolError(Exception):
    """A message that does not follow the format."""


def write(stream: BinaryIO, body: bytes) -> None:
    stream.write(HEADER.pack(len(body)) + body)
    stream.flush()


def read(stream: Readable, largest: int = LARGEST) -> bytes:
    """The next message's body; EOFError where the other side is gone."""
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
    """The bytes of plain data."""
    return msgpack.packb(_encoded(value), use_bin_type=True) or b""


def unpack(body: bytes) -> Any:
    """The plain data in `body`; a ProtocolError for anything else."""
    try:
        return _decoded(msgpack.unpackb(body, strict_map_key=True), 0)
    except ProtocolError:
        raise
    except Exception as error:
        raise ProtocolError(f"not plain data: {type(error).__name__}") from error


def _encoded(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if isinstance(value, np.ndarray):
        return ["array", value.dtype.name, list(value.shape), value.tobytes()]
    if type(value) in FIELDS:
        parts = [_encoded(getattr(value, name)) for name in FIELDS[type(value)]]
        return ["record", type(value).__name__, parts]
    if isinstance(value, dict):
        return ["dict", [[_encoded(k), _encoded(v)] for k, v in value.items()]]
    if isinstance(value, list | tuple):
        return [type(value).__name__, [_encoded(item) for item in value]]
    raise TypeError(f"{type(value).__name__} does not cross")


def _decoded(node: Any, depth: int) -> Any:
    if depth > 4 * DEEPEST:
        raise ProtocolError("nested too deep")
    if node is None or type(node) in (bool, int, float, str, bytes):
        return node
    if type(node) is not list or not node or node[0] not in DECODERS:
        raise ProtocolError("an unknown kind of value")
    return DECODERS[node[0]](node, depth + 1)


def _array(node: list, depth: int) -> np.ndarray:
    _, name, shape, data = node
    dtype = _dtype(name)
    if type(shape) is not list or any(type(size) is not int or size < 0 for size in shape):
        raise ProtocolError("a shape that is none")
    return np.frombuffer(data, dtype).reshape(shape).copy()


def _dtype(name: Any) -> np.dtype:
    if type(name) is not str:
        raise ProtocolError("a dtype that is none")
    dtype = np.dtype(getattr(ml_dtypes, name)) if hasattr(ml_dtypes, name) else np.dtype(name)
    if not is_numeric(dtype):
        raise ProtocolError("a dtype that is none of numbers")
    return dtype


def _record(node: list, depth: int) -> Any:
    _, name, parts = node
    kind = RECORDS[name]
    if len(parts) != len(FIELDS[kind]):
        raise ProtocolError(f"a {name} with {len(parts)} fields")
    return _validated(kind(*(_decoded(part, depth) for part in parts)))


def _validated(record: Any) -> Any:
    """`record`, if each field holds what its class declares."""
    kind = type(record)
    values = [getattr(record, name) for name in FIELDS[kind]]
    if not all(map(_fits, values, TYPES[kind])):
        raise ProtocolError(f"a {kind.__name__} with a field of another type")
    if isinstance(record, Record) and len(record.fields) != len(record.children):
        raise ProtocolError("a record with more fields than children, or fewer")
    return record


def _fits(value: Any, meant: Any) -> bool:
    if meant is TEXTS:
        return type(value) is tuple and all(type(text) is str for text in value)
    if isinstance(meant, tuple):
        return value in meant
    return isinstance(value, meant)


def _sequence(kind: Callable[[Any], Any]) -> Callable[[list, int], Any]:
    return lambda node, depth: kind(_decoded(item, depth) for item in node[1])


def _dict(node: list, depth: int) -> dict:
    return {_decoded(key, depth): _decoded(value, depth) for key, value in node[1]}


DECODERS: dict[str, Callable[[list, int], Any]] = {
    "array": _array, "record": _record, "list": _sequence(list), "tuple": _sequence(tuple),
    "dict": _dict,
}  # fmt: skip
