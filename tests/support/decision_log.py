"""Logs of decisions and memory mutations, sealed: what the indexes are fed with."""

import random
import struct
from collections.abc import Iterable, Iterator, Sequence

from schemas.codec import encode_event
from schemas.events import (
    Action,
    AuthorizationDecision,
    Decision,
    Entity,
    Evaluation,
    MemoryMutation,
    Operation,
)
from schemas.records import Record
from streams.audit.sealing import plan_batch
from tests.support.sealed_log import START_MS, TOPIC, SealedLog

__all__ = ["EventLog", "decision", "habits", "mutation"]

Asked = tuple[str, str, str, str]
"""Principal, role, resource kind, action."""


class EventLog(SealedLog):
    """A sealed log of given values; `append_values` takes (timestamp, value)."""

    def append_values(self, values: Iterable[tuple[int, bytes | None]]) -> None:
        first = self.size
        source = [
            Record(3 * (first + i), timestamp, None, value)
            for i, (timestamp, value) in enumerate(values)
        ]
        plan = plan_batch(self._frontiers[-1], TOPIC, 0, source)
        for record, leaf in zip(plan.records, plan.leaves, strict=True):
            frontier = self._frontiers[-1].copy()
            frontier.append(leaf)
            self._frontiers.append(frontier)
            self._commit(record)
        self._offset += 1

    @classmethod
    def sealed(
        cls, values: Sequence[tuple[int, bytes | None]], lengths: Iterable[int] = ()
    ) -> "EventLog":
        """Checkpoints after so many records each, and one at the end."""
        log, at = cls(), 0
        for length in lengths:
            if at < len(values):
                log.append_values(values[at : at + length])
                log.checkpoint()
                at += length
        if at < len(values):
            log.append_values(values[at:])
            log.checkpoint()
        return log


def decision(
    number: int,
    *asked: Asked,
    tenant: str = "",
    resource: str = "r",
    scope: str = "ward",
    effect: str = "ALLOW",
) -> bytes:
    """A decision event with one evaluation for each thing asked."""
    evaluations = tuple(
        Evaluation(
            subject=Entity(id=principal, roles=(role,)),
            action=Action(name=action),
            resource=Entity(type=kind, id=resource, scope=scope),
            decision=Decision(effect),
        )
        for principal, role, kind, action in asked
    )
    event = AuthorizationDecision(event_id=f"e{number}", tenant=tenant, evaluations=evaluations)
    return encode_event(event)


def habits(count: int, seed: int, odd_share: float = 0.05) -> Iterator[tuple[int, bytes | None]]:
    """Timestamped events of some people with habits, now and then something odd or unreadable."""
    rng = random.Random(seed)
    people = [f"person-{i}" for i in range(12)]
    does = {
        person: [(f"kind-{rng.randrange(6)}", f"do-{rng.randrange(4)}") for _ in range(3)]
        for person in people
    }
    for number in range(count):
        timestamp = START_MS + number * 120_000
        if rng.random() < 0.02:
            yield timestamp, rng.choice([None, b"", b"\x00\x00\x00\x00\x07junk"])
            continue
        tenant = "acme" if rng.random() < 0.2 else ""
        asked, scope = [], "ward"
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            person = rng.choice(people)
            kind, action = rng.choice(does[person])
            if rng.random() < odd_share:
                kind, action = f"kind-{rng.randrange(6, 8)}", f"do-{rng.randrange(3, 5)}"
                scope = f"scope-{rng.randrange(6)}"
            asked.append((person, f"role-{person[-1]}", kind, action))
        resource = f"r{rng.randrange(40)}"
        skew = -1 if rng.random() < 0.02 else timestamp + rng.randrange(-90_000_000, 90_000_000)
        at = skew if rng.random() < 0.05 else timestamp
        yield at, decision(number, *asked, tenant=tenant, resource=resource, scope=scope)


def mutation(
    node: str,
    version: int,
    operation: Operation = Operation.UPSERT,
    vector: Sequence[float] | None = None,
    **fields: object,
) -> bytes:
    """A memory mutation event."""
    packed = None if vector is None else struct.pack(f"<{len(vector)}f", *vector)
    values: dict[str, object] = {"namespace": "notes", "event_id": f"{node}-{version}"}
    values |= fields
    return encode_event(
        MemoryMutation(
            node_id=node,
            version=version,
            operation=operation,
            dimension=len(vector or ()),
            vector=packed,
            **values,  # type: ignore[arg-type]
        )
    )
