"""A server that tests start: waited for, killed with all it started, and never left behind."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["ServerProcess"]

# Ends with its own group when our end of its standard input closes: a test run that is killed
# leaves no server behind.
SUPERVISED = 'exec 3<&0; "$@" 3<&- & server=$!; { read -r _ <&3; kill -9 0; } & wait $server'
POLL_S = 0.05


class ServerProcess:
    """One server in a process group of its own; its log is the file `log` of `folder`."""

    def __init__(self, name: str, folder: Path, is_ready: Callable[[], bool]) -> None:
        """`is_ready` asks the server; until it is, anything of OSError counts as no."""
        self._name = name
        self._folder = folder
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        timeout_s: float = 60,
    ) -> None:
        """Start, and wait until it is ready; one that is not is killed."""
        log = self._folder / "log"
        with log.open("ab") as told:
            self._process = subprocess.Popen(
                ["sh", "-c", SUPERVISED, "sh", *command],
                env=os.environ | dict(environment),
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=told,
                stderr=told,
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            if (code := self._process.poll()) is not None:
                self.kill()
                last = log.read_text("utf-8", "replace")[-2000:]
                raise RuntimeError(f"{self._name} ended with {code}:\n{last}")
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"{self._name} is not ready; see {log}")
            time.sleep(POLL_S)

    def kill(self) -> None:
        """SIGKILL to its group. Idempotent."""
        if self._process is None:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def _answers(self) -> bool:
        try:
            return self._is_ready()
        except OSError:
            return False
