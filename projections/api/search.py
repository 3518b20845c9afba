"""The search pages: this worker's indexes, and those of the other workers of the role, merged.

Each log's index is held by one worker. Whoever is asked asks the others, with `local` set, and
merges. Every answer says whose logs it covers, and the whole must cover every log there is: what
nobody answers for makes the search an error, never a shorter list.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import aiohttp

from projections.api.pages import Answer
from projections.search import LocalSearch, Question, SearchError, nearest, told
from streams.engine import Engine
from streams.epochs import epochs_of
from streams.errors import AttestreamError
from streams.trust import Trust

__all__ = ["KINDS", "SearchPages", "Searched"]

KINDS = {"decisions": "index", "memory": "memory"}
"""What can be searched, and the role that holds it."""

BODY_CHARS_MAX = 1_000_000
PEER_TIMEOUT = aiohttp.ClientTimeout(total=10)


class Searched(Protocol):
    """What of a deployment says which logs there are."""

    @property
    def engine(self) -> Engine:
        """Its engine."""

    @property
    def trust(self) -> Trust:
        """Its trust: where logs were forked."""


class _Part(NamedTuple):
    """What one worker answers: hits, and the logs they may come from."""

    hits: list[dict[str, Any]]
    logs: list[str]


class SearchPages:
    """Answers `POST /v1/search/{kind}`; the body is one JSON object."""

    def __init__(
        self, local: LocalSearch, searched: Callable[[], Searched | None], own_url: str
    ) -> None:
        """`searched` gives None before the deployment is open."""
        self._local = local
        self._searched = searched
        self._own_url = own_url

    async def answer(self, kind: str, body: str) -> Answer:
        """200 with `hits` (and `logs`, if `local` was asked); 400, 404 or 503 with `error`."""
        if kind not in KINDS:
            return Answer(404, {"error": f"{kind} cannot be searched, {' and '.join(KINDS)} can"})
        try:
            question = _question(kind, body)
            own = _Part(self._local.answer(question), self._local.origins(kind))
            if question.query.get("local"):
                return Answer(200, own._asdict())
            return await self._whole(question, own)
        except SearchError as error:
            return Answer(400, {"error": str(error)})
        except AttestreamError as error:
            return Answer(503, {"error": str(error)})

    async def _whole(self, question: Question, own: _Part) -> Answer:
        searched = self._searched()
        if searched is None:
            return Answer(503, {"error": "this worker is starting"})
        wanted = await _logs(searched, question.kind)
        others = (
            await self._ask_others(searched.engine, question) if wanted - set(own.logs) else []
        )
        failures = [answered for answered in others if isinstance(answered, str)]
        hits: list[dict[str, Any]] = []
        for part in (own, *(answered for answered in others if isinstance(answered, _Part))):
            # Two workers may hold a log for a moment, when it has just moved: one is enough.
            hits += [hit for hit in part.hits if hit["log"] in wanted]
            wanted -= set(part.logs)
        if wanted:
            why = [f"no worker answers for {', '.join(sorted(wanted))}", *failures]
            return Answer(503, {"error": "; ".join(why)})
        return Answer(200, {"hits": told(nearest(hits, question))})

    async def _ask_others(self, engine: Engine, question: Question) -> list[_Part | str]:
        urls = [url for url in await engine.peers(KINDS[question.kind]) if url != self._own_url]
        async with aiohttp.ClientSession(timeout=PEER_TIMEOUT) as session:
            return await asyncio.gather(*(_ask(session, url, question) for url in urls))


async def _ask(session: aiohttp.ClientSession, url: str, question: Question) -> _Part | str:
    """The answer of one worker, or why there is none."""
    query = {**question.query, "local": True}
    try:
        async with session.post(f"{url}/v1/search/{question.kind}", json=query) as response:
            response.raise_for_status()
            answer = await response.json()
            return _Part(answer["hits"], answer["logs"])
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
        return f"{url} gave no answer: {error!r}"


async def _logs(searched: Searched, kind: str) -> set[str]:
    """The logs whose indexes make an answer whole.

    A decision of an earlier epoch is found in that epoch's index; what is remembered is carried
    into the open one.
    """
    engine, history = searched.engine, searched.trust.history
    topology = engine.topology
    source = {"decisions": topology.decisions, "memory": topology.memory}[kind]
    found: set[str] = set()
    for partition in range(await engine.partitions(topology.audit(source))):
        *ended, opened = epochs_of(history, topology, source, partition)
        found.add(opened.log.origin)
        if kind == "decisions":
            found |= {e.log.origin for e in ended if e.ended is not None and e.ended.size}
    return found


def _question(kind: str, body: str) -> Question:
    if len(body) > BODY_CHARS_MAX:
        raise SearchError(f"expected at most {BODY_CHARS_MAX} characters, got {len(body)}")
    try:
        query = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise SearchError(f"expected a JSON object: {error}") from error
    if not isinstance(query, dict):
        raise SearchError("expected a JSON object")
    return Question(kind, query)
