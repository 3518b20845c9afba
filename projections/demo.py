"""What the demo does, apart from how it is shown."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from projections.embedded import IDLE_ONCE_S, Pipeline, until_settled
from projections.reading import search_of_memories
from projections.search import Question
from schemas.alerts import AnomalyAlert
from schemas.codec import decode_alert
from schemas.sources import FORMATS, Options
from streams.app import Deployment, open_deployment, open_engine, own_keys
from streams.audit.note import TrustedKeys
from streams.cli.histories import Inquiry, verify_histories
from streams.clock import SystemClock
from streams.embedded.history import copy_database
from streams.embedded.home import DATABASE
from streams.history import find_record, read_range, read_tail
from streams.intake.files import Ready, read_documents
from streams.ports import NewRecord
from streams.settings import Settings
from streams.telemetry.health import Health
from streams.verifier import Trust

__all__ = [
    "Head",
    "Outcome",
    "alerts",
    "changed_copy",
    "feed",
    "heads",
    "search_memories",
    "verified",
    "work_off",
    "write_keys",
]


class Head(NamedTuple):
    """The newest checkpoint of a log, in short."""

    origin: str
    size: int
    root: bytes


class Outcome(NamedTuple):
    """A verdict: the exit status of `verify`, and its last lines."""

    status: int
    text: str


async def feed(settings: Settings, logs: Path) -> int:
    """Send the two event files as `attestream send` would; how many events."""
    sent = 0
    topics = {"decision": settings.decisions_topic, "memory": settings.memory_topic}
    files = {"cerbos.ndjson": "cerbos", "memories.jsonl": "memories-jsonl"}
    async with open_engine(settings, create=True) as engine:
        for name, format_name in files.items():
            with (logs / name).open("rb") as file:
                events = read_documents(file, FORMATS[format_name], Options(tenant="clinic"))
                found = [event for event in events if isinstance(event, Ready)]
            async with engine.sink(topics[found[0].kind]) as sink:
                for event in found:
                    await sink.send(NewRecord(event.timestamp_ms, event.value, event.key))
            sent += len(found)
    return sent


async def work_off(settings: Settings, told: Callable[[int], None]) -> None:
    """Run the pipeline until everything sent is sealed and derived; tells how much is sealed."""
    settings = settings.model_copy(update={"segment_idle_s": IDLE_ONCE_S})
    health = Health()
    async with open_deployment(settings, health, SystemClock()) as deployment:
        telling = asyncio.create_task(_tell(deployment, told))
        try:
            await until_settled(Pipeline(deployment), health)
        finally:
            telling.cancel()


async def heads(settings: Settings) -> list[Head]:
    """The newest checkpoint of every log."""
    found = []
    async with open_engine(settings) as engine:
        topology = engine.topology
        for source in topology.sources:
            reader = engine.reader(topology.audit(source), 0)
            origin = topology.origin(source, 0)
            tail = await read_tail(reader, await reader.bounds(), origin, None)
            if tail is not None:
                found.append(Head(origin, tail.signed.size, tail.signed.root()))
    return found


async def alerts(settings: Settings) -> list[AnomalyAlert]:
    """Every alert published, oldest first."""
    async with open_engine(settings) as engine:
        reader = engine.reader(engine.topology.alerts, 0)
        bounds = await reader.bounds()
        rows = await read_range(reader, bounds.start, bounds.end)
    return [decode_alert(row) for row in rows]


async def search_memories(settings: Settings, vector: list[float]) -> list[dict[str, Any]]:
    """The three memories nearest to a vector."""
    async with open_engine(settings) as engine:
        found = await search_of_memories(engine, settings)
    query = {"tenant": "clinic", "namespace": "assistant", "vector": vector, "k": 3}
    return found.answer(Question("memory", query))


def write_keys(settings: Settings, path: Path) -> Path:
    """The keys file a verifier needs: the vkey of this deployment, one line."""

    async def keys() -> TrustedKeys:
        async with open_engine(settings) as engine:
            return await own_keys(settings, engine.topology.base)

    vkeys = asyncio.run(keys()).vkeys
    path.write_text("".join(f"{vkey.render()}\n" for vkey in vkeys), encoding="utf-8")
    return path


def verified(source: Path, keys: Path) -> Outcome:
    """What `attestream verify SOURCE --keys KEYS` finds."""
    trust = Trust(keys=TrustedKeys.parse(keys.read_text(encoding="utf-8")))
    verdict = verify_histories([str(source)], Inquiry(trust))
    found = [b for log in verdict.logs for b in log.breaks]
    checked = sum(log.records for log in verdict.logs)
    last = verdict.to_text().splitlines()[-1]
    broken = "; ".join(f"{b.kind} at index {b.index}: {b.detail}" for b in found)
    return Outcome(
        verdict.status, broken or f"{last}: {checked} records in {len(verdict.logs)} logs"
    )


def changed_copy(settings: Settings, folder: Path, index: int) -> Path:
    """A copy of the database in which one bit of the record of a leaf is another."""

    async def stored() -> bytes:
        async with open_engine(settings) as engine:
            topology = engine.topology
            reader = engine.reader(topology.audit(topology.decisions), 0)
            found = await find_record(reader, index)
        assert found is not None, "the demo seals more records than this"
        return found[0].value or b""

    folder.mkdir()
    copy_database(settings.home, folder / DATABASE)
    value, data = asyncio.run(stored()), bytearray((folder / DATABASE).read_bytes())
    # The leaf hash at its end tells the audit record from the source record it seals.
    data[data.index(value[-200:]) + 100] ^= 1
    (folder / DATABASE).write_bytes(data)
    return folder


async def _tell(deployment: Deployment, told: Callable[[int], None]) -> None:
    engine = deployment.engine
    topology = engine.topology
    reader = engine.reader(topology.audit(topology.decisions), 0)
    while True:
        await asyncio.sleep(0.1)
        told((await reader.bounds()).end)
