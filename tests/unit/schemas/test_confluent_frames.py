"""What Confluent's own serialiser makes of an event is read as that event."""

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.catalogue import current_text
from schemas.codec import BUILT_IN, decode_mutation, writer_schema
from schemas.framing import read_frame
from schemas.records import Record
from tests.support.events import record

FOLDER = Path(__file__).parents[2] / "golden"
THEIRS = json.loads((FOLDER / "confluent.json").read_text("utf-8"))


def ours() -> Record:
    vectors: list[dict[str, Any]] = json.loads((FOLDER / "events.json").read_text("utf-8"))[
        "vectors"
    ]
    text = next(v["single_object"] for v in vectors if v["schema"] == THEIRS["schema"])
    return record(bytes.fromhex(text))


@pytest.mark.parametrize("framing", ["prefixed", "value"])
def test_a_frame_of_another_client_is_read(framing: str) -> None:
    headers = [(name.encode(), bytes.fromhex(value)) for name, value in THEIRS["headers"]]
    theirs = record(bytes.fromhex(THEIRS[framing]), *(headers if framing == "value" else []))
    reference = read_frame(theirs).reference
    known = BUILT_IN.with_schema(reference, writer_schema(current_text("memory_mutation")))
    assert decode_mutation(theirs, known) == decode_mutation(ours())
