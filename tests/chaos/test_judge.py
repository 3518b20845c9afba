"""The judge of a storm sees what it is there to see."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from schemas.records import Record
from tests.chaos.judge import Judged, judged
from tests.support.sealed_log import PUBLIC_KEY, START_MS, TOPIC, SealedLog

COUNT = 6


class Told(NamedTuple):
    """A message as librdkafka hands it out."""

    record: Record

    def value(self) -> bytes | None:
        return self.record.value

    def key(self) -> bytes | None:
        return self.record.key

    def offset(self) -> int:
        return self.record.offset

    def timestamp(self) -> tuple[int, int]:
        return 1, self.record.timestamp

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return 0


def a_log(salt: bytes = b"") -> list[Told]:
    log = SealedLog(salt)
    for _ in range(COUNT // 2):
        log.append(2)
        log.checkpoint()
    return [Told(row) for row in log.rows]


def its_source(salt: bytes = b"") -> list[Told]:
    return [
        Told(Record(3 * i, START_MS + i, b"k", salt + b"%d " % i + b"x" * 20))
        for i in range(COUNT)
    ]


def verdict(
    log: list[Told], *, events: list[Told] | None = None, aborted: tuple[Told, ...] = ()
) -> Judged:
    return judged(events or its_source(), log, [*log, *aborted], PUBLIC_KEY)


def test_a_whole_log_has_no_fault() -> None:
    found = verdict(a_log())
    assert found == Judged(COUNT, COUNT, 4, COUNT, 4, 0, 0, 0, 0, 0)
    assert found.faults == 0


# Genesis, then twice two records and a checkpoint: 0 | 1 2 | 3 | 4 5 | 6 | 7 8 | 9
Change = Callable[[list[Told]], list[Told]]


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("lost", lambda log: log[:7] + log[8:]),
        ("doubled", lambda log: [*log, log[8]]),
        ("out_of_order", lambda log: [*log[:4], log[5], log[4], *log[6:]]),
        ("out_of_order", lambda log: [log[0], log[3], *log[1:3], *log[4:]]),
        ("out_of_order", lambda log: log[1:]),
    ],
)
def test_what_is_wrong_with_a_log_is_counted(what: str, change: Change) -> None:
    assert getattr(verdict(change(a_log())), what) > 0


def test_records_that_are_not_the_sources_are_counted() -> None:
    assert verdict(a_log(b"other")).altered == COUNT


def test_a_signed_root_that_was_aborted_is_held_against_the_one_history() -> None:
    other = a_log(b"other")
    assert verdict(a_log(), aborted=(a_log()[3],)).forks == 0
    assert verdict(a_log(), aborted=(other[3],)).forks == 1


def test_a_signed_root_over_records_that_were_never_committed_is_a_fork() -> None:
    log = a_log()
    assert verdict(log[:7], events=its_source()[:4], aborted=(log[9],)).forks == 1
