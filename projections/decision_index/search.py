"""Questions to a decision index, and its answers as JSON values."""

from typing import Any, Protocol

from projections.decision_index.alerts import explain
from projections.decision_index.embedding import Features, embed_known, summary_of
from projections.decision_index.fold import Assessment, DecisionFold, Neighbour
from projections.decision_index.scoring import factors_of
from projections.search import Question, SearchError

__all__ = ["DecisionSearch", "FoldedLog", "SearchedIndex", "features_asked"]

FIELDS = ("tenant", "principal", "scope", "resource_kind", "resource_id", "action", "effect")


class SearchedIndex(Protocol):
    """A decision index, running (`DecisionIndex`) or read from a log once (`FoldedLog`)."""

    def search(self, query: Features, k: int) -> list[Neighbour]:
        """The nearest decisions by the fields the query names."""

    def explain(self, features: Features) -> Assessment:
        """What would be said about a decision now."""


class FoldedLog:
    """A fold as an index that is only searched."""

    def __init__(self, fold: DecisionFold) -> None:
        self._fold = fold

    def search(self, query: Features, k: int) -> list[Neighbour]:
        """The nearest decisions by the fields the query names."""
        return self._fold.nearest(query.tenant, embed_known(query), k)

    def explain(self, features: Features) -> Assessment:
        """What would be said about a decision now."""
        return self._fold.assess(features)


class DecisionSearch:
    """Nearest decisions by the fields a question names; with `explain`, the risk of such a one."""

    def __init__(self, index: SearchedIndex) -> None:
        self._index = index

    def answer(self, question: Question) -> list[dict[str, Any]]:
        """Hits, nearest first. Raises SearchError."""
        features = features_asked(question.query)
        if not question.query.get("explain"):
            return [_hit(near) for near in self._index.search(features, question.k)]
        return [_told(self._index.explain(features))]


def features_asked(query: dict[str, Any]) -> Features:
    """The features a question names; those it does not are empty. Raises SearchError."""
    for name in FIELDS:
        if not isinstance(query.get(name, ""), str):
            raise SearchError(f"{name}: expected text, got {query[name]!r}")
    roles = query.get("roles", [])
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise SearchError(f"roles: expected a list of texts, got {roles!r}")
    fields = {name: query.get(name, "") for name in FIELDS}
    return Features(roles=tuple(sorted(set(roles))), **fields)


def _told(told: Assessment) -> dict[str, Any]:
    _, similarity, novelty, rarity = told.score
    factors = factors_of(similarity, novelty, rarity)
    asked = told.features._asdict()
    return {
        "similarity": similarity,
        **factors._asdict(),
        "formula": str(factors),
        "principal_seen": told.known,
        "not_given": [name for name in ("roles", *FIELDS[1:]) if not asked[name]],
        "explanation": explain(told),
        "features": [difference._asdict() for difference in told.differences],
        "neighbours": [_hit(near) for near in told.neighbours],
    }


def _hit(near: Neighbour) -> dict[str, Any]:
    return {
        "index": near.leaf,
        "similarity": near.similarity,
        "count": near.times,
        "decision": summary_of(near.features),
        "principal": near.features.principal,
        "action": near.features.action,
        "resource_kind": near.features.resource_kind,
        "resource_id": near.features.resource_id,
        "effect": near.features.effect,
    }
