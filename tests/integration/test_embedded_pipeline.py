"""The embedded engine, by the command line alone: kills, hostile input, the same verdicts."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from projections.cli.demo_data import decisions, memories

COMMAND = str(Path(sys.executable).with_name("attestream"))
ORIGIN = "test.example/embedded"
KEY = "21" * 32
COUNT = 5000
pytestmark = [pytest.mark.slow]


def environment(home: Path, **extra: str) -> dict[str, str]:
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("ATTESTREAM", "KAFKA", "S3_", "AUDIT_"))
    }
    settings = {
        "ATTESTREAM_HOME": str(home),
        "ATTESTREAM_ORIGIN": ORIGIN,
        "AUDIT_SIGNING_PRIVATE_KEY": KEY,
        "ATTESTREAM_HTTP_PORT": "0",
    }
    return kept | settings | extra


def run(home: Path, *arguments: str, status: int = 0, **extra: str) -> str:
    done = subprocess.run(
        [COMMAND, *arguments],
        env=environment(home, **extra),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout if status == 0 else done.stdout + done.stderr


def log_of(folder: Path) -> tuple[Path, str, int]:
    """The Kubernetes log of the samples where they are, else decisions of our own."""
    samples = os.environ.get("ATTESTREAM_SAMPLES")
    if samples:
        path = Path(samples) / "access-logs" / "kubernetes-audit.jsonl.gz"
        return path, "decisions-jsonl", sum(1 for _ in gzip.open(path))
    path = folder / "decisions.ndjson"
    path.write_bytes(b"\n".join(decisions(COUNT)) + b"\n")
    return path, "cerbos", COUNT


def heads(home: Path) -> dict[str, dict[str, Any]]:
    lines = run(home, "audit", "heads", "--json").splitlines()
    return {head["origin"]: head for head in map(json.loads, lines)}


def alert_ids(home: Path) -> list[str]:
    lines = run(home, "alerts", "tail", "-n", "100000", "--json").splitlines()
    return [json.loads(line)["alert_id"] for line in lines]


def test_killed_and_restarted_gives_the_same_roots_and_alert_ids(tmp_path: Path) -> None:
    log, format_name, count = log_of(tmp_path)
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for home in (straight, killed):
        run(home, "send", "--format", format_name, str(log))
    run(straight, "run", "--once")
    kill_in_the_middle(killed, count)
    run(killed, "run", "--once")
    origin = f"{ORIGIN}/authz.decisions/0"
    assert heads(straight)[origin]["size"] == count
    assert heads(straight)[origin]["root"] == heads(killed)[origin]["root"]
    assert alert_ids(straight)
    assert alert_ids(straight) == alert_ids(killed)
    keys = tmp_path / "keys.txt"
    keys.write_text(run(killed, "keys", "show"))
    for source in (killed, killed / "archive"):
        verdict = json.loads(run(killed, "verify", str(source), "--keys", str(keys), "--json"))
        assert verdict["verdict"] == "intact"


def kill_in_the_middle(home: Path, count: int) -> None:
    process = subprocess.Popen(
        [COMMAND, "run"],
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    origin, deadline = f"{ORIGIN}/authz.decisions/0", time.monotonic() + 60
    while heads(home).get(origin, {"size": 0})["size"] < count // 10:
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.wait(10)


def test_hostile_events_are_sealed_and_dead_lettered(tmp_path: Path) -> None:
    home = tmp_path / "home"
    run(home, "send", "--format", "cerbos", str(log_of_three(tmp_path)))
    memory = tmp_path / "memories.jsonl"
    memory.write_bytes(b"\n".join(memories()) + b"\n")
    # A memory in the decisions topic is of the wrong type there.
    run(home, "send", "--format", "memories-jsonl", "--topic", "authz.decisions", str(memory))
    run(home, "run", "--once")
    found = heads(home)
    assert found[f"{ORIGIN}/authz.decisions/0"]["size"] == 3 + 14
    assert found[f"{ORIGIN}/authz.decisions/0"]["tail"] == 0


def log_of_three(folder: Path) -> Path:
    path = folder / "three.ndjson"
    path.write_bytes(b"\n".join(decisions(3)) + b"\n")
    return path


def test_rejected_lines_are_named_and_the_rest_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "mixed.ndjson"
    good = list(decisions(2))
    path.write_bytes(b"\n".join([good[0], b"{broken", good[1], b"17"]) + b"\n")
    told = run(tmp_path / "home", "send", "--format", "cerbos", "--json", str(path), status=1)
    found = json.loads(told.splitlines()[0])
    assert (found["sent"], found["rejected"]) == (2, 2)
    assert [r["line"] for r in found["rejections"]] == [2, 4]


@pytest.mark.parametrize("command", [["run", "--once"], ["audit", "heads"], ["doctor"]])
def test_wrong_settings_are_all_listed_before_anything_is_read(
    tmp_path: Path, command: list[str]
) -> None:
    wrong = {
        "ATTESTREAM_RETENTION_DAYS": "never",
        "ATTESTREAM_RISK_THRESHOLD": "7",
        "ATTESTREAM_RISK_TRESHOLD": "0.5",
        "S3_SECRET": "hush-hush",
    }
    told = run(tmp_path / "home", *command, status=2, **wrong)
    for name in ("RETENTION_DAYS", "RISK_THRESHOLD", "RISK_TRESHOLD", "S3_ACCESS_KEY"):
        assert name in told
    assert "hush-hush" not in told
    assert not (tmp_path / "home").exists()


def test_two_pipelines_in_one_home_are_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    run(home, "send", "--format", "cerbos", str(log_of_three(tmp_path)))
    first = subprocess.Popen(
        [COMMAND, "run"],
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while not (home / "attestream.lock").exists() or not heads(home):
            assert time.monotonic() < deadline
        assert "another process" in run(home, "run", "--once", status=2)
    finally:
        first.send_signal(signal.SIGTERM)
        assert first.wait(20) == 0


def test_demo_shows_every_step_and_names_the_changed_record(tmp_path: Path) -> None:
    told = run(tmp_path, "demo", "--dir", str(tmp_path / "demo"), "--count", "4500")
    for step in range(1, 9):
        assert f"\n{step}. " in told
    assert "altered at index 4321" in told
    assert "6 alerts; 6 odd decisions were planted" in told
