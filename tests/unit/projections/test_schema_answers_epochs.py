"""The operations log is forked: what it recorded counts, what is void does not, more may come."""

from typing import Any, cast

import pytest

from projections.schema_answers.answers import AnswersWorld, SchemaAnswers
from schemas.catalogue import current_text
from schemas.codec import encode_schema_answer
from schemas.framing import ReferenceKind, SchemaReference
from schemas.record_types import DECISION, MUTATION
from schemas.records import Record
from schemas.schema_answers import SchemaAnswer, naming_of
from streams.audit.merkle import Frontier
from streams.audit.operations import EpochForked
from streams.clock import SystemClock
from streams.errors import TransientError
from streams.ports import PartitionReader
from streams.topology import Topology
from tests.support.searched import FixedTrust
from tests.support.signed_logs import KEY, SignedLog
from tests.support.static_logs import RowsReader

TOPOLOGY = Topology(base="audit.example.com/test", decisions="d", memory="m")
FIRST, SECOND = (TOPOLOGY.log(TOPOLOGY.operations, 0, epoch) for epoch in (0, 1))
TEXTS = {DECISION: "authorization_decision", MUTATION: "memory_mutation"}


def number(value: int) -> SchemaReference:
    return SchemaReference(ReferenceKind.ID, value.to_bytes(4, "big"))


def answer(value: int, name: str) -> Record:
    about = number(value)
    said = SchemaAnswer(
        kind=naming_of(about),
        reference=about.value,
        text=current_text(TEXTS[name]),
        detail="",
        registry="http://registry",
    )
    return Record(value, 0, None, encode_schema_answer(said))


class Cluster:
    """The operations logs as they are now; `opened` counts readers."""

    topology = TOPOLOGY

    def __init__(self, *logs: SignedLog) -> None:
        self.logs = logs
        self.opened = self.closed = 0

    async def partitions(self, topic: str) -> int:
        topics = [FIRST.audit, SECOND.audit][: len(self.logs)]
        return 1 if topic in topics else 0

    def reader(self, topic: str, partition: int) -> PartitionReader:
        assert partition == 0
        if topic == SECOND.audit and len(self.logs) < 2:
            raise TransientError("no such topic yet")
        self.opened += 1
        return cast(PartitionReader, Counted(self, self.logs[topic == SECOND.audit].rows))


class Counted(RowsReader):
    """Tells its cluster when it is closed."""

    def __init__(self, cluster: Cluster, rows: list[Record]) -> None:
        super().__init__(rows)
        self._cluster = cluster

    async def close(self) -> None:
        self._cluster.closed += 1


def before() -> SignedLog:
    """Sealed to size 2; behind the fork an answer that is void, and rows that are no history."""
    log = SignedLog(origin=FIRST.origin)
    log.append([answer(1, DECISION), answer(2, DECISION)]).checkpoint()
    log.append([answer(3, DECISION)]).checkpoint()
    log.rows.append(log.rows[-1]._replace(offset=log.rows[-1].offset + 3, value=b"garbage"))
    return log


def behind(*answers: Record) -> SignedLog:
    return SignedLog(origin=SECOND.origin).append(answers).checkpoint()


def fork_of(log: SignedLog, size: int) -> EpochForked:
    frontier = Frontier()
    frontier.extend(log.leaves[:size])
    return EpochForked(
        origin=FIRST.origin,
        size=size,
        root=frontier.root(),
        epoch=1,
        cluster_id="c",
        topic_id="t",
        offset=0,
    )


def answers_of(cluster: Cluster, trust: FixedTrust | None) -> SchemaAnswers:
    return SchemaAnswers(
        AnswersWorld(
            engine=cast(Any, cluster),
            keys=KEY.trusted(),
            clock=SystemClock(),
            history=None if trust is None else lambda: trust.history,
        )
    )


def names(answers: SchemaAnswers) -> list[str | None]:
    found = [answers.find(number(value)) for value in range(1, 6)]
    return [None if schema is None else schema.name for schema in found]


async def test_answers_of_the_next_epoch_are_read_and_the_first_about_a_reference_counts() -> None:
    log = before()
    cluster = Cluster(log, behind(answer(2, MUTATION), answer(3, MUTATION), answer(4, MUTATION)))
    answers = answers_of(cluster, FixedTrust([fork_of(log, 2)]))
    await answers.know([number(value) for value in range(1, 6)])
    # 2 was answered before the fork; what was said of 3 behind it is void, and said again.
    assert names(answers) == [DECISION, DECISION, MUTATION, MUTATION, None]
    assert cluster.opened == cluster.closed


async def test_what_was_read_beyond_a_fork_is_taken_back_when_it_is_known() -> None:
    log, trust = before(), FixedTrust()
    log.rows.pop()
    cluster = Cluster(log)
    answers = answers_of(cluster, trust)
    await answers.know([number(3)])
    assert names(answers)[:3] == [DECISION] * 3
    trust.history.apply(fork_of(log, 2))
    cluster.logs = (log, behind(answer(3, MUTATION)))
    await answers.know([number(5)])
    assert names(answers)[:3] == [DECISION, DECISION, MUTATION]


async def test_a_log_of_which_nothing_was_accepted_is_not_read() -> None:
    log = before()
    answers = answers_of(Cluster(log, behind(answer(1, MUTATION))), FixedTrust([fork_of(log, 0)]))
    await answers.know([number(1), number(2)])
    assert names(answers)[:2] == [MUTATION, None]


async def test_an_epoch_that_is_not_born_yet_is_waited_for_and_takes_nothing_away() -> None:
    log = before()
    cluster = Cluster(log)
    answers = answers_of(cluster, FixedTrust([fork_of(log, 2)]))
    for _ in range(2):
        with pytest.raises(TransientError, match="no such topic yet"):
            await answers.know([number(4)])
        assert names(answers) == [DECISION, DECISION, None, None, None]
    assert cluster.opened == cluster.closed


async def test_a_log_that_fails_is_waited_for_with_what_came_before_it() -> None:
    answers = answers_of(Cluster(before()), FixedTrust())
    for _ in range(3):
        with pytest.raises(TransientError, match="does not verify"):
            await answers.know([number(9)])
        assert names(answers)[:3] == [DECISION] * 3


async def test_without_orders_every_epoch_that_is_there_is_read() -> None:
    log = before()
    log.rows.pop()
    answers = answers_of(Cluster(log, behind(answer(4, MUTATION))), None)
    await answers.know([number(4)])
    assert names(answers) == [DECISION, DECISION, DECISION, MUTATION, None]
