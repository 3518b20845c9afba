"""Documentation unit tests: what operators may set, see, call or be paged by is documented."""

import re
from collections.abc import Iterable
from pathlib import Path

import click
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase

from streams.settings import Settings, reading
from streams.telemetry import metrics
from tests.tidy.reference_pages import (
    CLI_PAGE,
    SCHEMAS_PAGE,
    render_commands,
    render_schemas,
    schema_texts,
)
from tests.tidy.repository import Repository, expect_none, headings

RULES = "infra/prometheus/alerts.yaml"
RUNBOOK_HEADINGS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
OURS = re.compile(r"\b(?:attestream|authz)_[a-z_]+\b")
SAMPLE_SUFFIX = re.compile(r"_(bucket|count|sum|created)$")


def setting_names() -> set[str]:
    fields = {str(f.alias) for f in Settings.model_fields.values()}
    return fields | reading.ALIASES.keys() | reading.REFUSED.keys()


def metric_names() -> set[str]:
    names = set()
    for name in metrics.__all__:
        family: MetricWrapperBase = getattr(metrics, name)
        described: Metric = next(iter(family.describe()))
        names.add(described.name + ("_total" if described.type == "counter" else ""))
    return names


def unmatched(page: str, names: Iterable[str], pattern: str) -> list[str]:
    """Names a page lacks, and names it documents in a table's first column that are no more."""
    known = set(names)
    listed = {
        name
        for cell in re.findall(r"^\| *(`[^|]*)\|", page, re.MULTILINE)
        for name in re.findall(pattern, cell)
    }
    return sorted(
        [f"{name} is not documented" for name in known if f"`{name}`" not in page]
        + [f"{name} is documented but is not there" for name in listed - known]
    )


def rules(text: str) -> dict[str, str]:
    """Alert → expression, of a Prometheus rule file."""
    groups = yaml.safe_load(text)["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def runbook_problems(repository: Repository) -> list[str]:
    alerts = rules(repository.text(RULES))
    pages = {
        name.removeprefix("docs/runbooks/").removesuffix(".md"): text
        for name, text in repository.texts(".md")
        if name.startswith("docs/runbooks/") and not name.endswith("README.md")
    }
    problems = [f"{alert} has no runbook" for alert in alerts.keys() - pages.keys()]
    problems += [f"{page} is the runbook of no alert" for page in pages.keys() - alerts.keys()]
    for page, text in pages.items():
        if headings(text, 1) != [page] or headings(text, 2) != RUNBOOK_HEADINGS:
            problems.append(f"{page}: expected its name and {', '.join(RUNBOOK_HEADINGS)}")
    return sorted(problems)


def test_every_setting_is_in_the_reference(repository: Repository) -> None:
    page = repository.text("docs/reference/settings.md")
    expect_none(unmatched(page, setting_names(), r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b|\bPORT\b"))


def test_every_metric_is_in_the_reference(repository: Repository) -> None:
    page = repository.text("docs/reference/metrics.md")
    expect_none(unmatched(page, metric_names(), OURS.pattern))


def test_every_topic_is_in_the_reference(repository: Repository) -> None:
    page = repository.text("docs/reference/topics.md")
    declared = yaml.safe_load(repository.text("streams/kafka/topics.yaml"))
    names = {topic["name"] for topic in declared["topics"]}
    assert [name for name in names if f"`{name}`" not in page] == []


def test_every_error_is_in_the_reference(repository: Repository) -> None:
    page = repository.text("docs/reference/errors.md")
    pattern = re.compile(r"^class (\w+(?:Error|Input))\(", re.MULTILINE)
    names = [
        name
        for source in ("streams/errors.py", "schemas/errors.py")
        for name in pattern.findall(repository.text(source))
    ]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_the_command_reference_is_what_the_commands_say() -> None:
    from projections.cli.main import main

    is_rendered = CLI_PAGE.read_text(encoding="utf-8") == render_commands(main)
    assert is_rendered, "run: make docs"


def test_the_schema_reference_is_what_the_schemas_say() -> None:
    is_rendered = SCHEMAS_PAGE.read_text(encoding="utf-8") == render_schemas(schema_texts())
    assert is_rendered, "run: make docs"


def test_every_page_has_a_runbook_of_four_headings(repository: Repository) -> None:
    expect_none(runbook_problems(repository))


def test_rules_ask_only_for_metrics_that_exist(repository: Repository) -> None:
    found = {m for expr in rules(repository.text(RULES)).values() for m in OURS.findall(expr)}
    known = metric_names()
    assert {m for m in found if m not in known and SAMPLE_SUFFIX.sub("", m) not in known} == set()


def test_a_name_too_few_or_too_many_on_a_page_is_seen() -> None:
    page = "| `A_ONE` | text |\n| `A_TWO` | text |\n"
    assert unmatched(page, ["A_ONE", "A_THREE"], r"[A-Z_]{3,}") == [
        "A_THREE is not documented",
        "A_TWO is documented but is not there",
    ]


def test_an_alert_without_runbook_and_a_runbook_without_alert_are_seen(tmp_path: Path) -> None:
    rule = "groups: [{name: g, rules: [{alert: A, expr: x}, {alert: B, expr: x}]}]"
    page = "\n".join(f"## {heading}" for heading in RUNBOOK_HEADINGS)
    files = {
        RULES: rule,
        "docs/runbooks/B.md": f"# B\n{page}",
        "docs/runbooks/C.md": "# C\n## Meaning",
    }
    assert runbook_problems(Repository.planted(tmp_path, files)) == [
        "A has no runbook",
        "C is the runbook of no alert",
        "C: expected its name and Meaning, Impact, Diagnosis, Mitigation",
    ]


@pytest.mark.parametrize("name", ["one", "two"])
def test_the_command_reference_shows_each_command_and_option(name: str) -> None:
    @click.group()
    def main() -> None: ...

    @main.command(name)
    @click.option("--often", is_flag=True, help="More than once.")
    def command(often: bool) -> None:
        """Do it.

        Example:
            attestream one --often
        """

    page = render_commands(main)
    assert f"## attestream {name}\n" in page
    assert "| `--often` | More than once. |" in page
    assert "```sh\nattestream one --often\n```" in page
