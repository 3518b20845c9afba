"""Who signs a log's checkpoints, and whose signatures count: what a sealer asks before each.

`GivenTrust` stands still: the keys of this process and no operator. Where an operator is set,
`streams.operations_log` follows its sealed orders.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from streams.audit.note import TrustedKeys, Vkey
from streams.audit.trust import TrustHistory
from streams.errors import SettingsError
from streams.ports import Signer

__all__ = ["FollowedKeys", "GivenTrust", "Trust", "current_signers"]


class Trust(Protocol):
    """Trust as one process knows it."""

    @property
    def history(self) -> TrustHistory:
        """As of the last reading."""

    def signers(self, origin: str) -> Sequence[Signer]:
        """Those whose lines the next checkpoint of a log bears, every one of them.

        Raises:
            SettingsError: none of the keys held here may sign it.
        """

    async def refresh(self) -> TrustHistory:
        """Read anew what is sealed. Raises TransientError."""


class GivenTrust:
    """The keys held here, for every log below `base`."""

    def __init__(self, signers: Sequence[Signer], base: str) -> None:
        self._signers = signers
        self._history = TrustHistory(Vkey(base, s.algorithm, s.public_key) for s in signers)

    @property
    def history(self) -> TrustHistory:
        """The keys held, none retired."""
        return self._history

    def signers(self, origin: str) -> Sequence[Signer]:
        """All of them."""
        return current_signers(self._history, self._signers, origin)

    async def refresh(self) -> TrustHistory:
        """Nothing moves."""
        return self._history


def current_signers(
    history: TrustHistory, held: Sequence[Signer], origin: str
) -> Sequence[Signer]:
    """Those of the signers held whose keys count for the next checkpoint of a log.

    Raises:
        SettingsError: none.
    """
    current = [
        signer
        for signer in held
        if history.is_current(Vkey(origin, signer.algorithm, signer.public_key), origin)
    ]
    if not current:
        raise SettingsError(
            [
                (
                    f"no key held here may sign {origin}: the operator retired it, or did not add "
                    "it; give this worker the key that was rotated in"
                )
            ]
        )
    return current


class FollowedKeys(TrustedKeys):
    """The keys that count now, for whoever keeps them over a key rotation."""

    __slots__ = ("_trust",)

    def __init__(self, trust: Trust) -> None:
        super().__init__(())
        self._trust = trust

    @property
    def vkeys(self) -> tuple[Vkey, ...]:
        """As of the last reading, retired ones among them."""
        return self._trust.history.keys.vkeys

    def for_origin(self, origin: str) -> Mapping[bytes, tuple[Vkey, ...]]:
        """As of the last reading."""
        return self._trust.history.keys.for_origin(origin)

    def for_checkpoint(self, origin: str, size: int) -> Mapping[bytes, tuple[Vkey, ...]]:
        """As of the last reading."""
        return self._trust.history.keys.for_checkpoint(origin, size)
