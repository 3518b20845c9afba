"""A Kafka deployment for one test: topics of its own, workers as processes, a clean end."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import confluent_kafka
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.local_kafka import free_ports

SEED = "07" * 32
COMMAND = Path(sys.executable).with_name("attestream")


@dataclass(slots=True)
class Worker:
    """One `attestream worker` process."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    def ready(self) -> bool:
        return self.status().get("ready", False) is True

    def status(self) -> dict[str, Any]:
        try:
            url = f"http://127.0.0.1:{self.port}/readyz"
            with urllib.request.urlopen(url, timeout=2) as answer:
                body: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            body = json.load(error)
        except OSError:
            return {}
        return body

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@dataclass(slots=True)
class Deployment:
    """Topics with a prefix nobody else has, and whatever runs on them."""

    bootstrap: str
    folder: Path
    partitions: int = 1
    replicas: int = 1
    extra: dict[str, str] = field(default_factory=dict)
    prefix: str = field(default_factory=lambda: f"t{secrets.token_hex(4)}.")
    workers: list[Worker] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"test.example/{self.prefix}".rstrip("./")

    @property
    def decisions(self) -> str:
        return f"{self.prefix}authz.decisions"

    @property
    def memory(self) -> str:
        return f"{self.prefix}memory.mutations"

    @property
    def alerts(self) -> str:
        return f"{self.prefix}attestream.alerts"

    @property
    def operations(self) -> str:
        return f"{self.prefix}attestream.operations"

    @property
    def heads(self) -> str:
        return f"{self.prefix}attestream.heads"

    def audit(self, source: str) -> str:
        return f"{self.prefix}audit.{source}"

    def origin(self, source: str, partition: int) -> str:
        return f"{self.base}/{source}/{partition}"

    @property
    def public_key(self) -> bytes:
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SEED))
        return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def environment(self, port: int = 0) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("ATTESTREAM", "S3_"))}
        return kept | {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "ATTESTREAM_TOPIC_PREFIX": self.prefix,
            "ATTESTREAM_DECISIONS_TOPIC": self.decisions,
            "ATTESTREAM_MEMORY_TOPIC": self.memory,
            "ATTESTREAM_ORIGIN": self.base,
            "ATTESTREAM_ARCHIVE": str(self.folder / "archive"),
            "AUDIT_SIGNING_PRIVATE_KEY": SEED,
            "ATTESTREAM_HTTP_PORT": str(port),
            "ATTESTREAM_SESSION_TIMEOUT_MS": "6000",
            "ATTESTREAM_SEGMENT_IDLE_S": "1",
            **self.extra,
        }

    def archived(self, source: str) -> int:
        """How many records of a source topic its anchors cover, in an archive on disk."""
        logs = self.folder / "archive" / "anchors" / "v1" / self.base / source
        sizes = [[int(note.stem) for note in log.glob("*.note")] for log in logs.glob("*")]
        return sum(max(found, default=0) for found in sizes)

    def create_topics(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        sources = {self.decisions: self.partitions, self.memory: self.partitions}
        sources |= {self.alerts: self.partitions, self.operations: 1, self.heads: 1}
        # Records bear their events' times, which may be old: no retention may take them.
        kept = {"retention.ms": "-1", "max.message.bytes": "8388608"}
        topics = [
            NewTopic(name, count, self.replicas, config=kept)
            for source, count in sources.items()
            for name in (source, self.audit(source), f"{self.prefix}dead-letters.{source}")
        ]
        findings = f"{self.alerts}.ocsf"
        topics.append(NewTopic(findings, self.partitions, self.replicas, config=kept))
        for made in admin.create_topics(topics).values():
            made.result()

    def compact(self, topic: str) -> None:
        """What somebody does who takes an event topic for a table."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        entry = ConfigEntry(
            "cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET
        )
        change = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        for done in admin.incremental_alter_configs([change]).values():
            done.result()

    def run(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [str(COMMAND), *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def start_worker(self, roles: str = "") -> Worker:
        (port,) = free_ports(1)
        log = self.folder / f"worker-{len(self.workers)}.log"
        arguments = ["worker", *(["--roles", roles] if roles else [])]
        with log.open("ab") as out:
            process = subprocess.Popen(
                [str(COMMAND), *arguments],
                env=self.environment(port),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        worker = Worker(process, port, log)
        self.workers.append(worker)
        return worker

    def end_all(self, number: int) -> set[int]:
        """The exit statuses of the workers that still ran, all ended at once."""
        running = [worker.process for worker in self.workers if worker.process.poll() is None]
        for process in running:
            process.send_signal(number)
        return {process.wait(30) for process in running}

    def produce(self, topic: str, values: Sequence[bytes | None], *, first: int = 0) -> None:
        producer = confluent_kafka.Producer(
            {"bootstrap.servers": self.bootstrap, "linger.ms": 5, "log_level": 0}
        )
        for number, value in enumerate(values, first):
            producer.produce(
                topic, value, key=b"k%d" % (number % 97), partition=number % self.partitions
            )
            if number % 1000 == 0:
                producer.poll(0)
        assert producer.flush(60) == 0

    def __enter__(self) -> Self:
        self.create_topics()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGKILL)
            worker.process.wait(10)


def wait_until(condition: Any, seconds: float, why: str) -> None:
    """Poll until `condition()` holds; fails with `why` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, why
        time.sleep(0.1)
