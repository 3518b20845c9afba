"""The recorded answers, as far as they are sealed: the first about a reference counts.

Whoever may write to the operations topic may record an answer: sealing proves order, not
authority. So that topic is for workers and operators alone (docs/reference/topics.md).
"""

import asyncio
from collections.abc import Mapping

from projections.ports import Position, SealedBatch
from projections.runner import SealedWalk
from schemas.audit_values import decode_content
from schemas.catalogue import canonical_form, parse_text
from schemas.codec import WriterSchema, decode_schema_answer, writer_schema
from schemas.compatibility import reading_problems
from schemas.errors import DecodeError, RejectedInput
from schemas.framing import ReferenceKind, SchemaReference
from schemas.record_types import RECORD_TYPES, RecordType
from schemas.records import Plain, Record
from schemas.schema_answers import SchemaAnswer
from streams.audit.note import TrustedKeys
from streams.audit.trail import Trail
from streams.errors import BreakError, TransientError
from streams.history import read_page
from streams.ports import PartitionReader

__all__ = ["SealedAnswers"]

PAGE_RECORDS = 500
START = Position(0, None, None)


class SealedAnswers:
    """Follows one operations log. What no reader can use is kept as None.

    Memory: a hundred bytes an answer, some ten kilobytes where it has a schema of one of our
    records; `fold` bounds how many there can be.
    """

    def __init__(self, origin: str, keys: TrustedKeys | None, end: int | None = None) -> None:
        """Without `keys` no signature is checked: enough to show what was published.

        `end`: the size at which the log was forked; nothing behind it is read.
        """
        self._origin = origin
        self._keys = keys
        self._end = end
        self._size = 0
        self._answers: dict[SchemaReference, WriterSchema | None] = {}
        self._ids: dict[bytes, int] = {}
        self._walk = self._begin()
        self._offset: int | None = None

    @property
    def answers(self) -> Mapping[SchemaReference, WriterSchema | None]:
        """What was read so far."""
        return self._answers

    def id_of(self, schema_fingerprint: bytes) -> int | None:
        """The id first recorded for a schema of ours as it is today."""
        return self._ids.get(schema_fingerprint)

    async def follow(self, reader: PartitionReader) -> None:
        """Read to where the log ends now.

        Raises:
            TransientError: no answer, the log ends earlier now, or what was appended is no good
                history: its sealer and its archive stop and page for that.
        """
        if self._is_ended:
            return
        bounds = await reader.bounds()
        offset = bounds.start if self._offset is None else self._offset
        while offset < bounds.end and not self._is_ended:
            fetched = await read_page(reader, offset, bounds.end, most=PAGE_RECORDS)
            try:
                self._take_all(fetched.records)
            except BreakError as error:
                self._walk, self._offset, self._size = self._begin(), None, 0
                raise TransientError(f"{self._origin} does not verify: {error}") from error
            offset = self._offset = fetched.next_offset
            await asyncio.sleep(0)

    @property
    def _is_ended(self) -> bool:
        return self._end is not None and self._size >= self._end

    def _take_all(self, records: list[Record]) -> None:
        """Raises BreakError, with what came before it taken."""
        for batch in self._walk.feed(records):
            if self._end is None or batch.size <= self._end:
                self._take(batch)
            self._size = batch.size
            if self._is_ended:
                return

    def _begin(self) -> SealedWalk:
        return SealedWalk(self._origin, Trail(self._origin, self._keys), START)

    def _take(self, batch: SealedBatch) -> None:
        for record in batch.records:
            answer = _answer_in(record.content)
            if answer is not None and answer.about not in self._answers:
                self._keep(answer)

    def _keep(self, answer: SchemaAnswer) -> None:
        schema = None
        if answer.text is not None:
            try:
                schema = writer_schema(answer.text)
            except DecodeError:
                schema = None
            if schema and answer.about.kind is ReferenceKind.ID:
                self._keep_id(answer, RECORD_TYPES.get(schema.name))
        self._answers[answer.about] = schema

    def _keep_id(self, answer: SchemaAnswer, ours: RecordType | None) -> None:
        schema = parse_text(answer.text or "")
        # Canonical forms leave out logical types: what is written by it must be read back by it.
        if (
            ours is not None
            and canonical_form(schema) == ours.form
            and not reading_problems(schema, ours.schema)
        ):
            self._ids.setdefault(ours.fingerprint, int.from_bytes(answer.reference, "big"))


def _answer_in(content: bytes) -> SchemaAnswer | None:
    try:
        plain = decode_content(content)
        if isinstance(plain, Plain):
            return decode_schema_answer(Record(0, -1, None, plain.value))
    except RejectedInput:
        pass
    return None
