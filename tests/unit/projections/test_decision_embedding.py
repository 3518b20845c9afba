"""Features, digests and vectors of evaluations."""

from hashlib import sha256
from typing import Any

from projections.decision_index.embedding import (
    DIMENSION,
    EMBEDDING_VERSION,
    Features,
    digest_of,
    embed,
    embed_known,
    features_of,
    summary_of,
    weighted_tokens,
)
from schemas.events import AuthorizationDecision, Decision, Entity, Evaluation
from tests.support.events import full_decision

NURSE = Features("acme", "bea", ("nurse", "staff"), "ward", "chart", "c-7", "view", "ALLOW")


def test_vectors_and_digests_are_those_of_every_release() -> None:
    # A change here changes every alert of every log: raise SEED's number with it.
    vector = embed(NURSE)
    assert EMBEDDING_VERSION == "abe0a708ee3b8c2a"
    assert digest_of(NURSE).hex() == "68e41e8a45f7b9b819976ae3f91e19f6"
    assert sha256(repr(vector).encode()).hexdigest()[:16] == "e3e37bbaf6efbdf5"


def test_the_columns_rise_and_the_norm_is_the_sum_of_squares() -> None:
    vector = embed(NURSE)
    assert list(vector.columns) == sorted(set(vector.columns))
    assert 0 <= vector.columns[0] <= vector.columns[-1] < DIMENSION
    assert vector.norm == sum(value * value for value in vector.values)


def test_roles_are_a_set() -> None:
    def asked(*roles: str) -> Features:
        evaluation = Evaluation(subject=Entity(id="bea", roles=roles), decision=Decision.ALLOW)
        return features_of(AuthorizationDecision(event_id="e"), evaluation)

    assert asked("nurse", "staff") == asked("staff", "nurse", "staff")
    assert asked("nurse") != asked("staff")


def test_tenants_share_no_digest_and_no_feature_is_left_out_of_it() -> None:
    other = Features("x", "x", ("x",), "x", "x", "x", "x", "x")
    digests = {digest_of(NURSE)}
    for field in Features._fields:
        changed: dict[str, Any] = {field: getattr(other, field)}
        digests.add(digest_of(NURSE._replace(**changed)))
    assert len(digests) == 1 + len(Features._fields)


def test_a_value_in_another_field_is_another_feature() -> None:
    named = [
        Features("", "x", (), "", "", "", "", ""),
        Features("", "", (), "x", "", "", "", ""),
        Features("", "", (), "", "x", "", "", ""),
        Features("", "", (), "", "", "x", "", ""),
        Features("", "", (), "", "", "", "x", ""),
        Features("", "", (), "", "", "", "", "x"),
    ]
    assert len({digest_of(features) for features in named}) == 6
    assert len({embed(features) for features in named}) == 6


def test_agents_acting_for_the_subject_count_as_roles() -> None:
    event = full_decision()
    with_agent, without = (features_of(event, evaluation) for evaluation in event.evaluations)
    assert "agent agent:expense-bot" in with_agent.roles
    assert not any(role.startswith("agent ") for role in without.roles)
    assert with_agent.scope == "finance.emea"
    assert without.scope == "finance"


def test_many_roles_weigh_no_more_than_one() -> None:
    one = embed(NURSE._replace(roles=("nurse",)))
    many = embed(NURSE._replace(roles=tuple(f"role-{i:04}" for i in range(1000))))
    assert many.norm < 1.3 * one.norm


def test_a_question_embeds_only_the_fields_it_names() -> None:
    empty = Features("", "", (), "", "", "", "", "")
    assert embed_known(empty).columns == ()
    assert embed_known(NURSE) == embed(NURSE)
    asked = embed_known(empty._replace(principal="bea", action="view"))
    whole = dict(zip(*embed(NURSE)[:2], strict=True))
    shared = sum(value * whole.get(column, 0) for column, value in zip(*asked[:2], strict=True))
    assert shared > 0.8 * asked.norm  # principal, action and their cross


def test_words_say_every_token() -> None:
    words = {(token.name, token.value) for token in weighted_tokens(NURSE)}
    assert ("principal*action", "bea does view") in words
    assert ("role*resource_kind*action", "nurse does view chart") in words
    assert summary_of(NURSE) == "bea (nurse, staff) view chart c-7 in ward: ALLOW"
