"""Claims, anchors and verdicts: what is kept of a log outside Kafka.

A **claim** says who owns an origin; it is created before genesis and never changes. An **anchor**
is a checkpoint note, kept as it was signed. A **verdict** says why sealing stopped. All are
objects of the archive (formats §8), created once and locked; whoever can only write to Kafka can
change none of them.
"""

import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import NamedTuple

import rfc8785

from streams.audit.checkpoint import CheckpointText, open_note
from streams.audit.note import TrustedKeys
from streams.errors import BreakError, IdentityError, ObjectExistsError, TransientError
from streams.ports import ObjectStore
from streams.segments import anchor_name, anchors_prefix, claim_name, verdict_name
from streams.verdicts import Verdict

__all__ = ["AnchorStore", "Claim"]

VERDICT_WRITERS_MAX = 8  # who may be ahead of one that writes a verdict
ANCHOR = re.compile(r"(\d{20})\.note")


class Claim(NamedTuple):
    """Who a log is: ids of its audit topic and its source, and the first source offset sealed."""

    audit_cluster: str
    audit_topic_id: str
    source_cluster: str
    source_topic_id: str
    first_offset: int

    def render(self) -> bytes:
        """RFC 8785 JSON; the offset is text, since it may pass 2^53."""
        members: dict[str, str] = {k: str(v) for k, v in self._asdict().items()}
        return rfc8785.dumps({"format": "attestream.claim/v1", **members})

    @classmethod
    def parse(cls, data: bytes) -> "Claim":
        """The inverse of `render`.

        Raises:
            IdentityError: not a claim.
        """
        try:
            members = json.loads(data)
            if members.pop("format") != "attestream.claim/v1":
                raise ValueError("another format")  # noqa: TRY301
            claim = cls(**{**members, "first_offset": int(members["first_offset"])})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise IdentityError(f"the stored claim is unreadable: {error}") from error
        return claim


class AnchorStore:
    """Claims, anchors and verdicts of all origins in one object store."""

    def __init__(self, store: ObjectStore, *, retain_days: int) -> None:
        self._store = store
        self._retain_days = retain_days

    @property
    def retain_days(self) -> int:
        """How long what is created is locked."""
        return self._retain_days

    @property
    def objects(self) -> ObjectStore:
        """The store, where the archive's segments are as well."""
        return self._store

    async def claim(self, origin: str) -> Claim | None:
        """The claim as it was first written (the oldest version), None where there is none."""
        data = await self._store.get(claim_name(origin))
        return None if data is None else Claim.parse(data)

    async def make_claim(self, origin: str, claim: Claim) -> Claim:
        """Create the claim if absent, and return the one that stands: perhaps another's."""
        # Where somebody was first, what they wrote decides.
        with suppress(ObjectExistsError):
            await self._store.create(
                claim_name(origin), claim.render(), retain_days=self._retain_days
            )
        standing = await self.claim(origin)
        if standing is None:
            raise IdentityError(f"the claim of {origin} was written and cannot be read back")
        return standing

    async def newest(self, origin: str, keys: TrustedKeys | None) -> CheckpointText | None:
        """The valid anchor of the largest size, over all versions of all its objects."""
        found = await self.newest_note(origin, keys)
        return None if found is None else found[0]

    async def newest_note(
        self, origin: str, keys: TrustedKeys | None
    ) -> tuple[CheckpointText, str] | None:
        """As `newest`, with the note as it is kept."""
        async for found in self._notes(origin, keys):
            return found
        return None

    async def all_kept(self, origin: str, keys: TrustedKeys | None) -> list[CheckpointText]:
        """Every valid anchor of a log, in whichever place."""
        return [text async for text, _ in self._notes(origin, keys)]

    async def _notes(
        self, origin: str, keys: TrustedKeys | None
    ) -> AsyncIterator[tuple[CheckpointText, str]]:
        """Every valid anchor, the largest first."""
        prefix = anchors_prefix(origin)
        sized = [
            (int(match[1]), version)
            for version in await self._store.versions(prefix)
            if not version.is_delete_marker
            and (match := ANCHOR.fullmatch(version.key.removeprefix(prefix)))
        ]
        for size, version in sorted(sized, key=lambda pair: -pair[0]):
            note = await self._store.get(version.key, version.version_id)
            text = _opened(note, origin, keys)
            # A good note under the name of another size is a plant: it would hide larger ones.
            if note is not None and text is not None and text.size == size:
                yield text, note.decode()

    async def put(self, origin: str, size: int, note: str) -> None:
        """Keep a checkpoint note; keeping it twice is the same as once."""
        with suppress(ObjectExistsError):
            await self._store.create(
                anchor_name(origin, size), note.encode(), retain_days=self._retain_days
            )

    async def verdicts(self, origin: str) -> list[Verdict]:
        """Every verdict kept of a log, the first one first; answered ones too.

        Raises:
            VerificationError: what stands there is none.
        """
        found: list[Verdict] = []
        while (data := await self._store.get(verdict_name(origin, len(found) + 1))) is not None:
            found.append(Verdict.parse(data))
        return found

    async def keep_verdict(self, origin: str, verdict: Verdict) -> None:
        """Keep a verdict behind those that stand; the same finding twice is the same as once.

        Raises:
            TransientError, OutcomeUnknownError: ask again.
        """
        for _ in range(VERDICT_WRITERS_MAX):
            standing = await self.verdicts(origin)
            if any(one.is_as(verdict) for one in standing):
                return
            name = verdict_name(origin, len(standing) + 1)
            with suppress(ObjectExistsError):
                await self._store.create(name, verdict.render(), retain_days=self._retain_days)
                return
        raise TransientError(f"no place is left for a verdict of {origin}")


def _opened(note: bytes | None, origin: str, keys: TrustedKeys | None) -> CheckpointText | None:
    # Anyone who may write to the bucket can put a file there; only what our keys signed counts.
    if note is None:
        return None
    try:
        return open_note(note.decode(), origin, keys)
    except (BreakError, UnicodeDecodeError):
        return None
