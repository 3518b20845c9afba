"""The command `attestream` on an embedded home, as a user has it: in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.tidy.repository import ROOT

__all__ = ["ORIGIN", "Done", "EmbeddedHome"]

COMMAND = [sys.executable, "-c", "from projections.cli.main import main; main()"]
ORIGIN = "test.example/embedded"
FOREIGN = ("ATTESTREAM", "KAFKA", "S3_", "AUDIT_", "VECTOR_")


class Done(NamedTuple):
    """How a command ended; `told` is its standard error."""

    status: int
    out: str
    told: str


class EmbeddedHome(NamedTuple):
    """A home, and settings beside those every one has."""

    path: Path
    settings: dict[str, str]

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
        own = {
            "ATTESTREAM_HOME": str(self.path),
            "ATTESTREAM_ORIGIN": ORIGIN,
            "ATTESTREAM_HTTP_PORT": "0",
            "AUDIT_SIGNING_PRIVATE_KEY": "21" * 32,
        }
        return kept | own | self.settings

    def command(self, *arguments: str) -> Done:
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            cwd=ROOT,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def run(self, *arguments: str) -> Done:
        """A command that must end well."""
        done = self.command(*arguments)
        assert done.status == 0, done
        return done

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        """What a command prints as one JSON object a line."""
        return [json.loads(line) for line in self.run(*arguments).out.splitlines()]

    def alerts(self) -> list[dict[str, Any]]:
        return self.lines("alerts", "tail", "-n", "100000", "--json")

    def logged(self, done: Done, event: str) -> list[dict[str, Any]]:
        """The log lines of this name that a command told."""
        told = [json.loads(line) for line in done.told.splitlines() if line.startswith("{")]
        return [line for line in told if line.get("event") == event]
