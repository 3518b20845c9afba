"""Partitions that lose their end: what a lost disk or an unclean election leaves of them.

The files of a broker of our own are cut while it is down. A source cut behind what is sealed
goes on; one cut below it stops. A log that lost its end is planned again from the source, or
from the archive, up to what was posted or anchored of it; what neither has stops it.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.judge import judge, sealed_size
from tests.support.cut_logs import cut_partition
from tests.support.damage import leaves, stops, trim
from tests.support.deployment import Deployment, wait_until
from tests.support.independent import RECORD, read_all
from tests.support.local_kafka import LocalKafka

ALONE = {"ATTESTREAM_SEAL_RECORDS_MAX": "1"}  # a transaction a record: it can be cut anywhere
pytestmark = [pytest.mark.integration, pytest.mark.slow]


@contextmanager
def sealing(folder: Path) -> Iterator[tuple[LocalKafka, Deployment]]:
    with (
        LocalKafka(folder / "kafka") as kafka,
        Deployment(kafka.bootstrap, folder, extra=ALONE) as deployment,
    ):
        yield kafka, deployment


def seal(deployment: Deployment, counts: dict[str, int], *, roles: str = "sealer") -> None:
    """Produce until topics have so many records; seal all, and archive all if `roles` do."""
    for topic, count in counts.items():
        held = len(read_all(deployment.bootstrap, topic, 0))
        produce(deployment, topic, [b"event-%d" % n for n in range(held, count)])
    worker = deployment.start_worker(roles)
    for topic, count in counts.items():
        wait_until(lambda t=topic, n=count: sealed(deployment, t) == n, 40, f"{worker.status()}")
        if "archive" in roles:
            wait_until(lambda t=topic, n=count: deployment.archived(t) == n, 40, "not archived")
    assert worker.end(signal.SIGTERM) == 0


def produce(deployment: Deployment, topic: str, values: list[bytes]) -> None:
    """Each in a batch of its own: it can be cut anywhere."""
    for value in values:
        deployment.produce(topic, [value])


def sealed(deployment: Deployment, topic: str) -> int:
    return sealed_size(deployment.bootstrap, deployment.audit(topic), 0)


def cut(kafka: LocalKafka, behind: dict[str, int], *, at_marker: bool = False) -> None:
    """Keep the records of topics up to these offsets, and with `at_marker` their commits."""
    kafka.stop(1)
    for topic, offset in behind.items():
        data = kafka.folder / "1" / "data"
        cut_partition(data, topic, 0, behind=offset, at_marker=at_marker)
    kafka.start(1)


def cut_logs(kafka: LocalKafka, deployment: Deployment, sizes: dict[str, int]) -> None:
    """Leave so many leaves of logs."""
    behind = {}
    for topic, size in sizes.items():
        rows = read_all(deployment.bootstrap, deployment.audit(topic), 0)
        offsets = [m.offset() for m in rows if (m.value() or b"")[2:10] == RECORD]
        behind[deployment.audit(topic)] = offsets[size - 1] or 0
    cut(kafka, behind, at_marker=True)
    assert {topic: leaves(deployment, topic) for topic in sizes} == sizes


def whole(deployment: Deployment, topic: str, count: int) -> bool:
    """Whether all is sealed; whatever is, is right."""
    names = (topic, deployment.audit(topic))
    found = judge(deployment.bootstrap, names, 0, deployment.public_key)
    assert found.faults == found.lost, found
    return found.sealed == found.source == count


def test_a_source_cut_behind_what_is_sealed_goes_on_and_one_cut_below_it_stops(
    tmp_path: Path,
) -> None:
    with sealing(tmp_path) as (kafka, deployment):
        below, regrown, behind = deployment.decisions, deployment.memory, deployment.alerts
        seal(deployment, dict.fromkeys((below, regrown, behind), 6))
        produce(deployment, behind, [b"lost-%d" % n for n in range(5)])
        cut(kafka, {below: 3, regrown: 3, behind: 7})
        produce(deployment, regrown, [b"other-%d" % n for n in range(5)])
        produce(deployment, behind, [b"later"])
        worker = deployment.start_worker("sealer")
        wait_until(lambda: whole(deployment, behind, 9), 40, f"{worker.status()}")
        truncated = ("source_changed", "the source was truncated")
        stops(deployment, worker, {below: truncated, regrown: truncated})
        assert leaves(deployment, below) == leaves(deployment, regrown) == 6


def test_logs_cut_longer_than_equal_to_and_shorter_than_their_anchors_heal_from_their_sources(
    tmp_path: Path,
) -> None:
    with sealing(tmp_path) as (kafka, deployment):
        topics = (deployment.decisions, deployment.memory, deployment.alerts)
        seal(deployment, dict.fromkeys(topics, 5), roles="sealer,archive")
        seal(deployment, dict.fromkeys(topics, 9))
        cut_logs(kafka, deployment, dict(zip(topics, (7, 5, 3), strict=True)))
        seal(deployment, dict.fromkeys(topics, 10))
        assert all(whole(deployment, topic, 10) for topic in topics)


@pytest.mark.long
def test_a_log_cut_between_records_and_their_commit_hangs_and_says_how_to_end_it(
    tmp_path: Path,
) -> None:
    with sealing(tmp_path) as (kafka, deployment):
        hanging, other = deployment.decisions, deployment.memory
        seal(deployment, {hanging: 3, other: 3})
        rows = read_all(deployment.bootstrap, deployment.audit(hanging), 0)
        last = max(m.offset() or 0 for m in rows if (m.value() or b"")[2:10] == RECORD)
        cut(kafka, {deployment.audit(hanging): last})
        produce(deployment, other, [b"goes on"])
        worker = deployment.start_worker("sealer")
        words = "a transaction hangs"
        stops(deployment, worker, {hanging: ("hanging_transaction", words)})
        assert whole(deployment, other, 4)


def test_a_log_cut_heals_from_the_archive_where_the_source_is_gone_and_stops_where_both_are(
    tmp_path: Path,
) -> None:
    with sealing(tmp_path) as (kafka, deployment):
        kept, gone = deployment.decisions, deployment.memory
        seal(deployment, {kept: 6, gone: 2}, roles="sealer,archive")
        seal(deployment, {kept: 6, gone: 6})
        for topic in (kept, gone):
            trim(deployment, topic, 6)
        cut_logs(kafka, deployment, {kept: 3, gone: 3})
        deployment.produce(kept, [b"after"])
        worker = deployment.start_worker("sealer")
        wait_until(lambda: sealed(deployment, kept) == 7, 40, f"not healed: {worker.status()}")
        stops(deployment, worker, {gone: ("rollback", "the audit topic lost its end")})
        assert leaves(deployment, gone) == 3
