"""Which topics a deployment has, and the names derived from them (docs/reference/topics.md)."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from streams.settings import Settings

__all__ = ["LogPlace", "Topology"]

EPOCH = re.compile(r"(.+)\.e([1-9][0-9]{0,17})")


class LogPlace(NamedTuple):
    """One log: its origin, its source partition, its epoch, and the audit topic that holds it.

    `epoch` is 0 until an operator forks the log; each fork has a topic of its own (formats §3).
    """

    origin: str
    source: str
    partition: int
    epoch: int
    audit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """One deployment's topics.

    `prefix` stands before every topic that is ours; the two event topics are named in full.
    `base` is ATTESTREAM_ORIGIN: every log's origin begins with it.
    """

    base: str
    decisions: str
    memory: str
    prefix: str = ""

    @classmethod
    def of(cls, settings: Settings, base: str) -> "Topology":
        """The topology the settings describe, under the origin prefix `base`."""
        return cls(
            base=base,
            decisions=settings.decisions_topic,
            memory=settings.memory_topic,
            prefix=settings.topic_prefix,
        )

    @property
    def alerts(self) -> str:
        """Anomaly alerts: published by the decision index, a source themselves."""
        return f"{self.prefix}attestream.alerts"

    @property
    def ocsf_alerts(self) -> str:
        """The sealed alerts as OCSF findings, in JSON; derived, and sealed nowhere."""
        return f"{self.prefix}attestream.alerts.ocsf"

    @property
    def operations(self) -> str:
        """What operators ordered: one partition, the root of trust."""
        return f"{self.prefix}attestream.operations"

    @property
    def heads(self) -> str:
        """The newest checkpoint of every log, on a timer: one partition."""
        return f"{self.prefix}attestream.heads"

    @property
    def events(self) -> tuple[str, ...]:
        """The topics of events that readers decode: what they cannot use is a dead letter."""
        return (self.decisions, self.memory, self.alerts)

    @property
    def sources(self) -> tuple[str, ...]:
        """Every topic whose partitions are sealed."""
        return (*self.events, self.operations, self.heads)

    def audit(self, source: str, epoch: int = 0) -> str:
        """The audit topic of a source topic; same partition numbers, in every epoch."""
        return f"{self.prefix}audit.{source}" + (f".e{epoch}" if epoch else "")

    def dead_letters(self, source: str) -> str:
        """Where the sealed events of a source topic go that no reader can use."""
        return f"{self.prefix}dead-letters.{source}"

    def origin(self, source: str, partition: int, epoch: int = 0) -> str:
        """The name of the log of one source partition (formats §3)."""
        return f"{self.base}/{source}/{partition}" + (f"/e{epoch}" if epoch else "")

    def log(self, source: str, partition: int, epoch: int = 0) -> LogPlace:
        """The log of one epoch of a source partition."""
        origin, audit = self.origin(source, partition, epoch), self.audit(source, epoch)
        return LogPlace(origin, source, partition, epoch, audit)

    def log_of(self, audit_topic: str, partition: int) -> LogPlace:
        """The log in an audit partition: the inverse of `log`."""
        name = audit_topic.removeprefix(f"{self.prefix}audit.")
        found = EPOCH.fullmatch(name)
        if name not in self.sources and found is not None:
            return self.log(found[1], partition, int(found[2]))
        return self.log(name, partition)
