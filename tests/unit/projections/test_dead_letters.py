"""Dead letters: which records become one, and that each is published once."""

from hashlib import sha256

import pytest

from projections.dead_letters.fold import dead_letter_of
from projections.dead_letters.projection import DeadLetterProjection, DeadLetterWorld
from projections.ports import SealedBatch, SealedRecord
from schemas.audit_values import encode_content
from schemas.codec import decode_dead_letter, decode_decision, encode_event
from schemas.dead_letters import Reason
from schemas.events import Operation
from schemas.records import Record, Source
from streams.errors import OutcomeUnknownError, TransientError
from tests.support.decision_log import EventLog, decision, mutation
from tests.support.events import full_decision
from tests.support.output_partition import OutputPartition
from tests.support.sealed_log import ORIGIN, START_MS, batches_of

GOOD = decision(1, ("bea", "nurse", "chart", "view"))


def sealed(value: bytes | None) -> SealedRecord:
    record = Record(5, START_MS, None, value)
    source = Source("authz.decisions", 2, 5, START_MS)
    return SealedRecord(9, source, encode_content(record), bytes(32), record)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.UNKNOWN_FRAMING),
        (b"", Reason.UNKNOWN_FRAMING),
        (b"{}", Reason.UNKNOWN_FRAMING),
        (b"\x00\x00\x00\x00\x2a\x02x", Reason.UNKNOWN_SCHEMA),
        (GOOD[:-3], Reason.UNDECODABLE),
        (GOOD + b"x", Reason.TRAILING_BYTES),
        (mutation("n", 1, Operation.DELETE), Reason.WRONG_TYPE),
        (b"\xc3\x01" + bytes(1_100_000), Reason.TOO_LARGE),
        (b"x" * 9_000_000, Reason.TOO_LARGE),
    ],
    ids=[
        "no value",
        "an empty value",
        "no framing",
        "a schema nobody knows",
        "a body cut short",
        "bytes behind the body",
        "another event",
        "more than a reader takes",
        "more than an audit record holds",
    ],
)
def test_a_record_no_reader_can_use_is_named_with_its_reason(
    value: bytes | None, reason: Reason
) -> None:
    letter = dead_letter_of(ORIGIN, sealed(value), decode_decision)
    assert letter is not None
    assert letter.reason is reason
    assert letter.detail
    assert (letter.origin, letter.index) == (ORIGIN, 9)
    assert (letter.topic, letter.partition, letter.offset) == ("authz.decisions", 2, 5)
    kept = value is not None and len(value) < 8_000_000
    assert letter.value_sha256 == (sha256(value or b"").digest() if kept else None)


@pytest.mark.parametrize("value", [GOOD, encode_event(full_decision())], ids=["small", "full"])
def test_what_a_reader_can_use_is_no_dead_letter(value: bytes) -> None:
    assert dead_letter_of(ORIGIN, sealed(value), decode_decision) is None


def test_what_only_a_key_can_open_is_no_dead_letter() -> None:
    encrypted = SealedRecord(
        9,
        Source("authz.decisions", 2, 5, START_MS),
        b"\x02\x06key\x0asecret"[:-1],
        bytes(32),
        Record(5, START_MS, None, None),
    )
    assert dead_letter_of(ORIGIN, encrypted, decode_decision) is None


def world(output: OutputPartition) -> DeadLetterWorld:
    return DeadLetterWorld(
        make_writer=output.writer, make_reader=output.reader, decode=decode_decision
    )


async def follow(output: OutputPartition, batches: list[SealedBatch]) -> None:
    for _ in range(10):
        letters = DeadLetterProjection(world(output), ORIGIN)
        try:
            position = await letters.resume()
            assert position == (0, None, None)
            for batch in batches:
                await letters.apply(batch)
            await letters.idle()
        except OutcomeUnknownError:
            await letters.close()
        else:
            await letters.close()
            return
    raise AssertionError("it never got through")


@pytest.mark.parametrize("fate", ["lost", "applied"])
async def test_dead_letters_are_published_exactly_once(fate: str) -> None:
    values = [(START_MS + i, b"junk" if i % 7 in {3, 4} else GOOD) for i in range(60)]
    batches = list(batches_of(EventLog.sealed(values, [4, 10, 11, 10])))
    for append in (1, 2, 3):
        output = OutputPartition()
        output.faults = {append: fate, append + 1: fate}
        await follow(output, batches)
        letters = [decode_dead_letter(record) for record in output.records]
        assert [letter.index for letter in letters] == [i for i in range(60) if i % 7 in {3, 4}]
        assert [record.timestamp for record in output.records] == [
            START_MS + i for i in range(60) if i % 7 in {3, 4}
        ]


async def test_a_dead_letter_of_a_leaf_that_the_log_does_not_have_is_noticed() -> None:
    values = [(START_MS + i, b"junk") for i in range(20)]
    batches = list(batches_of(EventLog.sealed(values, [10, 10])))
    output = OutputPartition()
    await follow(output, batches)
    with pytest.raises(TransientError, match=r"leaf 19 of .*, which has 10"):
        await follow(output, batches[:2])
