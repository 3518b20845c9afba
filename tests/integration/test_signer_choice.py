"""The commands with each remote signer: keys, pipeline and verdict; and what they say without."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from streams.app import open_engine, preflight
from streams.errors import SettingsError
from streams.keys.reference_proxy import ReferenceProxy
from streams.settings import load_settings
from tests.support.opened_signers import API_KEY, KEY_SPECS, aws_settings, create_key
from tests.support.signing_servers import LocalKms, SignerFaults, served

COMMAND = str(Path(sys.executable).with_name("attestream"))
EVENTS = Path(__file__).parents[1] / "fixtures" / "cerbos.ndjson"


async def test_worker_starts_without_an_answer_and_not_against_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kms = LocalKms()
    async with served(kms.application()) as url:
        aws_settings(monkeypatch, url)
        environment = {"ATTESTREAM_HOME": str(tmp_path), "ATTESTREAM_ORIGIN": "audit.example"}
        key_id = await create_key(KEY_SPECS["kms-ed25519"])
        settings = load_settings(environment | {"AUDIT_SIGNING_KMS_KEY_ID": key_id})
        async with open_engine(settings, create=True):
            pass
        kms.faults.fault = "503"
        await preflight(settings, lambda _: [])
        kms.denied.add("Sign")
        kms.faults.fault = ""
        with pytest.raises(SettingsError, match="access is denied: allow kms:GetPublicKey"):
            await preflight(settings, lambda _: [])


class Done(NamedTuple):
    status: int
    out: str
    err: str


class Deployment(NamedTuple):
    """Settings of an embedded deployment, and the server that signs for it."""

    environment: dict[str, str]
    faults: SignerFaults

    async def run(self, *arguments: str, **changes: str) -> Done:
        process = await asyncio.create_subprocess_exec(
            COMMAND,
            *arguments,
            env=os.environ | self.environment | changes,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def deployment(
    kind: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Deployment]:
    environment = {"ATTESTREAM_HOME": str(home), "ATTESTREAM_SIGNERS": "kms,proxy"}
    async with AsyncExitStack() as stack:
        if kind == "proxy":
            faults = SignerFaults()
            proxy = ReferenceProxy(generate_private_key(SECP256R1()), API_KEY)
            url = await stack.enter_async_context(served(proxy.application([faults.around])))
            environment |= {"SIGNING_PROXY_URL": url, "SIGNING_PROXY_API_KEY": API_KEY}
        else:
            kms = LocalKms()
            faults = kms.faults
            url = await stack.enter_async_context(served(kms.application()))
            aws_settings(monkeypatch, url)
            environment["AUDIT_SIGNING_KMS_KEY_ID"] = await create_key(KEY_SPECS[kind])
        yield Deployment(environment, faults)


@pytest.mark.parametrize("kind", ["kms-ed25519", "proxy"])
async def test_pipeline_signs_with_it_and_anyone_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    home, keys = tmp_path / "home", tmp_path / "keys.txt"
    async with deployment(kind, home, monkeypatch) as signed:
        sent = await signed.run("send", "--format", "cerbos", str(EVENTS))
        assert "sent 6" in sent.out, sent.err
        ran = await signed.run("run", "--once")
        assert ran.status == 0, ran.err
        shown = await signed.run("keys", "show")
        keys.write_text(shown.out)
        found = await signed.run("doctor")
        assert "signs and verifies" in found.out
        assert signed.faults.asked >= 2
    verified = await signed.run("verify", str(home), "--keys", str(keys))
    assert verified.status == 0, verified.out + verified.err
    assert not (home / "keys").exists(), "no key is made where local keys are forbidden"


async def test_signer_that_fails_ends_no_command_without_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with deployment("proxy", tmp_path / "home", monkeypatch) as signed:
        refused = await signed.run("run", "--once", SIGNING_PROXY_API_KEY="another")
        assert refused.status == 2
        assert "SIGNING_PROXY_API_KEY" in refused.err
        signed.faults.fault = "one bit"
        found = await signed.run("doctor")
        assert found.status == 1
        assert "does not verify under its public key" in found.out
    gone = await signed.run("keys", "show", "--name", "audit.example")
    assert gone.status == 1
    assert "does not answer" in gone.err
    for done in (refused, gone):
        assert len(done.err.strip().splitlines()) == 1
        assert "Traceback" not in done.err
        assert API_KEY not in done.err
