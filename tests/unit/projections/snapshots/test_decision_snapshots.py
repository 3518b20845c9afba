"""The decision index restored from a snapshot is the one rebuilt, alert for alert."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from projections.decision_index.embedding import Features
from projections.decision_index.projection import DecisionIndex, DecisionIndexWorld
from projections.decision_index.saving import parameters_of
from projections.decision_index.scoring import Rules
from streams.clock import SystemClock
from streams.objects import DirectoryObjectStore
from tests.support.decision_log import EventLog, decision, habits
from tests.support.output_partition import OutputPartition
from tests.support.sealed_log import ORIGIN, START_MS, batches_of
from tests.support.snapshot_states import KEY, Said, SnapshotPlace
from tests.support.static_logs import RowsReader

ANYBODY = Features("", "", (), "ward", "", "", "", "ALLOW")
RULES = Rules(threshold=0.4, warm_up=20, alerts_per_hour=4)
LENGTHS = [40, 1, 9, 30, 30, 25, 15]


@pytest.fixture(scope="module")
def log() -> EventLog:
    return EventLog.sealed(list(habits(150, seed=3)), LENGTHS)


def index_of(
    output: OutputPartition, place: SnapshotPlace | None, log: EventLog, rules: Rules = RULES
) -> DecisionIndex:
    make = None
    if place is not None:
        place = replace(place, projection="decision-index", parameters=parameters_of(rules))
        make = place.keepers(lambda: RowsReader(log.rows, page=500))
    return DecisionIndex(
        DecisionIndexWorld(
            make_writer=output.writer,
            make_reader=output.reader,
            rules=rules,
            clock=SystemClock(),
            make_snapshots=make,
        ),
        ORIGIN,
    )


async def run(index: DecisionIndex, log: EventLog, upto: int | None = None) -> int:
    """As the read loop does, up to a leaf; the leaf it began at."""
    position = await index.resume()
    for batch in batches_of(log, position):
        if upto is not None and batch.size > upto:
            break
        await index.apply(batch)
    return position.index


async def save(index: DecisionIndex) -> None:
    assert index._snapshots is not None
    await index._snapshots.create()


def values(output: OutputPartition) -> list[bytes | None]:
    return [record.value for record in output.records]


async def straight(log: EventLog) -> tuple[list[bytes | None], bytes]:
    output = OutputPartition()
    index = index_of(output, None, log)
    await run(index, log)
    digest = index.content_digest()
    await index.close()
    return values(output), digest


def sizes(log: EventLog) -> list[int]:
    return [batch.size for batch in batches_of(log) if batch.size]


async def test_restored_after_any_batch_alerts_and_state_are_those_of_a_rebuild(
    log: EventLog,
) -> None:
    expected, digest = await straight(log)
    assert len(expected) > 5
    for size in sizes(log):
        output, place = OutputPartition(), SnapshotPlace()
        first = index_of(output, place, log)
        await run(first, log, upto=size)
        await save(first)
        await first.close()
        second = index_of(output, place, log)
        assert await run(second, log) == size
        assert (values(output), second.content_digest()) == (expected, digest)
        await second.close()


async def test_restored_again_and_again_it_stays_the_same(log: EventLog) -> None:
    expected, digest = await straight(log)
    output, place = OutputPartition(), SnapshotPlace()
    for began, size in pairwise([0, *sizes(log)]):
        index = index_of(output, place, log)
        assert await run(index, log, upto=size) == began
        await save(index)
        place.clock.ms += 3_600_000
        if size == sizes(log)[-1]:
            assert index.content_digest() == digest
        await index.close()
    assert values(output) == expected


async def test_a_state_whose_alerts_are_gone_is_refused_so_that_they_come_again(
    log: EventLog, said: Said
) -> None:
    expected, _ = await straight(log)
    output, place = OutputPartition(), SnapshotPlace()
    first = index_of(output, place, log)
    await run(first, log)
    await save(first)
    await first.close()
    output.records = output.records[:-2]
    second = index_of(output, place, log)
    assert await run(second, log) == 0
    assert values(output) == expected
    await second.close()
    (line,) = [one for one in said if one["event"] == "snapshot refused"]
    assert "it published an alert of leaf" in line["why"]


async def test_other_rules_begin_at_leaf_0_with_alerts_of_their_own(
    log: EventLog, said: Said
) -> None:
    place = SnapshotPlace()
    first = index_of(OutputPartition(), place, log)
    await run(first, log)
    await save(first)
    await first.close()
    rules = Rules(threshold=0.5, warm_up=20, alerts_per_hour=4)
    second = index_of(OutputPartition(), place, log, rules)
    assert await run(second, log) == 0
    await second.close()
    (line,) = [one for one in said if one["event"] == "snapshot refused"]
    assert "its rules is" in line["why"]


async def test_what_is_restored_is_found_and_explained_as_before(log: EventLog) -> None:
    output, place = OutputPartition(), SnapshotPlace()
    first = index_of(output, place, log)
    await run(first, log)
    await save(first)
    features = first.search(ANYBODY, 3)[0].features
    before = first.search(features, 5), first.explain(features)
    await first.close()
    second = index_of(output, place, log)
    await second.resume()
    assert (second.search(features, 5), second.explain(features)) == before
    await second.close()


async def test_no_file_anywhere_holds_a_word_of_a_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "tmp").mkdir()
    secrets = [f"confidential-{what}-{number}" for number in range(40) for what in ("who", "what")]
    events: list[tuple[int, bytes | None]] = [
        (
            START_MS + number,
            decision(
                number,
                (f"confidential-who-{number}", "r", "k", "a"),
                resource=f"confidential-what-{number}",
            ),
        )
        for number in range(40)
    ]
    log = EventLog.sealed(events, [20, 20])
    place = SnapshotPlace(objects=DirectoryObjectStore(tmp_path / "snapshots"))
    output = OutputPartition()
    first = index_of(output, place, log)
    await run(first, log)
    await save(first)
    await first.close()
    second = index_of(output, place, log)
    assert await run(second, log) == 40
    await second.close()
    stored = [path.read_bytes() for path in files_in(tmp_path)]
    assert sum(map(len, stored)) > 1000
    for body in stored:
        assert not [secret for secret in secrets if secret.encode() in body]
        assert b"confidential" not in body
        assert KEY not in body
        assert KEY.hex().encode() not in body


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
