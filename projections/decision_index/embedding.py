"""What an evaluation looks like to the index: its features, their digest, their vector.

A vector is signed feature hashing (Weinberger et al., 2009) of seven fields and six crosses into
384 columns, with fixed integer weights: a pure function of one evaluation, and small integers
throughout, so that a similarity comes out the same on every machine. Nothing but hashes leaves it.
`EMBEDDING_VERSION` names seed, weights and layout: whatever changes one changes every vector.

Tenants never meet in one index, so the tenant is no part of the vector.
"""

from functools import lru_cache
from hashlib import blake2b, sha256
from math import isqrt
from typing import NamedTuple

from schemas.events import AuthorizationDecision, Entity, Evaluation

__all__ = [
    "CROSSES",
    "DIMENSION",
    "EMBEDDING_VERSION",
    "FIELDS",
    "Features",
    "Vector",
    "Weighted",
    "digest_of",
    "embed",
    "embed_known",
    "features_of",
    "resource_digest",
    "summary_of",
    "weighted_tokens",
]

DIMENSION = 384
SEED = b"attestream decision embedding 1"
SLOTS = 2  # columns a token is hashed to
FIELD_WEIGHT = 32
DETAIL_WEIGHT = 16  # which one it was and how it ended say least about habits
CROSS_WEIGHT = 64
DIGEST_BYTES = 16
TOKENS_CACHED = 8192

FIELDS = ("principal", "role", "scope", "resource_kind", "resource_id", "action", "effect")
CROSSES = (
    "principal*resource_kind",
    "principal*action",
    "principal*scope",
    "resource_kind*action",
    "principal*resource_kind*action",
    "role*resource_kind*action",
)

EMBEDDING_VERSION = sha256(
    repr(
        (SEED, DIMENSION, SLOTS, FIELD_WEIGHT, DETAIL_WEIGHT, CROSS_WEIGHT, FIELDS, CROSSES)
    ).encode()
).hexdigest()[:16]


class Features(NamedTuple):
    """The features of one evaluation. `roles` is a set: sorted, each once."""

    tenant: str
    principal: str
    roles: tuple[str, ...]
    scope: str
    resource_kind: str
    resource_id: str
    action: str
    effect: str


class Vector(NamedTuple):
    """A sparse integer vector: rising columns, their values, and the sum of their squares."""

    columns: tuple[int, ...]
    values: tuple[int, ...]
    norm: int


class Weighted(NamedTuple):
    """One token of a vector: field or cross, its value in words, its hash and its weight.

    `role` is the role it is about; empty for tokens about none.
    """

    name: str
    value: str
    role: str
    digest: bytes
    weight: int


def features_of(decision: AuthorizationDecision, evaluation: Evaluation) -> Features:
    """The features of one evaluation of a decision.

    The scope is the resource's, else the subject's. Agents acting for the subject count as roles:
    what somebody does through a new agent is new.
    """
    subject, resource = evaluation.subject, evaluation.resource
    roles = subject.roles
    if evaluation.agents:
        roles = (*roles, *(f"agent {_named(agent)}" for agent in evaluation.agents))
    return Features(
        decision.tenant,
        _named(subject),
        roles if len(roles) < 2 else tuple(sorted(set(roles))),
        resource.scope or subject.scope,
        resource.type,
        resource.id,
        evaluation.action.name,
        evaluation.decision.value,
    )


def digest_of(features: Features) -> bytes:
    """128 bits that stand for the whole tuple: two evaluations with one digest are one row."""
    tenant, principal, roles, scope, kind, resource, action, effect = features
    parts = [
        _field("tenant", tenant),
        _field("principal", principal),
        _field("scope", scope),
        _field("resource_kind", kind),
        resource_digest(resource),
        _field("action", action),
        _field("effect", effect),
    ]
    parts += [_field("role", role) for role in roles]
    return blake2b(b"".join(parts), digest_size=DIGEST_BYTES, key=SEED).digest()


def embed(features: Features) -> Vector:
    """The vector of an evaluation. Equal features give equal vectors, in any process."""
    return _vector(_tokens(features))


def embed_known(features: Features) -> Vector:
    """The vector of a question: only of the fields that are not empty, and their crosses."""
    given = [
        (token.digest, token.weight)
        for token in weighted_tokens(features)
        if all(_part(features, token.role, name) for name in token.name.split("*"))
    ]
    return _vector(given)


def _part(features: Features, role: str, name: str) -> str:
    return role if name == "role" else str(getattr(features, name))


def _vector(tokens: list[tuple[bytes, int]]) -> Vector:
    sums: dict[int, int] = {}
    for digest, weight in tokens:
        bits = int.from_bytes(digest[: 4 * SLOTS], "little")
        for _ in range(SLOTS):
            column = ((bits >> 1) & 0x7FFFFFFF) % DIMENSION
            sums[column] = sums.get(column, 0) + (weight if bits & 1 else -weight)
            bits >>= 32
    columns = tuple(sorted(column for column, value in sums.items() if value))
    values = tuple(sums[column] for column in columns)
    return Vector(columns, values, sum(value * value for value in values))


def weighted_tokens(features: Features) -> list[Weighted]:
    """The tokens of an evaluation in words, for explanations; in the order of `embed`."""
    _, principal, roles, scope, kind, resource, action, effect = features
    words = [
        ("principal", principal, ""),
        ("scope", scope, ""),
        ("resource_kind", kind, ""),
        ("resource_id", resource, ""),
        ("action", action, ""),
        ("effect", effect, ""),
        ("principal*resource_kind", f"{principal} on {kind}", ""),
        ("principal*action", f"{principal} does {action}", ""),
        ("principal*scope", f"{principal} in {scope}", ""),
        ("resource_kind*action", f"{action} {kind}", ""),
        ("principal*resource_kind*action", f"{principal} does {action} {kind}", ""),
    ]
    words += [("role", role, role) for role in roles]
    words += [
        ("role*resource_kind*action", f"{role} does {action} {kind}", role) for role in roles
    ]
    return [
        Weighted(*word, digest, weight)
        for word, (digest, weight) in zip(words, _tokens(features), strict=True)
    ]


def resource_digest(resource: str) -> bytes:
    """The hash of a resource id. Not kept: there may be as many ids as decisions."""
    return blake2b(
        resource.encode("utf-8", "surrogatepass"),
        digest_size=DIGEST_BYTES,
        key=SEED,
        person=b"resource_id",
    ).digest()


def summary_of(features: Features) -> str:
    """An evaluation in one line."""
    _, principal, roles, scope, kind, resource, action, effect = features
    who = f"{principal} ({', '.join(roles)})" if roles else principal
    what = f"{kind} {resource}" if resource else kind
    where = f" in {scope}" if scope else ""
    return f"{who} {action} {what}{where}: {effect}"


def _named(entity: Entity) -> str:
    return f"{entity.type}:{entity.id}" if entity.type else entity.id


def _tokens(features: Features) -> list[tuple[bytes, int]]:
    """Digest and weight of every token. All roles together weigh as much as one would."""
    _, principal, roles, scope, kind, resource, action, effect = features
    who = _field("principal", principal)
    where = _field("scope", scope)
    of_kind = _field("resource_kind", kind)
    does = _field("action", action)
    tokens = [
        (who, FIELD_WEIGHT),
        (where, FIELD_WEIGHT),
        (of_kind, FIELD_WEIGHT),
        (resource_digest(resource), DETAIL_WEIGHT),
        (does, FIELD_WEIGHT),
        (_field("effect", effect), DETAIL_WEIGHT),
        (_cross(b"pk", who + of_kind), CROSS_WEIGHT),
        (_cross(b"pa", who + does), CROSS_WEIGHT),
        (_cross(b"ps", who + where), CROSS_WEIGHT),
        (_cross(b"ka", of_kind + does), CROSS_WEIGHT),
        (_cross(b"pka", who + of_kind + does), CROSS_WEIGHT),
    ]
    if roles:
        shared = isqrt(FIELD_WEIGHT * FIELD_WEIGHT // len(roles))
        crossed = isqrt(CROSS_WEIGHT * CROSS_WEIGHT // len(roles))
        held = [_field("role", role) for role in roles]
        tokens += [(role, shared) for role in held]
        tokens += [(_cross(b"rka", role + of_kind + does), crossed) for role in held]
    return tokens


@lru_cache(maxsize=TOKENS_CACHED)
def _field(name: str, value: str) -> bytes:
    return blake2b(
        value.encode("utf-8", "surrogatepass"),
        digest_size=DIGEST_BYTES,
        key=SEED,
        person=name.encode(),
    ).digest()


@lru_cache(maxsize=TOKENS_CACHED)
def _cross(name: bytes, parts: bytes) -> bytes:
    return blake2b(parts, digest_size=DIGEST_BYTES, key=SEED, person=name).digest()
