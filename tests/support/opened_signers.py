"""Every kind of signer with its server, opened the way the application opens it."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from streams.keys.kms import KmsSigner
from streams.keys.proxy import ProxyAddress, ProxySigner
from streams.keys.reference_proxy import ReferenceProxy
from streams.keys.signing import OpenedSigner, Patience
from tests.support.signing_servers import (
    ACCESS_KEY,
    REGION,
    SECRET,
    LocalKms,
    SignerFaults,
    served,
)

__all__ = [
    "API_KEY",
    "KEY_SPECS",
    "QUICK",
    "REMOTE",
    "RemoteSigner",
    "aws_settings",
    "create_key",
    "remote",
]

API_KEY = "proxy-api-key-0123456789"
QUICK = Patience(attempts=2, first_delay_s=0.01, connect_timeout_s=1, read_timeout_s=0.3)
KEY_SPECS = {"kms-ed25519": "ECC_NIST_EDWARDS25519", "kms-p256": "ECC_NIST_P256"}
REMOTE = [*KEY_SPECS, "proxy"]


@dataclass(slots=True)
class RemoteSigner:
    """`open` opens the same key each time; all are closed with the context."""

    faults: SignerFaults
    turn_key: Callable[[], Callable[[], None]]
    secret: str
    _opener: Callable[[], Awaitable[OpenedSigner]]
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def open(self) -> OpenedSigner:
        signer = await self._opener()
        self._stack.push_async_callback(signer.close)
        return signer


@asynccontextmanager
async def remote(kind: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RemoteSigner]:
    """A remote signer of one kind.

    `turn_key` makes its server sign with another key, until what it returns is called.
    """
    async with AsyncExitStack() as stack:
        make = _proxy if kind == "proxy" else _kms
        signer = await make(kind, stack, monkeypatch)
        await stack.enter_async_context(signer._stack)
        yield signer


async def _proxy(_kind: str, stack: AsyncExitStack, _environment: Any) -> RemoteSigner:
    faults, proxy = SignerFaults(), ReferenceProxy(generate_private_key(SECP256R1()), API_KEY)
    url = await stack.enter_async_context(served(proxy.application([faults.around])))

    def turn() -> Callable[[], None]:
        key, proxy.key = proxy.key, generate_private_key(SECP256R1())
        return lambda: setattr(proxy, "key", key)

    address = ProxyAddress(url=url, api_key=API_KEY)
    return RemoteSigner(faults, turn, API_KEY, lambda: ProxySigner.open(address, QUICK))


async def _kms(kind: str, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> RemoteSigner:
    kms = LocalKms()
    aws_settings(monkeypatch, await stack.enter_async_context(served(kms.application())))
    key_id = await create_key(KEY_SPECS[kind])

    def turn() -> Callable[[], None]:
        other = kms._CreateKey({"KeySpec": KEY_SPECS[kind]})["KeyMetadata"]["KeyId"]
        key, private = kms.keys[key_id], kms.keys[key_id].private
        key.private = kms.keys[other].private
        return lambda: setattr(key, "private", private)

    return RemoteSigner(kms.faults, turn, SECRET, lambda: KmsSigner.open(key_id, QUICK))


def aws_settings(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """The AWS chain of this process leads to `endpoint`, and nowhere else."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL_KMS": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)


async def create_key(spec: str, usage: str = "SIGN_VERIFY") -> str:
    """Make a key in the KMS the environment names; its id."""
    session = boto3.session.Session()

    def create() -> str:
        client: Any = session.client("kms")
        try:
            made = client.create_key(KeySpec=spec, KeyUsage=usage)
        finally:
            client.close()
        return str(made["KeyMetadata"]["KeyId"])

    return await asyncio.to_thread(create)
