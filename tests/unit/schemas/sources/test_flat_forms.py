"""The two forms of our own: decisions-jsonl and memories-jsonl."""

import json
import struct
from pathlib import Path

import pytest

from schemas.errors import InvalidEventError
from schemas.events import Decision, MemoryMutation, Operation, check_event
from schemas.sources import decisions_jsonl, memories_jsonl
from schemas.sources.reading import Json, Options

FIXTURES = Path(__file__).parents[3] / "fixtures"
DECISIONS = (FIXTURES / "decisions.jsonl").read_bytes().splitlines()
MEMORIES = (FIXTURES / "memories.jsonl").read_bytes().splitlines()


def memory(**members: Json) -> MemoryMutation:
    row = {"operation": "UPSERT", "namespace": "n", "node_id": "k", "vector": [1.0], **members}
    return memories_jsonl.translate(json.dumps(row).encode(), Options())


def test_a_flat_decision_with_all_its_members() -> None:
    event = decisions_jsonl.translate(DECISIONS[0], Options(tenant="acme"))
    (evaluation,) = event.evaluations
    assert (event.event_id, event.tenant) == ("x-1", "acme")
    assert event.decided_at == 1_770_091_506_500_000
    assert (evaluation.subject.id, evaluation.subject.roles) == ("amina", ("clerk",))
    assert evaluation.action.name == "pay"
    assert (evaluation.resource.type, evaluation.resource.id) == ("invoice", "i-1")
    assert evaluation.resource.scope == "branch-7"
    assert evaluation.decision is Decision.ALLOW
    assert (event.enforcement.status_code, event.enforcement.outcome) == (200, "done")
    assert event.annotations_json == '{"shift":"night"}'


def test_a_flat_decision_may_lack_members_and_name_its_tenant() -> None:
    event = decisions_jsonl.translate(DECISIONS[1], Options(tenant="acme"))
    (evaluation,) = event.evaluations
    assert event.tenant == "blue"
    assert len(event.event_id) == 64
    assert (evaluation.decision, evaluation.resource.scope) == (Decision.DENY, "")
    assert evaluation.reasons == ("no rule",)
    assert event.enforcement.status_code == 403


def test_an_effect_of_another_word_is_unknown() -> None:
    event = decisions_jsonl.translate(DECISIONS[2], Options())
    assert event.evaluations[0].decision is Decision.UNKNOWN
    assert event.evaluations[0].decision_raw_json == '"perhaps"'


def test_a_flat_decision_without_principal_or_action_is_refused() -> None:
    with pytest.raises(InvalidEventError, match="principal: is missing"):
        decisions_jsonl.translate(DECISIONS[3], Options())
    with pytest.raises(InvalidEventError, match="action: is missing"):
        decisions_jsonl.translate(b'{"principal":"a"}', Options())


def test_an_upsert_with_numbers() -> None:
    event = memories_jsonl.translate(MEMORIES[0], Options(tenant="acme"))
    check_event(event)
    assert (event.event_id, event.tenant, event.version) == ("m-1", "blue", 1)
    assert event.operation is Operation.UPSERT
    assert (event.dimension, event.vector) == (2, struct.pack("<2f", 0.5, -1.5))
    assert event.metadata_json == '{"topic":"travel"}'
    assert event.expires_at == 1_798_761_600_000_000
    assert event.occurred_at == 1_770_091_506_000_000


def test_an_upsert_with_base64_and_milliseconds_is_the_same_vector_and_time() -> None:
    event = memories_jsonl.translate(MEMORIES[1], Options())
    assert event.vector == struct.pack("<2f", 0.5, -1.5)
    assert event.occurred_at == 1_770_091_506_000_000


def test_hold_and_delete_have_no_vector() -> None:
    hold = memories_jsonl.translate(MEMORIES[2], Options())
    delete = memories_jsonl.translate(MEMORIES[3], Options())
    assert (hold.operation, hold.reason, hold.actor) == (Operation.HOLD, "case 12", "legal")
    assert (delete.operation, delete.vector) == (Operation.DELETE, None)
    check_event(hold)
    check_event(delete)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"vector": ["x"]}, "vector: "),
        ({"vector": [1e39]}, "vector: "),
        ({"vector": [[1.0]]}, "vector: "),
        ({"vector": "not base64!"}, "vector: "),
        ({"vector": 7}, "vector: expected"),
        ({"operation": "FORGET"}, "operation: expected one of UPSERT, DELETE, HOLD, RELEASE"),
        ({"operation": 7}, "operation: expected"),
        ({"version": -1}, "version: "),
        ({"version": 1.5}, "version: "),
        ({"version": True}, "version: "),
        ({"version": 2**63}, "version: "),
        ({"expires_at": "tomorrow"}, "expires_at: expected an RFC 3339 time"),
        ({"occurred_at": 7}, "occurred_at: expected"),
        ({"time_ms": "7"}, "time_ms: expected"),
        ({"time_ms": 7, "occurred_at": None}, "time_ms: expected"),
        ({"metadata": []}, "metadata: expected"),
        ({"namespace": 7}, "namespace: is no string"),
        ({"expire_at": "2027-01-01T00:00:00Z"}, "members expire_at have no meaning here"),
    ],
)
def test_a_memory_that_cannot_be_used_is_named(change: dict[str, Json], sentence: str) -> None:
    with pytest.raises(InvalidEventError, match=sentence):
        memory(**change)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"vector": []}, "vector: an UPSERT has one"),
        ({"vector": "AAA="}, "vector: an UPSERT has one"),
        ({"vector": "AAAAAAAAAA=="}, "7 bytes are not 1"),
        ({"vector": None}, "vector: an UPSERT has one"),
        ({"namespace": ""}, "namespace: is empty"),
        ({"node_id": None}, "node_id: is empty"),
        ({"operation": "delete"}, "vector: a DELETE has none"),
    ],
)
def test_rules_of_mutations_hold_for_files_too(change: dict[str, Json], sentence: str) -> None:
    with pytest.raises(InvalidEventError, match=sentence):
        check_event(memory(**change))
