"""A registry on a real broker: two workers, alerts by id, and the registry gone in the middle."""

import json
import signal
from pathlib import Path

import pytest

from schemas.catalogue import current_text
from schemas.codec import decode_schema_answer
from schemas.framing import confluent_frame
from schemas.records import Record
from tests.support.decision_log import habits
from tests.support.deployment import Deployment, wait_until
from tests.support.independent import read_all
from tests.support.kafka_broker import KafkaBroker
from tests.support.local_registry import LocalRegistry

pytestmark = [pytest.mark.integration, pytest.mark.slow]
COUNT = 200


def test_alerts_by_a_registrys_ids_go_on_when_it_is_gone(
    kafka: KafkaBroker, tmp_path: Path
) -> None:
    server = LocalRegistry(user_info="worker:right")
    number = server.put(current_text("authorization_decision"))
    singles = [value for _, value in habits(COUNT, 3) if value and value[0] == 0xC3]
    events: list[bytes | None] = [confluent_frame(number, value[10:]) for value in singles]
    settings = {
        "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO": "worker:right",
        "ATTESTREAM_WARM_UP": "20",
        "ATTESTREAM_RISK_THRESHOLD": "0.4",
    }
    with Deployment(kafka.bootstrap, tmp_path, extra=settings) as deployment:
        with server.beside() as url:
            deployment.extra["SCHEMA_REGISTRY_URL"] = url
            deployment.start_worker()
            deployment.start_worker("index,dead-letters,memory")
            deployment.produce(deployment.decisions, events[: COUNT // 2])
            wait_until(lambda: len(published(deployment)) > 2, 60, "no alerts")
            wait_until(lambda: all(w.ready() for w in deployment.workers), 30, "not ready")
        before = published(deployment)
        assert {value[:1] for value in before} == {b"\0"}
        for worker in deployment.workers:
            worker.end(signal.SIGKILL)
        deployment.start_worker()
        deployment.produce(deployment.decisions, events[COUNT // 2 :])
        wait_until(deployment.workers[-1].ready, 60, "not ready without the registry")
        wait_until(lambda: len(published(deployment)) > len(before), 60, "no more alerts")
        found = deployment.run("alerts", "tail", "-n", "1000", "--json").stdout.splitlines()
        ids = [json.loads(line)["alert_id"] for line in found]
        assert len(ids) == len(set(ids)) == len(published(deployment))
        assert dead_letters(deployment) == 0
        recorded = [
            decode_schema_answer(Record(m.offset(), 0, None, m.value()))
            for m in read_all(deployment.bootstrap, deployment.operations, 0)
        ]
        assert {answer.registry for answer in recorded} == {url}
        assert number in {int.from_bytes(answer.reference, "big") for answer in recorded}


def published(deployment: Deployment) -> list[bytes]:
    return [m.value() for m in read_all(deployment.bootstrap, deployment.alerts, 0)]


def dead_letters(deployment: Deployment) -> int:
    topic = f"{deployment.prefix}dead-letters.{deployment.decisions}"
    return len(list(read_all(deployment.bootstrap, topic, 0)))
