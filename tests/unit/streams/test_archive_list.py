"""`archive list`, over a directory."""

import asyncio
import json
from pathlib import Path

from click.testing import CliRunner

from streams.cli.archive import archive
from streams.objects import DirectoryObjectStore
from tests.support.archives import run_archiver
from tests.support.sealed_log import ORIGIN, SealedLog

CLEAN = {"ATTESTREAM_ARCHIVE": "", "ATTESTREAM_HOME": "", "KAFKA_BOOTSTRAP_SERVERS": ""}


def made(folder: Path) -> Path:
    """An embedded engine's directory whose archive holds one segment of three records."""
    log = SealedLog()
    log.append(3)
    log.checkpoint()
    asyncio.run(run_archiver(DirectoryObjectStore(folder / "archive"), log))
    return folder


def listed(folder: Path, *arguments: str) -> list[str]:
    done = CliRunner(env=CLEAN).invoke(
        archive, ["list", "--dir", str(folder), *arguments], catch_exceptions=False
    )
    assert done.exit_code == 0
    return done.output.splitlines()


def test_every_object_is_listed_with_its_size_and_date(tmp_path: Path) -> None:
    lines = listed(made(tmp_path), "--json")
    objects = [json.loads(line) for line in lines]
    assert [one["name"] for one in objects] == [
        f"anchors/v1/{ORIGIN}/00000000000000000003.note",
        f"archive/v1/{ORIGIN}/manifests/00000000000000000000.json",
        f"archive/v1/{ORIGIN}/segments/00000000000000000000.avro",
    ]
    for one in objects:
        stored = tmp_path / "archive" / one["name"]
        assert one["bytes"] == stored.stat().st_size
        assert one["retain_until"].startswith("20")
        assert one["lock"] is None
        assert one["deleted"] is False


def test_a_prefix_chooses_and_lines_are_for_people(tmp_path: Path) -> None:
    (line,) = listed(made(tmp_path), "archive/v1/test.example/authz.decisions/0/seg")
    assert line.startswith(f"archive/v1/{ORIGIN}/segments/")
    assert "not locked, retained until 20" in line


def test_an_empty_archive_lists_nothing(tmp_path: Path) -> None:
    assert listed(tmp_path) == []
