"""Events of operations: published, read back where they are sealed; births told once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas.operations import LogOpened, OperationEvent
from streams.anchors import AnchorStore
from streams.audit.note import Vkey
from streams.births import BirthsWriter
from streams.clock import SystemClock
from streams.embedded.partitions import EmbeddedPartitionReader
from streams.errors import IdentityError
from streams.history import read_range
from streams.keys.local import LocalSigner
from streams.objects.directory import DirectoryObjectStore
from streams.operation_events import publish_operation, sealed_events
from streams.ports import NewRecord
from streams.segments import claim_name
from streams.trust import GivenTrust
from tests.support.operation_events import DRILLED, OPENED, RESTORED, ROTATED
from tests.support.operations_partition import OperationsPartition
from tests.support.sealing_world import BASE, KEY, SealingWorld, sealing_world
from tests.support.signed_logs import KEY as LOG_KEY

SIGNER = LocalSigner(KEY)
CLOCK = SystemClock()


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[SealingWorld]:
    async with sealing_world(tmp_path) as world:
        yield world


def writer(at: SealingWorld) -> BirthsWriter:
    anchors = AnchorStore(at.objects, retain_days=1)
    return BirthsWriter(at.engine, anchors, GivenTrust([SIGNER], BASE), CLOCK)


async def sealed_operations(at: SealingWorld) -> OperationsPartition:
    """What the operations' sealer makes of what was sent to them."""
    source: EmbeddedPartitionReader = at.engine.reader(at.engine.topology.operations, 0)
    rows = await read_range(source, 0, (await source.bounds()).end)
    return OperationsPartition().send(*[row.value or b"" for row in rows]).seal(LOG_KEY)


async def test_events_are_read_back_among_whatever_else_is_sealed(at: SealingWorld) -> None:
    events: list[OperationEvent] = [DRILLED, OPENED, RESTORED, ROTATED]
    async with at.engine.sink(at.engine.topology.operations) as sink:
        await sink.send(NewRecord(0, b"attestream.operation/nothing/v1\n"))
    for event in events:
        await publish_operation(at.engine, event, CLOCK)
    audit = await sealed_operations(at)
    found = [sealed async for sealed in sealed_events(audit)]  # type: ignore[arg-type]
    assert [sealed.event for sealed in found] == events
    assert [sealed.index for sealed in found] == [1, 2, 3, 4]


async def test_a_log_that_began_is_told_once_with_its_claim_and_keys(at: SealingWorld) -> None:
    births = writer(at)
    assert await births.tell() == [], "what did not begin is not told"
    await at.produce(b"a")
    await at.seal(1)
    claim = await AnchorStore(at.objects, retain_days=1).claim(at.origin)
    assert claim is not None
    assert await births.tell() == [
        LogOpened(
            origin=at.origin,
            vkeys=(Vkey(at.origin, SIGNER.algorithm, SIGNER.public_key).render(),),
            source_topic=at.topic,
            source_partition=0,
            source_cluster_id=claim.source_cluster,
            source_topic_id=claim.source_topic_id,
            first_offset=claim.first_offset,
            audit_cluster_id=claim.audit_cluster,
            audit_topic_id=claim.audit_topic_id,
        )
    ]
    assert await births.tell() == []


async def test_what_is_sealed_already_is_not_told_by_the_next_process(at: SealingWorld) -> None:
    await at.produce(b"a")
    await at.seal(1)
    await writer(at).tell()
    topology, told = at.engine.topology, await sealed_operations(at)
    copying = at.engine.writer(topology.audit(topology.operations), 0)
    await copying.start()
    await copying.append([NewRecord(row.timestamp, row.value or b"") for row in told.rows])
    assert await writer(at).tell() == []


async def test_a_claim_that_is_none_is_not_told(at: SealingWorld, tmp_path: Path) -> None:
    await at.produce(b"a")
    await at.seal(1)
    other = DirectoryObjectStore(tmp_path / "other")
    await other.create(claim_name(at.origin), b"{}", retain_days=1)
    anchors = AnchorStore(other, retain_days=1)
    births = BirthsWriter(at.engine, anchors, GivenTrust([SIGNER], BASE), CLOCK)
    with pytest.raises(IdentityError):
        await births.tell()


async def test_a_claim_that_is_none_keeps_no_other_log_untold(
    at: SealingWorld, tmp_path: Path
) -> None:
    await at.produce(b"a")
    await at.seal(1)
    topology = at.engine.topology
    later = topology.origin(topology.memory, 0)
    begun = at.engine.writer(topology.audit(topology.memory), 0)
    await begun.start()
    await begun.append([NewRecord(0, b"its genesis")])
    good = await at.objects.get(claim_name(at.origin))
    assert good is not None
    other = DirectoryObjectStore(tmp_path / "other")
    await other.create(claim_name(at.origin), b"{}", retain_days=1)
    await other.create(claim_name(later), good, retain_days=1)
    anchors = AnchorStore(other, retain_days=1)
    births = BirthsWriter(at.engine, anchors, GivenTrust([SIGNER], BASE), CLOCK)
    with pytest.raises(IdentityError):
        await births.tell()
    told = await sealed_operations(at)
    events = [one.event async for one in sealed_events(told)]  # type: ignore[arg-type]
    assert [event.origin for event in events if isinstance(event, LogOpened)] == [later]
