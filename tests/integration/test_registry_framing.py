"""Events framed by a registry's ids and GUIDs, through the embedded engine: the same for ever."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from projections.embedded import Pipeline, until_settled
from schemas.catalogue import current_text
from schemas.codec import decode_alert, decode_dead_letter, decode_schema_answer
from schemas.dead_letters import DeadLetter, Reason
from schemas.framing import SCHEMA_ID_HEADER, confluent_frame
from schemas.record_types import ALERT, DEAD_LETTER, RECORD_TYPES
from schemas.records import Header, Record
from schemas.schema_answers import SchemaAnswer
from streams.app import open_deployment, open_engine
from streams.clock import SystemClock
from streams.ports import NewRecord
from streams.settings import Settings, load_settings
from streams.telemetry.health import Health
from tests.support.decision_log import habits
from tests.support.local_registry import LocalRegistry
from tests.support.partitions import read_all
from tests.support.sealed_log import START_MS

T = TypeVar("T")
pytestmark = [pytest.mark.slow]
TEXT = current_text("authorization_decision")
KEY = "21" * 32
HEAD = 10  # bytes before the body of a single object


class Event(NamedTuple):
    """A value and its headers."""

    value: bytes
    headers: tuple[Header, ...] = ()


def settings_of(home: Path, url: str = "", **more: str) -> Settings:
    given = {
        "ATTESTREAM_HOME": str(home),
        "ATTESTREAM_ORIGIN": "test.example/registry",
        "AUDIT_SIGNING_PRIVATE_KEY": KEY,
        "ATTESTREAM_WARM_UP": "20",
        "ATTESTREAM_RISK_THRESHOLD": "0.4",
        "ATTESTREAM_SEGMENT_IDLE_S": "0.2",
        "SCHEMA_REGISTRY_URL": url,
    }
    return load_settings(given | more)


def plain(seed: int, count: int = 120) -> list[Event]:
    """Decisions as single objects, a few of them unreadable."""
    return [Event(value, ()) for _, value in habits(count, seed) if value is not None]


def framed(events: Sequence[Event], registry: LocalRegistry, number: int) -> list[Event]:
    """The same events in the three framings of a registry, by turns."""
    guid, said = registry.guid(number), []
    for turn, (value, headers) in enumerate(events):
        body = value[HEAD:]
        if not value.startswith(b"\xc3\x01"):
            said.append(Event(value, headers))
        elif turn % 3 == 0:
            said.append(Event(confluent_frame(number, body)))
        elif turn % 3 == 1:
            said.append(Event(b"\x01" + guid + body))
        else:
            said.append(Event(body, ((SCHEMA_ID_HEADER, b"\x01" + guid),)))
    return said


async def send(settings: Settings, events: Sequence[Event]) -> None:
    async with (
        open_engine(settings, create=True) as engine,
        engine.sink(settings.decisions_topic) as sink,
    ):
        for number, (value, headers) in enumerate(events):
            await sink.send(NewRecord(START_MS + number, value, None, headers))


async def run_once(settings: Settings) -> None:
    health = Health()
    async with open_deployment(settings, health, SystemClock()) as deployment:
        await asyncio.wait_for(until_settled(Pipeline(deployment), health), 60)


async def values_of(settings: Settings, topic: str) -> list[bytes]:
    async with open_engine(settings) as engine:
        return [record.value or b"" for record in await read_all(engine.reader(topic, 0))]


def decoded(decode: Callable[[Record], T], values: Sequence[bytes]) -> list[T]:
    """Derived records in either framing, read without any registry."""
    objects = {ALERT: decode_alert, DEAD_LETTER: decode_dead_letter}
    name = next(name for name, known in objects.items() if known is decode)
    head = b"\xc3\x01" + RECORD_TYPES[name].fingerprint
    return [
        decode(Record(0, 0, None, head + value[5:] if value[0] == 0 else value))
        for value in values
    ]


async def alert_ids(settings: Settings) -> list[str]:
    found = decoded(decode_alert, await values_of(settings, "attestream.alerts"))
    return [alert.alert_id for alert in found]


async def letters(settings: Settings) -> list[DeadLetter]:
    return decoded(decode_dead_letter, await values_of(settings, "dead-letters.authz.decisions"))


async def answers(settings: Settings) -> list[SchemaAnswer]:
    values = await values_of(settings, "attestream.operations")
    return [decode_schema_answer(Record(0, 0, None, v)) for v in values if v[:1] == b"\xc3"]


async def straight(folder: Path, events: Sequence[Event]) -> list[str]:
    """The alerts of the same events as single objects, with no registry in sight."""
    settings = settings_of(folder / "straight")
    await send(settings, events)
    await run_once(settings)
    ids = await alert_ids(settings)
    assert len(ids) > 4
    return ids


async def test_every_framing_of_a_registry_says_what_a_single_object_says(tmp_path: Path) -> None:
    server, events = LocalRegistry(), plain(3)
    number = server.put(TEXT)
    async with server.running() as url:
        settings = settings_of(tmp_path / "home", url)
        await send(settings, framed(events, server, number))
        await run_once(settings)
    assert await alert_ids(settings) == await straight(tmp_path, events)
    published = await values_of(settings, "attestream.alerts")
    assert {value[:1] for value in published} == {b"\0"}, "Confluent V0 where there is a registry"
    assert {int.from_bytes(value[1:5], "big") for value in published} == {
        server.subjects["attestream.alerts-value"][0]
    }
    recorded = await answers(settings)
    assert {len(answer.reference) for answer in recorded} == {4, 16}
    assert {answer.registry for answer in recorded} == {url}
    asked = server.asked[f"GET /schemas/ids/{number}"]
    await run_once(settings)
    assert (server.asked[f"GET /schemas/ids/{number}"], await answers(settings)) == (
        asked,
        recorded,
    )


async def test_a_registry_that_is_gone_or_says_something_else_changes_nothing(
    tmp_path: Path,
) -> None:
    server, events = LocalRegistry(), plain(5)
    number = server.put(TEXT)
    sent = framed(events, server, number)
    async with server.running() as url:
        settings = settings_of(tmp_path / "home", url)
        await send(settings, sent[:50])
        await run_once(settings)
        server.schemas[number] = {"schema": current_text("memory_mutation")}
        await send(settings, sent[50:80])
        await run_once(settings)
    await send(settings, sent[80:])
    await run_once(settings)
    assert await alert_ids(settings) == await straight(tmp_path, events)
    assert all(len(answer.text or "") for answer in await answers(settings))


async def test_without_a_registry_only_what_is_recorded_counts(tmp_path: Path) -> None:
    server, events = LocalRegistry(), plain(5)
    sent = framed(events, server, server.put(TEXT))
    async with server.running() as url:
        settings = settings_of(tmp_path / "home", url)
        await send(settings, sent[:60])
        await run_once(settings)
    without = settings_of(tmp_path / "home")
    await send(without, [*sent[60:], Event(confluent_frame(77, b"\0"))])
    await run_once(without)
    assert await alert_ids(without) == await straight(tmp_path, events)
    assert (await letters(without))[-1].reason is Reason.UNKNOWN_SCHEMA
    values = await values_of(without, "attestream.alerts")
    assert {value[:1] for value in values} == {b"\0", b"\xc3"}, "two framings in one topic"
    assert len({answer.about for answer in await answers(without)}) == len(await answers(without))


async def test_an_unknown_schema_is_recorded_once_and_dead_lettered(tmp_path: Path) -> None:
    server = LocalRegistry()
    async with server.running() as url:
        settings = settings_of(tmp_path / "home", url)
        await send(settings, [Event(confluent_frame(41, b"\x02%d" % i)) for i in range(5)])
        await run_once(settings)
        server.put(TEXT)
        server.schemas[41] = server.schemas[1]
        await send(settings, [Event(confluent_frame(41, b"\x02"))])
        await run_once(settings)
    found = await letters(settings)
    assert [(letter.index, letter.reason) for letter in found] == [
        (index, Reason.UNKNOWN_SCHEMA) for index in range(6)
    ]
    assert "id 41" in found[0].detail
    (unknown,) = [answer for answer in await answers(settings) if answer.text is None]
    assert unknown.about.value == b"\0\0\0\x29"
    assert "does not know" in unknown.detail


async def test_silence_and_a_wrong_password_are_waited_for_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server, events = LocalRegistry(user_info="worker:right"), plain(3)
    number = server.put(TEXT)
    async with server.running() as url:
        wrong = {"SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO": "worker:wr0ng"}
        settings = settings_of(tmp_path / "home", url, **wrong)
        await send(settings, events[:20])
        right = {"SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO": "worker:right"}
        await run_once(settings_of(tmp_path / "home", url, **right))
        await send(settings, framed(events[20:], server, number))
        health = Health()
        async with open_deployment(settings, health, SystemClock()) as deployment:
            settling = asyncio.create_task(until_settled(Pipeline(deployment), health))
            problem = await said(health, "index of audit.authz.decisions/0 waiting")
            assert "wants other credentials (SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO)" in problem
            assert "wr0ng" not in "".join(health.problems())
            server.user_info = None
            server.fault = "503"
            await said(health, "does not answer (HTTP 503)")
            assert not settling.done()
            server.fault = ""
            await asyncio.wait_for(settling, 60)
    assert "reopening" not in capsys.readouterr().out, "what was learned is kept meanwhile"
    assert await alert_ids(settings) == await straight(tmp_path, events)
    assert Reason.UNKNOWN_SCHEMA not in {letter.reason for letter in await letters(settings)}


async def test_a_registry_that_refuses_our_own_schemas_is_said(tmp_path: Path) -> None:
    server = LocalRegistry(readonly=True)
    async with server.running() as url:
        settings, health = settings_of(tmp_path / "home", url), Health()
        async with open_deployment(settings, health, SystemClock()) as deployment:
            settling = asyncio.create_task(until_settled(Pipeline(deployment), health))
            problem = await said(health, "index of audit.authz.decisions/0 waiting")
            assert "/subjects/attestream.alerts-value/versions: does not permit it" in problem
            server.readonly = False
            await asyncio.wait_for(settling, 60)
    assert set(server.subjects) == {
        "attestream.alerts-value",
        *(f"dead-letters.{topic}-value" for topic in deployment.engine.topology.events),
    }


async def said(health: Health, words: str) -> str:
    """The problem that readiness names, once it does."""
    async with asyncio.timeout(30):
        while True:
            for problem in health.problems():
                if words in problem:
                    return problem
            await asyncio.sleep(0.02)


async def test_doctor_asks_the_registry(tmp_path: Path) -> None:
    server = LocalRegistry(user_info="worker:right")
    server.put(TEXT)
    async with server.running() as url:
        for password, good in (("right", True), ("wrong", False)):
            info = {"SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO": f"worker:{password}"}
            settings = settings_of(tmp_path / "home", url, **info)
            await send(settings, [])
            environment = os.environ | info | {"SCHEMA_REGISTRY_URL": url}
            told = await command("doctor", "--json", home=tmp_path / "home", env=environment)
            (found,) = [part for part in map(json.loads, told) if part["part"] == "registry"]
            assert found["good"] is good
            assert url in found["says"]


async def command(*arguments: str, home: Path, env: Mapping[str, str] = os.environ) -> list[bytes]:
    """The lines a command of `attestream` prints."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("attestream")),
        *(*arguments, "--dir", str(home)),
        stdout=asyncio.subprocess.PIPE,
        env=env,
    )
    told, _ = await process.communicate()
    return told.splitlines()


async def test_the_command_line_reads_both_framings(tmp_path: Path) -> None:
    server, events = LocalRegistry(), plain(3)
    async with server.running() as url:
        settings = settings_of(tmp_path / "home", url)
        await send(settings, framed(events, server, server.put(TEXT)))
        await run_once(settings)
    told = await command("alerts", "tail", "-n", "100", "--json", home=tmp_path / "home")
    found = [json.loads(line)["alert_id"] for line in told]
    assert found == await alert_ids(settings)
