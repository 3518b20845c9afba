"""Canonical Avro binary: longs and byte strings, written and read one way only.

Avro allows several encodings of one value; what is hashed must have one. So varints are minimal
here, in both directions, and whatever else the bytes could say is a `DecodeError` (formats §2).

The tables make a long two or three look-ups instead of a loop: the sealer writes five of them for
every record.
"""

from collections.abc import Iterator

from schemas.errors import DecodeError

__all__ = [
    "CHUNK_BITS",
    "LAST",
    "LONG_MAX",
    "MORE",
    "consecutive_longs",
    "encode_bytes",
    "encode_long",
    "encode_varint",
    "read_bytes",
    "read_long",
]

LONG_MAX = 2**63 - 1
CHUNK_BITS = 14
CHUNK = 1 << CHUNK_BITS
AT_ONCE = 128  # entries of a table; more cost those who want few

# The last one or two bytes of a varint, and two bytes that another byte follows.
LAST = [bytes((z,)) if z < 0x80 else bytes((z & 0x7F | 0x80, z >> 7)) for z in range(CHUNK)]
MORE = [bytes((z & 0x7F | 0x80, z >> 7 | 0x80)) for z in range(CHUNK)]


def encode_long(number: int) -> bytes:
    """The zigzag varint of a 64-bit number. Raises ValueError beyond 64 bits."""
    zigzag = (number << 1) ^ (number >> 63)
    if zigzag < 0x4000:
        return LAST[zigzag]
    if zigzag < 0x1000_0000:
        return MORE[zigzag & 0x3FFF] + LAST[zigzag >> 14]
    if zigzag < 0x400_0000_0000:  # every timestamp of today
        return MORE[zigzag & 0x3FFF] + MORE[(zigzag >> 14) & 0x3FFF] + LAST[zigzag >> 28]
    if zigzag >> 64:
        raise ValueError(f"expected a 64-bit number, got {number}")
    return encode_varint(zigzag)


def encode_varint(number: int) -> bytes:
    """The varint of a number that is not negative."""
    encoded = b""
    while number >= CHUNK:
        encoded += MORE[number & 0x3FFF]
        number >>= CHUNK_BITS
    return encoded + LAST[number]


def consecutive_longs(number: int) -> Iterator[bytes]:
    """What `encode_long` gives for `number`, which is not negative, and for each after it."""
    while number < CHUNK >> 1:
        yield LAST[number << 1]
        number += 1
    while True:
        low = (number << 1) & 0x3FFF
        high = encode_varint(number >> (CHUNK_BITS - 1))
        codes = MORE[low : low + AT_ONCE : 2]
        for code in codes:
            yield code + high
        number += len(codes)


def encode_bytes(data: bytes) -> bytes:
    """Length, then the bytes."""
    return encode_long(len(data)) + data


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """The long that begins at `at`, and where it ends.

    Raises:
        DecodeError: a varint that is not minimal, or beyond 64 bits.
        IndexError: the data ends inside it.
    """
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    zigzag = byte & 0x7F
    shift = 7
    while byte >= 0x80:
        if shift > 63:
            raise DecodeError("UNDECODABLE", "a varint of more than ten bytes")
        byte = data[at]
        at += 1
        zigzag |= (byte & 0x7F) << shift
        shift += 7
    if byte == 0 or zigzag >> 64:
        raise DecodeError("UNDECODABLE", "a varint that is not minimal, or beyond 64 bits")
    return (zigzag >> 1) ^ -(zigzag & 1), at


def read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """The byte string that begins at `at`, and where it ends. Raises as `read_long` does."""
    length, at = read_long(data, at)
    end = at + length
    if length < 0 or end > len(data):
        raise DecodeError("UNDECODABLE", f"a length of {length} where {len(data) - at} bytes are")
    return data[at:end], end
