"""The directory an embedded deployment lives in: made, judged, and locked.

SQLite's write-ahead log needs shared memory and locks that network file systems only pretend to
have: two processes on one would corrupt the file. Such a home is refused, it is not tried.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from streams.errors import SettingsError

__all__ = ["DATABASE", "exclusive_home", "network_file_system", "prepare_home"]

DATABASE = "attestream.db"
LOCK = "attestream.lock"
MOUNTS = Path("/proc/self/mountinfo")
NETWORK = re.compile(
    r"9p|acfs|afs|beegfs|ceph|cifs|coda|davfs|drvfs|gfs2|glusterfs|gpfs|lustre|ncpfs|nfs4?|ocfs2"
    r"|orangefs|pvfs2|smb[23]?|smbfs"
    # FUSE may be anything; these are known to stand for another machine.
    r"|fuse\.(sshfs|s3fs|goofys|gcsfuse|rclone|davfs|curlftpfs|gluster|ceph|moose|juice|blobfuse"
    r"|smb|nfs|afp|gvfsd|objectivefs|seaweedfs|weed).*"
)
ESCAPED = re.compile(r"\\([0-7]{3})")


def prepare_home(home: Path) -> None:
    """Make `home` if it is not there, readable by its owner only.

    Raises:
        SettingsError: it cannot be made, is no directory, or stands on a network file system.
    """
    kind = network_file_system(home, MOUNTS.read_text() if MOUNTS.exists() else "")
    if kind is not None:
        problem = (
            f"{home} is on a network file system ({kind}), where SQLite's locks do not hold: "
            "set ATTESTREAM_HOME to a directory on a local disk"
        )
        raise SettingsError([problem])
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            [f"{home} cannot be the home: {error.strerror}; set ATTESTREAM_HOME"]
        ) from error


@contextmanager
def exclusive_home(home: Path) -> Iterator[None]:
    """Be the one process that runs the pipeline in `home`; the kernel frees it with the process.

    A courtesy to people. What keeps history whole is the epoch of each writer, in the database.

    Raises:
        SettingsError: another process runs it, or the lock cannot be made.
    """
    prepare_home(home)
    lock = FileLock(home / LOCK, timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout as error:
        raise SettingsError(
            [f"another process already runs attestream in {home}: stop it, or use another --dir"]
        ) from error
    except OSError as error:
        raise SettingsError([f"{home} cannot be locked: {error.strerror}"]) from error
    try:
        yield
    finally:
        lock.release()


def network_file_system(path: Path, mounts: str) -> str | None:
    """The type of the network file system `path` is on, None for a local one.

    `mounts` is the text of /proc/self/mountinfo; empty where the system has none.
    """
    path = Path(os.path.realpath(path))
    best, kind = -1, ""
    for line in mounts.splitlines():
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if not dash or len(fields) < 5:
            continue
        point = Path(ESCAPED.sub(lambda m: chr(int(m[1], 8)), fields[4]))
        # Of several mounts on one point the last one is seen.
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split(" ")[0]
    return kind if NETWORK.fullmatch(kind) else None
