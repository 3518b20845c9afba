"""Proofs from tiles and from the log: the same, and both lead to a root that is signed."""

import pytest

from projections.tiles.projection import PublishRules
from streams.audit.merkle import Frontier
from streams.audit.proofs import (
    TlogProof,
    parse_tlog_proof,
    render_tlog_proof,
    verify_consistency,
    verify_inclusion,
)
from streams.errors import BreakError, SourceUnreadableError
from streams.ports import Published
from streams.proving import LoggedProofs, TiledProofs
from streams.static_log import StaticLog
from streams.verifier import Trust, verify_proof_text
from tests.support.memory_objects import MemoryObjectStore
from tests.support.sealed_log import KEYS, ORIGIN, SealedLog
from tests.support.static_logs import PREFIX, RowsReader, run_tiler

LENGTHS = (1, 3, 300, 250, 40, 1, 6)
SIZE = sum(LENGTHS)


class CountingObjects(MemoryObjectStore):
    """Counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    async def newest(self, key: str) -> Published | None:
        self.reads.append(key)
        return await super().newest(key)


def log_with_lagging_checkpoints() -> SealedLog:
    """Records that no checkpoint covers yet lie before the checkpoint that came late."""
    log = SealedLog()
    for number, length in enumerate(LENGTHS):
        before = log.size
        log.append(length)
        if number % 2:
            log.checkpoint(before + length // 2)
        log.append(2)
        log.checkpoint(log.size - 1)
    log.checkpoint()
    return log


LOG = log_with_lagging_checkpoints()


async def tiled(log: SealedLog = LOG) -> tuple[TiledProofs, CountingObjects]:
    objects = CountingObjects()
    await run_tiler(objects, log, PublishRules(records_max=1))
    objects.reads.clear()
    return TiledProofs(StaticLog(objects, PREFIX), ORIGIN), objects


def root_at(size: int, log: SealedLog = LOG) -> bytes:
    frontier = Frontier()
    frontier.extend(log.leaves()[:size])
    return frontier.root()


async def test_every_record_is_proved_from_tiles_in_a_handful_of_reads() -> None:
    proofs, objects = await tiled()
    for index, leaf in list(enumerate(LOG.leaves()))[::3]:
        objects.reads.clear()
        made = await proofs.inclusion(index)
        assert made is not None
        assert (made.leaf, made.text.size) == (leaf, LOG.size)
        verify_inclusion(index, LOG.size, leaf, made.proof.proof, root_at(LOG.size))
        assert len(objects.reads) <= 1 + 2 * 2


@pytest.mark.parametrize("page", [1, 7, 1000])
async def test_records_are_proved_from_the_log_by_the_first_checkpoint_over_them(
    page: int,
) -> None:
    proofs = LoggedProofs(RowsReader(LOG.rows, page), ORIGIN)
    sizes = []
    for index, leaf in [*list(enumerate(LOG.leaves()))[:12], *list(enumerate(LOG.leaves()))[::37]]:
        made = await proofs.inclusion(index)
        assert made.leaf == leaf
        assert made.text.size > index
        verdict = verify_proof_text(render_tlog_proof(made.proof), leaf, Trust(keys=KEYS))
        assert verdict.breaks == ()
        sizes.append(made.text.size)
    assert sizes[:12] == sorted(sizes[:12])
    assert sizes[0] == 2


async def test_a_proof_reaches_back_to_records_far_before_the_checkpoint_they_wait_for() -> None:
    log = SealedLog()
    log.append(600)
    log.checkpoint(10)
    log.append(5)
    log.checkpoint()
    made = await LoggedProofs(RowsReader(log.rows, 500), ORIGIN).inclusion(602)
    verify_inclusion(602, 605, log.leaves()[602], made.proof.proof, root_at(605, log))


async def test_consistency_from_tiles_is_that_from_the_log() -> None:
    proofs, objects = await tiled()
    logged = LoggedProofs(RowsReader(LOG.rows, 500), ORIGIN)
    pairs = [(1, LOG.size), (255, 256), (256, 257), (255, LOG.size), (300, 301), (77, 77)]
    for old, new in pairs:
        objects.reads.clear()
        made = await proofs.consistency(old, new)
        assert made is not None
        assert made == await logged.consistency(old, new)
        assert made.roots == (root_at(old), root_at(new))
        verify_consistency((old, new), made.roots, made.proof)
        assert len(objects.reads) <= 6


async def test_what_is_not_published_is_not_proved_from_tiles() -> None:
    proofs, _ = await tiled()
    assert await proofs.size() == LOG.size
    assert await proofs.inclusion(LOG.size) is None
    assert await proofs.consistency(1, LOG.size + 1) is None
    empty = TiledProofs(StaticLog(MemoryObjectStore(), PREFIX), ORIGIN)
    assert await empty.size() is None
    assert await empty.inclusion(0) is None
    assert await empty.consistency(1, 1) is None


async def test_a_record_that_is_not_sealed_or_not_there_is_named() -> None:
    log = log_with_lagging_checkpoints()
    log.append(3)
    proofs = LoggedProofs(RowsReader(log.rows), ORIGIN)
    with pytest.raises(SourceUnreadableError, match="no checkpoint covers record"):
        await proofs.inclusion(log.size - 1)
    with pytest.raises(SourceUnreadableError, match="has no record"):
        await proofs.inclusion(log.size)
    with pytest.raises(SourceUnreadableError, match="sealed records, not"):
        await proofs.consistency(1, log.size)


@pytest.mark.parametrize("path", ["tile/0/001", "tile/1/000.p/2", "tile/0/000"])
async def test_no_proof_comes_out_of_altered_tiles(path: str) -> None:
    proofs, objects = await tiled()
    found = await objects.newest(PREFIX + path)
    assert found is not None
    body = bytearray(found.body)
    body[33] ^= 1
    objects.overlay(PREFIX + path, bytes(body))
    refused = set()
    for index in (0, 1, 256, 257, LOG.size - 1):
        try:
            made = await proofs.inclusion(index)
        except BreakError as error:
            refused.add(error.kind)
            continue
        assert made is not None
        verify_inclusion(index, LOG.size, made.leaf, made.proof.proof, root_at(LOG.size))
    assert refused == {"archive"}
    if path == "tile/1/000.p/2":
        with pytest.raises(BreakError):
            await proofs.consistency(256, LOG.size)


async def test_tiles_under_another_logs_checkpoint_prove_nothing() -> None:
    _, objects = await tiled()
    proofs = TiledProofs(StaticLog(objects, PREFIX), "test.example/authz.decisions/1")
    with pytest.raises(BreakError) as found:
        await proofs.inclusion(0)
    assert found.value.kind == "bad_signature"


async def test_a_record_altered_in_the_log_is_not_proved_from_it() -> None:
    log = log_with_lagging_checkpoints()
    at = next(i for i, row in enumerate(log.rows) if b"100 xx" in (row.value or b""))
    value = (log.rows[at].value or b"").replace(b"100 xx", b"100 yy")
    log.rows[at] = log.rows[at]._replace(value=value)
    with pytest.raises(BreakError) as found:
        await LoggedProofs(RowsReader(log.rows), ORIGIN).inclusion(101)
    assert (found.value.kind, found.value.index) == ("altered", 100)


async def test_the_file_holds_the_published_checkpoint_verbatim() -> None:
    proofs, objects = await tiled()
    made = await proofs.inclusion(5)
    published = await objects.newest(f"{PREFIX}checkpoint")
    assert made is not None
    assert published is not None
    assert made.proof.checkpoint.encode() == published.body
    assert parse_tlog_proof(render_tlog_proof(made.proof)) == TlogProof(
        5, made.proof.proof, published.body.decode()
    )
