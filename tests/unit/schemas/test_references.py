"""Which leaves need a registry: decided at a glance, and never otherwise than the frame says."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.audit_values import encode_content
from schemas.codec import encode_event
from schemas.errors import RejectedInput
from schemas.framing import SCHEMA_ID_HEADER, ReferenceKind, SchemaReference, read_frame
from schemas.limits import EVENT_BYTES_MAX
from schemas.records import Record
from schemas.references import REGISTRY_ID_MAX, reference_of, registry_reference
from tests.support.events import full_decision

GUID = bytes(range(16))
ID = SchemaReference(ReferenceKind.ID, b"\x00\x00\x00\x07")
BY_GUID = SchemaReference(ReferenceKind.GUID, GUID)
BODY = encode_event(full_decision())[10:]


def sealed(
    value: bytes | None, headers: tuple[tuple[bytes, bytes | None], ...] = (), key: bytes = b"k"
) -> bytes:
    return encode_content(Record(0, 0, key, value, headers))


def slowly(record: Record) -> SchemaReference | None:
    """What the frame says, and that no registry gives ids above 2^31 - 1."""
    try:
        reference = read_frame(record).reference
    except RejectedInput:
        return None
    if reference.kind is ReferenceKind.FINGERPRINT:
        return None
    number = int.from_bytes(reference.value, "big")
    given = reference.kind is ReferenceKind.GUID or 0 < number <= REGISTRY_ID_MAX
    return reference if given else None


@pytest.mark.parametrize(
    ("content", "reference"),
    [
        (sealed(b"\x00" + ID.value + BODY), ID),
        (sealed(b"\x00" + ID.value), ID),
        (sealed(b"\x01" + GUID + BODY), BY_GUID),
        (sealed(BODY, ((SCHEMA_ID_HEADER, b"\x01" + GUID),)), BY_GUID),
        (sealed(encode_event(full_decision()), ((SCHEMA_ID_HEADER, b"\x01" + GUID),)), BY_GUID),
        (sealed(encode_event(full_decision())), None),
        (sealed(encode_event(full_decision()), ((b"traceparent", b"00"),)), None),
        (sealed(b"\xc3\x01" + SCHEMA_ID_HEADER), None),
        (sealed(b"\x00\x00\x00\x00\x00" + BODY), None),
        (sealed(b"\x00\x80\x00\x00\x00" + BODY), None),
        (sealed(b"\x00" + ID.value + bytes(EVENT_BYTES_MAX)), None),
        (sealed(b"\x00\x00\x00\x07"), None),
        (sealed(None), None),
        (sealed(b""), None),
        (sealed(b"{}"), None),
        (sealed(b"\x00" + ID.value + BODY, key=b"k" * 300), ID),
        (sealed(bytes(9_000_000)), None),
        (b"", None),
        (b"\x00", None),
        (b"\x02\x06key\x0asecre", None),
    ],
)
def test_the_frame_in_a_leaf_is_told(content: bytes, reference: SchemaReference | None) -> None:
    assert registry_reference(content) == reference


@given(
    st.none() | st.binary(max_size=200),
    st.none()
    | st.builds(
        lambda head, body: head + body,
        st.sampled_from([b"", b"\x00", b"\x01", b"\xc3\x01", SCHEMA_ID_HEADER]),
        st.binary(max_size=200),
    ),
    st.lists(
        st.tuples(
            st.sampled_from([SCHEMA_ID_HEADER, b"h"]),
            st.sampled_from([None, b"\x01" + GUID, b"\x02" + GUID, b"x"]),
        ),
        max_size=3,
    ),
)
def test_the_glance_agrees_with_the_frame(
    key: bytes | None, value: bytes | None, headers: list[tuple[bytes, bytes | None]]
) -> None:
    record = Record(0, 0, key, value, tuple(headers))
    assert registry_reference(encode_content(record)) == slowly(record) == reference_of(record)


def test_no_bytes_make_the_glance_fail() -> None:
    rng = random.Random(5)
    for _ in range(3000):
        registry_reference(rng.randbytes(rng.randrange(30)))
