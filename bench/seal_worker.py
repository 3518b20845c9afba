"""Seals COUNT records of a filled topic with the real services; prints rate and CPU as JSON.

    python -m bench.seal_worker BOOTSTRAP SOURCE PARTITIONS COUNT RECORDS_MAX FOLDER [SIGN_MS]

A process of its own, like each baseline, so that nothing of another round is in its memory.
"""

import asyncio
import json
import resource
import sys
import time

from streams.anchors import AnchorStore
from streams.app import Deployment, SealingService, kafka_connection
from streams.clock import SystemClock
from streams.garbage import collect_rarely
from streams.kafka.engine import KafkaEngine
from streams.keys.choice import local_signer
from streams.objects.locations import S3Connection, open_object_store
from streams.ports import Signer
from streams.settings import load_settings
from streams.telemetry import metrics
from streams.telemetry.health import Health
from streams.topology import Topology
from streams.trust import FollowedKeys, GivenTrust


class OneSource(Topology):
    """Seals the decisions alone: the other topics would only wait beside them."""

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.decisions,)


class SlowSigner(Signer):
    """A signer that answers as late as a remote one."""

    def __init__(self, signer: Signer, seconds: float) -> None:
        self._signer, self._seconds = signer, seconds

    @property
    def algorithm(self) -> int:
        return self._signer.algorithm

    @property
    def public_key(self) -> bytes:
        return self._signer.public_key

    async def sign(self, message: bytes) -> bytes:
        await asyncio.sleep(self._seconds)
        return await self._signer.sign(message)


def sealed() -> float:
    family = next(iter(metrics.SEALED_RECORDS.collect()))
    return sum(s.value for s in family.samples if s.name.endswith("_total"))


async def main(
    bootstrap: str, source: str, count: int, records_max: str, folder: str, sign_ms: str = "0"
) -> None:
    settings = load_settings(
        {
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            "ATTESTREAM_ORIGIN": f"bench.example/{folder.rsplit('/', 1)[-1]}",
            "ATTESTREAM_DECISIONS_TOPIC": source,
            "ATTESTREAM_ARCHIVE": folder,
            "ATTESTREAM_SEAL_RECORDS_MAX": records_max,
            "ATTESTREAM_TOPIC_PREFIX": f"{folder.rsplit('/', 1)[-1]}.",
            "AUDIT_SIGNING_PRIVATE_KEY": "11" * 32,
        }
    )
    assert settings.origin
    topology = OneSource(
        base=settings.origin, decisions=source, memory="unused", prefix=settings.topic_prefix
    )
    engine = KafkaEngine(kafka_connection(settings), topology)
    trust = GivenTrust([SlowSigner(local_signer(settings), float(sign_ms) / 1000)], topology.base)
    objects = open_object_store(folder, S3Connection())
    service = SealingService(
        Deployment(
            settings=settings,
            engine=engine,
            objects=objects,
            anchors=AnchorStore(objects, retain_days=settings.retention_days),
            trust=trust,
            keys=FollowedKeys(trust),
            health=Health(),
            clock=SystemClock(),
        )
    )
    collect_rarely()  # as a worker does
    task = asyncio.create_task(service.run())
    while not sealed():
        await asyncio.sleep(0.001)
        if task.done():
            task.result()
    first, began = sealed(), time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_SELF)
    while sealed() < count:
        await asyncio.sleep(0.002)
        if task.done():
            task.result()
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    done = sealed() - first
    cpu = (after.ru_utime - before.ru_utime) / done * 1e6
    task.cancel()
    await asyncio.wait({task})
    await engine.close()
    print(json.dumps({"rate": done / wall, "cpu_us": cpu}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[4]), *sys.argv[5:]))
