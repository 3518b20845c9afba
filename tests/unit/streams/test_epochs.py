"""Every epoch there is is found, whatever became of the topics of earlier ones."""

from pathlib import Path

import pytest

from streams.epochs import logs_there, newest_epoch
from tests.support.sealing_world import sealing_world


@pytest.mark.parametrize(("there", "newest"), [((), 0), ((1, 2), 2), ((2,), 2), ((3, 5), 5)])
async def test_a_topic_that_is_gone_hides_no_later_epoch(
    tmp_path: Path, there: tuple[int, ...], newest: int
) -> None:
    async with sealing_world(tmp_path) as at:
        engine = at.engine
        for epoch in there:
            await engine.open_epoch(at.topic, epoch)
        assert await newest_epoch(engine, at.topic) == newest
        epochs = [log.epoch async for log in logs_there(engine) if log.source == at.topic]
        assert epochs == [0, *there]
