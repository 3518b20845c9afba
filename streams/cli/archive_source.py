"""`verify` of an archive: the options only an archive has, and where it and its replica are."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from streams.audit.checkpoint import CheckpointText
from streams.audit.note import TrustedKeys
from streams.cli.root_logs import archived_roots
from streams.clock import SystemClock
from streams.errors import SettingsError
from streams.objects import CheckedStore
from streams.ports import Clock
from streams.settings import load_settings
from streams.verifier import (
    SILENT,
    ArchiveRequest,
    Digests,
    LogVerdict,
    Progress,
    Remembered,
    Replica,
    Sample,
    Trust,
    list_archive,
    rooted,
    verify_archive,
)

__all__ = ["ArchiveInquiry", "ArchiveOptions", "Rosters", "prepared", "verify_archive_at"]

SEED_BYTES = 8


class ArchiveOptions(NamedTuple):
    """What may be asked of an archive alone.

    Attributes:
        replica: the address of a second place that must hold the same.
        locked_for: every lock must hold so many days more; None for what manifests promise.
        resume: a file that remembers what was verified.
        whole: read everything, whatever is remembered.
        percent: of the segments of each log, so many are read; None for all.
        seed: which ones; None for a random choice.
    """

    replica: str | None = None
    locked_for: int | None = None
    resume: Path | None = None
    whole: bool = False
    percent: float | None = None
    seed: str | None = None


class ArchiveInquiry(NamedTuple):
    """How an archive is verified. `options` as they were given."""

    options: ArchiveOptions = ArchiveOptions()
    level: str = "record"
    sample: Sample | None = None
    remembered: Remembered | None = None


class Means(NamedTuple):
    """What reading takes: settings of connections, who is told, how many processes."""

    environ: Mapping[str, str] = MappingProxyType({})
    progress: Progress = SILENT
    jobs: int = 1
    clock: Clock = SystemClock()


class Rosters:
    """What sealed heads of other sources say: an archive that was put back took its own along."""

    def __init__(self) -> None:
        self._heads: list[CheckpointText] = []
        self._manifests: dict[str, set[bytes]] = {}
        self._is_found = False

    def add(self, trust: Trust) -> None:
        """Take what was found beside a source."""
        self._is_found |= trust.has_roster
        self._heads += trust.heads
        for origin, digests in trust.manifests.items():
            self._manifests.setdefault(origin, set()).update(digests)

    @property
    def manifests(self) -> Mapping[str, frozenset[bytes]]:
        """SHA-256 of archive manifests, by log."""
        return {origin: frozenset(digests) for origin, digests in self._manifests.items()}

    def beside(self, trust: Trust) -> Trust:
        """The trust of a source with these heads too."""
        heads = tuple(dict.fromkeys((*trust.heads, *self._heads)))
        return replace(trust, heads=heads, has_roster=trust.has_roster or self._is_found)


@contextmanager
def prepared(
    options: ArchiveOptions, level: str, keys: TrustedKeys | None, clock: Clock
) -> Iterator[ArchiveInquiry]:
    """Options that fit each other, with the file they name locked and read.

    Raises:
        SettingsError: they do not, or the file cannot be used.
    """
    problems = list(_contradictions(options, level))
    if problems:
        raise SettingsError(problems)
    sample = None
    if options.percent is not None:
        seed = options.seed if options.seed is not None else secrets.token_hex(SEED_BYTES)
        sample = Sample(options.percent, seed)
    if options.resume is None:
        yield ArchiveInquiry(options, level, sample)
        return
    with Remembered.open(options.resume, keys, clock, whole=options.whole) as remembered:
        yield ArchiveInquiry(options, level, sample, remembered)


def _contradictions(options: ArchiveOptions, level: str) -> Iterator[str]:
    if options.percent is not None:
        if not 0 < options.percent <= 100:  # per cent
            yield f"--percent: expected more than 0 and at most 100, got {options.percent:g}"
        if options.resume is not None:
            yield "--percent and --resume: what a sample leaves out is not verified"
        if options.whole:
            yield "--percent and --whole: either a part is read or everything"
    elif options.seed is not None:
        yield "--seed chooses what --percent reads: give both"
    if level == "list" and (options.percent is not None or options.resume is not None):
        yield "--level list reads no segment: --percent and --resume do not go with it"


async def verify_archive_at(
    address: str,
    trust: Trust,
    inquiry: ArchiveInquiry,
    rosters: Rosters,
    means: Means,
) -> tuple[list[LogVerdict], Trust]:
    """The verdicts of every log in an archive, and what was trusted.

    Raises:
        SettingsError, TransientError: the archive or its replica cannot be read.
        SourceUnreadableError: an order of the operator that this version does not know.
    """
    async with AsyncExitStack() as stack:
        store = _store(address, means.environ)
        stack.push_async_callback(store.close)
        replica = None
        if inquiry.options.replica is not None:
            other = _store(inquiry.options.replica, means.environ)
            stack.push_async_callback(other.close)
            replica = Replica(other, locked=_is_bucket(inquiry.options.replica))
        listing = await list_archive(store, replica)
        trust = rosters.beside(await rooted(trust, archived_roots(store, listing.archive)))
        now = datetime.fromtimestamp(means.clock.now_ms() // 1000, UTC)
        days = inquiry.options.locked_for
        with Digests(means.jobs) as digests:
            request = ArchiveRequest(
                level=inquiry.level,
                locked=_is_bucket(address),
                now=now,
                locked_until=None if days is None else now + timedelta(days=days),
                progress=means.progress,
                digests=digests,
                sample=inquiry.sample,
                remembered=inquiry.remembered,
                replica=replica,
                manifests=rosters.manifests,
            )
            return await verify_archive(store, trust, request, listing), trust


def _store(address: str, environ: Mapping[str, str]) -> CheckedStore:
    from streams.archive_root import open_objects  # noqa: PLC0415  # chooses the adapter

    needed = {name: value for name, value in environ.items() if name.startswith("S3_")}
    return open_objects(load_settings(needed | {"ATTESTREAM_ARCHIVE": address}))


def _is_bucket(address: str) -> bool:
    return address.startswith("s3://")
