"""Archivers killed by SIGKILL at their requests to a real server: none missing, none doubled."""

import random
from collections.abc import Iterator
from itertools import count
from typing import get_args

import pytest

from tests.support.archives import check_archive
from tests.support.killed_archiver import Kill, KilledArchivers, Where, grown
from tests.support.s3_fixtures import S3Server

pytestmark = pytest.mark.integration

KILLED, DONE = -9, 0
WHERE: tuple[Where, ...] = get_args(Where)
SHORT, LONG = 2, 9  # batches of a log
CUT = 6


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server) -> str:
    return s3_server.make_bucket()


@pytest.fixture(scope="module")
def archivers(s3_server: S3Server, bucket: str) -> Iterator[KilledArchivers]:
    with KilledArchivers(s3_server, bucket, batches=SHORT, seed=1) as made:
        yield made


async def check(server: S3Server, bucket: str, prefix: str, batches: int, seed: int) -> None:
    log = grown(batches, seed)
    store = server.store(bucket, prefix)
    await check_archive(store, log, size=log.size)
    await store.close()


async def test_an_archiver_killed_at_some_of_its_calls_is_completed_by_the_next(
    s3_server: S3Server, bucket: str, archivers: KilledArchivers
) -> None:
    for at in (1, 3, 5, 8, 11, 14):
        prefix, where = f"some-{at}", WHERE[at % 3]
        assert archivers.run(Kill(prefix, CUT, at, where)) == [KILLED]
        assert archivers.run(Kill(prefix, CUT)) == [DONE]
        await check(s3_server, bucket, prefix, SHORT, 1)


@pytest.mark.long
@pytest.mark.parametrize("where", WHERE)
async def test_an_archiver_killed_at_any_of_its_calls_is_completed_by_the_next(
    s3_server: S3Server, bucket: str, archivers: KilledArchivers, where: Where
) -> None:
    for at in count():
        prefix = f"any-{where}-{at}"
        (ended,) = archivers.run(Kill(prefix, CUT, at, where))
        if ended == KILLED:
            assert archivers.run(Kill(prefix, CUT)) == [DONE]
        await check(s3_server, bucket, prefix, SHORT, 1)
        if ended == DONE:
            break
    assert at > 20


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
async def test_competing_archivers_are_killed_again_and_again(
    s3_server: S3Server, bucket: str, seed: int
) -> None:
    """Four at a time, each cutting otherwise, and a next generation until one has finished."""
    chance, rounds = random.Random(seed), 0
    with KilledArchivers(s3_server, bucket, batches=LONG, seed=seed) as archivers:
        for number in range(10):
            prefix = f"compete-{seed}-{number}"
            ended: list[int] = []
            while DONE not in ended:
                kills = [
                    Kill(
                        prefix,
                        chance.randint(1, 30),
                        chance.randint(0, 25),
                        chance.choice(WHERE),
                    )
                    for _ in range(4)
                ]
                ended = archivers.run(*kills)
                rounds += 1
                assert set(ended) <= {KILLED, DONE}
            await check(s3_server, bucket, prefix, LONG, seed)
    assert rounds > 20
