"""Files of `vectors serve`: encrypted, whole or not there, and refused where anything differs."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from projections.vector_server import saving
from projections.vector_server.protocol import RequestError, unit_vector
from projections.vector_server.saving import SavedVectors, exclusive_store
from projections.vector_server.spaces import Spaces
from streams.errors import SettingsError, TransientError
from streams.settings import load_settings

KEY, OTHER = "11" * 32, "22" * 16
ROOM = 2**30
ENCRYPTED = saving._encrypted
MARK = "a-node-whose-name-nobody-may-read"


class Standing:
    """A clock that stands: ids must differ, and rise, all the same."""

    def now_ms(self) -> int:
        return 1_700_000_000_000

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with exclusive_store(tmp_path / "store") as path:
        yield path


def store(folder: Path, key: str | None = KEY, **more: str) -> SavedVectors:
    environ = {"VECTOR_INDEX_KEY": key} if key else {}
    return SavedVectors(folder, load_settings(environ | more), Standing())


def held(count: int = 30) -> Spaces:
    spaces = Spaces(ROOM)
    spaces.add("notes", [(MARK, unit_vector([0.25, 0.5, 0.75]))], lambda: False)
    many = [(f"n{i}", unit_vector([1.0, float(i), 3.0, float(i * i)])) for i in range(count)]
    spaces.add("wörter \ud800", many, lambda: False)
    return spaces


def shown(spaces: Spaces) -> dict[str, object]:
    return {name: (spaces.held(name)[:2], spaces.held(name)[2].tolist()) for name in spaces.names}


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.vectors"))


def refusal(raised: "pytest.ExceptionInfo[RequestError]") -> str:
    return raised.value.code


def test_what_was_saved_is_restored_by_another_process(folder: Path) -> None:
    spaces = held()
    saved = store(folder).save(spaces)
    again = Spaces(ROOM)
    restored = store(folder).restore(again, None)
    assert restored == (saved.snapshot, 2, 31)
    assert shown(again) == shown(spaces)
    (file,) = files(folder)
    assert file.stat().st_size == saved.bytes
    assert file.stat().st_mode & 0o777 == 0o600


def test_nothing_of_the_vectors_is_on_the_disk_in_the_clear(folder: Path) -> None:
    spaces = held()
    store(folder).save(spaces)
    stored = files(folder)[0].read_bytes()
    assert MARK.encode() not in stored
    assert b"notes" not in stored
    assert spaces.held("notes")[2].tobytes() not in stored
    assert bytes.fromhex(KEY) not in stored


def test_a_byte_changed_anywhere_is_refused_and_changes_nothing(folder: Path) -> None:
    store(folder).save(held(5))
    (file,) = files(folder)
    good = file.read_bytes()
    kept = Spaces(ROOM)
    for at in range(0, len(good), 3):
        file.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(RequestError) as raised:
            store(folder).restore(kept, None)
        assert refusal(raised) == "refused", at
    assert kept.names == []
    file.write_bytes(good)
    store(folder).restore(kept, None)


@pytest.mark.parametrize("change", ["cut", "longer", "empty", "of another name"])
def test_a_file_that_is_not_whole_is_refused(folder: Path, change: str) -> None:
    store(folder).save(held(5))
    (file,) = files(folder)
    good = file.read_bytes()
    match change:
        case "cut":
            file.write_bytes(good[:-5])
        case "longer":
            file.write_bytes(good + b"x")
        case "empty":
            file.write_bytes(b"")
        case _:
            file.rename(folder / ("0" * 26 + ".vectors"))
    with pytest.raises(RequestError) as raised:
        store(folder).restore(Spaces(ROOM), None)
    assert refusal(raised) == "refused"


def test_without_a_key_nothing_is_written_and_nothing_read(folder: Path) -> None:
    store(folder).save(held())
    for act in (store(folder, None).save, lambda s: store(folder, None).restore(s, None)):
        with pytest.raises(RequestError) as raised:
            act(held())
        assert refusal(raised) == "no_key"
    assert len(files(folder)) == 1


def test_another_key_opens_nothing(folder: Path) -> None:
    store(folder).save(held())
    with pytest.raises(RequestError) as raised:
        store(folder, OTHER).restore(Spaces(ROOM), None)
    assert refusal(raised) == "refused"
    store(folder, OTHER, VECTOR_INDEX_KEY_PREVIOUS=KEY).restore(Spaces(ROOM), None)


def test_a_rotation_leaves_only_what_the_new_key_opens(folder: Path) -> None:
    spaces, first = held(), store(folder)
    first.save(spaces)
    first.save(spaces)
    rotated = first.rotate(spaces, OTHER)
    assert rotated.deleted == 2
    assert KEY not in repr(rotated)
    assert OTHER not in repr(rotated)
    with pytest.raises(RequestError):
        store(folder, KEY).restore(Spaces(ROOM), None)
    assert store(folder, OTHER).restore(Spaces(ROOM), None).snapshot == rotated.snapshot
    later = first.save(spaces)  # the process goes on with the new key
    assert store(folder, OTHER).restore(Spaces(ROOM), None).snapshot == later.snapshot


@pytest.mark.parametrize("key", ["short", KEY, "zz" * 100])
def test_a_key_that_is_none_or_the_same_rotates_nothing(folder: Path, key: str) -> None:
    saver, spaces = store(folder), held()
    saver.save(spaces)
    with pytest.raises(RequestError) as raised:
        saver.rotate(spaces, key)
    assert refusal(raised) == "bad_request"
    assert key not in raised.value.message
    store(folder).restore(Spaces(ROOM), None)


def test_a_rotation_that_does_not_read_back_keeps_the_old_key_and_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver, spaces = store(folder), held()
    saver.save(spaces)
    before = files(folder)
    monkeypatch.setattr(saving, "_write_through", lambda path, _: path.write_bytes(b"lost"))
    with pytest.raises(RequestError) as raised:
        saver.rotate(spaces, OTHER)
    assert refusal(raised) == "refused"
    assert files(folder) == before
    monkeypatch.undo()
    saver.save(spaces)
    store(folder).restore(Spaces(ROOM), None)


def test_a_file_that_holds_something_else_than_is_held_does_not_stay(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver, spaces = store(folder), held()
    saver.save(spaces)
    before = files(folder)
    changed = dict(shown(spaces))
    monkeypatch.setattr(saving, "_encrypted", partial(encrypted_of, held(count=3)))
    with pytest.raises(RequestError) as raised:
        saver.save(spaces)
    assert refusal(raised) == "refused"
    assert files(folder) == before
    assert shown(spaces) == changed


def encrypted_of(other: Spaces, _: object, snapshot: str, data_key: bytes) -> Iterator[bytes]:
    """The chunks of other vectors, all right in themselves."""
    return ENCRYPTED({name: other.held(name) for name in other.names}, snapshot, data_key)


def test_the_newest_three_stay_and_the_newest_is_restored(folder: Path) -> None:
    saver, spaces = store(folder), held()
    names = [saver.save(spaces).snapshot for _ in range(5)]
    assert names == sorted(names)
    assert [file.stem for file in files(folder)] == names[2:]
    assert saver.restore(Spaces(ROOM), None).snapshot == names[4]
    assert saver.restore(Spaces(ROOM), names[2]).snapshot == names[2]
    for wanted in (names[0], "../../etc/passwd", "x"):
        with pytest.raises(RequestError) as raised:
            saver.restore(Spaces(ROOM), wanted)
        assert refusal(raised) == "refused"


def test_a_full_disk_leaves_what_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saver, spaces = store(folder), held()
    saved = saver.save(spaces)

    def full(path: Path, pieces: object) -> None:
        del pieces
        path.write_bytes(b"half of")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "_write_through", full)
    with pytest.raises(TransientError, match="No space left"):
        saver.save(spaces)
    assert [path.name for path in folder.iterdir() if path.name != "lock"] == [
        f"{saved.snapshot}.vectors"
    ]
    assert saver.restore(Spaces(ROOM), None).snapshot == saved.snapshot


def test_what_a_process_that_died_left_behind_goes(tmp_path: Path) -> None:
    left = tmp_path / f"{'0' * 26}.unfinished"
    left.write_bytes(b"half of a file")
    with exclusive_store(tmp_path):
        assert not left.exists()


def test_two_do_not_save_in_one_directory(folder: Path) -> None:
    with pytest.raises(SettingsError, match="another process"), exclusive_store(folder):
        pass


def test_a_data_key_is_good_for_one_file_alone(folder: Path) -> None:
    """What one file's chunks are encrypted with opens no other's, whatever stands in its name."""
    saver, spaces = store(folder), held(5)
    first, second = saver.save(spaces), saver.save(spaces)
    swapped = (folder / f"{first.snapshot}.vectors").read_bytes()
    (folder / f"{second.snapshot}.vectors").write_bytes(swapped)
    with pytest.raises(RequestError) as raised:
        saver.restore(Spaces(ROOM), second.snapshot)
    assert refusal(raised) == "refused"
