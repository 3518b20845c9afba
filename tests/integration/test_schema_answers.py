"""Answers that several processes ask for: the first one sealed counts for all of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from projections.schema_answers.answers import AnswersWorld, SchemaAnswers
from projections.schema_answers.projection import LogAnswers
from schemas.catalogue import current_text
from schemas.codec import decode_schema_answer, encode_alert, encode_schema_answer
from schemas.errors import RejectedInput
from schemas.framing import ReferenceKind, SchemaReference, confluent_frame
from schemas.record_types import ALERT, DECISION, MUTATION
from schemas.records import Record
from schemas.schema_answers import Naming, SchemaAnswer
from streams.app import Deployment, SealingService, open_deployment
from streams.clock import SystemClock
from streams.errors import SettingsError, TransientError
from streams.ports import NewRecord
from streams.registry.confluent import RegistryAddress, RegistryPatience, opened_registry
from streams.settings import load_settings
from streams.telemetry.health import Health
from tests.support.decision_log import EventLog
from tests.support.events import full_alert
from tests.support.local_registry import LocalRegistry
from tests.support.partitions import read_all
from tests.support.sealed_log import START_MS, batches_of

FAST = RegistryPatience(delays_s=(0.01,), total_timeout_s=0.5)
SEVEN = SchemaReference(ReferenceKind.ID, b"\0\0\0\7")


@pytest.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[Deployment]:
    environment = {
        "ATTESTREAM_HOME": str(tmp_path / "home"),
        "ATTESTREAM_ORIGIN": "test.example/answers",
        "AUDIT_SIGNING_PRIVATE_KEY": "21" * 32,
    }
    async with open_deployment(load_settings(environment), Health(), SystemClock()) as opened:
        yield opened


@asynccontextmanager
async def sealing(deployment: Deployment) -> AsyncIterator[None]:
    task = asyncio.create_task(SealingService(deployment).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def process(deployment: Deployment, *urls: str) -> SchemaAnswers:
    """The answers of one more process of the deployment."""
    address = RegistryAddress(urls=urls)
    return SchemaAnswers(
        AnswersWorld(
            engine=deployment.engine,
            keys=deployment.keys,
            clock=deployment.clock,
            open_registry=(lambda: opened_registry(address, FAST)) if urls else None,
        )
    )


async def recorded(deployment: Deployment) -> list[SchemaAnswer]:
    reader = deployment.engine.reader(deployment.engine.topology.operations, 0)
    return [decode_schema_answer(record) for record in await read_all(reader)]


def name_of(answers: SchemaAnswers, reference: SchemaReference = SEVEN) -> str | None:
    schema = answers.find(reference)
    return None if schema is None else schema.name


async def test_two_that_ask_at_once_go_by_what_was_sealed_first(deployment: Deployment) -> None:
    one, other = LocalRegistry(), LocalRegistry()
    for number in range(1, 8):
        one.schemas[number] = {"schema": current_text("authorization_decision")}
        other.schemas[number] = {"schema": current_text("memory_mutation")}
    async with sealing(deployment), one.running() as url, other.running() as elsewhere:
        asking = process(deployment, url), process(deployment, elsewhere)
        await asyncio.gather(*(answers.know([SEVEN]) for answers in asking))
        found = {name_of(answers) for answers in asking}
        assert len(found) == 1
        assert found <= {DECISION, MUTATION}
        late = process(deployment)
        await late.know([SEVEN])
        assert {name_of(late)} == found


async def test_an_answer_counts_once_it_is_sealed_and_is_asked_for_once(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.schema_answers.answers.SEALED_S", 0.2)
    server = LocalRegistry()
    server.schemas[7] = {"schema": current_text("authorization_decision")}
    async with server.running() as url:
        answers = process(deployment, url)
        for _ in range(3):
            with pytest.raises(TransientError, match="id 7 is recorded and not sealed yet"):
                await answers.know([SEVEN])
            assert name_of(answers) is None
        assert len(await recorded(deployment)) == server.asked["GET /schemas/ids/7"] == 1
        monkeypatch.undo()
        async with sealing(deployment):
            await answers.know([SEVEN])
        assert name_of(answers) == DECISION


async def test_what_was_answered_is_kept_while_the_rest_waits(deployment: Deployment) -> None:
    server = LocalRegistry()
    number = server.put(current_text("authorization_decision"))
    known = SchemaReference(ReferenceKind.ID, number.to_bytes(4, "big"))
    async with sealing(deployment), server.running() as url:
        answers = process(deployment, url)
        server.schemas[7] = {"schemaType": "AVRO"}
        with pytest.raises(TransientError, match="without a schema"):
            await answers.know([known, SEVEN])
        assert name_of(answers, known) == DECISION
        assert [answer.about for answer in await recorded(deployment)] == [known]


async def test_what_is_no_answer_in_the_operations_changes_nothing(deployment: Deployment) -> None:
    first = SchemaAnswer(kind=Naming.ID, reference=SEVEN.value, text='"string"')
    second = SchemaAnswer(
        kind=Naming.ID, reference=SEVEN.value, text=current_text("authorization_decision")
    )
    values = [
        b"attestream.operation/key-added/v1\n",
        b"\xc3\x01" + bytes(40),
        encode_schema_answer(first),
        encode_schema_answer(second),
    ]
    async with sealing(deployment):
        async with deployment.engine.sink(deployment.engine.topology.operations) as sink:
            for value in values:
                await sink.send(NewRecord(1, value))
        answers = process(deployment)
        async with asyncio.timeout(20):
            while name_of(answers) is None:
                await asyncio.sleep(0.05)
                await answers.know([SEVEN])
        assert name_of(answers) == ""


async def test_a_log_reads_what_it_admitted_whatever_others_know(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.schema_answers.fold.REFERENCES_FIRST", 1)
    server = LocalRegistry()
    for number in (7, 8):
        server.schemas[number] = {"schema": current_text("authorization_decision")}
    values = [(START_MS, confluent_frame(number, b"x")) for number in (7, 8)]
    batches = list(batches_of(EventLog.sealed(values, [1, 1])))
    eight = SEVEN._replace(value=b"\0\0\0\x08")
    async with sealing(deployment), server.running() as url:
        answers = process(deployment, url)
        await answers.know([eight])
        for _ in range(2):
            log = LogAnswers(answers)
            for batch in batches:
                await log.prepare(batch)
            assert (log.find(SEVEN) is None, log.find(eight) is None) == (False, True)
        assert server.asked["GET /schemas/ids/8"] == 1


async def test_the_id_of_a_derived_topic_is_recorded_before_it_is_used(
    deployment: Deployment,
) -> None:
    server = LocalRegistry()
    async with sealing(deployment):
        async with server.running() as url:
            number = await process(deployment, url).id_of("attestream.alerts", ALERT)
            assert server.subjects == {"attestream.alerts-value": [number]}
        # The registry is gone.
        assert await process(deployment, url).id_of("attestream.alerts", ALERT) == number
        assert await process(deployment).id_of("attestream.alerts", ALERT) is None
        reader = process(deployment)
        framed = Record(0, 0, None, encode_alert(full_alert(), number))
        await reader.learn([framed, Record(0, 0, None, b"junk")])
        assert number is not None
        assert name_of(reader, SchemaReference(ReferenceKind.ID, number.to_bytes(4, "big"))) == (
            ALERT
        )


async def test_nothing_is_framed_by_an_id_that_would_not_be_read_back(
    deployment: Deployment,
) -> None:
    server = LocalRegistry()
    lookalike = current_text("anomaly_alert").replace("timestamp-micros", "timestamp-millis")
    first = server.put(lookalike)
    async with sealing(deployment), server.running() as url:
        answers = process(deployment, url)
        await answers.know([SchemaReference(ReferenceKind.ID, first.to_bytes(4, "big"))])
        number = await answers.id_of("attestream.alerts", ALERT)
        assert number not in {None, first}


async def test_what_a_derived_topic_holds_makes_nobody_ask(deployment: Deployment) -> None:
    server = LocalRegistry()
    server.put(current_text("anomaly_alert"))
    async with sealing(deployment), server.running() as url:
        answers = process(deployment, url)
        await answers.learn([Record(0, 0, None, encode_alert(full_alert(), 1))])
        assert (server.asked.total(), await recorded(deployment)) == (0, [])


async def test_another_registry_than_before_is_refused(deployment: Deployment) -> None:
    before, after = LocalRegistry(), LocalRegistry()
    number = before.put(current_text("memory_mutation"))
    reference = SchemaReference(ReferenceKind.ID, number.to_bytes(4, "big"))
    async with sealing(deployment):
        async with before.running() as url:
            await process(deployment, url).know([reference])
        async with after.running() as url:
            with pytest.raises(SettingsError, match="another registry than before"):
                await process(deployment, url).id_of("attestream.alerts", ALERT)


async def test_a_wrong_answer_of_a_wrong_shape_is_not_recorded(deployment: Deployment) -> None:
    with pytest.raises(RejectedInput):
        encode_schema_answer(SchemaAnswer(kind=Naming.GUID, reference=SEVEN.value))
    assert await recorded(deployment) == []
