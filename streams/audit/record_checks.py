"""What is checked of one audit record by itself (formats §2, §9).

`UsualRecords` recognises the usual record without decoding it. In most logs nearly every record
is byte for byte what was due: the next index, the next source offset, content without headers.
Its head is then known beforehand, and comparing is twice as fast as decoding. What is accepted
there, decoding would accept: the bytes compared are canonical.
"""

from binascii import b2a_base64
from hashlib import sha256

from schemas.audit_values import AUDIT_RECORD_HEAD, HASH_BYTES, decode_content, is_usual_plain
from schemas.canonical import LONG_MAX, encode_bytes, encode_long
from schemas.errors import DecodeError
from schemas.records import AuditRecord, Record
from streams.audit.checkpoint import LogName
from streams.audit.runs import CONTENT_MAX, CONTENT_MIN, ENTRY_START

__all__ = ["UsualRecords", "fault_of"]


class UsualRecords:
    """Recognises the records of one source partition."""

    __slots__ = ("_coordinates", "_source")

    def __init__(self, topic: str, partition: int) -> None:
        self._source = encode_bytes(topic.encode()) + encode_long(partition)
        self._coordinates = f"\n{topic} {partition} ".encode()

    def content_and_leaf(
        self, value: bytes | None, index: int, offset: int, timestamp: int
    ) -> tuple[bytes, bytes] | None:
        """Content and leaf hash of `value`, if it is the usual record of these coordinates.

        None says nothing about `value`: decode it.
        """
        if value is None or max(index, offset, timestamp) > LONG_MAX or timestamp < 0:
            return None
        head = b"%b%b%b%b%b" % (
            AUDIT_RECORD_HEAD,
            encode_long(index),
            self._source,
            encode_long(offset),
            encode_long(timestamp),
        )
        start = len(head) + 2
        length = len(value) - start - HASH_BYTES
        if not CONTENT_MIN <= length <= CONTENT_MAX:
            return None
        if not value.startswith(head + encode_long(length)):
            return None
        content = value[start:-HASH_BYTES]
        leaf = sha256(
            b"%b%d%b%d %d\n%b"
            % (
                ENTRY_START,
                index,
                self._coordinates,
                offset,
                timestamp,
                b2a_base64(sha256(content).digest()),
            )
        ).digest()
        if not value.endswith(leaf) or not is_usual_plain(content):
            return None
        return content, leaf


def fault_of(record: Record, value: AuditRecord, log: LogName | None) -> str | None:
    """Why `value`, decoded from `record`, cannot be of this log whatever its place; or None."""
    topic, partition, offset, timestamp = value.source
    if log is not None and (topic, partition) != (log.topic, log.partition):
        return f"it comes from {topic!r}, partition {partition}"
    if offset < 0 or timestamp < -1:
        return f"a source offset of {offset}, a source timestamp of {timestamp}"
    if record.timestamp != max(timestamp, 0):
        return f"its Kafka timestamp is {record.timestamp}, its source's is {timestamp}"
    if record.key is not None or record.headers:
        return "it has a Kafka key or Kafka headers"
    try:
        decode_content(value.content)
    except DecodeError as error:
        return f"its content is not canonical: {error}"
    return None
