"""A log that stopped for good is forked by its operator: the embedded engine, by commands."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from projections.cli.demo_data import decisions, memories
from streams.keys.local import write_new_key

COMMAND = str(Path(sys.executable).with_name("attestream"))
BASE, TOPIC = "test.example/forked", "authz.decisions"
ORIGIN = f"{BASE}/{TOPIC}/0"
COUNT = 300
pytestmark = [pytest.mark.slow]


class Home:
    """An embedded deployment with an operator."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        write_new_key(folder / "signing.pem")
        self.operator = folder / "operator.pem"
        made = self.run("keys", "generate", BASE, "--operator", "--out", str(self.operator))
        self.vkey = folder / "operator.vkey"
        self.vkey.write_text(made)

    def begin(self, count: int) -> None:
        """Decisions are sent, and the operator adds the key that signs."""
        self.send("first.ndjson", decisions(count), "--format", "cerbos")
        self.order("keys", "add", self.run("keys", "show").splitlines()[0])

    def environment(self) -> dict[str, str]:
        foreign = ("ATTESTREAM", "KAFKA", "S3_", "AUDIT_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        vkey = self.folder / "operator.vkey"
        operator = {"ATTESTREAM_OPERATOR_KEY": str(vkey)} if vkey.exists() else {}
        return (
            kept
            | operator
            | {
                "ATTESTREAM_HOME": str(self.home),
                "ATTESTREAM_ORIGIN": BASE,
                "AUDIT_SIGNING_PRIVATE_KEY": str(self.folder / "signing.pem"),
                "ATTESTREAM_HEADS_S": "1",
                "ATTESTREAM_WARM_UP": "50",
                "ATTESTREAM_RISK_THRESHOLD": "0.4",
            }
        )

    def run(self, *arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [COMMAND, *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stdout + done.stderr

    def order(self, *arguments: str, status: int = 0) -> str:
        return self.run(*arguments, "--yes", "--operator-key", str(self.operator), status=status)

    def send(self, name: str, lines: Iterator[bytes], *how: str) -> None:
        path = self.folder / name
        path.write_bytes(b"\n".join(lines) + b"\n")
        self.run("send", *how, str(path))

    def sizes(self) -> dict[str, int]:
        lines = self.run("audit", "heads", "--json").splitlines()
        return {head["origin"]: head["size"] for head in map(json.loads, lines)}

    def alerts(self) -> list[tuple[str, str]]:
        lines = self.run("alerts", "tail", "-n", "100000", "--json").splitlines()
        found = [json.loads(line) for line in lines]
        return [(one["evidence"][0]["origin"], one["alert_id"]) for one in found]

    def letters(self) -> int:
        with self.database() as database:
            return int(
                database.execute(
                    "SELECT end_offset FROM partitions WHERE topic = ?",
                    (f"dead-letters.{TOPIC}",),
                ).fetchone()[0]
            )

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.home / "attestream.db")) as database:
            yield database
            database.commit()

    def recreate(self, topic: str) -> None:
        """The topic is deleted and made again, under its name."""
        with self.database() as database:
            (number,) = database.execute(
                "SELECT id FROM partitions WHERE topic = ?", (topic,)
            ).fetchone()
            database.execute(f"DELETE FROM records_{number}")
            database.execute("UPDATE partitions SET end_offset = 0 WHERE id = ?", (number,))
            database.execute("UPDATE topics SET topic_id = 'another' WHERE name = ?", (topic,))

    def verified(self, *arguments: str) -> dict[str, dict[str, Any]]:
        told = self.run("verify", *arguments, "--keys", str(self.vkey), "--json")
        return {log["origin"]: log for log in json.loads(told)["logs"]}


def test_a_fork_lets_a_log_go_on_that_stopped_for_good(tmp_path: Path) -> None:
    at = Home(tmp_path)
    at.begin(20)
    at.run("run", "--once")
    at.recreate(TOPIC)
    at.send("second.ndjson", decisions(30), "--format", "cerbos")
    at.order("audit", "fork", ORIGIN)
    at.run("run", "--once")
    logs = at.verified(str(at.home), "--source")
    assert (logs[ORIGIN]["size"], logs[ORIGIN]["void_from"]) == (20, 20)
    assert (logs[f"{ORIGIN}/e1"]["size"], logs[f"{ORIGIN}/e1"]["source"]) == (30, "checked")


@pytest.mark.long
def test_a_source_made_again_is_forked_and_everything_goes_on(tmp_path: Path) -> None:
    at = Home(tmp_path)
    at.begin(COUNT)
    at.send("wrong.jsonl", memories(), "--format", "memories-jsonl", "--topic", TOPIC)
    at.run("run", "--once")
    first, letters = at.alerts(), at.letters()
    size = at.sizes()[ORIGIN]
    assert (size > COUNT, bool(first), letters) == (True, True, size - COUNT)

    at.recreate(TOPIC)
    at.send("second.ndjson", decisions(2 * COUNT), "--format", "cerbos")
    at.send("wrong.jsonl", memories(), "--format", "memories-jsonl", "--topic", TOPIC)
    assert "deleted and recreated" in at.run("run", "--once", status=1)
    at.order("audit", "fork", ORIGIN)
    at.run("run", "--once")

    sizes = at.sizes()
    assert (sizes[ORIGIN], sizes[f"{ORIGIN}/e1"]) == (size, 2 * COUNT + letters)
    alerts = at.alerts()
    assert alerts[: len(first)] == first
    assert {origin for origin, _ in alerts[len(first) :]} == {f"{ORIGIN}/e1"}
    assert len(set(alerts)) == len(alerts)
    assert at.letters() == 2 * letters
    at.run("run", "--once")  # a start reads both epochs again, and publishes nothing twice
    assert (at.alerts(), at.letters()) == (alerts, 2 * letters)

    (tmp_path / "anchor.note").write_text(at.run("audit", "checkpoint", f"{ORIGIN}/e1"))
    anchor = ("--anchor", str(tmp_path / "anchor.note"))
    for place in (at.home, at.home / "archive"):
        more = ("--source",) if place == at.home else ()
        logs = at.verified(str(place), *anchor, *more)
        assert (logs[ORIGIN]["size"], logs[ORIGIN]["void_from"]) == (size, size)
        assert logs[f"{ORIGIN}/e1"]["size"] == 2 * COUNT + letters
        assert logs[f"{ORIGIN}/e1"]["anchored"] == "checked"
        assert logs[f"{ORIGIN}/e1"]["roster"] == "checked"
        assert logs[f"{ORIGIN}/e1"]["source"] == ("checked" if more else "not given")


@pytest.mark.long
def test_the_next_epoch_is_read_like_any_log(tmp_path: Path) -> None:
    at = Home(tmp_path)
    at.begin(20)
    at.run("run", "--once")
    assert "only end a good log" in at.order("audit", "fork", ORIGIN, status=2)
    at.recreate(TOPIC)
    at.send("second.ndjson", decisions(30), "--format", "cerbos")
    at.order("audit", "fork", ORIGIN)
    at.run("run", "--once")
    assert "was forked before" in at.order("audit", "fork", ORIGIN, status=2)
    assert "ended at size" in at.run("doctor")
    epoch = f"{ORIGIN}/e1"
    shown = json.loads(at.run("audit", "show", epoch, "7", "--json"))
    assert (shown["index"], shown["source"]["offset"]) == (7, 7)
    assert at.run("audit", "tail", epoch, "-n", "5").count("\n") == 5
    proof, export = str(tmp_path / "7.tlog-proof"), str(tmp_path / "epoch.avro")
    made = json.loads(at.run("audit", "prove", epoch, "7", "-o", proof, "--json"))
    keys = tmp_path / "keys.txt"
    keys.write_text(at.run("keys", "show"))
    at.run("verify", proof, "--leaf", made["leaf"], "--keys", str(keys))
    assert at.run("audit", "export", epoch, "-o", export).startswith("30 records")
    at.run("verify", export, "--keys", str(keys))
    old = at.run("keys", "show").splitlines()[0]
    write_new_key(tmp_path / "keys" / "new.pem")
    assert "no line of another key" in at.order("keys", "retire", old, status=2)
