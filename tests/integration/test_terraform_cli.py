"""Terraform's own word: what it renders is what is tested, and what it refuses to deploy.

The AWS provider cannot be had offline, so the resources are judged by tests/unit/infra, and only
the policies, which need no provider, are planned.
"""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.terraform import MODULE, POLICIES, Module, example, render
from tests.support.terraform_cli import QUIET, NoTerraformError, Terraform, terraform

pytestmark = [pytest.mark.integration, pytest.mark.long]
ROOT_USER = "arn:aws:iam::444455556666:root"
EVE = "arn:aws:iam::111122223333:user/eve"
GOOD: dict[str, Any] = {
    **{
        name: value
        for name, value in example("my-audit-archive").items()
        if name in Module(POLICIES).variables
    },
    "retention_days": 365,
    "retention_days_max": 3660,
    "signing_key_spec": "ECC_NIST_EDWARDS25519",
    "writer_trust": {"services": ["ec2.amazonaws.com"]},
    "auditor_arns": [ROOT_USER],
    "audit_admin_arns": [EVE],
}


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terraform]:
    try:
        yield Terraform(POLICIES, tmp_path_factory.mktemp("terraform"))
    except NoTerraformError as error:
        pytest.exit(str(error), returncode=3)


def test_files_are_in_the_canonical_format() -> None:
    done = subprocess.run(
        [terraform(), "fmt", "-check", "-recursive", "-diff", str(MODULE)],
        env=QUIET,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_policies_are_valid(policies: Terraform) -> None:
    done = policies.run("validate", "-json")
    assert json.loads(done.stdout)["diagnostics"] == []


def test_terraform_renders_what_is_tested(policies: Terraform) -> None:
    outputs = policies.outputs(GOOD)
    trusted = {
        "writer_trust": {"Service": ["ec2.amazonaws.com"]},
        "auditor_trust": {"AWS": [ROOT_USER]},
        "audit_admin_trust": {"AWS": [EVE]},
        "replication_trust": {"Service": ["s3.amazonaws.com"]},
    }
    module = Module(POLICIES)
    assert outputs.keys() == module.outputs.keys()
    for name, text in outputs.items():
        document = module.template_values(name)[0].removesuffix(".json.tftpl")
        principals = json.dumps(trusted.get(name))
        values = example("my-audit-archive", principals=principals)
        assert json.loads(text) == render(document, values), name


def test_the_signature_asked_for_is_that_of_the_key(policies: Terraform) -> None:
    outputs = policies.outputs({**GOOD, "signing_key_spec": "ECC_NIST_P256"})
    (statement,) = [
        s for s in json.loads(outputs["signing_key"])["Statement"] if s["Sid"] == "TheWriterSigns"
    ]
    assert statement["Condition"]["StringEquals"] == {
        "kms:MessageType": "DIGEST",
        "kms:SigningAlgorithm": "ECDSA_SHA_256",
    }


def test_longer_retention_moves_the_floor(policies: Terraform) -> None:
    policy = policies.outputs({**GOOD, "retention_days": 2557})["archive_bucket"]
    assert '"s3:object-lock-remaining-retention-days": "2556"' in policy


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"retention_days": 364}, "retention_days must be a whole number from 365"),
        ({"retention_days": 365.5}, "retention_days must be a whole number"),
        ({"retention_days": 36_501}, "retention_days must be a whole number"),
        ({"retention_days_max": 364}, "retention_days_max must not be below"),
        ({"signing_key_spec": "RSA_2048"}, "signing_key_spec must be"),
        ({"deployer_arn": "*"}, "deployer_arn must be the ARN of one role"),
        ({"deployer_arn": "arn:aws:iam::111122223333:role/*"}, "deployer_arn must be"),
        ({"deployer_arn": "arn:aws:sts::111122223333:assumed-role/a/b"}, "deployer_arn must be"),
        ({"writer_trust": {}}, "writer_trust must name somebody"),
        ({"writer_trust": {"arns": ["*"]}}, "writer_trust must not have wildcards"),
        ({"auditor_arns": []}, "auditor_arns must name somebody"),
        ({"auditor_arns": ["*"]}, "auditor_arns must name somebody"),
        ({"audit_admin_arns": []}, "audit_admin_arns must name somebody"),
        ({"prefix": "/log"}, "prefix must be one or more names"),
        ({"prefix": ""}, "prefix must be one or more names"),
        ({"account_id": "12"}, "account_id must be twelve digits"),
    ],
)
def test_what_must_not_be_deployed_is_refused(
    policies: Terraform, wrong: dict[str, Any], sentence: str
) -> None:
    done = policies.plan({**GOOD, **wrong})
    assert done.returncode == 1
    assert sentence in " ".join(done.stderr.split())


def test_nothing_of_the_copy_is_left_in_the_module(policies: Terraform) -> None:
    assert policies.folder != POLICIES
    assert not list(MODULE.rglob(".terraform*"))
