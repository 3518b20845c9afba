"""Attacks a review found, each on the way it came in."""

from collections import deque
from pathlib import Path

import pytest

from schemas.audit_values import decode_audit_value, encode_audit_record, encode_content
from schemas.records import AuditRecord, Record, Source
from streams.anchors import AnchorStore
from streams.audit.leaf import leaf_hash
from streams.audit.note import TrustedKeys
from streams.audit.sealing import fitting
from streams.objects.directory import DirectoryObjectStore
from streams.ports import NewRecord
from tests.fault.test_sealer_stops import stop_of
from tests.support.sealing_world import SealingWorld, sealing_world

VALUES = [b"event-%d" % i for i in range(6)]


async def append_to_log(world: SealingWorld, index: int, offset: int, value: bytes) -> None:
    """What whoever may write to the audit topic can do without any key."""
    reader = world.engine.reader(world.topic, 0)
    rows = (await reader.fetch(0, max_records=100, max_wait_ms=0)).records
    timestamp = next((r.timestamp for r in rows if r.offset == offset), 0)
    source = Source(world.topic, 0, offset, timestamp)
    content = encode_content(Record(offset, timestamp, b"k", value))
    record = AuditRecord(index, source, content, leaf_hash(index, source, content))
    writer = world.engine.writer(world.engine.topology.audit(world.topic), 0)
    await writer.start()
    await writer.append([NewRecord(timestamp, encode_audit_record(record))])
    await writer.close()


async def test_foreign_record_that_skips_source_records_is_not_signed(tmp_path: Path) -> None:
    async with sealing_world(tmp_path) as world:
        await world.produce(*VALUES[:3])
        await world.seal(3)
        await world.produce(*VALUES[3:])
        await append_to_log(world, 3, 5, VALUES[5])
        assert (await stop_of(world)).startswith("source_changed: ")


@pytest.mark.parametrize("offset", [2, 1])
async def test_foreign_record_of_an_offset_already_sealed_is_not_signed(
    tmp_path: Path, offset: int
) -> None:
    async with sealing_world(tmp_path) as world:
        await world.produce(*VALUES[:3])
        await world.seal(3)
        await append_to_log(world, 3, offset, VALUES[offset])
        assert (await stop_of(world)).startswith("broken: sequence")


async def test_older_checkpoint_appended_again_stops_the_sealer(tmp_path: Path) -> None:
    async with sealing_world(tmp_path) as world:
        await world.produce(*VALUES)
        await world.seal(len(VALUES))
        genesis = (await world.log())[0]
        assert not isinstance(decode_audit_value(genesis.value or b""), AuditRecord)
        writer = world.engine.writer(world.engine.topology.audit(world.topic), 0)
        await writer.start()
        await writer.append([NewRecord(0, genesis.value or b"")])
        await writer.close()
        assert (await stop_of(world)).startswith("broken: sequence")


async def test_small_note_under_a_large_name_hides_no_anchor(tmp_path: Path) -> None:
    async with sealing_world(tmp_path) as world:
        await world.produce(*VALUES)
        await world.seal(len(VALUES))
        store = AnchorStore(DirectoryObjectStore(tmp_path / "archive"), retain_days=1)
        notes = [decode_audit_value(r.value or b"") for r in await world.log()]
        signed = [v.note for v in notes if not isinstance(v, AuditRecord)]
        keys: TrustedKeys | None = None
        await store.put(world.origin, len(VALUES), signed[-1])
        await store.put(world.origin, 10**18, signed[0])
        newest = await store.newest(world.origin, keys)
        assert newest is not None
        assert newest.size == len(VALUES)


def test_headers_count_against_the_bytes_of_a_transaction() -> None:
    large = Record(0, 0, None, b"", ((b"h", bytes(1_000_000)),))
    assert fitting(deque([large] * 50), 50) <= 4
