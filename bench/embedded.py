"""The embedded engine: sealing, the decision index, verification of a file, memory of `run`."""

import asyncio
import json
import os
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.measuring import usage
from streams.app import SealingService, open_deployment
from streams.clock import SystemClock
from streams.ports import NewRecord
from streams.settings import load_settings
from streams.telemetry.health import Health

COMMAND = Path(sys.executable).with_name("attestream")
KUBERNETES = "access-logs/kubernetes-audit.jsonl.gz"
KEY = "11" * 32


def report(*, quick: bool) -> list[str]:
    """Markdown lines of figures without a baseline."""
    count = 50_000 if quick else 200_000
    with tempfile.TemporaryDirectory(prefix="attestream-bench-") as folder:
        lines = ["| what | events/s | µs CPU an event |", "|---|---|---|"]
        home = Path(folder) / "home"
        rate, cpu = asyncio.run(seal(home, count))
        lines.append(f"| embedded sealing, {count:,} × 300 B | {rate:,.0f} | {cpu:.1f} |")
        lines += verify_lines(home, Path(folder), count)
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


def verify_lines(home: Path, folder: Path, count: int) -> list[str]:
    environment = os.environ | {
        "ATTESTREAM_HOME": str(home),
        "AUDIT_SIGNING_PRIVATE_KEY": KEY,
    }
    heads = command(["audit", "heads", "--json"], environment)[0].splitlines()
    origin = next(h["origin"] for h in map(json.loads, heads) if h["size"] == count)
    keys, file = folder / "keys.txt", folder / "export.avro"
    keys.write_text(command(["keys", "show"], environment)[0])
    command(["audit", "export", origin, "-o", str(file)], environment)
    began = time.perf_counter()
    _out, resident = command(["verify", str(file), "--keys", str(keys), "--json"], environment)
    wall = time.perf_counter() - began
    start = time.perf_counter()
    command(["--version"], environment)
    wall -= time.perf_counter() - start
    what = f"`verify` of an exported file, 300 B values, one core (resident {resident} MB)"
    return [f"| {what} | {count / wall:,.0f} | {wall / count * 1e6:.1f} |"]


def run_lines(folder: Path) -> list[str]:
    samples = os.environ.get("ATTESTREAM_SAMPLES")
    if samples is None:
        return ["| `run --once` on the Kubernetes log: set ATTESTREAM_SAMPLES | – | – |"]
    home = folder / "kubernetes"
    environment = os.environ | {"ATTESTREAM_HOME": str(home)}
    log = Path(samples) / KUBERNETES
    out, _ = command(["send", "--format", "decisions-jsonl", "--json", str(log)], environment)
    sent = json.loads(out)["sent"]
    began = time.perf_counter()
    _out, resident = command(["run", "--once"], environment)
    wall = time.perf_counter() - began
    what = f"`run --once`: {sent:,} Kubernetes decisions, whole pipeline (resident {resident} MB)"
    return [f"| {what} | {sent / wall:,.0f} | {wall / sent * 1e6:.0f} |"]


def command(arguments: list[str], environment: dict[str, str]) -> tuple[str, int]:
    """Standard output, and the largest resident memory of any child so far in MB."""
    done = subprocess.run(
        [str(COMMAND), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
