"""The keys a process holds: one, several, and those that come while it runs."""

from pathlib import Path

import pytest

from streams.audit.note import TrustedKeys
from streams.audit.operations import KeyAdded, open_operation, operator_name
from streams.clock import SystemClock
from streams.errors import SettingsError
from streams.keys.choice import open_key_ring, open_signer
from streams.keys.local import key_files, load_private_key, new_key_path, write_new_key
from streams.keys.operator import OperatorKey
from streams.keys.ring import KeyRing
from streams.settings import Settings, load_settings
from streams.trust_root import operator_keys
from tests.support.signed_logs import BASE, KEY

OPERATOR = OperatorKey(load_private_key("31" * 32), BASE)


def settings(folder: Path, **more: str) -> Settings:
    return load_settings({"ATTESTREAM_HOME": str(folder)} | more)


def test_keys_of_a_directory_are_in_the_order_they_were_made(tmp_path: Path) -> None:
    made = [write_new_key(new_key_path(tmp_path)).public_key for _ in range(11)]
    ring = KeyRing([write_new_key(tmp_path / "z" / "other.pem")], tmp_path)
    ring.look()
    assert [signer.public_key for signer in ring.held()][1:] == made
    assert key_files(tmp_path)[0].name == "signing.pem"


async def test_key_put_into_the_directory_is_taken_up_once(tmp_path: Path) -> None:
    with_operator = settings(tmp_path, ATTESTREAM_OPERATOR_KEY=OPERATOR.vkey.render())
    async with open_key_ring(with_operator, SystemClock()) as ring:
        first = ring.first
        new = write_new_key(new_key_path(tmp_path / "keys"))
        for _ in range(3):
            assert ring.look() == []
        assert [signer.public_key for signer in ring.held()] == [first.public_key, new.public_key]
        assert ring.first is first


async def test_file_that_is_no_key_is_named_and_passed_over(tmp_path: Path) -> None:
    async with open_key_ring(settings(tmp_path), SystemClock()) as ring:
        (tmp_path / "keys" / "broken.pem").write_text("no key")
        (problem,) = ring.look()
        assert "broken.pem" in problem
        assert "no key" not in problem.removeprefix(str(tmp_path))
        assert len(ring.held()) == 1


async def test_without_an_operator_only_the_first_key_is_held(tmp_path: Path) -> None:
    for _ in range(2):
        write_new_key(new_key_path(tmp_path / "keys"))
    async with open_key_ring(settings(tmp_path), SystemClock()) as ring:
        assert len(ring.held()) == 1
    with_operator = settings(tmp_path, ATTESTREAM_OPERATOR_KEY=OPERATOR.vkey.render())
    async with open_key_ring(with_operator, SystemClock()) as ring:
        assert len(ring.held()) == 2
    async with open_signer(with_operator, SystemClock()) as signer:
        assert signer.public_key == ring.first.public_key


async def test_directory_without_a_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    named = settings(tmp_path, AUDIT_SIGNING_PRIVATE_KEY=str(tmp_path / "empty"))
    with pytest.raises(SettingsError, match=r"no \*\.pem"):
        async with open_key_ring(named, SystemClock()):
            pass


# --- the operator's key ---


def test_operators_order_opens_under_its_vkey() -> None:
    order = KeyAdded(vkey=KEY.vkey(), prefix=BASE)
    note = OPERATOR.order(order)
    assert open_operation(note, BASE, TrustedKeys([OPERATOR.vkey])) == order
    assert OPERATOR.vkey.name == operator_name(BASE)


def test_operators_vkey_is_set_as_text_or_as_a_file(tmp_path: Path) -> None:
    text = OPERATOR.vkey.render()
    (tmp_path / "operator.vkey").write_text(f"# ours\n{text}\n")
    for value in (text, str(tmp_path / "operator.vkey")):
        keys = operator_keys(settings(tmp_path, ATTESTREAM_OPERATOR_KEY=value), BASE)
        assert keys is not None
        assert keys.vkeys == (OPERATOR.vkey,)
    assert operator_keys(settings(tmp_path), BASE) is None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (KEY.vkey().render(), "the operator of this deployment is named"),
        (OPERATOR.vkey.for_origin("elsewhere/operator").render(), "is named"),
        ("no-such-file", "expected an Ed25519"),
    ],
    ids=["a log's key", "another deployment's", "nothing"],
)
def test_operator_that_is_none_of_this_deployment_is_refused(
    tmp_path: Path, value: str, problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem) as caught:
        operator_keys(settings(tmp_path, ATTESTREAM_OPERATOR_KEY=value), BASE)
    assert "ATTESTREAM_OPERATOR_KEY" in str(caught.value)
