"""What is remembered, held, expired and forgotten."""

import struct

import numpy as np
import pytest

from projections.memory_index.fold import Drop, Effect, MemoryFold, Put, Space
from projections.ports import SealedRecord
from schemas.audit_values import encode_content
from schemas.events import Operation
from schemas.records import Record, Source
from tests.support.decision_log import decision, mutation

SPACE: Space = ("", "notes")
SECOND_US = 1_000_000
X, Y = (1.0, 0.0), (0.0, 2.0)


class Log:
    """Applies mutations at record times in seconds; a leaf each."""

    def __init__(self) -> None:
        self.fold = MemoryFold()
        self.leaf = -1

    def apply(self, value: bytes | None, at: float = 0) -> list[Effect]:
        self.leaf += 1
        record = Record(self.leaf, int(at * 1000), None, value)
        source = Source("memory.mutations", 0, self.leaf, record.timestamp)
        content = encode_content(record)
        return self.fold.apply(SealedRecord(self.leaf, source, content, bytes(32), record))

    def alive(self, node: str = "n") -> bool:
        return self.fold.node(SPACE, node) is not None


def only(effects: list[Effect]) -> Effect:
    (effect,) = effects
    return effect


def test_an_upsert_gives_a_vector_of_length_1() -> None:
    effect = only(Log().apply(mutation("n", 1, vector=(3.0, 4.0))))
    assert isinstance(effect, Put)
    assert effect.node_id == "n"
    assert effect.vector.dtype == np.float32
    assert effect.vector.tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("version", [1, 2])
def test_the_same_or_an_older_version_again_changes_nothing(version: int) -> None:
    log = Log()
    log.apply(mutation("n", 2, vector=X, owner="greta"))
    assert log.apply(mutation("n", version, vector=Y, owner="hugo")) == []
    assert log.apply(mutation("n", version, Operation.DELETE)) == []
    node = log.fold.node(SPACE, "n")
    assert node is not None
    assert (node.owner, node.leaf) == ("greta", 0)
    assert log.fold.tallies.repeated == 2


def test_a_deleted_node_is_not_brought_back_by_what_came_before() -> None:
    log = Log()
    log.apply(mutation("n", 1, vector=X, owner="greta", metadata_json='{"a":1}'))
    assert only(log.apply(mutation("n", 3, Operation.DELETE))) == Drop(SPACE, "n")
    assert not log.alive()
    assert log.apply(mutation("n", 2, vector=Y)) == []
    assert log.apply(mutation("n", 4, Operation.DELETE)) == []
    assert isinstance(only(log.apply(mutation("n", 5, vector=Y))), Put)
    kept = log.fold._nodes[SPACE]["n"]
    assert kept.owner == kept.metadata_json == ""


def test_a_delete_that_overtakes_its_upsert_wins() -> None:
    log = Log()
    assert log.apply(mutation("n", 2, Operation.DELETE)) == []
    assert log.apply(mutation("n", 1, vector=X)) == []


def test_a_held_node_is_deleted_at_its_release_only() -> None:
    log = Log()
    log.apply(mutation("n", 1, vector=X))
    assert log.apply(mutation("n", 2, Operation.HOLD)) == []
    assert log.apply(mutation("n", 3, Operation.DELETE)) == []
    assert log.alive()
    assert only(log.apply(mutation("n", 4, Operation.RELEASE))) == Drop(SPACE, "n")


def test_a_held_node_expires_at_its_release_only() -> None:
    log = Log()
    log.apply(mutation("n", 1, vector=X, expires_at=10 * SECOND_US))
    log.apply(mutation("n", 2, Operation.HOLD))
    assert log.apply(None, at=20) == []
    assert log.alive()
    assert only(log.apply(mutation("n", 3, Operation.RELEASE), at=21)) == Drop(SPACE, "n")
    assert log.fold.tallies.expired == 1


def test_a_release_before_its_time_leaves_the_expiry_as_it_was() -> None:
    log = Log()
    log.apply(mutation("n", 1, vector=X, expires_at=10 * SECOND_US))
    log.apply(mutation("n", 2, Operation.HOLD))
    assert log.apply(mutation("n", 3, Operation.RELEASE), at=5) == []
    assert log.apply(None, at=9.999) == []
    assert only(log.apply(None, at=10)) == Drop(SPACE, "n")


def test_a_hold_outlives_new_versions_and_a_new_version_undoes_a_waiting_deletion() -> None:
    log = Log()
    log.apply(mutation("n", 1, Operation.HOLD))
    log.apply(mutation("n", 2, vector=X))
    log.apply(mutation("n", 3, Operation.DELETE))
    log.apply(mutation("n", 4, vector=Y))
    assert log.apply(mutation("n", 5, Operation.RELEASE)) == []
    assert log.alive()


def test_an_old_release_ends_no_newer_hold_and_holds_need_no_versions() -> None:
    log = Log()
    log.apply(mutation("n", 1, vector=X))
    log.apply(mutation("n", 5, Operation.HOLD))
    log.apply(mutation("n", 4, Operation.RELEASE))
    assert log.apply(mutation("n", 6, Operation.DELETE)) == []
    assert log.alive()
    log.apply(mutation("m", 1, vector=X))
    log.apply(mutation("m", 0, Operation.HOLD))
    log.apply(mutation("m", 2, Operation.DELETE))
    assert only(log.apply(mutation("m", 0, Operation.RELEASE))) == Drop(SPACE, "m")


def test_record_time_never_goes_back() -> None:
    log = Log()
    log.apply(mutation("n", 1, vector=X, expires_at=10 * SECOND_US))
    assert only(log.apply(None, at=10)) == Drop(SPACE, "n")
    effects = log.apply(mutation("m", 1, vector=X, expires_at=9 * SECOND_US), at=1)
    assert [type(effect) for effect in effects] == [Put, Drop]


def test_a_newer_version_may_expire_later_or_never() -> None:
    log = Log()
    log.apply(mutation("n", 1, vector=X, expires_at=10 * SECOND_US))
    log.apply(mutation("n", 2, vector=X, expires_at=20 * SECOND_US))
    log.apply(mutation("m", 1, vector=X, expires_at=10 * SECOND_US))
    log.apply(mutation("m", 2, vector=X))
    assert log.apply(None, at=19) == []
    assert only(log.apply(None, at=20)) == Drop(SPACE, "n")
    assert log.apply(None, at=10**6) == []


def test_the_first_vector_fixes_the_dimension_of_its_namespace_alone() -> None:
    log = Log()
    log.apply(mutation("n", 1, vector=X))
    assert log.apply(mutation("m", 1, vector=(1.0, 2.0, 3.0))) == []
    (rejected,) = log.fold.rejected()
    assert (rejected.leaf, rejected.node_id) == (1, "m")
    assert "3 components, vectors of the namespace have 2" in rejected.reason
    assert log.fold.rejected() == []
    log.apply(mutation("n", 2, Operation.DELETE))
    assert log.apply(mutation("n", 3, vector=(1.0,))) == []
    assert only(log.apply(mutation("m", 1, vector=(1.0, 2.0, 3.0), tenant="acme")))
    assert only(log.apply(mutation("m", 1, vector=(1.0,), namespace="other")))
    assert log.fold.dimension(SPACE) == 2


def test_a_vector_without_direction_fixes_nothing_and_every_other_has_length_one() -> None:
    log = Log()
    ones, zeros = struct.pack("<3f", 1, 1, 1), struct.pack("<3f", 0.0, -0.0, 0.0)
    without = mutation("n", 1, vector=(1.0, 1.0, 1.0)).replace(ones, zeros)
    assert log.apply(without) == []
    assert log.fold.tallies.unreadable == 1
    assert log.fold.dimension(SPACE) is None
    huge, tiny = 3.4e38, 1e-44
    for node, vector in (("huge", (huge, huge)), ("tiny", (tiny, 0.0))):
        effect = only(log.apply(mutation(node, 1, vector=vector)))
        assert isinstance(effect, Put)
        assert float(effect.vector @ effect.vector) == pytest.approx(1.0)


def test_unreadable_leaves_and_other_events_change_nothing() -> None:
    log = Log()
    other = decision(1, ("bea", "nurse", "chart", "view"))
    assert [log.apply(value) for value in (None, b"", b"junk", other)] == [[]] * 4
    assert log.fold.tallies.unreadable == 4
