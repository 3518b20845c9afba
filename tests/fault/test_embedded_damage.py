"""A damaged `attestream.db`: changed bytes reach the verifier, or it says why they cannot."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.records import Record
from streams.embedded import evidence
from streams.embedded.database import EmbeddedDatabase
from streams.embedded.history import list_audit_partitions, read_partition
from streams.embedded.home import DATABASE
from streams.embedded.layout import PAGE_BYTES
from streams.embedded.partitions import EmbeddedPartitionWriter
from streams.errors import SourceUnreadableError
from streams.ports import NewRecord

TOPIC = "audit.events"
ROWS = [
    NewRecord(n, b"value %d " % n * (1 + n % 40), b"key", ((b"h", None),) * (n % 2))
    for n in range(120)
]
RECORDS = [Record(n, row.timestamp, row.key, row.value, row.headers) for n, row in enumerate(ROWS)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(evidence, "PAGE_RECORDS", 7)

    async def make() -> None:
        database = EmbeddedDatabase.open(tmp_path / "home")
        await database.ensure_topic(TOPIC, 2, audit=True)
        writer = EmbeddedPartitionWriter(database, TOPIC, 1)
        await writer.start()
        await writer.append(ROWS)
        database.close()

    asyncio.run(make())
    return tmp_path / "home"


def flips(whole: bytes, count: int) -> Iterator[bytes]:
    chosen = random.Random(7)  # the same flips in every run
    used = [at for at, byte in enumerate(whole) if byte]
    for at in chosen.sample(used, count):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << chosen.randrange(8)
        yield bytes(flipped)


def outcome(path: Path) -> str:
    try:
        listed = list_audit_partitions(path)
        read = list(read_partition(path, TOPIC, 1))
    except SourceUnreadableError as error:
        return "unreadable" if "\n" not in str(error) else "said in more than one sentence"
    return "same" if (read, listed) == (RECORDS, [(TOPIC, 0), (TOPIC, 1)]) else "changed"


def test_any_flipped_bit_is_seen_changed_or_unreadable_never_a_crash(
    home: Path, tmp_path: Path
) -> None:
    path = tmp_path / "flipped.db"
    seen = Counter[str]()
    for flipped in flips((home / DATABASE).read_bytes(), 300):
        path.write_bytes(flipped)
        seen[outcome(path)] += 1
    # "same": in the slack of a page, or in what is no history.
    assert seen.keys() == {"same", "changed", "unreadable"}
    assert seen["changed"] > 150


def test_a_page_in_the_place_of_another_is_seen_and_the_walk_ends(
    home: Path, tmp_path: Path
) -> None:
    whole = (home / DATABASE).read_bytes()
    pages = [whole[at : at + PAGE_BYTES] for at in range(0, len(whole), PAGE_BYTES)]
    path = tmp_path / "shuffled.db"
    seen = Counter[str]()
    for there, page in enumerate(pages):
        for other in pages:
            if page != other:
                path.write_bytes(b"".join([*pages[:there], other, *pages[there + 1 :]]))
                seen[outcome(path)] += 1
    assert seen["changed"] > 20
    assert seen["unreadable"] > 20
