"""What was stored comes back as it was, goes on the same, and is refused where it cannot be."""

import json
from collections.abc import Callable
from functools import cache

import pytest

from projections.decision_index.fold import DecisionFold
from projections.decision_index.graph import FoldedGraph
from projections.decision_index.index import DecisionRows, Tiers
from projections.decision_index.scoring import Rules
from projections.decision_index.state import (
    FoldState,
    StateError,
    StoredTenant,
    export_state,
    restore_state,
)
from projections.ports import SealedRecord
from tests.support.decision_log import EventLog, decision, habits
from tests.support.sealed_log import START_MS, batches_of

RULES = Rules(
    threshold=0.1, warm_up=30, dedup_window_ms=7_200_000, alerts_per_hour=3, alert_budget=8
)
ODD = [
    (START_MS + 10**8, decision(901, ("p", "r", "kind", "do"), tenant="", resource="")),
    (START_MS + 10**8, decision(902, ("ö" * 99, "", "k", "do"), tenant="ümlaut", scope="")),
]


def make_rows() -> DecisionRows:
    return DecisionRows(FoldedGraph, Tiers(16, 40))


@cache
def records() -> list[SealedRecord]:
    values = [*habits(150, seed=5, odd_share=0.2), *ODD]
    _, batch = batches_of(EventLog.sealed(values))
    return batch.records


def learned(count: int) -> DecisionFold:
    fold = DecisionFold(RULES, make_rows)
    for record in records()[:count]:
        fold.apply(record)
    return fold


def stored(state: FoldState) -> list[StoredTenant]:
    """As a store would give it back: every appended array put together from two parts."""
    return [
        StoredTenant(
            name,
            rows,
            {a.name: a.part(0, a.items // 2) + a.part(a.items // 2, a.items) for a in appended},
            changing,
        )
        for name, rows, appended, changing in state.tenants
    ]


@cache
def state_of(count: int) -> tuple[bytes, list[StoredTenant]]:
    state = export_state(learned(count))
    return state.changing, stored(state)


def taken_back(fold: DecisionFold) -> DecisionFold:
    state = export_state(fold)
    return restore_state(state.changing, stored(state), RULES, make_rows)


@pytest.mark.parametrize("count", [0, 1, 17, 90, 152])
def test_a_fold_taken_back_is_the_same_and_goes_on_the_same(count: int) -> None:
    fold = learned(count)
    again = taken_back(fold)
    assert again.content_digest() == fold.content_digest()
    assert again.tallies == fold.tallies
    assert [a.changing for a in export_state(again).tenants] == [
        a.changing for a in export_state(fold).tenants
    ]
    rest = records()[count:]
    assert [again.apply(record) for record in rest] == [fold.apply(record) for record in rest]
    assert again.content_digest() == fold.content_digest() == learned(152).content_digest()


def test_what_was_appended_is_the_beginning_of_what_is_later() -> None:
    before, after = (export_state(learned(count)) for count in (60, 152))
    for early in before.tenants:
        late = next(t for t in after.tenants if t.tenant == early.tenant)
        for one, other in zip(early.appended, late.appended, strict=True):
            assert (one.name, one.item_bytes) == (other.name, other.item_bytes)
            assert one.part(0, one.items) == other.part(0, one.items)
            assert len(one.part(0, one.items)) == one.items * one.item_bytes


def test_a_fold_taken_back_is_merged_into_a_graph_anew() -> None:
    again = taken_back(learned(152))
    while again.unmerged:
        again.merge(7)
    rows = again.tenant("").rows
    assert rows._graph is not None
    assert rows._graph.size == len(rows) - 16


def test_the_content_digest_tells_what_was_learned_and_in_which_order() -> None:
    digests = {learned(count).content_digest() for count in (0, 50, 51, 100)}
    assert len(digests) == 4


def content_of(*people: str) -> bytes:
    fold = DecisionFold(RULES, make_rows)
    asked = [(START_MS, decision(n, (person, "r", "k", "a"))) for n, person in enumerate(people)]
    for batch in batches_of(EventLog.sealed(asked)):
        for record in batch.records:
            fold.apply(record)
    return fold.content_digest()


def test_the_content_digest_tells_how_often_and_when_each_was_learned() -> None:
    orders = [
        ("p", "q", "p", "q"),
        ("p", "q", "q", "p"),
        ("p", "q", "q", "q"),
        ("q", "p", "p", "p"),
    ]
    assert len({content_of(*people) for people in orders}) == len(orders)
    assert content_of(*orders[0]) == content_of(*orders[0])


def cut(name: str) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        parts[name] = parts[name][:-1]

    return change


def short(name: str, item: int) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        parts[name] = parts[name][:-item]

    return change


def gone(name: str) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        del parts[name]

    return change


def put(name: str, value: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        parts[name] = value + parts[name][len(value) :]

    return change


def doubled(parts: dict[str, bytes]) -> None:
    parts["digests"] = parts["digests"][:16] * (len(parts["digests"]) // 16)


NAMES = [*state_of(60)[1][0].appended, *state_of(60)[1][0].changing]
DAMAGE = [
    *(cut(name) for name in NAMES),
    *(gone(name) for name in NAMES),
    *(short(name, 8) for name in ("times", "lasts", "firsts", "of principal", "of role")),
    short("of principal*scope", 8),
    short("values", 2),
    short("features", 28),
    doubled,
    put("columns", b"\xff\xff"),
    put("features", b"\xff\xff\xff\x7f"),
    put("starts", b"\x01"),
    put("resource_ends", b"\x01"),
    put("role_sets", b"\xff\xff\xff\x7f"),
    put("principals", b"\xff\xff\xff\x7f"),
    put("small", b"["),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_state_that_none_can_have_had_is_refused(
    damage: Callable[[dict[str, bytes]], None],
) -> None:
    changing, (first, *others) = state_of(60)
    parts = {**first.appended, **first.changing}
    damage(parts)
    damaged = first._replace(appended=parts, changing={})
    with pytest.raises(StateError):
        restore_state(changing, [damaged, *others], RULES, make_rows)


def test_state_of_another_version_or_with_a_tenant_twice_is_refused() -> None:
    common, tenants = state_of(60)
    other = json.dumps({**json.loads(common), "version": 99}).encode()
    for changing, given in (
        (other, tenants),
        (b"", tenants),
        (b"[]", tenants),
        (common, [*tenants, tenants[0]]),
        (common, [tenants[0]._replace(rows=1)]),
    ):
        with pytest.raises(StateError):
            restore_state(changing, given, RULES, make_rows)
