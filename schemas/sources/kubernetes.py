"""Kubernetes audit events (`audit.k8s.io/v1` Event, JSON) → decisions.

The decision is what the annotation `authorization.k8s.io/decision` says, and nothing else: a
request may have been answered with success without any authorizer having been asked, and refused
by admission after it was allowed. Most events carry no decision; theirs is UNKNOWN, and the
status code stands in `enforcement`. An impersonated user is the subject, the one who
impersonates its agent. An event wrapped as `{"event": {...}}` is unwrapped.
"""

from schemas.errors import InvalidEventError
from schemas.events import (
    Action,
    AuthorizationDecision,
    Client,
    Correlation,
    Decision,
    Enforcement,
    Entity,
    Evaluation,
    Producer,
)
from schemas.limits import NAME_CHARS_MAX
from schemas.sources.reading import (
    Json,
    Options,
    canonical_json,
    event_id,
    identifier,
    members,
    parse_moment,
    parse_object,
    source_record,
    status_code,
    text,
    texts,
)

__all__ = ["translate"]

DECISION = "authorization.k8s.io/decision"
REASON = "authorization.k8s.io/reason"

_TELLING = {"verb", "user", "objectRef", "requestURI", "auditID"}
_DECISIONS = {"allow": Decision.ALLOW, "forbid": Decision.DENY, "deny": Decision.DENY}


def translate(document: bytes, options: Options) -> AuthorizationDecision:
    """The decision of one audit event. Raises InvalidEventError for what is no audit event."""
    found = parse_object(document)
    event = found if "kind" in found or "verb" in found else members(found.get("event"))
    if text(event.get("kind")) not in {"Event", ""} or not event.keys() & _TELLING:
        raise InvalidEventError("no Kubernetes audit event")
    moment = parse_moment(event.get("requestReceivedTimestamp", event.get("stageTimestamp")))
    status = members(event.get("responseStatus"))
    version = text(event.get("apiVersion"))
    return AuthorizationDecision(
        event_id=_event_id(event, document),
        tenant=options.tenant,
        decided_at=moment.micros,
        decided_at_nanos=moment.nanos,
        decided_at_text=moment.written,
        evaluations=(_evaluation(event),),
        enforcement=Enforcement(
            outcome=text(event.get("stage")),
            status_code=status_code(status.get("code")),
            message=text(status.get("message")) or text(status.get("reason")),
        ),
        source=Producer(product="kubernetes", format="audit.k8s.io Event", version=version),
        correlation=Correlation(request_id=identifier(event.get("auditID"))),
        client=Client(
            addresses=texts(event.get("sourceIPs")), user_agent=text(event.get("userAgent"))
        ),
        annotations_json=canonical_json(event.get("annotations")),
        source_record=source_record(document, options),
    )


def _event_id(event: dict[str, Json], document: bytes) -> str:
    """The audit id, which the stages of a request share, and the stage."""
    audit_id, stage = text(event.get("auditID")), text(event.get("stage"))
    whole = f"{audit_id}/{stage}" if audit_id and stage else audit_id
    return event_id(whole if len(whole) <= NAME_CHARS_MAX else "", document)


def _evaluation(event: dict[str, Json]) -> Evaluation:
    annotations = members(event.get("annotations"))
    user = _user(members(event.get("user")))
    impersonated = members(event.get("impersonatedUser"))
    decision = annotations.get(DECISION)
    return Evaluation(
        subject=_user(impersonated) if impersonated else user,
        agents=(user,) if impersonated else (),
        action=Action(name=identifier(event.get("verb"))),
        resource=_resource(members(event.get("objectRef")), text(event.get("requestURI"))),
        decision=_DECISIONS.get(text(decision).lower(), Decision.UNKNOWN),
        decision_raw_json=canonical_json(decision),
        reasons=texts(annotations.get(REASON)),
    )


def _user(user: dict[str, Json]) -> Entity:
    extra = {name: user[name] for name in ("uid", "extra") if user.get(name)}
    return Entity(
        type="user",
        id=identifier(user.get("username")),
        roles=texts(user.get("groups")),
        attributes_json=canonical_json(extra),
    )


def _resource(reference: dict[str, Json], uri: str) -> Entity:
    """The object a request names; its path where it names none, as for a list of all."""
    path = uri.partition("?")[0]
    if not reference:
        return Entity(type="nonResourceURL" if path else "", id=identifier(path))
    kind = "/".join(
        filter(None, (text(reference.get("resource")), text(reference.get("subresource"))))
    )
    rest = {n: reference[n] for n in ("apiGroup", "apiVersion", "uid") if reference.get(n)}
    return Entity(
        type=identifier(kind),
        id=identifier(reference.get("name")) or identifier(path),
        scope=identifier(reference.get("namespace")),
        attributes_json=canonical_json(rest),
    )
