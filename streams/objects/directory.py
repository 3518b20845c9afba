"""The object store as a directory: one read-only file an object, never overwritten.

A file appears whole or not at all: it is written and synced under another name, linked to its own
only if that is free, and the directory synced. The date it is retained until is the file's
modification time, set before it appears: `ls -l` shows it, `cp -a` and `rsync -a` keep it. What
may be replaced has the time it was written, and is renamed over while a lock file is held.

**A directory enforces nothing.** Its owner can delete and replace any file, whatever its mode and
date say; `head` therefore never reports a lock. For evidence that must withstand its own keeper,
use a bucket with Object Lock, or keep the anchors with somebody else.
"""

import asyncio
import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import file_digest, sha256
from pathlib import Path
from typing import ParamSpec, TypeVar

from filelock import FileLock

from streams.errors import (
    ObjectExistsError,
    OutcomeUnknownError,
    SettingsError,
    TransientError,
)
from streams.ports import ObjectInfo, ObjectVersion, Published

__all__ = ["DirectoryObjectStore"]

UNFINISHED = ".unfinished"  # files being written; no key begins with a dot
UNFINISHED_KEPT_S = 3600
REPLACING = ".replacing"  # held while an object is replaced
VERSION_ID_DIGITS = 32
SECONDS_A_DAY = 86_400
READ_ONLY = 0o440  # audit records name people: nothing for everybody
COMPONENT = re.compile(r"[^./\\\x00][^/\\\x00]*")

# Nothing but an operator ends these; all other errors of a disk may pass.
OPERATORS_ERRORS = {
    errno.EACCES,
    errno.EEXIST,  # a file where a folder is needed
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOTSUP,
}

P = ParamSpec("P")
T = TypeVar("T")


class DirectoryObjectStore:
    """`ObjectStore` and `PublicStore` over one directory, for any processes of one machine.

    An object has one version; its id is the beginning of the file's SHA-256, so a file that was
    replaced is another version. Blocking calls run in threads.
    """

    def __init__(self, path: Path) -> None:
        self._root = path
        self._is_swept = False

    def __repr__(self) -> str:
        return f"DirectoryObjectStore({str(self._root)!r})"

    async def check_bucket(self) -> None:
        """Whether objects can be created here at all.

        Raises:
            SettingsError: the directory cannot be made or written, or has no links.
        """
        await _in_thread(self._probe)

    async def create(self, key: str, body: bytes, *, retain_days: int) -> str:
        """As the port says; the time retained counts from the file system's clock.

        Raises:
            ValueError: a key that is no relative path of plain components.
        """
        return await _in_thread(self._create, self._path(key), body, retain_days)

    async def get(self, key: str, version_id: str | None = None) -> bytes | None:
        """As the port says; the bytes are those that the version id was computed from."""
        return await _in_thread(_read, self._path(key), version_id)

    async def head(self, key: str, version_id: str) -> ObjectInfo | None:
        """As the port says; `lock_mode` is always None."""
        return await _in_thread(_head, self._path(key), version_id)

    async def extend(self, key: str, version_id: str, until: datetime) -> None:
        """As the port says; the file's date is moved on."""
        await _in_thread(_extend, self._path(key), version_id, until)

    async def versions(self, prefix: str) -> list[ObjectVersion]:
        """As the port says. Reads every file to name its version."""
        return await _in_thread(self._versions, prefix)

    async def newest(self, key: str) -> Published | None:
        """As the port says."""
        body = await _in_thread(_read, self._path(key), None)
        return None if body is None else Published(body, _version_id(body))

    async def replace(self, key: str, body: bytes, *, over: str | None = None) -> str:
        """As the port says."""
        return await _in_thread(self._replace, self._path(key), body, over)

    async def delete(self, key: str, version_id: str) -> bool:
        """As `disposal.DisposableStore` says; the date a file is retained until is kept here."""
        return await _in_thread(self._delete, self._path(key), version_id)

    async def close(self) -> None:
        """Nothing is held open."""

    def _path(self, key: str) -> Path:
        if not _is_key(key):
            raise ValueError(f"not the key of an object: {key!r}")
        return self._root / key

    def _create(self, path: Path, body: bytes, retain_days: int | None) -> str:
        _make_directory(path.parent)
        unfinished = self._write(body, retain_days)
        try:
            try:
                path.hardlink_to(unfinished)
            except FileExistsError as error:
                raise ObjectExistsError(f"{path} exists") from error
            _settle(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return _version_id(body)

    def _replace(self, path: Path, body: bytes, over: str | None) -> str:
        try:
            if _read(path, None) != body:
                if over is None:
                    return self._create(path, body, None)
                return self._exchange(path, body, over)
        except ObjectExistsError:
            # What came in between may be the same bytes.
            if _read(path, None) != body:
                raise
        # Whoever put it there may have died before it was durable.
        _settle(path)
        return _version_id(body)

    def _exchange(self, path: Path, body: bytes, over: str) -> str:
        unfinished = self._write(body, None)
        try:
            with FileLock(self._root / REPLACING):
                if _read(path, over) is None:
                    raise ObjectExistsError(f"{path} is not what was to be replaced")
                unfinished.replace(path)
            _settle(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return _version_id(body)

    def _write(self, body: bytes, retain_days: int | None) -> Path:
        folder = self._root / UNFINISHED
        _make_directory(folder)
        handle, name = tempfile.mkstemp(dir=folder)
        unfinished = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(body)
                file.flush()
                now = os.fstat(handle).st_mtime
                os.fchmod(handle, READ_ONLY)
                if retain_days is not None:
                    until = -(-now // 1) + retain_days * SECONDS_A_DAY
                    os.utime(handle, (until, until))
                os.fsync(handle)
            self._sweep(unfinished, now)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        return unfinished

    def _sweep(self, mine: Path, now: float) -> None:
        # What a process left behind that died while writing. Its age is that of the inode, as the
        # modification time may be the retention date already.
        if self._is_swept:
            return
        for left in mine.parent.iterdir():
            with suppress(FileNotFoundError):
                if left != mine and left.stat().st_ctime < now - UNFINISHED_KEPT_S:
                    left.unlink()
        self._is_swept = True

    def _versions(self, prefix: str) -> list[ObjectVersion]:
        folder = prefix.rpartition("/")[0]
        if folder and not _is_key(folder):
            return []
        listed = (
            (key, _version_and_size(self._path(key)))
            for key in sorted(self._keys(folder, prefix), key=str.encode)
        )
        return [
            ObjectVersion(key, *found, is_delete_marker=False)
            for key, found in listed
            if found is not None
        ]

    def _keys(self, start: str, prefix: str) -> Iterator[str]:
        for path, folders, names in os.walk(self._root / start, onerror=_unless_absent):
            folder = Path(path).relative_to(self._root)
            keys = {name: (folder / name).as_posix() for name in [*folders, *names]}
            # A folder is looked into where it may hold a key: `prefix` is text, and may end in it.
            folders[:] = [
                name
                for name in folders
                if not name.startswith(".")
                and f"{keys[name]}/".startswith(prefix[: len(keys[name]) + 1])
            ]
            for name in names:
                if not name.startswith(".") and keys[name].startswith(prefix):
                    yield keys[name]

    def _delete(self, path: Path, version_id: str) -> bool:
        if _read(path, version_id) is None:
            return True
        if path.stat().st_mtime > self._now():
            return False
        path.unlink(missing_ok=True)
        _settle(path)
        # Whoever creates an object here meanwhile makes the folder again.
        with suppress(OSError):
            path.parent.rmdir()
        return True

    def _now(self) -> float:
        """The time of the file system, which dates are counted from."""
        unfinished = self._write(b"", None)
        try:
            return unfinished.stat().st_mtime
        finally:
            unfinished.unlink(missing_ok=True)

    def _probe(self) -> None:
        _make_directory(self._root)
        unfinished = self._write(b"", 0)
        linked = unfinished.with_suffix(".linked")
        try:
            linked.hardlink_to(unfinished)
        finally:
            unfinished.unlink(missing_ok=True)
            linked.unlink(missing_ok=True)


async def _in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return await asyncio.to_thread(call, *args, **kwargs)
    except OSError as error:
        if error.errno in OPERATORS_ERRORS:
            raise SettingsError([f"the archive's directory: {error}"]) from error
        raise TransientError(f"the archive's directory: {error}") from error


def _is_key(key: str) -> bool:
    return all(COMPONENT.fullmatch(component) for component in key.split("/"))


def _make_directory(path: Path) -> None:
    if path.is_dir():
        return
    _make_directory(path.parent)
    path.mkdir(exist_ok=True)
    _sync(path.parent)


def _settle(path: Path) -> None:
    # Now the object is visible; whether it survives a power cut is not known yet.
    try:
        _sync(path.parent)
    except OSError as error:
        raise OutcomeUnknownError(f"{path} may not be durable: {error}") from error


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path, version_id: str | None) -> bytes | None:
    try:
        if not path.is_file():
            return None
        body = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    return body if version_id in (None, _version_id(body)) else None


def _head(path: Path, version_id: str) -> ObjectInfo | None:
    body = _read(path, version_id)
    if body is None:
        return None
    until = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return ObjectInfo(len(body), sha256(body).digest(), until, lock_mode=None)


def _version_and_size(path: Path) -> tuple[str, int] | None:
    """As of `_read`, in little memory."""
    try:
        if not path.is_file():  # a pipe would be waited for, for ever
            return None
        with path.open("rb") as file:
            digest = file_digest(file, "sha256")
            return digest.hexdigest()[:VERSION_ID_DIGITS], file.tell()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _extend(path: Path, version_id: str, until: datetime) -> None:
    info = _head(path, version_id)
    if info is None:
        raise SettingsError([f"{path}: no version {version_id}"])
    if info.retain_until is None or info.retain_until < until:
        os.utime(path, (until.timestamp(), until.timestamp()))
        _settle(path)


def _version_id(body: bytes) -> str:
    return sha256(body).hexdigest()[:VERSION_ID_DIGITS]


def _unless_absent(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
