"""Named attacks on records, each with the breaks a trail must name."""

import pytest

from schemas.records import Record
from streams.audit import tail
from streams.audit.leaf import leaf_hash
from streams.audit.sealing import (
    TAIL_BYTES_MAX,
    TAIL_RECORDS_MAX,
    TRANSACTION_BYTES_MAX,
    TRANSACTION_RECORDS_MAX,
)
from streams.audit.trail import Trail
from streams.errors import BreakError
from tests.support.forgeries import TRUSTED, breaks_of, changed, fitting, flipped, source
from tests.support.signed_logs import (
    ORIGIN,
    SignedLog,
    audit_record,
    positions,
    renumbered,
    usual_log,
)

# usual_log: checkpoints of 0, 4, 8 and 12, and records 12 and 13 as its tail.


def without(rows: list[Record], *indexes: int) -> list[Record]:
    gone = {positions(rows)[index] for index in indexes}
    return [row for at, row in enumerate(rows) if at not in gone]


def test_an_honest_log_has_no_break() -> None:
    assert breaks_of(usual_log().rows) == []
    assert breaks_of(usual_log().rows, None, origin=None) == []


def test_changed_byte_in_content_is_named_by_its_record() -> None:
    assert breaks_of(changed(usual_log().rows, 5, flipped)) == [("altered", 5)]


def test_changed_byte_in_the_first_record_is_named() -> None:
    assert breaks_of(changed(usual_log().rows, 0, flipped)) == [("altered", 0)]


def test_changed_byte_in_the_tail_is_named() -> None:
    assert breaks_of(changed(usual_log().rows, 13, flipped)) == [("altered", 13)]


def test_changed_key_inside_the_content_is_named() -> None:
    rows = changed(
        usual_log().rows, 6, lambda r: r._replace(content=r.content.replace(b"key-", b"kez-"))
    )
    assert breaks_of(rows) == [("altered", 6)]


def test_changed_content_with_a_fitting_leaf_is_named_by_the_interval_the_frontier_tells() -> None:
    rows = changed(usual_log().rows, 5, fitting(flipped))
    assert breaks_of(rows) == [("altered", 4)]
    with pytest.raises(BreakError, match=r"\[4, 8\)"):
        Trail(ORIGIN, TRUSTED).feed_all(rows)


def test_interval_is_narrow_where_one_checkpoint_covers_much() -> None:
    log = SignedLog().extend(27).checkpoint()
    rows = changed(log.rows, 25, fitting(flipped))
    with pytest.raises(BreakError, match=r"altered at index 0: .*\[24, 26\)"):
        Trail(ORIGIN, TRUSTED).feed_all(rows)


def test_changed_stored_leaf_under_a_right_root_is_named() -> None:
    rows = changed(usual_log().rows, 7, lambda r: r._replace(leaf=b"\0" * 32))
    assert breaks_of(rows) == [("altered", 7)]


def test_first_of_two_changed_records_is_named() -> None:
    rows = changed(changed(usual_log().rows, 6, flipped), 5, flipped)
    assert breaks_of(rows) == [("altered", 5)]


def test_changed_source_timestamp_is_named() -> None:
    rows = changed(usual_log().rows, 5, source("timestamp", 7))
    assert breaks_of(rows) == [("altered", 5)]


def test_changed_kafka_timestamp_is_named() -> None:
    rows = usual_log().rows
    at = positions(rows)[5]
    rows[at] = rows[at]._replace(timestamp=7)
    assert breaks_of(rows) == [("altered", 5)]


def test_both_timestamps_changed_alike_are_named() -> None:
    rows = changed(usual_log().rows, 5, source("timestamp", 7))
    at = positions(rows)[5]
    rows[at] = rows[at]._replace(timestamp=7)
    assert breaks_of(rows) == [("altered", 5)]


def test_raised_source_offset_is_blamed_on_its_record_not_on_the_next() -> None:
    rows = usual_log().rows
    offset = audit_record(rows[positions(rows)[5]]).source.offset
    forged = changed(rows, 5, source("offset", offset + 1))
    assert breaks_of(forged) == [("altered", 5), ("sequence", 6)]
    with pytest.raises(BreakError, match="altered at index 5"):
        Trail(ORIGIN, TRUSTED).feed_all(forged)


def test_source_offset_that_does_not_rise_is_out_of_sequence() -> None:
    rows = usual_log().rows
    offset = audit_record(rows[positions(rows)[4]]).source.offset
    found = breaks_of(changed(rows, 5, fitting(source("offset", offset))))
    assert found == [("sequence", 5)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("topic", "authz.other"),
        ("partition", 3),
        ("partition", -1),
        ("timestamp", -2),
        ("offset", -5),
    ],
)
def test_source_that_is_not_of_this_log_is_named(name: str, value: object) -> None:
    found = breaks_of(changed(usual_log().rows, 5, fitting(source(name, value))))
    assert found == [("altered", 5)]


def test_kafka_key_beside_a_record_is_named() -> None:
    rows = usual_log().rows
    at = positions(rows)[5]
    rows[at] = rows[at]._replace(key=b"alice")
    assert breaks_of(rows) == [("altered", 5)]


def test_kafka_header_beside_a_record_is_named() -> None:
    rows = usual_log().rows
    at = positions(rows)[5]
    rows[at] = rows[at]._replace(headers=((b"who", b"alice"),))
    assert breaks_of(rows) == [("altered", 5)]


def test_content_with_trailing_bytes_is_named_though_leaf_and_root_fit() -> None:
    log = SignedLog().extend(3)
    plain = log.rows[-1]
    record = audit_record(plain)
    content = record.content + b"\0"
    leaf = leaf_hash(2, record.source, content)
    log.rows[-1] = log.row(record._replace(content=content, leaf=leaf), plain.timestamp)
    log.rows[-1] = log.rows[-1]._replace(offset=plain.offset)
    log.leaves[-1] = leaf
    log.frontier = type(log.frontier)()
    log.frontier.extend(log.leaves)
    assert breaks_of(log.checkpoint().rows) == [("altered", 2)]


@pytest.mark.parametrize("value", [None, b"", b"\xc3\x01", b"garbage", b"\xc3\x01" + bytes(100)])
def test_unreadable_value_is_named_at_the_index_that_was_due(value: bytes | None) -> None:
    rows = usual_log().rows
    at = positions(rows)[5]
    rows[at] = rows[at]._replace(value=value)
    assert breaks_of(rows) == [("altered", 5)]


def test_value_with_a_byte_behind_its_end_is_named() -> None:
    rows = usual_log().rows
    at = positions(rows)[5]
    rows[at] = rows[at]._replace(value=(rows[at].value or b"") + b"\0")
    assert breaks_of(rows) == [("altered", 5)]


def test_two_records_swapped_are_out_of_sequence() -> None:
    rows = usual_log().rows
    a, b = positions(rows)[5], positions(rows)[6]
    rows[a], rows[b] = rows[b], rows[a]
    assert breaks_of(renumbered(rows))[0] == ("sequence", 5)


def test_dropped_first_record_is_missed() -> None:
    assert breaks_of(without(usual_log().rows, 0))[0] == ("sequence", 0)


def test_dropped_record_in_the_middle_is_missed() -> None:
    assert breaks_of(without(usual_log().rows, 5)) == [("sequence", 5)]


def test_dropped_last_sealed_record_is_missed_by_its_checkpoint() -> None:
    log = SignedLog().extend(4).checkpoint()
    assert breaks_of(without(log.rows, 3)) == [("sequence", 3)]


def test_dropped_batch_is_missed_at_its_first_record() -> None:
    assert breaks_of(without(usual_log().rows, 4, 5, 6, 7)) == [("sequence", 4)]


def test_doubled_batch_is_out_of_sequence() -> None:
    rows = usual_log().rows
    first, last = positions(rows)[4], positions(rows)[7]
    doubled = rows[: last + 1] + rows[first:]
    assert breaks_of(renumbered(doubled)) == [("sequence", 8)]


def test_old_batch_replayed_at_the_end_is_out_of_sequence() -> None:
    rows = usual_log().rows
    first, last = positions(rows)[4], positions(rows)[7]
    assert breaks_of(renumbered(rows + rows[first : last + 1])) == [("sequence", 14)]


def test_record_at_an_offset_before_the_last_is_out_of_sequence() -> None:
    rows = usual_log().rows
    at = positions(rows)[5]
    rows[at] = rows[at]._replace(offset=rows[at - 1].offset)
    assert ("sequence", 5) in breaks_of(rows)


def test_aborted_transaction_offered_as_history_is_out_of_sequence() -> None:
    log = SignedLog().extend(4)
    aborted = SignedLog().extend(4).extend(2).rows[-2:]
    rows = renumbered(log.rows + aborted + log.extend(3).checkpoint().rows[-4:])
    assert breaks_of(rows) == [("sequence", 6)]


def test_record_before_genesis_is_out_of_sequence() -> None:
    rows = usual_log().rows
    assert breaks_of(rows[1:])[0] == ("sequence", 0)


def test_inserted_record_with_all_behind_it_numbered_through_is_caught() -> None:
    honest = SignedLog().extend(6).checkpoint()
    forged = SignedLog().extend(2).append([Record(101, 5, None, b"never happened")])
    assert forged.next_source_offset == 102
    rows = renumbered([*forged.extend(3).rows, honest.rows[-1]])
    assert breaks_of(rows) == [("sequence", 2)]


def test_record_replaced_by_another_of_the_same_place_is_altered() -> None:
    honest = SignedLog().extend(2).checkpoint().extend(4).checkpoint()
    forged = SignedLog().extend(2).checkpoint()
    forged.append([Record(102, 5, None, b"never happened")])
    forged.next_source_offset = 103
    rows = renumbered([*forged.extend(3).rows, honest.rows[-1]])
    assert breaks_of(rows) == [("altered", 2)]


def test_bounds_are_those_of_the_format() -> None:
    assert (TAIL_RECORDS_MAX, TAIL_BYTES_MAX) == (65_536, 64 * 1024 * 1024)
    assert (TRANSACTION_RECORDS_MAX, TRANSACTION_BYTES_MAX) == (4_096, 4 * 1024 * 1024)


def test_tail_of_more_records_than_allowed_is_unsealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "TAIL_RECORDS_MAX", 50)
    log = SignedLog().extend(3).checkpoint().extend(50)
    assert breaks_of(log.rows) == []
    assert breaks_of(log.extend(1).rows) == [("unsealed_tail", 3)]


def test_tail_of_more_bytes_than_allowed_is_unsealed(monkeypatch: pytest.MonkeyPatch) -> None:
    log = SignedLog().extend(3).checkpoint().extend(50)
    values = [len(row.value or b"") for row in log.rows[-50:]]
    monkeypatch.setattr(tail, "TAIL_BYTES_MAX", sum(values))
    assert breaks_of(log.rows) == []
    assert breaks_of(log.extend(1, size=1).rows) == [("unsealed_tail", 3)]


def test_log_goes_on_behind_a_tail_over_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "TAIL_RECORDS_MAX", 50)
    log = SignedLog().extend(3).checkpoint().extend(120).checkpoint().extend(9).checkpoint()
    assert breaks_of(changed(log.rows, 130, flipped)) == [("unsealed_tail", 3), ("altered", 130)]


def test_without_keys_altered_records_are_found_all_the_same() -> None:
    assert breaks_of(changed(usual_log().rows, 5, flipped), None) == [("altered", 5)]
