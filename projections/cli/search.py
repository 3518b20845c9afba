"""`attestream search`: nearest decisions, or memories, on either engine."""

import asyncio
import json
import os
from typing import Any

import click

from streams.cli.failures import exit_on_failure
from streams.cli.options import in_directory
from streams.errors import SettingsError, TransientError
from streams.settings import Settings, load_settings

__all__ = ["search"]

K = click.option("-k", default=10, show_default=True, type=click.IntRange(1, 1000), help="Hits.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@click.group()
def search() -> None:
    """Nearest decisions, or memories.

    With ATTESTREAM_URL the worker there is asked, and it asks the others; without, the embedded
    engine's log is read and indexed for the answer.
    """


@search.command()
@click.option("--tenant", default="")
@click.option("--principal", default="")
@click.option("--role", "roles", multiple=True, help="May be repeated.")
@click.option("--scope", default="")
@click.option("--kind", "resource_kind", default="", help="Resource kind.")
@click.option("--resource", "resource_id", default="", help="Resource id.")
@click.option("--action", default="")
@click.option("--effect", default="", help="ALLOW, DENY, ...")
@click.option("--explain", is_flag=True, help="The risk of such a decision; nothing is learned.")
@K
@AS_JSON
@in_directory
@exit_on_failure
def decisions(*, as_json: bool, **query: Any) -> None:  # noqa: ANN401  # click's options
    """Decisions nearest to the one described, by the fields that are given.

    Example: attestream search decisions --principal alice --kind invoice --action void --explain
    """
    query["roles"] = list(query["roles"])
    for hit in _ask("decisions", query):
        click.echo(json.dumps(hit) if as_json else _decision(hit))


@search.command()
@click.option("--tenant", default="")
@click.option("--namespace", required=True)
@click.option("--vector", required=True, help="JSON list of numbers, or @FILE that holds one.")
@click.option("--owner", default="", help="Memories of this owner only.")
@click.option("--threshold", default=-1.0, type=click.FloatRange(-1, 1), help="Least similarity.")
@K
@AS_JSON
@in_directory
@exit_on_failure
def memory(*, as_json: bool, vector: str, **query: Any) -> None:  # noqa: ANN401  # click's options
    """Memories nearest to a vector, in one namespace.

    Example: attestream search memory --namespace assistant --vector @question.json -k 3
    """
    query["vector"] = _vector(vector)
    for hit in _ask("memory", query):
        click.echo(json.dumps(hit) if as_json else _memory(hit))


def _ask(kind: str, query: dict[str, Any]) -> list[dict[str, Any]]:
    settings = load_settings(os.environ)
    if settings.url is None and settings.on_kafka:
        raise SettingsError(["ATTESTREAM_URL is required: a worker's, e.g. http://127.0.0.1:6066"])
    found = asyncio.run(
        _ask_worker(settings.url, kind, query) if settings.url else _ask_log(settings, kind, query)
    )
    if query.get("explain"):
        found = found[:1]  # that of the log which knows the principal best
    return found


async def _ask_worker(url: str, kind: str, query: dict[str, Any]) -> list[dict[str, Any]]:
    import aiohttp  # noqa: PLC0415  # optional dependency

    address = f"{url.rstrip('/')}/v1/search/{kind}"
    try:
        async with aiohttp.ClientSession() as session, session.post(address, json=query) as answer:
            body: dict[str, Any] = await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise TransientError(f"{address} gave no answer: {error}") from error
    if answer.status == 400:
        raise SettingsError([str(body["error"])])
    if answer.status != 200:
        raise TransientError(str(body.get("error", answer.status)))
    hits: list[dict[str, Any]] = body["hits"]
    return hits


async def _ask_log(settings: Settings, kind: str, query: dict[str, Any]) -> list[dict[str, Any]]:
    from projections.reading import search_of_decisions, search_of_memories  # noqa: PLC0415
    from projections.search import Question, SearchError, told  # noqa: PLC0415
    from streams.app import open_engine  # noqa: PLC0415

    build = {"decisions": search_of_decisions, "memory": search_of_memories}[kind]
    async with open_engine(settings) as engine:
        found = await build(engine, settings)
    try:
        return told(found.answer(Question(kind, query)))
    except SearchError as error:
        raise SettingsError([str(error)]) from error


def _vector(text: str) -> list[float]:
    try:
        if text.startswith("@"):
            with open(text[1:], encoding="utf-8") as file:  # noqa: PTH123  # as curl's @FILE
                text = file.read()
        vector = json.loads(text)
    except (OSError, ValueError) as error:
        raise SettingsError([f"--vector: {error}"]) from error
    if not isinstance(vector, list):
        raise SettingsError(["--vector: expected a JSON list of numbers"])
    return vector


def _decision(hit: dict[str, Any]) -> str:
    if "risk" in hit:
        seen = f"the principal was seen {hit['principal_seen']} times"
        lines = [f"risk {hit['risk']:.2f}, {seen}", hit["explanation"], hit["formula"]]
        if hit["not_given"]:
            lines.append(f"not given, so taken as empty: {', '.join(hit['not_given'])}")
        lines += [f"  {_decision(near)}" for near in hit["neighbours"]]
        return "\n".join(lines)
    return f"{hit['similarity']:.3f}  leaf {hit['index']} ×{hit['count']}  {hit['decision']}"


def _memory(hit: dict[str, Any]) -> str:
    return f"{hit['similarity']:.3f}  {hit['node_id']} v{hit['version']}  {hit['metadata']}"
