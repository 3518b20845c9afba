"""S3 servers that are not the one we use: what `archive doctor` must refuse, or see through.

    with OtherS3("moto", folder) as s3:     # s3.endpoint == "http://127.0.0.1:41234"

moto is a wheel. versitygw and MinIO are built by Go, once, into .cache/s3, which takes minutes.
Free ports are picked, then released: a small race.
"""

import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from filelock import FileLock

from tests.support.local_kafka import free_ports
from tests.support.local_s3 import ACCESS_KEY, SECRET, NoS3Error
from tests.support.server_process import ServerProcess

__all__ = ["OtherS3"]

Name = Literal["moto", "versitygw", "minio"]
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "s3"
GO_PACKAGES = {
    "versitygw": "github.com/versity/versitygw/cmd/versitygw@v1.8.0",
    # Its last version: the repository is archived.
    "minio": "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c",
}
PARTS = ("iam", "versions", "metadata", "objects")  # folders of versitygw
HEALTH = {
    "moto": "/moto-api/data.json",
    "versitygw": "/health",
    "minio": "/minio/health/ready",
}
ENVIRONMENT = {
    "versitygw": {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET},
    "minio": {
        "MINIO_ROOT_USER": ACCESS_KEY,
        "MINIO_ROOT_PASSWORD": SECRET,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        "MINIO_CI_CD": "1",  # lets its four directories share a disk
        "MINIO_KMS_SECRET_KEY": "test-key:q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=",
    },
}


def built(name: str) -> str:
    """The binary of a Go package, built once for each version."""
    package = GO_PACKAGES[name]
    folder = CACHE / package.rpartition("@")[2]
    binary = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "lock"):
        if not binary.exists():
            go = shutil.which("go")
            if go is None:
                raise NoS3Error(f"no Go to build {name}: install golang 1.26 or newer")
            done = subprocess.run(
                [go, "install", "-trimpath", "-ldflags=-s -w", package],
                env=os.environ | {"GOBIN": str(folder), "CGO_ENABLED": "0"},
                check=False,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise NoS3Error(f"Go could not build {name}:\n{done.stderr[-2000:]}")
    return str(binary)


class OtherS3:
    """One server; its data and log are in `folder`."""

    def __init__(self, name: Name, folder: Path) -> None:
        self.name = name
        self.folder = folder
        (self.port,) = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._server = ServerProcess(name, folder, self._is_ready)

    def __enter__(self) -> Self:
        self._server.start(self._command(), ENVIRONMENT.get(self.name, {}))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.kill()

    def _command(self) -> list[str]:
        address = f"127.0.0.1:{self.port}"
        match self.name:
            case "moto":
                script = "from moto.server import main; main()"
                return [sys.executable, "-c", script, "-H", "127.0.0.1", "-p", str(self.port)]
            case "minio":
                served = f"{self.folder}/disk{{1...4}}"
                return [built("minio"), "server", "--quiet", "--address", address, served]
            case "versitygw":
                for part in PARTS:
                    (self.folder / part).mkdir()
                gateway = [built("versitygw"), "--quiet", "--port", address, "--health", "/health"]
                iam, versions, metadata, objects = (str(self.folder / part) for part in PARTS)
                kept = ["--versioning-dir", versions, "--sidecar", metadata, objects]
                return [*gateway, "--iam-dir", iam, "posix", *kept]

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}{HEALTH[self.name]}", timeout=5):
                return True
        except urllib.error.HTTPError as error:
            return error.code < 500
