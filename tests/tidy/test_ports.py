"""Every port has a contract suite, which runs over all its adapters."""

import ast
import re
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
    """A suite is named after its port."""
    suites = {name for name in repository.names if name.startswith("tests/contract/test_")}
    wanted = {
        port: f"tests/contract/test_{re.sub(r'(?<!^)(?=[A-Z])', '_', port).lower()}.py"
        for port in ports(repository)
    }
    return [f"{port}: no {suite}" for port, suite in wanted.items() if suite not in suites]


def test_every_port_has_a_contract_suite(repository: Repository) -> None:
    expect_none(without_suite(repository))


def test_a_port_without_suite_is_seen(tmp_path: Path) -> None:
    planted = Repository.planted(
        tmp_path,
        {
            "streams/ports.py": "class A(Protocol): 1\nclass BothWays(Protocol): 2\nclass C: 3",
            "tests/contract/test_a.py": "",
        },
    )
    assert without_suite(planted) == ["BothWays: no tests/contract/test_both_ways.py"]
