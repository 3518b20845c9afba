"""What is said about decisions: how near the nearest are, what they lack, how often that was seen.

Everything here is exact, and a pure function of what was learned before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from projections.decision_index.embedding import Features, weighted_tokens
from projections.decision_index.habits import Habits
from projections.decision_index.index import DecisionRows, Near
from projections.decision_index.scoring import Score
from projections.decision_index.throttle import HeldBack

__all__ = [
    "Assessment",
    "Difference",
    "Finding",
    "Known",
    "Neighbour",
    "Summary",
    "Tallies",
    "assessment_of",
    "neighbours_of",
]

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
    the same habits that were not told since the last one; `threshold` is the one in force.
    """

    leaf: int
    timestamp: int
    event_id: str
    evaluation: int
    assessment: Assessment
    others: tuple[int, ...]
    repetitions: int
    threshold: float


class Summary(NamedTuple):
    """What the hourly limit of a tenant held back, told by the first leaf of a later hour."""

    leaf: int
    timestamp: int
    tenant: str
    held: HeldBack


@dataclass(slots=True)
class Tallies:
    """What happened so far.

    `shadowed` findings were counted, not published; those held back by the alert budget are
    `below`, those by the limit of an hour `held_back`.
    """

    leaves: int = 0
    unreadable: int = 0
    evaluations: int = 0
    confirmed: int = 0
    findings: int = 0
    repeated: int = 0
    held_back: int = 0
    below: int = 0
    shadowed: int = 0


class Known(NamedTuple):
    """What was learned before, and the rows nearest to the evaluation in question."""

    rows: DecisionRows
    habits: Habits
    near: Sequence[Near]


def assessment_of(known: Known, features: Features, scored: Score) -> Assessment:
    """What is to be said about an evaluation with this score."""
    neighbours = neighbours_of(known.rows, features.tenant, known.near)
    nearest = neighbours[0].features if neighbours else None
    return Assessment(
        features,
        scored,
        known.habits.known(features.principal),
        tuple(neighbours),
        _differences(known.habits, features, nearest),
    )


def neighbours_of(rows: DecisionRows, tenant: str, near: Sequence[Near]) -> list[Neighbour]:
    """Rows near an evaluation as what they stand for."""
    found = [(rows.row(number, tenant), similarity) for number, similarity in near]
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
