"""Which references of a log count, and what is known before a batch is applied."""

from collections.abc import Sequence

import pytest

from projections.ports import SealedBatch
from projections.schema_answers.fold import (
    LEAVES_EACH,
    REFERENCES_FIRST,
    AdmittedReferences,
)
from schemas.framing import ReferenceKind, SchemaReference, confluent_frame
from schemas.records import Checkpoint
from tests.support.decision_log import EventLog, decision
from tests.support.sealed_log import START_MS, batches_of

GOOD = decision(1, ("bea", "nurse", "chart", "view"))


def by_id(number: int) -> SchemaReference:
    return SchemaReference(ReferenceKind.ID, number.to_bytes(4, "big"))


def batches(*values: Sequence[bytes]) -> list[SealedBatch]:
    """One batch for each sequence of values."""
    flat = [(START_MS, value) for part in values for value in part]
    return list(batches_of(EventLog.sealed(flat, [len(part) for part in values])))[1:]


def named(*numbers: int) -> list[bytes]:
    return [confluent_frame(number, b"\x02x") for number in numbers]


def walked(admitted: AdmittedReferences, batch: SealedBatch) -> list[int]:
    new, _ = admitted.new_in(batch)
    admitted.admit(new)
    return [int.from_bytes(reference.value, "big") for reference in new]


def test_each_reference_is_new_once_in_the_order_of_the_log() -> None:
    first, second = batches([GOOD, *named(7, 5, 7)], [*named(5, 9), GOOD])
    admitted = AdmittedReferences()
    assert walked(admitted, first) == [7, 5]
    assert walked(admitted, second) == [9]


def test_looking_changes_nothing() -> None:
    (batch,) = batches(named(7, 5))
    admitted = AdmittedReferences()
    assert admitted.new_in(batch) == admitted.new_in(batch) == ([by_id(7), by_id(5)], 0)


def test_a_flood_of_references_is_held_back_and_comes_to_the_same_twice() -> None:
    flood, later = batches(named(*range(1, 1001)), [*named(900), GOOD, *named(5)])
    for _ in range(2):
        admitted = AdmittedReferences()
        new, held_back = admitted.new_in(flood)
        assert (len(new), held_back) == (REFERENCES_FIRST, 1000 - REFERENCES_FIRST)
        assert new == [by_id(number) for number in range(1, REFERENCES_FIRST + 1)]
        admitted.admit(new)
        # What was held back is unknown until leaves have passed; what was admitted stays.
        assert admitted.new_in(later) == ([], 1)


@pytest.mark.parametrize(("size", "more"), [(LEAVES_EACH - 1, 0), (3 * LEAVES_EACH, 3)])
def test_leaves_admit_more_and_timestamps_do_not(size: int, more: int) -> None:
    flood, later = batches(named(*range(1, 1001)), named(*range(2000, 2010)))
    admitted = AdmittedReferences()
    walked(admitted, flood)
    grown = later._replace(size=size, checkpoint=Checkpoint("", ()))
    assert len(walked(admitted, grown)) == more
