"""Cerbos decision log entries of every kind, old and new."""

import json
from pathlib import Path

import pytest

from schemas.errors import InvalidEventError
from schemas.events import AuthorizationDecision, Decision, PolicyRef
from schemas.sources.cerbos import translate
from schemas.sources.reading import Json, Options

LINES = (Path(__file__).parents[3] / "fixtures/cerbos.ndjson").read_bytes().splitlines()
CHECK, LEGACY, PLAN, OVERSIZED, SNAKE, ACCESS, BROKEN, SWAPPED = LINES


def read(document: bytes) -> AuthorizationDecision:
    return translate(document, Options(tenant="acme"))


def answers(event: AuthorizationDecision) -> list[tuple[str, str, str]]:
    return [(e.action.name, e.resource.id, e.decision) for e in event.evaluations]


def test_one_entry_is_one_decision_with_an_evaluation_per_input_and_action() -> None:
    event = read(CHECK)
    assert event.event_id == "01J1AAAAAAAAAAAAAAAAAAAAA1"
    assert event.tenant == "acme"
    assert (event.decided_at, event.decided_at_nanos) == (1_770_091_506_123_456, 789)
    assert event.decided_at_text == "2026-02-03T04:05:06.123456789Z"
    assert answers(event) == [
        ("view", "i-1", "ALLOW"),
        ("pay", "i-1", "DENY"),
        ("view", "i-2", "NOT_APPLICABLE"),
    ]
    assert event.source_record.content == CHECK


def test_everything_said_about_an_evaluation_is_kept() -> None:
    event = read(CHECK)
    pay = event.evaluations[1]
    assert (pay.id, pay.subject.id, pay.subject.roles) == ("q1", "amina", ("clerk", "auditor"))
    assert pay.subject.attributes_json == '{"team":"ops"}'
    assert (pay.resource.type, pay.resource.scope) == ("invoice", "emea.berlin")
    assert pay.resource.policy_version == "v2"
    assert pay.policies == (PolicyRef(id="resource.invoice.v2/emea", scope="emea"),)
    assert pay.derived_roles == ("owner",)
    assert json.loads(pay.outputs_json)[0]["val"] == {"limit": 500}
    assert event.evaluations[0].outputs_json == ""
    assert "no such key: region" in pay.errors[0]
    assert pay.decision_raw_json == '"EFFECT_DENY"'
    assert event.policy_source.kind == "git"
    assert event.policy_source.store_id == "https://git.example.com/policies"
    assert event.policy_source.model_id == "4f2a9c"
    assert event.policy_source.effective_policies == (PolicyRef(id="resource.invoice.v2/emea"),)
    assert event.client.addresses == ("203.0.113.9", "10.9.9.9", "10.1.2.3:5512")
    assert (event.client.user_agent, event.client.principal) == ("grpc-go/1.60", "svc-edge")
    assert json.loads(event.annotations_json)["metadata"]["x-tenant"]["values"] == ["blue"]


def test_older_entries_hold_inputs_and_outputs_themselves() -> None:
    assert answers(read(LEGACY)) == [("approve", "l-7", "DENY")]


def test_a_query_plan_is_an_evaluation_without_resource_id() -> None:
    (plan,) = read(PLAN).evaluations
    assert plan.decision is Decision.CONDITIONAL
    assert (plan.action.name, plan.resource.type, plan.resource.id) == ("list", "report", "")
    assert (plan.subject.id, plan.resource.scope) == ("chen", "hq")
    assert json.loads(plan.outputs_json)["filter"]["kind"] == "KIND_CONDITIONAL"
    assert plan.policies == (PolicyRef(scope="hq", version="v1"),)
    assert json.loads(plan.context_json) == {"jwt": {"aud": "reports"}}


@pytest.mark.parametrize(
    ("kind", "decision"),
    [
        ("KIND_ALWAYS_ALLOWED", Decision.ALLOW),
        ("KIND_ALWAYS_DENIED", Decision.DENY),
        (3, Decision.CONDITIONAL),
        ("KIND_UNSPECIFIED", Decision.UNKNOWN),
        (None, Decision.UNKNOWN),
    ],
)
def test_kinds_of_plans(kind: Json, decision: Decision) -> None:
    plan = {"input": {"actions": ["a", "b"]}, "output": {"filter": {"kind": kind}}}
    event = read(json.dumps({"callId": "x", "planResources": plan}).encode())
    assert [e.decision for e in event.evaluations] == [decision, decision]
    assert [e.action.name for e in event.evaluations] == ["a", "b"]


def test_an_oversized_entry_has_no_evaluations_and_says_that_it_is_not_whole() -> None:
    event = read(OVERSIZED)
    assert event.evaluations == ()
    assert event.truncated


def test_an_error_makes_what_was_asked_an_error_and_is_never_an_answer() -> None:
    event = read(SNAKE)
    assert event.event_id == "01J1AAAAAAAAAAAAAAAAAAAAA5"
    assert answers(event) == [("read", "d", "ERROR"), ("erase", "d", "ERROR")]
    assert event.evaluations[0].errors == ("policy store is not available",)
    assert event.evaluations[0].resource.policy_version == "v9"


def test_answers_in_another_order_are_matched_by_what_they_name() -> None:
    assert answers(read(SWAPPED)) == [("open", "north", "DENY"), ("open", "south", "ALLOW")]


@pytest.mark.parametrize(
    ("output", "decision"),
    [
        ({}, Decision.UNKNOWN),
        ({"actions": {"go": {}}}, Decision.UNKNOWN),
        ({"actions": {"go": {"effect": "EFFECT_UNSPECIFIED"}}}, Decision.UNKNOWN),
        ({"actions": {"go": {"effect": 1}}}, Decision.ALLOW),
        ({"actions": {"go": {"effect": "EFFECT_SOMETHING_NEW"}}}, Decision.UNKNOWN),
        ({"actions": {"go": {"effect": ["EFFECT_ALLOW"]}}}, Decision.UNKNOWN),
    ],
)
def test_no_effect_is_never_taken_for_allow(output: Json, decision: Decision) -> None:
    given = {"actions": ["go"], "resource": {"id": "r"}, "principal": {"id": "p"}}
    check = {"inputs": [given], "outputs": [output]}
    (evaluation,) = read(json.dumps({"checkResources": check}).encode()).evaluations
    assert evaluation.decision is decision


def test_an_answer_for_an_action_nobody_asked_for_is_kept() -> None:
    given = {"actions": ["go"], "resource": {"id": "r"}}
    output = {"resourceId": "r", "actions": {"stay": {"effect": "EFFECT_ALLOW"}}}
    check = {"inputs": [given], "outputs": [output]}
    event = read(json.dumps({"checkResources": check}).encode())
    assert answers(event) == [("go", "r", "UNKNOWN"), ("stay", "r", "ALLOW")]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (ACCESS, "access log entry"),
        (BROKEN, "not JSON"),
        (b'{"callId":"x","timestamp":"2026-02-03T04:05:06Z"}', "neither a check nor a plan"),
        (b"[]", "a JSON object is expected"),
    ],
)
def test_what_is_no_decision_is_refused(document: bytes, sentence: str) -> None:
    with pytest.raises(InvalidEventError, match=sentence):
        read(document)


def test_an_entry_without_id_is_known_by_its_bytes() -> None:
    document = b'{"oversized":true}'
    assert read(document).event_id == read(document).event_id != read(document + b" ").event_id
