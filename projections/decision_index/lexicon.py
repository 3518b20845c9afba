"""The words of one tenant's decisions, each kept once and numbered by field.

Principals, roles, scopes, kinds, actions and effects come again and again: they are Python
strings, found by a dict. Resource ids may be as many as the decisions: they are UTF-8 in one
array, found by digest, at a quarter of the memory.
"""

from array import array
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from projections.decision_index.digests import Digests
from projections.decision_index.embedding import Features, resource_digest
from projections.decision_index.stored import (
    Appended,
    Parts,
    StateError,
    appended_array,
    appended_bytes,
    texts,
)

__all__ = ["FIELDS", "UNKNOWN", "Ids", "Lexicon", "Resources", "Words"]

UNKNOWN = -1
FIELDS = 7  # numbers an evaluation is
WORDS = ("principals", "roles", "scopes", "kinds", "actions", "effects")


class Ids(NamedTuple):
    """An evaluation in numbers; -1 was never learned. `roles` is the number of a set."""

    principal: int
    roles: int
    scope: int
    kind: int
    resource: int
    action: int
    effect: int


class Words:
    """Strings, numbered from 0."""

    __slots__ = ("_ids", "_words")

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._words = list(words)
        self._ids = {word: number for number, word in enumerate(self._words)}

    def __len__(self) -> int:
        return len(self._words)

    def __getitem__(self, number: int) -> str:
        return self._words[number]

    def find(self, word: str) -> int:
        """The number of a word; -1 where it has none."""
        return self._ids.get(word, UNKNOWN)

    def learn(self, word: str) -> int:
        """The number of a word, a new one if need be."""
        number = self._ids.setdefault(word, len(self._words))
        if number == len(self._words):
            self._words.append(word)
        return number

    def __iter__(self) -> Iterator[str]:
        return iter(self._words)


class Resources:
    """Resource ids, numbered from 0."""

    __slots__ = ("_digests", "_ends", "_text")

    def __init__(self) -> None:
        self._digests = Digests()
        self._text = bytearray()
        self._ends = array("Q", [0])

    def __len__(self) -> int:
        return len(self._digests)

    def __getitem__(self, number: int) -> str:
        start, end = self._ends[number], self._ends[number + 1]
        return self._text[start:end].decode("utf-8", "surrogatepass")

    @property
    def memory_bytes(self) -> int:
        """What they take, near enough."""
        return self._digests.memory_bytes + len(self._text) + 8 * len(self._ends)

    def find(self, resource: str) -> int:
        """The number of a resource id; -1 where it has none."""
        number = self._digests.find(resource_digest(resource))
        return UNKNOWN if number is None else number

    def learn(self, resource: str) -> int:
        """The number of a resource id, a new one if need be."""
        digest = resource_digest(resource)
        number = self._digests.find(digest)
        if number is None:
            number = self._digests.append(digest)
            self._text += resource.encode("utf-8", "surrogatepass")
            self._ends.append(len(self._text))
        return number

    def appended(self) -> list[Appended]:
        """What is to be stored."""
        return [
            appended_bytes("resources", self._text),
            appended_array("resource_ends", self._ends),
        ]

    @classmethod
    def of(cls, parts: Parts) -> "Resources":
        """Resource ids that were stored. Raises StateError, UnicodeDecodeError."""
        known = cls()
        known._text = bytearray(parts.bytes("resources"))
        known._ends = parts.array("resource_ends", "Q")
        ends = known._ends.tolist()
        if ends[:1] != [0] or ends[-1] != len(known._text) or ends != sorted(ends):
            raise StateError("the resource ids do not follow one another")
        text = bytes(known._text)
        words = (text[start:end] for start, end in pairwise(ends))
        digests = (resource_digest(word.decode("utf-8", "surrogatepass")) for word in words)
        known._digests = Digests.of(b"".join(digests))
        return known


class Lexicon:
    """Every word of one tenant in one log."""

    __slots__ = (
        "_role_numbers",
        "actions",
        "effects",
        "kinds",
        "principals",
        "resources",
        "role_members",
        "roles",
        "scopes",
    )

    def __init__(self) -> None:
        self.principals = Words()
        self.roles = Words()
        self.scopes = Words()
        self.kinds = Words()
        self.resources = Resources()
        self.actions = Words()
        self.effects = Words()
        # Sets of roles, sorted by name, as numbers of roles.
        self.role_members: list[tuple[int, ...]] = []
        self._role_numbers: dict[tuple[int, ...], int] = {}

    @property
    def memory_bytes(self) -> int:
        """What the words take, near enough."""
        words = (self.principals, self.roles, self.scopes, self.kinds, self.actions)
        return sum(map(len, words)) * 190 + self.resources.memory_bytes

    def find(self, features: Features) -> Ids:
        """An evaluation in numbers, -1 for what was never learned."""
        _, principal, roles, scope, kind, resource, action, effect = features
        return Ids(
            self.principals.find(principal),
            self._role_numbers.get(tuple(map(self.roles.find, roles)), UNKNOWN),
            self.scopes.find(scope),
            self.kinds.find(kind),
            self.resources.find(resource),
            self.actions.find(action),
            self.effects.find(effect),
        )

    def learn(self, features: Features) -> Ids:
        """An evaluation in numbers, new ones if need be."""
        _, principal, roles, scope, kind, resource, action, effect = features
        return Ids(
            self.principals.learn(principal),
            self.learn_roles(tuple(map(self.roles.learn, roles))),
            self.scopes.learn(scope),
            self.kinds.learn(kind),
            self.resources.learn(resource),
            self.actions.learn(action),
            self.effects.learn(effect),
        )

    def learn_roles(self, members: tuple[int, ...]) -> int:
        """The number of a set of roles, a new one if need be."""
        number = self._role_numbers.setdefault(members, len(self.role_members))
        if number == len(self.role_members):
            self.role_members.append(members)
        return number

    def features(self, tenant: str, ids: Ids) -> Features:
        """The evaluation these numbers stand for."""
        principal, roles, scope, kind, resource, action, effect = ids
        return Features(
            tenant,
            self.principals[principal],
            tuple(map(self.roles.__getitem__, self.role_members[roles])),
            self.scopes[scope],
            self.kinds[kind],
            self.resources[resource],
            self.actions[action],
            self.effects[effect],
        )

    def appended(self) -> list[Appended]:
        """What is to be stored."""
        sets = b"".join(
            array("I", (len(members), *members)).tobytes() for members in self.role_members
        )
        words = [appended_bytes(name, texts(getattr(self, name))) for name in WORDS]
        return [*words, appended_bytes("role_sets", sets), *self.resources.appended()]

    @classmethod
    def of(cls, parts: Parts) -> "Lexicon":
        """Words that were stored. Raises StateError, UnicodeDecodeError."""
        lexicon = cls()
        for name in WORDS:
            setattr(lexicon, name, Words(parts.words(name)))
        lexicon.resources = Resources.of(parts)
        held, at = parts.numbers("role_sets", "I").tolist(), 0
        while at < len(held):
            members = tuple(held[at + 1 : at + 1 + held[at]])
            at += 1 + held[at]
            number = lexicon.learn_roles(members)
            if number != len(lexicon.role_members) - 1 or at > len(held):
                raise StateError("the sets of roles are cut off, or one stands twice")
            if members and max(members) >= len(lexicon.roles):
                raise StateError("a set of roles names a role there is not")
        return lexicon

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many of each there are, in the order of `Ids`."""
        return (
            len(self.principals),
            len(self.role_members),
            len(self.scopes),
            len(self.kinds),
            len(self.resources),
            len(self.actions),
            len(self.effects),
        )
