"""The largest segment there can be: all a sealer's tail may hold, and nothing of it compresses."""

import random
from types import SimpleNamespace
from typing import Any

import pytest

from projections.archive import store
from projections.archive.fold import CutRules
from projections.archive.store import OBJECT_BYTES_MAX
from schemas.audit_values import PLAIN_BYTES_MAX
from schemas.records import Record
from streams.audit.merkle import Frontier
from streams.audit.sealing import (
    TAIL_BYTES_MAX,
    TAIL_RECORDS_MAX,
    TRANSACTION_BYTES_MAX,
    plan_batch,
)
from streams.errors import BreakError
from streams.sealing_session import LARGEST_BATCH, SealerLimits, Session
from streams.segments import read_segment, segment_name
from tests.support.archives import archiver, run_archiver, stand_still
from tests.support.memory_objects import MemoryObjectStore
from tests.support.sealed_log import ORIGIN, START_MS, TOPIC, SealedLog

pytestmark = pytest.mark.slow

# Once there is more in its tail, a sealer appends nothing (`Session.room`).
FULL = TAIL_BYTES_MAX - LARGEST_BATCH
VALUE = PLAIN_BYTES_MAX - 60  # with its key and lengths: no longer Plain is kept


class NoiseLog(SealedLog):
    """Records of values that do not compress."""

    def add(self, sizes: list[int]) -> int:
        """One batch; the bytes of its values in the partition."""
        chance = random.Random(len(sizes))
        source = [
            Record(i, START_MS + i, b"k", chance.randbytes(size), ())
            for i, size in enumerate(sizes)
        ]
        plan = plan_batch(self._frontiers[0], TOPIC, 0, source)
        for record, leaf in zip(plan.records, plan.leaves, strict=True):
            frontier = self._frontiers[-1].copy()
            frontier.append(leaf)
            self._frontiers.append(frontier)
            self._offset += 2**45  # the offsets of an old and busy topic
            self._commit(record)
        self.checkpoint()
        return plan.bytes


def few_large() -> NoiseLog:
    log = NoiseLog()
    count = FULL // VALUE
    rest = FULL - count * (VALUE + 250)
    total = log.add([*[VALUE] * count, rest, VALUE])
    assert FULL + VALUE - 4096 < total <= FULL + LARGEST_BATCH
    return log


def many_small() -> NoiseLog:
    log = NoiseLog()
    total = log.add([(FULL + TRANSACTION_BYTES_MAX) // TAIL_RECORDS_MAX - 100] * TAIL_RECORDS_MAX)
    assert total <= FULL + TRANSACTION_BYTES_MAX
    assert total > FULL
    return log


def test_a_sealer_appends_nothing_once_its_tail_is_full() -> None:
    held: Any = SimpleNamespace(
        tail=[(1, FULL)], limits=SealerLimits(), planned=Frontier(), signed_size=0
    )
    assert Session.room(held) > 0
    held.tail.append((2, 1))
    assert Session.room(held) == 0


@pytest.mark.parametrize("make", [few_large, pytest.param(many_small, marks=pytest.mark.long)])
async def test_the_fullest_tail_is_one_object_of_at_most_64_mib(make: "type[NoiseLog]") -> None:
    log, objects = make(), MemoryObjectStore()
    await run_archiver(objects, log, CutRules(bytes_max=1024))
    data = await objects.get(segment_name(ORIGIN, 0))
    assert data is not None
    assert FULL < len(data) <= OBJECT_BYTES_MAX
    assert len(read_segment(data).rows) == log.size + 2


async def test_a_segment_that_no_sealer_could_have_left_open_is_not_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log, objects = SealedLog(), MemoryObjectStore()
    log.append(10)
    log.checkpoint()
    monkeypatch.setattr(store, "OBJECT_BYTES_MAX", 1000)
    with pytest.raises(BreakError, match="without a checkpoint between them") as found:
        await stand_still(archiver(objects), log)
    assert (found.value.kind, found.value.index) == ("unsealed_tail", 0)
    assert await objects.versions("") == []
