"""Events from files of documents: plain and gzipped, whole and damaged, in every format."""

import gzip
import io
import tracemalloc
from pathlib import Path

import pytest

from schemas.codec import decode_event
from schemas.events import AuthorizationDecision, Event, event_key, event_timestamp_ms
from schemas.sources import FORMATS, Options
from streams.intake.files import Ready, Rejected, read_documents
from tests.support.events import record

FIXTURES = Path(__file__).parents[2] / "fixtures"
# Format, file, events in it, and the lines that hold none.
FILES = [
    ("cerbos", "cerbos.ndjson", 6, [6, 7]),
    ("decisions-jsonl", "decisions.jsonl", 3, [4]),
    ("kubernetes", "kubernetes.ndjson", 5, [6, 7]),
    ("memories-jsonl", "memories.jsonl", 4, [5, 6, 7]),
    ("opa", "opa-body.json", 4, []),
    ("opa", "opa-pretty.json", 4, []),
    ("opa", "opa.ndjson", 4, []),
]


def read(name: str, data: bytes) -> list[Ready | Rejected]:
    return list(read_documents(io.BytesIO(data), FORMATS[name], Options()))


def events(found: list[Ready | Rejected]) -> list[Event]:
    return [decode_event(record(ready.value)) for ready in found if isinstance(ready, Ready)]


@pytest.mark.parametrize(("name", "file", "count", "rejected"), FILES)
def test_nothing_is_dropped_silently(
    name: str, file: str, count: int, rejected: list[int]
) -> None:
    found = read(name, (FIXTURES / file).read_bytes())
    assert len(events(found)) == count
    assert [each.line for each in found if isinstance(each, Rejected)] == rejected


@pytest.mark.parametrize(("name", "file", "count", "rejected"), FILES)
def test_a_gzipped_file_holds_the_same(
    name: str, file: str, count: int, rejected: list[int]
) -> None:
    data = (FIXTURES / file).read_bytes()
    assert read(name, gzip.compress(data)) == read(name, data)
    two_members = gzip.compress(data[:100]) + gzip.compress(data[100:])
    assert len(read(name, two_members)) == count + len(rejected)


def test_each_event_has_the_key_and_the_time_of_its_own() -> None:
    found = read("memories-jsonl", (FIXTURES / "memories.jsonl").read_bytes())
    for ready, event in zip(found, events(found), strict=False):
        assert isinstance(ready, Ready)
        assert ready.kind == "memory"
        assert ready.key == event_key(event)
        assert ready.timestamp_ms == event_timestamp_ms(event)
    assert [ready.timestamp_ms for ready in found if isinstance(ready, Ready)] == [
        1_770_091_506_000,
        1_770_091_506_000,
        -1,
        -1,
    ]


def test_options_reach_the_events() -> None:
    data = (FIXTURES / "cerbos.ndjson").read_bytes()
    options = Options(tenant="acme", keep_source=False)
    for event in events(list(read_documents(io.BytesIO(data), FORMATS["cerbos"], options))):
        assert isinstance(event, AuthorizationDecision)
        assert event.tenant == "acme"
        assert event.source_record.content is None
        assert event.source_record.sha256 is not None


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_gzip_file_gives_what_it_holds_and_says_where_it_ends(damage: str) -> None:
    rows = [b'{"principal":"%d","action":"go"}' % (number**5) for number in range(300)]
    data = gzip.compress(b"\n".join(rows))
    data = data[:-20] if damage == "cut" else data[:-8] + b"\xff" * 8
    *good, last = read("decisions-jsonl", data)
    assert 100 < len(events(good)) <= 300
    assert isinstance(last, Rejected)
    assert "the file cannot be read beyond this document" in last.reason


def test_a_long_file_takes_the_memory_of_a_short_one() -> None:
    line = (FIXTURES / "decisions.jsonl").read_bytes().splitlines(keepends=True)[0]

    class Long(io.RawIOBase):
        """Four megabytes that never exist at once."""

        def __init__(self) -> None:
            self._left = 20_000

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            if not self._left:
                return 0
            self._left -= 1
            piece = b"x" * 200 + b"\n" if self._left % 100 else line
            buffer[: len(piece)] = piece
            return len(piece)

    tracemalloc.start()
    found = read_documents(Long(), FORMATS["decisions-jsonl"], Options())  # type: ignore[arg-type]
    ready = sum(isinstance(each, Ready) for each in found)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ready == 200
    assert peak < 2 * 2**20
