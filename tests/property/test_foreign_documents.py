"""No foreign document, however mangled, ends in anything but an event or a declared error."""

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import decode_event
from schemas.errors import RejectedInput
from schemas.sources import FORMATS, Document, Options
from schemas.sources.documents import json_documents
from schemas.sources.fitting import encode_fitting
from schemas.sources.reading import Json
from tests.support.events import record

FIXTURES = Path(__file__).parents[1] / "fixtures"
FILES = {
    "cerbos": "cerbos.ndjson",
    "decisions-jsonl": "decisions.jsonl",
    "kubernetes": "kubernetes.ndjson",
    "memories-jsonl": "memories.jsonl",
    "opa": "opa.ndjson",
}
LINES = {name: (FIXTURES / file).read_bytes().splitlines() for name, file in FILES.items()}

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


def places(value: Json, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Paths to every part of a value but itself."""
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in items:
        found.append((*path, key))
        if isinstance(part, dict | list):
            found += places(part, (*path, key))
    return found


def accepted(name: str, document: bytes) -> bool:
    """Whether a document becomes an event, which then comes back from its bytes."""
    try:
        value = encode_fitting(FORMATS[name].translate(document, Options()))
    except RejectedInput:
        return False
    assert decode_event(record(value)) is not None
    return True


@settings(max_examples=1_000, deadline=None)
@given(st.data())
def test_any_part_may_be_anything(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(LINES)))
    rows = [line for line in LINES[name] if line.endswith(b"}")]
    row = json.loads(data.draw(st.sampled_from(rows)))
    for _ in range(data.draw(st.integers(1, 3))):
        if not (paths := places(row)):
            break
        *parents, last = data.draw(st.sampled_from(paths))
        holder = row
        for step in parents:
            holder = holder[step]
        holder[last] = data.draw(VALUES)
    accepted(name, json.dumps(row).encode())


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(sorted(LINES)), st.integers(0, 10_000), st.binary(max_size=6))
def test_any_bytes_may_be_anything(name: str, place: int, new: bytes) -> None:
    data = b"\n".join(LINES[name])
    at = place % len(data)
    for found in json_documents([data[:at] + new + data[at + len(new) :]]):
        if isinstance(found, Document):
            accepted(name, found.content)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=5), SCALARS, max_size=3), max_size=5), st.data())
def test_documents_are_found_whatever_they_hold_and_however_they_arrive(
    rows: list[dict[str, Json]], data: st.DataObject
) -> None:
    lines = "\n".join(map(json.dumps, rows)).encode()
    shapes = [lines, json.dumps(rows).encode(), json.dumps(rows, indent=1).encode()]
    text = data.draw(st.sampled_from(shapes))
    size = data.draw(st.integers(1, 40))
    found = list(json_documents(text[at : at + size] for at in range(0, len(text), size)))
    assert [json.loads(d.content) for d in found if isinstance(d, Document)] == rows
    assert len(found) == len(rows)
