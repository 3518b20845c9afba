"""`attestream audit fork`: an operator ends a log where it is good, and its next epoch begins.

What the order needs is found here and shown: what of the log stands, by a walk over all of it, and
from which offset of its source the next epoch has to begin so that nothing is left out.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import click

from streams.anchors import AnchorStore, Claim
from streams.audit.checkpoint import parse_log_name
from streams.audit.note import MalformedError
from streams.audit.operations import EpochForked
from streams.audit.trust import TrustHistory
from streams.cli.failures import exit_on_failure
from streams.cli.operating import Operating, confirmed, operating, operator_key_option, yes_option
from streams.cli.options import in_directory
from streams.engine import Engine
from streams.epochs import epochs_of
from streams.errors import SettingsError
from streams.ports import PartitionReader
from streams.standing import LogAtRest, Standing, first_unsealed, what_stands
from streams.topology import LogPlace

__all__ = ["fork"]

ORDERS = "attestream.operations"
UNJUDGED = {"unknown_key", "bad_signature"}  # breaks that may say more of the keys than of the log


class _Choice(NamedTuple):
    """What the operator chooses; None leaves it to what is found."""

    size: int | None = None
    offset: int | None = None


class _Found(NamedTuple):
    """A log to be forked: why, what of it stands, and the order. `lost`: by retention."""

    log: LogPlace
    reason: str
    standing: Standing
    order: EpochForked
    lost: int


@click.command()
@click.argument("origins", metavar="[ORIGIN]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every log that only a fork lets go on.")
@click.option(
    "--size",
    type=click.IntRange(0),
    help="Accept no larger checkpoint than of this size. Default: the newest that is good.",
)
@click.option(
    "--offset",
    type=click.IntRange(0),
    help="First source offset of the next epoch. Default: the first that the log does not hold.",
)
@operator_key_option
@yes_option
@in_directory
@exit_on_failure
def fork(  # noqa: PLR0913  # one for each option
    origins: tuple[str, ...],
    size: int | None,
    offset: int | None,
    operator_key: Path | None,
    *,
    every: bool,
    yes: bool,
) -> None:
    """Order that the log ORIGIN ends where it is good, and that its next epoch is sealed.

    For a log that stopped for good: its source was made again or cut, or it lost what nobody has
    any more. It ends at its newest checkpoint that verifies and that no anchor contradicts; what
    stands behind that is void. The next epoch has the origin ORIGIN/e1 (then /e2, ...), a topic
    of its own, which is made here, and indexes from 0. A worker begins it within seconds. Keep
    the old topic: it is evidence. Refused where nothing is found that a fork would answer.

    Example: attestream audit fork audit.example.com/authz.decisions/0
    """
    choice = _Choice(size, offset)
    if bool(origins) == every or (len(origins) != 1 and choice != _Choice()):
        raise SettingsError(
            ["give the origins of logs, or --all; --size and --offset are for one log"]
        )

    async def order() -> None:
        async with operating(operator_key) as at:
            for found in await _all_found(at, origins, choice):
                await _fork(at, found, yes=yes)

    asyncio.run(order())


async def _all_found(at: Operating, origins: tuple[str, ...], choice: _Choice) -> list[_Found]:
    """The logs to be forked. Raises SettingsError: one of them cannot be, or none has to be."""
    from streams.app import open_anchors  # noqa: PLC0415  # chooses the adapter

    async with open_anchors(at.settings) as anchors:
        logs = _Logs(at.engine, anchors, await at.history(as_far_as_good=True))
        await logs.require_orders(origins)
        if origins:
            return [await logs.asked(origin, choice) for origin in origins]
        found = [one async for one in logs.stopped()]
    if not found:
        raise SettingsError(["every log can go on as it is: nothing is to be forked"])
    return found


async def _fork(at: Operating, found: _Found, *, yes: bool) -> None:
    for line in _told(found):
        click.echo(line, err=True)
    if confirmed(found.order, yes=yes):
        # Before the order, so that whoever follows it finds the topic; and workers take part in
        # the division of the first one, so that it has to be there, if only empty.
        for epoch in (0, found.order.epoch):
            await at.engine.open_epoch(found.log.source, epoch)
        await at.send(found.order)
        click.echo(
            f"sent; {found.order.opens} begins once the order is sealed, unless another fork of "
            "the log is sealed before it",
            err=True,
        )


def _told(found: _Found) -> list[str]:
    standing = found.standing
    lines = [
        f"{found.log.origin}: {found.reason}",
        (
            f"it is good up to size {standing.size}; of the {standing.records} records read of "
            f"{found.log.audit}/{found.log.partition}, those from that index on are void"
        ),
    ]
    if standing.anchored > standing.size:
        lines.append(
            f"it is anchored up to size {standing.anchored}: what is archived from index "
            f"{standing.size} on is void as well, and whoever holds such an anchor is told"
        )
    if parse_log_name(found.log.origin).topic.endswith(ORDERS):
        lines.append(
            f"orders that are sealed from index {standing.size} on count again only as far as "
            f"the source holds them from offset {found.order.offset} on: look whether one of "
            "them retires a key, and send it again if it is not there"
        )
    if found.lost:
        lines.append(f"retention took {found.lost} offsets before any of them was sealed")
    return lines


class _Logs:
    """The logs of a deployment, and what keeps one from going on."""

    def __init__(self, engine: Engine, anchors: AnchorStore, history: TrustHistory) -> None:
        self._engine = engine
        self._anchors = anchors
        self._history = history

    async def require_orders(self, origins: Sequence[str]) -> None:
        """Demand that every order is known that was ever archived: keys are among them.

        Without them a good log looks like one that nobody trusted signed.

        Raises:
            SettingsError: the log of the orders lacks some, and it is not it alone that is asked.
        """
        topology = self._engine.topology
        log = epochs_of(self._history, topology, topology.operations, 0)[-1].log
        if list(origins) == [log.origin]:
            return
        async with self._open_partition(log.audit, log.partition) as audit:
            rest = LogAtRest(log.origin, self._history.keys, self._anchors, audit)
            standing = await what_stands(rest)
        is_gone = not standing.is_born and await self._anchors.claim(log.origin) is not None
        if standing.anchored > standing.size or is_gone:
            raise SettingsError([_given_up(log, standing)])
        if standing.records > standing.size or standing.broken:
            raise SettingsError(
                [
                    (
                        f"orders may stand in {log.origin} behind its last good checkpoint, of "
                        f"size {standing.size}, and speak of these logs: let a worker seal them, "
                        f"or fork {log.origin} alone first"
                    )
                ]
            )

    @asynccontextmanager
    async def _open_partition(
        self, topic: str, partition: int
    ) -> AsyncIterator[PartitionReader | None]:
        """A reader, None where there is no such partition."""
        if await self._engine.partitions(topic) <= partition:
            yield None
            return
        reader = self._engine.reader(topic, partition)
        try:
            yield reader
        finally:
            await reader.close()

    async def asked(self, origin: str, choice: _Choice) -> _Found:
        """One log, by its name. Raises SettingsError where a fork would not help."""
        found = await self._found(self._open(origin), choice)
        if found is None:
            raise SettingsError(
                [
                    (
                        f"{origin}: no verdict stands, both topics are the claimed ones, and the "
                        "log verifies: a fork would only end a good log"
                    )
                ]
            )
        return found

    async def stopped(self) -> AsyncIterator[_Found]:
        """Every log that only a fork lets go on, that of the orders themselves first."""
        topology = self._engine.topology
        for source in sorted(topology.sources, key=lambda source: source != topology.operations):
            for partition in range(await self._engine.partitions(source)):
                log = epochs_of(self._history, topology, source, partition)[-1].log
                # Another archive than the workers' has no claim at all, and a partition that was
                # just added no log: neither is a reason that anybody found.
                claim = await self._anchors.claim(log.origin)
                found = None if claim is None else await self._found(log, _Choice())
                if found is not None:
                    yield found

    def _open(self, origin: str) -> LogPlace:
        """The open epoch that is called so. Raises SettingsError."""
        topology = self._engine.topology
        unknown = SettingsError(
            [f"no log is called {origin}: `attestream audit heads` lists them"]
        )
        try:
            name = parse_log_name(origin)
        except MalformedError:
            raise unknown from None
        if name.deployment != topology.base or name.topic not in topology.sources:
            raise unknown
        before = self._history.fork(origin)
        if before is not None:
            raise SettingsError(
                [f"{origin} was forked before, at size {before.size}: {before.opens} goes on"]
            )
        log = epochs_of(self._history, topology, name.topic, name.partition)[-1].log
        if log.origin != origin:
            raise unknown
        return log

    async def _found(self, log: LogPlace, choice: _Choice) -> _Found | None:
        """What is to be ordered of a log; None where nothing is found that a fork answers."""
        if await self._engine.partitions(log.source) <= log.partition:
            raise SettingsError([f"{log.source}/{log.partition} is gone: make it again first"])
        async with (
            self._open_partition(log.source, log.partition) as source,
            self._open_partition(log.audit, log.partition) as audit,
        ):
            assert source is not None, "it was there a moment ago"
            rest = LogAtRest(log.origin, self._history.keys, self._anchors, audit)
            standing = await what_stands(rest, choice.size)
            claim = await self._anchors.claim(log.origin)
            reason = await self._reason(rest, claim, source, standing)
            if choice.size is None:
                if reason is None:
                    return None
                _require_judged(log, standing)
            order, lost = await _ordered(rest, claim, source, (standing, choice))
        return _Found(log, reason or "nothing is found wrong with it", standing, order, lost)

    async def _reason(
        self, rest: LogAtRest, claim: Claim | None, source: PartitionReader, standing: Standing
    ) -> str | None:
        """Why a log cannot go on, in a sentence; None where nothing is found."""
        verdicts = await self._anchors.verdicts(rest.origin)
        unanswered = [v for v in verdicts if not v.is_answered(rest.origin, self._history)]
        if unanswered:
            return unanswered[-1].sentence
        if rest.audit is None:
            return "its audit topic is gone"
        if claim is None:
            return "the archive has no claim of it" if standing.records else None
        audit_now, source_now = await rest.audit.facts(), await source.facts()
        if claim[:2] != audit_now[:2]:
            return "its audit topic is another one than was claimed"
        if claim[2:4] != source_now[:2]:
            return f"{source.topic} is another topic than was claimed"
        return f"it fails verification: {standing.broken}" if standing.broken else None


def _require_judged(log: LogPlace, standing: Standing) -> None:
    """Demand that what is given up by default is known to be bad, and kept nowhere else."""
    if standing.kind in UNJUDGED:
        raise SettingsError(
            [
                (
                    f"{log.origin} cannot be judged by the keys that are known here: "
                    f"{standing.broken}; if an order that adds a key is missing, restore "
                    "attestream.operations first; else name what is good with --size"
                )
            ]
        )
    if standing.anchored > standing.size:
        raise SettingsError([_given_up(log, standing)])


def _given_up(log: LogPlace, standing: Standing) -> str:
    return (
        f"{log.origin} is anchored up to size {standing.anchored}, and "
        f"{log.audit}/{log.partition} is good up to {standing.size} only: restore it from the "
        "archive first (attestream replay run --from archive --restore), or give up the rest for "
        f"ever with --size {standing.size}"
    )


async def _ordered(
    rest: LogAtRest, claim: Claim | None, source: PartitionReader, of: tuple[Standing, _Choice]
) -> tuple[EpochForked, int]:
    """The order, and how many offsets retention took before where it would have begun."""
    standing, choice = of
    facts, bounds = await source.facts(), await source.bounds()
    begin = bounds.start
    if choice.offset is not None:
        begin = choice.offset
    elif rest.audit is not None and (claim is None or claim[2:4] == facts[:2]):
        first = bounds.start if claim is None else claim.first_offset
        begin = await first_unsealed(rest.audit, source, standing, first)
    if begin > bounds.high_watermark:
        raise SettingsError(
            [f"{source.topic}/{source.partition} ends at {bounds.high_watermark}, before {begin}"]
        )
    offset = max(begin, bounds.start)
    order = EpochForked(
        origin=rest.origin,
        size=standing.size,
        root=standing.root,
        epoch=parse_log_name(rest.origin).epoch + 1,
        cluster_id=facts.cluster_id,
        topic_id=facts.topic_id,
        offset=offset,
    )
    return order, offset - begin
