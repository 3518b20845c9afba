"""A signing key rotated while sealing goes on, by the command line alone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from projections.cli.demo_data import decisions
from streams.audit.note import Vkey, parse_note

COMMAND = str(Path(sys.executable).with_name("attestream"))
BASE = "test.example/rotation"
DECISIONS = f"{BASE}/authz.decisions/0"
ORIGINS = [
    f"{BASE}/{topic}/0"
    for topic in (
        "attestream.alerts",
        "attestream.heads",
        "attestream.operations",
        "authz.decisions",
        "memory.mutations",
    )
]
pytestmark = [pytest.mark.slow]


class Deployment:
    """An embedded deployment, and its operator with a key of his own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.operator_file = folder / "operator.pem"
        self.operator = self.run("keys", "generate", BASE, "--operator", "--out", "operator.pem")
        (folder / "operator.vkey").write_text(self.operator)

    def environment(self) -> dict[str, str]:
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("ATTESTREAM", "KAFKA", "S3_", "AUDIT_"))
        }
        return kept | {
            "ATTESTREAM_HOME": str(self.home),
            "ATTESTREAM_ORIGIN": BASE,
            "ATTESTREAM_HTTP_PORT": "0",
            "ATTESTREAM_HEADS_S": "1",
            "ATTESTREAM_SEGMENT_IDLE_S": "1",
            "ATTESTREAM_OPERATOR_KEY": "operator.vkey" if self.operator_file.exists() else "",
        }

    def done(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment() | extra,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def run(self, *arguments: str, status: int = 0) -> str:
        done = self.done(*arguments)
        assert done.returncode == status, done.stdout + done.stderr
        return (done.stdout if status == 0 else done.stdout + done.stderr).strip()

    def order(self, *arguments: str, status: int = 0) -> str:
        return self.run(*arguments, "--yes", "--operator-key", "operator.pem", status=status)

    def is_retired(self, vkey: str) -> bool:
        """Tries to retire a key; False where a log is not ready."""
        arguments = ("keys", "retire", vkey, "--yes", "--operator-key", "operator.pem")
        done = self.done(*arguments)
        assert done.returncode == 0 or "has no line of" in done.stderr
        return done.returncode == 0

    def send(self, count: int) -> None:
        events = self.folder / "events.ndjson"
        events.write_bytes(b"\n".join(decisions(count)) + b"\n")
        self.run("send", "--format", "cerbos", str(events))

    def signed_by(self, origin: str) -> set[str]:
        """The public keys, in hex, behind the lines of a log's newest checkpoint."""
        note = parse_note(self.run("audit", "checkpoint", origin) + "\n")
        held = [Vkey.parse(line) for line in self.run("keys", "show").splitlines()]
        names = {vkey.for_origin(origin).key_id: vkey.key.hex() for vkey in held}
        return {names[line.key_id] for line in note.lines}

    def size(self, origin: str, what: str = "size") -> int:
        heads = map(json.loads, self.run("audit", "heads", "--json").splitlines())
        return next((int(head[what] or 0) for head in heads if head["origin"] == origin), 0)

    def verify(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        home = str(self.home)
        said = self.run(
            "verify", home, "--keys", "operator.vkey", "--json", *arguments, status=status
        )
        found: dict[str, Any] = json.loads(said)
        return found

    @contextmanager
    def running(self) -> Iterator[None]:
        process = subprocess.Popen(
            [COMMAND, "run"], cwd=self.folder, env=self.environment(), stderr=subprocess.DEVNULL
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) is not None


def eventually(holds: Any, within_s: float = 30) -> None:
    until = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until, "not within the time"
        time.sleep(0.2)


def test_key_is_rotated_twice_while_sealing_goes_on(tmp_path: Path) -> None:
    at = Deployment(tmp_path)
    with at.running():
        eventually((at.home / "keys" / "signing.pem").is_file)
        at.send(50)
        eventually(lambda: at.size(DECISIONS) == 50)
        old = at.run("keys", "show")
        assert "never added" in at.order("keys", "retire", old, status=2)
        at.order("keys", "add", old)
        for number in (1, 2):
            refused = at.order("keys", "retire", old, status=2)
            assert "no line of another key" in refused
            at.order("keys", "rotate")
            new = at.run("keys", "show").splitlines()[-1]
            both = {Vkey.parse(old).key.hex(), Vkey.parse(new).key.hex()}
            at.send(50)
            eventually(lambda both=both: at.signed_by(DECISIONS) == both)
            # Idle logs get a second checkpoint of the size they have: else this is never so.
            eventually(lambda old=old: at.is_retired(old))
            at.send(50)
            size = 50 + 100 * number
            eventually(lambda size=size: at.size(DECISIONS) == size)
            only = {Vkey.parse(new).key.hex()}
            eventually(lambda only=only: at.signed_by(DECISIONS) == only)
            old = new
        # Projections read on under the new key, and what they archive is an anchor.
        eventually(lambda: at.size(DECISIONS, "anchored") == 250)
    verdict = at.verify()
    assert verdict["verdict"] == "intact"
    assert {log["origin"] for log in verdict["logs"]} == set(ORIGINS)
    assert {log["roster"] for log in verdict["logs"]} == {"checked"}


def test_worker_that_holds_the_operators_key_refuses_to_start(tmp_path: Path) -> None:
    at = Deployment(tmp_path)
    done = at.done("run", "--once", ATTESTREAM_OPERATOR_PRIVATE_KEY="operator.pem")
    assert done.returncode == 2
    assert "stays off workers" in done.stderr
