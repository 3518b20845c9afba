"""One file read by many processes: the same verdict, whatever the file and whatever happens."""

import io
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.records import Record
from streams.audit.note import TrustedKeys
from streams.segments import Block, SegmentReader, digest_block, encode_block, encode_head
from streams.segments.blocks import BLOCK_BYTES_MAX
from streams.verifier import Digests, LogVerdict, Trust, digesting, verify_files
from tests.support.forgeries import changed, flipped
from tests.support.signed_logs import KEY, ORIGIN, SignedLog

TRUST = Trust(keys=KEY.trusted())
ROWS_A_BLOCK = 10


def log_of(records: int) -> SignedLog:
    log = SignedLog()
    for first in range(0, records, 7):
        log.extend(min(7, records - first)).checkpoint()
    return log


def file_of(rows: list[Record]) -> bytes:
    """A segment in many blocks."""
    cut = [rows[at : at + ROWS_A_BLOCK] for at in range(0, len(rows), ROWS_A_BLOCK)]
    blocks = [encode_block(ORIGIN, 0, block) for block in cut]
    return b"".join((encode_head(ORIGIN, 0, None), *blocks))


@pytest.fixture(scope="module")
def helped() -> Iterator[Digests]:
    """Two processes, asked from the first block on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digesting, "BLOCKS_ALONE", 0)
        with Digests(2) as digests:
            yield digests


def verdict_of_file(path: Path, data: bytes, digests: Digests) -> LogVerdict:
    path.write_bytes(data)
    (verdict,) = verify_files([path], TRUST, digests=digests)
    return verdict


def assert_same(one: LogVerdict, other: LogVerdict) -> None:
    assert one.to_json() == other.to_json()


def test_long_file_is_intact_with_any_number_of_processes(tmp_path: Path, helped: Digests) -> None:
    data = file_of(log_of(500).rows)
    alone = verdict_of_file(tmp_path / "log.avro", data, Digests())
    assert_same(alone, verdict_of_file(tmp_path / "log.avro", data, helped))
    assert (alone.size, alone.records, alone.breaks) == (500, 500, ())


@pytest.mark.parametrize("index", [0, 9, 10, 250, 499])
def test_altered_record_is_named_by_any_number_of_processes(
    tmp_path: Path, helped: Digests, index: int
) -> None:
    data = file_of(changed(log_of(500).rows, index, flipped))
    verdict = verdict_of_file(tmp_path / "log.avro", data, helped)
    assert [(b.kind, b.index) for b in verdict.breaks] == [("altered", index)]
    assert_same(verdict, verdict_of_file(tmp_path / "log.avro", data, Digests()))


def test_verdict_on_any_damaged_file_is_that_of_one_process(
    tmp_path: Path, helped: Digests
) -> None:
    rng = random.Random(20)
    honest = file_of(log_of(200).rows)
    for _ in range(60):
        data = bytearray(honest)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        cut = rng.choice((len(data), rng.randrange(1, len(data))))
        alone = verdict_of_file(tmp_path / "log.avro", bytes(data[:cut]), Digests())
        assert_same(alone, verdict_of_file(tmp_path / "log.avro", bytes(data[:cut]), helped))
        assert alone.breaks


def test_verdict_on_a_log_whose_rows_were_moved_is_that_of_one_process(
    tmp_path: Path, helped: Digests
) -> None:
    rng = random.Random(21)
    honest = log_of(150).rows
    for _ in range(25):
        rows = list(honest)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(rows))
            rows.insert(rng.randrange(len(rows)), rows.pop(at))
            if rng.random() < 0.3:
                rows.insert(at, rows[at])
        alone = verdict_of_file(tmp_path / "log.avro", file_of(rows), Digests())
        assert_same(alone, verdict_of_file(tmp_path / "log.avro", file_of(rows), helped))


def test_fault_of_the_file_comes_behind_what_was_read_before_it(
    tmp_path: Path, helped: Digests
) -> None:
    rows = changed(log_of(500).rows, 30, flipped)
    data = file_of(rows)[:-20]
    verdict = verdict_of_file(tmp_path / "log.avro", data, helped)
    assert [(b.kind, b.index) for b in verdict.breaks] == [("archive", 0), ("altered", 30)]
    assert_same(verdict, verdict_of_file(tmp_path / "log.avro", data, Digests()))


def test_process_that_dies_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digesting, "BLOCKS_ALONE", 0)
    started: list[digesting._Process] = []
    digest = digesting._Process.digest

    def dying(process: digesting._Process, block: Block) -> object:
        if process not in started:
            started.append(process)
            os.kill(process._process.pid, signal.SIGKILL)
        return digest(process, block)

    monkeypatch.setattr(digesting._Process, "digest", dying)
    data = file_of(log_of(300).rows)
    with Digests(2) as digests:
        verdict = verdict_of_file(tmp_path / "log.avro", data, digests)
    assert (verdict.size, verdict.breaks) == (300, ())
    assert len(started) >= 2


def test_interpreter_that_cannot_be_started_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digesting, "BLOCKS_ALONE", 0)
    monkeypatch.setattr("sys.executable", str(tmp_path / "no-such-python"))
    with Digests(2) as digests:
        verdict = verdict_of_file(tmp_path / "log.avro", file_of(log_of(300).rows), digests)
    assert (verdict.size, verdict.breaks) == (300, ())


def test_short_file_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_process: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(digesting._Process, "__init__", refuse)
    monkeypatch.setattr(digesting, "BLOCKS_ALONE", 12)
    with Digests(2) as digests:
        rows = log_of(40).rows
        assert verdict_of_file(tmp_path / "log.avro", file_of(rows), digests).size == 40


def test_many_short_files_are_read_by_processes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digesting, "BLOCKS_ALONE", 12)
    asked: list[Block] = []
    digest = digesting._Process.digest

    def counted(process: digesting._Process, block: Block) -> object:
        asked.append(block)
        return digest(process, block)

    monkeypatch.setattr(digesting._Process, "digest", counted)
    with Digests(2) as digests:
        for number in range(5):
            rows = log_of(40).rows
            verdict = verdict_of_file(tmp_path / f"{number}.avro", file_of(rows), digests)
            assert (verdict.size, verdict.breaks) == (40, ())
    assert asked


def test_what_a_process_serves_is_what_is_digested_here() -> None:
    reader = SegmentReader(io.BytesIO(file_of(log_of(100).rows)))
    blocks = [piece for piece in reader.pieces() if isinstance(piece, Block)]
    asked = io.BytesIO(
        b"".join(digesting.HEAD.pack(b.count, len(b.body)) + b.body for b in blocks)
    )
    answered = io.BytesIO()
    before = signal.getsignal(signal.SIGINT)
    try:
        digesting.serve(asked, answered)
    finally:
        signal.signal(signal.SIGINT, before)
    answered.seek(0)
    for block in blocks:
        assert digesting.received(answered) == digest_block(block)


def test_bomb_is_not_held_whole_by_anybody() -> None:
    row = Record(0, 0, None, bytes(2**20))
    bomb = encode_block(ORIGIN, 0, [row._replace(offset=n) for n in range(8)])
    assert len(bomb) < BLOCK_BYTES_MAX
    reader = SegmentReader(io.BytesIO(file_of(log_of(5).rows) + bomb))
    *_, last = reader.pieces()
    assert isinstance(last, Block)
    assert digest_block(last) is None


def test_keys_matter_as_they_do_without_help(tmp_path: Path, helped: Digests) -> None:
    path = tmp_path / "log.avro"
    path.write_bytes(file_of(log_of(100).rows))
    stranger = TrustedKeys.parse(KEY.vkey("elsewhere").render())
    (verdict,) = verify_files([path], Trust(keys=stranger), digests=helped)
    assert verdict.breaks[0].kind == "unknown_key"
