"""The Terraform module: it parses, everything it names is there, and it says what it must.

Arguments are compared with those of the AWS provider (tests/fixtures/aws-provider.json, taken from
its schema): the provider itself cannot be had offline.
"""

import json
import re
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

from streams.settings import load_settings
from tests.support.terraform import (
    MODULE,
    POLICIES,
    Module,
    documents,
    parse,
    placeholders,
    references,
)

ROOT, DOCUMENTS = Module(MODULE), Module(POLICIES)
PROVIDER = json.loads(
    (Path(__file__).resolve().parents[2] / "fixtures" / "aws-provider.json").read_text("utf-8")
)["resources"]
ALIASES = ROOT.blocks["terraform"][0]["required_providers"][0]["aws"]["configuration_aliases"]
META = {"depends_on", "lifecycle", "provider", "for_each", "count"}
BUCKETS = ("archive", "replica")


def arguments(kind: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the arguments of a block."""
    given = dict(given)
    for dynamic in given.pop("dynamic", ()):
        for name, body in dynamic.items():
            given[name] = body["content"]
    required = {
        name
        for name, about in known.items()
        if (about["required"] if isinstance(about, dict) else about)
    }
    yield from (f"{kind}: no {name}" for name in sorted(required - given.keys()))
    for name, value in given.items():
        if name not in known:
            yield f"{kind}: {name} is not known"
        elif isinstance(known[name], dict):
            assert isinstance(value, list), f"{kind}: {name} is a block"
            for block in value:
                yield from arguments(f"{kind}.{name}", block, known[name]["block"])


@pytest.mark.parametrize("address", ROOT.resources)
def test_the_provider_knows_every_argument(address: str) -> None:
    body = {k: v for k, v in ROOT.resources[address].items() if k not in META}
    assert list(arguments(address, body, PROVIDER[address.partition(".")[0]])) == []


def test_arguments_the_provider_does_not_know_are_seen() -> None:
    known = PROVIDER["aws_s3_bucket_object_lock_configuration"]
    rule = [{"default_retention": [{"mod": "COMPLIANCE"}]}]
    assert list(arguments("lock", {"rule": rule}, known)) == [
        "lock: no bucket",
        "lock.rule.default_retention: mod is not known",
    ]


@pytest.mark.parametrize("module", [ROOT, DOCUMENTS], ids=["root", "policies"])
def test_everything_referred_to_is_there(module: Module) -> None:
    there = {
        *(f"var.{name}" for name in module.variables),
        *(f"local.{name}" for name in module.local_values),
        *(f"module.policies.{name}" for name in DOCUMENTS.outputs if module is ROOT),
        *module.resources,
        *module.data,
    }
    parts = {"var": 2, "local": 2, "module": 3, "data": 3}
    read = references(module.blocks)
    cut = {".".join(r.split(".")[: parts.get(r.split(".")[0], 2)]) for r in read}
    assert cut - there - {"aws.replica"} == set()
    assert {f"var.{name}" for name in module.variables} <= cut, "a variable nobody reads"


def test_the_policies_are_given_every_name_they_ask_for_and_no_other() -> None:
    given = ROOT.calls["policies"].keys() - {"source"}
    assert given == DOCUMENTS.variables.keys()
    used = set()
    for output in DOCUMENTS.outputs:
        template, names = DOCUMENTS.template_values(output)
        document = template.removesuffix(".json.tftpl")
        assert names == placeholders(document), output
        used.add(document)
    assert used == set(documents())


def test_nothing_waits_for_itself() -> None:
    # Roles, keys and policies name each other: each variable and output of the policies is a
    # step of its own.
    graph: dict[str, set[str]] = {}
    for address, body in {**ROOT.resources, **ROOT.data}.items():
        graph[address] = {step(name) for name in references(body)}
    for name, value in ROOT.calls["policies"].items():
        graph[f"in.{name}"] = {step(given) for given in references(value)}
    for name, body in DOCUMENTS.outputs.items():
        graph[f"out.{name}"] = set(inner(references(body)))
    order = list(TopologicalSorter(graph).static_order())
    assert order.index("aws_iam_role.writer") < order.index("aws_kms_key.archive")
    assert order.index("aws_s3_bucket_lifecycle_configuration.archive") < order.index(
        "aws_s3_bucket_policy.archive"
    )


def step(address: str) -> str:
    parts = address.split(".")
    match parts[0]:
        case "module":
            return f"out.{parts[2]}"
        case "data":
            return ".".join(parts[:3])
        case _:
            return ".".join(parts[:2])


def inner(read: set[str]) -> Iterator[str]:
    for name in read:
        kind, own = name.split(".")[:2]
        if kind == "var":
            yield f"in.{own}"
        elif kind == "local":
            yield from inner(references(DOCUMENTS.local_values[own]))


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_bucket_is_locked_versioned_encrypted_and_private(bucket: str) -> None:
    r = ROOT.resources
    assert r[f"aws_s3_bucket.{bucket}"]["object_lock_enabled"] is True
    assert "force_destroy" not in r[f"aws_s3_bucket.{bucket}"]
    assert r[f"aws_s3_bucket_versioning.{bucket}"]["versioning_configuration"] == [
        {"status": "Enabled"}
    ]
    lock = r[f"aws_s3_bucket_object_lock_configuration.{bucket}"]
    assert lock["object_lock_enabled"] == "Enabled"
    assert lock["rule"] == [
        {"default_retention": [{"mode": "COMPLIANCE", "days": "${var.retention_days}"}]}
    ]
    (rule,) = r[f"aws_s3_bucket_server_side_encryption_configuration.{bucket}"]["rule"]
    assert rule["apply_server_side_encryption_by_default"] == [
        {"sse_algorithm": "aws:kms", "kms_master_key_id": f"${{aws_kms_key.{bucket}.arn}}"}
    ]
    access = r[f"aws_s3_bucket_public_access_block.{bucket}"]
    assert {access[name] for name in PROVIDER_ACCESS} == {True}
    assert r[f"aws_s3_bucket_ownership_controls.{bucket}"]["rule"] == [
        {"object_ownership": "BucketOwnerEnforced"}
    ]
    policy = r[f"aws_s3_bucket_policy.{bucket}"]
    assert policy["policy"] == f"${{module.policies.{bucket}_bucket}}"


PROVIDER_ACCESS = (
    "block_public_acls",
    "block_public_policy",
    "ignore_public_acls",
    "restrict_public_buckets",
)


def test_what_a_bucket_needs_is_of_that_bucket_and_its_region() -> None:
    for address, body in ROOT.resources.items():
        kind, name = address.split(".")
        if kind.startswith("aws_s3_bucket_"):
            assert body["bucket"] == f"${{aws_s3_bucket.{name}.id}}"
        at_replica = body.get("provider") == "${aws.replica}"
        assert at_replica == (name == "replica"), address


def test_nothing_that_cannot_be_made_again_is_destroyed() -> None:
    kept = {
        address
        for address, body in ROOT.resources.items()
        if body.get("lifecycle") == [{"prevent_destroy": True}]
    }
    kinds = ("aws_s3_bucket.", "aws_kms_key.")
    assert kept == {address for address in ROOT.resources if address.startswith(kinds)}


def test_the_bucket_policy_comes_after_what_it_forbids_to_change() -> None:
    for bucket in BUCKETS:
        waited = references(ROOT.resources[f"aws_s3_bucket_policy.{bucket}"]["depends_on"])
        configured = {
            address
            for address in ROOT.resources
            if re.fullmatch(rf"aws_s3_bucket_(?!policy|versioning)\w+\.{bucket}", address)
        }
        assert waited == configured


def test_only_canaries_ever_expire() -> None:
    rules = ROOT.resources["aws_s3_bucket_lifecycle_configuration.archive"]["rule"]
    expiring = {
        rule["id"]: rule["filter"]
        for rule in rules
        if "expiration" in rule or "noncurrent_version_expiration" in rule
    }
    canaries = [{"prefix": "${var.prefix}/canary/"}]
    assert expiring == {"canaries": canaries, "markers-of-canaries": canaries}
    (rest,) = [rule for rule in rules if rule["id"] not in expiring]
    assert rest.keys() == {"id", "status", "filter", "abort_incomplete_multipart_upload"}


def test_the_archive_is_replicated_with_its_own_key_and_without_delete_markers() -> None:
    replication = ROOT.resources["aws_s3_bucket_replication_configuration.archive"]
    assert replication["role"] == "${aws_iam_role.replication.arn}"
    ((rule,),) = ([block["rule"] for block in replication["dynamic"]],)
    assert rule["for_each"] == {"archive": 1, "anchors": 2, "tiles": 3}
    (content,) = rule["content"]
    assert content["filter"] == [{"prefix": "${var.prefix}/${rule.key}/"}]
    assert content["status"] == "Enabled"
    assert content["delete_marker_replication"] == [{"status": "Disabled"}]
    assert content["source_selection_criteria"] == [
        {"sse_kms_encrypted_objects": [{"status": "Enabled"}]}
    ]
    (destination,) = content["destination"]
    assert destination["bucket"] == "${aws_s3_bucket.replica.arn}"
    assert destination["encryption_configuration"] == [
        {"replica_kms_key_id": "${aws_kms_key.replica.arn}"}
    ]


def test_the_keys_are_of_the_kinds_the_signer_and_the_bucket_take() -> None:
    keys = {a: b for a, b in ROOT.resources.items() if a.startswith("aws_kms_key.")}
    assert {address: b["policy"] for address, b in keys.items()} == {
        f"aws_kms_key.{name}": f"${{module.policies.{name}_key}}"
        for name in ("archive", "replica", "signing")
    }
    signing = keys["aws_kms_key.signing"]
    assert signing["key_usage"] == "SIGN_VERIFY"
    assert signing["customer_master_key_spec"] == "${var.signing_key_spec}"
    for name in BUCKETS:
        assert keys[f"aws_kms_key.{name}"]["enable_key_rotation"] is True


def test_who_may_be_which_role() -> None:
    r = ROOT.resources
    for role in ("writer", "auditor", "audit_admin", "replication"):
        trusted = r[f"aws_iam_role.{role}"]["assume_role_policy"]
        assert trusted == f"${{module.policies.{role}_trust}}"
        given = r[f"aws_iam_role_policy.{role}"]
        assert given["policy"] == f"${{module.policies.{role}}}"
        assert given["role"] == f"${{aws_iam_role.{role}.id}}"
    assert DOCUMENTS.template_values("audit_admin_trust")[0] == "trust-with-mfa.json.tftpl"
    assert r["aws_iam_role.audit_admin"]["max_session_duration"] == 3600


@pytest.mark.parametrize("module", [ROOT, DOCUMENTS], ids=["root", "policies"])
def test_retention_has_a_floor_of_a_year(module: Module) -> None:
    (validation,) = module.variables["retention_days"]["validation"]
    assert "var.retention_days >= 365 &&" in validation["condition"]


def test_the_default_retention_is_that_of_the_settings() -> None:
    assert ROOT.variables["retention_days"]["default"] == load_settings({}).retention_days


def test_the_settings_it_hands_out_are_settings() -> None:
    given = ROOT.outputs["settings"]["value"]
    values = {
        "${aws_s3_bucket.archive.bucket}": "my-audit-archive",
        "${var.prefix}": "log",
        "${tostring(var.retention_days)}": "365",
        "${aws_kms_key.signing.arn}": "arn:aws:kms:eu-central-1:111122223333:key/signing",
        "${aws_kms_key.archive.arn}": "arn:aws:kms:eu-central-1:111122223333:key/archive",
        "${data.aws_region.archive.region}": "eu-central-1",
    }
    environ = {
        name: re.sub(r"\$\{[^}]+\}", lambda found: values[found[0]], text)
        for name, text in given.items()
    }
    settings = load_settings(
        {**environ, "ATTESTREAM_ENV": "production", "ATTESTREAM_ORIGIN": "audit.example.com/prod"}
    )
    assert settings.archive == "s3://my-audit-archive/log"
    assert settings.signer == "kms"
    assert settings.s3_sse_kms_key_id == values["${aws_kms_key.archive.arn}"]


def test_the_page_has_every_variable_and_output_and_its_example_calls_the_module() -> None:
    page = (MODULE / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert named == {*ROOT.variables, *ROOT.outputs}
    (example,) = re.findall(r"```hcl\n(.*?)```", page, re.DOTALL)
    (call,) = parse(example)["module"]
    given = call["archive"].keys() - {"source", "providers"}
    required = {name for name, body in ROOT.variables.items() if "default" not in body}
    assert required <= given <= ROOT.variables.keys()
    passed = {str(value).strip("${}") for value in call["archive"]["providers"].values()}
    assert passed == {"aws", *(a.strip("${}") for a in ALIASES)}
