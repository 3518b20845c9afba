"""An unmodified checker that others wrote, on the directory as it lies: Tessera's `fsck`.

It is built from its module by Go, which takes minutes. It exits 0 when it fails, and may wait for
ever on a bad tile: what counts is what it prints, within a time.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from projections.tiles.projection import PublishRules
from streams.objects import DirectoryObjectStore
from tests.support.sealed_log import KEYS, ORIGIN, SealedLog, batches_of
from tests.support.static_logs import PREFIX, run_tiler, tiler

MODULE = "github.com/transparency-dev/tessera/cmd/fsck@v1.0.4"
BUILD_S, RUN_S = 900, 15
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def fsck(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fsck")
    assert shutil.which("go"), "building the checker needs Go: install it, or leave this test out"
    done = subprocess.run(
        ["go", "install", MODULE],
        env=os.environ | {"GOBIN": str(folder), "GOFLAGS": "-mod=mod"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "fsck"


def is_accepted(fsck: Path, folder: Path) -> bool:
    """Whether the checker says so of the static log below `folder`."""
    key = folder / "log.vkey"
    (vkey,) = KEYS.vkeys
    key.write_text(vkey.for_origin(ORIGIN).render())
    url = f"file://{folder}/{PREFIX}"
    try:
        done = subprocess.run(
            [fsck, f"-storage_url={url}", f"-public_key={key}", "-N=2", "-ui=false"],
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return "Successfully fsck'd" in done.stderr + done.stdout


def log_of(size: int) -> SealedLog:
    log = SealedLog()
    for part in filter(None, (size // 3, size - size // 3)):
        log.append(part)
        log.checkpoint()
    return log


async def published(folder: Path, size: int) -> SealedLog:
    log = log_of(size)
    await run_tiler(DirectoryObjectStore(folder), log, PublishRules(records_max=100))
    return log


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 300, 512, 1000])
async def test_the_directory_is_accepted_as_it_lies(fsck: Path, tmp_path: Path, size: int) -> None:
    await published(tmp_path, size)
    assert is_accepted(fsck, tmp_path)


async def test_a_log_of_three_levels_of_tiles_is_accepted(fsck: Path, tmp_path: Path) -> None:
    await published(tmp_path, 65_536 + 300)
    assert (tmp_path / PREFIX / "tile" / "2" / "000.p" / "1").is_file()
    assert is_accepted(fsck, tmp_path)


async def test_what_a_killed_writer_leaves_is_accepted(fsck: Path, tmp_path: Path) -> None:
    log = await published(tmp_path, 300)
    log.append(300)
    log.checkpoint()
    killed = tiler(DirectoryObjectStore(tmp_path), log, PublishRules(held_max=1))
    for batch in batches_of(log, await killed.resume()):
        await killed.apply(batch)
    assert is_accepted(fsck, tmp_path)
    await run_tiler(DirectoryObjectStore(tmp_path), log)
    assert is_accepted(fsck, tmp_path)


@pytest.mark.parametrize("path", ["tile/0/000", "tile/entries/001.p/44", "checkpoint"])
async def test_one_bit_changed_is_not_accepted(fsck: Path, tmp_path: Path, path: str) -> None:
    await published(tmp_path, 300)
    file = tmp_path / PREFIX / path
    body = bytearray(file.read_bytes())
    body[-20] ^= 1
    file.unlink()
    file.write_bytes(bytes(body))
    assert not is_accepted(fsck, tmp_path)
