"""One event of each type with every field set, none to its default."""

import struct
from hashlib import sha256

from schemas.alerts import (
    AnomalyAlert,
    Attack,
    Confidence,
    DecisionSummary,
    Evidence,
    Feature,
    Neighbour,
    Rule,
    RuleType,
    Severity,
    Status,
    alert_id,
)
from schemas.dead_letters import DeadLetter, Reason
from schemas.events import (
    Action,
    AuthorizationDecision,
    Client,
    Correlation,
    Decision,
    Enforcement,
    Entity,
    Evaluation,
    MemoryMutation,
    Operation,
    PolicyRef,
    PolicySource,
    Producer,
    Redaction,
    RedactionKind,
    SourceRecord,
)
from schemas.records import Record

SOURCE = b'{"who":"amina","what":"approve"}'


def record(value: bytes | None, *headers: tuple[bytes, bytes | None]) -> Record:
    """A record of an event topic with this value."""
    return Record(7, 1_767_225_600_000, b"key", value, headers)


def full_decision() -> AuthorizationDecision:
    """A decision with two evaluations of one principal."""
    policy = PolicyRef(id="expense.approve", scope="finance", version="v3")
    evaluation = Evaluation(
        id="q-1",
        subject=Entity(
            type="user",
            id="amina",
            roles=("clerk", "auditor"),
            scope="finance",
            policy_version="p1",
            attributes_json='{"level":2}',
        ),
        agents=(Entity(type="agent", id="expense-bot", roles=("assistant",)),),
        action=Action(name="approve", properties_json='{"amount":120}'),
        resource=Entity(
            type="expense",
            id="e-9",
            roles=("shared",),
            scope="finance.emea",
            policy_version="r2",
            attributes_json='{"owner":"bo"}',
        ),
        context_json='{"ip":"192.0.2.1"}',
        decision=Decision.ALLOW,
        decision_raw_json='"EFFECT_ALLOW"',
        reasons=("within limit",),
        derived_roles=("approver",),
        policies=(policy,),
        obligations_json='["log"]',
        outputs_json='{"limit":500}',
        errors=("no such key: region",),
    )
    second = Evaluation(
        subject=evaluation.subject, action=Action(name="delete"), decision=Decision.DENY
    )
    return AuthorizationDecision(
        event_id="01J0000000000000000000000A",
        tenant="acme",
        decided_at=1_767_225_600_123_456,
        decided_at_nanos=789,
        decided_at_text="2026-01-01T01:00:00.123456789+01:00",
        received_at=1_767_225_601_000_000,
        evaluations=(evaluation, second),
        enforcement=Enforcement(outcome="ResponseComplete", status_code=200, message="ok"),
        policy_source=PolicySource(
            kind="git",
            store_id="policies",
            model_id="4f2a",
            query="expense/allow",
            revisions={"main": "17", "extra": "3"},
            effective_policies=(policy,),
            consistency_token="zed-1",
            details_json='{"branch":"main"}',
        ),
        source=Producer(
            product="example-pdp",
            format="example.v1",
            version="1.2",
            instance="pdp-0",
            labels={"region": "eu"},
        ),
        correlation=Correlation(
            request_id="req-1", trace_id="0af7651916cd43dd", span_id="b7ad6b71", batch_id="b-1"
        ),
        client=Client(
            addresses=("198.51.100.7", "10.0.0.3"),
            user_agent="example/1.0",
            principal="svc-gateway",
            attributes={"mtls": "yes"},
        ),
        redactions=(Redaction(pointer="/input/ssn", kind=RedactionKind.ERASED),),
        truncated=True,
        metrics={"eval_ns": 1500.0},
        annotations_json='{"note":"x"}',
        source_record=SourceRecord(
            media_type="application/json", sha256=sha256(SOURCE).digest(), content=SOURCE
        ),
    )


def full_mutation() -> MemoryMutation:
    """An upsert of a vector of four components."""
    return MemoryMutation(
        event_id="m-1",
        tenant="acme",
        namespace="travel/notes",
        owner="agent-7",
        node_id="n-42",
        version=3,
        operation=Operation.UPSERT,
        occurred_at=1_767_225_600_000_001,
        dimension=4,
        vector=struct.pack("<4f", 0.5, -0.25, 1.0, 0.0),
        metadata_json='{"topic":"visa"}',
        expires_at=1_798_761_600_000_000,
        reason="said in a conversation",
        actor="agent-7",
        source=Producer(product="memory-service", format="v1", version="2", instance="a"),
        correlation=Correlation(request_id="r", trace_id="t", span_id="s", batch_id="b"),
    )


def full_alert() -> AnomalyAlert:
    """An alert with evidence for one leaf."""
    rule = Rule(id="novel-decision", name="Novel", version="9c1d", type=RuleType.BEHAVIORAL)
    origin = "audit.example.com/authz.decisions/0"
    return AnomalyAlert(
        alert_id=alert_id(origin, 41, rule),
        dedup_key="amina expense approve",
        status=Status.NEW,
        severity=Severity.HIGH,
        confidence=Confidence.MEDIUM,
        confidence_score=66,
        rule=rule,
        attacks=(
            Attack(
                framework="ATT&CK",
                version="15",
                tactic="TA0004",
                technique="T1078",
                sub_technique="T1078.004",
            ),
        ),
        tenant="acme",
        title="amina approved an expense",
        description="Never seen before.",
        first_seen=1_767_225_600_123_456,
        last_seen=1_767_225_600_123_457,
        count=2,
        suppressed_count=1,
        decision=DecisionSummary(
            event_id="01J0000000000000000000000A",
            evaluation=1,
            principal="amina",
            roles=("clerk",),
            scope="finance",
            resource_kind="expense",
            resource_id="e-9",
            action="approve",
            effect="ALLOW",
        ),
        risk=0.875,
        similarity=0.5,
        novelty=0.25,
        rarity=2.0,
        threshold=0.75,
        features=(
            Feature(
                name="action",
                observed="approve",
                expected="view",
                observed_count=1,
                expected_count=90,
                weight=0.5,
            ),
        ),
        neighbours=(Neighbour(index=12, similarity=0.5, count=7, summary="amina view expense"),),
        evidence=(
            Evidence(
                origin=origin,
                index=41,
                leaf_hash=b"\x01" * 32,
                inclusion_proof=(b"\x02" * 32, b"\x03" * 32),
                checkpoint="note",
            ),
        ),
        replayed=True,
        labels={"team": "iam"},
        runbook_url="https://example.com/runbook",
        source_url="https://example.com/decision",
    )


def full_letter() -> DeadLetter:
    """A dead letter for a record of an unknown schema."""
    return DeadLetter(
        origin="audit.example.com/authz.decisions/0",
        index=5,
        topic="authz.decisions",
        partition=0,
        offset=9,
        timestamp=1_767_225_600_000,
        reason=Reason.UNKNOWN_SCHEMA,
        detail="no schema is known by id 7",
        value_sha256=sha256(b"?").digest(),
    )
