"""The schemas a log has named, saved beside a projection's snapshot and taken over again."""

from typing import Any

import pytest

from projections.ports import SealedBatch
from projections.schema_answers.projection import LogAnswers
from projections.snapshots.refusal import SnapshotRefusedError
from schemas.codec import BUILT_IN, WriterSchema
from schemas.framing import ReferenceKind, SchemaReference
from streams.errors import TransientError
from tests.support.decision_log import EventLog
from tests.support.sealed_log import START_MS, batches_of

KNOWN = next(iter(BUILT_IN.schemas.values()))


class Recorded:
    """Answers as the sealed operations have them: to ids below 1,000 the one schema."""

    def __init__(self) -> None:
        self.is_away = False

    async def know(self, references: Any) -> None:
        if self.is_away:
            raise TransientError("no answer")
        del references

    def find(self, reference: SchemaReference) -> WriterSchema | None:
        return KNOWN if int.from_bytes(reference.value, "big") < 1000 else None


def reference(number: int) -> SchemaReference:
    return SchemaReference(ReferenceKind.ID, number.to_bytes(4, "big"))


def naming(*numbers: int) -> list[SealedBatch]:
    values = [(START_MS, b"\x00" + number.to_bytes(4, "big") + b"body") for number in numbers]
    return [batch for batch in batches_of(EventLog.sealed(values)) if batch.records]


def answers(recorded: Recorded) -> LogAnswers:
    return LogAnswers(recorded)  # type: ignore[arg-type]  # what is asked of it is here


async def test_what_was_admitted_is_known_again_and_counts_as_before() -> None:
    recorded = Recorded()
    first = answers(recorded)
    for batch in naming(7, 8, 5000, *range(100, 300)):
        await first.prepare(batch)
    second = answers(recorded)
    assert second.find(reference(7)) is None
    await second.load(first.export())
    assert second.export() == first.export()
    for number in (7, 8, 5000, 299, 999):
        assert second.find(reference(number)) == first.find(reference(number))
    # Of 256 references that a short log admits, 203 are taken: so many more count for both.
    for one in (first, second):
        for batch in naming(*range(400, 600)):
            await one.prepare(batch)
    assert second.export() == first.export()
    assert second.find(reference(452)) is KNOWN
    assert second.find(reference(453)) is None


async def test_without_an_answer_nothing_is_taken_over() -> None:
    recorded = Recorded()
    first, second = answers(recorded), answers(recorded)
    for batch in naming(7):
        await first.prepare(batch)
    empty = second.export()
    recorded.is_away = True
    with pytest.raises(TransientError):
        await second.load(first.export())
    assert (second.export(), second.find(reference(7))) == (empty, None)


@pytest.mark.parametrize("data", [b"", b"{}x", b"[[1,2]]", b'[["ID","xy"]]', b'[["NO","00"]]'])
async def test_what_export_does_not_give_is_refused(data: bytes) -> None:
    with pytest.raises(SnapshotRefusedError, match="no list of schema references"):
        await answers(Recorded()).load(data)
