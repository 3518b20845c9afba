"""Cerbos decision log entries (`cerbos.audit.v1.DecisionLogEntry`, JSON) → decisions.

One entry holds the answer to one call: n inputs times m actions (`checkResources`, or the
top-level `inputs` and `outputs` of older releases), or one query plan (`planResources`). It
becomes one decision with one evaluation per input and action.

Protojson leaves out what is default and lets a reader meet either name of a field and either
form of an enum, so all of these are read. Access log entries share the topic and the file with
decisions; they are refused as such.
"""

from dataclasses import replace

from schemas.errors import InvalidEventError
from schemas.events import (
    Action,
    AuthorizationDecision,
    Client,
    Decision,
    Entity,
    Evaluation,
    PolicyRef,
    PolicySource,
    Producer,
)
from schemas.sources.reading import (
    Json,
    Options,
    canonical_json,
    event_id,
    identifier,
    listed,
    member,
    members,
    parse_moment,
    parse_object,
    source_record,
    text,
    texts,
)

__all__ = ["translate"]

_EFFECTS = {
    "EFFECT_ALLOW": Decision.ALLOW,
    "EFFECT_DENY": Decision.DENY,
    "EFFECT_NO_MATCH": Decision.NOT_APPLICABLE,
    "1": Decision.ALLOW,
    "2": Decision.DENY,
    "3": Decision.NOT_APPLICABLE,
}
_PLAN_KINDS = {
    "KIND_ALWAYS_ALLOWED": Decision.ALLOW,
    "KIND_ALWAYS_DENIED": Decision.DENY,
    "KIND_CONDITIONAL": Decision.CONDITIONAL,
    "1": Decision.ALLOW,
    "2": Decision.DENY,
    "3": Decision.CONDITIONAL,
}
_DECISION_MEMBERS = ("checkResources", "planResources", "inputs", "outputs", "error", "oversized")


def translate(document: bytes, options: Options) -> AuthorizationDecision:
    """The decision of one log entry. Raises InvalidEventError for what is no decision entry."""
    entry = parse_object(document)
    _check_kind(entry)
    moment = parse_moment(entry.get("timestamp"))
    return AuthorizationDecision(
        event_id=event_id(member(entry, "callId"), document),
        tenant=options.tenant,
        decided_at=moment.micros,
        decided_at_nanos=moment.nanos,
        decided_at_text=moment.written,
        evaluations=(*_checks(entry), *_plans(member(entry, "planResources"))),
        policy_source=_policy_source(entry),
        source=Producer(product="cerbos", format="cerbos.audit.v1.DecisionLogEntry"),
        client=_client(members(entry.get("peer"))),
        truncated=entry.get("oversized") is True,
        annotations_json=_annotations(entry),
        source_record=source_record(document, options),
    )


def _check_kind(entry: dict[str, Json]) -> None:
    if entry.get("log.kind") == "access" or ("method" in entry and "callId" in entry):
        raise InvalidEventError("a Cerbos access log entry, which holds no decision")
    if all(member(entry, name) is None for name in _DECISION_MEMBERS):
        raise InvalidEventError("no Cerbos decision log entry: neither a check nor a plan")


def _checks(entry: dict[str, Json]) -> list[Evaluation]:
    evaluations = []
    for check in (member(entry, "checkResources"), entry):
        outputs = [members(output) for output in listed(member(check, "outputs"))]
        error = text(member(check, "error"))
        for place, given in enumerate(listed(member(check, "inputs"))):
            output = _output_of(members(given), place, outputs)
            evaluations += _evaluations(members(given), output, error)
    return evaluations


def _output_of(
    given: dict[str, Json], place: int, outputs: list[dict[str, Json]]
) -> dict[str, Json]:
    """The answer to an input: the one in its place, or the one that names it."""
    resource_id = text(members(given.get("resource")).get("id"))
    wanted = (text(member(given, "requestId")), resource_id)
    named = [(text(member(out, "requestId")), text(member(out, "resourceId"))) for out in outputs]
    if place < len(outputs) and named[place] in {wanted, ("", "")}:
        return outputs[place]
    return outputs[named.index(wanted)] if wanted in named else {}


def _evaluations(given: dict[str, Json], output: dict[str, Json], error: str) -> list[Evaluation]:
    answers = members(output.get("actions"))
    asked = texts(given.get("actions"))
    question = Evaluation(
        id=identifier(member(given, "requestId")),
        subject=_entity(members(given.get("principal"))),
        resource=_entity(members(given.get("resource"))),
        context_json=canonical_json(member(given, "auxData")),
        derived_roles=texts(member(output, "effectiveDerivedRoles")),
        errors=_errors(output, error),
    )
    outputs = listed(output.get("outputs"))
    return [
        replace(
            _answered(question, members(answers.get(action))),
            action=Action(name=identifier(action)),
            outputs_json=canonical_json([item for item in outputs if _is_about(item, action)]),
        )
        for action in (*asked, *(action for action in answers if action not in asked))
    ]


def _answered(question: Evaluation, answer: dict[str, Json]) -> Evaluation:
    unanswered = Decision.ERROR if question.errors and not answer else Decision.UNKNOWN
    policy = PolicyRef(id=text(answer.get("policy")), scope=text(answer.get("scope")))
    return replace(
        question,
        decision=_EFFECTS.get(text(answer.get("effect")), unanswered),
        decision_raw_json=canonical_json(answer.get("effect")),
        policies=(policy,) if policy.id else (),
    )


def _is_about(output: Json, action: str) -> bool:
    """Whether an output is of this action; those of older releases name none."""
    return text(members(output).get("action", action)) == action


def _plans(plan: Json) -> list[Evaluation]:
    given, output = members(member(plan, "input")), members(member(plan, "output"))
    if not given and not output:
        return []
    filters = members(output.get("filter"))
    kind = filters.get("kind", output.get("kind"))
    errors = _errors(output, text(member(plan, "error")))
    scopes = members(member(output, "matchedScopes"))
    resource = {"kind": output.get("kind"), **members(given.get("resource"))}
    actions = texts(given.get("actions")) or texts(given.get("action")) or ("",)
    return [
        Evaluation(
            id=identifier(member(given, "requestId")),
            subject=_entity(members(given.get("principal"))),
            action=Action(name=identifier(action)),
            resource=_entity(resource),
            context_json=canonical_json(member(given, "auxData")),
            decision=_PLAN_KINDS.get(text(kind), Decision.ERROR if errors else Decision.UNKNOWN),
            decision_raw_json=canonical_json(filters.get("kind")),
            policies=_matched(text(scopes.get(action)), text(member(output, "policyVersion"))),
            outputs_json=canonical_json(
                {name: output[name] for name in ("filter", "filterDebug") if output.get(name)}
            ),
            errors=errors,
        )
        for action in actions
    ]


def _matched(scope: str, version: str) -> tuple[PolicyRef, ...]:
    return (PolicyRef(scope=scope, version=version),) if scope or version else ()


def _entity(value: dict[str, Json]) -> Entity:
    """A principal (which has roles) or a resource (which has a kind)."""
    return Entity(
        type=identifier(value.get("kind")),
        id=identifier(value.get("id")),
        roles=texts(value.get("roles")),
        scope=text(value.get("scope")),
        policy_version=text(member(value, "policyVersion")),
        attributes_json=canonical_json(value.get("attr")),
    )


def _errors(output: dict[str, Json], error: str) -> tuple[str, ...]:
    problems = [
        *listed(member(output, "evaluationErrors")),
        *listed(member(output, "validationErrors")),
    ]
    return (*filter(None, (error,)), *map(canonical_json, problems))


def _policy_source(entry: dict[str, Json]) -> PolicySource:
    held = members(member(entry, "policySource"))
    kind = next(iter(held), "")
    place = members(held.get(kind))
    effective = members(member(member(entry, "auditTrail"), "effectivePolicies"))
    return PolicySource(
        kind=kind,
        store_id=_first(place, "repositoryUrl", "bucketUrl", "directory", "url", "deploymentId"),
        model_id=_first(place, "hash", "commitHash"),
        effective_policies=tuple(PolicyRef(id=name) for name in effective),
        details_json=canonical_json(
            {"policySource": held, "effectivePolicies": effective} if held or effective else None
        ),
    )


def _first(place: dict[str, Json], *names: str) -> str:
    return next(filter(None, (text(member(place, name)) for name in names)), "")


def _client(peer: dict[str, Json]) -> Client:
    forwarded = [hop.strip() for hop in text(member(peer, "forwardedFor")).split(",")]
    return Client(
        addresses=tuple(filter(None, (*forwarded, text(peer.get("address"))))),
        user_agent=text(member(peer, "userAgent")),
        principal=identifier(member(peer, "authInfo")),
    )


def _annotations(entry: dict[str, Json]) -> str:
    kept = {name: member(entry, name) for name in ("metadata", "requestContext")}
    return canonical_json({name: value for name, value in kept.items() if value})
