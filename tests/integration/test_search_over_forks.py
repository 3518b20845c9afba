"""What is searched after a fork: all that was accepted, nothing that was void, nothing deleted."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from projections.cli.demo_data import decisions
from tests.support.embedded_command import ORIGIN, EmbeddedHome

MEMORY, DECISIONS = f"{ORIGIN}/memory.mutations/0", f"{ORIGIN}/authz.decisions/0"
pytestmark = [pytest.mark.slow, pytest.mark.long]


def with_operator(folder: Path) -> tuple[EmbeddedHome, list[str]]:
    """A home that follows an operator, and how his orders are signed."""
    private, vkey = folder / "operator.pem", folder / "operator.vkey"
    home = EmbeddedHome(folder / "home", {"ATTESTREAM_HEADS_S": "1"})
    made = home.run("keys", "generate", ORIGIN, "--operator", "--out", str(private))
    vkey.write_text(made.out)
    home = EmbeddedHome(home.path, {**home.settings, "ATTESTREAM_OPERATOR_KEY": str(vkey)})
    signed = ["--yes", "--operator-key", str(private)]
    home.run("send", "--format", "memories-jsonl", str(memories(folder, "first.jsonl", BEFORE)))
    events = folder / "decisions.ndjson"
    events.write_bytes(b"\n".join(decisions(40)) + b"\n")
    home.run("send", "--format", "cerbos", str(events))
    home.run("keys", "add", home.run("keys", "show").out.splitlines()[0], *signed)
    return home, signed


def memories(folder: Path, name: str, mutations: list[dict[str, Any]]) -> Path:
    path = folder / name
    shared = {"namespace": "s", "operation": "UPSERT", "version": 1}
    path.write_text("".join(json.dumps(shared | one) + "\n" for one in mutations))
    return path


BEFORE: list[dict[str, Any]] = [
    {"node_id": "kept", "vector": [1.0, 0.0]},
    {"node_id": "deleted", "vector": [1.0, 0.1]},
    {"node_id": "replaced", "vector": [1.0, 0.2]},
]
AFTER: list[dict[str, Any]] = [
    {"node_id": "deleted", "operation": "DELETE", "version": 2},
    {"node_id": "replaced", "vector": [0.0, 1.0], "version": 2},
    {"node_id": "new", "vector": [1.0, 0.3]},
]


def recreate(home: EmbeddedHome, topic: str) -> None:
    """The source topic is deleted and made again, under its name."""
    with closing(sqlite3.connect(home.path / "attestream.db")) as database:
        (number,) = database.execute(
            "SELECT id FROM partitions WHERE topic = ?", (topic,)
        ).fetchone()
        database.execute(f"DELETE FROM records_{number}")
        database.execute("UPDATE partitions SET end_offset = 0 WHERE id = ?", (number,))
        made_anew = (f"another-{number}", topic)
        database.execute("UPDATE topics SET topic_id = ? WHERE name = ?", made_anew)
        database.commit()


def found(home: EmbeddedHome) -> dict[str, tuple[str, int, int]]:
    question = ["--namespace", "s", "--vector", "[1, 0.1]", "-k", "50", "--json"]
    hits = home.lines("search", "memory", *question)
    assert len(hits) == len({hit["node_id"] for hit in hits}), "a memory is found twice"
    assert all("log" not in hit for hit in hits)
    return {hit["node_id"]: (hit["origin"], hit["index"], hit["version"]) for hit in hits}


def test_memories_of_before_a_fork_are_found_and_what_was_deleted_since_is_not(
    tmp_path: Path,
) -> None:
    home, signed = with_operator(tmp_path)
    home.run("run", "--once")
    assert found(home).keys() == {"kept", "deleted", "replaced"}
    for topic in ("memory.mutations", "authz.decisions"):
        recreate(home, topic)
    home.run("send", "--format", "memories-jsonl", str(memories(tmp_path, "second.jsonl", AFTER)))
    assert home.command("run", "--once").status == 1
    home.run("audit", "fork", MEMORY, *signed)
    home.run("audit", "fork", DECISIONS, *signed)
    events = tmp_path / "decisions.ndjson"
    home.run("send", "--format", "cerbos", str(events))
    home.run("run", "--once")
    assert found(home) == {
        "kept": (MEMORY, 0, 1),
        "replaced": (f"{MEMORY}/e1", 1, 2),
        "new": (f"{MEMORY}/e1", 2, 1),
    }
    near = home.lines("search", "decisions", "--principal", "bea", "-k", "1000", "--json")
    assert {hit["origin"] for hit in near} == {DECISIONS, f"{DECISIONS}/e1"}
