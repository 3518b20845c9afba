"""All vectors in one encrypted file: written whole, read back through memory alone.

    attestream.vectors/v1 LF
    the data key, wrapped (a key object of `projections.snapshots.keys`) LF
    manifest, RFC 8785 JSON LF ‖ its HMAC in hex LF
    chunks, AES-256-GCM, one behind the other (formats §8)

Nothing of a file is parsed before it is authenticated, and nothing of one that fails is used. A
file has its name once it is whole and on the disk; it is read back before an older one goes.
"""

import asyncio
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
import rfc8785
from filelock import FileLock, Timeout

from projections.snapshots.cipher import (
    NONCE_BYTES,
    authenticated,
    decrypt_chunk,
    encrypt_chunk,
    with_mac,
)
from projections.snapshots.keys import (
    new_data_key,
    parse_key_object,
    unwrapped_by,
    wrapped_by,
)
from projections.snapshots.names import (
    ID_RANDOM_BYTES,
    created_ms,
    is_snapshot_id,
    new_snapshot_id,
)
from projections.snapshots.parts import (
    Assembly,
    ChunkContent,
    StateParts,
    cut_runs,
    decode_chunk,
    encode_chunk,
    take,
)
from projections.snapshots.refusal import SnapshotRefusedError
from projections.vector_server.protocol import RequestError, Vector
from projections.vector_server.spaces import Spaces
from schemas.limits import VECTOR_DIMENSION_MAX
from streams.errors import SettingsError, TransientError
from streams.keys.index_keys import has_index_key, open_index_keys
from streams.keys.wrapping import AesWrappingKey, WrappingKey, WrappingKeys
from streams.ports import Clock
from streams.settings import Settings
from streams.settings.index_key import index_key

__all__ = ["Restored", "Rotated", "Saved", "SavedVectors", "exclusive_store"]

FORMAT = b"attestream.vectors/v1\n"
ENDING, UNFINISHED = ".vectors", ".unfinished"
KEPT = 3
LINE_BYTES_MAX = 2**24
CHUNK_BYTES_MAX = 2**23
MAC_LINE_BYTES = 65

T = TypeVar("T")
Held = Mapping[str, tuple[int, Sequence[str], Vector]]


class Saved(NamedTuple):
    """A file that stands and was read back."""

    snapshot: str
    vectors: int
    bytes: int


class Restored(NamedTuple):
    """What is held now, and of which file."""

    snapshot: str
    namespaces: int
    vectors: int


class Rotated(NamedTuple):
    """The file under the new key, the id of that key, and how many files under others went."""

    snapshot: str
    key: str
    deleted: int


@contextmanager
def exclusive_store(folder: Path) -> Iterator[Path]:
    """Be the one process that saves in a directory.

    Raises:
        SettingsError: another one does, or it cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(folder / "lock", timeout=0, mode=0o600)
        lock.acquire()
    except Timeout:
        raise SettingsError([f"another process saves its vectors in {folder}"]) from None
    except OSError as error:
        raise SettingsError([f"{folder} cannot hold vectors: {error.strerror}"]) from error
    try:
        for left in folder.glob(f"*{UNFINISHED}"):
            left.unlink(missing_ok=True)  # of a process that died: it never had its name
        yield folder
    finally:
        lock.release()


class SavedVectors:
    """The files of one directory, and the keys that open them."""

    def __init__(self, folder: Path, settings: Settings, clock: Clock) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._rotated: AesWrappingKey | None = None

    def save(self, spaces: Spaces) -> Saved:
        """Write everything to a new file. Raises RequestError, TransientError, SettingsError."""
        return asyncio.run(self._with_keys(lambda keys: self._save(spaces, keys)))

    def restore(self, spaces: Spaces, wanted: str | None) -> Restored:
        """Hold what a file holds, the newest by default, instead of all there is.

        Raises:
            RequestError, TransientError, SettingsError: nothing was changed.
        """
        return asyncio.run(self._with_keys(lambda keys: self._restore(spaces, wanted, keys)))

    def rotate(self, spaces: Spaces, text: str) -> Rotated:
        """Save under a new key, search in what was read back, and delete what others opened.

        Raises:
            RequestError, TransientError, SettingsError: the key is as it was.
        """
        try:
            key = AesWrappingKey(index_key(text))
        except ValueError as error:
            raise RequestError("bad_request", f"key: {error}") from None

        async def rotate(keys: WrappingKeys) -> Rotated:
            if keys.first.key_id == key.key_id:
                raise RequestError("bad_request", "key: this is the key that encrypts now")
            saved = await self._write(spaces, key)
            loaded = await self._checked(saved, spaces, WrappingKeys([key]))
            with self._deleting(saved.snapshot):
                _search_both(spaces, loaded, saved.snapshot)
            self._rotated = key
            # Now it encrypts, and what an older key opens goes.
            others = [name for name in self._names() if name != saved.snapshot]
            return Rotated(saved.snapshot, key.key_id, self._delete(others))

        return asyncio.run(self._with_keys(rotate))

    async def _with_keys(self, work: Callable[[WrappingKeys], Awaitable[T]]) -> T:
        if not has_index_key(self._settings):
            raise RequestError("no_key", "set VECTOR_INDEX_KEY or VECTOR_INDEX_KMS_KEY_ID")
        try:
            async with open_index_keys(self._settings) as opened:
                others: list[WrappingKey] = [
                    key for key_id in opened.ids if (key := opened.get(key_id)) is not None
                ]
                return await work(
                    WrappingKeys([self._rotated, *others] if self._rotated else others)
                )
        except SnapshotRefusedError as error:
            raise RequestError("refused", str(error)) from None
        except OSError as error:
            raise TransientError(f"{self._folder}: {error.strerror}") from error

    async def _save(self, spaces: Spaces, keys: WrappingKeys) -> Saved:
        saved = await self._write(spaces, keys.first)
        await self._checked(saved, spaces, keys)
        self._delete(self._names()[KEPT:])
        return saved

    async def _restore(self, spaces: Spaces, wanted: str | None, keys: WrappingKeys) -> Restored:
        names = self._names()
        if wanted is None and not names:
            raise RequestError("refused", "nothing was saved yet")
        snapshot = wanted or names[0]
        if snapshot not in names:
            raise RequestError("refused", f"there is no {snapshot[:64]!r}")
        loaded = await self._read(snapshot, keys)
        spaces.install(loaded)
        return Restored(snapshot, len(loaded), _count(loaded))

    async def _write(self, spaces: Spaces, key: WrappingKey) -> Saved:
        random = secrets.token_bytes(ID_RANDOM_BYTES)
        # Above every other, so that the newest is the last one saved whatever the clock says.
        newest = max((created_ms(name) for name in self._names()), default=-1)
        snapshot = new_snapshot_id(max(self._clock.now_ms(), newest + 1), random)
        data_key = new_data_key()
        key_object = await wrapped_by(key, snapshot, data_key)
        held = {name: spaces.held(name) for name in spaces.names}
        chunks = list(_encrypted(held, snapshot, data_key))
        listed: list[Any] = [[len(chunk), sha256(chunk).hexdigest()] for chunk in chunks]
        document = rfc8785.dumps({"chunks": listed, "snapshot": snapshot})
        unfinished = self._folder / f"{snapshot}{UNFINISHED}"
        pieces = [FORMAT, key_object, b"\n", with_mac(data_key, document), *chunks]
        try:
            _write_through(unfinished, pieces)
            unfinished.rename(self._folder / f"{snapshot}{ENDING}")
            _sync(self._folder)
        except OSError:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise
        # Now it is on the disk under its name.
        return Saved(snapshot, _count(held), sum(map(len, pieces)))

    async def _checked(self, saved: Saved, spaces: Spaces, keys: WrappingKeys) -> Held:
        """What was saved, read back; it is deleted where it is not what is held."""
        with self._deleting(saved.snapshot):
            loaded = await self._read(saved.snapshot, keys)
            held = {name: spaces.held(name) for name in spaces.names}
            if not _is_same(loaded, held):
                raise SnapshotRefusedError(f"{saved.snapshot} does not hold what was saved")
        return loaded

    @contextmanager
    def _deleting(self, snapshot: str) -> Iterator[None]:
        """Delete a file that is refused."""
        try:
            yield
        except SnapshotRefusedError:
            self._delete([snapshot])
            raise

    async def _read(self, snapshot: str, keys: WrappingKeys) -> Held:
        with (self._folder / f"{snapshot}{ENDING}").open("rb") as file:
            if file.readline(len(FORMAT)) != FORMAT:
                raise SnapshotRefusedError(f"{snapshot} is of another format")
            key_object = file.readline(LINE_BYTES_MAX).removesuffix(b"\n")
            data_key = await _data_key(keys, snapshot, key_object)
            stored = file.readline(LINE_BYTES_MAX) + file.readline(MAC_LINE_BYTES)
            manifest = json.loads(authenticated(data_key, stored))
            if manifest["snapshot"] != snapshot:
                raise SnapshotRefusedError(f"{snapshot} is {manifest['snapshot']}")
            return _assembled(file, manifest["chunks"], (snapshot, data_key))

    def _names(self) -> list[str]:
        """The snapshots there are, newest first."""
        found = (path.name.removesuffix(ENDING) for path in self._folder.glob(f"*{ENDING}"))
        return sorted(filter(is_snapshot_id, found), reverse=True)

    def _delete(self, snapshots: Sequence[str]) -> int:
        for snapshot in snapshots:
            (self._folder / f"{snapshot}{ENDING}").unlink(missing_ok=True)
        return len(snapshots)


async def _data_key(keys: WrappingKeys, snapshot: str, key_object: bytes) -> bytes:
    for key_id in keys.ids:
        try:
            parse_key_object(key_object, snapshot, key_id)
        except SnapshotRefusedError:
            continue
        key = keys.get(key_id)
        assert key is not None, "an id without its key"
        return await unwrapped_by(key, snapshot, key_object)
    raise SnapshotRefusedError(f"{snapshot}: none of the keys at hand opens it")


def _encrypted(held: Held, snapshot: str, data_key: bytes) -> Iterator[bytes]:
    index = [[name, dimension, list(nodes)] for name, (dimension, nodes, _) in held.items()]
    changing = {"index": json.dumps(index).encode()}
    for number, (_, _, rows) in enumerate(held.values()):
        changing[f"rows {number}"] = rows.astype("<f4").tobytes()
    for number, runs in enumerate(cut_runs(take(StateParts((), changing), {}).changing)):
        plain = encode_chunk(ChunkContent(grows=False, runs=runs))
        yield encrypt_chunk(data_key, (snapshot, number), secrets.token_bytes(NONCE_BYTES), plain)


def _assembled(file: BinaryIO, chunks: Sequence[Any], opened: tuple[str, bytes]) -> Held:
    """The vectors of authenticated chunks. Raises SnapshotRefusedError."""
    (snapshot, data_key), assembly = opened, Assembly()
    for number, (size, digest) in enumerate(chunks):
        stored = file.read(min(size, CHUNK_BYTES_MAX))
        if len(stored) != size or sha256(stored).hexdigest() != digest:
            raise SnapshotRefusedError(f"chunk {number} of {snapshot} is not what was stored")
        assembly.add(decode_chunk(decrypt_chunk(data_key, (snapshot, number), stored)))
    if file.read(1):
        raise SnapshotRefusedError(f"{snapshot} goes on behind its last chunk")
    parts = assembly.parts().changing
    found: dict[str, tuple[int, Sequence[str], Vector]] = {}
    for number, (name, dimension, nodes) in enumerate(json.loads(parts["index"])):
        rows = np.frombuffer(parts[f"rows {number}"], "<f4").astype(np.float32)
        fits = 0 < dimension <= VECTOR_DIMENSION_MAX and len(rows) == len(nodes) * dimension
        if not fits or not np.isfinite(rows).all() or len(set(nodes)) != len(nodes):
            raise SnapshotRefusedError(f"{snapshot}: namespace {number} is none")
        found[name] = (dimension, nodes, rows.reshape(len(nodes), dimension))
    return found


def _write_through(path: Path, pieces: Sequence[bytes]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _count(held: Held) -> int:
    return sum(len(nodes) for _, nodes, _ in held.values())


def _is_same(loaded: Held, held: Held) -> bool:
    return loaded.keys() == held.keys() and all(
        loaded[name][:2] == held[name][:2] and np.array_equal(loaded[name][2], held[name][2])
        for name in held
    )


def _search_both(spaces: Spaces, loaded: Held, snapshot: str) -> None:
    """Whether what was read back answers as what is held does. Raises SnapshotRefusedError."""
    again = Spaces(2**62)
    again.install(loaded)
    for name, (_, nodes, rows) in loaded.items():
        if not nodes:
            continue
        (found,), (held,) = (one.search(name, rows[0], 1, -1.0) for one in (again, spaces))
        if found.similarity != held.similarity:
            raise SnapshotRefusedError(f"{snapshot} finds other vectors than are held")
