"""A replay killed at its writes, again and again: what it leaves is continued, never doubled."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from projections.replay.copying import copy_log
from projections.replay.fold import in_order
from schemas.records import Record
from streams.errors import FencedError
from streams.history import read_range
from streams.kafka.reader import KafkaPartitionReader
from tests.support.kafka_broker import KafkaBroker
from tests.support.replay_process import kafka_staging
from tests.support.replays import (
    archive_of,
    archived,
    copied,
    long_log,
    place_at,
    staged_rows,
    values,
)

LOG = long_log()
ORDERED = values(in_order(LOG.rows, 0))


def killed(archive: Path, place: str, number: int, when: str) -> int:
    command = [sys.executable, "-m", "tests.support.replay_process", str(archive), place]
    done = subprocess.run(
        [*command, str(number), when], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode


async def test_a_replay_into_a_directory_killed_at_its_writes_is_continued(tmp_path: Path) -> None:
    archive, staging = tmp_path / "archive", tmp_path / "staging"
    store = await archive_of(LOG, archive)
    for when in ("after", "before", "after", "after"):
        assert killed(archive, str(staging), 2, when) == -signal.SIGKILL
        async with place_at(staging) as place:
            rows = values(await staged_rows(place))
            assert rows == ORDERED[: len(rows)]
    async with place_at(staging) as place:
        done = await copied(archived(store), place)
        assert done.resumed
        assert values(await staged_rows(place)) == ORDERED


@pytest.mark.integration
async def test_a_replay_into_a_topic_killed_at_its_writes_is_continued(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    store = await archive_of(LOG, archive)
    topic = await kafka.create_topic()
    place = f"kafka://{kafka.bootstrap}/{topic}"
    for when in ("after", "within", "after", "within"):
        assert killed(archive, place, 2, when) == -signal.SIGKILL
        rows = values(await rows_in(kafka, topic))
        assert rows == ORDERED[: len(rows)]
    zombie = kafka_staging(kafka.connection(), topic)
    await zombie.start()
    await copy_log(archived(store), kafka_staging(kafka.connection(), topic), 0)
    assert values(await rows_in(kafka, topic)) == ORDERED
    with pytest.raises(FencedError):
        await zombie.append(LOG.rows[:1])
    await zombie.close()
    assert values(await rows_in(kafka, topic)) == ORDERED


async def rows_in(kafka: KafkaBroker, topic: str) -> list[Record]:
    reader = KafkaPartitionReader(kafka.connection(), topic, 0)
    try:
        start, end, _ = await reader.bounds()
        return await read_range(reader, start, end)
    finally:
        await reader.close()
