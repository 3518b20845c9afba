"""The byte vectors in tests/golden, made by independent programs."""

import json
from base64 import b64decode
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from schemas.records import Record

__all__ = ["C2SP", "LOG", "blob", "log_rows", "source_record"]

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
# JSON of any shape: what is in it is written in its own `about`.
C2SP: dict[str, Any] = json.loads((GOLDEN / "c2sp.json").read_text())
LOG: dict[str, Any] = json.loads((GOLDEN / "log.json").read_text())

RULES: dict[str, Callable[[int], bytes]] = {
    "value_size zero bytes": bytes,
    "70000 bytes, byte i = (7*i + i/256) mod 256, i from 0, integer division": lambda size: bytes(
        (7 * i + i // 256) % 256 for i in range(size)
    ),
}


def blob(described: dict[str, Any]) -> bytes:
    """The bytes a vector describes, in hex or by a rule."""
    if "hex" in described:
        return bytes.fromhex(described["hex"])
    before, after = (bytes.fromhex(described[name]) for name in ("hex_before", "hex_after"))
    size = described["size"] - len(before) - len(after)
    return before + RULES[described["rule"]](size) + after


def source_record(described: dict[str, Any]) -> Record:
    """The source record that was sealed."""
    source = described["source"]
    key, value = described["key_b64"], described["value_b64"]
    value = None if value is None else b64decode(value)
    if "value_rule" in described:
        value = RULES[described["value_rule"]](70_000)
    headers = tuple(
        (_name(name), None if data is None else b64decode(data))
        for name, data in described["headers"]
    )
    return Record(
        source["offset"],
        source["timestamp"],
        None if key is None else b64decode(key),
        value,
        headers,
    )


@cache
def log_rows() -> tuple[Record, ...]:
    """The vector's audit partition, as a reader gets it."""
    return tuple(
        Record(offset, row["kafka_timestamp"], None, blob(row["value"]))
        for offset, row in enumerate(LOG["partition"])
    )


def _name(described: str | dict[str, str]) -> bytes:
    return described.encode() if isinstance(described, str) else b64decode(described["b64"])
