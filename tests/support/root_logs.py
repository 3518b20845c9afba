"""Logs of any topic, sealed at once under one checkpoint."""

from collections.abc import Sequence

from schemas.records import Record
from streams.audit.merkle import Frontier
from streams.audit.sealing import checkpoint_record, plan_batch
from tests.support.signed_logs import BASE, KEY, Key

__all__ = ["root_log", "sealed_at_once"]


def root_log(
    topic: str, values: Sequence[bytes], key: Key = KEY, base: str = BASE
) -> list[Record]:
    """The log of a topic of one partition in which these values are sealed."""
    source = [Record(n, 1_760_000_000_000 + n, None, value) for n, value in enumerate(values)]
    return sealed_at_once(topic, source, key, base)


def sealed_at_once(
    topic: str, source: Sequence[Record], key: Key = KEY, base: str = BASE, origin: str = ""
) -> list[Record]:
    """The log of partition 0 of a topic: genesis, the records, a checkpoint over them."""
    origin = origin or f"{base}/{topic}/0"
    genesis = checkpoint_record(key.note(0, Frontier().root(), origin), Frontier(), 0)
    plan = plan_batch(Frontier(), topic, 0, source)
    note = key.note(plan.frontier.size, plan.frontier.root(), origin)
    last = checkpoint_record(note, plan.frontier, 0)
    rows = [genesis, *plan.records, *([last] if source else [])]
    return [Record(n, r.timestamp, r.key, r.value, r.headers) for n, r in enumerate(rows)]
