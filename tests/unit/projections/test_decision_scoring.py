"""Risk, and what names the rules."""

from dataclasses import replace

import pytest

from projections.decision_index.embedding import Features
from projections.decision_index.habits import Habits
from projections.decision_index.scoring import (
    NEUTRAL_NOVELTY,
    NEUTRAL_RARITY,
    Mode,
    Rules,
    Surprise,
    repeated,
    rule_version,
    score,
)

NEUTRAL = Surprise(NEUTRAL_NOVELTY, NEUTRAL_RARITY)
RULES = Rules()


def asked(principal: str, kind: str = "chart", action: str = "view", scope: str = "w") -> Features:
    return Features("", principal, (f"of-{principal}",), scope, kind, "id", action, "ALLOW")


def test_a_neutral_decision_of_similarity_07_has_risk_07() -> None:
    assert score(0.7, NEUTRAL).risk == 0.7


def test_a_decision_seen_before_has_no_risk_however_surprising() -> None:
    assert score(1.0, Surprise(9.0, 99.0)).risk == 0.0


def test_risk_rises_with_distance_novelty_and_rarity_and_stays_below_1() -> None:
    by_distance = [score(similarity / 10, NEUTRAL).risk for similarity in range(10, -1, -1)]
    by_novelty = [score(0.5, Surprise(novelty, 5.0)).risk for novelty in range(10)]
    by_rarity = [score(0.5, Surprise(1.0, rarity)).risk for rarity in range(40)]
    for risks in (by_distance, by_novelty, by_rarity):
        assert risks == sorted(set(risks))
        assert 0 <= risks[0] <= risks[-1] < 1


def test_a_similarity_below_0_counts_as_0() -> None:
    assert score(-0.4, NEUTRAL) == score(0.0, NEUTRAL)


@pytest.mark.parametrize(
    "changed",
    [
        {"threshold": 0.71},
        {"warm_up": 999},
        {"dedup_window_ms": 60_000},
        {"alerts_per_hour": 99},
        {"mode": Mode.SHADOW},
        {"percentage": 50},
        {"alert_budget": 20},
        {"neighbours": 6},
        {"since_ms": 1},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_every_parameter_of_a_verdict_changes_the_rule_version(changed: dict[str, object]) -> None:
    assert rule_version(replace(RULES, **changed)) != rule_version(RULES)  # type: ignore[arg-type]


def test_the_rule_version_is_that_of_every_run() -> None:
    assert rule_version(Rules()) == "8ad4fdd99074f996"


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 0.0},
        {"threshold": 1.0},
        {"percentage": 101},
        {"alerts_per_hour": 0},
        {"neighbours": 0},
    ],
    ids=str,
)
def test_rules_off_their_scale_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"scale|limit"):
        Rules(**wrong)  # type: ignore[arg-type]


def test_a_share_of_the_principals_is_published_always_the_same_ones() -> None:
    people = [f"p{i}" for i in range(400)]
    half = replace(RULES, percentage=50)
    chosen = {person for person in people if half.publishes(person)}
    assert 150 < len(chosen) < 250
    assert chosen <= {
        person for person in people if replace(RULES, percentage=60).publishes(person)
    }
    assert not any(replace(RULES, percentage=0).publishes(person) for person in people)
    assert not any(replace(RULES, mode=Mode.SHADOW).publishes(person) for person in people)
    assert all(RULES.publishes(person) for person in people)


def test_what_a_principal_never_did_is_new_to_it_and_less_so_if_it_often_does_new_things() -> None:
    habits = Habits()
    for number in range(50):
        habits.learn(asked("steady"))
        habits.learn(asked("restless", kind=f"kind-{number}"))
    new = asked("steady", kind="invoice")
    assert habits.measure(asked("steady")).novelty == 0.0
    assert habits.measure(new).novelty > habits.measure(asked("restless", kind="invoice")).novelty
    elsewhere = asked("steady", kind="invoice", scope="elsewhere")
    assert habits.measure(elsewhere).novelty > habits.measure(new).novelty


def test_an_odd_action_on_a_known_kind_is_rarer_than_any_on_an_unknown_one() -> None:
    habits = Habits()
    for _ in range(200):
        habits.learn(asked("bea", kind="chart", action="view"))
        habits.learn(asked("chen", kind="invoice", action="void"))
    odd = habits.measure(asked("bea", kind="chart", action="void")).rarity
    assert odd > habits.measure(asked("bea", kind="unknown", action="view")).rarity
    assert odd > habits.measure(asked("bea", kind="chart", action="view")).rarity


def test_asking_teaches_nothing_and_counts_are_of_what_was_learned() -> None:
    habits = Habits()
    habits.learn(asked("bea"))
    before = habits.measure(asked("chen", kind="x"))
    assert habits.measure(asked("chen", kind="x")) == before
    assert habits.total == habits.known("bea") == 1
    assert habits.known("chen") == 0
    assert habits.seen(asked("bea"), "principal*scope") == 1
    assert habits.seen(asked("bea"), "role*resource_kind*action", "of-bea") == 1
    assert habits.seen(asked("bea"), "role", "of-chen") == 0
    assert habits.seen(asked("bea", action="void"), "resource_kind*action") == 0
    assert habits.seen(asked("bea"), "resource_id") == 1


def test_a_principal_named_like_a_kind_is_counted_apart() -> None:
    habits = Habits()
    habits.learn(asked("chart", kind="chart", action="chart", scope="chart"))
    assert habits.seen(asked("bea", kind="chart"), "resource_kind") == 1
    assert habits.known("view") == 0
    habits.learn(asked("bea"))
    assert habits.known("chart") == 1


def test_what_few_principals_ever_do_surprises_more_than_what_everybody_comes_to_do() -> None:
    habits = Habits()
    for number in range(300):
        habits.learn(asked("keeper", kind="vault", action="open", scope="cellar"))
        habits.learn(asked(f"guest-{number}", kind="door", action="open", scope="hall"))
        habits.learn(asked("bea"))
    vault = habits.measure(asked("bea", kind="vault", action="open")).novelty
    door = habits.measure(asked("bea", kind="door", action="open")).novelty
    assert vault > door > 0
    cellar = habits.measure(asked("bea", scope="cellar")).novelty
    hall = habits.measure(asked("bea", scope="hall")).novelty
    assert cellar > hall > 0


def test_who_did_many_things_once_surprises_less_with_another_than_who_repeats_them() -> None:
    once, again = Habits(), Habits()
    for number in range(20):
        once.learn(asked("bea", kind=f"kind-{number}"))
        again.learn(asked("bea", kind=f"kind-{number % 10}"))
    for habits in (once, again):
        for _ in range(20):
            habits.learn(asked("bea"))
    new = asked("bea", kind="another")
    assert habits.measure(new).novelty > once.measure(new).novelty
    # The same number of kinds, all of them twice: only what was had once is another.
    twice = Habits()
    for number in range(20):
        for _ in range(2):
            twice.learn(asked("bea", kind=f"kind-{number}"))
    assert twice.known("bea") == once.known("bea") == 40
    assert twice.measure(new).novelty > once.measure(new).novelty + 0.3


def test_the_same_oddity_is_no_rarer_in_a_log_five_times_as_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("projections.decision_index.habits.HORIZON", 1000)

    def rarity(times: int) -> float:
        habits = Habits()
        for number in range(10 * times):
            habits.learn(asked(f"p{number % 10}", kind=f"k{number % 10}"))
        return habits.measure(asked("p1", kind="k2")).rarity

    assert rarity(20) < rarity(100)
    assert rarity(600) == pytest.approx(rarity(120), rel=0.01)


def test_what_was_seen_more_often_keeps_less_risk() -> None:
    left = [score(repeated(times), NEUTRAL).risk for times in (1, 2, 10, 1000)]
    assert left == sorted(left, reverse=True)
    assert 0 < left[-1] < left[0] < 0.1
