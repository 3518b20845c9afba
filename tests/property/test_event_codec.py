"""Laws of the codec: nothing changes on the way, and no bytes do harm."""

import io
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastavro import schemaless_reader
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.alerts import AnomalyAlert, Evidence
from schemas.codec import (
    decode_alert,
    decode_dead_letter,
    decode_event,
    encode_alert,
    encode_dead_letter,
    encode_event,
)
from schemas.errors import RejectedInput
from schemas.events import (
    Action,
    AuthorizationDecision,
    Decision,
    Entity,
    Evaluation,
    MemoryMutation,
    PolicyRef,
    Producer,
    Redaction,
    RedactionKind,
    SourceRecord,
)
from schemas.framing import SCHEMA_ID_HEADER
from schemas.record_types import DECISION, MUTATION, RECORD_TYPES
from schemas.records import Record
from tests.support.events import full_alert, full_decision, full_letter, full_mutation

TEXT = st.text(max_size=12)
MICROS = st.none() | st.integers(-(10**15), 10**17)
MAPS = st.dictionaries(TEXT, TEXT, max_size=3)


def tuples(items: st.SearchStrategy[Any], size: int = 2) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=size).map(tuple)


ENTITIES = st.builds(
    Entity,
    type=TEXT,
    id=TEXT,
    roles=tuples(TEXT, 3),
    scope=TEXT,
    policy_version=TEXT,
    attributes_json=TEXT,
)
EVALUATIONS = st.builds(
    Evaluation,
    id=TEXT,
    subject=ENTITIES,
    agents=tuples(ENTITIES),
    action=st.builds(Action, name=TEXT, properties_json=TEXT),
    resource=ENTITIES,
    decision=st.sampled_from(Decision),
    reasons=tuples(TEXT),
    policies=tuples(st.builds(PolicyRef, id=TEXT, scope=TEXT, version=TEXT)),
    errors=tuples(TEXT),
)
DECISIONS = st.builds(
    AuthorizationDecision,
    event_id=st.text(min_size=1, max_size=20),
    tenant=TEXT,
    decided_at=MICROS,
    decided_at_nanos=st.integers(0, 999),
    evaluations=tuples(EVALUATIONS, 3),
    source=st.builds(Producer, product=TEXT, labels=MAPS),
    redactions=tuples(
        st.builds(Redaction, pointer=TEXT, kind=st.sampled_from(RedactionKind)),
    ),
    truncated=st.booleans(),
    metrics=st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    source_record=st.builds(SourceRecord, sha256=st.binary(min_size=32, max_size=32)),
)
ALERTS = st.builds(
    lambda seen, proof, count: replace(
        full_alert(),
        first_seen=seen,
        count=count,
        evidence=(
            Evidence(origin="o", index=1, leaf_hash=bytes(32), inclusion_proof=tuple(proof)),
        ),
    ),
    MICROS,
    st.lists(st.binary(min_size=32, max_size=32), max_size=4),
    st.integers(0, 2**62),
)


def framed(value: bytes, *headers: tuple[bytes, bytes | None]) -> Record:
    return Record(0, 0, None, value, headers)


@settings(deadline=None)
@given(DECISIONS)
def test_a_decision_comes_back_as_it_was(event: AuthorizationDecision) -> None:
    assert decode_event(framed(encode_event(event))) == event


@settings(deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1).filter(any),
    MICROS,
)
def test_a_mutation_comes_back_as_it_was(vector: list[float], expires_at: int | None) -> None:
    packed = struct.pack(f"<{len(vector)}f", *vector)
    event = replace(full_mutation(), vector=packed, dimension=len(vector), expires_at=expires_at)
    assert decode_event(framed(encode_event(event))) == event


@settings(deadline=None)
@given(ALERTS)
def test_an_alert_comes_back_as_it_was(alert: AnomalyAlert) -> None:
    assert decode_alert(framed(encode_alert(alert))) == alert


@settings(max_examples=30, deadline=None)
@given(st.lists(DECISIONS, max_size=3))
def test_what_was_read_before_changes_nothing(events: list[AuthorizationDecision]) -> None:
    """Readers remember their last values: any order and repetition reads the same."""
    values = [encode_event(event) for event in events]
    for value, event in zip(
        values + values[::-1] + values, events + events[::-1] + events, strict=True
    ):
        assert decode_event(framed(value)) == event


@settings(deadline=None)
@given(DECISIONS)
def test_fastavro_reads_what_we_read(event: AuthorizationDecision) -> None:
    datum = schemaless_reader(
        io.BytesIO(encode_event(event)[10:]), RECORD_TYPES[DECISION].plain, None
    )
    assert isinstance(datum, dict)
    assert datum["event_id"] == event.event_id
    assert [e["subject"]["id"] for e in datum["evaluations"]] == [
        e.subject.id for e in event.evaluations
    ]
    assert datum["metrics"] == event.metrics


REASONS = {
    "none",
    "UNKNOWN_FRAMING",
    "UNKNOWN_SCHEMA",
    "UNDECODABLE",
    "TRAILING_BYTES",
    "INVALID_EVENT",
    "WRONG_TYPE",
    "TOO_LARGE",
}


def reason(record: Record, decode: Callable[[Record], object] = decode_event) -> str:
    """Why a record is refused, "none" if it is not; anything but RejectedInput comes out."""
    try:
        decode(record)
    except RejectedInput as error:
        return error.reason
    return "none"


SAMPLES = {
    "decision": (encode_event(full_decision()), decode_event),
    "mutation": (encode_event(full_mutation()), decode_event),
    "alert": (encode_alert(full_alert()), decode_alert),
    "dead letter": (encode_dead_letter(full_letter()), decode_dead_letter),
}
EDITS = st.lists(
    st.tuples(st.integers(0, 2_000), st.sampled_from("xid"), st.binary(min_size=1, max_size=11)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=1_500, deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), EDITS)
def test_mutated_values_raise_only_declared_errors(
    name: str, edits: list[tuple[int, str, bytes]]
) -> None:
    value, decode = SAMPLES[name]
    for place, kind, new in edits:
        at = place % (len(value) + 1)
        cut = {"x": len(new), "i": 0, "d": 1 + new[0] % 9}[kind]
        value = value[:at] + (b"" if kind == "d" else new) + value[at + cut :]
    assert reason(framed(value), decode) in REASONS


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([DECISION, MUTATION]))
def test_random_bodies_raise_only_declared_errors(body: bytes, name: str) -> None:
    assert reason(framed(body)) in REASONS
    assert reason(framed(b"\xc3\x01" + RECORD_TYPES[name].fingerprint + body)) in REASONS


@settings(deadline=None)
@given(st.binary(max_size=40), st.lists(st.none() | st.binary(max_size=20), max_size=2))
def test_random_headers_raise_only_declared_errors(
    value: bytes, guids: list[bytes | None]
) -> None:
    headers = [(SCHEMA_ID_HEADER, guid) for guid in guids]
    assert reason(framed(value, *headers)) in REASONS - {"INVALID_EVENT"}


def test_every_truncation_and_every_bit_flip_raises_only_declared_errors() -> None:
    for value, decode in SAMPLES.values():
        for at in range(len(value)):
            assert reason(framed(value[:at]), decode) in REASONS
            for bit in range(8):
                flipped = value[:at] + bytes([value[at] ^ 1 << bit]) + value[at + 1 :]
                assert reason(framed(flipped), decode) in REASONS


def test_an_event_is_never_read_as_another_type() -> None:
    assert not isinstance(decode_event(framed(SAMPLES["decision"][0])), MemoryMutation)
