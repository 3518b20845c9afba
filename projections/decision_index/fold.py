"""From sealed decisions to findings: score, then learn, leaf by leaf.

A finding is a pure function of the leaves up to its own and of the rules. An evaluation is scored
against the leaves before its own, by an approximation that can only overrate its distance, and so
its risk; what reaches the threshold is scored again exactly, and only that counts. Everything is
then learned, findings included: what was once alerted is known the next time.

The state is one object, changed in place: `DecisionFold` is what a snapshot would hold.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from projections.decision_index.embedding import (
    Features,
    Vector,
    digest_of,
    embed,
    features_of,
    weighted_tokens,
)
from projections.decision_index.habits import Habits
from projections.decision_index.index import DecisionRows, Near
from projections.decision_index.scoring import Mode, Rules, Score, score
from projections.decision_index.throttle import HeldBack, Throttle
from projections.ports import SealedRecord
from schemas.audit_values import decode_content
from schemas.codec import BUILT_IN, SchemaLookup, decode_decision
from schemas.errors import RejectedInput
from schemas.events import AuthorizationDecision
from schemas.records import Plain, Record

__all__ = [
    "Assessment",
    "DecisionFold",
    "Difference",
    "Finding",
    "MakeRows",
    "Neighbour",
    "Scored",
    "Summary",
    "Tallies",
]

MakeRows = Callable[[], DecisionRows]

NEIGHBOURS = 5
DIFFERENCES_MAX = 32


class Neighbour(NamedTuple):
    """A decision learned before, by its last leaf: how similar, how often, what."""

    leaf: int
    similarity: float
    times: int
    features: Features


class Difference(NamedTuple):
    """A field or cross the nearest neighbour lacks: its value here and there.

    The counts say how often each was learned; `weight` is the share in the distance, 0 to 1.
    """

    name: str
    observed: str
    expected: str
    observed_count: int
    expected_count: int
    weight: float


class Assessment(NamedTuple):
    """What is to be said about an evaluation. `known`: how often its principal was learned."""

    features: Features
    score: Score
    known: int
    neighbours: tuple[Neighbour, ...]
    differences: tuple[Difference, ...]


class Finding(NamedTuple):
    """A leaf with at least one evaluation at or above the threshold; the riskiest is told.

    `others` are the positions of further such evaluations; `repetitions` counts findings about
    the same habits that were not told since the last one.
    """

    leaf: int
    timestamp: int
    event_id: str
    evaluation: int
    assessment: Assessment
    others: tuple[int, ...]
    repetitions: int


class Summary(NamedTuple):
    """What the hourly limit of a tenant held back, told by the first leaf of a later hour."""

    leaf: int
    timestamp: int
    tenant: str
    held: HeldBack


@dataclass(slots=True)
class Tallies:
    """What happened so far. `shadowed` findings were counted, not published."""

    leaves: int = 0
    unreadable: int = 0
    evaluations: int = 0
    confirmed: int = 0
    findings: int = 0
    repeated: int = 0
    held_back: int = 0
    shadowed: int = 0


class _Risky(NamedTuple):
    position: int
    features: Features
    score: Score
    near: Sequence[Near]


class Scored(NamedTuple):
    """A leaf that was scored and is to be learned; `decision` is None where it holds none."""

    leaf: int
    timestamp: int
    decision: AuthorizationDecision | None
    features: Sequence[Features]
    digests: Sequence[bytes]
    new: Mapping[bytes, Vector]
    risky: Sequence[_Risky]


class _Tenant:
    """What is known of one tenant in one log."""

    __slots__ = ("habits", "leaves", "rows", "throttle")

    def __init__(self, rows: DecisionRows, rules: Rules) -> None:
        self.rows = rows
        self.habits = Habits()
        self.throttle = Throttle(rules)
        self.leaves = 0


class DecisionFold:
    """The state of one log's decision index, every tenant apart."""

    def __init__(
        self, rules: Rules, make_rows: MakeRows, schemas: SchemaLookup = BUILT_IN
    ) -> None:
        self._rules = rules
        self._make_rows = make_rows
        self._schemas = schemas
        self._tenants: dict[str, _Tenant] = {}
        self._holding: dict[str, Throttle] = {}
        self._timestamp = 0
        self.tallies = Tallies()

    @property
    def rows(self) -> int:
        """Different evaluations learned, of all tenants."""
        return sum(len(tenant.rows) for tenant in self._tenants.values())

    @property
    def memory_bytes(self) -> int:
        """What rows and counts take, near enough."""
        tenants = self._tenants.values()
        return sum(tenant.rows.memory_bytes + tenant.habits.memory_bytes for tenant in tenants)

    def apply(self, record: SealedRecord) -> list[Finding | Summary]:
        """Score and learn one leaf; what it makes known, summaries first."""
        return self.learn(self.score(record))

    def score(self, record: SealedRecord) -> Scored:
        """Decode and score one leaf; nothing is learned yet."""
        decision = None if self._rules.mode is Mode.OFF else self._decoded(record)
        if decision is None:
            return Scored(record.index, record.source.timestamp, None, (), (), {}, ())
        told = [features_of(decision, evaluation) for evaluation in decision.evaluations]
        digests = [digest_of(features) for features in told]
        tenant = self._tenant(decision.tenant)
        warm = tenant.leaves < self._rules.warm_up
        new: dict[bytes, Vector] = {}
        risky: list[_Risky] = []
        for position, (features, digest) in enumerate(zip(told, digests, strict=True)):
            # A decision learned before has a distance, and so a risk, of 0.
            if digest not in new and tenant.rows.find(digest) is None:
                new[digest] = embed(features)
                found = None if warm else self._exact_risk(tenant, features, new[digest])
                if found is not None:
                    risky.append(_Risky(position, features, *found))
        timestamp = record.source.timestamp
        return Scored(record.index, timestamp, decision, told, digests, new, risky)

    def learn(self, scored: Scored) -> list[Finding | Summary]:
        """Learn the leaf scored last; what it makes known, summaries first."""
        if scored.timestamp >= 0:
            self._timestamp = scored.timestamp
        told: list[Finding | Summary] = self._summaries(scored.leaf)
        self.tallies.leaves += 1
        decision = scored.decision
        if decision is None:
            return told
        tenant = self._tenant(decision.tenant)
        if scored.risky:
            finding = self._finding(tenant, scored.leaf, decision, scored.risky)
            told += [finding] if finding else []
        tenant.leaves += 1
        for features, digest in zip(scored.features, scored.digests, strict=True):
            tenant.habits.learn(features)
            tenant.rows.learn(digest, features, scored.new.get(digest), scored.leaf)
        self.tallies.evaluations += len(scored.features)
        return told

    def assess(self, features: Features, k: int = NEIGHBOURS) -> Assessment:
        """What would be said about an evaluation now; nothing is learned by asking."""
        tenant = self._tenants.get(features.tenant)
        if tenant is None:
            tenant = _Tenant(self._make_rows(), self._rules)
        near = tenant.rows.nearest(embed(features), k)
        similarity = near[0].similarity if near else 0.0
        return _assessment(
            tenant, features, score(similarity, tenant.habits.measure(features)), near
        )

    def nearest(self, tenant: str, vector: Vector, k: int) -> list[Neighbour]:
        """The `k` decisions of a tenant nearest to a vector, exactly."""
        known = self._tenants.get(tenant)
        return [] if known is None else _neighbours(known.rows, known.rows.nearest(vector, k))

    def _decoded(self, record: SealedRecord) -> AuthorizationDecision | None:
        """The decision of a leaf; None is as if it held none: dead letters are told elsewhere."""
        try:
            content = decode_content(record.content)
            if isinstance(content, Plain):
                source = Record(record.source.offset, record.source.timestamp, *content)
                return decode_decision(source, self._schemas)
        except RejectedInput:
            pass
        self.tallies.unreadable += 1
        return None

    def _exact_risk(
        self, tenant: _Tenant, features: Features, vector: Vector
    ) -> tuple[Score, list[Near]] | None:
        """The exact score if it reaches the threshold, with the nearest rows."""
        surprise = tenant.habits.measure(features)
        threshold = self._rules.threshold
        # Each similarity is a real row's, so none exceeds the true one, and no risk is underrated.
        if score(0.0, surprise).risk < threshold:
            return None
        for similar in (tenant.rows.similar_hot, tenant.rows.similar_candidates):
            if score(similar(vector), surprise).risk < threshold:
                return None
        near = tenant.rows.nearest(vector, NEIGHBOURS)
        self.tallies.confirmed += 1
        exact = score(near[0].similarity if near else 0.0, surprise)
        return (exact, near) if exact.risk >= threshold else None

    def _finding(
        self, tenant: _Tenant, leaf: int, decision: AuthorizationDecision, risky: Sequence[_Risky]
    ) -> Finding | None:
        self.tallies.findings += len(risky)
        public = [found for found in risky if self._rules.publishes(found.features.principal)]
        self.tallies.shadowed += len(risky) - len(public)
        throttle, timestamp = tenant.throttle, self._timestamp
        fresh = [found for found in public if not throttle.is_repeated(found.features, timestamp)]
        self.tallies.repeated += len(public) - len(fresh)
        if not fresh:
            return None
        if not throttle.admits(leaf, timestamp, len(fresh)):
            self.tallies.held_back += len(fresh)
            self._holding[decision.tenant] = throttle
            for found in fresh:
                throttle.hold(found.features, timestamp)
            return None
        repetitions = sum(throttle.tell(found.features, timestamp) for found in fresh)
        worst = max(fresh, key=lambda found: (found.score.risk, -found.position))
        return Finding(
            leaf,
            timestamp,
            decision.event_id,
            worst.position,
            _assessment(tenant, worst.features, worst.score, worst.near),
            tuple(found.position for found in fresh if found is not worst),
            repetitions,
        )

    def _summaries(self, leaf: int) -> list[Finding | Summary]:
        told: list[Finding | Summary] = []
        for tenant in sorted(self._holding):
            held = self._holding[tenant].release(self._timestamp)
            if held is not None:
                told.append(Summary(leaf, self._timestamp, tenant, held))
                if not self._holding[tenant].holds:
                    del self._holding[tenant]
        return told

    def _tenant(self, name: str) -> _Tenant:
        tenant = self._tenants.get(name)
        if tenant is None:
            tenant = self._tenants[name] = _Tenant(self._make_rows(), self._rules)
        return tenant


def _assessment(
    tenant: _Tenant, features: Features, scored: Score, near: Sequence[Near]
) -> Assessment:
    neighbours = _neighbours(tenant.rows, near)
    nearest = neighbours[0].features if neighbours else None
    return Assessment(
        features,
        scored,
        tenant.habits.known(features.principal),
        tuple(neighbours),
        _differences(tenant.habits, features, nearest),
    )


def _neighbours(rows: DecisionRows, near: Sequence[Near]) -> list[Neighbour]:
    found = [(rows.row(number), similarity) for number, similarity in near]
    return [Neighbour(row.last, similarity, row.times, row.features) for row, similarity in found]


def _differences(
    habits: Habits, features: Features, nearest: Features | None
) -> tuple[Difference, ...]:
    """What the nearest neighbour lacks, the heaviest first."""
    tokens = weighted_tokens(features)
    others = weighted_tokens(nearest) if nearest else []
    shared = {token.digest for token in others} & {token.digest for token in tokens}
    missing = sorted(
        (token for token in tokens if token.digest not in shared), key=lambda token: -token.weight
    )
    total = sum(token.weight * token.weight for token in missing)
    differences = []
    for token in missing[:DIFFERENCES_MAX]:
        other = next((o for o in others if o.name == token.name and o.digest not in shared), None)
        differences.append(
            Difference(
                token.name,
                token.value,
                other.value if other else "",
                habits.seen(features, token.name, token.role),
                habits.seen(nearest, other.name, other.role) if nearest and other else 0,
                token.weight * token.weight / total,
            )
        )
    return tuple(differences)
