"""What an operator who forks a log accepts of it, and from where its source is sealed anew."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

import streams.standing
from schemas.records import Record
from streams.anchors import AnchorStore
from streams.ports import Bounds, Fetched, TopicFacts
from streams.second_anchors import PairedAnchors
from streams.standing import LogAtRest, Standing, first_unsealed, what_stands
from tests.support.forgeries import anchor
from tests.support.memory_objects import MemoryObjectStore
from tests.support.signed_logs import (
    FIRST_TIMESTAMP,
    KEY,
    ORIGIN,
    PARTITION,
    Key,
    SignedLog,
    renumbered,
    usual_log,
)

EVENTS = [Record(n, FIRST_TIMESTAMP + n, b"k%d" % (n % 3), b"event %d" % n) for n in range(16)]


class Rows:
    """A partition as its reader gets it."""

    topic, partition = "any", PARTITION

    def __init__(self, rows: Sequence[Record], *, start: int = 0, end: int | None = None) -> None:
        self.rows = list(rows)
        last = rows[-1].offset + 1 if rows else start
        self.limits = Bounds(start, end or last, end or last)

    async def bounds(self) -> Bounds:
        return self.limits

    async def fetch(self, offset: int, *, max_records: int, max_wait_ms: int) -> Fetched:
        assert max_wait_ms
        await asyncio.sleep(0)
        found = [row for row in self.rows if row.offset >= offset][:max_records]
        return Fetched(found, found[-1].offset + 1 if found else self.limits.end)

    async def facts(self) -> TopicFacts:
        raise AssertionError("nobody asks")

    async def close(self) -> None:
        return


def store() -> AnchorStore:
    return AnchorStore(MemoryObjectStore(), retain_days=1)


async def standing(
    log: SignedLog, anchors: AnchorStore | None = None, most: int | None = None
) -> Standing:
    rest = LogAtRest(ORIGIN, KEY.trusted(), anchors or store(), Rows(log.rows))
    return await what_stands(rest, most)


async def keep(anchors: AnchorStore, log: SignedLog, *sizes: int, key: Key = KEY) -> None:
    for size in sizes:
        await anchors.put(ORIGIN, size, key.note(size, anchor(log, size).root, ORIGIN))


def forged() -> SignedLog:
    """The usual log with another third leaf, signed by the same key."""
    log = SignedLog().extend(2)
    log.append([Record(900, 1, None, b"forged")])
    log.next_source_offset = 901
    log.extend(1).checkpoint()
    for _ in range(2):
        log.extend(4).checkpoint()
    return log


async def test_a_good_log_is_accepted_up_to_its_last_checkpoint() -> None:
    log = usual_log()
    found = await standing(log)
    assert (found.size, found.root, found.records) == (12, anchor(log, 12).root, 14)
    assert (found.offset, found.broken) == (112, "")


async def test_a_log_is_accepted_up_to_the_checkpoint_before_its_first_break() -> None:
    log = usual_log()
    log.rows = [*log.rows[:12], log.rows[12]._replace(value=b"junk"), *log.rows[13:]]
    found = await standing(log)
    assert (found.size, found.offset) == (8, 108)
    assert "unreadable" in found.broken


async def test_no_larger_checkpoint_is_accepted_than_was_asked_for() -> None:
    found = await standing(usual_log(), most=7)
    assert (found.size, found.offset) == (4, 104)


async def test_of_an_audit_topic_that_is_gone_nothing_stands() -> None:
    anchors = store()
    await keep(anchors, usual_log(), 8)
    found = await what_stands(LogAtRest(ORIGIN, KEY.trusted(), anchors, None))
    assert (found.size, found.anchored) == (0, 8)


@pytest.mark.parametrize("planted", [11, 12, 14])
async def test_an_anchor_that_the_holder_of_a_log_key_adds_takes_no_older_one_back(
    planted: int,
) -> None:
    """The log was signed anew from its third leaf on; honest anchors say otherwise."""
    anchors, log = store(), forged().extend(2).checkpoint()
    await keep(anchors, usual_log(), 4, 8)
    await keep(anchors, log, planted)
    assert (await standing(log, anchors)).size == 0


async def test_the_second_place_is_asked_for_anchors_as_well() -> None:
    first, second = store(), store()
    await keep(second, usual_log(), 4)
    assert (await standing(forged(), PairedAnchors(first, second))).size == 0


async def test_an_anchor_that_nobody_trusted_signed_says_nothing() -> None:
    anchors = store()
    await keep(anchors, forged(), 4, key=Key("thief"))
    found = await standing(usual_log(), anchors)
    assert (found.size, found.anchored) == (12, 0)


def sealed(events: Sequence[Record]) -> SignedLog:
    log = SignedLog()
    log.append(events).checkpoint()
    return log


async def begins(log: SignedLog, source: Rows, begin: int = 0) -> int:
    return await first_unsealed(Rows(log.rows), source, await standing(log), begin)


async def test_a_source_that_holds_what_was_sealed_goes_on_behind_it() -> None:
    assert await begins(sealed(EVENTS[:8]), Rows(EVENTS)) == 8


async def test_a_source_that_was_cut_is_sealed_anew_from_where_it_differs() -> None:
    regrown = [*EVENTS[:5], *(e._replace(value=b"new") for e in EVENTS[5:7])]
    assert await begins(sealed(EVENTS[:8]), Rows(regrown)) == 5
    assert await begins(sealed(EVENTS[:8]), Rows(EVENTS[:5])) == 5


async def test_a_record_that_was_left_out_is_sealed_anew_with_all_behind_it() -> None:
    log = sealed([event for event in EVENTS[:8] if event.offset != 3])
    assert await begins(log, Rows(EVENTS)) == 3


async def test_what_retention_took_is_compared_with_nothing() -> None:
    log = sealed([EVENTS[0]._replace(value=b"other"), *EVENTS[1:8]])
    assert await begins(log, Rows(EVENTS[6:], start=6)) == 8
    assert await begins(log, Rows(EVENTS[12:], start=12)) == 8


async def test_a_log_of_which_nothing_is_good_begins_where_it_began() -> None:
    assert await begins(SignedLog(), Rows(EVENTS), 3) == 3


async def test_a_source_that_differs_at_every_leaf_is_sealed_from_its_first_record() -> None:
    other = [event._replace(value=b"new") for event in EVENTS]
    assert await begins(sealed(EVENTS[:8]), Rows(renumbered(other))) == 0


async def test_the_source_is_compared_with_what_lies_before_a_break(monkeypatch: Any) -> None:
    """However much stands behind it: a source that was cut as well is still noticed."""
    monkeypatch.setattr(streams.standing, "WINDOWS", (8, 64))
    log = sealed(EVENTS[:8])
    junk = [Record(log.rows[-1].offset + 1 + n, 1, None, b"junk") for n in range(500)]
    log.rows += junk
    regrown = [*EVENTS[:5], *(e._replace(value=b"new") for e in EVENTS[5:])]
    assert await begins(log, Rows(regrown)) == 5


async def test_only_what_an_anchor_agrees_with_is_accepted_of_a_log_that_another_convicts() -> (
    None
):
    """Between the two anchors nothing tells where the other history begins."""
    honest, changed = SignedLog(), SignedLog()
    for n in range(4):
        honest.extend(2).checkpoint()
        if n == 2:
            changed.append([Record(900, 1, None, b"forged"), Record(901, 1, None, b"forged")])
            changed.next_source_offset = 902
        else:
            changed.extend(2)
        changed.checkpoint()
    anchors = store()
    await keep(anchors, honest, 2, 8)
    assert (await standing(changed, anchors)).size == 2
