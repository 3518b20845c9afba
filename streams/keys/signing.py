"""What all signers share: the limit of a message, how long to try, and the proof that one works.

The limit is that of AWS KMS `Sign` with MessageType RAW; it holds for every signer, so that a
deployment may change from one to another. A checkpoint is far below it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from streams.audit.note import Vkey
from streams.errors import SettingsError, TransientError
from streams.ports import Signer

__all__ = [
    "MESSAGE_BYTES_MAX",
    "OpenedSigner",
    "Patience",
    "is_signed",
    "prove",
    "require_signable",
    "retried",
]

MESSAGE_BYTES_MAX = 4096
PROBE = b"attestream signer check\n"  # one line: no checkpoint is
T = TypeVar("T")


class OpenedSigner(Signer, Protocol):
    """A signer with what it holds open."""

    async def check(self) -> None:
        """Sign once and verify: may it, and does its key sign?

        Raises:
            SettingsError: it may not, or another key signed.
            TransientError: it does not answer.
        """

    async def close(self) -> None:
        """Idempotent, never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to try: `attempts` requests, `first_delay_s` after the first, then doubled."""

    attempts: int = 3
    first_delay_s: float = 0.1
    connect_timeout_s: float = 2
    read_timeout_s: float = 3

    def delays(self) -> Iterator[float]:
        """Seconds to wait after each attempt but the last."""
        return (self.first_delay_s * 2**n for n in range(self.attempts - 1))


async def retried(ask: Callable[[], Awaitable[T]], patience: Patience) -> T:
    """Ask until there is an answer. Raises the last TransientError, and any other error at once.

    A signature that was made and lost on its way does no harm: it never left for a reader, and
    the same text is signed again.
    """
    delays = patience.delays()
    while True:
        try:
            return await ask()
        except TransientError:
            if (delay := next(delays, None)) is None:
                raise
        await asyncio.sleep(delay)


def require_signable(message: bytes) -> None:
    """Raises ValueError for a message over the limit."""
    if len(message) > MESSAGE_BYTES_MAX:
        raise ValueError(f"expected at most {MESSAGE_BYTES_MAX} bytes, found {len(message)}")


def is_signed(signer: Signer, message: bytes, signature: bytes) -> bool:
    """Whether the key that `signer` tells made this signature. Raises MalformedError."""
    return Vkey("any", signer.algorithm, signer.public_key).is_signature(signature, message)


async def prove(signer: Signer) -> tuple[bytes, bytes]:
    """Have a text signed that is no checkpoint; the text, and its verified signature.

    Raises:
        SettingsError, TransientError: as `OpenedSigner.check`.
    """
    signature = await signer.sign(PROBE)
    if not is_signed(signer, PROBE, signature):
        raise SettingsError([f"{signer!r}: what it signs does not verify under its public key"])
    return PROBE, signature
