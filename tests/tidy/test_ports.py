"""Every port has a contract suite, which runs over all its adapters."""

import ast
from pathlib import Path

from tests.tidy.repository import Repository, expect_none

PORTS = ("streams/ports.py", "projections/ports.py")


def ports(repository: Repository) -> list[str]:
    """Protocols of the ports modules."""
    return [
        node.name
        for name, tree in repository.python()
        if name in PORTS
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
    ]


def without_suite(repository: Repository) -> list[str]:
    named: set[str] = set()
    for name, tree in repository.python("tests/contract"):
        if name.rpartition("/")[2].startswith("test_"):
            named |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    return [
        f"{port}: no suite in tests/contract" for port in ports(repository) if port not in named
    ]


def test_every_port_has_a_contract_suite(repository: Repository) -> None:
    expect_none(without_suite(repository))


def test_a_port_without_suite_is_seen(tmp_path: Path) -> None:
    planted = Repository.planted(
        tmp_path,
        {
            "streams/ports.py": "class A(Protocol): ...\nclass B(Protocol): ...\nclass C: ...",
            "tests/contract/test_a.py": "def test(a: A) -> None: ...",
        },
    )
    assert without_suite(planted) == ["B: no suite in tests/contract"]
