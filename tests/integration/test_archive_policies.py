"""The policies Terraform deploys, on a server that obeys them: each role does its work, no more.

SeaweedFS, over TLS, with users for roles. What it cannot decide is in `policed_s3.LEFT_OUT` and
`KEYS`, and tried here, so that the list stays true; AWS's own decisions on all of it are in
tests/unit/infra/test_policy_documents.py.
"""

import json
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from streams.clock import SystemClock
from streams.errors import ObjectExistsError, SettingsError
from streams.objects.locations import open_probed
from streams.objects.probe import Memory, everything
from streams.objects.probe_verdicts import Report
from streams.objects.s3 import Patience, S3ObjectStore
from streams.objects.s3_bucket import S3Bucket
from tests.support.iam_actions import actions_of
from tests.support.local_s3 import NoS3Error
from tests.support.policed_s3 import LEFT_OUT, PolicedS3, repeat_conditions, translated
from tests.support.terraform import MODULE, Module, render

BUCKET = "my-audit-archive"
REPLICA = f"{BUCKET}-replica"
DENIED = (403, "AccessDenied")
SEGMENT = "archive/v1/audit.example.com/authz.decisions/0/segments/00000000000000000000.avro"
CHECKPOINT = "tiles/v1/audit.example.com/authz.decisions/0/checkpoint"
PATIENCE = Patience(attempts=3, first_delay_s=0.05, read_timeout_s=20)
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def s3() -> Iterator[PolicedS3]:
    """Two buckets with their policies, put there by the deployer."""
    folder = Path(tempfile.mkdtemp(prefix="attestream-policies-"))
    try:
        with pytest.MonkeyPatch.context() as patched, PolicedS3(folder, BUCKET) as server:
            patched.setenv("AWS_CA_BUNDLE", str(server.authority.certificate))
            for name, document in ((BUCKET, "archive-bucket"), (REPLICA, "replica-bucket")):
                deployer = server.client("deployer")
                deployer.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
                set_policy(server, name, translated(render(document, server.values)))
            deployer = server.client("deployer")
            deployer.put_bucket_lifecycle_configuration(
                Bucket=BUCKET, LifecycleConfiguration={"Rules": lifecycle_rules()}
            )
            yield server
    except NoS3Error as error:
        pytest.exit(str(error), returncode=3)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lifecycle_rules() -> Any:
    """The module's own rules, as the client takes them."""
    rules = []
    for rule in Module(MODULE).resources["aws_s3_bucket_lifecycle_configuration.archive"]["rule"]:
        prefix = rule["filter"][0].get("prefix", "").replace("${var.prefix}", "log")
        given: dict[str, Any] = {"ID": rule["id"], "Status": rule["status"]}
        given["Filter"] = {"Prefix": prefix}
        for name, block in RULE_BLOCKS.items():
            if name in rule:
                arguments = {block[argument]: value for argument, value in rule[name][0].items()}
                given[block[""]] = arguments
        rules.append(given)
    return rules


RULE_BLOCKS = {
    "expiration": {
        "": "Expiration",
        "days": "Days",
        "expired_object_delete_marker": "ExpiredObjectDeleteMarker",
    },
    "noncurrent_version_expiration": {
        "": "NoncurrentVersionExpiration",
        "noncurrent_days": "NoncurrentDays",
    },
    "abort_incomplete_multipart_upload": {
        "": "AbortIncompleteMultipartUpload",
        "days_after_initiation": "DaysAfterInitiation",
    },
}


def set_policy(server: PolicedS3, bucket: str, document: dict[str, Any]) -> None:
    server.client("deployer").put_bucket_policy(Bucket=bucket, Policy=json.dumps(document))


def store_of(server: PolicedS3, who: str) -> S3ObjectStore:
    store = S3ObjectStore(server.connection(who), BUCKET, "log", PATIENCE)
    repeat_conditions(store._client)
    return store


def answer_of(call: Callable[..., Any], **parameters: Any) -> tuple[int, str]:
    try:
        answer = call(**{"Bucket": BUCKET, **parameters})
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return status, error.response.get("Error", {}).get("Code", "")
    for failed in answer.get("Errors", ()):
        return 403, failed["Code"]
    return answer["ResponseMetadata"]["HTTPStatusCode"], ""


def lock(days: float = 365, mode: str = "COMPLIANCE") -> dict[str, Any]:
    until = datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC) + timedelta(days=days)
    return {"ObjectLockMode": mode, "ObjectLockRetainUntilDate": until}


@pytest.fixture(scope="module")
def stored(s3: PolicedS3) -> dict[str, Any]:
    """One version in the archive, by the writer."""
    key = f"log/{SEGMENT}.standing"
    answer = s3.client("writer").put_object(
        Bucket=BUCKET, Key=key, Body=b"standing", IfNoneMatch="*", **lock()
    )
    return {"Key": key, "VersionId": answer["VersionId"]}


@pytest.fixture(scope="module")
def unlocked(s3: PolicedS3) -> dict[str, Any]:
    """One version of a tile: what keeps it is the policy alone."""
    key = "log/tiles/v1/audit.example.com/authz.decisions/0/tile/0/000"
    answer = s3.client("writer").put_object(Bucket=BUCKET, Key=key, Body=b"", IfNoneMatch="*")
    return {"Key": key, "VersionId": answer["VersionId"]}


async def test_the_writer_creates_reads_back_and_publishes(s3: PolicedS3) -> None:
    writer = store_of(s3, "writer")
    await writer.check_bucket()
    version = await writer.create(SEGMENT, b"records", retain_days=365)
    with pytest.raises(ObjectExistsError):
        await writer.create(SEGMENT, b"others", retain_days=365)
    assert await writer.get(SEGMENT) == b"records"
    info = await writer.head(SEGMENT, version)
    assert info is not None
    assert info.lock_mode == "COMPLIANCE"
    assert [v.version_id for v in await writer.versions("archive/")][:1] == [version]
    assert await writer.newest(CHECKPOINT) is None
    tag = await writer.replace(CHECKPOINT, b"a checkpoint")
    await writer.replace(CHECKPOINT, b"a larger one", over=tag)
    with pytest.raises(SettingsError, match="access is denied"):
        await writer.create("elsewhere", b"records", retain_days=365)
    await writer.close()


async def test_the_auditor_reads_and_writes_nothing(s3: PolicedS3, stored: dict[str, Any]) -> None:
    auditor = store_of(s3, "auditor")
    await auditor.check_bucket()
    key = stored["Key"].removeprefix("log/")
    assert await auditor.get(key) == b"standing"
    assert await auditor.head(key, stored["VersionId"])
    assert await auditor.versions("archive/")
    for attempt in (auditor.create("archive/v1/x", b"", retain_days=365),):
        with pytest.raises(SettingsError, match="access is denied"):
            await attempt
    with pytest.raises(SettingsError, match="access is denied"):
        await auditor.replace(CHECKPOINT, b"forged", over='"whatever"')
    await auditor.close()


PUT, RETAIN, WEAK = "put_object", "put_object_retention", "GOVERNANCE"
NEW: dict[str, Any] = {"Key": f"log/{SEGMENT}.new", "Body": b"x", "IfNoneMatch": "*"}
SHORT = {"Mode": "COMPLIANCE", "RetainUntilDate": datetime(2030, 1, 1, tzinfo=UTC)}
RULES = {
    "Rules": [
        {"ID": "x", "Status": "Enabled", "Filter": {"Prefix": "log/"}, "Expiration": {"Days": 1}}
    ]
}
OPEN = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": "*",
                "Action": "s3:DeleteObjectVersion",
                "Resource": f"arn:aws:s3:::{BUCKET}/*",
            }
        ],
    }
)
EVERYBODY = ("writer", "auditor", "audit-admin", "deployer", "administrator")
NOT_DEPLOYER = tuple(who for who in EVERYBODY if who != "deployer")
NOT_WRITER = tuple(who for who in EVERYBODY if who != "writer")
# Attack, who tries it, the call. `standing`: of the version that is there (True), or of its key.
REFUSED: dict[str, tuple[tuple[str, ...], str, dict[str, Any]]] = {
    "a version is deleted": (EVERYBODY, "delete_object", {"standing": True}),
    "a lock is bypassed": (
        EVERYBODY,
        "delete_object",
        {"standing": True, "BypassGovernanceRetention": True},
    ),
    "a delete marker is laid": (EVERYBODY, "delete_object", {"standing": False}),
    "a batch is deleted": (EVERYBODY, "delete_objects", {}),
    "an object is written unconditionally": (
        EVERYBODY,
        PUT,
        {**NEW, **lock(), "IfNoneMatch": None},
    ),
    "an object is written without a lock": (EVERYBODY, PUT, NEW),
    "an object is locked in governance mode": (EVERYBODY, PUT, {**NEW, **lock(mode=WEAK)}),
    "a tile is replaced unconditionally": (
        EVERYBODY,
        PUT,
        {"Key": f"log/{CHECKPOINT}", "Body": b""},
    ),
    "a newer version is laid over": (
        EVERYBODY,
        PUT,
        {**lock(), "standing": False, "Body": b"forged"},
    ),
    "somebody else writes": (NOT_WRITER, PUT, {**NEW, **lock()}),
    "an object is put elsewhere": (EVERYBODY, PUT, {**NEW, **lock(), "Key": "elsewhere"}),
    "another key encrypts": (EVERYBODY, PUT, {**NEW, **lock(), "SSEKMSKeyId": "other"}),
    "a lock is shortened": (EVERYBODY, RETAIN, {"standing": True, "Retention": SHORT}),
    "a lock is weakened": (
        EVERYBODY,
        RETAIN,
        {"standing": True, "Retention": {**SHORT, "Mode": WEAK}},
    ),
    "a hold is released": (
        ("writer", "auditor"),
        "put_object_legal_hold",
        {"standing": True, "LegalHold": {"Status": "OFF"}},
    ),
    "objects are made to expire": (
        NOT_DEPLOYER,
        "put_bucket_lifecycle_configuration",
        {"LifecycleConfiguration": RULES},
    ),
    "the default lock is removed": (
        NOT_DEPLOYER,
        "put_object_lock_configuration",
        {"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled"}},
    ),
    "versioning is suspended": (
        NOT_DEPLOYER,
        "put_bucket_versioning",
        {"VersioningConfiguration": {"Status": "Suspended"}},
    ),
    "the policy is replaced": (NOT_DEPLOYER, "put_bucket_policy", {"Policy": OPEN}),
    "the policy is removed": (NOT_DEPLOYER, "delete_bucket_policy", {}),
    "the bucket is deleted": (EVERYBODY, "delete_bucket", {}),
}


@pytest.mark.parametrize(
    ("who", "operation", "parameters"),
    [
        pytest.param(who, operation, parameters, id=f"{attack}, by the {who}")
        for attack, (everyone, operation, parameters) in REFUSED.items()
        for who in everyone
    ],
)
def test_refused(
    s3: PolicedS3, stored: dict[str, Any], who: str, operation: str, parameters: dict[str, Any]
) -> None:
    given = {name: value for name, value in parameters.items() if value is not None}
    standing = given.pop("standing", None)
    if standing is not None:
        given |= stored if standing else {"Key": stored["Key"]}
    if operation == "delete_objects":
        given["Delete"] = {"Objects": [stored, {"Key": stored["Key"]}]}
    if "SSEKMSKeyId" in given:
        given["ServerSideEncryption"] = "aws:kms"
    before = state_of(s3)
    assert answer_of(getattr(s3.client(who), operation), **given) == DENIED
    assert state_of(s3) == before


@pytest.mark.parametrize("who", EVERYBODY)
def test_nobody_deletes_what_no_lock_keeps(
    s3: PolicedS3, unlocked: dict[str, Any], who: str
) -> None:
    client = s3.client(who)
    assert answer_of(client.delete_object, **unlocked) == DENIED
    assert answer_of(client.delete_objects, Delete={"Objects": [unlocked]}) == DENIED
    head = s3.client("auditor").head_object
    assert answer_of(head, **unlocked) == (200, "")


def state_of(s3: PolicedS3) -> tuple[Any, ...]:
    """What an attack would change: every version and its lock, and the bucket's own settings."""
    admin = s3.client("administrator")
    auditor = s3.client("auditor")
    page = auditor.list_object_versions(Bucket=BUCKET, Prefix="log/archive/")
    versions = [
        (
            v["Key"],
            v["VersionId"],
            head.get("ObjectLockMode"),
            head.get("ObjectLockRetainUntilDate"),
        )
        for v in page.get("Versions", ())
        for head in [auditor.head_object(Bucket=BUCKET, Key=v["Key"], VersionId=v["VersionId"])]
    ]
    return (
        versions,
        page.get("DeleteMarkers"),
        auditor.get_bucket_versioning(Bucket=BUCKET).get("Status"),
        auditor.get_object_lock_configuration(Bucket=BUCKET)["ObjectLockConfiguration"],
        auditor.get_bucket_policy(Bucket=BUCKET)["Policy"],
        answer_of(auditor.get_bucket_lifecycle_configuration),
        admin.list_object_versions(Bucket=BUCKET, Prefix="elsewhere").get("Versions"),
    )


def test_the_deployer_configures_but_neither_writes_nor_deletes(s3: PolicedS3) -> None:
    deployer = s3.client("deployer")
    enabled = {"Status": "Enabled"}
    assert answer_of(deployer.put_bucket_versioning, VersioningConfiguration=enabled)[0] == 200
    set_policy(s3, BUCKET, translated(render("archive-bucket", s3.values)))


def test_the_audit_admin_puts_and_releases_a_hold(s3: PolicedS3, stored: dict[str, Any]) -> None:
    admin = s3.client("audit-admin")
    for status in ("ON", "OFF"):
        hold = {"Status": status}
        assert answer_of(admin.put_object_legal_hold, **stored, LegalHold=hold) == (200, "")
        found = s3.client("auditor").get_object_legal_hold(Bucket=BUCKET, **stored)
        assert found["LegalHold"] == hold


@pytest.mark.parametrize("who", EVERYBODY)
def test_nothing_is_answered_in_the_clear(s3: PolicedS3, who: str) -> None:
    over_tls, clear = s3.client(who), s3.client(who, tls=False)
    assert answer_of(over_tls.list_object_versions) == (200, "")
    assert answer_of(clear.list_object_versions) == DENIED
    assert answer_of(clear.put_object, **NEW, **lock()) == DENIED


@pytest.mark.parametrize("who", EVERYBODY)
def test_nobody_writes_to_the_replica_or_deletes_from_it(s3: PolicedS3, who: str) -> None:
    client = s3.client(who)
    there = {"Bucket": REPLICA, "Key": "log/x"}
    assert answer_of(client.put_object, **there, Body=b"") == DENIED
    assert answer_of(client.put_object, **there, Body=b"", **lock()) == DENIED
    assert answer_of(client.delete_object, **there) == DENIED
    lifecycle = {"Bucket": REPLICA, "LifecycleConfiguration": RULES}
    refused = answer_of(client.put_bucket_lifecycle_configuration, **lifecycle) == DENIED
    assert refused == (who != "deployer")


@pytest.fixture(scope="module")
def doctor(s3: PolicedS3) -> tuple[Report, dict[str, set[str]]]:
    """All of `archive doctor` with the writer's rights, and the actions it asked for."""
    clock = SystemClock()
    bucket = open_probed(f"s3://{BUCKET}/log", s3.connection("writer"), clock)
    assert isinstance(bucket, S3Bucket)
    asked: dict[str, set[str]] = {}

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        for action in actions_of(model.name, params):
            asked.setdefault(action, set()).add(params.get("Key", ""))

    bucket._client.meta.events.register("provide-client-params.s3", note)
    report, _ = everything(bucket, clock, None, Memory(place="here", left=None))
    bucket.close()
    return report, asked


def test_a_worker_starts_with_the_writers_rights(
    doctor: tuple[Report, dict[str, set[str]]],
) -> None:
    report, _ = doctor
    assert report.refused == []
    (lifecycle,) = [f for f in report.findings if "lifecycle" in f.promise]
    assert lifecycle.found == "no rule expires what is archived"
    untried = {f.check for f in report.findings if f.verdict.name == "UNTRIED"}
    # Scratch bucket, nothing left by an earlier run, and what needs a delete.
    assert untried <= {"D5", "D7", "D8", "D10", "D13", "D18"}


def test_the_writer_has_every_right_the_doctor_uses_and_no_other(
    s3: PolicedS3, doctor: tuple[Report, dict[str, set[str]]]
) -> None:
    _, asked = doctor
    assert {key.split("/")[1] for keys in asked.values() for key in keys if key} == {"canary"}
    given = set()
    for statement in render("writer", s3.values)["Statement"]:
        actions = statement["Action"]
        given |= {actions} if isinstance(actions, str) else set(actions)
    given = {action for action in given if action.startswith("s3:")}
    # Denied on purpose: the locks are tried by who may not delete, too.
    denied = {"s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"}
    # Not calls of their own: HEAD shows a lock and a hold only with the first two, and says 404
    # instead of 403 only with the third.
    shown = {"s3:GetObjectRetention", "s3:GetObjectLegalHold", "s3:ListBucket"}
    assert asked.keys() - denied == given - shown


# --- what SeaweedFS cannot decide, so that the list stays true ---


@pytest.fixture
def scratch(s3: PolicedS3) -> str:
    name = f"scratch-{secrets.token_hex(8)}"
    s3.client("deployer").create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


def only(s3: PolicedS3, bucket: str, sid: str) -> dict[str, Any]:
    values = {**s3.values, "archive_arn": f"arn:aws:s3:::{bucket}"}
    document = render("archive-bucket", values)
    return {**document, "Statement": [s for s in document["Statement"] if s["Sid"] == sid]}


@pytest.mark.parametrize(
    ("sid", "days"), [("NotLockedForLess", 10), ("NotLockedForLonger", 90 * 365)]
)
def test_seaweedfs_does_not_know_how_long_a_lock_is(
    s3: PolicedS3, scratch: str, sid: str, days: int
) -> None:
    set_policy(s3, scratch, only(s3, scratch, sid))
    put = s3.client("administrator").put_object
    assert answer_of(put, **{**NEW, **lock(days), "Bucket": scratch}) == (200, "")
    assert sid in LEFT_OUT


def test_seaweedfs_does_not_know_what_a_hold_is_set_to(
    s3: PolicedS3, scratch: str, stored: dict[str, Any]
) -> None:
    sid = "OnlyTheAuditAdminReleasesHolds"
    set_policy(s3, scratch, only(s3, scratch, sid))
    admin = s3.client("administrator")
    where: dict[str, Any] = {"Bucket": scratch, "Key": "log/archive/v1/held"}
    where["VersionId"] = admin.put_object(**where, Body=b"", **lock())["VersionId"]
    released = {"Status": "OFF"}
    assert answer_of(admin.put_object_legal_hold, **where, LegalHold=released) == (200, "")
    held = answer_of(
        s3.client("writer").put_object_legal_hold, **stored, LegalHold={"Status": "ON"}
    )
    assert held == DENIED
    assert {sid, "Hold"} <= LEFT_OUT.keys()


@pytest.mark.parametrize(
    "sid", ["OnlyNewNames", "OnlyLockedInComplianceMode", "OnlyTheWriterWrites"]
)
def test_seaweedfs_refuses_everything_where_a_condition_key_has_another_name_there(
    s3: PolicedS3, scratch: str, sid: str
) -> None:
    set_policy(s3, scratch, only(s3, scratch, sid))
    put = s3.client("administrator").put_object
    assert answer_of(put, **{**NEW, **lock(), "Bucket": scratch}) == DENIED
    key = {**NEW, **lock(), "Bucket": scratch, "Key": "log/canary/v1/x"}
    assert answer_of(put, **key) == (200, "")
