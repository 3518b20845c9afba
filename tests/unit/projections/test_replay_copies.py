"""Logs copied into a directory: byte for byte, once, and nothing behind what is broken."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from projections.replay.copying import Copied, LogSource, copy_log
from projections.replay.fold import Piece, in_order
from projections.replay.live import LiveLog
from projections.replay.opening import Sources
from schemas.audit_values import CHECKPOINT_HEAD
from streams.audit.operations import EpochForked
from streams.errors import (
    BreakError,
    FencedError,
    OutcomeUnknownError,
    SettingsError,
    SourceUnreadableError,
)
from streams.ports import Appended, NewRecord, PartitionWriter
from streams.verifier import Trust, verify_rows
from tests.support.replays import (
    LogReader,
    archive_of,
    archived,
    copied,
    long_log,
    place_at,
    staged_rows,
    staging_in,
    values,
)
from tests.support.sealed_log import KEYS, ORIGIN, SealedLog

LOG = long_log()
ORDERED = values(in_order(LOG.rows, 0))


def live(log: SealedLog = LOG) -> LiveLog:
    return LiveLog(LogReader(log), ORIGIN, KEYS)


@pytest.mark.parametrize("records", [6, 10, 100])
async def test_an_archive_is_copied_byte_for_byte(tmp_path: Path, records: int) -> None:
    store = await archive_of(LOG, tmp_path / "archive", records=records)
    async with place_at(tmp_path / "staging") as place:
        done = await copied(archived(store), place)
        assert (done.size, done.rows, done.resumed) == (LOG.size, len(LOG.rows), False)
        rows = await staged_rows(place)
        assert values(rows) == ORDERED
        assert [r.timestamp for r in rows] == [r.timestamp for r in in_order(LOG.rows, 0)]
        verdict = verify_rows(rows, Trust(keys=KEYS))
        assert (verdict.breaks, verdict.size) == ((), LOG.size)
        again = await copied(archived(store), place)
        assert (again.rows, again.resumed) == (0, True)


async def test_a_log_is_copied_from_where_it_is_without_its_tail(tmp_path: Path) -> None:
    log = long_log()
    log.append(3)
    async with place_at(tmp_path) as place:
        assert (await copied(live(log), place)).size == LOG.size
        assert values(await staged_rows(place)) == ORDERED
        log.checkpoint()
        done = await copied(live(log), place)
        assert (done.size, done.rows, done.resumed) == (log.size, 4, True)
        assert values(await staged_rows(place)) == values(in_order(log.rows, 0))


async def test_both_sources_give_the_same_rows(tmp_path: Path) -> None:
    store = await archive_of(LOG, tmp_path / "archive")
    async with place_at(tmp_path / "staging") as place:
        await copied(archived(store), place)
        assert (await copied(live(), place)).rows == 0


@pytest.mark.parametrize("begin", range(0, LOG.size + 1, 3))
async def test_a_copy_from_an_index_begins_with_the_checkpoint_below_it(
    tmp_path: Path, begin: int
) -> None:
    async with place_at(tmp_path) as place:
        plan = await live().plan(begin)
        await copied(live(), place, begin)
        rows = values(await staged_rows(place))
        assert rows[0][2] == CHECKPOINT_HEAD[2]
        at = ORDERED.index(rows[0])
        # A rotation's second checkpoint may stand between the two.
        assert rows == ORDERED[at:]
        assert plan.first <= begin
        assert (await copied(live(), place, begin)).rows == 0


@pytest.mark.parametrize("begin", [1, 6, 9, 14])
async def test_an_archive_from_an_index_begins_with_its_segment_s_opening(
    tmp_path: Path, begin: int
) -> None:
    source = archived(await archive_of(LOG, tmp_path / "archive"))
    async with place_at(tmp_path / "staging") as place:
        plan = await source.plan(begin)
        await copied(source, place, begin)
        rows = values(await staged_rows(place))
        assert rows == ORDERED[ORDERED.index(rows[0]) :]
        assert plan.first <= begin
        assert (await copied(source, place, begin)).rows == 0
        if plan.first:
            with pytest.raises(SettingsError, match="use another place"):
                await copied(source, place, 0)


class Faulty:
    """A writer whose `nth` append is lost, or applied with its answer lost."""

    def __init__(self, fate: str, nth: int) -> None:
        self.fate, self.nth, self.calls = fate, nth, 0

    def __call__(self, writer: PartitionWriter) -> Any:
        faulty = self

        class Wrapped:
            topic, partition, marker_offsets = writer.topic, writer.partition, 0
            start, close, confirm = writer.start, writer.close, writer.confirm

            async def append(self, records: Sequence[NewRecord]) -> Appended:
                faulty.calls += 1
                if faulty.calls != faulty.nth:
                    return await writer.append(records)
                if faulty.fate == "applied":
                    await writer.append(records)
                raise OutcomeUnknownError("the answer was lost")

        return Wrapped()


@pytest.mark.parametrize("fate", ["lost", "applied"])
@pytest.mark.parametrize("nth", [1, 2, 5])
async def test_a_transaction_whose_answer_is_lost_is_neither_lost_nor_doubled(
    tmp_path: Path, fate: str, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.replay.staging.TRANSACTION_RECORDS", 3)
    monkeypatch.setattr("projections.replay.copying.RETRY_S", 0)
    store = await archive_of(LOG, tmp_path / "archive")
    faulty = Faulty(fate, nth)
    async with place_at(tmp_path / "staging") as place:
        await copy_log(archived(store), staging_in(place, faulty), 0)
        assert faulty.calls > nth
        assert values(await staged_rows(place)) == ORDERED


class Raced(LiveLog):
    """A log that somebody else copies while its first piece is read."""

    other: Callable[[LogSource], Awaitable[Copied]]

    async def pieces(self, begin: int) -> AsyncGenerator[Piece, None]:
        await self.other(live())
        async for piece in super().pieces(begin):
            yield piece


async def test_a_copy_that_was_overtaken_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.replay.copying.RETRY_S", 0)
    async with place_at(tmp_path) as place:
        raced = Raced(LogReader(LOG), ORIGIN, KEYS)
        raced.other = partial(copied, place=place)
        assert (await copied(raced, place)).rows == 0
        assert values(await staged_rows(place)) == ORDERED


async def test_a_copy_that_wakes_up_later_adds_nothing(tmp_path: Path) -> None:
    store = await archive_of(LOG, tmp_path / "archive")
    async with place_at(tmp_path / "staging") as place:
        zombie = staging_in(place)
        await zombie.start()
        await copied(archived(store), place)
        with pytest.raises(FencedError):
            await zombie.append(LOG.rows[:1])
        assert values(await staged_rows(place)) == ORDERED


async def test_a_broken_segment_stops_the_copy_and_nothing_of_it_is_there(
    tmp_path: Path,
) -> None:
    store = await archive_of(LOG, tmp_path / "archive")
    segments = sorted((tmp_path / "archive").rglob("*.avro"))
    assert len(segments) > 2
    data = bytearray(segments[1].read_bytes())
    data[len(data) // 2] ^= 1
    segments[1].chmod(0o600)
    segments[1].write_bytes(bytes(data))
    first = int(segments[1].stem)
    async with place_at(tmp_path / "staging") as place:
        with pytest.raises(BreakError) as caught:
            await copied(archived(store), place)
        assert caught.value.index >= first
        rows = values(await staged_rows(place))
        assert rows == ORDERED[: len(rows)]
        assert sum(row[2] != CHECKPOINT_HEAD[2] for row in rows) <= first


async def test_nothing_behind_an_altered_record_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.replay.live.PIECE_RECORDS", 1)
    log = long_log()
    at = len(log.rows) - 3
    log.rows[at] = log.rows[at]._replace(value=(log.rows[at].value or b"")[:-1] + b"\0")
    async with place_at(tmp_path) as place:
        with pytest.raises(BreakError):
            await copied(live(log), place)
        rows = values(await staged_rows(place))
        assert rows == ORDERED[:19], "what the checkpoint before the altered record covers"


async def test_what_is_void_behind_a_fork_is_not_copied(tmp_path: Path) -> None:
    log, ended = long_log(), 9
    store = await archive_of(log, tmp_path / "archive", records=100)
    for at in range(14, len(log.rows)):
        log.rows[at] = log.rows[at]._replace(value=b"void")
    sources: tuple[LogSource, ...] = (
        LiveLog(LogReader(log), ORIGIN, KEYS, until=ended),
        replace(archived(store), until=ended),
    )
    for number, source in enumerate(sources):
        async with place_at(tmp_path / str(number)) as place:
            done = await copied(source, place)
            assert (done.size, (await source.plan(0)).size) == (ended, ended)
            rows = values(await staged_rows(place))
            assert rows == ORDERED[: len(rows)]
            assert sum(row[2] != CHECKPOINT_HEAD[2] for row in rows) == ended


async def test_either_source_ends_where_the_operator_ended_the_log(tmp_path: Path) -> None:
    store = await archive_of(LOG, tmp_path / "archive")
    fork = EpochForked(
        origin=ORIGIN,
        size=7,
        root=bytes(32),
        epoch=1,
        cluster_id="cluster",
        topic_id="topic",
        offset=7,
    )
    trust = Trust(keys=KEYS, forks={ORIGIN: fork})
    async with Sources(None, store, trust, "", {}).log(ORIGIN, LOG.size) as source:
        assert (await source.plan(0)).size == 7


async def test_a_copy_of_another_history_is_left_alone(tmp_path: Path) -> None:
    async with place_at(tmp_path) as place:
        await copied(live(), place)
        other = long_log(salt=b"other")
        other.append(1)
        other.checkpoint()
        with pytest.raises(BreakError, match="no copy of this log"):
            await copied(live(other), place)
        assert values(await staged_rows(place)) == ORDERED


async def test_places_in_a_log_are_found_by_offset_and_by_time(tmp_path: Path) -> None:
    source = archived(await archive_of(LOG, tmp_path / "archive"))
    records = [row for row in LOG.rows if row.value and row.value[2] != CHECKPOINT_HEAD[2]]
    for index, row in enumerate(records):
        for log in (live(), source):
            assert await log.index_at(row.offset) == index
            assert await log.index_since(row.timestamp) == index
    with pytest.raises(SourceUnreadableError, match="older"):
        await live().index_since(records[-1].timestamp + 1)
    with pytest.raises(SourceUnreadableError, match="later"):
        await source.index_since(records[-1].timestamp + 1)
