"""A topic deleted and made again on a real broker: its log is forked, and everything goes on."""

import json
import signal
from io import BytesIO
from pathlib import Path

import pytest

from projections.cli.demo_data import decisions
from schemas.sources import FORMATS, Options
from streams.intake.files import Ready, read_documents
from tests.support.damage import recreate
from tests.support.deployment import Deployment, wait_until
from tests.support.kafka_broker import KafkaBroker
from tests.support.operated import Operator

COUNT = 200
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.long]


def test_a_recreated_topic_is_forked_and_sealing_and_alerts_go_on(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    with Deployment(kafka.bootstrap, tmp_path, partitions=2) as at:
        at.extra |= {"ATTESTREAM_WARM_UP": "20", "ATTESTREAM_RISK_THRESHOLD": "0.4"}
        operator = Operator(at)
        origins = [at.origin(at.decisions, n) for n in (0, 1)]
        worker = at.start_worker()
        at.produce(at.decisions, decided(COUNT))
        wait_until(lambda: operator.size(origins[1]) == COUNT // 2, 60, "nothing was sealed")
        operator.order("keys", "add", operator.vkeys()[0])
        before = alerts(at)

        recreate(at, at.decisions, **{"retention.ms": "-1"})
        at.produce(at.decisions, decided(2 * COUNT))
        worker.end(signal.SIGTERM)
        worker = at.start_worker()
        wait_until(lambda: json.dumps(worker.status()).count("recreated") == 2, 60, "goes on")
        told = operator.order("audit", "fork", *origins)
        assert told.count("sent; ") == 2
        for origin in origins:
            wait_until(lambda o=origin: operator.size(f"{o}/e1") == COUNT, 60, "no next epoch")
        wait_until(worker.ready, 60, f"not ready: {worker.status()}")
        wait_until(lambda: {o for o, _ in alerts(at)} >= set(epochs(origins)), 60, "no alerts")
        at.produce(at.decisions, decided(COUNT))
        wait_until(lambda: operator.size(f"{origins[0]}/e1") == COUNT * 3 // 2, 60, "stops")

        found = alerts(at)
        assert found[: len(before)] == before or set(before) <= set(found)
        assert len(set(found)) == len(found)
        assert at.run("topics", "plan", "--replication", "1", check=False).stdout.count(".e1") == 0
        other = at.start_worker()  # the partitions move: nothing is sealed or published twice
        wait_until(other.ready, 60, f"not ready: {other.status()}")
        assert at.end_all(signal.SIGTERM) == {0}
        assert set(alerts(at)) >= set(found)
        assert len(set(alerts(at))) == len(alerts(at))
        verdict = operator.verdict(at.decisions)
        assert verdict["verdict"] == "intact"
        logs = {log["origin"]: log for log in verdict["logs"]}
        assert set(logs) == {*origins, *epochs(origins)}
        assert [logs[origin]["void_from"] for origin in origins] == [COUNT // 2] * 2
        assert sum(logs[origin]["size"] for origin in epochs(origins)) == 3 * COUNT


def decided(count: int) -> list[bytes]:
    """Decisions as `attestream send` sends them."""
    events = read_documents(
        BytesIO(b"\n".join(decisions(count))), FORMATS["cerbos"], Options(tenant="clinic")
    )
    return [event.value for event in events if isinstance(event, Ready)]


def epochs(origins: list[str]) -> list[str]:
    return [f"{origin}/e1" for origin in origins]


def alerts(at: Deployment) -> list[tuple[str, str]]:
    lines = at.run("alerts", "tail", "-n", "100000", "--json").stdout.splitlines()
    found = [json.loads(line) for line in lines]
    return [(one["evidence"][0]["origin"], one["alert_id"]) for one in found]
