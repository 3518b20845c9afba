"""Two workers, each with a part of the indexes: whoever is asked answers for both, or says why."""

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from projections.cli.demo_data import decisions, memories, text_vector
from tests.support.deployment import Deployment, Worker, wait_until
from tests.support.kafka_broker import KafkaBroker

EVENTS, MEMORIES, REMEMBERED, PARTITIONS, HITS = 300, 14, 11, 2, 20
pytestmark = [pytest.mark.integration, pytest.mark.slow]
NOOR = {"tenant": "clinic", "principal": "noor", "k": HITS}
ODD = {**NOOR, "resource_kind": "chart", "action": "burn", "explain": True}
ODD_ASKED = ("--principal", "noor", "--kind", "chart", "--action", "burn", "--explain")
WARD = {
    "tenant": "clinic",
    "namespace": "assistant",
    "vector": text_vector("visitors may come to the ward"),
    "k": HITS,
}


@pytest.fixture
def deployment(kafka: KafkaBroker, tmp_path: Path) -> Iterator[Deployment]:
    """Everything was sealed by the first worker, and both hold indexes."""
    with Deployment(kafka.bootstrap, tmp_path, partitions=PARTITIONS) as made:
        made.start_worker()
        made.start_worker("index,memory")
        files = {"cerbos": tmp_path / "decisions.ndjson", "memories-jsonl": tmp_path / "m.jsonl"}
        files["cerbos"].write_bytes(b"\n".join(decisions(EVENTS)) + b"\n")
        files["memories-jsonl"].write_bytes(b"\n".join(memories()) + b"\n")
        for form, file in files.items():
            made.run("send", "--format", form, "--tenant", "clinic", str(file))
        due = {made.decisions: EVENTS, made.memory: MEMORIES}
        wait_until(lambda: all(made.archived(t) == n for t, n in due.items()), 60, "not sealed")
        wait_until(lambda: all(len(logs(w)) == 1 for w in made.workers), 60, "one holds it all")
        wait_until(lambda: all(w.ready() for w in made.workers), 30, "not ready")
        yield made


def test_whoever_is_asked_answers_for_all_or_not_at_all(deployment: Deployment) -> None:
    first, second = deployment.workers
    wait_until(lambda: len(asked(first, "memory", WARD)[1]) == REMEMBERED, 20, "not all indexed")
    for kind, question in (("decisions", NOOR), ("memory", WARD)):
        status, hits = asked(first, kind, question)
        assert (status, hits) == asked(second, kind, question)
        assert {hit["origin"] for hit in hits} == origins(deployment, kind)
        ordered = [hit["similarity"] for hit in hits]
        assert ordered == sorted(ordered, reverse=True)
    found = search(deployment, second, "decisions", "--principal", "noor")
    whole = asked(first, "decisions", NOOR)
    assert [json.loads(line) for line in found.stdout.splitlines()] == whole[1]
    risks = asked(first, "decisions", ODD)
    assert risks == asked(second, "decisions", ODD)
    told = search(deployment, first, "decisions", *ODD_ASKED)
    assert [json.loads(line) for line in told.stdout.splitlines()] == risks[1][:1]
    assert 0 < risks[1][0]["risk"] < 1
    assert asked(second, "decisions", NOOR) == whole
    second.end(signal.SIGKILL)
    # Until the group has noticed, and the other half is read again, nobody has it.
    status, body = page(first, "/v1/search/decisions", json.dumps(NOOR).encode())
    assert status == 503
    assert "no worker answers for" in json.loads(body)["error"]
    wait_until(lambda: len(logs(first)) == PARTITIONS, 30, "nobody took over")
    wait_until(lambda: asked(first, "decisions", NOOR) == whole, 20, "not as before")


def test_pages_of_a_worker_say_what_stops_it(kafka: KafkaBroker, tmp_path: Path) -> None:
    with Deployment(kafka.bootstrap, tmp_path) as deployment:
        deployment.compact(deployment.memory)
        deployment.produce(deployment.decisions, [b"sealed all the same"])
        worker = deployment.start_worker("sealer")
        wait_until(lambda: stopped_parts(worker) == 1, 30, "nothing stops, or too much")
        status, body = page(worker, "/readyz")
        (problem,) = json.loads(body)["problems"]
        assert status == 503
        assert "cleanup.policy" in problem
        assert deployment.memory in problem
        status, body = page(worker, "/healthz")
        assert (status, json.loads(body)) == (200, {"alive": True})
        told = page(worker, "/metrics")[1]
        label = f'partition="0",reason="policy",role="sealer",topic="{deployment.memory}"'
        assert f"attestream_partition_stopped{{{label}}} 1.0" in told
        label = f'partition="0",topic="{deployment.decisions}"'
        sealed = f"attestream_sealed_records_total{{{label}}} 1.0"
        wait_until(lambda: sealed in page(worker, "/metrics")[1], 20, "the other is not sealed")
        assert page(worker, "/v1/search/decisions")[0] == 405
        assert worker.end(signal.SIGTERM) == 0


def stopped_parts(worker: Worker) -> int:
    """How many parts are stopped, once all others run; else 0."""
    states = [part["state"] for part in worker.status().get("parts", [])]
    return states.count("stopped") if set(states) == {"stopped", "running"} else 0


def search(deployment: Deployment, worker: Worker, *question: str) -> Any:
    url = {"ATTESTREAM_URL": f"http://127.0.0.1:{worker.port}"}
    asker = replace(deployment, extra=deployment.extra | url)
    arguments = (*question, "--tenant", "clinic", "-k", str(HITS), "--json")
    return asker.run("search", *arguments, check=False)


def asked(worker: Worker, kind: str, question: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    status, body = page(worker, f"/v1/search/{kind}", json.dumps(question).encode())
    return status, json.loads(body)["hits"] if status == 200 else []


def origins(deployment: Deployment, kind: str) -> set[str]:
    source = {"decisions": deployment.decisions, "memory": deployment.memory}[kind]
    return {deployment.origin(source, partition) for partition in range(PARTITIONS)}


def logs(worker: Worker) -> list[str]:
    """The decision logs whose indexes this worker holds."""
    status, body = page(worker, "/v1/search/decisions", b'{"local": true}')
    found: list[str] = json.loads(body)["logs"] if status == 200 else []
    return found


def page(worker: Worker, path: str, data: bytes | None = None) -> tuple[int, str]:
    try:
        url = f"http://127.0.0.1:{worker.port}{path}"
        with urllib.request.urlopen(url, data=data, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""
