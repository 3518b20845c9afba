"""Names, calls and words that this repository does not use, each with what to use instead."""

import ast
import re
from pathlib import Path

import pytest

from tests.tidy.repository import Repository, expect_none

HERE = "tests/tidy/test_names.py"
# What is compared with is kept as it was; one module is the clock everybody else asks.
EXEMPT = ("bench/baselines/", "bench/streams.py", "streams/clock.py")

DRAWERS = {"utils", "util", "helpers", "helper", "common", "base", "manager", "core", "misc"}

# Dotted call → what to use. Some hold only below the folders named.
CALLS: dict[str, tuple[str, tuple[str, ...]]] = {
    "time.time": ("ask the Clock", ()),
    "time.time_ns": ("ask the Clock", ()),
    "datetime.now": ("ask the Clock", ()),
    "datetime.utcnow": ("ask the Clock", ()),
    "datetime.datetime.now": ("ask the Clock", ()),
    "uuid.uuid4": ("ids come from the event", ()),
    "uuid4": ("ids come from the event", ()),
    "print": ("click.echo", ("schemas", "streams", "projections")),
    "sys.exit": (
        "raise; only a command ends the process",
        ("schemas", "streams/audit", "streams/kafka", "streams/embedded", "streams/objects"),
    ),
    "yaml.load": ("yaml.safe_load", ()),
    "pickle.loads": ("a format whose every byte is checked before it is parsed", ()),
    "pickle.load": ("a format whose every byte is checked before it is parsed", ()),
    "eval": ("parse it", ()),
    "exec": ("import it", ()),
    "pytest.skip": ("fail with one sentence: a skipped guarantee is none", ()),
    "pytest.importorskip": ("fail with one sentence: a skipped guarantee is none", ()),
    "pytest.mark.skip": ("fail with one sentence: a skipped guarantee is none", ()),
    "pytest.mark.skipif": ("fail with one sentence: a skipped guarantee is none", ()),
    "time.sleep": ("a fake clock", ("tests/unit", "tests/property", "tests/tidy")),
}
IMPORTS = {
    "unittest": "plain pytest, and a fake that enforces the law",
    "mock": "a fake that enforces the law",
    "pytest_mock": "a fake that enforces the law",
    "pickle": "a format whose every byte is checked before it is parsed",
    "requests": "aiohttp, in the `kafka` and `index` extras",
}
WORDS = {
    r"\bDLQ\b": "dead letters",
    r"\btamper-?proof\b": "tamper-evident",
    r"\bsigned tree head\b": "checkpoint",
    r"\bblockchain\b": "log",
    r"\b(TODO|FIXME|XXX|HACK)\b": "an issue, or the work itself",
    r"(?<![\w.])/(work|root|tmp|home)/": "a path relative to the repository",
    r"\b(this|previous|next|earlier|another) session\b": "the project alone",
    r"\b(pypi|npmjs|crates)\.(org|io|com)\b": "the package's name",
    r"\bhelper [A-G]\b": "the project alone",
}


def drawer_modules(repository: Repository) -> list[str]:
    return [
        f"{name}: {part} says nothing; name what it does"
        for name in repository.names
        if name.endswith(".py")
        for part in name.removesuffix(".py").split("/")
        if part in DRAWERS
    ]


def dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{dotted(value)}.{attr}"
        case _:
            return "?"


def banned_calls(repository: Repository) -> list[str]:
    problems = []
    for name, tree in repository.python():
        for node in () if name.startswith(EXEMPT) else ast.walk(tree):
            if not isinstance(node, ast.Attribute | ast.Name):
                continue
            found = CALLS.get(dotted(node))
            if found is None:
                continue
            instead, folders = found
            if not folders or name.startswith(tuple(f"{folder}/" for folder in folders)):
                problems.append(f"{name}:{node.lineno}: {dotted(node)}: use {instead}")
    return problems


def banned_imports(repository: Repository) -> list[str]:
    problems = []
    for name, tree in repository.python():
        for node in ast.walk(tree):
            match node:
                case ast.Import(names=names):
                    found = {alias.name.split(".")[0] for alias in names}
                case ast.ImportFrom(module=str(module)):
                    found = {module.split(".")[0]}
                case _:
                    continue
            problems += [f"{name}: {m}: use {IMPORTS[m]}" for m in sorted(found & IMPORTS.keys())]
    return problems


def banned_words(repository: Repository) -> list[str]:
    problems = []
    patterns = {re.compile(word, re.IGNORECASE): instead for word, instead in WORDS.items()}
    for name in repository.names:
        if name in {HERE, "LICENSE"} or name.startswith("tests/golden/"):
            continue
        text = repository.text(name)
        problems += [
            f"{name}:{text.count(chr(10), 0, m.start()) + 1}: {m.group()!r}: say {instead}"
            for pattern, instead in patterns.items()
            for m in pattern.finditer(text)
        ]
    return problems


def test_no_module_is_a_drawer(repository: Repository) -> None:
    expect_none(drawer_modules(repository))


def test_no_banned_call(repository: Repository) -> None:
    expect_none(banned_calls(repository))


def test_no_banned_import(repository: Repository) -> None:
    expect_none(banned_imports(repository))


def test_the_repository_speaks_of_the_project_alone(repository: Repository) -> None:
    expect_none(banned_words(repository))


def test_versions_are_pinned_exactly_and_name_no_place(repository: Repository) -> None:
    pins = [line for line in repository.text("constraints.txt").splitlines() if line[:1] != "#"]
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", pin)] == []


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("streams/a.py", "import time\ntime.time()", "time.time: use ask the Clock"),
        ("projections/a.py", "from datetime import datetime\ndatetime.now()", "use ask the Clock"),
        ("schemas/a.py", "print(1)", "print: use click.echo"),
        ("tests/unit/test_a.py", "import pytest\npytest.skip('later')", "a skipped guarantee"),
        ("tests/unit/test_a.py", "import pytest\n@pytest.mark.skipif\ndef test(): ...", "skipped"),
        ("tests/unit/test_a.py", "import time\ntime.sleep(1)", "a fake clock"),
    ],
)
def test_a_banned_call_is_seen(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    (problem,) = banned_calls(Repository.planted(tmp_path, {name: text}))
    assert sentence in problem


def test_a_drawer_an_import_and_each_banned_word_are_seen(tmp_path: Path) -> None:
    words = "DLQ\ntamperproof\nsigned tree head\nblockchain\nTODO\nsee /work/x\nthis session\n"
    planted = Repository.planted(
        tmp_path,
        {
            "streams/utils.py": "",
            "tests/a.py": "from unittest import mock\nimport pickle",
            "docs/a.md": words + "get it from pypi.org\nhelper B\n",
        },
    )
    assert drawer_modules(planted) == ["streams/utils.py: utils says nothing; name what it does"]
    assert len(banned_imports(planted)) == 2
    assert {p.split(":")[1] for p in banned_words(planted)} == set("123456789")
