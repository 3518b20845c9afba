"""Bytes of an audit partition: `AuditRecord`, `Checkpoint`, and the `Content` a leaf commits to.

Hand-written for speed and strictness: what is accepted has exactly one encoding (formats §2), so
that a reader who decodes and encodes again gets the bytes that were hashed. The schemas are in
`schemas/avro/`: audit_record.avsc, checkpoint.avsc, content.avsc.

Every decoder takes time and memory linear in its input, and raises nothing but `DecodeError`.
"""

from hashlib import sha256

from schemas.canonical import encode_bytes, encode_long, read_bytes, read_long
from schemas.errors import DecodeError
from schemas.records import (
    AuditRecord,
    AuditValue,
    Checkpoint,
    Content,
    Encrypted,
    Header,
    Omitted,
    Plain,
    Record,
    Source,
)

__all__ = [
    "AUDIT_RECORD_HEAD",
    "CHECKPOINT_HEAD",
    "HASH_BYTES",
    "PLAIN_BYTES_MAX",
    "decode_audit_value",
    "decode_content",
    "encode_audit_record",
    "encode_checkpoint",
    "encode_content",
    "encode_plain",
    "is_usual_plain",
]

HASH_BYTES = 32
PLAIN_BYTES_MAX = 8_323_072  # without the union branch; a longer Plain is Omitted
PARTITION_MAX = 2**31 - 1

# Single-object framing: C3 01, then the CRC-64-AVRO of the schema, little-endian.
SINGLE_OBJECT = b"\xc3\x01"
AUDIT_RECORD_HEAD = SINGLE_OBJECT + bytes.fromhex("31939f51e3268559")
CHECKPOINT_HEAD = SINGLE_OBJECT + bytes.fromhex("8d3ad55c060df88d")
HEAD_BYTES = len(AUDIT_RECORD_HEAD)

# Union branches as zigzag varints.
PLAIN, ENCRYPTED, OMITTED = b"\x00", b"\x02", b"\x04"
NULL, BYTES = b"\x00", b"\x02"
NULL_TAG, BYTES_TAG = NULL[0], BYTES[0]
END_OF_ARRAY = b"\x00"


def encode_content(record: Record) -> bytes:
    """What a leaf commits to of one source record: its `Plain`, or `Omitted` where too long."""
    plain = encode_plain(record.key, record.value, record.headers)
    if len(plain) - 1 <= PLAIN_BYTES_MAX:
        return plain
    digest = sha256(memoryview(plain)[1:]).digest()
    return OMITTED + encode_long(len(plain) - 1) + digest


def encode_plain(key: bytes | None, value: bytes | None, headers: tuple[Header, ...]) -> bytes:
    """A `Plain` with its union branch, of any length."""
    prefix = b"\x00\x00" if key is None else b"\x00\x02" + encode_long(len(key)) + key
    if headers:
        listed = encode_long(len(headers)) + b"".join(map(_encode_header, headers)) + END_OF_ARRAY
    else:
        listed = END_OF_ARRAY
    if value is None:
        return prefix + NULL + listed
    return b"%b\x02%b%b%b" % (prefix, encode_long(len(value)), value, listed)


def encode_audit_record(record: AuditRecord) -> bytes:
    """The value of an audit record, in single-object framing."""
    index, (topic, partition, offset, timestamp), content, leaf = record
    return b"".join(
        (
            AUDIT_RECORD_HEAD,
            encode_long(index),
            encode_bytes(topic.encode()),
            encode_long(partition),
            encode_long(offset),
            encode_long(timestamp),
            encode_long(len(content)),
            content,
            leaf,
        )
    )


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """The value of a checkpoint, in single-object framing."""
    note, frontier = checkpoint
    hashes = encode_long(len(frontier)) + b"".join(frontier) if frontier else b""
    return CHECKPOINT_HEAD + encode_bytes(note.encode()) + hashes + END_OF_ARRAY


def decode_audit_value(value: bytes) -> AuditValue:
    """The value of a record of an audit partition. Raises DecodeError."""
    head = value[:HEAD_BYTES]
    try:
        if head == AUDIT_RECORD_HEAD:
            return _decode_audit_record(value)
        if head == CHECKPOINT_HEAD:
            return _decode_checkpoint(value)
    except (IndexError, UnicodeDecodeError) as error:
        raise DecodeError("UNDECODABLE", f"an audit value that ends early: {error}") from error
    if not head.startswith(SINGLE_OBJECT):
        raise DecodeError("UNKNOWN_FRAMING", "expected an Avro value in single-object framing")
    raise DecodeError("UNKNOWN_SCHEMA", f"no audit value has the fingerprint {head[2:].hex()}")


def decode_content(content: bytes) -> Content:
    """The content of an audit record, in its one encoding. Raises DecodeError."""
    branch = content[:1]
    try:
        if branch == PLAIN:
            return _decode_plain(content)
        if branch == ENCRYPTED:
            key_id, at = read_bytes(content, 1)
            ciphertext, at = read_bytes(content, at)
            _expect_end(content, at)
            return Encrypted(key_id.decode(), ciphertext)
        if branch == OMITTED:
            return _decode_omitted(content)
    except (IndexError, UnicodeDecodeError) as error:
        raise DecodeError("UNDECODABLE", f"a content that ends early: {error}") from error
    raise DecodeError(
        "UNDECODABLE", f"no branch of Content begins with {branch.hex() or 'nothing'}"
    )


def is_usual_plain(content: bytes) -> bool:
    """Whether this is surely a canonical `Plain`: a short key or none, a value, no headers.

    A fast answer for the usual case; False says nothing, ask `decode_content`.

    Args:
        content: at least 133 bytes: a key's length of one byte cannot point beyond them.
    """
    end = len(content) - 1
    tag, length = content[1], content[2]
    at = 3 + (length >> 1) if tag else 2
    if content[0] or content[end] or content[at] != BYTES_TAG:
        return False
    if tag and (tag != BYTES_TAG or length & 0x81):
        return False
    low, high = content[at + 1], content[at + 2]
    if low & 1:
        return False
    if low < 0x80:
        return at + 2 + (low >> 1) == end
    return 0 < high < 0x80 and at + 3 + ((low & 0x7F | high << 7) >> 1) == end


def _encode_header(header: Header) -> bytes:
    name, value = header
    return encode_bytes(name) + (NULL if value is None else BYTES + encode_bytes(value))


def _decode_audit_record(value: bytes) -> AuditRecord:
    index, at = read_long(value, HEAD_BYTES)
    topic, at = read_bytes(value, at)
    partition, at = read_long(value, at)
    offset, at = read_long(value, at)
    timestamp, at = read_long(value, at)
    content, at = read_bytes(value, at)
    leaf = value[at:]
    if len(leaf) != HASH_BYTES:
        _expect_end(value, at + HASH_BYTES)
    if not -PARTITION_MAX - 1 <= partition <= PARTITION_MAX:
        raise DecodeError("UNDECODABLE", f"expected a 32-bit partition, got {partition}")
    return AuditRecord(
        index, Source(str(topic, "utf-8"), partition, offset, timestamp), content, leaf
    )


def _decode_checkpoint(value: bytes) -> Checkpoint:
    note, at = read_bytes(value, HEAD_BYTES)
    frontier: list[bytes] = []
    count, at = read_long(value, at)
    while count:
        end = at + count * HASH_BYTES
        if count < 0 or end > len(value):
            raise DecodeError("UNDECODABLE", f"a block of {count} hashes is sized, or cut off")
        frontier += [value[i : i + HASH_BYTES] for i in range(at, end, HASH_BYTES)]
        count, at = read_long(value, end)
    _expect_end(value, at)
    return Checkpoint(str(note, "utf-8"), tuple(frontier))


def _decode_plain(content: bytes) -> Plain:
    key, at = _read_optional(content, 1)
    value, at = _read_optional(content, at)
    headers: list[Header] = []
    count, at = read_long(content, at)
    if count:
        # Each header takes two bytes at least, so a count beyond that is refused unread.
        if count < 0 or 2 * count > len(content) - at:
            raise DecodeError("UNDECODABLE", f"a block of {count} headers is sized, or cut off")
        for _ in range(count):
            name, at = read_bytes(content, at)
            header_value, at = _read_optional(content, at)
            headers.append((name, header_value))
        if content[at] != 0:
            raise DecodeError("UNDECODABLE", "headers in more than one block")
        at += 1
    _expect_end(content, at)
    if len(content) - 1 > PLAIN_BYTES_MAX:
        raise DecodeError("TOO_LARGE", f"a Plain of {len(content) - 1} bytes should be Omitted")
    return Plain(key, value, tuple(headers))


def _decode_omitted(content: bytes) -> Omitted:
    length, at = read_long(content, 1)
    digest = content[at:]
    if len(digest) != HASH_BYTES:
        _expect_end(content, at + HASH_BYTES)
    if length <= PLAIN_BYTES_MAX:
        raise DecodeError("UNDECODABLE", f"a content of {length} bytes should not be Omitted")
    return Omitted(length, digest)


def _read_optional(data: bytes, at: int) -> tuple[bytes | None, int]:
    tag = data[at]
    if tag == NULL_TAG:
        return None, at + 1
    if tag == BYTES_TAG:
        return read_bytes(data, at + 1)
    raise DecodeError("UNDECODABLE", f"no branch of null|bytes begins with {tag:02x}")


def _expect_end(data: bytes, at: int) -> None:
    if at < len(data):
        raise DecodeError("TRAILING_BYTES", f"{len(data) - at} bytes follow the value")
    if at > len(data):
        raise DecodeError("UNDECODABLE", f"the value ends {at - len(data)} bytes early")
