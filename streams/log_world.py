"""One log's surroundings, and who it is: its claim, and the topics the claim names.

A claim is made before genesis and never changes. Whoever finds other topics than the claimed ones
stops, until an operator forks the log.
"""

from collections.abc import Callable
from dataclasses import dataclass

from streams.anchors import AnchorStore, Claim
from streams.audit.note import TrustedKeys
from streams.audit.operations import EpochForked
from streams.errors import IdentityError, PolicyError, RollbackError
from streams.ports import Bounds, PartitionReader, PartitionWriter, SourcePartition, TopicFacts
from streams.trust import Trust

__all__ = ["LogWorld", "check_identity", "claim_log"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogWorld:
    """One log's surroundings.

    Attributes:
        make_writer: gives a writer that was never started.
        trust: who signs, whose signatures count, and what the operator ordered.
        fork: the order that opened this epoch of the log; None for the first one.
    """

    origin: str
    source: SourcePartition
    audit: PartitionReader
    make_writer: Callable[[], PartitionWriter]
    anchors: AnchorStore
    trust: Trust
    fork: EpochForked | None = None

    @property
    def epoch(self) -> int:
        """How often an operator forked what is sealed here."""
        return 0 if self.fork is None else self.fork.epoch

    @property
    def keys(self) -> TrustedKeys:
        """Whose signatures count, as last read."""
        return self.trust.history.keys


async def claim_log(world: LogWorld, bounds: Bounds, size: int | None) -> Claim:
    """The claim that stands, made first where the log is still to be born.

    `size`: of the log, as far as it is known; None where nobody knows of one. `bounds`: of its
    audit partition.

    Raises:
        IdentityError: there is a log and no claim, or the claim is not what the fork said.
        RollbackError: an audit partition that was emptied.
        TransientError, OutcomeUnknownError: ask again.
    """
    standing = await world.anchors.claim(world.origin)
    if standing is not None:
        _check_as_forked(world, standing)
        return standing
    if size is not None:
        raise IdentityError(
            f"{world.origin} holds {size} records but the archive has no claim "
            "of it: the archive was lost or is another one; give the right ATTESTREAM_ARCHIVE"
        )
    if bounds.start == bounds.end > 0:
        raise RollbackError(
            f"{world.audit.topic}/{world.audit.partition} was trimmed to nothing and nobody "
            f"claimed {world.origin}: recreate the audit topic, or give the archive it belongs to"
        )
    # Now whoever finds this claim with another audit topic in it stops: one origin, one log.
    return await world.anchors.make_claim(world.origin, await _own_claim(world))


async def _own_claim(world: LogWorld) -> Claim:
    """A first log begins where its source does, a later epoch where its fork says."""
    audit, fork = await world.audit.facts(), world.fork
    if fork is not None:
        return Claim(audit.cluster_id, audit.topic_id, fork.cluster_id, fork.topic_id, fork.offset)
    source, first = await world.source.facts(), (await world.source.bounds()).start
    return Claim(audit.cluster_id, audit.topic_id, source.cluster_id, source.topic_id, first)


def _check_as_forked(world: LogWorld, claim: Claim) -> None:
    fork = world.fork
    if fork is not None and claim[2:] != (fork.cluster_id, fork.topic_id, fork.offset):
        raise IdentityError(
            f"{world.origin} is claimed from offset {claim.first_offset} of topic "
            f"{claim.source_topic_id}, and the operator forked it at offset {fork.offset} of "
            f"topic {fork.topic_id}: somebody else wrote the claim; fork the log"
        )


async def check_identity(world: LogWorld, claim: Claim) -> None:
    """Both topics are the claimed ones and keep their history. Repeated each minute."""
    source, audit = await world.source.facts(), await world.audit.facts()
    found = Claim(
        audit.cluster_id, audit.topic_id, source.cluster_id, source.topic_id, claim.first_offset
    )
    if found != claim:
        differing = ", ".join(
            f"{name} {was} became {now}"
            for name, was, now in zip(Claim._fields, claim, found, strict=True)
            if was != now
        )
        raise IdentityError(
            f"{world.origin}: {differing}; the topic was deleted and recreated, or another "
            "deployment uses this origin: give the right settings, or fork the log"
        )
    for topic, facts in ((world.source.topic, source), (world.audit.topic, audit)):
        _check_policy(topic, facts)


def _check_policy(topic: str, facts: TopicFacts) -> None:
    if facts.cleanup_policy != "delete":
        raise PolicyError(
            f"cleanup.policy of {topic} is {facts.cleanup_policy!r}, expected 'delete': compaction"
            " removes records from the middle of history; set it to delete and start again"
        )
