"""Who does what, counted: how new a decision is to its principal, how rare its crosses are.

Counts are of the evaluations of one tenant in one log, each counted after it was measured. Both
measures are logarithms of ratios of counts, in nats: 0 means expected, 5 means one in 150.
"""

from array import array
from math import hypot, log
from typing import NamedTuple

import numpy as np

from projections.decision_index.embedding import Features
from projections.decision_index.lexicon import UNKNOWN, Ids, Lexicon
from projections.decision_index.scoring import Surprise
from projections.decision_index.stored import Appended, Parts, StateError, appended_array

__all__ = ["BITS", "CROSSES", "SINGLES", "Habits", "Surprise"]

SINGLES = (  # counts by the number of one word
    "principal",
    "role",
    "scope",
    "resource_kind",
    "resource_id",
    "action",
    "effect",
    "whats",  # how many different kinds and actions a principal had
    "whats once",  # how many of these it had once
    "wheres",  # how many different scopes
    "wheres once",
    "actions",  # how many different actions a kind had
    "pair",  # of a kind and an action
    "doers",  # how many different principals a kind and action had
    "visitors",  # how many different principals a scope had
)
PRINCIPALS = ("principal", "whats", "whats once", "wheres", "wheres once")
CROSSES = (  # counts by the numbers of two words, or of a word and a pair of kind and action
    "principal*resource_kind",
    "principal*action",
    "principal*scope",
    "principal*resource_kind*action",
    "role*resource_kind*action",
)
BITS = 30  # of a number in a key: a key below 2^60 takes 32 bytes
ONCE_LOST = 2  # what was had twice was not had once
HORIZON = 20_000  # evaluations; of more, counts are taken as shares of so many
COMPANY_SHARE = 0.3  # of what others do, in whether something new surprises
COMPANY_DOUBT = 10  # uses of a thing that say as much as all things do


class _Counts(NamedTuple):
    """What was learned of an evaluation's parts and crosses."""

    principal: int
    scope: int
    kind: int
    action: int
    does: int  # kind and action
    on_kind: int  # principal and kind
    acts: int  # principal and action
    here: int  # principal and scope
    this: int  # principal, kind and action


class Habits:
    """Counts of fields and crosses, and how many different ones a principal, kind or pair had."""

    __slots__ = ("crosses", "lexicon", "pairs", "singles", "total")

    def __init__(self, lexicon: Lexicon | None = None) -> None:
        self.lexicon = Lexicon() if lexicon is None else lexicon
        self.total = 0
        self.singles = {name: array("Q") for name in SINGLES}
        self.crosses: dict[str, dict[int, int]] = {name: {} for name in CROSSES}
        self.pairs: dict[int, int] = {}  # kind and action, numbered as they came

    @property
    def memory_bytes(self) -> int:
        """What the counts take, near enough."""
        keys = sum(map(len, self.crosses.values())) + len(self.pairs)
        return keys * 90 + sum(8 * len(counts) for counts in self.singles.values())

    def known(self, principal: str) -> int:
        """How many evaluations of a principal were learned."""
        return self._single("principal", self.lexicon.principals.find(principal))

    def seen(self, features: Features, name: str, role: str = "") -> int:
        """How often a field or cross of these features was learned; `role` where it has one."""
        ids = self.lexicon.find(features)
        held = self.lexicon.roles.find(role)
        pair = self._pair(ids.kind, ids.action)
        single = {
            "principal": ids.principal,
            "role": held,
            "scope": ids.scope,
            "resource_kind": ids.kind,
            "resource_id": ids.resource,
            "action": ids.action,
            "effect": ids.effect,
            "resource_kind*action": pair,
        }
        if name in single:
            return self._single("pair" if "*" in name else name, single[name])
        keys = {
            "principal*resource_kind": (ids.principal, ids.kind),
            "principal*action": (ids.principal, ids.action),
            "principal*scope": (ids.principal, ids.scope),
            "principal*resource_kind*action": (ids.principal, pair),
            "role*resource_kind*action": (held, pair),
        }
        return self._cross(name, *keys[name])

    def learn(self, features: Features) -> None:
        """Count one evaluation."""
        self.learn_ids(self.lexicon.learn(features))

    def learn_ids(self, ids: Ids) -> None:
        """Count one evaluation whose words the lexicon knows."""
        p, roles, s, k, r, a, e = ids
        add, cross = self._add, self._add_cross
        self.total += 1
        add("principal", p)
        add("scope", s)
        add("resource_kind", k)
        add("action", a)
        add("resource_id", r)
        add("effect", e)
        pair = self.pairs.setdefault(k << BITS | a, len(self.pairs))
        add("pair", pair)
        if self.singles["pair"][pair] == 1:
            add("actions", k)
        cross("principal*resource_kind", p, k)
        cross("principal*action", p, a)
        times = cross("principal*scope", p, s)
        if times <= ONCE_LOST:
            self._add_new("wheres", p, "visitors", s, times)
        times = cross("principal*resource_kind*action", p, pair)
        if times <= ONCE_LOST:
            self._add_new("whats", p, "doers", pair, times)
        for role in self.lexicon.role_members[roles]:
            add("role", role)
            cross("role*resource_kind*action", role, pair)

    def _add_new(self, name: str, principal: int, company: str, thing: int, times: int) -> None:
        """Count what a principal had for the first time, or for the second."""
        if times == ONCE_LOST:
            self._add(f"{name} once", principal, -1)
            return
        self._add(name, principal)
        self._add(f"{name} once", principal)
        self._add(company, thing)

    def measure(self, features: Features) -> Surprise:
        """How unexpected an evaluation would be now; asking teaches nothing.

        Novelty joins two surprises as the sides of a right angle: that the principal does this
        (kind and action) and that it does anything here (scope). What it did before surprises
        nobody. Of what it never did, the surprise is that of its doing anything new at all: by the
        share of its evaluations that were new (Witten and Bell, 1991, method C), and by the share
        of what it did once only (Good, 1953), half each. It is more where the thing has had fewer
        different principals than others of its use: nobody is surprised by the next one in a new
        namespace, everybody by the next one in a vault.

        Rarity adds up: how rare the rarest cross is in the whole log, how unusual the action is
        for the kind, and by how much each cross falls short of what chance would have brought
        together, had its two parts nothing to do with each other. All three would grow with the
        log, without end, and so would the risk of the same decision: from 20,000 evaluations on,
        counts are taken as shares of so many.
        """
        p, _, s, k, _, a, _ = self.lexicon.find(features)
        pair = self._pair(k, a)
        n = self._counts_of(p, s, k, a)
        roles = [self.lexicon.roles.find(role) for role in features.roles]
        together = [self._cross("role*resource_kind*action", role, pair) for role in roles]
        rarest = min(n.does, n.on_kind, n.acts, n.here, n.this, *together)
        share = self._share
        rarity = -log((rarest * share + 1) / (self.total * share + 2)) + self._odd_action(k, n)
        rarity += self._shortfall(n)
        if roles:
            rarity += max(
                self._short(self._single("role", role), n.does, count)
                for role, count in zip(roles, together, strict=True)
            )
        return Surprise(self._novelty((p, s, pair), n), rarity)

    def _novelty(self, ids: tuple[int, int, int], n: _Counts) -> float:
        principal, scope, pair = ids
        what = where = 0.0
        if not n.this:
            what = self._surprise("whats", principal, n.principal)
            what += self._company("doers", pair, n.does, "principal*resource_kind*action")
        if not n.here:
            where = self._surprise("wheres", principal, n.principal)
            where += self._company("visitors", scope, n.scope, "principal*scope")
        return hypot(max(what, 0.0), max(where, 0.0))

    def _surprise(self, name: str, principal: int, trials: int) -> float:
        """That a principal does something new."""
        different = self._single(name, principal)
        once = self._single(f"{name} once", principal)
        return _new((different + once) / 2, trials)

    def _company(self, name: str, number: int, uses: int, cross: str) -> float:
        """By how many nats a thing gets new principals more seldom than things do on average."""
        usual = (len(self.crosses[cross]) + 1) / (self.total + 2)
        had = self._single(name, number)
        ratio = (had / usual + COMPANY_DOUBT) / (uses + COMPANY_DOUBT)
        return -COMPANY_SHARE * log(ratio)

    def _odd_action(self, kind: int, n: _Counts) -> float:
        if not n.does:
            return _new(self._single("actions", kind), n.kind * self._share)
        return -log((n.does * self._share + 1) / (n.kind * self._share + 2))

    def _shortfall(self, n: _Counts) -> float:
        short = self._short
        return (
            short(n.principal, n.kind, n.on_kind)
            + short(n.principal, n.action, n.acts)
            + short(n.principal, n.scope, n.here)
            + short(n.kind, n.action, n.does)
            + short(n.principal, n.does, n.this)
        )

    def _short(self, left: int, right: int, together: int) -> float:
        """By how many nats two parts met less often than by chance; 0 where more often."""
        by_chance = left * right / (self.total + 1) * self._share
        return max(0.0, log((by_chance + 1) / (together * self._share + 1)))

    @property
    def _share(self) -> float:
        return min(1.0, HORIZON / (self.total + 1))

    def _counts_of(self, p: int, s: int, k: int, a: int) -> _Counts:
        single, cross, pair = self._single, self._cross, self._pair(k, a)
        return _Counts(
            single("principal", p),
            single("scope", s),
            single("resource_kind", k),
            single("action", a),
            single("pair", pair),
            cross("principal*resource_kind", p, k),
            cross("principal*action", p, a),
            cross("principal*scope", p, s),
            cross("principal*resource_kind*action", p, pair),
        )

    def _pair(self, kind: int, action: int) -> int:
        if UNKNOWN in (kind, action):
            return UNKNOWN
        return self.pairs.get(kind << BITS | action, UNKNOWN)

    def _single(self, name: str, number: int) -> int:
        counts = self.singles[name]
        return counts[number] if 0 <= number < len(counts) else 0

    def _cross(self, name: str, left: int, right: int) -> int:
        # A key with -1 in it is negative, or none that was learned.
        return self.crosses[name].get(left << BITS | right, 0) if right >= 0 else 0

    def _add(self, name: str, number: int, count: int = 1) -> None:
        counts = self.singles[name]
        # A word is counted as it is learned, so a new one's number is the next.
        if number == len(counts):
            counts.append(count)
        else:
            counts[number] += count

    def _add_cross(self, name: str, left: int, right: int) -> int:
        """Count a cross; how often it was learned."""
        counts = self.crosses[name]
        key = left << BITS | right
        count = counts.get(key, 0) + 1
        counts[key] = count
        return count

    def appended(self) -> list[Appended]:
        """What is to be stored and never changes: which crosses there are, as they came."""
        held = {"pairs": self.pairs, **self.crosses}
        return [appended_array(name, array("Q", keys)) for name, keys in held.items()]

    def changing(self) -> dict[str, bytes]:
        """What is to be stored anew each time: how often each was learned."""
        crossed = {f"of {name}": array("Q", held.values()) for name, held in self.crosses.items()}
        counts = {f"of {name}": held for name, held in self.singles.items()} | crossed
        stored = {name: np.array(held, "<u8").tobytes() for name, held in counts.items()}
        return {"evaluations": self.total.to_bytes(8, "little"), **stored}

    def restore(self, parts: Parts) -> None:
        """Become the counts that were stored, of the words of the lexicon. Raises StateError."""
        pairs = parts.numbers("pairs", "Q").tolist()
        self.pairs = {key: number for number, key in enumerate(pairs)}
        self.total = int(parts.numbers("evaluations", "Q", 1)[0])
        words = self.lexicon
        items = {
            **dict.fromkeys(PRINCIPALS, len(words.principals)),
            **dict.fromkeys(("resource_kind", "actions"), len(words.kinds)),
            **dict.fromkeys(("pair", "doers"), len(self.pairs)),
            "role": len(words.roles),
            **dict.fromkeys(("scope", "visitors"), len(words.scopes)),
            "resource_id": len(words.resources),
            "action": len(words.actions),
            "effect": len(words.effects),
        }
        for name in SINGLES:
            self.singles[name] = parts.array(f"of {name}", "Q", items[name])
        for name in CROSSES:
            keys = parts.numbers(name, "Q").tolist()
            counts = parts.numbers(f"of {name}", "Q", len(keys)).tolist()
            self.crosses[name] = dict(zip(keys, counts, strict=True))
            if len(self.crosses[name]) != len(keys):
                raise StateError(f"a cross of {name} stands twice")


def _new(different: float, trials: float) -> float:
    """The surprise of something new, after `trials` that brought `different` ones."""
    return -log((different + 1) / (trials + 2))
