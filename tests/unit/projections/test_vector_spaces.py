"""Namespaces of `vectors serve`: exact, bounded, and removed means removed."""

from collections.abc import Iterator

import numpy as np
import pytest

from projections.vector_server.protocol import RequestError, Vector, unit_vector
from projections.vector_server.spaces import Spaces

RNG = np.random.default_rng(7)
ROOM = 2**30
DIMENSION = 16
FEW = 40 * DIMENSION  # numbers compared without a graph


def random_vectors(count: int, first: int = 0) -> list[tuple[str, Vector]]:
    rows = RNG.normal(size=(count, DIMENSION)).tolist()
    return [(f"n{first + i}", unit_vector(row)) for i, row in enumerate(rows)]


def never() -> bool:
    return False


def after(calls: int) -> "Iterator[bool]":
    yield from [False] * calls
    while True:
        yield True


def filled(count: int = 200) -> tuple[Spaces, list[tuple[str, Vector]]]:
    spaces, vectors = Spaces(ROOM, FEW), random_vectors(count)
    spaces.add("s", vectors, never)
    while not spaces.is_idle:
        spaces.step()
    return spaces, vectors


def code_of(raised: "pytest.ExceptionInfo[RequestError]") -> str:
    return raised.value.code


def test_every_vector_finds_itself_with_its_similarity_with_a_graph_and_without() -> None:
    for count in (30, 200):
        spaces, vectors = filled(count)
        for node, vector in vectors:
            hits = spaces.search("s", vector, 3, -1.0)
            assert hits[0].node_id == node
            assert hits[0].similarity == pytest.approx(1.0, abs=1e-5)
            assert [hit.similarity for hit in hits] == sorted(
                (hit.similarity for hit in hits), reverse=True
            )


def test_what_is_removed_is_not_found_and_held_nowhere() -> None:
    spaces, vectors = filled()
    assert spaces.remove("s", ["n3", "n7", "nobody"], never) == (2, True)
    assert spaces.stats("s") == {
        "dimension": DIMENSION,
        "vectors": 198,
        "held_after_removal": 0,
        "building": False,
    }
    for node in ("n3", "n7"):
        vector = dict(vectors)[node]
        assert node not in {hit.node_id for hit in spaces.search("s", vector, 200, -1.0)}
        _, nodes, rows = spaces.held("s")
        assert node not in nodes
        assert not (rows @ vector > 0.999).any()


def test_a_removal_whose_time_is_over_is_done_and_forgotten_between_requests() -> None:
    spaces, vectors = filled()
    over = after(1)
    assert spaces.remove("s", ["n3"], lambda: next(over)) == (1, False)
    assert spaces.stats("s")["building"]
    hits = spaces.search("s", dict(vectors)["n3"], 200, -1.0)
    assert "n3" not in {hit.node_id for hit in hits}
    while not spaces.is_idle:
        spaces.step()
    assert spaces.stats("s")["held_after_removal"] == 0


def test_who_adds_while_a_graph_is_built_waits_for_it_or_changes_nothing() -> None:
    spaces, _ = filled()
    over = after(1)
    spaces.remove("s", ["n3"], lambda: next(over))
    with pytest.raises(RequestError) as raised:
        spaces.add("s", random_vectors(1, 900), lambda: True)
    assert code_of(raised) == "timeout"
    assert raised.value.more == {}
    assert spaces.stats("s")["vectors"] == 199
    assert spaces.stats("s")["building"]
    assert spaces.add("s", random_vectors(1, 900), never) == 200
    assert not spaces.stats("s")["building"]


def test_an_adding_whose_time_is_over_says_how_far_it_came() -> None:
    spaces, over = Spaces(ROOM, FEW), after(5)
    with pytest.raises(RequestError) as raised:
        spaces.add("s", random_vectors(20), lambda: next(over))
    assert (code_of(raised), raised.value.more) == ("timeout", {"added": 5})
    assert spaces.stats("s")["vectors"] == 5


def test_one_wrong_vector_keeps_all_of_its_request_out() -> None:
    spaces, _ = filled(10)
    mixed = [*random_vectors(3, 500), ("odd", unit_vector([1.0, 2.0]))]
    with pytest.raises(RequestError) as raised:
        spaces.add("s", mixed, never)
    assert code_of(raised) == "wrong_dimension"
    with pytest.raises(RequestError) as raised:
        spaces.add("new", mixed, never)
    assert spaces.names == ["s"]
    assert spaces.stats("s")["vectors"] == 10


def test_what_does_not_fit_is_refused_and_what_is_removed_makes_room() -> None:
    room = Spaces(12 * (DIMENSION * 12 + 1024), FEW)
    room.add("s", random_vectors(12), never)
    with pytest.raises(RequestError) as raised:
        room.add("t", random_vectors(1), never)
    assert code_of(raised) == "full"
    assert room.names == ["s"]
    room.add("s", random_vectors(12), never)  # over those there are
    room.remove("s", ["n0"], never)
    room.add("s", random_vectors(1, 50), never)
    assert room.drop("s") == 12
    room.add("t", random_vectors(12), never)


def test_a_namespace_that_is_dropped_may_come_again_with_another_dimension() -> None:
    spaces, _ = filled(5)
    spaces.drop("s")
    with pytest.raises(RequestError) as raised:
        spaces.search("s", unit_vector([1.0]), 1, -1.0)
    assert code_of(raised) == "unknown_namespace"
    spaces.add("s", [("a", unit_vector([1.0, 1.0]))], never)
    assert spaces.stats("s")["dimension"] == 2


def test_what_is_installed_answers_as_what_was_held() -> None:
    spaces, vectors = filled(60)
    again = Spaces(ROOM, FEW)
    again.install({name: spaces.held(name) for name in spaces.names})
    for _, vector in vectors[::7]:
        assert again.search("s", vector, 5, 0.1) == spaces.search("s", vector, 5, 0.1)
    small = Spaces(10)
    with pytest.raises(RequestError) as raised:
        small.install({name: spaces.held(name) for name in spaces.names})
    assert code_of(raised) == "full"
    assert small.names == []
