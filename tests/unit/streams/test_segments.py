"""Segment files: the golden log's bytes, an independent Avro library, and every fault named."""

import io
import json
import zlib
from base64 import b64encode
from typing import Any

import fastavro
import pytest

from schemas.audit_values import encode_checkpoint
from schemas.canonical import encode_bytes, encode_long
from schemas.records import Checkpoint, Record
from streams.errors import BreakError
from streams.segments import (
    SCHEMA_TEXTS,
    SegmentReader,
    encode_segment,
    read_segment,
    schema_digests,
    segment_marker,
)
from streams.segments.reader import ROW_SCHEMA
from streams.segments.rows import encode_rows
from tests.support.golden_log import GoldenSegment, golden_log, golden_segments

SEGMENTS = golden_segments()
FIRST, SECOND = SEGMENTS
both = pytest.mark.parametrize("segment", SEGMENTS, ids=["first", "second"])


def file_of(segment: GoldenSegment) -> bytes:
    return encode_segment(segment.origin, segment.first, segment.opening, segment.rows)


def metadata_of(segment: GoldenSegment) -> dict[str, str]:
    metadata = {f"attestream.schema.{name}": text for name, text in SCHEMA_TEXTS.items()}
    if segment.opening is not None:
        opening = b64encode(encode_checkpoint(segment.opening)).decode()
        metadata["attestream.opening"] = opening
    return metadata


def written_by_fastavro(segment: GoldenSegment, **changes: Any) -> bytes:
    """The same segment from another writer; `changes` are arguments of its own."""
    file = io.BytesIO()
    arguments: dict[str, Any] = {
        "codec": "deflate",
        "sync_marker": segment.marker,
        "metadata": metadata_of(segment),
        "sync_interval": 300,
    } | changes
    schema = arguments.pop("schema", json.loads(ROW_SCHEMA))
    rows = [
        {"offset": row.offset, "timestamp": row.timestamp, "value": row.value}
        for row in arguments.pop("rows", segment.rows)
    ]
    fastavro.writer(file, fastavro.parse_schema(schema), rows, **arguments)
    return file.getvalue()


def broken(data: bytes, *, first: int = 0) -> tuple[str, int]:
    with pytest.raises(BreakError) as found:
        read_segment(data, first=first)
    return found.value.kind, found.value.index


def container(segment: GoldenSegment, *blocks: bytes) -> bytes:
    """The header of the segment, then blocks as they are given."""
    data = file_of(segment)
    header = data[: data.index(segment.marker)]
    return b"".join([header, segment.marker, *(block + segment.marker for block in blocks)])


def block(rows: list[Record], *, count: int | None = None, body: bytes = b"") -> bytes:
    deflated = body or zlib.compress(encode_rows(rows), wbits=-15)
    return encode_long(len(rows) if count is None else count) + encode_bytes(deflated)


@both
def test_sync_marker_and_schema_texts_are_the_golden_ones(segment: GoldenSegment) -> None:
    assert segment_marker(segment.origin, segment.first) == segment.marker
    assert segment.marker in file_of(segment)
    golden = {s["fingerprint_hex"]: s["text"] for s in golden_log()["schemas"]}
    assert {name: golden[name] for name in SCHEMA_TEXTS} == SCHEMA_TEXTS
    assert golden["0e4045253d36f89d"] == ROW_SCHEMA


@both
def test_another_avro_library_reads_what_we_write(segment: GoldenSegment) -> None:
    reader = fastavro.reader(io.BytesIO(file_of(segment)))
    rows = [(r["offset"], r["timestamp"], None, r["value"], ()) for r in reader]
    assert rows == segment.rows
    for name, value in metadata_of(segment).items():
        assert reader.metadata[name] == value
    assert reader.metadata["avro.codec"] == "deflate"


@both
def test_a_written_segment_is_read_back(segment: GoldenSegment) -> None:
    read = read_segment(file_of(segment))
    assert (read.opening, read.rows) == (segment.opening, segment.rows)
    assert read.schemas == SCHEMA_TEXTS
    golden = {s["fingerprint_hex"]: s["text_sha256_hex"] for s in golden_log()["schemas"]}
    assert schema_digests(read.schemas) == {name: golden[name] for name in SCHEMA_TEXTS}


@both
def test_any_block_cuts_and_deflate_level_are_read(segment: GoldenSegment) -> None:
    for interval, level in ((1, 9), (300, 0), (10**6, 1)):
        data = written_by_fastavro(segment, sync_interval=interval, codec_compression_level=level)
        assert read_segment(data).rows == segment.rows


def test_a_value_longer_than_many_pieces_is_read() -> None:
    long = Record(10**6, 0, None, b"\xc3\x01" + bytes(range(256)) * 32_000)
    rows = [*FIRST.rows, long]
    assert read_segment(encode_segment(FIRST.origin, 0, None, rows)).rows == rows


def test_rows_are_read_in_bounded_pieces() -> None:
    rows = [*FIRST.rows, *(Record(10**6 + i, 0, None, bytes(1000)) for i in range(5000))]
    bomb = container(FIRST, block(rows))
    assert len(bomb) < 50_000
    sizes = [
        sum(len(row.value or b"") for row in batch)
        for batch in SegmentReader(io.BytesIO(bomb)).batches()
    ]
    assert sum(sizes) > 5_000_000
    assert max(sizes) <= 256 * 2**10


def test_a_segment_that_inflates_beyond_its_limit_is_refused() -> None:
    zeros = encode_rows([Record(0, 0, None, bytes(2**20))]) * 9
    data = container(FIRST, block(FIRST.rows), block([], count=9, body=deflated(zeros)))
    assert len(read_segment(data, bytes_max=10 * 2**20).rows) == len(FIRST.rows) + 9
    with pytest.raises(BreakError, match="more than 8388608 bytes"):
        read_segment(data, bytes_max=8 * 2**20)


def deflated(data: bytes) -> bytes:
    return zlib.compress(data, 1, -15)


FAULTS = {
    "another codec": written_by_fastavro(SECOND, codec="null"),
    "another row schema": written_by_fastavro(
        SECOND,
        schema={**json.loads(ROW_SCHEMA), "name": "Row"},
    ),
    "another sync marker": written_by_fastavro(SECOND, sync_marker=bytes(16)),
    "the sync marker of another log": written_by_fastavro(
        SECOND, sync_marker=segment_marker(SECOND.origin + "/e1", 4)
    ),
    "the sync marker of another segment": written_by_fastavro(SECOND, sync_marker=FIRST.marker),
    "no schema text": written_by_fastavro(
        SECOND, metadata={"attestream.opening": metadata_of(SECOND)["attestream.opening"]}
    ),
    "a schema text of another schema": written_by_fastavro(
        SECOND, metadata=metadata_of(SECOND) | {"attestream.schema.31939f51e3268559": '"long"'}
    ),
    "a schema text that is none": written_by_fastavro(
        SECOND, metadata=metadata_of(SECOND) | {"attestream.schema.31939f51e3268559": "[" * 9999}
    ),
    "no audit record": written_by_fastavro(SECOND, rows=SECOND.rows[-1:]),
    "no row": written_by_fastavro(SECOND, rows=[]),
    "bytes appended": file_of(SECOND) + b"\0",
    "a second file appended": file_of(SECOND) * 2,
    "a block that ends in another marker": file_of(SECOND)[:-16] + FIRST.marker,
    "cut off": file_of(SECOND)[:-1],
    "cut off in a block": file_of(SECOND)[:-1000],
    "bytes behind the rows of a block": container(
        SECOND, block([], count=4, body=deflated(encode_rows(SECOND.rows) + b"\0"))
    ),
    "bytes behind the deflate stream": container(
        SECOND, block([], count=4, body=deflated(encode_rows(SECOND.rows)) + b"\0\0\0")
    ),
    "fewer rows than it says": container(
        SECOND, block(SECOND.rows), block(SECOND.rows[:1], count=2)
    ),
    "a negative row count": container(SECOND, block(SECOND.rows), block([], count=-1)),
    "a row of a negative length": container(
        SECOND, block(SECOND.rows), block([], count=1, body=deflated(b"\0\0\1"))
    ),
    "a varint that is not minimal": container(
        SECOND, block(SECOND.rows), block([], count=1, body=deflated(b"\x80\0\0\0"))
    ),
    "a block that is no deflate stream": container(
        SECOND, block(SECOND.rows), block([], count=1, body=b"\xff\xff")
    ),
}


@pytest.mark.parametrize("data", FAULTS.values(), ids=FAULTS)
def test_a_fault_of_the_container_is_named_at_its_first_index(data: bytes) -> None:
    assert broken(data) == ("archive", 4)


def test_what_is_no_container_is_named_by_the_index_of_its_name() -> None:
    for data in (b"", b"Obj\x01", b"Obj\x02" + bytes(100), b"not avro at all", b"Obj\x01\x02\x01"):
        assert broken(data, first=7) == ("archive", 7)


@pytest.mark.parametrize(
    "opening",
    ["%%%", "AAAA", b64encode(FIRST.rows[1].value or b"").decode()],
    ids=["no base64", "no value", "an audit record"],
)
def test_an_opening_that_is_no_checkpoint_is_altered(opening: str) -> None:
    metadata = metadata_of(SECOND) | {"attestream.opening": opening}
    assert broken(written_by_fastavro(SECOND, metadata=metadata)) == ("altered", 4)


@pytest.mark.parametrize("at", range(7))
def test_an_altered_row_is_left_to_the_trail(at: int) -> None:
    """One altered row must not look like a fault of the container."""
    row = FIRST.rows[at]
    value = bytearray(row.value or b"")
    value[30] ^= 1
    rows = [*FIRST.rows[:at], row._replace(value=bytes(value)), *FIRST.rows[at + 1 :]]
    assert read_segment(written_by_fastavro(FIRST, rows=rows)).rows == rows


def test_a_reader_that_stopped_early_can_ask_for_the_marker() -> None:
    reader = SegmentReader(io.BytesIO(written_by_fastavro(SECOND, sync_marker=bytes(16))))
    next(reader.batches())
    with pytest.raises(BreakError) as found:
        reader.check_marker()
    assert (found.value.kind, found.value.index) == ("archive", 4)


def test_metadata_of_other_tools_is_passed_over() -> None:
    metadata = metadata_of(FIRST) | {"tool.version": "7", "attestream.note": "x"}
    assert read_segment(written_by_fastavro(FIRST, metadata=metadata)).rows == FIRST.rows


def test_an_opening_says_where_a_file_begins() -> None:
    reader = SegmentReader(io.BytesIO(file_of(SECOND)))
    assert reader.first == 4
    assert isinstance(reader.opening, Checkpoint)
    assert reader.opening.note.split("\n")[1] == "4"
