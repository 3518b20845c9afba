"""`attestream send`: feed events from files, in any format that has an adapter, or Avro."""

import asyncio
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import click
import yaml

from schemas.sources import FORMATS, Options
from schemas.sources.opa import OpaMapping
from schemas.sources.opa import translate as translate_opa
from streams.app import open_engine
from streams.cli.failures import exit_on_failure
from streams.cli.options import in_directory
from streams.clock import SystemClock
from streams.engine import EventSink
from streams.errors import SettingsError, SourceUnreadableError
from streams.intake.files import AVRO, Ready, Rejected, read_avro, read_documents
from streams.ports import NewRecord
from streams.settings import Settings, load_settings

__all__ = ["send"]

REJECTIONS_LISTED_MAX = 1_000
PROGRESS_EVERY = 50_000

Reader = Callable[[BinaryIO], Iterator[Ready | Rejected]]


@dataclass(slots=True)
class Journal:
    """What became of the events of all files; `told` prints it as it happens, on stderr."""

    told: bool
    sent: int = 0
    rejected: int = 0
    rejections: list[dict[str, Any]] = field(default_factory=list)

    def count(self) -> None:
        """One more event was handed over."""
        self.sent += 1
        if self.told and self.sent % PROGRESS_EVERY == 0:
            click.echo(f"sent {self.sent}", err=True)

    def reject(self, file: str, rejected: Rejected) -> None:
        """A line that holds no event."""
        self.rejected += 1
        if self.told:
            click.echo(f"{file}:{rejected.line}: {rejected.reason}", err=True)
        if len(self.rejections) < REJECTIONS_LISTED_MAX:
            found = {"file": file, "line": rejected.line, "reason": rejected.reason}
            self.rejections.append(found)

    def as_json(self) -> dict[str, Any]:
        """`rejections` lists the first 1,000 of `rejected`."""
        counts = {"sent": self.sent, "rejected": self.rejected}
        return {**counts, "rejections": self.rejections}


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--format",
    "format_name",
    required=True,
    type=click.Choice([AVRO, *sorted(FORMATS)]),
    help="What the files hold; avro: object container files of this project's events.",
)
@click.option("--topic", help="Instead of the deployment's topic for that kind of event.")
@click.option("--tenant", default="", help="Tenant of events that name none themselves.")
@click.option(
    "--raw",
    type=click.Choice(["inline", "hash"]),
    default="inline",
    show_default=True,
    help="Keep source documents inside the events, or their SHA-256 alone.",
)
@click.option(
    "--opa-mapping",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="YAML or JSON: where subject, action, resource and decision stand in OPA's logs.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout, nothing else.")
@in_directory
@exit_on_failure
def send(files: tuple[Path, ...], *, topic: str | None, as_json: bool, **how: Any) -> None:  # noqa: ANN401
    """Feed events from FILES (plain, gzipped, or - for standard input) to their topics.

    Each record is stamped with its event's own time, or with the present where the event tells
    none. Lines that hold no event are rejected with
    their number; the others are sent all the same, and the exit status is then 1.

    Example: attestream send --format cerbos decisions.ndjson.gz
    """
    settings = load_settings(os.environ)
    read = _reader(**how)
    journal = Journal(told=not as_json)
    asyncio.run(_send(settings, topic, _events(files, read, journal), journal))
    if as_json:
        click.echo(json.dumps(journal.as_json()))
    else:
        click.echo(f"sent {journal.sent}, rejected {journal.rejected}")
    if journal.rejected:
        sys.exit(1)


def _reader(format_name: str, tenant: str, raw: str, opa_mapping: Path | None) -> Reader:
    """How a file becomes events. Raises SettingsError."""
    if opa_mapping is not None and format_name != "opa":
        raise SettingsError(["--opa-mapping: is for --format opa"])
    if format_name == AVRO:
        return read_avro
    adapter = FORMATS[format_name]
    if opa_mapping is not None:
        mapping = _opa_mapping(opa_mapping)
        adapter = adapter._replace(translate=functools.partial(translate_opa, mapping=mapping))
    options = Options(tenant=tenant, keep_source=raw == "inline")
    return functools.partial(read_documents, adapter=adapter, options=options)


def _opa_mapping(path: Path) -> OpaMapping:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise SettingsError([f"--opa-mapping: {path} is no list of names with paths"])
        return OpaMapping.of({str(name): paths for name, paths in found.items()})
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError([f"--opa-mapping: {path}: {error}"]) from None


def _events(files: tuple[Path, ...], read: Reader, journal: Journal) -> Iterator[Ready]:
    """The events of all files in order; rejections go to the journal."""
    for path in files:
        with _opened(path) as file:
            for found in read(file):
                if isinstance(found, Rejected):
                    journal.reject(str(path), found)
                else:
                    yield found


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise SourceUnreadableError(f"{path}: {error.strerror}") from None
    with file:
        yield file


async def _send(
    settings: Settings, topic: str | None, events: Iterator[Ready], journal: Journal
) -> None:
    """Hand every event to the sink of its topic; delivered when this returns."""
    topics = {"decision": settings.decisions_topic, "memory": settings.memory_topic}
    sinks: dict[str, EventSink] = {}
    clock = SystemClock()
    async with open_engine(settings, create=True) as engine, AsyncExitStack() as opened:
        for event in events:
            name = topic or topics[event.kind]
            if name not in sinks:
                sinks[name] = await opened.enter_async_context(engine.sink(name))
            timestamp = clock.now_ms() if event.timestamp_ms < 0 else event.timestamp_ms
            await sinks[name].send(NewRecord(timestamp, event.value, event.key))
            journal.count()
