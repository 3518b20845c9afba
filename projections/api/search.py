"""The search pages: this worker's indexes, and those of the other workers of the role, merged.

Each partition's index is held by one worker. Whoever is asked asks the others, with `local` set,
and merges; a worker that holds a part and does not answer makes the answer an error, never a
shorter list.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from projections.api.pages import Answer
from projections.search import LocalSearch, Question, SearchError, nearest

__all__ = ["KINDS", "Peers", "SearchPages"]

KINDS = {"decisions": "index", "memory": "memory"}
"""What can be searched, and the role that holds it."""

BODY_CHARS_MAX = 1_000_000
PEER_TIMEOUT = aiohttp.ClientTimeout(total=10)

Peers = Callable[[str], Awaitable[list[str]]]
"""The base URLs of the workers of a role, this one's included."""


class SearchPages:
    """Answers `POST /v1/search/{kind}`; the body is one JSON object."""

    def __init__(self, local: LocalSearch, peers: Peers, own_url: str) -> None:
        self._local = local
        self._peers = peers
        self._own_url = own_url

    async def answer(self, kind: str, body: str) -> Answer:
        """200 with `hits`; 400, 404 or 503 with `error`."""
        if kind not in KINDS:
            return Answer(404, {"error": f"{kind} cannot be searched, {' and '.join(KINDS)} can"})
        try:
            question = _question(kind, body)
            hits = self._local.answer(question)
            if not question.query.get("local"):
                hits = nearest([*hits, *await self._ask_others(question)], question)
        except SearchError as error:
            return Answer(400, {"error": str(error)})
        except (aiohttp.ClientError, TimeoutError) as error:
            return Answer(503, {"error": f"a worker did not answer: {error!r}"})
        return Answer(200, {"hits": hits})

    async def _ask_others(self, question: Question) -> list[dict[str, Any]]:
        others = [url for url in await self._peers(KINDS[question.kind]) if url != self._own_url]
        if not others:
            return []
        async with aiohttp.ClientSession(timeout=PEER_TIMEOUT) as session:
            parts = await asyncio.gather(*(_ask(session, url, question) for url in others))
        return [hit for part in parts for hit in part]


async def _ask(
    session: aiohttp.ClientSession, url: str, question: Question
) -> list[dict[str, Any]]:
    query = {**question.query, "local": True}
    async with session.post(f"{url}/v1/search/{question.kind}", json=query) as response:
        response.raise_for_status()
        hits: list[dict[str, Any]] = (await response.json())["hits"]
        return hits


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
