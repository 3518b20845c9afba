"""Whom this deployment trusts: the operator its settings name, and the keys held here.

Without an operator the first signer of a process is trusted, and nothing moves. With one, the
sealed orders are followed while the process runs, and keys put beside the local ones are taken
up; both within `FOLLOW_S` seconds.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import NoReturn

from streams.anchors import AnchorStore
from streams.audit.note import TrustedKeys, Vkey
from streams.audit.operations import operator_name
from streams.audit.trust import TrustHistory
from streams.clock import SystemClock
from streams.engine import Engine
from streams.errors import SettingsError, TransientError
from streams.keys.choice import open_key_ring
from streams.keys.ring import KeyRing
from streams.operations_log import (
    UNCLAIMED,
    OperationsSource,
    OwnForks,
    SealedTrust,
    UnverifiedOrdersError,
)
from streams.ports import PartitionReader, Signer
from streams.settings import Settings
from streams.tasks import cancelled
from streams.telemetry.health import Health
from streams.telemetry.logs import get_log
from streams.trust import GivenTrust, Trust

__all__ = [
    "deployment_history",
    "deployment_keys",
    "following",
    "operator_keys",
    "own_keys",
    "sealed_trust",
    "sealers_trust",
    "trusted_keys",
]

FOLLOW_S = 1.0
PROBE_S = 2.0  # how often it is asked whether the operations have a next epoch
SETTING = "ATTESTREAM_OPERATOR_KEY"
log = get_log("trust")


def operator_keys(settings: Settings, base: str) -> TrustedKeys | None:
    """The operator's vkeys that the settings name, None where they name none.

    Raises:
        SettingsError: no vkey, or not named as the operator of `base`.
    """
    if settings.operator_key is None:
        return None
    try:
        keys = TrustedKeys.parse(_text_of(settings.operator_key))
    except SettingsError as error:
        raise SettingsError([f"{SETTING}: {problem}" for problem in error.problems]) from None
    wrong = [vkey.name for vkey in keys.vkeys if vkey.name != operator_name(base)]
    if wrong:
        raise SettingsError(
            [
                f"{SETTING}: a key named {name}; the operator of this deployment is named "
                f"{operator_name(base)}"
                for name in wrong
            ]
        )
    return keys


@asynccontextmanager
async def following(
    settings: Settings,
    engine: Engine,
    ring: KeyRing,
    health: Health | None = None,
    anchors: AnchorStore | None = None,
) -> AsyncIterator[Trust]:
    """Trust that is read once before anything is done with it, and then kept up to date.

    `health` is told where it is not. With `anchors` nothing is signed while orders are missing
    that were anchored once.

    Raises:
        SettingsError: as `operator_keys`.
        TransientError: the sealed orders cannot be read.
    """
    base = engine.topology.base
    if operator_keys(settings, base) is None:
        yield GivenTrust([ring.first], base)
        return
    given = trusted_keys(ring.first, base).vkeys
    async with sealed_trust(settings, engine, given, ring, anchors) as trust:
        task = asyncio.create_task(_follow(trust, ring, health or Health()))
        try:
            yield trust
        finally:
            await cancelled(task)


@asynccontextmanager
async def sealed_trust(
    settings: Settings,
    engine: Engine,
    given: Sequence[Vkey],
    ring: KeyRing | None = None,
    anchors: AnchorStore | None = None,
) -> AsyncIterator[SealedTrust]:
    """What the operator's sealed orders come to now, read once.

    Where they fail to verify from some place on, those before it: every later reading says so.

    Raises:
        SettingsError: no operator is set, or as `operator_keys`.
        TransientError: the sealed orders cannot be read.
    """
    topology = engine.topology
    operator = operator_keys(settings, topology.base)
    if operator is None:
        raise SettingsError([f"{SETTING} is not set: the vkey of the operator, or a file with it"])
    async with AsyncExitStack() as open_readers:
        loop, looked = asyncio.get_running_loop(), -PROBE_S

        def opened(number: int) -> tuple[PartitionReader, str]:
            log = topology.log(topology.operations, 0, number)
            reader = engine.reader(log.audit, log.partition)
            open_readers.push_async_callback(reader.close)
            return reader, log.origin

        async def open_epoch(number: int) -> tuple[PartitionReader, str] | None:
            nonlocal looked
            if loop.time() - looked < PROBE_S:
                return None
            with suppress(SettingsError):  # whoever may not ask for it has none to read
                if await engine.partitions(topology.audit(topology.operations, number)):
                    return opened(number)
            looked = loop.time()
            return None

        async def kept(origin: str) -> int:
            if anchors is None or await anchors.claim(origin) is None:
                return UNCLAIMED
            newest = await anchors.newest(origin, trust.history.keys)
            return 0 if newest is None else newest.size

        first = opened(0)
        source = OperationsSource(*first, topology.base, operator, open_epoch, kept)
        trust = SealedTrust(source, given, ring.held if ring else tuple)
        with suppress(UnverifiedOrdersError):
            await trust.refresh()
        yield trust


@asynccontextmanager
async def sealers_trust(
    settings: Settings, engine: Engine, trust: Trust, source: str
) -> AsyncIterator[Trust]:
    """Trust as the sealer of a source topic has it: see `streams.operations_log.OwnForks`."""
    topology = engine.topology
    operator = operator_keys(settings, topology.base)
    if source != topology.operations or operator is None:
        yield trust
        return
    reader = engine.reader(source, 0)
    try:
        own = OperationsSource(reader, topology.origin(source, 0), topology.base, operator)
        yield OwnForks(trust, own)
    finally:
        await reader.close()


def trusted_keys(signer: Signer, base: str) -> TrustedKeys:
    """A signer's public key, for every origin below `base`."""
    return TrustedKeys([Vkey(base, signer.algorithm, signer.public_key)])


async def own_keys(settings: Settings, base: str) -> TrustedKeys:
    """The keys held here, whatever an operator says of them.

    Raises:
        SettingsError, TransientError.
    """
    async with open_key_ring(settings, SystemClock()) as ring:
        return TrustedKeys(Vkey(base, s.algorithm, s.public_key) for s in ring.held())


async def own_vkeys(settings: Settings, base: str) -> Sequence[Vkey]:
    """As `own_keys`, none where none is held: an operator's machine need not hold any."""
    try:
        return (await own_keys(settings, base)).vkeys
    except SettingsError:
        return ()


async def deployment_history(settings: Settings, engine: Engine) -> TrustHistory:
    """What this deployment trusts now: the first key held here, and the sealed orders.

    Raises:
        SettingsError, TransientError.
    """
    async with (
        open_key_ring(settings, SystemClock()) as ring,
        following(settings, engine, ring) as trust,
    ):
        return trust.history


async def deployment_keys(settings: Settings, engine: Engine) -> TrustedKeys:
    """The keys of `deployment_history`. Raises as that."""
    return (await deployment_history(settings, engine)).keys


async def _follow(trust: SealedTrust, ring: KeyRing, health: Health) -> NoReturn:
    told = ""
    while True:
        await asyncio.sleep(FOLLOW_S)
        problems = ring.look()
        try:
            await trust.refresh()
        except TransientError as error:
            problems.append(str(error))
        problems += [trust.lacking] if trust.lacking else []
        why = "; ".join(problems)
        health.agent("operator's-orders", why)
        if why and why != told:
            log.warning("trust not followed", why=why)
        told = why


def _text_of(value: str) -> str:
    try:
        return Path(value).read_text("utf-8", "replace") if Path(value).is_file() else value
    except OSError:
        return value
