"""A second place for claims, verdicts and anchors, under another hand than the archive.

Whoever owns the archive could rewrite it with what vouches for it. So what is kept outside Kafka
is kept twice: a claim or a verdict in either place counts, and the newest anchor of both. At a
start both must answer. While a log is sealed its anchors are copied on; a second place that does
not take one delays that copy, and nothing else.
"""

import asyncio
from collections.abc import Coroutine

from streams.anchors import AnchorStore, Claim
from streams.audit.checkpoint import CheckpointText
from streams.audit.note import TrustedKeys
from streams.errors import AttestreamError, IdentityError, RollbackError
from streams.tasks import cancelled
from streams.telemetry.health import Health
from streams.telemetry.logs import get_log
from streams.verdicts import Verdict

__all__ = ["PairedAnchors", "copy_beside"]

log = get_log("anchors")


class PairedAnchors(AnchorStore):
    """The archive's anchors and those of a second place, read as one.

    Every method raises what either place raises: a place that does not answer is waited for.
    """

    def __init__(self, first: AnchorStore, second: AnchorStore) -> None:
        """`first`: the archive's, which has the segments as well."""
        super().__init__(first.objects, retain_days=first.retain_days)
        self._first = first
        self._second = second

    async def claim(self, origin: str) -> Claim | None:
        """The claim in either place; what one lost, or never had, is written there again.

        Raises:
            IdentityError: the two differ.
        """
        first, second = await self._first.claim(origin), await self._second.claim(origin)
        standing = first or second
        if standing is None or first == second:
            return standing
        if first is None:
            first = await self._first.make_claim(origin, standing)
        if second is None:
            second = await self._second.make_claim(origin, standing)
        if first != second:
            raise IdentityError(
                f"the claim of {origin} in the archive is another than the one beside it: one of "
                "the two places belongs to another deployment; give the right ATTESTREAM_ANCHORS"
            )
        return standing

    async def make_claim(self, origin: str, claim: Claim) -> Claim:
        """Create it in the archive first: whoever was first there decides for both."""
        standing = await self._first.make_claim(origin, claim)
        # A crash here leaves one claim; whoever reads it next, as we do now, makes the other.
        return await self.claim(origin) or standing

    async def newest_note(
        self, origin: str, keys: TrustedKeys | None
    ) -> tuple[CheckpointText, str] | None:
        """The valid anchor of the largest size in either place.

        Raises:
            RollbackError: both have one of that size, of two histories.
        """
        found = [await one.newest_note(origin, keys) for one in (self._first, self._second)]
        texts = [one[0] for one in found if one is not None]
        sizes = {text.size for text in texts}
        if len(texts) == 2 and len(sizes) == 1 and texts[0].root != texts[1].root:
            raise RollbackError(
                f"{origin} at size {texts[0].size} has root {texts[0].root.hex()} in the archive, "
                f"and {texts[1].root.hex()} beside it: two histories; keep both, find out who "
                "rewrote which, and begin a new ATTESTREAM_ORIGIN"
            )
        known = [one for one in found if one is not None]
        return max(known, key=lambda one: one[0].size, default=None)

    async def put(self, origin: str, size: int, note: str) -> None:
        """Keep a note in both."""
        await self._first.put(origin, size, note)
        await self._second.put(origin, size, note)

    async def all_kept(self, origin: str, keys: TrustedKeys | None) -> list[CheckpointText]:
        """Those of both places."""
        first = await self._first.all_kept(origin, keys)
        return list(dict.fromkeys((*first, *await self._second.all_kept(origin, keys))))

    async def verdicts(self, origin: str) -> list[Verdict]:
        """Those of either place, each once."""
        standing = await self._first.verdicts(origin)
        for verdict in await self._second.verdicts(origin):
            if not any(one.is_as(verdict) for one in standing):
                standing.append(verdict)
        return standing

    async def keep_verdict(self, origin: str, verdict: Verdict) -> None:
        """Keep it in both."""
        await self._first.keep_verdict(origin, verdict)
        await self._second.keep_verdict(origin, verdict)

    async def copy(self, origin: str, keys: TrustedKeys, known: int = -1) -> int:
        """Put the archive's newest anchor into the second place, if it is beyond `known`.

        Returns:
            The size it has there now, `known` where nothing newer is.
        """
        found = await self._first.newest_note(origin, keys)
        if found is None or found[0].size <= known:
            return known
        text, note = found
        await self._second.put(origin, text.size, note)
        return text.size


async def copy_beside(
    sealing: Coroutine[None, None, None],
    anchors: AnchorStore,
    log_of: tuple[str, TrustedKeys],
    period_s: float,
    health: Health,
) -> None:
    """Copy the anchors of a log while `sealing` runs; raises what that raises.

    `log_of`: the log's origin and keys.
    """
    if not isinstance(anchors, PairedAnchors):
        await sealing
        return
    copying = asyncio.create_task(_copy(anchors, log_of, period_s, health))
    try:
        await sealing
    finally:
        await cancelled(copying)
        health.agent(_name(log_of[0]))


async def _copy(
    anchors: PairedAnchors, log_of: tuple[str, TrustedKeys], period_s: float, health: Health
) -> None:
    (origin, keys), known = log_of, -1
    while True:
        try:
            known = await anchors.copy(origin, keys, known)
        except AttestreamError as error:
            health.agent(_name(origin), f"cannot copy anchors: {error}")
            log.warning("anchor not copied", origin=origin, why=str(error))
        else:
            health.agent(_name(origin))
        await asyncio.sleep(period_s)


def _name(origin: str) -> str:
    return f"second-anchors of {origin}"
