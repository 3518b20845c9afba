"""All of Kafka is lost: the runbook, step by step, on a new cluster, with the archive alone.

docs/how-to/recover-from-disaster.md says what is done here.
"""

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from projections.cli.demo_data import decisions
from streams.clock import SystemClock
from streams.keys.local import write_new_key
from tests.support.deployment import Deployment, wait_until
from tests.support.kafka_broker import KafkaBroker
from tests.support.local_kafka import LocalKafka

BEFORE, AFTER = 1200, 400
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def new_cluster(tmp_path: Path) -> Iterator[LocalKafka]:
    with LocalKafka(tmp_path / "new-cluster") as kafka:
        yield kafka


def test_a_lost_cluster_is_rebuilt_from_the_archive_and_sealing_goes_on(
    kafka: KafkaBroker, new_cluster: LocalKafka, tmp_path: Path
) -> None:
    with Deployment(kafka.bootstrap, tmp_path, partitions=2) as old:
        old.extra["ATTESTREAM_SEGMENT_RECORDS"] = "150"
        old.extra["ATTESTREAM_HEADS_S"] = "1"
        operator = given_operator(old)
        live_before_the_disaster(old, operator)
    # Now nothing of the old cluster is used any more.
    at = Deployment(new_cluster.bootstrap, tmp_path, partitions=2, extra=old.extra)
    at.prefix = old.prefix
    try:
        rebuild(at, operator)
        go_on(at)
        verify_over_the_seam(at)
    finally:
        at.end_all(signal.SIGKILL)


def given_operator(at: Deployment) -> Path:
    """Keys as a deployment with an operator has them; the file of the operator's private key."""
    keys, private = at.folder / "keys", at.folder / "operator.pem"
    write_new_key(keys / "signing.pem")
    at.extra["AUDIT_SIGNING_PRIVATE_KEY"] = str(keys)
    made = at.run("keys", "generate", at.base, "--operator", "--out", str(private))
    (at.folder / "operator.vkey").write_text(made.stdout)
    at.extra["ATTESTREAM_OPERATOR_KEY"] = str(at.folder / "operator.vkey")
    return private


def live_before_the_disaster(at: Deployment, operator: Path) -> None:
    worker = at.start_worker("sealer,archive,index")
    (vkey,) = at.run("keys", "show").stdout.splitlines()
    (at.folder / "log.vkey").write_text(vkey)
    wait_until(worker.ready, 60, "the worker is not ready")
    at.run("keys", "add", vkey, "--yes", "--operator-key", str(operator))
    send(at, 0, BEFORE)
    wait_until(lambda: at.archived(at.decisions) == BEFORE, 90, "not everything was archived")
    wait_until(lambda: at.archived(at.operations) >= 1, 30, "the orders were not archived")
    stage(at)
    worker.end(signal.SIGKILL)


def stage(at: Deployment) -> None:
    """A copy under another prefix of the same cluster, from the log and from the archive."""
    for source in ("log", "archive"):
        place = ("--from", source, "--prefix", f"staging-{source}.")
        done = lines(at, "replay", "run", *place, "--json")
        assert sum(log["size"] for log in done if f"/{at.decisions}/" in log["origin"]) == BEFORE
        checked = lines(at, "replay", "check", *place, "--json")
        assert [problem for log in checked for problem in log["problems"]] == []
        assert len([log for log in checked if log["index"]]) == 2
        # Beside a staging topic no operations are looked for: the log's own key is given.
        check_intact(at, f"staging-{source}.{at.audit(at.decisions)}", "log.vkey")


def rebuild(at: Deployment, operator: Path) -> None:
    """Steps 2 to 6 of the runbook."""
    at.run("topics", "apply", "--partitions", "2", "--replication", "1")
    plans = lines(at, "replay", "plan", "--from", "archive", "--json")
    ours = [plan for plan in plans if f"/{at.decisions}/" in plan["origin"]]
    assert sum(plan["records"] for plan in ours) == BEFORE
    assert not any(plan["missing"] for plan in ours)
    done = lines(at, "replay", "run", "--from", "archive", "--restore", "--json")
    assert not any(log["break"] for log in done)
    assert {log["origin"] for log in done} == {plan["origin"] for plan in plans}
    again = lines(at, "replay", "run", "--from", "archive", "--restore", "--json")
    assert {log["rows"] for log in again} == {0}
    check_intact(at, at.audit(at.decisions))
    forked = at.run("audit", "fork", "--all", "--yes", "--operator-key", str(operator))
    assert f"{at.origin(at.decisions, 0)}/e1 begins" in forked.stderr


def go_on(at: Deployment) -> None:
    """Steps 7 and 8."""
    now = datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC)
    at.extra["ATTESTREAM_ALERTS_FROM"] = now.isoformat()
    at.start_worker("sealer,archive,index")
    send(at, BEFORE, AFTER)

    wait_until(lambda: sum_of_e1(at) == AFTER, 90, "sealing did not go on")


def sum_of_e1(at: Deployment) -> int:
    heads = lines(at, "audit", "heads", "--json")
    ours = [head for head in heads if f"/{at.decisions}/" in head["origin"]]
    return sum(head["size"] for head in ours if head["origin"].endswith("/e1"))


def verify_over_the_seam(at: Deployment) -> None:
    """Step 9: both epochs, from Kafka and from the archive, with the operator's key alone."""
    for topic in (at.decisions, at.operations, at.heads):
        check_intact(at, at.audit(topic))
        check_intact(at, f"{at.audit(topic)}.e1")
    wait_until(lambda: archived_e1(at) == AFTER, 60, "the next epoch was not archived")
    verdict = verified(at, str(at.folder / "archive"))
    ours = [log for log in verdict["logs"] if f"/{at.decisions}/" in log["origin"]]
    assert sum(log["size"] for log in ours) == BEFORE + AFTER
    assert not any(log["breaks"] for log in ours)


def archived_e1(at: Deployment) -> int:
    logs = at.folder / "archive" / "anchors" / "v1" / at.base / at.decisions
    notes = [[int(note.stem) for note in (log / "e1").glob("*.note")] for log in logs.glob("*")]
    return sum(max(sizes, default=0) for sizes in notes)


def check_intact(at: Deployment, topic: str, keys: str = "operator.vkey") -> None:
    verdict = verified(at, f"kafka://{at.bootstrap}/{topic}", keys)
    assert verdict["verdict"] == "intact", verdict


def verified(at: Deployment, source: str, keys: str = "operator.vkey") -> dict[str, Any]:
    done = at.run("verify", source, "--keys", str(at.folder / keys), "--json", check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def send(at: Deployment, first: int, count: int) -> None:
    file = at.folder / f"decisions-{first}.ndjson"
    chosen = list(decisions(first + count))[first:]
    file.write_bytes(b"\n".join(chosen) + b"\n")
    at.run("send", "--format", "cerbos", str(file))


def lines(at: Deployment, *arguments: str) -> list[dict[str, Any]]:
    done = at.run(*arguments, check=False)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
