"""Whether a source was cut where its leader changed.

Kafka loses acknowledged records only at a change of leader, and every leader has an epoch that
its record batches carry. So before anything fetched under a new epoch is sealed, the new leader is
asked where the epoch before ended: what was fetched beyond that, its log does not have. Comparing
the last leaf alone would miss a log that was cut, refilled, and came to an equal record there.

A source without epochs answers -1, and is never asked.
"""

from streams.ports import Fetched, SourcePartition
from streams.source_checks import NO_EPOCH

__all__ = ["LeaderEpochs"]


class LeaderEpochs:
    """The epoch under which a source was read last, and how far; outlives a sealer's writers."""

    __slots__ = ("_epoch", "_next", "_source")

    def __init__(self, source: SourcePartition) -> None:
        self._source = source
        self._epoch = NO_EPOCH
        self._next = 0

    async def resume(self, epoch: int, sealed: int) -> int | None:
        """Begin anew behind what is sealed, which was compared under `epoch`.

        Args:
            epoch: of the leader that was asked.
            sealed: the offset behind the last leaf.

        Returns:
            Where the epoch of before ended, if that is before what was sealed of it: the source
            was cut there. None: all is well. Raises TransientError.
        """
        # Others may have sealed what lies behind, under later epochs.
        self._next = min(self._next, sealed)
        cut = await self._cut(seen=max(epoch, self._epoch))
        if cut is None:
            self._epoch, self._next = epoch, sealed
        return cut

    async def admit(self, fetched: Fetched) -> int | None:
        """Take note of what was fetched, before any of it is sealed.

        Returns:
            Where the epoch of before ended, if that is before what was looked through in it:
            records or markers, another leader has other things there. None: all is well.
        """
        if fetched.epoch == NO_EPOCH:
            return None
        if fetched.epoch != self._epoch:
            cut = await self._cut(seen=fetched.epoch)
            if cut is not None:
                return cut
            self._epoch = fetched.epoch
        self._next = fetched.next_offset
        return None

    def reach(self, sealed: int, epoch: int) -> None:
        """What lies before offset `sealed` was sealed again, fetched by somebody else."""
        if epoch != NO_EPOCH:  # else it came from the archive, and its source may be gone
            self._epoch, self._next = epoch, sealed

    async def check(self) -> int | None:
        """Ask although nothing was fetched; returns as `admit`."""
        return await self._cut(seen=self._epoch)

    async def _cut(self, *, seen: int) -> int | None:
        if NO_EPOCH in (self._epoch, seen):
            return None
        looked_through = self._next  # of this epoch; more may be fetched while it is asked about
        end = await self._source.epoch_end(self._epoch, seen=seen)
        return end if end < looked_through else None
