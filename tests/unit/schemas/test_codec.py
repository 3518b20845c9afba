"""What bytes mean, in each framing, and what is said of bytes that mean nothing."""

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from schemas.catalogue import current_text, fingerprint, parse_text
from schemas.codec import (
    BUILT_IN,
    decode_alert,
    decode_dead_letter,
    decode_decision,
    decode_event,
    decode_head,
    decode_mutation,
    decode_operation_event,
    decode_schema_answer,
    encode_alert,
    encode_dead_letter,
    encode_event,
    encode_head,
    encode_operation_event,
    encode_schema_answer,
    writer_schema,
)
from schemas.errors import InvalidEventError, RejectedInput, TooLargeError
from schemas.events import Entity, Evaluation, SourceRecord
from schemas.framing import ReferenceKind, SchemaReference
from schemas.heads import LogHead
from schemas.limits import EVENT_BYTES_MAX
from schemas.record_types import (
    ALERT,
    DEAD_LETTER,
    DECISION,
    DRILL_FINISHED,
    INDEX_KEY_ROTATED,
    LOG_HEAD,
    LOG_OPENED,
    MUTATION,
    SCHEMA_ANSWER,
    SNAPSHOT_RESTORED,
)
from schemas.records import Record
from schemas.schema_answers import Naming, SchemaAnswer
from schemas.sources.reading import Json
from tests.support.events import (
    full_alert,
    full_decision,
    full_letter,
    full_mutation,
    record,
)
from tests.support.operation_events import DRILLED, OPENED, RESTORED, ROTATED

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "events.json").read_text("utf-8"))
GUID = bytes(range(16))
FILES = {
    DECISION: "authorization_decision",
    MUTATION: "memory_mutation",
    ALERT: "anomaly_alert",
    DEAD_LETTER: "dead_letter",
    LOG_HEAD: "log_head",
    SCHEMA_ANSWER: "schema_answer",
    LOG_OPENED: "log_opened",
    INDEX_KEY_ROTATED: "index_key_rotated",
    SNAPSHOT_RESTORED: "snapshot_restored",
    DRILL_FINISHED: "drill_finished",
}
DECODERS: dict[str, Callable[[Record], Any]] = {
    DECISION: decode_event,
    MUTATION: decode_event,
    ALERT: decode_alert,
    DEAD_LETTER: decode_dead_letter,
    LOG_HEAD: decode_head,
    SCHEMA_ANSWER: decode_schema_answer,
    LOG_OPENED: decode_operation_event,
    INDEX_KEY_ROTATED: decode_operation_event,
    SNAPSHOT_RESTORED: decode_operation_event,
    DRILL_FINISHED: decode_operation_event,
}
ENCODERS: dict[str, Callable[[Any], bytes]] = {
    DECISION: encode_event,
    MUTATION: encode_event,
    ALERT: encode_alert,
    DEAD_LETTER: encode_dead_letter,
    LOG_HEAD: encode_head,
    SCHEMA_ANSWER: encode_schema_answer,
    LOG_OPENED: encode_operation_event,
    INDEX_KEY_ROTATED: encode_operation_event,
    SNAPSHOT_RESTORED: encode_operation_event,
    DRILL_FINISHED: encode_operation_event,
}
VALUES: dict[str, Any] = {
    DECISION: full_decision(),
    MUTATION: full_mutation(),
    ALERT: full_alert(),
    DEAD_LETTER: full_letter(),
    LOG_HEAD: LogHead(origin="o/t/0", note="o/t/0\n0\n\n\n", manifest_sha256=bytes(range(32))),
    SCHEMA_ANSWER: SchemaAnswer(
        kind=Naming.ID, reference=bytes(4), text="t", detail="d", registry="https://r"
    ),
    LOG_OPENED: OPENED,
    INDEX_KEY_ROTATED: ROTATED,
    SNAPSHOT_RESTORED: RESTORED,
    DRILL_FINISHED: DRILLED,
}


def refused(value: bytes | None, *headers: tuple[bytes, bytes | None]) -> str:
    with pytest.raises(RejectedInput) as caught:
        decode_event(record(value, *headers))
    return caught.value.reason


def body_of(value: bytes) -> bytes:
    return value[10:]


def as_golden(value: Json) -> Json:
    match value:
        case bytes():
            return f"hex:{value.hex()}"
        case dict():
            return {name: as_golden(part) for name, part in value.items()}
        case list() | tuple():
            return [as_golden(part) for part in value]
        case _:
            return value


@pytest.mark.parametrize("name", list(FILES))
def test_every_value_comes_back_as_it_was(name: str) -> None:
    encoded = ENCODERS[name](VALUES[name])
    assert DECODERS[name](record(encoded)) == VALUES[name]
    assert ENCODERS[name](DECODERS[name](record(encoded))) == encoded


@pytest.mark.parametrize("vector", GOLDEN["vectors"], ids=lambda vector: vector["schema"])
def test_golden_bytes_mean_what_they_always_meant(vector: dict[str, Any]) -> None:
    value = bytes.fromhex(vector["single_object"])
    decoded = DECODERS[vector["schema"]](record(value))
    assert as_golden(asdict(decoded)) == vector["value"]
    assert ENCODERS[vector["schema"]](decoded) == value


@pytest.mark.parametrize("name", list(FILES))
def test_dataclass_fields_are_the_fields_of_the_schema(name: str) -> None:
    schema = parse_text(current_text(FILES[name]))
    assert [field["name"] for field in schema["fields"]] == list(asdict(VALUES[name]))


def test_all_four_framings_are_read() -> None:
    event, single = full_decision(), encode_event(full_decision())
    schema = writer_schema(current_text("authorization_decision"))
    table = BUILT_IN.with_schema(SchemaReference(ReferenceKind.ID, b"\0\0\0\x07"), schema)
    table = table.with_schema(SchemaReference(ReferenceKind.GUID, GUID), schema)
    confluent = encode_event(event, schema_id=7)
    assert confluent == b"\0\0\0\0\x07" + body_of(single)
    header = (b"__value_schema_id", b"\x01" + GUID)
    for framed in (
        record(single),
        record(confluent),
        record(b"\x01" + GUID + body_of(single)),
        record(body_of(single), (b"other", None), header),
    ):
        assert decode_event(framed, table) == event


def test_a_schema_id_header_wins_over_first_bytes() -> None:
    header = (b"__value_schema_id", b"\x01" + GUID)
    assert refused(encode_event(full_decision()), header) == "UNKNOWN_SCHEMA"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(None, "UNKNOWN_FRAMING", id="tombstone"),
        pytest.param(b"", "UNKNOWN_FRAMING", id="empty"),
        pytest.param(b"\xff" * 900_000, "UNKNOWN_FRAMING", id="900-kB-of-noise"),
        pytest.param(b'{"callId":"x"}', "UNKNOWN_FRAMING", id="json"),
        pytest.param(b"\xc3\x01\x00", "UNKNOWN_FRAMING", id="frame-cut-short"),
        pytest.param(b"\0\0\0\0", "UNKNOWN_FRAMING", id="id-cut-short"),
        pytest.param(b"\x01" * 16, "UNKNOWN_FRAMING", id="guid-cut-short"),
        pytest.param(b"\0\0\0\0\x09body", "UNKNOWN_SCHEMA", id="id-never-heard-of"),
        pytest.param(b"\xc3\x01" + b"12345678" + b"body", "UNKNOWN_SCHEMA", id="fingerprint"),
        pytest.param(bytes(EVENT_BYTES_MAX + 1), "TOO_LARGE", id="one-byte-over-the-limit"),
        pytest.param(encode_event(full_decision()) + b"\0", "TRAILING_BYTES", id="one-more"),
        pytest.param(encode_event(full_decision())[:-1], "UNDECODABLE", id="one-less"),
        pytest.param(encode_event(full_decision())[:10], "UNDECODABLE", id="no-body"),
        pytest.param(encode_alert(full_alert()), "WRONG_TYPE", id="alert"),
    ],
)
def test_what_is_no_event_is_refused_with_its_reason(value: bytes | None, reason: str) -> None:
    assert refused(value) == reason


def test_audit_values_on_an_event_topic_have_the_wrong_type() -> None:
    known = fingerprint(parse_text(current_text("audit_record")))
    assert refused(b"\xc3\x01" + known + b"body") == "WRONG_TYPE"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([b"\x01" + GUID, b"\x01" + GUID[::-1]], id="two-that-differ"),
        pytest.param([b"\x00" + GUID], id="another-version"),
        pytest.param([b"\x01" + GUID[:15]], id="short"),
        pytest.param([None], id="null"),
    ],
)
def test_a_schema_id_header_that_is_no_single_guid_is_refused(headers: list[bytes | None]) -> None:
    pairs = [(b"__value_schema_id", value) for value in headers]
    assert refused(body_of(encode_event(full_decision())), *pairs) == "UNKNOWN_FRAMING"


def test_each_decoder_takes_its_own_type_only() -> None:
    decision, mutation = (
        record(encode_event(full_decision())),
        record(encode_event(full_mutation())),
    )
    assert decode_decision(decision) == full_decision()
    assert decode_mutation(mutation) == full_mutation()
    for decode, wrong in ((decode_decision, mutation), (decode_mutation, decision)):
        with pytest.raises(RejectedInput) as caught:
            decode(wrong)
        assert caught.value.reason == "WRONG_TYPE"


def test_a_decoded_event_that_breaks_a_rule_is_invalid() -> None:
    # The digest of the source record is changed, in bytes that decode as before.
    value = encode_event(full_decision())
    digest = full_decision().source_record.sha256
    assert digest is not None
    assert refused(value.replace(digest, digest[::-1])) == "INVALID_EVENT"


def test_equal_events_have_equal_bytes_whatever_the_order_of_their_maps() -> None:
    one = replace(full_decision(), metrics={"a": 1.0, "b": 2.0})
    other = replace(full_decision(), metrics={"b": 2.0, "a": 1.0})
    assert encode_event(one) == encode_event(other)


def test_an_event_over_the_limit_is_not_written() -> None:
    content = b"x" * EVENT_BYTES_MAX
    with pytest.raises(TooLargeError):
        encode_event(replace(full_mutation(), reason="x" * EVENT_BYTES_MAX))
    with pytest.raises(InvalidEventError):
        encode_event(replace(full_decision(), source_record=SourceRecord(content=content)))


def test_a_text_shared_by_thousands_of_evaluations_is_not_written_thousands_of_times() -> None:
    heavy = Evaluation(subject=Entity(id="a", attributes_json="x" * 100_000))
    event = replace(full_decision(), evaluations=(heavy,) * 4_000)
    tracemalloc.start()
    with pytest.raises(TooLargeError):
        encode_event(event)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 2**20


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"tenant": "\ud800"}, id="lone-surrogate"),
        pytest.param({"version": 2**63}, id="beyond-64-bits"),
        pytest.param({"owner": None}, id="none-for-text"),
    ],
)
def test_what_avro_cannot_hold_is_an_invalid_event(change: dict[str, Any]) -> None:
    with pytest.raises((InvalidEventError, TypeError)):
        encode_event(replace(full_mutation(), **change))


@pytest.mark.parametrize(
    "head",
    [
        LogHead(origin="", note="\n0\n"),
        LogHead(origin="o/t/0", note="o/t/1\n0\n"),
        LogHead(origin="o/t/0", note="o/t/0\n0\n", manifest_sha256=bytes(31)),
    ],
    ids=["no log", "another log", "no digest"],
)
def test_head_that_is_none_of_its_log_is_refused(head: LogHead) -> None:
    with pytest.raises(InvalidEventError):
        encode_head(head)
