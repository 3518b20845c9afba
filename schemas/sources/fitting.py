"""Making an event of a foreign document fit into one record, without losing the decision.

A document may be larger than an event may be, and one that repeats its attributes for each of
thousands of evaluations grows further. Then parts are left out, the least needed first: the
source bytes (their digest stays), then attributes, contexts and outputs.
"""

from dataclasses import replace

from schemas.codec import encode_event
from schemas.errors import TooLargeError
from schemas.events import AuthorizationDecision, Evaluation, Event

__all__ = ["encode_fitting"]


def encode_fitting(event: Event) -> bytes:
    """The event framed as a single object, shrunk as far as it must be.

    Raises InvalidEventError, or TooLargeError where even its evaluations alone are too large.
    """
    try:
        return encode_event(event)
    except TooLargeError:
        if not isinstance(event, AuthorizationDecision):
            raise
    try:
        return encode_event(_without_source(event))
    except TooLargeError:
        return encode_event(_without_details(event))


def _without_source(event: AuthorizationDecision) -> AuthorizationDecision:
    return replace(event, source_record=replace(event.source_record, content=None))


def _without_details(event: AuthorizationDecision) -> AuthorizationDecision:
    """Who, what, on what and the answer alone."""
    return replace(
        _without_source(event),
        evaluations=tuple(map(_bare, event.evaluations)),
        truncated=True,
        annotations_json="",
    )


def _bare(evaluation: Evaluation) -> Evaluation:
    return replace(
        evaluation,
        subject=replace(evaluation.subject, attributes_json=""),
        resource=replace(evaluation.resource, attributes_json=""),
        context_json="",
        outputs_json="",
        errors=(),
    )
