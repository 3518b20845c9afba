"""The repository as the tidy tests see it: its files, its modules, its Markdown.

Checks take a `Repository` and return one sentence for each problem, so that every check can be
run on the real tree (nothing found) and on a planted one (the problem is found).
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "streams", "projections")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*?$", re.MULTILINE | re.DOTALL)


class Repository:
    """A tree of files; paths are relative to its root, with `/` between components."""

    def __init__(self, root: Path, names: list[str]) -> None:
        self.root = root
        self.names = sorted(names)

    @classmethod
    def of_git(cls, root: Path = ROOT) -> "Repository":
        """What git tracks, and what it would track if it were added now."""
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        found = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
        names = set(found.stdout.split("\0")) - {""}
        return cls(root, [name for name in names if (root / name).is_file()])

    @classmethod
    def planted(cls, root: Path, files: dict[str, str]) -> "Repository":
        """A tree made for one test."""
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return cls(root, list(files))

    def text(self, name: str) -> str:
        """A file's text; bytes that are not UTF-8 are replaced."""
        return (self.root / name).read_text(encoding="utf-8", errors="replace")

    def texts(self, *suffixes: str) -> Iterator[tuple[str, str]]:
        """Name and text of every file whose name ends in one of `suffixes`."""
        for name in self.names:
            if name.endswith(suffixes):
                yield name, self.text(name)

    def python(self, *folders: str) -> Iterator[tuple[str, ast.Module]]:
        """Name and syntax tree of every Python file, below `folders` where any are given."""
        for name, text in self.texts(".py"):
            if not folders or name.startswith(tuple(f"{folder}/" for folder in folders)):
                yield name, ast.parse(text, name)

    @cached_property
    def modules(self) -> dict[str, str]:
        """Dotted name → file of every module of the three packages."""
        found = {}
        for name in self.names:
            if name.endswith(".py") and name.split("/")[0] in PACKAGES:
                found[name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")] = name
        return found


def prose(markdown: str) -> str:
    """Markdown without its fenced code blocks."""
    return FENCE.sub("", markdown)


def headings(markdown: str, level: int) -> list[str]:
    """Texts of the headings of one level, outside code blocks."""
    pattern = re.compile(rf"^{'#' * level} +(.+?)\s*$", re.MULTILINE)
    return pattern.findall(prose(markdown))


def expect_none(problems: list[str]) -> None:
    """Fail with every problem on a line of its own."""
    assert not problems, "\n" + "\n".join(problems)
