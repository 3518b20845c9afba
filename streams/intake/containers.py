"""Events from an Avro object container file (Avro 1.12, "Object Container Files").

Such a file brings its schema along: any release of ours, or another schema of the same name that
resolves to it. Blocks are read one at a time; codecs are `null` and `deflate`. What a hostile
file could inflate to is bounded before it is inflated.

A record that cannot be read hides where the next one begins, so the rest of its block is
rejected with it; reading goes on at the next block.
"""

import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from schemas.canonical import read_long
from schemas.catalogue import plain_schema
from schemas.errors import RejectedInput
from schemas.events import Event, check_event
from schemas.record_types import DECISION, MUTATION
from schemas.sources import Unreadable
from schemas.strict_reader import Reader, compile_reader
from schemas.writer_schemas import WriterSchema, writer_schema

__all__ = ["Contained", "read_container"]

MAGIC = b"Obj\x01"
MARKER_BYTES = 16
LONG_BYTES_MAX = 10
METADATA_ENTRIES_MAX = 256
METADATA_BYTES_MAX = 1_048_576
BLOCK_BYTES_MAX = 67_108_864  # as stored, and inflated
RAW_DEFLATE = -15


class Contained(NamedTuple):
    """An event and its place in the file: the first is 1."""

    number: int
    event: Event


class _Header(NamedTuple):
    schema: WriterSchema
    read: Reader
    codec: str
    marker: bytes


class _DamagedError(ValueError):
    """The container itself is wrong: nothing behind this place can be read."""


def read_container(file: BinaryIO) -> Iterator[Contained | Unreadable]:
    """The events of a container file, in order; records are counted from 1 in place of lines."""
    number = 1
    try:
        header = _read_header(file)
        while (count := _read_number(file, at_end=0)) > 0:
            block = _read_block(file, header)
            yield from _read_records(header, block, count, number)
            number += count
        if count < 0:
            raise _DamagedError(f"a block of {count} records")
    except (RejectedInput, ValueError, OSError, EOFError, zlib.error) as error:
        yield Unreadable(number, f"the container cannot be read from here on: {error}")


def _read_header(file: BinaryIO) -> _Header:
    if file.read(len(MAGIC)) != MAGIC:
        raise _DamagedError("it does not begin as an Avro object container file")
    metadata: dict[str, bytes] = {}
    while count := _read_number(file):
        if count < 0:
            count = -count
            _read_number(file)
        for _ in range(count):
            name = _read_bytes(file, METADATA_BYTES_MAX)
            metadata[name.decode()] = _read_bytes(file, METADATA_BYTES_MAX)
            if len(metadata) > METADATA_ENTRIES_MAX:
                raise _DamagedError(f"more than {METADATA_ENTRIES_MAX} entries of metadata")
    codec = metadata.get("avro.codec", b"null").decode()
    if codec not in {"null", "deflate"}:
        raise _DamagedError(f"codec {codec!r}: null and deflate are read")
    text = metadata.get("avro.schema", b"").decode()
    schema = writer_schema(text)
    if schema.read is None or schema.name not in {DECISION, MUTATION}:
        raise _DamagedError(f"it holds {schema.name or 'values without name'}, no events")
    read = compile_reader(plain_schema(text), {})
    return _Header(schema, read, codec, _read_exactly(file, MARKER_BYTES))


def _read_block(file: BinaryIO, header: _Header) -> bytes:
    block = _read_bytes(file, BLOCK_BYTES_MAX)
    if _read_exactly(file, MARKER_BYTES) != header.marker:
        raise _DamagedError("a block does not end with the sync marker")
    if header.codec == "null":
        return block
    inflater = zlib.decompressobj(RAW_DEFLATE)
    inflated = inflater.decompress(block, BLOCK_BYTES_MAX)
    if inflater.unconsumed_tail or not inflater.eof:
        raise _DamagedError(f"a block does not inflate to at most {BLOCK_BYTES_MAX} bytes")
    return inflated


def _read_records(
    header: _Header, block: bytes, count: int, number: int
) -> Iterator[Contained | Unreadable]:
    at = 0
    assert header.schema.read is not None
    for place in range(number, number + min(count, len(block))):
        try:
            _, end = header.read(block, at)
        except (ValueError, IndexError) as error:
            reason = f"unreadable, and with it the rest of its block: {error}"
            yield Unreadable(place, reason)
            return
        try:
            event: Event = header.schema.read(block[at:end], 0)
            check_event(event)
            yield Contained(place, event)
        except RejectedInput as error:
            yield Unreadable(place, str(error))
        at = end
    if at != len(block) or count > len(block):
        yield Unreadable(number + count - 1, "the block does not hold as many records as it says")


def _read_number(file: BinaryIO, at_end: int | None = None) -> int:
    """A long; `at_end` where the file ends before it, if it may."""
    varint = b""
    while len(varint) < LONG_BYTES_MAX:
        byte = file.read(1)
        if not byte:
            if at_end is not None and not varint:
                return at_end
            raise _DamagedError("it ends too early")
        varint += byte
        if byte[0] < 0x80:
            return read_long(varint, 0)[0]
    raise _DamagedError("a number of more than ten bytes")


def _read_bytes(file: BinaryIO, bytes_max: int) -> bytes:
    size = _read_number(file)
    if not 0 <= size <= bytes_max:
        raise _DamagedError(f"{size} bytes announced, at most {bytes_max} are read")
    return _read_exactly(file, size)


def _read_exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise _DamagedError("it ends too early")
    return data
