"""Markdown that holds: one title a page, live links, and no name of what is gone."""

import ast
import re
from pathlib import Path

from tests.tidy.repository import Repository, expect_none, headings, prose

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
PATHS = re.compile(
    r"(?<![\w./-])(?:schemas|streams|projections|tests|docs|infra|bench)/"
    r"[\w./-]*\.(?:py|md|avsc|yaml|json|xml|toml)(?:::(\w+))?"
)
DOTTED = re.compile(r"(?:schemas|streams|projections|tests)(?:\.\w+)+")


def titles(repository: Repository) -> list[str]:
    return [
        f"{name}: {len(headings(text, 1))} titles, expected one"
        for name, text in repository.texts(".md")
        if len(headings(text, 1)) != 1
    ]


def anchor(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.lower().replace("`", ""))
    return kept.replace(" ", "-")


def dead_links(repository: Repository) -> list[str]:
    problems = []
    for name, text in repository.texts(".md"):
        for target in LINK.findall(prose(text)):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, fragment = target.partition("#")
            place = (repository.root / name).parent / path if path else repository.root / name
            if not place.exists():
                problems.append(f"{name}: {target} leads nowhere")
            elif fragment and place.suffix == ".md":
                page = place.read_text(encoding="utf-8")
                anchors = {anchor(h) for level in range(1, 5) for h in headings(page, level)}
                if fragment not in anchors:
                    problems.append(f"{name}: {target}: no such heading")
    return problems


def missing_paths(repository: Repository) -> list[str]:
    """Paths named in Markdown, docstrings, comments and Makefile that are not there."""
    problems = []
    for name, text in repository.texts(".md", ".py", ".toml", ".yaml", "Makefile", ".ci/run"):
        if name.startswith("tests/tidy/test_"):
            continue
        for match in PATHS.finditer(text):
            path, _, symbol = match.group().partition("::")
            place = repository.root / path
            if not place.is_file():
                problems.append(f"{name}: {path} is not there")
            elif symbol and not re.search(rf"\b(def|class) {symbol}\b", place.read_text("utf-8")):
                problems.append(f"{name}: {path} has no {symbol}")
    return sorted(set(problems))


def defined(tree: ast.Module) -> set[str]:
    """Names a module defines or imports at its top level."""
    names: set[str] = set()
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Assign(targets=targets):
                names |= {t.id for t in targets if isinstance(t, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {(alias.asname or alias.name) for alias in aliases}
            case _:
                pass
    return names


def known_names(repository: Repository) -> set[str]:
    """Every module of the project, and what each defines."""
    known = set(repository.modules)
    for name, tree in repository.python():
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        known |= {module} | {f"{module}.{symbol}" for symbol in defined(tree)}
    return known


def missing_symbols(repository: Repository, known: set[str]) -> list[str]:
    """Dotted names in code spans of Markdown that no module defines."""
    problems = []
    for name, text in repository.texts(".md"):
        for span in CODE.findall(prose(text)):
            dotted = span.removesuffix("()")
            if not DOTTED.fullmatch(dotted) or dotted.endswith((".py", ".md", ".avsc", ".yaml")):
                continue
            # A member of a class is found by its class.
            if dotted not in known and dotted.rpartition(".")[0] not in known - packages(known):
                problems.append(f"{name}: {dotted} is not there")
    return sorted(set(problems))


def packages(known: set[str]) -> set[str]:
    return {name.rpartition(".")[0] for name in known}


def test_every_page_has_one_title(repository: Repository) -> None:
    expect_none(titles(repository))


def test_every_relative_link_leads_somewhere(repository: Repository) -> None:
    expect_none(dead_links(repository))


def test_no_page_or_docstring_names_a_path_that_is_gone(repository: Repository) -> None:
    expect_none(missing_paths(repository))


def test_no_page_names_a_symbol_that_is_gone(repository: Repository) -> None:
    known = known_names(repository)
    expect_none(missing_symbols(repository, known))


def test_a_bad_page_is_seen(tmp_path: Path) -> None:
    page = (
        "# One\n# Two\n[gone](b.md) [here](a.md#two) [off](a.md#three)\n"
        "`streams.gone.Thing` `streams.a.Thing` `streams.a.Thing.member` tests/a.py::test_gone\n"
        "see docs/nowhere.md\n```\n# no title\n[no](link.md)\n```\n"
    )
    code = "class Thing: ...\n"
    planted = Repository.planted(
        tmp_path,
        {
            "docs/a.md": page,
            "streams/a.py": code,
            "streams/__init__.py": "",
            "tests/a.py": code,
        },
    )
    assert titles(planted) == ["docs/a.md: 2 titles, expected one"]
    assert dead_links(planted) == [
        "docs/a.md: b.md leads nowhere",
        "docs/a.md: a.md#three: no such heading",
    ]
    assert missing_paths(planted) == [
        "docs/a.md: docs/nowhere.md is not there",
        "docs/a.md: tests/a.py has no test_gone",
    ]
    assert missing_symbols(planted, known_names(planted)) == [
        "docs/a.md: streams.gone.Thing is not there"
    ]
