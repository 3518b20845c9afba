"""`attestream alerts`, on an embedded log: in three forms, and explained with its evidence."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from projections.cli.alert_words import explained, status_of, words_of
from projections.cli.alerts import alerts
from projections.decision_index.alerts import Stamp, alerts_of
from projections.decision_index.fold import DecisionFold
from projections.decision_index.graph import FoldedGraph
from projections.decision_index.index import DecisionRows
from projections.decision_index.scoring import Rules, factors_of
from schemas.alerts import AnomalyAlert
from schemas.codec import encode_alert
from schemas.ocsf import detection_finding
from schemas.readable import as_json
from streams.audit.note import ED25519, Vkey
from streams.embedded.engine import EmbeddedEngine
from streams.ports import NewRecord
from streams.settings import load_settings
from tests.support.decision_log import EventLog, decision
from tests.support.sealed_log import BASE, KEYS, ORIGIN, PUBLIC_KEY, START_MS, batches_of
from tests.support.signed_logs import Key

RULES = Rules(threshold=0.5, warm_up=20, alerts_per_hour=1)
ODD = [("karim", "billing", "chart", "view"), ("karim", "billing", "chart", "burn")]
HOUR = 3_600_000
KEYS_TEXT = Vkey(BASE, ED25519, PUBLIC_KEY).render()


def published() -> list[AnomalyAlert]:
    """A finding, and the summary of one that was held back."""
    usual = [("bea", "nurse", "chart", "view"), ("karim", "billing", "invoice", "view")]
    values: list[tuple[int, bytes | None]] = [
        (START_MS + i, decision(i, usual[i % 2], resource=f"r{i % 3}")) for i in range(60)
    ]
    values += [(START_MS + 60 + i, decision(60 + i, odd)) for i, odd in enumerate(ODD)]
    values += [(START_MS + 2 * HOUR, decision(99, usual[0], resource="r0"))]
    fold, told = DecisionFold(RULES, lambda: DecisionRows(FoldedGraph)), []
    for batch in batches_of(EventLog.sealed(values, [40])):
        found = [item for record in batch.records for item in fold.apply(record)]
        told += alerts_of(found, batch, Stamp.of(RULES)) if found else []
    return told


ALERTS = published()
FINDING, SUMMARY = ALERTS


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An embedded home in whose alert partition stand junk and ALERTS."""
    path = tmp_path / "home"
    asyncio.run(fill(path))
    (tmp_path / "keys.txt").write_text(KEYS_TEXT, "utf-8")
    return path


async def fill(home: Path) -> None:
    engine = await EmbeddedEngine.open(load_settings(environment(home)), create=True)
    writer = engine.writer(engine.topology.alerts, 0)
    await writer.start()
    values = [b"junk", *map(encode_alert, ALERTS)]
    await writer.append([NewRecord(START_MS, value) for value in values])
    await writer.close()
    await engine.close()


def environment(home: Path) -> dict[str, str]:
    return {"ATTESTREAM_HOME": str(home), "ATTESTREAM_ORIGIN": BASE}


def run(home: Path, *arguments: str) -> Result:
    return CliRunner(env=environment(home)).invoke(alerts, list(arguments))


def test_the_three_forms_say_the_same(home: Path) -> None:
    text = run(home, "tail").stdout
    told = [json.loads(line) for line in run(home, "tail", "--json").stdout.splitlines()]
    found = run(home, "tail", "--format", "ocsf").stdout.splitlines()
    assert told == [as_json(alert) for alert in ALERTS]
    assert run(home, "tail", "--format", "json").stdout == run(home, "tail", "--json").stdout
    expected = [json.loads(json.dumps(detection_finding(alert))) for alert in ALERTS]
    assert [json.loads(line) for line in found] == expected
    assert all(alert.alert_id in text for alert in ALERTS)


def test_a_record_that_is_no_alert_is_named_and_the_rest_is_shown(home: Path) -> None:
    told = run(home, "tail", "--json")
    assert told.exit_code == 0
    assert "no alert at offset 0" in told.stderr
    assert len(told.stdout.splitlines()) == len(ALERTS)


def test_an_alert_is_explained_with_every_factor_and_intact_evidence(home: Path) -> None:
    keys = home.parent / "keys.txt"
    done = run(home, "explain", FINDING.alert_id, "--keys", str(keys), "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 0
    risk = told["risk"]
    assert risk["raw"] == risk["distance"] * (0.3 + risk["novelty"]) * risk["rarity"] ** 1.5
    assert risk["risk"] == round(risk["raw"] / (risk["raw"] + risk["half"]), 9) == FINDING.risk
    assert risk["reproduced"]
    assert [feature["name"] for feature in told["features"]]
    assert all("observed_count" in feature for feature in told["features"])
    assert [near["index"] for near in told["neighbours"]] == [
        near.index for near in FINDING.neighbours
    ]
    evidence = told["evidence"]
    assert (evidence["verdict"], evidence["signatures"]) == ("intact", "checked")
    assert (evidence["origin"], evidence["index"]) == (ORIGIN, FINDING.evidence[0].index)
    words = run(home, "explain", FINDING.alert_id, "--keys", str(keys)).stdout
    assert "Evidence intact" in words
    assert "signed by a key you gave" in words
    assert f"leaf {FINDING.neighbours[0].index}" in words
    assert "karim on chart” seen never" in words


def test_without_keys_it_is_said_that_no_signature_was_checked(home: Path) -> None:
    words = run(home, "explain", FINDING.alert_id)
    assert words.exit_code == 0
    assert "NOT checked" in words.stdout


def test_the_evidence_of_a_stranger_is_broken_and_ends_with_its_status(home: Path) -> None:
    keys = home.parent / "stranger.txt"
    keys.write_text(Key("stranger").vkey(BASE).render(), "utf-8")
    done = run(home, "explain", FINDING.alert_id, "--keys", str(keys))
    assert done.exit_code == 23
    assert "Evidence BROKEN, unknown_key" in done.stdout


def test_a_summary_is_explained_without_a_risk(home: Path) -> None:
    told = json.loads(run(home, "explain", SUMMARY.alert_id, "--json").stdout)
    assert "risk" not in told
    assert told["suppressed_count"] == 1
    assert "1 findings were held back" in run(home, "explain", SUMMARY.alert_id).stdout


def test_an_id_nobody_has_and_keys_that_are_none_are_said_so(home: Path) -> None:
    assert run(home, "explain", "a" * 26).exit_code == 3
    absent = run(home, "explain", FINDING.alert_id, "--keys", str(home / "absent.txt"))
    assert absent.exit_code == 2
    assert "absent.txt" in absent.stderr


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({"alert_id": "b" * 26}, 20, "BROKEN, altered"),
        ({"evidence": ()}, 20, "BROKEN, missing"),
        ({"risk": 0.99}, 0, "That is not the risk the alert gives"),
        ({"replayed": True}, 0, "it pages nobody"),
    ],
    ids=["id", "no evidence", "risk", "replayed"],
)
def test_what_was_altered_shows(changes: dict[str, Any], status: int, word: str) -> None:
    told = explained(replace(FINDING, **changes), KEYS)
    assert status_of(told) == status
    assert word in words_of(told)


def test_the_factors_are_those_of_the_score() -> None:
    factors = factors_of(FINDING.similarity, FINDING.novelty, FINDING.rarity)
    assert factors.risk == FINDING.risk
    assert f"risk {FINDING.risk:.4f}" in str(factors)
