"""Archivers as processes that die by SIGKILL at a request of their own that one chooses.

    with KilledArchivers(server, bucket, batches=3, seed=1) as archivers:
        archivers.run(Kill("prefix", 10, at=4, where="before"))     # [-9]

Each is a fork of one process that has everything loaded, so a round takes milliseconds. The log is
a function of `batches` and `seed`: `grown` gives it to whoever compares.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from projections.archive.fold import CutRules
from streams.garbage import collect_rarely
from streams.objects import S3Connection
from streams.objects.s3 import Patience, S3ObjectStore
from tests.support.archives import run_archiver
from tests.support.s3_fixtures import S3Server
from tests.support.sealed_log import SealedLog

__all__ = ["Kill", "KilledArchivers", "Where", "grown"]

PATIENCE = Patience(attempts=6, first_delay_s=0.02, connect_timeout_s=5, read_timeout_s=20)


Where = Literal["before", "during", "after"]


class Kill(NamedTuple):
    """One archiver of `prefix`: killed `where` its request number `at` is sent, -1: never.

    `during`: a moment after it began to be sent.
    """

    prefix: str
    records_max: int
    at: int = -1
    where: Where = "before"


def grown(batches: int, seed: int) -> SealedLog:
    """Batches of 1 to 9 records; some checkpoints lag behind; all is sealed in the end."""
    chance = random.Random(seed)
    log = SealedLog()
    for _ in range(batches):
        before = log.size
        log.append(chance.randint(2, 9))
        log.checkpoint(chance.randint(before + 1, log.size))
    log.append(1)
    log.checkpoint()
    return log


class KilledArchivers:
    """The process that forks them."""

    def __init__(self, server: S3Server, bucket: str, *, batches: int, seed: int) -> None:
        arguments = [server.endpoint, bucket, str(batches), str(seed)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.killed_archiver", *arguments],
            env=os.environ | {"KEY": server.access_key, "SECRET": server.secret},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def run(self, *kills: Kill) -> list[int]:
        """Let archivers run at the same time; how each ended: 0, all is archived, or -9."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(kills) + "\n")
        self._process.stdin.flush()
        ended: list[int] = json.loads(self._process.stdout.readline())
        return ended


def archive(store: S3ObjectStore, log: SealedLog, kill: Kill) -> None:
    store._prefix = f"{kill.prefix}/"
    count = 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def sending(**_: Any) -> None:
        nonlocal count
        if count == kill.at and kill.where == "before":
            die()
        if count == kill.at and kill.where == "during":
            threading.Timer(0.001, die).start()
        count += 1

    def answered(**_: Any) -> None:
        if count - 1 == kill.at and kill.where == "after":
            die()

    store._client.meta.events.register("before-send.s3", sending)
    store._client.meta.events.register("response-received.s3", answered)
    asyncio.run(run_archiver(store, log, CutRules(records_max=kill.records_max), starts=200))


def main(endpoint: str, bucket: str, batches: int, seed: int) -> None:
    connection = S3Connection(
        endpoint=endpoint, access_key=os.environ["KEY"], secret=os.environ["SECRET"]
    )
    store, log = S3ObjectStore(connection, bucket, "", PATIENCE), grown(batches, seed)
    collect_rarely()
    for line in sys.stdin:
        children = []
        for kill in json.loads(line):
            child = os.fork()
            if not child:
                archive(store, log, Kill(*kill))
                os._exit(0)
            children.append(child)
        ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(ended), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
