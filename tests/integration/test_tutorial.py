"""The tutorial does what it says: its blocks are run in order, in one shell.

An `sh` block must succeed. In a `console` block each `$ ` line is run and must print what follows
it; `…` stands for anything, on a line of its own for any number of lines.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.tidy.repository import ROOT

TUTORIAL = ROOT / "docs/tutorial/first-audit-trail.md"
BLOCK = re.compile(r"^```(sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
END = "end of step"


class Step(NamedTuple):
    """One command, or a whole `sh` block, and what it must print; None: anything."""

    command: str
    output: str | None


def steps(markdown: str) -> list[Step]:
    found = []
    for kind, body in BLOCK.findall(markdown):
        if kind == "sh":
            found.append(Step(body, None))
            continue
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            # What it prints may end in an exit status that is meant.
            found.append(Step(f"(set +e; {command})", output))
    return found


def pattern(output: str) -> str:
    """A regular expression of what a `console` block shows."""
    lines = [re.escape(line).replace("…", ".*") for line in output.splitlines()]
    return "".join(r"(?:.*\n)*?" if line == ".*" else line + r"\n" for line in lines)


def run(script: list[Step], folder: Path) -> list[str]:
    """Run the steps in one shell; what each printed on standard output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ATTESTREAM_", "KAFKA_"))}
    text = "set -e\n" + "".join(f"{step.command}\necho '{END}'\n" for step in script)
    done = subprocess.run(
        ["bash", "-c", text],
        cwd=folder,
        env=kept | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    printed = done.stdout.split(f"{END}\n")
    assert done.returncode == 0, f"{script[len(printed) - 1].command}\n{done.stderr}"
    return printed[:-1]


@pytest.mark.integration
def test_every_block_of_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    script = steps(TUTORIAL.read_text(encoding="utf-8"))
    for step, printed in zip(script, run(script, tmp_path), strict=True):
        if step.output is not None:
            assert re.fullmatch(pattern(step.output), printed), f"$ {step.command}\n{printed}"


@pytest.mark.parametrize(
    ("shown", "printed", "fits"),
    [
        ("size 4  root …\n", "size 4  root ab12\n", True),
        ("size 4  root …\n", "size 5  root ab12\n", False),
        ("…\nexit status 20\n", "one\ntwo\nexit status 20\n", True),
        ("…\nexit status 20\n", "one\nexit status 0\n", False),
        ("", "unexpected\n", False),
    ],
)
def test_what_a_console_block_shows_is_compared(shown: str, printed: str, *, fits: bool) -> None:
    assert bool(re.fullmatch(pattern(shown), printed)) == fits


def test_a_block_that_fails_is_seen(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="false"):
        run(steps("```console\n$ true\n$ false\n```\n"), tmp_path)
