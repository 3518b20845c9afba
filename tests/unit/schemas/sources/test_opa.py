"""OPA decision logs: three shapes of file, any shape of result."""

import json
from pathlib import Path

import pytest

from schemas.errors import InvalidEventError
from schemas.events import AuthorizationDecision, Decision, Redaction, RedactionKind
from schemas.sources import FORMATS, Document
from schemas.sources.opa import OpaMapping, translate
from schemas.sources.reading import Json, Options

FIXTURES = Path(__file__).parents[3] / "fixtures"


def documents(name: str) -> list[bytes]:
    found = list(FORMATS["opa"].documents([(FIXTURES / name).read_bytes()]))
    assert all(isinstance(document, Document) for document in found)
    return [document.content for document in found if isinstance(document, Document)]


LINES = documents("opa.ndjson")


def read(document: bytes, **parts: Json) -> AuthorizationDecision:
    return translate(document, Options(), OpaMapping.of(parts))


def decided(**entry: Json) -> Decision:
    (evaluation,) = read(json.dumps({"decision_id": "d", **entry}).encode()).evaluations
    return evaluation.decision


@pytest.mark.parametrize("name", ["opa-body.json", "opa-pretty.json", "opa.ndjson"])
def test_the_three_shapes_of_a_log_hold_the_same_decisions(name: str) -> None:
    parsed = [json.loads(document) for document in documents(name)]
    assert parsed == [json.loads(line) for line in LINES]


def test_everything_an_entry_says_is_kept() -> None:
    event = read(LINES[0])
    (evaluation,) = event.evaluations
    assert evaluation.decision is Decision.ALLOW
    assert evaluation.decision_raw_json == '"true"'
    assert (evaluation.subject.id, evaluation.action.name) == ("amina", "GET")
    assert evaluation.resource.id == "/invoices/7"
    assert json.loads(evaluation.context_json)["user"] == "amina"
    assert (event.event_id, event.decided_at_nanos) == ("d-0001", 1)
    assert event.policy_source.query == "http/authz/allow"
    assert event.policy_source.revisions == {"authz": "r17"}
    assert event.source.labels == {"id": "4b1e", "version": "1.2.0", "region": "eu"}
    assert (event.source.instance, event.source.version) == ("4b1e", "1.2.0")
    assert event.correlation.request_id == "12"
    assert event.correlation.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert event.client.addresses == ("[::1]:59943",)
    assert event.metrics == {"timer_rego_query_eval_ns": 1500.0}


def test_erased_and_masked_places_are_kept_as_redactions() -> None:
    event = read(LINES[1])
    assert event.redactions == (
        Redaction(pointer="/input/ssn", kind=RedactionKind.ERASED),
        Redaction(pointer="/input/password", kind=RedactionKind.MASKED),
    )
    (evaluation,) = event.evaluations
    assert evaluation.decision is Decision.DENY
    assert evaluation.subject.roles == ("clerk",)
    assert (evaluation.resource.type, evaluation.resource.scope) == ("invoice", "emea")
    assert evaluation.reasons == ("over limit",)
    assert event.decided_at == 1_770_091_506_250_000


@pytest.mark.parametrize(
    ("result", "decision"),
    [
        (True, Decision.ALLOW),
        (False, Decision.DENY),
        ("true", Decision.ALLOW),
        ("false", Decision.DENY),
        ({"allow": True}, Decision.ALLOW),
        ({"allowed": False}, Decision.DENY),
        ({"decision": "DENY"}, Decision.DENY),
        ({"allow": "false"}, Decision.DENY),
        ({"allow": {"yes": True}}, Decision.UNKNOWN),
        ({}, Decision.UNKNOWN),
        ([True], Decision.UNKNOWN),
        (1, Decision.UNKNOWN),
        ("yes", Decision.UNKNOWN),
        (None, Decision.UNKNOWN),
    ],
)
def test_what_a_result_says(result: Json, decision: Decision) -> None:
    assert decided(result=result) is decision


def test_an_undefined_result_is_unknown_and_an_error_is_an_error() -> None:
    assert decided(path="authz/allow") is Decision.UNKNOWN
    event = read(LINES[3])
    assert event.evaluations[0].decision is Decision.ERROR
    assert "boom" in event.evaluations[0].errors[0]
    assert (event.decided_at, event.decided_at_text) == (None, "not a time")


def test_a_mapping_says_where_the_parts_stand() -> None:
    document = json.dumps(
        {
            "decision_id": "d",
            "input": {"who": {"a/b": "bo"}, "acts": ["read", "write"], "thing": {"n": 7}},
            "result": {"verdict": {"ok": "deny"}},
        }
    ).encode()
    (evaluation,) = read(
        document,
        decision="result.verdict.ok",
        subject_id="/input/who/a~1b",
        action=["input.nowhere", "input.acts.1"],
        resource_id="/input/thing/n",
    ).evaluations
    assert evaluation.decision is Decision.DENY
    assert (evaluation.subject.id, evaluation.action.name) == ("bo", "write")
    assert evaluation.resource.id == "7"


def test_with_a_mapping_only_its_places_count() -> None:
    (evaluation,) = read(b'{"result":{"allow":true}}', decision="/result/ok").evaluations
    assert evaluation.decision is Decision.UNKNOWN


@pytest.mark.parametrize("path", ["", "/", ".", "//", "/result/0/1/2", "/input/-1", "a" * 10_000])
def test_a_path_that_leads_nowhere_is_nothing(path: str) -> None:
    document = b'{"decision_id":"d","input":[1],"result":[[true]]}'
    (evaluation,) = translate(document, Options(), OpaMapping(subject_id=(path,))).evaluations
    assert evaluation.subject.id == ""


def test_every_mistake_in_a_mapping_is_named() -> None:
    with pytest.raises(ValueError, match=r"colour: is none of .*; action: expected a path"):
        OpaMapping.of({"colour": "/x", "action": 7})


@pytest.mark.parametrize("document", [b"{}", b'{"msg":"started"}', b"[1]", b"true"])
def test_what_is_no_entry_is_refused(document: bytes) -> None:
    with pytest.raises(InvalidEventError):
        read(document)


def test_enterprise_opa_is_told_by_its_label() -> None:
    event = read(b'{"result":true,"labels":{"type":"eopa","version":"0.52.0"}}')
    assert (event.source.product, event.source.version) == ("eopa", "0.52.0")
