"""Open Policy Agent decision logs (EventV1, JSON; Enterprise OPA too) → decisions.

OPA's `input` and `result` are whatever JSON a deployment made up, so where subject, action,
resource and decision stand in them is configuration: an `OpaMapping`, paths into the log entry.
A path is a JSON pointer (`/input/user/name`) or the same with dots (`input.user.name`); the first
path of a list that leads somewhere counts. Without configuration the usual places are tried.

What a decision is: true or false, `"true"` or `"false"`, the words allow, allowed, permit, deny,
denied, forbid; in an object the same under `allow`, `allowed` or `decision`. Anything else is
UNKNOWN. `erased` and `masked` pointers are kept as redactions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from schemas.errors import InvalidEventError
from schemas.events import (
    Action,
    AuthorizationDecision,
    Client,
    Correlation,
    Decision,
    Entity,
    Evaluation,
    PolicySource,
    Producer,
    Redaction,
    RedactionKind,
)
from schemas.sources.reading import (
    Json,
    Options,
    canonical_json,
    event_id,
    identifier,
    listed,
    members,
    numbers,
    parse_moment,
    parse_object,
    source_record,
    text,
    texts,
)

__all__ = ["OpaMapping", "translate"]

Paths = tuple[str, ...]

_WORDS = {
    "true": Decision.ALLOW,
    "allow": Decision.ALLOW,
    "allowed": Decision.ALLOW,
    "permit": Decision.ALLOW,
    "false": Decision.DENY,
    "deny": Decision.DENY,
    "denied": Decision.DENY,
    "forbid": Decision.DENY,
}
_TELLING = {"decision_id", "path", "query", "result", "input"}
_READ = _TELLING | {"labels", "timestamp", "bundles", "revision", "requested_by", "erased"}
_READ |= {"masked", "metrics", "trace_id", "span_id", "req_id", "batch_decision_id", "error"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpaMapping:
    """Where in a log entry the parts of a decision stand: for each, paths in order of trial."""

    decision: Paths = (
        "/result",
        "/result/allow",
        "/result/allowed",
        "/result/decision",
    )
    subject_id: Paths = ("/input/subject/id", "/input/user/id", "/input/user", "/input/subject")
    subject_type: Paths = ("/input/subject/type",)
    subject_roles: Paths = ("/input/subject/roles", "/input/user/roles", "/input/roles")
    action: Paths = ("/input/action/name", "/input/action", "/input/method")
    resource_type: Paths = ("/input/resource/type", "/input/resource/kind")
    resource_id: Paths = ("/input/resource/id", "/input/resource", "/input/path")
    resource_scope: Paths = ("/input/resource/scope", "/input/tenant")
    reasons: Paths = ("/result/reasons", "/result/reason")

    @classmethod
    def of(cls, mapping: Mapping[str, Json]) -> "OpaMapping":
        """A mapping from configuration: a path or a list of paths by the name of each part.

        Raises ValueError that names every problem. Parts left out keep their usual places.
        """
        names = {field.name for field in fields(cls)}
        problems = [
            f"{name}: is none of {', '.join(sorted(names))}"
            for name in mapping
            if name not in names
        ]
        paths = {name: texts(value) for name, value in mapping.items()}
        problems += [
            f"{name}: expected a path or a list of paths" for name, p in paths.items() if not p
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return cls(**paths)


DEFAULT = OpaMapping()


def translate(
    document: bytes, options: Options, mapping: OpaMapping = DEFAULT
) -> AuthorizationDecision:
    """The decision of one log entry. Raises InvalidEventError for what is no log entry."""
    entry = parse_object(document)
    if not entry.keys() & _TELLING:
        raise InvalidEventError("no OPA decision log entry")
    moment = parse_moment(entry.get("timestamp"))
    labels = members(entry.get("labels"))
    return AuthorizationDecision(
        event_id=event_id(entry.get("decision_id"), document),
        tenant=options.tenant,
        decided_at=moment.micros,
        decided_at_nanos=moment.nanos,
        decided_at_text=moment.written,
        evaluations=(_evaluation(entry, mapping),),
        policy_source=_policy_source(entry),
        source=Producer(
            product="eopa" if labels.get("type") == "eopa" else "opa",
            format="openpolicyagent.org decision_logs EventV1",
            version=text(labels.get("version")),
            instance=text(labels.get("id")),
            labels={name: text(value) for name, value in labels.items()},
        ),
        correlation=Correlation(
            request_id=text(entry.get("req_id")),
            trace_id=text(entry.get("trace_id")),
            span_id=text(entry.get("span_id")),
            batch_id=text(entry.get("batch_decision_id")),
        ),
        client=Client(addresses=texts(entry.get("requested_by"))),
        redactions=(
            *_redactions(entry.get("erased"), RedactionKind.ERASED),
            *_redactions(entry.get("masked"), RedactionKind.MASKED),
        ),
        metrics=numbers(entry.get("metrics")),
        annotations_json=canonical_json(_others(entry)),
        source_record=source_record(document, options),
    )


def _evaluation(entry: dict[str, Json], mapping: OpaMapping) -> Evaluation:
    def found(paths: Paths) -> str:
        values = (identifier(_at(entry, path)) for path in paths)
        return next(filter(None, values), "")

    error = canonical_json(entry.get("error"))
    decided = _decision(entry, mapping.decision)
    return Evaluation(
        subject=Entity(
            type=found(mapping.subject_type),
            id=found(mapping.subject_id),
            roles=_first_texts(entry, mapping.subject_roles),
        ),
        action=Action(name=found(mapping.action)),
        resource=Entity(
            type=found(mapping.resource_type),
            id=found(mapping.resource_id),
            scope=found(mapping.resource_scope),
        ),
        context_json=canonical_json(entry.get("input")),
        decision=Decision.ERROR if error and decided is Decision.UNKNOWN else decided,
        decision_raw_json=canonical_json(entry.get("result")),
        reasons=_first_texts(entry, mapping.reasons),
        errors=(error,) if error else (),
    )


def _decision(entry: dict[str, Json], paths: Paths) -> Decision:
    for path in paths:
        decision = _WORDS.get(text(_at(entry, path)).lower())
        if decision is not None:
            return decision
    return Decision.UNKNOWN


def _first_texts(entry: dict[str, Json], paths: Paths) -> tuple[str, ...]:
    return next(filter(None, (texts(_at(entry, path)) for path in paths)), ())


def _at(entry: Json, path: str) -> Json:
    """What a path leads to, None where it leads nowhere."""
    if path.startswith("/"):
        steps = [part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/")]
    else:
        steps = path.split(".")
    value = entry
    for step in steps:
        if isinstance(value, list) and step.isascii() and step.isdigit() and len(step) < 7:
            value = value[int(step)] if int(step) < len(value) else None
        else:
            value = members(value).get(step)
    return value


def _policy_source(entry: dict[str, Json]) -> PolicySource:
    bundles = members(entry.get("bundles"))
    revisions = {name: text(members(bundle).get("revision")) for name, bundle in bundles.items()}
    return PolicySource(
        kind="bundle" if bundles else "",
        model_id=text(entry.get("revision")),
        query=text(entry.get("path")) or text(entry.get("query")),
        revisions=revisions,
    )


def _redactions(pointers: Json, kind: RedactionKind) -> list[Redaction]:
    return [Redaction(pointer=pointer, kind=kind) for pointer in texts(listed(pointers))]


def _others(entry: dict[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in entry.items() if name not in _READ and value}
