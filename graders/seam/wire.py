"""Plain data as bytes, in a format without code: what a student's process may send.

A message is a length (8 bytes, big-endian) and a MessagePack body of tagged lists. Whatever is
malformed, too long or of an unknown kind is a `ProtocolError`, and nothing is allocated before
its length has been checked.

The shape of a reply is written once, as the return type of its probe: the dataclasses among these
types, and the types of their fields, are what is encoded, decoded and checked here.
"""

from __future__ import annotations

import dataclasses
import struct
import types
from collections.abc import Callable
from functools import cache
from typing import Any, BinaryIO, Literal, Protocol, Union, get_args, get_origin, get_type_hints

import ml_dtypes
import msgpack
import numpy as np

from graders.probes import PROBES, REPLIES
from graders.seam.protocol import GARBLED, Error, Result
from graders.values.plain import DEEPEST, Key, Leaf, Opaque, Record, is_numeric

LARGEST = 1 << 30
HEADER = struct.Struct(">Q")
RECORDS = {c.__name__: c for c in (Leaf, Key, Record, Opaque, Error, Result, *REPLIES)}


class Readable(Protocol):
    """Something that is read like a file of bytes."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


class ProtocolError(Exception):
    """A message that does not follow the format."""


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
    """The bytes of plain data, or of a reply."""
    return msgpack.packb(_encoded(value), use_bin_type=True) or b""


def unpack(body: bytes) -> Any:
    """The data in `body`.

    Raises:
        ProtocolError: it is anything else, or a field of a record has another type than declared.
    """
    try:
        return _decoded(msgpack.unpackb(body, strict_map_key=True), 0)
    except ProtocolError:
        raise
    except Exception as error:
        raise ProtocolError(f"not plain data: {type(error).__name__}") from error


# ---- encoding and decoding ----


def _encoded(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if isinstance(value, np.ndarray):
        return ["array", value.dtype.name, list(value.shape), value.tobytes()]
    if type(value).__name__ in RECORDS:
        parts = [_encoded(getattr(value, name)) for name in _fields(type(value))]
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
        raise ProtocolError("not a shape")
    return np.frombuffer(data, dtype).reshape(shape).copy()


def _dtype(name: Any) -> np.dtype:
    if type(name) is not str:
        raise ProtocolError("not a dtype")
    dtype = np.dtype(getattr(ml_dtypes, name)) if hasattr(ml_dtypes, name) else np.dtype(name)
    if not is_numeric(dtype):
        raise ProtocolError("not a dtype of numbers")
    return dtype


def _record(node: list, depth: int) -> Any:
    _, name, parts = node
    kind = RECORDS[name]
    if len(parts) != len(_fields(kind)):
        raise ProtocolError(f"a {name} with {len(parts)} fields")
    record = kind(*(_decoded(part, depth) for part in parts))
    if not fits(record, kind):
        raise ProtocolError(f"a {name} with a field of another type")
    if isinstance(record, Record) and len(record.fields) != len(record.children):
        raise ProtocolError("a record with more fields than children, or fewer")
    return record


def _sequence(kind: Callable[[Any], Any]) -> Callable[[list, int], Any]:
    return lambda node, depth: kind(_decoded(item, depth) for item in node[1])


def _dict(node: list, depth: int) -> dict:
    return {_decoded(key, depth): _decoded(value, depth) for key, value in node[1]}


DECODERS: dict[str, Callable[[list, int], Any]] = {
    "array": _array, "record": _record, "list": _sequence(list), "tuple": _sequence(tuple),
    "dict": _dict,
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
            such types. A dataclass is looked into.
    """
    if declared is Any:
        return True
    origin, inner = get_origin(declared), get_args(declared)
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
    hints = get_type_hints(kind)
    # A type parameter stands for whatever a probe returns, which is checked once its name is known.
    return {f.name: Any if _is_open(hints[f.name]) else hints[f.name] for f in _of(kind)}


def _of(kind: Any) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(kind)


def _is_open(hint: Any) -> bool:
    return bool(getattr(hint, "__parameters__", ())) or hint is Any


@cache
def _returned(probe: str) -> Any:
    return get_type_hints(PROBES[probe])["return"] if probe in PROBES else Any
