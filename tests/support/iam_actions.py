"""Which IAM actions a call of the S3 client needs.

As in "Actions, resources, and condition keys for Amazon S3" of the service authorization
reference; only the calls this project makes.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["actions_of"]

ACTIONS = {
    "AbortMultipartUpload": {"s3:AbortMultipartUpload"},
    "CompleteMultipartUpload": {"s3:PutObject"},
    "CreateMultipartUpload": {"s3:PutObject"},
    "GetBucketLifecycleConfiguration": {"s3:GetLifecycleConfiguration"},
    "GetBucketVersioning": {"s3:GetBucketVersioning"},
    "GetObjectLockConfiguration": {"s3:GetBucketObjectLockConfiguration"},
    "ListObjectVersions": {"s3:ListBucketVersions"},
    "PutObject": {"s3:PutObject"},
    "PutObjectLegalHold": {"s3:PutObjectLegalHold"},
    "PutObjectRetention": {"s3:PutObjectRetention"},
    "UploadPart": {"s3:PutObject"},
}
BY_VERSION = {
    "DeleteObject": "s3:DeleteObject",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
}
BY_PARAMETER = {
    "BypassGovernanceRetention": "s3:BypassGovernanceRetention",
    "ObjectLockLegalHoldStatus": "s3:PutObjectLegalHold",
    "ObjectLockMode": "s3:PutObjectRetention",
}


def actions_of(operation: str, parameters: Mapping[str, Any]) -> set[str]:
    """Every action a call needs. Raises KeyError for a call that is not known here."""
    also = {action for name, action in BY_PARAMETER.items() if name in parameters}
    if operation == "DeleteObjects":
        objects = parameters["Delete"]["Objects"]
        return also.union(*(actions_of("DeleteObject", where) for where in objects))
    if operation in BY_VERSION:
        version = "Version" if "VersionId" in parameters else ""
        return {f"{BY_VERSION[operation]}{version}"} | also
    return ACTIONS[operation] | also
