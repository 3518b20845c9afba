"""The laws of `PartitionWriter`: all or nothing, one writer at a time, known offsets."""

import asyncio

import pytest

from streams.errors import FencedError, OutcomeUnknownError
from streams.ports import Appended, NewRecord, PartitionReader, PartitionWriter
from tests.contract.engines import EngineUnderTest
from tests.support.partitions import read_all, settled

ROWS = [
    NewRecord(1_700_000_000_000, b"value", b"key"),
    NewRecord(0, b"no key"),
    NewRecord(1_600_000_000_000, b"", b""),
    NewRecord(3, b"h", b"h", ((b"a", b"1"), (b"a", None), (b"b", b""), ("ю".encode(), b"\xff"))),
]


async def started(engine: EngineUnderTest, topic: str) -> PartitionWriter:
    writer = engine.writer(topic)
    await writer.start()
    return writer


async def values(reader: PartitionReader) -> list[bytes | None]:
    return [record.value for record in await read_all(reader)]


async def test_what_is_appended_is_what_is_read(engine: EngineUnderTest) -> None:
    topic = await engine.topic()
    writer = await started(engine, topic)
    appended = await writer.append(ROWS)
    read = await read_all(engine.reader(topic))
    assert [
        NewRecord(timestamp=r.timestamp, value=r.value or b"", key=r.key, headers=r.headers)
        for r in read
    ] == ROWS
    assert appended == Appended(read[0].offset, read[-1].offset)


async def test_each_commit_takes_its_marker_offsets_and_no_more(engine: EngineUnderTest) -> None:
    topic = await engine.topic()
    writer, reader = await started(engine, topic), engine.reader(topic)
    due = 0
    for count in (1, 3, 2):
        appended = await writer.append([NewRecord(n, b"%d" % n) for n in range(count)])
        assert appended == Appended(due, due + count - 1)
        due += count + writer.marker_offsets
        assert (await settled(reader)).end == due
    assert [r.offset - at for at, r in enumerate(await read_all(reader))] == [
        0,
        *[writer.marker_offsets] * 3,
        *[2 * writer.marker_offsets] * 2,
    ]


async def test_one_transaction_takes_4096_records(engine: EngineUnderTest) -> None:
    topic = await engine.topic()
    writer = await started(engine, topic)
    batch = [NewRecord(n, b"%d" % n, b"k") for n in range(4096)]
    assert await writer.append(batch) == Appended(0, 4095)
    assert await values(engine.reader(topic)) == [row.value for row in batch]


async def test_four_mebibytes_are_seen_whole_or_not_at_all(engine: EngineUnderTest) -> None:
    topic = await engine.topic()
    writer, reader = await started(engine, topic), engine.reader(topic)
    await writer.append([NewRecord(0, b"before")])
    before = (await settled(reader)).end
    batch = [NewRecord(n, b"%07d" % n * 1024) for n in range(512)]
    appending = asyncio.create_task(writer.append(batch))
    seen = set[int]()
    while not appending.done():
        seen.add((await reader.bounds()).end)
        await asyncio.sleep(0)
    appended = await appending
    assert seen <= {before, appended.last_offset + 1 + writer.marker_offsets}
    assert await values(reader) == [b"before", *(row.value for row in batch)]


async def test_a_second_start_fences_the_first_writer(engine: EngineUnderTest) -> None:
    topic = await engine.topic()
    first = await started(engine, topic)
    await first.append([NewRecord(0, b"first")])
    second = await started(engine, topic)
    with pytest.raises(FencedError):
        await first.append([NewRecord(1, b"zombie")])
    await second.append([NewRecord(2, b"second")])
    assert await values(engine.reader(topic)) == [b"first", b"second"]


async def test_a_fenced_writer_cannot_confirm(engine: EngineUnderTest) -> None:
    topic = await engine.topic()
    first = await started(engine, topic)
    await first.append([NewRecord(0, b"first")])
    await first.confirm()
    second = await started(engine, topic)
    with pytest.raises(FencedError):
        await first.confirm()
    await second.confirm()


async def test_a_fenced_writer_stays_useless(engine: EngineUnderTest) -> None:
    topic = await engine.topic()
    first = await started(engine, topic)
    await started(engine, topic)
    with pytest.raises(FencedError):
        await first.append([NewRecord(1, b"zombie")])
    for _ in range(2):
        with pytest.raises((FencedError, OutcomeUnknownError)):
            await first.append([NewRecord(1, b"zombie")])
        with pytest.raises((FencedError, OutcomeUnknownError)):
            await first.confirm()
    assert await values(engine.reader(topic)) == []


async def test_a_confirmation_writes_nothing(engine: EngineUnderTest) -> None:
    topic = await engine.topic()
    writer, reader = await started(engine, topic), engine.reader(topic)
    await writer.confirm()
    await writer.append([NewRecord(0, b"a")])
    before = await settled(reader)
    await writer.confirm()
    assert await settled(reader) == before
    assert await writer.append([NewRecord(0, b"b")]) == Appended(before.end, before.end)


async def test_writers_of_two_partitions_do_not_fence_each_other(engine: EngineUnderTest) -> None:
    topic = await engine.topic(2)
    left, right = engine.writer(topic, 0), engine.writer(topic, 1)
    await left.start()
    await right.start()
    await left.append([NewRecord(0, b"left")])
    await right.append([NewRecord(0, b"right")])
    assert (left.topic, left.partition, right.partition) == (topic, 0, 1)
    assert await values(engine.reader(topic, 0)) == [b"left"]
    assert await values(engine.reader(topic, 1)) == [b"right"]


@pytest.mark.parametrize("turns", [0, 1, 3, 10, 30])
async def test_an_append_cut_off_anywhere_is_whole_or_absent_after_the_next_start(
    engine: EngineUnderTest, turns: int
) -> None:
    topic = await engine.topic()
    writer = await started(engine, topic)
    batch = [NewRecord(n, b"%d" % n) for n in range(100)]
    appending = asyncio.create_task(writer.append(batch))
    for _ in range(turns):
        await asyncio.sleep(0)
    appending.cancel()
    await asyncio.wait({appending})
    await writer.close()
    await started(engine, topic)
    assert await values(engine.reader(topic)) in ([], [row.value for row in batch])


async def test_a_closed_writer_writes_nothing(engine: EngineUnderTest) -> None:
    topic = await engine.topic()
    writer = await started(engine, topic)
    await writer.close()
    await writer.close()
    with pytest.raises((FencedError, OutcomeUnknownError)):
        await writer.append([NewRecord(0, b"late")])
    assert await values(engine.reader(topic)) == []


async def test_a_writer_never_started_can_be_closed(engine: EngineUnderTest) -> None:
    await engine.writer(await engine.topic()).close()
