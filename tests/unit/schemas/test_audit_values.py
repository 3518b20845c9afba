"""Bytes of an audit partition: against fastavro, and what the strict decoders refuse."""

import io
import json
from importlib.resources import files
from typing import Any

import fastavro
import pytest
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from schemas.audit_values import (
    AUDIT_RECORD_HEAD,
    CHECKPOINT_HEAD,
    decode_audit_value,
    decode_content,
    encode_audit_record,
    encode_checkpoint,
    encode_content,
    is_usual_plain,
)
from schemas.canonical import encode_bytes, encode_long, read_bytes, read_long
from schemas.errors import DecodeError
from schemas.records import AuditRecord, Checkpoint, Encrypted, Omitted, Plain, Record, Source
from tests.support.vectors import LOG

SCHEMAS = {
    "attestream.audit.v1.AuditRecord": "audit_record.avsc",
    "attestream.audit.v1.Checkpoint": "checkpoint.avsc",
    "Content": "content.avsc",
}
RECORD = AuditRecord(
    300, Source("authz.decisions", 7, 2**40, 1_760_000_000_000), b"\0\0\x02\x02x\0", b"\5" * 32
)
CHECKPOINT = Checkpoint("origin\n\n\N{EM DASH} note\n", (b"\1" * 32, b"\2" * 32))
PLAIN = Plain(b"k" * 63, b"v" * 64, ((b"", None), (b"\xff\xfe", b""), (b"h", b"x")))


def schema(name: str) -> Any:  # fastavro's parsed schemas
    text = files("schemas").joinpath("avro", name).read_text(encoding="utf-8")
    return parse_schema(json.loads(text))


def by_fastavro(name: str, value: object) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema(name), value)
    return out.getvalue()


@pytest.mark.parametrize("described", LOG["schemas"][:3], ids=lambda s: s["name"])
def test_schema_text_is_the_one_the_fingerprint_is_taken_over(described: dict[str, str]) -> None:
    text = files("schemas").joinpath("avro", SCHEMAS[described["name"]]).read_bytes()
    assert text.decode() == described["text"]
    canonical = to_parsing_canonical_form(json.loads(text))
    assert canonical == described["canonical_form"]
    assert fingerprint(canonical, "CRC-64-AVRO") == described["fingerprint_hex"]


def test_heads_are_the_fingerprints_of_the_format() -> None:
    assert AUDIT_RECORD_HEAD.hex() == "c30131939f51e3268559"
    assert CHECKPOINT_HEAD.hex() == "c3018d3ad55c060df88d"


def test_audit_record_is_encoded_as_fastavro_does() -> None:
    expected = by_fastavro(
        "audit_record.avsc", {**RECORD._asdict(), "source": RECORD.source._asdict()}
    )
    assert encode_audit_record(RECORD) == AUDIT_RECORD_HEAD + expected
    assert decode_audit_value(AUDIT_RECORD_HEAD + expected) == RECORD


@pytest.mark.parametrize("checkpoint", [CHECKPOINT, Checkpoint("", ())], ids=["two", "empty"])
def test_checkpoint_is_encoded_as_fastavro_does(checkpoint: Checkpoint) -> None:
    value = {"note": checkpoint.note, "frontier": list(checkpoint.frontier)}
    expected = CHECKPOINT_HEAD + by_fastavro("checkpoint.avsc", value)
    assert encode_checkpoint(checkpoint) == expected
    assert decode_audit_value(expected) == checkpoint


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("Plain", PLAIN),
        ("Plain", Plain(None, None, ())),
        ("Plain", Plain(b"", b"", ())),
        ("Encrypted", Encrypted("key", b"cipher")),
        ("Omitted", Omitted(8_323_073, b"\7" * 32)),
    ],
)
def test_content_is_read_as_fastavro_writes_it(
    name: str, content: Plain | Encrypted | Omitted
) -> None:
    value = content._asdict()
    if isinstance(content, Plain):
        value["headers"] = [{"name": n, "value": v} for n, v in content.headers]
        record = Record(0, 0, content.key, content.value, content.headers)
        assert decode_content(encode_content(record)) == content
    expected = by_fastavro("content.avsc", (f"attestream.audit.v1.{name}", value))
    assert decode_content(expected) == content


def test_frontier_in_several_blocks_is_read() -> None:
    blocks = b"".join(encode_long(1) + node for node in CHECKPOINT.frontier) + b"\0"
    value = CHECKPOINT_HEAD + encode_bytes(CHECKPOINT.note.encode()) + blocks
    assert decode_audit_value(value) == CHECKPOINT


def refuse_value(value: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_audit_value(value)
    assert caught.value.reason == reason


def refuse_content(content: bytes, reason: str = "UNDECODABLE") -> None:
    with pytest.raises(DecodeError) as caught:
        decode_content(content)
    assert caught.value.reason == reason


def test_sized_block_in_a_frontier_is_refused() -> None:
    blocks = encode_long(-1) + encode_long(32) + b"\1" * 32 + b"\0"
    refuse_value(CHECKPOINT_HEAD + encode_bytes(b"n") + blocks, "UNDECODABLE")


def test_block_of_more_hashes_than_there_are_bytes_is_refused_unread() -> None:
    refuse_value(CHECKPOINT_HEAD + encode_bytes(b"n") + encode_long(2**62), "UNDECODABLE")


def test_trailing_bytes_are_refused() -> None:
    refuse_value(encode_audit_record(RECORD) + b"\0", "TRAILING_BYTES")
    refuse_value(encode_checkpoint(CHECKPOINT) + b"\0", "TRAILING_BYTES")
    refuse_content(encode_content(Record(0, 0, None, b"v")) + b"\0", "TRAILING_BYTES")
    refuse_content(b"\x02\x02k\x02c!", "TRAILING_BYTES")
    refuse_content(b"\x04" + encode_long(2**40) + b"\0" * 33, "TRAILING_BYTES")


def test_every_value_cut_short_is_refused() -> None:
    for value in (encode_audit_record(RECORD), encode_checkpoint(CHECKPOINT)):
        for end in range(len(value)):
            with pytest.raises(DecodeError):
                decode_audit_value(value[:end])
    content = encode_content(Record(0, 0, *PLAIN))
    for end in range(len(content)):
        with pytest.raises(DecodeError):
            decode_content(content[:end])


def test_other_framings_and_schemas_are_told_apart() -> None:
    refuse_value(b"\0\0\0\0\1" + b"body", "UNKNOWN_FRAMING")
    refuse_value(b"\xc3\x01" + bytes(8) + b"body", "UNKNOWN_SCHEMA")


def test_note_or_topic_that_is_not_utf8_is_refused() -> None:
    refuse_value(CHECKPOINT_HEAD + encode_bytes(b"\xff") + b"\0", "UNDECODABLE")
    value = encode_audit_record(RECORD).replace(b"authz", b"\xff\xff\xff\xff\xff")
    refuse_value(value, "UNDECODABLE")


def test_partition_beyond_32_bits_is_refused() -> None:
    big = RECORD._replace(source=RECORD.source._replace(partition=2**31))
    refuse_value(encode_audit_record(big), "UNDECODABLE")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x06",
        b"\x01",
        b"\0\x04\0\0",
        b"\0\x01\0\0",
        b"\0\x80\x00\0\0",
        b"\0\0\x02\x82\x00x\0",
        b"\0\0\x02\x01\0",
        b"\0\0\0\x02\0\0\x02\0\0\0",
        b"\0\0\0\x01\x04\0\0\0",
        b"\0\0\0" + encode_long(2**60) + b"\0",
        b"\x02\x02\xff\x02c",
        b"\x04\x02" + b"\0" * 32,
    ],
    ids=[
        "nothing",
        "branch 3",
        "branch -1",
        "key branch 2",
        "key branch -1",
        "branch in two bytes",
        "length in two bytes",
        "negative length",
        "two blocks of headers",
        "sized block of headers",
        "headers without end",
        "key id not UTF-8",
        "omitted though short",
    ],
)
def test_content_not_in_its_one_encoding_is_refused(content: bytes) -> None:
    refuse_content(content)


def test_plain_longer_than_an_audit_record_can_hold_is_refused() -> None:
    too_long = b"\0\0\x02" + encode_bytes(bytes(8_323_068)) + b"\0"
    refuse_content(too_long, "TOO_LARGE")


@pytest.mark.parametrize(
    "number",
    [0, -1, 1, 63, 64, -64, -65, 8191, 8192, 2**27, 2**41 - 1, 2**41, 2**63 - 1, -(2**63)],
)
def test_long_has_one_encoding(number: int) -> None:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, {"type": "long"}, number)
    assert encode_long(number) == out.getvalue()
    assert read_long(out.getvalue(), 0) == (number, len(out.getvalue()))


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**70, -(2**70)])
def test_number_beyond_64_bits_is_not_encoded(number: int) -> None:
    with pytest.raises(ValueError, match="64-bit"):
        encode_long(number)


@pytest.mark.parametrize(
    "data", [b"\x80\x00", b"\xff\x80\x00", b"\xff" * 9 + b"\x02", b"\xff" * 10 + b"\x01"]
)
def test_varint_that_is_not_minimal_or_too_long_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read_long(data, 0)


def test_length_beyond_the_data_is_refused() -> None:
    with pytest.raises(DecodeError):
        read_bytes(encode_long(2**62) + b"x", 0)


VALUE = b"v" * 200
USUAL = b"\0\x02\x02k\x02" + encode_bytes(VALUE) + b"\0"


@pytest.mark.parametrize(
    "content",
    [
        USUAL,
        b"\0\0\x02" + encode_bytes(VALUE) + b"\0",
        b"\0\x02\x00\x02" + encode_bytes(VALUE) + b"\0",
        b"\0\x02" + encode_bytes(b"k" * 63) + b"\x02" + encode_bytes(VALUE) + b"\0",
    ],
    ids=["key", "no key", "empty key", "long key"],
)
def test_usual_content_is_recognised(content: bytes) -> None:
    assert is_usual_plain(content)
    decode_content(content)


@pytest.mark.parametrize(
    "content",
    [
        b"\x02" + USUAL[1:],
        b"\0\x01" + USUAL[2:],
        b"\0\x04" + USUAL[2:],
        b"\0\x02\x01\x02" + encode_bytes(VALUE) + b"\0",
        b"\0\x02\x81\x00" + b"k" * 63 + b"\x02" + encode_bytes(VALUE) + b"\0",
        b"\0\x02\x80\x01" + b"k" * 63 + b"\x02" + encode_bytes(VALUE) + b"\0",
        b"\0\x02\x02k\x00" + encode_bytes(VALUE) + b"\0",
        b"\0\x02\x02k\x02" + b"\x91\x03" + VALUE + b"\0",
        b"\0\x02\x02k\x02" + b"\x90\x83\x00" + VALUE + b"\0",
        b"\0\x02\x02k\x02" + b"\x90\x00" + b"v" * 8 + b"\0" * 125,
        USUAL[:-1] + b"\x02",
        USUAL + b"\0",
        USUAL[:-2] + b"\0",
    ],
    ids=[
        "encrypted",
        "key branch -1",
        "key branch 2",
        "negative key length",
        "negative key length in two bytes",
        "key length of two bytes cut",
        "null value with bytes",
        "negative value length",
        "value length of three bytes",
        "value length not minimal",
        "a header",
        "a byte too many",
        "a byte too few",
    ],
)
def test_content_that_is_not_usual_or_not_canonical_is_not_recognised(content: bytes) -> None:
    assert len(content) >= 133
    assert not is_usual_plain(content)
