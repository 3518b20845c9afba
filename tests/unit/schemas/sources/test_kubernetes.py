"""Kubernetes audit events: a decision only where the log states one."""

import json
from pathlib import Path

import pytest

from schemas.errors import InvalidEventError
from schemas.events import AuthorizationDecision, Decision
from schemas.sources.kubernetes import translate
from schemas.sources.reading import Json, Options

LINES = (Path(__file__).parents[3] / "fixtures/kubernetes.ndjson").read_bytes().splitlines()
EXEC, FORBIDDEN, WRAPPED, PATH, IMPERSONATED, EVENT_LIST, NO_EVENT = LINES


def read(document: bytes) -> AuthorizationDecision:
    return translate(document, Options())


def test_an_allowed_request_with_all_it_says() -> None:
    event = read(EXEC)
    (evaluation,) = event.evaluations
    assert evaluation.decision is Decision.ALLOW
    assert evaluation.reasons == ('RBAC: allowed by RoleBinding "dev/shop"',)
    assert (evaluation.subject.id, evaluation.subject.roles) == (
        "amina",
        ("dev", "system:authenticated"),
    )
    assert evaluation.action.name == "create"
    assert (evaluation.resource.type, evaluation.resource.id) == ("pods/exec", "web-0")
    assert evaluation.resource.scope == "shop"
    assert event.event_id == "a-1/ResponseComplete"
    assert event.decided_at == 1_770_091_506_123_456
    assert event.enforcement.status_code == 101
    assert event.client.addresses == ("203.0.113.7", "10.0.0.1")
    assert event.correlation.request_id == "a-1"


def test_a_forbidden_request_and_a_time_with_a_space_and_no_zone() -> None:
    event = read(FORBIDDEN)
    assert event.evaluations[0].decision is Decision.DENY
    assert event.decided_at == 1_770_091_506_380_000
    assert event.decided_at_text == "2026-02-03 04:05:06.38"
    assert (event.enforcement.status_code, event.enforcement.message) == (
        403,
        "secrets is forbidden",
    )
    assert event.evaluations[0].resource.id == "/api/v1/secrets"


def test_success_without_a_decision_is_not_taken_for_allow() -> None:
    event = read(WRAPPED)
    assert event.evaluations[0].decision is Decision.UNKNOWN
    assert event.enforcement.status_code == 200
    assert event.decided_at is None


@pytest.mark.parametrize("code", [200, 201, 403, "200", None, True, 10**30, -1, 1.5])
def test_no_status_code_makes_a_decision(code: Json) -> None:
    document = json.dumps({"verb": "get", "responseStatus": {"code": code}}).encode()
    assert read(document).evaluations[0].decision is Decision.UNKNOWN


@pytest.mark.parametrize("said", ["ALLOWED", "", None, True, ["allow"], {"allow": 1}])
def test_an_annotation_of_another_word_is_unknown(said: Json) -> None:
    annotations = {"authorization.k8s.io/decision": said}
    event = read(json.dumps({"verb": "get", "annotations": annotations}).encode())
    assert event.evaluations[0].decision is Decision.UNKNOWN


def test_a_request_for_no_object_is_about_its_path() -> None:
    (evaluation,) = read(PATH).evaluations
    assert (evaluation.resource.type, evaluation.resource.id) == ("nonResourceURL", "/healthz")


def test_whoever_impersonates_is_the_agent_of_the_one_impersonated() -> None:
    (evaluation,) = read(IMPERSONATED).evaluations
    assert (evaluation.subject.id, evaluation.subject.roles) == ("chen", ("ops",))
    assert [agent.id for agent in evaluation.agents] == ["bot"]


def test_the_stages_of_one_request_are_different_events() -> None:
    earlier = EXEC.replace(b"ResponseComplete", b"RequestReceived")
    assert read(earlier).event_id == "a-1/RequestReceived"


@pytest.mark.parametrize("document", [EVENT_LIST, NO_EVENT, b"{}", b'{"event":[]}'])
def test_what_is_no_audit_event_is_refused(document: bytes) -> None:
    with pytest.raises(InvalidEventError, match="no Kubernetes audit event"):
        read(document)
