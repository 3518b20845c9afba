"""Events from files and pipes in any format, one at a time, framed for their topic.

Files may be gzipped; that is told by their first bytes, not by their name. Memory is bounded by
one document, whatever the length of the file. Nothing is dropped silently: what is no event comes
out as `Rejected` with its line, or its number in an Avro object container file.
"""

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedReader, RawIOBase
from typing import BinaryIO, Literal, NamedTuple, cast

from schemas.errors import RejectedInput
from schemas.events import Event, MemoryMutation, event_key, event_timestamp_ms
from schemas.sources import Adapter, Document, Options, Unreadable
from schemas.sources.fitting import encode_fitting
from streams.intake.containers import read_container

__all__ = ["AVRO", "EventKind", "Ready", "Rejected", "read_avro", "read_documents"]

AVRO = "avro"
"""The format of Avro object container files; the others are `schemas.sources.FORMATS`."""

CHUNK_BYTES = 65_536
GZIP_MAGIC = b"\x1f\x8b"

EventKind = Literal["decision", "memory"]


class Ready(NamedTuple):
    """An event ready to be sent: key, single-object frame, its own time in ms (-1: none)."""

    kind: EventKind
    key: bytes
    value: bytes
    timestamp_ms: int


class Rejected(NamedTuple):
    """What could not be read, by the line it begins on (Avro: the number of the record)."""

    line: int
    reason: str


def read_documents(
    file: BinaryIO, adapter: Adapter, options: Options
) -> Iterator[Ready | Rejected]:
    """The events of a file of JSON documents, in order."""
    line = 1
    try:
        for found in adapter.documents(_chunks(_uncompressed(file))):
            line = found.line
            if isinstance(found, Unreadable):
                yield Rejected(line, found.reason)
            else:
                yield _translated(found, adapter, options)
    except (OSError, EOFError, zlib.error) as error:
        yield Rejected(line, f"the file cannot be read beyond this document: {error}")


def read_avro(file: BinaryIO) -> Iterator[Ready | Rejected]:
    """The events of an Avro object container file, in order."""
    for found in read_container(cast("BinaryIO", _uncompressed(file))):
        if isinstance(found, Unreadable):
            yield Rejected(found.line, found.reason)
        else:
            yield _framed(found.number, found.event)


def _translated(document: Document, adapter: Adapter, options: Options) -> Ready | Rejected:
    try:
        event = adapter.translate(document.content, options)
    except RejectedInput as error:
        return Rejected(document.line, str(error))
    return _framed(document.line, event)


def _framed(line: int, event: Event) -> Ready | Rejected:
    try:
        value = encode_fitting(event)
    except RejectedInput as error:
        return Rejected(line, str(error))
    kind: EventKind = "memory" if isinstance(event, MemoryMutation) else "decision"
    return Ready(kind, event_key(event), value, event_timestamp_ms(event))


def _uncompressed(file: BinaryIO) -> BufferedReader | gzip.GzipFile:
    buffered = (
        file if isinstance(file, BufferedReader) else BufferedReader(cast("RawIOBase", file))
    )
    if buffered.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC):
        return gzip.GzipFile(fileobj=buffered)
    return buffered


def _chunks(file: BufferedReader | gzip.GzipFile) -> Iterator[bytes]:
    # read1: where a compressed file breaks off, what came before must not be lost with it.
    while chunk := file.read1(CHUNK_BYTES):
        yield chunk
