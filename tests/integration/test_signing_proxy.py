"""The signing proxy: its protocol, its two kinds of authentication, and what it may get wrong."""

import asyncio
import json
import os
import ssl
import subprocess
import sys
import urllib.request
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from streams.audit.note import ECDSA_P256, Vkey
from streams.errors import SettingsError, TransientError
from streams.keys.proxy import ProxyAddress, ProxySigner
from streams.keys.reference_proxy import ReferenceProxy
from tests.support.certificates import Authority
from tests.support.local_kafka import free_ports
from tests.support.opened_signers import API_KEY, QUICK
from tests.support.signing_servers import Fault, SignerFaults, served

COMMAND = Path(sys.executable).with_name("attestream")


@pytest.fixture
def proxy() -> ReferenceProxy:
    return ReferenceProxy(generate_private_key(SECP256R1()), API_KEY)


async def opened(url: str, **changes: Any) -> ProxySigner:
    address = {"api_key": API_KEY} | changes
    return await ProxySigner.open(ProxyAddress(url=url, **address), QUICK)


async def refused(url: str, **changes: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        await opened(url, **changes)
    assert API_KEY not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("api_key", [None, "another", API_KEY + "x", API_KEY[:-1]])
async def test_wrong_api_key_is_refused(proxy: ReferenceProxy, api_key: str | None) -> None:
    async with served(proxy.application()) as url:
        assert "SIGNING_PROXY_API_KEY" in await refused(url, api_key=api_key)


async def test_mutual_tls_lets_in_who_has_a_certificate(
    proxy: ReferenceProxy, tmp_path: Path
) -> None:
    authority = Authority.create(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.certificate)
    context.load_cert_chain(*authority.issue("proxy"))
    context.verify_mode = ssl.CERT_REQUIRED
    certificate, key = authority.issue("worker")
    ours = {"ca_file": authority.certificate, "cert_file": certificate, "key_file": key}
    async with served(proxy.application(), context) as url:
        signer = await opened(url, **ours)
        await signer.check()
        await signer.close()
        assert "certificate" in await refused(url)
        with pytest.raises(TransientError):
            await opened(url, ca_file=authority.certificate)
        assert "SIGNING_PROXY_KEY_FILE" in await refused(url, **ours | {"key_file": certificate})
        locked = authority.issue("locked", password="hush")
        assert "unencrypted" in await refused(
            url, ca_file=authority.certificate, cert_file=locked[0], key_file=locked[1]
        )
        assert "SIGNING_PROXY_CA_FILE" in await refused(url, ca_file=key)


async def test_proxy_that_turned_to_another_key_refuses_the_old_one(proxy: ReferenceProxy) -> None:
    async with served(proxy.application()) as url:
        signer = await opened(url)
        proxy.key = generate_private_key(SECP256R1())
        with pytest.raises(SettingsError, match="another key now"):
            await signer.sign(b"text")
        await signer.close()


async def test_server_that_fails_is_asked_a_bounded_number_of_times(proxy: ReferenceProxy) -> None:
    faults: list[Fault] = ["silence", "503", "429", "torn", "noise"]
    spoiler = SignerFaults()
    async with served(proxy.application([spoiler.around])) as url:
        signer = await opened(url)
        for fault in faults:
            spoiler.fault, spoiler.asked = fault, 0
            async with asyncio.timeout(5):
                with pytest.raises(TransientError, match="signing proxy"):
                    await signer.sign(b"text")
            assert spoiler.asked == QUICK.attempts, fault
        spoiler.fault = ""
        await signer.check()
        await signer.close()
    with pytest.raises(TransientError, match="does not answer"):
        await opened(url)


@pytest.fixture
async def answering() -> AsyncIterator[tuple[str, dict[str, web.Response]]]:
    """A server whose pages answer what is put into the mapping."""
    answers: dict[str, web.Response] = {}

    async def answer(request: web.Request) -> web.Response:
        given = answers[request.path]
        return web.Response(body=given.body, status=given.status, headers=given.headers)

    app = web.Application()
    app.router.add_route("*", "/{page:.*}", answer)
    async with served(app) as url:
        yield url, answers


def public_pem(key: Any) -> str:
    return str(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    )


@pytest.mark.parametrize("key", [Ed25519PrivateKey.generate(), None])
async def test_proxy_of_another_kind_of_key_is_refused(
    answering: tuple[str, dict[str, web.Response]], key: Any
) -> None:
    url, answers = answering
    pem = public_pem(key) if key else "-----BEGIN NOTHING-----"
    answers["/public-key"] = web.json_response({"kid": "k", "public_key": pem})
    assert "expected a P-256 key" in await refused(url)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"kid": 1, "public_key": 2}', b"[" * 60_000]
)
async def test_answer_that_is_none_is_no_key(
    answering: tuple[str, dict[str, web.Response]], body: bytes
) -> None:
    url, answers = answering
    answers["/public-key"] = web.Response(body=body)
    with pytest.raises(TransientError, match="answered"):
        await opened(url)


async def test_answer_over_the_limit_is_not_read(
    answering: tuple[str, dict[str, web.Response]], proxy: ReferenceProxy
) -> None:
    url, answers = answering
    key = json.dumps({"kid": "k", "public_key": public_pem(proxy.key)}).encode()
    answers["/public-key"] = web.Response(body=key + b" " * 60_000)
    await (await opened(url)).close()
    answers["/public-key"] = web.Response(body=key + b" " * 66_000)
    with pytest.raises(TransientError, match="ClientPayloadError"):
        await opened(url)


async def test_redirect_is_not_followed_with_the_api_key(
    answering: tuple[str, dict[str, web.Response]],
) -> None:
    url, answers = answering
    answers["/public-key"] = web.Response(status=307, headers={"Location": f"{url}/elsewhere"})
    assert "HTTP 307" in await refused(url)


@pytest.mark.parametrize("valid", [True, False])
async def test_proxy_that_is_wrong_about_signatures_fails_its_check(
    answering: tuple[str, dict[str, web.Response]], proxy: ReferenceProxy, *, valid: bool
) -> None:
    url, answers = answering
    async with served(proxy.application()) as real:
        signer = await opened(real)
        signature = await signer.sign(b"attestream signer check\n")
        await signer.close()
    answers["/public-key"] = web.json_response({"kid": "k", "public_key": public_pem(proxy.key)})
    answers["/sign/hash"] = web.json_response({"signature": b64encode(signature).decode()})
    answers["/verify"] = web.json_response({"valid": valid})
    signer = await opened(url)
    with pytest.raises(SettingsError, match="/verify: wrong about a signature"):
        await signer.check()
    await signer.close()


def test_reference_proxy_runs_as_a_command_and_says_it_is_for_development(tmp_path: Path) -> None:
    key = tmp_path / "proxy.pem"
    shown = [shown_by_the_command(key) for _ in range(2)]
    assert shown[0] == shown[1]
    vkey = Vkey.parse(shown[0].rstrip("\n"))
    assert (vkey.name, vkey.algorithm) == ("audit.example", ECDSA_P256)
    assert key.stat().st_mode & 0o777 == 0o600


def shown_by_the_command(key: Path) -> str:
    """The vkey `attestream keys show` prints for a reference proxy over a key file."""
    (port,) = free_ports(1)
    environment = os.environ | {"SIGNING_PROXY_API_KEY": API_KEY}
    command = [sys.executable, "-m", "streams.keys.reference_proxy", f"--port={port}"]
    with subprocess.Popen(
        [*command, f"--key={key}"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().decode().strip().removeprefix("export ")
            name, _, address = url.partition("=")
            wait_for(f"{address}/public-key")
            shown = subprocess.run(
                [COMMAND, "keys", "show", "--name", "audit.example"],
                env=environment | {name: address},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        finally:
            process.terminate()
        assert process.stderr is not None
        assert b"FOR DEVELOPMENT ONLY" in process.stderr.read()
    return shown


def wait_for(url: str) -> None:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {API_KEY}"})
    for _ in range(200):
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                assert "public_key" in json.load(answer)
                return
        except OSError:
            asyncio.run(asyncio.sleep(0.05))
    raise TimeoutError(url)
