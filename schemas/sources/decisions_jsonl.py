"""`decisions-jsonl`: one flat JSON object a decision → decisions.

    {"ts": "2026-01-02T03:04:05Z", "id": "7f3a", "principal": "alice", "roles": ["clerk"],
     "scope": "branch-7", "resource_kind": "invoice", "resource_id": "i-19", "action": "pay",
     "effect": "ALLOW", "status": "200"}

The form for anything that has no adapter: one `jq` away from most logs. `principal` and `action`
are needed; the rest may be missing or null, and a scope of `-` is none. Members of other names
are kept as annotations.
"""

from schemas.errors import InvalidEventError
from schemas.events import (
    Action,
    AuthorizationDecision,
    Decision,
    Enforcement,
    Entity,
    Evaluation,
    Producer,
)
from schemas.sources.reading import (
    Json,
    Options,
    canonical_json,
    event_id,
    identifier,
    parse_moment,
    parse_object,
    source_record,
    status_code,
    text,
    texts,
)

__all__ = ["translate"]

_MEMBERS = {"ts", "id", "tenant", "principal", "principal_kind", "roles", "scope", "action"}
_MEMBERS |= {"resource_kind", "resource_id", "effect", "reason", "status", "stage"}
_DECISIONS = {str(decision): decision for decision in Decision}


def translate(document: bytes, options: Options) -> AuthorizationDecision:
    """The decision of one line. Raises InvalidEventError where principal or action is missing."""
    row = parse_object(document)
    for name in ("principal", "action"):
        if not text(row.get(name)):
            raise InvalidEventError(f"{name}: is missing")
    moment = parse_moment(row.get("ts"))
    others = {name: row[name] for name in row if name not in _MEMBERS and row[name] is not None}
    return AuthorizationDecision(
        event_id=event_id(row.get("id"), document),
        tenant=text(row.get("tenant")) or options.tenant,
        decided_at=moment.micros,
        decided_at_nanos=moment.nanos,
        decided_at_text=moment.written,
        evaluations=(_evaluation(row),),
        enforcement=Enforcement(
            outcome=text(row.get("stage")), status_code=status_code(row.get("status"))
        ),
        source=Producer(format="decisions-jsonl"),
        annotations_json=canonical_json(others),
        source_record=source_record(document, options),
    )


def _evaluation(row: dict[str, Json]) -> Evaluation:
    effect, scope = text(row.get("effect")), identifier(row.get("scope"))
    return Evaluation(
        subject=Entity(
            type=identifier(row.get("principal_kind")),
            id=identifier(row["principal"]),
            roles=texts(row.get("roles")),
        ),
        action=Action(name=identifier(row["action"])),
        resource=Entity(
            type=identifier(row.get("resource_kind")),
            id=identifier(row.get("resource_id")),
            scope="" if scope == "-" else scope,
        ),
        decision=_DECISIONS.get(effect.upper(), Decision.UNKNOWN),
        decision_raw_json=canonical_json(row.get("effect")),
        reasons=texts(row.get("reason")),
    )
