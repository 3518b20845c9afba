"""From sealed decisions to findings: score, then learn, leaf by leaf.

A finding is a pure function of the leaves up to its own and of the rules. An evaluation is scored
against the leaves before its own, by an approximation that can only overrate its distance, and so
its risk; what reaches the threshold is scored again exactly, and only that counts. Everything is
then learned, findings included: what was once alerted is known the next time.

The state is one object, changed in place: `DecisionFold` is what a snapshot would hold.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from projections.decision_index.budget import Budget
from projections.decision_index.embedding import (
    Features,
    Vector,
    digest_of,
    embed,
    features_of,
)
from projections.decision_index.findings import (
    Assessment,
    Difference,
    Finding,
    Known,
    Neighbour,
    Summary,
    Tallies,
    assessment_of,
    neighbours_of,
)
from projections.decision_index.habits import Habits
from projections.decision_index.index import DecisionRows, Near
from projections.decision_index.scoring import Mode, Rules, Score, repeated, score
from projections.decision_index.throttle import Throttle
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
    "Tenant",
]

MakeRows = Callable[[], DecisionRows]

HARDLY_NEARER = 0.75  # than this is a decision that surprises


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
    known: Sequence[int | None]
    new: Mapping[bytes, Vector]
    risky: Sequence[_Risky]


class Tenant:
    """What is known of one tenant in one log."""

    __slots__ = ("budget", "habits", "leaves", "rows", "throttle")

    def __init__(self, rows: DecisionRows, rules: Rules) -> None:
        self.rows = rows
        self.habits = Habits(rows.lexicon)
        self.throttle = Throttle(rules)
        self.budget = Budget(rules)
        self.leaves = 0


class DecisionFold:
    """The state of one log's decision index, every tenant apart."""

    def __init__(
        self, rules: Rules, make_rows: MakeRows, schemas: SchemaLookup = BUILT_IN
    ) -> None:
        self._rules = rules
        self._make_rows = make_rows
        self._schemas = schemas
        self._tenants: dict[str, Tenant] = {}
        self._holding: dict[str, Throttle] = {}
        self._behind: dict[str, DecisionRows] = {}
        self.timestamp = 0
        self.tallies = Tallies()

    @property
    def tenants(self) -> list[str]:
        """The tenants that are known, by name."""
        return sorted(self._tenants)

    def tenant(self, name: str) -> "Tenant":
        """What is known of a tenant; from now on it is known."""
        tenant = self._tenants.get(name)
        if tenant is None:
            tenant = self._tenants[name] = Tenant(self._make_rows(), self._rules)
        return tenant

    def restored(self, name: str) -> None:
        """Take up a tenant whose state was taken back."""
        tenant = self._tenants[name]
        if tenant.throttle.holds:
            self._holding[name] = tenant.throttle
        if tenant.rows.unmerged:
            self._behind[name] = tenant.rows

    def content_digest(self) -> bytes:
        """SHA-256 over what was learned, the same whatever way a log was read.

        Of every tenant the leaves, and digest, count, first and last leaf of every row.
        """
        content = sha256(b"attestream decision index 1\n")
        for name in self.tenants:
            encoded = name.encode("utf-8", "surrogatepass")
            content.update(len(encoded).to_bytes(4, "big") + encoded)
            content.update(self._tenants[name].leaves.to_bytes(8, "little"))
            self._tenants[name].rows.digest_into(content.update)
        return content.digest()

    @property
    def rows(self) -> int:
        """Different evaluations learned, of all tenants."""
        return sum(len(tenant.rows) for tenant in self._tenants.values())

    @property
    def unmerged(self) -> bool:
        """Whether a graph should have rows it has not."""
        return bool(self._behind)

    @property
    def memory_bytes(self) -> int:
        """What rows and counts take, near enough."""
        tenants = self._tenants.values()
        return sum(tenant.rows.memory_bytes + tenant.habits.memory_bytes for tenant in tenants)

    def merge(self, rows_max: int) -> None:
        """Add at most so many rows to the graph of a tenant that lacks some.

        It changes no answer, and may run in another thread while nothing is scored or learned:
        what is asked of `assess` and `nearest` meanwhile does not use the graph.
        """
        for name, rows in self._behind.items():
            rows.merge(rows_max)
            if not rows.unmerged:
                del self._behind[name]
            return

    def apply(self, record: SealedRecord) -> list[Finding | Summary]:
        """Score and learn one leaf; what it makes known, summaries first."""
        return self.learn(self.score(record))

    def score(self, record: SealedRecord) -> Scored:
        """Decode and score one leaf; nothing is learned yet."""
        decision = None if self._rules.mode is Mode.OFF else self._decoded(record)
        if decision is None:
            return Scored(record.index, record.source.timestamp, None, (), (), (), {}, ())
        told = [features_of(decision, evaluation) for evaluation in decision.evaluations]
        digests = [digest_of(features) for features in told]
        tenant = self.tenant(decision.tenant)
        warm = tenant.leaves < self._rules.warm_up
        known = [tenant.rows.find(digest) for digest in digests]
        new: dict[bytes, Vector] = {}
        risky: list[_Risky] = []
        for position, (features, digest) in enumerate(zip(told, digests, strict=True)):
            # A decision learned before is never a finding.
            if known[position] is None and digest not in new:
                new[digest] = embed(features)
                found = None if warm else self._exact_risk(tenant, features, new[digest])
                if found is not None:
                    risky.append(_Risky(position, features, *found))
        timestamp = record.source.timestamp
        return Scored(record.index, timestamp, decision, told, digests, known, new, risky)

    def learn(self, scored: Scored) -> list[Finding | Summary]:
        """Learn the leaf scored last; what it makes known, summaries first."""
        if scored.timestamp >= 0:
            self.timestamp = scored.timestamp
        told: list[Finding | Summary] = self._summaries(scored.leaf)
        self.tallies.leaves += 1
        decision = scored.decision
        if decision is None:
            return told
        tenant = self.tenant(decision.tenant)
        if scored.risky:
            finding = self._finding(tenant, scored.leaf, decision, scored.risky)
            told += [finding] if finding else []
        tenant.leaves += 1
        for position, known in enumerate(scored.known):
            if known is None:
                row = self._learned(tenant, scored, position)
            else:
                row = known
                tenant.rows.count(row, scored.leaf)
            tenant.habits.learn_ids(tenant.rows.ids(row))
        if tenant.rows.unmerged:
            self._behind[decision.tenant] = tenant.rows
        self.tallies.evaluations += len(scored.features)
        return told

    def assess(self, features: Features) -> Assessment:
        """What would be said about an evaluation now; nothing is learned by asking."""
        tenant = self._tenants.get(features.tenant)
        if tenant is None:
            tenant = Tenant(self._make_rows(), self._rules)
        near = tenant.rows.nearest(embed(features), self._rules.neighbours)
        scored = _exact(tenant, features, near)
        return assessment_of(Known(tenant.rows, tenant.habits, near), features, scored)

    def exact_score(self, features: Features) -> Score:
        """The exact score of an evaluation now, for measuring; nothing is learned by asking."""
        tenant = self._tenants.get(features.tenant)
        if tenant is None:
            tenant = Tenant(self._make_rows(), self._rules)
        known = tenant.rows.find(digest_of(features)) is not None
        return _exact(tenant, features, () if known else tenant.rows.nearest(embed(features), 1))

    def nearest(self, tenant: str, vector: Vector, k: int) -> list[Neighbour]:
        """The `k` decisions of a tenant nearest to a vector, exactly."""
        known = self._tenants.get(tenant)
        if known is None:
            return []
        return neighbours_of(known.rows, tenant, known.rows.nearest(vector, k))

    @staticmethod
    def _learned(tenant: Tenant, scored: Scored, position: int) -> int:
        """Learn an evaluation that had no row before this leaf; its row."""
        digest = scored.digests[position]
        features = scored.features[position]
        return tenant.rows.learn(digest, features, scored.new[digest], scored.leaf)

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
        self, tenant: Tenant, features: Features, vector: Vector
    ) -> tuple[Score, list[Near]] | None:
        """The exact score if it reaches the threshold, with the nearest rows."""
        surprise = tenant.habits.measure(features)
        threshold = self._rules.threshold
        # Each similarity is a real row's, so none exceeds the true one, and no risk is underrated.
        if score(0.0, surprise).risk < threshold:
            return None
        if score(tenant.rows.similar_hot(vector), surprise).risk < threshold:
            return None
        # Where even a near row would not be near enough, the graph is not worth asking.
        if (
            score(HARDLY_NEARER, surprise).risk < threshold
            and score(tenant.rows.similar_candidates(vector), surprise).risk < threshold
        ):
            return None
        near = tenant.rows.nearest(vector, self._rules.neighbours)
        self.tallies.confirmed += 1
        exact = score(near[0].similarity if near else 0.0, surprise)
        return (exact, near) if exact.risk >= threshold else None

    def _finding(
        self, tenant: Tenant, leaf: int, decision: AuthorizationDecision, risky: Sequence[_Risky]
    ) -> Finding | None:
        self.tallies.findings += len(risky)
        throttle, timestamp = tenant.throttle, self.timestamp
        public = [
            found
            for found in risky
            if timestamp >= self._rules.since_ms
            and self._rules.publishes(found.features.principal)
        ]
        self.tallies.shadowed += len(risky) - len(public)
        fresh = [found for found in public if not throttle.is_repeated(found.features, timestamp)]
        self.tallies.repeated += len(public) - len(fresh)
        if not fresh:
            return None
        worst = max(fresh, key=lambda found: (found.score.risk, -found.position))
        if not self._admits(tenant, leaf, worst.score.risk, len(fresh)):
            self._holding[decision.tenant] = throttle
            for found in fresh:
                throttle.hold(found.features, timestamp)
            return None
        repetitions = sum(throttle.tell(found.features, timestamp) for found in fresh)
        known = Known(tenant.rows, tenant.habits, worst.near)
        return Finding(
            leaf,
            timestamp,
            decision.event_id,
            worst.position,
            assessment_of(known, worst.features, worst.score),
            tuple(found.position for found in fresh if found is not worst),
            repetitions,
            tenant.budget.threshold,
        )

    def _admits(self, tenant: Tenant, leaf: int, risk: float, findings: int) -> bool:
        """Whether budget and limit have room for a leaf; else its findings are held back."""
        if not tenant.budget.admits(tenant.leaves, risk):
            tenant.throttle.hold_back(leaf, self.timestamp, findings, below=findings)
            self.tallies.below += findings
            return False
        admitted = tenant.throttle.admits(leaf, self.timestamp, findings)
        self.tallies.held_back += 0 if admitted else findings
        return admitted

    def _summaries(self, leaf: int) -> list[Finding | Summary]:
        told: list[Finding | Summary] = []
        for tenant in sorted(self._holding):
            held = self._holding[tenant].release(self.timestamp)
            if held is not None:
                told.append(Summary(leaf, self.timestamp, tenant, held))
                if not self._holding[tenant].holds:
                    del self._holding[tenant]
        return told


def _exact(tenant: Tenant, features: Features, near: Sequence[Near]) -> Score:
    """The score by the nearest rows, or by how often this very evaluation was learned."""
    row = tenant.rows.find(digest_of(features))
    if row is not None:
        similarity = repeated(tenant.rows.row(row).times)
    else:
        similarity = near[0].similarity if near else 0.0
    return score(similarity, tenant.habits.measure(features))
