"""What AWS decides on a request, by the policy documents alone.

The rules of the IAM user guide ("Policy evaluation logic", "IAM JSON policy elements: Condition
operators"), for one account: a matching Deny ends it; else an Allow must match, of the caller's
own policies or the resource's. Only the elements and operators the project's documents use are
known; any other raises, so that nothing is decided by a rule that is not here.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Request", "decide", "matching"]

Document = Mapping[str, Any]
Statement = Mapping[str, Any]
KNOWN = {
    *("Sid", "Effect", "Principal", "Action", "Resource", "NotResource", "Condition"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One action on one resource, by one principal.

    `context` holds the condition keys the request has; a key that is not there is absent, which
    operators treat each in its own way.
    """

    principal: str
    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)

    def value(self, key: str) -> str | None:
        """Of a condition key; keys are matched whatever their case."""
        known = {"aws:PrincipalArn": self.principal, "aws:SecureTransport": "true", **self.context}
        return {name.lower(): value for name, value in known.items()}.get(key.lower())


def decide(request: Request, own: Sequence[Document], resource: Document) -> bool:
    """Whether it is allowed."""
    effects = {
        statement["Effect"]
        for document in (*own, resource)
        for statement in matching(request, document)
    }
    return effects == {"Allow"}


def matching(request: Request, document: Document) -> list[Statement]:
    """The statements of a document that speak of a request."""
    return [statement for statement in document["Statement"] if _speaks(request, statement)]


def _speaks(request: Request, statement: Statement) -> bool:
    if unknown := statement.keys() - KNOWN:
        raise ValueError(f"a statement this engine cannot read: {statement.get('Sid')}: {unknown}")
    return (
        _names(statement.get("Principal", "*"), request.principal)
        and _any_like(statement["Action"], request.action, ignore_case=True)
        and _covers(statement, request.resource)
        and all(
            _holds(operator, request.value(key), _list(wanted))
            for operator, tests in statement.get("Condition", {}).items()
            for key, wanted in tests.items()
        )
    )


def _names(principal: Any, who: str) -> bool:
    return principal == "*" or who in [
        name for given in principal.values() for name in _list(given)
    ]


def _covers(statement: Statement, resource: str) -> bool:
    if "NotResource" in statement:
        return not _any_like(statement["NotResource"], resource)
    return _any_like(statement["Resource"], resource)


def _any_like(patterns: Any, text: str, *, ignore_case: bool = False) -> bool:
    flags = re.IGNORECASE if ignore_case else re.NOFLAG
    return any(re.fullmatch(_pattern(p), text, flags | re.DOTALL) for p in _list(patterns))


def _pattern(glob: str) -> str:
    return re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".")


def _list(value: Any) -> list[str]:
    return list(value) if isinstance(value, list) else [value]


def _holds(operator: str, value: str | None, wanted: Sequence[str]) -> bool:
    if operator == "Null":
        return [str(value is None).lower()] == list(wanted)
    test = OPERATORS.get(operator)
    if test is None:
        raise ValueError(f"an operator this engine cannot read: {operator}")
    if value is None:
        # A negated operator holds for a key that is absent, any other does not.
        return operator.startswith("StringNot")
    return test(value, wanted)


OPERATORS: dict[str, Callable[[str, Sequence[str]], bool]] = {
    "Bool": lambda value, wanted: value in wanted,
    "StringEquals": lambda value, wanted: value in wanted,
    "StringNotEquals": lambda value, wanted: value not in wanted,
    "NumericLessThan": lambda value, wanted: any(float(value) < float(w) for w in wanted),
    "NumericGreaterThan": lambda value, wanted: any(float(value) > float(w) for w in wanted),
}
