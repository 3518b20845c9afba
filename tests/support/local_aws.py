"""A local server that speaks AWS (MiniStack), for tests: signatures by real cryptography.

    with LocalAws(folder, "kms") as aws:     # aws.endpoint == "http://127.0.0.1:41234"
        ...

The server is the wheel `ministack`. It takes any credentials and any region. A free port is
picked, then released: a small race.
"""

import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.local_kafka import free_ports
from tests.support.server_process import ServerProcess

__all__ = ["LocalAws"]


class LocalAws:
    """One server of `services` (comma-separated); its log is in `folder`."""

    def __init__(self, folder: Path, services: str) -> None:
        (port,) = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{port}"
        self._environment = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "IOT_MTLS_ENABLED": "0",  # else a listener on a fixed port
            "SERVICES": services,
            "SFTP_ENABLED": "0",
        }
        self._server = ServerProcess("ministack", folder, self._is_ready)

    def __enter__(self) -> Self:
        self._server.start([sys.executable, "-m", "ministack"], self._environment)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.kill()

    def _is_ready(self) -> bool:
        with urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=5):
            return True
