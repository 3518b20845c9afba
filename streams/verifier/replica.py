"""An archive's replica: another bucket, or a copy, that must hold the same objects (formats §8).

Replication runs behind the archive and in no order, so what is not there yet is said, and is no
break. What is there must be the same: a manifest with other bytes, a segment with another digest,
a version laid over one, a shorter lock is a break. So is a checkpoint in the replica that the
archive does not lead to: replication never runs ahead.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from streams.audit.checkpoint import CheckpointText
from streams.errors import BreakError
from streams.ports import ObjectStore, ObjectVersion
from streams.verifier.archive_report import ReplicaReport
from streams.verifier.chain import Chain, ChainTerms, Note, read_chain
from streams.verifier.holdings import HeldLog, oldest

__all__ = ["ComparedReplica", "Replica", "compare_replica"]


class Replica(NamedTuple):
    """A replica.

    Attributes:
        store: where it is.
        locked: it enforces retention.
    """

    store: ObjectStore
    locked: bool


@dataclass(slots=True, kw_only=True)
class ComparedReplica:
    """One log in a replica, compared with the archive's chain.

    Attributes:
        kept: by first index, the versions of its segments that may be read and compared.
        ahead: checkpoints its manifests close at, which the archive must lead to.
        size: all objects of leaves below are there.
        lacking: how many objects are not there.
        read: how many of its segments were read.
    """

    kept: dict[int, ObjectVersion] = field(default_factory=dict)
    ahead: list[CheckpointText] = field(default_factory=list)
    size: int = 0
    lacking: int = 0
    read: int = 0

    @property
    def report(self) -> ReplicaReport:
        """For the verdict."""
        return ReplicaReport(size=self.size, lacking=self.lacking, read=self.read)


async def compare_replica(
    replica: Replica, held: HeldLog, chain: Chain, terms: ChainTerms, note: Note
) -> ComparedReplica:
    """Compare what a replica holds of a log with the archive's chain, segments unread.

    Args:
        replica: where.
        held: what it lists of the log, listed before the archive was.
        chain: the archive's.
        terms: what the archive's chain was held to.
        note: told of every break.

    Raises:
        TransientError, SettingsError: the replica cannot be read.
    """
    found = ComparedReplica(lacking=_lacking(held, chain))
    whole = _whole(held, chain)
    terms = terms._replace(locked=replica.locked, is_copy=True)

    def told(of: BreakError) -> None:
        note(BreakError(of.kind, of.index, f"replica: {of.detail}"))

    # A link of its own that is behind a hole says nothing yet: the hole is said instead.
    theirs = await read_chain(replica.store, whole, terms, told)
    ours = {link.first: link for link in chain.links}
    for link in theirs.links:
        mine = ours.get(link.first)
        if mine is None:
            continue
        if mine.manifest and link.manifest != mine.manifest:
            told(BreakError("archive", link.first, f"another manifest of {link.first}"))
        if link.kept is not None:
            found.kept[link.first] = link.kept
            found.size = mine.closing.size if mine.closing else found.size
    found.ahead = [link.closing for link in theirs.links if link.closing is not None]
    return found


def _lacking(held: HeldLog, chain: Chain) -> int:
    lacking = 0
    for link in chain.links:
        lacking += link.kept is not None and oldest(held.segments.get(link.first, ())) is None
        lacking += bool(link.manifest) and oldest(held.manifests.get(link.first, ())) is None
    return lacking


def _whole(held: HeldLog, chain: Chain) -> HeldLog:
    """What a replica holds of a log, up to the first link of which something is lacking."""
    whole = HeldLog.empty(held.origin)
    hole = next(
        (
            link.first
            for link in chain.links
            if oldest(held.segments.get(link.first, ())) is None
            or (link.manifest and oldest(held.manifests.get(link.first, ())) is None)
        ),
        None,
    )
    for objects, kept in ((held.segments, whole.segments), (held.manifests, whole.manifests)):
        for first, versions in objects.items():
            if hole is None or first < hole:
                kept[first] = versions
    return whole
