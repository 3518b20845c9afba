"""The main job on real parts: Cerbos decisions in, a kill in the middle, everything proved after.

A real Kafka broker, a real S3 server with Object Lock, workers as processes, only the command
line: what a deployment does, and what an auditor does with what it left behind.
"""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

import attestream
from projections.cli.demo_data import ODD, decisions
from schemas.codec import decode_alert
from schemas.records import Record
from tests.support.deployment import Deployment, wait_until
from tests.support.independent import count, read_all
from tests.support.kafka_broker import KafkaBroker
from tests.support.s3_fixtures import S3Server

COUNT = 4000
pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_decisions_become_proof_alerts_and_locked_segments(
    kafka: KafkaBroker, s3_server: S3Server, locked_bucket: str, tmp_path: Path
) -> None:
    settings = {
        "ATTESTREAM_ARCHIVE": f"s3://{locked_bucket}/deployment",
        "S3_ENDPOINT": s3_server.endpoint,
        "S3_ACCESS_KEY": s3_server.access_key,
        "S3_SECRET": s3_server.secret,
        "ATTESTREAM_RETENTION_DAYS": "1",
        "ATTESTREAM_RETENTION_FLOOR_DAYS": "1",
        "ATTESTREAM_SEGMENT_RECORDS": "500",
    }
    with Deployment(kafka.bootstrap, tmp_path, partitions=2, extra=settings) as deployment:
        send_through_a_kill(deployment, tmp_path)
        keys = tmp_path / "keys.txt"
        keys.write_text(deployment.run("keys", "show").stdout)
        check_log(deployment)
        check_alerts(deployment, keys.read_text())
        check_archive(deployment, s3_server, locked_bucket)
        check_verdicts(deployment, keys, tmp_path)


def send_through_a_kill(deployment: Deployment, folder: Path) -> None:
    lines = list(decisions(COUNT))
    halves = folder / "first.ndjson", folder / "second.ndjson"
    halves[0].write_bytes(b"\n".join(lines[: COUNT // 2]) + b"\n")
    halves[1].write_bytes(b"\n".join(lines[COUNT // 2 :]) + b"\n")
    victim, _other = deployment.start_worker(), deployment.start_worker()
    deployment.run("send", "--format", "cerbos", "--tenant", "clinic", str(halves[0]))
    wait_until(lambda: sizes(deployment) > COUNT // 8, 60, "nothing was sealed")
    victim.end(signal.SIGKILL)
    deployment.run("send", "--format", "cerbos", "--tenant", "clinic", str(halves[1]))
    deployment.start_worker()
    wait_until(lambda: sizes(deployment) == COUNT, 90, "not everything was sealed")
    wait_until(lambda: anchored(deployment) >= COUNT, 60, "not everything was archived")


def heads(deployment: Deployment) -> list[dict[str, Any]]:
    lines = deployment.run("audit", "heads", "--json").stdout.splitlines()
    return [
        head
        for line in lines
        if f"/{deployment.decisions}/" in (head := json.loads(line))["origin"]
    ]


def sizes(deployment: Deployment) -> int:
    return sum(head["size"] for head in heads(deployment))


def anchored(deployment: Deployment) -> int:
    return sum(head["anchored"] or 0 for head in heads(deployment))


def check_log(deployment: Deployment) -> None:
    names = (deployment.decisions, deployment.audit(deployment.decisions))
    counted = [
        count(deployment.bootstrap, names, partition, deployment.public_key)
        for partition in range(deployment.partitions)
    ]
    assert sum(c.source for c in counted) == sum(c.sealed for c in counted) == COUNT


def check_alerts(deployment: Deployment, keys: str) -> None:
    found = [
        decode_alert(Record(m.offset(), 0, None, m.value()))
        for partition in range(deployment.partitions)
        for m in read_all(deployment.bootstrap, deployment.alerts, partition)
    ]
    ids = [alert.alert_id for alert in found]
    assert len(ids) == len(set(ids)), "an alert was published twice"
    # Each partition learns for itself, so some odd ones fall into its warm-up.
    assert {a.decision.principal for a in found} & {principal for _, principal, *_ in ODD}
    for alert in found:
        text = attestream.verify_evidence(alert.evidence[0], keys=keys)
        assert text.size > alert.evidence[0].index
    told = deployment.run("alerts", "tail", "--json").stdout.splitlines()
    assert {json.loads(line)["alert_id"] for line in told} == set(ids)


def check_archive(deployment: Deployment, server: S3Server, bucket: str) -> None:
    client = server.client()
    objects = client.list_object_versions(Bucket=bucket)["Versions"]
    # The published tiles' newest checkpoint is replaced; what is archived never is.
    listed = [version for version in objects if "/tiles/" not in version["Key"]]
    segments = [version for version in listed if version["Key"].endswith(".avro")]
    assert len(segments) >= deployment.partitions
    assert len({version["Key"] for version in listed}) == len(listed), "a name has two versions"
    for version in segments[:2]:
        with pytest.raises(ClientError):
            client.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])


def check_verdicts(deployment: Deployment, keys: Path, folder: Path) -> None:
    anchors: list[str] = []
    for partition in range(deployment.partitions):
        origin = deployment.origin(deployment.decisions, partition)
        note, export = folder / f"anchor-{partition}.note", folder / f"export-{partition}.avro"
        note.write_text(deployment.run("audit", "checkpoint", origin).stdout)
        deployment.run("audit", "export", origin, "-o", str(export))
        anchors += ["--anchor", str(note)]
    trust = ["--keys", str(keys), *anchors, "--json"]
    topic = deployment.audit(deployment.decisions)
    sources = (
        f"kafka://{deployment.bootstrap}/{topic}",
        deployment.extra["ATTESTREAM_ARCHIVE"],
        str(folder / "export-0.avro"),
    )
    for source in sources:
        verdict = json.loads(deployment.run("verify", source, *trust).stdout)
        ours = [log for log in verdict["logs"] if f"/{deployment.decisions}/" in log["origin"]]
        assert verdict["verdict"] == "intact"
        assert {log["anchored"] for log in ours} == {"checked"}
    check_changed_byte(deployment, folder, trust)


def check_changed_byte(deployment: Deployment, folder: Path, trust: list[str]) -> None:
    """One byte of one record, in a copy of the export that any Avro tool would still read."""
    import fastavro

    source, changed, victim = folder / "export-0.avro", folder / "changed.avro", 1234
    with source.open("rb") as file:
        reader = fastavro.reader(file)
        rows, schema, metadata = list(reader), reader.writer_schema, reader.metadata
    at = next(
        i
        for i, row in enumerate(rows)
        if row["value"][:4] == b"\xc3\x01\x31\x93" and index_of(row["value"]) == victim
    )
    value = bytearray(rows[at]["value"])
    value[len(value) // 2] ^= 1
    rows[at]["value"] = bytes(value)
    kept = {k: v for k, v in metadata.items() if k.startswith("attestream.")}
    marker = source.read_bytes()[-16:]
    with changed.open("wb") as file:
        fastavro.writer(file, schema, rows, codec="deflate", sync_marker=marker, metadata=kept)
    done = deployment.run("verify", str(changed), *trust, check=False)
    (found,) = json.loads(done.stdout)["logs"][0]["breaks"][:1]
    assert (done.returncode, found["kind"], found["index"]) == (20, "altered", victim)


def index_of(value: bytes) -> int:
    number = shift = 0
    for byte in value[10:]:
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number >> 1
        shift += 7
    raise AssertionError("not a record")
