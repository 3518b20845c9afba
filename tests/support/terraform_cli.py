"""Terraform itself, offline: for modules without providers.

`terraform` or `tofu` from the PATH; else OpenTofu, built by Go, once, into .cache/tofu, which
takes minutes.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

__all__ = ["NoTerraformError", "Terraform", "terraform"]

VERSION = "1.10.6"
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "tofu"
PACKAGE = "github.com/opentofu/opentofu"
# OpenTofu's own replacement: it counts only in the module that is built.
GO_MOD = f"""module build

go 1.24.6

require {PACKAGE} v{VERSION}

replace github.com/hashicorp/hcl/v2 v2.20.1 => \
github.com/opentofu/hcl/v2 v2.20.2-0.20250121132637-504036cd70e7
"""
QUIET = {
    "CHECKPOINT_DISABLE": "1",
    "TF_IN_AUTOMATION": "1",
    "TF_CLI_CONFIG_FILE": os.devnull,
}


class NoTerraformError(RuntimeError):
    """There is none, and none can be built; the message says in one sentence what to do."""


def terraform() -> str:
    """The binary."""
    return shutil.which("terraform") or shutil.which("tofu") or _built()


def _built() -> str:
    folder = CACHE / VERSION
    folder.mkdir(parents=True, exist_ok=True)
    binary = folder / "tofu"
    with FileLock(CACHE / "lock"):
        if not binary.exists():
            go = shutil.which("go")
            if go is None:
                raise NoTerraformError("no Terraform: install terraform, tofu, or Go to build it")
            (folder / "go.mod").write_text(GO_MOD, encoding="utf-8")
            build = [go, "build", "-mod=mod", "-trimpath", "-ldflags=-s -w", "-o", str(binary)]
            done = subprocess.run(
                [*build, f"{PACKAGE}/cmd/tofu"],
                cwd=folder,
                env=os.environ | {"CGO_ENABLED": "0"},
                check=False,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise NoTerraformError(f"Go could not build OpenTofu:\n{done.stderr[-2000:]}")
    return str(binary)


class Terraform:
    """A copy of a module that needs no provider, in a folder of its own."""

    def __init__(self, module: Path, folder: Path) -> None:
        self.folder = folder / "module"
        self.binary = terraform()
        shutil.copytree(module, self.folder)
        done = self.run("init", "-input=false", "-backend=false")
        assert done.returncode == 0, done.stderr

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.binary, *arguments],
            cwd=self.folder,
            env=os.environ | QUIET,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def plan(self, variables: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
        given = self.folder / "test.tfvars.json"
        given.write_text(json.dumps(variables), encoding="utf-8")
        return self.run("plan", "-input=false", "-no-color", f"-var-file={given}", "-out=planned")

    def outputs(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """What the module would give out."""
        done = self.plan(variables)
        assert done.returncode == 0, done.stderr
        planned = json.loads(self.run("show", "-json", "planned").stdout)["planned_values"]
        return {name: output["value"] for name, output in planned["outputs"].items()}
