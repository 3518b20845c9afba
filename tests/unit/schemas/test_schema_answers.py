"""What a recorded answer may say."""

from dataclasses import replace

import pytest

from schemas.codec import decode_schema_answer, encode_schema_answer
from schemas.errors import InvalidEventError, RejectedInput
from schemas.framing import ReferenceKind, SchemaReference, confluent_frame
from schemas.records import Record
from schemas.schema_answers import TEXT_BYTES_MAX, Naming, SchemaAnswer, naming_of

KNOWN = SchemaAnswer(
    kind=Naming.ID, reference=b"\x00\x00\x00\x07", text='"string"', registry="https://registry"
)
UNKNOWN = SchemaAnswer(kind=Naming.GUID, reference=bytes(16), detail="does not know it")


@pytest.mark.parametrize("answer", [KNOWN, UNKNOWN])
def test_an_answer_is_read_as_it_was_written(answer: SchemaAnswer) -> None:
    value = encode_schema_answer(answer)
    assert value[:2] == b"\xc3\x01", "no registry is needed to read what a registry said"
    assert decode_schema_answer(Record(0, 0, None, value)) == answer


def test_an_answer_is_about_what_frames_name() -> None:
    assert KNOWN.about == SchemaReference(ReferenceKind.ID, b"\x00\x00\x00\x07")
    assert UNKNOWN.about == SchemaReference(ReferenceKind.GUID, bytes(16))
    assert [naming_of(a.about) for a in (KNOWN, UNKNOWN)] == [Naming.ID, Naming.GUID]


@pytest.mark.parametrize(
    "wrong",
    [
        replace(KNOWN, kind=Naming.UNKNOWN),
        replace(KNOWN, kind=Naming.GUID),
        replace(KNOWN, reference=bytes(5)),
        replace(KNOWN, text="ü" * (TEXT_BYTES_MAX // 2 + 1)),
        replace(KNOWN, detail="x" * 1_001),
        replace(KNOWN, registry="x" * 2_049),
    ],
)
def test_an_answer_about_nothing_or_too_long_is_refused(wrong: SchemaAnswer) -> None:
    with pytest.raises(InvalidEventError):
        encode_schema_answer(wrong)


def test_an_answer_framed_by_a_registry_is_none() -> None:
    body = encode_schema_answer(KNOWN)[10:]
    with pytest.raises(RejectedInput):
        decode_schema_answer(Record(0, 0, None, confluent_frame(7, body)))
