"""As much of a deployment as the search pages ask for."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from streams.audit.operations import Operation
from streams.audit.trust import TrustHistory
from streams.engine import Engine
from streams.trust import Trust

__all__ = ["FixedTrust", "SearchedDeployment", "searched"]


class FixedTrust:
    """A history that moves only by hand."""

    def __init__(self, operations: Sequence[Operation] = ()) -> None:
        self.history = TrustHistory.of(operations)

    def signers(self, origin: str) -> Sequence[Any]:
        del origin
        return ()

    async def refresh(self) -> TrustHistory:
        return self.history


class SearchedDeployment(NamedTuple):
    """An engine, and where its logs were forked."""

    engine: Engine
    trust: Trust


def searched(engine: object, operations: Sequence[Operation] = ()) -> SearchedDeployment | None:
    """A deployment around what stands for an engine; None for none."""
    if engine is None:
        return None
    return SearchedDeployment(cast("Engine", engine), FixedTrust(operations))
