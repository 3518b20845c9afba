"""The small log that an independent program made: tests/golden/log.json."""

import json
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from schemas.audit_values import decode_audit_value
from schemas.records import Checkpoint, Record

__all__ = ["GoldenSegment", "golden_log", "golden_segments"]

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "log.json"
RULE_SIZE = 70_000  # "byte i = (7*i + i/256) mod 256"


class GoldenSegment(NamedTuple):
    """One segment as formats §8 wants it."""

    origin: str
    first: int
    size: int
    marker: bytes
    opening: Checkpoint | None
    rows: list[Record]


def golden_log() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return parsed


@cache
def golden_segments() -> list[GoldenSegment]:
    """Both segments; offsets are positions in the partition, doubled."""
    log = golden_log()
    rows = [
        Record(2 * at, entry["kafka_timestamp"], None, _value(entry["value"]))
        for at, entry in enumerate(log["partition"])
    ]
    return [
        GoldenSegment(
            origin=log["origin"],
            first=segment["first_index"],
            size=segment["closing_size"],
            marker=bytes.fromhex(segment["sync_marker_hex"]),
            opening=_checkpoint(rows, segment["opening"]),
            rows=[rows[at] for at in segment["rows"]],
        )
        for segment in log["segments"]
    ]


def _checkpoint(rows: list[Record], at: int | None) -> Checkpoint | None:
    if at is None:
        return None
    value = decode_audit_value(rows[at].value or b"")
    assert isinstance(value, Checkpoint)
    return value


def _value(entry: dict[str, Any]) -> bytes:
    if "hex" in entry:
        value = bytes.fromhex(entry["hex"])
    else:
        body = bytes((7 * i + i // 256) % 256 for i in range(RULE_SIZE))
        value = bytes.fromhex(entry["hex_before"]) + body + bytes.fromhex(entry["hex_after"])
    assert sha256(value).hexdigest() == entry["sha256_hex"]
    return value
