"""Record batches, good and bad, as a broker may answer them."""

import struct

import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.util import calc_crc32c

from schemas.records import Record
from streams.errors import SourceChangedError
from streams.kafka.batches import Batches
from tests.support.record_batches import BatchKind, record_batch

COMMIT, ABORT = struct.pack(">hh", 0, 1), struct.pack(">hh", 0, 0)
NOT_UTF8 = ((b"\xff\xfe", b"1"), (b"ok", None))


def rows(first: int, count: int) -> list[Record]:
    return [Record(n, 1000 + n, b"k%d" % n, b"v%d" % n) for n in range(first, first + count)]


def plain(first: int, count: int, missing: int = 0) -> bytes:
    return record_batch(rows(first, count), BatchKind(base_offset=first, missing=missing))


def transactional(first: int, count: int, producer: int) -> bytes:
    kind = BatchKind(base_offset=first, producer_id=producer, transactional=True)
    return record_batch(rows(first, count), kind)


def marker(offset: int, producer: int, key: bytes) -> bytes:
    kind = BatchKind(base_offset=offset, producer_id=producer, transactional=True, control=True)
    return record_batch([Record(offset, 0, key, b"\0" * 6)], kind)


def test_records_come_in_pages_and_the_next_offset_is_exact() -> None:
    batches = Batches(plain(0, 3) + plain(3, 2), 0, dense=True)
    assert batches.end == 5
    assert (batches.take(2), batches.next_offset) == (rows(0, 2), 2)
    assert (batches.take(2), batches.next_offset) == (rows(2, 2), 4)
    assert (batches.take(2), batches.next_offset) == (rows(4, 1), 5)
    assert (batches.take(2), batches.next_offset) == ([], 5)


def test_records_below_the_offset_asked_for_are_left_out() -> None:
    batches = Batches(plain(10, 5), 13, dense=True)
    assert (batches.take(10), batches.next_offset) == (rows(13, 2), 15)


def test_a_batch_cut_off_at_the_end_of_an_answer_is_left_for_the_next() -> None:
    batches = Batches(plain(0, 2) + plain(2, 2)[:-1], 0)
    assert batches.end == 2
    assert (batches.take(10), batches.next_offset) == (rows(0, 2), 2)


def test_aborted_records_and_markers_move_the_offset_and_nothing_else() -> None:
    data = (
        plain(0, 1)
        + transactional(1, 2, producer=7)
        + transactional(3, 1, producer=8)
        + marker(4, 7, ABORT)
        + marker(5, 8, COMMIT)
        + transactional(6, 1, producer=7)
        + marker(7, 7, COMMIT)
    )
    batches = Batches(data, 0, [(7, 1)], dense=True)
    assert [r.offset for r in batches.take(10)] == [0, 3, 6]
    assert batches.next_offset == 8


def test_an_answer_of_markers_alone_is_empty_and_moves_on() -> None:
    batches = Batches(marker(4, 7, ABORT) + marker(5, 8, COMMIT), 4, dense=True)
    assert (batches.take(10), batches.next_offset) == ([], 6)


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
def test_header_names_that_are_not_utf8_are_kept(codec: int) -> None:
    odd = [
        Record(5, 1, None, None, NOT_UTF8),
        Record(6, 0, b"", b"", ((b"", b""),)),
        Record(7, 9_999_999_999_999, b"k", b"v" * 300, ()),
    ]
    data = record_batch(odd, BatchKind(base_offset=5, codec=codec))
    assert Batches(data, 5, dense=True).take(10) == odd


@pytest.mark.parametrize("headers", [(), NOT_UTF8], ids=["decoded by aiokafka", "decoded here"])
def test_a_topic_that_stamps_by_arrival_gives_that_time_to_every_record(
    headers: tuple[tuple[bytes, bytes | None], ...],
) -> None:
    records = [Record(n, 5, b"", b"", headers) for n in range(2)]
    data = record_batch(records, BatchKind(append_time=777))
    assert [r.timestamp for r in Batches(data, 0).take(10)] == [777, 777]


def test_no_timestamp_is_minus_one() -> None:
    data = record_batch([Record(0, -1, b"", b"", ())])
    assert Batches(data, 0).take(1)[0].timestamp == -1


def test_a_hole_between_batches_of_a_source_is_an_error() -> None:
    data = plain(0, 2) + plain(4, 2)
    batches = Batches(data, 0, dense=True)
    assert batches.take(2) == rows(0, 2)
    with pytest.raises(SourceChangedError, match="2 to 3"):
        batches.take(1)
    assert [r.offset for r in Batches(data, 0).take(10)] == [0, 1, 4, 5]


def test_a_hole_before_the_first_batch_of_a_source_is_an_error() -> None:
    with pytest.raises(SourceChangedError, match="8 to 9"):
        Batches(plain(10, 1), 8, dense=True).take(1)


def test_records_compacted_out_of_a_batch_of_a_source_are_an_error() -> None:
    with pytest.raises(SourceChangedError, match="between 0 and 3"):
        Batches(plain(0, 2, missing=2), 0, dense=True).take(10)
    batches = Batches(plain(0, 2, missing=2), 0)
    assert (batches.take(10), batches.next_offset) == (rows(0, 2), 4)


@pytest.mark.parametrize("at", [17, 21, 40, 61, -1])
def test_a_changed_byte_fails_the_checksum(at: int) -> None:
    data = bytearray(plain(0, 2))
    data[at] ^= 1
    with pytest.raises(CorruptRecordException):
        Batches(bytes(data), 0).take(10)


def test_an_old_message_format_is_refused_in_a_sentence() -> None:
    data = bytearray(plain(0, 1))
    data[16] = 1
    with pytest.raises(SourceChangedError, match="message format 1"):
        Batches(bytes(data), 0).take(1)


def test_a_batch_that_cannot_be_decoded_is_corrupt_not_endless() -> None:
    data = bytearray(record_batch([Record(0, 0, b"k", b"v", NOT_UTF8)]))
    data[57:61] = struct.pack(">i", 2)  # it says two records, and holds one
    data[17:21] = struct.pack(">I", calc_crc32c(bytes(data[21:])))
    with pytest.raises(CorruptRecordException, match="cannot be decoded"):
        Batches(bytes(data), 0).take(10)


def test_the_epoch_is_that_of_the_last_batch_the_leader_answered_with() -> None:
    old, new = bytearray(plain(0, 3)), bytearray(plain(3, 3))
    old[12:16], new[12:16] = (3).to_bytes(4, "big"), (5).to_bytes(4, "big")
    assert Batches(bytes(old), 0).epoch == 3
    assert Batches(bytes(old + new), 0).epoch == 5
    assert Batches(bytes(old + new[:-1]), 0).epoch == 3
    assert Batches(b"", 0).epoch == -1
