"""The rules of events, alerts and dead letters, and the keys and times of events."""

import struct
from dataclasses import replace
from hashlib import sha256
from math import inf, nan
from typing import Any

import pytest

from schemas.alerts import Evidence, Feature, Neighbour, Rule, Severity, alert_id, check_alert
from schemas.dead_letters import check_dead_letter
from schemas.errors import InvalidEventError
from schemas.events import (
    Action,
    Entity,
    Evaluation,
    Operation,
    Redaction,
    SourceRecord,
    check_event,
    event_key,
    event_timestamp_ms,
)
from schemas.limits import EVALUATIONS_MAX, ITEMS_MAX, MICROS_MAX
from tests.support.events import (
    full_alert,
    full_decision,
    full_letter,
    full_mutation,
)


def test_full_events_are_valid() -> None:
    check_event(full_decision())
    check_event(full_mutation())
    check_alert(full_alert())
    check_dead_letter(full_letter())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"event_id": ""}, "event_id: is empty"),
        ({"event_id": "x" * 257}, "event_id: 257 characters"),
        ({"tenant": "x" * 257}, "tenant: 257 characters"),
        ({"decided_at": MICROS_MAX + 1}, "decided_at: .* years 1 to 9999"),
        ({"received_at": -(2**62)}, "received_at: .* years 1 to 9999"),
        ({"decided_at_nanos": 1000}, "decided_at_nanos: 1000"),
        ({"decided_at_nanos": -1}, "decided_at_nanos: -1"),
        ({"evaluations": (Evaluation(),) * (EVALUATIONS_MAX + 1)}, "evaluations: 4097 items"),
        ({"evaluations": (Evaluation(subject=Entity(id="x" * 5000)),)}, "subject.id: 5000"),
        ({"evaluations": (Evaluation(resource=Entity(id="x" * 5000)),)}, "resource.id: 5000"),
        ({"evaluations": (Evaluation(action=Action(name="x" * 5000)),)}, "action.name: 5000"),
        (
            {"evaluations": (Evaluation(subject=Entity(roles=("r",) * (ITEMS_MAX + 1))),)},
            "subject.roles: 1025 items",
        ),
        ({"evaluations": (Evaluation(agents=(Entity(),) * 1025),)}, "agents: 1025 items"),
        ({"redactions": (Redaction(pointer="/a"),) * 1025}, "redactions: 1025 items"),
        ({"metrics": {str(n): 1.0 for n in range(1025)}}, "metrics: 1025 items"),
        ({"metrics": {"a": nan}}, "metrics: a number is infinite or not a number"),
        ({"metrics": {"a": inf}}, "metrics: a number is infinite or not a number"),
        ({"source_record": SourceRecord(sha256=b"short")}, "is not 32 bytes"),
        ({"source_record": SourceRecord(content=b"x")}, "is not the digest"),
        (
            {"source_record": SourceRecord(sha256=sha256(b"y").digest(), content=b"x")},
            "is not the digest",
        ),
    ],
)
def test_an_invalid_decision_is_named(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidEventError, match=sentence):
        check_event(replace(full_decision(), **change))


def floats(*values: float) -> dict[str, Any]:
    return {"vector": struct.pack(f"<{len(values)}f", *values), "dimension": len(values)}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"event_id": ""}, "event_id: is empty"),
        ({"namespace": ""}, "namespace: is empty"),
        ({"node_id": ""}, "node_id: is empty"),
        ({"node_id": "x" * 5000}, "node_id: 5000 characters"),
        ({"version": -1}, "version: -1 is negative"),
        ({"operation": Operation.UNKNOWN}, "operation: UNKNOWN"),
        ({"operation": Operation.DELETE}, "vector: a DELETE has none"),
        ({"operation": Operation.HOLD, "vector": None}, "vector: a HOLD has none"),
        ({"vector": None}, "vector: an UPSERT has one"),
        ({"vector": b"", "dimension": 0}, "vector: an UPSERT has one"),
        ({"dimension": 5}, "vector: 16 bytes are not 5 float32 values"),
        ({"dimension": 2**31 - 1}, "vector: an UPSERT has one, of 1 to 8192"),
        (floats(1.0, nan), "vector: a component is infinite or not a number"),
        (floats(inf, 1.0), "vector: a component is infinite or not a number"),
        (floats(0.0, -0.0), "vector: all components are 0"),
        (floats(inf, -inf), "vector: a component is infinite or not a number"),
        ({"metadata_json": "{"}, "metadata_json: is not JSON"),
        ({"metadata_json": "[" * 100_000}, "metadata_json: is not JSON"),
        ({"metadata_json": "[]"}, "metadata_json: is not a JSON object"),
        ({"expires_at": MICROS_MAX + 1}, "expires_at: .* years 1 to 9999"),
        ({"occurred_at": MICROS_MAX + 1}, "occurred_at: .* years 1 to 9999"),
    ],
)
def test_an_invalid_mutation_is_named(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidEventError, match=sentence):
        check_event(replace(full_mutation(), **change))


def test_the_largest_floats_are_numbers() -> None:
    check_event(replace(full_mutation(), **floats(*[3.4e38] * 8192)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"alert_id": ""}, "alert_id: is empty"),
        ({"risk": 1.5}, "risk: 1.5, 0 to 1 are valid"),
        ({"risk": nan}, "not a number"),
        ({"novelty": inf}, "infinite"),
        ({"features": (Feature(name="f", weight=nan),)}, "not a number"),
        ({"neighbours": (Neighbour(index=1, similarity=inf),)}, "infinite"),
        ({"confidence_score": 101}, "confidence_score: 101"),
        ({"count": -1}, "count: is negative"),
        ({"labels": {str(n): "" for n in range(1025)}}, "labels: 1025 items"),
        ({"evidence": (Evidence(origin="o", index=1, leaf_hash=b"x"),)}, "hash is not 32 bytes"),
        (
            {"evidence": (Evidence(origin="o", index=-1, leaf_hash=bytes(32)),)},
            "no leaf has this index",
        ),
    ],
)
def test_an_invalid_alert_is_named(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidEventError, match=sentence):
        check_alert(replace(full_alert(), **change))


@pytest.mark.parametrize(
    "change", [{"origin": ""}, {"index": -1}, {"timestamp": -2}, {"value_sha256": b"short"}]
)
def test_a_dead_letter_that_names_no_record_is_invalid(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidEventError):
        check_dead_letter(replace(full_letter(), **change))


def test_alert_ids_follow_from_leaf_and_rule_alone() -> None:
    # Computed apart: base32 of SHA-256("o\n7\nnovel\nv1"), lower case, 26 characters.
    rule = Rule(id="novel", version="v1")
    assert alert_id("o", 7, rule) == alert_id("o", 7, replace(rule, name="another name"))
    assert alert_id("o", 7, rule) == "rgkj2vtlvsptozpfne2fchubts"
    assert alert_id("o", 8, rule) != alert_id("o", 7, rule)
    assert alert_id("o", 7, replace(rule, version="v2")) != alert_id("o", 7, rule)


def test_severities_have_the_numbers_of_ocsf() -> None:
    assert [severity.ocsf_id for severity in Severity] == [0, 1, 2, 3, 4, 5, 6]


def test_a_decision_is_keyed_by_its_tenant_and_principal() -> None:
    assert event_key(full_decision()) == b"acme/amina"
    assert event_key(replace(full_decision(), tenant="")) == b"/amina"


def test_a_decision_without_principal_is_keyed_by_its_id() -> None:
    assert (
        event_key(replace(full_decision(), evaluations=())) == b"acme/01J0000000000000000000000A"
    )


def test_a_mutation_is_keyed_by_its_tenant_namespace_and_node() -> None:
    assert event_key(full_mutation()) == b"acme/travel%2Fnotes/n-42"


def test_no_two_tenants_or_namespaces_share_a_key() -> None:
    mutation = full_mutation()
    tenants = [("a", "b/c", "d"), ("a/b", "c", "d"), ("a", "b", "c/d"), ("a%2Fb", "c", "d")]
    keys = {
        event_key(replace(mutation, tenant=tenant, namespace=namespace, node_id=node))
        for tenant, namespace, node in tenants
    }
    assert len(keys) == 4


def test_the_time_of_an_event_is_its_own_in_milliseconds() -> None:
    decision = full_decision()
    assert event_timestamp_ms(decision) == 1_767_225_600_123
    assert event_timestamp_ms(replace(decision, decided_at=None)) == 1_767_225_601_000
    assert event_timestamp_ms(replace(decision, decided_at=None, received_at=None)) == -1
    assert event_timestamp_ms(replace(decision, decided_at=-1)) == -1
    assert event_timestamp_ms(full_mutation()) == 1_767_225_600_000
