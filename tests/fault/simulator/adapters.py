"""The ports over the simulated servers: they promise and raise what the Kafka adapters do.

Like those they give up after bounded retries, check offsets before a commit, serve a fetch from
what an earlier answer brought, and ask for the bounds of a partition in three questions.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from schemas.audit_values import CHECKPOINT_HEAD, decode_audit_value
from schemas.records import Checkpoint, Record
from streams.audit.note import ED25519
from streams.audit.trust import TrustHistory
from streams.errors import FencedError, NotOwnerError, OutcomeUnknownError, TransientError
from streams.ports import (
    Appended,
    Bounds,
    Fetched,
    NewRecord,
    ObjectInfo,
    ObjectStore,
    ObjectVersion,
    Posted,
    Signer,
    TopicFacts,
)
from tests.fault.simulator.group import Group
from tests.fault.simulator.loop import SimulatedLoop
from tests.fault.simulator.network import BusyError, Network, NoAnswerError
from tests.fault.simulator.partition_log import Page, PartitionLog
from tests.fault.simulator.transactions import Coordinator

__all__ = [
    "SimulatedClock",
    "SimulatedObjects",
    "SimulatedReader",
    "SimulatedSigner",
    "SimulatedSource",
    "SimulatedTrust",
    "SimulatedWriter",
    "Tenure",
    "immediate",
]

T = TypeVar("T")

BATCH_RECORDS = 16  # what one answer to a fetch holds at most
CREATED = {"/claim": "claim", ".note": "anchor", ".avro": "segment"}
BUSY_S = 0.02
START_PATIENCE_S = 20.0
APPEND_PATIENCE_S = 20.0
RESENDS = 0.3  # how often the producer itself asks again


class SimulatedReader:
    """A `PartitionReader`; `dense` is for sources, as in `streams.kafka.reader`."""

    def __init__(self, log: PartitionLog, network: Network, *, dense: bool = False) -> None:
        self._log, self._network, self._dense = log, network, dense
        self._fetching = asyncio.Lock()
        self._ahead: list[Record] = []
        self._due = self._end = self._epoch = -1

    @property
    def topic(self) -> str:
        return self._log.topic

    @property
    def partition(self) -> int:
        return self._log.partition

    async def bounds(self) -> Bounds:
        log, ask = self._log, self._network.read
        try:
            if self._network.chance.random() < 0.7:
                return await ask("bounds", log.bounds)
            high_watermark = await ask("bounds", lambda: log.high_watermark)
            end = await ask("bounds", lambda: log.end)
            start = await ask("bounds", lambda: log.start)
        except NoAnswerError as error:
            raise TransientError("asking for bounds") from error
        return Bounds(start, end, max(end, high_watermark))

    async def fetch(self, offset: int, *, max_records: int, max_wait_ms: int) -> Fetched:
        async with self._fetching:
            if not self._ahead or self._due != offset:
                await self._fill(offset, max_wait_ms / 1000)
            taken = self._ahead[:max_records]
            del self._ahead[:max_records]
            self._due = self._ahead[0].offset if self._ahead else self._end
            return Fetched(taken, self._due, self._epoch)

    async def facts(self) -> TopicFacts:
        try:
            return await self._network.read("facts", self._log.facts)
        except NoAnswerError as error:
            raise TransientError("asking for the topic") from error

    async def close(self) -> None:
        self._ahead = []

    async def _fill(self, offset: int, wait_s: float) -> None:
        self._ahead = []
        page = await self._ask(offset)
        if page.end == offset and wait_s:
            changed = self._log.wait()
            await asyncio.wait({changed}, timeout=wait_s)
            if changed.done():
                page = await self._ask(offset)
        self._ahead, self._end, self._epoch = page

    async def _ask(self, offset: int) -> Page:
        def read() -> Page:
            return self._log.read(offset, BATCH_RECORDS, dense=self._dense)

        try:
            return await self._network.read("fetch", read)
        except NoAnswerError as error:
            raise TransientError("fetching") from error


class Tenure:
    """The time a member owns the partition, in one generation."""

    def __init__(self, member: str, generation: int) -> None:
        self.member, self.generation = member, generation
        self.ended = False
        self.can_ask = False  # something was posted in it, and may be again
        self.must_ask = False  # a writer was fenced since


class SimulatedSource(SimulatedReader):
    """A `SourcePartition` of one tenure."""

    def __init__(self, log: PartitionLog, network: Network, group: Group, tenure: Tenure) -> None:
        super().__init__(log, network, dense=True)
        self._group, self._tenure = group, tenure

    async def fetch(self, offset: int, *, max_records: int, max_wait_ms: int) -> Fetched:
        self._check_owned()
        fetched = await super().fetch(offset, max_records=max_records, max_wait_ms=max_wait_ms)
        self._check_owned()
        return fetched

    async def epoch_end(self, epoch: int, *, seen: int) -> int:
        del seen  # the one there is has the last word
        try:
            end = await self._network.read("epoch", lambda: self._log.epoch_end(epoch))
        except NoAnswerError as error:
            raise TransientError("asking for an epoch") from error
        if end < 0:
            raise TransientError(f"nobody knows epoch {epoch}")
        return end

    async def posted(self) -> Posted | None:
        try:
            return await self._network.read("posted", lambda: self._group.posted)
        except NoAnswerError as error:
            raise TransientError("asking for the position") from error

    async def post(self, posted: Posted) -> None:
        self._check_owned()
        tenure = self._tenure
        tenure.can_ask, tenure.must_ask = True, False

        def post() -> None:
            self._group.post(tenure.member, tenure.generation, posted)

        try:
            await self._network.write("position", post)
        except NoAnswerError as error:
            raise TransientError("posting") from error

    def _check_owned(self) -> None:
        if self._tenure.ended:
            raise NotOwnerError(f"{self.topic} was revoked")


class SimulatedWriter:
    """A `PartitionWriter` as `streams.kafka.writer` is one."""

    def __init__(
        self,
        coordinator: Coordinator,
        network: Network,
        fenced: Callable[[], None] = lambda: None,
    ) -> None:
        self._coordinator, self._network, self._fenced = coordinator, network, fenced
        self.epoch: int | None = None
        self.is_confirmed = False
        self._usable = False
        self._sequence = 0
        self._last: Appended | None = None

    @property
    def topic(self) -> str:
        return self._coordinator.log.topic

    @property
    def partition(self) -> int:
        return self._coordinator.log.partition

    @property
    def marker_offsets(self) -> int:
        return 1

    async def start(self) -> None:
        assert self.epoch is None, "a writer is started once"
        try:
            async with asyncio.timeout(START_PATIENCE_S):
                self.epoch = await self._until_heard("start", self._coordinator.start)
        except (NoAnswerError, TimeoutError) as error:
            raise TransientError("starting the writer") from error
        self._usable = True

    async def append(self, records: Sequence[NewRecord]) -> Appended:
        assert records, "an append has at least one record"
        return await self._transact(lambda: self._append(records))

    async def confirm(self) -> None:
        epoch = self.epoch

        def confirm() -> None:
            assert epoch is not None
            self._coordinator.confirm(epoch)

        await self._transact(lambda: self._until_heard("confirm", confirm))
        self.is_confirmed = True

    async def close(self) -> None:
        self._usable = False

    async def _transact(self, transaction: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if not self._usable:
            raise OutcomeUnknownError("this writer was dropped or failed before")
        self._usable = False
        try:
            async with asyncio.timeout(APPEND_PATIENCE_S):
                result = await transaction()
        except FencedError:
            self._fenced()
            raise
        except (NoAnswerError, TimeoutError) as error:
            raise OutcomeUnknownError("no answer") from error
        self._usable = True
        return result

    async def _append(self, records: Sequence[NewRecord]) -> Appended:
        assert self.epoch is not None
        call, epoch, server = _name_of(records), self.epoch, self._coordinator
        half = self._network.chance.randint(1, len(records))
        placed = []
        for batch in (records[:half], records[half:]):
            if batch:
                self._sequence += 1
                send = _Call(server.send, epoch, self._sequence, batch)
                placed.append((await self._resent(call, send), len(batch)))
        await self._check_offsets(placed)
        await self._resent(f"{call} commit", _Call(server.commit, epoch))
        self._last = Appended(placed[0][0], placed[0][0] + len(records) - 1)
        return self._last

    async def _check_offsets(self, placed: list[tuple[int, int]]) -> None:
        """As the real writer: one run, with a marker between it and the one before."""
        first = due = placed[0][0]
        for offset, count in placed:
            if offset != due:
                await self._abort()
                raise OutcomeUnknownError(f"a batch is at offset {offset}, not at {due}")
            due += count
        last = self._last
        if last is None or first > last.last_offset + 1:
            return
        log = self._coordinator.log
        if first == last.last_offset + 1:
            try:
                if await self._network.read("bounds", lambda: log.end) <= last.first_offset:
                    return
            except NoAnswerError:
                pass
        await self._abort()
        raise OutcomeUnknownError(f"records begin at {first} behind {last.last_offset}: cut")

    async def _abort(self) -> None:
        assert self.epoch is not None
        try:
            await self._network.write("abort", _Call(self._coordinator.abort, self.epoch))
        except (NoAnswerError, FencedError):
            return

    async def _resent(self, call: str, do: Callable[[], T]) -> T:
        """Heard at last, or not: the producer asks a lost question again, now and then."""
        while True:
            try:
                return await self._until_heard(call, do)
            except NoAnswerError:
                if self._network.is_over or self._network.chance.random() > RESENDS:
                    raise

    async def _until_heard(self, call: str, do: Callable[[], T]) -> T:
        while True:
            try:
                return await self._network.write(call, do)
            except BusyError:
                await asyncio.sleep(BUSY_S)


class _Call:
    """A request with its arguments as they were when it was sent."""

    def __init__(self, do: Callable[..., Any], *args: object) -> None:
        self._do, self._args = do, args

    def __call__(self) -> Any:
        return self._do(*self._args)


def _name_of(records: Sequence[NewRecord]) -> str:
    """Which durable write a transaction is, by what it holds."""
    if not records[-1].value.startswith(CHECKPOINT_HEAD):
        return "records"
    first = decode_audit_value(records[0].value)
    return "note alone" if isinstance(first, Checkpoint) and first.frontier else "genesis"


class SimulatedObjects:
    """An `ObjectStore` behind the network; `store` keeps the law of create-if-absent."""

    def __init__(self, store: ObjectStore, network: Network) -> None:
        self._store, self._network = store, network

    async def create(self, key: str, body: bytes, *, retain_days: int) -> str:
        call = next((name for end, name in CREATED.items() if end in key), "verdict")

        def create() -> str:
            return immediate(self._store.create(key, body, retain_days=retain_days))

        try:
            return await self._network.write(call, create)
        except NoAnswerError as error:
            raise OutcomeUnknownError(f"creating {key}") from error

    async def get(self, key: str, version_id: str | None = None) -> bytes | None:
        return await self._read(lambda: self._store.get(key, version_id))

    async def head(self, key: str, version_id: str) -> ObjectInfo | None:
        return await self._read(lambda: self._store.head(key, version_id))

    async def extend(self, key: str, version_id: str, until: datetime) -> None:
        await self._read(lambda: self._store.extend(key, version_id, until))

    async def versions(self, prefix: str) -> list[ObjectVersion]:
        return await self._read(lambda: self._store.versions(prefix))

    async def close(self) -> None:
        pass

    async def _read(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            return await self._network.read("objects", lambda: immediate(ask()))
        except NoAnswerError as error:
            raise TransientError("reading from the object store") from error


class SimulatedSigner:
    """A signer of one key. `recorded` sees every text that was ever signed."""

    def __init__(
        self, key: Ed25519PrivateKey, network: Network, recorded: Callable[[bytes], None]
    ) -> None:
        self._key, self._network, self._recorded = key, network, recorded
        self._public_key = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def algorithm(self) -> int:
        return ED25519

    @property
    def public_key(self) -> bytes:
        return self._public_key

    async def sign(self, message: bytes) -> bytes:
        def sign() -> bytes:
            self._recorded(message)
            return self._key.sign(message)

        try:
            return await self._network.sign(sign)
        except NoAnswerError as error:
            raise TransientError("signing") from error


class SimulatedTrust:
    """A `Trust` of one signer; `history` is what the operator sealed."""

    def __init__(self, signer: SimulatedSigner, history: TrustHistory, network: Network) -> None:
        self._signer, self._history, self._network = signer, history, network

    @property
    def history(self) -> TrustHistory:
        return self._history

    def signers(self, origin: str) -> Sequence[Signer]:
        del origin
        return [self._signer]

    async def refresh(self) -> TrustHistory:
        try:
            return await self._network.read("operations", lambda: self._history)
        except NoAnswerError as error:
            raise TransientError("reading the operations") from error


class SimulatedClock:
    """A `Clock` of virtual time."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return 1_700_000_000_000 + int(self._loop.time() * 1000)

    def monotonic(self) -> float:
        return self._loop.time()


def immediate(coroutine: Awaitable[T]) -> T:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.__await__().__next__()
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("the coroutine waits for something")
