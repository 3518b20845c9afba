"""The edges of the world, as Protocols.

Adapters: `streams.kafka`, `streams.embedded`, `streams.objects`, `streams.keys`. One contract
suite a port runs over all its adapters. Everything here is used from one asyncio event loop.
Adapters translate the errors of their libraries into `streams.errors` at the edge and do their
own bounded retries.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from schemas.records import Header, Record

__all__ = [
    "Appended",
    "Bounds",
    "Clock",
    "Fetched",
    "NewRecord",
    "ObjectInfo",
    "ObjectStore",
    "ObjectVersion",
    "PartitionReader",
    "PartitionWriter",
    "Posted",
    "PublicStore",
    "Published",
    "Signer",
    "SourcePartition",
    "TopicFacts",
]


class Bounds(NamedTuple):
    """Offsets of a partition: `start` (first kept), `end` (read-committed end), `high_watermark`.

    `end` < `high_watermark` while a transaction is open, or hangs.
    """

    start: int
    end: int
    high_watermark: int


class Fetched(NamedTuple):
    """What a fetch returned, and the offset to fetch next; holes make it exceed the records.

    `epoch`: the newest leader epoch among what the leader answered with, -1 where it says none.
    """

    records: list[Record]
    next_offset: int
    epoch: int = -1


class NewRecord(NamedTuple):
    """A record to be written; `timestamp` in ms."""

    timestamp: int
    value: bytes
    key: bytes | None = None
    headers: tuple[Header, ...] = ()


class Appended(NamedTuple):
    """Offsets of the first and last record of one committed transaction."""

    first_offset: int
    last_offset: int


class TopicFacts(NamedTuple):
    """Who a topic is (ids survive restarts, change on re-creation) and how it is cleaned up."""

    cluster_id: str
    topic_id: str
    cleanup_policy: str
    partitions: int


class Posted(NamedTuple):
    """The posted position of a sealed partition: next source offset, log size, root at it.

    `epoch` says of which epoch's log: one partition has one position, and a fork begins anew.
    """

    offset: int
    size: int
    root: bytes
    epoch: int = 0


class PartitionReader(Protocol):
    """One partition, read committed."""

    @property
    def topic(self) -> str:
        """The topic's name."""

    @property
    def partition(self) -> int:
        """The partition's number."""

    async def bounds(self) -> Bounds:
        """Ask the server. Raises TransientError."""

    async def fetch(self, offset: int, *, max_records: int, max_wait_ms: int) -> Fetched:
        """Committed records at or above `offset`, in order, waiting at most `max_wait_ms`.

        An empty answer may still move `next_offset` on, past markers and aborted records. An
        offset below the log start, or above the end, raises SourceChangedError: nothing is ever
        skipped silently. Raises TransientError.
        """

    async def facts(self) -> TopicFacts:
        """Ask the server. Raises TransientError."""

    async def close(self) -> None:
        """Idempotent."""


class SourcePartition(PartitionReader, Protocol):
    """A source partition this process owns, and the position posted for it."""

    async def epoch_end(self, epoch: int, *, seen: int) -> int:
        """Ask the leader where a leader epoch ended: the first offset that is of a later one.

        `seen` is a later epoch that was fetched: a leader that does not know it is not asked.
        Raises TransientError, also where the leader does not know `epoch`.
        """

    async def posted(self) -> Posted | None:
        """The group's committed position with its metadata, None where none was ever posted."""

    async def post(self, posted: Posted) -> None:
        """Post a position; durable when it returns.

        Raises NotOwnerError when another member owns the partition, TransientError when the
        answer is not known: posting the same again is harmless.
        """


class PartitionWriter(Protocol):
    """The one fenced, transactional writer of one partition, with its own read side.

    `start` fences every predecessor of the same partition and aborts its open transaction.
    """

    @property
    def topic(self) -> str:
        """The topic's name."""

    @property
    def partition(self) -> int:
        """The partition's number."""

    @property
    def marker_offsets(self) -> int:
        """Offsets a commit takes behind its records: 1 on Kafka (control record), else 0."""

    async def start(self) -> None:
        """Raises TransientError. Called once; a writer that failed is dropped, never restarted."""

    async def append(self, records: Sequence[NewRecord]) -> Appended:
        """Write all of `records` in one transaction, or none, and return once it is committed.

        Raises FencedError (another writer started, or the transaction expired; written only if
        the answer to the commit was lost before) or OutcomeUnknownError (perhaps written). After
        either the writer is of no further use. Raises SettingsError where the topic refuses.
        """

    async def confirm(self) -> None:
        """Commit a transaction that writes no record: proof of still being the writer.

        Raises FencedError, OutcomeUnknownError.
        """

    async def close(self) -> None:
        """Idempotent, bounded in time, never raises."""


class ObjectVersion(NamedTuple):
    """One version of an object in a listing."""

    key: str
    version_id: str
    size: int
    is_delete_marker: bool


class ObjectInfo(NamedTuple):
    """What the store says of one version. `sha256` is raw, None where the store keeps none."""

    size: int
    sha256: bytes | None
    retain_until: datetime | None
    lock_mode: str | None
    legal_hold: bool = False


class ObjectStore(Protocol):
    """A bucket and prefix, or a directory: objects are created once and read by version.

    Keys are logical: relative to the prefix, `/` between components.
    """

    async def create(self, key: str, body: bytes, *, retain_days: int) -> str:
        """Create if absent, locked until the server's clock + `retain_days`; the version id.

        Raises ObjectExistsError, TransientError, OutcomeUnknownError (perhaps created).
        """

    async def get(self, key: str, version_id: str | None = None) -> bytes | None:
        """One version's bytes (None: the oldest version), or None where there is none."""

    async def head(self, key: str, version_id: str) -> ObjectInfo | None:
        """What the store says of one version."""

    async def extend(self, key: str, version_id: str, until: datetime) -> None:
        """Lock a version until then at least; durable on return, nothing where it is so already.

        Raises SettingsError if it may not or there is no such version, TransientError,
        StoredOtherwiseError if the lock is shorter all the same.
        """

    async def versions(self, prefix: str) -> list[ObjectVersion]:
        """All versions under a prefix, by key, oldest first, delete markers included."""

    async def close(self) -> None:
        """Idempotent."""


class Published(NamedTuple):
    """What stands under a name now; `tag` changes with the bytes."""

    body: bytes
    tag: str


class PublicStore(Protocol):
    """Objects as a reader without versions sees them: of each name the newest, without a lock.

    The same place as an `ObjectStore`, for what is derived and may be shown: it can be replaced,
    deleted and written again. Keys are as there.
    """

    async def newest(self, key: str) -> Published | None:
        """What stands, None where nothing does. Raises TransientError."""

    async def replace(self, key: str, body: bytes, *, over: str | None = None) -> str:
        """Put `body` where `over` is the tag of what stands (None: nothing); its tag.

        A reader sees the old object or the new one, never a part. Where these bytes stand already
        nothing is done. Raises ObjectExistsError where something else does, TransientError,
        OutcomeUnknownError (perhaps replaced).
        """


class Signer(Protocol):
    """Signs checkpoint texts. The key stays behind it."""

    @property
    def algorithm(self) -> int:
        """C2SP signature type: 0x01 Ed25519, 0x02 ECDSA."""

    @property
    def public_key(self) -> bytes:
        """Ed25519: 32 bytes. ECDSA: DER SubjectPublicKeyInfo."""

    async def sign(self, message: bytes) -> bytes:
        """A signature over at most 4096 bytes.

        Raises TransientError, or SettingsError where an operator must act: it is refused.
        """


class Clock(Protocol):
    """The one source of time outside adapters."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds, never going back."""
