"""What a plan of topics says, on clusters of every shape."""

from pathlib import Path

import pytest

from streams.kafka.topics import (
    ActualTopic,
    DeclaredTopic,
    Difference,
    TopicOptions,
    declared_topics,
    left_over,
    plan,
    to_do,
)
from streams.topology import Topology

ROOT = Path(__file__).parents[2]
SINGLE = ["p.attestream.operations", "p.attestream.heads"]
TOPOLOGY = Topology(base="o", decisions="authz.decisions", memory="memory.mutations", prefix="p.")


def declared(partitions: int | None = None, replication: int | None = None) -> list[DeclaredTopic]:
    return declared_topics(TOPOLOGY, TopicOptions(partitions, replication))


def test_topics_of_epochs_are_declared_as_the_first_ones() -> None:
    epochs = {
        topic.name: topic
        for topic in declared_topics(TOPOLOGY, TopicOptions(), {"authz.decisions": 2})
    }
    first = epochs["p.audit.authz.decisions"]
    for name in ("p.audit.authz.decisions.e1", "p.audit.authz.decisions.e2"):
        assert epochs[name] == first._replace(name=name)
    assert len(epochs) == len(declared()) + 2


def as_planned(brokers: int = 1, **options: int) -> dict[str, ActualTopic]:
    """A cluster on which a first plan was carried out."""
    return {
        one.topic: ActualTopic(one.partitions, one.replication, dict(one.settings))
        for one in plan(declared(**options), {}, brokers)
    }


def changed(topics: dict[str, ActualTopic], name: str, **settings: str) -> dict[str, ActualTopic]:
    found = topics[name]
    merged = {**found.settings, **{key.replace("_", "."): to for key, to in settings.items()}}
    return {**topics, name: found._replace(settings=merged)}


def test_the_declaration_is_one_file() -> None:
    infra = (ROOT / "infra" / "topics.yaml").resolve()
    assert infra == (ROOT / "streams" / "kafka" / "topics.yaml").resolve()


def test_an_empty_cluster_gets_every_topic_each_behind_the_one_it_follows() -> None:
    differences = plan(declared(), {}, 1)
    assert {one.kind for one in differences} == {"missing"}
    names = [one.topic for one in differences]
    events = ["authz.decisions", "memory.mutations", "p.attestream.alerts"]
    assert names[:5] == [*events, *SINGLE]
    assert set(names[5:]) == {
        *(f"p.{kind}.{source}" for kind in ("audit", "dead-letters") for source in events),
        *(f"p.audit.{source}" for source in SINGLE),
        "p.attestream.alerts.ocsf",
    }
    single = {*SINGLE, *(f"p.audit.{source}" for source in SINGLE)}
    assert {one.topic for one in differences if one.partitions == 1} == single
    assert {one.partitions for one in differences} == {1, 4}


def test_operations_in_a_second_partition_would_never_be_read() -> None:
    topics = as_planned()
    topics[SINGLE[0]] = topics[SINGLE[0]]._replace(partitions=3)
    kinds = {(one.topic, one.kind) for one in plan(declared(partitions=8), topics, 1)}
    assert (SINGLE[0], "refused") in kinds


def test_an_audit_topic_keeps_everything_and_takes_eight_mebibytes() -> None:
    audit = dict(as_planned()["p.audit.authz.decisions"].settings)
    assert audit == {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "max.message.bytes": "8388608",
        "message.timestamp.type": "CreateTime",
        "message.timestamp.before.max.ms": "9223372036854775807",
        "message.timestamp.after.max.ms": "9223372036854775807",
        "unclean.leader.election.enable": "false",
    }


@pytest.mark.parametrize(
    ("brokers", "given", "replication", "in_sync"),
    [(1, None, 1, None), (2, None, 2, None), (3, None, 3, "2"), (9, None, 3, "2"), (5, 5, 5, "2")],
)
def test_replicas_are_three_or_as_many_as_brokers_unless_given(
    brokers: int, given: int | None, replication: int, in_sync: str | None
) -> None:
    for one in plan(declared(replication=given), {}, brokers):
        assert one.replication == replication
        assert dict(one.settings).get("min.insync.replicas") == in_sync


def test_what_was_planned_and_done_needs_nothing_more() -> None:
    assert plan(declared(), as_planned(), 1) == []
    assert plan(declared(), as_planned(3), 3) == []


def test_partitions_of_a_source_are_given_to_its_audit_topic() -> None:
    topics = as_planned()
    topics["authz.decisions"] = topics["authz.decisions"]._replace(partitions=7)
    differences = plan(declared(), topics, 1)
    assert {(one.topic, one.kind, one.partitions) for one in differences} == {
        ("p.attestream.alerts", "partitions", 7),
        ("p.attestream.alerts.ocsf", "partitions", 7),
        ("p.audit.authz.decisions", "partitions", 7),
        ("p.dead-letters.authz.decisions", "partitions", 7),
        ("p.audit.p.attestream.alerts", "partitions", 7),
        ("p.dead-letters.p.attestream.alerts", "partitions", 7),
    }


def test_an_existing_source_grows_only_when_asked() -> None:
    topics = as_planned(partitions=2)
    assert plan(declared(), topics, 1) == []
    grown = {one.topic for one in plan(declared(partitions=6), topics, 1)}
    assert grown == {name for name in topics if topics[name].partitions > 1}


def test_an_audit_topic_with_more_partitions_than_its_source_is_for_an_operator() -> None:
    topics = as_planned()
    topics["memory.mutations"] = topics["memory.mutations"]._replace(partitions=1)
    assert {(one.topic, one.kind) for one in plan(declared(), topics, 1)} == {
        ("p.audit.memory.mutations", "refused"),
        ("p.dead-letters.memory.mutations", "refused"),
    }


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_a_compacted_source_is_never_changed_and_never_accepted(policy: str) -> None:
    topics = changed(as_planned(), "authz.decisions", cleanup_policy=policy)
    (one,) = plan(declared(), topics, 1)
    assert (one.topic, one.kind, one.settings) == ("authz.decisions", "refused", ())
    assert policy in one.sentence
    assert "new topic" in one.sentence


def test_a_setting_of_ours_is_set_back() -> None:
    topics = changed(as_planned(), "p.audit.authz.decisions", retention_ms="604800000")
    (one,) = plan(declared(), topics, 1)
    assert (one.kind, one.settings) == ("setting", (("retention.ms", "-1"),))


def test_a_source_may_be_kept_as_long_as_its_owner_likes() -> None:
    topics = changed(as_planned(), "authz.decisions", retention_ms="604800000")
    assert plan(declared(), topics, 1) == []


def test_a_setting_an_older_cluster_has_not_is_noted_and_stops_nothing() -> None:
    topics = as_planned()
    settings = dict(topics["p.audit.authz.decisions"].settings)
    del settings["message.timestamp.after.max.ms"]
    topics["p.audit.authz.decisions"] = ActualTopic(4, 1, settings)
    (one,) = plan(declared(), topics, 1)
    assert one.kind == "note"
    assert to_do([one]) == []


def test_too_few_replicas_are_noted() -> None:
    differences = plan(declared(), as_planned(1), 3)
    assert {one.kind for one in differences} == {"note"}
    assert not any(one.topic == "authz.decisions" for one in differences)


def test_three_replicas_want_two_in_sync_on_a_topic_that_exists() -> None:
    topics = changed(as_planned(3), "p.audit.authz.decisions", min_insync_replicas="1")
    (one,) = plan(declared(), topics, 3)
    assert one.settings == (("min.insync.replicas", "2"),)


def test_what_the_cluster_refused_stands_in_place_of_the_attempt() -> None:
    tried = Difference("t", "setting", "x is 1: set it to 2", settings=(("x", "2"),))
    other = Difference("t", "setting", "y is 1: set it to 2", settings=(("y", "2"),))
    refused = Difference("t", "note", "the cluster does not take x=2", settings=(("x", "2"),))
    assert left_over([tried, other], [refused]) == [other, refused]
