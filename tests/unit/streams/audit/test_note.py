"""Keys, notes and checkpoints: what is refused, and what keys are trusted for."""

from base64 import b64encode
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from streams.audit.checkpoint import (
    CheckpointText,
    make_note,
    open_note,
    parse_log_name,
)
from streams.audit.merkle import EMPTY_ROOT
from streams.audit.note import (
    ECDSA_P256,
    MalformedError,
    TrustedKeys,
    Vkey,
    decode_base64,
    parse_note,
)
from streams.errors import BreakError, SettingsError
from tests.support.signed_logs import BASE, KEY, ORIGIN, Key

NOTE = KEY.note(0, EMPTY_ROOT)


def spki(curve: ec.EllipticCurve) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    key = ec.derive_private_key(7, curve)
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key, public


P256, P256_SPKI = spki(ec.SECP256R1())


def ecdsa_note(origin: str) -> str:
    text = CheckpointText(origin, 0, EMPTY_ROOT)
    signature = P256.sign(text.render().encode(), ec.ECDSA(SHA256()))
    return make_note(text, ECDSA_P256, P256_SPKI, signature)


# --- keys files ---


def test_keys_file_has_comments_and_empty_lines() -> None:
    text = f"# ours\n\n  {KEY.vkey().render()}\n\n{Key('b').vkey().render()}\n# end"
    assert TrustedKeys.parse(text).vkeys == (KEY.vkey(), Key("b").vkey())


def test_all_bad_lines_of_a_keys_file_are_listed() -> None:
    with pytest.raises(SettingsError) as caught:
        TrustedKeys.parse(f"nonsense\n{KEY.vkey().render()}\nmore+nonsense")
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "keys, line 1",
        "keys, line 3",
    ]


def test_keys_file_without_a_key_is_refused() -> None:
    with pytest.raises(SettingsError, match="no vkey"):
        TrustedKeys.parse("# nothing\n")


def test_vkey_whose_key_id_does_not_fit_its_name_is_refused() -> None:
    renamed = KEY.vkey().render().replace(BASE, "audit.example.com/prod")
    with pytest.raises(MalformedError, match="the key ID of this name"):
        Vkey.parse(renamed)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.upper(),
        lambda v: v.replace("+", "-", 1),
        lambda v: v.replace("audit.", "audit. "),
        lambda v: v + "=",
        lambda v: v[:-4],
        lambda v: v.replace("+", "+0", 1),
        lambda v: "+" + v.partition("+")[2],
    ],
    ids=["upper-case", "no-plus", "white-space", "padding", "short", "long-key-id", "no-name"],
)
def test_vkey_not_in_its_one_spelling_is_refused(change: object) -> None:
    with pytest.raises(MalformedError):
        Vkey.parse(change(KEY.vkey().render()))  # type: ignore[operator]


def test_vkey_with_any_character_bumped_is_refused() -> None:
    vkey = KEY.vkey().render()
    for at, character in enumerate(vkey):
        with pytest.raises(MalformedError):
            Vkey.parse(vkey[:at] + chr(ord(character) ^ 1) + vkey[at + 1 :])


def test_ecdsa_key_of_another_curve_is_refused() -> None:
    _, other = spki(ec.SECP384R1())
    vkey = Vkey(BASE, ECDSA_P256, other)
    with pytest.raises(MalformedError, match="P-256"):
        Vkey.parse(vkey.render())


def test_ecdsa_key_in_another_der_spelling_is_refused() -> None:
    public = P256.public_key()
    point = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    with pytest.raises(MalformedError):
        Vkey.parse(Vkey(BASE, ECDSA_P256, head + point).render())


# --- who is trusted for what ---


def test_key_is_trusted_for_its_name_and_below_and_nowhere_else() -> None:
    assert KEY.vkey().trusts(BASE)
    assert KEY.vkey().trusts(ORIGIN)
    assert not KEY.vkey().trusts(BASE + "2/t/0")
    assert not KEY.vkey(ORIGIN).trusts(BASE)


def test_key_under_a_name_and_a_name_above_counts_once() -> None:
    keys = TrustedKeys([KEY.vkey(), KEY.vkey(ORIGIN)])
    assert len(keys.for_origin(ORIGIN)) == 1


def test_one_key_has_another_key_id_in_each_log() -> None:
    assert KEY.vkey(ORIGIN).key_id != KEY.vkey(f"{BASE}/authz.decisions/3").key_id


def test_two_keys_that_share_a_key_id_are_both_tried() -> None:
    # An ECDSA key ID ignores the name; four bytes collide with little effort, so it must not
    # matter which of two keys is looked up first.
    keys = TrustedKeys([KEY.vkey(), Key("b").vkey()])
    first, second = (KEY.vkey(ORIGIN), Key("b").vkey(ORIGIN))
    keys._by_origin[ORIGIN] = {first.key_id: (second, first)}
    assert open_note(NOTE, ORIGIN, keys).size == 0


def test_ecdsa_signature_of_another_log_is_refused_though_its_key_id_is_the_same() -> None:
    other = f"{BASE}/authz.decisions/3"
    keys = TrustedKeys([Vkey(BASE, ECDSA_P256, P256_SPKI)])
    assert open_note(ecdsa_note(ORIGIN), ORIGIN, keys).size == 0
    with pytest.raises(BreakError, match="bad_signature"):
        open_note(ecdsa_note(other), ORIGIN, keys)
    moved = ecdsa_note(ORIGIN).rpartition("\n\n")[0] + "\n\n"
    moved += ecdsa_note(other).rpartition("\n\n")[2].replace(other, ORIGIN)
    with pytest.raises(BreakError, match="bad_signature"):
        open_note(moved, ORIGIN, keys)


def test_break_is_named_by_the_index_given() -> None:
    with pytest.raises(BreakError, match="unknown_key at index 9"):
        open_note(NOTE, ORIGIN, Key("b").trusted(), at=9)


# --- notes ---


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "\n\n",
        "text\n\n",
        NOTE + "\n",
        NOTE[:-1],
        NOTE.replace("\n\n", "\n"),
        NOTE.replace("\N{EM DASH}", "\N{EN DASH}"),
        NOTE.replace(f"\N{EM DASH} {ORIGIN} ", f"\N{EM DASH} {ORIGIN}  "),
        NOTE.replace(f"\N{EM DASH} {ORIGIN} ", "\N{EM DASH}  "),
        NOTE.replace(f"\N{EM DASH} {ORIGIN} ", f"\N{EM DASH} {ORIGIN}+ "),
        NOTE.replace(f"\N{EM DASH} {ORIGIN} ", "\N{EM DASH} a\u2003b "),
        NOTE.replace("\n", "\r\n"),
        NOTE + f"\N{EM DASH} short {b64encode(b'four').decode()}\n",
        NOTE + NOTE.rpartition("\n\n")[2] * 100,
        NOTE.replace("audit", "audit\ud800", 1),
        NOTE.replace("audit", "audit\t", 1),
        "\n" + NOTE,
    ],
    ids=range(18),
)
def test_malformed_note_is_altered(note: str) -> None:
    with pytest.raises(BreakError, match="altered"):
        open_note(note, ORIGIN, None)


def test_repeated_line_counts_once_and_does_no_harm() -> None:
    line = NOTE.rpartition("\n\n")[2]
    assert open_note(NOTE + line, ORIGIN, KEY.trusted()).size == 0


def test_text_may_hold_empty_lines_and_the_last_one_divides() -> None:
    note = parse_note("a\n\nb\n\n" + NOTE.rpartition("\n\n")[2])
    assert note.text == "a\n\nb\n"


@pytest.mark.parametrize("text", ["AA", "AA=", "AB==", "A A=", "AA==\n", "AA_=", "äA==", "===="])
def test_base64_not_in_its_one_spelling_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        decode_base64(text)


# --- origins ---


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("a/topic/0", ("a", "topic", 0, 0)),
        ("a/b/t.o-p_ic/12/e3", ("a/b", "t.o-p_ic", 12, 3)),
        ("a/5/6/7", ("a/5", "6", 7, 0)),
        ("größe/t/0", ("größe", "t", 0, 0)),
    ],
)
def test_origin_names_deployment_topic_partition_and_epoch(
    origin: str, expected: tuple[str, str, int, int]
) -> None:
    assert tuple(parse_log_name(origin)) == expected


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "a",
        "a/t",
        "/t/0",
        "t/0",
        "a//t/0",
        "a/t/00",
        "a/t/-1",
        "a/t/0/e0",
        "a/t/0/e01",
        "a/t/0/",
        "a/t o/0",
        "a/t/2147483648",
        "a+b/t/0",
        "a/" + "t" * 250 + "/0",
        "a/t/٣",
        "a/t/0\n",
    ],
)
def test_name_that_is_no_origin_of_a_partition_is_refused(origin: str) -> None:
    with pytest.raises(MalformedError):
        parse_log_name(origin)


def test_key_id_is_the_hash_that_c2sp_says() -> None:
    digest = sha256(BASE.encode() + b"\n\x01" + KEY.public).digest()
    assert KEY.vkey().key_id == digest[:4]
