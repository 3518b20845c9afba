"""Topics as declared in topics.yaml against topics as they are: what differs, and what is to do.

Pure but for reading the declaration, which is part of the package. `streams.kafka.topic_admin`
asks the cluster and carries a plan out. Nothing is ever deleted.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from types import MappingProxyType
from typing import Literal, NamedTuple

import yaml

from streams.topology import Topology

__all__ = [
    "ActualTopic",
    "DeclaredTopic",
    "Difference",
    "Kind",
    "TopicOptions",
    "declared_topics",
    "left_over",
    "plan",
    "to_do",
]

Kind = Literal["missing", "partitions", "setting", "refused", "note"]

REPLICATION_MAX = 3
# What sealing cannot do without; other settings are compared and reported (formats §2).
REQUIRED = frozenset({"cleanup.policy", "retention.ms", "retention.bytes", "max.message.bytes"})
POLICY = "cleanup.policy"


class TopicOptions(NamedTuple):
    """What an operator asks for; None: as declared, and as many replicas as make sense."""

    partitions: int | None = None
    replication: int | None = None


class DeclaredTopic(NamedTuple):
    """One topic as it should be.

    `partitions`: on creation. `grow_to`: an existing topic gets as many. `follows`: the topic
    whose count counts instead. `fixed`: more partitions would never be read. `ours`: nobody else
    writes to it, so `apply` may change it.
    """

    name: str
    partitions: int
    grow_to: int
    replication: int | None
    follows: str | None
    fixed: bool
    ours: bool
    settings: Mapping[str, str]
    initial: Mapping[str, str]


class ActualTopic(NamedTuple):
    """One topic as it is; `settings` are the effective ones."""

    partitions: int
    replication: int
    settings: Mapping[str, str]


class Difference(NamedTuple):
    """One thing that is not as declared, in a sentence.

    `missing`, `partitions` and `setting` are what `apply` does; `refused` is what an operator
    must do; a `note` stops nothing.
    """

    topic: str
    kind: Kind
    sentence: str
    partitions: int = 0
    replication: int = 0
    settings: tuple[tuple[str, str], ...] = ()


def declared_topics(
    topology: Topology, options: TopicOptions, epochs: Mapping[str, int] = MappingProxyType({})
) -> list[DeclaredTopic]:
    """The declaration with this deployment's names, every topic behind the one it follows.

    `epochs`: of source topics, the number of the newest epoch of their audit topics; 0 if absent.
    """
    rows = yaml.safe_load(files("streams.kafka").joinpath("topics.yaml").read_text("utf-8"))
    by_kind = {row["is"]: row for row in rows["topics"]}
    names = {
        "decisions": topology.decisions,
        "memory": topology.memory,
        "alerts": topology.alerts,
        "operations": topology.operations,
        "heads": topology.heads,
        "ocsf_alerts": topology.ocsf_alerts,
    }
    events = {row["name"]: names[kind] for kind, row in by_kind.items() if kind in names}
    declared = [
        _declared(names[kind], by_kind[kind], events.get(by_kind[kind].get("follows")), options)
        for kind in names
    ]
    for source in topology.sources:
        for epoch in range(epochs.get(source, 0) + 1):
            audit = topology.audit(source, epoch)
            declared.append(_declared(audit, by_kind["audit"], source, options))
        if source in topology.events:
            letters = topology.dead_letters(source)
            declared.append(_declared(letters, by_kind["dead_letters"], source, options))
    return declared


def plan(
    declared: Sequence[DeclaredTopic], actual: Mapping[str, ActualTopic], brokers: int
) -> list[Difference]:
    """Everything that differs, in the order it is to be done."""
    counts: dict[str, int] = {}
    differences: list[Difference] = []
    for topic in declared:
        found = actual.get(topic.name)
        wanted = counts[topic.follows] if topic.follows else topic.partitions
        if found is None:
            counts[topic.name] = wanted
            differences.append(_missing(topic, wanted, brokers))
            continue
        grow_to = wanted if topic.follows else topic.grow_to
        counts[topic.name] = max(found.partitions, grow_to)
        differences += _partitions(topic, found, grow_to)
        differences += _settings(topic, found)
        differences += _replication(topic, found, brokers)
    return differences


def to_do(differences: Sequence[Difference]) -> list[Difference]:
    """Those that keep a deployment from being as declared."""
    return [difference for difference in differences if difference.kind != "note"]


def left_over(left: Sequence[Difference], refused: Sequence[Difference]) -> list[Difference]:
    """What a plan made after `apply` says, with the cluster's refusals in place of attempts."""
    known = {(one.topic, one.settings) for one in refused if one.settings}
    return [one for one in left if (one.topic, one.settings) not in known] + list(refused)


def _declared(
    name: str, row: Mapping[str, object], follows: str | None, options: TopicOptions
) -> DeclaredTopic:
    partitions, settings, initial = row.get("partitions"), row["settings"], row.get("initial", {})
    assert isinstance(settings, dict)
    assert isinstance(initial, dict)
    default = partitions if isinstance(partitions, int) else 1
    asked = None if row.get("fixed") else options.partitions
    return DeclaredTopic(
        name=name,
        partitions=asked or default,
        grow_to=asked or 0,
        replication=options.replication,
        follows=follows,
        fixed=bool(row.get("fixed")),
        ours=row["is"] not in {"decisions", "memory"},
        settings=settings,
        initial=initial,
    )


def _missing(topic: DeclaredTopic, partitions: int, brokers: int) -> Difference:
    replication = topic.replication or min(REPLICATION_MAX, brokers)
    settings = {**topic.initial, **topic.settings, **_in_sync(replication)}
    return Difference(
        topic.name,
        "missing",
        f"does not exist: create it with {_count(partitions, 'partition')} of "
        f"{_count(replication, 'replica')}",
        partitions,
        replication,
        tuple(settings.items()),
    )


def _partitions(topic: DeclaredTopic, found: ActualTopic, wanted: int) -> Iterator[Difference]:
    if found.partitions < wanted:
        why = f"as {topic.follows} has" if topic.follows else "as asked for; keys will move"
        yield Difference(
            topic.name,
            "partitions",
            f"has {_count(found.partitions, 'partition')}: add {wanted - found.partitions}, {why}",
            wanted,
        )
    elif topic.fixed and found.partitions > topic.partitions:
        yield Difference(
            topic.name,
            "refused",
            f"has {_count(found.partitions, 'partition')}, and only the first is read: recreate "
            f"it with {topic.partitions} before anything is sent to it",
        )
    elif topic.follows and found.partitions > wanted:
        yield Difference(
            topic.name,
            "refused",
            f"has {_count(found.partitions, 'partition')}, but {topic.follows} has {wanted}: that "
            "topic was made again with fewer; give it the partitions it had",
        )


def _settings(topic: DeclaredTopic, found: ActualTopic) -> Iterator[Difference]:
    for name, wanted in {**topic.settings, **_in_sync(found.replication)}.items():
        is_now = found.settings.get(name)
        if is_now == wanted:
            continue
        if is_now is None:
            yield Difference(
                topic.name, "note", f"the cluster has no setting {name}; wanted {wanted}"
            )
        elif topic.ours:
            yield Difference(
                topic.name,
                "setting",
                f"{name} is {is_now}: set it to {wanted}",
                settings=((name, wanted),),
            )
        elif name == POLICY:
            yield Difference(topic.name, "refused", _compacted(is_now))
        else:
            yield Difference(topic.name, "note", f"{name} is {is_now}, {wanted} is advised")


def _compacted(policy: str) -> str:
    return (
        f"cleanup.policy is {policy}, and only exactly delete can be sealed: compaction removes "
        "records from the middle of history. Send the events to a new topic of policy delete, or "
        "change this one's policy before anything of it is sealed"
    )


def _replication(topic: DeclaredTopic, found: ActualTopic, brokers: int) -> Iterator[Difference]:
    wanted = topic.replication or min(REPLICATION_MAX, brokers)
    if topic.ours and found.replication < wanted:
        yield Difference(
            topic.name,
            "note",
            f"has {_count(found.replication, 'replica')}, {wanted} are advised: reassign its "
            "partitions with kafka-reassign-partitions.sh",
        )


def _in_sync(replication: int) -> dict[str, str]:
    return {"min.insync.replicas": "2"} if replication >= REPLICATION_MAX else {}


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
