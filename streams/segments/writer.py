"""Writing a segment (formats §8).

Block cuts and deflate level are free: where two archivers' files are compared, rows are. So blocks
are deflated by what is there: cramjam, or the standard library's zlib.
"""

import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence

from schemas.audit_values import encode_checkpoint
from schemas.canonical import encode_bytes, encode_long
from schemas.records import Checkpoint, Record
from streams.segments.blocks import RAW_DEFLATE
from streams.segments.reader import (
    CODEC,
    MAGIC,
    OPENING,
    ROW_SCHEMA,
    SCHEMA,
    SCHEMA_TEXTS,
    segment_marker,
)
from streams.segments.rows import encode_rows

__all__ = ["encode_block", "encode_head", "encode_segment"]

BLOCK_BYTES = 256 * 2**10  # of rows, before compression
# Measured on audit records. zlib: half the time of level 6 for 4 % more bytes. cramjam: half of
# that again for another 5 %, a fourth where the contents are random.
ZLIB_LEVEL, CRAMJAM_LEVEL = 3, 1


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
    blocks = (encode_block(origin, first, block) for block in _blocks(rows))
    return b"".join((encode_head(origin, first, opening), *blocks))


def encode_head(origin: str, first: int, opening: Checkpoint | None) -> bytes:
    """What stands before the blocks of a segment; arguments as `encode_segment`."""
    metadata = {"avro.codec": CODEC, "avro.schema": ROW_SCHEMA}
    if opening is not None:
        metadata[OPENING] = b64encode(encode_checkpoint(opening)).decode()
    metadata |= {SCHEMA + name: text for name, text in SCHEMA_TEXTS.items()}
    pairs = [encode_bytes(k.encode()) + encode_bytes(v.encode()) for k, v in metadata.items()]
    return b"".join(
        (MAGIC, encode_long(len(pairs)), *pairs, b"\x00", segment_marker(origin, first))
    )


def encode_block(origin: str, first: int, rows: Sequence[Record]) -> bytes:
    """One block of a segment: some rows, at least one, compressed together."""
    body = _deflated(encode_rows(rows))
    return encode_long(len(rows)) + encode_bytes(body) + segment_marker(origin, first)


def _compressor() -> Callable[[bytes], bytes]:
    try:
        from cramjam import deflate  # noqa: PLC0415  # optional dependency
    except ModuleNotFoundError:  # the base install verifies, and writes little
        return lambda data: zlib.compress(data, ZLIB_LEVEL, RAW_DEFLATE)
    return lambda data: bytes(deflate.compress(data, CRAMJAM_LEVEL))


_deflated = _compressor()


def _blocks(rows: Sequence[Record]) -> Iterator[Sequence[Record]]:
    start = size = 0
    for at, row in enumerate(rows, 1):
        size += len(row.value or b"")
        if size >= BLOCK_BYTES or at == len(rows):
            yield rows[start:at]
            start, size = at, 0
