"""Planning records that were sealed before, from what an archive kept of them."""

import pytest

from schemas.audit_values import decode_audit_value
from schemas.records import AuditRecord, Record
from streams.audit.merkle import Frontier
from streams.audit.sealing import plan_again, plan_batch

RECORDS = [Record(2 * n, -1 if n == 3 else n, None, b"event %d" % n) for n in range(7)]


def sealed() -> list[AuditRecord]:
    plan = plan_batch(Frontier(), "topic", 0, RECORDS)
    values = [decode_audit_value(row.value) for row in plan.records]
    return [value for value in values if isinstance(value, AuditRecord)]


@pytest.mark.parametrize("first", [0, 1, 4])
def test_an_archived_record_is_planned_to_the_bytes_it_had(first: int) -> None:
    whole = plan_batch(Frontier(), "topic", 0, RECORDS)
    before = plan_batch(Frontier(), "topic", 0, RECORDS[:first]).frontier
    again = plan_again(before, sealed()[first:])
    assert again.records == whole.records[first:]
    assert again.leaves == whole.leaves[first:]
    assert again.frontier.root() == whole.frontier.root()
    assert again.bytes == sum(len(row.value) for row in again.records)


def test_a_stored_leaf_hash_is_not_believed() -> None:
    lying = [record._replace(leaf=bytes(32)) for record in sealed()]
    whole = plan_batch(Frontier(), "topic", 0, RECORDS)
    assert plan_again(Frontier(), lying).records == whole.records


def test_altered_content_leads_to_another_root() -> None:
    records = sealed()
    records[2] = records[2]._replace(content=records[3].content)
    whole = plan_batch(Frontier(), "topic", 0, RECORDS)
    assert plan_again(Frontier(), records).frontier.root() != whole.frontier.root()


def test_a_missing_record_is_refused() -> None:
    with pytest.raises(ValueError, match="expected the record of index 2, found 3"):
        plan_again(Frontier(), [r for r in sealed() if r.index != 2])
