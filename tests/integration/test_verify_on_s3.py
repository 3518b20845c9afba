"""`attestream verify` with what is in a bucket: an archive, and a store of anchors."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from projections.archive.fold import CutRules
from streams.cli.verify import verify
from streams.segments import encode_segment
from tests.support.archives import run_archiver
from tests.support.s3_fixtures import S3Server
from tests.support.sealed_log import KEYS, ORIGIN, SealedLog

pytestmark = pytest.mark.integration


def told(tmp_path: Path, server: S3Server, *arguments: str) -> tuple[int, dict[str, object]]:
    keys = tmp_path / "keys.txt"
    keys.write_text("".join(f"{vkey.render()}\n" for vkey in KEYS.vkeys))
    environment = {
        "S3_ENDPOINT": server.endpoint,
        "S3_ACCESS_KEY": server.access_key,
        "S3_SECRET": server.secret,
    }
    command = [*arguments, "--keys", str(keys), "--json"]
    result = CliRunner().invoke(verify, command, env=environment)
    (log,) = json.loads(result.stdout)["logs"]
    return result.exit_code, log


async def test_anchors_in_another_bucket_convict_an_archive_and_an_export(
    s3_server: S3Server, locked_bucket: str, tmp_path: Path
) -> None:
    log = SealedLog()
    for _ in range(3):
        log.append(5)
        log.checkpoint()
    await run_archiver(s3_server.store(locked_bucket), log, CutRules(records_max=5))
    anchors = f"s3://{locked_bucket}/deployment"
    status, found = await asyncio.to_thread(
        told, tmp_path, s3_server, anchors, "--anchor", anchors, "--jobs", "2"
    )
    assert (status, found["size"], found["anchored"]) == (0, 15, "checked")
    cut = tmp_path / "cut.avro"
    cut.write_bytes(encode_segment(ORIGIN, 0, None, log.rows[:13]))
    assert (await asyncio.to_thread(told, tmp_path, s3_server, str(cut)))[0] == 0
    status, found = await asyncio.to_thread(
        told, tmp_path, s3_server, str(cut), "--anchor", anchors
    )
    assert (status, found["size"]) == (24, 10)
