"""What makes one run, and what ends it."""

from collections.abc import Sequence

import pytest

from schemas.records import AuditRecord, Record
from streams.audit.merkle import Frontier
from streams.audit.runs import Run, runs_of
from streams.audit.sealing import plan_batch
from tests.support.forgeries import fitting, source
from tests.support.signed_logs import FIRST_TIMESTAMP, PARTITION, TOPIC, audit_record, rewritten


def rows_of(offsets: Sequence[int], *, size: int = 200, first: int = 0) -> list[Record]:
    """Audit records of source records at these offsets."""
    before = Frontier.of(first, [bytes(32)] * first.bit_count())
    events = [
        Record(offset, FIRST_TIMESTAMP + 7000 * n, b"key", bytes([n % 256]) * size)
        for n, offset in enumerate(offsets)
    ]
    plan = plan_batch(before, TOPIC, PARTITION, events)
    return [Record(3 * n, new.timestamp, None, new.value) for n, new in enumerate(plan.records)]


def shape(rows: Sequence[Record]) -> list[int]:
    """How many records each part has; 0 for a record by itself."""
    return [len(part.leaves) if isinstance(part, Run) else 0 for part in runs_of(rows)]


@pytest.mark.parametrize(
    "offsets",
    [
        range(100),
        range(0, 300, 2),
        [n + n // 3 for n in range(100)],
        [n * n for n in range(100)],
        [0, 63, 64, 8191, 8192, 8193, 2**20 - 1, 2**20, 2**34 - 1, 2**34, 2**39],
        range(8100, 8300),
    ],
    ids=["dense", "every second", "markers between", "squares", "longer codes", "a table's end"],
)
def test_holes_in_the_source_do_not_end_a_run(offsets: Sequence[int]) -> None:
    rows = rows_of(offsets)
    (run,) = runs_of(rows)
    assert isinstance(run, Run)
    assert (run.topic, run.partition, run.index) == (TOPIC, PARTITION, 0)
    assert run.source_offsets == (offsets[0], offsets[-1])
    assert run.offsets == (0, rows[-1].offset)
    assert run.leaves == [audit_record(row).leaf for row in rows]
    assert run.lengths == [len(row.value or b"") for row in rows]


@pytest.mark.parametrize("first", [0, 63, 8191, 2**20 - 50, 2**34 - 50, 2**40 - 120])
def test_indexes_of_any_length_make_a_run(first: int) -> None:
    assert shape(rows_of(range(first, first + 100), first=first)) == [100]


def test_a_long_run_is_cut() -> None:
    assert shape(rows_of(range(1100))) == [512, 512, 76]


def changed(at: int, **fields: object) -> list[Record]:
    rows = rows_of(range(20))
    rows[at] = rows[at]._replace(**fields)  # type: ignore[arg-type]
    return rows


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"key": b"k"}, [9, 0, 10]),
        ({"headers": ((b"h", None),)}, [9, 0, 10]),
        ({"timestamp": 5}, [9, 0, 10]),
        ({"timestamp": -1}, [9, 0, 10]),
        ({"value": None}, [9, 0, 10]),
        ({"value": b""}, [9, 0, 10]),
        ({"value": bytes(400)}, [9, 0, 10]),
        ({"offset": 24}, [9, 11]),
    ],
)
def test_a_record_that_is_not_as_usual_stands_alone(
    fields: dict[str, object], expected: list[int]
) -> None:
    assert shape(changed(9, **fields)) == expected


def of_offset(offset: int) -> list[Record]:
    rows = rows_of(range(50, 70))
    rows[9] = rewritten(rows[9], fitting(source("offset", offset)))
    return rows


@pytest.mark.parametrize("offset", [0, 57, 58])
def test_a_source_offset_that_does_not_rise_ends_a_run(offset: int) -> None:
    assert shape(of_offset(offset)) == [9, 11]


def test_a_source_offset_that_jumps_ahead_ends_the_run_behind_it() -> None:
    assert shape(of_offset(10**6)) == [10, 10]


def renumbered(record: AuditRecord) -> AuditRecord:
    return record._replace(index=record.index + 1)


def test_an_index_that_is_not_the_next_ends_a_run() -> None:
    rows = rows_of(range(20))
    rows[9] = rewritten(rows[9], fitting(renumbered))
    assert shape(rows) == [9, 1, 10]


@pytest.mark.parametrize("size", [0, 100, 8300])
def test_short_and_long_contents_are_left_to_the_decoder(size: int) -> None:
    assert shape(rows_of(range(5), size=size)) == [0] * 5


def test_numbers_beyond_what_is_usual_raise_nothing() -> None:
    for number in (2**40, 2**62, 2**63 - 3):
        rows = rows_of(range(number, number + 2), first=number)
        assert shape(rows) == [0, 0]
