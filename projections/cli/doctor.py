"""`attestream doctor`: is this deployment set up right? Each part with OK, or what to do."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import click

from streams.audit.trust import TrustHistory
from streams.cli.failures import exit_on_failure
from streams.cli.options import in_directory
from streams.engine import Engine
from streams.epochs import logs_there, newest_epochs
from streams.errors import AttestreamError, SettingsError
from streams.settings import Settings, load_settings

__all__ = ["doctor"]


class Finding(NamedTuple):
    """One part looked at. `good` is None for a remark that is no fault."""

    part: str
    good: bool | None
    says: str


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, nothing else.")
@in_directory
@exit_on_failure
def doctor(*, as_json: bool) -> None:
    """Check settings, broker, topics, archive, signer, registry, logs, worker; changes nothing.

    Exit status 0: all is well; 1: something is not; 2: the settings cannot be read.

    Example: attestream doctor
    """
    settings = load_settings(os.environ)
    findings = asyncio.run(_findings(settings))
    for finding in findings:
        if as_json:
            click.echo(json.dumps(finding._asdict()))
        else:
            mark = {True: "OK  ", False: "FAIL", None: "note"}[finding.good]
            click.echo(f"{mark}  {finding.part:<9} {finding.says}")
    sys.exit(1 if any(finding.good is False for finding in findings) else 0)


async def _findings(settings: Settings) -> list[Finding]:
    found = [Finding("settings", good=True, says="read and consistent")]
    checks: list[tuple[str, Callable[[Settings], Awaitable[list[Finding]]]]] = [
        ("broker", _broker) if settings.on_kafka else ("home", _home),
        ("signer", _signer),
        ("archive", _archive),
        ("registry", _registry),
        ("logs", _logs),
        ("alerts", _alerts),
        ("snapshots", _snapshots),
        ("worker", _worker),
    ]
    for part, check in checks:
        try:
            found += await check(settings)
        except SettingsError as error:
            found += [Finding(part, good=False, says=problem) for problem in error.problems]
        except AttestreamError as error:
            found.append(Finding(part, good=False, says=str(error)))
    return found


async def _broker(settings: Settings) -> list[Finding]:
    from streams.app import kafka_connection  # noqa: PLC0415  # optional dependency

    connection = kafka_connection(settings)
    from streams.kafka.engine import KafkaEngine, cluster_id  # noqa: PLC0415
    from streams.kafka.topic_admin import plan_topics  # noqa: PLC0415
    from streams.kafka.topics import TopicOptions, declared_topics, to_do  # noqa: PLC0415
    from streams.topology import Topology  # noqa: PLC0415

    identity = await cluster_id(connection)
    found = [Finding("broker", good=True, says=f"cluster {identity} answers")]
    topology = Topology.of(settings, settings.origin or identity)
    engine = KafkaEngine(connection, topology)
    try:
        declared = declared_topics(topology, TopicOptions(), await newest_epochs(engine))
    finally:
        await engine.close()
    differences = await plan_topics(connection, declared)
    missing = to_do(differences)
    if not differences:
        found.append(Finding("topics", good=True, says="as declared"))
    for difference in differences:
        good = False if difference in missing or difference.kind == "refused" else None
        found.append(
            Finding("topics", good=good, says=f"{difference.topic}: {difference.sentence}")
        )
    if missing:
        found.append(Finding("topics", good=False, says="run `attestream topics apply`"))
    return found


async def _home(settings: Settings) -> list[Finding]:
    from streams.app import open_engine  # noqa: PLC0415  # chooses the adapter

    async with open_engine(settings) as engine:
        found = [Finding("home", good=True, says=f"{settings.home}: {engine.topology.base}")]
    outside = [place or "" for place in (settings.archive, settings.anchors)]
    if not any(place.startswith("s3://") for place in outside):
        says = (
            "log, key and anchors are on one machine: whoever owns it can rewrite all three; keep "
            "checkpoints elsewhere (attestream audit checkpoint), or set ATTESTREAM_ANCHORS=s3://…"
        )
        found.append(Finding("home", good=None, says=says))
    return found


async def _signer(settings: Settings) -> list[Finding]:
    from streams.app import open_signer  # noqa: PLC0415  # chooses the adapter
    from streams.clock import SystemClock  # noqa: PLC0415

    async with open_signer(settings, SystemClock()) as signer:
        await signer.check()
        return [Finding("signer", good=True, says=f"{signer!r} signs and verifies")]


async def _archive(settings: Settings) -> list[Finding]:
    from streams.app import open_objects  # noqa: PLC0415  # chooses the adapter

    objects = open_objects(settings)
    try:
        await objects.check_bucket()
    finally:
        await objects.close()
    kept = f"retention {settings.retention_days} days"
    found = [Finding("archive", good=True, says=f"{objects!r} can be used, {kept}")]
    found.append(await _second(settings))
    if settings.retention_days < 365:
        found.append(Finding("archive", good=None, says="retention is below a year"))
    return found


async def _registry(settings: Settings) -> list[Finding]:
    from schemas.framing import ReferenceKind, SchemaReference  # noqa: PLC0415  # as its part runs
    from streams.registry.opening import registry_opener  # noqa: PLC0415

    opener = registry_opener(settings)
    if opener is None:
        return []
    async with opener() as registry:
        await registry.ask(SchemaReference(ReferenceKind.ID, b"\0\0\0\x01"))
        return [Finding("registry", good=True, says=f"{registry.url} answers")]


async def _logs(settings: Settings) -> list[Finding]:
    """Verdicts kept in the archive that no order of the operator answers, with no worker asked."""
    from streams.app import kept_verdicts, open_engine  # noqa: PLC0415  # chooses the adapter

    found: list[Finding] = []
    async with open_engine(settings) as engine:
        history = await _orders(settings, engine)
        async for log in logs_there(engine):
            origin = log.origin
            found += [
                Finding("logs", good=False, says=f"{origin} stopped: {verdict.sentence}")
                for verdict in await kept_verdicts(settings, origin)
                if not verdict.is_answered(origin, history)
            ]
            if (fork := history.fork(origin)) is not None:
                says = f"{origin} ended at size {fork.size} by order; {fork.opens} goes on"
                found.append(Finding("logs", good=None, says=says))
    if any(finding.good is False for finding in found):
        return found
    return [*found, Finding("logs", good=True, says="no verdict keeps a log from being sealed")]


async def _orders(settings: Settings, engine: Engine) -> TrustHistory:
    """What the operator ordered; without an operator nobody answers a verdict."""
    if settings.operator_key is None:
        return TrustHistory()
    from streams.app import own_vkeys, sealed_trust  # noqa: PLC0415  # chooses the adapter

    given = await own_vkeys(settings, engine.topology.base)
    async with sealed_trust(settings, engine, given) as trust:
        return trust.history


async def _alerts(settings: Settings) -> list[Finding]:
    from projections.decision_index.rules import rules_of, what_is_published  # noqa: PLC0415
    from projections.decision_index.scoring import rule_version  # noqa: PLC0415

    rules = rules_of(settings)
    version = f"rule version {rule_version(rules)}"
    withheld = what_is_published(rules)
    if withheld:
        return [Finding("alerts", good=None, says=f"{withheld}; {version}")]
    return [Finding("alerts", good=True, says=f"published for every principal; {version}")]


async def _second(settings: Settings) -> Finding:
    from streams.app import open_second  # noqa: PLC0415  # chooses the adapter

    second = open_second(settings)
    if second is None:
        says = (
            "claims and anchors are kept in the archive alone: whoever owns it can rewrite what "
            "vouches for it; set ATTESTREAM_ANCHORS to a place under another hand"
        )
        return Finding("anchors", good=None, says=says)
    try:
        await second.check_bucket()
    finally:
        await second.close()
    return Finding("anchors", good=True, says=f"{second!r} can be used as a second place")


async def _snapshots(settings: Settings) -> list[Finding]:
    from projections.snapshots.inspection import stores_in  # noqa: PLC0415  # optional libraries
    from projections.snapshots.opening import open_place, why_no_snapshots  # noqa: PLC0415

    if why := why_no_snapshots(settings):
        return [Finding("snapshots", good=None, says=f"each start begins at leaf 0: {why}")]
    async with open_place(settings) as place:
        await place.objects.check_bucket()
        counts = [len(await store.snapshots()) for store in await stores_in(place)]
        key = place.keys.first.key_id
    says = f"{sum(counts)} snapshots, new ones under key {key}"
    return [Finding("snapshots", good=True, says=says)]


async def _worker(settings: Settings) -> list[Finding]:
    url = settings.url
    if url is None:
        return [Finding("worker", good=None, says="not asked: set ATTESTREAM_URL to a worker's")]
    import aiohttp  # noqa: PLC0415  # optional dependency

    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{url.rstrip('/')}/readyz") as answer,
        ):
            body = await answer.json()
    except (aiohttp.ClientError, ValueError, TimeoutError) as error:
        return [Finding("worker", good=False, says=f"{url} gives no answer: {error}")]
    notes = [Finding("worker", good=None, says=note) for note in body.get("notes", ())]
    if body["ready"]:
        return [Finding("worker", good=True, says=f"{url} is ready"), *notes]
    return [Finding("worker", good=False, says=one) for one in body["problems"]] + notes
