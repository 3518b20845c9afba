"""The Terraform files of infra/terraform, parsed and rendered without Terraform.

The parser is python-hcl2. What it gives is freed of its quotes and of what it notes for itself, so
that a string is itself, and an expression reads as `${…}`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import hcl2

__all__ = [
    "MODULE",
    "POLICIES",
    "Module",
    "Values",
    "documents",
    "example",
    "parse",
    "placeholders",
    "references",
    "render",
]

MODULE = Path(__file__).resolve().parents[2] / "infra" / "terraform"
POLICIES = MODULE / "policies"
Values = Mapping[str, str]
PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
ADDRESS = re.compile(
    r"(?<![\w.])(?:var|local|module|data|aws_\w+)(?:\.[A-Za-z_]\w*)+(?![\w(])",
)


class Module:
    """All .tf files of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blocks: dict[str, list[Any]] = {}
        for path in sorted(folder.glob("*.tf")):
            for kind, found in parse(path.read_text(encoding="utf-8")).items():
                self.blocks.setdefault(kind, []).extend(found)

    @cached_property
    def variables(self) -> dict[str, Any]:
        """By name."""
        return self._named("variable")

    @cached_property
    def outputs(self) -> dict[str, Any]:
        """By name."""
        return self._named("output")

    @cached_property
    def calls(self) -> dict[str, Any]:
        """Calls of other modules, by name."""
        return self._named("module")

    @cached_property
    def local_values(self) -> dict[str, Any]:
        """By name."""
        return {k: v for block in self.blocks.get("locals", ()) for k, v in block.items()}

    @cached_property
    def resources(self) -> dict[str, Any]:
        """By address: `aws_s3_bucket.archive`."""
        return self._typed("resource", "")

    @cached_property
    def data(self) -> dict[str, Any]:
        """By address: `data.aws_region.archive`."""
        return self._typed("data", "data.")

    def template_values(self, output: str) -> tuple[str, set[str]]:
        """The template an output renders, and the names it gives to it."""
        text = self.outputs[output]["value"]
        found = re.fullmatch(
            r'\$\{templatefile\("\$\{path\.module\}/([\w.-]+)",\s*\{(.*)\}\)\}', text, re.DOTALL
        )
        assert found, f"{output} renders no template: {text}"
        return found[1], set(re.findall(r"(?:^|,)\s*(\w+) =", found[2]))

    def _named(self, kind: str) -> dict[str, Any]:
        return {name: body for block in self.blocks.get(kind, ()) for name, body in block.items()}

    def _typed(self, kind: str, prefix: str) -> dict[str, Any]:
        return {
            f"{prefix}{type_}.{name}": body
            for block in self.blocks.get(kind, ())
            for type_, named in block.items()
            for name, body in named.items()
        }


def parse(text: str) -> dict[str, Any]:
    """HCL as plain values."""
    plain = _plain(hcl2.loads(text))
    assert isinstance(plain, dict)
    return plain


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {
                _unquoted(name): _plain(given)
                for name, given in value.items()
                if not (name.startswith("__") and name.endswith("__"))
            }
        case list():
            return [_plain(given) for given in value]
        case str():
            return _unquoted(value)
        case _:
            return value


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def references(body: Any) -> set[str]:
    """Addresses an expression reads: `var.name`, `module.policies.writer`, `aws_kms_key.a.arn`."""
    return set(ADDRESS.findall(json.dumps(body)))


def placeholders(document: str) -> set[str]:
    """Names a policy document's template asks for."""
    return set(PLACEHOLDER.findall(_template(document).read_text(encoding="utf-8")))


def documents() -> Iterator[str]:
    """Names of all policy documents."""
    for path in sorted(POLICIES.glob("*.json.tftpl")):
        yield path.name.removesuffix(".json.tftpl")


def render(document: str, values: Values) -> dict[str, Any]:
    """A policy document as Terraform's `templatefile` renders it. Raises KeyError for a name."""
    text = _template(document).read_text(encoding="utf-8")
    rendered: dict[str, Any] = json.loads(PLACEHOLDER.sub(lambda found: values[found[1]], text))
    return rendered


def _template(document: str) -> Path:
    return POLICIES / f"{document}.json.tftpl"


def example(bucket: str, **more: str) -> dict[str, str]:
    """Values for every placeholder, for one bucket."""
    account = "arn:aws:iam::111122223333:"
    role = f"{account}role/{bucket}-"
    key = "arn:aws:kms:eu-central-1:111122223333:key/"
    return {
        "account_id": "111122223333",
        "root_arn": f"{account}root",
        "region": "eu-central-1",
        "replica_region": "eu-west-1",
        "archive_arn": f"arn:aws:s3:::{bucket}",
        "replica_arn": f"arn:aws:s3:::{bucket}-replica",
        "prefix": "log",
        "least_days": "364",
        "most_days": "3660",
        "deployer_arn": f"{account}role/deployer",
        "writer_arn": f"{role}writer",
        "auditor_arn": f"{role}auditor",
        "audit_admin_arn": f"{role}audit-admin",
        "replication_arn": f"{role}replication",
        "archive_key_arn": f"{key}archive",
        "replica_key_arn": f"{key}replica",
        "signing_key_arn": f"{key}signing",
        "message_type": "RAW",
        "signing_algorithm": "ED25519_SHA_512",
        "principals": json.dumps({"AWS": [f"{account}user/eve"]}),
        **more,
    }
