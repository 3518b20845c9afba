"""Sealing on Kafka against bare copies of the same records, and against a Faust agent."""

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from bench.measuring import Round, median, rounds
from tests.support.local_kafka import LocalKafka

BASELINES = Path(__file__).with_name("baselines")
REPORTED = re.compile(r"(\d+) ev/s  user\s+([\d.]+) us/ev")
SLOW_CASE, SLOW_SIGNER_MS = (1, 500), 50
BACKOFF = "backoff=0.001"  # the same wait between transactions as our writer's


def report(*, quick: bool) -> list[str]:
    """Markdown lines: a table of medians, each ratio taken in one run."""
    count, times = (60_000, 3) if quick else (200_000, 5)
    lines = [
        "| partitions | records a commit | mode | events/s | µs CPU an event | of batch copy |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory(prefix="attestream-bench-") as folder:
        jvm = ["-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "-Xshare:auto"]
        with LocalKafka(folder, jvm=jvm) as kafka:
            for partitions, size in ((1, 500), (1, 2000), (4, 500)):
                source = f"source-{partitions}"
                if size == 500:
                    baseline(kafka.bootstrap, "fill", source, str(partitions), str(count))
                lines += table(kafka.bootstrap, (source, partitions, count, size), times)
            lines += faust_line(kafka.bootstrap, "source-4", count // 10)
    return lines


def table(bootstrap: str, case: tuple[str, int, int, int], times: int) -> list[str]:
    _source, partitions, _count, size = case
    modes = {mode: partial(copy, bootstrap, mode, case) for mode in ("batch", "send", "confluent")}
    sealing = {"sealing": partial(seal, bootstrap, case)}
    if (partitions, size) == SLOW_CASE:
        sealing["slow"] = partial(seal, bootstrap, case, SLOW_SIGNER_MS)
    measured = rounds({**sealing, **modes}, times)
    bare = median(measured["batch"]).rate
    names = {
        "sealing": "**sealing**",
        "slow": f"**sealing**, a signer of {SLOW_SIGNER_MS} ms",
        "batch": "bare `send_batch` copy",
        "send": "bare `send` copy",
        "confluent": "librdkafka copy",
    }
    return [
        f"| {partitions} | {size} | {names[mode]} | {median(found).rate:,.0f} "
        f"| {median(found).cpu_us:.1f} | {median(found).rate / bare:.2f} |"
        for mode, found in measured.items()
    ]


def copy(bootstrap: str, mode: str, case: tuple[str, int, int, int]) -> Round:
    source, partitions, count, size = case
    out = baseline(
        bootstrap, "run", mode, source, str(partitions), str(count), f"n={size}", BACKOFF
    )
    found = REPORTED.search(out)
    assert found, out
    return Round(float(found[1]), float(found[2]))


def seal(bootstrap: str, case: tuple[str, int, int, int], sign_ms: int = 0) -> Round:
    source, partitions, count, size = case
    name = f"b{secrets.token_hex(4)}"
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    topic = NewTopic(
        f"{name}.audit.{source}", partitions, 1, config={"max.message.bytes": "8388608"}
    )
    for made in admin.create_topics([topic]).values():
        made.result()
    with tempfile.TemporaryDirectory() as parent:
        arguments = [bootstrap, source, str(partitions), str(count), str(size), f"{parent}/{name}"]
        arguments.append(str(sign_ms))
        out = run([sys.executable, "-m", "bench.seal_worker", *arguments])
    return Round(**json.loads(out.splitlines()[-1]))


def faust_line(bootstrap: str, source: str, count: int) -> list[str]:
    out = run([sys.executable, "-m", "bench.faust_agent", bootstrap, source, str(count)])
    found = Round(**json.loads(out.splitlines()[-1]))
    what = "Faust agent, at least once, no proof"
    return [f"| 4 | – | {what} | {found.rate:,.0f} | {found.cpu_us:.0f} | – |"]


def baseline(bootstrap: str, *arguments: str) -> str:
    return run([sys.executable, str(BASELINES / "bench.py"), bootstrap, *arguments])


def run(command: list[str]) -> str:
    environment = os.environ | {"PYTHONPATH": f"{BASELINES}:{BASELINES.parents[1]}"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
