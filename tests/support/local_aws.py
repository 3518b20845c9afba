"""A local server that speaks AWS (MiniStack), for tests: signatures by real cryptography.

    with LocalAws(folder, "kms") as aws:     # aws.endpoint == "http://127.0.0.1:41234"
        ...

The server is the wheel `ministack`. It takes any credentials and any region. A free port is
picked, then released: a small race.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.local_kafka import free_ports
from tests.support.local_s3 import SUPERVISED

__all__ = ["LocalAws"]


class LocalAws:
    """One server of `services` (comma-separated); its log is in `folder`."""

    def __init__(self, folder: Path, services: str) -> None:
        (port,) = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._environment = os.environ | {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "IOT_MTLS_ENABLED": "0",  # else a listener on a fixed port
            "SERVICES": services,
            "SFTP_ENABLED": "0",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", SUPERVISED, "sh", sys.executable, "-m", "ministack"],
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while not self._is_ready():
            if (code := self._process.poll()) is not None:
                raise RuntimeError(f"ministack ended with {code}; see {self._folder}/log")
            if time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise TimeoutError(f"ministack is not ready; see {self._folder}/log")
            time.sleep(0.05)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=5):
                return True
        except OSError:
            return False
