"""What an archiver finds at its start when somebody else has been at the store."""

import json
from collections.abc import Callable

import pytest

from projections.archive.fold import CutRules
from schemas.records import Record
from streams.clock import SystemClock
from streams.errors import BreakError
from streams.segments import (
    anchor_name,
    encode_segment,
    manifest_name,
    read_segment,
    segment_name,
)
from tests.support.archives import archived, archiver, run_archiver
from tests.support.memory_objects import EPOCH, MemoryObjectStore
from tests.support.sealed_log import ORIGIN, SealedLog, batches_of

RULES = CutRules(records_max=10)


@pytest.fixture
def log() -> SealedLog:
    made = SealedLog()
    for _ in range(3):
        made.append(10)
        made.checkpoint()
    return made


@pytest.fixture
async def objects(log: SealedLog) -> MemoryObjectStore:
    """Segments 0, 10 and 20."""
    made = MemoryObjectStore()
    await run_archiver(made, log, RULES)
    assert await archived(made) == [0, 10, 20]
    return made


async def refused(objects: MemoryObjectStore) -> tuple[str, int]:
    with pytest.raises(BreakError) as found:
        await archiver(objects, RULES).resume()
    return found.value.kind, found.value.index


async def names(objects: MemoryObjectStore) -> list[str]:
    return [v.key for v in await objects.versions("")]


async def test_newer_versions_and_delete_markers_hide_nothing(
    objects: MemoryObjectStore, log: SealedLog
) -> None:
    for name in set(await names(objects)):
        objects.overlay(name, b"EVIL")
        objects.mark_deleted(name)
    before = await names(objects)
    assert (await archiver(objects, RULES).resume()).index == log.size
    assert await names(objects) == before
    log.append(10)
    log.checkpoint()
    await run_archiver(objects, log, RULES)
    assert sorted(set(await archived(objects))) == [0, 10, 20, 30]


async def test_a_delete_marker_before_the_object_hides_nothing(log: SealedLog) -> None:
    objects = MemoryObjectStore()
    for first in (0, 10, 20):
        objects.mark_deleted(segment_name(ORIGIN, first))
        objects.mark_deleted(manifest_name(ORIGIN, first))
    await run_archiver(objects, log, RULES)
    assert (await archiver(objects, RULES).resume()).index == log.size


@pytest.mark.parametrize("body", [b"", b"EVIL", b"Obj\x01"])
async def test_a_file_that_is_no_segment_under_the_next_name_stops_the_archive(
    objects: MemoryObjectStore, body: bytes
) -> None:
    await objects.create(segment_name(ORIGIN, 30), body, retain_days=1)
    before = await names(objects)
    assert await refused(objects) == ("archive", 30)
    assert await names(objects) == before


async def changed(
    objects: MemoryObjectStore, log: SealedLog, change: Callable[[list[Record]], list[Record]]
) -> tuple[str, int]:
    """A forged segment 30: the true rows, changed."""
    honest = MemoryObjectStore()
    log.append(10)
    log.checkpoint()
    await run_archiver(honest, log, RULES)
    stored = await honest.get(segment_name(ORIGIN, 30))
    assert stored is not None
    segment = read_segment(stored)
    forged = encode_segment(ORIGIN, 30, segment.opening, change(segment.rows))
    await objects.create(segment_name(ORIGIN, 30), forged, retain_days=1)
    return await refused(objects)


def altered(row: Record) -> Record:
    value = bytearray(row.value or b"")
    value[60] ^= 1
    return row._replace(value=bytes(value))


async def test_a_segment_with_an_altered_record_is_not_blessed(
    objects: MemoryObjectStore, log: SealedLog
) -> None:
    found = await changed(objects, log, lambda rows: [*rows[:4], altered(rows[4]), *rows[5:]])
    assert found == ("altered", 34)
    assert manifest_name(ORIGIN, 30) not in await names(objects)


async def test_a_segment_without_one_of_its_records_is_not_blessed(
    objects: MemoryObjectStore, log: SealedLog
) -> None:
    assert await changed(objects, log, lambda rows: rows[:4] + rows[5:]) == ("sequence", 34)


async def test_a_segment_that_does_not_end_sealed_is_not_blessed(
    objects: MemoryObjectStore, log: SealedLog
) -> None:
    assert await changed(objects, log, lambda rows: rows[:-1]) == ("unsealed_tail", 30)


async def test_a_segment_whose_checkpoint_nobody_we_trust_signed_is_not_blessed(
    objects: MemoryObjectStore, log: SealedLog
) -> None:
    def unsigned(rows: list[Record]) -> list[Record]:
        value = (rows[-1].value or b"").replace(b"test.example/authz.decisions/0 ", b"x" * 31)
        return [*rows[:-1], rows[-1]._replace(value=value)]

    kind, index = await changed(objects, log, unsigned)
    assert (kind, index) in {("altered", 30), ("unknown_key", 30)}


async def test_a_newest_manifest_that_does_not_join_stops_the_archive(
    objects: MemoryObjectStore,
) -> None:
    stored = await objects.get(manifest_name(ORIGIN, 20))
    assert stored is not None
    for first, due in ((40, 30), (25, 30)):
        forged = stored.replace(b'"first_index":20', b'"first_index":%d' % first)
        forged = forged.replace(b'"last_index":29', b'"last_index":%d' % (first + 9))
        await objects.create(manifest_name(ORIGIN, first), forged, retain_days=1)
        assert await refused(objects) == ("archive", due)
        objects._versions.pop(manifest_name(ORIGIN, first))


async def test_a_first_manifest_that_is_missing_stops_the_archive(
    objects: MemoryObjectStore,
) -> None:
    for first in (0, 10):
        objects._versions.pop(manifest_name(ORIGIN, first))
    assert await refused(objects) == ("archive", 0)


async def test_a_segment_that_is_not_what_its_manifest_says_stops_the_archive(
    objects: MemoryObjectStore,
) -> None:
    name = segment_name(ORIGIN, 20)
    version = objects._versions[name][0]
    objects._versions[name] = [version._replace(body=(version.body or b"") + b"\0")]
    assert await refused(objects) == ("archive", 20)
    objects._versions.pop(name)
    assert await refused(objects) == ("archive", 20)


async def test_an_unreadable_manifest_stops_the_archive(objects: MemoryObjectStore) -> None:
    await objects.create(manifest_name(ORIGIN, 30), b"{}", retain_days=1)
    assert await refused(objects) == ("archive", 30)


async def test_a_manifest_of_another_segment_stops_the_archive(
    objects: MemoryObjectStore, log: SealedLog
) -> None:
    log.append(10)
    log.checkpoint()
    stored = await objects.get(manifest_name(ORIGIN, 20))
    late = archiver(objects, RULES)
    position = await late.resume()
    assert stored is not None
    await objects.create(manifest_name(ORIGIN, 30), stored, retain_days=1)
    (batch,) = batches_of(log, position)
    await late.apply(batch)
    with pytest.raises(BreakError) as found:
        await late.idle()
    assert (found.value.kind, found.value.index) == ("archive", 30)


async def test_an_anchor_of_another_history_stops_the_archive(log: SealedLog) -> None:
    other = SealedLog(b"other ")
    other.append(10)
    note = other.checkpoint().note
    objects = MemoryObjectStore()
    await objects.create(anchor_name(ORIGIN, 10), note.encode(), retain_days=1)
    with pytest.raises(BreakError) as found:
        await run_archiver(objects, log, RULES)
    assert (found.value.kind, found.value.index) == ("fork", 10)


async def test_a_name_squatted_by_what_is_no_anchor_stops_the_archive(log: SealedLog) -> None:
    objects = MemoryObjectStore()
    await objects.create(anchor_name(ORIGIN, 10), b"EVIL", retain_days=1)
    with pytest.raises(BreakError, match="taken by what is no anchor"):
        await run_archiver(objects, log, RULES)


async def test_an_extended_retention_is_no_difference(
    objects: MemoryObjectStore, log: SealedLog
) -> None:
    name = manifest_name(ORIGIN, 20)
    version = objects._versions[name][0]
    members = json.loads(version.body or b"") | {"retain_until": "2099-01-01T00:00:00Z"}
    body = json.dumps(members, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    objects._versions[name] = [version._replace(body=body.encode())]
    zombie = archiver(objects, RULES)
    assert (await zombie.resume()).index == log.size


async def test_what_others_put_under_our_names_with_a_short_lock_is_locked_for_longer(
    log: SealedLog, objects: MemoryObjectStore
) -> None:
    log.append(10)
    log.checkpoint()
    late = archiver(objects, RULES)
    position = await late.resume()
    await run_archiver(objects, log, RULES)
    theirs = [segment_name(ORIGIN, 30), manifest_name(ORIGIN, 30), anchor_name(ORIGIN, 40)]
    for name in theirs:
        (version,) = objects._versions[name]
        objects._versions[name] = [version._replace(retain_until=EPOCH)]
    for batch in batches_of(log, position):
        await late.apply(batch)
    await late.idle()
    tomorrow = SystemClock().now_ms() / 1000 + 86_400
    for name in theirs:
        (version,) = objects._versions[name]
        assert version.retain_until is not None
        assert abs(version.retain_until.timestamp() - tomorrow) < 1800
