"""An archive, at three levels (formats §8).

`list`: names, versions, delete markers, locks, sizes and checksums as listed, and the chain of
manifests with its signatures. `file`: each segment's bytes against its manifest too. `record`:
every leaf and checkpoint too, through the trail. Whatever the level, all of the first is checked;
what is read of segments can be less: a sample, or what an earlier run did not see.

The oldest version of an object is the object; whoever laid a newer version or a delete marker
over it is named. Beside its logs an archive keeps anchors of them: they may convict it, and prove
nothing for it. A replica must hold the same, as far as it has come.

What is asked for first may only be behind what is asked for later: anchors and replica are listed
before the archive, since an archive grows while it is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from types import MappingProxyType
from typing import NamedTuple

from streams.audit.checkpoint import CheckpointText, parse_log_name
from streams.audit.note import MalformedError
from streams.errors import BreakError
from streams.ports import ObjectStore, ObjectVersion
from streams.segments import ARCHIVE, manifests_prefix, parse_object_name
from streams.verifier.archive_report import ArchiveReport
from streams.verifier.archive_walk import ArchivedLog, ArchiveWalk, Reading, forgotten
from streams.verifier.chain import Chain, ChainTerms, read_chain
from streams.verifier.digesting import ALONE, Digests
from streams.verifier.faults import Faults
from streams.verifier.holdings import HeldLog, held_logs
from streams.verifier.progress import SILENT, Progress
from streams.verifier.remembered import Remembered
from streams.verifier.replica import ComparedReplica, Replica, compare_replica
from streams.verifier.sampling import Sample
from streams.verifier.store_anchors import ANCHORS, anchors_among
from streams.verifier.verdicts import LogVerdict, Trust
from streams.verifier.walk import LogWalk

__all__ = ["LEVELS", "ArchiveRequest", "Listing", "list_archive", "verify_archive"]

LEVELS = ("list", "file", "record")


class ArchiveRequest(NamedTuple):
    """How to verify an archive.

    Attributes:
        level: one of `LEVELS`.
        locked: the store enforces retention, so a missing lock is a break.
        now: the time locks are compared with.
        locked_until: every lock must last until then at least; None for what manifests promise.
        progress: told of every batch.
        digests: reads segments.
        sample: which segments are read; None for all.
        remembered: what was verified before; None for nothing.
        replica: a second place that must hold the same; None for none.
        manifests: SHA-256 of manifests that heads from elsewhere name, by log.
    """

    level: str = "record"
    locked: bool = False
    now: datetime = datetime.fromtimestamp(0, UTC)
    locked_until: datetime | None = None
    progress: Progress = SILENT
    digests: Digests = ALONE
    sample: Sample | None = None
    remembered: Remembered | None = None
    replica: Replica | None = None
    manifests: Mapping[str, frozenset[bytes]] = MappingProxyType({})


class Listing(NamedTuple):
    """What stands where, in the order in which it was listed."""

    replica: Sequence[ObjectVersion]
    replica_anchors: Sequence[ObjectVersion]
    anchors: Sequence[ObjectVersion]
    archive: Sequence[ObjectVersion]


async def list_archive(store: ObjectStore, replica: Replica | None = None) -> Listing:
    """List an archive, and its replica. Raises TransientError, SettingsError."""
    theirs: list[list[ObjectVersion]] = [[], []]
    if replica is not None:
        theirs = [await replica.store.versions(prefix) for prefix in (ARCHIVE, ANCHORS)]
    anchors = await store.versions(ANCHORS)
    return Listing(theirs[0], theirs[1], anchors, await store.versions(ARCHIVE))


async def verify_archive(
    store: ObjectStore, trust: Trust, request: ArchiveRequest, listing: Listing | None = None
) -> list[LogVerdict]:
    """Verify every log in an archive.

    Raises:
        TransientError, SettingsError: archive or replica cannot be read.
    """
    listing = listing or await list_archive(store, request.replica)
    own, others = await _beside(store, trust, request, listing)
    trust = replace(trust, may_lag=True, beside=tuple(dict.fromkeys((*own, *others))))
    logs = held_logs(listing.archive)
    theirs = held_logs(listing.replica)
    found = []
    for origin, held in logs.items():
        one = _ArchivedLog(store, trust, request, held)
        anchored = max((anchor.size for anchor in own if anchor.origin == origin), default=0)
        in_replica = theirs.get(origin, HeldLog.empty(origin))
        found.append(await one.verify(in_replica, anchored))
    return found + _lost(trust, request, logs)


async def _beside(
    store: ObjectStore, trust: Trust, request: ArchiveRequest, listing: Listing
) -> tuple[list[CheckpointText], list[CheckpointText]]:
    """The anchors in the archive itself and in its replica; none where no key can judge them."""
    if trust.keys is None:
        return [], []
    own = await anchors_among(store, listing.anchors, trust.keys)
    if request.replica is None:
        return own, []
    replica = request.replica.store
    return own, await anchors_among(replica, listing.replica_anchors, trust.keys)


def _lost(trust: Trust, request: ArchiveRequest, logs: Mapping[str, HeldLog]) -> list[LogVerdict]:
    """Logs that the roster or an anchor beside the archive knows, and nothing is there of them."""
    detail = "the roster names a manifest of this log, and nothing of it is here"
    lost = (BreakError("archive", 0, detail),)
    named = {*trust.manifests, *request.manifests} - logs.keys()
    anchored = {anchor.origin for anchor in trust.beside} - logs.keys() - named
    deployments = {_deployment(origin) for origin in logs}
    memory = request.remembered
    forgot = (memory.origins if memory else frozenset()) - logs.keys() - named
    return [
        *(
            LogVerdict(
                origin=origin,
                breaks=tuple(
                    BreakError("archive", 0, forgotten(seen)) for seen in memory.all_of(origin)[:1]
                ),
            )
            for origin in sorted(forgot)
            if memory and _deployment(origin) in deployments
        ),
        *(LogVerdict(origin=origin, roster="checked", breaks=lost) for origin in sorted(named)),
        *(LogWalk(trust, origin).verdict() for origin in sorted(anchored)),
    ]


def _deployment(origin: str) -> str:
    try:
        return parse_log_name(origin).deployment
    except MalformedError:
        return ""  # no log's


class _ArchivedLog:
    """One log of an archive, from its listing to its verdict."""

    def __init__(
        self, store: ObjectStore, trust: Trust, request: ArchiveRequest, held: HeldLog
    ) -> None:
        self._store = store
        self._trust = trust
        self._request = request
        self._held = held
        self._origin = held.origin
        self._faults = Faults(trust.void_from(held.origin))
        self._terms = ChainTerms(
            keys=trust.keys,
            locked=request.locked,
            now=request.now,
            locked_until=request.locked_until,
            progress=request.progress,
        )

    async def verify(self, in_replica: HeldLog, anchored: int) -> LogVerdict:
        """`anchored`: the size of the largest anchor in the archive itself."""
        chain = await read_chain(self._store, self._held, self._terms, self._faults.note)
        last = chain.links[-1] if chain.links else None
        if last is not None and not last.manifest and anchored > last.first:
            detail = f"an anchor of size {anchored} stands, and the manifest before it does not"
            self._faults.note(BreakError("archive", last.first, detail))
        replica = None
        if self._request.replica is not None:
            place = (self._request.replica, in_replica)
            replica = await compare_replica(*place, chain, self._terms, self._faults.note)
        named = await self._check_named(chain)
        trust = self._about(replica)
        reading = Reading(
            level=self._request.level,
            sample=self._request.sample,
            remembered=self._request.remembered,
            replica=self._request.replica.store if self._request.replica else None,
            progress=self._request.progress,
            digests=self._request.digests,
            now_ms=int(self._request.now.timestamp() * 1000),
            by_version=self._request.locked,
        )
        log = ArchivedLog(self._origin, chain, replica)
        walk = ArchiveWalk(self._store, trust, reading, log, self._faults)
        verdict = await walk.verify()
        report = ArchiveReport(
            **walk.told,
            locked_until=chain.locked_until,
            locks_ended=chain.ended,
            replica=replica.report if replica else None,
        )
        if named:
            verdict = replace(verdict, roster="checked")
        if verdict.anchored == "not given" and self._trust.anchors:
            verdict = replace(verdict, anchored="missing")  # none of them is of this log
        return replace(verdict, archive=report).ended_by(self._trust.forks.get(self._origin))

    def _about(self, replica: ComparedReplica | None) -> Trust:
        """What is known of this log."""
        trust, origin = self._trust, self._origin
        beside = [*trust.beside, *(replica.ahead if replica and trust.keys else ())]
        return replace(
            trust,
            anchors=tuple(one for one in trust.anchors if one.origin == origin),
            heads=tuple(one for one in trust.heads if one.origin == origin),
            beside=tuple(dict.fromkeys(one for one in beside if one.origin == origin)),
        )

    async def _check_named(self, chain: Chain) -> frozenset[bytes]:
        """Demand every manifest that sealed heads name.

        Once sealed, a name is never taken back: an archive put back to an earlier state lacks the
        later ones, whatever is sealed since.
        """
        named = frozenset(self._trust.manifests.get(self._origin, ()))
        named |= self._request.manifests.get(self._origin, frozenset())
        missing = {digest.hex() for digest in named} - chain.digests
        if missing:
            missing -= await self._written_since()
        if missing:
            detail = (
                f"the archive does not lead to {len(missing)} of the {len(named)} manifests that "
                f"the roster names, {min(missing)} among them"
            )
            index, void_from = max(chain.closings, default=0), self._faults.void_from
            # Whatever of an archive is void, its chain was one.
            index = index if void_from is None else min(index, max(void_from - 1, 0))
            self._faults.note(BreakError("archive", index, detail))
        return named

    async def _written_since(self) -> set[str]:
        """Manifests that were not there yet when the archive was listed."""
        found = set()
        for version in await self._store.versions(manifests_prefix(self._origin)):
            name = parse_object_name(version.key)
            if name is None or version.is_delete_marker or name.number in self._held.manifests:
                continue
            body = await self._store.get(version.key, version.version_id)
            found.add(sha256(body or b"").hexdigest())
        return found
