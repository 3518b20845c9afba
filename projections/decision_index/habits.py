"""Who does what, counted: how new a decision is to its principal, how rare its crosses are.

Counts are of the evaluations of one tenant in one log, each counted after it was measured. Both
measures are logarithms of ratios of counts, in nats: 0 means expected, 5 means one in 150.
"""

from math import hypot, log
from typing import NamedTuple

from projections.decision_index.embedding import Features

__all__ = ["Habits", "Surprise"]

PRINCIPAL, KIND, ACTION, SCOPE, ROLE, RESOURCE, EFFECT = range(7)
PK, PA, PS, KA, PKA, RKA = range(7, 13)
WHATS, WHERES, ACTIONS = range(13, 16)  # how many different PKA, PS, KA a principal or kind had
WHAT, WHERE, DOES = "principal*resource_kind*action", "principal*scope", "resource_kind*action"
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
    WHERE: PS,
    DOES: KA,
    WHAT: PKA,
    "role*resource_kind*action": RKA,
}


class Surprise(NamedTuple):
    """How unexpected an evaluation is: `novelty` to its principal, `rarity` of its crosses."""

    novelty: float
    rarity: float


class _Ids(NamedTuple):
    """A string is a number from 0 on; -1 was never learned, and no key with it exists."""

    principal: int
    scope: int
    kind: int
    action: int


class Habits:
    """Counts of fields and crosses, and how many different ones a principal or kind had.

    A key packs a tag (4 bits) and up to three ids (32 bits each) into one integer: a third of the
    memory of tuples.
    """

    __slots__ = ("_counts", "_ids", "_total")

    def __init__(self) -> None:
        self._total = 0
        self._ids: dict[str, int] = {}
        self._counts: dict[int, int] = {}

    @property
    def total(self) -> int:
        """Evaluations learned."""
        return self._total

    @property
    def memory_bytes(self) -> int:
        """What the counts take, near enough."""
        return len(self._counts) * 120 + len(self._ids) * 200

    def known(self, principal: str) -> int:
        """How many evaluations of a principal were learned."""
        return self._count(PRINCIPAL, self._id(principal))

    def seen(self, features: Features, name: str, role: str = "") -> int:
        """How often a field or cross of these features was learned; `role` where it has one."""
        parts = [role if part == "role" else getattr(features, part) for part in name.split("*")]
        return self._count(TAGS[name], *map(self._id, parts))

    def learn(self, features: Features) -> None:
        """Count one evaluation."""
        p, s = self._intern(features.principal), self._intern(features.scope)
        k, a = self._intern(features.resource_kind), self._intern(features.action)
        add = self._add
        self._total += 1
        add(PRINCIPAL, p)
        add(SCOPE, s)
        add(KIND, k)
        add(ACTION, a)
        add(RESOURCE, self._intern(features.resource_id))
        add(EFFECT, self._intern(features.effect))
        add(PK, p, k)
        add(PA, p, a)
        if add(PS, p, s) == 1:
            add(WHERES, p)
        if add(KA, k, a) == 1:
            add(ACTIONS, k)
        if add(PKA, p, k, a) == 1:
            add(WHATS, p)
        for role in features.roles:
            r = self._intern(role)
            add(ROLE, r)
            add(RKA, r, k, a)

    def measure(self, features: Features) -> Surprise:
        """How unexpected an evaluation would be now; asking teaches nothing.

        Novelty joins two surprises as the sides of a right angle: that the principal does this
        (kind and action) and that it does anything here (scope). What it did before surprises
        nobody; of what it never did, the surprise is that of its doing anything new at all, by
        the share of its evaluations that were new (Witten and Bell, 1991, method C).

        Rarity adds up: how rare the rarest cross is in the whole log, how unusual the action is
        for the kind, and by how much each cross falls short of what chance would have brought
        together, had its two parts nothing to do with each other.
        """
        p, s, k, a = self._ids_of(features)
        crosses = self._crosses(p, s, k, a)
        performed = self._count(PRINCIPAL, p)
        what = _new(self._count(WHATS, p), performed) if not crosses[WHAT] else 0.0
        where = _new(self._count(WHERES, p), performed) if not crosses[WHERE] else 0.0
        roles = [self._id(role) for role in features.roles]
        together = [self._count(RKA, role, k, a) for role in roles]
        rarest = min([*crosses.values(), *together])
        rarity = -log((rarest + 1) / (self._total + 2)) + self._odd_action(k, crosses[DOES])
        rarity += self._shortfall((p, s, k, a), crosses)
        if roles:
            rarity += max(
                self._short(self._count(ROLE, role), crosses[DOES], count)
                for role, count in zip(roles, together, strict=True)
            )
        return Surprise(hypot(what, where), rarity)

    def _crosses(self, p: int, s: int, k: int, a: int) -> dict[str, int]:
        count = self._count
        return {
            "principal*resource_kind": count(PK, p, k),
            "principal*action": count(PA, p, a),
            WHERE: count(PS, p, s),
            DOES: count(KA, k, a),
            WHAT: count(PKA, p, k, a),
        }

    def _odd_action(self, kind: int, count: int) -> float:
        uses = self._count(KIND, kind)
        if not count:
            return _new(self._count(ACTIONS, kind), uses)
        return -log((count + 1) / (uses + 2))

    def _shortfall(self, ids: tuple[int, int, int, int], crosses: dict[str, int]) -> float:
        p, s, k, a = ids
        count, short = self._count, self._short
        principal, kind = count(PRINCIPAL, p), count(KIND, k)
        action, does = count(ACTION, a), crosses[DOES]
        return (
            short(principal, kind, crosses["principal*resource_kind"])
            + short(principal, action, crosses["principal*action"])
            + short(principal, count(SCOPE, s), crosses[WHERE])
            + short(kind, action, does)
            + short(principal, does, crosses[WHAT])
        )

    def _short(self, left: int, right: int, together: int) -> float:
        """By how many nats two parts met less often than by chance; 0 where more often."""
        return max(0.0, log((left * right / (self._total + 1) + 1) / (together + 1)))

    def _ids_of(self, features: Features) -> _Ids:
        get = self._ids.get
        return _Ids(
            get(features.principal, -1),
            get(features.scope, -1),
            get(features.resource_kind, -1),
            get(features.action, -1),
        )

    def _id(self, text: str) -> int:
        return self._ids.get(text, -1)

    def _intern(self, text: str) -> int:
        return self._ids.setdefault(text, len(self._ids))

    def _count(self, tag: int, first: int, second: int = 0, third: int = 0) -> int:
        return self._counts.get(((third << 32 | second) << 32 | first) << 4 | tag, 0)

    def _add(self, tag: int, first: int, second: int = 0, third: int = 0) -> int:
        key = ((third << 32 | second) << 32 | first) << 4 | tag
        count = self._counts.get(key, 0) + 1
        self._counts[key] = count
        return count


def _new(different: int, trials: int) -> float:
    """The surprise of something new, after `trials` that brought `different` ones."""
    return -log((different + 1) / (trials + 2))
