"""The demo's events: a made-up clinic's Cerbos decisions, and what its assistant remembers.

Everything is drawn from one seed, so that two runs print the same alerts. The habits are real in
shape: a few dozen people, each with the handful of things they do every day. A handful of odd
decisions stand among them; `ODD` says which and why.
"""

import hashlib
import itertools
import json
import math
import random
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["DIMENSION", "ODD", "decisions", "memories", "text_vector"]

SEED = 20_260_101
START_MS = 1_767_258_000_000  # 2026-01-01T09:00:00Z
STEP_MS = 2_500
DIMENSION = 64
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Habit(NamedTuple):
    """What a role does: resource kinds with actions, and how often relative to each other."""

    role: str
    people: tuple[str, ...]
    department: str
    does: tuple[tuple[str, str, int], ...]


HABITS = (
    Habit(
        "nurse",
        ("amara", "bea", "chen", "dario", "elif", "femi"),
        "ward",
        (("chart", "view", 12), ("chart", "annotate", 6), ("medication", "administer", 4)),
    ),
    Habit(
        "physician",
        ("greta", "hugo", "ines", "jonas"),
        "ward",
        (("chart", "view", 9), ("chart", "diagnose", 4), ("medication", "prescribe", 4)),
    ),
    Habit(
        "billing",
        ("karim", "lena", "marek"),
        "finance",
        (("invoice", "create", 5), ("invoice", "view", 9), ("claim", "submit", 4)),
    ),
    Habit(
        "pharmacist",
        ("noor", "oskar"),
        "pharmacy",
        (("medication", "view", 8), ("medication", "dispense", 8), ("stock", "count", 2)),
    ),
    Habit(
        "agent",
        ("scheduling-assistant",),
        "ward",
        (("appointment", "view", 20), ("appointment", "create", 9), ("appointment", "move", 4)),
    ),
    Habit(
        "admin",
        ("petra",),
        "it",
        (("account", "view", 6), ("account", "unlock", 3), ("report", "view", 2)),
    ),
)

# (after which share of the decisions, principal, role, department, kind, action, effect, why)
ODD = (
    (0.55, "karim", "billing", "ward", "chart", "diagnose", "DENY", "billing tries to diagnose"),
    (0.62, "scheduling-assistant", "agent", "finance", "invoice", "void", "ALLOW", "agent voids"),
    (0.70, "petra", "admin", "pharmacy", "medication", "prescribe", "ALLOW", "admin prescribes"),
    (0.78, "contractor-7", "visitor", "it", "account", "export", "ALLOW", "unknown exports"),
    (0.86, "noor", "pharmacist", "finance", "claim", "approve", "ALLOW", "pharmacist approves"),
    (0.93, "bea", "nurse", "it", "audit-log", "delete", "DENY", "nurse deletes the audit log"),
)


def decisions(count: int) -> Iterator[bytes]:
    """`count` Cerbos decision log entries (protojson), one a line, the odd ones among them."""
    dice = random.Random(SEED)  # noqa: S311  # a made-up log, not a secret
    people = [(habit, person) for habit in HABITS for person in habit.people]
    weights = [sum(w for _, _, w in habit.does) for habit, _ in people]
    planted = {int(share * count): rest for share, *rest in ODD}
    for number in range(count):
        if number in planted:
            who, role, department, kind, action, effect, _why = planted[number]
        else:
            habit, who = dice.choices(people, weights)[0]
            role, department = habit.role, habit.department
            does = dice.choices(habit.does, [w for _, _, w in habit.does])[0]
            kind, action = does[0], does[1]
            effect = "DENY" if dice.random() < 0.02 else "ALLOW"
        thing = f"{kind}-{int(dice.paretovariate(0.8)) % 97:02d}"
        entry = _cerbos(number, (who, role, department), (kind, thing, action), effect)
        yield json.dumps(entry, separators=(",", ":")).encode()


def memories() -> Iterator[bytes]:
    """What the clinic's assistant remembers, corrects and forgets: memories-jsonl, one a line."""
    facts = [
        ("greta", "Dr Greta prefers morning appointments before ten"),
        ("greta", "Dr Greta does not see patients on Friday afternoons"),
        ("hugo", "Dr Hugo runs the diabetes clinic every Tuesday"),
        ("ines", "Dr Ines speaks Portuguese and Spanish with patients"),
        ("jonas", "Dr Jonas covers the night shift in the first week of the month"),
        ("ward", "The ward keeps two beds free for emergency admissions"),
        ("ward", "Visitors may come between two and six in the afternoon"),
        ("pharmacy", "The pharmacy closes at eight in the evening on weekdays"),
        ("pharmacy", "Controlled drugs need two signatures to dispense"),
        ("billing", "Insurance claims are submitted within thirty days of treatment"),
        ("billing", "Invoices over five thousand need approval by finance"),
        ("transport", "The patient transport service needs a day of notice"),
    ]
    for number, (owner, text) in enumerate(facts):
        yield _memory(number, "UPSERT", owner, text, 1)
    yield _memory(1, "UPSERT", "greta", "Dr Greta now sees patients on Friday afternoons too", 2)
    yield _memory(11, "DELETE", "transport", "", 2)


def text_vector(text: str) -> list[float]:
    """A small hashed bag of words and word stems, of unit length: the demo's stand-in for a model.

    Good enough to find the sentence that shares words with a question, and nothing more.
    """
    vector = [0.0] * DIMENSION
    for word in re.findall(r"[a-z]+", text.lower()):
        for token, weight in ((word, 1.0), (word[:5], 0.5)):
            digest = hashlib.sha256(token.encode()).digest()
            vector[digest[0] % DIMENSION] += weight if digest[1] & 1 else -weight
    length = math.sqrt(sum(x * x for x in vector)) or 1.0
    return [round(x / length, 6) for x in vector]


def _memory(number: int, operation: str, owner: str, text: str, version: int) -> bytes:
    row: dict[str, Any] = {
        "event_id": f"memory-{number}-{version}",
        "time_ms": START_MS + 60_000 * number + version,
        "tenant": "clinic",
        "namespace": "assistant",
        "owner": owner,
        "node_id": f"fact-{number:03d}",
        "version": version,
        "operation": operation,
        "reason": "no longer offered" if operation == "DELETE" else "said in a conversation",
    }
    if operation == "UPSERT":
        row |= {"vector": text_vector(text), "metadata": {"text": text}}
    return json.dumps(row, separators=(",", ":")).encode()


def _cerbos(
    number: int, who: tuple[str, str, str], what: tuple[str, str, str], effect: str
) -> dict[str, Any]:
    (principal, role, department), (kind, thing, action) = who, what
    at = START_MS + STEP_MS * number
    policy = f"resource.{kind}.vdefault"
    return {
        "callId": _ulid(at, number),
        "timestamp": _rfc3339(at, number),
        "peer": {"address": "10.0.4.12:41810", "userAgent": "clinic-gateway/3.2"},
        "checkResources": {
            "inputs": [
                {
                    "requestId": f"r-{number:06d}",
                    "resource": {
                        "kind": kind,
                        "id": thing,
                        "scope": department,
                        "attr": {"department": department},
                    },
                    "principal": {
                        "id": principal,
                        "roles": [role],
                        "attr": {"department": department},
                    },
                    "actions": [action],
                }
            ],
            "outputs": [
                {
                    "requestId": f"r-{number:06d}",
                    "resourceId": thing,
                    "actions": {action: {"effect": f"EFFECT_{effect}", "policy": policy}},
                }
            ],
        },
        "auditTrail": {"effectivePolicies": {policy: {"attributes": {"driver": "git"}}}},
    }


def _rfc3339(at_ms: int, number: int) -> str:
    seconds, millis = divmod(at_ms, 1000)
    days, rest = divmod(seconds - 1_767_225_600, 86_400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"2026-01-{1 + days:02d}T{clock}.{millis:03d}{number % 1_000_000:06d}Z"


def _ulid(at_ms: int, number: int) -> str:
    value = at_ms << 80 | int.from_bytes(hashlib.sha256(b"%d" % number).digest()[:10], "big")
    digits = itertools.islice(_base32(value), 26)
    return "".join(reversed(list(digits)))


def _base32(value: int) -> Iterator[str]:
    while True:
        value, digit = divmod(value, 32)
        yield CROCKFORD[digit]
