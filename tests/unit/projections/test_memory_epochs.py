"""A fork of a memory log forgets nothing, and nothing it deletes comes back."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from projections.memory_index.projection import MemoryIndex, MemoryQuery
from projections.ports import Projection
from projections.roles import projection_specs
from projections.schema_answers.answers import AnswersWorld, SchemaAnswers
from projections.search import LocalSearch, Question
from projections.services import RoleSpec
from schemas.events import Operation
from streams.app import Deployment
from streams.clock import SystemClock
from streams.settings import load_settings
from streams.telemetry.health import Health
from streams.topology import LogPlace, Topology
from tests.support.decision_log import EventLog, mutation
from tests.support.sealed_log import START_MS, batches_of
from tests.support.searched import FixedTrust

TOPOLOGY = Topology(base="o", decisions="d", memory="m")
FIRST, SECOND = TOPOLOGY.log("m", 0), TOPOLOGY.log("m", 0, 1)
X, Y = (1.0, 0.0), (0.0, 1.0)

BEFORE = [
    mutation("kept", 1, vector=X),
    mutation("deleted", 1, vector=X),
    mutation("replaced", 1, vector=X),
    mutation("held", 1, vector=X),
    mutation("held", 1, Operation.HOLD),
    mutation("expiring", 1, vector=X, expires_at=(START_MS + 1000) * 1000),
]
# The next epoch begins with what was sealed behind the fork's size, sealed again.
AFTER = [
    mutation("expiring", 1, vector=X, expires_at=(START_MS + 1000) * 1000),
    mutation("deleted", 2, Operation.DELETE),
    mutation("replaced", 2, vector=Y),
    mutation("held", 2, Operation.DELETE),
    mutation("new", 1, vector=X),
]


def memory_role(search: LocalSearch) -> RoleSpec:
    engine = SimpleNamespace(topology=TOPOLOGY, writer=None, reader=None)
    answers = SchemaAnswers(AnswersWorld(engine=cast(Any, engine), keys=None, clock=SystemClock()))
    deployment = SimpleNamespace(
        engine=engine,
        settings=load_settings({}),
        trust=FixedTrust(),
        health=Health(),
        clock=SystemClock(),
        keys=None,
        objects=None,
    )
    specs = projection_specs(cast(Deployment, deployment), search, answers)
    return next(spec for spec in specs if spec.name == "memory")


async def follow(
    role: RoleSpec, log: LogPlace, values: list[bytes], first_ms: int = START_MS
) -> Projection:
    """As the runner does until the log has ended, but for the closing."""
    projection = role.make(log)
    await projection.resume()
    sealed = EventLog.sealed([(first_ms + i, value) for i, value in enumerate(values)], [2, 1])
    for batch in batches_of(sealed):
        await projection.apply(batch)
    role.caught_up(log)
    return projection


def found(search: LocalSearch) -> dict[str, tuple[str, int, int]]:
    query = {"namespace": "notes", "vector": [1.0, 0.1], "k": 100}
    hits = search.answer(Question("memory", query))
    assert len(hits) == len({hit["node_id"] for hit in hits}), "a memory is found twice"
    return {hit["node_id"]: (hit["origin"], hit["index"], hit["version"]) for hit in hits}


async def forked() -> tuple[RoleSpec, LocalSearch]:
    """A memory log that was forked; what both epochs hold is read."""
    search = LocalSearch()
    role = memory_role(search)
    await (await follow(role, FIRST, BEFORE)).close()
    await follow(role, SECOND, AFTER, START_MS + 10)
    return role, search


async def test_what_was_remembered_before_a_fork_is_remembered_behind_it() -> None:
    _, search = await forked()
    assert found(search) == {
        "kept": (FIRST.origin, 0, 1),
        "held": (FIRST.origin, 3, 2),
        "expiring": (FIRST.origin, 5, 1),
        "replaced": (SECOND.origin, 2, 2),
        "new": (SECOND.origin, 4, 1),
    }


async def test_what_the_next_epoch_deletes_is_found_no_more() -> None:
    _, search = await forked()
    assert "deleted" not in found(search)
    assert search.origins("memory") == [SECOND.origin]


async def test_a_hold_and_an_expiry_of_before_reach_over_the_seam() -> None:
    role, search = await forked()
    assert "held" in found(search)
    later = [*AFTER, mutation("held", 1, Operation.RELEASE)]
    await (await follow(role, SECOND, later, START_MS + 5000)).idle()
    assert found(search).keys() == {"kept", "replaced", "new"}


async def test_void_records_that_were_applied_leave_nothing_behind() -> None:
    role, search = await forked()
    void = [*AFTER, mutation("kept", 9, Operation.DELETE), mutation("forged", 1, vector=X)]
    await (await follow(role, SECOND, void, START_MS + 10)).close()
    await follow(role, SECOND, AFTER, START_MS + 10)
    assert "kept" in found(search)
    assert "forged" not in found(search)


async def test_between_two_epochs_nobody_answers_as_if_all_were_there() -> None:
    search = LocalSearch()
    role = memory_role(search)
    projection = await follow(role, FIRST, BEFORE)
    assert search.origins("memory") == [FIRST.origin]
    await projection.close()
    assert search.origins("memory") == []
    await role.make(SECOND).resume()
    assert search.origins("memory") == []


async def test_a_log_that_stops_is_out_of_the_search() -> None:
    search = LocalSearch()
    role = memory_role(search)
    stopped = await follow(role, FIRST, BEFORE)
    await stopped.close()
    await stopped.close()
    assert found(search) == {}
    again = await follow(role, FIRST, BEFORE)
    await stopped.close()  # late: another has its place
    assert "kept" in found(search)
    await again.close()


async def test_a_partition_that_is_left_is_forgotten_with_all_its_epochs() -> None:
    role, search = await forked()
    for log in (FIRST, SECOND):
        role.let_go(log)
    assert found(search) == {}
    await follow(role, SECOND, AFTER)
    assert "kept" not in found(search)


@pytest.mark.parametrize("exact", [1, 4_000_000])
async def test_what_is_carried_is_a_copy(exact: int) -> None:
    first = MemoryIndex(exact_components=exact, origin="e0")
    await first.resume()
    (batch,) = (b for b in batches_of(EventLog.sealed([(START_MS, BEFORE[0])])) if b.records)
    await first.apply(batch)
    second = MemoryIndex(exact_components=exact, origin="e1", before=first)
    await second.resume()
    (gone,) = (
        b
        for b in batches_of(EventLog.sealed([(START_MS, mutation("kept", 2, Operation.DELETE))]))
        if b.records
    )
    await second.apply(gone)
    await second.idle()
    query = MemoryQuery(namespace="notes", vector=X)
    assert [hit.node_id for hit in first.search(query)] == ["kept"]
    assert second.search(query) == []
