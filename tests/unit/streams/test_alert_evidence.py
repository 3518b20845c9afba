"""An alert is what it claims to be, or the one call says why not: attacks on alerts."""

import json
import os
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import attestream
from schemas.alerts import AnomalyAlert, Evidence, Rule, alert_id
from schemas.codec import encode_alert
from schemas.ocsf import encode_finding
from streams.audit.merkle import Frontier
from streams.audit.proofs import inclusion_proof
from tests.support.signed_logs import KEY, ORIGIN, Key, usual_log

KEYS = KEY.vkey().render()
SIZE = 12
RULE = Rule(id="decision-risk", version="0123456789abcdef")
OTHER_ORIGIN = ORIGIN.rsplit("/", 1)[0] + "/1"
ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs" / "how-to" / "use-alerts.md"


def text_of(digest: bytes) -> str:
    return b64encode(digest).decode()


def root(size: int = SIZE) -> bytes:
    frontier = Frontier()
    frontier.extend(usual_log().leaves[:size])
    return frontier.root()


def evidence(index: int = 5, size: int = SIZE) -> Evidence:
    leaves = usual_log().leaves
    return Evidence(
        origin=ORIGIN,
        index=index,
        leaf_hash=leaves[index],
        inclusion_proof=inclusion_proof(Frontier(), leaves[:size], index),
        checkpoint=KEY.note(size, root(size)),
    )


def alert(rule: Rule = RULE, proof: Evidence | None = None) -> AnomalyAlert:
    proof = proof or evidence()
    return AnomalyAlert(
        alert_id=alert_id(proof.origin, proof.index, rule), rule=rule, evidence=(proof,)
    )


def with_proof(**changes: object) -> AnomalyAlert:
    """The good alert with other evidence under the id it had."""
    return replace(alert(), evidence=(replace(evidence(), **changes),))  # type: ignore[arg-type]


def test_a_good_alert_is_verified_with_the_keys_alone() -> None:
    checkpoint = attestream.verify_alert(alert(), keys=KEYS)
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (ORIGIN, SIZE, root())
    assert attestream.verify_alert(
        alert(), keys=KEYS, origin=ORIGIN, rule_version=RULE.version
    ) == (checkpoint)


@pytest.mark.parametrize(
    "encode",
    [encode_alert, lambda alert: encode_alert(alert, 7), encode_finding],
    ids=["avro", "avro by a registry's id", "ocsf"],
)
def test_bytes_are_verified_as_they_came(encode: Callable[[AnomalyAlert], bytes]) -> None:
    assert attestream.verify_alert(encode(alert()), keys=KEYS).size == SIZE
    with pytest.raises(attestream.BreakError, match="altered at index 5"):
        attestream.verify_alert(encode(replace(alert(), alert_id="a" * 26)), keys=KEYS)


FORGED = {
    "the leaf of another record": (
        with_proof(leaf_hash=evidence(6).leaf_hash),
        "altered at index 5: the proof does not lead",
    ),
    "the proof of another record": (
        with_proof(inclusion_proof=evidence(6).inclusion_proof),
        "altered at index 5: the proof does not lead",
    ),
    "evidence of another record, under the old id": (
        replace(alert(), evidence=(evidence(6),)),
        "altered at index 6: the alert id",
    ),
    "another index": (with_proof(index=6), "altered at index 6: the alert id"),
    "an id of one's own": (replace(alert(), alert_id="a" * 26), "altered at index 5: the alert"),
    "another rule": (
        replace(alert(), rule=replace(RULE, id="other")),
        "altered at index 5: the alert id",
    ),
    "another version of the rule": (
        replace(alert(), rule=replace(RULE, version="fedcba9876543210")),
        "altered at index 5: the alert id",
    ),
    "a proof with a node more": (
        with_proof(inclusion_proof=(*evidence().inclusion_proof, b"\x01" * 32)),
        "altered at index 5: expected 4 hashes",
    ),
    "a proof with a node less": (
        with_proof(inclusion_proof=evidence().inclusion_proof[:-1]),
        "altered at index 5: expected 4 hashes",
    ),
    "a node that is none": (
        with_proof(inclusion_proof=(*evidence().inclusion_proof[:-1], b"\x01" * 31)),
        "altered at index 5: expected 4 hashes",
    ),
    "a checkpoint of another size": (
        with_proof(checkpoint=evidence(5, 7).checkpoint),
        "altered at index 5",
    ),
    "a checkpoint the record is not under": (
        with_proof(checkpoint=evidence(0, 5).checkpoint),
        "altered at index 5: a tree of 5 leaves has no leaf 5",
    ),
    "a checkpoint that is none": (with_proof(checkpoint="note"), "altered at index 5: a check"),
    "no checkpoint": (with_proof(checkpoint=""), "altered at index 5: a checkpoint"),
    "a root of one's own under the old signature": (
        with_proof(checkpoint=KEY.note(SIZE, root()).replace(text_of(root()), text_of(root(7)))),
        "bad_signature at index 5: key",
    ),
    "another log's checkpoint": (
        with_proof(checkpoint=KEY.note(SIZE, root(), OTHER_ORIGIN)),
        "bad_signature at index 5: a checkpoint of",
    ),
    "a key nobody gave": (
        with_proof(checkpoint=Key("stranger").note(SIZE, root())),
        "unknown_key at index 5",
    ),
    "good evidence before bad": (
        replace(alert(), evidence=(evidence(), replace(evidence(), leaf_hash=bytes(32)))),
        "altered at index 5: the proof does not lead",
    ),
}


@pytest.mark.parametrize(("forged", "why"), FORGED.values(), ids=FORGED)
def test_a_forged_alert_is_refused(forged: AnomalyAlert, why: str) -> None:
    with pytest.raises(attestream.BreakError, match=why):
        attestream.verify_alert(forged, keys=KEYS)


def test_an_alert_of_another_log_is_refused_where_one_is_expected() -> None:
    with pytest.raises(attestream.BreakError, match="bad_signature at index 5: evidence of"):
        attestream.verify_alert(alert(), keys=KEYS, origin=OTHER_ORIGIN)
    moved = replace(evidence(), origin=OTHER_ORIGIN)
    with pytest.raises(attestream.BreakError, match="bad_signature at index 5: a checkpoint of"):
        attestream.verify_alert(alert(proof=moved), keys=KEYS)


def test_an_alert_by_another_version_of_the_rule_is_refused_where_one_is_expected() -> None:
    # Whoever forges a version forges the id with it: only the version expected tells.
    other = alert(replace(RULE, version="fedcba9876543210"))
    assert attestream.verify_alert(other, keys=KEYS).size == SIZE
    with pytest.raises(attestream.BreakError, match="version 'fedcba9876543210' of its rule"):
        attestream.verify_alert(other, keys=KEYS, rule_version=RULE.version)


def test_an_alert_without_evidence_proves_nothing() -> None:
    with pytest.raises(attestream.VerificationError, match="carries no evidence"):
        attestream.verify_alert(replace(alert(), evidence=()), keys=KEYS)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"junk",
        b"\xc3\x01" + bytes(8),
        b"{}",
        b'{"finding_info": 1}',
        b"{",
        b"{\xff",
        b"{" + b'"a":{' * 100_000,
    ],
    ids=["empty", "junk", "schema", "object", "finding", "cut", "bytes", "deep"],
)
def test_bytes_that_are_no_alert_are_refused(value: bytes) -> None:
    with pytest.raises(attestream.SourceUnreadableError, match="no alert"):
        attestream.verify_alert(value, keys=KEYS)


def test_an_alert_whose_numbers_are_strings_is_refused() -> None:
    finding = json.loads(encode_finding(alert()))
    finding["evidences"][0]["data"]["index"] = "5"
    with pytest.raises(attestream.SourceUnreadableError, match="no alert"):
        attestream.verify_alert(json.dumps(finding).encode(), keys=KEYS)


def test_the_docs_example_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "keys.txt").write_text(KEYS, "utf-8")
    (tmp_path / "alert.bin").write_bytes(encode_alert(alert()))
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"{ORIGIN} {SIZE}\n", "")
