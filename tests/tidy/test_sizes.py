"""Modules and functions stay small enough to be read at one sitting."""

import ast
from pathlib import Path

from tests.tidy.repository import Repository, expect_none

MODULE_LINES_MAX = 400
TEST_MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
FILE_BYTES_MAX = 512 * 1024


def long_modules(repository: Repository) -> list[str]:
    problems = []
    for name, text in repository.texts(".py"):
        limit = TEST_MODULE_LINES_MAX if name.startswith("tests/") else MODULE_LINES_MAX
        lines = len(text.splitlines())
        if lines > limit:
            problems.append(f"{name}: {lines} lines, at most {limit}")
    return problems


def long_functions(repository: Repository) -> list[str]:
    problems = []
    for name, tree in repository.python():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                is_fixture = name.startswith("tests/") and is_value(node)
                if lines > FUNCTION_LINES_MAX and not is_fixture:
                    problems.append(
                        f"{name}: {node.name} has {lines} lines, at most {FUNCTION_LINES_MAX}"
                    )
    return problems


def is_value(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A value written out, as fixtures are, is no logic, however many fields it has."""
    return isinstance(function.body[-1], ast.Return) and not any(
        isinstance(node, ast.stmt) and not isinstance(node, ast.Assign | ast.Expr | ast.Return)
        for node in ast.walk(function)
        if node is not function
    )


def large_files(repository: Repository) -> list[str]:
    sizes = {name: (repository.root / name).stat().st_size for name in repository.names}
    return [
        f"{name}: {size} bytes, at most {FILE_BYTES_MAX}"
        for name, size in sizes.items()
        if size > FILE_BYTES_MAX
    ]


def test_modules_are_short(repository: Repository) -> None:
    expect_none(long_modules(repository))


def test_functions_are_short(repository: Repository) -> None:
    expect_none(long_functions(repository))


def test_no_file_is_large(repository: Repository) -> None:
    expect_none(large_files(repository))


def test_a_long_module_function_and_file_are_seen(tmp_path: Path) -> None:
    body = "def f() -> None:\n" + "    f()\n" * 60
    planted = Repository.planted(
        tmp_path,
        {"streams/a.py": body * 7, "tests/unit/test_a.py": "\n" * 501, "data.bin": "x" * 600_000},
    )
    assert [p.split(":")[0] for p in long_modules(planted)] == [
        "streams/a.py",
        "tests/unit/test_a.py",
    ]
    assert long_functions(planted) == ["streams/a.py: f has 61 lines, at most 60"] * 7
    assert large_files(planted) == ["data.bin: 600000 bytes, at most 524288"]
