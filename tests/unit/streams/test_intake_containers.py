"""Events from Avro object container files: ours, older, damaged and hostile ones."""

import gzip
import io
import zlib

import pytest
from fastavro import schemaless_reader, writer

from schemas.catalogue import Schema, current_text, parse_text
from schemas.codec import decode_event, encode_event
from schemas.events import AuthorizationDecision, Event
from schemas.record_types import DEAD_LETTER, DECISION, MUTATION, RECORD_TYPES
from schemas.sources.reading import Json
from streams.intake.files import Ready, Rejected, read_avro
from tests.support.events import full_decision, full_mutation, record


def events(found: list[Ready | Rejected]) -> list[Event]:
    return [decode_event(record(ready.value)) for ready in found if isinstance(ready, Ready)]


def container(name: str, values: list[Json], codec: str = "deflate") -> bytes:
    file = io.BytesIO()
    writer(file, RECORD_TYPES[name].plain, values, codec=codec, sync_interval=200)
    return file.getvalue()


def datum(event: Event) -> Json:
    """An event as fastavro has it."""
    name = DECISION if isinstance(event, AuthorizationDecision) else MUTATION
    return schemaless_reader(io.BytesIO(encode_event(event)[10:]), RECORD_TYPES[name].plain, None)


DECISIONS = container(DECISION, [datum(full_decision())] * 3)


def avro(data: bytes) -> list[Ready | Rejected]:
    return list(read_avro(io.BytesIO(data)))


@pytest.mark.parametrize("codec", ["null", "deflate"])
@pytest.mark.parametrize("event", [full_decision(), full_mutation()], ids=["decision", "memory"])
def test_an_avro_container_file_holds_events(event: Event, codec: str) -> None:
    name = DECISION if isinstance(event, AuthorizationDecision) else MUTATION
    data = container(name, [datum(event)] * 5, codec)
    for found in (avro(data), avro(gzip.compress(data))):
        assert events(found) == [event] * 5
        assert all(isinstance(each, Ready) and each.value == encode_event(event) for each in found)


def test_a_container_of_an_older_schema_is_resolved() -> None:
    schema: Schema = parse_text(current_text("memory_mutation"))
    schema["fields"] = [f for f in schema["fields"] if f["name"] not in {"source", "correlation"}]
    file = io.BytesIO()
    writer(
        file, schema, [{"event_id": "e", "namespace": "n", "node_id": "k", "operation": "HOLD"}]
    )
    (event,) = events(avro(file.getvalue()))
    assert event.event_id == "e"


LETTER = {"origin": "o", "index": 1, "topic": "t", "partition": 0, "offset": 1}
BROKEN = {
    "empty": (b"", "does not begin as"),
    "json": (b'{"callId":1}', "does not begin as"),
    "cut in the header": (DECISIONS[:50], "ends too early"),
    "metadata of a terabyte": (b"Obj\x01\x02" + b"\xff" * 5 + b"\x7f", "announced"),
    "endless metadata": (b"Obj\x01" + b"\x80" * 20, "more than ten bytes"),
    "no schema": (b"Obj\x01\x00" + bytes(16), "not an Avro schema"),
    "another record": (container(DEAD_LETTER, [LETTER]), "no events"),
    "codec": (DECISIONS.replace(b"deflate", b"zstandx"), "null and deflate are read"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_container_that_is_none_is_rejected_whole(name: str) -> None:
    data, sentence = BROKEN[name]
    (rejected,) = avro(data)
    assert isinstance(rejected, Rejected)
    assert sentence in rejected.reason


def test_a_cut_container_gives_its_whole_blocks() -> None:
    *good, last = avro(DECISIONS[:-20])
    assert events(good) == [full_decision()] * 2
    assert isinstance(last, Rejected)
    assert last.line == 3


def test_a_block_without_its_sync_marker_ends_the_reading() -> None:
    *good, last = avro(DECISIONS[:-1] + b"\x00")
    assert len(good) == 2
    assert isinstance(last, Rejected)
    assert "sync marker" in last.reason


def test_a_bad_record_costs_the_rest_of_its_block_and_no_other() -> None:
    data = bytearray(container(MUTATION, [datum(full_mutation())] * 6, "null"))
    at = data.index(b"acme")
    data[at - 1] = 0x7F  # the length of the tenant, now beyond the block
    found = avro(bytes(data))
    assert isinstance(found[0], Rejected)
    assert "rest of its block" in found[0].reason
    assert 0 < len(events(found)) < 6


def test_an_invalid_event_in_a_container_is_named_by_its_number() -> None:
    wrong = dict(datum(full_mutation()))
    wrong["operation"] = "UNKNOWN"
    found = avro(container(MUTATION, [datum(full_mutation()), wrong, datum(full_mutation())]))
    assert [isinstance(each, Ready) for each in found] == [True, False, True]
    assert found[1] == Rejected(
        2, "INVALID_EVENT: operation: UNKNOWN says nothing that could be done"
    )


def test_an_inflating_block_is_bounded() -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bomb.compress(bytes(80 * 2**20)) + bomb.flush()
    file = io.BytesIO()
    writer(file, RECORD_TYPES[DECISION].plain, [], codec="deflate")
    head = file.getvalue()
    size = len(block) << 1
    varint = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
    (rejected,) = avro(head + b"\x02" + varint + block + head[-16:])
    assert isinstance(rejected, Rejected)
    assert "does not inflate to at most" in rejected.reason


def test_every_damage_to_a_container_ends_in_events_or_rejections() -> None:
    for at in range(0, len(DECISIONS), 401):
        for byte in (0, 0xFF):
            avro(DECISIONS[:at] + bytes([byte]) + DECISIONS[at + 1 :])
            avro(DECISIONS[:at])
