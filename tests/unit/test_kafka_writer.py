"""What a writer does without a cluster: refuse what it could only falsify."""

import pytest
from aiokafka.producer import sender

from streams.errors import OutcomeUnknownError
from streams.kafka.connection import KafkaConnection
from streams.kafka.writer import KafkaPartitionWriter, shorten_backoff, transactional_id_of
from streams.ports import NewRecord


def test_a_writer_is_named_after_what_it_protects() -> None:
    assert transactional_id_of("audit.a", 3) == "attestream/audit.a/3"


def test_the_wait_after_a_transaction_is_shortened_from_the_value_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sender, "BACKOFF_OVERRIDE", 0.02)
    shorten_backoff()
    assert sender.BACKOFF_OVERRIDE == 0.001


def test_a_wait_of_another_value_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "BACKOFF_OVERRIDE", 0.05)
    shorten_backoff()
    assert sender.BACKOFF_OVERRIDE == 0.05


async def test_a_writer_that_was_not_started_writes_nothing() -> None:
    writer = KafkaPartitionWriter(KafkaConnection(bootstrap="localhost:1"), "t", 0)
    with pytest.raises(OutcomeUnknownError):
        await writer.append([NewRecord(0, b"v")])
    with pytest.raises(OutcomeUnknownError):
        await writer.confirm()
    await writer.close()
