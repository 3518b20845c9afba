"""Search over several workers: merged, complete, or an error; never a shorter list."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from click.testing import CliRunner

from projections.api.pages import Answer
from projections.api.search import SearchPages
from projections.api.server import serve
from projections.cli.main import main
from projections.search import LocalSearch, Question
from streams.audit.operations import EpochForked
from streams.errors import TransientError
from streams.telemetry.health import Health
from streams.topology import Topology
from tests.support.searched import searched

LOGS = 3
NOBODY = "http://127.0.0.1:9"
TOPOLOGY = Topology(base="o", decisions="d", memory="m")


class Cluster:
    """As much of an engine as the pages ask: how many logs there are, and who the workers are."""

    topology = TOPOLOGY

    def __init__(self, *urls: str) -> None:
        self.urls = list(urls)

    async def partitions(self, topic: str) -> int:
        assert topic == TOPOLOGY.audit("d")
        return LOGS

    async def peers(self, role: str) -> list[str]:
        assert role == "index"
        return self.urls


class Index:
    """One hit a log."""

    def __init__(self, similarity: float) -> None:
        self.similarity = similarity

    def answer(self, question: Question) -> list[dict[str, Any]]:
        return [{"index": 0, "similarity": self.similarity}][: question.k]


def worker(cluster: Cluster | None, logs: Sequence[int], own_url: str = "") -> SearchPages:
    local = LocalSearch()
    for number in logs:
        local.add("decisions", TOPOLOGY.origin("d", number), Index(number / 10))
    return SearchPages(local, lambda: searched(cluster), own_url)


@asynccontextmanager
async def workers(cluster: Cluster, *logs: Sequence[int]) -> AsyncIterator[list[SearchPages]]:
    """A served worker for each of `logs`, known to the cluster."""
    async with AsyncExitStack() as stack:
        served = [worker(cluster, numbers) for numbers in logs]
        for pages in served:
            health = Health()
            cluster.urls.append(
                await stack.enter_async_context(serve("127.0.0.1", 0, health, pages))
            )
        yield served


def similarities(answer: Answer) -> list[float]:
    assert answer.status == 200, answer.body
    return [hit["similarity"] for hit in answer.body["hits"]]


async def test_whoever_is_asked_answers_for_all() -> None:
    async with workers(Cluster(), [0, 2], [1]) as served:
        for pages in served:
            assert similarities(await pages.answer("decisions", "{}")) == [0.2, 0.1, 0.0]
            best = await pages.answer("decisions", json.dumps({"k": 1}))
            assert similarities(best) == [0.2]


async def test_a_log_two_workers_hold_is_counted_once() -> None:
    async with workers(Cluster(), [0, 1], [1, 2]) as (first, _):
        assert similarities(await first.answer("decisions", "{}")) == [0.2, 0.1, 0.0]


async def test_a_worker_that_does_not_answer_makes_it_an_error() -> None:
    async with workers(Cluster(NOBODY), [0, 1]) as (only,):
        answer = await only.answer("decisions", "{}")
        assert answer.status == 503
        assert "o/d/2" in answer.body["error"]
        assert NOBODY in answer.body["error"]


async def test_a_log_nobody_holds_makes_it_an_error() -> None:
    async with workers(Cluster(), [0], [1]) as (first, _):
        answer = await first.answer("decisions", "{}")
        assert (answer.status, answer.body["error"]) == (503, "no worker answers for o/d/2")


async def test_an_index_that_still_reads_its_log_answers_nothing() -> None:
    local = LocalSearch()
    pages = SearchPages(local, lambda: searched(Cluster()), "")
    for number in range(LOGS):
        local.opening("decisions", TOPOLOGY.origin("d", number), Index(number / 10))
    assert (await pages.answer("decisions", "{}")).status == 503
    for number in range(LOGS):
        local.opened("decisions", TOPOLOGY.origin("d", number))
    assert similarities(await pages.answer("decisions", "{}")) == [0.2, 0.1, 0.0]
    local.opening("decisions", TOPOLOGY.origin("d", 0), Index(0.9))
    assert (await pages.answer("decisions", "{}")).status == 503


async def test_workers_of_the_same_address_are_not_taken_for_one() -> None:
    same = "http://0.0.0.0:6066"
    answer = await worker(Cluster(same), [0, 1], same).answer("decisions", "{}")
    assert answer.status == 503


async def test_a_dead_worker_that_holds_nothing_is_not_missed() -> None:
    assert similarities(await worker(Cluster(NOBODY), [0, 1, 2]).answer("decisions", "{}")) == [
        0.2,
        0.1,
        0.0,
    ]


async def test_a_broker_that_does_not_answer_is_an_error() -> None:
    class Silent(Cluster):
        async def peers(self, role: str) -> list[str]:
            raise TransientError(f"asking for {role} did not finish")

    answer = await worker(Silent(), [0]).answer("decisions", "{}")
    assert (answer.status, answer.body["error"]) == (503, "asking for index did not finish")


async def test_the_command_prints_no_part_of_an_answer() -> None:
    async with workers(cluster := Cluster(), [0], [1]):
        asked = ["search", "decisions", "--principal", "p", "--json"]
        settings = {"ATTESTREAM_URL": cluster.urls[0]}
        done = await asyncio.to_thread(CliRunner().invoke, main, asked, env=settings)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no worker answers for o/d/2" in done.stderr


async def test_before_the_deployment_is_open_nothing_is_known() -> None:
    assert (await worker(None, [0]).answer("decisions", "{}")).status == 503


async def test_a_worker_asked_for_its_own_says_whose_logs_they_are() -> None:
    answer = await worker(Cluster(), [2]).answer("decisions", '{"local": true}')
    assert answer.status == 200
    assert answer.body["logs"] == ["o/d/2"]


@pytest.mark.parametrize("body", ["", "[]", '{"k": 0}', '{"k": "many"}', "[" * 100_000])
async def test_what_is_no_question_is_refused(body: str) -> None:
    assert (await worker(Cluster(), [0]).answer("decisions", body)).status == 400


async def test_what_cannot_be_searched_is_not_found() -> None:
    assert (await worker(Cluster(), [0]).answer("alerts", "{}")).status == 404


async def test_an_answer_without_the_open_epoch_of_a_log_is_not_whole() -> None:
    fork = EpochForked(
        origin=TOPOLOGY.origin("d", 1),
        size=5,
        root=bytes(32),
        epoch=1,
        cluster_id="c",
        topic_id="t",
        offset=7,
    )
    local = LocalSearch()
    pages = SearchPages(local, lambda: searched(Cluster(), [fork]), "")
    for number in range(LOGS):
        local.add("decisions", TOPOLOGY.origin("d", number), Index(number / 10))
    answer = await pages.answer("decisions", "{}")
    assert (answer.status, answer.body["error"]) == (503, "no worker answers for o/d/1/e1")
    local.add("decisions", TOPOLOGY.origin("d", 1, 1), Index(0.15))
    # What an epoch that ended has learned is searched beside it.
    assert similarities(await pages.answer("decisions", "{}")) == [0.2, 0.15, 0.1, 0.0]
