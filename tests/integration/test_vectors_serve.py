"""`attestream vectors serve` as its callers have it: a child process and its two pipes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.tidy.repository import ROOT

COMMAND = [sys.executable, "-c", "from projections.cli.main import main; main()"]
KEY = "5a" * 32
DIMENSION = 8
pytestmark = [pytest.mark.slow]


class Child:
    """A server; `ask` sends a request and waits for its answer."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self._next = 0

    def send(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def ask(self, op: str, **members: Any) -> dict[str, Any]:
        self._next += 1
        self.send(json.dumps({"id": self._next, "op": op, **members}).encode())
        answer = self.answer()
        assert answer["id"] == self._next
        return answer

    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(20)


@contextmanager
def serving(*options: str, **environ: str) -> Iterator[Child]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("VECTOR_", "ATTESTREAM"))}
    with subprocess.Popen(
        [*COMMAND, "vectors", "serve", *options],
        cwd=ROOT,
        env=kept | environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield Child(process)
        finally:
            process.kill()


def vector(seed: int) -> list[float]:
    return [float((seed * 7919 + i * 104729) % 1009 - 504) or 1.0 for i in range(DIMENSION)]


def some(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"node": f"n{i}", "vector": vector(i)} for i in range(first, first + count)]


def test_a_caller_adds_finds_removes_saves_and_restores(tmp_path: Path) -> None:
    store = ("--store", str(tmp_path / "store"))
    with serving(*store, VECTOR_INDEX_KEY=KEY) as child:
        assert child.ask("hello")["protocol"] == "attestream.vectors/v1"
        assert child.ask("add", namespace="a", vectors=some(50))["vectors"] == 50
        (hit,) = child.ask("search", namespace="a", vector=vector(7), k=1)["hits"]
        assert hit == {"node": "n7", "similarity": pytest.approx(1, abs=1e-5)}
        removed = child.ask("remove", namespace="a", nodes=["n7", "nobody"])
        assert removed == {"id": 4, "ok": True, "removed": 1, "forgotten": True}
        found = child.ask("search", namespace="a", vector=vector(7), k=1)["hits"]
        saved = child.ask("save")
        assert saved["vectors"] == 49
        assert child.end() == 0
    with serving(*store, VECTOR_INDEX_KEY=KEY) as child:
        assert child.ask("search", namespace="a", vector=vector(7))["error"]["code"] == (
            "unknown_namespace"
        )
        restored = child.ask("restore")
        assert (restored["snapshot"], restored["vectors"]) == (saved["snapshot"], 49)
        assert child.ask("search", namespace="a", vector=vector(7), k=1)["hits"] == found
        assert child.ask("rotate", key="6b" * 16)["deleted"] == 1
    with serving(*store, VECTOR_INDEX_KEY=KEY) as child:
        assert child.ask("restore")["error"]["code"] == "refused"


def test_hostile_lines_are_answered_one_by_one_and_stop_nothing() -> None:
    lines = [
        b"",
        b"   ",
        b"{",
        b"\xff\xfe\x00",
        b'{"id":1,"op":"add","namespace":"n","vectors":[{"node":"a","vector":[1,NaN]}]}',
        b'{"id":2,"op":"add","namespace":"n","vectors":[{"node":"a","vector":[1e999]}]}',
        b'{"id":3,"op":"add","namespace":"n","vectors":[]}',
        b'{"id":4,"op":"../etc"}',
        b"[" * 300_000,
        b'{"id":5,"op":"search","namespace":"n","vector":[1],"k":100000}',
        b'{"id":6,"op":"save"}',
        b"x" * (9 * 2**20),
        b'{"id":7,"op":"hello"}',
    ]
    with serving() as child:
        for line in lines:
            child.send(line)
        told = [child.answer() for line in lines if line.strip()]
        assert [(one["id"], one.get("error", {}).get("code")) for one in told] == [
            (None, "bad_line"),
            (None, "bad_line"),
            (None, "bad_line"),
            (2, "bad_vector"),
            (3, "bad_request"),
            (4, "unknown_op"),
            (None, "bad_line"),
            (5, "bad_request"),
            (6, "no_store"),
            (None, "line_too_long"),
            (7, None),
        ]
        assert child.end() == 0


def test_a_line_without_end_takes_no_memory() -> None:
    with serving() as child:
        child.ask("hello")
        before = child.resident_mib()
        assert child.process.stdin is not None
        for _ in range(150):
            child.process.stdin.write(b"x" * 2**20)
        child.send(b"")
        assert child.answer()["error"]["code"] == "line_too_long"
        assert child.ask("hello")["ok"]
        assert child.resident_mib() - before < 40


def test_a_request_whose_time_is_over_is_not_begun() -> None:
    many = json.dumps({"id": 1, "op": "add", "namespace": "n", "vectors": some(1000)}).encode()
    late = {"id": 2, "op": "add", "namespace": "late", "vectors": some(1), "timeout_ms": 1}
    with serving() as child:
        child.ask("hello")
        for line in (many, many, many, json.dumps(late).encode()):
            child.send(line)
        answers = [child.answer() for _ in range(4)]
        assert [answer["ok"] for answer in answers] == [True, True, True, False]
        assert answers[3]["error"]["code"] == "timeout"
        assert set(child.ask("stats")["namespaces"]) == {"n"}


def test_what_was_asked_before_the_end_is_answered() -> None:
    with serving() as child:
        for number in range(20):
            child.send(json.dumps({"id": number, "op": "hello"}).encode())
        assert child.process.stdin is not None
        child.process.stdin.close()
        assert [child.answer()["id"] for _ in range(20)] == list(range(20))
        assert child.process.wait(20) == 0


@pytest.mark.parametrize("how", ["signal", "nobody reads"])
def test_it_ends_when_it_is_told_to_or_nobody_listens(how: str) -> None:
    with serving() as child:
        child.ask("hello")
        if how == "signal":
            child.process.send_signal(signal.SIGTERM)
        else:
            assert child.process.stdout is not None
            child.process.stdout.close()
            child.send(b'{"id":1,"op":"hello"}')
        assert child.process.wait(20) == 0


def test_a_wrong_key_is_said_before_a_line_is_read_and_is_not_shown() -> None:
    done = subprocess.run(
        [*COMMAND, "vectors", "serve"],
        cwd=ROOT,
        env=os.environ | {"VECTOR_INDEX_KEY": "not-a-key-of-any-length"},
        input=b'{"id":1,"op":"hello"}\n',
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"VECTOR_INDEX_KEY" in done.stderr
    assert b"not-a-key" not in done.stderr
