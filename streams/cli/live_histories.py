"""Logs on a live broker, for `verify`: every epoch of an audit topic, and what is missing of it.

The client of the broker is loaded when an address needs it.
"""

from contextlib import aclosing, suppress

from streams.audit.checkpoint import parse_log_name
from streams.cli.addresses import kafka_address
from streams.cli.inquiries import (
    Inquiry,
    belongs,
    connection_settings,
    deployment,
    verdicts,
    walked,
)
from streams.cli.root_logs import EPOCH, RootName, epoch_topic, live_roots, root_topic
from streams.cli.source_pages import live_source
from streams.engine import Engine
from streams.epochs import GONE_MAX
from streams.errors import SettingsError, SourceUnreadableError
from streams.history import pages
from streams.ports import PartitionReader
from streams.topology import Topology
from streams.verifier import (
    UNOPENED,
    LogVerdict,
    LogWalk,
    OpenSource,
    RootLogs,
    Trust,
    has_operator,
    rooted,
)

__all__ = ["verify_topic"]

ROOTS: tuple[RootName, ...] = ("operations", "heads")


async def verify_topic(address: str, inquiry: Inquiry, unreadable: list[str]) -> list[LogVerdict]:
    """The logs of an audit topic on a broker, or of one partition, in all their epochs.

    Args:
        address: kafka://host:port/topic[/partition].
        inquiry: how.
        unreadable: told of logs that should be there and cannot be judged.

    Raises:
        SettingsError, MissingExtraError: the broker cannot be used.
        SourceUnreadableError, SourceChangedError, TransientError: it cannot be read.
    """
    broker, topic, wanted = kafka_address(address)
    from streams.app import kafka_connection  # noqa: PLC0415  # chooses the adapter

    settings = connection_settings(inquiry, "KAFKA_", KAFKA_BOOTSTRAP_SERVERS=broker)
    connection = kafka_connection(settings)
    from streams.kafka.engine import KafkaEngine  # noqa: PLC0415  # optional dependency

    engine = KafkaEngine(connection, Topology.of(settings, base=""))
    logs: list[LogVerdict] = []
    try:
        if await engine.partitions(topic) <= (wanted or 0):
            count = await engine.partitions(topic)
            raise SourceUnreadableError(f"there is no such partition: {topic} has {count}")
        given, asked = inquiry.trust.keys, inquiry
        for _ in range(2):
            roots = await _live_roots(engine, topic)
            inquiry = asked._replace(trust=await rooted(asked.trust, roots))
            logs = []
            for audit in await _epochs(engine, topic):
                logs += await _topic(engine, (audit, wanted), inquiry)
            # An order may have been sealed since orders were read: they are read once more.
            if not any(found.detail == UNOPENED for log in logs for found in log.breaks):
                break
        inquiry.rosters.add(inquiry.trust)
        logs += _gone_epochs((topic, wanted), logs, inquiry.trust, unreadable)
        if has_operator(given):
            logs += await _operations(engine, topic, inquiry)
    finally:
        await engine.close()
    return logs


async def _topic(
    engine: Engine, address: tuple[str, int | None], inquiry: Inquiry
) -> list[LogVerdict]:
    topic, wanted = address
    logs: list[LogVerdict] = []
    count = await engine.partitions(topic)
    for partition in range(count) if wanted is None else (wanted,):
        reader = engine.reader(topic, partition)
        try:
            logs += await _partition(reader, inquiry, live_source(engine))
        finally:
            await reader.close()
    return logs + ([] if wanted is not None else _beyond(topic, count, logs, inquiry.trust))


async def _epochs(engine: Engine, audit_topic: str) -> list[str]:
    """An audit topic, and those of the epochs that forks opened behind it.

    Whoever deletes one of them must not hide those behind it.
    """
    topics, newest, epoch = [audit_topic], 0, 0
    while (epoch := epoch + 1) <= newest + GONE_MAX:
        # Whoever may not ask for it is as well off as where it is not.
        with suppress(SettingsError):
            if await engine.partitions(epoch_topic(audit_topic, epoch)):
                topics.append(epoch_topic(audit_topic, epoch))
                newest = epoch
    return topics


async def _operations(engine: Engine, audit_topic: str, inquiry: Inquiry) -> list[LogVerdict]:
    """What is wrong with the operations that were believed, where they were not asked for.

    Their orders were read by shape alone: only now it is known whose signatures they need.
    """
    root, logs = root_topic(audit_topic, "operations"), list[LogVerdict]()
    if EPOCH.sub("", audit_topic) != root:
        # Where they may not be read, none of them was believed.
        with suppress(SettingsError):
            for topic in await _epochs(engine, root) if await engine.partitions(root) else ():
                logs += await _topic(engine, (topic, 0), inquiry._replace(with_source=False))
    return [log for log in logs if log.breaks]


def _gone_epochs(
    address: tuple[str, int | None],
    found: list[LogVerdict],
    trust: Trust,
    unreadable: list[str],
) -> list[LogVerdict]:
    """Later epochs of a topic that somebody names, and that have no topic here.

    Those that anchors or the roster know are shorter than they say. What only the operator's
    order names may not be born yet: that is said.
    """
    topic, wanted = address
    held = {log.origin for log in found}
    deployments = {deployment(origin) for origin in held if origin}
    known = {checkpoint.origin for checkpoint in trust.known}
    lost = []
    for origin in sorted((known | {fork.opens for fork in trust.forks.values()}) - held):
        name = parse_log_name(origin)
        is_ours = wanted is None or name.partition == wanted
        place = (epoch_topic(topic, name.epoch), name.partition)
        if not (name.epoch and is_ours and belongs(origin, place)):
            continue
        if name.deployment in deployments and origin in known:
            lost.append(LogWalk(trust, origin).verdict())
        elif name.deployment in deployments:
            unreadable.append(f"{place[0]}: {origin} was opened, and is not born yet, or gone")
    return lost


async def _live_roots(engine: Engine, audit_topic: str) -> RootLogs:
    there = []
    for topic in [root_topic(audit_topic, name) for name in ROOTS]:
        # Whoever may not ask for it is as well off as where it is not.
        with suppress(SettingsError):
            if await engine.partitions(topic):
                there += await _epochs(engine, topic)
    return live_roots(lambda topic: engine.reader(topic, 0), audit_topic, there)


async def _partition(
    reader: PartitionReader, inquiry: Inquiry, source: OpenSource
) -> list[LogVerdict]:
    """What is committed now; what is appended meanwhile is left for the next time."""
    start, end, _ = await reader.bounds()
    inquiry.progress.begin(f"{reader.topic}/{reader.partition}", end - start)
    walk = LogWalk(inquiry.trust, progress=inquiry.progress, start=start)
    async with aclosing(pages(reader, start, end)) as read:
        compared = await walked(walk, read, source if inquiry.with_source else None)
    return verdicts(walk, (reader.topic, reader.partition), inquiry.trust, compared)


def _beyond(
    topic: str, partitions: int, found: list[LogVerdict], trust: Trust
) -> list[LogVerdict]:
    """Logs of partitions that an audit topic once had, by an anchor or the roster."""
    deployments = {deployment(log.origin) for log in found if log.origin}
    return [
        LogWalk(trust, origin).verdict()
        for origin in dict.fromkeys(known.origin for known in trust.known)
        if parse_log_name(origin).partition >= partitions
        and deployment(origin) in deployments
        and belongs(origin, (topic, parse_log_name(origin).partition))
    ]
