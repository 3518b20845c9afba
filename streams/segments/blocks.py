"""Blocks of a segment: rows, deflated together (formats §8).

Pure. A block can be read apart from its file, so many can be read at once; `digest_block` is what
a verifier lets other processes do.
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from schemas.errors import DecodeError
from schemas.records import Record
from streams.audit.runs import Part, runs_of
from streams.segments.rows import decode_rows

__all__ = ["BLOCK_BYTES_MAX", "RAW_DEFLATE", "Block", "block_rows", "digest_block"]

RAW_DEFLATE = -15
BLOCK_BYTES_MAX = 2**20  # as stored, of a block that is held whole
DIGESTED_BYTES_MAX = 2**22  # of the rows of a block that is digested whole
ROW_BYTES = 64  # what a row costs besides its value
DEFLATED_PIECE = 64 * 2**10
INFLATED_PIECE = 256 * 2**10


class Block(NamedTuple):
    """A block as it is stored.

    Attributes:
        count: how many rows it says it has.
        body: the deflated rows.
    """

    count: int  # type: ignore[assignment]  # shadows tuple.count, which nobody calls
    body: bytes

    def rows(self) -> Iterator[list[Record]]:
        """Its rows, as `block_rows` gives them."""
        body = self.body
        steps = range(0, len(body), DEFLATED_PIECE)
        return block_rows(self.count, (body[at : at + DEFLATED_PIECE] for at in steps))


def block_rows(count: int, stored: Iterable[bytes]) -> Iterator[list[Record]]:
    """The rows of a block, some hundreds at a time.

    Args:
        count: how many rows it says it has.
        stored: the deflated rows, in pieces of any length.

    Raises:
        DecodeError: they are not; rows before the fault have been given out.
    """
    pending = b""
    for data in _inflated(stored):
        pending += data
        try:
            rows, end = decode_rows(pending, count)
        except DecodeError as error:
            raise DecodeError("UNDECODABLE", f"a row that is none: {error.detail}") from error
        pending = pending[end:]
        count -= len(rows)
        if not count and pending:
            break
        if rows:
            yield rows
    if count or pending:
        detail = f"a block that ends {count} rows early or {len(pending)} bytes late"
        raise DecodeError("UNDECODABLE", detail)


def digest_block(block: Block) -> list[Part] | None:
    """What `runs_of` makes of the rows; None where they must be read with more care.

    That is where they cannot be read, or are too long to be held at once.
    """
    parts: list[Part] = []
    size = 0
    try:
        for rows in block.rows():
            size += sum(len(row.value or b"") + ROW_BYTES for row in rows)
            if size > DIGESTED_BYTES_MAX:
                return None
            parts += runs_of(rows)
    except DecodeError:
        return None
    return parts


def _inflated(stored: Iterable[bytes]) -> Iterator[bytes]:
    inflate = zlib.decompressobj(RAW_DEFLATE)
    adler = 1
    for stored_piece in stored:
        piece, data = stored_piece, b""
        while piece or len(data) == INFLATED_PIECE:
            try:
                data = inflate.decompress(piece, INFLATED_PIECE)
            except zlib.error as error:
                detail = f"a block that does not inflate: {error}"
                raise DecodeError("UNDECODABLE", detail) from error
            piece = inflate.unconsumed_tail
            if data:
                adler = zlib.adler32(data, adler)
                yield data
    # fastavro leaves three of the four bytes of zlib's checksum behind the deflate stream.
    if not inflate.eof or inflate.unused_data not in (b"", adler.to_bytes(4, "big")[:3]):
        raise DecodeError("UNDECODABLE", "a block that ends early, or has bytes behind its end")
