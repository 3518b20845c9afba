"""Writing a segment (formats §8).

Block cuts and deflate level are free: where two archivers' files are compared, rows are.
"""

import zlib
from base64 import b64encode
from collections.abc import Iterator, Sequence

from schemas.audit_values import encode_checkpoint
from schemas.canonical import encode_bytes, encode_long
from schemas.records import Checkpoint, Record
from streams.segments.reader import (
    CODEC,
    MAGIC,
    OPENING,
    RAW_DEFLATE,
    ROW_SCHEMA,
    SCHEMA,
    SCHEMA_TEXTS,
    segment_marker,
)
from streams.segments.rows import encode_rows

__all__ = ["encode_segment"]

BLOCK_BYTES = 256 * 2**10  # of rows, before compression
DEFLATE_LEVEL = 3  # half the time of 6 for 4 % more bytes, measured on audit records


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


def _blocks(rows: Sequence[Record]) -> Iterator[Sequence[Record]]:
    start = size = 0
    for at, row in enumerate(rows, 1):
        size += len(row.value or b"")
        if size >= BLOCK_BYTES or at == len(rows):
            yield rows[start:at]
            start, size = at, 0
