"""The roster: which logs there were, and where each stood, by the sealed heads (formats §5).

A partition that is dropped whole leaves no trace in those that survive but this. Anyone who may
produce to the heads topic can write there, so a head counts only where its checkpoint is signed
by a key of its log; one that stood there before may be sent again and says nothing new.
"""

from schemas.codec import decode_head
from schemas.errors import RejectedInput
from schemas.records import Plain, Record
from streams.audit.checkpoint import CheckpointText, open_note
from streams.audit.note import TrustedKeys
from streams.errors import BreakError

__all__ = ["Roster"]

MANIFESTS_MAX = 1000  # of each log: so many segments later a rewritten archive is old news


class Roster:
    """The heads sealed so far.

    roster = Roster(keys)
    for content in sealed:  # of attestream.heads, in order
        roster.apply(content)
    missing = roster.origins - presented
    """

    def __init__(self, keys: TrustedKeys) -> None:
        """`keys`: whose checkpoints count."""
        self._keys = keys
        self._heads: dict[str, tuple[CheckpointText, ...]] = {}
        self._manifests: dict[str, dict[bytes, None]] = {}

    def apply(self, content: Plain) -> bool:
        """Take the next sealed content; False where it is no head of a log we know the keys of."""
        try:
            head = decode_head(Record(0, -1, content.key, content.value, content.headers))
            text = open_note(head.note, head.origin, self._keys)
        except (RejectedInput, BreakError):
            return False
        known = self._heads.get(text.origin, ())
        largest = known[0].size if known else -1
        if text.size > largest:
            self._heads[text.origin] = (text,)
        elif text.size == largest and text not in known:
            # Two roots of one size: whichever history is presented, one of them is not in it.
            self._heads[text.origin] = (*known, text)
        if text.size >= largest and head.manifest_sha256 is not None:
            named = self._manifests.setdefault(text.origin, {})
            named.pop(head.manifest_sha256, None)
            named[head.manifest_sha256] = None
            if len(named) > MANIFESTS_MAX:
                del named[next(iter(named))]
        return True

    @property
    def origins(self) -> frozenset[str]:
        """Every log that was there once: none of them may be missing."""
        return frozenset(self._heads)

    def heads(self, origin: str) -> tuple[CheckpointText, ...]:
        """The largest checkpoint of a log, to be compared with it as an anchor is.

        Several, all of one size, where they contradict each other; none for an unknown log.
        """
        return self._heads.get(origin, ())

    def manifests(self, origin: str) -> tuple[bytes, ...]:
        """SHA-256 of the newest manifests named, the newest last; at most `MANIFESTS_MAX`.

        An archive of the log leads to every one of them, or was put back: who writes the heads
        names what stands there, so a name that was sealed before says more than the last one.
        """
        return tuple(self._manifests.get(origin, ()))
