"""Findings for consumers of OCSF: valid, whole, canonical, and readable back as far as proven."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from schemas.alerts import (
    AnomalyAlert,
    Attack,
    Confidence,
    DecisionSummary,
    Evidence,
    Feature,
    Rule,
    RuleType,
    Severity,
    Status,
)
from schemas.errors import DecodeError
from schemas.ocsf import (
    OCSF_VERSION,
    alert_in,
    detection_finding,
    encode_finding,
    fingerprint_of,
)
from tests.support.events import full_alert
from tests.support.json_schema import violations
from tests.support.ocsf_files import OcsfFiles

SCHEMA = json.loads((Path(__file__).parent / "ocsf_detection_finding.json").read_text("utf-8"))
BARE = AnomalyAlert(alert_id="a", rule=Rule(id="r", version="1"))
NOBODY = replace(full_alert(), decision=DecisionSummary(event_id="e", roles=("x",), effect="DENY"))
SUMMARY = replace(full_alert(), decision=DecisionSummary(), features=(), neighbours=(), attacks=())
HUGE = replace(
    full_alert(),
    count=2**63 - 1,
    suppressed_count=2**63 - 1,
    first_seen=-62_135_596_800_000_000,
    last_seen=253_402_300_799_999_999,
    evidence=(replace(full_alert().evidence[0], index=2**63 - 1),),
    features=(Feature(name="f", observed_count=-(2**63), expected_count=2**63 - 1),),
)
ALERTS = {
    "full": full_alert(),
    "bare": BARE,
    "nobody": NOBODY,
    "summary": SUMMARY,
    "huge": HUGE,
    "no proof": replace(full_alert(), evidence=()),
    "two proofs": replace(full_alert(), evidence=full_alert().evidence * 2),
    "untold attack": replace(full_alert(), attacks=(Attack(framework="ATLAS", version="5"),)),
}
Check = Callable[[dict[str, Any]], list[str]]


def check_by_ours(finding: dict[str, Any]) -> list[str]:
    return violations(finding, SCHEMA)


def checks() -> dict[str, Check]:
    """The schema of our own, and the files of OCSF where ATTESTREAM_SAMPLES has them."""
    samples = os.environ.get("ATTESTREAM_SAMPLES")
    if samples is None:
        return {"ours": check_by_ours}
    files = OcsfFiles(Path(samples) / "ocsf" / "schema")
    assert files.version == OCSF_VERSION
    return {"ours": check_by_ours, "theirs": files.violations}


EVERY_CHECK = pytest.mark.parametrize("check", checks().values(), ids=checks())
EVERY_ALERT = pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
ENUMS = (Status, Severity, Confidence, RuleType)
OTHERS: dict[type, Callable[[Any], Any]] = {
    bool: lambda value: not value,
    str: lambda value: f"{value}?",
    int: lambda value: value + 1,
    float: lambda value: value / 2,
    bytes: lambda value: b"\xff" * len(value),
    dict: lambda _: {},
}


@EVERY_CHECK
@EVERY_ALERT
def test_every_alert_is_a_valid_finding(alert: AnomalyAlert, check: Check) -> None:
    assert check(json.loads(encode_finding(alert))) == []
    assert check(json.loads(encode_finding(alert, ("example/attestream.alerts/0", 7)))) == []


@EVERY_CHECK
def test_every_status_severity_confidence_and_rule_type_is_valid(check: Check) -> None:
    alerts = [replace(BARE, status=one) for one in Status]
    alerts += [replace(BARE, severity=one) for one in Severity]
    alerts += [replace(BARE, confidence=one) for one in Confidence]
    alerts += [replace(BARE, rule=replace(BARE.rule, type=one)) for one in RuleType]
    assert [check(detection_finding(alert)) for alert in alerts] == [[]] * len(alerts)


@EVERY_CHECK
def test_what_is_no_finding_is_refused(check: Check) -> None:
    good = detection_finding(full_alert())
    assert check({**good, "activity_id": 7})
    assert check({**good, "colour": "red"})
    assert check({**good, "finding_info": {}})
    assert check({**good, "evidences": [{"name": "nothing"}]})
    assert check({name: part for name, part in good.items() if name != "time"})


def test_values_of_the_wrong_kind_are_refused() -> None:
    good = detection_finding(full_alert())
    assert check_by_ours({**good, "count": "1"})
    assert check_by_ours({**good, "is_alert": 1})
    assert check_by_ours({**good, "evidences": []})


def test_standard_terms_say_what_the_alert_says() -> None:
    finding = detection_finding(full_alert())
    assert (finding["class_uid"], finding["type_uid"]) == (2004, 200401)
    assert finding["metadata"]["version"] == OCSF_VERSION
    assert finding["metadata"]["uid"] == finding["finding_info"]["uid"] == full_alert().alert_id
    assert (finding["severity_id"], finding["severity"]) == (4, "High")
    assert (finding["confidence_id"], finding["confidence_score"]) == (2, 66)
    assert finding["risk_score"] == 88
    assert finding["time"] == finding["end_time"] == 1_767_225_600_123
    assert finding["finding_info"]["analytic"]["type_id"] == 2
    assert finding["evidences"][0]["actor"]["user"]["uid"] == "amina"
    assert finding["evidences"][0]["data"]["index"] == 41
    assert finding["resources"][0]["namespace"] == "finance"
    anomaly = finding["anomaly_analyses"][0]["anomalies"][0]
    assert (anomaly["observed_pattern"], anomaly["observations"][0]["count"]) == ("RARE", 1)


@pytest.mark.parametrize(
    ("alert", "is_alert"),
    [
        (replace(full_alert(), replayed=False), True),
        (replace(full_alert(), replayed=True), False),
        (replace(full_alert(), replayed=False, status=Status.CLOSED), False),
    ],
    ids=["new", "replayed", "closed"],
)
def test_what_must_not_page_is_no_alert_there(alert: AnomalyAlert, *, is_alert: bool) -> None:
    assert detection_finding(alert)["is_alert"] is is_alert


def other(value: Any) -> Iterator[Any]:
    """Values unlike this one, each in one place."""
    if isinstance(value, tuple):
        yield value[1:]
        yield from ((part, *value[1:]) for part in other(value[0]))
    elif is_dataclass(value):
        for field in fields(value):
            for part in other(getattr(value, field.name)):
                yield replace(value, **{field.name: part})  # type: ignore[type-var]
    elif isinstance(value, ENUMS):
        yield next(one for one in type(value) if one is not value)
    else:
        yield OTHERS[type(value)](value)


def test_nothing_an_alert_says_is_left_out() -> None:
    whole = json.loads(encode_finding(full_alert()))
    changed = list(other(full_alert()))
    assert len(changed) > 60
    for alert in changed:
        assert json.loads(encode_finding(alert)) != whole, alert


def test_the_bytes_are_those_of_earlier_releases() -> None:
    golden = Path(__file__).parents[2] / "golden" / "ocsf.json"
    vectors = json.loads(golden.read_text("utf-8"))
    assert [vector["name"] for vector in vectors] == ["an alert", "an alert, sealed", "no more"]
    alerts = [(full_alert(), None), (full_alert(), ("example/alerts/0", 7)), (BARE, None)]
    for vector, (alert, leaf) in zip(vectors, alerts, strict=True):
        encoded = encode_finding(alert, leaf)
        assert json.loads(encoded) == vector["finding"]
        assert sha256(encoded).hexdigest() == vector["sha256"]


def test_one_alert_has_one_encoding() -> None:
    encoded = encode_finding(full_alert())
    assert encoded == encode_finding(full_alert())
    assert b"\n" not in encoded
    assert list(json.loads(encoded)) == sorted(json.loads(encoded))


def test_the_fingerprint_shows_any_change() -> None:
    finding = json.loads(encode_finding(full_alert()))
    (attestation,) = finding["attestation_list"]
    assert fingerprint_of(finding) == attestation["fingerprint"]["value"]
    attestation["signatures"] = [{"algorithm_id": 3}]
    assert fingerprint_of(finding) == attestation["fingerprint"]["value"]
    finding["finding_info"]["desc"] += "."
    assert fingerprint_of(finding) != attestation["fingerprint"]["value"]


def test_what_can_be_proven_is_read_back() -> None:
    alert = alert_in(json.loads(encode_finding(full_alert())))
    told = full_alert()
    assert (alert.alert_id, alert.evidence) == (told.alert_id, told.evidence)
    assert (alert.rule.id, alert.rule.version) == (told.rule.id, told.rule.version)
    assert alert_in(detection_finding(replace(told, evidence=()))).evidence == ()


@pytest.mark.parametrize("index", ["41", 41.0, True, None, -1], ids=str)
def test_a_leaf_index_that_is_none_is_refused(index: object) -> None:
    finding = detection_finding(full_alert())
    finding["evidences"][0]["data"]["index"] = index
    with pytest.raises(DecodeError):
        alert_in(finding)


@pytest.mark.parametrize(
    "finding",
    [
        {},
        {"finding_info": 5},
        {"finding_info": {"uid": "a", "analytic": {"uid": "r", "version": 1}}},
        {**detection_finding(full_alert()), "evidences": {"data": 1}},
        {**detection_finding(full_alert()), "evidences": [{"data": {"leaf_hash": "no base64"}}]},
    ],
    ids=["empty", "number", "version", "object", "hash"],
)
def test_what_is_no_finding_of_ours_is_refused(finding: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match="not a finding"):
        alert_in(finding)


def test_features_keep_their_order_and_their_baselines() -> None:
    features = tuple(
        Feature(name=f"f{i}", observed=f"o{i}", expected="e" if i else "", observed_count=20 * i)
        for i in range(3)
    )
    (analysis,) = detection_finding(replace(full_alert(), features=features))["anomaly_analyses"]
    told = [anomaly["observed_pattern"] for anomaly in analysis["anomalies"]]
    assert told == ["UNSEEN", "INFREQUENT", "INFREQUENT"]
    assert [base["observation_parameter"] for base in analysis["baselines"]] == ["f1", "f2"]


def test_a_proof_without_nodes_is_read_back() -> None:
    evidence = Evidence(origin="o/t/0", index=0, leaf_hash=b"\x01" * 32, checkpoint="note")
    alert = replace(full_alert(), evidence=(evidence,))
    assert alert_in(detection_finding(alert)).evidence == (evidence,)
