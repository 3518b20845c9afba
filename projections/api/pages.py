"""What the HTTP pages say, apart from who serves them (Faust's web server, or `server`)."""

from typing import Any, NamedTuple, Protocol

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from streams.telemetry.health import Health

__all__ = ["METRICS_CONTENT_TYPE", "Answer", "Searches", "healthz", "metrics", "readyz"]

METRICS_CONTENT_TYPE = CONTENT_TYPE_LATEST


class Answer(NamedTuple):
    """An HTTP status and a JSON body."""

    status: int
    body: dict[str, Any]


class Searches(Protocol):
    """The indexes of this process, for the search pages."""

    def decisions(self, query: dict[str, str], k: int) -> list[dict[str, Any]]:
        """Nearest decisions of every local index. Raises ValueError for a query it cannot read."""

    def memories(self, query: dict[str, Any], k: int) -> list[dict[str, Any]]:
        """Nearest memories of every local index. Raises ValueError for a query it cannot read."""


def healthz() -> Answer:
    """Alive: the event loop answers. Says nothing about readiness."""
    return Answer(200, {"alive": True})


def readyz(health: Health) -> Answer:
    """Ready when every partition this worker owns is recovered and within its lag limit."""
    problems = health.problems()
    parts = [
        {"role": role, "topic": topic, "partition": partition, "state": s.state, "lag": s.lag}
        for (role, topic, partition), s in sorted(health.parts.items())
    ]
    notes = [f"{role} {what}" for role, what in sorted(health.notes.items()) if what]
    body: dict[str, Any] = {"ready": not problems, "problems": problems, "parts": parts}
    if notes:
        body["notes"] = notes
    return Answer(200 if not problems else 503, body)


def metrics() -> bytes:
    """All metrics, in the Prometheus text format."""
    return generate_latest()
