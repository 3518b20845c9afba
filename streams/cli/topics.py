"""`attestream topics`: the declared topics against a cluster."""

import asyncio
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from streams.app import kafka_connection
from streams.cli.failures import exit_on_failure
from streams.epochs import newest_epochs
from streams.errors import SettingsError
from streams.settings import Settings, load_settings
from streams.topology import Topology

if TYPE_CHECKING:
    from streams.kafka.topics import DeclaredTopic, Difference

__all__ = ["topics"]

F = TypeVar("F", bound=Callable[..., None])


def _options(command: F) -> F:
    """The options both verbs have."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One difference a line, as JSON."),
        click.option(
            "--replication",
            type=click.IntRange(1, 100),
            help="Replicas of new topics. Default: 3, or as many as there are brokers.",
        ),
        click.option(
            "--partitions",
            type=click.IntRange(1, 10_000),
            help="Partitions of the event topics; existing ones grow to as many.",
        ),
    ):
        command = option(command)
    return command


@click.group()
def topics() -> None:
    """Topics as infra/topics.yaml declares them, against the cluster as it is."""


@topics.command(name="plan")
@_options
@exit_on_failure
def plan_command(partitions: int | None, replication: int | None, *, as_json: bool) -> None:
    """Show what `apply` would do, and what only an operator can.

    Exit status 0: everything is as declared (notes aside); 1: something differs.

    Example: attestream topics plan --partitions 8
    """
    _finish(asyncio.run(_plan(partitions, replication)), as_json=as_json)


@topics.command(name="apply")
@_options
@exit_on_failure
def apply_command(partitions: int | None, replication: int | None, *, as_json: bool) -> None:
    """Create topics, add partitions and set settings; nothing is ever deleted.

    Done again, it finds nothing to do. Prints what still differs afterwards. Exit status 0:
    everything is as declared (notes aside); 1: something differs that only an operator can mend.

    Example: attestream topics apply --partitions 8 --replication 3
    """
    _finish(asyncio.run(_apply(partitions, replication)), as_json=as_json)


async def _plan(partitions: int | None, replication: int | None) -> "list[Difference]":
    from streams.kafka.topic_admin import plan_topics  # noqa: PLC0415  # optional dependency

    settings = _settings()
    declared = await _declared(settings, partitions, replication)
    return await plan_topics(kafka_connection(settings), declared)


async def _apply(partitions: int | None, replication: int | None) -> "list[Difference]":
    from streams.kafka.topic_admin import apply_plan, plan_topics  # noqa: PLC0415
    from streams.kafka.topics import left_over  # noqa: PLC0415

    settings = _settings()
    connection = kafka_connection(settings)
    declared = await _declared(settings, partitions, replication)
    planned = await plan_topics(connection, declared)
    for difference in planned:
        if difference.kind in {"missing", "partitions", "setting"}:
            click.echo(f"{difference.topic}: {difference.sentence}", err=True)
    refused = await apply_plan(connection, planned)
    # Now the cluster may be as declared; what it says itself is what counts.
    return left_over(await plan_topics(connection, declared), refused)


def _settings() -> Settings:
    settings = load_settings(os.environ)
    if not settings.on_kafka:
        raise SettingsError(
            ["KAFKA_BOOTSTRAP_SERVERS is not set: the embedded engine makes its own topics"]
        )
    kafka_connection(settings)
    return settings


async def _declared(
    settings: Settings, partitions: int | None, replication: int | None
) -> "list[DeclaredTopic]":
    """As declared, the topics of epochs that were opened among them."""
    from streams.kafka.engine import KafkaEngine  # noqa: PLC0415  # optional dependency
    from streams.kafka.topics import TopicOptions, declared_topics  # noqa: PLC0415

    topology = Topology.of(settings, settings.origin or "")
    engine = KafkaEngine(kafka_connection(settings), topology)
    try:
        epochs = await newest_epochs(engine)
    finally:
        await engine.close()
    return declared_topics(topology, TopicOptions(partitions, replication), epochs)


def _finish(differences: "list[Difference]", *, as_json: bool) -> None:
    from streams.kafka.topics import to_do  # noqa: PLC0415

    for one in differences:
        if as_json:
            line = {"topic": one.topic, "kind": one.kind, "detail": one.sentence}
            click.echo(json.dumps(line))
        else:
            click.echo(f"{one.kind:<10} {one.topic}: {one.sentence}")
    if not differences and not as_json:
        click.echo("every topic is as declared")
    if to_do(differences):
        raise SystemExit(1)
