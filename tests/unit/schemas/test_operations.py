"""What the events of operations may say."""

from dataclasses import replace

import pytest

from schemas.codec import decode_operation_event, encode_operation_event, encode_schema_answer
from schemas.errors import InvalidEventError, RejectedInput
from schemas.framing import confluent_frame
from schemas.operations import OperationEvent
from schemas.readable import record_as_json
from schemas.records import Record
from schemas.schema_answers import Naming, SchemaAnswer
from tests.support.operation_events import DRILLED, OPENED, RESTORED, ROOT, ROTATED

EVENTS: list[OperationEvent] = [OPENED, ROTATED, RESTORED, DRILLED]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_read_as_it_was_written_without_a_registry(event: OperationEvent) -> None:
    value = encode_operation_event(event)
    assert value[:2] == b"\xc3\x01"
    assert decode_operation_event(Record(0, 0, None, value)) == event
    with pytest.raises(RejectedInput):
        decode_operation_event(Record(0, 0, None, confluent_frame(7, value[10:])))


@pytest.mark.parametrize(
    "wrong",
    [
        replace(OPENED, origin=""),
        replace(OPENED, vkeys=()),
        replace(OPENED, first_offset=-1),
        replace(ROTATED, key_id=""),
        replace(ROTATED, snapshots=-1),
        replace(RESTORED, snapshot="s" * 2_049),
        replace(RESTORED, content_sha256=b"short"),
        replace(RESTORED, logs=(replace(ROOT, root=b""),)),
        replace(DRILLED, seed=""),
        replace(DRILLED, passed=False),
        replace(DRILLED, failures=("it did not hold",)),
        replace(DRILLED, recovery_seconds=float("nan")),
        replace(DRILLED, passed=False, failures=("x",) * 33),
        replace(DRILLED, passed=False, failures=("x" * 1_001,)),
    ],
)
def test_an_event_that_cannot_be_is_refused(wrong: OperationEvent) -> None:
    with pytest.raises(InvalidEventError):
        encode_operation_event(wrong)


@pytest.mark.parametrize(
    "value",
    [
        b"attestream.operation/key-added/v1\n",
        encode_schema_answer(SchemaAnswer(kind=Naming.ID, reference=bytes(4))),
        None,
    ],
)
def test_what_else_stands_among_the_operations_is_no_event(value: bytes | None) -> None:
    with pytest.raises(RejectedInput):
        decode_operation_event(Record(0, 0, None, value))


def test_people_can_read_what_stands_among_the_operations() -> None:
    shown = record_as_json(Record(0, 0, None, encode_operation_event(DRILLED)))
    assert (shown["passed"], shown["seed"]) == (True, DRILLED.seed)
    note = b"attestream.operation/key-added/v1\nvkey x\n"
    assert record_as_json(Record(0, 0, None, note)) == {"note": note.decode()}
    answer = encode_schema_answer(SchemaAnswer(kind=Naming.ID, reference=bytes(4)))
    assert record_as_json(Record(0, 0, None, answer))["kind"] == "ID"
    assert "unreadable" in record_as_json(Record(0, 0, None, b"junk"))
