"""Who does what, counted: how new a decision is to its principal, and how rare its crosses are.

Counts are of evaluations of one tenant in one log, each counted after it was measured. Everything
is a logarithm of a ratio of counts, in nats: 0 means expected, 5 means one in 150.
"""

from collections import defaultdict
from math import hypot, log
from typing import NamedTuple

from projections.decision_index.embedding import Features

__all__ = ["Habits", "Surprise"]

PRINCIPAL, KIND, ACTION, SCOPE, ROLE, RESOURCE, EFFECT = range(7)
PK, PA, PS, KA, PKA, RKA = range(7, 13)
TAGS = {
    "principal": PRINCIPAL,
    "resource_kind": KIND,
    "action": ACTION,
    "scope": SCOPE,
    "role": ROLE,
    "resource_id": RESOURCE,
    "effect": EFFECT,
    "principal*resource_kind": PK,
    "principal*action": PA,
    "principal*scope": PS,
    "resource_kind*action": KA,
    "principal*resource_kind*action": PKA,
    "role*resource_kind*action": RKA,
}

Key = tuple[int, ...]


class Surprise(NamedTuple):
    """How unexpected an evaluation is: `novelty` of the principal, `rarity` of its crosses."""

    novelty: float
    rarity: float


class Habits:
    """Counts of fields and crosses, and how many different ones each principal and kind had."""

    __slots__ = ("_counts", "_distinct", "_ids", "_total")

    def __init__(self) -> None:
        self._total = 0
        self._ids: dict[str, int] = {}
        self._counts: dict[Key, int] = {}
        self._distinct: defaultdict[Key, int] = defaultdict(int)

    @property
    def total(self) -> int:
        """Evaluations learned."""
        return self._total

    def seen(self, features: Features, name: str, role: str = "") -> int:
        """How often the field or cross `name` of these features was learned, `role` if it has one."""
        key = self._key(features, name, role)
        return 0 if key is None else self._counts.get(key, 0)

    def known(self, principal: str) -> int:
        """How many evaluations of a principal were learned."""
        return self._count(PRINCIPAL, principal)

    def learn(self, features: Features) -> None:
        """Count one evaluation."""
        _, principal, roles, scope, kind, resource, action, effect = features
        p, s, k = self._intern(principal), self._intern(scope), self._intern(kind)
        a = self._intern(action)
        self._total += 1
        self._add((PRINCIPAL, p))
        self._add((SCOPE, s))
        self._add((KIND, k))
        self._add((ACTION, a))
        self._add((RESOURCE, self._intern(resource)))
        self._add((EFFECT, self._intern(effect)))
        self._add((PK, p, k))
        self._add((PA, p, a))
        if self._add((PS, p, s)):
            self._distinct[(PS, p)] += 1
        if self._add((KA, k, a)):
            self._distinct[(KA, k)] += 1
        if self._add((PKA, p, k, a)):
            self._distinct[(PKA, p)] += 1
        for role in roles:
            r = self._intern(role)
            self._add((ROLE, r))
            self._add((RKA, r, k, a))

    def measure(self, features: Features) -> Surprise:
        """How unexpected an evaluation would be now; nothing is learned by asking."""
        crosses = self._crosses(features)
        return Surprise(self._novelty(features), self._rarity(features, crosses))
