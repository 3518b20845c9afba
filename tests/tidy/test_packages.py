"""Every package has a map, every module a reader, and the base install imports no extra."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from tests.tidy.repository import ROOT, Repository, expect_none

MAP_LINES_MAX = 20
# Modules that are run, not imported.
RUN = {"projections.cli.main", "schemas.compatibility", "streams.keys.reference_proxy"}
OPTIONAL = ("aiohttp", "aiokafka", "boto3", "botocore", "faust", "hnswlib", "mode", "numpy")


def bad_maps(repository: Repository) -> list[str]:
    """A map is the docstring of a package; it names every module beside it."""
    problems = []
    for module, name in repository.modules.items():
        if not name.endswith("/__init__.py"):
            continue
        text = ast.get_docstring(ast.parse(repository.text(name))) or ""
        if not text:
            problems.append(f"{name}: no map: say what is here and in which order to read it")
        if len(text.splitlines()) > MAP_LINES_MAX:
            problems.append(f"{name}: the map has more than {MAP_LINES_MAX} lines")
        for other in repository.modules:
            parent, _, child = other.rpartition(".")
            if parent == module and text and not re.search(rf"\b{child}\b", text):
                problems.append(f"{name}: the map does not name {child}")
    return problems


def named_modules(tree: ast.Module) -> set[str]:
    """Modules a file imports, or names in a string as click's lazy commands do."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(module), names=names):
                found |= {module} | {f"{module}.{alias.name}" for alias in names}
            case ast.Constant(value=str(text)):
                found.add(text.partition(":")[0])
            case _:
                pass
    return found


def unread_modules(repository: Repository) -> list[str]:
    read = set(RUN)
    for name, tree in repository.python():
        if not name.startswith("tests/"):
            own = name.removesuffix(".py").replace("/", ".")
            read |= named_modules(tree) - {own}
    return [
        f"{name}: nothing imports it"
        for module, name in repository.modules.items()
        if not name.endswith("/__init__.py") and module not in read
    ]


def test_every_package_has_a_map(repository: Repository) -> None:
    expect_none(bad_maps(repository))


def test_every_module_is_imported_by_another(repository: Repository) -> None:
    expect_none(unread_modules(repository))


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stderr.strip()


HELP_WITHOUT_EXTRAS = """
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(f"{name} is an extra", name=name)
sys.meta_path.insert(0, Absent())
import click
import attestream, schemas.codec, streams.audit.trail, streams.settings, streams.verifier
from projections.cli.main import main
def walk(command, context):
    command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            walk(child, click.Context(child, info_name=name, parent=context))
walk(main, click.Context(main, info_name="attestream"))
"""

IMPORT_ALL_OFFLINE = """
import importlib, socket, sys
def refuse(*_):
    raise OSError("the network was touched while importing")
socket.socket.connect = socket.socket.connect_ex = refuse
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_the_base_install_verifies_and_helps_without_any_extra() -> None:
    assert run(HELP_WITHOUT_EXTRAS, *OPTIONAL) == ""


def test_importing_any_module_touches_no_network(repository: Repository) -> None:
    assert run(IMPORT_ALL_OFFLINE, *repository.modules) == ""


def test_a_missing_a_long_and_an_incomplete_map_are_seen(tmp_path: Path) -> None:
    planted = Repository.planted(
        tmp_path,
        {
            "schemas/__init__.py": "",
            "streams/__init__.py": '"""Map.\n' + "line\n" * 30 + '"""\n',
            "streams/a.py": "",
            "streams/b.py": "import streams.b",
            "projections/__init__.py": '"""Nothing else is here."""\nimport streams.a',
        },
    )
    assert [p.split(": ")[1] for p in bad_maps(planted)] == [
        "no map",
        "the map has more than 20 lines",
        "the map does not name a",
        "the map does not name b",
    ]
    assert unread_modules(planted) == ["streams/b.py: nothing imports it"]
