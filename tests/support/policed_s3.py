"""SeaweedFS with the roles of infra/terraform as users, over TLS and in the clear.

    with PolicedS3(folder, "my-audit-archive") as s3:
        s3.client("writer").put_object(…)

Users have the documents Terraform deploys, rendered from the same templates. SeaweedFS evaluates
them, with four differences, all named here: three condition keys have other names there, and
what `LEFT_OUT` names cannot be decided there at all.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from streams.objects import S3Connection
from tests.support.certificates import Authority
from tests.support.local_kafka import free_ports
from tests.support.local_s3 import LocalS3
from tests.support.terraform import example, render

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["LEFT_OUT", "PolicedS3", "repeat_conditions", "translated"]

# AWS's condition key -> SeaweedFS's. It has no roles, only users; and of a request's headers its
# conditions see those that begin with x-amz-: clients here repeat the others under such a name.
KEYS = {
    "aws:PrincipalArn": "aws:username",
    "s3:object-lock-mode": "s3:x-amz-object-lock-mode",
    "s3:if-none-match": "s3:x-amz-if-none-match",
    "s3:if-match": "s3:x-amz-if-match",
}
LEFT_OUT = {
    "NotLockedForLess": "a lock's length is no condition key: ten days are accepted",
    "NotLockedForLonger": "a lock's length is no condition key: ninety years are accepted",
    "OnlyTheAuditAdminReleasesHolds": "what a hold is set to is no condition key",
    "Hold": "what a hold is set to is no condition key: the writer may not hold",
}
EVERYTHING = {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::*"}
USERS = ("writer", "auditor", "audit-admin", "deployer", "administrator")


def translated(document: Mapping[str, Any]) -> dict[str, Any]:
    """A policy document in SeaweedFS's condition keys, without what it cannot decide."""
    return {
        **document,
        "Statement": [_statement(s) for s in document["Statement"] if s["Sid"] not in LEFT_OUT],
    }


def _statement(statement: Mapping[str, Any]) -> dict[str, Any]:
    conditions = {
        operator: {KEYS.get(key, key): _value(key, value) for key, value in tests.items()}
        for operator, tests in statement.get("Condition", {}).items()
    }
    return {**statement, "Condition": conditions} if conditions else dict(statement)


def _value(key: str, value: Any) -> Any:
    return value.rpartition("/")[2] if key == "aws:PrincipalArn" else value


def repeat_conditions(client: "S3Client") -> None:
    """Let a client repeat the headers of conditional writes where SeaweedFS's conditions look."""

    def repeat(request: Any, **_: Any) -> None:
        for name in ("If-None-Match", "If-Match"):
            if name in request.headers:
                request.headers[f"x-amz-{name.lower()}"] = request.headers[name]

    client.meta.events.register("before-sign.s3", repeat)


class PolicedS3(LocalS3):
    """One server whose users are the roles of one archive.

    `https` is its endpoint over TLS, `endpoint` that in the clear. `deployer` and `administrator`
    have policies of their own that allow everything.
    """

    def __init__(self, folder: Path, bucket: str) -> None:
        self.authority = Authority.create(folder / "authority")
        certificate, key = self.authority.issue("server")
        super().__init__(folder, (f"-s3.cert.file={certificate}", f"-s3.key.file={key}"))
        (port,) = free_ports(1)
        self.ports["s3.https"] = port
        self.https = f"https://127.0.0.1:{port}"
        self.bucket = bucket
        self._clients: dict[tuple[str, bool], S3Client] = {}
        self.values = example(
            bucket, deployer_arn=f"arn:aws:iam::111122223333:role/{bucket}-deployer"
        )
        documents = {
            name: translated(render(name, self.values))
            for name in ("writer", "auditor", "audit-admin")
        }
        everything = {"Version": "2012-10-17", "Statement": [EVERYTHING]}
        self._add_users({name: documents.get(name, everything) for name in USERS})

    def _add_users(self, documents: Mapping[str, Any]) -> None:
        known = json.loads(self._identities.read_text())
        for who, document in documents.items():
            connection = self.connection(who)
            keys = {"accessKey": connection.access_key, "secretKey": connection.secret}
            name = f"{self.bucket}-{who}"
            known["identities"].append(
                {"name": name, "credentials": [keys], "policyNames": [name]}
            )
            policy = {"name": name, "content": json.dumps(document)}
            known.setdefault("policies", []).append(policy)
        self._identities.write_text(json.dumps(known))

    def connection(self, who: str) -> S3Connection:
        """The settings of somebody, over TLS."""
        return S3Connection(
            endpoint=self.https, access_key=f"key-of-{who}", secret=f"secret-of-{who}-0123456789"
        )

    def client(self, who: str, *, tls: bool = True) -> "S3Client":
        """Somebody's client; it trusts the server's authority. Made once: that takes long."""
        if (who, tls) not in self._clients:
            self._clients[who, tls] = self._client(who, tls=tls)
        return self._clients[who, tls]

    def _client(self, who: str, *, tls: bool) -> "S3Client":
        connection = self.connection(who)
        client = boto3.client(
            "s3",
            endpoint_url=self.https if tls else self.endpoint,
            aws_access_key_id=connection.access_key,
            aws_secret_access_key=connection.secret,
            region_name="us-east-1",
            verify=str(self.authority.certificate),
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )
        repeat_conditions(client)
        return client
