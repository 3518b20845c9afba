"""What a lost disk, or an unclean election, leaves of a partition: its log without its end.

The files of a broker that is stopped are cut at a batch; when it starts again it takes what is
left for the log. Kafka's record batch: https://kafka.apache.org/documentation/#recordbatch
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Batch", "batches_of", "cut_partition"]

HEAD = struct.Struct(">qiibIhi")  # base offset, length, epoch, magic, crc, attributes, last delta
CONTROL = 0x20
REBUILT = ("*.index", "*.timeindex", "*.txnindex", "*.snapshot")


class Batch(NamedTuple):
    """One batch of a segment file: where it ends there, its offsets, whether it is a marker."""

    end: int
    first_offset: int
    last_offset: int
    is_marker: bool


def batches_of(segment: bytes) -> Iterator[Batch]:
    at = 0
    while at + HEAD.size <= len(segment):
        first, length, _, _, _, attributes, delta = HEAD.unpack_from(segment, at)
        at += 12 + length
        yield Batch(at, first, first + delta, bool(attributes & CONTROL))


def cut_partition(
    folder: Path, topic: str, partition: int, *, behind: int, at_marker: bool = False
) -> int:
    """Keep the batches up to offset `behind`, with `at_marker` up to the marker that follows it.

    `folder` is the data directory of a broker that is stopped. The offset the log now ends at.
    """
    log = folder / f"{topic}-{partition}"
    kept: Batch | None = None
    is_over = False
    for segment in sorted(log.glob("*.log")):
        length = 0
        for batch in batches_of(segment.read_bytes()):
            waits = at_marker and kept is not None and not kept.is_marker
            is_over = is_over or (batch.last_offset > behind and not waits)
            if is_over:
                break
            kept, length = batch, batch.end
        if length:
            os.truncate(segment, length)
        else:
            segment.unlink()
    assert kept is not None, "the whole log would be cut"
    for pattern in REBUILT:
        for beside in log.glob(pattern):
            beside.unlink()
    return kept.last_offset + 1
