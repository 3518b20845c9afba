"""The command `attestream`: the verbs of both floors under one name.

A verb's module is imported when the verb is used: `attestream verify` starts fast and needs no
optional dependency.
"""

from importlib import import_module

import click

__all__ = ["main"]

VERBS = {
    "alerts": ("projections.cli.alerts:alerts", "Read the alerts."),
    "archive": ("streams.cli.archive:archive", "Look into the object store."),
    "audit": ("streams.cli.audit:audit", "Read audit logs: heads, checkpoints, records."),
    "demo": ("projections.cli.demo:demo", "The whole pipeline on your machine, in a minute."),
    "doctor": ("projections.cli.doctor:doctor", "Check settings, broker, topics, bucket, signer."),
    "drill": ("projections.cli.drill:drill", "Restore from the archive, to know it can be done."),
    "keys": ("streams.cli.keys:keys", "Signing keys: make one, print its vkey."),
    "replay": ("projections.cli.replay:replay", "Logs copied into a staging place."),
    "run": ("projections.cli.run:run", "The embedded pipeline as a service."),
    "search": ("projections.cli.search:search", "Nearest decisions, or memories."),
    "send": ("streams.cli.send:send", "Feed events from files."),
    "snapshot": (
        "projections.cli.snapshot:snapshot",
        "An index's state: save, restore, verify it.",
    ),
    "topics": ("streams.cli.topics:topics", "Topics as declared against the cluster."),
    "vectors": ("projections.cli.vectors:vectors", "Nearest neighbours for other languages."),
    "verify": ("streams.cli.verify:verify", "Verify logs offline."),
    "worker": ("projections.cli.worker:worker", "One worker of the Kafka deployment."),
}


class _Verbs(click.Group):
    """Imports a verb when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(verb, VERBS[verb][1]) for verb in sorted(VERBS)])


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="attestream")
def main() -> None:
    """Tamper-evident audit logs for authorization decisions and AI memory.

    KAFKA_BOOTSTRAP_SERVERS set: the Kafka deployment. Not set: the embedded engine in
    ATTESTREAM_HOME (./attestream-data).
    """
