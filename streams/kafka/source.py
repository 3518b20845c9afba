"""A source partition this process owns: its reader, and the position posted for it.

The posted position is the group's committed offset; its metadata is the log's size and root at
it, `<size> <root in lower-case hex>`, and behind that ` e<n>` from epoch 1 on.
"""

import re

from aiokafka.errors import NoError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest

from streams.errors import NotOwnerError, VerificationError
from streams.kafka.membership import GroupMembership, Tenure, TopicPartition
from streams.kafka.reader import KafkaPartitionReader
from streams.ports import Bounds, Fetched, Posted, TopicFacts

__all__ = ["KafkaSourcePartition"]

POSTED = re.compile(r"(0|[1-9][0-9]{0,18}) ([0-9a-f]{64})(?: e([1-9][0-9]{0,17}))?")


class KafkaSourcePartition:
    """A `SourcePartition` of the membership's present tenure; it ends with that."""

    def __init__(self, membership: GroupMembership, tp: TopicPartition) -> None:
        self._membership = membership
        self._tenure: Tenure | None = membership.tenure
        self._tp = tp
        self._reader = KafkaPartitionReader(
            membership.connection, tp.topic, tp.partition, dense=True
        )

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self._tp.topic

    @property
    def partition(self) -> int:
        """The partition's number."""
        return self._tp.partition

    async def bounds(self) -> Bounds:
        """See `KafkaPartitionReader`."""
        return await self._reader.bounds()

    async def fetch(self, offset: int, *, max_records: int, max_wait_ms: int) -> Fetched:
        """See `KafkaPartitionReader`; raises NotOwnerError once the partition was revoked."""
        self._owned()
        fetched = await self._reader.fetch(
            offset, max_records=max_records, max_wait_ms=max_wait_ms
        )
        self._owned()
        return fetched

    async def facts(self) -> TopicFacts:
        """See `KafkaPartitionReader`."""
        return await self._reader.facts()

    async def epoch_end(self, epoch: int, *, seen: int) -> int:
        """See `KafkaPartitionReader`."""
        return await self._reader.epoch_end(epoch, seen=seen)

    async def posted(self) -> Posted | None:
        """The group's committed position, from its coordinator.

        Raises VerificationError where it is not one this class posted: offsets were reset.
        """
        group, link = self._membership.group_id, self._reader.link

        async def ask() -> tuple[int, str]:
            request = OffsetFetchRequest(group, [(self.topic, [self.partition])])
            response = await link.ask_coordinator(group, request)
            ((_, ((_, offset, metadata, error_code),)),) = response.topics
            error = for_code(error_code)
            if error is not NoError:
                raise error(group)
            return int(offset), metadata or ""

        offset, metadata = await link.retrying(f"asking group {group} for its position", ask)
        if offset < 0:
            return None
        found = POSTED.fullmatch(metadata)
        if found is None:
            raise VerificationError(
                f"the position of group {group} in {self.topic}/{self.partition} carries "
                f"{metadata[:80]!r}, not a size and a root: its offsets were set by someone else"
            )
        return Posted(offset, int(found[1]), bytes.fromhex(found[2]), int(found[3] or 0))

    async def post(self, posted: Posted) -> None:
        """Commit to the group; see the port."""
        epoch = f" e{posted.epoch}" if posted.epoch else ""
        text = f"{posted.size} {posted.root.hex()}{epoch}"
        await self._membership.commit(self._owned(), self._tp, posted.offset, text)

    async def close(self) -> None:
        """Idempotent. The partition stays assigned."""
        await self._reader.close()

    def _owned(self) -> Tenure:
        tenure = self._tenure
        if tenure is None or tenure.ended or self._tp not in tenure.partitions:
            raise NotOwnerError(
                f"{self.topic}/{self.partition} is not assigned to this member of group "
                f"{self._membership.group_id}"
            )
        return tenure
