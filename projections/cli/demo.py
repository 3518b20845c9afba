"""`attestream demo`: the whole pipeline on the embedded engine, shown step by step."""

import asyncio
import json
import logging
import os
import shutil
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from projections.cli.demo_data import DIMENSION, ODD, decisions, memories, text_vector
from streams.cli.failures import exit_on_failure
from streams.errors import SettingsError
from streams.settings import Settings, load_settings
from streams.telemetry.logs import configure_logs

__all__ = ["demo"]

DEFAULT = Path("demo-data")
MARK = "attestream-demo"
COUNT = 6000
QUESTION = "when does the pharmacy close in the evening?"
ALTERED = 4321


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT,
    show_default=True,
    help="Where the demo's data goes; an earlier demo there is replaced.",
)
@click.option("--count", default=COUNT, show_default=True, type=click.IntRange(2000, 1_000_000))
@click.option("--serve", is_flag=True, help="Keep the pipeline running with its web pages.")
@exit_on_failure
def demo(folder: Path, count: int, *, serve: bool) -> None:
    """Seal, index, archive and alert on a made-up clinic's decisions; then try to cheat.

    Example: attestream demo
    """
    Demo(folder, count).run(serve=serve)


class Demo:
    """The steps, in order. Each does its work with the project's own commands and services."""

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count
        self._out = Console(highlight=False, soft_wrap=True)

    def run(self, *, serve: bool) -> None:
        """Everything from an empty directory to the changed byte that is found."""
        configure_logs(level=logging.WARNING)
        settings = self._prepared()
        self._events(settings)
        self._pipeline(settings)
        self._show_heads(settings)
        self._show_alerts(settings)
        self._show_search(settings)
        self._show_archive(settings)
        self._verify(settings)
        self._cheat(settings)
        self._what_next()
        if serve:
            self._serve(settings)

    def _prepared(self) -> Settings:
        if self._folder.exists():
            if not (self._folder / MARK).is_file():
                raise SettingsError([f"{self._folder} exists and is no earlier demo: give --dir"])
            shutil.rmtree(self._folder)
        self._folder.mkdir(parents=True)
        (self._folder / MARK).write_text("made by `attestream demo`, and replaced by the next\n")
        # The embedded engine, whatever broker or registry the environment names.
        others = ("KAFKA", "S3", "AUDIT", "SCHEMA_REGISTRY")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(others)}
        kept |= {"ATTESTREAM_HOME": str(self._folder), "ATTESTREAM_SEGMENT_RECORDS": "2000"}
        os.environ.clear()
        os.environ.update(kept)
        return load_settings(kept)

    def _title(self, text: str) -> None:
        self._out.print(f"\n[bold]{text}[/bold]")

    def _events(self, settings: Settings) -> None:
        from projections.demo import feed  # noqa: PLC0415  # optional dependencies

        self._title(f"1. {self._count} authorization decisions and some memories arrive")
        logs = self._folder / "events"
        logs.mkdir()
        (logs / "cerbos.ndjson").write_bytes(b"\n".join(decisions(self._count)) + b"\n")
        (logs / "memories.jsonl").write_bytes(b"\n".join(memories()) + b"\n")
        began = time.perf_counter()
        sent = asyncio.run(feed(settings, logs))
        self._out.print(
            f"   sent {sent} events in {time.perf_counter() - began:.1f} s: "
            f"a Cerbos decision log and an assistant's memory, from {logs}/"
        )

    def _pipeline(self, settings: Settings) -> None:
        from projections.demo import work_off  # noqa: PLC0415  # optional dependencies

        self._title("2. They are sealed, indexed, archived and scored")
        began = time.perf_counter()
        with self._progress() as progress:
            task = progress.add_task("sealed", total=self._count)
            asyncio.run(work_off(settings, lambda done: progress.update(task, completed=done)))
        seconds = time.perf_counter() - began
        self._out.print(
            f"   {self._count} decisions through the whole pipeline in {seconds:.1f} s "
            f"({self._count / seconds:,.0f} a second, start and shutdown included)"
        )

    def _show_heads(self, settings: Settings) -> None:
        from projections.demo import heads  # noqa: PLC0415  # optional dependencies

        self._title("3. What was sealed: one Merkle tree a topic partition, its root signed")
        for head in asyncio.run(heads(settings)):
            self._out.print(f"   {head.origin}\n      size {head.size}, root {head.root.hex()}")

    def _show_alerts(self, settings: Settings) -> None:
        from projections.cli.alert_words import lines_of  # noqa: PLC0415
        from projections.demo import alerts  # noqa: PLC0415  # optional dependencies

        found = asyncio.run(alerts(settings))
        self._title(f"4. {len(found)} alerts; {len(ODD)} odd decisions were planted")
        for alert in found[:12]:
            for line in lines_of(alert).splitlines():
                self._out.print(f"   {line}", markup=False)
        if len(found) > 12:
            self._out.print(f"   … and {len(found) - 12} more: attestream alerts tail")

    def _show_search(self, settings: Settings) -> None:
        from projections.demo import search_memories  # noqa: PLC0415  # optional dependencies

        self._title(f"5. Semantic search in the assistant's memory: “{QUESTION}”")
        for hit in asyncio.run(search_memories(settings, text_vector(QUESTION))):
            text = json.loads(hit["metadata"])["text"]
            self._out.print(f"   {hit['similarity']:.2f}  {text}", markup=False)
        self._out.print(
            f"   (vectors of {DIMENSION} hashed words stand in for a model; bring your own)"
        )

    def _show_archive(self, settings: Settings) -> None:
        self._title("6. The archive: segments, their manifests, and the anchors of each log")
        archive = settings.home / "archive"
        files = sorted(path for path in archive.rglob("*") if path.is_file())
        for path in files[:14]:
            self._out.print(f"   {path.stat().st_size:>9,} {path.relative_to(archive)}")
        if len(files) > 14:
            self._out.print(f"   … {len(files)} objects")

    def _verify(self, settings: Settings) -> None:
        from projections.demo import verified, write_keys  # noqa: PLC0415

        self._title("7. Verified from the outside: log and archive, every record hashed again")
        keys = write_keys(settings, self._folder / "keys.txt")
        for source in (settings.home, settings.home / "archive"):
            verdict = verified(source, keys)
            self._out.print(f"   attestream verify {source} --keys {keys}\n      {verdict.text}")

    def _cheat(self, settings: Settings) -> None:
        from projections.demo import changed_copy, verified  # noqa: PLC0415

        altered = min(ALTERED, self._count - 1)
        self._title(f"8. Now one byte of record {altered} is changed in a copy of the database")
        copy = changed_copy(settings, self._folder / "cheated", altered)
        verdict = verified(copy, self._folder / "keys.txt")
        self._out.print(f"   attestream verify {copy} --keys {self._folder}/keys.txt")
        self._out.print(f"      exit status {verdict.status}: {verdict.text}", markup=False)
        if verdict.status != 20:
            raise SettingsError(["the changed byte was not found: this is a defect, report it"])

    def _what_next(self) -> None:
        home = f"ATTESTREAM_HOME={self._folder}"
        self._title("What to try next")
        for line in (
            f"{home} attestream audit heads",
            f"{home} attestream alerts tail",
            f"{home} attestream send --format cerbos your-decisions.ndjson",
            f"{home} attestream run",
            "docs/tutorial/first-audit-trail.md, docs/how-to/deploy-on-kafka.md",
        ):
            self._out.print(f"   {line}", markup=False)

    def _serve(self, settings: Settings) -> None:
        from projections.cli.run import run_until_signalled  # noqa: PLC0415

        self._title(f"Serving on http://{settings.http_host}:{settings.http_port}/readyz")
        run_until_signalled(settings)

    def _progress(self) -> Progress:
        columns = (TextColumn("   {task.description}"), BarColumn(), MofNCompleteColumn())
        return Progress(*columns, console=self._out, disable=not sys.stdout.isatty())
