"""Segments and the names of archive objects (formats §8).

Pure. A segment is a run of audit records and their checkpoints as one Avro object container file,
codec deflate. Its sync marker follows from origin and first index; its metadata holds the
checkpoint that closed the segment before (the *opening*) and the schema texts, so each file can be
checked alone, by any Avro reader. Block cuts and deflate level are free: where two archivers'
files are compared, rows are.

Names follow from the origin and one number alone, so two archivers that cut differently meet at
the same names. They are logical: no bucket, no prefix, so that a replica verifies too.
"""

import re
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from typing import Literal, NamedTuple, get_args

from schemas.audit_values import encode_checkpoint
from schemas.canonical import encode_bytes, encode_long
from schemas.records import Checkpoint, Record
from streams.segment_reader import (
    CODEC,
    MAGIC,
    OPENING,
    RAW_DEFLATE,
    ROW_SCHEMA,
    SCHEMA,
    SCHEMA_TEXTS,
    SegmentReader,
    segment_marker,
)
from streams.segment_rows import encode_rows

__all__ = [
    "ARCHIVE",
    "SEGMENT_BYTES_MAX",
    "ObjectKind",
    "ObjectName",
    "Segment",
    "anchor_name",
    "anchors_prefix",
    "check_origin",
    "claim_name",
    "encode_segment",
    "manifest_name",
    "manifests_prefix",
    "parse_object_name",
    "read_segment",
    "schema_digests",
    "segment_name",
    "segments_prefix",
    "verdict_name",
]

SEGMENT_BYTES_MAX = 256 * 2**20  # of rows, in one segment read at once
BLOCK_BYTES = 256 * 2**10  # of rows, before compression
DEFLATE_LEVEL = 3  # half the time of 6 for 4 % more bytes, measured on audit records

ARCHIVE = "archive/v1/"
ANCHORS = "anchors/v1/"
ORIGIN_BYTES_MAX = 800  # S3 keys have 1,024; a file name 255
COMPONENT_BYTES_MAX = 255

ObjectKind = Literal["segment", "manifest", "anchor", "claim", "verdict"]

_NAME = re.compile(
    rf"{ARCHIVE}(?P<archived>.+)/(?:segments/(?P<segment>\d{{20}})\.avro"
    r"|manifests/(?P<manifest>\d{20})\.json)"
    rf"|{ANCHORS}(?P<anchored>.+)/(?:(?P<anchor>\d{{20}})\.note|(?P<claim>claim)|(?P<verdict>verdict))",
    re.ASCII | re.DOTALL,
)


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


class ObjectName(NamedTuple):
    """What a name says. `number` is a first index, an anchor's size, or 0."""

    kind: ObjectKind
    origin: str
    number: int


def schema_digests(schemas: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 of each schema text, lower-case hex, by fingerprint."""
    return {name: sha256(text.encode()).hexdigest() for name, text in sorted(schemas.items())}


def encode_segment(
    origin: str, first: int, opening: Checkpoint | None, rows: Sequence[Record]
) -> bytes:
    """The file of one segment.

    Args:
        origin: the log.
        first: index of the first audit record in `rows`.
        opening: the checkpoint that closed the segment before, None for the first.
        rows: records and checkpoints verbatim, in the order of the partition.
    """
    marker = segment_marker(origin, first)
    metadata = {"avro.codec": CODEC, "avro.schema": ROW_SCHEMA}
    if opening is not None:
        metadata[OPENING] = b64encode(encode_checkpoint(opening)).decode()
    metadata |= {SCHEMA + name: text for name, text in SCHEMA_TEXTS.items()}
    pairs = [encode_bytes(k.encode()) + encode_bytes(v.encode()) for k, v in metadata.items()]
    parts = [MAGIC, encode_long(len(pairs)), *pairs, b"\x00", marker]
    for block in _blocks(rows):
        body = zlib.compress(encode_rows(block), DEFLATE_LEVEL, RAW_DEFLATE)
        parts += [encode_long(len(block)), encode_bytes(body), marker]
    return b"".join(parts)


def read_segment(data: bytes, *, first: int = 0) -> Segment:
    """All of a segment; at most 256 MiB of rows.

    Args:
        data: the file.
        first: the index its name says, for the break of a file that cannot say its own.

    Raises:
        BreakError: as `SegmentReader`, and `archive` where there is more.
    """
    reader = SegmentReader(BytesIO(data), first=first)
    rows: list[Record] = []
    size = 0
    for batch in reader.batches():
        rows += batch
        size += sum(len(row.value or b"") for row in batch)
        if size > SEGMENT_BYTES_MAX:
            raise reader.fault(f"rows of more than {SEGMENT_BYTES_MAX} bytes")
    return Segment(reader.opening, reader.schemas, rows)


def check_origin(origin: str) -> None:
    """Refuse an origin that cannot be part of an object's name or of a path.

    Raises:
        ValueError: an empty component, `.` or `..`, a separator, white space or an unprintable
            character in it, or too long.
    """
    components = origin.split("/")
    if "" in components or "." in components or ".." in components:
        raise ValueError(f"an origin has no empty, . or .. component: {origin[:300]!r}")
    if not origin.isprintable() or any(c.isspace() or c in "+\\" for c in origin):
        raise ValueError(f"an origin has no white space, + or \\: {origin[:300]!r}")
    if len(origin.encode()) > ORIGIN_BYTES_MAX or any(
        len(component.encode()) > COMPONENT_BYTES_MAX for component in components
    ):
        raise ValueError(f"an origin too long to name an object: {origin[:300]!r}")


def segments_prefix(origin: str) -> str:
    """What all segments of a log begin with."""
    check_origin(origin)
    return f"{ARCHIVE}{origin}/segments/"


def segment_name(origin: str, first: int) -> str:
    """The segment whose first leaf has the index `first`."""
    return f"{segments_prefix(origin)}{_digits(first)}.avro"


def manifests_prefix(origin: str) -> str:
    """What all manifests of a log begin with."""
    check_origin(origin)
    return f"{ARCHIVE}{origin}/manifests/"


def manifest_name(origin: str, first: int) -> str:
    """The manifest of the segment of the same first index."""
    return f"{manifests_prefix(origin)}{_digits(first)}.json"


def anchors_prefix(origin: str) -> str:
    """What claim, verdict and all anchors of a log begin with."""
    check_origin(origin)
    return f"{ANCHORS}{origin}/"


def anchor_name(origin: str, size: int) -> str:
    """The note of the checkpoint of `size`."""
    return f"{anchors_prefix(origin)}{_digits(size)}.note"


def claim_name(origin: str) -> str:
    """Who owns the origin."""
    return f"{anchors_prefix(origin)}claim"


def verdict_name(origin: str) -> str:
    """Why sealing of the origin stopped."""
    return f"{anchors_prefix(origin)}verdict"


def parse_object_name(name: str) -> ObjectName | None:
    """What a name says, None where it is no name of ours."""
    found = _NAME.fullmatch(name)
    if not found:
        return None
    origin = found["archived"] or found["anchored"]
    try:
        check_origin(origin)
    except ValueError:
        return None
    kind: ObjectKind = next(k for k in get_args(ObjectKind) if found[k])
    number = found[kind]
    return ObjectName(kind, origin, int(number) if number.isdigit() else 0)


def _blocks(rows: Sequence[Record]) -> Iterator[Sequence[Record]]:
    start = size = 0
    for at, row in enumerate(rows, 1):
        size += len(row.value or b"")
        if size >= BLOCK_BYTES or at == len(rows):
            yield rows[start:at]
            start, size = at, 0


def _digits(number: int) -> str:
    if not 0 <= number < 10**20:
        raise ValueError(f"expected a number of at most 20 digits, got {number}")
    return f"{number:020d}"
