"""The policy documents, judged by the rules of AWS: who may do what to the archive.

Each request says who asks for what, and what AWS would know of it. `administrator` is somebody in
the account whose own policy allows everything; `deployer` is one more such.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from tests.support.iam_decisions import Request, decide, matching
from tests.support.terraform import documents, example, render

BUCKET = "my-audit-archive"
VALUES = example(BUCKET)
REPLICA = f"{BUCKET}-replica"
EVERYTHING = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
OWN: dict[str, Any] = {
    "writer": render("writer", VALUES),
    "auditor": render("auditor", VALUES),
    "audit-admin": render("audit-admin", VALUES),
    "replication": render("replication", VALUES),
    "deployer": EVERYTHING,
    "administrator": EVERYTHING,
}
BUCKETS = {
    BUCKET: render("archive-bucket", VALUES),
    REPLICA: render("replica-bucket", VALUES),
}
ARNS = {
    "deployer": VALUES["deployer_arn"],
    "administrator": "arn:aws:iam::111122223333:role/administrator",
    **{who: VALUES[f"{who.replace('-', '_')}_arn"] for who in list(OWN)[:4]},
}
LOCK = {"s3:object-lock-mode": "COMPLIANCE", "s3:object-lock-remaining-retention-days": "365"}
NEW = {"s3:if-none-match": "*"}
KEY = "s3:x-amz-server-side-encryption-aws-kms-key-id"
HOLD, RELEASE = {"s3:object-lock-legal-hold": "ON"}, {"s3:object-lock-legal-hold": "OFF"}
SEGMENT = "log/archive/v1/audit.example.com/authz.decisions/0/segments/00000000000000000000.avro"
CLAIM = "log/anchors/v1/audit.example.com/authz.decisions/0/claim"
TILE = "log/tiles/v1/audit.example.com/authz.decisions/0/checkpoint"
CANARY = "log/canary/v1/0123456789abcdef/stored"
CLEAR = {"aws:SecureTransport": "false"}


class Case(NamedTuple):
    """`key` empty: the bucket itself. `allowed` by AWS, or not."""

    who: str
    action: str
    key: str
    allowed: bool
    context: Mapping[str, str] = {}
    bucket: str = BUCKET


def locked(**changes: str | None) -> dict[str, str]:
    """A PutObject as the archive sends it; None leaves a key out."""
    given = {**NEW, **LOCK, KEY: VALUES["archive_key_arn"]}
    names = {"mode": "s3:object-lock-mode", "days": "s3:object-lock-remaining-retention-days"}
    names |= {"only_new": "s3:if-none-match", "kms": KEY}
    for change, value in changes.items():
        given.pop(names[change])
        if value is not None:
            given[names[change]] = value
    return given


WRITES = [
    Case("writer", "s3:PutObject", SEGMENT, allowed=True, context=locked()),
    Case("writer", "s3:PutObject", CLAIM, allowed=True, context=locked()),
    Case("writer", "s3:PutObjectRetention", SEGMENT, allowed=True, context=LOCK),
    # Days that remain are counted a moment later, maybe downwards.
    Case("writer", "s3:PutObject", SEGMENT, allowed=True, context=locked(days="364")),
    Case("writer", "s3:PutObject", SEGMENT, allowed=True, context=locked(days="3660")),
    Case("writer", "s3:PutObject", SEGMENT, allowed=True, context=locked(kms=None)),
    Case("writer", "s3:PutObject", SEGMENT, allowed=False, context=locked(only_new=None)),
    Case("writer", "s3:PutObject", SEGMENT, allowed=False, context=locked(mode=None, days=None)),
    Case("writer", "s3:PutObject", SEGMENT, allowed=False, context=locked(mode="GOVERNANCE")),
    Case("writer", "s3:PutObject", SEGMENT, allowed=False, context=locked(days="363")),
    Case("writer", "s3:PutObject", SEGMENT, allowed=False, context=locked(days="3661")),
    Case("writer", "s3:PutObject", SEGMENT, allowed=False, context=locked(kms="other")),
    Case("writer", "s3:PutObject", SEGMENT, allowed=False, context={**locked(), **CLEAR}),
    Case("writer", "s3:PutObject", "log/elsewhere", allowed=False, context=locked()),
    Case("writer", "s3:PutObject", "archive/v1/x", allowed=False, context=locked()),
    Case("writer", "s3:PutObject", SEGMENT, allowed=False, context=locked(), bucket=REPLICA),
    Case("writer", "s3:PutObject", TILE, allowed=True, context=NEW),
    Case("writer", "s3:PutObject", TILE, allowed=True, context={"s3:if-match": '"e"'}),
    Case("writer", "s3:PutObject", TILE, allowed=False),
    Case("writer", "s3:PutObject", CANARY, allowed=True),
    Case("writer", "s3:PutObject", CANARY, allowed=True, context=locked(days="0")),
    Case("writer", "s3:PutObject", CANARY, allowed=False, context=locked(days="3661")),
    Case("administrator", "s3:PutObject", SEGMENT, allowed=False, context=locked()),
    Case("administrator", "s3:PutObjectRetention", SEGMENT, allowed=False, context=LOCK),
    Case("deployer", "s3:PutObject", SEGMENT, allowed=False, context=locked()),
    Case("auditor", "s3:PutObject", SEGMENT, allowed=False, context=locked()),
    Case("audit-admin", "s3:PutObject", SEGMENT, allowed=False, context=locked()),
]
DELETES = [
    Case(who, action, key, allowed=False, bucket=bucket)
    for who in OWN
    for action in ("s3:DeleteObject", "s3:DeleteObjectVersion")
    for key in (SEGMENT, CLAIM, TILE)
    for bucket in BUCKETS
]
CANARIES = [
    Case("writer", "s3:DeleteObjectVersion", CANARY, allowed=False),
    # Who may do everything else may try the locks themselves, on what is worth nothing.
    Case("administrator", "s3:DeleteObjectVersion", CANARY, allowed=True),
    Case("administrator", "s3:BypassGovernanceRetention", CANARY, allowed=False),
    Case("writer", "s3:AbortMultipartUpload", CANARY, allowed=True),
    Case("writer", "s3:AbortMultipartUpload", SEGMENT, allowed=False),
    Case("writer", "s3:PutObjectLegalHold", CANARY, allowed=True, context=RELEASE),
]
HOLDS = [
    Case("writer", "s3:PutObjectLegalHold", SEGMENT, allowed=True, context=HOLD),
    Case("writer", "s3:PutObjectLegalHold", SEGMENT, allowed=False, context=RELEASE),
    Case("administrator", "s3:PutObjectLegalHold", SEGMENT, allowed=False, context=RELEASE),
    Case("deployer", "s3:PutObjectLegalHold", SEGMENT, allowed=False, context=RELEASE),
    Case("auditor", "s3:PutObjectLegalHold", SEGMENT, allowed=False, context=HOLD),
    *(
        Case("audit-admin", "s3:PutObjectLegalHold", SEGMENT, True, context, bucket)
        for context in (HOLD, RELEASE)
        for bucket in BUCKETS
    ),
    Case("administrator", "s3:PutObjectLegalHold", SEGMENT, False, RELEASE, REPLICA),
]
CONFIGURES = [
    Case(who, action, "", allowed=who == "deployer", bucket=bucket)
    for who in OWN
    for bucket in BUCKETS
    for action in (
        "s3:PutBucketObjectLockConfiguration",
        "s3:PutBucketVersioning",
        "s3:PutLifecycleConfiguration",
        "s3:PutBucketPolicy",
        "s3:DeleteBucketPolicy",
        "s3:PutReplicationConfiguration",
        "s3:PutEncryptionConfiguration",
    )
]
UNLOCKS = [
    Case(who, "s3:BypassGovernanceRetention", SEGMENT, allowed=False, bucket=bucket)
    for who in OWN
    for bucket in BUCKETS
] + [Case(who, "s3:DeleteBucket", "", allowed=False, bucket=b) for who in OWN for b in BUCKETS]
READS = [
    Case(who, action, SEGMENT, allowed=True, bucket=bucket)
    for who, bucket in (("writer", BUCKET), ("auditor", BUCKET), ("auditor", REPLICA))
    for action in ("s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectRetention")
] + [
    Case("auditor", "s3:GetObjectVersion", SEGMENT, allowed=False, context=CLEAR),
    Case("auditor", "s3:ListBucketVersions", "", allowed=True),
    Case("auditor", "s3:ListBucketVersions", "", allowed=True, bucket=REPLICA),
    Case("writer", "s3:ListBucketVersions", "", allowed=True),
    # Without it an object that is not there is answered 403, and read as a right that is missing.
    Case("writer", "s3:ListBucket", "", allowed=True),
    Case("writer", "s3:GetObjectVersion", SEGMENT, allowed=False, bucket=REPLICA),
]
REPLICATES = [
    Case("replication", "s3:GetObjectVersionForReplication", SEGMENT, allowed=True),
    Case("replication", "s3:GetObjectRetention", SEGMENT, allowed=True),
    Case("replication", "s3:GetObjectLegalHold", SEGMENT, allowed=True),
    Case("replication", "s3:ReplicateObject", SEGMENT, allowed=True, bucket=REPLICA),
    Case("replication", "s3:ReplicateDelete", SEGMENT, allowed=False, bucket=REPLICA),
    Case("replication", "s3:PutObject", SEGMENT, allowed=False, context=LOCK, bucket=REPLICA),
    Case("administrator", "s3:ReplicateObject", SEGMENT, allowed=False, bucket=REPLICA),
    Case("administrator", "s3:PutObject", SEGMENT, allowed=False, context=LOCK, bucket=REPLICA),
]


def name_of(case: Case) -> str:
    return f"{case.who}-{case.action.removeprefix('s3:')}-{case.key.split('/')[1:2]}"


@pytest.mark.parametrize(
    "case",
    [
        *(WRITES + DELETES + CANARIES + HOLDS),
        *(CONFIGURES + UNLOCKS + READS + REPLICATES),
    ],
    ids=name_of,
)
def test_who_may_do_what(case: Case) -> None:
    resource = f"arn:aws:s3:::{case.bucket}" + (f"/{case.key}" if case.key else "")
    request = Request(
        principal=ARNS[case.who], action=case.action, resource=resource, context=case.context
    )
    assert decide(request, [OWN[case.who]], BUCKETS[case.bucket]) is case.allowed


S3 = {"kms:ViaService": "s3.eu-central-1.amazonaws.com"}
THERE = {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}
ED25519 = {"kms:SigningAlgorithm": "ED25519_SHA_512", "kms:MessageType": "RAW"}
PREHASHED = {"kms:SigningAlgorithm": "ED25519_PH_SHA_512", "kms:MessageType": "DIGEST"}
OURS = {"kms:CallerAccount": "111122223333"}


@pytest.mark.parametrize(
    ("who", "key", "action", "context", "allowed"),
    [
        ("writer", "signing", "kms:Sign", ED25519, True),
        ("writer", "signing", "kms:Sign", PREHASHED, False),
        ("writer", "signing", "kms:GetPublicKey", {}, True),
        ("auditor", "signing", "kms:GetPublicKey", {}, True),
        ("auditor", "signing", "kms:Sign", ED25519, False),
        ("administrator", "signing", "kms:Sign", ED25519, False),
        ("deployer", "signing", "kms:Sign", ED25519, False),
        ("writer", "archive", "kms:GenerateDataKey", S3, True),
        ("writer", "archive", "kms:Decrypt", S3, True),
        ("writer", "archive", "kms:Decrypt", {}, False),
        ("auditor", "archive", "kms:Decrypt", S3, True),
        ("auditor", "archive", "kms:GenerateDataKey", S3, False),
        ("auditor", "replica", "kms:Decrypt", THERE, True),
        ("writer", "replica", "kms:Decrypt", THERE, False),
        ("replication", "archive", "kms:Decrypt", S3, True),
        ("replication", "replica", "kms:Encrypt", THERE, True),
        ("administrator", "archive", "kms:ScheduleKeyDeletion", OURS, False),
        ("deployer", "archive", "kms:ScheduleKeyDeletion", OURS, False),
        ("deployer", "replica", "kms:DisableKey", OURS, False),
    ],
)
def test_who_may_use_which_key(
    who: str, key: str, action: str, context: Mapping[str, str], *, allowed: bool
) -> None:
    policy = render(f"{key}-key", VALUES)
    # Of a key's own policy: one in the account whose policy allows everything gets nothing by it.
    statements = [s for s in policy["Statement"] if s["Effect"] == "Allow"]
    granted = {"Statement": statements}
    request = Request(
        principal=ARNS[who],
        action=action,
        resource=VALUES[f"{key}_key_arn"],
        context=context,
    )
    has_grant = bool(matching(request, granted))
    own = [OWN[who]] if has_grant else []
    assert (decide(request, own, policy) and has_grant) is allowed


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    for document in documents():
        for statement in render(document, VALUES)["Statement"]:
            yield document, statement


def listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def test_every_statement_has_a_name_of_its_own_and_one_version() -> None:
    for document in documents():
        rendered = render(document, VALUES)
        assert rendered["Version"] == "2012-10-17"
        names = [statement["Sid"] for statement in rendered["Statement"]]
        assert len(set(names)) == len(names)
        assert all(name.isalnum() for name in names)


def test_nothing_is_allowed_by_wildcard() -> None:
    for document, statement in statements():
        if statement["Effect"] == "Allow":
            assert not [a for a in listed(statement["Action"]) if "*" in a], document
            assert statement.get("Principal", "none") != "*", document
            assert "NotResource" not in statement, document
            resources = listed(statement.get("Resource", []))
            # In a key's policy it is the key.
            assert "*" not in resources or document.endswith("-key"), document


def test_nobody_is_given_what_destroys() -> None:
    destroying = ("Delete", "Bypass", "ScheduleKey", "DisableKey", "Lifecycle", "PutBucket")
    for document, statement in statements():
        if statement["Effect"] == "Allow":
            found = {
                action
                for action in listed(statement["Action"])
                if any(word in action for word in destroying) and ":Get" not in action
            }
            # The root user may stop a signing key that was stolen.
            assert found <= ({"kms:DisableKey"} if document == "signing-key" else set()), document


READING = {
    *("s3:GetObject", "s3:GetObjectLegalHold", "s3:GetObjectRetention", "s3:GetObjectVersion"),
    *("s3:ListBucket", "s3:ListBucketVersions", "kms:Decrypt"),
}
LOOKING = {
    *("s3:GetBucketObjectLockConfiguration", "s3:GetBucketVersioning"),
    "s3:GetLifecycleConfiguration",
}
GIVEN = {
    "writer": READING
    | LOOKING
    | {
        *("s3:PutObject", "s3:PutObjectRetention", "s3:PutObjectLegalHold"),
        *("s3:AbortMultipartUpload", "kms:GenerateDataKey", "kms:Sign", "kms:GetPublicKey"),
    },
    "auditor": READING
    | LOOKING
    | {
        *("s3:GetBucketPolicy", "s3:GetEncryptionConfiguration"),
        *("s3:GetReplicationConfiguration", "kms:DescribeKey", "kms:GetPublicKey"),
    },
    "audit-admin": (READING | {"s3:PutObjectLegalHold"}) - {"s3:GetObject"},
    "replication": {
        *("s3:GetReplicationConfiguration", "s3:ListBucket", "s3:GetObjectVersionForReplication"),
        *("s3:GetObjectVersionAcl", "s3:GetObjectVersionTagging", "s3:GetObjectRetention"),
        *("s3:GetObjectLegalHold", "s3:ReplicateObject", "s3:ReplicateTags"),
        *("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"),
    },
}


@pytest.mark.parametrize("role", GIVEN)
def test_a_role_is_given_what_it_needs_and_no_more_though_a_bucket_would_deny_it(
    role: str,
) -> None:
    given = {
        action
        for statement in OWN[role]["Statement"]
        if statement["Effect"] == "Allow"
        for action in listed(statement["Action"])
    }
    assert given == GIVEN[role]


def test_a_statement_for_everybody_denies() -> None:
    for _, statement in statements():
        if statement.get("Principal") == "*":
            assert statement["Effect"] == "Deny"


@pytest.mark.parametrize("document", ["archive-bucket", "replica-bucket"])
def test_a_bucket_policy_only_denies_and_only_speaks_of_its_bucket(document: str) -> None:
    arn = VALUES["archive_arn" if document == "archive-bucket" else "replica_arn"]
    for statement in render(document, VALUES)["Statement"]:
        assert statement["Effect"] == "Deny"
        covered = [
            *listed(statement.get("Resource", [])),
            *listed(statement.get("NotResource", [])),
        ]
        assert all(resource == arn or resource.startswith(f"{arn}/") for resource in covered)


def test_documents_are_within_the_limits_of_aws() -> None:
    for document in documents():
        size = len("".join(str(render(document, VALUES)).split()))
        assert size < (20_000 if document.endswith("bucket") else 10_000)
        assert size < 2048 or not document.startswith("trust")


def test_the_audit_admin_comes_with_mfa() -> None:
    (statement,) = render("trust-with-mfa", VALUES)["Statement"]
    assert statement["Condition"]["Bool"] == {"aws:MultiFactorAuthPresent": "true"}
    assert "NumericLessThan" in statement["Condition"]
