"""Every contract test runs once on each engine."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.engines import ENGINES, EngineUnderTest


@pytest.fixture(params=list(ENGINES))
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[EngineUnderTest]:
    async with ENGINES[request.param](request) as made:
        yield made
