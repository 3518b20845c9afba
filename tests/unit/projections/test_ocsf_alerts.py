"""Sealed alerts as findings: each published once, naming its leaf; what is no alert is passed."""

import json
from dataclasses import replace
from typing import Any

import pytest

from projections.ocsf_alerts.fold import finding_of
from projections.ocsf_alerts.projection import OcsfAlerts, OcsfAlertsWorld
from projections.ports import SealedBatch, SealedRecord
from schemas.audit_values import encode_content
from schemas.codec import decode_alert, encode_alert, encode_event
from schemas.ocsf import alert_in, detection_finding, fingerprint_of, sealed_as
from schemas.records import Record, Source
from streams.errors import OutcomeUnknownError, TransientError
from streams.ports import NewRecord
from tests.support.decision_log import EventLog
from tests.support.events import full_alert, full_decision
from tests.support.output_partition import OutputPartition
from tests.support.sealed_log import ORIGIN, START_MS, batches_of

JUNK = (None, b"", b"junk", encode_event(full_decision()))
COUNT = 60


def value(number: int) -> bytes | None:
    """An alert, or at every seventh place something that is none."""
    if number % 7 == 3:
        return JUNK[number % len(JUNK)]
    return encode_alert(replace(full_alert(), alert_id=f"alert-{number}"))


ALERTS = [i for i in range(COUNT) if i % 7 != 3]
BATCHES = list(
    batches_of(EventLog.sealed([(START_MS + i, value(i)) for i in range(COUNT)], [4, 10, 21, 10]))
)


async def follow(output: OutputPartition, batches: list[SealedBatch]) -> None:
    for _ in range(10):
        world = OcsfAlertsWorld(
            make_writer=output.writer, make_reader=output.reader, decode=decode_alert
        )
        findings = OcsfAlerts(world, ORIGIN)
        try:
            assert await findings.resume() == (0, None, None)
            for batch in batches:
                await findings.apply(batch)
            await findings.idle()
        except OutcomeUnknownError:
            await findings.close()
        else:
            await findings.close()
            return
    raise AssertionError("it never got through")


def published(output: OutputPartition) -> list[dict[str, Any]]:
    return [json.loads(record.value or b"") for record in output.records]


@pytest.mark.parametrize("fate", ["lost", "applied"])
async def test_each_sealed_alert_is_published_exactly_once(fate: str) -> None:
    for append in (1, 2, 3):
        output = OutputPartition()
        output.faults = {append: fate, append + 1: fate}
        await follow(output, BATCHES[:2])
        await follow(output, BATCHES)
        leaves = [sealed_as(record.value or b"") for record in output.records]
        assert leaves == [(ORIGIN, index) for index in ALERTS]
        assert [record.timestamp for record in output.records] == [START_MS + i for i in ALERTS]
        assert [one["metadata"]["uid"] for one in published(output)] == [
            f"alert-{index}" for index in ALERTS
        ]


async def test_what_others_wrote_there_does_not_count_as_ours() -> None:
    output = OutputPartition()
    await follow(output, BATCHES[:2])
    foreign = json.dumps({"metadata": {"original_event_uid": "another/log/0/999"}}).encode()
    writer = output.writer()
    await writer.start()
    await writer.append([NewRecord(0, foreign), NewRecord(0, b"junk")])
    await follow(output, BATCHES)
    leaves = [sealed_as(record.value or b"") for record in output.records]
    assert [leaf for leaf in leaves if leaf and leaf[0] == ORIGIN] == [
        (ORIGIN, index) for index in ALERTS
    ]


def sealed(content: bytes) -> SealedRecord:
    source = Source("attestream.alerts", 0, 5, START_MS)
    return SealedRecord(9, source, content, bytes(32), Record(5, START_MS, None, None))


def test_a_finding_says_what_the_alert_says_and_where_it_is_sealed() -> None:
    content = encode_content(Record(5, START_MS, None, encode_alert(full_alert())))
    encoded = finding_of(ORIGIN, sealed(content), decode_alert)
    assert encoded is not None
    finding = json.loads(encoded)
    assert finding["metadata"]["original_event_uid"] == f"{ORIGIN}/9"
    assert alert_in(finding).evidence == full_alert().evidence
    (attestation,) = finding["attestation_list"]
    assert fingerprint_of(finding) == attestation["fingerprint"]["value"]
    assert fingerprint_of(finding) != fingerprint_of(detection_finding(full_alert()))


@pytest.mark.parametrize(
    "content",
    [
        *(encode_content(Record(5, START_MS, None, junk)) for junk in JUNK),
        b"\x02\x06key\x0asecret"[:-1],
        b"\xff",
    ],
    ids=["no value", "empty", "junk", "decision", "encrypted", "no content"],
)
def test_what_is_no_alert_becomes_no_finding(content: bytes) -> None:
    assert finding_of(ORIGIN, sealed(content), decode_alert) is None


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"[]",
        b"5",
        b"{}",
        b'{"metadata": 1}',
        b'{"metadata": {"original_event_uid": "no-index"}}',
        b'{"metadata": {"original_event_uid": "a/-1"}}',
        b'{"metadata": {"original_event_uid": 7}}',
        b'{"metadata": {"original_event_uid": "a/' + b"9" * 5000 + b'"}}',
        b"[" * 100_000,
        b"\xff",
    ],
    ids=lambda junk: repr(junk[:24]),
)
def test_what_names_no_leaf_is_nobodys(junk: bytes) -> None:
    assert sealed_as(junk) is None


async def test_a_finding_of_a_leaf_that_the_log_does_not_have_is_noticed() -> None:
    output = OutputPartition()
    await follow(output, BATCHES)
    with pytest.raises(TransientError, match="speaks of leaf"):
        await follow(output, BATCHES[:2])
