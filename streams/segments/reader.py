"""Reading a segment: strictly, in bounded memory (formats §8).

Pure. Only the container is judged here. What the rows say is for `streams.audit.trail`: a
`BreakError` raised here is of kind `archive`, at the index the file begins at, except for an
opening that is no checkpoint, which is `altered` there.

    reader = SegmentReader(file)
    for rows in reader.batches():
        ...
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from io import BytesIO
from typing import BinaryIO, NamedTuple

from fastavro.schema import SchemaParseException, fingerprint, to_parsing_canonical_form

from schemas.audit_values import AUDIT_RECORD_HEAD, CHECKPOINT_HEAD, decode_audit_value
from schemas.canonical import read_long
from schemas.errors import DecodeError
from schemas.records import Checkpoint, Record
from streams.audit.note import MalformedError, decode_base64
from streams.errors import BreakError
from streams.segments.blocks import BLOCK_BYTES_MAX, Block, block_rows

__all__ = [
    "CODEC",
    "MAGIC",
    "OPENING",
    "ROW_SCHEMA",
    "SCHEMA",
    "SCHEMA_TEXTS",
    "SEGMENT_BYTES_MAX",
    "Segment",
    "SegmentReader",
    "read_segment",
    "schema_digests",
    "segment_marker",
]

MAGIC = b"Obj\x01"
CODEC = "deflate"
OPENING = "attestream.opening"
SCHEMA = "attestream.schema."
ROW_FINGERPRINT = "0e4045253d36f89d"

SEGMENT_BYTES_MAX = 256 * 2**20  # of rows, in one segment read at once
MARKER_BYTES = 16
METADATA_ENTRIES_MAX = 64
METADATA_NAME_BYTES_MAX = 1024
METADATA_BYTES_MAX = 2**20
COMPRESSED_PIECE = 64 * 2**10
ORIGINS_TRIED_MAX = 16


def _text(name: str) -> str:
    return files("schemas").joinpath("avro", name).read_text(encoding="utf-8")


ROW_SCHEMA = _text("kafka_record.avsc")
SCHEMA_TEXTS: Mapping[str, str] = {
    AUDIT_RECORD_HEAD[2:].hex(): _text("audit_record.avsc"),
    CHECKPOINT_HEAD[2:].hex(): _text("checkpoint.avsc"),
}


def segment_marker(origin: str, first: int) -> bytes:
    """The sync marker: the first 16 bytes of SHA-256(origin ‖ LF ‖ first index)."""
    return sha256(f"{origin}\n{first}".encode()).digest()[:MARKER_BYTES]


class Segment(NamedTuple):
    """A segment read at once.

    Attributes:
        opening: the checkpoint that closed the segment before, None in the first.
        schemas: full schema texts by fingerprint, hex as stored.
        rows: the audit partition's records, without keys and headers, in order.
    """

    opening: Checkpoint | None
    schemas: Mapping[str, str]
    rows: list[Record]


def schema_digests(schemas: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 of each schema text, lower-case hex, by fingerprint."""
    return {name: sha256(text.encode()).hexdigest() for name, text in sorted(schemas.items())}


def read_segment(data: bytes, *, first: int = 0, bytes_max: int = SEGMENT_BYTES_MAX) -> Segment:
    """All of a segment, in memory.

    Args:
        data: the file.
        first: the index its name says, for the break of a file that cannot say its own.
        bytes_max: of values; more is a break, found before much more is in memory.

    Raises:
        BreakError: as `SegmentReader`, and `archive` where there is more than `bytes_max`.
    """
    reader = SegmentReader(BytesIO(data), first=first)
    rows: list[Record] = []
    size = 0
    for batch in reader.batches():
        rows += batch
        size += sum(len(row.value or b"") for row in batch)
        if size > bytes_max:
            raise reader.fault(f"rows of more than {bytes_max} bytes")
    return Segment(reader.opening, reader.schemas, rows)


class SegmentReader:
    """Reads a segment of any length in bounded memory: some 256 KiB and one value.

    Attributes:
        opening: the checkpoint that closed the segment before, None in the first.
        schemas: full schema texts by fingerprint, hex as stored.
        marker: the sync marker, as the file has it.
        first: the index the file begins at: the opening's size, else that of its first audit
            record once it is read.

    Raises:
        BreakError: `archive` for a fault of the container, `altered` for an unreadable opening.
    """

    def __init__(self, file: BinaryIO, *, first: int = 0) -> None:
        self._file = file
        self.first = first
        self.opening: Checkpoint | None = None
        # A marker is right if any origin and first index that the file names give it: then one
        # altered row is reported as that row's break, not as a fault of the container.
        self._origins: set[str] = set()
        self._indexes = {0}
        self._is_marked = self._has_record = False
        metadata = self._metadata()
        self.marker = self._read(MARKER_BYTES)
        self._open(metadata)
        self.schemas = self._schemas(metadata)

    def batches(self) -> Iterator[list[Record]]:
        """The rows in order, some hundreds at a time. Can be read once.

        Raises:
            BreakError: `archive`; rows before the fault have been given out.
        """
        for piece in self.pieces():
            if isinstance(piece, Block):
                yield from self.rows_of(piece)
            else:
                yield piece

    def pieces(self) -> Iterator[Block | list[Record]]:
        """The rows in order, or blocks whose rows somebody else may read. Can be read once.

        A block comes whole only where it is short, and once the head of the file is accounted for.

        Raises:
            BreakError: `archive`; rows before the fault have been given out.
        """
        while byte := self._file.read(1):
            count, size = self._long(byte), self._long()
            if count < 0 or size < 0:
                raise self.fault(f"a block of {count} rows in {size} bytes")
            if size > BLOCK_BYTES_MAX or not (self._is_marked and self._has_record):
                yield from self._told(block_rows(count, self._stored(size)))
            else:
                yield Block(count, self._read(size))
            if self._read(MARKER_BYTES) != self.marker:
                raise self.fault("a block does not end in the file's sync marker")
        if not self._has_record:
            raise self.fault("no audit record in the file")
        self.check_marker()

    def rows_of(self, block: Block) -> Iterator[list[Record]]:
        """The rows of a block. Raises BreakError as `batches` does."""
        return self._told(block.rows())

    def check_marker(self) -> None:
        """Whether the marker follows from what was read so far; `batches` ends with it.

        A verifier that stops early, at another break, asks here: this one would come first.

        Raises:
            BreakError: `archive`.
        """
        if not self._is_marked:
            raise self.fault(f"the sync marker {self.marker.hex()} is not this segment's")

    def fault(self, detail: str) -> BreakError:
        """A fault of the container, at the index the file begins at."""
        return BreakError("archive", self.first, detail)

    def _told(self, batches: Iterator[list[Record]]) -> Iterator[list[Record]]:
        try:
            for rows in batches:
                if not (self._is_marked and self._has_record):
                    self._look(rows)
                yield rows
        except DecodeError as error:
            raise self.fault(error.detail) from error

    def _stored(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._read(min(size, COMPRESSED_PIECE))
            size -= len(piece)
            yield piece

    def _look(self, rows: list[Record]) -> None:
        for row in rows:
            value = row.value or b""
            if value.startswith(CHECKPOINT_HEAD):
                self._try_origin(_origin_of_value(value))
            elif not self._has_record and value.startswith(AUDIT_RECORD_HEAD):
                self._has_record = True
                index = _index_of_value(value)
                if self.opening is None:
                    self.first = index
                self._indexes.add(index)
                for origin in self._origins:
                    self._try_origin(origin)
            if self._is_marked and self._has_record:
                return

    def _try_origin(self, origin: str) -> None:
        if origin in self._origins or len(self._origins) < ORIGINS_TRIED_MAX:
            self._origins = self._origins | {origin}
            if any(segment_marker(origin, i) == self.marker for i in self._indexes):
                self._is_marked = True

    def _metadata(self) -> dict[str, bytes]:
        if self._read(len(MAGIC)) != MAGIC:
            raise self.fault("not an Avro object container file")
        metadata: dict[str, bytes] = {}
        while count := self._long():
            if count < 0:  # a sized block: the size helps to skip it, no more
                self._long()
            for _ in range(abs(count)):
                name = self._bytes(METADATA_NAME_BYTES_MAX).decode("utf-8", "replace")
                if name in metadata or len(metadata) == METADATA_ENTRIES_MAX:
                    raise self.fault(f"metadata twice, or too much of it: {name[:100]!r}")
                metadata[name] = self._bytes(METADATA_BYTES_MAX)
        return metadata

    def _open(self, metadata: Mapping[str, bytes]) -> None:
        if OPENING not in metadata:
            return
        try:
            value = decode_audit_value(decode_base64(metadata[OPENING].decode("ascii")))
            if not isinstance(value, Checkpoint):
                raise MalformedError("an audit record")  # noqa: TRY301
        except (UnicodeDecodeError, MalformedError, DecodeError) as error:
            with suppress(BreakError):
                next((rows for rows in self.batches() if self._has_record), None)
            raise BreakError("altered", self.first, f"an unreadable opening: {error}") from error
        self.opening = value
        origin, self.first = _origin_and_size(value.note)
        self._indexes = {self.first}
        self._try_origin(origin)

    def _schemas(self, metadata: Mapping[str, bytes]) -> dict[str, str]:
        codec = metadata.get("avro.codec")
        if codec != CODEC.encode():
            raise self.fault(f"expected codec {CODEC}, got {codec!r:.100}")
        if _fingerprint(metadata.get("avro.schema", b"")) != ROW_FINGERPRINT:
            raise self.fault("the row schema is not attestream.archive.v1.KafkaRecord")
        texts = {n.removeprefix(SCHEMA): t for n, t in metadata.items() if n.startswith(SCHEMA)}
        for name, text in texts.items():
            if _fingerprint(text) != name:
                raise self.fault(f"the schema text of {name} is not that schema's")
        if missing := SCHEMA_TEXTS.keys() - texts:
            raise self.fault(f"no schema text of {', '.join(sorted(missing))}")
        return {name: text.decode() for name, text in texts.items()}

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise self.fault("the file ends early")
        return data

    def _long(self, read: bytes = b"") -> int:
        while len(read) < 10 and (not read or read[-1] >= 0x80):
            read += self._read(1)
        try:
            return read_long(read, 0)[0]
        except (DecodeError, IndexError) as error:
            raise self.fault(f"a length that is none: {read.hex()}") from error

    def _bytes(self, size_max: int) -> bytes:
        size = self._long()
        if not 0 <= size <= size_max:
            raise self.fault(f"metadata of {size} bytes: at most {size_max}")
        return self._read(size)


@lru_cache(maxsize=64)
def _fingerprint(text: bytes) -> str:
    """CRC-64-AVRO of a schema text's canonical form, hex as stored; empty where it is none."""
    try:
        canonical = to_parsing_canonical_form(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError, SchemaParseException):
        return ""
    return str(fingerprint(canonical, "CRC-64-AVRO"))


def _origin_and_size(note: str) -> tuple[str, int]:
    """What a note claims; 0 for a size it does not have. It is checked elsewhere."""
    origin, size, *_ = (*note.split("\n", 2), "", "")
    return origin, int(size) if size.isascii() and size.isdigit() and len(size) <= 20 else 0


def _origin_of_value(value: bytes) -> str:
    try:
        start = read_long(value, len(CHECKPOINT_HEAD))[1]
    except (DecodeError, IndexError):
        return ""
    return value[start : start + 2048].split(b"\n", 1)[0].decode("utf-8", "replace")


def _index_of_value(value: bytes) -> int:
    try:
        return read_long(value, len(AUDIT_RECORD_HEAD))[0]
    except (DecodeError, IndexError):
        return 0
