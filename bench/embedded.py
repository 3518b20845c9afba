"""The embedded engine: sealing, the decision index, verification of a file, memory of `run`."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench.measuring import usage
from streams.app import SealingService, open_deployment
from streams.clock import SystemClock
from streams.ports import NewRecord
from streams.settings import load_settings
from streams.telemetry.health import Health

COMMAND = Path(sys.executable).with_name("attestream")
KUBERNETES = "access-logs/kubernetes-audit.jsonl.gz"
KEY = "11" * 32


class Done(NamedTuple):
    """What a command printed; seconds on the wall and of CPU; the most that was resident."""

    out: str
    wall: float
    cpu: float
    resident_mb: int


def report(*, quick: bool) -> list[str]:
    """Markdown lines of figures without a baseline."""
    count = 50_000 if quick else 400_000
    lines = ["| what | events/s | µs CPU an event | MB resident |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory(prefix="attestream-bench-") as folder:
        # Two lengths of a log: what is resident must not grow with it.
        for length in (count // 8, count):
            home = Path(folder) / str(length)
            rate, cpu = asyncio.run(seal(home, length))
            what = f"embedded sealing, {length:,} × 300 B"
            lines.append(f"| {what} | {rate:,.0f} | {cpu:.1f} | – |")
            lines += verify_lines(home, length)
        lines += run_lines(Path(folder))
    return lines


async def seal(home: Path, count: int) -> tuple[float, float]:
    settings = load_settings({"ATTESTREAM_HOME": str(home), "AUDIT_SIGNING_PRIVATE_KEY": KEY})
    async with open_deployment(settings, Health(), SystemClock()) as deployment:
        engine = deployment.engine
        async with engine.sink(engine.topology.decisions) as sink:
            for number in range(count):
                value = secrets.token_bytes(300)
                await sink.send(
                    NewRecord(1_700_000_000_000 + number, value, b"k%d" % (number % 97))
                )
        audit = engine.reader(engine.topology.audit(engine.topology.decisions), 0)
        with usage() as used:
            task = asyncio.create_task(SealingService(deployment).run())
            while (await audit.bounds()).end <= count:
                await asyncio.sleep(0.005)
                if task.done():
                    task.result()
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait({task})
    return count / used.wall, used.cpu / count * 1e6


def verify_lines(home: Path, count: int) -> list[str]:
    environment = os.environ | {
        "ATTESTREAM_HOME": str(home),
        "AUDIT_SIGNING_PRIVATE_KEY": KEY,
    }
    heads = command(["audit", "heads", "--json"], environment).out.splitlines()
    origin = next(h["origin"] for h in map(json.loads, heads) if h["size"] == count)
    keys, file = home / "keys.txt", home / "export.avro"
    keys.write_text(command(["keys", "show"], environment).out)
    command(["audit", "export", origin, "-o", str(file)], environment)
    lines = []
    for jobs in (1, 2):
        options = ["--keys", str(keys), "--json", "--jobs", str(jobs)]
        done = command(["verify", str(file), *options], environment)
        what = f"`verify --jobs {jobs}` of an exported file, {count:,} × 300 B"
        lines.append(row(what, count, done.wall, done.cpu, done.resident_mb))
    return lines


def run_lines(folder: Path) -> list[str]:
    samples = os.environ.get("ATTESTREAM_SAMPLES")
    if samples is None:
        return ["| `run --once` on the Kubernetes log: set ATTESTREAM_SAMPLES | – | – | – |"]
    environment = os.environ | {"ATTESTREAM_HOME": str(folder / "kubernetes")}
    log = Path(samples) / KUBERNETES
    out = command(["send", "--format", "decisions-jsonl", "--json", str(log)], environment)
    sent = json.loads(out.out)["sent"]
    done = command(["run", "--once"], environment)
    what = f"`run --once`, whole pipeline: {sent:,} Kubernetes decisions"
    return [row(what, sent, done.wall, done.cpu, done.resident_mb)]


def row(what: str, count: int, wall: float, cpu: float, resident_mb: int) -> str:
    return f"| {what} | {count / wall:,.0f} | {cpu / count * 1e6:.1f} | {resident_mb} |"


def command(arguments: list[str], environment: dict[str, str]) -> Done:
    """Run attestream as a process of its own; it must succeed."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        process = subprocess.Popen(
            [str(COMMAND), *arguments], env=environment, stdout=out, stderr=err
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        out.seek(0)
        err.seek(0)
        assert process.returncode == 0, out.read() + err.read()
        cpu = used.ru_utime + used.ru_stime
        return Done(out.read().decode(), wall, cpu, used.ru_maxrss // 1024)
