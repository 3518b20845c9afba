"""From the source's append to a visible checkpoint over it, at a steady rate on one partition.

The real worker in a process of its own. The broker stamps what it appends (LogAppendTime); a
reader of committed records, as any projection is one, looks at its clock when a checkpoint
arrives. Broker, worker, feeder and reader share the machine and its clock.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from schemas.audit_values import decode_audit_value
from schemas.records import AuditRecord
from streams.audit.checkpoint import parse_checkpoint
from streams.clock import SystemClock
from tests.support.local_kafka import LocalKafka, free_ports

COMMAND = Path(sys.executable).with_name("attestream")
SOURCE = "authz.decisions"
RATE, TICK_S = 2_000, 0.005
WARM_UP_S = 5.0


def report(*, quick: bool) -> list[str]:
    """Markdown lines: the milliseconds that sealing adds."""
    seconds = 10.0 if quick else 30.0
    jvm = ["-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-Xshare:auto"]
    with (
        tempfile.TemporaryDirectory(prefix="attestream-bench-") as folder,
        LocalKafka(folder, jvm=jvm) as kafka,
        sealing(kafka.bootstrap, Path(folder)),
    ):
        waited = measured(kafka.bootstrap, seconds)
    cuts = statistics.quantiles(waited, n=100)
    return [
        "| events/s | events | p50 ms | p90 ms | p99 ms | longest ms |",
        "|---|---|---|---|---|---|",
        (
            f"| {RATE:,} | {len(waited):,} | {cuts[49]:.0f} | {cuts[89]:.0f} | {cuts[98]:.0f} | "
            f"{max(waited)} |"
        ),
    ]


@contextmanager
def sealing(bootstrap: str, folder: Path) -> Iterator[None]:
    """A worker that seals one partition of the decisions."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    stamped = {"message.timestamp.type": "LogAppendTime", "retention.ms": "-1"}
    for made in admin.create_topics([NewTopic(SOURCE, 1, 1, config=stamped)]).values():
        made.result()
    environment = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "ATTESTREAM_ORIGIN": "bench.example/latency",
        "ATTESTREAM_ARCHIVE": str(folder / "archive"),
        "ATTESTREAM_HTTP_PORT": str(port := free_ports(1)[0]),
        "AUDIT_SIGNING_PRIVATE_KEY": "11" * 32,
    }
    subprocess.run([COMMAND, "topics", "apply"], env=environment, check=True, capture_output=True)
    with (folder / "worker.log").open("wb") as log:
        worker = subprocess.Popen(
            [COMMAND, "worker", "--roles", "sealer"], env=environment, stdout=log, stderr=log
        )
        try:
            until_ready(worker, port)
            yield
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(30)


def until_ready(worker: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and worker.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz"):
            return
        time.sleep(0.1)
    raise RuntimeError("the worker did not become ready")


def measured(bootstrap: str, seconds: float) -> list[int]:
    """Milliseconds of every event sent after the warm-up."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "latency",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 5,
        }
    )
    clock = SystemClock()
    consumer.assign([TopicPartition(f"audit.{SOURCE}", 0, OFFSET_BEGINNING)])
    ended = threading.Event()
    feeder = threading.Thread(target=feed, args=(bootstrap, WARM_UP_S + seconds, ended))
    feeder.start()
    waited: list[int] = []
    tail: deque[AuditRecord] = deque()
    begun: int | None = None
    quiet_since = time.monotonic()
    while not (ended.is_set() and not tail and time.monotonic() - quiet_since > 2):
        for message in consumer.consume(500, timeout=0.002):
            quiet_since = time.monotonic()
            value = decode_audit_value(message.value())
            if isinstance(value, AuditRecord):
                tail.append(value)
                continue
            now = clock.now_ms()
            size = parse_checkpoint(value.note)[0].size
            while tail and tail[0].index < size:
                appended = tail.popleft().source.timestamp
                begun = appended if begun is None else begun
                if appended - begun > WARM_UP_S * 1000:
                    waited.append(now - appended)
    feeder.join()
    consumer.close()
    return waited


def feed(bootstrap: str, seconds: float, ended: threading.Event) -> None:
    """300-byte events at RATE, a few each tick."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    value = os.urandom(300)
    began, sent = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        while sent < passed * RATE:
            producer.produce(SOURCE, value, key=b"k%d" % (sent % 97), partition=0)
            sent += 1
        producer.poll(0)
        time.sleep(TICK_S)
    producer.flush(10)
    ended.set()
