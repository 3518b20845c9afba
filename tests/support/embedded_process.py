"""Another process on an embedded home: `python -m tests.support.embedded_process VERB HOME`.

It does one step for each line it is sent and says a line for each thing it did.
"""

import asyncio
import random
import subprocess
import sys
from pathlib import Path

from streams.embedded.database import EmbeddedDatabase
from streams.embedded.partitions import EmbeddedPartitionWriter, EmbeddedSourcePartition
from streams.embedded.sink import EmbeddedEventSink
from streams.errors import AttestreamError
from streams.ports import NewRecord, Posted
from tests.tidy.repository import ROOT

AUDIT, SOURCE, ROLE = "audit.events", "events", "sealer"

__all__ = ["AUDIT", "ROLE", "SOURCE", "another_process", "batch"]


def another_process(verb: str, home: Path) -> subprocess.Popen[str]:
    """Start one; `stdin` and `stdout` are its lines."""
    command = [sys.executable, "-m", "tests.support.embedded_process", verb, str(home)]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def batch(number: int, count: int) -> list[NewRecord]:
    """Records that say which batch they are of, which of how many, and fill some pages."""
    return [
        NewRecord(number, b"%d %d %d " % (number, n, count) + b"." * 400) for n in range(count)
    ]


async def write(database: EmbeddedDatabase) -> None:
    """Append batches and post positions until killed; each is said once it is durable."""
    writer = EmbeddedPartitionWriter(database, AUDIT, 0)
    await writer.start()
    source = await EmbeddedSourcePartition.own(database, SOURCE, 0, role=ROLE)
    number = 0
    while True:
        appended = await writer.append(batch(number, random.randrange(1, 400)))
        say(f"appended {appended.last_offset + 1}")
        end = appended.last_offset + 1
        await source.post(Posted(end, end, b"%032d" % end))
        say(f"posted {end}")
        number += 1


async def append_when_told(database: EmbeddedDatabase) -> None:
    """Start a writer; append a record for each line, and say how it went."""
    writer = EmbeddedPartitionWriter(database, AUDIT, 0)
    await writer.start()
    say("started")
    for line in sys.stdin:
        try:
            appended = await writer.append([NewRecord(0, line.strip().encode())])
        except AttestreamError as error:
            say(type(error).__name__)
        else:
            say(str(appended.first_offset))


async def send_when_told(database: EmbeddedDatabase) -> None:
    """Send as many events as each line says."""
    say("started")
    for line in sys.stdin:
        async with EmbeddedEventSink(database, SOURCE) as sink:
            for record in batch(0, int(line)):
                await sink.send(record)
        say("sent")


async def tell_identity(database: EmbeddedDatabase) -> None:
    """Say who the database is."""
    await database.ensure_topic(SOURCE, 3)
    say(f"{database.cluster_id} {database.origin} {database.facts(SOURCE).topic_id}")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


VERBS = {
    "write": write,
    "append": append_when_told,
    "send": send_when_told,
    "identity": tell_identity,
}

if __name__ == "__main__":
    opened = EmbeddedDatabase.open(Path(sys.argv[2]))
    asyncio.run(VERBS[sys.argv[1]](opened))
    opened.close()
