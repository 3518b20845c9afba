"""What a good checkpoint says, and what it seals."""

from typing import NamedTuple

from schemas.records import Checkpoint
from streams.audit.checkpoint import CheckpointText
from streams.audit.note import SignatureLine

__all__ = ["Opened", "Seal"]


class Seal(NamedTuple):
    """What one good checkpoint newly covers: the leaves [first, size).

    Attributes:
        origin: the log.
        first: the size of the checkpoint before; equal to `size` for a rotation's second one.
        size: the checkpoint's size.
        root: its root hash.
        before: the compact range [0, first); with `leaves` it gives inclusion proofs.
        leaves: the leaf hashes of [first, size).
        checkpoint: the checkpoint as it was read.
    """

    origin: str
    first: int
    size: int
    root: bytes
    before: tuple[bytes, ...]
    leaves: list[bytes]
    checkpoint: Checkpoint


class Opened(NamedTuple):
    """A checkpoint whose text, origin and signatures are good.

    Attributes:
        text: what it signs.
        lines: its signature lines, in no order.
        checkpoint: the checkpoint as it was read.
    """

    text: CheckpointText
    lines: frozenset[SignatureLine]
    checkpoint: Checkpoint
