"""Readers of Avro bodies made from a schema: strict, bounded, and fast enough for every event.

fastavro takes a negative union or enum index for one counted from the end, any byte for a
boolean, a map key twice, and counts that overflow; two readers of one log must not differ in
such things. Here all of them are errors, and the work is bounded by the bytes that are there:
no type may take no bytes (but null in a union), none may contain itself, and a block counts no
more items than bytes are left.

Speed comes from two facts. A record whose parts are all absent is a run of zero bytes, read by
one comparison. And an Avro encoding is a prefix code: where the bytes of the value read last come
again, that value comes again (the same principal, the same resource in the next evaluation).
Values are immutable, so they are shared.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any

from schemas.catalogue import Schema
from schemas.errors import DecodeError

__all__ = ["Builders", "Reader", "compile_reader", "read_whole"]

Reader = Callable[[bytes, int], tuple[Any, int]]
"""Reads the value at a position; returns it and the position behind it."""

Builders = Mapping[str, Callable[..., Any]]
"""What to make of records (called with the fields by name) and enums (called with the symbol),
by full name. A record without builder is a dict, an enum a string; arrays are tuples."""

NODES_MAX = 4_096
"""Types in one schema, each use counted; ours have 150."""

REMEMBERED_BYTES_MAX = 4_096
"""The longest encoding a record reader compares with the one before."""

_DOUBLE = struct.Struct("<d")
_FLOAT = struct.Struct("<f")


def compile_reader(schema: Schema, builders: Builders) -> Reader:
    """A reader for a parsed schema with full names.

    Raises ValueError for a schema whose values could take unbounded work.
    """
    return _Compiler(builders).reader(schema)


def read_whole(read: Reader, data: bytes, start: int) -> Any:  # noqa: ANN401 - as the schema says
    """The one value that fills `data` from `start` to its end.

    Raises DecodeError UNDECODABLE, or TRAILING_BYTES where bytes are left over.
    """
    try:
        value, end = read(data, start)
    except IndexError:
        raise DecodeError("UNDECODABLE", "the value ends before its schema does") from None
    except (ValueError, struct.error) as error:
        raise DecodeError("UNDECODABLE", str(error)) from None
    if end != len(data):
        raise DecodeError("TRAILING_BYTES", f"{len(data) - end} bytes are left over")
    return value


class _Compiler:
    """One compilation: names seen so far, and how many types it made readers for."""

    def __init__(self, builders: Builders) -> None:
        self._builders = builders
        self._named: dict[str, Schema] = {}
        self._open: set[str] = set()
        self._nodes = 0

    def reader(self, schema: Schema) -> Reader:
        self._nodes += 1
        if self._nodes > NODES_MAX:
            raise ValueError(f"the schema has more than {NODES_MAX} types")
        if isinstance(schema, list):
            return self._union(schema)
        kind = schema["type"] if isinstance(schema, dict) else schema
        if isinstance(kind, dict | list):
            return self.reader(kind)
        if kind in _PRIMITIVES:
            return _PRIMITIVES[kind]
        if kind in {"array", "map"}:
            item = self.reader(schema["items" if kind == "array" else "values"])
            return _array_reader(item) if kind == "array" else _map_reader(item)
        return self._named_type(kind, schema)

    def _named_type(self, kind: str, schema: Schema) -> Reader:
        if isinstance(schema, str):
            if schema not in self._named:
                raise ValueError(f"type {schema!r} has no place in an event")
            return self._named_type(self._named[schema]["type"], self._named[schema])
        name = schema["name"]
        self._named[name] = schema
        if kind == "fixed":
            return _fixed_reader(schema["size"])
        if kind == "enum":
            return _enum_reader(tuple(map(self._builders.get(name, str), schema["symbols"])))
        if kind != "record":
            raise ValueError(f"type {kind!r} has no place in an event")
        return self._record(name, schema["fields"])

    def _record(self, name: str, fields: list[dict[str, Any]]) -> Reader:
        if name in self._open:
            raise ValueError(f"{name} contains itself")
        if not fields:
            raise ValueError(f"{name} has no fields and takes no bytes")
        self._open.add(name)
        parts = tuple((field["name"], self.reader(field["type"])) for field in fields)
        self._open.discard(name)
        build = self._builders.get(name)
        if build is None:
            return _record_reader(parts, dict)
        # What is outermost is never the same twice.
        read = _record_reader(parts, build)
        return _remembering(read) if self._open else read

    def _union(self, branches: list[Schema]) -> Reader:
        readers = [None if _is_null(branch) else self.reader(branch) for branch in branches]
        return _union_reader(tuple(readers))


def _is_null(schema: Schema) -> bool:
    return bool(schema == "null" or (isinstance(schema, dict) and schema["type"] == "null"))


def _read_long(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    zigzag = byte & 0x7F
    shift = 7
    while byte >= 0x80:
        if shift > 63:
            raise ValueError("a number is longer than ten bytes")
        byte = data[at]
        at += 1
        zigzag |= (byte & 0x7F) << shift
        shift += 7
    if zigzag >> 64:
        raise ValueError("a number does not fit into 64 bits")
    return (zigzag >> 1) ^ -(zigzag & 1), at


def _read_int(data: bytes, at: int) -> tuple[int, int]:
    number, at = _read_long(data, at)
    if not -(2**31) <= number < 2**31:
        raise ValueError(f"{number} does not fit into an int")
    return number, at


def _span(data: bytes, at: int) -> tuple[int, int]:
    """Start and end of the bytes whose length stands at `at`."""
    length, start = _read_long(data, at)
    if not 0 <= length <= len(data) - start:
        raise ValueError(f"a length of {length}, {len(data) - start} bytes are left")
    return start, start + length


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    start, end = _span(data, at)
    return data[start:end], end


def _read_string(data: bytes, at: int) -> tuple[str, int]:
    length = data[at]
    if length == 0:
        return "", at + 1
    if length & 0x81:
        start, end = _span(data, at)
    else:
        start = at + 1
        end = start + (length >> 1)
        if end > len(data):
            raise ValueError(f"a length of {length >> 1}, {len(data) - start} bytes are left")
    return data[start:end].decode(), end


def _read_boolean(data: bytes, at: int) -> tuple[bool, int]:
    byte = data[at]
    if byte > 1:
        raise ValueError(f"{byte} is no boolean")
    return byte == 1, at + 1


def _read_float(data: bytes, at: int) -> tuple[float, int]:
    return _FLOAT.unpack_from(data, at)[0], at + 4


def _read_double(data: bytes, at: int) -> tuple[float, int]:
    return _DOUBLE.unpack_from(data, at)[0], at + 8


_PRIMITIVES: dict[str, Reader] = {
    "boolean": _read_boolean,
    "int": _read_int,
    "long": _read_long,
    "float": _read_float,
    "double": _read_double,
    "bytes": _read_bytes,
    "string": _read_string,
}


def _fixed_reader(size: int) -> Reader:
    if size < 1:
        raise ValueError("a fixed type takes no bytes")

    def read_fixed(data: bytes, at: int) -> tuple[bytes, int]:
        end = at + size
        if end > len(data):
            raise ValueError(f"{size} bytes expected, {len(data) - at} are left")
        return data[at:end], end

    return read_fixed


def _enum_reader(members: tuple[Any, ...]) -> Reader:
    def read_enum(data: bytes, at: int) -> tuple[Any, int]:
        index, at = _read_long(data, at)
        if not 0 <= index < len(members):
            raise ValueError(f"an enum of {len(members)} symbols has none at {index}")
        return members[index], at

    return read_enum


def _union_reader(readers: tuple[Reader | None, ...]) -> Reader:
    def read_union(data: bytes, at: int) -> tuple[Any, int]:
        index, at = _read_long(data, at)
        if not 0 <= index < len(readers):
            raise ValueError(f"a union of {len(readers)} branches has none at {index}")
        read = readers[index]
        return (None, at) if read is None else read(data, at)

    return read_union


def _array_reader(read_item: Reader) -> Reader:
    def read_array(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        if data[at] == 0:
            return (), at + 1
        items: list[Any] = []
        if data[at] == 2:  # one item in the first block, and mostly no other block
            item, at = read_item(data, at + 1)
            if data[at] == 0:
                return (item,), at + 1
            items.append(item)
        while True:
            count, at, block_end = _read_block_head(data, at)
            if count == 0:
                return tuple(items), at
            for _ in range(count):
                item, at = read_item(data, at)
                items.append(item)
            _check_block_end(at, block_end)

    return read_array


def _map_reader(read_value: Reader) -> Reader:
    def read_map(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        entries: dict[str, Any] = {}
        while True:
            count, at, block_end = _read_block_head(data, at)
            if count == 0:
                return entries, at
            for _ in range(count):
                key, at = _read_string(data, at)
                if key in entries:
                    raise ValueError(f"a map has the key {key[:64]!r} twice")
                entries[key], at = read_value(data, at)
            _check_block_end(at, block_end)

    return read_map


def _read_block_head(data: bytes, at: int) -> tuple[int, int, int | None]:
    """Items in the block, where they begin, and where they end if the block says so."""
    count, at = _read_long(data, at)
    block_end = None
    if count < 0:
        count = -count
        at, block_end = _span(data, at)
    if count > len(data) - at:
        raise ValueError(f"a block of {count} items, {len(data) - at} bytes are left")
    return count, at, block_end


def _check_block_end(at: int, block_end: int | None) -> None:
    if block_end is not None and at != block_end:
        raise ValueError("a block is not as long as it says")


def _record_reader(parts: tuple[tuple[str, Reader], ...], build: Callable[..., Any]) -> Reader:
    steps = tuple((name, read, *_absent(read)) for name, read in parts)

    def read_fields(data: bytes, at: int) -> tuple[Any, int]:
        values = {}
        for name, read, one_zero_is_absent, absent in steps:
            if one_zero_is_absent and data[at] == 0:
                values[name] = absent
                at += 1
            else:
                values[name], at = read(data, at)
        return build(**values), at

    return read_fields


def _remembering(read_fields: Reader) -> Reader:
    """The same reader, comparing first with what is absent and with what it read last."""
    zeros, blank = _blank(read_fields)
    if not zeros:
        return read_fields
    last = (zeros, blank)

    def read_record(data: bytes, at: int) -> tuple[Any, int]:
        nonlocal last
        if data.startswith(zeros, at):
            return blank, at + len(zeros)
        # One tuple, read and replaced at once: threads may share a reader.
        known, value = last
        if data.startswith(known, at):
            return value, at + len(known)
        value, end = read_fields(data, at)
        if end - at <= REMEMBERED_BYTES_MAX:
            last = (data[at:end], value)
        return value, end

    return read_record


def _absent(read: Reader) -> tuple[bool, Any]:
    """Whether a single zero byte is a whole value, and which."""
    zeros, value = _blank(read)
    return len(zeros) == 1, value


def _blank(read: Reader) -> tuple[bytes, Any]:
    """The zero bytes that are a whole value, and that value; no bytes where there are none."""
    try:
        value, size = read(bytes(1_024), 0)
    except (ValueError, IndexError, struct.error):
        return b"", None
    return bytes(size), value
