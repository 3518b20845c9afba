"""Each role under its own user, with exactly the rights docs/reference/acls.md gives it.

Some users have a password (SASL_SSL, SCRAM), some a certificate (mutual TLS): a deployment works
over either, or both.
"""

import json
import signal
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from projections.cli.demo_data import decisions, memories, text_vector
from projections.roles import ALL_ROLES
from schemas.ocsf import sealed_as
from streams.app import kafka_connection
from streams.audit.note import Vkey
from streams.errors import AttestreamError
from streams.kafka.connection import KafkaConnection
from streams.kafka.producer import KafkaEventSink
from streams.kafka.reader import KafkaPartitionReader
from streams.ports import NewRecord
from streams.settings import load_settings
from tests.support.acl_commands import Grant, grants
from tests.support.deployment import Deployment, wait_until
from tests.support.independent import count, read_all
from tests.support.secure_kafka import SecureKafka

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "acls.md"
GRANTS = grants(PAGE.read_text(encoding="utf-8"))
CERTIFIED = ("operator", "archive", "memory", "tiles")
USERS = tuple(dict.fromkeys(grant.user for grant in GRANTS))
SOURCES = ("authz.decisions", "memory.mutations", "attestream.alerts")
EVENTS, BAD, MEMORIES = 400, 2, 14
pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.usefixtures("closed_connections"),
]


@pytest.fixture(scope="module")
def deployment(
    secure_kafka: SecureKafka, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Topics under the names of the page, made by the operator."""
    secure_kafka.add_users(*USERS)
    secure_kafka.allow(GRANTS)
    tuning = {"ATTESTREAM_WARM_UP": "50", "ATTESTREAM_RISK_THRESHOLD": "0.5"}
    folder = tmp_path_factory.mktemp("least-rights")
    made = Deployment(secure_kafka.bootstrap, folder, partitions=2, extra=tuning, prefix="")
    operator = as_user(secure_kafka, made, "operator")
    operator.run("topics", "apply", "--partitions", "1")
    assert operator.run("topics", "apply", "--partitions", "2").stdout == (
        "every topic is as declared\n"
    )
    try:
        yield made
    finally:
        made.__exit__()


def as_user(secured: SecureKafka, deployment: Deployment, user: str) -> Deployment:
    return replace(deployment, extra=deployment.extra | settings(secured, user))


def settings(secured: SecureKafka, user: str) -> dict[str, str]:
    return secured.as_certified(user) if user in CERTIFIED else secured.as_sasl(user)


def connection(secured: SecureKafka, user: str) -> KafkaConnection:
    return kafka_connection(load_settings(settings(secured, user)))


def test_the_page_gives_rights_to_every_role() -> None:
    assert set(USERS) == {*ALL_ROLES, "producer", "auditor", "operator"}


def test_each_role_works_with_its_rights_alone(
    secure_kafka: SecureKafka, deployment: Deployment
) -> None:
    workers = {
        role: as_user(secure_kafka, deployment, role).start_worker(role) for role in ALL_ROLES
    }
    send_events(as_user(secure_kafka, deployment, "producer"))
    wait_until(lambda: all(worker.ready() for worker in workers.values()), 60, "not ready")
    auditor = as_user(secure_kafka, deployment, "auditor")
    due = {"authz.decisions": EVENTS + BAD, "memory.mutations": MEMORIES, "attestream.alerts": 1}
    wait_until(
        lambda: all(deployment.archived(source) >= number for source, number in due.items()),
        60,
        "not everything was sealed and archived",
    )
    heads = [json.loads(h) for h in auditor.run("audit", "heads", "--json").stdout.splitlines()]
    assert sum(h["size"] for h in heads if "/authz.decisions/" in h["origin"]) == EVENTS + BAD
    assert auditor.run("alerts", "tail", "--json").stdout.splitlines()
    letters = [read_all(deployment.bootstrap, "dead-letters.authz.decisions", p) for p in (0, 1)]
    assert sum(map(len, letters)) == BAD
    findings = [read_all(deployment.bootstrap, f"{deployment.alerts}.ocsf", p) for p in (0, 1)]
    assert all(sealed_as(row.value() or b"") for row in [*findings[0], *findings[1]])
    assert any(findings)
    check_logs(secure_kafka, deployment)
    check_search(workers["index"].port, workers["memory"].port)
    assert deployment.end_all(signal.SIGTERM) == {0}
    for worker in workers.values():
        assert "uthorizationFailed" not in worker.log.read_text()


def test_an_agent_that_is_not_let_in_holds_up_no_sealing(
    secure_kafka: SecureKafka, tmp_path: Path
) -> None:
    made = Deployment(secure_kafka.bootstrap, tmp_path)
    user = "no-agent"
    secure_kafka.add_users(user)
    secure_kafka.allow(
        [Grant(user, kind, "*", "LITERAL", "ALL") for kind in ("TOPIC", "TRANSACTIONAL_ID")]
        + [Grant(user, "GROUP", "attestream/", "PREFIXED", "READ")]
        + [
            Grant(user, "GROUP", f"{made.prefix}attestream.{role}", "LITERAL", "READ")
            for role in ("sealer", "index", "archive")
        ]
    )
    with made:
        worker = as_user(secure_kafka, made, user).start_worker("sealer,index,archive")
        made.produce(made.decisions, [b"sealed all the same"])
        wait_until(lambda: made.archived(made.decisions) == 1, 60, "not sealed and archived")
        wait_until(lambda: len(worker.status()["problems"]) == 1, 30, "more than the agent waits")
        assert f"{made.prefix}attestream.faust" in worker.status()["problems"][0]
        assert worker.end(signal.SIGTERM) == 0


def check_logs(secured: SecureKafka, deployment: Deployment) -> None:
    """By the auditor, now with a certificate, and by a second opinion."""
    keys = deployment.folder / "keys.txt"
    keys.write_text(f"{Vkey(deployment.base, 1, deployment.public_key).render()}\n")
    access = secured.as_certified("auditor")
    auditor = replace(deployment, extra=deployment.extra | access)
    topics = [deployment.audit(source) for source in SOURCES]
    addresses = [f"kafka://{access['KAFKA_BOOTSTRAP_SERVERS']}/{topic}" for topic in topics]
    assert "intact" in auditor.run("verify", *addresses, "--keys", str(keys)).stdout
    finding = json.loads(auditor.run("alerts", "tail", "--format", "ocsf").stdout.splitlines()[0])
    asked = ("alerts", "explain", finding["metadata"]["uid"], "--keys", str(keys), "--json")
    evidence = json.loads(auditor.run(*asked).stdout)["evidence"]
    assert (evidence["verdict"], evidence["signatures"]) == ("intact", "checked")
    for source in SOURCES:
        for partition in range(deployment.partitions):
            names = (source, deployment.audit(source))
            count(deployment.bootstrap, names, partition, deployment.public_key)


def send_events(producer: Deployment) -> None:
    written = {
        "cerbos": producer.folder / "decisions.ndjson",
        "memories-jsonl": producer.folder / "memories.jsonl",
    }
    written["cerbos"].write_bytes(b"\n".join(decisions(EVENTS)) + b"\n")
    written["memories-jsonl"].write_bytes(b"\n".join(memories()) + b"\n")
    for form, path in written.items():
        producer.run("send", "--format", form, "--tenant", "clinic", str(path))
    producer.produce(producer.decisions, [b"no event", b"none either"])


def check_search(index: int, memory: int) -> None:
    """The index is asked for what the memory role holds, and the other way round."""
    vector = text_vector("Portuguese patients")
    question = {"tenant": "clinic", "namespace": "assistant", "vector": vector, "k": 1}
    (found,) = searched(index, "memory", question)
    assert "Portuguese" in found["metadata"]
    nearest = searched(memory, "decisions", {"tenant": "clinic", "principal": "noor", "k": 1})
    assert [hit["principal"] for hit in nearest] == ["noor"]


def searched(port: int, kind: str, question: dict[str, Any]) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{port}/v1/search/{kind}"
    with urllib.request.urlopen(url, data=json.dumps(question).encode(), timeout=15) as answer:
        hits: list[dict[str, Any]] = json.load(answer)["hits"]
    return hits


def may(user: str, operation: str, topic: str) -> bool:
    return Grant(user, "TOPIC", topic, "LITERAL", operation) in GRANTS


@pytest.mark.parametrize("user", USERS)
async def test_nobody_writes_what_is_not_theirs(
    secure_kafka: SecureKafka, deployment: Deployment, user: str
) -> None:
    ours = [deployment.audit(source) for source in SOURCES] + [deployment.alerts]
    ours += [f"dead-letters.{source}" for source in SOURCES] + [deployment.heads]
    ours += [f"{deployment.alerts}.ocsf"]
    writable = []
    for topic in [*SOURCES[:2], *ours]:
        if may(user, "WRITE", topic):
            writable.append(topic)
            continue
        with pytest.raises(AttestreamError, match=r"uthorizationFailed"):
            async with KafkaEventSink(connection(secure_kafka, user), topic) as sink:
                await sink.send(NewRecord(1, b"forged"))
    writers = {"sealer": 4, "index": 1, "dead-letters": 3, "producer": 2, "ocsf": 1}
    assert len(writable) == writers.get(user, 0)


@pytest.mark.parametrize("user", USERS)
async def test_nobody_reads_what_is_not_theirs(
    secure_kafka: SecureKafka, deployment: Deployment, user: str
) -> None:
    for topic in [*SOURCES, *(deployment.audit(source) for source in SOURCES)]:
        reader = KafkaPartitionReader(connection(secure_kafka, user), topic, 0)
        try:
            if may(user, "READ", topic):
                await reader.fetch(0, max_records=1, max_wait_ms=0)
            else:
                with pytest.raises(AttestreamError, match=r"uthorizationFailed"):
                    await reader.fetch(0, max_records=1, max_wait_ms=0)
        finally:
            await reader.close()
