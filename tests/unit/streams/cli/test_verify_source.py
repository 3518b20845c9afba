"""A log compared with the source it was sealed from: what a sealer left out, or made up."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from schemas.records import Record
from streams.cli.source_pages import LivePages
from streams.cli.verify import verify
from streams.embedded.database import EmbeddedDatabase
from streams.embedded.partitions import EmbeddedPartitionWriter
from streams.errors import SourceChangedError
from streams.ports import Bounds, Fetched, NewRecord
from streams.verifier import LogWalk, OpenSource, SourceComparison, Trust
from tests.support.signed_logs import (
    FIRST_TIMESTAMP,
    KEY,
    PARTITION,
    TOPIC,
    SignedLog,
)

EVENTS = [
    Record(n, FIRST_TIMESTAMP + n, b"k%d" % (n % 3), b"event %d " % n + bytes(200))
    for n in range(12)
]
INVENTED = Record(6, FIRST_TIMESTAMP + 6, b"k0", b"never sent" + bytes(200))


def sealed(events: Sequence[Record], *, origin: str | None = None) -> SignedLog:
    log = SignedLog() if origin is None else SignedLog(origin=origin)
    for first in range(0, len(events), 4):
        log.append(events[first : first + 4]).checkpoint()
    return log


def without(*offsets: int) -> list[Record]:
    return [event for event in EVENTS if event.offset not in offsets]


# --- an embedded home ---


async def fill(home: Path, log: SignedLog, events: Sequence[Record]) -> None:
    database = EmbeddedDatabase.open(home)
    rows = [NewRecord(r.timestamp, r.value or b"") for r in log.rows]
    sent = [NewRecord(e.timestamp, e.value or b"", e.key) for e in events]
    for topic, records, audit in ((f"audit.{TOPIC}", rows, True), (TOPIC, sent, False)):
        if records:
            await database.ensure_topic(topic, PARTITION + 1, audit=audit)
            writer = EmbeddedPartitionWriter(database, topic, PARTITION)
            await writer.start()
            await writer.append(records)
    database.close()


def verified(tmp_path: Path, log: SignedLog, events: Sequence[Record] = EVENTS) -> Any:  # JSON
    home = tmp_path / "home"
    asyncio.run(fill(home, log, events))
    keys = tmp_path / "keys.txt"
    keys.write_text(KEY.vkey().render())
    arguments = [str(home), "--keys", str(keys), "--source", "--json"]
    result = CliRunner().invoke(verify, arguments)
    (found,) = json.loads(result.stdout)["logs"]
    breaks = [(b["kind"], b["index"]) for b in found["breaks"]]
    return result.exit_code, found["source"], breaks


def test_an_honest_log_is_that_of_its_source(tmp_path: Path) -> None:
    assert verified(tmp_path, sealed(EVENTS)) == (0, "checked", [])


def test_a_source_that_goes_on_behind_the_log_is_no_break(tmp_path: Path) -> None:
    assert verified(tmp_path, sealed(EVENTS[:8])) == (0, "checked", [])


def test_a_record_the_sealer_left_out_is_missed(tmp_path: Path) -> None:
    found = verified(tmp_path, sealed(without(6)))
    assert found == (21, "checked", [("sequence", 6)])


def test_a_batch_the_sealer_left_out_is_missed_at_its_first_record(tmp_path: Path) -> None:
    found = verified(tmp_path, sealed(without(4, 5, 6, 7)))
    assert found == (21, "checked", [("sequence", 4)])


def test_the_first_record_left_out_is_missed(tmp_path: Path) -> None:
    assert verified(tmp_path, sealed(without(0))) == (21, "checked", [("sequence", 0)])


def test_a_record_the_sealer_changed_is_named(tmp_path: Path) -> None:
    events = [INVENTED if event.offset == 6 else event for event in EVENTS]
    assert verified(tmp_path, sealed(events)) == (20, "checked", [("altered", 6)])


def test_a_timestamp_the_sealer_changed_is_named(tmp_path: Path) -> None:
    events = [e._replace(timestamp=5) if e.offset == 6 else e for e in EVENTS]
    assert verified(tmp_path, sealed(events)) == (20, "checked", [("altered", 6)])


def test_a_record_the_sealer_made_up_behind_the_source_is_named(tmp_path: Path) -> None:
    found = verified(tmp_path, sealed(EVENTS), EVENTS[:9])
    assert found == (20, "checked", [("altered", 9)])


def test_without_its_source_a_log_is_not_compared(tmp_path: Path) -> None:
    assert verified(tmp_path, sealed(without(6)), []) == (0, "missing", [])


# --- a broker, as its port says it is ---


class BrokerPartition:
    """A source with holes and a log start that retention moves."""

    topic, partition = TOPIC, PARTITION

    def __init__(self, events: Sequence[Record], start: int, later: int | None = None) -> None:
        self._events, self._start, self._later = events, start, later
        self.closed = False

    async def bounds(self) -> Bounds:
        return Bounds(self._start, EVENTS[-1].offset + 1, EVENTS[-1].offset + 1)

    async def fetch(self, offset: int, *, max_records: int, max_wait_ms: int) -> Fetched:
        assert max_wait_ms
        if self._later is not None and offset >= 4:
            self._start, self._later = self._later, None
        if offset < self._start:
            raise SourceChangedError("below the log start")
        found = [event for event in self._events if event.offset >= offset][: min(2, max_records)]
        return Fetched(found, found[-1].offset + 1 if found else EVENTS[-1].offset + 1)

    async def facts(self) -> Any:
        raise AssertionError("nobody asks who the topic is")

    async def close(self) -> None:
        self.closed = True


def opened(source: BrokerPartition | None) -> OpenSource:
    async def pages(_origin: str) -> LivePages | None:
        return None if source is None else await LivePages(source).open()

    return pages


def compared(
    log: SignedLog, source: BrokerPartition | None
) -> tuple[str, int | None, list[tuple[str, int]]]:
    async def walk_all() -> tuple[str, int | None, list[tuple[str, int]]]:
        walk = LogWalk(Trust(keys=KEY.trusted()))
        comparison = SourceComparison(opened(source), Trust())
        await walk.feed_beside(log.rows, comparison)
        await comparison.close()
        found = [(b.kind, b.index) for b in walk.verdict().breaks]
        return comparison.state, comparison.first, found

    return asyncio.run(walk_all())


def test_holes_in_a_source_are_no_records() -> None:
    source = BrokerPartition(without(3, 7), 0)
    assert compared(sealed(without(3, 7)), source) == ("checked", 0, [])
    assert source.closed


def test_what_retention_took_is_told_apart() -> None:
    assert compared(sealed(EVENTS), BrokerPartition(EVENTS[5:], 5)) == ("checked", 5, [])
    found = compared(sealed(without(6)), BrokerPartition(EVENTS[5:], 5))
    assert found == ("checked", 5, [("sequence", 6)])


def test_what_was_left_out_before_the_log_start_cannot_be_known() -> None:
    found = compared(sealed(without(3)), BrokerPartition(EVENTS[5:], 5))
    assert found == ("checked", 4, [])


def test_retention_that_goes_on_while_it_is_read_is_no_break() -> None:
    source = BrokerPartition(EVENTS, 0, later=8)
    assert compared(sealed(EVENTS), source) == ("checked", 0, [])


def test_a_source_of_which_nothing_is_left_is_missing() -> None:
    assert compared(sealed(EVENTS), BrokerPartition([], 12)) == ("missing", None, [])
    assert compared(sealed(EVENTS), None) == ("missing", None, [])


def test_a_forked_log_begins_where_it_was_forked() -> None:
    log = sealed(EVENTS[6:], origin=f"audit.example.com/test/{TOPIC}/{PARTITION}/e1")
    assert compared(log, BrokerPartition(EVENTS, 0)) == ("checked", 0, [])
    late = sealed(without(0, 1, 2, 3, 7), origin=log.origin)
    assert compared(late, BrokerPartition(EVENTS, 0)) == ("checked", 0, [("sequence", 3)])


@pytest.mark.parametrize("offset", [2**62, 2**63 - 1])
def test_an_offset_far_away_reads_the_source_once_and_ends(offset: int) -> None:
    log = sealed([*EVENTS[:6], EVENTS[6]._replace(offset=offset)])
    state, first, found = compared(log, BrokerPartition(EVENTS, 0))
    assert (state, first) == ("checked", 0)
    assert found == [("sequence", 6), ("altered", 6)]
